//! Where a request goes, and what it shows.
//!
//! Who gets a credential: the registry itself, and the token server that it names, both over TLS unless they were listed as
//! plain http. A redirect to another host is followed without it, and so is the place that it names for an upload.

use reqwest::{
    Client, IntoUrl, Method, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{Failure, Purpose, Session, authority, bounded, check_status, send};
use crate::image::{
    address::{OWN, names_own},
    challenge::{self, Challenge},
    credentials::Credential,
};

/// Tokens of clouds reach a few KiB.
const MAX_TOKEN: usize = 64 << 10;

/// Why nothing is sent where a registry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    /// It is an address that no registry has.
    Own,
    /// There is no TLS, and nobody listed it as plain http.
    InTheClear,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
}

impl<'a> Session<'a> {
    /// One request, repeated once with what the registry asked for, and whatever it answers then.
    pub async fn exchange(
        &mut self,
        method: Method,
        url: &str,
        with: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let mut response = send(with(self.request(method.clone(), url))).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.can_show_more(&response) {
            match self.authorize(response.headers()).await {
                // The refusal stands, and may say more.
                Err(Failure::Unauthorized) => {}
                // The same again would be refused again, and some count that.
                Ok(shown) if self.authorization.as_ref() == Some(&shown) => {}
                shown => {
                    self.authorization = Some(shown?);
                    response = send(with(self.request(method, url))).await?;
                }
            }
        }
        Ok(response)
    }

    /// Whether a refusal can be answered. Of what is pushed, the host that a registry sends elsewhere is no one to be answered:
    /// it would name the token server that the credential goes to.
    fn can_show_more(&self, refusal: &Response) -> bool {
        match (self.purpose, self.credential) {
            (Purpose::Pull, _) => self.authorization.is_none(),
            (Purpose::Push, Some(Credential::RegistryToken(_))) => false,
            (Purpose::Push, _) => self.is_registry(refusal.url()),
        }
    }

    fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        let request = self.client().request(method, url);
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    /// A request to where the registry says, which shows nothing but to the registry itself.
    pub fn request_to(&self, method: Method, url: Url) -> Result<RequestBuilder, Barred> {
        if self.is_registry(&url) {
            Ok(self.request(method, url))
        } else {
            Ok(self.client_for(&url)?.request(method, url))
        }
    }

    /// Whether a URL is one of the registry itself.
    pub fn is_registry(&self, url: &Url) -> bool {
        Url::parse(&self.base).is_ok_and(|base| base.origin() == url.origin())
    }

    /// Whether a text holds a part of what is shown to anyone.
    pub fn is_shown_in(&self, text: &str) -> bool {
        let shown = self.authorization.as_ref().and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.split_once(' '));
        shown.is_some_and(|(_, value)| text.contains(value))
            || self.credential.is_some_and(|credential| credential.is_in(text))
    }

    fn client(&self) -> &'a Client {
        if self.plain {
            &self.registry.plain
        } else {
            &self.registry.secure
        }
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
        let client = self.client_for(&url).map_err(|barred| match barred {
            Barred::Own => Failure::Invalid(format!(
                "the registry cannot be asked for a token: {OWN}; it gets no credential"
            )),
            Barred::InTheClear => Failure::Invalid(
                "the registry names a token server without TLS; it gets no credential".into(),
            ),
        })?;
        let actions = match self.purpose {
            Purpose::Pull => "pull",
            Purpose::Push => "pull,push",
        };
        let scope = format!("repository:{}:{actions}", self.path);
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
    fn client_for(&self, url: &Url) -> Result<&'a Client, Barred> {
        let listed = self.registry.plain_http.contains(&authority(url));
        match url.scheme() {
            "https" if names_own(url) && !listed => Err(Barred::Own),
            "https" => Ok(&self.registry.secure),
            "http" if self.plain && listed => Ok(&self.registry.plain),
            _ => Err(Barred::InTheClear),
        }
    }
}

pub fn bearer(token: &SecretString) -> Result<HeaderValue, Failure> {
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
