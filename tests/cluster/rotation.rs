//! Values that change while a release runs: a password is rolled out without a migration, another key is nothing, a
//! value that breaks the application is held.

use super::support::{
    self, Case, canary, get, kubectl, migrating, probe, shared, wait, wait_telling, writes,
};

fn set(case: &Case, key: &str, value: &str) {
    support::set(&case.ns, "app-db", key, value);
}

fn url(case: &Case) -> String {
    let secret = get("secret", &case.ns, "app-db").unwrap();
    String::from_utf8(super::support::base64(secret["data"]["url"].as_str().unwrap())).unwrap()
}

fn live_revision(case: &Case, name: &str) {
    wait_telling(
        &format!("{name} is live"),
        || case.state(),
        || (case.release()["status"]["liveRevision"] == name && case.phase() == "Live").then_some(()),
    );
}

#[test]
fn a_value_that_breaks_the_application_is_held_and_the_old_pods_serve() {
    let _services = shared();
    // The probe reads its port from the environment: a wrong one is never ready.
    let base = format!(
        "{}  env: {{LISTEN_PORT: {{secret: app-db/port}}, GREETING: hello}}\n  command: [/bin/sh, -c, 'case $LISTEN_PORT in 8080) exec /app/bin/server;; *) exit 3;; esac']\n",
        probe("rotate-bad")
    );
    let case = Case::new("rotate-bad", &base);
    set(&case, "port", "8080");
    case.declare("probe 1.0.0", "version: 1.0.0\nreplicas: 1");
    live_revision(&case, "app-v1");
    set(&case, "port", &canary("wrong-port"));
    wait("it is held", || (case.phase() == "RolledBack").then_some(()));
    let message = case.message();
    assert!(
        message.contains("values changed: LISTEN_PORT") && message.contains("put the values right"),
        "{message}"
    );
    case.explained(
        &["values changed: LISTEN_PORT"],
        "put the values of the Secrets right",
    );
    assert!(case.ask("/").contains("env=hello"), "the old pod serves");
    set(&case, "port", "8080");
    wait("it is live again", || (case.phase() == "Live").then_some(()));
    case.end();
}

#[test]
fn beside_a_version_that_was_rolled_back_what_serves_is_rolled_out_with_the_value_that_changed() {
    let _services = shared();
    let ns = "rotate-beside";
    let base = format!(
        "{}  replicas: 1\n  env: {{GREETING: {{secret: app-key/greeting}}}}\n",
        probe(ns)
    );
    let case = Case::new(ns, &base);
    let [first, second] = ["first", "second"].map(canary);
    support::secret(ns, "app-key", &[("greeting", &first)]);
    case.declare("probe 1.0.0", "version: 1.0.0");
    live_revision(&case, "app-v1");
    case.declare("it exits", "version: 1.1.0\ncommand: [/bin/sh, -c, exit 3]");
    case.until("RolledBack", "1.1.0");
    support::set(ns, "app-key", "greeting", &second);
    wait_telling(
        "1.0.0 runs with the new value",
        || case.state(),
        || (case.release()["status"]["liveRevision"] == "app-v3").then_some(()),
    );
    assert_eq!(case.release()["status"]["liveVersion"], "1.0.0");
    assert!(case.ask("/").contains(&second), "{}", case.ask("/"));
    let reason = get("releaserevision", ns, "app-v3").unwrap()["spec"]["cause"].clone();
    assert_eq!(
        reason,
        "values changed of what serves: GREETING (Secret app-key/greeting)"
    );
    // The value may have been what the other one lacked: it is tried once more, and what serves stays.
    wait_telling(
        "1.1.0 has failed with it, too",
        || case.state(),
        || {
            let tried = get("releaserevision", ns, "app-v4")?;
            (tried["status"]["outcome"] == "RolloutFailed" && case.phase() == "RolledBack").then_some(())
        },
    );
    case.explained(
        &["1.1.0 failed", "was rolled back: 1.0.0 runs"],
        "commit a version that works",
    );
    assert_eq!(case.release()["status"]["liveRevision"], "app-v3");
    assert!(case.ask("/").contains(&second));
    case.looked_at(2);
    assert_eq!(case.revisions().len(), 4);
    case.end();
}

#[test]
fn a_database_that_is_exchanged_and_put_back_while_a_migration_runs_makes_its_outcome_unknown() {
    let _services = shared();
    let base = format!(
        "{}  replicas: 1\n  migrate: [/app/bin/migrate]\n  env: {{DATABASE_URL: {{secret: app-db/url}}}}\n",
        probe("rotate-back")
    );
    let case = Case::new("rotate-back", &base);
    case.declare("probe 1.0.0", "version: 1.0.0");
    live_revision(&case, "app-v1");
    let before = url(&case);
    case.declare("probe 1.1.0", "version: 1.1.0\nenv: {MIGRATE_SLEEP: '20'}");
    let started = "select count(*) from slipway_runs where version = '1.1.0' and event = 'start'";
    wait("the migration has started", || {
        (case.sql(started).trim() == "1").then_some(())
    });
    set(&case, "url", &format!("{before}_other"));
    wait("it is noted that the database is another one", || {
        let ledger = get("configmap", &case.ns, "app-ledger")?;
        ledger["data"].to_string().contains("moved").then_some(())
    });
    set(&case, "url", &before);
    wait_telling(
        "unknown",
        || case.state(),
        || {
            (case.phase() == "Failed(Migrating)" && case.message().contains("named another database"))
                .then_some(())
        },
    );
    case.explained(&["named another database"], "commit migrate.accept: \"");
    assert_eq!(case.sql(started).trim(), "1");
    case.end();
}

#[test]
fn where_changed_values_are_ignored_no_pod_is_rolled_and_one_that_starts_anew_has_them() {
    let _services = shared();
    let ns = "rotate-ignore";
    let base = |name: &str, more: &str| {
        let base = probe(ns).replace("name: app", &format!("name: {name}"));
        format!("{base}  replicas: 1\n  env: {{GREETING: {{secret: app-key/greeting}}}}\n{more}")
    };
    let case = Case::new(ns, &base("app", "  onSecretChange: ignore\n"));
    // Another one does what is the default: when it has rolled, this one has had its time.
    case.repo.write("base/other.yaml", &base("other", ""));
    case.repo.write(
        "production/other.yaml",
        &format!("apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: other, namespace: {ns}}}\nspec: {{version: 1.0.0}}\n"),
    );
    let [first, second] = ["first", "second"].map(canary);
    support::secret(ns, "app-key", &[("greeting", &first)]);
    case.declare("both", "version: 1.0.0");
    let other_is_live = |name: &str| {
        wait(&format!("{name} is live"), || {
            let status = get("release", ns, "other")?["status"].clone();
            (status["liveRevision"] == name && status["phase"] == "Live").then_some(())
        });
    };
    live_revision(&case, "app-v1");
    other_is_live("other-v1");
    let pods = case.pod_identities();

    support::set(ns, "app-key", "greeting", &second);
    other_is_live("other-v2");
    case.looked_at(2);
    assert_eq!(case.revisions().len(), 1);
    assert_eq!(case.phase(), "Live");
    assert_eq!(case.pod_identities(), pods);
    assert!(case.ask("/").contains(&format!("env={first}")));

    let selector = "--selector=slipway.dev/release=app";
    kubectl(&["-n", ns, "delete", "pod", selector, "--wait=false"]);
    wait("another pod is available", || {
        let [(pod, _)] = &case.pod_identities()[..] else {
            return None;
        };
        let another = pods.iter().all(|(old, _)| old != pod);
        let ready = case.deployment()["status"]["availableReplicas"] == 1;
        (another && ready).then_some(())
    });
    // The rules of the Service follow its endpoints a moment later.
    let address = format!("http://{}/", case.service_ip());
    wait("the new value is served", || {
        let told = support::try_exec(&["curl", "--silent", "--fail", "--max-time", "10", &address], "");
        told.is_ok_and(|page| page.contains(&format!("env={second}")))
            .then_some(())
    });
    assert_eq!(case.revisions().len(), 1);
    case.end();
}

/// What disturbs others or is disturbed by them: `.ci/bed-test.sh` runs it on a bed of its own.
mod alone {
    use super::{super::support::alone, *};

    #[test]
    fn a_rotated_password_rolls_the_pods_without_a_migration_and_another_key_does_nothing() {
        // Alone: the controller is started anew at its end.
        let _services = alone();
        let base = migrating("rotate", "");
        let case = Case::new("rotate", &base);
        case.declare("probe 1.0.0", "version: 1.0.0\nreplicas: 1");
        live_revision(&case, "app-v1");
        let (pods, jobs) = (case.pod_identities(), case.jobs().len());
        assert_eq!(jobs, 1);

        set(&case, "unrelated", &canary("something"));
        // Only what does not happen can be told here: it would happen 30 s after the change.
        std::thread::sleep(std::time::Duration::from_secs(40));
        assert_eq!(case.revisions().len(), 1);
        assert_eq!(case.pod_identities(), pods);

        let before = url(&case);
        let (user, rest) = before.rsplit_once('@').unwrap();
        let rotated = format!("{user}-rotated@{rest}");
        set(&case, "url", &rotated);
        live_revision(&case, "app-v2");
        let revision = case.revisions().pop().unwrap();
        assert_eq!(
            revision["spec"]["cause"],
            "values changed: DATABASE_URL (Secret app-db/url)"
        );
        assert!(
            !revision.to_string().contains("-rotated"),
            "no value in the revision"
        );
        assert_eq!(case.jobs().len(), jobs, "the database is the same");
        assert_ne!(case.pod_identities(), pods);

        // Without the key of the fingerprints nobody can say what changed, and nothing is rolled.
        let key_id = || case.revisions().pop().unwrap()["status"]["values"]["keyId"].clone();
        let (pods, written) = (case.pod_identities(), writes(&case.ns, "deployments").len());
        let (known, revisions) = (key_id(), case.revisions().len());
        assert!(known.is_null(), "recorded once in its spec");
        kubectl(&["-n", "slipway-system", "delete", "secret", "slipway-hash-key"]);
        kubectl(&[
            "-n",
            "slipway-system",
            "rollout",
            "restart",
            "deployment",
            "slipway",
        ]);
        kubectl(&[
            "-n",
            "slipway-system",
            "rollout",
            "status",
            "deployment",
            "slipway",
            "--timeout=120s",
        ]);
        wait("a new key", || {
            get("secret", "slipway-system", "slipway-hash-key")
        });
        wait("the values are recorded under the new key", || {
            let now = key_id();
            (now.is_string() && now != known).then_some(())
        });
        assert_eq!(case.pod_identities(), pods);
        assert_eq!((case.jobs().len(), case.revisions().len()), (jobs, revisions));
        assert_eq!(writes(&case.ns, "deployments").len(), written);
        case.end();
    }
}
