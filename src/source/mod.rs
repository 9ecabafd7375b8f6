//! The source room: git, and nothing but git.
//!
//! ```text
//! init(ca_bundle)                                        once, before threads
//! GitUrl::parse · GitRef::from_fields · Credentials::from_secret         border: text → types
//! Mirror::open(root, url) ─fetch(ref, credentials, limits)→ Fetched{commit}       the network, alone
//! tip(root, url, ref, credentials, time) → CommitId                            … and a question
//! Mirror::reader() → Reader ─is_ancestor · tree_ids · read_layers · last_changes→ values
//! Reader ─check_out(commit, path, to)→ files of a directory, for a build
//! Reader::open_clone(path) ─resolve · trunk · file→ the same of a repository that others keep
//! ```
//!
//! Everything here blocks: call it from threads that may wait. Values carry files as bytes and ids as text;
//! what a file means, which objects exist in a cluster and when to ask again is known elsewhere. No client of
//! a cluster and no async runtime may enter, and outside this room nothing names libgit2.

pub mod checkout;
pub mod clone;
pub mod credentials;
pub mod error;
pub mod history;
pub mod init;
pub mod known_hosts;
mod memory;
pub mod mirror;
pub mod paths;
mod sha1;
mod store;
#[cfg(test)]
pub(crate) mod test_support;
pub mod tip;
pub mod tree;
pub mod walk;

pub use crate::repository::{GitRef, GitUrl, RefError, RefName, Scheme, UrlError};
pub use checkout::{CheckoutError, CheckoutLimits, Written};
pub use clone::{CloneError, Saying, Step};
pub use credentials::{Credentials, CredentialsError};
pub use error::{FetchError, Intent};
pub use history::{MAX_COMMITS, Provenance};
pub use init::{init, init_alone};
pub use mirror::{FetchLimits, Fetched, Mirror};
pub use paths::{check_paths, is_below};
pub use tip::tip;
pub use tree::{ObjectId, ReadError, Reader};
pub use walk::{File, Layer, Layers, PathProblem, ReadLimits};
