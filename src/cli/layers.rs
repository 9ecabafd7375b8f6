//! Directories of a working copy → the layers that the source loop would read from a commit of it, by the same rules.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;

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
        if kind.is_dir() {
            directory(path, 0, &mut layer, &mut layers.texts)?;
        } else {
            layer.push(file(path, &mut layers.texts)?);
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

fn directory(
    path: &Path,
    depth: usize,
    layer: &mut Vec<Arc<File>>,
    texts: &mut BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let attempt = || format!("cannot read {}", path.display());
    if depth > MAX_DEPTH {
        return Err(Usage(format!(
            "{} has more than {MAX_DEPTH} directories below each other",
            path.display()
        ))
        .into());
    }
    let entries: Result<Vec<_>, _> = fs::read_dir(path).with_context(attempt)?.collect();
    let mut entries = entries.with_context(attempt)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().with_context(attempt)?;
        let unread = |why: &str| Arc::new(File::unread(&path.display().to_string(), why));
        let name = name_of(name.as_encoded_bytes());
        match name {
            _ if entry.file_name() == ".git" => {}
            Name::Odd(why) => layer.push(unread(why)),
            Name::Other if entry.file_name().as_encoded_bytes().starts_with(b".") => {}
            _ if kind.is_symlink() => layer.push(unread(
                "is a symbolic link, which is not followed: put the file itself here",
            )),
            _ if kind.is_dir() => directory(&path, depth + 1, layer, texts)?,
            Name::Spec if kind.is_file() => layer.push(file(&path, texts)?),
            _ => {}
        }
    }
    Ok(())
}

fn file(path: &Path, texts: &mut BTreeMap<String, String>) -> anyhow::Result<Arc<File>> {
    let attempt = || format!("cannot read {}", path.display());
    let name = path.display().to_string();
    // One byte more than is allowed is enough to know that it is too many.
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    fs::File::open(path)
        .with_context(attempt)?
        .take(limit)
        .read_to_end(&mut bytes)
        .with_context(attempt)?;
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
    Ok(Arc::new(read))
}
