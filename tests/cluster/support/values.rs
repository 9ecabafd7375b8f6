//! The values of Secrets that the tests use. Each is remembered beside the bed, so that whoever comes last can look for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::PathBuf,
};

use serde_json::{Value, json};

use super::{
    api::{create, list},
    base64, bed_dir,
    canary::{Leak, SHORTEST, Searcher, Text, of_objects},
    kubectl,
};

fn file() -> PathBuf {
    bed_dir().join("run/canaries")
}

/// A value that stands nowhere else, its beginning neither, and that is another one wherever it is escaped.
pub fn canary(word: &str) -> String {
    let letters = b"abcdefghijkmnpqrstuvwxyz23456789";
    // No number, of which digests have every beginning.
    let unique: String = (0..7)
        .map(|_| char::from(letters[rand::random_range(0..letters.len())]))
        .collect();
    format!("k{unique}-{word} +/&%\"")
}

/// Notes a value that is, or was, in a Secret.
pub fn remember(name: &str, value: &[u8]) {
    use ::base64::Engine as _;
    let value = ::base64::engine::general_purpose::STANDARD.encode(value);
    let line = json!({ "name": name, "value": value }).to_string() + "\n";
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file())
        .unwrap();
    // In one write: tests run beside each other.
    file.write_all(line.as_bytes()).unwrap();
}

/// Every value that was remembered on this bed, each once.
pub fn remembered() -> Vec<(String, Vec<u8>)> {
    let text = fs::read_to_string(file()).unwrap_or_default();
    let mut seen = BTreeSet::new();
    // The last line may be on its way here: it is of a test that runs beside this one.
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines
        .filter_map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let value = base64(line["value"].as_str()?);
            seen.insert(value.clone())
                .then(|| (line["name"].as_str().unwrap().to_owned(), value))
        })
        .collect()
}

/// Notes what these Secrets hold, but what is no secret of it: names of users, keys of hosts, and what Helm notes of a chart.
pub fn remember_all(secrets: &[Value]) {
    for secret in secrets {
        let kind = secret["type"].as_str().unwrap_or("");
        if kind.starts_with("helm.sh/") || kind == "kubernetes.io/service-account-token" {
            continue;
        }
        let place = format!(
            "{}/{}",
            secret["metadata"]["namespace"], secret["metadata"]["name"]
        )
        .replace('"', "");
        for (key, value) in secret["data"].as_object().into_iter().flatten() {
            if !["username", "known_hosts"].contains(&key.as_str()) {
                remember(&format!("{place}/{key}"), &base64(value.as_str().unwrap()));
            }
        }
    }
}

/// Makes a Secret.
pub fn secret(ns: &str, name: &str, values: &[(&str, &str)]) {
    for (key, value) in values {
        remember(&format!("{ns}/{name}/{key}"), value.as_bytes());
    }
    let data: BTreeMap<&str, &str> = values.iter().copied().collect();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data,
    });
    create("secret", ns, &secret);
}

/// Sets a key of a Secret that is there.
pub fn set(ns: &str, name: &str, key: &str, value: &str) {
    remember(&format!("{ns}/{name}/{key}"), value.as_bytes());
    let patch = json!({ "stringData": { key: value } }).to_string();
    kubectl(&["-n", ns, "patch", "secret", name, "--type=merge", "-p", &patch]);
}

/// The objects of a namespace, its events among them, without Secrets.
pub fn objects_of(ns: &str) -> Vec<Text> {
    [
        ("ConfigMap", "configmap"),
        ("Deployment", "deployment"),
        ("Event", "event"),
        ("Ingress", "ingress"),
        ("Job", "job"),
        ("Pod", "pod"),
        ("PodDisruptionBudget", "poddisruptionbudget"),
        ("Release", "release"),
        ("ReleaseRevision", "releaserevision"),
        ("Service", "service"),
        ("ServiceAccount", "serviceaccount"),
    ]
    .into_iter()
    .flat_map(|(kind, plural)| {
        // Items of a list do not say what they are.
        let items = list(plural, ns, "").into_iter().map(|mut item| {
            item["kind"] = json!(kind);
            item
        });
        of_objects(&json!({ "items": items.collect::<Vec<_>>() }))
    })
    .collect()
}

/// Fails where an object of a namespace that is about to go holds a value that any test has in a Secret.
pub fn judge(ns: &str) {
    remember_all(&list("secret", ns, ""));
    let leaks = Searcher::new(&remembered()).search(&objects_of(ns));
    assert!(
        leaks.is_empty(),
        "{ns}: values of Secrets are in objects:\n{}",
        told(&leaks)
    );
}

pub fn told(leaks: &BTreeSet<Leak>) -> String {
    leaks
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The names of the values that are too short to be looked for.
pub fn too_short(values: &[(String, Vec<u8>)]) -> Vec<&str> {
    let short = values.iter().filter(|(_, value)| value.len() < SHORTEST);
    short.map(|(name, _)| name.as_str()).collect()
}
