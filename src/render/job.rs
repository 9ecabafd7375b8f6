//! The Job that migrates, and the budget that keeps its node from being drained while it runs.
//!
//! What this Job leaves out matters as much as what it holds. It has no retry, no rule that starts it again after a
//! disruption and no end of life: the ledger, not the Job, says what ran, and only the controller deletes it.
//! It has **no `activeDeadlineSeconds`** either: that one counts from the resume, so a pod that waited for quota or an
//! image would be killed in the middle of its work, and it deletes pod and log with it. The timeout counts from the
//! container's start, and the controller alone judges it.
//! Nor has it an owner: deleting a `Release` must not kill a migration that is under way.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Input, Kind, Object,
    metadata::{self, Metadata},
    pod::{self, Container, Space},
};
use crate::{api::meta, names::ReleaseName};

/// The task, and the name of the container that does it: whatever a mesh puts beside it has another one.
pub const MIGRATE: &str = "migrate";

/// The name of the Job that is the `run`-th of a key: `<release>-migrate-<first 8 digits of the key>-<run>`. A crash
/// between creating it and writing it down is found by this name.
#[must_use]
pub fn job_name(release: &ReleaseName, key: &str, run: u32) -> String {
    format!("{release}-{MIGRATE}-{}-{run}", key.get(..8).unwrap_or(key))
}

/// Which run of its key a Job of this name is.
#[must_use]
pub fn run_of(name: &str) -> Option<u32> {
    name.rsplit('-').next()?.parse().ok()
}

/// The Job, suspended: no pod exists before its UID is in the ledger. `None` where nothing is migrated.
#[must_use]
pub fn migrate_job(input: &Input<'_>, key: &str, run: u32) -> Option<Object> {
    let migrate = input.declared.migrate.as_ref()?;
    let container = Container {
        name: MIGRATE,
        command: migrate.command.as_deref(),
        args: migrate.args.as_deref(),
        env: &migrate.env,
        resources: pod::resources(&migrate.resources),
    };
    let mut extra = json!({ "restartPolicy": "Never" });
    if let (Some(account), Some(fields)) = (&migrate.service_account, extra.as_object_mut()) {
        fields.insert("serviceAccountName".to_owned(), json!(account));
    }
    let mut labels = metadata::labels(input);
    labels.extend(task());
    let body = json!({ "spec": {
        "suspend": true,
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": 0,
        // A pod that is being deleted may still be migrating; only its end counts.
        "podReplacementPolicy": "Failed",
        "template": {
            "metadata": {
                "labels": labels,
                "annotations": {
                    (meta::REVISION): input.revision.0.to_string(),
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                    "karpenter.sh/do-not-disrupt": "true",
                },
            },
            "spec": pod::spec(input, container, json!({}), Space::Unlimited, extra),
        },
    } });
    let mut job = object(input, Kind::Job, job_name(&input.id.name, key, run), key, body);
    let given = given(&job.value);
    let annotations = job.value.pointer_mut("/metadata/annotations");
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.insert(meta::GIVEN.to_owned(), given.into());
        annotations.insert(meta::DATABASE.to_owned(), migrate.database.as_str().into());
    }
    Some(job)
}

/// The budget that refuses every eviction of the migration's pod. Made before the Job is resumed, deleted when it
/// ended. `minAvailable`, since a Job has no scale that `maxUnavailable` could count from.
#[must_use]
pub fn migrate_guard(input: &Input<'_>, key: &str) -> Object {
    let mut selector = BTreeMap::from([(meta::RELEASE.to_owned(), input.id.name.to_string())]);
    selector.extend(task());
    let body = json!({ "spec": { "minAvailable": 1, "selector": { "matchLabels": selector } } });
    let name = format!("{}-{MIGRATE}", input.id.name);
    object(input, Kind::PodDisruptionBudget, name, key, body)
}

fn object(input: &Input<'_>, kind: Kind, name: String, key: &str, body: Value) -> Object {
    let metadata = Metadata {
        labels: task(),
        annotations: [(meta::MIGRATION_KEY.to_owned(), key.to_owned())].into(),
        ownerless: true,
    };
    metadata::object(input, kind, name, metadata, body)
}

/// In place of the label of a process, so that no Service and no other budget ever counts these pods.
fn task() -> BTreeMap<String, String> {
    BTreeMap::from([(meta::TASK.to_owned(), MIGRATE.to_owned())])
}

/// A hash of what a rendered Job gives to its pod that a commit may change without a new attempt. The Job carries it, since
/// what is read of one also holds what the API server filled in; one whose pod never started is made anew when it differs.
#[must_use]
pub fn given(job: &Value) -> String {
    let pod = |path: &str| job.pointer(&format!("/spec/template/spec{path}"));
    metadata::short_hash(&json!([
        pod("/serviceAccountName"),
        pod("/containers/0/resources")
    ]))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{batch::v1::Job, policy::v1::PodDisruptionBudget};

    use super::*;
    use crate::render::fixtures::exactly;
    use crate::render::{fixtures::Fixture, render};

    const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn job() -> Value {
        migrate_job(&Fixture::web().input(), KEY, 2)
            .unwrap()
            .value
            .to_value()
    }

    #[test]
    fn job_and_guard_are_nothing_but_fields_of_kubernetes() {
        let mut fixture = Fixture::web();
        fixture.given_more();
        exactly::<Job>(&migrate_job(&fixture.input(), KEY, 2).unwrap().value);
        exactly::<PodDisruptionBudget>(&migrate_guard(&Fixture::web().input(), KEY).value);
    }

    #[test]
    fn without_a_migration_there_is_no_job() {
        assert_eq!(migrate_job(&Fixture::worker().input(), KEY, 1), None);
    }

    #[test]
    fn its_name_follows_from_key_and_run_and_stays_a_label() {
        assert_eq!(job()["metadata"]["name"], "billing-migrate-01234567-2");
        let longest = "a".repeat(40).parse().unwrap();
        // 63 characters are what a pod's label `job-name` can hold.
        assert!(job_name(&longest, KEY, 9999).len() <= 63);
        assert_eq!(run_of(&job_name(&longest, KEY, 9999)), Some(9999));
    }

    #[test]
    fn it_starts_suspended_and_is_never_started_twice_by_a_rule() {
        let spec = &job()["spec"];
        assert_eq!(spec["suspend"], true);
        assert_eq!(spec["backoffLimit"], 0);
        assert_eq!(spec["podReplacementPolicy"], "Failed");
        assert_eq!(spec["template"]["spec"]["restartPolicy"], "Never");
        for rule in [
            "podFailurePolicy",
            "ttlSecondsAfterFinished",
            "activeDeadlineSeconds",
            "backoffLimitPerIndex",
        ] {
            assert_eq!(spec.get(rule), None, "{rule}");
        }
    }

    #[test]
    fn its_pods_belong_to_a_task_and_to_no_process() {
        let labels = &job()["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels["slipway.dev/task"], "migrate");
        assert_eq!(labels["slipway.dev/release"], "billing");
        assert_eq!(labels.get("slipway.dev/process"), None);
    }

    #[test]
    fn it_may_have_an_account_of_its_own() {
        let mut fixture = Fixture::web();
        fixture.declared.migrate.as_mut().unwrap().service_account = Some("migrator".parse().unwrap());
        let job = migrate_job(&fixture.input(), KEY, 1).unwrap().value;
        assert_eq!(job["spec"]["template"]["spec"]["serviceAccountName"], "migrator");
        assert!(
            render(&fixture.input())
                .iter()
                .all(|object| object.value["spec"]["template"]["spec"]["serviceAccountName"] != "migrator"),
            "the application keeps its own"
        );
    }

    #[test]
    fn it_carries_its_whole_key() {
        assert_eq!(job()["metadata"]["annotations"]["slipway.dev/migration-key"], KEY);
    }

    #[test]
    fn it_runs_as_web_does_with_its_own_environment() {
        let mut fixture = Fixture::web();
        fixture.given_more();
        let objects = render(&fixture.input());
        let web = &objects
            .iter()
            .find(|o| o.key.kind == Kind::Deployment)
            .unwrap()
            .value;
        let job = migrate_job(&fixture.input(), KEY, 1).unwrap().value;
        let (web, job) = (&web["spec"]["template"]["spec"], &job["spec"]["template"]["spec"]);
        assert_eq!(
            web["volumes"].as_array().unwrap().last(),
            job["volumes"].as_array().unwrap().last(),
            "files"
        );
        for field in [
            "securityContext",
            "serviceAccountName",
            "imagePullSecrets",
            "automountServiceAccountToken",
        ] {
            assert_eq!(web.get(field), job.get(field), "{field}");
        }
        let (web, job) = (&web["containers"][0], &job["containers"][0]);
        for field in ["securityContext", "image", "volumeMounts", "envFrom"] {
            assert!(job.get(field).is_some(), "{field}");
            assert_eq!(web.get(field), job.get(field), "{field}");
        }
        let names: Vec<_> = job["env"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["DATABASE_URL", "SLIPWAY_TASK"]);
    }

    #[test]
    fn nothing_that_it_writes_can_get_it_evicted() {
        let spec = "{preset: phoenix, image: ghcr.io/a/b, version: 1.0.0, env: {DATABASE_URL: {secret: db/url}}, \
                    resources: {requests: {cpu: 100m}, limits: {memory: 1Gi, ephemeral-storage: 1Gi}}}";
        let mut fixture = Fixture::web();
        fixture.declared = crate::spec::declare(&fixture.id.name, &serde_yaml::from_str(spec).unwrap())
            .unwrap()
            .unwrap();
        let job = migrate_job(&fixture.input(), KEY, 1).unwrap().value;
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(pod["volumes"], json!([{ "name": "tmp", "emptyDir": {} }]));
        let limits = &pod["containers"][0]["resources"]["limits"];
        assert_eq!(*limits, json!({ "memory": "1Gi" }));
    }

    #[test]
    fn it_may_have_resources_of_its_own_over_those_of_the_process() {
        let spec = "{preset: phoenix, image: ghcr.io/a/b, version: 1.0.0, env: {DATABASE_URL: {secret: db/url}}, \
                    resources: {requests: {cpu: 100m, memory: 128Mi}}, migrate: {resources: {requests: {memory: 1Gi}}}}";
        let mut fixture = Fixture::web();
        fixture.declared = crate::spec::declare(&fixture.id.name, &serde_yaml::from_str(spec).unwrap())
            .unwrap()
            .unwrap();
        let requests = |object: &Value| {
            object["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"].clone()
        };
        let job = migrate_job(&fixture.input(), KEY, 1).unwrap().value;
        assert_eq!(requests(&job), json!({ "cpu": "100m", "memory": "1Gi" }));
        for object in render(&fixture.input()) {
            assert_ne!(requests(&object.value)["memory"], "1Gi");
        }
    }

    #[test]
    fn it_carries_what_it_gives_to_its_pod_and_a_commit_may_change_as_a_hash() {
        let of = |change: fn(&mut crate::spec::declared::MigrateSpec)| {
            let mut fixture = Fixture::web();
            change(fixture.declared.migrate.as_mut().unwrap());
            migrate_job(&fixture.input(), KEY, 1).unwrap().value
        };
        let job = of(|_| {});
        assert_eq!(job["metadata"]["annotations"]["slipway.dev/given"], given(&job));
        assert_eq!(given(&of(|migrate| migrate.retries = 3)), given(&job));
        for other in [
            of(|migrate| migrate.service_account = Some("migrator".parse().unwrap())),
            of(|migrate| migrate.resources = crate::api::release::Resources::default()),
        ] {
            assert_ne!(given(&other), given(&job));
        }
    }

    #[test]
    fn nothing_has_a_finalizer_that_could_keep_it_from_going() {
        let fixture = Fixture::web();
        let mut objects = render(&fixture.input());
        objects.extend(migrate_job(&fixture.input(), KEY, 1));
        objects.push(migrate_guard(&fixture.input(), KEY));
        for object in objects {
            let metadata = [
                &object.value["metadata"],
                &object.value["spec"]["template"]["metadata"],
            ];
            for metadata in metadata {
                assert_eq!(metadata.get("finalizers"), None, "{}", object.key);
            }
        }
    }

    #[test]
    fn the_guard_selects_the_migration_alone_and_refuses_every_eviction() {
        let guard = migrate_guard(&Fixture::web().input(), KEY);
        assert_eq!(guard.key.name, "billing-migrate");
        assert_eq!(
            guard.value["spec"],
            json!({
                "minAvailable": 1,
                "selector": { "matchLabels": { "slipway.dev/release": "billing", "slipway.dev/task": "migrate" } },
            })
        );
    }

    #[test]
    fn deleting_a_release_written_by_hand_kills_no_migration() {
        let mut fixture = Fixture::web();
        fixture.owned("8f1c");
        let job = migrate_job(&fixture.input(), KEY, 1).unwrap().value;
        assert_eq!(job["metadata"].get("ownerReferences"), None);
        let guard = migrate_guard(&fixture.input(), KEY).value;
        assert_eq!(guard["metadata"].get("ownerReferences"), None);
    }
}
