//! `slipway controller`: flags and environment → [`Options`].

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;

use super::Usage;
pub use crate::controller::Options;
use crate::{
    build::builder::Builder,
    names::Namespace,
    telemetry::{self, LogFormat},
};

/// A bundle of all public CAs has 220 KiB.
const MAX_CA_BUNDLE: u64 = 4 << 20;

/// A registry is not asked more often than this about the tag of what runs.
const SHORTEST_TAG_CHECK: Duration = Duration::from_secs(5);
/// For threads that still write to a disk when the controller ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Arguments of `slipway controller`. Every flag is also a variable, for the chart.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Slipway's own namespace: its lease and the credentials of its sources.
    #[arg(long, env = "SLIPWAY_NAMESPACE", default_value = "slipway-system")]
    namespace: Namespace,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(
        long,
        env = "SLIPWAY_HTTP_ADDRESS",
        value_name = "IP:PORT",
        default_value = "0.0.0.0:8080"
    )]
    http_address: SocketAddr,
    /// Act only while holding the lease; needed with more than one replica.
    #[arg(long, env = "SLIPWAY_LEADER_ELECT", value_name = "BOOL", default_value_t = true,
          action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    leader_elect: bool,
    /// This process among its replicas: the pod's name.
    #[arg(long, env = "SLIPWAY_IDENTITY", value_name = "NAME")]
    identity: Option<String>,
    /// How log lines look.
    #[arg(long, env = "SLIPWAY_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,slipway=debug.
    #[arg(
        long,
        env = "SLIPWAY_LOG_LEVEL",
        value_name = "FILTER",
        default_value = "info"
    )]
    log_level: String,
    /// CAs in PEM that are trusted beside the system's, for git and registries.
    #[arg(long, env = "SLIPWAY_CA_BUNDLE", value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// Allow git over plain http, where anyone on the way can change what is deployed.
    #[arg(long, env = "SLIPWAY_ALLOW_PLAIN_HTTP_GIT", value_name = "BOOL", default_value_t = false,
          action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    allow_plain_http_git: bool,
    /// The namespace of the credentials that sources of applications are read with.
    #[arg(
        long,
        env = "SLIPWAY_BUILD_NAMESPACE",
        value_name = "NAME",
        default_value = "slipway-builds"
    )]
    build_namespace: Namespace,
    /// What builds images, as the chart writes it; without it they are waited for.
    #[arg(long, env = "SLIPWAY_BUILDER", value_name = "FILE")]
    builder: Option<PathBuf>,
    /// A registry that is asked over plain http; may be repeated.
    #[arg(
        long = "plain-http-registry",
        env = "SLIPWAY_PLAIN_HTTP_REGISTRIES",
        value_name = "HOST[:PORT]",
        value_delimiter = ','
    )]
    plain_http_registries: Vec<String>,
    /// Where git mirrors are kept; may be lost at any time.
    #[arg(
        long,
        env = "SLIPWAY_CACHE_DIR",
        value_name = "DIR",
        default_value = "/var/cache/slipway"
    )]
    cache_dir: PathBuf,
    /// How often the tag of what runs is compared with the digest that it was resolved to.
    #[arg(
        long,
        env = "SLIPWAY_TAG_CHECK_INTERVAL",
        value_name = "DURATION",
        default_value = "5m"
    )]
    tag_check_interval: crate::api::Duration,
}

impl Args {
    fn options(self) -> anyhow::Result<Options> {
        let ca_bundle = self.ca_bundle.map(|path| read_bundle(&path)).transpose()?;
        let identity = match self.identity {
            Some(identity) if identity.is_empty() || identity.len() > 253 => {
                return Err(Usage("--identity must have 1 to 253 characters".into()).into());
            }
            Some(identity) => identity,
            None => fallback_identity(),
        };
        Ok(Options {
            namespace: self.namespace,
            http_address: self.http_address,
            leader_elect: self.leader_elect,
            identity,
            ca_bundle,
            allow_plain_http_git: self.allow_plain_http_git,
            plain_http_registries: self.plain_http_registries,
            cache_dir: self.cache_dir,
            build_namespace: self.build_namespace,
            builder: self.builder.map(|path| read_builder(&path)).transpose()?,
            tag_interval: self.tag_check_interval.to_std().max(SHORTEST_TAG_CHECK),
        })
    }
}

fn read_builder(path: &std::path::Path) -> anyhow::Result<Builder> {
    let about = || format!("cannot read the builder {}", path.display());
    let text = fs::read_to_string(path).with_context(about)?;
    serde_json::from_str(&text)
        .map_err(|error| Usage(format!("the builder {}: {error}", path.display())).into())
}

fn read_bundle(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    let about = || format!("cannot read the CA bundle {}", path.display());
    let size = fs::metadata(path).with_context(about)?.len();
    if size > MAX_CA_BUNDLE {
        return Err(Usage(format!("the CA bundle {} has {size} bytes", path.display())).into());
    }
    fs::read(path).with_context(about)
}

/// A pod's host name is its own name. Elsewhere a random name at least cannot be taken for another process.
fn fallback_identity() -> String {
    std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("slipway-{:016x}", rand::random::<u64>()))
}

/// Sets up logging and the runtime, and runs the controller until it is told to stop.
pub fn run(args: Args) -> anyhow::Result<()> {
    telemetry::init_logs(args.log_format, &args.log_level).map_err(|e| Usage(telemetry::chain(&e)))?;
    // Options of libgit2 are of the whole process, and must be set before there is a second thread.
    crate::source::init(args.ca_bundle.as_deref()).context("cannot set up git")?;
    let options = args.options()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(crate::controller::run(options));
    // Dropped, it would wait for every fetch that is under way: who lost the lease would not be elected again meanwhile.
    runtime.shutdown_timeout(LAST_WORDS);
    Ok(ended?)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(flags: &[&str]) -> Args {
        let line = ["slipway", "controller"].iter().chain(flags);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Controller(args) => args,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn switches_are_flags_and_take_a_value() {
        assert!(parse(&[]).leader_elect);
        assert!(!parse(&["--leader-elect=false"]).leader_elect);
        assert!(!parse(&[]).allow_plain_http_git);
        assert!(parse(&["--allow-plain-http-git"]).allow_plain_http_git);
    }

    #[test]
    fn plain_registries_are_repeated_or_listed() {
        let args = parse(&["--plain-http-registry", "a:5000,b", "--plain-http-registry=c"]);
        assert_eq!(args.plain_http_registries, ["a:5000", "b", "c"]);
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        let error = parse(&["--identity="]).options().unwrap_err();
        assert!(error.is::<Usage>(), "{error:?}");
        assert!(Cli::try_parse_from(["slipway", "controller", "--namespace", "A_B"]).is_err());
        let error = parse(&["--ca-bundle=/nonexistent"]).options().unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent"), "{error:#}");
    }
}
