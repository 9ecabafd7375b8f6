//! Whether the builder can run on the nodes: a trial when this process begins to lead, and from time to time where it failed.
//! A release that waits for a build says what it lacks, instead of a build that fails in the middle.

use std::time::Duration;

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
/// How long until what cannot run is tried again: a node may have been mended or added.
const AGAIN: Duration = Duration::from_secs(120);

/// Tries the builder until it runs, or `token` is cancelled.
pub async fn try_out(context: &Context, known: watch::Sender<Fitness>, token: CancellationToken) {
    let Some(building) = &context.building else { return };
    loop {
        let pause = match Box::pin(trial(context)).await {
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
                tracing::warn!(error = %error.sentence(), "the builder could not be tried; it is tried again");
                let why = format!("it could not be tried: {}", error.sentence());
                learned(&known, Fitness::Unfit(why));
                AGAIN
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
async fn trial(context: &Context) -> Result<BuildState, ClusterError> {
    let Some(building) = &context.building else {
        return Ok(BuildState::Waiting(None));
    };
    let job = rendered(&building.builder)?;
    let name = job.name_any();
    let namespace = building.jobs.namespace();
    let api: Api<Job> = Api::namespaced(context.client.clone(), namespace.as_str());
    let attempted = || format!("get Job {name} in {namespace}");
    if let Some(job) = found(within(attempted, api.get(&name)).await)? {
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
        within(attempted, api.create(&params, &job)).await?;
    }
    Ok(BuildState::Running {
        doing: "it is being tried".to_owned(),
        running_for: Duration::ZERO,
    })
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
