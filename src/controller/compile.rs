//! A commit → the releases that it declares, with every problem and its place. Reads git objects and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    api::{ReleaseSpec, source::SourceProblem},
    names::{CommitId, Namespace, ReleaseId},
    source::{MAX_COMMITS, ObjectId, PathProblem, Provenance, ReadError, ReadLimits, Reader, is_below},
    spec::{
        document::Problem,
        file::File,
        reading::{self, Named, Own},
        spec_hash,
    },
};

/// What a commit declares.
#[derive(Debug)]
pub struct Compiled {
    /// The commit.
    pub commit: CommitId,
    /// Hash of what else the reading depended on: url, paths, allowed namespaces.
    pub key: String,
    /// Releases that can be written.
    pub releases: BTreeMap<ReleaseId, Declared>,
    /// Releases that some document still speaks of, or may speak of, whether or not they can be written.
    pub mentioned: BTreeSet<ReleaseId>,
    /// Everything that is wrong.
    pub problems: Vec<SourceProblem>,
    /// Whether nothing at all is wrong or held: only then may anything be removed.
    pub clean: bool,
    /// Every file that was read.
    pub files: BTreeSet<String>,
    /// For the next commit.
    known: Known,
}

/// What is kept of a commit for reading the next one.
#[derive(Debug, Default)]
pub struct Known {
    /// Parsed files by blob: a commit that touches one file parses one file.
    parsed: HashMap<(ObjectId, String), Arc<File>>,
    /// The releases that each file named when it was last read well: they are held when it breaks.
    named: Named,
    /// Their blobs, whatever their names.
    blobs: HashSet<ObjectId>,
}

/// A release that a commit declares.
#[derive(Debug)]
pub struct Declared {
    /// The merged spec.
    pub spec: ReleaseSpec,
    /// Its hash, which every pass compares with what the cluster has.
    pub hash: String,
    /// The commit that last changed its files.
    pub provenance: Provenance,
    /// All files that speak of it.
    files: Vec<String>,
    /// The file that gave the version; where there is none, the first.
    pub path: String,
    /// `path:line:column` of the release, for problems about it as a whole.
    pub place: String,
}

impl Compiled {
    /// Releases that are deployed here, or that a problem keeps from being known.
    #[must_use]
    pub fn declared(&self) -> BTreeSet<ReleaseId> {
        let versioned = self
            .releases
            .iter()
            .filter(|(_, release)| release.spec.version.is_some());
        let versioned: BTreeSet<ReleaseId> = versioned.map(|(id, _)| id.clone()).collect();
        let unknown = self
            .mentioned
            .iter()
            .filter(|id| !self.releases.contains_key(*id))
            .cloned();
        versioned.into_iter().chain(unknown).collect()
    }

    /// Releases whose file is still there but gives no version any more.
    #[must_use]
    pub fn without_version<'a>(
        &self,
        existing: impl Iterator<Item = (&'a ReleaseId, &'a str)>,
    ) -> BTreeSet<ReleaseId> {
        existing
            .filter(|(_, file)| self.files.contains(*file))
            .map(|(id, _)| id.clone())
            .collect()
    }
}

/// Of a release whose last change lies further back than is looked: a record that says less is better than no release.
fn beyond(head: &CommitId) -> Provenance {
    Provenance {
        commit: head.clone(),
        author: format!("not known: it did not change in the last {MAX_COMMITS} commits"),
        committed_at: 0,
        subject: String::new(),
    }
}

/// Reads a commit.
///
/// # Errors
/// When the commit, or a directory of it, cannot be read as a whole.
pub fn compile(
    reader: &Reader,
    head: &CommitId,
    paths: &[String],
    allowed: &[String],
    own: &Own,
    key: String,
    before: Option<&Compiled>,
) -> Result<Compiled, ReadError> {
    let none = Known::default();
    let seen = before.map_or(&none, |before| &before.known);
    let forbidden = |namespace: &Namespace| reading::forbidden(namespace, allowed, own);
    let (files, mut known) = files(reader, head, paths, seen)?;
    let mut reading = reading::read(&files.layers, &seen.named, &forbidden);
    known.named = std::mem::take(&mut reading.named);
    let groups: BTreeMap<ReleaseId, Vec<String>> = reading
        .releases
        .iter()
        .map(|(id, release)| (id.clone(), release.merged.files.clone()))
        .collect();
    let mut changes = last_changes(reader, head, &groups, before)?;
    let releases = reading
        .releases
        .into_iter()
        .map(|(id, release)| {
            let provenance = changes.remove(&id).unwrap_or_else(|| beyond(head));
            let merged = release.merged;
            let place = merged.place("");
            let path = merged
                .version_file
                .or_else(|| merged.files.first().cloned())
                .unwrap_or_default();
            (
                id,
                Declared {
                    hash: spec_hash(&merged.spec),
                    spec: merged.spec,
                    provenance,
                    files: merged.files,
                    path,
                    place,
                },
            )
        })
        .collect();
    Ok(Compiled {
        commit: head.clone(),
        key,
        releases,
        mentioned: reading.mentioned,
        clean: reading.problems.is_empty() && reading.held.is_empty(),
        problems: reading.problems.iter().map(shown).collect(),
        known,
        files: files.names,
    })
}

/// The files of a commit.
#[derive(Debug)]
pub struct Files {
    /// Parsed, in the order of the directories, with what stands there and is not read.
    pub layers: Vec<Vec<Arc<File>>>,
    /// Of every file that was read.
    pub names: BTreeSet<String>,
}

/// Reads and parses the files of a commit, as the controller and the audit do.
///
/// # Errors
/// When the commit, or a directory of it, cannot be read as a whole.
pub fn files(
    reader: &Reader,
    head: &CommitId,
    paths: &[String],
    before: &Known,
) -> Result<(Files, Known), ReadError> {
    let known = |blob: &ObjectId| before.blobs.contains(blob);
    let read = reader.read_layers(head, paths, &ReadLimits::default(), &known)?;
    let mut next = Known::default();
    let mut names = BTreeSet::new();
    let mut layers: Vec<Vec<Arc<File>>> = Vec::new();
    for layer in read.layers {
        let mut all: Vec<Arc<File>> = unread(&layer.path, paths, &read.problems);
        for file in layer.files {
            let id = (file.blob_id, file.path.clone());
            let read = match (before.parsed.get(&id), &file.bytes) {
                (Some(read), _) => Arc::clone(read),
                (None, Some(bytes)) => Arc::new(File::read(&file.path, bytes)),
                // The same content under a new name: read again, now that its bytes are asked for.
                (None, None) => Arc::new(File::read(&file.path, &reader.blob(file.blob_id)?)),
            };
            next.blobs.insert(file.blob_id);
            names.insert(file.path);
            all.push(Arc::clone(&read));
            next.parsed.insert(id, read);
        }
        layers.push(all);
    }
    Ok((Files { layers, names }, next))
}

/// The commit that last changed each release. Of those that no commit since `before` touched it is known already, so that
/// a commit costs its own size and not that of the history.
fn last_changes(
    reader: &Reader,
    head: &CommitId,
    groups: &BTreeMap<ReleaseId, Vec<String>>,
    before: Option<&Compiled>,
) -> Result<BTreeMap<ReleaseId, Provenance>, ReadError> {
    let Some(before) = before.filter(|before| reader.is_ancestor(&before.commit, head).unwrap_or(false))
    else {
        return reader.last_changes(head, groups, None);
    };
    let mut changes = reader.last_changes(head, groups, Some(&before.commit))?;
    let mut unknown = BTreeMap::new();
    for (id, files) in groups {
        if changes.contains_key(id) {
            continue;
        }
        // Files that came or went make it another question.
        match before.releases.get(id).filter(|known| known.files == *files) {
            Some(known) => {
                changes.insert(id.clone(), known.provenance.clone());
            }
            None => {
                unknown.insert(id.clone(), files.clone());
            }
        }
    }
    if !unknown.is_empty() {
        changes.extend(reader.last_changes(head, &unknown, None)?);
    }
    Ok(changes)
}

/// What was found in a directory and is not read, such as symbolic links: there may be a spec behind each.
fn unread(directory: &str, all: &[String], problems: &[PathProblem]) -> Vec<Arc<File>> {
    // A path that was escaped beyond recognition belongs to every directory: better to hold too much.
    let lost = |path: &str| !all.iter().any(|directory| is_below(path, directory));
    problems
        .iter()
        .filter(|problem| is_below(&problem.path, directory) || lost(&problem.path))
        .map(|problem| Arc::new(File::unread(&problem.path, &problem.message)))
        .collect()
}

fn shown(problem: &Problem) -> SourceProblem {
    SourceProblem {
        place: format!("{}:{}:{}", problem.path, problem.line, problem.column),
        message: problem.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Credentials, FetchLimits, GitRef, Mirror, test_support::Upstream};

    fn spec(name: &str, spec: &str) -> String {
        format!(
            "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
        )
    }

    fn base(name: &str) -> String {
        spec(name, "{image: ghcr.io/acme/x, port: 80, version: 1.0.0}")
    }

    fn read(upstream: &Upstream, commit: &CommitId, before: Option<&Compiled>) -> Compiled {
        let root = tempfile::tempdir().unwrap();
        let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
        let main = GitRef::branch("main").unwrap();
        mirror
            .fetch(&main, &Credentials::anonymous(), FetchLimits::default())
            .unwrap();
        let paths = ["base".to_owned(), "production".to_owned()];
        let own = Own {
            slipway: "slipway-system".parse().unwrap(),
            builds: "slipway-builds".parse().unwrap(),
        };
        compile(
            &mirror.reader().unwrap(),
            commit,
            &paths,
            &[],
            &own,
            String::new(),
            before,
        )
        .unwrap()
    }

    fn names(compiled: &Compiled) -> Vec<&str> {
        compiled.releases.keys().map(|id| id.name.as_str()).collect()
    }

    #[test]
    fn a_broken_overlay_holds_its_release_through_every_commit_and_removes_nothing() {
        let upstream = Upstream::new();
        let (a, b) = (spec("a", "{replicas: 3}"), spec("b", "{replicas: 3}"));
        let files = [
            ("base/a.yaml", base("a")),
            ("base/b.yaml", base("b")),
            ("base/c.yaml", base("c")),
            ("production/a.yaml", a.clone()),
            ("production/b.yaml", b),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let good = read(&upstream, &upstream.commit(&files), None);
        assert!(good.clean && good.releases.len() == 3, "{:?}", good.problems);
        let commit = upstream.commit(&[
            ("production/a.yaml", "metadata: [\n"),
            ("base/a.yaml", &base("a").replace("1.0.0", "2.0.0")),
        ]);
        let bad = read(&upstream, &commit, Some(&good));
        assert_eq!((names(&bad), bad.clean), (vec!["b", "c"], false));
        assert_eq!(bad.declared().len(), 3, "what is held is still declared");
        let commit = upstream.commit(&[("base/b.yaml", &base("b").replace("1.0.0", "2.0.0"))]);
        let still = read(&upstream, &commit, Some(&bad));
        assert_eq!(names(&still), ["b", "c"]);
        let restarted = read(&upstream, &commit, None);
        assert_eq!(
            names(&restarted),
            ["b"],
            "c has no document in the broken layer either"
        );
        let mended = read(
            &upstream,
            &upstream.commit(&[("production/a.yaml", &a)]),
            Some(&still),
        );
        assert!(mended.clean && mended.releases.len() == 3);
    }

    #[test]
    fn what_is_known_of_the_history_is_what_the_whole_history_says() {
        let upstream = Upstream::new();
        let (a, b) = (base("a"), base("b"));
        let commits = [
            vec![
                ("base/a.yaml", a.clone()),
                ("base/b.yaml", b.clone()),
                ("production/a.yaml", spec("a", "{replicas: 2}")),
            ],
            vec![("base/a.yaml", a.replace("1.0.0", "1.1.0"))],
            vec![
                ("other/x.yaml", String::new()),
                ("production/b.yaml", spec("b", "{replicas: 3}")),
            ],
            vec![("production/b.yaml", String::new())],
            vec![("base/c.yaml", base("c"))],
        ];
        let mut before: Option<Compiled> = None;
        for files in commits {
            let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
            let commit = upstream.commit(&files);
            let (known, whole) = (
                read(&upstream, &commit, before.as_ref()),
                read(&upstream, &commit, None),
            );
            let commits = |compiled: &Compiled| -> Vec<(ReleaseId, CommitId)> {
                let all = compiled.releases.iter();
                all.map(|(id, release)| (id.clone(), release.provenance.commit.clone()))
                    .collect()
            };
            assert_eq!(commits(&known), commits(&whole));
            before = Some(known);
        }
        assert_eq!(before.unwrap().releases.len(), 3);
    }

    #[test]
    fn a_link_in_place_of_an_overlay_holds_what_it_may_hide() {
        let upstream = Upstream::new();
        upstream.link("production/a.yaml", "../base/a.yaml");
        let commit = upstream.commit(&[("base/a.yaml", &base("a"))]);
        let bad = read(&upstream, &commit, None);
        assert!(names(&bad).is_empty() && !bad.clean && bad.declared().len() == 1);
    }

    #[test]
    fn each_oddity_of_a_repository_is_told_at_its_place_and_its_neighbours_are_read() {
        let upstream = Upstream::new();
        upstream.link("production/link.yaml", "../base/a.yaml");
        let long = format!("production/{}.yaml", "n".repeat(300));
        let large = "# ".repeat(40_000);
        let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:00\n";
        let secret = spec("c", "{env: {API_TOKEN: hunter22}}");
        let commit = upstream.commit(&[
            ("base/a.yaml", &base("a")),
            ("production/a.yaml", &spec("a", "{replicas: 3}")),
            ("production/b.YAML", "x"),
            ("production/c.yaml", &secret),
            ("production/d\\e.yaml", "x"),
            ("production/large.yaml", &large),
            ("production/lfs.yaml", lfs),
            (&long, "x"),
            ("production/tab.yaml", "a:\n\tb: 1\n"),
            ("production/typo.yaml", &spec("b", "{replcias: 3}")),
            (".git.yaml", "x"),
        ]);
        let read = read(&upstream, &commit, None);
        let told: Vec<String> = read
            .problems
            .iter()
            .map(|problem| format!("{} {}", problem.place, problem.message))
            .collect();
        for start in [
            "production/link.yaml:1:1 the file is a symbolic link, which is not followed",
            "production/b.YAML:1:1 the file has an extension that only looks like .yaml",
            "production/c.yaml:4:14 looks like a secret",
            "production/d\\e.yaml:1:1 the file has a slash, a backslash or an invisible character",
            "production/large.yaml:1:1 the file has 80000 bytes, at most 65536 are read: split it",
            "production/lfs.yaml:1:1 the file is kept in Git LFS, which is not read",
            "production/nnnn",
            "production/tab.yaml:2:",
            "production/typo.yaml:4:8 unknown field `replcias`: did you mean `replicas`?",
        ] {
            let found = told.iter().filter(|problem| problem.starts_with(start)).count();
            assert_eq!(found, 1, "{start}: {told:#?}");
        }
        assert_eq!(told.len(), 9, "{told:#?}");
        assert!(
            told.iter()
                .all(|problem| !problem.contains("hunter22") && problem.len() < 1600)
        );
        assert_eq!(names(&read), ["a"]);
        assert!(!read.clean, "nothing is removed by such a commit");
    }

    #[test]
    fn a_namespace_that_the_source_may_not_write_to_is_said() {
        let upstream = Upstream::new();
        let other = base("a").replace("shop", "kube-system");
        let commit = upstream.commit(&[("base/a.yaml", &other), ("production/b.yaml", &base("b"))]);
        let bad = read(&upstream, &commit, None);
        assert_eq!(names(&bad), ["b"]);
        assert!(
            bad.problems
                .iter()
                .any(|p| p.message.contains("namespace kube-system")),
            "{:?}",
            bad.problems
        );
    }
}
