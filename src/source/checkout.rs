//! A directory of a commit, written out for a build.
//!
//! A tree is what somebody else made, and may name anything. Nothing is written but below the one directory that was given:
//! each directory and each file is made anew where nothing is, so that no link of the tree leads out of it, and a name that
//! a file system takes for a way is refused. Links are written as links: whoever reads them is confined by other means.

#[cfg(test)]
use std::fs;
use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink},
    path::Path,
};

use git2::{ObjectType, Tree, TreeEntry};

use super::{
    error::escape,
    paths::check_path,
    tree::{ReadError, Reader, damaged},
};
use crate::names::CommitId;

/// What may be written of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckoutLimits {
    /// Of all files together.
    pub bytes: u64,
    /// Entries of directories, of whatever kind.
    pub entries: usize,
    /// How many directories below each other.
    pub depth: usize,
}

impl Default for CheckoutLimits {
    /// Sources of applications with their assets; a build has less time than more would take.
    fn default() -> Self {
        Self {
            bytes: 2 << 30,
            entries: 500_000,
            depth: 64,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Every file and link, from the directory on.
    pub files: Vec<String>,
    /// Of all files together.
    pub bytes: u64,
    /// Paths of submodules: their directories are empty.
    pub submodules: Vec<String>,
    /// Files that only say where Git LFS has their content.
    pub pointers: Vec<String>,
    /// When it was committed, in seconds since 1970.
    pub committed_at: i64,
}

/// Why a directory could not be written out.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The commit cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It holds something that is written nowhere.
    #[error("{path} {what}")]
    Odd {
        /// From the directory on; odd characters are escaped.
        path: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// It could not be stored.
    #[error("cannot write {path}: {source}")]
    Storage {
        /// From the directory on.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// How a file begins that stands for one of Git LFS: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";

impl Reader {
    /// Writes the directory `path` of a commit (`.` is the whole) below `to`, which is made, and must not be there yet.
    ///
    /// # Errors
    /// The first thing that cannot be read or written; what was written by then stays.
    pub fn check_out(
        &self,
        commit: &CommitId,
        path: &str,
        to: &Path,
        limits: CheckoutLimits,
    ) -> Result<Written, CheckoutError> {
        check_path(path)?;
        let tree = self.directory(&self.root(commit)?, path)?;
        let mut writing = Writing {
            reader: self,
            limits,
            entries: 0,
            written: Written {
                committed_at: self.commit(commit)?.time().seconds(),
                ..Written::default()
            },
        };
        make_directory(to, "")?;
        writing.directory(&tree, to, "", 0)?;
        writing.written.files.sort();
        Ok(writing.written)
    }
}

struct Writing<'a> {
    reader: &'a Reader,
    limits: CheckoutLimits,
    entries: usize,
    written: Written,
}

impl Writing<'_> {
    fn directory(
        &mut self,
        tree: &Tree<'_>,
        to: &Path,
        above: &str,
        depth: usize,
    ) -> Result<(), CheckoutError> {
        if depth > self.limits.depth {
            return Err(odd(
                above,
                format!("has more than {} directories below each other", self.limits.depth),
            ));
        }
        for entry in tree {
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(odd(
                    above,
                    format!("is one of more than {} entries", self.limits.entries),
                ));
            }
            let name = plain(entry.name_bytes(), above)?;
            let path = format!("{above}{name}");
            self.entry(&entry, &to.join(name), &path, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &TreeEntry<'_>,
        to: &Path,
        path: &str,
        depth: usize,
    ) -> Result<(), CheckoutError> {
        match (entry.kind(), entry.filemode()) {
            (Some(ObjectType::Tree), _) => {
                make_directory(to, path)?;
                let tree = self.reader.tree(entry.id(), path)?;
                self.directory(&tree, to, &format!("{path}/"), depth + 1)
            }
            (Some(ObjectType::Commit), _) => {
                self.written.submodules.push(path.to_owned());
                make_directory(to, path)
            }
            (Some(ObjectType::Blob), mode) => {
                let content = self.content(entry, path)?;
                let stored = match mode {
                    0o120_000 => link(&content, to),
                    mode => file(&content, to, mode & 0o111 != 0),
                };
                stored.map_err(|source| storage(path, source))?;
                if content.starts_with(POINTER) {
                    self.written.pointers.push(path.to_owned());
                }
                self.written.files.push(path.to_owned());
                Ok(())
            }
            _ => Err(odd(path, "is neither a file nor a directory".to_owned())),
        }
    }

    fn content(&mut self, entry: &TreeEntry<'_>, path: &str) -> Result<Vec<u8>, CheckoutError> {
        let repository = &self.reader.repository;
        let fail = |error: git2::Error| damaged(path, &error);
        // Its size first: what is too large never enters memory.
        let header = repository.odb().and_then(|odb| odb.read_header(entry.id()));
        let (size, _) = header.map_err(fail)?;
        self.written.bytes = self.written.bytes.saturating_add(size as u64);
        if self.written.bytes > self.limits.bytes {
            let limit = self.limits.bytes >> 20;
            return Err(odd(
                path,
                format!("is one of files that are larger than {limit} MiB together"),
            ));
        }
        let blob = repository.find_blob(entry.id()).map_err(fail)?;
        Ok(blob.content().to_vec())
    }
}

/// A name that stays in its directory.
fn plain<'a>(name: &'a [u8], above: &str) -> Result<&'a str, CheckoutError> {
    let shown = || format!("{above}{}", String::from_utf8_lossy(name));
    let Ok(text) = std::str::from_utf8(name) else {
        return Err(odd(
            &shown(),
            "has a name that is not UTF-8: rename it".to_owned(),
        ));
    };
    let way = ["", ".", ".."].contains(&text) || text.eq_ignore_ascii_case(".git");
    if text.contains(char::is_control) {
        return Err(odd(
            &shown(),
            "has a name with a control character, such as a line break: rename it".to_owned(),
        ));
    }
    if way || text.contains(['/', '\\']) {
        return Err(odd(&shown(), "has a name that git does not allow".to_owned()));
    }
    Ok(text)
}

fn make_directory(to: &Path, path: &str) -> Result<(), CheckoutError> {
    // Nothing that is there is gone through: it could be a link.
    let made = DirBuilder::new().mode(0o755).create(to);
    made.map_err(|source| storage(path, source))
}

fn file(content: &[u8], to: &Path, executable: bool) -> io::Result<()> {
    let mode = if executable { 0o755 } else { 0o644 };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(to)?;
    file.write_all(content)
}

fn link(content: &[u8], to: &Path) -> io::Result<()> {
    let target =
        std::str::from_utf8(content).map_err(|_| io::Error::other("it leads to what is not UTF-8"))?;
    if target.is_empty() || target.contains('\0') {
        return Err(io::Error::other("it leads nowhere"));
    }
    symlink(target, to)
}

fn odd(path: &str, what: String) -> CheckoutError {
    CheckoutError::Odd {
        path: escape(path, 300),
        what,
    }
}

fn storage(path: &str, source: io::Error) -> CheckoutError {
    CheckoutError::Storage {
        path: escape(path, 300),
        source,
    }
}

/// Every file and link below a directory, with its content.
#[cfg(test)]
fn texts(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        if path.is_symlink() {
            found.push((name, format!("→ {}", fs::read_link(&path).unwrap().display())));
        } else if path.is_dir() {
            found.extend(
                texts(&path)
                    .into_iter()
                    .map(|(below, text)| (format!("{name}/{below}"), text)),
            );
        } else {
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use git2::FileMode;

    use super::*;
    use crate::{
        repository::GitRef,
        source::{
            Credentials, FetchLimits, Mirror,
            test_support::{Upstream, oid},
        },
    };

    fn checked_out(upstream: &Upstream, path: &str) -> (tempfile::TempDir, Result<Written, CheckoutError>) {
        let root = tempfile::tempdir().unwrap();
        let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
        let limits = FetchLimits::default();
        let branch = GitRef::branch("main").unwrap();
        let commit = mirror
            .fetch(&branch, &Credentials::anonymous(), limits)
            .unwrap()
            .commit;
        let to = root.path().join("tree");
        let written = mirror
            .reader()
            .unwrap()
            .check_out(&commit, path, &to, CheckoutLimits::default());
        (root, written)
    }

    #[test]
    fn a_directory_is_written_out_with_its_links_and_modes_and_without_git() {
        let upstream = Upstream::new();
        upstream.put("app/run", b"#!/bin/sh", FileMode::BlobExecutable);
        upstream.link("app/etc", "/etc");
        let first = upstream.commit(&[("app/lib/a.ex", "a"), ("other.txt", "no")]);
        upstream.put_id("app/vendored", oid(&first), FileMode::Commit);
        upstream.commit(&[(
            "app/big.bin",
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        )]);
        let (root, written) = checked_out(&upstream, "app");
        let written = written.unwrap();
        assert_eq!(written.files, ["big.bin", "etc", "lib/a.ex", "run"]);
        assert_eq!(
            (written.submodules, written.pointers),
            (vec!["vendored".to_owned()], vec!["big.bin".to_owned()])
        );
        let tree = root.path().join("tree");
        let found = texts(&tree);
        assert!(
            found.contains(&("lib/a.ex".to_owned(), "a".to_owned())),
            "{found:?}"
        );
        assert!(
            found.contains(&("etc".to_owned(), "→ /etc".to_owned())),
            "{found:?}"
        );
        let mode = |name: &str| fs::metadata(tree.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("run") & 0o111 != 0, mode("lib/a.ex") & 0o111), (true, 0));
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_is_written_over() {
        let upstream = Upstream::new();
        upstream.commit(&[("a.txt", "a")]);
        let (_root, written) = checked_out(&upstream, "apps/shop");
        assert!(
            matches!(written, Err(CheckoutError::Read(ReadError::DirectoryMissing(_)))),
            "{written:?}"
        );
        let (root, written) = checked_out(&upstream, ".");
        assert_eq!(written.unwrap().files, ["a.txt"]);
        let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
        let branch = GitRef::branch("main").unwrap();
        let commit = mirror
            .fetch(&branch, &Credentials::anonymous(), FetchLimits::default())
            .unwrap()
            .commit;
        let again = mirror.reader().unwrap().check_out(
            &commit,
            ".",
            &root.path().join("tree"),
            CheckoutLimits::default(),
        );
        assert!(matches!(again, Err(CheckoutError::Storage { .. })), "{again:?}");
    }

    #[test]
    fn a_tree_that_leads_out_of_its_directory_is_refused() {
        let repository_of = |entries: &[(&str, &str)]| {
            let upstream = Upstream::new();
            upstream.commit(&[("a.txt", "a")]);
            let repository = git2::Repository::open(upstream.path()).unwrap();
            let blob = repository.blob(b"out").unwrap();
            // Written by hand: libgit2 makes no such tree.
            let mut bytes = Vec::new();
            for (mode, name) in entries {
                bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
                bytes.extend_from_slice(blob.as_bytes());
            }
            let odb = repository.odb().unwrap();
            let tree = repository
                .find_tree(odb.write(ObjectType::Tree, &bytes).unwrap())
                .unwrap();
            let who = git2::Signature::now("a", "a@example.com").unwrap();
            let parent = repository.head().unwrap().peel_to_commit().unwrap();
            repository
                .commit(Some("HEAD"), &who, &who, "odd", &tree, &[&parent])
                .unwrap();
            upstream
        };
        for entries in [
            &[("100644", "..")][..],
            &[("100644", ".GIT")][..],
            &[("100644", "a/b")][..],
            &[("120000", "a"), ("100644", "a")][..],
        ] {
            let upstream = repository_of(entries);
            let (root, written) = checked_out(&upstream, ".");
            assert!(written.is_err(), "{entries:?}: {written:?}");
            assert!(!root.path().join("b").exists());
        }
    }

    #[test]
    fn more_than_may_be_written_is_not_read_into_memory() {
        let upstream = Upstream::new();
        upstream.commit(&[("a.txt", "0123456789"), ("b.txt", "0123456789")]);
        let root = tempfile::tempdir().unwrap();
        let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
        let branch = GitRef::branch("main").unwrap();
        let commit = mirror
            .fetch(&branch, &Credentials::anonymous(), FetchLimits::default())
            .unwrap()
            .commit;
        let reader = mirror.reader().unwrap();
        for (index, limits) in [
            CheckoutLimits {
                bytes: 15,
                ..CheckoutLimits::default()
            },
            CheckoutLimits {
                entries: 1,
                ..CheckoutLimits::default()
            },
        ]
        .into_iter()
        .enumerate()
        {
            let to = root.path().join(format!("tree{index}"));
            let written = reader.check_out(&commit, ".", &to, limits);
            assert!(matches!(written, Err(CheckoutError::Odd { .. })), "{written:?}");
        }
    }
}
