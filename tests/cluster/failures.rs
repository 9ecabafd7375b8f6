//! Versions that fail: the last Live one goes on serving, and the status says what happened.

use std::time::{Duration, Instant};

use super::support::{Case, Inside, is_true, probe, shared, shop, wait, writes};

fn ready(case: &Case) -> i64 {
    case.deployment()["status"]["readyReplicas"].as_i64().unwrap_or(0)
}

/// Every change of the Deployment's readiness, as the API server tells it, from now until the phase comes; the least
/// number of ready pods among them.
fn least_ready_until(case: &Case, phase: &str, version: &str, seconds: u64) -> i64 {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ready");
    let watch = Inside::start(&[
        "sh",
        "-c",
        "exec kubectl -n \"$0\" get deployment app --watch -o 'jsonpath={.status.readyReplicas}{\"\\n\"}' >\"$1\"",
        &case.ns,
        file.to_str().unwrap(),
    ]);
    wait(&format!("{phase} of {version}"), seconds, || {
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
    case.declare("shop 1.1.0", "version: 1.1.0");
    case.live("1.1.0");
    for version in ["1.2.0", "1.4.0"] {
        case.declare(version, &format!("version: {version}"));
        let least = least_ready_until(&case, "RolledBack", version, 240);
        assert!(least >= 2, "ready pods never below replicas, saw {least}");
        let message = case.message();
        for word in [version, "was rolled back", "1.1.0 runs", "git still declares"] {
            assert!(message.contains(word), "{word}: {message}");
        }
        assert!(
            is_true(&case.release(), "SchemaAhead"),
            "each of them had migrated"
        );
        assert!(case.ask("/").contains("version: 1.1.0"));
    }
    let revisions = case.revisions().len();
    case.declare("scale only", "version: 1.4.0\nreplicas: 3");
    wait("three pods of the old version", 60, || {
        (ready(&case) == 3).then_some(())
    });
    assert_eq!(
        case.revisions().len(),
        revisions,
        "a commit that only scales does not try again"
    );
    assert_eq!(case.phase(), "RolledBack");
    case.declare("again", "version: 1.4.0\nreplicas: 3\nattempt: 2");
    wait("another revision", 60, || {
        (case.revisions().len() > revisions).then_some(())
    });
    case.end();
}

#[test]
fn a_first_version_that_fails_has_nothing_to_go_back_to_and_says_so() {
    let _services = shared();
    let case = Case::new("fail-first", &shop("fail-first"));
    case.declare("shop 1.2.0", "version: 1.2.0");
    case.until("Failed(RollingOut)", "1.2.0", 240);
    assert!(
        case.message().contains("no earlier version"),
        "{}",
        case.message()
    );
    case.end();
}

#[test]
fn a_failed_migration_keeps_the_old_version_runs_no_second_job_and_is_mended_by_a_commit() {
    let _services = shared();
    let case = Case::new("fail-migrate", &shop("fail-migrate"));
    case.declare("shop 1.1.0", "version: 1.1.0");
    case.live("1.1.0");
    case.declare("shop 1.3.0", "version: 1.3.0");
    case.until("Failed(Migrating)", "1.3.0", 180);
    let message = case.message();
    assert!(
        message.contains("exit code 1") && message.contains("1.1.0 keeps serving"),
        "{message}"
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
    assert_eq!(
        writes(&case.ns, "jobs")
            .iter()
            .filter(|e| e["verb"] == "create")
            .count(),
        jobs
    );
    assert!(case.ask("/").contains("version: 1.1.0"));
    case.declare("shop 1.5.0", "version: 1.5.0");
    case.live("1.5.0");
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
    case.until("Waiting(SecretMissing)", "1.0.0", 60);
    assert!(
        case.message().contains("Secret late with key token"),
        "{}",
        case.message()
    );
    super::support::kubectl(&[
        "-n",
        &case.ns,
        "create",
        "secret",
        "generic",
        "late",
        "--from-literal=token=abcdef",
    ]);
    case.live("1.0.0");
    case.end();
}
