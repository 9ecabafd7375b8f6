//! Carries out the steps of a decision, one write each. Nothing is decided here: a step that cannot be done as it
//! was decided is an error, and the world is looked at again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Map, Value, json};

use super::{build, context::Context, generate, migrate, subject::Subject, tally};
use crate::{
    api::{FIELD_MANAGER, ReleaseRevision, ReleaseRevisionSpec, meta, release::ShortText, revision},
    cluster::{
        error::ClusterError,
        facts,
        objects::{self, found, within},
        observe,
    },
    names::{ReleaseId, RevisionNumber, Uid},
    plan::{
        Observed, Step, cause,
        decision::{AsFound, Draft},
        ledger::{Entry, MigrationKey},
        observed::{Fingerprints, Migration},
    },
    render,
};

/// A step that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The API server did not take it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A dry run showed that it would not be taken: nothing was changed.
    #[error("the API server would refuse {what}: {why}")]
    Refused {
        /// The object.
        what: String,
        /// Its words.
        why: String,
    },
    /// The objects do not fit into a revision.
    #[error("TooLarge: {0}")]
    TooLarge(String),
    /// A Secret of a build is not there, or not for it.
    #[error("{0}")]
    BuildSecret(String),
    /// Somebody else has the name of an object without which it cannot be done.
    #[error("{0}")]
    NameTaken(String),
}

/// Carries out one step.
pub async fn act(
    context: &Context,
    subject: &Subject,
    observed: &Observed,
    step: &Step,
) -> Result<(), ActError> {
    let id = &observed.id;
    match step {
        // Answered by the next look of this pass.
        Step::AskRegistry | Step::AskCommit => Ok(()),
        Step::CreateRevision(draft) => create_revision(context, subject, observed, draft).await,
        Step::Conclude {
            revision,
            outcome,
            message,
            migration,
            tail,
        } => {
            let status = outcome_of(observed, *outcome, message, migration.as_deref(), tail);
            let ended = write_outcome(context, observed, *revision, &status).await?;
            let declared = &subject.object.metadata;
            tally::ended(context, id, declared, &ended, *outcome, observed.now);
            Ok(())
        }
        Step::Record {
            revision,
            fingerprints,
        } => {
            let status = Map::from_iter([("values".to_owned(), json!(recorded(fingerprints)))]);
            conclude(context, observed, *revision, &status).await
        }
        Step::Expose { revision, objects } => {
            let text = render::store(objects).map_err(|error| ActError::TooLarge(error.to_string()))?;
            let status = Map::from_iter([("exposure".to_owned(), json!(text))]);
            conclude(context, observed, *revision, &status).await
        }
        Step::Adopt { key, over } => {
            let Some(live) = observed.objects.get(key) else {
                return Ok(());
            };
            let patch = render::takeover(id, key, &live.value, over);
            objects::patch(&context.client, id, key, &patch).await?;
            tracing::info!(object = %key, "taken over, as the spec's adopt says");
            Ok(())
        }
        Step::Adopted { revision, count } => {
            let status = Map::from_iter([("adopted".to_owned(), json!(count))]);
            conclude(context, observed, *revision, &status).await
        }
        Step::Restore(lost) => restore(context, subject, lost).await,
        Step::KeepUp(found) => keep_up(context, observed, found).await,
        Step::Generate => Ok(generate::generate(context, id, observed).await?),
        Step::Prepare { objects } | Step::Apply { objects, .. } => {
            let revision = match step {
                Step::Apply { gate, .. } => Some(gate.revision()),
                _ => observed.current.as_ref().map(|current| current.number),
            };
            for (object, over) in objects {
                objects::apply(&context.client, id, object, over.as_deref(), false).await?;
                tracing::info!(
                    revision = revision.map(|number| number.0), object = %object.key, "applied"
                );
            }
            Ok(())
        }
        Step::Build(step) => build::build(context, subject, observed, step).await,
        Step::Migrate(step) => migrate::migrate(context, subject, observed, step).await,
        Step::Delete { key, uid } => {
            tracing::info!(
                object = %key, "deleting what no revision wants any more"
            );
            // As it was seen: another one may have brought a version about since that wants it again.
            let seen = observed
                .objects
                .get(key)
                .map(|live| live.resource_version.as_str());
            Ok(objects::delete(&context.client, id, key, uid, seen).await?)
        }
        Step::Forget { number, uid } => {
            let api: Api<ReleaseRevision> = Api::namespaced(context.client.clone(), id.namespace.as_str());
            let name = number.object_name(&id.name);
            found(within(|| format!("delete {name}"), api.delete(&name, &only(uid))).await)?;
            Ok(())
        }
    }
}

/// The status of a revision that has come to its end.
fn outcome_of(
    observed: &Observed,
    outcome: revision::Outcome,
    message: &str,
    migration: Option<&(MigrationKey, Entry)>,
    tail: &str,
) -> Map<String, Value> {
    let record = migration.map(|(key, entry)| revision::MigrationRecord {
        key: key.as_str().to_owned(),
        state: serde_json::to_value(entry.state)
            .ok()
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default(),
        job_uid: entry.uid.to_string(),
        job: entry.job.clone(),
        attempt: i64::try_from(entry.attempt).ok(),
        needs: entry.needs.clone(),
    });
    let mut status = Map::from_iter([
        ("outcome".to_owned(), json!(outcome)),
        ("message".to_owned(), json!(clip(message, 2000))),
        ("finishedAt".to_owned(), json!(Time(observed.now))),
        ("migration".to_owned(), json!(record)),
    ]);
    if outcome == revision::Outcome::Live {
        status.insert("liveAt".to_owned(), json!(Time(observed.now)));
    }
    if !tail.is_empty() {
        status.insert("logTail".to_owned(), json!(clip(tail, 4000)));
    }
    status
}

async fn conclude(
    context: &Context,
    observed: &Observed,
    number: RevisionNumber,
    status: &Map<String, Value>,
) -> Result<(), ActError> {
    write_outcome(context, observed, number, status).await.map(drop)
}

/// Deletes the object of this UID, and none that was made under its name since.
fn only(uid: &Uid) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_string()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    }
}

/// Writes over the revision that the decision saw and no other: a controller that was frozen for a while must not
/// replace the outcome that another one booked meanwhile.
async fn write_outcome(
    context: &Context,
    observed: &Observed,
    number: RevisionNumber,
    status: &Map<String, Value>,
) -> Result<ReleaseRevision, ActError> {
    let id = &observed.id;
    let seen = [&observed.current, &observed.live, &observed.failed]
        .into_iter()
        .flatten()
        .find(|revision| revision.number == number);
    let over = seen.map(|revision| &revision.resource_version);
    let api: Api<ReleaseRevision> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let name = number.object_name(&id.name);
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({ "metadata": { "resourceVersion": over }, "status": status }));
    let written = within(
        || format!("write the outcome of {name}"),
        api.patch_status(&name, &params, &patch),
    );
    Ok(written.await?)
}

async fn create_revision(
    context: &Context,
    subject: &Subject,
    observed: &Observed,
    draft: &Draft,
) -> Result<(), ActError> {
    let Some(declared) = subject.declared() else {
        return Ok(());
    };
    let id = &observed.id;
    let architectures = architectures(&draft.record.platforms);
    let rendered = render::render(&subject.input(id, declared, &draft.digest, &architectures, draft.number));
    let reference = declared.image.reference();
    let before = observed.current.as_ref();
    let cause = draft
        .cause
        .clone()
        .unwrap_or_else(|| cause::cause(before, declared.version.as_str(), &reference, &rendered));
    let key = draft.migration.as_ref().map(|migration| migration.key.as_str());
    let rendered: Vec<render::Object> = rendered
        .into_iter()
        .map(|object| render::with_record(object, &declared.attempt_hash, key))
        .collect();
    let objects = render::store(&rendered).map_err(|error| ActError::TooLarge(error.to_string()))?;
    let provenance = subject.provenance.as_ref();
    let spec = ReleaseRevisionSpec {
        release: id.name.to_string(),
        number: i64::try_from(draft.number.0).unwrap_or(i64::MAX),
        version: declared.version.to_string(),
        cause,
        commit: provenance.map(|p| p.commit.to_string()),
        author: provenance.map(|p| p.author.clone()),
        source: subject.source.clone(),
        attempt: declared.attempt_hash.0.clone(),
        image: revision::RevisionImage {
            reference,
            digest: draft.digest.to_string(),
            obtained: draft.obtained.clone(),
            ..facts::kept(&draft.record)
        },
        preset: declared.preset.clone(),
        values: observed.fingerprints.as_ref().map(recorded),
        migration: draft.migration.as_ref().map(migration_of),
        adopted: counted(observed.adopted),
        repin: counted(declared.repin),
        objects,
    };
    let cause = spec.cause.clone();
    create(context, id, draft.number, spec).await?;
    tracing::info!(
        revision = draft.number.0, version = %declared.version, digest = %draft.digest, %cause, "revision created"
    );
    Ok(())
}

/// As a revision holds it: nothing where nothing was ever taken over.
fn counted(adopted: u64) -> Option<i64> {
    i64::try_from(adopted).ok().filter(|adopted| *adopted > 0)
}

fn migration_of(migration: &Migration) -> revision::RevisionMigration {
    revision::RevisionMigration {
        key: migration.key.as_str().to_owned(),
        database: migration.database.clone(),
        lock: migration.lock.clone(),
    }
}

/// Puts a revision on record again whose record is lost.
async fn restore(context: &Context, subject: &Subject, lost: &AsFound) -> Result<(), ActError> {
    let id = &subject.id;
    let declared = subject.declared();
    let spec = ReleaseRevisionSpec {
        release: id.name.to_string(),
        number: i64::try_from(lost.number.0).unwrap_or(i64::MAX),
        version: lost.version.clone(),
        cause: lost.cause.clone(),
        commit: lost.commit.clone(),
        author: None,
        source: subject.source.clone(),
        attempt: lost.attempt.0.clone(),
        image: revision::RevisionImage {
            reference: lost.reference.clone(),
            digest: lost.digest.to_string(),
            obtained: "what runs".to_owned(),
            platforms: lost.platforms.clone(),
            ..revision::RevisionImage::default()
        },
        preset: declared
            .map(|declared| declared.preset.clone())
            .unwrap_or_default(),
        values: None,
        migration: lost.migration.as_ref().map(migration_of),
        // With the records it is lost what was taken over; nothing is, for a counter from before.
        adopted: declared.and_then(|declared| counted(declared.adopt)),
        repin: counted(lost.repin),
        objects: render::store(&lost.objects).map_err(|error| ActError::TooLarge(error.to_string()))?,
    };
    create(context, id, lost.number, spec).await?;
    tracing::info!(
        revision = lost.number.0, version = %lost.version, digest = %lost.digest, "put on record again, as it runs"
    );
    Ok(())
}

/// Makes a revision of what serves that differs from it by the values of its pods alone: it is of the same commit.
async fn keep_up(context: &Context, observed: &Observed, found: &AsFound) -> Result<(), ActError> {
    let id = &observed.id;
    let Some(live) = &observed.live else { return Ok(()) };
    let revisions = observe::revisions(&context.client, id).await?.objects;
    let number = i64::try_from(live.number.0).unwrap_or(i64::MAX);
    let mut serving = revisions.into_iter().map(|object| object.spec);
    let Some(serving) = serving.find(|spec| spec.number == number) else {
        // It went meanwhile: the next look sees what is left.
        return Ok(());
    };
    let spec = ReleaseRevisionSpec {
        number: i64::try_from(found.number.0).unwrap_or(i64::MAX),
        cause: found.cause.clone(),
        image: revision::RevisionImage {
            obtained: format!("revision {}", live.number),
            ..serving.image
        },
        values: found.fingerprints.as_ref().map(recorded),
        adopted: counted(observed.adopted),
        objects: render::store(&found.objects).map_err(|error| ActError::TooLarge(error.to_string()))?,
        ..serving
    };
    create(context, id, found.number, spec).await?;
    tracing::info!(revision = found.number.0, version = %found.version, cause = %found.cause, "revision");
    Ok(())
}

async fn create(
    context: &Context,
    id: &ReleaseId,
    number: RevisionNumber,
    spec: ReleaseRevisionSpec,
) -> Result<(), ActError> {
    let mut object = ReleaseRevision::new(&number.object_name(&id.name), spec);
    object.metadata.namespace = Some(id.namespace.to_string());
    object.metadata.labels = Some([(meta::RELEASE.to_owned(), id.name.to_string())].into());
    let api: Api<ReleaseRevision> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    within(
        || format!("create revision {number} of {id}"),
        api.create(&params, &object),
    )
    .await?;
    Ok(())
}

/// Fingerprints as a revision holds them.
fn recorded(fingerprints: &Fingerprints) -> revision::ValueFingerprints {
    revision::ValueFingerprints {
        key_id: fingerprints.key_id.clone(),
        hashes: fingerprints
            .values
            .iter()
            .map(|(name, hash)| (name.clone(), ShortText(hash.clone())))
            .collect(),
    }
}

/// `linux/amd64` → `amd64`.
pub fn architectures(platforms: &[String]) -> Vec<String> {
    platforms
        .iter()
        .filter_map(|platform| platform.strip_prefix("linux/"))
        .map(str::to_owned)
        .collect()
}

/// At most `max` characters.
#[must_use]
pub fn clip(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}
