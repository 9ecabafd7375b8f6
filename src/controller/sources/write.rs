//! Releases as git declares them → `Release` objects, written only where they differ.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{ListParams, PostParams},
    core::{DeserializeGuard, PartialObjectMeta},
};

use super::{
    super::{compile, subject::release_id},
    Context, SourceError,
};
use crate::{
    api::{Release, ReleaseSource, meta, source::SourceProblem},
    cluster::{
        error::ClusterError,
        objects::{found, within},
    },
    names::ReleaseId,
    spec,
};

/// A `Release` as it is listed: one that cannot be read is written again, and hides no other.
type Listed = DeserializeGuard<Release>;

/// Writes every release whose spec differs from what git says; returns the releases of this source.
pub async fn write_releases(
    source: &ReleaseSource,
    context: &Context,
    compiled: &compile::Compiled,
    problems: &mut Vec<SourceProblem>,
) -> Result<BTreeMap<ReleaseId, String>, SourceError> {
    let all: Api<Listed> = Api::all(context.client.clone());
    let list = within(|| "list Releases".to_owned(), all.list(&ListParams::default())).await?;
    let name = source.name_any();
    let mut existing: BTreeMap<ReleaseId, Listed> = BTreeMap::new();
    for release in list.items {
        if let Some(id) = release_id(release.meta()) {
            existing.insert(id, release);
        }
    }
    let sources: Api<PartialObjectMeta<ReleaseSource>> = Api::all(context.client.clone());
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
        context.lead()?;
        if let Err(error) = write_release(&name, context, id, merged, before).await {
            if error.is_refused() || error.is_not_found() {
                problems.push(SourceProblem {
                    place: merged.place.clone(),
                    message: refusal(id, &error),
                });
            } else if !error.is_conflict() {
                return Err(error.into());
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
    before: Option<&Listed>,
) -> Result<(), ClusterError> {
    let hash = spec::spec_hash(&merged.spec);
    if let Some(before) = before {
        let written = before.annotations().get(meta::SPEC_HASH) == Some(&hash);
        let ours = before
            .labels()
            .get(meta::SOURCE)
            .is_some_and(|label| label == source);
        let same = |before: &Release| spec::spec_hash(&before.spec) == hash;
        if written && ours && before.0.as_ref().is_ok_and(same) {
            return Ok(());
        }
    }
    let api: Api<Release> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let mut object = Release::new(id.name.as_str(), merged.spec.clone());
    object.metadata.namespace = Some(id.namespace.to_string());
    if let Some(before) = before {
        object.metadata = before.meta().clone();
    }
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
