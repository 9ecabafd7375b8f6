//! Which objects of a revision must be in the cluster now, and which of them are not as they should be.

use std::collections::BTreeMap;

use serde_json::Value;

#[cfg(test)]
use super::mutant::{self, Mutant};
use super::{
    decision::Step,
    migration::Migrated,
    observed::{LiveObject, Observed, Revision},
    rollout::Progress,
};
use crate::{
    api::{GROUP, meta},
    names::{ProcessName, Uid},
    render::{self, Kind, Object, ObjectKey, Ownership, drift, ours, with_policy, with_replicas},
    spec::Declared,
};

/// An object with the resourceVersion that was seen of it.
pub type Write = (Object, Option<String>);

/// The objects of a revision with what git may change without an attempt: replicas, rollout policy and exposure.
#[must_use]
pub fn wanted(o: &Observed, revision: &Revision, declared: Option<&Declared>) -> Vec<Object> {
    let mut objects: Vec<Object> = revision
        .objects
        .iter()
        .filter(|object| o.exposure.is_empty() || !object.exposes())
        .map(|object| followed(o, object, declared))
        .chain(o.exposure.iter().cloned())
        .map(|object| owned(o, object))
        .collect();
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    objects
}

/// The objects of a revision that git no longer, or not yet, means: its own exposure, the declared replicas and rollout
/// policy where something valid is declared.
#[must_use]
pub fn wanted_as_stored(o: &Observed, revision: &Revision, declared: Option<&Declared>) -> Vec<Object> {
    let mut objects: Vec<Object> = revision
        .objects
        .iter()
        .map(|object| owned(o, followed(o, object, declared)))
        .collect();
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    objects
}

/// The objects of `live` while `failed`, which git still declares, was rolled back. What exposes them is that of `live`
/// too, but for what git has changed since `failed` was made: such a commit makes no attempt, and is applied to what runs.
#[must_use]
pub fn wanted_after(o: &Observed, failed: &Revision, live: &Revision, declared: &Declared) -> Vec<Object> {
    let as_stored = wanted_as_stored(o, live, Some(declared));
    if o.exposure.is_empty() {
        return as_stored;
    }
    let of_failed = |key: &ObjectKey| failed.objects.iter().find(|object| object.key == *key);
    let now = |key: &ObjectKey| o.exposure.iter().find(|object| object.key == *key);
    let changed = |key: &ObjectKey| !same_but_owner(of_failed(key), now(key));
    let mut objects: Vec<Object> = as_stored
        .into_iter()
        .filter(|object| !object.exposes() || !changed(&object.key))
        .collect();
    let added = o.exposure.iter().filter(|object| changed(&object.key)).cloned();
    objects.extend(added.map(|object| owned(o, object)));
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    objects
}

/// The step that keeps beside a revision what exposes it now, where it was made with something else: a rollback to it,
/// or a wait for the next version, must not bring that back.
#[must_use]
pub fn keep_exposure(revision: &Revision, wanted: &[Object]) -> Option<Step> {
    let exposing = |objects: &[Object]| -> Vec<Object> {
        let mut objects: Vec<Object> = objects
            .iter()
            .filter(|object| object.exposes())
            .cloned()
            .collect();
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        objects
    };
    let (own, now) = (exposing(&revision.objects), exposing(wanted));
    let same = own.len() == now.len()
        && own
            .iter()
            .zip(&now)
            .all(|(own, now)| own.key == now.key && same_but_owner(Some(own), Some(now)));
    (!same).then_some(Step::Expose {
        revision: revision.number,
        objects: now,
    })
}

/// Whether two renderings of one object say the same, whoever owns it; the hash of what was rendered covers the owner.
fn same_but_owner(one: Option<&Object>, other: Option<&Object>) -> bool {
    let bare = |object: &Object| {
        let mut value = object.value.clone();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("ownerReferences");
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove(meta::RENDERED);
            }
        }
        value
    };
    one.map(bare) == other.map(bare)
}

/// The object with the owner of now. A revision outlives its `Release`: an owner that is gone would have Kubernetes
/// collect what is applied, and one from before a source took over would take the application with it.
fn owned(o: &Observed, mut object: Object) -> Object {
    let owners = o.owner.as_ref().map(render::owner_references);
    if object.value.pointer("/metadata/ownerReferences") == owners.as_ref() {
        return object;
    }
    if let Some(metadata) = object.value.get_mut("metadata").and_then(Value::as_object_mut) {
        match owners {
            Some(owners) => metadata.insert("ownerReferences".to_owned(), owners),
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

/// The object with the declared number of pods and the declared policy of its rollouts; where nothing valid is declared,
/// with what runs.
fn followed(o: &Observed, object: &Object, declared: Option<&Declared>) -> Object {
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
    let mut object = replicas.map_or_else(|| object.clone(), |replicas| with_replicas(object, replicas));
    if let Some(declared) = declared {
        return with_policy(object, &declared.rollout);
    }
    let live = o.objects.get(&object.key).and_then(|live| live.value.get("spec"));
    for (field, value) in render::POLICY
        .iter()
        .filter_map(|field| Some((*field, live?.get(*field)?)))
    {
        if object.value.get("spec").and_then(|spec| spec.get(field)) != Some(value)
            && let Some(spec) = object.value.get_mut("spec").and_then(Value::as_object_mut)
        {
            spec.insert(field.to_owned(), value.clone());
        }
    }
    object
}

/// The wanted objects that are absent or differ, but for those that are let be.
#[must_use]
pub fn differing(o: &Observed, wanted: &[Object]) -> Vec<Write> {
    wanted
        .iter()
        .filter(|object| !o.let_be.contains(&object.key))
        .filter_map(|object| match o.objects.get(&object.key) {
            None => Some((object.clone(), None)),
            #[cfg(test)]
            Some(live) if mutant::is(Mutant::Restless) => {
                Some((object.clone(), Some(live.resource_version.clone())))
            }
            Some(live) if drift(&object.value, &live.value).is_empty() && !stray_owner(object, live) => None,
            Some(live) => Some((object.clone(), Some(live.resource_version.clone()))),
        })
        .collect()
}

/// The first wanted object whose name belongs to somebody else, with the manager who made it.
#[must_use]
pub fn foreign(o: &Observed, wanted: &[Object]) -> Option<(ObjectKey, String)> {
    wanted.iter().find_map(|object| {
        #[cfg(test)]
        if mutant::is(Mutant::StrangerIsOurs) {
            return None;
        }
        let live = o.objects.get(&object.key)?;
        match ours(&o.id, &object.key, &live.value) {
            Ownership::Ours => None,
            Ownership::Foreign { manager } => Some((object.key.clone(), manager)),
        }
    })
}

/// Objects of ours that nobody wants any more. The account that wanted pods run under is wanted, also by a revision whose
/// record was lost and made again while the account was not there.
#[must_use]
pub fn unwanted(o: &Observed, wanted: &[Object]) -> Vec<(ObjectKey, Uid)> {
    let runs_under = |account: &ObjectKey| {
        wanted.iter().any(|object| {
            let name = object.value.pointer("/spec/template/spec/serviceAccountName");
            name.and_then(|name| name.as_str()) == Some(account.name.as_str())
        })
    };
    o.objects
        .iter()
        .filter(|(key, _)| key.kind != Kind::ServiceAccount || !runs_under(key))
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

/// How far wanted Deployments are: none is where it should be that is gone, or has other pods, and is let be.
#[must_use]
pub fn as_far_as_let(o: &Observed, wanted: &[Object], progress: Progress) -> Progress {
    let strays = |object: &&Object| match o.objects.get(&object.key) {
        None => true,
        // None at all are complete as soon as they are asked for.
        Some(live) if live.value.pointer("/spec/replicas") == Some(&Value::from(0)) => {
            object.value.pointer("/spec/replicas") != Some(&Value::from(0))
        }
        Some(live) => drift(&object.value, &live.value)
            .iter()
            .any(|path| path.starts_with("spec.template")),
    };
    let let_be = wanted.iter().filter(|object| o.let_be.contains(&object.key));
    let mut deployments = let_be.filter(|object| object.key.kind == Kind::Deployment);
    match (progress, deployments.find(strays)) {
        (Progress::Complete, Some(object)) => {
            Progress::Moving(format!("{} is not as it was rolled out", object.key))
        }
        (progress, _) => progress,
    }
}

/// Objects whose writes need the gate, and those that need none (identity and exposure of pods that run).
#[must_use]
pub fn gated(gate: Migrated, objects: Vec<Write>) -> Option<Step> {
    (!objects.is_empty()).then_some(Step::Apply { gate, objects })
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
