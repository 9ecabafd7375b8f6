//! How a repository, and what of it is meant, is named: addresses and references, by an allow-list. Pure: specs and sources
//! speak of repositories in the same words, and whoever connects is elsewhere.

pub mod reference;
pub mod url;

pub use reference::{GitRef, RefError, RefName};
pub use url::{GitUrl, Scheme, UrlError};
