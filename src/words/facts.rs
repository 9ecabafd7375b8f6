//! Everything that is read about one release, as values.

use jiff::Timestamp;

use crate::{
    api::{Release, ReleaseRevision, ReleaseSource, meta, source::SourceProblem},
    plan::{
        Ledger,
        ledger::{Entry, MigrationKey},
        observed::{JobPodSeen, JobSeen, LiveObject, LockSeen, PodSeen},
    },
};

/// Everything that was read about one release.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The present.
    pub now: Timestamp,
    /// The object; `None` where there is none.
    pub release: Option<Release>,
    /// Where it comes from.
    pub source: SourceSeen,
    /// The other sources, one of which may declare it too.
    pub others: Vec<ReleaseSource>,
    /// Its revisions.
    pub revisions: Vec<ReleaseRevision>,
    /// Its ledger.
    pub ledger: Option<Ledger>,
    /// Its migrations' Jobs.
    pub jobs: Vec<JobSeen>,
    /// Their pods.
    pub job_pods: Vec<JobPodSeen>,
    /// The lock of the migration that has the claim.
    pub lock: Option<LockSeen>,
    /// Its Deployments.
    pub deployments: Vec<LiveObject>,
    /// Pods of its processes.
    pub pods: Vec<Pod>,
    /// Each Secret and ConfigMap that it refers to and that does not exist; names only.
    pub missing: Vec<String>,
    /// What the API server refused of its Jobs and Deployments: the words of events.
    pub refused: Vec<String>,
    /// What could not be read, as sentences: an absence there means nothing.
    pub unread: Vec<String>,
}

/// The source of a release.
#[derive(Debug, Clone)]
pub enum SourceSeen {
    /// It was written by hand.
    ByHand,
    /// The source of this name is gone.
    Gone(String),
    /// The source.
    Found(Box<ReleaseSource>),
    /// There is no release: all sources, one of which may say why.
    Any(Vec<ReleaseSource>),
    /// It could not be read.
    NotKnown(String),
}

/// A pod of a process.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Whether it serves.
    pub ready: bool,
    /// What else is known.
    pub seen: PodSeen,
}

impl Facts {
    /// The revision that is on its way, or that ended last.
    #[must_use]
    pub fn current(&self) -> Option<&ReleaseRevision> {
        self.revisions.iter().max_by_key(|revision| revision.spec.number)
    }

    /// The revision that was verified last.
    #[must_use]
    pub fn live(&self) -> Option<&ReleaseRevision> {
        let name = self.release.as_ref()?.status.as_ref()?.live_revision.as_ref()?;
        self.revisions
            .iter()
            .find(|revision| revision.metadata.name.as_ref() == Some(name))
    }

    /// The ledger's entry of the migration of the current revision.
    #[must_use]
    pub fn entry(&self) -> Option<(MigrationKey, &Entry)> {
        let key = MigrationKey::parse(&self.current()?.spec.migration.as_ref()?.key)?;
        let entry = self.ledger.as_ref()?.get(&key)?;
        Some((key, entry))
    }

    /// The problem of the source that keeps this release from following git: one that names it before one that only
    /// stands in its file.
    #[must_use]
    pub fn problem(&self) -> Option<(&ReleaseSource, &SourceProblem)> {
        let sources = match &self.source {
            SourceSeen::Found(source) => std::slice::from_ref(source.as_ref()),
            SourceSeen::Any(sources) => sources.as_slice(),
            _ => &[],
        };
        let first = |is_about: &dyn Fn(&SourceProblem) -> bool| {
            sources.iter().find_map(|source| {
                let problems = &source.status.as_ref()?.problems;
                Some((source, problems.iter().find(|problem| is_about(problem))?))
            })
        };
        first(&|problem| self.is_named(problem)).or_else(|| first(&|problem| self.has_the_file(problem)))
    }

    /// What another source says of this release, which is not its own.
    #[must_use]
    pub fn claim(&self) -> Option<(&ReleaseSource, &SourceProblem)> {
        self.others.iter().find_map(|source| {
            let problems = &source.status.as_ref()?.problems;
            Some((source, problems.iter().find(|problem| self.is_named(problem))?))
        })
    }

    /// Whether a problem names this release.
    fn is_named(&self, problem: &SourceProblem) -> bool {
        let id = format!("{}/{}", self.namespace, self.name);
        let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '/';
        problem.message.match_indices(&id).any(|(at, _)| {
            let before = problem.message.get(..at).unwrap_or_default();
            let after = problem.message.get(at + id.len()..).unwrap_or_default();
            !before.ends_with(part_of_name) && !after.starts_with(part_of_name)
        })
    }

    /// Whether a problem stands in a file that speaks of this release.
    fn has_the_file(&self, problem: &SourceProblem) -> bool {
        let file = problem.place.split(':').next().unwrap_or_default();
        let annotations = self
            .release
            .as_ref()
            .and_then(|release| release.metadata.annotations.as_ref());
        let own = annotations.and_then(|annotations| annotations.get(meta::PATH));
        let stem = file.rsplit('/').next().and_then(|base| base.rsplit_once('.'));
        own.is_some_and(|own| own == file) || stem.is_some_and(|(stem, _)| stem == self.name)
    }
}
