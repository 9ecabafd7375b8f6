//! A `Release` object → what is declared, by whom, and how it is rendered.

use std::collections::BTreeMap;

use kube::{ResourceExt as _, api::ObjectMeta};

use super::watched::Sources;
use crate::{
    api::{Release, meta},
    cluster::{custom::Custom, error::ClusterError},
    names::{CommitId, Digest, ReleaseId, RevisionNumber},
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
    pub fn read(Custom { object, wrong }: Custom<Release>) -> Option<Self> {
        let id = release_id(&object.metadata)?;
        let annotations = object.annotations();
        let source = object.labels().get(meta::SOURCE).cloned();
        let provenance = declared_at(&object.metadata).map(|commit| Provenance {
            commit,
            author: annotations.get(meta::AUTHOR).cloned().unwrap_or_default(),
            path: annotations.get(meta::PATH).cloned().unwrap_or_default(),
        });
        let written = annotations.get(meta::SPEC_HASH);
        let edited = wrong.is_some() || written != Some(&spec::spec_hash(&object.spec));
        let declaration = match wrong {
            _ if source.is_some() && annotations.contains_key(meta::REMOVING) => Declaration::Removing,
            // What cannot be read is not what the source wrote.
            _ if edited && source.is_some() => Declaration::Edited,
            Some(wrong) => Declaration::Invalid(vec![wrong]),
            None => declaration(&id, &object),
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

    /// Whether the object still says what was read of it; its status is not of that.
    #[must_use]
    pub fn is_as_read(&self, now: &ObjectMeta) -> bool {
        let said = |meta: &ObjectMeta| {
            let (labels, annotations) = (meta.labels.clone(), meta.annotations.clone());
            (meta.uid.clone(), meta.generation, labels, annotations)
        };
        said(&self.object.metadata) == said(now)
    }

    /// The source that the release came from, where that is gone.
    pub async fn gone_source(&self, sources: &Sources) -> Result<Option<String>, ClusterError> {
        match &self.source {
            Some(source) if sources.lack(source).await? => Ok(Some(source.clone())),
            _ => Ok(None),
        }
    }

    /// The complete spec, if it is one.
    #[must_use]
    pub fn declared(&self) -> Option<&Declared> {
        match &self.declaration {
            Declaration::Valid(declared) => Some(declared),
            _ => None,
        }
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

/// The release that an object is, if its name can be one.
#[must_use]
pub fn release_id(meta: &ObjectMeta) -> Option<ReleaseId> {
    Some(ReleaseId {
        namespace: meta.namespace.as_deref()?.parse().ok()?,
        name: meta.name.as_deref()?.parse().ok()?,
    })
}

/// The commit that declared an object.
#[must_use]
pub fn declared_at(meta: &ObjectMeta) -> Option<CommitId> {
    meta.annotations.as_ref()?.get(meta::COMMIT)?.parse().ok()
}

fn declaration(id: &ReleaseId, object: &Release) -> Declaration {
    match spec::declare(&id.name, &object.spec) {
        Ok(Some(declared)) => Declaration::Valid(Box::new(declared)),
        Ok(None) => Declaration::NoVersion,
        Err(rejections) => Declaration::Invalid(rejections.iter().map(ToString::to_string).collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{cluster::custom, spec::strict};

    fn subject(labels: &serde_json::Value, spec: &serde_json::Value) -> Subject {
        let object = json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "Release",
            "metadata": {"name": "a", "namespace": "shop", "labels": labels},
            "spec": spec,
        });
        Subject::read(custom::read(
            serde_json::from_value(object).unwrap(),
            strict::unreadable,
        ))
        .unwrap()
    }

    #[test]
    fn what_cannot_be_read_is_refused_where_a_hand_wrote_it_and_waits_for_its_source_where_it_has_one() {
        let odd = json!({"image": "x", "version": "1.0.0", "env": {"X": 5}});
        let by_hand = subject(&json!({}), &odd).declaration;
        assert!(matches!(by_hand, Declaration::Invalid(why) if why[0].starts_with("`env.X` must be")));
        let of_source = subject(&json!({meta::SOURCE: "all"}), &odd).declaration;
        assert!(matches!(of_source, Declaration::Edited));
    }

    #[test]
    fn a_release_is_as_it_was_read_until_its_spec_or_its_provenance_changes() {
        let read = subject(&json!({meta::SOURCE: "all"}), &json!({"image": "x"}));
        let same = read.object.metadata.clone();
        let mut told = same.clone();
        told.resource_version = Some("another status".to_owned());
        assert!(read.is_as_read(&same) && read.is_as_read(&told));
        let change = |change: fn(&mut ObjectMeta)| {
            let mut now = same.clone();
            change(&mut now);
            now
        };
        for other in [
            change(|now| now.generation = Some(2)),
            change(|now| now.uid = Some("of another one".to_owned())),
            change(|now| now.annotations = Some([(meta::COMMIT.to_owned(), "c2".to_owned())].into())),
            change(|now| now.labels = None),
        ] {
            assert!(!read.is_as_read(&other), "{other:?}");
        }
    }

    #[test]
    fn only_a_release_of_a_source_can_be_under_removal() {
        let spec = json!({});
        let mut object = subject(&json!({meta::SOURCE: "all"}), &spec).object;
        object
            .annotations_mut()
            .insert(meta::REMOVING.to_owned(), String::new());
        let read = |object| Subject::read(Custom { object, wrong: None }).unwrap().declaration;
        assert!(matches!(read(object.clone()), Declaration::Removing));
        object.labels_mut().clear();
        assert!(matches!(read(object), Declaration::NoVersion));
    }
}
