//! What is counted of releases: how revisions end, how long that took, and how many releases are in each phase.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::ObjectMeta;
use tokio::time::Instant;

use super::{
    context::{Context, Memory},
    subject::declared_at,
};
use crate::{
    api::{ReleaseRevision, meta, revision::Outcome},
    names::ReleaseId,
    plan::{Phase, restore, rotation},
    status,
    telemetry::Metrics,
};

/// A revision got its outcome.
pub fn ended(
    context: &Context,
    id: &ReleaseId,
    declared: &ObjectMeta,
    revision: &ReleaseRevision,
    outcome: Outcome,
    now: Timestamp,
) {
    if restore::made(&revision.spec.cause) {
        // It happened before its record was lost, and was counted then.
        return;
    }
    let metrics = &context.metrics;
    metrics.deployed(match outcome {
        Outcome::Live => "Live",
        Outcome::MigrationFailed => "MigrationFailed",
        Outcome::RolloutFailed => "RolloutFailed",
        Outcome::Superseded => "Superseded",
    });
    match outcome {
        Outcome::Live => {
            if let Some(took) = lead_time(declared, revision, now) {
                metrics.lead_time(took);
            }
        }
        Outcome::MigrationFailed | Outcome::RolloutFailed => failed(&context.memory, id),
        Outcome::Superseded => {}
    }
}

/// The phase that a pass leaves a release in.
pub fn in_phase(context: &Context, id: &ReleaseId, phase: &Phase) {
    moved(&context.memory, &context.metrics, id, status::label(phase));
}

/// A release is gone: it is in no phase any more, and nothing of it is remembered.
pub fn gone(context: &Context, id: &ReleaseId) {
    let remembered = context.memory.forget(id);
    context
        .metrics
        .moved(remembered.and_then(|remembered| remembered.phase), None);
}

/// How long a commit took to be Live. `None` where a revision says nothing of that: a changed value made it, or the
/// release got another commit on the way, or nobody knows when the commit was made.
fn lead_time(declared: &ObjectMeta, revision: &ReleaseRevision, now: Timestamp) -> Option<Duration> {
    let commit = declared_at(declared)?;
    if revision.spec.commit.as_deref() != Some(commit.as_str()) || rotation::made(&revision.spec.cause) {
        return None;
    }
    let at: Timestamp = declared
        .annotations
        .as_ref()?
        .get(meta::COMMITTED_AT)?
        .parse()
        .ok()?;
    (at > Timestamp::UNIX_EPOCH)
        .then(|| Duration::try_from(now.duration_since(at)).ok())
        .flatten()
}

/// The first failure counts until the release is Live again.
fn failed(memory: &Memory, id: &ReleaseId) {
    memory.update(id, |memory| {
        memory.failed.get_or_insert_with(Instant::now);
    });
}

fn moved(memory: &Memory, metrics: &Metrics, id: &ReleaseId, phase: &'static str) {
    let (mut before, mut failed) = (None, None);
    memory.update(id, |memory| {
        before = memory.phase.replace(phase);
        if phase == "Live" {
            failed = memory.failed.take();
        }
    });
    if before != Some(phase) {
        metrics.moved(before, Some(phase));
    }
    if let Some(since) = failed {
        metrics.restore_time(since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ReleaseRevisionSpec;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn id() -> ReleaseId {
        ReleaseId {
            namespace: "shop".parse().unwrap(),
            name: "web".parse().unwrap(),
        }
    }

    fn declared(at: &str) -> ObjectMeta {
        let annotations = [(meta::COMMIT, COMMIT), (meta::COMMITTED_AT, at)];
        ObjectMeta {
            annotations: Some(annotations.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            ..ObjectMeta::default()
        }
    }

    fn took(at: &str, commit: &str, cause: &str) -> Option<Duration> {
        let spec = ReleaseRevisionSpec {
            commit: Some(commit.to_owned()),
            cause: cause.to_owned(),
            ..ReleaseRevisionSpec::default()
        };
        let now = "2026-03-01T12:05:00Z".parse().unwrap();
        lead_time(&declared(at), &ReleaseRevision::new("web-v2", spec), now)
    }

    #[test]
    fn the_lead_time_counts_from_the_commit_that_made_the_revision() {
        let at = "2026-03-01T12:00:00Z";
        let minutes = |n: u64| Some(Duration::from_secs(n * 60));
        assert_eq!(took(at, COMMIT, "version 1.0.0 → 1.1.0"), minutes(5));
        let later = "f".repeat(40);
        assert_eq!(took(at, &later, "version 1.0.0 → 1.1.0"), None);
        assert_eq!(took(at, COMMIT, "values changed: Secret app-db/url"), None);
        assert_eq!(took("1970-01-01T00:00:00Z", COMMIT, "first"), None);
        assert_eq!(took("2026-03-01T12:06:00Z", COMMIT, "first"), None);
    }

    #[test]
    fn a_failure_is_restored_once_when_the_release_is_live_again() {
        let (memory, metrics) = (Memory::default(), Metrics::new());
        let restored = |metrics: &Metrics| {
            let page = metrics.encode().unwrap();
            let count = page.lines().find_map(|line| {
                line.strip_prefix("slipway_restore_time_seconds_count ")
                    .map(str::to_owned)
            });
            count.unwrap()
        };
        moved(&memory, &metrics, &id(), "Live");
        assert_eq!(restored(&metrics), "0");
        failed(&memory, &id());
        failed(&memory, &id());
        moved(&memory, &metrics, &id(), "RolledBack");
        assert_eq!(restored(&metrics), "0");
        moved(&memory, &metrics, &id(), "Live");
        moved(&memory, &metrics, &id(), "Live");
        assert_eq!(restored(&metrics), "1");
    }

    #[test]
    fn a_release_counts_in_one_phase() {
        let (memory, metrics) = (Memory::default(), Metrics::new());
        for phase in ["Resolving", "Live", "Live"] {
            moved(&memory, &metrics, &id(), phase);
        }
        let page = metrics.encode().unwrap();
        assert!(page.contains("slipway_releases{phase=\"Live\"} 1"), "{page}");
        assert!(page.contains("slipway_releases{phase=\"Resolving\"} 0"), "{page}");
    }
}
