//! References of images, and what registries answer about them.

use slipway::{
    image::manifest::{self, Manifest},
    names::Version,
    spec::{declared::ImagePick, image},
};

use super::{
    engine::{kind_of, run},
    parser,
};

#[test]
fn references_and_answers_of_registries_are_read_or_refused() {
    run("image", check);
}

fn check(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let mut answers = Vec::new();
    for line in text.lines().take(20) {
        answers.push(reference(line, input));
    }
    answers.push(match manifest::parse_manifest(input) {
        Ok(Manifest::Image { .. }) => "an image".to_owned(),
        Ok(Manifest::Index {
            platforms, images, ..
        }) => {
            assert!(!platforms.is_empty() && platforms.len() <= 64);
            format!(
                "an index with {} image",
                if images.is_empty() { "no" } else { "an" }
            )
        }
        Err(problem) => sentence(problem, input),
    });
    answers.push(match manifest::parse_config(input) {
        Ok(config) => {
            let platform = config.platform.to_string();
            assert!(
                platform.len() <= 63 && !platform.contains(char::is_whitespace),
                "{platform}"
            );
            parser::silent(&format!("{:?}", config.texts), input);
            "a config".to_owned()
        }
        Err(problem) => sentence(problem, input),
    });
    kind_of(answers.iter().map(String::as_str))
}

fn sentence(problem: String, input: &[u8]) -> String {
    assert!(!problem.is_empty() && problem.len() <= 512, "{problem}");
    assert!(!problem.contains(char::is_control), "{problem:?}");
    parser::silent(&problem, input);
    problem
}

fn reference(text: &str, input: &[u8]) -> String {
    let version: Version = "1.2.3".parse().unwrap();
    let request = match image::parse(text, &version) {
        Ok(request) => request,
        Err(problem) => return sentence(problem, input),
    };
    let written = request.reference();
    assert_eq!(
        image::parse(&written, &version).as_ref(),
        Ok(&request),
        "{text:?} is {written:?}"
    );
    // What goes into URLs and objects as it is.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/@".contains(c);
    assert!(written.chars().all(plain), "{written:?}");
    let (host, path) = request
        .repository
        .split_once('/')
        .expect("a host before the path");
    assert!(host == "localhost" || host.contains(['.', ':']), "{host}");
    assert!(
        !path
            .split('/')
            .any(|part| part.is_empty() || part.starts_with('.')),
        "{path}"
    );
    let name = host.split(':').next().unwrap();
    if let Ok(address) = name.parse::<std::net::Ipv4Addr>() {
        assert!(
            !address.is_loopback() && !address.is_link_local() && !address.is_unspecified(),
            "{host}"
        );
    }
    assert_ne!(name, "localhost");
    match request.pick {
        ImagePick::Tag(tag) if tag == "1.2.3" => "a repository",
        ImagePick::Tag(_) => "a tag",
        ImagePick::Digest(_) => "a digest",
    }
    .to_owned()
}
