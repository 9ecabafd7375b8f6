//! What a pass over a source found out → its status, one write.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
    core::PartialObjectMeta,
};
use serde_json::json;

use super::{Context, Failure};
use crate::{
    api::{Condition, ConditionStatus, ReleaseSource, ReleaseSourceStatus, source::SourceProblem},
    build::fitness::Told,
    cluster::{
        error::ClusterError,
        objects::{found, within},
    },
    names::CommitId,
};

/// The reason of a source that is not followed.
const SUSPENDED: &str = "Suspended";

/// What a pass found out.
pub struct Outcome {
    /// The commit that was fetched.
    pub fetched: Option<CommitId>,
    /// The commit that is in force.
    pub applied: Option<CommitId>,
    /// Hash of what that commit was read from.
    pub origin: Option<String>,
    /// The commit at which that was new.
    pub baseline: Option<CommitId>,
    /// How many releases it declares.
    pub releases: usize,
    /// Everything that is wrong in it.
    pub problems: Vec<SourceProblem>,
    /// One word.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// Whether the next pass should come soon.
    pub unfinished: bool,
    /// Whether nothing is wrong.
    pub ready: bool,
    /// Whether what is wrong may pass by itself.
    pub passing: bool,
}

impl Outcome {
    /// Nothing new could be read: what the status says of the last applied commit still holds. `in_force` tells whether that
    /// commit is known, so that what a hand changes is put back.
    pub fn failed(source: &ReleaseSource, failure: Failure, in_force: bool) -> Self {
        let applied = source
            .status
            .as_ref()
            .and_then(|status| status.applied_commit.as_ref());
        let stays = match (applied, in_force) {
            (None, _) => "",
            (Some(_), true) => "; the last applied commit stays in force",
            (Some(_), false) => {
                "; what was applied is kept as it is, and nothing is put back until a commit can be read again"
            }
        };
        let mut outcome = Self::unread(source, failure);
        outcome.message.push_str(stays);
        outcome
    }

    fn unread(source: &ReleaseSource, failure: Failure) -> Self {
        let status = source.status.clone().unwrap_or_default();
        Self {
            fetched: failure
                .fetched
                .or_else(|| status.fetched_commit.and_then(|commit| commit.parse().ok())),
            applied: status.applied_commit.and_then(|commit| commit.parse().ok()),
            origin: status.applied_origin,
            baseline: status.baseline_commit.and_then(|commit| commit.parse().ok()),
            releases: usize::try_from(status.releases.unwrap_or(0)).unwrap_or(0),
            problems: status.problems,
            reason: failure.reason.to_owned(),
            message: failure.message,
            unfinished: false,
            ready: false,
            passing: failure.passing,
        }
    }

    /// Commits are not followed, because the source says so.
    pub fn suspended(source: &ReleaseSource) -> Self {
        let message =
            "suspended: commits are not followed and nothing is put back until suspend is taken away";
        Self::unread(source, Failure::new(SUSPENDED, message))
    }

    /// As kstatus reads them: `Reconciling` is on its way, `Stalled` needs a person. Never both; what is suspended is
    /// neither.
    fn states(&self) -> [(&'static str, bool); 3] {
        if self.reason == SUSPENDED {
            return [("Ready", false), ("Reconciling", false), ("Stalled", false)];
        }
        [
            ("Ready", self.ready),
            ("Reconciling", !self.ready && self.passing),
            ("Stalled", !self.ready && !self.passing),
        ]
    }
}

/// Writes it where it differs from what is there.
pub async fn write_status(
    source: &ReleaseSource,
    context: &Context,
    outcome: Outcome,
) -> Result<(), ClusterError> {
    let old = source.status.clone().unwrap_or_default();
    let generation = source.metadata.generation;
    let message: String = outcome.message.chars().take(2000).collect();
    let condition = |type_: &str, holds: bool| {
        Condition {
            type_: type_.to_owned(),
            status: if holds {
                ConditionStatus::True
            } else {
                ConditionStatus::False
            },
            reason: outcome.reason.clone(),
            message: message.clone(),
            last_transition_time: Time(Timestamp::now()),
            observed_generation: generation,
        }
        .since(&old.conditions)
    };
    let mut conditions = outcome
        .states()
        .map(|(type_, holds)| condition(type_, holds))
        .to_vec();
    let told = context.fitness.as_ref().map(|known| known.borrow().told());
    conditions.extend(told.map(|told| builder_ready(&told, generation).since(&old.conditions)));
    let new = ReleaseSourceStatus {
        observed_generation: generation,
        fetched_commit: outcome.fetched.map(|commit| commit.to_string()),
        applied_commit: outcome.applied.map(|commit| commit.to_string()),
        applied_origin: outcome.origin,
        baseline_commit: outcome.baseline.map(|commit| commit.to_string()),
        releases: i64::try_from(outcome.releases).ok(),
        problem_count: i64::try_from(outcome.problems.len()).ok(),
        problems: outcome
            .problems
            .into_iter()
            .take(20)
            .map(|problem| SourceProblem {
                place: problem.place.chars().take(600).collect(),
                message: problem.message.chars().take(1000).collect(),
            })
            .collect(),
        conditions,
        message,
    };
    if new == old {
        return Ok(());
    }
    let name = source.name_any();
    let api: Api<PartialObjectMeta<ReleaseSource>> = Api::all(context.client.clone());
    let params = PatchParams::apply("slipway-status").force();
    let patch = Patch::Apply(json!({
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ReleaseSource",
        // Only over what this pass began with: one that was frozen meanwhile must not take back what another one applied.
        "metadata": {
            "name": name, "uid": source.metadata.uid, "resourceVersion": source.metadata.resource_version,
        },
        "status": new,
    }));
    let written = within(
        || format!("write the status of ReleaseSource {name}"),
        api.patch_status(&name, &params, &patch),
    )
    .await;
    if written.as_ref().is_err_and(ClusterError::is_conflict) {
        // That change wakes the next pass, which asks the repository anew and has something to say by that.
        context.memory(&name, |memory| memory.last = None);
        return Ok(());
    }
    found(written)?;
    tracing::info!(ready = outcome.ready, reason = %outcome.reason, message = %new.message, "source");
    Ok(())
}

/// Whether images can be built here, which concerns every source whose releases say where theirs are built from.
fn builder_ready(told: &Told, generation: Option<i64>) -> Condition {
    Condition {
        type_: "BuilderReady".to_owned(),
        status: match told.ready {
            Some(true) => ConditionStatus::True,
            Some(false) => ConditionStatus::False,
            None => ConditionStatus::Unknown,
        },
        reason: told.reason.to_owned(),
        message: told.message.chars().take(2000).collect(),
        last_transition_time: Time(Timestamp::now()),
        observed_generation: generation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{FetchError, ReadError};

    fn true_of(reason: &'static str, intent: crate::source::Intent) -> Vec<&'static str> {
        let failure = Failure::new(reason, "m").with(intent);
        let states = Outcome::failed(&ReleaseSource::default(), failure, true).states();
        let holds = states.into_iter().filter(|(_, holds)| *holds);
        holds.map(|(type_, _)| type_).collect()
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_reconciling_and_a_refused_password_is_stalled() {
        let attempt = || "fetch".to_owned();
        let unreachable = FetchError::Unreachable {
            attempt: attempt(),
            detail: "refused".to_owned(),
        };
        let refused = FetchError::AuthFailed {
            attempt: attempt(),
            detail: "refused",
        };
        assert_eq!(
            true_of(unreachable.reason(), unreachable.intent()),
            ["Reconciling"]
        );
        assert_eq!(true_of(refused.reason(), refused.intent()), ["Stalled"]);
    }

    #[test]
    fn a_damaged_mirror_is_reconciling_and_a_missing_directory_is_stalled() {
        let damaged = ReadError::Corrupt {
            path: "a".to_owned(),
            detail: "zlib".to_owned(),
        };
        let missing = ReadError::DirectoryMissing("a".to_owned());
        assert_eq!(true_of(damaged.reason(), damaged.intent()), ["Reconciling"]);
        assert_eq!(true_of(missing.reason(), missing.intent()), ["Stalled"]);
    }

    #[test]
    fn a_suspended_source_is_neither_ready_nor_reconciling_nor_stalled() {
        let outcome = Outcome::suspended(&ReleaseSource::default());
        assert_eq!(outcome.states().map(|(_, holds)| holds), [false; 3]);
    }

    #[test]
    fn a_source_without_problems_is_ready_and_neither_reconciling_nor_stalled() {
        let failure = Failure::new("Applied", "m");
        let mut outcome = Outcome::failed(&ReleaseSource::default(), failure, true);
        outcome.ready = true;
        assert_eq!(outcome.states().map(|(_, holds)| holds), [true, false, false]);
    }

    #[test]
    fn a_commit_is_said_to_be_in_force_only_where_it_is_known_what_it_declares() {
        let mut source = ReleaseSource::default();
        let said = |source: &ReleaseSource, in_force| {
            Outcome::failed(source, Failure::new("Unreachable", "no answer"), in_force).message
        };
        assert_eq!(said(&source, false), "no answer", "nothing was applied so far");
        source.status = Some(ReleaseSourceStatus {
            applied_commit: Some("a".repeat(40)),
            ..ReleaseSourceStatus::default()
        });
        assert_eq!(
            said(&source, true),
            "no answer; the last applied commit stays in force"
        );
        assert!(said(&source, false).ends_with("nothing is put back until a commit can be read again"));
        assert!(!Outcome::suspended(&source).message.contains("in force"));
    }
}
