//! What it takes to make an object of somebody else ours, and what of it cannot be.

use serde_json::{Value, json};

use super::{
    Kind, Object, ObjectKey, object_annotation,
    owned::{managers, merge},
};
use crate::{
    api::{FIELD_MANAGER, meta},
    names::ReleaseId,
};

/// Why an object cannot become the wanted one; `None` where it can.
#[must_use]
pub fn unadoptable(wanted: &Object, live: &Value, manager: &str) -> Option<String> {
    if live.pointer("/metadata/deletionTimestamp").is_some() {
        return Some("it is being deleted".to_owned());
    }
    if manager.starts_with("release ") {
        return Some("it belongs to another release".to_owned());
    }
    let owners = live
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let controller = owners
        .into_iter()
        .flatten()
        .find(|owner| owner.get("controller") == Some(&Value::Bool(true)));
    if let Some(owner) = controller {
        let word = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
        return Some(format!("{} {} controls it", word("kind"), word("name")));
    }
    let selector = "/spec/selector";
    match wanted.key.kind {
        Kind::Deployment if live.pointer(selector) != wanted.value.pointer(selector) => {
            Some("the selector of a Deployment can never be changed, and it has another".to_owned())
        }
        Kind::Service if live.pointer("/spec/clusterIP") == Some(&json!("None")) => {
            Some("it is headless, which can never be changed".to_owned())
        }
        _ => None,
    }
}

/// The merge patch that makes an object ours: our label, our annotation, and of its spec the notes that Slipway set what
/// others have set. So the next apply takes away what it does not name, which it would leave to its owner else. Labels and
/// annotations of others stay theirs.
#[must_use]
pub fn takeover(id: &ReleaseId, key: &ObjectKey, live: &Value, over: &str) -> Value {
    let version = key.kind.api_version();
    let mut set = json!({
        "f:metadata": {
            "f:labels": { (format!("f:{}", meta::RELEASE)): {} },
            "f:annotations": { (format!("f:{}", meta::OBJECT)): {} },
        },
    });
    let (parts, mut kept): (Vec<&Value>, Vec<&Value>) = managers(live).iter().partition(|entry| {
        let part = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("");
        part("subresource").is_empty()
    });
    for entry in parts {
        // Of another version of the kind it may have other names.
        let same = entry.get("apiVersion").and_then(Value::as_str) == Some(version);
        if let Some(spec) = entry.pointer("/fieldsV1/f:spec").filter(|_| same) {
            merge(&mut set, json!({ "f:spec": spec }));
        }
    }
    let ours = json!({
        "manager": FIELD_MANAGER,
        "operation": "Apply",
        "apiVersion": version,
        "fieldsType": "FieldsV1",
        "fieldsV1": set,
    });
    kept.insert(0, &ours);
    json!({
        "metadata": {
            "resourceVersion": over,
            "labels": { (meta::RELEASE): id.name },
            "annotations": { (meta::OBJECT): object_annotation(id, key) },
            "managedFields": kept,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Ownership, fixtures::Fixture, ours, render};

    fn wanted(kind: Kind) -> Object {
        let objects = render(&Fixture::web().input());
        objects
            .into_iter()
            .find(|object| object.key.kind == kind)
            .unwrap()
    }

    #[test]
    fn what_cannot_become_ours_says_why() {
        let deployment = wanted(Kind::Deployment);
        let selector = deployment.value["spec"]["selector"].clone();
        let ours = json!({"spec": {"selector": selector}});
        assert_eq!(unadoptable(&deployment, &ours, "helm"), None);
        let service = wanted(Kind::Service);
        let controlled = json!({"metadata": {"ownerReferences": [
            {"kind": "Other", "name": "x"}, {"kind": "App", "name": "shop", "controller": true}]}});
        for (object, live, manager, why) in [
            (
                &deployment,
                json!({"spec": {"selector": {"matchLabels": {"app": "shop"}}}}),
                "helm",
                "selector",
            ),
            (&deployment, ours.clone(), "release other", "another release"),
            (
                &service,
                json!({"spec": {"clusterIP": "None"}}),
                "helm",
                "headless",
            ),
            (&service, controlled, "operator", "App shop controls it"),
            (
                &service,
                json!({"metadata": {"deletionTimestamp": "x"}}),
                "helm",
                "deleted",
            ),
        ] {
            let said = unadoptable(object, &live, manager).unwrap();
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(
            unadoptable(&service, &json!({"spec": {"clusterIP": "10.0.0.1"}}), "helm"),
            None
        );
    }

    #[test]
    fn what_is_taken_over_is_ours_and_so_are_the_fields_that_others_set() {
        let id = Fixture::web().id;
        let key = wanted(Kind::Service).key;
        let mut live: Value = serde_yaml::from_str(
            "{metadata: {name: billing, labels: {app: billing}, annotations: {meta.helm.sh/release-name: b}, managedFields: [
               {manager: helm, operation: Update, apiVersion: v1, fieldsV1: {'f:metadata': {'f:labels': {'f:app': {}}},
                 'f:spec': {'f:type': {}, 'f:ports': {'k:{\"port\":9,\"protocol\":\"TCP\"}': {'f:port': {}}}}}},
               {manager: kubectl, operation: Update, apiVersion: v1, fieldsV1: {'f:spec': {'f:sessionAffinity': {}}}},
               {manager: old, operation: Update, apiVersion: v0, fieldsV1: {'f:spec': {'f:gone': {}}}},
               {manager: lb, operation: Update, apiVersion: v1, subresource: status, fieldsV1: {'f:status': {}}}]}}",
        )
        .unwrap();
        let patch = takeover(&id, &key, &live, "7");
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let entries = patch["metadata"]["managedFields"].as_array().unwrap();
        assert_eq!(entries.len(), 2, "ours, and that of the status: {entries:?}");
        let spec = entries[0]["fieldsV1"]["f:spec"].as_object().unwrap();
        assert_eq!(
            spec.keys().collect::<Vec<_>>(),
            ["f:ports", "f:sessionAffinity", "f:type"]
        );
        merge(&mut live, patch);
        assert_eq!(ours(&id, &key, &live), Ownership::Ours);
        assert_eq!(
            live["metadata"]["labels"]["app"], "billing",
            "labels of others stay"
        );
    }
}
