//! The three `CustomResourceDefinition`s, made from the types of this room.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;

use super::{Release, ReleaseRevision, ReleaseSource};

/// All definitions, in the order of their names.
#[must_use]
pub fn crds() -> [CustomResourceDefinition; 3] {
    let mut crds = [ReleaseRevision::crd(), Release::crd(), ReleaseSource::crd()];
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            without_defaults(schema);
        }
    }
    crds
}

/// What is stored is what was written: a default that the API server fills in would change specs whose hash
/// is compared, and would be a promise that no later version could take back. The types here fill in their own.
fn without_defaults(schema: &mut JSONSchemaProps) {
    schema.default = None;
    for child in schema.properties.iter_mut().flat_map(|all| all.values_mut()) {
        without_defaults(child);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(child)) => without_defaults(child),
        Some(JSONSchemaPropsOrArray::Schemas(children)) => children.iter_mut().for_each(without_defaults),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(child)) = &mut schema.additional_properties {
        without_defaults(child);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    fn schemas() -> Vec<(String, Value)> {
        crds()
            .iter()
            .map(|crd| {
                let schema = &crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema;
                (crd.spec.names.kind.clone(), serde_json::to_value(schema).unwrap())
            })
            .collect()
    }

    /// Calls `visit` with each schema node and its path.
    fn walk(path: &str, node: &Value, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
        let node = node.as_object().unwrap();
        visit(path, node);
        for (name, child) in node
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            walk(&format!("{path}.{name}"), child, visit);
        }
        if let Some(child) = node.get("items") {
            walk(&format!("{path}[]"), child, visit);
        }
        if let Some(child) = node.get("additionalProperties").filter(|child| child.is_object()) {
            walk(&format!("{path}{{}}"), child, visit);
        }
    }

    /// What is wrong with a schema, by path.
    fn unbounded(kind: &str, schema: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        walk(kind, schema, &mut |path, node| {
            let has = |key: &str| node.contains_key(key);
            let flag = |key: &str| node.get(key) == Some(&Value::Bool(true));
            let mut complain = |what: &str| problems.push(format!("{path}: {what}"));
            if flag("x-kubernetes-preserve-unknown-fields") {
                return;
            }
            match node.get("type").and_then(Value::as_str) {
                Some("string") => {
                    let bounded = has("maxLength") || has("enum") || has("format");
                    if !bounded {
                        complain("no maxLength");
                    }
                }
                Some("array") if !has("maxItems") => complain("no maxItems"),
                Some("object") => {
                    let map = node.get("additionalProperties");
                    if map.is_some() && !has("maxProperties") {
                        complain("no maxProperties");
                    }
                    if map.is_some() && has("properties") {
                        complain("additionalProperties beside properties are not structural");
                    }
                }
                Some(_) => {}
                None => complain("no type, so not structural"),
            }
            for key in ["default", "oneOf", "anyOf", "allOf", "not", "$ref"] {
                if has(key) {
                    complain(key);
                }
            }
        });
        problems
    }

    #[test]
    fn every_text_list_and_map_has_a_maximum() {
        for (kind, schema) in schemas() {
            assert_eq!(unbounded(&kind, &schema), Vec::<String>::new());
        }
    }

    #[test]
    fn the_walk_finds_what_is_unbounded() {
        let schema = serde_json::json!({"type": "object", "properties": {
            "text": {"type": "string"}, "list": {"type": "array", "items": {"type": "string"}},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
            "any": {}, "free": {"x-kubernetes-preserve-unknown-fields": true},
            "closed": {"type": "object", "properties": {}, "additionalProperties": false, "maxProperties": 1},
            "odd": {"type": "integer", "default": 1, "anyOf": []}}});
        assert_eq!(unbounded("K", &schema).len(), 8);
    }

    #[test]
    fn names_are_judged_by_rules_that_the_api_server_knows() {
        for crd in &crds()[1..] {
            let json = serde_json::to_string(crd).unwrap();
            assert!(json.contains("self.metadata.name"), "{json}");
        }
        assert!(
            serde_json::to_string(&crds()[1])
                .unwrap()
                .contains("[-a-z0-9]*[a-z0-9])?$")
        );
    }

    #[test]
    fn rules_and_columns_are_there() {
        let crds = crds();
        for (crd, rule, columns) in [
            (&crds[0], "oldSelf", "Version,Outcome,Cause,Commit,Author,Age"),
            (
                &crds[1],
                "size(self.metadata.name) <= 40",
                "Phase,Declared,Live,Message,Age",
            ),
            (
                &crds[2],
                "size(self.metadata.name) <= 63",
                "Ready,Commit,Releases,Problems,Message,Age",
            ),
        ] {
            let version = &crd.spec.versions[0];
            let schema = version
                .schema
                .as_ref()
                .unwrap()
                .open_api_v3_schema
                .as_ref()
                .unwrap();
            let rules = schema.x_kubernetes_validations.as_ref().unwrap();
            assert!(rules.iter().any(|each| each.rule.contains(rule)), "{rule}");
            let printed = version.additional_printer_columns.as_ref().unwrap();
            let names: Vec<&str> = printed.iter().map(|column| column.name.as_str()).collect();
            assert_eq!(names.join(","), columns);
            assert!(version.subresources.as_ref().unwrap().status.is_some());
        }
    }
}
