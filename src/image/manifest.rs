//! Manifests, indexes and image configs: bytes → what Slipway needs of them.
//!
//! Pure, and distrustful: every text that ends up in a status or in a rendered object is bounded and plain.
//! Formats: [OCI image spec](https://github.com/opencontainers/image-spec) and Docker's schema 2, its elder twin.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::{baked::Texts, claims::Said};
use crate::names::Digest;

/// What is asked for. Anything else (schema 1, artifacts of other kinds) is answered by an error.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// As many as the status of a revision holds.
const MAX_PLATFORMS: usize = 64;
/// `linux/amd64` with both halves at this length still fits the 64 characters of a revision's list.
const MAX_WORD: usize = 31;

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
        /// Those platforms, sorted, each once: variants such as arm/v6 and arm/v7 are one. Never empty.
        platforms: Vec<Platform>,
        /// The manifest of each of these images, in the order of the index.
        images: Vec<Digest>,
        /// The manifest of what is attached to the first of them that has anything attached.
        attached: Option<Digest>,
        /// What its annotations say.
        said: Said,
    },
    /// A single image.
    Image {
        /// Where its config lies.
        config: Digest,
        /// The bytes of its layers together, as they are fetched.
        size: u64,
        /// What its annotations say.
        said: Said,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<Vec<RawEntry>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<Value>>,
    annotations: Option<Value>,
}

#[derive(Deserialize)]
struct RawEntry {
    digest: Option<String>,
    platform: Option<RawPlatform>,
    #[serde(default)]
    annotations: Value,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(flatten)]
    platform: RawPlatform,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    history: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
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
    let said = Said::of(raw.annotations.as_ref());
    match (raw.manifests, raw.config) {
        // One document must not be two things to two readers (CVE-2021-41190).
        (Some(_), Some(_)) => Err("its manifest claims to be an index and an image at once".into()),
        (Some(_), None) if raw.layers.is_some() => {
            Err("its manifest claims to be an index and an image at once".into())
        }
        (Some(entries), None) => {
            check_media_type(raw.media_type.as_deref(), &["image.index.v1", "manifest.list.v2"])?;
            let attached = attached(&entries);
            let (platforms, images) = platforms(entries)?;
            Ok(Manifest::Index {
                platforms,
                images,
                attached,
                said,
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
            let layers = raw.layers.unwrap_or_default();
            let sizes = layers.iter().filter_map(|layer| layer.get("size")?.as_u64());
            let size = sizes.fold(0, u64::saturating_add);
            Ok(Manifest::Image { config, size, said })
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

/// <https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md>
fn attached(entries: &[RawEntry]) -> Option<Digest> {
    let kind = |entry: &&RawEntry| {
        entry.annotations.get("vnd.docker.reference.type") == Some(&"attestation-manifest".into())
    };
    entries.iter().find(kind)?.digest.as_ref()?.parse().ok()
}

fn platforms(entries: Vec<RawEntry>) -> Result<(Vec<Platform>, Vec<Digest>), String> {
    let (mut distinct, mut images) = (BTreeSet::new(), Vec::new());
    // Attestations and other artifacts name no platform, or one that is `unknown`.
    let entries = entries
        .into_iter()
        .filter_map(|entry| Some((entry.platform?, entry.digest)));
    for (platform, digest) in entries {
        if platform.os != "unknown" && platform.architecture != "unknown" {
            distinct.insert(checked_platform(platform.os, platform.architecture)?);
            images.extend(digest.and_then(|digest| digest.parse().ok()));
        }
    }
    if distinct.is_empty() {
        return Err("its index lists no image for any platform".into());
    }
    if distinct.len() > MAX_PLATFORMS {
        return Err(format!("its index lists more than {MAX_PLATFORMS} platforms"));
    }
    Ok((distinct.into_iter().collect(), images))
}

/// What an image says of itself.
#[derive(Debug)]
pub struct Config {
    /// What it runs on.
    pub platform: Platform,
    /// What its labels say of where it comes from.
    pub said: Said,
    /// What else it says, among which secrets may be.
    pub texts: Texts,
}

/// Reads an image config. The error is half a sentence that follows "is not usable:".
pub fn parse_config(body: &[u8]) -> Result<Config, String> {
    let raw: RawConfig = serde_json::from_slice(body).map_err(|e| {
        format!(
            "its config is not valid JSON (line {}, column {})",
            e.line(),
            e.column()
        )
    })?;
    Ok(Config {
        platform: checked_platform(raw.platform.os, raw.platform.architecture)?,
        said: Said::of(raw.config.get("Labels")),
        texts: Texts::of(&raw.config, &raw.history),
    })
}

fn checked_platform(os: String, architecture: String) -> Result<Platform, String> {
    if is_plain(&os) && is_plain(&architecture) {
        Ok(Platform { os, architecture })
    } else {
        Err("it does not say which platform it is for".into())
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_WORD && text.bytes().all(|c| c.is_ascii_graphic())
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
                {{"digest":"{}","platform":{{"os":"unknown","architecture":"unknown"}},
                    "annotations":{{"vnd.docker.reference.type":"attestation-manifest"}}}},
                {{"digest":"{}"}}]}}"#,
            digest('a'),
            digest('b'),
            digest('c'),
            digest('d'),
            digest('e'),
            digest('f'),
        );
        let Manifest::Index {
            platforms,
            images,
            attached,
            ..
        } = parse_manifest(body.as_bytes()).unwrap()
        else {
            unreachable!("an index")
        };
        let images: Vec<String> = images.iter().map(ToString::to_string).collect();
        assert_eq!(images, ['a', 'b', 'c', 'd'].map(digest));
        assert_eq!(attached.unwrap().to_string(), digest('e'));
        let names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["linux/amd64", "linux/arm", "linux/arm64"]);
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
            // An index of indexes, perhaps of itself: nothing below it is asked for.
            (
                format!(
                    r#"{{"schemaVersion":2,"manifests":[{{"digest":"{d}","mediaType":"application/vnd.oci.image.index.v1+json"}}]}}"#
                ),
                "no image",
            ),
            (
                format!(r#"{{"schemaVersion":{}"#, "[".repeat(100_000)),
                "not valid JSON",
            ),
        ] {
            let error = parse_manifest(body.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{body}: {error}");
        }
    }

    #[test]
    fn an_index_of_ten_thousand_entries_has_as_many_platforms_as_a_revision_can_hold_or_is_refused() {
        let index = |architecture: &dyn Fn(usize) -> String| {
            let entry = |n| {
                format!(
                    r#"{{"platform":{{"os":"linux","architecture":"{}"}}}}"#,
                    architecture(n)
                )
            };
            let entries: Vec<String> = (0..10_000).map(entry).collect();
            format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","))
        };
        let error = parse_manifest(index(&|n| format!("a{n}")).as_bytes()).unwrap_err();
        assert!(error.contains("more than 64 platforms"), "{error}");
        let few = parse_manifest(index(&|n| format!("a{}", n % 64)).as_bytes()).unwrap();
        let Manifest::Index { platforms, .. } = few else {
            unreachable!("an index")
        };
        assert_eq!(platforms.len(), 64);
    }

    #[test]
    fn a_config_says_its_platform() {
        let config =
            br#"{"os":"linux","architecture":"amd64","config":{"User":"65532:65532","Labels":null}}"#;
        assert_eq!(parse_config(config).unwrap().platform.to_string(), "linux/amd64");
    }

    #[test]
    fn texts_that_could_forge_a_message_are_refused() {
        assert!(parse_config(br#"{"os":"linux\n","architecture":"amd64"}"#).is_err());
        assert!(parse_config(br#"{"os":"","architecture":""}"#).is_err());
        let long = format!(r#"{{"os":"linux","architecture":"{}"}}"#, "a".repeat(32));
        assert!(parse_config(long.as_bytes()).is_err());
    }
}
