//! What follows from each outcome.

use super::*;

#[test]
fn an_exit_code_is_a_failure_with_the_last_line_of_its_log() {
    let end = JobEnd::Failed("BackoffLimitExceeded".into());
    let o = ended(end, |job| {
        Some(JobPodSeen {
            tail: "a\nno such column\n".into(),
            ..ended_pod(job, 1)
        })
    });
    assert_eq!(
        booked_state(&o),
        (EntryState::Failed, "exit code 1: no such column".into())
    );
}

#[test]
fn what_is_known_of_a_failed_migration_is_booked_and_ends_what_is_said_of_it() {
    let end = JobEnd::Failed("BackoffLimitExceeded".into());
    let o = ended(end, |job| {
        Some(JobPodSeen {
            tail: "it ended.\n".into(),
            hint: Some("set PORT."),
            ..ended_pod(job, 1)
        })
    });
    let (state, note) = booked_state(&o);
    assert_eq!(state, EntryState::Failed);
    assert_eq!(note, "exit code 1: it ended. Hint: set PORT.");
    let failed = |retries| {
        let mut spec = declared(2);
        spec.migrate.as_mut().unwrap().retries = retries;
        let o = with_entry(&spec, |entry| {
            entry.state = EntryState::Failed;
            entry.note.clone_from(&note);
        });
        decide(&o).report.message
    };
    assert!(
        failed(0).ends_with("it ended; 1.0.0 keeps serving. Hint: set PORT."),
        "{}",
        failed(0)
    );
    assert!(
        failed(1).ends_with("retry 1 of 1. Hint: set PORT."),
        "{}",
        failed(1)
    );
}

#[test]
fn a_failed_migration_runs_again_only_under_a_higher_attempt() {
    let mut o = with_entry(&declared(2), |entry| entry.state = EntryState::Failed);
    let failed = decide(&o);
    assert!(failed.migration_steps().next().is_none());
    assert!(
        failed.report.message.contains("keeps serving"),
        "{}",
        failed.report.message
    );
    let mut higher = declared(2);
    higher.attempt = 1;
    rehash(&mut higher);
    o.current.as_mut().unwrap().attempt = higher.attempt_hash.clone();
    o.declaration = Declaration::Valid(Box::new(higher));
    let steps = moves(&o);
    assert!(
        matches!(&steps[..], [MigrationStep::CreateJob { run: 2, .. }]),
        "{steps:?}"
    );
}

#[test]
fn a_newer_commit_takes_over_at_once_from_a_migration_that_failed_or_is_unknown() {
    for state in [EntryState::Failed, EntryState::Unknown] {
        let mut spec = declared(2);
        spec.migrate.as_mut().unwrap().retries = 10;
        let mut o = with_entry(&spec, |entry| entry.state = state);
        o.current.as_mut().unwrap().outcome = Some(crate::api::revision::Outcome::MigrationFailed);
        o.declaration = Declaration::Valid(Box::new(declared(3)));
        let steps = decide(&o).steps;
        assert!(
            matches!(&steps[..], [Step::CreateRevision(draft)] if draft.number.0 == 3),
            "{steps:?}"
        );
    }
}

#[test]
fn an_unknown_outcome_is_accepted_by_a_commit_that_names_its_key_and_by_no_other() {
    let mut o = with_entry(&declared(2), |entry| entry.state = EntryState::Unknown);
    let key = key(&second(&o));
    for (accept, accepted) in [
        ("abcdef", false),
        (&key.as_str()[..7], false),
        (key.short(), true),
        (key.as_str(), true),
    ] {
        let mut spec = declared(2);
        spec.migrate.as_mut().unwrap().accept = Some(accept.to_owned());
        o.declaration = Declaration::Valid(Box::new(spec));
        assert_eq!(words(&o) == ["write"], accepted, "{accept}");
    }
    assert_eq!(booked_state(&o).0, EntryState::Accepted);
}

#[test]
fn a_booked_success_opens_the_gate_though_its_job_is_gone() {
    let o = with_entry(&declared(2), |entry| entry.state = EntryState::Succeeded);
    assert!(touches_deployment(&decide(&o)));
}

#[test]
fn the_lock_is_given_back_when_the_outcome_is_booked() {
    let mut o = with_entry(&declared(2), |entry| entry.state = EntryState::Succeeded);
    let job = JobSeen {
        finished: Some(JobEnd::Complete),
        suspended: false,
        ..job(&second(&o), 1)
    };
    o.lock.1 = held_by(&job, true);
    assert_eq!(words(&o), ["free"]);
}
