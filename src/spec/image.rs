//! Image references as specs write them, by the grammar of the OCI distribution spec.

// An address is a value; what connects is in `std` alone, and has no place here.
use crate::{
    hosts,
    names::{Digest, Version},
    spec::declared::{ImagePick, ImageRequest},
};

/// Reads `repository`, `repository:tag` or `repository@sha256:…`; a repository alone has the version as its tag.
///
/// # Errors
/// A sentence for the author.
pub fn parse(text: &str, version: &Version) -> Result<ImageRequest, String> {
    if text.len() > 512 {
        return Err("an image reference has at most 512 characters".into());
    }
    if text.contains("://") {
        return Err("an image reference has no scheme; write registry.example.com/team/app".into());
    }
    let (rest, digest) = match text.split_once('@') {
        None => (text, None),
        Some((rest, digest)) => {
            let digest: Digest = digest.parse().map_err(|e| {
                format!("what follows '@' {e} (a user or password cannot be part of an image reference)")
            })?;
            (rest, Some(digest))
        }
    };
    let (repository, tag) = split_tag(rest);
    let repository = repository_of(repository)?;
    let pick = match (tag, digest) {
        (_, Some(digest)) => ImagePick::Digest(digest),
        (Some(tag), None) => ImagePick::Tag(
            tag.parse::<Version>()
                .map_err(|e| format!("the tag {e}"))?
                .to_string(),
        ),
        (None, None) => ImagePick::Tag(version.to_string()),
    };
    Ok(ImageRequest { repository, pick })
}

/// A colon after the last slash begins a tag; before it, a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let after_slash = text.rfind('/').map_or(0, |slash| slash + 1);
    match text.get(after_slash..).and_then(|last| last.find(':')) {
        None => (text, None),
        Some(colon) => {
            let (repository, tag) = text.split_at_checked(after_slash + colon).unwrap_or((text, ""));
            (repository, tag.strip_prefix(':'))
        }
    }
}

fn repository_of(text: &str) -> Result<String, String> {
    let (first, path) = match text.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), path),
        _ => (None, text),
    };
    // Between letters and digits: one dot, one or two underscores, any number of hyphens.
    let segment = |segment: &str| {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let separator = |text: &str| ["", ".", "_", "__"].contains(&text) || text.bytes().all(|c| c == b'-');
        segment.starts_with(word) && segment.ends_with(word) && segment.split(word).all(separator)
    };
    if path.is_empty() || path.len() > 255 || !path.split('/').all(segment) {
        return Err(
            "an image's path consists of lower-case letters, digits, '.', '_' and '-' between slashes, and one kind of these marks \
             between two letters or digits"
                .into(),
        );
    }
    let Some(host) = first else {
        let library = if path.contains('/') { "" } else { "library/" };
        return Ok(format!("docker.io/{library}{path}"));
    };
    let (name, port) = host
        .split_once(':')
        .map_or((host, None), |(name, port)| (name, Some(port)));
    let name_ok = !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        });
    let port_ok =
        port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+'));
    if !name_ok || !port_ok {
        return Err(
            "the registry must be a host name with an optional port, such as registry.example.com:5000"
                .into(),
        );
    }
    if is_own(name) {
        return Err(
            "the registry must be reachable from every node: localhost, loopback and link-local addresses are not".into(),
        );
    }
    Ok(format!("{}/{path}", host.to_ascii_lowercase()))
}

/// Whether a host is the machine itself, or what answers for its cloud. Numbers that are not written as an address
/// (2130706433, 0x7f.1) are taken for one by some resolvers.
fn is_own(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    if !last.starts_with(|c: char| c.is_ascii_digit()) {
        return hosts::names_own(host) || hosts::names_no_service(host);
    }
    host.parse().map_or(true, |address| {
        hosts::is_own(address) || hosts::is_no_service(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        parse(text, &"1.2.3".parse().unwrap()).map(|image| image.reference())
    }

    #[test]
    fn a_repository_alone_has_the_version_as_its_tag() {
        assert_eq!(read("ghcr.io/acme/shop").unwrap(), "ghcr.io/acme/shop:1.2.3");
        assert_eq!(read("registry:5000/shop").unwrap(), "registry:5000/shop:1.2.3");
        assert_eq!(read("registry:5000/shop:2").unwrap(), "registry:5000/shop:2");
        assert_eq!(read("nginx").unwrap(), "docker.io/library/nginx:1.2.3");
        assert_eq!(read("10.0.0.5:5000/shop").unwrap(), "10.0.0.5:5000/shop:1.2.3");
        assert_eq!(read("acme/shop").unwrap(), "docker.io/acme/shop:1.2.3");
        for path in ["a.b", "a_b", "a__b", "a-b", "a---b", "1.2_3__4-5"] {
            assert_eq!(
                read(&format!("ghcr.io/{path}")).unwrap(),
                format!("ghcr.io/{path}:1.2.3")
            );
        }
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            read(&format!("ghcr.io/a/b:1@{digest}")).unwrap(),
            format!("ghcr.io/a/b@{digest}")
        );
    }

    #[test]
    fn references_that_no_registry_has_are_refused() {
        for bad in [
            "",
            "https://ghcr.io/a/b",
            "user:pass@ghcr.io/a/b",
            "ghcr.io/A/b",
            "ghcr.io/a//b",
            "ghcr.io/../b",
            "ghcr.io:99999/a",
            "ghcr.io:0/a",
            "ghcr.io/a@sha256:ab",
            "@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "ghcr.io/a@sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "ghcr.io/a@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "ghcr.io/a@sha512:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "ghcr.io/a@md5:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "ghcr.io/a:1:2",
            "ghcr.io/a:-x",
            "ghcr.io/a:1\n",
            "ghcr.io/a:\u{1b}[31m",
            "ghcr.io/a\u{0}",
            "[::1]/x",
            "[fd00::1]:5000/x",
            "ghcr.io/./b",
            "ghcr.io/a\\b",
            "gһcr.io/a/b",
            "ghcr.io:+80/a",
            "ghcr.io:80:80/a",
            "oci://ghcr.io/a/b",
            "ghcr.io/a:",
            "ghcr.io/a/",
            "a._b",
            "a.-b",
            "a..b",
            "a___b",
            "a_-b",
            "ghcr.io/a/b_",
            "-x.io/a",
            "a b",
            "localhost/x",
            "localhost:5000/x",
            "127.0.0.1/x",
            "169.254.169.254/x",
            "0.0.0.0/x",
            "2130706433.0x7f/x",
            "0x7f.1/x",
            "127.1/x",
            "metadata.google.internal/x",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        for (tag, fits) in [(128, true), (129, false), (300, false)] {
            let image = format!("ghcr.io/a/b:{}", "t".repeat(tag));
            assert_eq!(read(&image).is_ok(), fits, "{tag}");
        }
    }
}
