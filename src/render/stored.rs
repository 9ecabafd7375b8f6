//! Rendered objects as a revision keeps them, and what is done with them later.

use serde_json::{Value, json};

use super::{Kind, Object, ObjectKey, deployment};
use crate::{
    api::meta,
    names::RevisionNumber,
    spec::declared::{AttemptHash, RolloutSpec},
};

/// As much as a revision's field `objects` holds.
const MAX_BYTES: usize = 262_144;

/// The objects are more than a revision can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the rendered objects have {bytes} bytes, and a revision holds {MAX_BYTES}; shorten environment or commands"
)]
pub struct TooLarge {
    /// How many they have.
    pub bytes: usize,
}

/// A text that [`store`] did not make.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    /// It is no JSON list.
    #[error("the stored objects cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// An item has no kind of ours or no name.
    #[error("stored object number {0} has no kind of ours, or no name")]
    Object(usize),
}

/// The objects as one JSON list.
pub fn store(objects: &[Object]) -> Result<String, TooLarge> {
    let list = Value::Array(objects.iter().map(|object| object.value.to_value()).collect());
    let text = list.to_string();
    if text.len() > MAX_BYTES {
        return Err(TooLarge { bytes: text.len() });
    }
    Ok(text)
}

/// Exactly the objects that were stored.
pub fn restore(text: &str) -> Result<Vec<Object>, NotStored> {
    let values: Vec<Value> = serde_json::from_str(text)?;
    values
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            let key = key_of(&value).ok_or(NotStored::Object(index + 1))?;
            Ok(Object {
                key,
                value: value.into(),
            })
        })
        .collect()
}

fn key_of(value: &Value) -> Option<ObjectKey> {
    let kind: Kind = serde_json::from_value(value.get("kind")?.clone()).ok()?;
    let name = value.get("metadata")?.get("name")?.as_str()?.to_owned();
    Some(ObjectKey { kind, name })
}

/// The object with another number of pods: going back must not undo a scaling. Only a Deployment has one.
#[must_use]
pub fn with_replicas(object: &Object, replicas: u32) -> Object {
    let mut object = object.clone();
    // Looked at first: what is not changed stays shared.
    if object.key.kind == Kind::Deployment
        && object.value.pointer("/spec/replicas") != Some(&json!(replicas))
        && let Some(Value::Object(spec)) = object.value.get_mut("spec")
    {
        spec.insert("replicas".to_owned(), json!(replicas));
    }
    object
}

/// The object with what this rollout policy says of how it goes from one template to the next. Only a Deployment has it.
#[must_use]
pub fn with_policy(mut object: Object, rollout: &RolloutSpec) -> Object {
    if object.key.kind != Kind::Deployment {
        return object;
    }
    let Value::Object(policy) = deployment::policy(rollout) else {
        return object;
    };
    let of = |field: &str| object.value.get("spec").and_then(|spec| spec.get(field));
    let same = policy.iter().all(|(field, value)| of(field) == Some(value));
    if !same && let Some(Value::Object(spec)) = object.value.get_mut("spec") {
        spec.extend(policy);
    }
    object
}

/// The object as one of another revision. Only a Deployment says which it is of, and its pods with it.
#[must_use]
pub fn renumbered(object: &Object, number: RevisionNumber) -> Object {
    let mut object = object.clone();
    if object.key.kind == Kind::Deployment {
        for path in ["/metadata/annotations", "/spec/template/metadata/annotations"] {
            if let Some(Value::Object(annotations)) = object.value.pointer_mut(path) {
                annotations.insert(meta::REVISION.to_owned(), json!(number.0.to_string()));
            }
        }
    }
    object
}

/// The object with what tells of its revision when the record of that is lost: a Deployment outlives it.
#[must_use]
pub fn with_record(mut object: Object, attempt: &AttemptHash, migration: Option<&str>) -> Object {
    if object.key.kind == Kind::Deployment
        && let Some(Value::Object(annotations)) = object.value.pointer_mut("/metadata/annotations")
    {
        annotations.insert(meta::ATTEMPT.to_owned(), json!(attempt));
        if let Some(key) = migration {
            annotations.insert(meta::MIGRATION_KEY.to_owned(), json!(key));
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{fixtures::Fixture, render};

    #[test]
    fn what_is_restored_is_exactly_what_was_stored() {
        let mut fixture = Fixture::web();
        fixture.expose("billing.acme.com");
        let objects = render(&fixture.input());
        let text = store(&objects).unwrap();
        assert_eq!(restore(&text).unwrap(), objects);
        assert_eq!(store(&restore(&text).unwrap()).unwrap(), text);
    }

    #[test]
    fn what_a_revision_cannot_hold_is_refused() {
        let mut fixture = Fixture::web();
        let web = fixture.declared.processes.values_mut().next().unwrap();
        web.args = Some(vec!["x".repeat(MAX_BYTES)]);
        let error = store(&render(&fixture.input())).unwrap_err();
        assert!(error.bytes > MAX_BYTES);
        assert!(error.to_string().contains("262144"), "{error}");
    }

    #[test]
    fn a_text_that_was_not_stored_is_refused_and_not_quoted() {
        assert!(matches!(restore("hush"), Err(NotStored::Json(_))));
        assert!(matches!(
            restore("[{\"kind\": \"Secret\", \"metadata\": {\"name\": \"x\"}}]"),
            Err(NotStored::Object(1))
        ));
        assert!(!restore("[\"hush\"]").unwrap_err().to_string().contains("hush"));
    }

    #[test]
    fn scaling_changes_the_number_and_nothing_else() {
        for object in render(&Fixture::web().input()) {
            let scaled = with_replicas(&object, 7);
            let paths = super::super::drift(&scaled.value, &object.value);
            if object.key.kind == Kind::Deployment {
                assert_eq!(paths, ["spec.replicas"]);
                assert_eq!(scaled.value["spec"]["replicas"], 7);
            } else {
                assert_eq!(scaled, object);
            }
        }
    }

    #[test]
    fn a_record_stands_on_deployments_and_outside_of_their_pods() {
        let attempt = AttemptHash("a".repeat(64));
        for object in render(&Fixture::web().input()) {
            let noted = with_record(object.clone(), &attempt, Some("key"));
            let paths = super::super::drift(&noted.value, &object.value);
            if object.key.kind == Kind::Deployment {
                let place = |name: &str| format!("metadata.annotations[{name}]");
                assert_eq!(paths, [place(meta::ATTEMPT), place(meta::MIGRATION_KEY)]);
            } else {
                assert_eq!(noted, object);
            }
        }
    }

    #[test]
    fn another_policy_changes_no_template() {
        let mut rollout = Fixture::web().declared.rollout;
        rollout.surge = "50%".into();
        rollout.min_ready = crate::api::Duration::from_secs(0);
        for object in render(&Fixture::web().input()) {
            let changed = with_policy(object.clone(), &rollout);
            let paths = super::super::drift(&changed.value, &object.value);
            if object.key.kind == Kind::Deployment {
                assert_eq!(
                    paths,
                    ["spec.minReadySeconds", "spec.strategy.rollingUpdate.maxSurge"]
                );
            } else {
                assert_eq!(changed, object);
            }
        }
    }
}
