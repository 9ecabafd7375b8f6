//! Names that are wanted and taken by others: waited for, or taken over where a commit asks for it by raising `adopt`.
//!
//! Taking over is two steps. An object is made ours first, by which nothing that runs changes; then it is put right like
//! everything that is ours. What takes requests is taken over last, when pods of the release are there to answer them.

use std::borrow::Cow;

#[cfg(test)]
use super::mutant::{self, Mutant};
use super::{
    decide::{POLL, idle},
    decision::{Decision, Phase, Step, Wait},
    observed::{LiveObject, Observed},
};
use crate::{
    render::{Kind, Object, ObjectKey, Ownership, ours, unadoptable},
    spec::Declared,
};

/// When what takes requests is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// Pods of the release run.
    Now,
    /// They are on their way.
    Later,
}

/// What is to be done before any of the wanted objects is written; `None` where nothing is in their way now.
pub(super) fn in_the_way(
    o: &Observed,
    declared: &Declared,
    wanted: &[Object],
    answered: Answered,
) -> Option<Decision> {
    let strangers: Vec<Stranger<'_>> = wanted.iter().filter_map(|object| stranger(o, object)).collect();
    let asked = declared.adopt > o.adopted;
    if let Some(stranger) = strangers
        .iter()
        .find(|stranger| !asked || stranger.cannot.is_some())
    {
        // A stranger's object carries no label of ours, so nothing tells when it goes.
        return Some(idle(o, Phase::Waiting("NameTaken".into()), stranger.sentence(o)).after(POLL));
    }
    let now: Vec<&Stranger<'_>> = strangers
        .iter()
        .filter(|stranger| answered == Answered::Now || !takes_requests(stranger.key))
        .collect();
    let (first, rest) = now.split_first()?;
    let message = format!(
        "{} in namespace {}, made by {}, {}becomes this release's, as adopt: {} says",
        first.key,
        o.id.namespace,
        first.manager,
        if rest.is_empty() {
            String::new()
        } else {
            format!("and {} more, ", rest.len())
        },
        declared.adopt,
    );
    let mut decision = idle(o, Phase::Preparing, message);
    decision.steps = now.iter().map(|stranger| stranger.adopt()).collect();
    decision.wait = Wait::Again;
    Some(decision)
}

/// Without those that are taken over when the pods are there, and the steps which do that.
pub(super) fn put_off<'a>(o: &Observed, wanted: &'a [Object]) -> (Cow<'a, [Object]>, Vec<Step>) {
    let late = |object: &Object| takes_requests(&object.key) && stranger(o, object).is_some();
    if !wanted.iter().any(late) {
        return (Cow::Borrowed(wanted), Vec::new());
    }
    let (later, now): (Vec<&Object>, Vec<&Object>) = wanted.iter().partition(|object| late(object));
    let steps = later
        .into_iter()
        .filter_map(|object| Some(stranger(o, object)?.adopt()))
        .collect();
    (Cow::Owned(now.into_iter().cloned().collect()), steps)
}

/// The record that the counter has done its work, where it is raised.
pub(super) fn used_up(o: &Observed, declared: &Declared) -> Option<Step> {
    let revision = o.live.as_ref()?.number;
    (declared.adopt > o.adopted).then_some(Step::Adopted {
        revision,
        count: declared.adopt,
    })
}

fn takes_requests(key: &ObjectKey) -> bool {
    matches!(key.kind, Kind::Service | Kind::Ingress)
}

/// An object of somebody else under a name that is wanted.
struct Stranger<'a> {
    key: &'a ObjectKey,
    live: &'a LiveObject,
    manager: String,
    /// Why it cannot be taken over.
    cannot: Option<String>,
}

fn stranger<'a>(o: &'a Observed, wanted: &'a Object) -> Option<Stranger<'a>> {
    #[cfg(test)]
    if mutant::is(Mutant::StrangerIsOurs) {
        return None;
    }
    let live = o.objects.get(&wanted.key)?;
    match ours(&o.id, &wanted.key, &live.value) {
        Ownership::Ours => None,
        Ownership::Foreign { manager } => Some(Stranger {
            key: &wanted.key,
            live,
            cannot: unadoptable(wanted, &live.value, &manager),
            manager,
        }),
    }
}

impl Stranger<'_> {
    fn adopt(&self) -> Step {
        Step::Adopt {
            key: self.key.clone(),
            over: self.live.resource_version.clone(),
        }
    }

    fn sentence(&self, o: &Observed) -> String {
        let how = match &self.cannot {
            None => "rename the release, remove it, or raise adopt to take it over".to_owned(),
            Some(why) => format!(
                "it cannot be taken over, since {why}: give the release another name, let it run beside, and move the \
                 host to it"
            ),
        };
        format!(
            "{} in namespace {} was made by {}, not by Slipway, and is left alone; {how}",
            self.key, o.id.namespace, self.manager
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        plan::{
            decide,
            fixtures::{declared, id, uid, under_way},
            observed::Declaration,
        },
        render::object_annotation,
    };

    /// Version 2 is to be rolled out without a migration, and Helm has made its Deployment.
    fn taken(adopt: u64) -> Observed {
        let mut next = declared(2);
        next.migrate = None;
        next.adopt = adopt;
        let mut o = under_way(&next);
        o.current.as_mut().unwrap().migration = None;
        o.live = None;
        o.declaration = Declaration::Valid(Box::new(next));
        let live = deployment(&mut o);
        live.value["metadata"]["annotations"] = json!({});
        live.value["metadata"]["managedFields"] = json!([{"manager": "helm"}]);
        o
    }

    fn deployment(o: &mut Observed) -> &mut LiveObject {
        o.objects
            .iter_mut()
            .find(|(key, _)| key.kind == Kind::Deployment)
            .unwrap()
            .1
    }

    fn adopted(decision: &Decision) -> Vec<String> {
        let keys = decision.steps.iter().filter_map(|step| match step {
            Step::Adopt { key, .. } => Some(key.to_string()),
            _ => None,
        });
        keys.collect()
    }

    #[test]
    fn without_a_commit_that_asks_for_it_nothing_is_taken_over() {
        let o = taken(0);
        let decision = decide(&o);
        assert!(decision.steps.is_empty(), "{:?}", decision.steps);
        assert_eq!(decision.report.phase, Phase::Waiting("NameTaken".into()));
        let message = &decision.report.message;
        assert!(
            message.contains("made by helm") && message.contains("raise adopt"),
            "{message}"
        );
    }

    #[test]
    fn what_can_be_taken_over_is_made_ours_and_then_put_right() {
        let mut o = taken(1);
        let decision = decide(&o);
        assert_eq!(adopted(&decision), ["Deployment billing"]);
        assert_eq!(
            decision.steps.len(),
            1,
            "nothing is written yet: {:?}",
            decision.steps
        );
        assert!(matches!(&decision.steps[0], Step::Adopt { over, .. } if over == "5"));
        let annotation = {
            let key = ObjectKey {
                kind: Kind::Deployment,
                name: "billing".into(),
            };
            object_annotation(&id(), &key)
        };
        deployment(&mut o).value["metadata"]["annotations"] = json!({"slipway.dev/object": annotation});
        let decision = decide(&o);
        assert!(
            decision
                .steps
                .iter()
                .any(|step| matches!(step, Step::Apply { .. })),
            "{:?}",
            decision.steps
        );
    }

    #[test]
    fn another_selector_is_never_taken_over_and_the_way_around_is_said() {
        let mut o = taken(1);
        deployment(&mut o).value["spec"]["selector"] = json!({"matchLabels": {"app": "billing"}});
        let decision = decide(&o);
        assert!(decision.steps.is_empty(), "{:?}", decision.steps);
        let message = &decision.report.message;
        assert!(
            message.contains("selector") && message.contains("move the host"),
            "{message}"
        );
    }

    #[test]
    fn a_counter_that_has_done_its_work_takes_nothing_over() {
        let mut o = taken(1);
        o.adopted = 1;
        assert!(decide(&o).steps.is_empty());
        o.adopted = 0;
        assert!(!decide(&o).steps.is_empty());
    }

    /// A Service of the release, as somebody else made it.
    fn service(o: &mut Observed) -> Object {
        let key = ObjectKey {
            kind: Kind::Service,
            name: "billing".into(),
        };
        let value = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "billing", "namespace": "shop", "labels": {"slipway.dev/release": "billing"},
                         "annotations": {"slipway.dev/object": object_annotation(&id(), &key)}},
            "spec": {"ports": [{"port": 80}]},
        });
        let live = LiveObject {
            uid: uid("s1"),
            resource_version: "9".into(),
            value: json!({"metadata": {"name": "billing", "managedFields": [{"manager": "helm"}]},
                          "spec": {"clusterIP": "10.0.0.1"}})
            .into(),
        };
        o.objects.insert(key.clone(), live);
        Object {
            key,
            value: value.into(),
        }
    }

    #[test]
    fn what_takes_requests_is_taken_over_when_there_are_pods_to_answer_them() {
        let mut o = taken(1);
        let current = o.current.clone().unwrap();
        o.objects = crate::plan::fixtures::running(&current.objects);
        let service = service(&mut o);
        o.current.as_mut().unwrap().objects.push(service);
        let mut moving = o.clone();
        deployment(&mut moving).value["status"]["availableReplicas"] = 0.into();
        assert!(decide(&moving).steps.is_empty(), "the pods are not there yet");
        assert_eq!(adopted(&decide(&o)), ["Service billing"]);
    }

    #[test]
    fn a_live_release_records_that_the_counter_has_done_its_work_once() {
        let mut o = taken(1);
        let current = o.current.as_mut().unwrap();
        current.outcome = Some(crate::api::revision::Outcome::Live);
        current.was_live = true;
        o.live.clone_from(&o.current);
        let objects = o.current.as_ref().unwrap().objects.clone();
        o.objects = crate::plan::fixtures::running(&objects);
        let records = |o: &Observed| {
            let steps = decide(o).steps;
            steps
                .iter()
                .any(|step| matches!(step, Step::Adopted { count: 1, .. }))
        };
        assert!(records(&o));
        o.adopted = 1;
        assert!(!records(&o));
    }
}
