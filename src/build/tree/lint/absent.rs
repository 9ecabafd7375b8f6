//! What a commit only refers to: it is not fetched, so a build that needs it fails, or makes an image that lacks it.

use crate::build::tree::{Source, finding::Findings};

pub(in crate::build::tree) fn run(input: &Source<'_>, findings: &mut Findings) {
    if let [first, rest @ ..] = input.submodules {
        let words = format!(
            "this directory is a submodule{}, which is not fetched, so it is empty here: commit its files, or have the Dockerfile \
             fetch them",
            more(rest.len(), "another", "others"),
        );
        findings.warn("submodule", (&input.place(first), None), words);
    }
    if let [first, rest @ ..] = input.pointers {
        let words = format!(
            "this file is kept by Git LFS{}, whose content is not fetched, so three lines that name it are here instead: commit the \
             file itself, or have the Dockerfile fetch it",
            more(rest.len(), "another", "others"),
        );
        findings.warn("lfs", (&input.place(first), None), words);
    }
}

fn more(count: usize, one: &str, several: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!(" (and {one})"),
        _ => format!(" (and {count} {several})"),
    }
}
