//! Who set which field: the bookkeeping of server-side apply, in the notes that `metadata.managedFields` holds.
//!
//! Lists have the keys that Kubernetes' schemas give those of the objects that Slipway writes; any other list is a whole.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// One step into an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Field(String),
    /// An item of a list, by its keys as JSON.
    Item(String),
}

pub type Path = Vec<Step>;
pub type Set = BTreeSet<Path>;

/// Parts of the metadata that nobody owns.
const SYSTEM: [&str; 10] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generateName",
    "managedFields",
];

/// The keys of the items of a list; `None` for a list that is a whole.
fn keys(list: &str, item: &Value) -> Option<&'static [&'static str]> {
    Some(match list {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => &["name"],
        "volumeMounts" => &["mountPath"],
        "conditions" => &["type"],
        "ownerReferences" => &["uid"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        "ports" if item.get("containerPort").is_some() => &["containerPort", "protocol"],
        "ports" => &["port", "protocol"],
        _ => return None,
    })
}

/// The keys of an item, as JSON.
fn identity(list: &str, item: &Value) -> Option<String> {
    let mut found = Map::new();
    for key in keys(list, item)? {
        let value = item.get(*key).cloned();
        // A protocol that is not said is TCP.
        let value = value.or((*key == "protocol").then(|| json!("TCP")))?;
        found.insert((*key).to_owned(), value);
    }
    Some(Value::Object(found).to_string())
}

/// A map that is replaced as a whole.
fn is_whole(field: &str) -> bool {
    [
        "selector",
        "nodeSelector",
        "labelSelector",
        "fieldRef",
        "secretKeyRef",
        "configMapKeyRef",
    ]
    .contains(&field)
}

fn last(path: &Path) -> &str {
    match path.last() {
        Some(Step::Field(name)) => name,
        _ => "",
    }
}

/// The fields of an object that somebody can own. Of its metadata and its status only what is asked for.
pub fn leaves(object: &Value, status: bool) -> Set {
    let mut found = Set::new();
    let Some(fields) = object.as_object() else {
        return found;
    };
    for (name, value) in fields {
        let counts = match name.as_str() {
            "apiVersion" | "kind" => false,
            "metadata" => !status,
            "status" => status,
            _ => !status,
        };
        if counts {
            collect(&mut vec![Step::Field(name.clone())], value, &mut found);
        }
    }
    found.retain(|path| {
        let metadata = path.first() == Some(&Step::Field("metadata".to_owned()));
        let system = matches!(path.get(1), Some(Step::Field(name)) if SYSTEM.contains(&name.as_str()));
        !(metadata && system)
    });
    found
}

fn collect(path: &mut Path, value: &Value, found: &mut Set) {
    match value {
        Value::Null => {}
        Value::Object(fields) if !fields.is_empty() && !is_whole(last(path)) => {
            for (name, value) in fields {
                path.push(Step::Field(name.clone()));
                collect(path, value, found);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let list = last(path).to_owned();
            let all: Option<Vec<String>> = items.iter().map(|item| identity(&list, item)).collect();
            let Some(all) = all else {
                found.insert(path.clone());
                return;
            };
            for (key, item) in all.into_iter().zip(items) {
                path.push(Step::Item(key));
                found.insert(path.clone());
                collect(path, item, found);
                path.pop();
            }
        }
        _ => {
            found.insert(path.clone());
        }
    }
}

/// What is at a path.
pub fn get<'a>(object: &'a Value, path: &[Step]) -> Option<&'a Value> {
    let mut value = object;
    let mut list = "";
    for step in path {
        value = match step {
            Step::Field(name) => {
                list = name;
                value.get(name)?
            }
            Step::Item(key) => value
                .as_array()?
                .iter()
                .find(|item| identity(list, item).as_ref() == Some(key))?,
        };
    }
    Some(value)
}

/// Takes what is at a path away, and what is empty for it.
fn remove(value: &mut Value, path: &[Step], list: &str) {
    match path {
        [] => {}
        [Step::Field(name)] => {
            if let Some(fields) = value.as_object_mut() {
                fields.remove(name);
            }
        }
        [Step::Item(key)] => {
            if let Some(items) = value.as_array_mut() {
                items.retain(|item| identity(list, item).as_ref() != Some(key));
            }
        }
        [Step::Field(name), rest @ ..] => {
            let Some(fields) = value.as_object_mut() else {
                return;
            };
            if let Some(inner) = fields.get_mut(name) {
                remove(inner, rest, name);
                let empty = match inner {
                    Value::Object(fields) => fields.is_empty(),
                    Value::Array(items) => items.is_empty(),
                    _ => false,
                };
                if empty {
                    fields.remove(name);
                }
            }
        }
        [Step::Item(key), rest @ ..] => {
            let items = value.as_array_mut().into_iter().flatten();
            for item in items.filter(|item| identity(list, item).as_ref() == Some(key)) {
                remove(item, rest, "");
            }
        }
    }
}

/// Lays what is applied over what is there.
fn lay(live: &mut Value, applied: &Value, field: &str) {
    match (live, applied) {
        (_, Value::Null) => {}
        (Value::Object(live), Value::Object(applied)) if !is_whole(field) => {
            for (name, value) in applied {
                match live.get_mut(name) {
                    Some(live) => lay(live, value, name),
                    None if value.is_null() => {}
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(live), Value::Array(applied))
            if !applied.is_empty() && applied.iter().all(|item| identity(field, item).is_some()) =>
        {
            for item in applied {
                let key = identity(field, item);
                match live.iter_mut().find(|live| identity(field, live) == key) {
                    Some(live) => lay(live, item, ""),
                    None => live.push(item.clone()),
                }
            }
        }
        (live, applied) => *live = applied.clone(),
    }
}

/// A manager as the notes know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    pub name: String,
    pub operation: &'static str,
    pub status: bool,
}

/// All notes of an object.
#[derive(Debug, Default, Clone)]
pub struct Notes(pub BTreeMap<Manager, (Set, String)>);

impl Notes {
    pub fn of(object: &Value) -> Self {
        let mut notes = Self::default();
        let entries = object
            .pointer("/metadata/managedFields")
            .and_then(Value::as_array);
        for entry in entries.into_iter().flatten() {
            let word = |name: &str| entry[name].as_str().unwrap_or("").to_owned();
            let manager = Manager {
                name: word("manager"),
                operation: if word("operation") == "Apply" {
                    "Apply"
                } else {
                    "Update"
                },
                status: word("subresource") == "status",
            };
            let mut set = Set::new();
            decode(&mut Vec::new(), &entry["fieldsV1"], &mut set);
            notes.0.insert(manager, (set, word("time")));
        }
        notes
    }

    pub fn set(&self, manager: &Manager) -> Set {
        self.0
            .get(manager)
            .map(|(set, _)| set.clone())
            .unwrap_or_default()
    }

    /// Writes them into an object. An entry that is as it was keeps its time.
    pub fn write(self, object: &mut Value, api_version: &str) {
        let entries: Vec<Value> = self
            .0
            .into_iter()
            .filter(|(_, (set, _))| !set.is_empty())
            .map(|(manager, (set, time))| {
                let mut entry = json!({
                    "manager": manager.name, "operation": manager.operation, "apiVersion": api_version,
                    "time": time, "fieldsType": "FieldsV1", "fieldsV1": encode(&set),
                });
                if manager.status {
                    entry["subresource"] = json!("status");
                }
                entry
            })
            .collect();
        object["metadata"]["managedFields"] = json!(entries);
    }

    fn others_own(&self, manager: &Manager, path: &Path) -> bool {
        self.0
            .iter()
            .any(|(other, (set, _))| other != manager && set.iter().any(|own| own.starts_with(path)))
    }
}

fn encode(set: &Set) -> Value {
    let mut root = json!({});
    for path in set {
        let mut at = &mut root;
        for step in path {
            let name = match step {
                Step::Field(name) => format!("f:{name}"),
                Step::Item(key) => format!("k:{key}"),
            };
            at = &mut at[name];
            if at.is_null() {
                *at = json!({});
            }
        }
        if matches!(path.last(), Some(Step::Item(_))) {
            at["."] = json!({});
        }
    }
    root
}

fn decode(path: &mut Path, value: &Value, set: &mut Set) {
    let fields = value.as_object();
    let inner = fields.into_iter().flatten().filter(|(name, _)| *name != ".");
    let mut any = false;
    for (name, below) in inner {
        any = true;
        let step = match (name.strip_prefix("f:"), name.strip_prefix("k:")) {
            (Some(name), _) => Step::Field(name.to_owned()),
            (_, Some(key)) => Step::Item(key.to_owned()),
            _ => continue,
        };
        path.push(step);
        decode(path, below, set);
        path.pop();
    }
    if !path.is_empty() && (!any || value.get(".").is_some()) {
        set.insert(path.clone());
    }
}

/// What an apply makes of an object, or who else has set what it names otherwise.
pub fn apply(
    live: &Value,
    applied: &Value,
    manager: &Manager,
    force: bool,
    (api_version, time): (&str, &str),
) -> Result<Value, Vec<(String, Path)>> {
    let mut notes = Notes::of(live);
    let wanted = leaves(applied, manager.status);
    let mut conflicts = Vec::new();
    for (other, (set, _)) in &mut notes.0 {
        if other == manager {
            continue;
        }
        let taken: Vec<Path> = wanted
            .iter()
            .filter(|path| set.contains(*path) && get(live, path) != get(applied, path))
            // That there is an item is no value that could differ; its fields are.
            .filter(|path| !matches!(path.last(), Some(Step::Item(_))))
            .cloned()
            .collect();
        for path in taken {
            if force {
                set.remove(&path);
            } else {
                conflicts.push((other.name.clone(), path));
            }
        }
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let mut object = live.clone();
    let part = |name: &str| applied.get(name).filter(|value| !value.is_null());
    if manager.status {
        if let Some(status) = part("status") {
            lay(&mut object["status"], status, "status");
        }
    } else {
        let mut rest = applied.clone();
        if let Some(fields) = rest.as_object_mut() {
            fields.remove("status");
            if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
                for name in SYSTEM {
                    metadata.remove(name);
                }
            }
        }
        lay(&mut object, &rest, "");
    }
    let before = notes.set(manager);
    // An item before its fields: without those that are its key nobody would find it.
    for path in before.difference(&wanted) {
        if !notes.others_own(manager, path) {
            remove(&mut object, path, "");
        }
    }
    let time = match notes.0.get(manager) {
        Some((set, time)) if *set == wanted => time.clone(),
        _ => time.to_owned(),
    };
    notes.0.insert(manager.clone(), (wanted, time));
    notes.write(&mut object, api_version);
    Ok(object)
}

/// Notes that a manager changed an object otherwise than by an apply.
pub fn updated(before: &Value, after: &mut Value, manager: &Manager, (api_version, time): (&str, &str)) {
    let mut notes = Notes::of(before);
    let (old, new) = (leaves(before, manager.status), leaves(after, manager.status));
    let differs = |path: &&Path| get(before, path) != get(after, path);
    let is_item = |path: &Path| matches!(path.last(), Some(Step::Item(_)));
    let gone: Vec<&Path> = old.difference(&new).collect();
    let mut changed: Set = new
        .intersection(&old)
        .filter(|path| !is_item(path))
        .filter(differs)
        .cloned()
        .collect();
    changed.extend(new.difference(&old).cloned());
    for (other, (set, _)) in &mut notes.0 {
        set.retain(|path| !gone.contains(&path) && (other == manager || !changed.contains(path)));
    }
    if !changed.is_empty() {
        let entry = notes.0.entry(manager.clone()).or_default();
        entry.0.extend(changed);
        entry.1 = time.to_owned();
    }
    notes.write(after, api_version);
}
