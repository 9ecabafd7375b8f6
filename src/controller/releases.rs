//! The release loop's wiring: which changes in the cluster wake which release.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        batch::v1::Job,
        core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount},
        networking::v1::Ingress,
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{
    Api, Resource, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::{self, Error as LoopError},
        reflector::{self, ObjectRef, Store},
        utils::Backoff,
        watcher::{self, DefaultBackoff, watcher},
    },
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    Parts, build,
    context::Context,
    guard,
    neighbours::Neighbours,
    reconcile::{self, ReconcileError},
    span,
    subject::release_id,
    tally,
};
use crate::{
    api::{Release, ReleaseRevision, meta},
    names::ReleaseId,
};

/// Releases that are worked on at once: a wait holds no worker, so this bounds requests, not releases.
const CONCURRENCY: u16 = 16;

/// One pass with all that is around it; its greater part has a shorter deadline, since the status can tell of that.
const PASS: Duration = Duration::from_secs(290);

/// A `Release` as it is watched.
pub type Meta = PartialObjectMeta<Release>;

/// Runs until `token` is cancelled. `turned` are sources that came or went, `waiting` releases whose build changed.
pub async fn run(
    parts: &Parts,
    context: Arc<Context>,
    turned: impl Stream<Item = String> + Send + 'static,
    waiting: impl Stream<Item = ReleaseId> + Send + 'static,
    token: CancellationToken,
) {
    let client = parts.clients.watch.clone();
    let all = || watcher::Config::default().any_semantic();
    let ours = || all().labels(meta::RELEASE);
    let gate = parts.health.gate("the first list of Releases has not come");
    // Its metadata alone: a pass reads the object anew, and what cannot be read does not end the watch.
    let (releases, writer) = reflector::store();
    let neighbours = Neighbours::default();
    let noted = neighbours.clone();
    // After the store: what a wake names is in it.
    let own = watched::<Release>(&client, watcher::Config::default())
        .reflect(writer)
        .inspect_ok(move |event| noted.note(event))
        .applied_objects();
    let store = releases.clone();
    let of_secret = neighbours.clone();
    let stream = Controller::for_stream(own, releases.clone())
        .trigger_backoff(AtOnce)
        .with_config(
            controller::Config::default()
                .concurrency(CONCURRENCY)
                .debounce(Duration::from_millis(50)),
        )
        .watches_stream(touched::<Deployment>(&client, ours()), by_label)
        .watches_stream(touched::<Service>(&client, ours()), by_label)
        .watches_stream(touched::<ServiceAccount>(&client, ours()), by_label)
        .watches_stream(touched::<PodDisruptionBudget>(&client, ours()), by_label)
        .watches_stream(touched::<Ingress>(&client, ours()), by_label)
        .watches_stream(touched::<Job>(&client, ours()), by_label)
        .watches_stream(touched::<Pod>(&client, ours()), by_label)
        .watches_stream(touched::<ReleaseRevision>(&client, ours()), by_label)
        .watches_stream(touched::<ConfigMap>(&client, all()), move |map| {
            neighbours.of_map(&map)
        })
        .watches_stream(touched::<Secret>(&client, all()), move |secret| {
            of_secret.of_secret(&secret)
        })
        .reconcile_on(turned.flat_map(move |source| futures::stream::iter(of_source(&releases, &source))))
        .reconcile_on(waiting.map(|id| ObjectRef::new(id.name.as_str()).within(id.namespace.as_str())))
        .graceful_shutdown_on(token.clone().cancelled_owned())
        .run(guarded, reconcile::error_policy, Arc::clone(&context));
    let passes = stream.for_each(|result| {
        match result {
            Ok(_) | Err(LoopError::ReconcilerFailed(..)) => {}
            Err(LoopError::ObjectNotFound(object)) => {
                if let Some(id) = named(&object) {
                    tally::gone(&context, &id);
                }
            }
            Err(error) => {
                parts.metrics.watch_failed("Release");
                tracing::warn!(error = %error, "a watch of the release loop failed; it starts again");
            }
        }
        futures::future::ready(())
    });
    let tidy = build::tidy(&context, &store, token);
    tokio::join!(guard::opening(gate, &store, passes), tidy);
}

/// One pass, bounded and measured.
async fn guarded(release: Arc<Meta>, context: Arc<Context>) -> Result<controller::Action, ReconcileError> {
    let Some(id) = release_id(release.meta()) else {
        return Ok(controller::Action::await_change());
    };
    let started = std::time::Instant::now();
    let _working = context.heartbeat.working();
    let pass = Box::pin(reconcile::reconcile(release, Arc::clone(&context)));
    let pass = async {
        let result = guard::bounded(PASS, pass)
            .await
            .unwrap_or_else(|stopped| Err(stopped.into()));
        if let Err(error) = &result {
            tracing::warn!(category = error.category(), error = %error.sentence(), "pass failed");
        }
        result
    };
    let result = pass.instrument(span::release(&id)).await;
    let outcome = match &result {
        Ok(_) => "ok",
        Err(error) => error.category(),
    };
    context.metrics.reconciled("release", outcome, started.elapsed());
    result
}

/// The release that was looked for.
fn named<K: Resource>(object: &ObjectRef<K>) -> Option<ReleaseId> {
    Some(ReleaseId {
        namespace: object.namespace.as_deref()?.parse().ok()?,
        name: object.name.parse().ok()?,
    })
}

/// The longest pause of a watch after an error. What changes meanwhile is heard of after it.
const WATCH_PAUSE: Duration = Duration::from_secs(20);

/// The pauses of one watch: as kube makes them, none longer than [`WATCH_PAUSE`].
#[derive(Default)]
struct Pauses(DefaultBackoff);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(WATCH_PAUSE))
    }
}

impl Backoff for Pauses {
    /// Nothing: a watch says that it begins before each list, also before one that fails. Two minutes after the last error the
    /// pauses are short again by themselves.
    fn reset(&mut self) {}
}

/// The metadata of a kind: values of Secrets and specs of pods never enter memory. After an error it pauses by itself.
fn watched<K>(
    client: &kube::Client,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<watcher::Event<PartialObjectMeta<K>>>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Debug + Clone + Send + Sync + 'static,
{
    watcher(Api::all(client.clone()), config).backoff(Pauses::default())
}

/// What came, changed or went.
fn touched<K>(
    client: &kube::Client,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<PartialObjectMeta<K>>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Debug + Clone + Send + Sync + 'static,
{
    watched(client, config).touched_objects()
}

/// No pause for all watches after the error of one. Where an API server starts anew, every watch has errors, and a pause that
/// is one for all grows with each of them: the last would be read again after minutes.
#[derive(Debug)]
struct AtOnce;

impl Iterator for AtOnce {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

impl Backoff for AtOnce {
    fn reset(&mut self) {}
}

/// The release of an object by its label; the object need not be ours for a look.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature that kube's Controller asks for"
)]
fn by_label<K>(object: PartialObjectMeta<K>) -> Option<ObjectRef<Meta>> {
    let name = object.metadata.labels.as_ref()?.get(meta::RELEASE)?;
    Some(ObjectRef::new(name).within(object.metadata.namespace.as_deref()?))
}

/// Every release of a source.
fn of_source(releases: &Store<Meta>, source: &str) -> Vec<ObjectRef<Meta>> {
    let all = releases.state();
    let of_source = all
        .iter()
        .filter(|release| release.labels().get(meta::SOURCE).is_some_and(|of| of == source));
    of_source
        .map(|release| ObjectRef::from_obj(release.as_ref()))
        .collect()
}
