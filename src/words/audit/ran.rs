//! Which revision was live at a moment, and what became of what was declared, by the revisions that are kept.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Version;
use crate::{
    api::ReleaseRevision,
    plan::{Ledger, restore},
    words::{clean, history, utc},
};

/// What is left of a release.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The revisions that the cluster keeps.
    pub revisions: Vec<ReleaseRevision>,
    /// The ledger.
    pub ledger: Option<Ledger>,
    /// Since when the cluster has had the release as an object, which somebody may have deleted and git written again.
    pub since: Option<Timestamp>,
    /// When git declared it again after it had not for a while.
    pub again: Vec<Timestamp>,
}

/// What ran at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// No cluster was asked.
    NotAsked,
    /// No record is left; why.
    NotKnown(String),
    /// Nothing had been live until then.
    Nothing {
        /// A revision that was on its way.
        coming: Option<String>,
    },
    /// A revision.
    Was(Box<Run>),
}

/// A revision that was live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub revision: i64,
    /// Its version.
    pub version: String,
    /// Its image as it was asked for: `ghcr.io/acme/billing:1.8.2`.
    pub image: String,
    /// What that was.
    pub digest: String,
    /// How the digest was obtained.
    pub obtained: String,
    /// The commit that it was made from.
    pub commit: Option<String>,
    /// Since when it was live.
    pub live: Timestamp,
    /// How it ended, in the end.
    pub outcome: String,
    /// What became of its migration: `none`, `succeeded`, …
    pub migration: String,
    /// A revision that was on its way, beside it.
    pub coming: Option<String>,
}

/// What became of what was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Became {
    /// No cluster was asked, or no version was declared.
    NotAsked,
    /// No record is left; why.
    NotKnown(String),
    /// No revision was made of it until then.
    Nothing,
    /// The last revision that was made of it.
    Was(Attempt),
}

/// How a revision ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its number.
    pub revision: i64,
    /// `Live`, `MigrationFailed`, `under way`, …
    pub outcome: String,
    /// What became of its migration: `none`, `succeeded`, …
    pub migration: String,
}

/// What was live at a moment. Revisions are numbered without gaps, so that one which is no longer kept shows.
#[must_use]
pub fn ran(record: &Record, moment: Timestamp) -> Ran {
    if record.revisions.is_empty() {
        return Ran::NotKnown("no revision of it is kept".to_owned());
    }
    // What was live before it was declared again may have been removed meanwhile.
    let again = record.again.iter().filter(|again| **again <= moment).max();
    if let Some(lost) = lost_until(record).filter(|lost| moment < *lost) {
        return Ran::NotKnown(was_lost(lost));
    }
    let since = |revision: &&ReleaseRevision| again.is_none_or(|again| created(revision) >= Some(*again));
    let best = record
        .revisions
        .iter()
        .filter(since)
        .filter_map(|revision| Some((live_at(revision)?, revision)))
        .filter(|(live, _)| *live <= moment)
        .max_by_key(|(live, revision)| (*live, revision.spec.number));
    // Those before the best were over when it became live; those from the first that came later, later still.
    let lower = match best {
        Some((_, revision)) => revision.spec.number,
        None => highest_before(record, again.copied()),
    };
    if let Some(which) = missing(record, lower + 1, first_after(record, moment)) {
        return Ran::NotKnown(format!("{which} may have run, and is no longer kept"));
    }
    if let (None, Some(again)) = (best, again.filter(|_| lower > 0)) {
        return Ran::NotKnown(format!(
            "it was not declared until {}, and no record tells whether what ran before was gone by then",
            utc(*again)
        ));
    }
    let coming = record
        .revisions
        .iter()
        .filter(|revision| revision.spec.number > lower && created(revision).is_some_and(|at| at <= moment))
        .filter(|revision| {
            let finished = revision
                .status
                .as_ref()
                .and_then(|status| status.finished_at.as_ref());
            finished.is_none_or(|finished| finished.0 > moment)
        })
        .max_by_key(|revision| revision.spec.number)
        .map(|revision| format!("{} (v{})", revision.spec.version, revision.spec.number));
    let Some((live, revision)) = best else {
        // A cluster that was built anew knows nothing of the one before it.
        return match begins(record).filter(|begins| moment < *begins) {
            Some(begins) => Ran::NotKnown(format!("the records of this cluster begin at {}", utc(begins))),
            None => Ran::Nothing { coming },
        };
    };
    let Attempt {
        revision: number,
        outcome,
        migration,
    } = attempt(record, revision);
    Ran::Was(Box::new(Run {
        revision: number,
        version: revision.spec.version.clone(),
        image: revision.spec.image.reference.clone(),
        digest: revision.spec.image.digest.clone(),
        obtained: clean(&revision.spec.image.obtained, 128),
        commit: revision.spec.commit.clone(),
        live,
        outcome,
        migration,
        coming,
    }))
}

/// What had become of what was declared from `from` on. Of a version that ran that is the revision that ran; else the last
/// one that was made of it.
#[must_use]
pub fn became(
    record: &Record,
    declared: &Version,
    from: Option<Timestamp>,
    moment: Timestamp,
    ran: &Ran,
) -> Became {
    if let Ran::Was(run) = ran
        && (&run.version, &run.image) == (&declared.version, &declared.image)
    {
        return Became::Was(Attempt {
            revision: run.revision,
            outcome: run.outcome.clone(),
            migration: run.migration.clone(),
        });
    }
    if let Some(lost) = lost_until(record).filter(|lost| moment < *lost) {
        return Became::NotKnown(was_lost(lost));
    }
    let of_it = record
        .revisions
        .iter()
        .filter(|revision| revision.spec.version == declared.version)
        .filter(|revision| created(revision) >= from && created(revision) <= Some(moment))
        .max_by_key(|revision| revision.spec.number);
    let lower = of_it.map_or_else(|| highest_before(record, from), |revision| revision.spec.number);
    if let Some(which) = missing(record, lower + 1, first_after(record, moment)) {
        return Became::NotKnown(format!("{which} may have been made of it, and is no longer kept"));
    }
    match (of_it, ran) {
        (Some(revision), _) => Became::Was(attempt(record, revision)),
        // What ran may have been this very version, made before it was declared again.
        (None, Ran::NotKnown(why)) => Became::NotKnown(why.clone()),
        (None, _) => Became::Nothing,
    }
}

/// The oldest thing in the cluster that speaks of the release.
fn begins(record: &Record) -> Option<Timestamp> {
    record
        .revisions
        .iter()
        .filter_map(created)
        .chain(record.since)
        .min()
}

/// When what ran was put on record again because all records were gone: of the time before nothing is known, whatever the
/// revisions that were made then say of themselves.
fn lost_until(record: &Record) -> Option<Timestamp> {
    let again = record
        .revisions
        .iter()
        .filter(|revision| restore::made(&revision.spec.cause));
    again.filter_map(created).max()
}

fn was_lost(until: Timestamp) -> String {
    format!("the records of the time before {} were lost", utc(until))
}

fn attempt(record: &Record, revision: &ReleaseRevision) -> Attempt {
    let newest = record.revisions.iter().map(|revision| revision.spec.number).max();
    Attempt {
        revision: revision.spec.number,
        outcome: history::outcome_of(revision, newest).to_owned(),
        migration: history::migration_word(revision, record.ledger.as_ref()),
    }
}

/// The newest that was made before a moment; 0 where there is none, or no moment.
fn highest_before(record: &Record, moment: Option<Timestamp>) -> i64 {
    let before = |revision: &&ReleaseRevision| created(revision).is_some_and(|at| Some(at) < moment);
    let numbers = record.revisions.iter().filter(before);
    numbers.map(|revision| revision.spec.number).max().unwrap_or(0)
}

/// The first that was made after a moment; where there is none, the one that comes next.
fn first_after(record: &Record, moment: Timestamp) -> i64 {
    let number = |revision: &ReleaseRevision| revision.spec.number;
    let after = |revision: &&ReleaseRevision| created(revision).is_some_and(|at| at > moment);
    let next = record.revisions.iter().map(number).max().unwrap_or(0) + 1;
    record
        .revisions
        .iter()
        .filter(after)
        .map(number)
        .min()
        .unwrap_or(next)
}

/// Those from `first` up to `end` that are not kept, in words.
fn missing(record: &Record, first: i64, end: i64) -> Option<String> {
    let kept: BTreeSet<i64> = record
        .revisions
        .iter()
        .map(|revision| revision.spec.number)
        .collect();
    let missing: Vec<i64> = (first..end).filter(|number| !kept.contains(number)).collect();
    match (missing.first()?, missing.last()?) {
        (first, last) if first == last => Some(format!("v{first}")),
        (first, last) => Some(format!("v{first} to v{last}")),
    }
}

fn created(revision: &ReleaseRevision) -> Option<Timestamp> {
    revision.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn live_at(revision: &ReleaseRevision) -> Option<Timestamp> {
    Some(revision.status.as_ref()?.live_at.as_ref()?.0)
}
