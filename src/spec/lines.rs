//! What no field of a spec holds: remarks, documents of other programs, texts that are no YAML. A key that stands there is in
//! git as any other is.
//!
//! In a remark it is a warning: nothing is made of it, so no release waits for it. Elsewhere the document is refused anyway.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::granit_parser::{Event, Parser};

use super::{document::Problem, firewall, yaml::pieces};

/// How the values of a document were judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Each by itself.
    Values,
    /// As a whole: it is a Secret, or encrypted.
    Whole,
}

/// As many findings of one file are enough to know what is wrong with it.
const MOST: usize = 100;

/// What the lines of a text hold, without those that are `told` already: what is wrong, and what may be. `seen` is by the
/// number of lines before a document.
pub(super) fn look(
    path: &str,
    text: &str,
    seen: &BTreeMap<usize, Seen>,
    told: &BTreeSet<usize>,
) -> (Vec<Problem>, Vec<Problem>) {
    let lines: Vec<&str> = text.lines().collect();
    // Of what is not read as a document: each line as it is.
    let mut parts: Vec<Option<(usize, &str, &str)>> = lines
        .iter()
        .map(|line| {
            let (said, remark) = split(line);
            Some((said.chars().count(), said, remark))
        })
        .collect();
    for (before, piece) in pieces(text) {
        let Some(seen) = seen.get(&before) else { continue };
        for part in parts.iter_mut().skip(before).take(piece.lines().count()) {
            *part = None;
        }
        if *seen == Seen::Whole {
            continue;
        }
        for (line, column) in remarks(piece) {
            let whole = lines.get(before + line - 1).copied().unwrap_or_default();
            let at = whole.char_indices().nth(column).map_or(whole.len(), |(at, _)| at);
            if let Some(part) = parts.get_mut(before + line - 1) {
                *part = whole.get(at..).map(|remark| (column, "", remark));
            }
        }
    }
    let (mut wrong, mut doubtful) = (Vec::new(), Vec::new());
    let all = parts.into_iter().enumerate();
    for (index, (before, said, remark)) in all.filter_map(|(index, part)| Some((index, part?))) {
        let open = |line: &&str| line.contains("public: true");
        let near = lines.iter().skip(index.saturating_sub(1)).take(3).any(open);
        if told.contains(&(index + 1)) || near || wrong.len() + doubtful.len() > MOST {
            continue;
        }
        let problem = |column: usize, message: &str| Problem {
            secret: true,
            ..Problem::error(path, (index + 1, column + 1), message)
        };
        wrong.extend(firewall::in_line(said, false).into_iter().map(|found| {
            let message = format!("looks like a secret ({}): {REMEDY}", found.what);
            problem(found.before, &message)
        }));
        doubtful.extend(firewall::in_line(remark, true).into_iter().map(|found| {
            let message = format!(
                "a remark holds what looks like a secret ({}): {REMEDY}",
                found.what
            );
            problem(before + found.before, &message)
        }));
    }
    (wrong, doubtful)
}

const REMEDY: &str =
    "it cannot stand here: remove it, and change it where it is used, since git keeps history";

/// A line, and the remark at its end.
fn split(line: &str) -> (&str, &str) {
    let begins = |(at, _): &(usize, &str)| {
        let before = line.get(..*at).unwrap_or_default();
        before.is_empty() || before.ends_with(char::is_whitespace)
    };
    let at = line
        .match_indices('#')
        .find(begins)
        .map_or(line.len(), |(at, _)| at);
    line.split_at(at)
}

/// Where the remarks of a document begin: line, from 1, and characters before each.
fn remarks(piece: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for event in Parser::new_from_str(piece) {
        match event {
            Ok((Event::Comment(..), span)) => found.push((span.start.line(), span.start.col())),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::file::File;

    const HEAD: &str =
        "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: a, namespace: shop}\nspec:\n";

    /// What is wrong, and what may be, each with its place.
    fn told(text: &str) -> (Vec<String>, Vec<String>) {
        let file = File::read("a.yaml", text.as_bytes());
        let all = |problems: &[super::Problem]| {
            problems
                .iter()
                .map(|problem| {
                    let said = problem.to_string();
                    assert!(
                        !said.contains("hunter22") && !said.contains("IOSFODNN7"),
                        "{said}"
                    );
                    said.replacen("a.yaml:", "", 1)
                })
                .collect()
        };
        (all(&file.problems), all(&file.warnings))
    }

    #[test]
    fn a_secret_in_a_remark_is_a_warning_wherever_the_remark_stands() {
        let many = "# words\n".repeat(300);
        for (text, place) in [
            (
                format!("{HEAD}  # old: postgres://app:hunter22@db/x\n  port: 80\n"),
                "5:10",
            ),
            (format!("{HEAD}  port: 80 # AKIAIOSFODNN7EXAMPLE\n"), "5:14"),
            (format!("# AKIAIOSFODNN7EXAMPLE\n{HEAD}  port: 80\n"), "1:3"),
            (
                format!("{many}# AKIAIOSFODNN7EXAMPLE\n{HEAD}  port: 80\n"),
                "301:3",
            ),
            (
                format!("{HEAD}  port: 80\n{many}# AKIAIOSFODNN7EXAMPLE\n"),
                "306:3",
            ),
            ("# AKIAIOSFODNN7EXAMPLE\n".to_owned(), "1:3"),
            (format!("{HEAD}  port: 80\n---\n# AKIAIOSFODNN7EXAMPLE\n"), "7:3"),
        ] {
            let (wrong, doubtful) = told(&text);
            assert_eq!(wrong, [] as [&str; 0], "{text}");
            assert_eq!(doubtful.len(), 1, "{text}");
            let start = format!("{place}: a remark holds what looks like a secret (");
            assert!(doubtful[0].starts_with(&start), "{doubtful:?}");
            assert!(doubtful[0].contains("characters") && doubtful[0].contains("git keeps history"));
        }
    }

    #[test]
    fn what_explains_a_form_and_what_is_a_text_is_no_remark_with_a_secret() {
        for text in [
            "  # postgres://user:password@host/db\n  # postgres://app:$(X)@db, postgres://app:${X}@db\n",
            "  env:\n    A: {value: AKIAIOSFODNN7EXAMPLE, public: true}\n",
            "  env:\n    A:\n      value: |\n        # AKIAIOSFODNN7EXAMPLE\n      public: true\n",
        ] {
            assert_eq!(told(&format!("{HEAD}{text}")), (vec![], vec![]), "{text}");
        }
    }

    #[test]
    fn a_secret_that_is_told_by_its_field_is_not_told_again() {
        for text in [
            "  env: {A: AKIAIOSFODNN7EXAMPLE}\n",
            "  env:\n    A: |\n      one\n      # AKIAIOSFODNN7EXAMPLE\n",
            "  command: [psql, postgres://app:hunter22@db/x] # postgres://app:hunter22@db/x\n",
        ] {
            let (wrong, doubtful) = told(&format!("{HEAD}{text}"));
            assert_eq!((wrong.len(), doubtful.len()), (1, 0), "{wrong:?} {doubtful:?}");
        }
    }

    #[test]
    fn what_is_not_read_as_a_spec_is_searched_all_the_same() {
        let config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  url: \"postgres://a:hunter22@db/x\"\n";
        let annotated = HEAD.replace("shop}", "shop, annotations: {a: AKIAIOSFODNN7EXAMPLE}}");
        let broken = format!("{HEAD}  env:\n    A: AKIAIOSFODNN7EXAMPLE\n   B: x\n");
        for (text, place) in [
            (config.to_owned(), "5:9"),
            (format!("{annotated}  port: 80\n"), "3:55"),
            (broken, "6:8"),
            ("- AKIAIOSFODNN7EXAMPLE\n".to_owned(), "1:3"),
        ] {
            let (wrong, _) = told(&text);
            let found: Vec<_> = wrong
                .iter()
                .filter(|said| said.contains("looks like a secret"))
                .collect();
            assert_eq!(found.len(), 1, "{wrong:?}");
            assert!(wrong.len() > 1 && found[0].starts_with(place), "{wrong:?}");
        }
        // Names are judged there, too, where the spec can be read.
        let nameless = HEAD.replace("name: a, ", "");
        let (wrong, _) = told(&format!(
            "{nameless}  env: {{DB_PASSWORD: hunter22, A: {{value: AKIAIOSFODNN7EXAMPLE, public: true}}}}\n"
        ));
        assert!(
            wrong.len() == 2 && wrong[1].starts_with("5:9: looks like a secret (a literal under"),
            "{wrong:?}"
        );
        let latin = [b"# \xe4\nurl: postgres://a:hunter22@db/x\n".as_slice()].concat();
        assert_eq!(File::read("a.yaml", &latin).problems.len(), 2);
    }

    #[test]
    fn documents_that_are_secrets_or_encrypted_are_told_as_a_whole() {
        for text in [
            "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData:\n  a: AKIAIOSFODNN7EXAMPLE\n",
            "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nspec:\n  a: AKIAIOSFODNN7EXAMPLE\n",
            "apiVersion: v1\nkind: Secret\nstringData:\n  a: AKIAIOSFODNN7EXAMPLE\nsops: {mac: x}\n",
        ] {
            let (wrong, doubtful) = told(text);
            assert_eq!((wrong.len(), doubtful.len()), (1, 0), "{wrong:?}");
            assert_eq!(
                wrong[0].contains("rotate"),
                !text.contains("sops") && !text.contains("Sealed"),
                "{wrong:?}"
            );
        }
    }
}
