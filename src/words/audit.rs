//! What was declared when, by whom, and what ran: git's history joined with the revisions that are kept.
//!
//! What git says is whole; what became of it is told only where a record is left. A revision that is no longer kept may
//! have been the one that ran, so where one is missing the answer is "not known" and never the next best.

mod notes;
mod print;
mod ran;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

pub use self::{
    notes::{Clock, clocks, not_come, unread},
    print::{csv, json, table},
    ran::{Attempt, Became, Ran, Record, Run, became, ran},
};
use crate::names::{CommitId, ReleaseId};

/// A commit that the branch stood at, and what it declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Tip {
    /// The commit.
    pub commit: CommitId,
    /// When the branch came to it: by the committer's clock, and never before the commit that it stands on.
    pub at: Timestamp,
    /// What it declares; `None` where it changed nothing of it.
    pub read: Option<Result<Reading, String>>,
}

/// What a commit declares.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Releases with a version.
    pub releases: BTreeMap<ReleaseId, Version>,
    /// Releases that cannot be known in this commit, each with the first thing that is wrong: what was declared before stays
    /// in force.
    pub held: BTreeMap<ReleaseId, String>,
}

/// A declared version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The version.
    pub version: String,
    /// The image as declared: `ghcr.io/acme/billing:1.8.2`.
    pub image: String,
    /// Where the image was said, and how.
    pub image_from: Option<ImageFrom>,
    /// The file that gave the version.
    pub path: String,
}

impl Version {
    /// Whether both are the same version of the same image, wherever that is said.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (&self.version, &self.image) == (&other.version, &other.image)
    }
}

/// What gave the image of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFrom {
    /// The file.
    pub path: String,
    /// As it stands there, with or without a tag.
    pub text: String,
}

/// A time in which one release was declared in one way.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Which.
    pub release: ReleaseId,
    /// When the branch began to say so; `None` where that was before the time that was asked for.
    pub from: Option<Timestamp>,
    /// When it ceased to.
    pub until: Option<Timestamp>,
    /// The commit of the branch at which it began to.
    pub tip: CommitId,
    /// What; `None` for no version.
    pub declared: Option<Version>,
    /// The last commit of the span that could not be used, so that what was there before stayed.
    pub held: Option<Held>,
}

/// A commit that changes nothing of a release, since it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The commit.
    pub commit: CommitId,
    /// The first thing that is wrong, with its place.
    pub why: String,
    /// When a later commit could be used, and declared the same.
    pub mended: Option<Timestamp>,
}

impl Held {
    fn new(tip: &Tip, why: &str) -> Self {
        Self {
            commit: tip.commit.clone(),
            why: why.to_owned(),
            mended: None,
        }
    }
}

/// The spans that follow from the commits of a branch, oldest first. The first commit stands for all before it.
#[must_use]
pub fn spans(tips: &[Tip]) -> Vec<Span> {
    let mut open: BTreeMap<ReleaseId, Span> = BTreeMap::new();
    let mut done = Vec::new();
    for (index, tip) in tips.iter().enumerate() {
        let Some(Ok(reading)) = &tip.read else {
            if let Some(Err(why)) = &tip.read {
                for span in open.values_mut() {
                    span.held = Some(Held::new(tip, why));
                }
            }
            continue;
        };
        let from = (index > 0).then_some(tip.at);
        let known: BTreeSet<ReleaseId> = open.keys().chain(reading.releases.keys()).cloned().collect();
        for id in known {
            if let Some(why) = reading.held.get(&id) {
                if let Some(span) = open.get_mut(&id) {
                    span.held = Some(Held::new(tip, why));
                }
                continue;
            }
            let new = reading.releases.get(&id);
            if let Some(before) = open.get_mut(&id) {
                let same = match (&before.declared, new) {
                    (Some(a), Some(b)) => a.is(b),
                    (None, None) => true,
                    _ => false,
                };
                if same {
                    if let Some(held) = &mut before.held {
                        held.mended.get_or_insert(tip.at);
                    }
                    continue;
                }
                before.until = Some(tip.at);
                done.extend(open.remove(&id));
            }
            let span = Span {
                release: id.clone(),
                from,
                until: None,
                tip: tip.commit.clone(),
                declared: new.cloned(),
                held: None,
            };
            open.insert(id, span);
        }
    }
    done.extend(open.into_values());
    done
}

/// When releases were declared again that had not been for a while: what ran before may have been removed by then.
#[must_use]
pub fn declared_again(spans: &[Span]) -> Vec<(ReleaseId, Timestamp)> {
    let gaps = spans.iter().filter(|span| span.declared.is_none());
    gaps.filter_map(|gap| Some((gap.release.clone(), gap.until?)))
        .collect()
}

/// The time that is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// One moment.
    At(Timestamp),
    /// From, up to and with.
    Between(Timestamp, Timestamp),
}

impl Asked {
    /// The first and the last moment.
    #[must_use]
    pub fn ends(self) -> (Timestamp, Timestamp) {
        match self {
            Self::At(at) => (at, at),
            Self::Between(since, until) => (since, until),
        }
    }
}

/// Who declared something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The commit that said this version first.
    pub commit: String,
    /// `Name <mail>`.
    pub author: String,
    /// By the committer's clock.
    pub committed: Timestamp,
    /// The first line of its message.
    pub subject: String,
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was declared.
    pub span: Span,
    /// By whom; `None` where nothing was, or where the history does not say.
    pub by: Option<Author>,
    /// The moment for which is told what ran: the one asked for, or the last one of the span.
    pub moment: Timestamp,
    /// What ran.
    pub ran: Ran,
    /// What became of what was declared.
    pub became: Became,
    /// Whether the version was the same before or after, so that its image alone tells the rows apart.
    pub same_version: bool,
}

/// The moment of a span for which is told what ran; `None` where the span does not touch the time asked for.
#[must_use]
pub fn moment(span: &Span, asked: Asked) -> Option<Timestamp> {
    let (since, until) = asked.ends();
    if span.from.is_some_and(|from| from > until) || span.until.is_some_and(|end| end <= since) {
        return None;
    }
    // A span ends where the next one begins, and that moment is the next one's; one may end in the second of its beginning.
    let last = span
        .until
        .and_then(|end| Timestamp::from_second(end.as_second() - 1).ok())
        .map(|last| span.from.map_or(last, |from| last.max(from)));
    Some(last.map_or(until, |last| last.min(until)))
}

/// The answers, by release and time. `records` are of the cluster; `None` where none was asked.
#[must_use]
pub fn rows(
    spans: Vec<(Span, Option<Author>)>,
    asked: Asked,
    records: Option<&BTreeMap<ReleaseId, Result<Record, String>>>,
) -> Vec<Row> {
    let mut rows: Vec<Row> = spans
        .into_iter()
        .filter_map(|(mut span, by)| {
            let moment = moment(&span, asked)?;
            // What was mended by the time asked for is no part of the answer.
            let mended = |held: &Held| held.mended.is_some_and(|at| at <= asked.ends().0);
            span.held = span.held.filter(|held| !mended(held));
            let (ran, became) = match (records, &span.declared) {
                (None, _) => (Ran::NotAsked, Became::NotAsked),
                (Some(_), None) => {
                    let why = "no version was declared, and no record tells when a removal ended";
                    (Ran::NotKnown(why.to_owned()), Became::NotAsked)
                }
                (Some(records), Some(declared)) => match records.get(&span.release) {
                    None => not_known("the cluster has no record of it"),
                    Some(Err(why)) => not_known(why),
                    Some(Ok(record)) => {
                        let ran = ran(record, moment);
                        // Where the span began before what was read, it did with the commit that said it first.
                        let from = span.from.or(by.as_ref().map(|by| by.committed));
                        let became = became(record, declared, from, moment, &ran);
                        (ran, became)
                    }
                },
            };
            Some(Row {
                span,
                by,
                moment,
                ran,
                became,
                same_version: false,
            })
        })
        .collect();
    // What was never declared in the time asked for is no answer.
    let declared: BTreeSet<ReleaseId> = rows
        .iter()
        .filter(|row| row.span.declared.is_some())
        .map(|row| row.span.release.clone())
        .collect();
    if matches!(asked, Asked::Between(..)) {
        rows.retain(|row| row.span.declared.is_some() || declared.contains(&row.span.release));
    }
    rows.sort_by(|a, b| (&a.span.release, a.span.from).cmp(&(&b.span.release, b.span.from)));
    let version = |row: &Row| {
        Some((
            row.span.release.clone(),
            row.span.declared.as_ref()?.version.clone(),
        ))
    };
    let versions: Vec<_> = rows.iter().map(version).collect();
    for (index, pair) in versions.windows(2).enumerate() {
        if let [Some(a), Some(b)] = pair
            && a == b
        {
            rows.iter_mut()
                .skip(index)
                .take(2)
                .for_each(|row| row.same_version = true);
        }
    }
    rows
}

fn not_known(why: &str) -> (Ran, Became) {
    (Ran::NotKnown(why.to_owned()), Became::NotKnown(why.to_owned()))
}

#[cfg(test)]
mod tests;
