//! The source loop, one pass: fetch → read → merge → validate → write what differs → remove what git removed → status.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
    runtime::{
        Controller,
        controller::{self, Action, Error as LoopError},
        reflector::ObjectRef,
        watcher,
    },
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Parts,
    compile::{self, Compiled},
    remove,
};
use crate::{
    api::{
        Condition, ConditionStatus, Release, ReleaseSource, ReleaseSourceStatus, meta, source::SourceProblem,
    },
    cluster::{
        error::ClusterError,
        objects::{found, within},
    },
    names::{CommitId, ReleaseId},
    plan::ledger::hex,
    source::{Credentials, FetchLimits, GitRef, GitUrl, Mirror, prune::Standing},
    spec,
    telemetry::Metrics,
};

/// How often a repository is asked when the source does not say.
const INTERVAL: Duration = Duration::from_secs(60);
/// One fetch, whatever the server does.
const FETCH: FetchLimits = FetchLimits {
    wall_clock: Duration::from_secs(25),
    bytes: 256 << 20,
};

/// Shared by all passes of the source loop.
pub struct Context {
    client: kube::Client,
    own: crate::names::Namespace,
    root: PathBuf,
    allow_plain_http: bool,
    metrics: Arc<Metrics>,
    /// Per source the last commit that was read, so that a pass without news reads nothing.
    compiled: Mutex<HashMap<String, Arc<Compiled>>>,
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
        compiled: Mutex::default(),
    });
    Controller::new(
        Api::<ReleaseSource>::all(client.clone()),
        watcher::Config::default(),
    )
    .with_config(controller::Config::default().concurrency(4))
    // A Release that somebody deleted or changed is written again at once.
    .watches(
        Api::<Release>::all(client),
        watcher::Config::default().labels(meta::SOURCE),
        |release: Release| {
            release
                .labels()
                .get(meta::SOURCE)
                .map(|source| ObjectRef::<ReleaseSource>::new(source))
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
    })
    .await;
}

fn error_policy(source: Arc<ReleaseSource>, error: &ClusterError, _: Arc<Context>) -> Action {
    tracing::warn!(source = %source.name_any(), error = %error.sentence(), "pass failed");
    Action::requeue(Duration::from_secs(5).mul_f64(0.5 + rand::random::<f64>()))
}

async fn reconcile(source: Arc<ReleaseSource>, context: Arc<Context>) -> Result<Action, ClusterError> {
    let started = std::time::Instant::now();
    let interval = source
        .spec
        .interval
        .map_or(INTERVAL, crate::api::Duration::to_std)
        .max(Duration::from_secs(1));
    if source.spec.suspend != Some(true) {
        let outcome = pass(&source, &context).await?;
        write_status(&source, &context, outcome).await?;
    }
    context.metrics.reconciled("source", "ok", started.elapsed());
    // Jittered, so that many sources do not ask one server in step.
    Ok(Action::requeue(
        interval.mul_f64(0.9 + rand::random::<f64>() / 5.0),
    ))
}

/// What a pass found out.
struct Outcome {
    fetched: Option<CommitId>,
    applied: Option<CommitId>,
    origin: Option<String>,
    releases: usize,
    problems: Vec<SourceProblem>,
    reason: String,
    message: String,
    ready: bool,
}

impl Outcome {
    fn failed(source: &ReleaseSource, reason: &str, message: String) -> Self {
        let status = source.status.clone().unwrap_or_default();
        Self {
            fetched: status.fetched_commit.and_then(|commit| commit.parse().ok()),
            applied: status.applied_commit.and_then(|commit| commit.parse().ok()),
            origin: status.applied_origin,
            releases: usize::try_from(status.releases.unwrap_or(0)).unwrap_or(0),
            problems: status.problems,
            reason: reason.to_owned(),
            message,
            ready: false,
        }
    }
}

async fn pass(source: &ReleaseSource, context: &Context) -> Result<Outcome, ClusterError> {
    let name = source.name_any();
    let applied: Option<CommitId> = source
        .status
        .as_ref()
        .and_then(|status| status.applied_commit.as_ref()?.parse().ok());
    let target = match target(source, context).await? {
        Ok(target) => target,
        Err(message) => return Ok(Outcome::failed(source, "Invalid", message)),
    };
    let origin = origin(source);
    // libgit2 blocks: it has threads of its own.
    let fetch = {
        let (root, target, applied) = (context.root.clone(), target.clone(), applied.clone());
        let allow_rewrite =
            source.spec.git.allow_rewrite == Some(true) || !matches!(target.reference, GitRef::Branch(_));
        let same_origin = source
            .status
            .as_ref()
            .and_then(|s| s.applied_origin.clone())
            .as_ref()
            == Some(&origin);
        tokio::task::spawn_blocking(move || {
            let mirror = Mirror::open(&root, &target.url)?;
            let fetched = mirror.fetch(&target.reference, &target.credentials, FETCH)?;
            let rewritten = match &applied {
                Some(applied) if !allow_rewrite && same_origin && *applied != fetched.commit => mirror
                    .reader()
                    .and_then(|reader| reader.is_ancestor(applied, &fetched.commit))
                    .map(|is| !is),
                _ => Ok(false),
            };
            Ok::<_, crate::source::FetchError>((mirror, fetched.commit, rewritten))
        })
        .await
    };
    let (mirror, head, rewritten) = match fetch {
        Ok(Ok(fetched)) => fetched,
        Ok(Err(error)) => {
            context.metrics.fetched(error.reason());
            let what = if applied.is_some() {
                "; the last applied commit stays in force"
            } else {
                ""
            };
            let outcome = Outcome::failed(source, error.reason(), format!("{error}{what}"));
            enforce(source, context).await?;
            return Ok(outcome);
        }
        Err(join) => {
            return Ok(Outcome::failed(
                source,
                "Panicked",
                format!("reading the repository failed: {join}"),
            ));
        }
    };
    context.metrics.fetched("Fetched");
    let rewritten = match rewritten {
        Ok(rewritten) => rewritten,
        Err(error) => {
            enforce(source, context).await?;
            return Ok(Outcome::failed(source, error.reason(), error.to_string()));
        }
    };
    if rewritten {
        let was = applied.as_ref().map_or("", |commit| commit.short());
        let message = format!(
            "HistoryRewritten: {} does not descend from the last applied commit {was}; nothing is changed. If this is meant, \
             set git.allowRewrite, or name the commit in git.commit",
            head.short()
        );
        enforce(source, context).await?;
        return Ok(Outcome {
            fetched: Some(head),
            ..Outcome::failed(source, "HistoryRewritten", message)
        });
    }
    let key = format!("{name} {origin}");
    let known = context
        .compiled
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&name)
        .cloned();
    let compiled = match known {
        Some(compiled) if compiled.commit == head && compiled.key == key => compiled,
        before => {
            let paths = source.spec.paths.clone();
            let allowed = source.spec.namespaces.clone();
            let own = context.own.clone();
            let commit = head.clone();
            let read = tokio::task::spawn_blocking(move || {
                let reader = mirror.reader()?;
                compile::compile(&reader, &commit, &paths, &allowed, &own, key, before.as_deref())
            })
            .await;
            match read {
                Ok(Ok(compiled)) => {
                    let compiled = Arc::new(compiled);
                    let mut cache = context.compiled.lock().unwrap_or_else(PoisonError::into_inner);
                    cache.insert(name.clone(), Arc::clone(&compiled));
                    compiled
                }
                Ok(Err(error)) => {
                    enforce(source, context).await?;
                    let message = format!("commit {} is not applied: {error}", head.short());
                    return Ok(Outcome {
                        fetched: Some(head),
                        ..Outcome::failed(source, error.reason(), message)
                    });
                }
                Err(join) => {
                    return Ok(Outcome::failed(
                        source,
                        "Panicked",
                        format!("reading the repository failed: {join}"),
                    ));
                }
            }
        }
    };
    let mut problems: Vec<SourceProblem> = compiled.problems.clone();
    let existing = write_releases(source, context, &compiled, &mut problems).await?;
    let before = source
        .status
        .as_ref()
        .and_then(|status| status.applied_origin.as_ref());
    let standing = match (&applied, before == Some(&origin)) {
        (None, _) => Standing::FirstCommit,
        (Some(_), false) => Standing::OriginChanged,
        (Some(_), true) => Standing::Continued,
    };
    let removal = remove::removal(source, &context.client, &compiled, &existing, standing).await?;
    if let Some(held) = &removal.held {
        problems.push(SourceProblem {
            place: String::new(),
            message: held.clone(),
        });
    }
    let errors = problems.len();
    let message = if errors == 0 {
        format!(
            "commit {} is applied: {} releases",
            head.short(),
            compiled.releases.len()
        )
    } else {
        format!(
            "commit {} is applied but for {errors} problem{}; the first: {}",
            head.short(),
            if errors == 1 { "" } else { "s" },
            problems
                .first()
                .map_or(String::new(), |p| format!("{} {}", p.place, p.message)
                    .trim()
                    .to_owned())
        )
    };
    Ok(Outcome {
        fetched: Some(head.clone()),
        applied: Some(head),
        origin: Some(origin),
        releases: compiled.releases.len(),
        ready: errors == 0,
        reason: if errors == 0 {
            "Applied".into()
        } else {
            "Problems".into()
        },
        problems,
        message,
    })
}

/// While nothing new can be read, what was read last stays in force against hand edits and deletions.
async fn enforce(source: &ReleaseSource, context: &Context) -> Result<(), ClusterError> {
    let compiled = context
        .compiled
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&source.name_any())
        .cloned();
    if let Some(compiled) = compiled {
        write_releases(source, context, &compiled, &mut Vec::new()).await?;
    }
    Ok(())
}

/// What to fetch, from where, as whom.
#[derive(Clone)]
struct Target {
    url: GitUrl,
    reference: GitRef,
    credentials: Credentials,
}

async fn target(source: &ReleaseSource, context: &Context) -> Result<Result<Target, String>, ClusterError> {
    let git = &source.spec.git;
    let url = match GitUrl::parse(&git.url, context.allow_plain_http) {
        Ok(url) => url,
        Err(error) => return Ok(Err(format!("git.url: {error}"))),
    };
    let reference = match (&git.commit, &git.tag) {
        (Some(commit), _) => GitRef::commit(commit),
        (None, Some(tag)) => GitRef::tag(tag),
        (None, None) => GitRef::branch(git.branch.as_deref().unwrap_or("main")),
    };
    let reference = match reference {
        Ok(reference) => reference,
        Err(error) => return Ok(Err(format!("git: {error}"))),
    };
    let credentials = match &git.secret {
        None => Credentials::anonymous(),
        Some(name) => {
            let api: Api<Secret> = Api::namespaced(context.client.clone(), context.own.as_str());
            let secret =
                found(within(|| format!("get Secret {name} in {}", context.own), api.get(name)).await)?;
            let Some(secret) = secret else {
                return Ok(Err(format!(
                    "git.secret: Secret {name} does not exist in namespace {}",
                    context.own
                )));
            };
            let data: BTreeMap<String, Vec<u8>> = secret
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| (key, value.0))
                .collect();
            match Credentials::from_secret(data.iter()) {
                Ok(credentials) => credentials,
                Err(error) => return Ok(Err(format!("git.secret: Secret {name}: {error}"))),
            }
        }
    };
    Ok(Ok(Target {
        url,
        reference,
        credentials,
    }))
}

/// Hash of url, reference and paths: after a change nothing is removed until a new commit.
fn origin(source: &ReleaseSource) -> String {
    use sha2::{Digest as _, Sha256};
    let git = &source.spec.git;
    let text = json!([git.url, git.branch, git.tag, git.commit, source.spec.paths]).to_string();
    hex(&Sha256::digest(text.as_bytes()))
}

/// Writes every release whose spec differs from what git says; returns the releases of this source.
async fn write_releases(
    source: &ReleaseSource,
    context: &Context,
    compiled: &Compiled,
    problems: &mut Vec<SourceProblem>,
) -> Result<BTreeMap<ReleaseId, String>, ClusterError> {
    let all: Api<Release> = Api::all(context.client.clone());
    let list = within(|| "list Releases".to_owned(), all.list(&ListParams::default())).await?;
    let name = source.name_any();
    let mut existing: BTreeMap<ReleaseId, Release> = BTreeMap::new();
    for release in list.items {
        let (Some(namespace), Ok(release_name)) = (release.namespace(), release.name_any().parse()) else {
            continue;
        };
        let Ok(namespace) = namespace.parse() else {
            continue;
        };
        existing.insert(
            ReleaseId {
                namespace,
                name: release_name,
            },
            release,
        );
    }
    let sources: Api<ReleaseSource> = Api::all(context.client.clone());
    for (id, merged) in &compiled.releases {
        let before = existing.get(id);
        if merged.spec.version.is_none() {
            // A base without a version is normal. What is deployed and whose file is still there is told that its
            // version went (and holds); what lost the file is a removal.
            let held = before.filter(|release| {
                release
                    .annotations()
                    .get(meta::PATH)
                    .is_some_and(|file| compiled.files.contains(file))
            });
            if held.is_none() {
                continue;
            }
        }
        if let Some(other) = before
            .and_then(|release| release.labels().get(meta::SOURCE))
            .filter(|other| **other != name)
            && found(within(|| format!("get ReleaseSource {other}"), sources.get(other)).await)?.is_some()
        {
            problems.push(SourceProblem {
                place: merged.place.clone(),
                message: format!("release {id} belongs to ReleaseSource {other}; remove it from one of them"),
            });
            continue;
        }
        if let Err(error) = write_release(&name, context, id, merged, before).await {
            if error.is_refused() || error.is_not_found() {
                problems.push(SourceProblem {
                    place: merged.place.clone(),
                    message: refusal(id, &error),
                });
            } else if !error.is_conflict() {
                return Err(error);
            }
        }
    }
    Ok(existing
        .into_iter()
        .filter(|(_, release)| release.labels().get(meta::SOURCE) == Some(&name))
        .map(|(id, release)| {
            let file = release.annotations().get(meta::PATH).cloned().unwrap_or_default();
            (id, file)
        })
        .collect())
}

fn refusal(id: &ReleaseId, error: &ClusterError) -> String {
    if error.is_not_found() {
        format!(
            "Waiting(NamespaceMissing): namespace {} of release {id} does not exist",
            id.namespace
        )
    } else {
        error.sentence()
    }
}

async fn write_release(
    source: &str,
    context: &Context,
    id: &ReleaseId,
    merged: &compile::Declared,
    before: Option<&Release>,
) -> Result<(), ClusterError> {
    let hash = spec::spec_hash(&merged.spec);
    if let Some(before) = before {
        let written = before.annotations().get(meta::SPEC_HASH) == Some(&hash);
        let ours = before
            .labels()
            .get(meta::SOURCE)
            .is_some_and(|label| label == source);
        if written && ours && spec::spec_hash(&before.spec) == hash {
            return Ok(());
        }
    }
    let api: Api<Release> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let mut object = before.cloned().unwrap_or_else(|| {
        let mut release = Release::new(id.name.as_str(), merged.spec.clone());
        release.metadata = ObjectMeta {
            name: Some(id.name.to_string()),
            namespace: Some(id.namespace.to_string()),
            ..ObjectMeta::default()
        };
        release
    });
    object.spec = merged.spec.clone();
    object.status = None;
    object.metadata.managed_fields = None;
    object
        .labels_mut()
        .insert(meta::SOURCE.to_owned(), source.to_owned());
    let annotations = object.annotations_mut();
    let provenance = &merged.provenance;
    annotations.insert(meta::SPEC_HASH.to_owned(), hash);
    annotations.insert(meta::COMMIT.to_owned(), provenance.commit.to_string());
    annotations.insert(meta::AUTHOR.to_owned(), provenance.author.clone());
    if merged.spec.version.is_some() || !annotations.contains_key(meta::PATH) {
        annotations.insert(meta::PATH.to_owned(), merged.path.clone());
    }
    let at = Timestamp::from_second(provenance.committed_at)
        .map(|at| at.to_string())
        .unwrap_or_default();
    annotations.insert(meta::COMMITTED_AT.to_owned(), at);
    let params = PostParams {
        field_manager: Some("slipway-source".to_owned()),
        ..PostParams::default()
    };
    // A replace carries the resourceVersion that was listed, and takes away what a hand added to the spec.
    if before.is_some() {
        within(
            || format!("write Release {id}"),
            api.replace(id.name.as_str(), &params, &object),
        )
        .await?;
    } else {
        within(|| format!("create Release {id}"), api.create(&params, &object)).await?;
    }
    tracing::info!(release = %id, source, commit = %provenance.commit, "release written");
    Ok(())
}

async fn write_status(
    source: &ReleaseSource,
    context: &Context,
    outcome: Outcome,
) -> Result<(), ClusterError> {
    let old = source.status.clone().unwrap_or_default();
    let generation = source.metadata.generation;
    let message: String = outcome.message.chars().take(2000).collect();
    let condition = |type_: &str, holds: bool| {
        Condition {
            type_: type_.to_owned(),
            status: if holds {
                ConditionStatus::True
            } else {
                ConditionStatus::False
            },
            reason: outcome.reason.clone(),
            message: message.clone(),
            last_transition_time: Time(Timestamp::now()),
            observed_generation: generation,
        }
        .since(&old.conditions)
    };
    let new = ReleaseSourceStatus {
        observed_generation: generation,
        fetched_commit: outcome.fetched.map(|commit| commit.to_string()),
        applied_commit: outcome.applied.map(|commit| commit.to_string()),
        applied_origin: outcome.origin,
        releases: i64::try_from(outcome.releases).ok(),
        problem_count: i64::try_from(outcome.problems.len()).ok(),
        problems: outcome
            .problems
            .into_iter()
            .take(20)
            .map(|problem| SourceProblem {
                place: problem.place.chars().take(600).collect(),
                message: problem.message.chars().take(1000).collect(),
            })
            .collect(),
        conditions: vec![
            condition("Ready", outcome.ready),
            condition("Stalled", !outcome.ready),
        ],
        message,
    };
    if new == old {
        return Ok(());
    }
    let name = source.name_any();
    let api: Api<ReleaseSource> = Api::all(context.client.clone());
    let params = PatchParams::apply("slipway-status").force();
    let patch = Patch::Apply(json!({
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ReleaseSource",
        "metadata": { "name": name, "uid": source.metadata.uid },
        "status": new,
    }));
    found(
        within(
            || format!("write the status of ReleaseSource {name}"),
            api.patch_status(&name, &params, &patch),
        )
        .await,
    )?;
    tracing::info!(source = %name, ready = outcome.ready, reason = %outcome.reason, message = %new.message, "source");
    Ok(())
}
