//! What a step writes or deletes, and what it insists on.

use super::{
    super::{
        super::{
            decision::{MigrationStep, Step},
            fixtures::id,
            mutant::{self, Mutant},
        },
        act::seen,
        controller::Request,
        world::number,
    },
    kind_of,
};
use crate::{
    names::{RevisionNumber, Uid},
    render::ObjectKey,
    trace::object::Kind,
};

/// An object that a step writes.
pub(super) enum Written<'a> {
    Rendered(&'a ObjectKey),
    Ledger,
    Lock(&'a str),
    Job(&'a str),
    /// Its status; what it says is never changed.
    Revision(RevisionNumber),
}

/// What a step writes.
pub(super) fn written(step: &Step) -> Vec<Written<'_>> {
    match step {
        Step::Prepare { objects } | Step::Apply { objects, .. } => objects
            .iter()
            .map(|(object, _)| Written::Rendered(&object.key))
            .collect(),
        Step::Adopt { key, .. } => vec![Written::Rendered(key)],
        Step::CreateRevision(draft) => vec![Written::Revision(draft.number)],
        Step::Restore(found) | Step::KeepUp(found) => vec![Written::Revision(found.number)],
        Step::Conclude { revision, .. } | Step::Record { revision, .. } | Step::Adopted { revision, .. } => {
            vec![Written::Revision(*revision)]
        }
        Step::Migrate(MigrationStep::Write { .. } | MigrationStep::Rebuild { .. }) => vec![Written::Ledger],
        Step::Migrate(MigrationStep::TakeLock { lock, .. } | MigrationStep::FreeLock { lock, .. }) => {
            vec![Written::Lock(lock)]
        }
        Step::Migrate(
            MigrationStep::Resume { job, .. }
            | MigrationStep::Withdraw { job, .. }
            | MigrationStep::Suspend { job, .. }
            | MigrationStep::DeleteJob { job, .. },
        ) => vec![Written::Job(job)],
        _ => Vec::new(),
    }
}

/// What a step deletes, and the UID that it insists on.
pub(super) fn deleted(step: &Step) -> Option<(Kind, String, Option<&Uid>)> {
    let (kind, name, uid) = match step {
        Step::Delete { key, uid } => (kind_of(key), key.name.clone(), uid),
        Step::Forget { number, uid } => (Kind::ReleaseRevision, number.object_name(&id().name), uid),
        Step::Migrate(MigrationStep::DeleteJob { job, uid, .. }) => (Kind::Job, job.clone(), uid),
        _ => return None,
    };
    Some((kind, name, Some(uid).filter(|_| !mutant::is(Mutant::UidIgnored))))
}

/// The resourceVersion that a request insists on for an object.
pub(super) fn guard(request: Option<&Request>, written: &Written<'_>) -> Option<u64> {
    if mutant::is(Mutant::Unguarded) {
        return None;
    }
    let request = request?;
    let over = match (&request.step, written) {
        (Step::Conclude { .. } | Step::Record { .. } | Step::Adopted { .. }, Written::Revision(number)) => {
            seen(&request.observed, *number)
        }
        (Step::Prepare { objects } | Step::Apply { objects, .. }, Written::Rendered(key)) => objects
            .iter()
            .find(|(object, _)| object.key == **key)?
            .1
            .as_deref(),
        (Step::Migrate(MigrationStep::Write { over, .. }), Written::Ledger)
        | (Step::Migrate(MigrationStep::TakeLock { over, .. }), Written::Lock(_)) => over.as_deref(),
        (Step::Adopt { over, .. }, Written::Rendered(_))
        | (Step::Migrate(MigrationStep::FreeLock { over, .. }), Written::Lock(_))
        | (
            Step::Migrate(
                MigrationStep::Resume { over, .. }
                | MigrationStep::Withdraw { over, .. }
                | MigrationStep::Suspend { over, .. }
                | MigrationStep::DeleteJob { over, .. },
            ),
            Written::Job(_),
        ) => Some(over.as_str()),
        _ => None,
    };
    over.map(number)
}
