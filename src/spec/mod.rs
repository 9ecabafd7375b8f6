//! The release spec in git: text → documents with positions → merged spec → [`Declared`].
//!
//! Pure: no client, no file, no clock. A problem always says what, where (file, line and column) and what to do,
//! and never repeats the value of a variable.

mod amounts;
pub mod check;
mod conflict;
pub mod declare;
pub mod declared;
pub mod document;
pub mod file;
pub mod firewall;
pub(crate) mod form;
pub mod image;
mod lines;
pub mod mask;
pub mod merge;
pub mod preset;
mod problem;
pub mod reading;
pub mod redact;
mod slip;
pub mod strict;
mod yaml;

pub use declare::{Rejection, declare, spec_hash};
pub use declared::Declared;
pub(crate) use yaml::is_hidden;

#[cfg(test)]
pub(crate) mod tests;
