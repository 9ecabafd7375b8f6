//! Removal of what git removed: exposure first, then workloads, the `Release` last. Generated Secrets, ledger and
//! revisions stay.

use std::{collections::BTreeMap, time::Duration};

use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
};

use super::{compile::Compiled, releases::Meta};
use crate::{
    api::ReleaseSource,
    cluster::{
        error::ClusterError,
        objects::{self, KINDS, found, within},
        observe,
    },
    names::{ReleaseId, Uid},
    render::{Kind, Ownership, ours},
    source::{
        PruneFacts, plan_prune,
        prune::{MaxDeletions, Standing},
    },
};

/// What became of it.
#[derive(Debug, Default)]
pub struct Removal {
    /// Why something that git removed was kept.
    pub held: Option<String>,
}

/// How long clients may take to notice that the exposure is gone before pods are told to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Removes the releases of a source that its commit no longer declares, if every rule allows it. `existing` are the
/// releases of the source, each with the file that gave its version.
pub async fn removal(
    source: &ReleaseSource,
    client: &Client,
    compiled: &Compiled,
    existing: &BTreeMap<ReleaseId, String>,
    standing: Standing,
) -> Result<Removal, ClusterError> {
    let max_deletions = match source
        .spec
        .max_deletions
        .as_deref()
        .map(str::parse::<MaxDeletions>)
    {
        None => MaxDeletions::default(),
        Some(Ok(max)) => max,
        Some(Err(problem)) => return Ok(Removal { held: Some(problem) }),
    };
    let facts = PruneFacts {
        enabled: source.spec.prune != Some(false),
        standing,
        clean: compiled.clean,
        max_deletions,
    };
    let plan = plan_prune(
        &existing.keys().cloned().collect(),
        &compiled.declared(),
        &compiled.without_version(existing),
        facts,
    );
    for id in plan.remove {
        remove(client, &id).await?;
    }
    Ok(Removal { held: plan.held })
}

/// Whether the release is gone.
async fn remove(client: &Client, id: &ReleaseId) -> Result<bool, ClusterError> {
    if observe::ledger(client, id)
        .await?
        .is_some_and(|seen| seen.ledger.claimed().is_some())
    {
        tracing::info!(release = %id, "removal waits for the running migration");
        return Ok(false);
    }
    let exposing = [Kind::Ingress, Kind::Service];
    let mut drained = true;
    for kind in exposing {
        drained &= !delete_all(client, id, kind).await?;
    }
    if !drained {
        tokio::time::sleep(DRAIN).await;
    }
    for kind in KINDS.into_iter().filter(|kind| !exposing.contains(kind)).rev() {
        delete_all(client, id, kind).await?;
    }
    let api: Api<Meta> = Api::namespaced(client.clone(), id.namespace.as_str());
    let Some(release) = found(within(|| format!("get Release {id}"), api.get(id.name.as_str())).await)?
    else {
        return Ok(true);
    };
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: release.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    found(
        within(
            || format!("delete Release {id}"),
            api.delete(id.name.as_str(), &params),
        )
        .await,
    )?;
    tracing::info!(release = %id, "removed, as git removed it");
    Ok(true)
}

/// Deletes what is ours of a kind; whether there was any.
async fn delete_all(client: &Client, id: &ReleaseId, kind: Kind) -> Result<bool, ClusterError> {
    let mut any = false;
    for (key, live) in objects::list(client, id, kind).await? {
        if ours(id, &key, &live.value) == Ownership::Ours {
            let uid: &Uid = &live.uid;
            objects::delete(client, id, &key, uid, None).await?;
            any = true;
        }
    }
    Ok(any)
}
