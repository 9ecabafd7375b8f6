//! What happens on a node past Kubernetes: its files, signals to the processes of a pod, and another boot.

use std::{fs, path::PathBuf};

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
    node_files().join("var/log/slipway-kept")
}

/// Keeps the logs of Slipway's pods beyond the pods, to the last line: the kubelet takes its own names of them away, and
/// these are others.
pub fn keep_logs() {
    let kept = kept_logs();
    for pod in fs::read_dir(node_files().join("var/log/pods")).unwrap() {
        let pod = pod.unwrap();
        if !pod.file_name().to_string_lossy().starts_with("slipway-system_") {
            continue;
        }
        for file in fs::read_dir(pod.path().join("controller")).into_iter().flatten() {
            let file = file.unwrap().path();
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let folder = kept.join(pod.file_name());
            fs::create_dir_all(&folder).unwrap();
            // It may be kept already.
            let _ = fs::hard_link(&file, folder.join(name));
        }
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
