//! Which commit a tag of a repository is, asked of its server without fetching anything.

use std::{
    path::Path,
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use git2::{Direction, Repository};

use super::{
    credentials::{Credentials, Seen},
    error::{Context, FetchError, classify, presentable},
    mirror::{callbacks, proxy},
};
use crate::{
    names::{CommitId, NameError},
    repository::{GitRef, GitUrl},
};

/// Asks what `reference` names now. Blocks; call it from a thread that may wait. `root` is where mirrors lie.
///
/// Returns within `wall_clock` even if libgit2 does not.
///
/// # Errors
/// As those of a fetch; `RefNotFound` where the server has no such reference.
pub fn tip(
    root: &Path,
    url: &GitUrl,
    reference: &GitRef,
    credentials: &Credentials,
    wall_clock: Duration,
) -> Result<CommitId, FetchError> {
    if let GitRef::Commit(id) = reference {
        return Ok(id.clone());
    }
    let start = Instant::now();
    let attempt = format!("ask for {reference} of {url}");
    credentials
        .check_fits(url)
        .map_err(|source| FetchError::InvalidCredentials {
            attempt: attempt.clone(),
            source,
        })?;
    let asking = Asking {
        repository: asked(root).map_err(|error| FetchError::Storage {
            attempt: attempt.clone(),
            detail: presentable(error.message(), credentials),
        })?,
        url: url.clone(),
        reference: reference.clone(),
        credentials: credentials.clone(),
        attempt: attempt.clone(),
        start,
    };
    let (send, receive) = mpsc::sync_channel(1);
    let spawned = thread::Builder::new().name("git-ask".into()).spawn(move || {
        // Nobody may be listening any more.
        let _ = send.send(asking.run());
    });
    spawned.map_err(|error| FetchError::Storage {
        attempt: attempt.clone(),
        detail: format!("no thread can be started: {error}"),
    })?;
    receive
        .recv_timeout(wall_clock)
        .map_err(|_| FetchError::TimedOut {
            attempt,
            after: start.elapsed(),
        })?
}

/// An empty repository, for its configuration alone: only by that libgit2 is told to follow no redirect when it asks.
fn asked(root: &Path) -> Result<Repository, git2::Error> {
    static MAKING: Mutex<()> = Mutex::new(());
    const NAME: &str = "http.followRedirects";
    let path = root.join("asked.git");
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let repository = Repository::open_bare(&path).or_else(|_| Repository::init_bare(&path))?;
    let mut config = repository.config()?.open_level(git2::ConfigLevel::Local)?;
    if config.get_bool(NAME) != Ok(false) {
        config.set_bool(NAME, false)?;
    }
    Ok(repository)
}

struct Asking {
    repository: Repository,
    url: GitUrl,
    reference: GitRef,
    credentials: Credentials,
    attempt: String,
    start: Instant,
}

impl Asking {
    fn run(&self) -> Result<CommitId, FetchError> {
        let seen = Seen::default();
        let listed = self.list(&seen).map_err(|error| {
            let context = Context {
                attempt: self.attempt.clone(),
                what: "repository",
                elapsed: self.start.elapsed(),
                stop: None,
                seen: &seen,
                credentials: &self.credentials,
            };
            classify(&error, context)
        })?;
        let id = listed.ok_or_else(|| FetchError::RefNotFound {
            attempt: self.attempt.clone(),
            what: self.reference.kind(),
        })?;
        id.parse().map_err(|error: NameError| FetchError::Corrupt {
            attempt: self.attempt.clone(),
            detail: error.to_string(),
        })
    }

    fn list(&self, seen: &Seen) -> Result<Option<String>, git2::Error> {
        let url = Some(&self.url);
        let mut remote = self.repository.remote_anonymous(&self.url.to_string())?;
        let connection = remote.connect_auth(
            Direction::Fetch,
            Some(callbacks(seen, &self.credentials, url)),
            proxy(url),
        )?;
        let name = self.reference.remote_name();
        // What an annotated tag names is listed beside it.
        let peeled = format!("{name}^{{}}");
        let heads = connection.list()?;
        let id = |name: &str| {
            heads
                .iter()
                .find(|head| head.name() == name)
                .map(|head| head.oid().to_string())
        };
        Ok(id(&peeled).or_else(|| id(&name)))
    }
}
