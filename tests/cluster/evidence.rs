//! Migrations on a bad day: the Job or its pod is taken away while it runs, or no pod can be made. Judged by PostgreSQL:
//! the program writes a row when it starts and one when it ends, into a table without a unique key, so each run shows.

use super::support::{
    Before, Case, Mark, apply, kubectl, list, migrating, shared, try_exec, wait, wait_telling,
};

/// A release whose version 1.0.0 is live, and whose next migration takes `sleep` seconds.
fn case(name: &str) -> Case {
    let base = migrating(name, &format!(", RELEASE: {name}")) + "  replicas: 1\n";
    let case = Case::new(name, &base);
    case.declare("1.0.0", "version: 1.0.0");
    case.live("1.0.0");
    case
}

fn rows(case: &Case, event: &str) -> usize {
    let query = format!("select count(*) from slipway_runs where version = '1.1.0' and event = '{event}'");
    case.sql(&query).trim().parse().unwrap()
}

/// Declares 1.1.0 and waits until its migration has written its first row; the name of its Job.
fn begun(case: &Case) -> String {
    case.declare("1.1.0", "version: 1.1.0\nenv: {MIGRATE_SLEEP: '15'}");
    wait("the migration has started", || {
        (rows(case, "start") == 1).then_some(())
    });
    let jobs = case.jobs();
    let running = jobs
        .iter()
        .find(|job| job["status"]["active"] == 1)
        .expect("a Job runs");
    running["metadata"]["name"].as_str().unwrap().to_owned()
}

fn migration_pod(case: &Case) -> String {
    let pods = list(
        "pod",
        &case.ns,
        "slipway.dev/release=app,slipway.dev/task=migrate",
    );
    let running = pods
        .iter()
        .find(|pod| pod["status"]["phase"] == "Running")
        .expect("a pod runs");
    running["metadata"]["name"].as_str().unwrap().to_owned()
}

/// The outcome is unknown: the old version serves, nothing was written, and nothing runs again by itself.
fn is_unknown(case: Case, before: &Before) {
    wait_telling(
        &format!("{}: unknown", case.ns),
        || case.state(),
        || (case.phase() == "Failed(Migrating)" && case.message().contains("is unknown")).then_some(()),
    );
    assert!(
        case.message().contains("1.0.0 keeps serving"),
        "{}",
        case.message()
    );
    // Long enough for what would run a second time to begin.
    std::thread::sleep(std::time::Duration::from_secs(30));
    assert_eq!(rows(&case, "start"), 1, "{}: it started once", case.ns);
    before.holds(&case);
    case.end();
}

/// Deletes the Job while it runs, in one of the ways that Kubernetes has.
fn is_unknown_once_deleted(cascade: &str) {
    let _services = shared();
    let case = case(&format!("mig-{cascade}"));
    let before = Before::of(&case);
    let job = begun(&case);
    let how = format!("--cascade={cascade}");
    kubectl(&["-n", &case.ns, "delete", "job", &job, &how, "--wait=false"]);
    is_unknown(case, &before);
}

#[test]
fn a_job_that_is_deleted_in_the_foreground_while_it_runs_is_unknown_and_never_runs_again() {
    is_unknown_once_deleted("foreground");
}

#[test]
fn a_job_that_is_deleted_in_the_background_while_it_runs_is_unknown_and_never_runs_again() {
    is_unknown_once_deleted("background");
}

#[test]
fn a_job_whose_pod_is_orphaned_is_unknown_though_the_pod_ends_well() {
    is_unknown_once_deleted("orphan");
}

#[test]
fn a_raw_delete_without_options_is_unknown_though_the_pod_runs_on() {
    let _services = shared();
    let case = case("mig-raw");
    let before = Before::of(&case);
    let job = begun(&case);
    let path = format!("/apis/batch/v1/namespaces/{}/jobs/{job}", case.ns);
    kubectl(&["delete", "--raw", &path]);
    is_unknown(case, &before);
}

#[test]
fn a_pod_that_is_deleted_while_it_migrates_is_unknown() {
    let _services = shared();
    let case = case("mig-pod");
    let before = Before::of(&case);
    begun(&case);
    let pod = migration_pod(&case);
    kubectl(&["-n", &case.ns, "delete", "pod", &pod, "--wait=false"]);
    is_unknown(case, &before);
}

#[test]
fn an_eviction_is_refused_while_it_migrates_and_a_job_deleted_after_its_success_is_nothing() {
    let _services = shared();
    let case = case("mig-evict");
    let job = begun(&case);
    let pod = migration_pod(&case);
    let eviction = serde_json::json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": case.ns},
    });
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", case.ns);
    let refused = try_exec(
        &["kubectl", "create", "--raw", &path, "-f", "-"],
        &eviction.to_string(),
    );
    assert!(
        refused.is_err_and(|why| why.contains("disruption budget")),
        "the guard stands"
    );
    case.live("1.1.0");
    assert_eq!((rows(&case, "start"), rows(&case, "end")), (1, 1));
    let before = Before::of(&case);
    kubectl(&["-n", &case.ns, "delete", "job", &job, "--ignore-not-found"]);
    std::thread::sleep(std::time::Duration::from_secs(20));
    assert_eq!((rows(&case, "start"), rows(&case, "end")), (1, 1));
    before.holds(&case);
    assert_eq!(case.phase(), "Live");
    case.end();
}

#[test]
fn a_quota_that_leaves_no_room_is_named_and_when_it_goes_the_migration_runs_once() {
    let _services = shared();
    let case = case("mig-quota");
    let before = Before::of(&case);
    kubectl(&["-n", &case.ns, "create", "quota", "none-left", "--hard=pods=1"]);
    case.declare("1.1.0", "version: 1.1.0");
    case.until("Waiting(Quota)", "1.1.0");
    before.holds(&case);
    kubectl(&["-n", &case.ns, "delete", "quota", "none-left"]);
    case.live("1.1.0");
    assert_eq!((rows(&case, "start"), rows(&case, "end")), (1, 1));
    case.end();
}

/// A rule of the cluster that refuses Deployments of version 1.1.0 in a namespace; the API server knows it when this comes
/// back.
fn refuse_deployments(case: &Case) {
    let ns = &case.ns;
    apply(&format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {ns}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}}]
  validations:
  - expression: \"object.spec.template.spec.containers.all(c, !c.image.contains(':1.1.0'))\"
    message: version 1.1.0 may not run here
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {ns}}}
spec:
  policyName: {ns}
  validationActions: [Deny]
  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}}}
"
    ));
    let image = "web=registry.bed.test:5000/acme/probe:1.1.0";
    let set = ["set", "image", "deployment/app", image, "--dry-run=server"];
    wait("the rule holds", || {
        try_exec(&[&["kubectl", "-n", ns], &set[..]].concat(), "")
            .is_err_and(|why| why.contains("may not run here"))
            .then_some(())
    });
}

#[test]
fn a_deployment_that_the_cluster_refuses_keeps_its_migration_from_running_until_it_is_accepted() {
    let _services = shared();
    let ns = "mig-refused";
    let forget = || {
        for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
            kubectl(&["delete", kind, ns, "--ignore-not-found"]);
        }
    };
    forget();
    let case = case(ns);
    let before = Before::of(&case);
    refuse_deployments(&case);
    let declared = Mark::now();
    case.declare("1.1.0", "version: 1.1.0");
    case.until("Failed(Applying)", "1.1.0");
    let message = case.message();
    for words in ["refuse Deployment app", "version 1.1.0 may not run here"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    // Nor when it is tried again.
    wait("it was tried twice", || {
        let mut tried = declared.mutations(ns);
        tried.retain(|event| event["objectRef"]["resource"] == "deployments");
        (tried.len() >= 2).then_some(())
    });
    assert!(declared.created(ns, "jobs").is_empty(), "no Job was made");
    assert_eq!(rows(&case, "start"), 0);
    before.holds(&case);
    forget();
    case.live("1.1.0");
    assert_eq!((rows(&case, "start"), rows(&case, "end")), (1, 1));
    case.end();
}

#[test]
fn pods_live_under_pod_security_restricted() {
    let _services = shared();
    let case = case("mig-restricted");
    kubectl(&[
        "label",
        "namespace",
        &case.ns,
        "pod-security.kubernetes.io/enforce=restricted",
    ]);
    case.declare("1.1.0", "version: 1.1.0");
    case.live("1.1.0");
    assert_eq!((rows(&case, "start"), rows(&case, "end")), (1, 1));
    case.end();
}

#[test]
fn a_migration_whose_image_cannot_be_pulled_or_that_fits_on_no_node_waits_in_words_and_a_commit_goes_on() {
    let _services = shared();
    let case = case("mig-never");
    let before = Before::of(&case);
    let nothing = format!("registry.bed.test:5000/acme/probe@sha256:{}", "5".repeat(64));
    case.declare(
        "an image that is not there",
        &format!("version: 1.0.5\nimage: \"{nothing}\""),
    );
    case.until("Waiting(ImagePull)", "1.0.5");
    before.holds(&case);
    case.declare(
        "more than any node has",
        "version: 1.1.0\nresources: {requests: {cpu: '900'}}",
    );
    case.until("Waiting(Unschedulable)", "1.1.0");
    before.holds(&case);
    assert_eq!(rows(&case, "start"), 0);
    case.end();
}

/// When the runs of a release's version began and ended, in seconds.
fn interval(case: &Case, release: &str, version: &str) -> (f64, f64) {
    let query = format!(
        "select min(extract(epoch from at)) filter (where event = 'start'), max(extract(epoch from at)) filter (where event = 'end'), count(*) from slipway_runs where release = '{release}' and version = '{version}'"
    );
    let row = case.sql(&query);
    let mut fields = row.trim().split('|');
    let mut number = || fields.next().unwrap().parse::<f64>().unwrap();
    let (start, end, rows) = (number(), number(), number());
    assert!((rows - 2.0).abs() < 0.1, "{release} {version} ran once: {row}");
    (start, end)
}

#[test]
fn two_releases_of_one_database_in_two_namespaces_and_spellings_never_migrate_beside_each_other() {
    let _services = shared();
    let base = |ns: &str| migrating(ns, &format!(", RELEASE: {ns}, MIGRATE_SLEEP: '8'")) + "  replicas: 1\n";
    let (one, two) = (
        Case::new("mig-one", &base("mig-one")),
        Case::new("mig-two", &base("mig-two")),
    );
    // The second one names the database of the first with another scheme, another case and the default port.
    let secret = super::support::get("secret", "mig-one", "app-db").unwrap();
    let url = String::from_utf8(super::support::base64(secret["data"]["url"].as_str().unwrap())).unwrap();
    let other = url.replacen("ecto://", "postgresql://", 1).replacen(
        "@postgres.bed.test/",
        "@POSTGRES.bed.test:5432/",
        1,
    );
    assert_ne!(url, other);
    let patch = serde_json::json!({"stringData": {"url": other}}).to_string();
    kubectl(&[
        "-n",
        "mig-two",
        "patch",
        "secret",
        "app-db",
        "--type=merge",
        "-p",
        &patch,
    ]);
    one.declare("1.0.0", "version: 1.0.0");
    two.declare("1.0.0", "version: 1.0.0");
    one.live("1.0.0");
    two.live("1.0.0");
    let (first, second) = (
        interval(&one, "mig-one", "1.0.0"),
        interval(&one, "mig-two", "1.0.0"),
    );
    println!("two releases on one database: {first:?} {second:?}");
    assert!(first.1 <= second.0 || second.1 <= first.0, "{first:?} {second:?}");
    one.end();
    two.end();
}

#[test]
fn commits_during_a_migration_wait_for_its_end_and_only_the_newest_goes() {
    let _services = shared();
    let case = case("mig-newer");
    begun(&case);
    // Two more commits while it runs; the one between is never tried.
    case.declare("between", "version: 1.1.0\nenv: {MIGRATE_SLEEP: '0', GREETING: between}\nmigrate: {args: [/app/bin/migrate, between]}");
    case.declare(
        "newest",
        "version: 1.0.0\nenv: {GREETING: newest}\nmigrate: {args: [/app/bin/migrate, newest]}",
    );
    wait("the newest is live", || {
        (case.phase() == "Live" && case.ask("/").contains("env=newest")).then_some(())
    });
    assert_eq!(
        (rows(&case, "start"), rows(&case, "end")),
        (1, 1),
        "the running one ended"
    );
    let revisions = case.revisions();
    let outcomes: Vec<&str> = revisions
        .iter()
        .map(|revision| revision["status"]["outcome"].as_str().unwrap_or(""))
        .collect();
    assert_eq!(outcomes.first(), Some(&"Live"));
    assert_eq!(outcomes.last(), Some(&"Live"));
    assert!(
        outcomes[1..outcomes.len() - 1]
            .iter()
            .all(|outcome| *outcome == "Superseded"),
        "{outcomes:?}"
    );
    assert!(
        !case
            .sql("select count(*) from slipway_runs where event = 'start'")
            .trim()
            .is_empty()
    );
    case.end();
}
