//! S11, S14, S15: every write has its commit, commits go forward, a version is one image for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    event::Sight,
    object::{Body, Release, Text},
    verdict::{Invariant, Judge, Moment, Predicate},
};

/// **S11** "Every write maps to one (commit, spec digest) in C via annotation, and the written object equals render(commit)
/// on owned fields." What was rendered is kept in the revision: the pods of an applied Deployment are those of its
/// revision, field by field, and its commit is one that its release had. Replicas may follow a commit without a revision.
/// Reads applies, revisions and releases. One instance per Deployment that Slipway applies.
#[derive(Default)]
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
/// operator-authorised reset is recorded." Reads the status of sources, and the commits where the trace has them; without
/// them, that no commit is accepted again after another one. One instance per commit that follows another.
#[derive(Default)]
pub struct MonotoneHistory {
    accepted: BTreeMap<Text, Followed>,
}

#[derive(Default)]
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
/// is a function for ever." Reads revisions and Deployments. One instance per revision, and per Deployment that Slipway
/// writes: each of its images has a digest, and one of them is that of the revision.
#[derive(Default)]
pub struct ImmutablePin {
    pins: BTreeMap<(Release, Text), (Text, usize)>,
}

impl Predicate for ImmutablePin {
    fn invariant(&self) -> Invariant {
        Invariant::S15
    }

    fn before(&mut self, moment: &Moment<'_>, judge: &mut Judge<'_>) {
        let Some(write) = moment.our_write() else { return };
        let object = &write.object;
        let Some(release) = object.of() else { return };
        match &object.body {
            Body::Revision(revision) if write.created => {
                judge.judged();
                let pin = self
                    .pins
                    .entry((release.clone(), revision.reference.clone()))
                    .or_insert_with(|| (revision.digest.clone(), moment.index));
                if pin.0 != revision.digest {
                    judge.broken(
                        format!(
                            "{} of {release} was {}, and became {} with v{}",
                            revision.reference, pin.0, revision.digest, revision.number
                        ),
                        [pin.1, moment.index],
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
                if let Some(revision) = moment.world.revision(&release, number)
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
    use crate::trace::{
        event::What,
        fixtures::{Story, digest},
    };

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
    fn s15_a_reference_has_one_digest_for_ever() {
        let mut story = Story::new();
        story.revision_of(1, "img:1", &digest(1), None);
        story.revision_of(2, "img:2", &digest(2), None);
        story.holds(Invariant::S15, 2);
        story.revision_of(3, "img:1", &digest(3), None);
        story.breaks(Invariant::S15);
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
