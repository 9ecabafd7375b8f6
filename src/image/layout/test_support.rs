//! Layouts on disk as `BuildKit` writes them, for tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The digest of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    crate::image::session::sha256(bytes).ok().unwrap().to_string()
}

/// A layout that ends with the test.
pub struct Disk(TempDir);

impl Disk {
    /// An empty one, whose `index.json` is still to come.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(dir)
    }

    /// One with an image of some layers.
    pub fn with_image(layers: &[&[u8]]) -> Self {
        let disk = Self::new();
        let image = disk.image("linux", layers);
        disk.lists(&[image]);
        disk
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The file of a blob.
    pub fn file(&self, digest: &str) -> PathBuf {
        self.path().join("blobs").join(digest.replace(':', "/"))
    }

    /// Writes a blob; its descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest_of(bytes);
        fs::write(self.file(&digest), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Writes a document; its descriptor.
    pub fn document(&self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// Writes an image with this operating system in its config; its descriptor.
    pub fn image(&self, os: &str, layers: &[&[u8]]) -> Value {
        let config = json!({"os": os, "architecture": "amd64"});
        let config = self.document(CONFIG, &config);
        let layers: Vec<Value> = layers.iter().map(|bytes| self.blob(LAYER, bytes)).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers});
        self.document(IMAGE, &manifest)
    }

    /// Writes an index; its descriptor.
    pub fn index(&self, entries: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        self.document(INDEX, &index)
    }

    /// Writes `index.json`.
    pub fn lists(&self, entries: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": entries});
        fs::write(self.path().join("index.json"), index.to_string()).unwrap();
    }
}
