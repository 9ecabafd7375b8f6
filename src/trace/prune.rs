//! S9 and L6: only git deletes, and then in whole.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    event::{Actor, Fact, Sight, Trace, What},
    object::{Body, Key, Kind, Release, SourceBody, Text},
    verdict::{Invariant, Judge, Moment, Predicate},
    world::World,
};

/// **S9** "Prune only if: commit c ∈ C fully fetched, verified, parsed without error **for the directory concerned**, r
/// absent in c, and deletes in this pass ≤ max(k, p %) unless c carries an explicit override." What an earlier pass has begun
/// counts for no other. What a commit declares is not in a trace; what shows is that the pass which deleted reports no
/// problem, stayed below `maxDeletions`, and did not write the release again for the same commit. A Deployment or account
/// that the newest revision wants goes only with its release, and a release not once its removal was taken back. Reads
/// deletes of Slipway, releases, revisions and the status of sources. One instance per delete.
#[derive(Clone, Default)]
pub struct PruneWithReason {
    /// Per source and process the pass that is under way.
    passes: BTreeMap<(Text, Actor), Pass>,
    /// Per process how many of its passes are over.
    ended: BTreeMap<Actor, usize>,
    /// Releases whose removal has begun, and in which pass: in a later one they count for no other.
    begun: BTreeMap<Release, (Actor, usize)>,
    /// Releases that stay after all.
    taken_back: BTreeSet<Release>,
    /// Releases that a pass took, with the commit that it ended with.
    taken: BTreeMap<Release, (usize, Option<Text>)>,
    /// Workloads that were deleted although a revision wants them: their release must go too.
    owed: BTreeMap<Key, (Release, usize)>,
}

#[derive(Clone, Default)]
struct Pass {
    existing: usize,
    /// How many of those that it deleted an earlier pass had begun to remove.
    begun_before: usize,
    deleted: Vec<(Release, usize)>,
}

impl Predicate for PruneWithReason {
    fn invariant(&self) -> Invariant {
        Invariant::S9
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Beginning]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        if !moment.event.by.is_slipway() {
            return;
        }
        match &moment.event.what {
            What::Fact(Fact::PassBegins { source }) => self.reads(source, moment),
            What::Deleted { key, .. } if key.kind == Kind::Release => self.release_goes(key, moment, judge),
            What::Deleted { key, .. } if matches!(key.kind, Kind::Deployment | Kind::ServiceAccount) => {
                self.workload_goes(key, moment, judge);
            }
            What::Wrote(write) => match &write.object.body {
                Body::Source(body) => self.pass_ends(&write.object.key.name, body, moment, judge),
                Body::Release(body) => {
                    let Some(release) = write.object.of() else { return };
                    if !body.removing {
                        if self.begun.remove(&release).is_some() {
                            self.taken_back.insert(release.clone());
                        }
                    } else if !self.begun.contains_key(&release) {
                        self.begun.insert(release.clone(), self.pass_of(&moment.event.by));
                        self.taken_back.remove(&release);
                        if let Some(source) = &body.source {
                            self.reads(source, moment);
                        }
                    }
                    if write.created {
                        self.comes_back(&release, write.object.commit.as_ref(), moment, judge);
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn end(&mut self, _: &Trace, world: &World, judge: &mut Judge<'_>) {
        for (key, (release, index)) in &self.owed {
            let stays = world.there.keys().any(|there| is(there, release));
            if stays && !world.is_ending(&release.namespace) {
                judge.broken(
                    format!("{key} was deleted, and the newest revision of {release}, which stays, wants it"),
                    [*index],
                );
            }
        }
    }
}

fn is(key: &Key, release: &Release) -> bool {
    key.kind == Kind::Release && key.namespace == release.namespace && key.name == release.name
}

fn source_of(world: &World, key: &Key) -> Option<Text> {
    match &world.get(key)?.object.body {
        Body::Release(body) => body.source.clone(),
        _ => None,
    }
}

/// `30%`, at least one; all of them only with `100%`.
fn allowed(max: Option<&str>, existing: usize) -> usize {
    let max = max.unwrap_or("30%");
    let allowed = match max.strip_suffix('%') {
        Some(percent) => {
            let percent: usize = percent.parse().unwrap_or(0);
            if percent >= 100 {
                return existing;
            }
            (existing * percent / 100).max(1)
        }
        None => max.parse().unwrap_or(0),
    };
    allowed.min(existing.saturating_sub(1))
}

impl PruneWithReason {
    /// The pass that a process is in.
    fn pass_of(&self, by: &Actor) -> (Actor, usize) {
        (by.clone(), self.ended.get(by).copied().unwrap_or(0))
    }

    /// How many releases there are for a pass; where it does not say when it read them, it read them before it acted.
    fn reads(&mut self, source: &Text, moment: &Moment<'_>) {
        let mut releases = BTreeSet::new();
        for (key, known) in &moment.world.there {
            let of_source = || source_of(moment.world, key).as_ref() == Some(source);
            if (key.kind == Kind::Release && of_source())
                || (key.kind == Kind::Deployment && known.object.ours)
            {
                releases.extend(known.object.of());
            }
        }
        let by = moment.event.by.clone();
        let pass = self.passes.entry((source.clone(), by)).or_default();
        pass.existing = pass.existing.max(releases.len());
    }

    fn release_goes(&mut self, key: &Key, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        judge.judged();
        let release = Release {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        };
        self.owed.retain(|_, (of, _)| *of != release);
        let Some(source) = source_of(moment.world, key) else {
            judge.broken(
                format!("Release {release} was deleted, and no source follows it"),
                [moment.index],
            );
            return;
        };
        self.reads(&source, moment);
        let now = self.pass_of(&moment.event.by);
        let begun = self.begun.remove(&release);
        if self.taken_back.remove(&release) {
            judge.broken(
                format!("Release {release} was deleted, although its removal had been taken back"),
                [moment.index],
            );
        }
        let before = begun.is_some_and(|begun| begun != now);
        let pass = self.passes.entry((source, now.0)).or_default();
        pass.begun_before += usize::from(before);
        pass.deleted.push((release, moment.index));
    }

    fn workload_goes(&mut self, key: &Key, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        judge.judged();
        let Some(release) = moment.world.get(key).and_then(|known| known.object.of()) else {
            return;
        };
        let newest = moment
            .world
            .revisions
            .get(&release)
            .and_then(|all| all.values().next_back()?.last());
        let kind: Text = format!("{:?}", key.kind).into();
        if newest.is_some_and(|revision| revision.objects.contains_key(&(kind, key.name.clone()))) {
            self.owed.insert(key.clone(), (release, moment.index));
        }
    }

    /// A source writes its status when its pass is over.
    fn pass_ends(&mut self, source: &Text, body: &SourceBody, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        let (index, by) = (moment.index, &moment.event.by);
        *self.ended.entry(by.clone()).or_default() += 1;
        let pass = self.passes.remove(&(source.clone(), by.clone()));
        let Some(pass) = pass.filter(|pass| !pass.deleted.is_empty()) else {
            return;
        };
        let deleted = pass.deleted.len();
        let count = deleted - pass.begun_before;
        let events = || pass.deleted.iter().map(|(_, index)| *index).chain([index]);
        if body.problems > 0 {
            judge.broken(
                format!(
                    "{deleted} releases were deleted in a pass of source {source} that found {} problems",
                    body.problems
                ),
                events(),
            );
        }
        let most = allowed(body.max_deletions.as_deref(), pass.existing);
        if count > most {
            judge.broken(
                format!(
                    "a pass of source {source} deleted {count} of {} releases, and {most} may go",
                    pass.existing
                ),
                events(),
            );
        }
        for (release, index) in pass.deleted {
            self.taken.insert(release, (index, body.applied.clone()));
        }
    }

    fn comes_back(
        &mut self,
        release: &Release,
        commit: Option<&Text>,
        moment: &Moment<'_>,
        judge: &mut Judge<'_>,
    ) {
        let Some((index, ended_with)) = self.taken.remove(release) else {
            return;
        };
        if commit.is_some() && commit == ended_with.as_ref() {
            judge.broken(
                format!("Release {release} was deleted and written again for the same commit"),
                [index, moment.index],
            );
        }
    }
}

/// **L6** "Deletion of a release from git eventually removes all own(o) and finalizers". The `Release` itself is deleted
/// last, so that from then on nothing of it is there that was not told to go; ledger, revisions and Secrets stay. Reads
/// every write and delete. One instance per release that Slipway deleted and did not write again.
#[derive(Clone, Default)]
pub struct NothingLeft {
    removed: BTreeMap<Release, usize>,
    /// UIDs of what Slipway told to go.
    told: BTreeSet<Text>,
}

impl Predicate for NothingLeft {
    fn invariant(&self) -> Invariant {
        Invariant::L6
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Beginning]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        match &moment.event.what {
            // With its namespace everything goes, so that now is the last time to look.
            What::Wrote(write) if write.object.key.kind == Kind::Namespace && write.object.deleting => {
                self.look(
                    moment.world,
                    |namespace| *namespace == write.object.key.name,
                    judge,
                );
            }
            What::Deleted { key, .. } if moment.event.by.is_slipway() => {
                if key.kind == Kind::Release {
                    let release = Release {
                        namespace: key.namespace.clone(),
                        name: key.name.clone(),
                    };
                    self.removed.insert(release, moment.index);
                } else if let Some(known) = moment.world.get(key) {
                    self.told.insert(known.object.uid.clone());
                }
            }
            What::Wrote(write) if write.object.key.kind == Kind::Release && write.created => {
                if let Some(release) = write.object.of() {
                    self.removed.remove(&release);
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, _: &Trace, world: &World, judge: &mut Judge<'_>) {
        self.look(world, |namespace| !world.is_ending(namespace), judge);
    }
}

impl NothingLeft {
    fn look(&self, world: &World, of: impl Fn(&Text) -> bool, judge: &mut Judge<'_>) {
        for (release, index) in &self.removed {
            if !of(&release.namespace) {
                continue;
            }
            judge.judged();
            for (key, known) in &world.there {
                let serves = matches!(
                    key.kind,
                    Kind::Deployment
                        | Kind::Service
                        | Kind::ServiceAccount
                        | Kind::PodDisruptionBudget
                        | Kind::Ingress
                );
                let its = known.object.ours && known.object.of().as_ref() == Some(release);
                if serves && its && !known.object.deleting && !self.told.contains(&known.object.uid) {
                    judge.broken(
                        format!("{release} was removed, and {key} is left"),
                        [known.written, *index],
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::fixtures::Story;

    /// `count` releases of one source.
    fn releases(count: usize) -> Story {
        let mut story = Story::new();
        story.source("c1", 0, |_| {});
        for number in 0..count {
            story.release(&format!("app{number}")).declare("1");
        }
        story
    }

    fn goes(story: &mut Story, number: usize) {
        let name = format!("app{number}");
        story.release(&name).say(|body| body.removing = true);
        story.deleted(Kind::Release, &name, Some(&format!("release-{name}")));
        story.gone(Kind::Release, &name, &format!("release-{name}"));
    }

    #[test]
    fn s9_a_pass_without_problems_may_delete_some() {
        let mut story = releases(4);
        goes(&mut story, 0);
        let mut broken = story.clone();
        story.source("c2", 0, |_| {});
        story.holds(Invariant::S9, 1);
        broken.source("c2", 1, |_| {});
        broken.breaks(Invariant::S9);
    }

    #[test]
    fn s9_more_than_allowed_is_found() {
        let mut story = releases(3);
        goes(&mut story, 0);
        goes(&mut story, 1);
        let mut told = story.clone();
        told.source("c2", 0, |body| body.max_deletions = Some("2".into()));
        told.holds(Invariant::S9, 2);
        story.source("c2", 0, |_| {});
        story.breaks(Invariant::S9);
    }

    #[test]
    fn s9_all_go_only_where_the_source_says_so() {
        assert_eq!(allowed(None, 1), 0);
        assert_eq!(allowed(None, 2), 1);
        assert_eq!(allowed(None, 10), 3);
        assert_eq!(allowed(Some("50"), 10), 9);
        assert_eq!(allowed(Some("100%"), 10), 10);
    }

    #[test]
    fn s9_a_release_that_comes_back_for_the_same_commit_was_declared_all_the_time() {
        let mut story = releases(4);
        goes(&mut story, 0);
        story.source("c1", 0, |_| {});
        let object = {
            let mut object = story.object(Kind::Release, "app0", "again", Body::Plain);
            object.commit = Some("c1".into());
            object.release = Some("app0".into());
            object.body = Body::Release(crate::trace::object::ReleaseBody::default());
            object
        };
        story.wrote(crate::trace::fixtures::us("a"), true, object);
        story.breaks(Invariant::S9);
    }

    #[test]
    fn s9_what_an_earlier_pass_has_begun_counts_for_no_other() {
        let mut story = releases(3);
        story.release("app0").say(|body| body.removing = true);
        let mut at_once = story.clone();
        story.source("c1", 0, |body| body.max_deletions = Some("1".into()));
        for story in [&mut story, &mut at_once] {
            goes(story, 0);
            goes(story, 1);
            story.source("c2", 0, |_| {});
        }
        story.holds(Invariant::S9, 2);
        at_once.breaks(Invariant::S9);
    }

    #[test]
    fn s9_a_release_whose_removal_was_taken_back_stays() {
        let mut story = releases(3);
        story.release("app0").say(|body| body.removing = true);
        let mut back = story.clone();
        goes(&mut story, 0);
        story.holds(Invariant::S9, 1);
        back.say(|body| body.removing = false);
        back.deleted(Kind::Release, "app0", Some("release-app0"));
        back.breaks(Invariant::S9);
    }

    #[test]
    fn s9_a_wanted_deployment_goes_only_with_its_release() {
        let mut story = Story::new();
        story.declare("1").revision(1, None).deploy(1);
        story.deleted(Kind::Deployment, "app", Some("d1"));
        let mut with = story.clone();
        story.breaks(Invariant::S9);
        with.say(|body| body.removing = true);
        with.deleted(Kind::Release, "app", Some("release-app"));
        with.gone(Kind::Release, "app", "release-app");
        with.holds(Invariant::S9, 2);
    }

    #[test]
    fn l6_nothing_of_a_removed_release_is_left() {
        let mut story = Story::new();
        story.declare("1").revision(1, None).deploy(1);
        let mut left = story.clone();
        story.deleted(Kind::Deployment, "app", Some("d1"));
        story.deleted(Kind::Release, "app", Some("release-app"));
        story.gone(Kind::Release, "app", "release-app");
        story.holds(Invariant::L6, 1);
        left.deleted(Kind::Release, "app", Some("release-app"));
        left.gone(Kind::Release, "app", "release-app");
        left.breaks(Invariant::L6);
    }
}
