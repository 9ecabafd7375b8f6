//! The Job that builds an image: fetch → build → push, one container after the other.
//!
//! Only the second one runs what a committer wrote, and it has the least: neither the credential of the repository, which is
//! the first one's, nor that of the image, which is the last one's. A rootless `BuildKit` has no process sandbox, so a `RUN`
//! can read whatever its container has; see
//! <https://github.com/moby/buildkit/blob/master/docs/rootless.md>.
//!
//! Nobody owns the Job: many releases may wait for it, and the last one to leave deletes it. It ends by itself when it takes
//! too long. The deadline is the pod's, which counts from when a node has it: a Job's own would count the time in a quota, too.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    builder::{USER, confine_users, confined, flags, of_builder, own_directories, work},
    env::unexpanded,
    quantity::Quantity,
};
use crate::{
    api::{meta, release::Agree},
    build::{
        builder::{Builder, Isolation},
        key::{BuildKey, Inputs, Wanted},
    },
    hex::hex,
    names::{CommitId, ReleaseId},
};

mod options;

use self::options::{arguments, output};

/// The containers, in their order.
pub const FETCH: &str = "fetch";
/// The one that runs the Dockerfile.
pub const BUILD: &str = "build";
/// The last one, whose message is the digest.
pub const PUSH: &str = "push";
/// How the builder says that the stage of tests failed, and not the image.
pub const TESTS_FAILED: i32 = 64;

/// What a build is made of.
#[derive(Debug, Clone, Copy)]
pub struct BuildInput<'a> {
    /// What builds.
    pub builder: &'a Builder,
    /// What is built.
    pub wanted: Wanted<'a>,
    /// Of which commit.
    pub commit: &'a CommitId,
    /// Which Job of this key, from 1.
    pub run: u32,
    /// Which of those since somebody asked for it, from 1.
    pub tries: u32,
    /// Whether it has more memory than usual.
    pub larger: bool,
    /// The release that it is begun for, and its counter `attempt`.
    pub by: (&'a ReleaseId, u64),
}

/// The label by which a release finds the builds that it waits for; its value is the counter `attempt` of that time.
#[must_use]
pub fn want(id: &ReleaseId) -> String {
    use sha2::{Digest as _, Sha256};
    let hash = hex(&Sha256::digest(id.to_string().as_bytes()));
    format!("{}{}", meta::WANT, hash.get(..20).unwrap_or(&hash))
}

/// The Job.
#[must_use]
pub fn build_job(input: &BuildInput<'_>) -> Value {
    let BuildInput { builder, wanted, .. } = *input;
    let inputs = Inputs::of(wanted, &builder.version());
    let key = inputs.at(input.commit);
    let (id, attempt) = input.by;
    let mut labels = BTreeMap::from([
        (meta::BUILD.to_owned(), key.short().to_owned()),
        (meta::BUILD_INPUTS.to_owned(), inputs.short().to_owned()),
        ("app.kubernetes.io/managed-by".to_owned(), "slipway".to_owned()),
    ]);
    let of_pod = labels.clone();
    labels.insert(want(id), attempt.to_string());
    let mut annotations = BTreeMap::from([
        (meta::SOURCE_COMMIT.to_owned(), input.commit.to_string()),
        (meta::IMAGE.to_owned(), wanted.reference.to_owned()),
        (want(id), id.to_string()),
    ]);
    annotations.insert(meta::TRIES.to_owned(), input.tries.to_string());
    if input.larger {
        annotations.insert(meta::LARGER.to_owned(), "true".to_owned());
    }
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": key.job(input.run),
            "namespace": builder.namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            // What may be tried again is decided by what failed.
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {
                "metadata": {
                    "labels": of_pod,
                    "annotations": {
                        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                        "karpenter.sh/do-not-disrupt": "true",
                    },
                },
                "spec": pod(input, &key),
            },
        },
    })
}

fn pod(input: &BuildInput<'_>, key: &BuildKey) -> Value {
    let BuildInput { builder, wanted, .. } = *input;
    let mut selector = builder.node_selector.clone();
    if let [platform] = wanted.build.platforms.as_slice()
        && let Some(arch) = platform.split('/').nth(1)
    {
        selector.insert("kubernetes.io/arch".to_owned(), arch.to_owned());
    }
    let mut pod = json!({
        "restartPolicy": "Never",
        "serviceAccountName": builder.service_account,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "activeDeadlineSeconds": wanted.build.timeout.as_secs().max(1),
        "terminationGracePeriodSeconds": 5,
        "securityContext": { "fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch" },
        "initContainers": [fetch(input), build(input, key)],
        "containers": [push(input)],
        "volumes": volumes(input),
        "nodeSelector": selector,
        "tolerations": builder.tolerations,
    });
    confine_users(builder.isolation, &mut pod);
    pod
}

/// Where the image is laid out.
pub const LAYOUT: &str = "/workspace/image";
/// Where the source is, without its `.git`.
pub const TREE: &str = "/workspace/tree";
/// Further arguments for the builder, one a line, which follow from the source.
pub const OPTIONS: &str = "/workspace/options";
/// The time of the commit, as fields of the output.
pub const TIME: &str = "/workspace/time";
/// A credential for git.
pub const GIT: &str = "/run/slipway/git";
const SECRETS: &str = "/run/slipway/secrets";
const REGISTRY: &str = "/run/slipway/registry";
const CAS: &str = "/run/slipway/ca";
/// What the disk of a node is called as a resource.
const DISK: &str = "ephemeral-storage";

fn mount(name: &str, path: &str) -> Value {
    json!({ "name": name, "mountPath": path, "readOnly": true })
}

fn own(input: &BuildInput<'_>, name: &str, args: &[String], mounts: Vec<Value>) -> Value {
    let mut args: Vec<String> = args.iter().map(|arg| unexpanded(arg)).collect();
    let mut mounts = mounts;
    if input.builder.ca_bundle.is_some() {
        args.extend(["--ca-bundle".to_owned(), format!("{CAS}/ca.crt")]);
        mounts.push(mount("ca", CAS));
    }
    mounts.push(work());
    json!({
        "name": name,
        "image": input.builder.own_image,
        "args": args,
        "env": variables(input.builder, Vec::new()),
        "resources": { "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "memory": "1Gi" } },
        "securityContext": confined(),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "File",
    })
}

fn fetch(input: &BuildInput<'_>) -> Value {
    let Wanted { origin, build, .. } = input.wanted;
    let mut args: Vec<String> = ["build", "fetch"].map(str::to_owned).into();
    let mut give = |name: &str, value: &str| args.push(format!("--{name}={value}"));
    give("git", &origin.git.to_string());
    give("commit", input.commit.as_str());
    give("path", &origin.path);
    give("dockerfile", &build.dockerfile);
    for (name, stage) in [("target", &build.target), ("test-target", &build.test_target)] {
        if let Some(stage) = stage {
            give(name, stage);
        }
    }
    for (name, value) in &build.args {
        give("arg", &format!("{name}={value}"));
    }
    for id in build.secrets.keys() {
        give("secret", id);
    }
    for platform in &build.platforms {
        give("platform", platform);
    }
    match build.locks {
        Agree::Enforce => {}
        Agree::Warn => give("locks", "warn"),
        Agree::Ignore => give("locks", "ignore"),
    }
    give("tree", TREE);
    give("options", OPTIONS);
    give("time", TIME);
    let mut mounts = Vec::new();
    if origin.secret.is_some() {
        give("credentials", GIT);
        mounts.push(mount("git", GIT));
    }
    own(input, FETCH, &args, mounts)
}

fn push(input: &BuildInput<'_>) -> Value {
    let mut args: Vec<String> = ["build", "push"].map(str::to_owned).into();
    args.push(format!("--layout={LAYOUT}"));
    args.push(format!("--to={}", input.wanted.reference));
    if input.wanted.build.always {
        args.push("--over".to_owned());
    }
    args.extend(
        input
            .builder
            .plain_http
            .iter()
            .map(|host| format!("--plain-http={host}")),
    );
    let mut mounts = Vec::new();
    if input.builder.push_secret.is_some() {
        args.push(format!("--credentials={REGISTRY}"));
        mounts.push(mount("push", REGISTRY));
    }
    own(input, PUSH, &args, mounts)
}

/// Starts the builder beside its client, which ends it. What only one of the two builds has is given by variables. The time of
/// the commit is given to what writes the image: as an argument it would be a part of what every step is known by, and the
/// next commit would find none of them in the cache.
const SCRIPT: &str = r#"while IFS= read -r option; do set -- "$@" "$option"; done <"$OPTIONS"
if [ -n "$TESTS" ]; then
  buildctl-daemonless.sh build "$@" --opt "target=$TESTS" || exit 64
fi
[ -z "$TARGET" ] || set -- "$@" --opt "target=$TARGET"
exec buildctl-daemonless.sh build "$@" --output "$OUTPUT,$(cat "$TIME")"
"#;

fn build(input: &BuildInput<'_>, key: &BuildKey) -> Value {
    let BuildInput { builder, wanted, .. } = *input;
    let mut mounts = own_directories(builder.isolation);
    mounts.push(work());
    let stage = |stage: &Option<String>| stage.clone().unwrap_or_default();
    let mut own = vec![
        ("BUILDKITD_FLAGS", flags(builder.isolation).to_owned()),
        ("OPTIONS", OPTIONS.to_owned()),
        ("TIME", TIME.to_owned()),
        ("TESTS", stage(&wanted.build.test_target)),
        ("TARGET", stage(&wanted.build.target)),
        ("OUTPUT", output(input, key)),
    ];
    if builder.secret.is_some() {
        own.push(("DOCKER_CONFIG", REGISTRY.to_owned()));
        mounts.push(mount("registry", REGISTRY));
    }
    if builder.ca_bundle.is_some() {
        own.push(("SSL_CERT_DIR", format!("/etc/ssl/certs:{CAS}")));
        mounts.push(mount("ca", CAS));
    }
    if builder.config.is_some() {
        let at = match builder.isolation {
            Isolation::Rootless => "/home/user/.config/buildkit",
            Isolation::Userns | Isolation::Privileged => "/etc/buildkit",
        };
        mounts.push(mount("config", at));
    }
    if !wanted.build.secrets.is_empty() {
        mounts.push(mount("secrets", SECRETS));
    }
    json!({
        "name": BUILD,
        "image": builder.image,
        "command": ["/bin/sh", "-euc", SCRIPT, BUILD],
        "args": arguments(input).iter().map(|arg| unexpanded(arg)).collect::<Vec<_>>(),
        "env": variables(builder, own),
        "resources": resources(builder, input.larger),
        "securityContext": of_builder(builder.isolation),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "File",
    })
}

/// What whoever installed Slipway gives to all builds, and after it what a container cannot do without.
fn variables(builder: &Builder, own: Vec<(&str, String)>) -> Vec<Value> {
    let given = builder
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()));
    let given = given.filter(|(name, _)| own.iter().all(|(own, _)| own != name));
    let all: Vec<(&str, String)> = given.collect();
    all.into_iter()
        .chain(own)
        .map(|(name, value)| json!({ "name": name, "value": unexpanded(&value) }))
        .collect()
}

fn resources(builder: &Builder, larger: bool) -> Value {
    let twice = |amounts: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let amount = |(name, text): (&String, &String)| {
            let doubled = Quantity::parse(text)
                .filter(|_| larger && name == "memory")
                .map(|quantity| quantity.doubled().canonical());
            (name.clone(), doubled.unwrap_or_else(|| text.clone()))
        };
        amounts.iter().map(amount).collect()
    };
    let (mut requests, mut limits) = (
        twice(&builder.resources.requests),
        twice(&builder.resources.limits),
    );
    // All that the pod writes counts: its volumes, what its containers write beside them, and their logs
    // (<https://kubernetes.io/docs/concepts/storage/ephemeral-storage/>). Without a request all of it would be kept free.
    limits
        .entry(DISK.to_owned())
        .or_insert_with(|| builder.disk.clone());
    requests.entry(DISK.to_owned()).or_insert_with(|| "0".to_owned());
    json!({ "requests": requests, "limits": limits })
}

fn volumes(input: &BuildInput<'_>) -> Vec<Value> {
    let BuildInput { builder, wanted, .. } = *input;
    let disk = |name: &str| json!({ "name": name, "emptyDir": { "sizeLimit": builder.disk } });
    let mut volumes = vec![disk("work"), disk("state"), disk("tmp")];
    let config = [(".dockerconfigjson", "config.json")];
    let docker = |name: &str, secret: &crate::names::ObjectName| {
        let items = config.map(|(key, path)| json!({ "key": key, "path": path }));
        json!({ "name": name, "secret": { "secretName": secret, "items": items, "defaultMode": 0o440 } })
    };
    if let Some(secret) = &wanted.origin.secret {
        volumes.push(json!({ "name": "git", "secret": { "secretName": secret, "defaultMode": 0o440 } }));
    }
    if let Some(secret) = &builder.push_secret {
        volumes.push(docker("push", secret));
    }
    if let Some(secret) = &builder.secret {
        volumes.push(docker("registry", secret));
    }
    if let Some(bundle) = &builder.ca_bundle {
        volumes.push(json!({ "name": "ca", "configMap": { "name": bundle } }));
    }
    if let Some(config) = &builder.config {
        volumes.push(json!({ "name": "config", "configMap": { "name": config } }));
    }
    if !wanted.build.secrets.is_empty() {
        let sources = wanted.build.secrets.iter().map(
            |(id, key)| json!({ "secret": { "name": key.name, "items": [{ "key": key.key, "path": id }] } }),
        );
        let sources: Vec<Value> = sources.collect();
        volumes.push(json!({ "name": "secrets", "projected": { "sources": sources, "defaultMode": 0o440 } }));
    }
    volumes
}

#[cfg(test)]
mod tests;
