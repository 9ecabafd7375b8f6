//! The pure rooms name no client, runtime, git, clock, network, file or environment, and no room that does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::{fs, path::Path};

/// Files and directories below `src/` that are pure.
const PURE: [&str; 11] = [
    "build",
    "plan",
    "render",
    "repository",
    "spec",
    "trace",
    "words",
    "status.rs",
    "hosts.rs",
    "names.rs",
    "hex.rs",
];

/// What they may not name. A path that ends in `::` forbids everything below it.
const FORBIDDEN: [&str; 23] = [
    "kube::Client",
    "kube::Api",
    "kube::client",
    "kube::runtime",
    "tokio",
    "git2",
    "reqwest",
    "oci_client",
    "axum",
    "std::time::SystemTime",
    "std::time::Instant",
    "Timestamp::now",
    "Zoned::now",
    "std::fs",
    "std::net",
    "std::env",
    "rand::",
    "crate::cli",
    "crate::cluster",
    "crate::controller",
    "crate::image",
    "crate::server",
    "crate::source",
];

/// The code of a file: without comments, up to its tests, without spaces, and with `use a::{b, c}` written
/// out as `a::b a::c`, so that no way of writing a name hides it.
fn code(text: &str) -> String {
    // Only what has its tests in it ends there: `mod tests;` may stand in the middle.
    let tests = text.match_indices("#[cfg(test)]\nmod ").find(|(at, _)| {
        let name = text[*at..].lines().nth(1).unwrap_or_default();
        name.contains('{')
    });
    let text = &text[..tests.map_or(text.len(), |(at, _)| at)];
    let bare: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join(" ");
    let mut out = bare.clone();
    for statement in bare.split("use ").skip(1) {
        let tree = statement.split(';').next().unwrap_or_default();
        let tree: String = tree.chars().filter(|c| !c.is_whitespace()).collect();
        out.push(' ');
        out.push_str(&expand("", &tree).join(" "));
    }
    out
}

/// `a::{b, c::{d}}` → `a::b`, `a::c::d`.
fn expand(prefix: &str, tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else {
        return vec![format!("{prefix}{tree}")];
    };
    let mut depth = 0_usize;
    let mut parts = vec![String::new()];
    for c in rest.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(String::new()),
            c => {
                depth = match c {
                    '{' => depth + 1,
                    '}' => depth - 1,
                    _ => depth,
                };
                parts.last_mut().unwrap().push(c);
            }
        }
    }
    let prefix = format!("{prefix}{head}");
    parts
        .iter()
        .filter(|part| !part.is_empty())
        .flat_map(|part| expand(&prefix, part))
        .collect()
}

/// The forbidden names that a file has: as words, so that `git2` is not found in `digit2`.
fn offences(text: &str) -> Vec<&'static str> {
    let code = code(text);
    let word = |c: char| c.is_alphanumeric() || c == '_';
    FORBIDDEN
        .into_iter()
        .filter(|name| {
            code.match_indices(name).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                let after = code[at + name.len()..].chars().next();
                !before.is_some_and(word) && (name.ends_with(':') || !after.is_some_and(word))
            })
        })
        .collect()
}

fn visit(path: &Path, found: &mut Vec<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            visit(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs")
        && path.file_name().is_some_and(|name| name != "tests.rs")
    {
        let text = fs::read_to_string(path).unwrap();
        for name in offences(&text) {
            found.push(format!("{}: {name}", path.display()));
        }
    }
}

#[test]
fn pure_rooms_name_nothing_that_acts() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for room in PURE {
        let path = source.join(room);
        if path.exists() {
            visit(&path, &mut found);
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_search_finds_every_way_of_writing_a_name() {
    for (text, name) in [
        ("fn f(c: kube::Client) {}", "kube::Client"),
        ("use kube::{Api, ResourceExt};", "kube::Api"),
        (
            "use std::{\n    collections::BTreeMap,\n    time::{Duration, SystemTime},\n};",
            "std::time::SystemTime",
        ),
        ("use std::{fmt, fs};", "std::fs"),
        ("let now = jiff::Timestamp::now();", "Timestamp::now"),
        ("use tokio::sync::Mutex;", "tokio"),
        ("let x = rand::random::<u8>();", "rand::"),
        ("pub use std::env;", "std::env"),
        ("use crate::{names::Uid, cluster::Leader};", "crate::cluster"),
        ("#[cfg(test)]\nmod fixtures;\nuse tokio::sync::Mutex;", "tokio"),
    ] {
        assert_eq!(offences(text), [name], "{text}");
    }
}

#[test]
fn the_search_leaves_comments_tests_and_other_words_alone() {
    for text in [
        "//! names no tokio and no std::fs",
        "let a = 1; // not git2",
        "let digit2 = operand::x;",
        "fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }",
        "use std::time::Duration;",
    ] {
        assert_eq!(offences(text), Vec::<&str>::new(), "{text}");
    }
}
