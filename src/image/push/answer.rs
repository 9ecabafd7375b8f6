//! What a registry's answer means for a step of a push: whether it may be tried again, and what to tell people.

use std::{fmt, time::Duration};

use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use reqwest::{
    Response, StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use serde::Deserialize;
use tokio::time::timeout;

use crate::{
    image::{
        layout::LayoutError,
        session::{self, Session, authority, bounded, claimed},
    },
    names::Digest,
};

/// What a registry says of an error is a line or two.
const MAX_BODY: usize = 16 << 10;
/// Of what comes after an answer that says enough by itself.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// The codes of the distribution spec have up to 21 characters.
const MAX_CODE: usize = 40;
/// As much as fits a line of a status.
const MAX_MESSAGE: usize = 200;

/// The registry lost, or does not know yet, what it had taken. From the beginning it may go better.
const FORGOTTEN: [&str; 3] = ["BLOB_UPLOAD_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"];

/// Why a step did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The image on disk is not usable.
    Layout(LayoutError),
    /// The registry wants a credential, or another one. And what it says of that.
    Refused(Option<String>),
    /// It may go better another time; not before `wait`, where it said so.
    Passing { cause: String, wait: Option<Duration> },
    /// It will not go better.
    Lasting(String),
    /// The tag leads to this image of somebody else.
    Taken(Digest),
}

impl Failure {
    pub fn passing(cause: String) -> Self {
        Self::Passing { cause, wait: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(error) => error.fmt(f),
            Self::Refused(said) => f.write_str(said.as_deref().unwrap_or("it is not allowed")),
            Self::Passing { cause, .. } => f.write_str(cause),
            Self::Lasting(problem) => f.write_str(problem),
            Self::Taken(found) => write!(f, "it leads to {found}"),
        }
    }
}

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

impl From<session::Failure> for Failure {
    fn from(failure: session::Failure) -> Self {
        match failure {
            session::Failure::NotFound => Self::passing("the registry does not have it".to_owned()),
            session::Failure::Unauthorized => Self::Refused(None),
            session::Failure::TimedOut => Self::passing("no answer in time".to_owned()),
            session::Failure::Unreachable(cause) | session::Failure::Unwell(cause) => Self::passing(cause),
            session::Failure::Invalid(problem) => Self::Lasting(problem),
        }
    }
}

/// What an answer means that is not the one that was wanted.
pub async fn judge(session: &Session<'_>, response: Response) -> Failure {
    let status = response.status();
    let wait = wait(response.headers(), Timestamp::now());
    let elsewhere = Some(response.url()).filter(|url| !session.is_registry(url));
    let who = elsewhere.map_or_else(
        || "the registry".to_owned(),
        |url| format!("{}, where the registry sends,", authority(url)),
    );
    let (elsewhere, code) = (elsewhere.is_some(), status.as_u16());
    let said = timeout(BODY_TIMEOUT, said(session, response)).await;
    let said = said.unwrap_or_default();
    let cause = match said.to_string() {
        words if words.is_empty() => format!("{who} answered {code}"),
        words => format!("{who} answered {code}: {words}"),
    };
    match status {
        // Where the registry sends nothing is shown; what it allowed there may have ended.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if elsewhere => Failure::Passing { cause, wait },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Failure::Refused(Some(said.to_string()).filter(|words| !words.is_empty()))
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Failure::Passing { cause, wait },
        status if status.is_server_error() => Failure::Passing { cause, wait },
        _ if FORGOTTEN.contains(&said.code.as_str()) => Failure::Passing { cause, wait },
        _ => Failure::Lasting(cause),
    }
}

/// Registries need not name what they took, but none may have taken something else.
pub fn is_named(response: &Response, expected: &Digest) -> Result<(), Failure> {
    match claimed(response) {
        Some(named) if named != *expected => {
            Err(Failure::Lasting(format!("the registry took it for {named}")))
        }
        _ => Ok(()),
    }
}

/// `Retry-After`: seconds, or a date.
fn wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(until - now).unwrap_or_default())
}

/// `errors[0]` of an answer.
#[derive(Debug, Default)]
struct Said {
    code: String,
    message: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.code.is_empty() || self.message.is_empty() {
            ""
        } else {
            ": "
        };
        write!(f, "{}{separator}{}", self.code, self.message)
    }
}

#[derive(Deserialize)]
struct RawErrors {
    errors: Vec<RawError>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct RawError {
    code: Option<String>,
    message: Option<String>,
}

async fn said(session: &Session<'_>, response: Response) -> Said {
    let body = bounded(response, MAX_BODY).await.unwrap_or_default();
    let errors = serde_json::from_slice::<RawErrors>(&body).map(|body| body.errors);
    let first = errors.unwrap_or_default().into_iter().next().unwrap_or_default();
    // Whoever repeats what was shown to it is not repeated.
    let words = |text: Option<String>, max| {
        let text = plain(&text.unwrap_or_default());
        if session.is_shown_in(&text) {
            String::new()
        } else {
            cut(text, max)
        }
    };
    Said {
        code: words(first.code, MAX_CODE),
        message: words(first.message, MAX_MESSAGE),
    }
}

/// One line without characters that act on what shows it.
fn plain(text: &str) -> String {
    let acts = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let spaced = text
        .chars()
        .filter(|c| !acts(*c))
        .map(|c| if c.is_control() { ' ' } else { c });
    spaced
        .collect::<String>()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn cut(text: String, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_waited_for_as_long_as_it_says_by_number_or_date() {
        let now: Timestamp = "2026-08-01T12:00:00Z".parse().unwrap();
        let wait = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            super::wait(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("7"), Some(7));
        assert_eq!(wait("Sat, 01 Aug 2026 12:00:30 GMT"), Some(30));
        assert_eq!(wait("Sat, 01 Aug 2026 11:00:00 GMT"), Some(0), "it has passed");
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-1"), None);
    }

    #[test]
    fn what_a_registry_says_is_one_short_line_that_shows_and_does_nothing_else() {
        assert_eq!(plain("no\r\n\u{1b}[2J such\u{202e} thing\0"), "no [2J such thing");
        assert_eq!(cut("äöü".into(), 2), "äö…");
        assert_eq!(cut("äöü".into(), 3), "äöü");
    }
}
