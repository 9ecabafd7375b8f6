//! A tree of YAML → a document: which release it speaks of, what it says, and where.
//!
//! A number stays a number here, and `strict` says
//! "put it in quotes" where a text is meant.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};
use serde_yaml::Spanned;

pub use super::problem::{Place, Problem};
use super::{
    file::Broken,
    firewall,
    form::{FORM, Form},
    slip,
    yaml::{Node, is_harmful, is_hidden, shift},
};
use crate::names::ReleaseId;

mod foreign;

const API_VERSION: &str = "slipway.dev/v1alpha1";
/// One `Release` of one file: a layer's part of a spec, `null` meaning "remove".
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The file, from the root of the repository.
    pub path: String,
    /// Which release it speaks of.
    pub id: ReleaseId,
    /// Where it begins.
    pub start: Place,
    /// Where `metadata.name` is written.
    pub id_place: Place,
    /// The object under `spec`.
    pub spec: Value,
    /// JSON pointer inside `spec` → line and column: of the key for a field, of the element in a list.
    pub places: BTreeMap<String, Place>,
    /// JSON pointer → what to say of a number that is written oddly.
    pub odd_numbers: BTreeMap<String, String>,
}

impl Document {
    /// The place of `pointer`, or of its nearest parent.
    #[must_use]
    pub fn place(&self, pointer: &str) -> Place {
        nearest(&self.places, pointer).copied().unwrap_or(self.id_place)
    }

    /// A problem at the place of `pointer`.
    #[must_use]
    pub fn problem(&self, pointer: &str, message: &str) -> Problem {
        Problem::error(&self.path, self.place(pointer), message)
    }
}

/// The entry of `pointer`, or of its nearest parent.
pub(super) fn nearest<'a, T>(places: &'a BTreeMap<String, T>, pointer: &str) -> Option<&'a T> {
    let mut at = pointer;
    loop {
        if let Some(place) = places.get(at) {
            return Some(place);
        }
        at = at.rsplit_once('/')?.0;
    }
}

/// `parent` and one more segment, as a JSON pointer (RFC 6901).
pub(super) fn join(parent: &str, key: &str) -> String {
    format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Whether a spec has a field of this name.
fn is_field(name: &str) -> bool {
    matches!(&*FORM, Form::Fields(known) if known.contains_key(name))
}

/// The text of a field.
fn text<'n>(fields: &Fields<'n>, name: &str) -> Option<&'n str> {
    match fields.get(name) {
        Some((_, node)) => match &node.value {
            Node::Scalar(Value::String(text)) => Some(text),
            _ => None,
        },
        None => None,
    }
}

/// Where a field stands; else `start`.
fn at(fields: &Fields<'_>, name: &str, start: Place) -> Place {
    fields.get(name).map_or(start, |(place, _)| *place)
}

/// Turns one tree into a document and gathers what is wrong with it.
pub(super) struct Reader<'a> {
    path: &'a str,
    before: usize,
    /// What to say of numbers that are written oddly, by their line within the piece, and column.
    odd: BTreeMap<Place, String>,
    odd_numbers: BTreeMap<String, String>,
    problems: Vec<Problem>,
}

/// Why a document cannot be used.
pub(super) struct Refused {
    pub problems: Vec<Problem>,
    /// Whose it is; `None` for what is plainly none of Slipway's.
    pub broken: Option<Broken>,
    /// Whether what it holds is told by that, whatever it is: a Secret, or what is encrypted.
    pub whole: bool,
}

impl Refused {
    /// What is another program's.
    fn foreign(problems: Vec<Problem>, whole: bool) -> Self {
        Self {
            problems,
            broken: None,
            whole,
        }
    }

    fn of(whose: Broken, problems: Vec<Problem>) -> Self {
        Self {
            problems,
            broken: Some(whose),
            whole: false,
        }
    }
}

type Fields<'n> = BTreeMap<String, (Place, &'n Spanned<Node>)>;

impl<'a> Reader<'a> {
    /// For a document that has `before` lines of its file before it.
    pub(super) fn new(path: &'a str, before: usize, odd: BTreeMap<Place, String>) -> Self {
        Self {
            path,
            before,
            odd,
            odd_numbers: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    fn say(&mut self, place: Place, message: &str) {
        self.problems.push(Problem::error(self.path, place, message));
    }

    fn place<T>(&self, node: &Spanned<T>) -> Place {
        shift(self.before, &node.referenced)
    }

    fn fields<'n>(&mut self, node: &'n Spanned<Node>, what: &str) -> Option<Fields<'n>> {
        let Node::Map(entries) = &node.value else {
            self.say(self.place(node), &format!("{what} must be a mapping of fields"));
            return None;
        };
        let mut fields = Fields::new();
        for (key, value) in entries {
            let place = self.place(key);
            if let Some(name) = self.key(key) {
                fields.insert(name, (place, value));
            }
        }
        Some(fields)
    }

    fn key(&mut self, key: &Spanned<Node>) -> Option<String> {
        match &key.value {
            Node::Scalar(Value::String(name)) if !name.chars().any(is_hidden) => {
                let Some(message) = name.chars().next().and_then(slip::indentation) else {
                    return Some(name.clone());
                };
                self.say(self.place(key), &message);
                None
            }
            Node::Scalar(Value::String(_)) => {
                self.say(
                    self.place(key),
                    "the name of a field has an invisible character in it: write it anew",
                );
                None
            }
            Node::Map(_) => {
                self.say(self.place(key), slip::TEMPLATE);
                None
            }
            _ => {
                self.say(
                    self.place(key),
                    "the name of a field must be a text: put it in quotes",
                );
                None
            }
        }
    }

    /// The document, or what is wrong with it and whose it is.
    pub(super) fn document(mut self, root: &Spanned<Node>) -> Result<Document, Refused> {
        let start = self.place(root);
        let Some(fields) = self.fields(root, "a document") else {
            return Err(Refused::of(Broken::default(), self.problems));
        };
        if let Some(refused) = self.foreign(start, &fields) {
            return Err(refused);
        }
        if text(&fields, "apiVersion") != Some(API_VERSION) {
            let place = at(&fields, "apiVersion", start);
            self.say(place, &format!("apiVersion must be {API_VERSION}"));
        }
        let unknown = |name: &str| !["apiVersion", "kind", "metadata", "spec"].contains(&name);
        let flat = !fields.contains_key("spec") && fields.keys().any(|name| is_field(name));
        for (name, (place, _)) in &fields {
            if unknown(name) && !flat {
                let message = format!("unknown field `{name}`; known here: apiVersion, kind, metadata, spec");
                self.say(*place, &message);
            }
        }
        let (whose, id_place) = if let Some((place, node)) = fields.get("metadata") {
            self.identity(*place, node)
        } else {
            self.say(start, "metadata with name and namespace is missing");
            (Broken::default(), start)
        };
        let mut places = BTreeMap::new();
        let spec = if flat {
            let all = fields.iter().filter(|(name, _)| unknown(name));
            let first = all.clone().map(|(_, (place, _))| *place).min().unwrap_or(start);
            self.say(
                first,
                "`spec:` is missing: write it above, and indent these fields below it",
            );
            let mut spec = Map::new();
            for (name, (place, node)) in all {
                let pointer = join("", name);
                places.insert(pointer.clone(), *place);
                let value = self.value(node, &pointer, &mut places);
                spec.insert(name.clone(), value);
            }
            Some(Value::Object(spec))
        } else {
            self.spec(&fields, start, &mut places)
        };
        let (Some(spec), Some(id)) = (&spec, whose.id().filter(|_| self.problems.is_empty())) else {
            // What is wrong around a spec hides no secret in it.
            if let Some(spec) = spec {
                let found = firewall::scan_value(&spec).into_iter().map(|finding| {
                    let place = nearest(&places, &finding.pointer).copied().unwrap_or(start);
                    Problem {
                        secret: true,
                        ..Problem::error(self.path, place, &finding.message)
                    }
                });
                self.problems.extend(found);
            }
            return Err(Refused::of(whose, self.problems));
        };
        Ok(Document {
            path: self.path.to_owned(),
            id,
            start,
            id_place,
            spec: spec.clone(),
            places,
            odd_numbers: self.odd_numbers,
        })
    }

    fn spec(
        &mut self,
        fields: &Fields<'_>,
        start: Place,
        places: &mut BTreeMap<String, Place>,
    ) -> Option<Value> {
        match fields.get("spec") {
            Some((place, node)) if matches!(node.value, Node::Map(_)) => {
                places.insert(String::new(), *place);
                Some(self.value(node, "", places))
            }
            // A document that says nothing yet is a beginning, not a mistake.
            Some((place, node)) if matches!(node.value, Node::Scalar(Value::Null)) => {
                places.insert(String::new(), *place);
                Some(Value::Object(Map::new()))
            }
            _ => {
                self.say(at(fields, "spec", start), "spec must be a mapping of fields");
                None
            }
        }
    }

    fn identity(&mut self, place: Place, node: &Spanned<Node>) -> (Broken, Place) {
        let Some(fields) = self.fields(node, "metadata") else {
            return (Broken::default(), place);
        };
        for (name, (at, _)) in &fields {
            match name.as_str() {
                "name" | "namespace" => {}
                "labels" | "annotations" => self.say(*at, &format!("remove `{name}`: Slipway sets them")),
                _ => self.say(
                    *at,
                    &format!("unknown field `{name}`; known here: name, namespace"),
                ),
            }
        }
        let at = fields.get("name").map_or(place, |(place, _)| *place);
        let name = self.name(&fields, "name", place);
        let namespace = self.name(&fields, "namespace", place);
        (Broken { namespace, name }, at)
    }

    fn name<T>(&mut self, fields: &Fields<'_>, field: &str, parent: Place) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: fmt::Display,
    {
        let Some((place, node)) = fields.get(field) else {
            self.say(parent, &format!("metadata.{field} is missing"));
            return None;
        };
        let Node::Scalar(Value::String(text)) = &node.value else {
            self.say(
                *place,
                &format!("metadata.{field} must be a text: put it in quotes"),
            );
            return None;
        };
        text.parse()
            .map_err(|error| self.say(*place, &format!("metadata.{field} {error}")))
            .ok()
    }

    /// The value without places, which go to `places`.
    fn value(&mut self, node: &Spanned<Node>, pointer: &str, places: &mut BTreeMap<String, Place>) -> Value {
        match &node.value {
            Node::Scalar(value) => {
                let odd = |c: char| is_harmful(c) && !['\n', '\r', '\t'].contains(&c);
                if let Some(c) = value.as_str().and_then(|text| text.chars().find(|c| odd(*c))) {
                    let message = format!(
                        "the text contains the invisible character U+{:04X}, which no program can be given",
                        u32::from(c)
                    );
                    self.say(self.place(node), &message);
                }
                if value.is_number()
                    && let Some(said) = self.odd.get(&shift(0, &node.referenced))
                {
                    self.odd_numbers.insert(pointer.to_owned(), said.clone());
                }
                value.clone()
            }
            Node::List(items) => {
                let mut out = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let child = format!("{pointer}/{index}");
                    places.insert(child.clone(), self.place(item));
                    out.push(self.value(item, &child, places));
                }
                Value::Array(out)
            }
            Node::Map(entries) => {
                let mut out = Map::new();
                for (key, item) in entries {
                    let Some(name) = self.key(key) else { continue };
                    let child = join(pointer, &name);
                    if places.insert(child.clone(), self.place(key)).is_some() {
                        self.say(
                            self.place(key),
                            &format!("`{name}` is written twice in one mapping: remove one"),
                        );
                    }
                    let value = self.value(item, &child, places);
                    out.insert(name, value);
                }
                Value::Object(out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::file::{MAX_BYTES, parse_file};

    const HEAD: &str =
        "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: billing, namespace: shop}\n";

    fn with(spec: &str) -> String {
        format!("{HEAD}spec:\n{spec}")
    }

    fn one(spec: &str) -> Document {
        let (mut documents, problems) = parse_file("a.yaml", with(spec).as_bytes());
        assert_eq!(problems, vec![]);
        assert_eq!(documents.len(), 1);
        documents.remove(0)
    }

    fn refused(text: &str) -> String {
        let (documents, problems) = parse_file("a.yaml", text.as_bytes());
        assert_eq!(documents, vec![]);
        assert!(!problems.is_empty());
        problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn every_field_has_the_place_of_its_key() {
        let document = one(
            "  version: \"1.2\"\n  env:\n    A: x\n    B: {secret: db/url}\n  command:\n    - run\n    - it\n  writable: {/tmp: 64Mi}\n",
        );
        for (pointer, place) in [
            ("", (4, 1)),
            ("/version", (5, 3)),
            ("/env", (6, 3)),
            ("/env/A", (7, 5)),
            ("/env/B", (8, 5)),
            ("/env/B/secret", (8, 9)),
            ("/command/0", (10, 7)),
            ("/command/1", (11, 7)),
            ("/writable/~1tmp", (12, 14)),
        ] {
            assert_eq!(document.places.get(pointer), Some(&place), "{pointer}");
        }
        assert_eq!(document.id.to_string(), "shop/billing");
        assert_eq!(document.id_place, (3, 12));
        assert_eq!(document.place("/env/A/deeper"), (7, 5));
    }

    #[test]
    fn scalars_keep_their_meaning_of_yaml_1_2() {
        let spec = one("  a: no\n  b: on\n  c: 1.10\n  d: true\n  e: \"1.10\"\n  f: ~\n  g: 12\n  h: y\n  i: 12:30:45\n  j: null\n  k: -3\n  l: 2026-10-03\n").spec;
        assert_eq!(
            spec,
            serde_json::json!({"a": "no", "b": "on", "c": 1.1, "d": true, "e": "1.10", "f": null, "g": 12,
                "h": "y", "i": "12:30:45", "j": null, "k": -3, "l": "2026-10-03"})
        );
    }

    #[test]
    fn a_commit_that_looks_like_a_number_is_never_taken_for_a_text() {
        let spec = one("  a: 1234567\n  b: 12e4\n  c: 3f2\n  d: 0x10\n").spec;
        let texts = |name: &str| spec[name].is_string();
        assert_eq!(["a", "b", "c", "d"].map(texts), [false, false, true, false]);
        assert!(refused(&with("  version: 12e4567\n")).contains("in quotes"));
    }

    #[test]
    fn crlf_and_a_byte_order_mark_give_the_same_documents() {
        let unix = with("  env:\n    A: |\n      one\n      two\n  version: x\n");
        let dos = format!("\u{feff}{}", unix.replace('\n', "\r\n"));
        assert_eq!(
            parse_file("a.yaml", unix.as_bytes()),
            parse_file("a.yaml", dos.as_bytes())
        );
        assert_eq!(parse_file("a.yaml", unix.as_bytes()).0.len(), 1);
    }

    #[test]
    fn a_broken_document_does_not_hide_the_good_ones_beside_it() {
        let good = |name: &str| with("  version: x\n").replace("billing", name);
        let text = format!(
            "# head\n---\n{}---\nkind: [\n---\n{}---\n\n---\n# nothing\n---\n{}",
            good("a"),
            good("b"),
            good("c")
        );
        let (documents, problems) = parse_file("a.yaml", text.as_bytes());
        assert_eq!(
            documents
                .iter()
                .map(|d| d.id.name.to_string())
                .collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(documents[1].places["/version"], (15, 3));
        assert!((8..=10).contains(&problems[0].line), "{problems:?}");
    }

    #[test]
    fn billion_laughs_and_deep_nesting_are_refused() {
        let mut bomb = String::from("  a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for n in 1..10 {
            let inner = vec![format!("*a{}", n - 1); 9].join(", ");
            bomb = format!("{bomb}  a{n}: &a{n} [{inner}]\n");
        }
        let text = refused(&with(&bomb));
        assert!(text.contains("too many aliases"), "{text}");
        let deep = format!("  a: {}{}\n", "[".repeat(5000), "]".repeat(5000));
        refused(&with(&deep));
        refused(&with(&format!("  a: {}{}\n", "[".repeat(20), "]".repeat(20))));
        let wide = format!("  a: [{}]\n", "1, ".repeat(6000));
        assert!(refused(&with(&wide)).contains("too large"));
        refused(&with("  a: &a [*a]\n"));
    }

    #[test]
    fn duplicate_keys_in_env_are_refused_with_their_place() {
        let text = refused(&with("  env:\n    A: hunter2\n    A: hunter3\n"));
        assert!(text.starts_with("a.yaml:7:5: `A` is written twice"), "{text}");
        assert!(!text.contains("hunter"), "{text}");
        refused(&with("  env:\n    A: x\n    \"A\": y\n"));
        refused(&with("  version: x\n  version: y\n"));
    }

    #[test]
    fn merge_keys_tags_and_directives_are_refused_without_their_text() {
        assert!(refused(&with("  a: &a {b: c}\n  d:\n    <<: *a\n")).contains("merge keys"));
        let text = refused(&with("  env:\n    A: !hunter2\n"));
        assert!(text.contains("tags") && !text.contains("hunter2"), "{text}");
        let text = refused(&with("  env:\n    A: *hunter2\n"));
        assert!(text.contains("anchor") && !text.contains("hunter2"), "{text}");
        let (_, problems) = parse_file("a.yaml", format!("%YAML 1.2\n---\n{HEAD}spec: {{}}\n").as_bytes());
        assert!(problems[0].to_string().starts_with("a.yaml:1:1: directives"));
    }

    #[test]
    fn errors_of_the_parser_show_no_line_of_the_file() {
        for broken in [
            "  env:\n    A: hunter2\n   B: x\n",
            "  env:\n    A: \"hunter2\n  version: x\n",
            "  env:\n    A: hunter2: x\n",
            "  env:\n    A: [hunter2\n",
            "  env:\n    A: {hunter2\n    B: x\n",
            "  env:\n    A: 'hunter2' hunter2\n",
            "  env:\n    A: \"\\qhunter2\"\n",
            "  env:\n    A: @hunter2\n",
            "  env:\n    A: %hunter2\n",
            "  env:\n    A: `hunter2\n",
            "  env:\n    A: |hunter2\n",
            "  env:\n    A: &hunter2 *hunter2\n",
            "  env:\n    A: !<hunter2\n",
            "  env:\n    A: !!int hunter2\n",
            "  env:\n    A: !!binary hunter2\n",
            "  env:\n    hunter2\n    A: x\n",
            "  env:\n    ? hunter2\n    : [\n",
            "  env:\n\tA: hunter2\n",
        ] {
            let text = refused(&with(broken));
            assert!(!text.contains("hunter2"), "{broken}: {text}");
            assert!(text.starts_with("a.yaml:"), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_plain_text_are_refused() {
        let bad = |bytes: &[u8]| {
            let (documents, problems) = parse_file("a.yaml", bytes);
            assert_eq!(documents, vec![]);
            problems[0].to_string()
        };
        assert!(bad(b"a: 1\nb: \xff\n").starts_with("a.yaml:2:4: the file is not UTF-8"));
        assert!(bad(b"\xff\xfea\0").contains("not UTF-8"));
        assert!(
            bad("b: \u{200b}\n".as_bytes()).contains("or write it as \\u200B in a text in double quotes")
        );
        assert!(bad(b"a: x\nb: \0\n").starts_with("a.yaml:2:4: the character U+0000"));
        assert!(bad("a: \u{202e}x\n".as_bytes()).contains("U+202E"));
        assert!(bad(b"a: 1\rb: 2\n").contains("U+000D"));
        assert!(bad(&vec![b'#'; MAX_BYTES + 1]).contains("64 KiB"));
        let escaped = refused(&with("  env:\n    A: \"hunter2\\0\"\n"));
        assert!(escaped.contains("the invisible character U+") && !escaped.contains("hunter2"));
    }

    #[test]
    fn a_secret_in_git_is_to_be_rotated() {
        let text = refused("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {a: hunter2}\n");
        assert!(
            text.starts_with("a.yaml:2:1: a Secret must not be in git"),
            "{text}"
        );
        assert!(text.contains("rotate") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn only_releases_with_name_and_namespace_are_read() {
        let head = |from: &str, to: &str| refused(&with("  version: x\n").replace(from, to));
        assert!(
            head("kind: Release", "kind: Deployment")
                .contains("a.yaml:2:1: kind Deployment is not read here")
        );
        assert!(head("v1alpha1", "v1").contains("a.yaml:1:1: apiVersion must be slipway.dev/v1alpha1"));
        assert!(head(", namespace: shop", "").contains("a.yaml:3:1: metadata.namespace is missing"));
        assert!(head("shop", "shop, labels: {a: b}").contains("remove `labels`: Slipway sets them"));
        assert!(head("shop", "shop, uid: b").contains("unknown field `uid`"));
        assert!(head("billing", "Billing").contains("metadata.name must consist of lower-case"));
        assert!(head("billing", "12").contains("put it in quotes"));
        assert!(head("spec:\n  version: x", "spec: x").contains("spec must be a mapping"));
        assert!(head("spec:\n  version: x", "specs: {}").contains("unknown field `specs`"));
        assert!(refused("just text\n").contains("a document must be a mapping"));
        assert!(refused("kind: Release\n---\nkind: Release\n").contains("a.yaml:3:1: "));
    }

    #[test]
    fn what_is_one_mistake_is_one_problem() {
        let flat = with("  image: x\n  version: 1.0.0\n")
            .replace("spec:\n", "")
            .replace("\n  ", "\n");
        assert_eq!(
            refused(&flat),
            "a.yaml:4:1: `spec:` is missing: write it above, and indent these fields below it"
        );
        assert_eq!(
            refused("apiVersion: slipway.dev/v1alpha1\nkind: ReleaseSource\nmetadata: {name: a}\nspec: {}\n"),
            "a.yaml:2:1: kind ReleaseSource is not read here: apply it with kubectl"
        );
        let secret = refused(&format!("{HEAD}env: {{DB_PASSWORD: hunter22}}\n"));
        assert!(
            secret.contains("a.yaml:4:7: looks like a secret") && !secret.contains("hunter22"),
            "{secret}"
        );
    }

    #[test]
    fn files_without_documents_are_fine() {
        for text in [
            "",
            "\n",
            "# x\n",
            "---\n",
            "---\n...\n---\n# x\n",
            "--- # x\n",
            "null\n",
        ] {
            assert_eq!(
                parse_file("a.yaml", text.as_bytes()),
                (vec![], vec![]),
                "{text:?}"
            );
        }
    }

    #[test]
    fn messages_are_short_and_in_one_line() {
        let problem = Problem::error("a.yaml", (1, 2), &format!("a\nb\u{1b}[31m{}", "ä".repeat(2000)));
        assert!(problem.message.len() <= 1024 && problem.message.ends_with('…'));
        assert!(!problem.message.chars().any(char::is_control));
        assert!(problem.to_string().starts_with("a.yaml:1:2: a"));
    }
}
