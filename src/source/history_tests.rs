//! What ancestry and provenance promise.

use super::*;
use crate::source::{
    Credentials, GitRef, Mirror,
    mirror::FetchLimits,
    test_support::{Upstream, oid},
};

fn mirror(upstream: &Upstream, root: &tempfile::TempDir) -> Mirror {
    let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
    let main = GitRef::branch("main").unwrap();
    mirror
        .fetch(&main, &Credentials::anonymous(), FetchLimits::default())
        .unwrap();
    mirror
}

fn reader(upstream: &Upstream) -> (Reader, tempfile::TempDir) {
    let root = tempfile::tempdir().unwrap();
    (mirror(upstream, &root).reader().unwrap(), root)
}

fn last(reader: &Reader, head: &CommitId, files: &[&str], since: Option<&CommitId>) -> Option<CommitId> {
    let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
    reader
        .last_change(head, &files, since)
        .unwrap()
        .map(|found| found.commit)
}

#[test]
fn ancestry_is_answered_also_for_commits_that_are_gone() {
    let upstream = Upstream::new();
    let first = upstream.commit(&[("a.yaml", "1")]);
    let second = upstream.commit(&[("a.yaml", "2")]);
    let (reader, _root) = reader(&upstream);
    assert!(reader.is_ancestor(&first, &second).unwrap());
    assert!(reader.is_ancestor(&first, &first).unwrap());
    assert!(!reader.is_ancestor(&second, &first).unwrap());
    let gone: CommitId = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    assert!(!reader.is_ancestor(&gone, &second).unwrap());
    assert_eq!(
        reader.is_ancestor(&first, &gone),
        Err(ReadError::CommitMissing(gone))
    );
}

#[test]
fn a_rewritten_branch_does_not_descend_from_what_was_applied() {
    let upstream = Upstream::new();
    let root = tempfile::tempdir().unwrap();
    let first = upstream.commit(&[("a.yaml", "1")]);
    let second = upstream.commit(&[("a.yaml", "2")]);
    mirror(&upstream, &root);
    upstream.put("a.yaml", b"3", git2::FileMode::Blob);
    let forced = upstream.commit_on(&[oid(&first)], "forced");
    upstream.set_main(&forced);
    let reader = mirror(&upstream, &root).reader().unwrap();
    assert!(!reader.is_ancestor(&second, &forced).unwrap());
    assert!(reader.is_ancestor(&first, &forced).unwrap());
}

#[test]
fn the_last_change_is_that_of_the_files_and_not_of_their_neighbours() {
    let upstream = Upstream::new();
    let first = upstream.commit(&[("base/a.yaml", "1"), ("prod/a.yaml", "1"), ("prod/b.yaml", "1")]);
    let second = upstream.commit(&[("prod/a.yaml", "2")]);
    let third = upstream.commit(&[("prod/b.yaml", "2")]);
    let head = upstream.commit(&[("README.md", "x")]);
    let (reader, _root) = reader(&upstream);
    assert_eq!(last(&reader, &head, &["base/a.yaml"], None), Some(first));
    assert_eq!(
        last(&reader, &head, &["base/a.yaml", "prod/a.yaml"], None),
        Some(second)
    );
    assert_eq!(last(&reader, &head, &["prod/b.yaml"], None), Some(third));
    assert_eq!(last(&reader, &head, &["prod/none.yaml"], None), None);
}

#[test]
fn a_deletion_and_a_change_of_kind_are_changes() {
    let upstream = Upstream::new();
    upstream.commit(&[("p/a.yaml", "1"), ("p/b.yaml", "1")]);
    upstream.remove("p/a.yaml");
    let deleted = upstream.commit_staged("gone");
    upstream.put("p/b.yaml", b"1", git2::FileMode::Link);
    let linked = upstream.commit_staged("linked");
    upstream.remove("p/b.yaml");
    let became = upstream.commit(&[("p/b.yaml/c.yaml", "1")]);
    let (reader, _root) = reader(&upstream);
    assert_eq!(last(&reader, &became, &["p/a.yaml"], None), Some(deleted));
    assert_eq!(last(&reader, &linked, &["p/b.yaml"], None), Some(linked.clone()));
    assert_eq!(
        last(&reader, &became, &["p/b.yaml/c.yaml"], None),
        Some(became.clone())
    );
    assert_eq!(last(&reader, &became, &["p/b.yaml"], None), Some(became));
}

#[test]
fn a_change_on_a_side_branch_is_told_with_its_own_commit() {
    let upstream = Upstream::new();
    let base = upstream.commit(&[("a.yaml", "1"), ("b.yaml", "1")]);
    upstream.put("b.yaml", b"side", git2::FileMode::Blob);
    let side = upstream.commit_on(&[oid(&base)], "on the side");
    upstream.stage_from(&base);
    let ours = upstream.commit(&[("a.yaml", "main")]);
    upstream.put("b.yaml", b"side", git2::FileMode::Blob);
    let merge = upstream.commit_on(&[oid(&ours), oid(&side)], "merge");
    upstream.set_main(&merge);
    let (reader, _root) = reader(&upstream);
    assert_eq!(last(&reader, &merge, &["a.yaml"], None), Some(ours.clone()));
    assert_eq!(last(&reader, &merge, &["b.yaml"], None), Some(side.clone()));
    assert_eq!(last(&reader, &merge, &["b.yaml"], Some(&ours)), Some(side));
}

#[test]
fn what_a_merge_changes_itself_is_told_with_the_merge() {
    let upstream = Upstream::new();
    let base = upstream.commit(&[("a.yaml", "1")]);
    upstream.put("a.yaml", b"side", git2::FileMode::Blob);
    let side = upstream.commit_on(&[oid(&base)], "side");
    upstream.stage_from(&base);
    let ours = upstream.commit(&[("a.yaml", "main")]);
    upstream.put("a.yaml", b"resolved", git2::FileMode::Blob);
    let merge = upstream.commit_on(&[oid(&ours), oid(&side)], "merge");
    upstream.set_main(&merge);
    let (reader, _root) = reader(&upstream);
    assert_eq!(last(&reader, &merge, &["a.yaml"], None), Some(merge.clone()));
}

#[test]
fn nothing_at_or_before_since_is_told() {
    let upstream = Upstream::new();
    let first = upstream.commit(&[("a.yaml", "1"), ("b.yaml", "1")]);
    let second = upstream.commit(&[("a.yaml", "2")]);
    let third = upstream.commit(&[("b.yaml", "2")]);
    let (reader, _root) = reader(&upstream);
    assert_eq!(
        last(&reader, &third, &["a.yaml"], Some(&first)),
        Some(second.clone())
    );
    assert_eq!(last(&reader, &third, &["a.yaml"], Some(&second)), None);
    assert_eq!(last(&reader, &third, &["b.yaml"], Some(&third)), None);
    // A `since` of a history that is gone is no limit.
    let gone: CommitId = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    assert_eq!(
        last(&reader, &third, &["b.yaml"], Some(&gone)),
        Some(third.clone())
    );
}

#[test]
fn many_groups_are_answered_as_git_log_answers_each() {
    let upstream = Upstream::new();
    let path = |n: usize| format!("prod/team{}/r{n}.yaml", n % 7);
    for n in 0..40 {
        upstream.put(&path(n), b"0", git2::FileMode::Blob);
    }
    upstream.commit_staged("start");
    // A fixed sequence that looks random: x → 5x + 3 mod 64.
    let mut x = 1;
    for step in 0..60 {
        x = (5 * x + 3) % 64;
        upstream.commit(&[(&path(x % 40), &format!("{step}"))]);
    }
    let (reader, _root) = reader(&upstream);
    let head = crate::source::test_support::id(upstream.repository.refname_to_id("refs/heads/main").unwrap());
    let groups: BTreeMap<usize, Vec<String>> =
        (0..40).map(|n| (n, vec![path(n), path((n * 3) % 40)])).collect();
    let found = reader.last_changes(&head, &groups, None).unwrap();
    for (key, files) in &groups {
        let output = std::process::Command::new("git")
            .arg("--git-dir")
            .arg(upstream.path())
            .args(["log", "-1", "--format=%H %ct", "main", "--"])
            .args(files)
            .output()
            .unwrap();
        let expected = String::from_utf8(output.stdout).unwrap();
        let provenance = found.get(key).unwrap();
        assert_eq!(
            format!("{} {}", provenance.commit, provenance.committed_at),
            expected.trim(),
            "{files:?}"
        );
    }
}

#[test]
fn the_author_is_shown_without_control_characters_and_short() {
    let upstream = Upstream::new();
    upstream.put("a.yaml", b"1", git2::FileMode::Blob);
    let who = git2::Signature::now(&format!("E\u{1b}[31mve{}", "x".repeat(300)), "e@acme.com").unwrap();
    let tree = {
        upstream.commit_staged("x");
        upstream
            .repository
            .head()
            .unwrap()
            .peel_to_commit()
            .unwrap()
            .tree()
            .unwrap()
    };
    let commit = upstream
        .repository
        .commit(None, &who, &who, "subject\u{202e} here\n\nbody", &tree, &[])
        .unwrap();
    upstream.set_main(&crate::source::test_support::id(commit));
    let (reader, _root) = reader(&upstream);
    let provenance = reader
        .provenance(&crate::source::test_support::id(commit))
        .unwrap();
    assert!(provenance.author.starts_with("E\\u{1b}[31mve"));
    assert_eq!(provenance.author.chars().count(), 200);
    assert_eq!(provenance.subject, "subject\\u{202e} here");
}

#[test]
fn a_commit_that_was_never_made_by_git_is_read_or_refused_and_harms_nobody() {
    for (author, time) in [
        ("E\u{1b}ve <e@acme.com>", "9223372036854775807 +0000"),
        ("Eve <e@acme.com>", "292277026596 -9999"),
        ("Eve <e@acme.com>", "-1 -1200"),
        ("Eve <>", "0 +0000"),
    ] {
        let upstream = Upstream::new();
        let first = upstream.commit(&[("a.yaml", "1")]);
        let tree = upstream.repository.find_commit(oid(&first)).unwrap().tree_id();
        let raw = format!(
            "tree {tree}\nparent {first}\nauthor {author} {time}\ncommitter {author} {time}\n\n{}",
            "m".repeat(1 << 20)
        );
        let odb = upstream.repository.odb().unwrap();
        let odd = odb.write(git2::ObjectType::Commit, raw.as_bytes()).unwrap();
        upstream
            .repository
            .reference("refs/heads/main", odd, true, "")
            .unwrap();
        let (reader, _root) = reader(&upstream);
        if let Ok(provenance) = reader.provenance(&crate::source::test_support::id(odd)) {
            let words = format!("{} {}", provenance.author, provenance.subject);
            assert!(
                !words.contains('\u{1b}') && words.chars().count() < 600,
                "{words}"
            );
        }
        assert!(reader.provenance(&first).is_ok(), "{author} {time}");
    }
}
