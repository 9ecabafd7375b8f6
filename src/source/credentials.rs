//! What a fetch proves itself with, and when it is shown to a server.
//!
//! Values live in `secrecy` types and leave them in one place, the call into libgit2. Nothing here logs, and
//! no error repeats a value. Two rules guard them on the wire: over http they are sent only to the scheme,
//! host and port that the source names, and over ssh only after the host key was checked.

use std::{cell::RefCell, fmt, sync::Arc};

use git2::{Cred, CredentialType, ErrorClass, ErrorCode};
use secrecy::{ExposeSecret, SecretString};

use super::known_hosts::{HostKeyError, KnownHosts};
use crate::repository::GitUrl;

/// Why a Secret cannot be used; names keys, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the git Secret {0}")]
pub struct CredentialsError(String);

/// What a fetch proves itself with. Cheap to clone; shows nothing when printed.
#[derive(Clone)]
pub struct Credentials(Arc<Kind>);

enum Kind {
    Anonymous,
    Basic {
        username: String,
        password: SecretString,
    },
    Ssh {
        identity: SecretString,
        passphrase: Option<SecretString>,
        known_hosts: KnownHosts,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self.0 {
            Kind::Anonymous => "Credentials(none)",
            Kind::Basic { .. } => "Credentials(basic)",
            Kind::Ssh { .. } => "Credentials(ssh)",
        })
    }
}

/// GitHub asks for this user beside a token; GitLab, Gitea and Forgejo take any.
const TOKEN_USER: &str = "x-access-token";

impl Credentials {
    /// For repositories that anybody may read.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(Arc::new(Kind::Anonymous))
    }

    /// Reads the data of a Secret: `username` and `password`; `token`, with `username` if the server cares;
    /// or `identity` (a private key), with `password` if it is encrypted, and `known_hosts`. Other keys are
    /// ignored. One line break at the end of a value is dropped: editors and `echo` put it there.
    pub fn from_secret<'a, K, V>(
        data: impl IntoIterator<Item = (&'a K, &'a V)>,
    ) -> Result<Self, CredentialsError>
    where
        K: AsRef<str> + ?Sized + 'a,
        V: AsRef<[u8]> + ?Sized + 'a,
    {
        let (mut username, mut password, mut token, mut identity, mut hosts) = (None, None, None, None, None);
        for (key, value) in data {
            let slot = match key.as_ref() {
                "username" => &mut username,
                "password" => &mut password,
                "token" => &mut token,
                "identity" => &mut identity,
                "known_hosts" => &mut hosts,
                _ => continue,
            };
            *slot = Some(text(key.as_ref(), value.as_ref())?);
        }
        let bad = |why: &str| Err(CredentialsError(why.to_owned()));
        let kind = match (identity, token, username, password) {
            (Some(_), Some(_), _, _) => return bad("has both `identity` and `token`: which is meant?"),
            (Some(identity), None, _, passphrase) => {
                let Some(hosts) = hosts else {
                    return bad("has `identity` but no `known_hosts`: the server could be anybody");
                };
                let known_hosts = KnownHosts::parse(&hosts)
                    .map_err(|why| CredentialsError(format!("has an unusable `known_hosts`: {why}")))?;
                if !identity.contains("PRIVATE KEY-----") {
                    return bad("has an `identity` that is no private key in PEM or OpenSSH form");
                }
                // The last line break belongs to the key: without it OpenSSH's format is cut short.
                let identity = SecretString::from(format!("{}\n", identity.trim_end()));
                Kind::Ssh {
                    identity,
                    passphrase: passphrase.map(SecretString::from),
                    known_hosts,
                }
            }
            (None, Some(_), _, Some(_)) => return bad("has both `token` and `password`: which is meant?"),
            (None, Some(token), username, None) => Kind::Basic {
                username: username.unwrap_or_else(|| TOKEN_USER.to_owned()),
                password: SecretString::from(token),
            },
            (None, None, Some(username), Some(password)) => Kind::Basic {
                username,
                password: SecretString::from(password),
            },
            _ => {
                return bad(
                    "needs `username` and `password`, or `token`, or for ssh `identity` and `known_hosts`",
                );
            }
        };
        Ok(Self(Arc::new(kind)))
    }

    /// Whether these can be used with that address, before anything is sent.
    pub fn check_fits(&self, url: &GitUrl) -> Result<(), CredentialsError> {
        let bad = |why: &str| Err(CredentialsError(why.to_owned()));
        match (&*self.0, url.is_ssh()) {
            (Kind::Ssh { .. }, false) => bad("holds an ssh key, but the url is not ssh"),
            (Kind::Basic { .. }, true) => {
                bad("holds a password or token, but the url is ssh: use `identity`")
            }
            (Kind::Anonymous, true) => bad("is missing: ssh needs `identity` and `known_hosts`"),
            _ => Ok(()),
        }
    }

    /// Takes out of `text` whatever a server may have echoed.
    pub(super) fn redact(&self, text: &str) -> String {
        match &*self.0 {
            Kind::Basic { password, .. } if password.expose_secret().len() >= 4 => {
                text.replace(password.expose_secret(), "[redacted]")
            }
            _ => text.to_owned(),
        }
    }
}

fn text(key: &str, value: &[u8]) -> Result<String, CredentialsError> {
    let bad = |why: &str| CredentialsError(format!("has a `{key}` that {why}"));
    let text = std::str::from_utf8(value).map_err(|_| bad("is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(bad("is empty"));
    }
    let many_lines = key == "identity" || key == "known_hosts";
    let odd = |c: char| c.is_control() && !(many_lines && matches!(c, '\n' | '\r' | '\t'));
    if text.contains(odd) {
        return Err(bad("contains a control character"));
    }
    Ok(text.to_owned())
}

/// What the callbacks of one fetch saw. libgit2 turns their errors into vaguer ones, so it is kept here.
#[derive(Debug, Default)]
pub(super) struct Seen {
    host_key: RefCell<Option<HostKeyError>>,
    shown: RefCell<bool>,
    refused: RefCell<Option<Refused>>,
}

/// Why the callback gave libgit2 no credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The server did not accept what it was shown.
    NotAccepted,
    /// The server wants some, there are none.
    NoneGiven,
    /// The server asks for a method that was not configured.
    OtherMethod,
    /// Another server than the source names asks.
    OtherServer,
    /// libgit2 could not use them, say a key in an unknown format.
    Unusable,
}

impl Seen {
    pub(super) fn host_key(&self) -> Option<HostKeyError> {
        self.host_key.borrow().clone()
    }

    pub(super) fn refused(&self) -> Option<Refused> {
        *self.refused.borrow()
    }

    pub(super) fn shown(&self) -> bool {
        *self.shown.borrow()
    }

    fn refuse(&self, why: Refused) -> git2::Error {
        *self.refused.borrow_mut() = Some(why);
        git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, "no further credentials")
    }

    /// libgit2 calls this again and again while the server refuses: each set is shown once.
    pub(super) fn credentials(
        &self,
        credentials: &Credentials,
        url: Option<&GitUrl>,
        asking: &str,
        allowed: CredentialType,
    ) -> Result<Cred, git2::Error> {
        let Some(url) = url else {
            return Err(self.refuse(Refused::OtherServer));
        };
        // A redirect on the same host may still lead to another port or scheme.
        if !same_origin(url, asking) {
            return Err(self.refuse(Refused::OtherServer));
        }
        let again = self.shown.replace(true);
        let result = match &*credentials.0 {
            Kind::Anonymous => return Err(self.refuse(Refused::NoneGiven)),
            _ if again => return Err(self.refuse(Refused::NotAccepted)),
            Kind::Basic { username, password } if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) => {
                Cred::userpass_plaintext(username, password.expose_secret())
            }
            Kind::Ssh {
                identity, passphrase, ..
            } if allowed.contains(CredentialType::SSH_MEMORY) => {
                let user = url.user().unwrap_or("git");
                let passphrase = passphrase.as_ref().map(ExposeSecret::expose_secret);
                Cred::ssh_key_from_memory(user, None, identity.expose_secret(), passphrase)
            }
            _ => return Err(self.refuse(Refused::OtherMethod)),
        };
        result.map_err(|_| self.refuse(Refused::Unusable))
    }

    /// The check that libgit2 leaves to its user for ssh. Anything that is no ssh host key passes through to
    /// the usual verification: answering "ok" would switch it off.
    pub(super) fn certificate(
        &self,
        credentials: &Credentials,
        url: Option<&GitUrl>,
        cert: &git2::cert::Cert<'_>,
    ) -> Result<git2::CertificateCheckStatus, git2::Error> {
        let Some(host_key) = cert.as_hostkey() else {
            return Ok(git2::CertificateCheckStatus::CertificatePassthrough);
        };
        let verdict = match (&*credentials.0, url, host_key.hostkey()) {
            (Kind::Ssh { known_hosts, .. }, Some(url), Some(key)) => {
                known_hosts.check(url.host(), url.port(), key)
            }
            _ => Err(HostKeyError::Unknown(
                "there is no known_hosts to check the host key with".into(),
            )),
        };
        verdict
            .map(|()| git2::CertificateCheckStatus::CertificateOk)
            .map_err(|error| {
                *self.host_key.borrow_mut() = Some(error);
                git2::Error::new(
                    ErrorCode::Certificate,
                    ErrorClass::Ssh,
                    "the host key is not trusted",
                )
            })
    }
}

/// Whether libgit2 asks for the server that the source names.
fn same_origin(url: &GitUrl, asking: &str) -> bool {
    let Some(origin) = url.http_origin() else {
        // An ssh session cannot be redirected, and its host was checked by key.
        return true;
    };
    let asking = asking.to_ascii_lowercase();
    // libgit2 prints IPv6 addresses without brackets.
    asking.starts_with(&origin) || asking.starts_with(&origin.replace(['[', ']'], ""))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----";
    const HOSTS: &str = include_str!("testdata/known_hosts.hashed");

    fn read(pairs: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
        let data: BTreeMap<String, Vec<u8>> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect();
        Credentials::from_secret(&data)
    }

    fn url(text: &str) -> GitUrl {
        GitUrl::parse(text, true).unwrap()
    }

    #[test]
    fn the_three_kinds_of_secret_are_read() {
        assert_eq!(
            format!("{:?}", read(&[("username", "u"), ("password", "p")]).unwrap()),
            "Credentials(basic)"
        );
        assert_eq!(
            format!("{:?}", read(&[("token", "t")]).unwrap()),
            "Credentials(basic)"
        );
        assert_eq!(
            format!(
                "{:?}",
                read(&[("identity", KEY), ("known_hosts", HOSTS)]).unwrap()
            ),
            "Credentials(ssh)"
        );
    }

    #[test]
    fn half_a_secret_is_an_error_that_names_what_is_missing() {
        assert!(read(&[]).is_err());
        assert!(read(&[("username", "u")]).is_err());
        assert!(read(&[("password", "p")]).is_err());
        assert!(read(&[("known_hosts", HOSTS)]).is_err());
        assert!(read(&[("token", "t"), ("password", "p")]).is_err());
        assert!(read(&[("token", "t"), ("identity", KEY)]).is_err());
        assert!(
            read(&[("identity", KEY)])
                .unwrap_err()
                .to_string()
                .contains("known_hosts")
        );
        assert!(read(&[("identity", "ssh-ed25519 AAAA"), ("known_hosts", HOSTS)]).is_err());
    }

    #[test]
    fn no_error_and_no_debug_text_repeats_a_value() {
        for pairs in [
            vec![("username", "hunter2\nX"), ("password", "p")],
            vec![("token", "hunter2\0")],
            vec![("identity", "hunter2"), ("known_hosts", HOSTS)],
            vec![("identity", KEY), ("known_hosts", "hunter2")],
        ] {
            let error = read(&pairs).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        let token = read(&[("token", "hunter2")]).unwrap();
        assert!(!format!("{token:?}").contains("hunter2"));
        assert_eq!(token.redact("remote: bad hunter2!"), "remote: bad [redacted]!");
    }

    #[test]
    fn a_line_break_at_the_end_is_dropped() {
        let credentials = read(&[("token", "hunter2\r\n")]).unwrap();
        let Kind::Basic { password, username } = &*credentials.0 else {
            panic!()
        };
        assert_eq!(
            (password.expose_secret(), username.as_str()),
            ("hunter2", TOKEN_USER)
        );
    }

    #[test]
    fn kinds_fit_their_transport_only() {
        let token = read(&[("token", "t")]).unwrap();
        let key = read(&[("identity", KEY), ("known_hosts", HOSTS)]).unwrap();
        assert!(token.check_fits(&url("https://h/a")).is_ok());
        assert!(token.check_fits(&url("git@h:a")).is_err());
        assert!(key.check_fits(&url("git@h:a")).is_ok());
        assert!(key.check_fits(&url("https://h/a")).is_err());
        assert!(Credentials::anonymous().check_fits(&url("https://h/a")).is_ok());
        assert!(Credentials::anonymous().check_fits(&url("git@h:a")).is_err());
    }

    #[test]
    fn credentials_are_shown_once_and_to_their_server_only() {
        let token = read(&[("token", "t")]).unwrap();
        let plain = CredentialType::USER_PASS_PLAINTEXT;
        let ask =
            |seen: &Seen, asking: &str| seen.credentials(&token, Some(&url("https://h/a")), asking, plain);
        let seen = Seen::default();
        assert!(ask(&seen, "https://h/a").is_ok());
        assert!(ask(&seen, "https://h/a").is_err());
        assert_eq!(seen.refused(), Some(Refused::NotAccepted));
        for other in [
            "http://h/a",
            "https://h:8443/a",
            "https://h.evil/a",
            "https://evil/a",
            "https://x@h/a",
        ] {
            let seen = Seen::default();
            assert!(ask(&seen, other).is_err(), "{other}");
            assert_eq!(seen.refused(), Some(Refused::OtherServer));
            assert!(!seen.shown());
        }
    }

    #[test]
    fn a_method_that_is_not_configured_is_not_answered() {
        let token = read(&[("token", "t")]).unwrap();
        let seen = Seen::default();
        assert!(
            seen.credentials(
                &token,
                Some(&url("https://h/a")),
                "https://h/a",
                CredentialType::SSH_KEY
            )
            .is_err()
        );
        assert_eq!(seen.refused(), Some(Refused::OtherMethod));
    }
}
