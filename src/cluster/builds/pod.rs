//! What the pod of a build tells: what it does, and what failed of it. No client comes here.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};

use crate::{
    build::{
        failure::{self, Failure, failure},
        message::Message,
    },
    plan::{hint::with as with_hint, observed::Again},
    render::{BUILD, FETCH, PUSH, TESTS_FAILED},
    words::hints::{At, hints},
};

/// What failed, and what to do about it.
pub(super) struct Failing {
    pub(super) sentence: String,
    pub(super) tail: String,
    pub(super) again: Again,
}

impl Failing {
    /// What it is not to blame for itself.
    pub(super) fn later(sentence: String) -> Self {
        Self {
            sentence,
            tail: String::new(),
            again: Again::AfterPause,
        }
    }

    fn for_good(sentence: String) -> Self {
        Self {
            again: Again::No,
            ..Self::later(sentence)
        }
    }
}

/// What a pod does around its build, by the states of its containers. From the end of one until the next one runs it is that
/// one which is starting, unless it is known that it is `stuck`.
pub(super) fn between<'a>(
    state: impl Fn(&str) -> Option<&'a ContainerState>,
    stuck: bool,
) -> Option<&'static str> {
    let runs = |name: &str| state(name).is_some_and(|state| state.running.is_some());
    let ended = |name: &str| state(name).is_some_and(|state| state.terminated.is_some());
    if runs(FETCH) {
        Some("fetching its source")
    } else if runs(PUSH) || ended(PUSH) {
        Some("pushing it")
    } else if stuck {
        None
    } else if ended(BUILD) {
        Some("pushing it")
    } else if ended(FETCH) {
        Some("starting the builder")
    } else {
        None
    }
}

/// What one of Slipway's own containers said of its failure. The other one may have said that it succeeded.
pub(super) fn told(left: impl Fn(&str) -> Option<Message>) -> Option<Failing> {
    [FETCH, PUSH].into_iter().find_map(|name| match left(name)? {
        Message::Failed {
            sentence,
            later: true,
        } => Some(Failing::later(sentence)),
        Message::Failed {
            sentence,
            later: false,
        } => Some(Failing::for_good(sentence)),
        Message::Fetched { .. } | Message::Pushed { .. } | Message::Processes { .. } => None,
    })
}

/// What ended a pod from outside of its containers.
pub(super) fn by_pod(pod: &Pod) -> Option<Failing> {
    let status = pod.status.clone().unwrap_or_default();
    let words = one_line(&status.message.unwrap_or_default());
    match status.reason.as_deref() {
        // It counts from when a node has the pod: images that do not come count, too.
        Some("DeadlineExceeded") if ![FETCH, BUILD, PUSH].iter().any(|name| has_run(pod, name)) => {
            let why = stuck(pod).map_or_else(String::new, |why| format!(" ({why})"));
            return Some(Failing::later(format!(
                "none of its containers had started when build.timeout was over{why}"
            )));
        }
        Some("DeadlineExceeded") => {
            let sentence = "it took longer than build.timeout allows: raise it, or find what hangs";
            return Some(Failing {
                again: Again::WithMoreTime,
                ..Failing::later(sentence.to_owned())
            });
        }
        // `Usage of EmptyDir volume "state" exceeds the limit "4Gi".` Of a node whose disk is full, whoever filled it:
        // `The node was low on resource: ephemeral-storage.`
        Some("Evicted")
            if words.contains("exceed")
                && ["emptydir", "ephemeral"]
                    .iter()
                    .any(|word| words.to_lowercase().contains(word)) =>
        {
            return Some(Failing::for_good(format!(
                "it wrote more than a build may here ({words}): make it write less, or have the chart's builds.disk raised and raise attempt"
            )));
        }
        Some("Evicted") => return Some(Failing::later(format!("its node evicted it: {words}"))),
        _ => {}
    }
    let conditions = status.conditions.unwrap_or_default();
    let disrupted = conditions
        .into_iter()
        .find(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")?;
    let words = one_line(&disrupted.message.unwrap_or_default());
    Some(Failing::later(format!("it was disrupted: {words}")))
}

/// Whether a container of a pod ever ran.
fn has_run(pod: &Pod, name: &str) -> bool {
    let state = container(pod, name).and_then(|status| status.state.as_ref());
    let ended = |end: &ContainerStateTerminated| {
        end.started_at.is_some() && end.reason.as_deref() != Some("ContainerStatusUnknown")
    };
    state.is_some_and(|state| state.running.is_some() || state.terminated.as_ref().is_some_and(ended))
}

/// What a builder's log says of its end, with a hint where the failure is a known one.
pub(super) fn of_builder(log: &str, ended: &ContainerStateTerminated) -> Failing {
    let failure = failure(log, Some(ended.exit_code), ended.reason.as_deref());
    // What keeps the stage of tests from being built at all is no test.
    let is_step = matches!(
        failure,
        Failure::Step { .. } | Failure::OutOfMemory { .. } | Failure::Network { .. }
    );
    let stage = if ended.exit_code == TESTS_FAILED && is_step {
        "its tests failed: "
    } else {
        ""
    };
    let hint = hints(At::Build, log).into_iter().next();
    let hint = hint.map(|hint| hint.hint.as_str());
    Failing {
        sentence: with_hint(&format!("{stage}{}", failure.sentence()), hint),
        tail: failure.tail().join("\n"),
        again: again(failure.again()),
    }
}

fn again(again: failure::Again) -> Again {
    match again {
        failure::Again::No => Again::No,
        failure::Again::AfterPause => Again::AfterPause,
        failure::Again::WithMoreMemory => Again::WithMoreMemory,
    }
}

pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}

pub(super) fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten())
        .find(|container| container.name == name)
}

/// What one of Slipway's own containers left when it ended.
pub(super) fn left(pod: &Pod, name: &str) -> Option<Message> {
    let ended = container(pod, name)?.state.as_ref()?.terminated.as_ref()?;
    Message::read(ended.message.as_deref()?)
}

/// Why a pod has not started.
pub(super) fn stuck(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let conditions = status.conditions.iter().flatten();
    let unscheduled = conditions
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .find_map(|condition| condition.message.as_deref())
        .map(|message| format!("Unschedulable: {}", one_line(message)));
    let init = status.init_container_statuses.iter().flatten();
    let mut all = init.chain(status.container_statuses.iter().flatten());
    let waits = all.find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let usual = ["PodInitializing", "ContainerCreating"].contains(&reason);
        let message = waiting.message.as_deref().unwrap_or_default();
        (!usual).then(|| format!("{reason}: {}", one_line(message)))
    });
    unscheduled.or(waits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_containers_it_is_the_next_one_that_is_starting() {
        let pod = |states: [&str; 3]| -> Pod {
            let status = |(name, state): (&str, &str)| {
                let state = match state {
                    "runs" => serde_json::json!({ "running": {} }),
                    "ended" => serde_json::json!({ "terminated": { "exitCode": 0 } }),
                    _ => serde_json::json!({ "waiting": { "reason": "PodInitializing" } }),
                };
                serde_json::json!({ "name": name, "state": state, "ready": false, "restartCount": 0, "image": "", "imageID": "" })
            };
            let all: Vec<_> = [FETCH, BUILD, PUSH].into_iter().zip(states).map(status).collect();
            let pod = serde_json::json!({ "status": { "initContainerStatuses": all[..2], "containerStatuses": all[2..] } });
            serde_json::from_value(pod).unwrap()
        };
        for (states, stuck, expected) in [
            (["waits", "waits", "waits"], false, None),
            (["runs", "waits", "waits"], false, Some("fetching its source")),
            (["ended", "waits", "waits"], false, Some("starting the builder")),
            (["ended", "waits", "waits"], true, None),
            (["ended", "ended", "waits"], false, Some("pushing it")),
            (["ended", "ended", "runs"], false, Some("pushing it")),
            (["ended", "ended", "ended"], false, Some("pushing it")),
        ] {
            let pod = pod(states);
            let state = |name: &str| container(&pod, name).and_then(|status| status.state.as_ref());
            assert_eq!(between(state, stuck), expected, "{states:?}");
        }
    }

    #[test]
    fn a_push_that_failed_is_heard_though_the_source_was_fetched() {
        let left = |fetch: Option<Message>, push: Option<Message>| {
            told(|name| {
                if name == FETCH {
                    fetch.clone()
                } else {
                    push.clone()
                }
            })
            .map(|failing| (failing.sentence, failing.again))
        };
        let fetched = || Some(Message::fetched(&[]));
        let failed = |later| Some(Message::failed("push refused", later));
        let sentence = || "push refused".to_owned();
        assert_eq!(left(fetched(), failed(false)), Some((sentence(), Again::No)));
        assert_eq!(
            left(fetched(), failed(true)),
            Some((sentence(), Again::AfterPause))
        );
        assert_eq!(left(failed(false), None), Some((sentence(), Again::No)));
        assert_eq!(left(fetched(), None), None);
    }

    #[test]
    fn what_writes_too_much_is_to_blame_for_that_itself_and_what_its_node_lacks_is_not() {
        let evicted = |message: &str| {
            let status = serde_json::json!({ "reason": "Evicted", "message": message });
            let pod = serde_json::json!({ "status": status });
            by_pod(&serde_json::from_value::<Pod>(pod).unwrap())
                .unwrap()
                .again
        };
        for (message, again) in [
            (
                "Usage of EmptyDir volume \"state\" exceeds the limit \"4Gi\". ",
                Again::No,
            ),
            (
                "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
                Again::No,
            ),
            (
                "Container build exceeded its local ephemeral storage limit \"4Gi\". ",
                Again::No,
            ),
            ("The node was low on resource: memory. ", Again::AfterPause),
            (
                "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 900Mi. Container build was \
                 using 3Gi, request is 0, has larger consumption of ephemeral-storage. ",
                Again::AfterPause,
            ),
        ] {
            assert_eq!(evicted(message), again, "{message}");
        }
    }
}
