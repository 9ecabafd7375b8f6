//! Faults that are put into the claim protocol on purpose: what the model tests must find.

use std::cell::Cell;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The Deployments may be written whatever the ledger says.
    GateDropped,
    /// A claimed Job that is gone counts as a success.
    MissingIsDone,
    /// A suspended Job is resumed although nobody claimed it.
    ResumeWithoutClaim,
    /// A lock is taken from whoever holds it, and pods of earlier migrations are not waited for.
    LockIgnored,
    /// A Job is booked as taken back without the mark that keeps it from being resumed.
    UnmarkedWithdrawal,
}

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Whether this fault is in.
pub fn is(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Runs `then` with a fault, or with none.
pub fn with<T>(mutant: Option<Mutant>, then: impl FnOnce() -> T) -> T {
    let before = ACTIVE.replace(mutant);
    let result = then();
    ACTIVE.set(before);
    result
}
