//! A namespace that a release is to live in and that does not exist: made, where the source says so. None is ever deleted.

use k8s_openapi::api::core::v1::Namespace as NamespaceObject;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use crate::{
    api::meta,
    cluster::{error::ClusterError, objects::within},
    names::Namespace,
};

/// Writes into a namespace; one that is missing is made first where `source`, which may, is given.
pub async fn writing<W: Future<Output = Result<(), ClusterError>>>(
    client: &Client,
    namespace: &Namespace,
    source: Option<&str>,
    write: impl Fn() -> W,
) -> Result<(), ClusterError> {
    match (write().await, source) {
        (Err(error), Some(source)) if error.lacks_namespace() => {
            create(client, namespace, source).await?;
            write().await
        }
        (done, _) => done,
    }
}

async fn create(client: &Client, name: &Namespace, source: &str) -> Result<(), ClusterError> {
    let labels = [
        ("app.kubernetes.io/managed-by".to_owned(), "slipway".to_owned()),
        (meta::SOURCE.to_owned(), source.to_owned()),
    ];
    let object = NamespaceObject {
        metadata: ObjectMeta {
            name: Some(name.to_string()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        ..NamespaceObject::default()
    };
    let params = PostParams {
        field_manager: Some("slipway-source".to_owned()),
        ..PostParams::default()
    };
    let api: Api<NamespaceObject> = Api::all(client.clone());
    let attempted = || format!("create namespace {name}");
    match within(attempted, api.create(&params, &object)).await {
        Ok(_) => {
            tracing::info!(namespace = %name, "namespace created");
            Ok(())
        }
        // Another pass, or somebody else, was quicker.
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::api::Release;

    /// An API server with one namespace more once somebody made it, and what it was asked.
    fn server() -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let line = format!("{} {}", request.method(), request.uri().path());
            let mut seen = seen.lock().unwrap();
            let there = seen.iter().any(|line| line == "POST /api/v1/namespaces");
            let namespace = line == "POST /api/v1/namespaces";
            seen.push(line);
            let body = if namespace || there {
                json!({"metadata": {"name": "app", "namespace": "shop"}, "spec": {}})
            } else {
                json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                    "message": "namespaces \"shop\" not found", "details": {"name": "shop", "kind": "namespaces"},
                })
            };
            let status = if namespace || there { 201 } else { 404 };
            async move {
                let answer = http::Response::builder().status(status);
                Ok::<_, std::convert::Infallible>(
                    answer.body(Body::from(body.to_string().into_bytes())).unwrap(),
                )
            }
        });
        (Client::new(service, "default"), asked)
    }

    async fn write(client: &Client) -> Result<(), ClusterError> {
        let api: Api<Release> = Api::namespaced(client.clone(), "shop");
        let object = Release::new("app", crate::api::ReleaseSpec::default());
        within(
            || "create Release shop/app".to_owned(),
            api.create(&PostParams::default(), &object),
        )
        .await
        .map(drop)
    }

    #[tokio::test]
    async fn a_missing_namespace_is_made_where_the_source_says_so_and_else_said() {
        let namespace: Namespace = "shop".parse().unwrap();
        let (client, asked) = server();
        let done = writing(&client, &namespace, None, || write(&client)).await;
        assert!(done.unwrap_err().lacks_namespace());
        assert_eq!(asked.lock().unwrap().len(), 1, "nothing else is asked for");
        asked.lock().unwrap().clear();
        writing(&client, &namespace, Some("all"), || write(&client))
            .await
            .unwrap();
        let release = "POST /apis/slipway.dev/v1alpha1/namespaces/shop/releases";
        assert_eq!(
            *asked.lock().unwrap(),
            [release, "POST /api/v1/namespaces", release]
        );
    }
}
