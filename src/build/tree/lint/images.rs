//! Rules about the images that a build is made of.

use std::collections::BTreeSet;

use crate::build::tree::{
    BaseImage, Source,
    base::{Reference, Suite},
    dockerfile::Kind,
    finding::{Findings, listed, shown},
    stages::{Base, Stage, Stages},
};

/// An image that is not named by its digest is another one tomorrow.
pub(super) fn pinned(input: &Source<'_>, bases: &[BaseImage], findings: &mut Findings) {
    let mut said = BTreeSet::new();
    for base in bases.iter().filter(|base| said.insert(&base.reference)) {
        let reference = Reference::of(&base.reference);
        let place = (input.path, Some(base.line));
        let name = &base.reference;
        match reference.tag {
            _ if reference.digest => {}
            None => {
                let words = format!(
                    "{name} has no tag, so it is whatever is latest when it is built: name a version of it"
                );
                findings.warn("no-tag", place, words);
            }
            Some("latest") => {
                let words = format!("{name} is another image after each release of it: name a version of it");
                findings.warn("latest", place, words);
            }
            Some(_) => {
                let words = format!(
                    "{name} may be replaced under the same tag: with {name}@sha256:… each build begins with the same image"
                );
                findings.tell("no-digest", place, words);
            }
        }
    }
}

/// `FROM ${BUILDER_IMAGE}` without a value.
pub(super) fn without_value(
    input: &Source<'_>,
    stages: &Stages<'_>,
    needed: &[usize],
    findings: &mut Findings,
) {
    for stage in needed.iter().filter_map(|number| stages.list.get(*number)) {
        let Base::Image(image) = &stage.base else { continue };
        let names: BTreeSet<&str> = image.unset.iter().map(String::as_str).collect();
        let names: Vec<String> = names.into_iter().take(5).map(shown).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if !names.is_empty() {
            let words = format!(
                "this image has no name without a value of {}: give it in build.args, or write a default after ARG above the \
                 first FROM",
                listed(&names)
            );
            findings.warn("no-base", (input.path, Some(stage.line)), words);
        }
    }
}

/// What is compiled on one distribution may not find its libraries on another.
pub(super) fn suites(input: &Source<'_>, stages: &Stages<'_>, needed: &[usize], findings: &mut Findings) {
    let mut said = BTreeSet::new();
    for number in needed {
        let Some(stage) = stages.list.get(*number) else {
            continue;
        };
        let Some(here) = root(stages, *number) else {
            continue;
        };
        for instruction in stage.instructions {
            let Kind::Copy {
                from: Some(from),
                sources,
            } = &instruction.kind
            else {
                continue;
            };
            let other = stages.find(from);
            let there = match other {
                Some(other) if other == *number => continue,
                Some(other) => root(stages, other),
                // What is not among programs and libraries is most often text: certificates, pages.
                None if sources.iter().any(|source| is_of_programs(source)) => Root::of(from),
                None => continue,
            };
            let Some(there) = there.filter(|there| there.suite.differs(&here.suite)) else {
                continue;
            };
            let runs_here = !there.is_of_scripts() || here.is_of_scripts();
            let stage_there = other.and_then(|other| stages.list.get(other));
            if runs_here && !stage_there.is_some_and(is_static) && said.insert((from.clone(), *number)) {
                let called =
                    other.map_or_else(|| "an image".to_owned(), |other| shown(&stages.called(other)));
                let words = format!(
                    "this takes files from {called}, made of {} ({}), into one of {} ({}): what was compiled there may not run here, so \
                     begin both with the same release",
                    there.suite.words(),
                    shown(there.image),
                    here.suite.words(),
                    shown(here.image)
                );
                findings.warn("other-suite", (input.path, Some(instruction.line)), words);
            }
        }
    }
}

/// Whether programs or libraries lie there, as on every Linux
/// (<https://refspecs.linuxfoundation.org/FHS_3.0/fhs/index.html>).
fn is_of_programs(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    match parts.next() {
        None | Some("bin" | "sbin" | "lib" | "lib64" | "opt") => true,
        Some("usr") => !matches!(parts.next(), Some("share" | "include")),
        _ => false,
    }
}

struct Root<'a> {
    image: &'a str,
    suite: Suite,
}

impl<'a> Root<'a> {
    fn of(image: &'a str) -> Option<Self> {
        let suite = Suite::of(image)?;
        Some(Self { image, suite })
    }

    /// What such images make is text: pages and scripts, which need no C library.
    fn is_of_scripts(&self) -> bool {
        ["node", "bun", "deno"].contains(&Reference::of(self.image).name)
    }
}

fn root<'a>(stages: &'a Stages<'_>, stage: usize) -> Option<Root<'a>> {
    Root::of(&stages.root(stage)?.text)
}

/// Programs of Go without C, and of Rust with musl, need nothing.
fn is_static(stage: &Stage<'_>) -> bool {
    stage.instructions.iter().any(|one| {
        let text = one.arguments();
        text.contains("CGO_ENABLED=0") || text.contains("CGO_ENABLED 0") || text.contains("-linux-musl")
    })
}
