//! What an auditor asks, and whether the answers are the truth.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    NS,
    truth::{Attempt, Declared, Truth},
};
use crate::support::{slipway, slipway_alone};

/// What an audit says about a release at a moment: its row.
pub fn row<'a>(answer: &'a Value, name: &str, at: Timestamp) -> Option<&'a Value> {
    let time = |value: &Value| value.as_str().map(|text| text.parse::<Timestamp>().unwrap());
    answer["rows"].as_array().unwrap().iter().find(|row| {
        row["release"] == format!("{NS}/{name}").as_str()
            && time(&row["from"]).is_none_or(|from| from <= at)
            && time(&row["until"]).is_none_or(|until| at < until)
    })
}

/// The first three questions, which git answers: whatever was declared, with the image, and by whom.
pub fn declared_is_told(row: Option<&Value>, truth: &Truth, what: &str) {
    let told = row.filter(|row| !row["declared"].is_null()).map(|row| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        Declared {
            version: text("declared"),
            image: text("image"),
            commit: text("commit"),
            author: text("author"),
        }
    });
    assert_eq!(told, truth.declared, "{what}");
}

/// A moment alone is answered as it is in a range: by whom, and since when.
pub fn alone_as_in_a_range(alone: Option<&Value>, range: Option<&Value>, what: &str) {
    let facts = |row: Option<&Value>| {
        let row = row.filter(|row| !row["declared"].is_null())?;
        Some(["declared", "image", "path", "commit", "from", "branchAt"].map(|name| row[name].clone()))
    };
    assert_eq!(facts(alone), facts(range), "{what}");
}

/// The others, which the cluster answers as far as it keeps revisions: whether what ran was known. No answer is wrong.
pub fn what_ran_is_told(row: &Value, truth: &Truth, kept: &BTreeSet<i64>, what: &str) -> bool {
    let highest = kept.last().copied().unwrap_or(0);
    let is_kept = |number: i64| kept.contains(&number) || number > highest;
    let attempt = |names: [&str; 3]| {
        let [number, outcome, migration] = names.map(|name| &row[name]);
        (number.as_i64(), outcome.as_str(), migration.as_str())
    };
    let truth_of = |attempt: &Attempt| {
        (
            Some(attempt.revision),
            Some(attempt.outcome),
            Some(attempt.migration),
        )
    };
    let known = match (row["ran"].as_str().unwrap(), &truth.running) {
        ("known", Some(running)) => {
            assert_eq!(row["version"], running.version.as_str(), "{what}");
            assert_eq!(row["digest"], running.digest.as_str(), "{what}");
            let told = attempt(["revision", "outcome", "migration"]);
            assert_eq!(told, truth_of(&running.attempt), "{what}");
            assert!(
                kept.contains(&running.attempt.revision),
                "{what}: nobody knows it"
            );
            true
        }
        ("nothing", None) => true,
        ("not known", running) => {
            assert!(!row["note"].as_str().unwrap().is_empty(), "{what}: it says why");
            if let Some(running) = running {
                let mut needed = running.attempt.revision..=truth.newest + 2;
                let is_buried = running.attempt.revision <= truth.buried;
                assert!(
                    is_buried || !needed.all(is_kept),
                    "{what}: it could be known: {kept:?}"
                );
            }
            false
        }
        (told, running) => panic!("{what}: {told}, but {running:?} ran"),
    };
    let told = attempt(["becameRevision", "became", "becameMigration"]);
    match (&truth.declared, &truth.became) {
        (None, _) => assert_eq!(told, (None, None, None), "{what}"),
        (Some(_), Some(became)) if told.1 == Some("not known") => {
            let mut needed = became.revision..=truth.newest + 2;
            let is_buried = became.revision <= truth.buried;
            assert!(
                is_buried || !needed.all(is_kept),
                "{what}: it could be known: {kept:?}"
            );
        }
        (Some(_), Some(became)) => assert_eq!(told, truth_of(became), "{what}"),
        // It is on its way: an earlier revision of the same version is not what became of it, unless that one runs.
        (Some(declared), None) => {
            let runs = truth
                .running
                .as_ref()
                .filter(|running| running.version == declared.version);
            let runs = runs.map(|running| running.attempt.revision);
            let right = |revision| revision > truth.newest || Some(revision) == runs;
            assert!(told.0.is_none_or(right), "{what}: {told:?}");
        }
    }
    known
}

/// The cells of a CSV by their columns, RFC 4180.
fn cells(csv: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = vec![vec![String::new()]];
    let mut quoted = false;
    let mut chars = csv.chars().peekable();
    while let Some(c) = chars.next() {
        let line = lines.last_mut().unwrap();
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                line.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => line.push(String::new()),
            '\r' if !quoted => {}
            '\n' if !quoted => lines.push(vec![String::new()]),
            c => line.last_mut().unwrap().push(c),
        }
    }
    assert_eq!(
        lines.pop(),
        Some(vec![String::new()]),
        "it ends with a line break"
    );
    let head = lines.remove(0);
    lines
        .into_iter()
        .map(|line| {
            assert_eq!(line.len(), head.len(), "{line:?}");
            head.iter().cloned().zip(line).collect()
        })
        .collect()
}

/// The same facts in each form.
pub fn forms_agree(json: &Value, csv: &str, table: &str) {
    let rows = json["rows"].as_array().unwrap();
    let lines = table.lines().skip(2).filter(|line| !line.starts_with("note: "));
    let (cells, lines) = (cells(csv), lines.collect::<Vec<_>>());
    assert_eq!((cells.len(), lines.len()), (rows.len(), rows.len()), "{table}");
    for ((row, cells), line) in rows.iter().zip(&cells).zip(lines) {
        for (name, value) in row.as_object().unwrap() {
            let text = match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(cells[name], text, "{name}: {row}");
        }
        let part = |name: &str, most: usize| {
            let text = row[name].as_str().unwrap_or("-");
            text.get(..most).unwrap_or(text).to_owned()
        };
        let mut words = vec![part("release", 99), part("commit", 12), part("author", 60)];
        words.push(row["declared"].as_str().unwrap_or("none").to_owned());
        match row["ran"].as_str().unwrap() {
            "known" => {
                let version = row["version"].as_str().unwrap();
                words.push(format!("{version} (v{})", row["revision"]));
                words.push(part("digest", 19));
            }
            "nothing" => words.push("nothing yet".to_owned()),
            said => words.push(said.to_owned()),
        }
        if !row["becameRevision"].is_null() {
            words.push(format!("{} (v{})", part("became", 99), row["becameRevision"]));
            words.push(part("becameMigration", 99));
        }
        for word in words {
            assert!(line.contains(&word), "{word:?} is not in {line:?}");
        }
    }
}

/// Who asks: with a clone, and a cluster or not.
pub struct Auditor {
    pub clone: tempfile::TempDir,
}

impl Auditor {
    pub fn asks(&self, cluster: bool, when: &[&str], format: &str) -> String {
        let clone = self.clone.path().to_str().unwrap();
        let where_ = [
            "audit",
            "--repo",
            clone,
            "--source-path",
            "base",
            "--source-path",
            "production",
            "--format",
            format,
        ];
        if cluster {
            slipway(&[&where_[..], when].concat())
        } else {
            slipway_alone(&[&where_[..], &["--no-cluster"], when].concat())
        }
    }

    pub fn answer(&self, cluster: bool, when: &[&str]) -> Value {
        serde_json::from_str(&self.asks(cluster, when, "json")).unwrap()
    }
}
