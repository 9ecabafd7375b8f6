//! The audit log of an API server (`audit.k8s.io/v1`, one JSON per line) → a trace.
//!
//! Policy: `RequestResponse` for writes of Slipway's kinds, Jobs, Deployments, Pods, `ConfigMap`s, Leases and what exposes;
//! no body of a Secret is read. A patch says what was asked, so the object is taken from the response.
//! Events are ordered by the resourceVersion of their response, which is the order of the one etcd; requests that are
//! answered at the same time are logged in any order.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    body,
    event::{Actor, Event, Refusal, Sight, Trace, What, Why, Write},
    object::{Body, Key, Kind, Object, Text},
};

/// Which part of a log is read.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The user that Slipway is: `system:serviceaccount:slipway-system:slipway`.
    pub user: String,
    /// One namespace, from its last creation on; `None` for all of it.
    pub namespace: Option<String>,
    /// The source that follows it; read with that namespace.
    pub source: Option<String>,
}

impl Scope {
    /// Everything that the log has.
    #[must_use]
    pub fn all(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            ..Self::default()
        }
    }

    /// One namespace and the source of the same story.
    #[must_use]
    pub fn namespace(user: &str, namespace: &str, source: &str) -> Self {
        Self {
            user: user.to_owned(),
            namespace: Some(namespace.to_owned()),
            source: Some(source.to_owned()),
        }
    }

    /// Whether a line can matter, before it is parsed: most of a log does not.
    fn may_hold(&self, line: &str) -> bool {
        let Some(namespace) = &self.namespace else {
            return true;
        };
        line.contains(&format!("\"{namespace}\""))
            || line.contains("slipway-lock-")
            || self
                .source
                .as_ref()
                .is_some_and(|source| line.contains(&format!("\"{source}\"")))
    }

    fn holds(&self, key: &Key) -> bool {
        let Some(namespace) = &self.namespace else {
            return true;
        };
        match key.kind {
            Kind::ReleaseSource => self.source.as_deref() == Some(&*key.name),
            // Whose Job holds a lock matters to everybody.
            Kind::Lease => true,
            Kind::Namespace => *namespace == *key.name,
            _ => *namespace == *key.namespace,
        }
    }
}

/// Reads a log. Lines that are no events, reads, dry runs and kinds that no invariant speaks of are left out.
#[must_use]
pub fn read(log: &str, scope: &Scope) -> Trace {
    let mut reader = Reader {
        scope,
        events: Vec::new(),
        newest: 0,
        last: BTreeMap::new(),
        pods: false,
        beginning: false,
    };
    for line in log.lines().filter(|line| scope.may_hold(line)) {
        if let Ok(line) = serde_json::from_str::<Value>(line) {
            reader.take(&line);
        }
    }
    reader.trace()
}

/// The kind of a resource in a request.
fn kind_of(resource: &str) -> Option<Kind> {
    Some(match resource {
        "releases" => Kind::Release,
        "releaserevisions" => Kind::ReleaseRevision,
        "releasesources" => Kind::ReleaseSource,
        "jobs" => Kind::Job,
        "deployments" => Kind::Deployment,
        "configmaps" => Kind::ConfigMap,
        "leases" => Kind::Lease,
        "pods" => Kind::Pod,
        "services" => Kind::Service,
        "serviceaccounts" => Kind::ServiceAccount,
        "poddisruptionbudgets" => Kind::PodDisruptionBudget,
        "ingresses" => Kind::Ingress,
        "secrets" => Kind::Secret,
        "namespaces" => Kind::Namespace,
        _ => return None,
    })
}

struct Reader<'a> {
    scope: &'a Scope,
    /// Each with its place in the order of etcd.
    events: Vec<(u64, Event)>,
    newest: u64,
    /// What is known of objects, for requests that answer with something else.
    last: BTreeMap<Key, Arc<Object>>,
    pods: bool,
    beginning: bool,
}

fn word<'a>(line: &'a Value, path: &str) -> &'a str {
    line.pointer(path).and_then(Value::as_str).unwrap_or("")
}

impl Reader<'_> {
    fn take(&mut self, line: &Value) {
        let verb = word(line, "/verb");
        if !["create", "update", "patch", "delete", "deletecollection"].contains(&verb)
            || word(line, "/stage") != "ResponseComplete"
            || word(line, "/requestURI").contains("dryRun=")
        {
            return;
        }
        let Some(kind) = kind_of(word(line, "/objectRef/resource")) else {
            return;
        };
        let namespace = match kind {
            Kind::Namespace | Kind::ReleaseSource => "",
            _ => word(line, "/objectRef/namespace"),
        };
        let key = Key {
            kind,
            namespace: namespace.into(),
            name: word(line, "/objectRef/name").into(),
        };
        if !self.scope.holds(&key)
            || (kind == Kind::Lease && !key.name.starts_with("slipway-lock-") && verb != "deletecollection")
        {
            return;
        }
        let by = self.actor(line);
        let code = line
            .pointer("/responseStatus/code")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        if code >= 300 {
            if by.is_slipway() {
                let why = match (code, word(line, "/responseStatus/reason")) {
                    (409, "AlreadyExists") => Why::Exists,
                    (409, _) => Why::Conflict,
                    (404, _) => Why::Missing,
                    _ => Why::Other(u16::try_from(code).unwrap_or(0)),
                };
                let over = line.pointer("/requestObject").and_then(body::version);
                self.push(line, by, None, What::Refused(Refusal { key, over, why }));
            }
            return;
        }
        let subresource = word(line, "/objectRef/subresource");
        match (verb, subresource) {
            ("delete", "") => self.deleted(line, by, key),
            ("deletecollection", "") => self.collection(line, &by, kind),
            ("delete" | "deletecollection", _) => {}
            (_, "" | "status") => self.wrote(line, by, key, subresource == "status"),
            (_, "scale") => self.scaled(line, by, &key),
            _ => {}
        }
    }

    /// Slipway's processes are told apart by their pods, else by where they come from.
    fn actor(&self, line: &Value) -> Actor {
        let name = word(line, "/user/username");
        if name == self.scope.user {
            let pod = word(line, "/user/extra/authentication.kubernetes.io~1pod-name/0");
            let place = if pod.is_empty() {
                word(line, "/userAgent")
            } else {
                pod
            };
            return Actor::Slipway(place.into());
        }
        let account = name.strip_prefix("system:serviceaccount:");
        match account {
            Some(account) if account.starts_with("kube-system:") => Actor::Kubernetes(account.into()),
            None if name.starts_with("system:") => Actor::Kubernetes(name.into()),
            _ => Actor::Person(name.into()),
        }
    }

    fn push(&mut self, line: &Value, by: Actor, version: Option<u64>, what: What) {
        let at: Timestamp = word(line, "/stageTimestamp").parse().unwrap_or_default();
        // What has no resourceVersion of its own comes after what was logged before it.
        let place = version.filter(|version| *version > 0).unwrap_or(self.newest);
        self.newest = self.newest.max(place);
        let request: Text = word(line, "/auditID").into();
        self.events.push((
            place,
            Event {
                at,
                by,
                request: Some(request),
                what,
            },
        ));
    }

    fn wrote(&mut self, line: &Value, by: Actor, key: Key, status: bool) {
        let created = line.pointer("/responseStatus/code").and_then(Value::as_u64) == Some(201);
        let response = line.pointer("/responseObject");
        let Some(object) = response.and_then(|response| body::object(key.kind, response)) else {
            return self.bodiless(line, by, key, created);
        };
        let Some(response) = response else { return };
        if !self.scope.holds(&object.key) {
            return;
        }
        self.pods |= key.kind == Kind::Pod;
        let object = Arc::new(object);
        self.last.insert(object.key.clone(), Arc::clone(&object));
        let applies =
            by.is_slipway() && !status && key.kind == Kind::Deployment && word(line, "/verb") == "patch";
        // What takes over an object of somebody else marks it alone, and is no apply, which always names its kind.
        let says_pods = |sent: &&Value| sent.get("kind").is_some() || sent.get("spec").is_some();
        let over = line.pointer("/requestObject").and_then(body::version);
        let write = Write {
            created,
            status,
            over,
            object: Arc::clone(&object),
            applied: line
                .pointer("/requestObject")
                .filter(|_| applies)
                .filter(says_pods)
                .map(|sent| Arc::new(sent.clone())),
        };
        self.push(line, by.clone(), Some(object.version), What::Wrote(write));
        // The last finalizer of what is being deleted was taken away.
        if is_gone(key.kind, response) {
            let (key, uid) = (object.key.clone(), object.uid.clone());
            self.push(line, by, Some(object.version), What::Gone { key, uid });
        }
    }

    /// The policy keeps no body: what matters is that it was done, and of a namespace that it is anew.
    fn bodiless(&mut self, line: &Value, by: Actor, key: Key, created: bool) {
        if key.kind == Kind::Namespace && created {
            self.beginning |= self.scope.namespace.is_some() || *key.name == *"kube-system";
            if self.scope.namespace.is_some() {
                // An earlier story in a namespace of the same name is not this one's.
                self.events.retain(|(_, event)| {
                    let key = event.what.key();
                    key.is_some_and(|key| key.kind == Kind::Lease)
                });
            }
        } else if !matches!(by, Actor::Person(_)) {
            return;
        }
        let object = unknown(key, false);
        let write = Write {
            created,
            status: false,
            over: None,
            object: Arc::new(object),
            applied: None,
        };
        self.push(line, by, None, What::Wrote(write));
    }

    fn scaled(&mut self, line: &Value, by: Actor, key: &Key) {
        let response = line.pointer("/responseObject");
        let replicas = response.and_then(|scale| scale.pointer("/spec/replicas")?.as_u64());
        let (Some(known), Some(replicas)) = (self.last.get(key), replicas) else {
            return;
        };
        let mut object = Object::clone(known);
        if let Body::Deployment(body) = &mut object.body {
            body.replicas = u32::try_from(replicas).unwrap_or(u32::MAX);
        }
        object.version = response.and_then(body::version).unwrap_or(object.version);
        let object = Arc::new(object);
        self.last.insert(key.clone(), Arc::clone(&object));
        let version = Some(object.version);
        let write = Write {
            created: false,
            status: false,
            over: None,
            object,
            applied: None,
        };
        self.push(line, by, version, What::Wrote(write));
    }

    fn deleted(&mut self, line: &Value, by: Actor, key: Key) {
        let only = line
            .pointer("/requestObject/preconditions/uid")
            .and_then(Value::as_str)
            .map(Into::into);
        if key.kind == Kind::Namespace {
            let write = Write {
                created: false,
                status: false,
                over: None,
                object: Arc::new(unknown(key, true)),
                applied: None,
            };
            return self.push(line, by, None, What::Wrote(write));
        }
        let response = line.pointer("/responseObject");
        let version = response.and_then(body::version);
        let uid = response.and_then(|response| {
            let uid = response
                .pointer("/metadata/uid")
                .or(response.pointer("/details/uid"))?;
            uid.as_str().map(Text::from)
        });
        let what = What::Deleted {
            key: key.clone(),
            only,
        };
        self.push(line, by.clone(), version, what);
        if let (Some(uid), Some(response)) = (uid, response)
            && is_gone(key.kind, response)
        {
            self.push(line, by, version, What::Gone { key, uid });
        }
    }

    fn collection(&mut self, line: &Value, by: &Actor, kind: Kind) {
        let items = line.pointer("/responseObject/items").and_then(Value::as_array);
        for item in items.into_iter().flatten().filter(|item| is_gone(kind, item)) {
            if let (Some(key), Some(uid)) = (
                body::key(kind, item),
                item.pointer("/metadata/uid").and_then(Value::as_str),
            ) && self.scope.holds(&key)
            {
                let uid = uid.into();
                self.push(line, by.clone(), None, What::Gone { key, uid });
            }
        }
    }

    fn trace(self) -> Trace {
        let mut sights = vec![
            Sight::Applied,
            Sight::Reads,
            Sight::Clock,
            Sight::Availability,
            Sight::Status,
        ];
        if self.pods {
            sights.push(Sight::Pods);
        }
        if self.beginning {
            sights.push(Sight::Beginning);
        }
        let mut events = self.events;
        events.sort_by_key(|(place, _)| *place);
        let mut trace = Trace::new(&sights);
        trace.events = events.into_iter().map(|(_, event)| event).collect();
        trace.end = trace
            .events
            .iter()
            .map(|event| event.at)
            .max()
            .unwrap_or_default();
        trace
    }
}

/// An object of which no body was kept.
fn unknown(key: Key, deleting: bool) -> Object {
    Object {
        key,
        uid: "".into(),
        version: 0,
        generation: 0,
        release: None,
        ours: false,
        deleting,
        commit: None,
        body: Body::Plain,
    }
}

/// Whether an answer shows the end of an object: nothing holds it back, and of a pod the grace period is over.
fn is_gone(kind: Kind, response: &Value) -> bool {
    if response.pointer("/kind").and_then(Value::as_str) == Some("Status") {
        return response.pointer("/status").and_then(Value::as_str) == Some("Success");
    }
    let finalizers = response.pointer("/metadata/finalizers").and_then(Value::as_array);
    let held = finalizers.is_some_and(|finalizers| !finalizers.is_empty());
    let grace = response
        .pointer("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    let deleting = response.pointer("/metadata/deletionTimestamp").is_some();
    // Items of a collection are told as they were before.
    let listed = response.pointer("/kind").is_none();
    (deleting || listed) && !held && (kind != Kind::Pod || (deleting && grace == 0))
}

#[cfg(test)]
mod tests;
