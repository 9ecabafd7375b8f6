//! What the server refuses of an object by its form: fields that a type does not have, values that do not fit, and of our own
//! kinds what their definitions say.

use std::{collections::BTreeMap, fs, path::Path, sync::OnceLock};

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace, Pod, Secret, Service, ServiceAccount},
    networking::v1::Ingress,
    policy::v1::PodDisruptionBudget,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{resources::Resource, store::LATER};

/// As much as etcd takes of one object.
const LARGEST: usize = 1_500_000;

/// Why an object cannot be; `strict` refuses unknown fields, too.
pub fn wrong(resource: &Resource, object: &Value, strict: bool) -> Option<String> {
    if resource.custom {
        let schema = definitions().get(resource.kind)?;
        let found = ["spec", "status"]
            .iter()
            .find_map(|part| against(part, schema["properties"].get(part)?, object.get(part)?));
        return found.or_else(|| too_large(object));
    }
    let typed = match resource.kind {
        "Deployment" => typed::<Deployment>(object, strict),
        "Job" => typed::<Job>(object, strict),
        "Lease" => typed::<Lease>(object, strict),
        "ConfigMap" => typed::<ConfigMap>(object, strict),
        "Namespace" => typed::<Namespace>(object, strict),
        "Pod" => typed::<Pod>(object, strict),
        "Secret" => typed::<Secret>(object, strict),
        "Service" => typed::<Service>(object, strict),
        "ServiceAccount" => typed::<ServiceAccount>(object, strict),
        "Ingress" => typed::<Ingress>(object, strict),
        "PodDisruptionBudget" => typed::<PodDisruptionBudget>(object, strict),
        _ => return None,
    };
    match typed {
        Err(why) => Some(why),
        Ok(Some(known)) => unknown("", object, &known),
        Ok(None) => None,
    }
}

fn too_large(object: &Value) -> Option<String> {
    let size = object.to_string().len();
    (size > LARGEST).then(|| format!("it has {size} bytes, and {LARGEST} are the most"))
}

/// What the type knows of an object, where that is asked for.
fn typed<T: DeserializeOwned + Serialize>(object: &Value, strict: bool) -> Result<Option<Value>, String> {
    let object = T::deserialize(object).map_err(|error| error.to_string())?;
    let known = strict.then(|| serde_json::to_value(object));
    known.transpose().map_err(|error| error.to_string())
}

/// The first field that the type has no place for.
fn unknown(path: &str, object: &Value, known: &Value) -> Option<String> {
    match (object, known) {
        (Value::Object(object), Value::Object(known)) => object.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match known.get(name) {
                Some(known) => unknown(&path, value, known),
                None if value.is_null() || name == LATER => None,
                None => Some(format!("strict decoding error: unknown field {path:?}")),
            }
        }),
        (Value::Array(object), Value::Array(known)) => {
            let mut both = object.iter().zip(known).enumerate();
            both.find_map(|(index, (object, known))| unknown(&format!("{path}[{index}]"), object, known))
        }
        _ => None,
    }
}

/// The schemas of our own kinds, as they are installed.
fn definitions() -> &'static BTreeMap<String, Value> {
    static ALL: OnceLock<BTreeMap<String, Value>> = OnceLock::new();
    ALL.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
        let files = fs::read_dir(folder).unwrap();
        files
            .map(|file| {
                let text = fs::read_to_string(file.unwrap().path()).unwrap();
                let definition: Value = serde_yaml::from_str(&text).unwrap();
                let kind = definition["spec"]["names"]["kind"].as_str().unwrap().to_owned();
                let schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
                assert!(schema["properties"]["spec"].is_object(), "{kind}");
                (kind, schema)
            })
            .collect()
    })
}

/// The first thing that a schema does not allow.
fn against(path: &str, schema: &Value, value: &Value) -> Option<String> {
    if value.is_null() && (schema["nullable"] == true || schema.get("type").is_none()) {
        return None;
    }
    let fits = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    if !fits {
        return Some(format!("{path}: must be of type {}", schema["type"]));
    }
    let most = |name: &str| schema[name].as_u64().and_then(|most| usize::try_from(most).ok());
    let size = match value {
        Value::String(text) => Some((text.chars().count(), most("maxLength"))),
        Value::Array(items) => Some((items.len(), most("maxItems"))),
        Value::Object(fields) => Some((fields.len(), most("maxProperties"))),
        _ => None,
    };
    if let Some((size, Some(most))) = size
        && size > most
    {
        return Some(format!("{path}: Too long: may not be more than {most}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Some(format!("{path}: Unsupported value: {value}"));
    }
    let required = schema["required"].as_array().into_iter().flatten();
    if let Some(name) = required
        .filter_map(Value::as_str)
        .find(|name| value.get(name).is_none())
        && value.is_object()
    {
        return Some(format!("{path}.{name}: Required value"));
    }
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let inner = schema["properties"]
                .get(name)
                .or(schema.get("additionalProperties"))?;
            against(&format!("{path}.{name}"), inner, value)
        }),
        Value::Array(items) => {
            let inner = schema.get("items")?;
            items
                .iter()
                .find_map(|item| against(&format!("{path}[]"), inner, item))
        }
        _ => None,
    }
}
