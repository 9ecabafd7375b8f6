//! The decisions: what was observed → what to do next.
//!
//! Everything here is pure and total. No client, runtime, clock or random number may enter; time, answers of
//! registries and everything else from outside arrives in [`Observed`]. The controller, `slipway plan` and the
//! model tests call the same [`decide`].
//!
//! - [`observed`] what a pass sees, [`decision`] what it may do
//! - [`decide`] which attempt is meant and which revision serves: [`renew`] makes the next, [`back`] goes back, [`keep`]
//!   keeps what runs meanwhile
//! - [`attempt`] one revision on its way: prepare → migrate → roll out → verify
//! - [`migration`] the claim protocol and the gate, [`ledger`] what it believes
//! - [`schema`] whose code can run on the database as it is by now
//! - [`rollout`] whether Deployments are done, on their way or failed
//! - [`serve`] which objects of a revision must be in the cluster, [`cause`] why a revision was made
//! - [`ladder`] whether an image is the one that is meant, [`baked`] images that have secrets in them
//! - [`build`] images that are built here, and builds that nobody waits for any more
//! - [`adopt`] names that others have taken, [`restore`] what runs and has no record any more, [`rebuild`] a ledger that is gone
//! - [`history`] what is kept, [`prune`] which releases go since git declares them no longer, [`lineage`] which of their
//!   objects may be moved to a commit

pub mod adopt;
pub mod attempt;
pub mod back;
pub mod baked;
pub mod build;
pub mod cause;
pub mod decide;
pub mod decision;
pub mod hint;
pub mod history;
pub mod keep;
pub mod ladder;
pub mod ledger;
pub mod lineage;
pub mod migration;
pub mod observed;
pub mod prune;
pub mod rebuild;
pub mod renew;
pub mod restore;
pub mod rollout;
pub mod rotation;
pub mod schema;
pub mod serve;

#[cfg(test)]
mod effects;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod model;
#[cfg(test)]
mod mutant;

pub use decide::decide;
pub use decision::{Decision, Phase, Report, Stage, Step, Wait};
pub use ledger::{Ledger, MigrationKey};
pub use migration::Migrated;
pub use observed::Observed;
