//! A migration without a claim: its first run, the next one after a failure, another one after it was taken back.

use std::time::Duration;

use super::{
    super::{
        decision::MigrationStep,
        hint,
        ledger::{Entry, EntryState},
        observed::{DatabaseSeen, LockSeen, Migration, Revision},
    },
    Facts, Next, delete, stayed_back, write,
};
#[cfg(test)]
use super::{Mutant, mutant};
use crate::render::job_name;

/// What is asked for: the migration of a revision.
pub(super) struct New<'a> {
    pub facts: &'a Facts<'a>,
    pub revision: &'a Revision,
    pub migration: &'a Migration,
}

impl New<'_> {
    /// One of the retries that the spec allows, after a pause that doubles from 10 s to 5 min.
    pub(super) fn again(&self, entry: &Entry) -> Next {
        let (facts, migration) = (self.facts, self.migration);
        let pause = Duration::from_secs((10 << entry.tries.min(6).saturating_sub(1)).min(300));
        let passed = Duration::try_from(facts.now.duration_since(entry.at)).unwrap_or_default();
        if passed < pause {
            return Next::Wait {
                reason: "Retrying",
                message: hint::last(&entry.note, |note| {
                    format!(
                        "migration {} failed: {note}; it runs again in {} s, retry {} of {}",
                        migration.key,
                        pause.saturating_sub(passed).as_secs().max(1),
                        entry.tries,
                        facts.retries
                    )
                }),
            };
        }
        self.start(entry.run.saturating_add(1), entry.tries.saturating_add(1))
    }

    /// It was taken back before it ran. Another Job of it is made once the one that was taken back is gone.
    pub(super) fn anew(&self, entry: &Entry) -> Next {
        let (facts, migration) = (self.facts, self.migration);
        match facts.jobs.iter().find(|job| job.uid == entry.uid) {
            None => self.start(entry.run.saturating_add(1), entry.tries.max(1)),
            Some(job) if !stayed_back(job, entry) => {
                let note = format!("Job {} was taken back, and then resumed by hand", job.name);
                write(
                    facts,
                    &migration.key,
                    Entry {
                        state: EntryState::Unknown,
                        note,
                        ..entry.clone()
                    },
                )
            }
            Some(job) if job.deleting => Next::Wait {
                reason: "JobDeleting",
                message: format!("Job {}, which was taken back, is being deleted", job.name),
            },
            Some(job) => Next::Step(delete(job)),
        }
    }

    /// No outcome and no claim yet: create the Job, then claim it.
    pub(super) fn start(&self, run: u32, tries: u32) -> Next {
        let facts = self.facts;
        let key = &self.migration.key;
        if facts.key_now.is_some_and(|now| now != key) {
            return Next::Wait {
                reason: "DatabaseMoved",
                message: "the database changed after this revision was made; a new revision takes over"
                    .into(),
            };
        }
        let name = job_name(facts.release, key.as_str(), run);
        match facts.jobs.iter().find(|job| job.name == name) {
            None => Next::Step(MigrationStep::CreateJob {
                revision: self.revision.number,
                key: key.clone(),
                run,
            }),
            Some(job) if job.key.as_ref() != Some(key) => Next::Wait {
                reason: "NameTaken",
                message: format!(
                    "a Job {name} that is not Slipway's stands where the migration would run; remove it"
                ),
            },
            Some(job) if job.deleting => Next::Wait {
                reason: "JobDeleting",
                message: format!("Job {name} is being deleted by somebody"),
            },
            Some(job) => {
                let ran = job.resumed || !job.suspended || job.finished.is_some();
                #[cfg(test)]
                if !ran && mutant::is(Mutant::ResumeWithoutClaim) {
                    let (job, uid, over) = (name, job.uid.clone(), job.resource_version.clone());
                    return Next::Step(MigrationStep::Resume { job, uid, over });
                }
                let entry = Entry {
                    run,
                    tries,
                    proof: facts.proof.map(str::to_owned),
                    needs: (facts.compatible.0 == Some(false)).then(|| facts.compatible.1.to_owned()),
                    timeout: Some(facts.timeout.as_secs()),
                    job: name.clone(),
                    uid: job.uid.clone(),
                    ..self.blank()
                };
                let runs = job.finished.is_none() && !job.suspended && !job.deleting;
                let locked = matches!(&facts.lock.1, LockSeen::Held { by, .. } if *by == job.uid);
                if runs && locked {
                    // Nobody takes the lock before the claim, so an older ledger was put back: it comes to its end.
                    let claimed = Entry {
                        state: EntryState::Claimed,
                        lost: true,
                        ..entry
                    };
                    write(facts, key, claimed)
                } else if ran {
                    // Only a claimed Job is resumed, so this one was resumed by hand or its claim was lost.
                    let note = format!("Job {name} ran without a claim in the ledger");
                    write(
                        facts,
                        key,
                        Entry {
                            state: EntryState::Unknown,
                            note,
                            ..entry
                        },
                    )
                } else {
                    write(
                        facts,
                        key,
                        Entry {
                            state: EntryState::Claimed,
                            ..entry
                        },
                    )
                }
            }
        }
    }

    /// An entry of it that says nothing yet.
    pub(super) fn blank(&self) -> Entry {
        let facts = self.facts;
        Entry {
            database: match &facts.database.0 {
                DatabaseSeen::Known(identity) => Some(identity.clone()),
                DatabaseSeen::Unnamed => Some(String::new()),
                DatabaseSeen::NotNeeded | DatabaseSeen::Unreadable => None,
            },
            attempt: facts.attempt,
            lock: self.migration.lock.clone(),
            ..Entry::of(EntryState::Claimed, self.revision, facts.now)
        }
    }
}
