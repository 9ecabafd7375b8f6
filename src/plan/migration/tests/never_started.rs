//! Jobs that Kubernetes makes no pod of, or whose pod no node took.

use super::*;

#[test]
fn what_keeps_kubernetes_from_making_the_pod_is_named() {
    for (blocked, reason) in [
        ("Quota: exceeded quota: compute", "Quota"),
        ("PodSecurity: violates PodSecurity", "PodSecurity"),
        ("Config: error looking up service account", "Config"),
    ] {
        let (mut o, _) = resumed();
        o.jobs[0].blocked = Some(blocked.into());
        let decision = says(&o, blocked);
        assert_eq!(decision.report.phase, crate::plan::Phase::Waiting(reason.into()));
        assert!(decision.steps.is_empty());
    }
}

#[test]
fn a_newer_commit_takes_over_from_a_job_that_kubernetes_makes_no_pod_of() {
    let (mut o, _) = resumed();
    o.declaration = Declaration::Valid(Box::new(declared(3)));
    assert!(words(&o).is_empty(), "its pod is about to come");
    o.jobs[0].blocked = Some("Quota: exceeded quota: compute".into());
    assert_eq!(words(&o), ["suspend"]);
    o.jobs[0].suspended = true;
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
}

/// A Job that was let run and taken back, and has no pod.
fn taken_back() -> Observed {
    let (mut o, _) = resumed();
    o.declaration = Declaration::Valid(Box::new(declared(3)));
    o.jobs[0] = JobSeen {
        suspended: true,
        withdrawn: true,
        generation: 3,
        ..o.jobs[0].clone()
    };
    o
}

#[test]
fn a_job_that_kubernetes_never_made_a_pod_of_is_taken_back_and_may_be_made_anew() {
    let mut o = taken_back();
    o.jobs[0].untouched = true;
    let [MigrationStep::Write { entry, .. }] = &moves(&o)[..] else {
        panic!("{:?}", moves(&o))
    };
    assert_eq!(
        (entry.state, entry.generation),
        (EntryState::Withdrawn, Some(3)),
        "{}",
        entry.note
    );
    // The same key is declared again, by a commit that changes something else.
    let entry = (**entry).clone();
    let mut o = with_entry(&declared(2), |old| *old = entry);
    let back = JobSeen {
        generation: 3,
        resumed: true,
        ..job(&second(&o), 1)
    };
    o.jobs.push(back.clone());
    assert_eq!(words(&o), ["delete"]);
    // Kubernetes may book the pod that never started as a failure; and a deletion is no resume.
    o.jobs[0].finished = Some(JobEnd::Failed("BackoffLimitExceeded".into()));
    assert_eq!(words(&o), ["delete"]);
    o.jobs[0] = JobSeen {
        generation: 4,
        deleting: true,
        ..back.clone()
    };
    assert!(words(&o).is_empty());
    o.jobs[0] = JobSeen {
        generation: 4,
        ..back
    };
    assert_eq!(booked_state(&o).0, EntryState::Unknown, "somebody resumed it");
    o.jobs.clear();
    assert!(matches!(
        &moves(&o)[..],
        [MigrationStep::CreateJob { run: 2, .. }]
    ));
}

#[test]
fn a_pod_that_no_node_was_told_of_never_started_and_any_other_may_have() {
    let unscheduled = |o: &Observed| JobPodSeen {
        started: false,
        node: None,
        running_for: None,
        deleting: true,
        ..job_pod(&o.jobs[0])
    };
    let mut o = taken_back();
    o.job_pods = vec![unscheduled(&o)];
    assert_eq!(booked_state(&o).0, EntryState::Withdrawn);
    // Not yet deleted: a node may still be told of it.
    o.job_pods[0].deleting = false;
    assert!(moves(&o).is_empty());
    // A node has it.
    o.job_pods[0].node = Some(("node1".into(), "boot1".into()));
    o.job_pods[0].deleting = true;
    let [MigrationStep::Write { entry, .. }] = &moves(&o)[..] else {
        panic!("it is noted: {:?}", moves(&o))
    };
    let node = entry.started.as_ref().map(|started| started.node.as_str());
    assert_eq!((entry.state, node), (EntryState::Claimed, Some("node1")));
    let noted = (**entry).clone();
    let mut later = o.clone();
    for entry in later.ledger.as_mut().unwrap().ledger.entries.values_mut() {
        if entry.uid == noted.uid {
            *entry = noted.clone();
        }
    }
    assert!(moves(&later).is_empty(), "its end is waited for");
    (later.job_pods, later.jobs[0].untouched) = (Vec::new(), true);
    assert_eq!(booked_state(&later).0, EntryState::Unknown, "a node had it");
    o.job_pods[0].terminal = true;
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
    // There were others.
    let mut o = taken_back();
    o.job_pods = vec![unscheduled(&o)];
    o.jobs[0].generation = 5;
    assert!(moves(&o).is_empty());
}

#[test]
fn without_a_pod_only_the_word_of_kubernetes_says_that_there_never_was_one() {
    let mut o = taken_back();
    o.jobs[0].counting = true;
    assert!(moves(&o).is_empty(), "Kubernetes is not done with it");
    o.jobs[0].counting = false;
    assert_eq!(booked_state(&o).0, EntryState::Unknown);
    o.jobs[0].untouched = true;
    assert_eq!(booked_state(&o).0, EntryState::Withdrawn);
    o.jobs[0].generation = 5;
    assert_eq!(booked_state(&o).0, EntryState::Unknown, "somebody let it run too");
    o.jobs[0].generation = 3;
    o.jobs[0].withdrawn = false;
    assert_eq!(booked_state(&o).0, EntryState::Unknown, "a hand suspended it");
    o.jobs[0].withdrawn = true;
    for entry in o.ledger.as_mut().unwrap().ledger.entries.values_mut() {
        entry.started = Some(Started {
            node: "node1".into(),
            boot_id: "boot1".into(),
        });
    }
    assert_eq!(booked_state(&o).0, EntryState::Unknown, "it was seen running");
}

#[test]
fn a_job_that_never_started_gives_way_to_what_a_commit_changes_of_it() {
    let (mut o, _) = resumed();
    o.jobs[0].given = Some("gone".into());
    o.jobs[0].blocked = Some("Config: error looking up service account".into());
    o.given = Some("gone".into());
    assert!(moves(&o).is_empty());
    o.given = Some("there".into());
    o.jobs[0].acknowledged = false;
    assert!(
        moves(&o).is_empty(),
        "Kubernetes has not heard yet that it may run"
    );
    o.jobs[0].acknowledged = true;
    assert_eq!(words(&o), ["suspend"]);
    // Where a node has its pod, a container may start at any time.
    let stuck = JobPodSeen {
        started: false,
        stuck: Some("ImagePull: ErrImagePull".into()),
        running_for: None,
        ..job_pod(&o.jobs[0])
    };
    o.jobs[0].blocked = None;
    o.job_pods = vec![stuck.clone()];
    assert!(moves(&o).is_empty());
    o.job_pods = vec![JobPodSeen {
        node: None,
        stuck: Some("Unschedulable: 0/1 nodes".into()),
        ..stuck
    }];
    assert_eq!(words(&o), ["suspend"]);
    // One that runs is never killed.
    o.job_pods = vec![JobPodSeen {
        node: None,
        ..job_pod(&o.jobs[0])
    }];
    assert_ne!(words(&o), ["suspend"]);
}
