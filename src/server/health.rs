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
    work: Arc<Work>,
}

#[derive(Debug, Default)]
struct Work {
    /// Pieces under way.
    running: AtomicUsize,
    /// When one began or ended last, in milliseconds after the start.
    last: AtomicU64,
}

/// A loop's sign of life.
#[derive(Debug)]
pub struct Heartbeat {
    start: Instant,
    work: Arc<Work>,
}

/// A piece of work of a loop. While none is under way the loop rests.
#[derive(Debug)]
pub struct Working<'a>(&'a Heartbeat);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.beat();
        self.0.work.running.fetch_sub(1, Ordering::SeqCst);
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

    /// Adds a loop. While it works, more than `bound` in which nothing began or ended is unhealthy.
    #[must_use]
    pub fn heartbeat(&self, name: &'static str, bound: Duration) -> Heartbeat {
        let work: Arc<Work> = Arc::default();
        self.0
            .loops
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Loop {
                name,
                bound,
                work: Arc::clone(&work),
            });
        Heartbeat {
            start: self.0.start,
            work,
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
                let works = each.work.running.load(Ordering::SeqCst) > 0;
                let last = each.work.last.load(Ordering::SeqCst);
                let silent = Duration::from_millis(now.saturating_sub(last));
                (works && silent > each.bound)
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
    #[must_use]
    pub fn working(&self) -> Working<'_> {
        self.beat();
        self.work.running.fetch_add(1, Ordering::SeqCst);
        Working(self)
    }

    fn beat(&self) {
        let now = millis(self.start.elapsed());
        self.work.last.store(now, Ordering::SeqCst);
    }
}

impl Gate {
    /// It happened.
    pub fn open(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_does_not_end_is_stuck_and_a_loop_without_work_rests() {
        let health = Health::new();
        let heart = health.heartbeat("releases", Duration::from_millis(50));
        assert!(health.stuck().is_empty(), "it never worked");
        let work = heart.working();
        drop(heart.working());
        assert!(health.stuck().is_empty(), "within its bound");
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(health.stuck(), ["releases: no progress for 0 s"]);
        drop(work);
        assert!(health.stuck().is_empty());
    }

    #[test]
    fn all_gates_must_be_open() {
        let health = Health::new();
        let (crds, caches) = (health.gate("crds"), health.gate("caches"));
        assert_eq!(health.closed(), ["crds", "caches"]);
        crds.open();
        assert_eq!(health.closed(), ["caches"]);
        caches.open();
        assert!(health.closed().is_empty());
    }
}
