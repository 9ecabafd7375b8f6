//! Asks a registry what an image is: tag → digest, platforms, and what the image says of itself.
//!
//! There is no state between two questions, so that one namespace's credential or token never answers for
//! another; every question ends within a deadline. How one question is put is [`super::session`]'s.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use reqwest::{Certificate, Client, redirect};

use super::{
    address::{LookUp, OWN, names_own},
    baked::Texts,
    claims::{Said, claims},
    credentials::{DockerConfig, Found},
    error::ResolveError,
    manifest::{self, Config, Manifest, Platform},
    session::{Failure, Session, authority},
};
use crate::{
    names::Digest,
    plan::observed::Claims,
    spec::declared::{ImagePick, ImageRequest},
};

/// For everything about one image: a few requests.
const DEADLINE: Duration = Duration::from_secs(10);
/// Half the deadline: a host that drops packets leaves time for the message to say so.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two pieces of a body.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Registry → storage, at most through one more host.
const MAX_REDIRECTS: usize = 3;

/// Of so many images of an index it is asked what they say of themselves: registries count the questions, and what
/// differs between platforms is hardly what they say.
const MAX_IMAGES: usize = 4;

/// What a registry said about an image.
#[derive(Debug)]
pub struct ResolvedImage {
    /// The digest of the tag: that of the index where there is one.
    pub digest: Digest,
    /// The platforms that it runs on, sorted, each once; never empty.
    pub platforms: Vec<Platform>,
    /// What the image says of itself, for each platform.
    pub texts: Vec<Texts>,
    /// What it says of where it comes from, for each platform that says something else.
    pub claims: Vec<Claims>,
}

impl ResolvedImage {
    /// With what one of its images says.
    fn add(&mut self, annotations: [&Said; 2], config: Config) {
        let claims = claims(annotations, &config.said);
        let is_known = |known: &Claims| {
            (
                &known.version,
                &known.revision,
                &known.source,
                &known.key,
                &known.recipe,
            ) == (
                &claims.version,
                &claims.revision,
                &claims.source,
                &claims.key,
                &claims.recipe,
            )
        };
        if !self.claims.iter().any(is_known) {
            self.claims.push(claims);
        }
        self.texts.push(config.texts);
    }

    /// With the bytes of one of its images: of several platforms the largest is told.
    fn is_of(&mut self, size: u64) {
        if let Some(claims) = self.claims.first_mut() {
            claims.made_of.size = claims.made_of.size.max(size);
        }
    }
}

/// Why there is no [`Registry`].
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The bundle of CAs holds no certificate, or a broken one.
    #[error("the CA bundle is not a list of PEM certificates")]
    CaBundle(#[source] Option<reqwest::Error>),
    /// The TLS library refuses.
    #[error("cannot set up TLS for registries")]
    Tls(#[source] reqwest::Error),
}

/// A client for all registries. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    pub(super) secure: Client,
    pub(super) plain: Client,
    pub(super) plain_http: BTreeSet<String>,
    deadline: Duration,
}

// === impl Registry ===

impl Registry {
    /// `ca_bundle` (PEM) is trusted beside the system's CAs. `plain_http` lists the registries, `host` or
    /// `host:port`, that are spoken to without TLS; no other ever is.
    pub fn new(ca_bundle: Option<&[u8]>, plain_http: Vec<String>) -> Result<Self, RegistryError> {
        Self::patient(ca_bundle, plain_http, Some(READ_TIMEOUT))
    }

    /// As [`new`](Self::new), with another time between two pieces of a body. It runs while a request is sent, too, so what
    /// sends much has `None` and watches over that itself.
    pub(super) fn patient(
        ca_bundle: Option<&[u8]>,
        plain_http: Vec<String>,
        read_timeout: Option<Duration>,
    ) -> Result<Self, RegistryError> {
        let certificates = match ca_bundle {
            None => Vec::new(),
            Some(pem) => Certificate::from_pem_bundle(pem).map_err(|e| RegistryError::CaBundle(Some(e)))?,
        };
        if ca_bundle.is_some() && certificates.is_empty() {
            return Err(RegistryError::CaBundle(None));
        }
        let plain_http: BTreeSet<String> = plain_http.into_iter().collect();
        let client = |https_only: bool| {
            let listed = plain_http.clone();
            let builder = match read_timeout {
                Some(timeout) => Client::builder().read_timeout(timeout),
                None => Client::builder(),
            };
            builder
                .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .redirect(redirect::Policy::custom(move |attempt| {
                    redirected(attempt, &listed)
                }))
                .dns_resolver(Arc::new(LookUp))
                .referer(false)
                .https_only(https_only)
                .tls_certs_merge(certificates.clone())
                .build()
                .map_err(RegistryError::Tls)
        };
        Ok(Self {
            secure: client(true)?,
            plain: client(false)?,
            plain_http,
            deadline: DEADLINE,
        })
    }

    /// With another deadline for all about one image.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Asks for an image, with the credential of `credentials` that fits its repository, else anonymously.
    pub async fn resolve(
        &self,
        request: &ImageRequest,
        credentials: Option<&DockerConfig>,
    ) -> Result<ResolvedImage, ResolveError> {
        let found = credentials.and_then(|config| config.credentials_for(&request.repository));
        self.told(self.ask(request, found), request, credentials, found)
            .await
    }

    /// Asks which digest an image has now, as far as its registry tells without sending it: registries count what they send
    /// (<https://docs.docker.com/docker-hub/usage/pulls/>), and this is asked again and again.
    pub async fn digest(
        &self,
        request: &ImageRequest,
        credentials: Option<&DockerConfig>,
    ) -> Result<Digest, ResolveError> {
        let found = credentials.and_then(|config| config.credentials_for(&request.repository));
        let asked = async {
            let mut session = Session::new(self, request, found.map(|found| found.credential))?;
            session.digest(picked(request).0).await
        };
        self.told(asked, request, credentials, found).await
    }

    /// What comes of a question within the deadline, as a sentence about the image.
    async fn told<T>(
        &self,
        asked: impl Future<Output = Result<T, Failure>>,
        request: &ImageRequest,
        credentials: Option<&DockerConfig>,
        found: Option<Found<'_>>,
    ) -> Result<T, ResolveError> {
        let failure = match tokio::time::timeout(self.deadline, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::TimedOut,
        };
        let reference = request.reference();
        Err(match failure {
            Failure::NotFound => ResolveError::NotFound { reference },
            Failure::Unauthorized => ResolveError::Unauthorized {
                reference,
                tried: tried(&request.repository, credentials, found, "pull secret"),
            },
            Failure::TimedOut => ResolveError::TimedOut {
                reference,
                deadline: self.deadline,
            },
            Failure::Unreachable(cause) => ResolveError::Unreachable {
                reference,
                cause,
                answered: false,
            },
            Failure::Unwell(cause) => ResolveError::Unreachable {
                reference,
                cause,
                answered: true,
            },
            Failure::Invalid(problem) => ResolveError::Invalid { reference, problem },
        })
    }

    async fn ask(&self, request: &ImageRequest, found: Option<Found<'_>>) -> Result<ResolvedImage, Failure> {
        let mut session = Session::new(self, request, found.map(|found| found.credential))?;
        let (pick, expected) = picked(request);
        let top = session.manifest(pick, expected).await?;
        let mut image = ResolvedImage {
            digest: top.digest,
            platforms: Vec::new(),
            texts: Vec::new(),
            claims: Vec::new(),
        };
        match manifest::parse_manifest(&top.body).map_err(Failure::Invalid)? {
            Manifest::Image { config, size, said } => {
                let config = session.config(&config).await?;
                image.platforms.push(config.platform.clone());
                image.add([&said, &Said::default()], config);
                image.is_of(size);
            }
            Manifest::Index {
                platforms,
                images,
                attached,
                said,
            } => {
                image.platforms = platforms;
                for digest in images.iter().take(MAX_IMAGES) {
                    if let Some((of_one, size, config)) = session.config_of(digest).await? {
                        image.add([&said, &of_one], config);
                        image.is_of(size);
                    }
                }
                if let (Some(attached), Some(claims)) = (attached, image.claims.first_mut()) {
                    let asked = tokio::time::timeout(self.deadline / 3, session.bases(&attached));
                    claims.made_of.bases = asked.await.unwrap_or_default();
                }
            }
        }
        Ok(image)
    }
}

/// What is asked for, and the digest that the answer must have.
fn picked(request: &ImageRequest) -> (&str, Option<&Digest>) {
    match &request.pick {
        ImagePick::Tag(tag) => (tag.as_str(), None),
        ImagePick::Digest(digest) => (digest.as_str(), Some(digest)),
    }
}

/// Where a registry sends is followed a few times, and never to this machine or its cloud. Where no TLS is wanted, whoever
/// installed Slipway has named the host.
fn redirected(attempt: redirect::Attempt<'_>, plain_http: &BTreeSet<String>) -> redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error(format!("it sends elsewhere more than {MAX_REDIRECTS} times"))
    } else if names_own(attempt.url()) && !plain_http.contains(&authority(attempt.url())) {
        attempt.error(OWN)
    } else {
        attempt.follow()
    }
}

/// Which credential of which secret was shown, in words and without any of it.
pub(super) fn tried(
    repository: &str,
    credentials: Option<&DockerConfig>,
    found: Option<Found<'_>>,
    secret: &str,
) -> String {
    let registry = repository.split('/').next().unwrap_or(repository);
    match (found, credentials) {
        (Some(found), _) => format!("the entry {:?} of the {secret}", found.key),
        (None, Some(_)) => format!("anonymously, since the {secret} has no entry for {registry}"),
        (None, None) => format!("anonymously, since no {secret} is declared"),
    }
}

#[cfg(test)]
mod tests;
