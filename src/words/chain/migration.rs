//! The link of the migration: the ledger's entry, its Job, who holds the lock, and the end of the log.

use super::{Link, Mark, TAIL};
use crate::{
    api::ReleaseRevision,
    plan::{
        ledger::{Entry, EntryState, MigrationKey},
        observed::{JobEnd, LockSeen},
    },
    words::{facts::Facts, history, utc},
};

/// The link.
pub(super) fn link(facts: &Facts) -> Link {
    let Some(current) = facts.current() else {
        return Link::new("migration", Mark::Nothing, "nothing yet");
    };
    let Some(migration) = &current.spec.migration else {
        return Link::new("migration", Mark::Nothing, "none is declared");
    };
    let short = migration.key.get(..8).unwrap_or(&migration.key);
    let Some((key, entry)) = facts.entry() else {
        let word = history::migration_word(current, facts.ledger.as_ref());
        let text = match word.as_str() {
            "not known" => format!("{short} on {}: not begun", migration.database),
            word => format!(
                "{short} on {}: {word}, by its revision; the ledger has no entry",
                migration.database
            ),
        };
        return Link::new("migration", Mark::Moving, text);
    };
    let (mark, word) = match entry.state {
        EntryState::Claimed => (Mark::Moving, "has the claim"),
        EntryState::Succeeded => (Mark::Well, "succeeded"),
        EntryState::Accepted => (Mark::Well, "was accepted by a commit"),
        EntryState::Failed => (Mark::Wrong, "failed"),
        EntryState::Unknown => (Mark::Wrong, "has an unknown outcome"),
        EntryState::Withdrawn => (Mark::Moving, "was taken back before it ran"),
    };
    let exit = entry.exit_code.filter(|code| *code != 0);
    let exit = exit.map_or_else(String::new, |code| format!(", exit code {code}"));
    let note = if entry.note.is_empty() {
        String::new()
    } else {
        format!(": {}", entry.note)
    };
    let text = format!(
        "{key} on {} {word} at {} (v{}){exit}{note}",
        migration.database,
        utc(entry.at),
        entry.revision
    );
    let mut link = Link::new("migration", mark, text);
    if entry.state == EntryState::Claimed {
        link.below.extend(job(facts, &key, entry));
    }
    link.below
        .extend(facts.refused.iter().map(|words| format!("refused: {words}")));
    if !matches!(entry.state, EntryState::Succeeded | EntryState::Accepted) {
        link.below.extend(tail(current));
    }
    link
}

/// The Job that has the claim, its pod, and who holds the lock.
fn job(facts: &Facts, key: &MigrationKey, entry: &Entry) -> Vec<String> {
    let mut lines = Vec::new();
    let job = facts.jobs.iter().find(|job| job.uid == entry.uid);
    lines.push(match job {
        None => format!("Job {} is gone", entry.job),
        Some(job) => {
            let state = match (&job.finished, job.deleting, job.suspended) {
                (Some(JobEnd::Complete), ..) => "ended well, and is being booked".to_owned(),
                (Some(JobEnd::Failed(reason)), ..) => format!("failed ({reason}), and is being booked"),
                (None, true, _) => "is being deleted by somebody".to_owned(),
                (None, false, true) => "waits for its right to run".to_owned(),
                (None, false, false) => "may run".to_owned(),
            };
            format!("Job {} {state}", job.name)
        }
    });
    for pod in facts.job_pods.iter().filter(|pod| pod.job == entry.uid) {
        if let Some(stuck) = &pod.stuck {
            lines.push(format!("its pod has not started: {stuck}"));
        } else if let Some(time) = pod.running_for {
            lines.push(format!("its pod has been running for {} s", time.as_secs()));
        } else if let Some(code) = pod.exit_code {
            lines.push(format!("its pod ended with exit code {code}"));
        }
    }
    match &facts.lock {
        Some(LockSeen::Held { by, .. }) if *by == entry.uid => {
            lines.push(format!("migration {key} holds the lock {}", entry.lock));
        }
        Some(LockSeen::Held { holder, over, .. }) => {
            let over = if *over {
                ", which is over: it passes on"
            } else {
                ""
            };
            lines.push(format!("the lock {} is held by Job {holder}{over}", entry.lock));
        }
        Some(LockSeen::Absent | LockSeen::Free { .. }) => {
            lines.push(format!("the lock {} is free", entry.lock));
        }
        None => {}
    }
    lines
}

/// The last lines of the log that the revision keeps; the controller has taken secrets out of it. What pods themselves
/// say is not shown, since nobody has.
fn tail(current: &ReleaseRevision) -> Vec<String> {
    let tail = current
        .status
        .as_ref()
        .and_then(|status| status.log_tail.as_deref())
        .unwrap_or_default();
    let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
    let skip = lines.len().saturating_sub(TAIL);
    lines
        .into_iter()
        .skip(skip)
        .map(|line| format!("| {line}"))
        .collect()
}
