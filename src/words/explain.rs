//! Why a release is as it is: the cause and the remedy in the first line, then the chain from git to pods.
//!
//! The first line is about the first link of the chain that is broken, since everything after it only follows: a file
//! that cannot be read comes before a Secret that is missing, and that before pods that are not ready.

use jiff::Timestamp;

pub use super::facts::{Facts, Pod, SourceSeen};
use super::{
    chain, clean,
    remedy::{self, Place, remedy as known},
    span, status,
};
use crate::{
    api::{ConditionStatus, Release, ReleaseSource, revision::Outcome},
    plan::{decision::BUILD_LOG, ledger::EntryState, rollout, rotation},
};

/// How sentences about a migration begin that earlier code cannot live with.
const INCOMPATIBLE: &str = "migrate.compatible: false";

/// The end of the log of a build that failed, which is told to nobody else.
fn build_log(facts: &Facts) -> Vec<String> {
    let status = facts.release.as_ref().and_then(|release| release.status.as_ref());
    let log = status
        .and_then(|status| status::condition(&status.conditions, BUILD_LOG))
        .filter(|condition| condition.status == ConditionStatus::True);
    let lines = log.map(|log| {
        log.message
            .lines()
            .map(|line| format!("  | {}", clean(line, 300)))
    });
    let mut lines: Vec<String> = lines.into_iter().flatten().collect();
    if !lines.is_empty() {
        lines.insert(0, "build: the end of its log:".to_owned());
    }
    lines
}

/// What is to be known first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `Waiting(SecretMissing)`.
    pub state: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// One sentence.
    pub cause: String,
    /// What a person does, beginning with a verb or with `nothing`.
    pub remedy: String,
}

/// All lines; the first names cause and remedy.
#[must_use]
pub fn lines(facts: &Facts) -> Vec<String> {
    let verdict = verdict(facts);
    let since = verdict
        .since
        .map_or_else(String::new, |since| format!(" for {}", span(since, facts.now)));
    let cause = clean(&verdict.cause, 1200);
    let remedy = clean(&verdict.remedy, 800);
    let mut lines = vec![format!(
        "{}{since}: {}. To do: {remedy}.",
        clean(&verdict.state, 100),
        cause.trim_end_matches('.'),
    )];
    lines.push(String::new());
    lines.extend(chain::lines(facts));
    lines.extend(build_log(facts));
    for sentence in &facts.unread {
        lines.push(format!("not shown: {}", clean(sentence, 500)));
    }
    lines
}

/// What is to be known first.
#[must_use]
pub fn verdict(facts: &Facts) -> Verdict {
    let Some(release) = &facts.release else {
        return absent(facts);
    };
    let row = status::row(release);
    let said = |cause: &str, remedy: String| Verdict {
        state: row.phase.clone(),
        since: since(facts, release),
        cause: cause.to_owned(),
        remedy,
    };
    if let Some((source, problem)) = facts.problem() {
        let stays = row.live.as_deref().unwrap_or("what runs");
        let cause = format!(
            "git is not followed, since {}; {stays} stays as it is",
            format!("{} {}", problem.place, problem.message).trim(),
        );
        return Verdict {
            state: format!(
                "{}, held by source {}",
                row.phase,
                source.metadata.name.as_deref().unwrap_or("?")
            ),
            since: status::source_row(source).since,
            ..said(&cause, filled(facts, remedy::of_problem(&problem.message)))
        };
    }
    if status::is_behind(release) {
        let cause = "the controller has not looked at the newest spec";
        let remedy = "see that the controller runs, and read its log: kubectl -n slipway-system get pods";
        return said(cause, remedy.to_owned());
    }
    let status = release.status.clone().unwrap_or_default();
    let (place, word) = remedy::phase(&status.phase);
    let remedy = match (place, word) {
        (Place::Phase, "Live") => return live(facts, release, said),
        (Place::Waiting, "Drifted") if matches!(facts.source, SourceSeen::Gone(_)) => {
            Some("create its ReleaseSource again, or let another source declare the release".to_owned())
        }
        (Place::Failed, "Migrating") => Some(migration(facts, &status.message)),
        (Place::Phase, "Migrating") if !facts.refused.is_empty() => {
            let words = facts.refused.join("; ");
            let cause = format!("{}; the API server refuses its pod: {words}", status.message);
            return said(&cause, refusal(facts, &words));
        }
        (Place::Failed, "Applying") => Some(refusal(facts, &status.message)),
        (Place::Phase, "RolledBack") if values_changed(facts) => {
            Some("put the values of the Secrets right; they roll out by themselves".to_owned())
        }
        // An earlier version, which is the usual way out, is the one that cannot be.
        (Place::Phase, "Rejected") if status.message.contains(INCOMPATIBLE) => {
            Some("declare the version that the message names, or one made after it".to_owned())
        }
        (Place::Failed, "RollingOut") if status.message.contains(INCOMPATIBLE) => Some(format!(
            "commit a version made after it that works; if the one before can run on the schema after all, commit \
             migrate.compatible: true with {} first",
            status.declared_version.as_deref().unwrap_or("this version"),
        )),
        (Place::Failed, "RollingOut") | (Place::Phase, "RolledBack" | "RollingOut")
            if status.message.contains(rollout::REFUSED) =>
        {
            Some(refusal(facts, &status.message))
        }
        (Place::Failed, "RollingOut") | (Place::Phase, "RolledBack" | "RollingOut") => {
            remedy::of_pods(&status.message)
                .or_else(|| known(place, word))
                .map(|remedy| filled(facts, remedy))
        }
        _ => known(place, word).map(|remedy| filled(facts, remedy)),
    };
    let remedy = remedy.unwrap_or_else(|| {
        "use the slipway of the controller's version: this one does not know the word".to_owned()
    });
    // What mends it may lie in git already, and nobody reads it there.
    let SourceSeen::Found(source) = &facts.source else {
        return said(&status.message, remedy);
    };
    match unfollowed(source) {
        Some((why, follow)) => said(
            &format!("{}; {why}", status.message),
            format!("{remedy}; and that git is followed again: {follow}"),
        ),
        None => said(&status.message, remedy),
    }
}

/// A release that is live: what may still be wrong around it.
fn live(facts: &Facts, release: &Release, said: impl Fn(&str, String) -> Verdict) -> Verdict {
    let status = release.status.clone().unwrap_or_default();
    for word in status::DETAILS {
        let Some(condition) = status::condition(&status.conditions, word)
            .filter(|condition| condition.status == ConditionStatus::True)
        else {
            continue;
        };
        let remedy = Some(condition.message.as_str())
            .filter(|_| word == "Degraded")
            .and_then(remedy::of_pods)
            .or_else(|| known(Place::Detail, word))
            .unwrap_or("nothing");
        let cause = if status.message.contains(&condition.message) {
            status.message.clone()
        } else {
            format!("{}; {}", status.message, condition.message)
        };
        return said(&cause, filled(facts, remedy));
    }
    match &facts.source {
        SourceSeen::Gone(name) => said(
            &format!(
                "{}; its source {name} is gone, so git is not followed",
                status.message
            ),
            "create the ReleaseSource again, or let another one declare the release".to_owned(),
        ),
        SourceSeen::Found(source) => match (unfollowed(source), facts.claim()) {
            (Some((why, remedy)), _) => said(&format!("{}; {why}", status.message), remedy),
            (None, Some((other, problem))) => said(
                &format!(
                    "{}; source {} has it too: {}",
                    status.message,
                    other.metadata.name.as_deref().unwrap_or("?"),
                    format!("{} {}", problem.place, problem.message).trim(),
                ),
                filled(facts, remedy::of_problem(&problem.message)),
            ),
            (None, None) => said(&status.message, "nothing".to_owned()),
        },
        _ => said(&status.message, "nothing".to_owned()),
    }
}

/// Why a source follows git for no release, and what to do; `None` where it does.
fn unfollowed(source: &ReleaseSource) -> Option<(String, String)> {
    let row = status::source_row(source);
    if row.ready || row.reason == "Problems" {
        return None;
    }
    let remedy = match row.reason.as_str() {
        "Suspended" => "take suspend out of the ReleaseSource to go on".to_owned(),
        "New" => "see that the controller runs: kubectl -n slipway-system get pods".to_owned(),
        reason => known(Place::Source, reason).map_or_else(
            || "use the slipway of the controller's version: this one does not know the word".to_owned(),
            str::to_owned,
        ),
    };
    Some((
        format!("source {} does not follow git: {}", row.source, row.message),
        remedy,
    ))
}

/// There is no such release.
fn absent(facts: &Facts) -> Verdict {
    let id = format!("{}/{}", facts.namespace, facts.name);
    let said = |state: &str, cause: String, remedy: &str| Verdict {
        state: state.to_owned(),
        since: None,
        cause,
        remedy: remedy.to_owned(),
    };
    if let Some((source, problem)) = facts.problem() {
        let name = source.metadata.name.as_deref().unwrap_or("?");
        let words = format!("{} {}", problem.place, problem.message);
        let cause = format!("source {name} cannot make it, since {}", words.trim());
        return said(
            "There is no release",
            format!("{id} does not exist: {cause}"),
            &filled(facts, remedy::of_problem(&problem.message)),
        );
    }
    if let SourceSeen::Any(sources) = &facts.source
        && let Some((why, remedy)) = sources.iter().find_map(unfollowed)
    {
        return said(
            "There is no release",
            format!("{id} does not exist; {why}"),
            &remedy,
        );
    }
    said(
        "There is no release",
        format!("{id} does not exist in this cluster"),
        "declare it in git, in a directory that a ReleaseSource names, with a version; or correct name and namespace",
    )
}

/// What to do about a migration that failed, by what the ledger says of it.
fn migration(facts: &Facts, message: &str) -> String {
    let settle = |key: &str| {
        format!(
            "look into the database whether it is done; then commit migrate.accept: \"{key}\" if it is, or raise \
             migrate.rerun if it is not"
        )
    };
    let entry = facts.entry();
    match entry.as_ref().map(|(key, entry)| (key.short(), entry.state)) {
        Some((key, EntryState::Unknown)) => settle(key),
        Some(_) if message.contains("LedgerMissing") => {
            "put the newer ledger back from a backup, or raise migrate.rerun to run the migration again"
                .to_owned()
        }
        _ if message.contains("LedgerMissing") || message.contains("is unknown") => {
            let migration = facts
                .current()
                .and_then(|current| current.spec.migration.as_ref());
            let key = migration.and_then(|migration| migration.key.get(..8));
            settle(key.unwrap_or("the first 8 digits of its key"))
        }
        _ => known(Place::Failed, "Migrating").unwrap_or_default().to_owned(),
    }
}

/// What to do about something that the API server refuses.
fn refusal(facts: &Facts, words: &str) -> String {
    let place = |word: &str| filled(facts, known(Place::Waiting, word).unwrap_or_default());
    if words.contains("exceeded quota") || words.starts_with("Quota: ") {
        place("Quota")
    } else if words.contains("PodSecurity") {
        place("PodSecurity")
    } else if words.contains("TooLarge") {
        "make the spec smaller, or split it: its objects do not fit into one revision".to_owned()
    } else if words.contains("cannot be read") {
        "put the record right by hand: somebody wrote into it what Slipway did not".to_owned()
    } else {
        filled(facts, known(Place::Failed, "Applying").unwrap_or_default())
    }
}

/// Whether what failed differs from what serves by its values alone.
fn values_changed(facts: &Facts) -> bool {
    let failed = facts
        .current()
        .filter(|current| rotation::made(&current.spec.cause));
    let Some(failed) = failed else { return false };
    let outcome = failed.status.as_ref().and_then(|status| status.outcome);
    let attempt = facts.live().map(|live| &live.spec.attempt);
    outcome == Some(Outcome::RolloutFailed) && attempt.is_none_or(|attempt| *attempt == failed.spec.attempt)
}

/// Since when the release is in this state, as far as the objects tell: the end of its attempt, the begin of one that is
/// under way, else the last time that it became ready or stopped being so.
fn since(facts: &Facts, release: &Release) -> Option<Timestamp> {
    let ready = status::since(release);
    let phase = release.status.as_ref().map_or("", |status| status.phase.as_str());
    let (place, word) = remedy::phase(phase);
    let Some(current) = facts.current() else {
        return ready;
    };
    let finished = current
        .status
        .as_ref()
        .and_then(|status| status.finished_at.as_ref());
    let begun = current.metadata.creation_timestamp.as_ref();
    let own = match (place, word, finished) {
        (_, "Live", _) => None,
        (Place::Failed, ..) | (_, "RolledBack", _) => finished,
        (_, _, None) => begun,
        _ => None,
    };
    own.map(|time| time.0).max(ready)
}

/// A remedy with the names of this release.
fn filled(facts: &Facts, remedy: &str) -> String {
    remedy
        .replace("{ns}", &facts.namespace)
        .replace("{name}", &facts.name)
}

#[cfg(test)]
mod tests;
