//! [`crate::spec::Declared`] and an image digest → the objects of a release, as values.
//!
//! Pure: no client, no clock. Secrets are rendered as references only; no value ever enters this room.

pub mod object;

pub use object::{Kind, Object, ObjectKey};
