//! One commit of one source, from its repository: fetched, checked against the last applied one, and read.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{
    super::compile::{self, Compiled},
    Context, Failure, SourceError,
};
use crate::{
    api::ReleaseSource,
    cluster::objects::{found, within},
    hex::hex,
    names::CommitId,
    source::{Credentials, FetchError, FetchLimits, GitRef, GitUrl, Mirror, ReadError, Reader},
};

/// One fetch, whatever the server does.
const FETCH: FetchLimits = FetchLimits {
    wall_clock: Duration::from_secs(25),
    bytes: 256 << 20,
};

/// The first fetch of a start, which may bring a whole history; a server that falls silent ends it earlier.
const FIRST: FetchLimits = FetchLimits {
    wall_clock: Duration::from_secs(300),
    ..FETCH
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

/// Fetches and reads the commit that the source points to.
pub async fn read(
    source: &ReleaseSource,
    context: &Context,
) -> Result<Result<Reading, Failure>, SourceError> {
    let target = match target(source, context).await? {
        Ok(target) => target,
        Err(message) => return Ok(Err(Failure::new("Invalid", message))),
    };
    let origin = origin(source);
    let name = source.name_any();
    let key = format!("{name} {origin} {:?}", source.spec.namespaces);
    let job = Job {
        mirrors: context.root.clone(),
        target,
        paths: source.spec.paths.clone(),
        allowed: source.spec.namespaces.clone(),
        own: context.own.clone(),
        applied: applied(source, &origin),
        allow_rewrite: source.spec.git.allow_rewrite == Some(true),
        before: context.remembered(&name).filter(|before| before.key == key),
        key,
    };
    // libgit2 blocks: it has threads of its own.
    let done = tokio::task::spawn_blocking(move || job.run()).await;
    let done = done.unwrap_or_else(|join| {
        Err(Failure::new(
            "Panicked",
            format!("reading the repository failed: {join}"),
        ))
    });
    context
        .metrics
        .fetched(done.as_ref().map_or_else(|failure| failure.reason, |_| "Fetched"));
    let (compiled, commit) = match done {
        Ok(read) => read,
        Err(failure) => return Ok(Err(failure)),
    };
    context.remember(&name, &compiled);
    Ok(Ok(Reading {
        compiled,
        commit,
        origin,
    }))
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

/// Everything that a thread needs to fetch and read.
struct Job {
    mirrors: std::path::PathBuf,
    target: Target,
    paths: Vec<String>,
    allowed: Vec<String>,
    own: crate::names::Namespace,
    applied: Option<CommitId>,
    allow_rewrite: bool,
    before: Option<Arc<Compiled>>,
    key: String,
}

impl Job {
    fn run(self) -> Result<(Arc<Compiled>, CommitId), Failure> {
        let fetch = |error: &FetchError| Failure::new(error.reason(), error.to_string()).with(error.intent());
        let mirror = Mirror::open(&self.mirrors, &self.target.url).map_err(|error| fetch(&error))?;
        let limits = if self.before.is_some() { FETCH } else { FIRST };
        let head = mirror
            .fetch(&self.target.reference, &self.target.credentials, limits)
            .map_err(|error| fetch(&error))?
            .commit;
        self.read(&mirror, &head).map_err(|error| match error {
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
            None => Arc::new(compile::compile(
                &reader,
                named,
                &self.paths,
                &self.allowed,
                &self.own,
                self.key.clone(),
                self.before.as_deref(),
            )?),
        };
        Ok((compiled, named.clone()))
    }

    /// A branch that does not descend from what was applied was rewritten, by mistake or by a stranger.
    fn refuse_rewrite(&self, reader: &Reader, head: &CommitId) -> Result<(), Unread> {
        let Some(applied) = &self.applied else {
            return Ok(());
        };
        let may =
            self.allow_rewrite || !matches!(self.target.reference, GitRef::Branch(_)) || applied == head;
        if may || reader.is_ancestor(applied, head)? {
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
#[derive(Clone)]
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
            let api: Api<Secret> = Api::namespaced(context.client.clone(), context.own.as_str());
            let secret =
                found(within(|| format!("get Secret {name} in {}", context.own), api.get(name)).await)?;
            let Some(secret) = secret else {
                return Ok(Err(format!(
                    "git.secret: Secret {name} does not exist in namespace {}",
                    context.own
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
