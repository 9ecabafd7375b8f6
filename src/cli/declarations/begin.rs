//! When a span began that began before what was read: back along the branch for all releases at once, since each commit
//! touches few of them.

use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;

use super::{
    Declarations, Files,
    author::{Said, said},
    damaged, may_speak,
};
use crate::{
    source::ReadError,
    spec::file::File,
    words::audit::{self, Asked, Span, Version},
};

/// A span of which the beginning is looked for.
struct Open<'a> {
    span: &'a mut Span,
    /// As the oldest commit says it that was looked at: in files that may have been moved since.
    declared: Version,
    /// The oldest commit of the branch, so far, that says the same.
    begin: usize,
    state: State,
    /// Whether a commit was passed of which only those before it tell what it left in force.
    doubtful: bool,
}

/// What the commit says that was looked at last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Same,
    Unknown,
    Other,
}

impl Declarations {
    /// Finds the beginning of spans, all of which were declared at the same commit.
    pub(super) fn begun(&self, spans: &mut [Span]) -> anyhow::Result<()> {
        let unknown = spans.iter_mut().filter(|span| span.from.is_none());
        let mut open: Vec<Open<'_>> = unknown
            .filter_map(|span| {
                let declared = span.declared.clone()?;
                let begin = self.trunk.iter().position(|step| step.commit == span.tip)?;
                let state = State::Same;
                Some(Open {
                    span,
                    declared,
                    begin,
                    state,
                    doubtful: false,
                })
            })
            .collect();
        let Some(start) = open.first().map(|open| open.begin) else {
            return Ok(());
        };
        let (mut trees, mut newer, mut over) = (None, None, Vec::new());
        for (index, step) in self.trunk.iter().enumerate().skip(start) {
            if open.is_empty() {
                break;
            }
            let now = self.trees(&step.commit)?;
            if trees.as_ref() != Some(&now) {
                let files = match self.files(&step.commit) {
                    Ok(files) => Some(files),
                    Err(error @ ReadError::Corrupt { .. }) => return Err(damaged(error)),
                    Err(_) => None,
                };
                let changed = files
                    .as_ref()
                    .zip(newer.as_ref())
                    .map(|(files, newer)| changed(files, newer));
                for open in &mut open {
                    open.look(files.as_ref(), changed.as_deref());
                }
                (trees, newer) = (Some(now), files);
            }
            over.extend(
                open.extract_if(.., |open| open.state == State::Other)
                    .map(|open| (open, index)),
            );
            for open in open.iter_mut().filter(|open| open.state == State::Same) {
                open.begin = index;
            }
        }
        // Before the first commit nothing was declared; before the last that is looked at it may have been.
        if self.is_whole() {
            over.extend(open.into_iter().map(|open| (open, self.trunk.len() - 1)));
        }
        self.close(over, start)
    }

    /// Ends the search. With each span comes a commit that is no later than its beginning.
    fn close(&self, mut over: Vec<(Open<'_>, usize)>, start: usize) -> anyhow::Result<()> {
        for (open, _) in &mut over {
            if let Some(step) = self.trunk.get(open.begin) {
                open.span.from = Some(Timestamp::from_second(step.at)?);
                open.span.tip = step.commit.clone();
                open.span.declared = Some(open.declared.clone());
            }
        }
        over.retain(|(open, _)| open.doubtful);
        let oldest = over.iter().map(|(_, before)| *before).max();
        let (Some(oldest), Some(newest)) = (oldest.and_then(|at| self.trunk.get(at)), self.trunk.get(start))
        else {
            return Ok(());
        };
        // These are read as they came, which takes longer.
        let [since, until] = [oldest, newest].map(|step| Timestamp::from_second(step.at));
        let exact = audit::spans(&self.tips(Asked::Between(since?, until?))?);
        for (open, _) in over {
            let mut of_it = exact.iter().filter(|span| span.release == open.span.release);
            let begun = of_it.find(|span| span.until.is_none() && span.from.is_some());
            let same = |span: &&Span| span.declared.as_ref().is_some_and(|said| said.is(&open.declared));
            if let Some(begun) = begun.filter(same) {
                open.span.from = begun.from;
                open.span.tip = begun.tip.clone();
                open.span.declared.clone_from(&begun.declared);
            }
        }
        Ok(())
    }
}

impl Open<'_> {
    /// Looks at the files of a commit, where they can be read. `changed` are those that the next commit has not or made, if
    /// that is known.
    fn look(&mut self, files: Option<&Files>, changed: Option<&[&File]>) {
        let Some(files) = files else {
            self.state = State::Unknown;
            return;
        };
        let id = &self.span.release;
        if changed.is_some_and(|changed| !changed.iter().any(|file| may_speak(file, id))) {
            return;
        }
        self.state = match said(files, id) {
            Said::Version(version) if version.is(&self.declared) => {
                self.declared = version;
                State::Same
            }
            Said::Unknown(_) => {
                self.doubtful = true;
                State::Unknown
            }
            _ => State::Other,
        };
    }
}

/// The files that one of two commits has alone: what is the same is parsed once.
fn changed<'a>(a: &'a Files, b: &'a Files) -> Vec<&'a File> {
    let all = |files: &'a Files| files.iter().flatten();
    let [of_a, of_b] = [a, b].map(|files| all(files).map(Arc::as_ptr).collect::<HashSet<_>>());
    let only_a = all(a).filter(|file| !of_b.contains(&Arc::as_ptr(file)));
    let only_b = all(b).filter(|file| !of_a.contains(&Arc::as_ptr(file)));
    only_a.chain(only_b).map(Arc::as_ref).collect()
}
