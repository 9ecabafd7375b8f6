//! Addresses of git repositories, by an allow-list. Pure: no git, no network, no clock. Specs and sources name repositories
//! in the same words.
//!
//! libgit2 would accept far more than is safe here (`file://`, bare paths, `git://`, passwords in the URL),
//! and every parser between a spec and a socket reads odd characters differently. So a URL is taken apart
//! once, by rules narrower than any of theirs, and is put together anew from its parts: what is shown, what
//! is hashed and what libgit2 gets cannot differ.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt;

use crate::hosts;

/// Why a text is not an address that is followed. Never repeats the text: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the git url {0}")]
pub struct UrlError(String);

/// How the repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// `https://`
    Https,
    /// `http://`, only where it was allowed explicitly.
    Http,
    /// `ssh://user@host/path`: the path is absolute.
    Ssh,
    /// `user@host:path`: the path is relative to the user's home.
    Scp,
}

/// The address of a repository. Carries no password and no token, so it may be shown anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GitUrl {
    scheme: Scheme,
    /// Only for ssh; `git` when none was given.
    user: Option<String>,
    /// Lower case; an IPv6 address without its brackets.
    host: String,
    port: Option<u16>,
    path: String,
}

/// As long as the field of the `ReleaseSource` allows.
const MAX_URL: usize = 1024;

impl GitUrl {
    /// Reads `https://…`, `ssh://[user@]host[:port]/path`, `user@host:path`, and `http://…` where allowed.
    pub fn parse(text: &str, allow_plain_http: bool) -> Result<Self, UrlError> {
        parse(text, allow_plain_http).map_err(UrlError)
    }

    /// How the repository is reached.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, in lower case and without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that is connected to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.scheme {
            Scheme::Https => 443,
            Scheme::Http => 80,
            Scheme::Ssh | Scheme::Scp => 22,
        })
    }

    /// The ssh user; `None` over http.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Whether this process would connect to its own machine: what listens there is not for those who write a source.
    #[must_use]
    pub fn is_own(&self) -> bool {
        hosts::names_own(&self.host) || self.host.trim_end_matches('.').parse().is_ok_and(hosts::is_own)
    }

    /// Whether it is the address of what answers for a machine, its cloud or a network: no repository is there.
    #[must_use]
    pub fn is_no_service(&self) -> bool {
        let host = self.host.trim_end_matches('.');
        hosts::names_no_service(host) || host.parse().is_ok_and(hosts::is_no_service)
    }

    /// Whether the connection is an ssh session.
    #[must_use]
    pub fn is_ssh(&self) -> bool {
        matches!(self.scheme, Scheme::Ssh | Scheme::Scp)
    }

    /// `https://host[:port]/`: what every request that may carry credentials starts with. `None` for ssh.
    #[must_use]
    pub fn http_origin(&self) -> Option<String> {
        let scheme = match self.scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
            Scheme::Ssh | Scheme::Scp => return None,
        };
        let default = if scheme == "https" { 443 } else { 80 };
        let port = self.port.filter(|port| *port != default);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{scheme}://{}{port}/", bracketed(&self.host)))
    }
}

impl GitUrl {
    /// Host and path alone: `git.example.com/acme/shop`, however the repository is reached. For telling whether two addresses
    /// are of one repository.
    #[must_use]
    pub fn place(&self) -> String {
        let path = self.path.trim_matches('/');
        format!("{}/{}", self.host, path.strip_suffix(".git").unwrap_or(path))
    }
}

impl fmt::Display for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self
            .user
            .as_deref()
            .map(|user| format!("{user}@"))
            .unwrap_or_default();
        let host = bracketed(&self.host);
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        match self.scheme {
            Scheme::Https => write!(f, "https://{host}{port}{}", self.path),
            Scheme::Http => write!(f, "http://{host}{port}{}", self.path),
            Scheme::Ssh => write!(f, "ssh://{user}{host}{port}{}", self.path),
            Scheme::Scp => write!(f, "{user}{host}:{}", self.path),
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn parse(text: &str, allow_plain_http: bool) -> Result<GitUrl, String> {
    if text.is_empty() || text.len() > MAX_URL {
        return Err(format!("must have 1 to {MAX_URL} characters, has {}", text.len()));
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(format!(
            "contains {odd:?}: only printable ASCII is accepted, an international host as xn--…"
        ));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return match scheme.to_ascii_lowercase().as_str() {
            "https" => parse_url(Scheme::Https, rest),
            "http" if allow_plain_http => parse_url(Scheme::Http, rest),
            "http" => Err("must use https: plain http is not allowed in this installation".into()),
            "ssh" => parse_url(Scheme::Ssh, rest),
            _ => Err("must be https://host/path, ssh://user@host/path or user@host:path".into()),
        };
    }
    let Some((user, (host, path))) = text
        .split_once('@')
        .and_then(|(user, rest)| rest.split_once(':').map(|rest| (user, rest)))
    else {
        return Err("must be https://host/path, ssh://user@host/path or user@host:path".into());
    };
    // `git@[::1]:x` would be cut at the wrong colon, and `ext::…` has no user: both end in an error here.
    check_user(user)?;
    if path.starts_with(['-', ':']) {
        return Err("has a path that starts with '-' or ':'".into());
    }
    let path_only = path.trim_start_matches('/');
    check_path(path_only)?;
    Ok(GitUrl {
        scheme: Scheme::Scp,
        user: Some(user.to_owned()),
        host: parse_host(host)?,
        port: None,
        path: path.to_owned(),
    })
}

fn parse_url(scheme: Scheme, rest: &str) -> Result<GitUrl, String> {
    let (authority, path) = rest.split_once('/').ok_or("has no path to a repository")?;
    let (user, host_port) = match authority.split_once('@') {
        None => (None, authority),
        Some(_) if scheme != Scheme::Ssh => {
            return Err("must not contain a user or a password: name a Secret with `secret` instead".into());
        }
        Some((user, host_port)) => {
            if user.contains(':') {
                return Err("must not contain a password: name a Secret with `secret` instead".into());
            }
            check_user(user)?;
            (Some(user), host_port)
        }
    };
    let (host, port) = split_port(host_port)?;
    check_path(path)?;
    let ssh = scheme == Scheme::Ssh;
    Ok(GitUrl {
        scheme,
        user: ssh.then(|| user.unwrap_or("git").to_owned()),
        host: parse_host(host)?,
        port,
        path: format!("/{path}"),
    })
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let after_host = if text.starts_with('[') {
        text.find(']').map_or(text.len(), |end| end + 1)
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, port) = text.split_at_checked(after_host).unwrap_or((text, ""));
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').unwrap_or("");
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err("has a port that is not a number".into());
    }
    match digits.parse::<u16>() {
        Ok(port) if port > 0 => Ok((host, Some(port))),
        _ => Err("has a port outside 1 to 65535".into()),
    }
}

/// A user name that no ssh client and no shell could take for an option.
fn check_user(user: &str) -> Result<(), String> {
    let ok = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    if user.is_empty() || user.len() > 64 || user.starts_with('-') || !user.bytes().all(ok) {
        return Err(
            "has a user that is not of letters, digits, '.', '_' and '-', or starts with '-'; a password \
             belongs in a Secret"
                .into(),
        );
    }
    Ok(())
}

fn parse_host(text: &str) -> Result<String, String> {
    let host = text.to_ascii_lowercase();
    if let Some(inner) = host.strip_prefix('[') {
        let address: Option<Ipv6Addr> = inner.strip_suffix(']').and_then(|inner| inner.parse().ok());
        let address = address.ok_or("has brackets without an IPv6 address in them")?;
        if address.to_ipv4_mapped().is_some() {
            return Err("names an IPv4 address as one of IPv6: write it as it is".into());
        }
        if hosts::is_no_service(address.into()) {
            return Err(NO_SERVICE.into());
        }
        return Ok(address.to_string());
    }
    let label_ok = |label: &str| {
        let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.is_empty() || host.len() > 253 || !host.split('.').all(label_ok) {
        return Err("has a host that is not a DNS name or an address".into());
    }
    // Resolvers read `2130706433`, `0x7f.1` and `017700000001` as addresses: only the usual form is one.
    let last = host.rsplit('.').next().unwrap_or("");
    let numeric = last.bytes().all(|c| c.is_ascii_digit())
        || (last.starts_with("0x") && last.bytes().skip(2).all(|c| c.is_ascii_hexdigit()));
    if numeric {
        let address: Ipv4Addr = host
            .parse()
            .map_err(|_| "has a numeric host that is not four numbers with dots")?;
        if hosts::is_no_service(address.into()) {
            return Err(NO_SERVICE.into());
        }
    }
    if hosts::names_no_service(&host) {
        return Err(NO_SERVICE.into());
    }
    Ok(host)
}

const NO_SERVICE: &str =
    "names an address that answers for a machine, its cloud or a network: no repository is there";

/// The path without its leading slash.
fn check_path(path: &str) -> Result<(), String> {
    if path.trim_matches('/').is_empty() {
        return Err("has no path to a repository".into());
    }
    if path.starts_with('-') {
        return Err("has a path that starts with '-'".into());
    }
    if path.split('/').any(|segment| segment == ".." || segment == ".") {
        return Err("has a path with '.' or '..' in it".into());
    }
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-._~/+@=,:%".contains(&c);
    if let Some(odd) = path.bytes().find(|c| !allowed(*c)) {
        return Err(format!("has {:?} in its path", char::from(odd)));
    }
    // Decoded once more on the way, an encoded control character or slash would change the meaning.
    for encoded in path.split('%').skip(1) {
        let byte = encoded.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) if byte >= 0x80 || (byte.is_ascii_graphic() && !b"/\\.%".contains(&byte)) => {}
            Some(b' ') => {}
            _ => return Err("has a % in its path that does not encode a harmless character".into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> String {
        match GitUrl::parse(text, false) {
            Ok(url) => url.to_string(),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    #[test]
    fn the_usual_addresses_are_read_and_shown_as_written() {
        for text in [
            "https://github.com/acme/releases.git",
            "https://git.acme.com:8443/a/b",
            "https://[fd00::1]:8443/a",
            "ssh://git@github.com/acme/releases.git",
            "ssh://git@git.acme.com:2222/~team/releases.git",
            "git@github.com:acme/releases.git",
            "https://dev.azure.com/acme/My%20Project/_git/releases",
        ] {
            assert_eq!(ok(text), text);
        }
    }

    #[test]
    fn schemes_and_hosts_are_lower_cased_and_ssh_gets_a_user() {
        assert_eq!(ok("HTTPS://GitHub.com/Acme/R"), "https://github.com/Acme/R");
        assert_eq!(ok("ssh://github.com/acme/r"), "ssh://git@github.com/acme/r");
    }

    #[test]
    fn plain_http_needs_to_be_allowed() {
        assert!(GitUrl::parse("http://git.acme.com/r", false).is_err());
        assert!(GitUrl::parse("http://git.acme.com/r", true).is_ok());
    }

    #[test]
    fn other_transports_and_paths_are_refused() {
        for bad in [
            "",
            "/srv/git/r",
            "./r",
            "r",
            "file:///etc",
            "git://github.com/a/b",
            "ext::sh -c touch% /tmp/x",
            "ext::sh",
            "fd::17",
            "fd::17/foo",
            "ftp://h/p",
            "ssh+git://h/p",
            "git+ssh://h/p",
            "C:\\r",
            "https:/github.com/a",
            "https//github.com/a",
            "https://",
            "https://h",
            "https://h/",
            "javascript://h/p",
        ] {
            assert!(GitUrl::parse(bad, true).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn options_in_disguise_are_refused() {
        for bad in [
            "ssh://-oProxyCommand=touch/x",
            "ssh://-l@host/x",
            "ssh://git@-oProxyCommand=x/y",
            "-oX@host:p",
            "git@-host:p",
            "git@host:-p",
            "ssh://git@host/-p",
            "https://-h/p",
            "--upload-pack=x@h:p",
        ] {
            assert!(GitUrl::parse(bad, true).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn odd_characters_are_refused_wherever_they_stand() {
        for bad in [
            "https://h/a\nb",
            "https://h/a\rb",
            "https://h/a\0b",
            "https://h/a b",
            "https://h/a%0ab",
            "https://h/a%0Db",
            "https://h/a%00",
            "https://h/a%2",
            "https://h/a%zz",
            "https://h/a%2e%2e/b",
            "https://h/../b",
            "https://h/a?b=c",
            "https://h/a#b",
            "https://h/a\\b",
            "https://hä/a",
            "https://h\n.evil/a",
            "https://h:0/a",
            "https://h:00/a",
            "https://h:+80/a",
            "ssh://git@h:0/a",
            "https://h%0a.evil/a",
            "https://h\r\nHost: evil/a",
            "https://h\u{202e}/a",
            "https://\u{ff48}/a",
            "git@h:a\nb",
            "https://h:99999/a",
            "https://h:/a",
            "https://h:8x/a",
            "https://h:80:80/a",
            "https://a..b/c",
            "https://h/a`b",
            "https://h/a$b",
            "git@h:a;b",
            "git@h:a'b",
        ] {
            assert!(GitUrl::parse(bad, true).is_err(), "{bad:?}");
        }
        assert!(GitUrl::parse(&format!("https://h/{}", "a".repeat(2000)), true).is_err());
    }

    #[test]
    fn credentials_in_the_url_are_refused_and_not_repeated() {
        for bad in [
            "https://alice:hunter2@github.com/a",
            "https://hunter2@github.com/a",
            "ssh://git:hunter2@h/a",
            "https://github.com@hunter2.evil/a",
            "https://hunter2@a@b/c",
            "git:hunter2@h:a",
        ] {
            let error = GitUrl::parse(bad, true).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{bad}: {error}");
        }
    }

    #[test]
    fn disguised_and_link_local_addresses_are_refused() {
        for bad in [
            "https://2130706433/a",
            "https://0x7f.1/a",
            "https://0x7f000001/a",
            "https://127.1/a",
            "https://0177.0.0.01/a",
            "https://169.254.169.254/latest",
            "https://0.0.0.0/a",
            "https://[::]/a",
            "https://[fe80::1]/a",
            "https://[::ffff:169.254.169.254]/a",
            "https://[::1/a",
            "https://1.2.3/a",
        ] {
            assert!(GitUrl::parse(bad, true).is_err(), "{bad:?}");
        }
        for cloud in [
            "https://[fd00:ec2::254]/a",
            "ssh://git@[fd00:ec2:0:0:0:0:0:254]/a",
            "https://metadata.google.internal/a",
            "git@METADATA.google.internal:a",
            "https://[64:ff9b::a9fe:a9fe]/a",
            "https://[2002:a9fe:a9fe::1]/a",
            "https://255.255.255.255/a",
            "https://224.0.0.1/a",
            "https://[ff02::1]/a",
        ] {
            assert!(GitUrl::parse(cloud, true).is_err(), "{cloud:?}");
        }
        for fine in [
            "https://10.0.0.1/a",
            "https://[fd00:ec2::255]/a",
            "https://[64:ff9b::a00:1]/a",
            "https://metadata.acme.com/a",
        ] {
            assert!(GitUrl::parse(fine, false).is_ok(), "{fine}");
        }
    }

    #[test]
    fn the_own_machine_is_known_however_it_is_written() {
        let own = |text| GitUrl::parse(text, true).unwrap().is_own();
        for text in [
            "https://127.0.0.1/a",
            "http://127.1.2.3:8080/a",
            "https://[::1]:8443/a",
            "ssh://git@[0:0:0:0:0:0:0:1]/a",
            "https://LocalHost/a",
            "git@localhost:a",
            "https://git.localhost/a",
            "https://[64:ff9b::7f00:1]/a",
        ] {
            assert!(own(text), "{text}");
        }
        for text in [
            "https://128.0.0.1/a",
            "https://[::2]/a",
            "https://localhost.acme.com/a",
            "git@mylocalhost:a",
        ] {
            assert!(!own(text), "{text}");
        }
    }

    #[test]
    fn the_origin_names_scheme_host_and_port() {
        let origin = |text| GitUrl::parse(text, true).ok().and_then(|url| url.http_origin());
        assert_eq!(origin("https://H/a").as_deref(), Some("https://h/"));
        assert_eq!(origin("https://h:443/a").as_deref(), Some("https://h/"));
        assert_eq!(origin("http://h:8080/a").as_deref(), Some("http://h:8080/"));
        assert_eq!(origin("git@h:a"), None);
    }
}
