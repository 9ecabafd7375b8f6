//! What a sequence came to: a model that never gets to a place says nothing about it.

use std::fmt;

use super::super::{
    decision::{Decision, MigrationStep, Phase, Step},
    ledger::EntryState,
    rotation,
};

macro_rules! places {
    ($($name:ident = $words:literal,)*) => {
        /// A place that a sequence may reach.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Place { $($name,)* }

        /// All of them.
        pub const PLACES: &[Place] = &[$(Place::$name,)*];

        impl fmt::Display for Place {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $words,)* })
            }
        }
    };
}

places! {
    Claimed = "Job claimed",
    CrashAfterClaim = "crash between claim and resume",
    LostCreate = "lost reply on create",
    Late = "a write that came when nobody waited for it any more",
    LateRefused = "such a write was refused",
    Vanished = "Job vanished",
    StaleGate = "stale read at the gate",
    Succeeded = "success booked",
    Failed = "failure booked",
    Unknown = "unknown outcome booked",
    Withdrawn = "Job taken back",
    NeverStarted = "a Job taken back that was let run and never started",
    Retried = "a failed migration run again",
    Accepted = "an unknown outcome accepted",
    Doubled = "a second pod made by Kubernetes",
    Moved = "the database exchanged while a migration ran",
    Barred = "earlier code kept away",
    RolledBack = "rolled back",
    Asked = "the registry asked",
    RegistryFailed = "the registry was no help",
    Rotated = "pods rolled for other values",
    KeptUp = "what serves given other values beside a version that failed",
    Generated = "values generated",
    Recorded = "values recorded without a change",
    SecretMissing = "a Secret waited for",
    NameTaken = "a name taken by somebody else",
    Adopted = "an object taken over",
    Restored = "a lost revision put on record again",
    Forgotten = "an old revision deleted",
    Suspended = "suspended by a commit",
    Removing = "being removed",
}

/// A set of places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reached(u64);

impl Reached {
    pub fn add(&mut self, place: Place) {
        self.0 |= 1 << place as u64;
    }

    pub fn add_if(&mut self, is: bool, place: Place) {
        if is {
            self.add(place);
        }
    }

    pub fn has(self, place: Place) -> bool {
        (self.0 >> place as u64) & 1 == 1
    }

    /// What was decided.
    pub fn decided(&mut self, decision: &Decision) {
        let place = match &decision.report.phase {
            Phase::RolledBack => Place::RolledBack,
            Phase::Suspended => Place::Suspended,
            Phase::Waiting(reason) => match reason.as_str() {
                "SecretMissing" => Place::SecretMissing,
                "NameTaken" => Place::NameTaken,
                "Removing" => Place::Removing,
                "WaitingForImage" | "RegistryUnreachable" => Place::RegistryFailed,
                _ => return,
            },
            _ => return,
        };
        self.add(place);
    }

    /// A step that was carried out, though its controller may not know.
    pub fn done(&mut self, step: &Step) {
        match step {
            Step::Adopt { .. } => self.add(Place::Adopted),
            Step::Generate => self.add(Place::Generated),
            Step::Record { .. } => self.add(Place::Recorded),
            Step::Restore(_) => self.add(Place::Restored),
            Step::KeepUp(_) => self.add(Place::KeptUp),
            Step::Forget { .. } => self.add(Place::Forgotten),
            Step::CreateRevision(draft) => {
                let cause = draft.cause.as_deref();
                self.add_if(cause.is_some_and(rotation::made), Place::Rotated);
            }
            Step::Migrate(MigrationStep::Write { entry, .. }) => {
                self.add(match entry.state {
                    EntryState::Claimed => Place::Claimed,
                    EntryState::Succeeded => Place::Succeeded,
                    EntryState::Failed => Place::Failed,
                    EntryState::Unknown => Place::Unknown,
                    EntryState::Withdrawn => Place::Withdrawn,
                    EntryState::Accepted => Place::Accepted,
                });
                self.add_if(entry.generation.is_some(), Place::NeverStarted);
                self.add_if(entry.tries > 1, Place::Retried);
                self.add_if(entry.needs.is_some() && entry.state.is_done(), Place::Barred);
                self.add_if(entry.moved, Place::Moved);
            }
            _ => {}
        }
    }
}
