//! What a spec may ask for: retries, a proof, a named lock.

use super::*;

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
