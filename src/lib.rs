//! Slipway: brings each cluster to the versions that git declares.
//!
//! ```text
//! commit ─fetch→ tree ─read→ documents ─merge→ specs ─validate→ Release objects       (source loop)
//! Release ─┐
//! cluster ─observe→ Observed ─decide→ Decision ─render→ objects ─apply→ status         (release loop)
//! ```
//!
//! `spec`, `plan`, `render`, `trace`, `words`, `status` and `names` are pure: they name no client, runtime, git or
//! clock, and a test (`tests/purity.rs`) holds them to it. The other rooms carry values in and out of them.

pub mod api;
pub mod cli;
pub mod cluster;
pub mod controller;
pub mod image;
pub mod names;
pub mod plan;
pub mod render;
pub mod server;
pub mod source;
pub mod spec;
pub mod status;
pub mod telemetry;
pub mod trace;
pub mod words;
