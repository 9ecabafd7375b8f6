//! The secret firewall: values that must not be in git. It looks at structure, not only at characters, and it never
//! repeats what it found: a finding has a rule and a length.

use serde_json::{Map, Value};

use super::document::join;
use crate::api::ReleaseSpec;

/// A value that must not be in a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// JSON pointer into the spec.
    pub pointer: String,
    /// What is wrong and what to do; never the value.
    pub message: String,
}

/// Prefixes of tokens whose issuer is known by them, with the least length of the rest.
const TOKENS: [(&str, &str, usize); 16] = [
    ("AKIA", "AWS access key", 16),
    ("ASIA", "AWS access key", 16),
    ("ghp_", "GitHub token", 20),
    ("gho_", "GitHub token", 20),
    ("ghs_", "GitHub token", 20),
    ("github_pat_", "GitHub token", 20),
    ("glpat-", "GitLab token", 16),
    ("sk_live_", "Stripe key", 16),
    ("rk_live_", "Stripe key", 16),
    ("npm_", "npm token", 30),
    ("xoxb-", "Slack token", 10),
    ("xoxp-", "Slack token", 10),
    ("AIza", "Google API key", 30),
    ("SG.", "SendGrid key", 30),
    ("hvs.", "Vault token", 20),
    ("AGE-SECRET-KEY-", "age key", 20),
];

/// Words in the name of a variable whose value is a secret.
const SECRET_WORDS: [&str; 13] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "TOKEN",
    "APIKEY",
    "API_KEY",
    "COOKIE",
    "SALT",
    "PRIVATE_KEY",
    "KEY_BASE",
    "CREDENTIAL",
    "DSN",
];

/// Everything in a spec that must not be there.
#[must_use]
pub fn scan(spec: &ReleaseSpec) -> Vec<Finding> {
    serde_json::to_value(spec).map_or_else(|_| Vec::new(), |value| scan_value(&value))
}

/// The same of a spec as it is written: a mistake beside a secret, or around it, does not hide it.
#[must_use]
pub fn scan_value(spec: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    walk("", "", spec, &mut findings);
    findings
}

/// What has no form of a secret and looks random all the same. It may be one: a person is told, and nothing is refused.
#[must_use]
pub fn suspects(spec: &Value) -> Vec<Finding> {
    let (certain, mut found) = (scan_value(spec), Vec::new());
    suspect("", spec, &mut found);
    found.retain(|suspect: &Finding| certain.iter().all(|finding| finding.pointer != suspect.pointer));
    found
}

fn suspect(pointer: &str, value: &Value, findings: &mut Vec<Finding>) {
    match value {
        Value::String(text) if looks_random(text) => findings.push(Finding {
            pointer: pointer.to_owned(),
            message: format!(
                "may be a secret ({} characters that look random): if it is one, put it into a Secret, refer to it by \
                 {{secret: name/key}} and change it where it is used, since git keeps history{}",
                text.chars().count(),
                if pointer.starts_with("/env/") {
                    "; if it is none, write {value: …, public: true}"
                } else {
                    ""
                }
            ),
        }),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                suspect(&format!("{pointer}/{index}"), item, findings);
            }
        }
        Value::Object(fields) if !is_public(value) => {
            for (name, item) in fields {
                suspect(&join(pointer, name), item, findings);
            }
        }
        _ => {}
    }
}

/// Whether there are 32 characters of base64 in a row with 4 bits of entropy each, or more. Digests, ids of commits and UUIDs
/// have 16 different characters at most, and names and paths have no digit, or no capital letter, or repeat themselves.
fn looks_random(text: &str) -> bool {
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || ['+', '/', '-', '_'].contains(&c);
    !is_path_or_url(text)
        && text.split(|c| !of_base64(c)).any(|run| {
            let any = |of: fn(&u8) -> bool| run.bytes().any(|c| of(&c));
            run.len() >= 32
                && !run.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-')
                && any(u8::is_ascii_digit)
                && any(u8::is_ascii_uppercase)
                && any(u8::is_ascii_lowercase)
                && entropy(run) >= 4.0
        })
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

fn walk(pointer: &str, key: &str, value: &Value, findings: &mut Vec<Finding>) {
    match value {
        Value::String(text) => {
            let inside = |found: &Finding| {
                let below = pointer.strip_prefix(found.pointer.as_str());
                below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if let Some(rule) = literal(text).filter(|_| !findings.iter().any(inside)) {
                findings.push(finding(pointer.to_owned(), &rule, text));
            }
        }
        Value::Array(items) => {
            if ["command", "args", "migrate"].contains(&key) {
                let words: Vec<&str> = items
                    .iter()
                    .map(|item| item.as_str().unwrap_or_default())
                    .collect();
                scan_words(pointer, &words, findings);
            }
            for (index, item) in items.iter().enumerate() {
                walk(&format!("{pointer}/{index}"), "", item, findings);
            }
        }
        Value::Object(fields) if !is_public(value) => {
            if ["env", "args", "files"].contains(&key) {
                scan_env(pointer, fields, findings);
            }
            for (name, item) in fields {
                walk(&join(pointer, name), name, item, findings);
            }
        }
        _ => {}
    }
}

/// `{value: …, public: true}`: what its author declared to be no secret. Nothing else has a field `public`, and where one
/// stands in a wrong place it hides nothing.
fn is_public(value: &Value) -> bool {
    let fields = value.as_object();
    fields.is_some_and(|fields| fields.len() == 2 && fields.contains_key("value"))
        && value.get("public") == Some(&Value::Bool(true))
}

fn scan_env(pointer: &str, env: &Map<String, Value>, findings: &mut Vec<Finding>) {
    for (name, value) in env.iter().filter(|(_, value)| !is_public(value)) {
        let text = value
            .as_str()
            .or_else(|| value.get("value").and_then(Value::as_str));
        let Some(text) = text else { continue };
        let rule = literal(text).or_else(|| {
            let word = named(name, text)?;
            Some(format!("a literal under a name that contains {word}"))
        });
        if let Some(rule) = rule {
            findings.push(finding(join(pointer, name), &rule, text));
        }
    }
}

/// What in the name of a variable says that its value is a secret.
#[must_use]
pub fn secret_word(name: &str) -> Option<&'static str> {
    let upper = name.to_ascii_uppercase();
    SECRET_WORDS.into_iter().find(|word| upper.contains(word))
}

/// What in the name of a text says that the text is a secret; `None` for flags, numbers and paths under such names, which
/// are settings: `TOKEN_TTL: "3600"`.
#[must_use]
pub fn named(name: &str, text: &str) -> Option<&'static str> {
    let plain = text.len() < 6 || text.bytes().all(|c| c.is_ascii_digit()) || text == "false";
    secret_word(name).filter(|_| !plain && !is_path_or_url(text))
}

fn scan_words(pointer: &str, words: &[&str], findings: &mut Vec<Finding>) {
    let named = |name: &str| {
        let upper = name.to_ascii_uppercase();
        ["PASSWORD", "TOKEN", "SECRET"]
            .iter()
            .any(|word| upper.ends_with(word))
    };
    let value = |text: &str| {
        text.len() >= 6 && !text.starts_with('-') && !is_reference(text) && !is_path_or_url(text)
    };
    let mut before = "";
    for (index, word) in words.iter().enumerate() {
        // A word may be a script: sh -c 'PGPASSWORD=… psql'.
        let inline = word
            .split_whitespace()
            .filter_map(|part| part.trim_start_matches('-').split_once('='))
            .any(|(name, text)| named(name) && value(text));
        let follows = before.starts_with('-') && !before.contains('=') && named(before) && value(word);
        let rule = (inline || follows).then(|| "a password inside a command".to_owned());
        if let Some(rule) = literal(word).or(rule) {
            findings.push(finding(format!("{pointer}/{index}"), &rule, word));
        }
        before = word;
    }
}

fn finding(pointer: String, rule: &str, value: &str) -> Finding {
    let otherwise = if pointer.contains("/env/") {
        ". If it is none, write {value: …, public: true}"
    } else {
        ""
    };
    Finding {
        message: format!(
            "looks like a secret ({rule}, {} characters): put it into a Secret and refer to it by {{secret: name/key}}; \
             git keeps history, so change it where it is used, too{otherwise}",
            value.chars().count()
        ),
        pointer,
    }
}

/// Whether a text holds something that is a secret by its form alone.
#[must_use]
pub fn has_secret(text: &str) -> bool {
    literal(text).is_some()
}

/// What a text is by itself, whatever its name.
fn literal(text: &str) -> Option<String> {
    token(text).or_else(|| has_url_password(text).then(|| "a URL with a password".into()))
}

/// Which key or token a text holds, where its form leaves no doubt.
#[must_use]
pub fn token(text: &str) -> Option<String> {
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY") {
        return Some("a private key".into());
    }
    let word_char = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-' || c == b'.';
    for (prefix, kind, least) in TOKENS {
        for (start, _) in text.match_indices(prefix) {
            let before = start.checked_sub(1).and_then(|index| text.as_bytes().get(index));
            let rest = text.as_bytes().get(start + prefix.len()..).unwrap_or_default();
            let length = rest.iter().take_while(|c| word_char(**c)).count();
            if length >= least && before.is_none_or(|c| !word_char(*c)) {
                let article = if kind.starts_with(['A', 'a', 'n']) {
                    "an"
                } else {
                    "a"
                };
                return Some(format!("{article} {kind}"));
            }
        }
    }
    is_jwt(text).then(|| "a JSON web token".into())
}

fn is_jwt(text: &str) -> bool {
    // Whatever stands around it, such as `Bearer `, `TOKEN=` or quotation marks.
    let inside = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    text.split(|c| !inside(c)).any(|word| {
        let parts: Vec<&str> = word.trim_matches('.').split('.').collect();
        matches!(parts.as_slice(), [head, body, sign]
            if head.starts_with("eyJ") && body.starts_with("eyJ") && head.len() > 10 && sign.len() >= 10)
    })
}

/// Whether there is a `scheme://user:password@host` in a text, unless the password is a variable.
#[must_use]
pub fn has_url_password(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let rest = text.get(at + 3..).unwrap_or("");
        let authority = rest.split(['/', '?', '#', ' ', '"', '\'']).next().unwrap_or("");
        let Some((user, _)) = authority.rsplit_once('@') else {
            return false;
        };
        let Some((_, password)) = user.split_once(':') else {
            return false;
        };
        !password.is_empty() && !is_reference(password) && !password.starts_with("%(")
    })
}

/// Whether a text is the value of a variable, as Kubernetes (`$(NAME)`) or a shell (`$NAME`, `${NAME}`, `$1`) puts it in.
/// Anything else that begins with a dollar sign is a text of its own.
fn is_reference(text: &str) -> bool {
    let Some(name) = text.strip_prefix('$') else {
        return false;
    };
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    name.starts_with(['(', '{']) || is_name && (!name.starts_with(char::is_numeric) || name.len() == 1)
}

fn is_path_or_url(text: &str) -> bool {
    is_path(text) || text.contains("://")
}

/// Whether a text is the absolute path of something that has a name. One in 64 keys in base64 begins with a slash, too: the
/// words of those mix digits, capital and small letters, and are long, or there is one alone.
fn is_path(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('/') else {
        return false;
    };
    let mixed = |word: &str| {
        let any = |of: fn(&u8) -> bool| word.bytes().any(|c| of(&c));
        any(u8::is_ascii_digit) && any(u8::is_ascii_uppercase) && any(u8::is_ascii_lowercase)
    };
    let long = if rest.trim_end_matches('/').contains('/') {
        16
    } else {
        1
    };
    !text.contains(char::is_whitespace) && !rest.split('/').any(|word| word.len() >= long && mixed(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::release::EnvValue;

    fn found(env: &[(&str, &str)]) -> Vec<Finding> {
        let env = env
            .iter()
            .map(|(k, v)| ((*k).to_owned(), EnvValue::Literal((*v).to_owned())))
            .collect();
        scan(&ReleaseSpec {
            env,
            ..ReleaseSpec::default()
        })
    }

    #[test]
    fn secrets_are_found_by_form_and_by_name() {
        let hits = [
            ("X", "AKIAIOSFODNN7EXAMPLE"),
            ("X", "ghp_0123456789abcdefghij0123456789abcdef"),
            ("DATABASE_URL", "ecto://app:hunter22@db/shop"),
            ("X", "-----BEGIN RSA PRIVATE KEY-----\nabc"),
            ("X", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop"),
            (
                "X",
                "TOKEN=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop, please.",
            ),
            ("SMTP_PASSWORD", "hunter22"),
            ("SECRET_KEY_BASE", "aaaaaaaaaaaaaaaaaaaa"),
            ("RELEASE_COOKIE", "monster-cookie"),
        ];
        for hit in hits {
            assert_eq!(found(&[hit]).len(), 1, "{}", hit.0);
        }
    }

    #[test]
    fn what_looks_random_is_suspected_and_not_refused() {
        let of = |text: &str| {
            let spec = serde_json::json!({ "env": { "X": text }, "command": ["run", text] });
            assert_eq!(scan_value(&spec), [], "{text}");
            suspects(&spec)
        };
        for text in [
            "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZg",
            "k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa",
            "key=uT+5v/Qx1Wz8kLm2Nc7RbY4hJ0sDf9GaPe3i",
        ] {
            let found: Vec<String> = of(text).into_iter().map(|finding| finding.pointer).collect();
            assert_eq!(found, ["/command/1", "/env/X"], "{text}");
            assert!(!of(text)[0].message.contains(text));
        }
        for text in [
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B",
            "123e4567-e89b-12d3-a456-426614174000",
            "/usr/local/lib/Erlang/27/lib/crypto-5.5/priv/lib/crypto.so",
            "https://example.com/Docs/2026/Guide-To-Everything-That-There-Is-1",
            "registry.example.com/team/some-application-with-a-long-name",
            "Elixir.Shop.Release.Migrations.V20260101000000.AddOrders",
            "k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fG",
            "aA1aA1aA1aA1aA1aA1aA1aA1aA1aA1aA1aA1",
            "the quick brown fox jumps over the lazy dog 27 times a day",
        ] {
            assert_eq!(of(text), [], "{text}");
        }
        let spec = serde_json::json!({ "env": {
            "OPEN": { "value": "k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa", "public": true },
            "TOKEN": "k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa",
        } });
        assert_eq!(scan_value(&spec).len(), 1);
        assert_eq!(suspects(&spec), [], "what is refused is not suspected, too");
    }

    #[test]
    fn a_key_that_begins_with_a_slash_is_no_path_and_a_path_is_no_key() {
        for key in [
            "/hUnter22",
            "/9jK3x/vQ2mT7wZ1pL5sR8yB4nC6hD0fGa",
            "/k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa=",
        ] {
            assert_eq!(found(&[("SMTP_PASSWORD", key)]).len(), 1, "{key}");
        }
        for path in [
            "/run/secrets/smtp-password",
            "/etc/ssl/Certs2026/Key1.pem",
            "/usr/local/lib/Erlang/27/lib/crypto-5.5/priv/key.so",
            "/cookie",
        ] {
            assert_eq!(found(&[("SMTP_PASSWORD", path)]), [], "{path}");
        }
    }

    #[test]
    fn what_only_has_a_field_named_public_hides_nothing() {
        let token = "ghp_0123456789abcdefghij0123456789abcdef";
        let spec = serde_json::json!({ "env": {
            "PUBLIC": { "value": token, "public": true },
            "OTHER": { "value": token, "public": true, "more": token },
        }, "public": true, "image": token });
        let found: Vec<String> = scan_value(&spec)
            .into_iter()
            .map(|finding| finding.pointer)
            .collect();
        assert!(found.contains(&"/image".to_owned()), "{found:?}");
        assert!(found.contains(&"/env/OTHER".to_owned()), "{found:?}");
        assert!(
            !found.iter().any(|pointer| pointer.starts_with("/env/PUBLIC")),
            "{found:?}"
        );
    }

    /// Each prefix with as many characters as its tokens have at least, and with one fewer.
    #[test]
    fn a_token_of_every_issuer_is_found_and_one_that_is_too_short_is_none() {
        for (prefix, kind, least) in TOKENS {
            let of = |length: usize| {
                token(&format!(
                    "x={prefix}{}",
                    "a1".repeat(length).get(..length).unwrap()
                ))
            };
            assert!(of(least).is_some_and(|rule| rule.ends_with(kind)), "{prefix}");
            assert_eq!(of(least - 1), None, "{prefix}");
        }
        assert_eq!(token("-----BEGIN CERTIFICATE-----\nMIIB"), None);
        assert_eq!(token("-----BEGIN PUBLIC KEY-----\nMIIB"), None);
    }

    #[test]
    fn near_misses_pass() {
        let misses = [
            ("POOL_SIZE", "10"),
            ("TOKEN_TTL", "3600"),
            ("URL", "https://app@example.com/x"),
            ("URL", "https://example.com/a:b@c"),
            ("DATABASE_URL", "ecto://app:$(PASSWORD)@db/shop"),
            ("SECRET_FILE", "/run/secrets/key"),
            ("X", "taskia_AKIA"),
            ("X", "keyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop"),
            ("COMMIT", "0123456789abcdef0123456789abcdef01234567"),
        ];
        for miss in misses {
            assert!(found(&[miss]).is_empty(), "{}", miss.0);
        }
    }

    #[test]
    fn the_content_of_a_file_does_not_belong_into_git_either() {
        let files = serde_json::json!({ "files": {
            "/run/db-password": "hunter22",
            "/run/token": { "value": "hunter22" },
            "/run/key.pem": "-----BEGIN PRIVATE KEY-----\nabc",
            "/run/secrets/token": { "secret": "app/token" },
        } });
        let pointers: Vec<String> = scan_value(&files)
            .into_iter()
            .map(|found| found.pointer)
            .collect();
        assert_eq!(
            pointers,
            [
                "/files/~1run~1db-password",
                "/files/~1run~1key.pem",
                "/files/~1run~1token"
            ]
        );
    }

    #[test]
    fn public_values_are_the_visible_exception() {
        let env = [(
            "API_KEY".to_owned(),
            EnvValue::Public("a-public-key-of-a-map".into()),
        )]
        .into();
        assert!(
            scan(&ReleaseSpec {
                env,
                ..ReleaseSpec::default()
            })
            .is_empty()
        );
    }

    #[test]
    fn a_finding_never_repeats_the_value() {
        let finding = &found(&[("SMTP_PASSWORD", "hunter22-and-more")])[0];
        assert!(!finding.message.contains("hunter") && finding.pointer == "/env/SMTP_PASSWORD");
        assert!(finding.message.contains("17 characters"));
    }

    #[test]
    fn passwords_inside_commands_are_found() {
        let spec = ReleaseSpec {
            args: Some(vec!["--db-password=hunter22".into(), "--password=$(DB)".into()]),
            ..ReleaseSpec::default()
        };
        assert_eq!(scan(&spec).len(), 1);
        let words = |words: &[&str]| scan_value(&serde_json::json!({ "migrate": words })).len();
        assert_eq!(words(&["--password", "hunter22"]), 1);
        assert_eq!(words(&["sh", "-c", "psql --password=$password"]), 0);
        assert_eq!(words(&["--password", "$ecret-77"]), 1);
        assert_eq!(words(&["sh", "-c", "PGPASSWORD=hunter22 psql"]), 1);
        assert_eq!(
            words(&[
                "--token",
                "/run/secrets/token",
                "--token=/run/x",
                "--secret",
                "--verbose"
            ]),
            0
        );
    }

    #[test]
    fn a_mistake_around_a_secret_does_not_hide_it() {
        let spec = serde_json::json!({
            "buidl": { "args": { "NPM_TOKEN": "hunter22" } },
            "env": { "PIN": 5, "DB_PASSWORD": { "value": "hunter22", "pubilc": true } },
            "version": "AKIAIOSFODNN7EXAMPLE",
        });
        let pointers: Vec<String> = scan_value(&spec).into_iter().map(|found| found.pointer).collect();
        assert_eq!(
            pointers,
            ["/buidl/args/NPM_TOKEN", "/env/DB_PASSWORD", "/version"]
        );
    }

    #[test]
    fn a_variable_is_no_password_and_a_password_may_begin_with_a_dollar_sign() {
        for variable in [
            "$(DB_PASSWORD)",
            "$DB_PASSWORD",
            "$password",
            "$1",
            "${DB_PASSWORD}",
            "%(DB_PASSWORD)s",
        ] {
            assert!(
                !has_url_password(&format!("postgres://app:{variable}@db/app")),
                "{variable}"
            );
        }
        for password in ["$ecret-77", "$3cret77", "$", "$DB_PASSWORD!", "pw"] {
            assert!(
                has_url_password(&format!("postgres://app:{password}@db/app")),
                "{password}"
            );
        }
    }
}
