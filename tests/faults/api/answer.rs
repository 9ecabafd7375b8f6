//! Answers of the server, in the words that a real one uses.

use serde_json::{Value, json};

use super::resources::{Key, Resource};

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: u16,
    pub body: Body,
    /// Seconds, for the header `Retry-After`.
    pub retry_after: Option<u32>,
}

#[derive(Debug, Clone)]
pub enum Body {
    Json(Value),
    /// The text of what is JSON already: of reads, which no log holds.
    Raw(String),
    Text(String),
}

/// A failure as a `Status` object.
pub fn status(code: u16, reason: &str, message: impl Into<String>, details: Value) -> Answer {
    let mut body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message.into(), "reason": reason, "code": code,
    });
    if !details.is_null() {
        body["details"] = details;
    }
    Answer::json(code, body)
}

/// What a failure is about.
fn about(resource: &Resource, name: &str) -> Value {
    let mut details = json!({ "name": name, "kind": resource.plural });
    if !resource.group.is_empty() {
        details["group"] = json!(resource.group);
    }
    details
}

fn full(resource: &Resource) -> String {
    match resource.group {
        "" => resource.plural.to_owned(),
        group => format!("{}.{group}", resource.plural),
    }
}

impl Answer {
    pub fn json(code: u16, body: Value) -> Self {
        Self {
            code,
            body: Body::Json(body),
            retry_after: None,
        }
    }

    pub fn raw(text: &str) -> Self {
        Self {
            code: 200,
            body: Body::Raw(text.to_owned()),
            retry_after: None,
        }
    }

    pub fn text(code: u16, text: impl Into<String>) -> Self {
        Self {
            code,
            body: Body::Text(text.into()),
            retry_after: None,
        }
    }

    pub fn is_ok(&self) -> bool {
        self.code < 300
    }

    /// The object that was answered with to a write.
    pub fn object(&self) -> &Value {
        match &self.body {
            Body::Json(value) => value,
            Body::Raw(_) | Body::Text(_) => &Value::Null,
        }
    }

    /// One word: `AlreadyExists`.
    pub fn reason(&self) -> &str {
        self.object()["reason"].as_str().unwrap_or("")
    }

    pub fn not_found(key: &Key) -> Self {
        let message = format!("{} \"{}\" not found", full(key.resource), key.name);
        status(404, "NotFound", message, about(key.resource, &key.name))
    }

    pub fn exists(key: &Key) -> Self {
        let message = format!("{} \"{}\" already exists", full(key.resource), key.name);
        status(409, "AlreadyExists", message, about(key.resource, &key.name))
    }

    pub fn conflict(key: &Key, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{}\": {why}",
            full(key.resource),
            key.name
        );
        status(409, "Conflict", message, about(key.resource, &key.name))
    }

    /// Somebody else wrote first.
    pub fn modified(key: &Key) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(key, why)
    }

    /// Other managers have set the same fields otherwise.
    pub fn taken(key: &Key, owners: &[String]) -> Self {
        let causes: Vec<Value> = owners
            .iter()
            .map(|owner| json!({ "reason": "FieldManagerConflict", "message": format!("conflict with {owner:?}") }))
            .collect();
        let mut details = about(key.resource, &key.name);
        let message = format!(
            "Apply failed with {} conflicts: conflicts with {owners:?}",
            causes.len()
        );
        details["causes"] = json!(causes);
        status(409, "Conflict", message, details)
    }

    pub fn invalid(key: &Key, why: &str) -> Self {
        let message = format!("{} \"{}\" is invalid: {why}", full(key.resource), key.name);
        status(422, "Invalid", message, about(key.resource, &key.name))
    }

    pub fn bad(message: impl Into<String>) -> Self {
        status(400, "BadRequest", message, Value::Null)
    }

    pub fn forbidden(key: &Key, why: &str) -> Self {
        let message = format!("{} \"{}\" is forbidden: {why}", full(key.resource), key.name);
        status(403, "Forbidden", message, about(key.resource, &key.name))
    }

    pub fn terminating(key: &Key) -> Self {
        let namespace = &key.namespace;
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut answer = Self::forbidden(key, &why);
        if let Body::Json(body) = &mut answer.body {
            body["details"]["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            }]);
        }
        answer
    }

    /// The server itself fails.
    pub fn broken(code: u16) -> Self {
        let (reason, message) = match code {
            503 => (
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            ),
            504 => (
                "Timeout",
                "Timeout: request did not complete within requested timeout - context deadline exceeded",
            ),
            _ => (
                "InternalError",
                "Internal error occurred: etcdserver: leader changed",
            ),
        };
        status(code, reason, message, Value::Null)
    }

    /// Priority and fairness: a text and a header.
    pub fn too_many(seconds: u32) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::text(429, "Too many requests, please try again later.\n")
        }
    }

    /// Etcd has no room left, in the words that the server passes on.
    pub fn full() -> Self {
        status(500, "", "etcdserver: mvcc: database space exceeded", Value::Null)
    }

    /// A token that is none, or none any more.
    pub fn unauthorized() -> Self {
        status(401, "Unauthorized", "Unauthorized", Value::Null)
    }

    /// What a client is told whose resource the server does not know.
    pub fn no_such_resource() -> Self {
        Self::text(404, "404 page not found\n")
    }
}
