//! Whether each line of a `requirements.txt` names one version.

/// The first line that may be another version tomorrow: its number, and the name of what it asks for.
pub(super) fn first_loose(text: &str) -> Option<(u32, String)> {
    requirements(text)
        .find(|(_, asked)| !is_exact(asked))
        .map(|(line, asked)| (line, name(asked).to_owned()))
}

/// Whether there is anything at all: an empty file locks nothing.
pub(super) fn names_any(text: &str) -> bool {
    requirements(text).next().is_some()
}

/// Each requirement with the number of its line: without remarks, options and conditions.
fn requirements(text: &str) -> impl Iterator<Item = (u32, &str)> {
    let mut goes_on = false;
    text.lines().zip(1_u32..).filter_map(move |(line, number)| {
        // What goes on in the next line are hashes.
        let continues = std::mem::replace(&mut goes_on, line.trim_end().ends_with('\\'));
        let line = line.trim_start_matches('\u{feff}').trim();
        let line = line.split(" #").next().unwrap_or(line);
        let line = line.trim_end_matches('\\').trim();
        let editable = line
            .strip_prefix("-e ")
            .or_else(|| line.strip_prefix("--editable "));
        let asked = editable.unwrap_or(line).split(" --").next().unwrap_or(line);
        // Other files and settings: what they hold is not known here.
        let setting = continues || asked.is_empty() || asked.starts_with(['#', '-']);
        (!setting).then_some((number, asked.trim()))
    })
}

fn is_exact(asked: &str) -> bool {
    if asked.contains("://") || asked.contains(" @ ") {
        return is_exact_address(asked);
    }
    if asked.starts_with(['.', '/']) {
        return true;
    }
    let asked = asked.split(';').next().unwrap_or(asked);
    let versions = asked.split(',').any(|part| {
        let version = part
            .split_once("==")
            .map(|(_, version)| version.trim_start_matches('='));
        version.is_some_and(|version| !version.trim().is_empty() && !version.contains('*'))
    });
    versions && !asked.contains("!==")
}

/// A commit, a hash, or a file with a version in its name.
fn is_exact_address(asked: &str) -> bool {
    let asked = asked.split(" ;").next().unwrap_or(asked).trim();
    let (address, fragment) = asked.split_once('#').unwrap_or((asked, ""));
    let commit = address
        .rsplit_once('@')
        .is_some_and(|(_, commit)| commit.len() == 40 && commit.bytes().all(|c| c.is_ascii_hexdigit()));
    let file = [".whl", ".tar.gz", ".zip"]
        .iter()
        .any(|end| address.ends_with(end));
    let local = address.contains("file://");
    commit || local || fragment.contains("sha256=") || file && !address.contains("git+")
}

fn name(asked: &str) -> &str {
    let end = asked.find(|c: char| !(c.is_ascii_alphanumeric() || ['.', '_', '-', '['].contains(&c)));
    let name = asked.get(..end.unwrap_or(asked.len())).unwrap_or(asked);
    name.split('[').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_must_name_one_version() {
        let exact = "# made by pip-compile\n--index-url https://pypi.org/simple\n-r base.txt\n\
                     flask==3.0.3 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n\
                     uvicorn[standard]==0.30.1 ; python_version >= \"3.8\"  # why\n\
                     a @ https://example.com/a-1.0-py3-none-any.whl\n\
                     b @ git+https://github.com/x/b@0123456789abcdef0123456789abcdef01234567\n\
                     -e .\n./vendored\nc===1.0\n";
        assert_eq!(first_loose(exact), None);
        assert!(names_any(exact));
        assert!(!names_any("# nothing\n\n-r base.txt\n"));
    }

    #[test]
    fn the_first_line_that_does_not_is_named() {
        for (line, name) in [
            ("flask", "flask"),
            ("flask>=3", "flask"),
            ("flask~=3.0", "flask"),
            ("flask==3.*", "flask"),
            ("uvicorn[standard]>=0.30", "uvicorn"),
            ("b @ git+https://github.com/x/b@main", "b"),
            ("git+https://github.com/x/b.git", "git"),
            ("-e git+https://github.com/x/b.git", "git"),
        ] {
            let text = format!("a==1.0\n{line}\n");
            assert_eq!(first_loose(&text), Some((2, name.to_owned())), "{line}");
        }
    }
}
