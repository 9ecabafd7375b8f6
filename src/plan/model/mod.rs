//! Model tests of the decisions: two controllers, users and faults against a small Kubernetes, in random sequences
//! that follow from a seed.
//!
//! - [`world`] the API server, [`cluster`] Job and Deployment controllers, pods and nodes, [`people`] commits and hands
//! - [`controller`] decide and carry out; what it does may be lost, and it may die; [`eyes`] what it sees may be old
//! - [`truth`] what really happened; [`recorder`] makes a trace of it all, which [`crate::trace`] judges as it judges the
//!   audit log of a cluster; [`sequence`] runs, shrinks and lets the world come to rest
//!
//! `SLIPWAY_SEED=<n> cargo test --lib plan::model -- one_seed --ignored --nocapture` tells the story of one seed.

mod cluster;
mod controller;
mod eyes;
mod people;
mod random;
mod recorder;
mod sequence;
mod tests;
mod truth;
mod world;
