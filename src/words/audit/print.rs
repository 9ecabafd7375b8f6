//! Answers as a table, as JSON and as CSV: the same facts in each.

use serde_json::{Map, Value, json};

use super::{Asked, Became, Ran, Row};
use crate::words::{clean, columns, short_commit, short_digest, utc};

/// Every fact of an answer, in the order of the columns of the CSV.
fn facts(row: &Row) -> Vec<(&'static str, Value)> {
    let (span, by) = (&row.span, row.by.as_ref());
    let declared = span.declared.as_ref();
    let (known, run) = match &row.ran {
        Ran::NotAsked => ("not asked", None),
        Ran::NotKnown(_) => ("not known", None),
        Ran::Nothing { .. } => ("nothing", None),
        Ran::Was(run) => ("known", Some(run)),
    };
    let (became, attempt) = match &row.became {
        Became::NotAsked => (None, None),
        Became::NotKnown(_) => (Some("not known"), None),
        Became::Nothing => (Some("nothing yet"), None),
        Became::Was(attempt) => (Some(attempt.outcome.as_str()), Some(attempt)),
    };
    vec![
        ("release", json!(span.release.to_string())),
        ("from", json!(span.from.map(utc))),
        ("until", json!(span.until.map(utc))),
        ("declared", json!(declared.map(|declared| &declared.version))),
        ("image", json!(declared.map(|declared| &declared.image))),
        ("path", json!(declared.map(|declared| &declared.path))),
        ("commit", json!(by.map(|by| &by.commit))),
        ("author", json!(by.map(|by| clean(&by.author, 400)))),
        ("committed", json!(by.map(|by| utc(by.committed)))),
        ("subject", json!(by.map(|by| clean(&by.subject, 400)))),
        ("branchAt", json!(span.tip.as_str())),
        (
            "heldAt",
            json!(span.held.as_ref().map(|held| held.commit.as_str())),
        ),
        ("moment", json!(utc(row.moment))),
        ("ran", json!(known)),
        ("revision", json!(run.map(|run| run.revision))),
        ("version", json!(run.map(|run| &run.version))),
        ("digest", json!(run.map(|run| &run.digest))),
        ("obtained", json!(run.map(|run| &run.obtained))),
        ("live", json!(run.map(|run| utc(run.live)))),
        ("outcome", json!(run.map(|run| &run.outcome))),
        ("migration", json!(run.map(|run| &run.migration))),
        ("revisionCommit", json!(run.and_then(|run| run.commit.as_ref()))),
        ("became", json!(became)),
        ("becameRevision", json!(attempt.map(|attempt| attempt.revision))),
        (
            "becameMigration",
            json!(attempt.map(|attempt| &attempt.migration)),
        ),
        ("note", json!(note(row))),
    ]
}

/// What does not fit into a column.
fn note(row: &Row) -> String {
    let mut notes = Vec::new();
    if let Some(declared) = row.span.declared.as_ref().filter(|_| row.same_version) {
        notes.push(format!("image {}", declared.image));
    }
    let coming = match &row.ran {
        Ran::NotKnown(why) => {
            notes.push(why.clone());
            &None
        }
        Ran::Nothing { coming } => coming,
        Ran::Was(run) => {
            if row
                .span
                .declared
                .as_ref()
                .is_some_and(|declared| declared.version != run.version)
            {
                notes.push(format!("another version ran than was declared, {}", run.version));
            }
            &run.coming
        }
        Ran::NotAsked => &None,
    };
    if let (Became::NotKnown(why), Ran::Was(_) | Ran::Nothing { .. }) = (&row.became, &row.ran) {
        notes.push(format!("what became of what was declared is not known: {why}"));
    }
    if let Some(coming) = coming {
        notes.push(format!("{coming} was on its way"));
    }
    if let Some(held) = &row.span.held {
        notes.push(format!(
            "in commit {} its files cannot be used, so what was declared before stayed: {}",
            held.commit.short(),
            clean(&held.why, 300)
        ));
    }
    clean(&notes.join("; "), 600)
}

/// For people. `notes` are of the answer as a whole.
#[must_use]
pub fn table(rows: &[Row], asked: Asked, notes: &[String]) -> String {
    let (since, until) = asked.ends();
    let when = match asked {
        Asked::At(at) => format!("at {} (UTC)", utc(at)),
        Asked::Between(..) => format!("from {} to {} (UTC)", utc(since), utc(until)),
    };
    let notes: Vec<String> = notes
        .iter()
        .map(|note| format!("note: {}\n", clean(note, 600)))
        .collect();
    let notes = notes.concat();
    if rows.is_empty() {
        return format!("nothing was declared {when}\n{notes}");
    }
    let head = [
        "RELEASE",
        "FROM",
        "UNTIL",
        "DECLARED",
        "COMMIT",
        "AUTHOR",
        "COMMITTED",
        "BECAME",
        "MIGRATION",
        "RAN",
        "DIGEST",
        "NOTE",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(|row| {
        let by = row.by.as_ref();
        let (ran, digest) = match &row.ran {
            Ran::NotAsked => ("not asked".to_owned(), "-"),
            Ran::NotKnown(_) => ("not known".to_owned(), "not known"),
            Ran::Nothing { .. } => ("nothing yet".to_owned(), "-"),
            Ran::Was(run) => (
                format!("{} (v{})", run.version, run.revision),
                short_digest(&run.digest),
            ),
        };
        let (became, migration) = match &row.became {
            Became::NotAsked => ("-".to_owned(), "-"),
            Became::NotKnown(_) => ("not known".to_owned(), "not known"),
            Became::Nothing => ("nothing yet".to_owned(), "-"),
            Became::Was(attempt) => (
                format!("{} (v{})", attempt.outcome, attempt.revision),
                attempt.migration.as_str(),
            ),
        };
        let declared = row.span.declared.as_ref();
        let text = |text: &str| text.to_owned();
        vec![
            row.span.release.to_string(),
            row.span.from.map_or_else(|| "before".to_owned(), utc),
            row.span.until.map_or_else(|| "-".to_owned(), utc),
            declared.map_or_else(|| "none".to_owned(), |declared| declared.version.clone()),
            by.map_or_else(|| "-".to_owned(), |by| text(short_commit(&by.commit))),
            by.map_or_else(|| "-".to_owned(), |by| clean(&by.author, 60)),
            by.map_or_else(|| "-".to_owned(), |by| utc(by.committed)),
            became,
            text(migration),
            ran,
            text(digest),
            note(row),
        ]
    }));
    format!("{when}\n{}{notes}", columns(&lines))
}

/// For machines.
#[must_use]
pub fn json(rows: &[Row], asked: Asked, notes: &[String]) -> Value {
    let (since, until) = asked.ends();
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let facts = facts(row)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value));
            Value::Object(facts.collect::<Map<_, _>>())
        })
        .collect();
    let notes: Vec<String> = notes.iter().map(|note| clean(note, 600)).collect();
    json!({ "since": utc(since), "until": utc(until), "notes": notes, "rows": rows })
}

/// For spreadsheets, RFC 4180.
#[must_use]
pub fn csv(rows: &[Row]) -> String {
    const NAMES: &str = "release,from,until,declared,image,path,commit,author,committed,subject,branchAt,heldAt,moment,ran,\
        revision,version,digest,obtained,live,outcome,migration,revisionCommit,became,becameRevision,becameMigration,note\r\n";
    let mut text = String::from(NAMES);
    for row in rows {
        let cells: Vec<String> = facts(row).into_iter().map(|(_, value)| cell(&value)).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // A spreadsheet takes these for formulas, and anyone who can commit writes names and subjects.
    let text = if text.starts_with(['=', '+', '-', '@']) {
        format!("'{text}")
    } else {
        text
    };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}
