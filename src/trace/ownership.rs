//! S7 and S8: Slipway writes what it made, and nothing else.

use std::collections::BTreeMap;

use super::{
    event::{Sight, What, Why},
    object::{Body, Key, Kind, Text},
    verdict::{Invariant, Judge, Moment, Predicate},
    world::World,
};

/// The kinds of which Slipway makes its own objects. A `Release` and a `ReleaseSource` belong to people as well, and
/// Secrets show no bodies.
#[must_use]
pub fn is_made(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::ReleaseRevision
            | Kind::Job
            | Kind::Deployment
            | Kind::ConfigMap
            | Kind::Lease
            | Kind::Service
            | Kind::ServiceAccount
            | Kind::PodDisruptionBudget
            | Kind::Ingress
    )
}

/// The event in which somebody else made the object that has this UID, unless it was taken over since.
fn stranger(world: &World, uid: &Text) -> Option<usize> {
    let (maker, made) = world.makers.get(uid)?;
    (!maker.is_slipway() && !world.adopted.contains(uid)).then_some(*made)
}

/// **S7** "Never delete or mutate what we did not create: every DELETE/PATCH/PUT by our identity targets o with own(o),
/// with UID precondition on deletes." own(o) = the object says that it is ours **and** we made it, or took it over since its
/// release says `adopt`. Reads every write and delete of Slipway. One instance per write to something that was there, and per delete.
#[derive(Clone, Default)]
pub struct OnlyOurs;

impl Predicate for OnlyOurs {
    fn invariant(&self) -> Invariant {
        Invariant::S7
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Beginning]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        if !moment.event.by.is_slipway() {
            return;
        }
        let (key, word) = match &moment.event.what {
            What::Wrote(write) if !write.created => (&write.object.key, "was written"),
            What::Deleted { key, .. } => (key, "was deleted"),
            _ => return,
        };
        let removed = key.kind == Kind::Release && word == "was deleted";
        if !is_made(key.kind) && !removed {
            return;
        }
        judge.judged();
        if let What::Deleted { only: None, .. } = &moment.event.what {
            judge.broken(
                format!("{key} was deleted by name, whatever its UID"),
                [moment.index],
            );
        }
        let Some(known) = moment.world.get(key) else {
            // A delete of what is gone does nothing.
            if word == "was written" {
                judge.broken(format!("{key} was written, and nobody made it"), [moment.index]);
            }
            return;
        };
        let adopts = matches!(&moment.event.what, What::Wrote(write) if moment.world.adopts(write));
        if key.kind == Kind::Release || adopts {
            return;
        }
        if let Some(made) = stranger(moment.world, &known.object.uid) {
            judge.broken(
                format!("{key} {word}, and somebody else made it"),
                [made, moment.index],
            );
        } else if !known.object.ours {
            judge.broken(
                format!("{key} {word}, and does not say that it is Slipway's"),
                [known.written, moment.index],
            );
        }
    }
}

/// **S8** "Never adopt silently: create→AlreadyExists with foreign UID ⇒ no further write to it." Reads refused creates,
/// and revisions: what a revision wants and somebody else has already made is refused by reading it first, without a
/// request. What a release says by `adopt` is not silent. One instance per such object.
#[derive(Clone, Default)]
pub struct NoSilentAdoption {
    /// UIDs of strangers, each with the event in which Slipway met it.
    met: BTreeMap<Text, usize>,
}

impl Predicate for NoSilentAdoption {
    fn invariant(&self) -> Invariant {
        Invariant::S8
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Beginning]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        if !moment.event.by.is_slipway() {
            return;
        }
        match &moment.event.what {
            What::Refused(refusal) if refusal.why == Why::Exists => self.meet(&refusal.key, moment, judge),
            What::Wrote(write) => {
                if let Body::Revision(revision) = &write.object.body
                    && write.created
                {
                    for (kind, name) in revision.objects.keys() {
                        let Some(kind) = Kind::parse(kind) else { continue };
                        let key = Key {
                            kind,
                            namespace: write.object.key.namespace.clone(),
                            name: name.clone(),
                        };
                        self.meet(&key, moment, judge);
                    }
                }
                if moment.world.adopts(write) {
                    // A commit asked for it.
                    self.met.remove(&write.object.uid);
                }
                if let Some(met) = self.met.get(&write.object.uid) {
                    let key = &write.object.key;
                    judge.broken(
                        format!("{key} stood in the way, made by somebody else, and was written"),
                        [*met, moment.index],
                    );
                }
            }
            _ => {}
        }
    }
}

impl NoSilentAdoption {
    fn meet(&mut self, key: &Key, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        if let Some(known) = moment.world.get(key)
            && stranger(moment.world, &known.object.uid).is_some()
        {
            judge.judged();
            self.met.entry(known.object.uid.clone()).or_insert(moment.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::fixtures::{Story, person, us};

    /// A Service that somebody made.
    fn service(story: &mut Story, by: super::super::event::Actor, ours: bool) {
        let mut object = story.object(Kind::Service, "app", "s1", Body::Plain);
        object.ours = ours;
        story.wrote(by, true, object);
    }

    #[test]
    fn s7_what_others_made_is_never_written() {
        for (by, ours, holds) in [
            (us("a"), true, true),
            (person(), true, false),
            (us("a"), false, false),
        ] {
            let mut story = Story::new();
            service(&mut story, by, ours);
            let again = story.object(Kind::Service, "app", "s1", Body::Plain);
            story.wrote(us("a"), false, again);
            if holds {
                story.holds(Invariant::S7, 1);
            } else {
                story.breaks(Invariant::S7);
            }
        }
    }

    #[test]
    fn s7_a_delete_names_its_uid() {
        let mut story = Story::new();
        service(&mut story, us("a"), true);
        let mut blind = story.clone();
        story.deleted(Kind::Service, "app", Some("s1"));
        story.holds(Invariant::S7, 1);
        blind.deleted(Kind::Service, "app", None);
        blind.breaks(Invariant::S7);
    }

    #[test]
    fn s7_and_s8_what_a_release_takes_over_is_its_own_from_then_on() {
        let mut story = Story::new();
        service(&mut story, person(), false);
        story.refused(Kind::Service, "app", None, Why::Exists);
        let mut silent = story.clone();
        let taken = |story: &mut Story| {
            for _ in 0..2 {
                let object = story.object(Kind::Service, "app", "s1", Body::Plain);
                story.wrote(us("a"), false, object);
            }
        };
        taken(&mut silent);
        silent.breaks(Invariant::S7);
        silent.breaks(Invariant::S8);
        story.by(person()).say(|body| body.adopt = 1);
        taken(&mut story);
        story.holds(Invariant::S7, 2);
        story.holds(Invariant::S8, 1);
    }

    #[test]
    fn s8_what_stood_in_the_way_stays_as_it_is() {
        let mut story = Story::new();
        service(&mut story, person(), false);
        story.refused(Kind::Service, "app", None, Why::Exists);
        story.holds(Invariant::S8, 1);
        let object = story.object(Kind::Service, "app", "s1", Body::Plain);
        story.wrote(us("a"), false, object);
        story.breaks(Invariant::S8);
    }

    #[test]
    fn s8_what_a_revision_wants_is_met_without_a_request() {
        let mut story = Story::new();
        story.by(person()).deploy(0);
        story.by(us("a")).revision(1, None);
        story.holds(Invariant::S8, 1);
        story.deploy(1);
        story.breaks(Invariant::S8);
    }
}
