//! What reading a commit promises.

use std::fs;

use git2::FileMode;

use super::*;
use crate::source::{
    Credentials, GitRef, Mirror,
    mirror::FetchLimits,
    test_support::{Upstream, id, oid},
};

struct Fixture {
    upstream: Upstream,
    root: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self {
            upstream: Upstream::new(),
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn mirror(&self) -> Mirror {
        let mirror = Mirror::open_local(self.root.path(), self.upstream.path()).unwrap();
        let main = GitRef::branch("main").unwrap();
        mirror
            .fetch(&main, &Credentials::anonymous(), FetchLimits::default())
            .unwrap();
        mirror
    }

    fn read_with(&self, paths: &[&str], limits: &ReadLimits) -> Result<Layers, ReadError> {
        let head = id(self.upstream.repository.refname_to_id("refs/heads/main").unwrap());
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        self.mirror()
            .reader()
            .unwrap()
            .read_layers(&head, &paths, limits, &|_| false)
    }

    fn read(&self, paths: &[&str]) -> Result<Layers, ReadError> {
        self.read_with(paths, &ReadLimits::default())
    }
}

fn names(layers: &Layers) -> Vec<Vec<&str>> {
    layers
        .layers
        .iter()
        .map(|layer| layer.files.iter().map(|file| file.path.as_str()).collect())
        .collect()
}

#[test]
fn layers_come_in_the_order_of_the_request_with_their_bytes() {
    let fixture = Fixture::new();
    fixture.upstream.commit(&[
        ("releases/base/b.yaml", "b"),
        ("releases/base/team/a.yml", "a"),
        ("releases/prod/b.yaml", "bp"),
        ("README.md", "x"),
    ]);
    let read = fixture.read(&["releases/prod", "releases/base"]).unwrap();
    assert_eq!(
        names(&read),
        [
            vec!["releases/prod/b.yaml"],
            vec!["releases/base/b.yaml", "releases/base/team/a.yml"]
        ]
    );
    assert_eq!(read.layers[0].files[0].bytes.as_deref(), Some(&b"bp"[..]));
    assert!(read.problems.is_empty());
}

#[test]
fn only_yaml_and_yml_in_lower_case_are_read_and_lookalikes_are_reported() {
    let fixture = Fixture::new();
    for path in [
        "a.yaml",
        "b.yml",
        "c.YAML",
        "d.Yml",
        "e.yaml.bak",
        "f.json",
        "g",
        "yaml",
        ".h.yaml",
        ".github/w.yml",
    ] {
        fixture.upstream.put(path, b"x", FileMode::Blob);
    }
    fixture.upstream.put("run.yaml", b"x", FileMode::BlobExecutable);
    fixture.upstream.commit_staged("x");
    let read = fixture.read(&["."]).unwrap();
    assert_eq!(names(&read), [["a.yaml", "b.yml", "run.yaml"]]);
    let problems: Vec<&str> = read
        .problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(problems, ["c.YAML", "d.Yml"]);
}

#[test]
fn links_and_submodules_are_reported_and_never_followed() {
    let fixture = Fixture::new();
    let first = fixture
        .upstream
        .commit(&[("r/a.yaml", "a"), ("secret/s.yaml", "s")]);
    fixture
        .upstream
        .put("r/link.yaml", b"../secret/s.yaml", FileMode::Link);
    fixture.upstream.put("r/dir", b"../secret", FileMode::Link);
    fixture.upstream.put("linked", b"secret", FileMode::Link);
    fixture.upstream.put_id("r/sub", oid(&first), FileMode::Commit);
    fixture.upstream.commit_staged("x");
    let read = fixture.read(&["r"]).unwrap();
    assert_eq!(names(&read), [["r/a.yaml"]]);
    let problems: Vec<&str> = read
        .problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(problems, ["r/dir", "r/link.yaml", "r/sub"]);
    assert_eq!(
        fixture.read(&["linked"]),
        Err(ReadError::DirectoryMissing("linked".into()))
    );
}

#[test]
fn what_a_repository_says_of_its_files_to_git_changes_no_byte_and_runs_nothing() {
    let fixture = Fixture::new();
    let text = "$Id$\nx: 1\n";
    fixture.upstream.commit(&[
        (
            ".gitattributes",
            "*.yaml text eol=crlf ident filter=touch working-tree-encoding=UTF-16LE\n",
        ),
        (
            ".gitmodules",
            "[submodule \"r/a\"]\n\tpath = r/a\n\turl = ext::touch ran\n",
        ),
        (".gitconfig", "[filter \"touch\"]\n\tsmudge = touch ran\n"),
        ("r/.gitattributes", "* filter=touch\n"),
        ("r/a.yaml", text),
    ]);
    let read = fixture.read(&["r"]).unwrap();
    assert_eq!(read.layers[0].files[0].bytes.as_deref(), Some(text.as_bytes()));
    assert_eq!((names(&read), read.problems.len()), (vec![vec!["r/a.yaml"]], 0));
}

#[test]
fn names_that_git_forbids_are_reported_not_read() {
    let fixture = Fixture::new();
    let repository = &fixture.upstream.repository;
    let blob = repository.blob(b"x").unwrap();
    // A tree object as only an attacker writes it.
    let mut raw = Vec::new();
    for name in [
        &b"..yaml"[..],
        b".GIT",
        b"..",
        b"a\\b.yaml",
        b"a\nb.yaml",
        b"bad\xff.yaml",
        b"sub/x.yaml",
        b"z.yaml",
    ] {
        raw.extend_from_slice(b"100644 ");
        raw.extend_from_slice(name);
        raw.push(0);
        raw.extend_from_slice(blob.as_bytes());
    }
    git2::opts::strict_object_creation(true);
    let tree = repository
        .odb()
        .unwrap()
        .write(git2::ObjectType::Tree, &raw)
        .unwrap();
    let who = git2::Signature::now("a", "b").unwrap();
    let tree = repository.find_tree(tree).unwrap();
    let commit = repository
        .commit(Some("refs/heads/main"), &who, &who, "x", &tree, &[])
        .unwrap();
    let _ = commit;
    let read = fixture.read(&["."]).unwrap();
    assert_eq!(names(&read), [["z.yaml"]]);
    assert_eq!(read.problems.len(), 6, "{:?}", read.problems);
    assert!(read.problems.iter().all(|problem| !problem.path.contains('\n')));
}

#[test]
fn a_file_that_is_too_long_is_its_own_problem_and_the_others_are_read() {
    let fixture = Fixture::new();
    fixture
        .upstream
        .put("r/big.yaml", &vec![b'x'; (64 << 10) + 1], FileMode::Blob);
    fixture
        .upstream
        .put("r/limit.yaml", &vec![b'x'; 64 << 10], FileMode::Blob);
    fixture.upstream.put(
        "r/lfs.yaml",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        FileMode::Blob,
    );
    fixture.upstream.commit_staged("x");
    let read = fixture.read(&["r"]).unwrap();
    assert_eq!(names(&read), [["r/limit.yaml"]]);
    let problems: Vec<&str> = read
        .problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(problems, ["r/big.yaml", "r/lfs.yaml"]);
}

#[test]
fn thousands_of_directories_below_each_other_end_at_the_limit_and_not_on_the_stack() {
    let fixture = Fixture::new();
    let repository = &fixture.upstream.repository;
    let mut id = repository.blob(b"x").unwrap();
    let mut mode = FileMode::Blob;
    for name in std::iter::once("a.yaml").chain(std::iter::repeat_n("d", 2000)) {
        let mut builder = repository.treebuilder(None).unwrap();
        builder.insert(name, id, mode.into()).unwrap();
        id = builder.write().unwrap();
        mode = FileMode::Tree;
    }
    fixture.upstream.put_id("r", id, FileMode::Tree);
    fixture.upstream.commit_staged("x");
    let result = fixture.read(&["r"]);
    assert!(matches!(result, Err(ReadError::TooLarge { .. })), "{result:?}");
}

#[test]
fn names_and_paths_that_are_too_long_are_their_own_problem_and_are_not_shown_whole() {
    let fixture = Fixture::new();
    let name = format!("r/{}.yaml", "n".repeat(4096));
    let path = format!("r/{}a.yaml", format!("{}/", "d".repeat(200)).repeat(6));
    fixture
        .upstream
        .commit(&[(&name, "x"), (&path, "x"), ("r/a.yaml", "a")]);
    let read = fixture.read(&["r"]).unwrap();
    assert_eq!(names(&read), [["r/a.yaml"]]);
    let problems = &read.problems;
    assert!(problems.iter().all(|problem| problem.path.chars().count() <= 513));
    for why in ["255", "1024"] {
        assert!(
            problems.iter().any(|problem| problem.message.contains(why)),
            "{problems:?}"
        );
    }
    assert_eq!(problems.len(), 2);
}

#[test]
fn other_spellings_of_the_directory_of_git_are_plain_names_that_are_not_there() {
    let fixture = Fixture::new();
    fixture.upstream.commit(&[("r/a.yaml", "a")]);
    for path in ["git~1", ".git ", ".git.", ".g\u{200c}it", "R"] {
        assert!(
            matches!(
                fixture.read(&[path]),
                Err(ReadError::DirectoryMissing(_) | ReadError::InvalidPath { .. })
            ),
            "{path:?}"
        );
    }
}

#[test]
fn limits_on_the_whole_end_the_reading() {
    let fixture = Fixture::new();
    let deep = format!("r/{}a.yaml", "d/".repeat(33));
    fixture.upstream.commit(&[
        ("r/a.yaml", "aaaa"),
        ("r/b.yaml", "bbbb"),
        ("x/a.yaml", "a"),
        (&deep, "d"),
    ]);
    let limits = ReadLimits::default();
    for (paths, limits) in [
        (["r"], limits),
        (["x"], ReadLimits { files: 0, ..limits }),
        (["x"], ReadLimits { entries: 0, ..limits }),
        (
            ["x"],
            ReadLimits {
                total_bytes: 0,
                ..limits
            },
        ),
    ] {
        let result = fixture.read_with(&paths, &limits);
        assert!(matches!(result, Err(ReadError::TooLarge { .. })), "{result:?}");
    }
}

#[test]
fn a_missing_directory_and_an_empty_result_are_errors_not_an_empty_list() {
    let fixture = Fixture::new();
    fixture.upstream.commit(&[("r/README.md", "x"), ("a.yaml", "x")]);
    assert_eq!(
        fixture.read(&["nope"]),
        Err(ReadError::DirectoryMissing("nope".into()))
    );
    assert_eq!(
        fixture.read(&["a.yaml"]),
        Err(ReadError::DirectoryMissing("a.yaml".into()))
    );
    assert_eq!(fixture.read(&["r"]), Err(ReadError::Empty("r".into())));
}

#[test]
fn tree_ids_change_only_with_what_is_below() {
    let fixture = Fixture::new();
    let paths = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let first = fixture.upstream.commit(&[("a/x.yaml", "1"), ("b/x.yaml", "1")]);
    let second = fixture.upstream.commit(&[("b/x.yaml", "2")]);
    let reader = fixture.mirror().reader().unwrap();
    let (old, new) = (
        reader.tree_ids(&first, &paths).unwrap(),
        reader.tree_ids(&second, &paths).unwrap(),
    );
    assert_eq!(old[0], new[0]);
    assert_ne!(old[1], new[1]);
    assert_eq!(new[2], None);
}

#[test]
fn bytes_of_known_blobs_are_not_read_again() {
    let fixture = Fixture::new();
    let head = fixture.upstream.commit(&[("a/x.yaml", "1"), ("a/y.yaml", "2")]);
    let reader = fixture.mirror().reader().unwrap();
    let read = |known: &dyn Fn(&ObjectId) -> bool| {
        reader
            .read_layers(&head, &["a".to_owned()], &ReadLimits::default(), known)
            .unwrap()
    };
    let known = read(&|_| false).layers[0].files[0].blob_id;
    let files = read(&|id| *id == known).layers.remove(0).files;
    assert_eq!(files[0].bytes, None);
    assert_eq!(files[1].bytes.as_deref(), Some(&b"2"[..]));
}

#[test]
fn a_commit_that_is_not_there_is_named() {
    let fixture = Fixture::new();
    fixture.upstream.commit(&[("a.yaml", "1")]);
    let missing: CommitId = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    let reader = fixture.mirror().reader().unwrap();
    let result = reader.read_layers(&missing, &[".".to_owned()], &ReadLimits::default(), &|_| false);
    assert_eq!(result, Err(ReadError::CommitMissing(missing)));
}

#[test]
fn a_damaged_mirror_is_noticed_and_the_next_fetch_heals_it() {
    let fixture = Fixture::new();
    let head = fixture.upstream.commit(&[("a/x.yaml", "1")]);
    let mirror = fixture.mirror();
    let pack_directory = fs::read_dir(fixture.root.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
        .join("objects/pack");
    for entry in fs::read_dir(pack_directory).unwrap().flatten() {
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "pack")
        {
            let mut permissions = fs::metadata(entry.path()).unwrap().permissions();
            #[allow(clippy::permissions_set_readonly_false)]
            permissions.set_readonly(false);
            fs::set_permissions(entry.path(), permissions).unwrap();
            fs::write(entry.path(), "garbage").unwrap();
        }
    }
    let read = |mirror: &Mirror| {
        mirror
            .reader()?
            .read_layers(&head, &["a".to_owned()], &ReadLimits::default(), &|_| false)
    };
    assert!(matches!(
        read(&mirror),
        Err(ReadError::Corrupt { .. } | ReadError::CommitMissing(_))
    ));
    assert!(read(&fixture.mirror()).is_ok());
}
