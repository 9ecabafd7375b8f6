//! What a registry says about an image: the digest of a tag, its platforms, and what is in it that must not be.
//!
//! The answer is an observation: it is pinned in a revision before anything acts on it, so a registry that is
//! down, slow or lying cannot change what runs. `credentials` and `baked` are pure; only `registry` and its `session` talk
//! to anyone, and `address` says to whom not.

mod address;
pub mod baked;
pub mod challenge;
pub mod credentials;
pub mod error;
pub mod manifest;
pub mod registry;
mod session;

pub use credentials::{CredentialsError, DockerConfig};
pub use error::ResolveError;
pub use manifest::Platform;
pub use registry::{Registry, RegistryError, ResolvedImage};
