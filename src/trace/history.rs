//! S11, S14, S15: every write has its commit, commits go forward, a version is one image for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    event::{Actor, Sight, What},
    object::{Body, Kind, Release, Text},
    verdict::{Invariant, Judge, Limit, Moment, Predicate},
};

/// **S11** "Every write maps to one (commit, spec digest) in C via annotation, and the written object equals render(commit)
/// on owned fields." What was rendered is kept in the revision: the pods of an applied Deployment are those of its
/// revision, field by field, and its commit is one that its release had. Replicas may follow a commit without a revision.
/// Reads applies, revisions and releases. One instance per Deployment that Slipway applies.
#[derive(Clone, Default)]
pub struct WritesHaveACommit;

impl Predicate for WritesHaveACommit {
    fn invariant(&self) -> Invariant {
        Invariant::S11
    }

    fn needs(&self) -> &'static [Sight] {
        &[Sight::Beginning, Sight::Applied]
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        let Some(write) = moment.our_write() else { return };
        let object = &write.object;
        let (Body::Deployment(deployment), Some(applied), Some(release)) =
            (&object.body, &write.applied, object.of())
        else {
            return;
        };
        judge.judged();
        let revision = deployment
            .revision
            .and_then(|number| moment.world.revision(&release, number));
        let name = (Text::from("Deployment"), object.key.name.clone());
        let Some(rendered) = revision.and_then(|revision| revision.objects.get(&name)) else {
            judge.broken(
                format!("{} was applied, and no revision of {release} has it", object.key),
                [moment.index],
            );
            return;
        };
        let pods = "/spec/template";
        if rendered.pointer(pods) != applied.pointer(pods) {
            judge.broken(
                format!(
                    "the pods of {} were applied otherwise than v{} has them",
                    object.key,
                    deployment.revision.unwrap_or(0)
                ),
                [moment.index],
            );
        }
        if let Some(commit) = &object.commit {
            let said = moment.world.said.get(&release);
            if !said.is_some_and(|said| said.commits.contains(commit)) {
                judge.broken(
                    format!(
                        "{} was applied for commit {commit}, which {release} never had",
                        object.key
                    ),
                    [moment.index],
                );
            }
        }
    }
}

/// **S14** "Monotone history: accepted commits form a chain; c′ accepted after c ⇒ c ancestor of c′, unless an
/// operator-authorised reset is recorded." A source accepts a commit by its status, and a release by making a revision of it:
/// one of a commit from before that of the revision before it goes back, to where nobody has asked for. Reads sources and,
/// where reads are not made up, revisions, and the commits where the trace has them; without them, that no commit is accepted
/// again after another one. One instance per commit that follows another.
#[derive(Clone, Default)]
pub struct MonotoneHistory {
    accepted: BTreeMap<Text, Followed>,
    attempted: BTreeMap<Release, Followed>,
    /// Per source what it follows, and whether a rewrite of that is allowed.
    sources: BTreeMap<Text, (Text, bool)>,
}

#[derive(Clone, Default)]
struct Followed {
    /// The branch, tag or commit that was asked for.
    what: Option<Text>,
    commits: Vec<(Text, usize)>,
}

impl Predicate for MonotoneHistory {
    fn invariant(&self) -> Invariant {
        Invariant::S14
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        self.revised(moment, judge);
        let Some(write) = moment.our_write() else { return };
        let Body::Source(body) = &write.object.body else {
            return;
        };
        let Some(commit) = &body.applied else { return };
        let source = &write.object.key.name;
        let followed = self.accepted.entry(write.object.uid.clone()).or_default();
        let what = Some(body.follows.clone());
        if followed.what != what || body.rewrite {
            // Another branch, or a rewrite that was allowed: a new chain begins.
            followed.commits.clear();
        }
        followed.what = what;
        let Some((last, before)) = followed.commits.last().cloned() else {
            followed.commits.push((commit.clone(), moment.index));
            return;
        };
        if last == *commit {
            return;
        }
        judge.judged();
        let git = &moment.trace.git;
        let known = git.contains_key(commit) && git.contains_key(&last);
        let again = followed.commits.iter().any(|(old, _)| old == commit);
        if again || (known && !is_ancestor(git, &last, commit)) {
            judge.broken(
                format!("source {source} accepted {commit} after {last}, from which it does not descend"),
                [before, moment.index],
            );
        }
        followed.commits.push((commit.clone(), moment.index));
    }
}

impl MonotoneHistory {
    /// Revisions of a release, each made of a commit.
    fn revised(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        let What::Wrote(write) = &moment.event.what else {
            return;
        };
        if let Body::Source(body) = &write.object.body {
            // Whoever says so: another branch, or a rewrite that is allowed, may lead back.
            let now = (body.follows.clone(), body.rewrite);
            let before = self.sources.insert(write.object.uid.clone(), now.clone());
            if before.is_some_and(|before| before != now) {
                self.attempted.clear();
            }
        }
        let (Body::Revision(body), true, Some(release)) =
            (&write.object.body, write.created, write.object.of())
        else {
            return;
        };
        let Some(commit) = body.commit.as_ref().filter(|_| !body.beside) else {
            return;
        };
        let may_go_back = self.sources.values().any(|(_, rewrite)| *rewrite);
        let followed = self.attempted.entry(release.clone()).or_default();
        if may_go_back
            || moment
                .world
                .revision(&release, body.number.saturating_sub(1))
                .is_none()
        {
            // Records that are lost are made anew, of whatever is left to tell.
            followed.commits.clear();
        }
        if let Some((last, before)) = followed.commits.last().cloned()
            && last != *commit
            && moment.trace.has(Sight::Reads)
        {
            judge.judged();
            let git = &moment.trace.git;
            let back = if git.contains_key(commit) && git.contains_key(&last) {
                is_ancestor(git, commit, &last)
            } else {
                followed.commits.iter().any(|(old, _)| old == commit)
            };
            if back {
                judge.broken(
                    format!(
                        "v{} of {release} was made of commit {commit}, which is older than {last}, of which the one \
                         before it was made",
                        body.number
                    ),
                    [before, moment.index],
                );
            }
        }
        followed.commits.push((commit.clone(), moment.index));
    }
}

fn is_ancestor(git: &BTreeMap<Text, Vec<Text>>, old: &Text, new: &Text) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![new];
    while let Some(commit) = next.pop() {
        if commit == old {
            return true;
        }
        if seen.insert(commit) {
            next.extend(git.get(commit).into_iter().flatten());
        }
    }
    false
}

/// **S15** "Immutable pin: image reference written for v is a digest and never changes for v; (declared version → digest)
/// is a function for ever." For as long as a revision with that reference is kept: with the last one goes the record of what it
/// was. One that is made again after that is not seen by who had decided before it came: a limit. Reads revisions and
/// Deployments. One instance per revision, and per Deployment that Slipway writes: each of its images has a digest, and one
/// of them is that of the revision.
#[derive(Clone, Default)]
pub struct ImmutablePin {
    /// By reference, and by the counter `repin`: who raises it wants another image.
    pins: BTreeMap<(Release, Text, u64), Pin>,
}

#[derive(Clone)]
struct Pin {
    digest: Text,
    since: usize,
    /// The number of the revision that began it, and who made that.
    by: (u64, Actor),
    /// Whether it was made again: its number had been that of one that somebody deleted.
    again: bool,
    /// The revisions that are kept, by UID.
    kept: BTreeSet<Text>,
}

impl Predicate for ImmutablePin {
    fn invariant(&self) -> Invariant {
        Invariant::S15
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        if let What::Gone { key, uid } = &moment.event.what
            && key.kind == Kind::ReleaseRevision
        {
            self.pins.retain(|_, pin| {
                pin.kept.remove(uid);
                !pin.kept.is_empty()
            });
        }
        let Some(write) = moment.our_write() else { return };
        let object = &write.object;
        let Some(release) = object.of() else { return };
        match &object.body {
            Body::Revision(revision) if write.created => {
                judge.judged();
                let was = moment.world.revision(&release, revision.number);
                let pin = self
                    .pins
                    .entry((release.clone(), revision.reference.clone(), revision.repin))
                    .or_insert_with(|| Pin {
                        digest: revision.digest.clone(),
                        since: moment.index,
                        by: (revision.number, moment.event.by.clone()),
                        again: was.is_some(),
                        kept: BTreeSet::new(),
                    });
                pin.kept.insert(object.uid.clone());
                if pin.digest == revision.digest {
                    return;
                }
                // Who had asked the registry and decided on the next number before it came did not see it. Its own maker did.
                let (number, maker) = &pin.by;
                let saw = moment.trace.has(Sight::Reads) && *maker == moment.event.by;
                let unseen = pin.again && revision.number == number.saturating_add(1) && !saw;
                if unseen
                    || moment.world.numbered_twice.contains(&release)
                    || moment.world.numbers_again(object, revision)
                {
                    // Neither could see what the other one made.
                    judge.beyond(Limit::NumberedTwice);
                    pin.digest.clone_from(&revision.digest);
                    pin.since = moment.index;
                } else {
                    judge.broken(
                        format!(
                            "{} of {release} was {}, and became {} with v{}",
                            revision.reference, pin.digest, revision.digest, revision.number
                        ),
                        [pin.since, moment.index],
                    );
                }
            }
            Body::Deployment(deployment) => {
                let Some(number) = deployment.revision else { return };
                judge.judged();
                if let Some(image) = deployment.images.iter().find(|image| !image.contains("@sha256:")) {
                    judge.broken(
                        format!("{} runs {image}, which is no digest", object.key),
                        [moment.index],
                    );
                }
                if let Some(revision) = moment.world.revision_with(&release, number, &deployment.images)
                    && !deployment
                        .images
                        .iter()
                        .any(|image| image.ends_with(&*revision.digest))
                {
                    judge.broken(
                        format!(
                            "{} runs {:?}, and v{number} is {}",
                            object.key, deployment.images, revision.digest
                        ),
                        [moment.index],
                    );
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::fixtures::{Story, digest, us};

    #[test]
    fn s11_what_is_applied_is_what_the_revision_has() {
        let mut story = Story::new();
        story.declare("1").revision(1, None).deploy(1);
        story.holds(Invariant::S11, 1);
        let mut other = story.clone();
        other.revision(2, None).deploy(2);
        if let Some(event) = other.trace.events.last_mut()
            && let What::Wrote(write) = &mut event.what
        {
            write.applied = Some(std::sync::Arc::new(crate::trace::fixtures::deployment(1)));
        }
        other.breaks(Invariant::S11);
        story.deploy_as(1, 2, 2, |object| object.commit = Some("c9".into()));
        story.breaks(Invariant::S11);
    }

    #[test]
    fn s14_commits_go_forward() {
        let mut story = Story::new();
        story.source("c1", 0, |_| {}).source("c2", 0, |_| {});
        story.holds(Invariant::S14, 1);
        let mut allowed = story.clone();
        allowed.source("c1", 0, |body| body.rewrite = true);
        allowed.holds(Invariant::S14, 1);
        let mut branch = story.clone();
        branch.source("c1", 0, |body| body.follows = "other".into());
        branch.holds(Invariant::S14, 1);
        story.source("c1", 0, |_| {});
        story.breaks(Invariant::S14);
    }

    #[test]
    fn s14_with_the_commits_at_hand_descent_is_what_counts() {
        let mut story = Story::new();
        story.source("c1", 0, |_| {}).source("c3", 0, |_| {});
        let git = |parents: &str| {
            let none: Vec<Text> = Vec::new();
            [
                ("c1".into(), none),
                ("c2".into(), vec!["c1".into()]),
                ("c3".into(), vec![parents.into()]),
            ]
            .into()
        };
        story.trace.git = git("c2");
        story.holds(Invariant::S14, 1);
        story.trace.git = git("c0");
        story.breaks(Invariant::S14);
    }

    #[test]
    fn s14_a_revision_is_not_made_of_a_commit_from_before_the_last_one() {
        let mut story = Story::new();
        story.source("c1", 0, |_| {});
        story
            .revision_at(1, "c1")
            .revision_at(2, "c2")
            .revision_at(3, "c2");
        story.holds(Invariant::S14, 1);
        let mut again = story.clone();
        again.revision_at(4, "c1");
        again.breaks(Invariant::S14);
        let mut allowed = story.clone();
        allowed
            .source("c1", 0, |body| body.rewrite = true)
            .revision_at(4, "c1");
        allowed.holds(Invariant::S14, 1);
        // What nobody has seen before is old as well, where its descent is known.
        story.trace.git = [
            ("c0".into(), vec![]),
            ("c1".into(), vec!["c0".into()]),
            ("c2".into(), vec!["c1".into()]),
        ]
        .into();
        story.revision_at(4, "c0");
        story.breaks(Invariant::S14);
    }

    #[test]
    fn s15_a_reference_has_one_digest_for_ever() {
        let mut story = Story::new();
        story.revision_of(1, "img:1", &digest(1), None);
        story.revision_of(2, "img:2", &digest(2), None);
        story.holds(Invariant::S15, 2);
        let mut forgotten = story.clone();
        story.revision_of(3, "img:1", &digest(3), None);
        story.breaks(Invariant::S15);
        forgotten.gone(Kind::ReleaseRevision, "app-v1", "app-v1");
        let mut late = forgotten.clone();
        forgotten.revision_of(3, "img:1", &digest(3), None);
        forgotten.holds(Invariant::S15, 3);
        // The number of the one that is gone is given again, below a later one.
        let mut below = late.clone();
        late.revision_of(1, "img:1", &digest(1), None);
        late.revision_of(3, "img:1", &digest(3), None);
        late.holds(Invariant::S15, 4);
        below.revision_of(3, "img:1", &digest(3), None);
        below.revision_of(1, "img:1", &digest(1), None);
        below.holds(Invariant::S15, 4);
    }

    #[test]
    fn s15_a_revision_that_is_made_again_late_is_not_seen_by_who_makes_the_next_one() {
        let mut story = Story::new();
        story.revision_of(1, "img:1", &digest(1), None);
        let mut kept = story.clone();
        story.gone(Kind::ReleaseRevision, "app-v1", "app-v1");
        story.revision_of(1, "img:1", &digest(1), None);
        let (mut own, mut later) = (story.clone(), story.clone());
        story.by(us("b")).revision_of(2, "img:1", &digest(3), None);
        story.revision_of(3, "img:1", &digest(3), None);
        story.holds(Invariant::S15, 4);
        let limits = crate::trace::judge(&story.trace).coverage.limits;
        assert_eq!(limits.get(&Limit::NumberedTwice), Some(&1));
        // Who made it again has seen it, the one after the next could see both, and what nobody deleted is seen by all.
        own.revision_of(2, "img:1", &digest(3), None);
        own.breaks(Invariant::S15);
        later.by(us("b")).revision_of(2, "img:2", &digest(2), None);
        later.revision_of(3, "img:1", &digest(3), None);
        later.breaks(Invariant::S15);
        kept.by(us("b")).revision_of(2, "img:1", &digest(3), None);
        kept.breaks(Invariant::S15);
    }

    #[test]
    fn s15_pods_run_the_digest_of_their_revision() {
        let mut story = Story::new();
        story.revision(1, None).deploy(1);
        story.holds(Invariant::S15, 2);
        let mut tag = story.clone();
        tag.deploy_as(1, 2, 2, |object| {
            if let Body::Deployment(body) = &mut object.body {
                body.images = vec!["img:1".into()];
            }
        });
        tag.breaks(Invariant::S15);
        story.revision_of(2, "img:2", &digest(2), None).deploy(2);
        story.breaks(Invariant::S15);
    }
}
