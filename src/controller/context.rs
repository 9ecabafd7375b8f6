//! What every reconcile shares: clients, options, and the few things that are remembered between passes. Nothing
//! remembered here is a fact about migrations; losing all of it costs time and nothing else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::{
    Client,
    runtime::events::{Recorder, Reporter},
};

use tokio::{sync::OnceCell, time::Instant};

use super::{
    Clock, Parts, ask_commit::GitServers, build::Building, fight::Truce, silences::Silences, watched::Sources,
};
use crate::{
    cluster::{
        Leader,
        error::ClusterError,
        hash_key::{self, HashKey},
    },
    image::{Registry, ResolveError},
    names::{Digest, Namespace, ReleaseId, RevisionNumber, Uid},
    plan::{Stage, observed::Fingerprints},
    server::Heartbeat,
    telemetry::Metrics,
};

/// Shared by all reconciles.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Slipway's own namespace: locks and credentials of sources live there.
    pub own: Namespace,
    /// The namespace of builds: credentials of repositories of applications live there.
    pub builds: Namespace,
    /// The sources that there are.
    pub sources: Sources,
    /// Registries.
    pub registry: Registry,
    /// Those of them that did not answer lately.
    pub silences: Silences<ResolveError>,
    /// Git servers that releases name as their source, and that did not answer lately.
    pub git: GitServers,
    /// What builds images, where something does.
    pub building: Option<Building>,
    /// How often the tag of what runs is compared with what it was resolved to.
    pub tag_interval: Duration,
    /// Events.
    pub recorder: Recorder,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// The time of day.
    pub clock: Clock,
    /// To be asked before a pass writes: a leader that was paused may have been replaced.
    pub leader: Leader,
    /// The key of fingerprints, read when it is first needed.
    hash_key: OnceCell<HashKey>,
    /// Whether passes end.
    pub heartbeat: Heartbeat,
    /// What is remembered per release.
    pub memory: Memory,
}

impl Context {
    /// From the parts, and the sources that are watched.
    #[must_use]
    pub fn new(parts: &Parts, sources: Sources, building: Option<Building>) -> Self {
        let client = parts.clients.call.clone();
        let reporter = Reporter {
            controller: "slipway".into(),
            instance: Some(parts.options.identity.clone()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            own: parts.options.namespace.clone(),
            builds: parts.options.build_namespace.clone(),
            sources,
            building,
            registry: parts.registry.clone(),
            silences: Silences::default(),
            git: GitServers::new(&parts.options),
            tag_interval: parts.options.tag_interval,
            metrics: Arc::clone(&parts.metrics),
            clock: parts.clock,
            leader: parts.leader.clone(),
            heartbeat: parts.health.heartbeat("releases", Duration::from_secs(300)),
            hash_key: OnceCell::new(),
            memory: Memory::default(),
        }
    }
}

impl Context {
    /// The key of fingerprints.
    pub async fn hash_key(&self) -> Result<&HashKey, ClusterError> {
        self.hash_key
            .get_or_try_init(|| hash_key::load(&self.client, &self.own))
            .await
    }
}

/// What is remembered per release between passes.
#[derive(Default)]
pub struct Memory(Mutex<HashMap<ReleaseId, Remembered>>);

/// One release's memory.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// Of which `Release` this is: one that was deleted and made again begins anew.
    object: Option<String>,
    /// The stage that the last pass left it in, and since when (monotonic: wall clocks jump).
    pub stage: Option<(Stage, Instant)>,
    /// The revision that is on its way, and for how long it has been looked at.
    pub rolling: Option<(RevisionNumber, Attended)>,
    /// The revision whose verification began last, and the restarts that its pods had then.
    pub restarts_before: Option<(RevisionNumber, u32)>,
    /// The generation of the last pass that settled.
    pub settled: Option<i64>,
    /// When the tag was last asked for, what it was resolved to (`reference@digest`), and the digest it had; `None` when there was
    /// no answer.
    pub tag: Option<(Instant, String, Option<Digest>)>,
    /// The fingerprints of the last look, and since when they have been the same.
    pub values: Option<(Fingerprints, Instant)>,
    /// The Job of the migration that was last seen running, and since when it has been.
    pub running: Option<(Uid, Instant)>,
    /// How often in a row others changed what was put right.
    pub fights: u32,
    /// What is let be because of that.
    pub truce: Option<Truce>,
    /// What was put back and is not counted in the status yet: an error may come in between.
    pub repairs: usize,
    /// Errors in a row.
    pub failures: u32,
    /// When its status was written last.
    pub told: Option<Instant>,
    /// The phase that it is counted in.
    pub phase: Option<&'static str>,
    /// Since when a revision of it has failed and it was not Live.
    pub failed: Option<Instant>,
}

/// As much of a time in which nobody looked counts. While something is on its way there is a look every ten seconds.
const UNSEEN: Duration = Duration::from_secs(60);

/// A clock that runs while somebody looks: what an API server that was away, or a machine that was paused, kept from going on
/// has not failed to.
#[derive(Debug, Clone, Copy)]
pub struct Attended {
    before: Duration,
    last: Instant,
}

impl Attended {
    /// It begins.
    #[must_use]
    pub fn start() -> Self {
        Self {
            before: Duration::ZERO,
            last: Instant::now(),
        }
    }

    /// Somebody looks.
    pub fn look(&mut self) {
        self.before = self.elapsed();
        self.last = Instant::now();
    }

    /// For how long it has run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.before + self.last.elapsed().min(UNSEEN)
    }
}

impl Memory {
    /// A copy of what is remembered.
    #[must_use]
    pub fn get(&self, id: &ReleaseId) -> Remembered {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
            .unwrap_or_default()
    }

    /// Changes what is remembered.
    pub fn update(&self, id: &ReleaseId, change: impl FnOnce(&mut Remembered)) {
        change(
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(id.clone())
                .or_default(),
        );
    }

    /// For how long the fingerprints that were just seen have been the same.
    pub fn same_values(&self, id: &ReleaseId, now: Option<&Fingerprints>) -> Duration {
        let Some(now) = now else { return Duration::ZERO };
        let mut since = Instant::now();
        self.update(id, |memory| match &memory.values {
            Some((before, start)) if before == now => since = *start,
            _ => memory.values = Some((now.clone(), since)),
        });
        since.elapsed()
    }

    /// For how long the container of this migration, which was just seen running, has been seen so: no clock that somebody sets
    /// ends a migration. Who takes over counts from its own first sight.
    pub fn running(&self, id: &ReleaseId, job: &Uid) -> Duration {
        let mut since = Instant::now();
        self.update(id, |memory| match &memory.running {
            Some((before, start)) if before == job => since = *start,
            _ => memory.running = Some((job.clone(), since)),
        });
        since.elapsed()
    }

    /// Forgets what was remembered of another `Release` of this name.
    pub fn begin(&self, id: &ReleaseId, object: Option<&str>) {
        self.update(id, |memory| {
            if memory.object.as_deref() != object {
                *memory = Remembered {
                    object: object.map(str::to_owned),
                    failed: memory.failed,
                    phase: memory.phase,
                    ..Remembered::default()
                };
            }
        });
    }

    /// Forgets a release that is gone, and gives what was remembered.
    pub fn forget(&self, id: &ReleaseId) -> Option<Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_on_its_way_is_not_charged_for_a_time_in_which_nobody_looked() {
        let mut clock = Attended::start();
        for _ in 0..6 {
            tokio::time::advance(Duration::from_secs(10)).await;
            clock.look();
        }
        assert_eq!(clock.elapsed(), Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(900)).await;
        assert_eq!(clock.elapsed(), Duration::from_secs(120));
        clock.look();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.elapsed(), Duration::from_secs(130));
    }

    #[tokio::test(start_paused = true)]
    async fn a_migration_runs_for_as_long_as_it_was_seen_to_run() {
        let memory = Memory::default();
        let id = ReleaseId {
            namespace: "shop".parse().unwrap(),
            name: "app".parse().unwrap(),
        };
        let (one, other): (Uid, Uid) = ("one".parse().unwrap(), "other".parse().unwrap());
        assert_eq!(memory.running(&id, &one), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(memory.running(&id, &one), Duration::from_secs(90));
        assert_eq!(
            memory.running(&id, &other),
            Duration::ZERO,
            "another Job has a clock of its own"
        );
    }
}
