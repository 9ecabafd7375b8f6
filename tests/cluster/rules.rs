//! What the API server itself refuses, whoever asks: rules of the definitions, with their own words. Asked as dry runs, so
//! nothing is made.

use super::support::try_exec;

/// What the API server says to an object.
fn told(kind: &str, name: &str, spec: &str) -> Result<String, String> {
    let namespace = if kind == "Release" {
        ", namespace: default"
    } else {
        ""
    };
    let object = format!(
        "apiVersion: slipway.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}{namespace}}}\nspec: {spec}\n"
    );
    try_exec(&["kubectl", "create", "--dry-run=server", "-f", "-"], &object)
}

const RELEASE: &str = "{image: registry.bed.test:5000/acme/probe, version: 1.0.0, port: 8080}";

fn source(reference: &str) -> String {
    format!("{{git: {{url: 'https://git.bed.test/x.git'{reference}}}, paths: [base]}}")
}

#[test]
fn names_and_references_that_mean_nothing_are_refused_by_the_api_server_in_words() {
    let commit = "0".repeat(40);
    let long = "a release name has at most 40 characters";
    let form = "a release name consists of lower-case letters, digits and '-'";
    let label = "the name of a source has at most 63 characters";
    let one = "give at most one of branch, tag and commit";
    for (name, words) in [
        ("a".repeat(40), None),
        ("a".repeat(41), Some(long)),
        ("a.b".to_owned(), Some(form)),
        ("1a".to_owned(), Some(form)),
    ] {
        judge("Release", &name, RELEASE, words);
    }
    for (length, reference, words) in [
        (63, String::new(), None),
        (64, String::new(), Some(label)),
        (1, ", tag: v1".to_owned(), None),
        (1, ", branch: main, tag: v1".to_owned(), Some(one)),
        (1, format!(", branch: main, commit: '{commit}'"), Some(one)),
        (1, format!(", tag: v1, commit: '{commit}'"), Some(one)),
    ] {
        judge("ReleaseSource", &"a".repeat(length), &source(&reference), words);
    }
}

fn judge(kind: &str, name: &str, spec: &str, words: Option<&str>) {
    let told = told(kind, name, spec);
    let right = match words {
        None => told.is_ok(),
        Some(words) => told.as_ref().is_err_and(|why| why.contains(words)),
    };
    assert!(right, "{kind} {name} {spec}: {words:?} {told:?}");
}
