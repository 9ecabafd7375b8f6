//! The directory of one mirror: made, swept, packed anew, thrown away, and locked within the process.
//!
//! A mirror is a cache. Whatever is wrong with it, the answer is to make it again from the server; nothing is
//! ever repaired. One process owns the root directory, so leftovers of a crash may be removed without asking.
//! No network enters here.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::Instant,
};

use git2::Repository;

/// Every fetch leaves one pack, and each look-up asks every pack. 64 are still cheap.
const MAX_PACKS: usize = 64;

/// Why a mirror's directory could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{}", .0.message())]
    Git(#[from] git2::Error),
}

/// One directory and its lock; shared by all who opened it.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    fetching: bool,
    /// Packs are being replaced: nobody may open the repository now.
    replacing: bool,
    readers: usize,
}

static STORES: Mutex<BTreeMap<PathBuf, Weak<Store>>> = Mutex::new(BTreeMap::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The states are flags that are set last, so a panic elsewhere leaves them right.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// The store at this path: the same one for everybody in the process.
    pub(super) fn at(path: &Path) -> Arc<Self> {
        let mut stores = locked(&STORES);
        stores.retain(|_, store| store.strong_count() > 0);
        if let Some(store) = stores.get(path).and_then(Weak::upgrade) {
            return store;
        }
        let store = Arc::new(Self {
            path: path.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        stores.insert(path.to_owned(), Arc::downgrade(&store));
        store
    }

    /// The right to fetch, or `None` if another fetch holds it until `deadline`.
    pub(super) fn lock(self: &Arc<Self>, deadline: Instant) -> Option<FetchLock> {
        let mut state = locked(&self.state);
        while state.fetching {
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.fetching = true;
        Some(FetchLock(Arc::clone(self)))
    }

    /// Opens the repository for reading and keeps its packs in place until the lock is dropped.
    pub(super) fn read(self: &Arc<Self>) -> Result<(Repository, ReadLock), git2::Error> {
        let mut state = locked(&self.state);
        while state.replacing {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.readers += 1;
        drop(state);
        let lock = ReadLock(Arc::clone(self));
        Ok((Repository::open_bare(&self.path)?, lock))
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut locked(&self.state));
        self.changed.notify_all();
    }
}

/// Keeps packs in place while somebody reads.
#[derive(Debug)]
pub(super) struct ReadLock(Arc<Store>);

impl Drop for ReadLock {
    fn drop(&mut self) {
        self.0
            .update(|state| state.readers = state.readers.saturating_sub(1));
    }
}

/// The right to change the directory.
#[derive(Debug)]
pub(super) struct FetchLock(Arc<Store>);

impl Drop for FetchLock {
    fn drop(&mut self) {
        self.0.update(|state| state.fetching = false);
    }
}

impl FetchLock {
    fn path(&self) -> &Path {
        &self.0.path
    }

    /// The repository, swept; made when there is none or when it cannot be opened.
    pub(super) fn ensure(&self) -> Result<Repository, StoreError> {
        remove(&self.fresh_path())?;
        if self.path().exists() {
            sweep(self.path())?;
            if let Ok(repository) = Repository::open_bare(self.path())
                && configure(&repository).is_ok()
            {
                return Ok(repository);
            }
            tracing::warn!(mirror = %self.path().display(), "the mirror cannot be opened and is made again");
        }
        self.recreate()
    }

    /// Throws everything away.
    pub(super) fn recreate(&self) -> Result<Repository, StoreError> {
        remove(self.path())?;
        make(self.path())
    }

    fn fresh_path(&self) -> PathBuf {
        self.path().with_extension("fresh")
    }

    /// An empty repository beside the mirror. A damaged mirror may still be worth more than a server that
    /// sends damaged objects, so it is given up only for a whole one.
    pub(super) fn fresh(&self) -> Result<Repository, StoreError> {
        remove(&self.fresh_path())?;
        make(&self.fresh_path())
    }

    /// Puts the fresh repository in the place of the mirror.
    pub(super) fn replace(&self) -> Result<(), StoreError> {
        self.0.update(|state| state.replacing = true);
        let result = remove(self.path()).and_then(|()| fs::rename(self.fresh_path(), self.path()));
        self.0.update(|state| state.replacing = false);
        Ok(result?)
    }

    /// Puts all packs into one if there are many and nobody reads; says whether it did.
    pub(super) fn repack(&self, repository: &Repository) -> Result<bool, StoreError> {
        self.repack_above(repository, MAX_PACKS)
    }

    fn repack_above(&self, repository: &Repository, max: usize) -> Result<bool, StoreError> {
        let directory = self.path().join("objects/pack");
        if count_packs(&directory)? <= max {
            return Ok(false);
        }
        {
            let mut state = locked(&self.0.state);
            if state.readers > 0 {
                return Ok(false);
            }
            state.replacing = true;
        }
        let result = replace_packs(repository, &directory);
        self.0.update(|state| state.replacing = false);
        result.map(|()| true)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make(path: &Path) -> Result<Repository, StoreError> {
    let repository = Repository::init_bare(path)?;
    configure(&repository)?;
    Ok(repository)
}

fn count_packs(directory: &Path) -> io::Result<usize> {
    let pack = |path: PathBuf| path.extension() == Some(OsStr::new("pack"));
    Ok(fs::read_dir(directory)?
        .flatten()
        .filter(|entry| pack(entry.path()))
        .count())
}

fn replace_packs(repository: &Repository, directory: &Path) -> Result<(), StoreError> {
    let mut walk = repository.revwalk()?;
    walk.push_glob("refs/slipway/*")?;
    let mut builder = repository.packbuilder()?;
    builder.insert_walk(&mut walk)?;
    builder.write(directory, 0)?;
    let kept = builder.name()?.map(|name| format!("pack-{name}"));
    for entry in fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        if stem != kept {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Options of the mirror itself; libgit2 reads no other configuration (see `init`).
fn configure(repository: &Repository) -> Result<(), git2::Error> {
    let mut config = repository.config()?;
    // Also set on each fetch; here for the code paths of libgit2 that take no options.
    if config.get_bool("http.followRedirects").unwrap_or(true) {
        config.set_bool("http.followRedirects", false)?;
    }
    Ok(())
}

/// Removes what a fetch that was killed left behind: half packs, half objects, lock files.
fn sweep(path: &Path) -> io::Result<()> {
    let leftover = |name: &str| {
        name.starts_with("tmp_")
            || name.contains("_git2_")
            || Path::new(name).extension() == Some(OsStr::new("lock"))
    };
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)?.flatten() {
            // `file_type` does not follow symbolic links.
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else if leftover(&entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::source::test_support::Upstream;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[test]
    fn one_fetch_at_a_time_holds_the_lock_of_a_directory() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.git");
        let first = Store::at(&path).lock(soon()).unwrap();
        assert!(Store::at(&path).lock(soon()).is_none());
        assert!(Store::at(&root.path().join("b.git")).lock(soon()).is_some());
        drop(first);
        assert!(Store::at(&path).lock(soon()).is_some());
    }

    #[test]
    fn leftovers_of_a_killed_fetch_are_swept() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.git");
        let lock = Store::at(&path).lock(soon()).unwrap();
        lock.ensure().unwrap();
        let leftovers = [
            "objects/pack/tmp_pack_1",
            "objects/pack/pack_git2_abc",
            "config.lock",
            "refs/heads/x.lock",
        ];
        for leftover in leftovers {
            fs::write(path.join(leftover), "x").unwrap();
        }
        lock.ensure().unwrap();
        for leftover in leftovers {
            assert!(!path.join(leftover).exists(), "{leftover}");
        }
        assert!(path.join("config").exists());
    }

    #[test]
    fn a_directory_that_is_no_repository_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.git");
        let lock = Store::at(&path).lock(soon()).unwrap();
        lock.ensure().unwrap();
        fs::remove_file(path.join("HEAD")).unwrap();
        assert!(lock.ensure().unwrap().is_bare());
        fs::write(path.join("config"), "[broken").unwrap();
        assert!(lock.ensure().unwrap().is_bare());
    }

    #[test]
    fn many_packs_become_one_and_everything_is_still_there() {
        let upstream = Upstream::new();
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.git");
        let store = Store::at(&path);
        let lock = store.lock(soon()).unwrap();
        let repository = lock.ensure().unwrap();
        let mut heads = Vec::new();
        for number in 0..4 {
            heads.push(upstream.commit(&[("a.yaml", &format!("n: {number}"))]));
            let mut remote = repository
                .remote_anonymous(upstream.path().to_str().unwrap())
                .unwrap();
            remote
                .fetch(&["+refs/heads/main:refs/slipway/tip"], None, None)
                .unwrap();
        }
        let packs = path.join("objects/pack");
        assert_eq!(count_packs(&packs).unwrap(), 4);
        let reading = store.read().unwrap();
        assert!(
            !lock.repack_above(&repository, 2).unwrap(),
            "a reader keeps the packs"
        );
        drop(reading);
        assert!(lock.repack_above(&repository, 2).unwrap());
        assert_eq!(count_packs(&packs).unwrap(), 1);
        let (fresh, _reading) = store.read().unwrap();
        for head in heads {
            let commit = fresh
                .find_commit(git2::Oid::from_str(head.as_str()).unwrap())
                .unwrap();
            assert!(
                commit
                    .tree()
                    .unwrap()
                    .get_name("a.yaml")
                    .unwrap()
                    .to_object(&fresh)
                    .is_ok()
            );
        }
    }
}
