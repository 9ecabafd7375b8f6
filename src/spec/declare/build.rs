//! How an image is built where there is none.

use std::collections::BTreeMap;

use super::{
    super::{
        check::{self, Problems},
        declared::{BuildSpec, ImagePick, Origin},
        document::join,
    },
    origin::VERSION,
    times::span,
};
use crate::{
    api::{
        Duration, ReleaseSpec,
        release::{Agree, BuildMode, KeyRef},
    },
    names::{EnvName, Version},
};

/// As much as all values of `build.args` together may be: they become arguments of one program.
const MAX_ARGS: usize = 32 * 1024;

/// What BuildKit takes from a build argument of its own, and what would change what the builder does.
fn is_builders(name: &str) -> bool {
    name.starts_with("BUILDKIT_") || name.starts_with("SLIPWAY_") || name == "SOURCE_DATE_EPOCH"
}

pub(super) fn build(
    spec: &ReleaseSpec,
    version: &Version,
    origin: Option<&Origin>,
    pick: Option<&ImagePick>,
    problems: &mut Problems,
) -> Option<BuildSpec> {
    let build = spec.build.clone().unwrap_or_default();
    let mode = build.mode.unwrap_or(BuildMode::IfMissing);
    if spec.build.is_some() && spec.source.is_none() && mode != BuildMode::Never {
        return problems.none(
            "/build",
            "there is nothing to build from: give `source`, such as {git: https://git.example.com/acme/shop.git}".into(),
        );
    }
    if mode == BuildMode::Always && matches!(pick, Some(ImagePick::Digest(_))) {
        return problems.none(
            "/build/mode",
            "an image that is declared by its digest cannot be built anew: give its repository alone".into(),
        );
    }
    span("/build/timeout", build.timeout, "30m", problems);
    let dockerfile = build.dockerfile.unwrap_or_else(|| "Dockerfile".to_owned());
    if let Err(message) = check::path_within(&dockerfile) {
        problems.add("/build/dockerfile".into(), message);
    }
    for (pointer, stage) in [
        ("/build/target", &build.target),
        ("/build/testTarget", &build.test_target),
    ] {
        if stage.as_deref().is_some_and(|stage| !is_stage(stage)) {
            problems.add(
                pointer.into(),
                "must be the name of a stage: letters, digits, '-', '_' or '.', or its number".into(),
            );
        }
    }
    let mut args = BTreeMap::new();
    let mut length = 0;
    for (name, value) in build.args {
        let at = join("/build/args", &name);
        let value = value.0.replace(VERSION, version.as_str());
        if name.parse::<EnvName>().is_err() {
            problems.add(at, "must be the name of an ARG: letters, digits and '_'".into());
        } else if is_builders(&name) {
            problems.add(at, format!("{name} is for the builder alone"));
        } else if value.contains(['\0', '\n', '\r']) {
            problems.add(at, "must be one line".into());
        } else {
            length += name.len() + value.len();
            args.insert(name, value);
        }
    }
    if length > MAX_ARGS {
        problems.add(
            "/build/args".into(),
            format!("are longer than {} KiB together", MAX_ARGS >> 10),
        );
    }
    let mut secrets = BTreeMap::new();
    for (id, key) in build.secrets {
        let at = join("/build/secrets", &id);
        if !is_stage(&id) {
            problems.add(
                at,
                "must be the id of a secret mount: letters, digits, '-', '_' or '.'".into(),
            );
        } else if let Some(key) = problems.parse::<KeyRef>(&at, &key.0) {
            secrets.insert(id, key);
        }
    }
    for (index, platform) in build.platforms.iter().enumerate() {
        if !is_platform(platform) {
            problems.add(
                format!("/build/platforms/{index}"),
                "must be written system/processor, such as linux/amd64 or linux/arm64".into(),
            );
        }
    }
    origin?;
    (mode != BuildMode::Never).then_some(BuildSpec {
        always: mode == BuildMode::Always,
        dockerfile,
        target: build.target,
        test_target: build.test_target,
        args,
        secrets,
        platforms: build.platforms,
        locks: build.locks.unwrap_or(Agree::Enforce),
        timeout: build.timeout.unwrap_or(Duration::from_secs(1800)),
    })
}

/// A name that no program takes for an option, or for more than one word.
fn is_stage(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
}

/// `linux/arm64`, `linux/arm/v7`.
fn is_platform(text: &str) -> bool {
    let word =
        |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let words: Vec<&str> = text.split('/').collect();
    matches!(words.as_slice(), ["linux", rest @ ..] if matches!(rest.len(), 1 | 2) && rest.iter().all(|w| word(w)))
}
