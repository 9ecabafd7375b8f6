//! Reading files of a commit without a work tree.
//!
//! Names in a commit are data. They are compared and copied, never handed to a file system, and symbolic
//! links and submodules are reported, never followed. Sizes are looked up before anything is unpacked. What a
//! file means is not known here; the history of a file is read in `history`.

use std::{fmt, path::Path, sync::Arc};

use git2::{ErrorCode, ObjectType, Odb, Oid, Repository, Tree, TreeEntry};

use super::{
    credentials::Credentials,
    error::{Intent, escape, presentable},
    paths::{Name, check_path, check_paths, name_of},
    store::{ReadLock, Store},
};
use crate::names::CommitId;

/// The id of a file's or a directory's content: equal ids, equal content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(Oid);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What may be read of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Of one file, in bytes. A longer one is that file's problem.
    pub file_bytes: u64,
    /// Of all files together.
    pub total_bytes: u64,
    /// How many files.
    pub files: usize,
    /// How many entries of directories are looked at, of whatever kind.
    pub entries: usize,
    /// How many directories below each other.
    pub depth: usize,
}

impl Default for ReadLimits {
    /// Twice the 10,000 releases that are promised; a spec has 1 to 3 KiB.
    fn default() -> Self {
        Self {
            file_bytes: 64 << 10,
            total_bytes: 64 << 20,
            files: 20_000,
            entries: 200_000,
            depth: 32,
        }
    }
}

/// A directory object of this size has some 300,000 entries.
const MAX_TREE_BYTES: usize = 16 << 20;

/// The files of the directories that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    /// In the order of the request.
    pub layers: Vec<Layer>,
    /// What was found and not read. While there is one, nothing may be removed.
    pub problems: Vec<PathProblem>,
}

/// One directory, with all that is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// As asked for.
    pub path: String,
    /// Of the directory.
    pub tree_id: ObjectId,
    /// Sorted by path.
    pub files: Vec<File>,
}

/// One `*.yaml` or `*.yml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// From the root of the repository.
    pub path: String,
    /// Key for a cache of what the file means.
    pub blob_id: ObjectId,
    /// The content; `None` when the caller said that it knows this blob.
    pub bytes: Option<Vec<u8>>,
}

/// Something in the repository that is not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathProblem {
    /// From the root of the repository; odd characters are escaped.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Why a commit could not be read as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The mirror does not hold it.
    #[error("cannot read commit {}: the mirror does not hold it", .0.short())]
    CommitMissing(CommitId),
    /// A directory that the source names.
    #[error("cannot read directory {0}: the commit has no such directory")]
    DirectoryMissing(String),
    /// A path of the source that is none.
    #[error("cannot read directory {path}: the path {why}")]
    InvalidPath {
        /// Escaped.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No directory has a file to read.
    #[error("cannot read {0}: there is no .yaml or .yml file in it")]
    Empty(String),
    /// More than the limits allow.
    #[error("cannot read {path}: it has more than {limit}")]
    TooLarge {
        /// The directory at which the limit was reached.
        path: String,
        /// Number and unit.
        limit: String,
    },
    /// An object is damaged or not there.
    #[error("cannot read {path}: the mirror is damaged: {detail}")]
    Corrupt {
        /// What was being read.
        path: String,
        /// From libgit2.
        detail: String,
    },
}

impl ReadError {
    /// One word for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CommitMissing(_) => "CommitMissing",
            Self::DirectoryMissing(_) => "DirectoryMissing",
            Self::InvalidPath { .. } => "InvalidPath",
            Self::Empty(_) => "NoSpecs",
            Self::TooLarge { .. } => "TooLarge",
            Self::Corrupt { .. } => "Corrupt",
        }
    }

    /// What the loop should do: what the mirror lacks is fetched again, the rest stands so in the commit or the source.
    #[must_use]
    pub fn intent(&self) -> Intent {
        match self {
            Self::CommitMissing(_) | Self::Corrupt { .. } => Intent::Retry,
            Self::DirectoryMissing(_) | Self::InvalidPath { .. } | Self::Empty(_) | Self::TooLarge { .. } => {
                Intent::Stall
            }
        }
    }
}

/// A mirror, or somebody's clone, opened for reading. May move between threads; open one per thread.
pub struct Reader {
    pub(super) repository: Repository,
    /// None for a clone, which nobody here changes.
    pub(super) _lock: Option<ReadLock>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

pub(super) fn damaged(path: &str, error: &git2::Error) -> ReadError {
    let detail = presentable(error.message(), &Credentials::anonymous());
    ReadError::Corrupt {
        path: escape(path, 300),
        detail,
    }
}

impl Reader {
    pub(super) fn open(store: &Arc<Store>) -> Result<Self, ReadError> {
        let (repository, lock) = store.read().map_err(|error| damaged("the mirror", &error))?;
        Ok(Self {
            repository,
            _lock: Some(lock),
        })
    }

    /// The id of each directory, to see cheaply that nothing below it changed; `None` when it is missing.
    pub fn tree_ids(&self, commit: &CommitId, paths: &[String]) -> Result<Vec<Option<ObjectId>>, ReadError> {
        let root = self.root(commit)?;
        paths
            .iter()
            .map(|path| {
                check_path(path)?;
                match self.directory(&root, path) {
                    Ok(tree) => Ok(Some(ObjectId(tree.id()))),
                    Err(ReadError::DirectoryMissing(_)) => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .collect()
    }

    /// The content of one file.
    pub fn blob(&self, id: ObjectId) -> Result<Vec<u8>, ReadError> {
        let blob = self
            .repository
            .find_blob(id.0)
            .map_err(|error| damaged("a file", &error))?;
        Ok(blob.content().to_vec())
    }

    /// The content of a file of a commit; `None` where there is no such file, or none of a size to be read.
    pub fn file(&self, commit: &CommitId, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        let fail = |error: git2::Error| damaged(path, &error);
        let root = self.root(commit)?;
        let entry = match root.get_path(Path::new(path)) {
            Ok(entry) => entry,
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let (size, kind) = self
            .repository
            .odb()
            .and_then(|odb| odb.read_header(entry.id()))
            .map_err(fail)?;
        if kind != ObjectType::Blob || size as u64 > ReadLimits::default().file_bytes {
            return Ok(None);
        }
        self.blob(ObjectId(entry.id())).map(Some)
    }

    /// All files of the directories, in order. `known` says for which blobs the caller needs no bytes.
    pub fn read_layers(
        &self,
        commit: &CommitId,
        paths: &[String],
        limits: &ReadLimits,
        known: &dyn Fn(&ObjectId) -> bool,
    ) -> Result<Layers, ReadError> {
        check_paths(paths)?;
        let root = self.root(commit)?;
        let odb = self
            .repository
            .odb()
            .map_err(|error| damaged("the mirror", &error))?;
        let mut walk = Walk {
            reader: self,
            odb,
            limits,
            known,
            spent: Spent::default(),
            problems: Vec::new(),
        };
        let mut layers = Vec::new();
        for path in paths {
            let tree = self.directory(&root, path)?;
            let prefix = if path == "." {
                String::new()
            } else {
                format!("{path}/")
            };
            let mut files = Vec::new();
            walk.directory(&tree, &prefix, 0, &mut files)?;
            files.sort_by(|a, b| a.path.cmp(&b.path));
            layers.push(Layer {
                path: path.clone(),
                tree_id: ObjectId(tree.id()),
                files,
            });
        }
        let mut problems = walk.problems;
        problems.sort();
        if problems.is_empty() && layers.iter().all(|layer| layer.files.is_empty()) {
            return Err(ReadError::Empty(paths.join(", ")));
        }
        Ok(Layers { layers, problems })
    }

    pub(super) fn commit(&self, commit: &CommitId) -> Result<git2::Commit<'_>, ReadError> {
        let oid = Oid::from_str(commit.as_str()).map_err(|error| damaged(commit.short(), &error))?;
        self.repository
            .find_commit(oid)
            .map_err(|error| match error.code() {
                ErrorCode::NotFound => ReadError::CommitMissing(commit.clone()),
                _ => damaged(commit.short(), &error),
            })
    }

    pub(super) fn root(&self, commit: &CommitId) -> Result<Tree<'_>, ReadError> {
        let tree = self.commit(commit)?.tree_id();
        self.tree(tree, commit.short())
    }

    fn tree(&self, oid: Oid, path: &str) -> Result<Tree<'_>, ReadError> {
        let odb = self.repository.odb().map_err(|error| damaged(path, &error))?;
        let (size, _) = odb.read_header(oid).map_err(|error| damaged(path, &error))?;
        if size > MAX_TREE_BYTES {
            let limit = format!("{MAX_TREE_BYTES} bytes of names");
            return Err(ReadError::TooLarge {
                path: escape(path, 300),
                limit,
            });
        }
        self.repository
            .find_tree(oid)
            .map_err(|error| damaged(path, &error))
    }

    /// One step at a time and by exact name, so that a link on the way is found to be one.
    fn directory<'a>(&'a self, root: &Tree<'a>, path: &str) -> Result<Tree<'a>, ReadError> {
        let mut tree = root.clone();
        if path == "." {
            return Ok(tree);
        }
        for name in path.split('/') {
            let next = tree
                .get_name_bytes(name.as_bytes())
                .filter(|entry| entry.kind() == Some(ObjectType::Tree))
                .map(|entry| entry.id())
                .ok_or_else(|| ReadError::DirectoryMissing(path.to_owned()))?;
            tree = self.tree(next, path)?;
        }
        Ok(tree)
    }
}

/// What was used up of the limits.
#[derive(Default)]
struct Spent {
    entries: usize,
    files: usize,
    bytes: u64,
}

struct Walk<'a> {
    reader: &'a Reader,
    odb: Odb<'a>,
    limits: &'a ReadLimits,
    known: &'a dyn Fn(&ObjectId) -> bool,
    spent: Spent,
    problems: Vec<PathProblem>,
}

impl Walk<'_> {
    fn directory(
        &mut self,
        tree: &Tree<'_>,
        prefix: &str,
        depth: usize,
        files: &mut Vec<File>,
    ) -> Result<(), ReadError> {
        if depth > self.limits.depth {
            return Err(too_large(
                prefix,
                format!("{} directories below each other", self.limits.depth),
            ));
        }
        for entry in tree {
            self.spent.entries += 1;
            if self.spent.entries > self.limits.entries {
                return Err(too_large(prefix, format!("{} entries", self.limits.entries)));
            }
            let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
            let path = format!("{prefix}{name}");
            match (entry.filemode(), name_of(entry.name_bytes())) {
                (_, Name::Odd(why)) => self.problem(&path, why),
                (_, Name::Other) if name.starts_with('.') => {}
                (0o040_000, _) => {
                    let below = self.reader.tree(entry.id(), &path)?;
                    self.directory(&below, &format!("{path}/"), depth + 1, files)?;
                }
                (0o120_000, _) => self.problem(
                    &path,
                    "is a symbolic link, which is not followed: put the file itself here",
                ),
                (0o160_000, _) => self.problem(
                    &path,
                    "is a submodule, which is not read: name its repository in a source of its own",
                ),
                (0o100_000..=0o100_777, Name::Spec) => self.file(&entry, path, files)?,
                (0o100_000..=0o100_777, Name::Other) => {}
                _ => self.problem(&path, "is an entry of an unknown kind"),
            }
        }
        Ok(())
    }

    fn file(&mut self, entry: &TreeEntry<'_>, path: String, files: &mut Vec<File>) -> Result<(), ReadError> {
        self.spent.files += 1;
        if self.spent.files > self.limits.files {
            return Err(too_large(&path, format!("{} files", self.limits.files)));
        }
        // The header alone: a small pack can hold a file that unpacks to gigabytes.
        let (size, kind) = self
            .odb
            .read_header(entry.id())
            .map_err(|error| damaged(&path, &error))?;
        let size = size as u64;
        if kind != ObjectType::Blob {
            return Err(ReadError::Corrupt {
                path: escape(&path, 300),
                detail: "it is not a file".into(),
            });
        }
        if size > self.limits.file_bytes {
            let why = format!(
                "has {size} bytes, at most {} are read: split it",
                self.limits.file_bytes
            );
            self.problem(&path, &why);
            return Ok(());
        }
        self.spent.bytes += size;
        if self.spent.bytes > self.limits.total_bytes {
            return Err(too_large(
                &path,
                format!("{} bytes in all files", self.limits.total_bytes),
            ));
        }
        let blob_id = ObjectId(entry.id());
        if (self.known)(&blob_id) {
            files.push(File {
                path,
                blob_id,
                bytes: None,
            });
            return Ok(());
        }
        let bytes = match self.odb.read(entry.id()) {
            Ok(object) => object.data().to_vec(),
            Err(error) => return Err(damaged(&path, &error)),
        };
        if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
            self.problem(
                &path,
                "is kept in Git LFS, which is not read: commit the file itself",
            );
            return Ok(());
        }
        files.push(File {
            path,
            blob_id,
            bytes: Some(bytes),
        });
        Ok(())
    }

    fn problem(&mut self, path: &str, message: &str) {
        self.problems.push(PathProblem {
            path: escape(path, 512),
            message: message.to_owned(),
        });
    }
}

fn too_large(path: &str, limit: String) -> ReadError {
    ReadError::TooLarge {
        path: escape(path, 300),
        limit,
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
