//! Migrations on a bad day: the Job or its pod is taken away while it runs, or no pod can be made. Judged by PostgreSQL:
//! the program writes a row when it starts and one when it ends, into a table without a unique key, so each run shows.

use serde_json::Value;

use super::support::{
    Before, Case, Mark, apply, get, kubectl, list, migrating, probe, processes, shared, signal, try_exec,
    wait, wait_telling,
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
    begun_as(case, "env: {MIGRATE_SLEEP: '15'}")
}

/// The same with these fields of the spec.
fn begun_as(case: &Case, fields: &str) -> String {
    case.declare("1.1.0", &format!("version: 1.1.0\n{fields}"));
    wait("the migration has started", || {
        (rows(case, "start") == 1).then_some(())
    });
    running("a Job runs", || case.jobs(), |job| job["status"]["active"] == 1)
}

fn migration_pod(case: &Case) -> String {
    let pods = || {
        list(
            "pod",
            &case.ns,
            "slipway.dev/release=app,slipway.dev/task=migrate",
        )
    };
    running("a pod runs", pods, |pod| pod["status"]["phase"] == "Running")
}

/// The name of the one that runs: its program may have begun before anything but the node says so.
fn running(what: &str, all: impl Fn() -> Vec<Value>, runs: impl Fn(&Value) -> bool) -> String {
    wait(what, || {
        let all = all();
        let running = all.iter().find(|object| runs(object))?;
        running["metadata"]["name"].as_str().map(str::to_owned)
    })
}

/// A migration that answers TERM with exit code 0, as the BEAM and other runtimes do, and takes so many seconds.
fn orderly(seconds: u32, more: &str) -> String {
    format!(
        "env: {{MIGRATE_SLEEP: '{seconds}'}}\nmigrate:\n  command: [/bin/sh, -c, \"trap 'exit 0' TERM; /app/bin/migrate & {more} wait $!\"]"
    )
}

/// Waits until it says that the outcome is unknown.
fn until_unknown(case: &Case) {
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
}

/// The outcome stays unknown, for one of these reasons: it began once, and has ended so many times.
fn stays_unknown(case: &Case, why: &[&str], ends: usize) {
    until_unknown(case);
    let message = case.message();
    assert!(why.iter().any(|why| message.contains(why)), "{why:?}: {message}");
    case.explained(
        &["is unknown", "1.0.0 keeps serving"],
        "commit migrate.accept: \"",
    );
    case.looked_at(3);
    assert_eq!((rows(case, "start"), rows(case, "end")), (1, ends), "{}", case.ns);
    until_unknown(case);
}

/// The outcome is unknown: the old version serves, nothing was written, and nothing runs again by itself.
fn is_unknown(case: Case, before: &Before) {
    until_unknown(&case);
    case.explained(
        &["is unknown", "1.0.0 keeps serving"],
        "commit migrate.accept: \"",
    );
    // What would run a second time would begin at the next look.
    case.looked_at(2);
    assert_eq!(rows(&case, "start"), 1, "{}: it started once", case.ns);
    before.holds(&case);
    case.end();
}

/// The same of one whose pod runs on to its end without its Job.
fn is_unknown_though_it_ends(case: Case, before: &Before) {
    until_unknown(&case);
    wait("its program has come to its end", || {
        (rows(&case, "end") == 1).then_some(())
    });
    is_unknown(case, before);
}

/// Deletes the Job while it runs, in one of the ways that Kubernetes has.
fn deleted(cascade: &str) -> (Case, Before) {
    let case = case(&format!("mig-{cascade}"));
    let before = Before::of(&case);
    let job = begun(&case);
    let how = format!("--cascade={cascade}");
    kubectl(&["-n", &case.ns, "delete", "job", &job, &how, "--wait=false"]);
    (case, before)
}

fn is_unknown_once_deleted(cascade: &str) {
    let _services = shared();
    let (case, before) = deleted(cascade);
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
    let _services = shared();
    let (case, before) = deleted("orphan");
    is_unknown_though_it_ends(case, &before);
}

#[test]
fn a_raw_delete_without_options_is_unknown_though_the_pod_runs_on() {
    let _services = shared();
    let case = case("mig-raw");
    let before = Before::of(&case);
    let job = begun(&case);
    let path = format!("/apis/batch/v1/namespaces/{}/jobs/{job}", case.ns);
    kubectl(&["delete", "--raw", &path]);
    is_unknown_though_it_ends(case, &before);
}

#[test]
fn a_pod_that_is_deleted_while_it_migrates_is_unknown() {
    let _services = shared();
    let case = case("mig-pod");
    let before = Before::of(&case);
    begun_as(&case, &orderly(600, ""));
    let pod = migration_pod(&case);
    kubectl(&["-n", &case.ns, "delete", "pod", &pod, "--wait=false"]);
    is_unknown(case, &before);
}

/// Asks for the eviction of a pod, as a drain does; why not.
fn evict(case: &Case, pod: &str) -> Result<(), String> {
    let eviction = serde_json::json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": case.ns},
    });
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", case.ns);
    let create = ["kubectl", "create", "--raw", &path, "-f", "-"];
    try_exec(&create, &eviction.to_string()).map(drop)
}

#[test]
fn a_pod_that_is_evicted_though_its_guard_was_taken_away_is_unknown() {
    let _services = shared();
    let case = case("mig-evicted");
    let before = Before::of(&case);
    begun_as(&case, &orderly(600, ""));
    let pod = migration_pod(&case);
    // Slipway puts the guard back, so that it takes a moment between the two.
    wait("it is evicted", || {
        let guard = [
            "delete",
            "poddisruptionbudget",
            "app-migrate",
            "--ignore-not-found",
        ];
        kubectl(&[&["-n", &case.ns], &guard[..]].concat());
        evict(&case, &pod).ok()
    });
    is_unknown(case, &before);
}

#[test]
fn an_eviction_is_refused_while_it_migrates_and_a_job_deleted_after_its_success_is_nothing() {
    let _services = shared();
    let case = case("mig-evict");
    let job = begun(&case);
    let pod = migration_pod(&case);
    assert!(
        evict(&case, &pod).is_err_and(|why| why.contains("disruption budget")),
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

/// The TTL controller takes a Job away as soon as it has ended.
fn expires(case: &Case, job: &str) {
    let patch = r#"{"spec":{"ttlSecondsAfterFinished":0}}"#;
    kubectl(&["-n", &case.ns, "patch", "job", job, "--type=merge", "-p", patch]);
}

fn gone(case: &Case, job: &str) {
    wait(&format!("{}: {job} is gone", case.ns), || {
        get("job", &case.ns, job).is_none().then_some(())
    });
}

#[test]
fn a_job_that_expires_once_its_success_is_booked_is_nothing() {
    let _services = shared();
    let case = case("mig-expired");
    let job = begun_as(&case, "env: {MIGRATE_SLEEP: '10'}");
    case.live("1.1.0");
    let before = Before::of(&case);
    expires(&case, &job);
    gone(&case, &job);
    case.looked_at(3);
    assert_eq!(case.phase(), "Live");
    assert_eq!((rows(&case, "start"), rows(&case, "end")), (1, 1));
    before.holds(&case);
    case.end();
}

#[test]
fn a_pod_that_the_kubelet_evicts_for_its_disk_is_unknown_though_its_program_answers_with_exit_0() {
    let _services = shared();
    let case = case("mig-disk");
    let before = Before::of(&case);
    // Slipway gives a migration no such limit, and refuses a spec that does; a namespace may.
    let ns = &case.ns;
    apply(&format!(
        "apiVersion: v1
kind: LimitRange
metadata: {{name: small, namespace: {ns}}}
spec: {{limits: [{{type: Container, default: {{ephemeral-storage: 2Mi}}, defaultRequest: {{ephemeral-storage: 1Mi}}}}]}}
"
    ));
    let fill = "sleep 5; head -c 8000000 /dev/zero | tr '\\\\0' x;";
    begun_as(&case, &orderly(600, fill));
    stays_unknown(&case, &["Evicted"], 0);
    before.holds(&case);
    case.end();
}

#[test]
fn a_program_that_ends_with_exit_0_on_a_signal_past_kubernetes_is_unknown_without_its_proof() {
    let _services = shared();
    let case = case("mig-signal");
    let before = Before::of(&case);
    begun_as(&case, &(orderly(600, "") + "\n  proof: migrated to"));
    signal("TERM", &processes(&case.ns, &migration_pod(&case)));
    stays_unknown(&case, &["migrate.proof"], 0);
    before.holds(&case);
    case.end();
}

#[test]
fn a_migration_that_hangs_is_ended_by_its_timeout_also_when_git_removes_its_release() {
    let _services = shared();
    let case = case("mig-hangs");
    let before = Before::of(&case);
    let hangs = |n: u32| {
        format!(
            "env: {{MIGRATE_SLEEP: '60{n}'}}\nmigrate:\n  command: [/bin/sh, -c, 'echo it hangs; exec /app/bin/migrate']\n  \
             timeout: 15s\n  rerun: {n}"
        )
    };
    let job = begun_as(&case, &hangs(1));
    stays_unknown(&case, &["longer than its timeout of 15 s"], 0);
    gone(&case, &job);
    let revisions = case.revisions();
    let tail = &revisions.last().unwrap()["status"]["logTail"];
    assert!(
        tail.as_str().is_some_and(|tail| tail.contains("it hangs")),
        "{revisions:?}"
    );
    before.holds(&case);
    // And once more, while the release goes and another one of its source stays.
    let other = probe(&case.ns).replace("name: app", "name: other");
    case.repo.write(
        "production/other.yaml",
        &format!("{other}  version: 1.0.0\n  replicas: 0\n"),
    );
    case.declare("1.1.0", &format!("version: 1.1.0\n{}", hangs(2)));
    wait("it runs again", || (rows(&case, "start") == 2).then_some(()));
    case.repo
        .git(&["rm", "--quiet", "base/app.yaml", "production/app.yaml"]);
    // A directory that is missing would hold the removal.
    case.repo.write("base/README.md", "nothing\n");
    case.repo.commit("the release is not needed any more");
    wait_telling(
        "the release is gone, and its Jobs and pods",
        || case.state(),
        || {
            let jobs = list("job", &case.ns, "slipway.dev/release=app");
            let pods = list("pod", &case.ns, "slipway.dev/release=app");
            (case.release().is_null() && jobs.is_empty() && pods.is_empty()).then_some(())
        },
    );
    assert_eq!((rows(&case, "start"), rows(&case, "end")), (2, 0));
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
    case.explained(
        &["Waiting(Quota)", "none-left"],
        "raise the quota of the namespace",
    );
    before.holds(&case);
    kubectl(&["-n", &case.ns, "delete", "quota", "none-left"]);
    case.live("1.1.0");
    assert_eq!((rows(&case, "start"), rows(&case, "end")), (1, 1));
    case.end();
}

/// Waits until the API server follows a new rule, by which it refuses what this asks for.
fn until_refused(ns: &str, asked: &[&str], why: &str) {
    wait("the rule holds", || {
        try_exec(&[&["kubectl", "-n", ns], asked].concat(), "")
            .is_err_and(|said| said.contains(why))
            .then_some(())
    });
}

/// Takes a rule and its binding away.
fn forget(rule: &str, name: &str) {
    for kind in [format!("{rule}binding").as_str(), rule] {
        kubectl(&["delete", kind, name, "--ignore-not-found"]);
    }
}

/// A rule of the cluster that gives the network of the node to the pods of migrations in a namespace, as somebody's
/// webhook might; the API server follows it when this comes back.
fn inject(ns: &str) {
    apply(&format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {{name: {ns}}}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}}]
    objectSelector: {{matchLabels: {{slipway.dev/task: migrate}}}}
  mutations:
  - patchType: JSONPatch
    jsonPatch: {{expression: '[JSONPatch{{op: \"add\", path: \"/spec/hostNetwork\", value: true}}]'}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {{name: {ns}}}
spec:
  policyName: {ns}
  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}}}
"
    ));
    let run = [
        "run",
        "x",
        "--image=x",
        "--labels=slipway.dev/task=migrate",
        "--dry-run=server",
    ];
    until_refused(ns, &run, "hostNetwork");
}

#[test]
fn a_pod_that_pod_security_refuses_is_named_and_when_it_may_come_the_migration_runs_once() {
    let _services = shared();
    let ns = "mig-restricted";
    let forget = || forget("mutatingadmissionpolicy", ns);
    forget();
    let case = case(ns);
    let before = Before::of(&case);
    kubectl(&[
        "label",
        "namespace",
        ns,
        "pod-security.kubernetes.io/enforce=restricted",
    ]);
    inject(ns);
    case.declare("1.1.0", "version: 1.1.0");
    case.until("Waiting(PodSecurity)", "1.1.0");
    case.explained(
        &["Waiting(PodSecurity)", "hostNetwork"],
        "let the namespace admit the pod",
    );
    assert_eq!(rows(&case, "start"), 0);
    before.holds(&case);
    forget();
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
    until_refused(ns, &set, "may not run here");
}

#[test]
fn a_deployment_that_the_cluster_refuses_keeps_its_migration_from_running_until_it_is_accepted() {
    let _services = shared();
    let ns = "mig-refused";
    let forget = || forget("validatingadmissionpolicy", ns);
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
    case.explained(
        &["refuse Deployment app", "version 1.1.0 may not run here"],
        "let the API server accept the object",
    );
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
    case.explained(&["Waiting(ImagePull)"], "let the node pull the image");
    before.holds(&case);
    case.declare(
        "more than any node has",
        "version: 1.1.0\nresources: {requests: {cpu: '900'}}",
    );
    case.until("Waiting(Unschedulable)", "1.1.0");
    case.explained(&["Waiting(Unschedulable)", "cpu"], "add room, or lower resources");
    before.holds(&case);
    assert_eq!(rows(&case, "start"), 0);
    case.end();
}

#[test]
fn a_job_that_never_started_gives_way_to_a_commit_and_its_migration_runs_once() {
    let _services = shared();
    let case = case("mig-anew");
    let before = Before::of(&case);
    // No pod can be made of it, and what a commit changes of the Job alone is no new attempt.
    case.declare(
        "an account that is not there",
        "version: 1.1.0\nmigrate: {command: [/app/bin/migrate], serviceAccount: nobody}",
    );
    case.until("Waiting(Config)", "1.1.0");
    case.explained(&["Waiting(Config)", "nobody"], "mend the container");
    // Its pod fits on no node.
    case.declare(
        "more than any node has",
        "version: 1.1.0\nmigrate: {command: [/app/bin/migrate], resources: {requests: {cpu: '900'}}}",
    );
    case.until("Waiting(Unschedulable)", "1.1.0");
    case.explained(&["Waiting(Unschedulable)", "cpu"], "add room, or lower resources");
    assert_eq!(rows(&case, "start"), 0);
    before.holds(&case);
    case.declare(
        "what a node has",
        "version: 1.1.0\nmigrate: {command: [/app/bin/migrate]}",
    );
    case.live("1.1.0");
    assert_eq!((rows(&case, "start"), rows(&case, "end")), (1, 1));
    assert_eq!(case.revisions().len(), 2, "no attempt was made for it");
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
fn two_releases_of_one_database_in_two_namespaces_users_and_spellings_never_migrate_beside_each_other() {
    let _services = shared();
    let base = |ns: &str| migrating(ns, &format!(", RELEASE: {ns}, MIGRATE_SLEEP: '25'")) + "  replicas: 1\n";
    let (one, two) = (
        Case::new("mig-one", &base("mig-one")),
        Case::new("mig-two", &base("mig-two")),
    );
    // Both may write to the table, whoever comes first; it says which user wrote a row.
    one.sql(
        "create table slipway_runs (release text, version text, event text, at timestamptz not null default \
         clock_timestamp(), by_user text not null default session_user);
         grant usage, create on schema public to db_mig_two;
         grant select, insert on slipway_runs to db_mig_two",
    );
    // The second one names the database of the first by its own user, with another scheme, another case and the default
    // port.
    let secret = super::support::get("secret", "mig-two", "app-db").unwrap();
    let url = String::from_utf8(super::support::base64(secret["data"]["url"].as_str().unwrap())).unwrap();
    let other = url.replacen("ecto://", "postgresql://", 1).replacen(
        "@postgres.bed.test/db_mig_two",
        "@POSTGRES.bed.test:5432/db_mig_one",
        1,
    );
    let wanted = ["postgresql://db_mig_two:", "@POSTGRES.bed.test:5432/db_mig_one"];
    assert!(
        wanted.iter().all(|part| other.contains(part)),
        "another spelling and another user"
    );
    super::support::set("mig-two", "app-db", "url", &other);
    // Both at one commit.
    let both = r#"{"spec":{"namespaces":["mig-one","mig-two"]}}"#;
    kubectl(&["patch", "releasesource", &one.source, "--type=merge", "-p", both]);
    one.repo.write("base/two.yaml", &base("mig-two"));
    one.repo.write(
        "production/two.yaml",
        "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: app, namespace: mig-two}\nspec: {version: 1.0.0}\n",
    );
    let commit = one.declare("1.0.0", "version: 1.0.0");
    let later = wait("one of them waits for the other", || {
        let waits = |case: &&Case| case.phase() == "Waiting(DatabaseLocked)";
        [&one, &two].into_iter().find(waits)
    });
    later.explained(
        &["Waiting(DatabaseLocked)", "is migrating the same database"],
        "nothing; it goes on when that migration has ended",
    );
    for case in [&one, &two] {
        let release = case.live("1.0.0");
        assert_eq!(
            release["metadata"]["annotations"]["slipway.dev/commit"],
            commit.as_str()
        );
    }
    let (first, second) = (
        interval(&one, "mig-one", "1.0.0"),
        interval(&one, "mig-two", "1.0.0"),
    );
    println!("two releases on one database: {first:?} {second:?}");
    assert!(first.1 <= second.0 || second.1 <= first.0, "{first:?} {second:?}");
    let users = one.sql("select distinct release, by_user from slipway_runs order by release");
    assert_eq!(users.trim(), "mig-one|db_mig_one\nmig-two|db_mig_two");
    // Who judges the second one reads the history that it came from.
    let history = one.repo.cloned();
    let folder = history.path().to_str().unwrap();
    two.repo.git(&["fetch", "--quiet", folder, "main:one"]);
    one.end();
    two.end();
}

#[test]
fn commits_during_a_migration_wait_for_its_end_and_only_the_newest_goes() {
    let _services = shared();
    let case = case("mig-newer");
    begun_as(&case, "env: {MIGRATE_SLEEP: '60'}");
    // Two more commits while it runs; the one between is read, and never tried.
    let between = case.declare("between", "version: 1.1.0\nenv: {MIGRATE_SLEEP: '0', GREETING: between}\nmigrate: {args: [/app/bin/migrate, between]}");
    wait("the one between is declared", || {
        (case.release()["metadata"]["annotations"]["slipway.dev/commit"] == between.as_str()).then_some(())
    });
    case.declare(
        "newest",
        "version: 1.0.0\nenv: {GREETING: newest}\nmigrate: {args: [/app/bin/migrate, newest]}",
    );
    assert_eq!(rows(&case, "end"), 0, "it runs while both come");
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
    assert!(
        revisions
            .iter()
            .all(|revision| revision["spec"]["commit"] != between.as_str()),
        "{revisions:?}"
    );
    assert_eq!(outcomes.first(), Some(&"Live"));
    assert_eq!(outcomes.last(), Some(&"Live"));
    assert!(
        outcomes[1..outcomes.len() - 1]
            .iter()
            .all(|outcome| *outcome == "Superseded"),
        "{outcomes:?}"
    );
    assert!(
        outcomes.len() > 2,
        "what ran meanwhile has its revision: {outcomes:?}"
    );
    case.end();
}

/// What disturbs others or is disturbed by them: `.ci/bed-test.sh` runs it on a bed of its own.
mod alone {
    use super::{
        super::support::{AnotherBoot, Aside, Broken, LostSoon, alone},
        *,
    };

    #[test]
    fn a_job_that_expires_before_anybody_saw_how_it_ended_is_unknown() {
        // Alone: Slipway stands aside meanwhile.
        let _services = alone();
        let case = case("mig-unseen");
        let before = Before::of(&case);
        let job = begun_as(&case, "env: {MIGRATE_SLEEP: '60'}");
        expires(&case, &job);
        let aside = Aside::new();
        assert_eq!(rows(&case, "end"), 0, "nobody looks any more when it ends");
        gone(&case, &job);
        assert_eq!(
            (rows(&case, "start"), rows(&case, "end")),
            (1, 1),
            "it ended well"
        );
        drop(aside);
        stays_unknown(&case, &["is gone"], 1);
        before.leaves_alone(&case);
        case.end();
    }

    #[test]
    fn a_reboot_that_ends_a_migration_with_exit_0_leaves_its_outcome_unknown() {
        // Alone: all pods are on the one node.
        let _services = alone();
        let case = case("mig-reboot");
        let before = Before::of(&case);
        begun_as(&case, &orderly(600, ""));
        wait("the ledger says on which boot it started", || {
            let ledger = get("configmap", &case.ns, "app-ledger")?;
            let entries = ledger["data"]
                .as_object()?
                .values()
                .filter_map(|entry| entry.as_str());
            let mut entries =
                entries.filter_map(|entry| serde_json::from_str::<serde_json::Value>(entry).ok());
            entries
                .any(|entry| entry["state"] == "claimed" && entry["started"].is_object())
                .then_some(())
        });
        let processes = processes(&case.ns, &migration_pod(&case));
        let kubelet = Broken::by("stop", "kubelet");
        signal("TERM", &processes);
        let boot = AnotherBoot::of_the_node();
        drop(kubelet);
        stays_unknown(&case, &["was started anew while it ran"], 0);
        before.holds(&case);
        drop(boot);
        case.end();
    }

    #[test]
    fn a_pod_that_is_deleted_while_its_node_is_lost_is_unknown_though_its_program_gets_to_its_end() {
        // Alone: all pods are on the one node.
        let _services = alone();
        let case = case("mig-lost");
        let before = Before::of(&case);
        begun_as(&case, "env: {MIGRATE_SLEEP: '90'}");
        let pod = migration_pod(&case);
        // This pod goes ten seconds after its node; all others have the five minutes that Kubernetes gives.
        let soon = |key: &str| {
            format!(
                r#"{{"key":"node.kubernetes.io/{key}","operator":"Exists","effect":"NoExecute","tolerationSeconds":10}}"#
            )
        };
        let patch = format!(
            r#"[{{"op":"replace","path":"/spec/tolerations","value":[{},{}]}}]"#,
            soon("not-ready"),
            soon("unreachable")
        );
        kubectl(&["-n", &case.ns, "patch", "pod", &pod, "--type=json", "-p", &patch]);
        let kubelet = Broken::by("stop", "kubelet");
        let lost = LostSoon::is_a_silent_node();
        wait("the pod is being deleted", || {
            let pod = get("pod", &case.ns, &pod).expect("no kubelet takes it away");
            pod["metadata"]["deletionTimestamp"].is_string().then_some(())
        });
        assert_eq!(rows(&case, "end"), 0, "its program runs on");
        wait("its program has come to its end", || {
            (rows(&case, "end") == 1).then_some(())
        });
        drop(lost);
        drop(kubelet);
        // The pod goes as soon as it is counted, perhaps before anybody looks.
        stays_unknown(&case, &["was interrupted", "0 pods of it are left"], 1);
        before.holds(&case);
        case.end();
    }
}
