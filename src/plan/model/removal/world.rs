//! The repository, and the API server as far as a source goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::super::super::{lineage::Relation, prune::MaxDeletions};
use crate::{
    names::{CommitId, ReleaseId},
    trace::{
        Sight, Trace, What,
        event::{Actor, Write},
        object::{Body, Key, Kind, Object, ReleaseBody, SourceBody},
    },
};

/// How many releases the repository may declare.
pub const RELEASES: usize = 4;
pub const SOURCE: &str = "apps";

/// A commit of the repository.
#[derive(Clone)]
pub struct Commit {
    pub parent: Option<usize>,
    /// Per release its version; `None` where its file is there and gives none any more.
    pub files: BTreeMap<usize, Option<u32>>,
    /// Whether some file of it cannot be read: what that file said is not known.
    pub broken: Option<usize>,
}

/// A `Release`.
#[derive(Clone)]
pub struct Release {
    pub uid: String,
    pub version: u64,
    pub declared: Option<u32>,
    pub commit: usize,
    pub marked: bool,
}

/// The status of the source.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Status {
    pub applied: Option<usize>,
    pub origin: Option<u32>,
    pub baseline: Option<usize>,
    pub problems: usize,
}

/// The source, as people wrote it.
#[derive(Clone)]
pub struct Spec {
    pub allow_rewrite: bool,
    pub prune: bool,
    pub max_deletions: MaxDeletions,
    /// Which directory is followed.
    pub origin: u32,
}

#[derive(Clone)]
pub struct World {
    pub commits: Vec<Commit>,
    pub head: usize,
    pub version: u64,
    pub spec: Spec,
    pub status: Status,
    /// The resourceVersion of the source.
    pub source: u64,
    pub releases: BTreeMap<usize, Release>,
    /// What serves and what runs, by release, each with its UID.
    pub objects: BTreeMap<(Kind, usize), String>,
    pub trace: Trace,
}

impl World {
    pub fn new() -> Self {
        let mut trace = Trace::new(&[Sight::Beginning]);
        trace.git.insert(commit_id(0).as_str().into(), Vec::new());
        let files = (0..RELEASES).map(|release| (release, Some(1))).collect();
        let mut world = Self {
            commits: vec![Commit {
                parent: None,
                files,
                broken: None,
            }],
            head: 0,
            version: 0,
            spec: Spec {
                allow_rewrite: false,
                prune: true,
                max_deletions: MaxDeletions::default(),
                origin: 0,
            },
            status: Status::default(),
            source: 0,
            releases: BTreeMap::new(),
            objects: BTreeMap::new(),
            trace,
        };
        world.source_written(&people(), true);
        world
    }

    pub fn bump(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// A commit upon another one; the branch goes there.
    pub fn commit(&mut self, parent: usize, change: impl FnOnce(&mut Commit)) {
        let mut commit = self.commits[parent].clone();
        commit.parent = Some(parent);
        change(&mut commit);
        self.commits.push(commit);
        self.head = self.commits.len() - 1;
        let parents = vec![commit_id(parent).as_str().into()];
        self.trace
            .git
            .insert(commit_id(self.head).as_str().into(), parents);
    }

    pub fn is_ancestor(&self, old: usize, new: usize) -> bool {
        let mut at = Some(new);
        while let Some(commit) = at {
            if commit == old {
                return true;
            }
            at = self.commits[commit].parent;
        }
        false
    }

    pub fn relation(&self, head: usize, commit: usize) -> Relation {
        if self.is_ancestor(commit, head) {
            Relation::Known
        } else if self.is_ancestor(head, commit) {
            Relation::Newer
        } else {
            Relation::Aside
        }
    }

    /// The commit that last changed what a release says.
    pub fn last_change(&self, head: usize, release: usize) -> usize {
        let mut at = head;
        while let Some(parent) = self.commits[at].parent {
            if self.commits[parent].files.get(&release) != self.commits[at].files.get(&release) {
                break;
            }
            at = parent;
        }
        at
    }

    // === writes ===

    pub fn push(&mut self, by: &Actor, what: What) {
        self.trace.push(Timestamp::UNIX_EPOCH, by.clone(), what);
    }

    fn wrote(&mut self, by: &Actor, created: bool, object: Object) {
        let write = Write {
            created,
            status: false,
            over: None,
            object: Arc::new(object),
            applied: None,
        };
        self.push(by, What::Wrote(write));
    }

    pub fn source_written(&mut self, by: &Actor, created: bool) {
        self.source = self.bump();
        let body = SourceBody {
            applied: self
                .status
                .applied
                .map(|commit| commit_id(commit).as_str().into()),
            problems: self.status.problems as u64,
            rewrite: self.spec.allow_rewrite,
            follows: self.spec.origin.to_string().into(),
            max_deletions: Some(self.spec.max_deletions.to_string().into()),
        };
        let object = Object {
            key: Key {
                kind: Kind::ReleaseSource,
                namespace: "".into(),
                name: SOURCE.into(),
            },
            uid: SOURCE.into(),
            version: self.source,
            generation: 0,
            release: None,
            ours: false,
            deleting: false,
            commit: None,
            body: Body::Source(body),
        };
        self.wrote(by, created, object);
    }

    /// Writes a `Release` over the one that was seen, or makes it where none was; whether that was so.
    pub fn write_release(
        &mut self,
        by: &Actor,
        release: usize,
        over: Option<u64>,
        change: impl FnOnce(&mut Release),
    ) -> bool {
        if self.releases.get(&release).map(|before| before.version) != over {
            return false;
        }
        let version = self.bump();
        let found = self.releases.entry(release).or_insert_with(|| Release {
            uid: format!("release-{version}"),
            version,
            declared: None,
            commit: 0,
            marked: false,
        });
        change(found);
        found.version = version;
        let found = found.clone();
        let object = Object {
            key: key(Kind::Release, release),
            uid: found.uid.as_str().into(),
            version,
            generation: 0,
            release: Some(name(release).into()),
            ours: true,
            deleting: false,
            commit: Some(commit_id(found.commit).as_str().into()),
            body: Body::Release(ReleaseBody {
                source: Some(SOURCE.into()),
                removing: found.marked,
                ..ReleaseBody::default()
            }),
        };
        self.wrote(by, over.is_none(), object);
        true
    }

    pub fn make(&mut self, by: &Actor, kind: Kind, release: usize) {
        let version = self.bump();
        let uid = format!("object-{version}");
        let object = Object {
            key: key(kind, release),
            uid: uid.as_str().into(),
            version,
            generation: 0,
            release: Some(name(release).into()),
            ours: true,
            deleting: false,
            commit: None,
            body: Body::Plain,
        };
        self.objects.insert((kind, release), uid);
        self.wrote(by, true, object);
    }

    /// Deletes what has this UID.
    pub fn delete(&mut self, by: &Actor, kind: Kind, release: usize, uid: &str) {
        let there = match kind {
            Kind::Release => self.releases.get(&release).map(|release| release.uid.clone()),
            kind => self.objects.get(&(kind, release)).cloned(),
        };
        if there.as_deref() != Some(uid) {
            return;
        }
        self.bump();
        let only = Some(uid.into());
        let key = key(kind, release);
        self.push(
            by,
            What::Deleted {
                key: key.clone(),
                only,
            },
        );
        match kind {
            Kind::Release => drop(self.releases.remove(&release)),
            kind => drop(self.objects.remove(&(kind, release))),
        }
        let uid = uid.into();
        self.push(&Actor::Kubernetes("gc".into()), What::Gone { key, uid });
    }

    /// Releases of which there is anything.
    pub fn known(&self) -> BTreeSet<usize> {
        let deployments = self.objects.keys().filter(|(kind, _)| *kind == Kind::Deployment);
        let of_objects = deployments.map(|(_, release)| *release);
        self.releases.keys().copied().chain(of_objects).collect()
    }
}

pub fn people() -> Actor {
    Actor::Person("people".into())
}

pub fn commit_id(commit: usize) -> CommitId {
    format!("{commit:040x}").parse().unwrap()
}

pub fn name(release: usize) -> String {
    format!("app{release}")
}

pub fn id(release: usize) -> ReleaseId {
    ReleaseId {
        namespace: "shop".parse().unwrap(),
        name: name(release).parse().unwrap(),
    }
}

fn key(kind: Kind, release: usize) -> Key {
    Key {
        kind,
        namespace: "shop".into(),
        name: name(release).into(),
    }
}
