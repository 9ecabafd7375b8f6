//! Every point at which somebody can be struck while a release comes about, one after the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use super::{super::support::Process, trial::Place};

/// Before the request is sent; when it is answered and nobody has heard the answer; when it was heard.
pub const KILLED: &[&str] = &["before", "sent", "answered"];

/// Who has heard the answer is at its next request: that one is a point of its own, or reads, and what is read when it goes
/// on is what is there by then.
pub const FROZEN: &[&str] = &["before", "sent"];

/// Sent beside everything else, and so at another place each time: which point strikes it, if one does, is chance. Nobody
/// decides on it.
const BESIDE: &str = "POST events";

/// Where the binary is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// At which request that would change something.
    pub at: usize,
    /// One of [`KILLED`].
    pub when: &'static str,
}

/// A point that no release comes to.
pub const NOWHERE: Point = Point {
    at: 100_000,
    when: "before",
};

/// What a request would do, without names: `PATCH releases/status`.
pub fn kind_of(request: &str) -> String {
    let (method, target) = request.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let mut rest = if parts[0] == "api" {
        &parts[2..]
    } else {
        &parts[3..]
    };
    if rest[0] == "namespaces" && rest.len() > 2 {
        rest = &rest[2..];
    }
    let sub = rest.get(2).map(|sub| format!("/{sub}")).unwrap_or_default();
    let dry = if query.contains("dryRun") {
        " (dry run)"
    } else {
        ""
    };
    format!("{method} {}{sub}{dry}", rest[0])
}

/// How far a release came.
#[derive(Debug, Clone)]
pub enum Came {
    /// To the point, at this request.
    To(String),
    /// To its end, by so many requests that would change something: fewer than the point's.
    Past(usize),
}

impl Came {
    pub fn of(process: &Process) -> Self {
        match &process.fired {
            Some(fired) => Self::To(fired.request.clone()),
            None => Self::Past(process.counted),
        }
    }
}

/// All points, one after the other, until the releases have no more requests.
pub struct Sweep {
    word: &'static str,
    whens: &'static [&'static str],
    next: AtomicUsize,
    /// Per when: every release of a trial has come past the point.
    past: Vec<AtomicBool>,
    /// Something went wrong: the others need not begin anew.
    stop: AtomicBool,
    /// Of each trial how far its releases came.
    came: Mutex<BTreeMap<Point, Vec<Came>>>,
}

impl Sweep {
    pub fn of(word: &'static str, whens: &'static [&'static str]) -> Self {
        Self {
            word,
            whens,
            next: AtomicUsize::new(0),
            past: whens.iter().map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            came: Mutex::default(),
        }
    }

    fn next(&self) -> Option<(usize, Point)> {
        loop {
            let done = self.past.iter().all(|past| past.load(Ordering::SeqCst));
            if done || self.stop.load(Ordering::SeqCst) {
                return None;
            }
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let (at, which) = (number / self.whens.len() + 1, number % self.whens.len());
            assert!(at < 200, "{}: a release that never ends", self.word);
            if !self.past[which].load(Ordering::SeqCst) {
                let when = self.whens[which];
                return Some((which, Point { at, when }));
            }
        }
    }

    /// Goes through all points, several at a time.
    pub fn run(&self, places: &[Place<'_>], trial: impl Fn(&str, Point, &Place<'_>) -> Vec<Came> + Sync) {
        thread::scope(|scope| {
            for place in places {
                let trial = &trial;
                scope.spawn(move || {
                    let _stops = Stops(&self.stop);
                    while let Some((which, point)) = self.next() {
                        let name = format!("{}-{}-{}", self.word, point.at, point.when);
                        let came = trial(&name, point, place);
                        if came.iter().all(|came| matches!(came, Came::Past(_))) {
                            self.past[which].store(true, Ordering::SeqCst);
                        }
                        self.came.lock().unwrap().insert(point, came);
                    }
                });
            }
        });
    }

    /// Tells how far it came, and holds that no request was left out: there was a release that had no more of them than
    /// were struck, and each kind that undisturbed releases ask for was struck, but for [`BESIDE`].
    pub fn told(&self, kinds: &BTreeSet<String>) {
        let came = self.came.lock().unwrap();
        for when in self.whens {
            let here = || came.iter().filter(|(point, _)| point.when == *when);
            let mut struck = BTreeSet::new();
            let releases = here().next().map_or(0, |(_, came)| came.len());
            for release in 0..releases {
                let mut points = BTreeSet::new();
                let mut least = usize::MAX;
                for (point, came) in here() {
                    match &came[release] {
                        Came::To(request) => {
                            points.insert(point.at);
                            struck.insert(kind_of(request));
                        }
                        Came::Past(had) => least = least.min(*had),
                    }
                }
                println!(
                    "{}, {when}: {} points in release {}, and one had no more than {least} requests",
                    self.word,
                    points.len(),
                    release + 1
                );
                let all = (1..=least).all(|at| points.contains(&at));
                assert!(
                    all,
                    "{when}, release {}: of {least} requests {points:?}",
                    release + 1
                );
            }
            let missed = kinds.difference(&struck);
            let missed: Vec<&String> = missed.filter(|kind| *kind != BESIDE).collect();
            assert!(missed.is_empty(), "{when}: never struck at {missed:?}");
        }
    }
}

/// Sets the word when a thread ends by a panic.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

#[test]
fn a_request_is_known_by_what_it_would_do() {
    let status =
        "PATCH /apis/slipway.dev/v1alpha1/namespaces/a/releases/app/status?force=true&fieldManager=x";
    assert_eq!(kind_of(status), "PATCH releases/status");
    let dry = "PATCH /apis/apps/v1/namespaces/a/deployments/app?dryRun=All&fieldManager=slipway";
    assert_eq!(kind_of(dry), "PATCH deployments (dry run)");
    assert_eq!(
        kind_of("POST /api/v1/namespaces/a/configmaps?"),
        "POST configmaps"
    );
    assert_eq!(
        kind_of("PATCH /apis/slipway.dev/v1alpha1/releasesources/a/status"),
        "PATCH releasesources/status"
    );
}
