//! Releases of which only objects are left in the cluster: they are found by their Deployments, and belong to the source whose
//! history declared them.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Resource as _, ResourceExt as _, api::ListParams, core::PartialObjectMeta};

use super::{
    super::{
        compile::Compiled,
        subject::{declared_at, release_id},
    },
    Context, SourceError, lineage,
    remove::Existing,
};
use crate::{
    api::{ReleaseSource, meta},
    cluster::objects::within,
    names::ReleaseId,
    render::Kind,
};

/// Releases that this source declared once and of which only objects are left, since somebody deleted the `Release` and
/// git removed it before it was written again.
pub async fn left_over(
    source: &ReleaseSource,
    context: &Context,
    compiled: &Compiled,
    known: impl Fn(&ReleaseId) -> bool,
) -> Result<BTreeMap<ReleaseId, Existing>, SourceError> {
    let api: Api<PartialObjectMeta<Deployment>> = Api::all(context.client.clone());
    let params = ListParams::default().labels(meta::RELEASE).match_any();
    let list = within(
        || "list the Deployments of all releases".to_owned(),
        api.list(&params),
    )
    .await?;
    let declared = compiled.declared();
    let mut claims = Vec::new();
    for object in list.items {
        let Some(claim) = claim(&object) else { continue };
        if !known(&claim.id) && !declared.contains(&claim.id) {
            claims.push(claim);
        }
    }
    let confirmed = lineage::confirmed(source, context, &compiled.commit, claims).await;
    Ok(confirmed
        .into_iter()
        .map(|claim| {
            let existing = Existing {
                file: claim.file,
                seen: None,
                marked: false,
            };
            (claim.id, existing)
        })
        .collect())
}

/// What an object says of the release that it belongs to; `None` where it is owned, is not ours or goes already.
fn claim(object: &PartialObjectMeta<Deployment>) -> Option<lineage::Claim> {
    let metadata = object.meta();
    let annotations = object.annotations();
    let (namespace, name) = (object.namespace()?, object.name_any());
    let itself = format!("{}/{namespace}/{name}", Kind::Deployment.as_str());
    let fits = annotations.get(meta::OBJECT) == Some(&itself);
    if !fits || !object.owner_references().is_empty() || metadata.deletion_timestamp.is_some() {
        return None;
    }
    let release = kube::api::ObjectMeta {
        name: object.labels().get(meta::RELEASE).cloned(),
        namespace: Some(namespace),
        ..kube::api::ObjectMeta::default()
    };
    Some(lineage::Claim {
        id: release_id(&release)?,
        commit: declared_at(metadata)?,
        file: annotations.get(meta::PATH)?.clone(),
    })
}
