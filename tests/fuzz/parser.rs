//! Files of specs: whatever they hold, they are read to the end, what is wrong is told without a secret, and what is right
//! means the same when it is written anew.

use std::sync::Arc;

use slipway::{
    render,
    spec::{
        document::Problem,
        file::File,
        reading::{self, Named},
        spec_hash,
    },
};

use super::{
    engine::{kind_of, run},
    written,
};

/// A token by its form, and a password by where it stands.
pub const TOKEN: &str = "ghp_PLANTED0123456789abcdefghijklmnop";
pub const PASSWORD: &str = "PLANTED-pass-77";

#[test]
fn files_are_read_to_the_end_and_no_secret_is_repeated() {
    run("parser", check);
}

fn check(input: &[u8]) -> u64 {
    let file = File::read("a.yaml", input);
    // Whatever cannot be used is told.
    assert!(file.broken.is_empty() || !file.problems.is_empty(), "{file:?}");
    for problem in &file.problems {
        told(problem, input);
    }
    for document in &file.documents {
        for pointer in document.places.keys() {
            assert!(
                document.spec.pointer(pointer).is_some(),
                "{pointer} is in no spec"
            );
        }
        let Some(anew) = written::read(&[document]) else {
            continue;
        };
        assert_eq!(anew.problems, [], "{}", written::document(document));
        assert_eq!(anew.documents.len(), 1);
        assert_eq!(anew.documents[0].id, document.id);
        assert_eq!(anew.documents[0].spec, document.spec);
    }
    let mut answers: Vec<String> = file
        .problems
        .iter()
        .map(|problem| problem.message.clone())
        .collect();
    answers.extend(released(file));
    kind_of(answers.iter().map(String::as_str))
}

fn told(problem: &Problem, input: &[u8]) {
    // The end of a file is behind its last line.
    let lines = 1 + input.split(|byte| *byte == b'\n').count();
    let message = &problem.message;
    assert_eq!(problem.path, "a.yaml");
    assert!((1..=lines).contains(&problem.line), "{problem} of {lines} lines");
    assert!(problem.column >= 1 && !message.is_empty(), "{problem}");
    assert!(message.len() <= 1024, "{} bytes", message.len());
    assert!(!message.contains(char::is_control), "{message:?}");
    silent(message, input);
}

/// That a message has none of the secrets that were planted, as long as each still has the form that makes it one.
pub fn silent(message: &str, input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let inside = |c: char| c.is_ascii_alphanumeric() || ['_', '-', '.'].contains(&c);
    let form = |secret: &str, is: &dyn Fn(&str, &str) -> bool| {
        text.match_indices(secret)
            .all(|(at, _)| is(&text[..at], &text[at + secret.len()..]))
    };
    if form(TOKEN, &|before, _| !before.ends_with(inside)) {
        assert!(!message.contains(TOKEN), "{message}");
    }
    if form(PASSWORD, &|before, after| {
        before.ends_with("://app:") && after.starts_with('@')
    }) {
        assert!(!message.contains(PASSWORD), "{message}");
    }
}

/// What the file alone declares: complete, rendered, and by the same hash when it is written anew.
fn released(file: File) -> Vec<String> {
    let Some(anew) = written::read(&file.documents.iter().collect::<Vec<_>>()) else {
        return Vec::new();
    };
    let reading = |file| reading::read(&[vec![Arc::new(file)]], &Named::new(), &|_| None);
    // Without what is broken, which holds others.
    let whole = File {
        broken: Vec::new(),
        problems: Vec::new(),
        ..file
    };
    let (one, other) = (reading(whole), reading(anew));
    assert_eq!(
        one.releases.keys().collect::<Vec<_>>(),
        other.releases.keys().collect::<Vec<_>>()
    );
    let mut kinds: Vec<String> = one
        .problems
        .iter()
        .map(|problem| problem.message.clone())
        .collect();
    for (id, release) in &one.releases {
        let same = &other.releases[id];
        assert_eq!(
            spec_hash(&release.merged.spec),
            spec_hash(&same.merged.spec),
            "{id}"
        );
        assert_eq!(release.declared, same.declared, "{id}");
        let Some(declared) = &release.declared else {
            continue;
        };
        let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let objects = render::render(&render::Input::of(id, declared, &digest));
        kinds.extend(objects.iter().map(|object| object.key.kind.as_str().to_owned()));
    }
    kinds
}
