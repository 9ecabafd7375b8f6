//! No value of a Secret stands anywhere but in Secrets: in nothing that Slipway writes, says or keeps.
//!
//! Each case is judged by its objects and events when it ends (`support::values::judge`). What is left over when all tests
//! have ended is judged here: the whole audit log, all objects that there are, the logs, numbers, files and processes of the
//! installed controller. Its log is on the level of a user there; a controller of its own is heard on every level, and seen
//! into while it works.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::support::{
    Mark, Metrics, apply, bed_dir, canary,
    canary::{CHANNELS, Channel, Searcher, Text},
    exec, kept_logs, kubectl, list, node_files, values, wait,
};

const SYSTEM: &str = "slipway-system";

/// Where each pod of the controller has its logs, and where its files, as far as there are some.
fn folders() -> Vec<(PathBuf, PathBuf)> {
    let node = node_files();
    list("pod", SYSTEM, "app.kubernetes.io/name=slipway")
        .iter()
        .map(|pod| {
            let word = |key: &str| pod["metadata"][key].as_str().unwrap().to_owned();
            let (name, uid) = (word("name"), word("uid"));
            (
                node.join(format!("var/log/pods/{SYSTEM}_{name}_{uid}")),
                node.join(format!(
                    "var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir"
                )),
            )
        })
        .filter(|(logs, files)| logs.join("controller").is_dir() && files.is_dir())
        .collect()
}

/// Every object that there is but Secrets, of every kind.
fn objects() -> Vec<Text> {
    let kinds = kubectl(&["api-resources", "--verbs=list", "-o", "name"]);
    let kinds: Vec<&str> = kinds
        .lines()
        .filter(|kind| !["secrets", "componentstatuses"].contains(kind))
        .collect();
    assert!(
        kinds.contains(&"releases.slipway.dev") && kinds.contains(&"events"),
        "{kinds:?}"
    );
    let all = kubectl(&["get", &kinds.join(","), "-A", "-o", "json"]);
    canary::of_objects(&serde_json::from_str(&all).unwrap())
}

fn metrics(page: &str) -> Text {
    Text {
        channel: Channel::Metrics,
        what: "/metrics".to_owned(),
        bytes: page.as_bytes().to_vec(),
    }
}

/// How much of each channel there is, for people.
fn sizes(texts: &[Text]) -> String {
    let mut sizes: BTreeMap<Channel, (usize, usize)> = BTreeMap::new();
    for text in texts {
        let (count, bytes) = sizes.entry(text.channel).or_default();
        *count += 1;
        *bytes += text.bytes.len();
    }
    let words: Vec<String> = sizes
        .iter()
        .map(|(channel, (count, bytes))| format!("{channel:?} {count} of {} KiB", bytes >> 10))
        .collect();
    words.join(", ")
}

/// One value in each channel, as long as this lives.
struct Planted {
    value: String,
    files: Vec<PathBuf>,
    process: Child,
    _folder: tempfile::TempDir,
}

const NAMESPACE: &str = "canary-planted";

impl Planted {
    fn now() -> Self {
        let value = canary("planted");
        kubectl(&["create", "namespace", NAMESPACE]);
        let data = {
            use ::base64::Engine as _;
            ::base64::engine::general_purpose::STANDARD.encode(format!("user:{value}"))
        };
        // As an object, and with that in the audit log.
        apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "planted", "namespace": NAMESPACE },
            "data": { "a": data },
        })
        .to_string());
        apply(&json!({
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": "planted", "namespace": NAMESPACE },
            "involvedObject": { "kind": "Namespace", "name": NAMESPACE, "namespace": NAMESPACE },
            "type": "Normal", "reason": "Planted", "message": format!("it begins with {}", &value[..8]),
        })
        .to_string());
        // The last test may have had the controller stand aside until a moment ago.
        let (logs, cache) = wait("a pod of the controller runs", || folders().into_iter().next());
        let folder = tempfile::tempdir().unwrap();
        // Made here, since git follows no path through another process's files.
        let repository = made(&folder.path().join("planted.git"));
        keep(&repository, &value);
        let copied = Command::new("cp").arg("-r").arg(&repository).arg(&cache).status();
        assert!(copied.unwrap().success());
        let files = vec![
            logs.join("controller/planted.log"),
            cache.join("tmp/planted"),
            cache.join("planted.git"),
        ];
        for file in &files[..2] {
            fs::write(file, format!("it is {}\n", json!(value))).unwrap();
        }
        let program = folder.path().join("slipway");
        fs::copy("/bin/sh", &program).unwrap();
        let process = Command::new(program)
            .args(["-c", "read -r END", &value])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            value,
            files,
            process,
            _folder: folder,
        }
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        for file in &self.files {
            let _ = fs::remove_file(file).or_else(|_| fs::remove_dir_all(file));
        }
        kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]);
    }
}

/// A repository that nobody else uses.
fn made(folder: &Path) -> PathBuf {
    let status = Command::new("git")
        .args(["init", "--quiet", "--bare"])
        .arg(folder)
        .status()
        .unwrap();
    assert!(status.success());
    folder.to_owned()
}

/// Puts a text among the objects of a repository, which git compresses.
fn keep(repository: &Path, text: &str) {
    let mut git = Command::new("git")
        .arg("--git-dir")
        .arg(repository)
        .args(["hash-object", "-w", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    git.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(git.wait().unwrap().success());
}

#[test]
#[ignore = "judges what the other tests did: run it after them"]
fn no_value_of_a_secret_stands_anywhere_after_the_whole_run() {
    let secrets: Value = serde_json::from_str(&kubectl(&["get", "secrets", "-A", "-o", "json"])).unwrap();
    values::remember_all(secrets["items"].as_array().unwrap());
    let mut known = values::remembered();
    assert!(known.len() > 3, "the tests have used Secrets");
    let short = values::too_short(&known).join(", ");

    let planted = Planted::now();
    known.push(("planted".to_owned(), planted.value.clone().into_bytes()));
    let mut texts = objects();
    texts.extend(canary::of_audit(Mark::start().text().as_bytes()));
    for (logs, files) in folders() {
        texts.extend(canary::of_folder(Channel::Logs, &logs));
        texts.extend(canary::of_folder(Channel::Files, &files));
    }
    texts.extend(canary::of_folder(Channel::Logs, &kept_logs()));
    let page = Metrics::of_the_leader();
    texts.push(metrics(page.page()));
    // Nobody can put anything there from outside.
    texts.push(metrics(&format!(
        "slipway_build_info{{version=\"{}\"}} 1\n",
        planted.value
    )));
    texts.extend(canary::of_processes("slipway"));
    drop(planted);

    let searcher = Searcher::new(&known);
    let (values, patterns) = searcher.size();
    println!(
        "{values} values of Secrets, by {patterns} patterns, in {}",
        sizes(&texts)
    );
    println!("too short to be looked for: {short}");
    let (seen, leaks): (Vec<_>, Vec<_>) = searcher
        .search(&texts)
        .into_iter()
        .partition(|leak| leak.of == "planted");
    for channel in CHANNELS {
        let found = seen.iter().find(|leak| leak.channel == channel);
        println!(
            "planted: {}",
            found.unwrap_or_else(|| panic!("not found in {channel:?}"))
        );
    }
    assert!(leaks.is_empty(), "{}", values::told(&leaks.into_iter().collect()));
}

/// What disturbs others or is disturbed by them: `.ci/bed-test.sh` runs it on a bed of its own.
mod alone {
    use super::{
        super::support::{Aside, Case, Inside, alone, probe, secret, set, wait, wait_telling, with_variable},
        *,
    };

    /// The binary outside of any pod, heard on every level.
    struct Heard {
        controller: Inside,
        folder: tempfile::TempDir,
        token: String,
        _aside: Aside,
    }

    const ADDRESS: &str = "127.0.0.1:18090";

    impl Heard {
        fn start() -> Self {
            let aside = Aside::new();
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name).display().to_string();
            let (config, cache, tmp) = (path("kubeconfig"), path("cache"), path("tmp"));
            fs::create_dir(&tmp).unwrap();
            let token = kubectl(&["-n", SYSTEM, "create", "token", "slipway", "--duration=2h"]);
            let view = |path: &str| kubectl(&["config", "view", "--raw", "--minify", "-o", path]);
            fs::write(
                &config,
                json!({
                    "apiVersion": "v1", "kind": "Config", "current-context": "bed",
                    "contexts": [{ "name": "bed", "context": { "cluster": "bed", "user": "bed" } }],
                    "clusters": [{ "name": "bed", "cluster": {
                        "server": view("jsonpath={.clusters[0].cluster.server}"),
                        "certificate-authority-data": view("jsonpath={.clusters[0].cluster.certificate-authority-data}"),
                    } }],
                    // The chart's own service account: its rights are what counts.
                    "users": [{ "name": "bed", "user": { "token": token.trim() } }],
                })
                .to_string(),
            )
            .unwrap();
            let ca = bed_dir().join("pki/ca.crt").display().to_string();
            let controller = Inside::start(&[
                "env",
                "-u",
                "SSL_CERT_FILE",
                "-u",
                "GIT_SSL_CAINFO",
                &format!("KUBECONFIG={config}"),
                &format!("TMPDIR={tmp}"),
                &format!("HOME={tmp}"),
                &format!("SLIPWAY_CA_BUNDLE={ca}"),
                "RUST_BACKTRACE=1",
                env!("CARGO_BIN_EXE_slipway"),
                "controller",
                "--namespace",
                SYSTEM,
                "--http-address",
                ADDRESS,
                "--cache-dir",
                &cache,
                "--tag-check-interval",
                "5s",
                "--log-level",
                "trace",
            ]);
            Self {
                controller,
                folder,
                token,
                _aside: aside,
            }
        }

        /// All that it says and keeps, and its processes.
        fn texts(&self) -> Vec<Text> {
            let mut texts = vec![Text {
                channel: Channel::Logs,
                what: "its log".to_owned(),
                bytes: fs::read(bed_dir().join("logs/slipway.log")).unwrap(),
            }];
            for name in ["cache", "tmp"] {
                texts.extend(canary::of_folder(Channel::Files, &self.folder.path().join(name)));
            }
            let page = exec(&["curl", "--silent", "--fail", &format!("http://{ADDRESS}/metrics")]);
            texts.push(metrics(&page));
            texts.extend(canary::of_processes("slipway"));
            texts
        }
    }

    fn until(case: &Case, phase: &str, words: &str) {
        wait_telling(
            &format!("{phase}: {words}"),
            || case.state(),
            || (case.phase() == phase && case.message().contains(words)).then_some(()),
        );
    }

    fn until_reason(case: &Case, reason: &str) {
        wait(reason, || {
            let source = super::super::support::get("releasesource", "", &case.source)?;
            let ready = super::super::support::condition(&source, "Ready").clone();
            (ready["reason"] == reason).then_some(())
        });
    }

    /// A release whose image only a password gives, beside the case's own.
    fn behind_a_password(case: &Case) {
        let file = bed_dir().join("secrets/.dockerconfigjson");
        values::remember("the password of the registry", &fs::read(&file).unwrap());
        kubectl(&[
            "-n",
            &case.ns,
            "create",
            "secret",
            "generic",
            "pull",
            "--type=kubernetes.io/dockerconfigjson",
            &format!("--from-file=.dockerconfigjson={}", file.display()),
        ]);
        case.repo.write(
            "production/other.yaml",
            &format!(
                "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: other, namespace: {}}}\nspec:\n  preset: phoenix\n  image: registry.bed.test:5001/acme/shop\n  version: 1.0.0\n  pullSecret: pull\n  migrate: false\n  replicas: 1\n  env: {{DATABASE_URL: {{secret: app-db/url}}}}\n",
                case.ns
            ),
        );
    }

    #[test]
    fn nothing_that_slipway_is_given_in_secrets_is_said_on_any_level_or_kept_on_disk() {
        let _services = alone();
        let heard = Heard::start();
        let ns = "canaries";
        let repository = format!("acme/heard-{:08x}", rand::random::<u32>());
        let [token, file, whole, baked] = ["token", "file", "whole", "baked"].map(canary);
        with_variable(&repository, &format!("A={baked}"));
        let base = format!(
            "{}  envFrom: [{{secret: app-env}}]
  files: {{/run/canary: {{secret: app-files/canary}}}}
  env: {{DATABASE_URL: {{secret: app-db/url}}, GREETING: {{secret: app-key/token}}, MADE: {{generate: hex/32}}}}
",
            probe(ns)
        );
        let case = Case::new(ns, &base);
        behind_a_password(&case);
        // What a migration prints, with all that it was given, and the failure of it.
        let shouts = "version: 1.0.0\nreplicas: 1\nmigrate: [/bin/sh, -c, 'env; cat /run/canary; exit 3']";
        case.declare("a migration that tells all", shouts);
        until(&case, "Waiting(SecretMissing)", "Secret app-key with key token");
        secret(ns, "app-env", &[("WHOLE", &whole)]);
        secret(ns, "app-files", &[("canary", &file)]);
        secret(ns, "app-key", &[("token", &baked)]);
        until(&case, "Failed(Migrating)", "exit code 3");

        let given = format!("git-{}", case.source);
        let password = fs::read_to_string(bed_dir().join("secrets/git-password")).unwrap();
        set(SYSTEM, &given, "password", &canary("wrong"));
        until_reason(&case, "AuthFailed");
        set(SYSTEM, &given, "password", password.trim());
        until_reason(&case, "Applied");

        case.declare(
            "an image with a value",
            &format!("version: 1.0.0\nreplicas: 1\nimage: registry.bed.test:5000/{repository}"),
        );
        until(
            &case,
            "Failed(SecretInImage)",
            "the variable A holds the value of Secret app-key/token",
        );
        case.declare(
            "one that migrates",
            "version: 1.0.0\nreplicas: 1\nmigrate: [/app/bin/migrate]",
        );
        case.live("1.0.0");
        set(ns, "app-key", "token", &token);
        wait("the new value is served", || {
            let live = case.phase() == "Live";
            (live && case.ask("/").contains(&token)).then_some(())
        });
        wait("the one behind a password is live", || {
            let other = super::super::support::get("release", ns, "other")?;
            (other["status"]["phase"] == "Live").then_some(())
        });

        values::remember_all(&list("secret", ns, ""));
        let secrets = list("secret", SYSTEM, "");
        values::remember_all(&secrets);
        let mut known = values::remembered();
        known.push((
            "the token of the controller".to_owned(),
            heard.token.trim().as_bytes().to_vec(),
        ));
        let mut texts = heard.texts();
        texts.extend(values::objects_of(ns));
        let searcher = Searcher::new(&known);
        let (values, patterns) = searcher.size();
        println!(
            "{values} values of Secrets, by {patterns} patterns, in {}",
            sizes(&texts)
        );
        println!("{}", heard.controller.memory());
        let log = String::from_utf8_lossy(&texts[0].bytes).into_owned();
        for level in ["TRACE", "DEBUG", "INFO"] {
            let lines = log
                .lines()
                .filter(|line| line.contains(&format!(" {level} ")))
                .count();
            println!("{level}: {lines} lines");
            assert!(lines > 0, "{level} was heard");
        }
        let leaks = searcher.search(&texts);
        assert!(leaks.is_empty(), "{}", values::told(&leaks));
        case.end();
    }
}
