//! [`crate::spec::Declared`] and an image digest → the objects of a release, as values.
//!
//! Pure: no client, no clock. Secrets are rendered as references only; no value ever enters this room.
//!
//! ```text
//! Input ─render→ [ServiceAccount, Service, PodDisruptionBudget…, Deployment…, Ingress]   in order of application
//!       ─migrate_job→ Job (suspended)      ─migrate_guard→ PodDisruptionBudget
//! [Object] ─store→ text of a revision ─restore→ [Object]      drift(desired, live) → paths      ours(…, live)
//! live ─owned→ Object, as it was applied      live ─takeover→ patch that makes it ours
//! ```
//!
//! Two rules hold for everything here. **Equal input, equal bytes**: an object is the full intent of the field
//! manager `slipway`, holds no default that the API server would fill in unless it is meant, and writes numbers
//! as the API server would store them, so that what was applied compares equal to what is read back. **A pod
//! template changes only with an attempt**: replicas, budgets, deadlines, version label and commit stay outside of it,
//! since any change there restarts every pod. The host is inside, as `Host` of an HTTP probe: it is part of an attempt
//! where a path is asked, as it is where a preset makes a variable of it.

use crate::{
    names::{CommitId, Digest, ObjectName, ProcessName, ReleaseId, ReleaseName, RevisionNumber, Uid},
    spec::declared::{Declared, ProcessSpec},
};

mod build;
mod builder;
mod compare;
mod deployment;
mod env;
#[cfg(test)]
mod fixtures;
mod job;
mod metadata;
pub mod object;
mod owned;
mod ownership;
mod pod;
pub(crate) mod quantity;
mod stored;
mod surroundings;
mod takeover;
mod trial;

pub use build::{
    BUILD, BuildInput, FETCH, GIT, LAYOUT, OPTIONS, PUSH, TESTS_FAILED, TIME, TREE, build_job, want,
};
pub use compare::drift;
pub use deployment::POLICY;
pub use env::{env, env_from};
pub use job::{MIGRATE, given, job_name, migrate_guard, migrate_job, run_of};
pub use metadata::owner_references;
pub use object::{Kind, Object, ObjectKey, Tree};
pub use owned::owned;
pub use ownership::{Ownership, object_annotation, ours};
pub use pod::FILES;
pub use stored::{NotStored, TooLarge, renumbered, restore, store, with_policy, with_record, with_replicas};
pub use takeover::{takeover, unadoptable};
pub use trial::{PROCESSES, trial_job};

/// Everything that the objects of a release depend on.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Whose objects.
    pub id: &'a ReleaseId,
    /// What was declared.
    pub declared: &'a Declared,
    /// What the image was resolved to; pods run exactly this.
    pub digest: &'a Digest,
    /// The architectures of the image (`amd64`, …); empty when they are not known.
    pub architectures: &'a [String],
    /// The revision that the objects belong to. It is in the pod template, so a caller that only scales or exposes
    /// renders with the number of the revision that runs.
    pub revision: RevisionNumber,
    /// Where in git it was declared; `None` for a release written by hand.
    pub provenance: Option<&'a Provenance>,
    /// Only for a release written by hand: deleting it deletes its objects, as Kubernetes users expect.
    pub owner: Option<&'a OwnerRef>,
}

impl<'a> Input<'a> {
    /// A first revision, of which nothing is known beyond what is declared and the image.
    #[must_use]
    pub fn of(id: &'a ReleaseId, declared: &'a Declared, digest: &'a Digest) -> Self {
        Self {
            id,
            declared,
            digest,
            architectures: &[],
            revision: RevisionNumber(1),
            provenance: None,
            owner: None,
        }
    }
}

/// Where in git a release was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The commit that last changed the files of this release.
    pub commit: CommitId,
    /// Its author. Kept in the revision; objects carry the commit alone.
    pub author: String,
    /// The file that gave the version, relative to the repository.
    pub path: String,
}

/// The `Release` that owns the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerRef {
    /// Its UID.
    pub uid: Uid,
    /// Its name.
    pub name: ReleaseName,
}

/// The objects of a release, in order of application.
#[must_use]
pub fn render(input: &Input<'_>) -> Vec<Object> {
    let processes = &input.declared.processes;
    let mut objects: Vec<Object> = [
        surroundings::service_account(input),
        surroundings::service(input),
        surroundings::ingress(input),
    ]
    .into_iter()
    .flatten()
    .collect();
    for (name, process) in processes {
        objects.extend(surroundings::budget(input, name, process));
        objects.push(deployment::deployment(input, name, process));
    }
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    objects
}

impl<'a> Input<'a> {
    /// The process that the top-level fields of the spec describe: `web`, or `worker` where nothing serves.
    fn primary(&self) -> Option<(&'a ProcessName, &'a ProcessSpec)> {
        let named = |wanted: &str| {
            self.declared
                .processes
                .iter()
                .find(|(name, _)| name.as_str() == wanted)
        };
        named("web").or_else(|| named("worker"))
    }

    /// The port that `process` serves on: only the primary process has one.
    fn port(&self, process: &ProcessName) -> Option<u16> {
        self.declared
            .port
            .filter(|_| self.primary().is_some_and(|(primary, _)| primary == process))
    }

    /// The name of the objects of one process: `<release>` or `<release>-<process>`. For ever.
    fn process_object(&self, process: &ProcessName) -> String {
        if self.primary().is_some_and(|(primary, _)| primary == process) {
            self.id.name.to_string()
        } else {
            format!("{}-{process}", self.id.name)
        }
    }

    /// The `ServiceAccount` that pods run under.
    fn service_account(&self) -> &str {
        self.declared
            .security
            .service_account
            .as_ref()
            .map_or(self.id.name.as_str(), ObjectName::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        fixtures::{Fixture, process},
        *,
    };

    fn keys(fixture: &Fixture) -> Vec<String> {
        render(&fixture.input())
            .iter()
            .map(|object| object.key.to_string())
            .collect()
    }

    #[test]
    fn objects_come_in_order_of_application() {
        let mut fixture = Fixture::web();
        fixture.expose("billing.acme.com");
        fixture
            .declared
            .processes
            .insert("jobs".parse().unwrap(), process(1));
        assert_eq!(
            keys(&fixture),
            [
                "ServiceAccount billing",
                "Service billing",
                "PodDisruptionBudget billing",
                "Deployment billing",
                "Deployment billing-jobs",
                "Ingress billing",
            ]
        );
    }

    #[test]
    fn a_worker_takes_the_name_of_the_release_and_serves_nothing() {
        assert_eq!(
            keys(&Fixture::worker()),
            ["ServiceAccount billing", "Deployment billing"]
        );
    }

    #[test]
    fn an_existing_service_account_is_used_and_not_made() {
        let mut fixture = Fixture::worker();
        fixture.declared.security.service_account = Some("shared".parse().unwrap());
        assert_eq!(keys(&fixture), ["Deployment billing"]);
        let objects = render(&fixture.input());
        let spec = &objects[0].value["spec"]["template"]["spec"];
        assert_eq!(spec["serviceAccountName"], "shared");
    }

    #[test]
    fn equal_input_gives_equal_bytes() {
        let fixture = Fixture::web();
        let once = store(&render(&fixture.input())).unwrap();
        assert_eq!(once, store(&render(&fixture.input())).unwrap());
    }

    #[test]
    fn what_only_scales_sets_policy_or_comes_from_another_commit_leaves_pods_alone() {
        let template = |fixture: &Fixture| {
            let objects = render(&fixture.input());
            let deployment = objects.iter().find(|o| o.key.kind == Kind::Deployment).unwrap();
            deployment.value["spec"]["template"].clone()
        };
        let before = Fixture::web();
        let mut after = Fixture::web();
        for process in after.declared.processes.values_mut() {
            process.replicas = 1;
        }
        after.declared.version = "9.9.9".parse().unwrap();
        after.declared.rollout.surge = "50%".into();
        after.declared.rollout.deadline = crate::api::Duration::from_secs(60);
        after.provenance.as_mut().unwrap().commit = "b".repeat(40).parse().unwrap();
        assert_eq!(template(&before), template(&after));
    }
}
