//! Fills [`Observed`]: every question to the API server that one pass needs, in an order that makes absences mean
//! something. The ledger is read before the Jobs, the Jobs before their pods.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace as NamespaceObject, Pod},
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};

use super::{
    error::ClusterError,
    facts,
    objects::{self, KINDS, found, pages, within},
};
use crate::{
    api::{ReleaseRevision, meta, revision::RevisionImage},
    names::{Digest, Namespace, ReleaseId, RevisionNumber, Uid},
    plan::{
        Ledger, MigrationKey,
        ledger::{Entry, EntryState},
        observed::{Doubts, JobSeen, LedgerSeen, LiveObject, LockSeen, NamespaceSeen, Pin, Revision},
        rotation,
    },
    render::ObjectKey,
};

mod failing;
mod operators;
mod pods;
mod printed;
mod references;

pub use failing::Rollout;
pub use pods::{Asked, blocked, pods};
pub use printed::{hash_of_build, hash_of_secrets, log_of_build};
pub use references::{database_of_job, references, rotated};

/// The revisions of a release.
#[derive(Debug, Default)]
pub struct Revisions {
    /// All that are kept, oldest first.
    pub all: Vec<Revision>,
    /// The same as objects.
    pub objects: Vec<ReleaseRevision>,
}

impl Revisions {
    /// The one of the highest number.
    #[must_use]
    pub fn current(&self) -> Option<&Revision> {
        self.all.last()
    }

    /// The newest that was Live once.
    #[must_use]
    pub fn live(&self) -> Option<&Revision> {
        // By number, not by time: clocks of two controllers differ.
        self.all.iter().rev().find(|revision| revision.was_live)
    }

    /// The one that failed before what serves was given other values.
    #[must_use]
    pub fn failed(&self) -> Option<&Revision> {
        rotation::failed_before(self.all.iter().rev())
    }

    /// The UID of each.
    #[must_use]
    pub fn uids(&self) -> BTreeMap<RevisionNumber, Uid> {
        self.objects
            .iter()
            .zip(&self.all)
            .filter_map(|(object, revision)| {
                let uid = object.metadata.uid.as_deref()?.parse().ok()?;
                Some((revision.number, uid))
            })
            .collect()
    }

    /// The image of each.
    #[must_use]
    pub fn digests(&self) -> BTreeMap<RevisionNumber, Digest> {
        self.all
            .iter()
            .map(|revision| (revision.number, revision.digest.clone()))
            .collect()
    }

    /// The highest counter `adopt` under which objects of others were taken over.
    #[must_use]
    pub fn adopted(&self) -> u64 {
        let counters = self.objects.iter().flat_map(|object| {
            let later = object.status.as_ref().and_then(|status| status.adopted);
            [object.spec.adopted, later]
        });
        let highest = counters.flatten().max().unwrap_or(0);
        u64::try_from(highest).unwrap_or(0)
    }

    /// The migrations that they have on record, each once: a success before anything else, then the newest.
    #[must_use]
    pub fn records(&self) -> Vec<(MigrationKey, Entry)> {
        let mut records: BTreeMap<MigrationKey, Entry> = BTreeMap::new();
        let done = |entry: &Entry| matches!(entry.state, EntryState::Succeeded | EntryState::Accepted);
        for (object, revision) in self.objects.iter().zip(&self.all) {
            if let Some((key, entry)) = facts::record(object, revision)
                && records
                    .get(&key)
                    .is_none_or(|before| !done(before) || done(&entry))
            {
                records.insert(key, entry);
            }
        }
        records.into_iter().collect()
    }

    /// What looked like a secret in the image of the revision that serves. Who has the digest from an earlier revision did not
    /// ask for it again, so all that have it count.
    #[must_use]
    pub fn suspicious(&self) -> Vec<String> {
        self.said_of_image(|image| &image.suspicious)
    }

    /// What it says of itself that is not what was declared: of the version of this revision, and of no other that has the
    /// same image.
    #[must_use]
    pub fn doubted(&self) -> Doubts {
        let serving = self.live().or_else(|| self.current());
        let image = serving.and_then(|serving| self.image(serving.number));
        image.map(facts::doubts).unwrap_or_default()
    }

    /// What was found in its source when it was built here.
    #[must_use]
    pub fn warned(&self) -> Vec<String> {
        self.said_of_image(|image| &image.warned)
    }

    fn said_of_image(&self, of: impl Fn(&RevisionImage) -> &Vec<String>) -> Vec<String> {
        let Some(serving) = self.live().or_else(|| self.current()) else {
            return Vec::new();
        };
        let of_image = self.objects.iter().zip(&self.all);
        let found: BTreeSet<&String> = of_image
            .filter(|(_, revision)| revision.digest == serving.digest)
            .flat_map(|(object, _)| of(&object.spec.image))
            .collect();
        found.into_iter().cloned().collect()
    }

    /// The image that a retained revision already resolved this reference to, under this counter `repin`.
    #[must_use]
    pub fn pin(&self, reference: &str, repin: u64) -> Option<Pin> {
        let mut newest_first = self.all.iter().rev();
        let revision =
            newest_first.find(|revision| revision.reference == reference && revision.repin == repin)?;
        Some(Pin {
            digest: revision.digest.clone(),
            revision: revision.number,
            record: self
                .image(revision.number)
                .map(facts::of_image)
                .unwrap_or_default(),
        })
    }

    fn image(&self, number: RevisionNumber) -> Option<&RevisionImage> {
        let mut both = self.objects.iter().zip(&self.all);
        both.find(|(_, revision)| revision.number == number)
            .map(|(object, _)| &object.spec.image)
    }
}

/// The namespace of a release.
pub async fn namespace(client: &Client, name: &Namespace) -> Result<NamespaceSeen, ClusterError> {
    let api: Api<NamespaceObject> = Api::all(client.clone());
    let namespace = found(within(|| format!("get namespace {name}"), api.get(name.as_str())).await)?;
    Ok(match namespace {
        None => NamespaceSeen::Missing,
        Some(namespace) if namespace.metadata.deletion_timestamp.is_some() => NamespaceSeen::Terminating,
        Some(_) => NamespaceSeen::Present,
    })
}

/// The revisions of a release.
pub async fn revisions(client: &Client, id: &ReleaseId) -> Result<Revisions, ClusterError> {
    let api: Api<ReleaseRevision> = Api::namespaced(client.clone(), id.namespace.as_str());
    let params = ListParams::default().labels(&format!("{}={}", meta::RELEASE, id.name));
    let list = within(|| format!("list the revisions of {id}"), api.list(&params)).await?;
    let mut objects = list.items;
    objects.sort_by_key(|object| object.spec.number);
    let all = objects
        .iter()
        .map(|object| facts::revision(object).map_err(ClusterError::Unreadable))
        .collect::<Result<_, _>>()?;
    Ok(Revisions { all, objects })
}

/// The ledger of a release.
pub async fn ledger(client: &Client, id: &ReleaseId) -> Result<Option<LedgerSeen>, ClusterError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), id.namespace.as_str());
    let name = ledger_name(id);
    let Some(map) = found(within(|| format!("get the ledger of {id}"), api.get(&name)).await)? else {
        return Ok(None);
    };
    if map.labels().get(meta::RELEASE).map(String::as_str) != Some(id.name.as_str()) {
        return Err(ClusterError::Unreadable(format!(
            "ConfigMap {name} in {} stands where the record of migrations belongs, and was not made by Slipway: it has no \
             label {}={}; rename or remove it",
            id.namespace,
            meta::RELEASE,
            id.name
        )));
    }
    let ledger = Ledger::parse(&map.data.unwrap_or_default()).map_err(|error| {
        ClusterError::Unreadable(format!("ConfigMap {name} in {}: {error}", id.namespace))
    })?;
    Ok(Some(LedgerSeen {
        ledger,
        resource_version: map.metadata.resource_version.unwrap_or_default(),
    }))
}

/// The name of the ledger's ConfigMap.
#[must_use]
pub fn ledger_name(id: &ReleaseId) -> String {
    format!("{}-ledger", id.name)
}

/// The migration Jobs of a release, and whatever stands under their names.
pub async fn jobs(client: &Client, id: &ReleaseId) -> Result<Vec<JobSeen>, ClusterError> {
    let api: Api<Job> = Api::namespaced(client.clone(), id.namespace.as_str());
    let prefix = format!("{}-migrate-", id.name);
    let mut jobs = Vec::new();
    // Without a label selector: a stranger's Job under our name must be seen too. So they may be many, of CronJobs above all.
    let attempted = || format!("list the Jobs of {id}");
    pages(attempted, &api, ListParams::default(), |job: Job| {
        if job.name_any().starts_with(&prefix) {
            jobs.extend(facts::job(id, &job));
        }
    })
    .await?;
    Ok(jobs)
}

/// A lock, and whether its holder is over.
pub async fn lock(client: &Client, own: &Namespace, name: &str) -> Result<LockSeen, ClusterError> {
    let api: Api<Lease> = Api::namespaced(client.clone(), own.as_str());
    let Some(lease) = found(within(|| format!("get the lock {name}"), api.get(name)).await)? else {
        return Ok(LockSeen::Absent);
    };
    let resource_version = lease.metadata.resource_version.clone().unwrap_or_default();
    let by = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or("");
    let Ok(by) = by.parse::<crate::names::Uid>() else {
        return Ok(LockSeen::Free { resource_version });
    };
    let holder = lease
        .annotations()
        .get(meta::LOCK_HOLDER)
        .cloned()
        .unwrap_or_default();
    let over = match holder.split_once('/') {
        None => {
            return Err(ClusterError::Unreadable(format!(
                "the lock {name} does not say whose Job {by} is"
            )));
        }
        Some((namespace, job)) => holder_is_over(client, namespace, job, by.as_str()).await?,
    };
    Ok(LockSeen::Held {
        by,
        holder,
        over,
        resource_version,
    })
}

/// Finished or gone, and no pod of it running: a raw DELETE of a Job leaves its pods behind.
async fn holder_is_over(
    client: &Client,
    namespace: &str,
    job: &str,
    uid: &str,
) -> Result<bool, ClusterError> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let holder = found(within(|| format!("get Job {namespace}/{job}"), jobs.get(job)).await)?;
    if let Some(holder) = holder
        && holder.metadata.uid.as_deref() == Some(uid)
        && facts::job_end(&holder).is_none()
    {
        return Ok(false);
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
    let list = within(
        || format!("list the pods of Job {namespace}/{job}"),
        pods.list(&params),
    )
    .await?;
    Ok(list.items.iter().all(facts::pod_is_terminal))
}

/// Objects of the release by label, and whatever stands under the names that are wanted.
pub async fn objects(
    client: &Client,
    id: &ReleaseId,
    wanted: &BTreeSet<ObjectKey>,
) -> Result<BTreeMap<ObjectKey, LiveObject>, ClusterError> {
    let lists = futures::future::try_join_all(KINDS.map(|kind| objects::list(client, id, kind))).await?;
    let mut all: BTreeMap<ObjectKey, LiveObject> = lists.into_iter().flatten().collect();
    for key in wanted {
        if !all.contains_key(key)
            && let Some((key, live)) = objects::get(client, id, key).await?
        {
            all.insert(key, live);
        }
    }
    Ok(all)
}
