//! The binary outside of the cluster, behind a proxy that does to both what happens on bad days: `tests/bed/fault-proxy.py`.

use std::{collections::BTreeMap, fs, os::unix::net::UnixStream, path::Path};

use reqwest::{Client, Method};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Inside,
    api::{client, send},
    bed_dir, kubectl, wait,
};

/// What the binary asks for is asked by the chart's own service account, so the chart's rights are what counts.
pub struct Rights {
    folder: tempfile::TempDir,
    server: String,
}

impl Rights {
    pub fn of_the_chart() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let account = ["create", "token", "slipway", "--duration=2h"];
        let token = kubectl(&[&["-n", "slipway-system"], &account[..]].concat());
        fs::write(folder.path().join("token"), token).unwrap();
        let server = "jsonpath={.clusters[0].cluster.server}";
        let server = kubectl(&["config", "view", "--minify", "-o", server]);
        Self { folder, server }
    }
}

/// One of several that run side by side, without the lease.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// By this the audit log tells its processes apart from others, each start from the one before.
    pub name: &'a str,
    /// The namespace that it takes for the cluster, and the source of that name.
    pub namespace: &'a str,
    /// The proxy's and the binary's.
    pub ports: [u16; 2],
}

/// The binary and its proxy, both inside the bed; the binary does not run until it is told to.
pub struct Outside {
    control: Client,
    _proxy: Inside,
    _folder: tempfile::TempDir,
}

/// What the proxy says of the binary.
#[derive(Debug, Deserialize)]
pub struct Process {
    pid: u32,
    /// How many times it was started.
    pub starts: usize,
    pub alive: bool,
    pub frozen: bool,
    /// What the last rule did, if it came to that.
    pub fired: Option<Fired>,
    /// Requests since then that would change something.
    pub counted: usize,
    /// The same, each with its number among all requests.
    pub wrote: Vec<(u64, String)>,
    /// The last read of each path since the start.
    asked: BTreeMap<String, u64>,
    /// The last request before it was let go on.
    thawed: u64,
}

/// A rule that did what it says.
#[derive(Debug, Clone, Deserialize)]
pub struct Fired {
    /// `PATCH /apis/…`
    pub request: String,
}

impl Outside {
    /// It sees the whole cluster and stands for election, as the installed one does.
    pub fn whole(rights: &Rights) -> Self {
        Self::new(rights, "outside", &[], [18443, 18080], &[])
    }

    /// It sees a part of the cluster as if that were all, and does not ask whether it leads.
    pub fn part(rights: &Rights, part: Part<'_>) -> Self {
        let sight = ["--only", part.namespace, "--name", part.name];
        // The log of all that had this part.
        let log = format!("outside-{}", part.ports[0]);
        Self::new(rights, &log, &sight, part.ports, &["--leader-elect=false"])
    }

    fn new(rights: &Rights, log: &str, sight: &[&str], ports: [u16; 2], flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (socket, config, cache) = (path("socket"), path("kubeconfig"), path("cache"));
        let ca = bed_dir().join("pki/ca.crt").display().to_string();
        let [port, http] = ports;
        fs::write(
            &config,
            format!(
                "{{apiVersion: v1, kind: Config, current-context: bed, contexts: [{{name: bed, context: {{cluster: bed, user: bed}}}}], clusters: [{{name: bed, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}], users: [{{name: bed, user: {{}}}}]}}\n"
            ),
        )
        .unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bed/fault-proxy.py");
        let token = rights.folder.path().join("token");
        let proxy: &[&str] = &[
            "python3",
            script.to_str().unwrap(),
            "--listen",
            &port.to_string(),
            "--control",
            &socket,
            "--server",
            &rights.server,
            "--ca",
            &ca,
            "--token-file",
            token.to_str().unwrap(),
        ];
        let binary: &[&str] = &[
            "--",
            "env",
            "-u",
            "SSL_CERT_FILE",
            "-u",
            "GIT_SSL_CAINFO",
            &format!("KUBECONFIG={config}"),
            &format!("SLIPWAY_CA_BUNDLE={ca}"),
            env!("CARGO_BIN_EXE_slipway"),
            "controller",
            "--namespace",
            "slipway-system",
            "--http-address",
            &format!("127.0.0.1:{http}"),
            "--cache-dir",
            &cache,
            "--tag-check-interval",
            "1m",
        ];
        let proxy = Inside::start_as(log, &[proxy, sight, binary, flags].concat());
        wait("the proxy answers", || UnixStream::connect(&socket).ok());
        Self {
            control: client(socket.into()),
            _proxy: proxy,
            _folder: folder,
        }
    }

    /// Tells the proxy something; what it has to say.
    pub fn tell<T: DeserializeOwned>(&self, what: &str) -> T {
        let (status, body) = send(&self.control, Method::POST, &format!("-/{what}"), None);
        assert!(status.is_success(), "{what}: {status}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn process(&self) -> Process {
        self.tell("process")
    }

    /// Starts it where it does not run.
    pub fn run(&self) {
        self.tell::<Process>("run");
    }

    /// What is done to it at its `at`-th request from now on that would change something; see the proxy for the words.
    pub fn strike(&self, at: usize, when: &str, act: &str) {
        self.tell::<Process>(&format!("arm?at={at}&when={when}&act={act}"));
    }

    pub fn freeze(&self) {
        self.tell::<Process>("freeze");
    }

    pub fn thaw(&self) {
        self.tell::<Process>("thaw");
    }

    /// `VmRSS:  1234 kB` as the kernel says it.
    pub fn memory(&self) -> String {
        super::memory(&self.process().pid.to_string())
    }
}

impl Process {
    /// Whether it has found nothing to do for the release with a migration of this namespace: since it last wrote, or was
    /// let go on, it has begun to look at the release, and has read the last of what it looks at; and it has begun to ask
    /// the source's repository.
    pub fn rests(&self, namespace: &str, git: &str) -> bool {
        let asked = |path: &str| {
            let found = self.asked.iter().filter(|(asked, _)| asked.starts_with(path));
            found.map(|(_, number)| *number).max().unwrap_or(0)
        };
        let wrote = |of_sources: bool| {
            let found = self
                .wrote
                .iter()
                .filter(|(_, request)| request.contains("/releasesources/") == of_sources);
            found
                .map(|(number, _)| *number)
                .max()
                .unwrap_or(0)
                .max(self.thawed)
        };
        let system = "/namespaces/slipway-system";
        let release = asked(&format!(
            "/apis/slipway.dev/v1alpha1/namespaces/{namespace}/releases/app"
        ));
        let lock = asked(&format!(
            "/apis/coordination.k8s.io/v1{system}/leases/slipway-lock-"
        ));
        let source = asked(&format!("/api/v1{system}/secrets/{git}"));
        self.alive && !self.frozen && release > wrote(false) && lock > release && source > wrote(true)
    }
}
