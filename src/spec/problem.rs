//! What is wrong with a file, and where: one sentence that may be shown to whoever may read the repository's name.

use std::fmt;

use super::{firewall, yaml::is_hidden};

const MAX_MESSAGE: usize = 1024;

/// Line and column, from 1.
pub type Place = (usize, usize);

/// What is wrong, where, and what to do. Holds no value of a variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, from the root of the repository.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// One sentence for the author, at most 1 KiB, without control characters.
    pub message: String,
    /// Whether a secret was found at its place: the line may be shown to nobody.
    pub secret: bool,
}

impl Problem {
    /// `message` is cut to 1 KiB and its control characters are replaced.
    #[must_use]
    pub fn error(path: &str, (line, column): Place, message: &str) -> Self {
        Self {
            path: plain(path),
            line,
            column,
            message: clean(message),
            secret: false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.path, self.line, self.column, self.message)
    }
}

/// The last line of defence: what has the form of a secret is not repeated, wherever it came from.
fn clean(message: &str) -> String {
    if firewall::has_secret(message) {
        return "this is not possible here; it is not shown, since it has the form of a secret".to_owned();
    }
    plain(message)
}

/// At most 1 KiB, in one line.
fn plain(message: &str) -> String {
    let mut out = String::new();
    for c in message.chars() {
        if out.len() + 8 > MAX_MESSAGE {
            out.push('…');
            break;
        }
        out.push(if is_hidden(c) { '\u{fffd}' } else { c });
    }
    out
}
