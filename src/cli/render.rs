//! `slipway render`: what would be applied, from files alone. The same functions as in the controller; only the digest
//! is not known without a registry, and is written as zeros where the spec gives none.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::{
    names::{Digest, Namespace, ReleaseName, RevisionNumber},
    render,
    spec::{
        self,
        declared::ImagePick,
        document::{self, Document, Problem},
        merge, strict,
    },
};

/// Arguments of `slipway render`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and directories, in order: documents of later ones are merged over earlier ones.
    #[arg(required = true, value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    /// Only the releases of this namespace.
    #[arg(long, short)]
    pub namespace: Option<Namespace>,
    /// Only the release of this name.
    #[arg(long)]
    pub name: Option<ReleaseName>,
}

/// Reads, merges, validates, renders and prints.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let (text, problems) = render_paths(args)?;
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write to standard output")?;
    if problems.is_empty() {
        return Ok(());
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    bail!(
        "{} problem{} in the specs",
        problems.len(),
        if problems.len() == 1 { "" } else { "s" }
    )
}

fn render_paths(args: &Args) -> anyhow::Result<(String, Vec<Problem>)> {
    let mut problems = Vec::new();
    let mut layers = Vec::new();
    for path in &args.paths {
        let mut layer: Vec<Document> = Vec::new();
        for file in spec_files(path)? {
            let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let (documents, wrong) = document::parse_file(&file.display().to_string(), &bytes);
            problems.extend(wrong);
            for document in documents {
                let wrong = strict::check(&document);
                if wrong.is_empty() {
                    layer.push(document);
                }
                problems.extend(wrong);
            }
        }
        layers.push(layer);
    }
    let (merged, wrong, _) = merge::assemble(&layers);
    problems.extend(wrong);
    let wanted = |id: &crate::names::ReleaseId| {
        args.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == id.namespace)
            && args.name.as_ref().is_none_or(|name| *name == id.name)
    };
    let mut text = String::new();
    for (id, merged) in merged.iter().filter(|(id, _)| wanted(id)) {
        let declared = match spec::declare(&id.name, &merged.spec) {
            Ok(Some(declared)) => declared,
            Ok(None) => {
                text.push_str(&format!(
                    "# {id}: no version is declared, so nothing is deployed\n"
                ));
                continue;
            }
            Err(rejections) => {
                problems.extend(rejections.into_iter().map(|rejection| {
                    merged.problem(&rejection.pointer, &format!("release {id}: {rejection}"))
                }));
                continue;
            }
        };
        let digest: Digest = match &declared.image.pick {
            ImagePick::Digest(digest) => digest.clone(),
            ImagePick::Tag(_) => format!("sha256:{}", "0".repeat(64)).parse()?,
        };
        let input = render::Input {
            id,
            declared: &declared,
            digest: &digest,
            architectures: &[],
            revision: RevisionNumber(1),
            provenance: None,
            owner: None,
        };
        text.push_str(&format!(
            "# {id} {} as revision v1, before its digest is known\n",
            declared.version
        ));
        let job = render::migrate_job(&input, &"0".repeat(64), 1);
        for object in render::render(&input).iter().chain(job.iter()) {
            text.push_str("---\n");
            text.push_str(&serde_yaml::to_string(&object.value).context("cannot write YAML")?);
        }
    }
    Ok((text, problems))
}

/// The spec files of a path, in the order of their names.
fn spec_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files.extend(spec_files(&entry.path())?);
        } else if kind.is_file() && document::is_spec_file(&entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn args(paths: &[&str]) -> Args {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        Args {
            paths: paths.iter().map(|path| root.join(path)).collect(),
            namespace: None,
            name: None,
        }
    }

    #[test]
    fn the_examples_can_be_rendered() {
        let (text, problems) =
            render_paths(&args(&["examples/releases/base", "examples/releases/production"])).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        for kind in ["Deployment", "Service", "Job", "ServiceAccount"] {
            assert!(text.contains(&format!("kind: {kind}\n")), "{kind}");
        }
        assert!(!text.contains("value: ecto://"), "secrets are references");
    }

    #[test]
    fn problems_have_their_place_and_do_not_stop_others() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("bad.yaml"), "kind: Secret\n").unwrap();
        let mut args = args(&["examples/releases/base", "examples/releases/production"]);
        args.paths.push(folder.path().to_owned());
        let (text, problems) = render_paths(&args).unwrap();
        assert!(problems.len() == 1 && text.contains("kind: Deployment"));
    }
}
