//! What a pass over a release says: its status in one write, and events for those who only hear of the ends of things.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Resource as _,
    api::{Patch, PatchParams},
    runtime::events::{Event, EventType},
};
use serde_json::json;
use tokio::time::Instant;

use super::{act::clip, context::Context, releases::Meta, subject::Subject, tally};
use crate::{
    api::{Condition, Release, ReleaseRevision, ReleaseStatus},
    cluster::{
        error::ClusterError,
        objects::{found, within},
    },
    plan::{Phase, Report, Stage, build::PROGRESS},
    status::{is_progress, release_status},
};

/// What was decided, and all repairs that no status has counted yet.
pub async fn decided(
    context: &Context,
    subject: &Subject,
    mut report: Report,
    now: Timestamp,
) -> Result<(), ClusterError> {
    let done = context.memory.get(&subject.id).repairs;
    report.repairs = done;
    let old = subject.object.status.clone().unwrap_or_default();
    let generation = subject.object.metadata.generation;
    let new = release_status(&subject.id, &report, &old, generation, now);
    let newest = report.current.or(report.live);
    write(context, subject, &report.phase, &old, &new, newest.map(|r| r.0)).await?;
    context.memory.update(&subject.id, |memory| {
        memory.repairs = memory.repairs.saturating_sub(done);
    });
    Ok(())
}

/// Why nothing was decided or done. What else the status says is as it was seen last.
pub async fn hindered(context: &Context, subject: &Subject, phase: Phase, message: String) {
    let old = subject.object.status.clone().unwrap_or_default();
    let report = Report {
        phase,
        message,
        stage: Stage::Idle,
        current: None,
        live: None,
        live_version: old.live_version.clone(),
        declared_version: subject.declared().map(|declared| declared.version.to_string()),
        repairs: 0,
        variables: old.variables.clone(),
        details: Vec::new(),
    };
    let generation = subject.object.metadata.generation;
    let mut new = release_status(&subject.id, &report, &old, generation, (context.clock)());
    new.current_revision.clone_from(&old.current_revision);
    new.live_revision.clone_from(&old.live_revision);
    let unseen = |before: &&Condition| new.conditions.iter().all(|now| now.type_ != before.type_);
    let unseen: Vec<Condition> = old.conditions.iter().filter(unseen).cloned().collect();
    new.conditions.extend(unseen);
    if let Err(error) = write(context, subject, &report.phase, &old, &new, None).await {
        tracing::warn!(error = %error.sentence(), "the status could not be written");
    }
}

/// One write, and none when nothing would change.
async fn write(
    context: &Context,
    subject: &Subject,
    phase: &Phase,
    old: &ReleaseStatus,
    new: &ReleaseStatus,
    revision: Option<u64>,
) -> Result<(), ClusterError> {
    tally::in_phase(context, &subject.id, phase);
    if new == old {
        return Ok(());
    }
    let told = context.memory.get(&subject.id).told;
    if is_progress(old, new) && told.is_some_and(|at| at.elapsed() < PROGRESS) {
        return Ok(());
    }
    patch(context, subject, new).await?;
    context
        .memory
        .update(&subject.id, |memory| memory.told = Some(Instant::now()));
    if old.phase != new.phase {
        tracing::info!(revision, phase = %new.phase, message = %new.message, "phase");
        event(context, subject, new).await;
    }
    Ok(())
}

async fn patch(context: &Context, subject: &Subject, status: &ReleaseStatus) -> Result<(), ClusterError> {
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
        note: Some(clip(&status.message, 900)),
        action: "Reconcile".to_owned(),
        // What is told of another revision is another event: the recorder takes one that differs in its words alone for a
        // repetition, and keeps the words of the first.
        secondary: status.current_revision.clone().map(|name| ObjectReference {
            api_version: Some(ReleaseRevision::api_version(&()).into_owned()),
            kind: Some(ReleaseRevision::kind(&()).into_owned()),
            namespace: Some(subject.id.namespace.to_string()),
            name: Some(name),
            ..ObjectReference::default()
        }),
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
