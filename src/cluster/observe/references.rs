//! Reads what a spec refers to: by name, and only what it names. Values are held as secrets and dropped with the look.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::{
        batch::v1::Job,
        core::v1::{ConfigMap, Secret},
    },
};
use kube::{Api, Client, ResourceExt as _};
use secrecy::SecretSlice;

use super::{
    super::{
        error::ClusterError,
        given::Given,
        hash_key::HashKey,
        objects::{found, within},
        resolve::{self, Content, Contents, References, resolve},
    },
    operators::operators,
};
use crate::{
    api::meta,
    names::{ObjectName, ReleaseId, Uid},
    plan::observed::DatabaseSeen,
    spec::{Declared, declared::Holder},
};

/// Looks up what a spec refers to. Values are read by name, hashed, used for the database's identity, and dropped.
pub async fn references(
    client: &Client,
    id: &ReleaseId,
    declared: &Declared,
    key: &HashKey,
) -> Result<References, ClusterError> {
    let mut secrets = declared.objects(Holder::Secret);
    secrets.extend(declared.pull_secret.clone());
    if !declared.generated().is_empty() {
        let name: ObjectName = id
            .name
            .generated()
            .parse()
            .map_err(|e| ClusterError::Unreadable(format!("generated Secret: {e}")))?;
        secrets.insert(name);
    }
    let secrets = secrets.into_iter().map(|name| (Holder::Secret, name));
    let maps = declared.objects(Holder::ConfigMap).into_iter();
    let contents = contents(
        client,
        id,
        secrets.chain(maps.map(|name| (Holder::ConfigMap, name))),
    )
    .await?;
    let mut references = resolve(id, declared, key, &contents);
    if !references.late.is_empty() {
        references.operators = operators(client, id, &references.late).await;
    }
    Ok(references)
}

/// The database of a migration that runs while no spec says which one is meant: that of its Job.
pub async fn database_of_job(
    client: &Client,
    id: &ReleaseId,
    name: &str,
    uid: &Uid,
) -> Result<DatabaseSeen, ClusterError> {
    let api: Api<Job> = Api::namespaced(client.clone(), id.namespace.as_str());
    let job = found(within(|| format!("get Job {name} of {id}"), api.get(name)).await)?;
    let job = job.filter(|job| job.metadata.uid.as_deref() == Some(uid.as_str()));
    let Some(given) = job.as_ref().and_then(Given::of) else {
        return Ok(DatabaseSeen::Unreadable);
    };
    let contents = contents(client, id, given.objects()).await?;
    Ok(resolve::database_of_job(&given, &contents))
}

async fn contents(
    client: &Client,
    id: &ReleaseId,
    objects: impl IntoIterator<Item = (Holder, ObjectName)>,
) -> Result<Contents, ClusterError> {
    let mut contents = Contents::default();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), id.namespace.as_str());
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), id.namespace.as_str());
    for (holder, name) in objects {
        let attempted = || format!("get {holder} {name} of {id}");
        let content = match holder {
            Holder::Secret => found(within(attempted, secrets.get(name.as_str())).await)?.map(of_secret),
            Holder::ConfigMap => found(within(attempted, maps.get(name.as_str())).await)?.map(of_config_map),
        };
        contents.0.insert((holder, name), content);
    }
    Ok(contents)
}

fn of_secret(secret: Secret) -> Content {
    Content {
        rotated: rotated(&secret),
        data: held(secret.data.unwrap_or_default()),
        binary: BTreeMap::new(),
    }
}

fn of_config_map(map: ConfigMap) -> Content {
    let texts = map.data.unwrap_or_default().into_iter();
    Content {
        data: texts
            .map(|(key, text)| (key, SecretSlice::from(text.into_bytes())))
            .collect(),
        binary: held(map.binary_data.unwrap_or_default()),
        rotated: 0,
    }
}

fn held(data: BTreeMap<String, ByteString>) -> BTreeMap<String, SecretSlice<u8>> {
    let held = |(key, value): (String, ByteString)| (key, SecretSlice::from(value.0));
    data.into_iter().map(held).collect()
}

/// The counter `rotate` that the values of a Secret of generated values were made under.
#[must_use]
pub fn rotated(secret: &Secret) -> u64 {
    let counter = secret.annotations().get(meta::ROTATED);
    counter.and_then(|text| text.parse().ok()).unwrap_or(0)
}
