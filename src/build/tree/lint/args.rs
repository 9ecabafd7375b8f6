//! Rules about build arguments and secrets that are given, or are not.

use std::collections::{BTreeMap, BTreeSet};

use crate::build::tree::{
    Source,
    dockerfile::{Kind, Pair},
    finding::{Findings, shown},
    stages::{Stages, is_predefined, part},
};

/// So many slips still make a name.
const SLIPS: usize = 2;
/// So many names are compared, since each look costs the product of both lengths.
const NEAR: usize = 500;

pub(super) fn run(input: &Source<'_>, stages: &Stages<'_>, needed: &[usize], findings: &mut Findings) {
    let declared = declared(stages);
    unknown(input, &declared, findings);
    of_pages(input, &declared, findings);
    mounts(input, stages, needed, findings);
}

/// Every argument that the file declares, with its first line and whether it has a default.
fn declared<'a>(stages: &Stages<'a>) -> BTreeMap<&'a str, (u32, bool)> {
    let mut all: BTreeMap<&str, (u32, bool)> = BTreeMap::new();
    let instructions = stages.file.instructions.iter();
    for one in instructions.filter(|one| !one.on_build) {
        let Kind::Arg(pairs) = &one.kind else { continue };
        for Pair {
            name, value, line, ..
        } in pairs
        {
            let has = value.as_ref().is_some_and(|value| !value.is_empty());
            let known = all.entry(name).or_insert((*line, false));
            known.1 |= has;
        }
    }
    all
}

/// An argument that nothing declares is given to nothing.
fn unknown(input: &Source<'_>, declared: &BTreeMap<&str, (u32, bool)>, findings: &mut Findings) {
    let given = input.args.keys().filter(|name| !is_predefined(name));
    for name in given.filter(|name| !declared.contains_key(name.as_str())) {
        let near = declared
            .keys()
            .take(NEAR)
            .filter(|known| known.len() <= 64 && name.len() <= 64)
            .map(|known| (strsim::damerau_levenshtein(known, name), known))
            .filter(|(slips, _)| *slips <= SLIPS)
            .min();
        let hint = near.map_or_else(
            || "declare it with ARG where it is used, or remove it from build.args".to_owned(),
            |(_, known)| format!("did you mean {}?", shown(known)),
        );
        let words = format!("build.args gives {}, and no ARG declares it: {hint}", shown(name));
        findings.warn("unknown-arg", (input.path, None), words);
    }
}

/// What pages have of a variable is written into them when they are built.
fn of_pages(input: &Source<'_>, declared: &BTreeMap<&str, (u32, bool)>, findings: &mut Findings) {
    for (name, (line, has)) in declared {
        if name.starts_with("NEXT_PUBLIC_") && !has && !input.args.contains_key(*name) {
            let words = format!(
                "{} is given no value, so pages are built without it, whatever it is when they are served: give it in build.args",
                shown(name)
            );
            findings.tell("empty-public-arg", (input.path, Some(*line)), words);
        }
    }
}

/// A secret that is not given is an empty file to the command that asks for it.
fn mounts(input: &Source<'_>, stages: &Stages<'_>, needed: &[usize], findings: &mut Findings) {
    let mut said = BTreeSet::new();
    let stages = needed.iter().filter_map(|number| stages.list.get(*number));
    for instruction in stages.flat_map(|stage| stage.instructions) {
        for mount in instruction
            .flag("mount")
            .filter(|mount| part(mount, "type") == Some("secret"))
        {
            let target = || {
                ["target", "dst", "destination"]
                    .into_iter()
                    .find_map(|name| part(mount, name))
            };
            let base = || target().and_then(|path| path.rsplit('/').next());
            let id = part(mount, "id").or_else(base).unwrap_or_default();
            let known = input.secrets.iter().any(|secret| secret == id);
            if !id.is_empty() && !id.contains('$') && !known && said.insert(id) {
                let words = format!(
                    "nothing gives the secret {} that this RUN asks for: name it in build.secrets",
                    shown(id)
                );
                findings.warn("unknown-secret", (input.path, Some(instruction.line)), words);
            }
        }
    }
}
