//! The source loop, one pass: fetch and read → write what differs → remove what git removed → status.

mod fetch;
mod status;
mod write;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use kube::{
    Api, Resource as _, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{
        Controller,
        controller::{self, Action, Error as LoopError},
        reflector::ObjectRef,
        watcher,
    },
};
use tokio_util::sync::CancellationToken;

use self::{fetch::Reading, status::Outcome};
use super::{
    Parts,
    compile::Compiled,
    guard::{self, Stopped},
    releases::Meta,
    remove,
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
    source::prune::{self, Standing},
    spec::strict,
    telemetry::Metrics,
};

/// How often a repository is asked when the source does not say.
const INTERVAL: Duration = Duration::from_secs(60);
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
}

impl Failure {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            fetched: None,
        }
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
    /// Per source the last commit that was read, so that a pass without news reads nothing.
    compiled: Mutex<HashMap<String, Arc<Compiled>>>,
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
        let compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.get(source).cloned()
    }

    fn remember(&self, source: String, read: Arc<Compiled>) {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.insert(source, read);
    }
}

/// A `ReleaseSource` as it is watched: a pass reads the object anew, and what cannot be read does not end the watch.
type SourceMeta = PartialObjectMeta<ReleaseSource>;

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
        compiled: Mutex::default(),
    });
    let gate = parts.health.gate("the first list of ReleaseSources has not come");
    let controller = Controller::new(Api::<SourceMeta>::all(client.clone()), watcher::Config::default());
    let store = controller.store();
    let passes = controller
        .with_config(controller::Config::default().concurrency(4))
        // A Release that somebody deleted or changed is written again at once.
        .watches(
            Api::<Meta>::all(client),
            watcher::Config::default().labels(meta::SOURCE),
            |release: Meta| {
                release
                    .labels()
                    .get(meta::SOURCE)
                    .map(|source| ObjectRef::<SourceMeta>::new(source))
            },
        )
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
    if source.spec.suspend != Some(true) {
        let outcome = guard::bounded(PASS, pass(&source, wrong, &context)).await??;
        context.lead()?;
        status::write_status(&source, &context, outcome).await?;
    }
    context.metrics.reconciled("source", "ok", started.elapsed());
    // Jittered, so that many sources do not ask one server in step.
    Ok(Action::requeue(
        interval.mul_f64(0.9 + rand::random::<f64>() / 5.0),
    ))
}

async fn pass(
    source: &ReleaseSource,
    wrong: Option<String>,
    context: &Context,
) -> Result<Outcome, SourceError> {
    let read = match wrong {
        None => fetch::read(source, context).await?,
        Some(wrong) => Err(Failure::new(
            "Invalid",
            format!("the spec cannot be read: {wrong}"),
        )),
    };
    match read {
        Ok(reading) => apply(source, context, reading).await,
        Err(failure) => {
            // What was read last stays in force against hand edits and deletions.
            if let Some(compiled) = context.remembered(&source.name_any()) {
                write::write_releases(source, context, &compiled, &mut Vec::new()).await?;
            }
            Ok(Outcome::failed(source, failure))
        }
    }
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
    let mut problems: Vec<SourceProblem> = compiled.problems.clone();
    let existing = write::write_releases(source, context, &compiled, &mut problems).await?;
    context.lead()?;
    let status = source.status.as_ref();
    let noted = status.and_then(|status| status.baseline_commit.as_deref()?.parse().ok());
    let before = status
        .filter(|status| status.applied_commit.is_some())
        .and_then(|status| Some((status.applied_origin.as_deref()?, noted.as_ref())));
    let baseline = prune::baseline(before, &origin, &commit);
    let standing = Standing::of(baseline.as_ref(), &commit);
    let removal = remove::removal(source, &context.client, &compiled, &existing, standing).await?;
    if let Some(held) = &removal.held {
        problems.push(SourceProblem {
            place: String::new(),
            message: held.clone(),
        });
    }
    Ok(Outcome {
        fetched: Some(commit.clone()),
        releases: compiled.releases.len(),
        ready: problems.is_empty(),
        reason: if problems.is_empty() {
            "Applied".into()
        } else {
            "Problems".into()
        },
        message: sentence(&commit, compiled.releases.len(), &problems),
        applied: Some(commit),
        origin: Some(origin),
        baseline,
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
