//! Files that go into a build: secrets by their name, and what no `.dockerignore` keeps out.

use std::collections::BTreeSet;

use super::{has_ignore_file, script};
use crate::{
    build::tree::{
        Source,
        dockerfile::{Instruction, Kind},
        finding::{Findings, listed, shown},
        stages::Stages,
    },
    spec::firewall::in_line,
};

/// Names of files that hold keys and passwords, and nothing else.
const NAMES: [&str; 17] = [
    ".env",
    ".git-credentials",
    ".htpasswd",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    ".dockercfg",
    "_netrc",
    "credentials.json",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
    "kubeconfig",
    "master.key",
    "prod.secret.exs",
];
const ENDINGS: [&str; 8] = [
    ".pem",
    ".key",
    ".p12",
    ".pfx",
    ".jks",
    ".keystore",
    ".kdbx",
    ".ppk",
];
/// `.env.example` says which variables there are.
const OF_EXAMPLES: [&str; 7] = [
    "example", "sample", "template", "dist", "defaults", "test", "schema",
];
/// What a build seldom needs of a context, and what is old or secret where it comes along.
const KEPT_OUT: [&str; 7] = [
    ".env",
    ".git",
    "node_modules",
    "_build",
    "deps",
    "target",
    ".venv",
];

pub(super) fn run(input: &Source<'_>, stages: &Stages<'_>, needed: &[usize], findings: &mut Findings) {
    let (mut said, mut everything) = (BTreeSet::new(), None);
    let names: BTreeSet<&str> = input.names.iter().map(String::as_str).collect();
    let stages = needed.iter().filter_map(|number| stages.list.get(*number));
    for instruction in stages.flat_map(|stage| stage.instructions) {
        let Kind::Copy { sources, from: None } = &instruction.kind else {
            continue;
        };
        for source in sources {
            if ["", ".", "/", "*"].contains(&source.trim_start_matches("./").trim_end_matches("/.")) {
                everything.get_or_insert(instruction.line);
            }
            if is_secret(input, &names, instruction, source) && said.insert(source.as_str()) {
                let words = format!(
                    "{} looks like a file of secrets, and a layer would keep it: if it is one, take it out of git, and give it by \
                     build.secrets or, to the running program, by files",
                    shown(source)
                );
                findings.warn("secret-file", (input.path, Some(instruction.line)), words);
            }
        }
    }
    if let Some(line) = everything.filter(|_| !has_ignore_file(input)) {
        let sent: Vec<&str> = KEPT_OUT.into_iter().filter(|name| input.has(name)).collect();
        if !sent.is_empty() {
            let words = format!(
                "this takes {} along, since there is no .dockerignore: write one that names {}",
                listed(&sent),
                if sent.len() == 1 { "it" } else { "them" }
            );
            findings.tell("no-dockerignore", (input.path, Some(line)), words);
        }
    }
}

fn is_secret(input: &Source<'_>, names: &BTreeSet<&str>, instruction: &Instruction, source: &str) -> bool {
    if source.contains("://") || instruction.public {
        return false;
    }
    let path = source.trim_start_matches("./").trim_start_matches('/');
    let base = path.rsplit('/').next().unwrap_or(path);
    // `.npmrc*` copies it where there is one.
    let plain = base.trim_end_matches('*');
    if !is_named_so(plain) {
        return false;
    }
    // What is not there cannot be copied, and of what is there the text may say that it is harmless.
    let in_root = !path.contains('/');
    let begins = || {
        names
            .range(plain..)
            .next()
            .is_some_and(|name| name.starts_with(plain))
    };
    let there = !in_root || names.contains(plain) || plain != base && begins();
    let harmless = in_root && input.text(plain).is_some_and(is_harmless);
    there && !harmless
}

fn is_named_so(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let env = name
        .strip_prefix(".env.")
        .is_some_and(|kind| !kind.split('.').any(|part| OF_EXAMPLES.contains(&part)));
    let ends = |end: &str| name.strip_suffix(end).is_some();
    let account = name.starts_with("service-account") && ends(".json");
    let public = name.contains("public") || name.starts_with("ca.");
    env || account || NAMES.contains(&name.as_str()) || ENDINGS.into_iter().any(ends) && !public
}

fn is_harmless(text: &str) -> bool {
    let mut lines = text.lines();
    lines.all(|line| in_line(line, false).is_empty()) && script::scan(text).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_secrets_are_known_by_their_names() {
        for name in [
            ".env",
            ".env.production",
            ".env.local",
            "id_rsa",
            "server.pem",
            "tls.key",
            "credentials.json",
            "service-account-prod.json",
            "prod.secret.exs",
        ] {
            assert!(is_named_so(name), "{name}");
        }
        for name in [
            ".env.example",
            ".env.sample",
            ".env.production.example",
            "env.ts",
            "id_rsa.pub",
            "public.pem",
            "ca.pem",
            "keys.json",
            "package.json",
            "",
        ] {
            assert!(!is_named_so(name), "{name}");
        }
    }
}
