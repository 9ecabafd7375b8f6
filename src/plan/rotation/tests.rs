use super::*;
use crate::{
    api::{release::EnvValue, revision::Outcome},
    plan::{
        decide,
        fixtures::{declared, live, under_way},
        observed::Declaration,
    },
    spec::declared::{EnvSource, FileSource, Holder},
};

fn prints(key_id: &str, value: &str) -> Fingerprints {
    Fingerprints {
        key_id: key_id.into(),
        values: [("Secret app-db/url".to_owned(), value.to_owned())].into(),
    }
}

/// Version 1 live since it was started with `before`; now the value is `now`, and has been for a minute.
fn rotated(before: Option<Fingerprints>, now: Fingerprints) -> Observed {
    let mut o = live(declared(1));
    o.current.as_mut().unwrap().fingerprints.clone_from(&before);
    o.live.as_mut().unwrap().fingerprints = before;
    o.fingerprints = Some(now);
    o.fingerprints_for = Duration::from_secs(60);
    o
}

fn draft(decision: &Decision) -> &Draft {
    match &decision.steps[..] {
        [Step::CreateRevision(draft)] => draft,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_changed_value_is_a_new_revision_of_the_same_migration_with_its_reference_as_the_cause() {
    let o = rotated(Some(prints("k", "a")), prints("k", "b"));
    let decision = decide(&o);
    let draft = draft(&decision);
    assert_eq!(draft.cause.as_deref(), Some("values changed: Secret app-db/url"));
    let serving = o.live.as_ref().unwrap();
    assert_eq!(
        (&draft.digest, &draft.migration),
        (&serving.digest, &serving.migration)
    );
}

#[test]
fn a_change_waits_until_it_has_been_the_same_for_a_while() {
    let mut o = rotated(Some(prints("k", "a")), prints("k", "b"));
    o.fingerprints_for = Duration::from_secs(5);
    let decision = decide(&o);
    assert!(decision.steps.is_empty());
    assert_eq!(decision.report.phase, Phase::Live);
    assert_eq!(decision.wait, Wait::After(Duration::from_secs(25)));
    assert!(decision.report.message.contains("Secret app-db/url"));
}

#[test]
fn a_reference_that_only_the_revision_knows_is_no_change_and_one_that_it_does_not_know_is_recorded() {
    let mut more = prints("k", "a");
    more.values.insert("Secret other/key".into(), "x".into());
    assert!(decide(&rotated(Some(more.clone()), prints("k", "a"))).is_settled());
    let decision = decide(&rotated(Some(prints("k", "a")), more.clone()));
    assert!(
        matches!(&decision.steps[..], [Step::Record { fingerprints, .. }] if *fingerprints == more),
        "{:?}",
        decision.steps
    );
}

#[test]
fn a_lost_hash_key_rolls_nothing_and_what_is_there_now_is_recorded() {
    for before in [None, Some(prints("lost", "a"))] {
        let decision = decide(&rotated(before, prints("k", "b")));
        assert!(
            matches!(&decision.steps[..], [Step::Record { fingerprints, .. }] if fingerprints.key_id == "k"),
            "{:?}",
            decision.steps
        );
    }
}

#[test]
fn a_release_that_ignores_changes_is_not_rolled() {
    let mut o = rotated(Some(prints("k", "a")), prints("k", "b"));
    let mut spec = declared(1);
    spec.on_secret_change = OnSecretChange::Ignore;
    o.declaration = Declaration::Valid(Box::new(spec));
    let decision = decide(&o);
    assert!(decision.is_settled());
    says_outdated(&decision, "as onSecretChange says");
}

fn says_outdated(decision: &Decision, words: &str) {
    let details = &decision.report.details;
    let found = details.iter().find(|(type_, _)| *type_ == "ValuesOutdated");
    let sentence = &found.unwrap_or_else(|| panic!("{details:?}")).1;
    for words in ["Secret app-db/url", "since 1.0.0 (v1) was made", words] {
        assert!(sentence.contains(words), "{sentence}");
    }
}

fn says_nothing_of_values(o: &Observed) {
    let details = decide(o).report.details;
    assert!(
        details.iter().all(|(type_, _)| *type_ != "ValuesOutdated"),
        "{details:?}"
    );
}

#[test]
fn whoever_serves_with_old_values_beside_a_version_that_cannot_go_live_says_so() {
    // It waits for its image.
    let mut o = rotated(Some(prints("k", "a")), prints("k", "b"));
    let mut spec = declared(2);
    spec.image.pick = crate::spec::declared::ImagePick::Tag("2.0.0".into());
    crate::plan::fixtures::rehash(&mut spec);
    o.declaration = Declaration::Valid(Box::new(spec));
    o.image = crate::plan::observed::ImageSeen::Missing;
    says_outdated(&decide(&o), "one that starts anew gets the new ones");
    // It failed before anything of it ran.
    let mut o = beside();
    o.current.as_mut().unwrap().outcome = Some(Outcome::MigrationFailed);
    let (key, mut entry) = {
        let second = o.current.as_ref().unwrap();
        (
            crate::plan::fixtures::key(second),
            crate::plan::fixtures::entry(second, 1, crate::plan::ledger::EntryState::Failed),
        )
    };
    entry.note = "exit code 1".into();
    o.ledger.as_mut().unwrap().ledger.entries.insert(key, entry);
    says_outdated(&decide(&o), "one that starts anew gets the new ones");
}

/// Version 2 failed and was rolled back. Version 1, which serves, was started with another value than there is now.
fn beside() -> Observed {
    let mut o = under_way(&declared(2));
    let second = o.current.as_mut().unwrap();
    second.outcome = Some(Outcome::RolloutFailed);
    second.message = "pod x restarted 3 times".into();
    second.fingerprints = Some(prints("k", "b"));
    o.live.as_mut().unwrap().fingerprints = Some(prints("k", "a"));
    o.fingerprints = Some(prints("k", "b"));
    o.fingerprints_for = Duration::from_secs(60);
    o
}

fn kept_up(decision: &Decision) -> &AsFound {
    match &decision.steps[..] {
        [Step::KeepUp(found)] => found,
        other => panic!("{other:?}"),
    }
}

/// The revision that what serves was given as, which ended like this.
fn given_anew(outcome: Option<Outcome>) -> Observed {
    let mut o = beside();
    let decision = decide(&o);
    let found = kept_up(&decision);
    let third = Revision {
        number: found.number,
        cause: found.cause.clone(),
        objects: found.objects.clone(),
        fingerprints: found.fingerprints.clone(),
        outcome,
        message: "pod y restarted 3 times".into(),
        was_live: outcome == Some(Outcome::Live),
        ..o.live.clone().unwrap()
    };
    o.retained = crate::plan::fixtures::retained(1..=3);
    o.highest = Some(third.number);
    if third.was_live {
        o.live = Some(third.clone());
        o.objects = crate::plan::fixtures::running(&third.objects);
    }
    let second = o.current.replace(third);
    let newest_first = [&o.current, &second, &o.live];
    o.failed = failed_before(newest_first.into_iter().flatten()).cloned();
    assert_eq!(o.failed, second, "it is still known that it failed");
    o
}

#[test]
fn what_serves_beside_a_version_that_failed_is_given_the_values_of_now() {
    let mut o = beside();
    let decision = decide(&o);
    assert_eq!(decision.report.phase, Phase::RolledBack);
    let found = kept_up(&decision);
    let live = o.live.as_ref().unwrap();
    assert_eq!(
        (found.number, found.version.as_str()),
        (RevisionNumber(3), "1.0.0")
    );
    assert_eq!(
        (&found.attempt, &found.digest, &found.migration),
        (&live.attempt, &live.digest, &live.migration)
    );
    assert_eq!(found.fingerprints, o.fingerprints);
    assert!(
        found.cause.contains("Secret app-db/url") && made(&found.cause),
        "{}",
        found.cause
    );
    let templates = found.objects.iter().filter_map(|object| {
        let annotations = object.value.pointer("/spec/template/metadata/annotations")?;
        annotations[crate::api::meta::REVISION].as_str()
    });
    assert_eq!(
        templates.collect::<Vec<_>>(),
        ["3"],
        "so that its pods start anew"
    );
    o.fingerprints_for = Duration::from_secs(5);
    let decision = decide(&o);
    assert_eq!(decision.wait, Wait::After(Duration::from_secs(25)));
    assert!(decision.steps.is_empty() && decision.report.message.contains("started anew when"));
    let mut spec = declared(2);
    spec.on_secret_change = OnSecretChange::Ignore;
    o.declaration = Declaration::Valid(Box::new(spec));
    says_outdated(&decide(&o), "as onSecretChange says");
}

#[test]
fn it_is_rolled_out_as_any_other_and_what_failed_is_not_tried_again() {
    let decision = decide(&given_anew(None));
    let gates = decision.steps.iter().filter_map(|step| match step {
        Step::Apply { gate, .. } => Some(gate.revision().0),
        _ => None,
    });
    assert_eq!(gates.collect::<Vec<_>>(), [3]);
    let message = &decision.report.message;
    assert!(
        message.contains("2.0.0 failed, and git still declares it"),
        "{message}"
    );
    let decision = decide(&given_anew(Some(Outcome::Live)));
    assert_eq!(
        decision.report.phase,
        Phase::RolledBack,
        "{}",
        decision.report.message
    );
    assert!(decision.is_settled(), "{:?}", decision.steps);
    assert_eq!(decision.report.live, Some(RevisionNumber(3)));
}

#[test]
fn what_does_not_start_with_the_values_of_now_serves_on_with_the_old_ones_until_they_are_others() {
    let mut o = given_anew(Some(Outcome::RolloutFailed));
    let decision = decide(&o);
    assert!(decision.is_settled(), "{:?}", decision.steps);
    assert_eq!(decision.report.phase, Phase::RolledBack);
    let message = &decision.report.message;
    for words in [
        "serve on with the values",
        "put the values right",
        "2.0.0 failed, and git still declares it",
    ] {
        assert!(message.contains(words), "{message}");
    }
    o.fingerprints = Some(prints("k", "c"));
    assert_eq!(kept_up(&decide(&o)).number, RevisionNumber(4));
    // They are again those that it runs with. What failed with others is tried anew.
    o.fingerprints = Some(prints("k", "a"));
    assert_eq!(draft(&decide(&o)).number, RevisionNumber(4));
    o.failed.as_mut().unwrap().fingerprints = Some(prints("k", "a"));
    let decision = decide(&o);
    assert!(decision.is_settled(), "{:?}", decision.steps);
    let message = &decision.report.message;
    assert!(
        message.starts_with("2.0.0 failed") && !message.contains("put the values right"),
        "{message}"
    );
}

#[test]
fn a_version_that_failed_is_tried_with_values_that_were_put_right_for_it_though_the_old_one_does_not_start() {
    let mut o = given_anew(Some(Outcome::RolloutFailed));
    o.failed.as_mut().unwrap().fingerprints = Some(prints("k", "wrong"));
    let decision = decide(&o);
    assert_eq!(draft(&decision).digest, o.failed.as_ref().unwrap().digest);
}

#[test]
fn where_the_next_version_came_to_nothing_what_serves_is_given_the_values_all_the_same() {
    let o = given_anew(Some(Outcome::Superseded));
    assert_eq!(kept_up(&decide(&o)).number, RevisionNumber(4));
}

#[test]
fn what_exposes_the_version_that_failed_is_not_that_of_what_serves() {
    let service = |port: u16| {
        let key = crate::render::ObjectKey {
            kind: crate::render::Kind::Service,
            name: "billing".into(),
        };
        let object = crate::render::object_annotation(&crate::plan::fixtures::id(), &key);
        let value = serde_json::json!({
            "kind": "Service", "spec": { "port": port },
            "metadata": { "name": "billing", "labels": { "slipway.dev/release": "billing" },
                          "annotations": { "slipway.dev/object": object } },
        });
        crate::render::Object {
            key,
            value: value.into(),
        }
    };
    for outcome in [None, Some(Outcome::Live), Some(Outcome::RolloutFailed)] {
        let mut o = given_anew(outcome);
        for (revision, port) in [(&mut o.live, 80), (&mut o.current, 80), (&mut o.failed, 90)] {
            revision.as_mut().unwrap().objects.push(service(port));
        }
        let of_live = crate::plan::fixtures::running(&o.live.as_ref().unwrap().objects);
        o.objects
            .extend(of_live.into_iter().filter(|(key, _)| key.kind.exposes()));
        o.exposure = vec![service(90)];
        let exposed = |o: &Observed| {
            let mut steps = decide(o).steps.into_iter();
            steps.any(|step| match step {
                Step::Expose { .. } => true,
                Step::Apply { objects, .. } => objects.iter().any(|(object, _)| object.exposes()),
                Step::Delete { key, .. } => key.kind.exposes(),
                _ => false,
            })
        };
        assert!(!exposed(&o), "{outcome:?}: {:?}", decide(&o).steps);
        // A commit that only exposes is followed.
        o.exposure = vec![service(91)];
        assert!(exposed(&o), "{outcome:?}: {:?}", decide(&o).steps);
    }
}

#[test]
fn the_next_version_goes_its_way_whatever_what_serves_was_given() {
    for outcome in [None, Some(Outcome::Live), Some(Outcome::RolloutFailed)] {
        let mut o = given_anew(outcome);
        o.declaration = Declaration::Valid(Box::new(declared(3)));
        let decision = decide(&o);
        let made = decision
            .steps
            .iter()
            .any(|step| matches!(step, Step::CreateRevision(draft) if draft.number.0 == 4));
        assert!(made, "{outcome:?}: {:?}", decision.report);
    }
}

#[test]
fn values_that_are_followed_or_the_same_are_not_called_outdated() {
    says_nothing_of_values(&rotated(Some(prints("k", "a")), prints("k", "b")));
    says_nothing_of_values(&rotated(Some(prints("k", "a")), prints("k", "a")));
    says_nothing_of_values(&rotated(Some(prints("lost", "a")), prints("k", "b")));
    says_nothing_of_values(&failed_rotation(prints("k", "bad")));
}

/// The second revision was made by a rotation and failed.
fn failed_rotation(now: Fingerprints) -> Observed {
    let mut o = under_way(&declared(1));
    let second = o.current.as_mut().unwrap();
    second.attempt = o.live.as_ref().unwrap().attempt.clone();
    second.digest = o.live.as_ref().unwrap().digest.clone();
    second.migration.clone_from(&o.live.as_ref().unwrap().migration);
    second.outcome = Some(Outcome::RolloutFailed);
    second.cause = "values changed: Secret app-db/url".into();
    second.message = "pod x restarted 3 times".into();
    second.fingerprints = Some(prints("k", "bad"));
    o.live.as_mut().unwrap().fingerprints = Some(prints("k", "good"));
    o.fingerprints = Some(now);
    o.fingerprints_for = Duration::from_secs(60);
    o
}

#[test]
fn a_rotation_that_breaks_the_application_is_held_and_the_old_pods_serve() {
    let decision = decide(&failed_rotation(prints("k", "bad")));
    assert_eq!(decision.report.phase, Phase::RolledBack);
    for words in [
        "values changed",
        "serve on with the values",
        "put the values right",
    ] {
        assert!(
            decision.report.message.contains(words),
            "{}",
            decision.report.message
        );
    }
    assert!(
        !decision
            .steps
            .iter()
            .any(|step| matches!(step, Step::CreateRevision(_)))
    );
}

#[test]
fn after_a_failed_rotation_the_old_value_is_live_again_and_a_third_one_is_tried() {
    let back = decide(&failed_rotation(prints("k", "good")));
    assert_eq!(back.report.phase, Phase::Live, "{}", back.report.message);
    let third = decide(&failed_rotation(prints("k", "third")));
    assert!(
        draft(&third)
            .cause
            .as_ref()
            .unwrap()
            .starts_with("values changed")
    );
}

/// Version 1 live with these references, of which now `now` is there.
fn seen(before: &[(&str, &str)], now: &[(&str, &str)]) -> Observed {
    let prints = |values: &[(&str, &str)]| Fingerprints {
        key_id: "k".into(),
        values: values
            .iter()
            .map(|(reference, value)| ((*reference).to_owned(), (*value).to_owned()))
            .collect(),
    };
    rotated(Some(prints(before)), prints(now))
}

#[test]
fn a_secret_that_was_deleted_and_made_again_with_the_same_values_is_no_rotation() {
    let values = [
        ("Secret app-db/url", "a"),
        ("Secret app/*", "n"),
        ("Secret app/TOKEN", "t"),
    ];
    let mut gone = seen(&values, &values[1..2]);
    gone.missing = vec!["Secret app-db with key url".into()];
    // What is not there has not changed, however long it is away.
    for away in [0, 60, 6000] {
        gone.fingerprints_for = Duration::from_secs(away);
        let steps = decide(&gone).steps;
        assert!(steps.is_empty(), "{steps:?}");
    }
    let mut back = seen(&values, &values);
    back.fingerprints_for = Duration::ZERO;
    assert!(decide(&back).is_settled());
}

#[test]
fn one_that_comes_back_with_another_value_is_one_once_it_is_whole_again() {
    let before = [
        ("Secret app/*", "n"),
        ("Secret app/A", "a"),
        ("Secret app/B", "b"),
    ];
    // Its operator has written one of two keys, and another variable is waited for.
    let mut half = seen(&before, &[("Secret app/*", "m"), ("Secret app/A", "new")]);
    half.missing = vec!["a key for B in Secret app".into()];
    assert!(decide(&half).steps.is_empty());
    let whole = seen(
        &before,
        &[
            ("Secret app/*", "n"),
            ("Secret app/A", "new"),
            ("Secret app/B", "b"),
        ],
    );
    assert_eq!(
        draft(&decide(&whole)).cause.as_deref(),
        Some("values changed: Secret app/A")
    );
}

#[test]
fn a_cause_names_variables_files_and_generated_values() {
    let mut o = seen(
        &[
            ("Secret app-tls/key", "a"),
            ("Secret app/*", "a"),
            ("Secret app/TOKEN", "a"),
            ("Secret billing-generated/COOKIE", "a"),
        ],
        &[
            ("Secret app-tls/key", "b"),
            ("Secret app/*", "b"),
            ("Secret app/TOKEN", "b"),
            ("Secret billing-generated/COOKIE", "b"),
        ],
    );
    let mut spec = declared(1);
    let file = FileSource {
        holder: Holder::Secret,
        key: "app-tls/key".parse().unwrap(),
    };
    spec.files = [("/run/tls.key".to_owned(), file)].into();
    spec.env_from = vec![EnvSource {
        holder: Holder::Secret,
        name: "app".parse().unwrap(),
        prefix: "APP_".into(),
    }];
    let process = spec.processes.values_mut().next().unwrap();
    let made = EnvValue::Generate("hex/32".parse().unwrap());
    process.env.insert("COOKIE".parse().unwrap(), made);
    o.declaration = Declaration::Valid(Box::new(spec));
    let decision = decide(&o);
    assert_eq!(
        draft(&decision).cause.as_deref(),
        Some(
            "values changed: /run/tls.key (Secret app-tls/key), Secret app/*, APP_TOKEN (Secret app/TOKEN), \
             COOKIE (Secret billing-generated/COOKIE)"
        )
    );
}

/// Live with a generated value that was made when `rotate` was 1.
fn generated(rotate: u64) -> Observed {
    let values = [("Secret billing-generated/COOKIE", "a")];
    let mut o = seen(&values, &values);
    o.rotated = Some(1);
    let mut spec = declared(1);
    spec.rotate = rotate;
    let process = spec.processes.values_mut().next().unwrap();
    let made = EnvValue::Generate("hex/32".parse().unwrap());
    process.env.insert("COOKIE".parse().unwrap(), made);
    o.declaration = Declaration::Valid(Box::new(spec));
    o
}

#[test]
fn generated_values_are_made_anew_where_rotate_is_raised_and_never_else() {
    let steps = decide(&generated(2)).steps;
    assert_eq!(steps, [Step::Generate]);
    for rotate in [0, 1] {
        assert!(decide(&generated(rotate)).is_settled(), "{rotate}");
    }
    let mut first = generated(2);
    first.rotated = None;
    assert!(
        decide(&first).is_settled(),
        "the first values are made in their own time"
    );
    let mut waits = generated(2);
    waits.missing = vec!["Secret gone with key a".into()];
    assert!(decide(&waits).steps.is_empty());
}

#[test]
fn no_generated_value_is_replaced_under_pods_that_start_with_it() {
    let mut o = generated(2);
    let current = o.current.as_mut().unwrap();
    (current.outcome, current.was_live) = (None, false);
    o.live = None;
    assert!(!decide(&o).steps.contains(&Step::Generate));
}
