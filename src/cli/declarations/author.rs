//! Who declared something: from a commit back to the one that said it first, also where files were moved or could not be read.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Declarations, Files, damaged, may_speak, version};
use crate::{
    names::{CommitId, ReleaseId},
    source::{Provenance, ReadError, Saying},
    spec::{
        document::Document,
        file::File,
        reading::{self, Named},
    },
    words::audit::{Author, Span, Version},
};

/// What one commit says of a release, without those before it.
pub(super) enum Said {
    Version(Version),
    Nothing,
    /// It cannot be used: what was declared before stays. With the files and directories that would have to change.
    Unknown(Vec<String>),
}

impl Declarations {
    /// Spans with who declared each: the commit that said the later of version and image first, each in its file. Where one
    /// began before what was read, its beginning is found too.
    pub fn told(&self, mut spans: Vec<Span>) -> anyhow::Result<Vec<(Span, Option<Author>)>> {
        self.begun(&mut spans)?;
        let author = |span: Span| Ok((self.author(&span).map_err(damaged)?, span));
        let told = spans
            .into_iter()
            .map(author)
            .map(|told| told.map(|(author, span)| (span, author)));
        told.collect()
    }

    fn author(&self, span: &Span) -> Result<Option<Author>, ReadError> {
        let Some(declared) = &span.declared else {
            return Ok(None);
        };
        let found = self.first(&span.release, &span.tip, declared)?;
        Ok(found.and_then(|found| {
            Some(Author {
                commit: found.commit.to_string(),
                author: found.author,
                committed: Timestamp::from_second(found.committed_at).ok()?,
                subject: found.subject,
            })
        }))
    }

    /// The commit that said it first.
    fn first(
        &self,
        id: &ReleaseId,
        head: &CommitId,
        declared: &Version,
    ) -> Result<Option<Provenance>, ReadError> {
        let (mut from, mut declared, mut found) = (head.clone(), declared.clone(), None);
        // Each turn goes back by at least one commit.
        while let Some(change) = self.first_there(id, &from, &declared)? {
            let before = self.behind(id, &change.commit, &declared)?;
            found = Some(change);
            let Some(next) = before else { break };
            (from, declared) = next;
        }
        Ok(found)
    }

    /// The same, as long as both are said in the same files.
    fn first_there(
        &self,
        id: &ReleaseId,
        head: &CommitId,
        declared: &Version,
    ) -> Result<Option<Provenance>, ReadError> {
        let field = |path: &str, bytes: &[u8], name: &str, text: &str| {
            let file = File::read(path, bytes);
            let says = |document: &Document| {
                document.spec.get(name).and_then(serde_json::Value::as_str) == Some(text)
            };
            let mut own = file.documents.iter().filter(|document| document.id == *id);
            match own.next() {
                Some(document) => Some(says(document) || own.any(says)),
                None if file.broken.iter().any(|broken| broken.may_be(id)) => None,
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
        self.reader.first_with(head, &sayings)
    }

    /// The nearest commit before one that can be used, if it declares the same, and where it does: in files that were moved
    /// since.
    fn behind(
        &self,
        id: &ReleaseId,
        commit: &CommitId,
        declared: &Version,
    ) -> Result<Option<(CommitId, Version)>, ReadError> {
        let mut from = commit.clone();
        loop {
            let mut unknown = None;
            for parent in self.reader.parents(&from)? {
                match self.says(&parent, id)? {
                    Said::Version(version) if version.is(declared) => return Ok(Some((parent, version))),
                    Said::Unknown(paths) if unknown.is_none() => unknown = Some((parent, paths)),
                    _ => {}
                }
            }
            let Some((parent, paths)) = unknown else {
                return Ok(None);
            };
            // As long as they stay as they are it cannot be used either.
            let change = self.reader.last_change(&parent, &paths, None)?;
            from = change.map_or(parent, |change| change.commit);
        }
    }

    fn says(&self, commit: &CommitId, id: &ReleaseId) -> Result<Said, ReadError> {
        match self.files(commit) {
            Ok(files) => Ok(said(&files, id)),
            Err(error @ ReadError::Corrupt { .. }) => Err(error),
            Err(_) => Ok(Said::Unknown(self.paths.clone())),
        }
    }
}

/// Reads what speaks of one release alone, so that a question about many does not read all of each commit for each.
pub(super) fn said(files: &Files, id: &ReleaseId) -> Said {
    let of_it = |layer: &Vec<Arc<File>>| -> Vec<Arc<File>> {
        let files = layer.iter().filter(|file| may_speak(file, id));
        files.cloned().collect()
    };
    let files: Files = files.iter().map(of_it).collect();
    let mut read = reading::read(&files, &Named::new(), &|_| None);
    let mut broken = files.iter().flatten().flat_map(|file| &file.broken);
    match read.releases.remove(id).map(version) {
        Some(Some(version)) => Said::Version(version),
        None if read.held.contains(id) || broken.any(|broken| broken.may_be(id)) => {
            Said::Unknown(files.iter().flatten().map(|file| file.path.clone()).collect())
        }
        Some(None) | None => Said::Nothing,
    }
}
