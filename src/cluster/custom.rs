//! Objects of our own kinds as far as they can be read: the API server stores what no field of theirs can hold, since a
//! structural schema has no word for a text or an object, and one odd object must not blind the loops for the others.

use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{ApiResource, DynamicObject, ObjectMeta},
    core::object::HasStatus,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    error::ClusterError,
    objects::{found, within},
};

/// An object, and why its spec cannot be read.
#[derive(Debug, Clone)]
pub struct Custom<K> {
    /// The object; without a spec where that cannot be read.
    pub object: K,
    /// Why.
    pub wrong: Option<String>,
}

/// The untyped API of a kind; without a namespace, that of a cluster-scoped one.
#[must_use]
pub fn untyped<K: Resource<DynamicType = ()>>(
    client: &Client,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<K>(&());
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Gets one.
pub async fn get<K>(
    client: &Client,
    meta: &ObjectMeta,
    explain: impl FnOnce(&Value) -> Option<String>,
) -> Result<Option<Custom<K>>, ClusterError>
where
    K: Resource<DynamicType = ()> + HasStatus + DeserializeOwned + Default,
    K::Status: DeserializeOwned,
{
    let name = meta.name.clone().unwrap_or_default();
    let api = untyped::<K>(client, meta.namespace.as_deref());
    let attempted = || format!("get {} {name}", K::kind(&()));
    let object = found(within(attempted, api.get(&name)).await)?;
    Ok(object.map(|object| read(object, explain)))
}

/// Reads one. `explain` says better than the parser what is wrong with a spec.
pub fn read<K>(object: DynamicObject, explain: impl FnOnce(&Value) -> Option<String>) -> Custom<K>
where
    K: Resource<DynamicType = ()> + HasStatus + DeserializeOwned + Default,
    K::Status: DeserializeOwned,
{
    let metadata = object.metadata.clone();
    let part = |name: &str| object.data.get(name).cloned().unwrap_or_default();
    let (spec, status) = (part("spec"), part("status"));
    let error = match serde_json::to_value(object).and_then(serde_json::from_value::<K>) {
        Ok(object) => return Custom { object, wrong: None },
        Err(error) => error,
    };
    let mut object = K::default();
    *object.meta_mut() = metadata;
    *object.status_mut() = serde_json::from_value(status).ok();
    tracing::debug!(kind = %K::kind(&()), name = %object.name_any(), "an object cannot be read");
    Custom {
        object,
        // A message of the parser quotes the value.
        wrong: Some(explain(&spec).unwrap_or_else(|| format!("{:?} at its place", error.classify()))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{api::Release, spec::strict};

    fn release(spec: &Value) -> Custom<Release> {
        let object = json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "Release",
            "metadata": {"name": "a", "namespace": "shop", "labels": {"x": "y"}},
            "spec": spec,
            "status": {"phase": "Live", "repairs": 3},
        });
        read(serde_json::from_value(object).unwrap(), strict::unreadable)
    }

    #[test]
    fn a_spec_that_no_field_can_hold_leaves_metadata_and_status_readable_and_is_named_without_its_value() {
        for (spec, field) in [
            (json!({"env": {"X": 5}}), "env.X"),
            (json!({"env": {"X": {"secret": "hunter22"}}}), "env.X"),
            (json!({"health": ["hunter22"]}), "health"),
            (json!({"migrate": "hunter22"}), "migrate"),
            (json!({"migrate": {"retries": "hunter22"}}), "migrate.retries"),
        ] {
            let read = release(&spec);
            let said = read.wrong.unwrap();
            assert!(said.starts_with(&format!("`{field}` ")), "{said}");
            assert!(!said.contains("hunter22"), "{said}");
            assert_eq!(read.object.labels().len(), 1);
            assert_eq!(read.object.status.unwrap().repairs, Some(3));
        }
        let good = release(&json!({"env": {"X": "5"}}));
        assert!(good.wrong.is_none() && good.object.spec.env.len() == 1);
    }
}
