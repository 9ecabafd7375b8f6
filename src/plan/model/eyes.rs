//! What a look sees: each part from a moment of its own, in the order in which `controller::look` reads.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use jiff::Timestamp;
use serde_json::json;

use super::{
    super::{
        decision::Stage,
        fixtures::id,
        observed::{
            BuilderSeen, CommitSeen, Declaration, Doubts, ImageSeen, JobPodSeen, JobSeen, LockSeen,
            NamespaceSeen, Observed, Pin, PodSeen, Record,
        },
        renew::lock_name,
        restore, rotation,
    },
    cluster::crashes,
    random::Random,
    rendered::{applied, template},
    world::{Job, Pod, Said, Stuck, World, rv},
};
use crate::{
    names::RevisionNumber,
    render::{Ownership, ours},
};

/// How many moments of the past a look may begin at.
pub const STALE: usize = 10;

/// How looks are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Every read is answered by the API server as it is then, and a look begins after what the same process wrote before:
    /// how Slipway reads. Else any part may come from a cache of any age.
    pub direct: bool,
    /// Known to be wrong: whether a Job was ever resumed is told from `status.startTime` alone, not from its generation.
    pub start_time_only: bool,
}

/// What was, as far as anybody may still see it.
#[derive(Clone, Default)]
pub struct History {
    moments: Vec<Rc<World>>,
    /// How many were there before.
    forgotten: usize,
}

impl History {
    /// Nothing was before.
    pub fn only(world: &World) -> Self {
        Self {
            moments: vec![Rc::new(world.clone())],
            forgotten: 0,
        }
    }

    pub fn last(&self) -> Option<&Rc<World>> {
        self.moments.last()
    }

    /// How many there have been.
    pub fn len(&self) -> usize {
        self.forgotten + self.moments.len()
    }

    pub fn push(&mut self, world: &World) {
        if self.moments.len() > 2 * STALE {
            self.moments.drain(..STALE);
            self.forgotten += STALE;
        }
        self.moments.push(Rc::new(world.clone()));
    }
}

/// What a process remembers that is a part of a look.
#[derive(Default)]
pub struct Remembered {
    pub image: Option<(String, ImageSeen)>,
    pub settled: bool,
    pub stage: Option<(Stage, Duration)>,
    pub rolling: Option<(RevisionNumber, Duration)>,
    pub restarts_before: Option<(RevisionNumber, u32)>,
    pub same_values_for: Duration,
}

/// Which moment each part of a look is from.
pub struct Eyes<'a> {
    history: &'a [Rc<World>],
    reading: Reading,
    /// Moments, in the order of the reads.
    at: [usize; PARTS],
}

const PARTS: usize = 12;

macro_rules! moments {
    ($($name:ident = $index:literal;)*) => {
        $(pub fn $name(&self) -> &World { &self.history[self.at[$index]] })*
    };
}

impl<'a> Eyes<'a> {
    /// A look that began up to `oldest` moments ago and took until up to now; `since` is how many moments there were when
    /// its process last did something.
    pub fn drawn(
        history: &'a History,
        (oldest, since): (usize, usize),
        reading: Reading,
        random: &mut Random,
    ) -> Self {
        let now = history.moments.len() - 1;
        let first = if reading.direct {
            since.saturating_sub(history.forgotten + 1).min(now)
        } else {
            0
        };
        let mut at = [now; PARTS];
        let mut moment = now.saturating_sub(random.below(oldest + 1)).max(first);
        for part in &mut at {
            moment += random.below(now - moment + 1) * usize::from(random.percent(30));
            *part = moment;
        }
        // What is read together has no order.
        at.swap(1, 2 - random.below(2));
        if !reading.direct && oldest > 0 && random.percent(10) {
            let part = [0, 1, 2, 4, 5, 7, 8, 10][random.below(8)];
            at[part] = random.below(at[part] + 1);
        }
        let history = &history.moments;
        Self { history, reading, at }
    }

    /// Everything as it is.
    pub fn fresh(history: &'a History, reading: Reading) -> Self {
        Self {
            at: [history.moments.len() - 1; PARTS],
            history: &history.moments,
            reading,
        }
    }

    moments! {
        declared = 0; revisions = 1; ledger = 2; boots_before = 3; jobs = 4; pods = 5; boots_after = 6;
        outside = 7; objects = 8; revisions_again = 9; lock = 10; now = 11;
    }

    /// `None` when the look could not be taken.
    #[allow(clippy::too_many_lines, reason = "one fact after the other")]
    pub fn observe(&self, remembered: Remembered) -> Option<Observed> {
        let spec = self.declared();
        let declared = &spec.declared;
        let kept = &self.revisions().revisions;
        let current = kept.last().map(|kept| kept.revision.clone());
        // By number, not by time: clocks of two controllers differ.
        let mut newest_first = kept.iter().rev().map(|kept| &kept.revision);
        let live = newest_first.find(|revision| revision.was_live).cloned();
        // A node that was started anew between this read and that of the pods would be seen wrongly either way.
        let boot = (self.boots_before().boot == self.boots_after().boot).then(|| self.boots_after().boot)?;
        let reference = declared.image.reference();
        let pin = kept
            .iter()
            .rev()
            .map(|kept| &kept.revision)
            .find(|revision| revision.reference == reference)
            .map(|revision| Pin {
                digest: revision.digest.clone(),
                revision: revision.number,
                record: Record::default(),
            });
        let (outside, database) = (&self.outside().outside, self.outside().database);
        let ledger = self.ledger().ledger.as_deref().cloned();
        let mut observed = Observed {
            id: id(),
            now: Timestamp::from_second(i64::try_from(self.now().clock).unwrap()).unwrap(),
            declaration: match spec.said {
                Said::Valid => Declaration::Valid(Box::new((**declared).clone())),
                Said::NoVersion => Declaration::NoVersion,
                Said::Invalid => Declaration::Invalid(vec!["replicas: -1 is too few".into()]),
                Said::Edited => Declaration::Edited,
                Said::Removing => Declaration::Removing,
            },
            namespace: NamespaceSeen::Present,
            highest: current.as_ref().map(|revision| revision.number),
            live,
            failed: rotation::failed_before(kept.iter().rev().map(|kept| &kept.revision)).cloned(),
            retained: kept
                .iter()
                .map(|kept| (kept.revision.number, kept.uid.clone()))
                .collect(),
            digests: kept
                .iter()
                .map(|kept| (kept.revision.number, kept.revision.digest.clone()))
                .collect(),
            current,
            adopted: self.revisions().adopted(),
            lost: false,
            image: match remembered.image {
                Some((asked, image)) if asked == reference => image,
                _ => ImageSeen::NotAsked,
            },
            pin,
            tag_moved: None,
            commit: CommitSeen::NotAsked,
            builder: BuilderSeen::Off,
            builds: Vec::new(),
            suspicious: Vec::new(),
            doubted: Doubts::default(),
            warned: Vec::new(),
            owner: None,
            rolling: remembered.rolling,
            restarts_before: remembered.restarts_before,
            records: match ledger {
                None => self.revisions().records(),
                Some(_) => Vec::new(),
            },
            fingerprints: Some(outside.fingerprints(database)),
            fingerprints_for: remembered.same_values_for,
            architectures: Vec::new(),
            missing: outside.missing(),
            operators: Vec::new(),
            ungenerated: outside.ungenerated(),
            rotated: outside.generated.map(|(_, rotate)| rotate),
            variables: Vec::new(),
            database: outside.database(declared, database),
            ledger,
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
            given: None,
            lock: (String::new(), LockSeen::Absent),
            let_be: BTreeSet::new(),
            objects: self
                .objects()
                .objects
                .iter()
                .map(|(key, live)| (key.clone(), (**live).clone()))
                .collect(),
            pods: process_pods(self.pods()),
            exposure: Vec::new(),
            seen_before: remembered.settled,
            stage: remembered.stage,
        };
        if observed.highest.is_none() && restore::is_spoken_of(&observed) {
            for (key, live) in &mut observed.objects {
                if ours(&observed.id, key, &live.value) == Ownership::Ours {
                    live.value["metadata"]["managedFields"] = json!([applied(&live.value)]);
                }
            }
            observed.lost = self.revisions_again().revisions.is_empty();
        }
        let current = || Some(observed.current.as_ref()?.migration.as_ref()?.lock.clone());
        let lock = observed
            .ledger
            .as_ref()
            .and_then(|seen| seen.ledger.claimed())
            .map(|(_, entry)| entry.lock.clone())
            .or_else(current)
            .unwrap_or_else(|| lock_name(&observed));
        if observed.ledger.is_some() || current().is_some() {
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
        resource_version: rv(job.version),
        key: Some(job.key.clone()),
        suspended: job.suspended,
        resumed: job.start_time || (!reading.start_time_only && job.generation > 1 + u32::from(job.deleting)),
        generation: i64::from(job.generation),
        acknowledged: job.start_time && !job.suspended,
        // A pod that is deleted for a suspension is counted nowhere.
        untouched: job.suspended && !job.start_time,
        counting: false,
        given: None,
        withdrawn: job.withdrawn,
        on_node: job.on_node,
        deleting: job.deleting,
        finished: job.finished.clone(),
        blocked: (job.refused && !job.suspended && job.pod.is_none())
            .then(|| "Quota: exceeded quota: compute".to_owned()),
    }
}

fn pod_seen(pod: &Pod, boot: u64, clock: u64) -> JobPodSeen {
    let running = pod.started.filter(|_| !pod.terminal);
    let stuck = pod.stuck.map(|stuck| match stuck {
        Stuck::Image => "ImagePull: ErrImagePull",
        Stuck::Room => "Unschedulable: 0/1 nodes are available",
        Stuck::Config => "Config: secret \"billing-db\" not found",
    });
    JobPodSeen {
        job: pod.job.clone(),
        started: pod.started.is_some(),
        succeeded: pod.exit_code == Some(0) && !pod.evicted,
        terminal: pod.terminal,
        exit_code: pod.exit_code,
        deleting: pod.deleting,
        disrupted: pod.disrupted,
        reason: pod.evicted.then(|| "Evicted".to_owned()),
        stuck: stuck.map(str::to_owned),
        node: (pod.stuck != Some(Stuck::Room)).then(|| ("node1".into(), format!("boot{boot}"))),
        running_for: running.map(|since| Duration::from_secs(clock.saturating_sub(since))),
        proven: None,
        tail: String::new(),
        hint: None,
    }
}

fn process_pods(world: &World) -> Vec<PodSeen> {
    let taken_up = |deployment: &&serde_json::Value| {
        deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
    };
    let Some(deployment) = world.deployment().filter(taken_up) else {
        return Vec::new();
    };
    let Some(number) = template(deployment) else {
        return Vec::new();
    };
    let bad = crashes(deployment);
    vec![PodSeen {
        name: "billing-0".into(),
        revision: Some(RevisionNumber(number)),
        deleting: false,
        restarts: if bad { 3 } else { 0 },
        waiting: None,
        unschedulable: None,
        last_end: bad.then(|| (1, "Error".into())),
        hint: None,
    }]
}

fn lock_seen(world: &World, name: &str) -> LockSeen {
    let Some(lock) = world.locks.get(name) else {
        return LockSeen::Absent;
    };
    let resource_version = rv(lock.version);
    let Some((by, job)) = lock.holder.clone() else {
        return LockSeen::Free { resource_version };
    };
    let ended = world.job(&by).is_none_or(|job| job.finished.is_some());
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
