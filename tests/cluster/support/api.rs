//! Requests to the API server, over the socket that the bed keeps for them. A `kubectl` for each look of each test that waits
//! would take a processor of its own.

use std::{path::PathBuf, sync::LazyLock};

use reqwest::{Client, Method, StatusCode, header::CONTENT_TYPE};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::bed_dir;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

static CLIENT: LazyLock<Client> = LazyLock::new(|| client(bed_dir().join("run/api.sock")));

/// Speaks to who listens at a socket of the file system.
pub fn client(socket: PathBuf) -> Client {
    Client::builder().unix_socket(socket).build().unwrap()
}

/// Status and body of an answer.
pub fn send(client: &Client, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, String) {
    let mut request = client.request(method, format!("http://localhost/{path}"));
    if let Some(body) = body {
        request = request
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
    }
    RUNTIME.block_on(async {
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    })
}

/// Where the API server has a namespace's objects of a kind, or the cluster's.
fn path(kind: &str, namespace: &str) -> String {
    let group = match kind {
        "namespace" => return "api/v1/namespaces".to_owned(),
        "customresourcedefinition" => {
            return "apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned();
        }
        "clusterrole" => return "apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(),
        "releasesource" => return "apis/slipway.dev/v1alpha1/releasesources".to_owned(),
        "ingress" => return format!("apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses"),
        "networkpolicy" => {
            return format!("apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies");
        }
        "configmap" | "pod" | "secret" | "service" | "serviceaccount" => "api/v1",
        "deployment" => "apis/apps/v1",
        "event" => "apis/events.k8s.io/v1",
        "job" => "apis/batch/v1",
        "lease" => "apis/coordination.k8s.io/v1",
        "poddisruptionbudget" => "apis/policy/v1",
        "release" | "releaserevision" => "apis/slipway.dev/v1alpha1",
        "role" => "apis/rbac.authorization.k8s.io/v1",
        _ => panic!("{kind}: say here where the API server has it"),
    };
    format!("{group}/namespaces/{namespace}/{kind}s")
}

fn ask(path: &str) -> (StatusCode, String) {
    send(&CLIENT, Method::GET, path, None)
}

/// What the API server answers; `None` when there is no such object.
fn read(path: &str) -> Option<Value> {
    let (status, body) = ask(path);
    if status == StatusCode::NOT_FOUND {
        return None;
    }
    assert!(status.is_success(), "GET {path}: {status} {body}");
    Some(serde_json::from_str(&body).unwrap())
}

/// A page that one of a Service's pods serves, any of them; `None` where that one does not answer.
pub fn page(namespace: &str, service: &str, port: &str, page: &str) -> Option<String> {
    let path = format!("api/v1/namespaces/{namespace}/services/{service}:{port}/proxy/{page}");
    let (status, body) = ask(&path);
    status.is_success().then_some(body)
}

/// An object as JSON; `None` when there is none.
pub fn get(kind: &str, namespace: &str, name: &str) -> Option<Value> {
    read(&format!("{}/{name}", path(kind, namespace)))
}

/// The objects of a kind in a namespace that have these labels.
pub fn list(kind: &str, namespace: &str, selector: &str) -> Vec<Value> {
    let selector: String = url::form_urlencoded::byte_serialize(selector.as_bytes()).collect();
    let found = read(&format!("{}?labelSelector={selector}", path(kind, namespace)));
    let mut items = found.map_or(Value::Null, |mut list| list["items"].take());
    items.as_array_mut().map(std::mem::take).unwrap_or_default()
}

/// Makes an object, for tests that make hundreds.
pub fn create(kind: &str, namespace: &str, object: &Value) {
    let path = path(kind, namespace);
    let (status, body) = send(&CLIENT, Method::POST, &path, Some(object));
    assert!(status.is_success(), "POST {path}: {status} {body}");
}

/// Takes an object away, in the background.
pub fn delete(kind: &str, namespace: &str, name: &str) {
    let path = format!("{}/{name}", path(kind, namespace));
    let (status, body) = send(&CLIENT, Method::DELETE, &path, None);
    let gone = status.is_success() || status == StatusCode::NOT_FOUND;
    assert!(gone, "DELETE {path}: {status} {body}");
}
