//! What the tests of the bed speak with: the cluster by kubectl, git, the services, the audit log.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use slipway::trace::{
    self,
    audit::{self as audit_log, Scope},
};

/// The user that Slipway is on the bed.
const SLIPWAY: &str = "system:serviceaccount:slipway-system:slipway";

/// Tests that break a service of the bed run alone; all others together.
static SERVICES: RwLock<()> = RwLock::new(());

/// Held by a test that needs every service of the bed.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    SERVICES.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a test that breaks one.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    SERVICES.write().unwrap_or_else(PoisonError::into_inner)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn bed_name() -> String {
    std::env::var("BED_NAME").unwrap_or_else(|_| "test".to_owned())
}

pub fn bed_dir() -> PathBuf {
    PathBuf::from("/var/lib/slipway-bed").join(bed_name())
}

fn finish(mut command: Command, input: Option<&str>, what: &str) -> Output {
    command.stdin(if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{what}: {e}"));
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes()).unwrap();
    }
    child.wait_with_output().unwrap()
}

fn text(output: Output, what: &str) -> String {
    assert!(
        output.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A script of the bed.
pub fn script(name: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(root().join("tests/bed").join(name));
    command.args(arguments).env("BED_NAME", bed_name());
    text(finish(command, None, name), &format!("{name} {arguments:?}"))
}

fn inside(arguments: &[&str]) -> Command {
    let mut command = Command::new(root().join("tests/bed/bed"));
    command.arg("exec").args(arguments).env("BED_NAME", bed_name());
    command
}

/// A program inside the bed's network.
pub fn exec(arguments: &[&str]) -> String {
    text(
        finish(inside(arguments), None, "bed exec"),
        &format!("{arguments:?}"),
    )
}

/// A program inside the bed that may fail; what it said.
pub fn try_exec(arguments: &[&str], input: &str) -> Result<String, String> {
    let output = finish(inside(arguments), Some(input), "bed exec");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The same in the background.
pub fn spawn(arguments: &[&str]) -> std::process::Child {
    inside(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A program that runs inside the bed until this ends.
pub struct Inside {
    pid: String,
    wrapper: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Inside {
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let log =
            fs::File::create(bed_dir().join("logs").join(format!("{}.log", name_of(arguments)))).unwrap();
        let shell = ["sh", "-c", "echo $$ >\"$0\"; exec \"$@\"", file.to_str().unwrap()];
        let wrapper = inside(&[&shell, arguments].concat())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = wait("a program has started", 30, || {
            let pid = fs::read_to_string(&file).ok()?.trim().to_owned();
            (!pid.is_empty()).then_some(pid)
        });
        Self {
            pid,
            wrapper,
            _folder: folder,
        }
    }

    /// `VmRSS:  1234 kB` as the kernel says it.
    pub fn memory(&self) -> String {
        let status = exec(&["cat", &format!("/proc/{}/status", self.pid)]);
        let line = status.lines().find(|line| line.starts_with("VmRSS"));
        line.unwrap_or("no memory").to_owned()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        exec(&["sh", "-c", "kill \"$0\" || true", &self.pid]);
        let _ = self.wrapper.wait();
    }
}

fn name_of(arguments: &[&str]) -> String {
    let known = |word: &&&str| word.ends_with("slipway") || word.ends_with(".py");
    let word = arguments.iter().find(known).map_or("program", |word| *word);
    word.rsplit('/').next().unwrap_or(word).to_owned()
}

pub fn kubectl(arguments: &[&str]) -> String {
    exec(&[&["kubectl"], arguments].concat())
}

pub fn apply(yaml: &str) {
    let output = finish(
        inside(&["kubectl", "apply", "-f", "-"]),
        Some(yaml),
        "kubectl apply",
    );
    text(output, &format!("kubectl apply of\n{yaml}"));
}

/// An object as JSON; `None` when there is none.
pub fn get(kind: &str, namespace: &str, name: &str) -> Option<Value> {
    let found = kubectl(&[
        "get",
        kind,
        name,
        "-n",
        namespace,
        "--ignore-not-found",
        "-o",
        "json",
    ]);
    (!found.trim().is_empty()).then(|| serde_json::from_str(&found).unwrap())
}

pub fn list(kind: &str, namespace: &str, selector: &str) -> Vec<Value> {
    let found = kubectl(&["get", kind, "-n", namespace, "-l", selector, "-o", "json"]);
    let value: Value = serde_json::from_str(&found).unwrap();
    value["items"].as_array().cloned().unwrap_or_default()
}

/// Waits for something with a generous deadline.
pub fn wait<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// One application in a namespace, a repository and a database of its own.
pub struct Case {
    pub ns: String,
    pub repo: Repo,
    pub source: String,
}

pub struct Repo {
    pub name: String,
    work: tempfile::TempDir,
    bare: String,
}

impl Repo {
    pub fn new(name: &str) -> Self {
        let printed = script("git-new", &[name]);
        let bare = printed
            .lines()
            .find_map(|line| line.strip_prefix("REPO_DIR="))
            .unwrap()
            .to_owned();
        let repo = Self {
            name: name.to_owned(),
            work: tempfile::tempdir().unwrap(),
            bare,
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

    pub fn write(&self, path: &str, content: &str) {
        let path = self.work.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Every commit with its parents, those that were rewritten too.
    fn history(&self) -> std::collections::BTreeMap<trace::event::Text, Vec<trace::event::Text>> {
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
        self.git(&["push", "--quiet", "--force", &self.bare, "HEAD:main"]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }
}

/// How a source reaches its repository.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Https,
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

/// What must not change while something is broken.
pub struct Before {
    pods: Vec<(String, i64)>,
    writes: usize,
}

impl Before {
    pub fn of(case: &Case) -> Self {
        Self {
            pods: case.pod_identities(),
            writes: writes(&case.ns, "deployments").len(),
        }
    }

    pub fn holds(&self, case: &Case) {
        assert_eq!(
            case.pod_identities(),
            self.pods,
            "pods and restart counts are the same"
        );
        assert_eq!(
            writes(&case.ns, "deployments").len(),
            self.writes,
            "no Deployment was written"
        );
    }
}

/// A service of the bed that is broken as long as this lives.
pub struct Broken {
    service: &'static str,
    back: &'static str,
}

impl Broken {
    /// `action` is `stop` or `pause`.
    pub fn by(action: &str, service: &'static str) -> Self {
        script("service", &[action, service]);
        let back = if action == "pause" { "resume" } else { "start" };
        Self { service, back }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        script("service", &[self.back, self.service]);
    }
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
        kubectl(&[
            "-n",
            &ns,
            "create",
            "secret",
            "generic",
            "app-db",
            &format!("--from-literal=url={}", url.trim()),
        ]);
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
            Way::Https => {
                arguments.extend([user.as_str(), password.as_str()]);
                format!("https://git.bed.test/{}.git", self.repo.name)
            }
            Way::Ssh => {
                arguments.extend([key.as_str(), hosts.as_str()]);
                format!("ssh://git@git.bed.test/{}.git", self.repo.name)
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

    /// Waits until the status has this phase for this declared version, and speaks of the present spec.
    pub fn until(&self, phase: &str, version: &str, seconds: u64) -> Value {
        wait(
            &format!(
                "{}: {phase} of {version}, is: {} {}",
                self.ns,
                self.phase(),
                self.message()
            ),
            seconds,
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
        self.until("Live", version, 240)
    }

    pub fn revisions(&self) -> Vec<Value> {
        let mut all = list("releaserevisions", &self.ns, "slipway.dev/release=app");
        all.sort_by_key(|revision| revision["spec"]["number"].as_i64());
        all
    }

    pub fn jobs(&self) -> Vec<Value> {
        list("jobs", &self.ns, "slipway.dev/release=app")
    }

    /// Pods of the web process that are not on their way out.
    pub fn web_pods(&self) -> Vec<Value> {
        let mut pods = list(
            "pods",
            &self.ns,
            "slipway.dev/release=app,slipway.dev/process=web",
        );
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods
    }

    /// UID and restart count of each web pod.
    pub fn pod_identities(&self) -> Vec<(String, i64)> {
        let mut pods: Vec<(String, i64)> = self
            .web_pods()
            .iter()
            .map(|pod| {
                let restarts = pod["status"]["containerStatuses"][0]["restartCount"]
                    .as_i64()
                    .unwrap_or(0);
                (pod["metadata"]["uid"].as_str().unwrap_or("").to_owned(), restarts)
            })
            .collect();
        pods.sort();
        pods
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

    /// The invariants over everything that happened in this case, as the API server logged it.
    fn judge(&self) {
        let log = fs::read_to_string(bed_dir().join("logs/audit.log")).unwrap();
        let mut trace = audit_log::read(&log, &Scope::namespace(SLIPWAY, &self.ns, &self.source));
        trace.git = self.repo.history();
        let verdict = trace::judge(&trace);
        println!(
            "{}: {} events judged: {}",
            self.ns,
            trace.events.len(),
            verdict.coverage
        );
        let broken: Vec<String> = verdict.violations.iter().map(ToString::to_string).collect();
        assert!(
            broken.is_empty(),
            "{} breaks invariants:\n{}",
            self.ns,
            broken.join("\n")
        );
    }

    /// Judges the case, ends the following and takes the namespace away.
    pub fn end(self) {
        self.judge();
        kubectl(&["delete", "releasesource", &self.source, "--wait=false"]);
        kubectl(&["delete", "namespace", &self.ns, "--wait=false"]);
    }
}

pub fn base64(text: &str) -> Vec<u8> {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// Writes of Slipway in the API server's audit log, oldest first.
pub fn audit(namespace: &str) -> Vec<Value> {
    let log = fs::read_to_string(bed_dir().join("logs/audit.log")).unwrap();
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["user"]["username"] == SLIPWAY)
        .filter(|event| {
            ["create", "update", "patch", "delete"]
                .iter()
                .any(|verb| event["verb"] == *verb)
        })
        .filter(|event| namespace.is_empty() || event["objectRef"]["namespace"] == namespace)
        .collect()
}

/// Those that succeeded, of one resource.
pub fn writes(namespace: &str, resource: &str) -> Vec<Value> {
    audit(namespace)
        .into_iter()
        .filter(|event| event["objectRef"]["resource"] == resource)
        .filter(|event| {
            event["responseStatus"]["code"]
                .as_i64()
                .is_some_and(|code| code < 300)
        })
        .filter(|event| !event["requestURI"].as_str().unwrap_or("").contains("dryRun"))
        .collect()
}

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
  rollout: {{minReady: 1s, drain: 5s, deadline: 60s}}
  verify: {{window: 2s}}
"
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
  rollout: {{minReady: 2s, drain: 10s, deadline: 60s}}
  verify: {{window: 5s}}
"
    )
}

/// The end of a background program: its JSON line.
pub fn json_of(child: std::process::Child) -> Value {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(text.trim())
        .unwrap_or_else(|e| panic!("{e}: {text} {}", String::from_utf8_lossy(&output.stderr)))
}

pub fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    static NOTHING: Value = Value::Null;
    object["status"]["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|c| c["type"] == type_))
        .unwrap_or(&NOTHING)
}

pub fn is_true(object: &Value, type_: &str) -> bool {
    condition(object, type_)["status"] == json!("True")
}
