//! The chart as text: each value has a schema and an effect, and its rights are those that the page on installing lists.
//! `make chart` renders it; the tests on a real Kubernetes install it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::Value;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn values() -> Value {
    serde_yaml::from_str(&read("charts/slipway/values.yaml")).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&read("charts/slipway/values.schema.json")).unwrap()
}

/// The paths of the values that are set one by one: those whose schema names no fields of their own.
fn leaves(value: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let Some(known) = schema.get("properties").and_then(Value::as_object) else {
        found.insert(path.to_owned());
        return;
    };
    let written = value.as_object().unwrap();
    for (name, inner) in written {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        assert!(known.contains_key(name), "{path} has no schema");
        leaves(inner, &known[name], &path, found);
    }
    // Helm itself puts `global` there.
    let missing: Vec<&String> = known
        .keys()
        .filter(|name| *name != "global" && !written.contains_key(*name))
        .collect();
    assert!(
        missing.is_empty(),
        "of {path:?} in values.schema.json, and not in values.yaml: {missing:?}"
    );
}

fn all_leaves() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    leaves(&values(), &schema(), "", &mut found);
    found
}

fn templates() -> String {
    templates_but("")
}

fn templates_but(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/slipway/templates");
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != file)
        .map(|entry| fs::read_to_string(entry.path()).unwrap())
        .collect()
}

/// Whether a text names something as a whole word.
fn names(text: &str, what: &str) -> bool {
    text.match_indices(what).any(|(at, _)| {
        let next = text[at + what.len()..].chars().next();
        !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

#[test]
fn every_value_has_a_schema_a_use_and_no_other_is_taken() {
    let templates = templates();
    let leaves = all_leaves();
    assert!(leaves.len() > 25, "{leaves:?}");
    let unused: Vec<&String> = leaves
        .iter()
        .filter(|path| !names(&templates, &format!(".Values.{path}")))
        .collect();
    assert_eq!(unused, Vec::<&String>::new());
    let mut closed = vec![schema()];
    while let Some(schema) = closed.pop() {
        if let Some(inner) = schema.get("properties").and_then(Value::as_object) {
            assert_eq!(schema["additionalProperties"], false, "{schema}");
            closed.extend(inner.values().cloned());
        }
    }
}

#[test]
fn every_value_that_the_pages_name_exists_with_the_default_that_they_give() {
    let page = read("docs/install.md");
    let table = table(&page, "| Value | Meaning | Default |");
    assert!(table.len() > 10, "{table:?}");
    let leaves = all_leaves();
    for row in table {
        for name in code(&row[0]) {
            assert!(leaves.contains(&name), "{name}");
            let default = values()
                .pointer(&format!("/{}", name.replace('.', "/")))
                .unwrap()
                .clone();
            let told = code(&row[2]).join(", ");
            match default {
                Value::String(text) if !text.is_empty() => assert!(told.contains(&text), "{name}: {told}"),
                Value::Number(number) => assert_eq!(row[2], number.to_string(), "{name}"),
                Value::Bool(truth) => assert_eq!(told, truth.to_string(), "{name}"),
                Value::Array(items) if !items.is_empty() => {
                    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                    assert_eq!(row[2], items.join(", "), "{name}");
                }
                _ => {}
            }
        }
    }
    for page in ["docs/install.md", "docs/troubleshooting.md", "docs/commands.md"] {
        let text = read(page);
        let set = text
            .split("--set ")
            .skip(1)
            .chain(text.split("--set-file ").skip(1));
        for name in set.filter_map(|rest| rest.split('=').next()) {
            assert!(leaves.contains(name), "{page}: {name}");
        }
    }
}

/// The rows below the head of a table, cell by cell.
fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let (_, rest) = text.split_once(head).unwrap();
    rest.lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            line.trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

/// What stands between backticks.
fn code(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

type Rights = BTreeMap<String, BTreeSet<String>>;

/// The documents of rbac.yaml, without the lines that Helm fills in.
fn roles() -> Vec<Value> {
    let text = read("charts/slipway/templates/rbac.yaml");
    text.split("\n---\n")
        .map(|document| {
            let plain: Vec<&str> = document.lines().filter(|line| !line.contains("{{")).collect();
            serde_yaml::from_str(&plain.join("\n")).unwrap()
        })
        .collect()
}

fn words(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.map(|word| word.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_rights_of_the_chart_are_those_that_the_page_on_installing_lists() {
    let mut granted = Rights::new();
    let mut own = Rights::new();
    for role in roles() {
        let found = match role["kind"].as_str().unwrap() {
            "ClusterRole" => &mut granted,
            "Role" => &mut own,
            // What they refer to is filled in by Helm: the roles above.
            _ => {
                assert!(role["roleRef"]["name"].is_null(), "{role}");
                continue;
            }
        };
        for rule in role["rules"].as_array().unwrap() {
            assert!(
                rule["apiGroups"].is_array() && !rule.to_string().contains('*'),
                "{rule}"
            );
            for resource in words(&rule["resources"]) {
                found.entry(resource).or_default().extend(words(&rule["verbs"]));
            }
        }
    }
    assert!(own.keys().eq(["leases"]), "{own:?}");
    granted.extend(own);

    let mut told = Rights::new();
    let mut before = Vec::new();
    for row in table(&read("docs/install.md"), "| Resource | Rights | What for |") {
        // A row without a resource goes on about the one before.
        let resources = if row[0].is_empty() { before } else { code(&row[0]) };
        for resource in &resources {
            let verbs = row[1].split(", ").map(str::to_owned);
            told.entry(resource.clone()).or_default().extend(verbs);
        }
        before = resources;
    }
    assert_eq!(granted, told);
}

#[test]
fn the_pods_of_the_controller_are_hardened_whatever_the_values_are() {
    // The namespace of builds, in which the chart makes no pod, is of another level.
    let templates = templates_but("builds.yaml");
    for line in [
        "helm.sh/resource-policy",
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "capabilities: {drop: [ALL]}",
        "seccompProfile: {type: RuntimeDefault}",
    ] {
        assert!(templates.contains(line), "{line}");
    }
    for word in [
        "privileged",
        "hostNetwork",
        "hostPath",
        "hostPID",
        "cluster-admin",
    ] {
        assert!(!templates.contains(word), "{word}");
    }
}
