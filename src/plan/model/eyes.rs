//! What a look sees: each part from a moment of its own, in the order in which `controller::reconcile` reads.

use std::{rc::Rc, time::Duration};

use jiff::Timestamp;

use super::{
    super::{
        decision::Stage,
        fixtures::{id, uid},
        observed::{
            DatabaseSeen, Declaration, ImageSeen, JobPodSeen, JobSeen, LockSeen, NamespaceSeen, Observed,
            PodSeen,
        },
        renew::lock_name,
    },
    random::Random,
    world::{Job, Pod, World},
};
use crate::names::RevisionNumber;

/// A way to read the cluster that is known to be wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Whether a Job was ever resumed is told from `status.startTime` alone, not from its generation.
    pub start_time_only: bool,
}

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

    /// `None` when the look could not be taken.
    pub fn observe(&self, settled: bool, stage: Option<(Stage, u64)>) -> Option<Observed> {
        let spec = self.declared();
        let declared = &spec.declared;
        let revisions = &self.revisions().revisions;
        let current = revisions.last().map(|(revision, _)| (**revision).clone());
        let live = revisions
            .iter()
            .rev()
            .filter(|(revision, _)| revision.was_live)
            .max_by_key(|(_, live_at)| *live_at)
            .map(|(revision, _)| (**revision).clone());
        // A node that was started anew between this read and that of the pods would be seen wrongly either way.
        let boot = (self.boots_before().boot == self.boots_after().boot).then(|| self.boots_after().boot)?;
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
            retained: revisions
                .iter()
                .map(|(revision, _)| (revision.number, uid(&revision.number.to_string())))
                .collect(),
            current,
            image: ImageSeen::NotAsked,
            pin,
            tag_moved: None,
            owner: None,
            rolling: None,
            restarts_before: None,
            records: Vec::new(),
            fingerprints: None,
            fingerprints_for: Duration::ZERO,
            architectures: Vec::new(),
            missing: Vec::new(),
            ungenerated: Vec::new(),
            database: match declared.migrate {
                Some(_) => DatabaseSeen::Known(self.database().database.to_owned()),
                None => DatabaseSeen::NotNeeded,
            },
            ledger: self.ledger().ledger.as_deref().cloned(),
            jobs: self
                .jobs()
                .jobs
                .iter()
                .map(|job| job_seen(job, self.reading))
                .collect(),
            job_pods: self
                .pods()
                .pods
                .iter()
                .map(|pod| pod_seen(pod, boot, self.pods().clock))
                .collect(),
            lock: (String::new(), LockSeen::Absent),
            objects: self
                .objects()
                .objects
                .iter()
                .map(|(key, live)| (key.clone(), (**live).clone()))
                .collect(),
            pods: process_pods(self.pods()),
            exposure: Vec::new(),
            seen_before: settled,
            stage: stage
                .map(|(stage, since)| (stage, Duration::from_secs(self.now().clock.saturating_sub(since)))),
        };
        let lock = observed
            .ledger
            .as_ref()
            .and_then(|seen| seen.ledger.claimed())
            .map(|(_, entry)| entry.lock.clone())
            .or_else(|| Some(observed.current.as_ref()?.migration.as_ref()?.lock.clone()))
            .unwrap_or_else(|| lock_name(&observed));
        if observed.ledger.is_some() {
            observed.lock.1 = lock_seen(self.lock(), &lock);
        }
        observed.lock.0 = lock;
        Some(observed)
    }

    /// Whether what guards a migration has changed since it was read.
    pub fn is_stale(&self) -> bool {
        let now = &self.history[self.history.len() - 1];
        let versions = |world: &World| world.jobs.iter().map(|job| job.version).collect::<Vec<_>>();
        let ledger = |world: &World| world.ledger.as_ref().map(|seen| seen.resource_version.clone());
        ledger(self.ledger()) != ledger(now) || versions(self.jobs()) != versions(now)
    }
}

fn job_seen(job: &Job, reading: Reading) -> JobSeen {
    JobSeen {
        name: job.name.to_string(),
        uid: job.uid.clone(),
        resource_version: job.version.to_string(),
        key: Some(job.key.clone()),
        suspended: job.suspended,
        resumed: job.start_time || (!reading.start_time_only && job.generation > 1),
        withdrawn: job.withdrawn,
        deleting: job.deleting,
        finished: job.finished.clone(),
        blocked: None,
    }
}

fn pod_seen(pod: &Pod, boot: u64, clock: u64) -> JobPodSeen {
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
        proven: None,
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
