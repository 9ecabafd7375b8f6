//! Which of several processes acts: leader election on a `Lease`.
//!
//! A holder renews by replacing the object at the resourceVersion that it wrote last, so two processes can
//! never both believe in one renewal. Others measure by their own clock how long the object stayed the same;
//! clocks of nodes are never compared. A holder that could not renew for [`Timing::give_up`] has lost, and the
//! process ends: the margin up to [`Timing::duration`] is what its last requests may take.
//!
//! A lease is no fence. Every write still names the resourceVersion that it was decided on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{api::FIELD_MANAGER, telemetry::chain};

/// The name of the object.
const NAME: &str = "slipway-controller";

/// How long everything lasts.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long the object must stay the same before others take it.
    pub duration: Duration,
    /// How long a holder goes on without a renewal.
    pub give_up: Duration,
    /// Between two renewals, or two looks.
    pub period: Duration,
    /// For one request.
    pub call: Duration,
}

impl Default for Timing {
    /// A dead holder is followed after at most 15 s + 2 s; two of three renewals may fail.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            give_up: Duration::from_secs(10),
            period: Duration::from_secs(2),
            call: Duration::from_secs(3),
        }
    }
}

/// How an election ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// By the token; the lease is free for the next one, if it was ours.
    Released,
    /// The lease was ours and is not any more. The process must end.
    Lost(String),
}

/// Whether this process leads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leader {
    start: Instant,
    /// Milliseconds after `start` until which the lease is ours; 0 is never.
    until: Arc<AtomicU64>,
    changes: watch::Receiver<bool>,
}

/// The running election.
#[derive(Debug)]
pub struct Leadership {
    leader: Leader,
    task: JoinHandle<Ended>,
}

// === impl Leader ===

impl Leader {
    /// Whether the lease is ours at this moment. True to the clock even when the process was frozen and the
    /// election did not run yet, so ask right before writing.
    #[must_use]
    pub fn leads(&self) -> bool {
        millis(self.start.elapsed()) < self.until.load(Ordering::Acquire)
    }

    /// Waits until the lease is ours. `false`: the election ended first.
    pub async fn elected(&mut self) -> bool {
        self.changes.wait_for(|leads| *leads).await.is_ok()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}

// === impl Leadership ===

/// Takes part in the election in `namespace` as `identity` (unique per process: the pod's name) until `token`
/// is cancelled. Cancel it last, after everything that writes has ended.
#[must_use]
pub fn lead(client: Client, namespace: &str, identity: &str, token: CancellationToken) -> Leadership {
    lead_with(client, namespace, identity, token, Timing::default())
}

/// As [`lead`], with another timing.
#[must_use]
pub fn lead_with(
    client: Client,
    namespace: &str,
    identity: &str,
    token: CancellationToken,
    timing: Timing,
) -> Leadership {
    let (sender, changes) = watch::channel(false);
    let leader = Leader {
        start: Instant::now(),
        until: Arc::default(),
        changes,
    };
    let election = Election {
        api: Api::namespaced(client, namespace),
        identity: identity.to_owned(),
        timing,
        leader: leader.clone(),
        sender,
        held: None,
        seen: None,
    };
    Leadership {
        leader,
        task: tokio::spawn(election.run(token)),
    }
}

impl Leadership {
    /// Leads at once and for ever: for one process that needs no election.
    #[must_use]
    pub fn alone(token: CancellationToken) -> Self {
        let (sender, changes) = watch::channel(true);
        let leader = Leader {
            start: Instant::now(),
            until: Arc::new(AtomicU64::new(u64::MAX)),
            changes,
        };
        let task = tokio::spawn(async move {
            token.cancelled().await;
            drop(sender);
            Ended::Released
        });
        Self { leader, task }
    }

    /// A handle for those who write.
    #[must_use]
    pub fn leader(&self) -> Leader {
        self.leader.clone()
    }

    /// How it ended. Cancel safe; wait for it beside everything else, so that a loss ends the process.
    pub async fn ended(&mut self) -> Ended {
        match (&mut self.task).await {
            Ok(ended) => ended,
            Err(error) => Ended::Lost(format!("the election itself ended: {error}")),
        }
    }
}

// === impl Election ===

struct Election {
    api: Api<Lease>,
    identity: String,
    timing: Timing,
    leader: Leader,
    sender: watch::Sender<bool>,
    /// The object as we wrote it last and when we began to; `None` while others hold it.
    held: Option<(Lease, Instant)>,
    /// The object of others, by its resourceVersion, and since when it is the same.
    seen: Option<(String, Instant)>,
}

/// What one look at the object led to.
enum Step {
    Holding,
    Waiting,
    /// It was ours and another one holds it now.
    Taken(String),
}

impl Election {
    async fn run(mut self, token: CancellationToken) -> Ended {
        loop {
            match self.step().await {
                Ok(Step::Holding | Step::Waiting) => {}
                Ok(Step::Taken(holder)) => return self.lost(format!("{holder} holds the lease now")),
                Err(error) => tracing::warn!(error, "the lease could not be read or renewed"),
            }
            if let Some((_, since)) = &self.held
                && since.elapsed() >= self.timing.give_up
            {
                let spent = since.elapsed().as_secs();
                return self.lost(format!("the lease could not be renewed for {spent} s"));
            }
            tokio::select! {
                () = token.cancelled() => return self.release().await,
                () = tokio::time::sleep(self.timing.period) => {}
            }
        }
    }

    fn lost(self, why: String) -> Ended {
        self.leader.until.store(0, Ordering::Release);
        self.sender.send_replace(false);
        Ended::Lost(why)
    }

    /// Renews what is ours, or looks at what is not. Errors are sentences for the log.
    async fn step(&mut self) -> Result<Step, String> {
        if let Some((lease, _)) = &self.held {
            let wanted = self.claim(lease, false);
            // A conflict is no loss yet: our own renewal may have arrived without its answer.
            if self.write(wanted).await? {
                return Ok(Step::Holding);
            }
        }
        let found = self.within(self.api.get_opt(NAME)).await?;
        let Some(found) = found else {
            let wanted = self.claim(&new_lease(), true);
            return self.outcome(self.held.is_some(), wanted, "nobody").await;
        };
        let spec = found.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        if holder == self.identity {
            // Ours: renewed without an answer, or by an earlier life of this very pod.
            let wanted = self.claim(&found, false);
            return self.outcome(false, wanted, &holder).await;
        }
        if self.held.is_some() {
            return Ok(Step::Taken(holder));
        }
        let lasts = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.timing.duration, Duration::from_secs);
        let version = found.metadata.resource_version.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((same, since)) if *same == version => *since,
            _ => {
                let now = Instant::now();
                self.seen = Some((version, now));
                now
            }
        };
        if !holder.is_empty() && since.elapsed() < lasts {
            return Ok(Step::Waiting);
        }
        let wanted = self.claim(&found, true);
        self.outcome(false, wanted, &holder).await
    }

    /// Writes a claim; a claim that came too late is a wait, or a loss where we held it before.
    async fn outcome(&mut self, held_before: bool, wanted: Lease, holder: &str) -> Result<Step, String> {
        Ok(match (self.write(wanted).await?, held_before) {
            (true, _) => Step::Holding,
            (false, true) => Step::Taken(holder.to_owned()),
            (false, false) => Step::Waiting,
        })
    }

    /// The object as it is when we hold it from now on.
    fn claim(&self, lease: &Lease, first: bool) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut claim = lease.clone();
        let spec = claim.spec.get_or_insert_default();
        if first {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.renew_time = Some(now);
        spec.lease_duration_seconds = i32::try_from(self.timing.duration.as_secs()).ok();
        claim
    }

    /// Creates or replaces the object as it was seen. `false`: somebody was faster.
    async fn write(&mut self, wanted: Lease) -> Result<bool, String> {
        // Counted from before the request: when it took effect is not known, only not earlier.
        let begun = Instant::now();
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let written = if wanted.metadata.resource_version.is_some() {
            self.within(self.api.replace(NAME, &params, &wanted)).await
        } else {
            self.within(self.api.create(&params, &wanted)).await
        };
        match written {
            Ok(lease) => {
                let until = begun.duration_since(self.leader.start) + self.timing.give_up;
                self.leader.until.store(millis(until), Ordering::Release);
                self.held = Some((lease, begun));
                self.seen = None;
                self.sender
                    .send_if_modified(|leads| !std::mem::replace(leads, true));
                Ok(true)
            }
            Err(Failed::Refused) => Ok(false),
            // Deleted in between; but where nothing can be created, the namespace itself is missing.
            Err(Failed::Missing(_)) if wanted.metadata.resource_version.is_some() => Ok(false),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Frees the lease, so that the next one need not wait for its end.
    async fn release(self) -> Ended {
        self.leader.until.store(0, Ordering::Release);
        self.sender.send_replace(false);
        if let Some((mut lease, _)) = self.held.clone() {
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = Some(String::new());
            let params = PostParams::default();
            if let Err(error) = self.within(self.api.replace(NAME, &params, &lease)).await {
                tracing::warn!(error = String::from(error), "the lease could not be released");
            }
        }
        Ended::Released
    }

    async fn within<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Failed> {
        match tokio::time::timeout(self.timing.call, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(match &error {
                kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => {
                    Failed::Refused
                }
                kube::Error::Api(status) if status.is_not_found() => Failed::Missing(chain(&error)),
                _ => Failed::Other(chain(&error)),
            }),
            Err(_) => Err(Failed::Other("no answer in time".to_owned())),
        }
    }
}

enum Failed {
    /// Somebody else changed or created it in between.
    Refused,
    /// It, or its namespace, is not there.
    Missing(String),
    /// Anything else.
    Other(String),
}

impl From<Failed> for String {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused => "somebody else changed it".to_owned(),
            Failed::Missing(why) | Failed::Other(why) => why,
        }
    }
}

fn new_lease() -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec::default()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize},
    };

    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server that knows one Lease and its resourceVersion.
    #[derive(Clone, Default)]
    struct Server(Arc<State>);

    #[derive(Default)]
    struct State {
        lease: Mutex<Option<Value>>,
        version: AtomicUsize,
        deaf: AtomicBool,
    }

    impl Server {
        fn client(&self) -> Client {
            let server = self.clone();
            let service = tower::service_fn(move |request: http::Request<Body>| {
                let server = server.clone();
                async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
            });
            Client::new(service, "slipway-system")
        }

        async fn answer(&self, request: http::Request<Body>) -> http::Response<Body> {
            if self.0.deaf.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let mut stored = self.0.lease.lock().unwrap();
            let sent: Option<Value> = serde_json::from_slice(&body).ok();
            let status = |code: u16, reason: &str| {
                (
                    code,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}),
                )
            };
            let (code, body) = match (parts.method.as_str(), &*stored, sent) {
                ("GET" | "PUT", None, _) => status(404, "NotFound"),
                ("GET", Some(lease), _) => (200, lease.clone()),
                ("POST", Some(_), _) => status(409, "AlreadyExists"),
                ("PUT", Some(lease), Some(sent))
                    if sent["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] =>
                {
                    status(409, "Conflict")
                }
                ("POST" | "PUT", _, Some(mut sent)) => {
                    let version = self.0.version.fetch_add(1, Ordering::SeqCst) + 1;
                    sent["metadata"]["resourceVersion"] = json!(version.to_string());
                    *stored = Some(sent.clone());
                    (200, sent)
                }
                _ => status(400, "BadRequest"),
            };
            http::Response::builder()
                .status(code)
                .body(Body::from(serde_json::to_vec(&body).unwrap()))
                .unwrap()
        }

        fn holder(&self) -> String {
            let lease = self.0.lease.lock().unwrap();
            lease
                .as_ref()
                .and_then(|lease| lease["spec"]["holderIdentity"].as_str())
                .unwrap_or_default()
                .to_owned()
        }

        fn edit(&self, edit: impl FnOnce(&mut Value)) {
            let version = self.0.version.fetch_add(1, Ordering::SeqCst) + 1;
            let mut lease = self.0.lease.lock().unwrap();
            let lease = lease.as_mut().unwrap();
            edit(lease);
            lease["metadata"]["resourceVersion"] = json!(version.to_string());
        }
    }

    fn timing() -> Timing {
        Timing {
            duration: Duration::from_secs(1),
            give_up: Duration::from_millis(500),
            period: Duration::from_millis(20),
            call: Duration::from_millis(100),
        }
    }

    fn run(server: &Server, identity: &str) -> (Leadership, CancellationToken) {
        let token = CancellationToken::new();
        let leadership = lead_with(
            server.client(),
            "slipway-system",
            identity,
            token.clone(),
            timing(),
        );
        (leadership, token)
    }

    #[tokio::test]
    async fn one_leads_and_the_other_follows_at_once_after_a_release() {
        let server = Server::default();
        let (mut first, token) = run(&server, "a");
        assert!(first.leader().elected().await);
        let (second, _keep) = run(&server, "b");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(first.leader().leads() && !second.leader().leads());
        token.cancel();
        assert_eq!(first.ended().await, Ended::Released);
        assert!(!first.leader().leads());
        let start = Instant::now();
        assert!(second.leader().elected().await);
        assert!(start.elapsed() < Duration::from_millis(500));
        assert_eq!(server.holder(), "b");
    }

    #[tokio::test]
    async fn a_holder_that_died_is_followed_after_the_duration_and_not_before() {
        let server = Server::default();
        let (first, _token) = run(&server, "a");
        assert!(first.leader().elected().await);
        first.task.abort();
        let start = Instant::now();
        let (second, _keep) = run(&server, "b");
        assert!(second.leader().elected().await);
        assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_holder_that_cannot_renew_has_lost_before_others_take_over() {
        let server = Server::default();
        let (mut first, _token) = run(&server, "a");
        assert!(first.leader().elected().await);
        server.0.deaf.store(true, Ordering::SeqCst);
        let start = Instant::now();
        let Ended::Lost(why) = first.ended().await else {
            unreachable!("lost")
        };
        assert!(why.contains("could not be renewed"), "{why}");
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert!(!first.leader().leads());
    }

    #[tokio::test]
    async fn a_frozen_process_knows_that_it_lost_before_its_election_runs_again() {
        let server = Server::default();
        let (first, _token) = run(&server, "a");
        let mut leader = first.leader();
        assert!(leader.elected().await);
        // Blocks the only thread: no task of this runtime runs meanwhile.
        std::thread::sleep(Duration::from_millis(600));
        assert!(!leader.leads());
    }

    #[tokio::test]
    async fn a_lease_that_somebody_took_is_lost() {
        let server = Server::default();
        let (mut first, _token) = run(&server, "a");
        assert!(first.leader().elected().await);
        server.edit(|lease| lease["spec"]["holderIdentity"] = json!("intruder"));
        assert_eq!(
            first.ended().await,
            Ended::Lost("intruder holds the lease now".into())
        );
        assert_eq!(server.holder(), "intruder");
    }

    #[tokio::test]
    async fn a_change_of_the_object_that_left_us_the_holder_is_no_loss() {
        let server = Server::default();
        let (mut first, _token) = run(&server, "a");
        assert!(first.leader().elected().await);
        server.edit(|lease| lease["metadata"]["labels"] = json!({"x": "y"}));
        let ended = tokio::time::timeout(Duration::from_millis(700), first.ended()).await;
        assert!(ended.is_err() && first.leader().leads());
    }

    #[tokio::test]
    async fn of_many_only_one_leads() {
        let server = Server::default();
        let all: Vec<_> = (0..8).map(|n| run(&server, &format!("p{n}"))).collect();
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let leading = all.iter().filter(|(each, _)| each.leader().leads()).count();
            assert!(leading <= 1, "{leading}");
        }
        assert!(!server.holder().is_empty());
    }

    #[tokio::test]
    async fn alone_there_is_no_election() {
        let token = CancellationToken::new();
        let mut leadership = Leadership::alone(token.clone());
        assert!(leadership.leader().leads() && leadership.leader().elected().await);
        token.cancel();
        assert_eq!(leadership.ended().await, Ended::Released);
    }
}
