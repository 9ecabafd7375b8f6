//! Tests on the bed: a real Kubernetes, real pods, real git and registry servers, real PostgreSQL, and Slipway as Helm
//! installed it. They are judged by the API server's audit log, PostgreSQL and HTTP, not by Slipway's own status alone.
//!
//! `make bed-test` starts the bed, installs Slipway and runs them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]
#![allow(
    clippy::doc_markdown,
    clippy::format_collect,
    clippy::map_unwrap_or,
    clippy::similar_names,
    clippy::too_many_lines,
    clippy::trivially_copy_pass_by_ref,
    reason = "tests that are read beside what they say, and called by nobody else"
)]

mod applications;
mod audits;
mod builds;
mod canaries;
mod crashes;
mod drift;
mod evidence;
mod failures;
mod fitness;
mod hostile;
mod images;
mod leaks;
mod lifecycle;
mod records;
mod removal;
mod rights;
mod rotation;
mod rules;
mod secrets;
mod settled;
mod sources;
mod specs;
mod story;
mod support;
mod waiting;
