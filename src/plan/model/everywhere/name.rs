//! What makes a state the same state: a text of all that has an influence, with the names in it given anew, and its hash.

use std::{
    collections::HashMap,
    fmt::Write as _,
    hash::{DefaultHasher, Hasher as _},
};

use super::{
    super::{
        super::{
            decision::{MigrationStep, Step},
            fixtures::id,
        },
        act::{seen, word},
        controller::Controller,
        rendered::template,
    },
    Node,
};
use crate::render::{Ownership, ours};

impl Node {
    /// Equal for states that are one.
    pub(super) fn name(&self) -> u128 {
        let mut names = Names::default();
        let world = names.anew(&self.world());
        let mut controllers = [0, 1].map(|which| {
            let text = controller(&self.run.controllers[which]);
            // By what the world knows alone first, so that their order does not depend on the order of naming.
            (names.clone().anew(&text), text)
        });
        controllers.sort();
        let texts = controllers.map(|(_, text)| names.anew(&text));
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u8(salt);
            hasher.write(world.as_bytes());
            hasher.write(texts[0].as_bytes());
            hasher.write_u8(0);
            hasher.write(texts[1].as_bytes());
            u128::from(hasher.finish())
        };
        (hash(1) << 64) | hash(2)
    }

    fn world(&self) -> String {
        let world = &self.run.world;
        let mut text = format!("{} {}\n", self.committed, self.hands);
        for kept in &world.revisions {
            let revision = &kept.revision;
            let state = (
                revision.outcome,
                revision.was_live,
                kept.record.as_ref().map(|r| r.1.state),
            );
            writeln!(
                text,
                "{} {} {} {state:?}",
                revision.number, kept.uid, revision.resource_version
            )
            .unwrap();
        }
        if let Some(seen) = &world.ledger {
            writeln!(text, "{}", seen.resource_version).unwrap();
            for (key, entry) in &seen.ledger.entries {
                writeln!(text, "{key} {entry:?}").unwrap();
            }
        }
        for job in &world.jobs {
            writeln!(
                text,
                "{} {} rv{} {} {:?} {:?} pod-{:?}",
                job.name,
                job.uid,
                job.version,
                job.generation,
                [
                    job.suspended,
                    job.start_time,
                    job.withdrawn,
                    job.on_node,
                    job.refused,
                    job.deleting
                ],
                job.finished,
                job.pod.unwrap_or(0),
            )
            .unwrap();
        }
        for pod in &world.pods {
            let ended = self.run.truth.ended.get(&pod.number);
            writeln!(
                text,
                "pod-{} {} {} {:?} {:?} {:?} {ended:?}",
                pod.number,
                pod.job,
                pod.started.is_some(),
                pod.exit_code,
                [pod.terminal, pod.deleting, pod.disrupted, pod.evicted],
                pod.stuck,
            )
            .unwrap();
        }
        for (name, lock) in &world.locks {
            let holder = lock.holder.as_ref().map(|(uid, _)| uid.as_str());
            writeln!(text, "{name} {holder:?} rv{}", lock.version).unwrap();
        }
        for (key, live) in &world.objects {
            let (spec, status) = (&live.value["spec"], &live.value["status"]);
            let taken_up = status["observedGeneration"] == live.value["metadata"]["generation"];
            writeln!(
                text,
                "{key} {} {} {:?} {} {taken_up} {} {}",
                live.uid,
                live.resource_version,
                template(&live.value),
                spec["replicas"],
                status["availableReplicas"],
                ours(&id(), key, &live.value) == Ownership::Ours,
            )
            .unwrap();
        }
        writeln!(text, "{:?} {:?}", self.run.truth.resumed, self.run.truth.starts()).unwrap();
        text
    }
}

/// What a controller has in hand: its requests, and what they take from what was seen.
fn controller(controller: &Controller) -> String {
    let (observed, steps) = controller.state();
    let mut text = String::new();
    let Some(observed) = observed else { return text };
    for revision in [&observed.current, &observed.live].into_iter().flatten() {
        write!(text, "{} {} ", revision.number, revision.resource_version).unwrap();
    }
    for live in observed.objects.values() {
        write!(text, "{} ", live.resource_version).unwrap();
    }
    for step in steps {
        match step {
            Step::Apply { gate, objects } => {
                write!(text, "apply {} ", gate.revision()).unwrap();
                applied(&mut text, objects);
            }
            Step::Prepare { objects } => {
                write!(text, "prepare ").unwrap();
                applied(&mut text, objects);
            }
            Step::Migrate(MigrationStep::Write { key, entry, over }) => {
                write!(text, "write {key} {entry:?} {over:?} ").unwrap();
            }
            Step::Migrate(step) => write!(text, "{step:?} ").unwrap(),
            Step::Conclude {
                revision, outcome, ..
            } => {
                let over = seen(observed, *revision);
                write!(text, "conclude {revision} {outcome:?} {over:?} ").unwrap();
            }
            other => write!(text, "{} ", word(other)).unwrap(),
        }
    }
    text
}

fn applied(text: &mut String, objects: &[(crate::render::Object, Option<String>)]) {
    for (object, over) in objects {
        write!(text, "{} {:?} {over:?} ", object.key, template(&object.value)).unwrap();
    }
}

/// Names in the order in which they come.
#[derive(Clone, Default)]
pub(super) struct Names(HashMap<String, usize>);

impl Names {
    /// The text with every UID, resourceVersion and pod named anew.
    pub(super) fn anew(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, length)) = ["rv", "uid-", "pod-"]
            .iter()
            .filter_map(|prefix| token(rest, prefix))
            .min()
        {
            let (before, from) = rest.split_at(at);
            let (name, after) = from.split_at(length);
            out.push_str(before);
            let count = self.0.len();
            let number = *self.0.entry(name.to_owned()).or_insert(count);
            write!(out, "#{number}").unwrap();
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

/// Where the first name with this prefix stands, and how long it is.
fn token(text: &str, prefix: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find(prefix)?;
        let digits = text[at + prefix.len()..]
            .bytes()
            .take_while(u8::is_ascii_digit)
            .count();
        let inside = text[..at].ends_with(|before: char| before.is_ascii_alphanumeric());
        if digits > 0 && !inside {
            return Some((at, prefix.len() + digits));
        }
        from = at + prefix.len();
    }
}
