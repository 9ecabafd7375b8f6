//! Dockerfiles that mean harm, each with what contains it.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::support::{
    BUILDS, Case, Mark, Repo, bed_name, credentials, get, list, node_files, probe, repository, shared,
    try_exec, wait_telling,
};

const BASE: &str = "FROM registry.bed.test:5000/acme/probe:1.0.0\nUSER 0\n";

/// A release of the probe that is built from a repository.
fn case(ns: &str, app: &Repo, timeout: &str) -> Case {
    credentials(ns, app.https());
    let base = format!(
        "{}  replicas: 1\n  source: {{git: {}, secret: {ns}}}\n  build: {{timeout: {timeout}}}\n",
        probe(ns).replace("acme/probe", &repository(ns)),
        app.https(),
    );
    Case::new(ns, &base)
}

fn version(app: &Repo, version: &str, dockerfile: &str) {
    app.write("Dockerfile", dockerfile);
    app.commit(version);
    app.tag(&format!("v{version}"));
}

fn pod(case: &Case) -> Option<Value> {
    let of = |pod: &Value| pod.to_string().contains(&repository(&case.ns));
    list("pod", BUILDS, "slipway.dev/build").into_iter().find(of)
}

/// Until it has this phase; `look` is given its pod all the time, and what the builder printed is returned.
fn build(case: &Case, phase: &str, version: &str, mut look: impl FnMut(&Value)) -> String {
    let mut log = String::new();
    wait_telling(
        &format!("{}: {phase} of {version}", case.ns),
        || format!("{}\n{log}", case.state()),
        || {
            if let Some(pod) = pod(case) {
                look(&pod);
            }
            let status = &case.release()["status"];
            (status["phase"] == phase && status["declaredVersion"] == version).then_some(())
        },
    );
    if let Some(pod) = pod(case) {
        let name = pod["metadata"]["name"].as_str().unwrap();
        log = try_exec(&["kubectl", "-n", BUILDS, "logs", name, "-c", "build"], "").unwrap_or_default();
    }
    log
}

fn runs_of(case: &Case, since: &Mark) -> usize {
    let made = since.created(BUILDS, "jobs");
    let of = |event: &&Value| event["requestObject"].to_string().contains(&repository(&case.ns));
    made.iter().filter(of).count()
}

/// Each line says what was tried, and what came of it; the last one ends the build, so that its pod stays to be read.
const TRIES: &str = r#"RUN ls /var/run/secrets/kubernetes.io/serviceaccount 2>&1 | sed 's/^/token: /'; \
  for root in /proc/[0-9]*/root; do ls "$root/var/run/secrets/kubernetes.io" 2>/dev/null; done | sed 's/^/token: found /'; \
  curl -sk -m 10 -o /dev/null -w 'api: %{http_code}\n' https://10.96.0.1/api/v1/namespaces/kube-system/secrets; \
  curl -sk -m 10 -o /dev/null -w 'api: %{http_code}\n' -X POST https://10.96.0.1/api/v1/namespaces/default/pods; \
  (echo hostile >/proc/sys/kernel/hostname) 2>&1 | sed 's/^/kernel: /'; \
  (mknod /tmp/disk b 254 0 && head -c 512 /tmp/disk | wc -c) 2>&1 | sed 's/^/disk: /'; \
  (mkdir -p /tmp/node && mount -t ext4 /dev/vda /tmp/node) 2>&1 | sed 's/^/mount: /'; \
  for root in /proc/[0-9]*/root; do touch "$root/hostile-was-here" "$root/var/hostile-was-here"; done 2>/dev/null; \
  touch /sys/fs/cgroup/hostile-was-here 2>&1 | sed 's/^/cgroup: /'; \
  echo "user: $(cat /proc/self/uid_map | tr -s ' ')"; exit 9
"#;

#[test]
fn a_build_has_no_token_and_no_rights_and_writes_nothing_to_its_node() {
    let _services = shared();
    let ns = "hostile-node";
    let app = Repo::new("hostile-node-app");
    let case = case(ns, &app, "5m");
    version(&app, "1.0.0", &format!("{BASE}{TRIES}"));
    case.declare("1.0.0", "version: 1.0.0");
    let log = build(&case, "Failed(BuildFailed)", "1.0.0", |_| {});
    let said = |what: &str| -> Vec<String> {
        // `#6 0.158 token: …`
        let of_step = |line: &str| {
            let mut parts = line.splitn(3, ' ');
            let printed = parts.next()?.starts_with('#') && parts.next()?.parse::<f64>().is_ok();
            let words = parts.next()?.strip_prefix(&format!("{what}: "))?.trim();
            printed.then(|| words.to_owned())
        };
        log.lines().filter_map(of_step).collect()
    };
    println!("{log}");
    // No token in the step, and none that the builder's own files have.
    assert!(
        said("token").iter().all(|line| line.contains("No such file")),
        "{log}"
    );
    // The API server is reached, and knows nobody.
    let answers = said("api");
    assert_eq!(answers.len(), 2, "{log}");
    assert!(
        answers.iter().all(|code| ["401", "403"].contains(&code.as_str())),
        "{log}"
    );
    for what in ["kernel", "disk", "mount"] {
        let lines = said(what);
        let refused = |line: &String| {
            [
                "ermission denied",
                "Read-only",
                "not permitted",
                "No such file",
                "denied",
            ]
            .iter()
            .any(|words| line.contains(words))
        };
        assert!(!lines.is_empty() && lines.iter().any(refused), "{what}: {log}");
    }
    let cgroup = said("cgroup");
    assert!(
        !cgroup.is_empty() && cgroup.iter().all(|line| !line.is_empty()),
        "it could not: {log}"
    );
    // It is an ordinary user of the node.
    let maps = said("user");
    assert!(
        !maps.is_empty() && maps.iter().all(|map| !map.starts_with("0 0 ")),
        "{log}"
    );
    // What contains it where a network plugin does: the bed has none, so that it is there is all that is seen.
    let policy = get("networkpolicy", BUILDS, "slipway-build").expect("a NetworkPolicy of builds");
    assert_eq!(policy["spec"]["podSelector"], serde_json::json!({}));
    assert_eq!(
        policy["spec"]["policyTypes"],
        serde_json::json!(["Ingress", "Egress"])
    );
    assert!(
        policy["spec"]["ingress"].is_null(),
        "nobody may come in: {policy}"
    );
    for place in ["hostile-was-here", "var/hostile-was-here"] {
        assert!(!node_files().join(place).exists() && !Path::new("/").join(place).exists());
    }
    assert_ne!(
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(),
        "hostile"
    );
    case.end();
}

/// As many processes as there may be, for so long that others can be looked at meanwhile.
const FORKS: &str = r#"RUN python3 -c 'exec("import os, time\nend, refused = time.time() + 90, 0\nwhile time.time() < end:\n try:\n  if os.fork() == 0: os.closerange(0, 3), time.sleep(600)\n except OSError:\n  refused += 1\n  time.sleep(0.05)\nprint(\"refused:\", refused)")'; false
"#;

#[test]
fn a_build_that_forks_without_end_is_bounded_and_others_go_on() {
    let _services = shared();
    let ns = "hostile-forks";
    let app = Repo::new("hostile-forks-app");
    let case = case(ns, &app, "5m");
    let beside = Case::new("hostile-beside", &probe("hostile-beside"));
    version(&app, "1.0.0", &format!("{BASE}{FORKS}"));
    case.declare("1.0.0", "version: 1.0.0");
    let (mut most, mut declared, mut went_on) = (0, false, false);
    let log = build(&case, "Failed(BuildFailed)", "1.0.0", |pod| {
        let now = processes(pod["metadata"]["uid"].as_str().unwrap());
        most = most.max(now);
        if now >= 500 && !declared {
            beside.declare("beside", "version: 1.0.0\nreplicas: 1");
            declared = true;
        }
        went_on |= declared && now >= 500 && beside.phase() == "Live";
    });
    println!(
        "a build that forks had {most} processes at most: {}",
        case.message()
    );
    let refused = log
        .lines()
        .find_map(|line| line.split_once("refused: ")?.1.trim().parse::<u64>().ok());
    assert!(refused.is_some_and(|refused| refused > 0), "{log}");
    assert!((500..=1024).contains(&most), "{most}");
    assert!(went_on, "the node has room for others while it forks");
    beside.end();
    case.end();
}

/// How many processes a pod has.
fn processes(uid: &str) -> u64 {
    let pods =
        Path::new("/sys/fs/cgroup/pids").join(format!("slipway-bed-{}/kubepods/burstable", bed_name()));
    let current = fs::read_to_string(pods.join(format!("pod{uid}/pids.current")));
    current
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

#[test]
fn a_build_that_fills_the_disk_is_evicted_says_so_and_is_not_tried_again() {
    let _services = shared();
    let ns = "hostile-disk";
    let app = Repo::new("hostile-disk-app");
    let case = case(ns, &app, "6m");
    // A chunk at a time, so that what is written until the kubelet looks is bounded.
    let fills = "RUN i=0; while true; do i=$((i+1)); dd if=/dev/zero of=/var/fill-$i bs=1M count=64 2>/dev/null; sleep 0.4; done\n";
    version(&app, "1.0.0", &format!("{BASE}{fills}"));
    let since = Mark::now();
    case.declare("1.0.0", "version: 1.0.0");
    let mut most = 0;
    build(&case, "Failed(BuildFailed)", "1.0.0", |pod| {
        most = most.max(written(pod["metadata"]["uid"].as_str().unwrap()));
    });
    let message = case.message();
    println!("a build that may write 4096 MiB had written {most} MiB when it was evicted: {message}");
    assert!(message.contains("builds.disk"), "{message}");
    assert!(most > 3500, "{most}");
    case.looked_at(2);
    assert_eq!(runs_of(&case, &since), 1, "{message}");
    // What it wrote goes with its pod.
    case.declare(
        "another",
        "version: 1.0.0\nsource: null\nbuild: null\nimage: registry.bed.test:5000/acme/probe",
    );
    case.live("1.0.0");
    wait_telling(
        "its files are gone",
        || format!("{:?}", pod(&case)),
        || pod(&case).is_none().then_some(()),
    );
    assert!(get("deployment", ns, "app").is_some());
    case.end();
}

/// How much lies in the volumes of a pod, in MiB.
fn written(uid: &str) -> u64 {
    let volumes = node_files().join(format!(
        "var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir"
    ));
    let output = Command::new("du").args(["-sm"]).arg(&volumes).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace()
        .next()
        .and_then(|size| size.parse().ok())
        .unwrap_or(0)
}
