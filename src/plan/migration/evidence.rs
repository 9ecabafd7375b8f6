//! What is known of a Job: what its end proves, and where it is certain that it never began.

use super::super::{
    hint,
    ledger::{Entry, EntryState},
    observed::{JobEnd, JobPodSeen, JobSeen},
};
#[cfg(test)]
use super::{Mutant, mutant};

/// What the end of a Job proves. Complete alone proves nothing: a runtime that answers TERM with exit 0 makes
/// Kubernetes book half a migration as Complete.
pub(super) fn judge(entry: &Entry, end: &JobEnd, pods: &[&JobPodSeen]) -> (EntryState, Option<i32>, String) {
    #[cfg(test)]
    if *end == JobEnd::Complete && mutant::is(Mutant::CompleteIsDone) {
        return (EntryState::Succeeded, Some(0), String::new());
    }
    let unknown = |note: String| (EntryState::Unknown, None, note);
    let [pod] = pods else {
        return unknown(format!(
            "Job {} ended, but {} pods of it are left to tell how",
            entry.job,
            pods.len()
        ));
    };
    if pod.deleting || pod.disrupted || pod.reason.is_some() {
        let why = pod.reason.as_deref().unwrap_or("its pod was deleted or evicted");
        return unknown(format!("Job {} was interrupted: {why}", entry.job));
    }
    // Whatever the exit code: a program that its node took along failed by no fault of its own, and is not to be retried.
    let same_boot = match (&entry.started, &pod.node) {
        (Some(started), Some((node, boot))) => started.node == *node && started.boot_id == *boot,
        (Some(_), None) => false,
        (None, _) => true,
    };
    if !same_boot {
        return unknown(format!(
            "the node of Job {} was started anew while it ran",
            entry.job
        ));
    }
    match (end, pod.exit_code) {
        (JobEnd::Complete, Some(0)) if pod.succeeded => {
            if entry.proof.is_some() && pod.proven != Some(true) {
                return unknown(format!(
                    "Job {} ended with exit code 0, but its log does not hold the text of migrate.proof",
                    entry.job
                ));
            }
            (EntryState::Succeeded, Some(0), String::new())
        }
        (JobEnd::Failed(reason), _) if reason == "DeadlineExceeded" => {
            unknown(format!("Job {} ran into its deadline", entry.job))
        }
        (JobEnd::Failed(_), Some(code)) if code != 0 => (
            EntryState::Failed,
            Some(code),
            hint::with(&format!("exit code {code}{}", last_line(&pod.tail)), pod.hint),
        ),
        _ => unknown(format!("Job {} ended, but its pod does not say how", entry.job)),
    }
}

/// Whether it is known that no container of a Job ever started, and that none will: Slipway let it run once and took it back
/// once, and it has no pod and no node had one when it was taken back, or its only one is on its way out and no node was ever
/// told of it. What Kubernetes deletes for a suspension it counts nowhere, so that a pod that is gone tells nothing.
pub(super) fn never_started(entry: &Entry, job: &JobSeen, pods: &[&JobPodSeen]) -> bool {
    /// Created, let run, taken back: nobody else has changed it.
    const TAKEN_BACK_ONCE: i64 = 3;
    if entry.started.is_some() || !job.withdrawn || job.generation != TAKEN_BACK_ONCE {
        return false;
    }
    match pods {
        [] => job.untouched && !job.on_node,
        // A pod that is being deleted is never bound to a node.
        [pod] => pod.deleting && pod.node.is_none() && !pod.started,
        _ => false,
    }
}

fn last_line(tail: &str) -> String {
    tail.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map_or_else(String::new, |line| {
            let line: String = line.chars().take(300).collect();
            format!(": {line}")
        })
}
