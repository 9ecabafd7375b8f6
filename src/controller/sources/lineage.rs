//! What the mirror of a source knows of commits that the cluster names.

use std::collections::{BTreeMap, BTreeSet};

use super::Context;
use crate::{
    api::ReleaseSource,
    names::{CommitId, ReleaseId},
    plan::lineage::Relation,
    source::{GitUrl, Mirror, ReadError, Reader, is_below},
    spec::file::File,
};

/// The relation of each commit to `head`; of none where the mirror cannot be read.
pub async fn relations(
    source: &ReleaseSource,
    context: &Context,
    head: &CommitId,
    commits: BTreeSet<CommitId>,
) -> BTreeMap<CommitId, Relation> {
    if commits.is_empty() {
        return BTreeMap::new();
    }
    let head = head.clone();
    let asked = with_reader(source, context, move |reader| {
        commits
            .into_iter()
            .map(|commit| {
                let relation = relation(reader, &head, &commit).unwrap_or(Relation::Missing);
                (commit, relation)
            })
            .collect()
    });
    asked.await.unwrap_or_default()
}

fn relation(reader: &Reader, head: &CommitId, commit: &CommitId) -> Result<Relation, ReadError> {
    if reader.is_ancestor(commit, head)? {
        return Ok(Relation::Known);
    }
    match reader.is_ancestor(head, commit) {
        Ok(true) => Ok(Relation::Newer),
        Ok(false) => Ok(Relation::Aside),
        Err(ReadError::CommitMissing(_)) => Ok(Relation::Missing),
        Err(error) => Err(error),
    }
}

/// What an object says of the release that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The release.
    pub id: ReleaseId,
    /// The commit that declared it.
    pub commit: CommitId,
    /// The file that gave the version in it.
    pub file: String,
}

/// Those claims that git confirms: the commit is part of what is followed, and the file declared the release in it. None
/// where the mirror cannot be read.
pub async fn confirmed(
    source: &ReleaseSource,
    context: &Context,
    head: &CommitId,
    claims: Vec<Claim>,
) -> Vec<Claim> {
    if claims.is_empty() {
        return claims;
    }
    let (head, paths) = (head.clone(), source.spec.paths.clone());
    let judged = with_reader(source, context, move |reader| {
        let mut unique = BTreeSet::new();
        claims
            .into_iter()
            .filter(|claim| confirms(reader, &head, &paths, claim).unwrap_or(false))
            .filter(|claim| unique.insert(claim.id.clone()))
            .collect()
    });
    judged.await.unwrap_or_default()
}

fn confirms(reader: &Reader, head: &CommitId, paths: &[String], claim: &Claim) -> Result<bool, ReadError> {
    let followed = paths.iter().any(|path| is_below(&claim.file, path));
    if !followed || !reader.is_ancestor(&claim.commit, head)? {
        return Ok(false);
    }
    let Some(bytes) = reader.file(&claim.commit, &claim.file)? else {
        return Ok(false);
    };
    let file = File::read(&claim.file, &bytes);
    Ok(file.documents.iter().any(|document| document.id == claim.id))
}

/// Asks the mirror of a source, in a thread of its own; `None` where it cannot be read.
async fn with_reader<T: Send + 'static>(
    source: &ReleaseSource,
    context: &Context,
    ask: impl FnOnce(&Reader) -> T + Send + 'static,
) -> Option<T> {
    let url = GitUrl::parse(&source.spec.git.url, context.allow_plain_http).ok()?;
    let root = context.root.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let reader = Mirror::open(&root, &url).ok()?.reader().ok()?;
        Some(ask(&reader))
    });
    asked.await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Credentials, FetchLimits, GitRef, test_support::Upstream};

    #[test]
    fn only_what_a_followed_file_declared_in_a_known_commit_was_declared_before() {
        let upstream = Upstream::new();
        let text = "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {name: a, namespace: shop}\nspec: {}\n";
        let first = upstream.commit(&[("production/a.yaml", text), ("other/a.yaml", text)]);
        let head = upstream.commit(&[("production/a.yaml", "")]);
        let root = tempfile::tempdir().unwrap();
        let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
        let main = GitRef::branch("main").unwrap();
        mirror
            .fetch(&main, &Credentials::anonymous(), FetchLimits::default())
            .unwrap();
        let reader = mirror.reader().unwrap();
        let unknown: CommitId = "f".repeat(40).parse().unwrap();
        for (commit, of, expected) in [
            (&first, &head, Relation::Known),
            (&head, &head, Relation::Known),
            (&head, &first, Relation::Newer),
            (&unknown, &head, Relation::Missing),
        ] {
            assert_eq!(relation(&reader, of, commit).unwrap(), expected);
        }
        let claim = |name: &str, commit: &CommitId, file: &str| Claim {
            id: ReleaseId {
                namespace: "shop".parse().unwrap(),
                name: name.parse().unwrap(),
            },
            commit: commit.clone(),
            file: file.to_owned(),
        };
        for (claim, head, holds) in [
            (claim("a", &first, "production/a.yaml"), &head, true),
            (claim("b", &first, "production/a.yaml"), &head, false),
            (claim("a", &first, "other/a.yaml"), &head, false),
            (claim("a", &first, "production/b.yaml"), &head, false),
            (claim("a", &head, "production/a.yaml"), &head, false),
            (claim("a", &head, "production/a.yaml"), &first, false),
            (claim("a", &unknown, "production/a.yaml"), &head, false),
        ] {
            let said = confirms(&reader, head, &["production".to_owned()], &claim).unwrap();
            assert_eq!(said, holds, "{claim:?}");
        }
    }
}
