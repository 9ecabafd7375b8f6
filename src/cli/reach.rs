//! How commands that ask a cluster reach it, and what they say when they cannot.

use std::{future::Future, path::PathBuf};

use anyhow::Context as _;
use kube::{
    Api, Config, Resource,
    api::{DynamicObject, ListParams, ObjectMeta},
    config::{KubeConfigOptions, Kubeconfig},
    core::object::HasStatus,
};
use serde::de::DeserializeOwned;

use crate::{
    api::{ReleaseRevision, meta},
    cluster::{Clients, custom, error::ClusterError, objects::within, observe},
    names::{Namespace, ReleaseId, ReleaseName},
    plan::Ledger,
};

/// Which cluster.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Reach {
    /// The kubeconfig to use, instead of the variable KUBECONFIG and ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use, instead of its current one.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// A cluster that can be asked.
#[derive(Clone)]
pub struct Cluster {
    /// The clients.
    pub clients: Clients,
    /// The namespace of the kubeconfig's context.
    pub namespace: String,
}

impl Cluster {
    /// The release that was named, in the namespace of the context where none was.
    pub fn release(&self, namespace: Option<&Namespace>, name: &ReleaseName) -> anyhow::Result<ReleaseId> {
        Ok(ReleaseId {
            namespace: match namespace {
                Some(namespace) => namespace.clone(),
                None => self.namespace.parse()?,
            },
            name: name.clone(),
        })
    }
}

/// What to do when there is no cluster to be asked.
const HOW: &str = "give a kubeconfig with --kubeconfig FILE or in the variable KUBECONFIG, and a context with --context NAME";

impl Reach {
    /// Runs what asks the cluster. No request is sent before it.
    pub fn run<T, F>(&self, attempt: &str, ask: impl FnOnce(Cluster) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?
            .block_on(async {
                let cluster = self
                    .connect()
                    .await
                    .with_context(|| format!("cannot {attempt} ({HOW})"))?;
                ask(cluster).await
            })
    }

    async fn connect(&self) -> anyhow::Result<Cluster> {
        let config = if self.kubeconfig.is_some() || self.context.is_some() {
            let kubeconfig = match &self.kubeconfig {
                Some(path) => Kubeconfig::read_from(path)
                    .with_context(|| format!("cannot read the kubeconfig {}", path.display()))?,
                None => Kubeconfig::read().context("cannot read the kubeconfig")?,
            };
            let options = KubeConfigOptions {
                context: self.context.clone(),
                ..KubeConfigOptions::default()
            };
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .context("the kubeconfig cannot be used")?
        } else {
            Config::infer()
                .await
                .context("found no cluster: neither a kubeconfig nor the service account of a pod")?
        };
        Ok(Cluster {
            clients: Clients::from_config(&config)?,
            namespace: config.default_namespace.clone(),
        })
    }
}

/// An error of the API server with what to do about it.
pub fn told(error: ClusterError) -> anyhow::Error {
    let hint = if error.is_not_found() {
        "Slipway's kinds are not installed in this cluster: install the chart, or see that it is the right cluster"
    } else if error.is_refused() {
        "ask for the right to read it: kubectl auth can-i tells what you may"
    } else if matches!(error, ClusterError::Unreadable(_)) {
        "somebody wrote into the object what Slipway did not"
    } else {
        "see that the cluster is up and that the kubeconfig names the right one"
    };
    anyhow::Error::new(error).context(hint)
}

/// The value, or nothing and a sentence: what is not allowed to be read must not keep the rest from being told.
pub fn or_say<T>(unread: &mut Vec<String>, result: Result<T, ClusterError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            unread.push(error.sentence());
            None
        }
    }
}

/// The revisions of a release as they are, readable or not, oldest first.
pub async fn revisions(cluster: &Cluster, id: &ReleaseId) -> Result<Vec<ReleaseRevision>, ClusterError> {
    let api: Api<ReleaseRevision> = Api::namespaced(cluster.clients.call.clone(), id.namespace.as_str());
    let params = ListParams::default().labels(&format!("{}={}", meta::RELEASE, id.name));
    let list = within(|| format!("list the revisions of {id}"), api.list(&params)).await?;
    let mut revisions = list.items;
    revisions.sort_by_key(|revision| revision.spec.number);
    Ok(revisions)
}

/// The ledger of a release.
pub async fn ledger(cluster: &Cluster, id: &ReleaseId) -> Result<Option<Ledger>, ClusterError> {
    let seen = observe::ledger(&cluster.clients.call, id).await?;
    Ok(seen.map(|seen| seen.ledger))
}

/// All objects of one of our kinds; one that cannot be read hides no other.
pub async fn list<K>(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<K>, ClusterError>
where
    K: Resource<DynamicType = ()> + HasStatus + DeserializeOwned + Default,
    K::Status: DeserializeOwned,
{
    let api = custom::untyped::<K>(&cluster.clients.call, namespace);
    let attempted = || format!("list {}s", K::kind(&()));
    let list = within(attempted, api.list(&ListParams::default())).await?;
    Ok(list.items.into_iter().map(readable).collect())
}

/// One object of our kinds by name, as far as it can be read; `None` when it is not there.
pub async fn get<K>(cluster: &Cluster, namespace: Option<&str>, name: &str) -> Result<Option<K>, ClusterError>
where
    K: Resource<DynamicType = ()> + HasStatus + DeserializeOwned + Default,
    K::Status: DeserializeOwned,
{
    let meta = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ObjectMeta::default()
    };
    let found = custom::get::<K>(&cluster.clients.call, &meta, |_| None).await?;
    Ok(found.map(|found| found.object))
}

/// An object as far as it can be read: what is wrong with its spec is told by its status.
pub fn readable<K>(object: DynamicObject) -> K
where
    K: Resource<DynamicType = ()> + HasStatus + DeserializeOwned + Default,
    K::Status: DeserializeOwned,
{
    custom::read(object, |_| None).object
}

/// Prints a text whole.
pub fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// As indented JSON.
pub fn pretty(value: &serde_json::Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cluster_is_an_error_that_says_what_was_attempted_and_how_to_name_one() {
        let reach = Reach {
            kubeconfig: Some("/nonexistent/kubeconfig".into()),
            context: None,
        };
        let error = reach.run("list the releases", |_| async { Ok(()) }).unwrap_err();
        let text = crate::telemetry::chain(error.as_ref());
        for words in [
            "cannot list the releases",
            "--kubeconfig FILE",
            "/nonexistent/kubeconfig",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
    }
}
