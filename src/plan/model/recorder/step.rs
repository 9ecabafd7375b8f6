//! What a step writes or deletes, and what it insists on.

use super::{
    super::super::decision::{MigrationStep, Step},
    kind_of,
};
use crate::{names::Uid, render::ObjectKey, trace::object::Kind};

/// An object that a step writes.
pub(super) enum Written<'a> {
    Rendered(&'a ObjectKey),
    Ledger,
    Lock(&'a str),
    Job(&'a str),
}

/// What a step writes.
pub(super) fn written(step: &Step) -> Vec<Written<'_>> {
    match step {
        Step::Prepare { objects } | Step::Apply { objects, .. } => objects
            .iter()
            .map(|(object, _)| Written::Rendered(&object.key))
            .collect(),
        Step::Migrate(MigrationStep::Write { .. }) => vec![Written::Ledger],
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

/// What a step deletes.
pub(super) fn deleted(step: &Step) -> Option<(Kind, &str, &Uid)> {
    match step {
        Step::Delete { key, uid } => Some((kind_of(key), &key.name, uid)),
        Step::Migrate(MigrationStep::DeleteJob { job, uid, .. }) => Some((Kind::Job, job, uid)),
        _ => None,
    }
}

/// The resourceVersion that a step insists on for an object.
pub(super) fn guard(step: Option<&Step>, written: &Written<'_>) -> Option<u64> {
    let over = match (step?, written) {
        (Step::Prepare { objects } | Step::Apply { objects, .. }, Written::Rendered(key)) => objects
            .iter()
            .find(|(object, _)| object.key == **key)?
            .1
            .as_deref(),
        (Step::Migrate(MigrationStep::Write { over, .. }), Written::Ledger)
        | (Step::Migrate(MigrationStep::TakeLock { over, .. }), Written::Lock(_)) => over.as_deref(),
        (Step::Migrate(MigrationStep::FreeLock { over, .. }), Written::Lock(_))
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
    over?.parse().ok()
}
