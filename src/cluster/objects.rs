//! Objects of a release as the API server has them: list, get, apply, delete; each call with a deadline.

use std::{collections::BTreeMap, fmt::Debug, future::Future, time::Duration};

use kube::{
    Api, Client,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
        Preconditions, PropagationPolicy, TypeMeta,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::ClusterError;
use crate::{
    api::{FIELD_MANAGER, meta},
    names::{Namespace, ReleaseId, Uid},
    plan::observed::LiveObject,
    render::{Kind, Object, ObjectKey},
};

/// How long the API server may take for one request.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// The kinds that belong to a revision, in the order of application.
pub const KINDS: [Kind; 5] = [
    Kind::ServiceAccount,
    Kind::Service,
    Kind::PodDisruptionBudget,
    Kind::Deployment,
    Kind::Ingress,
];

/// Runs a request with the deadline, and says what was attempted when it fails.
pub async fn within<T>(
    attempted: impl FnOnce() -> String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClusterError> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(ClusterError::Request {
            attempted: attempted(),
            source: Box::new(source),
        }),
        Err(_) => Err(ClusterError::TimedOut {
            attempted: attempted(),
        }),
    }
}

/// Objects of one request: at a few kilobytes each an answer has some megabytes.
const PAGE: u32 = 500;

/// Lists what may be much, page by page: each page has the deadline of a request, and only what `take` keeps stays in
/// memory. All pages show the cluster as it was when the first one was made.
pub async fn pages<K>(
    attempted: impl Fn() -> String,
    api: &Api<K>,
    params: ListParams,
    mut take: impl FnMut(K),
) -> Result<(), ClusterError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut params = params.limit(PAGE);
    loop {
        let list = within(&attempted, api.list(&params)).await?;
        list.items.into_iter().for_each(&mut take);
        params.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(());
        }
    }
}

/// `None` instead of 404.
pub fn found<T>(result: Result<T, ClusterError>) -> Result<Option<T>, ClusterError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The untyped API of a kind.
#[must_use]
pub fn dynamic(client: &Client, namespace: &Namespace, kind: Kind) -> Api<DynamicObject> {
    let (group, version) = kind
        .api_version()
        .split_once('/')
        .unwrap_or(("", kind.api_version()));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind.as_str()));
    Api::namespaced_with(client.clone(), namespace.as_str(), &resource)
}

/// All objects of a release by label, without the guards of migrations.
pub async fn list(
    client: &Client,
    id: &ReleaseId,
    kind: Kind,
) -> Result<BTreeMap<ObjectKey, LiveObject>, ClusterError> {
    let selector = format!("{}={},!{}", meta::RELEASE, id.name, meta::TASK);
    let params = ListParams::default().labels(&selector);
    let list = within(
        || format!("list the {}s of {id}", kind.as_str()),
        dynamic(client, &id.namespace, kind).list(&params),
    )
    .await?;
    Ok(list
        .items
        .into_iter()
        .filter_map(|object| live(kind, object))
        .collect())
}

/// One object by name, whoever made it.
pub async fn get(
    client: &Client,
    id: &ReleaseId,
    key: &ObjectKey,
) -> Result<Option<(ObjectKey, LiveObject)>, ClusterError> {
    let api = dynamic(client, &id.namespace, key.kind);
    let object = found(within(|| format!("get {key} of {id}"), api.get(&key.name)).await)?;
    Ok(object.and_then(|object| live(key.kind, object)))
}

fn live(kind: Kind, mut object: DynamicObject) -> Option<(ObjectKey, LiveObject)> {
    // Items of a list come without their type.
    object.types = Some(TypeMeta {
        api_version: kind.api_version().to_owned(),
        kind: kind.as_str().to_owned(),
    });
    let name = object.metadata.name.clone()?;
    let uid = object.metadata.uid.clone()?.parse().ok()?;
    let resource_version = object.metadata.resource_version.clone()?;
    let value = serde_json::to_value(object).ok()?;
    Some((
        ObjectKey { kind, name },
        LiveObject {
            uid,
            resource_version,
            value: value.into(),
        },
    ))
}

/// The version of an object that is absent. No object ever has it, since etcd's first write makes its second revision; and
/// the API server compares it with what is there, and with nothing where nothing is there.
const ABSENT: &str = "1";

/// Applies an object. With `over` the write fails when the object changed since it was seen; without, the object was
/// absent, and the write fails when there is one by now: neither is a stranger that came in between taken over, nor what
/// another controller has made meanwhile turned back.
pub async fn apply(
    client: &Client,
    id: &ReleaseId,
    object: &Object,
    over: Option<&str>,
    dry_run: bool,
) -> Result<Value, ClusterError> {
    let mut value = object.value.clone();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), json!(over.unwrap_or(ABSENT)));
    }
    let mut params = PatchParams::apply(FIELD_MANAGER).validation_strict();
    params.force = over.is_some();
    params.dry_run = dry_run;
    let api = dynamic(client, &id.namespace, object.key.kind);
    let applied = within(
        || format!("apply {} of {id}", object.key),
        api.patch(&object.key.name, &params, &Patch::Apply(&value)),
    )
    .await?;
    Ok(serde_json::to_value(applied).unwrap_or_default())
}

/// Patches an object by a merge patch that says over which resourceVersion.
pub async fn patch(
    client: &Client,
    id: &ReleaseId,
    key: &ObjectKey,
    patch: &Value,
) -> Result<(), ClusterError> {
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api = dynamic(client, &id.namespace, key.kind);
    within(
        || format!("take over {key} of {id}"),
        api.patch(&key.name, &params, &Patch::Merge(patch)),
    )
    .await?;
    Ok(())
}

/// Deletes exactly this object; gone already is fine.
pub async fn delete(
    client: &Client,
    id: &ReleaseId,
    key: &ObjectKey,
    uid: &Uid,
    over: Option<&str>,
) -> Result<(), ClusterError> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_string()),
            resource_version: over.map(ToOwned::to_owned),
        }),
        // Pods go before their owner does: a Job that is gone has no pod that still runs.
        propagation_policy: Some(PropagationPolicy::Foreground),
        ..DeleteParams::default()
    };
    let api = dynamic(client, &id.namespace, key.kind);
    found(within(|| format!("delete {key} of {id}"), api.delete(&key.name, &params)).await)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{ResourceExt as _, client::Body};

    use super::*;

    /// An API server that gives one object and a token per answer, and none after the third.
    fn server() -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let mut seen = seen.lock().unwrap();
            seen.push(request.uri().query().unwrap_or_default().to_owned());
            let number = seen.len();
            let token = if number < 3 {
                format!("after-{number}")
            } else {
                String::new()
            };
            let answer = json!({
                "kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7", "continue": token},
                "items": [{"metadata": {"name": format!("map-{number}")}}],
            });
            let body = Body::from(answer.to_string().into_bytes());
            async move { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
        });
        (Client::new(service, "default"), asked)
    }

    #[tokio::test]
    async fn a_long_list_is_read_to_its_end_page_by_page() {
        let (client, asked) = server();
        let api: Api<ConfigMap> = Api::all(client);
        let mut names = Vec::new();
        let params = ListParams::default().labels("a=b");
        pages(
            || "list".to_owned(),
            &api,
            params,
            |map| names.push(map.name_any()),
        )
        .await
        .unwrap();
        assert_eq!(names, ["map-1", "map-2", "map-3"]);
        let asked = asked.lock().unwrap();
        let wants = |query: &String, word: &str| query.contains(word);
        assert!(
            asked
                .iter()
                .all(|query| wants(query, "limit=500") && wants(query, "labelSelector"))
        );
        assert!(
            wants(&asked[2], "continue=after-2") && !wants(&asked[0], "continue"),
            "{asked:?}"
        );
    }
}
