//! The log of a failed build, read.
//!
//! Its end looks like this, where BuildKit itself came to one (`progressui/display.go`, `solver/errdefs/source.go`,
//! `cmd/buildctl/main.go`):
//!
//! ```text
//! #12 ERROR: process "/bin/sh -c mix compile" did not complete successfully: exit code: 1
//! ------
//!  > [builder 5/9] RUN mix compile:
//! 0.532 what it printed last, ten lines at most
//! ------
//! Dockerfile:12
//! --------------------
//!   11 |
//!   12 | >>> RUN mix compile
//! --------------------
//! error: failed to solve: process "/bin/sh -c mix compile" did not complete successfully: exit code: 1
//! ```

use std::collections::{BTreeMap, VecDeque};

use super::{
    super::plain::{Line, Name, Said, lines, printed},
    Failure, LENGTH, Lack, Place,
    causes::{between, copied_from, disk_full, lack, registry},
};
use crate::words::{
    clean,
    hints::{At, hints},
};

/// How many lines of a step are kept.
const TAIL: usize = 30;

/// How many of them decide what it died of: what comes before was often survived.
const LAST_WORDS: usize = 12;

/// How many of the lines that are of no vertex are searched for what the builder says of itself.
const OTHERS: usize = 2000;

/// Reasons of pods and containers that have nothing to do with what is built.
const FROM_OUTSIDE: [&str; 12] = [
    "Evicted",
    "Preempting",
    "PreemptionByScheduler",
    "Shutdown",
    "NodeShutdown",
    "Terminated",
    "TerminationByKubelet",
    "NodeLost",
    "NodeAffinity",
    "UnexpectedAdmissionError",
    "ContainerStatusUnknown",
    "DeletionByTaintManager",
];

/// What a build died of: by its log, of which the beginning may be missing, by the exit code of its container, and by the
/// reason of its container or pod, such as `OOMKilled`.
#[must_use]
pub fn failure(log: &str, exit_code: Option<i32>, reason: Option<&str>) -> Failure {
    let told = Told::read(log);
    match reason {
        Some("OOMKilled") => {
            return Failure::OutOfMemory {
                at: told.at(),
                heap: false,
            };
        }
        Some("DeadlineExceeded") => return Failure::TimedOut { at: told.at() },
        Some(reason) if FROM_OUTSIDE.contains(&reason) => {
            return Failure::Ended {
                reason: reason.to_owned(),
            };
        }
        _ => {}
    }
    if let Some(failure) = told.step() {
        return failure;
    }
    let message = told.message();
    if let Some(failure) = message.and_then(|message| told.by_message(message)) {
        return failure;
    }
    if let Some(lack) = told.lack() {
        return lack;
    }
    if let Some(message) = message {
        return Failure::Other {
            words: clean(message, LENGTH),
        };
    }
    match exit_code {
        Some(137) => Failure::Ended {
            reason: "killed".to_owned(),
        },
        Some(143) => Failure::Ended {
            reason: "asked to end".to_owned(),
        },
        _ => Failure::Other {
            words: clean(told.last, LENGTH),
        },
    }
}

/// What is known of a vertex.
#[derive(Default)]
struct Vertex<'a> {
    name: Option<&'a str>,
    printed: VecDeque<&'a str>,
    error: Option<&'a str>,
    ended: bool,
    heard: usize,
}

/// What the lines at the end of a log belong to.
#[derive(Clone, Copy)]
enum Within {
    /// To nothing else.
    Nothing,
    /// To what a failed vertex printed.
    Excerpt,
    /// To a piece of the Dockerfile.
    Source,
}

/// What a log tells.
#[derive(Default)]
struct Told<'a> {
    vertices: BTreeMap<u32, Vertex<'a>>,
    /// Names and last lines of what failed, as they are told once more at the end.
    again: Vec<(&'a str, Vec<&'a str>)>,
    /// The line of the Dockerfile.
    line: Option<u32>,
    /// What BuildKit said at last.
    error: Option<&'a str>,
    /// All lines that are of no vertex.
    others: Vec<&'a str>,
    /// The last line that says anything.
    last: &'a str,
}

impl<'a> Told<'a> {
    fn read(log: &'a str) -> Self {
        let mut told = Self::default();
        let mut within = Within::Nothing;
        for (place, line) in lines(log).enumerate() {
            match line {
                Line::Of(number, said) => told.vertices.entry(number).or_default().hear(place, said),
                Line::Other(line) => told.hear(line, &mut within),
            }
        }
        told.last = log
            .rsplit('\n')
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        told
    }

    fn hear(&mut self, line: &'a str, within: &mut Within) {
        match (line, *within) {
            ("------", _) | ("--------------------", Within::Source) => *within = Within::Nothing,
            ("--------------------", _) => {
                *within = Within::Source;
                let heading = self.others.last().and_then(|heading| heading.rsplit_once(':'));
                let number = heading.and_then(|(_, number)| number.parse().ok());
                self.line = number.or(self.line);
            }
            (_, Within::Source) => {}
            (_, Within::Excerpt) => {
                if let (Some((_, lines)), Some(text)) = (self.again.last_mut(), printed(line)) {
                    lines.push(text);
                }
            }
            (_, Within::Nothing) => {
                if let Some(name) = line.strip_prefix(" > ").and_then(|name| name.strip_suffix(':')) {
                    *within = Within::Excerpt;
                    self.again.push((name, Vec::new()));
                    return;
                }
                let error = line
                    .strip_prefix("error: ")
                    .or_else(|| line.strip_prefix("ERROR: "));
                self.error = error.or(self.error);
                self.others.push(line);
            }
        }
    }

    /// The vertex that failed: of several, the one that BuildKit speaks of at last.
    fn failed(&self) -> Option<&Vertex<'a>> {
        let failed = || self.vertices.values().filter(|vertex| vertex.error.is_some());
        let message = self.error.unwrap_or_default();
        let named = failed().find(|vertex| vertex.error.is_some_and(|error| message.ends_with(error)));
        named.or_else(|| failed().next_back())
    }

    /// What is wrong, in BuildKit's words. Where the log ends before them, the vertex has the same.
    fn message(&self) -> Option<&'a str> {
        let solved = |error: &'a str| {
            error
                .split_once("failed to solve: ")
                .map_or(error, |(_, message)| message)
        };
        let bare = |message: &'a str| {
            let described = message.strip_prefix("rpc error: ");
            described
                .and_then(|text| Some(text.split_once("desc = ")?.1))
                .unwrap_or(message)
        };
        let error = self.error.map(solved).map(bare);
        error.or_else(|| self.failed()?.error)
    }

    /// The instruction that failed, or else the one that was at work when the log ended.
    fn at(&self) -> Option<Place> {
        let name = self.failed().and_then(|vertex| vertex.name);
        let name = name.or_else(|| self.again.last().map(|(name, _)| *name));
        let running = || {
            let open = self
                .vertices
                .values()
                .filter(|vertex| !vertex.ended && vertex.name.is_some());
            open.max_by_key(|vertex| vertex.heard)?.name
        };
        let name = Name::new(name.or_else(running)?);
        let (number, of) = name.position?;
        Some(Place {
            stage: name.stage,
            number,
            of,
            words: name.words,
            line: self.line,
        })
    }

    /// What the failed instruction printed last.
    fn tail(&self) -> Vec<String> {
        let mut lines: Vec<&str> = self
            .failed()
            .map_or_else(Vec::new, |vertex| vertex.printed.iter().copied().collect());
        if lines.is_empty() {
            lines = self
                .again
                .last()
                .map_or_else(Vec::new, |(_, lines)| lines.clone());
        }
        lines.into_iter().map(|line| clean(line, LENGTH)).collect()
    }

    /// A command of the Dockerfile that ended badly.
    fn step(&self) -> Option<Failure> {
        let message = self.message()?;
        let (_, how) = message.rsplit_once("did not complete successfully: ")?;
        let (at, tail) = (self.at(), self.tail());
        let from = tail.len().saturating_sub(LAST_WORDS);
        let last = tail.get(from..).unwrap_or_default();
        let code: Option<i32> = how
            .strip_prefix("exit code: ")
            .and_then(|code| code.trim().parse().ok());
        let known = hints(At::Build, &last.join("\n"));
        let names = |name: &str| known.iter().any(|hint| hint.name == name);
        if names("node-heap") {
            return Some(Failure::OutOfMemory { at, heap: true });
        }
        // BuildKit speaks of memory where it can see that it was the cause of the kill; other programs tell of a child's.
        if how.starts_with("cannot allocate memory") || code == Some(137) || names("killed") {
            return Some(Failure::OutOfMemory { at, heap: false });
        }
        // runc says on the step's own output that it could not even begin.
        let began = last.iter().find(|line| line.contains("runc run failed"));
        if let Some((line, lack)) = began.and_then(|line| Some((line, lack(line)?))) {
            return Some(Failure::Builder {
                lack,
                words: line.clone(),
            });
        }
        if last.iter().any(|line| disk_full(line)) {
            return Some(Failure::DiskFull { at });
        }
        let Some(at) = at else {
            return Some(Failure::Other {
                words: clean(message, LENGTH),
            });
        };
        // The last one alone: of what was survived, more may stand before.
        Some(if known.first().is_some_and(|hint| hint.passing) {
            Failure::Network { at, tail }
        } else {
            Failure::Step {
                at,
                exit_code: code,
                tail,
            }
        })
    }

    /// What BuildKit says when no command has failed.
    fn by_message(&self, message: &str) -> Option<Failure> {
        if disk_full(message) {
            return Some(Failure::DiskFull { at: self.at() });
        }
        self.of_context(message)
            .or_else(|| registry(message, self.failed().and_then(|vertex| vertex.name)))
            .or_else(|| {
                lack(message).map(|lack| Failure::Builder {
                    lack,
                    words: clean(message, LENGTH),
                })
            })
            .or_else(|| self.of_dockerfile(message))
    }

    /// What the repository lacks.
    fn of_context(&self, message: &str) -> Option<Failure> {
        if let Some(path) = between(message, "failed to calculate checksum of ref ", ": not found")
            .or_else(|| between(message, "failed to walk ", ": no such file"))
        {
            // `"/mix.lock"`, or `/tmp/buildkit-mount123/mix.lock: lstat …`
            let path = path
                .split_once(": ")
                .map_or(path, |(_, path)| path)
                .trim_matches('"');
            let path = path
                .rsplit_once("buildkit-mount")
                .and_then(|(_, path)| path.split_once('/'))
                .map_or(path, |(_, path)| path);
            let path = path.trim_start_matches('/');
            return Some(Failure::MissingInContext {
                path: clean(path, LENGTH),
                from: self.failed().and_then(|vertex| copied_from(vertex.name?)),
                line: self.line,
            });
        }
        if let Some(path) = between(message, "failed to read dockerfile: open ", ": no such file") {
            return Some(Failure::NoDockerfile {
                path: clean(path, LENGTH),
            });
        }
        if let Some(id) = message
            .strip_prefix("secret ")
            .and_then(|rest| rest.strip_suffix(": not found"))
        {
            return Some(Failure::MissingSecret {
                id: clean(id, LENGTH),
            });
        }
        let target = between(message, "target stage ", " could not be found")?;
        Some(Failure::NoTarget {
            target: clean(target.trim_matches('"'), LENGTH),
        })
    }

    /// What is wrong with the Dockerfile: BuildKit points at a line of it, and no command was run.
    fn of_dockerfile(&self, message: &str) -> Option<Failure> {
        if let Some((_, rest)) = message.split_once("dockerfile parse error on line ") {
            let (line, words) = rest.split_once(": ")?;
            return Some(Failure::Dockerfile {
                line: line.parse().ok().or(self.line),
                words: clean(words, LENGTH),
            });
        }
        let instruction = self.failed().and_then(|vertex| vertex.error);
        if let (Some(error), Some(at)) = (instruction, self.at()) {
            return Some(Failure::Step {
                at,
                exit_code: None,
                tail: vec![clean(error, LENGTH)],
            });
        }
        let known = [
            "cannot be empty",
            "file with no instructions",
            "unterminated heredoc",
            "circular dependency",
        ];
        let known = known.iter().any(|words| message.contains(words));
        (known || self.line.is_some()).then(|| Failure::Dockerfile {
            line: self.line,
            words: clean(message, LENGTH),
        })
    }

    /// Why the builder itself did not run. What a step printed is not looked at.
    fn lack(&self) -> Option<Failure> {
        let others = || self.others.iter().rev().take(OTHERS);
        let known = others().find_map(|line| Some((*line, lack(line)?)));
        let start = || {
            let line = others().find(|line| line.starts_with("could not connect to "));
            line.map(|line| (*line, Lack::Start))
        };
        let (words, lack) = known.or_else(start)?;
        Some(Failure::Builder {
            lack,
            words: clean(words, LENGTH),
        })
    }
}

impl<'a> Vertex<'a> {
    fn hear(&mut self, place: usize, said: Said<'a>) {
        self.heard = place;
        self.ended = matches!(said, Said::Cached | Said::Done | Said::Canceled | Said::Failed(_));
        match said {
            Said::Name(name) => self.name = Some(name),
            Said::Failed(error) => self.error = Some(error),
            Said::Printed(text) => {
                if self.printed.len() == TAIL {
                    self.printed.pop_front();
                }
                self.printed.push_back(text);
            }
            Said::Cached | Said::Done | Said::Canceled | Said::Went => {}
        }
    }
}
