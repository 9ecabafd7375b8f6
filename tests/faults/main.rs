//! Faults of the API server, under the real client and the real loops: a server in this process ([`api`]), a world of
//! controllers and one node ([`world`]), and what goes wrong between them and Slipway ([`inject`]). The clock stands still but
//! for what is waited for, so ten minutes of an outage cost nothing.
//!
//! docs/invariants.md has the table of these faults, with what Slipway does about each and the test that shows it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]
#![allow(
    clippy::assigning_clones,
    clippy::format_collect,
    clippy::match_same_arms,
    clippy::needless_pass_by_value,
    clippy::semicolon_if_nothing_returned,
    clippy::similar_names,
    clippy::single_match_else,
    clippy::struct_excessive_bools,
    clippy::type_complexity,
    clippy::unchecked_time_subtraction,
    clippy::unnecessary_wraps,
    reason = "a server and a world that tests play with: read beside them, and by nobody else"
)]

// As the program itself has it: many short JSON trees.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

mod api;
mod etcd;
mod inject;
mod lasting;
mod lease;
mod neighbours;
mod reads;
mod server;
mod skew;
mod story;
mod sweep;
mod world;
mod writes;

use std::{collections::BTreeSet, fs, path::Path};

/// The rows of `faults.md` that are the API server's and can be shown here.
const ROWS: [&str; 25] = [
    "F13", "F14", "F15", "F16", "F17", "F18", "F19", "F20", "F21", "F22", "F23", "F24", "F25", "F26", "F27",
    "F28", "F29", "F30", "F31", "F32", "F33", "F34", "F85", "F86", "F87",
];

/// Prints what a test has shown of a row.
fn row(fault: &str, outcome: &str) {
    assert!(ROWS.contains(&fault), "{fault}");
    println!("| {fault} | {outcome} |");
}

/// The table of docs/invariants.md: fault, what is done, what happens, tests.
fn table() -> Vec<Vec<String>> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/invariants.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| F"));
    rows.map(|line| {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    })
    .filter(|cells: &Vec<String>| cells[0] != "Fault")
    .collect()
}

#[test]
fn the_table_has_every_row_and_names_tests_that_there_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    let sources: String = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut seen = BTreeSet::new();
    let mut named = BTreeSet::new();
    for cells in table() {
        let [fault, done, happens, tests] = cells.as_slice() else {
            panic!("{cells:?} has other columns");
        };
        assert!(!done.is_empty() && !happens.is_empty(), "{fault}");
        seen.insert(fault.clone());
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{fault} is shown by nothing");
        for name in names {
            let is_test = sources.contains(&format!("#[test]\nfn {name}()"));
            assert!(is_test, "{fault}: no test is called {name}");
            named.insert(name.to_owned());
        }
        println!("| {fault} | {happens} | {tests} |");
    }
    let all: BTreeSet<String> = ROWS.iter().map(ToString::to_string).collect();
    assert_eq!(seen, all);
    // And the other way round: a test that prints a row is in the table.
    for (at, _) in sources.match_indices("#[test]\nfn ") {
        let rest = &sources[at + "#[test]\nfn ".len()..];
        let (name, body) = rest.split_once('(').unwrap();
        let body = body.split("\n}\n").next().unwrap();
        if body.contains("row(\"F") || body.contains("sweep(\"") {
            assert!(named.contains(name), "{name} stands in no row");
        }
    }
}
