//! The processes of a release and the variables that they see.

use std::collections::BTreeMap;

use super::{
    super::{
        amounts,
        check::{self, Problems},
        declared::{EnvSource, MigrateSpec, ProcessSpec},
        document::join,
        preset::Preset,
    },
    outside::env_from,
};
use crate::{
    api::{
        ReleaseSpec,
        release::{EnvValue, Migrate},
    },
    names::{EnvName, ProcessName},
};

/// The variables of a release.
pub(super) struct Environment {
    /// For every process, migration and task.
    pub all: BTreeMap<EnvName, EnvValue>,
    /// Those, and what only serves.
    pub serving: BTreeMap<EnvName, EnvValue>,
    /// The names of what only serves.
    pub serving_only: Vec<EnvName>,
    /// Whole Secrets and `ConfigMaps`.
    pub sources: Vec<EnvSource>,
}

pub(super) fn environment(
    spec: &ReleaseSpec,
    preset: &Preset,
    port: Option<u16>,
    problems: &mut Problems,
) -> Environment {
    let mut all = check::variables("", &preset.env.all, problems);
    let mut only = check::variables("", &preset.env.serving, problems);
    if let (Some(port), Ok(name)) = (port, "PORT".parse::<EnvName>()) {
        only.insert(name, EnvValue::Literal(port.to_string()));
    }
    if let (Some(variable), Some(host)) = (&preset.host, &spec.host)
        && let Ok(variable) = variable.parse::<EnvName>()
    {
        all.insert(variable, EnvValue::Literal(host.clone()));
    }
    let declared = check::variables("/env", &spec.env, problems);
    for prefix in &preset.build_time_only {
        for name in declared
            .keys()
            .filter(|name| name.as_str().starts_with(prefix.as_str()))
        {
            let message = format!(
                "{name} is read when the image is built and has no effect at run time; make it a build argument"
            );
            problems.add(join("/env", name.as_str()), message);
        }
    }
    if let Some(name) = declared.keys().find(|name| name.as_str() == "PORT") {
        problems.add(
            format!("/env/{name}"),
            "PORT is set from `port`; give the number there".into(),
        );
    }
    let serving_only = only.keys().cloned().collect();
    all.extend(declared);
    only.extend(all.iter().map(|(name, value)| (name.clone(), value.clone())));
    Environment {
        all,
        serving: only,
        serving_only,
        sources: env_from(spec, problems),
    }
}

pub(super) fn processes(
    spec: &ReleaseSpec,
    preset: &Preset,
    env: &Environment,
    problems: &mut Problems,
) -> BTreeMap<ProcessName, ProcessSpec> {
    let primary = if preset.serves {
        ProcessName::web()
    } else {
        ProcessName::worker()
    };
    let resources = amounts::resources("/resources", spec.resources.as_ref(), &preset.resources, problems);
    let own = if preset.serves { &env.serving } else { &env.all };
    check::words("/command", spec.command.as_deref(), (own, &env.sources), problems);
    check::words("/args", spec.args.as_deref(), (own, &env.sources), problems);
    let first = ProcessSpec {
        command: spec.command.clone(),
        args: spec.args.clone(),
        replicas: problems.number("/replicas", spec.replicas, 2, 0, 1000),
        resources: resources.clone(),
        env: own.clone(),
    };
    let mut processes = BTreeMap::from([(primary.clone(), first)]);
    for (name, process) in &spec.processes {
        let pointer = join("/processes", name);
        let Some(parsed) = problems.parse::<ProcessName>(&pointer, name) else {
            continue;
        };
        if parsed == primary || parsed.is_web() {
            problems.add(
                pointer,
                format!("the top-level fields describe {name}; move these fields there"),
            );
            continue;
        }
        let mut variables = env.all.clone();
        // What a process declares for itself wins over everything.
        for only in &env.serving_only {
            if !spec.env.contains_key(only.as_str()) {
                variables.remove(only);
            }
        }
        variables.extend(check::variables(
            &format!("{pointer}/env"),
            &process.env,
            problems,
        ));
        for (part, words) in [("command", &process.command), ("args", &process.args)] {
            check::words(
                &format!("{pointer}/{part}"),
                words.as_deref(),
                (&variables, &env.sources),
                problems,
            );
        }
        let own = amounts::resources(
            &format!("{pointer}/resources"),
            process.resources.as_ref(),
            &resources,
            problems,
        );
        processes.insert(
            parsed,
            ProcessSpec {
                command: process.command.clone(),
                args: process.args.clone(),
                replicas: problems.number(&format!("{pointer}/replicas"), process.replicas, 1, 0, 1000),
                resources: own,
                env: variables,
            },
        );
    }
    processes
}

/// Texts that name a variable as Kubernetes would put it into them.
pub(super) fn verbatim(
    spec: &ReleaseSpec,
    env: &Environment,
    processes: &BTreeMap<ProcessName, ProcessSpec>,
    migrate: Option<&MigrateSpec>,
    problems: &mut Problems,
) {
    let known = |name: &EnvName| {
        // Whatever the keys of a whole Secret are; what a shell would run, `$(date)`, is in lower case.
        let in_whole = !name.as_str().contains(|c: char| c.is_ascii_lowercase())
            && env.sources.iter().any(|source| source.key_of(name).is_some());
        in_whole
            || env.serving.contains_key(name)
            || processes.values().any(|process| process.env.contains_key(name))
            || migrate.is_some_and(|migrate| migrate.env.contains_key(name))
    };
    check::verbatim("/env", &spec.env, &known, problems);
    for (name, process) in &spec.processes {
        check::verbatim(
            &format!("{}/env", join("/processes", name)),
            &process.env,
            &known,
            problems,
        );
    }
    if let Some(Migrate::Options(options)) = &spec.migrate {
        check::verbatim("/migrate/env", &options.env, &known, problems);
    }
}
