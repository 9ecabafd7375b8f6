//! An object as the server holds it, with the texts that it is answered with: each is made once, however many ask.

use std::{ops::Deref, sync::OnceLock};

use serde_json::{Value, json};

use super::store::LATER;

/// An object. It is what it derefs to.
#[derive(Debug)]
pub struct Object {
    value: Value,
    /// Whether its status is told with a field of a later version.
    newer: bool,
    whole: OnceLock<String>,
    item: OnceLock<String>,
    metadata: OnceLock<String>,
}

impl Object {
    pub fn new(value: Value, newer: bool) -> Self {
        Self {
            value,
            newer,
            whole: OnceLock::new(),
            item: OnceLock::new(),
            metadata: OnceLock::new(),
        }
    }

    /// What is told of it.
    fn told(&self) -> Value {
        let mut value = self.value.clone();
        if self.newer
            && let Some(status) = value.get_mut("status").and_then(Value::as_object_mut)
        {
            status.insert(LATER.to_owned(), json!("of a later version"));
        }
        value
    }
}

impl Deref for Object {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

impl Object {
    /// As it is answered with.
    pub fn text(&self, metadata_only: bool) -> &str {
        if metadata_only {
            self.metadata.get_or_init(|| {
                let metadata = &self.value["metadata"];
                json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata }).to_string()
            })
        } else {
            self.whole.get_or_init(|| self.told().to_string())
        }
    }

    /// As an item of a typed list, which comes without its type.
    pub fn item(&self) -> &str {
        self.item.get_or_init(|| {
            let mut value = self.told();
            if let Some(fields) = value.as_object_mut() {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            value.to_string()
        })
    }
}
