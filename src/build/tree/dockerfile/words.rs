//! Words of an instruction: quotation marks and escapes as BuildKit reads them.

/// A word as it is written, with its quotation marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word<'a> {
    /// Where it begins in the text.
    pub at: usize,
    pub raw: &'a str,
}

/// The words of a text, and whether all quotation marks were closed.
pub(crate) fn split(text: &str, escape: char) -> (Vec<Word<'_>>, bool) {
    let (mut words, mut start, mut quote) = (Vec::new(), None, None::<char>);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                words.extend(start.take().and_then(|start| word(text, start, at)));
                continue;
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open => quote = None,
            None | Some('"') if c == escape => {
                chars.next();
            }
            _ => {}
        }
        start.get_or_insert(at);
    }
    words.extend(start.and_then(|start| word(text, start, text.len())));
    (words, quote.is_none())
}

fn word(text: &str, at: usize, end: usize) -> Option<Word<'_>> {
    let raw = text.get(at..end)?;
    Some(Word { at, raw })
}

/// The text without its quotation marks and escapes. Variables stay as they are.
pub(crate) fn unquoted(raw: &str, escape: char) -> String {
    let (mut out, mut quote) = (String::new(), None::<char>);
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open => quote = None,
            None if c == escape => out.extend(chars.next()),
            Some('"') if c == escape => {
                let escaped = chars.next_if(|next| ['"', '$', escape].contains(next));
                out.push(escaped.unwrap_or(c));
            }
            _ => out.push(c),
        }
    }
    out
}

/// The flags at the start of a text, each with its name and value, and where what follows them begins.
pub(super) fn flags(text: &str) -> (Vec<(String, String)>, usize) {
    let (mut flags, mut rest) = (Vec::new(), 0);
    loop {
        let after = text.get(rest..).unwrap_or_default();
        let start = rest + (after.len() - after.trim_start().len());
        let after = text.get(start..).unwrap_or_default();
        if !after.starts_with("--") {
            return (flags, start);
        }
        let end = end_of_word(after);
        let flag = unquoted(after.get(2..end).unwrap_or_default(), '\\');
        rest = start + end;
        // `--` alone ends the flags.
        if flag.is_empty() {
            let after = text.get(rest..).unwrap_or_default();
            return (flags, rest + (after.len() - after.trim_start().len()));
        }
        let (name, value) = flag.split_once('=').unwrap_or((&flag, ""));
        flags.push((name.to_owned(), value.to_owned()));
    }
}

/// Where the word ends that a text begins with.
fn end_of_word(text: &str) -> usize {
    let (mut quote, mut chars) = (None::<char>, text.char_indices());
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return at,
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    text.len()
}

/// What opens a here-document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub name: String,
    /// Tabs at the start of its lines are none of it.
    pub tabs: bool,
}

/// Everything in the arguments of an instruction that opens a here-document.
pub(super) fn openings(text: &str) -> Vec<Opening> {
    if !text.contains("<<") {
        return Vec::new();
    }
    let (words, closed) = split(text, '\\');
    if !closed {
        return Vec::new();
    }
    words.iter().filter_map(|word| opening(word.raw)).collect()
}

fn opening(word: &str) -> Option<Opening> {
    let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = word.strip_prefix("<<")?;
    let (tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let name = unquoted(rest, '\\');
    (!rest.contains('<') && !name.is_empty()).then_some(Opening { name, tabs })
}

/// The words of the exec form: a list of texts in JSON.
pub(super) fn exec(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    text.starts_with('[')
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}
