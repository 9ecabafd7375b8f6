//! `.tool-versions`, which asdf and mise read: the versions that people develop with are those that are built with.

use super::{
    BaseImage, LARGEST, Source,
    base::versions,
    dockerfile::{Dockerfile, Kind},
    expand::Given,
    finding::{Findings, shown},
    stages::Stages,
};

const MOST: usize = 64;

/// A build argument that follows from the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraArg {
    /// The name of the `ARG`.
    pub arg: String,
    /// Its value.
    pub value: String,
    /// The line of `.tool-versions` that says it; `None` for what emulated programs need.
    pub line: Option<u32>,
}

/// Names of tools, what they are also called, and the arguments that have their version.
const TOOLS: [(&str, &str, &[&str]); 12] = [
    ("elixir", "elixir", &["ELIXIR_VERSION"]),
    ("erlang", "erlang", &["OTP_VERSION", "ERLANG_VERSION"]),
    ("nodejs", "node", &["NODE_VERSION"]),
    ("python", "python", &["PYTHON_VERSION"]),
    ("ruby", "ruby", &["RUBY_VERSION"]),
    ("golang", "go", &["GO_VERSION", "GOLANG_VERSION"]),
    ("rust", "rust", &["RUST_VERSION"]),
    ("java", "java", &["JAVA_VERSION"]),
    ("bun", "bun", &["BUN_VERSION"]),
    ("deno", "deno", &["DENO_VERSION"]),
    ("yarn", "yarn", &["YARN_VERSION"]),
    ("pnpm", "pnpm", &["PNPM_VERSION"]),
];

/// A tool with one version.
#[derive(Debug, PartialEq, Eq)]
struct Tool {
    name: &'static str,
    args: &'static [&'static str],
    /// `None` where it is a path, a reference or whatever a machine has.
    version: Option<String>,
    line: u32,
}

/// What `.tool-versions` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tools {
    place: String,
    list: Vec<Tool>,
}

impl Tools {
    /// Reads the file, where there is one.
    pub fn of(input: &Source<'_>, findings: &mut Findings) -> Self {
        let (place, mut text) = input.tools.unwrap_or_default();
        if text.len() > LARGEST {
            let words = "this file is too large to be read: it has one tool in each line";
            findings.warn("not-understood", (place, None), words.into());
            text = "";
        }
        let (place, list) = (place.to_owned(), read(text));
        Self { place, list }
    }

    /// The arguments that it gives: those that an `ARG` declares and the spec does not give itself.
    pub fn args(&self, input: &Source<'_>, file: &Dockerfile, findings: &mut Findings) -> Vec<ExtraArg> {
        let mut extra = Vec::new();
        for tool in &self.list {
            for arg in tool.args {
                if let Some(given) = input.args.get(*arg) {
                    self.given(tool, arg, given, findings);
                } else if let Some((line, default)) = declared(file, arg) {
                    if let Some(version) = &tool.version {
                        extra.push(ExtraArg {
                            arg: (*arg).to_owned(),
                            value: version.clone(),
                            line: Some(tool.line),
                        });
                        if default.is_some_and(|default| !agree(default, version)) {
                            let words = format!(
                                "the default of {arg} is not what is built with: {}:{} says {version}; write the same here, so that \
                                 nobody is surprised",
                                self.place, tool.line
                            );
                            findings.tell("version-default", (input.path, Some(line)), words);
                        }
                    } else {
                        let words = format!(
                            "this names no version of {}, so {arg} has its default: write a number here, or give {arg} in build.args",
                            tool.name
                        );
                        findings.tell("no-version", (&self.place, Some(tool.line)), words);
                    }
                }
            }
        }
        extra
    }

    /// An argument of the spec that says another version.
    fn given(&self, tool: &Tool, arg: &str, given: &str, findings: &mut Findings) {
        if let Some(version) = tool.version.as_ref().filter(|version| !agree(given, version)) {
            let words = format!(
                "this says {} {version}, and build.args gives {arg}={}: make them the same, or leave {arg} out of build.args, and it \
                 has this one",
                tool.name,
                shown(given)
            );
            findings.warn("other-version", (&self.place, Some(tool.line)), words);
        }
    }

    /// Base images and variables of the image that say another version.
    pub fn compare(
        &self,
        input: &Source<'_>,
        stages: &Stages<'_>,
        target: usize,
        bases: &[BaseImage],
        findings: &mut Findings,
    ) {
        for base in bases {
            for (name, version) in versions(&base.reference) {
                let tool = self.list.iter().find(|tool| tool.name == name);
                // That another one was asked for is said already.
                let tool = tool.filter(|tool| !tool.args.iter().any(|arg| input.args.contains_key(*arg)));
                let Some((tool, wanted)) = tool.and_then(|tool| Some((tool, tool.version.as_ref()?))) else {
                    continue;
                };
                if !agree(version, wanted) {
                    let words = format!(
                        "{} has {name} {version}, and {}:{} says {wanted}: use a tag of that version here, or change it there",
                        base.reference, self.place, tool.line
                    );
                    findings.warn("other-version", (input.path, Some(base.line)), words);
                }
            }
        }
        let env = stages.env(target);
        for tool in &self.list {
            for arg in tool.args {
                let Some((Given::Value(value), line)) = env.get(arg) else {
                    continue;
                };
                if let Some(wanted) = tool.version.as_ref().filter(|wanted| !agree(value, wanted)) {
                    let words = format!(
                        "this sets {arg} to {}, and {}:{} says {wanted}: write ARG {arg} instead, and it has that one",
                        shown(value),
                        self.place,
                        tool.line
                    );
                    findings.warn("other-version", (input.path, Some(*line)), words);
                }
            }
        }
    }
}

/// The first line that declares an argument, and the first default.
pub(super) fn declared<'a>(file: &'a Dockerfile, name: &str) -> Option<(u32, Option<&'a str>)> {
    let instructions = file.instructions.iter().filter(|one| !one.on_build);
    let pairs = instructions.filter_map(|one| match &one.kind {
        Kind::Arg(pairs) => Some(pairs),
        _ => None,
    });
    let mut named = pairs.flatten().filter(|pair| pair.name == name).peekable();
    let line = named.peek()?.line;
    let with = named.find(|pair| pair.value.as_ref().is_some_and(|value| !value.is_empty()));
    Some(with.map_or((line, None), |pair| (pair.line, pair.value.as_deref())))
}

/// The first line of each tool.
fn read(text: &str) -> Vec<Tool> {
    let mut list: Vec<Tool> = Vec::new();
    for (line, number) in text.lines().zip(1_u32..) {
        let line = line
            .trim_start_matches('\u{feff}')
            .split('#')
            .next()
            .unwrap_or_default();
        let mut words = line.split_whitespace();
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            continue;
        };
        let known = TOOLS
            .iter()
            .find(|(first, second, _)| [*first, *second].contains(&name));
        let Some((name, _, args)) = known else { continue };
        if list.iter().all(|tool| tool.name != *name) {
            list.push(Tool {
                name,
                args,
                version: plain(name, version),
                line: number,
            });
        }
    }
    list
}

/// The version as images have it in their tags.
fn plain(tool: &str, version: &str) -> Option<String> {
    let version = match tool {
        "elixir" => version.split("-otp-").next().unwrap_or(version),
        // temurin-21.0.3+9.0.LTS
        "java" => {
            let start = version.find(|c: char| c.is_ascii_digit())?;
            let number = version.get(start..)?;
            number.split('+').next().unwrap_or(number)
        }
        _ => version,
    };
    let version = version.strip_prefix('v').unwrap_or(version);
    let inside = |c: u8| c.is_ascii_alphanumeric() || b".-_+".contains(&c);
    let sound = version.len() <= MOST && version.bytes().all(inside);
    (sound && version.starts_with(|c: char| c.is_ascii_digit())).then(|| version.to_owned())
}

/// Whether two versions may be the same: `1.16` and `1.16.1` are. What has no number says nothing.
fn agree(one: &str, other: &str) -> bool {
    let numbers = |text: &str| -> Vec<String> {
        let text = text.trim_start_matches('v');
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let number = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
        let parts = number.split('.').filter(|part| !part.is_empty());
        parts
            .map(|part| part.trim_start_matches('0').to_owned())
            .collect()
    };
    let (one, other) = (numbers(one), numbers(other));
    one.iter().zip(&other).all(|(one, other)| one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(text: &str) -> Vec<(&'static str, Option<String>, u32)> {
        let tools = read(text).into_iter();
        tools.map(|tool| (tool.name, tool.version, tool.line)).collect()
    }

    #[test]
    fn each_line_has_a_tool_and_its_first_version() {
        let some = |version: &str| Some(version.to_owned());
        assert_eq!(
            tools(
                "# tools\nelixir 1.17.2-otp-27\nerlang 27.0.1 # why\n\nnode v22.3.0 system\r\nzig 0.13.0\nnodejs 18\nruby\n"
            ),
            [
                ("elixir", some("1.17.2"), 2),
                ("erlang", some("27.0.1"), 3),
                ("nodejs", some("22.3.0"), 5)
            ]
        );
        assert_eq!(
            tools("java temurin-21.0.3+9.0.LTS\ngolang 1.22.4"),
            [("java", some("21.0.3"), 1), ("golang", some("1.22.4"), 2)]
        );
    }

    #[test]
    fn what_names_no_version_is_none() {
        for version in [
            "ref:main",
            "path:~/src/elixir",
            "system",
            "latest",
            "lts",
            "1.2;rm",
            "${X}",
        ] {
            assert_eq!(
                tools(&format!("elixir {version}")),
                [("elixir", None, 1)],
                "{version}"
            );
        }
    }

    #[test]
    fn versions_agree_as_far_as_both_say() {
        for (one, other) in [
            ("1.16", "1.16.1"),
            ("22", "22.3.0"),
            ("v1.2", "1.2"),
            ("lts", "22"),
            ("27.0-rc1", "27.0"),
        ] {
            assert!(agree(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1.15", "1.16.1"),
            ("18", "22"),
            ("27.0.1", "27.0.2"),
            ("1.1", "1.11"),
        ] {
            assert!(!agree(one, other), "{one} {other}");
        }
    }
}
