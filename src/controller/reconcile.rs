//! The release loop, one pass: observe (client) → decide (pure) → render (pure) → apply (client) → status (pure, one
//! write).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::{
    Api, Resource as _,
    api::{ListParams, Patch, PatchParams},
    runtime::{
        controller::Action,
        events::{Event, EventType},
    },
};
use serde_json::json;

use super::{
    act::{self, ActError},
    context::Context,
    subject::Subject,
};
use crate::{
    api::{Release, ReleaseStatus, revision::Outcome},
    cluster::{
        error::{ClusterError, Intent, backoff},
        objects::{found, within},
        observe,
    },
    image::{DockerConfig, ResolveError},
    names::ReleaseId,
    plan::{
        Decision, Observed, Phase, Wait, decide,
        decide::lock_name,
        observed::{DatabaseSeen, Declaration, ImageSeen, LockSeen},
    },
    render::{self, Kind},
    spec::{Declared, declared::ImagePick},
    status::release_status,
};

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
}

impl ReconcileError {
    /// One static word for metrics.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Cluster(error) | Self::Act(ActError::Cluster(error)) => error.category(),
            Self::Act(ActError::Refused { .. }) => "dry_run_refused",
            Self::Act(ActError::TooLarge(_)) => "too_large",
        }
    }

    fn intent(&self) -> Intent {
        match self {
            Self::Cluster(error) | Self::Act(ActError::Cluster(error)) => error.intent(),
            Self::Act(_) => Intent::Stall,
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Cluster(error) | Self::Act(ActError::Cluster(error)) => error.sentence(),
            Self::Act(error) => error.to_string(),
        }
    }
}

/// One pass over a release.
pub async fn reconcile(release: Arc<Release>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let api: Api<Release> = Api::namespaced(
        context.client.clone(),
        release.meta().namespace.as_deref().unwrap_or_default(),
    );
    let name = release.meta().name.clone().unwrap_or_default();
    // The cache that called may be behind; what is acted on is what the API server has now.
    let Some(object) = found(within(|| format!("get Release {name}"), api.get(&name)).await)? else {
        return Ok(Action::await_change());
    };
    let Some(mut subject) = Subject::read(object) else {
        return Ok(Action::await_change());
    };
    let id = subject.id.clone();
    match pass(&context, &mut subject).await {
        Ok(action) => {
            context.memory.update(&id, |memory| memory.failures = 0);
            Ok(action)
        }
        Err(error) if error.intent() == Intent::LookAgain => {
            tracing::debug!(release = %id, error = %error.sentence(), "somebody else wrote first");
            Ok(Action::requeue(Duration::from_millis(200)))
        }
        Err(error) => {
            if error.intent() == Intent::Stall {
                tell_refusal(&context, &subject, &error).await;
            }
            Err(error)
        }
    }
}

async fn pass(context: &Context, subject: &mut Subject) -> Result<Action, ReconcileError> {
    let id = subject.id.clone();
    let mut image = ImageSeen::NotAsked;
    for _ in 0..LOOKS {
        let observed = look(context, subject, image.clone()).await?; // client
        let decision = decide(&observed); // no client
        if decision.steps.contains(&crate::plan::Step::AskRegistry)
            && let Some(declared) = subject.declared()
        {
            image = ask(context, &id, declared).await; // client
        }
        for step in &decision.steps {
            act::act(context, subject, &observed, step).await?; // client, renders inside
        }
        remember(context, subject, &decision);
        if decision.wait != Wait::Again {
            write_status(context, subject, &decision, observed.now).await?; // client, status is pure
            return Ok(next_look(&decision));
        }
    }
    Ok(Action::requeue(Duration::from_secs(1)))
}

/// Observes one release.
async fn look(
    context: &Context,
    subject: &mut Subject,
    image: ImageSeen,
) -> Result<Observed, ReconcileError> {
    let (client, id) = (&context.client, subject.id.clone());
    let now = Timestamp::now();
    let (namespace, revisions, ledger) = tokio::try_join!(
        observe::namespace(client, &id.namespace),
        observe::revisions(client, &id),
        observe::ledger(client, &id),
    )?;
    let (architectures, boots) = nodes(context).await?;
    // After the ledger: what is absent now was absent when the ledger was read, or is gone since.
    let jobs = observe::jobs(client, &id).await?;
    let (job_pods, pods) = observe::pods(client, &id, &boots, now).await?;
    subject.architectures = revisions
        .objects
        .iter()
        .filter_map(|object| {
            let number = crate::names::RevisionNumber(u64::try_from(object.spec.number).ok()?);
            Some((number, act::architectures(&object.spec.image.platforms)))
        })
        .collect();
    let references = match subject.declared() {
        Some(declared) => observe::references(client, &id, declared).await?,
        None => observe::References {
            missing: Vec::new(),
            ungenerated: Vec::new(),
            database: DatabaseSeen::NotNeeded,
        },
    };
    let exposure = exposure(subject, &revisions);
    let wanted: BTreeSet<_> = revisions
        .current()
        .into_iter()
        .chain(revisions.live())
        .flat_map(|revision| revision.objects.iter())
        .chain(exposure.iter())
        .map(|object| object.key.clone())
        .collect();
    let objects = observe::objects(client, &id, &wanted).await?;
    let memory = context.memory.get(&id);
    let generation = subject.object.metadata.generation;
    let mut observed = Observed {
        declaration: subject.declaration.clone(),
        namespace,
        highest: revisions.current().map(|revision| revision.number),
        current: revisions.current().cloned(),
        live: revisions.live().cloned(),
        retained: revisions.all.iter().map(|revision| revision.number).collect(),
        image,
        pin: subject
            .declared()
            .and_then(|declared| revisions.pin(&declared.image.reference())),
        tag_moved: None,
        architectures,
        missing: references.missing,
        ungenerated: references.ungenerated,
        database: references.database,
        ledger,
        jobs,
        job_pods,
        lock: (String::new(), LockSeen::Absent),
        objects,
        pods,
        exposure,
        seen_before: memory.settled.is_some() && memory.settled == generation,
        stage: memory.stage.map(|(stage, since)| (stage, since.elapsed())),
        id,
        now,
    };
    let lock = observed
        .ledger
        .as_ref()
        .and_then(|seen| seen.ledger.claimed())
        .map(|(_, entry)| entry.lock.clone())
        .or_else(|| {
            observed
                .current
                .as_ref()
                .and_then(|current| Some(current.migration.as_ref()?.lock.clone()))
        })
        .unwrap_or_else(|| lock_name(&observed));
    if observed.ledger.is_some() {
        let seen = observe::lock(client, &context.own, &lock).await?;
        observed.lock = (lock, seen);
    } else {
        observed.lock.0 = lock;
    }
    observed.tag_moved = moved_tag(context, subject, &observed).await;
    Ok(observed)
}

/// The exposing objects as the declared spec renders them, for the revision that it matches.
fn exposure(subject: &Subject, revisions: &observe::Revisions) -> Vec<render::Object> {
    let Some(declared) = subject.declared() else {
        return Vec::new();
    };
    let matches = |revision: &&crate::plan::observed::Revision| revision.attempt == declared.attempt_hash;
    let current = revisions.current().filter(|current| {
        !matches!(
            current.outcome,
            Some(Outcome::Superseded | Outcome::RolloutFailed)
        )
    });
    let Some(revision) = current
        .filter(matches)
        .or_else(|| revisions.live().filter(matches))
    else {
        return Vec::new();
    };
    let architectures = subject
        .architectures
        .get(&revision.number)
        .cloned()
        .unwrap_or_default();
    let input = subject.input(
        &subject.id,
        declared,
        &revision.digest,
        &architectures,
        revision.number,
    );
    render::render(&input)
        .into_iter()
        .filter(|object| !matches!(object.key.kind, Kind::Deployment | Kind::ServiceAccount))
        .collect()
}

/// Architectures of schedulable nodes, and the boot id of each.
async fn nodes(context: &Context) -> Result<(Vec<String>, BTreeMap<String, String>), ClusterError> {
    let api: Api<Node> = Api::all(context.client.clone());
    let list = within(|| "list the nodes".to_owned(), api.list(&ListParams::default())).await?;
    let mut architectures = BTreeSet::new();
    let mut boots = BTreeMap::new();
    for node in list.items {
        let schedulable = !node
            .spec
            .as_ref()
            .and_then(|spec| spec.unschedulable)
            .unwrap_or(false);
        let Some(info) = node.status.and_then(|status| status.node_info) else {
            continue;
        };
        if schedulable {
            architectures.insert(info.architecture);
        }
        boots.insert(node.metadata.name.unwrap_or_default(), info.boot_id);
    }
    Ok((architectures.into_iter().collect(), boots))
}

/// Asks the registry about the declared image.
async fn ask(context: &Context, id: &ReleaseId, declared: &Declared) -> ImageSeen {
    let config = match pull_config(context, id, declared).await {
        Ok(config) => config,
        Err(message) => {
            return ImageSeen::Failed {
                reason: "PullSecretInvalid".into(),
                message,
            };
        }
    };
    match context.registry.resolve(&declared.image, config.as_ref()).await {
        Ok(image) => ImageSeen::Found {
            digest: image.digest,
            platforms: image.platforms.iter().map(ToString::to_string).collect(),
            obtained: "registry".to_owned(),
        },
        Err(ResolveError::NotFound { .. }) => ImageSeen::Missing,
        Err(error) => ImageSeen::Failed {
            reason: error.reason().to_owned(),
            message: act::clip(&error.to_string(), 600),
        },
    }
}

async fn pull_config(
    context: &Context,
    id: &ReleaseId,
    declared: &Declared,
) -> Result<Option<DockerConfig>, String> {
    let Some(name) = &declared.pull_secret else {
        return Ok(None);
    };
    let api: Api<Secret> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let secret = found(within(|| format!("get pull Secret {name}"), api.get(name.as_str())).await)
        .map_err(|error| error.sentence())?;
    let Some(secret) = secret else { return Ok(None) };
    let data = secret.data.unwrap_or_default();
    let bytes = data.get(".dockerconfigjson").ok_or_else(|| {
        format!("pull Secret {name} has no key .dockerconfigjson; it must be of type kubernetes.io/dockerconfigjson")
    })?;
    DockerConfig::parse(&bytes.0)
        .map(Some)
        .map_err(|error| format!("pull Secret {name}: {error}"))
}

/// Whether the tag of what runs points elsewhere now. Asked rarely; no answer is no news.
async fn moved_tag(
    context: &Context,
    subject: &Subject,
    observed: &Observed,
) -> Option<crate::names::Digest> {
    let declared = subject.declared()?;
    let live = observed.live.as_ref()?;
    if !matches!(declared.image.pick, ImagePick::Tag(_)) || live.reference != declared.image.reference() {
        return None;
    }
    let memory = context.memory.get(&subject.id);
    let known = memory
        .tag
        .filter(|(at, reference, _)| at.elapsed() < context.tag_interval && *reference == live.reference);
    let digest = if let Some((_, _, digest)) = known {
        digest
    } else {
        let ImageSeen::Found { digest, .. } = ask(context, &subject.id, declared).await else {
            return None;
        };
        let reference = live.reference.clone();
        context.memory.update(&subject.id, |memory| {
            memory.tag = Some((Instant::now(), reference, digest.clone()))
        });
        digest
    };
    (digest != live.digest).then_some(digest)
}

fn remember(context: &Context, subject: &Subject, decision: &Decision) {
    let stage = decision.report.stage;
    let generation = subject.object.metadata.generation;
    context.memory.update(&subject.id, |memory| {
        if memory.stage.is_none_or(|(before, _)| before != stage) {
            memory.stage = Some((stage, Instant::now()));
        }
        if decision.is_settled() && decision.report.phase == Phase::Live {
            memory.settled = generation;
        }
    });
}

fn next_look(decision: &Decision) -> Action {
    match decision.wait {
        Wait::Again => Action::requeue(Duration::from_millis(100)),
        Wait::After(time) => Action::requeue(time.max(Duration::from_millis(200))),
        Wait::ForChange => Action::requeue(LONG_LOOK.mul_f64(0.75 + rand::random::<f64>() / 2.0)),
    }
}

/// One write, and none when nothing would change.
async fn write_status(
    context: &Context,
    subject: &Subject,
    decision: &Decision,
    now: Timestamp,
) -> Result<(), ClusterError> {
    let id = &subject.id;
    let old = subject.object.status.clone().unwrap_or_default();
    let new = release_status(
        id,
        &decision.report,
        &old,
        subject.object.metadata.generation,
        now,
    );
    if new == old {
        return Ok(());
    }
    patch_status(context, subject, &new).await?;
    if old.phase != new.phase {
        let live = decision.report.live;
        tracing::info!(
            release = %id, commit = subject.commit(), revision = ?decision.report.current.or(live).map(|r| r.0),
            phase = %new.phase, message = %new.message, "phase"
        );
        event(context, subject, &new).await;
    }
    Ok(())
}

async fn patch_status(
    context: &Context,
    subject: &Subject,
    status: &ReleaseStatus,
) -> Result<(), ClusterError> {
    let id = &subject.id;
    let api: Api<Release> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let params = PatchParams::apply("slipway-status").force();
    let patch = Patch::Apply(json!({
        "apiVersion": Release::api_version(&()),
        "kind": Release::kind(&()),
        // A Release that was deleted in between is not made again by its status.
        "metadata": { "name": id.name, "uid": subject.object.metadata.uid },
        "status": status,
    }));
    let written = within(
        || format!("write the status of {id}"),
        api.patch_status(id.name.as_str(), &params, &patch),
    )
    .await;
    found(written).map(|_| ())
}

/// Tells what people want to hear of: the ends of things, good and bad.
async fn event(context: &Context, subject: &Subject, status: &ReleaseStatus) {
    let worth = ["Live", "RolledBack", "Rejected"].contains(&status.phase.as_str())
        || status.phase.starts_with("Failed")
        || status.phase.starts_with("Waiting");
    if !worth {
        return;
    }
    let event = Event {
        type_: if status.phase == "Live" {
            EventType::Normal
        } else {
            EventType::Warning
        },
        reason: status
            .conditions
            .first()
            .map_or_else(|| "Phase".to_owned(), |condition| condition.reason.clone()),
        note: Some(act::clip(&status.message, 900)),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let reference = subject.object.object_ref(&());
    if let Err(error) = within(
        || "publish an event".to_owned(),
        context.recorder.publish(&event, &reference),
    )
    .await
    {
        tracing::warn!(release = %subject.id, error = %error.sentence(), "an event could not be published");
    }
}

/// A refusal of the API server is said in the status, since nothing will change by itself.
async fn tell_refusal(context: &Context, subject: &Subject, error: &ReconcileError) {
    let old = subject.object.status.clone().unwrap_or_default();
    let report = crate::plan::Report {
        phase: Phase::Failed("Applying"),
        message: error.sentence(),
        stage: crate::plan::Stage::Idle,
        current: None,
        live: None,
        live_version: old.live_version.clone(),
        declared_version: subject.declared().map(|declared| declared.version.to_string()),
        repairs: 0,
        details: Vec::new(),
    };
    let generation = subject.object.metadata.generation;
    let mut new = release_status(&subject.id, &report, &old, generation, Timestamp::now());
    new.current_revision.clone_from(&old.current_revision);
    new.live_revision.clone_from(&old.live_revision);
    if new != old
        && let Err(error) = patch_status(context, subject, &new).await
    {
        tracing::warn!(release = %subject.id, error = %error.sentence(), "the status could not be written");
    }
}

/// When to try again after an error: sooner for a passing fault, rarely where a person must act.
pub fn error_policy(release: Arc<Release>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let Some(id) = Subject::read((*release).clone()).map(|subject| subject.id) else {
        return Action::await_change();
    };
    let mut failures = 0;
    context.memory.update(&id, |memory| {
        memory.failures = memory.failures.saturating_add(1);
        failures = memory.failures;
    });
    tracing::warn!(release = %id, category = error.category(), error = %error.sentence(), "pass failed");
    match error.intent() {
        Intent::Stall => Action::requeue(Duration::from_secs(30)),
        _ => {
            Action::requeue(backoff(failures.saturating_sub(1), rand::random()).min(Duration::from_secs(20)))
        }
    }
}

/// Whether a declaration can be acted on; for logs.
#[must_use]
pub fn is_valid(declaration: &Declaration) -> bool {
    matches!(declaration, Declaration::Valid(_))
}
