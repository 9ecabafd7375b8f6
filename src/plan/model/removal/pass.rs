//! One pass of a source: fetch and read → write what differs → remove what git removed → status.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    super::super::{
        lineage::{May, may},
        mutant::{self, Mutant},
        prune::{self, PruneFacts, Standing, plan_prune},
    },
    world::{Release, Spec, Status, World, commit_id, id},
};
use crate::{
    names::{CommitId, ReleaseId},
    trace::{event::Actor, object::Kind},
};

/// What a pass still has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write a `Release` as a commit declares it, over the one that was seen.
    Write {
        release: usize,
        version: Option<u32>,
        commit: usize,
        over: Option<u64>,
    },
    /// Take the mark of a removal away.
    Unmark(usize),
    /// Mark it, over the one that was seen; the rest of its removal follows only then.
    Mark(usize, Option<u64>),
    /// What takes requests goes.
    Hide(usize),
    /// What runs goes, and at last the `Release` that was seen.
    TakeAway(usize, Option<String>),
    /// The status, over the source that was seen.
    Status(StatusWrite),
}

/// A status, and the source that it was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusWrite {
    applied: Option<usize>,
    origin: Option<u32>,
    baseline: Option<usize>,
    problems: usize,
    over: u64,
}

/// What a source sees when it begins a pass; a frozen one acts on it much later.
pub struct Seen {
    pub head: usize,
    pub spec: Spec,
    pub status: Status,
    pub source: u64,
    pub releases: BTreeMap<usize, Release>,
    pub known: BTreeSet<usize>,
}

/// What is to be done, in order.
pub fn steps(world: &World, seen: &Seen) -> VecDeque<Step> {
    let Seen {
        head, spec, status, ..
    } = seen;
    let applied = status.applied.filter(|_| status.origin == Some(spec.origin));
    let descends = applied.is_none_or(|applied| world.is_ancestor(applied, *head));
    if !descends && !spec.allow_rewrite && !mutant::is(Mutant::RewriteFollowed) {
        // `HistoryRewritten`: nothing is changed.
        return VecDeque::new();
    }
    let commit = &world.commits[*head];
    let clean = commit.broken.is_none();
    let readable = |release: &usize| commit.broken != Some(*release);
    let mut steps = VecDeque::new();
    let mut lineage: BTreeMap<usize, May> = BTreeMap::new();
    for (release, found) in &seen.releases {
        let declared = commit.files.contains_key(release) && readable(release);
        let known = declared && world.last_change(*head, *release) == found.commit;
        if !known {
            let relation = world.relation(*head, found.commit);
            lineage.insert(*release, may(relation, !spec.allow_rewrite));
        }
    }
    for (release, version) in commit.files.iter().filter(|(release, _)| readable(release)) {
        let before = seen.releases.get(release);
        if version.is_none() && before.is_none() {
            continue;
        }
        let may = lineage.get(release).copied().unwrap_or(May::Write);
        let declared = world.last_change(*head, *release);
        let differs = before.is_none_or(|before| before.marked || before.declared != *version);
        if matches!(may, May::Hold | May::Wait) || (may == May::Write && !differs) {
            continue;
        }
        steps.push_back(Step::Write {
            release: *release,
            version: *version,
            commit: declared,
            over: before.map(|before| before.version),
        });
    }
    let declares =
        |release: &usize| readable(release) && commit.files.get(release).is_some_and(Option::is_some);
    let mut existing: BTreeSet<usize> = seen.known.clone();
    existing.retain(|release| match lineage.get(release) {
        Some(May::Hold) if !declares(release) => false,
        Some(May::Wait) => declares(release),
        _ => true,
    });
    let origin = spec.origin.to_string();
    let before = status
        .applied
        .zip(status.origin)
        .map(|(_, origin)| origin.to_string());
    let noted = status.baseline.map(commit_id);
    let before = before.as_deref().map(|origin| (origin, noted.as_ref()));
    let baseline = prune::baseline(before, &origin, &commit_id(*head));
    let facts = PruneFacts {
        enabled: spec.prune,
        standing: Standing::of(baseline.as_ref(), &commit_id(*head)),
        clean,
        max_deletions: spec.max_deletions,
    };
    let ids =
        |releases: &mut dyn Iterator<Item = usize>| -> BTreeSet<ReleaseId> { releases.map(id).collect() };
    let marked = |release: &usize| seen.releases.get(release).is_some_and(|found| found.marked);
    let without_version = existing
        .iter()
        .copied()
        .filter(|release| readable(release) && commit.files.get(release).is_some_and(Option::is_none));
    let plan = plan_prune(
        &ids(&mut existing.iter().copied()),
        &ids(&mut commit.files.keys().copied().filter(|release| declares(release))),
        &ids(&mut without_version.clone()),
        &ids(&mut existing.iter().copied().filter(|release| marked(release))),
        facts,
    );
    let goes = |release: &usize| plan.remove.contains(&id(*release));
    for release in existing
        .iter()
        .filter(|release| marked(release) && !goes(release))
    {
        steps.push_back(Step::Unmark(*release));
    }
    for release in existing.iter().filter(|release| goes(release)) {
        let found = seen.releases.get(release);
        steps.extend([
            Step::Mark(*release, found.map(|found| found.version)),
            Step::Hide(*release),
            Step::TakeAway(*release, found.map(|found| found.uid.clone())),
        ]);
    }
    let number = |commit: &CommitId| usize::from_str_radix(commit.as_str(), 16).unwrap();
    steps.push_back(Step::Status(StatusWrite {
        applied: Some(*head),
        origin: Some(spec.origin),
        baseline: baseline.as_ref().map(number),
        // Of reading it: what is held or kept is said as well, and is no reason to keep the rest.
        problems: usize::from(!clean),
        over: seen.source,
    }));
    steps
}

/// Carries one out; `false` where the rest of what it begins, or of the pass, must not follow.
pub fn act(world: &mut World, by: &Actor, step: &Step, rest: &mut VecDeque<Step>) -> bool {
    match step {
        Step::Write {
            release,
            version,
            commit,
            over,
        } => {
            world.write_release(by, *release, *over, |found| {
                found.declared = *version;
                found.commit = *commit;
                found.marked = false;
            });
            true
        }
        Step::Unmark(release) => {
            let over = world.releases.get(release).map(|found| found.version);
            if over.is_some() {
                world.write_release(by, *release, over, |found| found.marked = false);
            }
            true
        }
        Step::Mark(release, over) => {
            let marked = match over {
                Some(_) if world.releases.get(release).is_some_and(|found| found.marked) => true,
                Some(over) => world.write_release(by, *release, Some(*over), |found| found.marked = true),
                // Somebody may have made one since.
                None => !world.releases.contains_key(release),
            };
            if !marked {
                rest.retain(
                    |step| !matches!(step, Step::Hide(other) | Step::TakeAway(other, _) if other == release),
                );
            }
            true
        }
        Step::Hide(release) => {
            delete_all(world, by, Kind::Service, *release);
            true
        }
        // Another process has taken it back since, or has made one.
        Step::TakeAway(release, seen) if !still_goes(world, *release, seen.as_deref()) => true,
        Step::TakeAway(release, seen) => {
            delete_all(world, by, Kind::Deployment, *release);
            let left = world.objects.keys().any(|(_, other)| other == release);
            if let Some(uid) = seen.as_ref().filter(|_| !left) {
                world.delete(by, Kind::Release, *release, uid);
            }
            true
        }
        Step::Status(write) => {
            if write.over != world.source && !mutant::is(Mutant::Unguarded) {
                return false;
            }
            let status = Status {
                applied: write.applied,
                origin: write.origin,
                baseline: write.baseline,
                problems: write.problems,
            };
            if status != world.status {
                world.status = status;
                world.source_written(by, false);
            }
            true
        }
    }
}

fn still_goes(world: &World, release: usize, seen: Option<&str>) -> bool {
    let there = world.releases.get(&release);
    mutant::is(Mutant::RemovedAllTheSame)
        || there.is_none_or(|there| seen == Some(there.uid.as_str()) && there.marked)
}

fn delete_all(world: &mut World, by: &Actor, kind: Kind, release: usize) {
    if let Some(uid) = world.objects.get(&(kind, release)).cloned() {
        world.delete(by, kind, release, &uid);
    }
}
