//! Why a pod of a revision on its way fails, where that is a known failure: it is looked for in what the node says of the pod,
//! and at the end of its log. Logs are read only while a pod fails, of one container each time, and nothing of them leaves this
//! room: a hint is said as it is written, whatever else the program printed.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use kube::{Api, ResourceExt as _, api::LogParams};

use super::super::{facts, objects::within};
use crate::{
    names::RevisionNumber,
    words::hints::{At, hints},
};

/// A revision on its way.
#[derive(Debug, Clone, Copy)]
pub struct Rollout {
    /// Its number.
    pub revision: RevisionNumber,
    /// Whether it has taken so long that a pod that runs should have been ready by now.
    pub late: bool,
}

/// A container that fails.
#[derive(Debug, PartialEq, Eq)]
struct Failing<'a> {
    pod: String,
    container: &'a str,
    /// Of which of its runs the log may tell why, the likelier first: `true` is the one before this.
    previous: &'static [bool],
}

/// What is known of the failure of a pod, and the name of that pod.
pub(super) async fn hint(api: &Api<Pod>, pods: &[&Pod], rollout: Rollout) -> Option<(String, &'static str)> {
    let of_revision = pods.iter().copied().filter(|pod| {
        let seen = facts::pod(pod);
        seen.revision == Some(rollout.revision) && !seen.deleting
    });
    let said = of_revision.clone().find_map(|pod| {
        let hint = known(&containers(pod).flat_map(words).collect::<Vec<_>>().join("\n"))?;
        Some((pod.name_any(), hint))
    });
    if said.is_some() {
        return said;
    }
    let failing = of_revision
        .clone()
        .find_map(ended)
        .or_else(|| of_revision.filter(|_| rollout.late).find_map(unready))?;
    for previous in failing.previous {
        if let Some(hint) = log(api, &failing, *previous).await.and_then(|log| known(&log)) {
            return Some((failing.pod, hint));
        }
    }
    None
}

fn known(text: &str) -> Option<&'static str> {
    hints(At::Rollout, text).first().map(|hint| hint.hint.as_str())
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| status.container_statuses.iter().flatten())
}

/// What the node says of a container that it could not start, or whose end it has seen.
fn words(container: &ContainerStatus) -> Vec<String> {
    let states = [container.state.as_ref(), container.last_state.as_ref()];
    let mut words = Vec::new();
    for state in states.into_iter().flatten() {
        if let Some(waiting) = &state.waiting {
            words.extend([waiting.reason.clone(), waiting.message.clone()]);
        }
        if let Some(ended) = &state.terminated {
            words.extend([ended.reason.clone(), ended.message.clone()]);
        }
    }
    words.into_iter().flatten().collect()
}

/// The first container of a pod that has ended. Processes are to run on, so that it failed with whatever exit code.
fn ended(pod: &Pod) -> Option<Failing<'_>> {
    containers(pod).find_map(|container| {
        let over = |state: Option<&ContainerState>| state.is_some_and(|state| state.terminated.is_some());
        let (now, before) = (container.state.as_ref(), container.last_state.as_ref());
        let previous: &[bool] = match (over(now), over(before)) {
            (true, _) => &[false],
            // The node may have thrown away what the one before printed.
            (false, true) => &[true, false],
            (false, false) => return None,
        };
        Some(Failing {
            pod: pod.name_any(),
            container: &container.name,
            previous,
        })
    })
}

/// The first container of a pod that runs and is not ready.
fn unready(pod: &Pod) -> Option<Failing<'_>> {
    let container = containers(pod).find(|container| {
        let state = container.state.as_ref();
        !container.ready && state.is_some_and(|state| state.running.is_some())
    })?;
    Some(Failing {
        pod: pod.name_any(),
        container: &container.name,
        previous: &[false],
    })
}

/// The end of a log; `None` when it cannot be had, since it is a courtesy.
async fn log(api: &Api<Pod>, failing: &Failing<'_>, previous: bool) -> Option<String> {
    let params = LogParams {
        container: Some(failing.container.to_owned()),
        previous,
        tail_lines: Some(200),
        // Of those lines the API server gives the first so many bytes.
        limit_bytes: Some(512 << 10),
        ..LogParams::default()
    };
    let attempted = || format!("read the log of pod {}", failing.pod);
    within(attempted, api.logs(&failing.pod, &params)).await.ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(state: &Value, last: &Value, ready: bool) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "shop-1" },
            "status": { "containerStatuses": [{
                "name": "web", "image": "i", "imageID": "i", "ready": ready, "restartCount": 1,
                "state": state, "lastState": last,
            }] },
        }))
        .unwrap()
    }

    fn over() -> Value {
        json!({ "terminated": { "exitCode": 1, "reason": "Error" } })
    }

    fn runs_read(pod: &Pod) -> Option<&'static [bool]> {
        ended(pod).map(|failing| failing.previous)
    }

    #[test]
    fn of_a_container_that_ended_the_run_that_did_is_read() {
        let waits = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let runs = json!({ "running": {} });
        assert_eq!(runs_read(&pod(&over(), &json!({}), false)), Some(&[false][..]));
        assert_eq!(runs_read(&pod(&over(), &over(), false)), Some(&[false][..]));
        assert_eq!(runs_read(&pod(&waits, &over(), false)), Some(&[true, false][..]));
        assert_eq!(runs_read(&pod(&runs, &over(), true)), Some(&[true, false][..]));
        assert_eq!(runs_read(&pod(&runs, &json!({}), false)), None);
    }

    #[test]
    fn only_a_container_that_runs_and_is_not_ready_counts_as_late() {
        let (runs, waits) = (json!({ "running": {} }), json!({ "waiting": {} }));
        assert!(unready(&pod(&runs, &json!({}), false)).is_some());
        assert_eq!(unready(&pod(&runs, &json!({}), true)), None);
        assert_eq!(unready(&pod(&waits, &json!({}), false)), None);
    }

    #[test]
    fn what_the_node_says_of_a_container_is_known_without_its_log() {
        let state = json!({ "terminated": {
            "exitCode": 128, "reason": "StartError", "message": "exec /app/bin/server: exec format error",
        } });
        let pod = pod(
            &json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
            &state,
            false,
        );
        let said: Vec<String> = containers(&pod).flat_map(words).collect();
        assert!(known(&said.join("\n")).is_some(), "{said:?}");
    }
}
