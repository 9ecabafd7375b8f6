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
        || login(line)
        || in_env(above, line)
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

/// `user:password@host`, with a scheme or without.
fn login(line: &str) -> bool {
    line.split_whitespace().any(|word| {
        let word = word.split_once("://").map_or(word, |(_, rest)| rest);
        word.rsplit_once('@')
            .is_some_and(|(before, after)| before.contains(':') && !after.starts_with("sha256:"))
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

/// A value of `env`, or of what may be a misspelt one, that is more than a number or a switch, under whatever name.
fn in_env(above: &[&str], line: &str) -> bool {
    let within = holds_values(line) || enclosing(above, line).any(holds_values);
    let value = line.split_once(':').map_or(line, |(_, value)| value).trim();
    // One with a mistake in it, which is what is to be shown.
    let points = ["{secret:", "{config:"]
        .iter()
        .any(|kind| value.starts_with(kind));
    within && value.len() > 5 && !value.starts_with('#') && !points && !is_reference(value)
}

/// Fields whose values may be secrets under any name, with as many slips of the pen as leave no other word; `value` is that of
/// a variable, as a Pod has it.
const VALUES: [(&str, usize); 6] = [
    ("env", 1),
    ("environment", 2),
    ("files", 1),
    ("headers", 0),
    ("secrets", 0),
    ("value", 0),
];

fn holds_values(line: &str) -> bool {
    let plain = |key: &str| key.trim_matches(['-', ' ', '"', '\'', '?', '{']).to_lowercase();
    let near = |key: &str| {
        let mut all = VALUES.iter();
        all.any(|(known, slips)| strsim::damerau_levenshtein(key, known) <= *slips)
    };
    line.split_once(':').is_some_and(|(key, _)| near(&plain(key))) || line.contains("value:")
}

/// Inside a private key.
fn in_key(above: &[&str]) -> bool {
    let last = |mark: &str| above.iter().rposition(|line| line.contains(mark));
    last("-----BEGIN") > last("-----END")
}

/// In a document of `kind: Secret`, whose values have any name.
fn in_secret(above: &[&str], rest: &[&str]) -> bool {
    const KIND: &str = "kind:Secret";
    let own = |line: &&&str| !line.starts_with("---");
    let bare = |line: &str| line.replace(['"', '\'', ' ', '\t'], "");
    let is = |line: &&str| {
        let line = bare(line);
        line.match_indices(KIND).any(|(at, _)| {
            let (before, after) = (line.get(..at), line.get(at + KIND.len()..));
            let word = |c: char| c.is_alphanumeric();
            !before.is_some_and(|before| before.ends_with(word))
                && !after.is_some_and(|after| after.starts_with(word))
        })
    };
    // The line that says so, and nothing else, may be shown.
    let more = |line: &&str| is(line) && bare(line).trim_matches(['-', ',']) != KIND;
    let mut around = above
        .iter()
        .rev()
        .take_while(own)
        .chain(rest.iter().skip(1).take_while(own));
    rest.first().is_some_and(more) || around.any(is)
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
    enclosing(above, line).any(|line| {
        let name = line.split(':').next().unwrap_or_default();
        named(name.trim_matches(['-', ' ', '"', '\'', '?']))
    })
}

/// The lines that a line is below of, by their indentation, the nearest first. Elements of a list may stand at the indentation
/// of its name.
fn enclosing<'a>(above: &'a [&'a str], line: &str) -> impl Iterator<Item = &'a str> {
    let indent = |line: &str| {
        let text = line.trim_start();
        let element = text == "-" || text.starts_with("- ");
        2 * (line.len() - text.len()) + usize::from(element)
    };
    let empty = line.trim().is_empty();
    let mut within = if empty { usize::MAX } else { indent(line) };
    let lines = above.iter().rev().filter(|line| !line.trim().is_empty());
    lines.copied().filter(move |line| {
        let encloses = indent(line) < within;
        within = within.min(indent(line));
        encloses
    })
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
            ("env: {A: {hunter22}}\n", 1),
            ("env:\n  A: hunter22\n", 2),
            ("image: user:hunter22@ghcr.io/a/b\n", 1),
            ("url: https://user:hunter22@example.com/\n", 1),
            ("args: [-c, 'PGPASSWORD=hunter22 psql']\n", 1),
            ("kind: Secret\ndata:\n  url: aGVsbG8=\n", 3),
            ("data:\n  url: aGVsbG8=\nkind: \"Secret\"\n", 2),
            ("env:\n- name: DB_PASSWORD\n  value: hunter22: x\n", 3),
            ("  env:\n  - name: A\n    value: hunter22: x\n", 3),
            ("env:\n- hunter22\n", 2),
            ("environment:\n- name: A\n  value: hunter22: x\n", 3),
            ("variables:\n- {name: A, value: hunter22: x}\n", 2),
            ("variables:\n- name: A\n  value: |\n    hunter22\n", 4),
            ("  enviroment:\n    A: hunter22: x\n", 2),
            ("  envs:\n    A: hunter22: x\n", 2),
            ("  secrets:\n    A: hunter22: x\n", 2),
            ("  files:\n    /a: hunter22hunter22\n", 2),
            ("- --password\n- hunter22\n", 2),
            ("{\"kind\":\"Secret\",\"data\":{\"a\":\"aHVudGVyMjI=\"},}x\n", 1),
            ("{\"data\":{\"a\":\"aHVudGVyMjI=\"},\n\"kind\": \"Secret\"}\n", 1),
            (
                "kind: List\nitems:\n- kind: Secret\n  data:\n    a: aHVudGVyMjI=\n",
                5,
            ),
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
            ("image: ghcr.io/a/b:1.0.0@sha256:0\n", 1),
            ("url: ssh://git@example.com/a\n", 1),
            ("kind: Secret\ndata:\n  url: x\n", 1),
            ("kind: Secret\n---\nkind: Relase\n", 3),
            ("- kind: Secret\n", 1),
            ("kind: SecretStore\nspec: x\n", 2),
            ("files:\n  /a: {secret: Db/url}\n", 2),
            ("env:\n  A: x\nargs:\n- some-words\n", 4),
            ("processes:\n- some-words\n", 2),
            ("env:\n  DB_PASSWORD: {generate: hex/32}\n  A: 5\n", 3),
        ] {
            assert!(!hides(text, number), "{text}");
        }
    }
}
