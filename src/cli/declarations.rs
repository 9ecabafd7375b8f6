//! The history of a branch → what it declared at each of its commits, by the same merge as in the source loop.

mod author;
mod begin;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use anyhow::bail;
use jiff::Timestamp;

use crate::{
    controller::compile::{self, Known},
    names::{CommitId, ReleaseId},
    source::{ObjectId, ReadError, Reader},
    spec::{
        document::Problem,
        file::{Broken, File},
        reading::{self, Named},
    },
    words::audit::{self, Asked, Clock, ImageFrom, Reading, Tip, Version},
};

/// Ten commits a day for more than ten years.
const MAX_COMMITS: usize = 50_000;

/// A clone, and which directories of it are a source.
pub struct Declarations {
    reader: Reader,
    paths: Vec<String>,
    /// The commits that the branch stood at, newest first.
    trunk: Vec<Clock>,
    /// What was parsed last: commits that are looked at one after the other have nearly all files in common.
    parsed: RefCell<Known>,
}

/// The files of a commit, layer by layer.
type Files = Vec<Vec<Arc<File>>>;

impl Declarations {
    /// Opens a clone at a branch, tag or commit.
    pub fn open(repository: &Path, name: &str, paths: Vec<String>, now: Timestamp) -> anyhow::Result<Self> {
        let reader = Reader::open_clone(repository)?;
        let head = reader.resolve(name)?;
        if reader.is_shallow() {
            // Of what stands in its oldest commit nobody can say who declared it, or when.
            bail!("the history of this clone is cut off: fetch the whole of it (git fetch --unshallow)");
        }
        let trunk = reader.trunk(&head, MAX_COMMITS).map_err(damaged)?;
        let steps = trunk.into_iter().map(|step| (step.commit, step.at));
        Ok(Self {
            trunk: Clock::count(steps, now),
            reader,
            paths,
            parsed: RefCell::default(),
        })
    }

    /// A directory that no commit of the branch has, and those that stand in its place in the newest.
    pub fn nowhere(&self) -> anyhow::Result<Option<(String, Vec<String>)>> {
        let mut missing: Vec<&String> = self.paths.iter().collect();
        for step in &self.trunk {
            if missing.is_empty() {
                break;
            }
            let trees = self.trees(&step.commit)?;
            let here: BTreeSet<&String> = (self.paths.iter().zip(&trees))
                .filter_map(|(path, tree)| tree.map(|_| path))
                .collect();
            missing.retain(|path| !here.contains(path));
        }
        let (Some(path), Some(head)) = (missing.first(), self.trunk.first()) else {
            return Ok(None);
        };
        let beside = self.reader.beside(&head.commit, path).map_err(damaged)?;
        Ok(Some(((*path).clone(), beside)))
    }

    /// Whether any commit that the branch stood at speaks of a release.
    pub fn ever(&self, id: &ReleaseId) -> anyhow::Result<bool> {
        let mut trees = None;
        for step in &self.trunk {
            let now = self.trees(&step.commit)?;
            if trees.as_ref() == Some(&now) {
                continue;
            }
            trees = Some(now);
            match self.files(&step.commit) {
                Ok(files) => {
                    let mut documents = files.iter().flatten().flat_map(|file| &file.documents);
                    if documents.any(|document| document.id == *id) {
                        return Ok(true);
                    }
                }
                Err(error @ ReadError::Corrupt { .. }) => return Err(damaged(error)),
                Err(_) => {}
            }
        }
        Ok(false)
    }

    /// What the branch declared in the time asked for: the commit that was in force at its beginning, and those up to
    /// its end, oldest first.
    pub fn tips(&self, asked: Asked) -> anyhow::Result<Vec<Tip>> {
        let (since, until) = asked.ends();
        // By the order of the branch: the newest commit that is not later than the end.
        let mut steps: Vec<&Clock> = self
            .trunk
            .iter()
            .skip_while(|step| step.at > until.as_second())
            .collect();
        let first = steps.iter().position(|step| step.at <= since.as_second());
        match first {
            None if !self.is_whole() => bail!(
                "only the last {MAX_COMMITS} commits of the branch are looked at, and they begin after {}",
                crate::words::utc(since)
            ),
            None => {}
            Some(first) => {
                // What a commit says that cannot be read in full depends on the one before it.
                let mut trees = None;
                for (index, step) in steps.iter().enumerate().skip(first) {
                    let now = self.trees(&step.commit)?;
                    if trees.as_ref() != Some(&now) && self.is_clean(&step.commit) {
                        steps.truncate(index + 1);
                        break;
                    }
                    trees = Some(now);
                }
            }
        }
        steps.reverse();
        // Where all commits are later, nothing was declared at the beginning: an empty one stands for that.
        let mut tips = Vec::new();
        if first.is_none()
            && let Some(root) = steps.first()
        {
            tips.push(Tip {
                commit: root.commit.clone(),
                at: since,
                read: Some(Ok(Reading::default())),
            });
        }
        let (mut named, mut trees) = (Named::default(), None);
        for step in steps {
            let now = self.trees(&step.commit)?;
            let read = if trees.as_ref() == Some(&now) {
                None
            } else {
                match self.read(&step.commit, &mut named) {
                    Ok(reading) => Some(Ok(reading)),
                    Err(error @ ReadError::Corrupt { .. }) => return Err(damaged(error)),
                    Err(error) => Some(Err(error.to_string())),
                }
            };
            trees = Some(now);
            tips.push(Tip {
                commit: step.commit.clone(),
                at: Timestamp::from_second(step.at)?,
                read,
            });
        }
        Ok(tips)
    }

    /// What is to be said of clocks that cannot be right.
    pub fn clocks(&self, asked: Asked, tips: &[Tip]) -> Vec<String> {
        let read: BTreeSet<&CommitId> = tips.iter().map(|tip| &tip.commit).collect();
        audit::clocks(&self.trunk, asked, &|commit| read.contains(commit))
    }

    /// Whether the first commit is among those that are looked at.
    fn is_whole(&self) -> bool {
        self.trunk.len() < MAX_COMMITS
    }

    fn trees(&self, commit: &CommitId) -> anyhow::Result<Vec<Option<ObjectId>>> {
        self.reader.tree_ids(commit, &self.paths).map_err(damaged)
    }

    /// Whether a commit can be read without the one before it: on a first reading a document of which nobody can tell whose
    /// it is holds nothing that it alone speaks of.
    fn is_clean(&self, commit: &CommitId) -> bool {
        self.files(commit).is_ok_and(|files| {
            let mut broken = files.iter().flatten().flat_map(|file| &file.broken);
            broken.all(|broken| broken.id().is_some())
                && reading::read(&files, &Named::new(), &|_| None).held.is_empty()
        })
    }

    fn files(&self, commit: &CommitId) -> Result<Files, ReadError> {
        let (files, next) = compile::files(&self.reader, commit, &self.paths, &self.parsed.borrow())?;
        *self.parsed.borrow_mut() = next;
        Ok(files.layers)
    }

    /// `named` is of the commit before, and becomes that of this one.
    fn read(&self, commit: &CommitId, named: &mut Named) -> Result<Reading, ReadError> {
        let files = self.files(commit)?;
        // Which namespaces a source may write to is a matter of the cluster, not of what git declares.
        let read = reading::read(&files, named, &|_| None);
        *named = read.named;
        let held = read.held.into_iter().map(|id| {
            let why = why(&id, &files, &read.problems);
            (id, why)
        });
        let releases = read.releases.into_iter();
        Ok(Reading {
            held: held.collect::<BTreeMap<_, _>>(),
            releases: releases
                .filter_map(|(id, release)| Some((id, version(release)?)))
                .collect(),
        })
    }
}

/// What a release declares, where it has a version.
fn version(release: reading::Release) -> Option<Version> {
    let (declared, merged) = (release.declared?, release.merged);
    let image_from = merged.spec.image.as_ref().map(|text| ImageFrom {
        path: merged.position("/image").0,
        text: text.clone(),
    });
    Some(Version {
        version: declared.version.to_string(),
        image: declared.image.reference(),
        image_from,
        path: merged.version_file?,
    })
}

/// Whether a file speaks of a release, or may.
fn may_speak(file: &File, id: &ReleaseId) -> bool {
    let mut documents = file.documents.iter();
    documents.any(|document| document.id == *id) || file.broken.iter().any(|broken| broken.may_be(id))
}

/// The first thing that is wrong with a release that is held: with a document that names it, with all that is said of it, or
/// with a document that may be of it.
fn why(id: &ReleaseId, files: &[Vec<Arc<File>>], problems: &[Problem]) -> String {
    let first_in = |is_broken: &dyn Fn(&Broken) -> bool| {
        let files = files.iter().flatten();
        let of_it = files.filter(|file| file.broken.iter().any(is_broken));
        let paths: BTreeSet<&str> = of_it.map(|file| file.path.as_str()).collect();
        problems
            .iter()
            .find(|problem| paths.contains(problem.path.as_str()))
    };
    let name = id.to_string();
    let names_it = |problem: &&Problem| {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '/';
        let mut words = problem.message.split(|c| !inside(c));
        // What only says that it is held says nothing of the cause.
        !problem.message.ends_with("as it is") && words.any(|word| word == name)
    };
    first_in(&|broken| broken.id().as_ref() == Some(id))
        .or_else(|| problems.iter().find(names_it))
        .or_else(|| first_in(&|broken| broken.may_be(id)))
        .map_or_else(|| "no reason is known".to_owned(), ToString::to_string)
}

fn damaged(error: ReadError) -> anyhow::Error {
    anyhow::Error::new(error).context("the clone must be whole: git clone without --depth and --filter")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        source::test_support::Upstream,
        words::audit::{Author, Span},
    };

    fn spec(spec: &str) -> String {
        format!(
            "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: billing, namespace: shop}}\nspec: {spec}\n"
        )
    }

    fn declarations(upstream: &Upstream) -> Declarations {
        let paths = vec!["base".to_owned(), "production".to_owned()];
        Declarations::open(upstream.path(), "HEAD", paths, Timestamp::now()).unwrap()
    }

    /// Version, commit of the author, and subject of the answer for one moment.
    fn declared(declarations: &Declarations, at: i64) -> Option<(String, String)> {
        let at = Timestamp::from_second(at).unwrap();
        let spans = audit::spans(&declarations.tips(Asked::At(at)).unwrap());
        let span = spans
            .into_iter()
            .find(|span| audit::moment(span, Asked::At(at)).is_some() && span.declared.is_some())?;
        let (span, author) = declarations.told(vec![span]).unwrap().remove(0);
        Some((span.declared.unwrap().version, author.unwrap().commit))
    }

    #[test]
    fn fifty_commits_are_answered_as_they_were_made() {
        let upstream = Upstream::new();
        upstream.commit(&[(
            "base/billing.yaml",
            &spec("{image: ghcr.io/acme/billing, port: 80}"),
        )]);
        // What was declared at which time, by which commit.
        let mut truth: Vec<(i64, Option<(String, String)>)> = Vec::new();
        let mut now: Option<(String, String)> = None;
        for n in 0..50 {
            let commit = match n % 5 {
                // Another version.
                0 | 1 => {
                    let version = format!("1.{n}.0");
                    let text = spec(&format!("{{version: {version}, replicas: 1}}"));
                    let commit = upstream.commit(&[("production/billing.yaml", &text)]);
                    now = Some((version, commit.to_string()));
                    commit
                }
                // The same version in a file that changed, a file of somebody else, a broken file.
                2 => {
                    let version = &now.as_ref().unwrap().0;
                    let text = spec(&format!("{{version: {version}, replicas: 5}}"));
                    upstream.commit(&[("production/billing.yaml", &text)])
                }
                3 => upstream.commit(&[("README.md", &n.to_string())]),
                _ => upstream.commit(&[("production/billing.yaml", "metadata: [\n")]),
            };
            let reader = Reader::open_clone(upstream.path()).unwrap();
            truth.push((reader.provenance(&commit).unwrap().committed_at, now.clone()));
        }
        let declarations = declarations(&upstream);
        assert_eq!(
            declared(&declarations, truth[0].0 - 1),
            None,
            "before the first version"
        );
        for (at, expected) in &truth {
            assert_eq!(declared(&declarations, *at), *expected);
            assert_eq!(declared(&declarations, at + 59), *expected);
        }
        // The same in one range.
        let time = |second: i64| Timestamp::from_second(second).unwrap();
        let asked = Asked::Between(time(0), time(truth[49].0));
        let spans = audit::spans(&declarations.tips(asked).unwrap());
        assert_eq!(spans.len(), 20, "one for each version");
    }

    #[test]
    fn who_moves_the_image_declared_what_runs_and_who_mends_a_file_did_not() {
        let upstream = Upstream::new();
        let base = |image: &str| spec(&format!("{{image: ghcr.io/{image}/billing, port: 80}}"));
        let top = |more: &str| spec(&format!("{{version: 1.0.0{more}}}"));
        upstream.commit(&[("base/billing.yaml", &base("acme"))]);
        let declared_first = upstream.commit(&[("production/billing.yaml", &top(""))]);
        upstream.commit(&[("production/billing.yaml", "metadata: [\n")]);
        let mended = upstream.commit(&[("production/billing.yaml", &top(", replicas: 3"))]);
        let moved = upstream.commit(&[("base/billing.yaml", &base("evil"))]);
        upstream.commit(&[("production/billing.yaml", &top(", replicas: 4"))]);
        let time = |commit: &CommitId| {
            let reader = Reader::open_clone(upstream.path()).unwrap();
            reader.provenance(commit).unwrap().committed_at
        };
        let declarations = declarations(&upstream);
        let who = |at: i64| declared(&declarations, at).unwrap().1;
        for at in [time(&declared_first), time(&mended) - 1, time(&mended)] {
            assert_eq!(who(at), declared_first.as_str());
        }
        for at in [time(&moved), time(&moved) + 60] {
            assert_eq!(who(at), moved.as_str());
        }
    }

    #[test]
    fn a_removed_file_is_no_version_from_then_on() {
        let upstream = Upstream::new();
        let whole = spec("{image: ghcr.io/acme/billing, port: 80, version: 1.0.0}");
        upstream.commit(&[("base/billing.yaml", &whole), ("production/other.txt", "")]);
        let keep = spec("{image: x, port: 80}").replace("billing", "other");
        let last = upstream.commit(&[("production/other.yaml", &keep), ("base/billing.yaml", "")]);
        let at = Reader::open_clone(upstream.path())
            .unwrap()
            .provenance(&last)
            .unwrap()
            .committed_at;
        let declarations = declarations(&upstream);
        assert_eq!(declared(&declarations, at - 1).unwrap().0, "1.0.0");
        assert_eq!(declared(&declarations, at), None);
    }

    const FULL: &str = "{image: ghcr.io/acme/billing, port: 80, version: 1.0.0}";

    fn full(version: &str) -> String {
        spec(&FULL.replace("1.0.0", version))
    }

    /// What was told of each release at a moment, or in a time.
    fn told(declarations: &Declarations, asked: Asked) -> Vec<(Span, Option<Author>)> {
        let spans = audit::spans(&declarations.tips(asked).unwrap()).into_iter();
        let spans = spans.filter(|span| audit::moment(span, asked).is_some() && span.declared.is_some());
        let mut told = declarations.told(spans.collect()).unwrap();
        told.sort_by_key(|(span, _)| (span.release.clone(), span.from));
        told
    }

    fn at(second: i64) -> Asked {
        Asked::At(Timestamp::from_second(second).unwrap())
    }

    fn committed(upstream: &Upstream, commit: &CommitId) -> i64 {
        let reader = Reader::open_clone(upstream.path()).unwrap();
        reader.provenance(commit).unwrap().committed_at
    }

    #[test]
    fn a_release_whose_only_file_broke_is_still_declared() {
        let upstream = Upstream::new();
        upstream.commit(&[
            (
                "production/other.yaml",
                &full("1.0.0").replace("billing", "other"),
            ),
            ("base/x.txt", ""),
        ]);
        let first = upstream.commit(&[("base/billing.yaml", &full("1.0.0"))]);
        let broken = upstream.commit(&[("base/billing.yaml", "metadata: [\n")]);
        let later = upstream.commit(&[("production/x.txt", "x")]);
        let declarations = declarations(&upstream);
        for second in [committed(&upstream, &broken), committed(&upstream, &later)] {
            let told = told(&declarations, at(second));
            let (span, author) = &told[0];
            assert_eq!(span.declared.as_ref().unwrap().version, "1.0.0");
            assert_eq!(author.as_ref().unwrap().commit, first.as_str());
            let held = span.held.as_ref().unwrap();
            assert!(held.why.starts_with("base/billing.yaml:1:"), "{}", held.why);
            assert!(told[1].0.held.is_none(), "the other one can be read");
        }
        let all = told(
            &declarations,
            Asked::Between(
                Timestamp::from_second(committed(&upstream, &broken) + 1).unwrap(),
                Timestamp::now(),
            ),
        );
        assert_eq!(all.len(), 2, "so it is in a range");
    }

    #[test]
    fn who_moves_a_file_declares_nothing_and_who_moved_a_directory_away_and_back_neither() {
        let upstream = Upstream::new();
        upstream.commit(&[("base/x.txt", ""), ("production/billing.yaml", &full("1.0.0"))]);
        let said = upstream.commit(&[("production/billing.yaml", &full("2.0.0"))]);
        upstream.rename("production/billing.yaml", "production/renamed.yaml");
        let renamed = upstream.commit_staged("rename");
        upstream.rename("production", "away");
        let away = upstream.commit_staged("away");
        upstream.commit(&[("README.md", "")]);
        upstream.rename("away", "production");
        let back = upstream.commit_staged("back");
        upstream.rename("production/renamed.yaml", "base/again.yaml");
        upstream.commit(&[("production/x.yaml", "metadata: [\n")]);
        upstream.remove("production/x.yaml");
        let layered = upstream.commit(&[("production/again.yaml", &spec("{version: 2.0.0}"))]);
        let declarations = declarations(&upstream);
        for commit in [&said, &renamed, &away, &back, &layered] {
            let told = told(&declarations, at(committed(&upstream, commit)));
            let (span, author) = &told[0];
            assert_eq!(author.as_ref().unwrap().commit, said.as_str());
            assert_eq!(span.tip, said);
            assert_eq!(span.from.unwrap().as_second(), committed(&upstream, &said));
        }
        let held = told(&declarations, at(committed(&upstream, &away)));
        let why = &held[0].0.held.as_ref().unwrap().why;
        assert!(why.contains("no such directory"), "{why}");
    }

    #[test]
    fn what_a_merge_brought_in_began_with_it_and_is_its_authors_who_said_it() {
        let upstream = Upstream::new();
        let root = upstream.commit(&[("base/x.txt", ""), ("production/billing.yaml", &full("1.0.0"))]);
        let trunk = upstream.commit(&[("production/x.txt", "")]);
        upstream.stage_from(&root);
        let side = upstream.commit_after(&root, &[("production/billing.yaml", &full("2.0.0"))]);
        upstream.rename("production/billing.yaml", "production/renamed.yaml");
        let side_renamed = upstream.commit_after(&side, &[]);
        let merge = upstream.merge(&trunk, &side_renamed, &[("production/x.txt", "")]);
        let declarations = declarations(&upstream);
        let told = told(&declarations, at(committed(&upstream, &merge)));
        let (span, author) = &told[0];
        assert_eq!(span.tip, merge);
        assert_eq!(span.from.unwrap().as_second(), committed(&upstream, &merge));
        assert_eq!(author.as_ref().unwrap().commit, side.as_str());
    }

    #[test]
    fn a_clock_that_is_behind_changes_nothing_of_the_past_and_is_told() {
        let upstream = Upstream::new();
        let time = |day: i64| 1_700_000_000 + day * 86_400;
        let say = |day: i64, version: &str| {
            upstream.set_clock(time(day));
            upstream.commit(&[("base/x.txt", ""), ("production/billing.yaml", &full(version))])
        };
        say(1, "1.0.0");
        say(10, "2.0.0");
        say(20, "3.0.0");
        let backdated = say(5, "4.0.0");
        let declarations = declarations(&upstream);
        let version = |day: i64| {
            told(&declarations, at(time(day)))[0]
                .0
                .declared
                .clone()
                .unwrap()
                .version
        };
        assert_eq!(
            [version(6), version(15), version(21)],
            ["1.0.0", "2.0.0", "4.0.0"]
        );
        let all = Asked::Between(Timestamp::from_second(0).unwrap(), Timestamp::now());
        let spans = told(&declarations, all);
        assert!(
            spans
                .iter()
                .all(|(span, _)| span.until.is_none_or(|until| Some(until) >= span.from))
        );
        let notes = |asked| declarations.clocks(asked, &declarations.tips(asked).unwrap());
        assert!(notes(all)[0].contains(backdated.short()), "{:?}", notes(all));
        assert_eq!((notes(at(time(15))).len(), notes(at(time(3))).len()), (1, 0));
    }

    #[test]
    fn why_a_release_is_held_is_told_without_the_secret() {
        let upstream = Upstream::new();
        let other = full("1.0.0").replace("billing", "other");
        upstream.commit(&[("base/a.yaml", &full("1.0.0")), ("production/b.yaml", &other)]);
        let why = |text: &str| {
            let commit = upstream.commit(&[("base/a.yaml", text)]);
            let declarations = declarations(&upstream);
            let told = told(&declarations, at(committed(&upstream, &commit)));
            told[0].0.held.clone().unwrap().why
        };
        for (text, words) in [
            (spec("{env: {API_TOKEN: hunter22}}"), "base/a.yaml:4:"),
            (
                spec("{image: x, port: 80, version: 1.0.0, preset: nosuch}"),
                "nosuch",
            ),
            (
                spec("{image: x, port: 80, version: 1.0.0, replcias: 3}"),
                "did you mean",
            ),
            (
                format!("{}---\n{other}", full("1.0.0")).replace("other", "billing"),
                "already declared",
            ),
        ] {
            let why = why(&text);
            assert!(why.contains(words) && !why.contains("hunter22"), "{why}");
        }
    }

    /// Whatever happens to the files: each moment alone is answered as it is in the whole range.
    #[test]
    fn a_moment_is_answered_as_the_range_is() {
        for seed in 1..=20_u64 {
            let upstream = Upstream::new();
            let mut state = seed;
            let mut next = |most: u64| -> usize {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                usize::try_from((state >> 33) % most).unwrap()
            };
            upstream.commit(&[
                ("base/z.yaml", &full("1.0.0").replace("billing", "other")),
                ("production/x.txt", ""),
            ]);
            let mut moments = vec![];
            for n in 0..30 {
                let version = format!("1.{}.0", next(3));
                let top = format!("production/{}.yaml", ["a", "b"][next(2)]);
                let whole = full(&version);
                let commit = match next(9) {
                    0 | 1 => upstream.commit(&[("base/billing.yaml", &whole)]),
                    2 => upstream.commit(&[(&top, &spec(&format!("{{version: {version}}}")))]),
                    3 => upstream.commit(&[(&top, "metadata: [\n")]),
                    4 => upstream.commit(&[("base/billing.yaml", "metadata: [\n")]),
                    5 => {
                        upstream.remove(&top);
                        upstream.commit(&[("README.md", &n.to_string())])
                    }
                    6 => {
                        upstream.rename("base/billing.yaml", "base/again.yaml");
                        upstream.commit(&[("README.md", &n.to_string())])
                    }
                    7 => {
                        upstream.rename("base/again.yaml", "base/billing.yaml");
                        upstream.commit(&[("README.md", &n.to_string())])
                    }
                    _ => {
                        let (from, to) = [("base", "away"), ("away", "base")][next(2)];
                        upstream.rename(from, to);
                        upstream.commit(&[("README.md", &n.to_string())])
                    }
                };
                moments.push(committed(&upstream, &commit));
            }
            let declarations = declarations(&upstream);
            let all = told(
                &declarations,
                Asked::Between(Timestamp::from_second(0).unwrap(), Timestamp::now()),
            );
            for moment in moments {
                let time = Timestamp::from_second(moment).unwrap();
                let mut range: Vec<_> = all
                    .iter()
                    .filter(|(span, _)| audit::moment(span, Asked::At(time)).is_some())
                    .collect();
                range.retain(|(span, _)| span.declared.is_some());
                let alone = told(&declarations, Asked::At(time));
                let short = |(span, author): &(Span, Option<Author>)| {
                    let declared = span.declared.as_ref().unwrap();
                    (
                        span.release.clone(),
                        span.from,
                        span.tip.clone(),
                        declared.version.clone(),
                        declared.image.clone(),
                        author.clone(),
                    )
                };
                let (range, alone): (Vec<_>, Vec<_>) = (
                    range.into_iter().map(short).collect(),
                    alone.iter().map(short).collect(),
                );
                assert_eq!(alone, range, "seed {seed} at {moment}");
            }
        }
    }
}
