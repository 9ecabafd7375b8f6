//! Which image is run: what it says of itself against what is declared, and a tag that is looked up anew.

use serde_json::Value;

use super::support::{
    Case, Repo, annotate, credentials, get, is_true, probe, saying, saying_nothing, script, shared, wait,
    wait_telling,
};

fn newest(case: &Case) -> Value {
    case.revisions().pop().unwrap()
}

fn origin(case: &Case) -> String {
    newest(case)["spec"]["image"]["origin"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn doubted(case: &Case, what: &str) {
    wait_telling(
        what,
        || case.state(),
        || is_true(&case.release(), "ImageMismatch").then_some(()),
    );
}

#[test]
fn what_an_image_says_of_its_version_warns_or_stops_as_match_says_and_a_label_of_its_base_does_neither() {
    let _services = shared();
    let ns = "images-said";
    let base = probe(ns).replace("acme/probe", "acme/said") + "  replicas: 1\n";
    let case = Case::new(ns, &base);
    saying(
        "1.0.0",
        "acme/said:1.0.0",
        &[("version", "v1.0.0")],
        &[("version", "24.04")],
    );
    case.declare("it says so", "version: 1.0.0\nmatch: {version: enforce}");
    case.live("1.0.0");
    assert!(
        origin(&case).contains("version agrees by annotation"),
        "{}",
        origin(&case)
    );

    saying("1.1.0", "acme/said:1.1.0", &[("version", "9.9.9")], &[]);
    case.declare("it says another", "version: 1.1.0\nmatch: {version: enforce}");
    case.until("Failed(ImageMismatch)", "1.1.0");
    case.explained(
        &["it says that it is version 9.9.9"],
        "push the right image under another version",
    );
    let served = get("deployment", ns, "app").unwrap();
    let image = served["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap();
    assert!(image.contains("acme/said:1.0.0@"), "{image}");
    case.declare("a warning is enough", "version: 1.1.0");
    case.live("1.1.0");
    doubted(&case, "what differs is told");
    case.explained(
        &["1.1.0 is live", "it says that it is version 9.9.9"],
        "see what image was pushed",
    );

    // What runs is left alone whatever `match` says later, and nothing further is rolled out with it.
    let served = case.pod_identities();
    case.declare("enforced since", "version: 1.1.0\nmatch: {version: enforce}");
    wait_telling(
        "it is told as enforced",
        || case.state(),
        || {
            let conditions = case.release()["status"]["conditions"].to_string();
            conditions.contains("as `match` enforces that").then_some(())
        },
    );
    assert_eq!(case.phase(), "Live");
    case.declare(
        "a change of it",
        "version: 1.1.0\nmatch: {version: enforce}\nenv: {GREETING: hello}",
    );
    case.until("Failed(ImageMismatch)", "1.1.0");
    assert_eq!(case.pod_identities(), served, "what serves is left alone");
    case.declare(
        "nobody cares",
        "version: 1.1.0\nmatch: {version: ignore}\nenv: {GREETING: hello}",
    );
    case.live("1.1.0");
    wait_telling(
        "nothing is told any more",
        || case.state(),
        || (!is_true(&case.release(), "ImageMismatch")).then_some(()),
    );

    saying(
        "1.1.0",
        "acme/said:1.2.0",
        &[],
        &[("version", "24.04"), ("revision", "0123456789abcdef")],
    );
    case.declare(
        "the label of its base",
        "version: 1.2.0\nmatch: {version: enforce}",
    );
    case.live("1.2.0");
    assert!(!is_true(&case.release(), "ImageMismatch"));
    assert!(
        origin(&case).contains("a label says version 24.04, which may be of its base image"),
        "{}",
        origin(&case)
    );
    case.end();
}

#[test]
fn an_image_of_another_commit_than_source_names_is_not_run_where_that_is_enforced() {
    let _services = shared();
    let ns = "images-commit";
    let app = Repo::new("images-commit-app");
    app.write("README.md", "an application");
    let commit = app.commit("first");
    app.tag("v1.0.0");
    let url = app.https().to_owned();
    credentials("images-commit", "https://git.bed.test/another.git");
    let base = format!(
        "{}  replicas: 1\n  source: {{git: {url}, secret: images-commit}}\n  match: {{revision: enforce}}\n",
        probe(ns).replace("acme/probe", "acme/origin")
    );
    let case = Case::new(ns, &base);
    let other = "0".repeat(40);
    saying("1.0.0", "acme/origin:1.0.0", &[("revision", &other)], &[]);
    case.declare("a secret for others", "version: 1.0.0");
    case.until("Waiting(GitRefused)", "1.0.0");
    case.explained(&["images-commit", "is not for"], "slipway.dev/for");
    annotate("images-commit", "https://git.bed.test/");
    case.until("Failed(ImageMismatch)", "1.0.0");
    case.explained(
        &["it says that it was built from commit 000000000000", "tag v1.0.0"],
        "push the right image",
    );
    assert_eq!(get("deployment", ns, "app"), None, "nothing of it runs");

    // The right one, as a label that is this image's own.
    saying(
        "1.1.0",
        "acme/origin:1.1.0",
        &[],
        &[
            ("version", "1.1.0"),
            ("revision", &commit),
            ("source", url.trim_end_matches(".git")),
        ],
    );
    case.declare("no such tag", "version: 1.1.0");
    case.until("Waiting(RefNotFound)", "1.1.0");
    case.explained(&["tag v1.1.0"], "push the tag");
    app.tag("v1.1.0");
    case.live("1.1.0");
    assert!(
        origin(&case).contains("version agrees by label, revision agrees by label"),
        "{}",
        origin(&case)
    );
    assert_eq!(newest(&case)["spec"]["image"]["sourceCommit"], commit.as_str());
    case.end();
}

#[test]
fn labels_of_the_image_itself_are_enforced_and_one_that_has_none_is_run() {
    let _services = shared();
    let ns = "images-labels";
    let app = Repo::new("images-labels-app");
    app.write("README.md", "an application");
    let commit = app.commit("first");
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        app.tag(&format!("v{version}"));
    }
    credentials(ns, app.https());
    let base = format!(
        "{}  replicas: 1\n  source: {{git: {}, secret: {ns}}}\n  match: {{version: enforce, revision: enforce}}\n",
        probe(ns).replace("acme/probe", "acme/labelled"),
        app.https()
    );
    let case = Case::new(ns, &base);
    saying_nothing("1.0.0", "acme/labelled:1.0.0");
    case.declare("it says nothing", "version: 1.0.0");
    case.live("1.0.0");
    assert!(origin(&case).contains("version unlabelled"), "{}", origin(&case));

    let (own, other) = (app.https().to_owned(), "1".repeat(40));
    for (version, said, revision, words) in [
        ("1.1.0", "9.9.9", &commit, "it says that it is version 9.9.9"),
        (
            "1.2.0",
            "1.2.0",
            &other,
            "it says that it was built from commit 111111111111",
        ),
    ] {
        let to = format!("acme/labelled:{version}");
        let labels = [
            ("version", said),
            ("revision", revision.as_str()),
            ("source", own.as_str()),
        ];
        saying("1.1.0", &to, &[], &labels);
        let served = case.pod_identities();
        case.declare(words, &format!("version: {version}"));
        case.until("Failed(ImageMismatch)", version);
        case.explained(&[words], "push the right image");
        assert_eq!(case.pod_identities(), served, "what serves is left alone");
    }
    case.end();
}

#[test]
fn a_tag_that_moved_is_looked_up_anew_when_a_commit_raises_repin_and_not_before() {
    let _services = shared();
    let ns = "images-repin";
    let base = probe(ns).replace("acme/probe", "acme/repinned") + "  replicas: 1\n";
    let case = Case::new(ns, &base);
    let tag = "registry.bed.test:5000/acme/repinned:1.0.0";
    let first = script("image-push", &["registry.bed.test:5000/acme/probe:1.0.0", tag]);
    case.declare("first", "version: 1.0.0");
    case.live("1.0.0");
    let second = script("image-push", &["registry.bed.test:5000/acme/probe:1.1.0", tag]);
    wait("TagMoved", || is_true(&case.release(), "TagMoved").then_some(()));
    assert_eq!(newest(&case)["spec"]["image"]["digest"], first.trim());
    case.declare("as it is now", "version: 1.0.0\nrepin: 1");
    wait_telling(
        "what the tag names now is live",
        || case.state(),
        || {
            let newest = newest(&case);
            (newest["spec"]["image"]["digest"] == second.trim() && newest["status"]["outcome"] == "Live")
                .then_some(())
        },
    );
    let why = newest(&case)["spec"]["cause"].as_str().unwrap().to_owned();
    assert!(why.starts_with("repin 1: "), "{why}");
    wait("the tag names what runs", || {
        (!is_true(&case.release(), "TagMoved")).then_some(())
    });
    // The number again, with another change: nothing is looked up.
    script("image-push", &["registry.bed.test:5000/acme/probe:1.0.0", tag]);
    case.declare(
        "another change",
        "version: 1.0.0\nrepin: 1\nenv: {GREETING: hello}",
    );
    wait_telling(
        "the change is live",
        || case.state(),
        || (newest(&case)["spec"]["number"] == 3 && case.phase() == "Live").then_some(()),
    );
    assert_eq!(newest(&case)["spec"]["image"]["digest"], second.trim());
    case.declare("taken back", "version: 1.0.0\nenv: {GREETING: hello}");
    wait_telling(
        "the one before is live",
        || case.state(),
        || (newest(&case)["spec"]["number"] == 4 && case.phase() == "Live").then_some(()),
    );
    assert_eq!(newest(&case)["spec"]["image"]["digest"], first.trim());
    let why = newest(&case)["spec"]["cause"].as_str().unwrap().to_owned();
    assert!(
        why.starts_with("repin 0: ") && why.contains(" again, as in v1"),
        "{why}"
    );
    case.end();
}
