//! S10 and S12: what a controller writes over, and how old its view may be.

use std::collections::BTreeMap;

use super::{
    event::{Actor, Sight, What, Why},
    object::{Body, Key, Kind},
    ownership::is_made,
    verdict::{Invariant, Judge, Moment, Predicate},
};

/// **S10** "Stale leader harmless: all safety properties hold with leader election switched off and 2 controllers." The
/// other predicates see two controllers as they see one; what is left to judge here is why they hold: whatever one
/// controller writes over what another one wrote insists on the resourceVersion that it saw. Reads every write of Slipway.
/// One instance per write over another controller's. The status of a `Release` is a summary that every pass makes anew.
#[derive(Clone, Default)]
pub struct GuardedWrites;

impl Predicate for GuardedWrites {
    fn invariant(&self) -> Invariant {
        Invariant::S10
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        let Some(write) = moment.our_write() else { return };
        if write.created || !is_made(write.object.key.kind) {
            return;
        }
        let Some(known) = moment.world.get(&write.object.key) else {
            return;
        };
        if known.by.is_slipway() && known.by != moment.event.by {
            judge.judged();
            if write.over.is_some() {
                return;
            }
            // Of what is applied the rest says the same whoever writes it.
            if !is_rendered(write.object.key.kind) || differs(&known.object.body, &write.object.body) {
                judge.broken(
                    format!(
                        "{} was written over what another controller had written, whatever that was",
                        write.object.key
                    ),
                    [known.written, moment.index],
                );
            }
        }
    }
}

/// What is applied, and not created.
fn is_rendered(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Job | Kind::ConfigMap | Kind::Lease | Kind::ReleaseRevision
    )
}

fn differs(old: &Body, new: &Body) -> bool {
    match (old, new) {
        (Body::Deployment(old), Body::Deployment(new)) => {
            (old.revision, &old.images, old.replicas) != (new.revision, &new.images, new.replicas)
        }
        _ => false,
    }
}

/// The version by which an apply insists that there is nothing.
const ABSENT: u64 = 1;

/// **S12** "Read-your-writes: no decision for r uses a view whose resourceVersion for r's objects is older than our last
/// acknowledged write to them." Of a view a trace shows the resourceVersion that a write insists on: a controller that is
/// refused for a resourceVersion older than its own last write has decided on such a view. Reads accepted and refused
/// writes of Slipway. A source does not read the status of its releases, so that is no write of its own to it. The lock of
/// a database is no object of r: the loops of all releases of that database write it, and its resourceVersion decides
/// between them; what comes of one that was taken wrongly is for S1 and S5. One instance per guarded write of what the same
/// controller wrote before. Where a model makes up old views on purpose, its traces lack the sight.
#[derive(Clone, Default)]
pub struct ReadYourWrites {
    acknowledged: BTreeMap<(Key, Actor), (u64, usize)>,
}

impl Predicate for ReadYourWrites {
    fn invariant(&self) -> Invariant {
        Invariant::S12
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Reads]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        if !moment.event.by.is_slipway() {
            return;
        }
        let (key, over) = match &moment.event.what {
            What::Wrote(write) => (&write.object.key, write.over),
            What::Refused(refusal) if refusal.why == Why::Conflict => (&refusal.key, refusal.over),
            _ => return,
        };
        if key.kind == Kind::Lease {
            return;
        }
        let own = (key.clone(), moment.event.by.clone());
        // An apply that insists on absence was decided on a view without the object, which says nothing of how old it is.
        let over = over.filter(|over| *over > ABSENT);
        if let (Some(over), Some((version, index))) = (over, self.acknowledged.get(&own)) {
            judge.judged();
            if over < *version {
                judge.broken(
                    format!(
                        "{key} was to be written over resourceVersion {over}, older than {version}, which the same \
                         controller had written"
                    ),
                    [*index, moment.index],
                );
            }
        }
        // The loop of a release writes its status, and the loop of its source, beside it, all else: each reads its own.
        if let What::Wrote(write) = &moment.event.what
            && !(write.status && key.kind == Kind::Release)
        {
            self.acknowledged
                .insert(own, (write.object.version, moment.index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::fixtures::{Story, us};

    #[test]
    fn s10_what_another_controller_wrote_is_written_over_what_was_seen_only() {
        let mut story = Story::new();
        story.job("a", "j1");
        let seen = story.version();
        story.by(us("b"));
        let mut blind = story.clone();
        let object = story.object(Kind::Job, "migrate-j1", "j1", Body::Plain);
        story.wrote_over(seen, object);
        story.holds(Invariant::S10, 1);
        blind.resume("a", "j1");
        blind.breaks(Invariant::S10);
    }

    #[test]
    fn s10_a_deployment_that_was_taken_for_absent_is_not_written_over() {
        let mut story = Story::new();
        story.deploy(2).by(us("b"));
        let mut object = story.object(Kind::Deployment, "app", "d1", Body::Plain);
        object.body = Body::Deployment(crate::trace::object::DeploymentBody {
            revision: Some(1),
            ..Default::default()
        });
        story.wrote(us("b"), false, object);
        story.breaks(Invariant::S10);
    }

    #[test]
    fn s12_what_is_made_again_where_it_was_deleted_is_no_old_view() {
        let mut story = Story::new();
        story.job("a", "j1");
        let object = story.object(Kind::Job, "migrate-j1", "j1", Body::Plain);
        story.wrote_over(ABSENT, object);
        story.holds(Invariant::S12, 0);
    }

    #[test]
    fn s12_a_view_from_before_the_own_write_is_found() {
        let mut story = Story::new();
        story.job("a", "j1");
        let seen = story.version();
        let object = story.object(Kind::Job, "migrate-j1", "j1", Body::Plain);
        story.wrote_over(seen, object);
        let mut foreign = story.clone();
        story.refused(Kind::Job, "migrate-j1", Some(seen), Why::Conflict);
        story.breaks(Invariant::S12);
        // Somebody else wrote last: that conflict is what guards are for.
        let newest = foreign.version();
        foreign.refused(Kind::Job, "migrate-j1", Some(newest), Why::Conflict);
        foreign.holds(Invariant::S12, 2);
    }

    #[test]
    fn s12_two_releases_that_want_one_lock_may_both_have_seen_it_free() {
        let mut story = Story::new();
        story.job("a", "j0").lock("j0");
        let seen = story.version();
        story.release("other").job("b", "j1").lock("j1").release("app");
        story.refused(Kind::Lease, "slipway-lock-x", Some(seen), Why::Conflict);
        story.holds(Invariant::S12, 0);
    }

    #[test]
    fn s12_a_status_that_is_written_meanwhile_makes_no_view_of_a_source_old() {
        let mut story = Story::new();
        story.declare("1.0.0");
        let seen = story.version();
        story.status("Pending", "it begins", None);
        story.refused(Kind::Release, "app", Some(seen), Why::Conflict);
        story.holds(Invariant::S12, 1);
    }
}
