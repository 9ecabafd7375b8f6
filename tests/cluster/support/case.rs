//! One application under test: a namespace, a database, a repository, and a source that follows it.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path, process::Command};

use serde_json::Value;
use slipway::trace::{
    self, Coverage, Invariant, Sight,
    audit::{self as audit_log, Scope},
    verdict::Judged,
};

use super::{
    apply,
    audit::{Mark, SLIPWAY},
    base64, bed_dir,
    before::identities,
    exec, finish, get, kubectl, list, script, text, values, wait, wait_telling,
};

/// One application in a namespace, a repository and a database of its own.
pub struct Case {
    pub ns: String,
    pub repo: Repo,
    pub source: String,
}

pub struct Repo {
    /// What `git-new` printed: where it lies, and how it is reached inside the bed.
    places: BTreeMap<String, String>,
    work: tempfile::TempDir,
}

impl Repo {
    pub fn new(name: &str) -> Self {
        let places = script("git-new", &[name])
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let repo = Self {
            places,
            work: tempfile::tempdir().unwrap(),
        };
        repo.git(&["init", "--quiet", "--initial-branch", "main", "."]);
        repo.git(&["config", "user.name", "Dana Platform"]);
        repo.git(&["config", "user.email", "dana@example.com"]);
        repo
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.work.path());
        text(finish(command, None, "git"), &format!("git {arguments:?}"))
    }

    pub fn write(&self, path: &str, content: &(impl AsRef<[u8]> + ?Sized)) {
        let path = self.work.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes what a script of an example writes for a version, in place of what is there.
    pub fn check_out(&self, script: &Path, version: &str) {
        for entry in fs::read_dir(self.work.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with(".git") {
                fs::remove_dir_all(path).unwrap();
            } else if path.is_file() {
                fs::remove_file(path).unwrap();
            }
        }
        let mut command = Command::new(script);
        command.arg(version).arg(self.work.path());
        text(finish(command, None, "checkout"), "checkout");
    }

    /// A symbolic link.
    pub fn link(&self, path: &str, to: &str) {
        symlink(to, self.work.path().join(path)).unwrap();
    }

    /// Every commit with its parents, those that were rewritten too.
    fn history(&self) -> BTreeMap<trace::object::Text, Vec<trace::object::Text>> {
        self.git(&["log", "--all", "--reflog", "--format=%H %P"])
            .lines()
            .filter_map(|line| {
                let mut ids = line.split_whitespace().map(Into::into);
                Some((ids.next()?, ids.collect()))
            })
            .collect()
    }

    /// Commits and pushes everything; the commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.push("main");
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Tags what is checked out, here and on the server, in place of an earlier tag of that name.
    pub fn tag(&self, name: &str) {
        self.git(&["tag", "--force", "--annotate", "-m", name, name]);
        let tag = format!("refs/tags/{name}");
        self.git(&["push", "--quiet", "--force", &self.places["REPO_DIR"], &tag]);
    }

    /// How it is reached over https inside the bed.
    pub fn https(&self) -> &str {
        &self.places["REPO_HTTPS"]
    }

    /// How it is reached over ssh inside the bed.
    pub fn ssh(&self) -> &str {
        &self.places["REPO_SSH"]
    }

    /// A clone of what the server has, as an auditor makes it.
    pub fn cloned(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().to_str().unwrap();
        self.git(&["clone", "--quiet", &self.places["REPO_DIR"], to]);
        folder
    }

    /// Takes a branch away on the server.
    pub fn forget(&self, branch: &str) {
        let branch = format!("refs/heads/{branch}");
        self.git(&["--git-dir", &self.places["REPO_DIR"], "update-ref", "-d", &branch]);
    }

    /// Makes a branch on the server what is checked out here.
    pub fn push(&self, branch: &str) {
        let to = format!("HEAD:refs/heads/{branch}");
        self.git(&["push", "--quiet", "--force", &self.places["REPO_DIR"], &to]);
    }
}

/// How a source reaches its repository.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Https,
    Http,
    Ssh,
}

/// What an earlier run on the same bed left of a case.
fn clear(name: &str) {
    kubectl(&["delete", "releasesource", name, "--ignore-not-found"]);
    let secret = format!("git-{name}");
    kubectl(&[
        "-n",
        "slipway-system",
        "delete",
        "secret",
        &secret,
        "--ignore-not-found",
    ]);
    kubectl(&[
        "delete",
        "namespace",
        name,
        "--ignore-not-found",
        "--timeout=120s",
    ]);
}

impl Case {
    /// Namespace, database Secret, repository with a base layer, and a source that follows it.
    pub fn new(name: &str, base: &str) -> Self {
        Self::reached_by(name, base, Way::Https)
    }

    pub fn reached_by(name: &str, base: &str, way: Way) -> Self {
        let ns = name.to_owned();
        clear(name);
        kubectl(&["create", "namespace", &ns]);
        let database = format!("db_{}", name.replace('-', "_"));
        let url = script("db-new", &[&database]);
        values::secret(&ns, "app-db", &[("url", url.trim())]);
        let repo = Repo::new(name);
        repo.write("base/app.yaml", base);
        let case = Self {
            ns,
            repo,
            source: name.to_owned(),
        };
        case.follow(way);
        case
    }

    fn follow(&self, way: Way) {
        let secrets = bed_dir().join("secrets");
        let secret = format!("git-{}", self.source);
        let file = |key: &str, file: &str| format!("--from-file={key}={}", secrets.join(file).display());
        let mut arguments = vec!["-n", "slipway-system", "create", "secret", "generic", &secret];
        let (user, password, key, hosts) = (
            "--from-literal=username=slipway".to_owned(),
            file("password", "git-password"),
            file("identity", "ssh-key"),
            file("known_hosts", "known_hosts"),
        );
        let url = match way {
            Way::Https | Way::Http => {
                arguments.extend([user.as_str(), password.as_str()]);
                let key = if way == Way::Http {
                    "REPO_HTTP"
                } else {
                    "REPO_HTTPS"
                };
                &self.repo.places[key]
            }
            Way::Ssh => {
                arguments.extend([key.as_str(), hosts.as_str()]);
                &self.repo.places["REPO_SSH"]
            }
        };
        kubectl(&arguments);
        apply(&format!(
            "apiVersion: slipway.dev/v1alpha1\nkind: ReleaseSource\nmetadata: {{name: {}}}\nspec:\n  git: {{url: {url}, secret: {secret}}}\n  paths: [base, production]\n  interval: 2s\n  namespaces: [{}]\n",
            self.source, self.ns
        ));
    }

    /// Writes the production layer (fields of `spec`, indented by two) and pushes it.
    pub fn declare(&self, message: &str, fields: &str) -> String {
        let head = format!(
            "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: app, namespace: {}}}\nspec:\n",
            self.ns
        );
        let body: String = fields.lines().map(|line| format!("  {line}\n")).collect();
        self.repo.write("production/app.yaml", &format!("{head}{body}"));
        self.repo.commit(message)
    }

    pub fn release(&self) -> Value {
        get("release", &self.ns, "app").unwrap_or(Value::Null)
    }

    pub fn phase(&self) -> String {
        self.release()["status"]["phase"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    }

    pub fn message(&self) -> String {
        self.release()["status"]["message"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    }

    /// For who reads why a test failed.
    pub fn state(&self) -> String {
        format!("it is {}: {}", self.phase(), self.message())
    }

    /// Waits until the status has this phase for this declared version, and speaks of the present spec.
    pub fn until(&self, phase: &str, version: &str) -> Value {
        wait_telling(
            &format!("{}: {phase} of {version}", self.ns),
            || self.state(),
            || {
                let release = self.release();
                let status = &release["status"];
                let fresh = status["observedGeneration"] == release["metadata"]["generation"];
                (status["phase"] == phase && status["declaredVersion"] == version && fresh)
                    .then(|| release.clone())
            },
        )
    }

    pub fn live(&self, version: &str) -> Value {
        self.until("Live", version)
    }

    pub fn revisions(&self) -> Vec<Value> {
        let mut all = list("releaserevision", &self.ns, "slipway.dev/release=app");
        all.sort_by_key(|revision| revision["spec"]["number"].as_i64());
        all
    }

    pub fn jobs(&self) -> Vec<Value> {
        list("job", &self.ns, "slipway.dev/release=app")
    }

    /// UID and restart count of each pod of the web process that is not on its way out.
    pub fn pod_identities(&self) -> Vec<(String, i64)> {
        identities(list(
            "pod",
            &self.ns,
            "slipway.dev/release=app,slipway.dev/process=web",
        ))
    }

    pub fn deployment(&self) -> Value {
        get("deployment", &self.ns, "app").unwrap_or(Value::Null)
    }

    pub fn service_ip(&self) -> String {
        let service = get("service", &self.ns, "app").expect("a Service");
        service["spec"]["clusterIP"].as_str().unwrap().to_owned()
    }

    pub fn ask(&self, path: &str) -> String {
        exec(&[
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "10",
            "--retry",
            "2",
            "--retry-connrefused",
            &format!("http://{}{path}", self.service_ip()),
        ])
    }

    /// Waits until the source has asked its repository so often, each time to the end, whatever came of it. An attempt
    /// begins when the one before has ended, so one more has to begin.
    pub fn until_asked(&self, times: usize, since: Mark) {
        wait(
            &format!("{}: the repository was asked {times} times", self.ns),
            || (since.fetches(&self.source) > times).then_some(()),
        );
    }

    /// Waits until Slipway has looked at the release so many times more.
    pub fn looked_at(&self, times: usize) {
        let since = Mark::now();
        let word = format!("\"namespace\":\"{}\"", self.ns);
        wait(&format!("{}: looked at {times} times more", self.ns), || {
            let mut looks = since.requests(&["\"verb\":\"get\"", "\"resource\":\"releases\"", &word]);
            looks.retain(|event| event["verb"] == "get" && event["objectRef"]["name"] == "app");
            (looks.len() >= times).then_some(())
        });
    }

    /// Rows of a query on the case's database.
    pub fn sql(&self, query: &str) -> String {
        let secret = get("secret", &self.ns, "app-db").unwrap();
        let url = String::from_utf8(base64(secret["data"]["url"].as_str().unwrap())).unwrap();
        exec(&[
            "psql",
            "-Atc",
            query,
            &url.replacen("ecto://", "postgresql://", 1),
        ])
    }

    fn judge(&self) {
        let (events, coverage) = self.judged(&Mark::start().text());
        println!("{}: {events} events judged: {coverage}", self.ns);
    }

    /// The invariants over everything that happened in this case, as a log of the API server has it: how many events there
    /// were, and what was judged.
    pub fn judged(&self, log: &str) -> (usize, Coverage) {
        let mut trace = audit_log::read(log, &Scope::namespace(SLIPWAY, &self.ns, &self.source));
        trace.git = self.repo.history();
        let verdict = trace::judge(&trace);
        let broken: Vec<String> = verdict.violations.iter().map(ToString::to_string).collect();
        assert!(
            broken.is_empty(),
            "{} breaks invariants:\n{}",
            self.ns,
            broken.join("\n")
        );
        // A case makes its namespace, so its log has the beginning, and nothing was left out for want of it.
        let left_out =
            |judged: &Judged| matches!(judged, Judged::Skipped(lacks) if lacks.contains(&Sight::Beginning));
        let judged = &verdict.coverage.judged;
        let left_out: Vec<_> = judged.iter().filter(|(_, judged)| left_out(judged)).collect();
        assert!(
            left_out.is_empty(),
            "{}: the log begins too late: {left_out:?}",
            self.ns
        );
        // What was rolled out was held against what is rendered of its commit: reading it has not silently stopped.
        let count = |invariant| verdict.coverage.instances(invariant);
        let (rolled_out, compared) = (count(Invariant::S3), count(Invariant::S11));
        assert!(
            rolled_out == 0 || compared > 0,
            "{}: {rolled_out} rollouts were judged, and none was compared with its commit",
            self.ns
        );
        (trace.events.len(), verdict.coverage)
    }

    /// Judges the case, ends the following and takes the namespace away.
    pub fn end(self) {
        self.judge();
        values::judge(&self.ns);
        kubectl(&["delete", "releasesource", &self.source, "--wait=false"]);
        kubectl(&["delete", "namespace", &self.ns, "--wait=false"]);
    }
}

/// What a pod asks of the bed's one node, which has room for those of all tests at a time.
const SMALL: &str = "  resources: {requests: {cpu: 20m}}\n";

/// A release of the small test application.
pub fn probe(ns: &str) -> String {
    format!(
        "apiVersion: slipway.dev/v1alpha1
kind: Release
metadata: {{name: app, namespace: {ns}}}
spec:
  image: registry.bed.test:5000/acme/probe
  port: 8080
  health: /health
  rollout: {{minReady: 1s, drain: 5s, deadline: 4m}}
  verify: {{window: 2s}}
{SMALL}"
    )
}

/// The same with a migration; `more` follows in the list of variables, such as `, NAME: value`.
pub fn migrating(ns: &str, more: &str) -> String {
    format!(
        "{}  migrate: [/app/bin/migrate]\n  env: {{DATABASE_URL: {{secret: app-db/url}}{more}}}\n",
        probe(ns)
    )
}

/// A release of the shop, an Elixir release with migrations.
pub fn shop(ns: &str) -> String {
    format!(
        "apiVersion: slipway.dev/v1alpha1
kind: Release
metadata: {{name: app, namespace: {ns}}}
spec:
  preset: phoenix
  image: registry.bed.test:5000/acme/shop
  health: /health
  env:
    DATABASE_URL: {{secret: app-db/url}}
  rollout: {{minReady: 2s, drain: 10s, deadline: 4m}}
  verify: {{window: 5s}}
{SMALL}"
    )
}
