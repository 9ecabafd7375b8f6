//! `ReleaseRevision`: one numbered attempt, with everything that drift repair and rollback need.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, release::ShortText};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What an attempt is. Written once: a CEL rule refuses every change.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "slipway.dev",
    version = "v1alpha1",
    kind = "ReleaseRevision",
    plural = "releaserevisions",
    doc = "One numbered attempt to bring a release about, with everything that drift repair and rollback need.",
    namespaced,
    status = "ReleaseRevisionStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".spec.version"}"#,
    printcolumn = r#"{"name":"Outcome","type":"string","jsonPath":".status.outcome"}"#,
    printcolumn = r#"{"name":"Cause","type":"string","jsonPath":".spec.cause"}"#,
    printcolumn = r#"{"name":"Commit","type":"string","jsonPath":".spec.commit","priority":1}"#,
    printcolumn = r#"{"name":"Author","type":"string","jsonPath":".spec.author","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = ("self.spec == oldSelf.spec", "a revision is history: its spec never changes"),
)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleaseRevisionSpec {
    /// The release's name.
    #[schemars(length(max = 63))]
    pub release: String,
    /// Its number, from 1.
    #[schemars(range(min = 1))]
    pub number: i64,
    /// The declared version.
    #[schemars(length(max = 128))]
    pub version: String,
    /// Why it was made, in words: `version 1.8.1 → 1.8.2`.
    #[schemars(length(max = 512))]
    pub cause: String,
    /// The commit that declared it; absent for a release written by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub commit: Option<String>,
    /// The author of that commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub author: Option<String>,
    /// The source that it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub source: Option<String>,
    /// Hash of all that pods and database see; equal hashes are one attempt.
    #[schemars(length(max = 128))]
    pub attempt: String,
    /// The image.
    pub image: RevisionImage,
    /// The preset and its version, `phoenix@1`.
    #[schemars(length(max = 64))]
    pub preset: String,
    /// The migration that must have succeeded before the Deployments of this revision are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<RevisionMigration>,
    /// Fingerprints of the values that its pods see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<ValueFingerprints>,
    /// The counter `adopt` under which objects of others had been taken over when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopted: Option<i64>,
    /// The counter `repin` that the image was looked up under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repin: Option<i64>,
    /// The rendered objects as one JSON list; what drift repair and rollback apply.
    #[schemars(length(max = 262_144))]
    pub objects: String,
}

/// The image of a revision and how it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionImage {
    /// What was asked for: `ghcr.io/acme/billing:1.8.2`.
    #[schemars(length(max = 700))]
    pub reference: String,
    /// What it was: `sha256:…`.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// How the digest was obtained: `declared`, `registry`, `revision billing-v3`.
    #[schemars(length(max = 128))]
    pub obtained: String,
    /// The platforms of the image, `linux/amd64`; empty when the registry was not asked.
    #[schemars(length(max = 64), inner(length(max = 64)))]
    pub platforms: Vec<String>,
    /// What looked like a secret in it: where, and by which rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 40), inner(length(max = 256)))]
    pub suspicious: Vec<String>,
    /// Secrets in it that do no harm: they are expected there, or pods are given others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 40), inner(length(max = 256)))]
    pub harmless: Vec<String>,
    /// The commit that the declared `source` named, where its server was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub source_commit: Option<String>,
    /// What the image says of its version and commit, compared with what was declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub origin: Option<String>,
    /// What of that differs, whatever `match` said of it then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differs: Option<ImageDiffers>,
    /// Whether Slipway built it, as the image says itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub built: bool,
    /// What was found in its source when it was built here, and let pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    pub warned: Vec<String>,
    /// The images that it was made of, with the digests that they had then, by its provenance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 512)))]
    pub base: Vec<String>,
    /// The lock files of its source, with the hash of each, where Slipway built it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub locks: Option<String>,
    /// How many bytes a node fetches for it; of several platforms those of the largest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
}

/// What an image says of itself that is not what was declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageDiffers {
    /// Of its version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 512)))]
    pub version: Vec<String>,
    /// Of its commit and repository.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 512)))]
    pub revision: Vec<String>,
}

/// The migration of a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionMigration {
    /// Hash of release, digest, command, database and `rerun`.
    #[schemars(length(max = 128))]
    pub key: String,
    /// The database as words without user or password: `postgres.example.com:5432/billing`, or why it is not known.
    #[schemars(length(max = 512))]
    pub database: String,
    /// The object that guards the database while a Job runs.
    #[schemars(length(max = 128))]
    pub lock: String,
}

/// Keyed hashes of values that pods see: equal hashes are equal values, and nobody learns a value from them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ValueFingerprints {
    /// Which key they were made with.
    #[schemars(length(max = 64))]
    pub key_id: String,
    /// `Secret app-db/url` → hash.
    #[schemars(extend("maxProperties" = 400))]
    pub hashes: BTreeMap<String, ShortText>,
}

/// What became of a revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleaseRevisionStatus {
    /// The final word, absent while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// One sentence about it.
    #[schemars(length(max = 2048))]
    pub message: String,
    /// When it was first verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_at: Option<Time>,
    /// When the outcome was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// The migration as the ledger has it, for people and for rebuilding the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationRecord>,
    /// What exposes it (Service, budget, Ingress) since git changed that without a new attempt: a JSON list, in place of
    /// those among `spec.objects`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub exposure: Option<String>,
    /// As in the spec, recorded later: the key of the fingerprints in the spec is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<ValueFingerprints>,
    /// As in the spec, recorded later: that counter takes nothing over any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopted: Option<i64>,
    /// The end of the log of what failed, redacted, at most 4 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub log_tail: Option<String>,
    /// Details.
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// How a revision ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// Rolled out and verified. A revision that was Live once can be gone back to.
    Live,
    /// Its migration failed or its outcome is unknown; its Deployments were never written.
    MigrationFailed,
    /// Its rollout or verification failed.
    RolloutFailed,
    /// A newer attempt took over before it ended.
    Superseded,
}

/// A migration as the ledger has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MigrationRecord {
    /// The whole key.
    #[schemars(length(max = 128))]
    pub key: String,
    /// `succeeded`, `failed`, `unknown`, `accepted`.
    #[schemars(length(max = 32))]
    pub state: String,
    /// The Job's UID.
    #[schemars(length(max = 64))]
    pub job_uid: String,
    /// The Job's name.
    #[schemars(length(max = 63))]
    pub job: String,
    /// `attempt` of the spec that it ran under.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub attempt: Option<i64>,
    /// The oldest version that can run on the schema that it left, where `migrate.compatible: false` said that none from
    /// before can.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub needs: Option<String>,
}
