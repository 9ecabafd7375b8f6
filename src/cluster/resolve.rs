//! What the references of a spec resolve to, once everything that they name was read. Pure functions; values are held as
//! secrets, and leave this room as fingerprints, as the identity of a database, or to be taken out of texts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::{facts, given::Given, hash_key::HashKey};
use crate::{
    api::release::{EnvValue, KeyRef},
    names::{EnvName, ObjectName, ReleaseId},
    plan::observed::{DatabaseSeen, Fingerprints},
    spec::{
        Declared,
        declared::{EnvSource, FileSource, Holder, reference},
        redact::redact,
    },
};

/// As many fingerprints as a revision holds.
const MAX_PRINTS: usize = 400;

/// What a Secret or a `ConfigMap` holds.
#[derive(Debug, Default)]
pub struct Content {
    /// What can be a variable and a file.
    pub data: BTreeMap<String, SecretSlice<u8>>,
    /// What can be a file alone: `binaryData`.
    pub binary: BTreeMap<String, SecretSlice<u8>>,
    /// Of the Secret of generated values: under which `rotate` they were made.
    pub rotated: u64,
}

/// Everything that a spec names, by name; `None` for what is not there.
#[derive(Debug, Default)]
pub struct Contents(pub BTreeMap<(Holder, ObjectName), Option<Content>>);

/// What the references of a spec resolve to.
#[derive(Debug)]
pub struct References {
    /// References that do not resolve, as words.
    pub missing: Vec<String>,
    /// The Secrets among that: whole ones, and those that lack a key or its value.
    pub late: BTreeSet<ObjectName>,
    /// What operators say who are to make them.
    pub operators: Vec<String>,
    /// Generated values that do not exist yet.
    pub ungenerated: Vec<EnvName>,
    /// The counter that the generated values were made under; `None` where there are none.
    pub rotated: Option<u64>,
    /// The names of variables that pods have by `envFrom`.
    pub variables: Vec<String>,
    /// The database.
    pub database: DatabaseSeen,
    /// What processes refer to, as far as it is there; `None` where nothing is declared.
    pub fingerprints: Option<Fingerprints>,
    /// The values of Secrets, each with its reference (`Secret app-db/url`): to be taken out of logs, to be looked for in
    /// images, and then dropped.
    pub values: Vec<(String, SecretString)>,
}

impl References {
    /// Of a release that declares nothing.
    #[must_use]
    pub fn none() -> Self {
        Self {
            missing: Vec::new(),
            late: BTreeSet::new(),
            operators: Vec::new(),
            ungenerated: Vec::new(),
            rotated: None,
            variables: Vec::new(),
            database: DatabaseSeen::NotNeeded,
            fingerprints: None,
            values: Vec::new(),
        }
    }

    /// A text that some program of the release printed, without its secrets.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let values: Vec<&str> = self
            .values
            .iter()
            .map(|(_, value)| value.expose_secret())
            .collect();
        redact(text, &values)
    }
}

/// What a variable of a release has.
enum Variable<'a> {
    /// A text of the spec.
    Text(&'a str),
    /// A value, and where it is.
    Value(&'a SecretSlice<u8>, Place),
    /// What would give it is not there.
    Missing,
    /// Kubernetes or Slipway makes it.
    Made,
    /// Nothing gives it.
    None,
}

/// A key of an object.
struct Place {
    holder: Holder,
    name: ObjectName,
    key: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} with key {}", self.holder, self.name, self.key)
    }
}

impl Contents {
    fn get(&self, holder: Holder, name: &ObjectName) -> Option<&Content> {
        self.0.get(&(holder, name.clone()))?.as_ref()
    }

    fn variable_key(&self, holder: Holder, key: &KeyRef) -> Option<&SecretSlice<u8>> {
        self.get(holder, &key.name)?.data.get(&key.key)
    }

    fn file_key(&self, holder: Holder, key: &KeyRef) -> Option<&SecretSlice<u8>> {
        let content = self.get(holder, &key.name)?;
        content
            .data
            .get(&key.key)
            .or_else(|| content.binary.get(&key.key))
    }

    /// A variable as the kubelet would give it: by `env`, else by the last of the whole objects that has it.
    fn variable<'a>(
        &'a self,
        env: &'a BTreeMap<EnvName, EnvValue>,
        sources: &[EnvSource],
        name: &EnvName,
    ) -> Variable<'a> {
        let by_key = |holder, key: &KeyRef| match self.variable_key(holder, key) {
            Some(value) => Variable::Value(value, place(holder, &key.name, &key.key)),
            None => Variable::Missing,
        };
        match env.get(name) {
            Some(EnvValue::Literal(text) | EnvValue::Public(text)) => return Variable::Text(text),
            Some(EnvValue::Field(_) | EnvValue::Generate(_)) => return Variable::Made,
            Some(EnvValue::Secret(key)) => return by_key(Holder::Secret, key),
            Some(EnvValue::Config(key)) => return by_key(Holder::ConfigMap, key),
            None => {}
        }
        for source in sources.iter().rev() {
            let Some(key) = source.key_of(name) else { continue };
            let Some(content) = self.get(source.holder, &source.name) else {
                return Variable::Missing;
            };
            if let Some(value) = content.data.get(key) {
                return Variable::Value(value, place(source.holder, &source.name, key));
            }
        }
        Variable::None
    }
}

fn place(holder: Holder, name: &ObjectName, key: &str) -> Place {
    Place {
        holder,
        name: name.clone(),
        key: key.to_owned(),
    }
}

/// What a spec's references are, now that everything they name was read.
#[must_use]
pub fn resolve(id: &ReleaseId, declared: &Declared, key: &HashKey, contents: &Contents) -> References {
    let generated = id.name.generated();
    let made = generated
        .parse::<ObjectName>()
        .ok()
        .and_then(|name| contents.get(Holder::Secret, &name));
    let has = |name: &EnvName| made.is_some_and(|made| made.data.contains_key(name.as_str()));
    let (missing, late) = missing(declared, contents);
    References {
        missing,
        late,
        operators: Vec::new(),
        ungenerated: declared
            .generated()
            .into_keys()
            .filter(|name| !has(name))
            .collect(),
        rotated: made.map(|made| made.rotated),
        variables: variables(declared, contents),
        database: database(declared, contents),
        fingerprints: Some(fingerprints(id, declared, key, contents)),
        values: values(id, declared, contents),
    }
}

/// What does not resolve, each once, and the Secrets among it.
fn missing(declared: &Declared, contents: &Contents) -> (Vec<String>, BTreeSet<ObjectName>) {
    let mut missing: Vec<String> = Vec::new();
    let mut late = BTreeSet::new();
    let mut add = |objects: &[(Holder, &ObjectName)], words: String| {
        let secrets = objects.iter().filter(|(holder, _)| *holder == Holder::Secret);
        late.extend(secrets.map(|(_, name)| (*name).clone()));
        if !missing.contains(&words) {
            missing.push(words);
        }
    };
    for holder in [Holder::Secret, Holder::ConfigMap] {
        let of_variables = declared.env_keys(holder).into_iter().map(|key| {
            let there = contents.variable_key(holder, &key).is_some();
            (key, there)
        });
        let of_files = declared.file_keys(holder).into_iter().map(|key| {
            let there = contents.file_key(holder, &key).is_some();
            (key, there)
        });
        for (key, _) in of_variables.chain(of_files).filter(|(_, there)| !there) {
            add(
                &[(holder, &key.name)],
                place(holder, &key.name, &key.key).to_string(),
            );
        }
        for source in declared.env_from.iter().filter(|source| source.holder == holder) {
            if contents.get(holder, &source.name).is_none() {
                add(&[(holder, &source.name)], format!("{holder} {}", source.name));
            }
        }
        if let Some(name) = declared.pull_secret.as_ref().filter(|_| holder == Holder::Secret)
            && contents.get(holder, name).is_none()
        {
            add(&[(holder, name)], format!("pull Secret {name}"));
        }
    }
    let nothing = BTreeMap::new();
    let env = declared.primary_env().unwrap_or(&nothing);
    for name in &declared.requires {
        match contents.variable(env, &declared.env_from, name) {
            Variable::Value(value, at) if value.expose_secret().is_empty() => {
                add(&[(at.holder, &at.name)], format!("a value for {name} in {at}"));
            }
            Variable::None => {
                let sources = declared.env_from.iter();
                let sources = sources.filter(|source| source.key_of(name).is_some());
                let objects: BTreeSet<(Holder, &ObjectName)> =
                    sources.map(|source| (source.holder, &source.name)).collect();
                let objects: Vec<(Holder, &ObjectName)> = objects.into_iter().collect();
                let words: Vec<String> = objects
                    .iter()
                    .map(|(holder, name)| format!("{holder} {name}"))
                    .collect();
                add(&objects, format!("a key for {name} in {}", words.join(" or ")));
            }
            // What is not there is told by its own name.
            _ => {}
        }
    }
    (missing, late)
}

/// The names of what pods have by `envFrom` alone.
fn variables(declared: &Declared, contents: &Contents) -> Vec<String> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for source in &declared.env_from {
        let keys = contents.get(source.holder, &source.name).into_iter();
        let keys = keys.flat_map(|content| content.data.keys());
        names.extend(keys.map(|key| format!("{}{key}", source.prefix)));
    }
    if let Some(env) = declared.primary_env() {
        for name in env.keys() {
            names.remove(name.as_str());
        }
    }
    names.into_iter().collect()
}

/// Fingerprints of what processes are given.
fn fingerprints(id: &ReleaseId, declared: &Declared, key: &HashKey, contents: &Contents) -> Fingerprints {
    let mut values = BTreeMap::new();
    let mut record = |reference: String, value: &[u8]| {
        let print = key.fingerprint(id, &reference, value);
        values.insert(reference, print);
    };
    let known = declared.process_keys(&id.name.generated());
    for ((holder, name), content) in &contents.0 {
        let Some(content) = content else { continue };
        for (field, value) in content.data.iter().chain(&content.binary) {
            let reference = reference(*holder, name.as_str(), field);
            if known.contains_key(&reference) {
                record(reference, value.expose_secret());
            }
        }
    }
    let wholes: BTreeMap<String, (&EnvSource, &Content)> = declared
        .env_from
        .iter()
        .filter_map(|source| {
            Some((
                source.whole(),
                (source, contents.get(source.holder, &source.name)?),
            ))
        })
        .collect();
    let keys: usize = wholes.values().map(|(_, content)| content.data.len() + 1).sum();
    // Each key by itself, so that a change can be told by its name; and together, since one may come or go.
    let each = known.len() + keys <= MAX_PRINTS;
    for (whole, (source, content)) in wholes {
        let mut all: Vec<u8> = Vec::new();
        let mut part = |bytes: &[u8]| {
            all.extend(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            all.extend(bytes);
        };
        for (field, value) in &content.data {
            part(field.as_bytes());
            if each {
                record(
                    reference(source.holder, source.name.as_str(), field),
                    value.expose_secret(),
                );
            } else {
                part(value.expose_secret());
            }
        }
        record(whole, SecretSlice::from(all).expose_secret());
    }
    Fingerprints {
        key_id: key.id().to_owned(),
        values,
    }
}

/// What pods, the migration among them, are given of Secrets: what no log that is kept may show, and no image hold.
fn values(id: &ReleaseId, declared: &Declared, contents: &Contents) -> Vec<(String, SecretString)> {
    let keys: BTreeSet<KeyRef> = declared
        .env_keys(Holder::Secret)
        .into_iter()
        .chain(declared.file_keys(Holder::Secret))
        .collect();
    let of_keys = keys.into_iter().filter_map(|key| {
        let value = contents.file_key(Holder::Secret, &key)?;
        Some((key.name.to_string(), key.key, value))
    });
    let wholes = declared
        .env_from
        .iter()
        .filter(|source| source.holder == Holder::Secret)
        .map(|source| source.name.to_string())
        .chain([id.name.generated()]);
    let of_wholes = wholes.flat_map(|name| {
        let content = name
            .parse()
            .ok()
            .and_then(|name| contents.get(Holder::Secret, &name));
        let fields = content.into_iter().flat_map(|content| &content.data);
        fields.map(move |(field, value)| (name.clone(), field.clone(), value))
    });
    of_keys
        .chain(of_wholes)
        .map(|(name, field, value)| {
            (
                reference(Holder::Secret, &name, &field),
                text(value.expose_secret()),
            )
        })
        .collect()
}

/// A value as programs print it: what is no text in base64, if at all.
pub(super) fn text(value: &[u8]) -> SecretString {
    std::str::from_utf8(value).map_or_else(|_| SecretString::from(STANDARD.encode(value)), SecretString::from)
}

/// Host, port and name of the database of the migration; never the password.
fn database(declared: &Declared, contents: &Contents) -> DatabaseSeen {
    let Some(migrate) = &declared.migrate else {
        return DatabaseSeen::NotNeeded;
    };
    let seen = named(
        &migrate.database,
        (&migrate.env, &declared.env_from, &declared.files),
        contents,
    );
    // It is among what is missing, and waited for.
    let required = declared.requires.contains(&migrate.database);
    seen.unwrap_or(if required {
        DatabaseSeen::Unreadable
    } else {
        DatabaseSeen::Unnamed
    })
}

/// The database of a migration that runs, by what its Job was given.
#[must_use]
pub fn database_of_job(given: &Given, contents: &Contents) -> DatabaseSeen {
    let seen = named(
        &given.database,
        (&given.env, &given.env_from, &given.files),
        contents,
    );
    seen.unwrap_or(DatabaseSeen::Unnamed)
}

/// The database that a variable names, which may hold the path of a file; `None` where nothing gives it.
fn named(
    variable: &EnvName,
    (env, sources, files): (
        &BTreeMap<EnvName, EnvValue>,
        &[EnvSource],
        &BTreeMap<String, FileSource>,
    ),
    contents: &Contents,
) -> Option<DatabaseSeen> {
    let identity =
        |url: &str| facts::database_identity(url).map_or(DatabaseSeen::Unnamed, DatabaseSeen::Known);
    let in_bytes = |bytes: &SecretSlice<u8>| {
        std::str::from_utf8(bytes.expose_secret()).map_or(DatabaseSeen::Unnamed, identity)
    };
    Some(match contents.variable(env, sources, variable) {
        Variable::Text(text) => match files.get(text.trim()) {
            Some(file) => contents
                .file_key(file.holder, &file.key)
                .map_or(DatabaseSeen::Unreadable, in_bytes),
            None => identity(text),
        },
        Variable::Value(value, _) => in_bytes(value),
        Variable::Missing => DatabaseSeen::Unreadable,
        Variable::Made => DatabaseSeen::Unnamed,
        Variable::None => return None,
    })
}

#[cfg(test)]
mod tests;
