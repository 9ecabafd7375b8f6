use super::*;
use crate::{
    api::release::Agree,
    names::RevisionNumber,
    plan::{
        fixtures::{self, declared, entry, job, key, ledger, live, observed, rehash, running, under_way},
        ledger::EntryState,
        observed::{ImageSeen, JobSeen},
    },
    render::{Kind, Object, ObjectKey},
    spec::declared::{AttemptHash, ImagePick},
};

/// Version 2 was rolled out and failed; its objects are in the cluster.
fn failed() -> Observed {
    let mut o = under_way(&declared(2));
    let second = o.current.as_mut().unwrap();
    second.outcome = Some(Outcome::RolloutFailed);
    second.message = "pod billing-0 restarted 3 times".into();
    let second = second.clone();
    let entry = entry(&second, 1, EntryState::Succeeded);
    o.ledger
        .as_mut()
        .unwrap()
        .ledger
        .entries
        .insert(key(&second), entry);
    o.objects = running(&second.objects);
    o
}

fn tagged(version: u32) -> Declared {
    let mut spec = declared(version);
    spec.image.pick = ImagePick::Tag(format!("{version}.0.0"));
    rehash(&mut spec);
    spec
}

fn waits(o: &Observed, reason: &str) -> Decision {
    let decision = decide(o);
    assert_eq!(
        decision.report.phase,
        Phase::Waiting(reason.into()),
        "{}",
        decision.report.message
    );
    assert!(decision.steps.is_empty(), "{:?}", decision.steps);
    decision
}

/// The revision whose Deployment a decision writes.
fn applied(decision: &Decision) -> Vec<(u64, i64)> {
    let objects = decision.steps.iter().filter_map(|step| match step {
        Step::Apply { gate, objects } => Some(objects.iter().map(|(object, _)| (gate.revision().0, object))),
        _ => None,
    });
    objects
        .flatten()
        .filter(|(_, object)| object.key.kind == Kind::Deployment)
        .map(|(number, object)| (number, object.value["spec"]["replicas"].as_i64().unwrap()))
        .collect()
}

#[test]
fn a_first_version_becomes_the_first_revision() {
    let decision = decide(&observed(declared(1)));
    let [Step::CreateRevision(draft)] = &decision.steps[..] else {
        panic!("{:?}", decision.steps)
    };
    assert_eq!(draft.number, RevisionNumber(1));
    assert!(draft.migration.is_some());
}

#[test]
fn what_is_live_and_as_declared_is_left_alone() {
    let decision = decide(&live(declared(1)));
    assert!(decision.is_settled(), "{decision:?}");
    assert_eq!(decision.report.phase, Phase::Live);
}

#[test]
fn a_newer_commit_waits_for_the_running_migration_and_then_only_the_newest_goes() {
    let mut o = under_way(&declared(2));
    let second = o.current.clone().unwrap();
    let claim = entry(&second, 1, EntryState::Claimed);
    o.ledger
        .as_mut()
        .unwrap()
        .ledger
        .entries
        .insert(key(&second), claim);
    let running = JobSeen {
        suspended: false,
        resumed: true,
        ..job(&second, 1)
    };
    o.jobs.push(running);
    o.declaration = Declaration::Valid(Box::new(declared(3)));
    let decision = decide(&o);
    assert!(decision.steps.is_empty(), "{:?}", decision.steps);
    assert!(
        decision
            .report
            .message
            .contains("3.0.0 waits until the migration of 2.0.0")
    );

    let done = entry(&second, 1, EntryState::Succeeded);
    o.ledger
        .as_mut()
        .unwrap()
        .ledger
        .entries
        .insert(key(&second), done);
    let decision = decide(&o);
    let [
        Step::Conclude {
            revision, outcome, ..
        },
        Step::CreateRevision(draft),
    ] = &decision.steps[..]
    else {
        panic!("{:?}", decision.steps)
    };
    assert_eq!(
        (*revision, *outcome, draft.number),
        (RevisionNumber(2), Outcome::Superseded, RevisionNumber(3))
    );
}

#[test]
fn a_failed_rollout_brings_the_last_live_revision_back_and_git_still_declares_the_other() {
    let decision = decide(&failed());
    assert_eq!(applied(&decision), [(1, 1)]);
    assert_eq!(decision.report.phase, Phase::RolledBack);
    for part in ["2.0.0 failed", "1.0.0 runs", "git still declares 2.0.0"] {
        assert!(
            decision.report.message.contains(part),
            "{}",
            decision.report.message
        );
    }
    let ahead = decision
        .report
        .details
        .iter()
        .any(|(name, _)| *name == "SchemaAhead");
    assert!(ahead, "its migration stays: {:?}", decision.report.details);
}

#[test]
fn going_back_migrates_nothing() {
    // After a failure, and by a commit; with a success of the version before on record, and without.
    for by_commit in [false, true] {
        for known in [true, false] {
            let mut o = failed();
            if by_commit {
                o.declaration = Declaration::Valid(Box::new(declared(1)));
            }
            let first = key(o.live.as_ref().unwrap());
            if !known {
                o.ledger.as_mut().unwrap().ledger.entries.remove(&first);
            }
            let decision = decide(&o);
            let moves: Vec<&MigrationStep> = decision.migration_steps().collect();
            // What was Live proves that it was booked; that is put on record, and nothing is run.
            let booked =
                |step: &&MigrationStep| matches!(step, MigrationStep::Write { key, .. } if *key == first);
            assert!(moves.iter().all(booked), "{moves:?}");
            assert_eq!(moves.is_empty(), known);
        }
    }
}

#[test]
fn a_commit_that_only_scales_after_a_rollback_scales_what_runs_and_does_not_try_again() {
    let mut o = failed();
    o.objects = running(&o.live.clone().unwrap().objects);
    assert!(decide(&o).steps.is_empty());
    let mut scaled = declared(2);
    scaled
        .processes
        .values_mut()
        .for_each(|process| process.replicas = 3);
    o.declaration = Declaration::Valid(Box::new(scaled));
    assert_eq!(applied(&decide(&o)), [(1, 3)]);
}

/// An Ingress as the declared spec renders it.
fn ingress(host: &str) -> Object {
    let key = ObjectKey {
        kind: Kind::Ingress,
        name: "billing".into(),
    };
    let object = crate::render::object_annotation(&fixtures::id(), &key);
    let value = serde_json::json!({
        "kind": "Ingress", "spec": { "host": host },
        "metadata": {
            "name": "billing",
            "labels": { "slipway.dev/release": "billing" },
            "annotations": { "slipway.dev/object": object },
        },
    });
    Object {
        key,
        value: value.into(),
    }
}

/// The hosts that a decision applies, and those that it keeps beside a revision.
fn hosts(decision: &Decision) -> (Vec<String>, Vec<(u64, String)>) {
    let host = |object: &Object| object.value["spec"]["host"].as_str().map(str::to_owned);
    let (mut applied, mut kept) = (Vec::new(), Vec::new());
    for step in &decision.steps {
        match step {
            Step::Apply { objects, .. } => {
                applied.extend(objects.iter().filter_map(|(object, _)| host(object)));
            }
            Step::Expose { revision, objects } => {
                kept.extend(objects.iter().filter_map(host).map(|host| (revision.0, host)));
            }
            _ => {}
        }
    }
    (applied, kept)
}

#[test]
fn what_exposes_a_live_revision_follows_git_and_is_kept_for_later() {
    let mut o = live(declared(1));
    assert!(decide(&o).steps.is_empty());
    o.exposure = vec![ingress("a.example")];
    let (applied, kept) = hosts(&decide(&o));
    assert_eq!(
        (applied, kept),
        (vec!["a.example".into()], vec![(1, "a.example".into())])
    );
}

#[test]
fn while_the_next_version_is_waited_for_what_exposes_the_live_one_is_what_was_kept() {
    let mut o = live(tagged(2));
    let mut revision = o.live.clone().unwrap();
    revision.objects.push(ingress("kept.example"));
    o.objects = running(&revision.objects);
    (o.live, o.current) = (Some(revision.clone()), Some(revision));
    o.image = ImageSeen::Missing;
    assert!(waits(&o, "WaitingForImage").steps.is_empty());
    o.objects.retain(|key, _| key.kind != Kind::Ingress);
    assert_eq!(hosts(&decide(&o)).0, ["kept.example"]);
}

#[test]
fn after_a_rollback_a_commit_that_only_exposes_is_applied_to_what_runs() {
    let mut o = failed();
    let (live, current) = (o.live.as_mut().unwrap(), o.current.as_mut().unwrap());
    live.objects.push(ingress("old.example"));
    current.objects.push(ingress("new.example"));
    o.objects = running(&live.objects.clone());
    o.exposure = vec![ingress("new.example")];
    assert!(
        decide(&o).steps.is_empty(),
        "that of the failed attempt went with it"
    );
    o.exposure = vec![ingress("other.example")];
    let (applied, kept) = hosts(&decide(&o));
    assert_eq!(applied, ["other.example"]);
    assert_eq!(kept, [(1, "other.example".into()), (2, "other.example".into())]);
}

#[test]
fn after_a_failed_migration_a_commit_that_only_scales_scales_what_serves() {
    let mut o = failed();
    o.current.as_mut().unwrap().outcome = Some(Outcome::MigrationFailed);
    let second = o.current.clone().unwrap();
    let entry = entry(&second, 1, EntryState::Failed);
    o.ledger
        .as_mut()
        .unwrap()
        .ledger
        .entries
        .insert(key(&second), entry);
    o.objects = running(&o.live.clone().unwrap().objects);
    let mut scaled = declared(2);
    scaled
        .processes
        .values_mut()
        .for_each(|process| process.replicas = 3);
    o.declaration = Declaration::Valid(Box::new(scaled));
    assert_eq!(applied(&decide(&o)), [(1, 3)]);
}

#[test]
fn a_rollout_is_judged_to_its_end_while_the_next_version_waits_for_its_image() {
    let mut o = failed();
    o.current.as_mut().unwrap().outcome = None;
    o.declaration = Declaration::Valid(Box::new(tagged(3)));
    o.image = ImageSeen::Missing;
    o.pods = vec![crate::plan::observed::PodSeen {
        name: "billing-1".into(),
        revision: Some(RevisionNumber(2)),
        deleting: false,
        restarts: 3,
        waiting: None,
        unschedulable: None,
        last_end: None,
        hint: None,
    }];
    let decision = decide(&o);
    assert!(
        matches!(
            &decision.steps[..],
            [Step::Conclude {
                outcome: Outcome::RolloutFailed,
                ..
            }]
        ),
        "{:?}",
        decision.steps
    );
    // And once that is written, what was live comes back, still waiting.
    o.current.as_mut().unwrap().outcome = Some(Outcome::RolloutFailed);
    let decision = decide(&o);
    assert_eq!(decision.report.phase, Phase::Waiting("WaitingForImage".into()));
    assert_eq!(applied(&decision), [(1, 1)]);
}

#[test]
fn a_ledger_that_is_gone_is_made_anew_from_all_that_revisions_have_on_record() {
    let mut o = failed();
    let seen = o.ledger.take().unwrap();
    o.records = seen.ledger.entries.into_iter().collect();
    let decision = decide(&o);
    assert!(
        matches!(&decision.steps[..], [Step::Migrate(MigrationStep::Rebuild { entries })] if *entries == o.records),
        "{:?}",
        decision.steps
    );
}

#[test]
fn a_higher_attempt_tries_the_failed_version_again_as_a_new_revision() {
    let mut o = failed();
    let mut again = declared(2);
    again.attempt = 1;
    rehash(&mut again);
    o.declaration = Declaration::Valid(Box::new(again));
    let decision = decide(&o);
    assert!(matches!(&decision.steps[..], [Step::CreateRevision(draft)] if draft.number.0 == 3));
}

#[test]
fn a_first_version_that_fails_has_no_earlier_version_and_stays() {
    let mut o = failed();
    o.live = None;
    let decision = decide(&o);
    assert_eq!(decision.report.phase, Phase::Failed("RollingOut"));
    assert!(
        decision.report.message.contains("no earlier version"),
        "{}",
        decision.report.message
    );
    assert!(applied(&decision).is_empty());
}

#[test]
fn going_back_in_git_applies_the_live_revision_without_a_new_one() {
    let mut o = failed();
    o.declaration = Declaration::Valid(Box::new(declared(1)));
    assert_eq!(applied(&decide(&o)), [(1, 1)]);
}

#[test]
fn an_edited_spec_starts_nothing_and_what_runs_is_kept() {
    let mut o = live(declared(2));
    o.declaration = Declaration::Edited;
    waits(&o, "Drifted");
    let deployment = o
        .objects
        .values_mut()
        .find(|live| live.value["kind"] == "Deployment")
        .unwrap();
    deployment.value["spec"]["template"]["spec"]["containers"][0]["image"] = "other".into();
    assert_eq!(applied(&decide(&o)), [(1, 1)]);
}

#[test]
fn a_tag_that_does_not_exist_yet_is_waited_for() {
    let mut o = live(tagged(2));
    assert_eq!(decide(&o).steps, [Step::AskRegistry]);
    o.image = ImageSeen::Missing;
    let decision = waits(&o, "WaitingForImage");
    assert_eq!(decision.wait, Wait::After(POLL));
}

#[test]
fn an_image_that_fits_no_node_is_waited_for() {
    let mut o = live(tagged(2));
    o.architectures = vec!["amd64".into()];
    let found = |platform: &str| ImageSeen::Found {
        digest: fixtures::digest(2),
        platforms: vec![platform.into()],
        obtained: "registry".into(),
        baked: Vec::new(),
        claims: Vec::new(),
    };
    o.image = found("linux/arm64");
    waits(&o, "PlatformMismatch");
    o.image = found("linux/amd64");
    assert!(matches!(decide(&o).steps[..], [Step::CreateRevision(_)]));
}

#[test]
fn a_version_never_gets_a_second_digest_while_its_revision_is_kept() {
    let mut o = live(tagged(2));
    o.pin = Some(fixtures::pinned(fixtures::digest(7)));
    let decision = decide(&o);
    assert!(
        matches!(&decision.steps[..], [Step::CreateRevision(draft)] if draft.digest == fixtures::digest(7))
    );
}

/// Version 2 was looked up for revision 1, and its image said that it is another version.
fn doubted() -> Observed {
    let mut o = live(tagged(2));
    let mut pin = fixtures::pinned(fixtures::digest(7));
    pin.record.suspicious = vec!["the variable A holds a URL with a password".into()];
    pin.record.warned = vec!["Dockerfile:1: a base image without a version".into()];
    pin.record.origin.words = "version differs (it says that it is version 3)".into();
    pin.record.origin.doubts.version = vec!["it says that it is version 3".into()];
    pin.record.origin.made_of.bases = vec!["debian:12".into()];
    o.pin = Some(pin);
    o
}

fn matching(o: &mut Observed, version: Option<Agree>) {
    let Declaration::Valid(declared) = &mut o.declaration else {
        panic!("{:?}", o.declaration)
    };
    declared.agree.version = version;
}

#[test]
fn what_is_known_of_an_image_is_handed_on_from_revision_to_revision() {
    let o = doubted();
    let decision = decide(&o);
    let [Step::CreateRevision(draft)] = &decision.steps[..] else {
        panic!("{:?}", decision.steps)
    };
    assert_eq!(draft.record, o.pin.unwrap().record);
}

#[test]
fn match_is_looked_at_as_it_is_now_for_a_version_that_a_revision_has() {
    let mut o = doubted();
    matching(&mut o, Some(Agree::Enforce));
    let decision = decide(&o);
    assert_eq!(decision.report.phase, Phase::Failed("ImageMismatch"));
    assert!(decision.steps.is_empty(), "{:?}", decision.steps);
    for mode in [None, Some(Agree::Warn), Some(Agree::Ignore)] {
        matching(&mut o, mode);
        assert!(
            matches!(decide(&o).steps[..], [Step::CreateRevision(_)]),
            "{mode:?}"
        );
    }
    o.pin.as_mut().unwrap().record.origin.doubts.built = true;
    matching(&mut o, None);
    assert_eq!(
        decide(&o).report.phase,
        Phase::Failed("ImageMismatch"),
        "built here"
    );
}

#[test]
fn what_is_told_of_the_image_that_runs_goes_by_match_as_it_is_now() {
    let mut o = live(declared(1));
    o.doubted.version = vec!["it says that it is version 3".into()];
    let mut told = |mode| {
        matching(&mut o, mode);
        let decision = decide(&o);
        assert_eq!(decision.report.phase, Phase::Live, "what runs is left alone");
        let mut details = decision.report.details.into_iter();
        details
            .find(|(kind, _)| *kind == "ImageMismatch")
            .map(|(_, words)| words)
    };
    assert_eq!(told(Some(Agree::Ignore)), None);
    let warned = told(None).unwrap();
    assert!(
        warned.contains("version 3; with `match` set to enforce"),
        "{warned}"
    );
    let enforced = told(Some(Agree::Enforce)).unwrap();
    assert!(
        enforced.contains("version 3; as `match` enforces that"),
        "{enforced}"
    );
}

#[test]
fn a_lower_repin_is_what_was_found_under_it_and_the_revision_says_so() {
    let mut o = live(tagged(1));
    let Declaration::Valid(declared) = &mut o.declaration else {
        panic!("{:?}", o.declaration)
    };
    declared.repin = 0;
    rehash(declared);
    let reference = declared.image.reference();
    let live = o.live.as_mut().unwrap();
    (live.repin, live.digest, live.reference) = (1, fixtures::digest(8), reference);
    live.attempt = AttemptHash("with repin 1".into());
    o.current = o.live.clone();
    o.pin = Some(fixtures::pinned(fixtures::digest(7)));
    let decision = decide(&o);
    let [Step::CreateRevision(draft)] = &decision.steps[..] else {
        panic!("{:?} {:?}", decision.report, decision.steps)
    };
    assert_eq!(draft.digest, fixtures::digest(7));
    let cause = draft.cause.as_ref().unwrap();
    assert!(
        cause.starts_with("repin 0: ") && cause.contains("again, as in v1, was sha256:"),
        "{cause}"
    );
}

#[test]
fn a_secret_that_is_missing_is_named_and_waited_for() {
    let mut o = live(declared(2));
    o.missing = vec!["Secret billing-db with key url".into()];
    o.database = DatabaseSeen::Unreadable;
    let decision = waits(&o, "SecretMissing");
    assert!(
        decision.report.message.contains("billing-db"),
        "{}",
        decision.report.message
    );
}

#[test]
fn what_an_operator_says_of_a_missing_secret_is_repeated_and_asked_again() {
    let mut o = live(declared(2));
    o.missing = vec!["Secret billing-db".into()];
    o.database = DatabaseSeen::Unreadable;
    o.operators = vec!["ExternalSecret billing-db says: SecretSyncedError".into()];
    let decision = waits(&o, "SecretMissing");
    assert_eq!(
        decision.report.message,
        "Secret billing-db does not exist; ExternalSecret billing-db says: SecretSyncedError; it goes on by itself when it does"
    );
    assert_eq!(decision.wait, Wait::After(Duration::from_secs(60)));
}

#[test]
fn a_secret_that_goes_while_pods_run_is_told_and_nothing_is_done_about_it() {
    let mut o = live(declared(1));
    o.missing = vec!["Secret billing-db".into()];
    o.database = DatabaseSeen::Unreadable;
    let decision = decide(&o);
    assert!(decision.is_settled() && decision.report.phase == Phase::Live);
    let details = &decision.report.details;
    assert!(
        matches!(&details[..], [("SecretsMissing", sentence)] if sentence.contains("Secret billing-db")),
        "{details:?}"
    );
}

#[test]
fn another_database_is_a_new_revision_that_says_so() {
    let mut o = live(declared(1));
    o.database = DatabaseSeen::Known("db2:5432/shop".into());
    let decision = decide(&o);
    assert!(matches!(
        &decision.steps[..],
        [Step::CreateRevision(draft)] if draft.cause.as_deref() == Some("database moved")
    ));
}

#[test]
fn a_namespace_that_is_missing_or_going_is_waited_for() {
    let mut o = live(declared(2));
    o.namespace = NamespaceSeen::Missing;
    waits(&o, "NamespaceMissing");
    o.namespace = NamespaceSeen::Terminating;
    waits(&o, "NamespaceTerminating");
}

#[test]
fn an_edited_release_whose_source_is_gone_says_so_and_what_runs_is_kept() {
    let mut o = live(declared(2));
    o.declaration = Declaration::SourceGone("all".into());
    waits(&o, "SourceGone");
    assert!(decide(&o).report.message.contains("ReleaseSource all"));
    o.objects.clear();
    assert_eq!(applied(&decide(&o)).len(), 1);
}

#[test]
fn what_is_being_removed_is_let_go_of() {
    let mut o = live(declared(2));
    o.declaration = Declaration::Removing;
    o.objects.clear();
    waits(&o, "Removing");
    assert!(decide(&o).steps.is_empty());
}

#[test]
fn a_version_that_is_removed_keeps_what_runs() {
    let mut o = live(declared(2));
    o.declaration = Declaration::NoVersion;
    waits(&o, "VersionRemoved");
}

#[test]
fn without_a_success_in_the_ledger_nothing_is_put_back() {
    let mut o = live(declared(2));
    o.declaration = Declaration::Edited;
    o.objects.clear();
    assert_eq!(applied(&decide(&o)).len(), 1);
    o.ledger = Some(ledger([]));
    assert!(decide(&o).steps.is_empty());
}

#[test]
fn while_a_release_is_suspended_nothing_new_goes_out_and_what_runs_is_kept() {
    let mut spec = declared(2);
    spec.suspend = Some(Suspension {
        reason: "the fair".into(),
        until: Some(jiff::Timestamp::from_second(100).unwrap()),
    });
    let mut o = live(spec);
    o.objects
        .values_mut()
        .find(|live| live.value["kind"] == "Deployment")
        .unwrap()
        .value["spec"]["template"]["spec"]["containers"][0]["image"] = "someone/else:1".into();
    let decision = decide(&o);
    assert_eq!(decision.report.phase, Phase::Suspended);
    assert!(
        decision.report.message.contains("the fair") && decision.report.message.contains("1.0.0 runs"),
        "{}",
        decision.report.message
    );
    assert!(
        decision
            .steps
            .iter()
            .all(|step| matches!(step, Step::Apply { gate, .. } if gate.revision() == RevisionNumber(1))),
        "{:?}",
        decision.steps
    );
    assert!(!decision.steps.is_empty(), "what others change is put back");
    o.now = jiff::Timestamp::from_second(100).unwrap();
    assert_ne!(decide(&o).report.phase, Phase::Suspended);
}

#[test]
fn what_fails_while_a_release_is_suspended_is_gone_back_from() {
    let mut o = failed();
    let mut spec = declared(2);
    spec.suspend = Some(Suspension {
        reason: "the fair".into(),
        until: None,
    });
    o.declaration = Declaration::Valid(Box::new(spec.clone()));
    let decision = decide(&o);
    assert_eq!(applied(&decision), [(1, 1)]);
    assert!(decision.report.message.contains("1.0.0 runs"));
    spec.on_failure = crate::api::release::OnFailure::Hold;
    o.declaration = Declaration::Valid(Box::new(spec));
    assert!(decide(&o).steps.is_empty());
}

#[test]
fn what_is_put_back_is_looked_at_again_in_the_same_pass() {
    let mut held = failed();
    held.live = None;
    let mut edited = live(declared(2));
    edited.declaration = Declaration::Edited;
    for mut o in [held, edited] {
        for live in o.objects.values_mut() {
            live.value["spec"]["template"] = serde_json::json!({});
        }
        let decision = decide(&o);
        assert!(!decision.steps.is_empty());
        assert_eq!(decision.wait, Wait::Again);
    }
}

#[test]
fn a_version_that_is_declared_again_says_how_far_the_schema_is_ahead() {
    // 2.0.0 was live as v2, and 1.0.0 is live again as v3.
    let mut o = failed();
    let mut third = o.live.clone().unwrap();
    third.number = RevisionNumber(3);
    third.objects = fixtures::objects(&declared(1), &third.digest, third.number);
    o.objects = running(&third.objects);
    (o.highest, o.current, o.live) = (Some(third.number), Some(third.clone()), Some(third));
    o.declaration = Declaration::Valid(Box::new(declared(1)));
    let ahead = |o: &Observed| {
        let details = decide(o).report.details;
        details.into_iter().find(|(name, _)| *name == "SchemaAhead")
    };
    assert!(ahead(&o).unwrap().1.contains("of v2"));
    let entries = o.ledger.as_mut().unwrap().ledger.entries.values_mut();
    for (entry, database) in entries.zip(["one", "other"]) {
        entry.database = Some(database.into());
    }
    assert_eq!(ahead(&o), None, "that was another database");
}
