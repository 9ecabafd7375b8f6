//! A sequence of moves, each drawn from one number; what must hold after each, and when the world has come to rest.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use super::{
    super::{
        super::{
            decide,
            decision::{BuildStep, Phase, Step, Wait},
            mutant::{self, Mutant},
            observed::{Again, BuilderSeen, ImageSeen, Observed},
        },
        act::drawn,
        controller::{Fate, phase_word},
        random::Random,
        run::Fates,
        world::Refused,
    },
    look::{Answers, ask_commit, ask_registry, look},
    world::{Done, Job, RELEASES, State, World, commit, declared, key, tag, tag_of},
};
use crate::{
    api::revision::Outcome as Ended,
    names::{CommitId, Uid},
    spec::Declared,
};

/// How old what a watch keeps may be, in moments.
const STALE: usize = 10;
/// Rounds of both controllers after which a world without faults must have come to rest.
const ROUNDS: usize = 60;
/// Jobs of one key, unless people ask for more.
const MOST: u32 = 3;

/// What is wrong on purpose.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setting {
    pub mutant: Option<Mutant>,
    /// A build is begun without asking the registry once more.
    pub unasked: bool,
    /// Of the keys that it waits for a release sees its own Jobs alone.
    pub blind: bool,
}

/// How Jobs end, as [`Run::cluster`] draws it.
#[derive(Clone, Copy)]
enum Ends {
    Pushed = 0,
    /// What is declared cannot be built, however often.
    Failed = 6,
}

/// Places that sequences come to, each with how often.
pub type Reached = BTreeMap<&'static str, usize>;

/// One process, and what it does about each release.
#[derive(Default)]
struct Process {
    passes: [Option<Pass>; RELEASES],
    answers: [Answers; RELEASES],
    /// The moment of its watch, which never goes back.
    watch: usize,
    said: [Option<Phase>; RELEASES],
}

struct Pass {
    observed: Observed,
    declared: Rc<Declared>,
    steps: VecDeque<Step>,
    /// The moment of what it saw of Jobs.
    seen: usize,
}

struct Run {
    world: World,
    processes: [Process; 2],
    moments: Vec<World>,
    late: Vec<(usize, Pass)>,
    setting: Setting,
    /// Jobs that were begun of a key, and keys that failed for good, since people last asked for something.
    begun: BTreeMap<String, u32>,
    hopeless: BTreeSet<String>,
    /// When people last deleted a Job of a key.
    deleted: BTreeMap<String, usize>,
    commits: u64,
    reached: Reached,
    story: Option<Vec<String>>,
    broken: Option<String>,
}

/// Runs a seed: where it came to, or what broke; and its story, where it is to be told.
pub fn run(seed: u64, setting: Setting, told: bool) -> (Result<Reached, String>, Vec<String>) {
    let mut random = Random::Drawn(seed);
    let mut run = Run {
        world: World::new(),
        processes: Default::default(),
        moments: Vec::new(),
        late: Vec::new(),
        setting,
        begun: BTreeMap::new(),
        hopeless: BTreeSet::new(),
        deleted: BTreeMap::new(),
        commits: 100,
        reached: Reached::new(),
        story: told.then(Vec::new),
        broken: None,
    };
    mutant::with(setting.mutant, || {
        run.happened();
        for _ in 0..40 + random.below(100) {
            run.make(&mut random);
            run.happened();
        }
        run.rest(&mut random);
    });
    let result = match run.broken {
        None => Ok(run.reached),
        Some(broken) => Err(broken),
    };
    (result, run.story.unwrap_or_default())
}

impl Run {
    fn tell(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(text());
        }
    }

    fn reach(&mut self, place: &'static str) {
        *self.reached.entry(place).or_default() += 1;
    }

    /// The first that broke counts.
    fn must(&mut self, holds: bool, broken: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            let broken = broken();
            self.tell(|| format!("BROKEN: {broken}"));
            self.broken = Some(broken);
        }
    }

    fn happened(&mut self) {
        self.moments.push(self.world.clone());
    }

    fn make(&mut self, random: &mut Random) {
        match random.below(100) {
            0..62 => {
                let (process, release) = (random.below(2), random.below(RELEASES));
                if self.processes[process].passes[release].is_some() {
                    let fate = random.one_of(Fates::ALL);
                    self.send(process, release, fate);
                } else if random.percent(4) {
                    self.crash(process);
                } else {
                    self.look(process, release, Some(random));
                }
            }
            62..66 => self.arrive(random),
            66..82 => self.cluster(random, None),
            82..92 => self.people(random),
            _ => {
                let seconds = [5, 10, 30, 61][random.below(4)];
                self.world.clock += seconds;
                self.tell(|| format!("{seconds} seconds pass"));
            }
        }
    }

    // === controllers ===

    fn crash(&mut self, process: usize) {
        self.processes[process] = Process {
            watch: self.moments.len() - 1,
            ..Process::default()
        };
        self.tell(|| format!("process {process} crashes"));
    }

    fn look(&mut self, process: usize, release: usize, random: Option<&mut Random>) {
        let now = self.moments.len() - 1;
        let oldest = self.processes[process].watch.max(now.saturating_sub(STALE));
        let at = random.map_or(now, |random| {
            let lags = random.percent(40);
            if lags {
                oldest + random.below(now - oldest + 1)
            } else {
                now
            }
        });
        self.processes[process].watch = at;
        let answers = self.processes[process].answers[release].clone();
        let mut observed = look(&self.world, &self.moments[at], release, &answers);
        if self.setting.blind && observed.builds.iter().any(|build| build.wanted.is_some()) {
            observed.builds.retain(|build| build.wanted.is_some());
        }
        let decision = decide(&observed);
        let phase = decision.report.phase.clone();
        self.tell(|| {
            let steps: Vec<String> = decision.steps.iter().map(word).collect();
            let message = &decision.report.message;
            format!("process {process}, release {release}: {message} → {steps:?}")
        });
        let me = &mut self.processes[process];
        if decision.wait != Wait::Again {
            me.answers[release] = Answers::default();
        }
        me.said[release] = Some(phase);
        let steps: VecDeque<Step> = decision.steps.into_iter().filter(is_carried_out).collect();
        me.passes[release] = (!steps.is_empty()).then(|| Pass {
            observed,
            declared: Rc::clone(&self.world.releases[release].declared),
            steps,
            seen: at,
        });
    }

    fn send(&mut self, process: usize, release: usize, fate: Fate) {
        let Some(mut pass) = self.processes[process].passes[release].take() else {
            return;
        };
        let Some(step) = pass.steps.pop_front() else {
            return;
        };
        self.tell(|| format!("process {process}, release {release}: {} ({fate:?})", word(&step)));
        match (fate, &step) {
            (Fate::CrashBefore, _) => return self.crash(process),
            (Fate::Done, Step::AskRegistry) => {
                let answer = ask_registry(&self.world, &pass.declared);
                self.processes[process].answers[release].image =
                    Some((pass.declared.image.reference(), answer));
            }
            (Fate::Done, Step::AskCommit) => {
                let answer = ask_commit(&self.world, &pass.declared);
                self.processes[process].answers[release].commit = Some((tag_of(&pass.declared), answer));
            }
            (Fate::NotDone, _) | (_, Step::AskRegistry | Step::AskCommit) => {
                self.processes[process].answers[release] = Answers::default();
                return;
            }
            (Fate::Late, _) => {
                pass.steps.clear();
                pass.steps.push_back(step);
                self.late.push((release, pass));
                return;
            }
            (Fate::Done | Fate::LostReply | Fate::CrashAfter, _) => {
                let taken = self.act(release, &pass, &step, false);
                if fate == Fate::CrashAfter {
                    return self.crash(process);
                }
                if !taken || fate == Fate::LostReply {
                    self.processes[process].answers[release] = Answers::default();
                    return;
                }
            }
        }
        if !pass.steps.is_empty() {
            self.processes[process].passes[release] = Some(pass);
        }
    }

    fn arrive(&mut self, random: &mut Random) {
        if self.late.is_empty() {
            return;
        }
        let (release, pass) = self.late.remove(random.below(self.late.len()));
        let step = pass.steps[0].clone();
        self.tell(|| format!("late, of release {release}: {}", word(&step)));
        self.reach("late");
        self.act(release, &pass, &step, true);
    }

    /// Whether it was taken.
    fn act(&mut self, release: usize, pass: &Pass, step: &Step, late: bool) -> bool {
        match step {
            Step::CreateRevision(draft) => {
                let revisions = &mut self.world.releases[release].revisions;
                if revisions.len() + 1 != usize::try_from(draft.number.0).unwrap() {
                    return false;
                }
                let mut revision = drawn(&pass.declared, draft, &pass.observed);
                revision.outcome = Some(Ended::Live);
                revision.was_live = true;
                revisions.push(Rc::new(revision));
                self.world.bump();
                self.reach("released");
                true
            }
            Step::Build(step) => self.build(release, pass, step, late),
            _ => true,
        }
    }

    fn build(&mut self, release: usize, pass: &Pass, step: &BuildStep, late: bool) -> bool {
        let Some(builder) = pass.observed.builder.version() else {
            return true;
        };
        if !late && !Rc::ptr_eq(&pass.declared, &self.world.releases[release].declared) {
            // What was read when the pass began must hold when something is done by it.
            return false;
        }
        // Right before a build is begun the registry is asked whether it is needed still.
        if matches!(step, BuildStep::Create { .. }) && !late && !self.setting.unasked {
            match ask_registry(&self.world, &pass.declared) {
                ImageSeen::Missing => {}
                ImageSeen::Found { .. } => {
                    self.reach("found in time");
                    return false;
                }
                _ => return false,
            }
        }
        let guarded = !mutant::is(Mutant::Unguarded);
        let wanted = pass.observed.builds.iter().map(|build| build.run).max();
        if let BuildStep::Delete { uid, .. } = step
            && let Some(job) = self.world.job(uid)
        {
            // What it failed for is known as long as somebody waits for it.
            self.hopeless.remove(&job.key);
            self.begun.remove(&job.key);
        }
        match self.world.build(release, &pass.declared, builder, step, guarded) {
            Ok(Done::Begun(uid)) => self.begun(&uid, (late, pass.seen), wanted),
            Ok(Done::Ended(others)) => {
                self.reach("ended");
                self.must(others.is_empty(), || {
                    format!("release {release} ended what releases {others:?} wait for")
                });
            }
            Ok(Done::Other) => self.reach(match step {
                BuildStep::Join { .. } => "shared",
                BuildStep::Book { .. } => "booked",
                _ => "left",
            }),
            Err(refused) => {
                self.reach(match refused {
                    Refused::AlreadyExists => "begun by two",
                    Refused::Conflict | Refused::NotFound => "seen too late",
                });
                self.tell(|| format!("refused: {refused:?}"));
                return false;
            }
        }
        true
    }

    fn begun(&mut self, uid: &Uid, (late, seen): (bool, usize), before: Option<u32>) {
        let Some(job) = self.world.job(uid).cloned() else {
            return;
        };
        self.reach("begun");
        if job.larger {
            self.reach("begun with more memory");
        }
        let deleted = self.deleted.get(&job.key).is_some_and(|at| *at >= seen);
        if late || deleted {
            // It was decided before all that happened since, which nothing tells of any more; who wants it no more ends it.
            return;
        }
        let beside = |other: &Rc<Job>| other.key == job.key && other.uid != job.uid && !other.is_over();
        let beside = self.world.jobs.iter().any(beside);
        self.must(!beside, || {
            format!("{} runs beside another one of its key", job.name)
        });
        let there = self.world.registry.get(&job.of.image.reference());
        let is_there = there.is_some_and(|image| image.key == job.key);
        self.must(!is_there, || {
            format!("{} is begun though the registry has what its key made", job.name)
        });
        let is_before = |other: &&Rc<Job>| other.key == job.key && other.run + 1 == job.run;
        let before_it = self.world.jobs.iter().find(is_before);
        let asked = |before: &Rc<Job>| {
            let mut wants = job.wants.iter();
            wants.any(|(release, attempt)| before.wants.get(release).is_some_and(|old| old < attempt))
        };
        if before_it.is_some_and(asked) {
            // While it ran somebody asked for another attempt.
            self.hopeless.remove(&job.key);
            self.begun.remove(&job.key);
        }
        let hopeless = self.hopeless.contains(&job.key);
        self.must(!hopeless, || {
            format!("{} is begun though its key failed for good", job.name)
        });
        let count = self.begun.entry(job.key.clone()).or_default();
        *count += 1;
        let count = *count;
        self.must(count <= MOST, || {
            format!("{} is begun for the {count}th time, after {before:?}", job.name)
        });
        if job.run > 1 {
            self.reach("begun again");
        }
    }

    // === the rest of the world ===

    /// A Job goes on by itself; at rest it is known how all of them end.
    fn cluster(&mut self, random: &mut Random, at_rest: Option<Ends>) {
        let open: Vec<Rc<Job>> = self
            .world
            .jobs
            .iter()
            .filter(|job| !job.is_over())
            .cloned()
            .collect();
        let Some(job) = random.pick(&open).cloned() else {
            return;
        };
        let clock = self.world.clock;
        let state = match job.state {
            State::Waiting => State::Running { since: clock },
            _ => match at_rest.map_or_else(|| random.below(10), |ends| ends as usize) {
                0..5 => State::Pushed(self.world.push(&job)),
                // It pushed, and its pod was lost before it could say so.
                5 => {
                    self.world.push(&job);
                    State::Failed {
                        again: Again::AfterPause,
                        at: clock,
                    }
                }
                6 => State::Failed {
                    again: Again::No,
                    at: clock,
                },
                7 => State::Failed {
                    again: Again::WithMoreMemory,
                    at: clock,
                },
                _ => State::Failed {
                    again: Again::AfterPause,
                    at: clock,
                },
            },
        };
        match state {
            State::Pushed(_) => self.reach("pushed"),
            State::Failed { again: Again::No, .. } => {
                self.hopeless.insert(job.key.clone());
                self.reach("failed for good");
            }
            State::Failed { .. } => self.reach("failed"),
            _ => {}
        }
        let name = &job.name;
        self.tell(|| match &state {
            State::Running { .. } => format!("{name} runs"),
            State::Pushed(digest) => format!("{name} pushed {digest}"),
            State::Failed { again, .. } => format!("{name} failed: {again:?}"),
            State::Waiting => String::new(),
        });
        self.world.change(&job.uid, |job| job.state = state);
    }

    fn people(&mut self, random: &mut Random) {
        let release = random.below(RELEASES);
        let told = match random.below(12) {
            0..4 => {
                let version = u32::try_from(1 + random.below(3)).unwrap();
                let spec = &mut self.world.releases[release];
                let attempt = spec.declared.attempt;
                spec.declared = Rc::new(Declared {
                    attempt,
                    ..declared(version)
                });
                spec.valid = true;
                format!("release {release} declares version {version}")
            }
            4 | 5 => {
                let spec = &mut self.world.releases[release];
                let mut next = Declared::clone(&spec.declared);
                next.attempt += 1;
                crate::plan::fixtures::rehash(&mut next);
                spec.declared = Rc::new(next);
                format!("release {release} asks for another attempt")
            }
            6 => {
                let spec = &mut self.world.releases[release];
                spec.valid = !spec.valid;
                format!("release {release} declares a version: {}", spec.valid)
            }
            7 => {
                let version = u32::try_from(1 + random.below(3)).unwrap();
                self.commits += 1;
                let to: CommitId = commit(self.commits);
                self.world.tags.insert(tag(version), to);
                format!("the tag of version {version} is moved")
            }
            8 => {
                self.world.registry_down = !self.world.registry_down;
                "the registry goes, or comes back".to_owned()
            }
            9 => {
                self.world.git_down = !self.world.git_down;
                "the git server goes, or comes back".to_owned()
            }
            10 => {
                self.world.builder = match &self.world.builder {
                    BuilderSeen::Ready(version) if random.percent(50) => {
                        BuilderSeen::Unfit(version.clone(), "user namespaces are off".to_owned())
                    }
                    BuilderSeen::Ready(version) => BuilderSeen::Checking(version.clone()),
                    _ => BuilderSeen::Ready(format!("builder {}", 1 + random.below(2))),
                };
                format!("the builder: {:?}", self.world.builder)
            }
            _ => match random.pick(&self.world.jobs).cloned() {
                Some(job) => {
                    self.world.jobs.retain(|other| other.uid != job.uid);
                    self.deleted.insert(job.key.clone(), self.moments.len());
                    format!("{} is deleted", job.name)
                }
                None => "nothing".to_owned(),
            },
        };
        self.world.bump();
        self.begun.clear();
        self.hopeless.clear();
        self.tell(|| format!("people: {told}"));
    }

    // === the end ===

    /// Without faults the world comes to rest, says how each release stands, and nothing is left over.
    fn rest(&mut self, random: &mut Random) {
        self.world.registry_down = false;
        self.world.git_down = false;
        if !matches!(self.world.builder, BuilderSeen::Ready(_)) {
            self.world.builder = BuilderSeen::Ready("builder 1".to_owned());
        }
        self.begun.clear();
        self.hopeless.clear();
        while !self.late.is_empty() {
            self.arrive(random);
        }
        self.happened();
        self.tell(|| "all that is outside can be reached, and no fault comes any more".to_owned());
        let ends = if random.percent(30) {
            Ends::Failed
        } else {
            Ends::Pushed
        };
        let mut quiet = 0;
        for _ in 0..ROUNDS {
            let before = self.world.version;
            for (process, release) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                self.pass(process, release);
            }
            self.cluster(random, Some(ends));
            self.happened();
            quiet = if self.world.version == before {
                quiet + 1
            } else {
                0
            };
            if quiet > 2 {
                return self.at_an_end();
            }
            self.world.clock += 61;
            self.happened();
        }
        self.must(false, || format!("no rest after {ROUNDS} rounds"));
    }

    /// A pass without faults, with all that it asks.
    fn pass(&mut self, process: usize, release: usize) {
        for _ in 0..6 {
            while self.processes[process].passes[release].is_some() {
                self.send(process, release, Fate::Done);
                self.happened();
            }
            self.look(process, release, None);
            if self.processes[process].passes[release].is_none() {
                return;
            }
        }
    }

    fn at_an_end(&mut self) {
        for release in 0..RELEASES {
            let spec = self.world.releases[release].clone();
            let word = self.processes[0].said[release]
                .as_ref()
                .map_or_else(String::new, phase_word);
            if !spec.valid {
                continue;
            }
            let reference = spec.declared.image.reference();
            let serves = spec
                .revisions
                .last()
                .is_some_and(|live| live.reference == reference);
            let failed = self
                .world
                .jobs
                .iter()
                .any(|job| job.wants.contains_key(&release) && matches!(job.state, State::Failed { .. }));
            let fits = match word.as_str() {
                "Live" => serves,
                "Failed(BuildFailed)" => failed,
                "Failed(ImageMismatch)" => true,
                _ => false,
            };
            self.must(fits, || format!("release {release} comes to rest as {word}"));
            self.reach(match word.as_str() {
                "Live" => "rests live",
                "Failed(BuildFailed)" => "rests as failed",
                _ => "rests with another image",
            });
        }
        for job in self.world.jobs.clone() {
            let is_meant = |release: &usize| {
                let spec = &self.world.releases[*release];
                let BuilderSeen::Ready(builder) = &self.world.builder else {
                    return false;
                };
                spec.valid && key(&spec.declared, builder, &job.commit, 1).0 == job.inputs
            };
            let left = job.wants.is_empty() || !job.wants.keys().all(is_meant);
            self.must(!left, || {
                format!("{} is left over, wanted by {:?}", job.name, job.wants)
            });
        }
    }
}

/// What matters here; all else of a release is taken to succeed by itself.
fn is_carried_out(step: &Step) -> bool {
    matches!(
        step,
        Step::Build(_) | Step::AskRegistry | Step::AskCommit | Step::CreateRevision(_)
    )
}

fn word(step: &Step) -> String {
    super::super::act::word(step)
}
