//! What the pod of a migration, or of a build, was given of Secrets: the values that are taken out of its log, and whether they are still the
//! ones that it was started with. Nothing of a log is kept that was not looked through with the values of then: an earlier
//! value cannot be found by the one of now.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, KeyToPath, Pod, PodSpec, Secret},
};
use kube::{Api, Client, ResourceExt as _};
use secrecy::{ExposeSecret, SecretString};

use super::super::{
    error::ClusterError,
    hash_key::HashKey,
    objects::{found, within},
    resolve::text,
};
use crate::{
    api::meta,
    names::{Namespace, ObjectName, ReleaseId, Uid},
    render::BUILD,
    spec::redact::redact,
};

/// The hash of what the pod of a Job would be given of Secrets now; `None` where there is no such Job. It is written to the Job
/// with the leave to run.
///
/// # Errors
/// The API server does not answer.
pub async fn hash_of_secrets(
    client: &Client,
    id: &ReleaseId,
    (name, uid): (&str, &Uid),
    key: &HashKey,
) -> Result<Option<String>, ClusterError> {
    let api: Api<Job> = Api::namespaced(client.clone(), id.namespace.as_str());
    let job = found(within(|| format!("get Job {name} of {id}"), api.get(name)).await)?;
    let job = job.filter(|job| job.metadata.uid.as_deref() == Some(uid.as_str()));
    let Some(spec) = job.and_then(|job| job.spec?.template.spec) else {
        return Ok(None);
    };
    Ok(Some(
        Values::read(client, &id.namespace, &spec).await?.hash(id, key),
    ))
}

/// The hash of what the Dockerfile of a build would be given of Secrets now; `None` where it is given none. It is written to the
/// pod of the Job that is made.
///
/// # Errors
/// The API server does not answer.
pub async fn hash_of_build(
    client: &Client,
    namespace: &Namespace,
    pod: &PodSpec,
    key: &HashKey,
) -> Result<Option<String>, ClusterError> {
    let spec = given_to(BUILD, pod);
    if wanted(&spec).is_empty() {
        return Ok(None);
    }
    let values = Values::read(client, namespace, &spec).await?;
    Ok(builds_of(namespace).map(|id| values.hash(&id, key)))
}

/// What may be kept of what a Dockerfile printed, which may read all that its container has.
///
/// # Errors
/// What its Secrets hold was not answered, and may be later.
pub async fn log_of_build(
    client: &Client,
    namespace: &Namespace,
    key: &HashKey,
    pod: &Pod,
    printed: &str,
) -> Result<String, ClusterError> {
    let mut pod = pod.clone();
    pod.spec = pod.spec.map(|spec| given_to(BUILD, &spec));
    let Some(id) = builds_of(namespace) else {
        return Ok(String::new());
    };
    match kept(client, &id, key, &pod, printed).await {
        Err(error) if error.is_refused() => Ok(unknown(&error)),
        kept => kept,
    }
}

/// Builds are no release's alone: their hashes are made under a name that stands for all of them.
fn builds_of(namespace: &Namespace) -> Option<ReleaseId> {
    Some(ReleaseId {
        namespace: namespace.clone(),
        name: "slipway-builds".parse().ok()?,
    })
}

/// A pod with one container alone, and what that mounts.
fn given_to(container: &str, pod: &PodSpec) -> PodSpec {
    let all = pod.init_containers.iter().flatten().chain(&pod.containers);
    let only: Vec<Container> = all.filter(|one| one.name == container).cloned().collect();
    let mounts: BTreeSet<&String> = only
        .iter()
        .flat_map(|one| one.volume_mounts.iter().flatten())
        .map(|mount| &mount.name)
        .collect();
    let volumes = pod.volumes.iter().flatten();
    let volumes = volumes.filter(|volume| mounts.contains(&volume.name));
    PodSpec {
        volumes: Some(volumes.cloned().collect()),
        containers: only,
        ..PodSpec::default()
    }
}

/// What may be kept of what a pod printed; in its place a sentence, where a secret could be in it that nobody can find.
pub(super) async fn without_secrets(
    client: &Client,
    id: &ReleaseId,
    key: &HashKey,
    pod: &Pod,
    printed: &str,
) -> String {
    let kept = kept(client, id, key, pod, printed).await;
    kept.unwrap_or_else(|error| unknown(&error))
}

fn unknown(error: &ClusterError) -> String {
    format!(
        "[its log is not kept, since it may hold secrets: {}]",
        error.sentence()
    )
}

/// What may be kept of what a pod printed, or that nothing may.
async fn kept(
    client: &Client,
    id: &ReleaseId,
    key: &HashKey,
    pod: &Pod,
    printed: &str,
) -> Result<String, ClusterError> {
    let spec = pod.spec.clone().unwrap_or_default();
    let then = pod.annotations().get(meta::VALUES);
    let values = Values::read(client, &id.namespace, &spec).await?;
    Ok(match then {
        _ if wanted(&spec).is_empty() => values.redact(printed),
        Some(then) if values.hash(id, key) == *then => values.redact(printed),
        Some(_) => {
            "[its log is not kept: a Secret that it was given has changed or gone since, and an earlier value may stand in it]"
                .to_owned()
        }
        None => {
            "[its log is not kept: what its Secrets held when it was let run was not noted, and may stand in it]".to_owned()
        }
    })
}

/// `Secret/key` → the value.
struct Values(BTreeMap<String, SecretString>);

impl Values {
    /// The values that a pod is given if it starts now; what is not there has none.
    async fn read(client: &Client, namespace: &Namespace, spec: &PodSpec) -> Result<Self, ClusterError> {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace.as_str());
        let mut values = BTreeMap::new();
        for (name, keys) in wanted(spec) {
            let attempted = || format!("get Secret {name} in {namespace}");
            let Some(secret) = found(within(attempted, api.get(name.as_str())).await)? else {
                continue;
            };
            let data = secret.data.into_iter().flatten();
            let wanted = data.filter(|(field, _)| keys.whole || keys.some.contains(field));
            values.extend(wanted.map(|(field, value)| (format!("{name}/{field}"), text(&value.0))));
        }
        Ok(Self(values))
    }

    fn hash(&self, id: &ReleaseId, key: &HashKey) -> String {
        let mut all = Vec::new();
        let parts = self.0.iter();
        for part in parts.flat_map(|(place, value)| [place.as_str(), value.expose_secret()]) {
            all.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            all.extend(part.as_bytes());
        }
        let all = secrecy::SecretSlice::from(all);
        key.fingerprint(id, "what a migration is given of Secrets", all.expose_secret())
    }

    fn redact(&self, printed: &str) -> String {
        let values: Vec<&str> = self.0.values().map(ExposeSecret::expose_secret).collect();
        redact(printed, &values)
    }
}

/// Keys of one Secret.
#[derive(Debug, Default, PartialEq, Eq)]
struct Keys {
    /// All of them.
    whole: bool,
    /// These.
    some: BTreeSet<String>,
}

/// What of Secrets a pod is given by variables, by whole Secrets and by files.
fn wanted(spec: &PodSpec) -> BTreeMap<ObjectName, Keys> {
    let mut found: BTreeMap<ObjectName, Keys> = BTreeMap::new();
    let mut add = |name: &str, keys: Option<Vec<&String>>| {
        // No Secret has such a name, and no pod starts that needs one.
        let Ok(name) = name.parse::<ObjectName>() else {
            return;
        };
        let entry = found.entry(name).or_default();
        entry.whole |= keys.is_none();
        entry.some.extend(keys.into_iter().flatten().cloned());
    };
    for container in &spec.containers {
        let variables = container.env.iter().flatten();
        let keys = variables.filter_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref());
        keys.for_each(|of| add(&of.name, Some(vec![&of.key])));
        let wholes = container.env_from.iter().flatten();
        let wholes = wholes.filter_map(|source| source.secret_ref.as_ref());
        wholes.for_each(|of| add(&of.name, None));
    }
    for volume in spec.volumes.iter().flatten() {
        let sources = volume.projected.iter().flat_map(|projected| &projected.sources);
        for secret in sources.flatten().filter_map(|source| source.secret.as_ref()) {
            add(&secret.name, keys(secret.items.as_ref()));
        }
        if let Some(secret) = &volume.secret
            && let Some(name) = &secret.secret_name
        {
            add(name, keys(secret.items.as_ref()));
        }
    }
    found
}

fn keys(items: Option<&Vec<KeyToPath>>) -> Option<Vec<&String>> {
    Some(items?.iter().map(|item| &item.key).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(spec: &PodSpec) -> Vec<String> {
        let all = wanted(spec).into_iter().flat_map(|(name, keys)| {
            let whole = keys.whole.then(|| "*".to_owned());
            let each = whole.into_iter().chain(keys.some);
            each.map(|key| format!("{name}/{key}")).collect::<Vec<_>>()
        });
        all.collect()
    }

    #[test]
    fn a_pod_is_given_secrets_by_variables_by_whole_ones_and_by_files() {
        let spec: PodSpec = serde_json::from_value(json!({
            "containers": [{
                "name": "migrate",
                "env": [
                    { "name": "A", "valueFrom": { "secretKeyRef": { "name": "app", "key": "a" } } },
                    { "name": "B", "value": "plain" },
                    { "name": "C", "valueFrom": { "secretKeyRef": { "name": "app", "key": "c" } } },
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
        }))
        .unwrap();
        assert_eq!(
            words(&spec),
            ["app/a", "app/c", "mounted/*", "tls/tls.key", "whole/*"]
        );
    }

    #[test]
    fn of_a_build_counts_what_the_dockerfile_can_read() {
        let spec: PodSpec = serde_json::from_value(json!({
            "initContainers": [
                { "name": "fetch", "volumeMounts": [{ "name": "git", "mountPath": "/g" }] },
                { "name": "build", "volumeMounts": [
                    { "name": "secrets", "mountPath": "/s" }, { "name": "registry", "mountPath": "/r" },
                ] },
            ],
            "containers": [{ "name": "push", "volumeMounts": [{ "name": "push", "mountPath": "/p" }] }],
            "volumes": [
                { "name": "git", "secret": { "secretName": "git" } },
                { "name": "push", "secret": { "secretName": "push" } },
                { "name": "registry", "secret": { "secretName": "bases", "items": [{ "key": ".dockerconfigjson", "path": "config.json" }] } },
                { "name": "secrets", "projected": { "sources": [
                    { "secret": { "name": "npm", "items": [{ "key": "token", "path": "npm" }] } },
                ] } },
            ],
        }))
        .unwrap();
        assert_eq!(
            words(&given_to(BUILD, &spec)),
            ["bases/.dockerconfigjson", "npm/token"]
        );
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
        let spec = job.value["spec"]["template"]["spec"].clone();
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(words(&spec), ["app/a", "tls/key", "whole/*"]);
    }

    #[test]
    fn each_value_and_each_key_that_comes_or_goes_makes_another_hash() {
        let id = ReleaseId {
            namespace: "shop".parse().unwrap(),
            name: "app".parse().unwrap(),
        };
        let (key, other) = (HashKey::new(&[7; 32]).unwrap(), HashKey::new(&[8; 32]).unwrap());
        let hash = |values: &[(&str, &str)], key: &HashKey| {
            let values = values
                .iter()
                .map(|(place, value)| ((*place).to_owned(), (*value).into()));
            Values(values.collect()).hash(&id, key)
        };
        let first = hash(&[("app/a", "1"), ("app/b", "2")], &key);
        assert_eq!(hash(&[("app/b", "2"), ("app/a", "1")], &key), first);
        for values in [
            &[("app/a", "1"), ("app/b", "3")][..],
            &[("app/a", "1")],
            &[("app/a", "1"), ("app/b", "2"), ("app/c", "")],
            &[("app/a", "1"), ("app2/b", "2")],
            &[("app/a", "1app/b2")],
            &[],
        ] {
            assert_ne!(hash(values, &key), first, "{values:?}");
        }
        assert_ne!(hash(&[("app/a", "1"), ("app/b", "2")], &other), first);
    }
}
