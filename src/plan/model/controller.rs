//! A controller: look, decide, carry out one request after the other, and what may become of each.

use std::{collections::VecDeque, rc::Rc, time::Duration};

use super::{
    super::{
        decide,
        decision::{Decision, MigrationStep, Phase, Report, Stage, Step, Wait},
        observed::{Fingerprints, ImageSeen, Observed},
        rollout,
    },
    act::act,
    eyes::{Eyes, Remembered},
    outside::unreachable_registry,
    world::{Refused, World},
};
use crate::{names::RevisionNumber, spec::Declared};

/// What one process keeps in memory; a crash loses it.
#[derive(Clone, Default)]
pub struct Controller {
    stage: Option<(Stage, u64)>,
    rolling: Option<(RevisionNumber, u64)>,
    restarts_before: Option<(RevisionNumber, u32)>,
    /// The generation of the spec at which it was settled.
    settled: Option<u64>,
    values: Option<(Fingerprints, u64)>,
    /// What the registry said in this pass, and about which image.
    answer: Option<(String, ImageSeen)>,
    pub pass: Option<Pass>,
    /// What the last look came to.
    pub last: Option<Report>,
    /// How many moments there were when it last did something.
    pub since: usize,
}

/// A decision that is being carried out.
#[derive(Clone)]
pub struct Pass {
    observed: Rc<Observed>,
    declared: Rc<Declared>,
    steps: VecDeque<Step>,
}

/// One write on its way to the API server.
#[derive(Clone)]
pub struct Request {
    pub observed: Rc<Observed>,
    pub declared: Rc<Declared>,
    pub step: Step,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done, and the controller hears of it.
    Done,
    /// It is done, and the controller sees an error: 500, a cut connection, a deadline.
    LostReply,
    /// It is not done, and the controller sees an error: 429, 500, a cut connection.
    NotDone,
    /// It is under way for longer than the controller waits for an answer, and is done at some later time.
    Late,
    /// It is done, and the controller dies.
    CrashAfter,
    /// The controller dies before it.
    CrashBefore,
}

/// What came of one.
pub enum Sent {
    /// There was none to send.
    Nothing,
    /// It was carried out, or refused.
    Arrived(Rc<Request>, Option<Refused>),
    /// It is still under way.
    Late(Rc<Request>),
    /// It never arrived.
    Lost,
}

impl Controller {
    /// Looks at worlds of the past and decides; the steps are carried out later.
    pub fn look(&mut self, eyes: &Eyes<'_>) -> Option<Decision> {
        let now = eyes.now().clock;
        let since = |since: u64| Duration::from_secs(now.saturating_sub(since));
        let spec = eyes.declared();
        let values = eyes.outside().outside.fingerprints(eyes.outside().database);
        if self.values.as_ref().is_none_or(|(before, _)| *before != values) {
            self.values = Some((values, now));
        }
        let observed = eyes.observe(Remembered {
            image: self.answer.clone(),
            settled: self.settled == Some(spec.generation),
            stage: self.stage.map(|(stage, at)| (stage, since(at))),
            rolling: self.rolling.map(|(number, at)| (number, since(at))),
            restarts_before: self.restarts_before,
            same_values_for: self.values.as_ref().map_or(Duration::ZERO, |(_, at)| since(*at)),
        })?;
        let decision = decide(&observed);
        assert!(
            !decision.report.message.is_empty(),
            "a decision without a sentence: {decision:?}"
        );
        self.remember(&observed, &decision, spec, now);
        self.last = Some(decision.report.clone());
        if decision.wait != Wait::Again {
            self.answer = None;
        }
        if !decision.steps.is_empty() {
            self.pass = Some(Pass {
                observed: Rc::new(observed),
                declared: Rc::clone(&spec.declared),
                steps: decision.steps.iter().flat_map(requests).collect(),
            });
        }
        Some(decision)
    }

    /// As `controller::reconcile` does.
    fn remember(&mut self, observed: &Observed, decision: &Decision, spec: &World, now: u64) {
        let stage = decision.report.stage;
        if self.stage.is_none_or(|(before, _)| before != stage) {
            self.stage = Some((stage, now));
            if let Stage::Verifying(number) = stage
                && self.restarts_before.is_none_or(|(before, _)| before != number)
            {
                self.restarts_before = Some((number, rollout::restarts(&observed.pods, number)));
            }
        }
        let rolling = match stage {
            Stage::RollingOut(number) | Stage::Verifying(number) => Some(number),
            _ => None,
        };
        if self.rolling.map(|(number, _)| number) != rolling {
            self.rolling = rolling.map(|number| (number, now));
        }
        if decision.is_settled() && decision.report.phase == Phase::Live {
            self.settled = Some(spec.generation);
        }
    }

    /// Dies and is started anew.
    pub fn crash(&mut self, now: usize) {
        *self = Self {
            since: now,
            ..Self::default()
        };
    }

    /// What it would send next.
    pub fn next(&self) -> Option<&Step> {
        self.pass.as_ref()?.steps.front()
    }

    /// Sends the next request of the pass. After an error the pass ends.
    pub fn send(&mut self, fate: Fate, world: &mut World, now: usize) -> Sent {
        let Some(pass) = &mut self.pass else {
            return Sent::Nothing;
        };
        let Some(step) = pass.steps.pop_front() else {
            self.pass = None;
            return Sent::Nothing;
        };
        let request = Rc::new(Request {
            observed: Rc::clone(&pass.observed),
            declared: Rc::clone(&pass.declared),
            step,
        });
        if pass.steps.is_empty() {
            self.pass = None;
        }
        let sent = if request.step == Step::AskRegistry {
            self.ask(fate, world, &request.declared);
            Sent::Nothing
        } else {
            match fate {
                Fate::NotDone | Fate::CrashBefore => Sent::Lost,
                Fate::Late => Sent::Late(request),
                Fate::Done | Fate::LostReply | Fate::CrashAfter => {
                    let refused = act(world, &request).err();
                    Sent::Arrived(request, refused)
                }
            }
        };
        let refused = matches!(sent, Sent::Arrived(_, Some(_)));
        match fate {
            Fate::Done if !refused => {}
            Fate::CrashAfter | Fate::CrashBefore => self.crash(now),
            // What it had heard from the registry goes with the pass, but for an answer that is an error itself.
            _ if matches!(sent, Sent::Nothing) => {}
            _ => {
                self.pass = None;
                self.answer = None;
            }
        }
        sent
    }

    fn ask(&mut self, fate: Fate, world: &World, declared: &Declared) {
        let image = match fate {
            Fate::Done => world.outside.ask(&declared.image),
            _ => unreachable_registry(),
        };
        self.answer = Some((declared.image.reference(), image));
    }

    /// For a search, in which no time passes: what is left of its memory has no influence then.
    pub fn forget(&mut self) {
        *self = Self {
            pass: self.pass.take(),
            answer: self.answer.take(),
            last: self.last.take(),
            ..Self::default()
        };
    }

    /// All that its next acts depend on, for a search.
    pub fn state(&self) -> (Option<&Observed>, impl Iterator<Item = &Step>) {
        let observed = self.pass.as_ref().map(|pass| &*pass.observed);
        (observed, self.pass.iter().flat_map(|pass| &pass.steps))
    }
}

/// A step as the requests that it is carried out by: what is applied is applied one by one.
fn requests(step: &Step) -> Vec<Step> {
    match step {
        Step::Prepare { objects } => objects
            .iter()
            .map(|object| Step::Prepare {
                objects: vec![object.clone()],
            })
            .collect(),
        Step::Apply { gate, objects } => objects
            .iter()
            .map(|object| Step::Apply {
                gate: gate.clone(),
                objects: vec![object.clone()],
            })
            .collect(),
        step => vec![step.clone()],
    }
}

/// Whether a request makes something, so that a lost reply leaves open whether it is there.
pub fn creates(step: &Step) -> bool {
    matches!(
        step,
        Step::CreateRevision(_)
            | Step::Restore(_)
            | Step::KeepUp(_)
            | Step::Migrate(
                MigrationStep::CreateJob { .. }
                    | MigrationStep::Write { over: None, .. }
                    | MigrationStep::Rebuild { .. }
                    | MigrationStep::TakeLock { over: None, .. }
            )
    )
}

/// A phase as the status has it.
pub fn phase_word(phase: &Phase) -> String {
    match phase {
        Phase::Failed(stage) => format!("Failed({stage})"),
        Phase::Waiting(reason) => format!("Waiting({reason})"),
        phase => format!("{phase:?}"),
    }
}
