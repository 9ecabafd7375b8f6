//! What a pass looks at: the API server, in the order in which absences mean something.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::{Api, Client, api::ListParams};

use super::{
    act,
    ask::{Asked, moved_tag},
    context::Context,
    subject::Subject,
};
use crate::{
    api::revision::Outcome,
    cluster::{error::ClusterError, objects::pages, observe, resolve::References},
    names::{ReleaseId, RevisionNumber},
    plan::{
        Observed,
        ledger::EntryState,
        observed::{
            BuildSeen, BuilderSeen, CommitSeen, DatabaseSeen, JobPodSeen, JobSeen, LedgerSeen, LockSeen,
            PodSeen, Revision,
        },
        renew::lock_name,
        restore,
    },
    render::{self, Kind},
};

/// What builds images here, and the builds that concern this release.
async fn builds(
    context: &Context,
    subject: &Subject,
    commit: &CommitSeen,
    now: jiff::Timestamp,
) -> Result<(BuilderSeen, Vec<BuildSeen>), ClusterError> {
    let Some(building) = &context.building else {
        return Ok((BuilderSeen::Off, Vec::new()));
    };
    let hashes = context.hash_key().await?;
    building
        .seen(&subject.id, subject.declared(), commit, hashes, now)
        .await
}

/// Observes one release.
pub async fn look(
    context: &Context,
    subject: &mut Subject,
    image: &Asked,
    commit: &CommitSeen,
) -> Result<Observed, ClusterError> {
    let (client, id) = (&context.client, subject.id.clone());
    let now = (context.clock)();
    let (namespace, revisions, ledger) = tokio::try_join!(
        observe::namespace(client, &id.namespace),
        observe::revisions(client, &id),
        observe::ledger(client, &id),
    )?;
    let (architectures, boots) = nodes(context).await?;
    // After the ledger: what is absent now was absent when the ledger was read, or is gone since.
    let mut jobs = observe::jobs(client, &id).await?;
    let open = revisions.current().filter(|current| current.outcome.is_none());
    let open = open.map(|current| on_its_way(context, subject, current.number));
    let (mut job_pods, pods) = pods(context, &id, boots, ledger.as_ref(), open, now).await?;
    blocked(client, &id, &mut jobs, &job_pods).await?;
    subject.architectures = of_images(&revisions);
    let references = references(context, subject, ledger.as_ref()).await?;
    let fingerprints_for = context.memory.same_values(&id, references.fingerprints.as_ref());
    for pod in job_pods.iter_mut().filter(|pod| !pod.tail.is_empty()) {
        // What the release refers to beside what its migration was given: it ends in status, events, ledger and revision.
        pod.tail = references.redact(&pod.tail);
    }
    wind(context, &id, ledger.as_ref(), &mut job_pods);
    let exposure = exposure(subject, &revisions);
    let wanted: BTreeSet<_> = revisions
        .current()
        .into_iter()
        .chain(revisions.live())
        .flat_map(|revision| revision.objects.iter())
        .chain(exposure.iter())
        .map(|object| object.key.clone())
        .collect();
    let objects = observe::objects(client, &id, &wanted).await?;
    let memory = context.memory.get(&id);
    let generation = subject.object.metadata.generation;
    let (builder, builds) = Box::pin(builds(context, subject, commit, now)).await?;
    let mut observed = Observed {
        builder,
        builds,
        declaration: subject.declaration.clone(),
        namespace,
        highest: revisions.current().map(|revision| revision.number),
        lost: false,
        current: revisions.current().cloned(),
        live: revisions.live().cloned(),
        failed: revisions.failed().cloned(),
        retained: revisions.uids(),
        digests: revisions.digests(),
        adopted: revisions.adopted(),
        image: image.of(subject.declared(), &references),
        commit: commit.clone(),
        pin: subject
            .declared()
            .and_then(|declared| revisions.pin(&declared.image.reference(), declared.repin)),
        tag_moved: None,
        suspicious: revisions.suspicious(),
        doubted: revisions.doubted(),
        warned: revisions.warned(),
        architectures,
        missing: references.missing,
        operators: references.operators,
        ungenerated: references.ungenerated,
        rotated: references.rotated,
        variables: references.variables,
        database: references.database,
        fingerprints: references.fingerprints,
        fingerprints_for,
        records: if ledger.is_none() {
            revisions.records()
        } else {
            Vec::new()
        },
        ledger,
        given: given(subject, &revisions),
        jobs,
        job_pods,
        lock: (String::new(), LockSeen::Absent),
        objects,
        let_be: BTreeSet::new(),
        pods,
        exposure,
        seen_before: memory.settled.is_some() && memory.settled == generation,
        stage: memory.stage.map(|(stage, since)| (stage, since.elapsed())),
        rolling: memory.rolling.map(|(number, clock)| (number, clock.elapsed())),
        restarts_before: memory.restarts_before,
        owner: subject.owner.clone(),
        id,
        now,
    };
    if observed.highest.is_none() && restore::is_spoken_of(&observed) {
        // Asked again after what speaks of it: a revision is made before anything that does.
        observed.lost = observe::revisions(client, &observed.id).await?.all.is_empty();
    }
    observed.lock = lock(context, &observed).await?;
    observed.tag_moved = moved_tag(context, subject, &observed);
    Ok(observed)
}

/// Says of each Job that should have a pod and has none what the API server answered.
async fn blocked(
    client: &Client,
    id: &ReleaseId,
    jobs: &mut [JobSeen],
    pods: &[JobPodSeen],
) -> Result<(), ClusterError> {
    for job in jobs {
        let waits = job.key.is_some() && job.resumed && !job.suspended && job.finished.is_none();
        if waits && !pods.iter().any(|pod| pod.job == job.uid) {
            job.blocked = observe::blocked(client, &id.namespace, &job.name, &job.uid).await?;
        }
    }
    Ok(())
}

/// How long a migration runs goes by a clock that nobody sets.
fn wind(context: &Context, id: &ReleaseId, ledger: Option<&LedgerSeen>, pods: &mut [JobPodSeen]) {
    let claimed = ledger.and_then(|seen| seen.ledger.claimed());
    for pod in pods {
        if claimed.is_some_and(|(_, entry)| entry.uid == pod.job) {
            pod.running_for = pod.running_for.map(|_| context.memory.running(id, &pod.job));
        }
    }
}

/// The architectures of the image of each revision.
fn of_images(revisions: &observe::Revisions) -> BTreeMap<RevisionNumber, Vec<String>> {
    let architectures = revisions.objects.iter().filter_map(|object| {
        let number = RevisionNumber(u64::try_from(object.spec.number).ok()?);
        Some((number, act::architectures(&object.spec.image.platforms)))
    });
    architectures.collect()
}

/// What the spec refers to; where there is none that could be used, the database of a migration that has the claim.
async fn references(
    context: &Context,
    subject: &Subject,
    ledger: Option<&LedgerSeen>,
) -> Result<References, ClusterError> {
    let (client, id) = (&context.client, &subject.id);
    let claimed = ledger.and_then(|seen| seen.ledger.claimed());
    Ok(match (subject.declared(), claimed) {
        (Some(declared), _) => observe::references(client, id, declared, context.hash_key().await?).await?,
        (None, Some((_, entry))) => {
            let database = match observe::database_of_job(client, id, &entry.job, &entry.uid).await? {
                // A key that is missing for a moment is no other database.
                DatabaseSeen::Unnamed if entry.database.as_ref().is_some_and(|name| !name.is_empty()) => {
                    DatabaseSeen::Unreadable
                }
                seen => seen,
            };
            References {
                database,
                ..References::none()
            }
        }
        (None, None) => References::none(),
    })
}

/// The lock of the migration that has the claim, or is to have it, and its state where there is a ledger, or a migration that
/// may have had one.
async fn lock(context: &Context, observed: &Observed) -> Result<(String, LockSeen), ClusterError> {
    let claimed = observed.ledger.as_ref().and_then(|seen| seen.ledger.claimed());
    let current = || Some(observed.current.as_ref()?.migration.as_ref()?.lock.clone());
    let name = claimed
        .map(|(_, entry)| entry.lock.clone())
        .or_else(current)
        .unwrap_or_else(|| lock_name(observed));
    let seen = if observed.ledger.is_some() || current().is_some() {
        observe::lock(&context.client, &context.own, &name).await?
    } else {
        LockSeen::Absent
    };
    Ok((name, seen))
}

/// A revision without an outcome. Once half of its time is over, a pod that is not ready is no longer one that is slow to start.
fn on_its_way(context: &Context, subject: &Subject, revision: RevisionNumber) -> observe::Rollout {
    let rolling = context.memory.get(&subject.id).rolling;
    let rolling = rolling.filter(|(number, _)| *number == revision);
    let deadline = subject
        .declared()
        .map(|declared| declared.rollout.deadline.to_std());
    let late = rolling.zip(deadline);
    observe::Rollout {
        revision,
        late: late.is_some_and(|((_, clock), deadline)| 2 * clock.elapsed() >= deadline),
    }
}

/// The pods of migrations and of processes, the former with the boot that their nodes have.
async fn pods(
    context: &Context,
    id: &ReleaseId,
    mut boots: BTreeMap<String, String>,
    ledger: Option<&LedgerSeen>,
    open: Option<observe::Rollout>,
    now: Timestamp,
) -> Result<(Vec<JobPodSeen>, Vec<PodSeen>), ClusterError> {
    let entries = ledger.iter().flat_map(|seen| seen.ledger.entries.values());
    let claim = ledger.and_then(|seen| seen.ledger.claimed());
    let number = open.map(|open| open.revision.0);
    let asked = observe::Asked {
        // Logs are read for what is still to be booked or told, not on each look for as long as the pod is kept.
        of: entries
            .filter(|entry| entry.state == EntryState::Claimed || Some(entry.revision) == number)
            .map(|entry| entry.uid.clone())
            .collect(),
        claimed: claim.map(|(_, entry)| entry.uid.clone()),
        // Of the claim, not of the spec: a commit must not change what a running migration has to show.
        proof: claim.and_then(|(_, entry)| entry.proof.as_deref()),
        key: context.hash_key().await?,
        rollout: open,
    };
    loop {
        let (of_jobs, pods) = observe::pods(&context.client, id, &boots, now, &asked).await?;
        if of_jobs.is_empty() {
            return Ok((of_jobs, pods));
        }
        // A node that was booted while its pods were listed would make a pod that was killed look like one that runs.
        let (_, again) = nodes(context).await?;
        if same_boots(of_jobs.iter().filter_map(|pod| pod.node.as_ref()), &again) {
            return Ok((of_jobs, pods));
        }
        boots = again;
    }
}

/// Whether nodes have the boot ids that they had when their pods were looked at. Of others nothing is asked: in a cluster
/// that scales itself some node always comes or goes.
fn same_boots<'a>(
    mut before: impl Iterator<Item = &'a (String, String)>,
    boots: &BTreeMap<String, String>,
) -> bool {
    before.all(|(node, boot)| boots.get(node).map_or("", String::as_str) == boot)
}

/// The exposing objects as the declared spec renders them, for the revision that it matches.
fn exposure(subject: &Subject, revisions: &observe::Revisions) -> Vec<render::Object> {
    let Some(declared) = subject.declared() else {
        return Vec::new();
    };
    let matches = |revision: &&Revision| revision.attempt == declared.attempt_hash;
    let current = revisions
        .current()
        .filter(|current| current.outcome != Some(Outcome::Superseded));
    let Some(revision) = current
        .filter(matches)
        .or_else(|| revisions.live().filter(matches))
        .or_else(|| revisions.failed().filter(matches))
    else {
        return Vec::new();
    };
    let architectures = subject
        .architectures
        .get(&revision.number)
        .cloned()
        .unwrap_or_default();
    let input = subject.input(
        &subject.id,
        declared,
        &revision.digest,
        &architectures,
        revision.number,
    );
    render::render(&input)
        .into_iter()
        .filter(|object| !matches!(object.key.kind, Kind::Deployment | Kind::ServiceAccount))
        .collect()
}

/// What the declared spec gives to the Job of the current revision's migration.
fn given(subject: &Subject, revisions: &observe::Revisions) -> Option<String> {
    let (declared, current) = (subject.declared()?, revisions.current()?);
    let key = &current.migration.as_ref()?.key;
    let input = subject.input(&subject.id, declared, &current.digest, &[], current.number);
    render::migrate_job(&input, key.as_str(), 1).map(|job| render::given(&job.value))
}

/// Architectures of schedulable nodes, and the boot id of each.
async fn nodes(context: &Context) -> Result<(Vec<String>, BTreeMap<String, String>), ClusterError> {
    let api: Api<Node> = Api::all(context.client.clone());
    let mut architectures = BTreeSet::new();
    let mut boots = BTreeMap::new();
    let attempted = || "list the nodes".to_owned();
    pages(attempted, &api, ListParams::default(), |node: Node| {
        let takes_pods = takes_pods(&node);
        let Some(info) = node.status.and_then(|status| status.node_info) else {
            return;
        };
        if takes_pods {
            architectures.insert(info.architecture);
        }
        boots.insert(node.metadata.name.unwrap_or_default(), info.boot_id);
    })
    .await?;
    Ok((architectures.into_iter().collect(), boots))
}

/// Whether pods of a release may come to a node: they tolerate no taint. A node that is not ready may be so soon.
fn takes_pods(node: &Node) -> bool {
    let Some(spec) = &node.spec else { return true };
    let keeps_off = |taint: &Taint| {
        let passing = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
        taint.effect != "PreferNoSchedule" && !passing.contains(&taint.key.as_str())
    };
    !spec.unschedulable.unwrap_or(false) && !spec.taints.iter().flatten().any(keeps_off)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_pods_are_kept_off_says_nothing_of_what_runs_here() {
        let taints = |taints: serde_json::Value| {
            takes_pods(&serde_json::from_value(serde_json::json!({"spec": {"taints": taints}})).unwrap())
        };
        let taint = |key: &str, effect: &str| taints(serde_json::json!([{"key": key, "effect": effect}]));
        assert!(taints(serde_json::json!([])));
        assert!(!taint("node-role.kubernetes.io/control-plane", "NoSchedule"));
        assert!(!taint("gpu", "NoExecute"));
        assert!(taint("gpu", "PreferNoSchedule"));
        assert!(taint("node.kubernetes.io/not-ready", "NoExecute"));
        let cordoned = serde_json::json!({"spec": {"unschedulable": true}});
        assert!(!takes_pods(&serde_json::from_value(cordoned).unwrap()));
    }

    #[test]
    fn only_a_boot_of_a_node_that_has_a_pod_of_a_migration_makes_the_pods_looked_at_again() {
        let pair = |(node, boot): &(&str, &str)| ((*node).to_owned(), (*boot).to_owned());
        let before = [("a", "1"), ("gone", "")].map(|of| pair(&of));
        let same = |boots: &[(&str, &str)]| same_boots(before.iter(), &boots.iter().map(pair).collect());
        assert!(same(&[("a", "1"), ("b", "7")]) && same(&[("a", "1")]));
        assert!(!same(&[("a", "2"), ("b", "7")]), "booted");
        assert!(!same(&[("b", "7")]), "gone");
        assert!(!same(&[("a", "1"), ("gone", "3")]), "come back");
    }
}
