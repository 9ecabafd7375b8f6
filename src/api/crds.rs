//! The three `CustomResourceDefinition`s, made from the types of this room.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use super::{Release, ReleaseRevision, ReleaseSource};

/// All definitions, in the order of their names.
#[must_use]
pub fn crds() -> [CustomResourceDefinition; 3] {
    [ReleaseRevision::crd(), Release::crd(), ReleaseSource::crd()]
}
