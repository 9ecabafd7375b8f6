//! What Slipway sees late, twice, not at all, or from the past: F13–F17.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    api::{Actor, Key, Verb, clock},
    inject::{Fault, Rule, any, reads, watches},
    row,
    story::{SHOP, Story, migrating, tell},
};

const MINUTE: Duration = Duration::from_secs(60);

async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Somebody changes what runs.
fn drift(story: &Story) {
    let answer = story.server.edit(
        &Actor::person(),
        &Key::of("Deployment", SHOP, "app"),
        "",
        |deployment| {
            deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
        },
    );
    assert!(answer.is_ok());
}

fn is_drifted(story: &Story) -> bool {
    let deployment = story.server.get("Deployment", SHOP, "app").unwrap();
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] == "Always"
}

/// Lists that watches begin with.
fn lists(story: &Story) -> usize {
    story
        .server
        .count(|asked| asked.request.verb == Verb::List && asked.request.metadata_only)
}

fn once_each(story: &Story) {
    let starts = story.world.starts();
    assert!(starts.values().all(|times| *times == 1), "{starts:?}");
}

type Moment = (&'static str, fn(&Story) -> bool);

/// How often logs of pods were read.
fn logs(story: &Story) -> usize {
    story.server.count(|asked| asked.request.sub == "log")
}

#[test]
fn logs_are_read_only_while_something_fails_and_nothing_of_them_is_told_but_what_is_known() {
    tell(async |mut story| {
        let _process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story.live("1.0.0").await;
        story.rest().await;
        sleep(30 * MINUTE).await;
        assert_eq!(logs(&story), 0, "all is well");
        story.world.script().crashing.insert(super::story::digest(2));
        story.declare(&migrating("1.1.0", 2));
        let crashed = |story: &Story| {
            let mut pods = story.server.all("Pod").into_iter();
            let crashed = pods.find(|(_, pod)| {
                pod["status"]["containerStatuses"][0]["restartCount"]
                    .as_u64()
                    .is_some_and(|restarts| restarts > 0)
            });
            crashed.map(|(_, pod)| pod["metadata"]["uid"].as_str().unwrap().to_owned())
        };
        story.wait("it crashes", |story| crashed(story).is_some()).await;
        let printed = "token Zx9canary\n[error] Could not find static manifest at \"/app/priv/static/cache_manifest.json\"";
        let uid = crashed(&story).unwrap();
        story.server.store().logs.insert(uid, printed.to_owned());
        story.until("app", "RolledBack", "1.1.0").await;
        let message = story.message("app");
        assert!(
            message.contains("1.0.0 runs") && message.contains(". Hint: the image holds no digested assets"),
            "{message}"
        );
        story.rest().await;
        let read = logs(&story);
        assert!((1..=30).contains(&read), "{read} reads");
        sleep(30 * MINUTE).await;
        assert_eq!(logs(&story), read, "it is over");
        let all: String = story.state().values().map(Value::to_string).collect();
        assert!(!all.contains("canary") && !all.contains("cache_manifest"));
        assert!(!story.server.log_text().contains("canary"));
        story.end().await;
    });
}

#[test]
fn a_failed_migration_that_printed_a_known_failure_says_what_to_do() {
    tell(async |mut story| {
        let _process = story.start("a");
        story.world.script().failing.insert("app".to_owned());
        story.declare(&migrating("1.0.0", 1));
        let running = |story: &Story| {
            let mut pods = story.server.all("Pod").into_iter();
            let of_job = pods.find(|(_, pod)| !pod["metadata"]["labels"]["slipway.dev/task"].is_null());
            of_job.map(|(_, pod)| pod["metadata"]["uid"].as_str().unwrap().to_owned())
        };
        story.wait("it migrates", |story| running(story).is_some()).await;
        let printed = "** (RuntimeError) environment variable SECRET_KEY_BASE is missing.\n";
        let uid = running(&story).unwrap();
        story.server.store().logs.insert(uid, printed.to_owned());
        story.until("app", "Failed(Migrating)", "1.0.0").await;
        story.rest().await;
        let message = story.message("app");
        assert!(
            message.contains(". Hint: config/runtime.exs needs a variable that this pod does not have"),
            "{message}"
        );
        let read = logs(&story);
        sleep(30 * MINUTE).await;
        assert_eq!(logs(&story), read, "it is over");
        assert_eq!(story.message("app"), message);
        story.end().await;
    });
}

#[test]
fn an_api_server_that_is_away_for_ten_minutes_is_waited_for() {
    let moments: [Moment; 5] = [
        ("before anything", |_| true),
        ("when the Job is there", |story| {
            !story.server.all("Job").is_empty()
        }),
        ("while it migrates", |story| !story.world.script().runs.is_empty()),
        ("while it rolls out", |story| {
            !story.server.all("Deployment").is_empty()
        }),
        ("when it is Live", |story| story.phase("app") == "Live"),
    ];
    let mut most = 0;
    for (when, is) in moments {
        tell(async |mut story| {
            let process = story.start("a");
            story.declare(&migrating("1.0.0", 1));
            story.wait(when, is).await;
            let away = story.server.inject(Rule::on(any, Fault::Cut));
            story.server.store().watchers.cut();
            sleep(10 * MINUTE).await;
            away.lift();
            most = most.max(away.hits());
            story.live("1.0.0").await;
            story.declare(&migrating("1.1.0", 2));
            story.live("1.1.0").await;
            assert!(!process.is_over(), "{when}");
            once_each(&story);
            story.end().await;
        });
    }
    // About 16 watches that ask every 10 s in the mean, and a pass every 20 s.
    assert!(most < 1200, "{most} requests within ten minutes");
    row(
        "F13",
        &format!(
            "away for 10 min at 5 moments: at most {most} requests meanwhile, then Live, each migration once"
        ),
    );
}

#[test]
fn what_is_changed_after_the_api_server_was_away_is_seen_within_a_minute() {
    let mut longest = 0;
    for away_for in [MINUTE / 6, MINUTE, 10 * MINUTE] {
        tell(async |mut story| {
            let _process = story.start("a");
            story.declare(&migrating("1.0.0", 1));
            story.live("1.0.0").await;
            story.rest().await;
            let away = story.server.inject(Rule::on(any, Fault::Cut));
            story.server.store().watchers.cut();
            sleep(away_for).await;
            away.lift();
            let since = clock::now();
            drift(&story);
            story.wait("it was put back", |story| !is_drifted(story)).await;
            let took = clock::now().duration_since(since).as_secs();
            println!("away {away_for:?} took {took}");
            longest = longest.max(took);
            story.end().await;
        });
    }
    assert!(longest <= 60, "{longest} s");
    row(
        "F13",
        &format!("away for 10 s to 10 min: the next change is put back after at most {longest} s"),
    );
}

#[test]
fn watches_that_are_cut_every_five_seconds_lose_nothing_and_list_nothing_anew() {
    tell(async |mut story| {
        let cuts = story
            .server
            .inject(Rule::on(watches, Fault::BreaksAfter(Duration::from_secs(5))));
        let _process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story.live("1.0.0").await;
        let before = lists(&story);
        for turn in 0..5 {
            sleep(MINUTE).await;
            drift(&story);
            // By the watches: the long look comes after 7 minutes at the soonest.
            let since = clock::now();
            story.wait("it was put back", |story| !is_drifted(story)).await;
            let took = clock::now().duration_since(since);
            assert!(took.as_secs() <= 60, "turn {turn}: {took}");
        }
        story.declare(&migrating("1.1.0", 2));
        story.live("1.1.0").await;
        assert_eq!(lists(&story), before, "a watch goes on where it was cut");
        once_each(&story);
        cuts.lift();
        story.end().await;
        row(
            "F14",
            &format!(
                "{} watches cut after 5 s: 5 changes put back within a minute each, 0 lists anew",
                cuts.hits()
            ),
        );
    });
}

#[test]
fn watches_below_the_compaction_list_anew_and_nothing_is_done_twice() {
    tell(async |mut story| {
        let _process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story.live("1.0.0").await;
        story.rest().await;
        let before = lists(&story);
        for name in ["x", "y", "z"] {
            story.secret("kube-system", name, "a", "b");
        }
        story.server.compact();
        let watching = story.server.store().watchers.count();
        story.server.store().watchers.cut();
        let since = clock::now();
        sleep(5 * MINUTE).await;
        let anew = lists(&story) - before;
        assert!(
            anew + 1 >= watching && anew <= 2 * watching,
            "{anew} of {watching} watches"
        );
        assert_eq!(story.writes_since(since), 0, "nothing is done for a list");
        drift(&story);
        story.wait("it was put back", |story| !is_drifted(story)).await;
        story.declare(&migrating("1.1.0", 2));
        story.live("1.1.0").await;
        once_each(&story);
        story.end().await;
        row(
            "F15",
            &format!(
                "{anew} watches listed anew after a compaction: 0 writes for it, and the next change is seen"
            ),
        );
    });
}

/// How often a Deployment was written is not what it is.
fn uncounted(mut state: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    for (_, object) in state.iter_mut().filter(|(key, _)| key.starts_with("Deployment")) {
        object["metadata"]["generation"] = json!(0);
        object["status"]["observedGeneration"] = json!(0);
    }
    state
}

#[test]
fn a_view_of_any_moment_of_the_past_changes_nothing_for_good() {
    tell(async |mut story| {
        let process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story.live("1.0.0").await;
        story.declare(&migrating("1.1.0", 2));
        story.live("1.1.0").await;
        story.rest().await;
        process.kill();
        let truth = story.state();
        let runs = story.world.script().runs.len();
        // Only what Slipway looks at makes another view.
        let versions: BTreeSet<u64> = {
            let store = story.server.store();
            let seen = store
                .history
                .iter()
                .filter(|change| !["Event", "Node"].contains(&change.key.resource.kind));
            seen.filter(|change| change.key.namespace == SHOP)
                .map(|change| change.version)
                .collect()
        };
        let (mut blind, mut refused) = (0, 0);
        for version in &versions {
            let from = story.server.logged();
            let past = story.server.inject(Rule::on(reads, Fault::AsOf(*version)));
            let stale = story.start(&format!("stale-{version}"));
            sleep(Duration::from_secs(15)).await;
            stale.kill();
            past.lift();
            for line in story.server.log_since(from) {
                if line["user"]["username"] != super::api::audit::SLIPWAY {
                    continue;
                }
                let done = line["responseStatus"]["code"].as_u64().unwrap() < 300;
                let what = (
                    line["verb"].as_str().unwrap(),
                    line["objectRef"]["resource"].as_str().unwrap(),
                );
                assert!(what.0 != "delete" || !done, "from {version}: {line}");
                assert!(
                    !done || !["jobs", "configmaps", "releaserevisions", "secrets"].contains(&what.1),
                    "from {version}: {line}"
                );
                refused += usize::from(!done);
                blind += usize::from(done && what.1 == "deployments");
            }
            let now = story.start(&format!("now-{version}"));
            story.rest().await;
            now.kill();
            let (is, was) = (uncounted(story.state()), uncounted(truth.clone()));
            for (key, object) in &was {
                assert_eq!(is.get(key), Some(object), "from {version}: {key}");
            }
            story.live("1.1.0").await;
        }
        assert_eq!(
            story.world.script().runs.len(),
            runs,
            "no program was started again"
        );
        assert!(versions.len() >= 40, "{}", versions.len());
        assert_eq!(blind, 0, "no Deployment is applied for one that was absent then");
        story.end().await;
        row(
            "F16",
            &format!(
                "views of {} moments of the past: 0 deletions, 0 Jobs, 0 entries of the ledger; {refused} writes refused by \
                 what they insist on, 0 Deployments applied as absent",
                versions.len()
            ),
        );
    });
}

#[test]
fn a_job_that_ran_and_went_unseen_is_unknown_until_a_commit_settles_it() {
    tell(async |mut story| {
        let process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story
            .wait("it migrates", |story| !story.world.script().runs.is_empty())
            .await;
        // Frozen, and with it all that it is told.
        let frozen = story.server.inject(Rule::on(any, Fault::Cut));
        story.server.store().watchers.hold();
        story
            .wait("it has ended", |story| {
                story.world.script().runs[0].ended.is_some()
            })
            .await;
        let (job, _) = story.server.all("Job").remove(0);
        story.server.delete(
            &Actor::person(),
            &job,
            json!({ "propagationPolicy": "Background" }),
        );
        story
            .wait("its pod is gone", |story| {
                story
                    .server
                    .all("Pod")
                    .iter()
                    .all(|(_, pod)| pod["metadata"]["labels"]["slipway.dev/task"].is_null())
            })
            .await;
        frozen.lift();
        story.server.store().watchers.release();
        story
            .wait("it is said", |story| story.phase("app") == "Failed(Migrating)")
            .await;
        assert!(
            story.message("app").contains("unknown"),
            "{}",
            story.message("app")
        );
        sleep(10 * MINUTE).await;
        assert_eq!(story.world.script().runs.len(), 1);
        assert!(
            story.server.all("Deployment").is_empty(),
            "no code before its schema"
        );
        let key = {
            let ledger = story.server.get("ConfigMap", SHOP, "app-ledger").unwrap();
            ledger["data"].as_object().unwrap().keys().next().unwrap().clone()
        };
        let accepted = migrating("1.0.0", 1).replace(
            "migrate: [/app/bin/migrate]",
            &format!("migrate: {{command: [/app/bin/migrate], accept: {key}}}"),
        );
        story.declare(&accepted);
        story.live("1.0.0").await;
        assert_eq!(story.world.script().runs.len(), 1);
        assert!(!process.is_over());
        story.end().await;
        row(
            "F17",
            "a Job that ran, ended and went unseen: unknown, 0 Deployments and 0 runs more until migrate.accept",
        );
    });
}

#[test]
fn a_job_that_goes_after_it_was_booked_is_not_missed() {
    tell(async |mut story| {
        let _process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story.live("1.0.0").await;
        story.rest().await;
        story.server.store().watchers.hold();
        for (job, _) in story.server.all("Job") {
            story.server.delete(
                &Actor::person(),
                &job,
                json!({ "propagationPolicy": "Background" }),
            );
        }
        sleep(MINUTE).await;
        story.server.compact();
        story.server.store().watchers.cut();
        let since = clock::now();
        sleep(30 * MINUTE).await;
        assert_eq!(story.writes_since(since), 0);
        assert_eq!(story.world.script().runs.len(), 1);
        story.end().await;
        row(
            "F17",
            "a Job that went unseen after it was booked: 0 writes, 0 runs more",
        );
    });
}
