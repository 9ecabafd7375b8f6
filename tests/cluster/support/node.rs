//! What happens on a node past Kubernetes: signals to the processes of a pod, and another boot.

use std::fs;

use super::{bed_dir, exec, get, script};

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
