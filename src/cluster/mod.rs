//! What talks to the Kubernetes API: clients, the lease, reading what a pass needs, writing what it decided.

pub mod builds;
pub mod connect;
pub mod custom;
pub mod error;
pub mod facts;
pub mod given;
pub mod hash_key;
pub mod lease;
pub mod objects;
pub mod observe;
pub mod resolve;

pub use connect::{Clients, ConnectError};
pub use lease::{Ended, Leader, Leadership};
