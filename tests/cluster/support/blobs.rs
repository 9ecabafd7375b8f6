//! What a registry keeps of a repository: every blob of its images and of its build cache, as it is and decompressed.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    bed_dir,
    canary::{Channel, Leak, Searcher, Text},
};

fn store(side: &str) -> PathBuf {
    bed_dir().join("registry").join(side).join("docker/registry/v2")
}

/// The digests of all that a repository refers to: layers, configs, manifests, indexes, and what says how they were made.
fn digests(side: &str, repository: &str) -> BTreeSet<String> {
    let folder = store(side).join("repositories").join(repository);
    let names = |within: &str| -> Vec<String> {
        let entries = fs::read_dir(folder.join(within)).into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let all = names("_layers/sha256")
        .into_iter()
        .chain(names("_manifests/revisions/sha256"));
    all.collect()
}

/// The tags of a repository.
pub fn tags(side: &str, repository: &str) -> Vec<String> {
    let folder = store(side)
        .join("repositories")
        .join(repository)
        .join("_manifests/tags");
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn decompressed(path: &Path) -> Option<Vec<u8>> {
    let head = {
        use std::io::Read as _;
        let mut head = [0; 4];
        let read = File::open(path).unwrap().read(&mut head).unwrap();
        head[..read].to_vec()
    };
    let program = match head.as_slice() {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "zstd",
        _ => return None,
    };
    let output = Command::new(program)
        .args(["-d", "-c", "-q"])
        .stdin(File::open(path).unwrap())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{program} of {}", path.display());
    Some(output.stdout)
}

/// How many blobs a repository has, of how many bytes decompressed, and what of these values stands in them.
pub fn search(side: &str, repository: &str, searcher: &Searcher) -> (usize, usize, BTreeSet<Leak>) {
    let (mut count, mut bytes, mut leaks) = (0, 0, BTreeSet::new());
    for digest in digests(side, repository) {
        let path = store(side)
            .join("blobs/sha256")
            .join(&digest[..2])
            .join(&digest)
            .join("data");
        // A layer that it was mounted from, and that is gone.
        if !path.is_file() {
            continue;
        }
        let raw = fs::read(&path).unwrap();
        let forms = [decompressed(&path), Some(raw)];
        count += 1;
        for form in forms.into_iter().flatten() {
            bytes += form.len();
            let text = Text {
                channel: Channel::Files,
                what: format!("{repository}@sha256:{digest}"),
                bytes: form,
            };
            leaks.extend(searcher.search(&[text]));
        }
    }
    (count, bytes, leaks)
}
