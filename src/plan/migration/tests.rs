//! Version 2 on its way after version 1, and how far its migration is; the rooms say what follows.

mod asked;
mod claim;
mod evidence;
mod left_over;
mod never_started;
mod outcome;

use super::*;
use crate::{
    plan::{
        Observed, Phase, Step,
        decide::decide,
        decision::Decision,
        fixtures::{DATABASE, declared, ended_pod, entry, job, job_pod, key, ledger, rehash, uid, under_way},
        ledger::Started,
        observed::{Declaration, JobEnd},
    },
    spec::Declared,
};

/// Version 2 under way after version 1, with this entry in the ledger and nothing else of its migration.
fn with_entry(spec: &Declared, change: impl FnOnce(&mut Entry)) -> Observed {
    let mut o = under_way(spec);
    let (first, second) = (o.live.clone().unwrap(), o.current.clone().unwrap());
    let mut entry2 = entry(&second, 1, EntryState::Claimed);
    change(&mut entry2);
    o.ledger = Some(ledger([
        (key(&first), entry(&first, 1, EntryState::Succeeded)),
        (key(&second), entry2),
    ]));
    o
}

fn claimed() -> Observed {
    with_entry(&declared(2), |_| {})
}

fn second(o: &Observed) -> Revision {
    o.current.clone().unwrap()
}

/// As claimed, and its Job was resumed.
fn resumed() -> (Observed, JobSeen) {
    let mut o = claimed();
    let job = JobSeen {
        suspended: false,
        resumed: true,
        acknowledged: true,
        generation: 2,
        ..job(&second(&o), 1)
    };
    o.jobs.push(job.clone());
    o.lock.1 = held_by(&job, false);
    (o, job)
}

/// As resumed, its pod runs, and it is on record where.
fn started() -> (Observed, JobSeen) {
    let (mut o, job) = resumed();
    let key = key(&second(&o));
    let seen = o.ledger.as_mut().unwrap().ledger.entries.get_mut(&key).unwrap();
    seen.started = Some(Started {
        node: "node1".into(),
        boot_id: "boot1".into(),
    });
    o.job_pods = vec![job_pod(&job)];
    (o, job)
}

/// As resumed, with the end of the Job and its pod.
fn ended(end: JobEnd, pod: impl FnOnce(&JobSeen) -> Option<JobPodSeen>) -> Observed {
    let (mut o, job) = resumed();
    o.jobs[0].finished = Some(end);
    o.job_pods.extend(pod(&job));
    o
}

fn held_by(job: &JobSeen, over: bool) -> LockSeen {
    LockSeen::Held {
        by: job.uid.clone(),
        holder: format!("shop/{}", job.name),
        over,
        resource_version: "3".into(),
    }
}

fn moves(o: &Observed) -> Vec<MigrationStep> {
    decide(o).migration_steps().cloned().collect()
}

fn words(o: &Observed) -> Vec<&'static str> {
    moves(o).iter().map(MigrationStep::word).collect()
}

/// The state that is booked.
fn booked_state(o: &Observed) -> (EntryState, String) {
    match &moves(o)[..] {
        [MigrationStep::Write { entry, .. }] => (entry.state, entry.note.clone()),
        other => panic!("not a booking: {other:?}"),
    }
}

fn says(o: &Observed, text: &str) -> Decision {
    let decision = decide(o);
    assert!(
        decision.report.message.contains(text),
        "{}",
        decision.report.message
    );
    decision
}

fn touches_deployment(decision: &Decision) -> bool {
    decision
        .steps
        .iter()
        .any(|step| matches!(step, Step::Apply { .. }))
}
