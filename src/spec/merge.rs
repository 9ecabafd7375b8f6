//! Layers of documents → one spec per release, by JSON merge patch (RFC 7396).
//!
//! A later layer wins field by field, `null` removes, a list is replaced as a whole. Where each value came
//! from is kept, so that every later message can name file, line and column.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    document::{Document, Problem, join, nearest},
    strict,
};
use crate::{api::ReleaseSpec, names::ReleaseId};

/// A file, a line and a column: where a value came from.
pub type Origin = (String, usize, usize);

/// One release as all layers together declare it.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// Which release.
    pub id: ReleaseId,
    /// What they declare.
    pub spec: ReleaseSpec,
    /// JSON pointer inside the spec → where the last layer wrote it; fields that hold fields included.
    pub places: BTreeMap<String, Origin>,
    /// Every file that contributed, in the order of the layers.
    pub files: Vec<String>,
    /// The file that the version is from.
    pub version_file: Option<String>,
}

impl Merged {
    /// The place of `pointer`, or of its nearest parent.
    #[must_use]
    pub fn position(&self, pointer: &str) -> Origin {
        nearest(&self.places, pointer)
            .cloned()
            .unwrap_or_else(|| (self.files.last().cloned().unwrap_or_default(), 1, 1))
    }

    /// The same as `path:line:column`.
    #[must_use]
    pub fn place(&self, pointer: &str) -> String {
        let (path, line, column) = self.position(pointer);
        format!("{path}:{line}:{column}")
    }

    /// A problem at the place of `pointer`.
    #[must_use]
    pub fn problem(&self, pointer: &str, message: &str) -> Problem {
        let (path, line, column) = self.position(pointer);
        Problem::error(&path, (line, column), message)
    }
}

/// A release on its way through the layers.
struct Draft {
    value: Value,
    places: BTreeMap<String, Origin>,
    files: Vec<String>,
}

/// Merges layers, the first being the base. A release that is declared twice in one layer, or whose layers
/// together make no spec, is in the set and not in the map.
#[must_use]
pub fn assemble(
    layers: &[Vec<&Document>],
) -> (BTreeMap<ReleaseId, Merged>, Vec<Problem>, BTreeSet<ReleaseId>) {
    let mut drafts: BTreeMap<ReleaseId, Draft> = BTreeMap::new();
    let (mut problems, mut broken) = (Vec::new(), BTreeSet::new());
    for layer in layers {
        let mut seen: BTreeMap<&ReleaseId, &Document> = BTreeMap::new();
        for &document in layer {
            if let Some(first) = seen.get(&document.id) {
                let (line, column) = first.id_place;
                let message = format!(
                    "{} is already declared at {}:{line}:{column} in the same layer: keep one of the two",
                    document.id, first.path
                );
                problems.push(Problem::error(&document.path, document.id_place, &message));
                broken.insert(document.id.clone());
                continue;
            }
            seen.insert(&document.id, document);
            let draft = drafts.entry(document.id.clone()).or_insert_with(|| Draft {
                value: Value::Object(Map::new()),
                places: BTreeMap::new(),
                files: Vec::new(),
            });
            if !draft.files.contains(&document.path) {
                draft.files.push(document.path.clone());
            }
            patch(&mut draft.value, &document.spec, "", document, &mut draft.places);
        }
    }
    let mut merged = BTreeMap::new();
    for (id, Draft { value, places, files }) in drafts {
        if broken.contains(&id) {
            continue;
        }
        match strict::typed(&value) {
            Ok(spec) => {
                let version = spec.version.as_ref().and_then(|_| places.get("/version"));
                let version_file = version.map(|(path, _, _)| path.clone());
                merged.insert(
                    id.clone(),
                    Merged {
                        id,
                        spec,
                        places,
                        files,
                        version_file,
                    },
                );
            }
            Err((pointer, message)) => {
                let (path, line, column) = nearest(&places, &pointer).cloned().unwrap_or_default();
                let message = two_sources(&value, &pointer, &places, &files)
                    .unwrap_or_else(|| format!("{message} (all layers of {id} together)"));
                problems.push(Problem::error(&path, (line, column), &message));
                broken.insert(id);
            }
        }
    }
    (merged, problems, broken)
}

/// Where the layers together give a variable two sources: what each says alone is right, so both places are named.
fn two_sources(
    value: &Value,
    pointer: &str,
    places: &BTreeMap<String, Origin>,
    files: &[String],
) -> Option<String> {
    let variable = pointer
        .contains("/env/")
        .then(|| value.pointer(pointer))??
        .as_object()?;
    let layer = |(_, (path, line, column)): &(&str, Origin)| {
        (files.iter().position(|file| file == path), *line, *column)
    };
    let mut given: Vec<(&str, Origin)> = ["secret", "config", "generate", "field", "value"]
        .into_iter()
        .filter(|source| variable.contains_key(*source))
        .filter_map(|source| Some((source, places.get(&join(pointer, source))?.clone())))
        .collect();
    given.sort_by_key(layer);
    let (last, before) = given.split_last().filter(|(_, before)| !before.is_empty())?;
    let named: Vec<String> = given
        .iter()
        .map(|(source, (path, line, column))| format!("`{source}` of {path}:{line}:{column}"))
        .collect();
    let removed: Vec<String> = before
        .iter()
        .map(|(source, _)| format!("{source}: null"))
        .collect();
    Some(format!(
        "`{}` must be of one source, and layers are merged field by field: it has {}. To replace what is below, write \
         {{{}, {}: …}}",
        strict::dotted(pointer),
        named.join(" and "),
        removed.join(", "),
        last.0
    ))
}

/// RFC 7396, with places.
fn patch(
    target: &mut Value,
    with: &Value,
    pointer: &str,
    document: &Document,
    places: &mut BTreeMap<String, Origin>,
) {
    let Value::Object(fields) = with else {
        forget(places, pointer);
        *target = with.clone();
        let below = format!("{pointer}/");
        for (inner, (line, column)) in &document.places {
            if inner == pointer || inner.starts_with(&below) {
                places.insert(inner.clone(), (document.path.clone(), *line, *column));
            }
        }
        return;
    };
    if !target.is_object() {
        forget(places, pointer);
        *target = Value::Object(Map::new());
    }
    let (line, column) = document.place(pointer);
    places.insert(pointer.to_owned(), (document.path.clone(), line, column));
    let Some(object) = target.as_object_mut() else {
        return;
    };
    for (name, value) in fields {
        let child = join(pointer, name);
        if value.is_null() {
            object.remove(name);
            forget(places, &child);
        } else {
            patch(
                object.entry(name.clone()).or_insert(Value::Null),
                value,
                &child,
                document,
                places,
            );
        }
    }
}

/// Drops the places of what is replaced.
fn forget(places: &mut BTreeMap<String, Origin>, pointer: &str) {
    let below = format!("{pointer}/");
    places.retain(|at, _| at != pointer && !at.starts_with(&below));
}

#[cfg(test)]
mod tests {
    use super::{super::file::parse_file, *};
    use crate::api::release::EnvValue;

    fn assemble(
        layers: &[Vec<Document>],
    ) -> (BTreeMap<ReleaseId, Merged>, Vec<Problem>, BTreeSet<ReleaseId>) {
        let layers: Vec<Vec<&Document>> = layers.iter().map(|layer| layer.iter().collect()).collect();
        super::assemble(&layers)
    }

    fn layer(path: &str, name: &str, spec: &str) -> Vec<Document> {
        let text = format!(
            "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata:\n  name: {name}\n  namespace: shop\nspec:\n{spec}"
        );
        let (documents, problems) = parse_file(path, text.as_bytes());
        assert_eq!(problems, vec![]);
        assert_eq!(strict::check(&documents[0]), vec![]);
        documents
    }

    fn id(name: &str) -> ReleaseId {
        ReleaseId {
            namespace: "shop".parse().unwrap(),
            name: name.parse().unwrap(),
        }
    }

    #[test]
    fn a_later_layer_wins_field_by_field_and_every_value_knows_its_place() {
        let base = layer(
            "base/billing.yaml",
            "billing",
            "  image: ghcr.io/a/billing\n  replicas: 2\n  env:\n    A: base\n    B: base\n    C: base\n  command: [run, it]\n",
        );
        let top = layer(
            "prod/billing.yaml",
            "billing",
            "  version: \"1.2\"\n  env:\n    B: prod\n    C: null\n    D: prod\n  command: [go]\n",
        );
        let (merged, problems, broken) = assemble(&[base, top]);
        assert_eq!((problems, broken.len()), (vec![], 0));
        let billing = &merged[&id("billing")];
        assert_eq!(billing.spec.version.as_deref(), Some("1.2"));
        assert_eq!(billing.spec.replicas, Some(2));
        assert_eq!(billing.spec.command.as_deref(), Some(&["go".to_owned()][..]));
        let env: Vec<_> = billing
            .spec
            .env
            .iter()
            .map(|(k, v)| (k.as_str(), v.clone()))
            .collect();
        let text = |t: &str| EnvValue::Literal(t.into());
        assert_eq!(
            env,
            [("A", text("base")), ("B", text("prod")), ("D", text("prod"))]
        );
        for (pointer, place) in [
            ("/image", "base/billing.yaml:7:3"),
            ("/replicas", "base/billing.yaml:8:3"),
            ("/env/A", "base/billing.yaml:10:5"),
            ("/version", "prod/billing.yaml:7:3"),
            ("/env/B", "prod/billing.yaml:9:5"),
            ("/env/D", "prod/billing.yaml:11:5"),
            ("/env/C", "prod/billing.yaml:8:3"),
            ("/command/0", "prod/billing.yaml:12:13"),
            ("/command/1", "prod/billing.yaml:12:3"),
            ("/host", "prod/billing.yaml:6:1"),
            ("", "prod/billing.yaml:6:1"),
        ] {
            assert_eq!(billing.place(pointer), place, "{pointer}");
        }
        assert_eq!(billing.files, ["base/billing.yaml", "prod/billing.yaml"]);
        assert_eq!(billing.version_file.as_deref(), Some("prod/billing.yaml"));
    }

    #[test]
    fn a_removed_version_has_no_file() {
        let layers = [
            layer("a.yaml", "a", "  version: x\n"),
            layer("b.yaml", "a", "  version: null\n"),
        ];
        let (merged, ..) = assemble(&layers);
        assert_eq!(
            (&merged[&id("a")].spec.version, &merged[&id("a")].version_file),
            (&None, &None)
        );
    }

    #[test]
    fn the_same_release_twice_in_one_layer_is_left_out_and_both_places_are_named() {
        let mut base = layer("a.yaml", "a", "  version: x\n");
        base.extend(layer("b.yaml", "a", "  version: y\n"));
        base.extend(layer("c.yaml", "c", "  version: z\n"));
        let (merged, problems, broken) = assemble(&[base, layer("d.yaml", "a", "  replicas: 1\n")]);
        assert_eq!(merged.keys().collect::<Vec<_>>(), [&id("c")]);
        assert_eq!(broken, BTreeSet::from([id("a")]));
        assert_eq!(problems.len(), 1);
        let text = problems[0].to_string();
        assert!(
            text.starts_with("b.yaml:4:3: shop/a is already declared at a.yaml:4:3"),
            "{text}"
        );
    }

    #[test]
    fn layers_that_make_no_spec_together_are_left_out_without_a_value() {
        let base = layer("a.yaml", "a", "  env:\n    A: {value: hunter2}\n");
        let top = layer("b.yaml", "a", "  env:\n    A: {secret: db/url}\n");
        let (merged, problems, broken) = assemble(&[base.clone(), top]);
        assert!(merged.is_empty() && broken.contains(&id("a")));
        let text = problems[0].to_string();
        assert!(text.starts_with("b.yaml:8:5: `env.A` must be"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(
            text.ends_with("it has `value` of a.yaml:8:9 and `secret` of b.yaml:8:9. To replace what is below, write {value: null, secret: …}"),
            "{text}"
        );
        let top = layer("b.yaml", "a", "  env:\n    A: {secret: db/url, value: null}\n");
        let (merged, ..) = assemble(&[base, top]);
        assert_eq!(merged.len(), 1);
    }

    #[test]
    fn an_object_over_a_text_and_a_text_over_an_object_replace_it() {
        let object = "  health: {path: /a, headers: {a: b}}\n";
        let (merged, problems, _) = assemble(&[
            layer("a.yaml", "a", object),
            layer("b.yaml", "a", "  health: /b\n"),
        ]);
        assert_eq!(problems, vec![]);
        let health = merged[&id("a")].spec.health.clone().unwrap();
        assert_eq!((health.path.as_deref(), health.headers.len()), (Some("/b"), 0));
        assert_eq!(merged[&id("a")].place("/health/headers/a"), "b.yaml:7:3");
        let (merged, ..) = assemble(&[
            layer("b.yaml", "a", "  health: /b\n"),
            layer("a.yaml", "a", object),
        ]);
        assert_eq!(
            merged[&id("a")].spec.health.clone().unwrap().path.as_deref(),
            Some("/a")
        );
    }

    #[test]
    fn merging_is_that_of_rfc_7396() {
        for (target, with, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (
                r#"{"a":{"b":"c"}}"#,
                r#"{"a":{"b":"d","c":null}}"#,
                r#"{"a":{"b":"d"}}"#,
            ),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            let mut document = layer("a.yaml", "a", "  version: x\n").remove(0);
            document.spec = json(with);
            let mut value = json(target);
            patch(&mut value, &document.spec, "", &document, &mut BTreeMap::new());
            assert_eq!(value, json(result), "{target} {with}");
        }
    }
}
