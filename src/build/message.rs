//! What Slipway's own containers of a build leave behind when they end: a line of JSON in their termination message, which has
//! room for 4096 bytes (<https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>).

use serde::{Deserialize, Serialize};

use crate::names::Digest;

/// Room for a sentence: with what stands around it, and each character escaped, it fits.
const LONGEST: usize = 600;

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Message {
    /// The source is there, and may be built.
    Fetched {
        /// What was found in it and let pass, worst first; at the end how much more there is.
        warned: Vec<String>,
    },
    /// The registry has the image.
    Pushed {
        /// The digest that its tag has there.
        digest: Digest,
    },
    /// So many processes ran at once.
    Processes {
        /// How many.
        count: u32,
        /// Whether one more was refused; else nobody tried for more.
        bounded: bool,
    },
    /// It did not do what it was to do.
    Failed {
        /// One sentence: what, and what to do.
        sentence: String,
        /// Whether it was none of the source's fault.
        #[serde(default)]
        later: bool,
    },
}

impl Message {
    /// A source that may be built; as many of these sentences as fit.
    #[must_use]
    pub fn fetched(sentences: &[String]) -> Self {
        let mut room = LONGEST;
        let fits = |sentence: &&String| {
            room = room.saturating_sub(sentence.chars().count());
            room > 0
        };
        let mut warned: Vec<String> = sentences.iter().take_while(fits).cloned().collect();
        if warned.len() < sentences.len() {
            warned.push(format!("and {} more, in its log", sentences.len() - warned.len()));
        }
        Self::Fetched { warned }
    }

    /// A failure whose sentence fits.
    #[must_use]
    pub fn failed(sentence: &str, later: bool) -> Self {
        let mut short: String = sentence.chars().take(LONGEST).collect();
        if short.len() < sentence.len() {
            short.push('…');
        }
        Self::Failed {
            sentence: short,
            later,
        }
    }

    /// As a container leaves it.
    #[must_use]
    pub fn print(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What a container left; `None` where it left something else, or nothing.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text.trim()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_warnings_those_are_left_that_fit_and_a_count_of_the_others() {
        let sentences: Vec<String> = (0..9).map(|n| format!("{n}{}", "x".repeat(199))).collect();
        let Message::Fetched { warned } = Message::fetched(&sentences) else {
            unreachable!("it is fetched")
        };
        assert_eq!(warned[..2], sentences[..2]);
        assert_eq!(warned[2..], ["and 7 more, in its log"]);
    }

    #[test]
    fn what_is_left_is_read_and_the_longest_sentence_fits() {
        let digest: Digest = format!("sha256:{:064x}", 7).parse().unwrap();
        for message in [
            Message::Pushed { digest },
            Message::Processes {
                count: 2040,
                bounded: true,
            },
            Message::fetched(&[]),
            Message::fetched(&vec!["\u{1}".repeat(200); 20]),
            Message::failed("there is no Dockerfile: commit one", false),
            Message::failed(&"\u{1}".repeat(10_000), true),
        ] {
            let text = message.print();
            assert!(text.len() <= 4096, "{}", text.len());
            assert_eq!(Message::read(&text), Some(message));
        }
        for text in ["", "killed", "{}", "[1]"] {
            assert_eq!(Message::read(text), None);
        }
    }
}
