//! What the registry says of an image, and what the image says of itself. Read from the registry, and kept for as long as a
//! digest is the same: nothing here changes behind a digest.

use crate::names::{CommitId, Digest, RevisionNumber};

/// What the registry said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSeen {
    /// It was not asked in this pass.
    NotAsked,
    /// The image.
    Found {
        /// Its digest.
        digest: Digest,
        /// Its platforms, `linux/amd64`.
        platforms: Vec<String>,
        /// How it was found: `registry`, `declared`.
        obtained: String,
        /// The secrets in it, as far as it tells, the gravest first.
        baked: Vec<Baked>,
        /// What it says of where it comes from, for each of its platforms that says something else.
        claims: Vec<Claims>,
    },
    /// There is no such tag or digest.
    Missing,
    /// No answer.
    Failed {
        /// `RegistryAuth`, `RegistryUnreachable`, …
        reason: String,
        /// One sentence.
        message: String,
    },
}

/// A secret in an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Baked {
    /// How sure that is.
    pub weight: Weight,
    /// Where, and by which rule: `the variable A holds an AWS access key`. Never the value.
    pub words: String,
}

/// How sure it is that something is a secret, and one that counts; the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It is one: such an image is not run.
    Refused,
    /// It looks like one.
    Warned,
    /// It is one that is expected there, or that pods are given another one for.
    Told,
}

/// What an image says of where it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claims {
    /// `org.opencontainers.image.version`.
    pub version: Option<Claim>,
    /// `org.opencontainers.image.revision`: a commit.
    pub revision: Option<Claim>,
    /// `org.opencontainers.image.source`: a repository.
    pub source: Option<Claim>,
    /// Whether Slipway built it, by an annotation, which no image inherits.
    pub built: bool,
    /// The key of its build, where Slipway built it.
    pub key: Option<String>,
    /// What a spec said of how it is made, as a hash, where Slipway built it.
    pub recipe: Option<String>,
    /// What it was made of.
    pub made_of: MadeOf,
}

/// What an image was made of, as it says itself. It is told, and decides nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MadeOf {
    /// Images, with the digests that they had then.
    pub bases: Vec<String>,
    /// The lock files of its source, with the hash of each, where Slipway built it.
    pub locks: Option<String>,
    /// The bytes of its layers, as a node fetches them; of several platforms those of the largest. 0 where nobody knows.
    pub size: u64,
}

/// One thing that an image says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// In one line.
    pub text: String,
    /// How it says so.
    pub by: ClaimedBy,
}

/// How an image says something of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClaimedBy {
    /// By an annotation of its manifest or index: it is said of this image alone.
    Annotation,
    /// By a label of its config, which it may have from the image that it was built on.
    Label,
}

/// The image that a reference has for good, since a retained revision has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The image.
    pub digest: Digest,
    /// The newest revision that has it under this reference.
    pub revision: RevisionNumber,
    /// What that revision knows of it.
    pub record: Record,
}

/// What is known of an image since it was looked up. Each revision of it hands it on to the next, so that the one that serves
/// has all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Its platforms, `linux/amd64`.
    pub platforms: Vec<String>,
    /// What looked like a secret in it, in words.
    pub suspicious: Vec<String>,
    /// Secrets in it that do no harm, in words.
    pub harmless: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// What was found in its source when it was built here, and let pass.
    pub warned: Vec<String>,
}

/// What is known of where an image comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The commit that `source` named, where it was asked.
    pub commit: Option<CommitId>,
    /// What came of comparing, in words; empty where nobody was asked what the image says.
    pub words: String,
    /// What differs.
    pub doubts: Doubts,
    /// What it was made of.
    pub made_of: MadeOf,
}

/// What an image says of itself that is not what was declared, whatever `match` said of it then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Of its version.
    pub version: Vec<String>,
    /// Of its commit and repository.
    pub revision: Vec<String>,
    /// Whether Slipway built it: then such an image is not run, unless something else is declared.
    pub built: bool,
}
