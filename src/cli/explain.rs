//! `slipway explain`: why a release is as it is, from git to pods.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod as PodObject, Secret};
use kube::{Api, ResourceExt as _, api::ListParams};

use super::reach::{self, Cluster, Reach, or_say, print, told};
use crate::{
    api::{Release, ReleaseSource, meta},
    cluster::{
        error::ClusterError,
        facts,
        objects::{self, found, within},
        observe,
    },
    names::{Namespace, ReleaseId, ReleaseName},
    render::Kind,
    spec::{self, declared::Holder},
    words::explain::{self, Facts, Pod, SourceSeen},
};

/// Arguments of `slipway explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The first line names the cause and what to do about it. Below it stands each link from git to pods:
source, release, image, references, migration, rollout, serving; `!!` marks what is wrong, `..` what is on its way.
Secrets are looked for by name; no value is read.

Example:
  slipway explain billing -n shop")]
pub struct Args {
    /// The release.
    #[arg(value_name = "RELEASE")]
    pub name: ReleaseName,
    /// Its namespace; that of the kubeconfig's context when absent.
    #[arg(long, short)]
    pub namespace: Option<Namespace>,
    /// Slipway's own namespace, where the locks of databases are.
    #[arg(
        long,
        env = "SLIPWAY_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "slipway-system"
    )]
    pub slipway_namespace: Namespace,
    /// Which cluster.
    #[command(flatten)]
    pub reach: Reach,
}

/// Asks and prints.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let attempt = format!("explain {}", args.name);
    args.reach.run(&attempt, |cluster| async move {
        let id = cluster.release(args.namespace.as_ref(), &args.name)?;
        let facts = gather(&cluster, &id, &args.slipway_namespace).await?;
        print(&(explain::lines(&facts).join("\n") + "\n"))
    })
}

/// Reads everything; what may not be read is said instead.
async fn gather(cluster: &Cluster, id: &ReleaseId, own: &Namespace) -> anyhow::Result<Facts> {
    let client = &cluster.clients.call;
    let now = Timestamp::now();
    let release: Option<Release> = reach::get(cluster, Some(id.namespace.as_str()), id.name.as_str())
        .await
        .map_err(told)?;
    let mut unread = Vec::new();
    let say = &mut unread;
    let source = source(cluster, release.as_ref(), say).await;
    let others = others(cluster, &source, say).await;
    let revisions = or_say(say, reach::revisions(cluster, id).await).unwrap_or_default();
    let ledger = or_say(say, reach::ledger(cluster, id).await).flatten();
    let jobs = or_say(say, observe::jobs(client, id).await).unwrap_or_default();
    let (job_pods, pods) = or_say(say, pods(cluster, id).await)
        .map(|pods| divided(&pods, now))
        .unwrap_or_default();
    let deployments = or_say(say, objects::list(client, id, Kind::Deployment).await)
        .map(|found| found.into_values().collect())
        .unwrap_or_default();
    let lock = match ledger.as_ref().and_then(|ledger| ledger.claimed()) {
        Some((_, entry)) => or_say(say, observe::lock(client, own, &entry.lock).await),
        None => None,
    };
    let mut refused = Vec::new();
    for job in jobs.iter().filter(|job| job.finished.is_none() && !job.suspended) {
        refused.extend(
            or_say(
                say,
                observe::blocked(client, &id.namespace, &job.name, &job.uid).await,
            )
            .flatten(),
        );
    }
    let missing = match &release {
        Some(release) => missing(cluster, id, release, say).await,
        None => Vec::new(),
    };
    Ok(Facts {
        namespace: id.namespace.to_string(),
        name: id.name.to_string(),
        now,
        release,
        source,
        others,
        revisions,
        ledger,
        jobs,
        job_pods,
        lock,
        deployments,
        pods,
        missing,
        refused,
        unread,
    })
}

async fn source(cluster: &Cluster, release: Option<&Release>, unread: &mut Vec<String>) -> SourceSeen {
    let Some(release) = release else {
        let list = reach::list::<ReleaseSource>(cluster, None).await;
        return SourceSeen::Any(or_say(unread, list).unwrap_or_default());
    };
    let Some(name) = release.labels().get(meta::SOURCE) else {
        return SourceSeen::ByHand;
    };
    match or_say(unread, reach::get(cluster, None, name).await) {
        Some(Some(source)) => SourceSeen::Found(Box::new(source)),
        Some(None) => SourceSeen::Gone(name.clone()),
        None => SourceSeen::NotKnown(name.clone()),
    }
}

/// The sources beside that of the release.
async fn others(cluster: &Cluster, source: &SourceSeen, unread: &mut Vec<String>) -> Vec<ReleaseSource> {
    let SourceSeen::Found(own) = source else {
        return Vec::new();
    };
    let list = reach::list::<ReleaseSource>(cluster, None).await;
    let mut others = or_say(unread, list).unwrap_or_default();
    others.retain(|other| other.metadata.name != own.metadata.name);
    others
}

async fn pods(cluster: &Cluster, id: &ReleaseId) -> Result<Vec<PodObject>, ClusterError> {
    let api: Api<PodObject> = Api::namespaced(cluster.clients.call.clone(), id.namespace.as_str());
    let params = ListParams::default().labels(&format!("{}={}", meta::RELEASE, id.name));
    let list = within(|| format!("list the pods of {id}"), api.list(&params)).await?;
    Ok(list.items)
}

/// Pods of migrations, and pods of processes.
fn divided(pods: &[PodObject], now: Timestamp) -> (Vec<crate::plan::observed::JobPodSeen>, Vec<Pod>) {
    let (tasks, processes): (Vec<&PodObject>, Vec<&PodObject>) =
        pods.iter().partition(|pod| pod.labels().contains_key(meta::TASK));
    let is_ready = |pod: &PodObject| {
        let conditions = pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        conditions
            .into_iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let no_boots = BTreeMap::new();
    (
        tasks
            .into_iter()
            .filter_map(|pod| facts::job_pod(pod, &no_boots, now))
            .collect(),
        processes
            .into_iter()
            .map(|pod| Pod {
                ready: is_ready(pod),
                seen: facts::pod(pod),
            })
            .collect(),
    )
}

/// Each Secret and ConfigMap that the spec names and that is not there. Only metadata is asked for, so that no value
/// comes here; a key that is missing in one is told by the status.
async fn missing(
    cluster: &Cluster,
    id: &ReleaseId,
    release: &Release,
    unread: &mut Vec<String>,
) -> Vec<String> {
    let Ok(Some(declared)) = spec::declare(&id.name, &release.spec) else {
        return Vec::new();
    };
    let mut secrets = declared.objects(Holder::Secret);
    secrets.extend(declared.pull_secret.clone());
    let client = &cluster.clients.call;
    let namespace = id.namespace.as_str();
    let (of_secrets, of_configs): (Api<Secret>, Api<ConfigMap>) = (
        Api::namespaced(client.clone(), namespace),
        Api::namespaced(client.clone(), namespace),
    );
    let mut missing = Vec::new();
    for name in secrets {
        let attempt = || format!("look for Secret {name}");
        let seen = found(within(attempt, of_secrets.get_metadata(name.as_str())).await);
        if let Some(None) = or_say(unread, seen) {
            missing.push(format!("Secret {name}"));
        }
    }
    for name in declared.objects(Holder::ConfigMap) {
        let attempt = || format!("look for ConfigMap {name}");
        let seen = found(within(attempt, of_configs.get_metadata(name.as_str())).await);
        if let Some(None) = or_say(unread, seen) {
            missing.push(format!("ConfigMap {name}"));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use kube::Config;
    use serde_json::{Value, json};
    use wiremock::{
        Mock, MockServer, Request, ResponseTemplate,
        matchers::{method, path, path_regex},
    };

    use super::*;
    use crate::{
        api::release::EnvValue,
        cluster::Clients,
        words::fixtures::{release, revision, source},
    };

    const CANARY: &str = "Y2FuYXJ5LTc3YWE=";

    async fn answer(server: &MockServer, at: &str, body: Value) {
        Mock::given(method("GET"))
            .and(path(at))
            .respond_with(ResponseTemplate::new(200).set_body_json(body))
            .mount(server)
            .await;
    }

    fn list(kind: &str, items: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": format!("{kind}List"), "metadata": {"resourceVersion": "1"}, "items": items})
    }

    fn status(code: u16, reason: &str) -> ResponseTemplate {
        ResponseTemplate::new(code).set_body_json(json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "message": reason, "code": code,
        }))
    }

    /// A cluster in which `shop/billing` waits for the Secret `gone`, seen by one who may not list Jobs.
    async fn cluster() -> (MockServer, Cluster) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = MockServer::start().await;
        let mut waits = release(
            "billing",
            "Waiting(SecretMissing)",
            "Secret gone with key url does not exist",
        );
        waits.spec.port = Some(80);
        for (name, key) in [("A", "there/a"), ("B", "gone/url")] {
            waits
                .spec
                .env
                .insert(name.into(), EnvValue::Secret(key.parse().unwrap()));
        }
        let slipway = "/apis/slipway.dev/v1alpha1";
        answer(
            &server,
            &format!("{slipway}/namespaces/shop/releases/billing"),
            json!(waits),
        )
        .await;
        let sources = source("Applied", "commit is applied", &[]);
        answer(
            &server,
            &format!("{slipway}/releasesources/releases"),
            json!(sources),
        )
        .await;
        let revisions = json!([revision(4, "1.8.2", 0, Some("Live"))]);
        let revisions = list("ReleaseRevision", &revisions);
        answer(
            &server,
            &format!("{slipway}/namespaces/shop/releaserevisions"),
            revisions,
        )
        .await;
        let deployments = json!([{
            "metadata": {"name": "billing", "uid": "d", "resourceVersion": "1", "generation": 1,
                         "annotations": {"slipway.dev/revision": "4"}},
            "spec": {"replicas": 1},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
        }]);
        let deployments = list("Deployment", &deployments);
        answer(&server, "/apis/apps/v1/namespaces/shop/deployments", deployments).await;
        let pods = json!([{
            "metadata": {"name": "billing-x", "labels": {"slipway.dev/process": "web"},
                         "annotations": {"slipway.dev/revision": "4"}},
            "spec": {"containers": []},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }]);
        answer(&server, "/api/v1/namespaces/shop/pods", list("Pod", &pods)).await;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "there"}, "data": {"a": CANARY},
        });
        answer(&server, "/api/v1/namespaces/shop/secrets/there", secret).await;
        Mock::given(path("/apis/batch/v1/namespaces/shop/jobs"))
            .respond_with(status(403, "Forbidden"))
            .mount(&server)
            .await;
        Mock::given(path_regex(".*"))
            .respond_with(status(404, "NotFound"))
            .with_priority(200)
            .mount(&server)
            .await;
        let clients = Clients::from_config(&Config::new(server.uri().parse().unwrap())).unwrap();
        let namespace = "default".to_owned();
        (server, Cluster { clients, namespace })
    }

    #[tokio::test]
    async fn what_is_read_becomes_the_lines_and_no_value_of_a_secret_is_asked_for() {
        let (server, cluster) = cluster().await;
        let mut other = source("Applied", "commit is applied", &[]);
        other.metadata.name = Some("other".into());
        let sources = json!([source("Applied", "commit is applied", &[]), other]);
        let at = "/apis/slipway.dev/v1alpha1/releasesources";
        answer(&server, at, list("ReleaseSource", &sources)).await;
        let id = ReleaseId {
            namespace: "shop".parse().unwrap(),
            name: "billing".parse().unwrap(),
        };
        let facts = gather(&cluster, &id, &"slipway-system".parse().unwrap())
            .await
            .unwrap();
        let others: Vec<_> = facts
            .others
            .iter()
            .map(|other| other.metadata.name.as_deref())
            .collect();
        assert_eq!(others, [Some("other")], "its own is told by itself");
        let text = explain::lines(&facts).join("\n");
        for words in [
            "Waiting(SecretMissing) for",
            "To do: create it in namespace shop",
            "source      ok  releases at 0123456789ab",
            "references  !!  Secret gone does not exist",
            "rollout     ok  complete: billing of v4",
            "serving     ok  1.8.2 (v4)",
            "1 ready of v4",
            "not shown: failed to list the Jobs of shop/billing",
        ] {
            assert!(text.contains(words), "{words:?} is not in {text}");
        }
        assert!(!text.contains(CANARY) && !format!("{facts:?}").contains(CANARY));
        let requests: Vec<Request> = server.received_requests().await.unwrap();
        let of_secrets: Vec<&Request> = requests
            .iter()
            .filter(|request| request.url.path().contains("/secrets/"))
            .collect();
        assert_eq!(of_secrets.len(), 2);
        for request in &of_secrets {
            let accept = request.headers.get("accept").unwrap().to_str().unwrap();
            assert!(accept.contains("as=PartialObjectMetadata"), "{accept}");
        }
        assert!(
            requests.iter().all(|request| request.method.as_str() == "GET"),
            "nothing is written"
        );
    }

    #[tokio::test]
    async fn a_release_that_is_not_there_is_told_by_the_sources() {
        let (server, cluster) = cluster().await;
        let sources = list(
            "ReleaseSource",
            &json!([source("AuthFailed", "the server refused", &[])]),
        );
        answer(&server, "/apis/slipway.dev/v1alpha1/releasesources", sources).await;
        let id = ReleaseId {
            namespace: "shop".parse().unwrap(),
            name: "other".parse().unwrap(),
        };
        let facts = gather(&cluster, &id, &"slipway-system".parse().unwrap())
            .await
            .unwrap();
        let first = explain::lines(&facts).remove(0);
        assert!(
            first.contains("shop/other does not exist") && first.contains("renew the credentials"),
            "{first}"
        );
    }
}
