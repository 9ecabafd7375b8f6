//! What all passes of the source loop share, and what is remembered of a source between two of them.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::Client;
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::Instant,
};

use super::{
    SourceError,
    fetch::Reading,
    patience::{Hosts, Patience},
};
use crate::{
    build::fitness::Fitness,
    cluster::Leader,
    controller::{Parts, compile::Compiled},
    server::Heartbeat,
    spec::reading::Own,
    telemetry::Metrics,
};

/// Sources that are read and written at once: each reads git objects on a processor, and holds all Releases in memory.
const WORKING: usize = 4;

/// Shared by all passes of the source loop.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Slipway's own namespace, where credentials of sources live, and that of builds.
    pub own: Own,
    /// Where mirrors are kept.
    pub root: PathBuf,
    /// Whether git may be spoken to without TLS.
    pub allow_plain_http: bool,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// To be asked before each write: a leader that was paused may have been replaced.
    pub leader: Leader,
    /// Whether passes end.
    pub heartbeat: Heartbeat,
    /// The fetches that are under way.
    pub hosts: Hosts,
    /// What is known of the builder; `None` where nothing is built here.
    pub fitness: Option<watch::Receiver<Fitness>>,
    working: Semaphore,
    /// Per source what is known of it between passes.
    pub memory: Mutex<HashMap<String, Remembered>>,
}

/// What is known of a source between passes; losing it costs time and nothing else.
#[derive(Default)]
pub struct Remembered {
    /// The last commit that was read, so that a pass without news reads nothing.
    pub compiled: Option<Arc<Compiled>>,
    /// What the last fetch brought.
    pub last: Option<Last>,
    /// When objects without a `Release` were last looked for.
    pub swept: Option<Instant>,
    /// Errors in a row.
    pub failures: u32,
    /// What the last fetches were like.
    pub patience: Patience,
}

/// What the last fetch of a source brought.
#[derive(Clone)]
pub struct Last {
    /// Of which version of the source.
    pub version: (Option<String>, Option<i64>),
    /// When the next one is due; a pass before it enforces what is known.
    pub due: Instant,
    /// What was read; `None` when nothing could be.
    pub read: Option<Reading>,
    /// What the status had as the fetched commit then.
    pub before: Option<String>,
}

impl Last {
    /// Whether it still holds: of this version of the source, and nobody else has read another commit since.
    pub fn holds(&self, version: &(Option<String>, Option<i64>), fetched: Option<&str>) -> bool {
        let read = self.read.as_ref().map(|read| read.commit.as_str());
        self.version == *version && is_newest(read, self.before.as_deref(), fetched)
    }
}

/// Whether no other process has read another commit since this one was read. Applied again, an older one would take back what
/// that process applied. `before` is what the status had when it was read, `fetched` what it has now.
fn is_newest(read: Option<&str>, before: Option<&str>, fetched: Option<&str>) -> bool {
    read.is_none() || fetched == read || fetched == before
}

impl Context {
    /// What the parts give. `bound` is more than any piece of work takes.
    pub fn new(parts: &Parts, fitness: watch::Receiver<Fitness>, bound: Duration) -> Self {
        Self {
            client: parts.clients.call.clone(),
            own: Own {
                slipway: parts.options.namespace.clone(),
                builds: parts.options.build_namespace.clone(),
            },
            root: parts.options.cache_dir.join("git"),
            allow_plain_http: parts.options.allow_plain_http_git,
            metrics: Arc::clone(&parts.metrics),
            leader: parts.leader.clone(),
            heartbeat: parts.health.heartbeat("sources", bound),
            hosts: Hosts::default(),
            fitness: parts.options.builder.is_some().then_some(fitness),
            working: Semaphore::new(WORKING),
            memory: Mutex::default(),
        }
    }

    /// A process that was paused for long may have been replaced; it is asked before each write.
    pub fn lead(&self) -> Result<(), SourceError> {
        if self.leader.leads() {
            Ok(())
        } else {
            Err(SourceError::NotLeading)
        }
    }

    /// The right to read a commit and to write what it declares. A fetch, which does nothing but wait, is done without.
    pub async fn working(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.working.acquire().await.ok()
    }

    /// The last commit that was read.
    pub fn remembered(&self, source: &str) -> Option<Arc<Compiled>> {
        self.memory(source, |memory| memory.compiled.clone())
    }

    /// A commit was read.
    pub fn remember(&self, source: &str, read: &Arc<Compiled>) {
        self.memory(source, |memory| {
            let before = memory.compiled.replace(Arc::clone(read));
            let other = before.filter(|before| !Arc::ptr_eq(before, read));
            if other.is_some_and(|before| !before.declared().is_subset(&read.declared())) {
                memory.swept = None;
            }
        });
    }

    /// A source is gone.
    pub fn forget(&self, source: &str) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.remove(source);
    }

    /// What is remembered of a source, to read or change.
    pub fn memory<T>(&self, source: &str, act: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        act(memory.entry(source.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_the_newest_until_another_process_has_read_another_commit() {
        let (older, ours, newer) = (Some("a"), Some("b"), Some("c"));
        assert!(is_newest(ours, older, older), "its own status is not written yet");
        assert!(is_newest(ours, older, ours) && is_newest(ours, None, None));
        assert!(!is_newest(ours, older, newer));
        assert!(!is_newest(ours, older, None), "the status was taken away");
        assert!(
            is_newest(None, older, newer),
            "there is nothing to take it back with"
        );
    }
}
