//! Strictness: fields that do not exist, fields that are not built yet, values of the wrong type; each at its place.

use std::collections::{BTreeMap, BTreeSet};

use kube::CustomResourceExt as _;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::document::{Document, Problem, escape};
use crate::api::{Release, ReleaseSpec};

/// Names of the design that a later version will understand: refused by their name, never ignored.
const PLANNED: [&str; 27] = [
    "source",
    "build",
    "match",
    "hosts",
    "tls",
    "gateway",
    "nodeSelector",
    "tolerations",
    "affinity",
    "priorityClass",
    "envFrom",
    "files",
    "down",
    "tasks",
    "onSecretChange",
    "requires",
    "dependsOn",
    "windows",
    "approval",
    "suspend",
    "repin",
    "rotate",
    "adopt",
    "smoke",
    "schedule",
    "startupProbe",
    "livenessProbe",
];

/// Planned names inside `migrate`.
const PLANNED_MIGRATE: [&str; 6] = [
    "retries",
    "resources",
    "lock",
    "serviceAccount",
    "proof",
    "compatible",
];

/// Every problem of a document by itself.
#[must_use]
pub fn check(document: &Document) -> Vec<Problem> {
    let mut problems = Vec::new();
    unknown(document, &document.spec, "", &root(), &mut problems);
    if problems.is_empty()
        && let Err(problem) = types(document)
    {
        problems.push(problem);
    }
    problems
}

/// What may stand at a place.
#[derive(Debug, Clone)]
enum Shape {
    /// A map with exactly these fields.
    Fields(BTreeMap<String, Shape>),
    /// A map with any names.
    Map(Box<Shape>),
    /// Whatever its type says.
    Leaf,
}

/// The shape of a spec, from its schema: a new field cannot be forgotten here.
fn root() -> Shape {
    let crd = serde_json::to_value(Release::crd()).unwrap_or(Value::Null);
    let spec = crd
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
        .cloned()
        .unwrap_or(Value::Null);
    let mut shape = shape(&spec);
    if let Shape::Fields(fields) = &mut shape {
        let leaves = |names: &[&str]| {
            names
                .iter()
                .map(|name| ((*name).to_owned(), Shape::Leaf))
                .collect::<BTreeMap<_, _>>()
        };
        // Unions have no structural schema.
        fields.insert(
            "health".into(),
            Shape::Fields(leaves(&["path", "port", "headers", "startup"])),
        );
        let mut migrate = leaves(&["command", "args", "timeout", "database", "rerun", "accept"]);
        migrate.insert("env".into(), Shape::Map(Box::new(env_value())));
        fields.insert("migrate".into(), Shape::Fields(migrate));
        fields.insert("env".into(), Shape::Map(Box::new(env_value())));
        if let Some(Shape::Map(process)) = fields.get_mut("processes")
            && let Shape::Fields(process) = process.as_mut()
        {
            process.insert("env".into(), Shape::Map(Box::new(env_value())));
        }
    }
    shape
}

fn env_value() -> Shape {
    let names = ["secret", "config", "generate", "field", "value", "public"];
    Shape::Fields(
        names
            .iter()
            .map(|name| ((*name).to_owned(), Shape::Leaf))
            .collect(),
    )
}

fn shape(schema: &Value) -> Shape {
    if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
        return Shape::Fields(
            fields
                .iter()
                .map(|(name, field)| (name.clone(), shape(field)))
                .collect(),
        );
    }
    match schema.get("additionalProperties") {
        Some(inner @ Value::Object(_)) => Shape::Map(Box::new(shape(inner))),
        _ => Shape::Leaf,
    }
}

fn unknown(document: &Document, value: &Value, pointer: &str, shape: &Shape, problems: &mut Vec<Problem>) {
    let Value::Object(map) = value else { return };
    for (name, inner) in map {
        let at = format!("{pointer}/{}", escape(name));
        match shape {
            Shape::Leaf => {}
            Shape::Map(each) => unknown(document, inner, &at, each, problems),
            Shape::Fields(fields) => match fields.get(name) {
                Some(field) => unknown(document, inner, &at, field, problems),
                None => problems.push(document.problem(&at, refusal(name, pointer, fields))),
            },
        }
    }
    if pointer == "/replicas" {
        problems.clear();
        problems.push(document.problem(pointer, "a range of `replicas` is not built yet; write a number"));
    }
}

fn refusal(name: &str, pointer: &str, fields: &BTreeMap<String, Shape>) -> String {
    let planned = PLANNED.contains(&name) || (pointer == "/migrate" && PLANNED_MIGRATE.contains(&name));
    if planned {
        return format!("`{name}` is not built yet");
    }
    let shown: String = name.chars().take(60).collect();
    let near = fields
        .keys()
        .map(|field| (strsim::damerau_levenshtein(field, name), field))
        .min()
        .filter(|(distance, field)| *distance <= 2.max(field.len() / 3));
    match near {
        Some((_, field)) => format!("unknown field `{shown}`; did you mean `{field}`?"),
        None => {
            let names: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
            format!(
                "unknown field `{shown}`; known are {}",
                names.into_iter().collect::<Vec<_>>().join(", ")
            )
        }
    }
}

/// The types of a document by itself. `null` removes a field of a lower layer, so it has no type.
fn types(document: &Document) -> Result<(), Problem> {
    let spec = without_nulls(&document.spec);
    serde_path_to_error::deserialize::<_, ReleaseSpec>(&spec).map(|_| ()).map_err(|error| {
        let pointer = pointer_of(error.path());
        // What serde says of a wrong value repeats it; of a variable nothing may be repeated.
        let words = if pointer.contains("/env") {
            "must be a string (numbers and true/false in quotes), or one of {secret: name/key}, {config: name/key}, \
             {generate: base64/64}, {field: status.podIP}, {value: text, public: true}"
                .to_owned()
        } else {
            friendly(&error.inner().to_string())
        };
        let name = pointer.trim_start_matches('/').replace('/', ".");
        document.problem(&pointer, if name.is_empty() { words } else { format!("{name}: {words}") })
    })
}

fn friendly(words: &str) -> String {
    let number_for_text = words.contains("expected a string")
        && (words.contains("floating point") || words.contains("integer") || words.contains("boolean"));
    if number_for_text {
        format!("{words}; put it in quotes")
    } else {
        words.to_owned()
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.clone(), without_nulls(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// A path of serde as a JSON pointer.
#[must_use]
pub fn pointer_of(path: &Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", escape(key)),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::spec::document::parse_file;

    fn problems(spec: &str) -> Vec<Problem> {
        let text = format!(
            "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: a, namespace: b}}\nspec:\n{spec}"
        );
        let (documents, wrong) = parse_file("x.yaml", text.as_bytes());
        assert!(wrong.is_empty(), "{wrong:?}");
        check(&documents[0])
    }

    #[test]
    fn a_misspelt_field_is_named_with_what_was_meant() {
        let found = problems("  replcias: 3\n");
        assert_eq!(
            found[0].to_string(),
            "x.yaml:5:3: unknown field `replcias`; did you mean `replicas`?"
        );
        let found = problems("  rollout: {minRedy: 5s}\n");
        assert!(found[0].message.contains("`minReady`"), "{}", found[0]);
        let found = problems("  env: {A: {secert: a/b}}\n");
        assert!(found[0].message.contains("`secret`"), "{}", found[0]);
        assert!(!problems("  zzzzzzzz: 1\n")[0].message.contains("did you mean"));
    }

    #[test]
    fn what_is_planned_is_refused_by_its_name_and_never_ignored() {
        for name in PLANNED {
            let found = problems(&format!("  {name}: x\n"));
            assert_eq!(found[0].message, format!("`{name}` is not built yet"));
        }
        assert_eq!(
            problems("  migrate: {retries: 2}\n")[0].message,
            "`retries` is not built yet"
        );
        assert_eq!(
            problems("  verify: {smoke: /x}\n")[0].message,
            "`smoke` is not built yet"
        );
        assert!(
            problems("  replicas: {min: 1, max: 3}\n")[0]
                .message
                .contains("not built yet")
        );
    }

    #[test]
    fn a_wrong_type_is_said_at_its_place() {
        for (spec, place) in [
            ("  replicas: '3'\n", "x.yaml:5:3: replicas"),
            ("  replicas: 3.5\n", "x.yaml:5:3: replicas"),
            ("  version: 1.10\n", "x.yaml:5:3: version"),
            (
                "  rollout:\n    deadline: 9999999h\n",
                "x.yaml:6:5: rollout.deadline",
            ),
            ("  onFailure: explode\n", "x.yaml:5:3: onFailure"),
            (
                "  security: {readOnlyRoot: 'yes'}\n",
                "x.yaml:5:14: security.readOnlyRoot",
            ),
            ("  health: 7\n", "x.yaml:5:3: health"),
            ("  command: ls\n", "x.yaml:5:3: command"),
        ] {
            let found = problems(spec);
            assert!(
                found.len() == 1 && found[0].to_string().starts_with(place),
                "{spec}: {found:?}"
            );
        }
        assert!(problems("  version: 1.10\n")[0].message.contains("in quotes"));
    }

    #[test]
    fn the_value_of_a_variable_is_never_repeated() {
        let found = problems("  env:\n    PIN: 12345678\n");
        assert!(found[0].to_string().starts_with("x.yaml:6:5:") && !found[0].message.contains("12345678"));
    }

    #[test]
    fn null_removes_and_has_no_type() {
        assert!(problems("  replicas: null\n  env: {A: null}\n").is_empty());
    }
}
