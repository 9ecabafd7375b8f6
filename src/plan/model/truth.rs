//! What really happened, which no controller can see, and the invariants over it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    super::ledger::{Entry, EntryState, MigrationKey},
    world::{Pod, World, template},
};
use crate::{
    names::Uid,
    render::{Kind, Object},
};

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its name in the list of invariants.
    pub name: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

fn broken<T>(name: &'static str, what: String) -> Result<T, Violation> {
    Err(Violation { name, what })
}

/// The run of a pod.
#[derive(Clone)]
pub struct Run {
    /// The program ran to its end and did its work.
    pub done: bool,
    /// The database that the container was started with.
    pub database: &'static str,
    /// The node was started anew while it ran.
    pub rebooted: bool,
}

#[derive(Clone, Default)]
pub struct Truth {
    /// Container starts per key.
    pub starts: BTreeMap<MigrationKey, u32>,
    /// How many a human allowed beyond the first.
    pub tokens: BTreeMap<MigrationKey, u32>,
    /// The highest `attempt` that was committed.
    pub attempt: u64,
    /// Per pod what became of it.
    pub runs: BTreeMap<usize, Run>,
    /// The key that each Job was made for, and whether it was ever resumed.
    pub jobs: BTreeMap<Uid, (MigrationKey, bool)>,
    /// The pods of each Job.
    pub pods: BTreeMap<Uid, Vec<usize>>,
    /// The database of each key.
    pub databases: BTreeMap<MigrationKey, String>,
    /// Jobs that ran on another database than that of their key, which came back before anybody looked.
    pub returned: BTreeSet<Uid>,
    /// Keys with a commit that accepts them.
    pub accepted: BTreeSet<MigrationKey>,
    /// Successes of runs whose node was started anew before anybody had seen them run.
    pub unseen_reboots: u32,
    /// Successes on a database that came and went unseen.
    pub unseen_rotations: u32,
}

impl Truth {
    /// S2: a container of a key starts once, and again only where a person said so.
    pub fn container_starts(&mut self, pod: &Pod, database: &'static str) -> Result<(), Violation> {
        self.runs.insert(
            pod.number,
            Run {
                done: false,
                database,
                rebooted: false,
            },
        );
        self.pods.entry(pod.job.clone()).or_default().push(pod.number);
        let starts = self.starts.entry(pod.key.clone()).or_default();
        *starts += 1;
        let allowed = 1 + self.tokens.get(&pod.key).copied().unwrap_or(0);
        if *starts > allowed {
            return broken(
                "S2",
                format!("key {} started {starts} times, {allowed} allowed", pod.key),
            );
        }
        Ok(())
    }

    /// The reference names this database from now on.
    pub fn database_named(&mut self, database: &str) {
        for (uid, pods) in &self.pods {
            let of_key = self.jobs.get(uid).and_then(|(key, _)| self.databases.get(key));
            let other = pods
                .iter()
                .any(|pod| self.runs.get(pod).is_some_and(|run| run.database != database));
            if of_key.is_some_and(|of_key| of_key == database) && other {
                self.returned.insert(uid.clone());
            }
        }
    }

    /// S1: at most one migration of the release may have a running container.
    pub fn one_live_migration(world: &World) -> Result<(), Violation> {
        let resumed = world
            .jobs
            .iter()
            .filter(|job| !job.suspended && job.finished.is_none());
        let running = world.pods.iter().filter(|pod| !pod.terminal);
        let live: BTreeSet<&Uid> = resumed
            .map(|job| &job.uid)
            .chain(running.map(|pod| &pod.job))
            .collect();
        if live.len() > 1 {
            return broken("S1", format!("{live:?} are live at once"));
        }
        Ok(())
    }

    /// A Job may only be resumed with its claim in the ledger, and with the lock.
    pub fn resumed(&mut self, world: &World, uid: &Uid) -> Result<(), Violation> {
        if let Some((_, resumed)) = self.jobs.get_mut(uid) {
            *resumed = true;
        }
        let Some(seen) = &world.ledger else {
            return broken("claim", format!("Job {uid} was resumed without a ledger"));
        };
        let Some(entry) = seen.ledger.entries.values().find(|entry| entry.uid == *uid) else {
            return broken("claim", format!("Job {uid} was resumed without a claim"));
        };
        let holder = world.locks.get(&entry.lock).and_then(|lock| lock.holder.as_ref());
        if holder.is_none_or(|(holder, _)| holder != uid) {
            return broken(
                "lock",
                format!("Job {uid} was resumed while the lock is held by {holder:?}"),
            );
        }
        Ok(())
    }

    /// S3: the template of a revision is written only when the ledger, as it is now, has its migration.
    pub fn deployment_written(world: &World, object: &Object) -> Result<(), Violation> {
        if object.key.kind != Kind::Deployment {
            return Ok(());
        }
        let number = template(&object.value).unwrap_or(0);
        let Some((revision, _)) = world.revisions.iter().find(|(r, _)| r.number.0 == number) else {
            return broken(
                "S3",
                format!("the Deployment was written for v{number}, which does not exist"),
            );
        };
        let Some(migration) = &revision.migration else {
            return Ok(());
        };
        match world.entry(&migration.key).map(|entry| entry.state) {
            Some(EntryState::Succeeded | EntryState::Accepted) => Ok(()),
            state => broken(
                "S3",
                format!("the Deployment was written for v{number}, whose migration is {state:?}"),
            ),
        }
    }

    /// S2, S4, S6: what may be written over what, and whether it is true. `before` is the entry that it replaces.
    pub fn booked(
        &mut self,
        key: &MigrationKey,
        before: Option<&Entry>,
        entry: &Entry,
    ) -> Result<(), Violation> {
        use EntryState::{Accepted, Claimed, Failed, Succeeded, Unknown};
        let same = before.is_none_or(|before| before.uid == entry.uid);
        let legal = match (before.map(|before| before.state), entry.state) {
            (None, Claimed | Unknown) => true,
            (Some(Claimed), Claimed | Succeeded | Failed | Unknown) => same,
            (Some(Failed), Claimed | Unknown) => {
                let old = before.map_or(0, |before| before.attempt);
                *self.tokens.entry(key.clone()).or_default() += 1;
                !same && entry.attempt > old && entry.attempt <= self.attempt
            }
            (Some(Unknown), Accepted) => self.accepted.contains(key),
            _ => false,
        };
        if !legal {
            let before = before.map(|before| (before.state, before.uid.clone()));
            let what = format!(
                "the ledger's {before:?} of {key} became {:?} {}",
                entry.state, entry.uid
            );
            return broken("ledger", what);
        }
        if entry.state != Succeeded {
            return Ok(());
        }
        match self.jobs.get(&entry.uid) {
            Some((of, true)) if of == key => {}
            other => {
                return broken(
                    "S4",
                    format!("the success of {key} is that of Job {}: {other:?}", entry.uid),
                );
            }
        }
        let pods = self.pods.get(&entry.uid).map_or(&[][..], Vec::as_slice);
        let Some(run) = pods.last().and_then(|pod| self.runs.get(pod)) else {
            return broken(
                "S6",
                format!("{key} was booked as a success, and no container ever started"),
            );
        };
        if !run.done {
            if run.rebooted && entry.started.is_none() {
                // Nobody had seen where it runs: counted, and named as a limit.
                self.unseen_reboots += 1;
                return Ok(());
            }
            return broken(
                "S6",
                format!("{key} was booked as a success, and its program never got to its end"),
            );
        }
        if self
            .databases
            .get(key)
            .is_some_and(|database| database != run.database)
        {
            if self.returned.contains(&entry.uid) {
                self.unseen_rotations += 1;
                return Ok(());
            }
            return broken(
                "S4",
                format!("the success of {key} was won on the database {}", run.database),
            );
        }
        Ok(())
    }
}
