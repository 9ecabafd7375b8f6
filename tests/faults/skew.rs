//! A server that is of another version, or that believes another token: F29 and F34.

use std::time::{Duration, Instant};

use kube::Config;
use serde_json::Value;
use slipway::cluster::Clients;

use super::{
    api::{Answer, clock, store::LATER},
    inject::{Fault, Rule},
    row,
    story::{Outcome, SHOP, Story, migrating, plain, tell, tell_in_time},
    sweep::ends_the_same,
};

const HOUR: Duration = Duration::from_secs(3600);

// === F29 ===

/// Of real time, since the client looks at the clock on the wall to know when to read the file again.
#[test]
fn a_token_that_is_replaced_in_its_file_is_used_without_a_restart() {
    tell_in_time(async |mut story| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "one").unwrap();
        story.server.believe("one");
        let address = story.server.listen("a").await;
        let mut config = Config::new(format!("http://{address}").parse().unwrap());
        config.auth_info.token_file = Some(file.to_str().unwrap().to_owned());
        let process = Story::start_with("a", Clients::from_config(&config).unwrap());
        story.declare(&plain("1.0.0", 1));
        story.live("1.0.0").await;
        assert_eq!(unauthorized(&story), 0);
        story.server.believe("two");
        story.declare(&plain("1.1.0", 2));
        story
            .wait("it is sent away", |story| unauthorized(story) > 0)
            .await;
        std::fs::write(&file, "two").unwrap();
        let since = Instant::now();
        story.live("1.1.0").await;
        let took = since.elapsed();
        // The client reads the file at least once a minute; then all watches begin again, and a version takes about 20 s.
        assert!(took < Duration::from_secs(150), "{took:?}");
        assert!(!process.is_over());
        row(
            "F29",
            &format!(
                "the token expired and was replaced: {} times 401, Live of the next version after {} s, 0 restarts",
                unauthorized(&story),
                took.as_secs()
            ),
        );
    });
}

fn unauthorized(story: &Story) -> usize {
    story.server.count(|asked| asked.code == 401)
}

// === F34 ===

/// Takes out what a later version has of its own; how often it stood there.
fn forget(value: &mut Value) -> usize {
    match value {
        Value::Object(fields) => {
            let own = usize::from(fields.remove(LATER).is_some());
            own + fields.values_mut().map(forget).sum::<usize>()
        }
        Value::Array(items) => items.iter_mut().map(forget).sum(),
        _ => 0,
    }
}

#[test]
fn fields_of_a_later_version_are_neither_missed_nor_removed() {
    let mut kept = 0;
    let outcome = tell(async |mut story| {
        story.server.store().newer = true;
        let process = story.start("a");
        story.two_versions().await;
        story.end().await;
        assert!(!process.is_over());
        let mut outcome = Outcome::of(&story);
        for (key, object) in &mut outcome.state {
            let found = forget(object);
            let makes = |kinds: &[&str]| kinds.iter().any(|kind| key.starts_with(&format!("{kind} ")));
            // In the object, its spec, the spec of its pods, and their container.
            let expected = match () {
                () if makes(&["Deployment", "Job"]) => 4,
                () if makes(&["Service", "PodDisruptionBudget", "Lease"]) => 2,
                () if makes(&["ConfigMap", "Secret", "ServiceAccount"]) => 1,
                () => continue,
            };
            // What was there before the server became newer has none.
            if found > 0 || makes(&["Deployment", "Job", "PodDisruptionBudget"]) {
                assert_eq!(found, expected, "{key}: {object}");
                kept += found;
            }
        }
        outcome
    });
    ends_the_same(outcome, "with fields of a later version");
    assert!(kept >= 10, "{kept}");
    row(
        "F34",
        &format!(
            "a newer server adds fields to each part of each object: {kept} kept through two versions, the same end"
        ),
    );
}

#[test]
fn a_server_that_lacks_a_group_is_served_and_one_that_drops_a_field_is_told_and_not_fought() {
    tell(async |mut story| {
        let lacks = story.server.inject(Rule::on(
            |request| request.resource.group == "events.k8s.io",
            Fault::Answer(Answer::no_such_resource()),
        ));
        // As a server does that knows a field and has not switched it on.
        story.server.mutate(|request, object| {
            if request.is_of("Job")
                && let Some(spec) = object["spec"].as_object_mut()
            {
                spec.remove("podReplacementPolicy");
            }
        });
        let process = story.start("a");
        story.declare(&migrating("1.0.0", 1));
        story.live("1.0.0").await;
        assert!(lacks.hits() > 0);
        let drops = story.server.mutate(|request, object| {
            let spread = object.pointer_mut("/spec/template/spec/topologySpreadConstraints");
            let constraints = spread.and_then(Value::as_array_mut).into_iter().flatten();
            for constraint in constraints.filter(|_| request.is_of("Deployment")) {
                constraint.as_object_mut().unwrap().remove("matchLabelKeys");
            }
        });
        // Its deadline runs on meanwhile.
        story.declare(&migrating("1.1.0", 2).replace("deadline: 60s", "deadline: 3h"));
        story
            .wait("it says so", |story| {
                story
                    .message("app")
                    .contains("Deployment app is changed by somebody else")
            })
            .await;
        assert_eq!(story.phase("app"), "RollingOut");
        let since = clock::now();
        tokio::time::sleep(HOUR).await;
        let tries = story
            .server
            .count(|asked| asked.at >= since && asked.request.is_of("Deployment") && asked.request.mutates());
        assert!(tries <= 60, "{tries} in an hour");
        let deployment = story.server.get("Deployment", SHOP, "app").unwrap();
        assert_eq!(
            deployment["status"]["availableReplicas"], 2,
            "what there is serves"
        );
        story.server.dismiss(drops);
        story.live("1.1.0").await;
        assert!(!process.is_over());
        let starts = story.world.starts();
        assert!(
            starts.len() == 2 && starts.values().all(|times| *times == 1),
            "{starts:?}"
        );
        story.end().await;
        row(
            "F34",
            &format!(
                "an older server without events.k8s.io and podReplacementPolicy: Live; one that drops a field of the Deployment: \
                 told, {tries} writes in an hour, Live when it does not"
            ),
        );
    });
}
