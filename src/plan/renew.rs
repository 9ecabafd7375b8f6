//! A new attempt: from what is declared to the next revision, and what it has to wait for.

#[cfg(test)]
use super::mutant::{self, Mutant};
use super::{
    attempt,
    back::booked_entry,
    baked,
    build::{self, Built},
    decide::{POLL, facts, key_now, report, waiting_for_missing},
    decision::{Decision, Draft, Phase, Step, Wait},
    keep::{meanwhile, steady},
    ladder,
    migration::{self, Next},
    observed::{Baked, Claims, DatabaseSeen, Declaration, ImageSeen, Migration, Observed, Record, Revision},
    rebuild, restore, schema,
};
use crate::{
    api::revision::Outcome,
    hex::hex,
    names::{Digest, RevisionNumber},
    spec::{Declared, declared::ImagePick},
};

/// How an image was obtained that only its digest is known of.
pub const DECLARED: &str = "declared";

pub(super) fn renew(o: &Observed, declared: &Declared) -> Decision {
    if let (Some(current), Some(live)) = (&o.current, &o.live)
        && current.number == live.number
        && live.migration.is_some()
        && o.ledger.is_none()
    {
        // Before a key comes that nobody could say anything about.
        return rebuild::from_live(o, live);
    }
    if let Some(decision) = wait_for_running(o, declared) {
        return decision;
    }
    let Found {
        digest,
        obtained,
        known,
    } = match image(o, declared) {
        Ok(found) => found,
        Err(decision) => return *decision,
    };
    let record = match record(o, declared, &digest, known) {
        Ok(record) => record,
        Err(decision) => return *decision,
    };
    if let Some(barrier) = schema::barrier(o, &digest) {
        return schema::refused(o, declared, &barrier, meanwhile(o, declared));
    }
    if let Some(message) = platform_mismatch(o, &record.platforms) {
        return meanwhile(o, declared)
            .saying(Phase::Waiting("PlatformMismatch".into()), message)
            .after(POLL);
    }
    if o.database == DatabaseSeen::Unreadable || !o.missing.is_empty() {
        // The key of the migration names the database, and the image is compared with every value that pods are given: so
        // the revision waits for what is referred to.
        return waiting_for_missing(o, meanwhile(o, declared));
    }
    let migration = key_now(o, declared, &digest).map(|key| Migration {
        key,
        database: match &o.database {
            DatabaseSeen::Known(identity) => identity.clone(),
            _ => "not named; the release alone".to_owned(),
        },
        lock: lock_name(o),
    });
    let before = o.failed.as_ref().or(o.current.as_ref()).or(o.live.as_ref());
    let moved = before.is_some_and(|before| {
        before.digest == digest
            && before.attempt == declared.attempt_hash
            && before.migration.as_ref().map(|m| &m.key) != migration.as_ref().map(|m| &m.key)
    });
    let number = restore::next_number(o);
    let draft = Draft {
        number,
        cause: match before {
            _ if moved => Some("database moved".to_owned()),
            Some(before) => repinned(o, before, declared, &digest),
            None => None,
        },
        digest,
        obtained,
        record,
        migration,
    };
    if let Some(decision) = restore::what_failed(o, declared, &draft) {
        return decision;
    }
    let mut steps: Vec<Step> = supersede(o, number).into_iter().collect();
    steps.push(Step::CreateRevision(Box::new(draft)));
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

/// Why there is a revision whose `repin` alone differs from that of the one before.
fn repinned(o: &Observed, before: &Revision, declared: &Declared, digest: &Digest) -> Option<String> {
    let same = before.reference == declared.image.reference() && before.repin != declared.repin;
    let again = o.pin.as_ref().map(|pin| pin.revision);
    same.then(|| {
        let words = match again {
            _ if before.digest == *digest => "is the same image still".to_owned(),
            // Nobody looked the tag up: what was found under this counter is kept.
            Some(revision) => format!(
                "is {} again, as in {revision}, was {}",
                short(digest),
                short(&before.digest)
            ),
            None => format!("is {} now, was {}", short(digest), short(&before.digest)),
        };
        format!("repin {}: {} {words}", declared.repin, before.reference)
    })
}

/// `sha256:` and the first twelve digits.
fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(19).collect()
}

/// An image that is known.
struct Found {
    digest: Digest,
    obtained: String,
    known: Known,
}

/// What is known of an image.
enum Known {
    /// What a revision has on record of it.
    Recorded(Record),
    /// What it said now.
    Asked {
        platforms: Vec<String>,
        baked: Vec<Baked>,
        claims: Vec<Claims>,
    },
}

/// What the revision will have on record of an image, or why there is none of it, or not yet.
fn record(o: &Observed, declared: &Declared, digest: &Digest, known: Known) -> Result<Record, Box<Decision>> {
    let (platforms, baked, claims) = match known {
        Known::Recorded(record) => {
            // `match` may have been set since it was looked up.
            return match ladder::refused(o, declared, &record.origin.doubts) {
                Some(decision) => Err(Box::new(decision)),
                None => Ok(record),
            };
        }
        Known::Asked {
            platforms,
            baked,
            claims,
        } => (platforms, baked, claims),
    };
    if let Some(decision) = baked::refused(o, declared, &baked) {
        return Err(Box::new(decision));
    }
    let own = build::of(o, declared, digest);
    let origin = ladder::origin(o, declared, &claims, own.map(|build| &build.commit))?;
    Ok(Record {
        platforms,
        suspicious: baked::warnings(&baked),
        harmless: baked::harmless(&baked),
        origin,
        warned: own.map_or_else(Vec::new, |build| build.warned.clone()),
    })
}

/// The image of the declared reference: pinned by a retained revision, declared by digest, or asked for.
fn image(o: &Observed, declared: &Declared) -> Result<Found, Box<Decision>> {
    let pin = o.pin.as_ref();
    #[cfg(test)]
    let pin = pin.filter(|_| !mutant::is(Mutant::TagAskedAgain));
    if let Some(pin) = pin {
        // One version never gets a second digest while its revision is kept.
        return Ok(Found {
            digest: pin.digest.clone(),
            obtained: format!("revision {}", pin.revision),
            known: Known::Recorded(pin.record.clone()),
        });
    }
    if let Some(decision) = build::under_way(o, declared) {
        return Err(Box::new(decision));
    }
    let reference = declared.image.reference();
    match (&o.image, &declared.image.pick) {
        (ImageSeen::Found { digest, claims, .. }, _) if build::is_anothers(o, declared, digest, claims) => {
            match build::build(o, declared) {
                Built::Going(decision) => Err(decision),
                Built::NotHere | Built::Pushed => Err(Box::new(
                    meanwhile(o, declared)
                        .saying(
                            Phase::Failed("ImageMismatch"),
                            format!(
                                "{reference} is to be what is built here, and is {}, which somebody else pushed over it",
                                short(digest)
                            ),
                        )
                        .after(POLL),
                )),
            }
        }
        (
            ImageSeen::Found {
                digest,
                platforms,
                obtained,
                baked,
                claims,
            },
            _,
        ) => Ok(Found {
            digest: digest.clone(),
            obtained: build::of(o, declared, digest).map_or_else(|| obtained.clone(), build::named),
            known: Known::Asked {
                platforms: platforms.clone(),
                baked: baked.clone(),
                claims: claims.clone(),
            },
        }),
        // It needs no registry. Whoever looks at the world asks one all the same, since it may tell more.
        (_, ImagePick::Digest(digest)) => Ok(Found {
            digest: digest.clone(),
            obtained: DECLARED.to_owned(),
            known: Known::Asked {
                platforms: Vec::new(),
                baked: Vec::new(),
                claims: Vec::new(),
            },
        }),
        (ImageSeen::NotAsked, ImagePick::Tag(_)) => {
            let mut decision =
                meanwhile(o, declared).saying(Phase::Resolving, format!("looking for {reference}"));
            decision.steps.push(Step::AskRegistry);
            decision.wait = Wait::Again;
            Err(Box::new(decision))
        }
        (ImageSeen::Missing, ImagePick::Tag(_)) => {
            let message = match build::build(o, declared) {
                Built::Going(decision) => return Err(decision),
                Built::NotHere => "does not exist yet; it goes on by itself when the image is pushed",
                Built::Pushed => "was built and pushed, and its registry does not have it any more; raise `attempt` to have it built again",
            };
            let phase = Phase::Waiting("WaitingForImage".into());
            let decision = meanwhile(o, declared).saying(phase, format!("{reference} {message}"));
            Err(Box::new(decision.after(POLL)))
        }
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
    let hash = hex(&Sha256::digest(identity.as_bytes()));
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
pub(super) fn wait_for_running(o: &Observed, declared: &Declared) -> Option<Decision> {
    let (_, entry) = o.ledger.as_ref()?.ledger.claimed()?;
    let next = migration::unfinished(&facts(o, declared, o.current.as_ref(), None, true))?;
    let number = RevisionNumber(entry.revision);
    let own = o.current.as_ref().filter(|current| current.number == number);
    let sentence = format!(
        "{} waits until the migration of {} has ended",
        declared.version,
        own.map_or_else(|| number.to_string(), |own| own.version.clone())
    );
    let mut decision = steady(o, Some(declared));
    match next {
        Next::Step(step) => {
            decision.steps.push(Step::Migrate(step));
            decision.wait = Wait::Again;
        }
        Next::Wait { reason, message } => {
            return Some(
                decision
                    .saying(attempt::waiting(reason), format!("{sentence}: {message}"))
                    .after(POLL),
            );
        }
        Next::Open(_) | Next::Failed { .. } => return None,
    }
    Some(decision.saying(Phase::Migrating, sentence))
}
