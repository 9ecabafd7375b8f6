//! The main job: a commit becomes a migrated, served release, and the next one follows without a lost request.

use std::{path::Path, time::Duration};

use super::support::{
    Case, Mark, Way, get, json_of, migrating, probe, shared, shop, spawn, try_exec, wait, watching,
};

/// For one release with a migration; one that writes its status over and over is far above.
const MOST_WRITES: usize = 50;

#[test]
fn a_repository_over_https_leads_to_a_live_shop_in_the_order_that_migrations_need() {
    let _services = shared();
    live_shop("story-https", Way::Https);
}

#[test]
fn a_repository_over_ssh_leads_to_a_live_shop() {
    let _services = shared();
    live_shop("story-ssh", Way::Ssh);
}

#[test]
fn who_watches_the_status_is_told_of_each_version_as_it_comes() {
    let _services = shared();
    let case = Case::new("story-watch", &probe("story-watch"));
    case.declare("1.0.0", "version: 1.0.0\nreplicas: 1");
    case.live("1.0.0");
    let (_watch, log) = watching(&case.ns);
    let said = |what: &str| {
        wait(&format!("it says {what}"), || {
            let log = std::fs::read_to_string(&log).ok()?;
            log.contains(what).then_some(())
        });
    };
    said("1.0.0 is live");
    case.declare("1.1.0", "version: 1.1.0\nreplicas: 1");
    said("1.1.0 (v2) is being rolled out");
    said("1.1.0 is live");
    case.end();
}

fn live_shop(name: &str, way: Way) {
    let case = Case::reached_by(name, &shop(name), way);
    let empty = Mark::now();
    let commit = case.declare("shop 1.0.0", "version: 1.0.0");
    let release = case.live("1.0.0");
    costs_few_writes("a first release with a migration", &case, empty);
    assert_eq!(
        release["metadata"]["annotations"]["slipway.dev/commit"],
        commit.as_str()
    );
    assert!(case.ask("/").contains("version: 1.0.0"));
    assert_ne!(case.sql("select count(*) from schema_migrations").trim(), "0");

    assert_order(name, 0);
    case.end();
}

/// What a release with a migration cost since then, told and held: all requests of Slipway to write, dry runs too.
fn costs_few_writes(what: &str, case: &Case, since: Mark) {
    let cost = since.cost(&case.ns, &case.source);
    let all: usize = cost.values().sum();
    println!("writes for {what}: {all} {cost:?}");
    let of = |words: &str| cost.get(words).copied().unwrap_or(0);
    assert_eq!(of("create jobs"), 1, "the migration is among them: {cost:?}");
    assert_eq!(
        of("create leases") + of("patch leases"),
        2,
        "its lock was taken and given back: {cost:?}"
    );
    assert!(all <= MOST_WRITES, "{all} writes for {what}: {cost:?}");
}

/// The order that a migration needs, in the audit log of a namespace: revision created → Job created suspended → claimed
/// in the ledger → resumed → success booked → first write of the Deployment. `earlier` releases are passed over.
fn assert_order(namespace: &str, earlier: usize) {
    let all = super::support::audit(namespace);
    let starts: Vec<usize> = all
        .iter()
        .enumerate()
        .filter(|(_, event)| {
            event["verb"] == "create" && event["objectRef"]["resource"] == "releaserevisions"
        })
        .map(|(index, _)| index)
        .collect();
    let all = &all[starts[earlier]..];
    let at = |what: &str, is: &dyn Fn(&serde_json::Value) -> bool| {
        all.iter()
            .position(|event| {
                event["responseStatus"]["code"]
                    .as_i64()
                    .is_some_and(|code| code < 300)
                    && is(event)
            })
            .unwrap_or_else(|| panic!("no {what} in the audit log"))
    };
    let of = |event: &serde_json::Value, verb: &str, resource: &str| {
        event["verb"] == verb
            && event["objectRef"]["resource"] == resource
            && !event["requestURI"].as_str().unwrap_or("").contains("dryRun")
    };
    // The ledger holds the migrations of earlier revisions, too.
    let of_this = format!("\"revision\":{},", earlier + 1);
    let ledger = |event: &serde_json::Value, state: &str| {
        event["objectRef"]["resource"] == "configmaps"
            && event["responseObject"]["data"].as_object().is_some_and(|data| {
                data.values()
                    .filter_map(|entry| entry.as_str())
                    .any(|entry| entry.contains(state) && entry.contains(&of_this))
            })
    };
    let order = [
        at("revision", &|e| of(e, "create", "releaserevisions")),
        at("suspended Job", &|e| {
            of(e, "create", "jobs") && e["responseObject"]["spec"]["suspend"] == true
        }),
        at("claim", &|e| ledger(e, "\"state\":\"claimed\"")),
        at("resume", &|e| {
            of(e, "patch", "jobs") && e["responseObject"]["spec"]["suspend"] == false
        }),
        at("booked success", &|e| ledger(e, "\"state\":\"succeeded\"")),
        // However it was written.
        at("Deployment", &|e| {
            ["create", "update", "patch"]
                .iter()
                .any(|verb| of(e, verb, "deployments"))
        }),
    ];
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn a_rolling_update_with_a_migration_loses_no_request() {
    let _services = shared();
    // It answers while others start: what it asks for is its share of a busy machine.
    let base = shop("story-load").replace("cpu: 20m", "cpu: 100m");
    assert!(base.contains("100m"));
    let case = Case::new("story-load", &base);
    case.declare("shop 1.0.0", "version: 1.0.0");
    case.live("1.0.0");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bed/ask.py");
    let folder = tempfile::tempdir().unwrap();
    let stop = folder.path().join("stop");
    let url = format!("http://{}/", case.service_ip());
    let client = spawn(&[
        "python3",
        script.to_str().unwrap(),
        "--url",
        &url,
        "--rate",
        "50",
        "--seconds",
        "300",
        "--stop-file",
        stop.to_str().unwrap(),
    ]);
    // The claim is about requests from 10 s before to 30 s after.
    std::thread::sleep(Duration::from_secs(10));
    let first = Mark::now();
    case.declare("shop 1.1.0", "version: 1.1.0");
    case.live("1.1.0");
    std::thread::sleep(Duration::from_secs(30));
    costs_few_writes("the next release with a migration", &case, first);
    std::fs::write(&stop, "").unwrap();
    let seen = json_of(client);
    println!("rolling update under load: {seen}");
    assert_eq!(seen["errors"], serde_json::json!({}), "{seen}");
    assert_eq!(seen["asked"], seen["ok"], "{seen}");
    let rate = seen["asked"].as_f64().unwrap() / seen["seconds"].as_f64().unwrap();
    assert!(rate >= 45.0, "{rate:.1} requests/s: {seen}");
    assert!(seen["seconds"].as_f64().unwrap() >= 40.0, "{seen}");
    assert!(seen["refused_retried"].as_i64().unwrap() <= 5, "{seen}");
    // Before any new pod: a pod comes of the Deployment, and the Deployment was written after the success.
    assert_order(&case.ns, 1);
    let versions = seen["versions"].as_object().unwrap();
    assert!(
        versions.contains_key("version: 1.0.0") && versions.contains_key("version: 1.1.0"),
        "{seen}"
    );
    assert_eq!(versions.len(), 2, "each answer names its version: {seen}");
    case.end();
}

#[test]
fn env_alone_is_a_revision_without_a_job_and_replicas_alone_are_no_attempt() {
    let _services = shared();
    let base = migrating("story-env", "");
    let case = Case::new("story-env", &base);
    case.declare("probe 1.0.0", "version: 1.0.0\nreplicas: 2");
    case.live("1.0.0");
    assert_eq!(case.jobs().len(), 1);
    let migrated = Mark::now();
    case.declare(
        "a greeting",
        "version: 1.0.0\nreplicas: 2\nenv: {GREETING: hello}",
    );
    wait("the second revision is live", || {
        (case.release()["status"]["liveRevision"] == "app-v2").then_some(())
    });
    let revisions = case.revisions();
    assert_eq!(revisions.len(), 2);
    assert!(
        revisions[1]["spec"]["cause"]
            .as_str()
            .unwrap()
            .contains("env GREETING added"),
        "{}",
        revisions[1]["spec"]["cause"]
    );
    let change = r#"{"spec":{"cause":"another past"}}"#;
    let patch = ["patch", "releaserevision", "app-v1", "--type=merge", "-p", change];
    let refused = try_exec(&[&["kubectl", "-n", &case.ns], &patch[..]].concat(), "");
    assert!(
        refused
            .as_ref()
            .is_err_and(|why| why.contains("a revision is history: its spec never changes")),
        "{refused:?}"
    );
    assert!(case.ask("/").contains("env=hello"));
    let pods = case.pod_identities();
    case.declare(
        "three of them",
        "version: 1.0.0\nreplicas: 3\nenv: {GREETING: hello}",
    );
    wait("three pods", || {
        (case.deployment()["status"]["availableReplicas"] == 3).then_some(())
    });
    assert_eq!(case.revisions().len(), 2, "scaling is no attempt");
    let now = case.pod_identities();
    assert!(
        pods.iter().all(|pod| now.contains(pod)),
        "no pod was restarted: {pods:?} {now:?}"
    );
    let jobs = migrated.created(&case.ns, "jobs");
    assert!(jobs.is_empty(), "the migration is the same: {jobs:?}");
    case.end();
}

#[test]
fn a_generated_value_stays_when_another_joins_it_and_old_revisions_go_as_the_spec_says() {
    let _services = shared();
    let base = format!(
        "{}  retain: {{revisions: 1}}\n  env: {{FIRST: {{generate: hex/32}}}}\n",
        probe("story-made")
    );
    let case = Case::new("story-made", &base);
    case.declare("probe 1.0.0", "version: 1.0.0\nreplicas: 1");
    case.live("1.0.0");
    let made = || get("secret", &case.ns, "app-generated").expect("generated values")["data"].clone();
    let first = made();
    assert!(first["FIRST"].is_string() && first["SECOND"].is_null());
    case.declare(
        "one more",
        "version: 1.0.0\nreplicas: 1\nenv: {SECOND: {generate: hex/32}}",
    );
    wait("the second revision is live and the first is gone", || {
        let revisions = case.revisions();
        let only = revisions.len() == 1 && revisions[0]["metadata"]["name"] == "app-v2";
        (only && case.release()["status"]["liveRevision"] == "app-v2").then_some(())
    });
    let both = made();
    assert_eq!(both["FIRST"], first["FIRST"], "made once");
    assert!(both["SECOND"].is_string() && both["SECOND"] != both["FIRST"]);
    case.end();
}
