//! What a build and its trial have in common: the containers of the builder and of Slipway, as each way to isolate one asks.

use serde_json::{Value, json};

use crate::build::builder::Isolation;

/// The user of all containers but a privileged builder: that of the rootless image of `BuildKit`.
pub(super) const USER: u32 = 1000;
/// The source, the options that follow from it, and the image.
const WORK: &str = "/workspace";

pub(super) fn confine_users(isolation: Isolation, pod: &mut Value) {
    if isolation == Isolation::Userns
        && let Some(fields) = pod.as_object_mut()
    {
        fields.insert("hostUsers".to_owned(), json!(false));
    }
}

pub(super) fn flags(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Rootless => "--oci-worker-no-process-sandbox --oci-worker-net=host",
        Isolation::Userns | Isolation::Privileged => "--oci-worker-net=host",
    }
}

/// What the builder keeps while it runs.
pub(super) fn own_directories(isolation: Isolation) -> Vec<Value> {
    let state = match isolation {
        Isolation::Rootless => "/home/user/.local/share/buildkit",
        Isolation::Userns | Isolation::Privileged => "/var/lib/buildkit",
    };
    vec![
        json!({ "name": "state", "mountPath": state }),
        json!({ "name": "tmp", "mountPath": "/tmp" }),
    ]
}

/// Of Slipway's own containers: nothing that a container can do without.
pub(super) fn confined() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": USER,
        "runAsGroup": USER,
        "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

pub(super) fn work() -> Value {
    json!({ "name": "work", "mountPath": WORK })
}

pub(super) fn of_builder(isolation: Isolation) -> Value {
    match isolation {
        Isolation::Rootless => json!({
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            // `newuidmap` has its right from its file.
            "allowPrivilegeEscalation": true,
            "capabilities": { "drop": ["ALL"], "add": ["SETGID", "SETUID"] },
            "seccompProfile": { "type": "Unconfined" },
            "appArmorProfile": { "type": "Unconfined" },
        }),
        Isolation::Userns | Isolation::Privileged => {
            json!({ "privileged": true, "runAsUser": 0, "runAsGroup": 0 })
        }
    }
}
