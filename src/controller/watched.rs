//! Which `ReleaseSource`s there are, as a watch keeps them: a pass over a release asks the API server nothing for that.

use std::{collections::BTreeSet, mem, sync::Arc};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store},
        watcher::{self, Event, watcher},
    },
};

use crate::{
    api::ReleaseSource,
    cluster::{error::ClusterError, objects::DEADLINE},
    telemetry::Metrics,
};

/// A `ReleaseSource` as it is watched.
pub type SourceMeta = PartialObjectMeta<ReleaseSource>;

/// The sources that there are.
pub struct Sources(Store<SourceMeta>);

impl Sources {
    /// Whether there is none of this name. Until the first list has come nothing is known, and that is no absence.
    pub async fn lack(&self, name: &str) -> Result<bool, ClusterError> {
        match tokio::time::timeout(DEADLINE, self.0.wait_until_ready()).await {
            Ok(Ok(())) => Ok(self.0.get(&ObjectRef::new(name)).is_none()),
            _ => Err(ClusterError::TimedOut {
                attempted: "list the ReleaseSources".to_owned(),
            }),
        }
    }
}

/// The sources, and the names of those that come and go. The stream is what keeps the sources: it must be polled.
pub fn sources(client: Client, metrics: Arc<Metrics>) -> (Sources, impl Stream<Item = String> + Send) {
    let (store, writer) = reflector::store();
    let events = watcher(Api::<SourceMeta>::all(client), watcher::Config::default()).default_backoff();
    let mut turns = Turns::default();
    let names = reflector::reflector(writer, events).flat_map(move |event| {
        let turned = event.map_or_else(
            |error| {
                metrics.watch_failed("ReleaseSource");
                tracing::warn!(error = %error, "a watch of the release loop failed; it starts again");
                Vec::new()
            },
            |event| turns.of(event),
        );
        futures::stream::iter(turned)
    });
    (Sources(store), names)
}

/// What events of a watch make of the set of names.
#[derive(Default)]
struct Turns {
    /// `None` before the first list.
    known: Option<BTreeSet<String>>,
    /// Those that a list in progress has named so far.
    listed: BTreeSet<String>,
}

impl Turns {
    /// The names that came or went.
    fn of(&mut self, event: Event<SourceMeta>) -> Vec<String> {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(source) => {
                self.listed.insert(source.name_any());
            }
            Event::InitDone => {
                let now = mem::take(&mut self.listed);
                // Before the first list nobody was told that one is there or not.
                let before = self.known.replace(now.clone()).unwrap_or_else(|| now.clone());
                return before.symmetric_difference(&now).cloned().collect();
            }
            Event::Apply(source) => {
                let name = source.name_any();
                if self.known.get_or_insert_default().insert(name.clone()) {
                    return vec![name];
                }
            }
            Event::Delete(source) => {
                let name = source.name_any();
                if self.known.get_or_insert_default().remove(&name) {
                    return vec![name];
                }
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use kube::core::{ObjectMeta, PartialObjectMetaExt as _};

    use super::*;

    fn source(name: &str) -> SourceMeta {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        metadata.into_response_partial()
    }

    #[tokio::test]
    async fn before_the_first_list_no_source_is_gone_and_after_it_those_that_it_does_not_name() {
        let (store, mut writer) = reflector::store();
        let sources = Sources(store);
        assert!(sources.lack("a").now_or_never().is_none(), "it waits");
        for event in [Event::Init, Event::InitApply(source("a")), Event::InitDone] {
            writer.apply_watcher_event(&event);
        }
        assert!(!sources.lack("a").await.unwrap());
        assert!(sources.lack("b").await.unwrap());
        writer.apply_watcher_event(&Event::Delete(source("a")));
        assert!(sources.lack("a").await.unwrap());
    }

    #[test]
    fn releases_hear_of_sources_that_come_and_go_and_not_of_their_status() {
        let mut turns = Turns::default();
        let mut list = |names: &[&str]| {
            turns.of(Event::Init);
            for name in names {
                assert!(turns.of(Event::InitApply(source(name))).is_empty());
            }
            turns.of(Event::InitDone)
        };
        assert!(list(&["a", "b"]).is_empty(), "a start");
        assert!(list(&["a", "b"]).is_empty(), "a watch that was cut");
        assert_eq!(list(&["b", "c"]), ["a", "c"]);
        assert!(turns.of(Event::Apply(source("b"))).is_empty());
        assert_eq!(turns.of(Event::Delete(source("b"))), ["b"]);
        assert_eq!(turns.of(Event::Apply(source("b"))), ["b"]);
    }
}
