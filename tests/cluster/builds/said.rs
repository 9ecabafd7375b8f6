//! What an image that was built here says of itself, and who else runs it.

use serde_json::Value;

use super::{
    super::support::{Case, Mark, Repo, get, is_true, pushed, shared, wait_telling},
    TINY, begun, newest, repository, tiny, version,
};

#[test]
fn an_image_built_for_one_environment_is_an_index_with_its_provenance_and_the_next_one_runs_the_same() {
    let _services = shared();
    let app = Repo::new("build-said-app");
    let spec = |ns: &str| tiny(ns, &app, "{}").replace(&repository(ns), &repository("said"));
    let commit = version(&app, "1.0.0", &format!("{TINY}ARG NPM_TOKEN\n"), &[]);
    let image = format!("registry.bed.test:5000/{}:1.0.0", repository("said"));
    let since = Mark::now();
    let staging = Case::new("build-said-a", &spec("build-said-a"));
    staging.declare("first", "version: 1.0.0");
    staging.live("1.0.0");

    let (digest, index) = pushed(&image).expect("it was pushed");
    let manifests = index["manifests"].as_array().expect("an index");
    let platforms: Vec<&Value> = manifests
        .iter()
        .map(|one| &one["platform"]["architecture"])
        .collect();
    assert!(
        platforms.contains(&&Value::from("unknown")),
        "its provenance: {index}"
    );
    assert!(platforms.contains(&&Value::from("amd64")), "itself: {index}");
    let says = |name: &str| index["annotations"][format!("org.opencontainers.image.{name}")].clone();
    assert_eq!(
        (says("version"), says("revision")),
        ("1.0.0".into(), commit.as_str().into())
    );

    assert!(
        says("created").as_str().is_some_and(|time| time.ends_with('Z')),
        "{index}"
    );

    // Another namespace, another source, another day.
    let production = Case::new("build-said-b", &spec("build-said-b"));
    production.declare(
        "later",
        "version: 1.0.0\nmatch: {version: enforce, revision: enforce}",
    );
    production.live("1.0.0");
    for case in [&staging, &production] {
        let revisions = case.revisions();
        assert_eq!(revisions.len(), 1, "{}: a revision of its own", case.ns);
        let pinned = &newest(case)["spec"]["image"];
        assert_eq!(pinned["digest"], digest.as_str(), "{}: {pinned}", case.ns);
        assert_eq!(pinned["sourceCommit"], commit.as_str(), "{}: {pinned}", case.ns);
        let deployment = get("deployment", &case.ns, "app").unwrap();
        let runs = deployment["spec"]["template"]["spec"]["containers"][0]["image"].to_string();
        assert!(runs.contains(&digest), "{}: {runs}", case.ns);
        // Whoever runs it knows what it was made of, and whoever built it need not be asked.
        let base = pinned["base"].as_array().expect("its provenance was read");
        let is_probe = |name: &Value| {
            let name = name.as_str().unwrap();
            name.starts_with("registry.bed.test:5000/acme/probe:1.0.0@sha256:")
        };
        assert!(base.iter().any(is_probe), "{}: {pinned}", case.ns);
    }
    // What was found before it was built is known where it was built, with its place.
    let warned = newest(&staging)["spec"]["image"]["warned"][0].to_string();
    assert!(
        warned.contains("Dockerfile:4: ") && warned.contains("NPM_TOKEN"),
        "{warned}"
    );
    assert!(is_true(&staging.release(), "SourceWarned"));
    // A change of what its pods are given makes a revision, and nothing that is known of its image is forgotten.
    let known = |case: &Case| {
        let image = newest(case)["spec"]["image"].clone();
        [
            "base",
            "locks",
            "size",
            "origin",
            "sourceCommit",
            "warned",
            "built",
        ]
        .map(|name| image[name].clone())
    };
    let before = known(&staging);
    staging.declare("another change", "version: 1.0.0\nenv: {GREETING: hello}");
    wait_telling(
        "the change is live",
        || staging.state(),
        || (newest(&staging)["spec"]["number"] == 2 && staging.phase() == "Live").then_some(()),
    );
    assert_eq!(known(&staging), before);
    assert!(is_true(&staging.release(), "SourceWarned"));
    // What other arguments would have made is another image, and has no name of its own here.
    let ns = "build-said-c";
    let otherwise = tiny(ns, &app, "{args: {API: elsewhere}}").replace(&repository(ns), &repository("said"));
    let otherwise = Case::new(ns, &otherwise);
    otherwise.declare("with other arguments", "version: 1.0.0");
    otherwise.until("Failed(ImageMismatch)", "1.0.0");
    otherwise.explained(&["with other arguments"], "push the right image");
    assert_eq!(get("deployment", ns, "app"), None, "nothing of it runs");
    assert_eq!(begun(since, &image).len(), 1, "one build for both");
    otherwise.end();
    staging.end();
    production.end();
}
