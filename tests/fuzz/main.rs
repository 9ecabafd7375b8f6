//! Inputs that nobody thought of, for what reads what others write: specs, layers, secrets in them, references of images.
//!
//! Each target starts from its kept inputs in `corpus/`, changes them at random, and keeps for further changes what leads to
//! an answer that was not seen before: what is told, less names and numbers, stands in for the coverage that only a
//! compiler could give. A few hundred inputs with every `cargo test`; for longer:
//!
//! ```sh
//! make fuzz                                                    # a minute
//! SLIPWAY_FUZZ_SECONDS=3600 cargo test --test fuzz parser      # an hour of one target
//! ```
//!
//! An input that breaks a claim is left in `target/fuzz`. It goes into the corpus, and gets a test that says what it is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod engine;
mod firewall;
mod image;
mod merge;
mod parser;
mod written;
