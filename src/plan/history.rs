//! What is kept of the past: revisions by number, finished Jobs by count. The ledger is never touched here.

use std::collections::BTreeSet;

use super::{
    decision::MigrationStep,
    ledger::{EntryState, Ledger},
    observed::{JobSeen, LedgerSeen},
};
use crate::{names::RevisionNumber, render::run_of};

/// Revisions to forget: all but the newest `keep` and those that are `always` kept.
#[must_use]
pub fn forgettable(
    retained: &[RevisionNumber],
    keep: u32,
    always: &BTreeSet<RevisionNumber>,
) -> Vec<RevisionNumber> {
    let mut numbers: Vec<RevisionNumber> = retained.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    let excess = numbers.len().saturating_sub(keep as usize);
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
    let mut ended: Vec<(Ended, &JobSeen)> = jobs
        .iter()
        .filter(|job| job.finished.is_some() && !job.deleting)
        .filter_map(|job| Some((booked(job, &seen.ledger)?, job)))
        .collect();
    ended.sort_by_key(|(ended, _)| (ended.revision, ended.run));
    let excess = |done: bool, keep: usize| {
        let all: Vec<&JobSeen> = ended
            .iter()
            .filter(|(ended, _)| ended.done == done)
            .map(|(_, job)| *job)
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

/// How a Job ended, by the ledger.
struct Ended {
    revision: u64,
    run: u32,
    done: bool,
}

/// `None` while its outcome is not booked. An entry speaks of the last run of its key; a run before it has failed, since
/// none follows one that has not.
fn booked(job: &JobSeen, ledger: &Ledger) -> Option<Ended> {
    let own = ledger.entries.values().find(|entry| entry.uid == job.uid);
    if let Some(entry) = own {
        return (entry.state != EntryState::Claimed).then_some(Ended {
            revision: entry.revision,
            run: entry.run,
            done: entry.state == EntryState::Succeeded,
        });
    }
    let last = ledger.get(job.key.as_ref()?)?;
    let run = run_of(&job.name).filter(|run| *run < last.run)?;
    Some(Ended {
        revision: last.revision,
        run,
        done: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{
        fixtures::{declared, entry, job, key, ledger, under_way},
        observed::JobEnd,
    };

    fn numbers(list: &[u64]) -> Vec<RevisionNumber> {
        list.iter().copied().map(RevisionNumber).collect()
    }

    #[test]
    fn the_running_and_the_last_live_revision_always_stay() {
        let gone = forgettable(
            &numbers(&[1, 2, 3, 4, 5, 6, 7]),
            3,
            &numbers(&[2, 7]).into_iter().collect(),
        );
        assert_eq!(gone, numbers(&[1, 3, 4]));
    }

    #[test]
    fn fewer_than_the_limit_stay_whole() {
        assert!(forgettable(&numbers(&[1, 2]), 5, &BTreeSet::new()).is_empty());
    }

    #[test]
    fn failed_jobs_of_earlier_runs_count_too_and_a_job_that_nobody_booked_stays() {
        let o = under_way(&declared(2));
        let second = o.current.unwrap();
        let failed = |run| JobSeen {
            finished: Some(JobEnd::Failed("BackoffLimitExceeded".into())),
            ..job(&second, run)
        };
        let jobs: Vec<JobSeen> = (1..=12).map(failed).collect();
        let seen = ledger([(key(&second), entry(&second, 11, EntryState::Failed))]);
        let gone: Vec<String> = finished_jobs(&jobs, Some(&seen), 2)
            .into_iter()
            .map(|step| match step {
                MigrationStep::DeleteJob { job, .. } => job,
                other => unreachable!("{other:?}"),
            })
            .collect();
        let oldest: Vec<String> = jobs.iter().take(9).map(|job| job.name.clone()).collect();
        assert_eq!(
            gone, oldest,
            "runs 10 and 11 are kept, and nobody has booked run 12"
        );
    }
}
