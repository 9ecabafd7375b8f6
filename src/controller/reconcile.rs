//! The release loop, one pass: observe (client) → decide (pure) → render (pure) → apply (client) → status (pure, one
//! write).

use std::{sync::Arc, time::Duration};

use kube::{Api, Resource as _, runtime::controller::Action};
use tokio::time::Instant;

use super::{
    act::{self, ActError},
    ask::{Asked, ask, ask_digest, ask_tag, came_meanwhile},
    ask_commit::ask_commit,
    context::{Attended, Context},
    fight::{self, Written},
    guard::{self, Stopped},
    look::look,
    releases::Meta,
    report, span,
    subject::{Subject, release_id},
};
use crate::{
    api::Release,
    cluster::{
        custom::{self, Custom},
        error::{ClusterError, Intent, backoff, heeding},
        objects::within,
    },
    names::ReleaseId,
    plan::{
        Decision, Observed, Phase, Stage, Step, Wait, decide,
        observed::{CommitSeen, Declaration},
        rollout,
    },
    spec::{declared::ImagePick, strict},
};

/// What is done once the object is read, whatever it waits for. Each request has a shorter deadline of its own.
const PASS: Duration = Duration::from_secs(240);

/// How many times one pass may look again before it lets others have their turn.
const LOOKS: usize = 24;
/// The long look at a settled release, for what a watch missed; jittered so that not all look at once.
const LONG_LOOK: Duration = Duration::from_secs(600);

/// What a pass may end with.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Something could not be read.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Something could not be done.
    #[error(transparent)]
    Act(#[from] ActError),
    /// Another process may lead now: nothing more is written.
    #[error("this process does not lead any more")]
    NotLeading,
    /// What was decided is not what is declared by now.
    #[error("the Release changed since the pass began")]
    Changed,
    /// Panic or deadline.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl ReconcileError {
    /// One static word for metrics.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Cluster(error) | Self::Act(ActError::Cluster(error)) => error.category(),
            Self::Act(ActError::Refused { .. }) => "dry_run_refused",
            Self::Act(ActError::TooLarge(_)) => "too_large",
            Self::Act(ActError::NameTaken(_)) => "name_taken",
            Self::Act(ActError::BuildSecret(_)) => "build_secret",
            Self::NotLeading => "not_leading",
            Self::Changed => "changed",
            Self::Stopped(_) => "stopped",
        }
    }

    fn intent(&self) -> Intent {
        match self {
            Self::Cluster(error) | Self::Act(ActError::Cluster(error)) => error.intent(),
            Self::Act(_) => Intent::Stall,
            Self::Changed => Intent::LookAgain,
            Self::NotLeading | Self::Stopped(_) => Intent::Retry,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Cluster(error) | Self::Act(ActError::Cluster(error)) => error.retry_after(),
            _ => None,
        }
    }

    /// The whole chain as one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Cluster(error) | Self::Act(ActError::Cluster(error)) => error.sentence(),
            other => other.to_string(),
        }
    }
}

/// One pass over a release.
pub async fn reconcile(release: Arc<Meta>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    // The cache that called may be behind; what is acted on is what the API server has now.
    let found: Result<Option<Custom<Release>>, _> =
        custom::get(&context.client, release.meta(), strict::unreadable).await;
    let read = found.as_ref().ok().and_then(Option::as_ref);
    span::commit_of(read.map_or(release.meta(), |read| read.object.meta()));
    let Some(object) = found? else {
        return Ok(Action::await_change());
    };
    let Some(mut subject) = Subject::read(object) else {
        return Ok(Action::await_change());
    };
    let id = subject.id.clone();
    context.memory.begin(&id, subject.object.metadata.uid.as_deref());
    let done = guard::bounded(PASS, Box::pin(pass(&context, &mut subject))).await;
    let error = match done.unwrap_or_else(|stopped| Err(stopped.into())) {
        Ok(action) => {
            context.memory.update(&id, |memory| memory.failures = 0);
            return Ok(action);
        }
        Err(error) => error,
    };
    let failures = context.memory.get(&id).failures;
    if let Some(phase) = said(&error, failures, context.leader.leads()) {
        report::hindered(&context, &subject, phase, error.sentence()).await;
    }
    match error.intent() {
        Intent::LookAgain => Ok(look_again(&context, &id, &error)),
        _ => Err(error),
    }
}

/// Errors in a row that are everyday: controllers, kubelets and people write at the same time, and servers restart.
const EVERYDAY: u32 = 5;

/// What the status says of an error, if anything: at once where a person must act, else when it lasts. Who leads no more
/// says nothing.
fn said(error: &ReconcileError, failures: u32, leads: bool) -> Option<Phase> {
    let lasts = failures >= EVERYDAY;
    match (error, error.intent()) {
        _ if !leads => None,
        (ReconcileError::Act(ActError::NameTaken(_)), _) => Some(Phase::Waiting("NameTaken".into())),
        (ReconcileError::Act(ActError::BuildSecret(_)), _) => Some(Phase::Waiting("BuildSecret".into())),
        (ReconcileError::Act(ActError::Cluster(error)), _) if error.is_over_quota() => {
            Some(Phase::Waiting("Quota".into()))
        }
        (ReconcileError::Act(ActError::Cluster(error)), _) if error.is_terminating() => {
            Some(Phase::Waiting("NamespaceTerminating".into()))
        }
        (_, Intent::Stall) => Some(Phase::Failed("Applying")),
        (ReconcileError::Stopped(_), _) => lasts.then(|| Phase::Waiting("Stopped".into())),
        _ => lasts.then(|| Phase::Waiting("ApiServer".into())),
    }
}

async fn pass(context: &Context, subject: &mut Subject) -> Result<Action, ReconcileError> {
    let id = subject.id.clone();
    if matches!(subject.declaration, Declaration::Edited)
        && let Some(source) = subject.gone_source(&context.sources).await?
    {
        // It would wait for its source, and there is none.
        subject.declaration = Declaration::SourceGone(source);
    }
    let mut image = Asked::nothing();
    let mut commit = CommitSeen::NotAsked;
    let mut written = Written::default();
    for round in 0..LOOKS {
        let mut observed = look(context, subject, &image, &commit).await?; // client
        if round == 0 {
            span::revision(observed.current.as_ref().map(|current| current.number));
        }
        let mut decision = decide(&observed); // no client
        let generation = subject.object.metadata.generation;
        let corrections = fight::corrections(&observed, &decision);
        let mut truce = None;
        context.memory.update(&id, |memory| {
            truce = written.truce(memory, generation, &corrections, Instant::now());
        });
        if let Some((let_be, left)) = truce {
            observed.let_be = let_be;
            decision = decide(&observed);
            fight::tell(&mut decision, &observed.let_be, left);
        }
        if decision.steps.contains(&Step::AskRegistry)
            && let Some(declared) = subject.declared()
        {
            image = ask(context, &id, declared).await?; // client
        }
        if decision.steps.contains(&Step::AskCommit)
            && let Some(declared) = subject.declared()
        {
            commit = ask_commit(context, declared).await?; // a git server
        }
        if ask_digest(context, subject, &decision, &mut image).await? {
            continue; // with what the registry said
        }
        if !decision.steps.is_empty() {
            unchanged(context, subject).await?; // client
        }
        if came_meanwhile(context, subject, &decision).await? {
            return Err(ReconcileError::Changed);
        }
        for step in &decision.steps {
            lead(context)?;
            act::act(context, subject, &observed, step).await?; // client, renders inside
        }
        remember(context, subject, &observed, &decision);
        if decision.wait != Wait::Again {
            if decision.steps.is_empty() && ask_tag(context, subject, &observed).await? {
                continue; // with what the registry said
            }
            if decision.report.phase == Phase::Live
                && let Some(source) = subject.gone_source(&context.sources).await?
            {
                let sentence = format!(
                    "ReleaseSource {source} is gone, so git is not followed any more; what runs is kept, and another source \
                     that declares it takes it over"
                );
                decision.report.details.push(("SourceGone", sentence));
            }
            lead(context)?;
            report::decided(context, subject, decision.report.clone(), observed.now).await?; // client, status is pure
            return Ok(next_look(&decision, tag_interval(context, subject)));
        }
    }
    Ok(Action::requeue(Duration::from_secs(1)))
}

/// What was read when the pass began must hold when something is done by it. Who was frozen since then would else bring an
/// earlier spec about, over what another one has made of a later one. Asked after the look: what it saw of a later spec was
/// made after that spec was written.
async fn unchanged(context: &Context, subject: &Subject) -> Result<(), ReconcileError> {
    let id = &subject.id;
    let api: Api<Release> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let attempted = || format!("get the metadata of Release {id}");
    let now = within(attempted, api.get_metadata_opt(id.name.as_str())).await?;
    match now {
        Some(now) if subject.is_as_read(&now.metadata) => Ok(()),
        _ => Err(ReconcileError::Changed),
    }
}

/// Somebody else wrote first. Where that does not end it is not tried five times a second.
fn look_again(context: &Context, id: &ReleaseId, error: &ReconcileError) -> Action {
    let mut conflicts = 0;
    context.memory.update(id, |memory| {
        memory.failures = memory.failures.saturating_add(1);
        conflicts = memory.failures;
    });
    tracing::debug!(error = %error.sentence(), "somebody else wrote first");
    if conflicts <= EVERYDAY {
        return Action::requeue(Duration::from_millis(200));
    }
    tracing::warn!(error = %error.sentence(), conflicts, "conflicts do not end");
    Action::requeue(backoff(conflicts - EVERYDAY, rand::random()).min(Duration::from_secs(60)))
}

/// A process that was paused for long may have been replaced; it is asked before each write.
fn lead(context: &Context) -> Result<(), ReconcileError> {
    if context.leader.leads() {
        Ok(())
    } else {
        Err(ReconcileError::NotLeading)
    }
}

fn remember(context: &Context, subject: &Subject, observed: &Observed, decision: &Decision) {
    let stage = decision.report.stage;
    let generation = subject.object.metadata.generation;
    context.memory.update(&subject.id, |memory| {
        memory.repairs += decision.report.repairs;
        if memory.stage.is_none_or(|(before, _)| before != stage) {
            memory.stage = Some((stage, Instant::now()));
            // Once for each revision: a restart makes its pods unready, and with that its verification begin anew.
            if let Stage::Verifying(number) = stage
                && memory.restarts_before.is_none_or(|(before, _)| before != number)
            {
                memory.restarts_before = Some((number, rollout::restarts(&observed.pods, number)));
            }
        }
        let rolling = match stage {
            Stage::RollingOut(number) | Stage::Verifying(number) => Some(number),
            _ => None,
        };
        match &mut memory.rolling {
            Some((number, clock)) if rolling == Some(*number) => clock.look(),
            other => *other = rolling.map(|number| (number, Attended::start())),
        }
        if decision.is_settled() && decision.report.phase == Phase::Live && observed.let_be.is_empty() {
            memory.settled = generation;
        }
    });
}

/// How soon the tag of what runs is due, where there is one.
fn tag_interval(context: &Context, subject: &Subject) -> Duration {
    let tagged = subject
        .declared()
        .is_some_and(|declared| matches!(declared.image.pick, ImagePick::Tag(_)));
    if tagged { context.tag_interval } else { LONG_LOOK }
}

fn next_look(decision: &Decision, at_most: Duration) -> Action {
    match decision.wait {
        Wait::Again => Action::requeue(Duration::from_millis(100)),
        Wait::After(time) => Action::requeue(time.max(Duration::from_millis(200))),
        Wait::ForChange => {
            Action::requeue(LONG_LOOK.min(at_most).mul_f64(0.75 + rand::random::<f64>() / 2.0))
        }
    }
}

/// When to try again after an error: sooner for a passing fault, rarely where a person must act.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature that kube's Controller asks for"
)]
pub fn error_policy(release: Arc<Meta>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let Some(id) = release_id(release.meta()) else {
        return Action::await_change();
    };
    let mut failures = 0;
    context.memory.update(&id, |memory| {
        memory.failures = memory.failures.saturating_add(1);
        failures = memory.failures;
    });
    if error.intent() == Intent::Stall {
        return Action::requeue(Duration::from_secs(30));
    }
    let pause = backoff(failures.saturating_sub(1), rand::random()).min(Duration::from_secs(20));
    Action::requeue(heeding(pause, error.retry_after(), rand::random()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_person_is_said_at_once_and_what_may_pass_when_it_lasts() {
        let silent = || ClusterError::TimedOut {
            attempted: "list".to_owned(),
        };
        let waiting = |word: &str| Some(Phase::Waiting(word.to_owned()));
        for (error, word) in [
            (ReconcileError::from(silent()), "ApiServer"),
            (Stopped::TooLong(PASS).into(), "Stopped"),
        ] {
            assert_eq!(said(&error, EVERYDAY - 1, true), None);
            assert_eq!(said(&error, EVERYDAY, true), waiting(word));
        }
        let refused = ReconcileError::from(ActError::TooLarge("300 KiB".to_owned()));
        assert_eq!(said(&refused, 0, true), Some(Phase::Failed("Applying")));
        let taken = ReconcileError::from(ActError::NameTaken("a budget".to_owned()));
        assert_eq!(said(&taken, 0, true), waiting("NameTaken"));
        assert_eq!(taken.intent(), Intent::Stall, "nothing tells when it goes");
    }

    #[test]
    fn only_the_leader_says_that_an_error_lasts() {
        for error in [
            ReconcileError::from(ClusterError::Unreadable("a ledger".to_owned())),
            ClusterError::TimedOut {
                attempted: "list".to_owned(),
            }
            .into(),
            ReconcileError::NotLeading,
        ] {
            assert_eq!(said(&error, EVERYDAY, false), None);
        }
    }
}
