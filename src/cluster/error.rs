//! What can go wrong between Slipway and the API server, and what to do about it.

use std::time::Duration;

/// A request to the API server that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The API server refused it, or could not be reached.
    #[error("failed to {attempted}")]
    Request {
        /// What was attempted: `apply Deployment shop of shop/shop`.
        attempted: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time. A write may have been done all the same; the next look tells.
    #[error("no answer in time to: {attempted}")]
    TimedOut {
        /// What was attempted.
        attempted: String,
    },
    /// An object of ours holds something that Slipway did not write.
    #[error("{0}")]
    Unreadable(String),
}

/// What an error asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Look again at once: somebody else wrote first.
    LookAgain,
    /// Try again later, with backoff.
    Retry,
    /// A person must act; look again rarely.
    Stall,
}

impl ClusterError {
    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Request { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    /// 404.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_not_found)
    }

    /// 409: the object changed, or it exists already.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(|status| status.code == 409)
    }

    /// 400, 403 or 422: trying again does not help by itself.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.status()
            .is_some_and(|status| matches!(status.code, 400 | 403 | 422))
    }

    /// What it asks for.
    #[must_use]
    pub fn intent(&self) -> Intent {
        if self.is_conflict() || self.is_not_found() {
            Intent::LookAgain
        } else if self.is_refused() || matches!(self, Self::Unreadable(_)) {
            Intent::Stall
        } else {
            Intent::Retry
        }
    }

    /// One static word for metrics.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::TimedOut { .. } => "timeout",
            Self::Unreadable(_) => "unreadable",
            Self::Request { .. } if self.is_conflict() => "conflict",
            Self::Request { .. } if self.is_not_found() => "not_found",
            Self::Request { .. } if self.is_refused() => "refused",
            Self::Request { .. } => "request",
        }
    }

    /// The whole chain as one sentence; the API server's words carry no secret, since we send it none.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = self.to_string();
        if let Some(status) = self.status() {
            // The rest of the chain says the same again, with all its fields.
            text = format!("{text}: {}", status.message);
        }
        let mut cause = std::error::Error::source(self).filter(|_| self.status().is_none());
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(1000)
            .collect()
    }
}

/// How long to wait after `failures` errors in a row: 1 s, 2 s, 4 s … 5 min, with full jitter above half.
#[must_use]
pub fn backoff(failures: u32, random: f64) -> Duration {
    let ceiling = Duration::from_secs(1 << failures.min(8)).min(Duration::from_secs(300));
    ceiling.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}
