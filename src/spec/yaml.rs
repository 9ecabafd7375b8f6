//! Text → trees with positions: YAML, and nothing of it that surprises.
//!
//! A file is cut at its document markers first, so one broken document does not hide the others. Merge keys,
//! tags, duplicate keys, deep nesting and alias storms are refused; only `true` and `false` are booleans.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use serde_yaml::{
    Error as YamlError, MessageFormatter as _, Spanned, UserMessageFormatter,
    granit_parser::{Event, Parser, ScalarStyle},
    options::{MergeKeyPolicy, NonFiniteFloatPolicy},
};

use super::{document::Problem, file::MAX_BYTES, slip};

const TAGS: &str = "tags (`!…`) are not read: remove it, or put the text in quotes";
const UNREADABLE: &str = "not readable as YAML";
const TOO_LARGE: &str = "the document is too large, too deep (16 levels) or uses too many aliases (20)";

/// The first character that no editor shows and YAML has no use for.
pub(super) fn hidden(text: &str) -> Option<(usize, usize, char)> {
    let (mut line, mut column) = (1, 1);
    for c in text.chars() {
        if is_hidden(c) && c != '\n' && c != '\t' {
            return Some((line, column, c));
        }
        (line, column) = if c == '\n' {
            (line + 1, 1)
        } else {
            (line, column + 1)
        };
    }
    None
}

/// What no editor shows, or what makes one show something else: control characters, the byte order mark, what turns the
/// direction of text, what has no width. In a text in double quotes most of them can be written visibly, by their number after `\u`.
pub(crate) fn is_hidden(c: char) -> bool {
    is_harmful(c)
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Those of them that no text of a spec may hold, however it is written.
pub(super) fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The documents of a file, each with the number of lines before it. YAML allows `---` at the start of a line
/// nowhere but between documents, not even inside a quoted or a block text.
pub(super) fn pieces(text: &str) -> Vec<(usize, &str)> {
    let (mut pieces, mut from, mut from_line, mut at) = (Vec::new(), 0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker = line.strip_prefix("---");
        if marker.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n'])) && at > from {
            pieces.push((from_line, text.get(from..at).unwrap_or_default()));
            (from, from_line) = (at, number);
        }
        at += line.len();
    }
    pieces.push((from_line, text.get(from..).unwrap_or_default()));
    pieces.retain(|(_, piece)| {
        piece.lines().any(|line| {
            let line = line.strip_prefix("---").unwrap_or(line).trim();
            !(line.is_empty() || line.starts_with('#') || line == "...")
        })
    });
    pieces
}

/// One value of YAML with the places of what is in it.
#[derive(Debug)]
pub(super) enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<Node>, Spanned<Node>)>),
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
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = list.next_element()? {
            out.push(item);
        }
        Ok(Node::List(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut out = Vec::new();
        while let Some(entry) = map.next_entry()? {
            out.push(entry);
        }
        Ok(Node::Map(out))
    }
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: 16,
            max_nodes: 5_000,
            max_events: 20_000,
            max_aliases: 20,
            max_anchors: 20,
            max_documents: 1,
            max_total_scalar_bytes: MAX_BYTES,
            max_recorded_anchor_events: 2_000,
            max_recorded_anchor_bytes: MAX_BYTES,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: 2_000,
            max_replay_stack_depth: 4,
            max_alias_expansions_per_anchor: 20,
        },
        merge_keys: MergeKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// The tree of one document; `None` for one that says nothing.
pub(super) fn tree(path: &str, before: usize, piece: &str) -> Result<Option<Spanned<Node>>, Problem> {
    let said = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let first = piece.lines().enumerate().find(|(_, line)| said(line));
    if let Some((at, _)) = first.filter(|(_, line)| line.starts_with('%')) {
        return Err(Problem::error(
            path,
            (before + at + 1, 1),
            "directives (`%…`) are not read: remove the line",
        ));
    }
    if let Some((line, column, message)) = slip::unmerged(piece) {
        return Err(Problem::error(path, (before + line, column), &message));
    }
    let node: Spanned<Node> = serde_yaml::from_str_with_options(piece, options()).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| shift(0, &at));
        let message = explain(error.without_snippet());
        let slip = message
            .starts_with(UNREADABLE)
            .then(|| slip::behind(piece, line))
            .flatten();
        let (line, column, message) = slip.unwrap_or((line, column, message));
        Problem::error(path, (before + line, column), &message)
    })?;
    if let Some((line, column)) = tag(piece) {
        return Err(Problem::error(path, (before + line, column), TAGS));
    }
    Ok((!matches!(node.value, Node::Scalar(Value::Null))).then_some(node))
}

/// The first tag of a document that could be read. Those of YAML itself pass the deserializer, and `!!binary` would even
/// change the text.
fn tag(piece: &str) -> Option<(usize, usize)> {
    Parser::new_from_str(piece)
        .map_while(Result::ok)
        .find(|(event, _)| {
            matches!(
                event,
                Event::Scalar(.., Some(_))
                    | Event::SequenceStart(.., Some(_))
                    | Event::MappingStart(.., Some(_))
            )
        })
        .map(|(_, span)| (span.start.line(), span.start.col() + 1))
}

/// What to say of numbers that are written oddly, by the place of each: the deserializer reads some, and makes fractions of
/// others.
pub(super) fn odd_numbers(piece: &str) -> BTreeMap<(usize, usize), String> {
    Parser::new_from_str(piece)
        .map_while(Result::ok)
        .filter_map(|(event, span)| match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => {
                let said = slip::odd_number(&text)?;
                Some(((span.start.line(), span.start.col() + 1), said))
            }
            _ => None,
        })
        .collect()
}

/// What a parser's error says to an author, without a text of the file.
fn explain(error: &YamlError) -> String {
    match error {
        YamlError::DuplicateMappingKey { key: Some(key), .. } => {
            format!("`{key}` is written twice in one mapping: remove one")
        }
        YamlError::MergeKeyNotAllowed { .. } => "merge keys (`<<`) are not read: write the fields out".into(),
        YamlError::UnsupportedTag { .. } => TAGS.into(),
        YamlError::NonFiniteFloat { .. } => "must be a finite number, or a text in quotes".into(),
        YamlError::MultipleDocuments { .. } => "a further document must start with a line `---`".into(),
        YamlError::UnknownAnchor { .. } => {
            "`*…` refers to no anchor of this document: put the text in quotes if it is one".into()
        }
        YamlError::Budget { .. }
        | YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. } => TOO_LARGE.into(),
        other => {
            // A limit that is met while an alias is followed comes wrapped.
            let message = UserMessageFormatter.format_message(other);
            if message.contains("limits breached") || message.contains("recursion limit") {
                TOO_LARGE.into()
            } else {
                format!("{UNREADABLE}: {message}")
            }
        }
    }
}

pub(super) fn shift(before: usize, at: &serde_yaml::Location) -> (usize, usize) {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
    (before.saturating_add(number(at.line())), number(at.column()))
}
