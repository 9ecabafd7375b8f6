//! Builds: the moves of a build as a decision names them, and the end of those whose release is gone.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
    runtime::reflector::{ObjectRef, Store},
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{act::ActError, ask_commit::shown, context::Context, releases::Meta, subject::Subject};
use crate::{
    api::{FIELD_MANAGER, meta},
    build::{
        builder::Builder,
        fitness::Fitness,
        key::{BuildKey, Inputs, Wanted},
    },
    cluster::{
        builds::{Booked, Builds, waiting},
        error::ClusterError,
        hash_key::HashKey,
        objects::{found, within},
        observe,
    },
    names::{ReleaseId, Uid},
    plan::{
        Observed,
        decision::BuildStep,
        observed::{BuildSeen, BuilderSeen, CommitSeen},
    },
    render::{BuildInput, build_job, want},
    spec::Declared,
};

/// How often it is looked for builds whose release is gone.
const TIDY: Duration = Duration::from_secs(20);

/// What builds images here.
pub struct Building {
    /// How.
    pub builder: Builder,
    /// The Jobs.
    pub jobs: Builds,
    /// Whether it can run on the nodes.
    pub fitness: watch::Receiver<Fitness>,
}

impl Building {
    /// What a pass sees of the builder and of its builds.
    ///
    /// # Errors
    /// The API server was not reached.
    pub async fn seen(
        &self,
        id: &ReleaseId,
        declared: Option<&Declared>,
        commit: &CommitSeen,
        hashes: &HashKey,
        now: jiff::Timestamp,
    ) -> Result<(BuilderSeen, Vec<BuildSeen>), ClusterError> {
        let reference = declared.map(|declared| declared.image.reference());
        let wanted = declared
            .zip(reference.as_ref())
            .and_then(|(declared, reference)| Wanted::of(declared, reference));
        let version = self.builder.version();
        let key = match (wanted, commit) {
            (Some(wanted), CommitSeen::Known(commit)) => Some(Inputs::of(wanted, &version).at(commit)),
            _ => None,
        };
        let key = key.as_ref().map(BuildKey::short);
        let builds = self.jobs.of(id, key, hashes, now).await?;
        let repository = declared
            .map(|declared| declared.image.repository.as_str())
            .unwrap_or_default();
        let seen = if wanted.is_some() && !self.builder.may_push(&id.namespace, repository) {
            BuilderSeen::Refused(format!(
                "releases of namespace {} may not have images pushed to {repository}; whoever installed Slipway lets them by \
                 the chart's builds.repositories",
                id.namespace
            ))
        } else {
            match &*self.fitness.borrow() {
                Fitness::Checking => BuilderSeen::Checking(version),
                Fitness::Unfit(why) => BuilderSeen::Unfit(version, why.clone()),
                Fitness::Fit(_) => BuilderSeen::Ready(version),
            }
        };
        Ok((seen, builds))
    }
}

/// One move of a build.
pub async fn build(
    context: &Context,
    subject: &Subject,
    observed: &Observed,
    step: &BuildStep,
) -> Result<(), ActError> {
    let (Some(building), Some(declared)) = (&context.building, subject.declared()) else {
        return match (&context.building, step) {
            (Some(building), BuildStep::Leave { job, uid, over }) => {
                Ok(leave(context, building, &observed.id, (job, uid, over)).await?)
            }
            (Some(building), BuildStep::Delete { job, uid, over }) => {
                Ok(delete(context, building, (job, uid, over)).await?)
            }
            _ => Ok(()),
        };
    };
    let id = &observed.id;
    match step {
        BuildStep::Create {
            commit,
            run,
            tries,
            larger,
        } => {
            let reference = declared.image.reference();
            let Some(wanted) = Wanted::of(declared, &reference) else {
                return Ok(());
            };
            secrets(context, building, wanted).await?;
            let job = build_job(&BuildInput {
                builder: &building.builder,
                wanted,
                commit,
                run: *run,
                tries: *tries,
                larger: *larger,
                by: (id, declared.attempt),
            });
            create(context, building, job).await
        }
        BuildStep::Book {
            job,
            uid,
            over,
            sentence,
            tail,
            again,
        } => {
            let booked = Booked::new(sentence, tail, *again).text();
            let annotations = json!({ (meta::FAILED): booked });
            // A Job that went, or was booked by another process, needs it no more.
            found(mark(context, building, (job, uid, over), json!({}), annotations).await)?;
            Ok(())
        }
        BuildStep::Join { job, uid, over } => {
            let want = want(id);
            let (labels, annotations) = (
                json!({ (want.as_str()): declared.attempt.to_string() }),
                json!({ (want.as_str()): id.to_string() }),
            );
            Ok(mark(context, building, (job, uid, over), labels, annotations).await?)
        }
        BuildStep::Leave { job, uid, over } => Ok(leave(context, building, id, (job, uid, over)).await?),
        BuildStep::Delete { job, uid, over } => Ok(delete(context, building, (job, uid, over)).await?),
    }
}

async fn create(context: &Context, building: &Building, job: Value) -> Result<(), ActError> {
    let mut job: Job = serde_json::from_value(job)
        .map_err(|error| ClusterError::Unreadable(format!("the rendered Job: {error}")))?;
    note_values(context, building, &mut job).await?;
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let name = job.name_any();
    let attempted = || format!("create Job {name} in {}", building.jobs.namespace());
    within(attempted, jobs(context, building).create(&params, &job)).await?;
    tracing::info!(job = name, "a build begins");
    Ok(())
}

/// What its Dockerfile is given of Secrets is noted on the pod, as a hash: only as long as they hold the same can it be taken out of
/// what is printed.
async fn note_values(context: &Context, building: &Building, job: &mut Job) -> Result<(), ClusterError> {
    let Some(template) = job.spec.as_mut().map(|spec| &mut spec.template) else {
        return Ok(());
    };
    let Some(pod) = &template.spec else { return Ok(()) };
    let key = context.hash_key().await?;
    let namespace = building.jobs.namespace();
    if let Some(hash) = observe::hash_of_build(&context.client, namespace, pod, key).await? {
        let metadata = template.metadata.get_or_insert_default();
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(meta::VALUES.to_owned(), hash);
    }
    Ok(())
}

fn jobs(context: &Context, building: &Building) -> Api<Job> {
    Api::namespaced(context.client.clone(), building.jobs.namespace().as_str())
}

/// A Job as it was seen: its name, its UID, its resourceVersion.
type Seen<'a> = (&'a str, &'a Uid, &'a str);

async fn mark(
    context: &Context,
    building: &Building,
    (job, uid, over): Seen<'_>,
    labels: Value,
    annotations: Value,
) -> Result<(), ClusterError> {
    let patch = json!({ "metadata": {
        "uid": uid,
        "resourceVersion": over,
        "labels": labels,
        "annotations": annotations,
    } });
    let attempted = || format!("mark Job {job} in {}", building.jobs.namespace());
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    within(
        attempted,
        jobs(context, building).patch_metadata(job, &params, &Patch::Merge(&patch)),
    )
    .await?;
    Ok(())
}

async fn leave(
    context: &Context,
    building: &Building,
    id: &ReleaseId,
    job: Seen<'_>,
) -> Result<(), ClusterError> {
    let none = json!({ (want(id)): null });
    found(mark(context, building, job, none.clone(), none).await)?;
    Ok(())
}

/// Ends a build, or clears it away. Only while nobody else has come to wait for it.
async fn delete(
    context: &Context,
    building: &Building,
    (job, uid, over): Seen<'_>,
) -> Result<(), ClusterError> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_string()),
            resource_version: Some(over.to_owned()),
        }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    let attempted = || format!("delete Job {job} in {}", building.jobs.namespace());
    found(within(attempted, jobs(context, building).delete(job, &params)).await)?;
    tracing::info!(job, "nobody waits for this build any more");
    Ok(())
}

/// That the Secrets of the spec are there and are for its repository: looked at before each Job, since a build that is begun again
/// asks nobody else, and spec and annotations may have been changed since. What one holds stays where it is: the kubelet alone
/// gives it to the pod.
async fn secrets(context: &Context, building: &Building, wanted: Wanted<'_>) -> Result<(), ActError> {
    let namespace = building.jobs.namespace();
    let git = &wanted.origin.git;
    if let Some(name) = &wanted.origin.secret {
        let lacks = |why: String| ActError::BuildSecret(format!("source.secret: {why}"));
        shown(&context.client, namespace, name, git)
            .await?
            .map_err(lacks)?;
    }
    for (id, key) in &wanted.build.secrets {
        let lacks = |why: String| ActError::BuildSecret(format!("build.secrets.{id}: {why}"));
        let secret = shown(&context.client, namespace, &key.name, git)
            .await?
            .map_err(lacks)?;
        if !secret.data.unwrap_or_default().contains_key(&key.key) {
            return Err(lacks(format!(
                "Secret {} in namespace {namespace} has no key {}",
                key.name, key.key
            )));
        }
    }
    Ok(())
}

/// Waits for the first list of Releases: before it has come each of them would seem to be gone, and its build be ended. Whether
/// it came before the end of everything.
async fn listed(releases: &Store<Meta>, token: &CancellationToken) -> bool {
    tokio::select! {
        ready = releases.wait_until_ready() => ready.is_ok(),
        () = token.cancelled() => false,
    }
}

fn is_gone(releases: &Store<Meta>, id: &ReleaseId) -> bool {
    let object = ObjectRef::new(id.name.as_str()).within(id.namespace.as_str());
    releases.get(&object).is_none()
}

/// Leaves the builds of releases that are gone, until `token` is cancelled.
pub async fn tidy(context: &Context, releases: &Store<Meta>, token: CancellationToken) {
    let Some(building) = &context.building else {
        return token.cancelled().await;
    };
    if !listed(releases, &token).await {
        return;
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(TIDY) => {}
            () = token.cancelled() => return,
        }
        for job in building.jobs.all() {
            let all: Vec<ReleaseId> = waiting(&job).collect();
            let Some(gone) = all.iter().find(|id| is_gone(releases, id)) else {
                continue;
            };
            let (Some(uid), Some(over)) = (job.uid(), job.resource_version()) else {
                continue;
            };
            let Ok(uid) = uid.parse::<Uid>() else { continue };
            if !context.leader.leads() {
                continue;
            }
            let seen = (job.name_any(), uid, over);
            let seen = (seen.0.as_str(), &seen.1, seen.2.as_str());
            let left = if all.len() > 1 {
                leave(context, building, gone, seen).await
            } else {
                delete(context, building, seen).await
            };
            if let Err(error) = left {
                tracing::warn!(error = %error.sentence(), "a build of a release that is gone could not be left; it is tried again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::{
        core::{ObjectMeta, PartialObjectMetaExt as _},
        runtime::{reflector, watcher::Event},
    };

    use super::*;

    fn id(name: &str) -> ReleaseId {
        ReleaseId {
            namespace: "shop".parse().unwrap(),
            name: name.parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn no_release_is_taken_for_gone_before_the_first_list_is_whole() {
        let (releases, mut writer) = reflector::store::<Meta>();
        let token = CancellationToken::new();
        let metadata = ObjectMeta {
            name: Some("app".to_owned()),
            namespace: Some("shop".to_owned()),
            ..ObjectMeta::default()
        };
        let listing = listed(&releases, &token);
        tokio::pin!(listing);
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitApply(metadata.into_response_partial()));
        assert!(futures::poll!(&mut listing).is_pending(), "half of a list");
        writer.apply_watcher_event(&Event::InitDone);
        assert!(listing.await);
        assert!(!is_gone(&releases, &id("app")));
        assert!(is_gone(&releases, &id("other")));
    }

    #[tokio::test]
    async fn who_is_told_to_end_waits_for_no_list() {
        let (releases, _writer) = reflector::store::<Meta>();
        let token = CancellationToken::new();
        token.cancel();
        assert!(!listed(&releases, &token).await);
    }
}
