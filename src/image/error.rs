//! Why an image could not be resolved or pushed, and what that means for the release that waits for it.

use std::time::Duration;

use super::layout::LayoutError;
use crate::{names::Digest, source::Intent};

/// Why an image could not be resolved. Each message is a whole sentence for people, causes included, and
/// holds no credential, no token and no URL with a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The registry knows no such tag, digest or repository.
    #[error("{reference} does not exist in the registry")]
    NotFound {
        /// What was asked for.
        reference: String,
    },
    /// The registry wants a credential, or another one.
    #[error("the registry refused to show {reference}; tried {tried}")]
    Unauthorized {
        /// What was asked for.
        reference: String,
        /// In words, which credential was shown.
        tried: String,
    },
    /// The registry or its token server could not be reached, or is not well.
    #[error("the registry could not be asked for {reference}: {cause}")]
    Unreachable {
        /// What was asked for.
        reference: String,
        /// The chain of causes.
        cause: String,
        /// Whether it answered, if with an error: of another image or to another account it may say more.
        answered: bool,
    },
    /// No whole answer within the deadline.
    #[error("the registry gave no whole answer about {reference} within {} s", .deadline.as_secs_f32())]
    TimedOut {
        /// What was asked for.
        reference: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// The answer cannot be used: no image, too large, or not what its digest says.
    #[error("{reference} is not usable: {problem}")]
    Invalid {
        /// What was asked for.
        reference: String,
        /// Half a sentence.
        problem: String,
    },
}

impl ResolveError {
    /// Whether nobody answered, whatever was asked for.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { answered: false, .. } | Self::TimedOut { .. }
        )
    }

    /// A static word for conditions and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "ImageNotFound",
            Self::Unauthorized { .. } => "RegistryAuth",
            Self::Unreachable { .. } => "RegistryUnreachable",
            Self::TimedOut { .. } => "RegistryTimeout",
            Self::Invalid { .. } => "ImageInvalid",
        }
    }
}

/// Why an image was not pushed. What is there of it already does no harm: without its tag nobody asks for it, and the next
/// push finds it there. Each message is a whole sentence for people, as those of [`ResolveError`] are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// What is on disk cannot be pushed by anyone.
    #[error("cannot push {reference}: the image on disk is not usable: {source}")]
    Layout {
        /// Where it was to go.
        reference: String,
        /// What is wrong with it.
        source: LayoutError,
    },
    /// The registry wants a credential, or another one.
    #[error("push refused: {repository} does not let us {attempt}; tried {tried}{said}")]
    Refused {
        /// Where it was to go, without the tag.
        repository: String,
        /// What was tried.
        attempt: String,
        /// In words, which credential was shown.
        tried: String,
        /// What the registry says, as the end of the sentence; or nothing.
        said: String,
    },
    /// The registry, its token server or its storage could not be reached or is not well, again and again.
    #[error("cannot push {reference}: could not {attempt}, tried {attempts} times: {cause}")]
    Unwell {
        /// Where it was to go.
        reference: String,
        /// What was tried.
        attempt: String,
        /// How often.
        attempts: usize,
        /// The chain of causes of the last failure.
        cause: String,
    },
    /// Somebody else has given the tag to another image meanwhile, and it is not to be moved.
    #[error("{reference} is not moved: somebody else pushed {found} under it meanwhile")]
    Taken {
        /// Where it was to go.
        reference: String,
        /// What it is.
        found: Digest,
    },
    /// The registry will not take it, however often it is asked.
    #[error("cannot push {reference}: could not {attempt}: {problem}")]
    Rejected {
        /// Where it was to go.
        reference: String,
        /// What was tried.
        attempt: String,
        /// Half a sentence.
        problem: String,
    },
}

impl PushError {
    /// Whether the same may succeed later, or somebody has to act.
    #[must_use]
    pub fn intent(&self) -> Intent {
        match self {
            Self::Layout { source, .. } => source.intent(),
            // Whether that one is the image that is meant is seen by looking at it.
            Self::Unwell { .. } | Self::Taken { .. } => Intent::Retry,
            Self::Refused { .. } | Self::Rejected { .. } => Intent::Stall,
        }
    }
}
