//! The words for a bad day: objects and records that were read → lines and rows for people.
//!
//! Every command that answers a question (`status`, `explain`, `history`, `audit`) reads what it needs elsewhere and
//! hands it in as values; what is said about them is decided here, so that it can be tested without a cluster. No
//! client, git, clock, file or terminal may enter: even the present time is an argument. Nothing here has ever seen the
//! value of a Secret, and what others wrote (messages, authors, logs) goes through [`clean`] before it is shown.
//!
//! - [`remedy`] each reason word → what to do about it
//! - [`status`] releases and sources → one line each, problems first
//! - [`explain`] everything about one release → the chain from git to pods
//! - [`history`] revisions → rows
//! - [`audit`] what was declared when, joined with what ran
//! - [`hints`] a log → what is known of the failure that it shows

pub mod audit;
mod chain;
pub mod explain;
pub mod facts;
pub mod hints;
pub mod history;
pub mod remedy;
pub mod status;

use jiff::Timestamp;

use crate::spec::is_hidden;

/// A text of others, harmless on a terminal: one line, no control characters, at most `most` characters.
#[must_use]
pub fn clean(text: &str, most: usize) -> String {
    let harmless: String = text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect();
    let trimmed = harmless.trim();
    if trimmed.chars().count() <= most {
        return trimmed.to_owned();
    }
    trimmed.chars().take(most.saturating_sub(1)).collect::<String>() + "…"
}

/// How long ago, in the two largest units that matter: `45s`, `3m`, `2h5m`, `4d`.
#[must_use]
pub fn span(from: Timestamp, to: Timestamp) -> String {
    // Clocks of two machines: a little less than nothing is nothing.
    let seconds = to.as_second().saturating_sub(from.as_second()).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) if minutes % 60 > 0 => format!("{hours}h{}m", minutes % 60),
        (0, hours, _) => format!("{hours}h"),
        (days, hours, _) if days < 10 && hours % 24 > 0 => format!("{days}d{}h", hours % 24),
        (days, ..) => format!("{days}d"),
    }
}

/// In UTC, whole seconds: `2026-05-03T14:00:00Z`.
#[must_use]
pub fn utc(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// The first twelve digits of a commit.
#[must_use]
pub fn short_commit(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// `sha256:` and the first twelve digits.
#[must_use]
pub fn short_digest(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}

/// Rows with their columns one below the other; the last column is as long as it is.
#[must_use]
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            let pad = width.saturating_sub(cell.chars().count()) + 2;
            line.extend(std::iter::repeat_n(' ', pad));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `1 problem`, `2 problems`.
#[must_use]
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
pub(crate) mod fixtures;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_cannot_move_the_cursor_or_begin_a_line() {
        assert_eq!(
            clean("a\n\u{1b}[31mb\u{202e}c\u{2028}d\u{e0041}e\r", 100),
            "a  [31mb c d e"
        );
        assert_eq!(clean("abcdef", 4), "abc…");
    }

    #[test]
    fn spans_are_short_and_never_negative() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (seconds, text) in [
            (-5, "0s"),
            (59, "59s"),
            (200, "3m"),
            (7200, "2h"),
            (7500, "2h5m"),
            (90_000, "1d1h"),
            (864_000, "10d"),
        ] {
            assert_eq!(span(at(1000), at(1000 + seconds)), text);
        }
    }

    #[test]
    fn columns_stand_below_each_other_and_lines_have_no_tail() {
        let rows = [vec!["a".into(), "b".into()], vec!["äöü".into(), String::new()]];
        assert_eq!(columns(&rows), "a    b\näöü\n");
    }
}
