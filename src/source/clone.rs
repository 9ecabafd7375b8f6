//! A repository that others keep, such as an auditor's clone: opened for reading alone, with the history of a branch.
//!
//! Nothing of it is run or written, and no name in it reaches a file system: the same readings as of a mirror.

use std::path::{Path, PathBuf};

use git2::{Repository, RepositoryOpenFlags};

use super::{
    credentials::Credentials,
    error::presentable,
    history::Provenance,
    tree::{ReadError, Reader, damaged},
};
use crate::names::CommitId;

/// Why a clone could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// There is none, or it may not be read.
    #[error("cannot open the git repository {}: {detail}; give the directory of a clone, bare or not", .path.display())]
    Open {
        /// What was given.
        path: PathBuf,
        /// From libgit2.
        detail: String,
    },
    /// A name that leads to no commit.
    #[error("cannot find {name} in the repository: {detail}; give a branch, a tag or a commit of it")]
    NoCommit {
        /// What was given.
        name: String,
        /// From libgit2.
        detail: String,
    },
}

/// One commit of the line that a branch moved along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The commit.
    pub commit: CommitId,
    /// Seconds since 1970, by the committer's clock.
    pub at: i64,
}

/// Something that a file may say.
pub struct Saying<'a> {
    /// The file, from the root of the repository.
    pub path: &'a str,
    /// Whether this content says it; `None` where it cannot be read.
    pub holds: &'a dyn Fn(&[u8]) -> Option<bool>,
}

fn words(error: &git2::Error) -> String {
    presentable(error.message(), &Credentials::anonymous())
}

impl Reader {
    /// Opens a clone, bare or not. Directories above it are not searched: another repository would be a wrong answer.
    pub fn open_clone(path: &Path) -> Result<Self, CloneError> {
        let none: [&std::ffi::OsStr; 0] = [];
        let repository =
            Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, none).map_err(|error| {
                CloneError::Open {
                    path: path.to_owned(),
                    detail: words(&error),
                }
            })?;
        Ok(Self {
            repository,
            _lock: None,
        })
    }

    /// The commit that a name leads to: `HEAD`, a branch, a tag or an id.
    pub fn resolve(&self, name: &str) -> Result<CommitId, CloneError> {
        let no_commit = |detail: String| CloneError::NoCommit {
            name: presentable(name, &Credentials::anonymous()),
            detail,
        };
        let object = self
            .repository
            .revparse_single(name)
            .and_then(|object| object.peel_to_commit())
            .map_err(|error| no_commit(words(&error)))?;
        object
            .id()
            .to_string()
            .parse()
            .map_err(|error: crate::names::NameError| no_commit(error.to_string()))
    }

    /// Whether the clone was cut off: then its oldest commit is not where the history begins.
    #[must_use]
    pub fn is_shallow(&self) -> bool {
        self.repository.is_shallow()
    }

    /// The commits that the branch stood at, newest first, at most `most`: first parents, since what a merge brought in
    /// was not on the branch before it.
    pub fn trunk(&self, head: &CommitId, most: usize) -> Result<Vec<Step>, ReadError> {
        let mut steps = Vec::new();
        let mut next = Some(self.commit(head)?);
        while let Some(commit) = next {
            if steps.len() == most {
                break;
            }
            let Ok(id) = commit.id().to_string().parse() else {
                break;
            };
            steps.push(Step {
                commit: id,
                at: commit.time().seconds(),
            });
            next = match commit.parent_count() {
                0 => None,
                _ => Some(commit.parent(0).map_err(|error| damaged(head.short(), &error))?),
            };
        }
        Ok(steps)
    }

    /// The parents of a commit, in order.
    pub fn parents(&self, commit: &CommitId) -> Result<Vec<CommitId>, ReadError> {
        let commit = self.commit(commit)?;
        let parents = commit.parent_ids();
        Ok(parents.filter_map(|oid| oid.to_string().parse().ok()).collect())
    }

    /// The newest commit from which on all sayings hold without a break, as seen from `head`, where they do: who said it
    /// first. A change of something else in a file is not taken for it, and a commit in which a file cannot be read is
    /// looked through.
    pub fn first_with(
        &self,
        head: &CommitId,
        sayings: &[Saying<'_>],
    ) -> Result<Option<Provenance>, ReadError> {
        let files: Vec<String> = sayings.iter().map(|saying| saying.path.to_owned()).collect();
        let mut from = head.clone();
        let mut found = None;
        // Each turn goes back by at least one commit.
        while let Some(change) = self.last_change(&from, &files, None)? {
            let parents = self.parents(&change.commit)?;
            if self.said(&change.commit, sayings)? == Some(true) {
                found = Some(change);
            }
            let (mut before, mut unreadable) = (None, None);
            for parent in parents {
                match self.said(&parent, sayings)? {
                    Some(true) if before.is_none() => before = Some(parent),
                    None if unreadable.is_none() => unreadable = Some(parent),
                    _ => {}
                }
            }
            match before.or(unreadable) {
                Some(parent) => from = parent,
                None => break,
            }
        }
        Ok(found)
    }

    /// Whether a commit says all of it; `None` where that cannot be read.
    fn said(&self, commit: &CommitId, sayings: &[Saying<'_>]) -> Result<Option<bool>, ReadError> {
        let mut all = Some(true);
        for saying in sayings {
            let content = match self.file(commit, saying.path) {
                // Cut off here.
                Err(ReadError::CommitMissing(_)) => None,
                other => other?,
            };
            match content.map_or(Some(false), |bytes| (saying.holds)(&bytes)) {
                Some(true) => {}
                Some(false) => return Ok(Some(false)),
                None => all = None,
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::test_support::Upstream;

    #[test]
    fn who_said_it_first_is_not_who_touched_the_file_last() {
        let upstream = Upstream::new();
        upstream.commit(&[("p/a.yaml", "version: 1\n")]);
        let second = upstream.commit(&[("p/a.yaml", "version: 2\n")]);
        upstream.commit(&[("p/b.yaml", "x: 1\n")]);
        let head = upstream.commit(&[("p/a.yaml", "version: 2\nreplicas: 3\n")]);
        let reader = Reader::open_clone(upstream.path()).unwrap();
        let two = |bytes: &[u8]| Some(bytes.starts_with(b"version: 2\n"));
        let saying = |path| Saying { path, holds: &two };
        let first = |path| reader.first_with(&head, &[saying(path)]).unwrap();
        assert_eq!(first("p/a.yaml").unwrap().commit, second);
        assert_eq!(first("p/none.yaml"), None);
    }

    #[test]
    fn of_what_two_files_say_the_later_of_both_is_who_said_it() {
        let upstream = Upstream::new();
        upstream.commit(&[("base.yaml", "image: a"), ("top.yaml", "version: 2")]);
        let moved = upstream.commit(&[("base.yaml", "image: b")]);
        let head = upstream.commit(&[("top.yaml", "version: 2 # now")]);
        let reader = Reader::open_clone(upstream.path()).unwrap();
        let image = |bytes: &[u8]| Some(bytes == b"image: b");
        let version = |bytes: &[u8]| Some(bytes.starts_with(b"version: 2"));
        let sayings = [
            Saying {
                path: "base.yaml",
                holds: &image,
            },
            Saying {
                path: "top.yaml",
                holds: &version,
            },
        ];
        let found = reader.first_with(&head, &sayings).unwrap().unwrap();
        assert_eq!(found.commit, moved);
    }

    #[test]
    fn who_mended_a_file_did_not_say_what_it_said_before_it_broke() {
        let upstream = Upstream::new();
        upstream.commit(&[("a.yaml", "version: 1")]);
        let second = upstream.commit(&[("a.yaml", "version: 2")]);
        upstream.commit(&[("a.yaml", "version: [")]);
        upstream.commit(&[("a.yaml", "version: {")]);
        let mended = upstream.commit(&[("a.yaml", "version: 2\n")]);
        upstream.commit(&[("a.yaml", "version: [")]);
        let third = upstream.commit(&[("a.yaml", "version: 3")]);
        let reader = Reader::open_clone(upstream.path()).unwrap();
        let first = |head: &CommitId, word: &'static [u8]| {
            let holds = |bytes: &[u8]| {
                let broken = bytes.ends_with(b"[") || bytes.ends_with(b"{");
                (!broken).then(|| bytes.starts_with(word))
            };
            let path = "a.yaml";
            let found = reader.first_with(head, &[Saying { path, holds: &holds }]);
            found.unwrap().unwrap().commit
        };
        assert_eq!(first(&mended, b"version: 2"), second);
        assert_eq!(
            first(&third, b"version: 3"),
            third,
            "what it said before was another version"
        );
    }

    #[test]
    fn the_line_of_a_branch_is_its_first_parents() {
        let upstream = Upstream::new();
        let first = upstream.commit(&[("a.yaml", "1")]);
        let second = upstream.commit(&[("a.yaml", "2")]);
        let reader = Reader::open_clone(upstream.path()).unwrap();
        assert_eq!(reader.resolve("main").unwrap(), second);
        assert_eq!(reader.resolve("HEAD").unwrap(), second);
        let line: Vec<CommitId> = reader
            .trunk(&second, 10)
            .unwrap()
            .into_iter()
            .map(|step| step.commit)
            .collect();
        assert_eq!(line, [second.clone(), first]);
        assert_eq!(reader.trunk(&second, 1).unwrap().len(), 1);
        assert!(!reader.is_shallow());
        assert_eq!(reader.file(&second, "a.yaml").unwrap().unwrap(), b"2");
    }

    #[test]
    fn what_is_no_repository_or_no_commit_is_said_with_what_to_give_instead() {
        let upstream = Upstream::new();
        let empty = tempfile::tempdir().unwrap();
        let error = Reader::open_clone(empty.path()).unwrap_err().to_string();
        assert!(error.contains("give the directory of a clone"), "{error}");
        let reader = Reader::open_clone(upstream.path()).unwrap();
        let error = reader.resolve("nowhere").unwrap_err().to_string();
        assert!(error.contains("nowhere") && error.contains("a branch"), "{error}");
    }
}
