//! What stands around the pods of a release: who they are, how they are reached, how many may be missing.

use serde_json::json;

use super::{
    Input, Kind, Object,
    metadata::{self, Metadata},
};
use crate::{names::ProcessName, spec::declared::ProcessSpec};

/// The `ServiceAccount` of the release, which has no rights; none where the spec names another.
pub(super) fn service_account(input: &Input<'_>) -> Option<Object> {
    if input.declared.security.service_account.is_some() {
        return None;
    }
    let name = input.id.name.to_string();
    let body = json!({ "automountServiceAccountToken": false });
    Some(metadata::object(
        input,
        Kind::ServiceAccount,
        name,
        Metadata::default(),
        body,
    ))
}

/// The Service of the process that has the port.
pub(super) fn service(input: &Input<'_>) -> Option<Object> {
    let (process, _) = input.primary().filter(|_| input.declared.port.is_some())?;
    let body = json!({ "spec": {
        "selector": metadata::selector(input, process),
        // By name: while a rollout changes the number, old and new pods each have their own.
        "ports": [{ "name": "http", "port": 80, "targetPort": "http", "protocol": "TCP" }],
    } });
    let name = input.id.name.to_string();
    Some(metadata::object(
        input,
        Kind::Service,
        name,
        Metadata::default(),
        body,
    ))
}

/// One pod at a time may be taken away, so a drain goes on and never takes two. A single pod has no budget: it could
/// only block the drain.
pub(super) fn budget(input: &Input<'_>, process: &ProcessName, spec: &ProcessSpec) -> Option<Object> {
    if spec.replicas < 2 {
        return None;
    }
    let body = json!({ "spec": {
        "maxUnavailable": 1,
        "selector": { "matchLabels": metadata::selector(input, process) },
        // Pods that are not ready protect nothing; a release that crashes must not hold a node back.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    } });
    let name = input.process_object(process);
    Some(metadata::object(
        input,
        Kind::PodDisruptionBudget,
        name,
        Metadata::default(),
        body,
    ))
}

/// The Ingress of the host, without TLS.
pub(super) fn ingress(input: &Input<'_>) -> Option<Object> {
    let exposure = input
        .declared
        .exposure
        .as_ref()
        .filter(|_| input.declared.port.is_some())?;
    let name = input.id.name.to_string();
    let backend = json!({ "service": { "name": name, "port": { "name": "http" } } });
    let body = json!({ "spec": {
        "ingressClassName": exposure.class,
        "rules": [{
            "host": exposure.host,
            "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] },
        }],
    } });
    let metadata = Metadata {
        annotations: exposure.annotations.clone(),
        ..Metadata::default()
    };
    Some(metadata::object(input, Kind::Ingress, name, metadata, body))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{
        core::v1::{Service, ServiceAccount},
        networking::v1::Ingress,
        policy::v1::PodDisruptionBudget,
    };

    use super::*;
    use crate::render::{
        fixtures::{Fixture, exactly, process},
        render,
    };

    #[test]
    fn each_object_is_nothing_but_fields_of_kubernetes() {
        let mut fixture = Fixture::web();
        fixture.expose("billing.acme.com");
        fixture.owned("8f1c");
        let input = fixture.input();
        exactly::<ServiceAccount>(&service_account(&input).unwrap().value);
        exactly::<Service>(&service(&input).unwrap().value);
        exactly::<Ingress>(&ingress(&input).unwrap().value);
        let (name, web) = input.primary().unwrap();
        exactly::<PodDisruptionBudget>(&budget(&input, name, web).unwrap().value);
    }

    #[test]
    fn the_service_reaches_web_pods_by_the_name_of_the_port() {
        let fixture = Fixture::web();
        let service = service(&fixture.input()).unwrap();
        assert_eq!(
            service.value["spec"],
            json!({
                "selector": { "slipway.dev/release": "billing", "slipway.dev/process": "web" },
                "ports": [{ "name": "http", "port": 80, "targetPort": "http", "protocol": "TCP" }],
            })
        );
    }

    #[test]
    fn a_budget_needs_two_pods() {
        let mut fixture = Fixture::web();
        let (lonely, many) = ("lonely".parse().unwrap(), "many".parse().unwrap());
        fixture.declared.processes.insert(lonely, process(1));
        fixture.declared.processes.insert(many, process(3));
        let budgets: Vec<_> = render(&fixture.input())
            .into_iter()
            .filter(|object| object.key.kind == Kind::PodDisruptionBudget)
            .map(|object| (object.key.name, object.value["spec"]["maxUnavailable"].clone()))
            .collect();
        assert_eq!(
            budgets,
            [
                ("billing".to_owned(), json!(1)),
                ("billing-many".to_owned(), json!(1))
            ]
        );
    }

    #[test]
    fn annotations_for_the_ingress_controller_pass_but_never_replace_ours() {
        let mut fixture = Fixture::web();
        fixture.expose("billing.acme.com");
        let exposure = fixture.declared.exposure.as_mut().unwrap();
        exposure.class = Some("nginx".into());
        exposure
            .annotations
            .insert("slipway.dev/object".into(), "stolen".into());
        exposure
            .annotations
            .insert("nginx.ingress.kubernetes.io/proxy-body-size".into(), "8m".into());
        let ingress = ingress(&fixture.input()).unwrap().value;
        let annotations = &ingress["metadata"]["annotations"];
        assert_eq!(annotations["nginx.ingress.kubernetes.io/proxy-body-size"], "8m");
        assert_eq!(annotations["slipway.dev/object"], "Ingress/shop/billing");
        assert_eq!(ingress["spec"]["ingressClassName"], "nginx");
        assert_eq!(ingress["spec"]["rules"][0]["host"], "billing.acme.com");
    }
}
