//! Takes secrets out of texts that programs print: by the values that a release refers to, and by their form.

use std::{
    collections::{BTreeSet, HashSet},
    ops::Range,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::firewall::{has_secret, passwords, secret_word};
use crate::hex::hex;

const GONE: &str = "[redacted]";
/// Shorter values are words of the language: to take them out would tell more than to leave them.
const SHORTEST: usize = 6;
/// So many characters at the beginning of a value are the value's: programs like to print a key by them.
const BEGINNING: usize = 8;

/// The text without `values`, in whatever form programs print them, and without lines that look like secrets. Nor is a half
/// of any of these left where the text was cut before it came here: kubelets cut in the middle of a word.
#[must_use]
pub fn redact(text: &str, values: &[&str]) -> String {
    if text.is_empty() {
        return String::new();
    }
    let parts: BTreeSet<String> = values.iter().flat_map(|value| parts(value)).collect();
    let (whole, packed) = (Haystack::of(text), Haystack::packed(text));
    let mut gone = Vec::new();
    for part in &parts {
        gone.extend(whole.find(part));
        gone.extend(halves(text, part));
        gone.extend(beginnings(text, part));
        // What is longer than the text does not stand in it.
        if part.len() > text.len() {
            continue;
        }
        for form in escaped(part) {
            gone.extend(whole.find(&form));
            gone.extend(halves(text, &form));
        }
        // Programs that write these begin a new line where they like to.
        for form in encoded(part) {
            gone.extend(packed.find(&form));
            gone.extend(halves(text, &form));
        }
    }
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

// === what is looked for ===

/// What of a value is a secret by itself: each of its lines, the passwords of URLs and connection strings as they stand there and as a
/// program has them, and what a text of JSON holds under names of secrets.
fn parts(value: &str) -> Vec<String> {
    let value = value.trim();
    // Whatever form the whole is written in, its lines are in it.
    let mut parts: Vec<String> = value.lines().map(|line| line.trim().to_owned()).collect();
    for password in passwords(value) {
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

/// A secret in base64 at whatever place of a longer text, and in hexadecimal digits.
fn encoded(part: &str) -> BTreeSet<String> {
    let bytes = part.as_bytes();
    let mut forms: BTreeSet<String> = (0..3).map(|offset| inner_base64(bytes, offset)).collect();
    let urls: Vec<String> = forms
        .iter()
        .map(|form| form.replace('+', "-").replace('/', "_"))
        .collect();
    forms.extend(urls);
    let digits = hex(bytes);
    forms.insert(digits.to_ascii_uppercase());
    forms.insert(digits);
    forms
}

/// A secret as it stands in URLs and in JSON, as the languages that write such logs escape it, where that changes it.
fn escaped(part: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    // RFC 3986; JavaScript's encodeURIComponent; Python's quote; forms.
    for plain in ["-_.~", "-_.!~*'()", "-_.~/", "*-._"] {
        for upper in [true, false] {
            let form = percent(part, plain, upper);
            forms.insert(form.replace("%20", "+"));
            forms.insert(form);
        }
    }
    let once = in_json(part);
    // Twice where a text of JSON is kept in another one, as in a line of a structured log.
    forms.insert(in_json(&once));
    let ascii = in_ascii(&once);
    for form in [once, ascii] {
        forms.insert(form.replace('/', "\\/"));
        let html = [('&', "\\u0026"), ('<', "\\u003c"), ('>', "\\u003e")];
        forms.insert(
            html.into_iter()
                .fold(form.clone(), |text, (c, code)| text.replace(c, code)),
        );
        forms.insert(form);
    }
    forms.remove(part);
    forms
}

fn percent(part: &str, plain: &str, upper: bool) -> String {
    let one = |byte: u8| {
        if byte.is_ascii_alphanumeric() || plain.as_bytes().contains(&byte) {
            char::from(byte).to_string()
        } else if upper {
            format!("%{byte:02X}")
        } else {
            format!("%{byte:02x}")
        }
    };
    part.bytes().map(one).collect()
}

fn in_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

/// JSON as those write it who write it in ASCII alone.
fn in_ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str("\\u");
            out.push_str(&hex(&unit.to_be_bytes()));
        }
    }
    out
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

// === where it is found ===

/// A text in which many others are looked for, most of which are not there.
struct Haystack {
    text: String,
    /// Where each byte of it stands in the text that was given; empty where that is the same.
    places: Vec<usize>,
    /// All that is so long in it.
    windows: HashSet<[u8; SHORTEST]>,
}

impl Haystack {
    fn of(text: &str) -> Self {
        let windows = text.as_bytes().windows(SHORTEST);
        Self {
            windows: windows.filter_map(|window| window.try_into().ok()).collect(),
            text: text.to_owned(),
            places: Vec::new(),
        }
    }

    /// Without its blanks and ends of lines.
    fn packed(text: &str) -> Self {
        let kept = || text.char_indices().filter(|(_, c)| !c.is_ascii_whitespace());
        let places = kept().flat_map(|(at, c)| (0..c.len_utf8()).map(move |byte| at + byte));
        Self {
            places: places.collect(),
            ..Self::of(&kept().map(|(_, c)| c).collect::<String>())
        }
    }

    /// Where a form stands in the text that was given; nowhere, where it is too short.
    fn find(&self, form: &str) -> Vec<Range<usize>> {
        let first = form.as_bytes().get(..SHORTEST);
        let first: Option<[u8; SHORTEST]> = first.and_then(|first| first.try_into().ok());
        if first.is_none_or(|first| !self.windows.contains(&first)) {
            return Vec::new();
        }
        let place = |at: usize| self.places.get(at).copied().unwrap_or(at);
        let found = self.text.match_indices(form);
        found
            .map(|(at, form)| place(at)..place(at + form.len() - 1) + 1)
            .collect()
    }
}

/// Where a text holds the beginning of a value, with all that follows it in one word. Not of one that is made of words, nor
/// of a URL.
fn beginnings(text: &str, part: &str) -> Vec<Range<usize>> {
    let at = part.char_indices().nth(BEGINNING).map(|(at, _)| at);
    let Some(start) = at.and_then(|at| part.get(..at)).filter(|_| !part.contains("://")) else {
        return Vec::new();
    };
    let of_words = |c: char| c.is_alphabetic() || ['-', '_', '.', ' '].contains(&c);
    if part.chars().all(of_words) {
        return Vec::new();
    }
    let ends = |c: char| c.is_whitespace() || ['"', '\''].contains(&c);
    let end = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        from + rest.find(ends).unwrap_or(rest.len())
    };
    let found = text.match_indices(start);
    found.map(|(from, start)| from..end(from + start.len())).collect()
}

/// An end of this that the text begins with, and a beginning of it that the text ends with, each the longest.
fn halves(text: &str, form: &str) -> Vec<Range<usize>> {
    let cuts: Vec<usize> = form.char_indices().skip(1).map(|(at, _)| at).collect();
    let mut found = Vec::new();
    let ends = cuts.iter().filter_map(|at| form.get(*at..));
    let head = ends
        .take_while(|end| end.len() >= SHORTEST)
        .find(|end| text.starts_with(end));
    found.extend(head.map(|end| 0..end.len()));
    let starts = cuts.iter().rev().filter_map(|at| form.get(..*at));
    let tail = starts
        .take_while(|start| start.len() >= SHORTEST)
        .find(|start| text.ends_with(start));
    found.extend(tail.map(|start| text.len() - start.len()..text.len()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_may_have_any_character() {
        for password in ["pa'ss-w0rd", "pa\"ss-w0rd", "pa ss-w0rd", &"long-".repeat(200)] {
            let url = format!("postgres://app:{password}@db/shop");
            let clean = redact(&format!("it is {password}, she said"), &[&url]);
            assert!(clean.starts_with("it is [redacted]"), "{clean}");
            assert!(!clean.contains(password), "{clean}");
        }
    }

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
        let value = "hunter 2/Käfig+\"quoted\"&'sons'";
        let json = in_json(value);
        let form: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let written = [
            value.to_owned(),
            // JSON of Rust and JavaScript, the same in a text of JSON, of Go, of Python, of PHP.
            json.clone(),
            in_json(&json),
            json.replace('&', r"\u0026"),
            r#"hunter 2/K\u00e4fig+\"quoted\"&'sons'"#.to_owned(),
            r#"hunter 2\/K\u00e4fig+\"quoted\"&'sons'"#.to_owned(),
            // Forms, encodeURIComponent, Python's quote.
            form,
            "hunter%202%2FK%C3%A4fig%2B%22quoted%22%26'sons'".to_owned(),
            "hunter%202/K%C3%A4fig%2B%22quoted%22%26%27sons%27".to_owned(),
            hex(value.as_bytes()),
            hex(value.as_bytes()).to_uppercase(),
        ];
        for written in written {
            let clean = redact(&format!("saw {written} there"), &[value]);
            assert_eq!(clean, "saw [redacted] there", "{written}");
        }
    }

    #[test]
    fn what_is_encoded_is_found_within_a_longer_text_and_across_lines() {
        let value = "k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGak3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa";
        for before in ["", "a", "ab", "user:"] {
            let encoded = STANDARD.encode(format!("{before}{value}\n"));
            for width in [76, 64, 1000] {
                let lines: Vec<&str> = (0..encoded.len())
                    .step_by(width)
                    .map(|at| &encoded[at..encoded.len().min(at + width)])
                    .collect();
                let clean = redact(&format!("it is\n{}\nthere", lines.join("\n")), &[value]);
                assert!(
                    clean.starts_with("it is\n") && clean.ends_with("\nthere"),
                    "{clean}"
                );
                // What stands beside the value shares a character with it.
                let left = clean.len() - "it is\n[redacted]\nthere".len();
                assert!(left <= before.len() * 2 + 4, "{clean}");
            }
        }
        let pairs: Vec<String> = value.bytes().map(|byte| format!("{byte:02x}")).collect();
        let dump: Vec<String> = pairs.chunks(16).map(|line| line.join(" ")).collect();
        let clean = redact(&format!("dump:\n{}", dump.join("\n")), &[value]);
        assert_eq!(clean, "dump:\n[redacted]");
    }

    #[test]
    fn large_secrets_cost_no_more_than_a_look_for_each_line() {
        let line = |number: usize| hex(format!("{number:032}").as_bytes());
        let bundle: Vec<String> = (0..4000).map(line).collect();
        let text = format!("refused: {} is not known", bundle[17]);
        assert_eq!(
            redact(&text, &[&bundle.join("\n")]),
            "refused: [redacted] is not known"
        );
        let one = "x".repeat(1 << 20);
        assert_eq!(redact("refused", &[&one]), "refused");
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
