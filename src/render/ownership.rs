//! Whether an object that is there is ours to write.
//!
//! Server-side apply merges into whatever has the name. An object of Helm, of a person or of another release of ours
//! would become a mixture of both, so it is read and judged first.

use serde_json::Value;

use super::ObjectKey;
use crate::{
    api::{FIELD_MANAGER, meta},
    names::ReleaseId,
};

/// Whose an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// Of this release: it may be written.
    Ours,
    /// Of somebody else: it is never written.
    Foreign {
        /// The field manager that wrote it last, `release NAME` for another release of ours, or `unknown`.
        manager: String,
    },
}

/// The value of the annotation `slipway.dev/object`: names the object itself, so that a copy under another name or in
/// another namespace does not fit.
#[must_use]
pub fn object_annotation(id: &ReleaseId, key: &ObjectKey) -> String {
    format!("{}/{}/{}", key.kind.as_str(), id.namespace, key.name)
}

/// Judges `live`, the object that has the name of `key`. Ours carries the annotation that fits it, and the label of
/// the release; a label that people removed or changed is forgiven while the object still has our field manager.
#[must_use]
pub fn ours(id: &ReleaseId, key: &ObjectKey, live: &Value) -> Ownership {
    let metadata = live.get("metadata");
    let text = |map: &str, name: &str| metadata?.get(map)?.get(name)?.as_str();
    let managers = metadata
        .and_then(|metadata| metadata.get("managedFields"))
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if text("annotations", meta::OBJECT) != Some(object_annotation(id, key).as_str()) {
        return Ownership::Foreign {
            manager: last_writer(managers),
        };
    }
    match text("labels", meta::RELEASE) {
        Some(release) if release == id.name.as_str() => Ownership::Ours,
        // `shop-worker` of release `shop` and of release `shop-worker` are one name: the first that has it keeps it.
        Some(release) if managers.iter().any(wrote_release_label) => Ownership::Foreign {
            manager: format!("release {release}"),
        },
        _ if managers.iter().any(is_slipway) => Ownership::Ours,
        _ => Ownership::Foreign {
            manager: last_writer(managers),
        },
    }
}

fn is_slipway(entry: &Value) -> bool {
    entry.get("manager").and_then(Value::as_str) == Some(FIELD_MANAGER)
}

/// Whether the label of the release has the value that Slipway gave it; an edit by others takes the field away.
fn wrote_release_label(entry: &Value) -> bool {
    is_slipway(entry)
        && entry
            .get("fieldsV1")
            .and_then(|fields| fields.get("f:metadata")?.get("f:labels"))
            .is_some_and(|labels| labels.get(format!("f:{}", meta::RELEASE)).is_some())
}

/// The manager that last wrote the object itself, not its status or scale: those are controllers.
fn last_writer(managers: &[Value]) -> String {
    managers
        .iter()
        .filter(|entry| {
            entry
                .get("subresource")
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
        })
        // RFC 3339 in UTC with whole seconds sorts as text; of equal times the last counts.
        .max_by_key(|entry| entry.get("time").and_then(Value::as_str).unwrap_or(""))
        .and_then(|entry| entry.get("manager")?.as_str())
        .unwrap_or("unknown")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Kind, fixtures::Fixture};

    fn judge(live: &str) -> Ownership {
        let key = ObjectKey {
            kind: Kind::Deployment,
            name: "billing".into(),
        };
        ours(&Fixture::web().id, &key, &serde_yaml::from_str(live).unwrap())
    }

    fn foreign(manager: &str) -> Ownership {
        Ownership::Foreign {
            manager: manager.into(),
        }
    }

    #[test]
    fn ours_has_the_label_and_the_annotation_that_fits() {
        let live = "{metadata: {labels: {slipway.dev/release: billing},
                     annotations: {slipway.dev/object: Deployment/shop/billing}}}";
        assert_eq!(judge(live), Ownership::Ours);
    }

    #[test]
    fn a_copy_made_by_hand_is_not_ours() {
        for object in [
            "Deployment/other/billing",
            "Deployment/shop/billing2",
            "Service/shop/billing",
        ] {
            let live = format!(
                "{{metadata: {{labels: {{slipway.dev/release: billing}}, annotations: {{slipway.dev/object: {object}}},
                  managedFields: [{{manager: kubectl-create, time: '2026-05-03T10:00:00Z'}}]}}}}"
            );
            assert_eq!(judge(&live), foreign("kubectl-create"));
        }
    }

    #[test]
    fn a_label_that_people_took_or_changed_is_forgiven_while_our_manager_is_there() {
        for label in ["{}", "{slipway.dev/release: oops}"] {
            let live = format!(
                "{{metadata: {{labels: {label}, annotations: {{slipway.dev/object: Deployment/shop/billing}},
                  managedFields: [{{manager: slipway, fieldsV1: {{'f:spec': {{}}}}}}, {{manager: kubectl-label}}]}}}}"
            );
            assert_eq!(judge(&live), Ownership::Ours, "{label}");
        }
    }

    #[test]
    fn an_object_of_another_release_of_ours_is_foreign() {
        let live = "{metadata: {labels: {slipway.dev/release: bill},
                     annotations: {slipway.dev/object: Deployment/shop/billing},
                     managedFields: [{manager: slipway,
                       fieldsV1: {'f:metadata': {'f:labels': {'f:slipway.dev/release': {}}}}}]}}";
        assert_eq!(judge(live), foreign("release bill"));
    }

    #[test]
    fn the_annotation_alone_makes_nothing_ours() {
        let live = "{metadata: {annotations: {slipway.dev/object: Deployment/shop/billing},
                     managedFields: [{manager: helm}]}}";
        assert_eq!(judge(live), foreign("helm"));
    }

    #[test]
    fn the_stranger_is_who_wrote_the_object_last_and_not_its_status() {
        let live = "{metadata: {managedFields: [
            {manager: helm, time: '2026-05-03T10:00:00Z'},
            {manager: kubectl-edit, time: '2026-05-04T10:00:00Z'},
            {manager: kube-controller-manager, subresource: status, time: '2026-05-05T10:00:00Z'}]}}";
        assert_eq!(judge(live), foreign("kubectl-edit"));
        assert_eq!(judge("{metadata: {name: billing}}"), foreign("unknown"));
        assert_eq!(judge("{}"), foreign("unknown"));
    }
}
