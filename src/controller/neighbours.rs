//! Which releases a Secret or a `ConfigMap` wakes: the releases of each namespace, kept as their watch names them, so that an
//! event costs what its namespace has and not what the cluster has.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    core::{ObjectMeta, PartialObjectMeta},
    runtime::{reflector::ObjectRef, watcher::Event},
};

use super::{releases::Meta, subject::release_id};
use crate::{api::meta, cluster::observe::ledger_name, names::ReleaseId};

/// The releases of each namespace.
#[derive(Debug, Clone, Default)]
pub struct Neighbours(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    known: HashMap<String, BTreeSet<String>>,
    /// What a list in progress has named so far.
    listed: HashMap<String, BTreeSet<String>>,
}

impl Neighbours {
    /// Takes note of what the watch of releases tells.
    pub fn note(&self, event: &Event<Meta>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => state.listed.clear(),
            // Not known before the list is whole: the store, in which a woken release is looked up, has it then too.
            Event::InitApply(release) => add(&mut state.listed, &release.metadata),
            Event::InitDone => state.known = mem::take(&mut state.listed),
            Event::Apply(release) => add(&mut state.known, &release.metadata),
            Event::Delete(release) => remove(&mut state.known, &release.metadata),
        }
    }

    /// The releases that a `ConfigMap` may concern.
    pub fn of_map(&self, map: &PartialObjectMeta<ConfigMap>) -> Vec<ObjectRef<Meta>> {
        match of_ledger(map) {
            Some(id) => vec![ObjectRef::new(id.name.as_str()).within(id.namespace.as_str())],
            None => self.all(&map.metadata),
        }
    }

    /// The releases that a Secret may concern. That it has the label of one does not keep it from the others: each may name
    /// what is generated for another one, and a Secret that somebody copied has the labels of the first.
    pub fn of_secret(&self, secret: &PartialObjectMeta<Secret>) -> Vec<ObjectRef<Meta>> {
        self.all(&secret.metadata)
    }

    /// All of the namespace: any of them may refer to the object, or want its name.
    fn all(&self, object: &ObjectMeta) -> Vec<ObjectRef<Meta>> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(namespace) = object.namespace.as_deref() else {
            return Vec::new();
        };
        let names = state.known.get(namespace).into_iter().flatten();
        names.map(|name| ObjectRef::new(name).within(namespace)).collect()
    }
}

/// The release whose record of migrations this is. It changes with each step of a migration and is for no other release.
fn of_ledger(map: &PartialObjectMeta<ConfigMap>) -> Option<ReleaseId> {
    let name = map.metadata.labels.as_ref()?.get(meta::RELEASE)?;
    let of_label = ObjectMeta {
        name: Some(name.clone()),
        namespace: map.metadata.namespace.clone(),
        ..ObjectMeta::default()
    };
    release_id(&of_label).filter(|id| map.metadata.name.as_deref() == Some(&ledger_name(id)))
}

fn add(releases: &mut HashMap<String, BTreeSet<String>>, release: &ObjectMeta) {
    if let (Some(namespace), Some(name)) = (&release.namespace, &release.name) {
        let names = releases.entry(namespace.clone()).or_default();
        names.insert(name.clone());
    }
}

fn remove(releases: &mut HashMap<String, BTreeSet<String>>, release: &ObjectMeta) {
    if let (Some(namespace), Some(name)) = (&release.namespace, &release.name)
        && let Some(names) = releases.get_mut(namespace)
    {
        names.remove(name);
        if names.is_empty() {
            releases.remove(namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::PartialObjectMetaExt as _;

    use super::*;

    fn object<K>(namespace: &str, name: &str, of: Option<&str>) -> PartialObjectMeta<K> {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: of.map(|of| [(meta::RELEASE.to_owned(), of.to_owned())].into()),
            ..ObjectMeta::default()
        };
        metadata.into_response_partial()
    }

    fn release(namespace: &str, name: &str) -> Meta {
        object(namespace, name, None)
    }

    fn neighbours() -> Neighbours {
        let neighbours = Neighbours::default();
        for (namespace, name) in [("shop", "a"), ("shop", "b"), ("other", "c")] {
            neighbours.note(&Event::Apply(release(namespace, name)));
        }
        neighbours
    }

    fn names(woken: Vec<ObjectRef<Meta>>) -> Vec<String> {
        let name = |release: ObjectRef<Meta>| format!("{}/{}", release.namespace.unwrap(), release.name);
        woken.into_iter().map(name).collect()
    }

    #[test]
    fn a_ledger_wakes_its_own_release_alone() {
        let neighbours = neighbours();
        assert_eq!(
            names(neighbours.of_map(&object("shop", "a-ledger", Some("a")))),
            ["shop/a"]
        );
    }

    #[test]
    fn whatever_a_release_may_refer_to_or_stumble_upon_wakes_all_of_its_namespace() {
        let neighbours = neighbours();
        for (name, of) in [
            ("settings", None),
            ("a-ledger", None),
            ("settings", Some("a")),
            ("b-ledger", Some("a")),
        ] {
            let woken = neighbours.of_map(&object("shop", name, of));
            assert_eq!(names(woken), ["shop/a", "shop/b"], "ConfigMap {name}");
        }
        for (name, of) in [("db", None), ("a-generated", Some("a"))] {
            let woken = neighbours.of_secret(&object("shop", name, of));
            assert_eq!(names(woken), ["shop/a", "shop/b"], "Secret {name}");
        }
        assert!(neighbours.of_secret(&object("empty", "db", None)).is_empty());
    }

    #[test]
    fn releases_that_went_are_not_woken_be_it_told_by_a_deletion_or_by_a_new_list() {
        let neighbours = neighbours();
        let woken = || names(neighbours.of_secret(&object("shop", "db", None)));
        neighbours.note(&Event::Delete(release("shop", "a")));
        assert_eq!(woken(), ["shop/b"]);
        neighbours.note(&Event::Init);
        neighbours.note(&Event::InitApply(release("shop", "d")));
        assert_eq!(woken(), ["shop/b"], "until the list is whole");
        neighbours.note(&Event::InitDone);
        assert_eq!(woken(), ["shop/d"]);
    }
}
