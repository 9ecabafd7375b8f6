//! A new attempt: from what is declared to the next revision, and what it has to wait for.

use super::{
    attempt,
    back::booked_entry,
    decide::{POLL, facts, key_now, missing_sentence, report},
    decision::{Decision, Draft, Phase, Step, Wait},
    keep::{meanwhile, steady},
    migration::{self, Next},
    observed::{DatabaseSeen, Declaration, ImageSeen, Migration, Observed, Revision},
};
use crate::{
    api::revision::Outcome,
    names::{Digest, RevisionNumber},
    spec::{Declared, declared::ImagePick},
};

pub(super) fn renew(o: &Observed, declared: &Declared) -> Decision {
    if let (Some(current), Some(live)) = (&o.current, &o.live)
        && current.number == live.number
        && live.migration.is_some()
        && o.ledger.is_none()
    {
        // Before a key comes that nobody could say anything about.
        return attempt::rebuild_ledger(o, live);
    }
    if let Some(current) = &o.current
        && let Some(decision) = wait_for_running(o, declared, current)
    {
        return decision;
    }
    let (digest, platforms, obtained) = match image(o, declared) {
        Ok(found) => found,
        Err(decision) => return *decision,
    };
    if let Some(message) = platform_mismatch(o, &platforms) {
        return meanwhile(o, declared)
            .saying(Phase::Waiting("PlatformMismatch".into()), message)
            .after(POLL);
    }
    if o.database == DatabaseSeen::Unreadable || (declared.migrate.is_some() && !o.missing.is_empty()) {
        // The key of the migration names the database, so the revision waits for the reference to resolve.
        return meanwhile(o, declared).saying(Phase::Waiting("SecretMissing".into()), missing_sentence(o));
    }
    let migration = key_now(o, declared, &digest).map(|key| Migration {
        key,
        database: match &o.database {
            DatabaseSeen::Known(identity) => identity.clone(),
            _ => "not named; the release alone".to_owned(),
        },
        lock: lock_name(o),
    });
    let moved = o.current.as_ref().or(o.live.as_ref()).is_some_and(|before| {
        before.digest == digest
            && before.attempt == declared.attempt_hash
            && before.migration.as_ref().map(|m| &m.key) != migration.as_ref().map(|m| &m.key)
    });
    let number = o.highest.map_or(RevisionNumber(1), RevisionNumber::next);
    let mut steps: Vec<Step> = supersede(o, number).into_iter().collect();
    steps.push(Step::CreateRevision(Box::new(Draft {
        number,
        cause: moved.then(|| "database moved".to_owned()),
        digest,
        obtained,
        platforms,
        migration,
    })));
    let report = report(
        o,
        Phase::Resolving,
        format!("{} is becoming revision {number}", declared.version),
    );
    Decision {
        steps,
        report,
        wait: Wait::Again,
    }
}

/// The image of the declared reference: pinned by a retained revision, declared by digest, or asked for.
fn image(o: &Observed, declared: &Declared) -> Result<(Digest, Vec<String>, String), Box<Decision>> {
    if let Some((digest, revision, platforms)) = &o.pin {
        // One version never gets a second digest while its revision is kept.
        return Ok((digest.clone(), platforms.clone(), format!("revision {revision}")));
    }
    let reference = declared.image.reference();
    match (&o.image, &declared.image.pick) {
        (
            ImageSeen::Found {
                digest,
                platforms,
                obtained,
            },
            _,
        ) => Ok((digest.clone(), platforms.clone(), obtained.clone())),
        (_, ImagePick::Digest(digest)) => Ok((digest.clone(), Vec::new(), "declared".to_owned())),
        (ImageSeen::NotAsked, ImagePick::Tag(_)) => {
            let mut decision =
                meanwhile(o, declared).saying(Phase::Resolving, format!("looking for {reference}"));
            decision.steps.push(Step::AskRegistry);
            decision.wait = Wait::Again;
            Err(Box::new(decision))
        }
        (ImageSeen::Missing, ImagePick::Tag(_)) => Err(Box::new(
            meanwhile(o, declared)
                .saying(
                    Phase::Waiting("WaitingForImage".into()),
                    format!("{reference} does not exist yet; it goes on by itself when the image is pushed"),
                )
                .after(POLL),
        )),
        (ImageSeen::Failed { reason, message }, ImagePick::Tag(_)) => Err(Box::new(
            meanwhile(o, declared)
                .saying(
                    Phase::Waiting(reason.clone()),
                    format!("{reference} cannot be looked up: {message}"),
                )
                .after(POLL),
        )),
    }
}

fn platform_mismatch(o: &Observed, platforms: &[String]) -> Option<String> {
    if platforms.is_empty() || o.architectures.is_empty() {
        return None;
    }
    let fits = |arch: &String| {
        platforms
            .iter()
            .any(|platform| *platform == format!("linux/{arch}"))
    };
    (!o.architectures.iter().any(fits)).then(|| {
        format!(
            "the image is for {}, but the nodes are {}; push an image that fits, or add such a node",
            platforms.join(", "),
            o.architectures
                .iter()
                .map(|arch| format!("linux/{arch}"))
                .collect::<Vec<_>>()
                .join(", ")
        )
    })
}

/// The lock: the one that the spec names, else that of the database by its identity where it is known, so that
/// releases that share it exclude each other.
#[must_use]
pub fn lock_name(o: &Observed) -> String {
    use sha2::{Digest as _, Sha256};
    let named = match &o.declaration {
        Declaration::Valid(declared) => declared
            .migrate
            .as_ref()
            .and_then(|migrate| migrate.lock.as_ref()),
        _ => None,
    };
    let identity = match (named, &o.database) {
        (Some(lock), _) => format!("named {lock}"),
        (None, DatabaseSeen::Known(identity)) => format!("database {identity}"),
        (None, _) => format!("release {}", o.id),
    };
    let hash = super::ledger::hex(&Sha256::digest(identity.as_bytes()));
    format!("slipway-lock-{}", hash.get(..16).unwrap_or(&hash))
}

/// An unfinished revision ends as superseded when the next one comes.
pub(super) fn supersede(o: &Observed, by: RevisionNumber) -> Option<Step> {
    let current = o.current.as_ref().filter(|current| current.outcome.is_none())?;
    Some(Step::Conclude {
        revision: current.number,
        outcome: Outcome::Superseded,
        message: format!("superseded by {by} before it was live"),
        migration: booked_entry(o, current),
        tail: String::new(),
    })
}

/// A running migration ends before anything else of the release moves on.
pub(super) fn wait_for_running(o: &Observed, declared: &Declared, current: &Revision) -> Option<Decision> {
    let next = migration::unfinished(&facts(o, declared, current, None, true))?;
    let sentence = format!(
        "{} waits until the migration of {} has ended",
        declared.version, current.version
    );
    let mut decision = steady(o, Some(declared));
    match next {
        Next::Step(step) => {
            decision.steps.push(Step::Migrate(step));
            decision.wait = Wait::Again;
        }
        Next::Wait { message, .. } => {
            return Some(
                decision
                    .saying(Phase::Migrating, format!("{sentence}: {message}"))
                    .after(POLL),
            );
        }
        Next::Open(_) | Next::Failed { .. } => return None,
    }
    Some(decision.saying(Phase::Migrating, sentence))
}
