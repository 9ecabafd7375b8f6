//! What one pass over a release sees: a snapshot of the world as values, filled by `cluster::observe`.
//!
//! Each field says how fresh it is. What guards a migration (ledger, Jobs, pods, lock) is read from the API
//! server in this pass, in that order reversed: Jobs and pods after the ledger that they are judged by, so
//! that an absence is one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    decision::Stage,
    ledger::{Entry, Ledger, MigrationKey},
};
use crate::{
    api::revision::Outcome,
    names::{Digest, EnvName, ReleaseId, RevisionNumber, Uid},
    render::{Object, ObjectKey, OwnerRef, Tree},
    spec::{Declared, declared::AttemptHash},
};

mod build;
mod image;

pub use self::{
    build::{Again, BuildSeen, BuildState, BuilderSeen, CommitSeen},
    image::{Baked, Claim, ClaimedBy, Claims, Doubts, ImageSeen, MadeOf, Origin, Pin, Record, Weight},
};

/// The whole snapshot.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Which release.
    pub id: ReleaseId,
    /// The time: for records, for `suspend.until`, and for the pause before a retry. Whatever else takes time is measured
    /// by the clocks below, which nobody can set.
    pub now: Timestamp,
    /// What git (or the hand that wrote it) declares.
    pub declaration: Declaration,
    /// Who owns the objects: the `Release` of now where it was written by hand, else nobody.
    pub owner: Option<OwnerRef>,
    /// The namespace.
    pub namespace: NamespaceSeen,
    /// The highest revision number ever seen.
    pub highest: Option<RevisionNumber>,
    /// Whether there is none although one was made: no revision was there after the ledger and the objects had been read,
    /// which speak of one.
    pub lost: bool,
    /// The revision of that number.
    pub current: Option<Revision>,
    /// The newest revision that was Live once; may be `current`.
    pub live: Option<Revision>,
    /// The revision that failed before what serves was given other values: what is declared may still be that one.
    pub failed: Option<Revision>,
    /// All retained revisions with their UIDs.
    pub retained: BTreeMap<RevisionNumber, Uid>,
    /// The image of each of them.
    pub digests: BTreeMap<RevisionNumber, Digest>,
    /// The highest counter `adopt` under which objects of others were taken over.
    pub adopted: u64,
    /// What the registry said about the declared image in this pass.
    pub image: ImageSeen,
    /// The commit that `source` names, as its server said in this pass.
    pub commit: CommitSeen,
    /// What builds images here.
    pub builder: BuilderSeen,
    /// The builds that this release waits for, and those of what it declares that others wait for.
    pub builds: Vec<BuildSeen>,
    /// The image that the declared reference already has in a retained revision.
    pub pin: Option<Pin>,
    /// The digest that the tag of the serving revision has now, where it was asked and differs.
    pub tag_moved: Option<Digest>,
    /// What looked like a secret in the image of the serving revision when it was resolved, in words.
    pub suspicious: Vec<String>,
    /// What that image says of itself that is not what was declared.
    pub doubted: Doubts,
    /// What was found in its source when it was built here, and let pass, in words.
    pub warned: Vec<String>,
    /// Architectures of the schedulable nodes (`amd64`); empty when not known.
    pub architectures: Vec<String>,
    /// References of the spec that do not resolve, as words: `Secret billing-db, key url`.
    pub missing: Vec<String>,
    /// What operators say who are to make Secrets that are missing.
    pub operators: Vec<String>,
    /// Generated values that do not exist yet.
    pub ungenerated: Vec<EnvName>,
    /// The counter `rotate` that the generated values were made under; `None` where there are none yet.
    pub rotated: Option<u64>,
    /// The names of the variables that pods have by `envFrom`.
    pub variables: Vec<String>,
    /// The database, where there is a migration.
    pub database: DatabaseSeen,
    /// Fingerprints of the values that processes refer to, as they are now; `None` where nothing is declared.
    pub fingerprints: Option<Fingerprints>,
    /// For how long they have been the same.
    pub fingerprints_for: Duration,
    /// The ledger and its resourceVersion; `None` when there is no such ConfigMap.
    pub ledger: Option<LedgerSeen>,
    /// The migrations that revisions have on record: what a ledger that is gone is made of anew.
    pub records: Vec<(MigrationKey, Entry)>,
    /// Jobs of this release.
    pub jobs: Vec<JobSeen>,
    /// Pods of those Jobs.
    pub job_pods: Vec<JobPodSeen>,
    /// What the declared spec gives to the Job of `current`'s migration by now, as a hash; `None` where there is none.
    pub given: Option<String>,
    /// The lock of the claimed migration, else that of `current`'s: its name and what is known of it.
    pub lock: (String, LockSeen),
    /// Objects of the cluster by key: all that `current` and `live` want, and all of ours found by label.
    pub objects: BTreeMap<ObjectKey, LiveObject>,
    /// Those of them that others change as soon as they are put right: they are left as they are for a while, and nothing else
    /// waits for them.
    pub let_be: BTreeSet<ObjectKey>,
    /// Pods of processes.
    pub pods: Vec<PodSeen>,
    /// The exposing objects (Service, budget, Ingress) as the declared spec renders them for the revision that it
    /// matches; empty when it matches none.
    pub exposure: Vec<Object>,
    /// Whether the last pass saw the same generation of the spec: then a difference was made by others.
    pub seen_before: bool,
    /// In which stage the last pass left this release, and for how long it has been in it.
    pub stage: Option<(Stage, Duration)>,
    /// The revision that is being rolled out or verified, and for how long: this clock is not wound up again when
    /// pods become unready while they are watched.
    pub rolling: Option<(RevisionNumber, Duration)>,
    /// The revision whose verification began last, and the restarts that its pods had then.
    pub restarts_before: Option<(RevisionNumber, u32)>,
}

/// What is declared.
#[derive(Debug, Clone)]
pub enum Declaration {
    /// A complete spec.
    Valid(Box<Declared>),
    /// A spec without a version.
    NoVersion,
    /// A spec that cannot be.
    Invalid(Vec<String>),
    /// Somebody changed the object; git will put it back.
    Edited,
    /// Somebody changed the object, and the source of this name, which would put it back, is gone.
    SourceGone(String),
    /// Git removed it, and the source loop is taking it away.
    Removing,
}

/// The namespace of the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceSeen {
    /// It exists.
    Present,
    /// It does not.
    Missing,
    /// It is being deleted.
    Terminating,
}

/// A revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// Its number.
    pub number: RevisionNumber,
    /// Its attempt.
    pub attempt: AttemptHash,
    /// The declared version.
    pub version: String,
    /// What was asked for.
    pub reference: String,
    /// The counter `repin` that it was looked up under.
    pub repin: u64,
    /// What runs.
    pub digest: Digest,
    /// The migration that must have succeeded.
    pub migration: Option<Migration>,
    /// Why it was made, in words.
    pub cause: String,
    /// Fingerprints of the values that its pods were started with; `None` where nothing was recorded.
    pub fingerprints: Option<Fingerprints>,
    /// What was rendered.
    pub objects: Vec<Object>,
    /// How it ended, if it did.
    pub outcome: Option<Outcome>,
    /// The sentence of that outcome.
    pub message: String,
    /// Whether it was Live once.
    pub was_live: bool,
    /// Its resourceVersion as it was seen: an outcome is written over this one only.
    pub resource_version: String,
}

/// Keyed hashes of values that pods see: equal hashes are equal values, and nobody learns a value from them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprints {
    /// Which key they were made with.
    pub key_id: String,
    /// `Secret app-db/url` → hash; `Secret app/*` stands for all keys of a whole Secret, so that it differs where a key came or
    /// went.
    pub values: BTreeMap<String, String>,
}

/// The migration of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The key.
    pub key: MigrationKey,
    /// The database as words.
    pub database: String,
    /// The name of the lock.
    pub lock: String,
}

/// The database that a migration would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseSeen {
    /// There is no migration.
    NotNeeded,
    /// `host:port/name`.
    Known(String),
    /// The variable is not declared, or it does not hold a URL: the release alone is the identity.
    Unnamed,
    /// The value cannot be read now (the Secret is missing).
    Unreadable,
}

/// The ledger as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerSeen {
    /// What it says.
    pub ledger: Ledger,
    /// Its resourceVersion: every write is a compare-and-swap on it.
    pub resource_version: String,
}

/// A Job of this release.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is one independent fact that the API server reports"
)]
pub struct JobSeen {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: Uid,
    /// Its resourceVersion.
    pub resource_version: String,
    /// The migration key of its annotation; `None` for a Job that is not ours.
    pub key: Option<MigrationKey>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// Whether it has ever been resumed (`status.startTime`, or pods were counted).
    pub resumed: bool,
    /// How often its spec was changed, from 1: it is created suspended, let run by the second, taken back by the third.
    pub generation: i64,
    /// Whether Kubernetes has taken up that it may run.
    pub acknowledged: bool,
    /// Whether Kubernetes has taken up that it is suspended, and counts no pod of it, not one that is over either.
    pub untouched: bool,
    /// Whether Kubernetes still counts pods of it that run or are on their way out.
    pub counting: bool,
    /// What it gives to its pod that a commit may change without a new attempt, as a hash.
    pub given: Option<String>,
    /// Whether Slipway took it back, by a mark that it bears from then on; such a Job is never resumed.
    pub withdrawn: bool,
    /// Whether that mark says that a node had its pod then.
    pub on_node: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its terminal condition.
    pub finished: Option<JobEnd>,
    /// Why Kubernetes makes no pod of it: `Quota: …`, `PodSecurity: …`.
    pub blocked: Option<String>,
}

/// The terminal condition of a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// `Complete`.
    Complete,
    /// `Failed`, with its reason.
    Failed(String),
}

/// A pod of a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is one independent fact that the API server reports"
)]
pub struct JobPodSeen {
    /// UID of its Job (`controller-uid`).
    pub job: Uid,
    /// Whether its container ever started.
    pub started: bool,
    /// Whether its phase is `Succeeded`.
    pub succeeded: bool,
    /// Whether its phase is `Succeeded` or `Failed`.
    pub terminal: bool,
    /// The exit code of its container.
    pub exit_code: Option<i32>,
    /// Whether it has a deletion time.
    pub deleting: bool,
    /// Condition `DisruptionTarget`.
    pub disrupted: bool,
    /// `status.reason`, such as `Evicted` or `NodeLost`; else, of the claim, what its node told of ending it.
    pub reason: Option<String>,
    /// Why it has not started: `ImagePull: …`, `Unschedulable: …`.
    pub stuck: Option<String>,
    /// Its node, with the boot id that the node has now.
    pub node: Option<(String, String)>,
    /// How long its container has been running; of the claim, for how long it has been seen to.
    pub running_for: Option<Duration>,
    /// Whether its log holds the proof that was asked for; `None` while nothing was asked or the log cannot be read.
    pub proven: Option<bool>,
    /// The end of its log or its termination message, redacted.
    pub tail: String,
    /// What is known of its failure; nothing of the log is in it.
    pub hint: Option<&'static str>,
}

/// The lock of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockSeen {
    /// No such object.
    Absent,
    /// It is there and nobody holds it.
    Free {
        /// Its resourceVersion.
        resource_version: String,
    },
    /// A Job holds it.
    Held {
        /// UID of the Job.
        by: Uid,
        /// `<namespace>/<job>`, for people.
        holder: String,
        /// Whether that Job is finished or gone, with no pod of it running.
        over: bool,
        /// Its resourceVersion.
        resource_version: String,
    },
}

/// An object of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveObject {
    /// Its UID.
    pub uid: Uid,
    /// Its resourceVersion.
    pub resource_version: String,
    /// The whole of it.
    pub value: Tree,
}

/// A pod of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// The revision of its template.
    pub revision: Option<RevisionNumber>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Restarts of its containers.
    pub restarts: u32,
    /// Reason and message of a waiting container.
    pub waiting: Option<(String, String)>,
    /// Why it cannot be scheduled.
    pub unschedulable: Option<String>,
    /// Exit code and reason of the last end of a container.
    pub last_end: Option<(i32, String)>,
    /// What is known of its failure, where that was asked; nothing of its log is in it.
    pub hint: Option<&'static str>,
}
