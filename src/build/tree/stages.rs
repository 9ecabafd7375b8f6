//! Stages of a Dockerfile: what each is made of, which of them a target needs, and what its variables are in the end.

use std::collections::{BTreeMap, HashMap};

use super::{
    dockerfile::{Dockerfile, Instruction, Kind, Pair},
    expand::{Expanded, Given, expand},
};

/// So many bases with a variable of the platform are followed: each one is a look at all stages.
const PLATFORMS: usize = 16;
/// So much is kept of the values of variables. A file of half a megabyte with more has no use for them.
const KEPT: usize = 1 << 20;

/// Build arguments, by name.
pub(super) type Args = BTreeMap<String, String>;

/// Arguments that BuildKit gives by itself, or takes without an `ARG`.
const OF_PLATFORMS: [&str; 10] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "SOURCE_DATE_EPOCH",
];
const OF_PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Whether an argument needs no `ARG`.
pub(super) fn is_predefined(name: &str) -> bool {
    OF_PLATFORMS.contains(&name)
        || name.starts_with("BUILDKIT_")
        || OF_PROXIES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// A stage.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub name: Option<&'a str>,
    pub line: u32,
    /// Of its `--platform=`, as written.
    pub platform: Option<&'a str>,
    pub base: Base,
    /// Without its `FROM`.
    pub instructions: &'a [Instruction],
}

/// What a stage begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// An earlier stage.
    Stage(usize),
    /// An image.
    Image(Expanded),
}

/// All stages.
#[derive(Debug)]
pub(super) struct Stages<'a> {
    pub file: &'a Dockerfile,
    pub args: &'a Args,
    /// Before the first `FROM`.
    pub global: &'a [Instruction],
    pub list: Vec<Stage<'a>>,
    globals: HashMap<&'a str, Given>,
    /// By name; of two with one name the last.
    names: HashMap<&'a str, usize>,
    /// Of each stage the one that begins with an image, from which it comes.
    roots: Vec<usize>,
}

impl<'a> Stages<'a> {
    pub fn of(file: &'a Dockerfile, args: &'a Args) -> Self {
        let is_from = |one: &Instruction| matches!(one.kind, Kind::From { .. }) && !one.on_build;
        let first = file.instructions.iter().position(is_from);
        let (global, mut rest) = file
            .instructions
            .split_at_checked(first.unwrap_or(file.instructions.len()))
            .unwrap_or_default();
        let mut stages = Self {
            file,
            args,
            global,
            list: Vec::new(),
            globals: HashMap::new(),
            names: HashMap::new(),
            roots: Vec::new(),
        };
        stages.read_globals();
        while let Some((from, after)) = rest.split_first() {
            let end = after.iter().position(is_from).unwrap_or(after.len());
            let (instructions, next) = after.split_at_checked(end).unwrap_or_default();
            rest = next;
            if let Kind::From { image, name } = &from.kind {
                let base = stages.base(image);
                let root = match &base {
                    Base::Stage(earlier) => stages.roots.get(*earlier).copied(),
                    Base::Image(_) => None,
                };
                stages.roots.push(root.unwrap_or(stages.list.len()));
                if let Some(name) = name {
                    stages.names.insert(name, stages.list.len());
                }
                stages.list.push(Stage {
                    name: name.as_deref(),
                    line: from.line,
                    platform: from.flag("platform").last(),
                    base,
                    instructions,
                });
            }
        }
        stages
    }

    fn read_globals(&mut self) {
        let pairs = self.global.iter().filter_map(|one| match &one.kind {
            Kind::Arg(pairs) => Some(pairs),
            _ => None,
        });
        let mut kept = 0;
        for pair in pairs.flatten() {
            let value = self.argument(pair, &|name| self.global(name));
            let value = bounded(value, &mut kept);
            self.globals.insert(&pair.name, value);
        }
    }

    /// The value of an `ARG`: what is given, else its default.
    fn argument(&self, pair: &Pair, of: &dyn Fn(&str) -> Given) -> Given {
        if let Some(given) = self.args.get(&pair.name) {
            return Given::Value(given.clone());
        }
        let Some(raw) = &pair.raw else {
            return Given::Unset;
        };
        let expanded = expand(raw, self.file.escape, of);
        if expanded.open {
            Given::Later
        } else {
            Given::Value(expanded.text)
        }
    }

    fn global(&self, name: &str) -> Given {
        match self.globals.get(name) {
            Some(Given::Unset) | None if OF_PLATFORMS.contains(&name) => Given::Later,
            Some(given) => given.clone(),
            None => Given::Unset,
        }
    }

    fn base(&self, image: &str) -> Base {
        let expanded = expand(image, self.file.escape, &|name| self.global(name));
        let stage = self.names.get(expanded.text.to_ascii_lowercase().as_str());
        stage.map_or(Base::Image(expanded), |stage| Base::Stage(*stage))
    }

    /// A stage by its name or number.
    pub fn find(&self, name: &str) -> Option<usize> {
        let named = self.names.get(name.to_ascii_lowercase().as_str()).copied();
        named.or_else(|| name.parse().ok().filter(|number| *number < self.list.len()))
    }

    /// How a stage is called.
    pub fn called(&self, number: usize) -> String {
        let name = self.list.get(number).and_then(|stage| stage.name);
        name.map_or_else(|| number.to_string(), ToOwned::to_owned)
    }

    /// A stage and those it begins with, the oldest first.
    pub fn lineage(&self, stage: usize) -> Vec<usize> {
        let (mut all, mut next) = (Vec::new(), Some(stage));
        while let Some(number) = next {
            all.push(number);
            next = match self.list.get(number).map(|stage| &stage.base) {
                // Earlier ones alone are found by a FROM, so that this ends.
                Some(Base::Stage(earlier)) => Some(*earlier).filter(|earlier| *earlier < number),
                _ => None,
            };
        }
        all.reverse();
        all
    }

    /// The stages that a target needs, in order.
    pub fn needed(&self, target: usize) -> Vec<usize> {
        let mut seen = vec![false; self.list.len()];
        let (mut open, mut platforms) = (vec![target], 0);
        while let Some(number) = open.pop() {
            let Some(stage) = self.list.get(number) else {
                continue;
            };
            match seen.get_mut(number) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            match &stage.base {
                Base::Stage(earlier) => open.push(*earlier),
                // FROM base-${TARGETARCH}
                Base::Image(expanded) if expanded.open && platforms < PLATFORMS => {
                    platforms += 1;
                    open.extend(self.alike(&expanded.text, number));
                }
                Base::Image(_) => {}
            }
            let copied = stage.instructions.iter().flat_map(copied_from);
            open.extend(copied.filter_map(|from| self.find(from)));
        }
        let numbers = seen.iter().enumerate().filter(|(_, seen)| **seen);
        numbers.map(|(number, _)| number).collect()
    }

    /// Earlier stages whose name begins and ends as a text does around its variables.
    fn alike(&self, text: &str, before: usize) -> Vec<usize> {
        let text = text.to_ascii_lowercase();
        let (Some((start, _)), Some((_, end))) = (text.split_once("${"), text.rsplit_once('}')) else {
            return Vec::new();
        };
        if start.is_empty() && end.is_empty() {
            return Vec::new();
        }
        let fits = |name: &str| name.starts_with(start) && name.ends_with(end);
        let earlier = self.list.iter().take(before).enumerate();
        earlier
            .filter(|(_, stage)| stage.name.is_some_and(fits))
            .map(|(number, _)| number)
            .collect()
    }

    /// The instructions whose effects are in a stage: its own and those of the stages that it begins with.
    pub fn layers(&self, stage: usize) -> Vec<&'a Instruction> {
        let lineage = self.lineage(stage);
        let stages = lineage.iter().filter_map(|number| self.list.get(*number));
        stages
            .flat_map(|stage| stage.instructions)
            .filter(|one| !one.on_build)
            .collect()
    }

    /// The image that a stage is made of in the end.
    pub fn root(&self, stage: usize) -> Option<&Expanded> {
        let first = self.roots.get(stage)?;
        match &self.list.get(*first)?.base {
            Base::Image(image) => Some(image),
            Base::Stage(_) => None,
        }
    }

    /// For what the steps of a stage are run, as its oldest `FROM` says it.
    pub fn platform(&self, stage: usize) -> Option<&'a str> {
        let first = self.roots.get(stage)?;
        self.list.get(*first)?.platform
    }

    /// The variables of a stage at its end, each with the line that set it; `Later` for a value that is not known.
    pub fn env(&self, stage: usize) -> BTreeMap<&'a str, (Given, u32)> {
        let (mut env, mut kept): (BTreeMap<&str, (Given, u32)>, _) = (BTreeMap::new(), 0);
        for number in self.lineage(stage) {
            let mut args: HashMap<&str, Given> = HashMap::new();
            let instructions = self.list.get(number).map_or(&[][..], |stage| stage.instructions);
            for instruction in instructions.iter().filter(|one| !one.on_build) {
                match &instruction.kind {
                    Kind::Arg(pairs) => {
                        for pair in pairs {
                            let mut value = self.argument(pair, &|name| scope(name, &env, &args));
                            if value == Given::Unset {
                                value = self.global(&pair.name);
                            }
                            args.insert(&pair.name, bounded(value, &mut kept));
                        }
                    }
                    Kind::Env(pairs) => {
                        let value = |pair: &Pair| {
                            let raw = pair.raw.as_deref().unwrap_or_default();
                            let found = expand(raw, self.file.escape, &|name| scope(name, &env, &args));
                            if found.open {
                                Given::Later
                            } else {
                                Given::Value(found.text)
                            }
                        };
                        // All values of one ENV are those before it.
                        let values: Vec<_> =
                            pairs.iter().map(|pair| bounded(value(pair), &mut kept)).collect();
                        for (pair, value) in pairs.iter().zip(values) {
                            env.insert(&pair.name, (value, pair.line));
                        }
                    }
                    _ => {}
                }
            }
        }
        env
    }
}

/// A variable within a stage: an `ENV` before an `ARG`. What the base image sets is not known here.
fn scope(name: &str, env: &BTreeMap<&str, (Given, u32)>, args: &HashMap<&str, Given>) -> Given {
    let given = env.get(name).map(|(value, _)| value).or_else(|| args.get(name));
    given.cloned().unwrap_or(Given::Later)
}

/// A value, unless there are too many.
fn bounded(value: Given, kept: &mut usize) -> Given {
    if let Given::Value(text) = &value {
        *kept += text.len();
        if *kept > KEPT {
            return Given::Later;
        }
    }
    value
}

/// The stages or images that an instruction takes files from.
pub(super) fn copied_from(instruction: &Instruction) -> Vec<&str> {
    match &instruction.kind {
        Kind::Copy { from: Some(from), .. } => vec![from],
        Kind::Run(_) => instruction
            .flag("mount")
            .filter_map(|mount| part(mount, "from"))
            .collect(),
        _ => Vec::new(),
    }
}

/// A part of `type=secret,id=x`.
pub(super) fn part<'m>(mount: &'m str, name: &str) -> Option<&'m str> {
    mount.split(',').find_map(|part| {
        let (known, value) = part.split_once('=')?;
        known.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tree::dockerfile::read;

    fn args(pairs: &[(&str, &str)]) -> Args {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn bases(text: &str, given: &[(&str, &str)]) -> Vec<String> {
        let (file, args) = (read(text), args(given));
        let stages = Stages::of(&file, &args);
        let image = |stage: &Stage<'_>| match &stage.base {
            Base::Stage(number) => format!("stage {number}"),
            Base::Image(image) => image.text.clone(),
        };
        stages.list.iter().map(image).collect()
    }

    #[test]
    fn from_takes_given_arguments_before_defaults_and_only_those_above_the_first_from() {
        let text = "ARG A=1\nARG B=x-${A}\nFROM elixir:${A}\nARG C=3\nFROM y:$B\nFROM z:${C:-none}";
        assert_eq!(bases(text, &[]), ["elixir:1", "y:x-1", "z:none"]);
        assert_eq!(bases(text, &[("A", "2")]), ["elixir:2", "y:x-2", "z:none"]);
        // An argument that nothing declares is none.
        assert_eq!(bases("FROM a:${A:-1}", &[("A", "2")]), ["a:1"]);
    }

    #[test]
    fn arguments_that_name_themselves_or_double_each_other_end() {
        assert_eq!(bases("ARG A=$B\nARG B=$A\nARG A=x$A\nFROM a$A$B", &[]), ["ax"]);
        let doubled = |number: usize| format!("ARG A{number}=$A{0}$A{0}\n", number - 1);
        let text: String = (1..=64).map(doubled).collect();
        let text = format!("ARG A0=0123456789\n{text}FROM $A64");
        assert!(bases(&text, &[]).iter().all(|base| base.len() <= 512));
    }

    #[test]
    fn a_base_may_be_an_earlier_stage_and_never_itself_or_a_later_one() {
        assert_eq!(
            bases("FROM a AS a\nFROM A\nFROM b\nFROM x AS b", &[]),
            ["a", "stage 0", "b", "x"]
        );
    }

    #[test]
    fn a_target_needs_what_it_begins_with_and_what_it_copies_from() {
        let text = "FROM a AS base\nFROM base AS deps\nFROM b AS unused\nFROM base AS builder\nCOPY --from=deps / /\n\
                    FROM c AS cache\nFROM base AS runner\nRUN --mount=type=bind,from=cache,target=/c make\nCOPY --from=3 / /\n";
        let (file, args) = (read(text), Args::new());
        let stages = Stages::of(&file, &args);
        assert_eq!(stages.needed(5), [0, 1, 3, 4, 5]);
        assert_eq!(stages.needed(1), [0, 1]);
        assert_eq!(stages.lineage(5), [0, 5]);
        assert_eq!(stages.find("Builder"), Some(3));
        assert_eq!((stages.find("nope"), stages.find("6")), (None, None));
        assert_eq!(stages.called(3), "builder");
    }

    #[test]
    fn stages_that_copy_from_each_other_end() {
        let file = read("FROM a AS a\nCOPY --from=b / /\nFROM b AS b\nCOPY --from=a / /\n");
        let args = Args::new();
        assert_eq!(Stages::of(&file, &args).needed(1), [0, 1]);
    }

    #[test]
    fn a_base_of_the_platform_may_be_each_stage_that_is_called_so() {
        let text =
            "FROM a AS base-amd64\nFROM b AS base-arm64\nFROM c AS other\nFROM base-${TARGETARCH} AS final";
        let (file, args) = (read(text), Args::new());
        assert_eq!(Stages::of(&file, &args).needed(3), [0, 1, 3]);
    }

    #[test]
    fn the_variables_of_a_stage_are_those_of_all_it_begins_with() {
        let text = "ARG MIX_ENV=dev\nFROM a AS base\nENV A=1 B=2\nFROM base\nARG MIX_ENV\nARG X=$A\n\
                    ENV MIX_ENV=$MIX_ENV B=3 C=$X D=$PATH\n";
        let (file, args) = (read(text), Args::new());
        let stages = Stages::of(&file, &args);
        let env = stages.env(1);
        let value = |name: &str| match env.get(name) {
            Some((Given::Value(value), _)) => value.clone(),
            other => format!("{other:?}"),
        };
        assert_eq!(value("MIX_ENV"), "dev");
        assert_eq!(
            (value("A"), value("B"), value("C")),
            ("1".into(), "3".into(), "1".into())
        );
        assert!(value("D").contains("Later"));
    }
}
