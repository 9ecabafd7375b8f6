//! Specs that nobody should write, one file each, in one repository with a good one: each is told at its place and makes
//! nothing, and the good one never notices.

use std::fmt::Write as _;

use serde_json::Value;

use super::support::{Before, Case, explained, get, list, probe, shared, wait_telling};

const NS: &str = "bad-specs";

/// A file, named as the release that it declares, and what is said of it.
struct Bad {
    name: &'static str,
    content: Vec<u8>,
    /// Line and column.
    place: &'static str,
    sentence: &'static str,
}

impl Bad {
    fn new(name: &'static str, content: &[u8], place: &'static str, sentence: &'static str) -> Self {
        Self {
            name,
            content: content.to_vec(),
            place,
            sentence,
        }
    }
}

/// A spec with these fields, which begin in line 5, and with what else it needs to be deployed.
fn spec(namespace: &str, name: &str, fields: &str) -> String {
    let mut text = format!(
        "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{fields}\n"
    );
    for (field, value) in [
        ("image", "registry.bed.test:5000/acme/probe"),
        ("version", "1.0.0"),
        ("port", "8080"),
    ] {
        if !fields.contains(&format!("  {field}:")) {
            let _ = writeln!(text, "  {field}: {value}");
        }
    }
    text
}

/// Aliases of aliases, nine at a time: in full there would be billions of them.
fn laughs() -> String {
    let mut lines = vec!["  a0: &a0 [x, x, x, x, x, x, x, x, x]".to_owned()];
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 9].join(", ");
        lines.push(format!("  a{level}: &a{level} [{inner}]"));
    }
    lines.join("\n")
}

/// What looks like a secret, and must not be repeated by whoever refuses it.
const LITERAL: &str = "hunter22";

fn bad() -> Vec<Bad> {
    let fields = |name, fields: &str, place, sentence| {
        Bad::new(name, spec(NS, name, fields).as_bytes(), place, sentence)
    };
    let deep = format!("  args: {}x{}", "[".repeat(18), "]".repeat(18));
    let url = format!("  env: {{X: \"postgres://u:{LITERAL}@h/d\"}}");
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: secret, namespace: {NS}}}\nstringData: {{password: {LITERAL}}}\n"
    );
    let twice = [
        spec(NS, "shared", "  replicas: 1"),
        spec(NS, "shared", "  replicas: 1"),
    ];
    let elsewhere = spec("kube-system", "system", "  replicas: 1");
    let argument = "  env: {TOKEN: {secret: a/b}}\n  args: [\"--token=$(TOKEN)\"]";
    vec![
        fields(
            "laughs",
            &laughs(),
            "8:17",
            "too deep (16 levels) or uses too many aliases",
        ),
        fields(
            "recursion",
            "  command: &a [*a]",
            "5:16",
            "Recursive reference not allowed",
        ),
        fields("deep", &deep, "5:23", "too deep (16 levels)"),
        fields(
            "tag",
            "  env: {A: !!python/object x}",
            "5:28",
            "tags (`!…`) are not read",
        ),
        fields(
            "twice",
            "  image: a\n  \"image\": b",
            "6:3",
            "`image` is written twice",
        ),
        fields(
            "escape",
            "  \"\\e[31mA\": x",
            "5:3",
            "has an invisible character in it",
        ),
        fields("wraps", "  port: 4294967376", "5:3", "4294967376 is not a port"),
        fields(
            "for-ever",
            "  rollout: {deadline: 9999999h}",
            "5:13",
            "is longer than 7 days",
        ),
        fields(
            "privileged",
            "  privileged: true",
            "5:3",
            "unknown field `privileged`",
        ),
        fields(
            "root",
            "  security: {runAsUser: 0}",
            "5:14",
            "a numeric user other than 0",
        ),
        fields(
            "argument",
            argument,
            "6:10",
            "would put the value of a secret on the command line",
        ),
        fields(
            "ours",
            "  env: {A: {secret: slipway-keys/key}}",
            "5:9",
            "belongs to Slipway",
        ),
        fields("url", &url, "5:9", "looks like a secret (a URL with a password"),
        Bad::new("secret", secret.as_bytes(), "2:1", "a Secret must not be in git"),
        Bad::new(
            "shared",
            twice.join("---\n").as_bytes(),
            "12:12",
            "is already declared at",
        ),
        Bad::new(
            "system",
            elsewhere.as_bytes(),
            "4:1",
            "may not write to namespace kube-system",
        ),
        Bad::new("bytes", b"a: 1\nb: \xff\n", "2:4", "the file is not UTF-8"),
    ]
}

/// What to do about it.
fn remedy(name: &str) -> &'static str {
    match name {
        "url" => "move the value into a Secret",
        "secret" => "remove it, and change its values where they are used",
        "system" => "add the namespace to namespaces of the ReleaseSource",
        _ => "mend the file at that place",
    }
}

fn problems(case: &Case) -> Vec<Value> {
    let source = get("releasesource", "", &case.source).unwrap();
    source["status"]["problems"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

/// Waits until so many problems are told, and no other.
fn told(case: &Case, count: usize) -> Vec<Value> {
    wait_telling(
        &format!("{}: {count} problems are told", case.ns),
        || format!("{:#?}", problems(case)),
        || Some(problems(case)).filter(|problems| problems.len() == count),
    )
}

#[test]
fn the_worst_specs_of_a_repository_are_each_told_at_their_place_and_the_good_one_never_notices() {
    let _services = shared();
    let case = Case::new(NS, &probe(NS));
    let bad = bad();
    for one in &bad {
        case.repo
            .write(&format!("production/{}.yaml", one.name), &one.content);
    }
    case.repo.link("production/link.yaml", "app.yaml");
    case.declare("one of them is good", "version: 1.0.0\nreplicas: 1");
    case.live("1.0.0");
    let before = Before::of(&case);

    let all = told(&case, bad.len() + 1);
    let of = |name: &str, place: &str| {
        let place = format!("production/{name}.yaml:{place}");
        let found = all.iter().find(|problem| problem["place"] == place.as_str());
        let found = found.unwrap_or_else(|| panic!("nothing is told at {place}: {all:#?}"));
        (place, found["message"].as_str().unwrap().to_owned())
    };
    for one in &bad {
        let (place, message) = of(one.name, one.place);
        assert!(message.contains(one.sentence), "{place}: {message}");
        let namespace = if one.name == "system" { "kube-system" } else { NS };
        explained(
            namespace,
            one.name,
            &case.source,
            &["There is no release", &place, one.sentence],
            remedy(one.name),
        );
    }
    let (place, message) = of("link", "1:1");
    assert!(message.contains("is a symbolic link"), "{message}");
    case.explained_of("link", &["There is no release", &place], remedy("link"));
    let status = get("releasesource", "", &case.source).unwrap()["status"].to_string();
    assert!(!status.contains(LITERAL), "what is refused is not repeated");

    // Of these two it was not known whose they are: none is missed.
    case.repo
        .git(&["rm", "--quiet", "production/bytes.yaml", "production/link.yaml"]);
    case.repo.commit("two fewer");
    told(&case, bad.len() - 1);
    let releases = list("release", NS, "");
    assert_eq!(releases.len(), 1, "{releases:#?}");
    assert!(get("release", "kube-system", "system").is_none());
    before.holds(&case);
    assert_eq!(case.phase(), "Live");
    case.end();
}
