//! The source loop, one pass: fetch and read → write what differs → remove what git removed → status.

mod fetch;
mod lineage;
mod remove;
mod status;
mod wakes;
mod write;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Resource as _, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::{self, Action, Error as LoopError},
        reflector::ObjectRef,
        watcher::{self, watcher},
    },
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::{fetch::Reading, lineage::May, status::Outcome, wakes::Wakes};
use super::{
    Parts,
    compile::Compiled,
    guard::{self, Stopped},
    releases::Meta,
    span,
};
use crate::{
    api::{
        ReleaseSource, meta,
        source::{ReleaseSourceSpec, SourceProblem},
    },
    cluster::{
        Leader,
        custom::{self, Custom},
        error::ClusterError,
    },
    names::CommitId,
    server::Heartbeat,
    source::{
        Intent,
        prune::{self, Standing},
    },
    spec::strict,
    telemetry::Metrics,
};

/// How often a repository is asked when the source does not say.
const INTERVAL: Duration = Duration::from_secs(60);
/// How soon a removal that is not at its end is taken up again.
const AGAIN: Duration = Duration::from_secs(10);
/// How often objects without a `Release` are looked for when nothing vanished from git.
const SWEEP: Duration = Duration::from_secs(600);
/// One pass, whatever it waits for. A fetch and each request have shorter deadlines of their own.
const PASS: Duration = Duration::from_secs(600);

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

/// Shared by all passes of the source loop.
pub struct Context {
    client: kube::Client,
    own: crate::names::Namespace,
    root: PathBuf,
    allow_plain_http: bool,
    metrics: Arc<Metrics>,
    leader: Leader,
    heartbeat: Heartbeat,
    /// Per source what is known of it between passes.
    memory: Mutex<HashMap<String, Remembered>>,
}

/// What is known of a source between passes; losing it costs time and nothing else.
#[derive(Default)]
struct Remembered {
    /// The last commit that was read, so that a pass without news reads nothing.
    compiled: Option<Arc<Compiled>>,
    /// What the last fetch brought.
    last: Option<Last>,
    /// When objects without a `Release` were last looked for.
    swept: Option<Instant>,
}

/// What the last fetch of a source brought.
#[derive(Clone)]
struct Last {
    /// Of which version of the source.
    version: (Option<String>, Option<i64>),
    /// When the next one is due; a pass before it enforces what is known.
    due: Instant,
    /// What was read; `None` when nothing could be.
    read: Option<Reading>,
}

impl Context {
    /// A process that was paused for long may have been replaced; it is asked before each write.
    fn lead(&self) -> Result<(), SourceError> {
        if self.leader.leads() {
            Ok(())
        } else {
            Err(SourceError::NotLeading)
        }
    }

    fn remembered(&self, source: &str) -> Option<Arc<Compiled>> {
        self.memory(source, |memory| memory.compiled.clone())
    }

    fn remember(&self, source: &str, read: &Arc<Compiled>) {
        self.memory(source, |memory| {
            let before = memory.compiled.replace(Arc::clone(read));
            let other = before.filter(|before| !Arc::ptr_eq(before, read));
            if other.is_some_and(|before| !before.declared().is_subset(&read.declared())) {
                memory.swept = None;
            }
        });
    }

    fn memory<T>(&self, source: &str, act: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        act(memory.entry(source.to_owned()).or_default())
    }
}

/// A `ReleaseSource` as it is watched: a pass reads the object anew, and what cannot be read does not end the watch.
type SourceMeta = PartialObjectMeta<ReleaseSource>;

/// What was read last, if it is what the source says that it applied: a source that was deleted and made again under
/// the same name has applied nothing yet, and what its namesake had read is not in force.
fn in_force(source: &ReleaseSource, context: &Context) -> Option<Arc<Compiled>> {
    let status = source.status.as_ref()?;
    context
        .remembered(&source.name_any())
        .filter(|read| status.applied_commit.as_deref() == Some(read.commit.as_str()))
}

/// Runs until `token` is cancelled.
pub async fn run(parts: &Parts, token: CancellationToken) {
    let client = parts.clients.watch.clone();
    let context = Arc::new(Context {
        client: parts.clients.call.clone(),
        own: parts.options.namespace.clone(),
        root: parts.options.cache_dir.join("git"),
        allow_plain_http: parts.options.allow_plain_http_git,
        metrics: Arc::clone(&parts.metrics),
        leader: parts.leader.clone(),
        heartbeat: parts.health.heartbeat("sources", PASS * 2),
        memory: Mutex::default(),
    });
    let gate = parts.health.gate("the first list of ReleaseSources has not come");
    let controller = Controller::new(Api::<SourceMeta>::all(client.clone()), watcher::Config::default());
    let store = controller.store();
    let passes = controller
        .with_config(controller::Config::default().concurrency(4))
        // A Release that somebody deleted or changed is written again at once.
        .reconcile_on(wakes_of_releases(client, Arc::clone(&parts.metrics)))
        .graceful_shutdown_on(token.cancelled_owned())
        .run(reconcile, error_policy, context)
        .for_each(|result| {
            if let Err(error) = result
                && !matches!(
                    error,
                    LoopError::ReconcilerFailed(..) | LoopError::ObjectNotFound(_)
                )
            {
                parts.metrics.watch_failed("ReleaseSource");
                tracing::warn!(error = %error, "a watch of the source loop failed; it starts again");
            }
            futures::future::ready(())
        });
    guard::opening(gate, &store, passes).await;
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
    context
        .metrics
        .reconciled("source", error.category(), Duration::ZERO);
    tracing::warn!(source = %source.name_any(), error = %error.sentence(), "pass failed");
    Action::requeue(Duration::from_secs(5).mul_f64(0.5 + rand::random::<f64>()))
}

async fn reconcile(source: Arc<SourceMeta>, context: Arc<Context>) -> Result<Action, SourceError> {
    let started = std::time::Instant::now();
    let _working = context.heartbeat.working();
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
    let interval = source
        .spec
        .interval
        .map_or(INTERVAL, crate::api::Duration::to_std)
        .max(Duration::from_secs(1));
    let mut next = interval.mul_f64(0.9 + rand::random::<f64>() / 5.0);
    if source.spec.suspend == Some(true) {
        context.lead()?;
        let outcome = Outcome::suspended(&source);
        status::write_status(&source, &context, outcome).await?;
    } else {
        // Jittered, so that many sources do not ask one server in step.
        let due = Instant::now() + next;
        let span = span::source(&source.name_any());
        let pass = pass(&source, wrong, due, &context).instrument(span.clone());
        let (outcome, due) = guard::bounded(PASS, pass).await??;
        next = due.saturating_duration_since(Instant::now());
        if let Some(outcome) = outcome {
            if outcome.unfinished {
                next = next.min(AGAIN);
            }
            context.lead()?;
            status::write_status(&source, &context, outcome)
                .instrument(span)
                .await?;
        }
    }
    context.metrics.reconciled("source", "ok", started.elapsed());
    Ok(Action::requeue(next))
}

async fn pass(
    source: &ReleaseSource,
    wrong: Option<String>,
    due: Instant,
    context: &Context,
) -> Result<(Option<Outcome>, Instant), SourceError> {
    if let Some(wrong) = wrong {
        let failure = Failure::new("Invalid", format!("the spec cannot be read: {wrong}"));
        enforce(source, context).await?;
        return Ok((Some(Outcome::failed(source, failure)), due));
    }
    let name = source.name_any();
    let version = (source.metadata.uid.clone(), source.metadata.generation);
    let last = context.memory(&name, |memory| memory.last.clone());
    if let Some(last) = last.filter(|last| last.version == version && Instant::now() < last.due) {
        // Woken by a change in the cluster: git has nothing new to say.
        let outcome = match last.read {
            Some(reading) => Some(apply(source, context, reading).await?),
            None => enforce(source, context).await.map(|()| None)?,
        };
        return Ok((outcome, last.due));
    }
    let read = fetch::read(source, context).await?;
    let last = Last {
        version,
        due,
        read: read.as_ref().ok().cloned(),
    };
    context.memory(&name, |memory| memory.last = Some(last));
    let outcome = match read {
        Ok(reading) => apply(source, context, reading).await?,
        Err(failure) => {
            enforce(source, context).await?;
            Outcome::failed(source, failure)
        }
    };
    Ok((Some(outcome), due))
}

/// What was read last stays in force against hand edits and deletions.
async fn enforce(source: &ReleaseSource, context: &Context) -> Result<(), SourceError> {
    if let Some(compiled) = in_force(source, context) {
        span::commit(Some(&compiled.commit));
        write::write_releases(source, context, &compiled, &mut Vec::new(), &mut false).await?;
    }
    Ok(())
}

/// Brings the `Release` objects to what was read.
async fn apply(
    source: &ReleaseSource,
    context: &Context,
    Reading {
        compiled,
        commit,
        origin,
    }: Reading,
) -> Result<Outcome, SourceError> {
    span::commit(Some(&commit));
    let mut problems: Vec<SourceProblem> = compiled.problems.clone();
    let name = source.name_any();
    let mut unfinished = false;
    let (listed, lineage) =
        write::write_releases(source, context, &compiled, &mut problems, &mut unfinished).await?;
    context.lead()?;
    let mut existing = write::of_source(&name, &listed);
    let declared = compiled.declared();
    // What this commit may not know of is not removed for not being in it.
    existing.retain(|id, _| match lineage.get(id) {
        Some(May::Hold) if !declared.contains(id) => {
            let message = write::held(id, listed.get(id), &commit);
            let place = String::new();
            problems.push(SourceProblem { place, message });
            false
        }
        Some(May::Wait) => declared.contains(id),
        _ => true,
    });
    let due = context.memory(&name, |memory| memory.swept.is_none_or(|at| at.elapsed() > SWEEP));
    if due {
        existing.extend(remove::left_over(source, context, &compiled, |id| listed.contains_key(id)).await?);
    }
    let status = source.status.as_ref();
    let noted = status.and_then(|status| status.baseline_commit.as_deref()?.parse().ok());
    let before = status
        .filter(|status| status.applied_commit.is_some())
        .and_then(|status| Some((status.applied_origin.as_deref()?, noted.as_ref())));
    let baseline = prune::baseline(before, &origin, &commit);
    let standing = Standing::of(baseline.as_ref(), &commit);
    let removal = remove::removal(source, context, &compiled, &existing, standing).await?;
    if due {
        // What is held or not at its end is looked for again.
        let done = removal.said.is_empty() && !removal.unfinished;
        let swept = done.then(Instant::now);
        context.memory(&name, |memory| memory.swept = swept);
    }
    for id in removal.version_removed {
        let Some((release, found)) = listed.get(&id).zip(existing.get(&id)) else {
            continue;
        };
        problems.push(write::version_removed(&id, &found.file));
        // A document without a version was written above.
        if !compiled.releases.contains_key(&id) {
            context.lead()?;
            write::take_version(context, &id, release).await?;
        }
    }
    problems.extend(removal.said.into_iter().map(|message| SourceProblem {
        place: String::new(),
        message,
    }));
    Ok(Outcome {
        fetched: Some(commit.clone()),
        releases: compiled.releases.len(),
        ready: problems.is_empty(),
        // What goes on by itself, such as a removal that waits for a migration, needs nobody.
        passing: unfinished || removal.unfinished,
        reason: if problems.is_empty() {
            "Applied".into()
        } else {
            "Problems".into()
        },
        message: sentence(&commit, compiled.releases.len(), &problems),
        applied: Some(commit),
        origin: Some(origin),
        baseline,
        unfinished: unfinished || removal.unfinished,
        problems,
    })
}

fn sentence(commit: &CommitId, releases: usize, problems: &[SourceProblem]) -> String {
    let commit = commit.short();
    let Some(first) = problems.first() else {
        let s = if releases == 1 { "" } else { "s" };
        return format!("commit {commit} is applied: {releases} release{s}");
    };
    let s = if problems.len() == 1 { "" } else { "s" };
    let first = format!("{} {}", first.place, first.message);
    format!(
        "commit {commit} is applied but for {} problem{s}; the first: {}",
        problems.len(),
        first.trim()
    )
}
