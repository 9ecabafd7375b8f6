//! What happens on a node past Kubernetes: its files, signals to the processes of a pod, and another boot.

use std::{
    fs,
    io::ErrorKind::{AlreadyExists, NotFound},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{bed_dir, exec, get, script};

/// The file system of the node, as its own processes see it.
pub fn node_files() -> PathBuf {
    let holder = fs::read_to_string(bed_dir().join("run/holder.pid")).unwrap();
    let holder = holder.split_whitespace().next().unwrap();
    let children = fs::read_to_string(format!("/proc/{holder}/task/{holder}/children")).unwrap();
    let node = children.split_whitespace().next().expect("the bed runs");
    PathBuf::from(format!("/proc/{node}/root"))
}

/// Where the logs of Slipway's pods that are gone are kept for the search at the end.
pub fn kept_logs() -> PathBuf {
    bed_dir().join("logs/kept-pods")
}

/// Keeps the logs of Slipway's pods beyond the pods, to the last line: the kubelet takes its own names of them away, and
/// these are others.
pub fn keep_logs() {
    let kept = kept_logs();
    // Not as the node sees them: there they are a mount of their own, over whose edge nothing can be linked.
    for pod in fs::read_dir(bed_dir().join("logs/pods")).unwrap() {
        let pod = pod.unwrap();
        if !pod.file_name().to_string_lossy().starts_with("slipway-system_") {
            continue;
        }
        let folder = kept.join(pod.file_name());
        for file in fs::read_dir(pod.path().join("controller")).into_iter().flatten() {
            keep(&file.unwrap().path(), &folder);
        }
    }
    let pods = fs::read_dir(&kept).into_iter().flatten();
    assert!(
        pods.flatten()
            .any(|pod| fs::read_dir(pod.path()).unwrap().next().is_some()),
        "no log of a pod of Slipway is kept in {}",
        kept.display()
    );
}

/// A second name of a file, which gets what is still written to it; a copy where there can be none.
fn keep(file: &Path, folder: &Path) {
    // The kubelet may have taken it away, with its pod, or packed it.
    let Ok(about) = fs::metadata(file) else {
        return;
    };
    fs::create_dir_all(folder).unwrap();
    // The name of a log that was full is given to the next one.
    let name = file.file_name().unwrap().to_string_lossy();
    let name = folder.join(format!("{}-{name}", about.ino()));
    let linked =
        !file.is_symlink() && !fs::hard_link(file, &name).is_err_and(|error| error.kind() != AlreadyExists);
    if !linked && let Err(error) = fs::copy(file, &name) {
        assert!(
            error.kind() == NotFound,
            "{} cannot be kept: {error}",
            file.display()
        );
    }
}

/// The processes of a pod's container, as the bed numbers them, oldest first.
pub fn processes(namespace: &str, pod: &str) -> Vec<String> {
    let pod = get("pod", namespace, pod).unwrap();
    let container = pod["status"]["containerStatuses"][0]["containerID"]
        .as_str()
        .unwrap();
    let id = container.strip_prefix("containerd://").unwrap();
    let look = "grep -ls \"$0\" /proc/[0-9]*/cgroup | cut -d/ -f3 | sort -n";
    let found: Vec<String> = exec(&["sh", "-c", look, id]).lines().map(str::to_owned).collect();
    assert!(!found.is_empty(), "{container} has a process");
    found
}

/// One that has ended by itself needs no signal.
pub fn signal(signal: &str, processes: &[String]) {
    let mut command = vec!["sh", "-c", "kill -s \"$0\" \"$@\" || true", signal];
    command.extend(processes.iter().map(String::as_str));
    exec(&command);
}

/// Where the kernel says which boot this is; the kubelet reads it when it starts.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The node says that it was booted anew, as long as this lives.
pub struct AnotherBoot;

impl AnotherBoot {
    /// While the kubelet is stopped, as it is during a boot.
    pub fn of_the_node() -> Self {
        let file = bed_dir().join("boot-id");
        fs::write(&file, "11111111-2222-4333-8444-555555555555\n").unwrap();
        exec(&["mount", "--bind", file.to_str().unwrap(), BOOT_ID]);
        Self
    }
}

impl Drop for AnotherBoot {
    fn drop(&mut self) {
        exec(&["umount", BOOT_ID]);
        for action in ["stop", "start"] {
            script("service", &[action, "kubelet"]);
        }
    }
}

/// A silent node is given up after ten seconds as long as this lives, instead of the 50 that Kubernetes gives. The kubelet must be
/// stopped all the while: it says only each ten seconds that it lives.
pub struct LostSoon;

impl LostSoon {
    pub fn is_a_silent_node() -> Self {
        script("service", &["stop", "controller-manager"]);
        script("service", &["start", "controller-manager", "10s"]);
        Self
    }
}

impl Drop for LostSoon {
    fn drop(&mut self) {
        for action in ["stop", "start"] {
            script("service", &[action, "controller-manager"]);
        }
    }
}
