//! The Deployment of one process, made so that a rolling update loses no request and no pod runs that cannot.

use serde_json::{Value, json};

use super::{
    Input, Kind, Object,
    metadata::{self, Metadata},
    pod::{self, Container, Space},
};
use crate::{
    api::{meta, release::Strategy},
    names::ProcessName,
    spec::declared::{Probe, ProcessSpec, RolloutSpec},
};

/// How long a pod that is to go keeps serving before it gets TERM: endpoints are removed at the same moment, and
/// proxies and ingress controllers need a few seconds to hear of it.
const LAME_DUCK_SECONDS: u32 = 5;

/// Beyond `drain`: what a runtime needs to end once its last request is served.
const EXIT_SECONDS: u32 = 5;

/// Old `ReplicaSet`s that are kept. The way back is a revision's objects; these are for people who look.
const OLD_REPLICA_SETS: u32 = 2;

/// Often while a process starts, since each period is time that a rollout waits.
const STARTUP_PERIOD_SECONDS: u32 = 2;

/// The Deployment of `process`.
pub(super) fn deployment(input: &Input<'_>, name: &ProcessName, process: &ProcessSpec) -> Object {
    let selector = metadata::selector(input, name);
    let mut labels = metadata::labels(input);
    labels.extend(selector.clone());
    let spec = json!({
        "replicas": process.replicas,
        "selector": { "matchLabels": selector },
        "revisionHistoryLimit": OLD_REPLICA_SETS,
        "template": {
            "metadata": {
                "labels": labels,
                // A new attempt of the same image and env must start new pods; nothing else may.
                "annotations": { (meta::REVISION): input.revision.0.to_string() },
            },
            "spec": pod_spec(input, name, process),
        },
    });
    let spec = metadata::merged(spec, policy(&input.declared.rollout));
    object(input, name, json!({ "spec": spec }))
}

/// The fields of a Deployment's spec that [`policy`] gives.
pub const POLICY: [&str; 3] = ["strategy", "minReadySeconds", "progressDeadlineSeconds"];

/// How a Deployment goes from one template to the next: the fields of its spec that restart nothing when they change.
pub(super) fn policy(rollout: &RolloutSpec) -> Value {
    let min_ready = rollout.min_ready.as_secs();
    json!({
        "strategy": strategy(rollout),
        // Also where it is 0: left out, one that was more would stay.
        "minReadySeconds": min_ready,
        // The API server wants more than minReadySeconds. The deadline itself is judged by the controller.
        "progressDeadlineSeconds": rollout.deadline.as_secs().max(min_ready.saturating_add(1)),
    })
}

fn object(input: &Input<'_>, name: &ProcessName, body: Value) -> Object {
    let metadata = Metadata {
        labels: [(meta::PROCESS.to_owned(), name.to_string())].into(),
        ..Metadata::default()
    };
    metadata::object(
        input,
        Kind::Deployment,
        input.process_object(name),
        metadata,
        body,
    )
}

fn strategy(rollout: &RolloutSpec) -> Value {
    match rollout.strategy {
        Strategy::Recreate => json!({ "type": "Recreate" }),
        Strategy::Rolling => json!({
            "type": "RollingUpdate",
            "rollingUpdate": {
                "maxSurge": number_or_percent(&rollout.surge),
                "maxUnavailable": number_or_percent(&rollout.unavailable),
            },
        }),
    }
}

/// The API server takes numbers as numbers and only percentages as text.
fn number_or_percent(text: &str) -> Value {
    text.parse::<u32>()
        .map_or_else(|_| json!(text), |number| json!(number))
}

fn pod_spec(input: &Input<'_>, name: &ProcessName, process: &ProcessSpec) -> Value {
    let port = input.port(name);
    let probe = input.declared.probe.as_ref().filter(|_| port.is_some());
    let container = Container {
        name: name.as_str(),
        command: process.command.as_deref(),
        args: process.args.as_deref(),
        env: &process.env,
        resources: pod::resources(&process.resources),
    };
    let lame_duck = if port.is_some() { LAME_DUCK_SECONDS } else { 0 };
    // No liveness probe. A process that ends is restarted anyway; one that hangs still completes TCP handshakes, which
    // the kernel does, and one that is merely overloaded does not: such a probe restarts what should be left to work.
    let container_extra = json!({
        // The protocol is part of what identifies a port in a list.
        "ports": port.map(|port| json!([{ "name": "http", "containerPort": port, "protocol": "TCP" }])),
        "readinessProbe": probe.map(|probe| readiness(input, probe)),
        "startupProbe": probe.map(|probe| startup(input, probe)),
        "lifecycle": port.map(|_| json!({ "preStop": { "sleep": { "seconds": lame_duck } } })),
    });
    let drain = input.declared.rollout.drain.as_secs();
    let extra = json!({
        "terminationGracePeriodSeconds": drain.saturating_add(lame_duck + EXIT_SECONDS),
        "topologySpreadConstraints": spread(input, name),
    });
    pod::spec(input, container, container_extra, Space::Limited, extra)
}

fn readiness(input: &Input<'_>, probe: &Probe) -> Value {
    let port = probe_port(input, probe);
    let action = match &probe.path {
        Some(path) => {
            json!({ "httpGet": { "path": path, "port": port, "httpHeaders": headers(input, probe) } })
        }
        None => json!({ "tcpSocket": { "port": port } }),
    };
    metadata::merged(
        json!({ "periodSeconds": 5, "timeoutSeconds": 3, "failureThreshold": 3 }),
        action,
    )
}

/// Only whether the port opens, even where readiness asks a path: a start that outlasts its budget is killed, and a
/// health page that reports a missing database must never kill what would recover with it.
fn startup(input: &Input<'_>, probe: &Probe) -> Value {
    let attempts = probe.startup.as_secs().div_ceil(STARTUP_PERIOD_SECONDS).max(1);
    json!({
        "tcpSocket": { "port": probe_port(input, probe) },
        "periodSeconds": STARTUP_PERIOD_SECONDS,
        "failureThreshold": attempts,
    })
}

fn probe_port(input: &Input<'_>, probe: &Probe) -> Value {
    if input.declared.port == Some(probe.port) {
        json!("http")
    } else {
        json!(probe.port)
    }
}

/// The headers of a probe. Applications that force TLS or check their host answer a bare request with a redirect or
/// a refusal; the kubelet would take the former for health.
fn headers(input: &Input<'_>, probe: &Probe) -> Vec<Value> {
    let mut headers: Vec<(&str, &str)> = probe
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let host = input
        .declared
        .exposure
        .as_ref()
        .map(|exposure| exposure.host.as_str());
    for (name, value) in [("Host", host), ("X-Forwarded-Proto", Some("https"))] {
        if let Some(value) = value
            && !headers
                .iter()
                .any(|(declared, _)| declared.eq_ignore_ascii_case(name))
        {
            headers.push((name, value));
        }
    }
    headers.sort_unstable();
    headers
        .into_iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect()
}

/// Spread over nodes and zones as far as it goes. Also for a single replica, where it does nothing: the template must
/// not change, and with it every pod, because a release is scaled from one to two.
fn spread(input: &Input<'_>, process: &ProcessName) -> Value {
    let over = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": metadata::selector(input, process) },
            // Counts new pods among new pods, so that a rolling update ends evenly spread.
            "matchLabelKeys": ["pod-template-hash"],
        })
    };
    json!([
        over("kubernetes.io/hostname"),
        over("topology.kubernetes.io/zone")
    ])
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;

    use super::*;
    use crate::{
        api::Duration,
        render::{
            fixtures::{Fixture, exactly, process},
            render,
        },
    };

    fn deployment_of(fixture: &Fixture, name: &str) -> Value {
        let objects = render(&fixture.input());
        let found = objects
            .into_iter()
            .find(|o| o.key.kind == Kind::Deployment && o.key.name == name);
        found.unwrap().value.to_value()
    }

    fn web(fixture: &Fixture) -> Value {
        deployment_of(fixture, "billing")
    }

    fn container(deployment: &Value) -> &Value {
        &deployment["spec"]["template"]["spec"]["containers"][0]
    }

    #[test]
    fn a_deployment_is_nothing_but_fields_of_kubernetes() {
        let mut fixture = Fixture::web();
        fixture.architectures = vec!["amd64".into()];
        fixture.expose("billing.acme.com");
        fixture.owned("8f1c");
        fixture.given_more();
        exactly::<Deployment>(&web(&fixture));
        exactly::<Deployment>(&web(&Fixture::worker()));
    }

    #[test]
    fn selectors_hold_release_and_process_and_nothing_else() {
        let deployment = web(&Fixture::web());
        assert_eq!(
            deployment["spec"]["selector"]["matchLabels"],
            json!({ "slipway.dev/release": "billing", "slipway.dev/process": "web" })
        );
    }

    #[test]
    fn the_template_has_no_version_and_no_commit() {
        let template = &web(&Fixture::web())["spec"]["template"]["metadata"];
        assert_eq!(template["labels"].get("app.kubernetes.io/version"), None);
        assert_eq!(template["annotations"], json!({ "slipway.dev/revision": "42" }));
    }

    #[test]
    fn a_serving_pod_goes_on_serving_while_endpoints_forget_it() {
        let mut fixture = Fixture::web();
        fixture.declared.rollout.drain = Duration::from_secs(60);
        let deployment = web(&fixture);
        assert_eq!(
            container(&deployment)["lifecycle"],
            json!({ "preStop": { "sleep": { "seconds": 5 } } })
        );
        assert_eq!(
            deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
            70
        );
    }

    #[test]
    fn a_process_without_a_port_has_no_port_no_probe_and_no_pause() {
        let mut fixture = Fixture::web();
        fixture
            .declared
            .processes
            .insert("jobs".parse().unwrap(), process(1));
        let jobs = deployment_of(&fixture, "billing-jobs");
        for field in [
            "ports",
            "readinessProbe",
            "startupProbe",
            "livenessProbe",
            "lifecycle",
        ] {
            assert_eq!(container(&jobs).get(field), None, "{field}");
        }
        assert_eq!(
            jobs["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
            65
        );
        assert_eq!(
            jobs["spec"]["selector"]["matchLabels"]["slipway.dev/process"],
            "jobs"
        );
    }

    #[test]
    fn readiness_asks_as_the_ingress_would() {
        let mut fixture = Fixture::web();
        fixture.expose("billing.acme.com");
        let probe = fixture.declared.probe.as_mut().unwrap();
        probe.headers.insert("X-Probe".into(), "1".into());
        assert_eq!(
            container(&web(&fixture))["readinessProbe"]["httpGet"],
            json!({ "path": "/health", "port": "http", "httpHeaders": [
                { "name": "Host", "value": "billing.acme.com" },
                { "name": "X-Forwarded-Proto", "value": "https" },
                { "name": "X-Probe", "value": "1" },
            ] })
        );
    }

    #[test]
    fn declared_headers_win() {
        let mut fixture = Fixture::web();
        fixture.expose("billing.acme.com");
        let probe = fixture.declared.probe.as_mut().unwrap();
        probe.headers.insert("host".into(), "localhost".into());
        probe.headers.insert("x-forwarded-proto".into(), "http".into());
        assert_eq!(
            container(&web(&fixture))["readinessProbe"]["httpGet"]["httpHeaders"],
            json!([
                { "name": "host", "value": "localhost" },
                { "name": "x-forwarded-proto", "value": "http" },
            ])
        );
    }

    #[test]
    fn without_a_path_readiness_asks_for_a_connection() {
        let mut fixture = Fixture::web();
        let probe = fixture.declared.probe.as_mut().unwrap();
        probe.path = None;
        probe.port = 9000;
        assert_eq!(
            container(&web(&fixture))["readinessProbe"]["tcpSocket"],
            json!({ "port": 9000 })
        );
    }

    #[test]
    fn a_start_is_judged_by_its_port_alone_for_as_long_as_its_budget() {
        let mut fixture = Fixture::web();
        fixture.declared.probe.as_mut().unwrap().startup = Duration::from_secs(91);
        assert_eq!(
            container(&web(&fixture))["startupProbe"],
            json!({ "tcpSocket": { "port": "http" }, "periodSeconds": 2, "failureThreshold": 46 })
        );
        assert_eq!(container(&web(&fixture)).get("livenessProbe"), None);
    }

    #[test]
    fn the_strategy_is_what_was_declared() {
        let mut fixture = Fixture::web();
        assert_eq!(
            web(&fixture)["spec"]["strategy"],
            json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": 0 } })
        );
        fixture.declared.rollout.strategy = Strategy::Recreate;
        assert_eq!(web(&fixture)["spec"]["strategy"], json!({ "type": "Recreate" }));
    }

    #[test]
    fn times_are_always_ones_that_the_api_server_takes() {
        let mut fixture = Fixture::web();
        fixture.declared.rollout.min_ready = Duration::from_secs(0);
        assert_eq!(web(&fixture)["spec"]["minReadySeconds"], 0);
        fixture.declared.rollout.min_ready = Duration::from_secs(600);
        fixture.declared.rollout.deadline = Duration::from_secs(60);
        assert_eq!(web(&fixture)["spec"]["progressDeadlineSeconds"], 601);
    }
}
