//! Going back: git declares what was Live again, or what it declares has failed.

use super::{
    adopt::{self, Answered},
    attempt,
    decide::{POLL, report},
    decision::{Decision, Phase, Stage, Step, Wait},
    hint,
    keep::meanwhile,
    ledger::{Entry, MigrationKey},
    migration,
    observed::{Observed, Revision},
    rebuild,
    renew::{supersede, wait_for_running},
    rollout::{self, Progress},
    rotation, schema, serve,
};
use crate::{
    api::{release::OnFailure, revision::Outcome},
    spec::Declared,
};

/// Git declares the last Live revision again.
pub(super) fn back_to(
    o: &Observed,
    declared: &Declared,
    current: Option<&Revision>,
    live: &Revision,
) -> Decision {
    if let Some(current) = current
        && current.number != live.number
    {
        if let Some(decision) = wait_for_running(o, declared) {
            return decision;
        }
        if let Some(barrier) = schema::barrier(o, &live.digest) {
            return schema::refused(o, declared, &barrier, meanwhile(o, declared));
        }
        if current.outcome.is_none()
            && let Some(step) = supersede(o, live.number)
        {
            let report = report(
                o,
                Phase::RollingOut,
                format!("git declares {} again", live.version),
            );
            return Decision {
                steps: vec![step],
                report,
                wait: Wait::Again,
            };
        }
    }
    schema::follow(o, declared, live).unwrap_or_else(|| attempt::advance(o, declared, live))
}

/// The attempt that git declares has failed, and what serves was given other values since.
pub(super) fn beside(o: &Observed, declared: &Declared, failed: &Revision) -> Decision {
    if let Some(decision) = schema::follow(o, declared, failed) {
        return decision;
    }
    match (&o.current, &o.live) {
        (Some(current), Some(live)) if current.outcome.is_none() => {
            let Some(gate) = migration::booked(current, o.ledger.as_ref()) else {
                return rebuild::from_live(o, live);
            };
            let wanted = serve::wanted_after(o, failed, current, declared);
            if let Some(taken) = adopt::in_the_way(o, declared, &wanted, Answered::Now) {
                return taken;
            }
            still(failed, attempt::roll_out(o, declared, current, &wanted, gate))
        }
        // It does not start with the new values.
        (Some(current), Some(live))
            if current.outcome == Some(Outcome::RolloutFailed)
                && current.attempt == live.attempt
                && rotation::is_outdated(o, live) =>
        {
            let decision = still(failed, returned(o, declared, current, failed, live));
            if !decision.steps.is_empty() {
                return decision;
            }
            rotation::keep_up(o, declared, failed)
                .or_else(|| rotation::after_failure(o, declared, failed))
                .unwrap_or(decision)
        }
        _ => self::failed(o, declared, failed),
    }
}

/// What is told of what serves, and of what is declared.
fn still(failed: &Revision, decision: Decision) -> Decision {
    let message = hint::last(&decision.report.message, |said| {
        format!("{said}; {} failed, and git still declares it", failed.version)
    });
    let phase = decision.report.phase.clone();
    decision.saying(phase, message)
}

/// The attempt that git declares has failed; the last Live revision runs, unless it shall be held.
pub(super) fn failed(o: &Observed, declared: &Declared, current: &Revision) -> Decision {
    let of_values = o
        .live
        .as_ref()
        .is_some_and(|live| live.attempt == current.attempt);
    if of_values && let Some(decision) = rotation::after_failure(o, declared, current) {
        return decision;
    }
    let decision = gone_back(o, declared, current);
    if !decision.steps.is_empty() {
        return decision;
    }
    // What serves first: the other one may fail again, and takes its time to.
    rotation::keep_up(o, declared, current)
        .or_else(|| rotation::after_failure(o, declared, current))
        .unwrap_or_else(|| rotation::soon_anew(o, declared, current, decision))
}

/// What runs in place of a failed attempt.
fn gone_back(o: &Observed, declared: &Declared, current: &Revision) -> Decision {
    let back = o
        .live
        .as_ref()
        .filter(|_| declared.on_failure == OnFailure::Rollback);
    if let Some(live) = back
        && let Some(barrier) = schema::bars(o, live)
    {
        let message = schema::held(current, live, &barrier);
        return attempt::hold(o, declared, current).saying(Phase::Failed("RollingOut"), message);
    }
    let Some(live) = back else {
        let earlier = if o.live.is_none() {
            ", no earlier version"
        } else {
            "; held as onFailure says"
        };
        let message = hint::last(&current.message, |why| {
            format!("{}{earlier}: {why}; git still declares it", current.version)
        });
        let phase = Phase::Failed("RollingOut");
        return attempt::hold(o, declared, current).saying(phase, message);
    };
    returned(o, declared, current, current, live)
}

/// The last Live revision runs in place of `current`. `declared_as` is the revision of what is declared: what exposes it has
/// changed where it differs from that.
fn returned(
    o: &Observed,
    declared: &Declared,
    current: &Revision,
    declared_as: &Revision,
    live: &Revision,
) -> Decision {
    let Some(gate) = migration::booked(live, o.ledger.as_ref()) else {
        return rebuild::from_live(o, live);
    };
    let wanted = serve::wanted_after(o, declared_as, live, declared);
    if let Some(taken) = adopt::in_the_way(o, declared, &wanted, Answered::Now) {
        return taken;
    }
    let mut steps: Vec<Step> = serve::keep_exposure(live, &wanted).into_iter().collect();
    if !o.exposure.is_empty() {
        // After that of the live one: it is by this that the change is still seen where this pass ends here.
        steps.extend(serve::keep_exposure(declared_as, &o.exposure));
    }
    steps.extend(serve::gated(gate, serve::differing(o, &wanted)));
    let sentence = rotation::held(current, live).unwrap_or_else(|| {
        hint::last(&current.message, |why| {
            format!(
                "{} failed ({why}) and was rolled back: {} runs; git still declares {}",
                current.version, live.version, current.version
            )
        })
    });
    let mut decision = Decision {
        steps,
        report: report(o, Phase::RolledBack, sentence),
        wait: Wait::ForChange,
    };
    if !decision.steps.is_empty() {
        decision.report.stage = Stage::RollingBack(live.number);
        decision.wait = Wait::Again;
        return decision;
    }
    let progress = rollout::standing(&serve::deployments(o, &wanted), &o.pods, live.number);
    match serve::as_far_as_let(o, &wanted, progress) {
        Progress::Complete => {
            decision.steps = attempt::tidy(o, declared, live, &wanted);
            if !decision.steps.is_empty() {
                decision.wait = Wait::Again;
            }
            decision
        }
        Progress::Moving(how) | Progress::Broken(how) => {
            let stage = Stage::RollingBack(live.number);
            decision.report.stage = stage;
            let sentence = &decision.report.message;
            if attempt::elapsed(o, stage) > declared.rollout.deadline.to_std() {
                let message = hint::last(sentence, |said| {
                    format!("{said}; but {} does not come back either: {how}", live.version)
                });
                return decision.clone().saying(Phase::Failed("RollingBack"), message);
            }
            let message = hint::last(sentence, |said| format!("{said}; on the way: {how}"));
            decision.saying(Phase::RolledBack, message).after(POLL)
        }
    }
}

/// The ledger's entry of a revision's migration, for the revision's own record.
pub(super) fn booked_entry(o: &Observed, revision: &Revision) -> Option<Box<(MigrationKey, Entry)>> {
    let key = &revision.migration.as_ref()?.key;
    Some(Box::new((
        key.clone(),
        o.ledger.as_ref()?.ledger.get(key)?.clone(),
    )))
}
