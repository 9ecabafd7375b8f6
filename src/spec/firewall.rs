//! The secret firewall: values that must not be in git. It looks at structure, not only at characters, and it never
//! repeats what it found: a finding has a rule and a length.

use serde_json::{Map, Value};

use super::document::join;
use crate::api::ReleaseSpec;

mod advice;
mod commands;
mod names;
mod tokens;
mod urls;
mod values;

pub use names::{named, secret_word};
pub use tokens::token;
pub use urls::{has_url_password, login, passwords};

/// A value that must not be in a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// JSON pointer into the spec.
    pub pointer: String,
    /// What is wrong and what to do; never the value.
    pub message: String,
}

/// Everything in a spec that must not be there.
#[must_use]
pub fn scan(spec: &ReleaseSpec) -> Vec<Finding> {
    serde_json::to_value(spec).map_or_else(|_| Vec::new(), |value| scan_value(&value))
}

/// The same of a spec as it is written: a mistake beside a secret, or around it, does not hide it.
#[must_use]
pub fn scan_value(spec: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    walk("", "", spec, &mut findings);
    findings
}

/// What has no form of a secret and may be one all the same: it looks random, or has a name that says so in a place where
/// names say less. A person is told, and nothing is refused.
#[must_use]
pub fn suspects(spec: &Value) -> Vec<Finding> {
    let (certain, mut found) = (scan_value(spec), Vec::new());
    suspect("", ["", ""], spec, &mut found);
    found.retain(|suspect: &Finding| certain.iter().all(|finding| finding.pointer != suspect.pointer));
    found
}

/// Whether a text holds something that is a secret by its form alone.
#[must_use]
pub fn has_secret(text: &str) -> bool {
    literal(text).is_some()
}

/// What a text is by itself, whatever its name.
fn literal(text: &str) -> Option<String> {
    token(text).or_else(|| login(text).map(ToOwned::to_owned))
}

/// `names` are the last two of the pointer.
fn suspect(pointer: &str, names: [&str; 2], value: &Value, findings: &mut Vec<Finding>) {
    match value {
        Value::String(text) => {
            let random = values::looks_random(text).then(|| "that look random".to_owned());
            let what = random.or_else(|| {
                let word = doubtful(names, text)?;
                Some(format!("under a name that contains {word}"))
            });
            findings.extend(what.map(|what| Finding {
                message: format!(
                    "may be a secret ({} characters {what}): if it is one, {}",
                    text.chars().count(),
                    advice::suspect(pointer)
                ),
                pointer: pointer.to_owned(),
            }));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                suspect(&format!("{pointer}/{index}"), ["", ""], item, findings);
            }
        }
        Value::Object(fields) if !is_public(value) => {
            for (name, item) in fields {
                suspect(&join(pointer, name), [names[1], name], item, findings);
            }
        }
        _ => {}
    }
}

/// The word for a secret in a name that does not settle it.
fn doubtful([map, name]: [&str; 2], text: &str) -> Option<&'static str> {
    match map {
        "env" => matches!(names::login(name, text), Some(names::Login::Likely)).then_some("AUTH"),
        "annotations" | "labels" | "headers" => {
            let name = name.rsplit('/').next().unwrap_or(name);
            // `nginx.ingress.kubernetes.io/auth-secret` is the name of a Secret.
            named(name, text).filter(|word| map == "headers" || *word != "SECRET")
        }
        _ => None,
    }
}

fn walk(pointer: &str, key: &str, value: &Value, findings: &mut Vec<Finding>) {
    match value {
        Value::String(text) => {
            let inside = |found: &Finding| {
                let below = pointer.strip_prefix(found.pointer.as_str());
                below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if let Some(rule) = literal(text).filter(|_| !findings.iter().any(inside)) {
                findings.push(finding(pointer.to_owned(), &rule, text));
            }
        }
        Value::Array(items) => {
            if ["command", "args", "migrate"].contains(&key) {
                scan_words(pointer, "", items, findings);
            }
            for (index, item) in items.iter().enumerate() {
                walk(&format!("{pointer}/{index}"), "", item, findings);
            }
        }
        Value::Object(fields) if !is_public(value) => {
            if ["env", "args", "files", "annotations", "labels", "headers"].contains(&key) {
                scan_map(pointer, key, fields, findings);
            }
            // What a program is, says what its flags are.
            if let Some(args) = fields.get("args").and_then(Value::as_array) {
                let program = fields.get("command").and_then(|command| command.get(0));
                let program = program.and_then(Value::as_str).unwrap_or_default();
                scan_words(&join(pointer, "args"), program, args, findings);
            }
            for (name, item) in fields {
                walk(&join(pointer, name), name, item, findings);
            }
        }
        _ => {}
    }
}

/// `{value: …, public: true}`: what its author declared to be no secret. Nothing else has a field `public`, and where one
/// stands in a wrong place it hides nothing.
fn is_public(value: &Value) -> bool {
    let fields = value.as_object();
    fields.is_some_and(|fields| fields.len() == 2 && fields.contains_key("value"))
        && value.get("public") == Some(&Value::Bool(true))
}

/// Texts with names: variables, files, headers.
fn scan_map(pointer: &str, key: &str, map: &Map<String, Value>, findings: &mut Vec<Finding>) {
    for (name, value) in map {
        // Its own place would repeat it.
        if let Some(rule) = token(name) {
            findings.push(finding(pointer.to_owned(), &format!("{rule} as a name"), name));
            continue;
        }
        let text = value
            .as_str()
            .or_else(|| value.get("value").and_then(Value::as_str));
        let Some(text) = text.filter(|_| !is_public(value)) else {
            continue;
        };
        let rule = literal(text).or_else(|| by_name(key, name, text));
        if let Some(rule) = rule {
            findings.push(finding(join(pointer, name), &rule, text));
        }
    }
}

/// What a text is by its name, where names of that kind leave no doubt.
fn by_name(map: &str, name: &str, text: &str) -> Option<String> {
    let word = match map {
        "annotations" | "labels" => None,
        "headers" => names::header(name, text),
        _ => named(name, text).or_else(|| {
            let certain = matches!(names::login(name, text), Some(names::Login::Certain));
            certain.then_some("AUTH")
        }),
    };
    word.map(|word| format!("a literal under a name that contains {word}"))
}

fn scan_words(pointer: &str, program: &str, words: &[Value], findings: &mut Vec<Finding>) {
    let words: Vec<&str> = words
        .iter()
        .map(|item| item.as_str().unwrap_or_default())
        .collect();
    for (index, rule) in commands::scan(program, &words) {
        let pointer = format!("{pointer}/{index}");
        if !findings.iter().any(|finding| finding.pointer == pointer) {
            let word = words.get(index).copied().unwrap_or_default();
            findings.push(finding(pointer, &rule, word));
        }
    }
}

fn finding(pointer: String, rule: &str, value: &str) -> Finding {
    Finding {
        message: format!(
            "looks like a secret ({rule}, {} characters): {}",
            value.chars().count(),
            advice::certain(&pointer)
        ),
        pointer,
    }
}

#[cfg(test)]
mod tests;
