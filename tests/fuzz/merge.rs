//! Layers: merged as RFC 7396 says, by a reading of it that is not Slipway's; each value with a place that is in a file.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use slipway::{
    api::ReleaseSpec,
    names::ReleaseId,
    spec::{
        document::Document,
        file::File,
        merge::{Merged, assemble},
    },
};

use super::{
    engine::{kind_of, run},
    parser,
};

#[test]
fn layers_are_merged_as_rfc_7396_says() {
    run("merge", check);
}

/// Layers are separated by a line of equals signs.
fn check(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let files: Vec<File> = text
        .split("=====\n")
        .enumerate()
        .map(|(index, text)| File::read(&format!("{index}.yaml"), text.as_bytes()))
        .collect();
    let layers: Vec<Vec<&Document>> = files.iter().map(|file| file.documents.iter().collect()).collect();
    let (merged, problems, broken) = assemble(&layers);
    for problem in &problems {
        parser::silent(&problem.message, input);
    }

    let mut expected: BTreeMap<&ReleaseId, Value> = BTreeMap::new();
    for document in layers.iter().flatten() {
        let before = expected.remove(&document.id).unwrap_or_else(|| Map::new().into());
        expected.insert(&document.id, patched(before, &document.spec));
    }
    for (id, value) in &expected {
        match merged.get(id) {
            Some(merged) => as_expected(merged, value, &files),
            None => assert!(broken.contains(id), "{id} is neither merged nor told"),
        }
    }
    assert!(
        merged
            .keys()
            .all(|id| expected.contains_key(id) && !broken.contains(id))
    );
    assert!(problems.len() >= broken.len().min(1), "what is broken is told");
    repeated(&layers, &merged);
    associative(&layers);
    let spoken = merged
        .values()
        .map(|merged| format!("{:?}", fields(&merged.spec)));
    let told = problems.iter().map(|problem| problem.message.clone());
    let answers: Vec<String> = spoken.chain(told).collect();
    kind_of(answers.iter().map(String::as_str))
}

fn fields(spec: &ReleaseSpec) -> Vec<String> {
    let value = serde_json::to_value(spec).unwrap();
    value.as_object().unwrap().keys().cloned().collect()
}

/// The function of the RFC's second section, word by word.
fn patched(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut target = match target {
        Value::Object(target) => target,
        _ => Map::new(),
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            let before = target.remove(name).unwrap_or(Value::Null);
            target.insert(name.clone(), patched(before, value));
        }
    }
    Value::Object(target)
}

fn as_expected(merged: &Merged, value: &Value, files: &[File]) {
    let spec: ReleaseSpec = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(merged.spec, spec, "{value}");
    for (pointer, (path, line, column)) in &merged.places {
        assert!(
            value.pointer(pointer).is_some(),
            "{pointer} was replaced: {value}"
        );
        assert!(files.iter().any(|file| file.path == *path), "{path}");
        assert!(
            *line >= 1 && *column >= 1 && merged.files.contains(path),
            "{path}:{line}:{column}"
        );
    }
}

/// The last layer once more changes nothing.
fn repeated(layers: &[Vec<&Document>], merged: &BTreeMap<ReleaseId, Merged>) {
    let again: Vec<Vec<&Document>> = layers.iter().chain(layers.last()).cloned().collect();
    let (again, ..) = assemble(&again);
    for (id, one) in merged {
        assert_eq!(again.get(id).map(|merged| &merged.spec), Some(&one.spec), "{id}");
    }
}

/// A patch on a patch is a patch, as long as the later one removes nothing and nothing changes its form.
fn associative(layers: &[Vec<&Document>]) {
    let ([base], [first], [second]) = (
        layers.first().map_or(&[][..], Vec::as_slice),
        layers.get(1).map_or(&[][..], Vec::as_slice),
        layers.get(2).map_or(&[][..], Vec::as_slice),
    ) else {
        return;
    };
    if base.id != first.id || first.id != second.id || !composes(&first.spec, &second.spec) {
        return;
    }
    let both = Document {
        spec: patched(first.spec.clone(), &second.spec),
        ..(*second).clone()
    };
    let (one, ..) = assemble(&[vec![*base], vec![*first], vec![*second]]);
    let (other, ..) = assemble(&[vec![*base], vec![&both]]);
    let spec = |merged: &BTreeMap<ReleaseId, Merged>| merged.get(&base.id).map(|merged| merged.spec.clone());
    assert_eq!(spec(&one), spec(&other));
}

fn composes(first: &Value, second: &Value) -> bool {
    let (Value::Object(first), Value::Object(second)) = (first, second) else {
        return !second.is_null() && !second.is_object();
    };
    second.iter().all(|(name, value)| {
        first
            .get(name)
            .map_or_else(|| !has_null(value), |before| composes(before, value))
    })
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}
