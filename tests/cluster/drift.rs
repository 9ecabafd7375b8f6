//! What people change is put back; what belongs to others is left alone; an edit of a `Release` starts nothing.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Case, apply, get, kubectl, migrating, probe, shared, wait, writes};

/// Waits until it is so, and fails when that takes more than 5 s.
fn back_within_5_s(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    wait(what, || is().then_some(()));
    let took = start.elapsed();
    println!("{what}: back after {} ms", took.as_millis());
    assert!(took < Duration::from_secs(5), "{what}: {took:?}");
}

#[test]
fn a_deployment_that_somebody_else_made_is_never_written() {
    let _services = shared();
    let case = Case::new("drift-taken", &probe("drift-taken"));
    apply(&format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: app, namespace: {}}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: theirs}}}}
  template:
    metadata: {{labels: {{app: theirs}}}}
    spec: {{containers: [{{name: x, image: registry.bed.test:5000/bed/busybox:1}}]}}
",
        case.ns
    ));
    let version = |object: &Value| object["metadata"]["generation"].clone();
    let before = version(&case.deployment());
    case.declare("probe 1.0.0", "version: 1.0.0");
    case.until("Waiting(NameTaken)", "1.0.0");
    assert!(case.message().contains("Deployment app"), "{}", case.message());
    case.explained(&["Deployment app"], "rename the release in git");
    assert!(writes(&case.ns, "deployments").is_empty());
    assert_eq!(version(&case.deployment()), before);
    case.end();
}

#[test]
fn a_hand_edit_of_a_release_is_put_back_and_starts_nothing() {
    let _services = shared();
    let base = migrating("drift-edit", "");
    let case = Case::new("drift-edit", &base);
    case.declare("probe 1.0.0", "version: 1.0.0");
    case.live("1.0.0");
    let (revisions, deployments) = (case.revisions().len(), writes(&case.ns, "deployments").len());
    kubectl(&[
        "-n",
        &case.ns,
        "patch",
        "release",
        "app",
        "--type=merge",
        "-p",
        r#"{"spec":{"version":"1.1.0"}}"#,
    ]);
    wait("git's version is back", || {
        (case.release()["spec"]["version"] == "1.0.0").then_some(())
    });
    case.live("1.0.0");
    assert_eq!(case.revisions().len(), revisions);
    assert_eq!(case.jobs().len(), 1);
    assert_eq!(writes(&case.ns, "deployments").len(), deployments);
    kubectl(&["-n", &case.ns, "delete", "release", "app"]);
    wait("git's release is back", || get("release", &case.ns, "app"));
    case.live("1.0.0");
    assert_eq!(case.revisions().len(), revisions, "found again by name");
    case.end();
}

/// What disturbs others or is disturbed by them: `.ci/bed-test.sh` runs it on a bed of its own.
mod alone {
    use super::{super::support::alone, *};

    #[test]
    fn what_people_change_is_put_back_within_5_seconds_and_fields_of_others_are_left_alone() {
        // Alone: what is measured is Slipway and not how many others work on the machine.
        let _services = alone();
        let case = Case::new("drift", &probe("drift"));
        case.declare("probe 1.0.0", "version: 1.0.0\nreplicas: 2");
        case.live("1.0.0");
        let ns = case.ns.as_str();
        let image = case.deployment()["spec"]["template"]["spec"]["containers"][0]["image"].clone();

        let other = "web=registry.bed.test:5000/acme/probe:1.1.0";
        let set_image = || kubectl(&["-n", ns, "set", "image", "deployment/app", other]);

        kubectl(&["-n", ns, "scale", "deployment", "app", "--replicas=5"]);
        back_within_5_s("kubectl scale", || case.deployment()["spec"]["replicas"] == 2);

        set_image();
        back_within_5_s("kubectl set image", || {
            case.deployment()["spec"]["template"]["spec"]["containers"][0]["image"] == image
        });

        let before = case.deployment()["metadata"]["uid"].clone();
        kubectl(&["-n", ns, "delete", "deployment", "app", "--wait=false"]);
        back_within_5_s("kubectl delete deployment", || {
            let now = case.deployment();
            now["metadata"]["uid"].is_string() && now["metadata"]["uid"] != before
        });

        kubectl(&["-n", ns, "label", "deployment", "app", "slipway.dev/release-"]);
        back_within_5_s("a removed label", || {
            case.deployment()["metadata"]["labels"]["slipway.dev/release"] == "app"
        });

        kubectl(&[
            "-n",
            ns,
            "annotate",
            "deployment",
            "app",
            "example.com/owner=somebody",
        ]);
        // As an injector does it: a container and a setting of the pod, beside the container of ours. Of an image by digest,
        // as the invariants want it of all that a Deployment of ours runs.
        let injected = serde_json::json!({"spec": {"template": {"spec": {
            "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
            "containers": [{
                "name": "beside", "image": image, "command": ["/usr/bin/env", "sleep", "86400"],
                "securityContext": {"runAsUser": 65534},
            }],
        }}}})
        .to_string();
        kubectl(&[
            "-n",
            ns,
            "patch",
            "deployment",
            "app",
            "--field-manager=injector",
            "--type=strategic",
            "-p",
            &injected,
        ]);
        kubectl(&["-n", ns, "scale", "deployment", "app", "--replicas=4"]);
        back_within_5_s("kubectl scale again", || {
            case.deployment()["spec"]["replicas"] == 2
        });
        set_image();
        let container = |name: &str| {
            let deployment = case.deployment();
            let all = deployment["spec"]["template"]["spec"]["containers"].as_array();
            let found = all.and_then(|all| all.iter().find(|container| container["name"] == name));
            found.cloned().unwrap_or(Value::Null)
        };
        back_within_5_s("kubectl set image beside a container of others", || {
            container("web")["image"] == image
        });
        assert_eq!(container("beside")["command"][2], "86400");
        assert_eq!(
            case.deployment()["spec"]["template"]["spec"]["dnsConfig"]["options"][0]["name"],
            "ndots"
        );
        assert_eq!(
            case.deployment()["metadata"]["annotations"]["example.com/owner"],
            "somebody"
        );
        case.live("1.0.0");
        assert_eq!(container("beside")["command"][2], "86400", "still there");
        wait("each repair is counted", || {
            (case.release()["status"]["repairs"].as_i64()? >= 6).then_some(())
        });
        case.end();
    }
}
