//! From what was observed to what to do: which attempt is meant, and which revision serves meanwhile.

use std::time::Duration;

use super::{
    attempt,
    back::{back_to, beside, failed},
    baked, build,
    decision::{Decision, MigrationStep, Phase, Report, Stage, Step, Wait},
    keep::{paused, steady, under_way},
    ladder,
    ledger::{KeyParts, MigrationKey},
    migration::{self, Facts, Next},
    observed::{DatabaseSeen, Declaration, NamespaceSeen, Observed, Revision},
    rebuild,
    renew::{lock_name, renew, wait_for_running},
    restore, rotation, schema,
};
use crate::{
    api::revision::Outcome,
    names::Digest,
    spec::{Declared, declared::Suspension},
};

/// How long until a registry or a lock is asked again.
pub const POLL: Duration = Duration::from_secs(10);

/// How long until an operator is asked again why a Secret is not there.
const OPERATORS: Duration = Duration::from_secs(60);

/// Decides one pass. Total: every snapshot has an answer.
#[must_use]
pub fn decide(o: &Observed) -> Decision {
    match o.namespace {
        NamespaceSeen::Present => {}
        NamespaceSeen::Missing => {
            return idle(
                o,
                Phase::Waiting("NamespaceMissing".into()),
                format!("namespace {} does not exist", o.id.namespace),
            );
        }
        NamespaceSeen::Terminating => {
            let message = format!("namespace {} is being deleted", o.id.namespace);
            return idle(o, Phase::Waiting("NamespaceTerminating".into()), message);
        }
    }
    let mut decision = match &o.declaration {
        Declaration::Valid(declared) => valid(o, declared),
        Declaration::NoVersion if o.highest.is_none() => {
            idle(o, Phase::NotDeployed, "no version is declared, so nothing is deployed here".into())
        }
        Declaration::NoVersion => undeclared(
            o,
            Phase::Waiting("VersionRemoved".into()),
            "the spec no longer gives a version; what runs is kept. To remove the release, remove its file".into(),
        ),
        Declaration::Invalid(problems) => {
            let more = if problems.len() > 1 { format!(" (and {} more)", problems.len() - 1) } else { String::new() };
            let first = problems.first().map_or("the spec cannot be used", String::as_str);
            undeclared(o, Phase::Rejected, format!("the declared spec is refused: {first}{more}"))
        }
        Declaration::SourceGone(source) => undeclared(
            o,
            Phase::Waiting("SourceGone".into()),
            format!(
                "somebody changed this object, and ReleaseSource {source}, which would put it back, is gone; what runs is \
                 kept. Another ReleaseSource that declares it takes it over; without the label slipway.dev/source it is \
                 followed as it is"
            ),
        ),
        // Nothing is put back: it would come between the steps of the removal.
        Declaration::Removing => removing(o),
        Declaration::Edited => undeclared(
            o,
            Phase::Waiting("Drifted".into()),
            "somebody changed this object; it waits for its source to put it back, and nothing is done about it".into(),
        ),
    };
    if decision.migration_steps().next().is_none() {
        let spent = migration::spent(&undeclared_facts(o, false));
        if !spent.is_empty() {
            decision.steps.extend(spent.into_iter().map(Step::Migrate));
            decision.wait = Wait::Again;
        }
    }
    let left = build::left(o);
    if left.is_empty() {
        decision.steps.extend(build::booked(o));
    } else {
        decision.steps.extend(left);
        decision.wait = Wait::Again;
    }
    let ahead = schema::ahead(o, &decision.report.phase);
    decision.report.details.extend(ahead);
    if !o.missing.is_empty() && decision.report.phase != Phase::Waiting("SecretMissing".into()) {
        let sentence = format!(
            "{} does not exist; what runs keeps what it was started with, and a pod that starts anew waits for it",
            o.missing.join(" and ")
        );
        decision.report.details.push(("SecretsMissing", sentence));
    }
    decision
        .report
        .details
        .extend(rotation::outdated(o, &decision.report.phase));
    decision.report.details.extend(baked::told(o));
    decision.report.details.extend(ladder::told(o));
    decision.report.details.extend(build::told(o));
    if let Some(digest) = &o.tag_moved {
        let sentence = format!("the tag now has the digest {digest}; what runs stays as it was resolved");
        decision.report.details.push(("TagMoved", sentence));
    }
    decision
}

/// Nothing that could be used is declared: what runs is kept, and a migration that was let run is watched and booked, since
/// its evidence does not wait. One that was not let run waits with all else, and gives back the lock.
fn undeclared(o: &Observed, phase: Phase, message: String) -> Decision {
    let kept = steady(o, None);
    let facts = undeclared_facts(o, false);
    let next = if migration::has_begun(&facts) {
        migration::unfinished(&facts)
    } else if migration::has_lock(&facts) {
        // Others would wait for what nobody lets run.
        migration::unfinished(&undeclared_facts(o, true))
    } else {
        None
    };
    running(kept.saying(phase, message), "meanwhile", next)
}

/// Git removed it. Only a migration that has the claim is brought to its end, which the removal waits for.
fn removing(o: &Observed) -> Decision {
    let message = "git removed it: exposure goes first, then what runs, then this object";
    let decision = idle(o, Phase::Waiting("Removing".into()), message.into());
    let mut facts = undeclared_facts(o, true);
    if o.database == DatabaseSeen::Unreadable {
        // It may have gone with the release, and the removal would wait for it for ever.
        facts.database.0 = &DatabaseSeen::NotNeeded;
    }
    running(decision, "before that", migration::unfinished(&facts))
}

/// The same with the next move of a migration that has the claim, told beside what else is to be told.
fn running(mut decision: Decision, when: &str, next: Option<Next>) -> Decision {
    match next {
        Some(Next::Step(step)) => {
            decision.steps.push(Step::Migrate(step));
            decision.wait = Wait::Again;
            decision
        }
        Some(Next::Wait { message: why, .. }) => {
            let phase = decision.report.phase.clone();
            let message = format!("{}; {when}: {why}", decision.report.message);
            decision.saying(phase, message).after(POLL)
        }
        Some(Next::Open(_) | Next::Failed { .. }) | None => decision,
    }
}

fn valid(o: &Observed, declared: &Declared) -> Decision {
    if rebuild::is_due(o) {
        // Before anything rests on it: a key that is on record must not run again for want of a ledger.
        return rebuild::from_revisions(o);
    }
    if let Some(decision) = restore::records(o, declared) {
        return decision;
    }
    if let Some(suspension) = &declared.suspend
        && suspension.until.is_none_or(|until| o.now < until)
    {
        return suspended(o, declared, suspension);
    }
    if left_over(o)
        && let Some(decision) = wait_for_running(o, declared)
    {
        return decision;
    }
    if let Some(decision) = rotation::renew_generated(o, declared) {
        return decision;
    }
    let matches = |revision: &Revision| matches(o, declared, revision);
    if let Some(failed) = o.failed.as_ref().filter(|failed| matches(failed)) {
        return beside(o, declared, failed);
    }
    match (&o.current, &o.live) {
        (Some(current), _) if matches(current) && current.outcome != Some(Outcome::Superseded) => {
            if let Some(decision) = schema::follow(o, declared, current) {
                decision
            } else if current.outcome == Some(Outcome::RolloutFailed) {
                failed(o, declared, current)
            } else {
                attempt::advance(o, declared, current)
            }
        }
        (current, Some(live)) if matches(live) => back_to(o, declared, current.as_ref(), live),
        _ => renew(o, declared),
    }
}

/// Whether a migration has the claim that is not of the current revision: somebody deleted its own.
fn left_over(o: &Observed) -> bool {
    let claimed = o.ledger.as_ref().and_then(|seen| seen.ledger.claimed());
    claimed.is_some_and(|(key, _)| own(o.current.as_ref()) != Some(key))
}

/// A commit asked for a pause: what runs is kept as it is, and only a migration that has begun comes to its end.
fn suspended(o: &Observed, declared: &Declared, suspension: &Suspension) -> Decision {
    if let Some(decision) = wait_for_running(o, declared) {
        return decision;
    }
    let until = suspension.until.map_or_else(
        || "a commit removes `suspend`".to_owned(),
        |until| until.to_string(),
    );
    let runs = o
        .live
        .as_ref()
        .map_or_else(String::new, |live| format!("; {} runs", live.version));
    let message = format!("suspended until {until}: {}{runs}", suspension.reason);
    let decision = under_way(o, declared)
        .unwrap_or_else(|| paused(o, declared))
        .saying(Phase::Suspended, message);
    match suspension.until {
        None => decision,
        Some(until) => {
            let left = Duration::try_from(until.duration_since(o.now)).unwrap_or_default();
            decision.after(left.clamp(Duration::from_secs(1), Duration::from_secs(600)))
        }
    }
}

/// Whether a revision is the attempt that is declared now.
pub(super) fn matches(o: &Observed, declared: &Declared, revision: &Revision) -> bool {
    revision.attempt == declared.attempt_hash
        && match (key_now(o, declared, &revision.digest), &revision.migration) {
            (Some(key), Some(migration)) => key == migration.key,
            (None, _) => true,
            (Some(_), None) => false,
        }
}

/// The migration key of an image as it would be made now; `None` without a migration or while its database
/// cannot be read.
pub(super) fn key_now(o: &Observed, declared: &Declared, digest: &Digest) -> Option<MigrationKey> {
    let migrate = declared.migrate.as_ref()?;
    let database = match &o.database {
        DatabaseSeen::Known(identity) => identity.as_str(),
        DatabaseSeen::Unnamed => "",
        DatabaseSeen::NotNeeded | DatabaseSeen::Unreadable => return None,
    };
    Some(MigrationKey::of(&KeyParts {
        release: &o.id,
        digest,
        command: migrate.command.as_deref(),
        args: migrate.args.as_deref(),
        database,
        rerun: migrate.rerun,
    }))
}

/// The facts for the gate of a revision, or about what is under way although no revision is left.
pub(super) fn facts<'a>(
    o: &'a Observed,
    declared: &'a Declared,
    revision: Option<&'a Revision>,
    key_now: Option<&'a MigrationKey>,
    superseded: bool,
) -> Facts<'a> {
    Facts {
        release: &o.id.name,
        own: own(revision),
        attempt: declared.attempt,
        accept: declared
            .migrate
            .as_ref()
            .and_then(|migrate| migrate.accept.as_deref()),
        compatible: (
            declared.migrate.as_ref().and_then(|migrate| migrate.compatible),
            declared.version.as_str(),
        ),
        // Of a newer commit's Job there is nothing to compare.
        given: o.given.as_deref().filter(|_| !superseded),
        key_now: if superseded { None } else { key_now },
        database: (&o.database, lock_name(o)),
        timeout: declared
            .migrate
            .as_ref()
            .map_or(Duration::from_secs(1800), |migrate| migrate.timeout.to_std()),
        retries: declared.migrate.as_ref().map_or(0, |migrate| migrate.retries),
        proof: declared
            .migrate
            .as_ref()
            .and_then(|migrate| migrate.proof.as_deref()),
        ledger: o.ledger.as_ref(),
        history_lost: o.ledger.is_none() && rebuild::had_ledger(o),
        jobs: &o.jobs,
        pods: &o.job_pods,
        lock: (&o.lock.0, &o.lock.1),
        now: o.now,
        superseded,
    }
}

fn own(revision: Option<&Revision>) -> Option<&MigrationKey> {
    Some(&revision?.migration.as_ref()?.key)
}

/// The facts about a migration of a release that declares nothing that could be used, any more or for now.
fn undeclared_facts(o: &Observed, superseded: bool) -> Facts<'_> {
    Facts {
        release: &o.id.name,
        own: own(o.current.as_ref()),
        attempt: 0,
        accept: None,
        compatible: (None, ""),
        given: None,
        key_now: None,
        // That of the Job itself.
        database: (&o.database, lock_name(o)),
        // Of entries that do not say their own.
        timeout: Duration::from_secs(1800),
        retries: 0,
        proof: None,
        ledger: o.ledger.as_ref(),
        history_lost: false,
        jobs: &o.jobs,
        pods: &o.job_pods,
        lock: (&o.lock.0, &o.lock.1),
        now: o.now,
        superseded,
    }
}

/// What is missing is waited for, and what its operator says of it is repeated.
pub(super) fn waiting_for_missing(o: &Observed, decision: Decision) -> Decision {
    let mut words = vec![format!("{} does not exist", o.missing.join(" and "))];
    words.extend(o.operators.iter().cloned());
    words.push("it goes on by itself when it does".into());
    let decision = decision.saying(Phase::Waiting("SecretMissing".into()), words.join("; "));
    if o.operators.is_empty() {
        return decision;
    }
    // Nobody tells when the words of an operator change.
    decision.after(OPERATORS)
}

pub(super) fn idle(o: &Observed, phase: Phase, message: String) -> Decision {
    Decision {
        steps: Vec::new(),
        report: report(o, phase, message),
        wait: Wait::ForChange,
    }
}

pub(super) fn report(o: &Observed, phase: Phase, message: String) -> Report {
    Report {
        phase,
        message,
        stage: Stage::Idle,
        current: o.current.as_ref().map(|revision| revision.number),
        live: o.live.as_ref().map(|revision| revision.number),
        live_version: o.live.as_ref().map(|revision| revision.version.clone()),
        declared_version: match &o.declaration {
            Declaration::Valid(declared) => Some(declared.version.to_string()),
            _ => None,
        },
        repairs: 0,
        variables: o.variables.clone(),
        details: Vec::new(),
    }
}

impl Decision {
    /// The same acts under another sentence.
    pub(super) fn saying(mut self, phase: Phase, message: String) -> Self {
        self.report.phase = phase;
        self.report.message = message;
        self
    }

    /// Looks again after this time, unless it looks at once.
    pub(super) fn after(mut self, time: Duration) -> Self {
        if self.wait != Wait::Again {
            self.wait = Wait::After(time);
        }
        self
    }

    /// Whether the pass only looks.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.steps.is_empty() && self.wait == Wait::ForChange
    }

    /// The moves of the migration among the steps.
    pub fn migration_steps(&self) -> impl Iterator<Item = &MigrationStep> {
        self.steps.iter().filter_map(|step| match step {
            Step::Migrate(step) => Some(step),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
