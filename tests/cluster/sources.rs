//! Git servers that do not answer, repositories that cannot be trusted, files that cannot be read, and removal.

use super::removal::exposure_went_first;
use super::support::{
    self, Before, Broken, Case, Mark, Way, apply, audit, bed_dir, canary, exec, get, is_true, kubectl, probe,
    shared, spawn, wait, wait_telling,
};

/// So often a source asks before it is judged that nothing came of it.
const TIMES: usize = 3;

fn source(case: &Case) -> serde_json::Value {
    get("releasesource", "", &case.source).unwrap()
}

fn patch(case: &Case, spec: &serde_json::Value) {
    let patch = serde_json::json!({ "spec": spec }).to_string();
    kubectl(&[
        "patch",
        "releasesource",
        &case.source,
        "--type=merge",
        "-p",
        &patch,
    ]);
}

fn ready_reason(case: &Case) -> String {
    super::support::condition(&source(case), "Ready")["reason"]
        .as_str()
        .unwrap_or("")
        .to_owned()
}

fn until_reason(case: &Case, reason: &str) {
    wait_telling(
        &format!("{}: {reason}", case.ns),
        || ready_reason(case),
        || (ready_reason(case) == reason).then_some(()),
    );
}

/// Commits a new version that cannot be fetched: the source goes on asking and saying why, and nothing comes of it.
fn commits_in_vain(case: &Case, before: &Before, reason: &str, remedy: &str) {
    let since = Mark::now();
    case.declare("1.1.0", "version: 1.1.0");
    case.until_asked(TIMES, since);
    assert_eq!(ready_reason(case), reason);
    case.explained(
        &[
            "1.0.0 is live",
            &format!("source {} does not follow git", case.source),
        ],
        remedy,
    );
    before.holds(case);
}

#[test]
fn a_source_that_can_never_be_followed_is_refused_in_words_while_what_runs_runs_on() {
    let _services = shared();
    let case = Case::new("git-never", &probe("git-never"));
    case.declare("1.0.0", "version: 1.0.0\nreplicas: 1");
    case.live("1.0.0");
    let before = Before::of(&case);
    let all = source(&case)["spec"].clone();
    let url = |url: &str| serde_json::json!({ "git": { "url": url } });
    let branch = |branch: &str| serde_json::json!({ "git": { "branch": branch } });
    let paths = |path: &str| serde_json::json!({ "paths": [path] });
    let there = all["git"]["url"].as_str().unwrap();
    let reference = "correct git.url, the reference";
    for (spec, reason, remedy) in [
        (url("ext::sh%20-c%20id"), "Invalid", reference),
        (url("file:///etc"), "Invalid", reference),
        (url("git://git.bed.test/git-never.git"), "Invalid", reference),
        (url("ssh://-oProxyCommand=id/x"), "Invalid", reference),
        (
            url("https://git.bed.test/x.git\nhost: elsewhere"),
            "Invalid",
            reference,
        ),
        (
            url("https://dana:pass-word-in-url@git.bed.test/x.git"),
            "Invalid",
            reference,
        ),
        (url("https://169.254.169.254/x.git"), "Invalid", reference),
        (branch("--upload-pack=id"), "Invalid", reference),
        (branch("a..b"), "Invalid", reference),
        (branch("main@{u}"), "Invalid", reference),
        (paths("../etc"), "InvalidPath", "correct paths"),
        (paths(".GIT/hooks"), "InvalidPath", "correct paths"),
    ] {
        patch(&case, &spec);
        wait_telling(
            &format!("{spec}: {reason}"),
            || source(&case)["status"].to_string(),
            || {
                let source = source(&case);
                let ready = support::condition(&source, "Ready");
                let seen = ready["observedGeneration"] == source["metadata"]["generation"];
                (seen && ready["status"] == "False" && ready["reason"] == reason).then_some(())
            },
        );
        let status = source(&case)["status"].to_string();
        assert!(!status.contains("pass-word-in-url"), "{status}");
        case.explained(&["1.0.0 is live", "does not follow git"], remedy);
        patch(
            &case,
            &serde_json::json!({ "git": { "url": there, "branch": null }, "paths": all["paths"] }),
        );
    }
    before.holds(&case);
    case.declare("1.1.0", "version: 1.1.0\nreplicas: 1");
    case.live("1.1.0");
    case.end();
}

#[test]
fn a_repository_over_plain_http_is_followed_where_the_chart_allows_it() {
    let _services = shared();
    let case = Case::reached_by("git-http", &probe("git-http"), Way::Http);
    let commit = case.declare("1.0.0", "version: 1.0.0\nreplicas: 1");
    let release = case.live("1.0.0");
    assert_eq!(
        release["metadata"]["annotations"]["slipway.dev/commit"],
        commit.as_str()
    );
    case.end();
}

#[test]
fn wrong_credentials_and_wrong_host_keys_are_said_and_mended_without_a_restart() {
    let _services = shared();
    let case = Case::new("git-auth", &probe("git-auth"));
    case.declare("1.0.0", "version: 1.0.0");
    case.live("1.0.0");
    let before = Before::of(&case);
    let secret = format!("git-{}", case.source);
    let set = |password: &str| support::set("slipway-system", &secret, "password", password);
    set(&canary("not-the-password"));
    until_reason(&case, "AuthFailed");
    commits_in_vain(
        &case,
        &before,
        "AuthFailed",
        "renew the credentials in git.secret",
    );
    let password = std::fs::read_to_string(bed_dir().join("secrets/git-password")).unwrap();
    set(password.trim());
    until_reason(&case, "Applied");
    case.live("1.1.0");
    before.mended_without_restart(&case);
    case.end();
}

#[test]
fn a_wrong_ssh_host_key_is_refused() {
    let _services = shared();
    let case = Case::reached_by("git-hostkey", &probe("git-hostkey"), Way::Ssh);
    case.declare("1.0.0", "version: 1.0.0");
    case.live("1.0.0");
    let before = Before::of(&case);
    let good = std::fs::read_to_string(bed_dir().join("secrets/known_hosts")).unwrap();
    // The key of another server under the name of this one.
    let other =
        "git.bed.test ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    let set = |hosts: &str| {
        let data = serde_json::json!({"stringData": {"known_hosts": hosts}}).to_string();
        kubectl(&[
            "-n",
            "slipway-system",
            "patch",
            "secret",
            &format!("git-{}", case.source),
            "--type=merge",
            "-p",
            &data,
        ]);
    };
    set(other);
    until_reason(&case, "HostKeyMismatch");
    commits_in_vain(
        &case,
        &before,
        "HostKeyMismatch",
        "find out why the server shows another key",
    );
    set(&good);
    until_reason(&case, "Applied");
    case.live("1.1.0");
    before.mended_without_restart(&case);
    case.end();
}

#[test]
fn a_server_whose_certificate_nobody_signed_is_refused() {
    let _services = shared();
    let case = Case::new("git-ca", &probe("git-ca"));
    case.declare("1.0.0", "version: 1.0.0");
    case.live("1.0.0");
    let before = Before::of(&case);
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("cert.pem"));
    let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
    exec(&[
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=git.bed.test",
        "-addext",
        "subjectAltName=DNS:git.bed.test",
        "-keyout",
        key,
        "-out",
        certificate,
    ]);
    // What runs inside the bed outlives the wrapper that is killed here, so it has an end of its own.
    let mut server = spawn(&[
        "timeout",
        "120",
        "openssl",
        "s_server",
        "-quiet",
        "-accept",
        "8443",
        "-key",
        key,
        "-cert",
        certificate,
        "-www",
    ]);
    let follow = |url: &str| patch(&case, &serde_json::json!({ "git": { "url": url } }));
    follow("https://git.bed.test:8443/git-ca.git");
    until_reason(&case, "CertificateUnknown");
    commits_in_vain(
        &case,
        &before,
        "CertificateUnknown",
        "give the CA of the git server in caBundle",
    );
    follow("https://git.bed.test/git-ca.git");
    until_reason(&case, "Applied");
    server.kill().unwrap();
    server.wait().unwrap();
    case.live("1.1.0");
    before.mended_without_restart(&case);
    case.end();
}

#[test]
fn one_bad_file_stops_nobody_and_its_secret_is_nowhere() {
    let _services = shared();
    let case = Case::new("git-bad", &probe("git-bad"));
    let canary = "canary-4f1d0c7e9b2a";
    case.repo.write(
        "production/bad.yaml",
        &format!("apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: bad, namespace: git-bad}}\nspec:\n  version: 1.0.0\n  image: registry.bed.test:5000/acme/probe\n  port: 8080\n  env:\n    SMTP_PASSWORD: {canary}\n"),
    );
    case.repo.write(
        "production/typo.yaml",
        "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: typo, namespace: git-bad}\nspec:\n  version: 1.0.0\n  replcias: 3\n",
    );
    case.declare("1.0.0", "version: 1.0.0");
    case.live("1.0.0");
    let problems = wait("two problems", || {
        let problems = source(&case)["status"]["problems"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        (problems.len() >= 2).then_some(problems)
    });
    let text = serde_json::to_string(&problems).unwrap();
    assert!(text.contains("production/bad.yaml:9:"), "{text}");
    assert!(
        text.contains("production/typo.yaml:6:") && text.contains("replicas"),
        "{text}"
    );
    assert!(get("release", "git-bad", "bad").is_none() && get("release", "git-bad", "typo").is_none());
    case.explained_of(
        "bad",
        &["There is no release", "production/bad.yaml:9:"],
        "move the value into a Secret",
    );
    case.explained_of(
        "typo",
        &["There is no release", "production/typo.yaml:6:", "`replicas`"],
        "mend the file at that place",
    );
    let everything = kubectl(&[
        "get",
        "releasesources,releases,releaserevisions,events,configmaps",
        "-A",
        "-o",
        "yaml",
    ]);
    assert!(!everything.contains(canary));
    let logs = kubectl(&[
        "-n",
        "slipway-system",
        "logs",
        "-l",
        "app.kubernetes.io/name=slipway",
        "--tail=-1",
    ]);
    assert!(!logs.contains(canary));
    case.end();
}

#[test]
fn a_rewritten_history_is_held_and_a_removed_file_removes_what_it_declared() {
    let _services = shared();
    let case = Case::new("git-prune", &probe("git-prune"));
    let other = probe("git-prune").replace("name: app", "name: other");
    case.repo.write("base/other.yaml", &other);
    // With an object of each kind that a release can have.
    case.repo.write("production/other.yaml", "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: other, namespace: git-prune}\nspec:\n  version: 1.0.0\n  replicas: 2\n  host: other.example.com\n");
    let first = case.declare("two of them", "version: 1.0.0\nreplicas: 1");
    case.live("1.0.0");
    wait("the other is there", || {
        let there = |kind| get(kind, "git-prune", "other");
        let kinds = [
            "serviceaccount",
            "service",
            "poddisruptionbudget",
            "ingress",
            "deployment",
        ];
        kinds.into_iter().all(|kind| there(kind).is_some()).then_some(())
    });
    case.declare("more", "version: 1.0.0\nreplicas: 2");
    wait("two replicas", || {
        (case.deployment()["spec"]["replicas"] == 2).then_some(())
    });
    let head = case.repo.git(&["rev-parse", "HEAD"]);
    case.repo.git(&["reset", "--quiet", "--hard", &first]);
    case.declare("another past", "version: 1.0.0\nreplicas: 5");
    until_reason(&case, "HistoryRewritten");
    case.explained(
        &["1.0.0 is live", "does not descend from"],
        "if the rewrite is meant, set git.allowRewrite",
    );
    assert_eq!(case.deployment()["spec"]["replicas"], 2);
    case.repo.git(&["reset", "--quiet", "--hard", head.trim()]);
    case.repo
        .git(&["rm", "--quiet", "production/other.yaml", "base/other.yaml"]);
    case.repo.commit("the other goes");
    wait("the other is gone", || {
        get("deployment", "git-prune", "other").is_none().then_some(())
    });
    wait("its release too", || {
        get("release", "git-prune", "other").is_none().then_some(())
    });
    for kind in ["serviceaccount", "service", "poddisruptionbudget", "ingress"] {
        wait(&format!("{kind} other is gone"), || {
            get(kind, "git-prune", "other").is_none().then_some(())
        });
    }
    exposure_went_first("git-prune", "other");
    assert!(get("deployment", "git-prune", "app").is_some());
    assert!(
        audit("git-prune")
            .iter()
            .all(|event| event["objectRef"]["resource"] != "namespaces")
    );
    case.end();
}

#[test]
fn a_source_that_is_deleted_takes_nothing_down_and_its_release_says_so_until_it_is_made_again() {
    let _services = shared();
    let ns = "git-gone";
    let case = Case::new(ns, &probe(ns));
    case.declare("1.0.0", "version: 1.0.0");
    case.live("1.0.0");
    let before = Before::of(&case);
    let source = get("releasesource", "", ns).unwrap();
    kubectl(&["delete", "releasesource", ns]);
    wait("SourceGone", || {
        is_true(&case.release(), "SourceGone").then_some(())
    });
    case.explained(&["1.0.0 is live", "is gone"], "create the source again");
    before.holds(&case);
    apply(
        &serde_json::json!({
            "apiVersion": source["apiVersion"], "kind": source["kind"],
            "metadata": { "name": ns }, "spec": source["spec"],
        })
        .to_string(),
    );
    wait("the source is followed again", || {
        (!is_true(&case.release(), "SourceGone")).then_some(())
    });
    before.holds(&case);
    case.end();
}

/// What disturbs others or is disturbed by them: `.ci/bed-test.sh` runs it on a bed of its own.
mod alone {
    use super::{super::support::alone, *};

    #[test]
    fn a_git_server_that_is_down_or_hangs_is_said_and_touches_nothing_that_runs() {
        let _services = alone();
        let cases = [("git-down", Way::Https), ("git-down-ssh", Way::Ssh)]
            .map(|(name, way)| Case::reached_by(name, &probe(name), way));
        for case in &cases {
            case.declare("1.0.0", "version: 1.0.0");
        }
        for case in &cases {
            case.live("1.0.0");
        }
        // One attempt at a server that hangs lasts longer than many at one that is down.
        for (action, reason, times, version) in [
            ("stop", "Unreachable", TIMES, "1.1.0"),
            ("pause", "TimedOut", 1, "1.0.0"),
        ] {
            let before = cases.each_ref().map(Before::of);
            let broken = ["git", "ssh"].map(|service| Broken::by(action, service));
            // The commits come while nobody can fetch them.
            let since = Mark::now();
            for case in &cases {
                case.declare(action, &format!("version: {version}"));
            }
            wait(&format!("{reason} over https and ssh"), || {
                cases
                    .iter()
                    .all(|case| ready_reason(case) == reason)
                    .then_some(())
            });
            for (case, before) in cases.iter().zip(&before) {
                case.until_asked(times, since);
                assert_eq!(ready_reason(case), reason, "{}", case.ns);
                case.explained(&["does not follow git"], "nothing if it passes");
                before.holds(case);
            }
            drop(broken);
            for (case, before) in cases.iter().zip(&before) {
                case.live(version);
                before.mended_without_restart(case);
            }
        }
        for case in cases {
            case.end();
        }
    }
}
