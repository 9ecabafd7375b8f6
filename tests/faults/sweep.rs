//! F33 and F24: whatever befalls one write, any of them, the story ends as it does without.
//!
//! The story is a first release with a migration and a generated value, and then a second version of it.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::{
    api::{Actor, Answer, Key, Request, Server},
    inject::{Fault, Rule, writes},
    row,
    story::{Outcome, tell},
};

/// What became of a story.
struct Told {
    outcome: Outcome,
    writes: usize,
    hits: usize,
    judged: String,
}

/// Tells the story with what befalls its n-th write.
fn told(fault: Option<(usize, Fault)>) -> Told {
    tell(async |mut story| {
        let injected = fault.map(|(n, fault)| story.server.inject(Rule::on(writes, fault).nth(n)));
        let process = story.start("a");
        story.two_versions().await;
        let verdict = story.end().await;
        assert!(!process.is_over(), "{} has ended", process.name);
        Told {
            outcome: Outcome::of(&story),
            writes: story.server.count(|asked| writes(&asked.request)),
            hits: injected.map_or(0, |injected| injected.hits()),
            judged: verdict.coverage.to_string(),
        }
    })
}

/// The story without any fault, told once for all that are compared with it.
fn without() -> &'static Told {
    static ONE: OnceLock<Told> = OnceLock::new();
    ONE.get_or_init(|| {
        let without = told(None);
        let found = without.outcome.differences(&without.outcome);
        assert!(found.is_empty(), "{found:?}");
        without
    })
}

/// A story of the same two versions ended as it does without any fault, whatever was seen on the way.
pub fn ends_the_same(outcome: Outcome, when: &str) {
    let found = outcome.unseen().differences(&without().outcome.clone().unseen());
    assert!(found.is_empty(), "{when}:\n{}", found.join("\n"));
}

/// The story with this fault at each of its writes.
fn sweep(name: &str, fault: impl Fn() -> Fault) {
    let without = without();
    let mut points = 0;
    loop {
        let with = told(Some((points + 1, fault())));
        if with.hits == 0 {
            break;
        }
        points += 1;
        let found = with.outcome.differences(&without.outcome);
        assert!(
            found.is_empty(),
            "{name} at write {points}:\n{}",
            found.join("\n")
        );
    }
    // Fewer writes, and this would show little.
    assert!(
        points >= 30 && points >= without.writes,
        "{points} of {} writes",
        without.writes
    );
    row(
        "F33",
        &format!(
            "{name}: at each of {points} writes the same end; judged without it: {}",
            without.judged
        ),
    );
}

fn conflict() -> Answer {
    Answer::modified(&Key::of("Deployment", "shop", "app"))
}

#[test]
fn a_500_at_any_write_changes_nothing_in_the_end() {
    sweep("500, not done", || Fault::Answer(Answer::broken(500)));
}

#[test]
fn a_503_at_any_write_changes_nothing_in_the_end() {
    sweep("503, not done", || Fault::Answer(Answer::broken(503)));
}

#[test]
fn a_504_to_any_write_that_was_done_changes_nothing_in_the_end() {
    sweep("504, and done", || Fault::DoneBut(Answer::broken(504)));
}

#[test]
fn a_409_at_any_write_changes_nothing_in_the_end() {
    sweep("409", || Fault::Answer(conflict()));
}

#[test]
fn a_cut_before_any_write_changes_nothing_in_the_end() {
    sweep("cut, not done", || Fault::Cut);
}

#[test]
fn a_lost_reply_to_any_write_changes_nothing_in_the_end() {
    sweep("cut, and done", || Fault::LostReply);
}

#[test]
fn a_silence_at_any_write_changes_nothing_in_the_end() {
    sweep("no answer, not done", || Fault::Silence);
}

#[test]
fn a_silence_after_any_write_changes_nothing_in_the_end() {
    sweep("no answer, and done", || Fault::DoneInSilence);
}

/// Somebody else writes to the object first, where there is one: what insists on what it saw is refused.
fn quicker(server: &Server, request: &Request) {
    let by = Actor::kubernetes("somebody");
    server.edit(&by, &request.key(), "", |object| {
        object["metadata"]["annotations"]["example.com/touched"] = json!("yes")
    });
}

#[test]
fn somebody_who_is_quicker_at_any_write_changes_nothing_in_the_end() {
    let mut without = without().outcome.clone();
    without.state.values_mut().for_each(forget);
    let mut points = 0;
    loop {
        let mut with = told(Some((points + 1, Fault::First(std::sync::Arc::new(quicker)))));
        if with.hits == 0 {
            break;
        }
        points += 1;
        with.outcome.state.values_mut().for_each(forget);
        let found = with.outcome.differences(&without);
        assert!(
            found.is_empty(),
            "quicker at write {points}:\n{}",
            found.join("\n")
        );
    }
    assert!(points >= 30, "{points}");
    row(
        "F22",
        &format!("somebody is quicker at each of {points} writes: seen anew, decided anew, the same end"),
    );
}

/// Takes out what somebody else wrote.
fn forget(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let notes = metadata.get_mut("annotations").and_then(Value::as_object_mut);
    let none_left = notes.is_none_or(|notes| {
        notes.remove("example.com/touched");
        notes.is_empty()
    });
    if none_left {
        metadata.remove("annotations");
    }
}
