//! Secrets that change while a release runs: which change is one, and what it does.
//!
//! Kubernetes hands such values to a container when it starts and never again. So a value that
//! changed is a new revision of the same attempt: rolled out, verified and gone back from like any other, and without
//! a migration, since its key does not depend on passwords.

use std::{collections::BTreeSet, time::Duration};

use super::{
    attempt, decide,
    decision::{AsFound, Decision, Draft, Phase, Step, Wait},
    hint, migration,
    observed::{Declaration, Fingerprints, Observed, Revision},
    restore, serve,
};
use crate::{
    api::{release::OnSecretChange, revision::Outcome},
    names::RevisionNumber,
    render::renumbered,
    spec::Declared,
};

/// How long values must have been the same before pods are rolled: a rotation writes several keys one after the other.
const DEBOUNCE: Duration = Duration::from_secs(30);

/// How the values that pods of a revision were started with compare to those that are there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Every value that both know is the same.
    Same,
    /// These references have other values; `Secret app-db/url`.
    Changed(BTreeSet<String>),
    /// Nobody can say: nothing was recorded, or it was recorded under a key that is lost.
    Incomparable,
}

/// Compares what a revision recorded with what is there.
#[must_use]
pub fn change(revision: &Revision, now: &Fingerprints) -> Change {
    let Some(before) = revision.fingerprints.as_ref().filter(|f| f.key_id == now.key_id) else {
        return Change::Incomparable;
    };
    let changed: BTreeSet<String> = before
        .values
        .iter()
        .filter(|(reference, value)| now.values.get(*reference).is_some_and(|other| other != *value))
        .map(|(reference, _)| reference.clone())
        .collect();
    if changed.is_empty() {
        Change::Same
    } else {
        Change::Changed(changed)
    }
}

/// What a revision that is declared and was rolled out needs because of its secrets; `None` when nothing.
pub(super) fn follow(o: &Observed, declared: &Declared, revision: &Revision) -> Option<Decision> {
    let now = o.fingerprints.as_ref()?;
    match change(revision, now) {
        Change::Same => complete(o, revision, now),
        // From here on there is something to compare with; pods may have older values, which nobody can know.
        Change::Incomparable if now.values.is_empty() => None,
        Change::Incomparable => {
            let mut decision = attempt::as_live(o, revision);
            decision.steps.push(Step::Record {
                revision: revision.number,
                fingerprints: now.clone(),
            });
            decision.wait = Wait::Again;
            Some(decision)
        }
        Change::Changed(_)
            if declared.on_secret_change == OnSecretChange::Ignore || !o.missing.is_empty() =>
        {
            None
        }
        Change::Changed(references) => Some(roll(o, declared, revision, &references)),
    }
}

/// Generated values are made anew before anything else where a commit raised `rotate`: what follows from that is what
/// follows from every value that changed. Not while pods start with them, and not while the roll-out would have to wait.
pub(super) fn renew_generated(o: &Observed, declared: &Declared) -> Option<Decision> {
    let before = o.rotated?;
    if declared.rotate <= before || !o.missing.is_empty() || declared.generated().is_empty() {
        return None;
    }
    let starts = |current: &Revision| {
        current.outcome.is_none() && (decide::matches(o, declared, current) || made_beside(&current.cause))
    };
    if o.current.as_ref().is_some_and(starts) {
        return None;
    }
    let message = format!(
        "generated values are made anew, since rotate was raised to {}",
        declared.rotate
    );
    let mut decision = decide::idle(o, Phase::Preparing, message);
    decision.steps.push(Step::Generate);
    decision.wait = Wait::Again;
    Some(decision)
}

/// Records the values of references that did not resolve when the revision was made: what is not known is not followed.
fn complete(o: &Observed, revision: &Revision, now: &Fingerprints) -> Option<Decision> {
    let mut fingerprints = revision.fingerprints.clone()?;
    let known = fingerprints.values.len();
    for (reference, value) in &now.values {
        fingerprints
            .values
            .entry(reference.clone())
            .or_insert_with(|| value.clone());
    }
    if fingerprints.values.len() == known {
        return None;
    }
    let mut decision = attempt::as_live(o, revision);
    decision.steps.push(Step::Record {
        revision: revision.number,
        fingerprints,
    });
    decision.wait = Wait::Again;
    Some(decision)
}

/// What is to be done about an attempt that failed, now that its secrets are others; `None` when they are the same.
pub(super) fn after_failure(o: &Observed, declared: &Declared, failed: &Revision) -> Option<Decision> {
    let now = o.fingerprints.as_ref()?;
    let Change::Changed(references) = change(failed, now) else {
        return None;
    };
    if declared.on_secret_change == OnSecretChange::Ignore
        || !o.missing.is_empty()
        || o.fingerprints_for < DEBOUNCE
    {
        return None;
    }
    if let Some(live) = &o.live
        && live.attempt == failed.attempt
        && change(live, now) == Change::Same
    {
        // The values are again those that run.
        return Some(attempt::advance(o, declared, live));
    }
    Some(roll(o, declared, failed, &references))
}

/// Says of a failed attempt that it is tried anew in a moment, since its secrets are others; and looks again then.
pub(super) fn soon_anew(
    o: &Observed,
    declared: &Declared,
    failed: &Revision,
    decision: Decision,
) -> Decision {
    let change = o.fingerprints.as_ref().map(|now| change(failed, now));
    let Some(Change::Changed(references)) = change else {
        return decision;
    };
    if declared.on_secret_change == OnSecretChange::Ignore
        || !o.missing.is_empty()
        || o.fingerprints_for >= DEBOUNCE
    {
        return decision;
    }
    let message = format!(
        "{}; {}: it is tried anew when they have been the same for {} s",
        decision.report.message,
        cause(o, declared, &references),
        DEBOUNCE.as_secs()
    );
    let phase = decision.report.phase.clone();
    let left = DEBOUNCE.saturating_sub(o.fingerprints_for);
    decision
        .saying(phase, message)
        .after(left.max(Duration::from_secs(1)))
}

/// Whether a failed revision differs from the one that serves by its secrets alone; then the sentence about it.
pub(super) fn held(failed: &Revision, live: &Revision) -> Option<String> {
    (failed.attempt == live.attempt && failed.digest == live.digest && made(&failed.cause)).then(|| {
        hint::last(&failed.message, |why| {
            format!(
                "{} ({}) failed: {why}; the pods of {} serve on with the values that they were started with, and one that \
                 starts anew gets the new ones: put the values right",
                failed.number, failed.cause, live.number
            )
        })
    })
}

/// What is to be known where what serves was started with other values than there are now, and nothing is being done about
/// it: beside a version that failed or waits, and where changes are ignored.
pub(super) fn outdated(o: &Observed, phase: &Phase) -> Option<(&'static str, String)> {
    let Declaration::Valid(declared) = &o.declaration else {
        return None;
    };
    let (live, now) = (o.live.as_ref()?, o.fingerprints.as_ref()?);
    let Change::Changed(references) = change(live, now) else {
        return None;
    };
    let ignored = declared.on_secret_change == OnSecretChange::Ignore;
    let followed = matches!(phase, Phase::Live | Phase::RolledBack) && !ignored && o.missing.is_empty();
    let coming = o.current.as_ref().is_some_and(|current| {
        let newer = current.number != live.number && current.attempt == live.attempt;
        newer && (current.outcome.is_none() || held(current, live).is_some())
    });
    let on_its_way = matches!(
        phase,
        Phase::Resolving | Phase::Building | Phase::Preparing | Phase::Migrating
    );
    (serves(o, live) && !followed && !coming && !on_its_way).then(|| {
        let sentence = format!(
            "{} since {} ({}) was made; its pods that were started before have the old ones, and one that starts anew gets \
             the new ones{}. This stays until the next revision",
            cause(o, declared, &references),
            live.version,
            live.number,
            if ignored { ", as onSecretChange says" } else { "" },
        );
        ("ValuesOutdated", sentence)
    })
}

/// Whether a revision with this cause was made because values changed, and not because a commit did.
#[must_use]
pub fn made(cause: &str) -> bool {
    cause.starts_with(CAUSE) || made_beside(cause)
}

/// Whether it is one of what serves, made while what is declared had failed.
#[must_use]
pub fn made_beside(cause: &str) -> bool {
    cause.starts_with(BESIDE)
}

/// How the cause of such a revision begins.
const CAUSE: &str = "values changed: ";
/// The same of what serves, while what is declared had failed.
const BESIDE: &str = "values changed of what serves: ";

/// The revision that failed before what serves was given other values, by all that are kept, the newest first.
pub fn failed_before<'a>(newest_first: impl IntoIterator<Item = &'a Revision>) -> Option<&'a Revision> {
    let mut revisions = newest_first.into_iter().peekable();
    revisions.peek().filter(|newest| made_beside(&newest.cause))?;
    revisions
        .find(|revision| !made_beside(&revision.cause))
        .filter(|revision| revision.outcome == Some(Outcome::RolloutFailed))
}

/// What serves gets the values of now while what is declared has failed: its pods would lose what an old password opens.
/// `None` where it has them, or shall not be touched.
pub(super) fn keep_up(o: &Observed, declared: &Declared, failed: &Revision) -> Option<Decision> {
    let (live, now) = (o.live.as_ref()?, o.fingerprints.as_ref()?);
    let Change::Changed(references) = change(live, now) else {
        return None;
    };
    let kept = declared.on_secret_change == OnSecretChange::Ignore || !o.missing.is_empty();
    // It was tried with these values, and did not start with them.
    let tried = o.current.as_ref().is_some_and(|current| {
        let failed = current.outcome == Some(Outcome::RolloutFailed) && current.attempt == live.attempt;
        failed && change(current, now) == Change::Same
    });
    if failed.attempt == live.attempt || kept || tried || !serves(o, live) {
        return None;
    }
    migration::booked(live, o.ledger.as_ref())?;
    let why = cause(o, declared, &references);
    let why = why.strip_prefix(CAUSE).unwrap_or(&why);
    let message = hint::last(&failed.message, |failure| {
        format!(
            "{} failed ({failure}) and {} runs; values changed: {why}; its pods are started anew",
            failed.version, live.version
        )
    });
    let mut decision = decide::idle(o, Phase::RolledBack, message);
    if o.fingerprints_for < DEBOUNCE {
        let seconds = DEBOUNCE.as_secs();
        decision.report.message = hint::last(&decision.report.message, |said| {
            format!("{said} when they have been the same for {seconds} s")
        });
        let left = DEBOUNCE.checked_sub(o.fingerprints_for).unwrap_or_default();
        return Some(decision.after(left.max(Duration::from_secs(1))));
    }
    let number = restore::next_number(o);
    let mut fingerprints = live.fingerprints.clone().unwrap_or_default();
    for (reference, value) in &mut fingerprints.values {
        if let Some(now) = now.values.get(reference) {
            value.clone_from(now);
        }
    }
    let pods = live
        .objects
        .iter()
        .find_map(|object| object.value.pointer("/spec/template/spec"));
    decision.steps.push(Step::KeepUp(Box::new(AsFound {
        number,
        attempt: live.attempt.clone(),
        version: live.version.clone(),
        // As much as a revision holds.
        cause: format!("{BESIDE}{why}").chars().take(500).collect(),
        commit: None,
        reference: live.reference.clone(),
        repin: live.repin,
        digest: live.digest.clone(),
        platforms: pods.map(restore::platforms).unwrap_or_default(),
        migration: live.migration.clone(),
        objects: live
            .objects
            .iter()
            .map(|object| renumbered(object, number))
            .collect(),
        fingerprints: Some(fingerprints),
    })));
    decision.wait = Wait::Again;
    Some(decision)
}

/// Whether a revision was started with other values than there are now.
pub(super) fn is_outdated(o: &Observed, revision: &Revision) -> bool {
    let now = o.fingerprints.as_ref();
    now.is_some_and(|now| matches!(change(revision, now), Change::Changed(_)))
}

/// Whether every Deployment is of this revision.
fn serves(o: &Observed, revision: &Revision) -> bool {
    let running = serve::running_revisions(o);
    running.values().all(|number| *number == revision.number.0)
}

fn roll(o: &Observed, declared: &Declared, revision: &Revision, references: &BTreeSet<String>) -> Decision {
    let cause = cause(o, declared, references);
    let mut decision = attempt::as_live(o, revision);
    if o.fingerprints_for < DEBOUNCE {
        let left = DEBOUNCE.checked_sub(o.fingerprints_for).unwrap_or_default();
        decision.report.message = format!(
            "{}; {cause}; pods are rolled when they have been the same for {} s",
            decision.report.message,
            DEBOUNCE.as_secs()
        );
        decision.wait = Wait::After(left.max(Duration::from_secs(1)));
        return decision;
    }
    let number = o.highest.map_or(RevisionNumber(1), RevisionNumber::next);
    decision.steps.push(Step::CreateRevision(Box::new(Draft {
        number,
        cause: Some(cause),
        digest: revision.digest.clone(),
        obtained: format!("revision {}", revision.number),
        record: o
            .pin
            .as_ref()
            .filter(|pin| pin.digest == revision.digest)
            .map(|pin| pin.record.clone())
            .unwrap_or_default(),
        migration: revision.migration.clone(),
    })));
    decision.wait = Wait::Again;
    decision
}

/// `values changed: DATABASE_URL (Secret app-db/url)`; names, never a value.
fn cause(o: &Observed, declared: &Declared, references: &BTreeSet<String>) -> String {
    let known = declared.process_keys(&o.id.name.generated());
    let words: Vec<String> = references
        .iter()
        .map(|reference| {
            let mut names = known.get(reference).cloned().unwrap_or_default();
            names.extend(declared.env_from.iter().filter_map(|source| {
                let key = reference.strip_prefix(&format!("{} {}/", source.holder, source.name))?;
                // The name of the whole says it by itself.
                (key != "*").then(|| format!("{}{key}", source.prefix))
            }));
            if names.is_empty() {
                reference.clone()
            } else {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                format!("{} ({reference})", names.join(", "))
            }
        })
        .collect();
    let text = format!("{CAUSE}{}", words.join(", "));
    if text.chars().count() > 500 {
        text.chars().take(497).collect::<String>() + "…"
    } else {
        text
    }
}

#[cfg(test)]
mod tests;
