//! Judges a source tree before it is built: texts → what is wrong with them, and what a build of them is made of.
//!
//! It reads the Dockerfile and the few files beside it that say what a program needs. Whatever would put a secret into an
//! image, or would build something else tomorrow than today, is refused before a machine is asked; what is probably a
//! mistake is said once, with its line. It is given texts, and whoever has a checkout or a tree of git reads them: no client,
//! runtime, git, clock or file system may enter here, nor anything that runs a Dockerfile. The texts are those of strangers,
//! of any form and size: nothing may panic on them or cost more than their length. No sentence ever repeats a secret.
//!
//! - [`dockerfile`] text → instructions with lines
//! - `expand`, `stages` variables, and which stages a target needs
//! - `base` what the reference of an image says
//! - [`versions`] `.tool-versions` → build arguments
//! - `lint` all of it → [`finding`]s

mod base;
pub mod dockerfile;
mod expand;
pub mod finding;
mod lint;
mod stages;
pub mod versions;

use std::collections::BTreeMap;

use crate::api::release::Agree;

use dockerfile::{Dockerfile, Instruction, Kind};
pub use finding::{Finding, Weight};
use finding::{Findings, shown};
use stages::{Base, Stages, copied_from};
pub use versions::ExtraArg;

/// A larger file is nobody's Dockerfile, and is not read.
pub const LARGEST: usize = 512 * 1024;

/// Files in the root of the build context whose texts say something, where they exist.
pub const WANTED: [&str; 10] = [
    ".npmrc",
    "Cargo.toml",
    "Gemfile",
    "Pipfile",
    "composer.json",
    "go.mod",
    "mix.exs",
    "package.json",
    "pyproject.toml",
    "requirements.txt",
];

/// What the file is called that says which tools people develop with.
pub const TOOLS: &str = ".tool-versions";

/// Directories of projects below the build context that are looked at.
const MOST_BELOW: usize = 50;

/// A directory of the build context that a Dockerfile takes a project from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Below {
    /// From the build context on.
    pub directory: String,
    /// The names of files in it.
    pub names: Vec<String>,
    /// The texts of the [`WANTED`] files there.
    pub texts: BTreeMap<String, String>,
}

/// The directories that have a project and that a Dockerfile copies from by name; `files` are all of the build context.
#[must_use]
pub fn below(files: &[String], dockerfile: &str) -> Vec<Below> {
    if dockerfile.len() > LARGEST {
        return Vec::new();
    }
    let file = dockerfile::read(dockerfile);
    let mut copied: Vec<String> = Vec::new();
    for instruction in &file.instructions {
        if let Kind::Copy { sources, from: None } = &instruction.kind {
            let plain = sources
                .iter()
                .map(|source| source.trim_start_matches("./").trim_matches('/'));
            copied.extend(plain.map(str::to_owned));
        }
    }
    let is_copied = |directory: &str, path: &str| {
        copied.iter().any(|source| {
            source == path
                || source == directory
                || directory
                    .strip_prefix(source.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
                || source
                    .strip_prefix(directory)
                    .is_some_and(|rest| rest.starts_with("/*"))
        })
    };
    let mut found: BTreeMap<&str, Below> = BTreeMap::new();
    for path in files {
        let Some((directory, name)) = path.rsplit_once('/') else {
            continue;
        };
        if WANTED.contains(&name) && is_copied(directory, path) && found.len() < MOST_BELOW {
            found.entry(directory).or_insert_with(|| Below {
                directory: directory.to_owned(),
                ..Below::default()
            });
        }
    }
    for path in files {
        if let Some((directory, name)) = path.rsplit_once('/')
            && let Some(project) = found.get_mut(directory)
        {
            project.names.push(name.to_owned());
        }
    }
    found.into_values().collect()
}

/// A source tree, as far as it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Where the Dockerfile is, from the root of the repository.
    pub path: &'a str,
    /// The Dockerfile. Bytes that are no UTF-8 may be replaced.
    pub dockerfile: &'a str,
    /// The build context, from the root of the repository; empty for the root itself.
    pub context: &'a str,
    /// The names of files and directories in the root of the build context.
    pub names: &'a [String],
    /// The texts of the [`WANTED`] files there.
    pub texts: &'a BTreeMap<String, String>,
    /// Projects in directories below it.
    pub below: &'a [Below],
    /// The nearest `.tool-versions`, in the build context or above it: its place from the root of the repository, and its text.
    pub tools: Option<(&'a str, &'a str)>,
    /// What follows from dependencies without a lock file.
    pub unlocked: Agree,
    /// `build.args` of the spec.
    pub args: &'a BTreeMap<String, String>,
    /// The stage that is built; `None` for the last.
    pub target: Option<&'a str>,
    /// The ids of the build secrets that the spec gives.
    pub secrets: &'a [String],
    /// What it is built for; empty for the platform of the node.
    pub platforms: &'a [String],
    /// The processor of the node that builds, `amd64`.
    pub node: &'a str,
    /// Directories of the build context that are submodules, and empty therefore.
    pub submodules: &'a [String],
    /// Files of the build context that only say where Git LFS has their content.
    pub pointers: &'a [String],
}

impl<'a> Source<'a> {
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// The text of a file, unless it is missing or too large.
    fn text(&self, name: &str) -> Option<&'a str> {
        let text = self.texts.get(name)?;
        (text.len() <= LARGEST).then_some(text.as_str())
    }

    /// Where a file of the build context is, from the root of the repository.
    fn place(&self, name: &str) -> String {
        let context = self.context.trim_matches('/');
        if ["", "."].contains(&context) {
            name.to_owned()
        } else {
            format!("{context}/{name}")
        }
    }
}

/// An image that a build begins with, or copies from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// As written, with the values of arguments.
    pub reference: String,
    /// The name of the stage, or its number from 0.
    pub stage: String,
    /// The line of the `FROM`, or of what copies.
    pub line: u32,
    /// Whether files are copied from it, and nothing begins with it.
    pub copied: bool,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Heaviest first.
    pub findings: Vec<Finding>,
    /// Build arguments beside those of the spec.
    pub extra_args: Vec<ExtraArg>,
    /// Images that the target is made of, in the order of the file. One whose reference is not known yet is none of them.
    pub base_images: Vec<BaseImage>,
    /// Lock files, from the build context on.
    pub lock_files: Vec<String>,
    /// Whether a step is to see the time of the commit: the file declares `ARG SOURCE_DATE_EPOCH`.
    pub declares_time: bool,
}

impl Judgement {
    /// Whether nothing may be built.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.weight == Weight::Refused)
    }
}

/// Judges a source tree.
#[must_use]
pub fn judge(input: &Source<'_>) -> Judgement {
    let mut findings = Findings::default();
    if input.dockerfile.len() > LARGEST {
        let words = format!(
            "this Dockerfile has {} KiB, and one of more than {} KiB is not read: move its scripts into files of their own",
            input.dockerfile.len() / 1024,
            LARGEST / 1024
        );
        findings.refuse("too-large", (input.path, None), words);
        return Judgement {
            findings: findings.done(),
            ..Judgement::default()
        };
    }
    let file = dockerfile::read(input.dockerfile);
    lint::secrets(input, &file, &mut findings);
    let tools = versions::Tools::of(input, &mut findings);
    let mut extra_args = tools.args(input, &file, &mut findings);
    let mut args = input.args.clone();
    let extra = extra_args.iter();
    args.extend(extra.map(|extra| (extra.arg.clone(), extra.value.clone())));
    let stages = Stages::of(&file, &args);
    let target = lint::target(input, &stages, &mut findings);
    let mut base_images = Vec::new();
    if let Some(target) = target {
        let needed = stages.needed(target);
        base_images = bases(&stages, &needed);
        tools.compare(input, &stages, target, &base_images, &mut findings);
        lint::stages(input, &stages, target, &needed, &base_images, &mut findings);
        extra_args.extend(lint::emulated(input, &file, &stages, target, &mut findings));
    }
    let lock_files = lint::locks(input, &file, &mut findings);
    lint::absent(input, &mut findings);
    Judgement {
        findings: findings.done(),
        extra_args,
        base_images,
        lock_files,
        declares_time: declares(&file, "SOURCE_DATE_EPOCH"),
    }
}

/// Whether the file declares an argument of this name.
fn declares(file: &Dockerfile, argument: &str) -> bool {
    let of = |one: &Instruction| match &one.kind {
        Kind::Arg(pairs) => pairs.iter().any(|pair| pair.name == argument),
        _ => false,
    };
    file.instructions.iter().any(of)
}

/// The images that stages begin with or copy from.
fn bases(stages: &Stages<'_>, needed: &[usize]) -> Vec<BaseImage> {
    let mut found = Vec::new();
    for number in needed {
        let Some(stage) = stages.list.get(*number) else {
            continue;
        };
        let image = |reference: &str, line: u32, copied: bool| BaseImage {
            reference: shown(reference),
            stage: shown(&stages.called(*number)),
            line,
            copied,
        };
        if let Base::Image(base) = &stage.base
            && !base.open
            && base.unset.is_empty()
            && !["", "scratch"].contains(&base.text.as_str())
        {
            found.push(image(&base.text, stage.line, false));
        }
        for instruction in stage.instructions.iter().filter(|one| !one.on_build) {
            for from in copied_from(instruction) {
                if stages.find(from).is_none() && !from.is_empty() && !from.contains('$') {
                    found.push(image(from, instruction.line, true));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
