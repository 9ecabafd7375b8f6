//! What is said about a source tree: one sentence each, that never repeats what may be a secret.

use crate::spec::{firewall, is_hidden};

/// More are not told: whoever has mended these builds again.
const MOST: usize = 100;
/// Names and texts of others are cut to so many characters in a sentence.
const SHOWN: usize = 80;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Worth knowing.
    Told,
    /// Probably a mistake.
    Warned,
    /// Nothing is built.
    Refused,
}

/// Something about a source tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The line, from 1, where it is about one.
    pub line: Option<u32>,
    /// The file, from the root of the repository.
    pub file: String,
    /// Which rule found it; never changes, so that other programs may know it.
    pub rule: &'static str,
    /// How much it weighs.
    pub weight: Weight,
    /// What, and what to do.
    pub words: String,
}

/// Findings on their way.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
}

/// A place of a file.
pub(super) type Place<'a> = (&'a str, Option<u32>);

impl Findings {
    pub fn add(&mut self, weight: Weight, rule: &'static str, (file, line): Place<'_>, words: String) {
        // The last line of defence: what has the form of a secret is not repeated, wherever it came from.
        let words = if firewall::has_secret(&words) {
            "something here is not as it should be; it is not shown, since it has the form of a secret".into()
        } else {
            words
        };
        self.list.push(Finding {
            line,
            file: shown(file),
            rule,
            weight,
            words,
        });
    }

    pub fn refuse(&mut self, rule: &'static str, place: Place<'_>, words: String) {
        self.add(Weight::Refused, rule, place, words);
    }

    pub fn warn(&mut self, rule: &'static str, place: Place<'_>, words: String) {
        self.add(Weight::Warned, rule, place, words);
    }

    pub fn tell(&mut self, rule: &'static str, place: Place<'_>, words: String) {
        self.add(Weight::Told, rule, place, words);
    }

    /// Heaviest first, each one once, and no more than somebody reads.
    pub fn done(mut self) -> Vec<Finding> {
        let key = |finding: &Finding| {
            (
                std::cmp::Reverse(finding.weight),
                finding.file.clone(),
                finding.line,
            )
        };
        self.list.sort_by_cached_key(key);
        self.list.dedup();
        let more = self.list.len().saturating_sub(MOST);
        self.list.truncate(MOST);
        if more > 0 {
            let last = self.list.last();
            let (weight, file) = last.map_or((Weight::Told, String::new()), |last| {
                (last.weight, last.file.clone())
            });
            self.list.push(Finding {
                line: None,
                file,
                rule: "more",
                weight,
                words: format!("there are {more} findings more: mend these first"),
            });
        }
        self.list
    }
}

/// A name or text of others, harmless in a sentence.
pub(super) fn shown(text: &str) -> String {
    let plain: String = text
        .chars()
        .take(SHOWN)
        .map(|c| if is_hidden(c) { '\u{fffd}' } else { c })
        .collect();
    if firewall::has_secret(&plain) || firewall::token(text).is_some() {
        return "…".into();
    }
    if text.chars().nth(SHOWN).is_some() {
        return plain + "…";
    }
    plain
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_form_of_a_secret_is_never_repeated() {
        let token = format!("ghp_{}", "a1B2c3D4e5".repeat(4));
        assert_eq!(shown(&token), "…");
        assert_eq!(shown("postgres://a:hunter22@db/x"), "…");
        let mut findings = Findings::default();
        findings.tell("x", ("Dockerfile", None), format!("see {token}"));
        assert!(!findings.done().pop().unwrap().words.contains("ghp_"));
    }

    #[test]
    fn texts_of_others_are_short_and_move_no_cursor() {
        assert_eq!(shown("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb\u{fffd}c");
        assert_eq!(shown(&"x".repeat(200)).chars().count(), SHOWN + 1);
    }

    #[test]
    fn the_heaviest_come_first_and_there_is_an_end() {
        let mut findings = Findings::default();
        for line in 0..300 {
            findings.tell("x", ("a", Some(line)), "y".into());
            findings.tell("x", ("a", Some(line)), "y".into());
        }
        findings.refuse("z", ("b", Some(3)), "w".into());
        let found = findings.done();
        assert_eq!(found.first().unwrap().weight, Weight::Refused);
        assert_eq!(found.len(), MOST + 1);
        assert!(found.last().unwrap().words.contains("201 findings more"));
    }

    #[test]
    fn names_are_listed_as_people_do() {
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b"]), "a and b");
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
    }
}
