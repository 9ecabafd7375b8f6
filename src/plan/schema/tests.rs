use super::*;
use crate::{
    api::revision::Outcome,
    plan::{
        decide,
        fixtures::{
            declared, digest, entry, job, key, ledger, live, objects, pinned, rehash, retained, revision,
            running, under_way,
        },
        ledger::EntryState,
        observed::{DatabaseSeen, Declaration, ImageSeen},
    },
    render::Kind,
    spec::declared::ImagePick,
};

/// Version 2 has migrated so that no earlier code can run, was rolled out, and has failed.
fn held() -> Observed {
    let mut o = under_way(&declared(2));
    let second = o.current.as_mut().unwrap();
    second.outcome = Some(Outcome::RolloutFailed);
    second.message = "pod billing-0 restarted 3 times".into();
    let second = second.clone();
    o.objects = running(&second.objects);
    book(&mut o, &second, "2.0.0");
    o
}

/// The migration of a revision is done, and only `needs` and later versions can run since.
fn book(o: &mut Observed, revision: &Revision, needs: &str) {
    let entry = Entry {
        needs: Some(needs.into()),
        ..entry(revision, 1, EntryState::Succeeded)
    };
    let seen = o.ledger.as_mut().unwrap();
    seen.ledger.entries.insert(key(revision), entry);
}

fn declares(o: &mut Observed, spec: Declared) {
    o.declaration = Declaration::Valid(Box::new(spec));
}

fn says(o: &Observed, words: &[&str]) -> Decision {
    let decision = decide(o);
    for word in words {
        let message = &decision.report.message;
        assert!(message.contains(word), "{word}: {message}");
    }
    decision
}

/// Refused, with these words; nothing is written.
fn is_refused(o: &Observed, words: &[&str]) {
    let decision = says(o, words);
    assert_eq!(decision.report.phase, Phase::Rejected);
    assert!(decision.steps.is_empty(), "{:?}", decision.steps);
    assert!(decision.is_settled());
}

/// The revisions whose Deployments a decision writes.
fn deployed(decision: &Decision) -> Vec<u64> {
    let gates = decision.steps.iter().filter_map(|step| match step {
        Step::Apply { gate, objects } => Some((gate.revision().0, objects)),
        _ => None,
    });
    gates
        .filter(|(_, objects)| {
            objects
                .iter()
                .any(|(object, _)| object.key.kind == Kind::Deployment)
        })
        .map(|(number, _)| number)
        .collect()
}

fn compatible(version: u32, compatible: Option<bool>) -> Declared {
    let mut spec = declared(version);
    spec.migrate.as_mut().unwrap().compatible = compatible;
    spec
}

#[test]
fn a_failed_rollout_is_held_where_earlier_code_cannot_run_on_the_schema() {
    let o = held();
    let words = [
        "2.0.0 failed (pod billing-0 restarted 3 times) and is held",
        "migrate.compatible: false",
        "1.0.0 cannot run",
        "git still declares 2.0.0",
    ];
    let decision = says(&o, &words);
    assert_eq!(decision.report.phase, Phase::Failed("RollingOut"));
    assert!(decision.steps.is_empty(), "{:?}", decision.steps);

    // What others change of it is put back, to what is held.
    let mut changed = held();
    for live in changed.objects.values_mut() {
        live.value["spec"]["template"] = serde_json::json!({});
    }
    assert_eq!(deployed(&decide(&changed)), [2]);
}

#[test]
fn a_commit_that_goes_back_over_it_is_refused_before_any_write_and_names_a_safe_target() {
    let mut o = held();
    declares(&mut o, declared(1));
    is_refused(
        &o,
        &[
            "1.0.0 is refused",
            "nothing is changed",
            "the oldest that can is 2.0.0",
        ],
    );

    // While it is being rolled out it goes on, whatever is declared.
    o.current.as_mut().unwrap().outcome = None;
    let decision = decide(&o);
    assert_eq!(decision.report.phase, Phase::Rejected);
    assert_eq!(deployed(&decision), Vec::<u64>::new());
    assert!(!decision.is_settled(), "it is watched to its end");
}

#[test]
fn the_image_counts_and_not_how_the_commit_names_it() {
    let mut o = held();
    let mut other = declared(1);
    other.attempt = 7;
    rehash(&mut other);
    declares(&mut o, other.clone());
    is_refused(&o, &["1.0.0 is refused"]);

    // By its tag, which the registry says the digest of, or an earlier revision.
    other.image.pick = ImagePick::Tag("stable".into());
    rehash(&mut other);
    declares(&mut o, other);
    assert!(matches!(decide(&o).steps[..], [Step::AskRegistry]));
    o.image = ImageSeen::Found {
        digest: digest(1),
        platforms: Vec::new(),
        obtained: "registry".into(),
        baked: Vec::new(),
        claims: Vec::new(),
    };
    is_refused(&o, &["is refused"]);
    o.image = ImageSeen::NotAsked;
    o.pin = Some(pinned(digest(1)));
    is_refused(&o, &["is refused"]);
}

#[test]
fn an_image_that_only_an_old_revision_or_the_ledger_still_knows_is_refused_too() {
    let known = |digests: bool| {
        let mut o = held();
        // Version 3 is live by now, as v3, and made for the schema.
        let mut third = revision(&o, &declared(3), 3);
        third.outcome = Some(Outcome::Live);
        third.was_live = true;
        let booked = entry(&third, 1, EntryState::Succeeded);
        o.objects = running(&third.objects);
        (o.highest, o.live, o.current) = (Some(third.number), Some(third.clone()), Some(third.clone()));
        let first = revision(&o, &declared(1), 1);
        let seen = o.ledger.as_mut().unwrap();
        seen.ledger.entries.insert(key(&third), booked);
        if digests {
            seen.ledger.entries.remove(&key(&first));
            o.digests = [(RevisionNumber(1), digest(1))].into();
        }
        declares(&mut o, declared(1));
        o
    };
    for digests in [true, false] {
        is_refused(&known(digests), &["3.0.0, which was live on it, can"]);
    }
}

#[test]
fn what_was_never_seen_here_goes_out() {
    let mut o = held();
    declares(&mut o, declared(3));
    assert!(matches!(&decide(&o).steps[..], [Step::CreateRevision(draft)] if draft.number.0 == 3));
}

#[test]
fn the_first_revision_of_an_image_is_kept_as_long_as_a_migration_keeps_it_away() {
    // Versions 1 and 2 were there, without a migration, before the one that no earlier code can live with.
    let mut o = under_way(&declared(1));
    let mut latest = revision(&o, &declared(9), 9);
    (latest.outcome, latest.was_live) = (Some(Outcome::Live), true);
    o.ledger = Some(ledger([(key(&latest), entry(&latest, 1, EntryState::Succeeded))]));
    let forgets = |o: &Observed| -> Vec<u64> {
        let steps = decide(o).steps;
        steps
            .iter()
            .filter_map(|step| match step {
                Step::Forget { number, .. } => Some(number.0),
                _ => None,
            })
            .collect()
    };
    o.retained = retained(1..=9);
    o.digests = [(1, 1), (2, 2), (3, 1), (9, 9)]
        .map(|(number, image)| (RevisionNumber(number), digest(image)))
        .into();
    o.objects = running(&latest.objects);
    (o.highest, o.live, o.current) = (Some(latest.number), Some(latest.clone()), Some(latest.clone()));
    let mut spec = declared(9);
    spec.retain_revisions = 2;
    declares(&mut o, spec);
    assert_eq!(forgets(&o), [1, 2, 3, 4, 5, 6, 7]);
    book(&mut o, &latest, "9.0.0");
    assert_eq!(forgets(&o), [3, 4, 5, 6, 7]);
}

#[test]
fn where_no_database_was_named_it_may_be_the_same() {
    for (then, now) in [
        ("", DatabaseSeen::Known("db:5432/shop".into())),
        ("db:5432/shop", DatabaseSeen::Unnamed),
    ] {
        let mut o = held();
        for entry in o.ledger.as_mut().unwrap().ledger.entries.values_mut() {
            entry.database = Some(then.into());
        }
        o.database = now;
        declares(&mut o, declared(1));
        is_refused(&o, &["1.0.0 is refused"]);
    }
}

#[test]
fn another_database_was_not_migrated_so() {
    let mut o = held();
    for entry in o.ledger.as_mut().unwrap().ledger.entries.values_mut() {
        entry.database = Some("elsewhere:5432/shop".into());
    }
    assert_eq!(deployed(&decide(&o)), [1], "it is gone back from");
}

#[test]
fn a_migration_that_did_not_succeed_keeps_nothing_away() {
    for state in [EntryState::Failed, EntryState::Unknown] {
        let mut o = held();
        let second = o.current.as_mut().unwrap();
        second.outcome = Some(Outcome::MigrationFailed);
        let key = key(second);
        o.ledger
            .as_mut()
            .unwrap()
            .ledger
            .entries
            .get_mut(&key)
            .unwrap()
            .state = state;
        o.objects = running(&o.live.clone().unwrap().objects);
        declares(&mut o, declared(1));
        let decision = decide(&o);
        assert_eq!(decision.report.phase, Phase::Live, "{}", decision.report.message);
    }
}

#[test]
fn nothing_brings_earlier_code_back_while_something_else_is_waited_for() {
    let mut edited = held();
    edited.declaration = Declaration::Edited;
    let mut next = held();
    let mut third = declared(3);
    third.image.pick = ImagePick::Tag("3.0.0".into());
    rehash(&mut third);
    declares(&mut next, third);
    next.image = ImageSeen::Missing;
    // Version 3 took over, and its migration failed.
    let mut failed = held();
    let mut third = revision(&failed, &declared(3), 3);
    third.outcome = Some(Outcome::MigrationFailed);
    let booked = entry(&third, 1, EntryState::Failed);
    let seen = failed.ledger.as_mut().unwrap();
    seen.ledger.entries.insert(key(&third), booked);
    (failed.highest, failed.current) = (Some(third.number), Some(third));
    declares(&mut failed, declared(3));
    for o in [edited, next, failed] {
        let decision = decide(&o);
        assert_eq!(
            deployed(&decision),
            Vec::<u64>::new(),
            "{}",
            decision.report.message
        );
    }
}

#[test]
fn what_runs_is_kept_as_it_is_though_its_code_is_from_before() {
    // The migration is done, nothing of it was rolled out yet, and git declares what runs again.
    let mut o = held();
    o.current.as_mut().unwrap().outcome = None;
    o.objects = running(&o.live.clone().unwrap().objects);
    declares(&mut o, declared(1));
    for live in o.objects.values_mut() {
        live.value["spec"]["template"]["spec"] = serde_json::json!({});
    }
    let decision = says(&o, &["1.0.0 is refused"]);
    assert_eq!(decision.report.phase, Phase::Rejected);
    assert_eq!(deployed(&decision), [1]);
}

#[test]
fn a_revision_that_was_made_before_such_a_migration_ended_goes_no_further() {
    // Version 1 was declared again as v3 by one who did not know of it yet; or its record is the only one that is left.
    let mut o = held();
    let mut again = revision(&o, &declared(1), 3);
    again.outcome = None;
    (o.highest, o.current) = (Some(again.number), Some(again));
    declares(&mut o, declared(1));
    let mut alone = held();
    alone.current.clone_from(&alone.live);
    declares(&mut alone, declared(1));
    for o in [o, alone] {
        let decision = says(&o, &["1.0.0 is refused", "the oldest that can is 2.0.0"]);
        assert_eq!(decision.report.phase, Phase::Rejected);
        assert_eq!(deployed(&decision), Vec::<u64>::new());
    }
}

#[test]
fn a_claim_says_which_version_its_schema_needs_only_where_the_spec_says_that_it_is_not_compatible() {
    for (word, needs) in [(Some(false), Some("2.0.0")), (Some(true), None), (None, None)] {
        let spec = compatible(2, word);
        let mut o = under_way(&spec);
        o.jobs.push(job(&o.current.clone().unwrap(), 1));
        let decision = decide(&o);
        let [MigrationStep::Write { entry, .. }] = &decision.migration_steps().collect::<Vec<_>>()[..] else {
            panic!("{:?}", decision.steps)
        };
        assert_eq!(entry.needs.as_deref(), needs, "{word:?}");
    }
}

#[test]
fn the_word_belongs_to_the_migration_and_changes_only_where_the_spec_of_its_version_says_another() {
    // Taken out of the spec: nothing changes.
    assert_eq!(decide(&held()).steps, []);
    let mut o = held();
    let key = key(o.current.as_ref().unwrap());
    declares(&mut o, compatible(2, Some(false)));
    assert_eq!(decide(&o).steps, [], "it is on record");
    declares(&mut o, compatible(2, Some(true)));
    let decision = decide(&o);
    let [MigrationStep::Write { entry, .. }] = &decision.migration_steps().collect::<Vec<_>>()[..] else {
        panic!("{:?}", decision.steps)
    };
    assert_eq!((entry.state, &entry.needs), (EntryState::Succeeded, &None));
    let seen = o.ledger.as_mut().unwrap();
    seen.ledger.entries.insert(key.clone(), (**entry).clone());
    assert_eq!(deployed(&decide(&o)), [1], "now it is gone back from");

    // And the other way, as long as what failed runs.
    declares(&mut o, compatible(2, Some(false)));
    let decision = decide(&o);
    let [MigrationStep::Write { entry, .. }] = &decision.migration_steps().collect::<Vec<_>>()[..] else {
        panic!("{:?}", decision.steps)
    };
    assert_eq!(entry.needs.as_deref(), Some("2.0.0"));
    // The spec of another version says nothing of this one.
    declares(&mut o, compatible(1, Some(false)));
    let steps = decide(&o).steps;
    let of_other =
        |step: &Step| matches!(step, Step::Migrate(MigrationStep::Write { key: of, .. }) if *of == key);
    assert!(!steps.iter().any(of_other), "{steps:?}");
}

#[test]
fn the_schema_is_ahead_of_what_runs_also_while_the_next_version_is_waited_for() {
    let mut o = live(declared(2));
    let second = revision(&o, &declared(2), 2);
    let booked = entry(&second, 1, EntryState::Succeeded);
    let seen = o.ledger.as_mut().unwrap();
    seen.ledger.entries.insert(key(&second), booked);
    let mut third = declared(3);
    third.image.pick = ImagePick::Tag("3.0.0".into());
    rehash(&mut third);
    declares(&mut o, third);
    o.image = ImageSeen::Missing;
    let ahead = |o: &Observed| {
        let details = decide(o).report.details;
        details.into_iter().find(|(name, _)| *name == "SchemaAhead")
    };
    assert!(ahead(&o).unwrap().1.contains("of v2"));
    // Once it runs, nothing is ahead of it.
    let after = objects(&declared(2), &digest(2), second.number);
    o.objects = running(&after);
    assert_eq!(ahead(&o), None);
}
