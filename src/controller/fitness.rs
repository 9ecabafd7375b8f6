//! Whether the builder can run on the nodes: a trial when this process begins to lead, and from time to time where it failed.
//! A release that waits for a build says what it lacks, instead of a build that fails in the middle.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams, PropagationPolicy},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use crate::{
    api::{FIELD_MANAGER, meta},
    build::{
        builder::Builder,
        fitness::{Fitness, Processes},
    },
    cluster::{
        error::ClusterError,
        objects::{found, within},
    },
    plan::observed::BuildState,
    render::trial_job,
};

/// How often it is looked how far a trial is.
const LOOK: Duration = Duration::from_secs(2);
/// How long until the API server is asked again.
const SOON: Duration = Duration::from_secs(10);
/// A trial that ended so long before this process began is not believed: nodes may have changed. That of a moment ago is of the
/// replica that led before.
const OLD: SignedDuration = SignedDuration::from_mins(10);
/// How long until what cannot run is tried again: a node may have been mended or added.
const AGAIN: Duration = Duration::from_secs(120);

/// Tries the builder until it runs, or `token` is cancelled.
pub async fn try_out(context: &Context, known: watch::Sender<Fitness>, token: CancellationToken) {
    let Some(building) = &context.building else { return };
    // What an earlier process found out may hold no more: nodes and their settings change.
    let since = (context.clock)();
    loop {
        let pause = match Box::pin(trial(context, since)).await {
            Ok(BuildState::Pushed(_)) => {
                let fit = Fitness::Fit(processes(context).await);
                tracing::info!(namespace = %building.jobs.namespace(), found = fit.told().message, "the builder can run");
                learned(&known, fit);
                context.metrics.builder(true);
                if context.leader.leads()
                    && let Err(error) = clear(context, Which::Others).await
                {
                    tracing::warn!(error = %error.sentence(), "trials of other builders could not be cleared away");
                }
                return;
            }
            Ok(BuildState::Failed { sentence, .. }) => {
                tracing::warn!(namespace = %building.jobs.namespace(), why = sentence, "the builder cannot run here");
                learned(&known, Fitness::Unfit(sentence));
                context.metrics.builder(false);
                AGAIN
            }
            Ok(BuildState::Waiting(Some(why))) => {
                let sentence = format!("the pod that tries it has not started: {why}");
                learned(&known, Fitness::Unfit(sentence));
                LOOK
            }
            Ok(BuildState::Waiting(None) | BuildState::Running { .. }) => LOOK,
            Err(error) => {
                // Of the builder that says nothing.
                tracing::warn!(error = %error.sentence(), "the builder could not be tried; it is tried again");
                SOON
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = token.cancelled() => return,
        }
        if pause == AGAIN
            && context.leader.leads()
            && let Err(error) = clear(context, Which::Last).await
        {
            tracing::warn!(error = %error.sentence(), "the last trial of the builder could not be cleared away");
        }
    }
}

/// Who waits for it is woken only where that is something else.
fn learned(known: &watch::Sender<Fitness>, now: Fitness) {
    known.send_if_modified(|known| {
        let other = *known != now;
        *known = now;
        other
    });
}

/// The state of the trial, which is begun where there is none. That of the same builder is the same Job: what another process
/// found out is found here.
async fn trial(context: &Context, since: Timestamp) -> Result<BuildState, ClusterError> {
    let Some(building) = &context.building else {
        return Ok(BuildState::Waiting(None));
    };
    let job = rendered(&building.builder)?;
    let name = job.name_any();
    let namespace = building.jobs.namespace();
    let api: Api<Job> = Api::namespaced(context.client.clone(), namespace.as_str());
    let attempted = || format!("get Job {name} in {namespace}");
    let being_tried = || BuildState::Running {
        doing: "it is being tried".to_owned(),
        running_for: Duration::ZERO,
    };
    if let Some(job) = found(within(attempted, api.get(&name)).await)? {
        if job.metadata.deletion_timestamp.is_some() {
            // It goes, and the next one is made.
            return Ok(being_tried());
        }
        if context.leader.leads() && is_old(&job, since) {
            clear(context, Which::Last).await?;
            return Ok(being_tried());
        }
        return building
            .jobs
            .state_of(&job, context.hash_key().await?, (context.clock)())
            .await;
    }
    if context.leader.leads() {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let attempted = || format!("create Job {name} in {namespace}");
        match within(attempted, api.create(&params, &job)).await {
            // Another process has begun it.
            Err(error) if error.is_conflict() => {}
            made => {
                made?;
            }
        }
    }
    Ok(being_tried())
}

/// Whether a trial was over long before this process began.
fn is_old(job: &Job, since: Timestamp) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let over = conditions.into_iter().flatten().find(|condition| {
        condition.status == "True" && ["Complete", "Failed"].contains(&condition.type_.as_str())
    });
    over.and_then(|over| over.last_transition_time.as_ref())
        .is_some_and(|time| since.duration_since(time.0) > OLD)
}

/// How many processes a build may have, as the trial found out. What that was for is only to be told: no answer is none.
async fn processes(context: &Context) -> Processes {
    let counted = async {
        let building = context.building.as_ref()?;
        let name = rendered(&building.builder).ok()?.name_any();
        let namespace = building.jobs.namespace();
        let api: Api<Job> = Api::namespaced(context.client.clone(), namespace.as_str());
        let attempted = || format!("get Job {name} in {namespace}");
        let job = found(within(attempted, api.get(&name)).await).ok()??;
        building.jobs.processes(&job).await.ok()?
    };
    match counted.await {
        Some((count, true)) => Processes::Bounded(count),
        Some((_, false)) => Processes::Unbounded,
        None => Processes::Unknown,
    }
}

/// Which trials are over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// That of the builder as it is now, so that it is tried again.
    Last,
    /// Those of builders as they were: another image, other settings.
    Others,
}

async fn clear(context: &Context, which: Which) -> Result<(), ClusterError> {
    let Some(building) = &context.building else {
        return Ok(());
    };
    let own = rendered(&building.builder)?.name_any();
    let namespace = building.jobs.namespace();
    let api: Api<Job> = Api::namespaced(context.client.clone(), namespace.as_str());
    let names = if which == Which::Last {
        vec![own]
    } else {
        let params = ListParams::default().labels(meta::TRIAL);
        let attempted = || format!("list Jobs with the label {} in {namespace}", meta::TRIAL);
        let all = within(attempted, api.list(&params)).await?;
        let names = all.iter().map(ResourceExt::name_any);
        names.filter(|name| *name != own).collect::<Vec<String>>()
    };
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        ..DeleteParams::default()
    };
    for name in names {
        let attempted = || format!("delete Job {name} in {namespace}");
        found(within(attempted, api.delete(&name, &params)).await)?;
    }
    Ok(())
}

fn rendered(builder: &Builder) -> Result<Job, ClusterError> {
    serde_json::from_value(trial_job(builder))
        .map_err(|error| ClusterError::Unreadable(format!("the rendered Job: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_was_over_long_before_this_process_began_is_made_again() {
        let since: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        let job = |condition: &str, at: &str| -> Job {
            let status = serde_json::json!({"conditions": [{"type": condition, "status": "True", "lastTransitionTime": at}]});
            serde_json::from_value(serde_json::json!({"status": status})).unwrap()
        };
        assert!(is_old(&job("Complete", "2026-01-01T12:00:00Z"), since));
        assert!(is_old(&job("Failed", "2026-01-02T11:49:00Z"), since));
        assert!(
            !is_old(&job("Complete", "2026-01-02T11:55:00Z"), since),
            "of the one that led before"
        );
        assert!(
            !is_old(&job("Complete", "2026-01-02T12:01:00Z"), since),
            "its own"
        );
        assert!(!is_old(&job("Suspended", "2026-01-01T12:00:00Z"), since));
        assert!(!is_old(&Job::default(), since));
    }
}
