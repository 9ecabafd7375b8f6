//! `slipway build fetch`: a commit → the files of one directory, and what follows from them for the builder.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{Ended, mounted};
use crate::{
    api::{meta, release::Agree},
    build::{
        message::Message,
        tree::{self, Finding, Judgement, Source, Weight},
    },
    hex::hex,
    names::CommitId,
    repository::{GitRef, GitUrl},
    source::{
        self, CheckoutError, CheckoutLimits, Credentials, FetchError, FetchLimits, Intent, Mirror, ReadError,
        Reader, Written,
    },
};

/// What a fetch may cost: sources of applications are larger than those of specs, and come without their past.
const LIMITS: FetchLimits = FetchLimits {
    wall_clock: Duration::from_secs(600),
    bytes: 1 << 30,
    shallow: true,
};

/// Lock files of large applications have some MiB.
const LARGEST_LOCK: u64 = 64 << 20;

/// Arguments of `slipway build fetch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The repository.
    #[arg(long, value_name = "URL")]
    git: String,
    /// The commit, by its full id.
    #[arg(long)]
    commit: CommitId,
    /// The directory that is built.
    #[arg(long, default_value = ".")]
    path: String,
    /// The Dockerfile, from that directory on.
    #[arg(long, default_value = "Dockerfile")]
    dockerfile: String,
    /// The stage that is the image.
    #[arg(long)]
    target: Option<String>,
    /// A stage that is built before it.
    #[arg(long)]
    test_target: Option<String>,
    /// A build argument that the spec gives; may be repeated.
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = pair)]
    given: Vec<(String, String)>,
    /// The id of a secret mount that the spec gives; may be repeated.
    #[arg(long = "secret", value_name = "ID")]
    secrets: Vec<String>,
    /// What is built for, beside or instead of the platform of this node; may be repeated.
    #[arg(long = "platform", value_name = "OS/ARCH")]
    platforms: Vec<String>,
    /// What follows from dependencies without a lock file.
    #[arg(long, default_value = "enforce", value_enum)]
    locks: Unlocked,
    /// Where the credentials are, one file for each key.
    #[arg(long, value_name = "DIR")]
    credentials: Option<PathBuf>,
    /// CAs in PEM that are trusted beside the system's.
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// Where the files are written to; made here.
    #[arg(long, value_name = "DIR")]
    tree: PathBuf,
    /// Where further arguments for the builder are written to, one a line.
    #[arg(long, value_name = "FILE")]
    options: PathBuf,
    /// Where fields of the builder's output are written to: the time of the commit, as that of the image.
    #[arg(long, value_name = "FILE")]
    time: PathBuf,
}

/// As [`Agree`], as an argument.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Unlocked {
    Ignore,
    Warn,
    Enforce,
}

impl From<Unlocked> for Agree {
    fn from(unlocked: Unlocked) -> Self {
        match unlocked {
            Unlocked::Ignore => Self::Ignore,
            Unlocked::Warn => Self::Warn,
            Unlocked::Enforce => Self::Enforce,
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn run(args: &Args) -> Result<Message, Ended> {
    source::init_alone(args.ca_bundle.as_deref()).map_err(|error| Ended::for_now(error.to_string()))?;
    // Whether plain http is allowed was asked when the commit was asked for.
    let url = GitUrl::parse(&args.git, true).map_err(|error| Ended::for_good(error.to_string()))?;
    let credentials = match &args.credentials {
        Some(directory) => Credentials::from_secret(&mounted(directory)?)
            .map_err(|error| Ended::for_good(format!("the Secret of source.secret: {error}")))?,
        None => Credentials::anonymous(),
    };
    let store = args.tree.with_extension("git");
    let mirror = Mirror::open(&store, &url).map_err(|error| fetching(&error))?;
    let reference = GitRef::Commit(args.commit.clone());
    let fetched = mirror.fetch(&reference, &credentials, LIMITS);
    fetched.map_err(|error| fetching(&error))?;
    let reader = mirror.reader().map_err(|error| reading(&error))?;
    let to = place(&args.tree, &args.path).map_err(|error| storing("the source", &error))?;
    let written = reader
        .check_out(&args.commit, &args.path, &to, CheckoutLimits::default())
        .map_err(|error| writing(&error))?;
    println!("{} files, {} KiB", written.files.len(), written.bytes >> 10);
    let judgement = judge(args, &reader, &written)?;
    let mut options = options(&written, &judgement);
    let locks = locks(args, &reader, &judgement)?;
    println!(
        "note: locked by {}",
        if locks.is_empty() { "no file" } else { &locks }
    );
    // One line each: a name in the tree is whatever a committer wrote.
    if !locks.contains(char::is_control) {
        let _ = writeln!(options, "--opt=label:{}={locks}", meta::LOCKS);
    }
    fs::write(&args.options, options).map_err(|error| storing("the options of the builder", &error))?;
    fs::write(&args.time, time(written.committed_at))
        .map_err(|error| storing("the time of the commit", &error))?;
    drop(reader);
    // The builder needs none of it, and it counts as what a build may write.
    fs::remove_dir_all(&store).map_err(|error| storing("away the mirror", &error))?;
    let warned = |finding: &&Finding| finding.weight == Weight::Warned;
    let warned = judgement.findings.iter().filter(warned);
    let sentences: Vec<String> = warned
        .map(|finding| format!("{} {}", position(finding), finding.words))
        .collect();
    Ok(Message::fetched(&sentences))
}

/// Where a directory of the repository is written to; what is above it is made.
fn place(tree: &Path, path: &str) -> io::Result<PathBuf> {
    if path == "." {
        return Ok(tree.to_owned());
    }
    let to = tree.join(path);
    if let Some(above) = to.parent() {
        fs::create_dir_all(above)?;
    }
    Ok(to)
}

fn storing(what: &str, error: &io::Error) -> Ended {
    Ended::for_now(format!("cannot write {what}: {error}"))
}

fn fetching(error: &FetchError) -> Ended {
    match error.intent() {
        Intent::Retry => Ended::for_now(error.to_string()),
        Intent::Stall => Ended::for_good(error.to_string()),
    }
}

fn reading(error: &ReadError) -> Ended {
    match error.intent() {
        Intent::Retry => Ended::for_now(error.to_string()),
        Intent::Stall => Ended::for_good(error.to_string()),
    }
}

/// What a node lacks is no fault of the source.
fn writing(error: &CheckoutError) -> Ended {
    use io::ErrorKind::{AlreadyExists, InvalidFilename, InvalidInput, IsADirectory, NotADirectory};
    match error {
        CheckoutError::Read(error) => reading(error),
        CheckoutError::Storage { source, .. }
            if ![
                AlreadyExists,
                InvalidFilename,
                InvalidInput,
                IsADirectory,
                NotADirectory,
            ]
            .contains(&source.kind()) =>
        {
            Ended::for_now(error.to_string())
        }
        CheckoutError::Odd { .. } | CheckoutError::Storage { .. } => Ended::for_good(error.to_string()),
    }
}

/// Where a file of the directory that is built lies in the repository.
fn place_of(args: &Args, name: &str) -> String {
    if args.path == "." {
        name.to_owned()
    } else {
        format!("{}/{name}", args.path)
    }
}

fn judge(args: &Args, reader: &Reader, written: &Written) -> Result<Judgement, Ended> {
    let place = |name: &str| place_of(args, name);
    let read = |name: &str| -> Result<Option<String>, Ended> {
        // One byte more, so that what is too large is seen to be.
        let most = u64::try_from(tree::LARGEST).unwrap_or(u64::MAX).saturating_add(1);
        let bytes = reader.file_up_to(&args.commit, &place(name), most);
        let bytes = bytes.map_err(|error| reading(&error))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let path = place(&args.dockerfile);
    let Some(dockerfile) = read(&args.dockerfile)? else {
        return Err(Ended::for_good(format!(
            "there is no {path} in commit {}: commit one, or say by build.dockerfile and source.path where it is",
            args.commit.short()
        )));
    };
    let tops = written.files.iter().filter_map(|file| file.split('/').next());
    let mut names: Vec<String> = tops.map(str::to_owned).collect();
    names.dedup();
    let mut texts = BTreeMap::new();
    for name in tree::WANTED {
        if let Some(text) = read(name)? {
            texts.insert(name.to_owned(), text);
        }
    }
    let tools = tools(args, reader)?;
    let mut below = tree::below(&written.files, &dockerfile);
    for project in &mut below {
        for name in project.names.clone() {
            if tree::WANTED.contains(&name.as_str())
                && let Some(text) = read(&format!("{}/{name}", project.directory))?
            {
                project.texts.insert(name, text);
            }
        }
    }
    let judgement = tree::judge(&Source {
        path: &path,
        dockerfile: &dockerfile,
        context: &args.path,
        names: &names,
        texts: &texts,
        below: &below,
        tools: tools
            .as_ref()
            .map(|(place, text)| (place.as_str(), text.as_str())),
        unlocked: args.locks.into(),
        args: &args.given.iter().cloned().collect(),
        target: args.target.as_deref(),
        secrets: &args.secrets,
        platforms: &args.platforms,
        node: processor(),
        submodules: &written.submodules,
        pointers: &written.pointers,
    });
    for finding in &judgement.findings {
        println!("{}", line(finding));
    }
    let refused = |finding: &&Finding| finding.weight == Weight::Refused;
    let refused: Vec<&Finding> = judgement.findings.iter().filter(refused).collect();
    let sentence = match refused.as_slice() {
        [] => return Ok(judgement),
        [only] => format!("{} {}", position(only), only.words),
        [first, rest @ ..] => format!("{} {} (and {} more)", position(first), first.words, rest.len()),
    };
    Err(Ended::for_good(sentence))
}

/// The nearest `.tool-versions`, with its place: asdf and mise look for it in the directories above, too
/// (<https://asdf-vm.com/manage/configuration.html>).
fn tools(args: &Args, reader: &Reader) -> Result<Option<(String, String)>, Ended> {
    let most = u64::try_from(tree::LARGEST).unwrap_or(u64::MAX).saturating_add(1);
    let mut directory = if args.path == "." { "" } else { args.path.as_str() };
    loop {
        let place = if directory.is_empty() {
            tree::TOOLS.to_owned()
        } else {
            format!("{directory}/{}", tree::TOOLS)
        };
        let bytes = reader.file_up_to(&args.commit, &place, most);
        if let Some(bytes) = bytes.map_err(|error| reading(&error))? {
            return Ok(Some((place, String::from_utf8_lossy(&bytes).into_owned())));
        }
        if directory.is_empty() {
            return Ok(None);
        }
        directory = directory.rsplit_once('/').map_or("", |(above, _)| above);
    }
}

/// `mix.lock sha256:…`, one after the other: what an image is made with of its dependencies.
fn locks(args: &Args, reader: &Reader, judgement: &Judgement) -> Result<String, Ended> {
    let mut locks = Vec::new();
    for name in &judgement.lock_files {
        let file = reader.file_up_to(&args.commit, &place_of(args, name), LARGEST_LOCK);
        if let Some(bytes) = file.map_err(|error| reading(&error))? {
            locks.push(format!("{name} sha256:{}", hex(&Sha256::digest(&bytes))));
        }
    }
    Ok(locks.join(", "))
}

/// `apps/shop/Dockerfile:12:`
fn position(finding: &Finding) -> String {
    let line = finding.line.map(|line| format!("{line}:")).unwrap_or_default();
    format!("{}:{line}", finding.file)
}

fn line(finding: &Finding) -> String {
    let weight = match finding.weight {
        Weight::Refused => "error",
        Weight::Warned => "warning",
        Weight::Told => "note",
    };
    format!(
        "{weight}: {} {} [{}]",
        position(finding),
        finding.words,
        finding.rule
    )
}

/// The processor of this node, as [Go](https://go.dev/doc/install/source#environment) and so Kubernetes and registries call it.
fn processor() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// When an image was made: <https://github.com/opencontainers/image-spec/blob/main/annotations.md>.
const CREATED: &str = "org.opencontainers.image.created";

/// The time of the commit is that of the image, and of what it says of itself.
fn time(seconds: i64) -> String {
    let mut fields = format!("source-date-epoch={seconds}");
    if let Ok(time) = Timestamp::from_second(seconds) {
        for of in ["annotation", "annotation-index"] {
            let _ = write!(fields, ",{of}.{CREATED}={time}");
        }
    }
    fields
}

/// What follows from the source for the builder: the versions that `.tool-versions` names, and `SOURCE_DATE_EPOCH`
/// (<https://reproducible-builds.org/docs/source-date-epoch/>) where a step is to see it. Each `COPY` is then known by it, too,
/// so nothing of an earlier commit is found in the cache: where nobody declares it, it is not given.
fn options(written: &Written, judgement: &Judgement) -> String {
    let mut options = String::new();
    if judgement.declares_time {
        let _ = writeln!(
            options,
            "--opt=build-arg:SOURCE_DATE_EPOCH={}",
            written.committed_at
        );
    }
    if let Ok(time) = Timestamp::from_second(written.committed_at) {
        let _ = writeln!(options, "--opt=label:{CREATED}={time}");
    }
    for extra in &judgement.extra_args {
        // One line each: what does not fit into one is no version.
        if !extra.value.contains(['\n', '\r', '\0']) {
            let by = extra.line.map_or("since steps are emulated".to_owned(), |line| {
                format!("by .tool-versions:{line}")
            });
            println!("note: {}={} {by}", extra.arg, extra.value);
            let _ = writeln!(options, "--opt=build-arg:{}={}", extra.arg, extra.value);
        }
    }
    options
}
