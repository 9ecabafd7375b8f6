//! Values → a text of YAML that must be read as the same values: JSON, with whatever is not plain written by its number.

use serde_json::{Map, Value};
use slipway::spec::{
    document::Document,
    file::{File, MAX_BYTES},
};

/// A document as a file.
pub fn document(document: &Document) -> String {
    file(
        &document.id.namespace.to_string(),
        &document.id.name.to_string(),
        &text(&document.spec),
    )
}

/// Documents, written anew and read; `None` where that is too much for one file, since aliases are written out.
pub fn read(documents: &[&Document]) -> Option<File> {
    let texts: Vec<String> = documents.iter().map(|one| document(one)).collect();
    let text = texts.join("---\n");
    let file = File::read("a.yaml", text.as_bytes());
    let much = |file: &File| {
        file.problems
            .iter()
            .any(|problem| problem.message.contains("too large"))
    };
    (text.len() <= MAX_BYTES && !much(&file)).then_some(file)
}

/// A file with one document, whose spec is this text.
pub fn file(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "{{\"apiVersion\": \"slipway.dev/v1alpha1\", \"kind\": \"Release\", \"metadata\": {{\"name\": \"{name}\", \"namespace\": \
         \"{namespace}\"}}, \"spec\": {spec}}}\n"
    )
}

/// A value, its keys in their order.
pub fn text(value: &Value) -> String {
    written(value, false)
}

/// The same, the keys of each mapping in the opposite order.
pub fn backwards(value: &Value) -> String {
    written(value, true)
}

fn written(value: &Value, backwards: bool) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| written(item, backwards)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<String> = all(fields, backwards);
            if backwards {
                fields.reverse();
            }
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

fn all(fields: &Map<String, Value>, backwards: bool) -> Vec<String> {
    fields
        .iter()
        .map(|(name, value)| format!("{}: {}", quoted(name), written(value, backwards)))
        .collect()
}

fn quoted(text: &str) -> String {
    let inner: String = text
        .chars()
        .map(|c| match u32::from(c) {
            0x22 | 0x5c => format!("\\{c}"),
            0x20..=0x7e => c.to_string(),
            code @ 0..=0xffff => format!("\\u{code:04x}"),
            code => format!("\\U{code:08x}"),
        })
        .collect();
    format!("\"{inner}\"")
}
