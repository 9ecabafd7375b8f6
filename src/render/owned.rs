//! What of an object that is there was applied by Slipway: its intent, read back from the API server's notes on who set
//! which field.

use serde_json::{Map, Value, json};

use super::{Object, ObjectKey};
use crate::api::FIELD_MANAGER;

/// The notes of an apply of ours, on the object itself and not on its status or scale.
fn is_intent(entry: &Value) -> bool {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("");
    text("manager") == FIELD_MANAGER && text("operation") == "Apply" && text("subresource").is_empty()
}

/// The entries of `metadata.managedFields`.
pub(super) fn managers(live: &Value) -> &[Value] {
    live.pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The object as it was applied, without its owners; `None` where the notes are gone.
#[must_use]
pub fn owned(key: &ObjectKey, live: &Value) -> Option<Object> {
    let mut value = json!({});
    for entry in managers(live).iter().filter(|entry| is_intent(entry)) {
        let part = part(entry.get("fieldsV1")?, live)?;
        merge(&mut value, part);
    }
    let fields = value.as_object_mut()?;
    let metadata = fields.get_mut("metadata")?.as_object_mut()?;
    metadata.remove("ownerReferences");
    metadata.insert("name".to_owned(), json!(key.name));
    metadata.insert(
        "namespace".to_owned(),
        live.pointer("/metadata/namespace")?.clone(),
    );
    fields.insert("apiVersion".to_owned(), json!(key.kind.api_version()));
    fields.insert("kind".to_owned(), json!(key.kind.as_str()));
    Some(Object {
        key: key.clone(),
        value: value.into(),
    })
}

/// The part of a value that a set of fields names. A set that names nothing below is the whole.
fn part(fields: &Value, value: &Value) -> Option<Value> {
    let named = fields.as_object()?;
    match value {
        Value::Object(live) if named.keys().any(|name| name != ".") => {
            let mut found = Map::new();
            for (name, below) in named {
                let Some(name) = name.strip_prefix("f:") else {
                    continue;
                };
                if let Some(part) = live.get(name).and_then(|live| part(below, live)) {
                    found.insert(name.to_owned(), part);
                }
            }
            Some(Value::Object(found))
        }
        // Of a map only that it is there.
        Value::Object(_) if !named.is_empty() => Some(json!({})),
        // In the order of the list that is there.
        Value::Array(live) if !named.is_empty() => Some(Value::Array(
            live.iter().filter_map(|item| self::item(named, item)).collect(),
        )),
        other => Some(other.clone()),
    }
}

/// An item of a list, if the set of fields has it: by its keys, or by itself.
fn item(named: &Map<String, Value>, item: &Value) -> Option<Value> {
    named.iter().find_map(|(name, below)| {
        if let Some(text) = name.strip_prefix("v:") {
            let value: Value = serde_json::from_str(text).ok()?;
            return (value == *item).then(|| item.clone());
        }
        let keys: Map<String, Value> = serde_json::from_str(name.strip_prefix("k:")?).ok()?;
        let is = keys.iter().all(|(name, key)| item.get(name) == Some(key));
        let mut part = is.then(|| part(below, item)).flatten()?;
        let fields = part.as_object_mut()?;
        for (name, key) in keys {
            fields.insert(name, key);
        }
        Some(part)
    })
}

/// Both, where two sets name different parts of one value.
pub(super) fn merge(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (name, more) in more {
                match base.get_mut(&name) {
                    Some(base) => merge(base, more),
                    None => {
                        base.insert(name, more);
                    }
                }
            }
        }
        (base, more) => *base = more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Kind, compare::drift, fixtures::Fixture, render};

    /// The names by which Kubernetes tells items of a list apart, and those of lists that are one whole.
    fn keys_of(list: &str, item: &Value) -> Option<Map<String, Value>> {
        let names: &[&str] = match list {
            "containers" | "env" | "volumes" | "imagePullSecrets" => &["name"],
            "volumeMounts" => &["mountPath"],
            "ports" if item.get("containerPort").is_some() => &["containerPort", "protocol"],
            "ports" => &["port", "protocol"],
            "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
            _ => return None,
        };
        names
            .iter()
            .map(|name| Some(((*name).to_owned(), item.get(*name)?.clone())))
            .collect()
    }

    /// The set of fields that the API server notes for an apply of this value.
    fn fields_of(name: &str, value: &Value) -> Value {
        match value {
            Value::Object(fields) if !fields.is_empty() && name != "selector" => {
                let below = fields
                    .iter()
                    .map(|(name, value)| (format!("f:{name}"), fields_of(name, value)));
                Value::Object(below.collect())
            }
            Value::Array(items) if items.first().is_some_and(|item| keys_of(name, item).is_some()) => {
                let below = items.iter().map(|item| {
                    let keys = Value::Object(keys_of(name, item).unwrap());
                    let mut fields = fields_of("", item);
                    fields["."] = json!({});
                    (format!("k:{keys}"), fields)
                });
                Value::Object(below.collect())
            }
            _ => json!({}),
        }
    }

    /// The object as it is in a cluster, with the notes on its apply.
    fn applied(object: &Object) -> Value {
        let mut live = object.value.to_value();
        let mut fields = fields_of("", &object.value);
        for given in ["f:apiVersion", "f:kind"] {
            fields.as_object_mut().unwrap().remove(given);
        }
        for given in ["f:name", "f:namespace"] {
            fields["f:metadata"].as_object_mut().unwrap().remove(given);
        }
        live["metadata"]["managedFields"] = json!([
            {"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": live["apiVersion"], "fieldsType": "FieldsV1",
             "fieldsV1": fields},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
             "fieldsV1": {"f:status": {"f:replicas": {}}}},
        ]);
        live
    }

    #[test]
    fn what_was_applied_is_read_back_whatever_others_added() {
        let mut fixture = Fixture::web();
        fixture.expose("billing.acme.com");
        for object in render(&fixture.input()) {
            let mut live = applied(&object);
            live["metadata"]["uid"] = json!("1");
            live["metadata"]["annotations"]["other/tool"] = json!("1");
            live["metadata"]["finalizers"] = json!(["other/tool"]);
            live["status"] = json!({ "replicas": 2 });
            if object.key.kind == Kind::Deployment {
                live["spec"]["progressDeadlineSeconds"] = json!(600);
                let pod = &mut live["spec"]["template"]["spec"];
                pod["dnsPolicy"] = json!("ClusterFirst");
                pod["containers"]
                    .as_array_mut()
                    .unwrap()
                    .insert(0, json!({"name": "sidecar"}));
                pod["containers"][1]["terminationMessagePath"] = json!("/dev/termination-log");
            }
            if object.key.kind == Kind::Service {
                live["spec"]["clusterIP"] = json!("10.0.0.1");
            }
            let mut expected = object.clone();
            if object.key.kind == Kind::Deployment {
                expected.value["spec"]["progressDeadlineSeconds"] = json!(600);
            }
            let read = owned(&object.key, &live).unwrap();
            assert_eq!(read, expected);
            assert_eq!(drift(&read.value, &live), [""; 0]);
        }
    }

    #[test]
    fn an_owner_is_not_read_back_and_what_nobody_noted_is_nothing() {
        let mut fixture = Fixture::web();
        fixture.provenance = None;
        fixture.owned("8f1c");
        for object in render(&fixture.input()) {
            let live = applied(&object);
            let read = owned(&object.key, &live).unwrap();
            assert!(read.value["metadata"].get("ownerReferences").is_none());
            let mut bare = live.clone();
            bare["metadata"].as_object_mut().unwrap().remove("managedFields");
            assert_eq!(owned(&object.key, &bare), None);
        }
    }

    #[test]
    fn items_of_a_set_and_maps_that_are_empty_are_read_back() {
        let live = json!({"a": ["x", "y"], "b": {}, "c": {"d": 1}, "e": [1, 2]});
        let fields = json!({"f:a": {"v:\"y\"": {}}, "f:b": {}, "f:c": {".": {}}, "f:e": {}});
        assert_eq!(
            part(&fields, &live),
            Some(json!({"a": ["y"], "b": {}, "c": {}, "e": [1, 2]}))
        );
    }
}
