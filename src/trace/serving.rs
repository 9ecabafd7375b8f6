//! S16, S18, S19: what serves goes on serving, nobody disturbs a neighbour, and what is done stays done.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::{
    event::{Actor, Fact, Sight, Trace, What},
    object::{Body, DeploymentBody, Key, Kind, Object, Release},
    verdict::{Invariant, Judge, Moment, Predicate},
    world::World,
};

/// **S16** "Availability: during rollout and any failed migration, ready old pods ≥ declared minimum; a failed/blocked v+1
/// causes no write that reduces v's ready pods." From a write of Slipway that changes the pods of a complete Deployment
/// until it is complete again, or a person touches it or a pod of its namespace, as many pods are available as the smaller
/// of both sizes, less what `rollout.unavailable` lets miss. Reads Deployments and their status. One instance per status
/// within such a rollout.
#[derive(Clone, Default)]
pub struct Availability {
    rollouts: BTreeMap<Key, Rollout>,
}

#[derive(Clone)]
struct Rollout {
    floor: u32,
    since: usize,
}

fn complete(object: &Object, body: &DeploymentBody) -> bool {
    body.observed >= object.generation
        && body.updated == body.replicas
        && body.available >= body.replicas
        && body.replicas > 0
}

impl Predicate for Availability {
    fn invariant(&self) -> Invariant {
        Invariant::S16
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Availability]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        let Some(key) = moment.event.what.key() else {
            return;
        };
        match &moment.event.by {
            Actor::Person(_) => {
                // Hands, not a rollout, decide what is available from here on.
                let touched =
                    |other: &Key| other == key || (key.kind == Kind::Pod && other.namespace == key.namespace);
                let namespace = |other: &Key| key.kind == Kind::Namespace && other.namespace == key.name;
                self.rollouts
                    .retain(|other, _| !touched(other) && !namespace(other));
            }
            Actor::Slipway(_) => self.written(moment, key),
            Actor::Kubernetes(_) => self.reported(moment, key, judge),
        }
    }
}

impl Availability {
    fn written(&mut self, moment: &Moment<'_>, key: &Key) {
        let What::Wrote(write) = &moment.event.what else {
            if matches!(moment.event.what, What::Deleted { .. }) {
                self.rollouts.remove(key);
            }
            return;
        };
        let Body::Deployment(new) = &write.object.body else {
            return;
        };
        let Some(may_miss) = new.may_miss else {
            self.rollouts.remove(key);
            return;
        };
        let Some(Body::Deployment(old)) = moment.world.get(key).map(|known| &known.object.body) else {
            return;
        };
        let floor = old.replicas.min(new.replicas).saturating_sub(may_miss);
        if let Some(rollout) = self.rollouts.get_mut(key) {
            rollout.floor = rollout.floor.min(floor);
            return;
        }
        let was_complete = moment
            .world
            .get(key)
            .is_some_and(|known| complete(&known.object, old));
        let changes = old.revision != new.revision || old.images != new.images;
        if changes && was_complete {
            self.rollouts.insert(
                key.clone(),
                Rollout {
                    floor,
                    since: moment.index,
                },
            );
        }
    }

    fn reported(&mut self, moment: &Moment<'_>, key: &Key, judge: &mut Judge<'_>) {
        let Some(rollout) = self.rollouts.get(key) else {
            return;
        };
        let What::Wrote(write) = &moment.event.what else {
            self.rollouts.remove(key);
            return;
        };
        let Body::Deployment(body) = &write.object.body else {
            return;
        };
        if moment.world.is_ending(&key.namespace) || write.object.deleting {
            self.rollouts.remove(key);
            return;
        }
        judge.judged();
        if body.available < rollout.floor {
            judge.broken(
                format!(
                    "{key} had {} available pods in a rollout that must keep {}",
                    body.available, rollout.floor
                ),
                [rollout.since, moment.index],
            );
            self.rollouts.remove(key);
        } else if complete(&write.object, body) {
            self.rollouts.remove(key);
        }
    }
}

/// **S18** "Isolation: for releases r≠s, the sequence of writes for s is the same with and without a fault/invalid spec in r
/// (up to timing)." Needs the same story without the fault as a trace of its own. Reads Slipway's writes of revisions,
/// Jobs, ledgers and Deployments; status may differ in what it says on the way. One instance per release that both traces
/// have; the faulty one is left out by leaving it out of the reference.
#[derive(Clone, Default)]
pub struct Isolation;

/// Slipway's writes of a release as words without names, times and UIDs.
fn writes(trace: &Trace) -> BTreeMap<Release, Vec<(String, usize)>> {
    let mut all: BTreeMap<Release, Vec<(String, usize)>> = BTreeMap::new();
    for (index, event) in trace.events.iter().enumerate() {
        let What::Wrote(write) = &event.what else { continue };
        if !event.by.is_slipway() || write.status {
            continue;
        }
        let word = match &write.object.body {
            Body::Revision(revision) => format!("v{} of {}", revision.number, revision.digest),
            Body::Job { key, suspended, .. } => format!("Job of {key:?}, suspended: {suspended}"),
            Body::Ledger(ledger) => {
                let states = ledger.entries.iter().map(|(key, entry)| (key, entry.state));
                format!("ledger {:?}", states.collect::<Vec<_>>())
            }
            Body::Deployment(body) => format!(
                "Deployment {} as v{:?}, {}",
                write.object.key.name, body.revision, body.replicas
            ),
            _ => continue,
        };
        if let Some(release) = write.object.of() {
            let words = all.entry(release).or_default();
            if words.last().is_none_or(|(last, _)| *last != word) {
                words.push((word, index));
            }
        }
    }
    all
}

impl Predicate for Isolation {
    fn invariant(&self) -> Invariant {
        Invariant::S18
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Reference]
    }

    fn end(&mut self, trace: &Trace, _: &World, judge: &mut Judge<'_>) {
        let Some(reference) = &trace.reference else { return };
        let with = writes(trace);
        for (release, without) in writes(reference) {
            judge.judged();
            let with = with.get(&release).map_or(&[][..], Vec::as_slice);
            let longest = with.len().max(without.len());
            let word = |list: &[(String, usize)], at: usize| list.get(at).map(|(word, _)| word.clone());
            if let Some(at) = (0..longest).find(|at| word(with, *at) != word(&without, *at)) {
                let nothing = || "nothing".to_owned();
                let (is, was) = (
                    word(with, at).unwrap_or_else(nothing),
                    word(&without, at).unwrap_or_else(nothing),
                );
                let event = with.get(at).or(with.last()).map(|(_, index)| *index);
                judge.broken(
                    format!(
                        "{release} is disturbed by its neighbour: write {at} is {is}, and without it {was}"
                    ),
                    event,
                );
            }
        }
    }
}

/// **S19** "Quiescence: 2 resync periods after convergence, zero mutating requests except lease/heartbeat; write rate per
/// object ≤ k/min always (no fight)." Reads every write of Slipway; that all is at rest is said by who makes the trace. One
/// instance per write, judged by the rate where the trace has a clock, and per rest.
#[derive(Clone, Default)]
pub struct Quiescence {
    rest: Option<usize>,
    recent: BTreeMap<Key, VecDeque<(Timestamp, usize)>>,
}

impl Predicate for Quiescence {
    fn invariant(&self) -> Invariant {
        Invariant::S19
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        match &moment.event.what {
            What::Fact(Fact::Rest) => {
                judge.judged();
                self.rest = Some(moment.index);
            }
            What::Fact(Fact::Unrest) => self.rest = None,
            What::Wrote(_) | What::Deleted { .. } if moment.event.by.is_slipway() => {
                if let Some(rest) = self.rest.take() {
                    judge.broken("Slipway wrote although all was at rest", [rest, moment.index]);
                }
                if moment.trace.has(Sight::Clock)
                    && let Some(key) = moment.event.what.key()
                {
                    judge.judged();
                    self.rate(key, moment, judge);
                }
            }
            _ => {}
        }
    }
}

impl Quiescence {
    fn rate(&mut self, key: &Key, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        let recent = self.recent.entry(key.clone()).or_default();
        let minute_ago = moment.at() - SignedDuration::from_secs(60);
        while recent.front().is_some_and(|(at, _)| *at < minute_ago) {
            recent.pop_front();
        }
        recent.push_back((moment.at(), moment.index));
        let most = moment.trace.bounds.writes_per_minute;
        if recent.len() > most {
            let first = recent.front().map(|(_, index)| *index);
            judge.broken(
                format!(
                    "{key} was written {} times within a minute, and {most} are allowed",
                    recent.len()
                ),
                first.into_iter().chain([moment.index]),
            );
            recent.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::fixtures::{Story, kubernetes, person, us};

    /// v1 is there in whole, and v2 is rolled out over it.
    fn rollout() -> Story {
        let mut story = Story::new();
        story.by(us("a")).deploy(1);
        story.by(kubernetes()).deploy(1);
        story.by(us("a")).deploy(2);
        story
    }

    fn available(story: &mut Story, updated: u32, available: u32) {
        story.by(kubernetes()).deploy_as(2, 2, available, |object| {
            if let Body::Deployment(body) = &mut object.body {
                body.updated = updated;
            }
        });
    }

    #[test]
    fn s16_a_rollout_keeps_as_many_pods_as_there_were() {
        let mut story = rollout();
        available(&mut story, 1, 2);
        story.holds(Invariant::S16, 1);
        let mut touched = story.clone();
        available(&mut story, 1, 1);
        story.breaks(Invariant::S16);
        let pod = touched.object(Kind::Pod, "p", "p", Body::Plain);
        touched.wrote(person(), true, pod);
        available(&mut touched, 1, 1);
        touched.holds(Invariant::S16, 1);
    }

    #[test]
    fn s16_what_is_complete_is_no_rollout_any_more() {
        let mut story = rollout();
        available(&mut story, 2, 2);
        available(&mut story, 2, 0);
        story.holds(Invariant::S16, 1);
    }

    #[test]
    fn s18_a_neighbours_fault_changes_no_write() {
        let mut without = Story::new();
        without.release("calm").revision(1, None).deploy(1);
        let mut with = Story::new();
        with.release("broken").revision(1, None);
        with.release("calm").revision(1, None).deploy(1);
        let mut trace = with.clone();
        trace.trace = trace.trace.compared_with(without.trace.clone());
        trace.holds(Invariant::S18, 1);
        with.deploy(2);
        with.trace = with.trace.compared_with(without.trace);
        with.breaks(Invariant::S18);
    }

    #[test]
    fn s19_a_fight_is_found_by_its_rate() {
        let mut story = Story::new();
        for _ in 0..40 {
            story.wait(1).deploy(1);
        }
        story.holds(Invariant::S19, 40);
        let mut slow = story.clone();
        slow.wait(60).deploy(1);
        slow.holds(Invariant::S19, 41);
        story.wait(1).deploy(1);
        story.breaks(Invariant::S19);
    }

    #[test]
    fn s19_nothing_is_written_at_rest() {
        let mut story = Story::new();
        story.deploy(1).fact(Fact::Rest);
        let mut asked = story.clone();
        asked.fact(Fact::Unrest).deploy(1);
        asked.holds(Invariant::S19, 3);
        story.deploy(1);
        story.breaks(Invariant::S19);
    }
}
