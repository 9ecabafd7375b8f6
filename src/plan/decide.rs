//! From what was observed to what to do: which attempt is meant, and which revision serves meanwhile.

use std::time::Duration;

use super::{
    attempt,
    decision::{Decision, Draft, MigrationStep, Phase, Report, Stage, Step, Wait},
    ledger::{EntryState, KeyParts, MigrationKey},
    migration::{self, Facts, Next},
    observed::{DatabaseSeen, Declaration, ImageSeen, Migration, NamespaceSeen, Observed, Revision},
    rollout::{self, Progress},
    rotation, serve,
};
use crate::{
    api::{release::OnFailure, revision::Outcome},
    names::{Digest, RevisionNumber},
    spec::{
        Declared,
        declared::{ImagePick, Suspension},
    },
};

/// How long until a registry or a lock is asked again.
pub const POLL: Duration = Duration::from_secs(10);

/// Decides one pass. Total: every snapshot has an answer.
#[must_use]
pub fn decide(o: &Observed) -> Decision {
    match o.namespace {
        NamespaceSeen::Present => {}
        NamespaceSeen::Missing => {
            return idle(
                o,
                Phase::Waiting("NamespaceMissing".into()),
                format!("namespace {} does not exist", o.id.namespace),
            );
        }
        NamespaceSeen::Terminating => {
            let message = format!("namespace {} is being deleted", o.id.namespace);
            return idle(o, Phase::Waiting("NamespaceTerminating".into()), message);
        }
    }
    let mut decision = match &o.declaration {
        Declaration::Valid(declared) => valid(o, declared),
        Declaration::NoVersion if o.highest.is_none() => {
            idle(o, Phase::NotDeployed, "no version is declared, so nothing is deployed here".into())
        }
        Declaration::NoVersion => steady(o, None).saying(
            Phase::Waiting("VersionRemoved".into()),
            "the spec no longer gives a version; what runs is kept. To remove the release, remove its file".into(),
        ),
        Declaration::Invalid(problems) => {
            let more = if problems.len() > 1 { format!(" (and {} more)", problems.len() - 1) } else { String::new() };
            let first = problems.first().map_or("the spec cannot be used", String::as_str);
            steady(o, None).saying(Phase::Rejected, format!("the declared spec is refused: {first}{more}"))
        }
        Declaration::SourceGone(source) => steady(o, None).saying(
            Phase::Waiting("SourceGone".into()),
            format!(
                "somebody changed this object, and ReleaseSource {source}, which would put it back, is gone; what runs is \
                 kept. Another ReleaseSource that declares it takes it over; without the label slipway.dev/source it is \
                 followed as it is"
            ),
        ),
        // Nothing is put back: it would come between the steps of the removal.
        Declaration::Removing => removing(o),
        Declaration::Edited => steady(o, None).saying(
            Phase::Waiting("Drifted".into()),
            "somebody changed this object; it waits for its source to put it back, and nothing is done about it".into(),
        ),
    };
    if let Some(digest) = &o.tag_moved {
        let sentence = format!("the tag now has the digest {digest}; what runs stays as it was resolved");
        decision.report.details.push(("TagMoved", sentence));
    }
    decision
}

/// Git removed it. Only a migration that has the claim is brought to its end, which the removal waits for.
fn removing(o: &Observed) -> Decision {
    let message = "git removed it: exposure goes first, then what runs, then this object";
    let decision = idle(o, Phase::Waiting("Removing".into()), message.into());
    let Some(current) = &o.current else {
        return decision;
    };
    match migration::unfinished(&facts_of_removed(o, current)) {
        Some(Next::Step(step)) => Decision {
            steps: vec![Step::Migrate(step)],
            wait: Wait::Again,
            ..decision
        },
        Some(Next::Wait { message: why, .. }) => {
            let phase = decision.report.phase.clone();
            decision
                .saying(phase, format!("{message}; before that: {why}"))
                .after(POLL)
        }
        Some(Next::Open(_) | Next::Failed { .. }) | None => decision,
    }
}

fn valid(o: &Observed, declared: &Declared) -> Decision {
    if o.ledger.is_none() && !o.records.is_empty() {
        // Before anything rests on it: a key that is on record must not run again for want of a ledger.
        return attempt::rebuild_all(o);
    }
    if let Some(suspension) = &declared.suspend
        && suspension.until.is_none_or(|until| o.now < until)
    {
        return suspended(o, declared, suspension);
    }
    let matches = |revision: &Revision| matches(o, declared, revision);
    match (&o.current, &o.live) {
        (Some(current), _) if matches(current) && current.outcome != Some(Outcome::Superseded) => {
            if current.outcome == Some(Outcome::RolloutFailed) {
                failed(o, declared, current)
            } else {
                attempt::advance(o, declared, current)
            }
        }
        (current, Some(live)) if matches(live) => back_to(o, declared, current.as_ref(), live),
        _ => renew(o, declared),
    }
}

/// A commit asked for a pause: what runs is kept as it is, and only a migration that has begun comes to its end.
fn suspended(o: &Observed, declared: &Declared, suspension: &Suspension) -> Decision {
    if let Some(current) = &o.current
        && let Some(decision) = wait_for_running(o, declared, current)
    {
        return decision;
    }
    let until = suspension.until.map_or_else(
        || "a commit removes `suspend`".to_owned(),
        |until| until.to_string(),
    );
    let runs = o
        .live
        .as_ref()
        .map_or_else(String::new, |live| format!("; {} runs", live.version));
    let message = format!("suspended until {until}: {}{runs}", suspension.reason);
    let decision = steady(o, None).saying(Phase::Suspended, message);
    match suspension.until {
        None => decision,
        Some(until) => {
            let left = Duration::try_from(until.duration_since(o.now)).unwrap_or_default();
            decision.after(left.clamp(Duration::from_secs(1), Duration::from_secs(600)))
        }
    }
}

/// Whether a revision is the attempt that is declared now.
fn matches(o: &Observed, declared: &Declared, revision: &Revision) -> bool {
    revision.attempt == declared.attempt_hash
        && match (key_now(o, declared, &revision.digest), &revision.migration) {
            (Some(key), Some(migration)) => key == migration.key,
            (None, _) => true,
            (Some(_), None) => false,
        }
}

/// The migration key of an image as it would be made now; `None` without a migration or while its database
/// cannot be read.
pub(super) fn key_now(o: &Observed, declared: &Declared, digest: &Digest) -> Option<MigrationKey> {
    let migrate = declared.migrate.as_ref()?;
    let database = match &o.database {
        DatabaseSeen::Known(identity) => identity.as_str(),
        DatabaseSeen::Unnamed => "",
        DatabaseSeen::NotNeeded | DatabaseSeen::Unreadable => return None,
    };
    Some(MigrationKey::of(&KeyParts {
        release: &o.id,
        digest,
        command: migrate.command.as_deref(),
        args: migrate.args.as_deref(),
        database,
        rerun: migrate.rerun,
    }))
}

/// The facts for the gate of a revision.
pub(super) fn facts<'a>(
    o: &'a Observed,
    declared: &'a Declared,
    revision: &'a Revision,
    key_now: Option<&'a MigrationKey>,
    superseded: bool,
) -> Facts<'a> {
    Facts {
        release: &o.id.name,
        revision,
        attempt: declared.attempt,
        accept: declared
            .migrate
            .as_ref()
            .and_then(|migrate| migrate.accept.as_deref()),
        key_now: if superseded { None } else { key_now },
        database: (&o.database, lock_name(o)),
        timeout: declared
            .migrate
            .as_ref()
            .map_or(Duration::from_secs(1800), |migrate| migrate.timeout.to_std()),
        retries: declared.migrate.as_ref().map_or(0, |migrate| migrate.retries),
        proof: declared
            .migrate
            .as_ref()
            .and_then(|migrate| migrate.proof.as_deref()),
        ledger: o.ledger.as_ref(),
        history_lost: o.ledger.is_none() && had_ledger(o),
        jobs: &o.jobs,
        pods: &o.job_pods,
        lock: (&o.lock.0, &o.lock.1),
        now: o.now,
        superseded,
    }
}

/// The facts about a migration of a release that declares nothing any more.
fn facts_of_removed<'a>(o: &'a Observed, revision: &'a Revision) -> Facts<'a> {
    Facts {
        release: &o.id.name,
        revision,
        attempt: 0,
        accept: None,
        key_now: None,
        database: (&DatabaseSeen::NotNeeded, String::new()),
        // Of entries that do not say their own.
        timeout: Duration::from_secs(1800),
        retries: 0,
        proof: None,
        ledger: o.ledger.as_ref(),
        history_lost: false,
        jobs: &o.jobs,
        pods: &o.job_pods,
        lock: (&o.lock.0, &o.lock.1),
        now: o.now,
        superseded: true,
    }
}

/// Whether something shows that a migration was booked once: a revision that was Live with one, one whose migration
/// failed, or pods of a revision that is no more.
fn had_ledger(o: &Observed) -> bool {
    let migrated = |revision: &Revision| revision.migration.is_some();
    o.live.as_ref().is_some_and(migrated)
        || o.current
            .as_ref()
            .is_some_and(|current| current.outcome == Some(Outcome::MigrationFailed))
        || (o.live.is_none()
            && serve::running_revisions(o)
                .values()
                .any(|number| unexplained(o, *number)))
}

/// Whether pods of a revision run of which no record is left, or one that must have been migrated for.
fn unexplained(o: &Observed, number: u64) -> bool {
    let number = RevisionNumber(number);
    let current = o.current.as_ref().filter(|current| current.number == number);
    !o.retained.contains_key(&number) || current.is_some_and(|current| current.migration.is_some())
}

// === a new attempt ===

fn renew(o: &Observed, declared: &Declared) -> Decision {
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
fn supersede(o: &Observed, by: RevisionNumber) -> Option<Step> {
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
fn wait_for_running(o: &Observed, declared: &Declared, current: &Revision) -> Option<Decision> {
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

// === going back ===

/// Git declares the last Live revision again.
fn back_to(o: &Observed, declared: &Declared, current: Option<&Revision>, live: &Revision) -> Decision {
    if let Some(current) = current
        && current.number != live.number
    {
        if let Some(decision) = wait_for_running(o, declared, current) {
            return decision;
        }
        if current.outcome.is_none()
            && let Some(step) = supersede(o, live.number)
        {
            let report = report(
                o,
                Phase::RollingOut,
                format!("git declares {} again", live.version),
            );
            return Decision {
                steps: vec![step],
                report,
                wait: Wait::Again,
            };
        }
    }
    attempt::advance(o, declared, live)
}

/// The attempt that git declares has failed; the last Live revision runs, unless it shall be held.
fn failed(o: &Observed, declared: &Declared, current: &Revision) -> Decision {
    rotation::after_failure(o, declared, current).unwrap_or_else(|| {
        let decision = gone_back(o, declared, current);
        rotation::soon_anew(o, declared, current, decision)
    })
}

/// What runs in place of a failed attempt.
fn gone_back(o: &Observed, declared: &Declared, current: &Revision) -> Decision {
    let back = o
        .live
        .as_ref()
        .filter(|_| declared.on_failure == OnFailure::Rollback);
    let Some(live) = back else {
        let earlier = if o.live.is_none() {
            ", no earlier version"
        } else {
            "; held as onFailure says"
        };
        let message = format!(
            "{}{earlier}: {}; git still declares it",
            current.version, current.message
        );
        let phase = Phase::Failed("RollingOut");
        return attempt::hold(o, declared, current).saying(phase, message);
    };
    let Some(gate) = migration::booked(live, o.ledger.as_ref()) else {
        return attempt::rebuild_ledger(o, live);
    };
    let wanted = serve::wanted_after(o, current, live, declared);
    if let Some(taken) = attempt::name_taken(o, &wanted) {
        return taken;
    }
    let mut steps: Vec<Step> = serve::keep_exposure(live, &wanted).into_iter().collect();
    if !o.exposure.is_empty() {
        // After that of the live one: it is by this that the change is still seen where this pass ends here.
        steps.extend(serve::keep_exposure(current, &o.exposure));
    }
    steps.extend(serve::gated(gate, serve::differing(o, &wanted)));
    let sentence = rotation::held(current, live).unwrap_or_else(|| {
        format!(
            "{} failed ({}) and was rolled back: {} runs; git still declares {}",
            current.version, current.message, live.version, current.version
        )
    });
    let mut decision = Decision {
        steps,
        report: report(o, Phase::RolledBack, sentence),
        wait: Wait::ForChange,
    };
    decision.report.details.extend(schema_ahead(o, live));
    if !decision.steps.is_empty() {
        decision.report.stage = Stage::RollingBack(live.number);
        decision.wait = Wait::Again;
        return decision;
    }
    match rollout::standing(&serve::deployments(o, &wanted), &o.pods, live.number) {
        Progress::Complete => {
            decision.steps = attempt::tidy(o, declared, live, &wanted);
            if !decision.steps.is_empty() {
                decision.wait = Wait::Again;
            }
            decision
        }
        Progress::Moving(how) | Progress::Broken(how) => {
            let stage = Stage::RollingBack(live.number);
            decision.report.stage = stage;
            let sentence = &decision.report.message;
            if attempt::elapsed(o, stage) > declared.rollout.deadline.to_std() {
                let message = format!(
                    "{sentence}; but {} does not come back either: {how}",
                    live.version
                );
                return decision.clone().saying(Phase::Failed("RollingBack"), message);
            }
            let message = format!("{sentence}; on the way: {how}");
            decision.saying(Phase::RolledBack, message).after(POLL)
        }
    }
}

/// A migration that was booked after the one of the revision that serves.
pub(super) fn schema_ahead(o: &Observed, serving: &Revision) -> Option<(&'static str, String)> {
    let ledger = &o.ledger.as_ref()?.ledger;
    let ahead: Vec<String> = ledger
        .entries
        .iter()
        .filter(|(key, _)| serving.migration.as_ref().is_none_or(|own| own.key != **key))
        .filter(|(_, entry)| entry.revision > serving.number.0)
        .filter(|(_, entry)| matches!(entry.state, EntryState::Succeeded | EntryState::Accepted))
        .map(|(key, entry)| format!("{key} of v{}", entry.revision))
        .collect();
    (!ahead.is_empty()).then(|| {
        (
            "SchemaAhead",
            format!(
                "the database was migrated further than {} knows: {}",
                serving.version,
                ahead.join(", ")
            ),
        )
    })
}

/// The ledger's entry of a revision's migration, for the revision's own record.
pub(super) fn booked_entry(
    o: &Observed,
    revision: &Revision,
) -> Option<Box<(MigrationKey, super::ledger::Entry)>> {
    let key = &revision.migration.as_ref()?.key;
    Some(Box::new((
        key.clone(),
        o.ledger.as_ref()?.ledger.get(key)?.clone(),
    )))
}

// === what runs meanwhile ===

/// What goes on while the next revision waits for something: one that is on its way is still judged, ends well or is
/// gone back from.
fn meanwhile(o: &Observed, declared: &Declared) -> Decision {
    let shown = |revision: &&Revision| {
        serve::running_revisions(o)
            .values()
            .any(|number| *number == revision.number.0)
    };
    let moving = o
        .current
        .as_ref()
        .filter(|current| current.outcome.is_none())
        .filter(shown);
    if let Some(current) = moving
        && let Some(gate) = migration::booked(current, o.ledger.as_ref())
    {
        let wanted = serve::wanted_as_stored(o, current, None);
        if serve::foreign(o, &wanted).is_none() {
            return attempt::roll_out(o, declared, current, &wanted, gate);
        }
    }
    steady(o, Some(declared))
}

/// Keeps what runs as it is, whatever is declared: puts back what others changed, begins nothing.
pub(super) fn steady(o: &Observed, declared: Option<&Declared>) -> Decision {
    let serving = serving(o, declared);
    // Replicas of a spec that is not yet this revision's are not this revision's.
    let followed = declared.filter(|declared| serving.is_some_and(|serving| matches(o, declared, serving)));
    kept(o, serving, followed)
}

/// The same where the declared attempt has failed before anything of it ran: what a commit says of replicas and rollouts
/// is meant for what serves.
pub(super) fn steady_after_failure(o: &Observed, declared: &Declared) -> Decision {
    kept(o, serving(o, Some(declared)), Some(declared))
}

/// The revision whose objects are to be there now.
fn serving<'a>(o: &'a Observed, declared: Option<&Declared>) -> Option<&'a Revision> {
    let running = serve::running_revisions(o);
    let shown = |revision: &&Revision| running.values().any(|number| *number == revision.number.0);
    let whole = |revision: &Revision| running.values().all(|number| *number == revision.number.0);
    let holds = declared.is_none_or(|declared| declared.on_failure == OnFailure::Hold);
    o.current
        .as_ref()
        .filter(shown)
        // One that failed is gone back from; or it is held, where it is whole.
        .filter(|current| current.outcome.is_none() || o.live.is_none() || (holds && whole(current)))
        .or(o.live.as_ref())
}

fn kept(o: &Observed, serving: Option<&Revision>, followed: Option<&Declared>) -> Decision {
    let mut decision = idle(o, Phase::Pending, String::new());
    if let Some(revision) = serving
        && let Some(gate) = migration::booked(revision, o.ledger.as_ref())
    {
        let wanted = serve::wanted_as_stored(o, revision, followed);
        if serve::foreign(o, &wanted).is_none() {
            let objects = serve::differing(o, &wanted);
            decision.report.repairs = objects.len();
            decision.steps.extend(serve::gated(gate, objects));
        }
    }
    decision
}

pub(super) fn missing_sentence(o: &Observed) -> String {
    format!(
        "{} does not exist; it goes on by itself when it does",
        o.missing.join(" and ")
    )
}

pub(super) fn idle(o: &Observed, phase: Phase, message: String) -> Decision {
    Decision {
        steps: Vec::new(),
        report: report(o, phase, message),
        wait: Wait::ForChange,
    }
}

pub(super) fn report(o: &Observed, phase: Phase, message: String) -> Report {
    Report {
        phase,
        message,
        stage: Stage::Idle,
        current: o.current.as_ref().map(|revision| revision.number),
        live: o.live.as_ref().map(|revision| revision.number),
        live_version: o.live.as_ref().map(|revision| revision.version.clone()),
        declared_version: match &o.declaration {
            Declaration::Valid(declared) => Some(declared.version.to_string()),
            _ => None,
        },
        repairs: 0,
        details: Vec::new(),
    }
}

impl Decision {
    /// The same acts under another sentence.
    pub(super) fn saying(mut self, phase: Phase, message: String) -> Self {
        self.report.phase = phase;
        self.report.message = message;
        self
    }

    /// Looks again after this time, unless it looks at once.
    pub(super) fn after(mut self, time: Duration) -> Self {
        if self.wait != Wait::Again {
            self.wait = Wait::After(time);
        }
        self
    }

    /// Whether the pass only looks.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.steps.is_empty() && self.wait == Wait::ForChange
    }

    /// The moves of the migration among the steps.
    pub fn migration_steps(&self) -> impl Iterator<Item = &MigrationStep> {
        self.steps.iter().filter_map(|step| match step {
            Step::Migrate(step) => Some(step),
            _ => None,
        })
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests;
