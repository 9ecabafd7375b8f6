//! Slipway: brings each cluster to the versions that git declares.
//!
//! ```text
//! commit ─fetch→ tree ─read→ documents ─merge→ specs ─validate→ Release objects       (source loop)
//! Release ─┐
//! cluster ─observe→ Observed ─decide→ Decision ─render→ objects ─apply→ status         (release loop)
//! ```
//!
//! `spec`, `plan`, `build`, `render`, `trace`, `words`, `status`, `repository`, `hosts` and `names` are pure: they name no
//! client, runtime, git or clock, and a test (`tests/purity.rs`) holds them to it. The other rooms carry values in and out
//! of them. With the feature `pure` they are left out, for the model tests.

pub mod api;
pub mod build;
#[cfg(not(feature = "pure"))]
pub mod cli;
#[cfg(not(feature = "pure"))]
pub mod cluster;
#[cfg(not(feature = "pure"))]
pub mod controller;
pub mod hex;
pub mod hosts;
#[cfg(not(feature = "pure"))]
pub mod image;
pub mod names;
pub mod plan;
pub mod render;
pub mod repository;
#[cfg(not(feature = "pure"))]
pub mod server;
#[cfg(not(feature = "pure"))]
pub mod source;
pub mod spec;
pub mod status;
#[cfg(not(feature = "pure"))]
pub mod telemetry;
pub mod trace;
pub mod words;
