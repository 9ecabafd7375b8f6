//! Generated files are committed, and equal what the code would generate now.

use std::{fs, path::Path};

#[test]
fn the_crds_in_the_repository_are_those_of_the_code() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let documents = slipway::cli::crds::documents().unwrap();
    for (name, text) in &documents {
        let stored = fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert!(
            stored == *text,
            "crds/{name} is not what the code says; run: cargo run -- crds --output crds"
        );
    }
    let stored = fs::read_dir(directory).unwrap().count();
    assert_eq!(
        stored,
        documents.len(),
        "crds/ holds a file that no kind belongs to"
    );
}

#[test]
fn the_reference_in_the_documentation_is_that_of_the_types() {
    let stored = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md"))
        .unwrap_or_default();
    assert!(
        stored == slipway::cli::reference::page().unwrap(),
        "docs/reference.md is old; run: make generate"
    );
}
