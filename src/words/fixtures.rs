//! Objects as the API server has them, for the tests of this room.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{Release, ReleaseRevision, ReleaseSource};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Seconds after the start of the world of these tests.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_777_800_000 + seconds).unwrap()
}

fn ready(status: bool, reason: &str, message: &str) -> Value {
    json!([
        {"type": "Ready", "status": if status {"True"} else {"False"}, "reason": reason, "message": message,
         "lastTransitionTime": at(0).to_string()},
    ])
}

/// `shop/<name>` of version 1.9.0 in this phase, since the start.
pub fn release(name: &str, phase: &str, message: &str) -> Release {
    let live = phase == "Live";
    serde_json::from_value(json!({
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "Release",
        "metadata": {
            "namespace": "shop", "name": name, "generation": 2,
            "creationTimestamp": at(-1000).to_string(),
            "labels": {"slipway.dev/source": "releases"},
            "annotations": {
                "slipway.dev/commit": COMMIT, "slipway.dev/author": "Ada <ada@acme.com>",
                "slipway.dev/committed-at": at(-60).to_string(),
                "slipway.dev/path": format!("production/{name}.yaml"),
            },
        },
        "spec": {"image": "ghcr.io/acme/billing", "version": "1.9.0"},
        "status": {
            "observedGeneration": 2, "phase": phase, "message": message, "declaredVersion": "1.9.0",
            "liveVersion": if live { "1.9.0" } else { "1.8.2" },
            "liveRevision": if live { format!("{name}-v5") } else { format!("{name}-v4") },
            "currentRevision": format!("{name}-v5"),
            "conditions": ready(live, "X", message),
        },
    }))
    .unwrap()
}

/// The same with one more condition that holds.
pub fn with_detail(mut release: Release, type_: &str, message: &str) -> Release {
    let condition = serde_json::from_value(json!({
        "type": type_, "status": "True", "reason": type_, "message": message,
        "lastTransitionTime": at(0).to_string(),
    }))
    .unwrap();
    release.status.as_mut().unwrap().conditions.push(condition);
    release
}

/// The source `releases`; its problems as place and message.
pub fn source(reason: &str, message: &str, problems: &[(&str, &str)]) -> ReleaseSource {
    let problems: Vec<Value> = problems
        .iter()
        .map(|(place, message)| json!({"place": place, "message": message}))
        .collect();
    serde_json::from_value(json!({
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ReleaseSource",
        "metadata": {"name": "releases", "generation": 1},
        "spec": {"git": {"url": "https://git.acme.com/releases"}, "paths": ["base", "production"]},
        "status": {
            "observedGeneration": 1, "appliedCommit": COMMIT, "releases": 2,
            "problemCount": problems.len(), "problems": problems, "message": message,
            "conditions": ready(reason == "Applied", reason, message),
        },
    }))
    .unwrap()
}

/// `billing-v<number>`, created at `created`; concluded a minute later where `outcome` says how.
pub fn revision(number: i64, version: &str, created: i64, outcome: Option<&str>) -> ReleaseRevision {
    let digit = char::from_digit(u32::try_from(number % 10).unwrap(), 10).unwrap();
    let mut status = json!({"message": format!("{version} ended")});
    if let Some(outcome) = outcome {
        status["outcome"] = json!(outcome);
        status["finishedAt"] = json!(at(created + 60).to_string());
        status["migration"] =
            json!({"key": "ab".repeat(32), "state": "succeeded", "job": "billing-migrate-abababab-1"});
        if outcome == "Live" {
            status["liveAt"] = json!(at(created + 60).to_string());
        }
    }
    serde_json::from_value(json!({
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ReleaseRevision",
        "metadata": {
            "namespace": "shop", "name": format!("billing-v{number}"),
            "creationTimestamp": at(created).to_string(),
        },
        "spec": {
            "release": "billing", "number": number, "version": version,
            "cause": format!("version → {version}"), "commit": COMMIT, "author": "Ada <ada@acme.com>",
            "image": {
                "reference": format!("ghcr.io/acme/billing:{version}"),
                "digest": format!("sha256:{}", digit.to_string().repeat(64)), "obtained": "registry",
            },
            "migration": {"key": "ab".repeat(32), "database": "db:5432/billing", "lock": "slipway-lock-1"},
        },
        "status": status,
    }))
    .unwrap()
}
