//! The API server: objects with UIDs and resourceVersions, and the writes that a controller makes, each with the
//! precondition that `controller::act` gives it.

use std::{collections::BTreeMap, rc::Rc};

use serde_json::{Value, json};

use super::super::{
    fixtures::{id, uid},
    ledger::{Entry, Ledger, MigrationKey},
    observed::{JobEnd, LedgerSeen, LiveObject, Revision},
};
use crate::{
    api::revision::Outcome,
    names::{RevisionNumber, Uid},
    render::{Kind, Object, ObjectKey},
    spec::Declared,
};

/// Everything that can be read. Large parts are shared, since each move leaves a copy for stale reads.
#[derive(Clone)]
pub struct World {
    /// Seconds.
    pub clock: u64,
    pub version: u64,
    pub declared: Rc<Declared>,
    pub database: &'static str,
    pub boot: u64,
    pub revisions: Vec<(Rc<Revision>, Option<u64>)>,
    pub ledger: Option<Rc<LedgerSeen>>,
    pub jobs: Vec<Job>,
    pub pods: Vec<Pod>,
    pub locks: BTreeMap<String, Lock>,
    pub objects: BTreeMap<ObjectKey, Rc<LiveObject>>,
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
    pub deleting: bool,
    pub finished: Option<JobEnd>,
    /// The pod that counts for this Job.
    pub pod: Option<usize>,
}

#[derive(Clone)]
pub struct Pod {
    pub number: usize,
    pub job: Uid,
    pub key: MigrationKey,
    /// Seconds of the start.
    pub started: Option<u64>,
    pub exit_code: Option<i32>,
    pub terminal: bool,
    pub deleting: bool,
    pub stuck: bool,
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

impl World {
    pub fn new(declared: Declared, database: &'static str) -> Self {
        Self {
            clock: 0,
            version: 0,
            declared: Rc::new(declared),
            database,
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

    pub fn job(&mut self, uid: &Uid) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.uid == *uid)
    }

    /// Every change of a Job is a new resourceVersion.
    pub fn change_job(&mut self, uid: &Uid, change: impl FnOnce(&mut Job)) {
        let version = self.bump();
        if let Some(job) = self.job(uid) {
            change(job);
            job.version = version;
        }
    }

    // === writes of a controller ===

    pub fn create_revision(&mut self, revision: Revision) -> Result<(), Refused> {
        if self.revisions.iter().any(|(r, _)| r.number == revision.number) {
            return Err(Refused::AlreadyExists);
        }
        self.bump();
        self.revisions.push((Rc::new(revision), None));
        self.revisions.sort_by_key(|(revision, _)| revision.number);
        Ok(())
    }

    /// A merge patch of the status, without a precondition.
    pub fn conclude(
        &mut self,
        number: RevisionNumber,
        outcome: Outcome,
        message: &str,
    ) -> Result<(), Refused> {
        self.bump();
        let clock = self.clock;
        let found = self.revisions.iter_mut().find(|(r, _)| r.number == number);
        let (revision, live_at) = found.ok_or(Refused::NotFound)?;
        let revision = Rc::make_mut(revision);
        revision.outcome = Some(outcome);
        message.clone_into(&mut revision.message);
        if outcome == Outcome::Live {
            revision.was_live = true;
            *live_at = Some(clock);
        }
        Ok(())
    }

    pub fn write_ledger(
        &mut self,
        key: &MigrationKey,
        entry: &Entry,
        over: Option<&str>,
    ) -> Result<(), Refused> {
        let mut ledger = match (&self.ledger, over) {
            (None, None) => Ledger::default(),
            (Some(_), None) => return Err(Refused::AlreadyExists),
            (None, Some(_)) => return Err(Refused::NotFound),
            (Some(seen), Some(over)) if seen.resource_version == over => seen.ledger.clone(),
            _ => return Err(Refused::Conflict),
        };
        ledger.entries.insert(key.clone(), entry.clone());
        let resource_version = self.bump().to_string();
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
        self.jobs.push(Job {
            name: name.into(),
            uid: uid(&format!("uid-{version}")),
            version,
            generation: 1,
            key: key.clone(),
            suspended: true,
            start_time: false,
            withdrawn: false,
            deleting: false,
            finished: None,
            pod: None,
        });
        Ok(())
    }

    pub fn suspend(&mut self, name: &str, uid: &Uid, over: &str, suspended: bool) -> Result<(), Refused> {
        let job = self
            .jobs
            .iter()
            .find(|job| &*job.name == name)
            .ok_or(Refused::NotFound)?;
        if job.uid != *uid || job.version.to_string() != over {
            return Err(Refused::Conflict);
        }
        let changed = job.suspended != suspended;
        let uid = uid.clone();
        self.change_job(&uid, |job| {
            job.suspended = suspended;
            job.generation += u32::from(changed);
        });
        Ok(())
    }

    pub fn withdraw(&mut self, uid: &Uid, over: &str) -> Result<(), Refused> {
        let job = self.job(uid).ok_or(Refused::NotFound)?;
        if job.version.to_string() != over {
            return Err(Refused::Conflict);
        }
        self.change_job(uid, |job| job.withdrawn = true);
        Ok(())
    }

    /// In the foreground: pods go before their Job does.
    pub fn delete_job(&mut self, uid: &Uid, over: Option<&str>) -> Result<(), Refused> {
        let Some(job) = self.job(uid) else { return Ok(()) };
        if over.is_some_and(|over| job.version.to_string() != over) {
            return Err(Refused::Conflict);
        }
        self.change_job(uid, |job| job.deleting = true);
        self.delete_pods_of(uid);
        self.collect();
        Ok(())
    }

    pub fn delete_pods_of(&mut self, uid: &Uid) {
        for pod in self.pods.iter_mut().filter(|pod| pod.job == *uid) {
            pod.deleting = true;
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
            (Some(seen), Some(over)) if seen.version.to_string() != over => return Err(Refused::Conflict),
            _ => {}
        }
        let version = self.bump();
        self.locks.insert(lock.to_owned(), Lock { holder, version });
        Ok(())
    }

    /// Server-side apply: with a resourceVersion a compare-and-swap, without one whatever is there is taken over, since
    /// both controllers are one field manager.
    pub fn apply(&mut self, object: &Object, over: Option<&str>, dry: bool) -> Result<(), Refused> {
        let seen = self.objects.get(&object.key);
        match (seen, over) {
            (None, Some(_)) => return Err(Refused::NotFound),
            (Some(live), Some(over)) if live.resource_version != over => return Err(Refused::Conflict),
            _ => {}
        }
        if dry {
            return Ok(());
        }
        let before = seen.map(|live| (live.uid.clone(), live.value.clone()));
        let version = self.bump();
        let mut value = object.value.clone();
        let old = before.as_ref().map(|(_, value)| value);
        let generation = old
            .and_then(|old| old["metadata"]["generation"].as_u64())
            .unwrap_or(0);
        let changed = old.is_none_or(|old| old["spec"] != value["spec"]);
        value["metadata"]["generation"] = json!(generation + u64::from(changed));
        value["status"] = old.map_or(Value::Null, |old| old["status"].clone());
        let uid = before.map_or_else(|| uid(&format!("uid-{version}")), |(uid, _)| uid);
        let live = LiveObject {
            uid,
            resource_version: version.to_string(),
            value,
        };
        self.objects.insert(object.key.clone(), Rc::new(live));
        Ok(())
    }

    /// Somebody, or the Deployment controller, changes a Deployment.
    pub fn change_deployment(&mut self, change: impl FnOnce(&mut Value)) {
        let version = self.bump();
        let key = ObjectKey {
            kind: Kind::Deployment,
            name: id().name.to_string(),
        };
        if let Some(live) = self.objects.get_mut(&key) {
            let live = Rc::make_mut(live);
            change(&mut live.value);
            live.resource_version = version.to_string();
        }
    }

    pub fn deployment(&self) -> Option<&Value> {
        let key = ObjectKey {
            kind: Kind::Deployment,
            name: id().name.to_string(),
        };
        self.objects.get(&key).map(|live| &live.value)
    }

    /// The revision whose pods run, once the Deployment controller has taken it up.
    pub fn rolled(&self) -> Option<u64> {
        let deployment = self.deployment()?;
        (deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"])
            .then(|| template(deployment))
            .flatten()
    }
}

/// The revision of a Deployment's pods.
pub fn template(deployment: &Value) -> Option<u64> {
    let text = &deployment["spec"]["template"]["metadata"]["annotations"][crate::api::meta::REVISION];
    text.as_str()?.parse().ok()
}
