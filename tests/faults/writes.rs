//! What others do to what Slipway writes, and what the server says to it: F22, F23, F25, F26.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    api::{Actor, Answer, Key, Verb, answer, clock},
    inject::{Fault, Rule},
    row,
    story::{SHOP, Story, digest, migrating, plain, tell},
};

const MINUTE: Duration = Duration::from_secs(60);

/// A second namespace with a release that nothing is wrong with.
fn neighbour(story: &mut Story) {
    story.namespace("other");
    story.declare_in("other", "calm", &plain("1.0.0", 7));
}

async fn neighbour_is_live(story: &Story) {
    story
        .wait("the neighbour is Live", |story| {
            let calm = story.server.get("Release", "other", "calm").unwrap();
            calm["status"]["phase"] == "Live"
        })
        .await;
}

#[test]
fn a_stranger_under_the_name_of_the_job_is_waited_for_and_never_written() {
    tell(async |mut story| {
        let create = |request: &super::api::Request| request.is_of("Job") && request.verb == Verb::Create;
        // Somebody is quicker by a hair: the name was free when Slipway looked.
        story.server.inject(
            Rule::on(
                create,
                Fault::First(Arc::new(|server, request| {
                    let answer = server.create(
                        &Actor::person(),
                        json!({
                            "apiVersion": "batch/v1", "kind": "Job",
                            "metadata": { "name": request.body["metadata"]["name"], "namespace": SHOP },
                            "spec": { "suspend": true, "template": { "spec": {
                                "containers": [{ "name": "x", "image": "x" }], "restartPolicy": "Never" } } },
                        }),
                    );
                    assert!(answer.is_ok());
                })),
            )
            .times(1),
        );
        let _process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story
            .wait("it says so", |story| story.phase("app") == "Waiting(NameTaken)")
            .await;
        let (key, stranger) = story.server.all("Job").remove(0);
        tokio::time::sleep(10 * MINUTE).await;
        let (_, now) = story.server.all("Job").remove(0);
        let bare = |job: &Value| {
            (
                job["metadata"]["uid"].clone(),
                job["spec"].clone(),
                job["metadata"]["labels"].clone(),
            )
        };
        assert_eq!(bare(&now), bare(&stranger));
        assert!(story.world.script().runs.is_empty() && story.server.all("Deployment").is_empty());
        story.server.delete(&Actor::person(), &key, json!({}));
        story.live("1.0.0").await;
        assert_eq!(story.world.script().runs.len(), 1);
        story.end().await;
        row(
            "F22",
            "AlreadyExists by a stranger: Waiting(NameTaken), it is not touched; gone, the migration runs once",
        );
    });
}

#[test]
fn a_migration_does_not_run_while_a_stranger_has_the_name_of_its_budget() {
    // Before the Job is made, and when it is about to be resumed.
    for late in [false, true] {
        tell(async move |mut story| {
            let stranger = json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": { "name": "app-migrate", "namespace": SHOP },
                "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "other" } } },
            });
            if late {
                let create =
                    |request: &super::api::Request| request.is_of("Job") && request.verb == Verb::Create;
                let first = Fault::First(Arc::new(move |server, _| {
                    assert!(server.create(&Actor::person(), stranger.clone()).is_ok());
                }));
                story.server.inject(Rule::on(create, first).times(1));
            } else {
                assert!(story.server.create(&Actor::person(), stranger).is_ok());
            }
            let _process = story.start("a");
            story.declare(&migrating("1.0.0", 1));
            story
                .wait("it says so", |story| story.phase("app") == "Waiting(NameTaken)")
                .await;
            tokio::time::sleep(10 * MINUTE).await;
            assert!(story.world.script().runs.is_empty() && story.server.all("Deployment").is_empty());
            assert_eq!(story.server.all("Job").len(), usize::from(late));
            let (key, theirs) = story.server.all("PodDisruptionBudget").remove(0);
            assert_eq!(theirs["metadata"]["labels"], Value::Null, "it is left alone");
            story.server.delete(&Actor::person(), &key, json!({}));
            story.live("1.0.0").await;
            assert_eq!(story.world.script().runs.len(), 1);
            story.end().await;
        });
    }
}

/// When requests about a namespace were answered by 429, each time once.
fn refused(story: &Story, namespace: &str) -> Vec<Timestamp> {
    let mut times: Vec<Timestamp> = story
        .server
        .asked()
        .iter()
        .filter(|asked| asked.code == 429 && asked.request.namespace == namespace)
        .map(|asked| asked.at)
        .collect();
    times.dedup();
    times
}

#[test]
fn too_many_requests_are_asked_again_no_sooner_than_the_server_says() {
    const SECONDS: u32 = 45;
    tell(async |mut story| {
        let _process = story.start("a");
        neighbour(&mut story);
        let busy = story.server.inject(Rule::on(
            |request| request.namespace == SHOP,
            Fault::Answer(Answer::too_many(SECONDS)),
        ));
        story.declare(&migrating("1.0.0", 1));
        neighbour_is_live(&story).await;
        tokio::time::sleep(10 * MINUTE).await;
        let times = refused(&story, SHOP);
        assert!(times.len() >= 3, "{times:?}");
        for pair in times.windows(2) {
            let pause = pair[1].duration_since(pair[0]);
            assert!(
                pause.as_secs() >= i64::from(SECONDS),
                "asked again after {pause}, {SECONDS} s were said"
            );
        }
        let hits = busy.hits();
        assert!(hits <= 40, "{hits}");
        busy.lift();
        story.live("1.0.0").await;
        story.end().await;
        row(
            "F23",
            &format!(
                "429 with Retry-After {SECONDS} s for 10 min: {hits} requests, none sooner than said; the neighbour Live"
            ),
        );
    });
}

/// Deployments of the second version.
fn of_second(request: &super::api::Request, object: &Value) -> bool {
    let image = object["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap_or("");
    request.is_of("Deployment") && request.sub.is_empty() && image.ends_with(&digest(2))
}

#[test]
fn a_webhook_that_denies_is_named_before_anything_is_migrated_and_stops_nobody_else() {
    tell(async |mut story| {
        let _process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story.live("1.0.0").await;
        let webhook = story.server.admit(|request, object| {
            let why = "admission webhook \"policy.example.com\" denied the request: images must be signed";
            of_second(request, object).then(|| answer::status(403, "Forbidden", why, Value::Null))
        });
        story.declare(&migrating("1.1.0", 2));
        neighbour(&mut story);
        story
            .wait("it says so", |story| story.phase("app") == "Failed(Applying)")
            .await;
        let message = story.message("app");
        assert!(
            message.contains("policy.example.com") && message.contains("images must be signed"),
            "{message}"
        );
        neighbour_is_live(&story).await;
        let since = clock::now();
        tokio::time::sleep(10 * MINUTE).await;
        let tries = story
            .server
            .count(|asked| asked.at >= since && asked.request.is_dry());
        assert!(tries <= 22, "{tries} in ten minutes");
        assert_eq!(
            story.world.script().runs.len(),
            1,
            "nothing is migrated for what would be refused"
        );
        let deployment = story.server.get("Deployment", SHOP, "app").unwrap();
        assert_eq!(
            deployment["status"]["availableReplicas"], 2,
            "the old version serves"
        );
        story.server.dismiss(webhook);
        story.live("1.1.0").await;
        story.end().await;
        row(
            "F25",
            &format!(
                "a webhook denies: Failed(Applying) with its words, {tries} tries in 10 min, 0 migrations; then Live"
            ),
        );
    });
}

#[test]
fn a_webhook_that_cannot_be_called_is_tried_again_and_told_when_it_lasts() {
    tell(async |mut story| {
        let _process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story.live("1.0.0").await;
        let webhook = story.server.admit(|request, object| {
            let why = "Internal error occurred: failed calling webhook \"policy.example.com\": failed to call webhook: Post \
                       \"https://policy.example.com/\": context deadline exceeded";
            of_second(request, object).then(|| answer::status(500, "InternalError", why, Value::Null))
        });
        story.declare(&migrating("1.1.0", 2));
        neighbour(&mut story);
        story
            .wait("it says so", |story| story.phase("app") == "Waiting(ApiServer)")
            .await;
        let message = story.message("app");
        assert!(message.contains("policy.example.com"), "{message}");
        neighbour_is_live(&story).await;
        let since = clock::now();
        tokio::time::sleep(10 * MINUTE).await;
        let tries = story
            .server
            .count(|asked| asked.at >= since && asked.request.is_dry());
        assert!((20..=70).contains(&tries), "{tries} in ten minutes");
        assert_eq!(story.world.script().runs.len(), 1);
        story.server.dismiss(webhook);
        story.live("1.1.0").await;
        story.end().await;
        row(
            "F25",
            &format!(
                "a webhook cannot be called: Waiting(ApiServer) with its name, {tries} tries in 10 min; then Live"
            ),
        );
    });
}

#[test]
fn a_webhook_that_changes_what_is_ours_is_not_fought_and_is_told() {
    tell(async |mut story| {
        let _process = story.start("a");
        story.declare(&plain("1.0.0", 1));
        story.live("1.0.0").await;
        let webhook = story.server.mutate(|request, object| {
            if request.is_of("Service") {
                object["spec"]["ports"][0]["targetPort"] = json!(9999);
            }
        });
        let key = Key::of("Service", SHOP, "app");
        story.server.edit(&Actor::person(), &key, "", |service| {
            service["metadata"]["annotations"]["x"] = json!("y")
        });
        story
            .wait("it says so", |story| {
                story.message("app").contains("changed by somebody else")
            })
            .await;
        let since = clock::now();
        tokio::time::sleep(60 * MINUTE).await;
        let tries = story.server.count(|asked| {
            asked.at >= since
                && asked.request.is_of("Service")
                && asked.request.mutates()
                && asked.request.namespace == SHOP
        });
        // Four times in each pause, which is five minutes long in the end.
        assert!(tries <= 60, "{tries} in an hour");
        story.server.dismiss(webhook);
        story
            .wait("it is put right", |story| {
                let service = story.server.get("Service", SHOP, "app").unwrap();
                service["spec"]["ports"][0]["targetPort"] == "http"
            })
            .await;
        story
            .wait("it is Live", |story| story.phase("app") == "Live")
            .await;
        story.end().await;
        row(
            "F26",
            &format!(
                "a webhook changes our field back: told, {tries} writes in an hour; put right when it is gone"
            ),
        );
    });
}

#[test]
fn a_webhook_that_adds_what_is_not_ours_is_let_be() {
    const MESH: &str = "mesh@sha256:5555555555555555555555555555555555555555555555555555555555555555";
    tell(async |mut story| {
        story.server.mutate(|request, object| {
            let containers = object.pointer_mut("/spec/template/spec/containers");
            if request.is_of("Deployment")
                && let Some(containers) = containers.and_then(Value::as_array_mut)
                && !containers.iter().any(|container| container["name"] == "sidecar")
            {
                containers.push(json!({ "name": "sidecar", "image": MESH }));
            }
        });
        let _process = story.start("a");
        story.declare(&plain("1.0.0", 1));
        story.live("1.0.0").await;
        story.declare(&plain("1.1.0", 2));
        story.live("1.1.0").await;
        story.end().await;
        let deployment = story.server.get("Deployment", SHOP, "app").unwrap();
        let containers = deployment["spec"]["template"]["spec"]["containers"]
            .as_array()
            .unwrap();
        assert_eq!(containers.len(), 2, "{containers:?}");
        row(
            "F26",
            "a webhook adds a sidecar: kept through two versions, at rest 0 writes",
        );
    });
}
