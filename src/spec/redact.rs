//! Takes secrets out of texts that programs print: by the values that a release refers to, and by their form.

use std::{collections::BTreeSet, ops::Range};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::firewall::{has_secret, secret_word};
use crate::hex::hex;

const GONE: &str = "[redacted]";
/// Shorter values are words of the language: to take them out would tell more than to leave them.
const SHORTEST: usize = 6;
/// So many characters at the beginning of a value are the value's: programs like to print a key by them.
const BEGINNING: usize = 8;

/// The text without `values`, in whatever form programs print them ([`forms`]), and without lines that look like secrets.
/// Nor is a half of any of these left where the text was cut before it came here: kubelets cut in the middle of a word.
#[must_use]
pub fn redact(text: &str, values: &[&str]) -> String {
    if text.is_empty() {
        return String::new();
    }
    let parts: BTreeSet<String> = values.iter().flat_map(|value| parts(value)).collect();
    let mut forms: BTreeSet<String> = parts.iter().flat_map(|part| forms(part)).collect();
    forms.retain(|form| form.chars().count() >= SHORTEST);
    let mut gone = halves(text, &forms);
    let Some(found) = all(text, &forms) else {
        return "[left out: it cannot be searched for secrets]".to_owned();
    };
    gone.extend(found);
    gone.extend(parts.iter().flat_map(|part| beginnings(text, part)));
    let clean = without(text, gone);
    let lines: Vec<&str> = clean
        .lines()
        .map(|line| {
            if has_secret(line) {
                "[a line that looks like a secret is left out]"
            } else {
                line
            }
        })
        .collect();
    lines.join("\n")
}

/// What of a value is a secret by itself: the whole, each of its lines, the password of a URL as it stands there and as a
/// program has it, and what a text of JSON holds under names of secrets.
fn parts(value: &str) -> Vec<String> {
    let value = value.trim();
    let mut parts = vec![value.to_owned()];
    parts.extend(value.lines().map(|line| line.trim().to_owned()));
    if let Some(password) = password(value) {
        parts.push(password.to_owned());
        let pair = format!("={password}").replace('+', "%2B");
        parts.extend(url::form_urlencoded::parse(pair.as_bytes()).map(|(_, decoded)| decoded.into_owned()));
    }
    if let Ok(json) = serde_json::from_str(value) {
        of_json("", &json, &mut parts);
    }
    parts.retain(|part| part.chars().count() >= SHORTEST);
    parts
}

fn of_json(name: &str, value: &Value, parts: &mut Vec<String>) {
    match value {
        Value::String(text) if name == "auth" || secret_word(name).is_some() => parts.push(text.clone()),
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| of_json(name, value, parts)),
        Value::Array(items) => items.iter().for_each(|value| of_json(name, value, parts)),
        _ => {}
    }
}

/// A secret as it is, in base64 at whatever place of a longer text, in hexadecimal digits, and escaped as in URLs and in JSON.
fn forms(part: &str) -> Vec<String> {
    let bytes = part.as_bytes();
    let mut forms = vec![part.to_owned()];
    for offset in 0..3 {
        let form = inner_base64(bytes, offset);
        forms.push(form.replace('+', "-").replace('/', "_"));
        forms.push(form);
    }
    let hex = hex(bytes);
    forms.push(hex.to_ascii_uppercase());
    forms.push(hex);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let percent = |escaped: fn(u8) -> String| -> String {
        let words = bytes.iter().map(|byte| {
            if plain(*byte) {
                char::from(*byte).to_string()
            } else {
                escaped(*byte)
            }
        });
        words.collect()
    };
    let upper = percent(|byte| format!("%{byte:02X}"));
    forms.push(upper.replace("%20", "+"));
    forms.push(upper);
    let lower = percent(|byte| format!("%{byte:02x}"));
    forms.push(lower.replace("%20", "+"));
    forms.push(lower);
    let escaped = |text: &str| {
        let quoted = Value::from(text).to_string();
        quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
    };
    // Twice where a text of JSON is kept in another one, as in a line of a structured log.
    let once = escaped(part);
    forms.push(escaped(&once));
    forms.push(once);
    forms
}

/// What is the same in the base64 of every text in which these bytes begin `offset` after a multiple of three.
fn inner_base64(bytes: &[u8], offset: usize) -> String {
    let text = STANDARD.encode([&vec![0; offset], bytes].concat());
    let text = text.trim_end_matches('=');
    let head = [0, 2, 3].get(offset).copied().unwrap_or_default();
    let tail = usize::from(!(offset + bytes.len()).is_multiple_of(3));
    text.get(head..text.len().saturating_sub(tail))
        .unwrap_or_default()
        .to_owned()
}

/// Where these stand in a text, overlapping or not; `None` where they are too many to be looked for at once.
fn all(text: &str, forms: &BTreeSet<String>) -> Option<Vec<Range<usize>>> {
    // It is made for one text: what takes longer to make and is quicker then would never be.
    let kind = Some(AhoCorasickKind::ContiguousNFA);
    let search = AhoCorasick::builder().kind(kind).build(forms).ok()?;
    Some(
        search
            .find_overlapping_iter(text)
            .map(|found| found.range())
            .collect(),
    )
}

/// Where a text holds the beginning of a value, as much of it as there is. Not of one that is made of words, nor of a URL.
fn beginnings(text: &str, part: &str) -> Vec<Range<usize>> {
    let Some((at, _)) = part.char_indices().nth(BEGINNING) else {
        return Vec::new();
    };
    let Some(start) = part.get(..at).filter(|_| !part.contains("://")) else {
        return Vec::new();
    };
    let of_words = |c: char| c.is_alphabetic() || ['-', '_', '.', ' '].contains(&c);
    if part.chars().all(of_words) {
        return Vec::new();
    }
    let same = |from: usize| {
        let (rest, part) = (text.get(from..).unwrap_or_default().chars(), part.chars());
        let same = rest.zip(part).take_while(|(a, b)| a == b);
        from + same.map(|(a, _)| a.len_utf8()).sum::<usize>()
    };
    text.match_indices(start)
        .map(|(from, _)| from..same(from))
        .collect()
}

/// An end of one of these that the text begins with, and a beginning of one that it ends with, each the longest.
fn halves(text: &str, forms: &BTreeSet<String>) -> Vec<Range<usize>> {
    let cuts = |form: &'_ str| {
        let cuts: Vec<usize> = form.char_indices().skip(1).map(|(at, _)| at).collect();
        cuts
    };
    let mut found = Vec::new();
    for form in forms {
        let ends = cuts(form).into_iter().filter_map(|at| form.get(at..));
        let head = ends
            .take_while(|end| end.len() >= SHORTEST)
            .find(|end| text.starts_with(end));
        found.extend(head.map(|end| 0..end.len()));
        let starts = cuts(form).into_iter().rev().filter_map(|at| form.get(..at));
        let tail = starts
            .take_while(|start| start.len() >= SHORTEST)
            .find(|start| text.ends_with(start));
        found.extend(tail.map(|start| text.len() - start.len()..text.len()));
    }
    found
}

/// The text with one word in the place of each of these, however they overlap.
fn without(text: &str, mut gone: Vec<Range<usize>>) -> String {
    gone.sort_by_key(|range| range.start);
    let (mut out, mut at) = (String::new(), 0);
    for range in gone {
        if range.start >= at {
            out.push_str(text.get(at..range.start).unwrap_or_default());
            out.push_str(GONE);
        }
        at = at.max(range.end);
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// The password of `scheme://user:password@host`.
#[must_use]
pub fn password(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_their_base64_and_the_passwords_in_urls_are_taken_out() {
        let url = "ecto://app:canary-77aa@db:5432/shop";
        let text = format!(
            "connecting\npassword canary-77aa\nDB={url}\n{}\ndone",
            STANDARD.encode(url)
        );
        let clean = redact(&text, &[url]);
        assert!(
            !clean.contains("canary") && !clean.contains(&STANDARD.encode(url)),
            "{clean}"
        );
        assert!(
            clean.starts_with("connecting\npassword [redacted]\n") && clean.ends_with("\ndone"),
            "{clean}"
        );
    }

    #[test]
    fn what_looks_like_a_secret_goes_though_nobody_declared_it() {
        let clean = redact("a\nusing ecto://x:other-pass@db/shop\nb", &[]);
        assert!(!clean.contains("other-pass"), "{clean}");
        assert!(clean.starts_with("a\n") && clean.ends_with("\nb"));
    }

    #[test]
    fn short_values_and_ordinary_words_stay() {
        let text = "column status does not exist (exit code 1)";
        assert_eq!(redact(text, &["1", "true", "code"]), text);
    }

    #[test]
    fn no_half_of_a_value_is_left_where_a_text_was_cut() {
        let value = "kanarienvogel-4711";
        for (cut, clean) in [
            ("vogel-4711 was refused", "[redacted] was refused"),
            ("refused: kanarienv", "refused: [redacted]"),
            ("4711 was refused", "4711 was refused"),
            ("vogel-4711", "[redacted]"),
        ] {
            assert_eq!(redact(cut, &[value]), clean);
        }
    }

    #[test]
    fn a_value_is_found_in_every_form_in_which_programs_print_it() {
        let value = "hunter 2/Käfig+\"quoted\"";
        let user = STANDARD.encode(format!("app:{value}"));
        let json = Value::from(value).to_string();
        let inside: Vec<String> = (0..3)
            .map(|more| STANDARD.encode(format!("{}{value} and more", "x".repeat(more))))
            .collect();
        let hex = hex(value.as_bytes());
        let form: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let mut printed = vec![
            user,
            Value::from(json.as_str()).to_string(),
            json,
            hex.to_uppercase(),
            hex,
            form.to_lowercase().replace("%2fk", "%2fK"),
            form,
        ];
        printed.extend(inside);
        for printed in printed {
            let clean = redact(&format!("saw {printed} there"), &[value]);
            assert!(clean.contains(GONE), "{printed}: {clean}");
            let rest = clean.replace(GONE, "");
            // In base64 what stands beside the value shares a character with it.
            assert!(rest.len() <= "saw  there".len() + 20, "{printed}: {clean}");
        }
    }

    #[test]
    fn a_key_that_a_program_names_by_its_beginning_is_not_told() {
        let key = "k3Jx9vQ2mT7wZ1pL";
        for printed in ["key k3Jx9vQ2… refused", "key k3Jx9vQ2mT7w*** refused"] {
            let clean = redact(printed, &[key]);
            assert!(
                clean.starts_with("key [redacted]") && clean.ends_with(" refused"),
                "{clean}"
            );
            assert!(!clean.contains("mT7"), "{clean}");
        }
        let words = "connection to production";
        assert_eq!(
            redact(words, &["connection-string-of-somebody"]),
            words,
            "a word of the language"
        );
        let url = "using postgres://db.internal/shop";
        assert_eq!(redact(url, &["postgres://app@db.internal/shop"]), url);
    }

    #[test]
    fn values_that_overlap_leave_nothing_of_either() {
        let clean = redact("x abcdef123456789xyz y", &["abcdef123", "123456789xyz"]);
        assert_eq!(clean, "x [redacted] y");
    }

    #[test]
    fn a_password_goes_as_the_url_has_it_and_as_the_program_reads_it_and_so_do_those_of_json() {
        let url = "ecto://app:p%40ss%2Fw0rd@db:5432/shop";
        assert_eq!(
            redact("login with p@ss/w0rd or p%40ss%2Fw0rd", &[url]),
            "login with [redacted] or [redacted]"
        );
        let json = r#"{"auths": {"r.example.com": {"username": "puller", "password": "monster-x1"}}}"#;
        assert_eq!(
            redact("puller sent monster-x1", &[json]),
            "puller sent [redacted]"
        );
    }

    #[test]
    fn each_line_of_a_value_of_many_lines_is_taken_out() {
        let clean = redact(
            "x first-line-of-key y",
            &["first-line-of-key\nsecond-line-of-key"],
        );
        assert_eq!(clean, "x [redacted] y");
    }
}
