//! How long a registry is waited for, and how often it is asked.

use std::time::Duration;

use super::answer::Failure;

/// How long a registry is waited for.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For one answer, token server and all, to what is not an upload.
    pub deadline: Duration,
    /// Of an upload: until it takes the next piece.
    pub idle: Duration,
    /// Of an upload: from the last piece on. Registries compare and copy what may be gigabytes before they answer.
    pub answer: Duration,
    /// Between two attempts.
    pub pauses: [Duration; 4],
    /// What is asked for by `Retry-After` and is longer than this is for whoever wants the push to wait.
    pub longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            answer: Duration::from_secs(300),
            // Forty seconds in all: a registry of one process is restarted within them.
            pauses: [1, 3, 9, 27].map(Duration::from_secs),
            longest: Duration::from_secs(120),
        }
    }
}

impl Patience {
    /// How long to wait before the next attempt; none where there is to be none.
    pub fn pause(&self, attempts: usize, failure: &Failure) -> Option<Duration> {
        let Failure::Passing { wait, .. } = failure else {
            return None;
        };
        let pause = *self.pauses.get(attempts.checked_sub(1)?)?;
        let wait = wait.unwrap_or_default();
        (wait <= self.longest).then(|| pause.max(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_and_are_no_shorter_than_the_registry_says() {
        let patience = Patience::default();
        let pause = |attempts, wait: Option<u64>| {
            let wait = wait.map(Duration::from_secs);
            let failure = Failure::Passing {
                cause: String::new(),
                wait,
            };
            patience.pause(attempts, &failure).map(|pause| pause.as_secs())
        };
        let all: Vec<_> = (1..=5).map(|attempts| pause(attempts, None)).collect();
        assert_eq!(all, [Some(1), Some(3), Some(9), Some(27), None]);
        assert_eq!(pause(2, Some(7)), Some(7));
        assert_eq!(pause(4, Some(7)), Some(27));
        assert_eq!(pause(1, Some(120)), Some(120));
        assert_eq!(pause(1, Some(121)), None);
        assert_eq!(pause(5, Some(1)), None);
        assert_eq!(patience.pause(1, &Failure::Lasting(String::new())), None);
        assert_eq!(patience.pause(1, &Failure::Refused(None)), None);
    }
}
