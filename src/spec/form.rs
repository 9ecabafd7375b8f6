//! What may be written where in a spec.
//!
//! The known fields are those of the custom resource's own schema; what a structural schema cannot say (`env`,
//! `health`, `migrate`) is written here.

use std::{collections::BTreeMap, sync::LazyLock};

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::document::join;
use crate::api::{Duration, ReleaseSpec, release::long_forms};

/// What may be written at a place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Form {
    Text,
    Whole,
    Number,
    Truth,
    /// The number of a port.
    Port,
    /// A duration.
    Span,
    List(Box<Form>),
    /// Free names.
    Map(Box<Form>),
    /// Known names.
    Fields(BTreeMap<String, Form>),
    /// A short form or the fields of a long one.
    Either(Box<Form>, &'static str, BTreeMap<String, Form>),
    /// Only the type itself can tell.
    Any,
}

/// The form of a whole spec.
pub(super) static FORM: LazyLock<Form> = LazyLock::new(|| form("", &SCHEMA));

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<ReleaseSpec>();
    schema.as_value().clone()
});

/// The schema of a duration.
static SPAN: LazyLock<Value> = LazyLock::new(|| {
    let mut generator = SchemaSettings::default().into_generator();
    generator.subschema_for::<Duration>().as_value().clone()
});

static LONG: LazyLock<Vec<(&str, Value)>> = LazyLock::new(|| {
    long_forms()
        .map(|(name, form)| (name, form.as_value().clone()))
        .into()
});

/// What of a spec is longer than may be, as JSON pointer and sentence: better said before the API server refuses it, which
/// knows no bounds inside of fields that have a short and a long form.
pub(super) fn too_long(spec: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    measure(&SCHEMA, spec, "", &mut found);
    for (name, long) in LONG.iter() {
        let field = spec.get(*name).unwrap_or(&Value::Null);
        // A bare list is that of `command`.
        let form = if field.is_array() {
            long.pointer("/properties/command")
        } else {
            Some(long)
        };
        measure(
            form.unwrap_or(&Value::Null),
            field,
            &format!("/{name}"),
            &mut found,
        );
    }
    found
}

fn measure(schema: &Value, value: &Value, pointer: &str, found: &mut Vec<(String, String)>) {
    let options = schema.get("anyOf").and_then(Value::as_array);
    for option in options.into_iter().flatten() {
        measure(option, value, pointer, found);
    }
    let (limit, length, unit) = match value {
        Value::String(text) => ("maxLength", text.chars().count(), "characters"),
        Value::Array(items) => ("maxItems", items.len(), "elements"),
        Value::Object(entries) => ("maxProperties", entries.len(), "entries"),
        _ => return,
    };
    let most = schema.get(limit).and_then(Value::as_u64);
    if let Some(most) = most.filter(|most| u64::try_from(length).is_ok_and(|length| length > *most)) {
        let message = format!("has {length} {unit}; at most {most} are allowed");
        found.push((pointer.to_owned(), message));
    }
    match value {
        Value::Array(items) => {
            let inner = schema.get("items").unwrap_or(&Value::Null);
            for (index, item) in items.iter().enumerate() {
                measure(inner, item, &format!("{pointer}/{index}"), found);
            }
        }
        Value::Object(entries) => {
            for (name, item) in entries {
                let named = schema.get("properties").and_then(|all| all.get(name));
                let inner = named.or_else(|| schema.get("additionalProperties"));
                measure(inner.unwrap_or(&Value::Null), item, &join(pointer, name), found);
            }
        }
        _ => {}
    }
}

/// The forms of a variable, for people.
pub(super) const ENV_FORM: &str = "a text or one of {secret: name/key}, {config: name/key}, {generate: base64/64}, \
                        {field: status.podIP}, {value: text, public: true}";

/// The form of a schema; `name` is the field it belongs to.
fn form(name: &str, schema: &Value) -> Form {
    match name {
        "health" => return health(),
        "migrate" => return migrate(),
        "env" => return Form::Map(Box::new(env())),
        _ => {}
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        return fields(
            properties
                .iter()
                .map(|(key, inner)| (key.as_str(), form(key, inner))),
        );
    }
    for key in ["anyOf", "oneOf"] {
        let options = schema.get(key).and_then(Value::as_array);
        if let Some(first) = options
            .into_iter()
            .flatten()
            .find(|option| !has_type(option, "null"))
        {
            return form("", first);
        }
    }
    if let Some(inner) = schema
        .get("additionalProperties")
        .filter(|inner| inner.is_object())
    {
        return Form::Map(Box::new(form("", inner)));
    }
    if let Some(inner) = schema.get("items") {
        return Form::List(Box::new(form("", inner)));
    }
    match ["string", "integer", "number", "boolean"]
        .into_iter()
        .find(|kind| has_type(schema, kind))
    {
        Some("string") if schema.get("pattern") == SPAN.get("pattern") => Form::Span,
        Some("string") => Form::Text,
        Some("integer") => Form::Whole,
        Some("number") => Form::Number,
        Some(_) => Form::Truth,
        None => Form::Any,
    }
}

fn has_type(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(is)) => is == kind,
        Some(Value::Array(all)) => all.iter().any(|is| is == kind),
        _ => false,
    }
}

fn fields<'a>(all: impl IntoIterator<Item = (&'a str, Form)>) -> Form {
    Form::Fields(map(all))
}

fn map<'a>(all: impl IntoIterator<Item = (&'a str, Form)>) -> BTreeMap<String, Form> {
    all.into_iter()
        .map(|(name, form)| (name.to_owned(), form))
        .collect()
}

fn texts() -> Form {
    Form::List(Box::new(Form::Text))
}

fn env() -> Form {
    let long = map([
        ("secret", Form::Text),
        ("config", Form::Text),
        ("generate", Form::Text),
        ("field", Form::Text),
        ("value", Form::Text),
        ("public", Form::Truth),
    ]);
    Form::Either(Box::new(Form::Text), ENV_FORM, long)
}

fn health() -> Form {
    let long = map([
        ("path", Form::Text),
        ("port", Form::Port),
        ("headers", Form::Map(Box::new(Form::Text))),
        ("startup", Form::Span),
    ]);
    let what = "a path such as /health, or {path, port, headers, startup}";
    Form::Either(Box::new(Form::Text), what, long)
}

/// Requests and limits.
fn amounts() -> Form {
    let texts = || Form::Map(Box::new(Form::Text));
    fields([("requests", texts()), ("limits", texts())])
}

fn migrate() -> Form {
    let long = map([
        ("command", texts()),
        ("args", texts()),
        ("env", Form::Map(Box::new(env()))),
        ("timeout", Form::Span),
        ("retries", Form::Whole),
        ("resources", amounts()),
        ("lock", Form::Text),
        ("serviceAccount", Form::Text),
        ("proof", Form::Text),
        ("database", Form::Text),
        ("compatible", Form::Truth),
        ("rerun", Form::Whole),
        ("accept", Form::Text),
    ]);
    let what = "a command list, {command, args, env, timeout, retries, resources, lock, serviceAccount, database, proof, compatible, rerun, accept}, or false";
    Form::Either(Box::new(texts()), what, long)
}

/// Every place that can be written, `*` for a free name: `rollout.surge`, `processes.*.command`.
#[cfg(test)]
pub(crate) fn places() -> std::collections::BTreeSet<String> {
    fn visit(form: &Form, path: &str, found: &mut std::collections::BTreeSet<String>) {
        let below = |name: &str| {
            if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            }
        };
        match form {
            Form::Fields(known) => {
                for (name, form) in known {
                    visit(form, &below(name), found);
                }
            }
            // The forms of a variable are the same wherever it stands.
            Form::Either(_, what, _) if *what == ENV_FORM && path != "env.*" => {
                found.insert(path.to_owned());
            }
            Form::Either(_, _, known) => {
                found.insert(path.to_owned());
                for (name, form) in known {
                    visit(form, &below(name), found);
                }
            }
            Form::Map(inner) => visit(inner, &below("*"), found),
            Form::List(inner) if matches!(**inner, Form::Fields(_)) => visit(inner, &below("*"), found),
            _ => {
                found.insert(path.to_owned());
            }
        }
    }
    let mut found = std::collections::BTreeSet::new();
    visit(&FORM, "", &mut found);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_of_the_schema_is_known_with_its_form() {
        let Form::Fields(known) = &*FORM else {
            panic!("{:?}", *FORM)
        };
        assert_eq!(known.len(), 33, "{:?}", known.keys());
        assert_eq!(known["version"], Form::Text);
        assert_eq!(known["port"], Form::Whole);
        assert_eq!(known["onFailure"], Form::Text);
        assert_eq!(known["command"], texts());
        assert_eq!(known["writable"], Form::Map(Box::new(Form::Text)));
        assert_eq!(known["requires"], texts());
        let key = map([("secret", Form::Text), ("config", Form::Text)]);
        assert_eq!(known["files"], Form::Map(Box::new(Form::Fields(key))));
        let Form::Fields(rollout) = &known["rollout"] else {
            panic!("{:?}", known["rollout"])
        };
        assert_eq!(
            (&rollout["deadline"], &rollout["strategy"]),
            (&Form::Span, &Form::Text)
        );
        let Form::Map(process) = &known["processes"] else {
            panic!("{:?}", known["processes"])
        };
        let Form::Fields(process) = &**process else {
            panic!("{process:?}")
        };
        assert_eq!(process["env"], Form::Map(Box::new(env())));
        assert_eq!(
            process["resources"],
            amounts(),
            "a field with two forms knows the same resources"
        );
    }

    #[test]
    fn no_field_of_the_release_has_a_form_that_is_not_checked() {
        fn look(form: &Form) {
            match form {
                Form::Any => panic!("a field without a form"),
                Form::List(inner) | Form::Map(inner) => look(inner),
                Form::Fields(all) => all.values().for_each(look),
                Form::Either(short, _, all) => {
                    look(short);
                    all.values().for_each(look);
                }
                _ => {}
            }
        }
        look(&FORM);
    }

    #[test]
    fn what_is_inside_of_fields_with_two_forms_has_a_maximum_too() {
        let long = |name: &str| "a".repeat(if name == "word" { 4097 } else { 33_000 });
        let many = |count: usize| (0..count).map(|n| (format!("A{n}"), "x".into()));
        let all = |count: usize| Value::Object(many(count).collect());
        for (spec, place) in [
            (json!({"migrate": vec!["x"; 65]}), "/migrate"),
            (json!({"migrate": [long("word")]}), "/migrate/0"),
            (json!({"migrate": {"args": vec!["x"; 65]}}), "/migrate/args"),
            (
                json!({"migrate": {"command": [long("word")]}}),
                "/migrate/command/0",
            ),
            (json!({"migrate": {"env": all(201)}}), "/migrate/env"),
            (
                json!({"migrate": {"env": {"A": long("value")}}}),
                "/migrate/env/A",
            ),
            (
                json!({"migrate": {"resources": {"limits": all(17)}}}),
                "/migrate/resources/limits",
            ),
            (json!({"health": {"headers": all(51)}}), "/health/headers"),
        ] {
            let found = too_long(&spec);
            assert!(found.iter().any(|(at, _)| at == place), "{place}: {found:?}");
        }
        for fine in [
            json!({"migrate": {"args": vec!["x"; 64], "env": all(200)}, "health": "/h"}),
            json!({"migrate": vec!["x"; 64], "health": {"headers": all(50)}}),
            json!({"migrate": false, "health": null}),
        ] {
            assert_eq!(too_long(&fine), []);
        }
    }
}
