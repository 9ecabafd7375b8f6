//! Where an application's own source is, and what of an image must agree with it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the application's own source is: what its image says of its origin is compared with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Origin {
    /// The repository: `https://…`, `ssh://user@host/path` or `user@host:path`, without a password.
    #[schemars(length(max = 1024))]
    pub git: String,
    /// A tag, in which `{version}` stands for the declared version, or a full commit; `v{version}` when absent.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub reference: Option<String>,
    /// The directory that is built; the whole repository when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub path: Option<String>,
    /// A Secret of the namespace for builds that the repository is read with, of the keys that a `ReleaseSource` knows; its
    /// annotation `slipway.dev/for` names the addresses that it is shown to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret: Option<String>,
}

/// What an image says of itself, and what follows where that is not what is declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Match {
    /// Whether the image's version is the declared one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Agree>,
    /// Whether the image was made from the commit that `source` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Agree>,
}

/// What follows where an image says something else than what is declared; `warn` when absent, `enforce` for images that
/// Slipway built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Agree {
    /// Nothing.
    Ignore,
    /// The release says so.
    Warn,
    /// The image is not run, or not built.
    Enforce,
}
