//! A claim comes before a run, and one run before another.

use super::*;

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
    let (mut running, begun) = resumed();
    running.job_pods = vec![ended_pod(&begun, 0)];
    let (starting, _) = resumed();
    let (mut hindered, _) = resumed();
    hindered.jobs[0].blocked = Some("Quota: exceeded quota".into());
    let mut locked = claimed();
    locked.jobs.push(job(&second(&locked), 1));
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
