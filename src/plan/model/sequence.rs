//! A sequence of moves, each drawn from one number, with the invariants checked after each; and its shrinking.

use std::rc::Rc;

use super::{
    super::{
        fixtures::{self, DATABASE},
        mutant::{self, Mutant},
    },
    cluster::{self, Event},
    controller::{Controller, Fate, claimed_and_never_resumed, phase_word},
    eyes::{Eyes, Reading},
    people,
    random::Random,
    recorder::{Recorder, Who},
    truth::{Truth, Violation},
    world::World,
};
use crate::trace::{self, event::Fact, verdict::Limit};

/// How many moments of the past a look may begin at.
const STALE: usize = 10;
/// Rounds of all controllers after which a world without faults must have come to rest.
const ROUNDS: usize = 60;

/// Some migrations, and their way to heed TERM, are long, and outlast what people do meanwhile.
fn chance(event: &Event) -> usize {
    match event {
        Event::End(number) if number % 3 == 0 => 5,
        Event::End(_) => 50,
        _ => 100,
    }
}

/// What a sequence reached.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is counted by itself")]
pub struct Coverage {
    pub claimed: bool,
    pub crash_after_claim: bool,
    pub lost_create: bool,
    pub vanished: bool,
    pub stale_gate: bool,
    pub succeeded: bool,
    pub unknown: bool,
    pub withdrawn: bool,
    pub end: Option<&'static str>,
}

/// What came of a sequence.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub reached: Coverage,
    pub judged: trace::Coverage,
}

impl Outcome {
    pub fn limit(&self, limit: Limit) -> usize {
        self.judged.limits.get(&limit).copied().unwrap_or(0)
    }
}

/// How sequences are run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setting {
    pub mutant: Option<Mutant>,
    pub reading: Reading,
}

/// Everything of one sequence.
#[derive(Clone)]
struct Run {
    world: World,
    truth: Truth,
    controllers: [Controller; 2],
    history: Vec<Rc<World>>,
    recorder: Recorder,
    coverage: Coverage,
    reading: Reading,
    trace: Option<Vec<String>>,
}

/// The moves of a seed.
pub fn moves(seed: u64) -> Vec<u64> {
    let mut random = Random(seed);
    let length = 30 + random.below(110);
    (0..length).map(|_| random.next()).collect()
}

/// Runs the moves, then lets the world come to rest.
pub fn run(moves: &[u64], setting: Setting) -> Result<Outcome, Violation> {
    trace(moves, setting, false).0
}

/// As [`run`], telling what happened.
pub fn trace(moves: &[u64], setting: Setting, told: bool) -> (Result<Outcome, Violation>, Vec<String>) {
    let mut run = Run {
        world: World::new(fixtures::declared(1), DATABASE),
        truth: Truth::default(),
        controllers: [Controller::default(), Controller::default()],
        history: Vec::new(),
        recorder: Recorder::new(),
        coverage: Coverage::default(),
        reading: setting.reading,
        trace: told.then(Vec::new),
    };
    run.happened(Who::People);
    let result = mutant::with(setting.mutant, || {
        for number in moves {
            run.make(&mut Random(*number));
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
        None => result.map(|()| Outcome {
            reached: run.coverage,
            judged: verdict.coverage,
        }),
    };
    (result, run.trace.unwrap_or_default())
}

/// A shorter list of moves that breaks the same invariant.
pub fn shrink(moves: &[u64], setting: Setting) -> Vec<u64> {
    let breaks = |moves: &[u64]| run(moves, setting).err().map(|violation| violation.name);
    let mut moves = moves.to_vec();
    let Some(name) = breaks(&moves) else {
        return moves;
    };
    let mut size = moves.len() / 2;
    while size > 0 {
        let mut start = 0;
        while start < moves.len() {
            let mut fewer = moves.clone();
            fewer.drain(start..(start + size).min(moves.len()));
            if breaks(&fewer).as_ref() == Some(&name) {
                moves = fewer;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    moves
}

impl Run {
    fn tell(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(text());
        }
    }

    fn remember(&mut self) {
        if self
            .history
            .last()
            .is_none_or(|last| last.version != self.world.version || last.clock != self.world.clock)
        {
            if self.history.len() > 2 * STALE {
                self.history.drain(..STALE);
            }
            self.history.push(Rc::new(self.world.clone()));
        }
    }

    /// The world is another one: it is remembered and recorded.
    fn happened(&mut self, who: Who) {
        let claimed = self.world.ledger.as_ref().and_then(|seen| seen.ledger.claimed());
        self.coverage.vanished |=
            claimed.is_some_and(|(_, entry)| !self.world.jobs.iter().any(|job| job.uid == entry.uid));
        self.remember();
        if let Some(now) = self.history.last() {
            self.recorder.record(now, &mut self.truth, who, None);
        }
    }

    /// One move.
    fn make(&mut self, random: &mut Random) {
        let mut who = Who::People;
        match random.below(100) {
            0..62 => {
                who = Who::Cluster;
                self.controller(random.below(2), random);
            }
            62..85 => {
                who = Who::Cluster;
                let events = cluster::possible(&self.world);
                let slowly = random.below(100);
                if let Some(event) = random.pick(&events).filter(|event| slowly < chance(event)) {
                    self.tell(|| format!("cluster: {event:?}"));
                    cluster::happen(&mut self.world, &mut self.truth, random, event);
                }
            }
            85..91 => {
                let told = people::commit(&mut self.world, random);
                self.tell(|| format!("people: {told}"));
            }
            91 if random.percent(40) => {
                let told = people::rotate(&mut self.world, &mut self.truth);
                self.tell(|| format!("people: {told}"));
            }
            91..95 => {
                let told = people::meddle(&mut self.world, &mut self.truth, random);
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
            let fate = match random.below(100) {
                0..78 => Fate::Done,
                78..85 => Fate::LostReply,
                85..90 => Fate::NotDone,
                90..96 => Fate::CrashAfter,
                _ => Fate::CrashBefore,
            };
            self.step(which, fate);
        } else if random.percent(4) {
            self.coverage.crash_after_claim |= claimed_and_never_resumed(&self.world, &self.truth);
            self.controllers[which].crash();
            self.tell(|| format!("controller {which}: crashes"));
        } else {
            let stale = if random.percent(30) { STALE } else { 0 };
            let eyes = Eyes::drawn(&self.history, stale, self.reading, random);
            let decision = self.controllers[which].look(&eyes, &mut self.coverage);
            self.tell(|| match decision {
                Some(decision) => format!("controller {which}: sees {}", decision.report.message),
                None => format!("controller {which}: looks again"),
            });
        }
    }

    fn step(&mut self, which: usize, fate: Fate) {
        let trace = &mut self.trace;
        self.controllers[which].step(
            (which, fate),
            &mut self.world,
            &mut self.truth,
            &mut self.coverage,
            &mut self.recorder,
            &mut |text| {
                if let Some(trace) = trace {
                    trace.push(format!("controller {which}: {text}"));
                }
            },
        );
    }

    /// Without faults the world comes to rest in bounded looks, at an end with a sentence; and then stays.
    fn rest(&mut self) -> Result<(), Violation> {
        let mut random = Random(self.world.version);
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
                self.at_an_end(&mut random);
                return Ok(());
            }
            if idle {
                self.world.clock += 1000;
                self.happened(Who::Cluster);
            }
        }
        let last = self.controllers[0].last.as_ref().map(|report| &report.message);
        Err(Violation {
            name: "liveness".into(),
            names: ["liveness".to_owned()].into(),
            what: format!("no rest after {ROUNDS} rounds: {last:?}"),
        })
    }

    /// Each controller does all that it wants to do, looks again, and the cluster does all that it can.
    fn round(&mut self, random: &mut Random) {
        for which in 0..2 {
            while self.controllers[which].pass.is_some() {
                self.step(which, Fate::Done);
                self.happened(Who::Cluster);
            }
            let eyes = Eyes::fresh(&self.history, self.reading);
            let decision = self.controllers[which].look(&eyes, &mut self.coverage);
            self.tell(|| format!("rest: {which} sees {:?}", decision.map(|d| d.report.message)));
        }
        while let Some(event) = cluster::possible(&self.world).first() {
            self.tell(|| format!("rest: {event:?}"));
            cluster::happen(&mut self.world, &mut self.truth, random, event);
            self.happened(Who::Cluster);
        }
    }

    /// What each controller says now is the end; and two more looks long after change nothing (S19).
    fn at_an_end(&mut self, random: &mut Random) {
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
        self.coverage.end = last.map(|report| match phase_word(&report.phase) {
            word if word == "Live" => "Live",
            word if word == "RolledBack" => "RolledBack",
            word if word.starts_with("Failed") => "Failed",
            word if word.starts_with("Waiting") => "Waiting",
            _ => "?",
        });
    }
}
