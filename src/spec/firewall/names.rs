//! What a name says of its value: that it is a secret, or only about one. Names are judged by their whole words, so that
//! `BASALT_COLOR` is no salt.

use super::values::{is_likely, is_literal, is_mixed, is_password};

/// Words for a password, also at the end of a longer word: `PGPASSWORD`.
const PASSWORDS: [&str; 4] = ["PASSWORD", "PASSWD", "PASSPHRASE", "PASSCODE"];
/// The same in short, as the last word of a name alone: `DB_PASS`, but not `PASS_THROUGH`.
const SHORT: [&str; 7] = ["PASS", "PWD", "PW", "DBPASS", "DBPWD", "PGPASS", "USERPASS"];
/// Words for a secret, also at the end of a longer word: `CLIENTSECRET`.
const ENDINGS: [(&str, &str); 11] = [
    ("SECRET", "SECRET"),
    ("TOKEN", "TOKEN"),
    ("COOKIE", "COOKIE"),
    ("CREDENTIAL", "CREDENTIAL"),
    ("APIKEY", "API_KEY"),
    ("SECRETKEY", "SECRET"),
    ("PRIVATEKEY", "PRIVATE_KEY"),
    ("ACCESSKEY", "ACCESS_KEY"),
    ("ENCRYPTIONKEY", "ENCRYPTION_KEY"),
    ("SIGNINGKEY", "SIGNING_KEY"),
    ("MASTERKEY", "MASTER_KEY"),
];
/// Words that are the end of harmless ones.
const WHOLE: [&str; 4] = ["SALT", "DSN", "PSK", "CRED"];
/// Two words that are one: a key alone may be that of a table.
const PAIRS: [(&str, &str, &str); 12] = [
    ("API", "KEY", "API_KEY"),
    ("PRIVATE", "KEY", "PRIVATE_KEY"),
    ("KEY", "BASE", "KEY_BASE"),
    ("ENCRYPTION", "KEY", "ENCRYPTION_KEY"),
    ("DECRYPTION", "KEY", "DECRYPTION_KEY"),
    ("ACCESS", "KEY", "ACCESS_KEY"),
    ("SIGNING", "KEY", "SIGNING_KEY"),
    ("MASTER", "KEY", "MASTER_KEY"),
    ("ACCOUNT", "KEY", "ACCOUNT_KEY"),
    ("HMAC", "KEY", "HMAC_KEY"),
    ("PRESHARED", "KEY", "PRESHARED_KEY"),
    ("PASS", "PHRASE", "PASSPHRASE"),
];
/// Last words of names of what is known of a secret, and may be.
#[rustfmt::skip]
const ABOUT: &[&str] = &[
    "NAME", "NAMES", "USER", "USERNAME", "EMAIL", "ID", "IDS", "REF", "KIND", "TYPE", "TYPES", "VERSION", "LABEL", "FIELD",
    "COLUMN", "PARAM", "PARAMETER", "HEADER", "HEADERS", "CLAIM", "CLAIMS", "PREFIX", "SUFFIX", "FORMAT", "ENCODING", "CHARSET",
    "PATTERN", "REGEX", "TEMPLATE", "HINT", "PLACEHOLDER", "DOMAIN", "DOMAINS", "HOST", "HOSTS", "HOSTNAME", "PORT", "SERVER",
    "SERVICE", "REGION", "NAMESPACE", "LOCATION", "SOURCE", "PROVIDER", "MANAGER", "BACKEND", "ENGINE", "DRIVER", "STORE",
    "STRATEGY", "FILE", "FILES", "FILENAME", "PATH", "PATHS", "DIR", "DIRECTORY", "MOUNT", "URL", "URLS", "URI", "URIS",
    "ENDPOINT", "ENDPOINTS", "ARN", "ENV", "STDIN", "TTY", "ISSUER", "ISSUERS", "AUDIENCE", "AUD", "SCOPE", "SCOPES", "POLICY",
    "POLICIES", "RULES", "MODE", "METHOD", "ALGORITHM", "ALGORITHMS", "ALGO", "ALG", "HASHER", "HASHERS", "HASHING", "ROUNDS",
    "ITERATIONS", "COST", "TTL", "EXPIRY", "EXPIRE", "EXPIRES", "EXPIRATION", "ENCRYPTION", "LIFETIME", "LIFESPAN", "VALIDITY", "LEEWAY", "AGE", "IN",
    "TIMEOUT", "INTERVAL", "PERIOD", "ROTATION", "MS", "SECONDS", "SECS", "MINUTES", "HOURS", "DAYS", "LENGTH", "SIZE", "COUNT",
    "LIMIT", "LIMITS", "MIN", "MAX", "ENABLED", "DISABLED", "REQUIRED", "OPTIONAL", "SECURE", "SITE", "SAMESITE", "HTTPONLY",
    "ONLY",
];
/// First words of names of switches and limits: `--no-password`, `MAX_TOKENS`.
const SWITCHES: [&str; 7] = ["NO", "SKIP", "WITHOUT", "ASK", "MAX", "MIN", "NUM"];

/// What a name says of its value.
struct Said {
    word: &'static str,
    /// It ends with a word for a password: whatever it holds is one.
    password: bool,
    /// It is about a secret, and the value is none.
    about: bool,
}

/// What in a name says that its value is a secret, or is about one.
#[must_use]
pub fn secret_word(name: &str) -> Option<&'static str> {
    said(&words(name)).map(|said| said.word)
}

/// The word of a name that says that its value is a secret, whatever it holds.
pub(super) fn word(name: &str) -> Option<&'static str> {
    let said = said(&words(name)).filter(|said| !said.about && name != "PWD")?;
    Some(said.word)
}

/// Whether a name says that its value is for everybody: `VAPID_PUBLIC_KEY`.
pub(super) fn is_of_public_key(name: &str) -> bool {
    let words = words(name);
    let ends = |with: &[&str]| {
        words
            .iter()
            .rev()
            .zip(with.iter().rev())
            .filter(|(a, b)| a == b)
            .count()
            == with.len()
    };
    ends(&["PUBLIC", "KEY"]) || ends(&["PUBKEY"])
}

/// What in the name of a text says that the text is a secret; `None` for flags, numbers and paths under such names, which
/// are settings: `TOKEN_TTL: "3600"`.
#[must_use]
pub fn named(name: &str, text: &str) -> Option<&'static str> {
    // The directory that a shell is in.
    if name == "PWD" {
        return None;
    }
    let said = said(&words(name)).filter(|said| !said.about)?;
    let holds = if said.password {
        is_password(text)
    } else {
        is_likely(text)
    };
    holds.then_some(said.word)
}

/// The same of a pair in a longer text, `password=hunter22`, whose names are less sure than those of variables.
pub(super) fn pair(name: &str, text: &str) -> bool {
    let said = said(&words(name)).filter(|said| !said.about && said.word != "DSN");
    said.is_some_and(|said| {
        if said.password {
            is_password(text)
        } else {
            is_mixed(text)
        }
    })
}

/// Whether what follows a flag, or `NAME=` in a command, is a secret. A DSN is one by its password alone.
pub(super) fn option(name: &str, text: &str) -> bool {
    named(name, text).is_some_and(|word| word != "DSN")
}

/// What a name says that is only sure for some values: `SMTP_AUTH` may be `plain`.
pub(super) enum Login {
    Certain,
    Likely,
}

/// Whether a text is how somebody logs in, under a name that ends with `AUTH`.
pub(super) fn login(name: &str, text: &str) -> Option<Login> {
    let words = words(name);
    let last = words.last().map(String::as_str);
    if !matches!(last, Some("AUTH" | "AUTHORIZATION")) {
        return None;
    }
    let user_and_password = || {
        let (user, password) = text.split_once(':')?;
        let plain = !text.contains("://") && !text.contains(char::is_whitespace);
        let port = password.bytes().all(|c| c.is_ascii_digit());
        (plain && !port && !user.is_empty()).then_some(password)
    };
    let password = credential(text).or_else(user_and_password);
    if password.is_some_and(|password| password.len() >= 6 && is_literal(password)) {
        return Some(Login::Certain);
    }
    is_mixed(text).then_some(Login::Likely)
}

/// What follows `Bearer ` and its like.
fn credential(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(' ')?;
    let schemes = ["Bearer", "Basic", "Token", "ApiKey", "Digest", "Negotiate"];
    let known = schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    known.then(|| rest.trim())
}

/// The header that lets whoever sends it in.
pub(super) fn header(name: &str, text: &str) -> Option<&'static str> {
    let words = words(name);
    let text = text.trim();
    if words.last().is_some_and(|last| last == "AUTHORIZATION") {
        let value = credential(text).unwrap_or(text);
        let schemes = ["Bearer", "Basic"];
        return (is_literal(value) && !schemes.contains(&value)).then_some("AUTHORIZATION");
    }
    let said = said(&words).filter(|said| !said.about)?;
    // `a=$(B)`
    let value = text.split_once('=').map_or(text, |(_, value)| value);
    let sure = said.password || ["API_KEY", "COOKIE"].contains(&said.word);
    (sure && is_literal(value)).then_some(said.word)
}

fn said(words: &[String]) -> Option<Said> {
    let last = words.last()?;
    let first = words
        .first()
        .is_some_and(|word| SWITCHES.contains(&word.as_str()));
    // Vault has an id that is a password.
    let secret_id = words.ends_with(&["SECRET".to_owned(), "ID".to_owned()]);
    let about = first || ABOUT.contains(&last.as_str()) && !secret_id;
    let ends = |word: &str, with: &str| word.strip_suffix('S').unwrap_or(word).ends_with(with);
    let password = |word: &str| {
        PASSWORDS
            .into_iter()
            .find(|known| ends(word, known) || word.ends_with(known))
    };
    let short = SHORT.into_iter().find(|known| last == known);
    if let Some(word) = short.or_else(|| password(last)) {
        let (password, about) = (true, first);
        return Some(Said {
            word,
            password,
            about,
        });
    }
    let word = words.iter().find_map(|word| password(word));
    let word = word.or_else(|| {
        words
            .iter()
            .enumerate()
            .find_map(|(at, word)| secret(words, at, word))
    });
    let password = last == "PHRASE" && word == Some("PASSPHRASE");
    word.map(|word| Said {
        word,
        password,
        about,
    })
}

fn secret(words: &[String], at: usize, word: &str) -> Option<&'static str> {
    let one = word.strip_suffix('S').unwrap_or(word);
    let ending = ENDINGS.into_iter().find(|(end, _)| one.ends_with(end));
    let whole = || WHOLE.into_iter().find(|whole| *whole == one);
    let pair = || {
        let next = words.get(at + 1)?;
        let next = next.strip_suffix('S').unwrap_or(next);
        PAIRS
            .into_iter()
            .find(|(first, second, _)| *first == word && *second == next)
    };
    let ending = ending.map(|(_, known)| known);
    ending.or_else(whole).or_else(|| pair().map(|(.., known)| known))
}

/// The words of a name in capital letters: `db-password`, `DB_PASSWORD_2` and `dbPassword` have the same ones.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = name.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        let next_is_small = chars.peek().is_some_and(char::is_ascii_lowercase);
        let hump = c.is_ascii_uppercase()
            && (before.is_ascii_lowercase()
                || before.is_ascii_digit()
                || before.is_ascii_uppercase() && next_is_small);
        if hump || !c.is_ascii_alphanumeric() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_ascii_alphanumeric()) {
            word.push(c.to_ascii_uppercase());
        }
        before = c;
    }
    for word in &mut words {
        let digits = word.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        word.truncate(digits);
    }
    words.retain(|word| !word.is_empty());
    words
}
