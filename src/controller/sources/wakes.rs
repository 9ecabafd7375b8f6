//! Which changes of `Release` objects wake their sources: what a person or another program may have done, and not each
//! status that the release loop writes.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use kube::{ResourceExt as _, runtime::watcher::Event};

use super::Meta;
use crate::api::meta;

type Key = (String, String);

/// What is known of each release: its source, and a hash of what wakes it.
#[derive(Default)]
pub struct Wakes {
    seen: HashMap<Key, (String, u64)>,
    /// Those that a list in progress has not named so far.
    unlisted: HashSet<Key>,
}

impl Wakes {
    /// The sources to wake.
    pub fn of(&mut self, event: Event<Meta>) -> Vec<String> {
        match event {
            Event::Init => {
                self.unlisted = self.seen.keys().cloned().collect();
                Vec::new()
            }
            Event::InitApply(release) => {
                self.unlisted.remove(&key(&release));
                self.applied(&release)
            }
            Event::Apply(release) => self.applied(&release),
            Event::Delete(release) => self.gone(&key(&release)),
            Event::InitDone => {
                let gone = std::mem::take(&mut self.unlisted);
                gone.iter().flat_map(|key| self.gone(key)).collect()
            }
        }
    }

    fn applied(&mut self, release: &Meta) -> Vec<String> {
        let Some(source) = release.labels().get(meta::SOURCE) else {
            return self.gone(&key(release));
        };
        let now = (source.clone(), print(release));
        match self.seen.insert(key(release), now.clone()) {
            Some(before) if before == now => Vec::new(),
            Some((before, _)) if before != now.0 => vec![before, now.0],
            _ => vec![now.0],
        }
    }

    fn gone(&mut self, key: &Key) -> Vec<String> {
        let gone = self.seen.remove(key);
        gone.map(|(source, _)| source).into_iter().collect()
    }
}

fn key(release: &Meta) -> Key {
    (release.namespace().unwrap_or_default(), release.name_any())
}

fn print(release: &Meta) -> u64 {
    let mut hasher = DefaultHasher::new();
    let metadata = &release.metadata;
    (&metadata.uid, metadata.generation).hash(&mut hasher);
    (&metadata.labels, &metadata.annotations).hash(&mut hasher);
    metadata.deletion_timestamp.is_some().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectMeta, PartialObjectMetaExt as _};

    use super::*;

    fn release(name: &str, source: &str, generation: i64) -> Meta {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("shop".to_owned()),
            generation: Some(generation),
            labels: Some([(meta::SOURCE.to_owned(), source.to_owned())].into()),
            ..ObjectMeta::default()
        };
        metadata.into_response_partial()
    }

    #[test]
    fn a_spec_a_label_or_an_end_wakes_the_source_and_a_status_does_not() {
        let mut wakes = Wakes::default();
        assert_eq!(wakes.of(Event::Apply(release("a", "x", 1))), ["x"]);
        let mut status = release("a", "x", 1);
        status.metadata.resource_version = Some("9".to_owned());
        assert!(wakes.of(Event::Apply(status)).is_empty());
        assert_eq!(wakes.of(Event::Apply(release("a", "x", 2))), ["x"]);
        assert_eq!(wakes.of(Event::Apply(release("a", "y", 2))), ["x", "y"]);
        assert_eq!(wakes.of(Event::Delete(release("a", "y", 2))), ["y"]);
        assert_eq!(wakes.of(Event::Apply(release("a", "y", 2))), ["y"]);
    }

    #[test]
    fn a_new_list_wakes_for_what_changed_or_vanished_while_the_watch_was_cut() {
        let mut wakes = Wakes::default();
        for (name, source) in [("a", "x"), ("b", "y"), ("c", "z")] {
            wakes.of(Event::Apply(release(name, source, 1)));
        }
        assert!(wakes.of(Event::Init).is_empty());
        assert!(wakes.of(Event::InitApply(release("a", "x", 1))).is_empty());
        assert_eq!(wakes.of(Event::InitApply(release("b", "y", 2))), ["y"]);
        assert_eq!(wakes.of(Event::InitDone), ["z"]);
    }
}
