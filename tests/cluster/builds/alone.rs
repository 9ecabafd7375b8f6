//! The controller is killed while a build comes about, both replicas of it at once. What comes of it is one build, one image and
//! one revision, judged by the audit log and the registry.
//!
//! What disturbs others or is disturbed by them: `.ci/bed-test.sh` runs it on a bed of its own.

use serde_json::Value;

use super::{
    super::support::{
        Aside, BUILDS, Broken, Case, Mark, Repo, alone, get, keep_logs, kubectl, list, processes, pushed,
        signal, try_exec, wait, wait_telling,
    },
    TINY, begun, newest, repository, runs_of, tiny, version,
};

const SYSTEM: &str = "slipway-system";

// === the controller ===

/// The pods of the controller, once each of them is ready.
fn controllers() -> Vec<String> {
    wait("the controller runs with all its replicas", || {
        let deployment = get("deployment", SYSTEM, "slipway")?;
        let all = list("pod", SYSTEM, "app.kubernetes.io/name=slipway");
        let names = all
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned());
        let names: Vec<String> = names.collect();
        let wanted = deployment["spec"]["replicas"].as_u64()?;
        let ready = deployment["status"]["availableReplicas"].as_u64() == Some(wanted);
        (ready && names.len() as u64 == wanted && all.len() == names.len()).then_some(names)
    })
}

/// The controller, at a stand: it hears no request to end, and writes nothing more.
struct Frozen {
    pods: Vec<String>,
    processes: Vec<String>,
}

impl Frozen {
    fn now(pods: Vec<String>) -> Self {
        let processes: Vec<String> = pods.iter().flat_map(|pod| processes(SYSTEM, pod)).collect();
        signal("STOP", &processes);
        Self { pods, processes }
    }

    /// As a lost node would end it. Others come in its place.
    fn kill(self) {
        keep_logs();
        for pod in &self.pods {
            kubectl(&["-n", SYSTEM, "delete", "pod", pod, "--grace-period=0", "--force"]);
        }
        signal("KILL", &self.processes);
    }
}

// === one build ===

/// A build that is to be disturbed.
struct Trial {
    case: Case,
    /// Pods of the controller as they were before.
    pods: Vec<String>,
    image: String,
    commit: String,
    since: Mark,
}

impl Trial {
    /// Nothing is declared yet. The build takes at least so many seconds.
    fn new(ns: &str, seconds: u32) -> Self {
        let pods = controllers();
        let app = Repo::new(&format!("{ns}-app"));
        let case = Case::new(ns, &tiny(ns, &app, "{}"));
        let commit = version(&app, "1.0.0", &format!("{TINY}RUN sleep {seconds}\n"), &[]);
        Self {
            case,
            pods,
            image: format!("registry.bed.test:5000/{}:1.0.0", repository(ns)),
            commit,
            since: Mark::now(),
        }
    }

    fn declare(&self) {
        self.case.declare("to be built", "version: 1.0.0");
    }

    fn kill(&self) {
        Frozen::now(self.pods.clone()).kill();
    }

    /// The name of its Job, once there is one.
    fn job(&self) -> String {
        wait_telling(
            "its Job is there",
            || self.case.state(),
            || {
                let begun = begun(self.since, &self.image);
                Some(begun.first()?.1["metadata"]["name"].as_str()?.to_owned())
            },
        )
    }

    fn pod(&self) -> Option<Value> {
        let selector = format!("batch.kubernetes.io/job-name={}", self.job());
        list("pod", BUILDS, &selector).pop()
    }

    /// What the node says of a container of it.
    fn container(&self, name: &str) -> Option<Value> {
        let status = self.pod()?["status"].clone();
        let of = |key: &str| status[key].as_array().cloned().unwrap_or_default();
        let mut all = [of("initContainerStatuses"), of("containerStatuses")].concat();
        all.retain(|container| container["name"] == name);
        all.pop()
    }

    fn until_runs(&self, name: &str) -> Value {
        wait_telling(
            &format!("its container {name} runs"),
            || self.case.state(),
            || {
                self.container(name)
                    .filter(|container| container["state"]["running"].is_object())
            },
        )
    }

    /// Waits until its Dockerfile's last step runs: all that is fetched for it was fetched.
    fn until_it_builds(&self) {
        wait_telling(
            "its last step runs",
            || self.case.state(),
            || self.case.message().contains("RUN sleep").then_some(()),
        );
    }

    /// One Job, one image, one revision, and nothing left over.
    fn ends_well(self) {
        self.case.live("1.0.0");
        let begun = begun(self.since, &self.image);
        let runs: Vec<u32> = begun.iter().map(|(run, _)| *run).collect();
        assert_eq!(runs, [1], "{}: one build", self.case.ns);
        let (digest, _) = pushed(&self.image).expect("the registry has it");
        let revisions = self.case.revisions();
        assert_eq!(revisions.len(), 1, "{}: {revisions:?}", self.case.ns);
        let pinned = &newest(&self.case)["spec"]["image"];
        assert_eq!(pinned["digest"], digest.as_str(), "{pinned}");
        assert_eq!(pinned["sourceCommit"], self.commit.as_str(), "{pinned}");
        // It is known as its own, and not as one that was found.
        let obtained = pinned["obtained"].as_str().unwrap();
        assert!(
            obtained.starts_with("build-") && obtained.contains(" of commit "),
            "{pinned}"
        );
        nothing_left(&self.case);
        self.case.end();
    }
}

fn nothing_left(case: &Case) {
    let of = |pod: &Value| pod.to_string().contains(&repository(&case.ns));
    wait_telling(
        "nothing of its builds is left",
        || format!("{:?}", list("pod", BUILDS, "slipway.dev/build")),
        || {
            let pods = list("pod", BUILDS, "slipway.dev/build");
            (runs_of(case) == 0 && !pods.iter().any(of)).then_some(())
        },
    );
}

/// No pod finds a node as long as this lives.
struct Cordoned;

impl Cordoned {
    fn now() -> Self {
        kubectl(&["cordon", "--selector=kubernetes.io/os=linux"]);
        Self
    }
}

impl Drop for Cordoned {
    fn drop(&mut self) {
        kubectl(&["uncordon", "--selector=kubernetes.io/os=linux"]);
    }
}

// === the moments ===

#[test]
fn killed_right_after_the_job_is_made_it_finds_the_job() {
    let _services = alone();
    let trial = Trial::new("build-kill-made", 1);
    let cordoned = Cordoned::now();
    trial.declare();
    trial.job();
    trial.kill();
    drop(cordoned);
    trial.ends_well();
}

#[test]
fn killed_while_the_source_is_fetched_it_waits_for_the_same_build() {
    let _services = alone();
    let trial = Trial::new("build-kill-fetch", 1);
    let cordoned = Cordoned::now();
    trial.declare();
    trial.job();
    // The commit is known; who fetches it finds a server that accepts and says nothing.
    let git = Broken::by("pause", "git");
    drop(cordoned);
    trial.until_runs("fetch");
    trial.kill();
    assert!(
        trial.container("fetch").unwrap()["state"]["running"].is_object(),
        "it was killed during the fetch"
    );
    drop(git);
    trial.ends_well();
}

#[test]
fn killed_while_it_builds_it_waits_for_the_same_build() {
    let _services = alone();
    let trial = Trial::new("build-kill-build", 15);
    trial.declare();
    trial.until_it_builds();
    trial.kill();
    trial.ends_well();
}

#[test]
fn killed_while_the_image_is_pushed_it_waits_for_the_same_push() {
    let _services = alone();
    let trial = Trial::new("build-kill-push", 15);
    trial.declare();
    trial.until_it_builds();
    let build = trial.until_runs("build");
    let id = build["containerID"].as_str().unwrap();
    let id = id.strip_prefix("containerd://").unwrap().to_owned();
    // Without the kubelet the push does not begin before the registry stands still.
    let kubelet = Broken::by("stop", "kubelet");
    wait("the builder has ended", || {
        let look = "grep -ls \"$0\" /proc/[0-9]*/cgroup || true";
        let left = try_exec(&["sh", "-c", look, &id], "").unwrap();
        left.trim().is_empty().then_some(())
    });
    let registry = Broken::by("pause", "registry");
    drop(kubelet);
    trial.until_runs("push");
    trial.kill();
    assert!(
        trial.container("push").unwrap()["state"]["running"].is_object(),
        "it was killed during the push"
    );
    drop(registry);
    trial.ends_well();
}

#[test]
fn killed_between_the_push_and_its_revision_it_takes_what_was_pushed() {
    let _services = alone();
    let trial = Trial::new("build-kill-pushed", 20);
    trial.declare();
    trial.until_it_builds();
    let frozen = Frozen::now(trial.pods.clone());
    let job = trial.job();
    wait("the build is complete", || {
        let conditions = get("job", BUILDS, &job)?["status"]["conditions"].clone();
        let complete = |one: &Value| one["type"] == "Complete" && one["status"] == "True";
        conditions.as_array()?.iter().any(complete).then_some(())
    });
    assert!(pushed(&trial.image).is_some(), "the registry has it");
    assert_eq!(
        trial.case.revisions(),
        Vec::<Value>::new(),
        "and nobody knows yet"
    );
    frozen.kill();
    trial.ends_well();
}

#[test]
fn a_version_declared_while_nobody_looks_ends_the_build_of_the_one_before() {
    let _services = alone();
    controllers();
    let ns = "build-kill-newer";
    let app = Repo::new("build-kill-newer-app");
    let case = Case::new(ns, &tiny(ns, &app, "{}"));
    let image = |version: &str| format!("registry.bed.test:5000/{}:{version}", repository(ns));
    let since = Mark::now();
    version(&app, "1.0.0", &format!("{TINY}RUN sleep 900\n"), &[]);
    case.declare("slow", "version: 1.0.0");
    wait_telling(
        "it is being built",
        || case.state(),
        || case.message().contains("RUN sleep 900").then_some(()),
    );
    let aside = Aside::new();
    version(&app, "1.1.0", TINY, &[]);
    case.declare("newer", "version: 1.1.0");
    drop(aside);
    case.live("1.1.0");
    nothing_left(&case);
    let builds = ["1.0.0", "1.1.0"].map(|version| begun(since, &image(version)).len());
    assert_eq!(builds, [1, 1], "one build of each");
    assert!(pushed(&image("1.0.0")).is_none(), "the old one was not pushed");
    assert!(pushed(&image("1.1.0")).is_some());
    assert_eq!(case.revisions().len(), 1);
    case.end();
}
