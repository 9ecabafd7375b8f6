//! How builds end, of what a watch tells of their Jobs: each once, as far as it was seen before its end.

use std::{collections::HashSet, mem, time::Duration};

use k8s_openapi::api::batch::v1::Job;
use kube::runtime::watcher::Event;

use super::{elapsed, ended};

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Its image is in the registry; what its Job took from its start, where that is known.
    Pushed(Option<Duration>),
    /// Its Job failed.
    Failed,
    /// Its Job was deleted before it had ended: nobody wants it any more.
    Cancelled,
}

impl End {
    /// One static word, for a label.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Pushed(_) => "Pushed",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }

    /// How long it took; `None` of what did not get there.
    pub(super) const fn took(self) -> Option<Duration> {
        match self {
            Self::Pushed(took) => took,
            Self::Failed | Self::Cancelled => None,
        }
    }
}

/// The UIDs of the Jobs that run. One that has ended when it is first seen was counted by whoever saw it run.
#[derive(Default)]
pub(super) struct Ends {
    run: HashSet<String>,
    /// Those that ran before the list that is coming.
    before: HashSet<String>,
}

impl Ends {
    /// What ended by this event.
    pub(super) fn of(&mut self, event: &Event<Job>) -> Vec<End> {
        match event {
            Event::Init => {
                self.before.extend(mem::take(&mut self.run));
                Vec::new()
            }
            Event::InitApply(job) | Event::Apply(job) => self.seen(job).into_iter().collect(),
            Event::Delete(job) => self.gone(job).into_iter().collect(),
            // What the new list lacks was deleted meanwhile.
            Event::InitDone => self.before.drain().map(|_| End::Cancelled).collect(),
        }
    }

    fn seen(&mut self, job: &Job) -> Option<End> {
        let uid = job.metadata.uid.as_deref()?;
        let ran = self.before.remove(uid) | self.run.remove(uid);
        let Some((succeeded, at)) = ended(job) else {
            self.run.insert(uid.to_owned());
            return None;
        };
        ran.then(|| {
            let began = job.status.as_ref().and_then(|status| status.start_time.as_ref());
            if succeeded {
                End::Pushed(began.zip(at).map(|(began, at)| elapsed(began.0, at)))
            } else {
                End::Failed
            }
        })
    }

    fn gone(&mut self, job: &Job) -> Option<End> {
        // With its last words it may have ended.
        self.seen(job).or_else(|| {
            let uid = job.metadata.uid.as_deref()?;
            self.run.remove(uid).then_some(End::Cancelled)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(uid: &str, condition: Option<&str>) -> Job {
        let conditions: Vec<_> = condition
            .iter()
            .map(|type_| {
                serde_json::json!({ "type": type_, "status": "True", "lastTransitionTime": "2026-01-01T00:01:30Z" })
            })
            .collect();
        let job = serde_json::json!({
            "metadata": { "name": uid, "uid": uid },
            "status": { "startTime": "2026-01-01T00:00:00Z", "conditions": conditions },
        });
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn a_build_that_was_seen_to_run_ends_once() {
        let mut ends = Ends::default();
        let took = End::Pushed(Some(Duration::from_secs(90)));
        for (event, end) in vec![
            (Event::Init, None),
            (Event::InitApply(job("ended-before", Some("Complete"))), None),
            (Event::InitApply(job("a", None)), None),
            (Event::InitDone, None),
            (Event::Apply(job("b", None)), None),
            (Event::Apply(job("c", None)), None),
            (Event::Apply(job("a", Some("Complete"))), Some(took)),
            (Event::Apply(job("a", Some("Complete"))), None),
            (Event::Delete(job("a", Some("Complete"))), None),
            (Event::Apply(job("b", Some("Failed"))), Some(End::Failed)),
            (Event::Delete(job("c", None)), Some(End::Cancelled)),
            (Event::Apply(job("d", None)), None),
            (Event::Delete(job("d", Some("Failed"))), Some(End::Failed)),
        ] {
            assert_eq!(ends.of(&event), end.into_iter().collect::<Vec<_>>(), "{event:?}");
        }
    }

    #[test]
    fn what_ended_while_the_watch_was_interrupted_ends_when_it_is_back() {
        let mut ends = Ends::default();
        for uid in ["a", "b", "c"] {
            ends.of(&Event::Apply(job(uid, None)));
        }
        // The first list may break off.
        for event in [Event::Init, Event::InitApply(job("c", None)), Event::Init] {
            assert_eq!(ends.of(&event), [], "{event:?}");
        }
        assert_eq!(
            ends.of(&Event::InitApply(job("a", Some("Failed")))),
            [End::Failed]
        );
        assert_eq!(ends.of(&Event::InitApply(job("c", None))), []);
        assert_eq!(ends.of(&Event::InitDone), [End::Cancelled], "b is gone");
        assert_eq!(ends.of(&Event::Delete(job("c", None))), [End::Cancelled]);
    }
}
