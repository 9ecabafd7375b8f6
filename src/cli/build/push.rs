//! `slipway build push`: an image that lies in a directory → a registry. It runs where no Dockerfile ever ran.

use std::{fs, path::PathBuf};

use super::{Ended, mounted};
use crate::{
    image::{DockerConfig, PushError, Pusher},
    names::Digest,
    source::Intent,
    spec::declared::{ImagePick, ImageRequest},
    telemetry::chain,
};

/// The key of a Secret of type `kubernetes.io/dockerconfigjson`, as it is mounted for programs that look for it by name.
const CONFIG: &str = "config.json";

/// Arguments of `slipway build push`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory, an OCI image layout.
    #[arg(long, value_name = "DIR")]
    layout: PathBuf,
    /// `repository:tag`.
    #[arg(long, value_name = "REFERENCE", value_parser = reference)]
    to: ImageRequest,
    /// Whether a tag is moved that somebody else gave to another image meanwhile.
    #[arg(long)]
    over: bool,
    /// Where `config.json` is.
    #[arg(long, value_name = "DIR")]
    credentials: Option<PathBuf>,
    /// CAs in PEM that are trusted beside the system's.
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// A registry that is spoken to over plain http; may be repeated.
    #[arg(long = "plain-http", value_name = "HOST[:PORT]")]
    plain_http: Vec<String>,
}

fn reference(text: &str) -> Result<ImageRequest, String> {
    let (repository, tag) = text
        .rsplit_once(':')
        .filter(|(repository, tag)| repository.contains('/') && !tag.contains('/'))
        .ok_or("must be repository:tag")?;
    Ok(ImageRequest {
        repository: repository.to_owned(),
        pick: ImagePick::Tag(tag.to_owned()),
    })
}

pub(super) fn run(args: &Args) -> Result<Digest, Ended> {
    let bundle = args.ca_bundle.as_ref().map(fs::read).transpose();
    let bundle = bundle.map_err(|error| Ended::for_now(format!("cannot read the CA bundle: {error}")))?;
    let config = args.credentials.as_ref().map(config).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Ended::for_now(format!("cannot start the runtime: {error}")))?;
    let registry = Pusher::new(bundle.as_deref(), args.plain_http.clone());
    let mut registry = registry.map_err(|error| Ended::for_good(chain(&error)))?;
    if !args.over {
        registry = registry.keeping();
    }
    let pushed = runtime
        .block_on(registry.push(&args.to, config.as_ref(), &args.layout))
        .map_err(|error| refused(&error))?;
    println!(
        "pushed {} as {}: {} blobs of {} KiB, {} were there",
        args.to.reference(),
        pushed.digest,
        pushed.blobs_sent,
        pushed.bytes_sent >> 10,
        pushed.blobs_there
    );
    Ok(pushed.digest)
}

fn config(directory: &PathBuf) -> Result<DockerConfig, Ended> {
    let about = |what: &str| Ended::for_good(format!("the Secret that images are pushed with {what}"));
    let files = mounted(directory)?;
    let bytes = files
        .get(CONFIG)
        .ok_or_else(|| about("has no key .dockerconfigjson"))?;
    DockerConfig::parse(bytes).map_err(|error| about(&error.to_string()))
}

fn refused(error: &PushError) -> Ended {
    match error.intent() {
        Intent::Retry => Ended::for_now(error.to_string()),
        Intent::Stall => Ended::for_good(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_to_is_a_repository_with_a_tag() {
        let parsed = reference("registry.test:5000/acme/shop:1.0.0").unwrap();
        assert_eq!(parsed.reference(), "registry.test:5000/acme/shop:1.0.0");
        for text in ["registry.test:5000/acme/shop", "shop:1", "a/b@sha256:0"] {
            assert!(reference(text).is_err() || text.contains('@'), "{text}");
        }
    }
}
