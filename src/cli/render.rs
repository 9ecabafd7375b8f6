//! `slipway render`: what would be applied, from files alone. The same functions as in the controller; only the digest
//! is not known without a registry, and is written as zeros where the spec gives none.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context as _, bail};

use super::{closed, layers, reach::print};
use crate::{
    names::{Digest, Namespace, ReleaseName},
    render,
    spec::{
        declared::ImagePick,
        document::Problem,
        reading::{self, Named},
    },
    words::count,
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
    // A reader that has seen enough, such as `head`, does not make the specs right.
    match print(&text) {
        Err(error) if !closed(&error) || problems.is_empty() => return Err(error),
        _ => {}
    }
    if problems.is_empty() {
        return Ok(());
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    bail!("{} in the specs", count(problems.len(), "problem"))
}

fn render_paths(args: &Args) -> anyhow::Result<(String, Vec<Problem>)> {
    let layers = layers::read(&args.paths)?;
    let reading = reading::read(&layers.files, &Named::new(), &|_| None);
    let wanted = |id: &crate::names::ReleaseId| {
        args.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == id.namespace)
            && args.name.as_ref().is_none_or(|name| *name == id.name)
    };
    let mut text = String::new();
    for (id, release) in reading.releases.iter().filter(|(id, _)| wanted(id)) {
        let Some(declared) = &release.declared else {
            writeln!(text, "# {id}: no version is declared, so nothing is deployed")?;
            continue;
        };
        let digest: Digest = match &declared.image.pick {
            ImagePick::Digest(digest) => digest.clone(),
            ImagePick::Tag(_) => format!("sha256:{}", "0".repeat(64)).parse()?,
        };
        let input = render::Input::of(id, declared, &digest);
        let version = &declared.version;
        writeln!(
            text,
            "# {id} {version} as revision v1, before its digest is known"
        )?;
        let job = render::migrate_job(&input, &"0".repeat(64), 1);
        for object in render::render(&input).iter().chain(job.iter()) {
            text.push_str("---\n");
            text.push_str(&serde_yaml::to_string(&object.value).context("cannot write YAML")?);
        }
    }
    Ok((text, reading.problems))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

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
