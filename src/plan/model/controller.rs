//! A controller: look, decide, carry out one step after the other. The order of reads is that of
//! `controller::reconcile`, the preconditions are those of `controller::act`.

use std::{rc::Rc, time::Duration};

use jiff::Timestamp;

use super::{
    super::{
        decide,
        decide::lock_name,
        decision::{Decision, Draft, MigrationStep, Phase, Stage, Step},
        fixtures::{id, objects},
        ledger::EntryState,
        migration::job_name,
        observed::{
            DatabaseSeen, Declaration, ImageSeen, JobPodSeen, JobSeen, LockSeen, NamespaceSeen, Observed,
            PodSeen, Revision,
        },
    },
    random::Random,
    sequence::Coverage,
    truth::{Truth, Violation},
    world::{Refused, World},
};
use crate::{
    names::RevisionNumber,
    render::{Kind, ObjectKey},
    spec::Declared,
};

/// A way to read the cluster that is known to be wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Whether a Job was ever resumed is told from `status.startTime` alone, not from its generation.
    pub start_time_only: bool,
}

/// What one process keeps in memory; a crash loses it.
#[derive(Clone, Default)]
pub struct Controller {
    stage: Option<(Stage, u64)>,
    settled: bool,
    pub pass: Option<Pass>,
    /// What the last pass came to.
    pub last: Option<(Phase, String)>,
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
        let observed = self.observe(eyes)?;
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
        self.last = Some((decision.report.phase.clone(), decision.report.message.clone()));
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

    /// `None` when the look could not be taken.
    fn observe(&self, eyes: &Eyes<'_>) -> Option<Observed> {
        let spec = eyes.declared();
        let declared = &spec.declared;
        let revisions = &eyes.revisions().revisions;
        let current = revisions.last().map(|(revision, _)| (**revision).clone());
        let live = revisions
            .iter()
            .rev()
            .filter(|(revision, _)| revision.was_live)
            .max_by_key(|(_, live_at)| *live_at)
            .map(|(revision, _)| (**revision).clone());
        // A node that was started anew between this read and that of the pods would be seen wrongly either way.
        let boot = (eyes.boots_before().boot == eyes.boots_after().boot).then(|| eyes.boots_after().boot)?;
        let pin = revisions
            .iter()
            .rev()
            .find(|(revision, _)| revision.reference == declared.image.reference())
            .map(|(revision, _)| (revision.digest.clone(), revision.number, Vec::new()));
        let mut observed = Observed {
            id: id(),
            now: Timestamp::UNIX_EPOCH,
            declaration: Declaration::Valid(Box::new((**declared).clone())),
            namespace: NamespaceSeen::Present,
            highest: current.as_ref().map(|revision| revision.number),
            live,
            retained: revisions.iter().map(|(revision, _)| revision.number).collect(),
            current,
            image: ImageSeen::NotAsked,
            pin,
            tag_moved: None,
            architectures: Vec::new(),
            missing: Vec::new(),
            ungenerated: Vec::new(),
            database: match declared.migrate {
                Some(_) => DatabaseSeen::Known(eyes.database().database.to_owned()),
                None => DatabaseSeen::NotNeeded,
            },
            ledger: eyes.ledger().ledger.as_deref().cloned(),
            jobs: eyes
                .jobs()
                .jobs
                .iter()
                .map(|job| job_seen(job, eyes.reading))
                .collect(),
            job_pods: eyes
                .pods()
                .pods
                .iter()
                .map(|pod| pod_seen(pod, boot, eyes.pods().clock))
                .collect(),
            lock: (String::new(), LockSeen::Absent),
            objects: eyes
                .objects()
                .objects
                .iter()
                .map(|(key, live)| (key.clone(), (**live).clone()))
                .collect(),
            pods: process_pods(eyes.pods()),
            exposure: Vec::new(),
            seen_before: self.settled,
            stage: self
                .stage
                .map(|(stage, since)| (stage, Duration::from_secs(eyes.now().clock.saturating_sub(since)))),
        };
        let lock = observed
            .ledger
            .as_ref()
            .and_then(|seen| seen.ledger.claimed())
            .map(|(_, entry)| entry.lock.clone())
            .or_else(|| Some(observed.current.as_ref()?.migration.as_ref()?.lock.clone()))
            .unwrap_or_else(|| lock_name(&observed));
        if observed.ledger.is_some() {
            observed.lock.1 = lock_seen(eyes.lock(), &lock);
        }
        observed.lock.0 = lock;
        Some(observed)
    }

    /// Carries out the next step of the pass. After an error the pass ends.
    pub fn step(
        &mut self,
        world: &mut World,
        truth: &mut Truth,
        coverage: &mut Coverage,
        fate: Fate,
        trace: &mut dyn FnMut(String),
    ) -> Result<(), Violation> {
        let Some(pass) = &mut self.pass else { return Ok(()) };
        let step = pass.steps.remove(0);
        let (observed, declared) = (Rc::clone(&pass.observed), Rc::clone(&pass.declared));
        if pass.steps.is_empty() {
            self.pass = None;
        }
        trace(format!("{} ({fate:?})", word(&step)));
        let mut refused = None;
        if !matches!(fate, Fate::NotDone | Fate::CrashBefore) {
            refused = act(world, truth, coverage, &observed, &declared, &step)?.err();
            if let Some(refused) = refused {
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
        Ok(())
    }
}

/// A claim whose Job has never been resumed.
pub fn claimed_and_never_resumed(world: &World, truth: &Truth) -> bool {
    let claimed = world.ledger.as_ref().and_then(|seen| seen.ledger.claimed());
    claimed.is_some_and(|(_, entry)| truth.jobs.get(&entry.uid).is_some_and(|(_, resumed)| !resumed))
}

/// One write, with what the checkers say about it.
fn act(
    world: &mut World,
    truth: &mut Truth,
    coverage: &mut Coverage,
    observed: &Observed,
    declared: &Declared,
    step: &Step,
) -> Result<Result<(), Refused>, Violation> {
    Ok(match step {
        Step::AskRegistry | Step::Generate => Ok(()),
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
                if let Err(refused) = world.apply(object, over.as_deref(), false) {
                    return Ok(Err(refused));
                }
                Truth::deployment_written(world, object)?;
            }
            Ok(())
        }
        Step::Delete { key, .. } => {
            world.bump();
            world.objects.remove(key);
            Ok(())
        }
        Step::Forget(number) => {
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
                return Ok(Ok(()));
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
                if let Err(refused) = world.apply(object, seen, true) {
                    return Ok(Err(refused));
                }
            }
            let name = job_name(&observed.id.name, key, *run);
            let created = world.create_job(&name, key);
            if created.is_ok()
                && let Some(job) = world.jobs.last()
            {
                truth.jobs.insert(job.uid.clone(), (key.clone(), false));
            }
            created
        }
        Step::Migrate(MigrationStep::Write { key, entry, over }) => {
            let before = world.entry(key).cloned();
            let written = world.write_ledger(key, entry, over.as_deref());
            if written.is_ok() {
                truth.booked(key, before.as_ref(), entry)?;
                coverage.claimed |= entry.state == EntryState::Claimed;
                coverage.succeeded |= entry.state == EntryState::Succeeded;
                coverage.unknown |= entry.state == EntryState::Unknown;
            }
            written
        }
        Step::Migrate(MigrationStep::TakeLock { lock, uid, job, over }) => {
            world.write_lock(lock, Some((uid.clone(), job.as_str().into())), over.as_deref())
        }
        Step::Migrate(MigrationStep::Resume { job, uid, over }) => {
            let resumed = world.suspend(job, uid, over, false);
            if resumed.is_ok() {
                truth.resumed(world, uid)?;
            }
            resumed
        }
        Step::Migrate(MigrationStep::Suspend { job, uid, over }) => world.suspend(job, uid, over, true),
        Step::Migrate(MigrationStep::DeleteJob { uid, over, .. }) => world.delete_job(uid, Some(over)),
        Step::Migrate(MigrationStep::FreeLock { lock, over }) => world.write_lock(lock, None, Some(over)),
    })
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
        outcome: None,
        message: String::new(),
        was_live: false,
    }
}

// === seeing ===

/// Which moment each part of a look is from.
pub struct Eyes<'a> {
    pub history: &'a [Rc<World>],
    pub reading: Reading,
    /// Moments, in the order of the reads.
    at: [usize; 11],
}

macro_rules! moments {
    ($($name:ident = $index:literal;)*) => {
        $(pub fn $name(&self) -> &World { &self.history[self.at[$index]] })*
    };
}

impl<'a> Eyes<'a> {
    /// A look that began up to `oldest` moments ago and took until up to now.
    pub fn drawn(history: &'a [Rc<World>], oldest: usize, reading: Reading, random: &mut Random) -> Self {
        let now = history.len() - 1;
        let mut at = [now; 11];
        let mut moment = now.saturating_sub(random.below(oldest + 1));
        for part in &mut at {
            moment += random.below(now - moment + 1) * usize::from(random.percent(30));
            *part = moment;
        }
        // What is read together has no order.
        at.swap(1, 2 - random.below(2));
        if oldest > 0 && random.percent(10) {
            // Any one part may come from a cache of any age, even where a pass never reads one.
            let part = [0, 1, 2, 4, 5, 7, 8, 9][random.below(8)];
            at[part] = random.below(at[part] + 1);
        }
        Self { history, reading, at }
    }

    /// Everything as it is.
    pub fn fresh(history: &'a [Rc<World>], reading: Reading) -> Self {
        Self {
            history,
            reading,
            at: [history.len() - 1; 11],
        }
    }

    moments! {
        declared = 0; revisions = 1; ledger = 2; boots_before = 3; jobs = 4; pods = 5; boots_after = 6;
        database = 7; objects = 8; lock = 9; now = 10;
    }

    /// Whether what guards a migration has changed since it was read.
    fn is_stale(&self) -> bool {
        let now = &self.history[self.history.len() - 1];
        let versions = |world: &World| world.jobs.iter().map(|job| job.version).collect::<Vec<_>>();
        let ledger = |world: &World| world.ledger.as_ref().map(|seen| seen.resource_version.clone());
        ledger(self.ledger()) != ledger(now) || versions(self.jobs()) != versions(now)
    }
}

fn job_seen(job: &super::world::Job, reading: Reading) -> JobSeen {
    JobSeen {
        name: job.name.to_string(),
        uid: job.uid.clone(),
        resource_version: job.version.to_string(),
        key: Some(job.key.clone()),
        suspended: job.suspended,
        resumed: job.start_time || (!reading.start_time_only && job.generation > 1),
        deleting: job.deleting,
        finished: job.finished.clone(),
    }
}

fn pod_seen(pod: &super::world::Pod, boot: u64, clock: u64) -> JobPodSeen {
    let running = pod.started.filter(|_| !pod.terminal);
    JobPodSeen {
        job: pod.job.clone(),
        started: pod.started.is_some(),
        succeeded: pod.exit_code == Some(0),
        terminal: pod.terminal,
        exit_code: pod.exit_code,
        deleting: pod.deleting,
        disrupted: false,
        reason: None,
        stuck: pod.stuck.then(|| "ImagePull: ErrImagePull".to_owned()),
        node: Some(("node1".into(), format!("boot{boot}"))),
        running_for: running.map(|since| Duration::from_secs(clock - since)),
        tail: String::new(),
    }
}

/// Version 3 crashes as soon as it is rolled out.
fn process_pods(world: &World) -> Vec<PodSeen> {
    let Some(number) = world.rolled() else {
        return Vec::new();
    };
    let bad = world
        .revisions
        .iter()
        .any(|(revision, _)| revision.number.0 == number && revision.version.starts_with('3'));
    vec![PodSeen {
        name: "billing-0".into(),
        revision: Some(RevisionNumber(number)),
        deleting: false,
        restarts: if bad { 3 } else { 0 },
        waiting: None,
        unschedulable: None,
        last_end: bad.then(|| (1, "Error".into())),
    }]
}

fn lock_seen(world: &World, name: &str) -> LockSeen {
    let Some(lock) = world.locks.get(name) else {
        return LockSeen::Absent;
    };
    let resource_version = lock.version.to_string();
    let Some((by, job)) = lock.holder.clone() else {
        return LockSeen::Free { resource_version };
    };
    let ended = world
        .jobs
        .iter()
        .find(|job| job.uid == by)
        .is_none_or(|job| job.finished.is_some());
    let over = ended
        && world
            .pods
            .iter()
            .filter(|pod| pod.job == by)
            .all(|pod| pod.terminal);
    LockSeen::Held {
        by,
        holder: format!("shop/{job}"),
        over,
        resource_version,
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
        Step::Forget(number) => format!("forget {number}"),
        Step::Prepare { .. } => "prepare".into(),
        Step::AskRegistry | Step::Generate => "ask".into(),
    }
}

/// Whether an outcome can be the end of a revision.
pub fn is_end(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Live | Phase::RolledBack | Phase::Failed(_) | Phase::Waiting(_)
    )
}
