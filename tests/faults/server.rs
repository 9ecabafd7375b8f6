//! The server itself: it would show a fault if there were one.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
        PostParams, Preconditions, WatchEvent, WatchParams,
    },
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use slipway::{
    api::{ReleaseRevision, meta},
    trace::{self, Invariant},
};
use tokio_util::sync::CancellationToken;

use super::{
    api::{Actor, Key},
    inject::{Fault, Rule, watches},
    story::{SHOP, Story, digest, migrating, plain, tell},
};

fn map(name: &str, data: &Value) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": data })).unwrap()
}

fn maps(story: &Story) -> Api<ConfigMap> {
    Api::namespaced(story.server.client(&Actor::person()), SHOP)
}

fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    match result.unwrap_err() {
        kube::Error::Api(status) => (status.code, status.reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_write_over_an_old_version_is_refused_and_changes_nothing() {
    tell(async |story| {
        let api = maps(&story);
        let first = api
            .create(&PostParams::default(), &map("a", &json!({ "x": "1" })))
            .await
            .unwrap();
        let merge = Patch::Merge(json!({ "data": { "x": "2" } }));
        let second = api.patch("a", &PatchParams::default(), &merge).await.unwrap();
        assert_ne!(first.metadata.resource_version, second.metadata.resource_version);
        let old = first.metadata.resource_version.clone();
        let conflict = (409, "Conflict".to_owned());
        assert_eq!(
            code(api.replace("a", &PostParams::default(), &first).await),
            conflict
        );
        let over = Patch::Merge(json!({ "metadata": { "resourceVersion": old }, "data": { "x": "3" } }));
        assert_eq!(
            code(api.patch("a", &PatchParams::default(), &over).await),
            conflict
        );
        let apply = Patch::Apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "resourceVersion": old }, "data": { "x": "3" },
        }));
        assert_eq!(
            code(api.patch("a", &PatchParams::apply("m").force(), &apply).await),
            conflict
        );
        for preconditions in [
            Preconditions {
                resource_version: old.clone(),
                uid: None,
            },
            Preconditions {
                resource_version: None,
                uid: Some("another".to_owned()),
            },
        ] {
            let params = DeleteParams {
                preconditions: Some(preconditions),
                ..DeleteParams::default()
            };
            assert_eq!(code(api.delete("a", &params).await), conflict);
        }
        assert_eq!(api.get("a").await.unwrap(), second);
        let made = api.create(&PostParams::default(), &map("a", &json!({}))).await;
        assert_eq!(code(made), (409, "AlreadyExists".to_owned()));
    });
}

#[test]
fn a_write_that_changes_nothing_is_none() {
    tell(async |story| {
        let api = maps(&story);
        let apply = |value: &str| {
            Patch::Apply(json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "x": value },
            }))
        };
        let params = PatchParams::apply("m").force();
        let first = api.patch("a", &params, &apply("1")).await.unwrap();
        let again = api.patch("a", &params, &apply("1")).await.unwrap();
        assert_eq!(first, again);
        let dry = PatchParams {
            dry_run: true,
            ..params.clone()
        };
        let shown = api.patch("a", &dry, &apply("2")).await.unwrap();
        assert_eq!(shown.data.unwrap()["x"], "2");
        assert_eq!(api.get("a").await.unwrap(), first);
        assert_ne!(api.patch("a", &params, &apply("2")).await.unwrap(), first);
    });
}

#[test]
fn an_apply_takes_away_what_its_manager_names_no_more_and_nothing_of_others() {
    tell(async |story| {
        let api = maps(&story);
        let apply = |data: Value| {
            Patch::Apply(
                json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": data }),
            )
        };
        let (one, two) = (PatchParams::apply("one"), PatchParams::apply("two"));
        api.patch("a", &one, &apply(json!({ "x": "1", "y": "1" })))
            .await
            .unwrap();
        api.patch("a", &two, &apply(json!({ "z": "1" }))).await.unwrap();
        let other = Patch::Merge(json!({ "data": { "w": "1" } }));
        api.patch("a", &PatchParams::default(), &other).await.unwrap();
        let left = api.patch("a", &one, &apply(json!({ "x": "1" }))).await.unwrap();
        let names: Vec<String> = left.data.unwrap().into_keys().collect();
        assert_eq!(names, ["w", "x", "z"]);
        // What somebody else has set otherwise is taken by force alone, and is then not theirs any more.
        let (status, reason) = code(api.patch("a", &one, &apply(json!({ "x": "1", "z": "2" }))).await);
        assert_eq!((status, reason.as_str()), (409, "Conflict"));
        api.patch("a", &one.clone().force(), &apply(json!({ "x": "1", "z": "2" })))
            .await
            .unwrap();
        let (status, _) = code(api.patch("a", &two, &apply(json!({ "z": "1" }))).await);
        assert_eq!(status, 409);
    });
}

#[test]
fn items_of_a_list_are_owned_one_by_one() {
    tell(async |story| {
        let api: Api<Deployment> = Api::namespaced(story.server.client(&Actor::person()), SHOP);
        let apply = |containers: &[&str]| {
            let containers: Vec<Value> = containers
                .iter()
                .map(|name| json!({ "name": name, "image": "a" }))
                .collect();
            Patch::Apply(json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
                "spec": { "replicas": 1, "selector": { "matchLabels": { "a": "b" } },
                    "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": containers } } },
            }))
        };
        let names = |deployment: &Deployment| -> Vec<String> {
            let pods = deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
            pods.containers
                .iter()
                .map(|container| container.name.clone())
                .collect()
        };
        let (one, two) = (
            PatchParams::apply("one").force(),
            PatchParams::apply("two").force(),
        );
        let first = api.patch("d", &one, &apply(&["web", "old"])).await.unwrap();
        assert_eq!(first.metadata.generation, Some(1));
        api.patch("d", &two, &apply(&["sidecar"])).await.unwrap();
        let last = api.patch("d", &one, &apply(&["web"])).await.unwrap();
        assert_eq!(names(&last), ["web", "sidecar"]);
        assert_eq!(last.metadata.generation, Some(3));
        // By which it is told whose a label is.
        let notes = serde_json::to_value(&last.metadata.managed_fields).unwrap();
        let of_one = notes
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["manager"] == "one")
            .unwrap();
        let containers = &of_one["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"];
        assert!(
            containers["k:{\"name\":\"web\"}"]["f:image"].is_object(),
            "{of_one}"
        );
        assert!(containers["k:{\"name\":\"sidecar\"}"].is_null(), "{of_one}");
        let selector = Patch::Merge(json!({ "spec": { "selector": { "matchLabels": { "a": "c" } } } }));
        assert_eq!(
            code(api.patch("d", &PatchParams::default(), &selector).await).0,
            422
        );
    });
}

#[test]
fn what_has_no_place_in_a_kind_is_refused() {
    tell(async |story| {
        let client = story.server.client(&Actor::person());
        let api: Api<Deployment> = Api::namespaced(client.clone(), SHOP);
        let apply = Patch::Apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" }, "spec": { "replica": 1,
                "selector": {}, "template": { "spec": { "containers": [] } } },
        }));
        let params = PatchParams::apply("one").validation_strict();
        assert_eq!(code(api.patch("d", &params, &apply).await).0, 400);
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("slipway.dev", "v1alpha1", "Release"));
        let releases: Api<DynamicObject> = Api::namespaced_with(client.clone(), SHOP, &resource);
        let release = |spec: Value| -> DynamicObject {
            serde_json::from_value(json!({
                "apiVersion": "slipway.dev/v1alpha1", "kind": "Release", "metadata": { "name": "a" }, "spec": spec,
            }))
            .unwrap()
        };
        let made = releases
            .create(&PostParams::default(), &release(json!({ "image": 5 })))
            .await;
        assert_eq!(code(made).0, 422);
        releases
            .create(&PostParams::default(), &release(json!({ "image": "a" })))
            .await
            .unwrap();
        let long = Patch::Merge(json!({ "status": { "phase": "p", "message": "m".repeat(5000) } }));
        assert_eq!(
            code(releases.patch_status("a", &PatchParams::default(), &long).await).0,
            422
        );
        let revisions: Api<ReleaseRevision> = Api::namespaced(client, SHOP);
        revisions
            .create(
                &PostParams::default(),
                &ReleaseRevision::new(
                    "a-v1",
                    slipway::api::ReleaseRevisionSpec {
                        number: 1,
                        ..Default::default()
                    },
                ),
            )
            .await
            .unwrap();
        let changed = Patch::Merge(json!({ "spec": { "cause": "another" } }));
        assert_eq!(
            code(revisions.patch("a-v1", &PatchParams::default(), &changed).await).0,
            422
        );
    });
}

#[test]
fn nothing_is_made_in_a_namespace_that_is_not_there_or_ends() {
    tell(async |story| {
        let client = story.server.client(&Actor::person());
        let absent: Api<ConfigMap> = Api::namespaced(client, "absent");
        let error = absent.create(&PostParams::default(), &map("a", &json!({}))).await;
        assert_eq!(code(error).0, 404);
        story.world.script().held.insert(SHOP.to_owned());
        story
            .server
            .delete(&Actor::person(), &Key::of("Namespace", "", SHOP), json!({}));
        let error = maps(&story)
            .create(&PostParams::default(), &map("a", &json!({})))
            .await
            .unwrap_err();
        let kube::Error::Api(status) = error else {
            panic!("{error:?}")
        };
        assert_eq!(status.details.unwrap().causes[0].reason, "NamespaceTerminating");
        story
            .wait("its content goes", |story| {
                story.server.get("Secret", SHOP, "app-db").is_none()
            })
            .await;
        assert!(story.server.get("Namespace", "", SHOP).is_some());
        story.world.script().held.clear();
        story.make(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "more" } }));
        story
            .wait("it goes", |story| {
                story.server.get("Namespace", "", SHOP).is_none()
            })
            .await;
    });
}

/// What a watcher makes of a namespace's `ConfigMap`s, by its events alone.
async fn follow(
    api: Api<ConfigMap>,
    seen: std::sync::Arc<std::sync::Mutex<BTreeMap<String, String>>>,
    token: CancellationToken,
) {
    let mut events =
        std::pin::pin!(watcher(api, watcher::Config::default().labels("seen")).default_backoff());
    loop {
        let event = tokio::select! {
            () = token.cancelled() => return,
            event = events.try_next() => event,
        };
        let name = |map: &ConfigMap| map.metadata.name.clone().unwrap();
        let value = |map: &ConfigMap| {
            map.data
                .as_ref()
                .and_then(|data| data.get("x"))
                .cloned()
                .unwrap_or_default()
        };
        let mut seen = seen.lock().unwrap();
        match event {
            Ok(Some(watcher::Event::Init)) => seen.clear(),
            Ok(Some(watcher::Event::Apply(map) | watcher::Event::InitApply(map))) => {
                seen.insert(name(&map), value(&map));
            }
            Ok(Some(watcher::Event::Delete(map))) => {
                seen.remove(&name(&map)).unwrap();
            }
            Ok(Some(watcher::Event::InitDone)) | Err(_) => {}
            Ok(None) => panic!("a watcher never ends"),
        }
    }
}

#[test]
fn a_watch_misses_nothing_however_often_it_is_cut() {
    tell(async |story| {
        let rule = Rule::on(watches, Fault::BreaksAfter(std::time::Duration::from_secs(1)));
        let cuts = story.server.inject(rule);
        let seen: std::sync::Arc<std::sync::Mutex<BTreeMap<String, String>>> = std::sync::Arc::default();
        let token = CancellationToken::new();
        let client = story.server.client(&Actor::slipway("w"));
        let task = tokio::spawn(follow(Api::namespaced(client, SHOP), seen.clone(), token.clone()));
        let by = Actor::person();
        for turn in 0..300_u32 {
            let name = format!("m{}", turn % 7);
            let key = Key::of("ConfigMap", SHOP, &name);
            if turn % 11 == 0 {
                story.server.delete(&by, &key, json!({}));
            } else if story.server.get("ConfigMap", SHOP, &name).is_some() {
                story.server.edit(&by, &key, "", |map| {
                    map["data"]["x"] = json!(turn.to_string());
                    // Out of what is asked for, and into it again.
                    map["metadata"]["labels"] = if turn % 5 == 0 {
                        json!({})
                    } else {
                        json!({ "seen": "yes" })
                    };
                });
            } else {
                story.make(&json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "data": { "x": turn.to_string() },
                    "metadata": { "name": name, "namespace": SHOP, "labels": { "seen": "yes" } },
                }));
            }
            tokio::time::sleep(std::time::Duration::from_millis(170)).await;
            if turn == 150 {
                story.server.compact();
            }
        }
        let there: BTreeMap<String, String> = story
            .server
            .all("ConfigMap")
            .iter()
            .filter(|(_, map)| map["metadata"]["labels"]["seen"] == "yes")
            .map(|(key, map)| (key.name.clone(), map["data"]["x"].as_str().unwrap().to_owned()))
            .collect();
        assert!(there.len() >= 3, "{there:?}");
        let same = seen.clone();
        story
            .wait("all was seen", |_| *same.lock().unwrap() == there)
            .await;
        assert!(cuts.hits() >= 5, "{}", cuts.hits());
        token.cancel();
        task.await.unwrap();
    });
}

#[test]
fn a_watch_from_before_the_compaction_is_told_so() {
    tell(async |story| {
        let api = maps(&story);
        let version = api
            .list(&ListParams::default())
            .await
            .unwrap()
            .metadata
            .resource_version
            .unwrap();
        for name in ["a", "b"] {
            api.create(&PostParams::default(), &map(name, &json!({})))
                .await
                .unwrap();
        }
        let events = |version: String| {
            let api = api.clone();
            async move {
                let params = WatchParams::default().timeout(5);
                let stream = api.watch(&params, &version).await.unwrap();
                stream.try_collect::<Vec<_>>().await.unwrap()
            }
        };
        let all = events(version.clone()).await;
        assert!(
            matches!(&all[..], [WatchEvent::Added(_), WatchEvent::Added(_)]),
            "{all:?}"
        );
        story.server.compact();
        let gone = events(version).await;
        assert!(
            matches!(&gone[..], [WatchEvent::Error(status)] if status.code == 410),
            "{gone:?}"
        );
    });
}

#[test]
fn what_loses_its_owner_goes_and_a_foreground_deletion_waits_for_what_is_owned() {
    tell(async |story| {
        let api = maps(&story);
        let owner = api
            .create(&PostParams::default(), &map("owner", &json!({})))
            .await
            .unwrap();
        let mut owned = map("owned", &json!({}));
        owned.metadata.owner_references = Some(vec![
            serde_json::from_value(json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid }))
                .unwrap(),
        ]);
        api.create(&PostParams::default(), &owned).await.unwrap();
        let deleted = api.delete("owner", &DeleteParams::foreground()).await.unwrap();
        assert!(deleted.left().unwrap().metadata.deletion_timestamp.is_some());
        assert!(
            api.get_opt("owner").await.unwrap().is_some() && api.get_opt("owned").await.unwrap().is_some()
        );
        story
            .wait("both go", |story| {
                ["owner", "owned"]
                    .iter()
                    .all(|name| story.server.get("ConfigMap", SHOP, name).is_none())
            })
            .await;
    });
}

#[test]
fn deployments_get_their_pods_and_new_ones_take_over_without_a_gap() {
    tell(async |mut story| {
        let process = story.start("a");
        story.declare(&plain("1.0.0", 1));
        story.live("1.0.0").await;
        story.declare(&plain("1.1.0", 2));
        story.live("1.1.0").await;
        let pods: Api<Pod> = Api::namespaced(story.server.client(&Actor::person()), SHOP);
        let all = pods.list(&ListParams::default()).await.unwrap();
        assert_eq!(all.items.len(), 2);
        let image = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
        assert!(all.items.iter().all(|pod| image(pod).ends_with(&digest(2))));
        let verdict = story.end().await;
        assert!(
            verdict.coverage.instances(Invariant::S16) > 0,
            "{}",
            verdict.coverage
        );
        process.stop().await.unwrap();
    });
}

/// What the checker says of a story in which somebody with Slipway's name did this after the first version was Live.
fn broken_by(act: impl AsyncFn(&Story)) -> Vec<Invariant> {
    tell(async |mut story| {
        let process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story.live("1.0.0").await;
        story.rest().await;
        process.kill();
        act(&story).await;
        let verdict = trace::judge(&story.trace());
        verdict
            .violations
            .iter()
            .map(|violation| violation.invariant)
            .collect()
    })
}

#[test]
fn the_checker_finds_in_the_servers_own_record_what_slipway_never_does() {
    assert_eq!(broken_by(async |_: &Story| {}), []);
    // A rollout of a revision that nobody made.
    let found = broken_by(async |story: &Story| {
        let api: Api<Deployment> = Api::namespaced(story.server.clients("x").call, SHOP);
        let patch = Patch::Merge(
            json!({ "spec": { "template": { "metadata": { "annotations": { (meta::REVISION): "9" } } } } }),
        );
        api.patch("app", &PatchParams::default(), &patch).await.unwrap();
    });
    assert!(found.contains(&Invariant::S3), "{found:?}");
    // The migration once more, under another name and without a claim.
    let found = broken_by(async |story: &Story| {
        let (_, job) = story
            .server
            .all("Job")
            .into_iter()
            .next()
            .expect("the Job of the migration");
        let mut job = Value::clone(&job);
        let name = "app-migrate-again-2";
        job["metadata"] = json!({
            "name": name, "namespace": SHOP, "labels": job["metadata"]["labels"],
            "annotations": job["metadata"]["annotations"],
        });
        job["metadata"]["annotations"][meta::OBJECT] = json!(format!("Job/{SHOP}/{name}"));
        job["spec"]["suspend"] = json!(false);
        for part in ["selector", "template/metadata/labels"] {
            match part {
                "selector" => drop(job["spec"].as_object_mut().unwrap().remove("selector")),
                _ => {
                    job["spec"]["template"]["metadata"]["labels"] =
                        json!({ (meta::RELEASE): "app", (meta::TASK): "migrate" })
                }
            }
        }
        let answer = story.server.create(&Actor::slipway("x"), job);
        assert!(answer.is_ok(), "{:?}", answer.object());
        story
            .wait("it was started", |story| story.world.script().runs.len() == 2)
            .await;
    });
    assert!(
        found.contains(&Invariant::S2) && found.contains(&Invariant::Claim),
        "{found:?}"
    );
    // A deletion by name of what may be anything by now.
    let found = broken_by(async |story: &Story| {
        let api: Api<ConfigMap> = Api::namespaced(story.server.clients("x").call, SHOP);
        api.delete("app-ledger", &DeleteParams::default()).await.unwrap();
    });
    assert!(found.contains(&Invariant::S7), "{found:?}");
}

#[test]
fn faults_befall_the_requests_that_they_are_meant_for_and_no_others() {
    tell(async |story| {
        let slipway: Api<ConfigMap> = Api::namespaced(story.server.clients("a").call, SHOP);
        let creates = |request: &super::api::Request| {
            request.is_of("ConfigMap") && request.verb == super::api::Verb::Create
        };
        let lost = story.server.inject(Rule::on(creates, Fault::LostReply).nth(2));
        slipway
            .create(&PostParams::default(), &map("a", &json!({})))
            .await
            .unwrap();
        maps(&story)
            .create(&PostParams::default(), &map("person", &json!({})))
            .await
            .unwrap();
        assert!(
            slipway
                .create(&PostParams::default(), &map("b", &json!({})))
                .await
                .is_err()
        );
        assert!(slipway.get_opt("b").await.unwrap().is_some(), "it was done");
        slipway
            .create(&PostParams::default(), &map("c", &json!({})))
            .await
            .unwrap();
        assert_eq!(lost.hits(), 1);
        let version = story.server.store().version;
        slipway.delete("c", &DeleteParams::default()).await.unwrap();
        let reads = |request: &super::api::Request| request.is_of("ConfigMap");
        let past = story.server.inject(Rule::on(reads, Fault::AsOf(version)));
        assert!(slipway.get_opt("c").await.unwrap().is_some());
        past.lift();
        assert!(slipway.get_opt("c").await.unwrap().is_none());
        let silent = story.server.inject(Rule::on(reads, Fault::Silence).times(1));
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), slipway.get_opt("a")).await;
        // By the deadline that the client itself has.
        assert!(matches!(waited, Ok(Err(_))) && silent.hits() == 1);
        assert!(slipway.get_opt("a").await.unwrap().is_some());
    });
}
