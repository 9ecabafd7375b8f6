//! Brings an image from disk into a registry: blobs, then the manifests that name them, then the tag.
//!
//! Slipway does this itself, so that no credential for it is ever where a Dockerfile runs. In this order nobody can see half
//! an image: until the last step no tag leads to any of it. Each step is tried again when what stopped it may pass, from its
//! own beginning: a registry keeps what is whole, and forgets the rest.

mod answer;
mod patience;
mod upload;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
};
use tokio::{task::spawn_blocking, time::timeout};

use self::{
    answer::{Failure, is_named},
    patience::Patience,
};
use super::{
    address::OWN,
    credentials::DockerConfig,
    error::PushError,
    layout::{Descriptor, Layout, LayoutError, Manifest},
    manifest,
    registry::{Registry, RegistryError, tried},
    session::{Barred, Session, authority, claimed},
};
use crate::{
    names::Digest,
    spec::declared::{ImagePick, ImageRequest},
};

/// Something is stored. The spec knows the first; the others are what registries answered before there was one.
const STORED: [StatusCode; 4] = [
    StatusCode::CREATED,
    StatusCode::OK,
    StatusCode::ACCEPTED,
    StatusCode::NO_CONTENT,
];

/// What came of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// What the tag now is: the digest of the image, or of the index of several.
    pub digest: Digest,
    /// How many bytes of blobs the registry took.
    pub bytes_sent: u64,
    /// How many blobs those are.
    pub blobs_sent: usize,
    /// How many it had.
    pub blobs_there: usize,
}

/// A client for all registries, to push to. Not a [`Registry`], whose patience is that of a question.
#[derive(Debug, Clone)]
pub struct Pusher {
    registry: Registry,
    patience: Patience,
    /// Whether a tag stays that leads to another image.
    keeps: bool,
}

// === impl Pusher ===

impl Pusher {
    /// As [`Registry::new`].
    pub fn new(ca_bundle: Option<&[u8]>, plain_http: Vec<String>) -> Result<Self, RegistryError> {
        Ok(Self {
            registry: Registry::patient(ca_bundle, plain_http, None)?,
            patience: Patience::default(),
            keeps: false,
        })
    }

    /// That moves no tag which leads to another image. Registries know no condition for it: a tag that is given between the
    /// question and the answer is moved all the same.
    #[must_use]
    pub fn keeping(self) -> Self {
        Self { keeps: true, ..self }
    }

    /// Pushes the one image in `layout`, an OCI image layout, with the credential of `credentials` that fits its repository,
    /// else anonymously. Where `to` names a digest, it must be that of the image.
    ///
    /// The same again costs a few questions, and sends nothing that is there.
    pub async fn push(
        &self,
        to: &ImageRequest,
        credentials: Option<&DockerConfig>,
        layout: &Path,
    ) -> Result<Pushed, PushError> {
        let reference = to.reference();
        let layout = read(layout.to_owned())
            .await
            .and_then(|layout| expected(layout, to))
            .map_err(|source| PushError::Layout {
                reference: reference.clone(),
                source,
            })?;
        let found = credentials.and_then(|config| config.credentials_for(&to.repository));
        let session = Session::pushing(&self.registry, to, found.map(|found| found.credential));
        let session = session.map_err(|failure| PushError::Rejected {
            reference,
            attempt: "read its name".to_owned(),
            problem: Failure::from(failure).to_string(),
        })?;
        let pushing = Pushing {
            session,
            patience: &self.patience,
            keeps: self.keeps,
            to,
            tried: tried(&to.repository, credentials, found, "push secret"),
        };
        pushing.all(&Arc::new(layout)).await
    }
}

async fn read(path: PathBuf) -> Result<Layout, LayoutError> {
    blocking("the image layout", move || Layout::read(&path)).await
}

/// What the disk does where no other task waits for it.
async fn blocking<T: Send + 'static>(
    file: &str,
    work: impl FnOnce() -> Result<T, LayoutError> + Send + 'static,
) -> Result<T, LayoutError> {
    spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(LayoutError::Unreadable {
            file: file.to_owned(),
            cause: error.to_string(),
        })
    })
}

fn expected(layout: Layout, to: &ImageRequest) -> Result<Layout, LayoutError> {
    match &to.pick {
        ImagePick::Digest(digest) if *digest != layout.top.digest => Err(LayoutError::Invalid {
            file: "index.json".to_owned(),
            problem: format!("lists {}, which is another image", layout.top.digest),
        }),
        ImagePick::Digest(_) | ImagePick::Tag(_) => Ok(layout),
    }
}

/// One push.
struct Pushing<'a> {
    session: Session<'a>,
    patience: &'a Patience,
    keeps: bool,
    to: &'a ImageRequest,
    /// Which credential is shown, in words.
    tried: String,
}

/// What is tried again as a whole.
enum Step<'a> {
    Blob(&'a Descriptor),
    /// A manifest by its digest.
    Child(&'a Manifest),
    /// The manifest by the tag.
    Top(&'a Manifest),
    /// Whether the tag is it.
    Check(&'a Manifest),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(blob) => write!(f, "upload the blob {} of {} bytes", blob.digest, blob.size),
            Self::Child(manifest) => write!(f, "put the manifest {}", manifest.digest),
            Self::Top(manifest) => write!(f, "put the manifest {} under its tag", manifest.digest),
            Self::Check(manifest) => write!(f, "see the tag lead to {}", manifest.digest),
        }
    }
}

// === impl Pushing ===

impl Pushing<'_> {
    async fn all(mut self, layout: &Arc<Layout>) -> Result<Pushed, PushError> {
        let mut pushed = Pushed {
            digest: layout.top.digest.clone(),
            bytes_sent: 0,
            blobs_sent: 0,
            blobs_there: 0,
        };
        for blob in &layout.blobs {
            if self.take(&Step::Blob(blob), layout).await? {
                pushed.blobs_sent += 1;
                pushed.bytes_sent += blob.size;
            } else {
                pushed.blobs_there += 1;
            }
        }
        for child in &layout.children {
            self.take(&Step::Child(child), layout).await?;
        }
        self.take(&Step::Top(&layout.top), layout).await?;
        self.take(&Step::Check(&layout.top), layout).await?;
        Ok(pushed)
    }

    /// One step, as often as it needs; whether anything had to be sent.
    async fn take(&mut self, step: &Step<'_>, layout: &Arc<Layout>) -> Result<bool, PushError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let failure = match self.attempt(step, layout, attempts).await {
                Ok(sent) => {
                    tracing::debug!(sent, "{step}");
                    return Ok(sent);
                }
                Err(failure) => failure,
            };
            let Some(pause) = self.patience.pause(attempts, &failure) else {
                return Err(self.error(step, failure, attempts));
            };
            let wait = pause.as_secs_f32();
            tracing::warn!(attempts, wait, %failure, "could not {step}; trying again");
            tokio::time::sleep(pause).await;
        }
    }

    fn error(&self, step: &Step<'_>, failure: Failure, attempts: usize) -> PushError {
        let (reference, attempt) = (self.to.reference(), step.to_string());
        match failure {
            Failure::Layout(source) => PushError::Layout { reference, source },
            Failure::Refused(said) => PushError::Refused {
                repository: self.to.repository.clone(),
                attempt,
                tried: self.tried.clone(),
                said: said.map(|said| format!("; it says {said}")).unwrap_or_default(),
            },
            Failure::Passing { cause, .. } => PushError::Unwell {
                reference,
                attempt,
                attempts,
                cause,
            },
            Failure::Taken(found) => PushError::Taken { reference, found },
            Failure::Lasting(problem) => PushError::Rejected {
                reference,
                attempt,
                problem,
            },
        }
    }

    async fn attempt(
        &mut self,
        step: &Step<'_>,
        layout: &Arc<Layout>,
        attempts: usize,
    ) -> Result<bool, Failure> {
        match step {
            Step::Blob(blob) if self.has(blob).await? => Ok(false),
            Step::Blob(blob) => {
                let place = self.begin(&blob.digest).await?;
                self.upload(blob, place, layout, attempts).await.map(|()| true)
            }
            Step::Child(manifest) => self.put(manifest, manifest.digest.as_str()).await.map(|()| true),
            // Where tags stay as they are, one may not even be set to what it is; and an answer may have been lost.
            Step::Top(top) => match self.tagged().await? {
                Some(found) if found == top.digest => Ok(false),
                Some(found) if self.keeps => Err(Failure::Taken(found)),
                _ => self.put(top, picked(self.to)).await.map(|()| true),
            },
            Step::Check(top) => match self.tagged().await? {
                Some(found) if found == top.digest => Ok(false),
                // A registry of several machines may need a moment to agree.
                Some(found) => Err(Failure::passing(format!("it leads to {found}"))),
                None => Err(Failure::passing("it is not there".to_owned())),
            },
        }
    }

    /// Whether the registry has a blob.
    async fn has(&mut self, blob: &Descriptor) -> Result<bool, Failure> {
        let url = self.session.url(&format!("blobs/{}", blob.digest));
        let response = self.exchange(Method::HEAD, &url, |request| request).await?;
        match response.status() {
            StatusCode::OK => Ok(claimed(&response).is_none_or(|named| named == blob.digest)),
            StatusCode::NOT_FOUND => Ok(false),
            // Storage that lets nobody ask, only get: it costs an upload to know.
            _ if !self.session.is_registry(response.url()) => Ok(false),
            _ => Err(answer::judge(&self.session, response).await),
        }
    }

    /// Where a blob is to be uploaded to.
    async fn begin(&mut self, digest: &Digest) -> Result<Url, Failure> {
        let url = self.session.url("blobs/uploads/");
        let empty = |request: RequestBuilder| request.header(CONTENT_LENGTH, 0);
        let response = self.exchange(Method::POST, &url, empty).await?;
        let response = self.accept(response, &[StatusCode::ACCEPTED]).await?;
        let location = response.headers().get(LOCATION);
        let mut place = location
            .and_then(|location| location.to_str().ok())
            .and_then(|location| response.url().join(location).ok())
            .ok_or_else(|| Failure::Lasting("the registry names no place for it".to_owned()))?;
        place.query_pairs_mut().append_pair("digest", digest.as_str());
        Ok(place)
    }

    /// A blob, as it is read.
    async fn upload(
        &mut self,
        blob: &Descriptor,
        place: Url,
        layout: &Arc<Layout>,
        attempts: usize,
    ) -> Result<(), Failure> {
        let host = authority(&place);
        let request = self.session.request_to(Method::PUT, place).map_err(|barred| {
            Failure::Lasting(match barred {
                Barred::Own => OWN.to_owned(),
                Barred::InTheClear => format!(
                    "it is to go to {host} without TLS; a proxy before the registry has to tell it the scheme \
                     (X-Forwarded-Proto)"
                ),
            })
        })?;
        let (of, named) = (Arc::clone(layout), blob.clone());
        let opened = blocking("a blob", move || of.open(&named)).await?;
        let sent = upload::send(request, opened, blob.size, self.patience).await?;
        // The token may have ended since the upload began; the next beginning gets another.
        if sent.response.status() == StatusCode::UNAUTHORIZED && attempts == 1 {
            return Err(Failure::passing(
                "the upload was not allowed to go on (401)".to_owned(),
            ));
        }
        let response = self.accept(sent.response, &STORED).await?;
        is_named(&response, &blob.digest)
    }

    async fn put(&mut self, manifest: &Manifest, pick: &str) -> Result<(), Failure> {
        let url = self.session.url(&format!("manifests/{pick}"));
        let with = |request: RequestBuilder| {
            let request = request.header(CONTENT_TYPE, manifest.media_type);
            request.body(manifest.bytes.clone())
        };
        let response = self.exchange(Method::PUT, &url, with).await?;
        let response = self.accept(response, &STORED).await?;
        is_named(&response, &manifest.digest)
    }

    /// What the tag, or the digest, leads to.
    async fn tagged(&mut self) -> Result<Option<Digest>, Failure> {
        let pick = picked(self.to);
        let url = self.session.url(&format!("manifests/{pick}"));
        let accepting = |request: RequestBuilder| request.header(ACCEPT, manifest::ACCEPT);
        let response = self.exchange(Method::HEAD, &url, accepting).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = self.accept(response, &[StatusCode::OK]).await?;
        if let Some(digest) = claimed(&response) {
            return Ok(Some(digest));
        }
        // It need not name it (distribution spec, "Legacy Docker support HTTP headers").
        let whole = timeout(self.patience.deadline, self.session.manifest(pick, None));
        let whole = whole.await.map_err(|_| late(self.patience.deadline))??;
        Ok(Some(whole.digest))
    }

    async fn exchange(
        &mut self,
        method: Method,
        url: &str,
        with: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let answered = timeout(self.patience.deadline, self.session.exchange(method, url, with));
        Ok(answered.await.map_err(|_| late(self.patience.deadline))??)
    }

    async fn accept(&self, response: Response, accepted: &[StatusCode]) -> Result<Response, Failure> {
        if accepted.contains(&response.status()) {
            Ok(response)
        } else {
            Err(answer::judge(&self.session, response).await)
        }
    }
}

fn late(after: Duration) -> Failure {
    Failure::passing(format!("no answer within {} s", after.as_secs_f32()))
}

fn picked(to: &ImageRequest) -> &str {
    match &to.pick {
        ImagePick::Tag(tag) => tag.as_str(),
        ImagePick::Digest(digest) => digest.as_str(),
    }
}

#[cfg(test)]
mod tests;
