//! `Release`: the declared state of one application in one cluster.
//!
//! Every field is optional here, since a spec in git is spread over layers and the preset fills in the rest;
//! [`crate::spec`] says what the whole must be.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, Duration};

mod build;
mod env;
mod forms;
mod origin;

pub use build::{Build, BuildMode};
pub use env::{Encoding, EnvValue, Generate, KeyRef};
pub use forms::{Health, Migrate, MigrateOptions, long_forms};
pub use origin::{Agree, Match, Origin};

/// What one application should be in this cluster.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "slipway.dev",
    version = "v1alpha1",
    kind = "Release",
    plural = "releases",
    doc = "The declared state of one application in this cluster.",
    namespaced,
    status = "ReleaseStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Declared","type":"string","jsonPath":".status.declaredVersion"}"#,
    printcolumn = r#"{"name":"Live","type":"string","jsonPath":".status.liveVersion"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = ("size(self.metadata.name) <= 40", "a release name has at most 40 characters"),
    validation = (
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "a release name consists of lower-case letters, digits and '-', begins with a letter and has no dots: it is the name of a Service"
    ),
)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleaseSpec {
    /// The kind of application: `web`, `worker`, `phoenix` or `nextjs`; `web` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub preset: Option<String>,
    /// The declared version. Without one the release is not deployed in this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub version: Option<String>,
    /// A repository (its tag is the version), `repository:tag`, or `repository@sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// A `kubernetes.io/dockerconfigjson` Secret of the namespace, for pulling the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pull_secret: Option<String>,
    /// Where the application's own source is: `{git: https://…, ref: v{version}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Origin>,
    /// What the image must say of itself: `{version: ignore|warn|enforce, revision: ignore|warn|enforce}`.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub agree: Option<Match>,
    /// How the image is built from `source` where there is none: `{mode: ifMissing|never|always, dockerfile, target, …}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    /// Replaces the image's ENTRYPOINT, as in a Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD, as in a Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Option<Vec<String>>,
    /// The port that the application listens on: of container and probe, in the variable `PORT`, and behind port 80 of the
    /// Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i64>,
    /// The host name that the release is reached by, through an Ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub host: Option<String>,
    /// How the Ingress of `host` is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// How many pods of the process of the top-level fields run; 2 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i64>,
    /// Requests and limits of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Environment variables: a string, or one of `{secret: name/key}`, `{config: name/key}`,
    /// `{generate: base64/64}`, `{field: status.podIP}`, `{value: …, public: true}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 200))]
    pub env: BTreeMap<String, EnvValue>,
    /// Whole Secrets and ConfigMaps whose keys become variables, in order: `[{secret: name, prefix: X_}]`. A later one wins over
    /// an earlier one, and `env` over all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub env_from: Vec<EnvFrom>,
    /// Files in the pods of every process and of the migration, by path: `{secret: name/key}` or `{config: name/key}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub files: BTreeMap<String, FileFrom>,
    /// Variables that must have a value before anything starts; those that the preset needs when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 256)))]
    pub requires: Option<Vec<String>>,
    /// Paths that the application may write, each an emptyDir, with its size limit: `{/tmp: 64Mi}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 20))]
    pub writable: BTreeMap<String, ShortText>,
    /// Who the application runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<Security>,
    /// How readiness is asked: a path, or `{path, port, headers, startup}`; TCP when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Further processes of the same image, by name; the top-level fields describe `web`, or `worker` where nothing serves.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 10))]
    pub processes: BTreeMap<String, Process>,
    /// How the database is migrated: a command list, an object, or `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Migrate>,
    /// How new pods replace old ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// What must hold after the rollout before the release counts as Live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// What happens when rollout or verification fails; `rollback` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// What happens when a value changes that a process refers to; `roll` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_secret_change: Option<OnSecretChange>,
    /// What is kept of the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain: Option<Retain>,
    /// What runs is kept, and nothing new goes out, until a commit removes this or its time has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<Suspend>,
    /// Raise it to try a failed version again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub attempt: Option<i64>,
    /// Raise it to take over objects that somebody else made under the names of this release: once, until it is Live.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub adopt: Option<i64>,
    /// Raise it to have the tag of the declared version looked up anew, where it names another image by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub repin: Option<i64>,
    /// Raise it to have the generated values made anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub rotate: Option<i64>,
}

/// A whole Secret or ConfigMap whose keys become variables: either `secret` or `config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvFrom {
    /// A Secret of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret: Option<String>,
    /// A ConfigMap of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub config: Option<String>,
    /// What stands before each key in the name of its variable; nothing when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub prefix: Option<String>,
}

/// Where the content of a file comes from: either `secret` or `config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FileFrom {
    /// A key of a Secret of the namespace, `name/key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 507))]
    pub secret: Option<String>,
    /// A key of a ConfigMap of the namespace, `name/key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 507))]
    pub config: Option<String>,
}

/// A text of at most 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ShortText(#[schemars(length(max = 64))] pub String);

/// A text of at most 4096 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Text(#[schemars(length(max = 4096))] pub String);

/// How the Ingress of `host` is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// `ingressClassName`; the cluster's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub class: Option<String>,
    /// Annotations for the ingress controller.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub annotations: BTreeMap<String, Text>,
}

/// Requests and limits, as in a Pod: `{requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 256Mi}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// What the scheduler reserves.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: BTreeMap<String, ShortText>,
    /// What the container may not exceed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: BTreeMap<String, ShortText>,
}

/// Who the application runs as. Everything else is hardened and has no switch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Security {
    /// A numeric user other than 0; from the preset or the image when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_user: Option<i64>,
    /// Whether the root file system is read-only; `true` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_root: Option<bool>,
    /// An existing ServiceAccount of the namespace instead of the release's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service_account: Option<String>,
}

/// A further process of the same image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// Replaces the image's ENTRYPOINT.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Option<Vec<String>>,
    /// How many pods run; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i64>,
    /// Requests and limits; those of the release when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Variables of this process alone, over those of the release.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 200))]
    pub env: BTreeMap<String, EnvValue>,
}

/// How new pods replace old ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// How pods are replaced; `rolling` when absent. `recreate` is for an application that cannot run twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// How many pods may be added: a number or a percentage; `25%` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), regex(pattern = "^[0-9]{1,4}%?$"))]
    pub surge: Option<String>,
    /// How many pods may be missing: a number or a percentage; `0` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), regex(pattern = "^[0-9]{1,4}%?$"))]
    pub unavailable: Option<String>,
    /// How long a rollout may take before it counts as failed; `10m` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// How long a pod must be ready before it counts; `10s` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ready: Option<Duration>,
    /// How long an old pod may finish its requests; `60s` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Duration>,
}

/// How pods are replaced; `rolling` when absent. `recreate` is for an application that cannot run twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    /// New pods come before old ones go.
    Rolling,
    /// Old pods go before new ones come.
    Recreate,
}

/// What must hold after the rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Verify {
    /// How long it is watched; `1m` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
    /// How many restarts of new pods are forgiven in that time; 0 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_restarts: Option<i64>,
}

/// What happens when rollout or verification fails; `rollback` when absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// The objects of the last Live revision are applied again.
    Rollback,
    /// Everything stays as it is until a commit.
    Hold,
}

/// What happens when a value changes that a process refers to; `roll` when absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnSecretChange {
    /// Pods are rolled, as by a new version.
    Roll,
    /// Pods get the new value when they start for another reason.
    Ignore,
}

/// Why nothing new goes out, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Suspend {
    /// One sentence for those who look at the status.
    #[schemars(length(max = 400))]
    pub reason: String,
    /// When it ends by itself, such as `2026-12-01T08:00:00Z`; with a commit alone when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub until: Option<String>,
}

/// What is kept of the past. The running and the last Live revision always stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Retain {
    /// How many revisions; 5 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub revisions: Option<i64>,
    /// How many failed Jobs; 5 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub failed_jobs: Option<i64>,
}

/// What became of the declared state. Output only: no decision reads it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleaseStatus {
    /// The generation that this was computed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for people: `Live`, `Migrating`, `Waiting`, …
    #[schemars(length(max = 64))]
    pub phase: String,
    /// One sentence that answers "why is my service not deployed?".
    #[schemars(length(max = 2048))]
    pub message: String,
    /// The version that git declares.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub declared_version: Option<String>,
    /// The version that was last verified here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub live_version: Option<String>,
    /// The revision that is being brought about, or that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub current_revision: Option<String>,
    /// The revision that was last verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub live_revision: Option<String>,
    /// How often something that others changed was put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repairs: Option<i64>,
    /// The names of the variables that pods have by `envFrom`; never a value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), inner(length(max = 512)))]
    pub variables: Vec<String>,
    /// `Ready`, `Reconciling`, `Stalled` for kstatus, and the details.
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
