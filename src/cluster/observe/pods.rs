//! The pods of a release, what hinders them, and what the last lines of their logs say.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, KeyToPath, Pod, Secret};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, LogParams},
};
use secrecy::{ExposeSecret, SecretString};

use super::super::{
    error::ClusterError,
    facts,
    objects::{found, within},
    resolve::text,
};
use crate::{
    api::meta,
    names::{Namespace, ObjectName, ReleaseId, Uid},
    plan::observed::{JobPodSeen, JobSeen, PodSeen},
    render,
    spec::redact::redact,
};

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
        // One that hangs is not over when its outcome is booked, and goes when that is told.
        let over = seen.terminal || asked.claimed.as_ref() != Some(&seen.job);
        if over && seen.started && asked.of.contains(&seen.job) {
            if seen.exit_code != Some(0) {
                let log = log_tail(&api, &pod.name_any()).await;
                let text = if log.trim().is_empty() { seen.tail } else { log };
                // What this pod saw, whatever the spec refers to by now; before anything is cut, so that no half of a
                // value is left.
                seen.tail = match secrets_of(&mut secrets, pod).await {
                    Ok(values) => {
                        let values: Vec<&str> = values.iter().map(ExposeSecret::expose_secret).collect();
                        last_chars(&redact(&text, &values), TAIL)
                    }
                    Err(error) => format!(
                        "[its log is not kept, since it may hold secrets: {}]",
                        error.sentence()
                    ),
                };
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
    Ok((of_jobs, processes.into_iter().map(facts::pod).collect()))
}

/// Of which Jobs more is wanted than their state.
#[derive(Debug, Default)]
pub struct Asked<'a> {
    /// Those whose outcome is not yet booked and told.
    pub of: BTreeSet<Uid>,
    /// The one whose outcome is to be booked.
    pub claimed: Option<Uid>,
    /// The text that the log of its success must hold.
    pub proof: Option<&'a str>,
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

/// The values of Secrets that a pod was given; those that are gone by now cannot be known. An error where one is there and
/// cannot be read.
async fn secrets_of(secrets: &mut Secrets<'_>, pod: &Pod) -> Result<Vec<SecretString>, ClusterError> {
    let mut values = Vec::new();
    for (name, key) in given(pod) {
        let Ok(name) = name.parse::<ObjectName>() else {
            continue;
        };
        let Some(secret) = secrets.get(&name).await? else {
            continue;
        };
        let data = secret.data.iter().flatten();
        let wanted = data.filter(|(field, _)| key.as_ref().is_none_or(|key| key == *field));
        values.extend(wanted.map(|(_, value)| text(&value.0)));
    }
    Ok(values)
}

/// What of Secrets a pod was given by variables, by whole Secrets and by files: each with its key, or without one where it was
/// given all.
fn given(pod: &Pod) -> BTreeSet<(String, Option<String>)> {
    let mut found = BTreeSet::new();
    let Some(spec) = &pod.spec else { return found };
    for container in &spec.containers {
        let variables = container.env.iter().flatten();
        let keys = variables.filter_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref());
        found.extend(keys.map(|of| (of.name.clone(), Some(of.key.clone()))));
        let wholes = container.env_from.iter().flatten();
        let wholes = wholes.filter_map(|source| source.secret_ref.as_ref());
        found.extend(wholes.map(|of| (of.name.clone(), None)));
    }
    let mut mounted = |name: &str, items: Option<&Vec<KeyToPath>>| match items {
        Some(items) => found.extend(items.iter().map(|item| (name.to_owned(), Some(item.key.clone())))),
        None => found.extend([(name.to_owned(), None)]),
    };
    for volume in spec.volumes.iter().flatten() {
        let sources = volume.projected.iter().flat_map(|projected| &projected.sources);
        for source in sources.flatten() {
            if let Some(secret) = &source.secret {
                mounted(&secret.name, secret.items.as_ref());
            }
        }
        if let Some(secret) = &volume.secret
            && let Some(name) = &secret.secret_name
        {
            mounted(name, secret.items.as_ref());
        }
    }
    found
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
            let attempted = || format!("get Secret {name} in {}", self.namespace);
            let secret = found(within(attempted, api.get(name.as_str())).await)?;
            self.read.insert(name.clone(), secret);
        }
        Ok(self.read.get(name).and_then(Option::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_was_given_secrets_by_variables_by_whole_ones_and_by_files() {
        let pod: Pod = serde_json::from_value(json!({ "spec": {
            "containers": [{
                "name": "migrate",
                "env": [
                    { "name": "A", "valueFrom": { "secretKeyRef": { "name": "app", "key": "a" } } },
                    { "name": "B", "value": "plain" },
                ],
                "envFrom": [{ "secretRef": { "name": "whole" } }, { "configMapRef": { "name": "conf" } }],
            }],
            "volumes": [
                { "name": "slipway-files", "projected": { "sources": [
                    { "secret": { "name": "tls", "items": [{ "key": "tls.key", "path": "x" }] } },
                    { "configMap": { "name": "conf" } },
                ] } },
                { "name": "other", "secret": { "secretName": "mounted" } },
                { "name": "tmp", "emptyDir": {} },
            ],
        } }))
        .unwrap();
        let all: Vec<String> = given(&pod)
            .into_iter()
            .map(|(name, key)| format!("{name}/{}", key.unwrap_or_else(|| "*".into())))
            .collect();
        assert_eq!(all, ["app/a", "mounted/*", "tls/tls.key", "whole/*"]);
    }

    #[test]
    fn what_our_own_pods_are_given_is_all_found() {
        let spec = serde_yaml::from_str(
            "{image: a, version: 1.0.0, port: 80, env: {A: {secret: app/a}}, envFrom: [{secret: whole}],
              files: {/run/key: {secret: tls/key}, /run/plain: {config: conf/a}}, migrate: [/migrate]}",
        )
        .unwrap();
        let id = ReleaseId {
            namespace: "shop".parse().unwrap(),
            name: "app".parse().unwrap(),
        };
        let declared = crate::spec::declare(&id.name, &spec).unwrap().unwrap();
        let input = crate::render::Input {
            id: &id,
            declared: &declared,
            digest: &format!("sha256:{}", "1".repeat(64)).parse().unwrap(),
            architectures: &[],
            revision: crate::names::RevisionNumber(1),
            provenance: None,
            owner: None,
        };
        let job = crate::render::migrate_job(&input, &"0".repeat(64), 1).unwrap();
        let template = job.value["spec"]["template"].clone();
        let names: Vec<String> = given(&serde_json::from_value(template).unwrap())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["app", "tls", "whole"]);
    }
}
