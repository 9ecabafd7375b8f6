//! The claim protocol and the gate: a migration runs once, whatever dies in between.
//!
//! ```text
//! create Job suspended → claim its UID in the ledger → take the lock → resume → book the outcome → roll out
//! ```
//!
//! Why it holds: no pod exists before the resume; only the claimed UID is ever resumed; the ledger changes by
//! compare-and-swap; an absence is never evidence. So a crash between any two moves, a second controller, or a
//! Job that somebody deletes can stop a migration, but never run a key twice. What cannot be known is booked
//! as unknown, and waits for a person.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    decision::MigrationStep,
    ledger::{Entry, EntryState, MigrationKey},
    observed::{DatabaseSeen, JobPodSeen, JobSeen, LedgerSeen, LockSeen, Revision},
};
use crate::names::{ReleaseName, RevisionNumber};

mod claim;
mod evidence;
mod start;

#[cfg(test)]
use super::mutant::{self, Mutant};
use claim::settle;
use start::New;

/// Proof that the Deployments of a revision may be written: its migration was booked as a success, or there is
/// nothing to migrate. Only this module makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    revision: RevisionNumber,
}

impl Migrated {
    /// The revision that it is a proof for.
    #[must_use]
    pub fn revision(&self) -> RevisionNumber {
        self.revision
    }
}

/// What is known for the next move.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The release.
    pub release: &'a ReleaseName,
    /// The key of the revision that is under way, if it has one: a claim of another one is left over.
    pub own: Option<&'a MigrationKey>,
    /// The spec's attempt counter.
    pub attempt: u64,
    /// The spec's `migrate.accept`.
    pub accept: Option<&'a str>,
    /// What the spec says of `migrate.compatible`, and its version.
    pub compatible: (Option<bool>, &'a str),
    /// What the spec gives to the Job by now, where that is known.
    pub given: Option<&'a str>,
    /// The key as it would be made now; `None` while the database cannot be read.
    pub key_now: Option<&'a MigrationKey>,
    /// The database that the spec names now, and the lock that it would have.
    pub database: (&'a DatabaseSeen, String),
    /// How long a migration may run.
    pub timeout: Duration,
    /// How many times a failed one is run again by itself.
    pub retries: u32,
    /// The text that the log of a success must hold.
    pub proof: Option<&'a str>,
    /// The ledger.
    pub ledger: Option<&'a LedgerSeen>,
    /// There is no ledger although there must have been one.
    pub history_lost: bool,
    /// Jobs of the release.
    pub jobs: &'a [JobSeen],
    /// Pods of those Jobs.
    pub pods: &'a [JobPodSeen],
    /// Name and state of the lock.
    pub lock: (&'a str, &'a LockSeen),
    /// For records, and for the pause before a retry.
    pub now: Timestamp,
    /// Whether git already declares something else.
    pub superseded: bool,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// The Deployments may be written.
    Open(Migrated),
    /// Make this move, then look again.
    Step(MigrationStep),
    /// Something from outside must happen first.
    Wait {
        /// `Running`, `DatabaseLocked`, `ImagePull`, …
        reason: &'static str,
        /// One sentence.
        message: String,
    },
    /// It ended otherwise than by success.
    Failed {
        /// The ledger's word.
        entry: Option<Box<Entry>>,
        /// One sentence.
        message: String,
    },
}

/// The gate of a revision from what is booked alone: for serving what was Live, without any move.
#[must_use]
pub fn booked(revision: &Revision, ledger: Option<&LedgerSeen>) -> Option<Migrated> {
    let proof = Migrated {
        revision: revision.number,
    };
    let Some(migration) = &revision.migration else {
        return Some(proof);
    };
    let entry = ledger?.ledger.get(&migration.key)?;
    entry.state.is_done().then_some(proof)
}

/// The next move towards the gate of a revision.
#[must_use]
pub fn gate(facts: &Facts<'_>, revision: &Revision) -> Next {
    let open = || {
        Next::Open(Migrated {
            revision: revision.number,
        })
    };
    #[cfg(test)]
    if mutant::is(Mutant::GateDropped) {
        return open();
    }
    if let Some(next) = unfinished(facts) {
        return next;
    }
    let Some(migration) = &revision.migration else {
        return open();
    };
    let new = New {
        facts,
        revision,
        migration,
    };
    let key = &migration.key;
    match facts.ledger.and_then(|seen| seen.ledger.get(key)) {
        // A record of its own, so that `accept` and `rerun` have something to settle.
        None if facts.history_lost => write(
            facts,
            key,
            Entry {
                state: EntryState::Unknown,
                note: "LedgerMissing: the record of migrations was gone, so nobody can say whether it ran"
                    .into(),
                ..new.blank()
            },
        ),
        None => new.start(1, 1),
        Some(entry) => match entry.state {
            EntryState::Succeeded | EntryState::Accepted => open(),
            #[cfg(test)]
            EntryState::Failed if mutant::is(Mutant::FailureRetried) => {
                new.start(entry.run.saturating_add(1), 1)
            }
            EntryState::Failed if facts.attempt > entry.attempt => new.start(entry.run.saturating_add(1), 1),
            EntryState::Failed if entry.tries > 0 && entry.tries <= facts.retries => new.again(entry),
            EntryState::Unknown if facts.accept.is_some_and(|accepted| accepts(accepted, key)) => write(
                facts,
                key,
                Entry {
                    state: EntryState::Accepted,
                    at: facts.now,
                    note: format!("accepted by commit; was unknown: {}", entry.note),
                    ..entry.clone()
                },
            ),
            EntryState::Withdrawn => new.anew(entry),
            EntryState::Failed => Next::Failed {
                entry: Some(Box::new(entry.clone())),
                message: format!("migration {key} failed: {}", entry.note),
            },
            EntryState::Unknown => Next::Failed {
                entry: Some(Box::new(entry.clone())),
                message: format!(
                    "the outcome of migration {key} is unknown: {}; find out whether it is done, then commit \
                     migrate.accept: {key} if it is, or raise migrate.rerun to run it again",
                    entry.note
                ),
            },
            // `unfinished` has handled every claim.
            EntryState::Claimed => Next::Wait {
                reason: "Running",
                message: format!("migration {key} is claimed"),
            },
        },
    }
}

/// What the migration that has a claim needs, whichever revision it belongs to. A running one is never killed,
/// and nothing else of the release moves on before it is booked.
#[must_use]
pub fn unfinished(facts: &Facts<'_>) -> Option<Next> {
    let (key, entry) = facts.ledger?.ledger.claimed()?;
    Some(settle(facts, key, entry))
}

/// Whether the Job that has the claim was let run, or is gone: from then on only its end is waited for.
#[must_use]
pub fn has_begun(facts: &Facts<'_>) -> bool {
    let claimed = facts.ledger.and_then(|seen| seen.ledger.claimed());
    claimed.is_some_and(|(_, entry)| {
        let held = |job: &JobSeen| job.uid == entry.uid && job.suspended && !job.resumed;
        !facts.jobs.iter().any(held)
    })
}

/// Whether the Job that has the claim has the lock, too.
#[must_use]
pub fn has_lock(facts: &Facts<'_>) -> bool {
    let claimed = facts.ledger.and_then(|seen| seen.ledger.claimed());
    claimed.is_some_and(|(_, entry)| {
        matches!(facts.lock, (lock, LockSeen::Held { by, .. }) if lock == entry.lock && *by == entry.uid)
    })
}

/// Leftovers to clear away once the gate is open: a Job that nobody claimed, the Job of an outcome that is
/// already unknown, a lock whose holder is over.
#[must_use]
pub fn leftovers(facts: &Facts<'_>) -> Vec<MigrationStep> {
    let Some(seen) = facts.ledger else {
        return Vec::new();
    };
    let mut steps: Vec<MigrationStep> = abandoned(facts).map(delete).collect();
    if let (
        lock,
        LockSeen::Held {
            by,
            over: true,
            resource_version,
            ..
        },
    ) = facts.lock
        && seen
            .ledger
            .entries
            .values()
            .any(|entry| entry.uid == *by && entry.state != EntryState::Claimed)
    {
        steps.push(MigrationStep::FreeLock {
            lock: lock.to_owned(),
            over: resource_version.clone(),
        });
    }
    steps
}

/// The Jobs whose outcome is known although they have not ended: one that ran past its timeout, and one that was taken back. They
/// end whatever becomes of the release, since what they hold is a lock that others wait for.
#[must_use]
pub fn spent(facts: &Facts<'_>) -> Vec<MigrationStep> {
    let entries = || facts.ledger.iter().flat_map(|seen| seen.ledger.entries.values());
    let jobs = abandoned(facts).filter(|job| entries().any(|entry| entry.uid == job.uid));
    jobs.map(delete).collect()
}

/// Jobs that shall never run, or no more: without a claim, or with an outcome that is already unknown.
fn abandoned<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a JobSeen> {
    let ledger = facts.ledger;
    facts
        .jobs
        .iter()
        .filter(|job| job.key.is_some() && !job.deleting && job.finished.is_none())
        .filter(move |job| {
            let mut entries = ledger.iter().flat_map(|seen| seen.ledger.entries.values());
            match entries.find(|entry| entry.uid == job.uid) {
                None => ledger.is_some() && job.suspended && !job.resumed,
                Some(entry) => match entry.state {
                    EntryState::Unknown => true,
                    EntryState::Withdrawn => stayed_back(job, entry),
                    _ => false,
                },
            }
        })
}

/// Whether a Job that was taken back is as it was then. One that had been let run is told by its generation: it may have
/// been counted as failed since, for a pod that never started.
fn stayed_back(job: &JobSeen, entry: &Entry) -> bool {
    match entry.generation {
        // Whatever is deleted gets another generation by that.
        Some(generation) => job.generation == generation + i64::from(job.deleting),
        None => job.suspended && !job.resumed && job.finished.is_none(),
    }
}

fn delete(job: &JobSeen) -> MigrationStep {
    MigrationStep::DeleteJob {
        job: job.name.clone(),
        uid: job.uid.clone(),
        over: job.resource_version.clone(),
    }
}

fn accepts(accepted: &str, key: &MigrationKey) -> bool {
    accepted.len() >= 8 && key.as_str().starts_with(accepted)
}

fn write(facts: &Facts<'_>, key: &MigrationKey, entry: Entry) -> Next {
    Next::Step(MigrationStep::Write {
        key: key.clone(),
        entry: Box::new(entry),
        over: facts.ledger.map(|seen| seen.resource_version.clone()),
    })
}

#[cfg(test)]
mod tests;
