//! What the Job of a migration was given, read from the Job itself: for a migration that runs while no spec that could be
//! used says any more which database is meant. Pure; the other way round of `render::env` and of the files of a pod.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, EnvFromSource, EnvVar, PodSpec},
};
use kube::ResourceExt as _;

use crate::{
    api::{
        meta,
        release::{EnvValue, KeyRef},
    },
    names::{EnvName, ObjectName},
    render,
    spec::declared::{DATABASE, EnvSource, FileSource, Holder},
};

/// The surroundings of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The variable that names the database.
    pub database: EnvName,
    /// Its variables, as far as they are texts and keys.
    pub env: BTreeMap<EnvName, EnvValue>,
    /// Whole Secrets and `ConfigMaps`, in the order in which a later one wins.
    pub env_from: Vec<EnvSource>,
    /// Its files by their paths.
    pub files: BTreeMap<String, FileSource>,
}

impl Given {
    /// What a Job of ours gives to its container; `None` for one that has none of ours.
    #[must_use]
    pub fn of(job: &Job) -> Option<Self> {
        let pod = job.spec.as_ref()?.template.spec.as_ref()?;
        let container = pod
            .containers
            .iter()
            .find(|container| container.name == render::MIGRATE)?;
        let named = job
            .annotations()
            .get(meta::DATABASE)
            .map_or(DATABASE, String::as_str);
        Some(Self {
            database: named.parse().ok()?,
            env: container.env.iter().flatten().filter_map(variable).collect(),
            env_from: container.env_from.iter().flatten().filter_map(source).collect(),
            files: files(pod, container),
        })
    }

    /// The objects that the name of the database may be in.
    #[must_use]
    pub fn objects(&self) -> BTreeSet<(Holder, ObjectName)> {
        match self.env.get(&self.database) {
            Some(EnvValue::Secret(key)) => [(Holder::Secret, key.name.clone())].into(),
            Some(EnvValue::Config(key)) => [(Holder::ConfigMap, key.name.clone())].into(),
            Some(EnvValue::Literal(path) | EnvValue::Public(path)) => {
                let file = self.files.get(path.trim());
                file.map(|file| (file.holder, file.key.name.clone()))
                    .into_iter()
                    .collect()
            }
            Some(_) => BTreeSet::new(),
            None => {
                let sources = self.env_from.iter();
                sources
                    .map(|source| (source.holder, source.name.clone()))
                    .collect()
            }
        }
    }
}

fn variable(variable: &EnvVar) -> Option<(EnvName, EnvValue)> {
    let key = |name: &str, key: &str| {
        let name = name.parse().ok()?;
        Some(KeyRef {
            name,
            key: key.to_owned(),
        })
    };
    let value = match &variable.value_from {
        // Every dollar sign was doubled, so that the kubelet expands nothing.
        None => EnvValue::Literal(variable.value.clone().unwrap_or_default().replace("$$", "$")),
        Some(from) => {
            let secret = from.secret_key_ref.as_ref();
            let config = from.config_map_key_ref.as_ref();
            let secret = secret.and_then(|of| key(&of.name, &of.key)).map(EnvValue::Secret);
            secret.or_else(|| config.and_then(|of| key(&of.name, &of.key)).map(EnvValue::Config))?
        }
    };
    Some((variable.name.parse().ok()?, value))
}

fn source(source: &EnvFromSource) -> Option<EnvSource> {
    let secret = source.secret_ref.as_ref().map(|of| (Holder::Secret, &of.name));
    let config = source
        .config_map_ref
        .as_ref()
        .map(|of| (Holder::ConfigMap, &of.name));
    let (holder, name) = secret.or(config)?;
    Some(EnvSource {
        holder,
        name: name.parse().ok()?,
        prefix: source.prefix.clone().unwrap_or_default(),
    })
}

/// Each file is mounted by itself, from a volume that names its object and key.
fn files(pod: &PodSpec, container: &Container) -> BTreeMap<String, FileSource> {
    let volumes = pod.volumes.iter().flatten();
    let volume = volumes.filter(|volume| volume.name == render::FILES);
    let sources = volume.filter_map(|volume| volume.projected.as_ref()?.sources.as_ref());
    let mut keys: BTreeMap<String, FileSource> = BTreeMap::new();
    for source in sources.flatten() {
        let secret = source
            .secret
            .as_ref()
            .map(|of| (Holder::Secret, &of.name, &of.items));
        let config = source
            .config_map
            .as_ref()
            .map(|of| (Holder::ConfigMap, &of.name, &of.items));
        let Some((holder, name, items)) = secret.or(config) else {
            continue;
        };
        let Ok(name) = name.parse::<ObjectName>() else {
            continue;
        };
        keys.extend(items.iter().flatten().map(|item| {
            let key = KeyRef {
                name: name.clone(),
                key: item.key.clone(),
            };
            (item.path.clone(), FileSource { holder, key })
        }));
    }
    let mounts = container.volume_mounts.iter().flatten();
    mounts
        .filter(|mount| mount.name == render::FILES)
        .filter_map(|mount| {
            Some((
                mount.mount_path.clone(),
                keys.get(mount.sub_path.as_deref()?)?.clone(),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{ReleaseId, RevisionNumber};

    fn given(fields: &str) -> (Given, crate::spec::Declared) {
        let base = "image: ghcr.io/acme/a\nversion: 1.0.0\nport: 8080\n";
        let spec = serde_yaml::from_str(&format!("{base}{fields}\n")).unwrap();
        let id = ReleaseId {
            namespace: "shop".parse().unwrap(),
            name: "app".parse().unwrap(),
        };
        let declared = crate::spec::declare(&id.name, &spec).unwrap().unwrap();
        let input = render::Input {
            id: &id,
            declared: &declared,
            digest: &format!("sha256:{}", "1".repeat(64)).parse().unwrap(),
            architectures: &[],
            revision: RevisionNumber(1),
            provenance: None,
            owner: None,
        };
        let job = render::migrate_job(&input, &"0".repeat(64), 1).unwrap();
        let given = Given::of(&serde_json::from_value(job.value.to_value()).unwrap()).unwrap();
        (given, declared)
    }

    #[test]
    fn what_a_spec_gives_to_a_migration_is_read_back_from_its_job() {
        let (given, declared) = given(
            "env: {A: 'pa$$word $(home) $', B: {secret: app/b}, C: {config: conf/c}}
envFrom: [{secret: whole, prefix: X_}, {config: more}]
files: {/run/url: {secret: db/url}, /run/plain: {config: conf/a}}
migrate: {command: [/migrate], database: OTHER_URL, env: {OTHER_URL: /run/url}}",
        );
        let migrate = declared.migrate.as_ref().unwrap();
        assert_eq!(given.database, migrate.database);
        assert_eq!(given.env_from, declared.env_from);
        assert_eq!(given.files, declared.files);
        for (name, value) in &given.env {
            assert_eq!(Some(value), migrate.env.get(name), "{name}");
        }
        let whole = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.parse().unwrap())
                .collect::<Vec<EnvName>>()
        };
        assert!(
            whole(&["A", "B", "C", "OTHER_URL"])
                .iter()
                .all(|name| given.env.contains_key(name))
        );
        assert_eq!(given.objects(), [(Holder::Secret, "db".parse().unwrap())].into());
    }

    #[test]
    fn only_what_may_name_the_database_is_read() {
        let of = |fields: &str| {
            let objects = given(&format!("{fields}\nmigrate: [/migrate]")).0.objects();
            let words = objects.iter().map(|(holder, name)| format!("{holder} {name}"));
            words.collect::<Vec<String>>()
        };
        assert_eq!(
            of("env: {DATABASE_URL: {secret: db/url}, A: {secret: other/a}}"),
            ["Secret db"]
        );
        assert_eq!(of("env: {DATABASE_URL: {config: db/url}}"), ["ConfigMap db"]);
        assert_eq!(of("env: {DATABASE_URL: 'ecto://db/shop'}"), [""; 0]);
        assert_eq!(
            of("envFrom: [{secret: a}, {config: b}]"),
            ["Secret a", "ConfigMap b"]
        );
    }
}
