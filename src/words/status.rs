//! All releases and sources → one line each, problems first.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{clean, columns, count, remedy, short_commit, span, utc};
use crate::api::{Condition, ConditionStatus, Release, ReleaseSource, meta};

/// What was read, and what could not be.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The releases that were asked for.
    pub releases: Vec<Release>,
    /// All sources.
    pub sources: Vec<ReleaseSource>,
    /// What could not be read, as sentences: an absence there means nothing.
    pub unread: Vec<String>,
}

/// How much a line wants to be read; the first is the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// A person must act.
    Stopped,
    /// Something from outside is missing, or pods are not well.
    Waiting,
    /// Not looked at yet, or on its way.
    Moving,
    /// All is well, and there is something to know.
    Noted,
    /// All is well.
    Well,
}

/// One release.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// `namespace/name`.
    pub release: String,
    /// How much it wants to be read.
    pub weight: Weight,
    /// The phase, `Waiting(SecretMissing)`.
    pub phase: String,
    /// The version that git declares.
    pub declared: Option<String>,
    /// The version that was last verified.
    pub live: Option<String>,
    /// Since when it is, or is not, ready.
    pub since: Option<Timestamp>,
    /// One sentence.
    pub message: String,
}

/// One line about a source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRow {
    /// Its name.
    pub source: String,
    /// Whether all is well.
    pub ready: bool,
    /// One word.
    pub reason: String,
    /// The commit in force.
    pub commit: Option<String>,
    /// Since when it is, or is not, ready.
    pub since: Option<Timestamp>,
    /// One sentence, with the first problem's place.
    pub message: String,
}

/// The condition of a type.
#[must_use]
pub fn condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether a condition holds.
#[must_use]
pub fn holds(conditions: &[Condition], type_: &str) -> bool {
    condition(conditions, type_).is_some_and(|condition| condition.status == ConditionStatus::True)
}

/// One release.
#[must_use]
pub fn row(release: &Release) -> Row {
    let name = release.metadata.name.as_deref().unwrap_or_default();
    let namespace = release.metadata.namespace.as_deref().unwrap_or_default();
    let status = release.status.clone().unwrap_or_default();
    let behind = is_behind(release);
    let details = details(&status.conditions);
    let (place, word) = remedy::phase(&status.phase);
    let weight = match (place, word) {
        _ if behind => Weight::Moving,
        (remedy::Place::Failed, _) | (_, "Rejected" | "RolledBack") => Weight::Stopped,
        (remedy::Place::Waiting, _) => Weight::Waiting,
        (_, "Live") if holds(&status.conditions, "Degraded") => Weight::Waiting,
        (_, "Live") if !details.is_empty() => Weight::Noted,
        // Somebody meant it to be so.
        (_, "Suspended") => Weight::Noted,
        (_, "Live" | "NotDeployed") => Weight::Well,
        _ => Weight::Moving,
    };
    let message = match (behind, details.as_slice()) {
        (true, _) => "the controller has not looked at its newest spec yet".to_owned(),
        (false, []) => status.message.clone(),
        // A release that does not work has one sentence to be read; the rest is told by explain.
        (false, _) if weight < Weight::Noted && place != remedy::Place::Phase => status.message.clone(),
        (false, details) => {
            let more = details
                .iter()
                .filter(|detail| !status.message.contains(detail.as_str()));
            let more: Vec<&str> = more.map(String::as_str).collect();
            [vec![status.message.as_str()], more].concat().join("; ")
        }
    };
    Row {
        release: format!("{namespace}/{name}"),
        weight,
        phase: if status.phase.is_empty() {
            "New".to_owned()
        } else {
            status.phase.clone()
        },
        declared: status.declared_version.or_else(|| release.spec.version.clone()),
        live: status.live_version,
        since: since(release),
        message: clean(&message, 2000),
    }
}

/// Whether the status is of an older spec than the one that is there, or of none.
#[must_use]
pub fn is_behind(release: &Release) -> bool {
    let seen = release
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    seen < release.metadata.generation
}

/// Since when it is ready, or is not.
#[must_use]
pub fn since(release: &Release) -> Option<Timestamp> {
    let conditions = release.status.as_ref().map(|status| status.conditions.as_slice());
    conditions
        .and_then(|conditions| condition(conditions, "Ready"))
        .map(|ready| ready.last_transition_time.0)
        .or_else(|| release.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

/// Conditions that may hold beside the phase, worst first.
pub const DETAILS: [&str; 9] = [
    "Degraded",
    "SecretsMissing",
    "ValuesOutdated",
    "SourceGone",
    "Drifted",
    "SecretInImage",
    "ImageMismatch",
    "SchemaAhead",
    "TagMoved",
];

/// What is to be known beside the phase: the sentences of conditions that only sometimes hold.
fn details(conditions: &[Condition]) -> Vec<String> {
    conditions
        .iter()
        .filter(|condition| condition.status == ConditionStatus::True)
        .filter(|condition| DETAILS.contains(&condition.type_.as_str()))
        .map(|condition| condition.message.clone())
        .collect()
}

/// One source.
#[must_use]
pub fn source_row(source: &ReleaseSource) -> SourceRow {
    let status = source.status.clone().unwrap_or_default();
    let ready = condition(&status.conditions, "Ready");
    let suspended = source.spec.suspend == Some(true);
    let first = status.problems.first();
    let message = match (suspended, first) {
        (true, _) => "suspended: commits are not followed until suspend is taken away".to_owned(),
        (false, _) if ready.is_none() => "the controller has not looked at it yet".to_owned(),
        // Of a commit that could not be read the problems are those of the commit before.
        (false, Some(problem)) if ready.is_some_and(|ready| ready.reason == "Problems") => {
            let number = usize::try_from(status.problem_count.unwrap_or(1)).unwrap_or(1);
            let words = format!("{} {}", problem.place, problem.message);
            let which = if number == 1 { "" } else { ", the first" };
            format!("{}{which}: {}", count(number, "problem"), words.trim())
        }
        _ => status.message.clone(),
    };
    SourceRow {
        source: source.metadata.name.clone().unwrap_or_default(),
        ready: !suspended && ready.is_some_and(|ready| ready.status == ConditionStatus::True),
        reason: if suspended {
            "Suspended".to_owned()
        } else {
            ready.map_or_else(|| "New".to_owned(), |ready| ready.reason.clone())
        },
        commit: status.applied_commit,
        since: ready.map(|ready| ready.last_transition_time.0),
        message: clean(&message, 2000),
    }
}

/// Rows in the order in which they want to be read.
#[must_use]
pub fn rows(releases: &[Release]) -> Vec<Row> {
    let mut rows: Vec<Row> = releases.iter().map(row).collect();
    rows.sort_by(|a, b| (a.weight, &a.release).cmp(&(b.weight, &b.release)));
    rows
}

/// For people: sources with problems, then one line per release. `scope` says where was looked.
#[must_use]
pub fn text(seen: &Seen, scope: &str, now: Timestamp) -> String {
    let mut lines = Vec::new();
    let mut sources: Vec<SourceRow> = seen.sources.iter().map(source_row).collect();
    sources.retain(|source| !source.ready);
    sources.sort_by(|a, b| a.source.cmp(&b.source));
    for source in sources {
        lines.push(vec![
            format!("source {}", source.source),
            source.reason.clone(),
            source.commit.as_deref().map_or_else(
                || "no commit applied".to_owned(),
                |commit| format!("commit {} in force", short_commit(commit)),
            ),
            since_words(source.since, now),
            source.message,
        ]);
    }
    lines.extend(builder(&seen.sources, now));
    for row in rows(&seen.releases) {
        lines.push(vec![
            row.release,
            row.phase,
            versions(row.declared.as_deref(), row.live.as_deref()),
            since_words(row.since, now),
            row.message,
        ]);
    }
    let mut text = columns(&lines);
    if seen.releases.is_empty() {
        let _ = writeln!(text, "no release {scope}");
    }
    for sentence in &seen.unread {
        let _ = writeln!(text, "not shown: {}", clean(sentence, 500));
    }
    text
}

/// Where images cannot be built here, why not. Every source says the same of it.
fn builder(sources: &[ReleaseSource], now: Timestamp) -> Option<Vec<String>> {
    let mut all = sources.iter().filter_map(|source| {
        let conditions = &source.status.as_ref()?.conditions;
        condition(conditions, "BuilderReady")
    });
    let lacks = all.find(|ready| ready.status == ConditionStatus::False)?;
    Some(vec![
        "builder".to_owned(),
        lacks.reason.clone(),
        String::new(),
        since_words(Some(lacks.last_transition_time.0), now),
        clean(&lacks.message, 2000),
    ])
}

fn since_words(since: Option<Timestamp>, now: Timestamp) -> String {
    since.map_or_else(String::new, |since| format!("for {}", span(since, now)))
}

/// `1.8.1 → 1.8.2`: what runs, and what git wants.
fn versions(declared: Option<&str>, live: Option<&str>) -> String {
    match (live, declared) {
        (Some(live), Some(declared)) if live == declared => format!("{live} live"),
        (Some(live), Some(declared)) => format!("{live} live, {declared} declared"),
        (Some(live), None) => format!("{live} live, none declared"),
        (None, Some(declared)) => format!("none live, {declared} declared"),
        (None, None) => "no version".to_owned(),
    }
}

/// For machines: everything, in the same order.
#[must_use]
pub fn json(seen: &Seen) -> Value {
    let time = |at: Option<Timestamp>| at.map(utc);
    let releases: Vec<Value> = rows(&seen.releases)
        .into_iter()
        .map(|row| {
            let object = seen
                .releases
                .iter()
                .find(|release| self::row(release).release == row.release);
            let annotation = |name: &str| {
                let annotations = object?.metadata.annotations.as_ref()?;
                annotations.get(name).cloned()
            };
            json!({
                "release": row.release, "phase": row.phase, "problem": row.weight <= Weight::Waiting,
                "declared": row.declared, "live": row.live, "since": time(row.since), "message": row.message,
                "commit": annotation(meta::COMMIT), "author": annotation(meta::AUTHOR),
            })
        })
        .collect();
    let sources: Vec<Value> = seen
        .sources
        .iter()
        .map(|source| {
            let row = source_row(source);
            let status = source.status.clone().unwrap_or_default();
            json!({
                "source": row.source, "ready": row.ready, "reason": row.reason, "commit": row.commit,
                "since": time(row.since), "message": row.message, "problems": status.problems,
            })
        })
        .collect();
    json!({ "sources": sources, "releases": releases, "unread": seen.unread })
}

#[cfg(test)]
mod tests;
