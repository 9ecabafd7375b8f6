//! The audit log, in the form and under the policy of the bed's API server: `trace::audit` reads both.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{answer::Answer, store::Request};

/// The user that Slipway is.
pub const SLIPWAY: &str = "system:serviceaccount:slipway-system:slipway";

/// A line about a request that would change something.
pub fn line(number: usize, request: &Request, answer: &Answer, at: Timestamp) -> Value {
    let mut user = json!({ "username": request.by.user });
    if let Some(process) = &request.by.process {
        user["extra"] = json!({ "authentication.kubernetes.io/pod-name": [process] });
    }
    let mut about = json!({ "resource": request.resource.plural, "name": request.name });
    for (name, text) in [
        ("namespace", &request.namespace),
        ("subresource", &request.sub),
        ("apiGroup", &request.resource.group.to_owned()),
    ] {
        if !text.is_empty() {
            about[name] = json!(text);
        }
    }
    let mut response = json!({ "code": answer.code });
    if !answer.is_ok() {
        response["reason"] = json!(answer.reason());
    }
    let mut line = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": format!("request-{number}"),
        "stage": "ResponseComplete", "requestURI": request.uri, "verb": request.verb.word(), "user": user,
        "objectRef": about, "responseStatus": response, "stageTimestamp": at.to_string(),
    });
    // No value of a Secret gets into the log, and of a namespace that it was made is enough.
    if !["Secret", "Namespace"].contains(&request.resource.kind) {
        line["requestObject"] = request.body.clone();
        line["responseObject"] = answer.object().clone();
    }
    line
}
