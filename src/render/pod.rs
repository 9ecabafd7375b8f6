//! What every pod of a release shares, whether it serves, works or migrates: image, identity, hardening, writable
//! paths and the nodes that it may run on.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    Input,
    env::{env, env_from},
    metadata::merged,
    quantity,
};
use crate::{
    api::release::{EnvValue, Resources},
    hex::hex,
    names::{EnvName, ObjectName},
    spec::declared::{FileSource, Holder},
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
        "envFrom": some(env_from(&input.declared.env_from)),
        "resources": resources,
        "volumeMounts": mounts(input),
        // No terminationMessagePolicy: the end of a log may hold what a program was given, and the status of its pod, where
        // FallbackToLogsOnError would put it, is read by more people than its log.
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
    let writable = input.declared.writable.iter().map(|(path, limit)| {
        let limit = (space == Space::Limited && !limit.is_empty()).then(|| quantity::canonical(limit));
        json!({ "name": volume_name(path), "emptyDir": { "sizeLimit": limit } })
    });
    some(writable.chain(files(input)).collect())
}

/// The volume of all files; no path makes a volume of this name, since its last word is no hash.
pub const FILES: &str = "slipway-files";

/// Every file of the spec in one volume, each under a name that its path makes.
fn files(input: &Input<'_>) -> Option<Value> {
    let mut objects: BTreeMap<(Holder, &ObjectName), Vec<Value>> = BTreeMap::new();
    for (path, FileSource { holder, key }) in &input.declared.files {
        let items = objects.entry((*holder, &key.name)).or_default();
        items.push(json!({ "key": key.key, "path": volume_name(path) }));
    }
    let source = |((holder, name), items): ((Holder, &ObjectName), Vec<Value>)| {
        let field = match holder {
            Holder::Secret => "secret",
            Holder::ConfigMap => "configMap",
        };
        json!({ (field): { "name": name, "items": items } })
    };
    let sources = some(objects.into_iter().map(source).collect())?;
    // Its group is that of the user, where one is known. Without one nobody but root could read what is not for all; and
    // programs such as psql refuse a key that all may read, so it is for all only then.
    let mode = if input.declared.security.run_as_user.is_some() {
        0o440
    } else {
        0o444
    };
    Some(json!({ "name": FILES, "projected": { "sources": sources, "defaultMode": mode } }))
}

/// Each file is mounted by itself: a directory would hide what the image has beside it. So a file is what it was when its
/// container started, as a variable is, and a value that changes comes with new pods.
fn mounts(input: &Input<'_>) -> Option<Vec<Value>> {
    let declared = input.declared;
    let writable = declared
        .writable
        .keys()
        .map(|path| json!({ "name": volume_name(path), "mountPath": path }));
    let files = declared.files.keys().map(
        |path| json!({ "name": FILES, "mountPath": path, "subPath": volume_name(path), "readOnly": true }),
    );
    some(writable.chain(files).collect())
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
    let mut hash = hex(&Sha256::digest(path));
    hash.truncate(8);
    let name = name.trim_end_matches('-');
    if name.is_empty() {
        format!("path-{hash}")
    } else {
        format!("{name}-{hash}")
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
    fn a_file_hides_nothing_beside_it_and_is_no_more_open_than_its_reader_needs() {
        let mut fixture = Fixture::web();
        let file = |holder, key: &str| FileSource {
            holder,
            key: key.parse().unwrap(),
        };
        fixture.declared.files = [
            (
                "/etc/app/tls.key".to_owned(),
                file(Holder::Secret, "app-tls/tls.key"),
            ),
            (
                "/etc/app/tls.crt".to_owned(),
                file(Holder::Secret, "app-tls/tls.crt"),
            ),
            (
                "/app/settings".to_owned(),
                file(Holder::ConfigMap, "app/settings"),
            ),
        ]
        .into();
        let with_user = pod(&fixture);
        let volume = &with_user["volumes"][1];
        assert_eq!(volume["name"], "slipway-files");
        assert_eq!(volume["projected"]["defaultMode"], 0o440);
        let sources = volume["projected"]["sources"].as_array().unwrap();
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0]["secret"]["items"].as_array().unwrap().len(), 2);
        let mounts = with_user["containers"][0]["volumeMounts"].as_array().unwrap();
        for mount in mounts.iter().filter(|mount| mount["name"] == "slipway-files") {
            let (item, read_only) = (&mount["subPath"], &mount["readOnly"]);
            assert!(item.is_string() && *read_only == true, "{mount}");
            let all = sources.iter().flat_map(|source| {
                let source = source.get("secret").or(source.get("configMap")).unwrap();
                source["items"].as_array().unwrap()
            });
            assert_eq!(all.filter(|one| one["path"] == *item).count(), 1, "{item}");
        }
        fixture.declared.security.run_as_user = None;
        assert_eq!(pod(&fixture)["volumes"][1]["projected"]["defaultMode"], 0o444);
    }

    #[test]
    fn whole_secrets_keep_their_order_since_the_last_one_wins() {
        let mut fixture = Fixture::web();
        let source = |holder, name: &str, prefix: &str| crate::spec::declared::EnvSource {
            holder,
            name: name.parse().unwrap(),
            prefix: prefix.into(),
        };
        fixture.declared.env_from = vec![
            source(Holder::Secret, "z", "X_"),
            source(Holder::ConfigMap, "a", ""),
        ];
        assert_eq!(
            pod(&fixture)["containers"][0]["envFrom"],
            json!([{ "prefix": "X_", "secretRef": { "name": "z" } }, { "configMapRef": { "name": "a" } }])
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
