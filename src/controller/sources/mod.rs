//! The source loop: what wakes it, and one pass: fetch and read → write what differs → remove what git removed → status.

mod apply;
mod context;
mod fetch;
mod leftovers;
mod lineage;
mod namespace;
mod patience;
mod remove;
mod status;
mod wakes;
mod write;

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Resource as _, ResourceExt as _,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::{self, Action, Error as LoopError},
        reflector::ObjectRef,
        watcher::{self, watcher},
    },
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::{
    apply::{apply, enforce, in_force},
    context::{Context, Last},
    fetch::Asked,
    status::Outcome,
    wakes::Wakes,
};
use super::{
    Parts,
    guard::{self, Stopped},
    releases::Meta,
    span,
    watched::SourceMeta,
};
use crate::{
    api::{ReleaseSource, meta, source::ReleaseSourceSpec},
    build::fitness::Fitness,
    cluster::{
        custom::{self, Custom},
        error::{ClusterError, backoff, heeding},
    },
    names::CommitId,
    source::Intent,
    spec::strict,
    telemetry::Metrics,
};

/// How often a repository is asked when the source does not say.
const INTERVAL: Duration = Duration::from_secs(60);
/// Sources that have a pass at once. Most of them wait for a git server, and one that hangs holds its place until the
/// deadline of the fetch.
const PLACES: u16 = 32;
/// How soon a source comes back whose host had no turn for it.
const LATER: Duration = Duration::from_secs(5);
/// How soon a removal that is not at its end is taken up again.
const AGAIN: Duration = Duration::from_secs(10);
/// How often objects without a `Release` are looked for when nothing vanished from git.
const SWEEP: Duration = Duration::from_secs(600);
/// What is done once the object is read, whatever it waits for. A fetch and each request have shorter deadlines.
const PASS: Duration = Duration::from_secs(600);
/// As [`PASS`], with all that is around it.
const WHOLE: Duration = Duration::from_secs(660);
/// Errors in a row that are everyday, and not told.
const EVERYDAY: u32 = 3;
/// The longest pause after an error.
const PAUSE: Duration = Duration::from_secs(20);

/// Why a pass ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Panic or deadline.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Another process may lead now: nothing more is written.
    #[error("this process does not lead any more")]
    NotLeading,
}

impl SourceError {
    fn sentence(&self) -> String {
        match self {
            Self::Cluster(error) => error.sentence(),
            other => other.to_string(),
        }
    }

    fn category(&self) -> &'static str {
        match self {
            Self::Cluster(error) => error.category(),
            Self::Stopped(_) => "stopped",
            Self::NotLeading => "not_leading",
        }
    }
}

/// Why nothing new could be read; what was applied stays in force.
pub struct Failure {
    reason: &'static str,
    message: String,
    fetched: Option<CommitId>,
    /// Whether it may pass by itself; else a person must act.
    passing: bool,
}

impl Failure {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            fetched: None,
            passing: false,
        }
    }

    /// By what the error asks for.
    fn with(mut self, intent: Intent) -> Self {
        self.passing = intent == Intent::Retry;
        self
    }

    /// The commit that was fetched and not read.
    fn of(mut self, commit: CommitId) -> Self {
        self.fetched = Some(commit);
        self
    }
}

/// Runs until `token` is cancelled.
pub async fn run(parts: &Parts, fitness: watch::Receiver<Fitness>, token: CancellationToken) {
    let client = parts.clients.watch.clone();
    let context = Arc::new(Context::new(parts, fitness.clone(), PASS * 2));
    let gate = parts.health.gate("the first list of ReleaseSources has not come");
    let controller = Controller::new(Api::<SourceMeta>::all(client.clone()), watcher::Config::default());
    let store = controller.store();
    let passes = controller
        .with_config(controller::Config::default().concurrency(PLACES))
        // A Release that somebody deleted or changed is written again at once.
        .reconcile_on(wakes_of_releases(client, Arc::clone(&parts.metrics)))
        // What is known of the builder stands in the status of each.
        .reconcile_all_on(changes(fitness))
        .graceful_shutdown_on(token.cancelled_owned())
        .run(guarded, error_policy, Arc::clone(&context))
        .for_each(|result| {
            match result {
                Ok(_) | Err(LoopError::ReconcilerFailed(..)) => {}
                Err(LoopError::ObjectNotFound(source)) => context.forget(&source.name),
                Err(error) => {
                    parts.metrics.watch_failed("ReleaseSource");
                    tracing::warn!(error = %error, "a watch of the source loop failed; it starts again");
                }
            }
            futures::future::ready(())
        });
    guard::opening(gate, &store, passes).await;
}

/// Whenever something else is known.
fn changes(known: watch::Receiver<Fitness>) -> impl Stream<Item = ()> + Send {
    futures::stream::unfold(known, |mut known| async {
        known.changed().await.ok()?;
        Some(((), known))
    })
}

/// The sources of releases that changed, beyond their status.
fn wakes_of_releases(
    client: kube::Client,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = ObjectRef<SourceMeta>> + Send {
    let config = watcher::Config::default().labels(meta::SOURCE);
    let mut wakes = Wakes::default();
    watcher(Api::<Meta>::all(client), config)
        .default_backoff()
        .flat_map(move |event| {
            let woken = match event {
                Ok(event) => wakes.of(event),
                Err(error) => {
                    metrics.watch_failed("Release");
                    tracing::warn!(error = %error, "a watch of the source loop failed; it starts again");
                    Vec::new()
                }
            };
            let woken = woken
                .into_iter()
                .map(|source| ObjectRef::<SourceMeta>::new(&source));
            futures::stream::iter(woken)
        })
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature that kube's Controller asks for"
)]
fn error_policy(source: Arc<SourceMeta>, error: &SourceError, context: Arc<Context>) -> Action {
    let failures = context.memory(&source.name_any(), |memory| memory.failures);
    // From about 4 s on: a pass lists much.
    let pause = backoff(failures + 2, rand::random()).min(PAUSE);
    let asked = match error {
        SourceError::Cluster(error) => error.retry_after(),
        SourceError::Stopped(_) | SourceError::NotLeading => None,
    };
    Action::requeue(heeding(pause, asked, rand::random()))
}

/// One pass, bounded and measured.
async fn guarded(source: Arc<SourceMeta>, context: Arc<Context>) -> Result<Action, SourceError> {
    let started = Instant::now();
    let _working = context.heartbeat.working();
    let span = span::source(&source.name_any());
    let pass = Box::pin(reconcile(source, Arc::clone(&context)));
    let pass = async {
        let result = guard::bounded(WHOLE, pass)
            .await
            .unwrap_or_else(|stopped| Err(stopped.into()));
        if let Err(error) = &result {
            tracing::warn!(category = error.category(), error = %error.sentence(), "pass failed");
        }
        result
    };
    let result = pass.instrument(span).await;
    let outcome = result.as_ref().map_or_else(SourceError::category, |_| "ok");
    context.metrics.reconciled("source", outcome, started.elapsed());
    result
}

async fn reconcile(source: Arc<SourceMeta>, context: Arc<Context>) -> Result<Action, SourceError> {
    let found: Option<Custom<ReleaseSource>> = custom::get(
        &context.client,
        source.meta(),
        strict::unreadable_as::<ReleaseSourceSpec>,
    )
    .await?;
    let Some(Custom {
        object: source,
        wrong,
    }) = found
    else {
        return Ok(Action::await_change());
    };
    let done = guard::bounded(PASS, Box::pin(turn(&source, wrong, &context))).await;
    let done = done.unwrap_or_else(|stopped| Err(stopped.into()));
    let name = source.name_any();
    let failures = context.memory(&name, |memory| {
        memory.failures = match &done {
            Ok(_) => 0,
            Err(_) => memory.failures.saturating_add(1),
        };
        memory.failures
    });
    if let Err(error) = &done
        && let Some(failure) = said(error, failures)
        && context.leader.leads()
    {
        let outcome = Outcome::failed(&source, failure, in_force(&source, &context).is_some());
        if let Err(error) = status::write_status(&source, &context, outcome).await {
            tracing::warn!(error = %error.sentence(), "the status could not be written");
        }
    }
    done.map(Action::requeue)
}

/// What the status says of an error, if anything: what lasts.
fn said(error: &SourceError, failures: u32) -> Option<Failure> {
    let failure = match error {
        SourceError::NotLeading => return None,
        SourceError::Stopped(_) => Failure::new("Stopped", error.sentence()),
        SourceError::Cluster(_) => Failure::new("ApiServer", error.sentence()),
    };
    (failures > EVERYDAY).then(|| failure.with(Intent::Retry))
}

/// An interval, a tenth shorter or longer by a random number from 0 to 1: many sources do not ask one server in step.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.9 + random.clamp(0.0, 1.0) / 5.0)
}

/// What there is to do now; when to come again.
async fn turn(
    source: &ReleaseSource,
    wrong: Option<String>,
    context: &Context,
) -> Result<Duration, SourceError> {
    let interval = source
        .spec
        .interval
        .map_or(INTERVAL, crate::api::Duration::to_std)
        .max(Duration::from_secs(1));
    let next = jittered(interval, rand::random());
    if source.spec.suspend == Some(true) {
        context.lead()?;
        status::write_status(source, context, Outcome::suspended(source)).await?;
        return Ok(next);
    }
    let (outcome, due) = pass(source, wrong, next, context).await?;
    let mut next = due.saturating_duration_since(Instant::now());
    if let Some(outcome) = outcome {
        if outcome.unfinished {
            next = next.min(AGAIN);
        }
        context.lead()?;
        status::write_status(source, context, outcome).await?;
    }
    Ok(next)
}

/// What was found out, if there is something to say; when the repository is to be asked again, which is `next` from the end
/// of this pass on: one that took long must not be followed by another one at once.
async fn pass(
    source: &ReleaseSource,
    wrong: Option<String>,
    next: Duration,
    context: &Context,
) -> Result<(Option<Outcome>, Instant), SourceError> {
    if let Some(wrong) = wrong {
        let _working = context.working().await;
        let failure = Failure::new("Invalid", format!("the spec cannot be read: {wrong}"));
        let in_force = enforce(source, context).await?;
        let outcome = Outcome::failed(source, failure, in_force);
        return Ok((Some(outcome), Instant::now() + next));
    }
    let name = source.name_any();
    let version = (source.metadata.uid.clone(), source.metadata.generation);
    let status = source.status.as_ref();
    let before = status.and_then(|status| status.fetched_commit.clone());
    let last = context.memory(&name, |memory| memory.last.clone());
    let last = last.filter(|last| last.holds(&version, before.as_deref()));
    if let Some(last) = last.as_ref().filter(|last| Instant::now() < last.due) {
        // Woken by a change in the cluster: git has nothing new to say.
        let _working = context.working().await;
        let outcome = match last.read.clone() {
            Some(reading) => Some(apply(source, context, reading).await?),
            None => enforce(source, context).await.map(|_| None)?,
        };
        return Ok((outcome, last.due));
    }
    let note = |due, read, before| {
        let last = Last {
            version,
            due,
            read,
            before,
        };
        context.memory(&name, |memory| memory.last = Some(last));
    };
    let Some(asked) = fetch::ask(source, context).await? else {
        // Its turn comes; until then it goes on with what is known.
        let due = Instant::now() + jittered(LATER, rand::random());
        let (read, before) = last.map_or((None, before), |last| (last.read, last.before));
        note(due, read.clone(), before);
        let _working = context.working().await;
        let outcome = if let Some(reading) = read {
            Some(apply(source, context, reading).await?)
        } else {
            fetch::recall(source, context).await;
            enforce(source, context).await.map(|_| None)?
        };
        return Ok((outcome, due));
    };
    let _working = context.working().await;
    let (read, pause) = match asked {
        Asked::Fetched(head) => (head.read(source, context).await, Duration::ZERO),
        Asked::Failed(failure, pause) => (Err(failure), pause),
    };
    let due = Instant::now() + next.max(pause);
    note(due, read.as_ref().ok().cloned(), before);
    let outcome = match read {
        Ok(reading) => apply(source, context, reading).await?,
        Err(failure) => {
            fetch::recall(source, context).await;
            let in_force = enforce(source, context).await?;
            Outcome::failed(source, failure, in_force)
        }
    };
    Ok((Some(outcome), due))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_asked_up_to_a_tenth_sooner_or_later_than_the_interval_says() {
        // Rounded, since factors are not exact.
        let seconds =
            |random| (jittered(Duration::from_secs(100), random) + Duration::from_millis(1)).as_secs();
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(seconds), [90, 95, 100, 110]);
        assert_eq!([-1.0, 2.0].map(seconds), [90, 110], "never further off");
    }
}
