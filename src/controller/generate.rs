//! Generated values: made once, kept in `<release>-generated`, never changed and never logged.

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
        observe::generated_name,
    },
    names::ReleaseId,
    plan::{
        ledger::hex,
        observed::{Declaration, Observed},
    },
};

/// Makes what is missing. What is there stays, whatever its form.
pub async fn generate(context: &Context, id: &ReleaseId, observed: &Observed) -> Result<(), ClusterError> {
    let Declaration::Valid(declared) = &observed.declaration else {
        return Ok(());
    };
    let wanted = declared.generated();
    let api: Api<Secret> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let name = generated_name(id);
    let seen = found(within(|| format!("get the generated values of {id}"), api.get(&name)).await)?;
    let there = seen
        .as_ref()
        .and_then(|secret| secret.data.clone())
        .unwrap_or_default();
    let made: BTreeMap<String, ByteString> = wanted
        .iter()
        .filter(|(name, _)| !there.contains_key(name.as_str()))
        .map(|(name, how)| (name.to_string(), ByteString(value(*how).into_bytes())))
        .collect();
    match seen {
        None => {
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(name),
                    labels: Some([(meta::RELEASE.to_owned(), id.name.to_string())].into()),
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
            // Only over what was seen: a value that somebody else made in between is not replaced.
            let patch = Patch::Merge(json!({
                "metadata": { "resourceVersion": secret.metadata.resource_version },
                "data": made,
            }));
            within(
                || format!("add generated values of {id}"),
                api.patch(&name, &PatchParams::default(), &patch),
            )
            .await?;
        }
    }
    Ok(())
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
