//! The revisions of a release → one row each, newest first.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{clean, columns, short_commit, short_digest, span, utc};
use crate::{
    api::{ReleaseRevision, revision::Outcome},
    plan::{Ledger, ledger::MigrationKey},
};

/// One revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its number.
    pub number: i64,
    /// Its version.
    pub version: String,
    /// The commit that declared it.
    pub commit: Option<String>,
    /// The author of that commit.
    pub author: Option<String>,
    /// Why it was made.
    pub cause: String,
    /// How it ended: `Live`, `MigrationFailed`, `under way`, …
    pub outcome: String,
    /// The sentence of that end.
    pub message: String,
    /// `none`, `succeeded`, `failed`, `unknown`, `accepted`, `claimed`, `withdrawn`, `not known`.
    pub migration: String,
    /// What runs, or ran.
    pub digest: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it was first verified.
    pub live: Option<Timestamp>,
    /// When its outcome was written.
    pub finished: Option<Timestamp>,
}

/// The word of an outcome.
#[must_use]
pub fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Live => "Live",
        Outcome::MigrationFailed => "MigrationFailed",
        Outcome::RolloutFailed => "RolloutFailed",
        Outcome::Superseded => "Superseded",
    }
}

/// How a revision ended, as far as its record says; `newest` is the number of the newest one that is kept.
#[must_use]
pub fn outcome_of(revision: &ReleaseRevision, newest: Option<i64>) -> &'static str {
    match revision.status.as_ref().and_then(|status| status.outcome) {
        Some(outcome) => outcome_word(outcome),
        None if Some(revision.spec.number) == newest => "under way",
        None => "not known",
    }
}

/// What became of the migration of a revision: by its own record, else by the ledger, which knows keys that an
/// earlier revision has run.
#[must_use]
pub fn migration_word(revision: &ReleaseRevision, ledger: Option<&Ledger>) -> String {
    let Some(migration) = &revision.spec.migration else {
        return "none".to_owned();
    };
    let own = revision
        .status
        .as_ref()
        .and_then(|status| status.migration.as_ref());
    let booked = || {
        let key = MigrationKey::parse(&migration.key)?;
        let state = ledger?.get(&key)?.state;
        serde_json::to_value(state).ok()?.as_str().map(str::to_owned)
    };
    // The ledger is what is believed; a record says how it was when the revision ended.
    booked()
        .or_else(|| {
            own.map(|record| record.state.clone())
                .filter(|state| !state.is_empty())
        })
        .unwrap_or_else(|| "not known".to_owned())
}

/// Rows, newest first.
#[must_use]
pub fn rows(revisions: &[ReleaseRevision], ledger: Option<&Ledger>) -> Vec<Row> {
    let newest = revisions.iter().map(|revision| revision.spec.number).max();
    let mut rows: Vec<Row> = revisions
        .iter()
        .map(|revision| {
            let (spec, status) = (&revision.spec, revision.status.clone().unwrap_or_default());
            Row {
                number: spec.number,
                version: spec.version.clone(),
                commit: spec.commit.clone(),
                author: spec.author.clone(),
                cause: clean(&spec.cause, 512),
                outcome: outcome_of(revision, newest).to_owned(),
                message: clean(&status.message, 2000),
                migration: migration_word(revision, ledger),
                digest: spec.image.digest.clone(),
                created: revision.metadata.creation_timestamp.as_ref().map(|time| time.0),
                live: status.live_at.map(|time| time.0),
                finished: status.finished_at.map(|time| time.0),
            }
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.number));
    rows
}

/// For people.
#[must_use]
pub fn text(release: &str, rows: &[Row]) -> String {
    let Some(oldest) = rows.last() else {
        return format!("{release} has no revision: nothing of it was tried here yet\n");
    };
    let head = [
        "REVISION",
        "VERSION",
        "OUTCOME",
        "MIGRATION",
        "CREATED",
        "TOOK",
        "DIGEST",
        "COMMIT",
        "AUTHOR",
        "CAUSE",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(|row| {
        let took = row.created.zip(row.finished).map(|(from, to)| span(from, to));
        vec![
            format!("v{}", row.number),
            row.version.clone(),
            row.outcome.clone(),
            row.migration.clone(),
            row.created.map(utc).unwrap_or_default(),
            took.unwrap_or_else(|| "-".to_owned()),
            short_digest(&row.digest).to_owned(),
            row.commit.as_deref().map_or("by hand", short_commit).to_owned(),
            clean(row.author.as_deref().unwrap_or("-"), 60),
            row.cause.clone(),
        ]
    }));
    let mut text = columns(&lines);
    if oldest.number > 1 {
        text.push_str("older revisions are not kept: see retain.revisions, and slipway audit for what git says of them\n");
    }
    text
}

/// For machines.
#[must_use]
pub fn json(release: &str, rows: &[Row]) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let seconds = row.created.zip(row.finished).map(|(from, to)| {
                to.as_second().saturating_sub(from.as_second())
            });
            json!({
                "revision": row.number, "version": row.version, "outcome": row.outcome, "message": row.message,
                "migration": row.migration, "digest": row.digest, "commit": row.commit, "author": row.author,
                "cause": row.cause, "created": row.created.map(utc), "live": row.live.map(utc),
                "finished": row.finished.map(utc), "seconds": seconds,
            })
        })
        .collect();
    json!({ "release": release, "revisions": rows })
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};
    use crate::plan::ledger::{Entry, EntryState};

    fn ledger(state: EntryState) -> Ledger {
        let entry = Entry {
            job: "billing-migrate-abababab-1".into(),
            uid: "u".parse().unwrap(),
            run: 1,
            tries: 1,
            ..Entry::blank(state, 5, String::new(), at(0))
        };
        Ledger {
            entries: [(MigrationKey::parse(&"ab".repeat(32)).unwrap(), entry)].into(),
            ..Ledger::default()
        }
    }

    #[test]
    fn the_newest_is_the_first_line_with_all_that_was_asked_for() {
        let revisions = [
            revision(4, "1.8.2", 0, Some("Live")),
            revision(5, "1.9.0", 600, Some("RolloutFailed")),
        ];
        let text = text("shop/billing", &rows(&revisions, None));
        let lines: Vec<&str> = text.lines().collect();
        let words: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(words[..4], ["v5", "1.9.0", "RolloutFailed", "succeeded"]);
        for part in [
            "sha256:555555555555",
            "0123456789ab",
            "Ada <ada@acme.com>",
            "1m",
            "version → 1.9.0",
        ] {
            assert!(lines[1].contains(part), "{part} in {}", lines[1]);
        }
        assert!(lines[2].starts_with("v4"));
        assert!(lines[3].starts_with("older revisions are not kept"));
    }

    #[test]
    fn one_without_an_outcome_is_under_way_only_if_it_is_the_newest() {
        let revisions = [revision(1, "1.0.0", 0, None), revision(2, "1.1.0", 9, None)];
        let rows = rows(&revisions, None);
        assert_eq!(
            [rows[0].outcome.as_str(), rows[1].outcome.as_str()],
            ["under way", "not known"]
        );
        assert_eq!(rows[0].migration, "not known", "without a ledger nobody can say");
    }

    #[test]
    fn the_ledger_is_believed_over_the_record_of_a_revision() {
        let failed = [revision(2, "1.1.0", 0, Some("MigrationFailed"))];
        assert_eq!(
            rows(&failed, Some(&ledger(EntryState::Accepted)))[0].migration,
            "accepted"
        );
        let mut without = revision(3, "1.2.0", 0, Some("Live"));
        without.spec.migration = None;
        assert_eq!(
            rows(&[without], Some(&ledger(EntryState::Failed)))[0].migration,
            "none"
        );
    }

    #[test]
    fn machines_get_whole_ids_and_seconds() {
        let value = json(
            "shop/billing",
            &rows(&[revision(4, "1.8.2", 0, Some("Live"))], None),
        );
        let row = &value["revisions"][0];
        assert_eq!((&row["commit"], &row["seconds"]), (&COMMIT.into(), &60.into()));
        assert_eq!(row["digest"].as_str().unwrap().len(), 71);
    }

    #[test]
    fn no_revision_is_a_sentence() {
        assert!(text("shop/x", &[]).contains("nothing of it was tried"));
    }
}
