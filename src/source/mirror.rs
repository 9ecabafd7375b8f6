//! Bare mirrors, one per address, and the one act that uses the network: [`Mirror::fetch`].
//!
//! A fetch is bounded by a time and a number of bytes, follows no redirect, pulls no tags, and answers with
//! the id of a commit that is then whole in the mirror. Nothing acts on a name afterwards, so a branch that
//! moves in between changes nothing. What the files mean is not known here.

use std::{
    cell::Cell,
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use git2::{AutotagOption, FetchOptions, Oid, ProxyOptions, RemoteCallbacks, RemoteRedirect, Repository};
use sha2::{Digest, Sha256};

use super::{
    credentials::{Credentials, Seen},
    error::{Context, FetchError, Stop, classify, presentable},
    memory,
    store::{FetchLock, Store, StoreError},
    tree::{ReadError, Reader},
};
use crate::{
    hex::hex,
    names::CommitId,
    repository::{GitRef, GitUrl},
};

/// What a fetch may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// From the call to the answer.
    pub wall_clock: Duration,
    /// Received in one fetch.
    pub bytes: u64,
    /// Whether the past of a commit that is asked for by its id is left where it is.
    pub shallow: bool,
}

impl Default for FetchLimits {
    /// A repository of specs has a few megabytes; these stop one that is not, before it fills the disk.
    fn default() -> Self {
        Self {
            wall_clock: Duration::from_secs(120),
            bytes: 256 << 20,
            shallow: false,
        }
    }
}

/// What a fetch found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The commit that the reference named at that moment.
    pub commit: CommitId,
}

/// How long a fetch that ran out of time may take to notice before it is left behind.
const GRACE: Duration = Duration::from_millis(500);
/// Where the fetched object is named until it was looked at.
const INCOMING: &str = "refs/slipway/incoming";

/// The bare mirror of one repository. Clones and further [`Mirror::open`]s of the same address share its lock.
#[derive(Debug, Clone)]
pub struct Mirror {
    store: Arc<Store>,
    remote: Remote,
}

/// Where the mirror fetches from.
#[derive(Debug, Clone)]
struct Remote {
    /// What libgit2 is given; as safe to show as the url it comes from.
    address: String,
    /// `None` only in tests, which fetch from a directory.
    url: Option<GitUrl>,
}

impl Mirror {
    /// Opens the mirror of `url` under `root`, or makes it. A damaged one is made again.
    pub fn open(root: &Path, url: &GitUrl) -> Result<Self, FetchError> {
        Self::open_remote(
            root,
            Remote {
                address: url.to_string(),
                url: Some(url.clone()),
            },
        )
    }

    /// A mirror of a directory of this machine, which [`GitUrl`] refuses.
    #[cfg(test)]
    pub(crate) fn open_local(root: &Path, upstream: &Path) -> Result<Self, FetchError> {
        Self::open_remote(
            root,
            Remote {
                address: upstream.display().to_string(),
                url: None,
            },
        )
    }

    fn open_remote(root: &Path, remote: Remote) -> Result<Self, FetchError> {
        let name = hex_of_sha256(&remote.address, 32);
        let attempt = format!("open the mirror of {}", remote.address);
        let storage = |error: &dyn std::fmt::Display| FetchError::Storage {
            attempt: attempt.clone(),
            detail: presentable(&error.to_string(), &Credentials::anonymous()),
        };
        std::fs::create_dir_all(root).map_err(|error| storage(&error))?;
        let store = Store::at(&root.join(format!("{name}.git")));
        // Somebody who fetches right now has opened and swept it already.
        if let Some(lock) = store.lock(Instant::now()) {
            lock.ensure().map_err(|error| storage(&error))?;
        }
        Ok(Self { store, remote })
    }

    /// Fetches what `reference` names now. Blocks; call it from a thread that may wait.
    ///
    /// Returns within the limit even if libgit2 does not: the transfer then ends on its own in the background,
    /// and until it did, further fetches of this mirror wait or time out.
    pub fn fetch(
        &self,
        reference: &GitRef,
        credentials: &Credentials,
        limits: FetchLimits,
    ) -> Result<Fetched, FetchError> {
        let start = Instant::now();
        let attempt = format!("fetch {reference} of {}", self.remote.address);
        if let Some(url) = &self.remote.url {
            credentials
                .check_fits(url)
                .map_err(|source| FetchError::InvalidCredentials {
                    attempt: attempt.clone(),
                    source,
                })?;
        }
        let timed_out = |attempt: &str| FetchError::TimedOut {
            attempt: attempt.to_owned(),
            after: start.elapsed(),
        };
        let deadline = start + limits.wall_clock;
        let lock = self.store.lock(deadline).ok_or_else(|| timed_out(&attempt))?;
        let job = Job {
            lock,
            remote: self.remote.clone(),
            reference: reference.clone(),
            credentials: credentials.clone(),
            attempt: attempt.clone(),
            bytes: limits.bytes,
            shallow: limits.shallow,
            start,
            deadline,
        };
        let (send, receive) = mpsc::sync_channel(1);
        let spawned = thread::Builder::new().name("git-fetch".into()).spawn(move || {
            let result = job.run();
            // The lock is given back before the answer, or the next fetch could find it held.
            drop(job);
            // Nobody may be listening any more.
            let _ = send.send(result);
        });
        spawned.map_err(|error| FetchError::Storage {
            attempt: attempt.clone(),
            detail: format!("no thread can be started: {error}"),
        })?;
        let left = deadline.saturating_duration_since(Instant::now()) + GRACE;
        match receive.recv_timeout(left) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(timed_out(&attempt)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(FetchError::Corrupt {
                attempt,
                detail: "the fetch broke down".into(),
            }),
        }
    }

    /// Opens the mirror for reading. Any number may read, also while a fetch runs.
    pub fn reader(&self) -> Result<Reader, ReadError> {
        Reader::open(&self.store)
    }

    /// Empties the mirror: the next fetch makes it whole again. For when reading found damage.
    pub fn discard(&self, limits: FetchLimits) -> Result<(), FetchError> {
        let attempt = format!("discard the mirror of {}", self.remote.address);
        let start = Instant::now();
        let Some(lock) = self.store.lock(start + limits.wall_clock) else {
            return Err(FetchError::TimedOut {
                attempt,
                after: start.elapsed(),
            });
        };
        match lock.recreate() {
            Ok(_) => Ok(()),
            Err(error) => Err(FetchError::Storage {
                attempt,
                detail: presentable(&error.to_string(), &Credentials::anonymous()),
            }),
        }
    }
}

/// One fetch, as it moves to its thread.
struct Job {
    lock: FetchLock,
    remote: Remote,
    reference: GitRef,
    credentials: Credentials,
    attempt: String,
    bytes: u64,
    shallow: bool,
    start: Instant,
    deadline: Instant,
}

impl Job {
    fn run(&self) -> Result<Fetched, FetchError> {
        let mut repository = self.lock.ensure().map_err(|error| self.storage(&error))?;
        // Packing is a convenience: if it fails, the mirror still works.
        if self.lock.repack(&repository).unwrap_or(false) {
            repository = self.lock.ensure().map_err(|error| self.storage(&error))?;
        }
        match self.fetch(&repository) {
            Err(FetchError::Corrupt { detail, .. }) => {
                tracing::warn!(remote = %self.remote.address, detail, "the mirror is damaged and is made again");
                let fresh = self.lock.fresh().map_err(|error| self.storage(&error))?;
                let fetched = self.fetch(&fresh)?;
                drop((fresh, repository));
                self.lock.replace().map_err(|error| self.storage(&error))?;
                Ok(fetched)
            }
            result => result,
        }
    }

    fn fetch(&self, repository: &Repository) -> Result<Fetched, FetchError> {
        if let GitRef::Commit(id) = &self.reference {
            return self.fetch_commit(repository, id);
        }
        forget_incoming(repository).map_err(|error| self.corrupt(&error))?;
        self.transfer(
            repository,
            &format!("+{}:{INCOMING}", self.reference.remote_name()),
            false,
        )?;
        // libgit2 takes a name that the server does not have for nothing to do.
        let Ok(incoming) = repository.refname_to_id(INCOMING) else {
            return Err(FetchError::RefNotFound {
                attempt: self.attempt.clone(),
                what: self.what(),
            });
        };
        self.settle(repository, incoming)
    }

    /// A commit by its id: not asked for when it is here, and looked for under all branches and tags when the
    /// server gives no commit by id.
    fn fetch_commit(&self, repository: &Repository, id: &CommitId) -> Result<Fetched, FetchError> {
        let oid = Oid::from_str(id.as_str()).map_err(|error| self.corrupt(&error))?;
        if repository.find_commit(oid).is_ok() {
            return self.settle(repository, oid);
        }
        forget_incoming(repository).map_err(|error| self.corrupt(&error))?;
        let by_id = self.transfer(repository, &format!("+{id}:{INCOMING}"), self.shallow);
        match by_id {
            Ok(()) | Err(FetchError::RefNotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        if repository.find_commit(oid).is_err() {
            for kind in ["heads", "tags"] {
                self.transfer(
                    repository,
                    &format!("+refs/{kind}/*:refs/slipway/{kind}/*"),
                    false,
                )?;
            }
        }
        if repository.find_commit(oid).is_err() {
            return Err(FetchError::RefNotFound {
                attempt: self.attempt.clone(),
                what: self.what(),
            });
        }
        self.settle(repository, oid)
    }

    /// Checks that the object leads to a whole commit and keeps it reachable.
    fn settle(&self, repository: &Repository, oid: Oid) -> Result<Fetched, FetchError> {
        let corrupt = |error: git2::Error| self.corrupt(&error);
        let object = repository.find_object(oid, None).map_err(corrupt)?;
        let commit = match object.peel_to_commit() {
            Ok(commit) => commit,
            Err(error) if error.code() == git2::ErrorCode::NotFound => return Err(corrupt(error)),
            // A tag of a tree or a file.
            Err(_) => {
                return Err(FetchError::RefNotFound {
                    attempt: self.attempt.clone(),
                    what: "commit",
                });
            }
        };
        commit.tree().map_err(corrupt)?;
        // Names of the past would forbid each other as directories: `a` and `a/b`.
        let tip = format!(
            "refs/slipway/tips/{}",
            hex_of_sha256(&self.reference.remote_name(), 40)
        );
        repository
            .reference(&tip, commit.id(), true, "")
            .map_err(corrupt)?;
        forget_incoming(repository).map_err(|error| self.corrupt(&error))?;
        commit
            .id()
            .to_string()
            .parse()
            .map(|commit| Fetched { commit })
            .map_err(|error: crate::names::NameError| FetchError::Corrupt {
                attempt: self.attempt.clone(),
                detail: error.to_string(),
            })
    }

    fn transfer(&self, repository: &Repository, refspec: &str, shallow: bool) -> Result<(), FetchError> {
        let seen = Seen::default();
        let stop: Cell<Option<Stop>> = Cell::new(None);
        let side: Cell<u64> = Cell::new(0);
        let go_on = |received: u64| {
            if Instant::now() >= self.deadline {
                stop.set(Some(Stop::Deadline));
            } else if received > self.bytes {
                stop.set(Some(Stop::Bytes(self.bytes)));
            }
            stop.get().is_none()
        };
        let url = self.remote.url.as_ref();
        let mut callbacks = callbacks(&seen, &self.credentials, url);
        callbacks.transfer_progress(|progress| go_on(progress.received_bytes() as u64));
        callbacks.sideband_progress(|text| {
            side.set(side.get().saturating_add(text.len() as u64));
            go_on(side.get())
        });
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(callbacks)
            .download_tags(AutotagOption::None)
            .follow_redirects(RemoteRedirect::None)
            .update_fetchhead(false);
        if shallow {
            options.depth(1);
        }
        if let Some(proxy) = proxy(url) {
            options.proxy_options(proxy);
        }
        let result = repository
            .remote_anonymous(&self.remote.address)
            .and_then(|mut remote| remote.fetch(&[refspec], Some(&mut options), None));
        drop(options);
        result.map_err(|error| {
            let context = Context {
                attempt: self.attempt.clone(),
                what: self.what(),
                elapsed: self.start.elapsed(),
                stop: stop.get(),
                seen: &seen,
                credentials: &self.credentials,
            };
            classify(&error, context)
        })
    }

    fn what(&self) -> &'static str {
        self.reference.kind()
    }

    fn corrupt(&self, error: &git2::Error) -> FetchError {
        if error.class() == git2::ErrorClass::NoMemory {
            return FetchError::TooLarge {
                attempt: self.attempt.clone(),
                limit: memory::limit(),
            };
        }
        let detail = presentable(error.message(), &self.credentials);
        FetchError::Corrupt {
            attempt: self.attempt.clone(),
            detail,
        }
    }

    fn storage(&self, error: &StoreError) -> FetchError {
        let detail = presentable(&error.to_string(), &self.credentials);
        FetchError::Storage {
            attempt: self.attempt.clone(),
            detail,
        }
    }
}

/// How a server is spoken to, and what it is shown.
pub(super) fn callbacks<'a>(
    seen: &'a Seen,
    credentials: &'a Credentials,
    url: Option<&'a GitUrl>,
) -> RemoteCallbacks<'a> {
    let mut callbacks = RemoteCallbacks::new();
    callbacks.credentials(move |asking, _, allowed| seen.credentials(credentials, url, asking, allowed));
    if url.is_some_and(GitUrl::is_ssh) {
        // With a callback libgit2 blurs the errors of TLS certificates, and it checks those itself.
        callbacks.certificate_check(move |cert, _| seen.certificate(credentials, url, cert));
    }
    callbacks
}

/// That of the environment of the process, over http; a mirror's configuration names none.
pub(super) fn proxy<'a>(url: Option<&GitUrl>) -> Option<ProxyOptions<'a>> {
    let mut proxy = ProxyOptions::new();
    proxy.auto();
    url.is_some_and(|url| !url.is_ssh()).then_some(proxy)
}

fn forget_incoming(repository: &Repository) -> Result<(), git2::Error> {
    match repository.find_reference(INCOMING) {
        Ok(mut reference) => reference.delete(),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn hex_of_sha256(text: &str, digits: usize) -> String {
    let mut hex = hex(&Sha256::digest(text));
    hex.truncate(digits);
    hex
}

#[cfg(test)]
#[path = "ssh_tests.rs"]
mod ssh_tests;
#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
