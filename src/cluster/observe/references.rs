//! What a spec refers to. Values are read by name, held as secrets and dropped with the look.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use secrecy::{ExposeSecret, SecretString};

use super::super::{
    error::ClusterError,
    facts,
    hash_key::HashKey,
    objects::{found, within},
};
use crate::{
    api::release::{EnvValue, KeyRef},
    names::{EnvName, Namespace, ObjectName, ReleaseId},
    plan::observed::{DatabaseSeen, Fingerprints},
    spec::{Declared, redact::redact},
};

/// What the references of a spec resolve to.
#[derive(Debug)]
pub struct References {
    /// References that do not resolve, as words.
    pub missing: Vec<String>,
    /// Generated values that do not exist yet.
    pub ungenerated: Vec<EnvName>,
    /// The database.
    pub database: DatabaseSeen,
    /// What processes refer to, as far as it is there; `None` where nothing is declared.
    pub fingerprints: Option<Fingerprints>,
    /// The values of Secrets, to be taken out of logs and then dropped.
    pub values: Vec<SecretString>,
}

impl References {
    /// Of a release that declares nothing.
    #[must_use]
    pub fn none() -> Self {
        Self {
            missing: Vec::new(),
            ungenerated: Vec::new(),
            database: DatabaseSeen::NotNeeded,
            fingerprints: None,
            values: Vec::new(),
        }
    }

    /// A text that some program of the release printed, without its secrets.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let values: Vec<&str> = self.values.iter().map(ExposeSecret::expose_secret).collect();
        redact(text, &values)
    }
}

/// Looks up what a spec refers to. Values are read by name, hashed, used for the database's identity, and dropped.
pub async fn references(
    client: &Client,
    id: &ReleaseId,
    declared: &Declared,
    key: &HashKey,
) -> Result<References, ClusterError> {
    let of_processes = declared.process_keys(&generated_name(id));
    let mut fingerprints = Fingerprints {
        key_id: key.id().to_owned(),
        ..Fingerprints::default()
    };
    let mut values = Vec::new();
    let mut record = |kind: &str, name: &str, field: &str, value: &[u8]| {
        if kind == "Secret"
            && let Ok(text) = std::str::from_utf8(value)
        {
            values.push(SecretString::from(text));
        }
        let reference = format!("{kind} {name}/{field}");
        if of_processes.contains(&reference) {
            let print = key.fingerprint(id, &reference, value);
            fingerprints.values.insert(reference, print);
        }
    };
    let mut secrets = Secrets {
        client,
        namespace: &id.namespace,
        read: BTreeMap::new(),
    };
    let mut missing = Vec::new();
    for key in declared.secret_keys() {
        let secret = secrets.get(&key.name).await?;
        match secret.and_then(|secret| secret.data.as_ref()?.get(&key.key)) {
            Some(value) => record("Secret", key.name.as_str(), &key.key, &value.0),
            None => missing.push(format!("Secret {} with key {}", key.name, key.key)),
        }
    }
    if let Some(name) = &declared.pull_secret
        && secrets.get(name).await?.is_none()
    {
        missing.push(format!("pull Secret {name}"));
    }
    let configs: Api<ConfigMap> = Api::namespaced(client.clone(), id.namespace.as_str());
    for key in declared.config_keys() {
        let map = found(
            within(
                || format!("get ConfigMap {} of {id}", key.name),
                configs.get(key.name.as_str()),
            )
            .await,
        )?;
        match map.as_ref().and_then(|map| map.data.as_ref()?.get(&key.key)) {
            Some(value) => record("ConfigMap", key.name.as_str(), &key.key, value.as_bytes()),
            None => missing.push(format!("ConfigMap {} with key {}", key.name, key.key)),
        }
    }
    let wanted = declared.generated();
    let mut ungenerated = Vec::new();
    if !wanted.is_empty() {
        let name: ObjectName = generated_name(id)
            .parse()
            .map_err(|e| ClusterError::Unreadable(format!("generated Secret: {e}")))?;
        let data = secrets
            .get(&name)
            .await?
            .and_then(|secret| secret.data.clone())
            .unwrap_or_default();
        for (field, value) in &data {
            record("Secret", name.as_str(), field, &value.0);
        }
        ungenerated = wanted
            .into_keys()
            .filter(|name| !data.contains_key(name.as_str()))
            .collect();
    }
    let database = database(&mut secrets, id, declared).await?;
    Ok(References {
        missing,
        ungenerated,
        database,
        fingerprints: Some(fingerprints),
        values,
    })
}

/// The name of the Secret that holds generated values.
#[must_use]
pub fn generated_name(id: &ReleaseId) -> String {
    format!("{}-generated", id.name)
}

/// Host, port and name of the database of the migration; never the password.
async fn database(
    secrets: &mut Secrets<'_>,
    id: &ReleaseId,
    declared: &Declared,
) -> Result<DatabaseSeen, ClusterError> {
    let Some(migrate) = &declared.migrate else {
        return Ok(DatabaseSeen::NotNeeded);
    };
    let identity =
        |url: &str| facts::database_identity(url).map_or(DatabaseSeen::Unnamed, DatabaseSeen::Known);
    Ok(match migrate.env.get(&migrate.database) {
        None | Some(EnvValue::Field(_) | EnvValue::Generate(_)) => DatabaseSeen::Unnamed,
        Some(EnvValue::Literal(url) | EnvValue::Public(url)) => identity(url),
        Some(EnvValue::Secret(KeyRef { name, key })) => {
            let secret = secrets.get(name).await?;
            match secret.and_then(|secret| secret.data.as_ref()?.get(key)) {
                None => DatabaseSeen::Unreadable,
                Some(bytes) => std::str::from_utf8(&bytes.0).map_or(DatabaseSeen::Unnamed, identity),
            }
        }
        Some(EnvValue::Config(KeyRef { name, key })) => {
            let configs: Api<ConfigMap> = Api::namespaced(secrets.client.clone(), id.namespace.as_str());
            let map = found(
                within(
                    || format!("get ConfigMap {name} of {id}"),
                    configs.get(name.as_str()),
                )
                .await,
            )?;
            match map.and_then(|map| map.data?.get(key).cloned()) {
                None => DatabaseSeen::Unreadable,
                Some(url) => identity(&url),
            }
        }
    })
}

/// Secrets that were read in this pass, each once.
pub(super) struct Secrets<'a> {
    pub client: &'a Client,
    pub namespace: &'a Namespace,
    pub read: BTreeMap<ObjectName, Option<Secret>>,
}

impl Secrets<'_> {
    pub async fn get(&mut self, name: &ObjectName) -> Result<Option<&Secret>, ClusterError> {
        if !self.read.contains_key(name) {
            let api: Api<Secret> = Api::namespaced(self.client.clone(), self.namespace.as_str());
            let secret = found(
                within(
                    || format!("get Secret {name} in {}", self.namespace),
                    api.get(name.as_str()),
                )
                .await,
            )?;
            self.read.insert(name.clone(), secret);
        }
        Ok(self.read.get(name).and_then(Option::as_ref))
    }
}
