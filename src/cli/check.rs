//! `slipway check`: what the source loop would say of specs, before they are committed. For people with an excerpt, for
//! machines as JSON or SARIF, which have none.

use std::{collections::BTreeSet, io::IsTerminal as _, path::PathBuf};

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use anyhow::bail;
use serde_json::{Value, json};

use super::{
    layers::{self, Layers},
    reach::{pretty, print},
};
use crate::{
    spec::{
        document::Problem,
        mask,
        reading::{self, Named, Reading},
    },
    words::count,
};

/// Arguments of `slipway check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and directories, in the order of `paths` of the source: each is a layer, and later ones are merged over
    /// earlier ones.
    #[arg(required = true, value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    /// How the problems are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// How problems are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: each with the line that it is about.
    Text,
    /// One object: `problems`, `releases`, `held`.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

/// Reads, judges and prints.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let layers = layers::read(&args.paths)?;
    let reading = reading::read(&layers.files, &Named::new(), &|_| None);
    let color =
        std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let text = match args.format {
        Format::Text => text(&layers, &reading, color),
        Format::Json => pretty(&machine(&reading))?,
        Format::Sarif => pretty(&sarif(&reading))?,
    };
    print(&text)?;
    match reading.problems.len() {
        0 => Ok(()),
        many => bail!("{} in the specs", count(many, "problem")),
    }
}

fn text(layers: &Layers, reading: &Reading, color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    // Whatever else is wrong with a line on which a secret was found, the line stays hidden.
    let secret: BTreeSet<(&str, usize)> = reading
        .problems
        .iter()
        .filter(|problem| problem.secret)
        .map(|problem| (problem.path.as_str(), problem.line))
        .collect();
    let mut out = String::new();
    for problem in &reading.problems {
        let source = layers
            .texts
            .get(&problem.path)
            .map(|text| (text, text.lines().nth(problem.line - 1).unwrap_or_default()));
        let shown = source.filter(|(text, _)| {
            !secret.contains(&(problem.path.as_str(), problem.line)) && !mask::hides(text, problem.line)
        });
        let title = Level::ERROR.primary_title(problem.message.as_str());
        let group = match (shown, source) {
            (Some((_, line)), _) => title.element(
                Snippet::source(line)
                    .path(problem.path.as_str())
                    .line_start(problem.line)
                    .annotation(AnnotationKind::Primary.span(span(line, problem.column))),
            ),
            (None, None) => title.element(origin(problem)),
            (None, Some(_)) => title
                .element(origin(problem))
                .element(Level::NOTE.message("the line is not shown, since it may hold a secret")),
        };
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    if reading.problems.is_empty() {
        let files: usize = layers.files.iter().map(Vec::len).sum();
        let deployed = reading
            .releases
            .values()
            .filter(|release| release.declared.is_some());
        out = format!(
            "{} in {}, {} with a version: no problems\n",
            count(reading.releases.len(), "release"),
            count(files, "file"),
            deployed.count()
        );
    }
    out
}

fn origin(problem: &Problem) -> Origin<'_> {
    Origin::path(problem.path.as_str())
        .line(problem.line)
        .char_column(problem.column)
}

/// The bytes of the word at a column: a key or a value.
fn span(line: &str, column: usize) -> std::ops::Range<usize> {
    let at = |index: usize| line.char_indices().nth(index).map_or(line.len(), |(at, _)| at);
    let start = at(column - 1);
    let rest = line.get(start..).unwrap_or_default();
    let word = rest.find([' ', ':', ',', '}', ']']).filter(|length| *length > 0);
    start..start + word.unwrap_or_else(|| rest.chars().next().map_or(0, char::len_utf8))
}

fn machine(reading: &Reading) -> Value {
    let problems: Vec<Value> = reading
        .problems
        .iter()
        .map(|problem| {
            json!({
                "path": problem.path,
                "line": problem.line,
                "column": problem.column,
                "level": "error",
                "message": problem.message,
            })
        })
        .collect();
    let names = |ids: &mut dyn Iterator<Item = &crate::names::ReleaseId>| -> Vec<String> {
        ids.map(ToString::to_string).collect()
    };
    json!({
        "problems": problems,
        "releases": names(&mut reading.releases.keys()),
        "held": names(&mut reading.held.iter()),
    })
}

/// What GitHub, GitLab and editors read.
fn sarif(reading: &Reading) -> Value {
    let rule = |problem: &Problem| if problem.secret { "secret" } else { "spec" };
    let results: Vec<Value> = reading
        .problems
        .iter()
        .map(|problem| {
            json!({
                "ruleId": rule(problem),
                "level": "error",
                "message": { "text": problem.message },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": uri(&problem.path) },
                    "region": { "startLine": problem.line, "startColumn": problem.column },
                } }],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "slipway",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": [
                    { "id": "secret", "shortDescription": { "text": "A value that must not be in git." } },
                    { "id": "spec", "shortDescription": { "text": "A spec that Slipway would not apply." } },
                ],
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// A path as a relative reference (RFC 3986), or a `file:` URL where it is absolute.
fn uri(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"/-._~".contains(&c);
    let mut out = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            let hex =
                |half: u8| char::from_digit(u32::from(half), 16).map_or('0', |c| c.to_ascii_uppercase());
            out.extend(['%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const HEAD: &str =
        "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: a, namespace: shop}\n";

    fn read(files: &[(&str, &str)]) -> (Layers, Reading, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let layers = layers::read(&[folder.path().to_owned()]).unwrap();
        let reading = reading::read(&layers.files, &Named::new(), &|_| None);
        (layers, reading, folder)
    }

    fn printed(spec: &str) -> String {
        let (layers, reading, folder) = read(&[("a.yaml", &format!("{HEAD}spec:\n{spec}"))]);
        text(&layers, &reading, false).replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn a_problem_is_printed_with_its_line_as_a_compiler_would() {
        assert_eq!(
            printed("  replcias: 3\n"),
            "error: unknown field `replcias`: did you mean `replicas`?\n \
             --> a.yaml:5:3\n  \
             |\n\
             5 |   replcias: 3\n  \
             |   ^^^^^^^^\n\n"
        );
    }

    #[test]
    fn a_line_with_a_secret_is_never_printed_in_any_format() {
        for spec in [
            "  env: {DB_PASSWORD: hunter22}\n",
            "  env: {X: \"A\\u004bIAIOSFODNN7EXAMPLE\", Y: 5} # hunter22\n",
            "  replcias: 3 # postgres://u:hunter22@h\n",
            "  env:\n    DB_PASSWORD: \"hunter22\n    B: x\n",
            "  env:\n    DB_PASSWORD: |\n      hunter22\n\tx\n",
            "  args:\n    - --password\n    - hunter22\n",
        ] {
            let (layers, reading, _folder) = read(&[("a.yaml", &format!("{HEAD}spec:\n{spec}"))]);
            let all = [
                text(&layers, &reading, true),
                machine(&reading).to_string(),
                sarif(&reading).to_string(),
            ];
            for out in all {
                assert!(
                    !out.contains("hunter22") && !out.contains("OSFODNN7"),
                    "{spec}{out}"
                );
                assert!(out.contains("a.yaml"), "{spec}{out}");
            }
        }
        assert!(printed("  env: {DB_PASSWORD: hunter22}\n").contains("the line is not shown"));
    }

    #[test]
    fn no_character_of_a_file_steers_the_terminal() {
        let out = printed("  version: \u{1b}[31mred\n") + &printed("  image: \u{202e}x\n");
        assert!(out.contains("U+001B") && out.contains("U+202E"), "{out}");
        assert!(!out.contains(['\u{1b}', '\u{202e}']), "{out:?}");
    }

    #[test]
    fn the_json_has_every_problem_and_what_became_of_the_releases() {
        let good = HEAD.replace("name: a", "name: b") + "spec: {}\n";
        let (_, reading, _folder) = read(&[("a.yaml", &format!("{HEAD}spec: 7\n")), ("b.yaml", &good)]);
        let out = machine(&reading);
        assert_eq!(
            (&out["releases"], &out["held"]),
            (&json!(["shop/b"]), &json!(["shop/a"]))
        );
        assert_eq!(
            (
                &out["problems"][0]["line"],
                &out["problems"][0]["column"],
                &out["problems"][0]["level"]
            ),
            (&json!(4), &json!(1), &json!("error"))
        );
    }

    #[test]
    fn the_sarif_has_what_its_schema_requires() {
        let (_, mut reading, _folder) = read(&[(
            "a.yaml",
            &format!("{HEAD}spec:\n  env: {{DB_PASSWORD: hunter22}}\n"),
        )]);
        reading.problems[0].path = "./releases/a b/ä.yaml".into();
        let out = sarif(&reading);
        assert_eq!(out["version"], "2.1.0");
        let run = &out["runs"][0];
        assert_eq!(run["tool"]["driver"]["name"], "slipway");
        let result = &run["results"][0];
        assert!(result["message"]["text"].is_string() && result["level"] == "error");
        let ids: Vec<&Value> = run["tool"]["driver"]["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| &rule["id"])
            .collect();
        assert!(ids.contains(&&result["ruleId"]) && result["ruleId"] == "secret");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "releases/a%20b/%C3%A4.yaml");
        assert_eq!(place["region"], json!({ "startLine": 5, "startColumn": 9 }));
    }

    #[test]
    fn the_examples_are_without_problems() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/releases");
        let layers = layers::read(&[root.join("base"), root.join("production")]).unwrap();
        let reading = reading::read(&layers.files, &Named::new(), &|_| None);
        let out = text(&layers, &reading, false);
        assert!(out.ends_with("no problems\n"), "{out}");
    }

    #[test]
    fn what_is_not_there_or_holds_no_spec_is_a_usage_error() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("nothing"), folder.path().to_owned()] {
            let error = layers::read(&[path]).unwrap_err();
            assert!(error.is::<super::super::Usage>(), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_and_odd_names_are_problems_and_hidden_files_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a.yaml"), format!("{HEAD}spec: {{}}\n")).unwrap();
        fs::write(at("b.YAML"), "").unwrap();
        fs::write(at(".hidden.yaml"), "x: [").unwrap();
        fs::write(at("notes.md"), "x: [").unwrap();
        fs::create_dir(at(".git")).unwrap();
        std::os::unix::fs::symlink("a.yaml", at("c.yaml")).unwrap();
        let layers = layers::read(&[folder.path().to_owned()]).unwrap();
        let reading = reading::read(&layers.files, &Named::new(), &|_| None);
        let said: Vec<&str> = reading
            .problems
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].contains("lower case") && said[1].contains("symbolic link"),
            "{said:?}"
        );
    }
}
