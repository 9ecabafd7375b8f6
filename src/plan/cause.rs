//! Why a revision was made, in words: what differs between the pods of two revisions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::observed::Revision;
use crate::render::{FILES, Kind, Object};

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
    let (old, new) = (pods(&before.objects), pods(objects));
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

/// Per Deployment the spec of its pods.
fn pods(objects: &[Object]) -> BTreeMap<String, &Value> {
    objects
        .iter()
        .filter(|object| object.key.kind == Kind::Deployment)
        .filter_map(|object| {
            Some((
                object.key.name.clone(),
                object.value.pointer("/spec/template/spec")?,
            ))
        })
        .collect()
}

fn differences(old: &Value, new: &Value) -> Vec<String> {
    let container = |pod: &Value| pod.pointer("/containers/0").cloned().unwrap_or_default();
    let (before, after) = (container(old), container(new));
    let mut causes = changed("env ", &variables(&before), &variables(&after));
    causes.extend(changed("file ", &files(old, &before), &files(new, &after)));
    let (before, after) = (fields(&before), fields(&after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    causes.extend(
        names
            .into_iter()
            .filter(|name| before.get(*name) != after.get(*name))
            .map(|name| format!("{name} changed")),
    );
    causes
}

/// What came, went, or is another.
fn changed(what: &str, before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| match (before.get(name), after.get(name)) {
            (Some(a), Some(b)) if a == b => None,
            (Some(_), Some(_)) => Some(format!("{what}{name} changed")),
            (None, _) => Some(format!("{what}{name} added")),
            _ => Some(format!("{what}{name} removed")),
        })
        .collect()
}

fn variables(container: &Value) -> BTreeMap<String, Value> {
    items(container, "env")
        .filter_map(|entry| Some((entry.get("name")?.as_str()?.to_owned(), entry.clone())))
        .collect()
}

/// Per path of a file the object and the key that its content is in.
fn files(pod: &Value, container: &Value) -> BTreeMap<String, Value> {
    let volume = items(pod, "volumes").find(|volume| of_files(volume));
    let sources = volume.and_then(|volume| volume.get("projected"));
    let sources: Vec<(&Value, &Value)> = sources
        .into_iter()
        .flat_map(|projected| items(projected, "sources"))
        .filter_map(|source| source.as_object()?.values().next())
        .flat_map(|object| items(object, "items").map(move |item| (object, item)))
        .collect();
    items(container, "volumeMounts")
        .filter(|mount| of_files(mount))
        .filter_map(|mount| {
            let path = mount.get("mountPath")?.as_str()?.to_owned();
            let of = |(_, item): &&(&Value, &Value)| item.get("path") == mount.get("subPath");
            let (object, item) = sources.iter().find(of)?;
            Some((path, json!([object.get("name"), item.get("key")])))
        })
        .collect()
}

/// Everything else of a container.
fn fields(container: &Value) -> BTreeMap<String, Value> {
    let mut fields: BTreeMap<String, Value> = container
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !["env", "image"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(Value::Array(mounts)) = fields.get_mut("volumeMounts") {
        mounts.retain(|mount| !of_files(mount));
        if mounts.is_empty() {
            fields.remove("volumeMounts");
        }
    }
    fields
}

/// Whether a volume or a mount is that of files.
fn of_files(value: &Value) -> bool {
    value.get("name").and_then(Value::as_str) == Some(FILES)
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::RevisionNumber,
        plan::fixtures,
        render::{self, Input},
        spec::declared::{Declared, FileSource, Holder},
    };

    fn rendered(declared: &Declared) -> Vec<Object> {
        render::render(&Input {
            id: &fixtures::id(),
            declared,
            digest: &fixtures::digest(1),
            architectures: &[],
            revision: RevisionNumber(1),
            provenance: None,
            owner: None,
        })
    }

    #[test]
    fn a_file_that_comes_goes_or_is_another_key_is_the_cause_by_its_path() {
        let mut spec = fixtures::declared(1);
        let before = |declared: &Declared| {
            let mut revision = fixtures::live(declared.clone()).live.unwrap();
            revision.objects = rendered(declared);
            revision.reference = "a".into();
            revision
        };
        let said = |old: &Declared, new: &Declared| {
            cause(Some(&before(old)), new.version.as_str(), "a", &rendered(new))
        };
        let mut file = |key: &str| {
            let file = FileSource {
                holder: Holder::Secret,
                key: key.parse().unwrap(),
            };
            spec.files.insert("/run/key".into(), file);
            spec.clone()
        };
        let (none, one, other) = (fixtures::declared(1), file("app/a"), file("app/b"));
        assert_eq!(said(&none, &one), "file /run/key added");
        assert_eq!(said(&one, &other), "file /run/key changed");
        assert_eq!(said(&other, &none), "file /run/key removed");
        assert_eq!(said(&one, &one), "declared again");
    }
}
