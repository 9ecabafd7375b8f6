//! The release loop, one pass: observe (client) → decide (pure) → render (pure) → apply (client) → status (pure, one
//! write).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{
    Api, Resource as _,
    api::{Patch, PatchParams},
    runtime::{
        controller::Action,
        events::{Event, EventType},
    },
};
use serde_json::json;

use super::{
    act::{self, ActError},
    context::Context,
    guard::Stopped,
    look::{ask, ask_tag, look},
    releases::Meta,
    span,
    subject::{Subject, release_id},
    tally,
};
use crate::{
    api::{Release, ReleaseStatus},
    cluster::{
        custom::{self, Custom},
        error::{ClusterError, Intent, backoff},
        objects::{found, within},
    },
    names::ReleaseId,
    plan::{Decision, Observed, Phase, Stage, Step, Wait, decide, observed::ImageSeen, rollout},
    render::ObjectKey,
    spec::{declared::ImagePick, strict},
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
    /// Another process may lead now: nothing more is written.
    #[error("this process does not lead any more")]
    NotLeading,
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
            Self::NotLeading => "not_leading",
            Self::Stopped(_) => "stopped",
        }
    }

    fn intent(&self) -> Intent {
        match self {
            Self::Cluster(error) | Self::Act(ActError::Cluster(error)) => error.intent(),
            Self::Act(_) => Intent::Stall,
            Self::NotLeading | Self::Stopped(_) => Intent::Retry,
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
    subject.seek_source(&context.client).await?;
    let id = subject.id.clone();
    match pass(&context, &mut subject).await {
        Ok(action) => {
            context.memory.update(&id, |memory| memory.failures = 0);
            Ok(action)
        }
        Err(error) if error.intent() == Intent::LookAgain => Ok(look_again(&context, &subject, &error).await),
        Err(error) => {
            // What lasts is said, however passing its kind is.
            let lasts = context.memory.get(&id).failures >= CONFLICTS && context.leader.leads();
            if error.intent() == Intent::Stall || lasts {
                tell_refusal(&context, &subject, &error).await;
            }
            Err(error)
        }
    }
}

async fn pass(context: &Context, subject: &mut Subject) -> Result<Action, ReconcileError> {
    let id = subject.id.clone();
    let mut image = ImageSeen::NotAsked;
    let mut repairs = 0;
    let mut written = Written::default();
    for round in 0..LOOKS {
        let observed = look(context, subject, image.clone()).await?; // client
        if round == 0 {
            span::revision(observed.current.as_ref().map(|current| current.number));
        }
        let mut decision = decide(&observed); // no client
        if let Some(wait) = written.fight(context, &id, &decision) {
            return fought(context, subject, &observed, decision, wait).await;
        }
        if decision.steps.contains(&Step::AskRegistry)
            && let Some(declared) = subject.declared()
        {
            image = ask(context, &id, declared).await; // client
        }
        for step in &decision.steps {
            lead(context)?;
            act::act(context, subject, &observed, step).await?; // client, renders inside
        }
        remember(context, subject, &observed, &decision);
        repairs += decision.report.repairs;
        decision.report.repairs = repairs;
        if decision.wait != Wait::Again {
            if decision.steps.is_empty() && ask_tag(context, subject, &observed).await {
                continue; // with what the registry said
            }
            if decision.report.phase == Phase::Live
                && let Some(source) = subject.gone_source(&context.client).await?
            {
                let sentence = format!(
                    "ReleaseSource {source} is gone, so git is not followed any more; what runs is kept, and another source \
                     that declares it takes it over"
                );
                decision.report.details.push(("SourceGone", sentence));
            }
            lead(context)?;
            write_status(context, subject, &decision, observed.now).await?; // client, status is pure
            return Ok(next_look(&decision, tag_interval(context, subject)));
        }
    }
    Ok(Action::requeue(Duration::from_secs(1)))
}

/// Conflicts in a row that are everyday: controllers, kubelets and people write at the same time.
const CONFLICTS: u32 = 5;

/// Somebody else wrote first. Where that does not end it is said, and not tried five times a second.
async fn look_again(context: &Context, subject: &Subject, error: &ReconcileError) -> Action {
    let mut conflicts = 0;
    context.memory.update(&subject.id, |memory| {
        memory.failures = memory.failures.saturating_add(1);
        conflicts = memory.failures;
    });
    tracing::debug!(error = %error.sentence(), "somebody else wrote first");
    if conflicts <= CONFLICTS {
        return Action::requeue(Duration::from_millis(200));
    }
    tracing::warn!(error = %error.sentence(), conflicts, "conflicts do not end");
    tell_refusal(context, subject, error).await;
    Action::requeue(backoff(conflicts - CONFLICTS, rand::random()).min(Duration::from_secs(60)))
}

/// How often one object may be put right in a pass before somebody must be changing it as it is written.
const AT_MOST: u32 = 3;

/// What a pass has applied so far.
#[derive(Default)]
struct Written(BTreeMap<ObjectKey, u32>);

impl Written {
    /// For how long nothing is to be applied, since others change an object as soon as it is put right: an admission
    /// webhook, another controller. A fight that nobody can win is not fought by the second.
    fn fight(&mut self, context: &Context, id: &ReleaseId, decision: &Decision) -> Option<Duration> {
        let mut again = false;
        let objects = decision.steps.iter().filter_map(|step| match step {
            Step::Apply { objects, .. } => Some(objects),
            _ => None,
        });
        let mut applies = false;
        for (object, _) in objects.flatten() {
            applies = true;
            let count = self.0.entry(object.key.clone()).or_default();
            *count += 1;
            again |= *count > AT_MOST;
        }
        let now = Instant::now();
        let mut wait = None;
        context.memory.update(id, |memory| {
            if again {
                memory.fights = memory.fights.saturating_add(1);
                let pause = Duration::from_secs(10 << memory.fights.min(5)).min(Duration::from_secs(300));
                memory.truce = Some(now + pause);
            }
            let left = memory.truce.map(|until| until.saturating_duration_since(now));
            wait = left.filter(|left| applies && !left.is_zero());
            if !applies && memory.truce.is_some_and(|until| until <= now) {
                (memory.fights, memory.truce) = (0, None);
            }
        });
        wait
    }
}

/// Says that others change what is put right, and lets it be for a while.
async fn fought(
    context: &Context,
    subject: &Subject,
    observed: &Observed,
    mut decision: Decision,
    wait: Duration,
) -> Result<Action, ReconcileError> {
    let names: BTreeSet<String> = decision
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Apply { objects, .. } => Some(objects),
            _ => None,
        })
        .flatten()
        .map(|(object, _)| object.key.to_string())
        .collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    tracing::warn!(objects = names, "others change what is put right");
    let sentence = format!(
        "{names} is changed by somebody else as soon as it is put right, perhaps by an admission webhook; it is tried \
         again from time to time. kubectl get … --show-managed-fields tells who it is"
    );
    decision.report.message = format!("{}; {sentence}", decision.report.message);
    decision.report.details.push(("Drifted", sentence));
    lead(context)?;
    write_status(context, subject, &decision, observed.now).await?;
    Ok(Action::requeue(wait))
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
        if memory.rolling.map(|(number, _)| number) != rolling {
            memory.rolling = rolling.map(|number| (number, Instant::now()));
        }
        if decision.is_settled() && decision.report.phase == Phase::Live {
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

/// One write, and none when nothing would change.
async fn write_status(
    context: &Context,
    subject: &Subject,
    decision: &Decision,
    now: Timestamp,
) -> Result<(), ClusterError> {
    let id = &subject.id;
    tally::in_phase(context, id, &decision.report.phase);
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
            revision = decision.report.current.or(live).map(|r| r.0),
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
    let api: Api<Meta> = Api::namespaced(context.client.clone(), id.namespace.as_str());
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
    let phase = status.phase.as_str();
    let worth = ["Live", "RolledBack", "Rejected"].contains(&phase)
        || phase.starts_with("Failed")
        // Nothing can be made in a namespace that is being deleted, no event either.
        || (phase.starts_with("Waiting") && phase != "Waiting(NamespaceTerminating)");
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
        tracing::warn!(error = %error.sentence(), "an event could not be published");
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
    tally::in_phase(context, &subject.id, &report.phase);
    let generation = subject.object.metadata.generation;
    let mut new = release_status(&subject.id, &report, &old, generation, Timestamp::now());
    new.current_revision.clone_from(&old.current_revision);
    new.live_revision.clone_from(&old.live_revision);
    if new != old
        && let Err(error) = patch_status(context, subject, &new).await
    {
        tracing::warn!(error = %error.sentence(), "the status could not be written");
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
    match error.intent() {
        Intent::Stall => Action::requeue(Duration::from_secs(30)),
        _ => {
            Action::requeue(backoff(failures.saturating_sub(1), rand::random()).min(Duration::from_secs(20)))
        }
    }
}
