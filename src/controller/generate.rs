//! Generated values: made once, kept in `<release>-generated`, changed only where a commit raises `rotate`, never logged.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use rand::RngCore as _;
use serde_json::json;

use super::context::Context;
use crate::{
    api::{
        meta,
        release::{Encoding, Generate},
    },
    cluster::{
        error::ClusterError,
        objects::{found, within},
        observe::rotated,
    },
    hex::hex,
    names::{EnvName, ReleaseId},
    plan::observed::{Declaration, Observed},
};

/// Makes what is missing. What is there stays, whatever its form, unless `rotate` was raised since it was made.
pub async fn generate(context: &Context, id: &ReleaseId, observed: &Observed) -> Result<(), ClusterError> {
    let Declaration::Valid(declared) = &observed.declaration else {
        return Ok(());
    };
    let wanted = declared.generated();
    let api: Api<Secret> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let name = id.name.generated();
    let seen = found(within(|| format!("get the generated values of {id}"), api.get(&name)).await)?;
    let made = made(&wanted, seen.as_ref(), declared.rotate);
    let counter = [(meta::ROTATED.to_owned(), declared.rotate.to_string())];
    match seen {
        None => {
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(name),
                    labels: Some([(meta::RELEASE.to_owned(), id.name.to_string())].into()),
                    annotations: (declared.rotate > 0).then(|| counter.into()),
                    ..ObjectMeta::default()
                },
                data: Some(made),
                ..Secret::default()
            };
            within(
                || format!("create the generated values of {id}"),
                api.create(&PostParams::default(), &secret),
            )
            .await?;
        }
        Some(secret) if secret.labels().get(meta::RELEASE).map(String::as_str) != Some(id.name.as_str()) => {
            return Err(ClusterError::Unreadable(format!(
                "Secret {name} in {} stands where generated values belong, and was not made by Slipway; rename or remove it",
                id.namespace
            )));
        }
        Some(secret) => {
            // Only over what was seen: a value that somebody else made in between is not replaced. The counter is in the
            // same write, so that no value is replaced twice for one commit.
            let mut metadata = json!({ "resourceVersion": secret.metadata.resource_version });
            if declared.rotate > rotated(&secret) {
                tracing::info!(rotate = declared.rotate, "generated values are made anew");
                if let Some(metadata) = metadata.as_object_mut() {
                    metadata.insert("annotations".into(), json!(BTreeMap::from(counter)));
                }
            }
            let patch = Patch::Merge(json!({ "metadata": metadata, "data": made }));
            within(
                || format!("write generated values of {id}"),
                api.patch(&name, &PatchParams::default(), &patch),
            )
            .await?;
        }
    }
    Ok(())
}

/// What is to be written: what is not there, or everything.
fn made(
    wanted: &BTreeMap<EnvName, Generate>,
    seen: Option<&Secret>,
    rotate: u64,
) -> BTreeMap<String, ByteString> {
    let anew = seen.is_some_and(|secret| rotate > rotated(secret));
    let there = |name: &str| {
        let data = seen.and_then(|secret| secret.data.as_ref());
        data.is_some_and(|data| data.contains_key(name))
    };
    wanted
        .iter()
        .filter(|(name, _)| anew || !there(name.as_str()))
        .map(|(name, how)| (name.to_string(), ByteString(value(*how).into_bytes())))
        .collect()
}

/// Random bytes of the operating system, written as asked. The first is a letter or a digit: `erl -setcookie VALUE`, to
/// which the start script of an Elixir release hands `RELEASE_COOKIE`, takes a value that begins with `+` for an option.
fn value(how: Generate) -> String {
    let length = usize::from(how.length);
    let mut bytes = vec![0; length];
    loop {
        // The thread's generator is cryptographic and seeded by the operating system.
        rand::rng().fill_bytes(&mut bytes);
        let text = match how.encoding {
            Encoding::Base64 => STANDARD.encode(&bytes),
            Encoding::Hex => hex(&bytes),
        };
        if text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return text.chars().take(length).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_length_that_was_asked_and_are_new_each_time() {
        for encoding in [Encoding::Base64, Encoding::Hex] {
            let how = Generate { encoding, length: 64 };
            assert_eq!(value(how).len(), 64);
            assert_ne!(value(how), value(how));
        }
    }

    #[test]
    fn only_a_counter_that_was_raised_replaces_a_value_that_is_there() {
        let how = "hex/32".parse().unwrap();
        let wanted: BTreeMap<EnvName, Generate> =
            [("A".parse().unwrap(), how), ("B".parse().unwrap(), how)].into();
        let secret = |rotated: Option<&str>| Secret {
            metadata: ObjectMeta {
                annotations: rotated.map(|text| [(meta::ROTATED.to_owned(), text.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some([("A".to_owned(), ByteString(b"kept".to_vec()))].into()),
            ..Secret::default()
        };
        let names = |seen: Option<&Secret>, rotate: u64| -> Vec<String> {
            made(&wanted, seen, rotate).into_keys().collect()
        };
        assert_eq!(names(None, 0), ["A", "B"]);
        assert_eq!(names(None, 3), ["A", "B"]);
        for (rotated, rotate, expected) in [
            (None, 0, &["B"][..]),
            (None, 1, &["A", "B"]),
            (Some("1"), 1, &["B"]),
            (Some("2"), 1, &["B"]),
            (Some("1"), 2, &["A", "B"]),
        ] {
            assert_eq!(
                names(Some(&secret(rotated)), rotate),
                expected,
                "{rotated:?} {rotate}"
            );
        }
    }

    #[test]
    fn no_value_can_be_taken_for_an_option() {
        let how = Generate {
            encoding: Encoding::Base64,
            length: 16,
        };
        let first = |text: String| text.chars().next().unwrap();
        // One in 32 would begin with `+` or `/`.
        assert!((0..1000).all(|_| first(value(how)).is_ascii_alphanumeric()));
    }
}
