//! The time of day in these tests: it stands still but for what somebody waits for.

use std::cell::Cell;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Noon of a day in March.
const NOON: Timestamp = Timestamp::constant(1_772_366_400, 0);

thread_local! {
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Noon, and what has passed since [`start`].
pub fn now() -> Timestamp {
    let start = START.get().unwrap_or_else(start);
    let passed = SignedDuration::try_from(start.elapsed()).unwrap();
    NOON + passed
}

/// It is noon.
pub fn start() -> Instant {
    let start = Instant::now();
    START.set(Some(start));
    start
}

/// As objects hold it.
pub fn seconds() -> String {
    now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
