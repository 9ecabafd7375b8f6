//! Labels, annotations and the frame that every object shares.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use sha2::{Digest as _, Sha256};

use super::{Input, Kind, Object, ObjectKey, OwnerRef, object_annotation};
use crate::{
    api::{GROUP, meta},
    names::ProcessName,
};

/// What one object's metadata has beyond that of every object.
#[derive(Default)]
pub(super) struct Metadata {
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// Further annotations; ours win over them.
    pub annotations: BTreeMap<String, String>,
    /// Never owned, not even by a release written by hand.
    pub ownerless: bool,
}

/// A whole object: `body` holds what stands beside `metadata`.
pub(super) fn object(
    input: &Input<'_>,
    kind: Kind,
    name: String,
    Metadata {
        labels: more_labels,
        mut annotations,
        ownerless,
    }: Metadata,
    body: Value,
) -> Object {
    let key = ObjectKey { kind, name };
    let mut labels = labels(input);
    labels.extend(more_labels);
    annotations.insert(meta::OBJECT.to_owned(), object_annotation(input.id, &key));
    // Only what runs a version says which: a Service or an account is the same from version to version, and is not
    // written again for each.
    if matches!(kind, Kind::Deployment | Kind::Job) {
        labels.extend(version_label(input.declared.version.as_str()));
        annotations.insert(meta::REVISION.to_owned(), input.revision.0.to_string());
        if let Some(provenance) = input.provenance {
            annotations.insert(meta::COMMIT.to_owned(), provenance.commit.to_string());
            annotations.insert(meta::PATH.to_owned(), provenance.path.clone());
        }
    }
    let owners = input.owner.filter(|_| !ownerless).map(owner_references);
    let value = merged(
        json!({
            "apiVersion": kind.api_version(),
            "kind": kind.as_str(),
            "metadata": {
                "name": key.name,
                "namespace": input.id.namespace,
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": owners,
            },
        }),
        body,
    );
    let value = without_nulls(value);
    let value = if matches!(kind, Kind::Deployment | Kind::Job) {
        value
    } else {
        with_hash(value)
    };
    Object {
        key,
        value: value.into(),
    }
}

/// What makes a `Release` the owner of an object.
#[must_use]
pub fn owner_references(owner: &OwnerRef) -> Value {
    // `controller` but no `blockOwnerDeletion`: that one needs rights on finalizers of Release.
    json!([{
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "Release",
        "name": owner.name,
        "uid": owner.uid,
        "controller": true,
    }])
}

/// The annotation by which a field that is no longer wanted is noticed: only fields that are wanted are compared, and
/// an object that differs is applied, upon which server-side apply takes away what its manager no longer names.
fn with_hash(mut value: Value) -> Value {
    let short = short_hash(&value);
    if let Some(annotations) = value
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.insert(meta::RENDERED.to_owned(), short.into());
    }
    value
}

/// The first 16 digits of a hash.
pub(super) fn short_hash(value: &Value) -> String {
    let hash = Sha256::digest(value.to_string().as_bytes());
    let start = hash.first_chunk::<8>().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(start))
}

/// Labels of every object and every pod; none of them changes while the release lives.
pub(super) fn labels(input: &Input<'_>) -> BTreeMap<String, String> {
    BTreeMap::from([
        (meta::RELEASE.to_owned(), input.id.name.to_string()),
        ("app.kubernetes.io/name".to_owned(), input.id.name.to_string()),
        ("app.kubernetes.io/managed-by".to_owned(), "slipway".to_owned()),
    ])
}

/// What selects the pods of a process. A Deployment's selector can never be changed, so this neither.
pub(super) fn selector(input: &Input<'_>, process: &ProcessName) -> BTreeMap<String, String> {
    BTreeMap::from([
        (meta::RELEASE.to_owned(), input.id.name.to_string()),
        (meta::PROCESS.to_owned(), process.to_string()),
    ])
}

/// Versions allow more than label values do; such a version goes without the label, which serves people alone.
fn version_label(version: &str) -> Option<(String, String)> {
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    (version.len() <= 63 && alphanumeric(version.chars().next()) && alphanumeric(version.chars().last()))
        .then(|| ("app.kubernetes.io/version".to_owned(), version.to_owned()))
}

/// `base` with the fields of `more`; of two fields of one name, that of `more`.
pub(super) fn merged(base: Value, more: Value) -> Value {
    match (base, more) {
        (Value::Object(mut base), Value::Object(more)) => {
            base.extend(more);
            Value::Object(base)
        }
        (base, _) => base,
    }
}

/// Fields that are null say nothing; server-side apply would read them as an intent.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_nulls(value)))
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{fixtures::Fixture, render};

    #[test]
    fn every_object_says_what_it_is_and_what_runs_says_where_it_comes_from() {
        let fixture = Fixture::web();
        for object in render(&fixture.input()) {
            let metadata = &object.value["metadata"];
            let annotations = &metadata["annotations"];
            let identity = format!("{}/shop/{}", object.key.kind.as_str(), object.key.name);
            assert_eq!(annotations["slipway.dev/object"], identity);
            assert_eq!(metadata["labels"]["slipway.dev/release"], "billing");
            if object.key.kind == Kind::Deployment {
                assert_eq!(annotations["slipway.dev/revision"], "42");
                assert_eq!(annotations["slipway.dev/commit"], "a".repeat(40));
                assert_eq!(metadata["labels"]["app.kubernetes.io/version"], "1.8.2");
            } else {
                assert_eq!(annotations.get("slipway.dev/revision"), None);
                assert_eq!(metadata["labels"].get("app.kubernetes.io/version"), None);
            }
            assert_eq!(metadata.get("ownerReferences"), None);
            assert_eq!(object.value["apiVersion"], object.key.kind.api_version());
        }
    }

    #[test]
    fn only_a_release_written_by_hand_owns_its_objects() {
        let mut fixture = Fixture::web();
        fixture.provenance = None;
        fixture.owned("8f1c");
        for object in render(&fixture.input()) {
            let metadata = &object.value["metadata"];
            assert_eq!(metadata["ownerReferences"][0]["uid"], "8f1c");
            assert_eq!(metadata["annotations"].get("slipway.dev/commit"), None);
        }
    }

    #[test]
    fn a_version_that_is_no_label_value_goes_without_the_label() {
        for version in ["_1", "1-", &"1".repeat(64)] {
            assert_eq!(version_label(version), None, "{version}");
        }
        assert!(version_label("1.8.2").is_some());
    }
}
