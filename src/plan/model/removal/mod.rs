//! A model of removal: a repository, a source with four releases, two controllers that follow it, and people. What may be
//! removed is decided by [`crate::plan::prune`] and [`crate::plan::lineage`]; what is carried out follows
//! `controller::sources`. Judged by S7, S9, S14 and L6.
//!
//! - [`world`] the repository, and the API server as far as a source goes; [`pass`] one pass of a source
//! - [`sequence`] what happens, and its trace

mod pass;
mod sequence;
pub mod tests;
mod world;
