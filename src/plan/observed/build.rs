//! What is seen of the way from a commit to an image: the commit, the builder, and its Jobs, which are as a
//! watch saw them last.

use std::time::Duration;

use crate::names::{CommitId, Digest, Uid};

/// The commit that `source.ref` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitSeen {
    /// It was not asked in this pass.
    NotAsked,
    /// Others are asking the same server; it is asked later.
    Busy,
    /// This one.
    Known(CommitId),
    /// The server did not say, or there is no such reference.
    Failed {
        /// One word.
        reason: String,
        /// One sentence.
        message: String,
    },
}

/// What builds images in this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuilderSeen {
    /// Nothing: images are waited for.
    Off,
    /// It is being tried whether it can run on the nodes; what makes its images, as of one that runs.
    Checking(String),
    /// It cannot run; what makes its images, and why it cannot, and what to do.
    Unfit(String, String),
    /// Whoever installed it does not let this release push such an image; the sentence.
    Refused(String),
    /// It runs; what makes its images, in one text.
    Ready(String),
}

impl BuilderSeen {
    /// What makes the images of this release, whether or not it can run now: what was begun goes on.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Ready(version) | Self::Checking(version) | Self::Unfit(version, _) => Some(version),
            Self::Off | Self::Refused(_) => None,
        }
    }
}

/// A Job that builds an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSeen {
    /// Its name.
    pub job: String,
    /// Its UID.
    pub uid: Uid,
    /// Its resourceVersion.
    pub resource_version: String,
    /// The short form of its key.
    pub key: String,
    /// The short form of its inputs.
    pub inputs: String,
    /// What it builds.
    pub commit: CommitId,
    /// Which Job of this key, from 1.
    pub run: u32,
    /// Which of those since somebody asked for another attempt, from 1.
    pub tries: u32,
    /// Whether it was given more memory than usual.
    pub larger: bool,
    /// How much time it was given.
    pub timeout: Duration,
    /// Whether the Job itself says how it failed, so that it is known when its pod is gone.
    pub booked: bool,
    /// The counter `attempt` of this release when it came to wait for it; `None` while it does not.
    pub wanted: Option<u64>,
    /// How many other releases wait for it.
    pub others: usize,
    /// What it does.
    pub state: BuildState,
    /// What was found in its source and let pass, in words.
    pub warned: Vec<String>,
}

/// What a build does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildState {
    /// Nothing of it has started; why, where that is known: `Quota: …`.
    Waiting(Option<String>),
    /// It runs.
    Running {
        /// What it does now, in words.
        doing: String,
        /// For how long it has run.
        running_for: Duration,
    },
    /// The registry took what it built; under which digest, unless its pod is gone.
    Pushed(Option<Digest>),
    /// It failed.
    Failed {
        /// One sentence: what failed, and where.
        sentence: String,
        /// The end of what failed printed, redacted; empty where that says nothing.
        tail: String,
        /// What to do about it.
        again: Again,
        /// For how long it has been over.
        over_for: Duration,
    },
}

/// Whether what failed may succeed when it is done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The same would fail.
    No,
    /// It was none of its own.
    AfterPause,
    /// It had too little memory.
    WithMoreMemory,
    /// It had too little time.
    WithMoreTime,
}
