//! `slipway history`: the revisions of a release, newest first.

use super::reach::{self, Format, Reach, pretty, print, told};
use crate::{
    names::{Namespace, ReleaseName},
    words::history,
};

/// Arguments of `slipway history`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each attempt with its version, commit, author, cause, outcome, migration, digest and how long it took. The last
retain.revisions are kept; slipway audit joins them with what git says of older ones.

Examples:
  slipway history billing -n shop
  slipway history billing -n shop --format json | jq '.revisions[0].digest'")]
pub struct Args {
    /// The release.
    #[arg(value_name = "RELEASE")]
    pub name: ReleaseName,
    /// Its namespace; that of the kubeconfig's context when absent.
    #[arg(long, short)]
    pub namespace: Option<Namespace>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Which cluster.
    #[command(flatten)]
    pub reach: Reach,
}

/// Asks and prints.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let attempt = format!("list the revisions of {}", args.name);
    args.reach.run(&attempt, |cluster| async move {
        let id = cluster.release(args.namespace.as_ref(), &args.name)?;
        let revisions = reach::revisions(&cluster, &id).await.map_err(told)?;
        let ledger = reach::ledger(&cluster, &id).await;
        if let Err(error) = &ledger {
            eprintln!(
                "migrations are told as the revisions have them: {}",
                error.sentence()
            );
        }
        let rows = history::rows(&revisions, ledger.ok().flatten().as_ref());
        print(&match args.format {
            Format::Text => history::text(&id.to_string(), &rows),
            Format::Json => pretty(&history::json(&id.to_string(), &rows))?,
        })
    })
}
