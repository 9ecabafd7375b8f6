//! One commit of one source, from its repository: fetched, then checked against the last applied one and read.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;

use super::{
    super::compile::{self, Compiled},
    Context, Failure, SourceError,
    patience::FETCH,
};
use crate::{
    api::ReleaseSource,
    cluster::objects::{found, within},
    hex::hex,
    names::CommitId,
    source::{Credentials, FetchError, FetchLimits, GitRef, GitUrl, Mirror, ReadError, Reader},
    spec::reading::Own,
};

/// What was read.
#[derive(Clone)]
pub struct Reading {
    /// What the commit declares.
    pub compiled: Arc<Compiled>,
    /// The commit to name: the newest that touched a path of this source, so that commits elsewhere in the repository
    /// cost no write.
    pub commit: CommitId,
    /// Hash of what it was read from.
    pub origin: String,
}

/// What came of asking a repository.
pub enum Asked {
    /// The commit that the source points to is in the mirror.
    Fetched(Box<Head>),
    /// It could not be had, with the least pause until it may be asked for again.
    Failed(Failure, Duration),
}

/// A fetched commit.
pub struct Head {
    job: Job,
    mirror: Mirror,
    commit: CommitId,
    origin: String,
}

/// Fetches the commit that the source points to; `None` where its host has as many fetches under way as one may have, so
/// that nobody was asked.
pub async fn ask(source: &ReleaseSource, context: &Context) -> Result<Option<Asked>, SourceError> {
    let target = match target(source, context).await? {
        Ok(target) => target,
        Err(message) => {
            let failure = Failure::new("Invalid", message);
            return Ok(Some(Asked::Failed(failure, Duration::ZERO)));
        }
    };
    let Some(turn) = context.hosts.turn(target.url.host(), &target.url.to_string()) else {
        return Ok(None);
    };
    let name = source.name_any();
    let job = Job::new(source, context);
    let (patience, started) = (context.memory(&name, |memory| memory.patience), Instant::now());
    let limits = patience.limits(job.before.is_some(), started);
    let root = context.root.clone();
    let done = blocking(move || {
        // As long as it is waited for, also where this pass is not any more. What libgit2 does after its deadline is not counted.
        let _turn = turn;
        fetch(&root, &target, limits)
            .map_err(|error| Failure::new(error.reason(), error.to_string()).with(error.intent()))
    });
    let done = done.await.flatten();
    let ended = Instant::now();
    Ok(Some(match done {
        Ok((mirror, commit)) => {
            context.memory(&name, |memory| memory.patience.succeeded());
            let origin = origin(source);
            Asked::Fetched(Box::new(Head {
                job,
                mirror,
                commit,
                origin,
            }))
        }
        Err(failure) => {
            context.metrics.fetched(failure.reason);
            let took = ended.saturating_duration_since(started);
            let pause = context.memory(&name, |memory| memory.patience.failed(limits, took, ended));
            Asked::Failed(failure, pause)
        }
    }))
}

/// The last applied commit, read again from what an earlier process left on the disk, where nothing is remembered: so what
/// was applied stays in force also when no server answers after a restart.
pub async fn recall(source: &ReleaseSource, context: &Context) {
    let name = source.name_any();
    // What follows no branch, or one that may be rewritten, says nothing of which commit is newer: that releases were moved
    // on before the status was written could not be seen, and they would be moved back.
    if context.remembered(&name).is_some() || !only_grows(source) {
        return;
    }
    let Ok(url) = GitUrl::parse(&source.spec.git.url, context.allow_plain_http) else {
        return;
    };
    let (job, root) = (Job::new(source, context), context.root.clone());
    let read = blocking(move || job.recall(&Mirror::open(&root, &url).ok()?)).await;
    if let Ok(Some(compiled)) = read {
        tracing::info!(commit = %compiled.commit, "read again from the mirror of an earlier process");
        context.remember(&name, &compiled);
    }
}

fn fetch(root: &Path, target: &Target, limits: FetchLimits) -> Result<(Mirror, CommitId), FetchError> {
    let mirror = Mirror::open(root, &target.url)?;
    let fetched = mirror.fetch(&target.reference, &target.credentials, limits)?;
    Ok((mirror, fetched.commit))
}

/// libgit2 blocks: it has threads of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|join| Failure::new("Panicked", format!("reading the repository failed: {join}")))
}

impl Head {
    /// Reads what the commit declares.
    pub async fn read(self, source: &ReleaseSource, context: &Context) -> Result<Reading, Failure> {
        let Self {
            job,
            mirror,
            commit,
            origin,
        } = self;
        let done = blocking(move || job.read_or_discard(&mirror, &commit))
            .await
            .flatten();
        context
            .metrics
            .fetched(done.as_ref().map_or_else(|failure| failure.reason, |_| "Fetched"));
        let (compiled, commit) = done?;
        context.remember(&source.name_any(), &compiled);
        Ok(Reading {
            compiled,
            commit,
            origin,
        })
    }
}

/// The last applied commit, if it was read from the same place.
fn applied(source: &ReleaseSource, origin: &str) -> Option<CommitId> {
    let status = source.status.as_ref()?;
    let same = status.applied_origin.as_deref() == Some(origin);
    status
        .applied_commit
        .as_ref()
        .filter(|_| same)
        .and_then(|commit| commit.parse().ok())
}

/// Everything that a thread needs to read a commit.
struct Job {
    paths: Vec<String>,
    allowed: Vec<String>,
    own: Own,
    applied: Option<CommitId>,
    /// Whether a branch that does not descend from what was applied may be taken.
    may_rewrite: bool,
    before: Option<Arc<Compiled>>,
    key: String,
}

impl Job {
    fn new(source: &ReleaseSource, context: &Context) -> Self {
        let (name, origin) = (source.name_any(), origin(source));
        let key = format!("{name} {origin} {:?}", source.spec.namespaces);
        Self {
            paths: source.spec.paths.clone(),
            allowed: source.spec.namespaces.clone(),
            own: context.own.clone(),
            applied: applied(source, &origin),
            may_rewrite: !only_grows(source),
            before: context.remembered(&name).filter(|before| before.key == key),
            key,
        }
    }

    fn read_or_discard(
        &self,
        mirror: &Mirror,
        head: &CommitId,
    ) -> Result<(Arc<Compiled>, CommitId), Failure> {
        self.read(mirror, head).map_err(|error| match error {
            Unread::Rewritten(failure) => failure,
            Unread::Error(error) => {
                if matches!(error, ReadError::Corrupt { .. }) {
                    // The next pass fetches it all anew; what is in force stays in force.
                    let _ = mirror.discard(FETCH);
                }
                let message = format!("commit {} is not applied: {error}", head.short());
                Failure::new(error.reason(), message)
                    .with(error.intent())
                    .of(head.clone())
            }
        })
    }

    fn read(&self, mirror: &Mirror, head: &CommitId) -> Result<(Arc<Compiled>, CommitId), Unread> {
        let reader = mirror.reader()?;
        self.refuse_rewrite(&reader, head)?;
        let named = match &self.applied {
            // An error means that the old commit cannot be read any more: then the new one is named.
            Some(applied) if unchanged(&reader, applied, head, &self.paths).unwrap_or(false) => applied,
            _ => head,
        };
        let known = self.before.as_ref().filter(|before| before.commit == *named);
        let compiled = match known {
            Some(before) => Arc::clone(before),
            None => self.compile(&reader, named)?,
        };
        Ok((compiled, named.clone()))
    }

    /// What was applied last, where the mirror holds it.
    fn recall(&self, mirror: &Mirror) -> Option<Arc<Compiled>> {
        let applied = self.applied.as_ref()?;
        self.compile(&mirror.reader().ok()?, applied).ok()
    }

    fn compile(&self, reader: &Reader, commit: &CommitId) -> Result<Arc<Compiled>, ReadError> {
        let compiled = compile::compile(
            reader,
            commit,
            &self.paths,
            &self.allowed,
            &self.own,
            self.key.clone(),
            self.before.as_deref(),
        );
        compiled.map(Arc::new)
    }

    /// A branch that does not descend from what was applied was rewritten, by mistake or by a stranger.
    fn refuse_rewrite(&self, reader: &Reader, head: &CommitId) -> Result<(), Unread> {
        let Some(applied) = &self.applied else {
            return Ok(());
        };
        if self.may_rewrite || applied == head || reader.is_ancestor(applied, head)? {
            return Ok(());
        }
        let message = format!(
            "HistoryRewritten: {} does not descend from the last applied commit {}; nothing is changed. If this is meant, \
             set git.allowRewrite, or name the commit in git.commit",
            head.short(),
            applied.short()
        );
        Err(Unread::Rewritten(
            Failure::new("HistoryRewritten", message).of(head.clone()),
        ))
    }
}

/// Why a fetched commit was not read.
enum Unread {
    Rewritten(Failure),
    Error(ReadError),
}

impl From<ReadError> for Unread {
    fn from(error: ReadError) -> Self {
        Self::Error(error)
    }
}

/// Whether two commits hold the same under every path of the source.
fn unchanged(reader: &Reader, old: &CommitId, new: &CommitId, paths: &[String]) -> Result<bool, ReadError> {
    let trees = reader.tree_ids(new, paths)?;
    Ok(trees.iter().all(Option::is_some) && reader.tree_ids(old, paths)? == trees)
}

/// What to fetch, from where, as whom.
struct Target {
    url: GitUrl,
    reference: GitRef,
    credentials: Credentials,
}

async fn target(source: &ReleaseSource, context: &Context) -> Result<Result<Target, String>, SourceError> {
    let git = &source.spec.git;
    let url = match GitUrl::parse(&git.url, context.allow_plain_http) {
        Ok(url) if url.is_own() => {
            let why = "names the machine that Slipway runs on: name the host under which others reach the repository";
            return Ok(Err(format!("git.url: the git url {why}")));
        }
        Ok(url) => url,
        Err(error) => return Ok(Err(format!("git.url: {error}"))),
    };
    let (branch, tag, commit) = (git.branch.as_deref(), git.tag.as_deref(), git.commit.as_deref());
    let reference = match GitRef::from_fields(branch, tag, commit) {
        Ok(reference) => reference,
        Err(error) => return Ok(Err(format!("git: {error}"))),
    };
    let credentials = match &git.secret {
        None => Credentials::anonymous(),
        Some(name) => {
            let api: Api<Secret> = Api::namespaced(context.client.clone(), context.own.slipway.as_str());
            let secret = found(
                within(
                    || format!("get Secret {name} in {}", context.own.slipway),
                    api.get(name),
                )
                .await,
            )?;
            let Some(secret) = secret else {
                return Ok(Err(format!(
                    "git.secret: Secret {name} does not exist in namespace {}",
                    context.own.slipway
                )));
            };
            let data: BTreeMap<String, Vec<u8>> = secret
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| (key, value.0))
                .collect();
            match Credentials::from_secret(data.iter()) {
                Ok(credentials) => credentials,
                Err(error) => return Ok(Err(format!("git.secret: Secret {name}: {error}"))),
            }
        }
    };
    Ok(Ok(Target {
        url,
        reference,
        credentials,
    }))
}

/// Hash of url and reference: commits that were read from the same place can be compared.
pub fn place(source: &ReleaseSource) -> String {
    use sha2::{Digest as _, Sha256};
    let git = &source.spec.git;
    let text = json!([git.url, git.branch, git.tag, git.commit]).to_string();
    let hash = hex(&Sha256::digest(text.as_bytes()));
    hash.chars().take(16).collect()
}

/// Whether the source follows a branch that is only ever added to.
pub fn only_grows(source: &ReleaseSource) -> bool {
    let git = &source.spec.git;
    git.tag.is_none() && git.commit.is_none() && git.allow_rewrite != Some(true)
}

/// Hash of url, reference and paths: after a change nothing is removed until a new commit.
pub fn origin(source: &ReleaseSource) -> String {
    use sha2::{Digest as _, Sha256};
    let git = &source.spec.git;
    let text = json!([git.url, git.branch, git.tag, git.commit, source.spec.paths]).to_string();
    hex(&Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::test_support::Upstream;

    #[test]
    fn what_was_applied_is_read_again_from_the_disk_and_no_other_commit_is() {
        let upstream = Upstream::new();
        let spec = |version: &str| {
            let head =
                "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: a, namespace: shop}";
            format!("{head}\nspec: {{image: ghcr.io/acme/x, port: 80, version: {version}}}\n")
        };
        let applied = upstream.commit(&[("production/a.yaml", &spec("1.0.0"))]);
        upstream.commit(&[("production/a.yaml", &spec("2.0.0"))]);
        let root = tempfile::tempdir().unwrap();
        let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
        let mut job = Job {
            paths: vec!["production".to_owned()],
            allowed: Vec::new(),
            own: Own {
                slipway: "slipway-system".parse().unwrap(),
                builds: "slipway-builds".parse().unwrap(),
            },
            applied: Some(applied.clone()),
            may_rewrite: false,
            before: None,
            key: String::new(),
        };
        assert!(job.recall(&mirror).is_none(), "an empty disk holds nothing");
        let main = GitRef::branch("main").unwrap();
        mirror.fetch(&main, &Credentials::anonymous(), FETCH).unwrap();
        let again = Mirror::open_local(root.path(), upstream.path()).unwrap();
        let compiled = job.recall(&again).unwrap();
        assert!(compiled.clean, "{:?}", compiled.problems);
        let versions = compiled
            .releases
            .values()
            .map(|release| release.spec.version.as_deref());
        assert_eq!(
            (&compiled.commit, versions.collect()),
            (&applied, vec![Some("1.0.0")])
        );
        job.applied = None;
        assert!(job.recall(&again).is_none(), "nothing is said to be applied");
    }
}
