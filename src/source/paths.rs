//! Which directories a source may name, and which names in a commit are specs. Pure: names are only compared.

use std::collections::BTreeSet;

use super::{error::escape, tree::ReadError};

/// What an entry's name says about it.
pub(crate) enum Name {
    Spec,
    /// Another kind of file, or a hidden one: none of ours.
    Other,
    Odd(&'static str),
}

/// The rule for names: exactly `.yaml` and `.yml` are read. The same in other letters would be read by some
/// tools and not by others, so it is a problem. Hidden names (`.github`, `.yamllint.yml`) belong to other
/// tools and are passed over; anything else is none of ours.
pub(crate) fn name_of(name: &[u8]) -> Name {
    let Ok(text) = std::str::from_utf8(name) else {
        return Name::Odd("has a name that is not UTF-8");
    };
    if text.is_empty() || text == "." || text == ".." || text.eq_ignore_ascii_case(".git") {
        return Name::Odd("has a name that git does not allow");
    }
    if text.contains(['/', '\\']) || text.contains(char::is_control) || escape(text, text.len() * 10) != text
    {
        return Name::Odd("has a slash, a backslash or an invisible character in its name: rename it");
    }
    if text.len() > 255 {
        return Name::Odd("has a name of more than 255 bytes: rename it");
    }
    if text.starts_with('.') {
        return Name::Other;
    }
    match text.rsplit_once('.').map(|(_, extension)| extension) {
        Some("yaml" | "yml") => Name::Spec,
        Some(other) if other.eq_ignore_ascii_case("yaml") || other.eq_ignore_ascii_case("yml") => {
            Name::Odd("has an extension that only looks like .yaml: write it in lower case")
        }
        _ => Name::Other,
    }
}

/// Whether a path of a commit lies below a directory of a source.
#[must_use]
pub fn is_below(path: &str, directory: &str) -> bool {
    directory == "."
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// Directories of a source: relative, plain, each once, none inside another (its files would count twice).
pub fn check_paths(paths: &[String]) -> Result<(), ReadError> {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for path in paths {
        check_path(path)?;
        let overlap = seen
            .iter()
            .any(|other| *other == path || is_below(path, other) || is_below(other, path));
        if overlap {
            return Err(ReadError::InvalidPath {
                path: path.clone(),
                why: "is named twice or lies inside another one",
            });
        }
        seen.insert(path);
    }
    Ok(())
}

pub(super) fn check_path(path: &str) -> Result<(), ReadError> {
    let bad = |why| {
        Err(ReadError::InvalidPath {
            path: escape(path, 300),
            why,
        })
    };
    if path == "." {
        return Ok(());
    }
    if path.is_empty() || path.len() > 512 {
        return bad("must have 1 to 512 characters");
    }
    if path.starts_with('/') || path.ends_with('/') {
        return bad("must not start or end with a slash");
    }
    if path.contains('\\') || path.contains(char::is_control) {
        return bad("must not contain a backslash or a control character");
    }
    let odd =
        |part: &str| part.is_empty() || part == "." || part == ".." || part.eq_ignore_ascii_case(".git");
    if path.split('/').any(odd) {
        return bad("must not have a part that is empty, '.', '..' or '.git'");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_or_overlap_are_refused() {
        for bad in [
            "",
            "/etc",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            ".git/hooks",
            "a/.GIT",
            "a\\b",
            "a\r",
        ] {
            let result = check_paths(&[bad.to_owned()]);
            assert!(matches!(result, Err(ReadError::InvalidPath { .. })), "{bad:?}");
        }
        for (a, b) in [("a", "a"), ("a", "a/b"), ("a/b", "a"), (".", "a"), ("a", ".")] {
            assert!(check_paths(&[a.to_owned(), b.to_owned()]).is_err(), "{a} {b}");
        }
        assert!(check_paths(&["a".to_owned(), "ab".to_owned(), "b/a".to_owned()]).is_ok());
    }
}
