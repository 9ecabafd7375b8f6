//! Whether the process makes progress (`/healthz`) and whether it can be relied on (`/readyz`).
//!
//! The two are kept apart: a restart cures a loop that is stuck, and cures no missing CRD.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// What `/healthz` and `/readyz` are answered from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    loops: RwLock<Vec<Loop>>,
    gates: RwLock<Vec<(&'static str, Arc<AtomicBool>)>>,
}

#[derive(Debug)]
struct Loop {
    name: &'static str,
    bound: Duration,
    last: Arc<AtomicU64>,
}

/// No beat is awaited.
const RESTING: u64 = u64::MAX;

/// A loop's sign of life. Dropping it does not excuse the loop: one that died is stuck for good.
#[derive(Debug)]
pub struct Heartbeat {
    start: Instant,
    last: Arc<AtomicU64>,
    running: AtomicUsize,
}

/// A piece of work of a loop. While none is under way the loop rests.
#[derive(Debug)]
pub struct Working<'a>(&'a Heartbeat);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.rest();
        } else {
            self.0.beat();
        }
    }
}

/// Something that must have happened before the process is ready.
#[derive(Debug, Clone)]
pub struct Gate(Arc<AtomicBool>);

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Without loops and gates: healthy and ready.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            start: Instant::now(),
            loops: RwLock::default(),
            gates: RwLock::default(),
        }))
    }

    /// Adds a loop. From its first beat on, more than `bound` between two beats is unhealthy.
    #[must_use]
    pub fn heartbeat(&self, name: &'static str, bound: Duration) -> Heartbeat {
        let last = Arc::new(AtomicU64::new(RESTING));
        self.0
            .loops
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Loop {
                name,
                bound,
                last: Arc::clone(&last),
            });
        Heartbeat {
            start: self.0.start,
            last,
            running: AtomicUsize::new(0),
        }
    }

    /// Adds a gate, closed.
    #[must_use]
    pub fn gate(&self, name: &'static str) -> Gate {
        let open = Arc::new(AtomicBool::new(false));
        self.0
            .gates
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, Arc::clone(&open)));
        Gate(open)
    }

    /// The loops that made no progress within their bound; empty means healthy.
    #[must_use]
    pub fn stuck(&self) -> Vec<String> {
        let now = millis(self.0.start.elapsed());
        self.0
            .loops
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(|each| {
                let last = each.last.load(Ordering::Relaxed);
                let silent = Duration::from_millis(now.saturating_sub(last));
                (last != RESTING && silent > each.bound)
                    .then(|| format!("{}: no progress for {} s", each.name, silent.as_secs()))
            })
            .collect()
    }

    /// The gates that are closed; empty means ready.
    #[must_use]
    pub fn closed(&self) -> Vec<&'static str> {
        self.0
            .gates
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|(_, open)| !open.load(Ordering::Relaxed))
            .map(|(name, _)| *name)
            .collect()
    }
}

impl Heartbeat {
    /// A piece of work begins; it ends when what is returned is dropped.
    pub fn working(&self) -> Working<'_> {
        self.running.fetch_add(1, Ordering::SeqCst);
        self.beat();
        Working(self)
    }

    /// The loop made progress.
    pub fn beat(&self) {
        self.last.store(millis(self.start.elapsed()), Ordering::Relaxed);
    }

    /// The loop has nothing to do until its next beat: a standby, a shutdown.
    pub fn rest(&self) {
        self.last.store(RESTING, Ordering::Relaxed);
    }
}

impl Gate {
    /// It happened.
    pub fn open(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// It does not hold any more.
    pub fn close(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> u64 {
    // RESTING itself is half a billion years away.
    u64::try_from(duration.as_millis()).unwrap_or(RESTING - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_stuck_only_after_its_bound_and_only_while_it_beats() {
        let health = Health::new();
        let heart = health.heartbeat("releases", Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(40));
        assert_eq!(health.stuck(), Vec::<String>::new());
        heart.beat();
        assert_eq!(health.stuck(), Vec::<String>::new());
        std::thread::sleep(Duration::from_millis(40));
        assert_eq!(health.stuck(), ["releases: no progress for 0 s"]);
        heart.rest();
        assert_eq!(health.stuck(), Vec::<String>::new());
    }

    #[test]
    fn work_that_does_not_end_is_stuck_and_a_loop_without_work_rests() {
        let health = Health::new();
        let heart = health.heartbeat("releases", Duration::from_millis(5));
        let work = heart.working();
        drop(heart.working());
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(health.stuck().len(), 1);
        drop(work);
        assert!(health.stuck().is_empty());
    }

    #[test]
    fn a_loop_that_died_is_stuck() {
        let health = Health::new();
        let heart = health.heartbeat("releases", Duration::from_millis(5));
        heart.beat();
        drop(heart);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(health.stuck().len(), 1);
    }

    #[test]
    fn all_gates_must_be_open() {
        let health = Health::new();
        let (crds, caches) = (health.gate("crds"), health.gate("caches"));
        crds.open();
        assert_eq!(health.closed(), ["caches"]);
        caches.open();
        assert!(health.closed().is_empty());
        crds.close();
        assert_eq!(health.closed(), ["crds"]);
    }
}
