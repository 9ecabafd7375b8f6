//! Registries that do not answer: a question to one takes a worker for seconds, and no release may keep the others waiting
//! by naming such a registry.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::image::ResolveError;

/// After the first silence; each further one doubles it.
const SHORTEST: Duration = Duration::from_secs(10);
/// What comes back is found to be back within this.
const LONGEST: Duration = Duration::from_secs(60);
/// Specs name registries, so there may be any number: who is forgotten is asked again.
const MOST: usize = 1000;

/// Registries that did not answer when they were asked last, by host.
#[derive(Default)]
pub struct Silences(Mutex<HashMap<String, Silence>>);

struct Silence {
    /// When it was asked last, or is being asked.
    asked: Instant,
    /// How often in a row it did not answer.
    times: u32,
    /// How that was.
    error: ResolveError,
}

impl Silence {
    fn is_over(&self) -> bool {
        let pause = SHORTEST.saturating_mul(1 << self.times.saturating_sub(1).min(8));
        self.asked.elapsed() >= pause.min(LONGEST)
    }
}

impl Silences {
    /// What is said of an image instead of asking for it; `None` where its registry is to be asked. Of all that wait for the
    /// same one, one finds out whether it answers again.
    pub fn of(&self, host: &str, reference: &str) -> Option<ResolveError> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silence = hosts.get_mut(host)?;
        if silence.is_over() {
            silence.asked = Instant::now();
            return None;
        }
        Some(about(&silence.error, reference))
    }

    /// It did not answer what was asked at `began`. Questions that were under way beside each other are one silence.
    pub fn note(&self, host: &str, error: &ResolveError, began: Instant) {
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
            error: about(error, ""),
        };
        hosts.insert(host.to_owned(), silence);
    }

    /// It answered, whatever it said.
    pub fn end(&self, host: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
    }
}

/// The same of another image: one namespace does not hear of those of another.
fn about(error: &ResolveError, reference: &str) -> ResolveError {
    let mut error = error.clone();
    if let ResolveError::Unreachable { reference: of, .. } | ResolveError::TimedOut { reference: of, .. } =
        &mut error
    {
        reference.clone_into(of);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(reference: &str) -> ResolveError {
        ResolveError::Unreachable {
            reference: reference.to_owned(),
            cause: "connection refused".to_owned(),
            answered: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_does_not_answer_is_asked_more_and_more_rarely_and_by_one() {
        let silences = Silences::default();
        assert_eq!(silences.of("a", "a/shop:1"), None, "nobody knows it");
        let began = Instant::now();
        silences.note("a", &silent("a/shop:1"), began);
        for pause in [10, 20, 40, 60, 60] {
            tokio::time::advance(Duration::from_secs(pause - 1)).await;
            assert_eq!(
                silences.of("a", "a/blog:2"),
                Some(silent("a/blog:2")),
                "before {pause} s"
            );
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(silences.of("a", "a/shop:1"), None, "one asks after {pause} s");
            assert!(
                silences.of("a", "a/blog:2").is_some(),
                "the others wait for what that one hears"
            );
            let began = Instant::now();
            tokio::time::advance(Duration::from_millis(1)).await;
            silences.note("a", &silent("a/shop:1"), began);
            silences.note("a", &silent("a/blog:2"), began);
        }
        assert_eq!(
            silences.of("b", "b/shop:1"),
            None,
            "another one is not held to account"
        );
        silences.end("a");
        assert_eq!(silences.of("a", "a/shop:1"), None);
    }
}
