//! A release to decide about, for the tests of this room: a worker of one Deployment whose pods only have an image.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    decide::key_now,
    ledger::{Entry, EntryState, Ledger, MigrationKey},
    observed::{
        BuilderSeen, CommitSeen, DatabaseSeen, Declaration, Doubts, ImageSeen, JobPodSeen, JobSeen,
        LedgerSeen, LiveObject, LockSeen, Migration, NamespaceSeen, Observed, Pin, Record, Revision,
    },
    renew::lock_name,
};
use crate::{
    api::{
        Duration as Span,
        release::{OnFailure, Resources, Strategy},
        revision::Outcome,
    },
    names::{Digest, ReleaseId, RevisionNumber, Uid},
    render::{Input, Kind, Object, job_name, render},
    spec::declared::{
        Agreement, AttemptHash, Declared, Identity, ImagePick, ImageRequest, MigrateSpec, ProcessSpec,
        RolloutSpec,
    },
};

pub const DATABASE: &str = "db:5432/shop";

pub fn id() -> ReleaseId {
    static ID: std::sync::OnceLock<ReleaseId> = std::sync::OnceLock::new();
    let id = ID.get_or_init(|| ReleaseId {
        namespace: "shop".parse().unwrap(),
        name: "billing".parse().unwrap(),
    });
    id.clone()
}

pub fn uid(text: &str) -> Uid {
    text.parse().unwrap()
}

/// Version `1`, `2`, … with an image of its own.
pub fn digest(version: u32) -> Digest {
    format!("sha256:{version:064x}").parse().unwrap()
}

/// The spec of a version; hash of the attempt included.
pub fn declared(version: u32) -> Declared {
    let process = ProcessSpec {
        command: None,
        args: None,
        replicas: 1,
        resources: Resources::default(),
        env: BTreeMap::new(),
    };
    let mut declared = Declared {
        preset: "worker@1".into(),
        version: format!("{version}.0.0").parse().unwrap(),
        image: ImageRequest {
            repository: "ghcr.io/acme/billing".into(),
            pick: ImagePick::Digest(digest(version)),
        },
        pull_secret: None,
        origin: None,
        agree: Agreement::default(),
        build: None,
        processes: [("worker".parse().unwrap(), process)].into(),
        port: None,
        exposure: None,
        env_from: Vec::new(),
        files: BTreeMap::new(),
        requires: Vec::new(),
        rotate: 0,
        writable: BTreeMap::new(),
        security: Identity {
            run_as_user: None,
            read_only_root: true,
            service_account: None,
        },
        probe: None,
        migrate: Some(MigrateSpec {
            command: None,
            args: Some(vec!["/app/bin/migrate".into()]),
            env: BTreeMap::new(),
            timeout: Span::from_secs(1800),
            retries: 0,
            resources: Resources::default(),
            lock: None,
            service_account: None,
            proof: None,
            database: "DATABASE_URL".parse().unwrap(),
            compatible: None,
            rerun: 0,
            accept: None,
        }),
        rollout: RolloutSpec {
            strategy: Strategy::Rolling,
            surge: "25%".into(),
            unavailable: "0".into(),
            deadline: Span::from_secs(600),
            min_ready: Span::from_secs(0),
            drain: Span::from_secs(60),
        },
        verify_window: Span::from_secs(60),
        verify_max_restarts: 0,
        on_failure: OnFailure::Rollback,
        suspend: None,
        on_secret_change: crate::api::release::OnSecretChange::Roll,
        retain_revisions: 5,
        retain_failed_jobs: 5,
        attempt: 0,
        repin: 0,
        adopt: 0,
        attempt_hash: AttemptHash(String::new()),
    };
    rehash(&mut declared);
    declared
}

/// What the hash of an attempt depends on here: image, migration and `attempt`.
pub fn rehash(declared: &mut Declared) {
    let migrate = declared.migrate.as_ref().map(|migrate| migrate.rerun);
    declared.attempt_hash = AttemptHash(format!(
        "{} {migrate:?} {}",
        declared.image.reference(),
        declared.attempt
    ));
}

/// What is rendered, without what no decision looks at: a small Deployment is compared thousands of times.
pub fn objects(declared: &Declared, digest: &Digest, number: RevisionNumber) -> Vec<Object> {
    let id = id();
    let mut objects = render(&Input {
        id: &id,
        declared,
        digest,
        architectures: &[],
        revision: number,
        provenance: None,
        owner: None,
    });
    objects.retain(|object| matches!(object.key.kind, Kind::Deployment | Kind::ServiceAccount));
    for object in &mut objects {
        if object.key.kind == Kind::Deployment {
            let image = object.value["spec"]["template"]["spec"]["containers"][0]["image"].take();
            let account = object.value["spec"]["template"]["spec"]["serviceAccountName"].take();
            object.value["spec"] = serde_json::json!({
                "replicas": object.value["spec"]["replicas"],
                "selector": object.value["spec"]["selector"],
                "strategy": object.value["spec"]["strategy"],
                "minReadySeconds": object.value["spec"]["minReadySeconds"],
                "progressDeadlineSeconds": object.value["spec"]["progressDeadlineSeconds"],
                "template": {
                    "metadata": { "annotations": object.value["spec"]["template"]["metadata"]["annotations"] },
                    "spec": { "containers": [{ "name": "worker", "image": image }], "serviceAccountName": account },
                },
            });
        }
    }
    objects
}

/// A world without anything but a declaration.
pub fn observed(declared: Declared) -> Observed {
    let mut o = Observed {
        id: id(),
        now: Timestamp::UNIX_EPOCH,
        declaration: Declaration::Valid(Box::new(declared)),
        namespace: NamespaceSeen::Present,
        highest: None,
        lost: false,
        current: None,
        live: None,
        failed: None,
        retained: BTreeMap::new(),
        digests: BTreeMap::new(),
        adopted: 0,
        image: ImageSeen::NotAsked,
        pin: None,
        tag_moved: None,
        commit: CommitSeen::NotAsked,
        builder: BuilderSeen::Off,
        builds: Vec::new(),
        suspicious: Vec::new(),
        doubted: Doubts::default(),
        warned: Vec::new(),
        owner: None,
        rolling: None,
        restarts_before: None,
        fingerprints: None,
        fingerprints_for: Duration::ZERO,
        architectures: Vec::new(),
        missing: Vec::new(),
        operators: Vec::new(),
        ungenerated: Vec::new(),
        rotated: None,
        variables: Vec::new(),
        database: DatabaseSeen::Known(DATABASE.into()),
        ledger: None,
        records: Vec::new(),
        jobs: Vec::new(),
        job_pods: Vec::new(),
        given: None,
        lock: (String::new(), LockSeen::Absent),
        objects: BTreeMap::new(),
        let_be: BTreeSet::new(),
        pods: Vec::new(),
        exposure: Vec::new(),
        seen_before: false,
        stage: None,
    };
    o.lock.0 = lock_name(&o);
    o
}

/// The revision that the declaration of `o` makes.
pub fn revision(o: &Observed, declared: &Declared, number: u64) -> Revision {
    let ImagePick::Digest(digest) = &declared.image.pick else {
        panic!("a version of these tests has a digest")
    };
    let number = RevisionNumber(number);
    Revision {
        number,
        attempt: declared.attempt_hash.clone(),
        version: declared.version.to_string(),
        reference: declared.image.reference(),
        repin: declared.repin,
        digest: digest.clone(),
        migration: key_now(o, declared, digest).map(|key| Migration {
            key,
            database: DATABASE.into(),
            lock: lock_name(o),
        }),
        objects: objects(declared, digest, number),
        cause: String::new(),
        fingerprints: None,
        outcome: None,
        message: String::new(),
        was_live: false,
        resource_version: String::new(),
    }
}

/// Revision 1 has this image under what is declared.
pub fn pinned(digest: Digest) -> Pin {
    Pin {
        digest,
        revision: RevisionNumber(1),
        record: Record::default(),
    }
}

pub fn key(revision: &Revision) -> MigrationKey {
    revision.migration.as_ref().unwrap().key.clone()
}

/// An entry of the `run`-th Job of a revision's migration, whose UID is `job-<number>-<run>`.
pub fn entry(revision: &Revision, run: u32, state: EntryState) -> Entry {
    Entry {
        job: job_name(&id().name, key(revision).as_str(), run),
        uid: uid(&format!("job-{}-{run}", revision.number.0)),
        run,
        lock: revision.migration.as_ref().unwrap().lock.clone(),
        tries: 1,
        ..Entry::of(state, revision, Timestamp::UNIX_EPOCH)
    }
}

pub fn ledger<const N: usize>(entries: [(MigrationKey, Entry); N]) -> LedgerSeen {
    LedgerSeen {
        ledger: Ledger {
            entries: entries.into(),
            ..Ledger::default()
        },
        resource_version: "7".into(),
    }
}

/// The `run`-th Job of a revision's migration, suspended and never resumed.
pub fn job(revision: &Revision, run: u32) -> JobSeen {
    let entry = entry(revision, run, EntryState::Claimed);
    JobSeen {
        name: entry.job,
        uid: entry.uid,
        resource_version: "11".into(),
        key: Some(key(revision)),
        suspended: true,
        resumed: false,
        generation: 1,
        acknowledged: false,
        untouched: false,
        counting: false,
        given: None,
        withdrawn: false,
        on_node: false,
        deleting: false,
        finished: None,
        blocked: None,
    }
}

/// These revisions are kept.
pub fn retained(numbers: std::ops::RangeInclusive<u64>) -> BTreeMap<RevisionNumber, Uid> {
    numbers
        .map(|number| (RevisionNumber(number), uid(&format!("v{number}"))))
        .collect()
}

/// The running pod of a Job.
pub fn job_pod(job: &JobSeen) -> JobPodSeen {
    JobPodSeen {
        job: job.uid.clone(),
        started: true,
        succeeded: false,
        terminal: false,
        exit_code: None,
        deleting: false,
        disrupted: false,
        reason: None,
        stuck: None,
        node: Some(("node1".into(), "boot1".into())),
        running_for: Some(Duration::from_secs(1)),
        proven: None,
        tail: String::new(),
        hint: None,
    }
}

/// The pod of a Job after its end.
pub fn ended_pod(job: &JobSeen, exit_code: i32) -> JobPodSeen {
    JobPodSeen {
        terminal: true,
        succeeded: exit_code == 0,
        exit_code: Some(exit_code),
        running_for: None,
        ..job_pod(job)
    }
}

/// The objects as they are in a cluster where everything runs.
pub fn running(objects: &[Object]) -> BTreeMap<crate::render::ObjectKey, LiveObject> {
    objects
        .iter()
        .map(|object| {
            let mut value = object.value.clone();
            if object.key.kind == Kind::Deployment {
                value["metadata"]["generation"] = 1.into();
                let n = value["spec"]["replicas"].clone();
                value["status"] = serde_json::json!({
                    "observedGeneration": 1, "replicas": n, "updatedReplicas": n, "availableReplicas": n,
                });
            }
            let live = LiveObject {
                uid: uid(&object.key.to_string()),
                resource_version: "5".into(),
                value,
            };
            (object.key.clone(), live)
        })
        .collect()
}

/// Version 1 is live as v1 with its migration booked, and `next` is declared.
pub fn live(next: Declared) -> Observed {
    let mut o = observed(declared(1));
    let mut revision = revision(&o, &declared(1), 1);
    revision.outcome = Some(Outcome::Live);
    revision.was_live = true;
    o.ledger = Some(ledger([(
        key(&revision),
        entry(&revision, 1, EntryState::Succeeded),
    )]));
    o.objects = running(&revision.objects);
    o.highest = Some(revision.number);
    o.retained = retained(1..=1);
    o.current = Some(revision.clone());
    o.live = Some(revision);
    o.declaration = Declaration::Valid(Box::new(next));
    o
}

/// As [`live`], and `next` is v2 under way.
pub fn under_way(next: &Declared) -> Observed {
    let mut o = live(next.clone());
    let second = revision(&o, next, 2);
    o.highest = Some(second.number);
    o.retained = retained(1..=2);
    o.current = Some(second);
    o
}
