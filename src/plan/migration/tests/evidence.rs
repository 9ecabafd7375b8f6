//! What counts as a success, and what only looks like one.

use super::*;

#[test]
fn complete_with_its_pod_is_a_success() {
    let o = ended(JobEnd::Complete, |job| Some(ended_pod(job, 0)));
    assert_eq!(booked_state(&o).0, EntryState::Succeeded);
    assert!(
        !touches_deployment(&decide(&o)),
        "the success is booked before anything is rolled out"
    );
}

#[test]
fn complete_without_a_pod_is_unknown() {
    assert_eq!(
        booked_state(&ended(JobEnd::Complete, |_| None)).0,
        EntryState::Unknown
    );
}

#[test]
fn a_pod_that_was_deleted_and_ended_with_exit_0_is_unknown() {
    let o = ended(JobEnd::Complete, |job| {
        Some(JobPodSeen {
            deleting: true,
            ..ended_pod(job, 0)
        })
    });
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
    let o = ended(JobEnd::Complete, |job| {
        Some(JobPodSeen {
            disrupted: true,
            ..ended_pod(job, 0)
        })
    });
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
}

#[test]
fn two_pods_of_one_job_are_unknown_though_both_ended_well() {
    let mut o = ended(JobEnd::Complete, |job| Some(ended_pod(job, 0)));
    o.job_pods.push(o.job_pods[0].clone());
    let (state, note) = booked_state(&o);
    assert_eq!(state, EntryState::Unknown);
    assert!(note.contains("2 pods"), "{note}");
}

#[test]
fn another_boot_of_the_node_is_unknown() {
    let mut o = ended(JobEnd::Complete, |job| Some(ended_pod(job, 0)));
    let key = key(&second(&o));
    let seen = o.ledger.as_mut().unwrap().ledger.entries.get_mut(&key).unwrap();
    let started = |boot: &str| {
        Some(Started {
            node: "node1".into(),
            boot_id: boot.into(),
        })
    };
    seen.started = started("boot1");
    assert_eq!(booked_state(&o).0, EntryState::Succeeded);
    let seen = o.ledger.as_mut().unwrap().ledger.entries.get_mut(&key).unwrap();
    seen.started = started("boot0");
    let (state, note) = booked_state(&o);
    assert_eq!(state, EntryState::Unknown);
    assert!(note.contains("started anew"), "{note}");
    let entries = o.ledger.clone();
    let mut o = ended(JobEnd::Failed("BackoffLimitExceeded".into()), |job| {
        Some(ended_pod(job, 255))
    });
    assert_eq!(booked_state(&o).0, EntryState::Failed);
    o.ledger = entries;
    assert_eq!(
        booked_state(&o).0,
        EntryState::Unknown,
        "nor is it a failure of its own"
    );
}

#[test]
fn where_it_runs_is_written_down_while_it_runs_and_not_after() {
    let (mut o, job) = resumed();
    o.job_pods = vec![job_pod(&job)];
    let [MigrationStep::Write { entry, .. }] = &moves(&o)[..] else {
        panic!()
    };
    assert_eq!(entry.started.as_ref().unwrap().boot_id, "boot1");
    o.job_pods = vec![ended_pod(&job, 0)];
    assert!(moves(&o).is_empty());
}

#[test]
fn a_job_that_is_gone_is_unknown_and_is_never_created_again() {
    let o = claimed();
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
    let o = with_entry(&declared(2), |entry| entry.state = EntryState::Unknown);
    assert!(moves(&o).is_empty());
    says(&o, "is unknown");
}

#[test]
fn a_job_that_was_suspended_after_it_started_is_unknown() {
    let (mut o, job) = resumed();
    o.jobs[0].suspended = true;
    o.job_pods = vec![job_pod(&job)];
    assert!(moves(&o).is_empty(), "its pod is still going");
    o.job_pods.clear();
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
}

#[test]
fn a_running_migration_is_waited_for_until_its_timeout() {
    let (mut o, _) = started();
    assert!(moves(&o).is_empty());
    says(&o, "is running");
    o.job_pods[0].running_for = Some(Duration::from_secs(1801));
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
}

#[test]
fn another_database_at_the_end_is_unknown_also_when_a_newer_commit_waits() {
    for version in [2, 3] {
        let mut o = ended(JobEnd::Complete, |job| Some(ended_pod(job, 0)));
        o.declaration = Declaration::Valid(Box::new(declared(version)));
        o.database = DatabaseSeen::Known("db2:5432/shop".into());
        let (state, note) = booked_state(&o);
        assert_eq!(state, EntryState::Unknown, "version {version} declared");
        assert!(note.contains("database"), "{note}");
        o.database = DatabaseSeen::Unreadable;
        assert!(moves(&o).is_empty(), "nothing is booked while nobody can tell");
    }
}

#[test]
fn a_newer_commit_that_waits_for_a_migration_says_what_that_waits_for() {
    let mut o = ended(JobEnd::Complete, |job| Some(ended_pod(job, 0)));
    o.declaration = Declaration::Valid(Box::new(declared(3)));
    o.database = DatabaseSeen::Unreadable;
    let report = decide(&o).report;
    assert_eq!(
        report.phase,
        Phase::Waiting("SecretMissing".into()),
        "{}",
        report.message
    );
    assert!(
        report
            .message
            .starts_with("3.0.0 waits until the migration of 2.0.0"),
        "{}",
        report.message
    );
}

#[test]
fn what_ran_past_its_timeout_is_ended_whatever_is_declared_by_then() {
    use crate::plan::observed::ImageSeen;
    let declarations = |o: &mut Observed, case: u8| match case {
        0 => o.declaration = Declaration::Removing,
        1 => o.declaration = Declaration::Edited,
        2 => o.declaration = Declaration::NoVersion,
        3 => {
            // Its image is not there.
            let mut next = declared(3);
            next.image.pick = crate::spec::declared::ImagePick::Tag("3.0.0".into());
            crate::plan::fixtures::rehash(&mut next);
            o.declaration = Declaration::Valid(Box::new(next));
            o.image = ImageSeen::Missing;
        }
        _ => {}
    };
    for case in 0..=4 {
        let (mut o, job) = started();
        declarations(&mut o, case);
        o.job_pods[0].running_for = Some(Duration::from_secs(1801));
        assert_eq!(booked_state(&o).0, EntryState::Unknown, "case {case}");
        let key = key(&second(&o));
        let seen = o.ledger.as_mut().unwrap().ledger.entries.get_mut(&key).unwrap();
        seen.state = EntryState::Unknown;
        assert_eq!(words(&o), ["delete"], "case {case}");
        o.jobs[0] = JobSeen {
            deleting: true,
            ..job
        };
        assert!(moves(&o).is_empty(), "case {case}");
    }
}

#[test]
fn an_older_ledger_that_is_put_back_while_it_runs_kills_nothing_and_books_no_success() {
    let (mut o, job) = started();
    let key = key(&second(&o));
    o.ledger.as_mut().unwrap().ledger.entries.remove(&key);
    let [MigrationStep::Write { entry, .. }] = &moves(&o)[..] else {
        panic!("{:?}", moves(&o))
    };
    assert_eq!((entry.state, entry.lost), (EntryState::Claimed, true));
    let seen = o.ledger.as_mut().unwrap();
    seen.ledger.entries.insert(key, (**entry).clone());
    for exit_code in [0, 1] {
        let mut ended = o.clone();
        ended.jobs[0].finished = Some(if exit_code == 0 {
            JobEnd::Complete
        } else {
            JobEnd::Failed("BackoffLimitExceeded".into())
        });
        ended.job_pods = vec![ended_pod(&job, exit_code)];
        assert_eq!(booked_state(&ended).0, EntryState::Unknown);
    }
}

#[test]
fn what_waits_for_a_word_of_git_gives_back_the_lock() {
    let mut o = claimed();
    let job = job(&second(&o), 1);
    o.jobs.push(job.clone());
    o.declaration = Declaration::Edited;
    assert!(moves(&o).is_empty(), "it has no lock");
    o.lock.1 = held_by(&job, false);
    assert_eq!(words(&o), ["withdraw"]);
}
