//! An API server in the process of the tests: a service under the real client, with what controllers rely on (versions, UIDs,
//! generations, preconditions, server-side apply, watches that miss nothing) and the faults of [`super::inject`].
//!
//! What is left out: paging (a list is whole), JSON patches, discovery, authentication, defaults of fields, and the rules in
//! CEL of our kinds but for the one that keeps a revision as it is.

pub mod answer;
pub mod audit;
mod check;
pub mod clock;
pub mod fields;
pub mod object;
pub mod resources;
mod select;
pub mod store;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::{Body, HttpBody};
use http::Response;
use http_body_util::BodyExt as _;
use kube::{Client, client::Body as Sent};
use rand::Rng as _;
use serde_json::Value;
use slipway::cluster::{Clients, connect::heed};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub use self::{
    answer::Answer,
    object::Object,
    resources::{Key, Resource},
    store::{Actor, Request, Store, Verb},
};
use super::inject::{Fault, Injected, Rule, Rules};

/// The server. Cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    store: Mutex<Store>,
    rules: Mutex<Rules>,
    log: Mutex<Vec<Value>>,
    /// Every request of a client, with what it was answered: 0 where it never was.
    asked: Mutex<Vec<Asked>>,
    /// Lines of the log about others than Slipway's own lease.
    acted: AtomicUsize,
    changed: Notify,
    /// The end of every connection that there is.
    crash: Mutex<CancellationToken>,
    /// By which Slipway is known; `None` where everybody is believed.
    token: Mutex<Option<String>>,
    ids: Mutex<u64>,
}

/// A request of a client.
#[derive(Debug, Clone)]
pub struct Asked {
    pub request: Request,
    pub code: u16,
    /// Whether it was done, whatever became of the answer.
    pub done: bool,
    /// Whether it was answered or cut off by now.
    pub over: bool,
    pub at: jiff::Timestamp,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Server {
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            store: Mutex::new(Store::new()),
            rules: Mutex::default(),
            log: Mutex::default(),
            asked: Mutex::default(),
            acted: AtomicUsize::new(0),
            changed: Notify::new(),
            crash: Mutex::default(),
            token: Mutex::default(),
            ids: Mutex::default(),
        }))
    }

    /// What it holds.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap()
    }

    /// Waits until something was written since the last wait. For one who waits.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// The clients of a process of Slipway, as it has them of a real server.
    pub fn clients(&self, process: &str) -> Clients {
        let client = || self.client(&Actor::slipway(process));
        Clients {
            call: client(),
            watch: client(),
        }
    }

    /// A client of anybody.
    pub fn client(&self, by: &Actor) -> Client {
        let (server, by) = (self.clone(), by.clone());
        let service = tower::service_fn(move |request: http::Request<Sent>| {
            let (server, by) = (server.clone(), by.clone());
            async move { server.serve(by, request).await }
        });
        Client::new(service.map_response(heed), "default")
    }

    /// Serves a port of this machine, under a clock that runs: what is asked there is asked by a process of Slipway.
    pub async fn listen(&self, process: &str) -> std::net::SocketAddr {
        let (server, by) = (self.clone(), Actor::slipway(process));
        let routes = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let (server, by) = (server.clone(), by.clone());
            async move {
                server
                    .serve(by, request)
                    .await
                    .unwrap_or_else(|_| respond(Answer::broken(500)))
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address
    }

    /// From now on Slipway is known by this token alone, and who watches by another one is sent away.
    pub fn believe(&self, token: &str) {
        *self.0.token.lock().unwrap() = Some(token.to_owned());
        self.store().watchers.cut();
    }

    /// Ends as by SIGKILL: whoever waits for an answer is cut off, whether or not what was asked is done.
    pub fn crash(&self) {
        std::mem::take(&mut *self.0.crash.lock().unwrap()).cancel();
        self.store().watchers.cut();
    }

    /// From now on no write has room.
    pub fn fill(&self) {
        self.store().full = true;
    }

    pub fn make_room(&self) {
        self.store().full = false;
        self.0.changed.notify_one();
    }

    /// Is put back to what it was at a version, and nobody is told.
    pub fn restore(&self, version: u64) {
        self.store().restore(version);
        self.crash();
        self.0.changed.notify_one();
    }

    /// From now on.
    pub fn inject(&self, rule: Rule) -> Injected {
        self.0.rules.lock().unwrap().add(rule)
    }

    /// From now on, whatever else is in force.
    pub fn inject_first(&self, rule: Rule) -> Injected {
        self.0.rules.lock().unwrap().add_first(rule)
    }

    pub fn admit(
        &self,
        admission: impl Fn(&Request, &Value) -> Option<Answer> + Send + Sync + 'static,
    ) -> u64 {
        let id = self.id();
        self.store().admissions.insert(id, Arc::new(admission));
        id
    }

    pub fn mutate(&self, mutation: impl Fn(&Request, &mut Value) + Send + Sync + 'static) -> u64 {
        let id = self.id();
        self.store().mutations.insert(id, Arc::new(mutation));
        id
    }

    /// Takes an admission or a mutation away.
    pub fn dismiss(&self, id: u64) {
        let mut store = self.store();
        store.admissions.remove(&id);
        store.mutations.remove(&id);
    }

    fn id(&self) -> u64 {
        let mut ids = self.0.ids.lock().unwrap();
        *ids += 1;
        *ids
    }

    // === from inside ===

    /// Does a request at once, without any fault.
    pub fn handle(&self, mut request: Request) -> Answer {
        let answer = self.store().handle(&mut request);
        self.record(&request, &answer);
        answer
    }

    fn record(&self, request: &Request, answer: &Answer) {
        if !request.mutates() || request.is_dry() {
            return;
        }
        let mut log = self.0.log.lock().unwrap();
        let line = audit::line(log.len(), request, answer, clock::now());
        log.push(line);
        drop(log);
        if is_own_lease(request) {
            return;
        }
        self.0.acted.fetch_add(1, Ordering::SeqCst);
        if answer.is_ok() {
            self.0.changed.notify_one();
        }
    }

    /// The audit log.
    pub fn log(&self) -> Vec<Value> {
        self.log_since(0)
    }

    /// The audit log as it is written, a line each, without Slipway's own lease, which no invariant speaks of.
    pub fn log_text(&self) -> String {
        let log = self.0.log.lock().unwrap();
        let told = log.iter().filter(|line| line["objectRef"]["name"] != OWN_LEASE);
        let lines: Vec<String> = told.map(Value::to_string).collect();
        lines.join("\n")
    }

    /// The audit log from a line on.
    pub fn log_since(&self, line: usize) -> Vec<Value> {
        self.0.log.lock().unwrap()[line..].to_vec()
    }

    /// How many lines it has.
    pub fn logged(&self) -> usize {
        self.0.log.lock().unwrap().len()
    }

    /// How many lines of it are about others than Slipway's own lease, which is renewed for ever.
    pub fn acted(&self) -> usize {
        self.0.acted.load(Ordering::SeqCst)
    }

    /// Every request of a client so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.0.asked.lock().unwrap().clone()
    }

    /// Writes that are on their way: whether each is done already.
    pub fn flying(&self) -> Vec<bool> {
        let asked = self.0.asked.lock().unwrap();
        let flying = asked
            .iter()
            .filter(|asked| !asked.over && asked.request.mutates() && !asked.request.is_dry());
        flying.map(|asked| asked.done).collect()
    }

    /// How many requests of clients there were.
    pub fn count(&self, of: impl Fn(&Asked) -> bool) -> usize {
        self.0
            .asked
            .lock()
            .unwrap()
            .iter()
            .filter(|asked| of(asked))
            .count()
    }

    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.store().objects.get(&Key::of(kind, namespace, name)).cloned()
    }

    /// All objects of a kind.
    pub fn all(&self, kind: &str) -> Vec<(Key, Arc<Object>)> {
        let store = self.store();
        let of_kind = store
            .objects
            .iter()
            .filter(|(key, _)| std::ptr::eq(key.resource, Resource::of(kind)));
        of_kind
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect()
    }

    /// Creates an object; it names itself.
    pub fn create(&self, by: &Actor, object: Value) -> Answer {
        let word = |name: &str| object["metadata"][name].as_str().unwrap_or("").to_owned();
        let kind = object["kind"].as_str().unwrap_or("").to_owned();
        let key = Key::of(&kind, &word("namespace"), &word("name"));
        self.handle(Request::inside(by, Verb::Create, &key, "", object))
    }

    /// Changes an object as it is now.
    pub fn edit(&self, by: &Actor, key: &Key, sub: &str, edit: impl FnOnce(&mut Value)) -> Answer {
        let Some(object) = self.store().objects.get(key).cloned() else {
            return Answer::not_found(key);
        };
        let mut object = Value::clone(&object);
        edit(&mut object);
        self.handle(Request::inside(by, Verb::Update, key, sub, object))
    }

    /// Deletes an object, as the options say.
    pub fn delete(&self, by: &Actor, key: &Key, options: Value) -> Answer {
        self.handle(Request::inside(by, Verb::Delete, key, "", options))
    }

    /// A namespace that is empty goes.
    pub fn end_namespace(&self, name: &str) {
        self.store().end_namespace(name);
        self.0.changed.notify_one();
    }

    /// Forgets what was before now: a watch from before it must list anew.
    pub fn compact(&self) {
        let mut store = self.store();
        store.compacted = store.version;
    }

    // === from outside ===

    async fn serve<B>(&self, by: Actor, request: http::Request<B>) -> Result<Response<Body>, Failed>
    where
        B: HttpBody,
        Failed: From<B::Error>,
    {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.map_err(Failed::from)?.to_bytes();
        let Some(mut request) = read(by, &parts, &bytes) else {
            return Ok(respond(Answer::no_such_resource()));
        };
        let at = clock::now();
        let fault = self.0.rules.lock().unwrap().meet(&request);
        let number = {
            let mut asked = self.0.asked.lock().unwrap();
            asked.push(Asked {
                request: request.clone(),
                code: 0,
                done: false,
                over: false,
                at,
            });
            asked.len() - 1
        };
        let crash = self.0.crash.lock().unwrap().clone();
        let done = tokio::select! {
            biased;
            () = crash.cancelled() => Err(closed()),
            () = std::future::ready(()), if !self.believes(&request, &parts) => Ok(respond(Answer::unauthorized())),
            done = self.suffer(number, &mut request, fault) => done,
        };
        let asked = &mut self.0.asked.lock().unwrap()[number];
        asked.over = true;
        if let Ok(response) = &done {
            asked.code = response.status().as_u16();
        }
        done
    }

    fn believes(&self, request: &Request, parts: &http::request::Parts) -> bool {
        let token = self.0.token.lock().unwrap();
        let said = parts.headers.get(http::header::AUTHORIZATION);
        let is = |token: &String| said.is_some_and(|said| said == format!("Bearer {token}").as_str());
        !request.is_slipway() || token.as_ref().is_none_or(is)
    }

    /// Does a request with what befalls it.
    async fn suffer(
        &self,
        number: usize,
        request: &mut Request,
        fault: Option<Fault>,
    ) -> Result<Response<Body>, Failed> {
        let watch = request.verb == Verb::Watch;
        match fault {
            None if watch => Ok(self.watch(request, None)),
            None => Ok(respond(self.do_it(number, request))),
            Some(Fault::BreaksAfter(time)) if watch => Ok(self.watch(request, Some(time))),
            Some(Fault::BreaksAfter(_)) => Ok(respond(self.do_it(number, request))),
            Some(Fault::Answer(answer)) => {
                // A server that refuses says so in its log.
                self.record(request, &answer);
                Ok(respond(answer))
            }
            Some(Fault::DoneBut(answer)) => {
                self.do_it(number, request);
                Ok(respond(answer))
            }
            Some(Fault::Cut) => Err(closed()),
            Some(Fault::LostReply) => {
                self.do_it(number, request);
                Err(closed())
            }
            Some(Fault::Silence) => Err(silence(watch).await),
            Some(Fault::DoneInSilence) => {
                self.do_it(number, request);
                Err(silence(watch).await)
            }
            Some(Fault::Jitter(random, most)) => {
                let (time, part): (f64, f64) = random.lock().unwrap().random();
                let time = most.mul_f64(time);
                self.within(time, time.mul_f64(part), number, request).await
            }
            Some(Fault::Late(time)) => {
                // On its way, whether or not anybody waits for the answer.
                let (server, mut request) = (self.clone(), request.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    server.do_it(number, &mut request);
                });
                Err(silence(watch).await)
            }
            Some(Fault::AsOf(version)) if !request.mutates() && !watch && request.sub.is_empty() => {
                Ok(respond(self.store().read_as_of(version, request)))
            }
            Some(Fault::AsOf(_)) if watch => Ok(self.watch(request, None)),
            Some(Fault::AsOf(_)) => Ok(respond(self.do_it(number, request))),
            Some(Fault::First(act)) => {
                act(self, request);
                if watch {
                    return Ok(self.watch(request, None));
                }
                Ok(respond(self.do_it(number, request)))
            }
        }
    }

    /// Does a request after so long, and answers when all of the time is over.
    async fn within(
        &self,
        time: Duration,
        until_done: Duration,
        number: usize,
        request: &mut Request,
    ) -> Result<Response<Body>, Failed> {
        if request.verb == Verb::Watch {
            tokio::time::sleep(time).await;
            return Ok(self.watch(request, None));
        }
        tokio::time::sleep(until_done).await;
        let answer = self.do_it(number, request);
        tokio::time::sleep(time - until_done).await;
        Ok(respond(answer))
    }

    fn do_it(&self, number: usize, request: &mut Request) -> Answer {
        let answer = self.store().handle(request);
        self.record(request, &answer);
        self.0.asked.lock().unwrap()[number].done = answer.is_ok();
        answer
    }

    fn watch(&self, request: &Request, breaks: Option<Duration>) -> Response<Body> {
        let mut guard = self.store();
        let store = &mut *guard;
        if request.resource.custom && !store.defined {
            return respond(Answer::no_such_resource());
        }
        let from = request
            .query
            .get("resourceVersion")
            .and_then(|text| text.parse::<u64>().ok());
        let from = from.filter(|version| *version > 0);
        let known = from.is_none_or(|version| version >= store.compacted);
        // Without a version it begins with what there is, which is what all changes until now make of it.
        let before = known.then(|| {
            store
                .history
                .iter()
                .filter(|change| from.is_none_or(|from| change.version > from))
        });
        let server = Arc::downgrade(&self.0);
        let told = Box::new(move || {
            let inner = server.upgrade()?;
            let store = inner.store.lock().unwrap();
            (!store.watchers.holds_back()).then_some(store.version)
        });
        let feed = store
            .watchers
            .add(request, from.unwrap_or(0), before, breaks, told);
        drop(guard);
        Response::builder()
            .header("content-type", "application/json")
            .body(feed.into_body())
            .unwrap()
    }
}

/// What the client's own deadline makes of it in the end: `Clients` gives a call 15 s and a watch 310 s. Those who call have
/// shorter ones.
async fn silence(watch: bool) -> Failed {
    let seconds = if watch { 310 } else { 16 };
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Box::new(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer"))
}

const OWN_LEASE: &str = "slipway-controller";

/// It is renewed for ever, and nobody but Slipway heeds it.
fn is_own_lease(request: &Request) -> bool {
    request.is_of("Lease") && request.name == OWN_LEASE
}

fn closed() -> Failed {
    Box::new(std::io::Error::new(
        std::io::ErrorKind::ConnectionReset,
        "connection closed before the message completed",
    ))
}

fn respond(answer: Answer) -> Response<Body> {
    let mut response = Response::builder().status(answer.code);
    if let Some(seconds) = answer.retry_after {
        response = response.header("retry-after", seconds.to_string());
    }
    let (kind, body) = match answer.body {
        answer::Body::Json(value) => ("application/json", value.to_string()),
        answer::Body::Raw(text) => ("application/json", text),
        answer::Body::Text(text) => ("text/plain; charset=utf-8", text),
    };
    response
        .header("content-type", kind)
        .body(Body::from(body))
        .unwrap()
}

/// Reads a request; `None` for a path that nothing serves.
fn read(by: Actor, parts: &http::request::Parts, bytes: &[u8]) -> Option<Request> {
    let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
    let (group, version, rest) = match path.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..]
            if !rest.is_empty() && !["status", "finalize"].contains(&rest[0]) =>
        {
            (*namespace, rest)
        }
        rest => ("", rest),
    };
    let (plural, name, sub) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, sub] => (*plural, *name, *sub),
        _ => return None,
    };
    let resource = Resource::at(group, version, plural)?;
    let query: BTreeMap<String, String> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes())
            .into_owned()
            .collect();
    let verb = match (parts.method.as_str(), name.is_empty()) {
        ("GET", _)
            if query
                .get("watch")
                .is_some_and(|watch| watch == "true" || watch == "1") =>
        {
            Verb::Watch
        }
        ("GET", true) => Verb::List,
        ("GET", false) => Verb::Get,
        ("POST", _) => Verb::Create,
        ("PUT", _) => Verb::Update,
        ("PATCH", _) => Verb::Patch,
        ("DELETE", false) => Verb::Delete,
        _ => return None,
    };
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    };
    Some(Request {
        by,
        verb,
        resource,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        sub: sub.to_owned(),
        query,
        content: header("content-type").to_owned(),
        body: serde_json::from_slice(bytes).unwrap_or(Value::Null),
        uri: parts.uri.to_string(),
        metadata_only: header("accept").contains("as=PartialObjectMetadata"),
    })
}
