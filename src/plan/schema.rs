//! What the database is by now, and whose code can run on it: how far its schema is ahead of what serves, and which
//! versions a migration with `migrate.compatible: false` keeps away.

use std::collections::BTreeSet;

#[cfg(test)]
use super::mutant::{self, Mutant};
use super::{
    decide::idle,
    decision::{Decision, MigrationStep, Phase, Step, Wait},
    hint,
    ledger::{Entry, MigrationKey},
    observed::{DatabaseSeen, Observed, Revision},
    serve,
};
use crate::{
    names::{Digest, RevisionNumber},
    spec::Declared,
};

/// A migration that is done and that no code from before can live with.
#[derive(Debug, Clone, Copy)]
pub struct Barrier<'a> {
    key: &'a MigrationKey,
    entry: &'a Entry,
    /// The oldest version that can run.
    needs: &'a str,
}

impl Barrier<'_> {
    /// Which migration it is, and why.
    fn words(&self) -> String {
        format!(
            "migration {} of {} (v{}) was declared with migrate.compatible: false",
            self.key, self.needs, self.entry.revision
        )
    }
}

/// The newest migration that keeps the code of an image away: one that succeeded in a later revision than the one in
/// which that image was first seen. `None` for an image that was never seen here: it may well be made for that schema.
#[must_use]
pub fn barrier<'a>(o: &'a Observed, digest: &Digest) -> Option<Barrier<'a>> {
    #[cfg(test)]
    if mutant::is(Mutant::BarrierIgnored) {
        return None;
    }
    let seen = o.ledger.as_ref()?;
    let first = first_seen(o, digest)?;
    let entries = seen.ledger.entries.iter();
    entries
        .filter(|(_, entry)| entry.state.is_done() && entry.revision > first)
        .filter(|(_, entry)| entry.digest != digest.as_str() && !on_another_database(o, entry))
        .filter_map(|(key, entry)| {
            let needs = entry.needs.as_deref()?;
            Some(Barrier { key, entry, needs })
        })
        .max_by_key(|barrier| barrier.entry.revision)
}

/// The number of the first revision with this image, as far as ledger and revisions tell.
fn first_seen(o: &Observed, digest: &Digest) -> Option<u64> {
    let entries = o
        .ledger
        .iter()
        .flat_map(|seen| seen.ledger.entries.values())
        .filter(|entry| entry.digest == digest.as_str())
        .map(|entry| entry.revision);
    let revisions = [&o.live, &o.current].into_iter().flatten();
    let revisions = revisions.map(|revision| (&revision.number, &revision.digest));
    let numbers = revisions
        .chain(&o.digests)
        .filter(|(_, seen)| *seen == digest)
        .map(|(number, _)| number.0);
    entries.chain(numbers).min()
}

/// The revisions that alone tell of an image that it was there before a migration that keeps it away. They are kept as long as
/// that is on record: an image of which nobody knows would be taken for one that was made for the new schema.
pub(super) fn witnesses(o: &Observed) -> BTreeSet<RevisionNumber> {
    let Some(seen) = &o.ledger else {
        return BTreeSet::new();
    };
    let entries = || seen.ledger.entries.values();
    let barring = entries().filter(|entry| entry.state.is_done() && entry.needs.is_some());
    let Some(last) = barring.map(|entry| entry.revision).max() else {
        return BTreeSet::new();
    };
    let mut known: BTreeSet<&str> = entries().map(|entry| entry.digest.as_str()).collect();
    let before = o.digests.iter().filter(|(number, _)| number.0 < last);
    before
        .filter(|(_, digest)| known.insert(digest.as_str()))
        .map(|(number, _)| *number)
        .collect()
}

/// Whether a migration ran on another database than the one that the release names now; where either is not known it ran on
/// the same. A spec that names none, then or now, says nothing of which one its programs use.
fn on_another_database(o: &Observed, entry: &Entry) -> bool {
    let DatabaseSeen::Known(named) = &o.database else {
        return false;
    };
    entry
        .database
        .as_deref()
        .is_some_and(|database| !database.is_empty() && database != named)
}

/// Why a revision that was Live must not be brought back; `None` where it may be, and where it is what runs anyway.
#[must_use]
pub(super) fn bars<'a>(o: &'a Observed, live: &Revision) -> Option<Barrier<'a>> {
    barrier(o, &live.digest).filter(|_| !runs(o, live.number))
}

/// Whether all that runs is of this revision.
fn runs(o: &Observed, number: RevisionNumber) -> bool {
    let running = serve::running_revisions(o);
    !running.is_empty() && running.values().all(|running| *running == number.0)
}

/// A commit that declares code from before such a migration. Nothing is changed; `meanwhile` is what goes on.
pub(super) fn refused(
    o: &Observed,
    declared: &Declared,
    barrier: &Barrier<'_>,
    meanwhile: Decision,
) -> Decision {
    let why = barrier.words();
    let runs = o
        .live
        .as_ref()
        .filter(|live| live.number.0 >= barrier.entry.revision && self::barrier(o, &live.digest).is_none());
    let target = match runs {
        Some(live) => format!("{}, which was live on it, can", live.version),
        None => format!("the oldest that can is {}", barrier.needs),
    };
    let message = format!(
        "{} is refused, and nothing is changed: {why}, so code from before it cannot run on the database; {target}: \
         declare that one, or one made after it",
        declared.version
    );
    meanwhile.saying(Phase::Rejected, message)
}

/// The end of a failed attempt that cannot be gone back from.
pub(super) fn held(current: &Revision, live: &Revision, barrier: &Barrier<'_>) -> String {
    hint::last(&current.message, |why| {
        format!(
            "{} failed ({why}) and is held: {}, so {} cannot run on the database; git still declares {}",
            current.version,
            barrier.words(),
            live.version,
            current.version
        )
    })
}

/// What the spec says by now about the migration of the version that it declares, where that is done and on record
/// otherwise. A spec that says nothing changes nothing: the word belongs to the migration, not to the commit.
pub(super) fn follow(o: &Observed, declared: &Declared, revision: &Revision) -> Option<Decision> {
    let compatible = declared.migrate.as_ref()?.compatible?;
    let migration = revision.migration.as_ref()?;
    let seen = o.ledger.as_ref()?;
    let entry = seen.ledger.get(&migration.key)?;
    if !entry.state.is_done() || entry.needs.is_none() == compatible {
        return None;
    }
    let needs = (!compatible).then(|| revision.version.clone());
    let message = format!(
        "what the spec says of migration {} is put on record",
        migration.key
    );
    let mut decision = idle(o, Phase::Preparing, message);
    decision.steps.push(Step::Migrate(MigrationStep::Write {
        key: migration.key.clone(),
        entry: Box::new(Entry {
            needs,
            ..entry.clone()
        }),
        over: Some(seen.resource_version.clone()),
    }));
    decision.wait = Wait::Again;
    Some(decision)
}

/// The condition of a release whose database was migrated further than what runs knows, once nothing is on its way that
/// would change that by itself.
pub(super) fn ahead(o: &Observed, phase: &Phase) -> Option<(&'static str, String)> {
    let serving = match phase {
        Phase::RolledBack => o.live.as_ref(),
        // What serves is given other values; its schema is what it was.
        Phase::RollingOut | Phase::Verifying if o.failed.is_some() => o.live.as_ref(),
        Phase::Live | Phase::Rejected | Phase::Suspended | Phase::Failed(_) | Phase::Waiting(_) => {
            let running = serve::running_revisions(o);
            // The older one, where Deployments are of two.
            let oldest = RevisionNumber(*running.values().min()?);
            let mut known = [&o.live, &o.current].into_iter().flatten();
            known.find(|revision| revision.number == oldest)
        }
        _ => None,
    };
    schema_ahead(o, serving?)
}

/// Migrations that were booked after the one of the revision that serves.
fn schema_ahead(o: &Observed, serving: &Revision) -> Option<(&'static str, String)> {
    let ledger = &o.ledger.as_ref()?.ledger;
    let own = serving
        .migration
        .as_ref()
        .and_then(|migration| ledger.get(&migration.key));
    // A version that is declared again is a new revision with an old migration.
    let since = own.map_or(serving.number.0, |own| own.revision);
    let elsewhere = |entry: &Entry| {
        let named = |entry: &Entry| entry.database.clone().filter(|named| !named.is_empty());
        matches!((own.and_then(named), named(entry)), (Some(own), Some(other)) if own != other)
    };
    let ahead: Vec<String> = ledger
        .entries
        .iter()
        .filter(|(_, entry)| entry.revision > since && !elsewhere(entry))
        .filter(|(_, entry)| entry.state.is_done())
        .map(|(key, entry)| format!("{key} of v{}", entry.revision))
        .collect();
    (!ahead.is_empty()).then(|| {
        (
            "SchemaAhead",
            format!(
                "the database was migrated further than {} knows: {}",
                serving.version,
                ahead.join(", ")
            ),
        )
    })
}

#[cfg(test)]
mod tests;
