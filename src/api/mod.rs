//! The kinds of group `slipway.dev`, version `v1alpha1`: types only.
//!
//! `crds/` is generated from these types. No client, no clock and no rule that needs more than one object
//! may enter here; what a *combination* of fields means is decided in [`crate::spec`].

pub mod condition;
pub mod crds;
pub mod duration;
pub mod meta;
pub mod release;
pub mod revision;
pub mod source;

pub use condition::{Condition, ConditionStatus};
pub use duration::Duration;
pub use release::{Release, ReleaseSpec, ReleaseStatus};
pub use revision::{ReleaseRevision, ReleaseRevisionSpec, ReleaseRevisionStatus};
pub use source::{ReleaseSource, ReleaseSourceSpec, ReleaseSourceStatus};

/// The API group of every kind, label and annotation of Slipway.
pub const GROUP: &str = "slipway.dev";
/// The field manager of every object that belongs to a release.
pub const FIELD_MANAGER: &str = "slipway";
