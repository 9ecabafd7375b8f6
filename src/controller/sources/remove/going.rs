//! The steps of a removal: the `Release` is marked, so that the release loop lets go of it; then exposure goes, then workloads, the
//! `Release` last. Each step is found done by the next pass, so that one that ended early is resumed. Generated Secrets, ledger
//! and revisions stay.

use std::time::Duration;

use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams, Preconditions},
};

use super::{
    super::{super::releases::Meta, Context, SourceError},
    Existing, Removal,
};
use crate::{
    api::{Release, meta},
    cluster::{
        custom,
        error::ClusterError,
        objects::{self, KINDS, found, within},
        observe,
    },
    names::{ReleaseId, Uid},
    plan::observed::JobSeen,
    render::{Kind, ObjectKey, Ownership, ours},
};

/// How long clients may take to notice that the exposure is gone before pods are told to end.
const DRAIN: Duration = Duration::from_secs(5);
/// What takes requests.
const EXPOSING: [Kind; 2] = [Kind::Ingress, Kind::Service];
/// The rest, Deployments last: by them a release is known whose `Release` is gone.
const REST: [Kind; 3] = [Kind::PodDisruptionBudget, Kind::ServiceAccount, Kind::Deployment];

/// Each step for all releases at once, so that they drain together.
pub(super) async fn remove(
    context: &Context,
    going: Vec<(&ReleaseId, &Existing)>,
    removal: &mut Removal,
) -> Result<(), SourceError> {
    let mut exposed = false;
    let mut next = Vec::new();
    for (id, found) in going {
        context.lead()?;
        let begun = begin(context, id, found, removal).await;
        if !removal.note(id, begun) {
            continue;
        }
        match hide(context, id, found).await {
            Ok(Some(any)) => {
                exposed |= any;
                next.push((id, found));
            }
            Ok(None) => removal.unfinished = true,
            // What still takes requests must not lose what answers them.
            Err(error) => {
                removal.note(id, Err(error));
            }
        }
    }
    if exposed {
        tokio::time::sleep(DRAIN).await;
    }
    for (id, found) in next {
        context.lead()?;
        let gone = take_away(context, id, found, removal).await;
        if removal.note(id, gone) {
            tracing::info!(release = %id, "removed, as git removed it");
        }
    }
    Ok(())
}

/// Takes away what takes requests; whether there was any, and `None` where some of it is left: somebody writes it, or the removal
/// was taken back. Asked right before each delete: this process may have been frozen since it began, and what serves a release that git declares again must stay.
async fn hide(context: &Context, id: &ReleaseId, found: &Existing) -> Result<Option<bool>, ClusterError> {
    let mut any = false;
    for kind in EXPOSING {
        let standing = standing_of(context, id, kind).await?;
        if standing.is_empty() {
            continue;
        }
        let there = release(context, id).await?;
        if !context.leader.leads() || !there.is_none_or(|there| still_goes(found, &there)) {
            return Ok(None);
        }
        if !delete_all(context, id, &standing).await? {
            return Ok(None);
        }
        any = true;
    }
    Ok(Some(any))
}

/// Marks the `Release` as it was when its removal was decided; whether the removal may go on.
async fn begin(
    context: &Context,
    id: &ReleaseId,
    found: &Existing,
    removal: &mut Removal,
) -> Result<bool, ClusterError> {
    let marked = match &found.seen {
        Some(_) if found.marked => true,
        Some((_, version)) => set_mark(context, id, Some(version), true).await?,
        // Somebody may have made one since.
        None => release(context, id).await?.is_none(),
    };
    Ok(marked && !migrates(context, id, found, removal).await?)
}

/// Takes away what runs, and the `Release` when nothing is left that somebody might have to find.
async fn take_away(
    context: &Context,
    id: &ReleaseId,
    found: &Existing,
    removal: &mut Removal,
) -> Result<bool, ClusterError> {
    // Pods were given time to drain, and this process may have been frozen for long: another one may have taken the removal
    // back since, or have made a `Release`.
    let there = release(context, id).await?;
    if !there.as_ref().is_none_or(|there| still_goes(found, there)) {
        return Ok(false);
    }
    // The release loop may have begun one before it saw the mark.
    if migrates(context, id, found, removal).await? {
        return Ok(false);
    }
    for kind in REST {
        let standing = standing_of(context, id, kind).await?;
        delete_all(context, id, &standing).await?;
    }
    delete_jobs(context, id).await?;
    // A pass of the release loop that did not see the mark may have put something back.
    for kind in KINDS {
        if !standing_of(context, id, kind).await?.is_empty() {
            return Ok(false);
        }
    }
    let Some(there) = release(context, id).await? else {
        return Ok(true);
    };
    if !still_goes(found, &there) {
        return Ok(false);
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: there.uid(),
            resource_version: there.resource_version(),
        }),
        ..DeleteParams::default()
    };
    let api: Api<Meta> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let attempted = || format!("delete Release {id}");
    match within(attempted, api.delete(id.name.as_str(), &params)).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(true),
        Err(error) if error.is_conflict() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a `Release` is the one whose removal has begun, and still marked.
fn still_goes(found: &Existing, there: &Meta) -> bool {
    let same = found
        .seen
        .as_ref()
        .is_some_and(|(uid, _)| there.uid().as_ref() == Some(uid));
    same && there.annotations().contains_key(meta::REMOVING)
}

/// Whether a migration runs or may run: its outcome is booked first, by the release loop, which ends one that hangs. Where the
/// `Release` or the claim is gone, nobody books, and what runs is waited for.
async fn migrates(
    context: &Context,
    id: &ReleaseId,
    found: &Existing,
    removal: &mut Removal,
) -> Result<bool, ClusterError> {
    let jobs = observe::jobs(&context.client, id).await?;
    let mut own = jobs.iter().filter(|job| job.key.is_some());
    let running = own.find(|job| job.finished.is_none() && !job.suspended);
    let ledger = observe::ledger(&context.client, id).await?;
    let ledger = ledger.as_ref().filter(|_| found.seen.is_some());
    let claimed = ledger.is_some_and(|seen| seen.ledger.claimed().is_some());
    let booked = |job: &JobSeen| {
        let mut entries = ledger.iter().flat_map(|seen| seen.ledger.entries.values());
        entries.any(|entry| entry.uid == job.uid)
    };
    match running {
        Some(job) if !claimed && !booked(job) => removal.said.push(format!(
            "release {id} is removed when Job {} of its migration has ended, of which nobody books the outcome",
            job.name
        )),
        None if !claimed => return Ok(false),
        _ => removal.said.push(format!(
            "release {id} is removed when the outcome of its migration is known"
        )),
    }
    Ok(true)
}

/// Deletes the Jobs that are over or never ran, and with them the budgets of their pods.
async fn delete_jobs(context: &Context, id: &ReleaseId) -> Result<(), ClusterError> {
    let jobs = observe::jobs(&context.client, id).await?;
    let idle = jobs
        .iter()
        .filter(|job| job.key.is_some() && !job.deleting && (job.finished.is_some() || job.suspended));
    for job in idle {
        let key = ObjectKey {
            kind: Kind::Job,
            name: job.name.clone(),
        };
        objects::delete(&context.client, id, &key, &job.uid, Some(&job.resource_version)).await?;
    }
    Ok(())
}

/// Takes the mark away; whether there is none now.
pub(super) async fn unmark(context: &Context, id: &ReleaseId) -> Result<bool, ClusterError> {
    set_mark(context, id, None, false).await
}

async fn release(context: &Context, id: &ReleaseId) -> Result<Option<Meta>, ClusterError> {
    let api: Api<Meta> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    found(within(|| format!("get Release {id}"), api.get(id.name.as_str())).await)
}

/// Writes or clears the mark, over the version that was seen where one is given; whether it is so now.
async fn set_mark(
    context: &Context,
    id: &ReleaseId,
    over: Option<&str>,
    mark: bool,
) -> Result<bool, ClusterError> {
    // Untyped: a spec that cannot be read is written back as it is.
    let api = custom::untyped::<Release>(&context.client, Some(id.namespace.as_str()));
    let get = within(|| format!("get Release {id}"), api.get(id.name.as_str())).await;
    let Some(mut object) = found(get)? else {
        return Ok(!mark);
    };
    if over.is_some_and(|over| object.resource_version().as_deref() != Some(over)) {
        return Ok(false);
    }
    let annotations = object.annotations_mut();
    let changed = if mark {
        annotations
            .insert(meta::REMOVING.to_owned(), "git removed it".to_owned())
            .is_none()
    } else {
        annotations.remove(meta::REMOVING).is_some()
    };
    if !changed {
        return Ok(true);
    }
    let params = PostParams {
        field_manager: Some("slipway-source".to_owned()),
        ..PostParams::default()
    };
    let attempted = || format!("mark Release {id}");
    match within(attempted, api.replace(id.name.as_str(), &params, &object)).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// An object that stands, as it was seen.
struct Found {
    key: ObjectKey,
    uid: Uid,
    version: String,
}

/// What is ours of a kind and is not being deleted.
async fn standing_of(context: &Context, id: &ReleaseId, kind: Kind) -> Result<Vec<Found>, ClusterError> {
    let all = objects::list(&context.client, id, kind).await?;
    Ok(all
        .into_iter()
        .filter(|(key, live)| {
            ours(id, key, &live.value) == Ownership::Ours
                && live.value.pointer("/metadata/deletionTimestamp").is_none()
        })
        .map(|(key, live)| Found {
            key,
            uid: live.uid,
            version: live.resource_version,
        })
        .collect())
}

/// Deletes these as they were seen; whether all of them. What somebody has written since stays, and is looked at again.
async fn delete_all(context: &Context, id: &ReleaseId, standing: &[Found]) -> Result<bool, ClusterError> {
    let mut all = true;
    for Found { key, uid, version } in standing {
        match objects::delete(&context.client, id, key, uid, Some(version)).await {
            Err(error) if error.is_conflict() => all = false,
            done => done?,
        }
    }
    Ok(all)
}
