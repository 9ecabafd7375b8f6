//! The Job that shows whether the builder can run on the nodes, and what bounds the processes of a build there.

use serde_json::{Value, json};

use super::{
    build::BUILD,
    builder::{USER, confine_users, confined, flags, of_builder, own_directories, work},
};
use crate::{api::meta, build::builder::Builder, hex::hex};

/// The container that counts how many processes a build may have.
pub const PROCESSES: &str = "processes";

/// What the builder has to be able to do: unpack, and run a program. It needs no registry.
const TRIAL: &str = r#"mkdir /workspace/trial
cp "$(command -v buildctl)" /workspace/trial/program
printf 'FROM scratch\nCOPY program /program\nRUN ["/program", "--version"]\n' >/workspace/trial/Dockerfile
exec buildctl-daemonless.sh build --progress=plain --frontend=dockerfile.v0 --no-cache \
  --local=context=/workspace/trial --local=dockerfile=/workspace/trial
"#;

/// How long the trial may take, the pull of the builder's image included.
const TRIAL_TIME: u32 = 300;

/// A Job that shows whether the builder can run here: as a build has it, but with nothing that is given to builds.
#[must_use]
pub fn trial_job(builder: &Builder) -> Value {
    use sha2::{Digest as _, Sha256};
    let labels = json!({ (meta::TRIAL): "true", "app.kubernetes.io/managed-by": "slipway" });
    let disk = |name: &str| json!({ "name": name, "emptyDir": { "sizeLimit": "1Gi" } });
    let mut mounts = own_directories(builder.isolation);
    mounts.push(work());
    let mut pod = json!({
        "restartPolicy": "Never",
        "serviceAccountName": builder.service_account,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "activeDeadlineSeconds": TRIAL_TIME,
        "terminationGracePeriodSeconds": 5,
        "securityContext": { "fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch" },
        // Slipway's own one, whose threads count as processes: the bound is that of the pod, and stands in no file that it sees.
        "initContainers": [{
            "name": PROCESSES,
            "image": builder.own_image,
            "args": ["build", "processes"],
            "resources": { "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "memory": "512Mi" } },
            "securityContext": confined(),
            "terminationMessagePolicy": "File",
        }],
        "containers": [{
            "name": BUILD,
            "image": builder.image,
            "command": ["/bin/sh", "-euc", TRIAL],
            "env": [{ "name": "BUILDKITD_FLAGS", "value": flags(builder.isolation) }],
            "resources": { "requests": { "cpu": "50m", "memory": "128Mi" }, "limits": { "memory": "512Mi" } },
            "securityContext": of_builder(builder.isolation),
            "volumeMounts": mounts,
        }],
        "volumes": [disk("work"), disk("state"), disk("tmp")],
        "nodeSelector": builder.node_selector,
        "tolerations": builder.tolerations,
    });
    confine_users(builder.isolation, &mut pod);
    // Another builder, and another trial, is another Job.
    let all = format!("{} {pod}", builder.version());
    let hash = hex(&Sha256::digest(all.as_bytes()));
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": format!("builder-trial-{}", hash.get(..10).unwrap_or(&hash)),
            "namespace": builder.namespace,
            "labels": labels,
        },
        "spec": {
            "backoffLimit": 0,
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    })
}
