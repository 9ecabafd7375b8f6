//! `slipway explain`: why a release is as it is, from git to pods.

use std::collections::{BTreeMap, BTreeSet};

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
    spec,
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
        let id = ReleaseId {
            namespace: match &args.namespace {
                Some(namespace) => namespace.clone(),
                None => cluster.namespace.parse()?,
            },
            name: args.name.clone(),
        };
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
        refused.extend(or_say(say, observe::blocked(client, id, job).await).flatten());
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
    let secrets: BTreeSet<String> = declared
        .secret_keys()
        .into_iter()
        .map(|key| key.name.to_string())
        .chain(declared.pull_secret.as_ref().map(ToString::to_string))
        .collect();
    let configs: BTreeSet<String> = declared
        .config_keys()
        .into_iter()
        .map(|key| key.name.to_string())
        .collect();
    let client = &cluster.clients.call;
    let namespace = id.namespace.as_str();
    let (of_secrets, of_configs): (Api<Secret>, Api<ConfigMap>) = (
        Api::namespaced(client.clone(), namespace),
        Api::namespaced(client.clone(), namespace),
    );
    let mut missing = Vec::new();
    for name in secrets {
        let attempt = || format!("look for Secret {name}");
        let seen = found(within(attempt, of_secrets.get_metadata(&name)).await);
        if let Some(None) = or_say(unread, seen) {
            missing.push(format!("Secret {name}"));
        }
    }
    for name in configs {
        let attempt = || format!("look for ConfigMap {name}");
        let seen = found(within(attempt, of_configs.get_metadata(&name)).await);
        if let Some(None) = or_say(unread, seen) {
            missing.push(format!("ConfigMap {name}"));
        }
    }
    missing
}
