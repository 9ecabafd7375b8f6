//! The command line: one file per command, and how their results become exit codes.
//!
//! 0 is success, 1 a problem that the message names, 2 a command line that makes no sense.

pub mod audit;
pub mod build;
pub mod check;
pub mod controller;
pub mod crds;
mod declarations;
pub mod explain;
pub mod history;
mod layers;
mod reach;
pub mod reference;
pub mod render;
pub mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Brings each cluster to the versions that git declares.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controller in or beside a cluster.
    Controller(controller::Args),
    /// Print the definitions of Slipway's kinds.
    Crds(crds::Args),
    /// Check specs, without a cluster.
    Check(check::Args),
    /// Print the objects of releases, without a cluster.
    Render(render::Args),
    /// Say how every release is, problems first.
    Status(status::Args),
    /// Say why a release is as it is, and what to do.
    Explain(explain::Args),
    /// List the revisions of a release.
    History(history::Args),
    /// Say what was declared at a date, by whom, and what ran.
    Audit(audit::Args),
    /// Be a part of a build: the containers of its Job.
    #[command(hide = true, subcommand)]
    Build(build::Args),
    /// Print the page of every field, as Markdown: for `make generate`.
    #[command(hide = true)]
    Reference,
}

/// The command line makes no sense, in a way that its grammar does not show.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Runs one command. Problems are printed, with all their causes, to standard error.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Controller(args) => controller::run(args),
        Command::Crds(args) => crds::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::History(args) => history::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Reference => reference::run(),
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if closed(&error) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {}", crate::telemetry::chain(error.as_ref()));
    if error.is::<Usage>() {
        ExitCode::from(2)
    } else {
        ExitCode::from(1)
    }
}

/// Whether the reader of what is printed has seen enough, such as `head`: that is no problem.
fn closed(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes
        .into_iter()
        .any(|io: &std::io::Error| io.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }
}
