//! What has the claim: lock, resume, watch, book.

use std::time::Duration;

use super::{
    super::{
        decision::MigrationStep,
        ledger::{Entry, EntryState, MigrationKey, Started},
        observed::{DatabaseSeen, JobPodSeen, JobSeen, LockSeen},
    },
    Facts, Next, abandoned, delete,
    evidence::{judge, never_started},
    write,
};
#[cfg(test)]
use super::{Mutant, mutant};

/// A claim: lock, resume, watch, book.
pub(super) fn settle(facts: &Facts<'_>, key: &MigrationKey, entry: &Entry) -> Next {
    let book = |state: EntryState, exit_code: Option<i32>, note: String| {
        write(
            facts,
            key,
            Entry {
                state,
                exit_code,
                note,
                at: facts.now,
                ..entry.clone()
            },
        )
    };
    #[cfg(test)]
    if mutant::is(Mutant::AnySuccess)
        && facts
            .jobs
            .iter()
            .any(|job| job.finished == Some(super::super::observed::JobEnd::Complete))
    {
        return book(EntryState::Succeeded, Some(0), String::new());
    }
    let Some(job) = facts.jobs.iter().find(|job| job.uid == entry.uid) else {
        #[cfg(test)]
        if mutant::is(Mutant::MissingIsDone) {
            return book(EntryState::Succeeded, None, String::new());
        }
        #[cfg(test)]
        if mutant::is(Mutant::MissingIsNotRun) {
            return book(EntryState::Withdrawn, None, String::new());
        }
        let note = format!("its Job {} is gone, and nobody saw how it ended", entry.job);
        return book(EntryState::Unknown, None, note);
    };
    let pods: Vec<&JobPodSeen> = facts.pods.iter().filter(|pod| pod.job == entry.uid).collect();
    if let Some(end) = &job.finished {
        // Kubernetes may count the pod of a Job that was taken back as a failure though it never started.
        if job.suspended && never_started(entry, job, &pods) {
            return taken_back(facts, key, entry, job);
        }
        if pods.iter().any(|pod| !pod.terminal) {
            // `Failed` and `Complete` are set when pods are over; this is a look in between.
            return Next::Wait {
                reason: "Running",
                message: format!("a pod of Job {} has not ended yet", job.name),
            };
        }
        if entry.proof.is_some()
            && matches!(pods[..], [pod] if pod.exit_code == Some(0) && pod.proven.is_none())
        {
            return Next::Wait {
                reason: "LogUnreadable",
                message: format!(
                    "Job {} ended, and its log, which must hold the proof, cannot be read now",
                    job.name
                ),
            };
        }
        let (state, exit_code, note) = judge(entry, end, &pods);
        if entry.lost && state != EntryState::Unknown {
            let note = "LedgerMissing: the record of migrations was lost while it ran, so nobody can say what it has done";
            return book(EntryState::Unknown, exit_code, note.to_owned());
        }
        if state == EntryState::Succeeded {
            match doubt(facts, entry) {
                Doubt::None => {}
                Doubt::NotYetKnown => return database_unreadable(key),
                Doubt::Because(note) => return book(EntryState::Unknown, exit_code, note.to_owned()),
            }
        }
        return book(state, exit_code, note);
    }
    if job.deleting {
        let message = format!(
            "Job {} is being deleted by somebody while migration {key} has the claim",
            job.name
        );
        return Next::Wait {
            reason: "JobDeleting",
            message,
        };
    }
    if job.suspended {
        return if job.resumed || pods.iter().any(|pod| pod.started) {
            suspended_again(facts, key, entry, job, &pods, book)
        } else {
            lock_and_resume(facts, key, entry, job)
        };
    }
    watch(facts, key, entry, job, &pods, book)
}

/// What keeps a run that ended well from being a success of the migration.
enum Doubt {
    None,
    /// What names the database cannot be read.
    NotYetKnown,
    Because(&'static str),
}

/// A database that was exchanged meanwhile has perhaps not seen any of it, whoever asked for it.
fn doubt(facts: &Facts<'_>, entry: &Entry) -> Doubt {
    match same_database(facts, entry) {
        None => Doubt::NotYetKnown,
        Some(true) if entry.moved => Doubt::Because(
            "while it ran the release named another database, and nobody knows which one it changed",
        ),
        Some(true) => Doubt::None,
        Some(false) => Doubt::Because(match facts.database.0 {
            DatabaseSeen::NotNeeded => {
                "nothing names its database any more, so nobody can tell whether it ran on its own"
            }
            _ => "the database that the release names changed while it ran",
        }),
    }
}

/// On which boot of which node it runs: what tells an end by a reboot from one of its own.
fn write_started(facts: &Facts<'_>, key: &MigrationKey, entry: &Entry, node: &str, boot_id: &str) -> Next {
    let started = Started {
        node: node.to_owned(),
        boot_id: boot_id.to_owned(),
    };
    write(
        facts,
        key,
        Entry {
            started: Some(started),
            ..entry.clone()
        },
    )
}

/// It had the right to run and was suspended, by us because it shall give way before it started, or by hand.
fn suspended_again(
    facts: &Facts<'_>,
    key: &MigrationKey,
    entry: &Entry,
    job: &JobSeen,
    pods: &[&JobPodSeen],
    book: impl Fn(EntryState, Option<i32>, String) -> Next,
) -> Next {
    if never_started(entry, job, pods) {
        return taken_back(facts, key, entry, job);
    }
    // A node may have got its pod meanwhile. Kubernetes keeps nothing of it when it has gone, so it is noted while it is there.
    let mut going = pods.iter().filter(|pod| !pod.terminal);
    if job.withdrawn
        && entry.started.is_none()
        && let Some((node, boot_id)) = going.find_map(|pod| pod.node.as_ref())
    {
        return write_started(facts, key, entry, node, boot_id);
    }
    if pods.iter().any(|pod| !pod.terminal) || (pods.is_empty() && job.counting) {
        return Next::Wait {
            reason: "Suspending",
            message: format!("the pod of Job {} is going", entry.job),
        };
    }
    book(
        EntryState::Unknown,
        None,
        format!("Job {} was suspended before it ended", entry.job),
    )
}

/// Nothing of it ran: another Job of the same migration may be made.
fn taken_back(facts: &Facts<'_>, key: &MigrationKey, entry: &Entry, job: &JobSeen) -> Next {
    write(
        facts,
        key,
        Entry {
            state: EntryState::Withdrawn,
            note: format!(
                "Job {} was taken back before any container of it started",
                job.name
            ),
            generation: Some(job.generation),
            at: facts.now,
            ..entry.clone()
        },
    )
}

fn lock_and_resume(facts: &Facts<'_>, key: &MigrationKey, entry: &Entry, job: &JobSeen) -> Next {
    // Marked first and booked then: from the mark on nobody resumes it, whatever was read before, so that it is known
    // not to have run. A Job that is merely gone tells nothing.
    let withdrawn = job.withdrawn;
    #[cfg(test)]
    let withdrawn = withdrawn || (facts.superseded && mutant::is(Mutant::UnmarkedWithdrawal));
    if withdrawn {
        return write(
            facts,
            key,
            Entry {
                state: EntryState::Withdrawn,
                note: format!("Job {} was taken back before it ran", job.name),
                at: facts.now,
                ..entry.clone()
            },
        );
    }
    let withdraw = || {
        Next::Step(MigrationStep::Withdraw {
            job: job.name.clone(),
            uid: job.uid.clone(),
            over: job.resource_version.clone(),
        })
    };
    // One that is left over, of a revision that somebody deleted, gives way as well.
    if facts.superseded || facts.own != Some(key) {
        return withdraw();
    }
    match same_database(facts, entry) {
        None => return database_unreadable(key),
        Some(true) => {}
        // It would run on another database than it was made for.
        Some(false) => return withdraw(),
    }
    // What is left of earlier migrations holds the lock, or would run beside this one on another database.
    if let Some(step) = abandoned(facts).map(delete).next() {
        return Next::Step(step);
    }
    let other_runs = facts.pods.iter().any(|pod| pod.job != entry.uid && !pod.terminal);
    #[cfg(test)]
    let other_runs = other_runs && !mutant::is(Mutant::LockIgnored);
    if other_runs {
        return Next::Wait {
            reason: "Running",
            message: format!(
                "a pod of an earlier migration has not ended yet; migration {key} runs after it"
            ),
        };
    }
    let (lock, seen) = facts.lock;
    if lock != entry.lock {
        return Next::Wait {
            reason: "DatabaseLocked",
            message: format!("the lock of migration {key} is being read"),
        };
    }
    let take = |over: Option<&String>| {
        Next::Step(MigrationStep::TakeLock {
            lock: lock.to_owned(),
            uid: entry.uid.clone(),
            job: entry.job.clone(),
            over: over.cloned(),
        })
    };
    match seen {
        LockSeen::Absent => take(None),
        LockSeen::Free { resource_version } => take(Some(resource_version)),
        LockSeen::Held { by, .. } if *by == entry.uid => Next::Step(MigrationStep::Resume {
            job: job.name.clone(),
            uid: job.uid.clone(),
            over: job.resource_version.clone(),
        }),
        LockSeen::Held {
            over: true,
            resource_version,
            ..
        } => take(Some(resource_version)),
        #[cfg(test)]
        LockSeen::Held { resource_version, .. } if mutant::is(Mutant::LockIgnored) => {
            take(Some(resource_version))
        }
        LockSeen::Held { holder, .. } => Next::Wait {
            reason: "DatabaseLocked",
            message: format!("Job {holder} is migrating the same database; migration {key} runs after it"),
        },
    }
}

/// Whether the spec still names the database of a claimed migration; `None` while that cannot be read.
fn same_database(facts: &Facts<'_>, entry: &Entry) -> Option<bool> {
    let (seen, lock) = &facts.database;
    let named = match seen {
        DatabaseSeen::Unreadable => return None,
        DatabaseSeen::NotNeeded => return Some(false),
        DatabaseSeen::Known(identity) => identity.as_str(),
        DatabaseSeen::Unnamed => "",
    };
    Some(match &entry.database {
        Some(database) => database == named,
        // An older entry says it by its lock alone, which was made of the database.
        None => *lock == entry.lock,
    })
}

fn database_unreadable(key: &MigrationKey) -> Next {
    Next::Wait {
        reason: "SecretMissing",
        message: format!(
            "what names the database of migration {key} cannot be read now; it goes on by itself when it can"
        ),
    }
}

/// It runs, or should.
fn watch(
    facts: &Facts<'_>,
    key: &MigrationKey,
    entry: &Entry,
    job: &JobSeen,
    pods: &[&JobPodSeen],
    book: impl Fn(EntryState, Option<i32>, String) -> Next,
) -> Next {
    let named = matches!(facts.database.0, DatabaseSeen::Known(_) | DatabaseSeen::Unnamed);
    if named && !entry.moved && same_database(facts, entry) == Some(false) {
        // Noted as long as it can be seen: it may be the first one again when the migration ends.
        return write(
            facts,
            key,
            Entry {
                moved: true,
                ..entry.clone()
            },
        );
    }
    if let Some(pod) = pods.iter().find(|pod| pod.started) {
        // A container that ended says nothing about the boot that it ran on.
        if entry.started.is_none()
            && !pod.terminal
            && let Some((node, boot_id)) = &pod.node
            && !boot_id.is_empty()
        {
            return write_started(facts, key, entry, node, boot_id);
        }
        // Its own: a newer commit must not end it.
        let timeout = entry.timeout.map_or(facts.timeout, Duration::from_secs);
        return match pod.running_for {
            Some(time) if time > timeout => book(
                EntryState::Unknown,
                None,
                format!("it ran longer than its timeout of {} s", timeout.as_secs()),
            ),
            _ => Next::Wait {
                reason: "Running",
                message: format!("migration {key} is running as Job {}", job.name),
            },
        };
    }
    // Without a pod and without a reason for that, one is about to come.
    let hindered = !pods.is_empty() || job.blocked.is_some();
    // What a commit changes of the Job alone is no new attempt. It is made anew only where it can be known afterwards that
    // no container started: a node that has the pod may start one at any time.
    let outdated = facts.own == Some(key)
        && facts
            .given
            .is_some_and(|given| job.given.as_ref().is_some_and(|of_job| of_job != given))
        && pods.iter().all(|pod| pod.node.is_none() && pod.stuck.is_some());
    // Once the Job controller has taken up that it may run, what it says of its suspension is about this one, and not about
    // the one that it was created with.
    if hindered && job.acknowledged && (facts.superseded || outdated) {
        return Next::Step(MigrationStep::Suspend {
            job: job.name.clone(),
            uid: job.uid.clone(),
            over: job.resource_version.clone(),
            on_node: pods.iter().any(|pod| pod.node.is_some()),
        });
    }
    let stuck = pods.iter().find_map(|pod| pod.stuck.as_ref());
    match stuck.or(job.blocked.as_ref().filter(|_| pods.is_empty())) {
        Some(stuck) => {
            let reason = ["ImagePull", "Unschedulable", "PodSecurity", "Quota", "Config"]
                .into_iter()
                .find(|reason| stuck.starts_with(reason))
                .unwrap_or("NotStarted");
            Next::Wait {
                reason,
                message: format!("the migration's pod has not started: {stuck}"),
            }
        }
        None => Next::Wait {
            reason: "Starting",
            message: format!("Job {} is starting", job.name),
        },
    }
}
