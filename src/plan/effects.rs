//! No field without an effect: each place of the schema is set once, and the objects or the decisions must differ.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    decide, fixtures,
    fixtures::{ended_pod, entry, job, job_pod, key, ledger, under_way},
    ledger::EntryState,
    observed::{
        BuilderSeen, Claim, ClaimedBy, Claims, CommitSeen, Fingerprints, ImageSeen, JobEnd, JobSeen,
        Observed, PodSeen,
    },
};
use crate::{
    api::revision::Outcome,
    build::key::Wanted,
    names::{ReleaseName, RevisionNumber},
    plan::Stage,
    render::{self, BuildInput, Input},
    spec::{self, Declared, declared::Holder},
};

/// With everything in it that others need to have an effect.
const BASE: &str = "version: 1.0.0
image: ghcr.io/acme/app@sha256:1111111111111111111111111111111111111111111111111111111111111111
port: 8080
health: {path: /health}
env: {A: plain, G: {generate: hex/32}}
envFrom: [{config: shared}]
files: {/run/key: {config: app/key}}
host: app.example.com
processes: {jobs: {command: [/jobs]}}
source: {git: 'https://git.example.com/acme/app.git'}
migrate: {args: [/migrate], env: {B: plain}}
";

/// Place → fields over [`BASE`], as a JSON merge patch in YAML.
const ROWS: &[(&str, &str)] = &[
    ("preset", "preset: nextjs"),
    ("version", "version: 2.0.0"),
    ("image", "image: ghcr.io/acme/other:1"),
    ("pullSecret", "pullSecret: registry"),
    (
        "source.git",
        "source: {git: 'https://git.example.com/acme/other.git'}",
    ),
    ("source.ref", "source: {ref: 'release-{version}'}"),
    ("source.path", "source: {path: apps/shop}"),
    ("source.secret", "source: {secret: git}"),
    ("build.mode", "build: {mode: never}"),
    ("build.dockerfile", "build: {dockerfile: docker/Dockerfile}"),
    ("build.target", "build: {target: runner}"),
    ("build.testTarget", "build: {testTarget: test}"),
    ("build.args.*", "build: {args: {A: b}}"),
    ("build.secrets.*", "build: {secrets: {npm: npm/token}}"),
    ("build.platforms", "build: {platforms: [linux/arm64]}"),
    ("build.locks", "build: {locks: warn}"),
    ("build.timeout", "build: {timeout: 5m}"),
    ("match.version", "match: {version: enforce}"),
    ("match.revision", "match: {revision: ignore}"),
    ("command", "command: [/serve]"),
    ("args", "args: [--now]"),
    ("port", "port: 9000"),
    ("host", "host: other.example.com"),
    ("ingress.class", "ingress: {class: nginx}"),
    (
        "ingress.annotations.*",
        "ingress: {annotations: {example.com/a: b}}",
    ),
    ("replicas", "replicas: 7"),
    ("resources.requests.*", "resources: {requests: {cpu: 300m}}"),
    ("resources.limits.*", "resources: {limits: {memory: 1Gi}}"),
    ("env.*", "env: {A: other}"),
    ("env.*.secret", "env: {A: {secret: app/key}}"),
    ("env.*.config", "env: {A: {config: app/key}}"),
    ("env.*.generate", "env: {A: {generate: hex/32}}"),
    ("env.*.field", "env: {A: {field: status.podIP}}"),
    ("env.*.value", "env: {A: {value: other, public: true}}"),
    (
        "env.*.public",
        "env: {API_TOKEN: {value: not-a-secret-token, public: true}}",
    ),
    ("envFrom.*.secret", "envFrom: [{secret: app}]"),
    ("envFrom.*.config", "envFrom: [{config: app}]"),
    ("envFrom.*.prefix", "envFrom: [{config: shared, prefix: X_}]"),
    (
        "files.*.secret",
        "files: {/run/key: {secret: app/key, config: null}}",
    ),
    ("files.*.config", "files: {/run/key: {config: app/other}}"),
    ("requires", "requires: [A]"),
    ("rotate", "rotate: 1"),
    ("writable.*", "writable: {/data: 1Gi}"),
    ("security.runAsUser", "security: {runAsUser: 1234}"),
    ("security.readOnlyRoot", "security: {readOnlyRoot: false}"),
    ("security.serviceAccount", "security: {serviceAccount: shared}"),
    ("health", "health: /ready"),
    ("health.path", "health: {path: /ready}"),
    ("health.port", "health: {port: 9999}"),
    ("health.headers.*", "health: {headers: {X-Probe: a}}"),
    ("health.startup", "health: {startup: 3m}"),
    ("processes.*.command", "processes: {jobs: {command: [/other]}}"),
    ("processes.*.args", "processes: {jobs: {args: [--x]}}"),
    ("processes.*.replicas", "processes: {jobs: {replicas: 5}}"),
    (
        "processes.*.resources.requests.*",
        "processes: {jobs: {resources: {requests: {cpu: 5m}}}}",
    ),
    (
        "processes.*.resources.limits.*",
        "processes: {jobs: {resources: {limits: {memory: 1Gi}}}}",
    ),
    ("processes.*.env.*", "processes: {jobs: {env: {C: other}}}"),
    ("migrate", "migrate: false"),
    ("migrate.command", "migrate: {command: [/other]}"),
    ("migrate.args", "migrate: {args: [/other]}"),
    ("migrate.env.*", "migrate: {env: {B: other}}"),
    ("migrate.timeout", "migrate: {timeout: 5m}"),
    ("migrate.retries", "migrate: {retries: 3}"),
    (
        "migrate.resources.requests.*",
        "migrate: {resources: {requests: {cpu: 300m}}}",
    ),
    (
        "migrate.resources.limits.*",
        "migrate: {resources: {limits: {memory: 1Gi}}}",
    ),
    ("migrate.compatible", "migrate: {compatible: false}"),
    ("migrate.lock", "migrate: {lock: shared}"),
    ("migrate.serviceAccount", "migrate: {serviceAccount: migrator}"),
    ("migrate.database", "migrate: {database: B}"),
    ("migrate.proof", "migrate: {proof: all done}"),
    ("migrate.rerun", "migrate: {rerun: 1}"),
    ("migrate.accept", "migrate: {accept: KEY}"),
    ("rollout.strategy", "rollout: {strategy: recreate}"),
    ("rollout.surge", "rollout: {surge: 50%}"),
    ("rollout.unavailable", "rollout: {unavailable: '1'}"),
    ("rollout.deadline", "rollout: {deadline: 1m}"),
    ("rollout.minReady", "rollout: {minReady: 42s}"),
    ("rollout.drain", "rollout: {drain: 33s}"),
    ("verify.window", "verify: {window: 10s}"),
    ("verify.maxRestarts", "verify: {maxRestarts: 3}"),
    ("onFailure", "onFailure: hold"),
    ("onSecretChange", "onSecretChange: ignore"),
    ("suspend.reason", "suspend: {reason: a freeze}"),
    (
        "suspend.until",
        "suspend: {reason: a freeze, until: '2026-12-01T08:00:00Z'}",
    ),
    ("retain.revisions", "retain: {revisions: 2}"),
    ("retain.failedJobs", "retain: {failedJobs: 1}"),
    ("attempt", "attempt: 1"),
    ("adopt", "adopt: 1"),
    ("repin", "repin: 1"),
];

fn name() -> ReleaseName {
    fixtures::id().name
}

fn declare(patch: &str) -> Declared {
    let parse = |text: &str| serde_yaml::from_str::<serde_json::Value>(text).unwrap();
    let mut value = parse(BASE);
    merge(&mut value, &parse(patch));
    let spec = serde_json::from_value(value).unwrap();
    spec::declare(&name(), &spec)
        .unwrap_or_else(|problems| panic!("{patch}: {problems:?}"))
        .unwrap()
}

/// RFC 7396.
fn merge(target: &mut serde_json::Value, patch: &serde_json::Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = serde_json::json!({});
    }
    for (name, value) in fields {
        merge(&mut target[name.as_str()], value);
    }
}

/// Everything that a declaration leads to: its objects, its Job, and the decision in each situation.
fn behaviour(declared: &Declared) -> Vec<String> {
    let id = fixtures::id();
    let digest = fixtures::digest(1);
    let input = Input {
        id: &id,
        declared,
        digest: &digest,
        architectures: &[],
        revision: RevisionNumber(3),
        provenance: None,
        owner: None,
    };
    let mut seen: Vec<String> = render::render(&input)
        .iter()
        .chain(render::migrate_job(&input, &"0".repeat(64), 1).iter())
        .map(|object| object.value.to_string())
        .collect();
    // What is not there is waited for, whatever the process.
    let keys = (
        declared.objects(Holder::Secret),
        declared.env_keys(Holder::Secret),
    );
    seen.push(format!("{keys:?} {:?}", declared.generated()));
    // `controller::ask_commit` reads the repository with it.
    let secret = declared.origin.as_ref().map(|origin| &origin.secret);
    seen.push(format!("{secret:?}"));
    seen.extend(built(declared));
    // `cluster::resolve` waits for their values.
    seen.push(format!("{:?}", declared.requires));
    if let Some(migrate) = &declared.migrate {
        // `cluster::observe` reads the database from it.
        seen.push(migrate.database.to_string());
    }
    // Situations are made of revisions, which have a digest.
    let mut declared = declared.clone();
    declared.image.pick = crate::spec::declared::ImagePick::Digest(digest.clone());
    for situation in SITUATIONS {
        let decision = decide(&situation(&declared));
        seen.push(format!(
            "{:?} {:?} {:?}",
            decision.steps, decision.report, decision.wait
        ));
    }
    seen
}

/// The Job that builds its image.
fn built(declared: &Declared) -> Option<String> {
    let builder = serde_json::json!({
        "namespace": "builds", "image": "b", "ownImage": "s", "serviceAccount": "build", "disk": "1Gi",
    });
    let reference = declared.image.reference();
    let input = BuildInput {
        tries: 1,
        builder: &serde_json::from_value(builder).unwrap(),
        wanted: Wanted::of(declared, &reference)?,
        commit: &"f".repeat(40).parse().unwrap(),
        run: 1,
        larger: false,
        by: (&fixtures::id(), declared.attempt),
    };
    Some(render::build_job(&input).to_string())
}

const SITUATIONS: [fn(&Declared) -> Observed; 14] = [
    asking,
    compared,
    repinned,
    claiming,
    settled,
    rolling,
    verifying,
    restarted,
    failed,
    rotated,
    migrating,
    not_migrated,
    unknown,
    finished,
];

/// The image of a first version says of itself what is not declared, and nobody has been asked yet which commit is.
fn asking(declared: &Declared) -> Observed {
    let said = |text: &str| {
        let by = ClaimedBy::Annotation;
        Some(Claim {
            text: text.to_owned(),
            by,
        })
    };
    let mut o = fixtures::observed(declared.clone());
    o.builder = BuilderSeen::Ready("a builder".to_owned());
    o.image = ImageSeen::Found {
        digest: fixtures::digest(1),
        platforms: Vec::new(),
        obtained: "registry".into(),
        baked: Vec::new(),
        claims: vec![Claims {
            version: said("0.0.1"),
            revision: said("0123456"),
            source: said("https://git.example.com/acme/app"),
            built: false,
            ..Claims::default()
        }],
    };
    o
}

fn compared(declared: &Declared) -> Observed {
    let mut o = asking(declared);
    o.commit = CommitSeen::Known("f".repeat(40).parse().unwrap());
    o
}

/// Its tag named another image when it was looked up for the first time.
fn repinned(declared: &Declared) -> Observed {
    let mut o = served(declared);
    for revision in o.current.iter_mut().chain(&mut o.live) {
        revision.repin = 0;
        revision.digest = fixtures::digest(9);
    }
    o
}

/// Version 2 live.
fn served(declared: &Declared) -> Observed {
    let mut o = rolled_out(declared);
    let second = o.current.as_mut().unwrap();
    second.outcome = Some(Outcome::Live);
    second.was_live = true;
    o.live.clone_from(&o.current);
    o
}

fn settled(declared: &Declared) -> Observed {
    let mut o = served(declared);
    o.retained = fixtures::retained(1..=9);
    // Its image says something else of both, and was let pass.
    o.doubted.version = vec!["it says that it is version 0.0.1".into()];
    o.doubted.revision = vec!["it says that it was built from commit 0123456".into()];
    o
}

/// Version 2 with its migration booked, where there is one, and its objects in the cluster.
fn rolled_out(declared: &Declared) -> Observed {
    let mut o = under_way(declared);
    let second = o.current.clone().unwrap();
    if second.migration.is_some() {
        let done = entry(&second, 1, EntryState::Succeeded);
        let ledger = o.ledger.get_or_insert_with(|| ledger([]));
        ledger.ledger.entries.insert(key(&second), done);
    }
    o.objects = fixtures::running(&second.objects);
    o
}

fn rolling(declared: &Declared) -> Observed {
    let mut o = rolled_out(declared);
    for live in o.objects.values_mut() {
        live.value["status"]["availableReplicas"] = 0.into();
    }
    o.rolling = Some((RevisionNumber(2), Duration::from_secs(120)));
    o
}

fn verifying(declared: &Declared) -> Observed {
    let mut o = rolled_out(declared);
    o.stage = Some((Stage::Verifying(RevisionNumber(2)), Duration::from_secs(30)));
    o
}

fn restarted(declared: &Declared) -> Observed {
    let mut o = verifying(declared);
    o.pods = vec![PodSeen {
        name: "pod".into(),
        revision: Some(RevisionNumber(2)),
        deleting: false,
        restarts: 2,
        waiting: None,
        unschedulable: None,
        last_end: None,
        hint: None,
    }];
    o.restarts_before = Some((RevisionNumber(2), 0));
    o
}

fn failed(declared: &Declared) -> Observed {
    let mut o = rolled_out(declared);
    o.current.as_mut().unwrap().outcome = Some(Outcome::RolloutFailed);
    // What serves is another attempt.
    o.live.as_mut().unwrap().attempt = crate::spec::declared::AttemptHash("before".into());
    o
}

fn rotated(declared: &Declared) -> Observed {
    let prints = |value: &str| Fingerprints {
        key_id: "k".into(),
        values: [("Secret a/b".to_owned(), value.to_owned())].into(),
    };
    let mut o = served(declared);
    o.rotated = Some(0);
    o.live.as_mut().unwrap().fingerprints = Some(prints("old"));
    o.current.as_mut().unwrap().fingerprints = Some(prints("old"));
    o.fingerprints = Some(prints("new"));
    o.fingerprints_for = Duration::from_secs(60);
    o
}

fn with_entry(declared: &Declared, state: EntryState) -> Observed {
    let mut o = under_way(declared);
    let second = o.current.clone().unwrap();
    if second.migration.is_some() {
        let booked = entry(&second, 1, state);
        let ledger = o.ledger.get_or_insert_with(|| ledger([]));
        ledger.ledger.entries.insert(key(&second), booked);
    }
    o
}

/// The Job has been running for ten minutes.
fn migrating(declared: &Declared) -> Observed {
    let mut o = with_entry(declared, EntryState::Claimed);
    let second = o.current.clone().unwrap();
    if second.migration.is_some() {
        let running = JobSeen {
            suspended: false,
            resumed: true,
            ..job(&second, 1)
        };
        let mut pod = job_pod(&running);
        pod.running_for = Some(Duration::from_secs(600));
        for entry in o.ledger.as_mut().unwrap().ledger.entries.values_mut() {
            entry.started = Some(super::ledger::Started {
                node: "node1".into(),
                boot_id: "boot1".into(),
            });
        }
        o.jobs.push(running);
        o.job_pods.push(pod);
    }
    o
}

/// It failed an hour ago, and the next Job stands ready to be claimed.
fn not_migrated(declared: &Declared) -> Observed {
    let mut o = with_entry(declared, EntryState::Failed);
    let second = o.current.clone().unwrap();
    o.now = Timestamp::from_second(3600).unwrap();
    if second.migration.is_some() {
        o.jobs.push(job(&second, 2));
    }
    o
}

fn unknown(declared: &Declared) -> Observed {
    with_entry(declared, EntryState::Unknown)
}

/// Three failed Jobs of the past.
fn finished(declared: &Declared) -> Observed {
    let mut o = served(declared);
    let first = o.live.clone().unwrap();
    if first.migration.is_none() {
        return o;
    }
    for run in 1..=3 {
        let ended = JobSeen {
            suspended: false,
            resumed: true,
            finished: Some(JobEnd::Failed("BackoffLimitExceeded".into())),
            ..job(&first, run)
        };
        o.job_pods.push(ended_pod(&ended, 1));
        o.jobs.push(ended);
        let other = super::MigrationKey::parse(&format!("{run}").repeat(64)).unwrap();
        let booked = entry(&first, run, EntryState::Failed);
        let ledger = o.ledger.get_or_insert_with(|| ledger([]));
        ledger.ledger.entries.insert(other, booked);
    }
    o
}

/// The first Job stands ready to be claimed.
fn claiming(declared: &Declared) -> Observed {
    let mut o = under_way(declared);
    let second = o.current.clone().unwrap();
    if second.migration.is_some() {
        o.jobs.push(job(&second, 1));
    }
    o
}

#[test]
fn each_place_of_the_schema_changes_the_objects_or_a_decision() {
    let base = declare("{}");
    let before = behaviour(&base);
    assert!(
        before == behaviour(&declare("{}")),
        "behaviour is a function of the declaration"
    );
    // The key of the migration that is unknown in its situation.
    let mut named = base.clone();
    named.image.pick = crate::spec::declared::ImagePick::Digest(fixtures::digest(1));
    let unknown = key(unknown(&named).current.as_ref().unwrap());
    for (place, patch) in ROWS {
        let patch = patch.replace("KEY", &format!("\"{}\"", unknown.short()));
        assert!(
            before != behaviour(&declare(&patch)),
            "{place} has no effect: {patch}"
        );
    }
}

#[test]
fn each_place_of_the_schema_has_a_row() {
    let rows: BTreeSet<String> = ROWS.iter().map(|(place, _)| (*place).to_owned()).collect();
    assert_eq!(spec::form::places(), rows);
}

#[test]
fn a_claim_names_the_lock_and_the_proof_of_its_spec() {
    let mut declared = declare("migrate: {lock: shared, proof: all done, retries: 3}");
    declared.image.pick = crate::spec::declared::ImagePick::Digest(fixtures::digest(1));
    let words = format!("{:?}", decide(&not_migrated(&declared)).steps);
    assert!(words.contains("all done"), "{words}");
    let lock = super::renew::lock_name(&not_migrated(&declared));
    assert!(words.contains(&lock), "{words}");
}
