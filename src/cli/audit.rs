//! `slipway audit`: what was declared at a date and what ran, from a clone of git alone or joined with a cluster.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use futures::{StreamExt as _, stream};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    Usage,
    declarations::Declarations,
    reach::{self, Cluster, Reach, or_say, pretty, print, told},
};
use crate::{
    api::{Release, ReleaseSource},
    names::ReleaseId,
    words::audit::{self, Asked, Author, Record, Span},
};

/// Arguments of `slipway audit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Dates are RFC 3339 (2026-05-03T14:00:00Z) or days (2026-05-03), in UTC. A day means its end in --at and --until, and its
beginning in --since. Without a date it is now.

What was declared is read from git by the rules of the source loop; a broken file keeps what was declared before. What ran
is known as far as the cluster keeps revisions (retain.revisions); where one is missing the answer is \"not known\".

Examples:
  slipway audit --repo releases --source-path base --source-path production --at 2026-05-03 --no-cluster
  slipway audit --repo releases --release shop/billing --since 2026-04-01 --until 2026-04-30 --format csv")]
pub struct Args {
    /// The clone of the repository of specs, whole and up to date.
    #[arg(long, value_name = "PATH")]
    pub repo: PathBuf,
    /// A directory of the source, in order; those that the cluster follows when absent.
    #[arg(long = "source-path", value_name = "DIR")]
    pub source_paths: Vec<String>,
    /// The branch, tag or commit that the source follows.
    #[arg(long = "ref", value_name = "NAME", default_value = "HEAD")]
    pub reference: String,
    /// Only this release.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub release: Option<Id>,
    /// At this date.
    #[arg(long, value_name = "DATE", conflicts_with_all = ["since", "until"])]
    pub at: Option<When>,
    /// Each change from this date on.
    #[arg(long, value_name = "DATE")]
    pub since: Option<When>,
    /// Up to this date; now when absent.
    #[arg(long, value_name = "DATE", requires = "since")]
    pub until: Option<When>,
    /// Ask no cluster: git alone.
    #[arg(long)]
    pub no_cluster: bool,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Which cluster.
    #[command(flatten)]
    pub reach: Reach,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For machines.
    Json,
    /// For spreadsheets.
    Csv,
}

/// A release as `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id(ReleaseId);

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = text.split_once('/').ok_or("write it as NAMESPACE/NAME")?;
        Ok(Self(ReleaseId {
            namespace: namespace
                .parse()
                .map_err(|error| format!("the namespace {error}"))?,
            name: name.parse().map_err(|error| format!("the name {error}"))?,
        }))
    }
}

/// A moment, or a whole day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// A moment.
    Moment(Timestamp),
    /// A day in UTC.
    Day(Date),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let day = || {
            text.parse::<Date>()
                .ok()
                .filter(|_| text.len() == 10)
                .map(Self::Day)
        };
        let moment = text.parse::<Timestamp>().map(Self::Moment);
        day().map_or(moment, Ok).map_err(|_| {
            "write a day such as 2026-05-03, or a time with its zone such as 2026-05-03T14:00:00Z".to_owned()
        })
    }
}

impl When {
    fn begin(self) -> anyhow::Result<Timestamp> {
        Ok(match self {
            Self::Moment(at) => at,
            Self::Day(day) => day.to_zoned(TimeZone::UTC)?.timestamp(),
        })
    }

    fn end(self) -> anyhow::Result<Timestamp> {
        Ok(match self {
            Self::Moment(at) => at,
            Self::Day(day) => day.at(23, 59, 59, 0).to_zoned(TimeZone::UTC)?.timestamp(),
        })
    }
}

/// Reads git, asks the cluster, prints.
pub fn run(args: &Args) -> anyhow::Result<()> {
    crate::source::init(None)?;
    let asked = asked(args, Timestamp::now())?;
    if args.no_cluster {
        let (_, spans) = declared(args, asked, args.source_paths.clone())?;
        return show(args, asked, spans, None);
    }
    args.reach.run(
        "ask the cluster what ran; --no-cluster tells what git declares alone",
        |cluster| async move {
            let paths = if args.source_paths.is_empty() {
                paths_of(&cluster).await?
            } else {
                args.source_paths.clone()
            };
            let (declarations, spans) = declared(args, asked, paths)?;
            let mut records = records(&cluster, &spans).await;
            removals(&declarations, asked, &mut records)?;
            show(args, asked, spans, Some(&records))
        },
    )
}

fn asked(args: &Args, now: Timestamp) -> anyhow::Result<Asked> {
    let asked = match (args.at, args.since) {
        (Some(at), _) => Asked::At(at.end()?),
        (None, None) => Asked::At(now),
        (None, Some(since)) => Asked::Between(since.begin()?, args.until.map_or(Ok(now), When::end)?),
    };
    let (since, until) = asked.ends();
    if since > until {
        return Err(Usage("--since is later than --until".into()).into());
    }
    Ok(asked)
}

/// What was declared, and who did it.
type Declared = (Span, Option<Author>);

/// The spans that touch the time asked for, with who declared each.
fn declared(args: &Args, asked: Asked, paths: Vec<String>) -> anyhow::Result<(Declarations, Vec<Declared>)> {
    if paths.is_empty() {
        return Err(Usage(
            "name the directories of the source in order, such as --source-path base --source-path production".into(),
        )
        .into());
    }
    let declarations = Declarations::open(&args.repo, &args.reference, paths)?;
    let wanted = |span: &Span| args.release.as_ref().is_none_or(|id| id.0 == span.release);
    let spans: anyhow::Result<Vec<_>> = audit::spans(&declarations.tips(asked)?)
        .into_iter()
        .filter(|span| wanted(span) && audit::moment(span, asked).is_some())
        .map(|span| {
            let author = declarations.author(&span)?;
            Ok((span, author))
        })
        .collect();
    Ok((declarations, spans?))
}

/// Notes when git declared releases again that it had not declared for a while, as far back as their records go.
fn removals(declarations: &Declarations, asked: Asked, records: &mut Records) -> anyhow::Result<()> {
    let (since, until) = asked.ends();
    let revisions = records.values().flatten().flat_map(|record| &record.revisions);
    let created = revisions.filter_map(|revision| revision.metadata.creation_timestamp.as_ref());
    let Some(oldest) = created.map(|time| time.0).min() else {
        return Ok(());
    };
    let tips = declarations.tips(Asked::Between(oldest.min(since), until))?;
    for (id, at) in audit::declared_again(&audit::spans(&tips)) {
        if let Some(Ok(record)) = records.get_mut(&id) {
            record.again.push(at);
        }
    }
    Ok(())
}

/// The paths of the one source that there is.
async fn paths_of(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let mut sources: Vec<ReleaseSource> = reach::list(cluster, None).await.map_err(told)?;
    match (sources.pop(), sources.len()) {
        (Some(source), 0) => Ok(source.spec.paths),
        (found, _) => {
            let number = if found.is_some() {
                "several ReleaseSources"
            } else {
                "no ReleaseSource"
            };
            Err(Usage(format!(
                "the cluster has {number}: name the directories in order, such as --source-path base --source-path production"
            ))
            .into())
        }
    }
}

/// What is left of each release, or why that cannot be read.
type Records = BTreeMap<ReleaseId, Result<Record, String>>;

/// What the cluster keeps of each release; what cannot be read is a sentence.
async fn records(cluster: &Cluster, spans: &[(Span, Option<Author>)]) -> Records {
    let mut ids: Vec<ReleaseId> = spans.iter().map(|(span, _)| span.release.clone()).collect();
    ids.dedup();
    ids.sort();
    ids.dedup();
    stream::iter(ids)
        .map(|id| async move {
            let revisions = reach::revisions(cluster, &id)
                .await
                .map_err(|error| error.sentence());
            let mut unread = Vec::new();
            let ledger = or_say(&mut unread, reach::ledger(cluster, &id).await).flatten();
            for sentence in unread {
                eprintln!("migrations of {id} are told as the revisions have them: {sentence}");
            }
            // Without it less is known, and nothing wrong is told.
            let release = reach::get::<Release>(cluster, Some(id.namespace.as_str()), id.name.as_str()).await;
            let created = release
                .ok()
                .flatten()
                .and_then(|release| release.metadata.creation_timestamp);
            let record = |revisions| Record {
                revisions,
                ledger,
                since: created.map(|time| time.0),
                again: Vec::new(),
            };
            (id, revisions.map(record))
        })
        .buffer_unordered(8)
        .collect()
        .await
}

fn show(
    args: &Args,
    asked: Asked,
    spans: Vec<(Span, Option<Author>)>,
    records: Option<&Records>,
) -> anyhow::Result<()> {
    let rows = audit::rows(spans, asked, records);
    print(&match args.format {
        Format::Table => audit::table(&rows, asked),
        Format::Json => pretty(&audit::json(&rows, asked))?,
        Format::Csv => audit::csv(&rows),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        let line = ["slipway", "audit", "--repo", "."].iter().chain(flags);
        Cli::try_parse_from(line).map(|cli| match cli.command {
            Command::Audit(args) => args,
            other => unreachable!("{other:?}"),
        })
    }

    fn ends(flags: &[&str]) -> (String, String) {
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        let (since, until) = asked(&parse(flags).unwrap(), now).unwrap().ends();
        (since.to_string(), until.to_string())
    }

    #[test]
    fn a_day_is_its_end_for_at_and_until_and_its_beginning_for_since() {
        let (at, same) = ends(&["--at", "2026-05-03"]);
        assert_eq!((at.as_str(), at == same), ("2026-05-03T23:59:59Z", true));
        let range = ends(&["--since", "2026-05-03", "--until", "2026-05-03"]);
        assert_eq!(
            range,
            ("2026-05-03T00:00:00Z".into(), "2026-05-03T23:59:59Z".into())
        );
        assert_eq!(
            ends(&["--since", "2026-05-03T10:00:00+02:00"]).0,
            "2026-05-03T08:00:00Z"
        );
        assert_eq!(ends(&[]).0, "2026-06-01T00:00:00Z");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_to_write() {
        for flags in [
            vec!["--at", "yesterday"],
            vec!["--at", "2026-05-03T10:00:00"],
            vec!["--at", "2026-05-03", "--since", "2026-05-01"],
            vec!["--until", "2026-05-03"],
            vec!["--release", "billing"],
        ] {
            assert!(parse(&flags).is_err(), "{flags:?}");
        }
        let args = parse(&["--since", "2026-05-03", "--until", "2026-05-01"]).unwrap();
        assert!(asked(&args, Timestamp::now()).unwrap_err().is::<Usage>());
        let args = parse(&["--no-cluster"]).unwrap();
        let error = declared(&args, Asked::At(Timestamp::now()), vec![])
            .err()
            .unwrap();
        assert!(error.is::<Usage>() && error.to_string().contains("--source-path base"));
    }
}
