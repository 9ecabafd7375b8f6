//! What makes two builds one: everything that the image depends on.

use sha2::{Digest as _, Sha256};

use crate::{
    hex::hex,
    names::CommitId,
    spec::{
        Declared,
        declared::{BuildSpec, Origin},
    },
};

/// All that an image depends on but the commit, which is asked for. Hex, 64 digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inputs(String);

/// The identity of a build: its inputs and its commit. Hex, 64 digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildKey(String);

/// What a release asks to be built.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Where its source is.
    pub origin: &'a Origin,
    /// How it is built.
    pub build: &'a BuildSpec,
    /// The declared version, which the image says of itself.
    pub version: &'a str,
    /// `repository:tag`.
    pub reference: &'a str,
}

impl Inputs {
    /// `builder` is what builds, and the way in which it does: another one makes other images of the same source.
    #[must_use]
    pub fn of(wanted: Wanted<'_>, builder: &str) -> Self {
        let Wanted {
            origin,
            build,
            version,
            reference,
        } = wanted;
        let BuildSpec {
            // Whether an image that is there is used is no matter of the image that is made.
            always: _,
            dockerfile,
            target,
            test_target,
            args,
            secrets,
            platforms,
            // Whoever lets something pass asks anew.
            locks,
            // Neither is how long one waits for it.
            timeout: _,
        } = build;
        let secrets: Vec<(&String, String)> = secrets.iter().map(|(id, key)| (id, key.to_string())).collect();
        let all = serde_json::json!([
            builder,
            origin.git.to_string(),
            origin.path,
            version,
            reference,
            dockerfile,
            target,
            test_target,
            args,
            secrets,
            platforms,
            locks,
        ]);
        Self(hex(&Sha256::digest(all.to_string().as_bytes())))
    }

    /// With the commit.
    #[must_use]
    pub fn at(&self, commit: &CommitId) -> BuildKey {
        BuildKey(hex(&Sha256::digest(format!("{} {commit}", self.0).as_bytes())))
    }

    /// As text, for a label: 32 digits.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..32).unwrap_or(&self.0)
    }
}

impl BuildKey {
    /// As text, for names and labels: 16 digits.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..16).unwrap_or(&self.0)
    }

    /// The name of its Job; `run` counts from 1.
    #[must_use]
    pub fn job(&self, run: u32) -> String {
        format!("build-{}-{run}", self.short())
    }
}

impl Wanted<'_> {
    /// What of a spec makes another image of the same commit, as a hash of 16 digits: where it is built, by which Dockerfile and
    /// stage, and with which arguments. Not what builds it, nor for which processor: another cluster may have others.
    #[must_use]
    pub fn recipe(&self) -> String {
        let build = self.build;
        let all = serde_json::json!([self.origin.path, build.dockerfile, build.target, build.args]);
        let hash = hex(&Sha256::digest(all.to_string().as_bytes()));
        hash.get(..16).unwrap_or(&hash).to_owned()
    }
}

impl<'a> Wanted<'a> {
    /// What a declaration asks to be built, if anything; `reference` is that of its image.
    #[must_use]
    pub fn of(declared: &'a Declared, reference: &'a str) -> Option<Self> {
        Some(Self {
            origin: declared.origin.as_ref()?,
            build: declared.build.as_ref()?,
            version: declared.version.as_str(),
            reference,
        })
    }
}
