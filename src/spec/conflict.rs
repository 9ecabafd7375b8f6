//! Releases whose objects would have the same names: the Deployment of the process `worker` of `shop` is
//! `shop-worker`, and so is that of a release `shop-worker`.

use std::collections::BTreeMap;

use super::{document::Problem, reading::Release};
use crate::names::{ProcessName, ReleaseId};

/// A release, and the pointer of the process that the Deployment is for.
type Owner<'a> = (&'a ReleaseId, &'a Release, String);

/// Every release that would share an object with another one, with a problem that names both.
pub(super) fn find(releases: &BTreeMap<ReleaseId, Release>) -> Vec<(ReleaseId, Problem)> {
    let mut owners: BTreeMap<(&str, String), Vec<Owner<'_>>> = BTreeMap::new();
    for (id, release) in releases {
        let Some(declared) = &release.declared else {
            continue;
        };
        let primary = if declared.port.is_some() {
            ProcessName::web()
        } else {
            ProcessName::worker()
        };
        for process in declared.processes.keys() {
            let name = if *process == primary {
                id.name.to_string()
            } else {
                format!("{}-{process}", id.name)
            };
            let owner = (id, release, format!("/processes/{process}"));
            owners
                .entry((id.namespace.as_str(), name))
                .or_default()
                .push(owner);
        }
    }
    let mut found = Vec::new();
    for ((_, name), owners) in owners.iter().filter(|(_, owners)| owners.len() > 1) {
        for (id, release, pointer) in owners {
            let others: Vec<String> = owners
                .iter()
                .filter(|(other, ..)| other != id)
                .map(|(other, ..)| other.to_string())
                .collect();
            let message = format!(
                "release {id}: its Deployment {name} would also be that of {}: rename a process or a release",
                others.join(", ")
            );
            found.push(((*id).clone(), release.merged.problem(pointer, &message)));
        }
    }
    found
}
