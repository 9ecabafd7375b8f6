//! Real repositories for the tests of this room, written with libgit2 in temporary directories.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::Path,
};

use git2::{FileMode, Oid, Repository, Signature, Time};

use super::init::init_for_tests;
use crate::names::CommitId;

/// A repository that is fetched from. Its files are kept as a map; a commit writes the whole tree.
pub(crate) struct Upstream {
    directory: tempfile::TempDir,
    pub(super) repository: Repository,
    entries: RefCell<BTreeMap<String, (Oid, i32)>>,
    clock: Cell<i64>,
}

pub(super) fn id(oid: Oid) -> CommitId {
    oid.to_string().parse().unwrap()
}

pub(super) fn oid(id: &CommitId) -> Oid {
    Oid::from_str(id.as_str()).unwrap()
}

impl Upstream {
    pub(crate) fn new() -> Self {
        init_for_tests();
        let directory = tempfile::tempdir().unwrap();
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).initial_head("main");
        let repository = Repository::init_opts(directory.path(), &options).unwrap();
        Self {
            directory,
            repository,
            entries: RefCell::default(),
            clock: Cell::new(1_700_000_000),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Commits these files on top of `main`.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> CommitId {
        for (path, text) in files {
            self.put(path, text.as_bytes(), FileMode::Blob);
        }
        self.commit_staged("a change")
    }

    pub(super) fn put(&self, path: &str, bytes: &[u8], mode: FileMode) {
        let blob = self.repository.blob(bytes).unwrap();
        self.put_id(path, blob, mode);
    }

    /// Stages a symbolic link.
    pub(crate) fn link(&self, path: &str, target: &str) {
        self.put(path, target.as_bytes(), FileMode::Link);
    }

    pub(super) fn put_id(&self, path: &str, id: Oid, mode: FileMode) {
        self.entries
            .borrow_mut()
            .insert(path.to_owned(), (id, mode.into()));
    }

    pub(crate) fn remove(&self, path: &str) {
        self.entries.borrow_mut().remove(path);
    }

    /// Moves a file, or all that is below a directory.
    pub(crate) fn rename(&self, from: &str, to: &str) {
        let mut entries = self.entries.borrow_mut();
        let is_of = |path: &str| {
            path.strip_prefix(from)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let paths: Vec<String> = entries.keys().filter(|path| is_of(path)).cloned().collect();
        for path in paths {
            let renamed = path.replacen(from, to, 1);
            if let Some(entry) = entries.remove(&path) {
                entries.insert(renamed, entry);
            }
        }
    }

    /// Sets the clock of the next commit.
    pub(crate) fn set_clock(&self, second: i64) {
        self.clock.set(second - 60);
    }

    /// Commits these files on top of a commit; no branch moves.
    pub(crate) fn commit_after(&self, parent: &CommitId, files: &[(&str, &str)]) -> CommitId {
        for (path, text) in files {
            self.put(path, text.as_bytes(), FileMode::Blob);
        }
        self.commit_on(&[oid(parent)], "a change")
    }

    /// Merges a commit into another, to which `main` then leads.
    pub(crate) fn merge(&self, into: &CommitId, side: &CommitId, files: &[(&str, &str)]) -> CommitId {
        for (path, text) in files {
            self.put(path, text.as_bytes(), FileMode::Blob);
        }
        let merge = self.commit_on(&[oid(into), oid(side)], "merge");
        self.set_main(&merge);
        merge
    }

    /// Commits what was put and removed, on top of `main`.
    pub(crate) fn commit_staged(&self, message: &str) -> CommitId {
        let parent = self.repository.refname_to_id("refs/heads/main").ok();
        let commit = self.commit_on(parent.into_iter().collect::<Vec<_>>().as_slice(), message);
        self.set_main(&commit);
        commit
    }

    /// Writes a commit of what is staged with these parents; no branch moves.
    pub(super) fn commit_on(&self, parents: &[Oid], message: &str) -> CommitId {
        let tree = self.repository.find_tree(self.write_tree()).unwrap();
        self.clock.set(self.clock.get() + 60);
        let who = Signature::new("Ada", "ada@acme.com", &Time::new(self.clock.get(), 0)).unwrap();
        let parents: Vec<_> = parents
            .iter()
            .map(|oid| self.repository.find_commit(*oid).unwrap())
            .collect();
        id(self
            .repository
            .commit(
                None,
                &who,
                &who,
                message,
                &tree,
                &parents.iter().collect::<Vec<_>>(),
            )
            .unwrap())
    }

    pub(super) fn set_main(&self, commit: &CommitId) {
        self.repository
            .reference("refs/heads/main", oid(commit), true, "")
            .unwrap();
    }

    /// Puts the staged files back to those of a commit.
    pub(crate) fn stage_from(&self, commit: &CommitId) {
        let tree = self.repository.find_commit(oid(commit)).unwrap().tree().unwrap();
        let mut entries = BTreeMap::new();
        tree.walk(git2::TreeWalkMode::PreOrder, |root, entry| {
            if entry.kind() == Some(git2::ObjectType::Blob) {
                let path = format!("{root}{}", entry.name().unwrap());
                entries.insert(path, (entry.id(), entry.filemode()));
            }
            0
        })
        .unwrap();
        *self.entries.borrow_mut() = entries;
    }

    fn write_tree(&self) -> Oid {
        let entries = self.entries.borrow();
        let entries: Vec<(&str, Oid, i32)> = entries
            .iter()
            .map(|(path, (id, mode))| (path.as_str(), *id, *mode))
            .collect();
        self.write_level(&entries)
    }

    fn write_level(&self, entries: &[(&str, Oid, i32)]) -> Oid {
        let mut builder = self.repository.treebuilder(None).unwrap();
        let mut directories: BTreeMap<&str, Vec<(&str, Oid, i32)>> = BTreeMap::new();
        for (path, id, mode) in entries {
            match path.split_once('/') {
                Some((directory, rest)) => directories.entry(directory).or_default().push((rest, *id, *mode)),
                None => {
                    builder.insert(path, *id, *mode).unwrap();
                }
            }
        }
        for (name, inner) in directories {
            builder
                .insert(name, self.write_level(&inner), FileMode::Tree.into())
                .unwrap();
        }
        builder.write().unwrap()
    }
}
