//! How long a fetch may take, how many of them one host may hold, and when a source that failed is tried again: servers
//! that hang or drip cost the sources of other servers nothing. Pure, but for the count of what is under way.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::source::FetchLimits;

/// One fetch, whatever the server does.
pub const FETCH: FetchLimits = FetchLimits {
    wall_clock: Duration::from_secs(25),
    bytes: 256 << 20,
    shallow: false,
};

/// A fetch that may bring a whole history; a server that falls silent ends it earlier.
const FIRST: FetchLimits = FetchLimits {
    wall_clock: Duration::from_secs(300),
    ..FETCH
};

/// How long after a long fetch came to its deadline there is none again: time for the others, and yet a repository that
/// needed a faster hour gets it.
const LONG_AGAIN: Duration = Duration::from_secs(15 * 60);

/// The longest pause after failures, unless the interval of the source is longer: so late a server that is back is noticed.
const LONGEST: Duration = Duration::from_secs(120);

/// Fetches from one host at a time. Eight hosts must hang until no place is left for another one; see `PLACES`.
const OF_HOST: usize = 4;

/// What the last fetches of a source were like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience {
    /// Failures in a row.
    failures: u32,
    /// When a long fetch last came to its deadline.
    used_up: Option<Instant>,
    /// Whether an ordinary one did since the last success: a mirror that was damaged begins anew, or very much is new.
    too_short: bool,
}

impl Patience {
    /// What the next fetch may cost. `read` tells whether something was read from there since the process started: then
    /// the mirror has nearly all of it.
    pub fn limits(&self, read: bool, now: Instant) -> FetchLimits {
        let rests = self
            .used_up
            .is_some_and(|at| now.saturating_duration_since(at) < LONG_AGAIN);
        if rests || (read && !self.too_short) {
            FETCH
        } else {
            FIRST
        }
    }

    /// A fetch ended well.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A fetch failed. Returns the least pause until the next one: as long as this one took, and twice as long after each
    /// further failure. A refusal that comes at once costs nothing, and is asked about at the interval of the source.
    pub fn failed(&mut self, limits: FetchLimits, took: Duration, now: Instant) -> Duration {
        if limits == FIRST && took >= FIRST.wall_clock {
            self.used_up = Some(now);
        }
        self.too_short |= limits == FETCH && took >= FETCH.wall_clock;
        let doubled = took.saturating_mul(1 << self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        doubled.min(LONGEST)
    }
}

/// The repositories that are being asked, by host.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Arc<Mutex<HashMap<String, BTreeSet<String>>>>);

/// The right to fetch from a host, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    hosts: Hosts,
    host: String,
    repository: String,
}

impl Hosts {
    /// `None` where the host has as many fetches as it may have, or this repository has one: two of them would wait for each
    /// other. Nobody waits here: what waits would hold a place too.
    pub fn turn(&self, host: &str, repository: &str) -> Option<Turn> {
        let host = host.to_ascii_lowercase();
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = hosts.entry(host.clone()).or_default();
        if under_way.len() >= OF_HOST || !under_way.insert(repository.to_owned()) {
            return None;
        }
        Some(Turn {
            hosts: self.clone(),
            host,
            repository: repository.to_owned(),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut hosts = self.hosts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = hosts.get_mut(&self.host) {
            under_way.remove(&self.repository);
            if under_way.is_empty() {
                hosts.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_long_fetch_that_came_to_its_deadline_is_not_repeated_for_a_while_and_then_it_is() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        assert_eq!(patience.limits(false, start), FIRST);
        patience.failed(FIRST, seconds(300), start);
        let after = |minutes: u64| start + seconds(minutes * 60);
        let limits = [0, 14, 15].map(|minutes| patience.limits(false, after(minutes)));
        assert_eq!(limits, [FETCH, FETCH, FIRST]);
        patience.failed(FETCH, seconds(25), after(14));
        assert_eq!(
            patience.limits(false, after(15)),
            FIRST,
            "ordinary ones do not count"
        );
    }

    #[test]
    fn a_repository_that_an_ordinary_fetch_was_too_short_for_gets_a_long_one() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        assert_eq!(patience.limits(true, now), FETCH);
        patience.failed(FETCH, seconds(25), now);
        assert_eq!(patience.limits(true, now), FIRST);
        patience.succeeded();
        assert_eq!(patience.limits(true, now), FETCH);
    }

    #[test]
    fn a_server_that_was_down_or_silent_takes_no_long_fetch_from_a_large_repository() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        for took in [0, 10, 30] {
            patience.failed(FIRST, seconds(took), now);
            assert_eq!(patience.limits(false, now), FIRST, "after {took} s");
        }
    }

    #[test]
    fn what_was_read_once_is_fetched_within_the_ordinary_deadline() {
        let now = Instant::now();
        assert_eq!(Patience::default().limits(true, now), FETCH);
    }

    #[test]
    fn pauses_grow_with_what_the_failures_cost_and_end_with_a_success() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        let pauses = [25; 4].map(|took| patience.failed(FETCH, seconds(took), now));
        assert_eq!(pauses, [25, 50, 100, 120].map(seconds));
        assert_eq!(patience.failed(FETCH, Duration::ZERO, now), Duration::ZERO);
        patience.succeeded();
        assert_eq!(patience.failed(FETCH, seconds(25), now), seconds(25));
    }

    #[test]
    fn one_host_holds_a_few_fetches_and_keeps_no_other_from_its_own() {
        let hosts = Hosts::default();
        let turn = |host: &str, number: usize| hosts.turn(host, &format!("{number}.git"));
        let mut turns: Vec<Turn> = (0..OF_HOST)
            .filter_map(|number| turn("git.example", number))
            .collect();
        assert_eq!(turns.len(), OF_HOST);
        assert!(turn("Git.Example", OF_HOST).is_none());
        assert!(turn("other.example", 0).is_some());
        turns.pop();
        assert!(turn("git.example", 0).is_none(), "it is being asked already");
        assert!(turn("git.example", OF_HOST).is_some());
        turns.clear();
        assert!(hosts.0.lock().unwrap().is_empty(), "nothing is kept of a host");
    }
}
