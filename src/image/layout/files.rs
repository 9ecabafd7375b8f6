//! The files of a layout, each reached from a directory that is held open, so that nothing can be put in its place between a
//! look and a read. The standard library opens by path alone; `/proc/self/fd/…` makes a path of what is open.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::Path,
};

use sha2::{Digest as _, Sha256};

use super::{Descriptor, LayoutError, invalid};
use crate::{hex::hex, names::Digest};

/// Large enough that a thread is not woken for a few packets, small enough to be held.
const PIECE: usize = 256 << 10;

/// A directory that is open.
#[derive(Debug)]
pub struct Dir(File);

/// The bytes of a blob, compared with its digest while they are read.
#[derive(Debug)]
pub struct Blob {
    file: File,
    digest: Digest,
    left: u64,
    read: Sha256,
}

/// The name of a blob within the layout.
pub fn name(digest: &Digest) -> String {
    format!("blobs/{}", digest.as_str().replacen(':', "/", 1))
}

/// Never waits for whoever would write to a pipe, and follows no link.
fn open(path: &Path, name: &str, flags: i32) -> Result<File, LayoutError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | flags)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => invalid(name, "is not there"),
            Some(libc::ELOOP) => invalid(name, "is a symbolic link"),
            Some(libc::ENOTDIR) => invalid(name, "is not a directory"),
            Some(libc::ENXIO) => invalid(name, "is not a file"),
            Some(libc::EACCES) => invalid(name, "may not be read by this user"),
            _ => unreadable(name, &error),
        })
}

fn unreadable(file: &str, error: &io::Error) -> LayoutError {
    LayoutError::Unreadable {
        file: file.to_owned(),
        cause: error.to_string(),
    }
}

// === impl Dir ===

impl Dir {
    /// Opens a layout. The links on the way to it are not the layout's, and are followed; it may not be one itself.
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        open(path, "the image layout", libc::O_DIRECTORY).map(Self)
    }

    /// A directory in this one; `shown` is its name within the layout.
    pub fn enter(&self, name: &str, shown: &str) -> Result<Self, LayoutError> {
        self.at(name, shown, libc::O_DIRECTORY).map(Self)
    }

    fn at(&self, name: &str, shown: &str, flags: i32) -> Result<File, LayoutError> {
        let path = format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd());
        open(Path::new(&path), shown, flags)
    }

    /// A file in this one, and its size.
    fn file(&self, name: &str, shown: &str) -> Result<(File, u64), LayoutError> {
        let file = self.at(name, shown, 0)?;
        let metadata = file.metadata().map_err(|e| unreadable(shown, &e))?;
        if metadata.is_file() {
            Ok((file, metadata.len()))
        } else {
            Err(invalid(shown, "is not a file"))
        }
    }

    /// A small file, whole.
    pub fn small(&self, name: &str, cap: u64) -> Result<Vec<u8>, LayoutError> {
        let (file, _) = self.file(name, name)?;
        let mut bytes = Vec::new();
        // Not by its size: it may grow while it is read.
        file.take(cap + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| unreadable(name, &e))?;
        if bytes.len() as u64 > cap {
            return Err(invalid(name, format!("has more than {} KiB", cap >> 10)));
        }
        Ok(bytes)
    }

    /// What a descriptor names, in a directory of blobs.
    pub fn blob(&self, named: &Descriptor) -> Result<Blob, LayoutError> {
        let shown = name(&named.digest);
        let hex = named.digest.as_str().rsplit(':').next().unwrap_or_default();
        let (file, size) = self.file(hex, &shown)?;
        if size != named.size {
            let problem = format!("has {size} bytes, and {} are declared", named.size);
            return Err(invalid(&shown, problem));
        }
        let blob = Blob {
            file,
            digest: named.digest.clone(),
            left: size,
            read: Sha256::new(),
        };
        // What has no bytes has no last piece to be judged before.
        if size == 0 {
            blob.judge()?;
        }
        Ok(blob)
    }
}

// === impl Blob ===

impl Blob {
    /// The next piece; none after the last, which is given only when the whole is what its digest says: so nobody ever
    /// receives another one whole. Blocks.
    pub fn piece(&mut self) -> Result<Option<Vec<u8>>, LayoutError> {
        if self.left == 0 {
            return Ok(None);
        }
        let wanted = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; wanted];
        self.file
            .read_exact(&mut piece)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    invalid(&name(&self.digest), "became shorter while it was read")
                }
                _ => unreadable(&name(&self.digest), &error),
            })?;
        self.read.update(&piece);
        self.left -= wanted as u64;
        if self.left == 0 {
            self.judge()?;
        }
        Ok(Some(piece))
    }

    /// All pieces. Blocks.
    pub fn whole(mut self) -> Result<Vec<u8>, LayoutError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece()? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    fn judge(&self) -> Result<(), LayoutError> {
        let found = format!("sha256:{}", hex(&self.read.clone().finalize()));
        if found == self.digest.as_str() {
            Ok(())
        } else {
            Err(invalid(
                &name(&self.digest),
                "holds other bytes than its name says",
            ))
        }
    }
}
