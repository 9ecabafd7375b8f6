//! What makes two specs the same, and what makes them the same attempt.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::{declared::AttemptHash, preset::Preset};
use crate::{api::ReleaseSpec, hex::hex};

/// Hash of a spec, for telling a hand edit from what git says.
#[must_use]
pub fn spec_hash(spec: &ReleaseSpec) -> String {
    hash(&serde_json::to_value(spec).unwrap_or(Value::Null))
}

/// `serde_json` keeps maps sorted, so equal values are equal texts.
fn hash(value: &Value) -> String {
    hex(&Sha256::digest(value.to_string().as_bytes()))
}

/// Everything that pods and database see, in git's own words: an upgrade of Slipway changes no hash.
pub(super) fn attempt_hash(spec: &ReleaseSpec, preset: &Preset) -> AttemptHash {
    let mut value = serde_json::to_value(spec).unwrap_or(Value::Null);
    let remove = |value: Option<&mut Value>, names: &[&str]| {
        if let Some(map) = value.and_then(Value::as_object_mut) {
            for name in names {
                map.remove(*name);
            }
        }
    };
    remove(
        Some(&mut value),
        &[
            "replicas",
            "ingress",
            "rollout",
            "verify",
            "onFailure",
            "onSecretChange",
            "suspend",
            "retain",
            "adopt",
            "source",
            "match",
            "build",
            "requires",
            "rotate",
        ],
    );
    // The host is exposure alone, unless pods are told of it: by a variable, or in the header of a probe.
    if preset.host.is_none() && spec.health.as_ref().is_none_or(|health| health.path.is_none()) {
        remove(Some(&mut value), &["host"]);
    }
    remove(
        value.get_mut("migrate"),
        &[
            "timeout",
            "accept",
            "retries",
            "resources",
            "lock",
            "serviceAccount",
            "proof",
            "compatible",
        ],
    );
    if value
        .get("migrate")
        .is_some_and(|migrate| migrate.as_object().is_some_and(serde_json::Map::is_empty))
    {
        remove(Some(&mut value), &["migrate"]);
    }
    for process in value
        .get_mut("processes")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(|map| map.values_mut())
    {
        remove(Some(process), &["replicas"]);
    }
    // What drains and readies pods stands in their template.
    let rollout = spec.rollout.as_ref();
    let drain = serde_json::json!([rollout.and_then(|r| r.drain)]);
    if let Some(map) = value.as_object_mut()
        && rollout.is_some_and(|r| r.drain.is_some())
    {
        map.insert("drain".to_owned(), drain);
    }
    AttemptHash(hash(&value))
}
