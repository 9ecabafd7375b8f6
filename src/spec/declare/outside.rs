//! What pods are given from outside of git beside single variables: files, whole Secrets, and what must be there.

use std::collections::BTreeMap;

use super::{
    super::{
        check::{self, Problems},
        declared::{Declared, EnvSource, FileSource, Holder, MigrateSpec},
        document::join,
        preset::Preset,
    },
    processes::Environment,
};
use crate::{
    api::{
        ReleaseSpec,
        release::{EnvFrom, EnvValue, FileFrom, KeyRef, Migrate},
    },
    names::{EnvName, ObjectName, ReleaseName},
};

/// As many keys as may be referred to: a revision holds a fingerprint of each, and of each key of `envFrom`, 400 in all.
const MAX_KEYS: usize = 300;

/// Either a Secret or a `ConfigMap`.
fn one_of<'a>(
    secret: Option<&'a String>,
    config: Option<&'a String>,
    pointer: &str,
    what: &str,
    problems: &mut Problems,
) -> Option<(Holder, String, &'a str)> {
    match (secret, config) {
        (Some(text), None) => Some((Holder::Secret, join(pointer, "secret"), text)),
        (None, Some(text)) => Some((Holder::ConfigMap, join(pointer, "config"), text)),
        _ => problems.none(
            pointer,
            format!("must be either {{secret: {what}}} or {{config: {what}}}"),
        ),
    }
}

pub(super) fn env_from(spec: &ReleaseSpec, problems: &mut Problems) -> Vec<EnvSource> {
    let mut sources = Vec::new();
    for (
        index,
        EnvFrom {
            secret,
            config,
            prefix,
        },
    ) in spec.env_from.iter().enumerate()
    {
        let at = format!("/envFrom/{index}");
        let Some((holder, pointer, name)) = one_of(secret.as_ref(), config.as_ref(), &at, "name", problems)
        else {
            continue;
        };
        let name = problems.parse::<ObjectName>(&pointer, name);
        let prefix = prefix.clone().unwrap_or_default();
        if let Err(message) = check::prefix(&prefix) {
            problems.add(join(&at, "prefix"), message);
        }
        let Some(name) = name else { continue };
        if holder == Holder::Secret
            && let Err(message) = check::of_applications(&name)
        {
            problems.add(pointer, message);
        }
        let source = EnvSource { holder, name, prefix };
        if sources.contains(&source) {
            problems.add(at, format!("{} is given twice", source.whole()));
            continue;
        }
        sources.push(source);
    }
    sources
}

pub(super) fn pull_secret(spec: &ReleaseSpec, problems: &mut Problems) -> Option<ObjectName> {
    let name: ObjectName = problems.parse("/pullSecret", spec.pull_secret.as_ref()?)?;
    match check::of_applications(&name) {
        Ok(()) => Some(name),
        Err(message) => problems.none("/pullSecret", message),
    }
}

pub(super) fn files(
    spec: &ReleaseSpec,
    writable: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> BTreeMap<String, FileSource> {
    let mut files = BTreeMap::new();
    for (path, FileFrom { secret, config }) in &spec.files {
        let at = join("/files", path);
        let beneath = |above: &str, below: &str| {
            below
                .strip_prefix(above)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        if let Err(message) = check::file_path(path) {
            problems.add(at.clone(), message);
        } else if writable.contains_key(path) {
            problems.add(
                at.clone(),
                "is a directory that may be written; a file cannot be there, too".into(),
            );
        } else if let Some(other) =
            (spec.files.keys().chain(writable.keys())).find(|other| beneath(path, other))
        {
            problems.add(at.clone(), format!("is a file, so {other} cannot be beneath it"));
        }
        let Some((holder, pointer, key)) =
            one_of(secret.as_ref(), config.as_ref(), &at, "name/key", problems)
        else {
            continue;
        };
        let Some(key) = problems.parse::<KeyRef>(&pointer, key) else {
            continue;
        };
        if holder == Holder::Secret
            && let Err(message) = check::of_applications(&key.name)
        {
            problems.add(pointer, message);
        }
        files.insert(path.clone(), FileSource { holder, key });
    }
    files
}

/// What must have a value: of the spec, else of the preset. What can be known here is said here; the rest is waited for.
pub(super) fn requires(
    release: &ReleaseName,
    spec: &ReleaseSpec,
    (full_name, preset): (&str, &Preset),
    Environment { serving, sources, .. }: &Environment,
    migrate: Option<&MigrateSpec>,
    problems: &mut Problems,
) -> Vec<EnvName> {
    let names = spec.requires.as_ref().unwrap_or(&preset.requires);
    let mut required = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let at = if spec.requires.is_some() {
            format!("/requires/{index}")
        } else {
            "/env".to_owned()
        };
        let Some(name) = problems.parse::<EnvName>(&at, name) else {
            continue;
        };
        match serving.get(&name) {
            Some(EnvValue::Literal(text) | EnvValue::Public(text)) if text.is_empty() => {
                problems.add(
                    join("/env", name.as_str()),
                    format!("{name} is required, and is empty"),
                );
            }
            None if !sources.iter().any(|source| source.key_of(&name).is_some()) => {
                let who = if spec.requires.is_some() {
                    "this release".to_owned()
                } else {
                    format!("preset {full_name}")
                };
                let key = name.as_str().to_ascii_lowercase().replace('_', "-");
                problems.add(
                    at,
                    format!("{who} needs the variable {name}; declare it, such as {name}: {{secret: {release}/{key}}}"),
                );
            }
            _ => {}
        }
        if !required.contains(&name) {
            required.push(name);
        }
    }
    // The database that a spec names is never taken for none because its key comes late.
    if let (Some(migrate), Some(Migrate::Options(options))) = (migrate, &spec.migrate)
        && options.database.is_some()
        && !migrate.env.contains_key(&migrate.database)
        && !required.contains(&migrate.database)
    {
        required.push(migrate.database.clone());
    }
    required
}

/// That a revision can hold a fingerprint of each value.
pub(super) fn countable(name: &ReleaseName, declared: &Declared, problems: &mut Problems) {
    let keys = declared.process_keys(&name.generated()).len() + declared.env_from.len();
    if keys > MAX_KEYS {
        problems.add(
            "/env".into(),
            format!("{keys} keys of Secrets and ConfigMaps are referred to; at most {MAX_KEYS} are possible. A whole Secret by `envFrom` counts as one"),
        );
    }
}
