//! The release spec in git: text → documents with positions → merged spec → [`Declared`].
//!
//! Pure: no client, no file, no clock. A problem always says what, where (file:line:column) and what to do,
//! and never repeats the value of a variable.

pub mod declared;
mod stub;
pub use stub::*;

pub use declared::Declared;
