//! The release loop's wiring: which changes in the cluster wake which release.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
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
        Controller,
        controller::{self, Error as LoopError},
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    Parts,
    context::Context,
    guard,
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

/// Runs until `token` is cancelled. `turned` are sources that came or went.
pub async fn run(
    parts: &Parts,
    context: Arc<Context>,
    turned: impl Stream<Item = String> + Send + 'static,
    token: CancellationToken,
) {
    let client = parts.clients.watch.clone();
    let ours = || watcher::Config::default().labels(meta::RELEASE).any_semantic();
    let gate = parts.health.gate("the first list of Releases has not come");
    // Its metadata alone: a pass reads the object anew, and what cannot be read does not end the watch.
    let controller = Controller::new(metas::<Release>(&client), watcher::Config::default());
    let releases = controller.store();
    let store = releases.clone();
    let stream = controller
        .with_config(
            controller::Config::default()
                .concurrency(CONCURRENCY)
                .debounce(Duration::from_millis(50)),
        )
        .watches(metas::<Deployment>(&client), ours(), by_label)
        .watches(metas::<Service>(&client), ours(), by_label)
        .watches(metas::<ServiceAccount>(&client), ours(), by_label)
        .watches(metas::<PodDisruptionBudget>(&client), ours(), by_label)
        .watches(metas::<Ingress>(&client), ours(), by_label)
        .watches(metas::<Job>(&client), ours(), by_label)
        .watches(metas::<Pod>(&client), ours(), by_label)
        .watches(metas::<ReleaseRevision>(&client), ours(), by_label)
        .watches(
            metas::<ConfigMap>(&client),
            watcher::Config::default().any_semantic(),
            in_namespace(releases.clone()),
        )
        .watches(
            metas::<Secret>(&client),
            watcher::Config::default().any_semantic(),
            in_namespace(releases.clone()),
        )
        .reconcile_on(turned.flat_map(move |source| futures::stream::iter(of_source(&releases, &source))))
        .graceful_shutdown_on(token.cancelled_owned())
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
    guard::opening(gate, &store, passes).await;
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

/// The metadata of a kind: values of Secrets and specs of pods never enter memory.
fn metas<K>(client: &kube::Client) -> Api<PartialObjectMeta<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Debug + Clone,
{
    Api::all(client.clone())
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

/// Every release of the namespace: it may refer to this Secret or ConfigMap.
fn in_namespace<K>(releases: Store<Meta>) -> impl Fn(PartialObjectMeta<K>) -> Vec<ObjectRef<Meta>> {
    move |object| {
        let Some(namespace) = object.metadata.namespace else {
            return Vec::new();
        };
        releases
            .state()
            .iter()
            .filter(|release| release.namespace().as_deref() == Some(&namespace))
            .map(|release| ObjectRef::from_obj(release.as_ref()))
            .collect()
    }
}
