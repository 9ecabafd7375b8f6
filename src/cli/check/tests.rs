//! What `slipway check` prints, and for whom.

use std::{fs, path::Path};

use super::*;
use crate::spec::tests::{SECRETS, bad_specs};

const HEAD: &str = "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: a, namespace: shop}\n";

fn read(files: &[(&str, &str)]) -> (Layers, Reading, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let layers = layers::read(&[folder.path().to_owned()]).unwrap();
    let reading = reading::read(&layers.files, &Named::new(), &|_| None);
    (layers, reading, folder)
}

fn printed(spec: &str) -> String {
    let (layers, reading, folder) = read(&[("a.yaml", &format!("{HEAD}spec:\n{spec}"))]);
    text(&layers, &reading, Audience::Author { color: false })
        .replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn a_problem_is_printed_with_its_line_as_a_compiler_would() {
    assert_eq!(
        printed("  replcias: 3\n"),
        "error: unknown field `replcias`: did you mean `replicas`?\n \
         --> a.yaml:5:3\n  \
         |\n\
         5 |   replcias: 3\n  \
         |   ^^^^^^^^\n\n"
    );
}

#[test]
fn what_may_be_a_secret_is_a_warning_in_every_form_and_its_line_is_shown_to_nobody() {
    const VALUE: &str = "k3Jx9vQ2mT7wZ1pL5sR8yB4nC6hD0fGa";
    let spec = format!("{HEAD}spec:\n  env:\n    SIGNING: {VALUE}\n");
    let (layers, reading, _folder) = read(&[("a.yaml", &spec)]);
    assert_eq!(reading.problems, []);
    let forms = everything(&layers, &reading);
    for (form, words) in forms.iter().zip([
        "no problems",
        "warning: may be a secret (32 characters",
        "a.yaml:6:5: warning: may be a secret",
        r#""level":"warning""#,
        r#""ruleId":"suspect""#,
    ]) {
        assert!(form.contains(words), "{words}: {form}");
        assert!(!form.contains(VALUE), "{form}");
    }
}

#[test]
fn what_may_be_meant_otherwise_is_a_warning_without_a_cluster() {
    let system = HEAD.replace("namespace: shop", "namespace: kube-system");
    for (spec, words) in [
        (
            format!("{system}spec: {{}}\n"),
            "only a source that lists kube-system in `namespaces` may write there",
        ),
        (
            format!(
                "{HEAD}spec: {{image: x, version: 1.0.0, port: 80, rollout: {{deadline: 1m}}, health: {{startup: 5m}}}}\n"
            ),
            "is not there before the rollout's deadline of 1m",
        ),
    ] {
        let (layers, _, _folder) = read(&[("a.yaml", &spec)]);
        let reading = judged(&layers);
        assert_eq!(reading.problems, []);
        let forms = everything(&layers, &reading);
        assert!(forms.iter().all(|form| form.contains(words)), "{forms:?}");
        assert!(
            forms[2].contains("a.yaml:4:") && forms[2].contains(": warning: release "),
            "{}",
            forms[2]
        );
        assert!(forms[2].ends_with("no problems, 1 warning\n"), "{}", forms[2]);
        assert!(forms[4].contains(r#""ruleId":"doubt""#), "{}", forms[4]);
    }
}

/// The same reading in every form.
fn everything(layers: &Layers, reading: &Reading) -> [String; 5] {
    [
        text(layers, reading, Audience::Author { color: true }),
        text(layers, reading, Audience::Author { color: false }),
        text(layers, reading, Audience::Others),
        machine(layers, reading).to_string(),
        sarif(layers, reading).to_string(),
    ]
}

#[test]
fn only_the_author_on_a_terminal_is_shown_a_line_of_a_file() {
    let spec = format!("{HEAD}spec:\n  replcias: 3 # one of ours\n");
    let (layers, reading, folder) = read(&[("a.yaml", &spec)]);
    let [styled, plain, others @ ..] = everything(&layers, &reading);
    for shown in [styled, plain] {
        assert!(shown.contains("one of ours"), "{shown}");
    }
    for out in &others {
        assert!(!out.contains("one of ours"), "{out}");
    }
    assert_eq!(
        others[0],
        format!(
            "{}/a.yaml:5:3: unknown field `replcias`: did you mean `replicas`?\n",
            folder.path().display()
        )
    );
}

#[test]
fn of_every_bad_spec_that_is_known_no_form_shows_a_part_of_its_secret() {
    let mut seen = 0;
    for spec in bad_specs() {
        let (layers, reading, _folder) = read(&[("a.yaml", &spec)]);
        for out in everything(&layers, &reading) {
            for secret in SECRETS {
                assert!(!out.contains(secret), "{secret}: {spec}\n{out}");
            }
        }
        seen += usize::from(SECRETS.iter().any(|secret| spec.contains(secret)));
    }
    assert!(seen >= 15, "{seen} of them hold one");
}

#[test]
fn a_line_with_a_secret_is_never_printed_in_any_format() {
    for spec in [
        "  env: {DB_PASSWORD: hunter22}\n",
        "  env: {X: \"A\\u004bIAIOSFODNN7EXAMPLE\", Y: 5} # hunter22\n",
        "  replcias: 3 # postgres://u:hunter22@h\n",
        "  env:\n    DB_PASSWORD: \"hunter22\n    B: x\n",
        "  env:\n    DB_PASSWORD: |\n      hunter22\n\tx\n",
        "  args:\n    - --password\n    - hunter22\n",
    ] {
        let (layers, reading, _folder) = read(&[("a.yaml", &format!("{HEAD}spec:\n{spec}"))]);
        for out in everything(&layers, &reading) {
            assert!(
                !out.contains("hunter22") && !out.contains("OSFODNN7"),
                "{spec}{out}"
            );
            assert!(out.contains("a.yaml"), "{spec}{out}");
        }
    }
    assert!(printed("  env: {DB_PASSWORD: hunter22}\n").contains("the line is not shown"));
}

#[test]
fn no_character_of_a_file_steers_the_terminal() {
    let out = printed("  version: \u{1b}[31mred\n") + &printed("  image: \u{202e}x\n");
    assert!(out.contains("U+001B") && out.contains("U+202E"), "{out}");
    assert!(!out.contains(['\u{1b}', '\u{202e}']), "{out:?}");
}

#[test]
fn the_json_has_every_problem_and_what_became_of_the_releases() {
    let good = HEAD.replace("name: a", "name: b") + "spec: {}\n";
    let (layers, reading, _folder) = read(&[("a.yaml", &format!("{HEAD}spec: 7\n")), ("b.yaml", &good)]);
    let out = machine(&layers, &reading);
    assert_eq!(
        (&out["releases"], &out["held"]),
        (&json!(["shop/b"]), &json!(["shop/a"]))
    );
    assert_eq!(
        (
            &out["problems"][0]["line"],
            &out["problems"][0]["column"],
            &out["problems"][0]["level"]
        ),
        (&json!(4), &json!(1), &json!("error"))
    );
}

/// An object of the [schema of SARIF 2.1.0](https://docs.oasis-open.org/sarif/sarif/v2.1.0/): what it must have, what else it
/// may have of what is written here, and what each of these is. Other names are not allowed by the schema.
fn is_sound(kind: &str, value: &Value) {
    let (must, may): (&[&str], &[&str]) = match kind {
        "log" => (&["version", "runs"], &["$schema"]),
        "run" => (&["tool"], &["results", "columnKind"]),
        "tool" => (&["driver"], &[]),
        "toolComponent" => (&["name"], &["version", "rules"]),
        "reportingDescriptor" => (&["id"], &["shortDescription"]),
        // Of a message the schema asks for the text or an id.
        "multiformatMessageString" | "message" => (&["text"], &[]),
        "result" => (&["message"], &["ruleId", "level", "locations"]),
        "location" => (&[], &["physicalLocation"]),
        // The schema asks for this or an address.
        "physicalLocation" => (&["artifactLocation"], &["region"]),
        "artifactLocation" => (&[], &["uri"]),
        "region" => (&[], &["startLine", "startColumn"]),
        other => unreachable!("{other}"),
    };
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("{kind} is no object: {value}"));
    for name in must {
        assert!(object.contains_key(*name), "{kind} lacks {name}: {value}");
    }
    for (name, value) in object {
        assert!(
            [must, may].concat().contains(&name.as_str()),
            "{kind} has no {name}"
        );
        let list = || {
            value
                .as_array()
                .unwrap_or_else(|| panic!("{kind}.{name}: {value}"))
        };
        match name.as_str() {
            "runs" => list().iter().for_each(|run| is_sound("run", run)),
            "results" => list().iter().for_each(|result| is_sound("result", result)),
            "rules" => list()
                .iter()
                .for_each(|rule| is_sound("reportingDescriptor", rule)),
            "locations" => list().iter().for_each(|location| is_sound("location", location)),
            "tool" => is_sound("tool", value),
            "driver" => is_sound("toolComponent", value),
            "shortDescription" => is_sound("multiformatMessageString", value),
            "message" => is_sound("message", value),
            "physicalLocation" => is_sound("physicalLocation", value),
            "artifactLocation" => is_sound("artifactLocation", value),
            "region" => is_sound("region", value),
            "startLine" | "startColumn" => assert!(value.as_u64().is_some_and(|n| n >= 1), "{name}: {value}"),
            "version" if kind == "log" => assert_eq!(value, "2.1.0"),
            "level" => assert!(["none", "note", "warning", "error"].contains(&value.as_str().unwrap())),
            "columnKind" => {
                assert!(["utf16CodeUnits", "unicodeCodePoints"].contains(&value.as_str().unwrap()));
            }
            "uri" => {
                // A reference of RFC 3986: nothing but what a URL may hold.
                let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
                assert!(value.as_str().unwrap().chars().all(plain), "{value}");
            }
            _ => assert!(value.is_string(), "{kind}.{name}: {value}"),
        }
    }
}

#[test]
fn the_sarif_has_what_its_schema_requires() {
    let (layers, mut reading, _folder) = read(&[(
        "a.yaml",
        &format!("{HEAD}spec:\n  env: {{DB_PASSWORD: hunter22}}\n  replcias: 3\n"),
    )]);
    reading.problems[0].path = "./releases/a b/ä.yaml".into();
    let out = sarif(&layers, &reading);
    is_sound("log", &out);
    let run = &out["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "slipway");
    let results = run["results"].as_array().unwrap();
    let of = |rule: &str| results.iter().filter(|result| result["ruleId"] == rule).count();
    assert_eq!(
        (of("secret"), of("spec"), results.len()),
        (1, 1, 2),
        "each is of a rule that is described"
    );
    let ids: Vec<&Value> = run["tool"]["driver"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| &rule["id"])
        .collect();
    assert_eq!(ids, ["secret", "suspect", "doubt", "spec"]);
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "releases/a%20b/%C3%A4.yaml");
    assert_eq!(place["region"]["startLine"], reading.problems[0].line);
    assert_eq!(place["region"]["startColumn"], reading.problems[0].column);
    // Without problems it is whole, too: code scanning then closes what it knew.
    let (layers, good, _folder) = read(&[("a.yaml", &format!("{HEAD}spec: {{}}\n"))]);
    let out = sarif(&layers, &good);
    is_sound("log", &out);
    assert_eq!(out["runs"][0]["results"], json!([]));
}

#[test]
#[should_panic(expected = "result lacks message")]
fn what_the_schema_of_sarif_requires_is_missed_where_it_is_not_there() {
    let (layers, reading, _folder) = read(&[("a.yaml", &format!("{HEAD}spec: 7\n"))]);
    let mut out = sarif(&layers, &reading);
    out["runs"][0]["results"][0]
        .as_object_mut()
        .unwrap()
        .remove("message");
    is_sound("log", &out);
}

#[test]
fn the_examples_are_without_problems() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/releases");
    let layers = layers::read(&[root.join("base"), root.join("production")]).unwrap();
    let reading = reading::read(&layers.files, &Named::new(), &|_| None);
    let out = text(&layers, &reading, Audience::Others);
    assert!(out.ends_with("no problems\n"), "{out}");
}

#[test]
fn what_is_not_there_or_holds_no_spec_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("nothing"), folder.path().to_owned()] {
        let error = layers::read(&[path]).unwrap_err();
        assert!(error.is::<super::super::Usage>(), "{error}");
    }
}

#[cfg(unix)]
fn layer_len(layers: &Layers) -> usize {
    // The link to the directory is one more.
    layers.files[0].len() + 1
}

#[cfg(unix)]
#[test]
fn links_and_odd_names_are_problems_and_hidden_files_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.yaml"), format!("{HEAD}spec: {{}}\n")).unwrap();
    fs::write(at("b.YAML"), "").unwrap();
    fs::write(at(".hidden.yaml"), "x: [").unwrap();
    fs::write(at("notes.md"), "x: [").unwrap();
    fs::create_dir(at(".git")).unwrap();
    std::os::unix::fs::symlink("a.yaml", at("c.yaml")).unwrap();
    let layers = layers::read(&[folder.path().to_owned()]).unwrap();
    let reading = reading::read(&layers.files, &Named::new(), &|_| None);
    let said: Vec<&str> = reading
        .problems
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].contains("lower case") && said[1].contains("symbolic link"),
        "{said:?}"
    );
    let named = layers::read(&[at("c.yaml")]).unwrap();
    assert!(named.files[0][0].problems[0].message.contains("symbolic link"));
    std::os::unix::fs::symlink(folder.path(), at("d")).unwrap();
    assert_eq!(
        layers::read(&[at("d")]).unwrap().files[0].len(),
        layer_len(&layers)
    );
    // By itself each is a sentence: machines show it without the path.
    assert!(said.iter().all(|said| said.starts_with("the file ")), "{said:?}");
}

#[cfg(unix)]
#[test]
fn what_cannot_be_read_is_a_problem_of_its_own_and_the_others_are_read() {
    use std::os::unix::net::UnixListener;

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.yaml"), format!("{HEAD}spec: {{replcias: 3}}\n")).unwrap();
    // As a pipe does, a socket has the name of a file and is none.
    let _socket = UnixListener::bind(at("b.yaml")).unwrap();
    let mut deep = at("c");
    for _ in 0..33 {
        deep = deep.join("d");
    }
    fs::create_dir_all(&deep).unwrap();
    for paths in [
        vec![folder.path().to_owned()],
        vec![at("a.yaml"), at("b.yaml"), at("c")],
    ] {
        let layers = layers::read(&paths).unwrap();
        let reading = reading::read(&layers.files, &Named::new(), &|_| None);
        for out in everything(&layers, &reading) {
            for words in [
                "did you mean",
                "is no regular file",
                "the directory is deeper than 32",
            ] {
                assert!(out.contains(words), "{words}: {out}");
            }
        }
    }
}
