//! What is known of failures that people meet again and again: a log → what it means and what to do.
//!
//! The entries are data (`hints.yaml`), each with a source that shows its message and lines that must and must not match. A
//! pattern is what stands in the message, with `…` for what differs from case to case, so that it reads like the message,
//! needs no engine of expressions, and cannot take longer than the log is long. A hint is said as it is written there:
//! nothing of a log, where a secret may stand, gets into it.

use std::sync::LazyLock;

use serde::Deserialize;

static KNOWN: LazyLock<Vec<Hint>> = LazyLock::new(|| {
    // Compiled in, and a test reads it: no hints is what is left if that were ever wrong.
    serde_yaml::from_str(include_str!("hints.yaml")).unwrap_or_default()
});

/// How many are said at most: more than three guesses help nobody.
const MOST: usize = 3;

/// How much of the end of a log is looked at: a failure is told at the end, and this costs some milliseconds.
const TAIL: usize = 64 * 1024;

/// … and of how many lines that say something.
const LINES: usize = 2000;

/// How much of a line is looked at; a stack trace in one line of JSON comes after the message.
const LINE: usize = 4 * 1024;

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum At {
    /// BuildKit's, with what the steps printed.
    Build,
    /// That of a migration.
    Migration,
    /// That of a process of the application, or what the kubelet says of its container.
    Rollout,
}

/// A known failure.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, serde(deny_unknown_fields))]
pub struct Hint {
    /// A unique word for it.
    pub name: String,
    /// In whose logs it is looked for.
    at: Vec<At>,
    /// Any of these in one line.
    pattern: Vec<Pattern>,
    /// And this nowhere in what is looked at.
    unless: Option<Pattern>,
    /// What it means and what to do: a sentence or two.
    pub hint: String,
    /// Where it is described: the address of a page.
    pub source: String,
    /// Whether it comes from outside and may be gone in a minute, so that the same may be tried again.
    #[serde(default)]
    pub passing: bool,
    /// Whether it is said only where nothing more exact is known.
    #[serde(default)]
    general: bool,
    #[cfg(test)]
    example: Vec<String>,
    #[cfg(test)]
    #[serde(default)]
    counter: Vec<String>,
    #[cfg(test)]
    #[serde(default)]
    also: Vec<String>,
}

impl Hint {
    fn is_in(&self, line: &str) -> bool {
        self.pattern.iter().any(|pattern| pattern.is_in(line))
    }
}

/// What the end of a log shows: at most three, and of these the one first that was printed last.
///
/// Takes time that depends on the length of the last 64 KiB alone. Only lines that were printed whole are told apart: a
/// message over two lines is known by one of them.
#[must_use]
pub fn hints(at: At, log: &str) -> Vec<&'static Hint> {
    let lines = last_lines(log);
    let mut found: Vec<(usize, &Hint)> = KNOWN
        .iter()
        .filter(|hint| hint.at.contains(&at))
        .filter_map(|hint| Some((lines.iter().position(|line| hint.is_in(line))?, hint)))
        .filter(|(_, hint)| {
            let unless = hint.unless.as_ref();
            !unless.is_some_and(|unless| lines.iter().any(|line| unless.is_in(line)))
        })
        .collect();
    let exact = found.iter().any(|(_, hint)| !hint.general);
    found.retain(|(_, hint)| !(exact && hint.general));
    // Stable: where one line shows two, they come in the order of the file.
    found.sort_by_key(|(line, _)| *line);
    found.into_iter().take(MOST).map(|(_, hint)| hint).collect()
}

/// The last lines, the very last one first, as patterns want them: in lower case, without colours, not too long.
fn last_lines(log: &str) -> Vec<String> {
    let mut left = TAIL;
    let mut lines = Vec::new();
    for line in log.rsplit('\n') {
        let line = start(line, LINE.min(left));
        left = left.saturating_sub(line.len() + 1);
        if !line.trim().is_empty() {
            lines.push(plain(line));
        }
        if left == 0 || lines.len() == LINES {
            break;
        }
    }
    lines
}

/// At most the first `most` bytes, up to a whole character.
fn start(text: &str, most: usize) -> &str {
    let most = most.min(text.len());
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

/// In lower case, and without the sequences that colour words in the middle of a message.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut pieces = line.split("\u{1b}[");
    text.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        text.push_str(
            piece
                .trim_start_matches(|c: char| c.is_ascii_digit() || c == ';')
                .get(1..)
                .unwrap_or_default(),
        );
    }
    text.make_ascii_lowercase();
    text
}

/// What a line must have, one after the other; written with `…` between, and spaces around that as they read well.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
struct Pattern(Vec<String>);

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self(
            text.to_ascii_lowercase()
                .split('…')
                .map(|part| part.trim().to_owned())
                .collect(),
        )
    }
}

impl Pattern {
    fn is_in(&self, line: &str) -> bool {
        let mut rest = line;
        self.0.iter().all(|part| {
            let after = rest.split_once(part.as_str()).map(|(_, after)| after);
            rest = after.unwrap_or_default();
            after.is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Instant};

    use super::*;

    /// What keeps its capital.
    const NAMES: [&str; 11] = [
        "Django",
        "Ecto",
        "Flyway",
        "Hex",
        "Knex",
        "Kubernetes",
        "Liquibase",
        "Next",
        "Node",
        "Prisma",
        "Vite",
    ];

    fn known() -> Vec<Hint> {
        serde_yaml::from_str(include_str!("hints.yaml")).unwrap()
    }

    fn names(at: At, log: &str) -> Vec<&'static str> {
        hints(at, log).iter().map(|hint| hint.name.as_str()).collect()
    }

    fn fits(hint: &Hint, line: &str) -> bool {
        let line = plain(line);
        hint.is_in(&line) && !hint.unless.as_ref().is_some_and(|unless| unless.is_in(&line))
    }

    #[test]
    fn the_file_is_read_whole() {
        assert_eq!(*KNOWN, known());
        assert!(KNOWN.len() >= 100, "{}", KNOWN.len());
    }

    #[test]
    fn names_are_unique_words_with_dashes() {
        let known = known();
        let names: BTreeSet<&str> = known.iter().map(|hint| hint.name.as_str()).collect();
        assert_eq!(names.len(), known.len());
        for name in names {
            let word = |part: &str| {
                !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
            };
            assert!(name.split('-').all(word), "{name}");
        }
    }

    #[test]
    fn every_hint_is_short_and_has_a_page_that_shows_its_message() {
        for hint in known() {
            assert!(!hint.at.is_empty(), "{}", hint.name);
            assert!(
                (40..=300).contains(&hint.hint.chars().count()),
                "{}: {}",
                hint.name,
                hint.hint.chars().count()
            );
            assert!(
                hint.hint.ends_with('.') && !hint.hint.contains('\n'),
                "{}",
                hint.name
            );
            let first = hint.hint.split(' ').next().unwrap();
            let name = first.chars().filter(|c| c.is_uppercase()).count() > 1
                || NAMES.iter().any(|name| first.starts_with(name));
            assert!(
                name || !first.starts_with(char::is_uppercase),
                "{}: {first}",
                hint.name
            );
            let host = hint.source.strip_prefix("https://").unwrap_or_default();
            assert!(host.contains('.') && !host.contains(' '), "{}", hint.name);
        }
    }

    #[test]
    fn every_pattern_is_met_by_an_example_and_no_counterexample_matches() {
        for hint in known() {
            for line in &hint.example {
                assert!(fits(&hint, line), "{}: {line}", hint.name);
            }
            for pattern in &hint.pattern {
                assert!(
                    pattern.0.iter().all(|part| part.len() >= 2),
                    "{}: {pattern:?}",
                    hint.name
                );
                let longest = pattern.0.iter().map(String::len).max().unwrap();
                assert!(longest >= 5, "{}: {pattern:?} would be met by chance", hint.name);
                let met = hint.example.iter().any(|line| pattern.is_in(&plain(line)));
                assert!(met, "{}: no example for {pattern:?}", hint.name);
            }
            for line in &hint.counter {
                assert!(!fits(&hint, line), "{}: {line}", hint.name);
            }
        }
    }

    #[test]
    fn no_entry_matches_an_example_of_another_that_does_not_say_so() {
        let known = known();
        for hint in &known {
            let mut met = BTreeSet::new();
            for other in known.iter().filter(|other| other.name != hint.name) {
                let together = other.at.iter().any(|at| hint.at.contains(at));
                if together && hint.example.iter().any(|line| fits(other, line)) {
                    met.insert(other.name.clone());
                }
            }
            assert_eq!(met, hint.also.iter().cloned().collect(), "{}", hint.name);
        }
    }

    #[test]
    fn the_failure_that_was_printed_last_is_said_first_and_three_are_enough() {
        let log = "npm error ERESOLVE could not resolve\n\
            npm error code E404\n\
            npm error code E401\n\
            and so on\n\
            #9 ERROR: toomanyrequests: Rate exceeded\n";
        assert_eq!(
            names(At::Build, log),
            ["registry-rate-limit", "npm-credentials", "npm-not-found"]
        );
        assert_eq!(names(At::Rollout, log), Vec::<&str>::new());
        assert_eq!(names(At::Build, ""), Vec::<&str>::new());
    }

    #[test]
    fn a_repeated_failure_is_said_once() {
        let log = "FATAL:  sorry, too many clients already\n".repeat(100);
        assert_eq!(names(At::Rollout, &log), ["database-connections"]);
    }

    #[test]
    fn what_is_general_is_said_only_where_nothing_more_exact_is_known() {
        let general = "Kernel pid terminated (application_controller) (\"{application_start_failure,shop";
        assert_eq!(names(At::Rollout, general), ["beam-application-failed"]);
        let log = format!("** (RuntimeError) environment variable DATABASE_URL is missing.\n{general}");
        assert_eq!(names(At::Rollout, &log), ["elixir-variable-missing"]);
    }

    #[test]
    fn another_line_can_take_a_hint_back() {
        let local = "   - Local:         http://localhost:3000\n";
        assert_eq!(names(At::Rollout, local), ["next-on-localhost"]);
        let both = format!("{local}   - Network:       http://0.0.0.0:3000\n");
        assert_eq!(names(At::Rollout, &both), Vec::<&str>::new());
    }

    #[test]
    fn the_same_message_means_another_thing_in_another_log() {
        let log = "** (RuntimeError) environment variable SECRET_KEY_BASE is missing.";
        assert_eq!(names(At::Build, log), ["elixir-variable-missing-at-build"]);
        assert_eq!(names(At::Migration, log), ["elixir-variable-missing"]);
    }

    #[test]
    fn colours_and_json_are_no_hindrance() {
        let log = "\u{1b}[31mnpm\u{1b}[0m \u{1b}[1;91merror\u{1b}[39m code \u{1b}[35mE404\u{1b}[0m";
        assert_eq!(names(At::Build, log), ["npm-not-found"]);
        let log = r#"{"level":"error","msg":"relation \"orders\" already exists","stack":"…"}"#;
        assert_eq!(names(At::Migration, log), ["relation-exists"]);
    }

    #[test]
    fn hostile_logs_are_quick_and_harmless() {
        let message = "Error: listen EADDRINUSE: address already in use :::3000";
        let long = "ä".repeat(5 << 20);
        let logs = [
            long.clone(),
            format!("{message}\n{long}"),
            "\n".repeat(10 << 20),
            "a\n".repeat(5 << 20),
            "\u{1b}[".repeat(5 << 20),
            "\u{1b}[1;31".repeat(1 << 20),
            "\u{1b}[ä\u{1b}[…\u{1b}".to_owned(),
            "\0\r\u{7f}\u{85}\u{2028}\u{202e}\u{feff}".repeat(1 << 18),
            "tcp connect ".repeat(1 << 20),
            "failed to mount failed to mount ".repeat(1 << 19),
        ];
        for log in &logs {
            let begun = Instant::now();
            for at in [At::Build, At::Migration, At::Rollout] {
                assert!(hints(at, log).len() <= MOST);
            }
            // On a busy machine and without optimisation; it is a question of linear or not.
            assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
        }
        assert_eq!(names(At::Rollout, &format!("{message}\n{long}")), ["port-in-use"]);
        assert_eq!(names(At::Rollout, &format!("{message} {long}")), ["port-in-use"]);
        assert_eq!(
            names(At::Rollout, &format!("{message}\n{}", "\n".repeat(TAIL))),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn a_cut_never_goes_through_a_character() {
        assert_eq!(start("aä", 2), "a");
        assert_eq!(start("aä", 3), "aä");
        assert_eq!(start("…", 2), "");
    }

    #[test]
    fn nothing_of_a_log_is_said() {
        let secret = "postgres://shop:hunter2@db/shop";
        let log = format!("FATAL:  password authentication failed for user \"{secret}\"");
        let said = hints(At::Migration, &log);
        assert_eq!(said.len(), 1);
        assert!(said.iter().all(|hint| !format!("{hint:?}").contains("hunter2")));
    }
}
