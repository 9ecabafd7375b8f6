//! Fights with other writers: an admission webhook or another controller that changes an object as soon as it is put
//! right. A fight that nobody can win is not fought by the second.
//!
//! Who fights does the same again. Somebody who changes this and then that, all within a long pass of a busy machine,
//! works, and is put right each time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::context::Remembered;
use crate::{
    plan::{Decision, Observed, Step, Wait},
    render::{ObjectKey, drift},
};

/// How often the same of one object may be put right in a pass before somebody must be changing it as it is written.
const AT_MOST: u32 = 3;

/// What is let be, since others change it as soon as it is put right.
#[derive(Debug, Clone)]
pub struct Truce {
    until: Instant,
    /// Of the `Release`: a commit ends every truce.
    generation: Option<i64>,
    /// Each object with what is wrong with it; if it is something else, that is put right.
    wrongs: BTreeSet<Wrong>,
}

/// An object and the paths of what is not as it should be. None where the object is gone.
type Wrong = (ObjectKey, Option<Vec<String>>);

/// What a look puts right, by object.
pub type Corrections = BTreeMap<ObjectKey, Option<Vec<String>>>;

/// How often a pass has put each of these right so far.
#[derive(Default)]
pub struct Written {
    times: BTreeMap<Wrong, u32>,
    /// Whether a truce began in this pass: the pause of several objects is that of one.
    fought: bool,
}

impl Written {
    /// What of `corrections`, which is what would be put right now, is let be, and for how long. Nothing else waits for that.
    pub fn truce(
        &mut self,
        memory: &mut Remembered,
        generation: Option<i64>,
        corrections: &Corrections,
        now: Instant,
    ) -> Option<(BTreeSet<ObjectKey>, Duration)> {
        let holds = |truce: &&Truce| truce.generation == generation && truce.until > now;
        let standing = memory.truce.as_ref().filter(holds);
        let mut wrongs = standing.map(|truce| truce.wrongs.clone()).unwrap_or_default();
        let known = wrongs.len();
        let now_wrong: BTreeSet<Wrong> = corrections.clone().into_iter().collect();
        for wrong in now_wrong.difference(&wrongs.clone()) {
            let count = self.times.entry(wrong.clone()).or_default();
            *count += 1;
            if *count > AT_MOST {
                wrongs.insert(wrong.clone());
            }
        }
        if wrongs.len() > known {
            if memory
                .truce
                .as_ref()
                .is_some_and(|truce| truce.generation != generation)
            {
                memory.fights = 0;
            }
            if !self.fought {
                memory.fights = memory.fights.saturating_add(1);
                self.fought = true;
            }
            let pause = Duration::from_secs(10 << memory.fights.min(5)).min(Duration::from_secs(300));
            let names: BTreeSet<String> = wrongs.iter().map(|(key, _)| key.to_string()).collect();
            tracing::warn!(objects = ?names, "others change what is put right");
            memory.truce = Some(Truce {
                until: now + pause,
                generation,
                wrongs,
            });
        }
        let truce = memory.truce.as_ref()?;
        let left = truce.until.saturating_duration_since(now);
        if corrections.is_empty() && left.is_zero() {
            (memory.fights, memory.truce) = (0, None);
            return None;
        }
        let let_be: BTreeSet<_> = truce
            .wrongs
            .intersection(&now_wrong)
            .map(|(key, _)| key.clone())
            .collect();
        (holds(&truce) && !let_be.is_empty()).then_some((let_be, left))
    }
}

/// Says in a decision that these are let be, and looks again when the truce is over.
pub fn tell(decision: &mut Decision, let_be: &BTreeSet<ObjectKey>, left: Duration) {
    let names: Vec<String> = let_be.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    let sentence = format!(
        "{names} is changed by somebody else as soon as it is put right, perhaps by an admission webhook; it is tried \
         again from time to time. kubectl get … --show-managed-fields tells who it is"
    );
    decision.report.message = format!("{}; {sentence}", decision.report.message);
    decision.report.details.push(("Drifted", sentence));
    decision.wait = match decision.wait {
        Wait::Again => Wait::Again,
        Wait::After(time) => Wait::After(time.min(left)),
        Wait::ForChange => Wait::After(left),
    };
}

/// What a decision puts right of what was observed.
pub fn corrections(observed: &Observed, decision: &Decision) -> Corrections {
    let objects = decision.steps.iter().filter_map(|step| match step {
        Step::Apply { objects, .. } => Some(objects),
        _ => None,
    });
    objects
        .flatten()
        .map(|(object, _)| {
            let live = observed.objects.get(&object.key);
            (
                object.key.clone(),
                live.map(|live| drift(&object.value, &live.value)),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Kind;

    const COMMIT: Option<i64> = Some(1);

    fn key(kind: Kind) -> ObjectKey {
        ObjectKey {
            kind,
            name: "shop".to_owned(),
        }
    }

    /// How many looks of a pass put these right before they are let be.
    fn looks(memory: &mut Remembered, generation: Option<i64>, kinds: &[Kind], now: Instant) -> usize {
        looks_at(memory, generation, kinds, now, |_| "spec.replicas".to_owned())
    }

    /// The same, of which each look finds another path wrong.
    fn looks_at(
        memory: &mut Remembered,
        generation: Option<i64>,
        kinds: &[Kind],
        now: Instant,
        path: impl Fn(usize) -> String,
    ) -> usize {
        let mut written = Written::default();
        (0..20)
            .take_while(|look| {
                let wrong = |kind: &Kind| (key(*kind), Some(vec![path(*look)]));
                let all = kinds.iter().map(wrong).collect();
                written.truce(memory, generation, &all, now).is_none()
            })
            .count()
    }

    #[test]
    fn what_others_change_as_it_is_written_is_let_be_longer_each_time_and_at_most_five_minutes() {
        let mut memory = Remembered::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            assert_eq!(looks(&mut memory, COMMIT, &[Kind::Service], now), 3);
            assert_eq!(
                looks(&mut memory, COMMIT, &[Kind::Service], now),
                0,
                "a truce holds"
            );
            let until = memory.truce.as_ref().unwrap().until;
            pauses.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(pauses, [20, 40, 80, 160, 300, 300]);
        assert_eq!(looks(&mut memory, COMMIT, &[], now), 20);
        assert_eq!(memory.fights, 0, "nothing was to be put right any more");
    }

    #[test]
    fn who_changes_this_and_then_that_does_not_fight() {
        let mut memory = Remembered::default();
        let now = Instant::now();
        let another = |look: usize| format!("spec.field{look}");
        assert_eq!(
            looks_at(&mut memory, COMMIT, &[Kind::Deployment], now, another),
            20
        );
        let two = |look: usize| format!("spec.field{}", look % 2);
        assert_eq!(looks_at(&mut memory, COMMIT, &[Kind::Deployment], now, two), 6);
    }

    #[test]
    fn a_fight_over_one_object_keeps_neither_another_object_nor_a_commit_waiting() {
        let mut memory = Remembered::default();
        let now = Instant::now();
        looks(&mut memory, COMMIT, &[Kind::Service], now);
        let wrong = Some(vec!["spec.replicas".to_owned()]);
        let both = [Kind::Deployment, Kind::Service].map(|kind| (key(kind), wrong.clone()));
        let mut written = Written::default();
        let mut let_be = |times| {
            let mut truce = None;
            for _ in 0..times {
                truce = written.truce(&mut memory, COMMIT, &both.clone().into(), now);
            }
            truce.map(|(let_be, left)| (let_be.len(), left.as_secs()))
        };
        assert_eq!(let_be(3), Some((1, 20)), "the Deployment is put right meanwhile");
        assert_eq!(let_be(1), Some((2, 40)), "until others fight over it, too");
        let mut memory = Remembered::default();
        looks(&mut memory, COMMIT, &[Kind::Service], now);
        assert_eq!(looks(&mut memory, Some(2), &[Kind::Service], now), 3);
    }
}
