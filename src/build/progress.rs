//! The step that a build is at.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use super::plain::{Line, Name, Said, lines};

/// A step of a build that runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The stage of the Dockerfile; none where it has but one, and none for what is no instruction.
    pub stage: Option<String>,
    /// Which instruction of the stage; 0 for what is no instruction: a base image is looked up, the image is exported.
    pub number: u32,
    /// Of how many.
    pub of: u32,
    /// The instruction in one line, at most 80 characters. It is what the Dockerfile says, with the values of its variables.
    pub words: String,
    /// How many instructions of all stages were in the cache, as far as the log tells.
    pub cached: usize,
    /// How many were done.
    pub done: usize,
}

impl fmt::Display for Step {
    /// `builder 5/9 RUN mix deps.get`, `exporting the image`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stage) = &self.stage {
            write!(f, "{stage} ")?;
        }
        if self.of > 0 {
            write!(f, "{}/{} {}", self.number, self.of, self.words)
        } else {
            f.write_str(&plain(&self.words))
        }
    }
}

/// What a builder does by its log, in words: the step that runs, or as much as is known of it.
#[must_use]
pub fn doing(log: &str) -> String {
    if let Some(step) = current(log) {
        return step.to_string();
    }
    let (mut latest, mut known) = (None, false);
    for line in lines(log) {
        if let Line::Of(number, said) = line {
            known = true;
            latest = match said {
                Said::Printed(_) | Said::Went | Said::Name(_) => Some(number),
                Said::Cached | Said::Done | Said::Canceled | Said::Failed(_) => None,
            };
        }
    }
    match latest {
        // A step that prints much: its name is further up than is read.
        Some(number) => format!("step {number} of its log, which prints much"),
        None if known => "between two steps".to_owned(),
        None => "the builder begins".to_owned(),
    }
}

/// What BuildKit calls something that is no instruction, in words for people.
fn plain(name: &str) -> Cow<'_, str> {
    let image = |name: &'_ str| {
        let name = name.split('@').next().unwrap_or(name);
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        name.strip_prefix("library/").unwrap_or(name).to_owned()
    };
    let after = |start: &str| name.strip_prefix(start);
    if let Some(of) = after("[internal] load metadata for ") {
        format!("reading metadata of {}", image(of)).into()
    } else if let Some(of) = after("resolve image config for docker-image://") {
        format!("reading metadata of {}", image(of)).into()
    } else if let Some(of) = after("docker-image://") {
        format!("pulling {}", image(of)).into()
    } else if let Some(file) = after("[internal] load build definition from ") {
        format!("reading {file}").into()
    } else if after("[internal] load build context").is_some() {
        "reading the source".into()
    } else if after("importing cache").is_some() {
        "importing the cache".into()
    } else if after("exporting cache").is_some() {
        "exporting the cache".into()
    } else if after("exporting to ").is_some() {
        "exporting the image".into()
    } else if after("[auth] ").is_some() {
        "asking a registry for a token".into()
    } else if let Some(file) = after("[internal] load ") {
        format!("reading {file}").into()
    } else {
        name.strip_prefix("[internal] ").unwrap_or(name).into()
    }
}

/// The step that runs at the end of this log: of several that run at once, the one that BuildKit shows. None before the first
/// and after the last, and where the beginning of the log is missing with the step's name in it.
#[must_use]
pub fn current(log: &str) -> Option<Step> {
    let mut vertices: BTreeMap<u32, Vertex> = BTreeMap::new();
    for (place, line) in lines(log).enumerate() {
        match line {
            Line::Of(number, said) => vertices.entry(number).or_default().hear(place, said),
            // What failed is told once more, and that is the end.
            Line::Other("------") => return None,
            Line::Other(_) => {}
        }
    }
    let instructions = || vertices.values().filter(|vertex| vertex.is_instruction());
    let running = vertices.values().filter(|vertex| vertex.end.is_none());
    let name = running.filter_map(|vertex| Some((vertex.heard, vertex.name.clone()?)));
    let (_, name) = name.max_by_key(|(heard, _)| *heard)?;
    let (number, of) = name.position.unwrap_or_default();
    Some(Step {
        stage: name.stage,
        number,
        of,
        words: name.words,
        cached: instructions()
            .filter(|vertex| vertex.end == Some(End::Cached))
            .count(),
        done: instructions()
            .filter(|vertex| vertex.end == Some(End::Done))
            .count(),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Cached,
    Done,
    Failed,
}

#[derive(Debug, Default)]
struct Vertex {
    name: Option<Name>,
    end: Option<End>,
    heard: usize,
}

impl Vertex {
    fn hear(&mut self, place: usize, said: Said<'_>) {
        self.heard = place;
        self.end = match said {
            Said::Cached => Some(End::Cached),
            Said::Done => Some(End::Done),
            Said::Canceled | Said::Failed(_) => Some(End::Failed),
            // A base image is done once when it is resolved, and shown again when it is unpacked.
            Said::Name(_) | Said::Printed(_) | Said::Went => None,
        };
        if let Said::Name(name) = said {
            self.name = Some(Name::new(name));
        }
    }

    fn is_instruction(&self) -> bool {
        self.name.as_ref().is_some_and(|name| name.position.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
#0 building with \"default\"

#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 1.05kB done
#1 DONE 0.0s

#2 [internal] load metadata for docker.io/library/elixir:1.18
#2 DONE 0.9s

#5 [builder  1/10] FROM docker.io/library/elixir:1.18@sha256:0123
#5 resolve docker.io/library/elixir:1.18@sha256:0123 done
#5 DONE 0.1s

#6 [stage-1 2/3] RUN apt-get update
#6 CACHED

#5 [builder  1/10] FROM docker.io/library/elixir:1.18@sha256:0123
#5 extracting sha256:4567 1.5s done
#5 DONE 4.1s

#7 [builder  2/10] WORKDIR /app
#7 DONE 0.0s

#8 [builder  3/10] RUN mix deps.get
#8 0.532 Resolving Hex dependencies...
#8 1.2";

    #[test]
    fn the_step_that_is_shown_last_and_has_not_ended_runs() {
        let step = current(LOG).unwrap();
        assert_eq!(
            step,
            Step {
                stage: Some("builder".into()),
                number: 3,
                of: 10,
                words: "RUN mix deps.get".into(),
                cached: 1,
                done: 2,
            }
        );
        assert_eq!(step.to_string(), "builder 3/10 RUN mix deps.get");
    }

    #[test]
    fn when_the_shown_one_ends_the_other_that_runs_is_shown() {
        let log = "#8 [a 1/2] RUN one\n#8 0.5 x\n#8 ...\n\n#9 [b 1/2] RUN two\n#9 0.5 y\n";
        assert_eq!(current(log).unwrap().words, "RUN two");
        let log = format!("{log}#9 DONE 1.0s\n");
        assert_eq!(current(&log).unwrap().words, "RUN one");
    }

    #[test]
    fn what_is_no_instruction_has_no_number() {
        let log = "#8 [1/1] RUN x\n#8 DONE 0.1s\n\n#20 exporting to image\n#20 exporting layers 0.5s done\n#20 pushing layers\n";
        let step = current(log).unwrap();
        assert_eq!(
            (step.number, step.of, step.done, step.to_string().as_str()),
            (0, 0, 1, "exporting the image")
        );
    }

    #[test]
    fn nothing_runs_before_the_first_step_and_after_the_last() {
        assert_eq!(current(""), None);
        assert_eq!(current("fetching the commit\n"), None);
        assert_eq!(current("#8 [1/1] RUN x\n#8 DONE 0.1s\n"), None);
        let failed = "#8 [1/2] RUN x\n#8 ...\n\n#9 [2/2] RUN y\n#9 ERROR: no\n------\n > [2/2] RUN y:\n------\nerror: failed to solve: no\n";
        assert_eq!(current(failed), None);
    }

    #[test]
    fn the_beginning_of_a_log_may_be_missing() {
        assert_eq!(
            current("ting phoenix\n#8 1.5 * Getting plug\n#8 1.6 * Getting bandit\n"),
            None
        );
        let again = "#8 1.5 * Getting plug\n#8 ...\n\n#8 [3/10] RUN mix deps.get\n#8 2.5 * Getting bandit\n";
        assert_eq!(current(again).unwrap().to_string(), "3/10 RUN mix deps.get");
    }

    #[test]
    fn what_is_no_instruction_is_told_in_plain_words() {
        for (name, words) in [
            (
                "[internal] load build definition from Dockerfile",
                "reading Dockerfile",
            ),
            (
                "[internal] load metadata for docker.io/library/node:22",
                "reading metadata of node:22",
            ),
            (
                "[internal] load metadata for ghcr.io/acme/base:1@sha256:01",
                "reading metadata of ghcr.io/acme/base:1",
            ),
            ("[internal] load .dockerignore", "reading .dockerignore"),
            ("[internal] load build context", "reading the source"),
            (
                "resolve image config for docker-image://docker.io/docker/dockerfile:1",
                "reading metadata of docker/dockerfile:1",
            ),
            (
                "docker-image://docker.io/docker/dockerfile:1@sha256:01",
                "pulling docker/dockerfile:1",
            ),
            (
                "[auth] acme/base:pull token for ghcr.io",
                "asking a registry for a token",
            ),
            (
                "importing cache manifest from ghcr.io/acme/shop:buildcache-0123",
                "importing the cache",
            ),
            ("exporting to oci image format", "exporting the image"),
            ("exporting cache to registry", "exporting the cache"),
            ("[internal] something new", "something new"),
        ] {
            assert_eq!(doing(&format!("#1 {name}\n")), words);
        }
    }

    #[test]
    fn the_builder_begins_only_before_its_first_step() {
        for (log, words) in [
            ("", "the builder begins"),
            ("could not connect to the daemon\n", "the builder begins"),
            ("#1 [a 1/2] RUN x\n#1 DONE 0.1s\n\n", "between two steps"),
            (
                "tting plug\n#8 1.5 * Getting plug\n",
                "step 8 of its log, which prints much",
            ),
            ("#8 1.5 x\n#8 DONE 2.0s\n", "between two steps"),
        ] {
            assert_eq!(doing(log), words, "{log}");
        }
        assert_eq!(doing(LOG), "builder 3/10 RUN mix deps.get");
    }

    #[test]
    fn what_a_program_prints_is_never_taken_for_a_step() {
        let log = "#8 [1/2] RUN x\n#8 0.1 #9 [2/2] RUN evil\n#8 0.2 ------\n#8 0.3 #8 DONE 1.0s\n";
        assert_eq!(current(log).unwrap().words, "RUN x");
    }
}
