//! What runs or waits while its records, its release or its spec are gone.

use super::*;

/// Somebody deleted the record of the revision that is under way, or those of all.
fn forget(o: &mut Observed, all: bool) {
    if all {
        (o.live, o.highest) = (None, None);
        o.retained.clear();
    }
    o.current.clone_from(&o.live);
}

#[test]
fn a_migration_whose_revision_somebody_deleted_is_watched_and_booked_before_anything_else() {
    for all in [false, true] {
        for version in [1, 2, 3] {
            let (mut o, job) = started();
            forget(&mut o, all);
            o.declaration = Declaration::Valid(Box::new(declared(version)));
            let said = format!("{version}.0.0 waits until the migration of v2 has ended");
            assert_eq!(
                says(&o, &said).steps,
                [],
                "version {version} declared, all gone: {all}"
            );
            o.jobs[0].finished = Some(JobEnd::Complete);
            o.job_pods = vec![ended_pod(&job, 0)];
            assert_eq!(booked_state(&o).0, EntryState::Succeeded);
            o.declaration = Declaration::Edited;
            assert_eq!(
                booked_state(&o).0,
                EntryState::Succeeded,
                "also where nothing is declared"
            );
        }
    }
}

#[test]
fn a_claim_whose_revision_somebody_deleted_is_taken_back_before_it_runs() {
    for version in [1, 2, 3] {
        let mut o = claimed();
        o.jobs.push(job(&second(&o), 1));
        forget(&mut o, version == 2);
        o.declaration = Declaration::Valid(Box::new(declared(version)));
        assert_eq!(words(&o), ["withdraw"], "version {version} declared");
    }
}

#[test]
fn a_database_that_is_exchanged_and_put_back_while_it_runs_is_unknown() {
    let (mut o, job) = resumed();
    o.job_pods = vec![job_pod(&job)];
    o.database = DatabaseSeen::Known("db2:5432/shop".into());
    let [MigrationStep::Write { key, entry, .. }] = &moves(&o)[..] else {
        panic!("{:?}", moves(&o))
    };
    assert_eq!((entry.state, entry.moved), (EntryState::Claimed, true));
    let seen = o.ledger.as_mut().unwrap();
    seen.ledger.entries.insert(key.clone(), (**entry).clone());
    o.database = DatabaseSeen::Known(DATABASE.into());
    o.jobs[0].finished = Some(JobEnd::Complete);
    o.job_pods = vec![ended_pod(&job, 0)];
    let (state, note) = booked_state(&o);
    assert_eq!(state, EntryState::Unknown);
    assert!(note.contains("named another database"), "{note}");
    // An error is one on any database.
    o.jobs[0].finished = Some(JobEnd::Failed("BackoffLimitExceeded".into()));
    o.job_pods = vec![ended_pod(&job, 1)];
    assert_eq!(booked_state(&o).0, EntryState::Failed);
}

#[test]
fn a_commit_without_a_migration_or_a_secret_that_is_gone_for_a_moment_is_no_other_database() {
    for database in [DatabaseSeen::NotNeeded, DatabaseSeen::Unreadable] {
        let (mut o, job) = resumed();
        o.job_pods = vec![ended_pod(&job, 0)];
        o.database = database;
        assert!(moves(&o).is_empty(), "{:?}", moves(&o));
    }
}

#[test]
fn a_claimed_job_is_not_resumed_on_another_database() {
    let mut o = claimed();
    o.jobs.push(job(&second(&o), 1));
    o.lock.1 = held_by(&o.jobs[0], false);
    o.database = DatabaseSeen::Known("db2:5432/shop".into());
    assert_eq!(words(&o), ["withdraw"]);
}

#[test]
fn a_migration_has_the_timeout_that_it_was_claimed_with_whatever_a_newer_commit_says() {
    let (mut o, job) = resumed();
    o.job_pods.push(JobPodSeen {
        running_for: Some(Duration::from_secs(3000)),
        ..job_pod(&job)
    });
    let second = second(&o);
    let entry = entry(&second, 1, EntryState::Claimed);
    let entries = |timeout| {
        let started = Some(Started {
            node: "node1".into(),
            boot_id: "boot1".into(),
        });
        ledger([(
            key(&second),
            Entry {
                timeout,
                started,
                ..entry.clone()
            },
        )])
    };
    o.ledger = Some(entries(Some(3600)));
    assert!(moves(&o).is_empty());
    o.declaration = Declaration::Valid(Box::new(declared(3)));
    assert!(moves(&o).is_empty(), "3.0.0 allows 1800 s");
    o.ledger = Some(entries(Some(60)));
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
}

#[test]
fn a_release_that_git_removed_brings_a_claimed_migration_to_its_end_and_nothing_else() {
    let mut o = claimed();
    o.jobs.push(job(&second(&o), 1));
    o.declaration = Declaration::Removing;
    assert_eq!(words(&o), ["withdraw"]);
    o.jobs[0].withdrawn = true;
    assert_eq!(booked_state(&o).0, EntryState::Withdrawn);
    let (mut o, job) = resumed();
    o.job_pods.push(ended_pod(&job, 1));
    o.jobs[0].finished = Some(JobEnd::Failed("BackoffLimitExceeded".into()));
    o.declaration = Declaration::Removing;
    assert_eq!(booked_state(&o).0, EntryState::Failed);
}

#[test]
fn a_success_while_git_removes_the_release_is_one_where_its_job_tells_the_database() {
    let (mut o, job) = resumed();
    o.job_pods.push(ended_pod(&job, 0));
    o.jobs[0].finished = Some(JobEnd::Complete);
    o.declaration = Declaration::Removing;
    assert_eq!(booked_state(&o).0, EntryState::Succeeded);
    o.database = DatabaseSeen::Known("db2:5432/shop".into());
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
    // Its Secret may have gone with the release: that is not waited for.
    o.database = DatabaseSeen::Unreadable;
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
}

/// Each way in which a spec says nothing for now, with the word of its phase.
fn undeclared() -> [(Declaration, Phase); 4] {
    let waiting = |reason: &str| Phase::Waiting(reason.into());
    [
        (Declaration::NoVersion, waiting("VersionRemoved")),
        (
            Declaration::Invalid(vec!["replicas: -1 is too few".into()]),
            Phase::Rejected,
        ),
        (Declaration::Edited, waiting("Drifted")),
        (Declaration::SourceGone("releases".into()), waiting("SourceGone")),
    ]
}

#[test]
fn a_migration_that_runs_is_watched_and_booked_whatever_becomes_of_its_spec() {
    for (declaration, phase) in undeclared() {
        let (mut o, job) = resumed();
        o.job_pods.push(job_pod(&job));
        o.declaration = declaration;
        let decision = decide(&o);
        assert_eq!(decision.report.phase, phase);
        let word = decision.migration_steps().next().map(MigrationStep::word);
        assert!(
            word.is_some() || decision.report.message.contains("meanwhile"),
            "{}",
            decision.report.message
        );
        o.job_pods = vec![ended_pod(&job, 0)];
        o.jobs[0].finished = Some(JobEnd::Complete);
        assert_eq!(booked_state(&o).0, EntryState::Succeeded, "{phase:?}");
        o.database = DatabaseSeen::Unreadable;
        assert!(moves(&o).is_empty(), "it goes on when the Secret can be read");
        o.jobs.clear();
        assert_eq!(booked_state(&o).0, EntryState::Unknown, "{phase:?}");
    }
}

#[test]
fn a_migration_that_was_not_let_run_waits_for_a_spec_that_can_be_used() {
    for (declaration, phase) in undeclared() {
        let mut o = claimed();
        o.jobs.push(job(&second(&o), 1));
        o.declaration = declaration;
        assert!(moves(&o).is_empty(), "{phase:?}: {:?}", moves(&o));
        assert_eq!(decide(&o).report.phase, phase);
    }
}

#[test]
fn the_end_of_a_migration_is_booked_whatever_is_missing_by_now() {
    let mut o = ended(JobEnd::Failed("BackoffLimitExceeded".into()), |job| {
        Some(ended_pod(job, 1))
    });
    o.missing = vec!["Secret app with key token".into()];
    assert_eq!(booked_state(&o).0, EntryState::Failed);
    let mut suspended = claimed();
    suspended.jobs.push(job(&second(&suspended), 1));
    suspended.missing.clone_from(&o.missing);
    assert!(words(&suspended).is_empty(), "what has not begun waits");
    says(&suspended, "does not exist");
    o.missing.clear();
    for live in o.objects.values_mut() {
        live.value["metadata"]["annotations"] = serde_json::json!({});
    }
    assert_eq!(booked_state(&o).0, EntryState::Failed);
}

#[test]
fn an_older_ledger_that_was_put_back_is_settled_by_a_commit_and_runs_nothing() {
    let mut o = crate::plan::fixtures::live(declared(1));
    let first = o.live.clone().unwrap();
    let seen = o.ledger.as_mut().unwrap();
    seen.ledger.entries.get_mut(&key(&first)).unwrap().state = EntryState::Claimed;
    assert_eq!(booked_state(&o).0, EntryState::Unknown, "its Job is gone");
    let seen = o.ledger.as_mut().unwrap();
    seen.ledger.entries.get_mut(&key(&first)).unwrap().state = EntryState::Unknown;
    says(&o, "commit migrate.accept");
    let mut spec = declared(1);
    spec.migrate.as_mut().unwrap().accept = Some(key(&first).short().into());
    o.declaration = Declaration::Valid(Box::new(spec));
    assert_eq!(booked_state(&o).0, EntryState::Accepted);
    for state in [EntryState::Failed, EntryState::Withdrawn] {
        let seen = o.ledger.as_mut().unwrap();
        seen.ledger.entries.get_mut(&key(&first)).unwrap().state = state;
        assert!(moves(&o).is_empty());
        says(&o, "an older one");
    }
}
