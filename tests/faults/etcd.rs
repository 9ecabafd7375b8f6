//! What befalls the store under the API server: it is full, slow, killed, or put back. F18–F21.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use slipway::controller::RunError;

use super::{
    api::{
        Key,
        audit::SLIPWAY,
        object::Object,
        store::{Change, Store},
    },
    inject::{Fault, Rule, any, writes},
    lease::{holder, holders},
    row,
    story::{Heard, OWN, Outcome, SHOP, Story, migrating, tell},
    sweep::ends_the_same,
};

const MINUTE: Duration = Duration::from_secs(60);

/// From which write on there is no room: the first version takes about 25.
const POINTS_OF_FILLING: [usize; 4] = [1, 7, 13, 19];

// === F18 ===

/// A version that has the time to be rolled out though nothing can be written for ten minutes.
fn patient(version: &str, number: u64) -> String {
    migrating(version, number).replace("deadline: 60s", "deadline: 30m")
}

/// Both versions, of which the first meets a full etcd from its n-th write on.
async fn patiently(story: &mut Story, n: usize, meets: impl AsyncFnOnce(&mut Story)) -> Outcome {
    let fills = Fault::First(Arc::new(|server, _| server.fill()));
    let full = story.server.inject(Rule::on(writes, fills).nth(n));
    story.declare(&patient("1.0.0", 1));
    story.wait("it is full", |_| full.hits() > 0).await;
    meets(story).await;
    story.server.make_room();
    story.live("1.0.0").await;
    story.declare(&patient("1.1.0", 2));
    story.live("1.1.0").await;
    story.end().await;
    Outcome::of(story)
}

fn in_peace() -> Outcome {
    tell(async |mut story| {
        let _process = story.start("a");
        patiently(&mut story, 1, async |_| {}).await
    })
    .unseen()
}

fn same(is: Outcome, was: &Outcome, when: &str) {
    let found = is.unseen().differences(was);
    assert!(found.is_empty(), "{when}:\n{}", found.join("\n"));
}

#[test]
fn an_etcd_that_is_full_for_ten_minutes_loses_nothing_and_is_told_by_the_log_and_by_numbers() {
    let (mut tries, mut failed, mut counted) = (0, 0, 0);
    let peace = in_peace();
    for n in POINTS_OF_FILLING {
        let when = &format!("from write {n} on");
        let outcome = tell(async |mut story| {
            let heard = Heard::from_now_on();
            let process = story.start("a");
            let outcome = patiently(&mut story, n, async |story| {
                story.server.fill();
                let (from, said) = (story.server.logged(), story.release("app")["status"].clone());
                tokio::time::sleep(10 * MINUTE).await;
                let says = &story.release("app")["status"];
                assert_eq!(*says, said, "{when}: no status has room either");
                let refused = story.server.log_since(from);
                let ours = refused.iter().filter(|line| line["user"]["username"] == SLIPWAY);
                tries += ours.count();
                failed += heard.lines(&["pass failed", "etcdserver: mvcc: database space exceeded"]);
                counted += process.passes("request");
            });
            let outcome = outcome.await;
            assert!(!process.is_over(), "{when}");
            outcome
        });
        same(outcome, &peace, when);
    }
    assert!(failed >= 3 && tries <= 400, "{failed} passes, {tries} writes");
    assert_eq!(failed, counted, "each is a line of the log and is counted");
    row(
        "F18",
        &format!(
            "etcd full for 10 min from each of {} writes on: {tries} writes refused, {failed} failed passes in log and metrics; then the \
             same end",
            POINTS_OF_FILLING.len()
        ),
    );
}

#[test]
fn a_leader_whose_lease_has_no_room_ends_and_another_one_goes_on_when_there_is() {
    let mut ends = 0;
    let peace = in_peace();
    for n in POINTS_OF_FILLING {
        let when = &format!("from write {n} on");
        let outcome = tell(async |mut story| {
            let mut process = story.stand("p");
            let outcome = patiently(&mut story, n, async |story| {
                story.server.fill();
                for _ in 0..20 {
                    tokio::time::sleep(MINUTE / 2).await;
                    // As Kubernetes does with a process that has ended.
                    if process.is_over() {
                        ends += 1;
                        let next = story.stand(&format!("p{ends}"));
                        let ended = std::mem::replace(&mut process, next).ended().await;
                        assert!(matches!(&ended, Err(RunError::Lost(_))), "{ended:?}");
                    }
                }
            });
            let outcome = outcome.await;
            assert!(!process.is_over(), "{when}");
            outcome
        });
        same(outcome, &peace, when);
    }
    // Who cannot renew ends; who never led waits.
    assert_eq!(ends, POINTS_OF_FILLING.len());
    row(
        "F18",
        &format!(
            "with a lease: the leader ends once at each of {ends} points, and the next one leads when there is room"
        ),
    );
}

#[test]
fn a_rollout_whose_deadline_passes_while_etcd_is_full_has_failed_and_is_tried_again_by_a_commit() {
    tell(async |mut story| {
        let process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story.live("1.0.0").await;
        story.declare(&migrating("1.1.0", 2));
        story
            .wait("it rolls out", |story| story.phase("app") == "RollingOut")
            .await;
        story.server.fill();
        tokio::time::sleep(10 * MINUTE).await;
        let deployment = story.server.get("Deployment", SHOP, "app").unwrap();
        assert!(
            deployment["status"]["availableReplicas"].as_u64() >= Some(2),
            "what there is serves: {}",
            deployment["status"]
        );
        story.server.make_room();
        story.until("app", "RolledBack", "1.1.0").await;
        let said = story.message("app");
        assert!(said.contains("not complete within 1m"), "{said}");
        story.declare(&format!("{}attempt: 1\n", migrating("1.1.0", 2)));
        story.live("1.1.0").await;
        let starts = story.world.starts();
        assert!(
            starts.len() == 2 && starts.values().all(|times| *times == 1),
            "{starts:?}"
        );
        assert!(!process.is_over());
        story.end().await;
        row(
            "F18",
            "full for longer than the deadline of a rollout: RolledBack, which it says; Live by the next attempt, 0 migrations more",
        );
    });
}

// === F19 ===

#[test]
fn an_etcd_that_takes_two_seconds_costs_no_leader_its_lease() {
    const SEEDS: u64 = 4;
    let mut renewals = 0;
    for seed in 0..SEEDS {
        let outcome = tell(async |mut story| {
            let random = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
            story
                .server
                .inject(Rule::on(any, Fault::Jitter(random, Duration::from_secs(2))));
            let first = story.stand("a");
            story.wait("the first leads", |story| holder(story) == "a").await;
            let second = story.stand("b");
            story.two_versions().await;
            story.end().await;
            assert!(!first.is_over() && !second.is_over(), "seed {seed}");
            let held = holders(&story);
            assert!(held.keys().all(|holder| holder == "a"), "seed {seed}: {held:?}");
            renewals += held["a"];
            Outcome::of(&story)
        });
        ends_the_same(outcome, &format!("seed {seed}"));
    }
    row(
        "F19",
        &format!(
            "every request takes up to 2 s, {SEEDS} interleavings: the same end, {renewals} renewals, 0 changes of leader"
        ),
    );
}

// === F20 ===

/// Waits for a write that is on its way, or for so long that there is none to come.
async fn write_is_flying(story: &Story) {
    for _ in 0..1500 {
        if !story.server.flying().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn an_etcd_that_is_killed_amid_writes_is_gone_on_from_whatever_was_done() {
    const SEEDS: u64 = 16;
    let (mut done, mut undone) = (0, 0);
    for seed in 0..SEEDS {
        let outcome = tell(async |mut story| {
            let random = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
            let mut dice = StdRng::seed_from_u64(seed + 1000);
            // So that there is always something on its way.
            let slow = Fault::Jitter(Arc::clone(&random), Duration::from_millis(500));
            story.server.inject(Rule::on(any, slow));
            let process = story.start("a");
            for (version, number) in [("1.0.0", 1), ("1.1.0", 2)] {
                story.declare(&migrating(version, number));
                for _ in 0..3 {
                    tokio::time::sleep(Duration::from_millis(dice.random_range(0..3_000))).await;
                    write_is_flying(&story).await;
                    tokio::time::sleep(Duration::from_millis(dice.random_range(0..250))).await;
                    for is_done in story.server.flying() {
                        *(if is_done { &mut done } else { &mut undone }) += 1;
                    }
                    let away = story.server.inject_first(Rule::on(any, Fault::Cut));
                    story.server.crash();
                    tokio::time::sleep(Duration::from_secs(dice.random_range(2..9))).await;
                    away.lift();
                }
                story.live(version).await;
            }
            assert!(!process.is_over(), "seed {seed}");
            story.end().await;
            Outcome::of(&story)
        });
        ends_the_same(outcome, &format!("seed {seed}"));
    }
    assert!(done >= 3 && undone >= 3, "{done} done, {undone} not");
    row(
        "F20",
        &format!(
            "killed {} times, away for 2 to 8 s: of the writes on their way {done} were done and {undone} were not; the same end",
            SEEDS * 6
        ),
    );
}

// === F21 ===

/// The state of an entry of the ledger whose migration is the second one.
fn booked(object: &Object) -> Option<String> {
    let entries: Vec<Value> = object["data"]
        .as_object()?
        .values()
        .filter_map(|text| serde_json::from_str(text.as_str()?).ok())
        .collect();
    let second = entries.iter().find(|entry| entry["revision"] == 2)?;
    second["state"].as_str().map(str::to_owned)
}

/// The version after the first change that is so.
fn first(store: &Store, is: impl Fn(&Change, &Object) -> bool) -> u64 {
    let found = store
        .history
        .iter()
        .find(|change| change.after.as_ref().is_some_and(|after| is(change, after)));
    found.expect("it was so").version
}

fn second_job(change: &Change, job: &Object) -> bool {
    change.key.resource.kind == "Job" && job["metadata"]["annotations"]["slipway.dev/revision"] == "2"
}

type Point = (&'static str, fn(&Store) -> u64, usize);

/// Moments on the way to the second version, and how often its migration has been started in the end when the store is put
/// back to there after it was Live.
const POINTS: [Point; 7] = [
    (
        "before its commit",
        |store| {
            let of = |change: &Change, object: &Object| {
                change.key.resource.kind == "Release" && object["spec"]["version"] == "1.1.0"
            };
            first(store, of) - 1
        },
        2,
    ),
    ("when its Job was made", |store| first(store, second_job), 2),
    (
        "when it had the claim",
        |store| {
            first(store, |_, object| {
                booked(object).is_some_and(|state| state == "claimed")
            })
        },
        2,
    ),
    (
        "when its Job was let run",
        |store| {
            first(store, |change, job| {
                second_job(change, job) && job["spec"]["suspend"] == false
            })
        },
        2,
    ),
    (
        "while it ran",
        |store| {
            first(store, |change, pod| {
                change.key.resource.kind == "Pod"
                    && change.key.name.contains("migrate")
                    && pod["status"]["phase"] == "Running"
                    && change.version > first(store, second_job)
            })
        },
        1,
    ),
    (
        "when it was booked",
        |store| {
            first(store, |_, object| {
                booked(object).is_some_and(|state| state == "succeeded")
            })
        },
        1,
    ),
    ("when it was Live", |store| store.version, 1),
];

#[test]
fn an_etcd_that_is_put_back_runs_again_what_its_ledger_does_not_know_and_nothing_else() {
    let mut told = Vec::new();
    for (when, point, expected) in POINTS {
        tell(async |mut story| {
            let process = story.stand("a");
            story.two_versions().await;
            let before = story.world.starts();
            assert!(before.values().all(|times| *times == 1), "{before:?}");
            let version = point(&story.server.store());
            let lost = story.server.store().version - version;
            // Of the second version the newest alone is of use here.
            story.server.restore(version);
            story.world.script().restarted = true;
            // Git still declares it.
            if story.release("app")["spec"]["version"] != "1.1.0" {
                story.declare(&migrating("1.1.0", 2));
            }
            story.live("1.1.0").await;
            story.rest().await;
            story.live("1.1.0").await;
            assert!(
                !process.is_over() && holder(&story) == "a",
                "{when}: the lease is led again"
            );
            let after = story.world.starts();
            let again: BTreeMap<&String, usize> = after
                .iter()
                .map(|(key, times)| (key, *times))
                .filter(|(_, times)| *times > 1)
                .collect();
            let most = after.values().copied().max();
            assert!(
                most == Some(expected) && again.len() <= 1 && after.len() == 2,
                "{when}: {after:?}"
            );
            let ledger = story.server.get("ConfigMap", SHOP, "app-ledger").unwrap();
            assert_eq!(
                booked(&ledger).as_deref(),
                Some("succeeded"),
                "{when}: {ledger:?}"
            );
            let deployment = story.server.get("Deployment", SHOP, "app").unwrap();
            assert_eq!(deployment["status"]["availableReplicas"], 2, "{when}");
            assert!(
                story
                    .server
                    .store()
                    .objects
                    .contains_key(&Key::of("Secret", SHOP, "app-db"))
            );
            assert!(story.server.get("Namespace", "", OWN).is_some());
            told.push(format!("{when}, {lost} writes lost: {expected}"));
        });
    }
    row(
        "F21",
        &format!(
            "put back after the second version was Live, to the state of: {}; so often was its migration started; Live again each time",
            told.join("; ")
        ),
    );
}
