//! Kubernetes objects → the facts that `plan` judges by. Pure functions; the API server's words are read here and
//! nowhere else.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStatus, Event, Pod},
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

mod image;

pub use image::{doubts, kept, of_image};

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
        repin: spec
            .repin
            .and_then(|repin| u64::try_from(repin).ok())
            .unwrap_or(0),
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
        attempt: own
            .and_then(|record| u64::try_from(record.attempt?).ok())
            .unwrap_or(0),
        revision: revision.number.0,
        digest: revision.digest.to_string(),
        lock: migration.lock.clone(),
        tries: 0,
        database: None,
        proof: None,
        needs: own.and_then(|record| record.needs.clone()),
        moved: false,
        lost: false,
        generation: None,
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
    let generation = job.metadata.generation.unwrap_or(0);
    let deleting = job.metadata.deletion_timestamp.is_some();
    Some(JobSeen {
        name: job.name_any(),
        uid: job.metadata.uid.clone()?.parse().ok()?,
        resource_version: job.metadata.resource_version.clone()?,
        key,
        suspended: job.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or(false),
        // startTime alone does not tell: Kubernetes 1.36 clears it when a Job is suspended again. A Job is created
        // suspended, so any later generation means that somebody resumed it; but for the one that a deletion makes.
        resumed: status.start_time.is_some() || counted || generation > 1 + i64::from(deleting),
        generation,
        acknowledged: suspended(job, "False"),
        untouched: untouched(job),
        counting: [status.active, status.terminating]
            .into_iter()
            .flatten()
            .any(|count| count > 0),
        given: annotations.get(meta::GIVEN).cloned(),
        withdrawn: annotations.contains_key(meta::WITHDRAWN),
        on_node: annotations
            .get(meta::WITHDRAWN)
            .is_some_and(|word| word == meta::ON_NODE),
        deleting,
        finished: job_end(job),
        blocked: None,
    })
}

/// Whether the Job controller says this of its suspension. Of a Job that it has never seen suspended it says nothing.
fn suspended(job: &Job, status: &str) -> bool {
    let mut conditions = job
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Suspended" && condition.status == status)
}

/// Whether the Job controller says of a suspended Job that it has none of its pods, and that none of them ended. From the
/// condition on it makes none. A pod that it deletes for the suspension is counted nowhere: that no node had it is known
/// from the look before, and the suspension insists on the Job as it was then.
fn untouched(job: &Job) -> bool {
    let status = job.status.clone().unwrap_or_default();
    let counts = [
        status.active,
        status.ready,
        status.terminating,
        status.succeeded,
        status.failed,
    ];
    let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
    suspended(job, "True")
        && counts.into_iter().flatten().all(|count| count == 0)
        && uncounted.failed.unwrap_or_default().is_empty()
        && uncounted.succeeded.unwrap_or_default().is_empty()
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

/// What ended the container of a pod other than itself, from the pod's events: a kubelet tells that it stops one before it
/// sends the signal, and why where it evicts or preempts the pod.
#[must_use]
pub fn stopped(events: &[Event]) -> Option<String> {
    let of = |reason: &str| {
        let event = events
            .iter()
            .find(|event| event.reason.as_deref() == Some(reason))?;
        let message = event.message.as_deref().unwrap_or("").trim();
        let message: String = message.chars().take(300).collect();
        Some(format!("{reason}: {message}"))
    };
    ["Evicted", "Preempting", "Killing"].into_iter().find_map(of)
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

/// A pod of a migration Job. `boots` gives the boot id that each node has now. For how long it runs is told by the clocks of
/// its node and of this machine: for people, not for deadlines.
#[must_use]
pub fn job_pod(pod: &Pod, boots: &BTreeMap<String, String>, now: Timestamp) -> Option<JobPodSeen> {
    let job = pod
        .labels()
        .get("batch.kubernetes.io/controller-uid")?
        .parse()
        .ok()?;
    let container = containers(pod).find(|container| container.name == render::MIGRATE);
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
        reason: pod
            .status
            .as_ref()
            .and_then(|status| status.reason.clone())
            .or_else(|| terminated.and_then(|end| lost(end.reason.as_deref()?))),
        stuck,
        node: node.map(|node| (node.clone(), boots.get(&node).cloned().unwrap_or_default())),
        running_for: running
            .and_then(|running| running.started_at.as_ref())
            .map(|started| Duration::try_from(now.duration_since(started.0)).unwrap_or_default()),
        proven: None,
        tail: terminated.and_then(|end| end.message.clone()).unwrap_or_default(),
        hint: None,
    })
}

/// What the kubelet writes of a container whose end it has not seen, with an exit code that it makes up.
fn lost(reason: &str) -> Option<String> {
    let unseen = ["Unknown", "ContainerStatusUnknown"].contains(&reason);
    unseen.then(|| format!("the kubelet did not see how its container ended ({reason})"))
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
        hint: None,
    }
}

/// `host:port/name` of a database URL: scheme and user dropped, host in lower case, the default port filled in.
///
/// `None` where an `@` stands behind the host: its password has a `/`, `?`, `#` or `@` that should have been escaped, and what
/// looks like host, port and name are pieces of it. An identity is written down where everybody reads it.
#[must_use]
pub fn database_identity(text: &str) -> Option<String> {
    let url = url::Url::parse(text.trim()).ok()?;
    let behind = [Some(url.path()), url.query(), url.fragment()];
    if behind.into_iter().flatten().any(|part| part.contains('@')) {
        return None;
    }
    let host = url.host_str()?.to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    let port = url.port().unwrap_or(match url.scheme() {
        "mysql" | "mysql2" | "mariadb" => 3306,
        "sqlserver" | "mssql" => 1433,
        "mongodb" => 27017,
        _ => 5432,
    });
    // As it is meant: two spellings of one database would have two locks.
    let name = percent_encoding::percent_decode_str(url.path().trim_matches('/')).decode_utf8_lossy();
    (!host.is_empty()).then(|| format!("{host}:{port}/{name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A Job with this status, as the API server tells it.
    fn seen(generation: i64, status: &Value) -> JobSeen {
        let id = ReleaseId {
            namespace: "shop".parse().unwrap(),
            name: "app".parse().unwrap(),
        };
        let object = json!({
            "metadata": {
                "name": "app-migrate-01234567-1", "uid": "u", "resourceVersion": "1", "generation": generation,
                "labels": { "slipway.dev/release": "app" },
                "annotations": { "slipway.dev/object": "Job/shop/app-migrate-01234567-1" },
            },
            "spec": { "suspend": true, "template": {} },
            "status": status,
        });
        job(&id, &serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn a_job_is_untouched_only_where_kubernetes_has_suspended_it_and_counts_no_pod() {
        let halted = json!([{ "type": "Suspended", "status": "True" }]);
        assert!(seen(3, &json!({ "conditions": halted })).untouched);
        assert!(seen(3, &json!({ "conditions": halted, "active": 0, "failed": 0 })).untouched);
        for counted in [
            json!({ "active": 1 }),
            json!({ "failed": 1 }),
            json!({ "succeeded": 1 }),
            json!({ "terminating": 1 }),
            json!({ "uncountedTerminatedPods": { "failed": ["u"] } }),
        ] {
            let mut status = counted.clone();
            status["conditions"] = halted.clone();
            assert!(!seen(3, &status).untouched, "{counted}");
        }
        for conditions in [json!([]), json!([{ "type": "Suspended", "status": "False" }])] {
            let seen = seen(3, &json!({ "conditions": conditions }));
            assert!(!seen.untouched, "the Job controller has not heard of it yet");
        }
        let let_run = json!([{ "type": "Suspended", "status": "False", "reason": "JobResumed" }]);
        assert!(seen(2, &json!({ "conditions": let_run })).acknowledged);
        assert!(
            !seen(2, &json!({ "conditions": halted })).acknowledged,
            "it has not seen the resume"
        );
    }

    #[test]
    fn a_job_that_was_let_run_once_is_seen_to_have_been_whatever_its_status_says() {
        let halted = json!({ "conditions": [{ "type": "Suspended", "status": "True" }] });
        assert!(!seen(1, &halted).resumed);
        let taken_back = seen(3, &halted);
        assert!(taken_back.resumed && taken_back.generation == 3);
    }

    #[test]
    fn a_container_that_its_node_stopped_is_told_from_one_that_ended_by_itself() {
        let events = |told: &[(&str, &str)]| -> Vec<Event> {
            let event = |(reason, message): &(&str, &str)| {
                let event =
                    json!({ "metadata": {}, "involvedObject": {}, "reason": reason, "message": message });
                serde_json::from_value(event).unwrap()
            };
            told.iter().map(event).collect()
        };
        let began = [
            ("Pulled", "Container image present"),
            ("Started", "Container started"),
        ];
        assert_eq!(stopped(&events(&began)), None);
        let killing = ("Killing", "Stopping container migrate");
        let seen = stopped(&events(&[began[0], began[1], killing]));
        assert_eq!(seen.as_deref(), Some("Killing: Stopping container migrate"));
        let evicted = (
            "Evicted",
            "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
        );
        let seen = stopped(&events(&[began[0], killing, evicted]));
        let why = "Evicted: Pod ephemeral local storage usage exceeds the total limit of containers 2Mi.";
        assert_eq!(
            seen.as_deref(),
            Some(why),
            "the reason says more than what came of it"
        );
    }

    #[test]
    fn an_end_that_the_kubelet_did_not_see_is_an_interruption_and_an_exit_code_of_its_own_is_none() {
        let reason = |word: &str| {
            let pod: Pod = serde_json::from_value(serde_json::json!({
                "metadata": { "labels": { "batch.kubernetes.io/controller-uid": "uid-of-a-job" } },
                "status": { "phase": "Failed", "containerStatuses": [{
                    "name": "migrate", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
                    "state": { "terminated": { "exitCode": 137, "reason": word } },
                }] },
            }))
            .unwrap();
            job_pod(&pod, &BTreeMap::new(), Timestamp::UNIX_EPOCH)
                .unwrap()
                .reason
        };
        for word in ["ContainerStatusUnknown", "Unknown"] {
            assert!(reason(word).is_some_and(|why| why.contains(word)), "{word}");
        }
        assert_eq!(reason("Error"), None);
        assert_eq!(reason("OOMKilled"), None);
    }

    #[test]
    fn one_database_has_one_identity_however_it_is_spelt() {
        let expected = Some("db.example.com:5432/shop".to_owned());
        for url in [
            "ecto://app:secret@DB.example.com/shop",
            "postgresql://other@db.example.com:5432/shop?sslmode=require",
            "postgres://db.example.com./shop/",
            "postgres://db.example.com/s%68op",
        ] {
            assert_eq!(database_identity(url), expected, "{url}");
        }
        assert_ne!(database_identity("ecto://db.example.com/other"), expected);
        for nameless in [
            "not a url",
            "ecto://app:/Zx9canary@db.example.com/shop",
            "ecto://app:12/34canary@db.example.com/shop",
            "ecto://app:p@canary/word@db.example.com/shop",
            "ecto://app:12?canary@db.example.com/shop",
            "ecto://app:12#canary@db.example.com/shop",
        ] {
            assert_eq!(database_identity(nameless), None, "{nameless}");
        }
    }
}
