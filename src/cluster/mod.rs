//! What talks to the Kubernetes API.

pub mod connect;
pub mod lease;

pub use connect::{Clients, ConnectError};
pub use lease::{Ended, Leader, Leadership};
