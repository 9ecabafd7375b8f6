//! What builds are given: Secrets of the namespace where they run, sources of examples; and what can be seen of one.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Case, Repo, bed_dir, bed_name, json_of, kubectl, list, spawn, try_exec, wait_within};

/// Where builds run.
pub const BUILDS: &str = "slipway-builds";

/// A Secret with which the git server of the bed is asked, for this repository alone.
pub fn credentials(name: &str, url: &str) {
    let password = format!(
        "--from-file=password={}",
        bed_dir().join("secrets/git-password").display()
    );
    let arguments = ["-n", BUILDS, "delete", "secret", name, "--ignore-not-found"];
    kubectl(&arguments);
    kubectl(&[
        "-n",
        BUILDS,
        "create",
        "secret",
        "generic",
        name,
        "--from-literal=username=slipway",
        &password,
    ]);
    annotate(name, url);
}

/// The same over ssh, in place of the Secret of that name: a key, and by what the server is known.
pub fn key(name: &str, url: &str) {
    let file = |key: &str, file: &str| {
        format!(
            "--from-file={key}={}",
            bed_dir().join("secrets").join(file).display()
        )
    };
    let (identity, hosts) = (file("identity", "ssh-key"), file("known_hosts", "known_hosts"));
    kubectl(&["-n", BUILDS, "delete", "secret", name, "--ignore-not-found"]);
    kubectl(&[
        "-n", BUILDS, "create", "secret", "generic", name, &identity, &hosts,
    ]);
    annotate(name, url);
}

/// Says for which repositories a Secret is.
pub fn annotate(name: &str, url: &str) {
    let what = format!("slipway.dev/for={url}");
    kubectl(&["-n", BUILDS, "annotate", "--overwrite", "secret", name, &what]);
}

/// Where images of a test go. Another run with the same bed has other commits, which are no images of these.
pub fn repository(name: &str) -> String {
    format!("built/{name}-{}", std::process::id())
}

/// The source of a version of an example, with a text of one test alone in a file of it, tagged.
pub fn source(app: &Repo, example: &str, version: &str, (file, text): (&str, &str)) -> String {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    app.check_out(&examples.join(example).join("checkout"), version);
    app.write(file, text);
    let commit = app.commit(&format!("{example} {version}"));
    app.tag(&format!("v{version}"));
    commit
}

/// A build of a real application, on a machine that does much else.
const A_BUILD: Duration = Duration::from_secs(1200);

/// What could be seen of a build from outside.
pub struct Figures {
    pub seconds: f64,
    /// Steps of instructions, and those of them that were found in the cache.
    pub steps: usize,
    pub cached: usize,
    /// The most memory that its pod had, page cache included, in MiB.
    pub peak: u64,
    /// What the builder printed.
    pub log: String,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            seconds,
            steps,
            cached,
            peak,
            ..
        } = self;
        write!(
            f,
            "{seconds:.1} s, {cached} of {steps} steps from the cache, {peak} MiB"
        )
    }
}

/// Looks at the build of a case until the release has this phase.
pub fn watch_build(case: &Case, phase: &str, version: &str) -> Figures {
    let began = Instant::now();
    let (mut log, mut peak, mut seconds) = (String::new(), 0, 0.0);
    wait_within(
        A_BUILD,
        &format!("{}: {phase} of {version}", case.ns),
        || case.state(),
        || {
            for pod in list("pod", BUILDS, "slipway.dev/build") {
                if !pod.to_string().contains(&repository(&case.ns)) {
                    continue;
                }
                seconds = began.elapsed().as_secs_f64();
                peak = peak.max(memory_peak(pod["metadata"]["uid"].as_str().unwrap()));
                let name = pod["metadata"]["name"].as_str().unwrap();
                let more = try_exec(&["kubectl", "-n", BUILDS, "logs", name, "-c", "build"], "");
                if let Ok(more) = more
                    && more.len() > log.len()
                {
                    log = more;
                }
            }
            let release = case.release();
            let status = &release["status"];
            let (is, of) = (&status["phase"], &status["declaredVersion"]);
            assert!(
                of != version || is == phase || !is.as_str().unwrap_or_default().starts_with("Failed"),
                "{}",
                case.state()
            );
            (is == phase && of == version).then_some(())
        },
    );
    let (steps, cached) = steps(&log);
    Figures {
        seconds,
        steps,
        cached,
        peak,
        log,
    }
}

/// Of the steps of a log how many are instructions, and how many of those were found in the cache.
fn steps(log: &str) -> (usize, usize) {
    let number = |line: &str| line.strip_prefix('#')?.split(' ').next()?.parse::<u32>().ok();
    let instruction = |line: &&str| {
        let name = line.split_once(' ').map_or("", |(_, rest)| rest);
        name.starts_with('[') && !name.starts_with("[internal]")
    };
    let of: BTreeSet<u32> = log.lines().filter(instruction).filter_map(number).collect();
    let cached: BTreeSet<u32> = log
        .lines()
        .filter(|line| line.ends_with(" CACHED"))
        .filter_map(number)
        .collect();
    (of.len(), of.intersection(&cached).count())
}

fn memory_peak(uid: &str) -> u64 {
    let pods = Path::new("/sys/fs/cgroup/memory").join(format!("slipway-bed-{}", bed_name()));
    let of = |class: &str| pods.join("kubepods").join(class).join(format!("pod{uid}"));
    let files = ["burstable", "besteffort", ""].map(|class| of(class).join("memory.max_usage_in_bytes"));
    let peak = files.iter().find_map(|file| fs::read_to_string(file).ok());
    peak.and_then(|peak| peak.trim().parse::<u64>().ok()).unwrap_or(0) >> 20
}

/// A program in the first web pod of a case.
pub fn exec_in(case: &Case, command: &[&str]) -> Result<String, String> {
    let pods = list("pod", &case.ns, "slipway.dev/release=app,slipway.dev/process=web");
    let running =
        |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] == "Running";
    let pod = pods.iter().find(running).expect("a pod that runs");
    let name = pod["metadata"]["name"].as_str().unwrap();
    try_exec(
        &[&["kubectl", "-n", &case.ns, "exec", name, "--"], command].concat(),
        "",
    )
}

/// A client that asks for something again and again.
pub struct Asker {
    child: Child,
    folder: tempfile::TempDir,
}

impl Asker {
    pub fn new(url: &str, rate: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bed/ask.py");
        let folder = tempfile::tempdir().unwrap();
        let stop = folder.path().join("stop");
        let (script, stop) = (script.to_str().unwrap(), stop.to_str().unwrap());
        let options = [
            "--rate",
            rate,
            "--seconds",
            "1500",
            "--timeout",
            "30",
            "--stop-file",
            stop,
        ];
        let child = spawn(&[&["python3", script, "--url", url][..], &options].concat());
        Self { child, folder }
    }

    /// What it has seen.
    pub fn end(self) -> Value {
        fs::write(self.folder.path().join("stop"), "").unwrap();
        json_of(self.child)
    }
}
