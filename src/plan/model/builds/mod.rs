//! A model of builds: a registry, a git server whose tags move, the Jobs that build, two releases that may want one image, and
//! two controllers that decide for both of them, are late, and die. What is built is decided by [`crate::plan::decide`]; what
//! is carried out follows `controller::build`. Everything else of a release is taken to succeed at once.
//!
//! - [`world`] what there is, and the writes; [`look`] what a pass sees of it
//! - [`sequence`] what happens, and what must hold: a key is built once as long as the registry has what it made, what fails
//!   for good is not tried again unasked, nobody ends what others wait for, and nothing is left over

mod look;
mod sequence;
mod tests;
mod world;
