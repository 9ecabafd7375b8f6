//! Selectors of lists and watches.

use serde_json::Value;

/// What a list or a watch asks for.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    pub labels: String,
    pub fields: String,
}

impl Selector {
    pub fn holds(&self, object: &Value) -> bool {
        terms(&self.labels).all(|term| label(object, term))
            && terms(&self.fields).all(|term| field(object, term))
    }
}

fn terms(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|term| !term.is_empty())
}

fn label(object: &Value, term: &str) -> bool {
    let labels = &object["metadata"]["labels"];
    if let Some(name) = term.strip_prefix('!') {
        return labels.get(name).is_none();
    }
    if let Some((name, value)) = term.split_once("!=") {
        return labels.get(name).and_then(Value::as_str) != Some(value);
    }
    match term.split_once('=') {
        Some((name, value)) => {
            labels.get(name).and_then(Value::as_str) == Some(value.trim_start_matches('='))
        }
        None => labels.get(term).is_some(),
    }
}

fn field(object: &Value, term: &str) -> bool {
    let Some((path, value)) = term.split_once('=') else {
        return false;
    };
    let pointer = format!("/{}", path.replace('.', "/"));
    object.pointer(&pointer).and_then(Value::as_str) == Some(value.trim_start_matches('='))
}
