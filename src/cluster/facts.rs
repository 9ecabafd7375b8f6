//! Kubernetes objects → the facts that `plan` judges by. Pure functions; the API server's words are read here and
//! nowhere else.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStatus, Pod},
};
use kube::ResourceExt as _;

use crate::{
    api::{ReleaseRevision, meta, revision::Outcome},
    names::{ReleaseId, RevisionNumber, Uid},
    plan::{
        MigrationKey,
        ledger::{Entry, EntryState},
        observed::{Fingerprints, JobEnd, JobPodSeen, JobSeen, Migration, PodSeen, Revision},
    },
    render,
    spec::declared::AttemptHash,
};

/// A revision, or why it cannot be read.
pub fn revision(object: &ReleaseRevision) -> Result<Revision, String> {
    let unreadable = |what: String| format!("ReleaseRevision {}: {what}", object.name_any());
    let spec = &object.spec;
    let status = object.status.clone().unwrap_or_default();
    let migration = spec
        .migration
        .as_ref()
        .map(|migration| {
            let key =
                MigrationKey::parse(&migration.key).ok_or_else(|| unreadable("its migration key".into()))?;
            Ok::<_, String>(Migration {
                key,
                database: migration.database.clone(),
                lock: migration.lock.clone(),
            })
        })
        .transpose()?;
    let mut objects = render::restore(&spec.objects).map_err(|e| unreadable(e.to_string()))?;
    if let Some(exposure) = &status.exposure {
        let exposure = render::restore(exposure).map_err(|e| unreadable(format!("its exposure: {e}")))?;
        objects.retain(|object| !object.exposes());
        objects.extend(exposure);
        objects.sort_by(|a, b| a.key.cmp(&b.key));
    }
    Ok(Revision {
        number: RevisionNumber(u64::try_from(spec.number).map_err(|e| unreadable(e.to_string()))?),
        attempt: AttemptHash(spec.attempt.clone()),
        version: spec.version.clone(),
        reference: spec.image.reference.clone(),
        digest: spec
            .image
            .digest
            .parse()
            .map_err(|e| unreadable(format!("its digest {e}")))?,
        migration,
        cause: spec.cause.clone(),
        fingerprints: status
            .values
            .or_else(|| spec.values.clone())
            .map(|values| Fingerprints {
                key_id: values.key_id,
                values: values
                    .hashes
                    .into_iter()
                    .map(|(name, hash)| (name, hash.0))
                    .collect(),
            }),
        objects,
        outcome: status.outcome,
        message: status.message,
        // Whether it can be gone back to.
        was_live: status.live_at.is_some() || status.outcome == Some(Outcome::Live),
        resource_version: object.resource_version().unwrap_or_default(),
    })
}

/// What a revision has on record of its migration: that of one that was Live was booked as a success, and the others
/// say what was booked when they ended.
pub fn record(object: &ReleaseRevision, revision: &Revision) -> Option<(MigrationKey, Entry)> {
    let migration = revision.migration.as_ref()?;
    let own = object
        .status
        .as_ref()
        .and_then(|status| status.migration.as_ref())
        .filter(|record| record.key == migration.key.as_str());
    let state = match own {
        _ if revision.was_live => EntryState::Succeeded,
        Some(record) => match serde_json::from_value(record.state.clone().into()).ok()? {
            EntryState::Claimed => EntryState::Unknown,
            state => state,
        },
        None => return None,
    };
    let note = match state {
        EntryState::Unknown => format!(
            "rebuilt from {}; it had not ended, or nobody saw how, when the ledger was lost",
            revision.number
        ),
        _ => format!("rebuilt from {}", revision.number),
    };
    let entry = Entry {
        state,
        job: own.map(|record| record.job.clone()).unwrap_or_default(),
        timeout: None,
        uid: own
            .and_then(|record| record.job_uid.parse().ok())
            .unwrap_or_else(Uid::none),
        run: own.and_then(|record| render::run_of(&record.job)).unwrap_or(0),
        attempt: 0,
        revision: revision.number.0,
        digest: revision.digest.to_string(),
        lock: migration.lock.clone(),
        tries: 0,
        database: None,
        proof: None,
        at: object
            .status
            .as_ref()
            .and_then(|status| status.finished_at.as_ref())
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        started: None,
        exit_code: None,
        note,
    };
    Some((migration.key.clone(), entry))
}

/// A Job under one of our names.
#[must_use]
pub fn job(id: &ReleaseId, job: &Job) -> Option<JobSeen> {
    let annotations = job.annotations();
    // The label too: the name of one release may begin with that of another.
    let fits = job.labels().get(meta::RELEASE).map(String::as_str) == Some(id.name.as_str())
        && annotations
            .get(meta::OBJECT)
            .is_some_and(|o| *o == format!("Job/{}/{}", id.namespace, job.name_any()));
    let key = annotations
        .get(meta::MIGRATION_KEY)
        .filter(|_| fits)
        .and_then(|key| MigrationKey::parse(key));
    let status = job.status.clone().unwrap_or_default();
    let counted = [status.active, status.succeeded, status.failed]
        .into_iter()
        .flatten()
        .any(|n| n > 0);
    Some(JobSeen {
        name: job.name_any(),
        uid: job.metadata.uid.clone()?.parse().ok()?,
        resource_version: job.metadata.resource_version.clone()?,
        key,
        suspended: job.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or(false),
        // startTime alone does not tell: Kubernetes 1.36 clears it when a Job is suspended again. A Job is created
        // suspended, so any later generation means that somebody resumed it.
        resumed: status.start_time.is_some() || counted || job.metadata.generation.is_some_and(|n| n > 1),
        withdrawn: annotations.contains_key(meta::WITHDRAWN),
        deleting: job.metadata.deletion_timestamp.is_some(),
        finished: job_end(job),
        blocked: None,
    })
}

/// Why no pod of a Job could be made, from the words of its `FailedCreate` event.
#[must_use]
pub fn blocked(message: &str) -> String {
    let kind = if message.contains("quota") {
        "Quota"
    } else if message.contains("violates PodSecurity") {
        "PodSecurity"
    } else {
        "Config"
    };
    let message: String = message.chars().take(400).collect();
    format!("{kind}: {message}")
}

/// The terminal condition: `Complete` or `Failed`, not `FailureTarget`, under which a pod may still run.
#[must_use]
pub fn job_end(job: &Job) -> Option<JobEnd> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .filter(|condition| condition.status == "True")
        .find_map(|condition| match condition.type_.as_str() {
            "Complete" => Some(JobEnd::Complete),
            "Failed" => Some(JobEnd::Failed(condition.reason.clone().unwrap_or_default())),
            _ => None,
        })
}

/// Whether nothing of a pod runs any more.
#[must_use]
pub fn pod_is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("")
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
}

fn condition<'a>(pod: &'a Pod, type_: &str, status: &str) -> Option<&'a str> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find_map(|condition| {
            (condition.type_ == type_ && condition.status == status).then(|| {
                condition
                    .message
                    .as_deref()
                    .or(condition.reason.as_deref())
                    .unwrap_or("")
            })
        })
}

/// A pod of a migration Job. `boots` gives the boot id that each node has now.
#[must_use]
pub fn job_pod(pod: &Pod, boots: &BTreeMap<String, String>, now: Timestamp) -> Option<JobPodSeen> {
    let job = pod
        .labels()
        .get("batch.kubernetes.io/controller-uid")?
        .parse()
        .ok()?;
    let container = containers(pod).next();
    let state = container.and_then(|c| c.state.as_ref());
    let terminated = state.and_then(|state| state.terminated.as_ref());
    let running = state.and_then(|state| state.running.as_ref());
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let stuck = waiting
        .filter(|waiting| waiting.reason.as_deref() != Some("ContainerCreating"))
        .map(|waiting| {
            let reason = waiting.reason.clone().unwrap_or_default();
            let kind = if reason.contains("Image") {
                "ImagePull"
            } else {
                "Config"
            };
            let message = waiting.message.clone().unwrap_or_default();
            format!(
                "{kind}: {reason} {}",
                message.chars().take(300).collect::<String>()
            )
        })
        .or_else(|| {
            condition(pod, "PodScheduled", "False").map(|message| format!("Unschedulable: {message}"))
        });
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    Some(JobPodSeen {
        job,
        started: terminated.is_some_and(|end| end.started_at.is_some()) || running.is_some(),
        succeeded: phase(pod) == "Succeeded",
        terminal: pod_is_terminal(pod),
        exit_code: terminated.map(|end| end.exit_code),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        disrupted: condition(pod, "DisruptionTarget", "True").is_some(),
        reason: pod.status.as_ref().and_then(|status| status.reason.clone()),
        stuck,
        node: node.map(|node| (node.clone(), boots.get(&node).cloned().unwrap_or_default())),
        running_for: running
            .and_then(|running| running.started_at.as_ref())
            .and_then(|started| Duration::try_from(now.duration_since(started.0)).ok()),
        proven: None,
        tail: terminated.and_then(|end| end.message.clone()).unwrap_or_default(),
    })
}

/// A pod of a process.
#[must_use]
pub fn pod(pod: &Pod) -> PodSeen {
    let waiting = containers(pod).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        Some((
            waiting.reason.clone().unwrap_or_default(),
            waiting.message.clone().unwrap_or_default(),
        ))
    });
    let last_end = containers(pod).find_map(|container| {
        let now = container
            .state
            .as_ref()
            .and_then(|state| state.terminated.as_ref());
        let before = container
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref());
        let end = now.or(before)?;
        Some((end.exit_code, end.reason.clone().unwrap_or_default()))
    });
    PodSeen {
        name: pod.name_any(),
        revision: pod
            .annotations()
            .get(meta::REVISION)
            .and_then(|n| n.parse().ok())
            .map(RevisionNumber),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        restarts: containers(pod)
            .map(|c| u32::try_from(c.restart_count).unwrap_or(0))
            .sum(),
        waiting,
        unschedulable: condition(pod, "PodScheduled", "False").map(ToOwned::to_owned),
        last_end,
    }
}

/// `host:port/name` of a database URL: scheme and user dropped, host in lower case, the default port filled in.
#[must_use]
pub fn database_identity(text: &str) -> Option<String> {
    let url = url::Url::parse(text.trim()).ok()?;
    let host = url.host_str()?.to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    let port = url.port().unwrap_or(match url.scheme() {
        "mysql" | "mysql2" | "mariadb" => 3306,
        "sqlserver" | "mssql" => 1433,
        "mongodb" => 27017,
        _ => 5432,
    });
    let name = url.path().trim_matches('/');
    (!host.is_empty()).then(|| format!("{host}:{port}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_database_has_one_identity_however_it_is_spelt() {
        let expected = Some("db.example.com:5432/shop".to_owned());
        for url in [
            "ecto://app:secret@DB.example.com/shop",
            "postgresql://other@db.example.com:5432/shop?sslmode=require",
            "postgres://db.example.com./shop/",
        ] {
            assert_eq!(database_identity(url), expected, "{url}");
        }
        assert_ne!(database_identity("ecto://db.example.com/other"), expected);
        assert_eq!(database_identity("not a url"), None);
    }
}
