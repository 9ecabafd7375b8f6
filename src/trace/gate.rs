//! S3, S4, S6 and the ledger: what a rollout rests on, and what a booked success rests on.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    event::{Sight, What, Write},
    object::{Body, Release, RevisionBody},
    verdict::{Invariant, Judge, Limit, Moment, Predicate},
    world::{JobStory, PodStory, World},
};
use crate::{
    names::Uid,
    plan::ledger::{Entry, EntryState, Ledger, MigrationKey},
};

/// **S3** "Gate: a Deployment write with template version v happens only after ledger says migrated(r,v) (or spec declares
/// none). Corollary: no pod of v is created, hence none Ready, before it." Where one number was two revisions of one image, a
/// write for the earlier one is a limit, unless its writer made the later one. Reads Deployments, revisions and the ledger.
/// One instance per Deployment that Slipway writes for a revision.
#[derive(Clone, Default)]
pub struct Gate;

impl Predicate for Gate {
    fn invariant(&self) -> Invariant {
        Invariant::S3
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Beginning]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        let Some(Write { object, .. }) = moment.our_write() else {
            return;
        };
        let (Body::Deployment(deployment), Some(release)) = (&object.body, object.of()) else {
            return;
        };
        let Some(number) = deployment.revision else { return };
        judge.judged();
        let Some(revision) = moment.world.revision_with(&release, number, &deployment.images) else {
            judge.broken(
                format!(
                    "{} was written for v{number} of {release}, which nobody made",
                    object.key
                ),
                [moment.index],
            );
            return;
        };
        let Err(why) = migrated(moment.world, &release, revision) else {
            return;
        };
        // Who made the one that has the number now has seen it.
        let saw = moment.trace.has(Sight::Reads) && moment.world.made(&moment.event.by, &release, number);
        let of_number = moment.world.revisions_with(&release, number, &deployment.images);
        // One that needed no migration would excuse everything that has its image.
        let mut earlier = of_number.filter(|earlier| earlier.migration.is_some());
        if !saw
            && moment.world.numbered_twice.contains(&release)
            && earlier.any(|earlier| migrated(moment.world, &release, earlier).is_ok())
        {
            // Its writer had seen the one that had this number before somebody deleted that.
            judge.beyond(Limit::NumberedTwice);
            return;
        }
        judge.broken(
            format!("{} was written for v{number} of {release}, {why}", object.key),
            [moment.index],
        );
    }
}

/// Whether a revision may be rolled out by the ledger as it is; else why not.
fn migrated(world: &World, release: &Release, revision: &RevisionBody) -> Result<(), String> {
    let Some((key, ..)) = &revision.migration else {
        return Ok(());
    };
    let entry = world.ledger(release).and_then(|ledger| ledger.get(key));
    match entry.map(|entry| entry.state) {
        Some(EntryState::Succeeded | EntryState::Accepted) => Ok(()),
        Some(state) => Err(format!("whose migration {key} is {state:?}")),
        None => Err(format!("whose migration {key} is not in the ledger")),
    }
}

/// An entry of a ledger, and what it replaces.
type Changed<'a> = (&'a MigrationKey, &'a Entry, Option<&'a Entry>);

/// Entries that a write of the ledger adds or changes. Asked before the event.
fn changes<'a>(moment: &'a Moment<'_>) -> Option<(Release, Vec<Changed<'a>>)> {
    let What::Wrote(write) = &moment.event.what else {
        return None;
    };
    let Body::Ledger(ledger) = &write.object.body else {
        return None;
    };
    let release = write.object.of()?;
    let before = moment.world.ledger(&release);
    let changed = ledger
        .entries
        .iter()
        .map(|(key, entry)| (key, entry, before.and_then(|before| before.get(key))))
        .filter(|(_, entry, before)| *before != Some(*entry))
        .collect();
    Some((release, changed))
}

/// Whether an entry is of a ledger that was gone, and is made anew from what revisions have on record.
fn is_rebuilt(world: &World, release: &Release, entry: &Entry) -> bool {
    world.ledger(release).is_none() && entry.note.starts_with("rebuilt from")
}

/// The successes that a write of Slipway books; one that was booked before the ledger was gone is none.
fn booked<'a>(moment: &'a Moment<'_>) -> Vec<(Release, &'a MigrationKey, &'a Entry)> {
    if !moment.event.by.is_slipway() {
        return Vec::new();
    }
    let Some((release, changed)) = changes(moment) else {
        return Vec::new();
    };
    let success = |entry: &Entry| entry.state == EntryState::Succeeded;
    changed
        .into_iter()
        .filter(|(_, entry, before)| success(entry) && !before.is_some_and(success))
        .filter(|(_, entry, _)| !is_rebuilt(moment.world, &release, entry))
        .map(|(key, entry, _)| (release.clone(), key, entry))
        .collect()
}

/// **S4** "The success used for the gate belongs to v: Job name, UID, and spec-hash annotation all match the ledger
/// entry." Reads the ledger, Jobs and revisions, and the database of a run where the trace shows it. One
/// instance per booked success.
#[derive(Clone, Default)]
pub struct SuccessOfKey;

impl Predicate for SuccessOfKey {
    fn invariant(&self) -> Invariant {
        Invariant::S4
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Beginning]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        for (release, key, entry) in booked(moment) {
            judge.judged();
            if let Err(why) = belongs(moment.world, &release, key, entry, judge) {
                let job = moment.world.jobs.get(entry.uid.as_str()).map(|job| job.last);
                judge.broken(
                    format!("the success of migration {key} of {release} is not its own: {why}"),
                    job.into_iter().chain([moment.index]),
                );
            }
        }
    }
}

/// A pod of a Job whose program did all its work, as far as the trace shows it.
fn whole<'a>(world: &'a World, job: &JobStory) -> Option<&'a PodStory> {
    let mut pods = job.pods.iter().filter_map(|pod| world.pods.get(pod));
    pods.find(|pod| pod.whole == Some(true) && pod.exit == Some(0))
}

fn belongs(
    world: &World,
    release: &Release,
    key: &MigrationKey,
    entry: &Entry,
    judge: &mut Judge<'_>,
) -> Result<(), String> {
    let job = world
        .jobs
        .get(entry.uid.as_str())
        .ok_or_else(|| format!("no Job has the UID {}", entry.uid))?;
    if job.key != *key || job.release != *release {
        return Err(format!("Job {} is of migration {}", job.name, job.key));
    }
    if *job.name != *entry.job {
        return Err(format!(
            "the Job of that UID is called {}, not {}",
            job.name, entry.job
        ));
    }
    if job.resumed.is_none() {
        return Err(format!("Job {} was never let run", job.name));
    }
    let Some(revision) = world.revision(release, entry.revision) else {
        return Err(format!("nobody made v{}", entry.revision));
    };
    let migration = revision.migration.as_ref();
    let Some((_, database, _)) = migration.filter(|(of, ..)| of == key) else {
        if world.numbered_twice.contains(release) {
            judge.beyond(Limit::NumberedTwice);
            return Ok(());
        }
        return Err(format!("v{} has another migration", entry.revision));
    };
    if *revision.digest != *entry.digest {
        return Err(format!(
            "v{} runs {}, not {}",
            entry.revision, revision.digest, entry.digest
        ));
    }
    let last = || job.pods.last().and_then(|pod| world.pods.get(pod));
    let counts = if job.doubled { whole(world, job) } else { None };
    let ran_on = counts.or_else(last).and_then(|pod| pod.database.as_ref());
    match ran_on {
        Some(ran_on) if ran_on != database => {
            if job.database_returned {
                judge.beyond(Limit::UnseenRotation);
                return Ok(());
            }
            Err(format!("it ran on {ran_on}, not on {database}"))
        }
        _ => Ok(()),
    }
}

/// **S6** "Absence is not evidence: "Job missing" never changes migrated(r,v); "list/fetch failed or empty" never yields a
/// delete." Its second half is S9. Reads the ledger, the status of Jobs, and where the trace shows them pods and what their
/// programs did. One instance per booked success: the Job was seen Complete, and its last container ended by itself.
#[derive(Clone, Default)]
pub struct AbsenceIsNoEvidence;

impl Predicate for AbsenceIsNoEvidence {
    fn invariant(&self) -> Invariant {
        Invariant::S6
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        for (release, key, entry) in booked(moment) {
            let world = moment.world;
            judge.judged();
            let job = world.jobs.get(entry.uid.as_str());
            let why = match job {
                None => Some("nobody ever saw its Job".to_owned()),
                Some(job) if job.complete != Some(true) => {
                    Some(format!("Job {} was never Complete", job.name))
                }
                // One of its pods did all the work, and what became of the other one may be seen by nobody.
                Some(job) if job.doubled && whole(world, job).is_some() => {
                    judge.beyond(Limit::StartedTwice);
                    None
                }
                Some(job) if moment.trace.has(Sight::Pods) => {
                    let mut pods = job.pods.iter().filter_map(|pod| world.pods.get(pod));
                    let unseen =
                        |pod: &PodStory| pod.whole == Some(false) && pod.reboot && entry.started.is_none();
                    let counted = if job.doubled {
                        // Either of two may be the one whose exit code counted.
                        let started: Vec<_> = pods.filter(|pod| pod.started.is_some()).collect();
                        let interrupted = started.iter().copied().find(|pod| unseen(pod));
                        interrupted.or(started.last().copied())
                    } else {
                        pods.next_back().filter(|pod| pod.started.is_some())
                    };
                    match counted {
                        Some(pod) if unseen(pod) => {
                            judge.beyond(Limit::UnseenReboot);
                            None
                        }
                        Some(pod) if pod.whole == Some(false) => {
                            Some("its program never got to its end".to_owned())
                        }
                        Some(pod) if pod.exit.is_some_and(|code| code != 0) => {
                            Some("its container ended with an error".to_owned())
                        }
                        Some(_) => None,
                        None => Some("no container of it ever started".to_owned()),
                    }
                }
                Some(_) => None,
            };
            if let Some(why) = why {
                judge.broken(
                    format!("migration {key} of {release} was booked as a success, and {why}"),
                    job.map(|job| job.last).into_iter().chain([moment.index]),
                );
            }
        }
    }
}

/// **Ledger**: entries are never dropped; a claim keeps its UID until its outcome is booked; an outcome
/// changes only where a commit says so, by a higher `attempt` or `retries` after a failure, or by `accept` of what is unknown; what
/// is done changes in the version that its schema needs alone. Reads the
/// ledger and what people say in a `Release`. One instance per entry that changes.
#[derive(Clone, Default)]
pub struct LegalLedger {
    last: BTreeMap<Release, (usize, Arc<Ledger>)>,
}

impl Predicate for LegalLedger {
    fn invariant(&self) -> Invariant {
        Invariant::Ledger
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Beginning]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        let Some((release, changed)) = changes(moment) else {
            return;
        };
        let before = self.last.get(&release).map(|(index, _)| *index);
        if moment.event.by.is_slipway() {
            for (key, entry, old) in changed {
                judge.judged();
                if !legal(moment.world, &release, key, entry, old) {
                    let was = old.map_or("nothing".into(), |old| {
                        format!("{:?} for Job {}", old.state, old.job)
                    });
                    judge.broken(
                        format!(
                            "the ledger of {release} said {was} of migration {key}, and became {:?} for Job {}",
                            entry.state, entry.job
                        ),
                        before.into_iter().chain([moment.index]),
                    );
                }
            }
        }
        let What::Wrote(write) = &moment.event.what else {
            return;
        };
        let Body::Ledger(ledger) = &write.object.body else {
            return;
        };
        if let Some((index, old)) = self.last.get(&release)
            && moment.event.by.is_slipway()
            && moment.world.ledger(&release).is_some()
            && let Some(key) = old.entries.keys().find(|key| ledger.get(key).is_none())
        {
            judge.broken(
                format!("the ledger of {release} lost migration {key}"),
                [*index, moment.index],
            );
        }
        self.last.insert(release, (moment.index, Arc::clone(ledger)));
    }
}

/// Whether nothing differs but which version the schema needs.
fn same_but_needs(old: &Entry, entry: &Entry) -> bool {
    let needs = old.needs.clone();
    Entry {
        needs,
        ..entry.clone()
    } == *old
}

fn legal(world: &World, release: &Release, key: &MigrationKey, entry: &Entry, old: Option<&Entry>) -> bool {
    use EntryState::{Accepted, Claimed, Failed, Succeeded, Unknown, Withdrawn};
    let said = world.said.get(release);
    let same = old.is_none_or(|old| old.uid == entry.uid);
    match (old.map(|old| old.state), entry.state) {
        (None, Claimed | Unknown) => true,
        (None, _) => is_rebuilt(world, release, entry),
        // Whether what was withdrawn truly never ran is for S2 to judge.
        (Some(Claimed), Claimed | Succeeded | Failed | Unknown | Withdrawn) | (Some(Withdrawn), Unknown) => {
            same
        }
        (Some(Withdrawn), Claimed) => !same,
        // Put into its short form, or what a spec says of it put on record.
        (Some(Succeeded), Succeeded) | (Some(Accepted), Accepted) => {
            entry.uid == Uid::none() || old.is_some_and(|old| same_but_needs(old, entry))
        }
        (Some(Failed), Claimed | Unknown) => {
            !same && old.is_some_and(|old| said.is_some_and(|said| said.allows(old, entry)))
        }
        (Some(Unknown), Accepted) => said.is_some_and(|said| {
            let mut accepted = said.accepted.iter();
            accepted.any(|accepted| accepted.len() >= 8 && key.as_str().starts_with(&**accepted))
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{
        event::Fact,
        fixtures::{Story, digest, kubernetes, us},
        object::Kind,
    };

    /// Up to the end of a Job that succeeded.
    fn ran() -> Story {
        let mut story = Story::new();
        story.revision(1, Some("a")).runs("a", "j1");
        story.pod("j1", "p1", None).pod("j1", "p1", Some(0));
        story
    }

    #[test]
    fn s3_a_deployment_waits_for_the_booked_success() {
        let mut story = ran();
        let mut early = story.clone();
        story
            .finish("a", "j1", true)
            .book("a", "j1", EntryState::Succeeded);
        story.deploy(1);
        story.holds(Invariant::S3, 1);
        early.deploy(1);
        early.breaks(Invariant::S3);
    }

    #[test]
    fn s3_without_a_migration_there_is_nothing_to_wait_for() {
        let mut story = Story::new();
        story.revision(1, None).deploy(1);
        story.holds(Invariant::S3, 1);
        story.deploy(2);
        story.breaks(Invariant::S3);
    }

    #[test]
    fn s3_a_write_that_was_on_its_way_is_of_the_revision_that_had_the_number_then() {
        let mut story = Story::new();
        story
            .revision(1, None)
            .gone(Kind::ReleaseRevision, "app-v1", "app-v1");
        let mut other = story.clone();
        story.revision_of(1, "img:2", &digest(2), Some("b")).deploy(1);
        story.holds(Invariant::S3, 1);
        other.revision_of(1, "img:1", &digest(1), Some("b")).deploy(1);
        other.breaks(Invariant::S3);
    }

    #[test]
    fn s3_what_was_migrated_when_it_was_seen_may_be_written_after_its_number_was_given_again() {
        let mut story = ran();
        story.finish("a", "j1", true);
        let mut early = story.clone();
        story.book("a", "j1", EntryState::Succeeded);
        for story in [&mut story, &mut early] {
            story.gone(Kind::ReleaseRevision, "app-v1", "app-v1");
            story.revision(1, Some("b"));
        }
        let mut own = story.clone();
        story.by(us("b")).deploy(1).holds(Invariant::S3, 1);
        let limits = crate::trace::judge(&story.trace).coverage.limits;
        assert_eq!(limits.get(&Limit::NumberedTwice), Some(&1));
        early.by(us("b")).deploy(1).breaks(Invariant::S3);
        // Who gave the number again knows better.
        own.deploy(1).breaks(Invariant::S3);
    }

    #[test]
    fn s3_what_was_migrated_excuses_no_other_image() {
        let mut story = ran();
        story
            .finish("a", "j1", true)
            .book("a", "j1", EntryState::Succeeded)
            .gone(Kind::ReleaseRevision, "app-v1", "app-v1");
        story.revision_of(1, "img:2", &digest(2), Some("b"));
        story.by(us("b")).deploy_as(1, 2, 2, |object| {
            if let Body::Deployment(body) = &mut object.body {
                body.images = vec![format!("img:2@{}", digest(2)).into()];
            }
        });
        story.breaks(Invariant::S3);
    }

    #[test]
    fn s4_a_success_of_another_job_is_none() {
        let mut story = ran();
        story.finish("a", "j1", true);
        let mut other = story.clone();
        story.book("a", "j1", EntryState::Succeeded);
        story.holds(Invariant::S4, 1);
        other.job("b", "j9").book("a", "j9", EntryState::Succeeded);
        other.breaks(Invariant::S4);
    }

    #[test]
    fn s4_a_success_on_another_database_is_none() {
        let mut story = ran();
        story.ran_on("p1", "db:5432/shop").finish("a", "j1", true);
        story.book("a", "j1", EntryState::Succeeded);
        story.holds(Invariant::S4, 1);
        let mut story = ran();
        story.ran_on("p1", "db:5432/other").finish("a", "j1", true);
        story.book("a", "j1", EntryState::Succeeded);
        story.breaks(Invariant::S4);
    }

    #[test]
    fn s6_a_job_that_vanished_is_no_success() {
        let mut story = ran();
        let mut vanished = story.clone();
        story.finish("a", "j1", true).job_gone("j1");
        story.book("a", "j1", EntryState::Succeeded);
        story.holds(Invariant::S6, 1);
        vanished.job_gone("j1").book("a", "j1", EntryState::Succeeded);
        vanished.breaks(Invariant::S6);
    }

    #[test]
    fn s6_a_program_that_answers_term_with_exit_0_is_no_success() {
        let mut story = ran();
        story.finish("a", "j1", true).program("p1", false);
        story.book("a", "j1", EntryState::Succeeded);
        story.breaks(Invariant::S6);
    }

    #[test]
    fn s6_a_reboot_that_nobody_saw_is_a_limit_also_where_the_last_of_two_pods_never_started() {
        let mut story = ran();
        let (pod, whole, reboot) = ("p1".into(), false, true);
        story.fact(Fact::ProgramEnded { pod, whole, reboot });
        let second = Body::Pod {
            job: Some("j1".into()),
            started: false,
            exit: None,
            terminal: false,
        };
        let second = story.object(Kind::Pod, "p2", "p2", second);
        let mut alone = story.clone();
        story.fact(Fact::PodDoubled { job: "j1".into() });
        for story in [&mut story, &mut alone] {
            story.wrote(kubernetes(), true, second.clone());
            story
                .finish("a", "j1", true)
                .book("a", "j1", EntryState::Succeeded);
        }
        story.holds(Invariant::S6, 1);
        let limits = crate::trace::judge(&story.trace).coverage.limits;
        assert_eq!(limits.get(&Limit::UnseenReboot), Some(&1));
        alone.breaks(Invariant::S6);
    }

    #[test]
    fn ledger_an_outcome_changes_only_where_a_commit_says_so() {
        let mut story = ran();
        story.book("a", "j1", EntryState::Unknown);
        let mut silent = story.clone();
        story.accept("a").book("a", "j1", EntryState::Accepted);
        story.holds(Invariant::Ledger, 3);
        silent.book("a", "j1", EntryState::Succeeded);
        silent.breaks(Invariant::Ledger);
    }

    #[test]
    fn ledger_a_failure_is_retried_as_often_as_the_spec_says() {
        let mut story = ran();
        story.book("a", "j1", EntryState::Failed);
        let mut more = story.clone();
        story.retry(1, 2).claim("a", "j2");
        story.holds(Invariant::Ledger, 3);
        more.retry(0, 2).claim("a", "j2");
        more.breaks(Invariant::Ledger);
    }

    #[test]
    fn a_ledger_that_was_lost_may_be_made_anew_and_books_no_success_by_that() {
        let mut story = ran();
        story
            .finish("a", "j1", true)
            .book("a", "j1", EntryState::Succeeded);
        story.rebuild("a");
        story.holds(Invariant::S4, 1);
        story.holds(Invariant::S6, 1);
        story.holds(Invariant::Ledger, 3);
    }

    #[test]
    fn ledger_of_what_is_done_only_the_version_that_its_schema_needs_may_change() {
        let mut story = Story::new();
        story.runs("a", "j1");
        story.finish("a", "j1", true);
        story.book("a", "j1", EntryState::Succeeded);
        story.needs("a", "2.0.0");
        story.holds(Invariant::Ledger, 3);
        story.book("a", "j2", EntryState::Succeeded);
        story.breaks(Invariant::Ledger);
    }

    #[test]
    fn ledger_a_claim_is_never_passed_on() {
        let mut story = ran();
        story.claim("a", "j2");
        story.breaks(Invariant::Ledger);
    }

    #[test]
    fn ledger_an_entry_is_never_dropped() {
        let mut story = ran();
        story.forget("a");
        story.breaks(Invariant::Ledger);
    }
}
