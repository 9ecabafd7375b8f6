//! Which objects of a revision must be in the cluster now, and which of them are not as they should be.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    migration::Migrated,
    observed::{LiveObject, Observed, Revision},
};
use crate::{
    api::{GROUP, meta},
    names::{ProcessName, Uid},
    render::{self, Kind, Object, ObjectKey, Ownership, drift, ours, with_replicas},
    spec::Declared,
};

/// An object with the resourceVersion that was seen of it.
pub type Write = (Object, Option<String>);

/// The objects of a revision with what git may change without an attempt: replicas and exposure.
#[must_use]
pub fn wanted(o: &Observed, revision: &Revision, declared: Option<&Declared>) -> Vec<Object> {
    let mut objects: Vec<Object> = revision
        .objects
        .iter()
        .filter(|object| o.exposure.is_empty() || runs(object))
        .map(|object| scaled(o, object, declared))
        .chain(o.exposure.iter().cloned())
        .map(|object| owned(o, object))
        .collect();
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    objects
}

/// The objects of a revision that git no longer, or not yet, means: its own exposure, the declared replicas where
/// something valid is declared.
#[must_use]
pub fn wanted_as_stored(o: &Observed, revision: &Revision, declared: Option<&Declared>) -> Vec<Object> {
    let mut objects: Vec<Object> = revision
        .objects
        .iter()
        .map(|object| owned(o, scaled(o, object, declared)))
        .collect();
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    objects
}

/// The object with the owner of now. A revision outlives its `Release`: an owner that is gone would have Kubernetes
/// collect what is applied, and one from before a source took over would take the application with it.
fn owned(o: &Observed, mut object: Object) -> Object {
    if let Some(metadata) = object.value.get_mut("metadata").and_then(Value::as_object_mut) {
        match &o.owner {
            Some(owner) => metadata.insert("ownerReferences".to_owned(), render::owner_references(owner)),
            None => metadata.remove("ownerReferences"),
        };
    }
    object
}

/// Whether an object has a `Release` for an owner that it should not have.
fn stray_owner(wanted: &Object, live: &LiveObject) -> bool {
    let owners = |value: &Value| -> Vec<Value> {
        let list = value
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array);
        let ours = |owner: &&Value| {
            owner["kind"] == "Release"
                && owner["apiVersion"]
                    .as_str()
                    .is_some_and(|version| version.starts_with(GROUP))
        };
        list.into_iter()
            .flatten()
            .filter(ours)
            .map(|owner| owner["uid"].clone())
            .collect()
    };
    let wanted = owners(&wanted.value);
    owners(&live.value).iter().any(|owner| !wanted.contains(owner))
}

/// Whether the object carries or identifies pods; the others expose or guard them.
#[must_use]
pub fn runs(object: &Object) -> bool {
    matches!(object.key.kind, Kind::Deployment | Kind::ServiceAccount)
}

/// The declared number of pods; where nothing valid is declared, the number that runs.
fn scaled(o: &Observed, object: &Object, declared: Option<&Declared>) -> Object {
    if object.key.kind != Kind::Deployment {
        return object.clone();
    }
    let process = object
        .value
        .pointer("/spec/selector/matchLabels")
        .and_then(|labels| labels.get(meta::PROCESS))
        .and_then(Value::as_str)
        .and_then(|name| name.parse::<ProcessName>().ok());
    let replicas = match (declared, process) {
        (Some(declared), Some(process)) => declared.processes.get(&process).map(|spec| spec.replicas),
        _ => o
            .objects
            .get(&object.key)
            .and_then(|live| live.value.pointer("/spec/replicas"))
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok()),
    };
    replicas.map_or_else(|| object.clone(), |replicas| with_replicas(object, replicas))
}

/// The wanted objects that are absent or differ.
#[must_use]
pub fn differing(o: &Observed, wanted: &[Object]) -> Vec<Write> {
    wanted
        .iter()
        .filter_map(|object| match o.objects.get(&object.key) {
            None => Some((object.clone(), None)),
            Some(live) if drift(&object.value, &live.value).is_empty() && !stray_owner(object, live) => None,
            Some(live) => Some((object.clone(), Some(live.resource_version.clone()))),
        })
        .collect()
}

/// The first wanted object whose name belongs to somebody else, with the manager who made it.
#[must_use]
pub fn foreign(o: &Observed, wanted: &[Object]) -> Option<(ObjectKey, String)> {
    wanted.iter().find_map(|object| {
        let live = o.objects.get(&object.key)?;
        match ours(&o.id, &object.key, &live.value) {
            Ownership::Ours => None,
            Ownership::Foreign { manager } => Some((object.key.clone(), manager)),
        }
    })
}

/// Objects of ours that nobody wants any more.
#[must_use]
pub fn unwanted(o: &Observed, wanted: &[Object]) -> Vec<(ObjectKey, Uid)> {
    o.objects
        .iter()
        .filter(|(key, _)| key.kind != Kind::Job && !wanted.iter().any(|object| object.key == **key))
        .filter(|(key, live)| ours(&o.id, key, &live.value) == Ownership::Ours)
        .filter(|(_, live)| live.value.pointer("/metadata/deletionTimestamp").is_none())
        .map(|(key, live)| (key.clone(), live.uid.clone()))
        .collect()
}

/// The live Deployments of a revision.
#[must_use]
pub fn deployments<'a>(o: &'a Observed, wanted: &[Object]) -> Vec<&'a LiveObject> {
    wanted
        .iter()
        .filter(|object| object.key.kind == Kind::Deployment)
        .filter_map(|object| o.objects.get(&object.key))
        .collect()
}

/// Objects whose writes need the gate, and those that need none (identity and exposure of pods that run).
#[must_use]
pub fn gated(gate: Migrated, objects: Vec<Write>) -> Option<super::Step> {
    (!objects.is_empty()).then_some(super::Step::Apply { gate, objects })
}

/// The revision that the Deployments in the cluster carry, by process.
#[must_use]
pub fn running_revisions(o: &Observed) -> BTreeMap<String, u64> {
    o.objects
        .iter()
        .filter(|(key, _)| key.kind == Kind::Deployment)
        .filter_map(|(key, live)| {
            let number = live
                .value
                .pointer("/metadata/annotations")?
                .get(meta::REVISION)?
                .as_str()?
                .parse()
                .ok()?;
            Some((key.name.clone(), number))
        })
        .collect()
}
