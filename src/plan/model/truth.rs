//! What really happened, which no controller can see: what programs did, and on which database.

use std::collections::{BTreeMap, BTreeSet};

use super::{super::ledger::MigrationKey, recorder::pod_name, world::Pod};
use crate::{names::Uid, trace::event::Fact};

/// What a sequence breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The name of the invariant that broke first.
    pub name: String,
    /// The names of all that broke.
    pub names: std::collections::BTreeSet<String>,
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

/// The run of a pod.
#[derive(Debug, Clone)]
struct Run {
    job: Uid,
    key: MigrationKey,
    /// The database that the container was started with.
    database: &'static str,
}

#[derive(Debug, Clone, Default)]
pub struct Truth {
    runs: Vec<Run>,
    /// The database of each key.
    pub databases: BTreeMap<MigrationKey, String>,
    /// Jobs that were let run.
    pub resumed: BTreeSet<Uid>,
    /// Per pod that ended whether its program did all its work.
    pub ended: BTreeMap<usize, bool>,
    /// What is to be told with the next events.
    pub facts: Vec<Fact>,
}

impl Truth {
    pub fn container_starts(&mut self, pod: &Pod, database: &'static str) {
        self.runs.push(Run {
            job: pod.job.clone(),
            key: pod.key.clone(),
            database,
        });
        self.facts.push(Fact::StartedOn {
            pod: pod_name(pod.number).into(),
            database: database.into(),
        });
    }

    pub fn container_ends(&mut self, pod: &Pod, whole: bool, reboot: bool) {
        self.ended.insert(pod.number, whole);
        self.facts.push(Fact::ProgramEnded {
            pod: pod_name(pod.number).into(),
            whole,
            reboot,
        });
    }

    /// Which Jobs had a container started, and where.
    pub fn starts(&self) -> Vec<(&Uid, &'static str)> {
        self.runs.iter().map(|run| (&run.job, run.database)).collect()
    }

    /// The reference names this database from now on: what ran on another one meanwhile can no more be told.
    pub fn database_named(&mut self, database: &str) {
        for run in &self.runs {
            let of_key = self.databases.get(&run.key);
            if of_key.is_some_and(|of_key| of_key == database) && run.database != database {
                self.facts.push(Fact::DatabaseReturned {
                    job: run.job.as_str().into(),
                });
            }
        }
    }
}
