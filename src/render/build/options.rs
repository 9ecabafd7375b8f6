//! What the builder is told: its options, what the image says of itself, where layers are kept, and how the image is written.
//! Nothing here holds the value of a secret: the arguments of a container can be read by whoever may read its pod.

use super::{BuildInput, LAYOUT, SECRETS, TREE};
use crate::{
    api::meta,
    build::{
        builder::Provenance,
        key::{BuildKey, Wanted},
    },
    hex::hex,
    names::CommitId,
};

/// What both builds have in common.
pub(super) fn arguments(input: &BuildInput<'_>) -> Vec<String> {
    let BuildInput {
        builder,
        wanted,
        commit,
        ..
    } = *input;
    let build = wanted.build;
    let mut args: Vec<String> = ["--progress=plain", "--frontend=dockerfile.v0"]
        .map(str::to_owned)
        .into();
    let context = within(TREE, &wanted.origin.path);
    let (directory, file) = build
        .dockerfile
        .rsplit_once('/')
        .unwrap_or((".", &build.dockerfile));
    args.push(format!("--local=context={context}"));
    args.push(format!("--local=dockerfile={}", within(&context, directory)));
    let mut option = |name: &str, value: &str| args.extend(["--opt".to_owned(), format!("{name}={value}")]);
    option("filename", file);
    for (name, value) in &build.args {
        option(&format!("build-arg:{name}"), value);
    }
    // Steps reach what the builder reaches; none of these is a part of what a step is known by.
    let of_proxy = builder.env.iter().filter(|(name, _)| is_of_proxy(name));
    for (name, value) in of_proxy.filter(|(name, _)| !build.args.contains_key(*name)) {
        option(&format!("build-arg:{name}"), value);
    }
    if !build.platforms.is_empty() {
        option("platform", &build.platforms.join(","));
    }
    for (name, value) in claims(wanted, commit) {
        option(&format!("label:{name}"), &value);
    }
    match builder.provenance {
        Provenance::Min => option("attest:provenance", "mode=min"),
        Provenance::Max => option("attest:provenance", "mode=max"),
        Provenance::Off => {}
    }
    for id in build.secrets.keys() {
        args.extend(["--secret".to_owned(), format!("id={id},src={SECRETS}/{id}")]);
    }
    if let Some(kept) = cache(input) {
        args.extend(["--import-cache".to_owned(), format!("type=registry,ref={kept}")]);
        args.extend([
            "--export-cache".to_owned(),
            // What cannot be kept fails no build.
            format!(
                "type=registry,ref={kept},mode=max,image-manifest=true,oci-mediatypes=true,compression=zstd,compression-level=1,\
                 ignore-error=true"
            ),
        ]);
    }
    args
}

/// The arguments that every Dockerfile has
/// (<https://docs.docker.com/reference/dockerfile/#predefined-args>).
fn is_of_proxy(name: &str) -> bool {
    ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

fn within(above: &str, path: &str) -> String {
    if path == "." {
        above.to_owned()
    } else {
        format!("{above}/{path}")
    }
}

/// Where the layers of a source are kept: in a tag of its own, so that no other source's builds give it theirs.
pub(super) fn cache(input: &BuildInput<'_>) -> Option<String> {
    use sha2::{Digest as _, Sha256};
    let cache = input.builder.cache.as_ref()?;
    let Wanted {
        origin, reference, ..
    } = input.wanted;
    let repository = match &cache.repository {
        Some(repository) => repository.as_str(),
        None => reference
            .rsplit_once(':')
            .map_or(reference, |(repository, _)| repository),
    };
    let source = format!("{} {}", origin.git, origin.path);
    let hash = hex(&Sha256::digest(source.as_bytes()));
    Some(format!(
        "{repository}:buildcache-{}",
        hash.get(..12).unwrap_or(&hash)
    ))
}

/// What the image says of itself, by the names of the
/// [OCI image specification](https://github.com/opencontainers/image-spec/blob/main/annotations.md).
fn claims(wanted: Wanted<'_>, commit: &CommitId) -> [(&'static str, String); 3] {
    [
        ("org.opencontainers.image.version", wanted.version.to_owned()),
        ("org.opencontainers.image.revision", commit.to_string()),
        ("org.opencontainers.image.source", wanted.origin.git.to_string()),
    ]
}

/// An image layout in a directory: the container that pushes it takes it from there.
pub(super) fn output(input: &BuildInput<'_>, key: &BuildKey) -> String {
    let mut fields = vec![
        "type=oci".to_owned(),
        "tar=false".to_owned(),
        format!("dest={LAYOUT}"),
        "oci-mediatypes=true".to_owned(),
        "rewrite-timestamp=true".to_owned(),
    ];
    let own = (meta::BUILT, key.short().to_owned());
    let recipe = (meta::RECIPE, input.wanted.recipe());
    for (name, value) in claims(input.wanted, input.commit)
        .into_iter()
        .chain([own, recipe])
    {
        for of in ["annotation", "annotation-index"] {
            fields.push(format!("{of}.{name}={value}"));
        }
    }
    csv(&fields)
}

/// One record of CSV, which is how the builder reads an output: <https://www.rfc-editor.org/rfc/rfc4180>.
pub(super) fn csv(fields: &[String]) -> String {
    let quoted = fields.iter().map(|field| {
        if field.contains(['"', ',', '\n']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field.clone()
        }
    });
    quoted.collect::<Vec<_>>().join(",")
}
