//! What is in a cluster, as far as an invariant asks for it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::Value;

use crate::plan::ledger::{Ledger, MigrationKey};

/// A text that is shared: traces of models are made by the hundred thousand.
pub type Text = Arc<str>;

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// Its namespace.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The kinds that invariants speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "kinds of Kubernetes")]
pub enum Kind {
    Release,
    ReleaseRevision,
    ReleaseSource,
    Job,
    Deployment,
    ConfigMap,
    Lease,
    Pod,
    Service,
    ServiceAccount,
    PodDisruptionBudget,
    Ingress,
    Secret,
    Namespace,
}

impl Kind {
    /// The kind of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "Release" => Self::Release,
            "ReleaseRevision" => Self::ReleaseRevision,
            "ReleaseSource" => Self::ReleaseSource,
            "Job" => Self::Job,
            "Deployment" => Self::Deployment,
            "ConfigMap" => Self::ConfigMap,
            "Lease" => Self::Lease,
            "Pod" => Self::Pod,
            "Service" => Self::Service,
            "ServiceAccount" => Self::ServiceAccount,
            "PodDisruptionBudget" => Self::PodDisruptionBudget,
            "Ingress" => Self::Ingress,
            "Secret" => Self::Secret,
            "Namespace" => Self::Namespace,
            _ => return None,
        })
    }
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for what has none.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{:?} {}", self.kind, self.name)
        } else {
            write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// An object as a write left it.
#[derive(Debug, Clone)]
pub struct Object {
    /// Which.
    pub key: Key,
    /// Its UID.
    pub uid: Text,
    /// Its resourceVersion.
    pub version: u64,
    /// Its generation; 0 where it has none.
    pub generation: u64,
    /// The release that its label names; a `Release` names itself.
    pub release: Option<Text>,
    /// Whether it says of itself that it is Slipway's.
    pub ours: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The commit that its annotation names.
    pub commit: Option<Text>,
    /// What matters of the rest.
    pub body: Body,
}

impl Object {
    /// The release that it belongs to.
    #[must_use]
    pub fn of(&self) -> Option<Release> {
        self.release.as_ref().map(|name| Release {
            namespace: self.key.namespace.clone(),
            name: name.clone(),
        })
    }
}

/// What matters of an object.
#[derive(Debug, Clone)]
#[allow(
    missing_docs,
    reason = "the fields are those of the kinds, and of `plan::observed`"
)]
pub enum Body {
    Release(ReleaseBody),
    Revision(Arc<RevisionBody>),
    Source(SourceBody),
    Job {
        key: Option<MigrationKey>,
        suspended: bool,
        /// Pods that have not ended.
        active: u32,
        /// `Some(true)` is Complete, `Some(false)` Failed.
        complete: Option<bool>,
    },
    Ledger(Arc<Ledger>),
    Deployment(DeploymentBody),
    Lock {
        holder: Option<Text>,
    },
    Pod {
        /// UID of its Job.
        job: Option<Text>,
        started: bool,
        exit: Option<i32>,
        terminal: bool,
    },
    Plain,
}

/// A `Release`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields are those of the kind")]
pub struct ReleaseBody {
    pub source: Option<Text>,
    /// Whether its removal has begun.
    pub removing: bool,
    pub version: Option<Text>,
    pub attempt: u64,
    pub adopt: u64,
    pub retries: u32,
    pub accept: Option<Text>,
    pub observed: u64,
    pub phase: Text,
    pub message: Text,
    pub live_version: Option<Text>,
    pub live_revision: Option<u64>,
}

/// A `ReleaseRevision`.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are those of the kind")]
pub struct RevisionBody {
    pub number: u64,
    pub reference: Text,
    /// The counter under which a person had it looked up anew.
    pub repin: u64,
    pub digest: Text,
    pub commit: Option<Text>,
    /// It was made of what serves, and of the commit that had declared that.
    pub beside: bool,
    /// Key, database and lock.
    pub migration: Option<(MigrationKey, Text, Text)>,
    /// What was rendered, where the origin of the trace knows.
    pub objects: BTreeMap<(Text, Text), Value>,
}

/// A `ReleaseSource`.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields are those of the kind")]
pub struct SourceBody {
    pub applied: Option<Text>,
    pub problems: u64,
    /// A history that is not a chain was allowed, or another branch or commit was named: hash of what is followed.
    pub rewrite: bool,
    pub follows: Text,
    /// As in the spec: `30%`, `5`.
    pub max_deletions: Option<Text>,
}

/// A Deployment.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields are those of the kind")]
pub struct DeploymentBody {
    /// The revision of its pods.
    pub revision: Option<u64>,
    pub images: Vec<Text>,
    pub replicas: u32,
    /// How many may be missing in a rollout; `None` where all may (`Recreate`).
    pub may_miss: Option<u32>,
    pub observed: u64,
    pub updated: u32,
    pub available: u32,
}
