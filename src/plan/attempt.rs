//! One revision on its way: prepare → migrate → roll out → verify → Live; and what keeps a Live one as it is.

use std::{collections::BTreeSet, time::Duration};

use super::{
    adopt::{self, Answered},
    back::booked_entry,
    decide::{POLL, facts, idle, key_now, waiting_for_missing},
    decision::{Decision, MigrationStep, Phase, Stage, Step, Wait},
    hint, history,
    keep::{steady, steady_after_failure},
    ledger::Entry,
    migration::{self, Migrated, Next},
    observed::{Observed, Revision},
    rebuild,
    rollout::{self, Progress},
    rotation, schema, serve,
};
use crate::{
    api::revision::Outcome,
    names::RevisionNumber,
    render::{Kind, Object},
    spec::Declared,
};

/// The next steps of a revision that is declared and has not failed.
pub(super) fn advance(o: &Observed, declared: &Declared, revision: &Revision) -> Decision {
    let wanted = serve::wanted(o, revision, Some(declared));
    let now = key_now(o, declared, &revision.digest);
    let facts = facts(o, declared, Some(revision), now.as_ref(), false);
    // A migration that was let run is watched and booked, whatever is missing by now: its evidence does not wait.
    let begun = !revision.was_live && migration::has_begun(&facts);
    let answered = if revision.was_live {
        Answered::Now
    } else {
        Answered::Later
    };
    // Again, since a migration of another revision may have ended after this one was made.
    if !begun && let Some(barrier) = schema::bars(o, revision) {
        return schema::refused(o, declared, &barrier, steady(o, Some(declared)));
    }
    if !begun && let Some(decision) = adopt::in_the_way(o, declared, &wanted, answered) {
        return decision;
    }
    if revision.was_live {
        match migration::booked(revision, o.ledger.as_ref()) {
            Some(gate) => return settled(o, declared, revision, &wanted, gate),
            // An older ledger was put back, perhaps with an older database: a commit can settle it.
            None if rebuild::is_open(o, revision) => {}
            None => return rebuild::from_live(o, revision),
        }
    }
    let applied = serve::running_revisions(o)
        .values()
        .any(|number| *number == revision.number.0);
    if !applied
        && !begun
        && let Some(decision) = prepare(o, declared, revision, &wanted)
    {
        return decision;
    }
    match migration::gate(&facts, revision) {
        Next::Open(gate) => roll_out(o, declared, revision, &wanted, gate),
        Next::Step(step) => {
            let message = format!(
                "the database is being migrated for {} ({})",
                revision.version, revision.number
            );
            let mut decision = idle(o, Phase::Migrating, message);
            decision.steps.push(Step::Migrate(step));
            decision.wait = Wait::Again;
            decision
        }
        Next::Wait { reason, message } => steady(o, Some(declared))
            .saying(waiting(reason), message)
            .after(POLL),
        Next::Failed { entry, message } => not_migrated(o, declared, revision, entry.as_deref(), message),
    }
}

/// The phase of a migration that waits: it is under way, or something from outside is missing.
pub(super) fn waiting(reason: &str) -> Phase {
    match reason {
        "Running" | "Starting" | "Suspending" | "JobDeleting" => Phase::Migrating,
        reason => Phase::Waiting(reason.to_owned()),
    }
}

/// Identity, references and generated values; `None` when all is there.
fn prepare(o: &Observed, declared: &Declared, revision: &Revision, wanted: &[Object]) -> Option<Decision> {
    if !o.missing.is_empty() {
        return Some(waiting_for_missing(o, steady(o, Some(declared))));
    }
    let message = format!("{} ({}) is being prepared", revision.version, revision.number);
    let mut decision = idle(o, Phase::Preparing, message);
    if !o.ungenerated.is_empty() {
        decision.steps.push(Step::Generate);
    }
    // Only what is absent: until the gate opens the account is that of the revision that serves, and putting either
    // of them right would have the other one put wrong, for ever.
    let accounts: Vec<Object> = wanted
        .iter()
        .filter(|object| object.key.kind == Kind::ServiceAccount && !o.objects.contains_key(&object.key))
        .cloned()
        .collect();
    let objects = serve::differing(o, &accounts);
    if !objects.is_empty() {
        decision.steps.push(Step::Prepare { objects });
    }
    decision.wait = Wait::Again;
    (!decision.steps.is_empty()).then_some(decision)
}

fn not_migrated(
    o: &Observed,
    declared: &Declared,
    revision: &Revision,
    entry: Option<&Entry>,
    message: String,
) -> Decision {
    if let Some(live) = o.live.as_ref().filter(|live| rebuild::forgotten(o, live)) {
        // What serves must be kept as it is meanwhile.
        return rebuild::from_live(o, live);
    }
    let tail = entry
        .and_then(|entry| o.job_pods.iter().find(|pod| pod.job == entry.uid))
        .map_or_else(String::new, |pod| pod.tail.clone());
    let sentence = match &o.live {
        Some(live) => hint::last(&message, |said| format!("{said}; {} keeps serving", live.version)),
        None => message.clone(),
    };
    let mut decision = steady_after_failure(o, declared).saying(Phase::Failed("Migrating"), sentence);
    if revision.outcome.is_none() {
        decision.steps.push(Step::Conclude {
            revision: revision.number,
            outcome: Outcome::MigrationFailed,
            message,
            migration: booked_entry(o, revision),
            tail,
        });
        decision.wait = Wait::Again;
    } else {
        decision.steps.extend(leftovers(o, declared, revision));
    }
    decision
}

pub(super) fn roll_out(
    o: &Observed,
    declared: &Declared,
    revision: &Revision,
    wanted: &[Object],
    gate: Migrated,
) -> Decision {
    let stage = Stage::RollingOut(revision.number);
    let message = format!("{} ({}) is being rolled out", revision.version, revision.number);
    let mut decision = idle(o, Phase::RollingOut, message);
    decision.report.stage = stage;
    let (first, taken_over) = adopt::put_off(o, wanted);
    let objects = serve::differing(o, &first);
    if let Some(step) = serve::gated(gate, objects) {
        decision.steps.push(step);
        decision.steps.extend(leftovers(o, declared, revision));
        decision.wait = Wait::Again;
        return decision;
    }
    let fail = |why: String| {
        let mut decision = idle(
            o,
            Phase::Failed("RollingOut"),
            format!("{} failed: {why}", revision.version),
        );
        decision.steps.push(Step::Conclude {
            revision: revision.number,
            outcome: Outcome::RolloutFailed,
            message: why,
            migration: booked_entry(o, revision),
            tail: String::new(),
        });
        decision.wait = Wait::Again;
        decision
    };
    // From when it was first complete: before that a database may be a moment late.
    let before = o.restarts_before.filter(|(number, _)| *number == revision.number);
    let restarts = before.map_or(0, |(_, before)| {
        rollout::restarts(&o.pods, revision.number).saturating_sub(before)
    });
    if restarts > declared.verify_max_restarts {
        let why = format!(
            "{restarts} restarts while it was verified, {} allowed",
            declared.verify_max_restarts
        );
        return fail(hint::with(&why, rollout::hint(&o.pods, revision.number)));
    }
    let progress = rollout::judge(&serve::deployments(o, wanted), &o.pods, revision.number);
    match serve::as_far_as_let(o, wanted, progress) {
        Progress::Broken(why) => fail(why),
        Progress::Moving(how) => {
            let deadline = declared.rollout.deadline.to_std();
            if rolling_for(o, revision) > deadline {
                return fail(format!(
                    "not complete within {}: {how}",
                    declared.rollout.deadline
                ));
            }
            decision.report.message = format!("{}: {how}", decision.report.message);
            decision.after(POLL)
        }
        Progress::Complete if !taken_over.is_empty() => {
            decision.steps = taken_over;
            decision.wait = Wait::Again;
            decision
        }
        Progress::Complete => {
            let stage = Stage::Verifying(revision.number);
            let window = declared.verify_window.to_std();
            let passed = elapsed(o, stage);
            decision.report.stage = stage;
            if passed >= window {
                decision.steps.push(Step::Conclude {
                    revision: revision.number,
                    outcome: Outcome::Live,
                    message: format!("{} is live", revision.version),
                    migration: booked_entry(o, revision),
                    tail: String::new(),
                });
                decision.wait = Wait::Again;
                return decision;
            }
            let message = format!(
                "{} ({}) runs and is watched for {}",
                revision.version, revision.number, declared.verify_window
            );
            decision
                .saying(Phase::Verifying, message)
                .after(window.saturating_sub(passed))
        }
    }
}

/// A revision that was verified: put back what others changed, clear away what is left over.
fn settled(
    o: &Observed,
    declared: &Declared,
    revision: &Revision,
    wanted: &[Object],
    gate: Migrated,
) -> Decision {
    let objects = serve::differing(o, wanted);
    let mut decision = as_live(o, revision);
    // Before it is applied: what is applied and not kept would be undone by the next rollback.
    decision.steps.extend(serve::keep_exposure(revision, wanted));
    if o.seen_before {
        decision.report.repairs = objects.len();
    }
    decision.steps.extend(serve::gated(gate, objects));
    if !decision.steps.is_empty() {
        decision.wait = Wait::Again;
        return decision;
    }
    if let Some(decision) = rotation::follow(o, declared, revision) {
        return decision;
    }
    let progress = rollout::standing(&serve::deployments(o, wanted), &o.pods, revision.number);
    match serve::as_far_as_let(o, wanted, progress) {
        Progress::Complete => {
            decision.steps = tidy(o, declared, revision, wanted);
            decision.steps.extend(adopt::used_up(o, declared));
        }
        Progress::Moving(how) | Progress::Broken(how) => {
            // What git no longer exposes goes at once, however the pods are.
            let unwanted = serve::unwanted(o, wanted).into_iter();
            let exposing = unwanted.filter(|(key, _)| key.kind.exposes());
            decision
                .steps
                .extend(exposing.map(|(key, uid)| Step::Delete { key, uid }));
            decision.report.message = format!("{}; {how}", decision.report.message);
            decision.report.details.push(("Degraded", how));
        }
    }
    if !decision.steps.is_empty() {
        decision.wait = Wait::Again;
    }
    decision
}

/// The report on a revision that was verified.
pub(super) fn as_live(o: &Observed, revision: &Revision) -> Decision {
    let mut decision = idle(
        o,
        Phase::Live,
        format!("{} is live ({})", revision.version, revision.number),
    );
    decision.report.live = Some(revision.number);
    decision.report.live_version = Some(revision.version.clone());
    decision
}

/// A failed attempt without a way back: its objects stay, and are kept as they are.
pub(super) fn hold(o: &Observed, declared: &Declared, revision: &Revision) -> Decision {
    let mut decision = idle(o, Phase::Failed("RollingOut"), String::new());
    if let Some(gate) = migration::booked(revision, o.ledger.as_ref()) {
        let wanted = serve::wanted(o, revision, Some(declared));
        if let Some(taken) = adopt::in_the_way(o, declared, &wanted, Answered::Now) {
            return taken;
        }
        decision.steps.extend(serve::keep_exposure(revision, &wanted));
        decision
            .steps
            .extend(serve::gated(gate, serve::differing(o, &wanted)));
    }
    if !decision.steps.is_empty() {
        decision.wait = Wait::Again;
    }
    decision
}

/// What is cleared away when all is well: objects that nobody wants, leftovers of migrations, old records.
pub(super) fn tidy(o: &Observed, declared: &Declared, serving: &Revision, wanted: &[Object]) -> Vec<Step> {
    let mut steps: Vec<Step> = serve::unwanted(o, wanted)
        .into_iter()
        .map(|(key, uid)| Step::Delete { key, uid })
        .collect();
    steps.extend(leftovers(o, declared, serving));
    let jobs = history::finished_jobs(&o.jobs, o.ledger.as_ref(), declared.retain_failed_jobs);
    steps.extend(jobs.into_iter().map(Step::Migrate));
    if let Some(seen) = &o.ledger
        && let Some(data) = seen.ledger.compaction()
    {
        let over = seen.resource_version.clone();
        steps.push(Step::Migrate(MigrationStep::Compact { data, over }));
    }
    let current = o.current.as_ref().map(|revision| revision.number);
    let live = o.live.as_ref().map(|revision| revision.number);
    let retained: Vec<RevisionNumber> = o.retained.keys().copied().collect();
    let failed = o.failed.as_ref().map(|revision| revision.number);
    let mut always: BTreeSet<RevisionNumber> = [current, live, failed].into_iter().flatten().collect();
    always.extend(schema::witnesses(o));
    let old = history::forgettable(&retained, declared.retain_revisions, &always);
    steps.extend(old.into_iter().filter_map(|number| {
        let uid = o.retained.get(&number)?.clone();
        Some(Step::Forget { number, uid })
    }));
    steps
}

fn leftovers(o: &Observed, declared: &Declared, revision: &Revision) -> Vec<Step> {
    migration::leftovers(&facts(o, declared, Some(revision), None, false))
        .into_iter()
        .map(Step::Migrate)
        .collect()
}

/// How long a revision has been on its way, whatever became of it in between.
fn rolling_for(o: &Observed, revision: &Revision) -> Duration {
    match o.rolling {
        Some((number, time)) if number == revision.number => time,
        _ => Duration::ZERO,
    }
}

/// How long the release has been in this stage.
pub(super) fn elapsed(o: &Observed, stage: Stage) -> Duration {
    match o.stage {
        Some((seen, time)) if seen == stage => time,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
