//! A sequence of moves, each drawn from one number, with the invariants checked after each; and its shrinking.

use std::rc::Rc;

use super::{
    super::{
        decision::Phase,
        fixtures::{self, DATABASE},
        mutant::{self, Mutant},
    },
    cluster::{self, Event},
    controller::{Controller, Fate, claimed_and_never_resumed, is_end},
    eyes::{Eyes, Reading},
    people,
    random::Random,
    truth::{Truth, Violation},
    world::World,
};

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
    pub unseen_reboots: u32,
    pub unseen_rotations: u32,
    pub end: Option<&'static str>,
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
pub fn run(moves: &[u64], setting: Setting) -> Result<Coverage, Violation> {
    trace(moves, setting, false).0
}

/// As [`run`], telling what happened.
pub fn trace(moves: &[u64], setting: Setting, told: bool) -> (Result<Coverage, Violation>, Vec<String>) {
    let mut run = Run {
        world: World::new(fixtures::declared(1), DATABASE),
        truth: Truth::default(),
        controllers: [Controller::default(), Controller::default()],
        history: Vec::new(),
        coverage: Coverage::default(),
        reading: setting.reading,
        trace: told.then(Vec::new),
    };
    run.remember();
    let result = mutant::with(setting.mutant, || {
        for number in moves {
            run.make(&mut Random(*number))?;
        }
        run.rest()
    });
    run.coverage.unseen_reboots = run.truth.unseen_reboots;
    run.coverage.unseen_rotations = run.truth.unseen_rotations;
    (result.map(|()| run.coverage), run.trace.unwrap_or_default())
}

/// A shorter list of moves that breaks the same invariant.
pub fn shrink(moves: &[u64], setting: Setting) -> Vec<u64> {
    let breaks = |moves: &[u64]| run(moves, setting).err().map(|violation| violation.name);
    let mut moves = moves.to_vec();
    let Some(name) = breaks(&moves) else { return moves };
    let mut size = moves.len() / 2;
    while size > 0 {
        let mut start = 0;
        while start < moves.len() {
            let mut fewer = moves.clone();
            fewer.drain(start..(start + size).min(moves.len()));
            if breaks(&fewer) == Some(name) {
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

    /// One move, and the invariants that hold at every moment.
    fn make(&mut self, random: &mut Random) -> Result<(), Violation> {
        match random.below(100) {
            0..62 => self.controller(random.below(2), random)?,
            62..85 => {
                let events = cluster::possible(&self.world);
                let slowly = random.below(100);
                if let Some(event) = random.pick(&events).filter(|event| slowly < chance(event)) {
                    self.tell(|| format!("cluster: {event:?}"));
                    cluster::happen(&mut self.world, &mut self.truth, random, event)?;
                }
            }
            85..91 => {
                let told = people::commit(&mut self.world, &mut self.truth, random);
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
        self.check()
    }

    fn check(&mut self) -> Result<(), Violation> {
        let claimed = self.world.ledger.as_ref().and_then(|seen| seen.ledger.claimed());
        self.coverage.vanished |=
            claimed.is_some_and(|(_, entry)| !self.world.jobs.iter().any(|job| job.uid == entry.uid));
        self.remember();
        Truth::one_live_migration(&self.world)
    }

    fn controller(&mut self, which: usize, random: &mut Random) -> Result<(), Violation> {
        if self.controllers[which].pass.is_some() {
            let fate = match random.below(100) {
                0..78 => Fate::Done,
                78..85 => Fate::LostReply,
                85..90 => Fate::NotDone,
                90..96 => Fate::CrashAfter,
                _ => Fate::CrashBefore,
            };
            self.step(which, fate)
        } else if random.percent(4) {
            self.coverage.crash_after_claim |= claimed_and_never_resumed(&self.world, &self.truth);
            self.controllers[which].crash();
            self.tell(|| format!("controller {which}: crashes"));
            Ok(())
        } else {
            let stale = if random.percent(30) { STALE } else { 0 };
            let eyes = Eyes::drawn(&self.history, stale, self.reading, random);
            let decision = self.controllers[which].look(&eyes, &mut self.coverage);
            self.tell(|| match decision {
                Some(decision) => format!("controller {which}: sees {}", decision.report.message),
                None => format!("controller {which}: looks again"),
            });
            Ok(())
        }
    }

    fn step(&mut self, which: usize, fate: Fate) -> Result<(), Violation> {
        let trace = &mut self.trace;
        self.controllers[which].step(
            &mut self.world,
            &mut self.truth,
            &mut self.coverage,
            fate,
            &mut |text| {
                if let Some(trace) = trace {
                    trace.push(format!("controller {which}: {text}"));
                }
            },
        )
    }

    /// Without faults the world comes to rest in bounded looks, at an end with a sentence; and then stays.
    fn rest(&mut self) -> Result<(), Violation> {
        let mut random = Random(self.world.version);
        let mut quiet = 0;
        for _ in 0..ROUNDS {
            let before = self.world.version;
            for which in 0..2 {
                while self.controllers[which].pass.is_some() {
                    self.step(which, Fate::Done)?;
                    self.check()?;
                }
                let eyes = Eyes::fresh(&self.history, self.reading);
                let decision = self.controllers[which].look(&eyes, &mut self.coverage);
                self.tell(|| format!("rest: {which} sees {:?}", decision.map(|d| d.report.message)));
            }
            while let Some(event) = cluster::possible(&self.world).first() {
                self.tell(|| format!("rest: {event:?}"));
                cluster::happen(&mut self.world, &mut self.truth, &mut random, event)?;
                self.check()?;
            }
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
                return self.at_an_end();
            }
            if idle {
                self.world.clock += 1000;
                self.check()?;
            }
        }
        let last = self.controllers[0].last.clone();
        Err(Violation {
            name: "liveness",
            what: format!("no rest after {ROUNDS} rounds: {last:?}"),
        })
    }

    fn at_an_end(&mut self) -> Result<(), Violation> {
        for controller in &self.controllers {
            let Some((phase, message)) = &controller.last else {
                continue;
            };
            if !is_end(phase) || message.trim().is_empty() {
                return Err(Violation {
                    name: "liveness",
                    what: format!("it rests as {phase:?}: {message}"),
                });
            }
        }
        self.coverage.end = self.controllers[0].last.as_ref().map(|(phase, _)| match phase {
            Phase::Live => "Live",
            Phase::RolledBack => "RolledBack",
            Phase::Failed(_) => "Failed",
            _ => "Waiting",
        });
        Ok(())
    }
}
