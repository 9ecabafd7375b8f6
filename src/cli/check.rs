//! `slipway check`: what the source loop would say of specs, before they are committed. On a terminal with an excerpt, which is
//! for the author alone; in logs, as JSON and as SARIF with the position and no line of a file.

use std::{collections::BTreeSet, io::IsTerminal as _, path::PathBuf};

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use anyhow::bail;
use serde_json::{Value, json};

use super::{
    closed,
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
    /// For people: on a terminal each with the line that it is about.
    Text,
    /// One object: `problems`, `releases`, `held`.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

/// Reads, judges and prints.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let layers = layers::read(&args.paths)?;
    let reading = judged(&layers);
    let text = match args.format {
        Format::Text => text(&layers, &reading, reader()),
        Format::Json => pretty(&machine(&layers, &reading))?,
        Format::Sarif => pretty(&sarif(&layers, &reading))?,
    };
    // A reader that has seen enough, such as `head`, does not make the specs right.
    match print(&text) {
        Err(error) if !closed(&error) || reading.problems.is_empty() => return Err(error),
        _ => {}
    }
    match reading.problems.len() {
        0 => Ok(()),
        many => bail!("{} in the specs", count(many, "problem")),
    }
}

/// What the source loop would make of the layers, as far as that can be known without a cluster.
fn judged(layers: &Layers) -> Reading {
    let mut reading = reading::read(&layers.files, &Named::new(), &|_| None);
    let system = reading
        .releases
        .iter()
        .filter(|(id, _)| reading::is_system(&id.namespace));
    let doubts: Vec<Problem> = system
        .map(|(id, release)| {
            let message = format!(
                "release {id}: only a source that lists {} in `namespaces` may write there",
                id.namespace
            );
            release.merged.problem("", &message)
        })
        .collect();
    reading.warnings.extend(doubts);
    reading
}

/// Who reads what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// The author, on a terminal that shows colors or not.
    Author { color: bool },
    /// Whoever may read a log.
    Others,
}

fn reader() -> Audience {
    let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if std::io::stdout().is_terminal() {
        Audience::Author { color }
    } else {
        Audience::Others
    }
}

/// How much a thing that is said weighs, in the words of SARIF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Error,
    /// Nothing is refused for it, and it does not show in the exit code.
    Warning,
}

impl Weight {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// All that is said: what is wrong, and then what may be.
fn told<'a>(layers: &'a Layers, reading: &'a Reading) -> impl Iterator<Item = (Weight, &'a Problem)> {
    let errors = reading.problems.iter().map(|problem| (Weight::Error, problem));
    let files = layers.files.iter().flatten();
    let warnings = files.flat_map(|file| &file.warnings).chain(&reading.warnings);
    errors.chain(warnings.map(|problem| (Weight::Warning, problem)))
}

fn text(layers: &Layers, reading: &Reading, audience: Audience) -> String {
    let mut out = match audience {
        Audience::Author { color: true } => excerpts(layers, reading, &Renderer::styled()),
        Audience::Author { color: false } => excerpts(layers, reading, &Renderer::plain()),
        Audience::Others => told(layers, reading)
            .map(|(weight, problem)| match weight {
                Weight::Error => format!("{problem}\n"),
                Weight::Warning => format!(
                    "{}:{}:{}: warning: {}\n",
                    problem.path, problem.line, problem.column, problem.message
                ),
            })
            .collect(),
    };
    if reading.problems.is_empty() {
        let files: usize = layers.files.iter().map(Vec::len).sum();
        let deployed = reading
            .releases
            .values()
            .filter(|release| release.declared.is_some());
        let warnings = match told(layers, reading).count() {
            0 => String::new(),
            many => format!(", {}", count(many, "warning")),
        };
        let releases = count(reading.releases.len(), "release");
        let (files, deployed) = (count(files, "file"), deployed.count());
        out.extend([
            format!("{releases} in {files}, {deployed} with a version: "),
            format!("no problems{warnings}\n"),
        ]);
    }
    out
}

fn excerpts(layers: &Layers, reading: &Reading, renderer: &Renderer) -> String {
    // Whatever else is wrong with a line on which a secret was found, the line stays hidden.
    let secret: BTreeSet<(&str, usize)> = told(layers, reading)
        .filter(|(_, problem)| problem.secret)
        .map(|(_, problem)| (problem.path.as_str(), problem.line))
        .collect();
    let mut out = String::new();
    for (weight, problem) in told(layers, reading) {
        let source = layers
            .texts
            .get(&problem.path)
            .map(|text| (text, text.lines().nth(problem.line - 1).unwrap_or_default()));
        let shown = source.filter(|(text, _)| {
            !secret.contains(&(problem.path.as_str(), problem.line)) && !mask::hides(text, problem.line)
        });
        let level = match weight {
            Weight::Error => Level::ERROR,
            Weight::Warning => Level::WARNING,
        };
        let title = level.primary_title(problem.message.as_str());
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

fn machine(layers: &Layers, reading: &Reading) -> Value {
    let problems: Vec<Value> = told(layers, reading)
        .map(|(weight, problem)| {
            json!({
                "path": problem.path,
                "line": problem.line,
                "column": problem.column,
                "level": weight.word(),
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
fn sarif(layers: &Layers, reading: &Reading) -> Value {
    let rule = |weight, problem: &Problem| match (weight, problem.secret) {
        (Weight::Warning, true) => "suspect",
        (Weight::Warning, false) => "doubt",
        (Weight::Error, true) => "secret",
        (Weight::Error, false) => "spec",
    };
    let results: Vec<Value> = told(layers, reading)
        .map(|(weight, problem)| {
            json!({
                "ruleId": rule(weight, problem),
                "level": weight.word(),
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
                    { "id": "suspect", "shortDescription": { "text": "A value that may be a secret." } },
                    { "id": "doubt", "shortDescription": { "text": "A spec that may not do what is meant." } },
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
mod tests;
