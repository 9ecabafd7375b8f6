//! Each word that Slipway has for a state → what a person does about it.
//!
//! A test reads the sources of the rooms that make such words and fails for one that is not here, so that nobody is ever
//! told a word without a remedy. `{ns}` and `{name}` are filled in.

mod table;

/// Where a word stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The phase of a release.
    Phase,
    /// `Waiting(…)` of a release.
    Waiting,
    /// `Failed(…)` of a release.
    Failed,
    /// A condition of a release beside its phase.
    Detail,
    /// The reason of a container that waits.
    Pod,
    /// The reason of a source.
    Source,
}

use Place::{Failed, Phase, Pod, Waiting};
use table::{PROBLEMS, REMEDIES};

use crate::plan::hint;

/// What to do about a word; `None` for one that this version has never heard of.
#[must_use]
pub fn remedy(place: Place, word: &str) -> Option<&'static str> {
    REMEDIES
        .iter()
        .find(|(at, known, _)| *at == place && *known == word)
        .map(|(_, _, remedy)| *remedy)
}

/// The phase of a status, taken apart: `Waiting(SecretMissing)` → `(Waiting, SecretMissing)`.
#[must_use]
pub fn phase(text: &str) -> (Place, &str) {
    let inner = |start: &str| text.strip_prefix(start)?.strip_suffix(')');
    match (inner("Waiting("), inner("Failed(")) {
        (Some(word), _) => (Waiting, word),
        (_, Some(word)) => (Failed, word),
        _ => (Phase, text),
    }
}

/// What to do about what a message says of pods, where it says more than the phase.
#[must_use]
pub fn of_pods(message: &str) -> Option<&'static str> {
    let message = hint::before(message);
    let named = REMEDIES
        .iter()
        .filter(|(place, ..)| *place == Pod)
        .find(|(_, word, _)| message.contains(word));
    if let Some((_, _, remedy)) = named {
        return Some(remedy);
    }
    let said = [
        ("cannot be scheduled", "add room, or lower resources in git"),
        (
            "restarted",
            "read why it crashes: kubectl -n {ns} logs -l slipway.dev/release={name} --previous; then commit a version that works, or raise attempt",
        ),
        (
            "ended with exit code",
            "read why it crashes: kubectl -n {ns} logs -l slipway.dev/release={name} --previous; then commit a version that works, or raise attempt",
        ),
        (
            "restarts while it was verified",
            "read why it crashed: kubectl -n {ns} logs -l slipway.dev/release={name} --previous; then commit a version that works, or raise attempt",
        ),
        (
            "not complete within",
            "see why the pods were not ready in time (health, the application's log), then commit a version that works, or raise attempt",
        ),
    ];
    said.into_iter()
        .find(|(words, _)| message.contains(words))
        .map(|(_, remedy)| remedy)
}

/// What to do about a problem that a source names: nearly always it stands in a file.
#[must_use]
pub fn of_problem(message: &str) -> &'static str {
    PROBLEMS
        .iter()
        .find(|(words, _)| message.contains(words))
        .map_or("mend the file at that place, and commit", |(_, remedy)| *remedy)
}

#[cfg(test)]
mod tests;
