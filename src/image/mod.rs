//! What a registry says about an image: the digest of a tag, its platforms, and what is in it that must not be. And how an
//! image that was built comes into a registry.
//!
//! The answer is an observation: it is pinned in a revision before anything acts on it, so a registry that is
//! down, slow or lying cannot change what runs. `credentials`, `claims`, `provenance` and `baked` are pure; only `registry` and `push` talk
//! to anyone, through a `session`, and `address` says to whom not. `layout` reads what `push` sends, and knows no registry.

mod address;
pub mod baked;
pub mod challenge;
pub mod claims;
pub mod credentials;
pub mod error;
pub mod layout;
pub mod manifest;
pub mod provenance;
pub mod push;
pub mod registry;
mod session;

pub use credentials::{CredentialsError, DockerConfig};
pub use error::{PushError, ResolveError};
pub use manifest::Platform;
pub use push::{Pushed, Pusher};
pub use registry::{Registry, RegistryError, ResolvedImage};
