//! Whether a file of a project names anything that is fetched. Enough is understood of each form to say yes where it does.

use std::collections::BTreeSet;

use serde_json::Value;

/// `{:phoenix, "~> 1.7"}`: a dependency with a version or from a repository, but none beside it.
pub(super) fn mix(text: &str) -> bool {
    let text = without_remarks(text, "#");
    // An umbrella: its dependencies are those of the projects in it, and its lock file is of all of them.
    if text.contains("apps_path:") {
        return true;
    }
    text.split('{').skip(1).any(|rest| {
        let tuple = rest.split('}').next().unwrap_or_default();
        let Some((name, value)) = tuple
            .trim_start()
            .strip_prefix(':')
            .and_then(|rest| rest.split_once(','))
        else {
            return false;
        };
        let plain = |name: &str| name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        let value = value.trim_start();
        let version = value
            .strip_prefix('"')
            .is_some_and(|version| version.starts_with(|c: char| "~<>=".contains(c) || c.is_ascii_digit()));
        let fetched = ["git:", "github:", "hex:", "organization:"];
        plain(name.trim()) && (version || fetched.iter().any(|start| value.starts_with(start)))
    })
}

/// `"dependencies": {…}` of any kind, unless all of them are beside it.
pub(super) fn node(text: &str) -> bool {
    let Ok(value) = json(text) else { return true };
    if value.get("workspaces").is_some() {
        return true;
    }
    let kinds = ["dependencies", "devDependencies", "optionalDependencies"];
    let near = |version: &Value| {
        let version = version.as_str().unwrap_or_default();
        ["file:", "link:", "portal:", "workspace:"]
            .iter()
            .any(|start| version.starts_with(start))
    };
    kinds
        .iter()
        .filter_map(|kind| value.get(kind)?.as_object())
        .any(|all| !all.values().all(near))
}

/// `vendor/package`; php itself and its extensions are part of the image.
pub(super) fn php(text: &str) -> bool {
    let Ok(value) = json(text) else { return true };
    let all = ["require", "require-dev"];
    all.iter()
        .filter_map(|kind| value.get(kind)?.as_object())
        .any(|all| all.keys().any(|name| name.contains('/')))
}

fn json(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// A line that begins with `gem`.
pub(super) fn ruby(text: &str) -> bool {
    let names = |line: &str| {
        let rest = line.trim_start().strip_prefix("gem");
        rest.is_some_and(|rest| rest.starts_with("spec") || rest.trim_start().starts_with(['"', '\'', '(']))
    };
    text.lines().any(names)
}

/// `require`, unless all of it is replaced by directories.
pub(super) fn go(text: &str) -> bool {
    let (mut required, mut replaced) = (BTreeSet::new(), BTreeSet::new());
    let mut block = "";
    let text = without_remarks(text, "//");
    for line in text.lines() {
        let mut words = line.split_whitespace().peekable();
        let within = if block.is_empty() {
            let Some(first) = words.next() else { continue };
            if words.peek() == Some(&"(") {
                block = first;
                continue;
            }
            first
        } else if words.peek() == Some(&")") {
            block = "";
            continue;
        } else {
            block
        };
        let Some(module) = words.next() else { continue };
        let near = || {
            let to = words.skip_while(|word| *word != "=>").nth(1);
            to.is_some_and(|to| to.starts_with("./") || to.starts_with("../") || to.starts_with('/'))
        };
        match within {
            "require" => {
                required.insert(module);
            }
            "replace" if near() => {
                replaced.insert(module);
            }
            _ => {}
        }
    }
    !required.is_subset(&replaced)
}

/// `dependencies` of `[project]`, or of poetry, but not Python itself.
pub(super) fn python(text: &str) -> bool {
    let (mut section, mut listing) = (String::new(), false);
    without_remarks(text, "#").lines().map(str::trim).any(|line| {
        if !listing && line.starts_with('[') {
            line.trim_matches(['[', ']', ' ']).clone_into(&mut section);
            return false;
        }
        let (key, value) = line.split_once('=').unwrap_or(("", line));
        let (key, value) = (key.trim(), if listing { line } else { value });
        match section.as_str() {
            "project" if listing || key == "dependencies" => {
                // An extra has brackets, too: "uvicorn[standard]".
                listing = !outside_quotes(value).ends_with(']');
                value.contains(['"', '\''])
            }
            "tool.poetry.dependencies" => !["", "python"].contains(&key),
            _ => false,
        }
    })
}

/// Anything in `[packages]`.
pub(super) fn pipfile(text: &str) -> bool {
    let mut within = false;
    without_remarks(text, "#").lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            within = line == "[packages]";
            return false;
        }
        within && line.contains('=')
    })
}

fn outside_quotes(text: &str) -> String {
    let mut quote = None;
    let plain = text.chars().filter(|c| match quote {
        Some(open) => {
            if *c == open {
                quote = None;
            }
            false
        }
        None if ['"', '\''].contains(c) => {
            quote = Some(*c);
            false
        }
        None => true,
    });
    plain.collect::<String>().trim_end().to_owned()
}

/// The text without what stands behind a mark in each line, unless it is within quotation marks.
fn without_remarks(text: &str, mark: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut quote = None;
        let mut end = line.len();
        for (at, c) in line.char_indices() {
            match quote {
                Some(open) if c == open => quote = None,
                None if ['"', '\''].contains(&c) => quote = Some(c),
                None if line.get(at..).is_some_and(|rest| rest.starts_with(mark)) => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        out.push_str(line.get(..end).unwrap_or(line));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mix_needs_what_has_a_version_or_a_repository() {
        for text in [
            "defp deps do\n[\n{:phoenix, \"~> 1.7\"},\n]\nend",
            "[{:a, path: \"../a\"}, {:b, \">= 0.0.0\", only: :dev}]",
            "{ :b, github: \"a/b\" }",
            "{:c,\n \"1.0.0\"}",
        ] {
            assert!(mix(text), "{text}");
        }
        for text in [
            "deps: []",
            "[mod: {Shop.Application, []}]",
            "[{:a, path: \"../a\"}, {:b, in_umbrella: true}]",
            "# {:phoenix, \"~> 1.7\"}",
            "{:ok, \"text\"}",
            "",
        ] {
            assert!(!mix(text), "{text}");
        }
    }

    #[test]
    fn node_and_php_need_what_is_in_a_registry() {
        assert!(node(r#"{"dependencies": {"next": "16.0.0"}}"#));
        assert!(node(r#"{"devDependencies": {"x": "*"}}"#));
        assert!(node("not json"));
        assert!(!node(r#"{"name": "x", "dependencies": {}}"#));
        assert!(!node(
            r#"{"dependencies": {"a": "file:../a", "b": "workspace:*"}}"#
        ));
        assert!(php(r#"{"require": {"php": "^8", "laravel/framework": "^11"}}"#));
        assert!(!php(r#"{"require": {"php": "^8", "ext-json": "*"}}"#));
    }

    #[test]
    fn go_needs_what_no_directory_replaces() {
        for text in [
            "module a\nrequire b.c/d v1.0.0",
            "require (\n\tb.c/d v1.0.0 // indirect\n)\n",
            "require (\nb v1\nc v1\n)\nreplace b => ../b\n",
        ] {
            assert!(go(text), "{text}");
        }
        for text in [
            "module a\n\ngo 1.22\n",
            "require (\n)\n",
            "// require b v1\n",
            "require b v1\nreplace b v1 => ./b\n",
            "require (\nb v1\n)\nreplace (\nb => ../b\n)\n",
        ] {
            assert!(!go(text), "{text}");
        }
    }

    #[test]
    fn ruby_needs_what_its_file_names() {
        for text in ["gem 'rails'", "  gem \"rails\", \"~> 7\"", "gemspec", "gem('x')"] {
            assert!(ruby(text), "{text}");
        }
        for text in ["source 'https://rubygems.org'", "# gem 'rails'", "gems = 1"] {
            assert!(!ruby(text), "{text}");
        }
    }

    #[test]
    fn python_needs_what_its_project_names() {
        for text in [
            "[project]\ndependencies = [\"flask\"]",
            "[project]\ndependencies = [\n  # web\n  \"uvicorn[standard]\",\n]\n",
            "[tool.poetry.dependencies]\npython = \"^3.12\"\ndjango = \"^5\"",
        ] {
            assert!(python(text), "{text}");
        }
        for text in [
            "[tool.ruff]\nline-length = 100\n",
            "[project]\nname = \"x\"\ndependencies = []\n[project.scripts]\na = \"b\"",
            "[project]\ndependencies = [\n]\nkeywords = [\"a\"]\n",
            "[tool.poetry.dependencies]\npython = \"^3.12\"\n[tool.x]\na = 1",
            "# [project]\n",
        ] {
            assert!(!python(text), "{text}");
        }
        assert!(pipfile("[packages]\nflask = \"*\"\n"));
        assert!(!pipfile("[packages]\n[dev-packages]\nx = \"*\"\n"));
    }
}
