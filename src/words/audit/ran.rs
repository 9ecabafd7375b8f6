//! Which revision was live at a moment, by those that are kept.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{
    api::ReleaseRevision,
    plan::Ledger,
    words::{clean, history},
};

/// What a cluster has of a release.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The revisions that are kept.
    pub revisions: Vec<ReleaseRevision>,
    /// The ledger.
    pub ledger: Option<Ledger>,
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
    /// Its image.
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

/// What was live at a moment. Revisions are numbered without gaps, so that one which is no longer kept shows.
#[must_use]
pub fn ran(record: &Record, moment: Timestamp) -> Ran {
    let kept: BTreeSet<i64> = record
        .revisions
        .iter()
        .map(|revision| revision.spec.number)
        .collect();
    let Some(highest) = kept.last().copied() else {
        return Ran::NotKnown("no revision of it is kept".to_owned());
    };
    let created =
        |revision: &ReleaseRevision| revision.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let best = record
        .revisions
        .iter()
        .filter_map(|revision| Some((live_at(revision)?, revision)))
        .filter(|(live, _)| *live <= moment)
        .max_by_key(|(live, revision)| (*live, revision.spec.number));
    // Those before the best were over when it became live; those from the first that came later, later still.
    let after = record
        .revisions
        .iter()
        .filter(|revision| created(revision).is_some_and(|created| created > moment))
        .map(|revision| revision.spec.number)
        .min()
        .unwrap_or(highest + 1);
    let lower = best.map_or(0, |(_, revision)| revision.spec.number);
    let missing: Vec<i64> = (lower + 1..after)
        .filter(|number| !kept.contains(number))
        .collect();
    if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
        let which = if first == last {
            format!("v{first}")
        } else {
            format!("v{first} to v{last}")
        };
        return Ran::NotKnown(format!("{which} may have run, and is no longer kept"));
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
        return Ran::Nothing { coming };
    };
    let outcome = revision.status.as_ref().and_then(|status| status.outcome);
    Ran::Was(Box::new(Run {
        revision: revision.spec.number,
        version: revision.spec.version.clone(),
        digest: revision.spec.image.digest.clone(),
        obtained: clean(&revision.spec.image.obtained, 128),
        commit: revision.spec.commit.clone(),
        live,
        outcome: outcome.map_or("not known", history::outcome_word).to_owned(),
        migration: history::migration_word(revision, record.ledger.as_ref()),
        coming,
    }))
}

fn live_at(revision: &ReleaseRevision) -> Option<Timestamp> {
    Some(revision.status.as_ref()?.live_at.as_ref()?.0)
}
