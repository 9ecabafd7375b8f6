//! What an image was made of, by the provenance that BuildKit attaches to it: an in-toto statement in a manifest of its own,
//! which the index lists beside the images
//! (<https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md>). Pure, and distrustful: nobody has
//! signed it, so it is told and decides nothing.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::{names::Digest, spec::firewall};

/// The predicates that tell materials: <https://slsa.dev/spec/v1.0/provenance> and its elder.
const PREDICATE: &str = "https://slsa.dev/provenance/";
/// As many as the record of a revision holds.
const MAX_BASES: usize = 16;
/// Longer names are none.
const LONGEST: usize = 400;

#[derive(Deserialize)]
struct RawManifest {
    #[serde(default)]
    layers: Vec<RawLayer>,
}

#[derive(Deserialize)]
struct RawLayer {
    digest: String,
    #[serde(default)]
    annotations: RawAnnotations,
}

#[derive(Default, Deserialize)]
struct RawAnnotations {
    #[serde(rename = "in-toto.io/predicate-type", default)]
    predicate: String,
}

#[derive(Deserialize)]
struct RawStatement {
    predicate: RawPredicate,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPredicate {
    /// Of `v0.2`.
    #[serde(default)]
    materials: Vec<RawMaterial>,
    /// Of `v1`.
    #[serde(default)]
    build_definition: RawDefinition,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDefinition {
    #[serde(default)]
    resolved_dependencies: Vec<RawMaterial>,
}

#[derive(Deserialize)]
struct RawMaterial {
    #[serde(default)]
    uri: String,
    #[serde(default)]
    digest: RawDigest,
}

#[derive(Default, Deserialize)]
struct RawDigest {
    #[serde(default)]
    sha256: String,
}

/// Where the provenance lies, by the manifest of the attestations of an image.
#[must_use]
pub fn blob_of(manifest: &[u8]) -> Option<Digest> {
    let raw: RawManifest = serde_json::from_slice(manifest).ok()?;
    let mut layers = raw.layers.into_iter();
    let layer = layers.find(|layer| layer.annotations.predicate.starts_with(PREDICATE))?;
    layer.digest.parse().ok()
}

/// The images that it was made of, as they were found then: `docker.io/library/debian:bookworm@sha256:…`, sorted, each once.
#[must_use]
pub fn bases(statement: &[u8]) -> Vec<String> {
    let Ok(raw) = serde_json::from_slice::<RawStatement>(statement) else {
        return Vec::new();
    };
    let newer = raw.predicate.build_definition.resolved_dependencies;
    let all = raw.predicate.materials.iter().chain(&newer);
    let bases: BTreeSet<String> = all.filter_map(base).collect();
    bases.into_iter().take(MAX_BASES).collect()
}

/// `pkg:docker/registry.example.com/a/b@1?platform=linux%2Famd64`, by <https://github.com/package-url/purl-spec>.
fn base(material: &RawMaterial) -> Option<String> {
    let name = material.uri.strip_prefix("pkg:docker/")?;
    let name = name.split(['?', '#']).next()?;
    let name = percent_encoding::percent_decode_str(name).decode_utf8().ok()?;
    // A digest that is asked for stands in the place of a version, too.
    let (name, tag) = match name.rsplit_once('@') {
        Some((name, version)) if !version.contains(':') => (name, format!(":{version}")),
        Some((name, _)) => (name, String::new()),
        None => (&*name, String::new()),
    };
    let digest: Digest = format!("sha256:{}", material.digest.sha256).parse().ok()?;
    let named = format!("{name}{tag}");
    let plain = named
        .bytes()
        .all(|c| c.is_ascii_alphanumeric() || b"._-/:".contains(&c));
    let known = !named.is_empty() && plain && named.len() <= LONGEST && !firewall::has_secret(&named);
    known.then(|| format!("{named}@{digest}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(statement: &serde_json::Value) -> Vec<String> {
        bases(statement.to_string().as_bytes())
    }

    fn hash(c: char) -> String {
        c.to_string().repeat(64)
    }

    #[test]
    fn the_provenance_is_found_among_what_is_attached() {
        let layer = |digest: char, predicate: &str| {
            json!({"mediaType": "application/vnd.in-toto+json", "size": 1, "digest": format!("sha256:{}", hash(digest)),
                "annotations": {"in-toto.io/predicate-type": predicate}})
        };
        let of = |layers: &[serde_json::Value]| {
            let manifest = json!({"schemaVersion": 2, "config": {}, "layers": layers});
            blob_of(manifest.to_string().as_bytes()).map(|digest| digest.to_string())
        };
        let list = layer('a', "https://spdx.dev/Document");
        let made = |version: &str| layer('b', &format!("https://slsa.dev/provenance/{version}"));
        for version in ["v0.2", "v1"] {
            assert_eq!(
                of(&[list.clone(), made(version)]),
                Some(format!("sha256:{}", hash('b')))
            );
        }
        assert_eq!(of(&[list]), None);
        assert_eq!(of(&[json!({"digest": "sha256:1"})]), None);
        assert_eq!(blob_of(b"<html>"), None);
    }

    #[test]
    fn base_images_are_told_with_the_digest_that_they_had() {
        let materials = json!([
            {"uri": "pkg:docker/registry.example.com%3A5000/a/node@22?platform=linux%2Famd64", "digest": {"sha256": hash('1')}},
            {"uri": "pkg:docker/debian@bookworm-slim?platform=linux%2Famd64", "digest": {"sha256": hash('2')}},
            {"uri": "pkg:docker/debian@bookworm-slim?platform=linux%2Farm64", "digest": {"sha256": hash('2')}},
            {"uri": format!("pkg:docker/alpine?digest=sha256:{}", hash('3')), "digest": {"sha256": hash('3')}},
            {"uri": "https://git.example.com/acme/shop.git#main", "digest": {"sha1": "0123"}},
        ]);
        let expected = [
            format!("alpine@sha256:{}", hash('3')),
            format!("debian:bookworm-slim@sha256:{}", hash('2')),
            format!("registry.example.com:5000/a/node:22@sha256:{}", hash('1')),
        ];
        assert_eq!(told(&json!({"predicate": {"materials": materials}})), expected);
        let newer = json!({"predicate": {"buildDefinition": {"resolvedDependencies": materials}}});
        assert_eq!(told(&newer), expected);
    }

    #[test]
    fn what_could_forge_a_message_or_is_no_statement_tells_nothing() {
        for uri in [
            "pkg:docker/a%0Ab@1",
            "pkg:docker/a b@1",
            "pkg:npm/a@1",
            "pkg:docker/",
        ] {
            let material = json!({"uri": uri, "digest": {"sha256": hash('1')}});
            assert_eq!(
                told(&json!({"predicate": {"materials": [material]}})),
                [""; 0],
                "{uri}"
            );
        }
        let short = json!({"uri": "pkg:docker/a@1", "digest": {"sha256": "12"}});
        assert_eq!(told(&json!({"predicate": {"materials": [short]}})), [""; 0]);
        assert_eq!(told(&json!({"predicate": 1})), [""; 0]);
        let many =
            (0..100).map(|n| json!({"uri": format!("pkg:docker/a@{n}"), "digest": {"sha256": hash('1')}}));
        let many: Vec<_> = many.collect();
        assert_eq!(told(&json!({"predicate": {"materials": many}})).len(), MAX_BASES);
    }
}
