//! S1, S2, S5 and the claim: which Job may change a database, and how often.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    event::{Sight, What},
    object::{Body, Key, Kind, Release, Text},
    verdict::{Invariant, Judge, Limit, Moment, Predicate},
    world::World,
};
use crate::plan::ledger::{Entry, EntryState, Ledger, MigrationKey};

/// The Job that this event may have made live: its own, or that of its pod.
fn job_of(moment: &Moment<'_>) -> Option<Text> {
    let What::Wrote(write) = &moment.event.what else {
        return None;
    };
    match &write.object.body {
        Body::Job { .. } => Some(write.object.uid.clone()),
        Body::Pod { job, .. } => job.clone(),
        _ => None,
    }
}

/// Slipway lets a Job run for the first time: its UID. Asked before the event.
fn resumed_by_us(moment: &Moment<'_>) -> Option<(Text, Release)> {
    let write = moment.our_write()?;
    let Body::Job {
        key: Some(_),
        suspended: false,
        ..
    } = &write.object.body
    else {
        return None;
    };
    let before = moment.world.jobs.get(&write.object.uid);
    before
        .is_none_or(|job| job.suspended)
        .then(|| Some((write.object.uid.clone(), write.object.of()?)))
        .flatten()
}

/// **S1** "At most one live migration per release: ∀r,t: |{J(r,·) : created, and (not terminal or has a non-terminal
/// pod)}| ≤ 1." A Job that was never let run has no pod and is not live: it is created suspended. Reads writes of
/// Jobs and their status, and pods where the trace shows them. One instance per Job that becomes live.
#[derive(Clone, Default)]
pub struct OneAtATime {
    live: BTreeMap<Release, BTreeSet<Text>>,
}

impl Predicate for OneAtATime {
    fn invariant(&self) -> Invariant {
        Invariant::S1
    }

    fn after(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        let Some(job) = job_of(moment).and_then(|uid| moment.world.jobs.get(&uid)) else {
            return;
        };
        let release = &job.release;
        let live: BTreeSet<Text> = moment
            .world
            .live_jobs(release)
            .map(|(uid, _)| uid.clone())
            .collect();
        let before = self.live.entry(release.clone()).or_default();
        let new = live.iter().any(|uid| !before.contains(uid));
        if new {
            judge.judged();
            if live.len() > 1 {
                let jobs: Vec<_> = live.iter().filter_map(|uid| moment.world.jobs.get(uid)).collect();
                let names: Vec<String> = jobs.iter().map(|job| job.name.to_string()).collect();
                judge.broken(
                    format!("Jobs {} of {release} are live at once", names.join(" and ")),
                    jobs.iter().map(|job| job.last),
                );
            }
        }
        *before = live;
    }
}

/// **S2** "No two Jobs for one version: per (r,v), at most one successful Job create, unless the ledger holds an explicit,
/// human-committed retry token for v." A version is a migration key; a Job that never ran is none (it is
/// replaced), so what is counted are Jobs that Slipway let run and, where the trace shows pods, containers that started; a
/// second pod that Kubernetes makes of a Job by itself is a limit. A token
/// is a Failed entry that is claimed anew under a higher `attempt`, or as a retry of the spec; and of Jobs alone one that was taken
/// back, since no container of it may have started. One instance per run and per start.
#[derive(Clone, Default)]
pub struct OncePerKey {
    runs: BTreeMap<(Release, MigrationKey), Count>,
    ledgers: BTreeMap<Release, BTreeMap<MigrationKey, Entry>>,
}

#[derive(Clone, Default)]
struct Count {
    jobs: Vec<usize>,
    starts: Vec<usize>,
    tokens: usize,
    /// Jobs that were let run and taken back.
    taken_back: usize,
}

impl OncePerKey {
    fn count(
        &mut self,
        (release, key): (&Release, &MigrationKey),
        pick: fn(&mut Count) -> (&mut Vec<usize>, usize),
        what: &str,
        index: usize,
        judge: &mut Judge<'_>,
    ) {
        judge.judged();
        let count = self.runs.entry((release.clone(), key.clone())).or_default();
        let tokens = count.tokens;
        let (events, more) = pick(count);
        let allowed = 1 + tokens + more;
        events.push(index);
        if events.len() > allowed {
            let text = format!(
                "{what} of migration {key} of {release} ran {} times, and {allowed} is allowed",
                events.len()
            );
            judge.broken(text, events.clone());
        }
    }
}

impl Predicate for OncePerKey {
    fn invariant(&self) -> Invariant {
        Invariant::S2
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        if let Some((uid, release)) = resumed_by_us(moment)
            && moment
                .world
                .jobs
                .get(&uid)
                .is_none_or(|job| job.resumed.is_none())
            && let Some(key) = key_of(moment)
        {
            self.count(
                (&release, &key),
                |count| (&mut count.jobs, count.taken_back),
                "Jobs",
                moment.index,
                judge,
            );
        }
        let What::Wrote(write) = &moment.event.what else {
            return;
        };
        match &write.object.body {
            Body::Ledger(ledger) => {
                if let Some(release) = write.object.of() {
                    self.tokens(moment.world, &release, ledger);
                }
            }
            Body::Pod {
                job: Some(job),
                started: true,
                ..
            } => {
                let before = moment.world.pods.get(&write.object.uid);
                if before.is_none_or(|pod| pod.started.is_none())
                    && let Some(job) = moment.world.jobs.get(job)
                {
                    let started = |pod: &Text| moment.world.pods.get(pod)?.started;
                    if job.doubled && job.pods.iter().any(|pod| started(pod).is_some()) {
                        judge.beyond(Limit::StartedTwice);
                        return;
                    }
                    let of = (&job.release.clone(), &job.key.clone());
                    self.count(
                        of,
                        |count| (&mut count.starts, 0),
                        "containers",
                        moment.index,
                        judge,
                    );
                }
            }
            _ => {}
        }
    }
}

impl OncePerKey {
    fn tokens(&mut self, world: &World, release: &Release, ledger: &Ledger) {
        let said = world.said.get(release);
        let before = self.ledgers.entry(release.clone()).or_default();
        for (key, entry) in &ledger.entries {
            let old = before.get(key);
            if old == Some(entry) {
                continue;
            }
            let again = matches!(entry.state, EntryState::Claimed | EntryState::Unknown);
            let allowed = |old: &Entry| said.is_some_and(|said| said.allows(old, entry));
            if again && old.is_some_and(|old| old.state == EntryState::Failed && allowed(old)) {
                self.runs
                    .entry((release.clone(), key.clone()))
                    .or_default()
                    .tokens += 1;
            }
            let ran = world.jobs.get(entry.uid.as_str());
            if entry.state == EntryState::Withdrawn
                && old.is_some_and(|old| old.state == EntryState::Claimed)
                && ran.is_some_and(|job| job.resumed.is_some())
            {
                self.runs
                    .entry((release.clone(), key.clone()))
                    .or_default()
                    .taken_back += 1;
            }
            before.insert(key.clone(), entry.clone());
        }
    }
}

fn key_of(moment: &Moment<'_>) -> Option<MigrationKey> {
    match &moment.our_write()?.object.body {
        Body::Job { key, .. } => key.clone(),
        _ => None,
    }
}

/// **S5** "Database order": within a database it is a property of the migration tool; a trace shows what Slipway adds, the
/// lock of the database: a Job is let run only while it holds the lock that the ledger names, and of two Jobs with one lock, whatever
/// their releases, one runs at a time. Reads Jobs, ledgers and locks. One instance per Job that Slipway lets run.
#[derive(Clone, Default)]
pub struct OnePerDatabase {
    /// Per Job that was let run its lock.
    locks: BTreeMap<Text, Text>,
}

impl Predicate for OnePerDatabase {
    fn invariant(&self) -> Invariant {
        Invariant::S5
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        let Some((uid, release)) = resumed_by_us(moment) else {
            return;
        };
        let world = moment.world;
        // Without an entry there is no claim, and the predicate of the claim says so.
        let Some((_, entry)) = world.claim_of(&release, &uid) else {
            return;
        };
        let lock: Text = entry.lock.as_str().into();
        let holder = world.locks.get(&lock).and_then(Option::as_ref);
        judge.judged();
        if holder != Some(&uid) {
            let held = holder.map_or("nobody".into(), |holder| name_of(world, holder));
            judge.broken(
                format!(
                    "Job {} of {release} was let run while {held} held its lock {lock}",
                    entry.job
                ),
                lock_event(world, &lock).into_iter().chain([moment.index]),
            );
        }
        for (other, job) in &world.jobs {
            if *other != uid && self.locks.get(other) == Some(&lock) && world.is_live(job) {
                judge.broken(
                    format!(
                        "Job {} of {release} was let run while Job {} of {} ran under the same lock {lock}",
                        entry.job, job.name, job.release
                    ),
                    [job.last, moment.index],
                );
            }
        }
        self.locks.insert(uid, lock);
    }
}

fn name_of(world: &World, uid: &Text) -> String {
    world.jobs.get(uid).map_or_else(
        || format!("Job with UID {uid}"),
        |job| format!("Job {} of {}", job.name, job.release),
    )
}

fn lock_event(world: &World, lock: &Text) -> Option<usize> {
    let is = |key: &Key| key.kind == Kind::Lease && key.name == *lock;
    world
        .there
        .iter()
        .find(|(key, _)| is(key))
        .map(|(_, known)| known.written)
}

/// **Claim** "Only the claimed UID is ever resumed". Reads Jobs and the ledger. One instance per Job that
/// Slipway lets run. Where reads are made up, a list of Jobs from before the claim may come after the ledger that has it,
/// which no pass reads in that order: one controller then books the Job as gone while another lets it run. There, the
/// entry of that UID is enough.
#[derive(Clone, Default)]
pub struct ClaimBeforeRun;

impl Predicate for ClaimBeforeRun {
    fn invariant(&self) -> Invariant {
        Invariant::Claim
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Beginning]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        let Some((uid, release)) = resumed_by_us(moment) else {
            return;
        };
        judge.judged();
        let state = moment
            .world
            .claim_of(&release, &uid)
            .map(|(_, entry)| entry.state);
        let held = match state {
            Some(state) => state == EntryState::Claimed || !moment.trace.has(Sight::Reads),
            None => false,
        };
        if !held {
            let name = &moment.event.what.key().map_or("?".into(), |key| key.name.clone());
            judge.broken(
                match state {
                    None => format!("Job {name} of {release} was let run without a claim in the ledger"),
                    Some(state) => {
                        format!("Job {name} of {release} was let run although the ledger says {state:?}")
                    }
                },
                [moment.index],
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{event::Fact, fixtures::Story};

    #[test]
    fn s1_two_jobs_that_may_run_at_once_are_found() {
        let mut story = Story::new();
        story.runs("a", "j1");
        story.finish("a", "j1", true);
        story.book("a", "j1", EntryState::Succeeded);
        story.runs("b", "j2");
        story.holds(Invariant::S1, 2);
        story.runs("c", "j3");
        story.breaks(Invariant::S1);
    }

    #[test]
    fn s1_a_pod_that_runs_on_without_its_job_is_live() {
        let mut story = Story::new();
        story.runs("a", "j1");
        story.pod("j1", "p1", None);
        story.job_gone("j1");
        story.claim("b", "j2").job("b", "j2");
        story.holds(Invariant::S1, 1);
        story.lock("j2").resume("b", "j2");
        story.breaks(Invariant::S1);
    }

    #[test]
    fn s2_a_second_run_needs_a_token() {
        let mut story = Story::new();
        story.runs("a", "j1");
        story.pod("j1", "p1", Some(1)).finish("a", "j1", false);
        story.book("a", "j1", EntryState::Failed);
        let mut told = story.clone();
        told.attempt(1).runs("a", "j2").pod("j2", "p2", None);
        told.holds(Invariant::S2, 4);
        story.lock("j2").job("a", "j2").resume("a", "j2");
        story.breaks(Invariant::S2);
    }

    #[test]
    fn s2_a_job_that_was_taken_back_is_replaced_and_started_nothing() {
        let mut story = Story::new();
        story.runs("a", "j1");
        story.book("a", "j1", EntryState::Withdrawn);
        let mut without = story.clone();
        story.runs("a", "j2").pod("j2", "p2", None);
        story.holds(Invariant::S2, 3);
        without.pod("j1", "p1", None);
        without.runs("a", "j2").pod("j2", "p2", None);
        without.breaks(Invariant::S2);
    }

    #[test]
    fn s2_a_container_that_starts_twice_is_found() {
        let mut story = Story::new();
        story.runs("a", "j1");
        story.pod("j1", "p1", Some(143));
        story.holds(Invariant::S2, 2);
        story.pod("j1", "p2", None);
        story.breaks(Invariant::S2);
    }

    #[test]
    fn s2_a_second_pod_that_kubernetes_makes_by_itself_is_a_limit() {
        let mut story = Story::new();
        story.runs("a", "j1");
        story.pod("j1", "p1", None);
        story.fact(Fact::PodDoubled { job: "j1".into() });
        story.pod("j1", "p2", None);
        story.holds(Invariant::S2, 2);
        let limits = crate::trace::judge(&story.trace).coverage.limits;
        assert_eq!(limits.get(&Limit::StartedTwice), Some(&1));
        // That is no licence for a second Job.
        story.lock("j2").job("a", "j2").resume("a", "j2");
        story.breaks(Invariant::S2);
    }

    #[test]
    fn s5_a_job_runs_only_with_the_lock_of_its_database() {
        let mut story = Story::new();
        story.job("a", "j1").claim("a", "j1");
        let mut without = story.clone();
        story.lock("j1").resume("a", "j1");
        story.holds(Invariant::S5, 1);
        without.lock("another").resume("a", "j1");
        without.breaks(Invariant::S5);
    }

    #[test]
    fn s5_two_releases_of_one_database_do_not_run_at_once() {
        let mut story = Story::new();
        story.runs("a", "j1");
        story.release("other");
        story.job("b", "j2").claim("b", "j2").lock("j2");
        let mut after = story.clone();
        story.resume("b", "j2");
        story.breaks(Invariant::S5);
        after.release("app").finish("a", "j1", true);
        after.release("other").resume("b", "j2");
        after.holds(Invariant::S5, 2);
    }

    #[test]
    fn claim_a_job_without_one_is_never_let_run() {
        let mut story = Story::new();
        story.job("a", "j1");
        let mut without = story.clone();
        story.claim("a", "j1").lock("j1").resume("a", "j1");
        story.holds(Invariant::Claim, 1);
        without.resume("a", "j1");
        without.breaks(Invariant::Claim);
        let mut settled = Story::new();
        settled.job("a", "j1").claim("a", "j1");
        settled.book("a", "j1", EntryState::Unknown).resume("a", "j1");
        settled.breaks(Invariant::Claim);
    }
}
