//! How a build failed, as its Job says it: what its pod knows of that goes with the pod.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use crate::{
    api::meta,
    plan::observed::{Again, BuildState},
};

/// The value of the annotation [`meta::FAILED`], as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Booked {
    sentence: String,
    #[serde(default)]
    tail: String,
    #[serde(default)]
    again: When,
}

/// As [`Again`], by words that stay as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum When {
    Never,
    MoreMemory,
    MoreTime,
    #[default]
    #[serde(other)]
    Later,
}

impl Booked {
    /// Of a failure.
    #[must_use]
    pub fn new(sentence: &str, tail: &str, again: Again) -> Self {
        Self {
            sentence: sentence.to_owned(),
            tail: tail.to_owned(),
            again: match again {
                Again::No => When::Never,
                Again::AfterPause => When::Later,
                Again::WithMoreMemory => When::MoreMemory,
                Again::WithMoreTime => When::MoreTime,
            },
        }
    }

    /// What a Job says; `None` where it says nothing that can be understood.
    #[must_use]
    pub fn of(job: &Job) -> Option<Self> {
        serde_json::from_str(job.annotations().get(meta::FAILED)?).ok()
    }

    /// As an annotation.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The state that it was.
    #[must_use]
    pub fn state(self, over_for: Duration) -> BuildState {
        BuildState::Failed {
            sentence: self.sentence,
            tail: self.tail,
            again: match self.again {
                When::Never => Again::No,
                When::Later => Again::AfterPause,
                When::MoreMemory => Again::WithMoreMemory,
                When::MoreTime => Again::WithMoreTime,
            },
            over_for,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_booked_is_read_as_it_was() {
        for again in [
            Again::No,
            Again::AfterPause,
            Again::WithMoreMemory,
            Again::WithMoreTime,
        ] {
            let text = Booked::new("the step failed", "line 1\nline \"2\"", again).text();
            let mut job = Job::default();
            job.annotations_mut().insert(meta::FAILED.to_owned(), text);
            let state = Booked::of(&job).unwrap().state(Duration::from_secs(3));
            let BuildState::Failed {
                sentence,
                tail,
                again: read,
                over_for,
            } = state
            else {
                panic!("{state:?}")
            };
            assert_eq!(
                (sentence.as_str(), tail.as_str()),
                ("the step failed", "line 1\nline \"2\"")
            );
            assert_eq!((read, over_for), (again, Duration::from_secs(3)));
        }
        let mut job = Job::default();
        assert_eq!(Booked::of(&job), None);
        job.annotations_mut()
            .insert(meta::FAILED.to_owned(), "what".to_owned());
        assert_eq!(Booked::of(&job), None, "whatever people write there");
    }
}
