//! What those say who are to make a Secret that is not there, or not whole, yet: the External Secrets Operator, and the
//! Secrets Store CSI driver.

use std::collections::BTreeSet;

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use serde_json::Value;

use super::super::objects::{found, within};
use crate::{
    names::{ObjectName, ReleaseId},
    spec::redact::redact,
};

/// A kind of objects that make Secrets.
struct Maker {
    group: &'static str,
    kind: &'static str,
    /// The newest first.
    versions: &'static [&'static str],
    /// What one of its objects, by its name, says of these Secrets; `None` if it makes none of them.
    told: fn(&str, &Value, &BTreeSet<ObjectName>) -> Option<String>,
}

const EXTERNAL_SECRET: Maker = Maker {
    group: "external-secrets.io",
    kind: "ExternalSecret",
    versions: &["v1", "v1beta1"],
    told: of_external_secret,
};

const SECRET_PROVIDER_CLASS: Maker = Maker {
    group: "secrets-store.csi.x-k8s.io",
    kind: "SecretProviderClass",
    versions: &["v1"],
    told: of_provider_class,
};

/// As much of a message as a status has room for.
const LONGEST: usize = 300;

/// A sentence of each object that is to make one of these Secrets. Only better words depend on it, so what cannot be asked
/// is not said, and stops nothing.
pub async fn operators(client: &Client, id: &ReleaseId, secrets: &BTreeSet<ObjectName>) -> Vec<String> {
    let mut said = Vec::new();
    for maker in [EXTERNAL_SECRET, SECRET_PROVIDER_CLASS] {
        let objects = objects(client, id, &maker).await;
        said.extend(objects.iter().filter_map(|object| {
            let name = object.metadata.name.as_deref()?;
            (maker.told)(name, &object.data, secrets)
        }));
    }
    said
}

async fn objects(client: &Client, id: &ReleaseId, maker: &Maker) -> Vec<DynamicObject> {
    let kind = maker.kind;
    for version in maker.versions {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(maker.group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), id.namespace.as_str(), &resource);
        let attempted = || format!("list the {kind}s of {}", id.namespace);
        match found(within(attempted, api.list(&ListParams::default())).await) {
            Ok(Some(list)) => return list.items,
            // It is not installed, or in another version.
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(error = %error.sentence(), "cannot ask what makes Secrets");
                return Vec::new();
            }
        }
    }
    Vec::new()
}

/// The driver makes a Secret when a pod mounts the class, and takes it away with the last such pod. Pods of a release mount no
/// volumes but those of `files` and `writable`, the migration's neither: who waits for them would wait for ever.
fn of_provider_class(name: &str, object: &Value, secrets: &BTreeSet<ObjectName>) -> Option<String> {
    let synced = object.pointer("/spec/secretObjects").and_then(Value::as_array);
    let mut names = synced
        .into_iter()
        .flatten()
        .filter_map(|secret| secret.get("secretName")?.as_str());
    let made = names.find(|made| secrets.iter().any(|secret| secret.as_str() == *made))?;
    Some(format!(
        "SecretProviderClass {name} makes Secret {made} only while a pod mounts that class, and no pod of a release does: let \
         another pod of the namespace mount it, or bring the Secret in another way, such as by an ExternalSecret"
    ))
}

fn of_external_secret(name: &str, object: &Value, secrets: &BTreeSet<ObjectName>) -> Option<String> {
    let target = object.pointer("/spec/target/name").and_then(Value::as_str);
    let makes = target.filter(|target| !target.is_empty()).unwrap_or(name);
    if !secrets.iter().any(|secret| secret.as_str() == makes) {
        return None;
    }
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.get("type").is_some_and(|type_| type_ == "Ready"));
    let text = |field: &str| ready.and_then(|ready| ready.get(field)).and_then(Value::as_str);
    let says = match (text("status"), text("reason"), text("message")) {
        (None, ..) => "has not said anything yet".to_owned(),
        (Some("True"), ..) => "says that it is ready".to_owned(),
        (_, reason, message) => {
            let words: Vec<&str> = [reason, message].into_iter().flatten().collect();
            format!("says: {}", words.join(", "))
        }
    };
    let plain: String = says
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let plain: String = redact(&plain, &[]).chars().take(LONGEST).collect();
    Some(format!("ExternalSecret {name} {plain}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_makes_a_secret_is_found_by_its_target_and_its_own_words_are_told() {
        let secrets: BTreeSet<ObjectName> = ["app-db".parse().unwrap()].into();
        let failed = json!([
            { "type": "Other", "status": "True" },
            { "type": "Ready", "status": "False", "reason": "SecretSyncedError", "message": "no such\nkey" },
        ]);
        let object = |target: &str, conditions: &Value| json!({ "spec": { "target": { "name": target } }, "status": { "conditions": conditions } });
        assert_eq!(
            of_external_secret("vault", &object("app-db", &failed), &secrets).as_deref(),
            Some("ExternalSecret vault says: SecretSyncedError, no such key")
        );
        // Without a target it makes the one of its own name.
        let silent = json!({ "spec": {} });
        assert_eq!(
            of_external_secret("app-db", &silent, &secrets).as_deref(),
            Some("ExternalSecret app-db has not said anything yet")
        );
        let ready = json!([{ "type": "Ready", "status": "True", "reason": "SecretSynced" }]);
        assert_eq!(
            of_external_secret("a", &object("app-db", &ready), &secrets).as_deref(),
            Some("ExternalSecret a says that it is ready")
        );
        assert_eq!(
            of_external_secret("app-db", &object("other", &failed), &secrets),
            None
        );
    }

    #[test]
    fn a_secret_that_only_a_mounting_pod_would_sync_is_told_with_what_it_lacks() {
        let secrets: BTreeSet<ObjectName> = ["app-db".parse().unwrap()].into();
        let class = |name: &str| {
            json!({ "spec": { "provider": "vault", "secretObjects": [
                { "secretName": "other", "type": "Opaque" },
                { "secretName": name, "type": "Opaque", "data": [{ "objectName": "a", "key": "url" }] },
            ] } })
        };
        let said = of_provider_class("vault", &class("app-db"), &secrets).unwrap();
        assert!(
            said.starts_with(
                "SecretProviderClass vault makes Secret app-db only while a pod mounts that class"
            ),
            "{said}"
        );
        assert_eq!(of_provider_class("vault", &class("app"), &secrets), None);
        let plain = json!({ "spec": { "provider": "vault" } });
        assert_eq!(of_provider_class("vault", &plain, &secrets), None);
    }

    #[test]
    fn no_secret_that_an_operator_quotes_is_repeated() {
        let secrets: BTreeSet<ObjectName> = ["a".parse().unwrap()].into();
        let message = "cannot parse ecto://app:canary-77aa@db/shop";
        let object = json!({ "status": { "conditions": [
            { "type": "Ready", "status": "False", "reason": "E", "message": message },
        ] } });
        let said = of_external_secret("a", &object, &secrets).unwrap();
        assert!(!said.contains("canary"), "{said}");
    }
}
