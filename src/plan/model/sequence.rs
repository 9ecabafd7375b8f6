//! A sequence of moves, each drawn from one number, with the invariants judged over all of it; and its shrinking.

use super::{
    super::{
        decision::Step,
        fixtures::DATABASE,
        mutant::{self, Mutant},
    },
    cluster::{self, Event},
    controller::{Fate, phase_word},
    eyes::{Reading, STALE},
    outside, people,
    random::Random,
    reach::{Place, Reached},
    recorder::Who,
    run::{Fates, Run},
    truth::Violation,
};
use crate::trace::{self, event::Fact, object::Release};

/// Rounds of all controllers after which a world without faults must have come to rest.
const ROUNDS: usize = 80;

/// Some migrations, and their way to heed TERM, are long, and outlast what people do meanwhile.
fn chance(event: &Event) -> usize {
    match event {
        Event::End(number) if number % 3 == 0 => 5,
        Event::End(_) => 50,
        _ => 100,
    }
}

/// What came of a sequence.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub reached: Reached,
    pub judged: trace::Coverage,
    /// The phase in which it came to rest.
    pub end: String,
}

/// How sequences are run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setting {
    pub mutant: Option<Mutant>,
    /// Beside what the sequence itself says.
    pub start_time_only: bool,
}

/// What happens, but for what follows from each number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    pub moves: Vec<u64>,
    /// Whether the looks of the controllers are as direct as those of Slipway.
    pub direct: bool,
}

impl Sequence {
    /// The sequence of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::Drawn(seed);
        let length = 30 + random.below(110);
        Self {
            moves: (0..length).map(|_| random.next()).collect(),
            direct: seed % 2 == 1,
        }
    }

    /// Runs the moves, then lets the world come to rest.
    pub fn run(&self, setting: Setting) -> Result<Outcome, Violation> {
        self.told(setting, false).0
    }

    /// As [`Self::run`], telling what happened.
    pub fn told(&self, setting: Setting, told: bool) -> (Result<Outcome, Violation>, Vec<String>) {
        let reading = Reading {
            direct: self.direct,
            start_time_only: setting.start_time_only,
        };
        let mut run = Run::new(outside::declared(1), DATABASE, reading, told);
        let rested = mutant::with(setting.mutant, || {
            for number in &self.moves {
                run.make(&mut Random::Drawn(*number));
            }
            run.rest()
        });
        let verdict = trace::judge(&run.recorder.trace);
        let result = match verdict.violations.first() {
            Some(violation) => Err(Violation {
                name: violation.invariant.to_string(),
                names: verdict
                    .violations
                    .iter()
                    .map(|v| v.invariant.to_string())
                    .collect(),
                what: violation.to_string(),
            }),
            None => rested.map(|end| Outcome {
                reached: run.reached,
                judged: verdict.coverage,
                end,
            }),
        };
        (result, run.story.unwrap_or_default())
    }

    /// A shorter one that breaks the same invariant.
    pub fn shrink(&self, setting: Setting) -> Self {
        let broken = |sequence: &Self| sequence.run(setting).err().map(|violation| violation.name);
        let mut shortest = self.clone();
        let Some(name) = broken(&shortest) else {
            return shortest;
        };
        let mut size = shortest.moves.len() / 2;
        while size > 0 {
            let mut start = 0;
            while start < shortest.moves.len() {
                let mut fewer = shortest.clone();
                let end = (start + size).min(fewer.moves.len());
                fewer.moves.drain(start..end);
                if broken(&fewer).as_ref() == Some(&name) {
                    shortest = fewer;
                } else {
                    start += size;
                }
            }
            size /= 2;
        }
        shortest
    }
}

impl Run {
    /// One move.
    fn make(&mut self, random: &mut Random) {
        let mut who = Who::People;
        match random.below(100) {
            0..58 => {
                self.controller(random.below(2), random);
                who = Who::Cluster;
            }
            58..61 => {
                self.arrive(random);
                who = Who::Cluster;
            }
            61..82 => {
                who = Who::Cluster;
                let events = cluster::possible(&self.world);
                let slowly = random.below(100);
                if let Some(event) = random.pick(&events).filter(|event| slowly < chance(event)) {
                    self.tell(|| format!("cluster: {event:?}"));
                    cluster::happen(&mut self.world, &mut self.truth, random, event);
                }
            }
            82 if random.percent(40) => {
                who = Who::Cluster;
                let doubled = cluster::double(&mut self.world, &mut self.truth, random);
                self.reached.add_if(doubled.is_some(), Place::Doubled);
                self.tell(|| format!("cluster: a second pod of {doubled:?}"));
            }
            82..88 => {
                let told = people::commit(&mut self.world, random);
                self.tell(|| format!("people: {told}"));
            }
            88 if random.percent(40) => {
                let told = people::rotate(&mut self.world, &mut self.truth);
                self.tell(|| format!("people: {told}"));
            }
            88..92 => {
                let told = people::meddle(&mut self.world, &mut self.truth, random);
                self.tell(|| format!("people: {told}"));
            }
            92..95 => {
                let told = people::outside(&mut self.world, random);
                self.tell(|| format!("people: {told}"));
            }
            _ => {
                let seconds = [61, 61, 300, 2000][random.below(4)];
                self.world.clock += seconds;
                self.tell(|| format!("{seconds} seconds pass"));
            }
        }
        self.happened(who);
    }

    fn controller(&mut self, which: usize, random: &mut Random) {
        if self.controllers[which].pass.is_some() {
            let fate = random.one_of(Fates::ALL);
            self.send(which, fate);
        } else if random.percent(4) {
            self.crash(which);
        } else {
            let oldest = if random.percent(30) { STALE } else { 0 };
            self.look(which, Some((oldest, random)));
        }
    }

    /// Without faults the world comes to rest in bounded looks, at an end with a sentence; and then stays. Returns the
    /// phase.
    fn rest(&mut self) -> Result<String, Violation> {
        let mut random = Random::Drawn(self.world.version);
        while self.arrive(&mut random) {
            self.happened(Who::Cluster);
        }
        self.relieve(&mut random);
        let mut quiet = 0;
        for _ in 0..ROUNDS {
            let before = self.world.version;
            self.round(&mut random);
            let idle = self
                .controllers
                .iter()
                .all(|controller| controller.pass.is_none());
            quiet = if idle && self.world.version == before {
                quiet + 1
            } else {
                0
            };
            if quiet >= 2 {
                return self.at_an_end(&mut random);
            }
            if idle {
                self.world.clock += 1000;
                self.happened(Who::Cluster);
            }
        }
        let last = self.controllers[0].last.as_ref().map(|report| &report.message);
        Err(broken("S19", format!("no rest after {ROUNDS} rounds: {last:?}")))
    }

    /// What is outside can be reached again, and some of what was waited for comes.
    fn relieve(&mut self, random: &mut Random) {
        let mut came = vec!["RegistryUnreachable"];
        self.world.change_outside(|outside| outside.registry_down = false);
        if self.world.outside.password.is_none() && random.percent(70) {
            self.world.change_outside(|outside| outside.password = Some(7));
            came.push("SecretMissing");
        }
        if random.percent(50) {
            let tag = format!("{}.0.0", outside::TAGGED);
            let there = self.world.outside.tags.contains_key(&tag);
            if !there {
                let image = outside::TAGGED * 10;
                self.world.change_outside(|outside| {
                    outside.tags.insert(tag, image);
                });
                came.push("WaitingForImage");
            }
        }
        self.tell(|| format!("all that is outside can be reached; there is {came:?}"));
        self.happened(Who::People);
        for reason in came {
            let release = Release {
                namespace: super::super::fixtures::id().namespace.as_str().into(),
                name: super::super::fixtures::id().name.as_str().into(),
            };
            let reason = reason.into();
            self.recorder
                .fact(&self.world, Fact::CauseRemoved { release, reason });
        }
    }

    /// Each controller does all that it wants to do, looks again, and the cluster does all that it can.
    fn round(&mut self, random: &mut Random) {
        for which in 0..2 {
            while self.controllers[which].pass.is_some() {
                self.send(which, Fate::Done);
                self.happened(Who::Cluster);
            }
            self.look(which, None);
            if self.controllers[which].next() == Some(&Step::AskRegistry) {
                // The answer is looked at in the same pass.
                self.send(which, Fate::Done);
                self.look(which, None);
            }
        }
        while let Some(event) = cluster::possible(&self.world).first() {
            self.tell(|| format!("rest: {event:?}"));
            cluster::happen(&mut self.world, &mut self.truth, random, event);
            self.happened(Who::Cluster);
        }
    }

    /// What each controller says now is the end; and two more looks long after change nothing (S19).
    fn at_an_end(&mut self, random: &mut Random) -> Result<String, Violation> {
        for which in 0..2 {
            if let Some(report) = &self.controllers[which].last {
                self.recorder.status(&self.world, Who::Controller(which), report);
            }
        }
        self.recorder.fact(&self.world, Fact::Rest);
        for _ in 0..2 {
            self.world.clock += 1000;
            self.happened(Who::Cluster);
            self.round(random);
        }
        let last = self.controllers[0].last.as_ref();
        let word = last.map_or_else(|| "?".into(), |report| phase_word(&report.phase));
        if word == "Live" {
            self.values_are_those_of_now()?;
        }
        Ok(word)
    }

    /// The pods of what is Live were started with the values that there are now, as far as anybody can know.
    fn values_are_those_of_now(&self) -> Result<(), Violation> {
        let outside = &self.world.outside;
        if outside.password.is_none() || outside.generated.is_none() {
            return Ok(());
        }
        let now = outside.fingerprints(self.world.database);
        let live = self.world.revisions.iter().rev().map(|kept| &kept.revision);
        let live = live.into_iter().find(|revision| revision.was_live);
        match live.and_then(|live| live.fingerprints.as_ref()) {
            Some(known) if *known == now => Ok(()),
            known => {
                let text = format!("it is Live with {known:?}, and there is {now:?}");
                Err(broken("L1", text))
            }
        }
    }
}

fn broken(name: &str, what: String) -> Violation {
    Violation {
        name: name.to_owned(),
        names: [name.to_owned()].into(),
        what,
    }
}
