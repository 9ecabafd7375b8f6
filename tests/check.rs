//! `slipway check` as it is called: what it prints where, and its exit codes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

const SLIPWAY: &str = env!("CARGO_BIN_EXE_slipway");
const SPEC: &str = "apiVersion: slipway.dev/v1alpha1
kind: Release
metadata: {name: billing, namespace: shop}
spec:
  replcias: 3 # a line of ours
";

/// A folder with this file in it.
fn folder(spec: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), spec).unwrap();
    folder
}

fn output(program: &str, arguments: &[&str], folder: &tempfile::TempDir) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder.path());
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_line_of_a_problem_is_printed_on_a_terminal_and_nowhere_else() {
    let folder = folder(SPEC);
    let log = output(SLIPWAY, &["check", "."], &folder);
    assert_eq!(
        text(&log.stdout),
        "./a.yaml:5:3: unknown field `replcias`: did you mean `replicas`?\n"
    );
    assert!(text(&log.stderr).contains("1 problem in the specs"));
    assert_eq!(log.status.code(), Some(1));
    // Gives the command a terminal, and ends as it does.
    let call = format!("'{SLIPWAY}' check .");
    let terminal = output("script", &["-q", "-e", "-c", &call, "/dev/null"], &folder);
    let shown = text(&terminal.stdout);
    for words in [
        "--> ./a.yaml:5:3",
        "5 |   replcias: 3 # a line of ours",
        "^^^^^^^^",
    ] {
        assert!(shown.contains(words), "{words} in {shown}");
    }
    assert_eq!(terminal.status.code(), Some(1));
}

#[test]
fn the_forms_for_machines_are_whole_whatever_is_wrong_and_the_exit_code_says_whether_anything_is() {
    let (bad, good) = (folder(SPEC), folder(&SPEC.replace("replcias", "replicas")));
    for (folder, problems, code) in [(&bad, 1, 1), (&good, 0, 0)] {
        for format in ["json", "sarif"] {
            let out = output(SLIPWAY, &["check", ".", "--format", format], folder);
            let value: Value = serde_json::from_slice(&out.stdout).unwrap();
            let list = match format {
                "json" => &value["problems"],
                _ => &value["runs"][0]["results"],
            };
            assert_eq!(list.as_array().map(Vec::len), Some(problems), "{format}: {value}");
            assert!(!value.to_string().contains("a line of ours"), "{value}");
            assert_eq!(out.status.code(), Some(code), "{format}");
        }
    }
    let nothing = output(SLIPWAY, &["check", "nowhere"], &good);
    assert_eq!(nothing.status.code(), Some(2), "{}", text(&nothing.stderr));
    assert!(text(&output(SLIPWAY, &["check", "."], &good).stdout).contains("no problems"));
}

#[test]
fn a_reader_that_closed_its_end_does_not_make_bad_specs_good() {
    let bad = folder(SPEC);
    let good = folder(&SPEC.replace("replcias", "replicas"));
    for (command, folder, code) in [
        ("check", &bad, 1),
        ("render", &bad, 1),
        ("check", &good, 0),
        ("render", &good, 0),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = Command::new(SLIPWAY);
        child.args([command, "."]).current_dir(folder.path());
        let out = child.stdin(Stdio::null()).stdout(writer).output().unwrap();
        assert_eq!(out.status.code(), Some(code), "{command} {}", text(&out.stderr));
    }
}

#[test]
fn a_pipe_is_not_waited_for_and_a_file_without_the_right_to_read_hides_no_other() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = folder(SPEC);
    let pipe = folder.path().join("pipe.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let locked = folder.path().join("locked.yaml");
    fs::write(&locked, "").unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    // Whoever may read everything reads it, and it says nothing.
    let readable = fs::File::open(&locked).is_ok();
    for paths in [vec!["."], vec!["a.yaml", "pipe.yaml", "locked.yaml"]] {
        let arguments = [vec!["check", "--format", "json"], paths].concat();
        let out = output(SLIPWAY, &arguments, &folder);
        assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
        let said = text(&out.stdout);
        assert!(said.contains("did you mean `replicas`?"), "{said}");
        assert!(said.contains("the file is no regular file"), "{said}");
        assert!(readable || said.contains("the file cannot be read"), "{said}");
    }
}
