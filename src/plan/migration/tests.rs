use super::*;
use crate::{
    plan::{
        Observed, Phase, Step,
        decide::decide,
        decision::Decision,
        fixtures::{DATABASE, declared, ended_pod, entry, job, job_pod, key, ledger, rehash, uid, under_way},
        ledger::Started,
        observed::{Declaration, JobEnd},
    },
    spec::Declared,
};

/// Version 2 under way after version 1, with this entry in the ledger and nothing else of its migration.
fn with_entry(spec: &Declared, change: impl FnOnce(&mut Entry)) -> Observed {
    let mut o = under_way(spec);
    let (first, second) = (o.live.clone().unwrap(), o.current.clone().unwrap());
    let mut entry2 = entry(&second, 1, EntryState::Claimed);
    change(&mut entry2);
    o.ledger = Some(ledger([
        (key(&first), entry(&first, 1, EntryState::Succeeded)),
        (key(&second), entry2),
    ]));
    o
}

fn claimed() -> Observed {
    with_entry(&declared(2), |_| {})
}

fn second(o: &Observed) -> Revision {
    o.current.clone().unwrap()
}

/// As claimed, and its Job was resumed.
fn resumed() -> (Observed, JobSeen) {
    let mut o = claimed();
    let job = JobSeen {
        suspended: false,
        resumed: true,
        acknowledged: true,
        generation: 2,
        ..job(&second(&o), 1)
    };
    o.jobs.push(job.clone());
    o.lock.1 = held_by(&job, false);
    (o, job)
}

/// As resumed, its pod runs, and it is on record where.
fn started() -> (Observed, JobSeen) {
    let (mut o, job) = resumed();
    let key = key(&second(&o));
    let seen = o.ledger.as_mut().unwrap().ledger.entries.get_mut(&key).unwrap();
    seen.started = Some(Started {
        node: "node1".into(),
        boot_id: "boot1".into(),
    });
    o.job_pods = vec![job_pod(&job)];
    (o, job)
}

/// As resumed, with the end of the Job and its pod.
fn ended(end: JobEnd, pod: impl FnOnce(&JobSeen) -> Option<JobPodSeen>) -> Observed {
    let (mut o, job) = resumed();
    o.jobs[0].finished = Some(end);
    o.job_pods.extend(pod(&job));
    o
}

fn held_by(job: &JobSeen, over: bool) -> LockSeen {
    LockSeen::Held {
        by: job.uid.clone(),
        holder: format!("shop/{}", job.name),
        over,
        resource_version: "3".into(),
    }
}

fn moves(o: &Observed) -> Vec<MigrationStep> {
    decide(o).migration_steps().cloned().collect()
}

fn words(o: &Observed) -> Vec<&'static str> {
    moves(o).iter().map(MigrationStep::word).collect()
}

/// The state that is booked.
fn booked_state(o: &Observed) -> (EntryState, String) {
    match &moves(o)[..] {
        [MigrationStep::Write { entry, .. }] => (entry.state, entry.note.clone()),
        other => panic!("not a booking: {other:?}"),
    }
}

fn says(o: &Observed, text: &str) -> Decision {
    let decision = decide(o);
    assert!(
        decision.report.message.contains(text),
        "{}",
        decision.report.message
    );
    decision
}

fn touches_deployment(decision: &Decision) -> bool {
    decision
        .steps
        .iter()
        .any(|step| matches!(step, Step::Apply { .. }))
}

// === claim before run ===

#[test]
fn a_job_of_the_version_before_that_succeeded_says_nothing_of_the_next() {
    let mut o = under_way(&declared(2));
    let first = o.live.clone().unwrap();
    let done = JobSeen {
        finished: Some(JobEnd::Complete),
        suspended: false,
        resumed: true,
        ..job(&first, 1)
    };
    o.job_pods.push(ended_pod(&done, 0));
    o.jobs.push(done.clone());
    let decision = decide(&o);
    assert!(!touches_deployment(&decision));
    let [MigrationStep::CreateJob { key: own, .. }] = &moves(&o)[..] else {
        panic!("{:?}", moves(&o))
    };
    assert_ne!(own.short(), key(&first).short(), "nor do they share a name");
}

#[test]
fn a_first_version_migrates_as_every_later_one_does() {
    let mut o = crate::plan::fixtures::observed(declared(1));
    let first = crate::plan::fixtures::revision(&o, &declared(1), 1);
    o.highest = Some(first.number);
    // Its account is there already.
    o.objects = crate::plan::fixtures::running(&first.objects);
    o.objects
        .retain(|key, _| key.kind == crate::render::Kind::ServiceAccount);
    o.current = Some(first.clone());
    assert_eq!(words(&o), ["create"]);
    o.jobs.push(job(&first, 1));
    let [MigrationStep::Write { over, entry, .. }] = &moves(&o)[..] else {
        panic!("{:?}", moves(&o))
    };
    assert_eq!(
        (over, entry.state),
        (&None, EntryState::Claimed),
        "into a new ledger"
    );
}

#[test]
fn what_a_migration_needs_is_there_before_it() {
    let mut o = under_way(&declared(2));
    o.ungenerated = vec!["SECRET_KEY_BASE".parse().unwrap()];
    let steps = decide(&o).steps;
    assert!(matches!(steps[..], [Step::Generate]), "{steps:?}");
    o.ungenerated.clear();
    assert_eq!(words(&o), ["create"]);
    o.missing = vec!["Secret app-db with key url".into()];
    assert!(decide(&o).steps.is_empty());
    says(&o, "Secret app-db with key url");
}

#[test]
fn a_success_stays_one_whatever_else_a_commit_changes() {
    let change = |change: fn(&mut Declared)| {
        let mut spec = declared(2);
        change(&mut spec);
        rehash(&mut spec);
        spec
    };
    for spec in [
        change(|spec| {
            for process in spec.processes.values_mut() {
                process.replicas = 5;
            }
        }),
        change(|spec| spec.attempt = 7),
        change(|spec| spec.migrate.as_mut().unwrap().retries = 3),
        change(|spec| spec.migrate.as_mut().unwrap().accept = Some("12345678".into())),
        change(|spec| {
            let variable = crate::api::release::EnvValue::Literal("b".into());
            let env = &mut spec.migrate.as_mut().unwrap().env;
            env.insert("A".parse().unwrap(), variable);
        }),
    ] {
        let o = with_entry(&spec, |entry| entry.state = EntryState::Succeeded);
        let decision = decide(&o);
        assert!(touches_deployment(&decision), "{:?}", decision.report);
        assert_eq!(words(&o), Vec::<&str>::new());
    }
}

#[test]
fn whatever_a_migration_waits_for_is_looked_at_again_without_an_event() {
    let (mut running, job) = resumed();
    running.job_pods = vec![ended_pod(&job, 0)];
    let (starting, _) = resumed();
    let (mut hindered, _) = resumed();
    hindered.jobs[0].blocked = Some("Quota: exceeded quota".into());
    let mut locked = claimed();
    locked.jobs.push(super::super::fixtures::job(&second(&locked), 1));
    let other = JobSeen {
        uid: uid("other"),
        ..locked.jobs[0].clone()
    };
    locked.lock.1 = held_by(&other, false);
    let (mut newer, _) = resumed();
    newer.declaration = Declaration::Valid(Box::new(declared(3)));
    for o in [running, starting, hindered, locked, newer] {
        let decision = decide(&o);
        assert!(decision.steps.is_empty(), "{:?}", decision.steps);
        let again =
            matches!(decision.wait, crate::plan::Wait::After(time) if time <= Duration::from_secs(10));
        assert!(again, "{}: {:?}", decision.report.message, decision.wait);
    }
}

#[test]
fn the_job_is_created_then_claimed_then_locked_then_resumed() {
    let mut o = under_way(&declared(2));
    assert_eq!(words(&o), ["create"]);
    o.jobs.push(job(&second(&o), 1));
    let (state, _) = booked_state(&o);
    assert_eq!(state, EntryState::Claimed);
    let mut o = claimed();
    o.jobs.push(job(&second(&o), 1));
    assert_eq!(words(&o), ["lock"]);
    o.lock.1 = held_by(&o.jobs[0], false);
    assert_eq!(words(&o), ["resume"]);
}

#[test]
fn a_job_that_never_ran_is_marked_then_booked_as_withdrawn_then_deleted_then_made_anew() {
    let mut o = claimed();
    o.jobs.push(job(&second(&o), 1));
    o.declaration = Declaration::Valid(Box::new(declared(3)));
    assert_eq!(words(&o), ["withdraw"]);
    o.jobs[0].withdrawn = true;
    assert_eq!(booked_state(&o).0, EntryState::Withdrawn);

    // The same key is declared again, by a commit that changes something else.
    let mut o = with_entry(&declared(2), |entry| entry.state = EntryState::Withdrawn);
    o.jobs.push(JobSeen {
        withdrawn: true,
        ..job(&second(&o), 1)
    });
    assert_eq!(words(&o), ["delete"]);
    o.jobs.clear();
    assert!(matches!(
        &moves(&o)[..],
        [MigrationStep::CreateJob { run: 2, .. }]
    ));
}

#[test]
fn a_withdrawn_job_is_never_resumed_even_where_it_is_declared_again() {
    let mut o = claimed();
    o.jobs.push(JobSeen {
        withdrawn: true,
        ..job(&second(&o), 1)
    });
    o.lock.1 = held_by(&o.jobs[0], false);
    assert_eq!(booked_state(&o).0, EntryState::Withdrawn);
}

#[test]
fn a_withdrawn_job_that_somebody_resumed_by_hand_is_unknown() {
    let mut o = with_entry(&declared(2), |entry| entry.state = EntryState::Withdrawn);
    o.jobs.push(JobSeen {
        withdrawn: true,
        resumed: true,
        suspended: false,
        ..job(&second(&o), 1)
    });
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
}

#[test]
fn a_claim_is_a_compare_and_swap_on_the_ledger_that_was_seen() {
    let mut o = under_way(&declared(2));
    o.jobs.push(job(&second(&o), 1));
    let [MigrationStep::Write { over, entry, .. }] = &moves(&o)[..] else {
        panic!()
    };
    assert_eq!(over.as_deref(), Some("7"));
    assert_eq!(entry.uid, o.jobs[0].uid);
}

#[test]
fn a_job_that_ran_without_a_claim_is_unknown() {
    let mut o = under_way(&declared(2));
    o.jobs.push(JobSeen {
        resumed: true,
        suspended: false,
        ..job(&second(&o), 1)
    });
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
}

#[test]
fn a_strangers_job_under_the_name_is_left_alone() {
    let mut o = under_way(&declared(2));
    o.jobs.push(JobSeen {
        key: None,
        ..job(&second(&o), 1)
    });
    assert!(decide(&o).steps.is_empty());
    says(&o, "is not Slipway's");
}

#[test]
fn a_lock_that_another_job_holds_is_waited_for() {
    let mut o = claimed();
    o.jobs.push(job(&second(&o), 1));
    o.lock.1 = LockSeen::Held {
        by: uid("other"),
        holder: "other/shop-migrate-1".into(),
        over: false,
        resource_version: "3".into(),
    };
    assert!(moves(&o).is_empty());
    says(&o, "other/shop-migrate-1 is migrating the same database");
}

#[test]
fn a_lock_passes_on_by_compare_and_swap_when_its_holder_is_over() {
    let mut o = claimed();
    o.jobs.push(job(&second(&o), 1));
    let other = JobSeen {
        uid: uid("other"),
        ..o.jobs[0].clone()
    };
    o.lock.1 = held_by(&other, true);
    let [MigrationStep::TakeLock { over, uid, .. }] = &moves(&o)[..] else {
        panic!()
    };
    assert_eq!((over.as_deref(), uid), (Some("3"), &o.jobs[0].uid));
}

#[test]
fn a_pod_of_an_earlier_migration_is_waited_for_whatever_the_lock_says() {
    let mut o = claimed();
    o.jobs.push(job(&second(&o), 1));
    o.lock.1 = held_by(&o.jobs[0], false);
    let earlier = JobSeen {
        uid: uid("earlier"),
        ..o.jobs[0].clone()
    };
    o.job_pods.push(job_pod(&earlier));
    assert!(moves(&o).is_empty());
    says(&o, "has not ended yet");
}

#[test]
fn an_abandoned_job_that_holds_the_lock_is_cleared_away_first() {
    let mut o = claimed();
    let first = o.live.clone().unwrap();
    let mut abandoned = JobSeen {
        resumed: true,
        ..job(&first, 1)
    };
    abandoned.uid = uid("abandoned");
    o.jobs = vec![job(&second(&o), 1), abandoned.clone()];
    o.lock.1 = held_by(&abandoned, false);
    let seen = o.ledger.as_mut().unwrap();
    let lost = Entry {
        uid: abandoned.uid.clone(),
        state: EntryState::Unknown,
        ..entry(&first, 1, EntryState::Unknown)
    };
    seen.ledger.entries.insert(key(&first), lost);
    let steps = moves(&o);
    assert!(
        matches!(&steps[..], [MigrationStep::DeleteJob { uid, .. }] if *uid == abandoned.uid),
        "{steps:?}"
    );
}

// === evidence ===

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

// === after the end ===

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

// === what the spec may ask for ===

#[test]
fn a_failed_migration_runs_again_by_itself_as_often_as_retries_say_and_only_after_a_pause() {
    let mut spec = declared(2);
    spec.migrate.as_mut().unwrap().retries = 1;
    let mut o = with_entry(&spec, |entry| entry.state = EntryState::Failed);
    let wait = says(&o, "runs again in 10 s, retry 1 of 1");
    assert_eq!(wait.report.phase, crate::plan::Phase::Waiting("Retrying".into()));
    assert!(wait.steps.is_empty());
    o.now = Timestamp::from_second(11).unwrap();
    assert!(matches!(
        &moves(&o)[..],
        [MigrationStep::CreateJob { run: 2, .. }]
    ));
    let mut twice = with_entry(&spec, |entry| {
        entry.state = EntryState::Failed;
        (entry.run, entry.tries) = (2, 2);
    });
    twice.now = Timestamp::from_second(3600).unwrap();
    assert!(moves(&twice).is_empty(), "the one retry was used");
}

#[test]
fn an_unknown_outcome_is_never_retried() {
    let mut spec = declared(2);
    spec.migrate.as_mut().unwrap().retries = 10;
    let mut o = with_entry(&spec, |entry| entry.state = EntryState::Unknown);
    o.now = Timestamp::from_second(3600).unwrap();
    assert!(moves(&o).is_empty());
}

#[test]
fn a_claim_remembers_which_try_it_is_and_the_proof_that_was_asked_for() {
    let mut spec = declared(2);
    spec.migrate.as_mut().unwrap().retries = 2;
    spec.migrate.as_mut().unwrap().proof = Some("all done".into());
    let mut o = with_entry(&spec, |entry| entry.state = EntryState::Failed);
    o.now = Timestamp::from_second(60).unwrap();
    o.jobs.push(job(&second(&o), 2));
    let steps = moves(&o);
    let [MigrationStep::Write { entry, .. }] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!((entry.state, entry.run, entry.tries), (EntryState::Claimed, 2, 2));
    assert_eq!(entry.proof.as_deref(), Some("all done"));
    assert!(entry.database.is_some());
}

#[test]
fn where_a_proof_is_asked_for_exit_code_0_without_it_is_unknown() {
    let with_proof = |proven| {
        let mut o = ended(JobEnd::Complete, |job| {
            Some(JobPodSeen {
                proven,
                ..ended_pod(job, 0)
            })
        });
        for entry in o.ledger.as_mut().unwrap().ledger.entries.values_mut() {
            entry.proof = Some("all done".into());
        }
        o
    };
    assert_eq!(booked_state(&with_proof(Some(true))).0, EntryState::Succeeded);
    let (state, note) = booked_state(&with_proof(Some(false)));
    assert_eq!(state, EntryState::Unknown);
    assert!(note.contains("migrate.proof"), "{note}");
    assert!(
        moves(&with_proof(None)).is_empty(),
        "a log that cannot be read is waited for"
    );
}

#[test]
fn a_named_lock_is_shared_whatever_the_database_and_a_moved_database_is_still_seen() {
    let mut spec = declared(2);
    spec.migrate.as_mut().unwrap().lock = Some("billing".into());
    let mut o = under_way(&spec);
    let lock = crate::plan::renew::lock_name(&o);
    o.database = DatabaseSeen::Known("other:5432/db".into());
    assert_eq!(crate::plan::renew::lock_name(&o), lock);
    let mut moved = ended(JobEnd::Complete, |job| Some(ended_pod(job, 0)));
    for entry in moved.ledger.as_mut().unwrap().ledger.entries.values_mut() {
        entry.database = Some("elsewhere:5432/db".into());
    }
    let (state, note) = booked_state(&moved);
    assert_eq!(state, EntryState::Unknown);
    assert!(note.contains("the database"), "{note}");
}

#[test]
fn what_keeps_kubernetes_from_making_the_pod_is_named() {
    for (blocked, reason) in [
        ("Quota: exceeded quota: compute", "Quota"),
        ("PodSecurity: violates PodSecurity", "PodSecurity"),
        ("Config: error looking up service account", "Config"),
    ] {
        let (mut o, _) = resumed();
        o.jobs[0].blocked = Some(blocked.into());
        let decision = says(&o, blocked);
        assert_eq!(decision.report.phase, crate::plan::Phase::Waiting(reason.into()));
        assert!(decision.steps.is_empty());
    }
}

#[test]
fn a_newer_commit_takes_over_from_a_job_that_kubernetes_makes_no_pod_of() {
    let (mut o, _) = resumed();
    o.declaration = Declaration::Valid(Box::new(declared(3)));
    assert!(words(&o).is_empty(), "its pod is about to come");
    o.jobs[0].blocked = Some("Quota: exceeded quota: compute".into());
    assert_eq!(words(&o), ["suspend"]);
    o.jobs[0].suspended = true;
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
}

/// A Job that was let run and taken back, and has no pod.
fn taken_back() -> Observed {
    let (mut o, _) = resumed();
    o.declaration = Declaration::Valid(Box::new(declared(3)));
    o.jobs[0] = JobSeen {
        suspended: true,
        withdrawn: true,
        generation: 3,
        ..o.jobs[0].clone()
    };
    o
}

#[test]
fn a_job_that_kubernetes_never_made_a_pod_of_is_taken_back_and_may_be_made_anew() {
    let mut o = taken_back();
    o.jobs[0].untouched = true;
    let [MigrationStep::Write { entry, .. }] = &moves(&o)[..] else {
        panic!("{:?}", moves(&o))
    };
    assert_eq!(
        (entry.state, entry.generation),
        (EntryState::Withdrawn, Some(3)),
        "{}",
        entry.note
    );
    // The same key is declared again, by a commit that changes something else.
    let entry = (**entry).clone();
    let mut o = with_entry(&declared(2), |old| *old = entry);
    let back = JobSeen {
        generation: 3,
        resumed: true,
        ..job(&second(&o), 1)
    };
    o.jobs.push(back.clone());
    assert_eq!(words(&o), ["delete"]);
    // Kubernetes may book the pod that never started as a failure; and a deletion is no resume.
    o.jobs[0].finished = Some(JobEnd::Failed("BackoffLimitExceeded".into()));
    assert_eq!(words(&o), ["delete"]);
    o.jobs[0] = JobSeen {
        generation: 4,
        deleting: true,
        ..back.clone()
    };
    assert!(words(&o).is_empty());
    o.jobs[0] = JobSeen {
        generation: 4,
        ..back
    };
    assert_eq!(booked_state(&o).0, EntryState::Unknown, "somebody resumed it");
    o.jobs.clear();
    assert!(matches!(
        &moves(&o)[..],
        [MigrationStep::CreateJob { run: 2, .. }]
    ));
}

#[test]
fn a_pod_that_no_node_was_told_of_never_started_and_any_other_may_have() {
    let unscheduled = |o: &Observed| JobPodSeen {
        started: false,
        node: None,
        running_for: None,
        deleting: true,
        ..job_pod(&o.jobs[0])
    };
    let mut o = taken_back();
    o.job_pods = vec![unscheduled(&o)];
    assert_eq!(booked_state(&o).0, EntryState::Withdrawn);
    // Not yet deleted: a node may still be told of it.
    o.job_pods[0].deleting = false;
    assert!(moves(&o).is_empty());
    // A node has it.
    o.job_pods[0].node = Some(("node1".into(), "boot1".into()));
    o.job_pods[0].deleting = true;
    let [MigrationStep::Write { entry, .. }] = &moves(&o)[..] else {
        panic!("it is noted: {:?}", moves(&o))
    };
    let node = entry.started.as_ref().map(|started| started.node.as_str());
    assert_eq!((entry.state, node), (EntryState::Claimed, Some("node1")));
    let noted = (**entry).clone();
    let mut later = o.clone();
    for entry in later.ledger.as_mut().unwrap().ledger.entries.values_mut() {
        if entry.uid == noted.uid {
            *entry = noted.clone();
        }
    }
    assert!(moves(&later).is_empty(), "its end is waited for");
    (later.job_pods, later.jobs[0].untouched) = (Vec::new(), true);
    assert_eq!(booked_state(&later).0, EntryState::Unknown, "a node had it");
    o.job_pods[0].terminal = true;
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
    // There were others.
    let mut o = taken_back();
    o.job_pods = vec![unscheduled(&o)];
    o.jobs[0].generation = 5;
    assert!(moves(&o).is_empty());
}

#[test]
fn without_a_pod_only_the_word_of_kubernetes_says_that_there_never_was_one() {
    let mut o = taken_back();
    o.jobs[0].counting = true;
    assert!(moves(&o).is_empty(), "Kubernetes is not done with it");
    o.jobs[0].counting = false;
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
    o.jobs[0].untouched = true;
    assert_eq!(booked_state(&o).0, EntryState::Withdrawn);
    o.jobs[0].generation = 5;
    assert_eq!(booked_state(&o).0, EntryState::Unknown, "somebody let it run too");
    o.jobs[0].generation = 3;
    o.jobs[0].withdrawn = false;
    assert_eq!(booked_state(&o).0, EntryState::Unknown, "a hand suspended it");
    o.jobs[0].withdrawn = true;
    for entry in o.ledger.as_mut().unwrap().ledger.entries.values_mut() {
        entry.started = Some(Started {
            node: "node1".into(),
            boot_id: "boot1".into(),
        });
    }
    assert_eq!(booked_state(&o).0, EntryState::Unknown, "it was seen running");
}

#[test]
fn a_job_that_never_started_gives_way_to_what_a_commit_changes_of_it() {
    let (mut o, _) = resumed();
    o.jobs[0].given = Some("gone".into());
    o.jobs[0].blocked = Some("Config: error looking up service account".into());
    o.given = Some("gone".into());
    assert!(moves(&o).is_empty());
    o.given = Some("there".into());
    o.jobs[0].acknowledged = false;
    assert!(
        moves(&o).is_empty(),
        "Kubernetes has not heard yet that it may run"
    );
    o.jobs[0].acknowledged = true;
    assert_eq!(words(&o), ["suspend"]);
    // Where a node has its pod, a container may start at any time.
    let stuck = JobPodSeen {
        started: false,
        stuck: Some("ImagePull: ErrImagePull".into()),
        running_for: None,
        ..job_pod(&o.jobs[0])
    };
    o.jobs[0].blocked = None;
    o.job_pods = vec![stuck.clone()];
    assert!(moves(&o).is_empty());
    o.job_pods = vec![JobPodSeen {
        node: None,
        stuck: Some("Unschedulable: 0/1 nodes".into()),
        ..stuck
    }];
    assert_eq!(words(&o), ["suspend"]);
    // One that runs is never killed.
    o.job_pods = vec![JobPodSeen {
        node: None,
        ..job_pod(&o.jobs[0])
    }];
    assert_ne!(words(&o), ["suspend"]);
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
fn the_pause_before_a_retry_doubles_up_to_five_minutes() {
    let mut spec = declared(2);
    spec.migrate.as_mut().unwrap().retries = 10;
    let mut o = with_entry(&spec, |_| {});
    let key = key(&second(&o));
    for (tries, pause) in [(1, 10), (2, 20), (5, 160), (6, 300), (10, 300)] {
        let seen = o.ledger.as_mut().unwrap().ledger.entries.get_mut(&key).unwrap();
        (seen.state, seen.tries) = (EntryState::Failed, tries);
        says(&o, &format!("runs again in {pause} s, retry {tries} of 10"));
    }
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
