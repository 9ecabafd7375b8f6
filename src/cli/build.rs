//! What Slipway's own containers of a build do: `fetch` before the builder, `push` after it; and `processes` where a builder is
//! tried. For the Jobs that Slipway makes, and not for people.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::Context as _;
use clap::Subcommand;

use crate::build::message::Message;

mod fetch;
mod processes;
mod push;

/// Where a container leaves how it ended.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// All of them.
#[derive(Debug, Subcommand)]
pub enum Args {
    /// Fetch the source of an image, and look whether it can be built.
    Fetch(fetch::Args),
    /// Push an image that lies in a directory.
    Push(push::Args),
    /// Count how many processes may run here at once.
    Processes,
}

/// How one of them ended, when it is not as it was to.
struct Ended {
    sentence: String,
    /// Whether it was none of the source's fault.
    later: bool,
}

impl Ended {
    fn for_good(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            later: false,
        }
    }

    fn for_now(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            later: true,
        }
    }
}

/// Runs one of them, and leaves its message.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let done = match args {
        Args::Fetch(args) => fetch::run(args).map(Some),
        Args::Push(args) => push::run(args).map(|digest| Some(Message::Pushed { digest })),
        Args::Processes => Ok(Some(processes::run())),
    };
    match done {
        Ok(Some(message)) => leave(&message),
        Ok(None) => Ok(()),
        Err(Ended { sentence, later }) => {
            leave(&Message::failed(&sentence, later))?;
            Err(anyhow::anyhow!(sentence))
        }
    }
}

fn leave(message: &Message) -> anyhow::Result<()> {
    fs::write(TERMINATION_LOG, message.print()).with_context(|| format!("cannot write {TERMINATION_LOG}"))
}

/// The files of a Secret as a volume: key → content. What Kubernetes keeps beside them begins with two dots.
fn mounted(directory: &PathBuf) -> Result<BTreeMap<String, Vec<u8>>, Ended> {
    let unreadable = |error: std::io::Error| {
        Ended::for_now(format!(
            "the credentials in {} cannot be read: {error}",
            directory.display()
        ))
    };
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        if !name.starts_with("..") && path.is_file() {
            found.insert(name, fs::read(&path).map_err(unreadable)?);
        }
    }
    Ok(found)
}
