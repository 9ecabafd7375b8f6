//! A ledger that is gone, or an older one that was put back: what still tells of the migrations that ran, and the ledger that is
//! made of that. An absence is never taken as "did not run".

use super::{
    back::booked_entry,
    decide::{idle, matches},
    decision::{Decision, MigrationStep, Phase, Step, Wait},
    ledger::{Entry, EntryState, MigrationKey},
    observed::{Declaration, LockSeen, Observed, Revision},
    serve,
};
use crate::{
    api::{meta, revision::Outcome},
    names::RevisionNumber,
    render::{Kind, Ownership, job_name, ours, run_of},
};

/// Whether something shows that a migration was booked once: a revision that was Live with one, one whose migration
/// failed or holds the lock of its database, or pods of a revision that is no more.
pub(super) fn had_ledger(o: &Observed) -> bool {
    let migrated = |revision: &Revision| revision.migration.is_some();
    o.live.as_ref().is_some_and(migrated)
        || o.current.as_ref().is_some_and(|current| {
            current.outcome == Some(Outcome::MigrationFailed) || holds_lock(o, current)
        })
        || (o.live.is_none()
            && serve::running_revisions(o)
                .values()
                .any(|number| unexplained(o, *number)))
}

/// Whether a Job of this migration holds the lock, which nobody takes before the claim is in the ledger.
fn holds_lock(o: &Observed, revision: &Revision) -> bool {
    let (LockSeen::Held { holder, .. }, Some(migration)) = (&o.lock.1, &revision.migration) else {
        return false;
    };
    let job = holder
        .strip_prefix(o.id.namespace.as_str())
        .and_then(|rest| rest.strip_prefix('/'));
    job.is_some_and(|job| {
        run_of(job).is_some_and(|run| job_name(&o.id.name, migration.key.as_str(), run) == job)
    })
}

/// Whether pods of a revision run of which no record is left, or one that must have been migrated for.
fn unexplained(o: &Observed, number: u64) -> bool {
    let number = RevisionNumber(number);
    let current = o.current.as_ref().filter(|current| current.number == number);
    !o.retained.contains_key(&number) || current.is_some_and(|current| current.migration.is_some())
}

/// Whether the ledger has an entry of a revision's migration that has no outcome, or an unknown one.
pub(super) fn is_open(o: &Observed, revision: &Revision) -> bool {
    let state = booked_entry(o, revision).map(|booked| booked.1.state);
    matches!(state, Some(EntryState::Claimed | EntryState::Unknown))
}

/// Whether the ledger has no entry, good or bad, of a revision's migration.
pub(super) fn forgotten(o: &Observed, revision: &Revision) -> bool {
    let known = |key| o.ledger.as_ref().and_then(|seen| seen.ledger.get(key)).is_some();
    revision
        .migration
        .as_ref()
        .is_some_and(|migration| !known(&migration.key))
}

/// The ledger is gone, and revisions tell what it said.
pub(super) fn from_revisions(o: &Observed) -> Decision {
    let message = "the record of migrations is gone, and is made anew from the revisions";
    let mut decision = idle(o, Phase::Preparing, message.into());
    let mut entries = o.records.clone();
    entries.extend(unbooked(o));
    decision
        .steps
        .push(Step::Migrate(MigrationStep::Rebuild { entries }));
    decision.wait = Wait::Again;
    decision
}

/// Whether the ledger is gone although something tells what it said.
pub(super) fn is_due(o: &Observed) -> bool {
    o.ledger.is_none() && (!o.records.is_empty() || unbooked(o).is_some())
}

/// What the revisions cannot tell of the migration of the current one: that it is done, since what is rolled out was let
/// through after it; or that it may have begun, since it has the lock. It must not run again as one that never was.
fn unbooked(o: &Observed) -> Option<(MigrationKey, Entry)> {
    let current = o.current.as_ref().filter(|current| current.outcome.is_none())?;
    let migration = current.migration.as_ref()?;
    // A record of an earlier run that did not succeed says nothing of this one.
    let mut records = o.records.iter();
    if records.any(|(key, entry)| *key == migration.key && entry.state.is_done()) {
        return None;
    }
    let declared = match &o.declaration {
        Declaration::Valid(declared) if matches(o, declared, current) => declared.migrate.as_ref(),
        _ => None,
    };
    let blank = Entry {
        lock: migration.lock.clone(),
        timeout: declared.map(|migrate| migrate.timeout.to_std().as_secs()),
        ..Entry::of(EntryState::Succeeded, current, o.now)
    };
    if is_rolled_out(o, current, &migration.key) {
        let note = format!("rebuilt from what is rolled out of {}", current.number);
        return Some((migration.key.clone(), Entry { note, ..blank }));
    }
    let LockSeen::Held { by, holder, .. } = &o.lock.1 else {
        return None;
    };
    if !holds_lock(o, current) {
        return None;
    }
    let (_, job) = holder.split_once('/')?;
    let seen = o.jobs.iter().find(|job| job.uid == *by);
    if seen.is_some_and(|job| job.suspended && !job.resumed && job.finished.is_none()) {
        // It was not let run.
        return None;
    }
    let going = seen.is_some_and(|job| job.finished.is_none() && !job.deleting);
    let entry = Entry {
        state: if going {
            EntryState::Claimed
        } else {
            EntryState::Unknown
        },
        lost: true,
        job: job.to_owned(),
        uid: by.clone(),
        run: run_of(job)?,
        note: "LedgerMissing: the record of migrations was lost while it ran, so nobody can say how it ended"
            .into(),
        ..blank
    };
    Some((migration.key.clone(), entry))
}

/// Whether a Deployment of ours was written for a revision with this migration, which happens after that is booked.
fn is_rolled_out(o: &Observed, revision: &Revision, migration: &MigrationKey) -> bool {
    o.objects.iter().any(|(key, live)| {
        let says = |name: &str, text: &str| {
            let annotations = live.value.pointer("/metadata/annotations");
            annotations.and_then(|annotations| annotations.get(name)?.as_str()) == Some(text)
        };
        key.kind == Kind::Deployment
            && ours(&o.id, key, &live.value) == Ownership::Ours
            && says(meta::REVISION, &revision.number.0.to_string())
            && says(meta::MIGRATION_KEY, migration.as_str())
    })
}

/// The ledger is gone, and a revision that was Live proves that its migration had been booked.
pub(super) fn from_live(o: &Observed, live: &Revision) -> Decision {
    let message = format!("the record of migrations is being rebuilt from {}", live.number);
    let mut decision = idle(o, Phase::Preparing, message);
    if let Some(migration) = live.migration.as_ref().filter(|_| forgotten(o, live)) {
        let entry = Entry {
            lock: migration.lock.clone(),
            note: format!("rebuilt from {}, which was live", live.number),
            ..Entry::of(EntryState::Succeeded, live, o.now)
        };
        let step = MigrationStep::Write {
            key: migration.key.clone(),
            entry: Box::new(entry),
            over: o.ledger.as_ref().map(|seen| seen.resource_version.clone()),
        };
        decision.steps.push(Step::Migrate(step));
        decision.wait = Wait::Again;
        return decision;
    }
    let message = format!(
        "Unknown(LedgerMissing): the record of migrations has no success of {}, although it was live, so it is an older one; \
         nothing is changed. Put the newer one back, or raise migrate.rerun to run it again",
        live.number
    );
    decision.saying(Phase::Failed("Migrating"), message)
}
