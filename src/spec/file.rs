//! Bytes of a file → its documents, what is wrong with it, and whose the documents are that cannot be used.
//!
//! Everything that needs no other file happens here, so that a commit that touches one file judges one file.

use std::collections::BTreeMap;

use super::{
    document::{Document, Problem, Reader, Refused},
    firewall,
    lines::{self, Seen},
    strict,
    yaml::{hidden, is_harmful, odd_numbers, pieces, tree},
};
use crate::names::{Namespace, ReleaseId, ReleaseName};

/// The longest file that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
const MAX_DOCUMENTS: usize = 100;

/// One file of one layer, as far as it can be used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct File {
    /// From the root of the repository.
    pub path: String,
    /// What can be used.
    pub documents: Vec<Document>,
    /// One for each document that cannot: what it would have said is not known.
    pub broken: Vec<Broken>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What may be wrong, and stops nothing.
    pub warnings: Vec<Problem>,
}

/// What is still readable of whose a broken document is. With neither name nor namespace it may be anyone's.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broken {
    /// `metadata.namespace`.
    pub namespace: Option<Namespace>,
    /// `metadata.name`.
    pub name: Option<ReleaseName>,
}

impl Broken {
    /// The release, where both are readable.
    #[must_use]
    pub fn id(&self) -> Option<ReleaseId> {
        Some(ReleaseId {
            namespace: self.namespace.clone()?,
            name: self.name.clone()?,
        })
    }

    /// Whether the document may speak of this release.
    #[must_use]
    pub fn may_be(&self, id: &ReleaseId) -> bool {
        self.namespace.as_ref().is_none_or(|own| *own == id.namespace)
            && self.name.as_ref().is_none_or(|own| *own == id.name)
    }
}

impl From<&ReleaseId> for Broken {
    fn from(id: &ReleaseId) -> Self {
        Self {
            namespace: Some(id.namespace.clone()),
            name: Some(id.name.clone()),
        }
    }
}

/// Whether a file of this name is read: `.yaml` or `.yml`, in lower case, not hidden.
#[must_use]
pub fn is_spec_file(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    [".yaml", ".yml"]
        .iter()
        .any(|end| base.strip_suffix(end).is_some_and(|stem| !stem.is_empty()))
        && !base.starts_with('.')
}

impl File {
    /// Reads a file and judges each of its documents by itself.
    #[must_use]
    pub fn read(path: &str, bytes: &[u8]) -> Self {
        let (mut file, seen) = Self::parsed(path, bytes);
        for document in std::mem::take(&mut file.documents) {
            let mut wrong = strict::check(&document);
            // Of the document, not only of the whole: a value that a later layer replaces is in git all the same.
            let found = firewall::scan_value(&document.spec).into_iter();
            wrong.extend(found.map(|finding| Problem {
                secret: true,
                ..document.problem(&finding.pointer, &finding.message)
            }));
            let suspects = firewall::suspects(&document.spec).into_iter();
            file.warnings.extend(suspects.map(|finding| Problem {
                secret: true,
                ..document.problem(&finding.pointer, &finding.message)
            }));
            if wrong.is_empty() {
                file.documents.push(document);
            } else {
                file.broken.push(Broken::from(&document.id));
            }
            file.problems.extend(wrong);
        }
        file.look(bytes, &seen);
        file
    }

    /// The lines of which no field says what they hold.
    fn look(&mut self, bytes: &[u8], seen: &BTreeMap<usize, Seen>) {
        let text = String::from_utf8_lossy(bytes.get(..MAX_BYTES).unwrap_or(bytes));
        if !firewall::may_hold(&text) {
            return;
        }
        let text = text
            .strip_prefix('\u{feff}')
            .unwrap_or(&text)
            .replace("\r\n", "\n");
        let known = self.problems.iter().chain(&self.warnings);
        let told = known.filter(|problem| problem.secret).map(|problem| problem.line);
        let (wrong, doubtful) = lines::look(&self.path, &text, seen, &told.collect());
        self.problems.extend(wrong);
        self.warnings.extend(doubtful);
    }

    /// Something of the layer that is not read at all, such as a symbolic link. The message says what it "is".
    #[must_use]
    pub fn unread(path: &str, message: &str) -> Self {
        let message = if message.starts_with("the ") {
            message.to_owned()
        } else {
            format!("the file {message}")
        };
        Self {
            path: path.to_owned(),
            documents: Vec::new(),
            broken: vec![Broken::default()],
            problems: vec![Problem::error(path, (1, 1), &message)],
            warnings: Vec::new(),
        }
    }

    /// Reads every document of a file; what is wrong with one does not touch the others. With how each was judged, by the
    /// number of lines before it.
    fn parsed(path: &str, bytes: &[u8]) -> (Self, BTreeMap<usize, Seen>) {
        let mut seen = BTreeMap::new();
        let file = Self::parse(path, bytes, &mut seen);
        (file, seen)
    }

    fn parse(path: &str, bytes: &[u8], seen: &mut BTreeMap<usize, Seen>) -> Self {
        if bytes.len() > MAX_BYTES {
            let text = String::from_utf8_lossy(bytes);
            return Self::unusable(path, &text, (1, 1), "the file is larger than 64 KiB: split it");
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(error) => {
                let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let before = String::from_utf8_lossy(before);
                let line = before.rsplit('\n').next().unwrap_or_default();
                let place = (1 + before.matches('\n').count(), 1 + line.chars().count());
                let text = String::from_utf8_lossy(bytes);
                return Self::unusable(path, &text, place, "the file is not UTF-8: save it as UTF-8");
            }
        };
        let text = text.replace("\r\n", "\n");
        let pieces = pieces(&text);
        if pieces.len() > MAX_DOCUMENTS {
            let message = "the file has more than 100 documents: split it";
            return Self::unusable(path, &text, (1, 1), message);
        }
        let mut file = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        for (before, piece) in pieces {
            match visible(path, before, piece).and_then(|()| tree(path, before, piece)) {
                Ok(None) => {}
                Ok(Some(node)) => match Reader::new(path, before, odd_numbers(piece)).document(&node) {
                    Ok(document) => {
                        seen.insert(before, Seen::Values);
                        file.documents.push(document);
                    }
                    Err(Refused {
                        problems,
                        broken,
                        whole,
                    }) => {
                        if whole {
                            seen.insert(before, Seen::Whole);
                        }
                        file.problems.extend(problems);
                        file.broken.extend(broken);
                    }
                },
                Err(problem) => {
                    file.problems.push(problem);
                    file.broken.extend(whose(piece));
                }
            }
        }
        file
    }

    fn unusable(path: &str, text: &str, place: (usize, usize), message: &str) -> Self {
        let mut broken: Vec<Broken> = pieces(text)
            .into_iter()
            .flat_map(|(_, piece)| whose(piece))
            .collect();
        if broken.is_empty() {
            broken.push(Broken::default());
        }
        Self {
            path: path.to_owned(),
            documents: Vec::new(),
            broken,
            problems: vec![Problem::error(path, place, message)],
            warnings: Vec::new(),
        }
    }
}

fn visible(path: &str, before: usize, piece: &str) -> Result<(), Problem> {
    match hidden(piece) {
        None => Ok(()),
        Some((line, column, c)) => {
            let code = u32::from(c);
            let message = format!("the character U+{code:04X} is invisible and not allowed here: remove it");
            let message = if is_harmful(c) || code > 0xffff {
                message
            } else {
                format!("{message}, or write it as \\u{code:04X} in a text in double quotes")
            };
            Err(Problem::error(path, (before + line, column), &message))
        }
    }
}

/// What a text that is not readable as YAML still says about whose it is. There are two where a `---` was forgotten, or
/// a merge was left unfinished; what is said twice within one is not believed.
fn whose(piece: &str) -> Vec<Broken> {
    let lines: Vec<&str> = piece.lines().collect();
    let heads = lines.iter().enumerate().filter_map(|(index, line)| {
        let rest = line.strip_prefix("metadata:")?;
        let below = lines.get(index + 1..).unwrap_or_default();
        Some(identity(without_comment(rest), below))
    });
    let found: Vec<Broken> = heads.collect();
    if found.is_empty() {
        vec![Broken::default()]
    } else {
        found
    }
}

fn identity(inline: &str, below: &[&str]) -> Broken {
    let mut fields: Vec<(&str, &str)> = Vec::new();
    if let Some(flow) = inline.strip_prefix('{') {
        let inner = flow.split('}').next().unwrap_or_default();
        fields.extend(inner.split(',').filter_map(|pair| pair.split_once(':')));
    } else if inline.is_empty() {
        let said = |line: &&&str| !without_comment(line).is_empty();
        // A marker of an unfinished merge stands at the margin and ends nothing.
        let inside = |line: &&&str| line.starts_with([' ', '<', '=', '>', '|']);
        fields.extend(
            below
                .iter()
                .filter(said)
                .take_while(inside)
                .filter_map(|line| without_comment(line).split_once(':')),
        );
    }
    Broken {
        namespace: only(&fields, "namespace"),
        name: only(&fields, "name"),
    }
}

fn only<T: std::str::FromStr>(fields: &[(&str, &str)], name: &str) -> Option<T> {
    let mut all = fields.iter().filter(|(key, _)| key.trim() == name);
    let (_, value) = all.next()?;
    if all.next().is_some() {
        return None;
    }
    value.trim().trim_matches(['"', '\'']).parse().ok()
}

fn without_comment(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with('#') {
        return "";
    }
    line.split(" #").next().unwrap_or_default().trim_end()
}

#[cfg(test)]
pub(super) fn parse_file(path: &str, bytes: &[u8]) -> (Vec<Document>, Vec<Problem>) {
    let (file, _) = File::parsed(path, bytes);
    (file.documents, file.problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: slipway.dev/v1alpha1\nkind: Release\n";

    /// `namespace/name` of each broken document, `?` for what is not known.
    fn broken(text: &str) -> Vec<String> {
        let file = File::read("a.yaml", text.as_bytes());
        assert!(file.documents.is_empty(), "{file:?}");
        assert!(!file.problems.is_empty(), "{file:?}");
        let part = |text: Option<&str>| text.unwrap_or("?").to_owned();
        file.broken
            .iter()
            .map(|b| {
                let namespace = part(b.namespace.as_ref().map(Namespace::as_str));
                format!("{namespace}/{}", part(b.name.as_ref().map(ReleaseName::as_str)))
            })
            .collect()
    }

    #[test]
    fn the_release_of_a_broken_document_is_known_where_its_name_can_be_read() {
        for (text, whose) in [
            ("metadata: {name: a, namespace: shop}\nspec: [\n", "shop/a"),
            (
                "metadata:\n  namespace: \"shop\" # here\n\n  # its name\n  name: 'a'\nspec: [\n",
                "shop/a",
            ),
            (
                "metadata: {name: a, namespace: shop}\nspec:\n  env: {A: \u{202e}x}\n",
                "shop/a",
            ),
            ("metadata: {name: a, namespace: shop}\nspec: 7\n", "shop/a"),
            (
                "metadata: {name: a, namespace: shop}\nspec: {replcias: 1}\n",
                "shop/a",
            ),
            (
                "metadata: {name: a, namespace: shop, labels: {x: y}}\nspec: {}\n",
                "shop/a",
            ),
            ("metadata: {name: a}\nspec: {}\n", "?/a"),
            ("metadata: {name: A, namespace: shop}\nspec: {}\n", "shop/?"),
            ("metadata: {name: [, namespace: shop}\nspec: {}\n", "shop/?"),
            ("metadata: [\n", "?/?"),
            ("spec: {}\n", "?/?"),
            ("spec: [\n", "?/?"),
        ] {
            assert_eq!(broken(&format!("{HEAD}{text}")), [whose], "{text}");
        }
        assert_eq!(broken("not a map\n"), ["?/?"]);
        assert_eq!(
            broken("metadata: {name: a, namespace: shop}\nx: \"\u{0}\"\n"),
            ["shop/a"]
        );
    }

    #[test]
    fn an_unfinished_merge_and_a_forgotten_separator_name_every_release_that_may_be_meant() {
        let conflict = "metadata:\n<<<<<<< HEAD\n  name: a\n=======\n  name: b\n>>>>>>> x\n  namespace: shop\nspec: {}\n";
        assert_eq!(broken(&format!("{HEAD}{conflict}")), ["shop/?"]);
        let one = |name: &str| format!("{HEAD}metadata: {{name: {name}, namespace: shop}}\nspec: {{}}\n");
        assert_eq!(broken(&format!("{}{}", one("a"), one("b"))), ["shop/a", "shop/b"]);
    }

    #[test]
    fn a_file_that_is_unusable_as_a_whole_still_names_its_releases() {
        let text = format!("{HEAD}metadata: {{name: a, namespace: shop}}\nspec: {{}}\n---\nx: y\n");
        let mut latin = text.clone().into_bytes();
        latin.extend(b"# \xe4\n");
        let file = File::read("a.yaml", &latin);
        assert_eq!(file.broken.len(), 2);
        assert_eq!(file.broken[0].id().unwrap().to_string(), "shop/a");
        assert_eq!(file.broken[1], Broken::default());
        let large = text + &"#\n".repeat(MAX_BYTES);
        assert_eq!(File::read("a.yaml", large.as_bytes()).broken.len(), 2);
        assert_eq!(File::read("a.yaml", b"\xff\xfea\0").broken, [Broken::default()]);
    }

    #[test]
    fn what_is_plainly_not_slipways_speaks_of_no_release() {
        for foreign in [
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: shop}\n",
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n",
        ] {
            assert_eq!(broken(foreign), [] as [&str; 0], "{foreign}");
        }
        let mistyped = "apiVersion: slipway.dev/v1alpha1\nkind: Relase\nmetadata: {name: a, namespace: shop}\nspec: {}\n";
        assert_eq!(broken(mistyped), ["shop/a"]);
    }

    #[test]
    fn a_secret_that_a_later_layer_replaces_is_found_where_it_stands() {
        let text = format!(
            "{HEAD}metadata: {{name: a, namespace: shop}}\nspec:\n  env:\n    DB_PASSWORD: hunter22\n"
        );
        let file = File::read("a.yaml", text.as_bytes());
        let said = file.problems[0].to_string();
        assert!(said.starts_with("a.yaml:6:5: looks like a secret"), "{said}");
        assert!(!said.contains("hunter22") && file.documents.is_empty());
    }

    #[test]
    fn spec_files_end_in_yaml_or_yml() {
        for (name, is) in [
            ("a.yaml", true),
            ("b/a.yml", true),
            ("a.YAML", false),
            ("a.yaml.bak", false),
            ("a.json", false),
            (".yaml", false),
            (".a.yaml", false),
            ("yaml", false),
        ] {
            assert_eq!(is_spec_file(name), is, "{name}");
        }
    }
}
