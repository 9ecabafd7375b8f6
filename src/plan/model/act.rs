//! One request of a controller, carried out as `controller::act` and `controller::migrate` do.

use super::{
    super::{
        decision::{AsFound, Draft, MigrationStep, Step},
        fixtures::objects,
        mutant::{self, Mutant},
        observed::{Declaration, Observed, Revision},
    },
    controller::Request,
    world::{Refused, World},
};
use crate::{
    api::revision::Outcome,
    names::{RevisionNumber, Uid},
    render::{Kind, Object, job_name, with_record},
    spec::Declared,
};

/// The resourceVersion that a write insists on.
fn guard(over: Option<&str>) -> Option<&str> {
    over.filter(|_| !mutant::is(Mutant::Unguarded))
}

/// One write.
pub fn act(world: &mut World, request: &Request) -> Result<(), Refused> {
    let Request {
        observed,
        declared,
        step,
    } = request;
    match step {
        // Asked by the controller itself. Nothing is exposed and nothing is built here.
        Step::AskRegistry | Step::AskCommit | Step::Expose { .. } | Step::Build(_) => Ok(()),
        Step::CreateRevision(draft) => {
            let revision = drawn(declared, draft, observed);
            world.create_revision(revision, observed.adopted)
        }
        Step::Restore(lost) => world.create_revision(as_found(lost), declared.adopt),
        Step::KeepUp(found) => world.create_revision(as_found(found), observed.adopted),
        Step::Conclude {
            revision,
            outcome,
            message,
            migration,
            ..
        } => world.note(*revision, seen(observed, *revision), |kept| {
            kept.revision.outcome = Some(*outcome);
            kept.revision.message.clone_from(message);
            kept.revision.was_live |= *outcome == Outcome::Live;
            kept.record = migration.as_deref().cloned();
        }),
        Step::Record {
            revision,
            fingerprints,
        } => world.note(*revision, seen(observed, *revision), |kept| {
            kept.revision.fingerprints = Some(fingerprints.clone());
        }),
        Step::Adopted { revision, count } => world.note(*revision, seen(observed, *revision), |kept| {
            kept.adopted = *count;
        }),
        Step::Adopt { key, over } => match observed.objects.get(key) {
            Some(live) => world.adopt(key, &live.value, guard(Some(over))),
            None => Ok(()),
        },
        Step::Generate => {
            let Declaration::Valid(declared) = &observed.declaration else {
                return Ok(());
            };
            world.change_outside(|outside| outside.generate(declared.rotate));
            Ok(())
        }
        Step::Prepare { objects } | Step::Apply { objects, .. } => {
            for (object, over) in objects {
                let now = world
                    .objects
                    .get(&object.key)
                    .map(|live| live.resource_version.clone());
                let over = if mutant::is(Mutant::Unguarded) { &now } else { over };
                world.apply(object, over.as_deref(), false)?;
            }
            Ok(())
        }
        Step::Delete { key, uid } => {
            let only = Some(uid).filter(|_| !mutant::is(Mutant::UidIgnored));
            world.delete(key, only)
        }
        Step::Forget { uid, .. } => {
            world.bump();
            world.revisions.retain(|kept| kept.uid != *uid);
            Ok(())
        }
        Step::Migrate(step) => migrate(world, observed, declared, step),
    }
}

/// The resourceVersion of a revision as the decision saw it.
pub fn seen(observed: &Observed, number: RevisionNumber) -> Option<&str> {
    let known = [&observed.current, &observed.live, &observed.failed];
    let mut known = known.into_iter().flatten();
    let seen = known.find(|revision| revision.number == number);
    guard(seen.map(|revision| revision.resource_version.as_str()))
}

fn migrate(
    world: &mut World,
    observed: &Observed,
    declared: &Declared,
    step: &MigrationStep,
) -> Result<(), Refused> {
    match step {
        MigrationStep::CreateJob { revision, key, run } => {
            let current = observed.current.as_ref();
            let current = current.filter(|current| current.number == *revision);
            let (Some(current), Some(_)) = (current, &declared.migrate) else {
                return Ok(());
            };
            let deployments = current.objects.iter();
            for object in deployments.filter(|object| object.key.kind == Kind::Deployment) {
                let seen = observed.objects.get(&object.key);
                let over = seen.map(|live| live.resource_version.as_str());
                world.apply(object, over, true)?;
            }
            let name = job_name(&observed.id.name, key.as_str(), *run);
            world.create_job(&name, key)
        }
        MigrationStep::Write { key, entry, over } => {
            let over = if mutant::is(Mutant::Unguarded) {
                let now = world.ledger.as_ref();
                now.map(|seen| seen.resource_version.clone())
            } else {
                over.clone()
            };
            world.write_ledger(&[(key.clone(), (**entry).clone())], over.as_deref())
        }
        MigrationStep::Rebuild { entries } => world.write_ledger(entries, None),
        // A sequence has few migrations.
        MigrationStep::Compact { .. } => Ok(()),
        MigrationStep::TakeLock { lock, uid, job, over } => {
            world.write_lock(lock, Some((uid.clone(), job.as_str().into())), over.as_deref())
        }
        MigrationStep::Resume { job, uid, over } => world.suspend(job, uid, guard(Some(over)), false),
        MigrationStep::Withdraw { uid, over, .. } => world.withdraw(uid, guard(Some(over))),
        MigrationStep::Suspend {
            job,
            uid,
            over,
            on_node,
        } => world.take_back(job, uid, guard(Some(over)), *on_node),
        MigrationStep::DeleteJob { uid, over, .. } => world.delete_job(uid, guard(Some(over))),
        MigrationStep::FreeLock { lock, over } => world.write_lock(lock, None, Some(over)),
    }
}

/// The revision that a draft becomes.
pub(super) fn drawn(declared: &Declared, draft: &Draft, observed: &Observed) -> Revision {
    let key = draft.migration.as_ref().map(|migration| migration.key.as_str());
    let rendered = objects(declared, &draft.digest, draft.number);
    let noted = |object: Object| with_record(object, &declared.attempt_hash, key);
    Revision {
        number: draft.number,
        attempt: declared.attempt_hash.clone(),
        version: declared.version.to_string(),
        reference: declared.image.reference(),
        repin: declared.repin,
        digest: draft.digest.clone(),
        migration: draft.migration.clone(),
        objects: rendered.into_iter().map(noted).collect(),
        cause: draft.cause.clone().unwrap_or_default(),
        fingerprints: observed.fingerprints.clone(),
        outcome: None,
        message: String::new(),
        was_live: false,
        resource_version: String::new(),
    }
}

/// The revision of what is there.
fn as_found(lost: &AsFound) -> Revision {
    Revision {
        number: lost.number,
        attempt: lost.attempt.clone(),
        version: lost.version.clone(),
        reference: lost.reference.clone(),
        repin: lost.repin,
        digest: lost.digest.clone(),
        migration: lost.migration.clone(),
        objects: lost.objects.clone(),
        cause: lost.cause.clone(),
        fingerprints: lost.fingerprints.clone(),
        outcome: None,
        message: String::new(),
        was_live: false,
        resource_version: String::new(),
    }
}

/// A request as words, for stories.
pub fn word(step: &Step) -> String {
    let keys = |objects: &[(Object, Option<String>)]| -> String {
        let keys = objects
            .iter()
            .map(|(object, over)| format!("{} over {over:?}", object.key));
        keys.collect::<Vec<_>>().join(", ")
    };
    let of = |uid: &Uid| uid.to_string();
    match step {
        Step::Migrate(MigrationStep::Write { key, entry, .. }) => {
            format!(
                "book {:?} of {key} for {} {}",
                entry.state,
                of(&entry.uid),
                entry.note
            )
        }
        Step::Migrate(MigrationStep::CreateJob { key, run, .. }) => format!("create Job {run} of {key}"),
        Step::Migrate(step) => format!("{step:?}"),
        Step::Build(step) => format!("{step:?}"),
        Step::Apply { gate, objects } => format!("apply {} of {}", keys(objects), gate.revision()),
        Step::Prepare { objects } => format!("prepare {}", keys(objects)),
        Step::Conclude {
            revision, outcome, ..
        } => format!("conclude {revision} {outcome:?}"),
        Step::CreateRevision(draft) => format!("create {} of {}", draft.number, draft.digest),
        Step::Delete { key, uid } => format!("delete {key} {uid}"),
        Step::Forget { number, .. } => format!("forget {number}"),
        Step::AskRegistry => "ask the registry".into(),
        Step::AskCommit => "ask a git server".into(),
        Step::Generate => "generate".into(),
        Step::Record { revision, .. } => format!("record {revision}"),
        Step::Expose { revision, .. } => format!("expose {revision}"),
        Step::Adopt { key, .. } => format!("adopt {key}"),
        Step::Adopted { revision, count } => format!("adopted under {count}, beside {revision}"),
        Step::Restore(lost) => format!("restore {}", lost.number),
        Step::KeepUp(found) => format!("keep up as {}", found.number),
    }
}
