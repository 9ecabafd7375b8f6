//! What a pass may do: values that can be printed, compared and scored. Printing a [`Decision`] is `slipway plan`.

use std::{collections::BTreeMap, time::Duration};

use super::{
    ledger::{Entry, MigrationKey},
    migration::Migrated,
    observed::{Again, Fingerprints, Migration, Record},
};
use crate::{
    api::revision::Outcome,
    names::{CommitId, Digest, RevisionNumber, Uid},
    render::{Object, ObjectKey},
    spec::declared::AttemptHash,
};

/// The condition that carries the end of the log of a build that failed.
pub const BUILD_LOG: &str = "BuildLog";

/// What to do now, what to say, and when to look again.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// In this order. Each is idempotent or guarded by a resourceVersion; after an error the pass ends.
    pub steps: Vec<Step>,
    /// What the status says.
    pub report: Report,
    /// When to look again if nothing changes.
    pub wait: Wait,
}

/// One act on the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Ask the registry about the declared image; the answer comes back in the next look of this pass.
    AskRegistry,
    /// Ask a git server which commit the declared `source` is; the answer comes back in the next look of this pass.
    AskCommit,
    /// Create the next revision, its objects rendered. Everything outside was answered before.
    CreateRevision(Box<Draft>),
    /// Write the outcome of a revision, once.
    Conclude {
        /// Which.
        revision: RevisionNumber,
        /// How it ended.
        outcome: Outcome,
        /// One sentence.
        message: String,
        /// The migration as the ledger has it.
        migration: Option<Box<(MigrationKey, Entry)>>,
        /// The end of the log.
        tail: String,
    },
    /// Record what values a revision's pods see, where nothing comparable was recorded.
    Record {
        /// Which.
        revision: RevisionNumber,
        /// The fingerprints.
        fingerprints: Fingerprints,
    },
    /// Keep what exposes a revision beside it, since git has changed that without a new attempt.
    Expose {
        /// Which.
        revision: RevisionNumber,
        /// What exposes it from now on.
        objects: Vec<Object>,
    },
    /// Make an object of somebody else ours, since a commit asks for it. Nothing that runs changes by that: what its maker
    /// set is from then on what we have set, and is put right like that.
    Adopt {
        /// Which.
        key: ObjectKey,
        /// Only as it was seen.
        over: String,
    },
    /// Record that a counter `adopt` has done its work: nothing more is taken over under it.
    Adopted {
        /// Beside which revision.
        revision: RevisionNumber,
        /// The counter.
        count: u64,
    },
    /// Put a revision on record again whose record is lost, while what it made runs.
    Restore(Box<AsFound>),
    /// Make a revision of what serves as it is there, so that its pods start anew: it keeps up with the values of now while
    /// what is declared has failed.
    KeepUp(Box<AsFound>),
    /// Make the generated values that do not exist yet, and all of them anew where `rotate` was raised.
    Generate,
    /// Apply objects that need no gate: nothing in them runs.
    Prepare {
        /// The objects, each with the resourceVersion that was seen.
        objects: Vec<(Object, Option<String>)>,
    },
    /// Apply objects of a revision whose gate is open.
    Apply {
        /// The proof.
        gate: Migrated,
        /// The objects, each with the resourceVersion that was seen.
        objects: Vec<(Object, Option<String>)>,
    },
    /// One move of a build.
    Build(BuildStep),
    /// One move of the migration.
    Migrate(MigrationStep),
    /// Delete an object of ours that no revision wants any more.
    Delete {
        /// Which.
        key: ObjectKey,
        /// Only this one.
        uid: Uid,
    },
    /// Delete the record of an old revision.
    Forget {
        /// Which.
        number: RevisionNumber,
        /// Only this one.
        uid: Uid,
    },
}

/// The moves of a build. Each is a single write with a deterministic name or a guarded one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildStep {
    /// Create the Job, wanted by this release.
    Create {
        /// What is built.
        commit: CommitId,
        /// Which Job of its key, from 1.
        run: u32,
        /// Which of those since somebody asked for it, from 1.
        tries: u32,
        /// Whether it is given more memory than usual.
        larger: bool,
    },
    /// Note on a Job how it failed: its pod may go at any time.
    Book {
        /// Its name.
        job: String,
        /// Its UID.
        uid: Uid,
        /// The Job that the decision saw.
        over: String,
        /// One sentence: what failed, and where.
        sentence: String,
        /// The end of what failed printed, redacted.
        tail: String,
        /// What to do about it.
        again: Again,
    },
    /// Wait for a Job, too, that others wait for.
    Join {
        /// Its name.
        job: String,
        /// Its UID.
        uid: Uid,
        /// The Job that the decision saw.
        over: String,
    },
    /// Wait for it no longer; others do.
    Leave {
        /// Its name.
        job: String,
        /// Its UID.
        uid: Uid,
        /// The Job that the decision saw.
        over: String,
    },
    /// End it, or clear it away: nobody waits for it.
    Delete {
        /// Its name.
        job: String,
        /// Only this one.
        uid: Uid,
        /// Only while it is as it was seen, and nobody else has come to wait for it.
        over: String,
    },
}

/// The moves of a migration. Each is a single write with a deterministic name or a compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigrationStep {
    /// Create the Job suspended: no pod exists.
    CreateJob {
        /// The revision whose migration it is.
        revision: RevisionNumber,
        /// The key.
        key: MigrationKey,
        /// Which Job of this key, from 1.
        run: u32,
    },
    /// Write an entry into the ledger.
    Write {
        /// The key.
        key: MigrationKey,
        /// The entry.
        entry: Box<Entry>,
        /// The ledger that the decision saw; `None` creates it.
        over: Option<String>,
    },
    /// Put the oldest entries of the ledger into their short form.
    Compact {
        /// The values of its data that change; `None` takes one away.
        data: BTreeMap<String, Option<String>>,
        /// The ledger that the decision saw.
        over: String,
    },
    /// Make the ledger, which is gone, anew from what revisions have on record.
    Rebuild {
        /// The migrations that are known.
        entries: Vec<(MigrationKey, Entry)>,
    },
    /// Take the lock for a claimed Job.
    TakeLock {
        /// The lock.
        lock: String,
        /// The Job that holds it from now on.
        uid: Uid,
        /// Its name.
        job: String,
        /// The lock that the decision saw; `None` creates it.
        over: Option<String>,
    },
    /// Let the claimed Job run.
    Resume {
        /// Its name.
        job: String,
        /// Its UID.
        uid: Uid,
        /// The Job that the decision saw.
        over: String,
    },
    /// Mark a suspended Job, so that nobody resumes it any more.
    Withdraw {
        /// Its name.
        job: String,
        /// Its UID.
        uid: Uid,
        /// The Job that the decision saw.
        over: String,
    },
    /// Take the right to run back from a Job whose container has not started, as far as anybody saw, and mark it.
    Suspend {
        /// Its name.
        job: String,
        /// Its UID.
        uid: Uid,
        /// The Job that the decision saw.
        over: String,
        /// Whether a node had its pod already, and might have started a container before it heard of this.
        on_node: bool,
    },
    /// Delete a Job.
    DeleteJob {
        /// Its name.
        job: String,
        /// Only this one.
        uid: Uid,
        /// Only while it is as it was seen.
        over: String,
    },
    /// Give the lock back.
    FreeLock {
        /// The lock.
        lock: String,
        /// The lock that the decision saw.
        over: String,
    },
}

impl MigrationStep {
    /// One static word, for logs and metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::CreateJob { .. } => "create",
            Self::Write { .. } => "write",
            Self::Compact { .. } => "compact",
            Self::Rebuild { .. } => "rebuild",
            Self::TakeLock { .. } => "lock",
            Self::Resume { .. } => "resume",
            Self::Withdraw { .. } => "withdraw",
            Self::Suspend { .. } => "suspend",
            Self::DeleteJob { .. } => "delete",
            Self::FreeLock { .. } => "free",
        }
    }
}

/// A revision to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its number.
    pub number: RevisionNumber,
    /// Why, in words, where it does not show in the rendered objects.
    pub cause: Option<String>,
    /// The image.
    pub digest: Digest,
    /// How the digest was obtained.
    pub obtained: String,
    /// What is known of it.
    pub record: Record,
    /// The migration.
    pub migration: Option<Migration>,
}

/// A revision that is made of objects that are there, and not of a spec: its record is lost, or it is what serves.
#[derive(Debug, Clone, PartialEq)]
pub struct AsFound {
    /// Its number.
    pub number: RevisionNumber,
    /// Its attempt.
    pub attempt: AttemptHash,
    /// Its version, by the image's tag where nothing else tells.
    pub version: String,
    /// Why it is made.
    pub cause: String,
    /// The commit that declared it, as far as the objects tell.
    pub commit: Option<String>,
    /// What was asked for.
    pub reference: String,
    /// The counter `repin` that it was looked up under, as far as that is known.
    pub repin: u64,
    /// What runs.
    pub digest: Digest,
    /// The platforms that its pods are bound to.
    pub platforms: Vec<String>,
    /// Its migration.
    pub migration: Option<Migration>,
    /// What is there of it, as it was applied.
    pub objects: Vec<Object>,
    /// Fingerprints of the values that its pods are started with, where they are known.
    pub fingerprints: Option<Fingerprints>,
}

/// Where a release is; a summary for people, and the clock that deadlines count on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// No revision is on its way.
    Idle,
    /// The objects of this revision are being rolled out.
    RollingOut(RevisionNumber),
    /// This revision is complete and watched.
    Verifying(RevisionNumber),
    /// The objects of this revision are being brought back.
    RollingBack(RevisionNumber),
}

/// One word for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Validated, not begun.
    Pending,
    /// The image is looked for.
    Resolving,
    /// The image is built.
    Building,
    /// References, generated values, identity.
    Preparing,
    /// The migration is under way.
    Migrating,
    /// Pods are being replaced.
    RollingOut,
    /// Watched.
    Verifying,
    /// As declared.
    Live,
    /// The stage failed; the name of it.
    Failed(&'static str),
    /// The last Live revision runs again.
    RolledBack,
    /// Something from outside is missing; its reason.
    Waiting(String),
    /// A commit asked for a pause.
    Suspended,
    /// The spec cannot be.
    Rejected,
    /// There is no version here.
    NotDeployed,
}

/// What the status says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One word.
    pub phase: Phase,
    /// One sentence.
    pub message: String,
    /// The stage, for the clock.
    pub stage: Stage,
    /// The revision on its way or running.
    pub current: Option<RevisionNumber>,
    /// The revision that was last verified.
    pub live: Option<RevisionNumber>,
    /// Its version.
    pub live_version: Option<String>,
    /// The declared version.
    pub declared_version: Option<String>,
    /// How many objects these steps put back.
    pub repairs: usize,
    /// The names of the variables that pods have by `envFrom`.
    pub variables: Vec<String>,
    /// Detail conditions that are true: type and sentence.
    pub details: Vec<(&'static str, String)>,
}

/// When to look again if nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// At once: the world was changed and must be seen anew.
    Again,
    /// After this time.
    After(Duration),
    /// When something changes (with a long, jittered look for what a watch missed).
    ForChange,
}
