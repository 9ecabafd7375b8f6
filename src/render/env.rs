//! The environment, rendered once for pods, migrations and tasks alike: a migration that starts with less than
//! the application has is the most common way for it to fail.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    api::release::EnvValue,
    names::{EnvName, ReleaseName},
    spec::declared::{EnvSource, Holder},
};

/// The list `env` of a container, sorted by name.
#[must_use]
pub fn env(release: &ReleaseName, variables: &BTreeMap<EnvName, EnvValue>) -> Vec<Value> {
    variables
        .iter()
        .map(|(name, value)| variable(release, name, value))
        .collect()
}

/// The list `envFrom` of a container: whole Secrets and `ConfigMaps`, in the order in which a later one wins.
#[must_use]
pub fn env_from(sources: &[EnvSource]) -> Vec<Value> {
    sources
        .iter()
        .map(|EnvSource { holder, name, prefix }| {
            let field = match holder {
                Holder::Secret => "secretRef",
                Holder::ConfigMap => "configMapRef",
            };
            // An empty one is what the API server stores for none.
            let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
            json!({ "prefix": prefix, (field): { "name": name } })
        })
        .collect()
}

fn variable(release: &ReleaseName, name: &EnvName, value: &EnvValue) -> Value {
    let from = match value {
        // The API server drops an empty value; writing it would look like drift for ever.
        EnvValue::Literal(text) | EnvValue::Public(text) if text.is_empty() => return json!({ "name": name }),
        EnvValue::Literal(text) | EnvValue::Public(text) => {
            return json!({ "name": name, "value": unexpanded(text) });
        }
        EnvValue::Secret(key) => json!({ "secretKeyRef": { "name": key.name, "key": key.key } }),
        EnvValue::Config(key) => json!({ "configMapKeyRef": { "name": key.name, "key": key.key } }),
        EnvValue::Generate(_) => {
            json!({ "secretKeyRef": { "name": release.generated(), "key": name } })
        }
        EnvValue::Field(path) => json!({ "fieldRef": { "fieldPath": path } }),
    };
    json!({ "name": name, "valueFrom": from })
}

/// A text that reaches the process as it was written. The kubelet turns `$(NAME)` into a variable and **every** `$$`
/// into `$`, so escaping `$(` alone would change `pa$$word` and expand `$$(NAME)`.
pub(super) fn unexpanded(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rendered(yaml: &str) -> Vec<Value> {
        let variables: BTreeMap<EnvName, EnvValue> = serde_yaml::from_str(yaml).unwrap();
        env(&"billing".parse().unwrap(), &variables)
    }

    /// What the kubelet does to a value (`third_party/forked/golang/expansion`), with every variable found.
    fn kubelet(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let tail = &rest[at + 1..];
            if tail.is_empty() {
                out.push('$');
                rest = tail;
            } else if let Some(after) = tail.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((_, after)) = tail.strip_prefix('(').and_then(|t| t.split_once(')')) {
                out.push_str("EXPANDED");
                rest = after;
            } else {
                out.push('$');
                rest = tail;
            }
        }
        out + rest
    }

    #[test]
    fn each_source_of_a_value_is_a_reference_and_the_list_is_sorted() {
        assert_eq!(
            rendered(
                "{Z: plain, DATABASE_URL: {secret: billing-db/url}, REGION: {config: cluster/region},
                  COOKIE: {generate: base64/64}, IP: {field: status.podIP}, KEY: {value: shown, public: true}}"
            ),
            [
                json!({"name": "COOKIE", "valueFrom": {"secretKeyRef": {"name": "billing-generated", "key": "COOKIE"}}}),
                json!({"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "billing-db", "key": "url"}}}),
                json!({"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}),
                json!({"name": "KEY", "value": "shown"}),
                json!({"name": "REGION", "valueFrom": {"configMapKeyRef": {"name": "cluster", "key": "region"}}}),
                json!({"name": "Z", "value": "plain"}),
            ]
        );
    }

    #[test]
    fn an_empty_text_is_written_as_the_api_server_stores_it() {
        assert_eq!(rendered("{EMPTY: ''}"), [json!({"name": "EMPTY"})]);
    }

    #[test]
    fn kubernetes_expands_nothing() {
        assert_eq!(rendered("{A: '$(HOME)'}")[0]["value"], "$$(HOME)");
        for text in ["$(A)", "$$(A)", "pa$$word", "$", "$$", "a$b", "$($(A))", "x$$$"] {
            assert_eq!(kubelet(&unexpanded(text)), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_reaches_the_process_as_it_was_written(text in "[$()A-C ]{0,24}") {
            prop_assert_eq!(kubelet(&unexpanded(&text)), text);
        }
    }
}
