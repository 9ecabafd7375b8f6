//! Minimal traces for the tests of predicates: each call is one event.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    Invariant,
    event::{Actor, Fact, Refusal, Sight, Trace, What, Why, Write},
    judge,
    object::{Body, DeploymentBody, Key, Kind, Object, Release, ReleaseBody, RevisionBody, SourceBody, Text},
};
use crate::plan::ledger::{Entry, EntryState, Ledger, MigrationKey};

/// A trace in the making: one namespace, one release at a time, one database.
#[derive(Clone)]
pub struct Story {
    pub trace: Trace,
    by: Actor,
    release: Text,
    version: u64,
    ledgers: BTreeMap<Text, Ledger>,
    said: BTreeMap<Text, ReleaseBody>,
    attempt: u64,
    tries: u32,
    seconds: i64,
}

pub fn us(name: &str) -> Actor {
    Actor::Slipway(name.into())
}

pub fn kubernetes() -> Actor {
    Actor::Kubernetes("kubernetes".into())
}

pub fn person() -> Actor {
    Actor::Person("dana".into())
}

pub fn key(letter: &str) -> MigrationKey {
    MigrationKey::parse(&letter.repeat(64)).unwrap()
}

pub fn object_key(kind: Kind, name: &str) -> Key {
    let namespace = match kind {
        Kind::ReleaseSource | Kind::Namespace => "",
        Kind::Lease => "slipway-system",
        _ => "shop",
    };
    Key {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    }
}

impl Story {
    pub fn new() -> Self {
        Self {
            trace: Trace::new(&[
                Sight::Beginning,
                Sight::Pods,
                Sight::Programs,
                Sight::Applied,
                Sight::Reads,
                Sight::Clock,
                Sight::Availability,
                Sight::Status,
                Sight::Rest,
            ]),
            by: us("a"),
            release: "app".into(),
            // Of a cluster that is older than the story.
            version: 10,
            ledgers: BTreeMap::new(),
            said: BTreeMap::new(),
            attempt: 0,
            tries: 1,
            seconds: 0,
        }
    }

    // === who, when, which ===

    /// Who acts from here on.
    pub fn by(&mut self, by: Actor) -> &mut Self {
        self.by = by;
        self
    }

    pub fn release(&mut self, name: &str) -> &mut Self {
        self.release = name.into();
        self
    }

    pub fn wait(&mut self, seconds: i64) -> &mut Self {
        self.seconds += seconds;
        self.trace.end = self.now();
        self
    }

    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(self.seconds)
    }

    pub fn of(&self) -> Release {
        Release {
            namespace: "shop".into(),
            name: self.release.clone(),
        }
    }

    pub fn push(&mut self, by: Actor, what: What) -> &mut Self {
        let now = self.now();
        self.trace.push(now, by, what);
        self
    }

    // === any object ===

    pub fn object(&mut self, kind: Kind, name: &str, uid: &str, body: Body) -> Object {
        self.version += 1;
        Object {
            key: object_key(kind, name),
            uid: uid.into(),
            version: self.version,
            generation: 1,
            release: Some(self.release.clone()),
            ours: true,
            deleting: false,
            commit: None,
            body,
        }
    }

    pub fn wrote(&mut self, by: Actor, created: bool, object: Object) -> &mut Self {
        let write = Write {
            created,
            status: false,
            over: None,
            object: Arc::new(object),
            applied: None,
        };
        self.push(by, What::Wrote(write))
    }

    /// A write that insists on a resourceVersion.
    pub fn wrote_over(&mut self, over: u64, object: Object) -> &mut Self {
        let write = Write {
            created: false,
            status: false,
            over: Some(over),
            object: Arc::new(object),
            applied: None,
        };
        let by = self.by.clone();
        self.push(by, What::Wrote(write))
    }

    pub fn refused(&mut self, kind: Kind, name: &str, over: Option<u64>, why: Why) -> &mut Self {
        let by = self.by.clone();
        let key = object_key(kind, name);
        self.push(by, What::Refused(Refusal { key, over, why }))
    }

    pub fn deleted(&mut self, kind: Kind, name: &str, only: Option<&str>) -> &mut Self {
        let by = self.by.clone();
        let key = object_key(kind, name);
        let only = only.map(Into::into);
        self.push(by, What::Deleted { key, only })
    }

    pub fn gone(&mut self, kind: Kind, name: &str, uid: &str) -> &mut Self {
        let key = object_key(kind, name);
        self.push(kubernetes(), What::Gone { key, uid: uid.into() })
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    // === migrations ===

    fn job_object(&mut self, letter: &str, uid: &str, suspended: bool, complete: Option<bool>) -> Object {
        let body = Body::Job {
            key: Some(key(letter)),
            suspended,
            active: u32::from(!suspended && complete.is_none()),
            complete,
        };
        self.object(Kind::Job, &format!("migrate-{uid}"), uid, body)
    }

    /// A Job of this migration, suspended.
    pub fn job(&mut self, letter: &str, uid: &str) -> &mut Self {
        let (by, object) = (self.by.clone(), self.job_object(letter, uid, true, None));
        self.wrote(by, true, object)
    }

    pub fn resume(&mut self, letter: &str, uid: &str) -> &mut Self {
        let (by, object) = (self.by.clone(), self.job_object(letter, uid, false, None));
        self.wrote(by, false, object)
    }

    pub fn finish(&mut self, letter: &str, uid: &str, complete: bool) -> &mut Self {
        let object = self.job_object(letter, uid, false, Some(complete));
        let pods: Vec<Object> = self.pods_of(uid);
        for pod in pods {
            self.wrote(kubernetes(), false, pod);
        }
        self.wrote(kubernetes(), false, object)
    }

    /// The pods of a Job, ended.
    fn pods_of(&self, uid: &str) -> Vec<Object> {
        let mut pods: BTreeMap<Text, Object> = BTreeMap::new();
        for event in &self.trace.events {
            if let What::Wrote(write) = &event.what
                && let Body::Pod {
                    job: Some(job),
                    started,
                    exit,
                    ..
                } = &write.object.body
                && **job == *uid
            {
                let mut pod = Object::clone(&write.object);
                pod.body = Body::Pod {
                    job: Some(job.clone()),
                    started: *started,
                    exit: *exit,
                    terminal: true,
                };
                pods.insert(pod.uid.clone(), pod);
            }
        }
        pods.into_values().collect()
    }

    pub fn job_gone(&mut self, uid: &str) -> &mut Self {
        self.gone(Kind::Job, &format!("migrate-{uid}"), uid)
    }

    /// A pod that has started, and ended where it has an exit code.
    pub fn pod(&mut self, job: &str, uid: &str, exit: Option<i32>) -> &mut Self {
        let known =
            |event: &super::Event| matches!(&event.what, What::Wrote(write) if *write.object.uid == *uid);
        let created = !self.trace.events.iter().any(known);
        let body = Body::Pod {
            job: Some(job.into()),
            started: true,
            exit,
            terminal: exit.is_some(),
        };
        let object = self.object(Kind::Pod, uid, uid, body);
        self.wrote(kubernetes(), created, object)
    }

    pub fn ran_on(&mut self, pod: &str, database: &str) -> &mut Self {
        let (pod, database) = (pod.into(), database.into());
        self.push(kubernetes(), What::Fact(Fact::StartedOn { pod, database }))
    }

    pub fn program(&mut self, pod: &str, whole: bool) -> &mut Self {
        let (pod, reboot) = (pod.into(), false);
        self.push(
            kubernetes(),
            What::Fact(Fact::ProgramEnded { pod, whole, reboot }),
        )
    }

    pub fn lock(&mut self, holder: &str) -> &mut Self {
        let created = !self
            .trace
            .events
            .iter()
            .any(|event| event.what.key().is_some_and(|key| key.kind == Kind::Lease));
        let body = Body::Lock {
            holder: Some(holder.into()),
        };
        let (by, object) = (
            self.by.clone(),
            self.object(Kind::Lease, "slipway-lock-x", "lock", body),
        );
        self.wrote(by, created, object)
    }

    /// The whole protocol, up to a Job that runs.
    pub fn runs(&mut self, letter: &str, uid: &str) -> &mut Self {
        self.job(letter, uid).claim(letter, uid);
        self.lock(uid).resume(letter, uid)
    }

    pub fn claim(&mut self, letter: &str, uid: &str) -> &mut Self {
        self.book(letter, uid, EntryState::Claimed)
    }

    pub fn book(&mut self, letter: &str, uid: &str, state: EntryState) -> &mut Self {
        self.book_as(letter, uid, state, "")
    }

    /// Somebody deletes the ledger, and it is made anew from what revisions have on record.
    pub fn rebuild(&mut self, letter: &str) -> &mut Self {
        let name = format!("{}-ledger", self.release);
        self.gone(Kind::ConfigMap, &name, &name);
        self.book_as(letter, "none", EntryState::Succeeded, "rebuilt from v1")
    }

    fn book_as(&mut self, letter: &str, uid: &str, state: EntryState, note: &str) -> &mut Self {
        let entry = Entry {
            job: format!("migrate-{uid}"),
            uid: uid.parse().unwrap(),
            run: 1,
            attempt: self.attempt,
            tries: self.tries,
            lock: "slipway-lock-x".into(),
            note: note.into(),
            ..Entry::blank(state, 1, digest(1).to_string(), self.now())
        };
        let release = self.release.clone();
        self.ledgers
            .entry(release)
            .or_default()
            .entries
            .insert(key(letter), entry);
        self.write_ledger()
    }

    /// The spec says of a migration that only this version and later ones can run on its schema.
    pub fn needs(&mut self, letter: &str, version: &str) -> &mut Self {
        let release = self.release.clone();
        let ledger = self.ledgers.entry(release).or_default();
        if let Some(entry) = ledger.entries.get_mut(&key(letter)) {
            entry.needs = Some(version.into());
        }
        self.write_ledger()
    }

    /// The migration was that of a revision, and code from before it cannot run since.
    pub fn bars(&mut self, letter: &str, revision: u64) -> &mut Self {
        let release = self.release.clone();
        let ledger = self.ledgers.entry(release).or_default();
        if let Some(entry) = ledger.entries.get_mut(&key(letter)) {
            entry.needs = Some(format!("{revision}.0.0"));
            entry.revision = revision;
            entry.digest = digest(revision).to_string();
        }
        self.write_ledger()
    }

    pub fn forget(&mut self, letter: &str) -> &mut Self {
        let release = self.release.clone();
        self.ledgers
            .entry(release)
            .or_default()
            .entries
            .remove(&key(letter));
        self.write_ledger()
    }

    fn write_ledger(&mut self) -> &mut Self {
        let name = format!("{}-ledger", self.release);
        let ledger = self.ledgers.get(&self.release).cloned().unwrap_or_default();
        let known = object_key(Kind::ConfigMap, &name);
        let created = !self
            .trace
            .events
            .iter()
            .any(|event| event.what.key() == Some(&known));
        let object = self.object(Kind::ConfigMap, &name, &name, Body::Ledger(Arc::new(ledger)));
        let by = self.by.clone();
        self.wrote(by, created, object)
    }

    // === what people say ===

    pub fn say(&mut self, change: impl FnOnce(&mut ReleaseBody)) -> &mut Self {
        let release = self.release.clone();
        let created = !self.said.contains_key(&release);
        let body = self.said.entry(release.clone()).or_insert_with(|| ReleaseBody {
            source: Some("shop".into()),
            version: Some("1".into()),
            ..ReleaseBody::default()
        });
        change(body);
        let body = Body::Release(body.clone());
        let mut object = self.object(Kind::Release, &release, &format!("release-{release}"), body);
        object.commit = Some("c1".into());
        let by = self.by.clone();
        self.wrote(by, created, object)
    }

    pub fn attempt(&mut self, attempt: u64) -> &mut Self {
        self.attempt = attempt;
        self.say(|body| body.attempt = attempt)
    }

    /// The spec allows so many retries, and what is booked from here on is this try.
    pub fn retry(&mut self, retries: u32, tries: u32) -> &mut Self {
        self.tries = tries;
        self.say(|body| body.retries = retries)
    }

    pub fn accept(&mut self, letter: &str) -> &mut Self {
        let text: Text = letter.repeat(8).into();
        self.say(|body| body.accept = Some(text))
    }

    pub fn declare(&mut self, version: &str) -> &mut Self {
        let version: Text = version.into();
        self.say(|body| body.version = Some(version))
    }

    /// Slipway writes the status of the release.
    pub fn status(&mut self, phase: &str, message: &str, live: Option<u64>) -> &mut Self {
        let (phase, message): (Text, Text) = (phase.into(), message.into());
        self.say(|body| {
            body.observed = 1;
            body.phase = phase;
            body.message = message;
            body.live_revision = live;
            body.live_version = live.and(body.version.clone());
        });
        if let Some(event) = self.trace.events.last_mut()
            && let What::Wrote(write) = &mut event.what
        {
            write.status = true;
        }
        self
    }

    // === revisions and Deployments ===

    pub fn revision(&mut self, number: u64, letter: Option<&str>) -> &mut Self {
        self.revision_of(number, "img:1", &digest(1), letter)
    }

    pub fn revision_of(
        &mut self,
        number: u64,
        reference: &str,
        digest: &str,
        letter: Option<&str>,
    ) -> &mut Self {
        self.revision_with(RevisionBody {
            number,
            reference: reference.into(),
            repin: 0,
            digest: digest.into(),
            commit: Some("c1".into()),
            beside: false,
            migration: letter.map(|letter| (key(letter), "db:5432/shop".into(), "slipway-lock-x".into())),
            objects: [(("Deployment".into(), "app".into()), deployment(number))].into(),
        })
    }

    pub fn revision_at(&mut self, number: u64, commit: &str) -> &mut Self {
        self.revision_with(RevisionBody {
            number,
            reference: "img:1".into(),
            repin: 0,
            digest: digest(1),
            commit: Some(commit.into()),
            beside: false,
            migration: None,
            objects: BTreeMap::new(),
        })
    }

    fn revision_with(&mut self, body: RevisionBody) -> &mut Self {
        let number = body.number;
        let name = format!("{}-v{number}", self.release);
        let object = self.object(
            Kind::ReleaseRevision,
            &name,
            &name,
            Body::Revision(Arc::new(body)),
        );
        let by = self.by.clone();
        self.wrote(by, true, object)
    }

    pub fn deploy(&mut self, revision: u64) -> &mut Self {
        self.deploy_as(revision, 2, 2, |_| {})
    }

    /// A write of the Deployment `app` by whoever acts.
    pub fn deploy_as(
        &mut self,
        revision: u64,
        replicas: u32,
        available: u32,
        change: impl FnOnce(&mut Object),
    ) -> &mut Self {
        let body = DeploymentBody {
            revision: Some(revision),
            images: vec![format!("img:1@{}", digest(1)).into()],
            replicas,
            may_miss: Some(0),
            observed: 1,
            updated: replicas,
            available,
        };
        let mut object = self.object(Kind::Deployment, "app", "d1", Body::Deployment(body));
        object.commit = Some("c1".into());
        change(&mut object);
        let known = object.key.clone();
        let created = !self
            .trace
            .events
            .iter()
            .any(|event| event.what.key() == Some(&known));
        let write = Write {
            created,
            status: !self.by.is_slipway(),
            over: Some(self.version),
            object: Arc::new(object),
            applied: self.by.is_slipway().then(|| Arc::new(deployment(revision))),
        };
        let by = self.by.clone();
        self.push(by, What::Wrote(write))
    }

    pub fn source(&mut self, commit: &str, problems: u64, change: impl FnOnce(&mut SourceBody)) -> &mut Self {
        let mut body = SourceBody {
            applied: Some(commit.into()),
            problems,
            follows: "main".into(),
            ..SourceBody::default()
        };
        change(&mut body);
        let known = object_key(Kind::ReleaseSource, "shop");
        let created = !self
            .trace
            .events
            .iter()
            .any(|event| event.what.key() == Some(&known));
        let mut object = self.object(Kind::ReleaseSource, "shop", "source", Body::Source(body));
        object.release = None;
        let by = self.by.clone();
        self.wrote(by, created, object)
    }

    pub fn fact(&mut self, fact: Fact) -> &mut Self {
        self.push(kubernetes(), What::Fact(fact))
    }

    // === what must come of it ===

    /// Nothing of this invariant is broken, and so many instances of it were judged.
    #[track_caller]
    pub fn holds(&self, invariant: Invariant, instances: usize) {
        let verdict = judge(&self.trace);
        let of: Vec<_> = verdict
            .violations
            .iter()
            .filter(|v| v.invariant == invariant)
            .collect();
        assert!(of.is_empty(), "{of:#?}");
        assert_eq!(
            verdict.coverage.instances(invariant),
            instances,
            "{}",
            verdict.coverage
        );
    }

    /// This invariant is broken, in a sentence with the events that show it.
    #[track_caller]
    pub fn breaks(&self, invariant: Invariant) -> String {
        let verdict = judge(&self.trace);
        let found = verdict.violations.iter().find(|v| v.invariant == invariant);
        let found = found.unwrap_or_else(|| panic!("{invariant} holds: {:?}", verdict.violations));
        assert!(!found.what.is_empty() && !found.story.is_empty(), "{found:?}");
        found.to_string()
    }
}

pub fn digest(number: u64) -> Text {
    format!("sha256:{number:064x}").into()
}

pub fn deployment(revision: u64) -> Value {
    json!({ "kind": "Deployment", "spec": { "replicas": 2, "template": { "of": revision } } })
}
