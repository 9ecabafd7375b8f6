//! What a validated spec says: the merged spec of git with its preset underneath, in types that only hold
//! what is allowed. [`super::declare`] is the only way to make one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    api::{
        Duration,
        release::{Agree, EnvValue, KeyRef, OnFailure, OnSecretChange, Resources, Strategy},
    },
    names::{CommitId, Digest, EnvName, ObjectName, ProcessName, Version},
    repository::{GitRef, GitUrl, RefName},
};

/// A release as it is declared, complete: every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// The preset and its version: `phoenix@1`.
    pub preset: String,
    /// The declared version.
    pub version: Version,
    /// The image to find.
    pub image: ImageRequest,
    /// The Secret with which nodes and Slipway pull it.
    pub pull_secret: Option<ObjectName>,
    /// Where its own source is.
    pub origin: Option<Origin>,
    /// What an image must say of itself.
    pub agree: Agreement,
    /// How an image is built where there is none; `None` where it is waited for.
    pub build: Option<BuildSpec>,
    /// Every process, `web` among them unless the preset is `worker` (then the top-level fields describe `worker`).
    pub processes: BTreeMap<ProcessName, ProcessSpec>,
    /// The container port of `web`; `None` for a release that serves nothing (preset `worker`).
    pub port: Option<u16>,
    /// The host and how its Ingress is made.
    pub exposure: Option<Exposure>,
    /// Whole Secrets and ConfigMaps whose keys become variables; the last one wins, and `env` of a process over all.
    pub env_from: Vec<EnvSource>,
    /// Files in every pod: absolute path → where the content is.
    pub files: BTreeMap<String, FileSource>,
    /// Variables that must have a value before anything starts.
    pub requires: Vec<EnvName>,
    /// Paths that may be written: path → size limit (a Kubernetes quantity).
    pub writable: BTreeMap<String, String>,
    /// Who the application runs as.
    pub security: Identity,
    /// How readiness of `web` is asked; `None` without a port.
    pub probe: Option<Probe>,
    /// The migration, if there is one.
    pub migrate: Option<MigrateSpec>,
    /// How new pods replace old ones.
    pub rollout: RolloutSpec,
    /// How long it is watched after the rollout.
    pub verify_window: Duration,
    /// Restarts that are forgiven in that time.
    pub verify_max_restarts: u32,
    /// What happens when rollout or verification fails.
    pub on_failure: OnFailure,
    /// What happens when a value changes that a process refers to.
    pub on_secret_change: OnSecretChange,
    /// While it lasts nothing new goes out.
    pub suspend: Option<Suspension>,
    /// Revisions that are kept.
    pub retain_revisions: u32,
    /// Failed Jobs that are kept.
    pub retain_failed_jobs: u32,
    /// The attempt counter.
    pub attempt: u64,
    /// The counter under which a tag that was resolved is resolved anew.
    pub repin: u64,
    /// The counter that objects of others are taken over under.
    pub adopt: u64,
    /// The counter of deliberate renewals of generated values.
    pub rotate: u64,
    /// Hash of everything that pods and database see, as git words it (before the preset, so that an upgrade
    /// of Slipway changes no hash), without what only scales, exposes or sets policy.
    pub attempt_hash: AttemptHash,
}

/// Equal hashes are one attempt. Hex, 64 digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptHash(pub String);

/// The image that a spec asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRequest {
    /// Registry and path: `ghcr.io/acme/billing`, `registry:5000/x`; Docker Hub's short names are completed.
    pub repository: String,
    /// What of it.
    pub pick: ImagePick,
}

/// What of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImagePick {
    /// A tag: that of the spec, or the version.
    Tag(String),
    /// A digest, which needs no registry.
    Digest(Digest),
}

impl ImageRequest {
    /// `repository:tag` or `repository@sha256:…`.
    #[must_use]
    pub fn reference(&self) -> String {
        match &self.pick {
            ImagePick::Tag(tag) => format!("{}:{tag}", self.repository),
            ImagePick::Digest(digest) => format!("{}@{digest}", self.repository),
        }
    }

    /// What pods run: `repository:tag@sha256:…`.
    #[must_use]
    pub fn pinned(&self, digest: &Digest) -> String {
        match &self.pick {
            ImagePick::Tag(tag) => format!("{}:{tag}@{digest}", self.repository),
            ImagePick::Digest(_) => format!("{}@{digest}", self.repository),
        }
    }
}

/// Where the source of an application is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The repository.
    pub git: GitUrl,
    /// What of it.
    pub reference: OriginRef,
    /// The directory that is built, as it is written; `.` is the whole.
    pub path: String,
    /// The Secret of the namespace for builds that it is read with.
    pub secret: Option<ObjectName>,
}

/// What of a repository an image is made from. Never a branch: a version is one commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OriginRef {
    /// A tag; an annotated one means the commit that it names.
    Tag(RefName),
    /// One commit, for ever.
    Commit(CommitId),
}

impl OriginRef {
    /// As it is asked for.
    #[must_use]
    pub fn git_ref(&self) -> GitRef {
        match self {
            Self::Tag(name) => GitRef::Tag(name.clone()),
            Self::Commit(id) => GitRef::Commit(id.clone()),
        }
    }
}

impl fmt::Display for OriginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(name) => write!(f, "tag {}", name.as_str()),
            Self::Commit(id) => write!(f, "commit {}", id.short()),
        }
    }
}

/// What follows where an image says something else than what is declared; `None` is what is usual for such an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Of its version.
    pub version: Option<Agree>,
    /// Of its commit.
    pub revision: Option<Agree>,
}

/// How an image is built.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildSpec {
    /// Whether an image that somebody else pushed is not used.
    pub always: bool,
    /// The Dockerfile, from `source.path` on.
    pub dockerfile: String,
    /// The stage that is the image; `None` is the last one.
    pub target: Option<String>,
    /// A stage that is built before it, for its failure alone.
    pub test_target: Option<String>,
    /// What the Dockerfile declares by ARG.
    pub args: BTreeMap<String, String>,
    /// Secret mounts: id → a key of a Secret in the namespace for builds.
    pub secrets: BTreeMap<String, KeyRef>,
    /// What it is built for, `linux/amd64`; empty is what the builder runs on.
    pub platforms: Vec<String>,
    /// What follows from dependencies without a lock file.
    pub locks: Agree,
    /// How long it may take.
    pub timeout: Duration,
}

/// One process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSpec {
    /// Replaces the image's ENTRYPOINT.
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD.
    pub args: Option<Vec<String>>,
    /// How many pods.
    pub replicas: u32,
    /// Requests and limits, requests never empty.
    pub resources: Resources,
    /// The whole environment of this process: preset, then spec, then process. Processes other than web have
    /// none of the variables that only serve (`PORT`, `PHX_SERVER`, `HOSTNAME`).
    pub env: BTreeMap<EnvName, EnvValue>,
}

/// The host and how its Ingress is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// The host name.
    pub host: String,
    /// `ingressClassName`.
    pub class: Option<String>,
    /// Annotations for the ingress controller.
    pub annotations: BTreeMap<String, String>,
}

/// Who the application runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A numeric user; `None` means: the image's own, which must then be numeric.
    pub run_as_user: Option<i64>,
    /// Whether the root file system is read-only.
    pub read_only_root: bool,
    /// An existing ServiceAccount, else the release's own.
    pub service_account: Option<ObjectName>,
}

/// How readiness is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The path of a GET; TCP alone when absent.
    pub path: Option<String>,
    /// Another port than the release's.
    pub port: u16,
    /// Headers of the request.
    pub headers: BTreeMap<String, String>,
    /// How long a start may take.
    pub startup: Duration,
}

/// The migration.
#[derive(Debug, Clone, PartialEq)]
pub struct MigrateSpec {
    /// Replaces the image's ENTRYPOINT.
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD.
    pub args: Option<Vec<String>>,
    /// The whole environment: that of web less what only serves, then `migrate.env`, and `SLIPWAY_TASK=migrate`.
    pub env: BTreeMap<EnvName, EnvValue>,
    /// How long it may run, from the start of the container.
    pub timeout: Duration,
    /// How many times a failed one is run again by itself.
    pub retries: u32,
    /// Requests and limits of the Job, requests never empty.
    pub resources: Resources,
    /// The lock that it shares with others, in place of the database.
    pub lock: Option<String>,
    /// Who the Job runs as in the cluster.
    pub service_account: Option<ObjectName>,
    /// A text that the log of a success holds.
    pub proof: Option<String>,
    /// The variable that names the database.
    pub database: EnvName,
    /// Whether code from before can run on the schema that it leaves, where the spec says so.
    pub compatible: Option<bool>,
    /// The counter of deliberate repetitions.
    pub rerun: u32,
    /// A key (or its first 8 or more digits) whose unknown outcome a person settled as done.
    pub accept: Option<String>,
}

/// A pause that a commit asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    /// Why.
    pub reason: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

/// How new pods replace old ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutSpec {
    /// Rolling or recreate.
    pub strategy: Strategy,
    /// `maxSurge`: a number or a percentage.
    pub surge: String,
    /// `maxUnavailable`: a number or a percentage.
    pub unavailable: String,
    /// How long a rollout may take.
    pub deadline: Duration,
    /// `minReadySeconds`.
    pub min_ready: Duration,
    /// `terminationGracePeriodSeconds`.
    pub drain: Duration,
}

/// What holds values outside of git.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A Secret.
    Secret,
    /// A `ConfigMap`.
    ConfigMap,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        })
    }
}

/// Where the content of a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// In a Secret or a `ConfigMap`.
    pub holder: Holder,
    /// Under which key.
    pub key: KeyRef,
}

/// The variable that names the database where `migrate.database` says nothing.
pub const DATABASE: &str = "DATABASE_URL";

/// A whole Secret or `ConfigMap` whose keys become variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvSource {
    /// A Secret or a `ConfigMap`.
    pub holder: Holder,
    /// Its name.
    pub name: ObjectName,
    /// What stands before each key in the name of its variable.
    pub prefix: String,
}

impl EnvSource {
    /// The key that would give a variable.
    #[must_use]
    pub fn key_of<'a>(&self, variable: &'a EnvName) -> Option<&'a str> {
        let key = variable.as_str().strip_prefix(self.prefix.as_str())?;
        (!key.is_empty()).then_some(key)
    }

    /// It as a whole, as words: `Secret app/*`.
    #[must_use]
    pub fn whole(&self) -> String {
        format!("{} {}/*", self.holder, self.name)
    }
}

/// A key as words, `Secret app-db/url`: what fingerprints are kept under.
#[must_use]
pub fn reference(holder: Holder, name: &str, key: &str) -> String {
    format!("{holder} {name}/{key}")
}

impl Declared {
    /// The variables of the process of the top-level fields, without those of `envFrom`.
    #[must_use]
    pub fn primary_env(&self) -> Option<&BTreeMap<EnvName, EnvValue>> {
        let named = |name: ProcessName| self.processes.get(&name);
        let primary = named(ProcessName::web()).or_else(|| named(ProcessName::worker()));
        primary.map(|process| &process.env)
    }

    /// Every key that a variable of some process or of the migration refers to.
    #[must_use]
    pub fn env_keys(&self, holder: Holder) -> BTreeSet<KeyRef> {
        self.all_env()
            .filter_map(|(_, value)| key_in(holder, value))
            .cloned()
            .collect()
    }

    /// Every key that is a file.
    #[must_use]
    pub fn file_keys(&self, holder: Holder) -> BTreeSet<KeyRef> {
        let files = self.files.values().filter(|file| file.holder == holder);
        files.map(|file| file.key.clone()).collect()
    }

    /// The names of all Secrets or all `ConfigMaps` that pods are given something of; without generated values, and without
    /// the Secret that images are pulled with.
    #[must_use]
    pub fn objects(&self, holder: Holder) -> BTreeSet<ObjectName> {
        let whole = self.env_from.iter().filter(|source| source.holder == holder);
        self.env_keys(holder)
            .into_iter()
            .chain(self.file_keys(holder))
            .map(|key| key.name)
            .chain(whole.map(|source| source.name.clone()))
            .collect()
    }

    /// Every variable that is generated, with how: keys of `<release>-generated`.
    #[must_use]
    pub fn generated(&self) -> BTreeMap<EnvName, crate::api::release::Generate> {
        self.all_env()
            .filter_map(|(name, value)| match value {
                EnvValue::Generate(how) => Some((name.clone(), *how)),
                _ => None,
            })
            .collect()
    }

    /// What processes, and not the migration alone, refer to by a key, and as what they know it: `Secret app-db/url` →
    /// `DATABASE_URL`, `/run/url`. `generated` is the name of the Secret of generated values. `envFrom` is not among it.
    #[must_use]
    pub fn process_keys(&self, generated: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (variable, value) in self.processes.values().flat_map(|process| process.env.iter()) {
            let reference = match value {
                EnvValue::Secret(key) => reference(Holder::Secret, key.name.as_str(), &key.key),
                EnvValue::Config(key) => reference(Holder::ConfigMap, key.name.as_str(), &key.key),
                EnvValue::Generate(_) => reference(Holder::Secret, generated, variable.as_str()),
                EnvValue::Literal(_) | EnvValue::Public(_) | EnvValue::Field(_) => continue,
            };
            found.entry(reference).or_default().insert(variable.to_string());
        }
        for (path, file) in &self.files {
            let reference = reference(file.holder, file.key.name.as_str(), &file.key.key);
            found.entry(reference).or_default().insert(path.clone());
        }
        found
    }

    /// The names of all variables that pods are given by `env`.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.all_env().map(|(name, _)| name.as_str())
    }

    /// The texts that git declares to be no secrets, whatever they look like.
    pub fn public_values(&self) -> impl Iterator<Item = &str> {
        self.all_env().filter_map(|(_, value)| match value {
            EnvValue::Public(text) => Some(text.as_str()),
            _ => None,
        })
    }

    fn all_env(&self) -> impl Iterator<Item = (&EnvName, &EnvValue)> {
        self.processes
            .values()
            .flat_map(|process| process.env.iter())
            .chain(self.migrate.iter().flat_map(|migrate| migrate.env.iter()))
    }
}

/// The key that a variable refers to.
fn key_in(holder: Holder, value: &EnvValue) -> Option<&KeyRef> {
    match (holder, value) {
        (Holder::Secret, EnvValue::Secret(key)) | (Holder::ConfigMap, EnvValue::Config(key)) => Some(key),
        _ => None,
    }
}
