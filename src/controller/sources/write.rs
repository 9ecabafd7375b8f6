//! Releases as git declares them → `Release` objects, written only where they differ.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{ListParams, PostParams},
    core::{DeserializeGuard, PartialObjectMeta},
};

use super::{
    super::{
        compile,
        subject::{declared_at, release_id},
    },
    Context, SourceError, fetch, lineage, namespace,
    remove::Existing,
};
use crate::{
    api::{Release, ReleaseSource, meta, source::SourceProblem},
    cluster::{
        error::ClusterError,
        objects::{found, pages, within},
    },
    names::{CommitId, ReleaseId},
    plan::lineage::{May, Relation, may},
    spec,
};

/// A `Release` as it is listed: one that cannot be read is written again, and hides no other.
pub type Listed = DeserializeGuard<Release>;

/// Writes every release whose spec differs from what git says; returns all releases as they were before, and what may be
/// done about those whose commit is not the one that git names.
pub async fn write_releases(
    source: &ReleaseSource,
    context: &Context,
    compiled: &compile::Compiled,
    problems: &mut Vec<SourceProblem>,
    unfinished: &mut bool,
) -> Result<(BTreeMap<ReleaseId, Listed>, BTreeMap<ReleaseId, May>), SourceError> {
    let all: Api<Listed> = Api::all(context.client.clone());
    let name = source.name_any();
    let mut existing: BTreeMap<ReleaseId, Listed> = BTreeMap::new();
    let attempted = || "list Releases".to_owned();
    pages(attempted, &all, ListParams::default(), |release| {
        if let Some(id) = release_id(release.meta()) {
            existing.insert(id, release);
        }
    })
    .await?;
    let lineage = lineage(source, context, compiled, &existing).await;
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
        let may = lineage.get(id).copied().unwrap_or(May::Write);
        let differs = before.is_none_or(|before| differs(&name, merged, before));
        if may == May::Hold && differs {
            problems.push(SourceProblem {
                place: merged.place.clone(),
                message: held(id, before, &compiled.commit),
            });
        }
        if matches!(may, May::Hold | May::Wait) || (may == May::Write && !differs) {
            continue;
        }
        context.lead()?;
        let made_by = (source.spec.create_namespaces == Some(true)).then_some(name.as_str());
        let write = || write_release(source, context, id, merged, before);
        if let Err(error) = namespace::writing(&context.client, &id.namespace, made_by, write).await {
            // One that is not written never keeps the others. It is tried again soon, unless it was refused as it is.
            if !error.is_refused() || error.is_terminating() {
                *unfinished = true;
            }
            // Somebody else wrote, or deleted it, meanwhile.
            let raced = error.is_conflict() || (before.is_some() && error.is_not_found());
            if !raced {
                problems.push(SourceProblem {
                    place: merged.place.clone(),
                    message: refusal(id, &error),
                });
            }
        }
    }
    Ok((existing, lineage))
}

/// What may be done about the releases of this source whose commit is not the one that git names.
async fn lineage(
    source: &ReleaseSource,
    context: &Context,
    compiled: &compile::Compiled,
    existing: &BTreeMap<ReleaseId, Listed>,
) -> BTreeMap<ReleaseId, May> {
    let name = source.name_any();
    let others: Vec<(&ReleaseId, &Listed, CommitId)> = existing
        .iter()
        .filter(|(_, release)| release.labels().get(meta::SOURCE) == Some(&name))
        .filter_map(|(id, release)| {
            let commit = declared_at(release.meta())?;
            let declared = compiled.releases.get(id);
            let known = declared.is_some_and(|declared| declared.provenance.commit == commit);
            (!known).then_some((id, release, commit))
        })
        .collect();
    let commits = others.iter().map(|(.., commit)| commit.clone()).collect();
    let relations = lineage::relations(source, context, &compiled.commit, commits).await;
    let place = fetch::place(source);
    others
        .into_iter()
        .map(|(id, release, commit)| {
            let relation = relations.get(&commit).copied().unwrap_or(Relation::Missing);
            let same = release.annotations().get(meta::ORIGIN) == Some(&place);
            (id.clone(), may(relation, same && fetch::only_grows(source)))
        })
        .collect()
}

/// Why a release is left as it is.
pub fn held(id: &ReleaseId, release: Option<&Listed>, read: &CommitId) -> String {
    let commit = release.and_then(|release| declared_at(release.meta()));
    format!(
        "release {id} was written from commit {}, which is not part of the history of {}: it is left as it is, since it \
         may be newer. If the branch was rewritten, set git.allowRewrite",
        commit.as_ref().map_or("?", CommitId::short),
        read.short()
    )
}

/// The releases of a source.
pub fn of_source(source: &str, listed: &BTreeMap<ReleaseId, Listed>) -> BTreeMap<ReleaseId, Existing> {
    listed
        .iter()
        .filter(|(_, release)| {
            release
                .labels()
                .get(meta::SOURCE)
                .is_some_and(|label| label == source)
        })
        .map(|(id, release)| {
            let annotations = release.annotations();
            let existing = Existing {
                file: annotations.get(meta::PATH).cloned().unwrap_or_default(),
                seen: release.uid().zip(release.resource_version()),
                marked: annotations.contains_key(meta::REMOVING),
            };
            (id.clone(), existing)
        })
        .collect()
}

fn refusal(id: &ReleaseId, error: &ClusterError) -> String {
    if error.lacks_namespace() {
        format!(
            "Waiting(NamespaceMissing): namespace {} of release {id} does not exist; create it, or say createNamespaces: \
             true",
            id.namespace
        )
    } else if error.is_terminating() {
        format!(
            "Waiting(NamespaceTerminating): namespace {} of release {id} is being deleted; it goes on when it is there \
             again",
            id.namespace
        )
    } else {
        error.sentence()
    }
}

/// What is said of a release whose file is still there and gives it no version any more.
pub fn version_removed(id: &ReleaseId, file: &str) -> SourceProblem {
    SourceProblem {
        place: file.to_owned(),
        message: format!(
            "VersionRemoved: the file gives release {id} no version any more, so what runs is kept; to remove the release, \
             remove the file, else give the version again"
        ),
    }
}

/// Takes the version out of a `Release` of which its file says nothing any more, so that its own status says so too.
pub async fn take_version(context: &Context, id: &ReleaseId, release: &Listed) -> Result<(), ClusterError> {
    let Some(object) = release.0.as_ref().ok().and_then(without_version) else {
        return Ok(());
    };
    let api: Api<Release> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let attempted = || format!("write Release {id}");
    match within(attempted, api.replace(id.name.as_str(), &by_source(), &object)).await {
        Err(error) if !error.is_conflict() && !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// The same without a version, as a source writes it; `None` where it is that already.
fn without_version(release: &Release) -> Option<Release> {
    let mut object = release.clone();
    object.spec.version = None;
    let hash = spec::spec_hash(&object.spec);
    let written = release.annotations().get(meta::SPEC_HASH) == Some(&hash);
    if written && release.spec.version.is_none() {
        return None;
    }
    object.status = None;
    object.metadata.managed_fields = None;
    object.annotations_mut().insert(meta::SPEC_HASH.to_owned(), hash);
    Some(object)
}

fn by_source() -> PostParams {
    PostParams {
        field_manager: Some("slipway-source".to_owned()),
        ..PostParams::default()
    }
}

/// Whether a release is not as git declares it.
fn differs(source: &str, merged: &compile::Declared, before: &Listed) -> bool {
    let written = before.annotations().get(meta::SPEC_HASH) == Some(&merged.hash);
    let ours = before
        .labels()
        .get(meta::SOURCE)
        .is_some_and(|label| label == source);
    let stays = !before.annotations().contains_key(meta::REMOVING);
    let same = |before: &Release| spec::spec_hash(&before.spec) == merged.hash;
    !(written && ours && stays && before.0.as_ref().is_ok_and(same))
}

async fn write_release(
    source: &ReleaseSource,
    context: &Context,
    id: &ReleaseId,
    merged: &compile::Declared,
    before: Option<&Listed>,
) -> Result<(), ClusterError> {
    let name = source.name_any();
    let api: Api<Release> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let mut object = Release::new(id.name.as_str(), merged.spec.clone());
    object.metadata.namespace = Some(id.namespace.to_string());
    if let Some(before) = before {
        object.metadata = before.meta().clone();
    }
    object.metadata.managed_fields = None;
    object.labels_mut().insert(meta::SOURCE.to_owned(), name.clone());
    let annotations = object.annotations_mut();
    let provenance = &merged.provenance;
    annotations.remove(meta::REMOVING);
    annotations.insert(meta::SPEC_HASH.to_owned(), merged.hash.clone());
    annotations.insert(meta::ORIGIN.to_owned(), fetch::place(source));
    annotations.insert(meta::COMMIT.to_owned(), provenance.commit.to_string());
    annotations.insert(meta::AUTHOR.to_owned(), provenance.author.clone());
    if merged.spec.version.is_some() || !annotations.contains_key(meta::PATH) {
        annotations.insert(meta::PATH.to_owned(), merged.path.clone());
    }
    let at = Timestamp::from_second(provenance.committed_at)
        .map(|at| at.to_string())
        .unwrap_or_default();
    annotations.insert(meta::COMMITTED_AT.to_owned(), at);
    let params = by_source();
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
    tracing::info!(release = %id, commit = %provenance.commit, "release written");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_taken_once_and_as_the_source_writes_it() {
        let mut release = Release::new("a", crate::api::ReleaseSpec::default());
        release.spec.version = Some("1.0.0".to_owned());
        release.spec.image = Some("x".to_owned());
        let taken = without_version(&release).unwrap();
        assert_eq!(
            (taken.spec.version.clone(), taken.spec.image.clone()),
            (None, Some("x".to_owned()))
        );
        let written = taken.annotations().get(meta::SPEC_HASH);
        assert_eq!(written, Some(&spec::spec_hash(&taken.spec)));
        assert!(without_version(&taken).is_none());
    }
}
