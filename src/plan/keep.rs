//! What runs while nothing new may begin.

use super::{
    attempt,
    decide::{idle, matches},
    decision::{Decision, Phase, Wait},
    migration,
    observed::{Observed, Revision},
    schema, serve,
};
use crate::{api::release::OnFailure, spec::Declared};

/// What goes on while the next revision waits for something: one that is on its way is still judged, ends well or is
/// gone back from.
pub(super) fn meanwhile(o: &Observed, declared: &Declared) -> Decision {
    under_way(o, declared).unwrap_or_else(|| steady(o, Some(declared)))
}

/// The next steps of a revision that is being rolled out, whatever is declared by now.
pub(super) fn under_way(o: &Observed, declared: &Declared) -> Option<Decision> {
    let shown = |revision: &&Revision| {
        serve::running_revisions(o)
            .values()
            .any(|number| *number == revision.number.0)
    };
    let moving = o
        .current
        .as_ref()
        .filter(|current| current.outcome.is_none())
        .filter(shown)?;
    let gate = migration::booked(moving, o.ledger.as_ref())?;
    let wanted = serve::wanted_as_stored(o, moving, None);
    serve::foreign(o, &wanted)
        .is_none()
        .then(|| attempt::roll_out(o, declared, moving, &wanted, gate))
}

/// Keeps what runs as it is, whatever is declared: puts back what others changed, begins nothing.
pub(super) fn steady(o: &Observed, declared: Option<&Declared>) -> Decision {
    let serving = serving(o, declared);
    // Replicas of a spec that is not yet this revision's are not this revision's.
    let followed = declared.filter(|declared| serving.is_some_and(|serving| matches(o, declared, serving)));
    kept(o, serving, followed)
}

/// The same while a commit asks for a pause: nothing of it is followed, but what failed is gone back from.
pub(super) fn paused(o: &Observed, declared: &Declared) -> Decision {
    kept(o, serving(o, Some(declared)), None)
}

/// The same where the declared attempt has failed before anything of it ran: what a commit says of replicas and rollouts
/// is meant for what serves.
pub(super) fn steady_after_failure(o: &Observed, declared: &Declared) -> Decision {
    kept(o, serving(o, Some(declared)), Some(declared))
}

/// The revision whose objects are to be there now.
fn serving<'a>(o: &'a Observed, declared: Option<&Declared>) -> Option<&'a Revision> {
    let running = serve::running_revisions(o);
    let shown = |revision: &&Revision| running.values().any(|number| *number == revision.number.0);
    let whole = |revision: &Revision| running.values().all(|number| *number == revision.number.0);
    let holds = declared.is_none_or(|declared| declared.on_failure == OnFailure::Hold);
    // Where code from before cannot run on the database, nothing is gone back to.
    let live = o.live.as_ref().filter(|live| schema::bars(o, live).is_none());
    o.current
        .as_ref()
        .filter(shown)
        .filter(|current| schema::bars(o, current).is_none())
        // One that failed is gone back from; or it is held, where it is whole.
        .filter(|current| current.outcome.is_none() || live.is_none() || (holds && whole(current)))
        .or(live)
}

fn kept(o: &Observed, serving: Option<&Revision>, followed: Option<&Declared>) -> Decision {
    let mut decision = idle(o, Phase::Pending, String::new());
    if let Some(revision) = serving
        && let Some(gate) = migration::booked(revision, o.ledger.as_ref())
    {
        let wanted = serve::wanted_as_stored(o, revision, followed);
        if serve::foreign(o, &wanted).is_none() {
            let objects = serve::differing(o, &wanted);
            decision.report.repairs = objects.len();
            decision.steps.extend(serve::gated(gate, objects));
        }
        if !decision.steps.is_empty() {
            // So that one pass sees whether it lasts: what others change at once is not put back for ever.
            decision.wait = Wait::Again;
        }
    }
    decision
}
