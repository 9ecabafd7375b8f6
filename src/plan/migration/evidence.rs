//! What the end of a Job proves.

use super::super::{
    ledger::{Entry, EntryState},
    observed::{JobEnd, JobPodSeen},
};

/// What the end of a Job proves. Complete alone proves nothing: a runtime that answers TERM with exit 0 makes
/// Kubernetes book half a migration as Complete.
pub(super) fn judge(entry: &Entry, end: &JobEnd, pods: &[&JobPodSeen]) -> (EntryState, Option<i32>, String) {
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
    match (end, pod.exit_code) {
        (JobEnd::Complete, Some(0)) if pod.succeeded => {
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
            format!("exit code {code}{}", last_line(&pod.tail)),
        ),
        _ => unknown(format!("Job {} ended, but its pod does not say how", entry.job)),
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
