//! The history of a branch → what it declared at each of its commits, by the same merge as in the source loop.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;

use crate::{
    controller::compile::{self, Known},
    names::{CommitId, ReleaseId},
    source::{ReadError, Reader, Saying, Step},
    spec::{document::Document, file::File},
    words::audit::{Asked, Author, ImageFrom, Reading, Span, Tip, Version},
};

/// Ten commits a day for more than ten years.
const MAX_COMMITS: usize = 50_000;

/// A clone, and which directories of it are a source.
pub struct Declarations {
    reader: Reader,
    head: CommitId,
    paths: Vec<String>,
}

impl Declarations {
    /// Opens a clone at a branch, tag or commit.
    pub fn open(repository: &Path, name: &str, paths: Vec<String>) -> anyhow::Result<Self> {
        let reader = Reader::open_clone(repository)?;
        let head = reader.resolve(name)?;
        Ok(Self { reader, head, paths })
    }

    /// What the branch declared in the time asked for: the commit that was in force at its beginning, and those up to
    /// its end, oldest first.
    pub fn tips(&self, asked: Asked) -> anyhow::Result<Vec<Tip>> {
        let (since, until) = asked.ends();
        let trunk = self
            .reader
            .trunk(&self.head, MAX_COMMITS)
            .context("cannot read the history")?;
        let whole = trunk.len() < MAX_COMMITS && !self.reader.is_shallow();
        // By the order of the branch, not of the clocks: the newest commit that is not later than the end.
        let mut steps: Vec<&Step> = trunk
            .iter()
            .skip_while(|step| step.at > until.as_second())
            .collect();
        let first = steps.iter().position(|step| step.at <= since.as_second());
        match first {
            None if !whole => bail!(
                "the history of this clone begins after {}, so nobody can say what was declared then; fetch the whole of it \
                 (git fetch --unshallow)",
                crate::words::utc(since)
            ),
            None => {}
            Some(first) => {
                // What a commit says that cannot be read in full depends on the one before it.
                let clean = (first..steps.len()).find(|index| {
                    let step = steps.get(*index);
                    step.is_some_and(|step| self.is_clean(&step.commit))
                });
                steps.truncate(clean.map_or(steps.len(), |index| index + 1));
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
        let (mut known, mut trees) = (Known::default(), None);
        for step in steps {
            let now = self.reader.tree_ids(&step.commit, &self.paths).map_err(damaged)?;
            let read = if trees.as_ref() == Some(&now) {
                None
            } else {
                match self.read(&step.commit, &known) {
                    Ok((reading, next)) => {
                        known = next;
                        Some(Ok(reading))
                    }
                    Err(error @ ReadError::Corrupt { .. }) => return Err(damaged(error)),
                    Err(error) => Some(Err(error.to_string())),
                }
            };
            trees = Some(now);
            tips.push(Tip {
                commit: step.commit.clone(),
                at: Timestamp::from_second(step.at).context("a commit has an impossible date")?,
                read,
            });
        }
        Ok(tips)
    }

    /// Whether a commit can be read without the one before it.
    fn is_clean(&self, commit: &CommitId) -> bool {
        self.read(commit, &Known::default())
            .is_ok_and(|(reading, _)| reading.held.is_empty())
    }

    fn read(&self, commit: &CommitId, known: &Known) -> Result<(Reading, Known), ReadError> {
        // Which namespaces a source may write to is a matter of the cluster, not of what git declares.
        let (read, next, _) = compile::read(&self.reader, commit, &self.paths, &|_| None, known)?;
        let releases: BTreeMap<ReleaseId, Version> = read
            .releases
            .into_iter()
            .filter_map(|(id, release)| {
                let (declared, merged) = (release.declared?, release.merged);
                let image_from = merged.spec.image.as_ref().map(|text| ImageFrom {
                    path: merged.position("/image").0,
                    text: text.clone(),
                });
                let version = Version {
                    version: declared.version.to_string(),
                    image: declared.image.reference(),
                    image_from,
                    path: merged.version_file?,
                };
                Some((id, version))
            })
            .collect();
        let held: BTreeSet<ReleaseId> = read.held;
        Ok((Reading { releases, held }, next))
    }

    /// Who declared the version of a span with its image: the commit that said the later of both first, each in its file.
    pub fn author(&self, span: &Span) -> anyhow::Result<Option<Author>> {
        let Some(declared) = &span.declared else {
            return Ok(None);
        };
        let field = |path: &str, bytes: &[u8], name: &str, text: &str| {
            let file = File::read(path, bytes);
            let says = |document: &Document| {
                document.spec.get(name).and_then(serde_json::Value::as_str) == Some(text)
            };
            let mut own = file
                .documents
                .iter()
                .filter(|document| document.id == span.release);
            match own.next() {
                Some(document) => Some(says(document) || own.any(says)),
                None if file.broken.iter().any(|broken| broken.may_be(&span.release)) => None,
                None => Some(false),
            }
        };
        let version = |bytes: &[u8]| field(&declared.path, bytes, "version", &declared.version);
        let from = declared.image_from.as_ref();
        let image =
            |bytes: &[u8]| from.map_or(Some(true), |from| field(&from.path, bytes, "image", &from.text));
        let mut sayings = vec![Saying {
            path: &declared.path,
            holds: &version,
        }];
        sayings.extend(from.map(|from| Saying {
            path: &from.path,
            holds: &image,
        }));
        let found = self.reader.first_with(&span.tip, &sayings).map_err(damaged)?;
        Ok(found.and_then(|found| {
            Some(Author {
                commit: found.commit.to_string(),
                author: found.author,
                committed: Timestamp::from_second(found.committed_at).ok()?,
                subject: found.subject,
            })
        }))
    }
}

fn damaged(error: ReadError) -> anyhow::Error {
    anyhow::Error::new(error).context("the clone must be whole: git clone without --depth and --filter")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{source::test_support::Upstream, words::audit};

    fn spec(spec: &str) -> String {
        format!(
            "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: billing, namespace: shop}}\nspec: {spec}\n"
        )
    }

    fn declarations(upstream: &Upstream) -> Declarations {
        let paths = vec!["base".to_owned(), "production".to_owned()];
        Declarations::open(upstream.path(), "HEAD", paths).unwrap()
    }

    /// Version, commit of the author, and subject of the answer for one moment.
    fn declared(declarations: &Declarations, at: i64) -> Option<(String, String)> {
        let at = Timestamp::from_second(at).unwrap();
        let spans = audit::spans(&declarations.tips(Asked::At(at)).unwrap());
        let span = spans
            .into_iter()
            .find(|span| audit::moment(span, Asked::At(at)).is_some() && span.declared.is_some())?;
        let author = declarations.author(&span).unwrap().unwrap();
        Some((span.declared.unwrap().version, author.commit))
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
}
