//! Lock files: without one the same commit builds something else tomorrow.

use super::{needs, pinned};
use crate::{
    api::release::Agree,
    build::tree::{
        Source,
        dockerfile::{Dockerfile, Kind},
        finding::{Findings, Weight, listed, shown},
    },
};

/// A file that says what a program needs.
struct Project {
    file: &'static str,
    /// Any of them will do; the first is what is usual.
    locks: &'static [&'static str],
    /// How the first is made.
    made: &'static str,
    /// Whether a text of it needs anything.
    needs: fn(&str) -> bool,
}

const PROJECTS: [Project; 6] = [
    Project {
        file: "mix.exs",
        locks: &["mix.lock"],
        made: "mix deps.get",
        needs: needs::mix,
    },
    Project {
        file: "package.json",
        locks: &[
            "package-lock.json",
            "npm-shrinkwrap.json",
            "yarn.lock",
            "pnpm-lock.yaml",
            "bun.lock",
            "bun.lockb",
            "deno.lock",
        ],
        made: "npm install --package-lock-only",
        needs: needs::node,
    },
    Project {
        file: "Cargo.toml",
        locks: &["Cargo.lock"],
        made: "cargo generate-lockfile",
        needs: |_| true,
    },
    Project {
        file: "Gemfile",
        locks: &["Gemfile.lock"],
        made: "bundle lock",
        needs: needs::ruby,
    },
    Project {
        file: "go.mod",
        locks: &["go.sum"],
        made: "go mod tidy",
        needs: needs::go,
    },
    Project {
        file: "composer.json",
        locks: &["composer.lock"],
        made: "composer update --no-install",
        needs: needs::php,
    },
];
const NODE: &str = "package.json";

/// What installs the packages of Node: its name, its lock file, and how that is made.
const OF_NODE: [(&str, &str, &str); 4] = [
    ("npm", "package-lock.json", "npm install --package-lock-only"),
    ("pnpm", "pnpm-lock.yaml", "pnpm install --lockfile-only"),
    ("yarn", "yarn.lock", "yarn install"),
    ("bun", "bun.lock", "bun install"),
];
/// Beside a `requirements.txt` that says each version.
const OF_PYTHON: [&str; 5] = [
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "Pipfile.lock",
    "pylock.toml",
];
const PROJECTS_OF_PYTHON: [Project; 2] = [
    Project {
        file: "pyproject.toml",
        locks: &OF_PYTHON,
        made: "uv lock",
        needs: needs::python,
    },
    Project {
        file: "Pipfile",
        locks: &[
            "Pipfile.lock",
            "uv.lock",
            "poetry.lock",
            "pdm.lock",
            "pylock.toml",
        ],
        made: "pipenv lock",
        needs: needs::pipfile,
    },
];
const REQUIREMENTS: &str = "requirements.txt";

/// The lock files that there are; what is missing is among the findings. A directory below the build context may be left out of
/// what is built after all, so what it lacks refuses nothing.
pub(in crate::build::tree) fn run(
    input: &Source<'_>,
    file: &Dockerfile,
    findings: &mut Findings,
) -> Vec<String> {
    let runs = file
        .instructions
        .iter()
        .any(|one| matches!(one.kind, Kind::Run(_)));
    let weight = |usual: Weight| match input.unlocked {
        // Where nothing runs, nothing is installed: a page that somebody else has built.
        _ if !runs => Weight::Told,
        Agree::Ignore => Weight::Told,
        Agree::Warn => Weight::Warned,
        Agree::Enforce => usual,
    };
    let mut locks = Locks {
        input,
        above: &[],
        weight: weight(Weight::Refused),
        findings,
    };
    let mut found: Vec<String> = locks.all().into_iter().map(str::to_owned).collect();
    for project in input.below {
        let context = input.place(&project.directory);
        let here = Source {
            context: &context,
            names: &project.names,
            texts: &project.texts,
            ..*input
        };
        let mut locks = Locks {
            input: &here,
            above: input.names,
            weight: weight(Weight::Warned),
            findings,
        };
        let of_project = locks.all().into_iter();
        found.extend(of_project.map(|lock| format!("{}/{lock}", project.directory)));
    }
    found
}

struct Locks<'a, 'f> {
    input: &'a Source<'a>,
    /// What is in the root of the build context, where this is not that: the lock file of a workspace or an umbrella is there.
    above: &'a [String],
    /// How much a missing one weighs.
    weight: Weight,
    findings: &'f mut Findings,
}

impl Locks<'_, '_> {
    fn all(&mut self) -> Vec<&'static str> {
        let mut found: Vec<&str> = PROJECTS.iter().flat_map(|project| self.of(project)).collect();
        found.extend(self.of_python());
        found
    }

    fn is_above(&self, locks: &[&'static str]) -> bool {
        let is = |lock: &&str| self.above.iter().any(|name| name == lock);
        locks.iter().any(is)
    }

    fn there(&self, locks: &[&'static str]) -> Vec<&'static str> {
        locks
            .iter()
            .copied()
            .filter(|lock| self.input.has(lock))
            .collect()
    }

    fn of(&mut self, project: &Project) -> Vec<&'static str> {
        let there = self.there(project.locks);
        if there.is_empty() && self.input.has(project.file) && !self.is_above(project.locks) {
            let needs = self.input.text(project.file).is_none_or(project.needs);
            if needs {
                let usual = project.locks.first().copied().unwrap_or_default();
                let (lock, made) = if project.file == NODE {
                    self.of_node()
                } else {
                    (usual, project.made)
                };
                self.say(project.file, None, missing(lock, project.locks, "", made));
            }
        }
        if project.file == NODE {
            self.of_another(&there);
        }
        there
    }

    /// The lock file of what installs here, and how it is made.
    fn of_node(&self) -> (&'static str, &'static str) {
        let text = self.input.text(NODE).unwrap_or_default();
        // Corepack's field decides where there is one, and else what the Dockerfile runs first in this order.
        let declared = |name: &str| text.contains(&format!("\"{name}@"));
        let declared = OF_NODE.iter().find(|(name, ..)| declared(name));
        let found = declared.or_else(|| OF_NODE.iter().find(|(name, ..)| self.names(name)));
        let [usual, ..] = &OF_NODE;
        let (_, lock, made) = found.unwrap_or(usual);
        (lock, made)
    }

    /// Whether the Dockerfile has this word.
    fn names(&self, program: &str) -> bool {
        let is_part = |c: char| !(c.is_ascii_alphanumeric() || "-_./".contains(c));
        self.input.dockerfile.split(is_part).any(|word| word == program)
    }

    /// `npm ci` ends without a lock file of its own, whatever others there are.
    fn of_another(&mut self, there: &[&'static str]) {
        let own = ["package-lock.json", "npm-shrinkwrap.json"];
        let [other, ..] = there else { return };
        let named = OF_NODE
            .iter()
            .any(|(name, lock, _)| lock == other && self.names(name));
        if named || own.iter().any(|own| there.contains(own)) || !self.input.dockerfile.contains("npm ci") {
            return;
        }
        let words = format!(
            "there is no package-lock.json, which npm ci of the Dockerfile wants, and only {other}: run npm install \
             --package-lock-only and commit it, or install by what {other} is of"
        );
        let place = self.input.place(NODE);
        self.findings.warn("other-lock", (&place, None), words);
    }

    fn of_python(&mut self) -> Vec<&'static str> {
        let input = self.input;
        let mut there = self.there(&OF_PYTHON);
        let text = input.text(REQUIREMENTS);
        let loose = text.and_then(pinned::first_loose);
        let complete = text.is_some_and(|text| loose.is_none() && pinned::names_any(text));
        if complete {
            there.push(REQUIREMENTS);
        }
        if !there.is_empty() || self.is_above(&OF_PYTHON) {
            return there;
        }
        if let Some((line, name)) = loose {
            let words = format!(
                "{} has no exact version here, and no lock file says one: pin each line, name==1.2.3, as pip-compile does, or commit {}",
                shown(&name),
                any_of(&OF_PYTHON)
            );
            self.say(REQUIREMENTS, Some(line), words);
            return there;
        }
        let unlocked = |project: &&Project| {
            input.has(project.file) && input.text(project.file).is_none_or(project.needs)
        };
        if let Some(project) = PROJECTS_OF_PYTHON.iter().find(unlocked) {
            let usual = project.locks.first().copied().unwrap_or_default();
            let words = missing(
                usual,
                project.locks,
                " nor a requirements.txt with exact versions",
                project.made,
            );
            self.say(project.file, None, words);
        }
        there
    }

    fn say(&mut self, file: &str, line: Option<u32>, words: String) {
        let place = self.input.place(file);
        self.findings.add(self.weight, "no-lock", (&place, line), words);
    }
}

/// What is not there, and what to do: `there is no mix.lock for its dependencies: run mix deps.get and commit it`.
fn missing(lock: &str, locks: &[&str], more: &str, made: &str) -> String {
    let others: Vec<&str> = locks.iter().copied().filter(|other| *other != lock).collect();
    let others = if others.is_empty() {
        String::new()
    } else {
        format!(" (nor {}{more})", any_of(&others))
    };
    format!(
        "there is no {lock} for its dependencies{others}: run {made} and commit it, or say build.locks: warn"
    )
}

fn any_of(names: &[&str]) -> String {
    match names {
        [] | [_] => listed(names),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
