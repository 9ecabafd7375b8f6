//! Versions that fail: the last Live one goes on serving, and the status says what happened.

use std::time::{Duration, Instant};

use super::support::{
    Before, Case, Inside, Mark, canary, is_true, kubectl, list, probe, received, secret, shared, shop, wait,
    wait_telling,
};

fn ready(case: &Case) -> i64 {
    case.deployment()["status"]["readyReplicas"].as_i64().unwrap_or(0)
}

/// The newest migration in the database.
fn schema(case: &Case) -> String {
    let newest = case.sql("select max(version) from schema_migrations");
    newest.trim().to_owned()
}

/// Requests to write the Deployment with an image of that version, dry runs among them.
fn rollouts(since: Mark, case: &Case, version: &str) -> usize {
    let tag = format!("/shop:{version}@");
    let names = |event: &serde_json::Value| {
        let image = &event["requestObject"]["spec"]["template"]["spec"]["containers"][0]["image"];
        image.as_str().is_some_and(|image| image.contains(&tag))
    };
    since
        .mutations(&case.ns)
        .iter()
        .filter(|event| event["objectRef"]["resource"] == "deployments" && names(event))
        .count()
}

/// Every change of the Deployment's readiness, as the API server tells it, from now until the phase comes; the least
/// number of ready pods among them.
fn least_ready_until(case: &Case, phase: &str, version: &str) -> i64 {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ready");
    let watch = Inside::start(&[
        "sh",
        "-c",
        "exec kubectl -n \"$0\" get deployment app --watch -o 'jsonpath={.status.readyReplicas}{\"\\n\"}' >\"$1\"",
        &case.ns,
        file.to_str().unwrap(),
    ]);
    wait(&format!("{phase} of {version}"), || {
        let release = case.release();
        (release["status"]["phase"] == phase && release["status"]["declaredVersion"] == version).then_some(())
    });
    drop(watch);
    let seen: Vec<i64> = std::fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(|line| line.trim().parse().unwrap_or(0))
        .collect();
    assert!(seen.len() > 1, "the watch saw changes: {seen:?}");
    seen.into_iter().min().unwrap()
}

#[test]
fn versions_that_crash_or_never_become_ready_are_rolled_back_by_themselves() {
    let _services = shared();
    let case = Case::new("fail-roll", &shop("fail-roll"));
    case.declare("shop 1.0.0", "version: 1.0.0");
    case.live("1.0.0");
    assert_eq!(schema(&case), "1");
    // The first one crashes, and Kubernetes takes its time between restarts: a deadline must not come before the third. The
    // other one is only ended by its deadline.
    for (version, deadline) in [("1.2.0", "10m"), ("1.4.0", "60s")] {
        case.declare(
            version,
            &format!("version: {version}\nrollout: {{deadline: {deadline}}}"),
        );
        let least = least_ready_until(&case, "RolledBack", version);
        assert!(least >= 2, "ready pods never below replicas, saw {least}");
        let message = case.message();
        for word in [version, "was rolled back", "1.0.0 runs", "git still declares"] {
            assert!(message.contains(word), "{word}: {message}");
        }
        let remedy = match version {
            "1.2.0" => "read why it crashes",
            _ => "see why the pods were not ready in time",
        };
        case.explained(&[version, "was rolled back", "1.0.0 runs"], remedy);
        // Who only hears of events hears the same.
        let event = wait(&format!("an event of {version}"), || {
            let mut events = list("event", &case.ns, "");
            events.retain(|event| {
                let told = event["note"].as_str().unwrap_or("");
                event["reason"] == "RolledBack" && told.starts_with(&format!("{version} failed"))
            });
            events.pop()
        });
        assert_eq!(event["type"], "Warning");
        assert_eq!(event["regarding"]["kind"], "Release");
        assert_eq!(event["regarding"]["name"], "app");
        let told = event["note"].as_str().unwrap();
        for word in ["was rolled back", "1.0.0 runs", "git still declares"] {
            assert!(told.contains(word), "{word}: {told}");
        }
        // Migration 2 came with 1.2.0; 1.4.0 found it there.
        assert_eq!(schema(&case), "2", "what {version} migrated stays");
        assert!(
            is_true(&case.release(), "SchemaAhead"),
            "each of them had migrated"
        );
        let page = case.ask("/");
        assert!(
            page.contains("version: 1.0.0") && page.contains("schema: 2"),
            "{page}"
        );
    }
    // Nor does an object that somebody deletes, and that git writes again, try it anew.
    let (before, deleted) = (Before::of(&case), Mark::now());
    let first = case.release()["metadata"]["uid"].clone();
    kubectl(&["-n", &case.ns, "delete", "release", "app"]);
    wait("another object says the same", || {
        let release = case.release();
        let another = !release["metadata"]["uid"].is_null() && release["metadata"]["uid"] != first;
        (another && release["status"]["phase"] == "RolledBack").then_some(())
    });
    before.holds(&case);
    assert!(
        deleted.created(&case.ns, "jobs").is_empty(),
        "and nothing migrates"
    );
    let revisions = case.revisions().len();
    let scaled = Mark::now();
    case.declare("scale only", "version: 1.4.0\nreplicas: 3");
    wait("three pods of the old version", || {
        (ready(&case) == 3).then_some(())
    });
    assert_eq!(
        case.revisions().len(),
        revisions,
        "a commit that only scales does not try again"
    );
    assert_eq!(case.phase(), "RolledBack");
    assert_eq!(rollouts(scaled, &case, "1.4.0"), 0, "scaling tries nothing again");
    assert!(rollouts(scaled, &case, "1.0.0") > 0, "what runs was scaled");
    assert!(scaled.created(&case.ns, "jobs").is_empty(), "nor does it migrate");
    let again = Mark::now();
    case.declare("again", "version: 1.4.0\nreplicas: 3\nattempt: 2");
    wait("another revision", || {
        (case.revisions().len() > revisions).then_some(())
    });
    wait("1.4.0 is rolled out again", || {
        (rollouts(again, &case, "1.4.0") > 0).then_some(())
    });
    case.end();
}

/// Requests of Slipway that would change anything but what the source writes of git and what it says: status and events.
fn touched(since: Mark, case: &Case) -> Vec<serde_json::Value> {
    let mut found = since.mutations(&case.ns);
    found.retain(|event| {
        !["releases", "events"].contains(&event["objectRef"]["resource"].as_str().unwrap_or(""))
    });
    found
}

#[test]
fn what_a_version_says_cannot_be_gone_back_from_is_held_and_going_back_is_refused() {
    let _services = shared();
    let case = Case::new("fail-held", &shop("fail-held"));
    case.declare("shop 1.0.0", "version: 1.0.0");
    case.live("1.0.0");
    // 1.2.0 migrates, and then crashes.
    case.declare("shop 1.2.0", "version: 1.2.0\nmigrate: {compatible: false}");
    wait_telling(
        "it is held",
        || case.state(),
        || (case.phase() == "Failed(RollingOut)" && case.message().contains("is held")).then_some(()),
    );
    let message = case.message();
    for word in ["migrate.compatible: false", "1.0.0 cannot run"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    case.explained(
        &["1.2.0", "migrate.compatible: false"],
        "commit a version made after it that works",
    );
    assert_eq!(schema(&case), "2");
    assert!(case.ask("/").contains("version: 1.0.0"), "the old pods serve");

    let back = Mark::now();
    case.declare("back to 1.0.0", "version: 1.0.0");
    case.until("Rejected", "1.0.0");
    let message = case.message();
    for word in [
        "1.0.0 is refused",
        "nothing is changed",
        "the oldest that can is 1.2.0",
    ] {
        assert!(message.contains(word), "{word}: {message}");
    }
    case.explained(
        &["1.0.0 is refused", "the oldest that can is 1.2.0"],
        "declare the version that the message names",
    );
    // Only what does not happen can be told here.
    case.looked_at(2);
    assert_eq!(touched(back, &case), Vec::<serde_json::Value>::new());

    case.declare("shop 1.1.0", "version: 1.1.0");
    case.live("1.1.0");
    assert!(case.ask("/").contains("version: 1.1.0"));
    let back = Mark::now();
    case.declare("back to 1.0.0 again", "version: 1.0.0");
    case.until("Rejected", "1.0.0");
    assert!(
        case.message().contains("1.1.0, which was live on it, can"),
        "{}",
        case.message()
    );
    case.explained(
        &["1.0.0 is refused", "1.1.0, which was live on it, can"],
        "declare the version that the message names",
    );
    assert_eq!(touched(back, &case), Vec::<serde_json::Value>::new());
    assert!(case.ask("/").contains("version: 1.1.0"));
    case.end();
}

#[test]
fn a_first_version_that_fails_has_nothing_to_go_back_to_and_says_so() {
    let _services = shared();
    let case = Case::new("fail-first", &shop("fail-first"));
    case.declare("shop 1.2.0", "version: 1.2.0");
    case.until("Failed(RollingOut)", "1.2.0");
    assert!(
        case.message().contains("no earlier version"),
        "{}",
        case.message()
    );
    case.explained(&["1.2.0, no earlier version"], "read why it crashes");
    case.end();
}

#[test]
fn a_failed_migration_keeps_the_old_version_runs_no_second_job_and_is_mended_by_a_commit() {
    let _services = shared();
    let case = Case::new("fail-migrate", &shop("fail-migrate"));
    case.declare("shop 1.1.0", "version: 1.1.0");
    case.live("1.1.0");
    assert_eq!(schema(&case), "2");
    let failing = Mark::now();
    case.declare("shop 1.3.0", "version: 1.3.0");
    case.until("Failed(Migrating)", "1.3.0");
    let message = case.message();
    assert!(
        message.contains("exit code 1") && message.contains("1.1.0 keeps serving"),
        "{message}"
    );
    case.explained(
        &["exit code 1", "1.1.0 keeps serving"],
        "commit a version whose migration is mended",
    );
    let revision = case.revisions().pop().unwrap();
    let tail = revision["status"]["logTail"].as_str().unwrap_or("");
    assert!(tail.contains("failed"), "the end of the log is kept: {tail}");
    let jobs = case.jobs().len();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(180) {
        assert_eq!(case.jobs().len(), jobs, "no second Job");
        std::thread::sleep(Duration::from_secs(5));
    }
    let created = failing.created(&case.ns, "jobs").len();
    assert_eq!(created, 1, "no second Job came and went");
    assert_eq!(schema(&case), "2", "what failed changed nothing");
    assert!(case.ask("/").contains("version: 1.1.0"));
    let mended = Mark::now();
    let committed = jiff::Timestamp::now();
    case.declare("shop 1.5.0", "version: 1.5.0");
    case.live("1.5.0");
    let created = mended.created(&case.ns, "jobs");
    assert_eq!(created.len(), 1, "{created:?}");
    let took = received(&created[0]).duration_since(committed).as_secs_f64();
    println!("from the commit that mends to its Job: {took:.1} s");
    // No pause of a retry comes before it; how long it takes is for the machine to say.
    assert!(took < 60.0, "a fixed commit goes through at once: {took} s");
    assert_eq!(schema(&case), "3");
    assert!(case.ask("/").contains("version: 1.5.0"));
    case.end();
}

#[test]
fn a_missing_key_of_a_secret_is_waited_for_and_goes_on_when_it_comes() {
    let _services = shared();
    let base = format!(
        "{}  env: {{API_TOKEN: {{secret: late/token}}}}\n",
        probe("fail-secret")
    );
    let case = Case::new("fail-secret", &base);
    case.declare("probe 1.0.0", "version: 1.0.0");
    case.until("Waiting(SecretMissing)", "1.0.0");
    assert!(
        case.message().contains("Secret late with key token"),
        "{}",
        case.message()
    );
    case.explained(
        &["Secret late with key token"],
        "create it in namespace fail-secret",
    );
    secret(&case.ns, "late", &[("token", &canary("late"))]);
    case.live("1.0.0");
    case.end();
}

/// A release of the probe whose first process is given a secret, and prints it before what `SAYS` says.
fn printing(ns: &str) -> String {
    format!("{}  replicas: 1\n  envFrom: [{{secret: printed}}]\n", probe(ns))
}

/// The spec of a version that prints a text and the secret, and then does something.
fn prints(text: &str, then: &str) -> String {
    format!(
        "version: 1.0.0\nrollout: {{deadline: 60s}}\nenv: {{SAYS: {}}}\ncommand: [/bin/sh, -c, {}]",
        serde_json::json!(text),
        serde_json::json!(format!("echo \"token $TOKEN\"; echo \"$SAYS\"; {then}")),
    )
}

/// Whether a value stands in anything of a namespace but its Secrets.
fn is_told(ns: &str, value: &str) -> bool {
    let kinds = "releases,releaserevisions,configmaps,events,events.v1.events.k8s.io,pods,jobs,deployments";
    kubectl(&["-n", ns, "get", kinds, "-o", "json"]).contains(value)
}

#[test]
fn what_is_known_of_a_version_that_fails_is_said_and_nothing_else_of_its_log() {
    let _services = shared();
    let ns = "fail-hints";
    let case = Case::new(ns, &printing(ns));
    let token = canary("hints");
    secret(ns, "printed", &[("TOKEN", &token)]);
    case.declare("probe 1.0.0", "version: 1.0.0");
    case.live("1.0.0");
    for (text, then, hint) in [
        (
            "[error] Could not find static manifest at \"/app/lib/shop/priv/static/cache_manifest.json\"",
            "exit 1",
            "the image holds no digested assets",
        ),
        (
            "** (RuntimeError) environment variable SECRET_KEY_BASE is missing.",
            "exit 1",
            "config/runtime.exs needs a variable that this pod does not have",
        ),
        (
            "/app/erts-14.2/bin/erlexec: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by erlexec)",
            "exit 1",
            "a binary was built for a newer C library than this image has",
        ),
        (
            "[info] Running ShopWeb.Endpoint with Bandit 1.5.5 at 127.0.0.1:8080 (http)",
            "exec python3 -m http.server --bind 127.0.0.1 8080",
            "the endpoint listens inside the pod alone",
        ),
    ] {
        let before = case.revisions().len();
        case.declare(hint, &prints(text, then));
        wait_telling(
            &format!("it is rolled back: {hint}"),
            || case.state(),
            || {
                let failed = case.revisions().len() > before && case.phase() == "RolledBack";
                (failed && case.message().contains(&format!(". Hint: {hint}"))).then_some(())
            },
        );
        let message = case.message();
        let (seen, _) = message.split_once(". Hint: ").unwrap();
        assert!(seen.contains("git still declares 1.0.0"), "{message}");
        assert!(!message.contains(text) && !is_told(ns, &token), "{message}");
        println!("{message}");
    }
    case.explained(
        &["Hint: the endpoint listens inside the pod alone"],
        "see why the pods were not ready in time",
    );
    // Where all is well nothing is read.
    case.declare("probe 1.0.0 again", "version: 1.0.0\nattempt: 1");
    case.live("1.0.0");
    let settled = Mark::now();
    case.looked_at(2);
    assert_eq!(logs_read(settled, ns), 0);
    case.end();
}

/// Requests of Slipway for logs of pods.
fn logs_read(since: Mark, ns: &str) -> usize {
    let requests = since.requests(&[]);
    let of = requests
        .iter()
        .filter(|event| event["objectRef"]["subresource"] == "log" && event["objectRef"]["namespace"] == ns);
    of.count()
}

#[test]
fn what_is_known_of_a_migration_that_fails_is_said_and_its_log_is_kept_without_secrets() {
    let _services = shared();
    let ns = "fail-hint-migrate";
    let case = Case::new(ns, &printing(ns));
    let token = canary("hint-migrate");
    secret(ns, "printed", &[("TOKEN", &token)]);
    case.declare(
        "probe 1.0.0",
        "version: 1.0.0\nmigrate:\n  command: [/bin/sh, -c, 'echo \"token $TOKEN\"; echo \"** (RuntimeError) environment \
         variable SECRET_KEY_BASE is missing.\"; exit 1']",
    );
    case.until("Failed(Migrating)", "1.0.0");
    let message = case.message();
    let (seen, said) = message.split_once(". Hint: ").unwrap_or((&message, ""));
    assert!(seen.contains("exit code 1: ** (RuntimeError)"), "{message}");
    assert!(
        said.starts_with("config/runtime.exs needs a variable that this pod does not have"),
        "{message}"
    );
    let revision = case.revisions().pop().unwrap();
    let tail = revision["status"]["logTail"].as_str().unwrap_or("");
    assert!(
        tail.contains("token ") && !tail.contains(&token),
        "the rest of the log is kept"
    );
    assert!(!is_told(ns, &token));
    case.end();
}
