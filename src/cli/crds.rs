//! `slipway crds`: the definitions of the kinds as YAML.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;

/// Arguments of `slipway crds`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write one file per kind into this directory instead of printing them.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Prints or writes the definitions.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let files = documents()?;
    let Some(directory) = &args.output else {
        let mut out = io::stdout().lock();
        for (_, text) in files {
            out.write_all(text.as_bytes())?;
        }
        return Ok(());
    };
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for (name, text) in files {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// File name and content of each definition, in the order of the names.
pub fn documents() -> anyhow::Result<Vec<(String, String)>> {
    crate::api::crds::crds()
        .into_iter()
        .map(|crd| {
            let kind = crd.spec.names.kind.to_lowercase();
            // Through a JSON value, whose maps are sorted: the same text on every machine.
            let value = serde_json::to_value(&crd)?;
            let text = serde_yaml::to_string(&value)?;
            Ok((format!("{kind}.yaml"), format!("---\n{text}")))
        })
        .collect()
}
