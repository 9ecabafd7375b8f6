//! Which commit a fact comes from: ancestry, and the last change of files.
//!
//! Answers come from the mirror alone and cost at most [`MAX_COMMITS`] steps. What is shown of a commit is
//! text from outside: escaped and cut, as it ends up in annotations and on terminals.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet},
};

use git2::{Commit, ErrorCode, Oid, Tree, TreeEntry};

use super::{
    error::escape,
    tree::{ReadError, Reader, damaged},
};
use crate::names::CommitId;

/// More than nearly every repository has; a walk over so many takes about a minute, once for each start.
pub const MAX_COMMITS: usize = 1_000_000;
/// Of author and subject.
const MAX_TEXT: usize = 200;

/// The commit that last changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The commit.
    pub commit: CommitId,
    /// `Name <mail>`, without control characters.
    pub author: String,
    /// Seconds since 1970, by the committer's clock.
    pub committed_at: i64,
    /// The first line of its message.
    pub subject: String,
}

impl Reader {
    /// Whether `new` is `old` or descends from it. An `old` that the mirror does not hold is no ancestor: the
    /// whole history of `new` is here.
    pub fn is_ancestor(&self, old: &CommitId, new: &CommitId) -> Result<bool, ReadError> {
        let new_oid = self.commit(new)?.id();
        let old_oid = match self.commit(old) {
            Ok(commit) => commit.id(),
            Err(ReadError::CommitMissing(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        if new_oid == old_oid {
            return Ok(true);
        }
        self.repository
            .graph_descendant_of(new_oid, old_oid)
            .map_err(|error| damaged(new.short(), &error))
    }

    /// Who wrote a commit, and when.
    pub fn provenance(&self, commit: &CommitId) -> Result<Provenance, ReadError> {
        Ok(describe(&self.commit(commit)?, commit.clone()))
    }

    /// The newest commit reachable from `head` that changed one of these files; see [`Reader::last_changes`].
    pub fn last_change(
        &self,
        head: &CommitId,
        files: &[String],
        since: Option<&CommitId>,
    ) -> Result<Option<Provenance>, ReadError> {
        let groups = BTreeMap::from([((), files.to_vec())]);
        Ok(self.last_changes(head, &groups, since)?.remove(&()))
    }

    /// For each group of files the newest commit reachable from `head` that changed one of them, all in one
    /// walk. Nothing at or before `since` is looked at, and no more than [`MAX_COMMITS`]; a group without a
    /// change there is not in the answer.
    ///
    /// Merges are read as git reads them: a file that is the same in a parent came from that parent, so a
    /// change on a side branch is told with its own commit, and a merge only with what it changed itself.
    pub fn last_changes<K: Ord + Clone>(
        &self,
        head: &CommitId,
        groups: &BTreeMap<K, Vec<String>>,
        since: Option<&CommitId>,
    ) -> Result<BTreeMap<K, Provenance>, ReadError> {
        let fail = |error: git2::Error| damaged(head.short(), &error);
        let head_oid = self.commit(head)?.id();
        let allowed = self.newer_than(head_oid, since).map_err(fail)?;
        let watched = Watched::new(groups);
        let found = Search {
            reader: self,
            watched: &watched,
            allowed,
        }
        .run(head_oid)
        .map_err(fail)?;
        let mut result = BTreeMap::new();
        for (key, oid) in watched.keys.into_iter().zip(found) {
            let Some(oid) = oid else { continue };
            let commit = self.repository.find_commit(oid).map_err(fail)?;
            let Ok(id) = oid.to_string().parse() else { continue };
            result.insert(key.clone(), describe(&commit, id));
        }
        Ok(result)
    }

    /// The commits that are not yet part of `since`; `None` when there is no such limit.
    fn newer_than(&self, head: Oid, since: Option<&CommitId>) -> Result<Option<HashSet<Oid>>, git2::Error> {
        let Some(since) = since else { return Ok(None) };
        let mut walk = self.repository.revwalk()?;
        walk.push(head)?;
        match walk.hide(Oid::from_str(since.as_str())?) {
            Ok(()) => {}
            // After a rewrite the old commit may be gone; then there is no limit either.
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        walk.take(MAX_COMMITS).collect::<Result<_, _>>().map(Some)
    }
}

fn describe(commit: &Commit<'_>, id: CommitId) -> Provenance {
    let author = commit.author();
    let name = String::from_utf8_lossy(author.name_bytes()).into_owned();
    let mail = String::from_utf8_lossy(author.email_bytes()).into_owned();
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    Provenance {
        commit: id,
        author: escape(&format!("{name} <{mail}>"), MAX_TEXT),
        committed_at: commit.time().seconds(),
        subject: escape(message.trim_start().lines().next().unwrap_or("").trim(), MAX_TEXT),
    }
}

/// The files that are looked for, as a tree of names, each with the groups that it belongs to.
struct Watched<'a, K> {
    keys: Vec<&'a K>,
    root: Node,
    /// Groups by number of file.
    groups: Vec<Vec<usize>>,
}

#[derive(Default)]
struct Node {
    file: Option<usize>,
    below: BTreeMap<Vec<u8>, Node>,
}

impl<'a, K: Ord> Watched<'a, K> {
    fn new(groups: &'a BTreeMap<K, Vec<String>>) -> Self {
        let mut watched = Self {
            keys: groups.keys().collect(),
            root: Node::default(),
            groups: Vec::new(),
        };
        for (group, files) in groups.values().enumerate() {
            for path in files {
                let mut node = &mut watched.root;
                for name in path.split('/') {
                    node = node.below.entry(name.as_bytes().to_vec()).or_default();
                }
                let file = *node.file.get_or_insert_with(|| {
                    watched.groups.push(Vec::new());
                    watched.groups.len() - 1
                });
                if let Some(groups) = watched.groups.get_mut(file) {
                    groups.push(group);
                }
            }
        }
        watched
    }
}

/// A commit that waits for its turn: newest first, by the committer's clock.
#[derive(PartialEq, Eq)]
struct Waiting {
    time: i64,
    oid: Oid,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.time, self.oid).cmp(&(other.time, other.oid))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct Search<'a, K> {
    reader: &'a Reader,
    watched: &'a Watched<'a, K>,
    allowed: Option<HashSet<Oid>>,
}

impl<K> Search<'_, K> {
    /// The commit of each group. Every file travels from child to parent until a commit changed it.
    fn run(&self, head: Oid) -> Result<Vec<Option<Oid>>, git2::Error> {
        let repository = &self.reader.repository;
        let mut found: Vec<Option<Oid>> = vec![None; self.watched.keys.len()];
        let mut open = found.len();
        let mut files_at: HashMap<Oid, BTreeSet<usize>> = HashMap::new();
        let mut queue = BinaryHeap::new();
        if self.is_allowed(head) {
            files_at.insert(head, (0..self.watched.groups.len()).collect());
            queue.push(Waiting {
                time: repository.find_commit(head)?.time().seconds(),
                oid: head,
            });
        }
        let mut steps = 0;
        while let Some(Waiting { oid, .. }) = queue.pop() {
            let Some(mut files) = files_at.remove(&oid) else {
                continue;
            };
            steps += 1;
            if steps > MAX_COMMITS || open == 0 {
                break;
            }
            let commit = repository.find_commit(oid)?;
            let tree = commit.tree()?;
            let parents: Vec<Oid> = commit.parent_ids().collect();
            for parent_oid in &parents {
                if files.is_empty() {
                    break;
                }
                let parent = repository.find_commit(*parent_oid)?;
                let mut changed = Vec::new();
                self.compare(
                    Some(&tree),
                    Some(&parent.tree()?),
                    &self.watched.root,
                    &mut changed,
                )?;
                let changed: BTreeSet<usize> =
                    changed.into_iter().filter(|file| files.contains(file)).collect();
                let mut same = std::mem::replace(&mut files, changed);
                if !files.is_empty() {
                    same.retain(|file| !files.contains(file));
                }
                if !same.is_empty() && self.is_allowed(*parent_oid) {
                    queue.push(Waiting {
                        time: parent.time().seconds(),
                        oid: *parent_oid,
                    });
                    merge_into(files_at.entry(*parent_oid).or_default(), same);
                }
            }
            if parents.is_empty() {
                // The root: what is here appeared with it.
                let mut here = Vec::new();
                self.compare(Some(&tree), None, &self.watched.root, &mut here)?;
                files.retain(|file| here.contains(file));
            }
            for file in files {
                for group in self.watched.groups.get(file).into_iter().flatten() {
                    if let Some(slot @ None) = found.get_mut(*group) {
                        *slot = Some(oid);
                        open -= 1;
                    }
                }
            }
        }
        Ok(found)
    }

    fn is_allowed(&self, oid: Oid) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.contains(&oid))
    }

    /// Adds the watched files that differ. Equal directories cost one comparison.
    fn compare(
        &self,
        new: Option<&Tree<'_>>,
        old: Option<&Tree<'_>>,
        node: &Node,
        changed: &mut Vec<usize>,
    ) -> Result<(), git2::Error> {
        if new.map(Tree::id) == old.map(Tree::id) {
            return Ok(());
        }
        let (mut new_entries, mut old_entries) = (
            new.into_iter().flatten().peekable(),
            old.into_iter().flatten().peekable(),
        );
        // Both lists are in git's order, so one pass finds what differs.
        loop {
            let order = match (new_entries.peek(), old_entries.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(new), Some(old)) => order_of(new, old),
            };
            let new_entry = if order.is_le() { new_entries.next() } else { None };
            let old_entry = if order.is_ge() { old_entries.next() } else { None };
            let content = |entry: &TreeEntry<'_>| (entry.id(), entry.filemode_raw());
            if new_entry.as_ref().map(content) == old_entry.as_ref().map(content) {
                continue;
            }
            let Some(entry) = new_entry.as_ref().or(old_entry.as_ref()) else {
                continue;
            };
            let Some(below) = node.below.get(entry.name_bytes()) else {
                continue;
            };
            changed.extend(below.file);
            if !below.below.is_empty() {
                let tree = |entry: Option<TreeEntry<'_>>| self.subtree(entry.as_ref());
                let (new_tree, old_tree) = (tree(new_entry)?, tree(old_entry)?);
                self.compare(new_tree.as_ref(), old_tree.as_ref(), below, changed)?;
            }
        }
    }

    fn subtree(&self, entry: Option<&TreeEntry<'_>>) -> Result<Option<Tree<'_>>, git2::Error> {
        match entry {
            Some(entry) if entry.filemode() == 0o040_000 => {
                self.reader.repository.find_tree(entry.id()).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Moves the smaller set into the larger one: along a straight history nothing is copied.
fn merge_into(target: &mut BTreeSet<usize>, mut files: BTreeSet<usize>) {
    if target.len() < files.len() {
        std::mem::swap(target, &mut files);
    }
    target.extend(files);
}

/// Git sorts a directory as if its name ended in a slash.
fn order_of(a: &TreeEntry<'_>, b: &TreeEntry<'_>) -> Ordering {
    let (a_name, b_name) = (a.name_bytes(), b.name_bytes());
    if a_name == b_name {
        // The same name as a file and as a directory: one became the other.
        return Ordering::Equal;
    }
    let key = |entry: &TreeEntry<'_>| (entry.filemode() == 0o040_000).then_some(b'/');
    a_name
        .iter()
        .copied()
        .chain(key(a))
        .cmp(b_name.iter().copied().chain(key(b)))
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
