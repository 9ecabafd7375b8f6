//! A cluster with processes of Slipway in it, and what tests ask of both.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, Once, OnceLock},
    time::Duration,
};

use serde_json::{Value, json};
use slipway::{
    api::{ReleaseSpec, meta},
    cluster::{Clients, Leadership, lease},
    controller::{self, Options, Parts, RunError},
    image::Registry,
    server::Health,
    spec::spec_hash,
    telemetry::Metrics,
    trace::{
        self, Trace, Verdict,
        audit::{self as audit_log, Scope},
        event::{Actor as Who, Event, Fact, Sight, What},
    },
};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    api::{Actor, Key, Server, audit::SLIPWAY, clock},
    world::World,
};

/// Slipway's own namespace.
pub const OWN: &str = "slipway-system";
/// Where applications are.
pub const SHOP: &str = "shop";

/// The longest that anything may take: by the clock that stands still, so it costs nothing.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// How long nothing may have been written before all is at rest: longer than the longest pause after an error.
const REST: Duration = Duration::from_secs(120);
/// How long it is watched at rest: longer than the longest look at a settled release.
const WATCHED: Duration = Duration::from_secs(1500);

/// A process of Slipway.
pub struct Process {
    pub name: String,
    metrics: Arc<Metrics>,
    work: CancellationToken,
    lease: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

impl Process {
    /// Dies as by SIGKILL: whatever it waits for is dropped.
    pub fn kill(self) {
        self.task.abort();
    }

    /// How many passes of its loops had this outcome, as its metrics tell.
    pub fn passes(&self, outcome: &str) -> usize {
        let numbers = self.metrics.encode().unwrap();
        let of = format!("outcome=\"{outcome}\"}} ");
        let found = numbers
            .lines()
            .filter(|line| line.starts_with("slipway_reconciles_total"));
        found
            .filter_map(|line| line.split_once(&of))
            .map(|(_, number)| number.parse::<usize>().unwrap())
            .sum()
    }

    /// Whether it has ended by itself.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it has ended by itself.
    pub async fn ended(self) -> Result<(), RunError> {
        self.task.await.unwrap()
    }

    /// Ends as by SIGTERM: the lease goes last.
    pub async fn stop(self) -> Result<(), RunError> {
        self.work.cancel();
        let ended = self.task.await.unwrap();
        self.lease.cancel();
        ended
    }
}

/// A cluster, and what happens in it.
pub struct Story {
    pub server: Server,
    pub world: World,
    commits: u64,
}

/// Runs a story on one thread by a clock that stands still but for what is waited for.
pub fn tell<T>(story: impl AsyncFnOnce(Story) -> T) -> T {
    told(true, story)
}

/// Runs a story by a clock that runs, for what is asked through a socket.
pub fn tell_in_time<T>(story: impl AsyncFnOnce(Story) -> T) -> T {
    told(false, story)
}

fn told<T>(paused: bool, story: impl AsyncFnOnce(Story) -> T) -> T {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // As long as one thread alone listens (`Heard`), what another thread is the first to log is never heard at all: whether
        // anybody listens to it is asked of that thread once and remembered. With this one everybody listens.
        let all = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_writer(io::sink)
            .finish();
        let _ = tracing::subscriber::set_global_default(all);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(paused)
        .build()
        .unwrap();
    runtime.block_on(async {
        clock::start();
        story(Story::new()).await
    })
}

/// No story asks a registry: images are declared by their digest.
fn registry() -> Registry {
    static ONE: OnceLock<Registry> = OnceLock::new();
    ONE.get_or_init(|| Registry::new(None, Vec::new()).unwrap())
        .clone()
}

/// What this thread logs as a warning or worse, from now on.
pub struct Heard {
    text: Arc<Mutex<Vec<u8>>>,
    _while: tracing::subscriber::DefaultGuard,
}

struct Ear(Arc<Mutex<Vec<u8>>>);

impl io::Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Heard {
    pub fn from_now_on() -> Self {
        let text: Arc<Mutex<Vec<u8>>> = Arc::default();
        let ear = Arc::clone(&text);
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .with_writer(move || Ear(Arc::clone(&ear)))
            .finish();
        Self {
            text,
            _while: tracing::subscriber::set_default(log),
        }
    }

    /// How many lines have all of these words.
    pub fn lines(&self, words: &[&str]) -> usize {
        let text = String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned();
        text.lines()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .count()
    }
}

/// A digest of this number.
pub fn digest(number: u64) -> String {
    format!("sha256:{number:064x}")
}

/// The spec of a version: an image by digest, with a migration and a generated value.
pub fn migrating(version: &str, number: u64) -> String {
    format!(
        "{}migrate: [/app/bin/migrate]\nenv:\n  DATABASE_URL: {{secret: app-db/url}}\n  COOKIE: {{generate: hex/32}}\n",
        plain(version, number)
    )
}

/// The spec of a version without a migration.
pub fn plain(version: &str, number: u64) -> String {
    format!(
        "image: ghcr.io/acme/app@{}\nversion: {version}\nport: 8080\nrollout: {{minReady: 1s, drain: 5s, deadline: 60s}}\n\
         verify: {{window: 5s}}\n",
        digest(number)
    )
}

impl Story {
    fn new() -> Self {
        let server = Server::new();
        let world = World::start(&server);
        let story = Self {
            server,
            world,
            commits: 0,
        };
        story.make(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node1" } }));
        let node = Key::of("Node", "", "node1");
        story.server.edit(&Actor::kubelet(), &node, "status", |node| {
            node["status"] = json!({ "nodeInfo": { "architecture": "amd64", "bootID": "boot-1", "machineID": "m",
                "systemUUID": "s", "kernelVersion": "6", "osImage": "o", "containerRuntimeVersion": "c",
                "kubeletVersion": "v1.36.3", "kubeProxyVersion": "", "operatingSystem": "linux" } });
        });
        for namespace in ["kube-system", OWN, SHOP] {
            story.namespace(namespace);
        }
        // Of a key that is known every run makes the same fingerprints.
        story.secret(OWN, "slipway-hash-key", "key", &"k".repeat(32));
        story.secret(SHOP, "app-db", "url", "postgres://app:pw@db.example.com/app");
        story.define_source();
        story
    }

    /// Makes an object, as a person does.
    pub fn make(&self, object: &Value) {
        let answer = self.server.create(&Actor::person(), object.clone());
        assert!(answer.is_ok(), "{:?}", answer.object());
    }

    pub fn namespace(&self, name: &str) {
        self.make(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
    }

    pub fn secret(&self, namespace: &str, name: &str, key: &str, value: &str) {
        use base64::Engine as _;
        let value = base64::engine::general_purpose::STANDARD.encode(value);
        self.make(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": namespace },
            "data": { key: value },
        }));
    }

    /// The source that releases are said to come from. It is suspended: what a source writes is written by the test.
    pub fn define_source(&self) {
        self.make(&json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "ReleaseSource", "metadata": { "name": "git" },
            "spec": { "git": { "url": "https://git.example.com/releases.git", "branch": "main" }, "paths": ["production"],
                      "suspend": true },
        }));
    }

    /// Writes a release as a source writes it: with a commit of its own and the hash of its spec.
    pub fn declare_in(&mut self, namespace: &str, name: &str, spec: &str) {
        self.commits += 1;
        let spec: ReleaseSpec = serde_yaml::from_str(spec).unwrap();
        let annotations = json!({
            (meta::COMMIT): format!("{:040x}", self.commits),
            (meta::AUTHOR): "Dana Platform <dana@example.com>",
            (meta::COMMITTED_AT): clock::seconds(),
            (meta::PATH): format!("production/{name}.yaml"),
            (meta::SPEC_HASH): spec_hash(&spec),
        });
        let key = Key::of("Release", namespace, name);
        let labels = json!({ (meta::SOURCE): "git" });
        if self.server.get("Release", namespace, name).is_none() {
            return self.make(&json!({
                "apiVersion": "slipway.dev/v1alpha1", "kind": "Release",
                "metadata": { "name": name, "namespace": namespace, "labels": labels, "annotations": annotations },
                "spec": spec,
            }));
        }
        let answer = self.server.edit(&Actor::person(), &key, "", |release| {
            release["metadata"]["annotations"] = annotations;
            release["spec"] = json!(spec);
        });
        assert!(answer.is_ok(), "{:?}", answer.object());
    }

    pub fn declare(&mut self, spec: &str) {
        self.declare_in(SHOP, "app", spec);
    }

    // === processes ===

    fn parts(name: &str, clients: Clients, leader: lease::Leader) -> Parts {
        Parts {
            clients,
            registry: registry(),
            metrics: Arc::new(Metrics::new()),
            health: Health::new(),
            clock: clock::now,
            leader,
            options: Arc::new(Options {
                builder: None,
                namespace: OWN.parse().unwrap(),
                http_address: ([127, 0, 0, 1], 0).into(),
                leader_elect: false,
                identity: name.to_owned(),
                ca_bundle: None,
                allow_plain_http_git: false,
                plain_http_registries: Vec::new(),
                cache_dir: std::env::temp_dir(),
                tag_interval: Duration::from_secs(300),
                build_namespace: "slipway-builds".parse().unwrap(),
            }),
        }
    }

    fn run(name: &str, clients: Clients, mut leadership: Leadership, lease: CancellationToken) -> Process {
        let parts = Self::parts(name, clients, leadership.leader());
        let metrics = Arc::clone(&parts.metrics);
        let work = CancellationToken::new();
        let token = work.clone();
        let task = tokio::spawn(async move { controller::lead(parts, &mut leadership, token).await });
        Process {
            name: name.to_owned(),
            metrics,
            work,
            lease,
            task,
        }
    }

    /// A process that leads without an election.
    pub fn start(&self, name: &str) -> Process {
        Self::start_with(name, self.server.clients(name))
    }

    /// The same with clients of its own.
    pub fn start_with(name: &str, clients: Clients) -> Process {
        let lease = CancellationToken::new();
        Self::run(name, clients, Leadership::alone(lease.clone()), lease)
    }

    /// A process that stands for election.
    pub fn stand(&self, name: &str) -> Process {
        let (clients, token) = (self.server.clients(name), CancellationToken::new());
        let leadership = lease::lead(clients.call.clone(), OWN, name, token.clone());
        Self::run(name, clients, leadership, token)
    }

    /// A first version with a migration and a generated value, and then a second one.
    pub async fn two_versions(&mut self) {
        self.declare(&migrating("1.0.0", 1));
        self.live("1.0.0").await;
        self.declare(&migrating("1.1.0", 2));
        self.live("1.1.0").await;
    }

    // === what is asked ===

    pub fn release(&self, name: &str) -> Value {
        let found = self.server.get("Release", SHOP, name);
        found.map_or(Value::Null, |release| Value::clone(&release))
    }

    pub fn phase(&self, name: &str) -> String {
        self.release(name)["status"]["phase"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    }

    pub fn message(&self, name: &str) -> String {
        self.release(name)["status"]["message"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    }

    /// Waits until something is so.
    pub async fn wait(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is(self) {
            if start.elapsed() > PATIENCE {
                let state: Vec<String> = self
                    .server
                    .all("Release")
                    .iter()
                    .map(|(key, release)| format!("{key}: {}", release["status"]))
                    .collect();
                panic!("never so: {what}\n{}", state.join("\n"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a release says this of its present spec.
    pub async fn until(&self, name: &str, phase: &str, version: &str) {
        let what = format!("{name} is {phase} of {version}");
        self.wait(&what, |story| {
            let release = story.release(name);
            let status = &release["status"];
            status["phase"] == phase
                && status["declaredVersion"] == version
                && status["observedGeneration"] == release["metadata"]["generation"]
        })
        .await;
    }

    pub async fn live(&self, version: &str) {
        self.until("app", "Live", version).await;
    }

    /// Waits until nobody has written anything for a while.
    pub async fn rest(&self) {
        let start = Instant::now();
        let (mut written, mut since) = (self.server.acted(), Instant::now());
        while since.elapsed() < REST {
            tokio::time::sleep(LOOK).await;
            let now = self.server.acted();
            if now != written {
                (written, since) = (now, Instant::now());
            }
            assert!(
                start.elapsed() < PATIENCE,
                "it never rests: {:#?}",
                self.last_writes()
            );
        }
    }

    fn last_writes(&self) -> Vec<String> {
        let log = self.server.log();
        let newest = log.iter().rev().take(20);
        newest
            .map(|line| {
                format!(
                    "{} {} {}",
                    line["stageTimestamp"], line["verb"], line["objectRef"]
                )
            })
            .collect()
    }

    /// Lets all come to rest, watches that nothing is written any more, and judges everything that happened by the invariants.
    pub async fn end(&self) -> Verdict {
        self.end_beside(None).await
    }

    /// The same, compared with what another story did to the releases that both have.
    pub async fn end_beside(&self, reference: Option<Trace>) -> Verdict {
        self.rest().await;
        let rest = clock::now();
        tokio::time::sleep(WATCHED).await;
        let mut trace = self.trace();
        let at = trace
            .events
            .iter()
            .position(|event| event.at > rest)
            .unwrap_or(trace.events.len());
        let fact = Event {
            at: rest,
            by: Who::Person("the clock".into()),
            request: None,
            what: What::Fact(Fact::Rest),
        };
        trace.events.insert(at, fact);
        trace.sights.push(Sight::Rest);
        trace.end = clock::now();
        if let Some(reference) = reference {
            trace = trace.compared_with(reference);
        }
        let verdict = trace::judge(&trace);
        let broken: Vec<String> = verdict.violations.iter().map(ToString::to_string).collect();
        assert!(broken.is_empty(), "invariants are broken:\n{}", broken.join("\n"));
        verdict
    }

    pub fn trace(&self) -> Trace {
        audit_log::read(&self.server.log_text(), &Scope::all(SLIPWAY))
    }

    /// What happened in one namespace.
    pub fn trace_of(&self, namespace: &str) -> Trace {
        let scope = Scope::namespace(SLIPWAY, namespace, "git");
        audit_log::read(&self.server.log_text(), &scope)
    }

    /// How often Slipway created each object, by its kind and name.
    pub fn creations(&self) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        for line in self.server.log() {
            let about = &line["objectRef"];
            let ours = line["user"]["username"] == SLIPWAY && line["responseStatus"]["code"] == 201;
            if ours && about["resource"] != "events" && about["name"] != "slipway-controller" {
                let name = format!("{} {}", about["resource"], about["name"]).replace('"', "");
                *found.entry(name).or_default() += 1;
            }
        }
        found
    }

    /// Requests of Slipway that would change something, dry runs and the lease left out, since a moment.
    pub fn writes_since(&self, at: jiff::Timestamp) -> usize {
        self.server
            .count(|asked| asked.at >= at && super::inject::writes(&asked.request) && !asked.request.is_dry())
    }

    /// What is there in the end, without what two runs must differ in: versions, UIDs, times, names of pods, random values.
    pub fn state(&self) -> BTreeMap<String, Value> {
        let store = self.server.store();
        let kept = store
            .objects
            .iter()
            .filter(|(key, _)| !["Pod", "Event", "Node"].contains(&key.resource.kind))
            .filter(|(key, _)| key.name != "slipway-controller");
        kept.map(|(key, object)| {
            let mut object = Value::clone(object);
            mask(&mut object, "");
            if key.name.ends_with("-generated") {
                let values = object["data"].as_object_mut();
                values
                    .into_iter()
                    .flatten()
                    .for_each(|(_, value)| *value = json!("random"));
            }
            // Of a Job that was held back for longer, Kubernetes says so ever after.
            if let Some(conditions) = object
                .pointer_mut("/status/conditions")
                .and_then(Value::as_array_mut)
            {
                conditions.retain(|condition| condition["type"] != "Suspended");
            }
            (key.to_string(), object)
        })
        .collect()
    }
}

/// What there is in the end of a story of two versions, and how it came about.
#[derive(Clone)]
pub struct Outcome {
    pub state: BTreeMap<String, Value>,
    creations: BTreeMap<String, usize>,
    pub starts: BTreeMap<String, usize>,
}

impl Outcome {
    pub fn of(story: &Story) -> Self {
        Self {
            state: story.state(),
            creations: story.creations(),
            starts: story.world.starts(),
        }
    }

    /// Without what depends on who looked when: that a program was seen to run, that a Job was seen to wait.
    pub fn unseen(mut self) -> Self {
        for (key, object) in &mut self.state {
            if key.starts_with("Job ")
                && let Some(conditions) = object["status"]["conditions"].as_array_mut()
            {
                conditions.retain(|condition| condition["type"] != "Suspended");
            }
            if key.ends_with("-ledger")
                && let Some(entries) = object["data"].as_object_mut()
            {
                for entry in entries.values_mut() {
                    let mut read: Value = serde_json::from_str(entry.as_str().unwrap()).unwrap();
                    read.as_object_mut().unwrap().remove("started");
                    *entry = json!(read.to_string());
                }
            }
        }
        self
    }

    /// What differs, in words; and migrations that were not started once.
    pub fn differences(&self, was: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let gone = was.state.keys().filter(|key| !self.state.contains_key(*key));
        for key in self.state.keys().chain(gone) {
            let (is, was) = (self.state.get(key), was.state.get(key));
            differing(
                key,
                is.unwrap_or(&Value::Null),
                was.unwrap_or(&Value::Null),
                &mut found,
            );
        }
        if self.creations != was.creations {
            found.push(format!(
                "created were {:?}, and without the fault {:?}",
                self.creations, was.creations
            ));
        }
        if self.starts.values().any(|times| *times != 1) || self.starts.len() != 2 {
            found.push(format!("migrations were started {:?}", self.starts));
        }
        found
    }
}

/// The parts of two objects that differ.
fn differing(path: &str, is: &Value, was: &Value, found: &mut Vec<String>) {
    match (is, was) {
        (Value::Object(is), Value::Object(was)) => {
            for name in is.keys().chain(was.keys().filter(|name| !is.contains_key(*name))) {
                let inner =
                    |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                differing(&format!("{path}/{name}"), &inner(is), &inner(was), found);
            }
        }
        _ if is == was => {}
        _ => found.push(format!("{path} is {is}, and without the fault {was}")),
    }
}

/// Fields that two runs differ in.
fn mask(value: &mut Value, path: &str) {
    const NAMES: [&str; 16] = [
        meta::COMMITTED_AT,
        // Generated values are among those that it is a hash of.
        meta::VALUES,
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
        "lastTransitionTime",
        "finishedAt",
        "liveAt",
        "startTime",
        "completionTime",
        "jobUid",
        "holderIdentity",
        "renewTime",
        "acquireTime",
        "batch.kubernetes.io/controller-uid",
    ];
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                let random = path == "hashes" && name.contains("-generated/");
                if NAMES.contains(&name.as_str()) || random {
                    *value = json!("…");
                } else {
                    mask(value, name);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, path)),
        // An entry of a ledger is a text.
        Value::String(text) if text.starts_with('{') => {
            if let Ok(mut entry) = serde_json::from_str::<Value>(text) {
                for name in ["at", "uid"] {
                    if !entry[name].is_null() {
                        entry[name] = json!("…");
                    }
                }
                // Only where somebody looked while it ran.
                if let Some(fields) = entry.as_object_mut() {
                    fields.remove("started");
                }
                *text = entry.to_string();
            }
        }
        _ => {}
    }
}
