//! Names that are parsed once, at the border, into types that know their rules.
//!
//! A value of one of these types is valid for ever: code further in never checks a length or a character
//! again. Nothing here knows a client, a clock or a file. Rules come from
//! [Kubernetes object names](https://kubernetes.io/docs/concepts/overview/working-with-objects/names/), the
//! OCI distribution spec (tags, digests) and git (object ids).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is not the name that it should be: one sentence for the author of a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

/// Declares a string newtype whose only constructor checks `$check`.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), String> = $check;
                check(text).map(|()| Self(text.to_owned())).map_err(NameError)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// RFC 1123 label: lower-case letters, digits and `-`, alphanumeric at both ends, at most `max` bytes.
fn dns_label(text: &str, max: usize) -> Result<(), String> {
    let ok_char = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let ends = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > max {
        return Err(format!("must have 1 to {max} characters, has {}", bytes.len()));
    }
    if !bytes.iter().copied().all(ok_char) || !ends(bytes.first()) || !ends(bytes.last()) {
        return Err(
            "must consist of lower-case letters, digits and '-', with a letter or digit at both ends".into(),
        );
    }
    Ok(())
}

/// RFC 1123 subdomain: labels joined by dots, at most 253 bytes.
fn dns_subdomain(text: &str) -> Result<(), String> {
    if text.len() > 253 {
        return Err(format!("must have at most 253 characters, has {}", text.len()));
    }
    text.split('.').try_for_each(|label| dns_label(label, 63))
}

name!(
    /// A release's name: a DNS label of at most 40 characters, so that every composed name
    /// (`<release>-migrate-<key8>-<attempt>`) stays a label of at most 63.
    ReleaseName, |t| {
        dns_label(t, 40)?;
        if t.starts_with(|c: char| c.is_ascii_digit()) {
            // A Service of this name must be a DNS-1035 label.
            return Err("must start with a letter".into());
        }
        Ok(())
    }
);
name!(
    /// A namespace's name.
    Namespace, |t| dns_label(t, 63)
);
name!(
    /// The name of a process of a release: `web`, `worker`, …; at most 20 characters.
    ProcessName, |t| {
        dns_label(t, 20)?;
        if t == "migrate" || t == "ledger" || t == "generated" {
            return Err(format!("{t:?} is a name that Slipway uses for objects of its own"));
        }
        Ok(())
    }
);
name!(
    /// The name of an object that others made: a Secret, a ConfigMap, a ServiceAccount.
    ObjectName, dns_subdomain
);
name!(
    /// The name of an environment variable (C identifier, the strictest that every runtime accepts).
    EnvName, |t| {
        let mut chars = t.bytes();
        let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_');
        if first && t.len() <= 256 && chars.all(|c| c.is_ascii_alphanumeric() || c == b'_') {
            Ok(())
        } else {
            Err("must be letters, digits and '_', not starting with a digit, at most 256 characters".into())
        }
    }
);
name!(
    /// A declared version; usable as an image tag (OCI distribution spec: at most 128 characters).
    Version, |t| {
        let mut chars = t.bytes();
        let first = chars.next().is_some_and(|c| c.is_ascii_alphanumeric() || c == b'_');
        if first && t.len() <= 128 && chars.all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c)) {
            Ok(())
        } else {
            Err("must be usable as an image tag: letters, digits, '.', '_', '-', at most 128 characters".into())
        }
    }
);
name!(
    /// A full git object id, 40 lower-case hex digits (SHA-1; libgit2 reads no SHA-256 repositories).
    CommitId, |t| {
        if t.len() == 40 && t.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)) {
            Ok(())
        } else {
            Err("must be a full commit id of 40 lower-case hex digits".into())
        }
    }
);
name!(
    /// A content digest, `sha256:` and 64 lower-case hex digits.
    Digest, |t| {
        let hex = t.strip_prefix("sha256:").unwrap_or("");
        if hex.len() == 64 && hex.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)) {
            Ok(())
        } else {
            Err("must be sha256: and 64 lower-case hex digits".into())
        }
    }
);
name!(
    /// A Kubernetes UID. Opaque; never empty.
    Uid, |t| if t.is_empty() { Err("must not be empty".into()) } else { Ok(()) }
);

impl Uid {
    /// Stands where no object ever existed; no object has it.
    #[must_use]
    pub fn none() -> Self {
        Self("none".to_owned())
    }
}

impl ReleaseName {
    /// The name of the Secret that holds generated values.
    #[must_use]
    pub fn generated(&self) -> String {
        format!("{self}-generated")
    }
}

impl CommitId {
    /// The first twelve digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl ProcessName {
    /// The process that the top-level fields of a spec describe.
    #[must_use]
    pub fn web() -> Self {
        Self("web".to_owned())
    }

    /// The process that the top-level fields of a spec with the preset `worker` describe.
    #[must_use]
    pub fn worker() -> Self {
        Self("worker".to_owned())
    }

    /// Whether this is the process that serves requests.
    #[must_use]
    pub fn is_web(&self) -> bool {
        self.0 == "web"
    }
}

/// Namespace and name: the identity of a release in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReleaseId {
    /// The namespace that the release and all its objects live in.
    pub namespace: Namespace,
    /// The name; also that of the web Deployment and Service.
    pub name: ReleaseName,
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The number of a revision, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RevisionNumber(pub u64);

impl RevisionNumber {
    /// The name of the `ReleaseRevision` object: `billing-v42`.
    #[must_use]
    pub fn object_name(self, release: &ReleaseName) -> String {
        format!("{release}-v{}", self.0)
    }

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for RevisionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_names_leave_room_for_composed_names() {
        assert!("a".repeat(40).parse::<ReleaseName>().is_ok());
        assert!("a".repeat(41).parse::<ReleaseName>().is_err());
    }

    #[test]
    fn names_refuse_what_kubernetes_refuses() {
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "1a", "a\n", "ä"] {
            assert!(bad.parse::<ReleaseName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn digests_are_sha256_in_lower_case() {
        assert!(format!("sha256:{}", "a".repeat(64)).parse::<Digest>().is_ok());
        for bad in [
            format!("sha256:{}", "A".repeat(64)),
            "sha256:ab".into(),
            format!("md5:{}", "a".repeat(32)),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn commits_are_full_ids() {
        assert!(
            "0123456789abcdef0123456789abcdef01234567"
                .parse::<CommitId>()
                .is_ok()
        );
        assert!("0123456".parse::<CommitId>().is_err());
        assert!("main".parse::<CommitId>().is_err());
    }
}
