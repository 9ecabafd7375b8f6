//! A commit without a work tree: its directories and its files by name.
//!
//! Names in a commit are data. They are compared and copied, never handed to a file system. Sizes are looked up before
//! anything is unpacked. All specs below a directory are read in `walk`, the history of a file in `history`.

use std::{fmt, path::Path, sync::Arc};

use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository, Tree};

use super::{
    credentials::Credentials,
    error::{Intent, escape, presentable},
    memory,
    paths::check_path,
    store::{ReadLock, Store},
    walk::ReadLimits,
};
use crate::names::CommitId;

/// The id of a file's or a directory's content: equal ids, equal content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub(super) Oid);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A directory object of this size has some 300,000 entries.
const MAX_TREE_BYTES: usize = 16 << 20;

/// Of a commit this is parents and message.
const MAX_COMMIT_BYTES: usize = 4 << 20;

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
    let path = escape(path, 300);
    if error.class() == ErrorClass::NoMemory {
        let limit = memory::limit();
        return ReadError::TooLarge { path, limit };
    }
    let detail = presentable(error.message(), &Credentials::anonymous());
    ReadError::Corrupt { path, detail }
}

/// How git marks a symbolic link.
const LINK: i32 = 0o120_000;

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
        self.file_up_to(commit, path, ReadLimits::default().file_bytes)
    }

    /// The same of a file of at most so many bytes. A link is no file.
    pub fn file_up_to(&self, commit: &CommitId, path: &str, most: u64) -> Result<Option<Vec<u8>>, ReadError> {
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
        if kind != ObjectType::Blob || size as u64 > most || entry.filemode() == LINK {
            return Ok(None);
        }
        self.blob(ObjectId(entry.id())).map(Some)
    }

    pub(super) fn commit(&self, commit: &CommitId) -> Result<git2::Commit<'_>, ReadError> {
        let fail = |error: git2::Error| match error.code() {
            ErrorCode::NotFound => ReadError::CommitMissing(commit.clone()),
            _ => damaged(commit.short(), &error),
        };
        let oid = Oid::from_str(commit.as_str()).map_err(|error| damaged(commit.short(), &error))?;
        let odb = self.repository.odb().map_err(fail)?;
        let (size, _) = odb.read_header(oid).map_err(fail)?;
        if size > MAX_COMMIT_BYTES {
            let limit = format!("{MAX_COMMIT_BYTES} bytes in the commit itself");
            return Err(ReadError::TooLarge {
                path: commit.short().to_owned(),
                limit,
            });
        }
        self.repository.find_commit(oid).map_err(fail)
    }

    pub(super) fn root(&self, commit: &CommitId) -> Result<Tree<'_>, ReadError> {
        let tree = self.commit(commit)?.tree_id();
        self.tree(tree, commit.short())
    }

    pub(super) fn tree(&self, oid: Oid, path: &str) -> Result<Tree<'_>, ReadError> {
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

    /// The directories that stand where a path of a commit leads no further, by their whole names.
    pub fn beside(&self, commit: &CommitId, path: &str) -> Result<Vec<String>, ReadError> {
        let (mut tree, mut above) = (self.root(commit)?, String::new());
        for name in path.split('/') {
            let below = format!("{above}{name}");
            match self.directory(&tree, name) {
                Ok(next) if below != path => (tree, above) = (next, below + "/"),
                _ => break,
            }
        }
        let directories = tree.iter().filter(|entry| entry.kind() == Some(ObjectType::Tree));
        let names = directories.map(|entry| String::from_utf8_lossy(entry.name_bytes()).into_owned());
        Ok(names
            .filter(|name| !name.starts_with('.'))
            .map(|name| escape(&format!("{above}{name}"), 300))
            .collect())
    }

    /// One step at a time and by exact name, so that a link on the way is found to be one.
    pub(super) fn directory<'a>(&'a self, root: &Tree<'a>, path: &str) -> Result<Tree<'a>, ReadError> {
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
