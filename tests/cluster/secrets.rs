//! What pods are given from outside of git: files, whole Secrets, generated values, and Secrets that an operator brings late.

use std::time::Duration;

use super::support::{
    Case, apply, canary, established, get, is_true, kubectl, probe, secret, set, shared, values::remember,
    wait, wait_telling, with_variable, writes,
};

fn until_live(case: &Case, revision: &str) {
    wait_telling(
        &format!("{revision} is live"),
        || case.state(),
        || (case.release()["status"]["liveRevision"] == revision && case.phase() == "Live").then_some(()),
    );
}

/// Waits for the phase `Waiting(SecretMissing)` with these words.
fn until_missing(case: &Case, words: &[&str]) {
    wait_telling(
        &format!("{words:?}"),
        || case.state(),
        || {
            let message = case.message();
            let said = words.iter().all(|word| message.contains(word));
            (case.phase() == "Waiting(SecretMissing)" && said).then_some(())
        },
    );
}

#[test]
fn files_and_whole_secrets_are_waited_for_reach_the_pods_and_roll_them_when_they_change() {
    let _services = shared();
    let ns = "secrets-files";
    let base = format!(
        "{}  envFrom: [{{secret: app-env}}]
  files: {{/etc/probe/greeting: {{secret: app-files/greeting}}}}
  requires: [TOKEN]
  command: [/bin/sh, -c, 'read -r GREETING < /etc/probe/greeting; export GREETING; [ -n \"$TOKEN\" ] || exit 3; exec /app/bin/server']
",
        probe(ns)
    );
    let case = Case::new(ns, &base);
    case.declare("probe 1.0.0", "version: 1.0.0\nreplicas: 1");
    let missing = ["Secret app-files with key greeting", "Secret app-env"];
    until_missing(&case, &missing);
    case.explained(&missing, "create it in namespace");
    let [other, token, first, second] = ["other", "token", "first", "second"].map(canary);
    secret(ns, "app-env", &[("OTHER", &other)]);
    secret(ns, "app-files", &[("greeting", &first)]);
    until_missing(&case, &["a key for TOKEN in Secret app-env"]);
    case.explained(&["a key for TOKEN in Secret app-env"], "create it in namespace");
    assert!(writes(ns, "deployments").is_empty());
    set(ns, "app-env", "TOKEN", &token);
    until_live(&case, "app-v1");
    assert!(case.ask("/").contains(&format!("env={first}")));
    assert_eq!(
        case.release()["status"]["variables"],
        serde_json::json!(["OTHER", "TOKEN"])
    );

    set(ns, "app-files", "greeting", &second);
    until_live(&case, "app-v2");
    assert!(case.ask("/").contains(&format!("env={second}")));
    let causes: Vec<String> = case
        .revisions()
        .iter()
        .map(|revision| revision["spec"]["cause"].to_string())
        .collect();
    assert!(
        causes[1].contains("values changed: /etc/probe/greeting (Secret app-files/greeting)"),
        "{causes:?}"
    );

    // As an operator does it that makes its Secrets anew.
    let pods = case.pod_identities();
    kubectl(&["-n", ns, "delete", "secret", "app-env", "app-files"]);
    wait("that they are gone is said", || {
        is_true(&case.release(), "SecretsMissing").then_some(())
    });
    assert_eq!(case.phase(), "Live");
    case.explained(
        &["1.0.0 is live", "app-files"],
        "create what is missing in namespace",
    );
    secret(ns, "app-env", &[("OTHER", &other), ("TOKEN", &token)]);
    secret(ns, "app-files", &[("greeting", &second)]);
    wait("that they are back is said", || {
        (!is_true(&case.release(), "SecretsMissing")).then_some(())
    });
    // Only what does not happen can be told here: it would happen 30 s after the change.
    std::thread::sleep(Duration::from_secs(40));
    assert_eq!(case.revisions().len(), 2);
    assert_eq!(case.pod_identities(), pods);
    case.end();
}

#[test]
fn what_a_migration_prints_of_a_file_or_a_whole_secret_is_kept_nowhere() {
    let _services = shared();
    let ns = "secrets-log";
    let base = format!(
        "{}  envFrom: [{{secret: app-env}}]
  files: {{/run/canary: {{secret: app-files/canary}}}}
  migrate:
  - /bin/sh
  - -c
  - |
    cat /run/canary; echo
    echo \"it is $CANARY\"
    echo \"in base64 $(printf %s \"user:$CANARY\" | base64)\"
    echo \"in digits $(printf %s \"$CANARY\" | od -An -v -tx1)\"
    echo \"by its beginning $(printf %.8s \"$CANARY\")…\"
    exit 3
",
        probe(ns)
    );
    let case = Case::new(ns, &base);
    secret(ns, "app-env", &[("CANARY", &canary("whole"))]);
    secret(ns, "app-files", &[("canary", &canary("file"))]);
    case.declare("probe 1.0.0", "version: 1.0.0\nreplicas: 1");
    case.until("Failed(Migrating)", "1.0.0");
    case.explained(&["exit code 3"], "commit a version whose migration is mended");
    let tail = wait("the log is kept", || {
        let revision = case.revisions().pop()?;
        revision["status"]["logTail"].as_str().map(str::to_owned)
    });
    for words in ["it is", "in base64", "in digits", "by its beginning"] {
        let line = tail.lines().find(|line| line.starts_with(words));
        assert!(
            line.is_some_and(|line| line.contains("[redacted]")),
            "{words}: {tail}"
        );
    }
    // Nor is it anywhere else: that is what a case is judged by at its end.
    case.end();
}

#[test]
fn nothing_is_kept_of_a_log_that_may_show_a_value_from_before() {
    let _services = shared();
    let ns = "secrets-earlier";
    let base = format!(
        "{}  replicas: 1
  env: {{DATABASE_URL: {{secret: app-db/url}}}}
  migrate:
    env: {{TOKEN: {{secret: app-migration/token}}}}
    command:
    - /bin/sh
    - -c
    - |
      url=postgresql://${{DATABASE_URL#*://}}
      psql --quiet --command 'CREATE TABLE started ()' \"$url\"
      until psql --quiet --command 'TABLE rotated' \"$url\"; do sleep 0.2; done
      echo \"it was $TOKEN\"
      exit 3
",
        probe(ns)
    );
    let case = Case::new(ns, &base);
    // Of the migration alone: no process is rolled when it changes, and no revision knows of it.
    secret(ns, "app-migration", &[("token", &canary("earlier"))]);
    case.declare("probe 1.0.0", "version: 1.0.0");
    wait("the migration has started", || {
        let started = case.sql("select 'yes' from pg_tables where tablename = 'started'");
        (started.trim() == "yes").then_some(())
    });
    set(ns, "app-migration", "token", &canary("later"));
    case.sql("create table rotated ()");
    case.until("Failed(Migrating)", "1.0.0");
    case.explained(
        &["exit code 3", "its log is not kept"],
        "commit a version whose migration is mended",
    );
    let tail = wait("what is said in place of the log", || {
        let revision = case.revisions().pop()?;
        revision["status"]["logTail"].as_str().map(str::to_owned)
    });
    assert!(tail.contains("has changed or gone since"), "{tail}");
    // That neither value is anywhere is what a case is judged by at its end.
    case.end();
}

#[test]
fn a_commit_that_raises_rotate_has_generated_values_made_anew_once_and_rolled_out() {
    let _services = shared();
    let ns = "secrets-made";
    let base = format!("{}  env: {{GREETING: {{generate: hex/32}}}}\n", probe(ns));
    let case = Case::new(ns, &base);
    case.declare("probe 1.0.0", "version: 1.0.0\nreplicas: 1");
    until_live(&case, "app-v1");
    let made = || {
        let secret = get("secret", ns, "app-generated").expect("generated values");
        String::from_utf8(super::support::base64(
            secret["data"]["GREETING"].as_str().unwrap(),
        ))
        .unwrap()
    };
    let first = made();
    remember("the first generated value", first.as_bytes());
    assert!(case.ask("/").contains(&first));
    case.declare("other values", "version: 1.0.0\nreplicas: 1\nrotate: 1");
    until_live(&case, "app-v2");
    let second = made();
    assert_ne!(first, second);
    assert!(case.ask("/").contains(&second));
    let revision = case.revisions().pop().unwrap();
    assert_eq!(
        revision["spec"]["cause"],
        "values changed: GREETING (Secret app-generated/GREETING)"
    );
    // The same number again, with another change: they stay.
    case.declare("three", "version: 1.0.0\nreplicas: 2\nrotate: 1");
    wait("two pods", || {
        (case.deployment()["status"]["availableReplicas"] == 2).then_some(())
    });
    assert_eq!(made(), second);
    case.end();
}

/// As much of the External Secrets Operator's definition as a test needs; its status is written by hand.
const EXTERNAL_SECRET: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: externalsecrets.external-secrets.io}
spec:
  group: external-secrets.io
  names: {kind: ExternalSecret, listKind: ExternalSecretList, plural: externalsecrets, singular: externalsecret}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[test]
fn a_secret_that_its_operator_brings_late_is_waited_for_with_the_words_of_the_operator() {
    let _services = shared();
    let ns = "secrets-late";
    let base = format!(
        "{}  env: {{GREETING: {{secret: app-late/greeting}}}}\n",
        probe(ns)
    );
    let case = Case::new(ns, &base);
    apply(EXTERNAL_SECRET);
    established("externalsecrets.external-secrets.io");
    apply(&format!(
        "apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: from-vault, namespace: {ns}}}
spec: {{target: {{name: app-late}}}}
status: {{conditions: [{{type: Ready, status: 'False', reason: SecretSyncedError, message: no such path}}]}}
"
    ));
    case.declare("probe 1.0.0", "version: 1.0.0\nreplicas: 1");
    until_missing(
        &case,
        &[
            "Secret app-late with key greeting",
            "ExternalSecret from-vault says: SecretSyncedError, no such path",
        ],
    );
    case.explained(&["SecretSyncedError, no such path"], "create it in namespace");
    let value = canary("late");
    secret(ns, "app-late", &[("other", &canary("other"))]);
    std::thread::sleep(Duration::from_secs(3));
    until_missing(&case, &["Secret app-late with key greeting"]);
    case.explained(&["Secret app-late with key greeting"], "create it in namespace");
    assert!(writes(ns, "deployments").is_empty());
    set(ns, "app-late", "greeting", &value);
    until_live(&case, "app-v1");
    assert!(case.ask("/").contains(&format!("env={value}")));
    case.end();
}

/// As much of the Secrets Store CSI driver's definition as a test needs.
const SECRET_PROVIDER_CLASS: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: secretproviderclasses.secrets-store.csi.x-k8s.io}
spec:
  group: secrets-store.csi.x-k8s.io
  names: {kind: SecretProviderClass, listKind: SecretProviderClassList, plural: secretproviderclasses, singular: secretproviderclass}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[test]
fn a_secret_that_only_a_mounting_pod_would_sync_is_waited_for_with_what_it_lacks() {
    let _services = shared();
    let ns = "secrets-csi";
    let base = format!(
        "{}  env: {{GREETING: {{secret: app-vault/greeting}}}}\n",
        probe(ns)
    );
    let case = Case::new(ns, &base);
    apply(SECRET_PROVIDER_CLASS);
    established("secretproviderclasses.secrets-store.csi.x-k8s.io");
    apply(&format!(
        "apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {{name: vault, namespace: {ns}}}
spec: {{provider: vault, secretObjects: [{{secretName: app-vault, type: Opaque, data: [{{objectName: a, key: greeting}}]}}]}}
"
    ));
    case.declare("probe 1.0.0", "version: 1.0.0\nreplicas: 1");
    let missing = [
        "Secret app-vault with key greeting",
        "SecretProviderClass vault makes Secret app-vault only while a pod mounts that class",
    ];
    until_missing(&case, &missing);
    case.explained(&missing, "create it in namespace");
    assert!(case.revisions().is_empty() && case.deployment().is_null());
    // As the driver does it when another pod mounts the class.
    secret(ns, "app-vault", &[("greeting", &canary("mounted"))]);
    until_live(&case, "app-v1");
    case.end();
}

#[test]
fn an_image_that_holds_a_value_of_the_release_is_refused_until_the_value_is_another() {
    let _services = shared();
    let ns = "secrets-image";
    // A repository that no earlier run has pushed to.
    let repository = format!("acme/baked-{:08x}", rand::random::<u32>());
    let value = canary("baked");
    let digest = with_variable(&repository, &format!("GREETING_TOKEN={value}"));
    let base = format!("{}  env: {{GREETING: {{secret: app-key/token}}}}\n", probe(ns));
    let case = Case::new(ns, &base.replace("acme/probe", &repository));
    secret(ns, "app-key", &[("token", &value)]);
    let by_digest =
        format!("version: 1.0.0\nreplicas: 1\nimage: registry.bed.test:5000/{repository}@{digest}");
    for (words, fields) in [
        ("by digest", by_digest.as_str()),
        ("by tag", "version: 1.0.0\nreplicas: 1"),
    ] {
        case.declare(words, fields);
        let reference = if words == "by tag" { ":1.0.0" } else { "@sha256:" };
        wait_telling(
            words,
            || case.state(),
            || {
                let said = format!("{repository}{reference}");
                (case.phase() == "Failed(SecretInImage)" && case.message().contains(&said)).then_some(())
            },
        );
        let message = case.message();
        assert!(
            message.contains("the variable GREETING_TOKEN holds the value of Secret app-key/token"),
            "{message}"
        );
        assert!(is_true(&case.release(), "Stalled"));
        case.explained(
            &["the variable GREETING_TOKEN holds the value of Secret app-key/token"],
            "change the value where it is used",
        );
    }
    assert!(case.revisions().is_empty() && case.deployment().is_null());

    let other = canary("another");
    set(ns, "app-key", "token", &other);
    until_live(&case, "app-v1");
    assert!(case.ask("/").contains(&format!("env={other}")));
    // The old value is in the image still, under a name that says what it is.
    assert!(is_true(&case.release(), "SecretInImage"));
    case.explained(
        &["1.0.0 is live", "the variable GREETING_TOKEN holds a text"],
        "change what is a secret where it is used",
    );
    let revision = case.revisions().pop().unwrap();
    assert_eq!(
        revision["spec"]["image"]["suspicious"],
        serde_json::json!(["the variable GREETING_TOKEN holds a text under a name that contains TOKEN"])
    );
    case.end();
}
