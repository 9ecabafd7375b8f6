//! A controller: look, decide, carry out one step after the other, with the preconditions of `controller::act`.

use std::rc::Rc;

use super::{
    super::{
        decide,
        decision::{Decision, Draft, MigrationStep, Phase, Report, Stage, Step},
        fixtures::objects,
        ledger::EntryState,
        observed::{Observed, Revision},
    },
    eyes::Eyes,
    recorder::{Recorder, Who},
    sequence::Coverage,
    truth::Truth,
    world::{Refused, World},
};
use crate::{
    render::{Kind, ObjectKey, job_name},
    spec::Declared,
};

/// What one process keeps in memory; a crash loses it.
#[derive(Clone, Default)]
pub struct Controller {
    stage: Option<(Stage, u64)>,
    settled: bool,
    pub pass: Option<Pass>,
    /// What the last look came to.
    pub last: Option<Report>,
}

/// A decision that is being carried out.
#[derive(Clone)]
pub struct Pass {
    observed: Rc<Observed>,
    declared: Rc<Declared>,
    steps: Vec<Step>,
}

/// What happens to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done, and the controller hears of it.
    Done,
    /// It is done, and the controller sees an error.
    LostReply,
    /// It is not done, and the controller sees an error.
    NotDone,
    /// It is done, and the controller dies.
    CrashAfter,
    /// The controller dies before it.
    CrashBefore,
}

impl Controller {
    /// Looks at worlds of the past and decides; the steps are carried out later.
    pub fn look(&mut self, eyes: &Eyes<'_>, coverage: &mut Coverage) -> Option<Decision> {
        let observed = eyes.observe(self.settled, self.stage)?;
        let decision = decide(&observed);
        let stage = decision.report.stage;
        if self.stage.is_none_or(|(before, _)| before != stage) {
            self.stage = Some((stage, eyes.now().clock));
        }
        if decision.is_settled() && decision.report.phase == Phase::Live {
            self.settled = true;
        }
        assert!(
            !decision.report.message.is_empty(),
            "a decision without a sentence: {decision:?}"
        );
        let gated = decision
            .steps
            .iter()
            .any(|step| matches!(step, Step::Apply { .. } | Step::Migrate(_)));
        coverage.stale_gate |= gated && eyes.is_stale();
        self.last = Some(decision.report.clone());
        if !decision.steps.is_empty() {
            self.pass = Some(Pass {
                observed: Rc::new(observed),
                declared: Rc::clone(&eyes.declared().declared),
                steps: decision.steps.clone(),
            });
        }
        Some(decision)
    }

    /// Dies and is started anew.
    pub fn crash(&mut self) {
        *self = Self::default();
    }

    /// Carries out the next step of the pass. After an error the pass ends.
    pub fn step(
        &mut self,
        (which, fate): (usize, Fate),
        world: &mut World,
        truth: &mut Truth,
        coverage: &mut Coverage,
        recorder: &mut Recorder,
        trace: &mut dyn FnMut(String),
    ) {
        let Some(pass) = &mut self.pass else { return };
        let step = pass.steps.remove(0);
        let (observed, declared) = (Rc::clone(&pass.observed), Rc::clone(&pass.declared));
        if pass.steps.is_empty() {
            self.pass = None;
        }
        trace(format!("{} ({fate:?})", word(&step)));
        let mut refused = None;
        if !matches!(fate, Fate::NotDone | Fate::CrashBefore) {
            refused = act(world, truth, coverage, &observed, &declared, &step).err();
            let who = Who::Controller(which);
            recorder.record(&Rc::new(world.clone()), truth, who, Some(&step));
            if let Some(refused) = refused {
                recorder.refused(world, who, &step, refused);
                trace(format!("refused: {refused:?}"));
            } else if fate == Fate::LostReply {
                let creates = matches!(
                    step,
                    Step::CreateRevision(_)
                        | Step::Migrate(
                            MigrationStep::CreateJob { .. }
                                | MigrationStep::Write { over: None, .. }
                                | MigrationStep::TakeLock { over: None, .. }
                        )
                );
                coverage.lost_create |= creates;
            }
        }
        match fate {
            Fate::Done if refused.is_none() => {}
            Fate::Done | Fate::LostReply | Fate::NotDone => self.pass = None,
            Fate::CrashAfter | Fate::CrashBefore => {
                coverage.crash_after_claim |= claimed_and_never_resumed(world, truth);
                self.crash();
            }
        }
    }
}

/// A claim whose Job has never been resumed.
pub fn claimed_and_never_resumed(world: &World, truth: &Truth) -> bool {
    let claimed = world.ledger.as_ref().and_then(|seen| seen.ledger.claimed());
    claimed.is_some_and(|(_, entry)| !truth.resumed.contains(&entry.uid))
}

/// One write.
fn act(
    world: &mut World,
    truth: &mut Truth,
    coverage: &mut Coverage,
    observed: &Observed,
    declared: &Declared,
    step: &Step,
) -> Result<(), Refused> {
    match step {
        Step::AskRegistry | Step::Generate | Step::Record { .. } | Step::Expose { .. } => Ok(()),
        Step::CreateRevision(draft) => {
            if let Some(migration) = &draft.migration {
                truth
                    .databases
                    .insert(migration.key.clone(), migration.database.clone());
            }
            world.create_revision(drawn(declared, draft))
        }
        Step::Conclude {
            revision,
            outcome,
            message,
            ..
        } => world.conclude(*revision, *outcome, message),
        Step::Prepare { objects } | Step::Apply { objects, .. } => {
            for (object, over) in objects {
                world.apply(object, over.as_deref(), false)?;
            }
            Ok(())
        }
        Step::Delete { key, .. } => {
            world.bump();
            world.objects.remove(key);
            Ok(())
        }
        Step::Forget { number, .. } => {
            world.bump();
            world.revisions.retain(|(revision, _)| revision.number != *number);
            Ok(())
        }
        Step::Migrate(MigrationStep::CreateJob { revision, key, run }) => {
            let current = observed
                .current
                .as_ref()
                .filter(|current| current.number == *revision);
            let (Some(current), Some(_)) = (current, &declared.migrate) else {
                return Ok(());
            };
            for object in current
                .objects
                .iter()
                .filter(|object| object.key.kind == Kind::Deployment)
            {
                let seen = observed
                    .objects
                    .get(&object.key)
                    .map(|live| live.resource_version.as_str());
                world.apply(object, seen, true)?;
            }
            let name = job_name(&observed.id.name, key.as_str(), *run);
            world.create_job(&name, key)
        }
        Step::Migrate(MigrationStep::Write { key, entry, over }) => {
            let written = world.write_ledger(key, entry, over.as_deref());
            if written.is_ok() {
                coverage.claimed |= entry.state == EntryState::Claimed;
                coverage.succeeded |= entry.state == EntryState::Succeeded;
                coverage.unknown |= entry.state == EntryState::Unknown;
                coverage.withdrawn |= entry.state == EntryState::Withdrawn;
            }
            written
        }
        // Nobody takes the ledger away here, and a sequence has few migrations.
        Step::Migrate(MigrationStep::Rebuild { .. } | MigrationStep::Compact { .. }) => {
            Err(Refused::AlreadyExists)
        }
        Step::Migrate(MigrationStep::TakeLock { lock, uid, job, over }) => {
            world.write_lock(lock, Some((uid.clone(), job.as_str().into())), over.as_deref())
        }
        Step::Migrate(MigrationStep::Resume { job, uid, over }) => {
            let resumed = world.suspend(job, uid, over, false);
            if resumed.is_ok() {
                truth.resumed.insert(uid.clone());
            }
            resumed
        }
        Step::Migrate(MigrationStep::Withdraw { uid, over, .. }) => world.withdraw(uid, over),
        Step::Migrate(MigrationStep::Suspend { job, uid, over }) => world.suspend(job, uid, over, true),
        Step::Migrate(MigrationStep::DeleteJob { uid, over, .. }) => world.delete_job(uid, Some(over)),
        Step::Migrate(MigrationStep::FreeLock { lock, over }) => world.write_lock(lock, None, Some(over)),
    }
}

/// The revision that a draft becomes.
fn drawn(declared: &Declared, draft: &Draft) -> Revision {
    Revision {
        number: draft.number,
        attempt: declared.attempt_hash.clone(),
        version: declared.version.to_string(),
        reference: declared.image.reference(),
        digest: draft.digest.clone(),
        migration: draft.migration.clone(),
        objects: objects(declared, &draft.digest, draft.number),
        cause: String::new(),
        fingerprints: None,
        outcome: None,
        message: String::new(),
        was_live: false,
        resource_version: String::new(),
    }
}

fn word(step: &Step) -> String {
    match step {
        Step::Migrate(MigrationStep::Write { key, entry, .. }) => {
            format!("book {:?} of {key} for {} {}", entry.state, entry.uid, entry.note)
        }
        Step::Migrate(MigrationStep::CreateJob { key, run, .. }) => format!("create Job {run} of {key}"),
        Step::Migrate(step) => format!("{step:?}"),
        Step::Apply { gate, objects } => {
            let keys: Vec<&ObjectKey> = objects.iter().map(|(object, _)| &object.key).collect();
            format!("apply {keys:?} of {}", gate.revision())
        }
        Step::Conclude {
            revision, outcome, ..
        } => format!("conclude {revision} {outcome:?}"),
        Step::CreateRevision(draft) => format!("create {}", draft.number),
        Step::Delete { key, .. } => format!("delete {key}"),
        Step::Forget { number, .. } => format!("forget {number}"),
        Step::Prepare { .. } => "prepare".into(),
        Step::AskRegistry | Step::Generate => "ask".into(),
        Step::Record { revision, .. } => format!("record {revision}"),
        Step::Expose { revision, .. } => format!("expose {revision}"),
    }
}

/// A phase as the status has it.
pub fn phase_word(phase: &Phase) -> String {
    match phase {
        Phase::Failed(stage) => format!("Failed({stage})"),
        Phase::Waiting(reason) => format!("Waiting({reason})"),
        phase => format!("{phase:?}"),
    }
}
