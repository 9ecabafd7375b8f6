//! Where an application's own source is, and what its image must say of it.

use super::super::{
    check::{self, Problems},
    declared::{Agreement, Origin, OriginRef},
};
use crate::{
    api::ReleaseSpec,
    names::{CommitId, Version},
    repository::{GitUrl, RefName},
};

/// Stands for the declared version.
pub(super) const VERSION: &str = "{version}";

/// The tag of a version where `source.ref` says nothing.
const USUAL: &str = "v{version}";

pub(super) fn origin(spec: &ReleaseSpec, version: &Version, problems: &mut Problems) -> Option<Origin> {
    let source = spec.source.as_ref()?;
    // Plain http is for whoever installed Slipway to allow, and refused when it would be used.
    let git = match GitUrl::parse(&source.git, true) {
        Ok(url) if url.is_own() || url.is_no_service() => problems.none(
            "/source/git",
            "names the machine that Slipway runs on, or what answers for its cloud".into(),
        ),
        Ok(url) => Some(url),
        Err(error) => problems.none("/source/git", error.to_string()),
    };
    let text = source
        .reference
        .as_deref()
        .unwrap_or(USUAL)
        .replace(VERSION, version.as_str());
    let reference = match text.parse::<CommitId>() {
        Ok(id) => Some(OriginRef::Commit(id)),
        Err(_) => match RefName::tag(&text) {
            Ok(name) => Some(OriginRef::Tag(name)),
            Err(error) => problems.none("/source/ref", error.to_string()),
        },
    };
    let path = source.path.clone().unwrap_or_else(|| ".".to_owned());
    if let Err(message) = check::path_within(&path) {
        problems.add("/source/path".into(), message);
    }
    let secret = match &source.secret {
        Some(name) => Some(problems.parse("/source/secret", name)?),
        None => None,
    };
    Some(Origin {
        git: git?,
        reference: reference?,
        path,
        secret,
    })
}

pub(super) fn agreement(spec: &ReleaseSpec) -> Agreement {
    let agree = spec.agree.clone().unwrap_or_default();
    Agreement {
        version: agree.version,
        revision: agree.revision,
    }
}
