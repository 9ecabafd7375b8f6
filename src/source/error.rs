//! Why a fetch failed, in terms that a status can show and a loop can act on.
//!
//! libgit2 gives a class, a code and a text, and all three are coarse: a timeout over TLS is "resource
//! temporarily unavailable", a 404 is a number in a sentence. [`classify`] turns them, what the callbacks saw
//! and the time that passed into one [`FetchError`]. Texts of servers are shown escaped, short and without
//! anything that was a credential.

use std::time::Duration;

use git2::{ErrorClass, ErrorCode};

use super::{
    credentials::{Credentials, CredentialsError, Refused, Seen},
    init::io_timeout,
    known_hosts::HostKeyError,
    memory,
};

/// What the loop should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// It may pass by itself.
    Retry,
    /// Somebody has to act: on a branch, an account, a server, the source or its Secret.
    Stall,
}

/// Why nothing was fetched. The last accepted commit stays in force through all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // `attempt` says what was tried, `detail` what came of it
pub enum FetchError {
    #[error("cannot {attempt}: the server cannot be reached: {detail}")]
    Unreachable { attempt: String, detail: String },
    #[error("cannot {attempt}: gave up after {} s", after.as_secs())]
    TimedOut { attempt: String, after: Duration },
    #[error("cannot {attempt}: {detail}")]
    AuthFailed { attempt: String, detail: &'static str },
    #[error("cannot {attempt}: the host key is not the expected one: {detail}")]
    HostKeyMismatch { attempt: String, detail: String },
    #[error("cannot {attempt}: the host key is not known: {detail}")]
    HostKeyUnknown { attempt: String, detail: String },
    #[error("cannot {attempt}: the server's certificate is not trusted: {detail}")]
    CertificateUnknown { attempt: String, detail: String },
    #[error(
        "cannot {attempt}: the server sends us elsewhere, which is not followed: name the final url instead"
    )]
    Redirected { attempt: String },
    #[error("cannot {attempt}: there is no such repository, or these credentials may not see it")]
    RepositoryNotFound { attempt: String },
    #[error("cannot {attempt}: the repository has no such {what}")]
    RefNotFound { attempt: String, what: &'static str },
    #[error("cannot {attempt}: it is larger than {limit}")]
    TooLarge { attempt: String, limit: String },
    #[error("cannot {attempt}: what was received or stored is damaged: {detail}")]
    Corrupt { attempt: String, detail: String },
    #[error("cannot {attempt}: the mirror cannot be written: {detail}")]
    Storage { attempt: String, detail: String },
    #[error("cannot {attempt}: {source}")]
    InvalidCredentials {
        attempt: String,
        source: CredentialsError,
    },
}

impl FetchError {
    /// One word for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "Unreachable",
            Self::TimedOut { .. } => "TimedOut",
            Self::AuthFailed { .. } => "AuthFailed",
            Self::HostKeyMismatch { .. } => "HostKeyMismatch",
            Self::HostKeyUnknown { .. } => "HostKeyUnknown",
            Self::CertificateUnknown { .. } => "CertificateUnknown",
            Self::Redirected { .. } => "Redirected",
            Self::RepositoryNotFound { .. } => "RepositoryNotFound",
            Self::RefNotFound { .. } => "RefNotFound",
            Self::TooLarge { .. } => "TooLarge",
            Self::Corrupt { .. } => "Corrupt",
            Self::Storage { .. } => "StorageFailed",
            Self::InvalidCredentials { .. } => "InvalidCredentials",
        }
    }

    /// What the loop should do.
    #[must_use]
    pub fn intent(&self) -> Intent {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Corrupt { .. }
            | Self::Storage { .. } => Intent::Retry,
            Self::AuthFailed { .. }
            | Self::RepositoryNotFound { .. }
            | Self::RefNotFound { .. }
            | Self::TooLarge { .. }
            | Self::HostKeyMismatch { .. }
            | Self::HostKeyUnknown { .. }
            | Self::CertificateUnknown { .. }
            | Self::Redirected { .. }
            | Self::InvalidCredentials { .. } => Intent::Stall,
        }
    }
}

/// Why a callback ended a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Deadline,
    Bytes(u64),
}

/// What is known about a failed fetch beside libgit2's error.
pub(super) struct Context<'a> {
    pub(super) attempt: String,
    pub(super) what: &'static str,
    pub(super) elapsed: Duration,
    pub(super) stop: Option<Stop>,
    pub(super) seen: &'a Seen,
    pub(super) credentials: &'a Credentials,
}

pub(super) fn classify(error: &git2::Error, context: Context<'_>) -> FetchError {
    let attempt = context.attempt.clone();
    // What the callbacks saw themselves is certain; libgit2 repeats it vaguely.
    if let Some(host_key) = context.seen.host_key() {
        return match host_key {
            HostKeyError::Mismatch(detail) => FetchError::HostKeyMismatch { attempt, detail },
            HostKeyError::Unknown(detail) => FetchError::HostKeyUnknown { attempt, detail },
        };
    }
    match (context.stop, context.seen.refused()) {
        (Some(Stop::Deadline), _) => FetchError::TimedOut {
            attempt,
            after: context.elapsed,
        },
        (Some(Stop::Bytes(limit)), _) => FetchError::TooLarge {
            attempt,
            limit: format!("{limit} bytes"),
        },
        (None, Some(Refused::OtherServer)) => FetchError::Redirected { attempt },
        (None, Some(refused)) => FetchError::AuthFailed {
            attempt,
            detail: refused_text(refused),
        },
        (None, None) => classify_text(error, context),
    }
}

/// By what libgit2 says: the more telling first.
fn classify_text(error: &git2::Error, context: Context<'_>) -> FetchError {
    let Context {
        attempt,
        what,
        elapsed,
        seen,
        credentials,
        ..
    } = context;
    let text = error.message().to_ascii_lowercase();
    let detail = || presentable(error.message(), credentials);
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    let class = error.class();
    let network = matches!(
        class,
        ErrorClass::Net | ErrorClass::Http | ErrorClass::Ssh | ErrorClass::Ssl | ErrorClass::Os
    );

    // The allocator says no, or the indexer to a pack that names too many.
    if class == ErrorClass::NoMemory || (class == ErrorClass::Indexer && has(&["too many objects"])) {
        return FetchError::TooLarge {
            attempt,
            limit: memory::limit(),
        };
    }
    if let Some(status) = http_status(&text) {
        return match status {
            401 | 403 | 407 => FetchError::AuthFailed {
                attempt,
                detail: refused_text(Refused::NotAccepted),
            },
            404 | 410 => FetchError::RepositoryNotFound { attempt },
            _ => FetchError::Unreachable {
                attempt,
                detail: format!("it answered with http status {status}"),
            },
        };
    }
    if error.code() == ErrorCode::Certificate || (class == ErrorClass::Ssl && has(&["certificate"])) {
        return FetchError::CertificateUnknown {
            attempt,
            detail: detail(),
        };
    }
    if has(&["too many redirects or authentication"]) && seen.shown() || error.code() == ErrorCode::Auth {
        return FetchError::AuthFailed {
            attempt,
            detail: refused_text(Refused::NotAccepted),
        };
    }
    if has(&["cannot redirect", "redirect"]) {
        return FetchError::Redirected { attempt };
    }
    if error.code() == ErrorCode::Timeout || has(&["timed out", "temporarily unavailable"]) {
        return FetchError::TimedOut {
            attempt,
            after: elapsed,
        };
    }
    if class == ErrorClass::Ssh && has(&["authenticat", "public key", "private key", "publickey"]) {
        return FetchError::AuthFailed {
            attempt,
            detail: refused_text(Refused::NotAccepted),
        };
    }
    if has(&[
        "cannot fetch a specific object",
        "not our ref",
        "couldn't find remote ref",
        "unadvertised object",
    ]) {
        return FetchError::RefNotFound { attempt, what };
    }
    if network
        && has(&[
            "repository not found",
            "not appear to be a git repo",
            "no such repository",
        ])
    {
        return FetchError::RepositoryNotFound { attempt };
    }
    if network && elapsed >= io_timeout() {
        return FetchError::TimedOut {
            attempt,
            after: elapsed,
        };
    }
    by_class(class, &text, attempt, detail())
}

/// By the part of libgit2 that failed: the last resort.
fn by_class(class: ErrorClass, text: &str, attempt: String, detail: String) -> FetchError {
    let socket = || {
        ["connect", "socket", "resolve"]
            .iter()
            .any(|word| text.contains(word))
    };
    match class {
        // The same class reports sockets and files; only the former say so.
        ErrorClass::Os | ErrorClass::Filesystem if !socket() => FetchError::Storage { attempt, detail },
        ErrorClass::Odb
        | ErrorClass::Object
        | ErrorClass::Zlib
        | ErrorClass::Indexer
        | ErrorClass::Sha1
        | ErrorClass::Tree
        | ErrorClass::Repository
        | ErrorClass::Reference => FetchError::Corrupt { attempt, detail },
        _ => FetchError::Unreachable { attempt, detail },
    }
}

fn refused_text(refused: Refused) -> &'static str {
    match refused {
        Refused::NoneGiven => "the server asks for credentials, and the source names no Secret",
        Refused::OtherMethod => "the server asks for another kind of credentials than the Secret holds",
        Refused::Unusable => "the Secret's key cannot be read: is it encrypted, or of an unusual format?",
        Refused::NotAccepted | Refused::OtherServer => "the server does not accept the credentials",
    }
}

/// "unexpected http status code: 404"
fn http_status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("http status code: ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Text from outside as it may be shown: no control characters, no userinfo, no credential, one short line.
pub(super) fn presentable(text: &str, credentials: &Credentials) -> String {
    let text = credentials.redact(text);
    let words: Vec<String> = text.split_whitespace().map(strip_userinfo).collect();
    escape(&words.join(" "), 300)
}

fn strip_userinfo(word: &str) -> String {
    match word.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at_checked(authority).unwrap_or((rest, ""));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => word.to_owned(),
    }
}

/// Control and formatting characters made visible, cut to `max` characters.
pub(super) fn escape(text: &str, max: usize) -> String {
    let invisible = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut out = String::new();
    let mut count = 0;
    for c in text.chars() {
        let shown = if invisible(c) {
            c.escape_default().to_string()
        } else {
            c.to_string()
        };
        count += shown.chars().count();
        if count > max {
            // Room for the mark that something is missing.
            while out.chars().count() + 1 > max {
                out.pop();
            }
            out.push('…');
            break;
        }
        out.push_str(&shown);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn reason(code: ErrorCode, class: ErrorClass, message: &str) -> &'static str {
        let seen = Seen::default();
        let credentials = Credentials::anonymous();
        let context = Context {
            attempt: "fetch branch main of https://h/a".into(),
            what: "branch",
            elapsed: Duration::from_millis(10),
            stop: None,
            seen: &seen,
            credentials: &credentials,
        };
        classify(&git2::Error::new(code, class, message), context).reason()
    }

    #[test]
    fn what_libgit2_says_becomes_a_reason() {
        use ErrorClass as C;
        use ErrorCode::{Certificate, GenericError as E, Timeout};
        for (code, class, message, expected) in [
            (
                E,
                C::Net,
                "failed to resolve address for h: Name or service not known",
                "Unreachable",
            ),
            (
                E,
                C::Os,
                "failed to connect to h: Connection refused",
                "Unreachable",
            ),
            (
                E,
                C::Os,
                "failed to write to 'x': No space left on device",
                "StorageFailed",
            ),
            (
                E,
                C::Net,
                "failed to connect to h: Operation timed out",
                "TimedOut",
            ),
            (
                Timeout,
                C::Net,
                "could not read from socket: timed out",
                "TimedOut",
            ),
            (
                E,
                C::Ssl,
                "SSL error: syscall failure: Resource temporarily unavailable",
                "TimedOut",
            ),
            (E, C::Ssl, "the SSL certificate is invalid", "CertificateUnknown"),
            (Certificate, C::Ssl, "x", "CertificateUnknown"),
            (
                E,
                C::Http,
                "unexpected http status code: 404",
                "RepositoryNotFound",
            ),
            (E, C::Http, "unexpected http status code: 403", "AuthFailed"),
            (E, C::Http, "unexpected http status code: 503", "Unreachable"),
            (E, C::Net, "cannot redirect from 'a' to 'b'", "Redirected"),
            (
                E,
                C::Http,
                "too many redirects or authentication replays",
                "Redirected",
            ),
            (E, C::Ssh, "Failed to authenticate SSH session: x", "AuthFailed"),
            (
                E,
                C::Net,
                "remote error: upload-pack: not our ref 1234",
                "RefNotFound",
            ),
            (E, C::Indexer, "inflate error", "Corrupt"),
            (E, C::Odb, "object not found", "Corrupt"),
            (E, C::Net, "early EOF", "Unreachable"),
        ] {
            assert_eq!(reason(code, class, message), expected, "{message}");
        }
    }

    #[test]
    fn texts_from_outside_are_made_harmless() {
        let data = BTreeMap::from([("token".to_owned(), b"hunter2".to_vec())]);
        let credentials = Credentials::from_secret(&data).unwrap();
        let text = "remote: \u{1b}[31mno\r\nhttps://u:pw@h/a hunter2";
        let shown = presentable(text, &credentials);
        assert_eq!(shown, "remote: \\u{1b}[31mno https://h/a [redacted]");
        assert_eq!(escape(&"x".repeat(1000), 300).chars().count(), 300);
    }
}
