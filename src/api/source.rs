//! `ReleaseSource`: where release specs come from.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, Duration};

/// Which repository is followed, and what of it.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "slipway.dev",
    version = "v1alpha1",
    kind = "ReleaseSource",
    plural = "releasesources",
    doc = "A git repository that releases come from.",
    status = "ReleaseSourceStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Commit","type":"string","jsonPath":".status.appliedCommit"}"#,
    printcolumn = r#"{"name":"Releases","type":"integer","jsonPath":".status.releases"}"#,
    printcolumn = r#"{"name":"Problems","type":"integer","jsonPath":".status.problemCount"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = (
        "size(self.metadata.name) <= 63",
        "the name of a source has at most 63 characters: it is a label of its releases"
    ),
    validation = (
        "(has(self.spec.git.branch) ? 1 : 0) + (has(self.spec.git.tag) ? 1 : 0) + (has(self.spec.git.commit) ? 1 : 0) <= 1",
        "give at most one of branch, tag and commit"
    ),
)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSourceSpec {
    /// The repository.
    pub git: GitSource,
    /// Directories of the repository, in order: documents of later ones are merged over earlier ones.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    pub paths: Vec<String>,
    /// How often the repository is asked; `1m` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Namespaces that releases may live in; all but the system's and Slipway's own when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 63)))]
    pub namespaces: Vec<String>,
    /// Whether namespaces that releases live in are made where they do not exist; `false` when absent. None is ever deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_namespaces: Option<bool>,
    /// Whether releases that vanish from git are removed; `true` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<bool>,
    /// How many releases may be removed by one commit: a number or a percentage; `30%` (at least 1) when absent. Never all
    /// of them, unless it is `100%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), regex(pattern = "^[0-9]{1,6}%?$"))]
    pub max_deletions: Option<String>,
    /// Stops the following; what runs keeps running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// A git repository and what of it is followed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitSource {
    /// `https://…`, `ssh://user@host/path`, or `user@host:path`; plain `http://` only where the chart allows it.
    #[schemars(length(min = 1, max = 1024))]
    pub url: String,
    /// The branch; `main` when neither tag nor commit is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub branch: Option<String>,
    /// A tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub tag: Option<String>,
    /// A full commit id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 40, max = 40), regex(pattern = "^[0-9a-f]{40}$"))]
    pub commit: Option<String>,
    /// A Secret in Slipway's own namespace with `username`/`password`, `token`, or `identity`/`known_hosts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret: Option<String>,
    /// Accepts a branch head that does not descend from the last applied commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_rewrite: Option<bool>,
}

/// What became of the following.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleaseSourceStatus {
    /// The generation that this was computed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The head that was fetched last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub fetched_commit: Option<String>,
    /// The commit whose specs were written last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub applied_commit: Option<String>,
    /// Hash of url, branch and paths at that commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub applied_origin: Option<String>,
    /// The first commit since the source, or its url, branch or paths, were new: nothing is removed at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub baseline_commit: Option<String>,
    /// How many releases git declares here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub releases: Option<i64>,
    /// How many problems were found in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem_count: Option<i64>,
    /// The first 20 of them.
    #[schemars(length(max = 20))]
    pub problems: Vec<SourceProblem>,
    /// One sentence.
    #[schemars(length(max = 2048))]
    pub message: String,
    /// `Ready`, `Reconciling`, `Stalled`.
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One problem in the repository, with its place; never with the value that it is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceProblem {
    /// `path:line:column`.
    #[schemars(length(max = 600))]
    pub place: String,
    /// What is wrong and what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
}
