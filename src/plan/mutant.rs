//! Faults that are put in on purpose: what the model tests must find. Each is one that some controller has had.

use std::cell::Cell;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    // === the gate, the claim and the ledger ===
    /// The Deployments may be written whatever the ledger says.
    GateDropped,
    /// A claimed Job that is gone counts as a success.
    MissingIsDone,
    /// A claimed Job that is gone counts as one that never ran.
    MissingIsNotRun,
    /// Any Job of the release that succeeded is the one that was waited for.
    AnySuccess,
    /// Complete is a success, whatever made the program end.
    CompleteIsDone,
    /// A migration that failed is run again although nobody asked for it.
    FailureRetried,
    /// A suspended Job is resumed although nobody claimed it.
    ResumeWithoutClaim,
    /// A lock is taken from whoever holds it, and pods of earlier migrations are not waited for.
    LockIgnored,
    /// A Job is booked as taken back without the mark that keeps it from being resumed.
    UnmarkedWithdrawal,
    // === what runs ===
    /// Code from before a migration that no earlier code can live with is brought back.
    BarrierIgnored,
    /// What others made under a name that is wanted is written as if it were ours.
    StrangerIsOurs,
    /// The registry is asked again what a tag is that a revision has on record.
    TagAskedAgain,
    /// What is as it should be is written all the same.
    Restless,
    // === how steps are carried out ===
    /// Writes do not insist on what was seen.
    Unguarded,
    /// Deletes name no UID.
    UidIgnored,
    // === removal ===
    /// What a commit with problems does not declare is removed.
    RemovedInDoubt,
    /// However many releases vanish at once, they are removed.
    RemovedWithoutLimit,
    /// A removal goes on although another process has taken it back meanwhile.
    RemovedAllTheSame,
    /// A commit is followed that does not descend from the one before.
    RewriteFollowed,
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
