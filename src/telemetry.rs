//! Logs and numbers.
//!
//! Labels are static words only, so the number of series is known when this is compiled: no name of an object
//! and no text of an error ever becomes a label. Logs go to standard error; standard output is for results.

use std::{
    error::Error,
    fmt::{self, Write as _},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
        info::Info,
    },
    registry::Registry,
};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt::MakeWriter, layer::SubscriberExt as _, registry::LookupSpan,
    util::SubscriberInitExt as _,
};

// === logs ===

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("{0:?} is no log level or filter, such as info or info,slipway=debug")]
    Filter(String, #[source] tracing_subscriber::filter::ParseError),
    /// Called twice.
    #[error("logging is set up already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Sets up logging for the process. `filter` is a level or a filter as of `tracing_subscriber::EnvFilter`.
pub fn init_logs(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let parsed = EnvFilter::try_new(filter).map_err(|e| LogError::Filter(filter.to_owned(), e))?;
    tracing_subscriber::registry()
        .with(parsed)
        .with(filter_fn(sayable))
        .with(lines(format, std::io::stderr))
        .try_init()
        .map_err(LogError::Twice)
}

/// What may be logged on whatever level: kube warns of an answer that it cannot read with the whole of it, be it a Secret.
/// What it warns of besides comes as an error, too.
fn sayable(metadata: &Metadata<'_>) -> bool {
    metadata.target() != "kube_client::client" || *metadata.level() > Level::WARN
}

/// One line per event, with the fields of the spans that it is in.
pub(crate) fn lines<S, W>(format: LogFormat, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// An error and all its causes in one line, each said once. Library errors tend to hide theirs.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = sentence(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = sentence(error);
        if !line.contains(&text) {
            // Writing to a String cannot fail.
            let _ = write!(line, ": {text}");
        }
        cause = error.source();
    }
    line
}

/// What the error itself says. An answer of the API server is reduced to its message: kube prints all of it. And what a
/// parser cannot read it quotes, which may be a part of a Secret.
pub(crate) fn sentence(error: &(dyn Error + 'static)) -> String {
    let unreadable = |error: &serde_json::Error| {
        let (kind, line, column) = (error.classify(), error.line(), error.column());
        format!("the answer cannot be read ({kind:?} at line {line}, column {column})")
    };
    let boxed = || error.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref);
    match error.downcast_ref().or_else(boxed) {
        Some(kube::Error::Api(status)) if !status.message.is_empty() => {
            format!("{} ({} {})", status.message, status.code, status.reason)
        }
        Some(kube::Error::SerdeError(error)) => unreadable(error),
        _ => error.downcast_ref().map_or_else(|| error.to_string(), unreadable),
    }
}

// === numbers ===

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoopOutcome {
    /// `release` or `source`: the loop.
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Phase {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// One bucket per factor of about three, from a cached no-op to a stuck server.
const PASS_BUCKETS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
/// From a quick worker to a migration of a day.
const LEAD_BUCKETS: [f64; 10] = [
    15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0,
];

#[derive(Clone)]
struct PassHistogram;

impl MetricConstructor<Histogram> for PassHistogram {
    fn new_metric(&self) -> Histogram {
        Histogram::new(PASS_BUCKETS)
    }
}

/// All numbers of the process. Share it in an `Arc`.
pub struct Metrics {
    registry: Registry,
    passes: Family<LoopOutcome, Counter>,
    pass_seconds: Family<Kind, Histogram, PassHistogram>,
    releases: Family<Phase, Gauge>,
    fetches: Family<Reason, Counter>,
    resolutions: Family<Reason, Counter>,
    deployments: Family<Outcome, Counter>,
    lead_seconds: Histogram,
    restore_seconds: Histogram,
    builds: Family<Outcome, Counter>,
    build_seconds: Histogram,
    watch_errors: Family<Kind, Counter>,
    leader: Gauge,
    builder_ready: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("slipway"),
            passes: Family::default(),
            pass_seconds: Family::new_with_constructor(PassHistogram),
            releases: Family::default(),
            fetches: Family::default(),
            resolutions: Family::default(),
            deployments: Family::default(),
            lead_seconds: Histogram::new(LEAD_BUCKETS),
            restore_seconds: Histogram::new(LEAD_BUCKETS),
            builds: Family::default(),
            build_seconds: Histogram::new(LEAD_BUCKETS),
            watch_errors: Family::default(),
            leader: Gauge::default(),
            builder_ready: Gauge::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        // Destructured, so that a new number cannot be forgotten here.
        let Self {
            registry,
            passes,
            pass_seconds,
            releases,
            fetches,
            resolutions,
            deployments,
            lead_seconds,
            restore_seconds,
            builds,
            build_seconds,
            watch_errors,
            leader,
            builder_ready,
        } = &mut self;
        registry.register("reconciles", "Passes of a loop, by outcome", passes.clone());
        registry.register(
            "reconcile_duration_seconds",
            "How long a pass of a loop took",
            pass_seconds.clone(),
        );
        registry.register("releases", "Releases, by phase", releases.clone());
        registry.register(
            "source_fetches",
            "Fetches of git repositories, by reason",
            fetches.clone(),
        );
        registry.register(
            "image_resolutions",
            "Questions to registries, by reason",
            resolutions.clone(),
        );
        registry.register(
            "deployments",
            "Revisions that ended, by outcome",
            deployments.clone(),
        );
        registry.register(
            "lead_time_seconds",
            "From a commit to its verified rollout",
            lead_seconds.clone(),
        );
        registry.register(
            "restore_time_seconds",
            "From a failed revision until its release is Live again",
            restore_seconds.clone(),
        );
        registry.register("builds", "Builds that ended, by outcome", builds.clone());
        registry.register(
            "build_duration_seconds",
            "From the start of a build until its image is pushed",
            build_seconds.clone(),
        );
        registry.register(
            "watch_errors",
            "Interruptions of watches, by kind",
            watch_errors.clone(),
        );
        registry.register("leader", "1 while this process holds the lease", leader.clone());
        registry.register(
            "builder_ready",
            "1 where this process has seen the builder run",
            builder_ready.clone(),
        );
        registry.register(
            "build",
            "What runs",
            Info::new(Build {
                version: env!("CARGO_PKG_VERSION"),
            }),
        );
        self
    }

    /// A pass of the loop `kind` ended.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        self.passes.get_or_create(&LoopOutcome { kind, outcome }).inc();
        self.pass_seconds
            .get_or_create(&Kind { kind })
            .observe(took.as_secs_f64());
    }

    /// A release went from one phase into another; `None` is where it comes from, and where it goes when it is gone.
    pub fn moved(&self, from: Option<&'static str>, to: Option<&'static str>) {
        if let Some(phase) = from {
            self.releases.get_or_create(&Phase { phase }).dec();
        }
        if let Some(phase) = to {
            self.releases.get_or_create(&Phase { phase }).inc();
        }
    }

    /// A fetch of a repository ended, with `Fetched` or the reason of its failure.
    pub fn fetched(&self, reason: &'static str) {
        self.fetches.get_or_create(&Reason { reason }).inc();
    }

    /// A registry was asked, with `Resolved` or the reason of its failure.
    pub fn resolved(&self, reason: &'static str) {
        self.resolutions.get_or_create(&Reason { reason }).inc();
    }

    /// A revision got its outcome.
    pub fn deployed(&self, outcome: &'static str) {
        self.deployments.get_or_create(&Outcome { outcome }).inc();
    }

    /// From a commit to its verified rollout.
    pub fn lead_time(&self, took: Duration) {
        self.lead_seconds.observe(took.as_secs_f64());
    }

    /// From a failed revision until its release is Live again.
    pub fn restore_time(&self, took: Duration) {
        self.restore_seconds.observe(took.as_secs_f64());
    }

    /// A build ended; and where it pushed an image, how long it took.
    pub fn built(&self, outcome: &'static str, took: Option<Duration>) {
        self.builds.get_or_create(&Outcome { outcome }).inc();
        if let Some(took) = took {
            self.build_seconds.observe(took.as_secs_f64());
        }
    }

    /// The watch of `kind` was interrupted.
    pub fn watch_failed(&self, kind: &'static str) {
        self.watch_errors.get_or_create(&Kind { kind }).inc();
    }

    /// Whether this process leads.
    pub fn leading(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Whether the builder can run on the nodes.
    pub fn builder(&self, ready: bool) {
        self.builder_ready.set(ready.into());
    }

    /// All numbers as OpenMetrics text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// What tests read of the lines that are logged.
#[cfg(test)]
pub(crate) mod written {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    pub(crate) struct Written(pub(crate) Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{written::Written, *};

    #[test]
    fn numbers_are_written_as_open_metrics() {
        let metrics = Metrics::new();
        metrics.reconciled("release", "Live", Duration::from_millis(2));
        metrics.fetched("Fetched");
        metrics.resolved("RegistryAuth");
        metrics.deployed("Live");
        metrics.leading(true);
        let page = metrics.encode().unwrap();
        for line in [
            "slipway_reconciles_total{kind=\"release\",outcome=\"Live\"} 1",
            "slipway_reconcile_duration_seconds_count{kind=\"release\"} 1",
            "slipway_source_fetches_total{reason=\"Fetched\"} 1",
            "slipway_image_resolutions_total{reason=\"RegistryAuth\"} 1",
            "slipway_deployments_total{outcome=\"Live\"} 1",
            "slipway_leader 1",
            concat!(
                "slipway_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
        ] {
            assert!(page.lines().any(|l| l == line), "{line}\n{page}");
        }
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn a_phase_that_nothing_is_in_any_more_is_zero() {
        let metrics = Metrics::new();
        metrics.moved(None, Some("Live"));
        metrics.moved(None, Some("Migrating"));
        metrics.moved(Some("Migrating"), Some("Live"));
        let page = metrics.encode().unwrap();
        assert!(page.contains("slipway_releases{phase=\"Live\"} 2"), "{page}");
        assert!(page.contains("slipway_releases{phase=\"Migrating\"} 0"), "{page}");
    }

    #[test]
    fn every_number_that_is_served_stands_in_the_page_on_installing() {
        let metrics = Metrics::new();
        metrics.reconciled("release", "ok", Duration::ZERO);
        metrics.moved(None, Some("Live"));
        metrics.fetched("Fetched");
        metrics.resolved("Resolved");
        metrics.deployed("Live");
        metrics.built("Pushed", Some(Duration::ZERO));
        metrics.watch_failed("Release");
        let page = metrics.encode().unwrap();
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: Vec<String> = types
            .map(|line| match line.split_once(' ').unwrap() {
                (name, "counter") => format!("{name}_total"),
                (name, "info") => format!("{name}_info"),
                (name, _) => name.to_owned(),
            })
            .collect();
        let source = include_str!("telemetry.rs").split("#[cfg(test)]").next().unwrap();
        let registered = source.matches("registry.register(").count();
        assert_eq!(
            names.len(),
            registered,
            "one without a value is not served: {page}"
        );
        let docs = include_str!("../docs/install.md");
        for name in names {
            assert!(docs.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn a_filter_that_is_none_is_refused_by_name() {
        let error = init_logs(LogFormat::Text, "slipway=loud").unwrap_err();
        assert!(error.to_string().contains("slipway=loud"), "{error}");
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_repeated() {
        let error = serde_json::from_str::<Vec<u8>>(r#"["canary-77aa"]"#).unwrap_err();
        assert!(
            error.to_string().contains("canary"),
            "the parser quotes it: {error}"
        );
        let error = kube::Error::SerdeError(error);
        let said = chain(&error);
        assert_eq!(said, "the answer cannot be read (Data at line 1, column 14)");
        let error = crate::cluster::error::ClusterError::Request {
            attempted: "get Secret app".to_owned(),
            source: Box::new(error),
        };
        assert!(!error.sentence().contains("canary"), "{}", error.sentence());
    }

    #[test]
    fn what_the_client_could_not_read_is_logged_on_no_level() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::registry()
            .with(filter_fn(sayable))
            .with(lines(LogFormat::Text, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "kube_client::client", "{}", r#"{"data":{"a":"canary-77aa"}}"#);
            tracing::debug!(target: "kube_client::client", "debug of the client");
            tracing::error!(target: "kube_client::client::builder", "an error of the client");
            tracing::warn!("a warning of ours");
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(!written.contains("canary"), "{written}");
        for word in [
            "debug of the client",
            "an error of the client",
            "a warning of ours",
        ] {
            assert!(written.contains(word), "{word}: {written}");
        }
    }

    #[test]
    fn the_chain_says_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: inner")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("inner")]
        struct Inner(#[source] std::io::Error);
        let error = Outer(Inner(std::io::Error::other("refused")));
        assert_eq!(chain(&error), "outer: inner: refused");
    }
}
