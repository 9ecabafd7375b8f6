//! What every pod of a release shares, whether it serves, works or migrates: image, identity, hardening, writable
//! paths and the nodes that it may run on.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Input, env, metadata::merged, quantity};
use crate::{
    api::release::{EnvValue, Resources},
    names::EnvName,
};

/// The command of a container and its surroundings.
pub(super) struct Container<'a> {
    /// Its name.
    pub name: &'a str,
    /// Replaces the image's ENTRYPOINT.
    pub command: Option<&'a [String]>,
    /// Replaces the image's CMD.
    pub args: Option<&'a [String]>,
    /// The whole environment.
    pub env: &'a BTreeMap<EnvName, EnvValue>,
    /// Requests and limits.
    pub resources: Value,
}

/// Whether writable paths are bounded. A pod that outgrows one is evicted: right for a server, which starts anew,
/// and wrong for a migration, of which half has run by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Limited,
    Unlimited,
}

/// A pod's spec: one container, `container_extra` in it and `extra` beside it.
pub(super) fn spec(
    input: &Input<'_>,
    container: Container<'_>,
    container_extra: Value,
    space: Space,
    extra: Value,
) -> Value {
    let declared = input.declared;
    let user = declared.security.run_as_user;
    let container = merged(self::container(input, container), container_extra);
    let base = json!({
        "containers": [container],
        "serviceAccountName": input.service_account(),
        // The application talks to its database, never to the cluster.
        "automountServiceAccountToken": false,
        // Else every Service of the namespace adds variables, and one named `database` adds `DATABASE_PORT`.
        "enableServiceLinks": false,
        "imagePullSecrets": declared.pull_secret.as_ref().map(|secret| json!([{ "name": secret }])),
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": user,
            // Volumes must be writable for a user whom the image does not know.
            "fsGroup": user,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "nodeSelector": { "kubernetes.io/os": "linux" },
        "affinity": architectures(input),
        "volumes": volumes(input, space),
    });
    merged(base, extra)
}

fn container(input: &Input<'_>, container: Container<'_>) -> Value {
    let Container {
        name,
        command,
        args,
        env: variables,
        resources,
    } = container;
    // An empty list is what the API server stores for none.
    let words = |words: Option<&[String]>| words.filter(|words| !words.is_empty()).map(<[String]>::to_vec);
    json!({
        "name": name,
        "image": input.declared.image.pinned(input.digest),
        // A digest names one content for ever; asking the registry again only adds a way to fail.
        "imagePullPolicy": "IfNotPresent",
        "command": words(command),
        "args": words(args),
        "env": some(env(&input.id.name, variables)),
        "resources": resources,
        "volumeMounts": mounts(input),
        // The reason of a crash, in the pod's status, without a right to read logs.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": input.declared.security.read_only_root,
        },
    })
}

/// Requests and limits in canonical form.
pub(super) fn resources(resources: &Resources) -> Value {
    let amounts = |amounts: &BTreeMap<String, crate::api::release::ShortText>| {
        let amounts: BTreeMap<_, _> = amounts
            .iter()
            .map(|(name, amount)| (name.clone(), quantity::canonical_resource(&amount.0)))
            .collect();
        (!amounts.is_empty()).then_some(amounts)
    };
    json!({ "requests": amounts(&resources.requests), "limits": amounts(&resources.limits) })
}

/// Required affinity to the architectures of the image, so that no pod lands where it ends as `exec format error`.
fn architectures(input: &Input<'_>) -> Value {
    let mut architectures = input.architectures.to_vec();
    architectures.sort_unstable();
    architectures.dedup();
    if architectures.is_empty() {
        return Value::Null;
    }
    json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
        { "matchExpressions": [{ "key": "kubernetes.io/arch", "operator": "In", "values": architectures }] },
    ] } } })
}

fn volumes(input: &Input<'_>, space: Space) -> Option<Vec<Value>> {
    some(
        input
            .declared
            .writable
            .iter()
            .map(|(path, limit)| {
                let limit =
                    (space == Space::Limited && !limit.is_empty()).then(|| quantity::canonical(limit));
                json!({ "name": volume_name(path), "emptyDir": { "sizeLimit": limit } })
            })
            .collect(),
    )
}

fn mounts(input: &Input<'_>) -> Option<Vec<Value>> {
    let mount = |path: &String| json!({ "name": volume_name(path), "mountPath": path });
    some(input.declared.writable.keys().map(mount).collect())
}

/// The volume of a path: `/tmp` → `tmp`, `/app/.next/cache` → `app-next-cache-fc3c6b3f`. It depends on the path
/// alone, so that a further path renames no volume; the hash keeps `/a/b` and `/a-b` apart.
fn volume_name(path: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if let Some(name) = path.strip_prefix('/')
        && !name.is_empty()
        && name.len() <= 40
        && name.chars().all(plain)
    {
        return name.to_owned();
    }
    let mut name: String = path
        .to_ascii_lowercase()
        .split(|c| !plain(c))
        .filter(|word| !word.is_empty())
        .flat_map(|word| word.chars().chain(['-']))
        .collect();
    // Room for the hash within the 63 characters of a volume's name.
    name.truncate(40);
    let hash = Sha256::digest(path);
    let hash = hash.iter().take(4).map(|byte| format!("{byte:02x}"));
    let name = name.trim_end_matches('-');
    if name.is_empty() {
        format!("path-{}", hash.collect::<String>())
    } else {
        format!("{name}-{}", hash.collect::<String>())
    }
}

/// `None` for an empty list, which the API server would store as none.
pub(super) fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{fixtures::Fixture, render};

    fn pod(fixture: &Fixture) -> Value {
        let objects = render(&fixture.input());
        let deployment = objects
            .into_iter()
            .find(|o| o.key.name == "billing" && o.value["spec"]["template"].is_object());
        deployment.unwrap().value["spec"]["template"]["spec"].clone()
    }

    #[test]
    fn pods_run_the_digest_whatever_becomes_of_the_tag() {
        let image = format!("ghcr.io/acme/billing:1.8.2@sha256:{}", "d".repeat(64));
        assert_eq!(pod(&Fixture::web())["containers"][0]["image"], image);
    }

    #[test]
    fn a_user_that_is_not_known_is_left_to_the_image() {
        let mut fixture = Fixture::web();
        fixture.declared.security.run_as_user = None;
        assert_eq!(
            pod(&fixture)["securityContext"],
            json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } })
        );
        fixture.declared.security.run_as_user = Some(1001);
        assert_eq!(pod(&fixture)["securityContext"]["runAsUser"], 1001);
        assert_eq!(pod(&fixture)["securityContext"]["fsGroup"], 1001);
    }

    #[test]
    fn pods_go_where_the_image_runs_and_anywhere_when_that_is_not_known() {
        let mut fixture = Fixture::web();
        assert_eq!(pod(&fixture).get("affinity"), None);
        fixture.architectures = vec!["arm64".into(), "amd64".into(), "arm64".into()];
        let terms = &pod(&fixture)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            ["nodeSelectorTerms"];
        assert_eq!(
            terms[0]["matchExpressions"][0]["values"],
            json!(["amd64", "arm64"])
        );
    }

    #[test]
    fn quantities_are_written_as_the_api_server_stores_them() {
        let mut fixture = Fixture::web();
        let web = fixture
            .declared
            .processes
            .get_mut(&crate::names::ProcessName::web())
            .unwrap();
        web.resources = serde_yaml::from_str("{requests: {cpu: '0.5', memory: 1024Mi}}").unwrap();
        fixture.declared.writable.insert("/tmp".into(), "2048Ki".into());
        let pod = pod(&fixture);
        assert_eq!(
            pod["containers"][0]["resources"],
            json!({ "requests": { "cpu": "500m", "memory": "1Gi" } })
        );
        assert_eq!(
            pod["volumes"][0],
            json!({ "name": "tmp", "emptyDir": { "sizeLimit": "2Mi" } })
        );
    }

    #[test]
    fn volume_names_depend_on_the_path_alone_and_differ() {
        assert_eq!(volume_name("/tmp"), "tmp");
        let paths = [
            "/tmp",
            "/tmp/",
            "/a/b",
            "/a-b",
            "/A/b",
            "/a.b",
            "/",
            "/é",
            "/app/.next/cache",
        ];
        let long = format!("/{}", "deep/".repeat(60));
        let names: std::collections::BTreeSet<_> = paths
            .into_iter()
            .chain([long.as_str()])
            .map(volume_name)
            .collect();
        assert_eq!(names.len(), 10);
        for name in names {
            assert!(
                name.len() <= 63 && !name.starts_with('-') && !name.ends_with('-'),
                "{name}"
            );
            assert!(
                name.bytes()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'),
                "{name}"
            );
        }
    }
}
