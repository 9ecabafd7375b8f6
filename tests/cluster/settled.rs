//! A settled cluster is left alone: nothing is written but the lease, and a commit for one release writes to that one.

use std::time::Duration;

use super::support::{Case, alone, audit, get, kubectl, probe, wait};

/// As long as the claim says; shorter for those who work on the test itself.
fn quiet_time() -> Duration {
    let seconds = std::env::var("SLIPWAY_SETTLED_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(600);
    Duration::from_secs(seconds)
}

#[test]
fn twenty_settled_releases_cost_no_write_and_a_commit_for_one_writes_to_that_one() {
    let _services = alone();
    let ns = "settled";
    let case = Case::new(ns, &probe(ns).replace("name: app", "name: app-00"));
    for index in 0..20 {
        let name = format!("app-{index:02}");
        case.repo.write(
            &format!("base/{name}.yaml"),
            &probe(ns).replace("name: app", &format!("name: {name}")),
        );
        case.repo.write(
            &format!("production/{name}.yaml"),
            &format!("apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: {name}, namespace: {ns}}}\nspec:\n  version: 1.0.0\n  replicas: 0\n"),
        );
    }
    case.repo
        .git(&["rm", "--quiet", "--cached", "--ignore-unmatch", "base/app.yaml"]);
    case.repo.write("base/app.yaml", "");
    case.repo.commit("twenty");
    wait("twenty are live", 300, || {
        let phases = kubectl(&[
            "-n",
            ns,
            "get",
            "releases",
            "-o",
            "jsonpath={range .items[*]}{.status.phase} {end}",
        ]);
        (phases.split_whitespace().filter(|phase| *phase == "Live").count() == 20).then_some(())
    });
    // What was begun before the last became live may still be written.
    std::thread::sleep(Duration::from_secs(20));
    let of_slipway = || {
        audit("")
            .into_iter()
            .filter(|event| event["objectRef"]["resource"] != "leases")
            .count()
    };
    let before = of_slipway();
    case.repo.write("README.md", "nothing that is declared\n");
    case.repo.commit("words");
    std::thread::sleep(quiet_time());
    let words: Vec<String> = audit("")
        .into_iter()
        .filter(|event| event["objectRef"]["resource"] != "leases")
        .skip(before)
        .map(|event| format!("{} {}", event["verb"], event["requestURI"]))
        // The source says which commit it has read.
        .filter(|line| !line.contains("/releasesources/"))
        .collect();
    assert!(words.is_empty(), "{words:?}");
    let before = audit(ns).len();
    case.repo.write(
        "production/app-07.yaml",
        &format!("apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: app-07, namespace: {ns}}}\nspec:\n  version: 1.1.0\n  replicas: 0\n"),
    );
    case.repo.commit("one of them");
    wait("app-07 is live", 120, || {
        (get("release", ns, "app-07")?["status"]["liveVersion"] == "1.1.0").then_some(())
    });
    let touched: Vec<String> = audit(ns)
        .into_iter()
        .skip(before)
        .map(|event| event["objectRef"]["name"].as_str().unwrap_or("").to_owned())
        .collect();
    println!(
        "writes for one new version without a migration: {}",
        touched.len()
    );
    assert!(
        touched
            .iter()
            .all(|name| name.is_empty() || name.starts_with("app-07")),
        "{touched:?}"
    );
    case.end();
}
