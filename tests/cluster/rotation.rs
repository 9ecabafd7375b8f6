//! Values that change while a release runs: a password is rolled out without a migration, another key is nothing, a
//! value that breaks the application is held.

use super::support::{Case, get, kubectl, migrating, probe, shared, wait, wait_telling, writes};

fn set(case: &Case, key: &str, value: &str) {
    let patch = serde_json::json!({"stringData": {key: value}}).to_string();
    kubectl(&[
        "-n",
        &case.ns,
        "patch",
        "secret",
        "app-db",
        "--type=merge",
        "-p",
        &patch,
    ]);
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
    set(&case, "port", "wrong-port");
    wait("it is held", || (case.phase() == "RolledBack").then_some(()));
    let message = case.message();
    assert!(
        message.contains("values changed: LISTEN_PORT") && message.contains("put the values right"),
        "{message}"
    );
    assert!(!message.contains("wrong-port"), "{message}");
    assert!(case.ask("/").contains("env=hello"), "the old pod serves");
    set(&case, "port", "8080");
    wait("it is live again", || (case.phase() == "Live").then_some(()));
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

        set(&case, "unrelated", "something");
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
        let (pods, written) = (case.pod_identities(), writes(&case.ns, "deployments").len());
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
            let revision = case.revisions().pop().unwrap();
            revision["status"]["values"]["keyId"].is_string().then_some(())
        });
        assert_eq!(case.pod_identities(), pods);
        assert_eq!(writes(&case.ns, "deployments").len(), written);
        case.end();
    }
}
