//! Registries and git servers that do not answer: a question to one takes a worker for seconds, and no release may keep the
//! others waiting by naming such a host.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// After the first silence; each further one doubles it.
const SHORTEST: Duration = Duration::from_secs(10);
/// What comes back is found to be back within this.
const LONGEST: Duration = Duration::from_secs(60);
/// Specs name registries, so there may be any number: who is forgotten is asked again.
const MOST: usize = 1000;

/// Hosts that did not answer when they were asked last, with how that was.
pub struct Silences<E>(Mutex<HashMap<String, Silence<E>>>);

impl<E> Default for Silences<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

struct Silence<E> {
    /// When it was asked last, or is being asked.
    asked: Instant,
    /// How often in a row it did not answer.
    times: u32,
    /// How that was.
    error: E,
}

impl<E> Silence<E> {
    fn is_over(&self) -> bool {
        let pause = SHORTEST.saturating_mul(1 << self.times.saturating_sub(1).min(8));
        self.asked.elapsed() >= pause.min(LONGEST)
    }
}

impl<E: Clone> Silences<E> {
    /// What is said instead of asking; `None` where the host is to be asked. Of all that wait for the same one, one finds out
    /// whether it answers again.
    pub fn of(&self, host: &str) -> Option<E> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silence = hosts.get_mut(host)?;
        if silence.is_over() {
            silence.asked = Instant::now();
            return None;
        }
        Some(silence.error.clone())
    }

    /// It did not answer what was asked at `began`. Questions that were under way beside each other are one silence.
    pub fn note(&self, host: &str, error: &E, began: Instant) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MOST && !hosts.contains_key(host) {
            hosts.clear();
        }
        let times = match hosts.get(host) {
            Some(silence) if silence.asked > began => return,
            silence => silence.map_or(0, |silence| silence.times),
        };
        let silence = Silence {
            asked: Instant::now(),
            times: times.saturating_add(1),
            error: error.clone(),
        };
        hosts.insert(host.to_owned(), silence);
    }

    /// It answered, whatever it said.
    pub fn end(&self, host: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: &str = "connection refused";

    #[tokio::test(start_paused = true)]
    async fn a_host_that_does_not_answer_is_asked_more_and_more_rarely_and_by_one() {
        let silences = Silences::default();
        assert_eq!(silences.of("a"), None, "nobody knows it");
        let began = Instant::now();
        silences.note("a", &SILENT, began);
        for pause in [10, 20, 40, 60, 60] {
            tokio::time::advance(Duration::from_secs(pause - 1)).await;
            assert_eq!(silences.of("a"), Some(SILENT), "before {pause} s");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(silences.of("a"), None, "one asks after {pause} s");
            assert!(
                silences.of("a").is_some(),
                "the others wait for what that one hears"
            );
            let began = Instant::now();
            tokio::time::advance(Duration::from_millis(1)).await;
            silences.note("a", &SILENT, began);
            silences.note("a", &SILENT, began);
        }
        assert_eq!(silences.of("b"), None, "another one is not held to account");
        silences.end("a");
        assert_eq!(silences.of("a"), None);
    }
}
