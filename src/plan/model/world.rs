//! The API server: objects with UIDs and resourceVersions, and the writes that a controller makes, each with the
//! precondition that `controller::act` gives it. What is rendered is written in `rendered`.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    super::{
        fixtures::uid,
        ledger::{Entry, EntryState, Ledger, MigrationKey},
        observed::{JobEnd, LedgerSeen, LiveObject, Revision},
    },
    outside::Outside,
};
use crate::{
    names::{RevisionNumber, Uid},
    render::{ObjectKey, run_of},
    spec::Declared,
};

/// Everything that can be read. Large parts are shared, since each move leaves a copy for stale reads.
#[derive(Clone)]
pub struct World {
    /// Seconds.
    pub clock: u64,
    pub version: u64,
    /// What git declares, how often that has changed, and whether it can be used.
    pub declared: Rc<Declared>,
    pub generation: u64,
    pub said: Said,
    pub database: &'static str,
    pub outside: Rc<Outside>,
    pub boot: u64,
    pub revisions: Vec<Rc<Kept>>,
    pub ledger: Option<Rc<LedgerSeen>>,
    pub jobs: Vec<Rc<Job>>,
    pub pods: Vec<Rc<Pod>>,
    pub locks: BTreeMap<String, Lock>,
    pub objects: BTreeMap<ObjectKey, Rc<LiveObject>>,
}

/// What can be made of the declared spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Valid,
    NoVersion,
    Invalid,
    Edited,
    Removing,
}

/// A revision, and what is noted beside it.
#[derive(Clone)]
pub struct Kept {
    pub revision: Revision,
    pub uid: Uid,
    pub version: u64,
    pub adopted: u64,
    /// Its migration, as it was booked when the revision ended.
    pub record: Option<(MigrationKey, Entry)>,
}

#[derive(Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is one independent fact")]
pub struct Job {
    pub name: Rc<str>,
    pub uid: Uid,
    pub version: u64,
    /// Grows with each change of the spec.
    pub generation: u32,
    pub key: MigrationKey,
    pub suspended: bool,
    /// `status.startTime`; the Job controller takes it away when a Job is suspended (Kubernetes 1.36).
    pub start_time: bool,
    pub withdrawn: bool,
    /// Whether the mark says that a node had its pod.
    pub on_node: bool,
    /// Whether a quota left no room for its pod.
    pub refused: bool,
    pub deleting: bool,
    pub finished: Option<JobEnd>,
    /// The pod that counts for this Job.
    pub pod: Option<usize>,
}

#[derive(Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact that comes by itself"
)]
pub struct Pod {
    pub number: usize,
    pub job: Uid,
    pub key: MigrationKey,
    /// Seconds of the start.
    pub started: Option<u64>,
    pub exit_code: Option<i32>,
    pub terminal: bool,
    pub deleting: bool,
    /// Condition `DisruptionTarget`.
    pub disrupted: bool,
    /// Whether the kubelet threw it out, for want of disk.
    pub evicted: bool,
    pub stuck: Option<Stuck>,
}

/// What is in the way of a pod that does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// A node has it and cannot pull the image.
    Image,
    /// No node has room.
    Room,
    /// A node has it, and the Secret that it refers to is not there.
    Config,
}

#[derive(Clone)]
pub struct Lock {
    pub holder: Option<(Uid, Rc<str>)>,
    pub version: u64,
}

/// Why a write was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Conflict,
    AlreadyExists,
    NotFound,
}

/// A resourceVersion as a text. Nothing else looks like one, so that it can be told from other numbers.
pub fn rv(version: u64) -> String {
    format!("rv{version}")
}

/// The number of a resourceVersion.
pub fn number(rv: &str) -> u64 {
    rv.strip_prefix("rv").unwrap().parse().unwrap()
}

impl World {
    pub fn new(declared: Declared, database: &'static str) -> Self {
        Self {
            clock: 0,
            version: 0,
            declared: Rc::new(declared),
            generation: 1,
            said: Said::Valid,
            database,
            outside: Rc::new(Outside::new()),
            boot: 1,
            revisions: Vec::new(),
            ledger: None,
            jobs: Vec::new(),
            pods: Vec::new(),
            locks: BTreeMap::new(),
            objects: BTreeMap::new(),
        }
    }

    pub fn bump(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub fn job(&self, uid: &Uid) -> Option<&Rc<Job>> {
        self.jobs.iter().find(|job| job.uid == *uid)
    }

    /// Every change of a Job is a new resourceVersion.
    pub fn change_job(&mut self, uid: &Uid, change: impl FnOnce(&mut Job)) {
        let version = self.bump();
        if let Some(job) = self.jobs.iter_mut().find(|job| job.uid == *uid) {
            let job = Rc::make_mut(job);
            change(job);
            job.version = version;
        }
    }

    pub fn pod(&self, number: usize) -> Option<&Rc<Pod>> {
        self.pods.iter().find(|pod| pod.number == number)
    }

    pub fn change_pod(&mut self, number: usize, change: impl FnOnce(&mut Pod)) {
        self.bump();
        if let Some(pod) = self.pods.iter_mut().find(|pod| pod.number == number) {
            change(Rc::make_mut(pod));
        }
    }

    pub fn change_outside(&mut self, change: impl FnOnce(&mut Outside)) {
        self.bump();
        change(Rc::make_mut(&mut self.outside));
    }

    /// The highest counter `adopt` under which something was taken over.
    pub fn adopted(&self) -> u64 {
        self.revisions.iter().map(|kept| kept.adopted).max().unwrap_or(0)
    }

    /// The migrations that revisions have on record, as `cluster::facts` reads them.
    pub fn records(&self) -> Vec<(MigrationKey, Entry)> {
        let mut records: BTreeMap<MigrationKey, Entry> = BTreeMap::new();
        for kept in &self.revisions {
            if let Some((key, entry)) = record(kept)
                && records
                    .get(&key)
                    .is_none_or(|before| !before.state.is_done() || entry.state.is_done())
            {
                records.insert(key, entry);
            }
        }
        records.into_iter().collect()
    }

    // === writes of a controller ===

    pub fn create_revision(&mut self, mut revision: Revision, adopted: u64) -> Result<(), Refused> {
        let there = |kept: &Rc<Kept>| kept.revision.number == revision.number;
        if self.revisions.iter().any(there) {
            return Err(Refused::AlreadyExists);
        }
        let version = self.bump();
        revision.resource_version = rv(version);
        self.revisions.push(Rc::new(Kept {
            revision,
            uid: uid(&format!("uid-{version}")),
            version,
            adopted,
            record: None,
        }));
        self.revisions.sort_by_key(|kept| kept.revision.number);
        Ok(())
    }

    /// A merge patch of the status.
    pub fn note(
        &mut self,
        number: RevisionNumber,
        over: Option<&str>,
        change: impl FnOnce(&mut Kept),
    ) -> Result<(), Refused> {
        let version = self.version + 1;
        let found = self
            .revisions
            .iter_mut()
            .find(|kept| kept.revision.number == number)
            .ok_or(Refused::NotFound)?;
        if over.is_some_and(|over| found.revision.resource_version != over) {
            return Err(Refused::Conflict);
        }
        let kept = Rc::make_mut(found);
        change(kept);
        kept.version = version;
        kept.revision.resource_version = rv(version);
        self.version = version;
        Ok(())
    }

    pub fn write_ledger(
        &mut self,
        entries: &[(MigrationKey, Entry)],
        over: Option<&str>,
    ) -> Result<(), Refused> {
        let mut ledger = match (&self.ledger, over) {
            (None, None) => Ledger::default(),
            (Some(_), None) => return Err(Refused::AlreadyExists),
            (None, Some(_)) => return Err(Refused::NotFound),
            (Some(seen), Some(over)) if seen.resource_version == over => seen.ledger.clone(),
            _ => return Err(Refused::Conflict),
        };
        ledger.entries.extend(entries.iter().cloned());
        let resource_version = rv(self.bump());
        self.ledger = Some(Rc::new(LedgerSeen {
            ledger,
            resource_version,
        }));
        Ok(())
    }

    pub fn create_job(&mut self, name: &str, key: &MigrationKey) -> Result<(), Refused> {
        if self.jobs.iter().any(|job| &*job.name == name) {
            return Err(Refused::AlreadyExists);
        }
        let version = self.bump();
        self.jobs.push(Rc::new(Job {
            name: name.into(),
            uid: uid(&format!("uid-{version}")),
            version,
            generation: 1,
            key: key.clone(),
            suspended: true,
            start_time: false,
            withdrawn: false,
            on_node: false,
            refused: false,
            deleting: false,
            finished: None,
            pod: None,
        }));
        Ok(())
    }

    pub fn suspend(
        &mut self,
        name: &str,
        uid: &Uid,
        over: Option<&str>,
        suspended: bool,
    ) -> Result<(), Refused> {
        let mut jobs = self.jobs.iter();
        let job = jobs.find(|job| &*job.name == name).ok_or(Refused::NotFound)?;
        if job.uid != *uid || over.is_some_and(|over| rv(job.version) != over) {
            return Err(Refused::Conflict);
        }
        let changed = job.suspended != suspended;
        self.change_job(uid, |job| {
            job.suspended = suspended;
            job.generation += u32::from(changed);
        });
        Ok(())
    }

    /// Suspends and marks in one write.
    pub fn take_back(
        &mut self,
        name: &str,
        uid: &Uid,
        over: Option<&str>,
        on_node: bool,
    ) -> Result<(), Refused> {
        self.suspend(name, uid, over, true)?;
        self.change_job(uid, |job| {
            job.withdrawn = true;
            job.on_node = on_node;
        });
        Ok(())
    }

    pub fn withdraw(&mut self, uid: &Uid, over: Option<&str>) -> Result<(), Refused> {
        let job = self.job(uid).ok_or(Refused::NotFound)?;
        if over.is_some_and(|over| rv(job.version) != over) {
            return Err(Refused::Conflict);
        }
        self.change_job(uid, |job| job.withdrawn = true);
        Ok(())
    }

    /// In the foreground: pods go before their Job does.
    pub fn delete_job(&mut self, uid: &Uid, over: Option<&str>) -> Result<(), Refused> {
        let Some(job) = self.job(uid) else { return Ok(()) };
        if over.is_some_and(|over| rv(job.version) != over) {
            return Err(Refused::Conflict);
        }
        self.change_job(uid, |job| {
            job.generation += u32::from(!job.deleting);
            job.deleting = true;
        });
        self.delete_pods_of(uid);
        self.collect();
        Ok(())
    }

    pub fn delete_pods_of(&mut self, uid: &Uid) {
        for pod in self
            .pods
            .iter_mut()
            .filter(|pod| pod.job == *uid && !pod.deleting)
        {
            Rc::make_mut(pod).deleting = true;
        }
    }

    /// Removes what is deleted and waits for nothing any more: pods that ended and were counted, then their Jobs.
    pub fn collect(&mut self) {
        self.bump();
        let jobs = &self.jobs;
        self.pods.retain(|pod| {
            let owner = jobs.iter().find(|job| job.uid == pod.job);
            let counts = owner.is_some_and(|job| {
                job.pod == Some(pod.number) && job.finished.is_none() && !job.deleting && !job.suspended
            });
            !(pod.deleting && pod.terminal && !counts)
        });
        let pods = &self.pods;
        self.jobs
            .retain(|job| !job.deleting || pods.iter().any(|pod| pod.job == job.uid));
    }

    pub fn write_lock(
        &mut self,
        lock: &str,
        holder: Option<(Uid, Rc<str>)>,
        over: Option<&str>,
    ) -> Result<(), Refused> {
        match (self.locks.get(lock), over) {
            (Some(_), None) => return Err(Refused::AlreadyExists),
            (None, Some(_)) => return Err(Refused::NotFound),
            (Some(seen), Some(over)) if rv(seen.version) != over => return Err(Refused::Conflict),
            _ => {}
        }
        let version = self.bump();
        self.locks.insert(lock.to_owned(), Lock { holder, version });
        Ok(())
    }
}

fn record(kept: &Kept) -> Option<(MigrationKey, Entry)> {
    let migration = kept.revision.migration.as_ref()?;
    let own = kept.record.as_ref().filter(|(key, _)| *key == migration.key);
    let own = own.map(|(_, entry)| entry);
    let state = match own {
        _ if kept.revision.was_live => EntryState::Succeeded,
        Some(entry) if entry.state == EntryState::Claimed => EntryState::Unknown,
        Some(entry) => entry.state,
        None => return None,
    };
    let note = match state {
        EntryState::Unknown => "rebuilt from a revision; nobody saw how it ended",
        _ => "rebuilt from a revision",
    };
    let entry = Entry {
        state,
        job: own.map(|entry| entry.job.clone()).unwrap_or_default(),
        timeout: None,
        uid: own.map_or_else(Uid::none, |entry| entry.uid.clone()),
        run: own.and_then(|entry| run_of(&entry.job)).unwrap_or(0),
        attempt: own.map_or(0, |entry| entry.attempt),
        tries: 0,
        revision: kept.revision.number.0,
        digest: kept.revision.digest.to_string(),
        lock: migration.lock.clone(),
        database: None,
        proof: None,
        needs: own.and_then(|entry| entry.needs.clone()),
        moved: false,
        lost: false,
        generation: None,
        at: jiff::Timestamp::UNIX_EPOCH,
        started: None,
        exit_code: None,
        note: note.to_owned(),
    };
    Some((migration.key.clone(), entry))
}
