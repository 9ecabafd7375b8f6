//! The search for values of Secrets sees: a leak is found in each channel and in each form, and nothing where there is none.
//! What it searches on a real Kubernetes is in `tests/cluster`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "cluster/support/canary.rs"]
mod canary;

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use canary::{CHANNELS, Channel, Searcher, Text};
use serde_json::json;

const VALUE: &str = "k3v9x2qa-value +/&=%\"\\end";

fn searcher() -> Searcher {
    Searcher::new(&[("app/token".to_owned(), VALUE.as_bytes().to_vec())])
}

/// Each form in which the value could be written, with what is written.
fn written() -> Vec<(&'static str, String)> {
    let quoted = serde_json::Value::from(VALUE).to_string();
    let url: String = url::form_urlencoded::byte_serialize(VALUE.as_bytes()).collect();
    vec![
        ("as it is", VALUE.to_owned()),
        ("in base64", STANDARD.encode(VALUE)),
        ("in base64", STANDARD.encode(format!("a:{VALUE}"))),
        ("in base64", STANDARD.encode(format!("user:{VALUE}\n"))),
        ("in hexadecimal digits", canary::hex(VALUE.as_bytes())),
        (
            "in hexadecimal digits",
            canary::hex(VALUE.as_bytes()).to_uppercase(),
        ),
        ("in a URL", url),
        ("in a URL", "k3v9x2qa-value%20%2B%2F%26%3D%25%22%5Cend".to_owned()),
        ("in JSON", quoted.clone()),
        ("in JSON", serde_json::Value::from(quoted).to_string()),
        ("by its beginning", "k3v9x2qa".to_owned()),
    ]
}

/// What a channel gives, with this text in it.
fn planted(channel: Channel, text: &str) -> Vec<Text> {
    let one = |what: &str, bytes: Vec<u8>| {
        vec![Text {
            channel,
            what: what.to_owned(),
            bytes,
        }]
    };
    match channel {
        Channel::Objects => canary::of_objects(&json!({ "items": [{
            "kind": "Release", "metadata": { "namespace": "shop", "name": "app" },
            "status": { "message": text },
        }] })),
        Channel::Events => canary::of_objects(&json!({ "items": [{
            "kind": "Event", "metadata": { "namespace": "shop", "name": "app.1" }, "note": text,
        }] })),
        Channel::Audit => {
            let event = json!({
                "verb": "patch", "requestURI": "/apis/slipway.dev/v1alpha1/namespaces/shop/releases/app/status",
                "user": { "username": "slipway" }, "requestObject": { "status": { "message": text } },
            });
            canary::of_audit(format!("{{}}\n{event}\n").as_bytes())
        }
        Channel::Logs => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("0.log.20260503-091900");
            fs::write(
                &path,
                format!("2026-05-03T09:19:00Z stderr F DEBUG it is {text}\n"),
            )
            .unwrap();
            let packed = Command::new("gzip").arg(&path).status().unwrap();
            assert!(packed.success());
            canary::of_folder(channel, folder.path())
        }
        Channel::Metrics => one(
            "metrics",
            format!("slipway_reconciles_total{{outcome=\"{text}\"}} 1\n").into_bytes(),
        ),
        Channel::Files => {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("below")).unwrap();
            fs::write(folder.path().join("below/tmp_1"), format!("\0{text}\0")).unwrap();
            canary::of_folder(channel, folder.path())
        }
        Channel::Git => {
            let folder = tempfile::tempdir().unwrap();
            repository(folder.path(), text);
            canary::of_folder(Channel::Files, folder.path())
        }
        Channel::Processes => {
            let folder = tempfile::tempdir().unwrap();
            // By a name that no other process has.
            let name = format!("canary{}", std::process::id() % 100_000);
            let program = folder.path().join(&name);
            fs::copy("/bin/sh", &program).unwrap();
            let mut process = Command::new(&program)
                .args(["-c", "read -r END", text])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let texts = loop {
                let texts = canary::of_processes(&name);
                // Until it has become that program.
                if texts.iter().any(|text| !text.bytes.is_empty()) {
                    break texts;
                }
            };
            drop(process.stdin.take());
            process.wait().unwrap();
            texts
        }
    }
}

/// A bare repository with one object, which git keeps compressed.
fn repository(folder: &Path, text: &str) {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        command
    };
    assert!(
        git(&["init", "--quiet", "--bare", "."])
            .status()
            .unwrap()
            .success()
    );
    let mut object = git(&["hash-object", "-w", "--stdin"]).spawn().unwrap();
    object.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(object.wait().unwrap().success());
}

#[test]
fn a_planted_value_is_found_in_each_channel_and_in_each_form() {
    let searcher = searcher();
    for channel in CHANNELS {
        // These are texts of JSON themselves, in which a text is escaped once more.
        let escapes = [Channel::Objects, Channel::Events, Channel::Audit].contains(&channel);
        let twice = |text: &str| text.starts_with("\"\\\"");
        for (form, text) in written()
            .into_iter()
            .filter(|(_, text)| !(escapes && twice(text)))
        {
            let expected = if escapes && form == "as it is" {
                "in JSON"
            } else {
                form
            };
            let leaks = searcher.search(&planted(channel, &text));
            let found = leaks
                .iter()
                .any(|leak| leak.channel == channel && leak.of == "app/token" && leak.form == expected);
            assert!(found, "{channel:?}, {form}: {text}: {leaks:?}");
            let told: String = leaks.iter().map(ToString::to_string).collect();
            assert!(!told.contains("k3v9x2qa"), "{told}");
        }
        assert_eq!(
            searcher.search(&planted(channel, "nothing of it, k3v9x2q")),
            BTreeSet::new()
        );
    }
}

#[test]
fn secrets_themselves_are_no_leak() {
    let list = json!({ "items": [
        { "kind": "Secret", "metadata": { "name": "app" }, "data": { "token": STANDARD.encode(VALUE) } },
    ] });
    assert!(canary::of_objects(&list).is_empty());
}

#[test]
fn of_what_holds_secrets_beside_other_things_each_is_looked_for_by_itself() {
    let docker = json!({ "auths": { "registry.example.com": { "username": "puller", "password": "pass-of-docker-4711" } } });
    let url = "ecto://app:pass-of-a-url-4711@db.example.com/shop";
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nline-of-a-key-0000001\nline-of-a-key-0000002\n-----END OPENSSH PRIVATE KEY-----\n";
    let searcher = Searcher::new(&[
        ("docker".to_owned(), docker.to_string().into_bytes()),
        ("url".to_owned(), url.as_bytes().to_vec()),
        ("key".to_owned(), key.as_bytes().to_vec()),
        ("binary".to_owned(), vec![0xff; 32]),
        ("short".to_owned(), b"8080".to_vec()),
    ]);
    let found = |text: &[u8]| -> Vec<String> {
        let text = Text {
            channel: Channel::Logs,
            what: "a line".to_owned(),
            bytes: text.to_vec(),
        };
        let leaks = searcher.search(&[text]).into_iter();
        leaks.map(|leak| format!("{} {}", leak.of, leak.form)).collect()
    };
    assert_eq!(
        found(b"it was pass-of-docker-4711"),
        ["docker as it is", "docker by its beginning"]
    );
    assert_eq!(
        found(b"pass-of-a"),
        ["docker by its beginning"],
        "both begin alike"
    );
    assert!(found(b"PGPASSWORD=pass-of-a-url-4711").contains(&"url as it is".to_owned()));
    assert_eq!(found(b"a line-of-a-key-0000002"), ["key as it is"]);
    assert_eq!(found(&[0xff; 40]), ["binary as it is", "binary by its beginning"]);
    assert_eq!(
        found(b"\"auths\": -----BEGIN OPENSSH PRIVATE KEY----- ecto://app:x@db.example.com/shop port 8080 puller"),
        [""; 0],
        "what they share with others is none"
    );
    assert_eq!(searcher.size().0, 4);
}
