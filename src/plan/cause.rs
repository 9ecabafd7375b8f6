//! Why a revision was made, in words: what differs between the pods of two revisions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::observed::Revision;
use crate::render::{Kind, Object};

/// `version 1.0.0 → 1.1.0`, `env GREETING changed`, … against the revision before; never a value.
#[must_use]
pub fn cause(before: Option<&Revision>, version: &str, reference: &str, objects: &[Object]) -> String {
    let Some(before) = before else {
        return format!("first version {version}");
    };
    let mut causes = Vec::new();
    if before.version != version {
        causes.push(format!("version {} → {version}", before.version));
    } else if before.reference != reference {
        causes.push(format!("image {} → {reference}", before.reference));
    }
    let (old, new) = (containers(&before.objects), containers(objects));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) => causes.extend(differences(old, new)),
            (None, Some(_)) => causes.push(format!("process {name} added")),
            _ => causes.push(format!("process {name} removed")),
        }
    }
    let mut seen = BTreeSet::new();
    causes.retain(|cause| seen.insert(cause.clone()));
    if causes.is_empty() {
        return "declared again".to_owned();
    }
    let mut text = causes.join(", ");
    if text.chars().count() > 500 {
        text = text.chars().take(497).collect::<String>() + "…";
    }
    text
}

/// Per Deployment its container.
fn containers(objects: &[Object]) -> BTreeMap<String, &Value> {
    objects
        .iter()
        .filter(|object| object.key.kind == Kind::Deployment)
        .filter_map(|object| {
            Some((
                object.key.name.clone(),
                object.value.pointer("/spec/template/spec/containers/0")?,
            ))
        })
        .collect()
}

fn differences(old: &Value, new: &Value) -> Vec<String> {
    let env = |container: &Value| -> BTreeMap<String, Value> {
        container
            .get("env")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some((entry.get("name")?.as_str()?.to_owned(), entry.clone())))
            .collect()
    };
    let (before, after) = (env(old), env(new));
    let mut causes: Vec<String> = before
        .keys()
        .chain(after.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter_map(|name| match (before.get(name), after.get(name)) {
            (Some(a), Some(b)) if a == b => None,
            (Some(_), Some(_)) => Some(format!("env {name} changed")),
            (None, _) => Some(format!("env {name} added")),
            _ => Some(format!("env {name} removed")),
        })
        .collect();
    let fields = |container: &Value| -> BTreeMap<String, Value> {
        container
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name != "env" && *name != "image")
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let (before, after) = (fields(old), fields(new));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    causes.extend(
        names
            .into_iter()
            .filter(|name| before.get(*name) != after.get(*name))
            .map(|name| format!("{name} changed")),
    );
    causes
}
