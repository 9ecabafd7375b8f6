//! The moves of a migration, one write each: the Job, the ledger, the lock. Every write is a create under a name that
//! follows from the decision, or a compare-and-swap over what the decision saw.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        batch::v1::Job,
        coordination::v1::{Lease, LeaseSpec},
        core::v1::ConfigMap,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{act::ActError, context::Context, subject::Subject};
use crate::{
    api::{FIELD_MANAGER, meta},
    cluster::{
        error::ClusterError,
        objects::{self, within},
        observe::{self, ledger_name},
    },
    names::{ReleaseId, RevisionNumber, Uid},
    plan::{MigrationKey, Observed, decision::MigrationStep, ledger::Entry},
    render::{self, Kind, Object, ObjectKey, Ownership},
    spec::Declared,
};

/// One move.
pub async fn migrate(
    context: &Context,
    subject: &Subject,
    observed: &Observed,
    step: &MigrationStep,
) -> Result<(), ActError> {
    let id = &observed.id;
    tracing::info!(step = step.word(), "migration");
    match step {
        MigrationStep::CreateJob { revision, key, run } => {
            let Some(declared) = subject.declared() else {
                return Ok(());
            };
            create_job(
                context,
                subject,
                observed,
                declared,
                *revision,
                key.as_str(),
                *run,
            )
            .await
        }
        MigrationStep::Write { key, entry, over } => {
            Ok(write_ledger(context, id, key.as_str(), entry, over.as_deref()).await?)
        }
        MigrationStep::Compact { data, over } => Ok(compact_ledger(context, id, data, over).await?),
        MigrationStep::Rebuild { entries } => Ok(rebuild_ledger(context, id, entries).await?),
        MigrationStep::TakeLock { lock, uid, job, over } => {
            Ok(take_lock(context, id, lock, uid, job, over.as_deref()).await?)
        }
        MigrationStep::Resume { job, uid, over } => {
            guard(context, subject, observed, job, uid).await?;
            Ok(resume(context, id, (job, uid, over)).await?)
        }
        MigrationStep::Withdraw { job, uid, over } => Ok(withdraw(context, id, job, uid, over).await?),
        MigrationStep::Suspend {
            job,
            uid,
            over,
            on_node,
        } => Ok(suspend(context, id, (job, uid, over), *on_node).await?),
        MigrationStep::DeleteJob { job, uid, over } => {
            let key = ObjectKey {
                kind: Kind::Job,
                name: job.clone(),
            };
            Ok(objects::delete(&context.client, id, &key, uid, Some(over)).await?)
        }
        MigrationStep::FreeLock { lock, over } => Ok(free_lock(context, lock, over).await?),
    }
}

async fn create_job(
    context: &Context,
    subject: &Subject,
    observed: &Observed,
    declared: &Declared,
    number: RevisionNumber,
    key: &str,
    run: u32,
) -> Result<(), ActError> {
    let id = &observed.id;
    let Some(revision) = observed
        .current
        .as_ref()
        .filter(|revision| revision.number == number)
    else {
        return Ok(());
    };
    // What would be refused after the migration is refused before it.
    for object in revision
        .objects
        .iter()
        .filter(|object| object.key.kind == Kind::Deployment)
    {
        let seen = observed
            .objects
            .get(&object.key)
            .map(|live| live.resource_version.as_str());
        dry_run(
            objects::apply(&context.client, id, object, seen, true).await,
            &object.key,
        )?;
    }
    let architectures = subject.architectures.get(&number).cloned().unwrap_or_default();
    let input = subject.input(id, declared, &revision.digest, &architectures, number);
    // Known before the lock is taken, which others would wait for.
    free(context, id, &render::migrate_guard(&input, key).key).await?;
    let Some(object) = render::migrate_job(&input, key, run) else {
        return Ok(());
    };
    let job: Job = serde_json::from_value(object.value.to_value())
        .map_err(|error| ClusterError::Unreadable(format!("the rendered Job: {error}")))?;
    let api: Api<Job> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    within(
        || format!("create {} of {id}", object.key),
        api.create(&params, &job),
    )
    .await?;
    Ok(())
}

fn dry_run(result: Result<Value, ClusterError>, key: &ObjectKey) -> Result<(), ActError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.is_refused() => Err(ActError::Refused {
            what: key.to_string(),
            why: error.sentence(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// One entry, by compare-and-swap on the whole ledger.
async fn write_ledger(
    context: &Context,
    id: &ReleaseId,
    key: &str,
    entry: &Entry,
    over: Option<&str>,
) -> Result<(), ClusterError> {
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let name = ledger_name(id);
    let text = serde_json::to_string(entry).map_err(|e| ClusterError::Unreadable(e.to_string()))?;
    let attempted = || format!("write the ledger of {id}");
    match over {
        None => {
            let map = ledger_map(id, [(key.to_owned(), text)].into());
            within(attempted, api.create(&PostParams::default(), &map)).await?;
        }
        Some(over) => {
            let patch =
                Patch::Merge(json!({ "metadata": { "resourceVersion": over }, "data": { key: text } }));
            within(attempted, api.patch(&name, &PatchParams::default(), &patch)).await?;
        }
    }
    Ok(())
}

/// Changes the form of entries, by compare-and-swap on the whole ledger.
async fn compact_ledger(
    context: &Context,
    id: &ReleaseId,
    data: &BTreeMap<String, Option<String>>,
    over: &str,
) -> Result<(), ClusterError> {
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let patch = Patch::Merge(json!({ "metadata": { "resourceVersion": over }, "data": data }));
    within(
        || format!("compact the ledger of {id}"),
        api.patch(&ledger_name(id), &PatchParams::default(), &patch),
    )
    .await?;
    Ok(())
}

/// A ledger where there is none.
async fn rebuild_ledger(
    context: &Context,
    id: &ReleaseId,
    entries: &[(MigrationKey, Entry)],
) -> Result<(), ClusterError> {
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let mut data = BTreeMap::new();
    for (key, entry) in entries {
        let text = serde_json::to_string(entry).map_err(|e| ClusterError::Unreadable(e.to_string()))?;
        data.insert(key.as_str().to_owned(), text);
    }
    let map = ledger_map(id, data);
    within(
        || format!("make the ledger of {id} anew"),
        api.create(&PostParams::default(), &map),
    )
    .await?;
    Ok(())
}

fn ledger_map(id: &ReleaseId, data: BTreeMap<String, String>) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(ledger_name(id)),
            labels: Some([(meta::RELEASE.to_owned(), id.name.to_string())].into()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    }
}

async fn take_lock(
    context: &Context,
    id: &ReleaseId,
    lock: &str,
    uid: &Uid,
    job: &str,
    over: Option<&str>,
) -> Result<(), ClusterError> {
    let api: Api<Lease> = Api::namespaced(context.client.clone(), context.own.as_str());
    let holder = format!("{}/{job}", id.namespace);
    let attempted = || format!("take the lock {lock} for Job {holder}");
    match over {
        None => {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(lock.to_owned()),
                    annotations: Some([(meta::LOCK_HOLDER.to_owned(), holder.clone())].into()),
                    ..ObjectMeta::default()
                },
                spec: Some(LeaseSpec {
                    holder_identity: Some(uid.to_string()),
                    ..LeaseSpec::default()
                }),
            };
            within(attempted, api.create(&PostParams::default(), &lease)).await?;
        }
        Some(over) => {
            let patch = Patch::Merge(json!({
                "metadata": { "resourceVersion": over, "annotations": { meta::LOCK_HOLDER: holder.clone() } },
                "spec": { "holderIdentity": uid.as_str() },
            }));
            within(attempted, api.patch(lock, &PatchParams::default(), &patch)).await?;
        }
    }
    Ok(())
}

async fn free_lock(context: &Context, lock: &str, over: &str) -> Result<(), ClusterError> {
    let api: Api<Lease> = Api::namespaced(context.client.clone(), context.own.as_str());
    let patch = Patch::Merge(json!({
        "metadata": { "resourceVersion": over, "annotations": { meta::LOCK_HOLDER: null } },
        "spec": { "holderIdentity": null },
    }));
    within(
        || format!("free the lock {lock}"),
        api.patch(lock, &PatchParams::default(), &patch),
    )
    .await?;
    Ok(())
}

/// Lets it run, and notes on its pod what that is given: what it prints is looked through for these values.
async fn resume(context: &Context, id: &ReleaseId, job: (&str, &Uid, &str)) -> Result<(), ClusterError> {
    let (name, uid, _) = job;
    let key = context.hash_key().await?;
    let values = observe::hash_of_secrets(&context.client, id, (name, uid), key).await?;
    let spec = json!({
        "suspend": false,
        "template": { "metadata": { "annotations": { meta::VALUES: values } } },
    });
    change_job(context, id, job, "resume", json!({}), spec).await
}

/// Takes it back and marks it in one write: by the mark everybody knows afterwards that it was taken back as it was seen.
async fn suspend(
    context: &Context,
    id: &ReleaseId,
    job: (&str, &Uid, &str),
    on_node: bool,
) -> Result<(), ClusterError> {
    let word = if on_node { meta::ON_NODE } else { "true" };
    let (mark, spec) = (json!({ meta::WITHDRAWN: word }), json!({ "suspend": true }));
    change_job(context, id, job, "suspend", mark, spec).await
}

/// Marks it, which also takes its resourceVersion from everybody who would resume it.
async fn withdraw(
    context: &Context,
    id: &ReleaseId,
    job: &str,
    uid: &Uid,
    over: &str,
) -> Result<(), ClusterError> {
    let mark = json!({ meta::WITHDRAWN: "true" });
    change_job(context, id, (job, uid, over), "withdraw", mark, json!({})).await
}

/// Changes exactly the Job that was seen: any change since is a 409, and the world is looked at again.
async fn change_job(
    context: &Context,
    id: &ReleaseId,
    (job, uid, over): (&str, &Uid, &str),
    word: &str,
    annotations: Value,
    spec: Value,
) -> Result<(), ClusterError> {
    let api: Api<Job> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let patch = Patch::Merge(json!({
        "metadata": { "uid": uid.as_str(), "resourceVersion": over, "annotations": annotations },
        "spec": spec,
    }));
    within(
        || format!("{word} Job {job} of {id}"),
        api.patch(job, &PatchParams::default(), &patch),
    )
    .await?;
    Ok(())
}

/// The budget that keeps drains away from the migration's pod; it goes with its Job. Where somebody else has its name
/// nothing is resumed: a drain would end the migration midway.
async fn guard(
    context: &Context,
    subject: &Subject,
    observed: &Observed,
    job: &str,
    uid: &Uid,
) -> Result<(), ActError> {
    let Some(declared) = subject.declared() else {
        return Ok(());
    };
    let Some(revision) = &observed.current else {
        return Ok(());
    };
    let id = &observed.id;
    let key = revision
        .migration
        .as_ref()
        .map_or("", |migration| migration.key.as_str());
    let input = subject.input(id, declared, &revision.digest, &[], revision.number);
    let mut guard: Object = render::migrate_guard(&input, key);
    let owner = OwnerReference {
        api_version: Kind::Job.api_version().to_owned(),
        kind: Kind::Job.as_str().to_owned(),
        name: job.to_owned(),
        uid: uid.to_string(),
        ..OwnerReference::default()
    };
    if let Some(metadata) = guard.value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("ownerReferences".to_owned(), json!([owner]));
    }
    let over = free(context, id, &guard.key).await?;
    objects::apply(&context.client, id, &guard, over.as_deref(), false).await?;
    Ok(())
}

/// The version of the budget that is there, if it is ours.
async fn free(context: &Context, id: &ReleaseId, key: &ObjectKey) -> Result<Option<String>, ActError> {
    let Some((_, live)) = objects::get(&context.client, id, key).await? else {
        return Ok(None);
    };
    match render::ours(id, key, &live.value) {
        Ownership::Ours => Ok(Some(live.resource_version)),
        Ownership::Foreign { manager } => Err(ActError::NameTaken(taken(id, key, &manager))),
    }
}

fn taken(id: &ReleaseId, key: &ObjectKey, manager: &str) -> String {
    format!(
        "{key} in namespace {} was made by {manager}, and is left alone; the migration does not run without an object of \
         this name, which keeps drains from its pod: rename the release, or remove what has the name",
        id.namespace
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_name_of_the_budget_is_said_with_what_to_do() {
        let id = ReleaseId {
            namespace: "shop".parse().unwrap(),
            name: "billing".parse().unwrap(),
        };
        let key = ObjectKey {
            kind: Kind::PodDisruptionBudget,
            name: "billing-migrate".to_owned(),
        };
        let said = taken(&id, &key, "release billing-migrate");
        assert!(
            said.starts_with(
                "PodDisruptionBudget billing-migrate in namespace shop was made by release billing-migrate, and is left alone"
            ) && said.contains("rename the release"),
            "{said}"
        );
    }
}
