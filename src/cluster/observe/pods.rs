//! The pods of a release, what hinders them, and what the last lines of their logs say.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, LogParams},
};

use super::{
    super::{error::ClusterError, facts, hash_key::HashKey, objects::within},
    failing::{self, Rollout},
    printed::without_secrets,
};
use crate::{
    api::meta,
    names::{Namespace, ReleaseId, Uid},
    plan::observed::{JobPodSeen, PodSeen},
    render,
    words::hints::{At, hints},
};

/// Why there is no pod of a Job that should have one; `None` while nothing is known against it.
pub async fn blocked(
    client: &Client,
    namespace: &Namespace,
    job: &str,
    uid: &Uid,
) -> Result<Option<String>, ClusterError> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace.as_str());
    let selector = format!("involvedObject.uid={uid},reason=FailedCreate");
    let params = ListParams::default().fields(&selector);
    let list = within(
        || format!("list the events of Job {job} in {namespace}"),
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
    for pod in tasks {
        let Some(mut seen) = facts::job_pod(pod, boots, now) else {
            continue;
        };
        // One that hangs is not over when its outcome is booked, and goes when that is told.
        let over = seen.terminal || asked.claimed.as_ref() != Some(&seen.job);
        if over && seen.started && asked.of.contains(&seen.job) {
            if seen.exit_code != Some(0) {
                let log = log_tail(&api, &pod.name_any()).await;
                let text = if log.trim().is_empty() { seen.tail } else { log };
                let known = hints(At::Migration, &text);
                seen.hint = known.first().map(|hint| hint.hint.as_str());
                // Before anything is cut, so that no half of a value is left.
                let text = without_secrets(client, id, asked.key, pod, &text).await;
                seen.tail = last_chars(&text, TAIL);
            } else if asked.claimed.as_ref() == Some(&seen.job) {
                // What answers a signal with exit code 0 ends as well as what has finished, and where its node ended it
                // for what it used, nothing else in the pod's status tells.
                seen.reason = seen.reason.or(stopped(client, id, pod).await?);
                if let Some(proof) = asked.proof {
                    seen.proven = log_holds(&api, &pod.name_any(), proof).await;
                }
            }
        } else {
            // A message that nobody will tell.
            seen.tail.clear();
        }
        of_jobs.push(seen);
    }
    let mut of_processes: Vec<PodSeen> = processes.iter().copied().map(facts::pod).collect();
    if let Some(rollout) = asked.rollout
        && let Some((name, hint)) = failing::hint(&api, &processes, rollout).await
    {
        for pod in of_processes.iter_mut().filter(|pod| pod.name == name) {
            pod.hint = Some(hint);
        }
    }
    Ok((of_jobs, of_processes))
}

/// Of which Jobs more is wanted than their state.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Those whose outcome is not yet booked and told.
    pub of: BTreeSet<Uid>,
    /// The one whose outcome is to be booked.
    pub claimed: Option<Uid>,
    /// The text that the log of its success must hold.
    pub proof: Option<&'a str>,
    /// What values of Secrets are hashed with.
    pub key: &'a HashKey,
    /// The revision on its way, whose pods may fail.
    pub rollout: Option<Rollout>,
}

/// What the node told of ending the container of a pod; `None` where it ended by itself, as far as anybody was told.
async fn stopped(client: &Client, id: &ReleaseId, pod: &Pod) -> Result<Option<String>, ClusterError> {
    let Some(uid) = pod.uid() else {
        return Ok(None);
    };
    let api: Api<Event> = Api::namespaced(client.clone(), id.namespace.as_str());
    let params = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    let list = within(
        || format!("list the events of pod {} of {id}", pod.name_any()),
        api.list(&params),
    )
    .await?;
    Ok(facts::stopped(&list.items))
}

/// Whether a log holds a text in its last 2,000 lines; `None` when it cannot be had.
async fn log_holds(api: &Api<Pod>, name: &str, text: &str) -> Option<bool> {
    let params = LogParams {
        container: Some(render::MIGRATE.to_owned()),
        tail_lines: Some(2_000),
        // Of them the API server gives the first so many bytes.
        limit_bytes: Some(4 << 20),
        ..LogParams::default()
    };
    let log = within(|| format!("read the log of pod {name}"), api.logs(name, &params)).await;
    log.ok().map(|log| log.contains(text))
}

/// The last lines of a log; empty when it cannot be had (it is a courtesy, not a fact).
async fn log_tail(api: &Api<Pod>, name: &str) -> String {
    let params = LogParams {
        container: Some(render::MIGRATE.to_owned()),
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
