//! `slipway render`: the objects of releases, from files alone.

use std::path::PathBuf;

use crate::names::{Namespace, ReleaseName};

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
    anyhow::bail!(
        "cannot render {} path(s): this command is not there yet",
        args.paths.len()
    )
}
