//! A Kubernetes object as a value: what is rendered, stored in a revision, compared and applied.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// The kinds that Slipway makes for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// `v1`.
    ServiceAccount,
    /// `v1`.
    Service,
    /// `policy/v1`.
    PodDisruptionBudget,
    /// `apps/v1`.
    Deployment,
    /// `networking.k8s.io/v1`.
    Ingress,
    /// `batch/v1`; made by the migration alone, never part of a revision's objects.
    Job,
}

impl Kind {
    /// `apiVersion` of the kind.
    #[must_use]
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::ServiceAccount | Self::Service => "v1",
            Self::PodDisruptionBudget => "policy/v1",
            Self::Deployment => "apps/v1",
            Self::Ingress => "networking.k8s.io/v1",
            Self::Job => "batch/v1",
        }
    }

    /// Whether objects of this kind expose or guard pods.
    #[must_use]
    pub const fn exposes(self) -> bool {
        match self {
            Self::Service | Self::PodDisruptionBudget | Self::Ingress => true,
            Self::ServiceAccount | Self::Deployment | Self::Job => false,
        }
    }

    /// The name in `kind:`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::Deployment => "Deployment",
            Self::Ingress => "Ingress",
            Self::Job => "Job",
        }
    }
}

/// Kind and name: which object of the release's namespace. The order is that of application: identity and
/// exposure come before pods, so that a pod never starts without them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// A rendered object: the full intent of the field manager `slipway`.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Which one.
    pub key: ObjectKey,
    /// The whole object, with `apiVersion`, `kind` and `metadata`.
    pub value: Tree,
}

/// A tree of JSON that is shared until somebody changes it: a look takes objects from one place to another many times, and
/// changes few of them.
#[derive(Debug, Clone)]
pub struct Tree(Arc<Value>);

impl Tree {
    /// The tree as a value of its own.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::clone(&self.0)
    }
}

impl From<Value> for Tree {
    fn from(value: Value) -> Self {
        Self(Arc::new(value))
    }
}

impl Deref for Tree {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl DerefMut for Tree {
    fn deref_mut(&mut self) -> &mut Value {
        Arc::make_mut(&mut self.0)
    }
}

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Object {
    /// Whether it exposes or guards pods (Service, budget, Ingress) and may follow a commit without a new attempt. The
    /// others are what pods run as and are made by.
    #[must_use]
    pub const fn exposes(&self) -> bool {
        self.key.kind.exposes()
    }
}
