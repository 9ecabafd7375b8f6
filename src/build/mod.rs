//! Builds: what a source tree, a Dockerfile and a builder's log say, and what makes two builds one. Pure: no client, runtime,
//! git, clock or file system.
//!
//! - [`tree`] a source tree → what is wrong with it before it is built
//! - [`builder`] what builds here, [`key`] what makes two builds one, [`message`] what its containers leave behind
//! - [`progress`] log → the step that runs, [`failure`] log → what went wrong

pub mod builder;
pub mod failure;
pub mod fitness;
pub mod key;
pub mod message;
mod plain;
pub mod progress;
pub mod tree;
