//! How much memory libgit2 may have: what a server packed into little may unpack to more than the machine has.
//!
//! libgit2 asks for the whole room of an object before it unpacks it, and knows no limit for that. So the limit is where it
//! asks: an allocator that refuses ends one fetch with an error, where else the kernel would end the process, again after
//! each restart. Nothing but that may enter here.

use std::{
    cell::Cell,
    ffi::{c_char, c_int, c_void},
    ptr,
    sync::atomic::{AtomicIsize, AtomicUsize, Ordering},
};

/// One block, which is one object: the largest that is read, a directory, has a quarter of it.
const BLOCK: usize = 64 << 20;
/// All blocks of all fetches and readings. With what is mapped of packs it leaves room for the rest of the process in the
/// 512 MiB that the chart gives.
const ALL: usize = 192 << 20;
/// Blocks below this size are never refused. What has many of them has tables of them too, and those grow beyond it; so an
/// error has always room for its own sentence.
const SMALL: usize = 64 << 10;
/// Objects of one pack: libgit2 keeps some 150 bytes of each while it makes the index.
const PACK_OBJECTS: usize = 1_000_000;

/// What a fetch or a reading on this thread was last refused for, in words.
pub(super) fn limit() -> String {
    let (block, all) = ((rooms() * BLOCK) >> 20, (rooms() * ALL) >> 20);
    if CROWDED.get() {
        format!("what is left of the {all} MiB that all repositories may unpack at a time; it is tried again")
    } else {
        format!("what may be unpacked: {block} MiB in one object, 1,000,000 objects in a fetch")
    }
}

/// How often that room there is.
static ROOMS: AtomicUsize = AtomicUsize::new(1);

fn rooms() -> usize {
    ROOMS.load(Ordering::Relaxed)
}

/// A process that does nothing else may have four times as much: the files of applications are larger than specs.
pub(super) fn alone() {
    ROOMS.store(4, Ordering::Relaxed);
}

thread_local! {
    /// Whether it was for what others hold that a block was last refused.
    static CROWDED: Cell<bool> = const { Cell::new(false) };
}

/// What libgit2 holds. Blocks that it had before it was given the allocator are counted only when they are freed.
static HELD: AtomicIsize = AtomicIsize::new(0);

fn admits(len: usize, held: isize) -> bool {
    let held = usize::try_from(held).unwrap_or(0);
    len <= rooms() * BLOCK && (len < SMALL || held.saturating_add(len) <= rooms() * ALL)
}

/// As `admits`, and keeps in mind which limit it was.
fn admitted(len: usize) -> bool {
    let held = HELD.load(Ordering::Relaxed);
    let admitted = admits(len, held);
    if !admitted {
        // At the end of a thread there is nobody to tell.
        let _ = CROWDED.try_with(|crowded| crowded.set(admits(len, 0)));
    }
    admitted
}

fn count(now: usize, before: usize) {
    let signed = |size: usize| isize::try_from(size).unwrap_or(isize::MAX);
    HELD.fetch_add(signed(now) - signed(before), Ordering::Relaxed);
}

/// `git_allocator` of `git2/sys/alloc.h`.
#[repr(C)]
struct Allocator {
    malloc: unsafe extern "C" fn(usize, *const c_char, c_int) -> *mut c_void,
    realloc: unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
}

#[allow(unsafe_code)]
unsafe extern "C" fn malloc(len: usize, _file: *const c_char, _line: c_int) -> *mut c_void {
    if !admitted(len) {
        return ptr::null_mut();
    }
    // SAFETY: as libgit2's own allocator does; the size of no block, a null, is 0.
    let (block, size) = unsafe {
        let block = libc::malloc(len);
        (block, libc::malloc_usable_size(block))
    };
    count(size, 0);
    block
}

#[allow(unsafe_code)]
unsafe extern "C" fn realloc(
    old: *mut c_void,
    len: usize,
    _file: *const c_char,
    _line: c_int,
) -> *mut c_void {
    // SAFETY: libgit2 gives a null or a block that one of these two made, or its own allocator, which is `malloc` too.
    let before = unsafe { libc::malloc_usable_size(old) };
    if len > before && !admitted(len) {
        return ptr::null_mut();
    }
    // SAFETY: as above.
    let (block, size) = unsafe {
        let block = libc::realloc(old, len);
        (block, libc::malloc_usable_size(block))
    };
    // A null is a refusal, which leaves the old block, unless nothing was asked for, which frees it.
    if !block.is_null() || len == 0 {
        count(size, before);
    }
    block
}

#[allow(unsafe_code)]
unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: as in `realloc`; after this libgit2 does not use the block.
    unsafe {
        count(0, libc::malloc_usable_size(block));
        libc::free(block);
    }
}

/// Sets the limits.
///
/// # Safety
/// No other thread may run: libgit2 keeps its allocator in C globals that it reads without a lock.
#[allow(unsafe_code)]
pub(super) unsafe fn set() {
    let allocator = Allocator {
        malloc,
        realloc,
        free,
    };
    let (set_allocator, set_objects) = (
        libgit2_sys::GIT_OPT_SET_ALLOCATOR.cast_signed(),
        libgit2_sys::GIT_OPT_SET_PACK_MAX_OBJECTS.cast_signed(),
    );
    // SAFETY: libgit2 copies the three pointers, and both options take what is given. They cannot fail.
    unsafe {
        libgit2_sys::git_libgit2_opts(set_allocator, &raw const allocator);
        libgit2_sys::git_libgit2_opts(set_objects, PACK_OBJECTS);
    }
}

#[cfg(test)]
mod tests {
    use git2::{ErrorClass, ObjectType};

    use super::*;
    use crate::source::test_support::Upstream;

    #[test]
    fn large_blocks_are_refused_when_much_is_held_and_small_ones_never() {
        let all = isize::try_from(ALL).unwrap();
        for (len, held, expected) in [
            (BLOCK, 0, true),
            (BLOCK + 1, 0, false),
            (BLOCK, all, false),
            (SMALL, all, false),
            (SMALL - 1, all, true),
            (BLOCK, -5, true),
        ] {
            assert_eq!(admits(len, held), expected, "{len} with {held}");
        }
    }

    #[test]
    fn an_object_that_unpacks_to_more_than_may_be_held_is_an_error_and_its_neighbours_are_read() {
        let upstream = Upstream::new();
        let odb = upstream.repository.odb().unwrap();
        let large = odb.write(ObjectType::Blob, &vec![0; BLOCK + 1]).unwrap();
        let small = odb.write(ObjectType::Blob, b"small").unwrap();
        // Anew: nothing of what was written is cached.
        let again = git2::Repository::open_bare(upstream.path()).unwrap();
        let error = again.find_blob(large).unwrap_err();
        assert_eq!(error.class(), ErrorClass::NoMemory, "{error}");
        assert!(limit().contains("64 MiB in one object"), "{}", limit());
        assert_eq!(again.find_blob(small).unwrap().content(), b"small");
    }
}
