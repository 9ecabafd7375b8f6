//! What the tests of the bed speak with: its programs, the cluster by kubectl, its services.

mod api;
mod audit;
mod before;
pub mod blobs;
mod builds;
pub mod canary;
mod case;
mod images;
mod metrics;
mod node;
mod outside;
pub mod values;
mod words;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

pub use self::{
    api::{create, delete, get, list},
    audit::{Mark, audit, received, writes},
    before::Before,
    builds::{Asker, BUILDS, annotate, credentials, exec_in, key, repository, source, watch_build},
    case::{Case, Repo, Way, migrating, probe, shop},
    images::{pushed, saying, saying_nothing, with_variable},
    metrics::{Metrics, until_asked_again},
    node::{AnotherBoot, LostSoon, keep_logs, kept_logs, node_files, processes, signal},
    outside::{Outside, Part, Process, Rights},
    values::{canary, secret, set},
    words::{explained, slipway, slipway_alone, watching},
};

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

/// `VmRSS:  1234 kB` of a process as the kernel says it.
pub fn memory(pid: &str) -> String {
    let status = exec(&["cat", &format!("/proc/{pid}/status")]);
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.unwrap_or("no memory").to_owned()
}

/// A program that runs inside the bed until this ends.
pub struct Inside {
    pid: String,
    wrapper: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Inside {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_as(&name_of(arguments), arguments)
    }

    /// `name` is that of its log. Where several are started one after the other, the log has what all of them said.
    pub fn start_as(name: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(bed_dir().join("logs").join(format!("{name}.log")))
            .unwrap();
        let shell = ["sh", "-c", "echo $$ >\"$0\"; exec \"$@\"", file.to_str().unwrap()];
        let wrapper = inside(&[&shell, arguments].concat())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = wait("a program has started", || {
            let pid = fs::read_to_string(&file).ok()?.trim().to_owned();
            (!pid.is_empty()).then_some(pid)
        });
        Self {
            pid,
            wrapper,
            _folder: folder,
        }
    }
}

impl Inside {
    /// What it takes of memory, in the kernel's words.
    pub fn memory(&self) -> String {
        memory(&self.pid)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        exec(&["sh", "-c", "kill \"$0\" || true", &self.pid]);
        let _ = self.wrapper.wait();
    }
}

fn name_of(arguments: &[&str]) -> String {
    let known = |word: &&&str| word.ends_with("slipway") || word.rsplit('.').next() == Some("py");
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

/// Waits until the API server serves a kind. A definition that is a moment old has no conditions, which `kubectl wait` takes
/// for a mistake.
pub fn established(definition: &str) {
    wait(&format!("{definition} is served"), || {
        let definition = get("customresourcedefinition", "", definition)?;
        is_true(&definition, "Established").then_some(())
    });
}

/// Generous, since three beds share a machine of two processors: it is reached by what never comes.
const DEADLINE: Duration = Duration::from_secs(480);

/// Waits for something.
pub fn wait<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_telling(what, String::new, look)
}

/// Waits for something, and tells how things are when it does not come.
pub fn wait_telling<T>(what: &str, state: impl Fn() -> String, look: impl FnMut() -> Option<T>) -> T {
    wait_within(DEADLINE, what, state, look)
}

/// As [`wait_telling`], for what takes longer than anything else.
pub fn wait_within<T>(
    deadline: Duration,
    what: &str,
    state: impl Fn() -> String,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < end,
            "not within {} s: {what} {}",
            deadline.as_secs(),
            state()
        );
        std::thread::sleep(Duration::from_millis(250));
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

/// The installed controller stands aside as long as this lives.
pub struct Aside(String);

impl Aside {
    pub fn new() -> Self {
        let deployment = get("deployment", "slipway-system", "slipway").expect("Slipway is installed");
        let replicas = deployment["spec"]["replicas"].to_string();
        keep_logs();
        scale("0");
        wait("the installed controller has ended", || {
            kubectl(&["-n", "slipway-system", "get", "pods", "-o", "name"])
                .trim()
                .is_empty()
                .then_some(())
        });
        Self(replicas)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        scale(&self.0);
    }
}

fn scale(replicas: &str) {
    let replicas = format!("--replicas={replicas}");
    kubectl(&[
        "-n",
        "slipway-system",
        "scale",
        "deployment",
        "slipway",
        &replicas,
    ]);
}

pub fn base64(text: &str) -> Vec<u8> {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.decode(text).unwrap()
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
