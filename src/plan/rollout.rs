//! Is a Deployment done, on its way, or failed? Own judgement, since the usual helpers take the old rollout
//! for the new one right after a write (they do not compare `observedGeneration`).

use serde_json::Value;

use super::{
    hint,
    observed::{LiveObject, PodSeen},
};
use crate::names::RevisionNumber;

/// How far the Deployments of a revision are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Every Deployment is observed, and updated = available = desired, with nothing of the old left.
    Complete,
    /// On its way: one sentence.
    Moving(String),
    /// It cannot become better by itself: one sentence.
    Broken(String),
}

/// Reasons of a waiting container that no time heals.
const HOPELESS: [&str; 4] = [
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "RunContainerError",
];
/// How the sentence begins about pods that the API server does not let come to be.
pub const REFUSED: &str = "its pods are refused: ";
/// New pods may restart twice (a database that is a moment late); the third time is a crash loop.
const CRASH_RESTARTS: u32 = 3;

/// Judges the Deployments (live objects) of a revision by themselves and by its pods.
#[must_use]
pub fn judge(deployments: &[&LiveObject], pods: &[PodSeen], revision: RevisionNumber) -> Progress {
    let of_revision = || {
        pods.iter()
            .filter(|pod| pod.revision == Some(revision) && !pod.deleting)
    };
    let known = self::hint(pods, revision);
    if let Some(sentence) = of_revision().find_map(broken) {
        return Progress::Broken(hint::with(&sentence, known));
    }
    let unfinished = deployments
        .iter()
        .find_map(|deployment| moving(&deployment.value));
    match unfinished {
        None => Progress::Complete,
        Some(sentence) => {
            let hindrance = deployments
                .iter()
                .find_map(|deployment| refused(&deployment.value))
                .or_else(|| of_revision().find_map(hindrance))
                .map_or_else(String::new, |hindrance| format!("; {hindrance}"));
            Progress::Moving(hint::with(&format!("{sentence}{hindrance}"), known))
        }
    }
}

/// Judges what was rolled out before: its pods live for months and may restart now and then, which is no fault of a
/// Deployment that is complete.
#[must_use]
pub fn standing(deployments: &[&LiveObject], pods: &[PodSeen], revision: RevisionNumber) -> Progress {
    if deployments
        .iter()
        .all(|deployment| moving(&deployment.value).is_none())
    {
        return Progress::Complete;
    }
    judge(deployments, pods, revision)
}

/// What is known of the failure of a pod of a revision.
#[must_use]
pub fn hint(pods: &[PodSeen], revision: RevisionNumber) -> Option<&'static str> {
    let mut of_revision = pods
        .iter()
        .filter(|pod| pod.revision == Some(revision) && !pod.deleting);
    of_revision.find_map(|pod| pod.hint)
}

/// Restarts of the pods of a revision, for verification.
#[must_use]
pub fn restarts(pods: &[PodSeen], revision: RevisionNumber) -> u32 {
    pods.iter()
        .filter(|pod| pod.revision == Some(revision) && !pod.deleting)
        .map(|pod| pod.restarts)
        .sum()
}

/// `None` when the Deployment is complete.
fn moving(deployment: &Value) -> Option<String> {
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_i64);
    let name = deployment
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or("?");
    let desired = number("/spec/replicas").unwrap_or(1);
    let generation = number("/metadata/generation").unwrap_or(0);
    if number("/status/observedGeneration").unwrap_or(-1) < generation {
        return Some(format!("Deployment {name} has not been taken up yet"));
    }
    let updated = number("/status/updatedReplicas").unwrap_or(0);
    let available = number("/status/availableReplicas").unwrap_or(0);
    let all = number("/status/replicas").unwrap_or(0);
    if updated < desired || available < desired {
        return Some(format!(
            "Deployment {name}: {available} of {desired} pods available, {updated} of the new revision"
        ));
    }
    (all > updated).then(|| format!("Deployment {name}: {} old pods are still going", all - updated))
}

/// Why no pod of a Deployment can be made, in the words of the API server: a quota, Pod Security, a policy.
#[must_use]
pub fn refused(deployment: &Value) -> Option<String> {
    let conditions = deployment.pointer("/status/conditions")?.as_array()?;
    let says =
        |condition: &Value, key: &str, word: &str| condition.get(key).and_then(Value::as_str) == Some(word);
    let failure = conditions
        .iter()
        .find(|condition| says(condition, "type", "ReplicaFailure") && says(condition, "status", "True"))?;
    Some(format!("{REFUSED}{}", clip(failure.get("message")?.as_str()?)))
}

/// Why a pod will never become ready.
fn broken(pod: &PodSeen) -> Option<String> {
    if let Some((reason, message)) = &pod.waiting {
        let refused = matches!(reason.as_str(), "ErrImagePull" | "ImagePullBackOff")
            && [
                "not found",
                "manifest unknown",
                "unauthorized",
                "authentication required",
                "no match for platform",
            ]
            .iter()
            .any(|word| message.to_lowercase().contains(word));
        if refused || HOPELESS.contains(&reason.as_str()) {
            return Some(format!("pod {}: {reason}: {}", pod.name, clip(message)));
        }
    }
    (pod.restarts >= CRASH_RESTARTS).then(|| {
        let end = pod.last_end.as_ref().map_or_else(String::new, |(code, reason)| {
            format!(", last with exit code {code} ({reason})")
        });
        format!("pod {} restarted {} times{end}", pod.name, pod.restarts)
    })
}

/// What may be in the way, for the sentence.
fn hindrance(pod: &PodSeen) -> Option<String> {
    if let Some(why) = &pod.unschedulable {
        return Some(format!("pod {} cannot be scheduled: {}", pod.name, clip(why)));
    }
    if let Some((reason, message)) = pod
        .waiting
        .as_ref()
        .filter(|(reason, _)| reason != "ContainerCreating")
    {
        return Some(format!("pod {}: {reason}: {}", pod.name, clip(message)));
    }
    let (code, reason) = pod.last_end.as_ref()?;
    Some(format!("pod {} ended with exit code {code} ({reason})", pod.name))
}

fn clip(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(generation: i64, observed: i64, numbers: [i64; 4]) -> LiveObject {
        let [desired, all, updated, available] = numbers;
        LiveObject {
            uid: "u".parse().unwrap(),
            resource_version: "1".into(),
            value: json!({
                "metadata": {"name": "shop", "generation": generation},
                "spec": {"replicas": desired},
                "status": {"observedGeneration": observed, "replicas": all, "updatedReplicas": updated,
                           "availableReplicas": available},
            })
            .into(),
        }
    }

    fn pod(revision: u64) -> PodSeen {
        PodSeen {
            name: "shop-1".into(),
            revision: Some(RevisionNumber(revision)),
            deleting: false,
            restarts: 0,
            waiting: None,
            unschedulable: None,
            last_end: None,
            hint: None,
        }
    }

    #[test]
    fn right_after_a_write_the_old_rollout_does_not_count_as_the_new_one() {
        let stale = deployment(2, 1, [2, 2, 2, 2]);
        assert!(matches!(
            judge(&[&stale], &[], RevisionNumber(2)),
            Progress::Moving(_)
        ));
    }

    #[test]
    fn pods_that_the_api_server_refuses_are_told_in_its_words() {
        let mut stuck = deployment(2, 2, [2, 2, 0, 2]);
        let words = r#"pods "shop-1" is forbidden: violates PodSecurity "restricted:latest""#;
        let condition =
            |status: &str| json!([{"type": "ReplicaFailure", "status": status, "message": words}]);
        stuck.value["status"]["conditions"] = condition("True");
        let Progress::Moving(how) = judge(&[&stuck], &[], RevisionNumber(2)) else {
            panic!("it may be let come to be")
        };
        assert!(how.ends_with(&format!("; {REFUSED}{words}")), "{how}");
        stuck.value["status"]["conditions"] = condition("False");
        assert!(!format!("{:?}", judge(&[&stuck], &[], RevisionNumber(2))).contains(REFUSED));
    }

    #[test]
    fn complete_means_updated_and_available_and_nothing_old_left() {
        assert_eq!(
            judge(&[&deployment(2, 2, [2, 2, 2, 2])], &[], RevisionNumber(2)),
            Progress::Complete
        );
        for numbers in [[2, 3, 2, 2], [2, 2, 1, 2], [2, 2, 2, 1]] {
            let moving = deployment(2, 2, numbers);
            assert!(
                matches!(judge(&[&moving], &[], RevisionNumber(2)), Progress::Moving(_)),
                "{numbers:?}"
            );
        }
    }

    #[test]
    fn no_deployment_but_all_of_them_must_be_complete() {
        let (done, moving) = (deployment(1, 1, [1, 1, 1, 1]), deployment(1, 1, [1, 1, 0, 0]));
        assert!(matches!(
            judge(&[&done, &moving], &[], RevisionNumber(1)),
            Progress::Moving(_)
        ));
    }

    #[test]
    fn a_crash_loop_of_a_new_pod_fails_fast_and_one_of_an_old_pod_does_not() {
        let moving = deployment(2, 2, [2, 3, 1, 2]);
        let crash = PodSeen {
            restarts: 3,
            last_end: Some((1, "Error".into())),
            ..pod(2)
        };
        assert!(matches!(
            judge(&[&moving], std::slice::from_ref(&crash), RevisionNumber(2)),
            Progress::Broken(_)
        ));
        let old = PodSeen {
            revision: Some(RevisionNumber(1)),
            ..crash
        };
        assert!(matches!(
            judge(&[&moving], &[old], RevisionNumber(2)),
            Progress::Moving(_)
        ));
    }

    #[test]
    fn pods_that_restarted_in_the_course_of_months_do_not_make_what_is_complete_a_failure() {
        let old = PodSeen {
            restarts: 3,
            ..pod(2)
        };
        let complete = deployment(2, 2, [2, 2, 2, 2]);
        assert_eq!(
            standing(&[&complete], std::slice::from_ref(&old), RevisionNumber(2)),
            Progress::Complete
        );
        let lacking = deployment(2, 2, [2, 2, 2, 1]);
        assert!(matches!(
            standing(&[&lacking], &[old], RevisionNumber(2)),
            Progress::Broken(_)
        ));
    }

    #[test]
    fn a_missing_manifest_fails_fast_and_a_slow_registry_does_not() {
        let moving = deployment(2, 2, [2, 3, 1, 2]);
        let waiting = |message: &str| PodSeen {
            waiting: Some(("ErrImagePull".into(), message.into())),
            ..pod(2)
        };
        let missing = waiting("failed to resolve reference: registry/x:1: not found");
        assert!(matches!(
            judge(&[&moving], &[missing], RevisionNumber(2)),
            Progress::Broken(_)
        ));
        let slow = waiting("dial tcp: i/o timeout");
        assert!(matches!(
            judge(&[&moving], &[slow], RevisionNumber(2)),
            Progress::Moving(_)
        ));
    }
}
