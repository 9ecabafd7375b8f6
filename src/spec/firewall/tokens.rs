//! Keys and tokens whose form leaves no doubt, whatever they are called.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

/// Prefixes of tokens whose issuer is known by them, with the least length of the rest: the issuer's own where that is known
/// and does not change.
#[rustfmt::skip]
pub(super) const TOKENS: [(&str, &str, usize); 46] = [
    ("AKIA", "AWS access key", 16),
    ("ASIA", "AWS access key", 16),
    ("ghp_", "GitHub token", 20),
    ("gho_", "GitHub token", 20),
    ("ghs_", "GitHub token", 20),
    ("ghu_", "GitHub token", 36),
    ("ghr_", "GitHub token", 36),
    ("github_pat_", "GitHub token", 20),
    ("glpat-", "GitLab token", 16),
    ("glrt-", "GitLab token", 20),
    ("gldt-", "GitLab token", 20),
    ("glptt-", "GitLab token", 40),
    ("sk_live_", "Stripe key", 16),
    ("rk_live_", "Stripe key", 16),
    ("sk_test_", "Stripe key", 24),
    ("rk_test_", "Stripe key", 24),
    ("whsec_", "Stripe key", 32),
    ("npm_", "npm token", 30),
    ("pypi-AgEI", "PyPI token", 61),
    ("pypi-AgEN", "PyPI token", 61),
    ("rubygems_", "RubyGems key", 48),
    ("xoxa-", "Slack token", 10),
    ("xoxb-", "Slack token", 10),
    ("xoxe-", "Slack token", 10),
    ("xoxp-", "Slack token", 10),
    ("xoxr-", "Slack token", 10),
    ("xoxs-", "Slack token", 10),
    ("AIza", "Google API key", 30),
    ("SG.", "SendGrid key", 30),
    ("hvs.", "Vault token", 20),
    ("hvb.", "Vault token", 20),
    ("AGE-SECRET-KEY-", "age key", 20),
    ("dop_v1_", "DigitalOcean token", 64),
    ("doo_v1_", "DigitalOcean token", 64),
    ("dor_v1_", "DigitalOcean token", 64),
    ("dckr_pat_", "Docker token", 27),
    ("dckr_oat_", "Docker token", 27),
    ("hf_", "Hugging Face token", 34),
    ("sk-proj-", "OpenAI key", 40),
    ("sk-svcacct-", "OpenAI key", 40),
    ("sk-ant-", "Anthropic key", 40),
    ("shpat_", "Shopify token", 32),
    ("shpss_", "Shopify token", 32),
    ("pscale_pw_", "PlanetScale password", 32),
    ("pscale_tkn_", "PlanetScale token", 32),
    ("lin_api_", "Linear key", 40),
];
/// `-----BEGIN` in base64: the characters that do not depend on what follows.
const BEGIN: &str = "LS0tLS1CRUdJTi";
/// So much of it is decoded: more than the longest first line of a key has before `PRIVATE KEY`, and less than the width of
/// the lines in which base64 is written.
const FIRST_LINE: usize = 60;
/// 64 bytes, as all keys of Azure's storage have.
const ACCOUNT_KEY: usize = 86;

/// Which key or token a text holds, where its form leaves no doubt.
#[must_use]
pub fn token(text: &str) -> Option<String> {
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY") || has_encoded_key(text) {
        return Some("a private key".into());
    }
    if let Some(kind) = typed(text) {
        let article = if kind.starts_with(['A', 'a', 'n', 'O']) {
            "an"
        } else {
            "a"
        };
        return Some(format!("{article} {kind}"));
    }
    if has_account_key(text) {
        return Some("an Azure account key".into());
    }
    if let Some(of) = webhook(text) {
        return Some(format!("a {of} webhook"));
    }
    if has_bot(text) {
        return Some("a Telegram token".into());
    }
    is_jwt(text).then(|| "a JSON web token".into())
}

/// One pass: a token begins where a word does.
fn typed(text: &str) -> Option<&'static str> {
    let word_char = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-' || c == b'.';
    text.as_bytes()
        .split(|c| !word_char(*c))
        .filter(|word| word.len() > 12)
        .find_map(|word| {
            let fits = |(prefix, _, least): &&(&str, &str, usize)| {
                word.strip_prefix(prefix.as_bytes())
                    .is_some_and(|rest| rest.len() >= *least)
            };
            TOKENS.iter().find(fits).map(|(_, kind, _)| *kind)
        })
}

fn is_jwt(text: &str) -> bool {
    // Whatever stands around it, such as `Bearer `, `TOKEN=` or quotation marks.
    let inside = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    text.split(|c| !inside(c)).any(|word| {
        let parts: Vec<&str> = word.trim_matches('.').splitn(4, '.').collect();
        matches!(parts.as_slice(), [head, body, sign]
            if head.starts_with("eyJ") && body.starts_with("eyJ") && head.len() > 10 && sign.len() >= 10)
    })
}

/// A private key as Secrets have it in their `data`.
fn has_encoded_key(text: &str) -> bool {
    text.match_indices(BEGIN).any(|(at, _)| {
        let rest = text.get(at..).unwrap_or_default().bytes();
        let line: Vec<u8> = rest
            .filter(|c| !c.is_ascii_whitespace())
            .take_while(|c| c.is_ascii_alphanumeric() || [b'+', b'/'].contains(c))
            .take(FIRST_LINE)
            .collect();
        let whole = line.get(..line.len() / 4 * 4).unwrap_or_default();
        let key = b"PRIVATE KEY";
        STANDARD_NO_PAD
            .decode(whole)
            .is_ok_and(|decoded| decoded.windows(key.len()).any(|window| window == key))
    })
}

fn has_account_key(text: &str) -> bool {
    ["AccountKey=", "SharedAccessKey="].iter().any(|name| {
        let least = if name.starts_with('A') { ACCOUNT_KEY } else { 42 };
        text.match_indices(name).any(|(at, _)| {
            let rest = text.get(at + name.len()..).unwrap_or_default().bytes();
            let of_base64 = |c: &u8| c.is_ascii_alphanumeric() || [b'+', b'/'].contains(c);
            rest.take_while(of_base64).count() >= least
        })
    })
}

/// How a segment of a path begins, and how long it is at least.
type Segment = (&'static str, usize);

/// Addresses of hooks, each with the beginning and the least length of every segment that follows: whoever has one may post.
const WEBHOOKS: [(&str, &str, &[Segment]); 5] = [
    (
        "hooks.slack.com/services/",
        "Slack",
        &[("T", 9), ("B", 9), ("", 24)],
    ),
    ("discord.com/api/webhooks/", "Discord", &[("", 17), ("", 60)]),
    ("discordapp.com/api/webhooks/", "Discord", &[("", 17), ("", 60)]),
    (
        ".webhook.office.com/webhookb2/",
        "Teams",
        &[("", 36), ("IncomingWebhook", 15), ("", 32)],
    ),
    (
        "outlook.office.com/webhook/",
        "Teams",
        &[("", 36), ("IncomingWebhook", 15), ("", 32)],
    ),
];

fn webhook(text: &str) -> Option<&'static str> {
    let segments = |rest: &str, wanted: &[Segment]| {
        let mut parts = rest.splitn(wanted.len() + 1, '/');
        wanted.iter().all(|(first, least)| {
            let part = parts.next().unwrap_or_default();
            let inside = |c: &u8| c.is_ascii_alphanumeric() || [b'-', b'_', b'@'].contains(c);
            part.starts_with(first) && part.bytes().take_while(inside).count() >= *least
        })
    };
    WEBHOOKS.iter().find_map(|(start, of, wanted)| {
        let mut all = text.match_indices(start);
        all.any(|(at, _)| segments(text.get(at + start.len()..).unwrap_or_default(), wanted))
            .then_some(*of)
    })
}

/// `123456789:AA…`: the number of a bot of Telegram, and its token.
fn has_bot(text: &str) -> bool {
    text.match_indices(":AA").any(|(at, _)| {
        let (before, after) = text.split_at(at);
        let digits = before
            .bytes()
            .rev()
            .take(12)
            .take_while(u8::is_ascii_digit)
            .count();
        let inside = |c: &u8| c.is_ascii_alphanumeric() || [b'-', b'_'].contains(c);
        let token = after.bytes().skip(1).take(40).take_while(inside).count();
        (8..=10).contains(&digits) && token == 35
    })
}
