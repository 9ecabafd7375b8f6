//! A commit → the releases that it declares, with every problem and its place. Reads git objects and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    api::{ReleaseSpec, source::SourceProblem},
    names::{CommitId, Namespace, ReleaseId},
    source::{ObjectId, Provenance, ReadError, ReadLimits, Reader},
    spec::{
        self,
        document::{self, Document, Problem},
        merge::{self, Merged},
        strict,
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
    /// Releases that some document still speaks of, whether or not they can be written.
    pub mentioned: BTreeSet<ReleaseId>,
    /// Everything that is wrong.
    pub problems: Vec<SourceProblem>,
    /// Whether nothing at all is wrong: only then may anything be removed.
    pub clean: bool,
    /// Every file that was read.
    pub files: BTreeSet<String>,
    /// Parsed files by blob: a commit that touches one file parses one file.
    parsed: HashMap<(ObjectId, String), Arc<Parsed>>,
    /// Their blobs, whatever their names.
    blobs: HashSet<ObjectId>,
}

/// A release that a commit declares.
#[derive(Debug)]
pub struct Declared {
    /// The merged spec.
    pub spec: ReleaseSpec,
    /// The commit that last changed its files.
    pub provenance: Provenance,
    /// The file that gave the version; where there is none, the first.
    pub path: String,
    /// `path:line:column` of the release, for problems about it as a whole.
    pub place: String,
}

#[derive(Debug)]
struct Parsed {
    documents: Vec<Document>,
    problems: Vec<Problem>,
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
    pub fn without_version(&self, existing: &BTreeMap<ReleaseId, String>) -> BTreeSet<ReleaseId> {
        existing
            .iter()
            .filter(|(_, file)| self.files.contains(*file))
            .map(|(id, _)| id.clone())
            .collect()
    }
}

/// Namespaces that no release may live in unless a source names them.
const SYSTEM: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Reads a commit.
///
/// # Errors
/// When the commit, or a directory of it, cannot be read as a whole.
pub fn compile(
    reader: &Reader,
    head: &CommitId,
    paths: &[String],
    allowed: &[String],
    own: &Namespace,
    key: String,
    before: Option<&Compiled>,
) -> Result<Compiled, ReadError> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut parsed = HashMap::new();
    let mut layers: Vec<Vec<Document>> = Vec::new();
    let mut broken = BTreeSet::new();
    let mut mentioned = BTreeSet::new();
    let known = |blob: &ObjectId| before.is_some_and(|before| before.blobs.contains(blob));
    let read = reader.read_layers(head, paths, &ReadLimits::default(), &known)?;
    problems.extend(
        read.problems
            .iter()
            .map(|problem| Problem::error(&problem.path, (1, 1), &problem.message)),
    );
    let mut blobs = HashSet::new();
    let mut files = BTreeSet::new();
    for layer in read.layers {
        let mut documents = Vec::new();
        for file in layer.files {
            let id = (file.blob_id, file.path.clone());
            let read = match (before.and_then(|before| before.parsed.get(&id)), &file.bytes) {
                (Some(read), _) => Arc::clone(read),
                (None, Some(bytes)) => Arc::new(parse(&file.path, bytes)),
                // The same content under a new name: read again, now that its bytes are asked for.
                (None, None) => Arc::new(parse(&file.path, &reader.blob(file.blob_id)?)),
            };
            blobs.insert(file.blob_id);
            files.insert(file.path.clone());
            problems.extend(read.problems.iter().cloned());
            for document in &read.documents {
                mentioned.insert(document.id.clone());
                let wrong = strict::check(document);
                if wrong.iter().any(|problem| !problem.warning) {
                    broken.insert(document.id.clone());
                } else {
                    documents.push(document.clone());
                }
                problems.extend(wrong);
            }
            parsed.insert(id, read);
        }
        layers.push(documents);
    }
    let (merged, wrong, twice) = merge::assemble(&layers);
    problems.extend(wrong);
    broken.extend(twice);
    let mut releases = BTreeMap::new();
    for (id, merged) in merged {
        if broken.contains(&id) {
            continue;
        }
        let wrong = judge(&id, &merged, allowed, own);
        if wrong.is_empty() {
            releases.insert(id, merged);
        }
        problems.extend(wrong);
    }
    let groups: BTreeMap<ReleaseId, Vec<String>> = releases
        .iter()
        .map(|(id, merged)| (id.clone(), merged.files.clone()))
        .collect();
    let mut changes = reader.last_changes(head, &groups, None)?;
    let releases = releases
        .into_iter()
        .filter_map(|(id, merged)| {
            let provenance = changes.remove(&id)?;
            let path = merged
                .version_file
                .clone()
                .or_else(|| merged.files.first().cloned())
                .unwrap_or_default();
            let place = merged.place("");
            Some((
                id,
                Declared {
                    spec: merged.spec,
                    provenance,
                    path,
                    place,
                },
            ))
        })
        .collect();
    let clean = problems.iter().all(|problem| problem.warning);
    problems
        .sort_by(|a, b| (a.warning, &a.path, a.line, a.column).cmp(&(b.warning, &b.path, b.line, b.column)));
    Ok(Compiled {
        commit: head.clone(),
        key,
        releases,
        mentioned,
        problems: problems
            .iter()
            .filter(|problem| !problem.warning)
            .map(shown)
            .collect(),
        clean,
        parsed,
        blobs,
        files,
    })
}

fn parse(path: &str, bytes: &[u8]) -> Parsed {
    let (documents, problems) = document::parse_file(path, bytes);
    Parsed { documents, problems }
}

/// What is wrong with a whole release.
fn judge(id: &ReleaseId, merged: &Merged, allowed: &[String], own: &Namespace) -> Vec<Problem> {
    let mut wrong = Vec::new();
    let namespace = id.namespace.as_str();
    let permitted = if allowed.is_empty() {
        !SYSTEM.contains(&namespace) && id.namespace != *own
    } else {
        allowed.iter().any(|name| name == namespace)
    };
    if !permitted {
        let message = format!(
            "this source may not write to namespace {namespace}; see `namespaces` of the ReleaseSource"
        );
        wrong.push(merged.problem("", &message));
    }
    if let Err(rejections) = spec::declare(&id.name, &merged.spec) {
        for rejection in rejections {
            wrong.push(merged.problem(&rejection.pointer, &format!("release {id}: {rejection}")));
        }
    }
    wrong
}

fn shown(problem: &Problem) -> SourceProblem {
    SourceProblem {
        place: format!("{}:{}:{}", problem.path, problem.line, problem.column),
        message: problem.message.clone(),
    }
}
