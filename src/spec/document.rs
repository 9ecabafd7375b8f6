//! Text of a file → documents whose every field knows its line and column.

use std::{collections::BTreeMap, fmt};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_yaml::{Options, Spanned};

use crate::names::ReleaseId;

/// A spec has a few kilobytes; a file that is larger is not one.
const MAX_BYTES: usize = 64 * 1024;

/// Something that is wrong in a file, with its place; never with the value that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Relative to the repository.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether the document can be used all the same.
    pub warning: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.path, self.line, self.column, self.message)
    }
}

/// Line and column, from 1.
pub type Place = (usize, usize);

/// One `Release` of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The file.
    pub path: String,
    /// Which release it speaks of.
    pub id: ReleaseId,
    /// Where it begins.
    pub start: Place,
    /// Its `spec`, an object.
    pub spec: Value,
    /// Where each field of the spec stands, by JSON pointer.
    pub places: BTreeMap<String, Place>,
}

impl Document {
    /// The place of a pointer, or of its nearest parent that is there.
    #[must_use]
    pub fn place(&self, pointer: &str) -> Place {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.places.get(pointer) {
                return *place;
            }
            match pointer.rfind('/') {
                Some(slash) => pointer = pointer.get(..slash).unwrap_or(""),
                None => return self.start,
            }
        }
    }

    /// A problem at the place of a pointer.
    #[must_use]
    pub fn problem(&self, pointer: &str, message: impl Into<String>) -> Problem {
        let (line, column) = self.place(pointer);
        Problem {
            path: self.path.clone(),
            line,
            column,
            message: clean(&message.into()),
            warning: false,
        }
    }
}

/// Whether a file of this name is read. `.YAML`, `.yaml.bak` and `.json` are not: one rule, said once.
#[must_use]
pub fn is_spec_file(name: &str) -> bool {
    [".yaml", ".yml"]
        .iter()
        .any(|end| name.len() > end.len() && name.ends_with(end))
}

/// All documents of a file, and everything that keeps one from being read.
#[must_use]
pub fn parse_file(path: &str, bytes: &[u8]) -> (Vec<Document>, Vec<Problem>) {
    let problem = |(line, column): Place, message: String| Problem {
        path: path.to_owned(),
        line,
        column,
        message: clean(&message),
        warning: false,
    };
    if bytes.len() > MAX_BYTES {
        return (
            Vec::new(),
            vec![problem(
                (1, 1),
                format!("the file has more than {MAX_BYTES} bytes"),
            )],
        );
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            return (
                Vec::new(),
                vec![problem((line, 1), "the file is not UTF-8".into())],
            );
        }
    };
    if let Some(at) = text.find(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        let line = text.get(..at).unwrap_or("").matches('\n').count() + 1;
        return (
            Vec::new(),
            vec![problem((line, 1), "the file holds a control character".into())],
        );
    }
    let nodes: Vec<Spanned<Node>> = match serde_yaml::from_multiple_with_options(text, options()) {
        Ok(nodes) => nodes,
        Err(error) => {
            let place = error.location().map_or((1, 1), |at| place(&at));
            return (
                Vec::new(),
                vec![problem(place, error.without_snippet().to_string())],
            );
        }
    };
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    for node in nodes {
        match document(path, &node) {
            Ok(None) => {}
            Ok(Some(document)) => documents.push(document),
            Err((place, message)) => problems.push(problem(place, message)),
        }
    }
    (documents, problems)
}

fn options() -> Options {
    let mut options = serde_yaml::options! {
        strict_booleans: true,
        with_snippet: false,
        reject_unsupported_tags: true,
        merge_keys: serde_yaml::MergeKeyPolicy::Error,
    };
    options.budget = serde_yaml::budget! {
        max_depth: 16,
        max_nodes: 5_000,
        max_aliases: 20,
        max_anchors: 20,
        max_documents: 200,
    };
    options
}

fn place(at: &serde_yaml::Location) -> Place {
    (
        usize::try_from(at.line()).unwrap_or(1).max(1),
        usize::try_from(at.column()).unwrap_or(1).max(1),
    )
}

/// No control characters, at most 1 KiB.
fn clean(message: &str) -> String {
    message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(1000)
        .collect()
}

/// `None` for a document without content.
fn document(path: &str, node: &Spanned<Node>) -> Result<Option<Document>, (Place, String)> {
    let start = place(&node.referenced);
    let fields = match &node.value {
        Node::Null => return Ok(None),
        Node::Map(fields) => fields,
        _ => {
            return Err((
                start,
                "a document is a map with apiVersion, kind, metadata and spec".into(),
            ));
        }
    };
    let get = |name: &str| fields.iter().find(|(key, _)| key.value == name);
    let text = |name: &str| match get(name) {
        Some((
            _,
            Spanned {
                value: Node::Text(text),
                ..
            },
        )) => Ok(text.as_str()),
        Some((key, _)) => Err((place(&key.referenced), format!("{name} must be a string"))),
        None => Err((start, format!("{name} is missing"))),
    };
    let kind = text("kind")?;
    if kind == "Secret" {
        return Err((
            start,
            "a Secret must not be in git: remove it, and change its values where they are used, since git keeps history".into(),
        ));
    }
    if kind != "Release" {
        return Err((
            start,
            format!("kind {kind} is not Slipway's; only documents of kind Release may stand here"),
        ));
    }
    if text("apiVersion")? != "slipway.dev/v1alpha1" {
        return Err((start, "apiVersion must be slipway.dev/v1alpha1".into()));
    }
    for (key, _) in fields {
        if !["apiVersion", "kind", "metadata", "spec"].contains(&key.value.as_str()) {
            return Err((place(&key.referenced), format!("unknown field {}", key.value)));
        }
    }
    let id = id(start, get("metadata"))?;
    let mut places = BTreeMap::new();
    let spec = match get("spec") {
        Some((
            key,
            Spanned {
                value: spec @ Node::Map(_),
                ..
            },
        )) => {
            places.insert(String::new(), place(&key.referenced));
            value(spec, "", &mut places)
        }
        Some((
            key,
            Spanned {
                value: Node::Null, ..
            },
        )) => {
            places.insert(String::new(), place(&key.referenced));
            Value::Object(Map::new())
        }
        Some((key, _)) => return Err((place(&key.referenced), "spec must be a map".into())),
        None => return Err((start, "spec is missing".into())),
    };
    Ok(Some(Document {
        path: path.to_owned(),
        id,
        start,
        spec,
        places,
    }))
}

fn id(
    start: Place,
    metadata: Option<&(Spanned<String>, Spanned<Node>)>,
) -> Result<ReleaseId, (Place, String)> {
    let Some((
        _,
        Spanned {
            value: Node::Map(fields),
            ..
        },
    )) = metadata
    else {
        return Err((start, "metadata must be a map with name and namespace".into()));
    };
    let (mut name, mut namespace) = (None, None);
    for (key, node) in fields {
        let at = place(&key.referenced);
        let Node::Text(text) = &node.value else {
            return Err((
                at,
                format!("metadata.{} is not allowed, or not a string", key.value),
            ));
        };
        match key.value.as_str() {
            "name" => name = Some(text.parse().map_err(|e| (at, format!("metadata.name {e}")))?),
            "namespace" => {
                namespace = Some(
                    text.parse()
                        .map_err(|e| (at, format!("metadata.namespace {e}")))?,
                )
            }
            other => {
                return Err((
                    at,
                    format!("metadata.{other} is not allowed; Slipway sets labels and annotations"),
                ));
            }
        }
    }
    match (name, namespace) {
        (Some(name), Some(namespace)) => Ok(ReleaseId { namespace, name }),
        (None, _) => Err((start, "metadata.name is missing".into())),
        (_, None) => Err((
            start,
            "metadata.namespace is missing: every release says where it lives".into(),
        )),
    }
}

fn value(node: &Node, pointer: &str, places: &mut BTreeMap<String, Place>) -> Value {
    match node {
        Node::Null => Value::Null,
        Node::Bool(flag) => Value::Bool(*flag),
        Node::Number(number) => Value::Number(number.clone()),
        Node::Text(text) => Value::String(text.clone()),
        Node::List(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| {
                    let pointer = format!("{pointer}/{index}");
                    places.insert(pointer.clone(), place(&item.referenced));
                    value(&item.value, &pointer, places)
                })
                .collect(),
        ),
        Node::Map(fields) => Value::Object(
            fields
                .iter()
                .map(|(key, field)| {
                    let pointer = format!("{pointer}/{}", escape(&key.value));
                    places.insert(pointer.clone(), place(&key.referenced));
                    (key.value.clone(), value(&field.value, &pointer, places))
                })
                .collect(),
        ),
    }
}

/// A name as a part of a JSON pointer (RFC 6901).
#[must_use]
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A YAML node; scalars by the core schema of YAML 1.2, so `no` and `on` are texts.
#[derive(Debug, Clone)]
enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map, a list or a scalar")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Node, E> {
        Number::from_f64(number)
            .map(Node::Number)
            .ok_or_else(|| E::custom("not a number that can be used here"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut map: Vec<(Spanned<String>, Spanned<Node>)> = Vec::new();
        while let Some((key, value)) = fields.next_entry::<Spanned<String>, Spanned<Node>>()? {
            if map.iter().any(|(other, _)| other.value == key.value) {
                return Err(de::Error::custom(format!(
                    "the key {} stands here twice",
                    key.value
                )));
            }
            map.push((key, value));
        }
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: a, namespace: b}\n";

    fn only(spec: &str) -> Document {
        let (mut documents, problems) = parse_file("x.yaml", format!("{HEAD}{spec}").as_bytes());
        assert!(problems.is_empty(), "{problems:?}");
        documents.remove(0)
    }

    fn refused(text: &str) -> Problem {
        let (documents, mut problems) = parse_file("x.yaml", text.as_bytes());
        assert!(
            documents.is_empty() && problems.len() == 1,
            "{documents:?} {problems:?}"
        );
        problems.remove(0)
    }

    #[test]
    fn every_field_knows_its_line_and_column() {
        let document = only("spec:\n  version: 1.2.3\n  env:\n    A: b\n  args: [x, y]\n");
        assert_eq!(document.place("/version"), (5, 3));
        assert_eq!(document.place("/env/A"), (7, 5));
        assert_eq!(document.place("/env/A/nothing"), (7, 5), "the nearest parent");
        assert_eq!(document.place("/args/1"), (8, 13));
        assert_eq!(document.spec["version"], "1.2.3");
    }

    #[test]
    fn words_of_yaml_1_1_stay_words_and_line_ends_do_not_matter() {
        let document = only("spec: {env: {A: no, B: on, C: 0o17, D: 'yes'}}\n");
        assert_eq!(document.spec["env"]["A"], "no");
        assert_eq!(document.spec["env"]["B"], "on");
        let text = format!("{HEAD}spec:\n  version: 1.2.3\n");
        let (windows, _) = parse_file("x.yaml", text.replace('\n', "\r\n").as_bytes());
        let (unix, _) = parse_file("x.yaml", text.as_bytes());
        assert_eq!(windows[0].spec, unix[0].spec);
    }

    #[test]
    fn several_documents_may_stand_in_a_file_and_empty_ones_are_skipped() {
        let text = format!(
            "---\n# nothing\n---\n{HEAD}spec: {{}}\n---\n{}spec:\n",
            HEAD.replace("name: a", "name: c")
        );
        let (documents, problems) = parse_file("x.yaml", text.as_bytes());
        assert_eq!((documents.len(), problems), (2, vec![]));
        for empty in ["", "# words\n", "---\n", "\u{feff}"] {
            assert_eq!(
                parse_file("x.yaml", empty.as_bytes()),
                (vec![], vec![]),
                "{empty:?}"
            );
        }
    }

    #[test]
    fn what_is_not_a_plain_spec_is_refused_with_its_place() {
        for (text, line, word) in [
            (format!("{HEAD}spec:\n  env:\n    A: b\n    A: c\n"), 7, ""),
            (format!("{HEAD}spec:\n  <<: {{a: b}}\n"), 5, ""),
            (format!("{HEAD}spec:\n  version: !include x\n"), 5, ""),
            (format!("{HEAD}spek: {{}}\nspec: {{}}\n"), 4, "spek"),
            (
                "kind: Release\nmetadata: {name: a, namespace: b}\nspec: {}\n".into(),
                1,
                "apiVersion",
            ),
            (HEAD.replace(", namespace: b", "") + "spec: {}\n", 1, "namespace"),
            (HEAD.replace("name: a", "name: A") + "spec: {}\n", 3, "lower-case"),
            (
                HEAD.replace("{name", "{labels: {}, name") + "spec: {}\n",
                3,
                "labels",
            ),
            ("a: b\n\0".into(), 2, "control"),
            ("[".repeat(100_000), 1, ""),
        ] {
            let problem = refused(&text);
            assert_eq!(problem.line, line, "{problem}");
            assert!(problem.message.contains(word), "{problem}");
        }
    }

    #[test]
    fn a_secret_is_refused_and_its_values_are_not_repeated() {
        let problem = refused("apiVersion: v1\nkind: Secret\nstringData: {password: hunter22}\n");
        assert!(problem.message.contains("git keeps history") && !problem.to_string().contains("hunter22"));
        let broken = refused("apiVersion: v1\nkind: Secret\nstringData: {password: hunter22\n");
        assert!(!broken.to_string().contains("hunter22"), "{broken}");
    }

    #[test]
    fn bombs_are_refused_quickly() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let refs = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
        }
        refused(&bomb);
        refused(&"x: y\n".repeat(20_000));
        refused(&format!("{HEAD}spec: &a {{b: *a}}\n"));
    }
}
