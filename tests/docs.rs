//! The pages for people: their links lead somewhere, their specs can be read, and their commands exist.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Parser as _, error::ErrorKind};
use serde_json::Value;
use slipway::{
    api::ReleaseSource,
    cli::Cli,
    spec::{
        file::File,
        reading::{self, Named, Reading},
    },
};

const HEAD: &str =
    "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: shop, namespace: shop}\nspec:\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page: where it lies and what it says.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths = vec![
        root().join("README.md"),
        root().join("CHANGELOG.md"),
        root().join("examples/shop/README.md"),
        root().join("examples/storefront/README.md"),
    ];
    let docs = fs::read_dir(root().join("docs")).unwrap();
    paths.extend(docs.map(|entry| entry.unwrap().path()));
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    text.split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.split_once('\n').filter(|(info, _)| *info == language))
        .map(|(_, body)| format!("{body}\n"))
        .collect()
}

/// The text outside of fenced blocks.
fn prose(text: &str) -> String {
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// What stands between single backticks.
fn spans(text: &str) -> Vec<String> {
    prose(text)
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// The anchor of a heading, as forges make it.
fn anchor(heading: &str) -> String {
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in pages() {
        let text = prose(&text);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap().join(file)
            };
            let there = file.exists()
                && (heading.is_empty() || anchors(&fs::read_to_string(&file).unwrap()).contains(heading));
            if !there {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

fn read(files: &[(&str, &str)]) -> Reading {
    let layers: Vec<Vec<Arc<File>>> = files
        .iter()
        .map(|(path, text)| vec![Arc::new(File::read(path, text.as_bytes()))])
        .collect();
    reading::read(&layers, &Named::new(), &|_| None)
}

/// What is wrong with a document of the kind `Release`, read by itself.
fn wrong_in_release(text: &str) -> Vec<String> {
    let file = File::read("block", text.as_bytes());
    file.problems.iter().map(ToString::to_string).collect()
}

/// Whether a text is a `ReleaseSource` and nothing is in it that the type does not hold.
fn is_source(text: &str) -> bool {
    let Ok(written) = serde_yaml::from_str::<Value>(text) else {
        return false;
    };
    let Ok(source) = serde_json::from_value::<ReleaseSource>(written.clone()) else {
        return false;
    };
    let mut read = serde_json::to_value(source).unwrap();
    read.as_object_mut().unwrap().remove("status");
    read == written
}

/// The fields of a spec alone, as they stand in a page.
fn fields(text: &str) -> String {
    let indented: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    format!("{HEAD}{}\n", indented.join("\n"))
}

fn source_of(fields: &str) -> String {
    format!(
        "{{apiVersion: slipway.dev/v1alpha1, kind: ReleaseSource, metadata: {{name: a}}, spec: {{git: {{url: u}}, paths: [a], {fields}}}}}"
    )
}

#[test]
fn every_spec_in_the_pages_can_be_read() {
    let mut seen = 0;
    for (path, text) in pages() {
        for block in blocks(&text, "yaml") {
            seen += 1;
            let wrong = if block.contains("kind: ReleaseSource") {
                (!is_source(&block))
                    .then(|| "is no ReleaseSource".to_owned())
                    .into_iter()
                    .collect()
            } else if block.contains("kind: Release") {
                wrong_in_release(&block)
            } else {
                wrong_in_release(&fields(&block))
            };
            assert_eq!(wrong, Vec::<String>::new(), "{}:\n{block}", path.display());
        }
    }
    assert!(seen >= 8, "{seen}");
    assert!(is_source(&page("examples/source.yaml")));
}

#[test]
fn every_field_with_its_value_in_a_sentence_is_one() {
    let mut seen = 0;
    // The application of the examples has words of its own.
    for (path, text) in pages()
        .into_iter()
        .filter(|(path, _)| !path.starts_with(root().join("examples")))
    {
        for span in spans(&text) {
            let Some((name, _)) = span.split_once(": ").filter(|_| !span.contains('…')) else {
                continue;
            };
            let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphabetic() || c == '.');
            if !is_name(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
                continue;
            }
            seen += 1;
            // `git.allowRewrite: true` is `git: {allowRewrite: true}`.
            let nested = match span.split_once('.') {
                Some((outer, inner)) if name.contains('.') => format!("{outer}: {{{inner}}}"),
                _ => span.clone(),
            };
            let git = nested
                .strip_prefix("git: {")
                .map(|rest| format!("git: {{url: u, {rest}"));
            let known = wrong_in_release(&fields(&nested)).is_empty()
                || is_source(&source_of(&nested))
                || git.is_some_and(|git| is_source(&source_of("").replace("git: {url: u}", &git)));
            assert!(known, "{}: `{span}`", path.display());
        }
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn the_spec_of_the_readme_is_whole_and_becomes_what_it_says() {
    let readme = page("README.md");
    let spec = &blocks(&readme, "yaml")[0];
    let reading = read(&[("billing.yaml", spec)]);
    assert!(reading.problems.is_empty(), "{:?}", reading.problems);
    let release = reading.releases.values().next().unwrap();
    let declared = release.declared.as_ref().unwrap();
    let id = reading.releases.keys().next().unwrap();
    let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let objects = slipway::render::render(&slipway::render::Input {
        id,
        declared,
        digest: &digest,
        architectures: &[],
        revision: slipway::names::RevisionNumber(1),
        provenance: None,
        owner: None,
    });
    let kinds: BTreeSet<&str> = objects
        .iter()
        .map(|object| object.value["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        Vec::from_iter(kinds),
        ["Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"]
    );
    for kind in [
        "Deployment of two hardened pods",
        "Service",
        "ServiceAccount",
        "PodDisruptionBudget",
    ] {
        assert!(readme.contains(kind), "{kind}");
    }
    let deployment = objects
        .iter()
        .find(|object| object.value["kind"] == "Deployment")
        .map(|object| &object.value)
        .unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2);
}

#[test]
fn the_layers_of_the_page_on_releases_make_one_release() {
    let blocks = blocks(&page("docs/releases.md"), "yaml");
    let reading = read(&[("base", &blocks[0]), ("production", &blocks[1])]);
    assert!(reading.problems.is_empty(), "{:?}", reading.problems);
    let release = reading.releases.values().next().unwrap();
    assert_eq!(release.declared.as_ref().unwrap().version.to_string(), "1.0.0");
}

/// Whether the command line takes it. In a sentence what must be given may be left out.
fn understood(line: &str, whole: bool) -> Result<(), String> {
    let words = line.split_whitespace();
    match Cli::try_parse_from(words) {
        Ok(_) => Ok(()),
        Err(error) if !whole && error.kind() == ErrorKind::MissingRequiredArgument => Ok(()),
        Err(error) => Err(format!("{line}: {error}")),
    }
}

#[test]
fn every_command_in_the_pages_is_understood() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for (_, text) in pages() {
        let shells = [blocks(&text, "sh"), blocks(&text, "console")].concat();
        let lines: Vec<String> = shells
            .iter()
            .flat_map(|block| block.lines())
            .map(|line| line.trim_start_matches("$ "))
            .map(|line| line.split("  #").next().unwrap_or_default().trim().to_owned())
            .filter(|line| line.starts_with("slipway "))
            .collect();
        let named = spans(&text)
            .into_iter()
            .filter(|span| span.starts_with("slipway "));
        for (line, whole) in lines
            .into_iter()
            .map(|line| (line, true))
            .chain(named.map(|line| (line, false)))
        {
            seen += 1;
            wrong.extend(understood(&line, whole).err());
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(seen >= 15, "{seen}");
}

#[test]
fn every_target_of_make_in_the_pages_exists() {
    let makefile = page("Makefile");
    for (path, text) in pages() {
        let shells = blocks(&text, "sh").join("\n");
        let lines = shells
            .lines()
            .map(|line| line.split("  #").next().unwrap_or_default());
        for command in lines.chain(spans(&text).iter().map(String::as_str)) {
            let Some(target) = command.trim().strip_prefix("make ") else {
                continue;
            };
            let rule = format!("\n{}:", target.trim());
            assert!(makefile.contains(&rule), "{}: make {target}", path.display());
        }
    }
}

/// All files of Rust below a directory.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                let rust = path.extension().is_some_and(|extension| extension == "rs");
                rust.then_some(path).into_iter().collect()
            }
        })
        .collect()
}

/// The names of all tests that a target of the Makefile runs, on a bed too.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in [sources(&root().join("src")), sources(&root().join("tests"))].concat() {
        let text = fs::read_to_string(path).unwrap();
        let marked = text.split("#[test]").skip(1);
        for after in marked.chain(text.split("#[tokio::test").skip(1)) {
            let head = after.split('{').next().unwrap_or_default();
            // What takes long has a target of its own.
            if head.contains("#[ignore") && !head.contains("`make ") {
                continue;
            }
            let name = head
                .split_once("fn ")
                .and_then(|(_, rest)| rest.split('(').next());
            names.extend(name.map(str::to_owned));
        }
    }
    names
}

/// The rows of the table under a heading, without its head; the cells of each.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let below = text.split_once(&format!("\n{heading}\n")).unwrap().1;
    let lines = below
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    lines
        .skip(2)
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

#[test]
fn every_way_in_which_migrations_fail_elsewhere_has_a_test_or_a_reason() {
    let tests = tests();
    assert!(
        tests.contains("every_link_leads_somewhere") && tests.len() > 300,
        "{}",
        tests.len()
    );
    let rows = table(&page("docs/migrations.md"), "## What goes wrong elsewhere");
    assert_eq!(rows.len(), 33);
    for (index, row) in rows.iter().enumerate() {
        let [number, what, shown] = &row[..] else {
            panic!("{row:?}")
        };
        assert_eq!(*number, (index + 1).to_string());
        assert!(!what.is_empty() && !what.contains('`'), "row {number}: {what}");
        // A reason may name a test beside itself; names alone are names alone.
        let words = names(&tests, number, shown);
        let reason = shown.starts_with("Does not apply: ") && words.len() > 40;
        assert!(reason || is_list(shown), "row {number}: {shown}");
    }
}

/// Holds each name of a cell to be a test's; the words beside them.
fn names(tests: &BTreeSet<String>, row: &str, shown: &str) -> String {
    for name in shown.split('`').skip(1).step_by(2) {
        assert!(tests.contains(name), "row {row}: there is no test {name}");
    }
    shown.split('`').step_by(2).collect()
}

/// Whether a cell has names, and nothing beside them.
fn is_list(shown: &str) -> bool {
    let words: String = shown.split('`').step_by(2).collect();
    shown.contains('`') && words.chars().all(|c| c == ',' || c == ' ')
}

#[test]
fn every_way_in_which_git_and_registries_fail_has_a_test_or_a_reason() {
    let (tests, page) = (tests(), page("docs/faults.md"));
    for (heading, count) in [
        ("## Git servers and repositories", 18),
        ("## Registries and images", 9),
    ] {
        let rows = table(&page, heading);
        assert_eq!(rows.len(), count);
        for (index, row) in rows.iter().enumerate() {
            let [number, what, happens, shown] = &row[..] else {
                panic!("{row:?}")
            };
            assert_eq!(*number, (index + 1).to_string());
            assert!(!what.is_empty() && !what.contains('`'), "row {number}: {what}");
            names(&tests, number, shown);
            let reason = happens.starts_with("Does not apply: ") && happens.len() > 40 && shown.is_empty();
            assert!(reason || is_list(shown), "{heading}, row {number}: {shown}");
        }
    }
}

#[test]
fn every_kind_of_bad_input_has_a_test_or_a_row_of_one() {
    let tests = tests();
    let text = page("src/spec/tests.rs");
    let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("//!")).collect();
    let doc: String = lines.iter().flat_map(|line| [line.trim(), "\n"]).collect();
    let rows = table(&doc, "# What there is, and what shows it");
    assert_eq!(rows.len(), 50);
    for (index, row) in rows.iter().enumerate() {
        let [number, what, shown] = &row[..] else {
            panic!("{row:?}")
        };
        assert_eq!(*number, (index + 1).to_string());
        assert!(!what.is_empty(), "row {number}");
        for name in shown.split('`').skip(1).step_by(2) {
            let is_row = text.contains(&format!("\n    (\"{name}\", "));
            assert!(
                is_row || tests.contains(name),
                "row {number}: neither a test nor a row is called {name}"
            );
        }
        let reason = shown.starts_with("Does not apply: ") && shown.len() > 40;
        assert!(reason || is_list(shown), "row {number}: {shown}");
    }
}

/// The sources that a path of modules may mean: `plan::rollout`, `cluster::builds` of tests on a bed, or the tests of a file beside it.
fn files_of(module: &str) -> Vec<String> {
    let path = module.replace("::", "/");
    let all = ["src", "tests"].into_iter().flat_map(|room| {
        let ends = [".rs", "/mod.rs", "/main.rs"];
        ends.map(|end| format!("{room}/{path}{end}"))
    });
    all.filter(|file| root().join(file).is_file()).collect()
}

#[test]
fn every_practice_stands_once_and_is_shown_by_tests_that_there_are_or_says_why_not() {
    let text = page("docs/practices.md");
    let mut seen = Vec::new();
    let mut missing = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('|')).filter(|line| {
        // The heads of the tables.
        !line.starts_with("| |") && !line.starts_with("|--")
    }) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, practice, how, shown] = &cells[..] else {
            panic!("{line}")
        };
        assert!(!practice.is_empty() && !how.is_empty(), "{id}");
        seen.push((*id).to_owned());
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        for name in names.iter().filter(|name| name.contains("::")) {
            let (module, function) = name.rsplit_once("::").unwrap();
            let is_test = files_of(module)
                .iter()
                .any(|file| page(file).contains(&format!("fn {function}(")));
            if !is_test {
                missing.push(format!("{id}: {name}"));
            }
        }
        let not_yet = ["Planned: ", "Out of scope: "]
            .iter()
            .any(|start| shown.starts_with(start));
        let reason = shown.split('`').step_by(2).collect::<String>().len() > 40;
        assert!((not_yet && reason) || is_list(shown), "{id}: {shown}");
    }
    assert_eq!(missing, Vec::<String>::new());
    let expected = [("A", 11), ("B", 28), ("C", 18), ("D", 21)].into_iter();
    let expected: Vec<String> = expected
        .flat_map(|(letter, count)| (1..=count).map(move |number| format!("{letter}{number:02}")))
        .collect();
    assert_eq!(seen, expected);
}
