use super::*;
use crate::{
    api::revision::Outcome,
    plan::{
        Phase, decide,
        fixtures::{declared, live, under_way},
        observed::Declaration,
    },
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
    assert!(decide(&o).is_settled());
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
