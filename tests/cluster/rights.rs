//! What the chart allows and what Slipway asked for, over a whole run: judged by the audit log when all other tests of the
//! bed have ended, so `.ci/bed-test.sh` calls these by name.

use std::collections::BTreeSet;

use serde_json::Value;

use super::support::{Mark, get, received};

/// API group, resource with its subresource, verb.
type Right = (String, String, String);

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

/// What the chart's roles list, as they are in the cluster.
fn granted() -> BTreeSet<Right> {
    let roles = [
        get("clusterrole", "", "slipway").expect("the chart's ClusterRole"),
        get("role", "slipway-system", "slipway").expect("the chart's Role"),
    ];
    let mut found = BTreeSet::new();
    let all = |rule: &Value, key: &str| -> Vec<String> {
        rule[key].as_array().into_iter().flatten().map(word).collect()
    };
    for rule in roles.iter().filter_map(|role| role["rules"].as_array()).flatten() {
        for group in all(rule, "apiGroups") {
            for resource in all(rule, "resources") {
                for verb in all(rule, "verbs") {
                    found.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    found
}

/// The rights that a request needed; none for one that names no resource, such as discovery.
fn needed(event: &Value) -> Vec<Right> {
    let object = &event["objectRef"];
    let mut resource = word(&object["resource"]);
    if resource.is_empty() {
        return Vec::new();
    }
    if let Some(sub) = object["subresource"].as_str() {
        resource = format!("{resource}/{sub}");
    }
    let right = |verb: String| (word(&object["apiGroup"]), resource.clone(), verb);
    let mut rights = vec![right(word(&event["verb"]))];
    // Server-side apply of an object that is not there needs both.
    if event["verb"] == "patch" && event["responseStatus"]["code"] == 201 {
        rights.push(right("create".to_owned()));
    }
    rights
}

#[test]
#[ignore = "judges what the other tests did: run it after them"]
fn no_request_of_the_whole_run_was_refused() {
    let reads = Mark::start().requests(&["\"verb\":\"watch\""]).len();
    assert!(reads > 0, "the log holds what Slipway asked for, reads too");
    let mut refused = Mark::start().requests(&["\"code\":403"]);
    refused.retain(|event| event["responseStatus"]["code"] == 403);
    // Nothing can be made in a namespace that goes, whatever the rights; that is known only by the answer.
    refused.retain(|event| {
        !word(&event["responseStatus"]["message"]).contains("because it is being terminated")
    });
    // The rights go with the chart, a moment before the last pod.
    let uninstalled = Mark::start().uninstalled();
    refused.retain(|event| {
        let at = received(event);
        !uninstalled
            .iter()
            .any(|(end, again)| (*end..*again).contains(&at))
    });
    let sentences: BTreeSet<String> = refused
        .iter()
        .map(|event| word(&event["responseStatus"]["message"]))
        .collect();
    assert!(
        refused.is_empty(),
        "{} requests were refused:\n{sentences:#?}",
        refused.len()
    );
}

#[test]
#[ignore = "judges what the other tests did: run it after them"]
fn every_right_of_the_chart_was_used_in_the_whole_run() {
    let granted = granted();
    assert!(granted.len() > 40, "the roles were read: {granted:?}");
    let requests = Mark::start().requests(&[]);
    let used: BTreeSet<Right> = requests
        .iter()
        .filter(|event| event["responseStatus"]["code"] != 403)
        .flat_map(needed)
        .collect();
    println!(
        "{} rights listed, {} requests of Slipway judged",
        granted.len(),
        requests.len()
    );
    let unused: Vec<&Right> = granted.difference(&used).collect();
    assert!(
        unused.is_empty(),
        "listed by the chart and never used: {unused:#?}"
    );
}
