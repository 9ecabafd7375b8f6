//! `.dockerconfigjson`: which credential fits which repository.
//!
//! Keys are matched as a kubelet matches them, so that Slipway can ask for what nodes can pull: with or
//! without scheme, with a port, with `*` in a host label, and with a path that scopes the entry. The longest
//! path wins. No message ever holds a value of the file, not even a user name: some registries take a token there.

use std::fmt;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::collections::BTreeMap;

/// `auth` values are written with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a `.dockerconfigjson` cannot be read. Says where, never what is written there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Not the JSON that it should be.
    #[error("is not a valid .dockerconfigjson (line {line}, column {column})")]
    Json {
        /// Line of the problem, from 1.
        line: usize,
        /// Column of the problem.
        column: usize,
    },
    /// `auth` of one entry is not base64 of `user:password`.
    #[error("the entry {key:?} has an `auth` that is not base64 of user:password")]
    Auth {
        /// The entry's key, a registry.
        key: String,
    },
}

/// What proves to a registry who asks.
#[derive(Debug, Clone)]
pub enum Credential {
    /// User and password, for the registry itself or for its token server.
    Password {
        /// The user.
        username: SecretString,
        /// The password.
        password: SecretString,
    },
    /// A refresh token, for the token server only.
    IdentityToken(SecretString),
    /// A bearer token, for the registry itself.
    RegistryToken(SecretString),
}

/// The credentials of one `kubernetes.io/dockerconfigjson` Secret. `Debug` shows keys only.
#[derive(Clone, Default)]
pub struct DockerConfig {
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    /// As written, for messages.
    key: String,
    host: String,
    path: String,
    credential: Credential,
}

/// The credential for a repository, and the entry that it came from.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The entry's key as written.
    pub key: &'a str,
    /// The credential.
    pub credential: &'a Credential,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, FileEntry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FileEntry {
    auth: Option<SecretString>,
    username: Option<SecretString>,
    password: Option<SecretString>,
    identitytoken: Option<SecretString>,
    registrytoken: Option<SecretString>,
}

// === impl Credential ===

impl Credential {
    /// Whether a text holds any of it.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        let is_in = |secret: &SecretString| {
            let secret = secret.expose_secret();
            !secret.is_empty() && text.contains(secret)
        };
        match self {
            Self::Password { username, password } => is_in(username) || is_in(password),
            Self::IdentityToken(token) | Self::RegistryToken(token) => is_in(token),
        }
    }
}

// === impl DockerConfig ===

impl DockerConfig {
    /// Reads the bytes of the Secret's key `.dockerconfigjson`.
    pub fn parse(bytes: &[u8]) -> Result<Self, CredentialsError> {
        // The parser's own message may quote the text that it stumbled over.
        let file: File = serde_json::from_slice(bytes).map_err(|e| CredentialsError::Json {
            line: e.line(),
            column: e.column(),
        })?;
        let mut entries = Vec::with_capacity(file.auths.len());
        for (key, entry) in file.auths {
            let Some(credential) = entry.credential(&key)? else {
                continue;
            };
            let (host, path) = split_key(&key);
            entries.push(Entry {
                key,
                host,
                path,
                credential,
            });
        }
        Ok(Self { entries })
    }

    /// The credential for `repository` (`ghcr.io/acme/billing`): of all entries that fit, the one with the
    /// longest path; an exact host before one with `*`.
    #[must_use]
    pub fn credentials_for(&self, repository: &str) -> Option<Found<'_>> {
        let (host, path) = split_key(repository);
        self.entries
            .iter()
            .filter(|entry| host_fits(&entry.host, &host) && path_fits(&entry.path, &path))
            .max_by_key(|entry| (entry.path.len(), !entry.host.contains('*'), entry.host.len()))
            .map(|entry| Found {
                key: &entry.key,
                credential: &entry.credential,
            })
    }

    /// The keys as written, for messages.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.key.as_str())
    }
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys()).finish()
    }
}

// === impl FileEntry ===

/// Present and not empty.
fn filled(value: Option<SecretString>) -> Option<SecretString> {
    value.filter(|v| !v.expose_secret().is_empty())
}

impl FileEntry {
    /// `None` for an entry that holds nothing, as credential helpers leave it.
    fn credential(self, key: &str) -> Result<Option<Credential>, CredentialsError> {
        if let Some(token) = filled(self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(token)));
        }
        if let Some(token) = filled(self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        if let Some(auth) = filled(self.auth) {
            let (username, password) =
                decode_auth(&auth).ok_or_else(|| CredentialsError::Auth { key: key.to_owned() })?;
            return Ok(Some(Credential::Password { username, password }));
        }
        Ok(match (filled(self.username), filled(self.password)) {
            (Some(username), Some(password)) => Some(Credential::Password { username, password }),
            _ => None,
        })
    }
}

fn decode_auth(auth: &SecretString) -> Option<(SecretString, SecretString)> {
    let bytes = BASE64.decode(auth.expose_secret().trim()).ok()?;
    // The String becomes the secret's own, or is dropped: no copy is left behind by the success path.
    let text = SecretString::from(String::from_utf8(bytes).ok()?);
    // Docker pads old files with NUL.
    let (username, password) = text.expose_secret().trim_end_matches('\0').split_once(':')?;
    Some((username.into(), password.into()))
}

// === matching ===

/// Host (lower case) and path of a key or a repository. All of Docker Hub's names are one.
fn split_key(key: &str) -> (String, String) {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let host = host.to_ascii_lowercase();
    let path = path.trim_matches('/');
    // `https://index.docker.io/v1/` and `https://quay.io/v2/` name an API, not a repository.
    let path = match path {
        "v1" | "v2" => "",
        path => path,
    };
    let host = match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io".to_owned(),
        _ => host,
    };
    (host, path.to_owned())
}

/// Label by label, `*` standing for any part of one label; ports must be equal.
fn host_fits(pattern: &str, host: &str) -> bool {
    let (pattern, pattern_port) = pattern.split_once(':').unwrap_or((pattern, ""));
    let (host, port) = host.split_once(':').unwrap_or((host, ""));
    pattern_port == port
        && pattern.split('.').count() == host.split('.').count()
        && pattern
            .split('.')
            .zip(host.split('.'))
            .all(|(pattern, label)| label_fits(pattern, label))
}

fn label_fits(pattern: &str, label: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == label;
    };
    let Some(rest) = label.strip_prefix(head) else {
        return false;
    };
    // Each further `*` may swallow any number of characters.
    (0..=rest.len())
        .filter_map(|at| rest.get(at..))
        .any(|rest| label_fits(tail, rest))
}

/// Whether `path` lies at or under `scope`, counted in whole segments: `acme` does not cover `acme-evil`.
fn path_fits(scope: &str, path: &str) -> bool {
    scope.is_empty()
        || path
            .strip_prefix(scope)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> DockerConfig {
        DockerConfig::parse(json.as_bytes()).unwrap()
    }

    fn password(config: &DockerConfig, repository: &str) -> Option<String> {
        match config.credentials_for(repository)?.credential {
            Credential::Password { username, password } => Some(format!(
                "{}:{}",
                username.expose_secret(),
                password.expose_secret()
            )),
            Credential::IdentityToken(token) => Some(format!("identity {}", token.expose_secret())),
            Credential::RegistryToken(token) => Some(format!("registry {}", token.expose_secret())),
        }
    }

    #[test]
    fn auth_and_username_with_password_mean_the_same() {
        // "bot:pa:ss", padded and not; the colon of a password stays.
        for entry in [
            r#"{"auth":"Ym90OnBhOnNz"}"#,
            r#"{"username":"bot","password":"pa:ss"}"#,
            r#"{"username":"other","password":"other","auth":"Ym90OnBhOnNz"}"#,
        ] {
            let config = config(&format!(r#"{{"auths":{{"ghcr.io":{entry}}}}}"#));
            assert_eq!(
                password(&config, "ghcr.io/acme/billing").as_deref(),
                Some("bot:pa:ss")
            );
            assert_eq!(password(&config, "quay.io/acme/billing"), None);
        }
        for auth in ["Ym90OnB3", "Ym90OnB3eA==", "Ym90OnB3eA"] {
            assert!(decode_auth(&auth.into()).is_some(), "{auth}");
        }
    }

    #[test]
    fn tokens_come_before_passwords() {
        let config = config(
            r#"{"auths":{"a.example":{"auth":"PHRva2VuPjo=","identitytoken":"refresh"},
                         "b.example":{"registrytoken":"bearer"}}}"#,
        );
        assert_eq!(
            password(&config, "a.example/x").as_deref(),
            Some("identity refresh")
        );
        assert_eq!(
            password(&config, "b.example/x").as_deref(),
            Some("registry bearer")
        );
    }

    #[test]
    fn docker_hubs_old_key_means_docker_hub() {
        for key in [
            "https://index.docker.io/v1/",
            "index.docker.io",
            "docker.io",
            "registry-1.docker.io",
        ] {
            let config = config(&format!(r#"{{"auths":{{"{key}":{{"auth":"Ym90OnB3"}}}}}}"#));
            assert_eq!(
                password(&config, "docker.io/library/alpine").as_deref(),
                Some("bot:pw"),
                "{key}"
            );
        }
    }

    #[test]
    fn the_longest_path_wins_in_whole_segments() {
        let config = config(
            r#"{"auths":{"r.example:5000":{"username":"all","password":"x"},
                         "https://r.example:5000/acme":{"username":"acme","password":"x"},
                         "r.example:5000/acme/billing":{"username":"billing","password":"x"}}}"#,
        );
        for (repository, expected) in [
            ("r.example:5000/acme/billing", Some("billing:x")),
            ("r.example:5000/acme/billing/web", Some("billing:x")),
            ("r.example:5000/acme/shop", Some("acme:x")),
            ("r.example:5000/acme-evil/shop", Some("all:x")),
            ("r.example:5000/other", Some("all:x")),
            ("r.example/acme/billing", None),
        ] {
            assert_eq!(password(&config, repository).as_deref(), expected, "{repository}");
        }
    }

    #[test]
    fn a_star_stands_within_one_label_and_yields_to_the_exact_host() {
        let config = config(
            r#"{"auths":{"*.dkr.ecr.*.example.com":{"username":"star","password":"x"},
                         "1.dkr.ecr.eu.example.com":{"username":"exact","password":"x"}}}"#,
        );
        assert_eq!(
            password(&config, "2.dkr.ecr.eu.example.com/a").as_deref(),
            Some("star:x")
        );
        assert_eq!(
            password(&config, "1.dkr.ecr.eu.example.com/a").as_deref(),
            Some("exact:x")
        );
        assert_eq!(password(&config, "a.b.dkr.ecr.eu.example.com/a"), None);
        assert_eq!(password(&config, "dkr.ecr.eu.example.com/a"), None);
    }

    #[test]
    fn entries_without_anything_are_skipped() {
        let config = config(r#"{"auths":{"ghcr.io":{},"quay.io":{"auth":""}},"credsStore":"desktop"}"#);
        assert_eq!(config.keys().count(), 0);
        assert!(
            DockerConfig::parse(b"{}")
                .unwrap()
                .credentials_for("ghcr.io/a")
                .is_none()
        );
    }

    #[test]
    fn no_message_repeats_a_value() {
        for (text, shown) in [
            (
                r#"{"auths":{"ghcr.io":{"password":["hunter2"]}}}"#,
                "line 1, column 3",
            ),
            (r#"{"auths":"hunter2"}"#, "line 1"),
            (r#"{"auths":{"ghcr.io":{"auth":"hunter2"}}}"#, "ghcr.io"),
        ] {
            let error = DockerConfig::parse(text.as_bytes()).unwrap_err();
            let printed = format!("{error} {error:?}");
            assert!(!printed.contains("hunter2"), "{printed}");
            assert!(printed.contains(shown), "{printed}");
        }
        let config = config(r#"{"auths":{"ghcr.io":{"username":"hunter2","password":"hunter2"}}}"#);
        let printed = format!("{config:?} {:?}", config.credentials_for("ghcr.io/a"));
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
