//! How an image is built where there is none.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Agree, Text};
use crate::api::Duration;

/// How the image is built from `source` where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Build {
    /// When; `ifMissing` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<BuildMode>,
    /// The Dockerfile, from `source.path` on; `Dockerfile` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub dockerfile: Option<String>,
    /// The stage that is the image; the last one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub target: Option<String>,
    /// A stage that is built before it, for its failure alone: where tests run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub test_target: Option<String>,
    /// What the Dockerfile declares by ARG; `{version}` in a value stands for the declared version. Everybody who may pull the
    /// image can read them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub args: BTreeMap<String, Text>,
    /// Secret mounts of the Dockerfile: id → `name/key` of a Secret in the namespace for builds, whose annotation
    /// `slipway.dev/for` names the repositories that may use it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 20))]
    pub secrets: BTreeMap<String, Text>,
    /// What it is built for: `linux/amd64`; what the builder runs on when absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 64)))]
    pub platforms: Vec<String>,
    /// What follows from dependencies without a lock file, with which the same commit is another image tomorrow; `enforce` when
    /// absent: nothing is built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locks: Option<Agree>,
    /// How long it may take, `30m` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// When an image is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BuildMode {
    /// Where the registry has none under its name.
    IfMissing,
    /// Never: it is waited for.
    Never,
    /// Always: an image that somebody else pushed is not used, and the name is given to the one that is built.
    Always,
}
