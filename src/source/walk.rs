//! All specs below the directories of a source, within limits.
//!
//! Symbolic links and submodules are reported, never followed. What a file means is not known here.

use git2::{ObjectType, Odb, Tree, TreeEntry};

use super::{
    error::escape,
    paths::{Name, check_paths, name_of},
    tree::{ObjectId, ReadError, Reader, damaged},
};
use crate::names::CommitId;

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

/// In bytes: the path of a file is kept on every object that it leads to.
const LONGEST: usize = 1024;

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

impl Reader {
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
                    "the directory is a submodule, which is not read: name its repository in a source of its own",
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
        if path.len() > LONGEST {
            self.problem(
                &path,
                &format!("has a path of more than {LONGEST} bytes: shorten it"),
            );
            return Ok(());
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
#[path = "walk_tests.rs"]
mod tests;
