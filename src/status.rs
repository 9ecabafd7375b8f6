//! A report → the status of a `Release`. Pure; written once per pass, and not at all when equal.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{Condition, ConditionStatus, ReleaseStatus},
    names::ReleaseId,
    plan::{Phase, Report},
};

/// How far a phase is, for the detail conditions.
const STAGES: [&str; 5] = ["Resolved", "Prepared", "Migrated", "RolledOut", "Verified"];

/// The status that says what the report says, with transition times kept where nothing turned.
#[must_use]
pub fn release_status(
    id: &ReleaseId,
    report: &Report,
    old: &ReleaseStatus,
    generation: Option<i64>,
    now: Timestamp,
) -> ReleaseStatus {
    let condition = |type_: &str, holds: bool, reason: &str, message: &str| {
        Condition {
            type_: type_.to_owned(),
            status: if holds {
                ConditionStatus::True
            } else {
                ConditionStatus::False
            },
            reason: reason.to_owned(),
            message: message.chars().take(2000).collect(),
            last_transition_time: Time(now),
            observed_generation: generation,
        }
        .since(&old.conditions)
    };
    let (word, reason) = words(&report.phase);
    let degraded = report.details.iter().any(|(type_, _)| *type_ == "Degraded");
    let ready = report.phase == Phase::Live && !degraded;
    let stalled = matches!(
        report.phase,
        Phase::Failed(_) | Phase::Rejected | Phase::RolledBack
    );
    let reconciling = !ready && !stalled && !matches!(report.phase, Phase::NotDeployed | Phase::Suspended);
    let mut conditions = vec![
        condition("Ready", ready, &reason, &report.message),
        condition("Reconciling", reconciling, &reason, &report.message),
        condition("Stalled", stalled, &reason, &report.message),
    ];
    let reached = progress(&report.phase);
    for (index, type_) in STAGES.iter().enumerate() {
        if let Some(reached) = reached {
            let done = index < reached;
            conditions.push(condition(type_, done, if done { "Done" } else { "Pending" }, ""));
        } else if let Some(before) = old.conditions.iter().find(|c| c.type_ == *type_) {
            conditions.push(before.clone());
        }
    }
    for (type_, sentence) in &report.details {
        conditions.push(condition(type_, true, type_, sentence));
    }
    if report.phase == Phase::Waiting("SecretMissing".into()) {
        conditions.push(condition(
            "SecretsMissing",
            true,
            "SecretMissing",
            &report.message,
        ));
    }
    if report.phase == Phase::Waiting("Drifted".into()) {
        conditions.push(condition("Drifted", true, "Edited", &report.message));
    }
    let name = |number: crate::names::RevisionNumber| number.object_name(&id.name);
    let repairs = old.repairs.unwrap_or(0) + i64::try_from(report.repairs).unwrap_or(0);
    ReleaseStatus {
        observed_generation: generation,
        phase: word,
        message: report.message.chars().take(2000).collect(),
        declared_version: report.declared_version.clone(),
        live_version: report.live_version.clone(),
        current_revision: report.current.map(name),
        live_revision: report.live.map(name),
        repairs: (repairs > 0).then_some(repairs),
        // As many and as long as the definition allows; who has more knows where to look.
        variables: report
            .variables
            .iter()
            .take(200)
            .map(|name| name.chars().take(512).collect())
            .collect(),
        conditions,
    }
}

/// Whether a status only says in other words how far a build is. Its steps follow each other quickly, and each thing that happens
/// in its namespace wakes the release: so this is written no more often than once in [`PROGRESS`](crate::plan::build::PROGRESS).
#[must_use]
pub fn is_progress(old: &ReleaseStatus, new: &ReleaseStatus) -> bool {
    let without_words = |status: &ReleaseStatus| {
        let mut status = status.clone();
        status.message.clear();
        for condition in &mut status.conditions {
            condition.message.clear();
        }
        status
    };
    old.phase == label(&Phase::Building) && without_words(old) == without_words(new)
}

/// The phase as one word, and the reason of the conditions.
fn words(phase: &Phase) -> (String, String) {
    match phase {
        // Causes, and no stages.
        Phase::Failed(word @ ("SecretInImage" | "ImageMismatch" | "BuildFailed")) => {
            (format!("Failed({word})"), (*word).to_owned())
        }
        Phase::Failed(stage) => (format!("Failed({stage})"), format!("{stage}Failed")),
        Phase::Waiting(reason) => (format!("Waiting({reason})"), reason.clone()),
        other => (label(other).to_owned(), label(other).to_owned()),
    }
}

/// The phase without its reason, for metrics.
#[must_use]
pub fn label(phase: &Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Resolving => "Resolving",
        Phase::Building => "Building",
        Phase::Preparing => "Preparing",
        Phase::Migrating => "Migrating",
        Phase::RollingOut => "RollingOut",
        Phase::Verifying => "Verifying",
        Phase::Live => "Live",
        Phase::RolledBack => "RolledBack",
        Phase::Rejected => "Rejected",
        Phase::Suspended => "Suspended",
        Phase::NotDeployed => "NotDeployed",
        Phase::Failed(_) => "Failed",
        Phase::Waiting(_) => "Waiting",
    }
}

/// How many of [`STAGES`] are behind; `None` where the phase does not say.
fn progress(phase: &Phase) -> Option<usize> {
    match phase {
        Phase::Pending
        | Phase::Resolving
        | Phase::Building
        | Phase::Rejected
        | Phase::NotDeployed
        | Phase::Failed("SecretInImage" | "ImageMismatch" | "BuildFailed") => Some(0),
        Phase::Preparing => Some(1),
        Phase::Migrating | Phase::Failed("Migrating") => Some(2),
        Phase::RollingOut | Phase::Failed("RollingOut") | Phase::RolledBack => Some(3),
        Phase::Verifying => Some(4),
        Phase::Live => Some(5),
        Phase::Failed(_) | Phase::Waiting(_) | Phase::Suspended => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Stage;

    fn report(phase: Phase) -> Report {
        Report {
            phase,
            message: "m".into(),
            stage: Stage::Idle,
            current: None,
            live: None,
            live_version: None,
            declared_version: None,
            repairs: 0,
            variables: Vec::new(),
            details: Vec::new(),
        }
    }

    fn id() -> ReleaseId {
        ReleaseId {
            namespace: "shop".parse().unwrap(),
            name: "shop".parse().unwrap(),
        }
    }

    #[test]
    fn other_words_about_a_build_are_progress_and_everything_else_is_news() {
        let old = ReleaseStatus::default();
        let status = |phase: Phase, words: &str, generation: i64, detail: bool| {
            let mut report = report(phase);
            report.message = words.into();
            if detail {
                report.details.push(("TagMoved", "it moved".into()));
            }
            release_status(&id(), &report, &old, Some(generation), Timestamp::UNIX_EPOCH)
        };
        let first = status(Phase::Building, "fetching", 1, false);
        let progress =
            |phase, words, generation, detail| is_progress(&first, &status(phase, words, generation, detail));
        assert!(progress(Phase::Building, "step 2/9", 1, false));
        assert!(!progress(Phase::Building, "step 2/9", 2, false), "another spec");
        assert!(
            !progress(Phase::Building, "step 2/9", 1, true),
            "something else, too"
        );
        assert!(!progress(Phase::Failed("BuildFailed"), "step 2/9", 1, false));
        let live = status(Phase::Live, "a", 1, false);
        assert!(!is_progress(&live, &status(Phase::Live, "b", 1, false)));
    }

    #[test]
    fn the_same_report_later_is_the_same_status() {
        let first = release_status(
            &id(),
            &report(Phase::Live),
            &ReleaseStatus::default(),
            Some(1),
            Timestamp::UNIX_EPOCH,
        );
        let later = Timestamp::from_second(1_000_000).unwrap();
        assert_eq!(
            first,
            release_status(&id(), &report(Phase::Live), &first, Some(1), later)
        );
    }

    #[test]
    fn exactly_one_of_ready_reconciling_stalled_holds() {
        let phases = [
            Phase::Pending,
            Phase::Live,
            Phase::Rejected,
            Phase::RolledBack,
            Phase::Failed("RollingOut"),
            Phase::Waiting("WaitingForImage".into()),
        ];
        for phase in phases {
            let status = release_status(
                &id(),
                &report(phase.clone()),
                &ReleaseStatus::default(),
                Some(1),
                Timestamp::UNIX_EPOCH,
            );
            let holds = status
                .conditions
                .iter()
                .take(3)
                .filter(|c| c.status == ConditionStatus::True)
                .count();
            assert_eq!(holds, 1, "{phase:?}");
        }
    }
}
