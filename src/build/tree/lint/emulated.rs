//! Steps for another processor than that of the node that builds: they run under QEMU, where the node has it, and slowly.

use crate::build::tree::{
    Source,
    dockerfile::{Dockerfile, Kind},
    finding::{Findings, listed, shown},
    stages::Stages,
    versions::{ExtraArg, declared},
};

/// The just-in-time compiler of the Erlang VM maps its memory twice, which QEMU does not follow:
/// <https://hexdocs.pm/mix/Mix.Tasks.Release.html>.
const ERLANG: (&str, &str) = ("ERL_AFLAGS", "+JMsingle true");

/// What emulated steps are given beside the arguments of the spec.
pub(in crate::build::tree) fn run(
    input: &Source<'_>,
    file: &Dockerfile,
    stages: &Stages<'_>,
    target: usize,
    findings: &mut Findings,
) -> Option<ExtraArg> {
    let runs = |number: &usize| {
        let stage = stages.list.get(*number)?;
        let run = |kind: &Kind| matches!(kind, Kind::Run(_));
        let runs = stage
            .instructions
            .iter()
            .any(|one| !one.on_build && run(&one.kind));
        runs.then_some((*number, stage.line))
    };
    let needed = stages.needed(target);
    let (line, others) = needed.iter().filter_map(runs).find_map(|(number, line)| {
        let others = others(input, stages.platform(number));
        (!others.is_empty()).then_some((line, others))
    })?;
    let words = format!(
        "the steps of this stage for {} are emulated, since this node is {}: that is slow, fails where the node has no QEMU, and \
         crashes some programs. Begin the stage with FROM --platform=$BUILDPLATFORM where its tools can build for others, or name one \
         platform in build.platforms, for which a node of that kind is taken",
        listed(&others.iter().map(String::as_str).collect::<Vec<_>>()),
        input.node,
    );
    findings.warn("emulated", (input.path, Some(line)), words);
    let (name, value) = ERLANG;
    let is_free = declared(file, name).is_some() && !input.args.contains_key(name);
    is_free.then(|| ExtraArg {
        arg: name.to_owned(),
        value: value.to_owned(),
        line: None,
    })
}

/// The platforms of a stage that are not the node's.
fn others(input: &Source<'_>, platform: Option<&str>) -> Vec<String> {
    let wanted: Vec<&str> = match platform {
        Some(platform) if platform.contains("BUILD") => return Vec::new(),
        Some(platform) if !platform.contains('$') => vec![platform],
        _ => input.platforms.iter().map(String::as_str).collect(),
    };
    let differs = |platform: &&str| {
        let mut parts = platform.split('/').skip(1);
        parts.next().is_some_and(|processor| processor != input.node)
    };
    wanted.into_iter().filter(differs).map(shown).collect()
}
