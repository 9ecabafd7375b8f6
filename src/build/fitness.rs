//! Whether the builder can run on the nodes, and what people are told of it.

/// What is known of the builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fitness {
    /// It is being tried.
    Checking,
    /// It runs.
    Fit(Processes),
    /// It cannot run; why, and what to do.
    Unfit(String),
}

/// How many processes a build may have on the node where the builder was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processes {
    /// Nobody counted them.
    Unknown,
    /// About so many, and one more is refused.
    Bounded(u32),
    /// Nothing bounds them, as far as was tried.
    Unbounded,
}

/// The condition `BuilderReady`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whether it is ready; `None` while that is not known.
    pub ready: Option<bool>,
    /// One word.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}

impl Fitness {
    /// As a condition.
    #[must_use]
    pub fn told(&self) -> Told {
        let (ready, reason, message) = match self {
            Self::Checking => (
                None,
                "BuilderTried",
                "whether the builder can run on the nodes is being tried".to_owned(),
            ),
            Self::Fit(Processes::Unknown) => (Some(true), "BuilderRuns", "the builder runs".to_owned()),
            Self::Fit(Processes::Bounded(count)) => (
                Some(true),
                "BuilderRuns",
                format!("the builder runs; a build may have about {count} processes"),
            ),
            Self::Fit(Processes::Unbounded) => (
                Some(true),
                "ProcessesUnbounded",
                "the builder runs, but nothing bounds how many processes a build may have, so one that forks without end takes \
                 its node with it: set podPidsLimit in the configuration of the kubelets, such as to 4096"
                    .to_owned(),
            ),
            Self::Unfit(why) => (
                Some(false),
                "BuilderCannotRun",
                format!("the builder cannot run here: {why}"),
            ),
        };
        Told {
            ready,
            reason,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_whose_processes_nothing_bounds_is_ready_and_says_what_is_missing() {
        let told = Fitness::Fit(Processes::Unbounded).told();
        assert_eq!((told.ready, told.reason), (Some(true), "ProcessesUnbounded"));
        assert!(told.message.contains("podPidsLimit"), "{}", told.message);
        let bounded = Fitness::Fit(Processes::Bounded(2041)).told();
        assert!(bounded.message.contains("2041"), "{}", bounded.message);
    }

    #[test]
    fn what_it_lacks_is_told_and_nothing_is_said_before_it_was_tried() {
        let unfit = Fitness::Unfit("user namespaces are off: set user.max_user_namespaces".to_owned()).told();
        assert_eq!(unfit.ready, Some(false));
        assert!(unfit.message.ends_with("set user.max_user_namespaces"));
        assert_eq!(Fitness::Checking.told().ready, None);
    }
}
