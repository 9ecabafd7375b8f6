//! Takes secrets out of texts that programs print: by the values that a release refers to, and by their form.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::firewall::has_secret;

const GONE: &str = "[redacted]";
/// Shorter values are words of the language: to take them out would tell more than to leave them.
const SHORTEST: usize = 6;

/// The text without `values`, their base64, the passwords of those that are URLs, and lines that look like secrets. Nor is
/// a half of any of these left where the text was cut before it came here: kubelets cut in the middle of a word.
#[must_use]
pub fn redact(text: &str, values: &[&str]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for value in values {
        let value = value.trim();
        parts.push(value.to_owned());
        parts.push(STANDARD.encode(value));
        parts.extend(value.lines().map(|line| line.trim().to_owned()));
        parts.extend(password(value).map(str::to_owned));
    }
    parts.retain(|part| part.chars().count() >= SHORTEST);
    // The longest first: a value may be a part of another one.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts.dedup();
    let mut text = text.to_owned();
    for part in &parts {
        text = text.replace(part.as_str(), GONE);
        text = without_halves(&text, part);
    }
    let lines: Vec<&str> = text
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

/// The text without an end of `part` that it begins with, and a beginning of `part` that it ends with.
fn without_halves(text: &str, part: &str) -> String {
    let halves = || {
        let cuts = part.char_indices().skip(1);
        cuts.map(|(at, _)| part.split_at(at))
    };
    let long = |half: &str| half.len() >= SHORTEST;
    let head = halves()
        .map(|(_, end)| end)
        .find(|end| long(end) && text.starts_with(end));
    let mut out = head.map_or_else(
        || text.to_owned(),
        |end| format!("{GONE}{}", text.get(end.len()..).unwrap_or_default()),
    );
    let tail = halves()
        .map(|(start, _)| start)
        .filter(|start| long(start) && out.ends_with(start))
        .last();
    if let Some(start) = tail {
        out.truncate(out.len() - start.len());
        out.push_str(GONE);
    }
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
    fn each_line_of_a_value_of_many_lines_is_taken_out() {
        let clean = redact(
            "x first-line-of-key y",
            &["first-line-of-key\nsecond-line-of-key"],
        );
        assert_eq!(clean, "x [redacted] y");
    }
}
