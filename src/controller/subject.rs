//! A `Release` object → what is declared, by whom, and how it is rendered.

use std::collections::BTreeMap;

use kube::ResourceExt as _;

use crate::{
    api::{Release, meta},
    names::{Digest, ReleaseId, RevisionNumber},
    plan::observed::Declaration,
    render::{Input, OwnerRef, Provenance},
    spec::{self, Declared},
};

/// One release as it was read at the start of a pass.
pub struct Subject {
    /// Namespace and name.
    pub id: ReleaseId,
    /// The object.
    pub object: Release,
    /// What it declares.
    pub declaration: Declaration,
    /// Who declared it; `None` for a release written by hand.
    pub provenance: Option<Provenance>,
    /// The source that it came from.
    pub source: Option<String>,
    /// The owner of its objects: the `Release` itself where it was written by hand, else nobody.
    pub owner: Option<OwnerRef>,
    /// Per revision the architectures of its image.
    pub architectures: BTreeMap<RevisionNumber, Vec<String>>,
}

impl Subject {
    /// Reads the object; `None` when its name could never be a release's.
    #[must_use]
    pub fn read(object: Release) -> Option<Self> {
        let id = ReleaseId {
            namespace: object.namespace()?.parse().ok()?,
            name: object.name_any().parse().ok()?,
        };
        let annotations = object.annotations();
        let source = object.labels().get(meta::SOURCE).cloned();
        let provenance = annotations
            .get(meta::COMMIT)
            .and_then(|commit| commit.parse().ok())
            .map(|commit| Provenance {
                commit,
                author: annotations.get(meta::AUTHOR).cloned().unwrap_or_default(),
                path: annotations.get(meta::PATH).cloned().unwrap_or_default(),
            });
        let written = annotations.get(meta::SPEC_HASH);
        let edited = source.is_some() && written != Some(&spec::spec_hash(&object.spec));
        let declaration = if edited {
            Declaration::Edited
        } else {
            declaration(&id, &object)
        };
        let owner = match (&source, object.metadata.uid.as_deref()) {
            (None, Some(uid)) => uid.parse().ok().map(|uid| OwnerRef {
                uid,
                name: id.name.clone(),
            }),
            _ => None,
        };
        Some(Self {
            id,
            object,
            declaration,
            provenance,
            source,
            owner,
            architectures: BTreeMap::new(),
        })
    }

    /// The complete spec, if it is one.
    #[must_use]
    pub fn declared(&self) -> Option<&Declared> {
        match &self.declaration {
            Declaration::Valid(declared) => Some(declared),
            _ => None,
        }
    }

    /// The commit, for log lines.
    #[must_use]
    pub fn commit(&self) -> &str {
        self.provenance
            .as_ref()
            .map_or("none", |provenance| provenance.commit.as_str())
    }

    /// What the renderer needs.
    #[must_use]
    pub fn input<'a>(
        &'a self,
        id: &'a ReleaseId,
        declared: &'a Declared,
        digest: &'a Digest,
        architectures: &'a [String],
        revision: RevisionNumber,
    ) -> Input<'a> {
        Input {
            id,
            declared,
            digest,
            architectures,
            revision,
            provenance: self.provenance.as_ref(),
            owner: self.owner.as_ref(),
        }
    }
}

fn declaration(id: &ReleaseId, object: &Release) -> Declaration {
    match spec::declare(&id.name, &object.spec) {
        Ok(Some(declared)) => Declaration::Valid(Box::new(declared)),
        Ok(None) => Declaration::NoVersion,
        Err(rejections) => Declaration::Invalid(rejections.iter().map(ToString::to_string).collect()),
    }
}
