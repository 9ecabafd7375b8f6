//! What builds are given: Secrets of the namespace where they run.

use super::{bed_dir, kubectl};

/// Where builds run.
pub const BUILDS: &str = "slipway-builds";

/// A Secret with which the git server of the bed is asked, for this repository alone.
pub fn credentials(name: &str, url: &str) {
    let password = format!(
        "--from-file=password={}",
        bed_dir().join("secrets/git-password").display()
    );
    let arguments = ["-n", BUILDS, "delete", "secret", name, "--ignore-not-found"];
    kubectl(&arguments);
    kubectl(&[
        "-n",
        BUILDS,
        "create",
        "secret",
        "generic",
        name,
        "--from-literal=username=slipway",
        &password,
    ]);
    annotate(name, url);
}

/// Says for which repositories a Secret is.
pub fn annotate(name: &str, url: &str) {
    let what = format!("slipway.dev/for={url}");
    kubectl(&["-n", BUILDS, "annotate", "--overwrite", "secret", name, &what]);
}
