//! Rules about the stage that becomes the image.

use std::collections::BTreeSet;

use super::script;
use crate::build::tree::{
    Source,
    base::Reference,
    dockerfile::{Form, Instruction, Kind, words},
    expand::Given,
    finding::{Findings, listed, shown},
    stages::Stages,
};

/// What only a build needs.
const COMPILERS: [&str; 12] = [
    "build-essential",
    "build-base",
    "gcc",
    "g++",
    "make",
    "cmake",
    "clang",
    "llvm",
    "alpine-sdk",
    "gcc-c++",
    "automake",
    "autoconf",
];
const INSTALLERS: [&str; 7] = ["apt-get", "apt", "aptitude", "apk", "dnf", "yum", "microdnf"];

pub(super) fn run(input: &Source<'_>, stages: &Stages<'_>, target: usize, findings: &mut Findings) {
    let layers = stages.layers(target);
    modes(input, stages, target, findings);
    for instruction in &layers {
        compilers(input, instruction, findings);
    }
    let image = stages
        .root(target)
        .map(|image| image.text.as_str())
        .unwrap_or_default();
    user(input, image, &layers, findings);
    entrypoint(input, &layers, findings);
}

/// A release is what `mix` made of it, whatever the image says when it runs.
pub(super) fn releases(input: &Source<'_>, stages: &Stages<'_>, needed: &[usize], findings: &mut Findings) {
    for number in needed {
        let Some(stage) = stages.list.get(*number) else {
            continue;
        };
        let makes = |one: &&Instruction| {
            let text = one.arguments();
            matches!(one.kind, Kind::Run(_)) && text.contains("mix release") && !text.contains("MIX_ENV=")
        };
        let Some(makes) = stage.instructions.iter().find(makes) else {
            continue;
        };
        if let Some((Given::Value(mode), line)) = stages.env(*number).get("MIX_ENV")
            && !["", "prod"].contains(&mode.as_str())
        {
            let words = format!(
                "the release is made with MIX_ENV={}, as {}:{line} says: set it to prod there",
                shown(mode),
                input.path
            );
            findings.warn("not-production", (input.path, Some(makes.line)), words);
        }
    }
}

/// What a framework does by itself in development has no place in an image.
fn modes(input: &Source<'_>, stages: &Stages<'_>, target: usize, findings: &mut Findings) {
    let env = stages.env(target);
    for (name, wrong) in [("MIX_ENV", None), ("NODE_ENV", Some("development"))] {
        let Some((Given::Value(value), line)) = env.get(name) else {
            continue;
        };
        let is_wrong = wrong.map_or(value != "prod" && !value.is_empty(), |wrong| value == wrong);
        if is_wrong {
            let words = format!(
                "the image has {name}={}, so the program shows its errors to everybody: set it to {}",
                shown(value),
                if name == "MIX_ENV" { "prod" } else { "production" }
            );
            findings.warn("not-production", (input.path, Some(*line)), words);
        }
    }
}

fn compilers(input: &Source<'_>, instruction: &Instruction, findings: &mut Findings) {
    let Kind::Run(form) = &instruction.kind else {
        return;
    };
    let mut found = BTreeSet::new();
    let mut look = |text: &str| {
        // What the same layer removes again is not in it.
        if text.contains("apk del")
            || text.contains("purge")
            || text.contains("autoremove")
            || text.contains(" remove ")
        {
            return;
        }
        for (_, command) in script::commands(text) {
            found.extend(installed(command).into_iter().filter_map(|package| {
                let package = package.split(['=', ':']).next().unwrap_or_default();
                COMPILERS.into_iter().find(|known| *known == package)
            }));
        }
    };
    match form {
        Form::Exec(words) => look(&words.join(" ")),
        Form::Shell => look(instruction.arguments()),
    }
    for text in &instruction.heredocs {
        look(text.as_str());
    }
    if !found.is_empty() {
        let found: Vec<&str> = found.into_iter().collect();
        let words = format!(
            "{} would stay in the image, where only somebody who broke in needs it: compile in an earlier stage, and copy what \
             comes out of it",
            listed(&found)
        );
        findings.warn("compiler", (input.path, Some(instruction.line)), words);
    }
}

/// The packages that a command installs.
fn installed(command: &str) -> Vec<&str> {
    let (words, _) = words::split(command, '\\');
    let mut words = words.into_iter().map(|word| word.raw);
    let base = |word: &str| word.rsplit('/').next().map(ToOwned::to_owned).unwrap_or_default();
    if !words
        .by_ref()
        .take(6)
        .any(|word| INSTALLERS.contains(&base(word).as_str()))
    {
        return Vec::new();
    }
    let mut rest = words.skip_while(|word| !["install", "add"].contains(word));
    if rest.next().is_none() {
        return Vec::new();
    }
    rest.filter(|word| !word.starts_with('-')).collect()
}

fn user(input: &Source<'_>, image: &str, layers: &[&Instruction], findings: &mut Findings) {
    let last = layers.iter().rev().find_map(|one| match &one.kind {
        Kind::User(user) => Some((user.as_str(), one.line)),
        _ => None,
    });
    match last {
        None => {
            // gcr.io/distroless/cc-debian12:nonroot
            let unprivileged = Reference::of(image)
                .tag
                .is_some_and(|tag| tag.contains("nonroot"));
            if !unprivileged && !image.contains('$') {
                let words = "the image names no USER, so elsewhere its program would be root: add USER with a number; the pod runs as \
                             another user all the same";
                findings.tell("root", (input.path, None), words.into());
            }
        }
        Some((user, line)) => {
            let name = user.split(':').next().unwrap_or_default();
            if ["root", "0"].contains(&name) {
                let words = "the image's USER is root: let it end with another one, by its number; the pod runs as another user all \
                             the same";
                findings.tell("root", (input.path, Some(line)), words.into());
            }
        }
    }
}

fn entrypoint(input: &Source<'_>, layers: &[&Instruction], findings: &mut Findings) {
    let last = layers.iter().rev().find_map(|one| match &one.kind {
        Kind::Entrypoint(form) => Some((*one, form)),
        _ => None,
    });
    let Some((instruction, Form::Shell)) = last else {
        return;
    };
    let text = instruction.arguments().trim();
    // With exec the program takes the place of the shell.
    if !text.is_empty() && !text.starts_with("exec ") {
        let words = "this ENTRYPOINT runs in a shell that passes no signals on, so the program is killed instead of stopped: write \
                     it as a list, [\"program\", \"argument\"]";
        findings.warn(
            "shell-entrypoint",
            (input.path, Some(instruction.line)),
            words.into(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_what_follows_the_word_that_installs() {
        assert_eq!(
            installed("apt-get install -y --no-install-recommends gcc make"),
            ["gcc", "make"]
        );
        assert_eq!(
            installed("  DEBIAN_FRONTEND=x apt-get -y install gcc=4:12"),
            ["gcc=4:12"]
        );
        assert_eq!(installed("/sbin/apk add --no-cache g++"), ["g++"]);
        for command in ["apt-get update", "npm install make", "echo apt-get", "make", ""] {
            assert_eq!(installed(command), Vec::<&str>::new(), "{command}");
        }
    }
}
