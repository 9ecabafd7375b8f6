//! What is kept of the past: revisions by number, finished Jobs by count. The ledger is never touched here.

use std::collections::BTreeSet;

use super::{
    decision::MigrationStep,
    ledger::EntryState,
    observed::{JobSeen, LedgerSeen},
};
use crate::names::RevisionNumber;

/// Revisions to forget: all but the newest `keep`, the current and the last Live one.
#[must_use]
pub fn forgettable(
    retained: &[RevisionNumber],
    keep: u32,
    current: Option<RevisionNumber>,
    live: Option<RevisionNumber>,
) -> Vec<RevisionNumber> {
    let mut numbers: Vec<RevisionNumber> = retained.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    let excess = numbers.len().saturating_sub(keep as usize);
    let always: BTreeSet<RevisionNumber> = current.into_iter().chain(live).collect();
    numbers
        .into_iter()
        .take(excess)
        .filter(|number| !always.contains(number))
        .collect()
}

/// Finished migration Jobs to delete: those that succeeded, but the newest, and all but the newest `keep` of the others.
/// Only Jobs whose outcome is booked: until then the Job is the evidence.
#[must_use]
pub fn finished_jobs(jobs: &[JobSeen], ledger: Option<&LedgerSeen>, keep: u32) -> Vec<MigrationStep> {
    let Some(seen) = ledger else { return Vec::new() };
    let mut booked: Vec<(u64, bool, &JobSeen)> = jobs
        .iter()
        .filter(|job| job.finished.is_some() && !job.deleting)
        .filter_map(|job| {
            let entry = seen.ledger.entries.values().find(|entry| entry.uid == job.uid)?;
            let done = entry.state == EntryState::Succeeded;
            (entry.state != EntryState::Claimed).then_some((entry.revision, done, job))
        })
        .collect();
    booked.sort_by_key(|(revision, _, job)| (*revision, job.name.clone()));
    let excess = |wanted: bool, keep: usize| {
        let all: Vec<&JobSeen> = booked
            .iter()
            .filter(|(_, done, _)| *done == wanted)
            .map(|(.., job)| *job)
            .collect();
        let excess = all.len().saturating_sub(keep);
        all.into_iter().take(excess)
    };
    excess(true, 1)
        .chain(excess(false, keep as usize))
        .map(|job| MigrationStep::DeleteJob {
            job: job.name.clone(),
            uid: job.uid.clone(),
            over: job.resource_version.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(list: &[u64]) -> Vec<RevisionNumber> {
        list.iter().copied().map(RevisionNumber).collect()
    }

    #[test]
    fn the_running_and_the_last_live_revision_always_stay() {
        let gone = forgettable(
            &numbers(&[1, 2, 3, 4, 5, 6, 7]),
            3,
            Some(RevisionNumber(7)),
            Some(RevisionNumber(2)),
        );
        assert_eq!(gone, numbers(&[1, 3, 4]));
    }

    #[test]
    fn fewer_than_the_limit_stay_whole() {
        assert!(forgettable(&numbers(&[1, 2]), 5, Some(RevisionNumber(2)), None).is_empty());
    }
}
