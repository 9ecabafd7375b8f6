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
    source::check_paths,
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
    let now = Timestamp::now();
    let asked = asked(args, now)?;
    if args.no_cluster {
        let found = declared(args, asked, now, &args.source_paths)?;
        return show(args, asked, found.spans, &found.notes, None);
    }
    args.reach.run(
        "ask the cluster what ran; --no-cluster tells what git declares alone",
        |cluster| async move {
            let paths = if args.source_paths.is_empty() {
                paths_of(&cluster).await?
            } else {
                args.source_paths.clone()
            };
            let found = declared(args, asked, now, &paths)?;
            let mut records = records(&cluster, &found.spans).await;
            removals(&found.declarations, asked, &mut records)?;
            show(args, asked, found.spans, &found.notes, Some(&records))
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

/// What git says.
struct Found {
    declarations: Declarations,
    /// What was declared, and who did it.
    spans: Vec<(Span, Option<Author>)>,
    /// Of the answer as a whole.
    notes: Vec<String>,
}

/// The spans that touch the time asked for, with who declared each.
fn declared(args: &Args, asked: Asked, now: Timestamp, paths: &[String]) -> anyhow::Result<Found> {
    if paths.is_empty() {
        return Err(Usage(
            "name the directories of the source in order, such as --source-path base --source-path production".into(),
        )
        .into());
    }
    // As the completion of a shell ends the name of a directory.
    let plain = |path: &String| path.strip_suffix('/').unwrap_or(path).to_owned();
    let paths: Vec<String> = paths.iter().map(plain).collect();
    check_paths(&paths).map_err(|error| Usage(error.to_string()))?;
    let declarations = Declarations::open(&args.repo, &args.reference, paths, now)?;
    if let Some((path, beside)) = declarations.nowhere()? {
        return Err(nowhere(&args.reference, &path, &beside).into());
    }
    let wanted = |span: &Span| args.release.as_ref().is_none_or(|id| id.0 == span.release);
    let tips = declarations.tips(asked)?;
    let spans = audit::spans(&tips)
        .into_iter()
        .filter(|span| wanted(span) && audit::moment(span, asked).is_some());
    let spans = declarations.told(spans.collect())?;
    let mut notes: Vec<String> = audit::not_come(asked, now).into_iter().collect();
    notes.extend(declarations.clocks(asked, &tips));
    if spans.is_empty() {
        if let Some(Id(id)) = &args.release
            && !declarations.ever(id)?
        {
            let why = format!(
                "no commit of {} ever declared {id}: name one that its files declare",
                args.reference
            );
            return Err(Usage(why).into());
        }
        // There is no row that could say so.
        let last = tips.iter().rev().find_map(|tip| Some((tip, tip.read.as_ref()?)));
        if let Some((tip, Err(why))) = last {
            notes.push(audit::unread(&tip.commit, tip.at, why));
        }
    }
    Ok(Found {
        declarations,
        spans,
        notes,
    })
}

fn nowhere(reference: &str, path: &str, beside: &[String]) -> Usage {
    let some: Vec<&str> = beside.iter().map(String::as_str).take(10).collect();
    let there = if some.is_empty() {
        String::new()
    } else {
        format!("; there is {}", some.join(", "))
    };
    Usage(format!(
        "no commit of {reference} has the directory {path}: name those of the source, in the order of its `paths`{there}"
    ))
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
    notes: &[String],
    records: Option<&Records>,
) -> anyhow::Result<()> {
    let rows = audit::rows(spans, asked, records);
    print(&match args.format {
        Format::Table => audit::table(&rows, asked, notes),
        Format::Json => pretty(&audit::json(&rows, asked, notes))?,
        Format::Csv => {
            // Nothing but rows fits into one.
            for note in notes {
                eprintln!("note: {note}");
            }
            audit::csv(&rows)
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{
        cli::{Cli, Command},
        source::test_support::Upstream,
    };

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
        let error = refused(&args, &[]);
        assert!(error.is::<Usage>() && error.to_string().contains("--source-path base"));
        for path in ["../x", "/base", "base//", ""] {
            let error = refused(&args, &[path]);
            assert!(error.is::<Usage>(), "{path}: {error}");
        }
    }

    fn answer(args: &Args, paths: &[&str]) -> anyhow::Result<Found> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let now = Timestamp::now();
        declared(args, asked(args, now).unwrap(), now, &paths)
    }

    fn refused(args: &Args, paths: &[&str]) -> anyhow::Error {
        answer(args, paths).err().unwrap()
    }

    const BILLING: &str = "apiVersion: slipway.dev/v1alpha1
kind: Release
metadata: {name: billing, namespace: shop}
spec: {image: ghcr.io/acme/billing, port: 80, version: 1.0.0}
";

    /// A clone with a directory that came later, and these flags.
    fn clone(flags: &[&str]) -> (Upstream, Args) {
        let upstream = Upstream::new();
        upstream.set_clock("2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second());
        upstream.commit(&[("README.md", "x"), ("docs/a.md", "x"), (".github/a.yml", "x")]);
        upstream.set_clock("2026-01-10T00:00:00Z".parse::<Timestamp>().unwrap().as_second());
        upstream.commit(&[("clusters/prod/billing.yaml", BILLING)]);
        let mut args = parse(flags).unwrap();
        args.repo = upstream.path().to_owned();
        (upstream, args)
    }

    #[test]
    fn a_directory_that_no_commit_has_is_refused_and_one_that_came_later_is_noted() {
        let (_upstream, args) = clone(&["--at", "2026-01-15"]);
        for (path, words) in [
            (
                "clusters/pord",
                "no commit of HEAD has the directory clusters/pord: name those of the source, in the order of its `paths`; there is clusters/prod",
            ),
            ("prod", "there is clusters, docs"),
            (
                "clusters/prod/billing.yaml",
                "has the directory clusters/prod/billing.yaml",
            ),
        ] {
            let error = refused(&args, &[path]);
            assert!(
                error.is::<Usage>() && error.to_string().contains(words),
                "{error}"
            );
        }
        for path in ["clusters/prod", "clusters/prod/"] {
            let found = answer(&args, &[path]).unwrap();
            assert_eq!((found.spans.len(), found.notes.len()), (1, 0), "{path}");
        }
        let (_upstream, args) = clone(&["--at", "2026-01-05"]);
        let found = answer(&args, &["clusters/prod"]).unwrap();
        assert!(found.spans.is_empty());
        let note = found.notes.join("; ");
        assert!(
            note.contains("of 2026-01-01T00:00:00Z cannot be used: cannot read directory clusters/prod"),
            "{note}"
        );
    }

    #[test]
    fn a_release_that_no_commit_ever_declared_is_refused() {
        let (_upstream, args) = clone(&["--at", "2026-01-15", "--release", "shop/biling"]);
        let error = refused(&args, &["clusters/prod"]);
        assert!(
            error.is::<Usage>() && error.to_string().contains("ever declared shop/biling"),
            "{error}"
        );
        let (_upstream, args) = clone(&["--at", "2026-01-05", "--release", "shop/billing"]);
        assert!(
            answer(&args, &["clusters/prod"]).unwrap().spans.is_empty(),
            "not yet"
        );
    }

    #[test]
    fn a_time_that_has_not_come_is_noted() {
        let (_upstream, args) = clone(&["--at", "9000-01-01"]);
        let found = answer(&args, &["clusters/prod"]).unwrap();
        assert!(
            found.notes[0].contains("9000-01-01T23:59:59Z has not come yet"),
            "{:?}",
            found.notes
        );
    }

    #[test]
    fn a_clone_that_is_cut_off_answers_nothing() {
        let (upstream, args) = clone(&[]);
        assert!(answer(&args, &["clusters/prod"]).is_ok());
        std::fs::write(upstream.path().join("shallow"), format!("{:040x}\n", 1)).unwrap();
        let error = refused(&args, &["clusters/prod"]).to_string();
        assert!(error.contains("git fetch --unshallow"), "{error}");
    }
}
