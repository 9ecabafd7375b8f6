//! Fills [`Observed`]: every question to the API server that one pass needs, in an order that makes absences mean
//! something. The ledger is read before the Jobs, the Jobs before their pods.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event, Namespace as NamespaceObject, Pod, Secret},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, LogParams},
};

use secrecy::{ExposeSecret, SecretString};

use super::{
    error::ClusterError,
    facts,
    hash_key::HashKey,
    objects::{self, KINDS, found, within},
};
use crate::{
    api::{
        ReleaseRevision, meta,
        release::{EnvValue, KeyRef},
        revision::Outcome,
    },
    names::{EnvName, Namespace, ObjectName, ReleaseId, RevisionNumber, Uid},
    plan::{
        Ledger, MigrationKey,
        ledger::{Entry, EntryState},
        observed::{
            DatabaseSeen, Fingerprints, JobPodSeen, JobSeen, LedgerSeen, LiveObject, LockSeen, NamespaceSeen,
            PodSeen, Revision,
        },
    },
    render::ObjectKey,
    spec::{Declared, redact::redact},
};

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

    /// The retained revision that already resolved this reference.
    #[must_use]
    pub fn pin(
        &self,
        reference: &str,
    ) -> Option<(crate::names::Digest, crate::names::RevisionNumber, Vec<String>)> {
        self.all
            .iter()
            .rev()
            .find(|revision| revision.reference == reference)
            .map(|revision| {
                let platforms = self
                    .objects
                    .iter()
                    .find(|object| object.spec.number == i64::try_from(revision.number.0).unwrap_or(-1))
                    .map(|object| object.spec.image.platforms.clone())
                    .unwrap_or_default();
                (revision.digest.clone(), revision.number, platforms)
            })
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
    // Without a label selector: a stranger's Job under our name must be seen too.
    let list = within(
        || format!("list the Jobs of {id}"),
        api.list(&ListParams::default()),
    )
    .await?;
    let prefix = format!("{}-migrate-", id.name);
    Ok(list
        .items
        .iter()
        .filter(|job| job.name_any().starts_with(&prefix))
        .filter_map(|job| facts::job(id, job))
        .collect())
}

/// Why there is no pod of a Job that should have one; `None` while nothing is known against it.
pub async fn blocked(client: &Client, id: &ReleaseId, job: &JobSeen) -> Result<Option<String>, ClusterError> {
    let api: Api<Event> = Api::namespaced(client.clone(), id.namespace.as_str());
    let selector = format!("involvedObject.uid={},reason=FailedCreate", job.uid);
    let params = ListParams::default().fields(&selector);
    let list = within(
        || format!("list the events of Job {} of {id}", job.name),
        api.list(&params),
    )
    .await?;
    let newest = list
        .items
        .into_iter()
        .max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    Ok(newest
        .and_then(|event| event.message)
        .map(|message| facts::blocked(&message)))
}

/// All pods of a release: those of migrations and those of processes. `proof` is looked for in the log of a migration
/// that ended well.
pub async fn pods(
    client: &Client,
    id: &ReleaseId,
    boots: &BTreeMap<String, String>,
    now: Timestamp,
    asked: &Asked<'_>,
) -> Result<(Vec<JobPodSeen>, Vec<PodSeen>), ClusterError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), id.namespace.as_str());
    let params = ListParams::default().labels(&format!("{}={}", meta::RELEASE, id.name));
    let list = within(|| format!("list the pods of {id}"), api.list(&params)).await?;
    let (tasks, processes): (Vec<&Pod>, Vec<&Pod>) = list
        .items
        .iter()
        .partition(|pod| pod.labels().contains_key(meta::TASK));
    let mut of_jobs = Vec::new();
    let mut secrets = Secrets {
        client,
        namespace: &id.namespace,
        read: BTreeMap::new(),
    };
    for pod in tasks {
        let Some(mut seen) = facts::job_pod(pod, boots, now) else {
            continue;
        };
        if seen.terminal && seen.started && asked.of.contains(&seen.job) {
            if seen.exit_code != Some(0) {
                let log = log_tail(&api, &pod.name_any()).await;
                let text = if log.trim().is_empty() { seen.tail } else { log };
                // What this pod saw, whatever the spec refers to by now; before anything is cut, so that no half of a
                // value is left.
                let values = secrets_of(&mut secrets, pod).await;
                let values: Vec<&str> = values.iter().map(ExposeSecret::expose_secret).collect();
                seen.tail = last_chars(&redact(&text, &values), TAIL);
            } else if let Some(proof) = asked.proof {
                seen.proven = log_holds(&api, &pod.name_any(), proof).await;
            }
        } else {
            // A message that nobody will tell.
            seen.tail.clear();
        }
        of_jobs.push(seen);
    }
    Ok((of_jobs, processes.into_iter().map(facts::pod).collect()))
}

/// Of which Jobs more is wanted than their state.
#[derive(Debug, Default)]
pub struct Asked<'a> {
    /// Those whose outcome is not yet booked and told.
    pub of: BTreeSet<Uid>,
    /// The text that the log of a success must hold.
    pub proof: Option<&'a str>,
}

/// Whether a log holds a text, in its last 4 MiB; `None` when it cannot be had.
async fn log_holds(api: &Api<Pod>, name: &str, text: &str) -> Option<bool> {
    let params = LogParams {
        limit_bytes: Some(4 << 20),
        tail_lines: Some(2_000),
        ..LogParams::default()
    };
    let log = within(|| format!("read the log of pod {name}"), api.logs(name, &params)).await;
    log.ok().map(|log| log.contains(text))
}

/// The last lines of a log; empty when it cannot be had (it is a courtesy, not a fact).
async fn log_tail(api: &Api<Pod>, name: &str) -> String {
    let params = LogParams {
        tail_lines: Some(40),
        // The API server gives the first bytes of those lines: as many as lines that people can read may have.
        limit_bytes: Some(256 * 1024),
        ..LogParams::default()
    };
    within(|| format!("read the log of pod {name}"), api.logs(name, &params))
        .await
        .unwrap_or_default()
}

/// Of a log, in characters.
const TAIL: usize = 3500;

fn last_chars(text: &str, count: usize) -> String {
    let skipped = text.chars().count().saturating_sub(count);
    text.chars().skip(skipped).collect()
}

/// The values of Secrets that a pod was given; those that are gone by now cannot be known.
async fn secrets_of(secrets: &mut Secrets<'_>, pod: &Pod) -> Vec<SecretString> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let references = containers
        .flat_map(|container| container.env.iter().flatten())
        .filter_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref());
    let mut values = Vec::new();
    for reference in references {
        let Ok(name) = reference.name.parse::<ObjectName>() else {
            continue;
        };
        if let Ok(Some(secret)) = secrets.get(&name).await
            && let Some(value) = secret.data.as_ref().and_then(|data| data.get(&reference.key))
            && let Ok(text) = std::str::from_utf8(&value.0)
        {
            values.push(SecretString::from(text));
        }
    }
    values
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

/// What the references of a spec resolve to.
#[derive(Debug)]
pub struct References {
    /// References that do not resolve, as words.
    pub missing: Vec<String>,
    /// Generated values that do not exist yet.
    pub ungenerated: Vec<EnvName>,
    /// The database.
    pub database: DatabaseSeen,
    /// What processes refer to, as far as it is there; `None` where nothing is declared.
    pub fingerprints: Option<Fingerprints>,
    /// The values of Secrets, to be taken out of logs and then dropped.
    pub values: Vec<SecretString>,
}

impl References {
    /// Of a release that declares nothing.
    #[must_use]
    pub fn none() -> Self {
        Self {
            missing: Vec::new(),
            ungenerated: Vec::new(),
            database: DatabaseSeen::NotNeeded,
            fingerprints: None,
            values: Vec::new(),
        }
    }

    /// A text that some program of the release printed, without its secrets.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let values: Vec<&str> = self.values.iter().map(ExposeSecret::expose_secret).collect();
        redact(text, &values)
    }
}

/// Looks up what a spec refers to. Values are read by name, hashed, used for the database's identity, and dropped.
pub async fn references(
    client: &Client,
    id: &ReleaseId,
    declared: &Declared,
    key: &HashKey,
) -> Result<References, ClusterError> {
    let of_processes = declared.process_keys(&generated_name(id));
    let mut fingerprints = Fingerprints {
        key_id: key.id().to_owned(),
        ..Fingerprints::default()
    };
    let mut values = Vec::new();
    let mut record = |kind: &str, name: &str, field: &str, value: &[u8]| {
        if kind == "Secret"
            && let Ok(text) = std::str::from_utf8(value)
        {
            values.push(SecretString::from(text));
        }
        let reference = format!("{kind} {name}/{field}");
        if of_processes.contains(&reference) {
            let print = key.fingerprint(id, &reference, value);
            fingerprints.values.insert(reference, print);
        }
    };
    let mut secrets = Secrets {
        client,
        namespace: &id.namespace,
        read: BTreeMap::new(),
    };
    let mut missing = Vec::new();
    for key in declared.secret_keys() {
        let secret = secrets.get(&key.name).await?;
        match secret.and_then(|secret| secret.data.as_ref()?.get(&key.key)) {
            Some(value) => record("Secret", key.name.as_str(), &key.key, &value.0),
            None => missing.push(format!("Secret {} with key {}", key.name, key.key)),
        }
    }
    if let Some(name) = &declared.pull_secret
        && secrets.get(name).await?.is_none()
    {
        missing.push(format!("pull Secret {name}"));
    }
    let configs: Api<ConfigMap> = Api::namespaced(client.clone(), id.namespace.as_str());
    for key in declared.config_keys() {
        let map = found(
            within(
                || format!("get ConfigMap {} of {id}", key.name),
                configs.get(key.name.as_str()),
            )
            .await,
        )?;
        match map.as_ref().and_then(|map| map.data.as_ref()?.get(&key.key)) {
            Some(value) => record("ConfigMap", key.name.as_str(), &key.key, value.as_bytes()),
            None => missing.push(format!("ConfigMap {} with key {}", key.name, key.key)),
        }
    }
    let wanted = declared.generated();
    let mut ungenerated = Vec::new();
    if !wanted.is_empty() {
        let name: ObjectName = generated_name(id)
            .parse()
            .map_err(|e| ClusterError::Unreadable(format!("generated Secret: {e}")))?;
        let data = secrets
            .get(&name)
            .await?
            .and_then(|secret| secret.data.clone())
            .unwrap_or_default();
        for (field, value) in &data {
            record("Secret", name.as_str(), field, &value.0);
        }
        ungenerated = wanted
            .into_keys()
            .filter(|name| !data.contains_key(name.as_str()))
            .collect();
    }
    let database = database(&mut secrets, id, declared).await?;
    Ok(References {
        missing,
        ungenerated,
        database,
        fingerprints: Some(fingerprints),
        values,
    })
}

/// The name of the Secret that holds generated values.
#[must_use]
pub fn generated_name(id: &ReleaseId) -> String {
    format!("{}-generated", id.name)
}

/// Host, port and name of the database of the migration; never the password.
async fn database(
    secrets: &mut Secrets<'_>,
    id: &ReleaseId,
    declared: &Declared,
) -> Result<DatabaseSeen, ClusterError> {
    let Some(migrate) = &declared.migrate else {
        return Ok(DatabaseSeen::NotNeeded);
    };
    let identity =
        |url: &str| facts::database_identity(url).map_or(DatabaseSeen::Unnamed, DatabaseSeen::Known);
    Ok(match migrate.env.get(&migrate.database) {
        None | Some(EnvValue::Field(_) | EnvValue::Generate(_)) => DatabaseSeen::Unnamed,
        Some(EnvValue::Literal(url) | EnvValue::Public(url)) => identity(url),
        Some(EnvValue::Secret(KeyRef { name, key })) => {
            let secret = secrets.get(name).await?;
            match secret.and_then(|secret| secret.data.as_ref()?.get(key)) {
                None => DatabaseSeen::Unreadable,
                Some(bytes) => std::str::from_utf8(&bytes.0).map_or(DatabaseSeen::Unnamed, identity),
            }
        }
        Some(EnvValue::Config(KeyRef { name, key })) => {
            let configs: Api<ConfigMap> = Api::namespaced(secrets.client.clone(), id.namespace.as_str());
            let map = found(
                within(
                    || format!("get ConfigMap {name} of {id}"),
                    configs.get(name.as_str()),
                )
                .await,
            )?;
            match map.and_then(|map| map.data?.get(key).cloned()) {
                None => DatabaseSeen::Unreadable,
                Some(url) => identity(&url),
            }
        }
    })
}

/// Secrets that were read in this pass, each once.
struct Secrets<'a> {
    client: &'a Client,
    namespace: &'a Namespace,
    read: BTreeMap<ObjectName, Option<Secret>>,
}

impl Secrets<'_> {
    async fn get(&mut self, name: &ObjectName) -> Result<Option<&Secret>, ClusterError> {
        if !self.read.contains_key(name) {
            let api: Api<Secret> = Api::namespaced(self.client.clone(), self.namespace.as_str());
            let secret = found(
                within(
                    || format!("get Secret {name} in {}", self.namespace),
                    api.get(name.as_str()),
                )
                .await,
            )?;
            self.read.insert(name.clone(), secret);
        }
        Ok(self.read.get(name).and_then(Option::as_ref))
    }
}

/// Whether an outcome means that the revision can be gone back to.
#[must_use]
pub fn was_live(outcome: Option<Outcome>, live_at: bool) -> bool {
    live_at || outcome == Some(Outcome::Live)
}
