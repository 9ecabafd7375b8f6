//! The questions about one image: a few requests of the
//! [distribution API](https://github.com/opencontainers/distribution-spec).
//!
//! Every body is read up to a bound and compared with its digest. Who gets a credential: the registry itself,
//! and the token server that it names, both over TLS unless they were listed as plain http. A redirect to
//! another host is followed without it.

use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    address::{OWN, names_own},
    challenge::{self, Challenge},
    credentials::Credential,
    manifest::{self, Config, Manifest},
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
/// Tokens of clouds reach a few KiB.
const MAX_TOKEN: usize = 64 << 10;

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

/// The questions about one image.
pub struct Session<'a> {
    registry: &'a Registry,
    base: String,
    path: &'a str,
    plain: bool,
    credential: Option<&'a Credential>,
    /// What the registry is shown; found out from its first refusal.
    authorization: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
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
            Some(Credential::RegistryToken(token)) => Some(bearer(token)?),
            _ => None,
        };
        Ok(Self {
            registry,
            base: format!("{}://{server}/v2", if plain { "http" } else { "https" }),
            path,
            plain,
            credential,
            authorization,
        })
    }

    pub async fn manifest(&mut self, pick: &str, expected: Option<&Digest>) -> Result<Answer, Failure> {
        let url = self.manifest_url(pick);
        self.get(&url, manifest::ACCEPT, MAX_MANIFEST, expected).await
    }

    /// The digest of a manifest by a HEAD. A registry that knows no HEAD, or does not name the digest, sends it whole.
    pub async fn digest(&mut self, pick: &str) -> Result<Digest, Failure> {
        let url = self.manifest_url(pick);
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

    fn manifest_url(&self, pick: &str) -> String {
        format!("{}/{}/manifests/{pick}", self.base, self.path)
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
        let url = format!("{}/{}/blobs/{digest}", self.base, self.path);
        let blob = self.get(&url, "*/*", MAX_CONFIG, Some(digest)).await?;
        manifest::parse_config(&blob.body).map_err(Failure::Invalid)
    }

    /// What the config of one of an index's images says; `None` where the registry has no such image, as in a copy of some
    /// platforms alone, or none that could run.
    pub async fn config_of(&mut self, image: &Digest) -> Result<Option<Config>, Failure> {
        let config = match self.manifest(image.as_str(), Some(image)).await {
            Ok(answer) => match manifest::parse_manifest(&answer.body) {
                Ok(Manifest::Image { config }) => self.blob(&config).await,
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
        let mut response = self.send(method.clone(), url, accept).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.authorization.is_none() {
            self.authorization = Some(self.authorize(response.headers()).await?);
            response = self.send(method, url, accept).await?;
        }
        check_status(response.status())?;
        Ok(response)
    }

    async fn send(&self, method: Method, url: &str, accept: &'static str) -> Result<Response, Failure> {
        let client = if self.plain {
            &self.registry.plain
        } else {
            &self.registry.secure
        };
        let mut request = client.request(method, url).header(ACCEPT, accept);
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        send(request).await
    }

    /// What to show after a refusal.
    async fn authorize(&self, headers: &HeaderMap) -> Result<HeaderValue, Failure> {
        let challenges: Vec<Challenge> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        for challenge in challenges {
            match (challenge, self.credential) {
                (Challenge::Bearer { realm, service }, _) => {
                    let token = self.token(&realm, service.as_deref()).await?;
                    return bearer(&token);
                }
                (Challenge::Basic, Some(Credential::Password { username, password })) => {
                    return basic(username, password);
                }
                (Challenge::Basic, _) => {}
            }
        }
        Err(Failure::Unauthorized)
    }

    /// Asks the token server that the registry names.
    async fn token(&self, realm: &str, service: Option<&str>) -> Result<SecretString, Failure> {
        let mut url = Url::parse(realm)
            .map_err(|_| Failure::Invalid("the registry names a token server that is not a URL".into()))?;
        let client = self.client_for(&url)?;
        let scope = format!("repository:{}:pull", self.path);
        let request = if let Some(Credential::IdentityToken(token)) = self.credential {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token")
                .append_pair("client_id", "slipway")
                .append_pair("scope", &scope)
                .append_pair("refresh_token", token.expose_secret());
            if let Some(service) = service {
                form.append_pair("service", service);
            }
            client
                .post(url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.finish())
        } else {
            if let Some(service) = service {
                url.query_pairs_mut().append_pair("service", service);
            }
            url.query_pairs_mut().append_pair("scope", &scope);
            let request = client.get(url);
            match self.credential {
                Some(Credential::Password { username, password }) => {
                    request.header(AUTHORIZATION, basic(username, password)?)
                }
                _ => request,
            }
        };
        let response = send(request).await?;
        match response.status() {
            // Token servers answer a wrong password with any of these.
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => return Err(Failure::Unauthorized),
            status => check_status(status)?,
        }
        let body = bounded(response, MAX_TOKEN).await?;
        serde_json::from_slice::<TokenAnswer>(&body)
            .ok()
            .and_then(|answer| answer.token.or(answer.access_token))
            .filter(|token| !token.expose_secret().is_empty())
            .ok_or_else(|| Failure::Invalid("its registry's token server sent no token".into()))
    }

    /// Plain http only to what was listed, and only where the registry itself is: a registry behind TLS
    /// cannot have a credential sent in the clear.
    fn client_for(&self, url: &Url) -> Result<&'a Client, Failure> {
        let listed = self.registry.plain_http.contains(&authority(url));
        match url.scheme() {
            "https" if names_own(url) && !listed => Err(Failure::Invalid(format!(
                "the registry cannot be asked for a token: {OWN}; it gets no credential"
            ))),
            "https" => Ok(&self.registry.secure),
            "http" if self.plain && listed => Ok(&self.registry.plain),
            _ => Err(Failure::Invalid(
                "the registry names a token server without TLS; it gets no credential".into(),
            )),
        }
    }
}

// === one request ===

/// The digest that a registry names.
fn claimed(response: &Response) -> Option<Digest> {
    let value = response.headers().get("docker-content-digest")?;
    value.to_str().ok()?.parse().ok()
}

async fn send(request: RequestBuilder) -> Result<Response, Failure> {
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

async fn bounded(mut response: Response, cap: usize) -> Result<Vec<u8>, Failure> {
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

fn bearer(token: &SecretString) -> Result<HeaderValue, Failure> {
    sensitive(&format!("Bearer {}", token.expose_secret()))
}

fn basic(username: &SecretString, password: &SecretString) -> Result<HeaderValue, Failure> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let pair = format!("{}:{}", username.expose_secret(), password.expose_secret());
    sensitive(&format!("Basic {}", STANDARD.encode(pair)))
}

/// A header value that no log prints.
fn sensitive(text: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Failure::Invalid("a token for its registry holds characters that no header may".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
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
