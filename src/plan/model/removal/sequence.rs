//! What happens to a source: commits, rewrites and edits by people, and two controllers that read, are frozen, and die.

use std::collections::VecDeque;

use super::{
    super::super::{
        mutant::{self, Mutant},
        prune::MaxDeletions,
    },
    super::{random::Random, truth::Violation},
    pass::{self, Seen, Step},
    world::{RELEASES, SOURCE, World, people},
};
use crate::trace::{
    self, What,
    event::{Actor, Fact},
    object::Kind,
};

/// A process that follows the source.
struct Controller {
    /// Each pass has a name of its own: what one has begun is another's to end.
    actor: Actor,
    pass: VecDeque<Step>,
}

/// What came of a sequence.
#[derive(Debug, Default)]
pub struct Outcome {
    pub judged: trace::Coverage,
    /// How many were removed, and how often something that vanished was kept.
    pub removed: usize,
    pub kept: usize,
    pub rewritten: bool,
}

struct Run {
    world: World,
    controllers: [Controller; 2],
    passes: usize,
    outcome: Outcome,
    story: Option<Vec<String>>,
}

/// Runs a seed.
pub fn run(seed: u64, mutant: Option<Mutant>) -> Result<Outcome, Violation> {
    told(seed, mutant, false).0
}

/// As [`run`], telling what happened.
pub fn told(seed: u64, mutant: Option<Mutant>, told: bool) -> (Result<Outcome, Violation>, Vec<String>) {
    let mut random = Random::Drawn(seed);
    let process = |number: usize| Controller {
        actor: Actor::Slipway(number.to_string().into()),
        pass: VecDeque::new(),
    };
    let mut run = Run {
        world: World::new(),
        controllers: [process(0), process(1)],
        passes: 2,
        outcome: Outcome::default(),
        story: told.then(Vec::new),
    };
    mutant::with(mutant, || {
        for _ in 0..60 + random.below(60) {
            run.make(&mut random);
        }
    });
    let verdict = trace::judge(&run.world.trace);
    let names = verdict
        .violations
        .iter()
        .map(|v| v.invariant.to_string())
        .collect();
    let result = match verdict.violations.first() {
        Some(violation) => Err(Violation {
            name: violation.invariant.to_string(),
            names,
            what: violation.to_string(),
        }),
        None => Ok(Outcome {
            judged: verdict.coverage,
            ..run.outcome
        }),
    };
    (result, run.story.unwrap_or_default())
}

impl Run {
    fn tell(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(text());
        }
    }

    fn make(&mut self, random: &mut Random) {
        match random.below(100) {
            0..60 => self.controller(random.below(2), random),
            60..72 => self.release_loop(random.below(2)),
            72..88 => self.commit(random),
            88..94 => self.edit(random),
            _ => self.meddle(random),
        }
    }

    fn controller(&mut self, which: usize, random: &mut Random) {
        if random.percent(3) {
            self.controllers[which].pass.clear();
            self.tell(|| format!("controller {which} crashes"));
            return;
        }
        let Some(step) = self.controllers[which].pass.pop_front() else {
            return self.begin(which, random);
        };
        let actor = self.controllers[which].actor.clone();
        let fate = random.below(20);
        self.tell(|| format!("controller {which}: {step:?} ({fate})"));
        // 18: not done; 19: done, and the controller does not hear of it. Either ends the pass.
        let mut rest = std::mem::take(&mut self.controllers[which].pass);
        let goes_on = fate != 18 && pass::act(&mut self.world, &actor, &step, &mut rest);
        if goes_on && fate < 18 {
            self.controllers[which].pass = rest;
        }
    }

    /// Fetches and reads. A server may not answer, or answer with an older head.
    fn begin(&mut self, which: usize, random: &mut Random) {
        if random.percent(10) {
            self.tell(|| format!("controller {which}: git does not answer"));
            return;
        }
        let world = &self.world;
        let head = match world.commits[world.head].parent {
            Some(parent) if random.percent(10) => parent,
            _ => world.head,
        };
        let seen = Seen {
            head,
            spec: world.spec.clone(),
            status: world.status.clone(),
            source: world.source,
            releases: world.releases.clone(),
            known: world.known(),
        };
        let steps = pass::steps(world, &seen);
        self.outcome.rewritten |= steps.is_empty();
        let takes_away = |step: &&Step| matches!(step, Step::TakeAway(..));
        let removed = steps.iter().filter(takes_away).count();
        self.outcome.removed += removed;
        let vanished = seen.known.iter().filter(|release| {
            let files = &world.commits[head].files;
            !files.get(release).is_some_and(Option::is_some)
        });
        self.outcome.kept += vanished.count().saturating_sub(removed);
        self.tell(|| format!("controller {which}: reads commit {head}: {} steps", steps.len()));
        let actor = Actor::Slipway(self.passes.to_string().into());
        self.passes += 1;
        let source = SOURCE.into();
        self.world.push(&actor, What::Fact(Fact::PassBegins { source }));
        self.controllers[which] = Controller { actor, pass: steps };
    }

    /// The release loop makes what a `Release` wants that is not being removed.
    fn release_loop(&mut self, which: usize) {
        let actor = self.controllers[which].actor.clone();
        for release in 0..RELEASES {
            let wanted = self.world.releases.get(&release);
            if !wanted.is_some_and(|found| found.declared.is_some() && !found.marked) {
                continue;
            }
            for kind in [Kind::Deployment, Kind::Service] {
                if !self.world.objects.contains_key(&(kind, release)) {
                    self.world.make(&actor, kind, release);
                }
            }
        }
        self.tell(|| "the release loop makes what is wanted".into());
    }

    fn commit(&mut self, random: &mut Random) {
        let release = random.below(RELEASES);
        let version = u32::try_from(2 + random.below(5)).unwrap();
        let what = random.below(12);
        // A push that drops what was there.
        let parent = if random.percent(8) {
            self.world.commits[self.world.head].parent
        } else {
            None
        };
        let parent = parent.unwrap_or(self.world.head);
        self.world.commit(parent, |commit| match what {
            0..4 => drop(commit.files.insert(release, Some(version))),
            4..8 => drop(commit.files.remove(&release)),
            8 => commit.files.clear(),
            9 => drop(commit.files.insert(release, None)),
            10 => commit.broken = Some(release),
            _ => commit.broken = None,
        });
        let files = self.world.commits[self.world.head].files.clone();
        self.tell(|| format!("people: a commit upon {parent}: {what}, {files:?}"));
    }

    fn edit(&mut self, random: &mut Random) {
        let spec = &mut self.world.spec;
        match random.below(6) {
            0 => spec.allow_rewrite = !spec.allow_rewrite,
            1 => spec.prune = !spec.prune,
            2 => spec.origin += 1,
            3 => spec.max_deletions = MaxDeletions::Percent(100),
            4 => spec.max_deletions = MaxDeletions::Count(2),
            _ => spec.max_deletions = MaxDeletions::default(),
        }
        self.world.source_written(&people(), false);
        self.tell(|| "people: another source".into());
    }

    fn meddle(&mut self, random: &mut Random) {
        let release = random.below(RELEASES);
        let kind = random.one_of(&[(2, Kind::Release), (1, Kind::Deployment), (1, Kind::Service)]);
        let uid = match kind {
            Kind::Release => self.world.releases.get(&release).map(|found| found.uid.clone()),
            kind => self.world.objects.get(&(kind, release)).cloned(),
        };
        if let Some(uid) = uid {
            self.world.delete(&people(), kind, release, &uid);
            self.tell(|| format!("people: delete {kind:?} {release}"));
        }
    }
}
