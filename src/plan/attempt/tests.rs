use super::*;
use crate::{
    names::RevisionNumber,
    plan::{
        decide,
        fixtures::{
            declared, ended_pod, entry, job, key, ledger, live, rehash, retained, revision, running,
            under_way,
        },
        ledger::EntryState,
        observed::{JobEnd, JobSeen, LockSeen, PodSeen},
    },
};

/// Version 2 with its migration booked and its objects in the cluster.
fn rolled_out() -> Observed {
    let mut o = under_way(&declared(2));
    let second = o.current.clone().unwrap();
    let done = entry(&second, 1, EntryState::Succeeded);
    o.ledger
        .as_mut()
        .unwrap()
        .ledger
        .entries
        .insert(key(&second), done);
    o.objects = running(&second.objects);
    o
}

fn concluded(o: &Observed) -> Option<Outcome> {
    decide(o).steps.iter().find_map(|step| match step {
        Step::Conclude { outcome, .. } => Some(*outcome),
        _ => None,
    })
}

fn crashing(restarts: u32) -> PodSeen {
    PodSeen {
        name: "billing-0".into(),
        revision: Some(RevisionNumber(2)),
        deleting: false,
        restarts,
        waiting: None,
        unschedulable: None,
        last_end: None,
        hint: None,
    }
}

#[test]
fn an_object_of_somebody_else_is_waited_for_and_nothing_is_written() {
    let mut o = rolled_out();
    let deployment = o
        .objects
        .values_mut()
        .find(|live| live.value["kind"] == "Deployment")
        .unwrap();
    deployment.value["metadata"]["annotations"] = serde_json::json!({});
    let decision = decide(&o);
    assert_eq!(decision.report.phase, Phase::Waiting("NameTaken".into()));
    assert!(decision.steps.is_empty(), "{:?}", decision.steps);
}

#[test]
fn an_account_is_prepared_where_there_is_none() {
    let mut o = under_way(&declared(2));
    o.objects.retain(|key, _| key.kind != Kind::ServiceAccount);
    assert!(
        decide(&o)
            .steps
            .iter()
            .any(|step| matches!(step, Step::Prepare { .. }))
    );
}

#[test]
fn the_account_of_what_serves_is_not_rewritten_before_the_gate_opens() {
    let o = under_way(&declared(2));
    let prepares = |o: &Observed| {
        decide(o)
            .steps
            .iter()
            .any(|step| matches!(step, Step::Prepare { .. } | Step::Apply { .. }))
    };
    assert!(!prepares(&o));
    let mut o = o;
    let second = o.current.as_mut().unwrap();
    second.outcome = Some(Outcome::MigrationFailed);
    let second = second.clone();
    let failed = entry(&second, 1, EntryState::Failed);
    o.ledger
        .as_mut()
        .unwrap()
        .ledger
        .entries
        .insert(key(&second), failed);
    assert!(decide(&o).steps.is_empty());
}

#[test]
fn a_failed_migration_is_concluded_once_and_then_rests() {
    let mut o = under_way(&declared(2));
    let second = o.current.clone().unwrap();
    let failed = entry(&second, 1, EntryState::Failed);
    o.ledger
        .as_mut()
        .unwrap()
        .ledger
        .entries
        .insert(key(&second), failed);
    assert_eq!(concluded(&o), Some(Outcome::MigrationFailed));
    o.current.as_mut().unwrap().outcome = Some(Outcome::MigrationFailed);
    let decision = decide(&o);
    assert!(decision.is_settled(), "{decision:?}");
    assert_eq!(decision.report.phase, Phase::Failed("Migrating"));
}

#[test]
fn a_complete_rollout_is_watched_before_it_is_live() {
    let mut o = rolled_out();
    assert_eq!(decide(&o).report.phase, Phase::Verifying);
    o.stage = Some((Stage::Verifying(RevisionNumber(2)), Duration::from_secs(59)));
    assert_eq!(concluded(&o), None);
    o.stage = Some((Stage::Verifying(RevisionNumber(2)), Duration::from_secs(60)));
    assert_eq!(concluded(&o), Some(Outcome::Live));
}

#[test]
fn restarts_while_it_is_watched_fail_it_and_those_from_before_do_not() {
    let mut o = rolled_out();
    o.pods = vec![crashing(1)];
    assert_eq!(concluded(&o), None);
    o.stage = Some((Stage::Verifying(RevisionNumber(2)), Duration::from_secs(1)));
    o.restarts_before = Some((RevisionNumber(2), 1));
    assert_eq!(concluded(&o), None);
    o.restarts_before = Some((RevisionNumber(2), 0));
    assert_eq!(concluded(&o), Some(Outcome::RolloutFailed));
}

#[test]
fn pods_that_become_unready_while_they_are_watched_do_not_wind_the_clock_up_again() {
    let mut o = rolled_out();
    let deployment = o
        .objects
        .values_mut()
        .find(|live| live.value["kind"] == "Deployment")
        .unwrap();
    deployment.value["status"]["availableReplicas"] = 0.into();
    o.stage = Some((Stage::RollingOut(RevisionNumber(2)), Duration::from_secs(1)));
    o.rolling = Some((RevisionNumber(2), Duration::from_secs(601)));
    assert_eq!(concluded(&o), Some(Outcome::RolloutFailed));
}

#[test]
fn a_rollout_that_takes_too_long_fails_and_a_crash_loop_fails_at_once() {
    let mut o = rolled_out();
    let deployment = o
        .objects
        .values_mut()
        .find(|live| live.value["kind"] == "Deployment")
        .unwrap();
    deployment.value["status"]["availableReplicas"] = 0.into();
    assert_eq!(concluded(&o), None);
    o.rolling = Some((RevisionNumber(2), Duration::from_secs(601)));
    assert_eq!(concluded(&o), Some(Outcome::RolloutFailed));
    o.rolling = None;
    o.pods = vec![crashing(3)];
    assert_eq!(concluded(&o), Some(Outcome::RolloutFailed));
}

/// The message that the revision on its way is concluded with.
fn conclusion(o: &Observed) -> String {
    let message = decide(o).steps.into_iter().find_map(|step| match step {
        Step::Conclude { message, .. } => Some(message),
        _ => None,
    });
    message.unwrap()
}

#[test]
fn what_is_known_of_a_crash_ends_each_sentence_about_it() {
    let hinted = |restarts| PodSeen {
        hint: Some("set PORT."),
        ..crashing(restarts)
    };
    let mut o = rolled_out();
    o.pods = vec![hinted(1)];
    for live in o.objects.values_mut() {
        live.value["status"]["availableReplicas"] = 0.into();
    }
    let on_its_way = decide(&o).report.message;
    assert!(on_its_way.contains("is being rolled out"), "{on_its_way}");
    assert!(on_its_way.ends_with(". Hint: set PORT."), "{on_its_way}");
    o.rolling = Some((RevisionNumber(2), Duration::from_secs(601)));
    let late = conclusion(&o);
    assert!(
        late.starts_with("not complete within") && late.ends_with(". Hint: set PORT."),
        "{late}"
    );
    o.pods = vec![hinted(3)];
    let crashed = conclusion(&o);
    assert_eq!(crashed, "pod billing-0 restarted 3 times. Hint: set PORT.");
    // From then on nothing is asked about its pods.
    o.pods.clear();
    let current = o.current.as_mut().unwrap();
    current.outcome = Some(Outcome::RolloutFailed);
    current.message = crashed;
    o.objects = running(&o.live.clone().unwrap().objects);
    let message = decide(&o).report.message;
    assert_eq!(
        message,
        "2.0.0 failed (pod billing-0 restarted 3 times) and was rolled back: 1.0.0 runs; git still declares 2.0.0. \
         Hint: set PORT."
    );
}

#[test]
fn a_hint_about_the_pods_of_another_revision_is_not_said() {
    let mut o = rolled_out();
    o.pods = vec![
        PodSeen {
            revision: Some(RevisionNumber(1)),
            hint: Some("set PORT."),
            ..crashing(1)
        },
        crashing(3),
    ];
    assert!(!conclusion(&o).contains("Hint"));
}

/// As rolled out, and somebody changes this of each object of a kind as soon as it is put right.
fn let_be(kind: Kind, change: impl Fn(&mut serde_json::Value)) -> Observed {
    let mut o = rolled_out();
    for (key, live) in o.objects.iter_mut().filter(|(key, _)| key.kind == kind) {
        change(&mut live.value);
        o.let_be.insert(key.clone());
    }
    assert!(!o.let_be.is_empty());
    o
}

#[test]
fn what_others_fight_over_keeps_no_rollout_from_its_end() {
    let mut o = let_be(Kind::ServiceAccount, |account| {
        account["automountServiceAccountToken"] = true.into();
    });
    o.stage = Some((Stage::Verifying(RevisionNumber(2)), Duration::from_secs(3600)));
    assert_eq!(concluded(&o), Some(Outcome::Live));
    o.pods = vec![crashing(3)];
    assert_eq!(concluded(&o), Some(Outcome::RolloutFailed));
    o.let_be.clear();
    assert_eq!(concluded(&o), None, "else it is put right first");
}

#[test]
fn a_deployment_that_others_give_other_pods_is_never_taken_for_rolled_out() {
    let other_image = |deployment: &mut serde_json::Value| {
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "other".into();
    };
    let mut gone = let_be(Kind::Deployment, |_| {});
    gone.objects.retain(|key, _| key.kind != Kind::Deployment);
    let no_pods = |deployment: &mut serde_json::Value| deployment["spec"]["replicas"] = 0.into();
    let others =
        [other_image as fn(&mut serde_json::Value), no_pods].map(|change| let_be(Kind::Deployment, change));
    for mut o in others.into_iter().chain([gone]) {
        o.stage = Some((Stage::Verifying(RevisionNumber(2)), Duration::from_secs(3600)));
        assert_eq!(concluded(&o), None);
        o.rolling = Some((RevisionNumber(2), Duration::from_secs(3600)));
        assert_eq!(concluded(&o), Some(Outcome::RolloutFailed), "its deadline counts");
    }
    let mut o = let_be(Kind::Deployment, |deployment| {
        deployment["spec"]["progressDeadlineSeconds"] = 77.into();
    });
    o.stage = Some((Stage::Verifying(RevisionNumber(2)), Duration::from_secs(3600)));
    assert_eq!(
        concluded(&o),
        Some(Outcome::Live),
        "the pods are those of the version"
    );
}

#[test]
fn a_ledger_that_was_lost_is_rebuilt_from_a_revision_that_was_live() {
    let mut o = live(declared(1));
    o.ledger = None;
    o.objects.clear();
    let decision = decide(&o);
    let [
        Step::Migrate(MigrationStep::Write {
            entry, over: None, ..
        }),
    ] = &decision.steps[..]
    else {
        panic!("{:?}", decision.steps)
    };
    assert_eq!(entry.state, EntryState::Succeeded);
    assert!(entry.note.contains("rebuilt from v1"), "{}", entry.note);
}

/// The entry that a decision writes, put into the ledger.
fn write_ledger(o: &mut Observed) -> Option<Entry> {
    let decision = decide(o);
    let Some(MigrationStep::Write { key, entry, .. }) = decision.migration_steps().next() else {
        return None;
    };
    let seen = o.ledger.get_or_insert_with(|| ledger([]));
    seen.ledger.entries.insert(key.clone(), (**entry).clone());
    Some((**entry).clone())
}

#[test]
fn a_lost_ledger_is_rebuilt_before_the_next_revision_is_made() {
    let mut o = live(declared(2));
    o.ledger = None;
    assert_eq!(write_ledger(&mut o).unwrap().revision, 1);
    assert!(matches!(decide(&o).steps[..], [Step::CreateRevision(_)]));
}

#[test]
fn a_lost_ledger_does_not_run_a_failed_migration_again() {
    let mut o = under_way(&declared(2));
    o.current.as_mut().unwrap().outcome = Some(Outcome::MigrationFailed);
    o.ledger = None;
    assert_eq!(write_ledger(&mut o).unwrap().state, EntryState::Unknown);
    let rebuilt = write_ledger(&mut o).unwrap();
    assert_eq!((rebuilt.state, rebuilt.revision), (EntryState::Succeeded, 1));
    let decision = decide(&o);
    assert!(decision.is_settled(), "{decision:?}");
    assert!(
        decision.report.message.contains("LedgerMissing"),
        "{}",
        decision.report.message
    );
}

#[test]
fn a_ledger_that_is_lost_while_the_first_migration_runs_does_not_run_it_again() {
    let mut o = under_way(&declared(1));
    (o.live, o.ledger, o.jobs) = (None, None, Vec::new());
    let key = o
        .current
        .as_ref()
        .unwrap()
        .migration
        .as_ref()
        .unwrap()
        .key
        .clone();
    let held = |holder: String| LockSeen::Held {
        by: "uid-of-a-job".parse().unwrap(),
        holder,
        over: true,
        resource_version: "1".into(),
    };
    let own = crate::render::job_name(&o.id.name, key.as_str(), 1);
    for stranger in [
        "elsewhere/billing-migrate-12345678-1".to_owned(),
        format!("elsewhere/{own}"),
    ] {
        o.lock.1 = held(stranger);
        assert!(write_ledger(&mut o.clone()).is_none_or(|entry| entry.state != EntryState::Unknown));
    }
    o.lock.1 = held(format!("{}/{own}", o.id.namespace));
    let decision = decide(&o);
    let [Step::Migrate(MigrationStep::Rebuild { entries })] = &decision.steps[..] else {
        panic!("{decision:?}")
    };
    let [(_, entry)] = &entries[..] else {
        panic!("{entries:?}")
    };
    assert_eq!(entry.state, EntryState::Unknown);
    assert!(entry.note.contains("LedgerMissing"), "{}", entry.note);
}

#[test]
fn the_account_that_pods_run_under_is_not_cleared_away() {
    let mut o = live(declared(1));
    let of_account = |object: &Object| object.key.kind == Kind::ServiceAccount;
    // Its record was lost and made again while the account was not there.
    for revision in [&mut o.live, &mut o.current] {
        revision
            .as_mut()
            .unwrap()
            .objects
            .retain(|object| !of_account(object));
    }
    assert!(o.objects.keys().any(|key| key.kind == Kind::ServiceAccount));
    assert!(decide(&o).is_settled(), "{:?}", decide(&o).steps);
}

#[test]
fn a_ledger_that_is_lost_while_a_later_migration_runs_does_not_run_it_again() {
    let mut o = under_way(&declared(2));
    let current = o.current.clone().unwrap();
    let key = current.migration.unwrap().key;
    let booked = o.ledger.take().unwrap().ledger.entries;
    o.records = booked.into_iter().filter(|(booked, _)| *booked != key).collect();
    assert!(!o.records.is_empty(), "the version before was migrated for");
    o.jobs.clear();
    let rebuilt = |o: &Observed| {
        let decision = decide(o);
        let [Step::Migrate(MigrationStep::Rebuild { entries })] = &decision.steps[..] else {
            panic!("{decision:?}")
        };
        entries
            .iter()
            .find(|(of, _)| *of == key)
            .map(|(_, entry)| entry.state)
    };
    assert_eq!(rebuilt(&o), None, "it never had the lock, so it never ran");
    let own = crate::render::job_name(&o.id.name, key.as_str(), 1);
    o.lock.1 = LockSeen::Held {
        by: "uid-of-a-job".parse().unwrap(),
        holder: format!("{}/{own}", o.id.namespace),
        over: true,
        resource_version: "1".into(),
    };
    assert_eq!(rebuilt(&o), Some(EntryState::Unknown));

    // Its Job is there: it is brought to its end, and what became of it is for a person to say.
    let current = o.current.clone().unwrap();
    let mut job = JobSeen {
        uid: "uid-of-a-job".parse().unwrap(),
        name: own,
        suspended: false,
        resumed: true,
        ..job(&current, 1)
    };
    o.jobs = vec![job.clone()];
    assert_eq!(rebuilt(&o), Some(EntryState::Claimed));
    let decision = decide(&o);
    let [Step::Migrate(MigrationStep::Rebuild { entries })] = &decision.steps[..] else {
        panic!("{decision:?}")
    };
    let mut running = o.clone();
    running.ledger = Some(ledger([entries.last().unwrap().clone()]));
    running.records.clear();
    job.finished = Some(JobEnd::Complete);
    running.jobs = vec![job.clone()];
    running.job_pods = vec![ended_pod(&job, 0)];
    let entry = write_ledger(&mut running).unwrap();
    assert_eq!(entry.state, EntryState::Unknown);
    assert!(entry.note.contains("LedgerMissing"), "{}", entry.note);

    // It has the lock and was not let run.
    (o.jobs[0].suspended, o.jobs[0].resumed) = (true, false);
    assert_eq!(rebuilt(&o), None);
}

#[test]
fn a_ledger_that_is_lost_while_a_version_is_rolled_out_is_told_by_what_is_rolled_out() {
    let mut o = under_way(&declared(2));
    let current = o.current.clone().unwrap();
    let key = key(&current);
    let seen = o.ledger.as_mut().unwrap();
    seen.ledger
        .entries
        .insert(key.clone(), entry(&current, 1, EntryState::Succeeded));
    let Some(Step::Apply { objects, .. }) = decide(&o).steps.into_iter().next() else {
        panic!("it is rolled out")
    };
    // What is kept in a revision says which migration it was made for.
    let noted = |(object, _)| crate::render::with_record(object, &current.attempt, Some(key.as_str()));
    let objects: Vec<Object> = objects.into_iter().map(noted).collect();
    o.objects = running(&objects);
    let booked = o.ledger.take().unwrap().ledger.entries;
    o.records = booked.into_iter().filter(|(booked, _)| *booked != key).collect();
    // An earlier run of it failed, and the revision of that one is kept.
    let mut failed = o.records.clone();
    failed.push((key.clone(), entry(&current, 1, EntryState::Failed)));
    for records in [o.records.clone(), Vec::new(), failed] {
        o.records = records;
        let decision = decide(&o);
        let [Step::Migrate(MigrationStep::Rebuild { entries })] = &decision.steps[..] else {
            panic!("{decision:?}")
        };
        let entry = entries.iter().rfind(|(of, _)| *of == key).map(|(_, entry)| entry);
        assert_eq!(entry.unwrap().state, EntryState::Succeeded, "the last one holds");
    }
}

#[test]
fn after_a_lost_ledger_a_commit_that_raises_rerun_runs_it() {
    let mut o = rolled_out();
    (o.live, o.ledger) = (None, None);
    // What runs is of a revision that is no more.
    o.retained = retained(2..=2);
    o.objects = running(&revision(&o, &declared(1), 1).objects);
    assert_eq!(write_ledger(&mut o).unwrap().state, EntryState::Unknown);
    assert!(decide(&o).migration_steps().next().is_none());
    let mut again = declared(2);
    again.migrate.as_mut().unwrap().rerun = 1;
    rehash(&mut again);
    o.current = Some(revision(&o, &again, 3));
    o.declaration = crate::plan::observed::Declaration::Valid(Box::new(again));
    let decision = decide(&o);
    assert!(matches!(
        decision.migration_steps().next(),
        Some(MigrationStep::CreateJob { .. })
    ));
}

#[test]
fn a_first_version_without_a_migration_that_failed_is_no_lost_ledger() {
    let mut first = declared(1);
    first.migrate = None;
    rehash(&mut first);
    let mut o = under_way(&declared(2));
    let failed = revision(&o, &first, 1);
    o.objects = running(&failed.objects);
    (o.live, o.ledger) = (None, None);
    o.retained = retained(1..=2);
    assert!(matches!(
        decide(&o).migration_steps().next(),
        Some(MigrationStep::CreateJob { .. })
    ));
}

#[test]
fn what_is_applied_has_the_owner_of_now_and_not_the_one_of_its_revision() {
    let mut o = live(declared(1));
    for revision in [&mut o.current, &mut o.live] {
        for object in &mut revision.as_mut().unwrap().objects {
            object.value["metadata"]["ownerReferences"] =
                serde_json::json!([{"kind": "Release", "uid": "gone"}]);
        }
    }
    for live in o.objects.values_mut() {
        live.value["metadata"]["ownerReferences"] =
            serde_json::json!([{"apiVersion": "slipway.dev/v1alpha1", "kind": "Release", "uid": "gone"}]);
    }
    let decision = decide(&o);
    let [Step::Apply { objects, .. }] = &decision.steps[..] else {
        panic!("{:?}", decision.steps)
    };
    assert!(
        objects
            .iter()
            .all(|(object, _)| object.value["metadata"].get("ownerReferences").is_none())
    );
}

#[test]
fn what_others_changed_is_put_back_and_counted() {
    let mut o = live(declared(1));
    o.seen_before = true;
    let deployment = o
        .objects
        .values_mut()
        .find(|live| live.value["kind"] == "Deployment")
        .unwrap();
    deployment.value["spec"]["replicas"] = 9.into();
    let decision = decide(&o);
    assert!(matches!(decision.steps[..], [Step::Apply { .. }]));
    assert_eq!(decision.report.repairs, 1);
}

#[test]
fn old_revisions_and_jobs_are_forgotten_and_the_one_that_serves_never() {
    let mut spec = declared(1);
    spec.retain_revisions = 2;
    spec.retain_failed_jobs = 1;
    let mut o = live(spec);
    let first = o.current.clone().unwrap();
    let old = JobSeen {
        finished: Some(JobEnd::Complete),
        suspended: false,
        resumed: true,
        ..job(&first, 1)
    };
    let mut second = revision(&o, &declared(2), 2);
    second.number = RevisionNumber(2);
    let newer = JobSeen {
        finished: Some(JobEnd::Complete),
        ..job(&second, 1)
    };
    let done = entry(&second, 1, EntryState::Succeeded);
    o.ledger
        .as_mut()
        .unwrap()
        .ledger
        .entries
        .insert(key(&second), done);
    o.jobs = vec![old.clone(), newer];
    o.retained = retained(1..=4);
    let steps = decide(&o).steps;
    let forgotten: Vec<u64> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Forget { number, .. } => Some(number.0),
            _ => None,
        })
        .collect();
    assert!(forgotten.contains(&2) && !forgotten.contains(&1), "{steps:?}");
    let deleted: Vec<_> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Migrate(MigrationStep::DeleteJob { uid, .. }) => Some(uid.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(deleted, [old.uid]);
}
