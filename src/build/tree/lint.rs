//! The rules: what is refused, what is warned of, and what is told.

mod absent;
mod args;
mod emulated;
mod files;
mod images;
mod last;
mod locks;
mod needs;
mod pinned;
mod script;
mod secrets;

use super::{
    BaseImage, Source,
    base::Reference,
    finding::{Findings, listed, shown},
    stages::Stages,
};

pub(super) use absent::run as absent;
pub(super) use emulated::run as emulated;
pub(super) use locks::run as locks;
pub(super) use secrets::run as secrets;

/// The stage that is built.
pub(super) fn target(input: &Source<'_>, stages: &Stages<'_>, findings: &mut Findings) -> Option<usize> {
    let file = stages.file;
    if let Some(syntax) = file.syntax.as_deref().filter(|syntax| !is_dockerfile(syntax)) {
        let words = format!(
            "{} reads this file, and what it means there is not known here: only secrets and lock files were looked for",
            shown(syntax)
        );
        findings.tell("other-syntax", (input.path, Some(1)), words);
        return None;
    }
    for (line, words) in &file.problems {
        findings.warn("not-understood", (input.path, Some(*line)), words.clone());
    }
    if stages.list.is_empty() {
        let words = "there is no FROM, so there is nothing to build: name the image that this one is made of";
        findings.refuse("no-stage", (input.path, None), words.into());
        return None;
    }
    let Some(target) = input.target else {
        return stages.list.len().checked_sub(1);
    };
    let found = stages.find(target);
    if found.is_none() {
        let names: Vec<String> = stages
            .list
            .iter()
            .filter_map(|stage| stage.name)
            .map(shown)
            .collect();
        let names: Vec<&str> = names.iter().take(20).map(String::as_str).collect();
        let known = if names.is_empty() {
            "its stages have no names".to_owned()
        } else {
            format!("there are {}", listed(&names))
        };
        let words = format!(
            "there is no stage {}: {known}; set build.target to one of them, or leave it out for the last",
            shown(target)
        );
        findings.refuse("no-target", (input.path, None), words);
    }
    found
}

/// `docker/dockerfile:1`, from whatever registry.
fn is_dockerfile(syntax: &str) -> bool {
    let image = syntax.split_whitespace().next().unwrap_or_default();
    Reference::of(image).name.starts_with("dockerfile")
}

/// Everything about the stages that are built.
pub(super) fn stages(
    input: &Source<'_>,
    stages: &Stages<'_>,
    target: usize,
    needed: &[usize],
    bases: &[BaseImage],
    findings: &mut Findings,
) {
    images::pinned(input, bases, findings);
    images::without_value(input, stages, needed, findings);
    images::suites(input, stages, needed, findings);
    last::run(input, stages, target, findings);
    last::releases(input, stages, needed, findings);
    args::run(input, stages, needed, findings);
    files::run(input, stages, needed, findings);
}

/// Whether a file is one that BuildKit reads by itself beside a Dockerfile.
fn has_ignore_file(input: &Source<'_>) -> bool {
    let own = input.path.rsplit('/').next().unwrap_or(input.path);
    input.has(".dockerignore") || input.has(&format!("{own}.dockerignore"))
}
