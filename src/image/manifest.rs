//! Manifests, indexes and image configs: bytes → what Slipway needs of them.
//!
//! Pure, and distrustful: every text that ends up in a status or in a rendered object is bounded and plain.
//! Formats: [OCI image spec](https://github.com/opencontainers/image-spec) and Docker's schema 2, its elder twin.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::names::Digest;

/// What is asked for. Anything else (schema 1, artifacts of other kinds) is answered by an error.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// The version of the application, as its build labelled it.
const VERSION_LABEL: &str = "org.opencontainers.image.version";
/// The commit that the image was built from.
const REVISION_LABEL: &str = "org.opencontainers.image.revision";
/// As many as the status of a revision holds.
const MAX_PLATFORMS: usize = 64;
/// `linux/amd64` with both halves at this length still fits the 64 characters of a revision's list.
const MAX_WORD: usize = 31;
/// A label is a version or a commit id.
const MAX_LABEL: usize = 128;

/// What a machine must be to run an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// What a digest or tag of a registry turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// One image per platform.
    Index {
        /// The images in their order, attestations and other artifacts left out.
        images: Vec<(Platform, Digest)>,
    },
    /// A single image.
    Image {
        /// Where its config lies.
        config: Digest,
    },
}

/// The part of an image config that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// The platform that the image was built for.
    pub platform: Platform,
    /// `USER` of the image: `65532`, `app`, `1000:1000`; `None` means root.
    pub user: Option<String>,
    /// The version label.
    pub version: Option<String>,
    /// The revision label.
    pub revision: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<Vec<RawEntry>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct RawEntry {
    digest: String,
    platform: Option<RawPlatform>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    config: Option<RawRuntime>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawRuntime {
    user: Option<String>,
    labels: Option<BTreeMap<String, Option<String>>>,
}

/// Reads a manifest. The error is half a sentence that follows "is not usable:".
pub fn parse_manifest(body: &[u8]) -> Result<Manifest, String> {
    let raw: RawManifest = serde_json::from_slice(body).map_err(|e| {
        format!(
            "its manifest is not valid JSON (line {}, column {})",
            e.line(),
            e.column()
        )
    })?;
    if raw.schema_version != Some(2) {
        return Err("its manifest has not schemaVersion 2; push it again with a current tool".into());
    }
    match (raw.manifests, raw.config) {
        // One document must not be two things to two readers (CVE-2021-41190).
        (Some(_), Some(_)) => Err("its manifest claims to be an index and an image at once".into()),
        (Some(_), None) if raw.layers.is_some() => {
            Err("its manifest claims to be an index and an image at once".into())
        }
        (Some(entries), None) => {
            check_media_type(raw.media_type.as_deref(), &["image.index.v1", "manifest.list.v2"])?;
            Ok(Manifest::Index {
                images: images(entries)?,
            })
        }
        (None, Some(config)) => {
            check_media_type(raw.media_type.as_deref(), &["image.manifest.v1", "manifest.v2"])?;
            check_media_type(
                config.media_type.as_deref(),
                &["image.config.v1", "container.image.v1"],
            )
            .map_err(|_| "it is not a container image but an artifact of another kind".to_owned())?;
            let config = config
                .digest
                .parse()
                .map_err(|e| format!("the digest of its config {e}"))?;
            Ok(Manifest::Image { config })
        }
        (None, None) => Err("its manifest lists neither images nor a config".into()),
    }
}

fn check_media_type(found: Option<&str>, known: &[&str]) -> Result<(), String> {
    match found {
        Some(found) if !known.iter().any(|known| found.contains(known)) => {
            Err("its manifest has a media type that does not fit its content".into())
        }
        _ => Ok(()),
    }
}

fn images(entries: Vec<RawEntry>) -> Result<Vec<(Platform, Digest)>, String> {
    let mut images = Vec::new();
    for entry in entries {
        let Some(platform) = entry.platform else {
            continue;
        };
        // Build tools store provenance and SBOMs as images for `unknown/unknown`.
        if platform.os == "unknown" || platform.architecture == "unknown" {
            continue;
        }
        let digest = entry
            .digest
            .parse()
            .map_err(|e| format!("the digest of an image of its index {e}"))?;
        images.push((checked_platform(platform.os, platform.architecture)?, digest));
    }
    let distinct = platforms(&images).len();
    if distinct == 0 {
        return Err("its index lists no image for any platform".into());
    }
    if distinct > MAX_PLATFORMS {
        return Err(format!("its index lists more than {MAX_PLATFORMS} platforms"));
    }
    Ok(images)
}

/// The platforms of an index, each once (variants such as arm/v6 and arm/v7 are one), sorted.
#[must_use]
pub fn platforms(images: &[(Platform, Digest)]) -> Vec<Platform> {
    let distinct: BTreeSet<&Platform> = images.iter().map(|(platform, _)| platform).collect();
    distinct.into_iter().cloned().collect()
}

/// The image of an index whose config is looked at: that for linux/amd64, else the first.
#[must_use]
pub fn representative(images: &[(Platform, Digest)]) -> Option<&Digest> {
    images
        .iter()
        .find(|(platform, _)| platform.os == "linux" && platform.architecture == "amd64")
        .or_else(|| images.first())
        .map(|(_, digest)| digest)
}

/// Reads an image config. The error is half a sentence that follows "is not usable:".
pub fn parse_config(body: &[u8]) -> Result<ImageConfig, String> {
    let raw: RawConfig = serde_json::from_slice(body).map_err(|e| {
        format!(
            "its config is not valid JSON (line {}, column {})",
            e.line(),
            e.column()
        )
    })?;
    let runtime = raw.config.unwrap_or_default();
    let user = runtime.user.filter(|user| !user.is_empty());
    if user.as_deref().is_some_and(|user| !is_plain(user, MAX_LABEL)) {
        return Err("the USER of its config is not a plain text".into());
    }
    let mut labels = runtime.labels.unwrap_or_default();
    let mut label = |name: &str| {
        labels
            .remove(name)
            .flatten()
            .filter(|text| is_plain(text, MAX_LABEL))
    };
    Ok(ImageConfig {
        platform: checked_platform(raw.os, raw.architecture)?,
        user,
        version: label(VERSION_LABEL),
        revision: label(REVISION_LABEL),
    })
}

fn checked_platform(os: String, architecture: String) -> Result<Platform, String> {
    if is_plain(&os, MAX_WORD) && is_plain(&architecture, MAX_WORD) {
        Ok(Platform { os, architecture })
    } else {
        Err("it does not say which platform it is for".into())
    }
}

fn is_plain(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && text.bytes().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(c: char) -> String {
        format!("sha256:{}", c.to_string().repeat(64))
    }

    #[test]
    fn an_index_lists_its_platforms_without_attestations() {
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
                {{"digest":"{}","platform":{{"os":"linux","architecture":"arm64"}}}},
                {{"digest":"{}","platform":{{"os":"linux","architecture":"amd64"}}}},
                {{"digest":"{}","platform":{{"os":"linux","architecture":"arm","variant":"v6"}}}},
                {{"digest":"{}","platform":{{"os":"linux","architecture":"arm","variant":"v7"}}}},
                {{"digest":"{}","platform":{{"os":"unknown","architecture":"unknown"}}}},
                {{"digest":"{}"}}]}}"#,
            digest('a'),
            digest('b'),
            digest('c'),
            digest('d'),
            digest('e'),
            digest('f'),
        );
        let Manifest::Index { images } = parse_manifest(body.as_bytes()).unwrap() else {
            unreachable!("an index")
        };
        let names: Vec<String> = platforms(&images).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["linux/amd64", "linux/arm", "linux/arm64"]);
        assert_eq!(
            representative(&images).map(Digest::as_str),
            Some(digest('b').as_str())
        );
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let d = digest('a');
        for (body, why) in [
            ("<html>".to_owned(), "not valid JSON"),
            (r#"{"schemaVersion":1,"name":"x"}"#.into(), "schemaVersion 2"),
            (r#"{"schemaVersion":2}"#.into(), "neither"),
            (r#"{"schemaVersion":2,"manifests":[]}"#.into(), "no image"),
            (
                format!(r#"{{"schemaVersion":2,"manifests":[],"config":{{"digest":"{d}"}}}}"#),
                "at once",
            ),
            (
                r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.into(),
                "at once",
            ),
            (
                format!(
                    r#"{{"schemaVersion":2,"config":{{"digest":"{d}","mediaType":"application/vnd.cncf.helm.config.v1+json"}}}}"#
                ),
                "another kind",
            ),
            (
                format!(
                    r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":{{"digest":"{d}"}}}}"#
                ),
                "does not fit",
            ),
            (
                r#"{"schemaVersion":2,"config":{"digest":"md5:1"}}"#.into(),
                "sha256",
            ),
        ] {
            let error = parse_manifest(body.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{body}: {error}");
        }
    }

    #[test]
    fn a_config_says_platform_user_and_labels() {
        let config = parse_config(
            br#"{"os":"linux","architecture":"amd64","config":{"User":"65532:65532","Labels":{
                "org.opencontainers.image.version":"1.8.2","org.opencontainers.image.revision":"abc","x":null}}}"#,
        )
        .unwrap();
        assert_eq!(config.platform.to_string(), "linux/amd64");
        assert_eq!(config.user.as_deref(), Some("65532:65532"));
        assert_eq!(config.version.as_deref(), Some("1.8.2"));
        assert_eq!(config.revision.as_deref(), Some("abc"));
    }

    #[test]
    fn an_empty_user_is_no_user_and_null_labels_are_none() {
        let config =
            parse_config(br#"{"os":"linux","architecture":"amd64","config":{"User":"","Labels":null}}"#)
                .unwrap();
        assert_eq!((config.user, config.version), (None, None));
        assert!(parse_config(br#"{"os":"linux","architecture":"amd64"}"#).is_ok());
    }

    #[test]
    fn texts_that_could_forge_a_message_are_refused_or_dropped() {
        assert!(parse_config(br#"{"os":"linux\n","architecture":"amd64"}"#).is_err());
        assert!(parse_config(br#"{"os":"","architecture":""}"#).is_err());
        assert!(parse_config(br#"{"os":"linux","architecture":"amd64","config":{"User":"a b"}}"#).is_err());
        let long = "v".repeat(129);
        let body = format!(
            r#"{{"os":"linux","architecture":"amd64","config":{{"Labels":{{"org.opencontainers.image.version":"{long}"}}}}}}"#
        );
        assert_eq!(parse_config(body.as_bytes()).unwrap().version, None);
    }
}
