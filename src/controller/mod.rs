//! The frame of the controller: what it starts, in which order, and how it ends.
//!
//! ```text
//! connect → serve http → stand for election ─elected→ loops
//! signal  → loops end → http ends → the lease is released, last
//! lease lost → the process ends at once: its writes may be another's to make
//! ```

pub mod act;
mod ask;
mod ask_commit;
mod build;
pub mod compile;
pub mod context;
mod fight;
mod fitness;
mod generate;
mod guard;
mod look;
mod migrate;
mod neighbours;
pub mod reconcile;
mod releases;
mod report;
mod silences;
mod sources;
mod span;
pub mod subject;
mod tally;
mod watched;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use self::{build::Building, context::Context};
use crate::{
    build::builder::Builder,
    build::fitness::Fitness,
    cluster::{Clients, ConnectError, Ended, Leader, Leadership, builds::builds, lease},
    image::{Registry, RegistryError},
    names::Namespace,
    server::{self, Health},
    telemetry::Metrics,
};

/// How long the loops may finish what they began. With the HTTP server's 5 s and the lease's 3 s it stays
/// below the 30 s that a pod is given.
const LOOPS_END: Duration = Duration::from_secs(20);

/// What the controller is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Slipway's own namespace.
    pub namespace: Namespace,
    /// Where /healthz, /readyz and /metrics are served.
    pub http_address: SocketAddr,
    /// Whether to act only while holding the lease.
    pub leader_elect: bool,
    /// This process among its replicas.
    pub identity: String,
    /// CAs in PEM that are trusted beside the system's.
    pub ca_bundle: Option<Vec<u8>>,
    /// Whether git may be spoken to without TLS.
    pub allow_plain_http_git: bool,
    /// Registries that are spoken to without TLS.
    pub plain_http_registries: Vec<String>,
    /// Where git mirrors are kept.
    pub cache_dir: PathBuf,
    /// How often the tag of what runs is compared with what it was resolved to.
    pub tag_interval: Duration,
    /// Where the credentials are that sources of applications are read with.
    pub build_namespace: Namespace,
    /// What builds images; `None` where they are only waited for.
    pub builder: Option<Builder>,
}

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No client for the cluster.
    #[error("cannot connect to the cluster")]
    Connect(#[from] ConnectError),
    /// No client for registries.
    #[error("cannot set up the client for registries")]
    Registry(#[from] RegistryError),
    /// The address cannot be bound.
    #[error("cannot serve HTTP at {0}")]
    Bind(SocketAddr, #[source] io::Error),
    /// The HTTP server ended by itself.
    #[error("the HTTP server ended")]
    Server(#[source] io::Error),
    /// Signals cannot be heard.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// Another process leads now.
    #[error("leadership was lost: {0}")]
    Lost(String),
    /// A loop ended by itself.
    #[error("the {0} loop ended by itself")]
    Loops(&'static str),
}

/// The time of day, for records, pauses that outlive a process, and what Kubernetes dates. Everything else that takes time
/// is measured by the runtime's clock, which nobody can set.
pub type Clock = fn() -> Timestamp;

/// What the loops are given.
#[derive(Clone)]
pub struct Parts {
    /// The cluster.
    pub clients: Clients,
    /// All registries.
    pub registry: Registry,
    /// All numbers.
    pub metrics: Arc<Metrics>,
    /// Heartbeats and gates.
    pub health: Health,
    /// The time of day.
    pub clock: Clock,
    /// To be asked before each write.
    pub leader: Leader,
    /// What the controller is told.
    pub options: Arc<Options>,
}

/// Runs until a signal, or until it cannot go on.
pub async fn run(options: Options) -> Result<(), RunError> {
    let signals = Signals::listen().map_err(RunError::Signals)?;
    let clients = Clients::connect().await?;
    let registry = Registry::new(
        options.ca_bundle.as_deref(),
        options.plain_http_registries.clone(),
    )?;
    let listener = TcpListener::bind(options.http_address)
        .await
        .map_err(|e| RunError::Bind(options.http_address, e))?;
    let metrics = Arc::new(Metrics::new());
    let health = Health::new();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address = %options.http_address,
        identity = options.identity,
        "slipway starts"
    );

    // One token each for what must end one after the other.
    let (work, http, lease) = (
        CancellationToken::new(),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let _stop_signals = signals.cancel(work.clone());
    let router = server::router(health.clone(), Arc::clone(&metrics));
    let mut server = tokio::spawn(server::serve(listener, router, http.clone()));
    let mut leadership = if options.leader_elect {
        lease::lead(
            clients.call.clone(),
            options.namespace.as_str(),
            &options.identity,
            lease.clone(),
        )
    } else {
        Leadership::alone(lease.clone())
    };
    let parts = Parts {
        clients,
        registry,
        metrics,
        health,
        clock: Timestamp::now,
        leader: leadership.leader(),
        options: Arc::new(options),
    };

    let ended = tokio::select! {
        ended = lead(parts, &mut leadership, work) => ended,
        ended = &mut server => return Err(RunError::Server(server_error(ended))),
    };
    if let Err(RunError::Lost(_)) = &ended {
        // The lease is another's by now: nothing is left to be released.
        return ended;
    }
    http.cancel();
    let _ = server.await;
    lease.cancel();
    leadership.ended().await;
    tracing::info!("slipway ends");
    ended
}

/// Runs the loops while the lease is held, until `work` is cancelled and what they began has ended.
///
/// # Errors
/// When the lease was lost, or a loop ended by itself.
pub async fn lead(
    parts: Parts,
    leadership: &mut Leadership,
    work: CancellationToken,
) -> Result<(), RunError> {
    let loops = loops(parts, work.clone());
    tokio::pin!(loops);
    tokio::select! {
        // What was lost must not be written to any more: dropping the loops stops them at their next await.
        ended = leadership.ended() => Err(lost(ended)),
        ended = &mut loops => ended,
        () = work.cancelled() => tokio::select! {
            ended = leadership.ended() => Err(lost(ended)),
            ended = tokio::time::timeout(LOOPS_END, &mut loops) => ended.unwrap_or_else(|_| {
                tracing::warn!("the loops did not end in time; what they began is found again by name");
                Ok(())
            }),
        },
    }
}

/// Waits for leadership and runs the reconcilers until `token` is cancelled.
async fn loops(mut parts: Parts, token: CancellationToken) -> Result<(), RunError> {
    let elected = tokio::select! {
        elected = parts.leader.elected() => elected,
        () = token.cancelled() => false,
    };
    parts.metrics.leading(elected);
    if !elected {
        return Ok(());
    }
    let (known, turned) = watched::sources(parts.clients.watch.clone(), Arc::clone(&parts.metrics));
    let fitness = tokio::sync::watch::channel(Fitness::Checking);
    let (building, waiting) = match parts.options.builder.clone() {
        Some(builder) => {
            let clients = &parts.clients;
            let (jobs, waiting) = builds(
                clients.watch.clone(),
                clients.call.clone(),
                &builder.namespace,
                Arc::clone(&parts.metrics),
            );
            (
                Some(Building {
                    builder,
                    jobs,
                    fitness: fitness.1.clone(),
                }),
                waiting.left_stream(),
            )
        }
        None => (None, futures::stream::pending().right_stream()),
    };
    let context = Arc::new(Context::new(&parts, known, building));
    tokio::try_join!(
        until(
            "release",
            &token,
            Box::pin(releases::run(
                &parts,
                Arc::clone(&context),
                turned,
                waiting,
                token.clone()
            ))
        ),
        until("source", &token, sources::run(&parts, fitness.1, token.clone())),
        async {
            // It ends when it knows.
            Box::pin(fitness::try_out(&context, fitness.0, token.clone())).await;
            Ok(())
        }
    )?;
    Ok(())
}

/// A loop ends when it is told to. One that ends before takes the process along, instead of leaving it half alive.
async fn until(
    name: &'static str,
    token: &CancellationToken,
    passes: impl Future<Output = ()>,
) -> Result<(), RunError> {
    passes.await;
    if token.is_cancelled() {
        Ok(())
    } else {
        Err(RunError::Loops(name))
    }
}

fn lost(ended: Ended) -> RunError {
    match ended {
        Ended::Lost(why) => RunError::Lost(why),
        Ended::Released => RunError::Lost("it was released too early".to_owned()),
    }
}

fn server_error(ended: Result<io::Result<()>, tokio::task::JoinError>) -> io::Error {
    match ended {
        Ok(Ok(())) => io::Error::other("without a reason"),
        Ok(Err(error)) => error,
        Err(error) => io::Error::other(error),
    }
}

/// SIGTERM and SIGINT, heard from the start: one that comes early is not lost.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    fn cancel(mut self, token: CancellationToken) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            tracing::info!("told to stop");
            token.cancel();
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_ends_untold_is_an_error() {
        let token = CancellationToken::new();
        let ended = until("release", &token, async {}).await;
        assert!(matches!(ended, Err(RunError::Loops("release"))));
        assert!(until("release", &token, async { token.cancel() }).await.is_ok());
    }
}
