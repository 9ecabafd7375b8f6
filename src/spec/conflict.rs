//! Releases whose objects would have the same names: the Deployment of the process `worker` of `shop` is
//! `shop-worker`, and so is that of a release `shop-worker`; what keeps drains from a migration of `shop` is the budget
//! `shop-migrate`, and so is that of a release `shop-migrate` of two pods.
//!
//! What else Slipway makes for a release cannot meet: ledger, generated Secret, revisions and Jobs end in a word or a
//! number that is cut off again in one way alone, and what is before it is the name of one release.

use std::collections::{BTreeMap, BTreeSet};

use super::{Declared, document::Problem, reading::Release};
use crate::{
    names::{Digest, ReleaseId},
    render::{self, Input, Kind, ObjectKey},
};

/// A release, and the pointer of what the object is for.
type Owner<'a> = (&'a ReleaseId, &'a Release, String);

/// Every release that would share an object with another one, with a problem that names both.
pub(super) fn find(releases: &BTreeMap<ReleaseId, Release>) -> Vec<(ReleaseId, Problem)> {
    let mut owners: BTreeMap<(&str, String, Rank), Vec<Owner<'_>>> = BTreeMap::new();
    let near = near(releases);
    for (id, release) in releases.iter().filter(|(id, _)| near.contains(id)) {
        let Some(declared) = &release.declared else {
            continue;
        };
        for (key, pointer) in objects(id, declared) {
            owners
                .entry((id.namespace.as_str(), key.name, Rank::of(key.kind)))
                .or_default()
                .push((id, release, pointer));
        }
    }
    let mut found = Vec::new();
    let mut said = BTreeSet::new();
    for ((namespace, name, Rank(_, kind)), owners) in owners.iter().filter(|(_, owners)| owners.len() > 1) {
        for (id, release, pointer) in owners {
            // Two processes of one name share the Deployment and its budget: one sentence is enough.
            if !said.insert((*namespace, name, *id)) {
                continue;
            }
            let others: Vec<String> = owners
                .iter()
                .filter(|(other, ..)| other != id)
                .map(|(other, ..)| other.to_string())
                .collect();
            let message = format!(
                "release {id}: its {} {name} would also be that of {}: rename a process or a release",
                kind.as_str(),
                others.join(", ")
            );
            found.push(((*id).clone(), release.merged.problem(pointer, &message)));
        }
    }
    found
}

/// The releases of which one has a name that begins with that of another one of its namespace, as names of objects do: no
/// others can meet, and this is asked of every commit.
fn near(releases: &BTreeMap<ReleaseId, Release>) -> BTreeSet<&ReleaseId> {
    let names: BTreeMap<(&str, &str), &ReleaseId> = releases
        .keys()
        .map(|id| ((id.namespace.as_str(), id.name.as_str()), id))
        .collect();
    let mut near = BTreeSet::new();
    for ((namespace, name), id) in &names {
        let beginnings = name.match_indices('-').filter_map(|(at, _)| name.get(..at));
        for other in beginnings.filter_map(|beginning| names.get(&(*namespace, beginning))) {
            near.extend([*id, *other]);
        }
    }
    near
}

/// A kind, in the order in which it is named: what runs before what is around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(bool, Kind);

impl Rank {
    fn of(kind: Kind) -> Self {
        Self(kind != Kind::Deployment, kind)
    }
}

/// Every object that a release would have, with the pointer of what it is for.
fn objects(id: &ReleaseId, declared: &Declared) -> Vec<(ObjectKey, String)> {
    // No name follows from the image.
    let Ok(digest) = format!("sha256:{}", "0".repeat(64)).parse::<Digest>() else {
        return Vec::new();
    };
    let input = Input::of(id, declared, &digest);
    let process = |name: &str| {
        let own = name.strip_prefix(id.name.as_str())?.strip_prefix('-')?;
        Some(format!("/processes/{own}"))
    };
    let mut all: Vec<(ObjectKey, String)> = render::render(&input)
        .into_iter()
        .map(|object| {
            let pointer = process(&object.key.name).unwrap_or_default();
            (object.key, pointer)
        })
        .collect();
    if declared.migrate.is_some() {
        let guard = render::migrate_guard(&input, "");
        all.push((guard.key, "/migrate".to_owned()));
    }
    all
}
