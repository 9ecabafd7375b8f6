//! Model tests of the decisions: two controllers, users and faults against a small Kubernetes, in random sequences
//! that follow from a seed, and in every order in a small scope.
//!
//! - [`world`] and [`rendered`] the API server, [`cluster`] Job and Deployment controllers, pods and nodes, [`outside`] registry
//!   and Secrets, [`people`] commits and hands
//! - [`controller`] decide and carry out, [`act`] each request; it may be lost, late, or the last; [`eyes`] what is seen may
//!   be old
//! - [`truth`] what really happened; [`recorder`] makes a trace of it all, which [`crate::trace`] judges as it judges the
//!   audit log of a cluster
//! - [`run`] all of it together; [`sequence`] runs, shrinks and lets the world come to rest, [`reach`] says how far it came
//! - [`everywhere`] searches a small scope to its end
//! - [`builds`] the same for images that are built
//! - [`removal`] the same for what a source does: commits, rewrites, and releases that git removed
//!
//! `make model` runs them, compiled for speed and without the rooms that act; `make soak` runs a hundred times as many.
//! `SLIPWAY_SEED=<n> make story` tells the story of one seed.

mod act;
mod builds;
mod cluster;
mod controller;
mod everywhere;
mod eyes;
mod outside;
mod people;
mod random;
mod reach;
mod recorder;
mod removal;
mod rendered;
mod run;
mod sequence;
mod tests;
mod truth;
mod world;
