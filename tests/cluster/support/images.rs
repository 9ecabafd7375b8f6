//! Images that a test needs and no Dockerfile gives.

use std::{fmt::Write as _, fs};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{bed_dir, exec, script};

/// Pushes the probe with one more variable in its config, as version 1.0.0 of a repository; its digest.
pub fn with_variable(repository: &str, variable: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let layout = format!("dir:{}", folder.path().display());
    let certificates = bed_dir().join("certs.d/registry.bed.test:5000");
    exec(&[
        "skopeo",
        "copy",
        "--quiet",
        "--src-cert-dir",
        certificates.to_str().unwrap(),
        "docker://registry.bed.test:5000/acme/probe:1.0.0",
        &layout,
    ]);
    let path = |name: &str| folder.path().join(name);
    let json = |name: &str| -> Value { serde_json::from_slice(&fs::read(path(name)).unwrap()).unwrap() };
    let mut manifest = json("manifest.json");
    let name = |manifest: &Value| {
        let digest = manifest["config"]["digest"].as_str().unwrap();
        digest.strip_prefix("sha256:").unwrap().to_owned()
    };
    let mut config = json(&name(&manifest));
    config["config"]["Env"]
        .as_array_mut()
        .unwrap()
        .push(variable.into());
    let config = config.to_string();
    let mut hex = String::new();
    for byte in Sha256::digest(config.as_bytes()) {
        write!(hex, "{byte:02x}").unwrap();
    }
    manifest["config"]["digest"] = json!(format!("sha256:{hex}"));
    manifest["config"]["size"] = json!(config.len());
    fs::write(path(&hex), config).unwrap();
    fs::write(path("manifest.json"), manifest.to_string()).unwrap();
    let to = format!("registry.bed.test:5000/{repository}:1.0.0");
    script("image-push", &[&layout, &to]).trim().to_owned()
}
