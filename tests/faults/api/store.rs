//! What the server holds, and what each verb does to it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    answer::Answer,
    check, clock,
    fields::{self, Manager, Notes},
    object::Object,
    resources::{Key, Resource},
    select::Selector,
    watch::Watchers,
};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub user: String,
    /// The pod that it runs in; of Slipway alone.
    pub process: Option<String>,
}

impl Actor {
    pub fn slipway(process: &str) -> Self {
        Self {
            user: super::audit::SLIPWAY.to_owned(),
            process: Some(process.to_owned()),
        }
    }

    pub fn person() -> Self {
        Self {
            user: "kubernetes-admin".to_owned(),
            process: None,
        }
    }

    /// One of Kubernetes' own controllers.
    pub fn kubernetes(name: &str) -> Self {
        Self {
            user: format!("system:serviceaccount:kube-system:{name}"),
            process: None,
        }
    }

    pub fn kubelet() -> Self {
        Self {
            user: "system:node:node1".to_owned(),
            process: None,
        }
    }

    /// Whom the notes on fields name where the request names nobody.
    fn manager(&self) -> String {
        self.user.rsplit(':').next().unwrap_or("unknown").to_owned()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

impl Verb {
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// A request, read.
#[derive(Debug, Clone)]
pub struct Request {
    pub by: Actor,
    pub verb: Verb,
    pub resource: &'static Resource,
    pub namespace: String,
    /// Empty for lists and, until it is read from the body, for creates.
    pub name: String,
    /// `status`, `log`, or empty.
    pub sub: String,
    pub query: BTreeMap<String, String>,
    pub content: String,
    pub body: Value,
    pub uri: String,
    /// Whether metadata alone is wanted.
    pub metadata_only: bool,
}

impl Request {
    /// Of somebody inside the cluster, who is never in the way of a fault.
    pub fn inside(by: &Actor, verb: Verb, key: &Key, sub: &str, body: Value) -> Self {
        let Key {
            resource,
            namespace,
            name,
        } = key.clone();
        Self {
            by: by.clone(),
            verb,
            resource,
            uri: format!("/{}/{namespace}/{name}/{sub}", resource.plural),
            namespace,
            name,
            sub: sub.to_owned(),
            query: BTreeMap::new(),
            content: "application/json".to_owned(),
            body,
            metadata_only: false,
        }
    }

    pub fn key(&self) -> Key {
        Key {
            resource: self.resource,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    pub fn is_dry(&self) -> bool {
        self.query.contains_key("dryRun")
    }

    /// Whether it would change something.
    pub fn mutates(&self) -> bool {
        matches!(
            self.verb,
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete
        )
    }

    pub fn is_slipway(&self) -> bool {
        self.by.process.is_some()
    }

    pub fn is_of(&self, kind: &str) -> bool {
        self.resource.kind == kind
    }

    fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    pub fn selector(&self) -> Selector {
        Selector {
            labels: self.parameter("labelSelector").to_owned(),
            fields: self.parameter("fieldSelector").to_owned(),
        }
    }

    fn manager(&self, operation: &'static str) -> Manager {
        let named = self.parameter("fieldManager");
        Manager {
            name: if named.is_empty() {
                self.by.manager()
            } else {
                named.to_owned()
            },
            operation,
            status: self.sub == "status",
        }
    }

    fn is_strict(&self) -> bool {
        self.parameter("fieldValidation") == "Strict"
    }
}

/// A change of one object.
#[derive(Debug, Clone)]
pub struct Change {
    pub version: u64,
    pub key: Key,
    pub before: Option<Arc<Object>>,
    pub after: Option<Arc<Object>>,
    /// The object that goes, with the version of its end.
    pub last: Arc<Object>,
}

/// Refuses a request, or lets it pass; is shown the object as it would be.
pub type Admission = Arc<dyn Fn(&Request, &Value) -> Option<Answer> + Send + Sync>;
/// Changes what is written.
pub type Mutation = Arc<dyn Fn(&Request, &mut Value) + Send + Sync>;

/// Everything that the server holds.
pub struct Store {
    pub version: u64,
    /// Of what is older nothing is known any more.
    pub compacted: u64,
    pub objects: BTreeMap<Key, Arc<Object>>,
    pub history: Vec<Change>,
    pub watchers: Watchers,
    /// Whether the definitions of our own kinds are installed.
    pub defined: bool,
    pub admissions: BTreeMap<u64, Admission>,
    pub mutations: BTreeMap<u64, Mutation>,
    /// Whether etcd has no room left.
    pub full: bool,
    /// Whether the server is newer than Slipway: what it makes has fields that nobody else knows.
    pub newer: bool,
    /// Logs of pods, by UID.
    pub logs: BTreeMap<String, String>,
    made: u64,
}

impl Store {
    pub fn new() -> Self {
        Self {
            version: 100,
            compacted: 0,
            objects: BTreeMap::new(),
            history: Vec::new(),
            watchers: Watchers::default(),
            defined: true,
            admissions: BTreeMap::new(),
            mutations: BTreeMap::new(),
            full: false,
            newer: false,
            logs: BTreeMap::new(),
            made: 0,
        }
    }

    /// What a request that is no watch does.
    pub fn handle(&mut self, request: &mut Request) -> Answer {
        if request.resource.custom && !self.defined {
            return Answer::no_such_resource();
        }
        if self.full && request.mutates() && !request.is_dry() {
            return Answer::full();
        }
        let done = match request.verb {
            Verb::Get => self.get(request),
            Verb::List => Ok(self.list(request)),
            Verb::Watch => Err(Answer::bad("a watch is no question")),
            Verb::Create => self.create(request),
            Verb::Update => self.update(request),
            Verb::Patch => self.patch(request),
            Verb::Delete => self.delete(request),
        };
        done.unwrap_or_else(|refused| refused)
    }

    fn get(&self, request: &Request) -> Result<Answer, Answer> {
        let key = request.key();
        let object = self.objects.get(&key).ok_or_else(|| Answer::not_found(&key))?;
        if request.sub == "log" {
            let uid = object["metadata"]["uid"].as_str().unwrap_or("");
            return Ok(Answer::text(200, self.logs.get(uid).cloned().unwrap_or_default()));
        }
        Ok(Answer::raw(object.text(request.metadata_only)))
    }

    fn list(&self, request: &Request) -> Answer {
        list(&self.objects, self.version, request)
    }

    /// The objects as they were when the server had this version.
    pub fn as_of(&self, version: u64) -> BTreeMap<Key, Arc<Object>> {
        let mut objects = BTreeMap::new();
        for change in self.history.iter().filter(|change| change.version <= version) {
            match &change.after {
                Some(object) => objects.insert(change.key.clone(), Arc::clone(object)),
                None => objects.remove(&change.key),
            };
        }
        objects
    }

    /// Everything is as it was then; versions are given once more, UIDs are not.
    pub fn restore(&mut self, version: u64) {
        self.objects = self.as_of(version);
        self.version = version;
        self.compacted = self.compacted.min(version);
        self.history.retain(|change| change.version <= version);
    }

    /// Answers a read from the past.
    pub fn read_as_of(&self, version: u64, request: &Request) -> Answer {
        let objects = self.as_of(version);
        match request.verb {
            Verb::List => list(&objects, version, request),
            _ => match objects.get(&request.key()) {
                Some(object) => Answer::raw(object.text(request.metadata_only)),
                None => Answer::not_found(&request.key()),
            },
        }
    }

    // === writes ===

    fn create(&mut self, request: &mut Request) -> Result<Answer, Answer> {
        let mut object = std::mem::take(&mut request.body);
        let metadata = &object["metadata"];
        if metadata["name"].is_null()
            && let Some(prefix) = metadata["generateName"].as_str()
        {
            self.made += 1;
            let name = format!("{prefix}{:05x}", self.made);
            object["metadata"]["name"] = json!(name);
        }
        request.name = object["metadata"]["name"].as_str().unwrap_or("").to_owned();
        request.body = object.clone();
        let key = request.key();
        if request.name.is_empty() {
            return Err(Answer::invalid(
                &key,
                "metadata.name: Required value: name or generateName is required",
            ));
        }
        if object["metadata"]["resourceVersion"]
            .as_str()
            .is_some_and(|version| !version.is_empty())
        {
            return Err(Answer::bad(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        self.may_hold(&key)?;
        if self.objects.contains_key(&key) {
            return Err(Answer::exists(&key));
        }
        if let Some(fields) = object.as_object_mut()
            && request.resource.status
        {
            fields.remove("status");
        }
        self.mutate(request, &mut object);
        let manager = request.manager("Update");
        self.fill(&key, &mut object);
        fields::updated(&json!({}), &mut object, &manager, notes(&key, &clock::seconds()));
        self.judge(request, &key, &object)?;
        if request.is_dry() {
            return Ok(Answer::json(201, object));
        }
        let object = self.put(key, object);
        Ok(Answer::json(201, Value::clone(&object)))
    }

    /// Whether a namespace takes new objects.
    fn may_hold(&self, key: &Key) -> Result<(), Answer> {
        if !key.resource.namespaced {
            return Ok(());
        }
        let namespace = Key::of("Namespace", "", &key.namespace);
        match self.objects.get(&namespace) {
            None => Err(Answer::not_found(&namespace)),
            Some(found) if is_deleting(found) => Err(Answer::terminating(key)),
            Some(_) => Ok(()),
        }
    }

    /// What the server gives to what is new.
    fn fill(&mut self, key: &Key, object: &mut Value) {
        self.made += 1;
        let uid = format!("00000000-0000-4000-8000-{:012x}", self.made);
        object["apiVersion"] = json!(key.resource.api_version());
        object["kind"] = json!(key.resource.kind);
        let metadata = &mut object["metadata"];
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(clock::seconds());
        if key.resource.namespaced {
            metadata["namespace"] = json!(key.namespace);
        }
        if key.resource.generation {
            metadata["generation"] = json!(1);
        }
        match key.resource.kind {
            // By these the Job controller finds its pods.
            "Job" => {
                let labels = json!({
                    "batch.kubernetes.io/controller-uid": uid,
                    "batch.kubernetes.io/job-name": key.name,
                });
                object["spec"]["selector"] =
                    json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": uid } });
                merge(&mut object["spec"]["template"]["metadata"]["labels"], &labels);
            }
            "Pod" => object["status"] = json!({ "phase": "Pending" }),
            "Namespace" => object["status"] = json!({ "phase": "Active" }),
            _ => {}
        }
    }

    fn mutate(&self, request: &Request, object: &mut Value) {
        if request.sub.is_empty() {
            for mutation in self.mutations.values() {
                mutation(request, object);
            }
        }
    }

    /// By its form, then by those who are asked.
    fn judge(&self, request: &Request, key: &Key, object: &Value) -> Result<(), Answer> {
        if let Some(why) = check::wrong(key.resource, object, request.is_strict()) {
            return Err(if why.starts_with("strict") {
                Answer::bad(why)
            } else {
                Answer::invalid(key, &why)
            });
        }
        self.admit(request, object)
    }

    fn admit(&self, request: &Request, object: &Value) -> Result<(), Answer> {
        let refused = self
            .admissions
            .values()
            .find_map(|admission| admission(request, object));
        refused.map_or(Ok(()), Err)
    }

    fn update(&mut self, request: &Request) -> Result<Answer, Answer> {
        let key = request.key();
        let before = self
            .objects
            .get(&key)
            .cloned()
            .ok_or_else(|| Answer::not_found(&key))?;
        if request.body["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or("")
            .is_empty()
        {
            return Err(Answer::invalid(
                &key,
                "metadata.resourceVersion: must be specified for an update",
            ));
        }
        self.change(request, &key, &before, request.body.clone())
    }

    fn patch(&mut self, request: &mut Request) -> Result<Answer, Answer> {
        let key = request.key();
        match request.content.as_str() {
            "application/merge-patch+json" => {
                let before = self
                    .objects
                    .get(&key)
                    .cloned()
                    .ok_or_else(|| Answer::not_found(&key))?;
                let mut after = Value::clone(&before);
                merge(&mut after, &request.body);
                self.change(request, &key, &before, after)
            }
            "application/apply-patch+yaml" => self.apply(request, &key),
            other => Err(super::answer::status(
                415,
                "UnsupportedMediaType",
                format!("{other} is not built"),
                Value::Null,
            )),
        }
    }

    /// An object becomes another one, otherwise than by an apply.
    fn change(
        &mut self,
        request: &Request,
        key: &Key,
        before: &Arc<Object>,
        after: Value,
    ) -> Result<Answer, Answer> {
        let asked_notes = after.pointer("/metadata/managedFields").cloned();
        let mut object = self.prepared(request, key, before, after)?;
        if asked_notes.is_some() && asked_notes.as_ref() != before.pointer("/metadata/managedFields") {
            object["metadata"]["managedFields"] = asked_notes.unwrap_or_default();
        } else {
            fields::updated(
                before,
                &mut object,
                &request.manager("Update"),
                notes(key, &clock::seconds()),
            );
        }
        self.replace(request, key, before, object)
    }

    fn apply(&mut self, request: &Request, key: &Key) -> Result<Answer, Answer> {
        let applied = &request.body;
        let manager = request.manager("Apply");
        if request.parameter("fieldManager").is_empty() {
            return Err(Answer::bad(
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value",
            ));
        }
        let kind = (&applied["apiVersion"], &applied["kind"]);
        if kind != (&json!(key.resource.api_version()), &json!(key.resource.kind)) {
            return Err(Answer::bad(
                "the apiVersion or kind in the data does not match the expected one",
            ));
        }
        let force = request.parameter("force") == "true";
        let time = clock::seconds();
        let taken = |conflicts: Vec<(String, fields::Path)>| {
            let mut owners: Vec<String> = conflicts.into_iter().map(|(owner, _)| owner).collect();
            owners.dedup();
            Answer::taken(key, &owners)
        };
        let Some(before) = self.objects.get(key).cloned() else {
            if !request.sub.is_empty() {
                return Err(Answer::not_found(key));
            }
            if !applied["metadata"]["uid"].is_null() {
                let uid = &applied["metadata"]["uid"];
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(Answer::conflict(key, &why));
            }
            self.may_hold(key)?;
            let bare = json!({ "metadata": { "name": key.name } });
            let mut object =
                fields::apply(&bare, applied, &manager, force, notes(key, &time)).map_err(taken)?;
            self.mutate(request, &mut object);
            self.fill(key, &mut object);
            self.judge(request, key, &object)?;
            if request.is_dry() {
                return Ok(Answer::json(201, object));
            }
            let object = self.put(key.clone(), object);
            return Ok(Answer::json(201, Value::clone(&object)));
        };
        let mut after = fields::apply(&before, applied, &manager, force, notes(key, &time)).map_err(taken)?;
        for name in ["uid", "resourceVersion"] {
            if let Some(asked) = applied["metadata"][name].as_str() {
                after["metadata"][name] = json!(asked);
            }
        }
        let set = after["metadata"]["managedFields"].clone();
        let mut object = self.prepared(request, key, &before, after)?;
        object["metadata"]["managedFields"] = set;
        self.replace(request, key, &before, object)
    }

    /// The object as it would be: preconditions held, parts that are not asked for as they were, generation counted.
    fn prepared(
        &self,
        request: &Request,
        key: &Key,
        before: &Value,
        mut after: Value,
    ) -> Result<Value, Answer> {
        let version = &after["metadata"]["resourceVersion"];
        if !version.is_null() && *version != before["metadata"]["resourceVersion"] {
            return Err(Answer::modified(key));
        }
        let uid = &after["metadata"]["uid"];
        if !uid.is_null() && *uid != before["metadata"]["uid"] {
            let had = &before["metadata"]["uid"];
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {had}");
            return Err(Answer::conflict(key, &why));
        }
        if request.sub == "status" {
            let status = after.get_mut("status").map(Value::take);
            let mut object = before.clone();
            object["status"] = status.unwrap_or_else(|| json!({}));
            return Ok(object);
        }
        after["apiVersion"] = before["apiVersion"].clone();
        after["kind"] = before["kind"].clone();
        self.mutate(request, &mut after);
        if key.resource.status {
            keep(&mut after, before, "status");
        }
        for name in [
            "uid",
            "name",
            "namespace",
            "creationTimestamp",
            "deletionTimestamp",
            "generation",
        ] {
            keep(&mut after["metadata"], &before["metadata"], name);
        }
        for pointer in key.resource.fixed {
            let (mut old, mut new) = (before.pointer(pointer).cloned(), after.pointer(pointer).cloned());
            if *pointer == "/spec/template" && may_be_annotated(before) {
                for template in [&mut old, &mut new].into_iter().flatten() {
                    template["metadata"]["annotations"].take();
                }
            }
            if old != new {
                return Err(Answer::invalid(
                    key,
                    &format!("{pointer}: Invalid value: field is immutable"),
                ));
            }
        }
        if key.resource.generation && rest(before) != rest(&after) {
            let generation = before["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
            after["metadata"]["generation"] = json!(generation);
        }
        Ok(after)
    }

    fn replace(
        &mut self,
        request: &Request,
        key: &Key,
        before: &Arc<Object>,
        object: Value,
    ) -> Result<Answer, Answer> {
        self.judge(request, key, &object)?;
        if same(before, &object) {
            return Ok(Answer::json(200, Value::clone(before)));
        }
        if request.is_dry() {
            return Ok(Answer::json(200, object));
        }
        let ends_alone = !is_any(key, &["Pod", "Namespace"]);
        if is_deleting(&object) && finalizers(&object).is_empty() && ends_alone {
            let last = self.remove(key, object);
            return Ok(Answer::json(200, Value::clone(&last)));
        }
        let object = self.put(key.clone(), object);
        Ok(Answer::json(200, Value::clone(&object)))
    }

    fn delete(&mut self, request: &Request) -> Result<Answer, Answer> {
        let key = request.key();
        let before = self
            .objects
            .get(&key)
            .cloned()
            .ok_or_else(|| Answer::not_found(&key))?;
        for (name, asked) in [
            ("uid", &request.body["preconditions"]["uid"]),
            (
                "resourceVersion",
                &request.body["preconditions"]["resourceVersion"],
            ),
        ] {
            let has = &before["metadata"][name];
            if !asked.is_null() && asked != has {
                let why = format!(
                    "Precondition failed: {name} in precondition: {asked}, {name} in object meta: {has}"
                );
                return Err(Answer::conflict(&key, &why));
            }
        }
        self.admit(request, &before)?;
        let foreground = request.body["propagationPolicy"] == "Foreground";
        let at_once = request.body["gracePeriodSeconds"] == 0;
        let uid = before["metadata"]["uid"].clone();
        if request.body["propagationPolicy"] == "Orphan" {
            self.orphan(&uid);
        }
        let mut object = Value::clone(&before);
        let graceful = match key.resource.kind {
            "Pod" => !at_once && !object["spec"]["nodeName"].is_null() && !is_over(&object),
            "Namespace" => true,
            _ => false,
        };
        if foreground && key.resource.kind != "Pod" {
            let mut all = finalizers(&object);
            if !all.iter().any(|name| name == FOREGROUND) {
                all.push(FOREGROUND.to_owned());
            }
            object["metadata"]["finalizers"] = json!(all);
        }
        if finalizers(&object).is_empty() && !graceful {
            self.remove(&key, object);
            let details = json!({ "name": key.name, "kind": key.resource.plural, "group": key.resource.group, "uid": uid });
            let body = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
            });
            return Ok(Answer::json(200, body));
        }
        if !is_deleting(&object) {
            object["metadata"]["deletionTimestamp"] = json!(clock::seconds());
            if let Some(generation) = object["metadata"]["generation"].as_u64() {
                object["metadata"]["generation"] = json!(generation + 1);
            }
            match key.resource.kind {
                "Pod" => object["metadata"]["deletionGracePeriodSeconds"] = json!(30),
                "Namespace" => object["status"]["phase"] = json!("Terminating"),
                _ => {}
            }
        }
        if same(&before, &object) {
            return Ok(Answer::json(200, object));
        }
        let object = self.put(key, object);
        Ok(Answer::json(200, Value::clone(&object)))
    }

    /// What it owned stays, without an owner.
    fn orphan(&mut self, uid: &Value) {
        let owned: Vec<(Key, Arc<Object>)> = self
            .objects
            .iter()
            .filter(|(_, object)| owners(object).any(|owner| owner["uid"] == *uid))
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect();
        for (key, object) in owned {
            let mut object = Value::clone(&object);
            let kept: Vec<Value> = owners(&object)
                .filter(|owner| owner["uid"] != *uid)
                .cloned()
                .collect();
            object["metadata"]["ownerReferences"] = json!(kept);
            self.put(key, object);
        }
    }

    // === the one way in ===

    fn put(&mut self, key: Key, mut object: Value) -> Arc<Object> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if self.newer && !key.resource.custom && !self.objects.contains_key(&key) {
            later(&mut object);
        }
        let object = Arc::new(Object::new(object, self.newer));
        let before = self.objects.insert(key.clone(), Arc::clone(&object));
        self.changed(Change {
            version: self.version,
            key,
            before,
            after: Some(Arc::clone(&object)),
            last: Arc::clone(&object),
        });
        object
    }

    fn remove(&mut self, key: &Key, mut object: Value) -> Arc<Object> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let last = Arc::new(Object::new(object, self.newer));
        let before = self.objects.remove(key);
        self.changed(Change {
            version: self.version,
            key: key.clone(),
            before,
            after: None,
            last: Arc::clone(&last),
        });
        last
    }

    fn changed(&mut self, change: Change) {
        self.watchers.tell(&change);
        self.history.push(change);
    }

    /// A namespace that is empty goes.
    pub fn end_namespace(&mut self, name: &str) {
        let key = Key::of("Namespace", "", name);
        if let Some(object) = self.objects.get(&key).cloned() {
            self.remove(&key, Value::clone(&object));
        }
    }

    /// Takes the definitions of our own kinds away, and every object of theirs with them.
    pub fn undefine(&mut self) {
        let all: Vec<Key> = self
            .objects
            .keys()
            .filter(|key| key.resource.custom)
            .cloned()
            .collect();
        for key in all {
            if let Some(object) = self.objects.get(&key).cloned() {
                self.remove(&key, Value::clone(&object));
            }
        }
        self.defined = false;
        self.watchers.end_of(|resource| resource.custom);
    }
}

/// A field that no version of Kubernetes has by now.
pub const LATER: &str = "laterField";

/// Gives an object what a later version has in each of its parts.
fn later(object: &mut Value) {
    for part in [
        "",
        "/spec",
        "/spec/template/spec",
        "/spec/template/spec/containers/0",
        "/spec/containers/0",
    ] {
        if let Some(fields) = object.pointer_mut(part).and_then(Value::as_object_mut) {
            fields.insert(LATER.to_owned(), json!({ "of": "a later version" }));
        }
    }
}

pub const FOREGROUND: &str = "foregroundDeletion";

fn notes<'a>(key: &Key, time: &'a str) -> (&'static str, &'a str) {
    // Of the versions that there are.
    let version = match (key.resource.group, key.resource.version) {
        ("", _) => "v1",
        ("apps", _) => "apps/v1",
        ("batch", _) => "batch/v1",
        ("policy", _) => "policy/v1",
        ("networking.k8s.io", _) => "networking.k8s.io/v1",
        ("coordination.k8s.io", _) => "coordination.k8s.io/v1",
        ("events.k8s.io", _) => "events.k8s.io/v1",
        _ => "slipway.dev/v1alpha1",
    };
    (version, time)
}

fn list(objects: &BTreeMap<Key, Arc<Object>>, version: u64, request: &Request) -> Answer {
    let selector = request.selector();
    let bare = !request.resource.custom && !request.metadata_only;
    let items: Vec<&str> = objects
        .iter()
        .filter(|(key, _)| std::ptr::eq(key.resource, request.resource))
        .filter(|(key, _)| request.namespace.is_empty() || key.namespace == request.namespace)
        .filter(|(_, object)| selector.holds(object))
        .map(|(_, object)| {
            if bare {
                object.item()
            } else {
                object.text(request.metadata_only)
            }
        })
        .collect();
    let (kind, api_version) = if request.metadata_only {
        ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned())
    } else {
        (request.resource.kind, request.resource.api_version())
    };
    Answer::raw(&format!(
        r#"{{"kind":"{kind}List","apiVersion":"{api_version}","metadata":{{"resourceVersion":"{version}"}},"items":[{}]}}"#,
        items.join(",")
    ))
}

/// RFC 7396.
pub fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().and_then(|target| target.remove(name));
        } else {
            merge(&mut target[name], value);
        }
    }
}

fn is_any(key: &Key, kinds: &[&str]) -> bool {
    kinds.contains(&key.resource.kind)
}

pub fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

pub fn is_over(pod: &Value) -> bool {
    ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or(""))
}

pub fn finalizers(object: &Value) -> Vec<String> {
    let all = object["metadata"]["finalizers"].as_array();
    all.into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

pub fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
}

/// A field stays as it was, or absent.
fn keep(after: &mut Value, before: &Value, name: &str) {
    match before.get(name) {
        Some(value) => after[name] = value.clone(),
        None => {
            after.as_object_mut().and_then(|fields| fields.remove(name));
        }
    }
}

/// What another generation is made of.
fn rest(object: &Value) -> BTreeMap<&str, &Value> {
    let fields = object.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| (name.as_str(), value))
        .filter(|(name, value)| !["metadata", "status"].contains(name) && !value.is_null())
        .collect()
}

/// Whether a write would change nothing: then it is none.
fn same(before: &Value, after: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
        }
        if let Some(fields) = object.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        object
    };
    let sets = |object: &Value| -> Vec<(Manager, fields::Set)> {
        let notes = Notes::of(object).0.into_iter();
        notes.map(|(manager, (set, _))| (manager, set)).collect()
    };
    bare(before) == bare(after) && sets(before) == sets(after)
}

/// Whether the annotations of a Job's pods may change: while it is suspended and has not been started
/// (<https://kubernetes.io/docs/concepts/workloads/controllers/job/#mutable-scheduling-directives>).
fn may_be_annotated(job: &Value) -> bool {
    job["spec"]["suspend"] == true && job["status"]["startTime"].is_null()
}
