//! Reads what a spec refers to: by name, and only what it names. Values are held as secrets and dropped with the look.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client, ResourceExt as _};
use secrecy::SecretSlice;

use super::{
    super::{
        error::ClusterError,
        hash_key::HashKey,
        objects::{found, within},
        resolve::{Content, Contents, References, resolve},
    },
    operators::operators,
};
use crate::{
    api::meta,
    names::{ObjectName, ReleaseId},
    spec::{Declared, declared::Holder},
};

/// Looks up what a spec refers to. Values are read by name, hashed, used for the database's identity, and dropped.
pub async fn references(
    client: &Client,
    id: &ReleaseId,
    declared: &Declared,
    key: &HashKey,
) -> Result<References, ClusterError> {
    let mut contents = Contents::default();
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
    let api: Api<Secret> = Api::namespaced(client.clone(), id.namespace.as_str());
    for name in secrets {
        let attempted = || format!("get Secret {name} of {id}");
        let secret = found(within(attempted, api.get(name.as_str())).await)?;
        contents.0.insert((Holder::Secret, name), secret.map(of_secret));
    }
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), id.namespace.as_str());
    for name in declared.objects(Holder::ConfigMap) {
        let attempted = || format!("get ConfigMap {name} of {id}");
        let map = found(within(attempted, api.get(name.as_str())).await)?;
        contents
            .0
            .insert((Holder::ConfigMap, name), map.map(of_config_map));
    }
    let mut references = resolve(id, declared, key, &contents);
    if !references.late.is_empty() {
        references.operators = operators(client, id, &references.late).await;
    }
    Ok(references)
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
