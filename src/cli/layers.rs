//! Directories of a working copy → the layers that the source loop would read from a commit of it, by the same rules.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Usage;
use crate::{
    source::paths::{Name, name_of},
    spec::file::{File, MAX_BYTES},
};

/// Directories below each other; as many as the source loop follows.
const MAX_DEPTH: usize = 32;

/// What was read.
#[derive(Debug, Default)]
pub struct Layers {
    /// In the order of the command line.
    pub files: Vec<Vec<Arc<File>>>,
    /// The text of each file, for excerpts.
    pub texts: BTreeMap<String, String>,
}

/// Reads each path as one layer: a directory with all that is below it, or a file whatever its name.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Layers> {
    let mut layers = Layers::default();
    for path in paths {
        let kind =
            fs::metadata(path).map_err(|error| Usage(format!("cannot read {}: {error}", path.display())))?;
        let mut layer = Vec::new();
        // As one in a directory; where it leads to one, a person chose it.
        let link = fs::symlink_metadata(path).is_ok_and(|kind| kind.is_symlink());
        if link && kind.is_file() {
            layer.push(unread(path, LINK));
        } else if kind.is_dir() {
            directory(path, 0, &mut layer, &mut layers.texts);
        } else if kind.is_file() {
            layer.push(file(path, &mut layers.texts));
        } else {
            layer.push(unread(path, IRREGULAR));
        }
        layers.files.push(layer);
    }
    // A mistyped directory must not pass for one without mistakes.
    if layers.files.iter().all(Vec::is_empty) {
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let message = format!("there is no .yaml or .yml file in {}", names.join(", "));
        return Err(Usage(message).into());
    }
    Ok(layers)
}

const LINK: &str = "is a symbolic link, which is not followed: put the file itself here";

/// What a pipe or a device is: to open it may never end.
const IRREGULAR: &str = "is no regular file, so it is not read: write what it would say into one";

/// What is not read is a problem of its own, and the others are read all the same.
fn unread(path: &Path, why: &str) -> Arc<File> {
    Arc::new(File::unread(&path.display().to_string(), why))
}

fn directory(path: &Path, depth: usize, layer: &mut Vec<Arc<File>>, texts: &mut BTreeMap<String, String>) {
    if depth > MAX_DEPTH {
        let why =
            format!("the directory is deeper than {MAX_DEPTH} below each other, which are read: move it up");
        layer.push(unread(path, &why));
        return;
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect);
    let mut entries: Vec<fs::DirEntry> = match entries {
        Ok(entries) => entries,
        Err(error) => {
            layer.push(unread(path, &format!("the directory cannot be read: {error}")));
            return;
        }
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) => {
                layer.push(unread(&path, &format!("cannot be read: {error}")));
                continue;
            }
        };
        let name = name_of(name.as_encoded_bytes());
        match name {
            _ if entry.file_name() == ".git" => {}
            Name::Odd(why) => layer.push(unread(&path, why)),
            Name::Other if entry.file_name().as_encoded_bytes().starts_with(b".") => {}
            _ if kind.is_symlink() => layer.push(unread(&path, LINK)),
            _ if kind.is_dir() => directory(&path, depth + 1, layer, texts),
            Name::Spec if kind.is_file() => layer.push(file(&path, texts)),
            Name::Spec => layer.push(unread(&path, IRREGULAR)),
            Name::Other => {}
        }
    }
}

fn file(path: &Path, texts: &mut BTreeMap<String, String>) -> Arc<File> {
    let name = path.display().to_string();
    // One byte more than is allowed is enough to know that it is too many.
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let opened = fs::File::open(path).map(|file| file.take(limit));
    if let Err(error) = opened.and_then(|mut file| file.read_to_end(&mut bytes)) {
        return unread(path, &format!("cannot be read: {error}"));
    }
    let read = if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
        File::unread(
            &name,
            "is kept in Git LFS, which is not read: commit the file itself",
        )
    } else {
        File::read(&name, &bytes)
    };
    let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
    texts.insert(name, text.trim_start_matches('\u{feff}').to_owned());
    Arc::new(read)
}
