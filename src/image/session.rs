//! The questions about one image: a few requests of the
//! [distribution API](https://github.com/opencontainers/distribution-spec).
//!
//! Every body is read up to a bound and compared with its digest. Where a request goes and what it shows there is
//! [`access`]'s, also for those that push an image.

mod access;

use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, HeaderValue},
};
use sha2::{Digest as _, Sha256};

pub use self::access::Barred;
use super::{
    claims::Said,
    credentials::Credential,
    manifest::{self, Config, Manifest},
    provenance,
    registry::Registry,
};
use crate::{
    hex::hex,
    names::{Digest, Version},
    spec::declared::{ImagePick, ImageRequest},
    telemetry::chain,
};

/// The distribution spec lets registries refuse manifests above 4 MiB.
const MAX_MANIFEST: usize = 4 << 20;
/// Configs hold the history of a build; real ones stay below 100 KiB.
const MAX_CONFIG: usize = 4 << 20;
/// With `mode=max` it holds the Dockerfile and each step.
const MAX_PROVENANCE: usize = 4 << 20;

/// A failure that does not know yet what it is about.
pub enum Failure {
    NotFound,
    Unauthorized,
    TimedOut,
    /// Nobody answered.
    Unreachable(String),
    /// It answered that it cannot.
    Unwell(String),
    Invalid(String),
}

/// One answer, whole.
pub struct Answer {
    pub body: Vec<u8>,
    pub digest: Digest,
}

/// What is wanted of a repository.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Pull,
    Push,
}

/// The questions about one image.
pub struct Session<'a> {
    registry: &'a Registry,
    base: String,
    path: &'a str,
    plain: bool,
    purpose: Purpose,
    credential: Option<&'a Credential>,
    /// What the registry is shown; found out from its first refusal.
    authorization: Option<HeaderValue>,
}

// === impl Session ===

impl<'a> Session<'a> {
    pub fn new(
        registry: &'a Registry,
        request: &'a ImageRequest,
        credential: Option<&'a Credential>,
    ) -> Result<Self, Failure> {
        let (host, path) = request
            .repository
            .split_once('/')
            .filter(|(host, path)| is_host(host) && is_path(path))
            .ok_or_else(|| Failure::Invalid("its name is not registry/path".into()))?;
        if let ImagePick::Tag(tag) = &request.pick
            && tag.parse::<Version>().is_err()
        {
            return Err(Failure::Invalid("its tag is not a tag".into()));
        }
        let plain = registry.plain_http.contains(host);
        // The one registry whose name is not its host.
        let server = if host == "docker.io" {
            "registry-1.docker.io"
        } else {
            host
        };
        let authorization = match credential {
            Some(Credential::RegistryToken(token)) => Some(access::bearer(token)?),
            _ => None,
        };
        Ok(Self {
            registry,
            base: format!("{}://{server}/v2", if plain { "http" } else { "https" }),
            path,
            plain,
            purpose: Purpose::Pull,
            credential,
            authorization,
        })
    }

    /// To push what is asked for: token servers are asked for more, and again when a token ends, since a push may outlive
    /// many of them.
    pub fn pushing(
        registry: &'a Registry,
        request: &'a ImageRequest,
        credential: Option<&'a Credential>,
    ) -> Result<Self, Failure> {
        let purpose = Purpose::Push;
        Self::new(registry, request, credential).map(|session| Self { purpose, ..session })
    }

    pub async fn manifest(&mut self, pick: &str, expected: Option<&Digest>) -> Result<Answer, Failure> {
        let url = self.url(&format!("manifests/{pick}"));
        self.get(&url, manifest::ACCEPT, MAX_MANIFEST, expected).await
    }

    /// The digest of a manifest by a HEAD. A registry that knows no HEAD, or does not name the digest, sends it whole.
    pub async fn digest(&mut self, pick: &str) -> Result<Digest, Failure> {
        let url = self.url(&format!("manifests/{pick}"));
        match self.ask(Method::HEAD, &url, manifest::ACCEPT).await {
            Ok(response) => {
                if let Some(digest) = claimed(&response) {
                    return Ok(digest);
                }
            }
            Err(Failure::Invalid(_)) => {}
            Err(failure) => return Err(failure),
        }
        Ok(self.manifest(pick, None).await?.digest)
    }

    /// Where something of the repository is.
    pub fn url(&self, tail: &str) -> String {
        format!("{}/{}/{tail}", self.base, self.path)
    }

    /// What an image's config says.
    pub async fn config(&mut self, digest: &Digest) -> Result<Config, Failure> {
        match self.blob(digest).await {
            // The tag is there, so this is not "no such tag".
            Err(Failure::NotFound) => Err(Failure::Unwell("it does not hold the image's config".into())),
            answer => answer,
        }
    }

    async fn blob(&mut self, digest: &Digest) -> Result<Config, Failure> {
        let url = self.url(&format!("blobs/{digest}"));
        let blob = self.get(&url, "*/*", MAX_CONFIG, Some(digest)).await?;
        manifest::parse_config(&blob.body).map_err(Failure::Invalid)
    }

    /// What the annotations and the config of one of an index's images say; `None` where the registry has no such image, as in a copy of some
    /// platforms alone, or none that could run.
    pub async fn config_of(&mut self, image: &Digest) -> Result<Option<(Said, u64, Config)>, Failure> {
        let config = match self.manifest(image.as_str(), Some(image)).await {
            Ok(answer) => match manifest::parse_manifest(&answer.body) {
                Ok(Manifest::Image { config, size, said }) => {
                    self.blob(&config).await.map(|config| (said, size, config))
                }
                Ok(Manifest::Index { .. }) | Err(_) => return Ok(None),
            },
            Err(failure) => Err(failure),
        };
        match config {
            Ok(config) => Ok(Some(config)),
            Err(Failure::NotFound | Failure::Invalid(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The images that an image was made of, by what is attached to it; none where that cannot be read: it is only told.
    pub async fn bases(&mut self, attached: &Digest) -> Vec<String> {
        let Ok(manifest) = self.manifest(attached.as_str(), Some(attached)).await else {
            return Vec::new();
        };
        let Some(blob) = provenance::blob_of(&manifest.body) else {
            return Vec::new();
        };
        let url = self.url(&format!("blobs/{blob}"));
        let statement = self.get(&url, "*/*", MAX_PROVENANCE, Some(&blob)).await;
        statement.map_or_else(|_| Vec::new(), |statement| provenance::bases(&statement.body))
    }

    /// One GET, whole.
    async fn get(
        &mut self,
        url: &str,
        accept: &'static str,
        cap: usize,
        expected: Option<&Digest>,
    ) -> Result<Answer, Failure> {
        let response = self.ask(Method::GET, url, accept).await?;
        let claimed = claimed(&response);
        let body = bounded(response, cap).await?;
        let digest = sha256(&body)?;
        // Redirects and proxies may drop the header, but none may contradict the bytes.
        if [claimed.as_ref(), expected]
            .iter()
            .flatten()
            .any(|named| **named != digest)
        {
            return Err(Failure::Invalid(
                "the registry sent other bytes than their digest says".into(),
            ));
        }
        Ok(Answer { body, digest })
    }

    /// One request, repeated once with what the registry asked for.
    async fn ask(&mut self, method: Method, url: &str, accept: &'static str) -> Result<Response, Failure> {
        let accepting = |request: RequestBuilder| request.header(ACCEPT, accept);
        let response = self.exchange(method, url, accepting).await?;
        check_status(response.status())?;
        Ok(response)
    }
}

// === one request ===

/// The digest that a registry names.
pub fn claimed(response: &Response) -> Option<Digest> {
    let value = response.headers().get("docker-content-digest")?;
    value.to_str().ok()?.parse().ok()
}

pub async fn send(request: RequestBuilder) -> Result<Response, Failure> {
    request.send().await.map_err(transport)
}

/// `host`, or `host:port` where the URL has one that is not its scheme's.
pub fn authority(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
}

/// The URL is taken away: after a redirect it may hold a signature.
fn transport(error: reqwest::Error) -> Failure {
    if error.is_timeout() {
        Failure::Unreachable("it did not answer in time".into())
    } else if error.is_redirect() {
        Failure::Invalid(format!(
            "the registry's answer was given up: {}",
            chain(&error.without_url())
        ))
    } else {
        Failure::Unreachable(chain(&error.without_url()))
    }
}

fn check_status(status: StatusCode) -> Result<(), Failure> {
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::NOT_FOUND => Err(Failure::NotFound),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::Unauthorized),
        StatusCode::TOO_MANY_REQUESTS => Err(Failure::Unwell("it wants fewer requests (429)".into())),
        status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            Err(Failure::Unwell(format!("it answered {}", status.as_u16())))
        }
        status => Err(Failure::Invalid(format!(
            "the registry answered {}",
            status.as_u16()
        ))),
    }
}

pub async fn bounded(mut response: Response, cap: usize) -> Result<Vec<u8>, Failure> {
    let too_large = || Failure::Invalid(format!("the registry sent more than {} KiB", cap >> 10));
    if response
        .content_length()
        .is_some_and(|length| length > cap as u64)
    {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(transport)? {
        if body.len() + piece.len() > cap {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

pub fn sha256(body: &[u8]) -> Result<Digest, Failure> {
    format!("sha256:{}", hex(&Sha256::digest(body)))
        .parse()
        .map_err(|e| Failure::Invalid(format!("its digest {e}")))
}

fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b".-:".contains(&c))
}

/// Segments that a URL takes as they are: no `..`, no `%`, no `?`.
fn is_path(path: &str) -> bool {
    path.split('/').all(|segment| {
        segment.starts_with(|c: char| c.is_ascii_alphanumeric())
            && segment
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c))
    })
}
