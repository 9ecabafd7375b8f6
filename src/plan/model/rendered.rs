//! The API server's part for what is rendered: server-side apply, deletes by UID, and what becomes of a Deployment.

use std::rc::Rc;

use serde_json::{Value, json};

use super::{
    super::{
        fixtures::{id, uid},
        observed::LiveObject,
    },
    world::{Refused, World, rv},
};
use crate::{
    names::Uid,
    render::{Kind, Object, ObjectKey, takeover},
};

impl World {
    /// Server-side apply, a compare-and-swap: with a resourceVersion on what was seen, and without one on that there is nothing.
    pub fn apply(&mut self, object: &Object, over: Option<&str>, dry: bool) -> Result<(), Refused> {
        let seen = self.objects.get(&object.key);
        match (seen, over) {
            (None, Some(_)) => return Err(Refused::NotFound),
            (Some(_), None) => return Err(Refused::Conflict),
            (Some(live), Some(over)) if live.resource_version != over => return Err(Refused::Conflict),
            _ => {}
        }
        if dry {
            return Ok(());
        }
        let before = seen.map(|live| (live.uid.clone(), live.value.clone()));
        let version = self.bump();
        let mut value = object.value.clone();
        let old = before.as_ref().map(|(_, value)| value);
        let generation = old
            .and_then(|old| old["metadata"]["generation"].as_u64())
            .unwrap_or(0);
        let changed = old.is_none_or(|old| old["spec"] != value["spec"]);
        value["metadata"]["generation"] = json!(generation + u64::from(changed));
        value["status"] = old.map_or(Value::Null, |old| old["status"].clone());
        let uid = before.map_or_else(|| uid(&format!("uid-{version}")), |(uid, _)| uid);
        let live = LiveObject {
            uid,
            resource_version: rv(version),
            value,
        };
        self.objects.insert(object.key.clone(), Rc::new(live));
        Ok(())
    }

    /// Makes an object of somebody else ours.
    pub fn adopt(&mut self, key: &ObjectKey, seen: &Value, over: Option<&str>) -> Result<(), Refused> {
        let version = self.version + 1;
        let live = self.objects.get_mut(key).ok_or(Refused::NotFound)?;
        if over.is_some_and(|over| live.resource_version != over) {
            return Err(Refused::Conflict);
        }
        let live = Rc::make_mut(live);
        let patch = takeover(&id(), key, seen, over.unwrap_or_default());
        merge(&mut live.value, &patch);
        live.resource_version = rv(version);
        self.version = version;
        Ok(())
    }

    /// Deletes an object of this UID, or whichever has the name.
    pub fn delete(&mut self, key: &ObjectKey, only: Option<&Uid>) -> Result<(), Refused> {
        let Some(live) = self.objects.get(key) else {
            return Ok(());
        };
        if only.is_some_and(|only| live.uid != *only) {
            return Err(Refused::Conflict);
        }
        self.bump();
        self.objects.remove(key);
        Ok(())
    }

    // === Deployments ===

    /// Somebody, or the Deployment controller, changes a Deployment.
    pub fn change_deployment(&mut self, change: impl FnOnce(&mut Value)) {
        let version = self.bump();
        if let Some(live) = self.objects.get_mut(&deployment_key()) {
            let live = Rc::make_mut(live);
            change(&mut live.value);
            live.resource_version = rv(version);
        }
    }

    pub fn deployment(&self) -> Option<&Value> {
        self.objects.get(&deployment_key()).map(|live| &*live.value)
    }
}

pub fn deployment_key() -> ObjectKey {
    ObjectKey {
        kind: Kind::Deployment,
        name: id().name.to_string(),
    }
}

/// The revision of a Deployment's pods.
pub fn template(deployment: &Value) -> Option<u64> {
    let text = &deployment["spec"]["template"]["metadata"]["annotations"][crate::api::meta::REVISION];
    text.as_str()?.parse().ok()
}

/// The image of a Deployment's pods.
pub fn image(deployment: &Value) -> Option<&str> {
    deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str()
}

/// The API server's note of what was applied. It is read only where records are lost, and made only there.
pub fn applied(value: &Value) -> Value {
    let mut fields = json!({"f:metadata": {"f:labels": {}, "f:annotations": {}}});
    for field in ["spec", "automountServiceAccountToken"] {
        if value.get(field).is_some() {
            fields[format!("f:{field}")] = json!({});
        }
    }
    json!({"manager": "slipway", "operation": "Apply", "fieldsV1": fields})
}

/// A JSON merge patch; lists are replaced.
fn merge(value: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (name, patch) in fields {
        merge(&mut value[name.as_str()], patch);
    }
}
