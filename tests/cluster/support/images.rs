//! Images that a test needs and no Dockerfile gives.

use std::{fmt::Write as _, fs};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{bed_dir, exec, script, try_exec};

/// Pushes the probe with one more variable in its config, as version 1.0.0 of a repository; its digest.
pub fn with_variable(repository: &str, variable: &str) -> String {
    changed("1.0.0", &format!("{repository}:1.0.0"), |_, config| {
        config["config"]["Env"]
            .as_array_mut()
            .unwrap()
            .push(variable.into());
    })
}

/// Pushes a version of the probe that says something of itself, by annotations and by labels; its digest.
pub fn saying(version: &str, to: &str, annotations: &[(&str, &str)], labels: &[(&str, &str)]) -> String {
    changed(version, to, |manifest, config| {
        let name = |name: &str| format!("org.opencontainers.image.{name}");
        for (key, text) in annotations {
            manifest["annotations"][name(key)] = json!(text);
        }
        for (key, text) in labels {
            config["config"]["Labels"][name(key)] = json!(text);
        }
    })
}

/// Pushes a version of the probe that says nothing of itself; its digest.
pub fn saying_nothing(version: &str, to: &str) -> String {
    changed(version, to, |manifest, config| {
        manifest["annotations"] = json!({});
        config["config"]["Labels"] = json!({});
    })
}

/// What the registry has under a name: its digest, and the manifest or index itself.
pub fn pushed(image: &str) -> Option<(String, Value)> {
    let certificates = bed_dir().join("certs.d/registry.bed.test:5000");
    let certificates = format!("--cert-dir={}", certificates.display());
    let image = format!("docker://{image}");
    let raw = try_exec(&["skopeo", "inspect", "--raw", &certificates, &image], "").ok()?;
    let digest = format!("sha256:{}", hex(raw.as_bytes()));
    Some((digest, serde_json::from_str(&raw).unwrap()))
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}

/// Pushes a version of the probe with another manifest and config, as `repository:tag`; its digest.
fn changed(version: &str, to: &str, change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let layout = format!("dir:{}", folder.path().display());
    let certificates = bed_dir().join("certs.d/registry.bed.test:5000");
    exec(&[
        "skopeo",
        "copy",
        "--quiet",
        "--src-cert-dir",
        certificates.to_str().unwrap(),
        &format!("docker://registry.bed.test:5000/acme/probe:{version}"),
        &layout,
    ]);
    let path = |name: &str| folder.path().join(name);
    let json = |name: &str| -> Value { serde_json::from_slice(&fs::read(path(name)).unwrap()).unwrap() };
    let mut manifest = json("manifest.json");
    let digest = manifest["config"]["digest"].as_str().unwrap().to_owned();
    let mut config = json(digest.strip_prefix("sha256:").unwrap());
    change(&mut manifest, &mut config);
    let config = config.to_string();
    let hex = hex(config.as_bytes());
    manifest["config"]["digest"] = json!(format!("sha256:{hex}"));
    manifest["config"]["size"] = json!(config.len());
    fs::write(path(&hex), config).unwrap();
    fs::write(path("manifest.json"), manifest.to_string()).unwrap();
    let to = format!("registry.bed.test:5000/{to}");
    script("image-push", &[&layout, &to]).trim().to_owned()
}
