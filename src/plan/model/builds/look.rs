//! What a pass sees: the declaration and the revisions as they are, and the Jobs as a watch had them, which may be old.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    super::world::rv,
    world::{Job, State, World, key},
};
use crate::{
    names::Digest,
    plan::{
        fixtures::{observed, retained, running},
        observed::{
            BuildSeen, BuildState, Claim, ClaimedBy, Claims, CommitSeen, DatabaseSeen, Declaration,
            ImageSeen, Observed, Pin, Record,
        },
    },
    spec::Declared,
};

/// What was answered in a pass, and about what.
#[derive(Clone, Default)]
pub struct Answers {
    pub image: Option<(String, ImageSeen)>,
    pub commit: Option<(String, CommitSeen)>,
}

/// `now` for what is read, `before` for what a watch keeps.
pub fn look(now: &World, before: &World, release: usize, answers: &Answers) -> Observed {
    let spec = &now.releases[release];
    let declared = (*spec.declared).clone();
    let mut o = observed(declared.clone());
    o.now = Timestamp::from_second(i64::try_from(now.clock).unwrap()).unwrap();
    o.database = DatabaseSeen::NotNeeded;
    if !spec.valid {
        o.declaration = Declaration::NoVersion;
    }
    let newest = spec.revisions.last().map(|revision| (**revision).clone());
    if let Some(revision) = &newest {
        o.objects = running(&revision.objects);
        o.highest = Some(revision.number);
        o.retained = retained(1..=revision.number.0);
    }
    o.live.clone_from(&newest);
    o.current = newest;
    let reference = declared.image.reference();
    let mut newest_first = spec.revisions.iter().rev();
    o.pin = newest_first
        .find(|revision| revision.reference == reference)
        .map(|revision| Pin {
            digest: revision.digest.clone(),
            revision: revision.number,
            record: Record::default(),
        });
    o.builder = now.builder.clone();
    if let Some((asked, image)) = &answers.image
        && *asked == reference
    {
        o.image = image.clone();
    }
    if let Some((asked, commit)) = &answers.commit
        && *asked == super::world::tag_of(&declared)
    {
        o.commit = commit.clone();
    }
    let of_key = match (o.builder.version(), &o.commit) {
        (Some(builder), CommitSeen::Known(commit)) => Some(key(&declared, builder, commit, 1).1),
        _ => None,
    };
    let mut keys: BTreeSet<&String> = of_key.iter().collect();
    let wanted = before.jobs.iter().filter(|job| job.wants.contains_key(&release));
    keys.extend(wanted.map(|job| &job.key));
    o.builds = before
        .jobs
        .iter()
        .filter(|job| keys.contains(&job.key))
        .map(|job| seen(job, release, now.clock))
        .collect();
    o
}

fn seen(job: &Job, release: usize, clock: u64) -> BuildSeen {
    let since = |at: u64| Duration::from_secs(clock.saturating_sub(at));
    let wanted = job.wants.get(&release).copied();
    BuildSeen {
        job: job.name.clone(),
        uid: job.uid.clone(),
        resource_version: rv(job.version),
        key: job.key.clone(),
        inputs: job.inputs.clone(),
        commit: job.commit.clone(),
        run: job.run,
        tries: job.tries,
        larger: job.larger,
        timeout: Duration::from_secs(1800),
        booked: job.booked,
        wanted,
        others: job.wants.len() - usize::from(wanted.is_some()),
        warned: Vec::new(),
        state: match &job.state {
            State::Waiting => BuildState::Waiting(None),
            State::Running { since: at } => BuildState::Running {
                doing: "RUN mix release".to_owned(),
                running_for: since(*at),
            },
            State::Pushed(digest) => BuildState::Pushed(Some(digest.clone())),
            State::Failed { again, at } => BuildState::Failed {
                sentence: "the step failed".to_owned(),
                tail: String::new(),
                again: *again,
                over_for: since(*at),
            },
        },
    }
}

/// What the registry says now.
pub fn ask_registry(world: &World, declared: &Declared) -> ImageSeen {
    if world.registry_down {
        return super::super::outside::unreachable_registry();
    }
    let Some(image) = world.registry.get(&declared.image.reference()) else {
        return ImageSeen::Missing;
    };
    let says = |text: &str| {
        Some(Claim {
            text: text.to_owned(),
            by: ClaimedBy::Annotation,
        })
    };
    ImageSeen::Found {
        digest: Digest::clone(&image.digest),
        platforms: Vec::new(),
        obtained: "registry".to_owned(),
        baked: Vec::new(),
        claims: vec![Claims {
            version: says(&image.version),
            revision: says(image.commit.as_str()),
            source: says(super::world::REPOSITORY),
            built: true,
            ..Claims::default()
        }],
    }
}

/// What the git server says now.
pub fn ask_commit(world: &World, declared: &Declared) -> CommitSeen {
    let failed = |reason: &str| CommitSeen::Failed {
        reason: reason.to_owned(),
        message: "no answer".to_owned(),
    };
    if world.git_down {
        return failed("SourceUnreachable");
    }
    match world.tags.get(&super::world::tag_of(declared)) {
        Some(commit) => CommitSeen::Known(commit.clone()),
        None => failed("RefNotFound"),
    }
}
