//! What can go wrong between Slipway and the API server, and what to do about it.

use std::time::Duration;

use crate::telemetry;

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

    fn details(&self) -> Option<&kube::core::response::StatusDetails> {
        self.status()?.details.as_ref()
    }

    /// 404.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_not_found)
    }

    /// The namespace that was to be written to does not exist; a 404 may also mean that the kind or the object does not.
    #[must_use]
    pub fn lacks_namespace(&self) -> bool {
        self.is_not_found() && self.details().is_some_and(|details| details.kind == "namespaces")
    }

    /// Nothing can be made in a namespace that is being deleted.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        let causes = self
            .details()
            .map_or(&[][..], |details| details.causes.as_slice());
        causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
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

    /// A quota of the namespace has no room; the API server says it by these words alone.
    #[must_use]
    pub fn is_over_quota(&self) -> bool {
        let over =
            |status: &kube::core::Status| status.code == 403 && status.message.contains("exceeded quota: ");
        self.status().is_some_and(over)
    }

    /// How long a server that is too busy asks to wait; at most as long as the longest pause after an error.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.details()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(LONGEST))
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
            text.push_str(&telemetry::sentence(error));
            cause = error.source();
        }
        text.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(1000)
            .collect()
    }
}

/// The longest pause after an error.
const LONGEST: Duration = Duration::from_secs(300);

/// How long to wait after `failures` errors in a row: 1 s, 2 s, 4 s … 5 min, with full jitter above half.
#[must_use]
pub fn backoff(failures: u32, random: f64) -> Duration {
    let ceiling = Duration::from_secs(1 << failures.min(8)).min(LONGEST);
    ceiling.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

/// A pause that is not shorter than what a busy server asked for, and up to a quarter longer: who was sent away together does
/// not come back together.
#[must_use]
pub fn heeding(pause: Duration, asked: Option<Duration>, random: f64) -> Duration {
    let asked = asked.unwrap_or_default();
    pause.max(asked.mul_f64(1.0 + random.clamp(0.0, 1.0) / 4.0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(status: &serde_json::Value) -> ClusterError {
        ClusterError::Request {
            attempted: "create Release shop/app".to_owned(),
            source: Box::new(kube::Error::Api(serde_json::from_value(status.clone()).unwrap())),
        }
    }

    #[test]
    fn a_namespace_that_is_missing_is_told_from_a_kind_that_is() {
        let namespace = refused(&json!({
            "status": "Failure", "message": "namespaces \"shop\" not found", "reason": "NotFound", "code": 404,
            "details": {"name": "shop", "kind": "namespaces"},
        }));
        let kind = refused(&json!({
            "status": "Failure", "message": "the server could not find the requested resource", "reason": "NotFound",
            "code": 404, "details": {},
        }));
        assert!(namespace.lacks_namespace() && namespace.is_not_found());
        assert!(!kind.lacks_namespace() && kind.is_not_found());
    }

    #[test]
    fn a_quota_without_room_is_told_from_a_right_that_is_missing() {
        let forbidden = |message: &str| {
            refused(
                &json!({"status": "Failure", "message": message, "reason": "Forbidden", "code": 403, "details": {}}),
            )
        };
        let full = "jobs.batch \"app-migrate-1\" is forbidden: exceeded quota: few, requested: count/jobs.batch=1, used: \
                    count/jobs.batch=0, limited: count/jobs.batch=0";
        assert!(forbidden(full).is_over_quota());
        let denied = "jobs.batch is forbidden: User \"slipway\" cannot create resource \"jobs\" in API group \"batch\"";
        assert!(!forbidden(denied).is_over_quota());
    }

    #[test]
    fn a_pause_is_never_shorter_than_what_a_busy_server_asked_for() {
        let seconds = Duration::from_secs;
        assert_eq!(heeding(seconds(2), None, 1.0), seconds(2));
        assert_eq!(heeding(seconds(2), Some(seconds(8)), 0.0), seconds(8));
        assert_eq!(heeding(seconds(2), Some(seconds(8)), 1.0), seconds(10));
        assert_eq!(heeding(seconds(20), Some(seconds(8)), 1.0), seconds(20));
    }

    #[test]
    fn a_namespace_that_goes_is_told_from_a_right_that_is_missing() {
        let going = refused(&json!({
            "status": "Failure", "reason": "Forbidden", "code": 403,
            "message": "releases.slipway.dev \"app\" is forbidden: unable to create new content in namespace shop because \
                        it is being terminated",
            "details": {"name": "app", "group": "slipway.dev", "kind": "releases", "causes": [
                {"reason": "NamespaceTerminating", "message": "namespace shop is being terminated", "field": "metadata.namespace"},
            ]},
        }));
        let right =
            refused(&json!({"status": "Failure", "reason": "Forbidden", "code": 403, "message": "no"}));
        assert!(going.is_terminating() && going.is_refused());
        assert!(!right.is_terminating() && right.is_refused());
    }
}
