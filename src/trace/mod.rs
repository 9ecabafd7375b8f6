//! The invariants of docs/invariants.md as predicates over a trace: what happened to a cluster, in order, whoever
//! recorded it.
//!
//! ```text
//! audit log ─read→ ┐
//! model ───record→ ┴ Trace ─judge→ Verdict { violations, coverage }
//! ```
//!
//! A predicate is shown each event with the world before and after it, and sees nothing else: no controller, no model.
//! What a trace of some origin cannot show is a [`Sight`] that it lacks; a predicate that needs it is skipped and says
//! so in the [`Coverage`], which also counts what each predicate has judged: "no violation" of a predicate that judged
//! nothing is seen for what it is.
//!
//! - [`event`] what can happen, [`object`] to what, [`world`] what is there after it, [`verdict`] how predicates speak
//! - [`migration`] S1, S2, S5 and the claim, [`gate`] S3, S4, S6 and the ledger, [`ownership`] S7, S8, [`prune`] S9, L6
//! - [`schema`] which code may run on the schema
//! - [`views`] S10, S12, [`history`] S11, S14, S15, [`serving`] S16, S18, S19, [`liveness`] L1–L4
//! - [`audit`] reads the audit log of an API server, [`body`] the objects in it
//!
//! S13, S17 and S20 need what no trace of writes shows (values of Secrets, identities, processes).

pub mod audit;
pub mod body;
pub mod event;
pub mod gate;
pub mod history;
pub mod liveness;
pub mod migration;
pub mod object;
pub mod ownership;
pub mod prune;
pub mod schema;
pub mod serving;
pub mod verdict;
pub mod views;
pub mod world;

#[cfg(test)]
mod fixtures;

pub use event::{Event, Sight, Trace, What};
pub use verdict::{Coverage, Invariant, Verdict, Violation};

use verdict::{Judge, Moment, Predicate};
use world::World;

/// Every predicate, in the order of the list of invariants.
fn predicates() -> [Box<dyn Predicate>; 25] {
    [
        Box::<migration::OneAtATime>::default(),
        Box::<migration::OncePerKey>::default(),
        Box::<gate::Gate>::default(),
        Box::<gate::SuccessOfKey>::default(),
        Box::<migration::OnePerDatabase>::default(),
        Box::<gate::AbsenceIsNoEvidence>::default(),
        Box::<ownership::OnlyOurs>::default(),
        Box::<ownership::NoSilentAdoption>::default(),
        Box::<prune::PruneWithReason>::default(),
        Box::<views::GuardedWrites>::default(),
        Box::<history::WritesHaveACommit>::default(),
        Box::<views::ReadYourWrites>::default(),
        Box::<history::MonotoneHistory>::default(),
        Box::<history::ImmutablePin>::default(),
        Box::<serving::Availability>::default(),
        Box::<serving::Isolation>::default(),
        Box::<serving::Quiescence>::default(),
        Box::<migration::ClaimBeforeRun>::default(),
        Box::<gate::LegalLedger>::default(),
        Box::<schema::NoEarlierCode>::default(),
        Box::<liveness::Reached>::default(),
        Box::<liveness::NeverSilent>::default(),
        Box::<liveness::Resumed>::default(),
        Box::<liveness::NoHeadOfLine>::default(),
        Box::<prune::NothingLeft>::default(),
    ]
}

/// Predicates on their way through a trace. A copy goes on by itself: where a story can go on in several ways, what they
/// have in common is judged once.
#[derive(Clone)]
pub struct Court {
    seeing: Vec<Box<dyn Predicate>>,
    world: World,
    verdict: Verdict,
    next: usize,
}

/// One side of an event: a predicate is asked before it or after it.
type Side = fn(&mut dyn Predicate, &Moment<'_>, &mut Judge<'_>);

impl Court {
    /// Before the first event of a trace with these sights.
    #[must_use]
    pub fn new(trace: &Trace) -> Self {
        let mut verdict = Verdict::default();
        let mut seeing = Vec::new();
        for predicate in predicates() {
            let lacks: Vec<Sight> = predicate
                .needs()
                .iter()
                .copied()
                .filter(|sight| !trace.has(*sight))
                .collect();
            verdict.coverage.enter(predicate.invariant(), lacks.clone());
            if lacks.is_empty() {
                seeing.push(predicate);
            }
        }
        Self {
            seeing,
            world: World::default(),
            verdict,
            next: 0,
        }
    }

    /// The next event. Of the trace only what holds for all of it is asked: sights, bounds and git.
    pub fn take(&mut self, trace: &Trace, event: &Event) {
        let index = self.next;
        self.next += 1;
        self.show((index, event), trace, |p, moment, judge| p.before(moment, judge));
        self.world.take(index, event);
        self.show((index, event), trace, |p, moment, judge| p.after(moment, judge));
    }

    fn show(&mut self, (index, event): (usize, &Event), trace: &Trace, side: Side) {
        let moment = Moment {
            index,
            event,
            world: &self.world,
            trace,
        };
        for predicate in &mut self.seeing {
            let mut judge = Judge::new(predicate.invariant(), &mut self.verdict);
            side(predicate.as_mut(), &moment, &mut judge);
        }
    }

    /// What is broken so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.verdict.violations
    }

    /// After the last event.
    #[must_use]
    pub fn end(mut self, trace: &Trace) -> Verdict {
        for predicate in &mut self.seeing {
            let mut judge = Judge::new(predicate.invariant(), &mut self.verdict);
            predicate.end(trace, &self.world, &mut judge);
        }
        self.verdict.tell(trace);
        self.verdict
    }
}

/// Shows the trace to every predicate.
#[must_use]
pub fn judge(trace: &Trace) -> Verdict {
    let mut court = Court::new(trace);
    for event in &trace.events {
        court.take(trace, event);
    }
    court.end(trace)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_invariant_that_is_judged_stands_in_the_list() {
        let list = include_str!("../../docs/invariants.md");
        for predicate in super::predicates() {
            let name = predicate.invariant().to_string();
            assert!(list.contains(&format!("\n| {name} | ")), "{name}");
        }
    }
}
