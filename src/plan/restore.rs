//! Records that are lost while what they speak of runs: somebody deleted the kinds, and with them every revision.
//!
//! The Deployments tell what they were made for, and the ledger what was migrated. So what runs is put on record as it is,
//! and no pod restarts for want of a record. A version that was migrated later than what runs, and does not run, is taken
//! for one that failed: nobody can tell any more, and to try it again is for a commit to say.

use std::collections::BTreeSet;

use super::{
    back::booked_entry,
    decide::{matches, report},
    decision::{AsFound, Decision, Draft, Phase, Step, Wait},
    ledger::{Entry, MigrationKey},
    observed::{DatabaseSeen, LiveObject, Migration, Observed, Revision},
    rollout::{self, Progress},
    serve,
};
use crate::{
    api::{meta, revision::Outcome},
    names::{Digest, RevisionNumber},
    render::{Kind, Object, ObjectKey, Ownership, ours, owned},
    spec::{Declared, declared::AttemptHash},
};

/// How the cause of a revision begins whose record was lost.
const CAUSE: &str = "record lost: ";
/// The rest of it where the revision runs.
const RUNS: &str = "what runs, as it was found";

/// Whether a revision with this cause tells of something that happened before it was made.
#[must_use]
pub fn made(cause: &str) -> bool {
    cause.starts_with(CAUSE)
}

/// The number of the next revision: above every one that is on record, or else that anything speaks of.
pub(super) fn next_number(o: &Observed) -> RevisionNumber {
    let spoken_of = || {
        let running = serve::running_revisions(o).into_values();
        let migrated = o.ledger.iter().flat_map(|seen| seen.ledger.entries.values());
        running.chain(migrated.map(|entry| entry.revision)).max()
    };
    let highest = o.highest.map(|number| number.0);
    let highest = highest.or_else(|| o.lost.then(spoken_of).flatten());
    highest.map_or(RevisionNumber(1), |number| RevisionNumber(number).next())
}

/// Whether the ledger or an object speaks of a revision.
#[must_use]
pub fn is_spoken_of(o: &Observed) -> bool {
    let migrated = o
        .ledger
        .as_ref()
        .is_some_and(|seen| !seen.ledger.entries.is_empty());
    migrated || !serve::running_revisions(o).is_empty()
}

/// Puts on record what is known of a release whose records are gone, one write at a time; `None` where nothing is to be
/// put, or nobody can tell what it is.
pub(super) fn records(o: &Observed, declared: &Declared) -> Option<Decision> {
    let (step, message) = match &o.current {
        None if o.lost => {
            let lost = lost(o, declared)?;
            let message = format!("is put on record again as {}", lost.number);
            (Step::Restore(Box::new(lost)), message)
        }
        Some(current) if current.outcome.is_none() && made(&current.cause) => {
            (conclude(o, declared, current)?, "is on record again".to_owned())
        }
        _ => return None,
    };
    Some(Decision {
        steps: vec![step],
        report: report(
            o,
            Phase::Resolving,
            format!("the records of this release are gone; what runs {message}"),
        ),
        wait: Wait::Again,
    })
}

/// How a revision ended whose record was lost; `None` where that is still to be seen.
fn conclude(o: &Observed, declared: &Declared, current: &Revision) -> Option<Step> {
    let why = current.cause.strip_prefix(CAUSE)?;
    let (outcome, message) = if why == RUNS {
        let deployments: Vec<&LiveObject> = deployments(o).map(|(_, live)| live).collect();
        let complete = rollout::standing(&deployments, &o.pods, current.number) == Progress::Complete;
        // Where something else is declared nobody will judge it any more, and without a record of what serves there would be
        // no way back, and none to tell that what is declared failed before.
        let serves = || !matches(o, declared, current) && deployments.iter().all(|live| serves(live));
        if !complete && !serves() {
            return None;
        }
        let message = format!("{} runs; its record was lost", current.version);
        (Outcome::Live, message)
    } else {
        (Outcome::RolloutFailed, why.to_owned())
    };
    Some(Step::Conclude {
        revision: current.number,
        outcome,
        message,
        migration: booked_entry(o, current),
        tail: String::new(),
    })
}

/// Whether something of a Deployment takes requests, or nothing is meant to.
fn serves(live: &LiveObject) -> bool {
    let number = |pointer: &str| live.value.pointer(pointer).and_then(serde_json::Value::as_u64);
    // Pods of the version before are counted, too.
    let before = number("/status/replicas")
        .unwrap_or(0)
        .saturating_sub(number("/status/updatedReplicas").unwrap_or(0));
    let taken_up = number("/status/observedGeneration") == number("/metadata/generation");
    number("/spec/replicas") == Some(0)
        || (taken_up && number("/status/availableReplicas").is_some_and(|there| there > before))
}

/// What is declared was migrated once, later than anything that is on record: where something else serves, it is put on
/// record as failed.
pub(super) fn what_failed(o: &Observed, declared: &Declared, draft: &Draft) -> Option<Decision> {
    let migration = draft.migration.as_ref()?;
    let number = RevisionNumber(done(o, &migration.key)?.revision);
    let recovered = o.live.as_ref().is_some_and(|live| made(&live.cause));
    if !recovered || number <= o.highest? {
        return None;
    }
    let draft = Draft {
        number,
        cause: Some(format!(
            "{CAUSE}it was migrated as {number} and does not run, so it is taken for one that failed: raise attempt to try \
             it again"
        )),
        ..draft.clone()
    };
    let message = format!("{} is put on record again as {number}", declared.version);
    Some(Decision {
        steps: vec![Step::CreateRevision(Box::new(draft))],
        report: report(o, Phase::Resolving, message),
        wait: Wait::Again,
    })
}

/// The Deployments that are ours.
fn deployments(o: &Observed) -> impl Iterator<Item = (&ObjectKey, &LiveObject)> {
    own(o).filter(|(key, _)| key.kind == Kind::Deployment)
}

fn own(o: &Observed) -> impl Iterator<Item = (&ObjectKey, &LiveObject)> {
    o.objects.iter().filter(|(key, live)| {
        let goes = live.value.pointer("/metadata/deletionTimestamp").is_some();
        !goes && ours(&o.id, key, &live.value) == Ownership::Ours
    })
}

/// The booked success of a migration.
fn done<'a>(o: &'a Observed, key: &MigrationKey) -> Option<&'a Entry> {
    let entry = o.ledger.as_ref()?.ledger.get(key)?;
    entry.state.is_done().then_some(entry)
}

/// The revision that all Deployments were made for.
fn lost(o: &Observed, declared: &Declared) -> Option<AsFound> {
    let annotation = |live: &LiveObject, name: &str| {
        let annotations = live.value.pointer("/metadata/annotations")?;
        annotations.get(name)?.as_str().map(str::to_owned)
    };
    // One answer from all of them, or none.
    let agreed = |name: &str| -> Option<String> {
        let words: Option<BTreeSet<String>> =
            deployments(o).map(|(_, live)| annotation(live, name)).collect();
        let mut words = words?.into_iter();
        words.next().filter(|_| words.next().is_none())
    };
    let number = RevisionNumber(agreed(meta::REVISION)?.parse().ok()?);
    let attempt = AttemptHash(agreed(meta::ATTEMPT)?);
    let (_, first) = deployments(o).next()?;
    let pod = first.value.pointer("/spec/template/spec")?;
    let image = pod.pointer("/containers/0/image")?.as_str()?;
    let (reference, digest) = image.split_once('@')?;
    let digest: Digest = digest.parse().ok()?;
    let same = attempt == declared.attempt_hash;
    let migration = match annotation(first, meta::MIGRATION_KEY) {
        None => None,
        Some(key) => {
            let key = MigrationKey::parse(&key)?;
            // Without its success on record nobody can say that it ran.
            let lock = done(o, &key)?.lock.clone();
            let database = match &o.database {
                DatabaseSeen::Known(identity) if same => identity.clone(),
                _ => "not known; its record was lost".to_owned(),
            };
            Some(Migration { key, database, lock })
        }
    };
    let objects: Option<Vec<Object>> = own(o)
        .filter(|(key, _)| key.kind != Kind::Job)
        .map(|(key, live)| owned(key, &live.value))
        .collect();
    let tag = || match reference.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag,
        _ => "?",
    };
    let labelled = || {
        let version = first
            .value
            .pointer("/metadata/labels")?
            .get("app.kubernetes.io/version")?;
        version.as_str()
    };
    let version = if same {
        declared.version.to_string()
    } else {
        labelled().unwrap_or_else(tag).to_owned()
    };
    Some(AsFound {
        number,
        attempt,
        version,
        cause: format!("{CAUSE}{RUNS}"),
        commit: annotation(first, meta::COMMIT),
        reference: if same {
            declared.image.reference()
        } else {
            reference.to_owned()
        },
        repin: if same { declared.repin } else { 0 },
        digest,
        platforms: platforms(pod),
        migration,
        objects: objects?,
        fingerprints: None,
    })
}

/// The platforms that pods are bound to.
pub(super) fn platforms(pod: &serde_json::Value) -> Vec<String> {
    let place = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0\
                 /matchExpressions/0/values";
    let values = pod.pointer(place).and_then(serde_json::Value::as_array);
    let words = values.into_iter().flatten().filter_map(serde_json::Value::as_str);
    words
        .map(|architecture| format!("linux/{architecture}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        plan::{
            decide,
            fixtures::{declared, entry, key, ledger, live, observed, revision, running},
            ledger::EntryState,
        },
        render::with_record,
    };

    /// The objects of a revision as they are in a cluster, each with the note that all of it was applied.
    fn applied(revision: &Revision) -> std::collections::BTreeMap<ObjectKey, LiveObject> {
        let key = revision
            .migration
            .as_ref()
            .map(|migration| migration.key.as_str());
        let objects: Vec<Object> = revision
            .objects
            .iter()
            .map(|object| with_record(object.clone(), &revision.attempt, key))
            .collect();
        let mut live = running(&objects);
        for object in live.values_mut() {
            let mut fields = json!({"f:metadata": {"f:labels": {}, "f:annotations": {}}});
            for field in ["spec", "automountServiceAccountToken"] {
                if object.value.get(field).is_some() {
                    fields[format!("f:{field}")] = json!({});
                }
            }
            object.value["metadata"]["managedFields"] =
                json!([{"manager": "slipway", "operation": "Apply", "fieldsV1": fields}]);
        }
        live
    }

    /// Version 1 runs as v4, and everything but the ledger is gone; `next` is declared.
    fn lost(next: Declared) -> Observed {
        let mut o = observed(declared(1));
        let before = revision(&o, &declared(1), 4);
        o.ledger = Some(ledger([(key(&before), entry(&before, 1, EntryState::Succeeded))]));
        o.objects = applied(&before);
        o.lost = true;
        o.declaration = crate::plan::observed::Declaration::Valid(Box::new(next));
        o
    }

    fn restored(decision: &Decision) -> Option<&AsFound> {
        decision.steps.iter().find_map(|step| match step {
            Step::Restore(lost) => Some(&**lost),
            _ => None,
        })
    }

    /// The world once the record is there again, and its outcome, if that is known, too.
    fn put_back(o: &mut Observed) {
        let decision = decide(o);
        let lost = restored(&decision).unwrap();
        let revision = Revision {
            number: lost.number,
            attempt: lost.attempt.clone(),
            version: lost.version.clone(),
            reference: lost.reference.clone(),
            repin: lost.repin,
            digest: lost.digest.clone(),
            migration: lost.migration.clone(),
            cause: lost.cause.clone(),
            fingerprints: None,
            objects: lost.objects.clone(),
            outcome: None,
            message: String::new(),
            was_live: false,
            resource_version: "1".into(),
        };
        o.highest = Some(revision.number);
        o.retained = crate::plan::fixtures::retained(4..=4);
        o.lost = false;
        o.current = Some(revision);
        conclude(o);
    }

    #[test]
    fn what_serves_though_a_pod_is_not_ready_stays_the_way_back_of_a_version_that_failed_before() {
        let next = declared(2);
        let mut o = lost(next.clone());
        let failed = revision(&o, &next, 5);
        let entries = &mut o.ledger.as_mut().unwrap().ledger.entries;
        entries.insert(key(&failed), entry(&failed, 1, EntryState::Succeeded));
        for live in o.objects.values_mut() {
            live.value["spec"]["replicas"] = 3.into();
            live.value["status"]["availableReplicas"] = 1.into();
        }
        let mut dark = o.clone();
        let mut another = o.clone();
        for live in another.objects.values_mut() {
            live.value["status"]["replicas"] = 2.into();
            live.value["status"]["updatedReplicas"] = 1.into();
        }
        put_back(&mut another);
        assert!(
            another.live.is_none(),
            "the one that is there may be of the version before"
        );
        put_back(&mut o);
        assert_eq!(o.live.as_ref().unwrap().version, "1.0.0");
        assert!(
            matches!(&decide(&o).steps[..], [Step::CreateRevision(draft)] if draft.number.0 == 5 && made(draft.cause.as_ref().unwrap())),
            "it is not rolled out again"
        );
        for live in dark.objects.values_mut() {
            live.value["status"]["availableReplicas"] = 0.into();
        }
        put_back(&mut dark);
        assert!(dark.live.is_none(), "nothing of it is there to go back to");
    }

    /// Writes the outcome that is decided, if any.
    fn conclude(o: &mut Observed) {
        if let [Step::Conclude { outcome, message, .. }] = &decide(o).steps[..] {
            let current = o.current.as_mut().unwrap();
            current.outcome = Some(*outcome);
            current.message.clone_from(message);
            current.was_live = *outcome == Outcome::Live;
            if current.was_live {
                o.live.clone_from(&o.current);
            }
        }
    }

    #[test]
    fn what_runs_is_put_on_record_as_it_is_and_left_alone() {
        let mut o = lost(declared(1));
        let decision = decide(&o);
        let lost = restored(&decision).unwrap();
        assert_eq!((lost.number, lost.version.as_str()), (RevisionNumber(4), "1.0.0"));
        assert_eq!(lost.objects.len(), 2);
        assert!(made(&lost.cause));
        put_back(&mut o);
        assert_eq!(
            o.live.as_ref().unwrap().number,
            RevisionNumber(4),
            "its pods are well"
        );
        let decision = decide(&o);
        assert!(decision.steps.is_empty(), "{:?}", decision.steps);
        assert_eq!(decision.report.phase, Phase::Live);
    }

    #[test]
    fn what_is_not_complete_is_judged_anew() {
        let mut o = lost(declared(1));
        for live in o.objects.values_mut() {
            live.value["status"]["availableReplicas"] = 0.into();
        }
        put_back(&mut o);
        assert!(o.live.is_none(), "nobody can say that it was live");
        assert_eq!(decide(&o).report.phase, Phase::RollingOut);
    }

    #[test]
    fn a_version_that_was_migrated_and_does_not_run_is_not_tried_again() {
        let next = declared(2);
        let mut o = lost(next.clone());
        let mut failed = revision(&o, &next, 5);
        let entries = &mut o.ledger.as_mut().unwrap().ledger.entries;
        entries.insert(key(&failed), entry(&failed, 1, EntryState::Succeeded));
        put_back(&mut o);
        assert_eq!(o.current.as_ref().unwrap().version, "1.0.0");
        let decision = decide(&o);
        let [Step::CreateRevision(draft)] = &decision.steps[..] else {
            panic!("{:?}", decision.steps)
        };
        assert_eq!(draft.number, RevisionNumber(5));
        failed.cause = draft.cause.clone().unwrap();
        o.highest = Some(failed.number);
        o.current = Some(failed);
        conclude(&mut o);
        assert_eq!(o.current.as_ref().unwrap().outcome, Some(Outcome::RolloutFailed));
        let decision = decide(&o);
        assert!(decision.steps.is_empty(), "{:?}", decision.steps);
        assert_eq!(decision.report.phase, Phase::RolledBack);
        assert!(
            decision.report.message.contains("raise attempt"),
            "{}",
            decision.report.message
        );
        assert!(
            decision
                .report
                .details
                .iter()
                .any(|(word, _)| *word == "SchemaAhead")
        );
    }

    #[test]
    fn a_new_version_after_a_loss_has_a_number_of_its_own_and_a_way_back() {
        let mut o = lost(declared(2));
        put_back(&mut o);
        let decision = decide(&o);
        let Some(Step::CreateRevision(draft)) = decision.steps.first() else {
            panic!("{:?}", decision.steps)
        };
        assert_eq!(draft.number, RevisionNumber(5));
    }

    #[test]
    fn with_the_ledger_gone_too_nothing_is_taken_for_migrated() {
        let mut o = lost(declared(1));
        o.ledger = None;
        let decision = decide(&o);
        assert!(restored(&decision).is_none());
        let Some(Step::CreateRevision(draft)) = decision.steps.first() else {
            panic!("{:?}", decision.steps)
        };
        assert_eq!(
            draft.number,
            RevisionNumber(5),
            "the pods that run keep their number"
        );
    }

    #[test]
    fn what_may_only_not_have_been_seen_is_not_lost() {
        let mut o = lost(declared(1));
        assert!(is_spoken_of(&o));
        o.lost = false;
        let decision = decide(&o);
        let Some(Step::CreateRevision(draft)) = decision.steps.first() else {
            panic!("{:?}", decision.steps)
        };
        assert_eq!(
            draft.number,
            RevisionNumber(1),
            "a name that is taken if it was made"
        );
    }

    #[test]
    fn with_a_record_nothing_is_put_back_and_deployments_of_others_tell_nothing() {
        let o = live(declared(1));
        assert!(restored(&decide(&o)).is_none());
        let mut o = lost(declared(1));
        for live in o.objects.values_mut() {
            live.value["metadata"]["annotations"]["slipway.dev/object"] = json!("Deployment/shop/other");
        }
        assert!(restored(&decide(&o)).is_none());
    }

    #[test]
    fn platforms_are_those_that_pods_are_bound_to() {
        let pod = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/arch", "values": ["amd64"]}]}]}}}});
        assert_eq!(platforms(&pod), ["linux/amd64"]);
        assert_eq!(platforms(&json!({})), [""; 0]);
    }
}
