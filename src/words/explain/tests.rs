//! The first line of `explain`, and the chain, for every state that a release can be in.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{super::fixtures, *};
use crate::{
    names::{RevisionNumber, Uid},
    plan::{
        Ledger, MigrationKey,
        observed::{JobEnd, JobSeen, LiveObject, LockSeen, PodSeen},
    },
};
use fixtures::{at, release, revision, source, with_detail};

fn uid(text: &str) -> Uid {
    text.parse().unwrap()
}

/// `shop/billing`, 1.9.0 declared as v5, 1.8.2 live as v4.
fn facts(phase: &str, message: &str) -> Facts {
    let ended = match phase {
        "Live" => Some("Live"),
        "RolledBack" | "Failed(RollingOut)" | "Failed(RollingBack)" => Some("RolloutFailed"),
        "Failed(Migrating)" => Some("MigrationFailed"),
        _ => None,
    };
    Facts {
        namespace: "shop".into(),
        name: "billing".into(),
        now: at(300),
        release: Some(release("billing", phase, message)),
        source: SourceSeen::Found(Box::new(source(
            "Applied",
            "commit 0123456789ab is applied: 2 releases",
            &[],
        ))),
        others: Vec::new(),
        revisions: vec![
            revision(4, "1.8.2", -9000, Some("Live")),
            revision(5, "1.9.0", 60, ended),
        ],
        ledger: None,
        jobs: Vec::new(),
        job_pods: Vec::new(),
        lock: None,
        deployments: vec![deployment(4, [2, 2, 2, 2])],
        pods: vec![pod("billing-a", 4, true), pod("billing-b", 4, true)],
        missing: Vec::new(),
        refused: Vec::new(),
        unread: Vec::new(),
    }
}

fn deployment(number: u64, [desired, all, updated, available]: [i64; 4]) -> LiveObject {
    LiveObject {
        uid: uid("d"),
        resource_version: "1".into(),
        value: json!({
            "metadata": {"name": "billing", "generation": 1, "annotations": {"slipway.dev/revision": number.to_string()}},
            "spec": {"replicas": desired},
            "status": {"observedGeneration": 1, "replicas": all, "updatedReplicas": updated, "availableReplicas": available},
        })
        .into(),
    }
}

fn pod(name: &str, number: u64, ready: bool) -> Pod {
    Pod {
        ready,
        seen: PodSeen {
            name: name.into(),
            revision: Some(RevisionNumber(number)),
            deleting: false,
            restarts: 0,
            waiting: None,
            unschedulable: None,
            last_end: None,
            hint: None,
        },
    }
}

fn entry(state: &str, note: &str) -> Ledger {
    let entry: Value = json!({
        "state": state, "job": "billing-migrate-abababab-1", "uid": "u1", "run": 1, "attempt": 0, "tries": 1,
        "revision": 5, "digest": "sha256:5", "lock": "slipway-lock-1", "at": at(90).to_string(), "note": note,
        "exitCode": if state == "failed" { json!(1) } else { json!(null) },
    });
    Ledger {
        entries: [(
            MigrationKey::parse(&"ab".repeat(32)).unwrap(),
            serde_json::from_value(entry).unwrap(),
        )]
        .into(),
        ..Ledger::default()
    }
}

fn job(suspended: bool, finished: Option<JobEnd>) -> JobSeen {
    JobSeen {
        name: "billing-migrate-abababab-1".into(),
        uid: uid("u1"),
        resource_version: "1".into(),
        key: MigrationKey::parse(&"ab".repeat(32)),
        suspended,
        resumed: !suspended,
        generation: 2,
        acknowledged: true,
        untouched: false,
        counting: false,
        given: None,
        withdrawn: false,
        on_node: false,
        deleting: false,
        finished,
        blocked: None,
    }
}

fn first(facts: &Facts) -> String {
    lines(facts).remove(0)
}

fn all(facts: &Facts) -> String {
    lines(facts).join("\n")
}

/// Fails unless each of the words is in the text.
fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

/// Phase, message, and what the remedy says.
const CASES: &[(&str, &str, &str)] = &[
    ("Pending", "1.9.0 waits for its turn", "nothing yet"),
    (
        "Resolving",
        "looking for ghcr.io/acme/billing:1.9.0",
        "nothing yet",
    ),
    (
        "Building",
        "1.9.0 is being built from commit 3f9c2a71d0c4",
        "build.timeout",
    ),
    (
        "Preparing",
        "1.9.0 (v5) is being prepared",
        "kubectl -n shop describe release billing",
    ),
    (
        "Migrating",
        "migration abababab is running as Job j",
        "logs -l slipway.dev/release=billing",
    ),
    (
        "RollingOut",
        "Deployment billing: 1 of 2 pods available",
        "rollout.deadline",
    ),
    (
        "Verifying",
        "1.9.0 (v5) runs and is watched for 1m",
        "nothing; it lasts verify.window",
    ),
    ("Live", "1.9.0 is live (v5)", "nothing."),
    (
        "RolledBack",
        "1.9.0 failed (x) and was rolled back: 1.8.2 runs",
        "commit a version that works",
    ),
    (
        "Suspended",
        "suspended until 2026-06-01T00:00:00Z: freeze; 1.8.2 runs",
        "take suspend out of the spec in git",
    ),
    (
        "Rejected",
        "the declared spec is refused: spec.port: 0",
        "mend the field",
    ),
    (
        "NotDeployed",
        "no version is declared",
        "give a version in the last layer",
    ),
    (
        "Waiting(NamespaceMissing)",
        "namespace shop does not exist",
        "kubectl create namespace shop",
    ),
    (
        "Waiting(NamespaceTerminating)",
        "namespace shop is being deleted",
        "find what holds it",
    ),
    (
        "Waiting(WaitingForImage)",
        "x:1.9.0 does not exist yet",
        "push the image",
    ),
    ("Waiting(RegistryAuth)", "tried no credential", "pullSecret"),
    (
        "Waiting(PullSecretInvalid)",
        "pull Secret p has no key",
        "kubectl -n shop create secret docker-registry",
    ),
    (
        "Waiting(RegistryUnreachable)",
        "connection refused",
        "it is asked again",
    ),
    ("Waiting(RegistryTimeout)", "no answer", "it is asked again"),
    ("Waiting(ImageInvalid)", "not usable", "push the image anew"),
    (
        "Waiting(BuilderNotReady)",
        "the builder cannot run here",
        "on the nodes",
    ),
    ("Waiting(BuildRefused)", "is not built", "builds.repositories"),
    (
        "Waiting(BuildSecret)",
        "does not exist in namespace slipway-builds",
        "slipway.dev/for",
    ),
    ("Waiting(RefNotFound)", "no such tag", "push the tag"),
    ("Waiting(GitAuth)", "the server refused", "give source.secret"),
    (
        "Waiting(GitUnreachable)",
        "git.example.com did not answer",
        "it is asked again",
    ),
    (
        "Waiting(GitRefused)",
        "Secret acme-git is not for https://git.example.com",
        "slipway.dev/for",
    ),
    (
        "Waiting(PlatformMismatch)",
        "linux/arm64, but nodes are linux/amd64",
        "push an image for the processor",
    ),
    (
        "Waiting(SecretMissing)",
        "Secret billing-db with key url does not exist",
        "create it in namespace shop",
    ),
    (
        "Waiting(NameTaken)",
        "Deployment billing was made by Helm",
        "rename the release",
    ),
    (
        "Waiting(Removing)",
        "git removed it: exposure goes first",
        "put its file back in git",
    ),
    (
        "Waiting(VersionRemoved)",
        "the spec no longer gives a version",
        "give the version in git again",
    ),
    (
        "Waiting(Drifted)",
        "somebody changed this object",
        "make changes in git",
    ),
    (
        "Waiting(SourceGone)",
        "somebody changed this object, and its source is gone",
        "create the source again",
    ),
    (
        "Waiting(ApiServer)",
        "no answer in time to: list the pods of shop/shop",
        "it is tried again by itself",
    ),
    ("Waiting(Stopped)", "the pass panicked: x", "the controller's log"),
    (
        "Waiting(DatabaseLocked)",
        "Job a/b is migrating the same database",
        "when that migration has ended",
    ),
    (
        "Waiting(DatabaseMoved)",
        "the database changed",
        "a new revision takes over",
    ),
    (
        "Waiting(ImagePull)",
        "its pod has not started: ImagePull",
        "let the node pull",
    ),
    ("Waiting(Unschedulable)", "0/1 nodes are available", "add room"),
    (
        "Waiting(PodSecurity)",
        "violates PodSecurity",
        "kubectl get namespace shop --show-labels",
    ),
    (
        "Waiting(Quota)",
        "exceeded quota",
        "kubectl -n shop describe resourcequota",
    ),
    (
        "Waiting(Config)",
        "CreateContainerConfigError",
        "security.runAsUser",
    ),
    ("Waiting(NotStarted)", "has not started", "the node's words"),
    (
        "Waiting(Retrying)",
        "migration failed; it runs again in 9 s",
        "it runs again by itself",
    ),
    (
        "Waiting(LogUnreadable)",
        "its log cannot be read now",
        "migrate.proof",
    ),
    (
        "Failed(RollingOut)",
        "1.9.0, no earlier version: x",
        "commit a version that works",
    ),
    (
        "Failed(RollingBack)",
        "1.8.2 does not come back either",
        "see to the cluster first",
    ),
    (
        "Failed(Migrating)",
        "migration abababab failed: exit code 1",
        "a version whose migration is mended",
    ),
    (
        "Failed(Applying)",
        "the API server would refuse Deployment billing",
        "admission policy",
    ),
    (
        "Failed(BuildFailed)",
        "1.9.0 could not be built from commit 3f9c2a71d0c4: the step failed",
        "mend what the message names",
    ),
    (
        "Failed(ImageMismatch)",
        "ghcr.io/acme/billing:1.9.0 is not the image that is meant",
        "push the right image under another version",
    ),
    (
        "Failed(SecretInImage)",
        "ghcr.io/acme/billing:1.9.0 is refused, and nothing is changed: the variable A holds the value of Secret billing/a",
        "change the value where it is used",
    ),
];

#[test]
fn the_first_line_names_state_age_cause_and_remedy_for_every_word() {
    for (phase, message, remedy) in CASES {
        let line = first(&facts(phase, message));
        assert!(line.starts_with(&format!("{phase} for ")), "{line}");
        has(&line, &[message, "To do: ", remedy]);
        assert!(!line.contains("{ns}") && !line.contains("{name}"), "{line}");
    }
    // Whatever else the code can say has a case here.
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/words/remedy/table.rs")).unwrap();
    for (at, word) in [("Waiting,", "Waiting("), ("Failed,", "Failed(")] {
        for found in text
            .split(at)
            .skip(1)
            .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        {
            // Of a claimed migration the phase is Migrating; a missing image is told as WaitingForImage.
            let moments = [
                "Running",
                "Starting",
                "Suspending",
                "JobDeleting",
                "ImageNotFound",
            ];
            let case = CASES
                .iter()
                .any(|(phase, ..)| *phase == format!("{word}{found})"));
            assert!(case || moments.contains(&found), "{word}{found})");
        }
    }
}

#[test]
fn where_earlier_code_cannot_run_nobody_is_told_to_go_back() {
    let why = "migration abababab of 2.0.0 (v2) was declared with migrate.compatible: false";
    let refused = format!("1.0.0 is refused, and nothing is changed: {why}; the oldest that can is 2.0.0");
    has(
        &first(&facts("Rejected", &refused)),
        &["To do: declare the version that the message names"],
    );
    let held = format!("2.0.0 failed (pod a restarted 3 times) and is held: {why}");
    let line = first(&facts("Failed(RollingOut)", &held));
    has(
        &line,
        &[
            "To do: commit a version made after it",
            "migrate.compatible: true",
        ],
    );
    assert!(!line.contains("or the one that ran before"), "{line}");
}

#[test]
fn a_state_counts_from_its_attempt_where_that_is_known() {
    assert!(
        first(&facts("RollingOut", "x")).starts_with("RollingOut for 4m:"),
        "since v5 was made"
    );
    assert!(
        first(&facts("RolledBack", "x")).starts_with("RolledBack for 3m:"),
        "since v5 ended"
    );
    assert!(
        first(&facts("Live", "x")).starts_with("Live for 5m:"),
        "since it is ready"
    );
}

#[test]
fn pods_that_crash_and_images_that_nodes_cannot_pull_have_their_own_remedy() {
    for (words, remedy) in [
        (
            "pod billing-x restarted 3 times, last with exit code 1",
            "kubectl -n shop logs",
        ),
        ("pod billing-x: ErrImagePull: unauthorized", "give a pullSecret"),
        (
            "pod billing-x: CreateContainerConfigError: image has non-numeric user",
            "security.runAsUser",
        ),
        (
            "pod billing-x: RunContainerError: exec: no such file",
            "correct command",
        ),
        ("not complete within 10m: 1 of 2 pods available", "health"),
        (
            "not complete within 10m: 1 of 2 pods available; pod x ended with exit code 1 (Error)",
            "read why it crashes",
        ),
        (
            "2 restarts while it was verified, 0 allowed",
            "read why it crashed",
        ),
    ] {
        let message = format!("1.9.0 failed ({words}) and was rolled back: 1.8.2 runs");
        has(&first(&facts("RolledBack", &message)), &[words, remedy]);
        has(&first(&facts("Failed(RollingOut)", &message)), &[remedy]);
    }
}

#[test]
fn an_unknown_outcome_is_settled_by_accept_or_rerun_with_the_key() {
    let mut facts = facts(
        "Failed(Migrating)",
        "the outcome of migration abababab is unknown: its Job is gone",
    );
    facts.ledger = Some(entry("unknown", "its Job is gone"));
    has(&first(&facts), &["migrate.accept: \"abababab\"", "migrate.rerun"]);
    has(
        &all(&facts),
        &[
            "migration   !!  abababab on db:5432/billing has an unknown outcome",
            "its Job is gone",
        ],
    );
    facts.ledger = None;
    facts.release = Some(release(
        "billing",
        "Failed(Migrating)",
        "Unknown(LedgerMissing): the record is gone",
    ));
    has(&first(&facts), &["migrate.accept: \"abababab\""]);
}

#[test]
fn a_failed_migration_shows_exit_code_and_the_last_lines_that_the_revision_keeps() {
    let mut facts = facts(
        "Failed(Migrating)",
        "migration abababab failed: exit code 1: no such column",
    );
    facts.ledger = Some(entry("failed", "exit code 1: no such column"));
    let tail = (1..=9)
        .map(|n| format!("line {n}"))
        .collect::<Vec<_>>()
        .join("\n");
    facts.revisions[1].status.as_mut().unwrap().log_tail = Some(tail);
    let text = all(&facts);
    has(
        &text,
        &[
            "failed at 2026-05-03T09:21:30Z (v5), exit code 1",
            "| line 5",
            "| line 9",
        ],
    );
    assert!(!text.contains("line 4"));
}

#[test]
fn a_running_migration_names_job_pod_and_lock() {
    let mut facts = facts("Migrating", "migration abababab is running");
    facts.ledger = Some(entry("claimed", ""));
    facts.jobs = vec![job(true, None)];
    facts.lock = Some(LockSeen::Held {
        by: uid("other"),
        holder: "pay/pay-migrate-cdcdcdcd-1".into(),
        over: false,
        resource_version: "1".into(),
    });
    has(
        &all(&facts),
        &[
            "abababab on db:5432/billing has the claim",
            "Job billing-migrate-abababab-1 waits for its right to run",
            "the lock slipway-lock-1 is held by Job pay/pay-migrate-cdcdcdcd-1",
        ],
    );
}

#[test]
fn a_quota_or_pod_security_that_refuses_the_pod_of_a_migration_is_the_cause() {
    for (words, remedy) in [
        (
            "pods \"x\" is forbidden: exceeded quota: small",
            "describe resourcequota",
        ),
        (
            "violates PodSecurity \"restricted:latest\"",
            "kubectl get namespace shop --show-labels",
        ),
        (
            "admission webhook \"x\" denied the request",
            "let the API server accept",
        ),
    ] {
        let mut facts = facts("Migrating", "Job billing-migrate-abababab-1 is starting");
        facts.refused = vec![words.into()];
        has(&first(&facts), &[words, remedy]);
    }
}

#[test]
fn pods_of_a_rollout_that_the_api_server_refuses_have_the_remedy_of_its_words() {
    for (words, remedy) in [
        (
            "pods \"x\" is forbidden: exceeded quota: small",
            "describe resourcequota",
        ),
        (
            "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\"",
            "kubectl get namespace shop --show-labels",
        ),
        (
            "admission webhook \"x\" denied the request",
            "let the API server accept",
        ),
    ] {
        for (phase, before) in [
            ("RollingOut", "1.9.0 (v5) is being rolled out"),
            ("RolledBack", "1.9.0 failed (not complete within 4m"),
        ] {
            let message = format!("{before}: Deployment billing; its pods are refused: {words}");
            has(&first(&facts(phase, &message)), &[words, remedy]);
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_comes_before_everything_that_follows_from_it() {
    for (place, message) in [
        ("production/billing.yaml:3:5", "unknown field `replcias`"),
        ("all.yaml:9:1", "release shop/billing: spec.port: is required"),
        (
            "x.yaml:1:1",
            "of which release this speaks cannot be read: until it can, shop/billing stays as it is",
        ),
    ] {
        let mut facts = facts("RolledBack", "1.9.0 failed and was rolled back");
        facts.source = SourceSeen::Found(Box::new(source(
            "Problems",
            "…",
            &[("a.yaml:1:1", "no"), (place, message)],
        )));
        let line = first(&facts);
        assert!(
            line.starts_with("RolledBack, held by source releases for 5m: git is not followed"),
            "{line}"
        );
        has(&line, &[place, message, "To do: mend the file at that place"]);
    }
    let mut facts = facts("Live", "1.9.0 is live (v5)");
    let other = [("production/shop.yaml:1:1", "release shop/billing-worker: no")];
    facts.source = SourceSeen::Found(Box::new(source("Problems", "…", &other)));
    has(&first(&facts), &["1.9.0 is live (v5). To do: nothing"]);
}

#[test]
fn what_no_mended_file_settles_has_a_remedy_of_its_own() {
    for (message, remedy) in [
        (
            "2 of 3 releases are not declared any more (shop/a, shop/billing) and are kept, at most 30% may go in one commit: \
             raise maxDeletions if this is meant",
            "maxDeletions of the ReleaseSource",
        ),
        (
            "shop/billing is not declared any more and is kept until the commit has no problem",
            "mend the other problems",
        ),
        (
            "shop/billing is not declared any more and is kept: the source says prune: false",
            "say prune: true",
        ),
        (
            "shop/billing is not declared and is kept: this is the first commit since the source, or its url, branch or paths, \
             were new; the next commit to its paths removes it",
            "commit once more to the paths",
        ),
        (
            "VersionRemoved: the file gives release shop/billing no version any more, so what runs is kept",
            "to remove the release, remove its file",
        ),
        (
            "release shop/billing belongs to ReleaseSource other; remove it from one of them",
            "one of the two sources",
        ),
        (
            "release shop/billing was written from commit 0123, which is not part of the history of 4567",
            "set git.allowRewrite",
        ),
        (
            "release shop/billing is removed when the outcome of its migration is known",
            "nothing; it goes",
        ),
        (
            "release shop/billing is removed when Job billing-migrate-01234567-1 of its migration has ended, of which nobody \
             books the outcome",
            "delete that Job if it hangs",
        ),
    ] {
        let mut facts = facts("Live", "1.9.0 is live (v5)");
        facts.source = SourceSeen::Found(Box::new(source("Problems", "…", &[("", message)])));
        let line = first(&facts);
        has(&line, &["Live, held by source releases", message, remedy]);
        assert!(!line.contains("mend the file at that place"), "{line}");
    }
}

#[test]
fn a_release_that_another_source_declares_too_is_live_and_says_so() {
    let mut facts = facts("Live", "1.9.0 is live (v5)");
    let words = |name: &str| {
        format!("release shop/{name} belongs to ReleaseSource releases; remove it from one of them")
    };
    let place = "base/billing.yaml:4:1";
    facts.others = vec![source("Problems", "…", &[(place, &words("other"))])];
    has(&first(&facts), &["1.9.0 is live (v5). To do: nothing."]);
    facts.others = vec![source("Problems", "…", &[(place, &words("billing"))])];
    has(
        &first(&facts),
        &[
            "1.9.0 is live (v5); source releases has it too: base/billing.yaml:4:1 release shop/billing",
            "To do: remove it from what one of the two sources reads",
        ],
    );
}

#[test]
fn a_problem_that_names_the_release_comes_before_another_of_its_file() {
    let mut facts = facts("Waiting(VersionRemoved)", "the spec no longer gives a version");
    let problems = [
        (
            "production/billing.yaml:3:12",
            "release shop/biling: spec.image: is required",
        ),
        (
            "production/billing.yaml",
            "VersionRemoved: the file gives release shop/billing no version any more, so what runs is kept",
        ),
    ];
    facts.source = SourceSeen::Found(Box::new(source("Problems", "…", &problems)));
    has(
        &first(&facts),
        &[
            "since production/billing.yaml VersionRemoved",
            "to remove the release, remove its file",
        ],
    );
}

#[test]
fn a_release_that_needs_a_commit_says_too_when_no_commit_would_be_read() {
    let mut facts = facts("RolledBack", "1.9.0 failed (x) and was rolled back: 1.8.2 runs");
    facts.source = SourceSeen::Found(Box::new(source("AuthFailed", "cannot fetch branch main", &[])));
    has(
        &first(&facts),
        &[
            "1.9.0 failed (x) and was rolled back: 1.8.2 runs; source releases does not follow git: cannot fetch branch main",
            "To do: commit a version that works",
            "and that git is followed again: renew the credentials",
        ],
    );
}

#[test]
fn a_live_release_whose_source_is_not_followed_says_so() {
    for (reason, remedy) in [
        ("Unreachable", "networkPolicy.egressPorts"),
        ("AuthFailed", "renew the credentials"),
        ("HistoryRewritten", "git.allowRewrite"),
        ("DirectoryMissing", "put the directory back"),
    ] {
        let mut facts = facts("Live", "1.9.0 is live (v5)");
        facts.source = SourceSeen::Found(Box::new(source(reason, "cannot fetch", &[])));
        has(
            &first(&facts),
            &["source releases does not follow git: cannot fetch", remedy],
        );
    }
    let mut facts = facts("Live", "1.9.0 is live (v5)");
    let mut suspended = source("Applied", "x", &[]);
    suspended.spec.suspend = Some(true);
    facts.source = SourceSeen::Found(Box::new(suspended));
    has(&first(&facts), &["suspended", "take suspend out"]);
    facts.source = SourceSeen::Gone("releases".into());
    has(
        &first(&facts),
        &["its source releases is gone", "create the ReleaseSource again"],
    );
}

#[test]
fn what_is_to_be_known_of_a_live_release_has_a_remedy_each() {
    for (type_, remedy) in [
        ("Degraded", "get pods -l slipway.dev/release=billing"),
        ("Drifted", "--show-managed-fields"),
        ("SourceGone", "create the source again"),
        ("SecretsMissing", "create what is missing in namespace shop"),
        (
            "ValuesOutdated",
            "rollout restart deployment -l slipway.dev/release=billing",
        ),
        ("SchemaAhead", "roll forward"),
        ("TagMoved", "use a new version"),
        ("SecretInImage", "change what is a secret where it is used"),
        ("ImageMismatch", "see what image was pushed"),
    ] {
        let mut facts = facts("Live", "1.9.0 is live (v5)");
        facts.release = Some(with_detail(facts.release.unwrap(), type_, "what there is to say"));
        has(
            &first(&facts),
            &["1.9.0 is live (v5); what there is to say", remedy],
        );
    }
}

#[test]
fn a_release_that_is_not_there_is_explained_by_its_source() {
    let mut facts = facts("Live", "");
    facts.release = None;
    facts.source = SourceSeen::Any(vec![source("Applied", "ok", &[])]);
    has(
        &first(&facts),
        &[
            "There is no release: shop/billing does not exist",
            "declare it in git",
        ],
    );
    let problem = [(
        "base/billing.yaml:1:1",
        "Waiting(NamespaceMissing): namespace shop of release shop/billing does not exist",
    )];
    facts.source = SourceSeen::Any(vec![source("Problems", "…", &problem)]);
    has(
        &first(&facts),
        &["base/billing.yaml:1:1", "kubectl create namespace shop"],
    );
    let problem = [(
        "base/billing.yaml:1:1",
        "Waiting(NamespaceTerminating): namespace shop of release shop/billing is being deleted",
    )];
    facts.source = SourceSeen::Any(vec![source("Problems", "…", &problem)]);
    has(&first(&facts), &["is being deleted", "find what holds it"]);
    facts.source = SourceSeen::Any(vec![source("AuthFailed", "the server refused", &[])]);
    has(&first(&facts), &["the server refused", "renew the credentials"]);
}

#[test]
fn a_spec_that_the_controller_has_not_seen_points_at_the_controller() {
    let mut facts = facts("Live", "1.9.0 is live (v5)");
    facts.release.as_mut().unwrap().metadata.generation = Some(9);
    has(
        &first(&facts),
        &[
            "the controller has not looked",
            "kubectl -n slipway-system get pods",
        ],
    );
}

#[test]
fn values_that_broke_the_pods_are_put_right_and_not_committed() {
    let mut facts = facts(
        "RolledBack",
        "v5 (values changed: DATABASE_URL) failed: pod x restarted 3 times",
    );
    let failed = &mut facts.revisions[1];
    failed.spec.cause = "values changed: DATABASE_URL (Secret billing-db/url)".into();
    failed.status.get_or_insert_default().outcome = Some(Outcome::RolloutFailed);
    has(&first(&facts), &["put the values of the Secrets right"]);
    // Another version that was tried once more, and what serves with other values: there a commit helps.
    facts.revisions[1].spec.attempt = "another".into();
    has(&first(&facts), &["commit a version that works"]);
    facts.revisions[1].spec.attempt = facts.revisions[0].spec.attempt.clone();
    facts.revisions[1].status.as_mut().unwrap().outcome = Some(Outcome::Live);
    has(&first(&facts), &["commit a version that works"]);
}

#[test]
fn a_word_of_a_newer_controller_is_told_as_one() {
    has(
        &first(&facts("Waiting(Moonrise)", "it is day")),
        &["it is day", "use the slipway of the controller's version"],
    );
}

#[test]
fn the_chain_names_who_declared_what_and_which_pods_are_not_ready() {
    let mut facts = facts("RollingOut", "1.9.0 (v5) is being rolled out");
    facts.missing = vec!["Secret billing-db".into()];
    facts.deployments = vec![deployment(5, [2, 3, 1, 2])];
    let mut bad = pod("billing-c", 5, false);
    bad.seen.restarts = 2;
    bad.seen.waiting = Some(("CrashLoopBackOff".into(), "back-off 20s".into()));
    facts.pods.push(bad);
    has(
        &all(&facts),
        &[
            "source      ok  releases at 0123456789ab",
            "release     ..  1.9.0 declared, by Ada <ada@acme.com> in 0123456789ab at 2026-05-03T09:19:00Z, production/billing.yaml",
            "image       ok  ghcr.io/acme/billing:1.9.0 is sha256:555555555555 (by registry), revision v5",
            "references  !!  Secret billing-db does not exist",
            "rollout     ..  Deployment billing: 2 of 2 pods available, 1 of the new revision",
            "pod billing-c of v5 is not ready: CrashLoopBackOff back-off 20s, restarted 2 times",
            "serving     ok  1.8.2 (v4), verified 2h34m ago",
            "2 ready of v4",
        ],
    );
}

#[test]
fn what_looks_like_a_secret_in_an_image_is_told_below_it() {
    let mut facts = facts("Live", "1.9.0 is live (v5)");
    let image = &mut facts.revisions[1].spec.image;
    image.harmless = vec!["the variable B holds a text under a name that contains COOKIE".into()];
    has(
        &all(&facts),
        &[
            "image       ok  ",
            "the variable B holds a text",
            "it is expected there",
        ],
    );
    let image = &mut facts.revisions[1].spec.image;
    image.suspicious = vec!["the variable A holds a URL with a password".into()];
    has(
        &all(&facts),
        &[
            "image       !!  ",
            "the variable A holds a URL with a password: change it where it is used",
        ],
    );
}

#[test]
fn what_could_not_be_read_is_said_and_an_absence_is_not_made_of_it() {
    let mut facts = facts("Live", "1.9.0 is live (v5)");
    facts.deployments.clear();
    facts.unread = vec!["failed to list the Deployments: forbidden".into()];
    has(
        &all(&facts),
        &[
            "rollout     --  not known",
            "not shown: failed to list the Deployments: forbidden",
        ],
    );
}

#[test]
fn nothing_that_others_wrote_begins_a_line_or_moves_the_cursor() {
    let mut facts = facts("Waiting(NameTaken)", "x\nLive for 1s: all is well\u{1b}[2J");
    facts.refused = vec!["a\nb".into()];
    let lines = lines(&facts);
    assert!(
        lines.iter().all(|line| !line.contains(['\n', '\u{1b}'])),
        "{lines:?}"
    );
    assert!(lines[0].starts_with("Waiting(NameTaken)"));
}

#[test]
fn a_build_that_failed_is_told_with_the_end_of_its_log() {
    let mut facts = facts(
        "Failed(BuildFailed)",
        "building ghcr.io/acme/billing:1.9.0 failed",
    );
    let release = facts.release.take().unwrap();
    let log = "==> Compiling\n** (CompileError) lib/a.ex:3";
    facts.release = Some(with_detail(release, BUILD_LOG, log));
    let said = lines(&facts);
    let from = said
        .iter()
        .position(|line| line == "build: the end of its log:")
        .unwrap();
    assert_eq!(
        said[from + 1..],
        ["  | ==> Compiling", "  | ** (CompileError) lib/a.ex:3"]
    );
}
