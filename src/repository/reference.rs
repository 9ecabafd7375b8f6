//! What of a repository is followed: a branch, a tag or one commit. Pure.
//!
//! Names follow git's [check-ref-format](https://git-scm.com/docs/git-check-ref-format) and are always used
//! in full (`refs/heads/…`), so no name is ever guessed, abbreviated or taken for a revision expression.

use std::fmt;

use crate::names::CommitId;

/// Why a name is not one of a branch or tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} {why}")]
pub struct RefError {
    kind: &'static str,
    why: String,
}

/// The name of a branch or tag, without `refs/heads/` or `refs/tags/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefName(String);

impl RefName {
    /// The name of a tag.
    ///
    /// # Errors
    /// Half a sentence that follows "the tag".
    pub fn tag(name: &str) -> Result<Self, RefError> {
        check_name(name).map_err(|why| RefError { kind: "tag", why })?;
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is followed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GitRef {
    /// The head of a branch.
    Branch(RefName),
    /// A tag; an annotated one means the commit that it names.
    Tag(RefName),
    /// One commit, for ever.
    Commit(CommitId),
}

impl GitRef {
    /// The branch of this name.
    pub fn branch(name: &str) -> Result<Self, RefError> {
        check_name(name).map_err(|why| RefError { kind: "branch", why })?;
        Ok(Self::Branch(RefName(name.to_owned())))
    }

    /// The tag of this name.
    pub fn tag(name: &str) -> Result<Self, RefError> {
        RefName::tag(name).map(Self::Tag)
    }

    /// The commit of this full id.
    pub fn commit(id: &str) -> Result<Self, RefError> {
        id.parse().map(Self::Commit).map_err(|why| RefError {
            kind: "commit",
            why: why.to_string(),
        })
    }

    /// From the three fields of a source, of which at most one is given; the branch `main` when none is.
    pub fn from_fields(
        branch: Option<&str>,
        tag: Option<&str>,
        commit: Option<&str>,
    ) -> Result<Self, RefError> {
        match (branch, tag, commit) {
            (None, None, None) => Self::branch("main"),
            (Some(branch), None, None) => Self::branch(branch),
            (None, Some(tag), None) => Self::tag(tag),
            (None, None, Some(commit)) => Self::commit(commit),
            _ => Err(RefError {
                kind: "reference",
                why: "is not clear: give at most one of branch, tag and commit".into(),
            }),
        }
    }

    /// `branch`, `tag` or `commit`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Branch(_) => "branch",
            Self::Tag(_) => "tag",
            Self::Commit(_) => "commit",
        }
    }

    /// What the server is asked for: a full reference name, or the id.
    #[must_use]
    pub fn remote_name(&self) -> String {
        match self {
            Self::Branch(name) => format!("refs/heads/{}", name.0),
            Self::Tag(name) => format!("refs/tags/{}", name.0),
            Self::Commit(id) => id.to_string(),
        }
    }
}

impl fmt::Display for GitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "branch {}", name.0),
            Self::Tag(name) => write!(f, "tag {}", name.0),
            Self::Commit(id) => write!(f, "commit {}", id.short()),
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 255 {
        return Err(format!("must have 1 to 255 characters, has {}", name.len()));
    }
    if name.starts_with("refs/") {
        return Err("must be given without refs/heads/ or refs/tags/".into());
    }
    if name == "@" || name == "HEAD" || name.starts_with('-') {
        return Err("must not be '@' or 'HEAD', nor start with '-'".into());
    }
    let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    if let Some(odd) = name.chars().find(|c| odd(*c)) {
        return Err(format!("must not contain {odd:?}"));
    }
    if name.contains("..") || name.contains("@{") {
        return Err("must not contain '..' or '@{'".into());
    }
    let bad_part = |part: &str| {
        // Where file names ignore case, `.LOCK` is git's lock file too.
        let lock = part.to_ascii_lowercase().strip_suffix(".lock").is_some();
        part.is_empty() || part.starts_with('.') || part.ends_with('.') || lock
    };
    if name.split('/').any(bad_part) {
        return Err("must not have a part that is empty, starts or ends with '.', or ends in .lock".into());
    }
    // Whoever reads `branch: 3f2a…` takes it for a commit.
    let hex = name.bytes().all(|c| c.is_ascii_hexdigit());
    if hex && (name.len() == 40 || name.len() == 64) {
        return Err("looks like a commit id: give it as `commit`".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_become_full_references() {
        let name = |r: Result<GitRef, RefError>| r.map(|r| r.remote_name());
        assert_eq!(name(GitRef::branch("main")).as_deref(), Ok("refs/heads/main"));
        assert_eq!(
            name(GitRef::branch("feature/a-1")).as_deref(),
            Ok("refs/heads/feature/a-1")
        );
        assert_eq!(name(GitRef::tag("v1.2.3")).as_deref(), Ok("refs/tags/v1.2.3"));
    }

    #[test]
    fn nothing_given_means_main_and_two_given_is_an_error() {
        assert_eq!(GitRef::from_fields(None, None, None), GitRef::branch("main"));
        assert!(GitRef::from_fields(Some("a"), Some("b"), None).is_err());
    }

    #[test]
    fn revision_expressions_and_options_are_no_names() {
        for bad in [
            "",
            "--upload-pack=x",
            "-c",
            "@",
            "@{u}",
            "a@{1}",
            "HEAD",
            "HEAD^{/x}",
            "a..b",
            "x.lock",
            "x.LOCK/y",
            "refs/../x",
            "refs/heads/main",
            "refs/tags/v1",
            "-oProxyCommand=x",
            "main@{upstream}",
            "main@{-1}",
            ":/fix",
            "a\u{7f}b",
            "a\u{1b}[31mb",
            "a.lock/b",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "a//b",
            "/a",
            "a/",
            ".a",
            "a/.b",
            "a.",
            "a b",
            "a\nb",
            "a\0",
            "a:b",
            "a*",
            "a?",
            "a[",
            "a\\b",
            "a~1",
            "a^",
            "0123456789abcdef0123456789abcdef01234567",
            "a\u{a0}b",
        ] {
            assert!(GitRef::branch(bad).is_err(), "{bad:?}");
            assert!(GitRef::tag(bad).is_err(), "{bad:?}");
        }
        assert!(GitRef::branch(&"a".repeat(10_000)).is_err());
    }

    #[test]
    fn commits_are_full_ids_only() {
        for bad in [
            "main",
            "0123456",
            "",
            "0123456789ABCDEF0123456789abcdef01234567",
            "v1",
            "HEAD",
            "0123456789abcdef0123456789abcdef0123456g",
        ] {
            assert!(GitRef::commit(bad).is_err(), "{bad:?}");
        }
    }
}
