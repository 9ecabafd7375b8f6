//! L1–L4: what must have come about by the end of a trace, and of each quiet in it: a bound after the last thing that
//! anybody else did.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{
    event::{Actor, Fact, Sight, Trace, What},
    object::{Body, Key, Kind, Object, Release, ReleaseBody, Text},
    verdict::{Invariant, Judge, Moment, Predicate},
    world::World,
};

/// When anybody but Slipway and Kubernetes last did something in a namespace.
#[derive(Clone, Default)]
struct Inputs {
    last: BTreeMap<Text, Timestamp>,
    rest: bool,
}

/// The namespace in which somebody does something. A spec that a source writes is git's word, whoever carries it.
fn touched(moment: &Moment<'_>) -> Option<Text> {
    let what = &moment.event.what;
    let key = what.key()?;
    let said = matches!(what, What::Wrote(write) if key.kind == Kind::Release && !write.status);
    let namespace = if key.kind == Kind::Namespace {
        &key.name
    } else {
        &key.namespace
    };
    (said || matches!(moment.event.by, Actor::Person(_))).then(|| namespace.clone())
}

impl Inputs {
    /// Takes an event, asked before it: the namespace whose quiet it ends, if nobody had done anything there for so long
    /// that its releases must be at an end.
    fn take(&mut self, moment: &Moment<'_>) -> Option<Text> {
        match &moment.event.what {
            What::Fact(Fact::Rest) => self.rest = true,
            What::Fact(Fact::Unrest) => self.rest = false,
            _ => {}
        }
        let namespace = touched(moment)?;
        self.rest = false;
        let last = self.last.insert(namespace.clone(), moment.at());
        let quiet = moment.trace.has(Sight::Clock)
            && last.is_some_and(|last| moment.at().duration_since(last) >= moment.trace.bounds.settle);
        (quiet && !moment.world.is_ending(&namespace)).then_some(namespace)
    }

    /// Whether the quiet of a namespace is long enough at the end of the trace.
    fn due(&self, trace: &Trace, world: &World, namespace: &Text) -> bool {
        let long = |last: &Timestamp| trace.end.duration_since(*last) >= trace.bounds.settle;
        let quiet = trace.has(Sight::Clock) && self.last.get(namespace).is_none_or(long);
        (self.rest || quiet) && !world.is_ending(namespace)
    }
}

/// A release that must be at an end: its status, itself, and the event that last wrote it.
type Due<'a> = (Release, &'a ReleaseBody, &'a Object, usize);

fn releases<'a>(world: &'a World, of: impl Fn(&Text) -> bool + 'a) -> impl Iterator<Item = Due<'a>> {
    world.there.iter().filter_map(move |(key, known)| {
        let Body::Release(body) = &known.object.body else {
            return None;
        };
        of(&key.namespace).then(|| Some((known.object.of()?, body, &*known.object, known.written)))?
    })
}

/// **L1** "ESR: □(head spec = D) ⇝ □(cluster matches D on owned fields), for every valid release; bound B after last fault
/// for tests (e.g. 3 × back-off cap)." A release that says Live runs what it declares: its Deployments are those of the
/// live revision, taken up and available. Reads releases and Deployments. One instance per release that is Live at the end
/// of a quiet of its namespace.
#[derive(Clone, Default)]
pub struct Reached(Inputs);

impl Predicate for Reached {
    fn invariant(&self) -> Invariant {
        Invariant::L1
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Beginning, Sight::Status]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        if let Some(quiet) = self.0.take(moment) {
            Self::look(moment.world, |namespace| *namespace == quiet, judge);
        }
    }

    fn end(&mut self, trace: &Trace, world: &World, judge: &mut Judge<'_>) {
        Self::look(world, |namespace| self.0.due(trace, world, namespace), judge);
    }
}

impl Reached {
    fn look(world: &World, of: impl Fn(&Text) -> bool, judge: &mut Judge<'_>) {
        for (release, body, object, written) in releases(world, of) {
            if *body.phase != *"Live" || body.observed < object.generation {
                continue;
            }
            judge.judged();
            if body.version != body.live_version {
                judge.broken(
                    format!(
                        "{release} declares {:?} and says that {:?} is Live",
                        body.version, body.live_version
                    ),
                    [written],
                );
            }
            let is_its = |key: &Key, object: &Object| {
                key.kind == Kind::Deployment && object.ours && object.of().as_ref() == Some(&release)
            };
            let mut any = false;
            for (key, known) in &world.there {
                let Body::Deployment(deployment) = &known.object.body else {
                    continue;
                };
                if !is_its(key, &known.object) {
                    continue;
                }
                any = true;
                let up = deployment.observed >= known.object.generation
                    && deployment.available >= deployment.replicas;
                if deployment.revision != body.live_revision || !up {
                    judge.broken(
                        format!(
                            "{release} says Live, and {key} has {} of {} pods available, as revision {:?}",
                            deployment.available, deployment.replicas, deployment.revision
                        ),
                        [known.written, written],
                    );
                }
            }
            if !any {
                judge.broken(
                    format!("{release} says Live, and it has no Deployment"),
                    [written],
                );
            }
        }
    }
}

/// A phase that may last, with its sentence.
fn is_end(phase: &str) -> bool {
    ["Live", "RolledBack", "Rejected", "NotDeployed", "Suspended"].contains(&phase)
        || phase.starts_with("Failed(")
        || phase.starts_with("Waiting(")
}

/// **L2** "Each accepted commit is eventually Applied, Superseded, Blocked(cause) or Rejected(cause) – never silent." Reads
/// releases. One instance per release that is there at the end of a quiet of its namespace: its status speaks of its present
/// spec, is at an end, and has a sentence.
#[derive(Clone, Default)]
pub struct NeverSilent(Inputs);

impl Predicate for NeverSilent {
    fn invariant(&self) -> Invariant {
        Invariant::L2
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Status]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        if let Some(quiet) = self.0.take(moment) {
            Self::look(moment.world, |namespace| *namespace == quiet, judge);
        }
    }

    fn end(&mut self, trace: &Trace, world: &World, judge: &mut Judge<'_>) {
        Self::look(world, |namespace| self.0.due(trace, world, namespace), judge);
    }
}

impl NeverSilent {
    fn look(world: &World, of: impl Fn(&Text) -> bool, judge: &mut Judge<'_>) {
        for (release, body, object, written) in releases(world, of) {
            judge.judged();
            if body.observed < object.generation || !is_end(&body.phase) {
                judge.broken(
                    format!(
                        "{release} is still {:?} ({}), of generation {} out of {}",
                        body.phase, body.message, body.observed, object.generation
                    ),
                    [written],
                );
            } else if body.message.trim().is_empty() {
                judge.broken(
                    format!("{release} is {} without a sentence", body.phase),
                    [written],
                );
            }
        }
    }
}

/// **L3** "A Blocked release resumes without a restart once its cause is removed (quota, secret, image, webhook,
/// namespace)." Reads releases, and who makes the trace says what was removed when. One instance per cause that was
/// removed long enough before the end: the release does not wait for it any more.
#[derive(Clone, Default)]
pub struct Resumed {
    removed: Vec<(Release, Text, Timestamp, usize)>,
    rest: bool,
}

impl Predicate for Resumed {
    fn invariant(&self) -> Invariant {
        Invariant::L3
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Status]
    }

    fn after(&mut self, moment: &Moment<'_>, _: &mut Judge<'_>) {
        match &moment.event.what {
            What::Fact(Fact::CauseRemoved { release, reason }) => {
                self.removed
                    .push((release.clone(), reason.clone(), moment.at(), moment.index));
            }
            What::Fact(Fact::Rest) => self.rest = true,
            What::Fact(Fact::Unrest) => self.rest = false,
            _ => {}
        }
    }

    fn end(&mut self, trace: &Trace, world: &World, judge: &mut Judge<'_>) {
        for (release, reason, at, index) in &self.removed {
            let key = Key {
                kind: Kind::Release,
                namespace: release.namespace.clone(),
                name: release.name.clone(),
            };
            let Some(known) = world.get(&key) else { continue };
            let Body::Release(body) = &known.object.body else {
                continue;
            };
            if !self.rest && trace.end.duration_since(*at) < trace.bounds.settle {
                continue;
            }
            judge.judged();
            if *body.phase == *format!("Waiting({reason})") {
                judge.broken(
                    format!(
                        "{release} still waits for {reason}, which is there: {}",
                        body.message
                    ),
                    [*index, known.written],
                );
            }
        }
    }
}

/// **L4** "One failing release delays others by at most a constant factor (no head-of-line blocking)." Reads
/// releases, their generations and phases. One instance per way to Live while another release of the trace failed or
/// waited, compared with the median of those while none did.
#[derive(Clone, Default)]
pub struct NoHeadOfLine {
    phases: BTreeMap<Release, Text>,
    begun: BTreeMap<Release, (u64, Timestamp, usize)>,
    ways: Vec<Way>,
}

#[derive(Clone)]
struct Way {
    release: Release,
    took: SignedDuration,
    beside_failing: bool,
    events: [usize; 2],
}

fn fails(phase: &str) -> bool {
    phase == "RolledBack" || phase.starts_with("Failed(") || phase.starts_with("Waiting(")
}

impl Predicate for NoHeadOfLine {
    fn invariant(&self) -> Invariant {
        Invariant::L4
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Clock, Sight::Status]
    }

    fn after(&mut self, moment: &Moment<'_>, _: &mut Judge<'_>) {
        let What::Wrote(write) = &moment.event.what else {
            return;
        };
        let Body::Release(body) = &write.object.body else {
            return;
        };
        let Some(release) = write.object.of() else { return };
        let generation = write.object.generation;
        if self
            .begun
            .get(&release)
            .is_none_or(|(begun, ..)| *begun < generation)
        {
            self.begun
                .insert(release.clone(), (generation, moment.at(), moment.index));
        }
        let was_live = self.phases.get(&release).is_some_and(|phase| **phase == *"Live");
        if *body.phase == *"Live"
            && !was_live
            && body.observed >= generation
            && let Some((_, since, index)) = self.begun.get(&release)
        {
            let beside_failing = self
                .phases
                .iter()
                .any(|(other, phase)| *other != release && fails(phase));
            self.ways.push(Way {
                release: release.clone(),
                took: moment.at().duration_since(*since),
                beside_failing,
                events: [*index, moment.index],
            });
        }
        self.phases.insert(release, body.phase.clone());
    }

    fn end(&mut self, trace: &Trace, _: &World, judge: &mut Judge<'_>) {
        let mut calm: Vec<SignedDuration> = self
            .ways
            .iter()
            .filter(|way| !way.beside_failing)
            .map(|way| way.took)
            .collect();
        calm.sort();
        let Some(median) = calm.get(calm.len() / 2) else {
            return;
        };
        let bound = *median * trace.bounds.delay_factor + trace.bounds.delay;
        for way in self.ways.iter().filter(|way| way.beside_failing) {
            judge.judged();
            if way.took > bound {
                judge.broken(
                    format!(
                        "{} took {:#} to be Live while another release failed, and {:#} is usual",
                        way.release, way.took, median
                    ),
                    way.events,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::fixtures::{Story, kubernetes, us};

    /// A release that says Live, with its Deployment as said.
    fn live(revision: u64, available: u32) -> Story {
        let mut story = Story::new();
        story.declare("1").revision(1, None).deploy(1);
        story.by(kubernetes()).deploy_as(revision, 2, available, |_| {});
        story.by(us("a")).status("Live", "1 serves", Some(1));
        story.wait(600);
        story
    }

    #[test]
    fn l1_what_says_live_runs_what_it_declares() {
        live(1, 2).holds(Invariant::L1, 1);
        live(2, 2).breaks(Invariant::L1);
        live(1, 1).breaks(Invariant::L1);
        let mut gone = live(1, 2);
        gone.gone(Kind::Deployment, "app", "d1");
        gone.breaks(Invariant::L1);
    }

    #[test]
    fn l1_nothing_is_due_right_after_a_commit() {
        let mut story = Story::new();
        story.declare("1").wait(1);
        story.holds(Invariant::L1, 0);
        story.holds(Invariant::L2, 0);
    }

    #[test]
    fn l1_and_l2_look_also_where_a_quiet_ends() {
        let mut story = live(1, 2);
        story.declare("2").wait(1);
        story.holds(Invariant::L1, 1);
        story.holds(Invariant::L2, 1);
        let mut story = live(1, 1);
        story.declare("2").wait(1);
        story.breaks(Invariant::L1);
    }

    #[test]
    fn l2_no_release_is_silent() {
        for (phase, message, holds) in [
            ("Live", "1 serves", true),
            ("Waiting(SecretMissing)", "Secret x is missing", true),
            ("Suspended", "suspended until a commit removes it: a freeze", true),
            ("Resolving", "asking", false),
            ("Live", " ", false),
            ("", "", false),
        ] {
            let mut story = Story::new();
            story.declare("1").status(phase, message, None).wait(600);
            if holds {
                story.holds(Invariant::L2, 1);
            } else {
                story.breaks(Invariant::L2);
            }
        }
    }

    #[test]
    fn l3_a_release_goes_on_when_its_cause_is_removed() {
        let mut story = Story::new();
        story.status("Waiting(SecretMissing)", "Secret x is missing", None);
        let release = story.of();
        let reason = "SecretMissing".into();
        story.fact(Fact::CauseRemoved { release, reason });
        let mut resumed = story.clone();
        story.wait(600);
        story.breaks(Invariant::L3);
        resumed.status("Live", "1 serves", Some(1)).wait(600);
        resumed.holds(Invariant::L3, 1);
    }

    #[test]
    fn l4_a_failing_release_delays_nobody() {
        let mut story = Story::new();
        story.release("calm").declare("1").wait(10);
        story.status("Live", "1 serves", Some(1));
        story
            .release("broken")
            .declare("1")
            .status("Failed(Migrating)", "it failed", None);
        story.release("other").declare("1");
        let mut late = story.clone();
        story.wait(60).status("Live", "1 serves", Some(1));
        story.holds(Invariant::L4, 1);
        late.wait(100).status("Live", "1 serves", Some(1));
        late.breaks(Invariant::L4);
    }
}
