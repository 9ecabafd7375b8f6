//! What a pass asks git servers: which commit the declared `source` is.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{Options, context::Context, silences::Silences};
use crate::{
    api::meta,
    cluster::{
        error::ClusterError,
        objects::{found, within},
    },
    names::{Namespace, ObjectName},
    plan::observed::CommitSeen,
    source::{self, Credentials, FetchError, GitUrl},
    spec::{Declared, declared::Origin},
};

/// One question, whatever the server does.
const QUESTION: Duration = Duration::from_secs(10);
/// Questions to one host at a time: releases come in herds, and so would their questions.
const OF_HOST: usize = 8;
/// Hosts that are kept in mind; specs name them, so there may be any number.
const MOST: usize = 1000;

/// The git servers that releases name as their source.
pub struct GitServers {
    /// Where mirrors lie.
    root: PathBuf,
    allow_plain_http: bool,
    silences: Silences<&'static str>,
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl GitServers {
    pub fn new(options: &Options) -> Self {
        Self {
            root: options.cache_dir.join("git"),
            allow_plain_http: options.allow_plain_http_git,
            silences: Silences::default(),
            turns: Mutex::default(),
        }
    }

    /// The right to ask a host; `None` where too many wait for it.
    async fn turn(&self, host: &str) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= MOST {
                turns.retain(|_, of_host| Arc::strong_count(of_host) > 1);
            }
            let of_host = turns
                .entry(host.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(OF_HOST)));
            Arc::clone(of_host)
        };
        let turn = tokio::time::timeout(QUESTION, turns.acquire_owned()).await;
        turn.ok()?.ok()
    }
}

/// Asks which commit the declared `source` is.
///
/// # Errors
/// The API server did not give the Secret.
pub async fn ask_commit(context: &Context, declared: &Declared) -> Result<CommitSeen, ClusterError> {
    let Some(origin) = &declared.origin else {
        return Ok(CommitSeen::NotAsked);
    };
    let (servers, url) = (&context.git, &origin.git);
    if !servers.allow_plain_http && url.scheme() == source::Scheme::Http {
        let why = "it is reached by plain http, which is not allowed in this installation: use https";
        return Ok(failed("GitRefused", unasked(origin, why)));
    }
    let credentials = match credentials(context, origin).await? {
        Ok(credentials) => credentials,
        Err(why) => return Ok(failed("GitRefused", unasked(origin, &why))),
    };
    let host = url.host();
    if let Some(reason) = servers.silences.of(host) {
        let why = format!("{host} did not answer lately ({reason})");
        return Ok(failed("GitUnreachable", unasked(origin, &why)));
    }
    let Some(turn) = servers.turn(host).await else {
        return Ok(CommitSeen::Busy);
    };
    let broken = |join: &tokio::task::JoinError| unasked(origin, &format!("asking broke down: {join}"));
    let (root, url, reference) = (servers.root.clone(), url.clone(), origin.reference.git_ref());
    let began = Instant::now();
    let asked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        source::tip(&root, &url, &reference, &credentials, QUESTION)
    });
    Ok(match asked.await {
        Ok(Ok(commit)) => {
            servers.silences.end(host);
            CommitSeen::Known(commit)
        }
        Ok(Err(error)) => {
            if is_silence(&error) {
                servers.silences.note(host, &error.reason(), began);
            } else {
                servers.silences.end(host);
            }
            failed(reason(&error), error.to_string())
        }
        Err(join) => failed("GitUnreachable", broken(&join)),
    })
}

/// One sentence, as that of a [`FetchError`], of a question that was not put.
fn unasked(origin: &Origin, why: &str) -> String {
    format!("cannot ask for {} of {}: {why}", origin.reference, origin.git)
}

fn failed(reason: &str, message: String) -> CommitSeen {
    CommitSeen::Failed {
        reason: reason.to_owned(),
        message,
    }
}

fn is_silence(error: &FetchError) -> bool {
    matches!(
        error,
        FetchError::Unreachable { .. } | FetchError::TimedOut { .. }
    )
}

/// The reason of a phase.
fn reason(error: &FetchError) -> &'static str {
    match error {
        FetchError::RefNotFound { .. } => "RefNotFound",
        FetchError::AuthFailed { .. } => "GitAuth",
        error if is_silence(error) => "GitUnreachable",
        _ => "GitRefused",
    }
}

/// What the repository is read with, or why the Secret cannot be used. It is shown only to what its own annotation names: who
/// writes a spec chooses the address, and must not choose who hears a secret.
async fn credentials(
    context: &Context,
    origin: &Origin,
) -> Result<Result<Credentials, String>, ClusterError> {
    let Some(name) = &origin.secret else {
        return Ok(Ok(Credentials::anonymous()));
    };
    let namespace = &context.builds;
    let secret = match shown(&context.client, namespace, name, &origin.git).await? {
        Ok(secret) => secret,
        Err(why) => return Ok(Err(why)),
    };
    let data: BTreeMap<String, Vec<u8>> = secret
        .data
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key, value.0))
        .collect();
    Ok(Credentials::from_secret(data.iter()).map_err(|error| format!("Secret {name}: {error}")))
}

/// A Secret of the namespace for builds that its own annotation names this address of, or why there is none.
///
/// # Errors
/// The API server did not give it.
pub async fn shown(
    client: &Client,
    namespace: &Namespace,
    name: &ObjectName,
    to: &GitUrl,
) -> Result<Result<Secret, String>, ClusterError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace.as_str());
    let attempted = || format!("get Secret {name} in {namespace}");
    let Some(secret) = found(within(attempted, api.get(name.as_str())).await)? else {
        return Ok(Err(format!(
            "Secret {name} does not exist in namespace {namespace}"
        )));
    };
    let allowed = secret.annotations().get(meta::FOR).cloned().unwrap_or_default();
    Ok(if is_for(&allowed, to) {
        Ok(secret)
    } else {
        Err(refused(name, namespace, to))
    })
}

fn refused(name: &ObjectName, namespace: &Namespace, url: &GitUrl) -> String {
    format!(
        "Secret {name} in namespace {namespace} is not for {url}: its annotation {} lists the addresses, or their beginnings, \
         that it is shown to",
        meta::FOR
    )
}

/// Whether one of the addresses, which spaces or commas part, is this one or a directory that it is in.
fn is_for(allowed: &str, url: &GitUrl) -> bool {
    let url = url.to_string();
    let mut all = allowed
        .split([' ', ',', '\n', '\t'])
        .filter(|one| !one.is_empty());
    all.any(|one| {
        let rest = url.strip_prefix(one);
        rest.is_some_and(|rest| rest.is_empty() || one.ends_with(['/', ':']) || rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{repository::RefName, spec::declared::OriginRef};

    #[test]
    fn a_question_that_was_not_put_is_told_as_one_that_failed() {
        let git = GitUrl::parse("https://git.example.com/acme/shop.git", true).unwrap();
        let reference = OriginRef::Tag(RefName::tag("v1.2.0").unwrap());
        let failed = FetchError::TooLarge {
            attempt: format!("ask for {} of {git}", reference.git_ref()),
            limit: "1 byte".to_owned(),
        };
        let origin = Origin {
            git,
            reference,
            path: ".".to_owned(),
            secret: None,
        };
        assert_eq!(unasked(&origin, "it is larger than 1 byte"), failed.to_string());
    }

    #[test]
    fn a_secret_is_shown_only_to_what_its_annotation_names() {
        let url = |text: &str| GitUrl::parse(text, true).unwrap();
        let shop = url("https://git.example.com/acme/shop.git");
        for (allowed, expected) in [
            ("https://git.example.com/acme/shop.git", true),
            ("https://git.example.com/acme/", true),
            ("https://git.example.com/acme", true),
            ("https://git.example.com/", true),
            ("https://other.example.com/, https://git.example.com/acme/", true),
            ("", false),
            ("https://git.example.com/ac", false),
            ("https://git.example", false),
            ("https://git.example.com/acme/shop", false),
            ("http://git.example.com/", false),
            ("git.example.com", false),
        ] {
            assert_eq!(is_for(allowed, &shop), expected, "{allowed}");
        }
        assert!(is_for(
            "git@git.example.com:",
            &url("git@git.example.com:acme/shop.git")
        ));
        assert!(!is_for(
            "https://git.example.com",
            &url("https://git.example.com.evil.test/a")
        ));
        assert!(!is_for(
            "https://git.example.com",
            &url("https://git.example.com:444/a")
        ));
    }
}
