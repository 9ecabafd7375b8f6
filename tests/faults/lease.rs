//! Who leads: F85–F87.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use slipway::controller::RunError;

use super::{
    api::{Actor, Key, Request, clock},
    inject::{Fault, Rule, any, writes},
    row,
    story::{OWN, Story, migrating, tell},
};

fn lease() -> Key {
    Key::of("Lease", OWN, "slipway-controller")
}

pub fn holder(story: &Story) -> String {
    let lease = story.server.store().objects.get(&lease()).cloned();
    lease.map_or_else(String::new, |lease| {
        lease["spec"]["holderIdentity"].as_str().unwrap_or("").to_owned()
    })
}

/// Who has held the lease, and how often each has written that.
pub fn holders(story: &Story) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for line in story.server.log() {
        let ours = line["objectRef"]["name"] == "slipway-controller";
        if ours && line["responseStatus"]["code"].as_u64().unwrap() < 300 {
            let holder = line["responseObject"]["spec"]["holderIdentity"].as_str();
            *found.entry(holder.unwrap_or("").to_owned()).or_default() += 1;
        }
    }
    found
}

fn once_each(story: &Story) {
    let starts = story.world.starts();
    assert!(
        starts.len() == 2 && starts.values().all(|times| *times == 1),
        "{starts:?}"
    );
}

fn by(process: &'static str) -> impl Fn(&Request) -> bool + Clone + Send + Sync + 'static {
    move |request| request.by.process.as_deref() == Some(process)
}

/// Two processes; the first leads, and is cut off from its n-th write on, which arrives when the other has long taken over.
/// `None` when there is no such write.
fn cut_off_at(n: usize) -> Option<BTreeMap<String, usize>> {
    tell(async |mut story| {
        let of_a = by("a");
        let nth = {
            let of_a = of_a.clone();
            let rule = Rule::on(
                move |request| of_a(request) && writes(request),
                Fault::Late(Duration::from_secs(40)),
            );
            story.server.inject(rule.nth(n))
        };
        let cut = {
            let nth = nth.clone();
            let of_a = of_a.clone();
            // Nothing of what it asks for afterwards arrives at all.
            story.server.inject(Rule::on(
                move |request| of_a(request) && nth.hits() > 0,
                Fault::Silence,
            ))
        };
        let first = story.stand("a");
        story.wait("the first leads", |story| holder(story) == "a").await;
        let second = story.stand("b");
        story.declare(&migrating("1.0.0", 1));
        story.live("1.0.0").await;
        story.declare(&migrating("1.1.0", 2));
        story.live("1.1.0").await;
        if nth.hits() == 0 {
            return None;
        }
        story.wait("the second leads", |story| holder(story) == "b").await;
        let what = format!("the first has ended, cut off at its write {n}");
        story.wait(&what, |_| first.is_over()).await;
        let ended = first.ended().await;
        assert!(matches!(&ended, Err(RunError::Lost(_))), "{ended:?}");
        assert!(cut.hits() > 0 && !second.is_over());
        once_each(&story);
        // What arrived late, by what became of it.
        let mut late = BTreeMap::new();
        let taken = took(&story, "b");
        for line in story.server.log() {
            let of_a = line["user"]["extra"]["authentication.kubernetes.io/pod-name"][0] == "a";
            let at: jiff::Timestamp = line["stageTimestamp"].as_str().unwrap().parse().unwrap();
            if of_a && at > taken {
                let code = line["responseStatus"]["code"].as_u64().unwrap();
                let what = line["objectRef"]["resource"].as_str().unwrap();
                let sub = line["objectRef"]["subresource"].as_str().unwrap_or("");
                // The status is a summary, which the next pass makes anew; an event is words.
                let harmless = sub == "status" && what != "releaserevisions" || what == "events";
                let word = match (code < 300, harmless) {
                    (false, _) => "refused".to_owned(),
                    (true, true) => "status or event, put right".to_owned(),
                    (true, false) => format!("{} of {what}", line["verb"].as_str().unwrap()),
                };
                *late.entry(word).or_default() += 1;
            }
        }
        story.end().await;
        Some(late)
    })
}

/// When a process became the holder of the lease.
fn took(story: &Story, process: &str) -> jiff::Timestamp {
    let log = story.server.log();
    let first = log.iter().find(|line| {
        line["objectRef"]["name"] == "slipway-controller"
            && line["responseStatus"]["code"].as_u64().unwrap() < 300
            && line["responseObject"]["spec"]["holderIdentity"] == process
    });
    first.expect("it took the lease")["stageTimestamp"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn a_leader_that_is_cut_off_at_any_write_ends_before_the_next_one_acts_and_its_late_write_does_no_harm() {
    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    let mut points = 0;
    while let Some(late) = cut_off_at(points + 1) {
        points += 1;
        for (word, count) in late {
            *all.entry(word).or_default() += count;
        }
    }
    assert!(points >= 30, "{points}");
    row(
        "F85",
        &format!(
            "cut off at each of {points} writes: it ends, the other finishes, each migration once; late writes: {all:?}"
        ),
    );
}

#[test]
fn a_leader_stops_before_its_lease_can_be_anothers() {
    tell(async |story| {
        let first = story.stand("a");
        story.wait("the first leads", |story| holder(story) == "a").await;
        let second = story.stand("b");
        let since = clock::now();
        story.server.inject(Rule::on(by("a"), Fault::Silence));
        let ended = first.ended().await;
        let stopped = clock::now();
        assert!(matches!(&ended, Err(RunError::Lost(_))), "{ended:?}");
        story.wait("the second leads", |story| holder(story) == "b").await;
        let taken = took(&story, "b");
        assert!(stopped < taken, "{stopped} is not before {taken}");
        assert!(!second.is_over());
        let seconds = |at: jiff::Timestamp| at.duration_since(since).as_secs();
        row(
            "F85",
            &format!(
                "cut off: stopped after {} s, another leads after {} s",
                seconds(stopped),
                seconds(taken)
            ),
        );
    });
}

#[test]
fn two_that_both_believe_they_lead_do_everything_once() {
    const SEEDS: u64 = 12;
    let mut conflicts = 0;
    for seed in 0..SEEDS {
        tell(async |mut story| {
            let random = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
            let slow = story
                .server
                .inject(Rule::on(any, Fault::Jitter(random, Duration::from_millis(700))));
            let (a, b) = (story.start("a"), story.start("b"));
            story.declare(&migrating("1.0.0", 1));
            story.live("1.0.0").await;
            story.declare(&migrating("1.1.0", 2));
            story.live("1.1.0").await;
            slow.lift();
            assert!(!a.is_over() && !b.is_over(), "seed {seed}");
            once_each(&story);
            let created = story.creations();
            assert!(
                created.values().all(|times| *times == 1),
                "seed {seed}: {created:?}"
            );
            conflicts += story.server.count(|asked| asked.code == 409);
            story.end().await;
        });
    }
    assert!(conflicts >= 20, "they hardly met: {conflicts}");
    row(
        "F86",
        &format!(
            "two leaders, {SEEDS} interleavings: each migration once, {conflicts} conflicts, no Deployment applied as absent"
        ),
    );
}

#[test]
fn a_lease_that_is_deleted_or_edited_is_led_again_and_nothing_runs_twice() {
    let edits: [(&str, fn(&Story)); 3] = [
        ("deleted", |story| {
            story.server.delete(&Actor::person(), &lease(), json!({}));
        }),
        ("given to a stranger", |story| {
            let answer = story.server.edit(&Actor::person(), &lease(), "", |lease| {
                lease["spec"]["holderIdentity"] = json!("stranger")
            });
            assert!(answer.is_ok());
        }),
        ("given to nobody", |story| {
            let answer = story.server.edit(&Actor::person(), &lease(), "", |lease| {
                lease["spec"]["holderIdentity"] = Value::Null
            });
            assert!(answer.is_ok());
        }),
    ];
    let mut ends = 0;
    for (word, edit) in edits {
        tell(async |mut story| {
            let mut processes = [story.stand("p0"), story.stand("p1")];
            story.wait("one leads", |story| !holder(story).is_empty()).await;
            story.declare(&migrating("1.0.0", 1));
            story
                .wait("it migrates", |story| !story.world.script().runs.is_empty())
                .await;
            for (version, number) in [("1.0.0", 1), ("1.1.0", 2)] {
                story.declare(&migrating(version, number));
                for _ in 0..3 {
                    edit(&story);
                    tokio::time::sleep(Duration::from_secs(7)).await;
                    // As Kubernetes does with a process that has ended.
                    for at in 0..processes.len() {
                        if processes[at].is_over() {
                            ends += 1;
                            let name = format!("p{}", processes.len() + ends);
                            processes[at] = story.stand(&name);
                        }
                    }
                }
                story.live(version).await;
            }
            once_each(&story);
            assert!(
                processes.iter().any(|process| process.name == holder(&story)),
                "{word}"
            );
            story.end().await;
        });
    }
    assert!(ends >= 1, "no leader ever lost what it had");
    row(
        "F87",
        &format!(
            "the lease deleted, given away, emptied, 6 times each: {ends} processes ended and began anew; each migration once"
        ),
    );
}
