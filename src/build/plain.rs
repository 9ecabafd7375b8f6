//! The lines of `--progress=plain`, as `util/progress/progressui` of BuildKit writes them (seen in 0.33).
//!
//! Every vertex of the build has a number, and its lines begin with it. Several run at once; one is shown at a time, and
//! whenever another is shown, its name comes first, after an empty line:
//!
//! ```text
//! #12 [builder 5/9] RUN mix deps.get         a name
//! #12 0.532 * Getting phoenix (Hex package)  what it printed, after so many seconds
//! #12 ...                                    another is shown from here
//!
//! #7 [stage-1 2/4] RUN apt-get update
//! #7 CACHED                                  or DONE 3.4s, CANCELED, ERROR: and why
//! ```

use crate::words::clean;

/// The most that is said of an instruction.
const WORDS: usize = 80;

/// What a line says of a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// It is this.
    Name(&'a str),
    /// It printed a line.
    Printed(&'a str),
    /// It was in the cache.
    Cached,
    /// It is done.
    Done,
    /// Another failed first.
    Canceled,
    /// It failed.
    Failed(&'a str),
    /// Something of its progress.
    Went,
}

/// The lines of vertices, and the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Of the vertex with this number.
    Of(u32, Said<'a>),
    /// Not of a vertex: an error at the end, an excerpt, what something else printed.
    Other(&'a str),
}

/// The lines of a log, of which the beginning may be missing.
pub(super) fn lines(log: &str) -> impl Iterator<Item = Line<'_>> {
    // Where its beginning is not missing, it begins with a name.
    let mut after_empty = log.starts_with("#0 ") || log.starts_with("#1 ");
    log.split('\n').map(move |line| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let named = std::mem::replace(&mut after_empty, line.is_empty());
        match numbered(line) {
            Some((number, rest)) => Line::Of(number, said(rest, named)),
            None => Line::Other(line),
        }
    })
}

/// `#12 rest` → 12, `rest`.
fn numbered(line: &str) -> Option<(u32, &str)> {
    let (number, rest) = line.strip_prefix('#')?.split_once(' ')?;
    // A sign would be read, too.
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    Some((number.parse().ok().filter(|_| digits)?, rest))
}

/// What stands behind the number. Only what is in brackets is known for a name wherever it stands: `exporting to image` looks
/// like `exporting layers`, which is a part of it.
fn said(rest: &str, may_be_name: bool) -> Said<'_> {
    match rest {
        "CACHED" => Said::Cached,
        "CANCELED" => Said::Canceled,
        "DONE" => Said::Done,
        "..." => Said::Went,
        _ if rest.starts_with("DONE ") => Said::Done,
        _ => {
            if let Some(why) = rest.strip_prefix("ERROR: ") {
                Said::Failed(why)
            } else if let Some(text) = printed(rest) {
                Said::Printed(text)
            } else if rest.starts_with('[') || may_be_name {
                Said::Name(rest)
            } else {
                Said::Went
            }
        }
    }
}

/// `0.532 text` → `text`. Of a line that was written over (`10%\r20%\r`), what stood there at last.
pub(super) fn printed(rest: &str) -> Option<&str> {
    let (seconds, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let (whole, part) = seconds.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = digits(whole) && digits(part) && part.len() <= 3;
    let last = text.rsplit('\r').find(|text| !text.is_empty());
    seconds.then(|| last.unwrap_or_default())
}

/// The name of a vertex, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// The stage, where it has one.
    pub(super) stage: Option<String>,
    /// Which instruction of so many of the stage: none where it is no instruction.
    pub(super) position: Option<(u32, u32)>,
    /// The instruction in one line.
    pub(super) words: String,
}

impl Name {
    /// `[linux/arm64 builder  5/12] RUN make`, `[2/4] COPY . .`, `[internal] load build context`, `exporting to image`.
    pub(super) fn new(name: &str) -> Self {
        let bracket = name.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        let (inside, words) = bracket.unwrap_or_default();
        let position = inside.split_whitespace().next_back().and_then(position);
        let Some(position) = position else {
            return Self {
                stage: None,
                position: None,
                words: one_line(name),
            };
        };
        // A platform has a slash in it, as a position has; a stage has none.
        let stage = inside.split_whitespace().find(|word| !word.contains('/'));
        Self {
            stage: stage.map(|stage| clean(stage, WORDS)),
            position: Some(position),
            words: one_line(words),
        }
    }
}

fn position(text: &str) -> Option<(u32, u32)> {
    let (number, of) = text.split_once('/')?;
    Some((number.parse().ok()?, of.parse().ok()?))
}

/// A RUN over many lines comes as one with all its blanks.
fn one_line(words: &str) -> String {
    // More than enough of a line that may be megabytes long.
    let start: Vec<&str> = words.split_whitespace().take(WORDS).collect();
    clean(&start.join(" "), WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_line_is_known() {
        for (line, said) in [
            (
                "#12 [builder 5/9] RUN mix deps.get",
                Said::Name("[builder 5/9] RUN mix deps.get"),
            ),
            ("#12 0.532 * Getting phoenix", Said::Printed("* Getting phoenix")),
            ("#12 12.34 DONE", Said::Printed("DONE")),
            ("#12 123.4 ", Said::Printed("")),
            ("#12 0.532", Said::Printed("")),
            ("#12 0.5 10%\r20%\r", Said::Printed("20%")),
            ("#12 ...", Said::Went),
            ("#12 CACHED", Said::Cached),
            ("#12 DONE 3.4s", Said::Done),
            ("#12 DONE", Said::Done),
            ("#12 CANCELED", Said::Canceled),
            ("#12 ERROR: exit code: 1", Said::Failed("exit code: 1")),
            ("#12 sha256:0123 1.05MB / 2.10MB 0.2s", Said::Went),
            ("#12 exporting layers 0.5s done", Said::Went),
            ("#12 WARN: something", Said::Went),
        ] {
            assert_eq!(lines(line).collect::<Vec<_>>(), [Line::Of(12, said)], "{line}");
        }
        for line in [
            "",
            "#",
            "#12",
            "#x y",
            "#+1 [a 1/1] RUN x",
            "# 12",
            "#99999999999 x",
            "error: failed",
        ] {
            assert_eq!(lines(line).collect::<Vec<_>>(), [Line::Other(line)], "{line}");
        }
    }

    #[test]
    fn a_name_without_brackets_is_known_by_the_empty_line_before_it() {
        let log = "#3 DONE 0.1s\n\n#20 exporting to image\r\n#20 exporting layers\n";
        let names: Vec<_> = lines(log)
            .filter(|line| matches!(line, Line::Of(_, Said::Name(_))))
            .collect();
        assert_eq!(names, [Line::Of(20, Said::Name("exporting to image"))]);
    }

    #[test]
    fn names_are_taken_apart() {
        let name = |stage: Option<&str>, position, words: &str| Name {
            stage: stage.map(str::to_owned),
            position,
            words: words.to_owned(),
        };
        for (text, expected) in [
            (
                "[builder  5/12] RUN make",
                name(Some("builder"), Some((5, 12)), "RUN make"),
            ),
            ("[ 2/10] COPY . .", name(None, Some((2, 10)), "COPY . .")),
            (
                "[linux/amd64->arm64 builder 1/2] FROM docker.io/library/elixir",
                name(Some("builder"), Some((1, 2)), "FROM docker.io/library/elixir"),
            ),
            ("[linux/arm64 2/2] RUN x", name(None, Some((2, 2)), "RUN x")),
            (
                "[stage-1 2/4] RUN apt-get update &&     apt-get install -y  git",
                name(
                    Some("stage-1"),
                    Some((2, 4)),
                    "RUN apt-get update && apt-get install -y git",
                ),
            ),
            (
                "[internal] load build context",
                name(None, None, "[internal] load build context"),
            ),
            ("exporting to image", name(None, None, "exporting to image")),
            ("[", name(None, None, "[")),
        ] {
            assert_eq!(Name::new(text), expected, "{text}");
        }
    }

    #[test]
    fn the_words_of_an_instruction_are_one_short_harmless_line() {
        let long = Name::new(&format!("[1/2] RUN \u{1b}[31m{}", "x ".repeat(1 << 20)));
        assert_eq!(long.words.chars().count(), WORDS);
        assert!(long.words.chars().all(|c| !c.is_control()));
    }
}
