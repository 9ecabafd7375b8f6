//! How predicates see a trace and speak about it.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;

use super::{
    event::{Event, Sight, Trace},
    world::World,
};

/// An invariant, by its name in docs/invariants.md. Claim and Ledger are the protocol that S2 and S4 rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(
    missing_docs,
    reason = "names of docs/invariants.md; each predicate quotes its own"
)]
pub enum Invariant {
    S1,
    S2,
    S3,
    S4,
    S5,
    S6,
    S7,
    S8,
    S9,
    S10,
    S11,
    S12,
    S14,
    S15,
    S16,
    S18,
    S19,
    Claim,
    Ledger,
    Schema,
    L1,
    L2,
    L3,
    L4,
    L6,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Something that is allowed only because nobody can see it; counted, and named where promises are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// A success of a run that ended by a reboot before anybody had looked.
    UnseenReboot,
    /// A success on a database that came and went before anybody had looked.
    UnseenRotation,
    /// A second pod that Kubernetes made of a Job by itself, which it reserves the right to do; or a success of such a Job,
    /// of which another pod may have been ended midway.
    StartedTwice,
    /// What is judged by the numbers of revisions, or by the revisions that are kept, of a release that had one number twice:
    /// somebody deleted every revision while a controller that was late had decided to make one, or to roll one out.
    NumberedTwice,
}

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// One sentence.
    pub what: String,
    /// The events that show it, by their place in the trace, oldest first.
    pub events: Vec<usize>,
    /// The same in words: time, who did what, by which request.
    pub story: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)?;
        self.story.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// How many instances each predicate has judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Per invariant.
    pub judged: BTreeMap<Invariant, Judged>,
    /// What was allowed because nobody can see it.
    pub limits: BTreeMap<Limit, usize>,
}

/// What a predicate did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// So many instances.
    Instances(usize),
    /// None could be, since the trace does not show this.
    Skipped(Vec<Sight>),
}

impl Coverage {
    pub(super) fn enter(&mut self, invariant: Invariant, lacks: Vec<Sight>) {
        let judged = if lacks.is_empty() {
            Judged::Instances(0)
        } else {
            Judged::Skipped(lacks)
        };
        self.judged.insert(invariant, judged);
    }

    /// How many instances; 0 where it was skipped.
    #[must_use]
    pub fn instances(&self, invariant: Invariant) -> usize {
        match self.judged.get(&invariant) {
            Some(Judged::Instances(count)) => *count,
            _ => 0,
        }
    }

    /// Adds what another trace has judged.
    pub fn add(&mut self, other: &Self) {
        for (invariant, judged) in &other.judged {
            match (self.judged.get_mut(invariant), judged) {
                (Some(Judged::Instances(sum)), Judged::Instances(count)) => *sum += count,
                (Some(Judged::Instances(_)), Judged::Skipped(_)) => {}
                (_, judged) => {
                    self.judged.insert(*invariant, judged.clone());
                }
            }
        }
        for (limit, count) in &other.limits {
            *self.limits.entry(*limit).or_default() += count;
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (invariant, judged) in &self.judged {
            let comma = if first { "" } else { ", " };
            first = false;
            match judged {
                Judged::Instances(count) => write!(f, "{comma}{invariant} {count}")?,
                Judged::Skipped(lacks) => {
                    let lacks: Vec<String> = lacks.iter().map(ToString::to_string).collect();
                    write!(f, "{comma}{invariant} skipped (not shown: {})", lacks.join(", "))?;
                }
            }
        }
        for (limit, count) in &self.limits {
            write!(f, "; {count} × {limit:?}")?;
        }
        Ok(())
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Everything that is broken, in the order in which it broke.
    pub violations: Vec<Violation>,
    /// What was judged at all.
    pub coverage: Coverage,
}

impl Verdict {
    /// Brings the violations into order and tells their stories.
    pub(super) fn tell(&mut self, trace: &Trace) {
        self.violations
            .sort_by_key(|violation| violation.events.last().copied());
        for violation in &mut self.violations {
            violation.events.sort_unstable();
            violation.events.dedup();
            violation.story = violation
                .events
                .iter()
                .filter_map(|index| Some(line(*index, trace.events.get(*index)?)))
                .collect();
        }
    }
}

fn line(index: usize, event: &Event) -> String {
    let found = match &event.request {
        Some(request) => format!("request {request}"),
        None => format!("event {index}"),
    };
    format!("{} {} {} ({found})", event.at, event.by, event.what)
}

/// An event, and the world before or after it.
pub struct Moment<'a> {
    /// Its place in the trace.
    pub index: usize,
    /// What happens.
    pub event: &'a Event,
    /// What is there.
    pub world: &'a World,
    /// Bounds, sights and git.
    pub trace: &'a Trace,
}

impl Moment<'_> {
    /// When it happens.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.event.at
    }

    /// The accepted write, where Slipway made it.
    #[must_use]
    pub fn our_write(&self) -> Option<&super::event::Write> {
        match &self.event.what {
            super::event::What::Wrote(write) if self.event.by.is_slipway() => Some(write),
            _ => None,
        }
    }
}

/// One invariant. What it has seen can be kept, so that a story is told on from there in several ways.
pub trait Predicate: Fork {
    /// Which.
    fn invariant(&self) -> Invariant;
    /// What a trace must show for it.
    fn needs(&self) -> &'static [Sight] {
        &[]
    }
    /// An event, with the world as it was.
    fn before(&mut self, _: &Moment<'_>, _: &mut Judge<'_>) {}
    /// The same event, with the world as it is then.
    fn after(&mut self, _: &Moment<'_>, _: &mut Judge<'_>) {}
    /// The end of the trace.
    fn end(&mut self, _: &Trace, _: &World, _: &mut Judge<'_>) {}
}

/// A copy of a predicate with all that it has seen.
pub trait Fork {
    /// The copy.
    fn fork(&self) -> Box<dyn Predicate>;
}

impl<P: Predicate + Clone + 'static> Fork for P {
    fn fork(&self) -> Box<dyn Predicate> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Predicate> {
    fn clone(&self) -> Self {
        (**self).fork()
    }
}

/// What a predicate says.
pub struct Judge<'a> {
    invariant: Invariant,
    verdict: &'a mut Verdict,
}

impl<'a> Judge<'a> {
    pub(super) fn new(invariant: Invariant, verdict: &'a mut Verdict) -> Self {
        Self { invariant, verdict }
    }

    /// An instance was looked at.
    pub fn judged(&mut self) {
        if let Some(Judged::Instances(count)) = self.verdict.coverage.judged.get_mut(&self.invariant) {
            *count += 1;
        }
    }

    /// It is broken, as these events show.
    pub fn broken(&mut self, what: impl Into<String>, events: impl IntoIterator<Item = usize>) {
        self.verdict.violations.push(Violation {
            invariant: self.invariant,
            what: what.into(),
            events: events.into_iter().collect(),
            story: Vec::new(),
        });
    }

    /// It would be broken, if anybody could have seen it.
    pub fn beyond(&mut self, limit: Limit) {
        *self.verdict.coverage.limits.entry(limit).or_default() += 1;
    }
}
