//! Layers of documents → one spec per release, by JSON merge patch (RFC 7396), each field with its origin.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::document::{Document, Problem};
use crate::{api::ReleaseSpec, names::ReleaseId};

/// A merged release.
#[derive(Debug, Clone)]
pub struct Merged {
    /// Which one.
    pub id: ReleaseId,
    /// The whole spec.
    pub spec: ReleaseSpec,
    /// Where each field came from: JSON pointer → file, line, column.
    pub places: BTreeMap<String, (String, usize, usize)>,
    /// Every file that speaks of it, in order of layers.
    pub files: Vec<String>,
    /// The file that gave the version.
    pub version_file: Option<String>,
}

impl Merged {
    /// The place of a pointer, or of its nearest parent.
    #[must_use]
    pub fn position(&self, pointer: &str) -> (String, usize, usize) {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.places.get(pointer) {
                return place.clone();
            }
            match pointer.rfind('/') {
                Some(slash) => pointer = pointer.get(..slash).unwrap_or(""),
                None => return (self.files.last().cloned().unwrap_or_default(), 1, 1),
            }
        }
    }

    /// The same as `path:line:column`.
    #[must_use]
    pub fn place(&self, pointer: &str) -> String {
        let (path, line, column) = self.position(pointer);
        format!("{path}:{line}:{column}")
    }
}

/// Merges layers, later over earlier. A release that one layer speaks of twice is a problem, and is left out; such
/// releases are the third part of the answer.
#[must_use]
pub fn assemble(
    layers: &[Vec<Document>],
) -> (BTreeMap<ReleaseId, Merged>, Vec<Problem>, BTreeSet<ReleaseId>) {
    let mut problems = Vec::new();
    let mut broken = BTreeSet::new();
    let mut parts: BTreeMap<ReleaseId, Vec<&Document>> = BTreeMap::new();
    for layer in layers {
        let mut first: BTreeMap<&ReleaseId, &Document> = BTreeMap::new();
        for document in layer {
            if let Some(other) = first.insert(&document.id, document) {
                let (line, _) = other.start;
                let message = format!(
                    "release {} stands twice in this layer, also in {}:{line}; keep one of them",
                    document.id, other.path
                );
                problems.push(document.problem("", message));
                broken.insert(document.id.clone());
            }
            parts.entry(document.id.clone()).or_default().push(document);
        }
    }
    let mut merged = BTreeMap::new();
    for (id, documents) in parts {
        if broken.contains(&id) {
            continue;
        }
        match merge(&id, &documents) {
            Ok(one) => {
                merged.insert(id, one);
            }
            Err(problem) => {
                problems.push(problem);
                broken.insert(id);
            }
        }
    }
    (merged, problems, broken)
}

fn merge(id: &ReleaseId, documents: &[&Document]) -> Result<Merged, Problem> {
    let mut spec = Value::Object(Map::new());
    let mut places = BTreeMap::new();
    let mut files: Vec<String> = Vec::new();
    let mut version_file = None;
    for document in documents {
        patch(&mut spec, &document.spec, "", document, &mut places);
        if !files.contains(&document.path) {
            files.push(document.path.clone());
        }
        match document.spec.get("version") {
            Some(Value::Null) => version_file = None,
            Some(_) => version_file = Some(document.path.clone()),
            None => {}
        }
    }
    let typed = serde_path_to_error::deserialize(&spec).map_err(|error| {
        let pointer = super::strict::pointer_of(error.path());
        let (path, line, column) = nearest(&places, &pointer).unwrap_or_else(|| (files.join(", "), 1, 1));
        let message = format!(
            "the layers of {id} do not fit together at {}",
            pointer.trim_start_matches('/')
        );
        Problem {
            path,
            line,
            column,
            message,
            warning: false,
        }
    })?;
    Ok(Merged {
        id: id.clone(),
        spec: typed,
        places,
        files,
        version_file,
    })
}

fn nearest(
    places: &BTreeMap<String, (String, usize, usize)>,
    pointer: &str,
) -> Option<(String, usize, usize)> {
    let mut pointer = pointer;
    loop {
        if let Some(place) = places.get(pointer) {
            return Some(place.clone());
        }
        pointer = pointer.get(..pointer.rfind('/')?).unwrap_or("");
    }
}

/// RFC 7396, with the place of everything that it sets.
fn patch(
    target: &mut Value,
    source: &Value,
    pointer: &str,
    document: &Document,
    places: &mut BTreeMap<String, (String, usize, usize)>,
) {
    let (line, column) = document.place(pointer);
    places.insert(pointer.to_owned(), (document.path.clone(), line, column));
    let Value::Object(fields) = source else {
        forget(places, pointer);
        *target = source.clone();
        // Elements of a list keep their own places.
        for (inner, (line, column)) in document.places.range(format!("{pointer}/")..) {
            if !inner.starts_with(&format!("{pointer}/")) {
                break;
            }
            places.insert(inner.clone(), (document.path.clone(), *line, *column));
        }
        return;
    };
    if !target.is_object() {
        forget(places, pointer);
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (name, value) in fields {
        let inner = format!("{pointer}/{}", super::document::escape(name));
        if value.is_null() {
            map.remove(name);
            places.remove(&inner);
            forget(places, &inner);
        } else {
            patch(
                map.entry(name.clone()).or_insert(Value::Null),
                value,
                &inner,
                document,
                places,
            );
        }
    }
}

/// What stood below a pointer stands there no longer.
fn forget(places: &mut BTreeMap<String, (String, usize, usize)>, pointer: &str) {
    let below = format!("{pointer}/");
    places.retain(|place, _| !place.starts_with(&below));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::spec::document::parse_file;

    fn layer(path: &str, spec: &str) -> Vec<Document> {
        let text = format!(
            "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: a, namespace: b}}\nspec:\n{spec}"
        );
        let (documents, problems) = parse_file(path, text.as_bytes());
        assert!(problems.is_empty(), "{problems:?}");
        documents
    }

    #[test]
    fn later_layers_win_field_by_field_and_null_removes() {
        let base = layer(
            "base/a.yaml",
            "  image: x\n  replicas: 2\n  env: {A: '1', B: '2'}\n",
        );
        let production = layer(
            "production/a.yaml",
            "  version: 1.0.0\n  env: {A: null, B: '3'}\n",
        );
        let (merged, problems, broken) = assemble(&[base, production]);
        assert!(problems.is_empty() && broken.is_empty());
        let one = merged.values().next().unwrap();
        assert_eq!(one.spec.image.as_deref(), Some("x"));
        assert_eq!(one.spec.env.len(), 1);
        assert_eq!(one.version_file.as_deref(), Some("production/a.yaml"));
        assert_eq!(one.files, ["base/a.yaml", "production/a.yaml"]);
        assert_eq!(one.place("/env/B"), "production/a.yaml:6:18");
        assert_eq!(one.place("/replicas"), "base/a.yaml:6:3");
    }

    #[test]
    fn a_union_is_replaced_as_a_whole_where_its_form_changes() {
        let base = layer("base/a.yaml", "  health: {path: /a, port: 1}\n");
        let production = layer("production/a.yaml", "  health: /b\n");
        let (merged, ..) = assemble(&[base, production]);
        let health = merged.values().next().unwrap().spec.health.clone().unwrap();
        assert_eq!((health.path.as_deref(), health.port), (Some("/b"), None));
    }

    #[test]
    fn one_release_twice_in_a_layer_names_both_places() {
        let mut one = layer("base/a.yaml", "  image: x\n");
        one.extend(layer("base/b.yaml", "  image: y\n"));
        let (merged, problems, broken) = assemble(&[one]);
        assert!(merged.is_empty() && broken.len() == 1);
        assert!(problems[0].path == "base/b.yaml" && problems[0].message.contains("base/a.yaml"));
    }
}
