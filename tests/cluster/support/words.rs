//! What people are told: the commands of the binary that is installed, run inside the bed by somebody who may look at the
//! cluster and do nothing else.

use std::{
    cell::RefCell,
    fs,
    path::PathBuf,
    process::Command,
    sync::{LazyLock, Mutex, PoisonError},
};

use super::{
    Case, Inside, apply, bed_dir, exec, finish, get, kubectl, probe, text, try_exec, wait, wait_telling,
};

/// Where the one who looks comes from, and a release that is always well. By name it would be the first of all.
const NS: &str = "a-viewer";

/// The kubeconfig of the one who looks. Made when it is first needed, which may be while a service of the bed is broken: the
/// release that is well needs neither git nor a registry.
static VIEWER: LazyLock<String> = LazyLock::new(|| {
    LazyLock::force(&BINARY);
    apply(&format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: {NS}}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: viewer, namespace: {NS}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {NS}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}
subjects: [{{kind: ServiceAccount, name: viewer, namespace: {NS}}}]
"
    ));
    let whoever = format!("--as=system:serviceaccount:{NS}:viewer");
    let may = |verb: &str, what: &str| {
        let asked = [
            "kubectl",
            "auth",
            "can-i",
            verb,
            what,
            "--all-namespaces",
            whoever.as_str(),
        ];
        try_exec(&asked, "").is_ok_and(|answer| answer.trim() == "yes")
    };
    // The role of the chart is made a part of Kubernetes' own by a controller.
    wait("who may view the cluster may view releases and sources", || {
        let kinds = ["releases", "releaserevisions", "releasesources"];
        kinds
            .iter()
            .all(|kind| may("list", &format!("{kind}.slipway.dev")))
            .then_some(())
    });
    for (verb, what) in [("get", "secrets"), ("patch", "releases.slipway.dev")] {
        assert!(!may(verb, what), "who looks may not {verb} {what}");
    }
    let server = kubectl(&[
        "config",
        "view",
        "--minify",
        "-o",
        "jsonpath={.clusters[0].cluster.server}",
    ]);
    let token = kubectl(&["-n", NS, "create", "token", "viewer", "--duration=12h"]);
    let ca = bed_dir().join("pki/ca.crt");
    let file = bed_dir().join("run/viewer.kubeconfig");
    fs::write(
        &file,
        format!(
            "{{apiVersion: v1, kind: Config, current-context: bed, contexts: [{{name: bed, context: {{cluster: bed, user: viewer}}}}], clusters: [{{name: bed, cluster: {{server: \"{server}\", certificate-authority: {}}}}}], users: [{{name: viewer, user: {{token: {}}}}}]}}\n",
            ca.display(),
            token.trim(),
        ),
    )
    .unwrap();
    file.display().to_string()
});

/// Makes the release that is always well, where it is not there: it goes when a test takes the kinds away.
fn well() {
    static MADE: Mutex<()> = Mutex::new(());
    let _once = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if get("release", NS, "well").is_some() {
        return;
    }
    let nothing = format!("registry.bed.test:5000/acme/probe@sha256:{}", "0".repeat(64));
    let well = probe(NS)
        .replace("name: app", "name: well")
        .replace("registry.bed.test:5000/acme/probe", &format!("\"{nothing}\""));
    apply(&format!("{well}  version: 1.0.0\n  replicas: 0\n"));
    wait("a release without pods is live", || {
        let release = get("release", NS, "well")?;
        (release["status"]["phase"] == "Live").then_some(())
    });
}

/// The binary as it is when it is first needed: what is built beside the tests takes the place of the one that they came with.
static BINARY: LazyLock<String> = LazyLock::new(|| {
    let copy = bed_dir().join(format!("run/slipway-{}", std::process::id()));
    fs::copy(env!("CARGO_BIN_EXE_slipway"), &copy).unwrap();
    copy.display().to_string()
});

/// What a command of Slipway prints to who looks.
pub fn slipway(arguments: &[&str]) -> String {
    let command = [BINARY.as_str(), arguments[0], "--kubeconfig", VIEWER.as_str()];
    exec(&[&command[..], &arguments[1..]].concat())
}

/// `slipway status -w` of a namespace, which goes on as long as this lives, and where it says what it says.
pub fn watching(ns: &str) -> (Inside, PathBuf) {
    let name = format!("watch-{ns}");
    let log = bed_dir().join("logs").join(format!("{name}.log"));
    // What an earlier run on the same bed left.
    let _ = fs::remove_file(&log);
    let command = [
        BINARY.as_str(),
        "status",
        "--kubeconfig",
        VIEWER.as_str(),
        "-n",
        ns,
        "-w",
    ];
    (Inside::start_as(&name, &command), log)
}

/// The same without a cluster, outside of the bed.
pub fn slipway_alone(arguments: &[&str]) -> String {
    let mut command = Command::new(BINARY.as_str());
    command.args(arguments).env_remove("KUBECONFIG");
    text(
        finish(command, None, "slipway"),
        &format!("slipway {arguments:?}"),
    )
}

impl Case {
    /// Waits until people are told why the release is as it is, and what to do: the first line of `slipway explain` has all
    /// words of the cause and the one of the remedy, and `slipway status` names the release, or its source, before what is
    /// well.
    pub fn explained(&self, cause: &[&str], remedy: &str) {
        self.explained_of("app", cause, remedy);
    }

    /// The same of another release of the namespace, be it there or not.
    pub fn explained_of(&self, release: &str, cause: &[&str], remedy: &str) {
        explained(&self.ns, release, &self.source, cause, remedy);
    }
}

/// The same of any release, and of the source that should declare it.
pub fn explained(ns: &str, release: &str, source: &str, cause: &[&str], remedy: &str) {
    LazyLock::force(&VIEWER);
    well();
    let seen = RefCell::new(String::new());
    wait_telling(
        &format!("{ns}/{release} is explained by {cause:?} and {remedy:?}"),
        || seen.borrow().clone(),
        || {
            let all = slipway(&["explain", release, "-n", ns]);
            let line = all.lines().next().unwrap_or_default();
            let status = slipway(&["status", "-A"]);
            *seen.borrow_mut() = format!("explain:\n{all}\nstatus:\n{status}");
            let (why, what) = line.split_once(". To do: ")?;
            let named = cause.iter().all(|word| why.contains(word)) && what.contains(remedy);
            (named && comes_before_what_is_well(&status, ns, release, source)).then(|| println!("{line}"))
        },
    );
}

fn comes_before_what_is_well(status: &str, ns: &str, release: &str, source: &str) -> bool {
    let place = |begin: String| status.lines().position(|line| line.starts_with(&begin));
    let well = place(format!("{NS}/well "));
    let ours = [
        place(format!("{ns}/{release} ")),
        place(format!("source {source} ")),
    ];
    let ours = ours.into_iter().flatten().min();
    ours.is_some_and(|ours| well.is_some_and(|well| ours < well))
}
