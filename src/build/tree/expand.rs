//! Variables in a text of a Dockerfile: `$X`, `${X}`, `${X:-d}`, `${X-d}`, `${X:+d}`, `${X+d}`, and quotation marks.

use std::{iter::Peekable, str::Chars};

/// A longer text names no image and is no version: arguments that double each other must not fill the memory.
const LONGEST: usize = 512;
/// `${A:-${B:-…}}`
const DEEPEST: usize = 16;

/// What a variable is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    /// It has this value.
    Value(String),
    /// It has none.
    Unset,
    /// It has one that is only known when it is built, such as `TARGETARCH`.
    Later,
}

/// A text with the values of its variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expanded {
    /// The text. What is only known later stands in it as `${NAME}`.
    pub text: String,
    /// Variables without a value that it needed.
    pub unset: Vec<String>,
    /// Whether it says less than the build will know: a variable of the platform, a form that is not understood, or a text
    /// that is too long.
    pub open: bool,
}

/// Puts the values of variables in, and takes quotation marks away.
pub(super) fn expand(raw: &str, escape: char, of: &dyn Fn(&str) -> Given) -> Expanded {
    let mut reader = Reader {
        chars: raw.chars().peekable(),
        escape,
        of,
        found: Expanded::default(),
    };
    reader.found.text = reader.until(None, 0);
    reader.found
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    escape: char,
    of: &'a dyn Fn(&str) -> Given,
    found: Expanded,
}

impl Reader<'_> {
    fn until(&mut self, stop: Option<char>, depth: usize) -> String {
        let (mut out, mut quote) = (String::new(), None::<char>);
        loop {
            let Some(c) = self.chars.next() else {
                self.found.open |= stop.is_some();
                return out;
            };
            match quote {
                None if Some(c) == stop => return out,
                None if c == '"' || c == '\'' => quote = Some(c),
                Some(open) if c == open => quote = None,
                Some('\'') => self.push(&mut out, c.encode_utf8(&mut [0; 4])),
                _ if c == '$' => {
                    let value = self.variable(depth);
                    self.push(&mut out, &value);
                }
                None if c == self.escape => {
                    if let Some(next) = self.chars.next() {
                        self.push(&mut out, next.encode_utf8(&mut [0; 4]));
                    }
                }
                Some(_) if c == self.escape => {
                    let escape = self.escape;
                    let escaped = self.chars.next_if(|next| ['"', '$', escape].contains(next));
                    self.push(&mut out, escaped.unwrap_or(c).encode_utf8(&mut [0; 4]));
                }
                _ => self.push(&mut out, c.encode_utf8(&mut [0; 4])),
            }
        }
    }

    fn push(&mut self, out: &mut String, text: &str) {
        if out.len() + text.len() > LONGEST {
            self.found.open = true;
        } else {
            out.push_str(text);
        }
    }

    /// What follows a dollar sign.
    fn variable(&mut self, depth: usize) -> String {
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            return if name.is_empty() {
                "$".into()
            } else {
                self.value(&name)
            };
        }
        let name = self.name();
        let any_text = self.chars.next_if_eq(&':').is_none();
        match self.chars.next() {
            Some('}') if any_text && !name.is_empty() => self.value(&name),
            Some(kind @ ('-' | '+' | '?')) if depth < DEEPEST => {
                let before = self.found.unset.len();
                let word = self.until(Some('}'), depth + 1);
                let given = (self.of)(&name);
                let set = match &given {
                    Given::Value(value) => any_text || !value.is_empty(),
                    Given::Later => true,
                    Given::Unset => false,
                };
                if (kind == '+') != set {
                    // The word is not used, so nothing in it is missed.
                    self.found.unset.truncate(before);
                }
                match (kind, set) {
                    ('-', false) | ('+', true) => word,
                    ('+', false) => String::new(),
                    _ => self.value(&name),
                }
            }
            _ => {
                // Patterns, such as `${X#v}`, and what is no variable.
                self.found.open = true;
                while self.chars.next().is_some_and(|c| c != '}') {}
                String::new()
            }
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        name
    }

    fn value(&mut self, name: &str) -> String {
        match (self.of)(name) {
            Given::Value(value) => value,
            Given::Later => {
                self.found.open = true;
                format!("${{{name}}}")
            }
            Given::Unset => {
                self.found.unset.push(name.to_owned());
                String::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(raw: &str) -> Expanded {
        expand(raw, '\\', &|name| match name {
            "A" => Given::Value("1.2".into()),
            "EMPTY" => Given::Value(String::new()),
            "TARGETARCH" => Given::Later,
            _ => Given::Unset,
        })
    }

    #[test]
    fn each_form_of_a_variable_has_its_value_or_its_default() {
        for (raw, text) in [
            ("elixir:$A", "elixir:1.2"),
            ("elixir:${A}-slim", "elixir:1.2-slim"),
            ("x:${A:-3}", "x:1.2"),
            ("x:${B:-3}", "x:3"),
            ("x:${B-3}", "x:3"),
            ("x:${EMPTY:-3}", "x:3"),
            ("x:${EMPTY-3}", "x:"),
            ("x${A:+-slim}", "x-slim"),
            ("x${B:+-slim}", "x"),
            ("x${EMPTY+-slim}", "x-slim"),
            ("x${EMPTY:+-slim}", "x"),
            ("${B:-${C:-${A}}}", "1.2"),
            ("\"debian:$A\"", "debian:1.2"),
            ("'debian:$A'", "debian:$A"),
            ("a\\$A", "a$A"),
            ("costs $", "costs $"),
            ("${A?must be given}", "1.2"),
        ] {
            let found = with(raw);
            assert_eq!((found.text.as_str(), found.open), (text, false), "{raw}");
            assert_eq!(found.unset, Vec::<String>::new(), "{raw}");
        }
    }

    #[test]
    fn a_variable_without_a_value_is_named_only_where_it_is_needed() {
        assert_eq!(with("$B:${C}").unset, ["B", "C"]);
        assert_eq!(with("${A:-$B}").unset, Vec::<String>::new());
        assert_eq!(with("${B:+$C}").unset, Vec::<String>::new());
        assert_eq!(with("${B:-$C}").unset, ["C"]);
        assert_eq!(with("${B?}").unset, ["B"]);
    }

    #[test]
    fn what_is_known_later_or_not_understood_leaves_the_text_open() {
        let found = with("base-${TARGETARCH}");
        assert_eq!((found.text.as_str(), found.open), ("base-${TARGETARCH}", true));
        for raw in [
            "${A#v}", "${A/a/b}", "${", "${A", "${}", "${:-x}", "${A:x}", "${A:-",
        ] {
            assert!(with(raw).open || raw == "${:-x}", "{raw}");
        }
    }

    #[test]
    fn deep_and_long_texts_end() {
        let deep = "${B:-".repeat(10_000);
        assert!(with(&deep).open);
        let long = "$A".repeat(10_000);
        let found = with(&long);
        assert!(found.open && found.text.len() <= LONGEST);
    }
}
