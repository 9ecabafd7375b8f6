//! Lines of a file that are no field of a spec: remarks, documents of other programs, texts that are no YAML. Names mean
//! nothing there, so what is found has the form of a key or token, or is the password of a URL.

use super::{
    tokens::token,
    urls::{has_url_password, passwords_of_urls},
    values::is_literal,
};

/// What a line holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Characters of the line before it.
    pub before: usize,
    /// What it is, and how long; never the value.
    pub what: String,
}

/// What a line holds that must not be in git. In a `remark`, words for a password stand for one.
#[must_use]
pub fn in_line(line: &str, remark: bool) -> Vec<Found> {
    if token(line).is_none() && !has_url_password(line) {
        return Vec::new();
    }
    let (mut found, mut before) = (Vec::new(), 0);
    let ends = |c: char| c.is_whitespace() || ['"', '\''].contains(&c);
    for word in line.split_inclusive(ends) {
        // What closes a list or a mapping belongs to no value.
        let text = word.trim_end_matches(|c: char| ends(c) || [',', '}', ']'].contains(&c));
        let url = || {
            passwords_of_urls(text)
                .any(|password| is_literal(password) && !(remark && stands_for_one(password)))
        };
        let rule = token(text).or_else(|| url().then(|| "a URL with a password".to_owned()));
        found.extend(rule.map(|rule| of(before, &rule, text)));
        before += word.chars().count();
    }
    // The first line of a private key is of several words.
    if found.is_empty()
        && let Some(rule) = token(line)
    {
        let text = line.trim();
        let blank = line.chars().take_while(|c| c.is_whitespace()).count();
        found.push(of(blank, &rule, text));
    }
    found
}

fn of(before: usize, rule: &str, text: &str) -> Found {
    let what = format!("{rule}, {} characters", text.chars().count());
    Found { before, what }
}

/// `postgres://user:password@host/db` explains a form.
fn stands_for_one(password: &str) -> bool {
    let words = ["password", "passwd", "pass", "pwd", "pw", "secret", "passphrase"];
    let letters = password.to_lowercase();
    words.contains(&letters.as_str()) || letters.bytes().all(|c| c == b'x')
}
