//! A settled cluster is left alone: nothing is written but the lease, whatever the network does, and a commit for one
//! release writes to that one. The binary runs outside, behind a proxy that cuts its watches.

use std::time::Duration;

use serde_json::Value;

use super::support::{Aside, Case, Outside, Rights, alone, audit, get, kubectl, probe, wait};

/// As long as the claim says; shorter for those who work on the test itself.
fn quiet_time() -> Duration {
    let seconds = std::env::var("SLIPWAY_SETTLED_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(600);
    Duration::from_secs(seconds)
}

/// Writes of Slipway other than to the lease that says who leads.
fn written() -> Vec<String> {
    audit("")
        .into_iter()
        .filter(|event| event["objectRef"]["name"] != "slipway-controller")
        .map(|event| format!("{} {}", event["verb"], event["requestURI"]))
        .collect()
}

fn layers(case: &Case) {
    let ns = &case.ns;
    for index in 0..20 {
        let name = format!("app-{index:02}");
        let base = probe(ns).replace("name: app", &format!("name: {name}"));
        case.repo.write(&format!("base/{name}.yaml"), &base);
        version(case, &name, "1.0.0");
    }
    case.repo.write("base/app.yaml", "");
    case.repo.commit("twenty");
}

fn version(case: &Case, name: &str, version: &str) {
    let layer = format!(
        "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: {name}, namespace: {}}}\nspec:\n  version: {version}\n  replicas: 1\n",
        case.ns
    );
    case.repo.write(&format!("production/{name}.yaml"), &layer);
}

#[test]
fn twenty_settled_releases_cost_no_write_and_a_commit_for_one_writes_to_that_one() {
    let _services = alone();
    let _aside = Aside::new();
    let outside = Outside::whole(&Rights::of_the_chart());
    outside.run();
    let ns = "settled";
    let case = Case::new(ns, "");
    layers(&case);
    wait("twenty are live", || {
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
    println!(
        "writes for 20 first releases without a migration: {}",
        audit(ns).len()
    );
    wait("nothing is written for 20 s", || {
        let before = written().len();
        std::thread::sleep(Duration::from_secs(20));
        (written().len() == before).then_some(())
    });
    let before = written().len();
    case.repo.write("README.md", "nothing that is declared\n");
    case.repo.commit("words");
    for round in 0..5 {
        std::thread::sleep(quiet_time() / 5);
        let first = if round == 2 {
            "gone?lists=1&watches=4"
        } else {
            "cut"
        };
        outside.tell::<Value>(first);
        outside.tell::<Value>("cut");
    }
    let counts: Value = outside.tell("counts");
    println!("{}: {}", outside.memory(), {
        let mut counts = counts.clone();
        counts["mutating"] = counts["mutating"].as_array().unwrap().len().into();
        counts
    });
    assert!(counts["cut"].as_i64().unwrap() > 20, "watches were cut: {counts}");
    assert_eq!(counts["gone_lists"], 1, "one list answered 410 Gone");
    assert_eq!(counts["gone_watches"], 4, "watches began with 410 Gone");
    let more: Vec<String> = written().split_off(before);
    assert!(more.is_empty(), "{more:?}");

    let before = audit(ns).len();
    version(&case, "app-07", "1.1.0");
    case.repo.commit("one of them");
    wait("app-07 is live", || {
        (get("release", ns, "app-07")?["status"]["liveVersion"] == "1.1.0").then_some(())
    });
    let touched: Vec<String> = audit(ns)
        .into_iter()
        .skip(before)
        .map(|event| {
            let name = event["objectRef"]["name"].as_str();
            // A creation names its object in the body.
            name.or_else(|| event["responseObject"]["metadata"]["name"].as_str())
                .unwrap_or("")
                .to_owned()
        })
        .collect();
    println!(
        "writes for one new version without a migration: {}",
        touched.len()
    );
    assert!(!touched.is_empty());
    assert!(
        touched.iter().all(|name| name.starts_with("app-07")),
        "{touched:?}"
    );
    case.end();
}
