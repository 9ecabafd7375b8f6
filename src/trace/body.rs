//! An object as the API server writes it → what invariants ask of it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::object::{Body, DeploymentBody, Key, Kind, Object, ReleaseBody, RevisionBody, SourceBody, Text};
use crate::{
    api::meta,
    plan::{
        ledger::{Ledger, MigrationKey},
        rotation,
    },
};

/// What was seen at a path: `/metadata/name`.
fn text(value: &Value, path: &str) -> Option<Text> {
    value.pointer(path)?.as_str().map(Into::into)
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

fn small(value: &Value, path: &str) -> u32 {
    u32::try_from(number(value, path)).unwrap_or(u32::MAX)
}

fn note(value: &Value, map: &str, name: &str) -> Option<Text> {
    value.pointer(map)?.get(name)?.as_str().map(Into::into)
}

fn annotation(value: &Value, name: &str) -> Option<Text> {
    note(value, "/metadata/annotations", name)
}

fn label(value: &Value, name: &str) -> Option<Text> {
    note(value, "/metadata/labels", name)
}

/// The key of an object.
#[must_use]
pub fn key(kind: Kind, value: &Value) -> Option<Key> {
    Some(Key {
        kind,
        namespace: text(value, "/metadata/namespace").unwrap_or_else(|| "".into()),
        name: text(value, "/metadata/name")?,
    })
}

/// A resourceVersion as a number: those of one etcd are in order.
#[must_use]
pub fn version(value: &Value) -> Option<u64> {
    text(value, "/metadata/resourceVersion")?.parse().ok()
}

/// Reads an object. `None` for what is no object of this kind.
#[must_use]
pub fn object(kind: Kind, value: &Value) -> Option<Object> {
    let key = key(kind, value)?;
    let release = match kind {
        Kind::Release => Some(key.name.clone()),
        _ => label(value, meta::RELEASE),
    };
    Some(Object {
        uid: text(value, "/metadata/uid")?,
        version: version(value).unwrap_or(0),
        generation: number(value, "/metadata/generation"),
        ours: is_ours(&key, value, release.is_some()),
        deleting: value.pointer("/metadata/deletionTimestamp").is_some(),
        commit: annotation(value, meta::COMMIT),
        body: body(&key, value),
        release,
        key,
    })
}

/// Rendered objects name themselves; records of Slipway carry the release as a label, locks their name.
fn is_ours(key: &Key, value: &Value, labelled: bool) -> bool {
    match key.kind {
        Kind::Lease => key.name.starts_with("slipway-lock-"),
        Kind::ConfigMap | Kind::ReleaseRevision => labelled,
        _ => {
            let itself = format!("{:?}/{}/{}", key.kind, key.namespace, key.name);
            annotation(value, meta::OBJECT).is_some_and(|named| *named == *itself)
        }
    }
}

fn body(key: &Key, value: &Value) -> Body {
    match key.kind {
        Kind::Release => Body::Release(release(value)),
        Kind::ReleaseRevision => Body::Revision(Arc::new(revision(value))),
        Kind::ReleaseSource => Body::Source(source(value)),
        Kind::Job => job(value),
        Kind::ConfigMap if key.name.ends_with("-ledger") => ledger(value),
        Kind::Deployment => Body::Deployment(deployment(value)),
        Kind::Lease if key.name.starts_with("slipway-lock-") => Body::Lock {
            holder: text(value, "/spec/holderIdentity"),
        },
        Kind::Pod => pod(value),
        _ => Body::Plain,
    }
}

fn release(value: &Value) -> ReleaseBody {
    ReleaseBody {
        source: label(value, meta::SOURCE),
        removing: annotation(value, meta::REMOVING).is_some(),
        version: text(value, "/spec/version"),
        attempt: number(value, "/spec/attempt"),
        adopt: number(value, "/spec/adopt"),
        retries: small(value, "/spec/migrate/retries"),
        accept: text(value, "/spec/migrate/accept"),
        observed: number(value, "/status/observedGeneration"),
        phase: text(value, "/status/phase").unwrap_or_else(|| "".into()),
        message: text(value, "/status/message").unwrap_or_else(|| "".into()),
        live_version: text(value, "/status/liveVersion"),
        live_revision: text(value, "/status/liveRevision")
            .and_then(|name| name.rsplit_once("-v")?.1.parse().ok()),
    }
}

fn revision(value: &Value) -> RevisionBody {
    let stored = text(value, "/spec/objects").unwrap_or_else(|| "".into());
    let objects: Vec<Value> = serde_json::from_str(&stored).unwrap_or_default();
    let migration = text(value, "/spec/migration/key").and_then(|key| MigrationKey::parse(&key));
    RevisionBody {
        number: number(value, "/spec/number"),
        reference: text(value, "/spec/image/reference").unwrap_or_else(|| "".into()),
        repin: number(value, "/spec/repin"),
        digest: text(value, "/spec/image/digest").unwrap_or_else(|| "".into()),
        commit: text(value, "/spec/commit"),
        beside: text(value, "/spec/cause").is_some_and(|cause| rotation::made_beside(&cause)),
        migration: migration.map(|key| {
            let part = |path| text(value, path).unwrap_or_else(|| "".into());
            (
                key,
                part("/spec/migration/database"),
                part("/spec/migration/lock"),
            )
        }),
        objects: objects
            .into_iter()
            .filter_map(|object| {
                let key = (text(&object, "/kind")?, text(&object, "/metadata/name")?);
                Some((key, object))
            })
            .collect(),
    }
}

fn source(value: &Value) -> SourceBody {
    let git = |field: &str| text(value, &format!("/spec/git/{field}"));
    let asked = ["url", "branch", "tag", "commit"].map(|field| git(field).unwrap_or_else(|| "".into()));
    SourceBody {
        applied: text(value, "/status/appliedCommit"),
        problems: number(value, "/status/problemCount"),
        rewrite: value.pointer("/spec/git/allowRewrite") == Some(&Value::Bool(true)),
        follows: asked.join(" ").into(),
        max_deletions: text(value, "/spec/maxDeletions"),
    }
}

/// Whether a condition is true.
fn is_true(value: &Value, type_: &str) -> bool {
    let conditions = value.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| {
            condition.get("type").and_then(Value::as_str) == Some(type_)
                && condition.get("status").and_then(Value::as_str) == Some("True")
        })
    })
}

fn job(value: &Value) -> Body {
    let complete = is_true(value, "Complete").then_some(true);
    Body::Job {
        key: annotation(value, meta::MIGRATION_KEY).and_then(|key| MigrationKey::parse(&key)),
        suspended: value.pointer("/spec/suspend") == Some(&Value::Bool(true)),
        active: small(value, "/status/active"),
        complete: complete.or(is_true(value, "Failed").then_some(false)),
    }
}

fn ledger(value: &Value) -> Body {
    let data: BTreeMap<String, String> = value
        .pointer("/data")
        .and_then(|data| serde_json::from_value(data.clone()).ok())
        .unwrap_or_default();
    // One that cannot be read is no ledger: the next write over it shows every entry as new.
    Ledger::parse(&data).map_or(Body::Plain, |ledger| Body::Ledger(Arc::new(ledger)))
}

fn deployment(value: &Value) -> DeploymentBody {
    let pods = "/spec/template/spec/containers";
    let containers = value
        .pointer(pods)
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let replicas = small(value, "/spec/replicas");
    let recreate = text(value, "/spec/strategy/type").is_some_and(|kind| *kind == *"Recreate");
    let revision = note(value, "/spec/template/metadata/annotations", meta::REVISION);
    DeploymentBody {
        revision: revision.and_then(|number| number.parse().ok()),
        images: containers
            .iter()
            .filter_map(|container| text(container, "/image"))
            .collect(),
        replicas,
        may_miss: (!recreate).then(|| may_miss(value, replicas)),
        observed: number(value, "/status/observedGeneration"),
        updated: small(value, "/status/updatedReplicas"),
        available: small(value, "/status/availableReplicas"),
    }
}

/// `maxUnavailable` as a number: a percentage is rounded down, as Kubernetes does.
fn may_miss(value: &Value, replicas: u32) -> u32 {
    match value.pointer("/spec/strategy/rollingUpdate/maxUnavailable") {
        Some(Value::Number(number)) => number
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(replicas),
        Some(Value::String(percent)) => percent
            .strip_suffix('%')
            .and_then(|percent| percent.parse::<u32>().ok())
            .map_or(replicas, |percent| replicas.saturating_mul(percent) / 100),
        _ => replicas,
    }
}

fn pod(value: &Value) -> Body {
    let phase = text(value, "/status/phase").unwrap_or_else(|| "".into());
    let state = |name: &str| value.pointer(&format!("/status/containerStatuses/0/state/{name}"));
    let ended = state("terminated");
    Body::Pod {
        job: label(value, "batch.kubernetes.io/controller-uid"),
        started: state("running").is_some()
            || ended.is_some_and(|ended| ended.get("startedAt").is_some_and(|at| !at.is_null())),
        exit: ended
            .and_then(|ended| ended.get("exitCode")?.as_i64())
            .and_then(|code| i32::try_from(code).ok()),
        terminal: ["Succeeded", "Failed"].contains(&&*phase),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_miss_in_a_rollout_is_rounded_down() {
        for (unavailable, misses) in [
            ("0", 0),
            ("1", 1),
            ("\"25%\"", 1),
            ("\"10%\"", 0),
            ("\"100%\"", 7),
        ] {
            let text = format!(
                "{{\"spec\": {{\"strategy\": {{\"rollingUpdate\": {{\"maxUnavailable\": {unavailable}}}}}}}}}"
            );
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(may_miss(&value, 7), misses, "{unavailable}");
        }
    }

    #[test]
    fn a_copy_of_our_object_does_not_say_that_it_is_ours() {
        let object_of = |name: &str| {
            let value = serde_json::json!({ "metadata": {
                "name": name, "namespace": "shop", "uid": "u",
                "annotations": { "slipway.dev/object": "Deployment/shop/app" },
            }});
            object(Kind::Deployment, &value).unwrap()
        };
        assert!(object_of("app").ours);
        assert!(!object_of("copy").ours);
    }

    #[test]
    fn a_pod_that_never_ran_has_not_started() {
        let pod = |status: Value| {
            let value = serde_json::json!({
                "metadata": { "name": "p", "uid": "p" },
                "status": status,
            });
            match object(Kind::Pod, &value).unwrap().body {
                Body::Pod {
                    started,
                    terminal,
                    exit,
                    ..
                } => (started, terminal, exit),
                _ => panic!("no pod"),
            }
        };
        let state = |state: Value| serde_json::json!([{ "state": state }]);
        assert_eq!(
            pod(serde_json::json!({ "phase": "Pending" })),
            (false, false, None)
        );
        let waiting = state(serde_json::json!({ "waiting": { "reason": "ErrImagePull" } }));
        assert_eq!(
            pod(serde_json::json!({ "containerStatuses": waiting })),
            (false, false, None)
        );
        let ended = state(serde_json::json!({ "terminated": { "exitCode": 137, "startedAt": null } }));
        assert_eq!(
            pod(serde_json::json!({ "phase": "Failed", "containerStatuses": ended })),
            (false, true, Some(137))
        );
        let ended = state(
            serde_json::json!({ "terminated": { "exitCode": 0, "startedAt": "2026-01-01T00:00:00Z" } }),
        );
        assert_eq!(
            pod(serde_json::json!({ "phase": "Succeeded", "containerStatuses": ended })),
            (true, true, Some(0))
        );
    }
}
