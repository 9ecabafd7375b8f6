//! What lasts until somebody ends it: F27, F28, F30, F31, F32.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    api::{Actor, Answer, Key, Verb, answer, clock},
    inject::{Fault, Rule, watches, writes},
    row,
    story::{SHOP, Story, migrating, plain, tell},
};

const MINUTE: Duration = Duration::from_secs(60);

fn once_each(story: &Story) {
    let starts = story.world.starts();
    assert!(starts.values().all(|times| *times == 1), "{starts:?}");
}

/// Writes in ten minutes, by what was said meanwhile.
async fn ten_minutes(story: &Story) -> usize {
    let since = clock::now();
    tokio::time::sleep(10 * MINUTE).await;
    story.writes_since(since)
}

#[test]
fn a_quota_for_jobs_holds_the_release_until_it_is_raised() {
    tell(async |mut story| {
        let quota = story.server.admit(|request, _| {
            let name = &request.name;
            let why = format!(
                "jobs.batch \"{name}\" is forbidden: exceeded quota: compute, requested: count/jobs.batch=1, used: \
                 count/jobs.batch=0, limited: count/jobs.batch=0"
            );
            (request.is_of("Job") && request.verb == Verb::Create).then(|| answer::status(403, "Forbidden", why, Value::Null))
        });
        let _process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story
            .wait("it says so", |story| {
                story.message("app").contains("exceeded quota")
            })
            .await;
        assert_eq!(story.phase("app"), "Waiting(Quota)");
        let tries = ten_minutes(&story).await;
        assert!(tries <= 25, "{tries}");
        story.server.dismiss(quota);
        story.live("1.0.0").await;
        once_each(&story);
        story.end().await;
        row(
            "F27",
            &format!(
                "a quota refuses the Job: Waiting(Quota) with its words, {tries} writes in 10 min; raised, Live"
            ),
        );
    });
}

#[test]
fn a_quota_for_pods_is_waited_for() {
    tell(async |mut story| {
        let quota = "pods \"x\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=0, limited: pods=0";
        story.world.script().no_pods = Some(quota.to_owned());
        let _process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story
            .wait("it says so", |story| story.phase("app") == "Waiting(Quota)")
            .await;
        assert!(
            story.message("app").contains("exceeded quota"),
            "{}",
            story.message("app")
        );
        let tries = ten_minutes(&story).await;
        assert_eq!(tries, 0, "a wait writes nothing");
        story.world.script().no_pods = None;
        story.live("1.0.0").await;
        once_each(&story);
        story.end().await;
        row(
            "F27",
            "a quota refuses pods: Waiting(Quota), 0 writes in 10 min; raised, the same Job runs once, Live",
        );
    });
}

#[test]
fn rights_that_are_taken_away_are_named_and_their_return_is_enough() {
    type Taken = (&'static str, fn(&super::api::Request) -> bool);
    let all: [Taken; 4] = [
        ("patch Deployments", |request| {
            request.is_of("Deployment") && request.mutates()
        }),
        ("create Jobs", |request| {
            request.is_of("Job") && request.verb == Verb::Create
        }),
        ("get Secrets", |request| {
            request.is_of("Secret") && request.verb == Verb::Get && request.namespace == SHOP
        }),
        ("write anything", writes),
    ];
    let mut tried = Vec::new();
    for (what, of) in all {
        tell(async |mut story| {
            let process = story.start("a");
            story.namespace("other");
            let refusal = Answer::forbidden(
                &Key::of("Deployment", SHOP, "app"),
                "User \"system:serviceaccount:slipway-system:slipway\" cannot do this in the namespace \"shop\"",
            );
            let taken = story.server.inject(Rule::on(
                move |request| request.namespace == SHOP && of(request),
                Fault::Answer(refusal),
            ));
            story.declare(&migrating("1.0.0", 1));
            story.declare_in("other", "calm", &plain("1.0.0", 7));
            story.wait(what, |_| taken.hits() > 3).await;
            if what != "write anything" {
                assert_eq!(story.phase("app"), "Failed(Applying)", "{what}");
                assert!(
                    story.message("app").contains("cannot do this"),
                    "{what}: {}",
                    story.message("app")
                );
            }
            let before = taken.hits();
            tokio::time::sleep(10 * MINUTE).await;
            let tries = taken.hits() - before;
            assert!(tries <= 90, "{what}: {tries} in ten minutes");
            tried.push(format!("{what} {tries}"));
            taken.lift();
            story.live("1.0.0").await;
            story
                .wait("the neighbour is Live", |story| {
                    story.server.get("Release", "other", "calm").unwrap()["status"]["phase"] == "Live"
                })
                .await;
            once_each(&story);
            assert!(!process.is_over());
            story.end().await;
        });
    }
    row(
        "F28",
        &format!(
            "rights taken away: told where the status may be written; refused tries in 10 min: {}; then Live",
            tried.join(", ")
        ),
    );
}

#[test]
fn a_namespace_that_ends_pauses_its_releases_and_nobody_else() {
    tell(async |mut story| {
        let process = story.start("a");
        story.namespace("other");
        story.declare(&plain("1.0.0", 1));
        story.declare_in("other", "calm", &plain("1.0.0", 7));
        story.live("1.0.0").await;
        // The release is still there, since somebody holds it; and the namespace with it.
        let release = Key::of("Release", SHOP, "app");
        let held = story.server.edit(&Actor::person(), &release, "", |release| {
            release["metadata"]["finalizers"] = json!(["example.com/hold"]);
        });
        assert!(held.is_ok());
        story
            .server
            .delete(&Actor::person(), &Key::of("Namespace", "", SHOP), json!({}));
        story
            .wait("it says so", |story| {
                story.phase("app") == "Waiting(NamespaceTerminating)"
            })
            .await;
        story
            .wait("its pods are gone", |story| {
                story
                    .server
                    .all("Pod")
                    .iter()
                    .all(|(key, _)| key.namespace != SHOP)
            })
            .await;
        let since = clock::now();
        story.declare_in("other", "calm", &plain("1.1.0", 8));
        story
            .wait("the neighbour goes on", |story| {
                story.server.get("Release", "other", "calm").unwrap()["status"]["liveVersion"] == "1.1.0"
            })
            .await;
        tokio::time::sleep(20 * MINUTE).await;
        let made = story
            .server
            .count(|asked| asked.at >= since && asked.request.namespace == SHOP && writes(&asked.request));
        assert_eq!(made, 0, "nothing is made in a namespace that ends");
        story.server.edit(&Actor::person(), &release, "", |release| {
            release["metadata"]["finalizers"] = json!([])
        });
        story
            .wait("it is gone", |story| {
                story.server.get("Namespace", "", SHOP).is_none()
            })
            .await;
        story.namespace(SHOP);
        story.declare(&plain("1.0.0", 1));
        story.live("1.0.0").await;
        assert!(!process.is_over());
        row(
            "F30",
            "a namespace ends: Waiting(NamespaceTerminating), 0 writes there in 20 min, the neighbour goes on; anew, Live",
        );
    });
}

#[test]
fn definitions_that_are_deleted_take_nothing_down_and_their_return_restarts_nothing() {
    tell(async |mut story| {
        let process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story.live("1.0.0").await;
        story.declare(&migrating("1.1.0", 2));
        story.live("1.1.0").await;
        story.rest().await;
        let serving = |story: &Story| {
            let deployment = story.server.get("Deployment", SHOP, "app").unwrap();
            let mut pods: Vec<String> = story
                .server
                .all("Pod")
                .iter()
                .map(|(_, pod)| pod["metadata"]["uid"].to_string())
                .collect();
            pods.sort();
            (
                deployment["metadata"]["uid"].clone(),
                deployment["metadata"]["generation"].clone(),
                pods,
            )
        };
        let before = serving(&story);
        story.server.store().undefine();
        let since = clock::now();
        tokio::time::sleep(30 * MINUTE).await;
        assert_eq!(serving(&story), before);
        let asked = story.server.count(|asked| asked.at >= since);
        assert!(asked < 1000, "{asked} requests in half an hour");
        assert_eq!(story.writes_since(since), 0);
        assert!(!process.is_over());
        story.server.store().defined = true;
        story.define_source();
        story.declare(&migrating("1.1.0", 2));
        story.live("1.1.0").await;
        story.rest().await;
        assert_eq!(serving(&story), before, "no rollout");
        once_each(&story);
        row(
            "F31",
            &format!(
                "definitions gone for 30 min: {asked} requests, 0 writes, the same pods; back again: Live, 0 rollouts, 0 migrations"
            ),
        );
    });
}

#[test]
fn a_status_that_would_be_too_large_is_shortened() {
    tell(async |mut story| {
        let data: serde_json::Map<String, Value> =
            (0..9000).map(|n| (format!("NAME_{n:04}"), json!("x"))).collect();
        story.make(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "many", "namespace": SHOP }, "data": data,
        }));
        let _process = story.start("a");
        story.declare(&format!("{}envFrom: [{{config: many}}]\n", plain("1.0.0", 1)));
        story.live("1.0.0").await;
        let status = &story.release("app")["status"];
        let (names, bytes) = (
            status["variables"].as_array().unwrap().len(),
            status.to_string().len(),
        );
        assert_eq!(names, 200);
        assert!(bytes < 20_000, "{bytes}");
        story.end().await;
        row(
            "F32",
            &format!("9000 variables: Live, {names} of them in a status of {bytes} bytes"),
        );
    });
}

#[test]
fn a_message_of_the_server_of_any_length_fits_into_the_status() {
    tell(async |mut story| {
        let _process = story.start("a");
        let long = "because ".repeat(40_000);
        let webhook = story.server.admit(move |request, _| {
            let refused = request.is_of("Deployment") && request.mutates();
            refused.then(|| answer::status(403, "Forbidden", long.clone(), Value::Null))
        });
        story.declare(&plain("1.0.0", 1));
        story
            .wait("it says so", |story| story.phase("app") == "Failed(Applying)")
            .await;
        let bytes = story.release("app")["status"].to_string().len();
        assert!(bytes < 20_000, "{bytes}");
        story.server.dismiss(webhook);
        story.live("1.0.0").await;
        story.end().await;
        row(
            "F32",
            &format!("a refusal of 320 KB: told in a status of {bytes} bytes; then Live"),
        );
    });
}

#[test]
fn watches_of_kinds_that_are_gone_end_and_are_begun_again() {
    tell(async |mut story| {
        let _process = story.start("a");
        story.declare(&plain("1.0.0", 1));
        story.live("1.0.0").await;
        let before = story.server.store().watchers.count();
        story.server.store().undefine();
        assert!(story.server.store().watchers.count() < before);
        tokio::time::sleep(MINUTE).await;
        story.server.store().defined = true;
        story
            .wait("all watch again", |story| {
                story.server.store().watchers.count() == before
            })
            .await;
        assert!(story.server.count(|asked| watches(&asked.request)) > before);
        row(
            "F31",
            &format!("{before} watches, all begun again when the definitions are back"),
        );
    });
}
