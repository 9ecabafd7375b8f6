//! What Kubernetes' own controllers and a node do: Deployments get pods, Jobs run, what lost its owner goes, namespaces end.
//! They are never in the way of a fault, so that what is shown is Slipway's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::api::{
    Actor, Key, Server, clock,
    object::Object,
    store::{FOREGROUND, finalizers, is_deleting, is_over, owners},
};

/// Between a change and what a controller does about it.
const BEAT: Duration = Duration::from_millis(200);
/// Between two starts of a container that crashes.
const CRASH: Duration = Duration::from_secs(10);

/// What a program does.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    pub takes: Duration,
    pub exit: i64,
}

/// What the world is told to be like.
pub struct Script {
    /// What migrations do.
    pub migration: Program,
    /// Releases whose migrations fail.
    pub failing: BTreeSet<String>,
    /// Images whose processes end at once; a part of their names.
    pub crashing: BTreeSet<String>,
    /// Why no pod can be made, in the words of a quota.
    pub no_pods: Option<String>,
    /// Namespaces that something holds.
    pub held: BTreeSet<String>,
    /// Every start of a migration's container: of which Job, when, and when it ended.
    pub runs: Vec<Run>,
    /// Whether the controllers begin anew, with nothing in their memory.
    pub restarted: bool,
}

/// A run of a migration's program, as its database would have it on record.
#[derive(Debug, Clone)]
pub struct Run {
    pub uid: String,
    pub key: String,
    pub ended: Option<Instant>,
}

/// The world.
#[derive(Clone)]
pub struct World {
    server: Server,
    script: Arc<Mutex<Script>>,
}

impl World {
    /// Of one node, in which controllers run from now on.
    pub fn start(server: &Server) -> Self {
        let world = Self {
            server: server.clone(),
            script: Arc::new(Mutex::new(Script {
                migration: Program {
                    takes: Duration::from_secs(5),
                    exit: 0,
                },
                failing: BTreeSet::new(),
                crashing: BTreeSet::new(),
                no_pods: None,
                held: BTreeSet::new(),
                runs: Vec::new(),
                restarted: false,
            })),
        };
        tokio::spawn(Controllers::new(world.clone()).run());
        world
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// How often programs of migrations were started, by their key.
    pub fn starts(&self) -> BTreeMap<String, usize> {
        let mut starts = BTreeMap::new();
        for run in &self.script().runs {
            *starts.entry(run.key.clone()).or_default() += 1;
        }
        starts
    }
}

struct Controllers {
    world: World,
    server: Server,
    /// Since when a pod is as it is, by UID.
    since: BTreeMap<String, Instant>,
    /// Jobs that had their pod.
    had_pod: BTreeSet<String>,
    /// What was told of Jobs that get none.
    told: BTreeSet<(String, String)>,
    /// Pods that the node has begun, by UID: it begins none twice, whatever is said of it.
    begun: BTreeSet<String>,
    names: u64,
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

fn number(object: &Value, pointer: &str) -> u64 {
    object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

fn condition(type_: &str, status: bool, reason: &str) -> Value {
    let status = if status { "True" } else { "False" };
    json!({ "type": type_, "status": status, "reason": reason, "lastTransitionTime": clock::seconds() })
}

fn holds(object: &Value, type_: &str) -> bool {
    let all = object["status"]["conditions"].as_array().into_iter().flatten();
    all.into_iter()
        .any(|condition| condition["type"] == type_ && condition["status"] == "True")
}

impl Controllers {
    fn new(world: World) -> Self {
        Self {
            server: world.server.clone(),
            world,
            since: BTreeMap::new(),
            had_pod: BTreeSet::new(),
            told: BTreeSet::new(),
            begun: BTreeSet::new(),
            names: 0,
        }
    }

    async fn run(mut self) {
        let mut due = None;
        loop {
            match due {
                None => self.server.changed().await,
                Some(time) => {
                    let _ = tokio::time::timeout(time, self.server.changed()).await;
                }
            }
            tokio::time::sleep(BEAT).await;
            due = self.beat();
        }
    }

    /// One look at everything; how long until something is due by itself.
    fn beat(&mut self) -> Option<Duration> {
        if std::mem::take(&mut self.world.script().restarted) {
            self.had_pod.clear();
            self.since.clear();
            self.told.clear();
        }
        self.namespaces();
        self.garbage();
        self.deployments();
        self.jobs();
        self.pods()
    }

    // === namespaces and what has no owner ===

    fn namespaces(&mut self) {
        let by = Actor::kubernetes("namespace-controller");
        for (key, namespace) in self.server.all("Namespace") {
            if !is_deleting(&namespace) {
                let account = Key::of("ServiceAccount", &key.name, "default");
                if self.server.store().objects.contains_key(&account) {
                    continue;
                }
                let by = Actor::kubernetes("service-account-controller");
                self.server.create(
                    &by,
                    json!({
                        "apiVersion": "v1", "kind": "ServiceAccount",
                        "metadata": { "name": "default", "namespace": key.name },
                    }),
                );
                continue;
            }
            let inside: Vec<Key> = {
                let store = self.server.store();
                let all = store
                    .objects
                    .iter()
                    .filter(|(inner, _)| inner.namespace == key.name);
                all.filter(|(_, object)| !is_deleting(object))
                    .map(|(inner, _)| inner.clone())
                    .collect()
            };
            let empty = self
                .server
                .store()
                .objects
                .keys()
                .all(|inner| inner.namespace != key.name);
            for inner in inside {
                self.server.delete(&by, &inner, json!({}));
            }
            if empty && !self.world.script().held.contains(&key.name) {
                self.server.end_namespace(&key.name);
            }
        }
    }

    fn garbage(&mut self) {
        let by = Actor::kubernetes("generic-garbage-collector");
        let objects: Vec<(Key, Arc<Object>)> = {
            let store = self.server.store();
            store
                .objects
                .iter()
                .map(|(key, object)| (key.clone(), Arc::clone(object)))
                .collect()
        };
        let there: BTreeSet<&str> = objects.iter().map(|(_, object)| uid(object)).collect();
        for (key, object) in &objects {
            let mut owned = owners(object)
                .map(|owner| owner["uid"].as_str().unwrap_or(""))
                .peekable();
            if owned.peek().is_some() && !is_deleting(object) && owned.all(|owner| !there.contains(owner)) {
                self.server
                    .delete(&by, key, json!({ "preconditions": { "uid": uid(object) } }));
            }
        }
        for (key, object) in &objects {
            if !is_deleting(object) || !finalizers(object).iter().any(|name| name == FOREGROUND) {
                continue;
            }
            let mut any = false;
            for (dependent, other) in &objects {
                if owners(other).any(|owner| owner["uid"] == object["metadata"]["uid"]) {
                    any = true;
                    if !is_deleting(other) {
                        self.server.delete(&by, dependent, json!({}));
                    }
                }
            }
            if !any {
                self.server.edit(&by, key, "", |object| {
                    let mut left = finalizers(object);
                    left.retain(|name| name != FOREGROUND);
                    object["metadata"]["finalizers"] = json!(left);
                });
            }
        }
    }

    // === Deployments ===

    fn deployments(&mut self) {
        let by = Actor::kubernetes("deployment-controller");
        for (key, deployment) in self.server.all("Deployment") {
            if is_deleting(&deployment) {
                continue;
            }
            let desired = usize::try_from(number(&deployment, "/spec/replicas")).unwrap();
            let hash: String = Sha256::digest(deployment["spec"]["template"].to_string())
                .iter()
                .take(5)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let pods: Vec<(Key, Arc<Object>)> = self
                .server
                .all("Pod")
                .into_iter()
                .filter(|(_, pod)| owners(pod).any(|owner| owner["uid"] == deployment["metadata"]["uid"]))
                .filter(|(_, pod)| !is_deleting(pod))
                .collect();
            let is_new = |pod: &Value| pod["metadata"]["labels"]["pod-template-hash"] == hash.as_str();
            let (new, old): (Vec<_>, Vec<_>) = pods.iter().partition(|(_, pod)| is_new(pod));
            for _ in new.len()..desired {
                let labels = json!({ "pod-template-hash": hash });
                let name = format!("{}-{hash}-", key.name);
                let _ = self.pod(&by, &key, &deployment, &name, &labels);
            }
            for (surplus, _) in new.iter().skip(desired) {
                self.server.delete(&by, surplus, json!({}));
            }
            let lasts = Duration::from_secs(number(&deployment, "/spec/minReadySeconds"));
            let available = |pod: &Value| {
                holds(pod, "Ready")
                    && self
                        .since
                        .get(uid(pod))
                        .is_some_and(|since| since.elapsed() >= lasts)
            };
            let new_available = new.iter().filter(|(_, pod)| available(pod)).count();
            if new_available >= desired {
                for (past, _) in &old {
                    self.server.delete(&by, past, json!({}));
                }
            }
            let status = json!({
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": pods.len(),
                "updatedReplicas": new.len(),
                "readyReplicas": pods.iter().filter(|(_, pod)| holds(pod, "Ready")).count(),
                "availableReplicas": pods.iter().filter(|(_, pod)| available(pod)).count(),
            });
            if deployment["status"] != status {
                self.server
                    .edit(&by, &key, "status", |deployment| deployment["status"] = status);
            }
        }
    }

    /// Makes a pod of a template, or says why there can be none.
    fn pod(&mut self, by: &Actor, owner: &Key, of: &Value, name: &str, labels: &Value) -> Result<(), String> {
        let template = &of["spec"]["template"];
        if let Some(why) = &self.world.script().no_pods {
            return Err(why.clone());
        }
        let account = match text(template, "/spec/serviceAccountName") {
            "" => "default",
            account => account,
        };
        if self
            .server
            .get("ServiceAccount", &owner.namespace, account)
            .is_none()
        {
            return Err(format!(
                "error looking up service account {}/{account}: serviceaccount \"{account}\" not found",
                owner.namespace
            ));
        }
        self.names += 1;
        let mut metadata = template["metadata"].clone();
        for (name, value) in labels.as_object().into_iter().flatten() {
            metadata["labels"][name] = value.clone();
        }
        metadata["name"] = json!(format!("{name}{:04}", self.names));
        metadata["namespace"] = json!(owner.namespace);
        metadata["ownerReferences"] = json!([{
            "apiVersion": owner.resource.api_version(), "kind": owner.resource.kind, "name": owner.name,
            "uid": uid(of), "controller": true,
        }]);
        let answer = self.server.create(
            by,
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"],
            }),
        );
        if answer.is_ok() {
            return Ok(());
        }
        Err(answer.object()["message"]
            .as_str()
            .unwrap_or("refused")
            .to_owned())
    }

    // === Jobs ===

    fn jobs(&mut self) {
        for (key, job) in self.server.all("Job") {
            if is_deleting(&job) || holds(&job, "Complete") || holds(&job, "Failed") {
                continue;
            }
            let pods: Vec<(Key, Arc<Object>)> = self
                .server
                .all("Pod")
                .into_iter()
                .filter(|(_, pod)| {
                    text(pod, "/metadata/labels/batch.kubernetes.io~1controller-uid") == uid(&job)
                })
                .collect();
            let status = if job["spec"]["suspend"] == true {
                self.suspended(&job, &pods)
            } else {
                self.running(&key, &job, &pods)
            };
            if let Some(status) = status.filter(|status| *status != job["status"]) {
                let by = Actor::kubernetes("job-controller");
                self.server
                    .edit(&by, &key, "status", |job| job["status"] = status);
            }
        }
    }

    fn suspended(&mut self, job: &Value, pods: &[(Key, Arc<Object>)]) -> Option<Value> {
        let by = Actor::kubernetes("job-controller");
        for (pod, _) in pods.iter().filter(|(_, pod)| !is_over(pod) && !is_deleting(pod)) {
            self.server.delete(&by, pod, json!({}));
        }
        let active = pods.iter().filter(|(_, pod)| !is_over(pod)).count();
        if holds(job, "Suspended") && number(job, "/status/active") == active as u64 {
            return None;
        }
        let mut status = json!({ "conditions": [condition("Suspended", true, "JobSuspended")] });
        if active > 0 {
            status["active"] = json!(active);
        }
        Some(status)
    }

    fn running(&mut self, key: &Key, job: &Value, pods: &[(Key, Arc<Object>)]) -> Option<Value> {
        let by = Actor::kubernetes("job-controller");
        let mut status = job["status"].clone();
        if !status.is_object() {
            status = json!({});
        }
        if status["startTime"].is_null() {
            status["startTime"] = json!(clock::seconds());
        }
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let mut conditions: Vec<Value> = conditions
            .into_iter()
            .map(|old| {
                let resumed = old["type"] == "Suspended" && old["status"] == "True";
                if resumed {
                    condition("Suspended", false, "JobResumed")
                } else {
                    old
                }
            })
            .collect();
        if pods.is_empty() {
            if self.had_pod.contains(uid(job)) {
                conditions.push(condition("Failed", true, "BackoffLimitExceeded"));
                status["failed"] = json!(1);
                status["active"] = json!(0);
            } else {
                match self.pod(&by, key, job, &format!("{}-", key.name), &json!({})) {
                    Ok(()) => {
                        self.had_pod.insert(uid(job).to_owned());
                        status["active"] = json!(1);
                    }
                    Err(why) => self.cannot(key, job, &why),
                }
            }
        } else {
            self.had_pod.insert(uid(job).to_owned());
            let ended = |phase: &str| pods.iter().any(|(_, pod)| text(pod, "/status/phase") == phase);
            let active = pods.iter().filter(|(_, pod)| !is_over(pod)).count();
            status["active"] = json!(active);
            if ended("Succeeded") {
                status["succeeded"] = json!(1);
                status["completionTime"] = json!(clock::seconds());
                conditions.push(condition("SuccessCriteriaMet", true, "CompletionsReached"));
                conditions.push(condition("Complete", true, "CompletionsReached"));
            } else if ended("Failed") {
                status["failed"] = json!(1);
                conditions.push(condition("FailureTarget", true, "BackoffLimitExceeded"));
                conditions.push(condition("Failed", true, "BackoffLimitExceeded"));
            }
        }
        status["conditions"] = json!(conditions);
        Some(status)
    }

    /// An event about a Job that gets no pod.
    fn cannot(&mut self, key: &Key, job: &Value, why: &str) {
        if !self.told.insert((uid(job).to_owned(), why.to_owned())) {
            return;
        }
        self.names += 1;
        let by = Actor::kubernetes("job-controller");
        self.server.create(&by, json!({
            "apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": "FailedCreate",
            "metadata": { "name": format!("{}.{}", key.name, self.names), "namespace": key.namespace },
            "involvedObject": { "kind": "Job", "namespace": key.namespace, "name": key.name, "uid": uid(job) },
            "message": format!("Error creating: {why}"), "lastTimestamp": clock::seconds(),
        }));
    }

    // === the node ===

    fn pods(&mut self) -> Option<Duration> {
        let mut due: Option<Duration> = None;
        let mut soon = |time: Duration| due = Some(due.map_or(time, |due| due.min(time)));
        let all = self.server.all("Pod");
        for (key, pod) in &all {
            let since = *self.since.entry(uid(pod).to_owned()).or_insert_with(Instant::now);
            if is_deleting(pod) {
                self.ended(pod);
                let now = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": uid(pod) } });
                self.server.delete(&Actor::kubelet(), key, now);
                continue;
            }
            if is_over(pod) {
                continue;
            }
            let next = if text(pod, "/status/phase") == "Pending" {
                self.starting(key, pod)
            } else if text(pod, "/spec/restartPolicy") == "Never" {
                let program = self.program(pod);
                let left = program.takes.saturating_sub(since.elapsed());
                if left.is_zero() {
                    Some(self.over(pod, program))
                } else {
                    soon(left);
                    None
                }
            } else if self.crashes(pod) {
                let left = CRASH.saturating_sub(since.elapsed());
                soon(if left.is_zero() { CRASH } else { left });
                left.is_zero().then(|| crashed(pod))
            } else {
                // For the Deployments that wait until it has been ready for long enough.
                let left = Duration::from_secs(30).saturating_sub(since.elapsed());
                if !left.is_zero() {
                    soon(left.min(Duration::from_secs(1)));
                }
                None
            };
            if let Some(status) = next {
                self.since.insert(uid(pod).to_owned(), Instant::now());
                self.server
                    .edit(&Actor::kubelet(), key, "status", |pod| pod["status"] = status);
            }
        }
        if all.iter().any(|(_, pod)| text(pod, "/status/phase") == "Pending") || self.waits() {
            soon(Duration::from_secs(1));
        }
        due
    }

    /// What the migration of a pod does.
    fn program(&self, pod: &Value) -> Program {
        let script = self.world.script();
        let fails = script
            .failing
            .contains(text(pod, "/metadata/labels/slipway.dev~1release"));
        Program {
            exit: if fails { 1 } else { script.migration.exit },
            ..script.migration
        }
    }

    /// Whether a Job waits for its pod, which nobody tells when it can be made.
    fn waits(&self) -> bool {
        let jobs = self.server.all("Job");
        jobs.iter()
            .any(|(_, job)| job["spec"]["suspend"] != true && !self.had_pod.contains(uid(job)))
    }

    fn crashes(&self, pod: &Value) -> bool {
        let image = text(pod, "/spec/containers/0/image");
        self.world
            .script()
            .crashing
            .iter()
            .any(|part| image.contains(part.as_str()))
    }

    /// A node takes the pod, and its container starts if it can.
    fn starting(&mut self, key: &Key, pod: &Value) -> Option<Value> {
        if text(pod, "/spec/nodeName").is_empty() {
            let scheduler = Actor {
                user: "system:kube-scheduler".to_owned(),
                process: None,
            };
            self.server.edit(&scheduler, key, "", |pod| {
                pod["spec"]["nodeName"] = json!("node1")
            });
            return None;
        }
        let waiting = |reason: &str, message: String| {
            json!({ "phase": "Pending", "containerStatuses": [{
                "name": pod["spec"]["containers"][0]["name"], "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": { "waiting": { "reason": reason, "message": message } },
            }] })
        };
        if let Some(missing) = self.missing(key, pod) {
            let status = waiting(
                "CreateContainerConfigError",
                format!("secret {missing:?} not found"),
            );
            return (pod["status"] != status).then_some(status);
        }
        if text(pod, "/spec/restartPolicy") == "Never" && self.begun.insert(uid(pod).to_owned()) {
            let job = owners(pod).next().cloned().unwrap_or_default();
            let key = self
                .server
                .get("Job", &key.namespace, text(&job, "/name"))
                .map(|job| text(&job, "/metadata/annotations/slipway.dev~1migration-key").to_owned());
            self.world.script().runs.push(Run {
                uid: text(&job, "/uid").to_owned(),
                key: key.unwrap_or_default(),
                ended: None,
            });
        }
        let ready = text(pod, "/spec/restartPolicy") != "Never" && !self.crashes(pod);
        Some(json!({
            "phase": "Running",
            "conditions": [condition("Ready", ready, "Started")],
            "containerStatuses": [container(pod, ready, 0, json!({ "running": { "startedAt": clock::seconds() } }))],
        }))
    }

    /// A Secret that a variable needs and that is not there.
    fn missing(&self, key: &Key, pod: &Value) -> Option<String> {
        let variables = pod["spec"]["containers"][0]["env"].as_array();
        let names = variables.into_iter().flatten();
        let mut names = names.filter_map(|variable| variable["valueFrom"]["secretKeyRef"]["name"].as_str());
        names
            .find(|name| self.server.get("Secret", &key.namespace, name).is_none())
            .map(str::to_owned)
    }

    /// The program of a migration is at its end.
    fn over(&mut self, pod: &Value, program: Program) -> Value {
        self.ended(pod);
        let started = &pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"];
        let end = json!({ "terminated": {
            "exitCode": program.exit, "reason": if program.exit == 0 { "Completed" } else { "Error" },
            "startedAt": started, "finishedAt": clock::seconds(),
        } });
        json!({
            "phase": if program.exit == 0 { "Succeeded" } else { "Failed" },
            "containerStatuses": [container(pod, false, 0, end)],
        })
    }

    fn ended(&mut self, pod: &Value) {
        let job = owners(pod).next().map(|owner| text(owner, "/uid").to_owned());
        let mut script = self.world.script();
        let open = script
            .runs
            .iter_mut()
            .find(|run| Some(&run.uid) == job.as_ref() && run.ended.is_none());
        if let Some(run) = open {
            run.ended = Some(Instant::now());
        }
    }
}

fn container(pod: &Value, ready: bool, restarts: u64, state: Value) -> Value {
    json!({
        "name": pod["spec"]["containers"][0]["name"], "image": pod["spec"]["containers"][0]["image"], "imageID": "",
        "ready": ready, "restartCount": restarts, "state": state,
    })
}

/// Once more.
fn crashed(pod: &Value) -> Value {
    let restarts = number(pod, "/status/containerStatuses/0/restartCount") + 1;
    let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off restarting failed container" } });
    let mut state = container(pod, false, restarts, waiting);
    state["lastState"] = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
    json!({ "phase": "Running", "conditions": [condition("Ready", false, "Crashed")], "containerStatuses": [state] })
}
