//! Which lines of a file an excerpt may show. Here a document may be broken, so this judges lines, not fields, and hides
//! rather too many: a log of CI is read by more people than the repository.

use super::firewall::{has_secret, secret_word};
use crate::api::release::KeyRef;

/// Whether line `number`, from 1, may hold a secret or a part of one.
#[must_use]
pub fn hides(text: &str, number: usize) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let Some(index) = number.checked_sub(1).filter(|index| *index < lines.len()) else {
        return true;
    };
    let (above, rest) = lines.split_at(index);
    let line = rest.first().copied().unwrap_or_default();
    line.len() > LONGEST
        || has_secret(line)
        || told(line)
        || in_key(above)
        || in_secret(above, rest)
        || follows(above)
        || quoted(above)
        || below(above, line)
}

/// No excerpt is better for being longer, in bytes.
const LONGEST: usize = 1000;

/// A name that says so, with something behind it.
fn told(line: &str) -> bool {
    let ends = |c: char| c.is_whitespace() || ['{', ',', '"', '\'', '?'].contains(&c);
    line.char_indices()
        .filter(|(_, c)| [':', '='].contains(c))
        .any(|(at, _)| {
            let (before, after) = line.split_at(at);
            let name = before.trim_end_matches(['"', '\'', ' ']);
            let name = name.rsplit(ends).next().unwrap_or_default();
            let value = after.trim_start_matches([':', '=']).trim();
            named(name) && !value.is_empty() && !value.starts_with('#') && !is_reference(value)
        })
}

/// `secret: name/key` is where a value is, and `pullSecret` too; all else of such a name is one.
fn named(name: &str) -> bool {
    !["secret", "pullSecret", "onSecretChange"].contains(&name) && secret_word(name).is_some()
}

fn is_reference(value: &str) -> bool {
    let inner = value.strip_prefix('{').and_then(|inner| inner.split('}').next());
    inner
        .and_then(|inner| inner.split_once(':'))
        .is_some_and(|(kind, of)| match kind.trim() {
            "generate" | "field" => true,
            // A secret that was pasted here has no such form.
            "secret" | "config" => of.trim().trim_matches(['"', '\'']).parse::<KeyRef>().is_ok(),
            _ => false,
        })
}

/// Inside a private key.
fn in_key(above: &[&str]) -> bool {
    let last = |mark: &str| above.iter().rposition(|line| line.contains(mark));
    last("-----BEGIN") > last("-----END")
}

/// In a document of `kind: Secret`, whose values have any name.
fn in_secret(above: &[&str], rest: &[&str]) -> bool {
    let own = |line: &&&str| !line.starts_with("---");
    let is = |line: &&str| line.trim().trim_matches(['"', ',']).replace([' ', '"'], "") == "kind:Secret";
    let mut around = above
        .iter()
        .rev()
        .take_while(own)
        .chain(rest.iter().skip(1).take_while(own));
    around.any(is)
}

/// After `--password` as a word of its own, or after a name at the end of its line.
fn follows(above: &[&str]) -> bool {
    let mut before = above.iter().rev().map(|line| line.trim());
    let Some(line) = before.find(|line| !line.is_empty()) else {
        return false;
    };
    let last = line.rsplit([' ', '{', ',', '[']).find(|word| !word.is_empty());
    let name = last.unwrap_or_default().trim_matches(['"', '\'', ']']);
    match name.strip_suffix(':') {
        Some(name) => named(name.trim_matches(['"', '\''])),
        None => name.starts_with("--") && secret_word(name).is_some(),
    }
}

/// Within quotes that were opened after a name that says so.
fn quoted(above: &[&str]) -> bool {
    let (mut double, mut single) = (false, false);
    above.iter().rev().any(|line| {
        double ^= line.matches('"').count() % 2 == 1;
        single ^= line.matches('\'').count() % 2 == 1;
        (double || single) && (line.len() > LONGEST || told(line))
    })
}

/// Below a name that says so: a value of several lines.
fn below(above: &[&str], line: &str) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let empty = line.trim().is_empty();
    let mut within = if empty { usize::MAX } else { indent(line) };
    for line in above.iter().rev().filter(|line| !line.trim().is_empty()) {
        if indent(line) >= within {
            continue;
        }
        within = indent(line);
        let name = line.split(':').next().unwrap_or_default();
        if named(name.trim_matches(['-', ' ', '"', '\'', '?'])) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_with_a_secret_or_a_part_of_one_is_shown() {
        for (text, number) in [
            ("env:\n  DB_PASSWORD: hunter22\n", 2),
            ("env: {A: b, \"API_TOKEN\": hunter22}\n", 1),
            ("DB_PASSWORD: {secret: Hunter22/x}\n", 1),
            ("A: AKIAIOSFODNN7EXAMPLE\n", 1),
            (
                "A: |\n  -----BEGIN RSA PRIVATE KEY-----\n  aaaa\n  -----END RSA PRIVATE KEY-----\n",
                3,
            ),
            ("env:\n  DB_PASSWORD: |\n\n    hunter\n    22\n", 5),
            ("env:\n  DB_PASSWORD:\n    value:\n      hunter22\n", 4),
            ("args:\n  - --password\n  - hunter22\n", 3),
            ("args: [\"--password\",\n  \"hunter22\"]\n", 2),
            ("env: {A: b, DB_PASSWORD:\n  hunter22}\n", 2),
            ("env: {A: b, DB_PASSWORD: \"a\n\n  hunter22\"}\n", 3),
            ("env:\n  DB_PASSWORD: {secret: db/password, value: hunter22}\n", 2),
            ("args: [--password=hunter22]\n", 1),
            ("args: [-c, 'PGPASSWORD=hunter22 psql']\n", 1),
            ("kind: Secret\ndata:\n  url: aGVsbG8=\n", 3),
            ("data:\n  url: aGVsbG8=\nkind: \"Secret\"\n", 2),
            ("", 1),
            ("a\n", 2),
        ] {
            assert!(hides(text, number), "{text}");
        }
    }

    #[test]
    fn what_holds_none_is_shown() {
        for (text, number) in [
            ("spec:\n  replcias: 3\n", 2),
            ("env:\n  DATABASE_URL: {secret: Db/url}\n", 2),
            ("env:\n  DB_PASSWORD: \"a\"\n  A: 5\n", 3),
            ("env:\n  SECRET_KEY_BASE: {generate: base63/64}\n", 2),
            ("env:\n  SECRET_KEY_BASE: # see below\n", 2),
            ("pullSecret: Up_Per\n", 1),
            ("kind: Secret\ndata:\n  url: x\n", 1),
            ("kind: Secret\n---\nkind: Relase\n", 3),
            ("env:\n  DB_PASSWORD: {generate: hex/32}\n  A: 5\n", 3),
        ] {
            assert!(!hides(text, number), "{text}");
        }
    }
}
