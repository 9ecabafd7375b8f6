//! An image on disk, as an [OCI image layout](https://github.com/opencontainers/image-spec/blob/main/image-layout.md): what
//! of it is to be pushed, in order.
//!
//! Whoever wrote a Dockerfile wrote this directory, too, so nothing in it is believed: no symbolic link is followed, no file
//! is opened but those that a digest names, and every byte is compared with its digest before the last of them is given
//! out. What is not reachable from the one image is not looked at. Nothing here knows a registry or a runtime.

mod files;

use std::{collections::HashMap, path::Path};

use serde::Deserialize;

pub use self::files::Blob;
use self::files::Dir;
use crate::{names::Digest, source::Intent};

/// Registries need not take larger manifests (distribution spec, "Pushing Manifests"), and a manifest lists only digests.
const MAX_MANIFEST: u64 = 4 << 20;
/// Of all manifests together, since they are held until they are sent. Real ones have a few KiB.
const MAX_MANIFESTS_SIZE: u64 = 16 << 20;
/// So many platforms as a revision lists, each with an attestation, and some indexes.
const MAX_MANIFESTS: usize = 256;
/// Below `index.json` an image is at the second level, and an index of indexes is one more than anyone makes.
const MAX_DEPTH: usize = 8;
/// Each costs a few requests. No runtime takes more than 127 layers, and few images have more than 20.
const MAX_BLOBS: usize = 4096;
/// Of all blobs together. A file with holes may be of any size on any disk; no image that a node can run is.
const MAX_BLOBS_SIZE: u64 = 64 << 30;
/// `{"imageLayoutVersion":"1.0.0"}`, and whatever a tool adds.
const MAX_MARKER: u64 = 4 << 10;

const LAYOUT_VERSION: &str = "1.0.0";

/// What `index.json` is, too.
const INDEX: Media = ("application/vnd.oci.image.index.v1+json", Kind::Index);
/// What is a manifest; any other media type is that of a blob.
const MANIFESTS: [Media; 4] = [
    INDEX,
    ("application/vnd.oci.image.manifest.v1+json", Kind::Image),
    (
        "application/vnd.docker.distribution.manifest.list.v2+json",
        Kind::Index,
    ),
    (
        "application/vnd.docker.distribution.manifest.v2+json",
        Kind::Image,
    ),
];

type Media = (&'static str, Kind);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Image,
}

/// Why an image on disk cannot be pushed. No message repeats what is written there, other than digests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The disk does not give it.
    #[error("cannot read {file}: {cause}")]
    Unreadable {
        /// The file, within the layout.
        file: String,
        /// What the system says.
        cause: String,
    },
    /// It is not what it must be.
    #[error("{file} {problem}")]
    Invalid {
        /// The file, within the layout.
        file: String,
        /// The rest of the sentence.
        problem: String,
    },
}

impl LayoutError {
    /// Whether it may be read another time, or has to be built anew.
    #[must_use]
    pub fn intent(&self) -> Intent {
        match self {
            Self::Unreadable { .. } => Intent::Retry,
            Self::Invalid { .. } => Intent::Stall,
        }
    }
}

fn invalid(file: &str, problem: impl Into<String>) -> LayoutError {
    LayoutError::Invalid {
        file: file.to_owned(),
        problem: problem.into(),
    }
}

/// What a manifest says of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What its bytes must be.
    pub digest: Digest,
    /// How many there must be.
    pub size: u64,
}

/// A manifest or an index, which is what its digest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The digest of `bytes`.
    pub digest: Digest,
    /// One of those that are known.
    pub media_type: &'static str,
    /// As written, which is what the digest is of.
    pub bytes: Vec<u8>,
}

/// One image, or the index of several, and all that it consists of.
#[derive(Debug)]
pub struct Layout {
    /// The directory of the blobs.
    files: Dir,
    /// Configs and layers, each once, in the order in which they are named.
    pub blobs: Vec<Descriptor>,
    /// What the top names, each after those that it names itself.
    pub children: Vec<Manifest>,
    /// What the image is known by.
    pub top: Manifest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: String,
    size: u64,
}

/// `index.json`, an index or a manifest. What a manifest is about (`subject`) is no part of it, and need not be anywhere.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
}

// === impl Layout ===

impl Layout {
    /// Reads and checks all manifests of a layout, and finds what else belongs to it. Of blobs it is known then that they are
    /// there and how large; their bytes are judged while they are read. Blocks.
    pub fn read(path: &Path) -> Result<Self, LayoutError> {
        let root = Dir::open(path)?;
        let marker: Marker = json("oci-layout", &root.small("oci-layout", MAX_MARKER)?)?;
        if marker.image_layout_version != LAYOUT_VERSION {
            return Err(invalid(
                "oci-layout",
                format!("does not have the version {LAYOUT_VERSION}"),
            ));
        }
        let index = root.small("index.json", MAX_MANIFEST)?;
        let (top, media) = top(json("index.json", &index)?)?;
        let files = root.enter("blobs", "blobs")?.enter("sha256", "blobs/sha256")?;
        let mut walk = Walk {
            files: &files,
            sizes: HashMap::new(),
            blobs: Vec::new(),
            blobs_size: 0,
            seen: HashMap::new(),
            manifests_size: 0,
            done: Vec::new(),
        };
        walk.manifest("index.json", &top, media, 1)?;
        let Walk { blobs, mut done, .. } = walk;
        // A manifest is done after all that it names.
        let top = done
            .pop()
            .ok_or_else(|| invalid("index.json", "lists no image"))?;
        Ok(Self {
            files,
            blobs,
            children: done,
            top,
        })
    }

    /// Opens one of the blobs. Blocks.
    pub fn open(&self, blob: &Descriptor) -> Result<Blob, LayoutError> {
        self.files.blob(blob)
    }
}

/// The one image that `index.json` lists. Several names of one image are several entries of the same digest.
fn top(index: RawManifest) -> Result<(Descriptor, Media), LayoutError> {
    let file = "index.json";
    let (index_type, kind) = INDEX;
    check(file, &index, index_type, kind)?;
    let mut tops = index.manifests.unwrap_or_default().into_iter();
    let Some(first) = tops.next() else {
        return Err(invalid(file, "lists no image"));
    };
    if tops.any(|other| other.digest != first.digest) {
        return Err(invalid(file, "lists more than one image"));
    }
    let media = media(&first.media_type)
        .ok_or_else(|| invalid(file, "lists something that is neither an image nor an index"))?;
    Ok((checked(file, &first)?, media))
}

fn media(media_type: &str) -> Option<Media> {
    MANIFESTS.into_iter().find(|(known, _)| *known == media_type)
}

fn checked(file: &str, raw: &RawDescriptor) -> Result<Descriptor, LayoutError> {
    let digest = raw.digest.parse().map_err(|e| {
        // The text is anybody's.
        invalid(file, format!("names something by a digest that {e}"))
    })?;
    Ok(Descriptor {
        digest,
        size: raw.size,
    })
}

fn json<'a, T: Deserialize<'a>>(file: &str, bytes: &'a [u8]) -> Result<T, LayoutError> {
    // The parser's own message may quote the text, and it refuses what is nested too deeply.
    serde_json::from_slice(bytes).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        invalid(
            file,
            format!("is not what it should be at line {line}, column {column}"),
        )
    })
}

/// The way through all manifests, deepest first.
struct Walk<'a> {
    files: &'a Dir,
    /// The size of each blob that was met.
    sizes: HashMap<Digest, u64>,
    blobs: Vec<Descriptor>,
    blobs_size: u64,
    /// The media type of each manifest that was met. One that is met again is not gone through again, else a few indexes that
    /// name each other twice at every level would take for ever.
    seen: HashMap<Digest, &'static str>,
    manifests_size: u64,
    done: Vec<Manifest>,
}

impl Walk<'_> {
    fn manifest(
        &mut self,
        parent: &str,
        at: &Descriptor,
        (media_type, kind): Media,
        depth: usize,
    ) -> Result<(), LayoutError> {
        if let Some(before) = self.seen.get(&at.digest) {
            // It would be pushed as one of them.
            return if *before == media_type {
                Ok(())
            } else {
                Err(invalid(parent, format!("calls {} two things", at.digest)))
            };
        }
        if depth > MAX_DEPTH {
            return Err(invalid(
                parent,
                format!("has indexes in more than {MAX_DEPTH} levels"),
            ));
        }
        if at.size > MAX_MANIFEST {
            let limit = MAX_MANIFEST >> 20;
            return Err(invalid(
                parent,
                format!("names a manifest of more than {limit} MiB"),
            ));
        }
        self.seen.insert(at.digest.clone(), media_type);
        self.manifests_size += at.size;
        if self.seen.len() > MAX_MANIFESTS || self.manifests_size > MAX_MANIFESTS_SIZE {
            let limit = MAX_MANIFESTS_SIZE >> 20;
            return Err(invalid(
                "index.json",
                format!("leads to more than {MAX_MANIFESTS} manifests, or {limit} MiB of them"),
            ));
        }
        let bytes = self.files.blob(at)?.whole()?;
        let file = files::name(&at.digest);
        let raw: RawManifest = json(&file, &bytes)?;
        check(&file, &raw, media_type, kind)?;
        let entries = raw.manifests.unwrap_or_default().into_iter();
        let blobs = raw
            .config
            .into_iter()
            .chain(raw.layers.into_iter().flatten())
            .map(|raw| (raw, None));
        // An index may name blobs, as the caches that BuildKit wrote for years do.
        let entries = entries.map(|raw| {
            let media = media(&raw.media_type);
            (raw, media)
        });
        for (raw, media) in entries.chain(blobs) {
            let named = checked(&file, &raw)?;
            match media {
                Some(media) => self.manifest(&file, &named, media, depth + 1)?,
                None => self.blob(&file, named)?,
            }
        }
        self.done.push(Manifest {
            digest: at.digest.clone(),
            media_type,
            bytes,
        });
        Ok(())
    }

    fn blob(&mut self, parent: &str, blob: Descriptor) -> Result<(), LayoutError> {
        match self.sizes.get(&blob.digest) {
            Some(size) if *size == blob.size => return Ok(()),
            Some(_) => {
                return Err(invalid(
                    parent,
                    format!("names {} with another size than before", blob.digest),
                ));
            }
            None => {}
        }
        // Better now than when half of the image is sent.
        self.files.blob(&blob)?;
        self.sizes.insert(blob.digest.clone(), blob.size);
        self.blobs_size = self.blobs_size.saturating_add(blob.size);
        self.blobs.push(blob);
        if self.blobs.len() > MAX_BLOBS || self.blobs_size > MAX_BLOBS_SIZE {
            let limit = MAX_BLOBS_SIZE >> 30;
            return Err(invalid(
                "index.json",
                format!("leads to more than {MAX_BLOBS} blobs, or {limit} GiB of them"),
            ));
        }
        Ok(())
    }
}

/// Whether a document is what it was said to be, and that alone: it must not be two things to two readers (CVE-2021-41190).
fn check(file: &str, raw: &RawManifest, media_type: &str, kind: Kind) -> Result<(), LayoutError> {
    if raw.schema_version != 2 {
        return Err(invalid(file, "does not have schemaVersion 2"));
    }
    if raw.media_type.as_deref().is_some_and(|own| own != media_type) {
        return Err(invalid(
            file,
            "says that it is of another media type than what names it says",
        ));
    }
    let is_image = raw.config.is_some() || raw.layers.is_some();
    let fits = match kind {
        Kind::Index => raw.manifests.is_some() && !is_image,
        Kind::Image => raw.config.is_some() && raw.manifests.is_none(),
    };
    if fits {
        Ok(())
    } else {
        Err(invalid(file, "has not the content that its media type says"))
    }
}

#[cfg(test)]
pub(super) mod test_support;
#[cfg(test)]
mod tests;
