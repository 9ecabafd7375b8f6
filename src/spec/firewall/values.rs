//! What a text is where a secret may stand: a literal, or what stands for a value that is given later.

/// Whether there is something to keep secret: not nothing, not a variable, not what stands in place of a value.
pub(super) fn is_literal(text: &str) -> bool {
    !text.is_empty() && !is_reference(text) && !is_placeholder(text)
}

/// Whether a text can be a secret under a name that says so, but not `PASSWORD` itself: settings have such names, too.
pub(super) fn is_likely(text: &str) -> bool {
    text.len() >= 6
        && !text.bytes().all(|c| c.is_ascii_digit())
        && !is_switch(text)
        && !is_path(text)
        && !text.contains("://")
        && !is_resource(text)
        && is_literal(text)
}

/// The name of a resource of AWS, such as that of a secret which is kept there: `arn:aws:secretsmanager:…`.
fn is_resource(text: &str) -> bool {
    let mut parts = text.split(':');
    parts.next() == Some("arn") && parts.clone().count() >= 5 && !text.contains(char::is_whitespace)
}

/// Whether a text is a password, where nothing else is to be expected.
pub(super) fn is_password(text: &str) -> bool {
    // Where it is kept, or is asked for: op://vault/database/password.
    let url = text.split_once("://").is_some_and(|(scheme, rest)| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || [b'+', b'-', b'.'].contains(&c);
        !scheme.is_empty() && scheme.bytes().all(plain) && !rest.contains('@')
    });
    !is_switch(text) && !is_path(text) && !url && !is_resource(text) && is_literal(text)
}

/// Whether a text is one that people and programs make up, and no word: where names say little.
pub(super) fn is_mixed(text: &str) -> bool {
    let any = |of: fn(&u8) -> bool| text.bytes().any(|c| of(&c));
    is_likely(text)
        && text.len() >= 8
        && any(u8::is_ascii_digit)
        && any(u8::is_ascii_alphabetic)
        && !text.contains(char::is_whitespace)
}

fn is_switch(text: &str) -> bool {
    let switches = [
        "true", "false", "yes", "no", "on", "off", "enabled", "disabled", "0", "1",
    ];
    switches.iter().any(|switch| text.eq_ignore_ascii_case(switch))
}

/// What texts have in place of a value: `<password>`, `[redacted]`, `***`, `{{ .password }}`, `%s`, `:password`.
fn is_placeholder(text: &str) -> bool {
    let plain = |inner: &str| {
        inner
            .chars()
            .all(|c| c.is_alphabetic() || ['-', '_', '.', ' '].contains(&c))
    };
    let within = |open: &str, close: &str| {
        let inner = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        inner.is_some_and(plain)
    };
    let stars = text.len() >= 3 && text.chars().all(|c| ['*', '•', '.', '…'].contains(&c));
    let named = text
        .strip_prefix(':')
        .is_some_and(|name| !name.is_empty() && plain(name));
    stars
        || named
        || ["%s", "%v", "%q", "?", "…"].contains(&text)
        || within("<", ">")
        || within("[", "]")
        || within("{", "}")
        || within("#{", "}")
        || within("{{", "}}")
        || within("%(", ")s")
}

/// Whether a text is made of the values of variables alone, as Kubernetes (`$(NAME)`) or a shell (`$NAME`, `${NAME}`, `$1`)
/// puts them in. Anything else that begins with a dollar sign is a text of its own, and so is what stands beside one.
pub(super) fn is_reference(text: &str) -> bool {
    let (mut rest, mut any) = (text, false);
    while !rest.is_empty() {
        if let Some(after) = variable(rest) {
            (rest, any) = (after, true);
        } else if let Some(after) = rest.strip_prefix(['-', '_', '.', ':', '/', '@']) {
            rest = after;
        } else {
            return false;
        }
    }
    any
}

/// Whether a text is what a shell would put something in the place of, as a whole, and Kubernetes would not: `${NAME}`,
/// `$NAME`, `$(date)`, a password that begins with a dollar sign.
pub(super) fn is_of_shell(text: &str) -> bool {
    let plain = |name: &str| {
        let inner = |c: u8| c.is_ascii_alphanumeric() || [b'_', b'-', b'.'].contains(&c);
        !name.is_empty() && name.bytes().all(inner)
    };
    let name = text.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')'));
    is_reference(text) && !name.is_some_and(plain)
}

/// Whether such a text is a mistake rather than a password: names of variables are of capital or of small letters.
pub(super) fn is_name_of_shell(text: &str) -> bool {
    let any = |of: fn(&u8) -> bool| text.bytes().any(|c| of(&c));
    text.contains(['{', '(', '`']) || !(any(u8::is_ascii_uppercase) && any(u8::is_ascii_lowercase))
}

/// A variable that is longer is none: a text of many that do not end is not searched to its end for each.
const LONGEST: usize = 256;

/// What follows the variable, or the output of a command, that a text begins with.
pub(super) fn variable(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('`') {
        let end = rest.bytes().take(LONGEST).position(|c| c == b'`')?;
        return rest.get(end + 1..);
    }
    let rest = text.strip_prefix('$')?;
    let close = match rest.bytes().next()? {
        b'(' => b')',
        b'{' => b'}',
        first if first.is_ascii_digit() => return rest.get(1..),
        first if first.is_ascii_alphabetic() || first == b'_' => {
            let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            return Some(rest.trim_start_matches(name));
        }
        _ => return None,
    };
    let open = if close == b')' { b'(' } else { b'{' };
    let mut depth = 0_usize;
    let end = rest.bytes().take(LONGEST).position(|c| {
        depth += usize::from(c == open);
        depth -= usize::from(c == close && depth > 0);
        depth == 0
    })?;
    let inner = rest.get(1..end)?;
    // ${NAME:-hunter22}
    let default = inner.split_once(":-").filter(|_| close == b'}');
    if default.is_some_and(|(_, text)| is_literal(text)) {
        return None;
    }
    rest.get(end + 1..)
}

/// The beginning of a text up to a character that ends it and does not stand within a variable.
pub(super) fn until(text: &str, ends: impl Fn(char) -> bool) -> &str {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = variable(rest) {
            rest = after;
        } else if ends(c) {
            break;
        } else {
            rest = rest.strip_prefix(c).unwrap_or_default();
        }
    }
    text.get(..text.len() - rest.len()).unwrap_or_default()
}

/// The beginning of a text, at most so many bytes of it.
pub(super) fn head(text: &str, most: usize) -> &str {
    let fits = |at| text.get(..at);
    let cut = || (most.saturating_sub(3)..=most).rev().find_map(fits);
    if text.len() <= most {
        text
    } else {
        cut().unwrap_or_default()
    }
}

/// The end of a text, at most so many bytes of it.
pub(super) fn tail(text: &str, most: usize) -> &str {
    let start = text.len().saturating_sub(most);
    (start..=text.len())
        .find_map(|at| text.get(at..))
        .unwrap_or_default()
}

/// Whether a text is the absolute path of something that has a name. One in 64 keys in base64 begins with a slash, too: the
/// words of those mix digits, capital and small letters, and are long, or there is one alone.
pub(super) fn is_path(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('/') else {
        return false;
    };
    let long = if rest.trim_end_matches('/').contains('/') {
        16
    } else {
        1
    };
    !text.contains(char::is_whitespace) && !rest.split('/').any(|word| word.len() >= long && is_mix(word))
}

/// Whether there are 32 characters of base64 in a row with 4 bits of entropy each, or more. Digests, ids of commits and UUIDs
/// have 16 different characters at most, and names and paths have no digit, or no capital letter, or repeat themselves.
pub(super) fn looks_random(text: &str) -> bool {
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || ['+', '/', '-', '_'].contains(&c);
    // The segments of a URL are judged by themselves, and may be titles: words with a year.
    let url = text.contains("://");
    let ends = |c: char| !of_base64(c) || url && c == '/';
    !is_path(text)
        && !text.starts_with("ssh-")
        && text.split(ends).any(|run| {
            is_random(run)
                && !is_digest(run)
                && (!url || run.split(['-', '_']).any(|word| word.len() >= 12 && is_mix(word)))
        })
}

fn is_random(run: &str) -> bool {
    run.len() >= 32
        && !run.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-')
        && is_mix(run)
        && entropy(run) >= 4.0
}

/// Digits, capital and small letters.
fn is_mix(word: &str) -> bool {
    let any = |of: fn(&u8) -> bool| word.bytes().any(|c| of(&c));
    any(u8::is_ascii_digit) && any(u8::is_ascii_uppercase) && any(u8::is_ascii_lowercase)
}

/// `sha256-…`, as pages say what their scripts must be.
fn is_digest(run: &str) -> bool {
    ["sha256-", "sha384-", "sha512-"]
        .iter()
        .any(|start| run.starts_with(start))
}

/// Bits for each character, by how often each one stands there (Shannon).
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let all: f64 = counts.iter().map(|count| f64::from(*count)).sum();
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum()
}
