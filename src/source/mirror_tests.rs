//! What fetching promises, against directories and against servers on this machine.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::*;
use crate::source::{
    error::Intent,
    test_support::{Upstream, oid},
};

fn branch() -> GitRef {
    GitRef::branch("main").unwrap()
}

fn limits(seconds: u64) -> FetchLimits {
    FetchLimits {
        wall_clock: Duration::from_secs(seconds),
        bytes: 64 << 20,
        shallow: false,
    }
}

fn nobody() -> Credentials {
    Credentials::anonymous()
}

fn token(value: &str) -> Credentials {
    Credentials::from_secret(&BTreeMap::from([("token".to_owned(), value.as_bytes().to_vec())])).unwrap()
}

// === directories

#[test]
fn a_branch_is_fetched_and_followed() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
    for text in ["1", "2"] {
        let head = upstream.commit(&[("a.yaml", text)]);
        assert_eq!(
            mirror.fetch(&branch(), &nobody(), limits(120)).unwrap().commit,
            head
        );
        assert_eq!(
            mirror.fetch(&branch(), &nobody(), limits(120)).unwrap().commit,
            head
        );
    }
}

#[test]
fn a_tag_means_its_commit_and_other_tags_are_not_pulled() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let head = upstream.commit(&[("a.yaml", "1")]);
    let who = git2::Signature::now("a", "b").unwrap();
    let object = upstream.repository.find_object(oid(&head), None).unwrap();
    upstream
        .repository
        .tag("v1", &object, &who, "annotated", false)
        .unwrap();
    upstream.repository.tag_lightweight("v2", &object, false).unwrap();
    let blob = upstream
        .repository
        .find_object(upstream.repository.blob(b"x").unwrap(), None)
        .unwrap();
    upstream.repository.tag_lightweight("file", &blob, false).unwrap();
    let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
    for tag in ["v1", "v2"] {
        let fetched = mirror
            .fetch(&GitRef::tag(tag).unwrap(), &nobody(), limits(120))
            .unwrap();
        assert_eq!(fetched.commit, head);
    }
    assert!(
        mirror
            .reader()
            .unwrap()
            .repository
            .tag_names(None)
            .unwrap()
            .is_empty()
    );
    let error = mirror
        .fetch(&GitRef::tag("file").unwrap(), &nobody(), limits(120))
        .unwrap_err();
    assert_eq!(error.reason(), "RefNotFound");
}

#[test]
fn a_tag_and_a_branch_of_one_name_are_told_apart() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let tagged = upstream.commit(&[("a.yaml", "1")]);
    let object = upstream.repository.find_object(oid(&tagged), None).unwrap();
    upstream
        .repository
        .tag_lightweight("main", &object, false)
        .unwrap();
    let head = upstream.commit(&[("a.yaml", "2")]);
    let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
    for (reference, commit) in [
        (branch(), &head),
        (GitRef::tag("main").unwrap(), &tagged),
        (branch(), &head),
    ] {
        let fetched = mirror.fetch(&reference, &nobody(), limits(120)).unwrap();
        assert_eq!(fetched.commit, *commit, "{reference}");
    }
}

#[test]
fn a_commit_is_fetched_by_id_and_then_never_asked_for_again() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let first = upstream.commit(&[("a.yaml", "1")]);
    upstream.commit(&[("a.yaml", "2")]);
    let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
    let pinned = GitRef::Commit(first.clone());
    assert_eq!(
        mirror.fetch(&pinned, &nobody(), limits(120)).unwrap().commit,
        first
    );
    drop(upstream);
    assert_eq!(
        mirror.fetch(&pinned, &nobody(), limits(120)).unwrap().commit,
        first
    );
    let other = GitRef::commit("0123456789abcdef0123456789abcdef01234567").unwrap();
    assert!(mirror.fetch(&other, &nobody(), limits(120)).is_err());
}

#[test]
fn a_missing_branch_and_an_empty_repository_are_errors_and_lose_nothing() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
    let error = mirror.fetch(&branch(), &nobody(), limits(120)).unwrap_err();
    assert_eq!((error.reason(), error.intent()), ("RefNotFound", Intent::Stall));
    let head = upstream.commit(&[("a.yaml", "1")]);
    mirror.fetch(&branch(), &nobody(), limits(120)).unwrap();
    upstream
        .repository
        .find_reference("refs/heads/main")
        .unwrap()
        .delete()
        .unwrap();
    assert_eq!(
        mirror
            .fetch(&branch(), &nobody(), limits(120))
            .unwrap_err()
            .reason(),
        "RefNotFound"
    );
    assert!(mirror.reader().unwrap().is_ancestor(&head, &head).unwrap());
}

#[test]
fn a_fetch_waits_for_another_one_and_gives_up_in_time() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    upstream.commit(&[("a.yaml", "1")]);
    let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
    let held = mirror.store.lock(Instant::now()).unwrap();
    assert_eq!(
        mirror
            .fetch(&branch(), &nobody(), limits(0))
            .unwrap_err()
            .reason(),
        "TimedOut"
    );
    drop(held);
    assert!(mirror.fetch(&branch(), &nobody(), limits(120)).is_ok());
}

#[test]
fn each_address_has_a_mirror_of_its_own_named_by_its_hash() {
    let root = tempfile::tempdir().unwrap();
    for url in ["https://h/a", "https://h/b", "https://h/a"] {
        Mirror::open(root.path(), &GitUrl::parse(url, false).unwrap()).unwrap();
    }
    let names: Vec<String> = std::fs::read_dir(root.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2);
    assert!(
        names
            .iter()
            .all(|name| name.len() == 36 && name.strip_suffix(".git").is_some()),
        "{names:?}"
    );
}

// === servers

/// A server that answers each connection with `answer`, in threads, until the test process ends.
fn serve(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || answer(stream));
        }
    });
    port
}

struct Request {
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        target,
        headers,
        body,
    })
}

fn reply(stream: &mut TcpStream, status: &str, headers: &str) {
    let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n{headers}\r\n");
}

/// What git's own backend answers.
struct Reply {
    status: String,
    head: String,
    body: Vec<u8>,
}

fn backend(project: &Path, request: &Request) -> Reply {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", project.parent().unwrap())
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &request.method)
        .env(
            "CONTENT_TYPE",
            request.headers.get("content-type").cloned().unwrap_or_default(),
        )
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    backend.stdin.take().unwrap().write_all(&request.body).unwrap();
    let output = backend.wait_with_output().unwrap().stdout;
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head
        .lines()
        .find_map(|line| line.strip_prefix("Status: "))
        .unwrap_or("200 OK")
        .to_owned();
    Reply {
        status,
        head,
        body: output[end + 4..].to_vec(),
    }
}

/// The head of a reply whose body has so many bytes.
fn begin(stream: &mut TcpStream, reply: &Reply) {
    let Reply { status, head, body } = reply;
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
}

/// A server for http that runs git's own backend, and asks for `password` when there is one.
fn serve_git(upstream: &Upstream, password: Option<&'static str>) -> u16 {
    let project = upstream.path().to_owned();
    serve(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read_request(&mut reader) {
            let given = request.headers.get("authorization").cloned().unwrap_or_default();
            let wanted = password.map(|password| {
                use base64::Engine;
                format!(
                    "Basic {}",
                    base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{password}"))
                )
            });
            if wanted.is_some_and(|wanted| wanted != given) {
                reply(
                    &mut stream,
                    "401 Unauthorized",
                    "WWW-Authenticate: Basic realm=\"git\"\r\n",
                );
                continue;
            }
            let answer = backend(&project, &request);
            begin(&mut stream, &answer);
            let _ = stream.write_all(&answer.body);
        }
    })
}

/// The same, but while it is ill `answer` sends what git's own backend said, or something else.
fn serve_git_but(
    upstream: &Upstream,
    ill: &Arc<AtomicBool>,
    answer: impl Fn(&mut TcpStream, &Request, Reply) + Send + Sync + 'static,
) -> u16 {
    let (project, ill) = (upstream.path().to_owned(), Arc::clone(ill));
    serve(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read_request(&mut reader) {
            let said = backend(&project, &request);
            if ill.load(Ordering::SeqCst) {
                answer(&mut stream, &request, said);
            } else {
                begin(&mut stream, &said);
                let _ = stream.write_all(&said.body);
            }
        }
    })
}

fn open_http(root: &tempfile::TempDir, port: u16, path: &str) -> Mirror {
    super::super::init::init_for_tests();
    let url = GitUrl::parse(&format!("http://127.0.0.1:{port}/{path}"), true).unwrap();
    Mirror::open(root.path(), &url).unwrap()
}

fn name(upstream: &Upstream) -> String {
    upstream.path().file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_branch_is_fetched_over_http_with_the_token_that_is_asked_for() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let port = serve_git(&upstream, Some("hunter2"));
    let mirror = open_http(&root, port, &name(&upstream));
    for text in ["1", "2"] {
        let head = upstream.commit(&[("a.yaml", text)]);
        assert_eq!(
            mirror
                .fetch(&branch(), &token("hunter2"), limits(120))
                .unwrap()
                .commit,
            head
        );
    }
}

#[test]
fn a_wrong_token_and_none_are_auth_failures_that_show_nothing() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    upstream.commit(&[("a.yaml", "1")]);
    let mirror = open_http(&root, serve_git(&upstream, Some("hunter2")), &name(&upstream));
    let error = mirror
        .fetch(&branch(), &token("wrong-one"), limits(120))
        .unwrap_err();
    assert_eq!((error.reason(), error.intent()), ("AuthFailed", Intent::Stall));
    assert!(!format!("{error} {error:?}").contains("wrong-one"));
    let error = mirror.fetch(&branch(), &nobody(), limits(120)).unwrap_err();
    assert!(error.to_string().contains("names no Secret"), "{error}");
}

#[test]
fn a_pinned_commit_is_found_where_the_server_gives_none_by_id() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let first = upstream.commit(&[("a.yaml", "1")]);
    upstream.commit(&[("a.yaml", "2")]);
    let mirror = open_http(&root, serve_git(&upstream, None), &name(&upstream));
    assert_eq!(
        mirror
            .fetch(&GitRef::Commit(first.clone()), &nobody(), limits(120))
            .unwrap()
            .commit,
        first
    );
    let other = GitRef::commit("0123456789abcdef0123456789abcdef01234567").unwrap();
    assert_eq!(
        mirror.fetch(&other, &nobody(), limits(120)).unwrap_err().reason(),
        "RefNotFound"
    );
}

/// Hashes of hashes do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut noise = Vec::new();
    let mut block = Sha256::digest("start");
    while noise.len() < length {
        noise.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    noise
}

#[test]
fn a_pack_that_is_too_large_is_cut_off() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let noise = noise(4 << 20);
    upstream.put("a.bin", &noise, git2::FileMode::Blob);
    upstream.commit_staged("large");
    let mirror = open_http(&root, serve_git(&upstream, None), &name(&upstream));
    let small = FetchLimits {
        bytes: 1 << 20,
        ..limits(120)
    };
    let error = mirror.fetch(&branch(), &nobody(), small).unwrap_err();
    assert_eq!(error.reason(), "TooLarge", "{error}");
    assert!(mirror.fetch(&branch(), &nobody(), limits(120)).is_ok());
}

/// Packs before it is asked, since the backend is silent while it does, and a fetch waits for no silent server for long.
fn pack(upstream: &Upstream) {
    let mut git = Command::new("git");
    git.arg("-C").arg(upstream.path()).args(["repack", "-adq"]);
    assert!(git.status().unwrap().success());
}

/// Puts a commit into a repository that is small and unpacks to much.
type Bomb<'a> = &'a dyn Fn(&Upstream, &CommitId) -> git2::Oid;

#[test]
fn a_small_pack_that_unpacks_to_more_than_there_is_room_for_is_refused_and_the_next_one_is_taken() {
    let large = 70 << 20;
    let of_message = |upstream: &Upstream, good: &CommitId| {
        let tree = upstream.repository.find_commit(oid(good)).unwrap().tree_id();
        let who = "a <a@example.com> 1700000000 +0000";
        let mut bytes = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\n").into_bytes();
        bytes.resize(large, b'a');
        let odb = upstream.repository.odb().unwrap();
        odb.write(git2::ObjectType::Commit, &bytes).unwrap()
    };
    // Of two files that are nearly the same the second is packed as what differs, and the first has to be unpacked for it.
    let of_delta = |upstream: &Upstream, _: &CommitId| {
        let mut bytes = vec![0; large];
        upstream.put("a.bin", &bytes, git2::FileMode::Blob);
        bytes[large - 1] = 1;
        upstream.put("b.bin", &bytes, git2::FileMode::Blob);
        oid(&upstream.commit_staged("large"))
    };
    for (what, bomb) in [("a message", &of_message as Bomb<'_>), ("a delta", &of_delta)] {
        let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
        let good = upstream.commit(&[("a.yaml", "1")]);
        let main = |target| {
            let name = "refs/heads/main";
            upstream.repository.reference(name, target, true, "").unwrap();
        };
        main(bomb(&upstream, &good));
        pack(&upstream);
        let mirror = open_http(&root, serve_git(&upstream, None), &name(&upstream));
        let error = mirror.fetch(&branch(), &nobody(), limits(120)).unwrap_err();
        assert_eq!(
            (error.reason(), error.intent()),
            ("TooLarge", Intent::Stall),
            "{what}: {error}"
        );
        main(oid(&good));
        assert_eq!(
            mirror.fetch(&branch(), &nobody(), limits(120)).unwrap().commit,
            good
        );
    }
}

#[test]
fn a_commit_is_fetched_by_its_id_without_its_past_where_that_is_enough() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let first = upstream.commit(&[("a.txt", "1")]);
    let second = upstream.commit(&[("a.txt", "2")]);
    let mut config = Repository::open(upstream.path()).unwrap().config().unwrap();
    config.set_bool("uploadpack.allowTipSHA1InWant", true).unwrap();
    let mirror = open_http(&root, serve_git(&upstream, None), &name(&upstream));
    let shallow = FetchLimits {
        shallow: true,
        ..limits(120)
    };
    let of = |id: &CommitId| GitRef::Commit(id.clone());
    assert_eq!(
        mirror.fetch(&of(&second), &nobody(), shallow).unwrap().commit,
        second
    );
    let reader = mirror.reader().unwrap();
    assert_eq!(reader.file(&second, "a.txt").unwrap().unwrap(), b"2");
    assert!(
        reader.file(&first, "a.txt").is_err(),
        "its past is left where it is"
    );
    // A server that gives what something names, and nothing else by its id: then all of that is fetched.
    let other = open_http(
        &tempfile::tempdir().unwrap(),
        serve_git(&upstream, None),
        &name(&upstream),
    );
    assert_eq!(
        other.fetch(&of(&first), &nobody(), shallow).unwrap().commit,
        first
    );
}

fn ask(
    root: &tempfile::TempDir,
    url: &str,
    tag: &str,
    credentials: &Credentials,
) -> Result<CommitId, FetchError> {
    super::super::init::init_for_tests();
    let (url, reference) = (GitUrl::parse(url, true).unwrap(), GitRef::tag(tag).unwrap());
    super::super::tip(
        root.path(),
        &url,
        &reference,
        credentials,
        Duration::from_secs(60),
    )
}

#[test]
fn the_commit_of_a_tag_is_told_without_a_fetch_also_of_one_that_is_annotated() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let first = upstream.commit(&[("a.yaml", "1")]);
    let second = upstream.commit(&[("a.yaml", "2")]);
    let object = |commit| upstream.repository.find_object(oid(commit), None).unwrap();
    upstream
        .repository
        .tag_lightweight("v1", &object(&first), false)
        .unwrap();
    let who = git2::Signature::now("a", "a@example.com").unwrap();
    upstream
        .repository
        .tag("v2", &object(&second), &who, "two", false)
        .unwrap();
    let port = serve_git(&upstream, Some("hunter2"));
    let url = format!("http://127.0.0.1:{port}/{}", name(&upstream));
    let ask = |tag: &str, credentials: Credentials| ask(&root, &url, tag, &credentials);
    assert_eq!(ask("v1", token("hunter2")).unwrap(), first);
    assert_eq!(ask("v2", token("hunter2")).unwrap(), second);
    assert_eq!(ask("v3", token("hunter2")).unwrap_err().reason(), "RefNotFound");
    assert_eq!(ask("v1", token("wrong")).unwrap_err().reason(), "AuthFailed");
    let error = ask("v1", nobody()).unwrap_err();
    assert_eq!(error.reason(), "AuthFailed", "{error}");
}

#[test]
fn a_repository_that_is_not_there_is_named_as_such() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let mirror = open_http(&root, serve_git(&upstream, None), "none.git");
    assert_eq!(
        mirror
            .fetch(&branch(), &nobody(), limits(120))
            .unwrap_err()
            .reason(),
        "RepositoryNotFound"
    );
}

#[test]
fn a_redirect_to_another_host_or_port_gets_no_credentials() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    upstream.commit(&[("a.yaml", "1")]);
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let stolen = Arc::clone(&seen);
    let thief = serve(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read_request(&mut reader) {
            stolen
                .lock()
                .unwrap()
                .extend(request.headers.get("authorization").cloned());
            reply(
                &mut stream,
                "401 Unauthorized",
                "WWW-Authenticate: Basic realm=\"git\"\r\n",
            );
        }
    });
    for target in [
        format!("http://localhost:{thief}"),
        format!("http://127.0.0.1:{thief}"),
        "http://169.254.169.254/latest".to_owned(),
        "file:///etc/passwd".to_owned(),
        "ssh://git@localhost/r".to_owned(),
    ] {
        let port = serve(move |mut stream| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while let Some(request) = read_request(&mut reader) {
                reply(
                    &mut stream,
                    "302 Found",
                    &format!("Location: {target}{}\r\n", request.target),
                );
            }
        });
        let error = open_http(&root, port, "r.git")
            .fetch(&branch(), &token("hunter2"), limits(120))
            .unwrap_err();
        assert_eq!(
            (error.reason(), error.intent()),
            ("Redirected", Intent::Stall),
            "{error}"
        );
        let asked = ask(
            &root,
            &format!("http://127.0.0.1:{port}/r.git"),
            "v1",
            &token("hunter2"),
        );
        assert_eq!(asked.unwrap_err().reason(), "Redirected");
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn a_silent_server_costs_no_more_than_the_timeout() {
    let root = tempfile::tempdir().unwrap();
    let port = serve(|stream| {
        thread::sleep(Duration::from_secs(600));
        drop(stream);
    });
    let start = Instant::now();
    let error = open_http(&root, port, "r.git")
        .fetch(&branch(), &nobody(), limits(120))
        .unwrap_err();
    assert_eq!(
        (error.reason(), error.intent()),
        ("TimedOut", Intent::Retry),
        "{error}"
    );
    assert!(
        start.elapsed() < Duration::from_secs(100),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_server_that_drips_is_left_behind_at_the_deadline() {
    let root = tempfile::tempdir().unwrap();
    let port = serve(|mut stream| {
        // One byte of a header at a time: never silent for as long as the timeout.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
        for _ in 0..3000 {
            thread::sleep(Duration::from_millis(200));
            if stream.write_all(b"x").is_err() {
                return;
            }
        }
    });
    let mirror = open_http(&root, port, "r.git");
    let start = Instant::now();
    assert_eq!(
        mirror
            .fetch(&branch(), &nobody(), limits(2))
            .unwrap_err()
            .reason(),
        "TimedOut"
    );
    assert!(
        start.elapsed() < Duration::from_secs(100),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_server_that_is_down_or_talks_nonsense_is_unreachable() {
    let root = tempfile::tempdir().unwrap();
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let error = open_http(&root, port, "r.git")
        .fetch(&branch(), &nobody(), limits(120))
        .unwrap_err();
    assert_eq!(
        (error.reason(), error.intent()),
        ("Unreachable", Intent::Retry),
        "{error}"
    );
    let calls: Arc<AtomicUsize> = Arc::default();
    let counted = Arc::clone(&calls);
    let port = serve(move |mut stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(b"SSH-2.0-what\r\n\r\n");
    });
    let error = open_http(&root, port, "r.git")
        .fetch(&branch(), &nobody(), limits(120))
        .unwrap_err();
    assert_eq!(error.reason(), "Unreachable", "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn credentials_that_cannot_fit_are_refused_before_anything_is_sent() {
    super::super::init::init_for_tests();
    let root = tempfile::tempdir().unwrap();
    let url = GitUrl::parse("git@127.0.0.1:r.git", false).unwrap();
    let error = Mirror::open(root.path(), &url)
        .unwrap()
        .fetch(&branch(), &token("x"), limits(1))
        .unwrap_err();
    assert_eq!(
        (error.reason(), error.intent()),
        ("InvalidCredentials", Intent::Stall)
    );
}

#[test]
fn a_server_that_sends_damaged_objects_does_not_cost_the_mirror() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let head = upstream.commit(&[("a.yaml", "1")]);
    let mirror = Mirror::open_local(root.path(), upstream.path()).unwrap();
    mirror.fetch(&branch(), &nobody(), limits(120)).unwrap();
    let next = upstream.commit(&[("a.yaml", "2")]);
    let (directory, file) = next.as_str().split_at(2);
    let object = upstream.path().join("objects").join(directory).join(file);
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, "damaged").unwrap();
    assert!(mirror.fetch(&branch(), &nobody(), limits(120)).is_err());
    assert!(mirror.reader().unwrap().is_ancestor(&head, &head).unwrap());
}

#[test]
fn what_a_server_says_of_itself_moves_no_cursor_and_ends_no_line() {
    let root = tempfile::tempdir().unwrap();
    let packet = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let port = serve(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while read_request(&mut reader).is_some() {
            let body = format!(
                "{}0000{}",
                packet("# service=git-upload-pack\n"),
                packet("ERR \u{1b}[2J\u{202e}go away\nsource ok\n")
            );
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let error = open_http(&root, port, "r.git")
        .fetch(&branch(), &nobody(), limits(120))
        .unwrap_err()
        .to_string();
    assert!(!error.contains(['\u{1b}', '\u{202e}', '\n']), "{error:?}");
}

#[test]
fn a_branch_is_found_among_thousands_and_the_others_are_not_pulled() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let head = upstream.commit(&[("a.yaml", "1")]);
    let mut refs = String::new();
    for number in 0..5000 {
        use std::fmt::Write as _;
        let _ = writeln!(refs, "{head} refs/heads/b{number:05}");
    }
    std::fs::write(upstream.path().join("packed-refs"), refs).unwrap();
    let mirror = open_http(&root, serve_git(&upstream, None), &name(&upstream));
    let fetched = mirror.fetch(&branch(), &nobody(), limits(120)).unwrap();
    assert_eq!(fetched.commit, head);
    let known = mirror.reader().unwrap().repository.references().unwrap().count();
    assert!(known < 10, "{known}");
}

// === servers that mean harm

/// Whether the mirror holds what a fetch that was given up may leave behind.
fn leftovers(root: &tempfile::TempDir) -> Vec<String> {
    let mirror = std::fs::read_dir(root.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let packs = std::fs::read_dir(mirror.join("objects/pack")).unwrap();
    let names = packs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with("tmp_") || name.contains("_git2_"))
        .collect()
}

#[test]
fn a_pack_that_stalls_or_drips_costs_the_deadline_and_the_next_whole_one_is_taken() {
    for drips in [false, true] {
        let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
        let before = upstream.commit(&[("a.yaml", "1")]);
        let ill = Arc::new(AtomicBool::new(false));
        let still = Arc::clone(&ill);
        let port = serve_git_but(&upstream, &ill, move |stream, request, said| {
            begin(stream, &said);
            let half = if request.method == "POST" {
                said.body.len() / 2
            } else {
                said.body.len()
            };
            let (first, rest) = said.body.split_at(half);
            let _ = stream.write_all(first);
            for byte in rest {
                thread::sleep(Duration::from_millis(20));
                // A fetch that was given up holds the mirror for as long as bytes come: libgit2 asks nobody between them.
                if !still.load(Ordering::SeqCst) {
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                    return;
                }
                if drips && stream.write_all(&[*byte]).is_err() {
                    return;
                }
            }
        });
        let mirror = open_http(&root, port, &name(&upstream));
        mirror.fetch(&branch(), &nobody(), limits(120)).unwrap();
        upstream.put("a.bin", &noise(256 << 10), git2::FileMode::Blob);
        let head = upstream.commit_staged("large");
        ill.store(true, Ordering::SeqCst);
        let error = mirror.fetch(&branch(), &nobody(), limits(2)).unwrap_err();
        assert_eq!(
            (error.reason(), error.intent()),
            ("TimedOut", Intent::Retry),
            "{error}"
        );
        let reader = mirror.reader().unwrap();
        assert!(reader.is_ancestor(&before, &before).unwrap(), "what was there is");
        ill.store(false, Ordering::SeqCst);
        let fetched = mirror.fetch(&branch(), &nobody(), limits(120)).unwrap();
        assert_eq!(fetched.commit, head);
        assert_eq!(leftovers(&root), Vec::<String>::new(), "drips: {drips}");
    }
}

#[test]
fn a_pack_with_a_flipped_byte_is_refused_and_the_next_whole_one_is_taken() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let before = upstream.commit(&[("a.yaml", "1")]);
    let ill = Arc::new(AtomicBool::new(false));
    let port = serve_git_but(&upstream, &ill, |stream, request, mut said| {
        begin(stream, &said);
        if request.method == "POST" {
            // Within the first 8 KiB of the pack, behind which git may put a line for people, that nobody checks.
            let inside = said.body.len() / 4;
            said.body[inside] ^= 0xff;
        }
        let _ = stream.write_all(&said.body);
    });
    let mirror = open_http(&root, port, &name(&upstream));
    mirror.fetch(&branch(), &nobody(), limits(120)).unwrap();
    upstream.put("a.bin", &noise(16 << 10), git2::FileMode::Blob);
    let head = upstream.commit_staged("noise");
    ill.store(true, Ordering::SeqCst);
    let error = mirror.fetch(&branch(), &nobody(), limits(120)).unwrap_err();
    assert_eq!(
        (error.reason(), error.intent()),
        ("Corrupt", Intent::Retry),
        "{error}"
    );
    let reader = mirror.reader().unwrap();
    assert!(reader.is_ancestor(&before, &before).unwrap(), "what was there is");
    drop(reader);
    ill.store(false, Ordering::SeqCst);
    let fetched = mirror.fetch(&branch(), &nobody(), limits(120)).unwrap();
    assert_eq!(fetched.commit, head);
}

#[test]
fn a_branch_that_moves_while_it_is_fetched_gives_the_commit_that_it_had_and_then_the_next() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let first = upstream.commit(&[("a.yaml", "1")]);
    let second = upstream.commit(&[("a.yaml", "2")]);
    upstream.set_main(&first);
    let ill = Arc::new(AtomicBool::new(true));
    let (path, to) = (upstream.path().to_owned(), second.to_string());
    let port = serve_git_but(&upstream, &ill, move |stream, request, said| {
        begin(stream, &said);
        let _ = stream.write_all(&said.body);
        if request.method == "GET" {
            let moved = Command::new("git")
                .args(["update-ref", "refs/heads/main", &to])
                .current_dir(&path)
                .status();
            assert!(moved.unwrap().success());
        }
    });
    let mirror = open_http(&root, port, &name(&upstream));
    let fetched = mirror.fetch(&branch(), &nobody(), limits(120)).unwrap();
    assert_eq!(fetched.commit, first);
    let file = |commit: &CommitId| mirror.reader().unwrap().file(commit, "a.yaml").unwrap().unwrap();
    assert_eq!(file(&first), b"1");
    let fetched = mirror.fetch(&branch(), &nobody(), limits(120)).unwrap();
    assert_eq!(
        (fetched.commit.clone(), file(&fetched.commit)),
        (second, b"2".to_vec())
    );
}

fn packet(bytes: &[u8]) -> Vec<u8> {
    [format!("{:04x}", bytes.len() + 4).as_bytes(), bytes].concat()
}

const SOME_COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a server says that has one branch, and these abilities.
fn advertisement(abilities: &str) -> Vec<u8> {
    [
        packet(b"# service=git-upload-pack\n"),
        b"0000".to_vec(),
        packet(format!("{SOME_COMMIT} refs/heads/main\0{abilities}\n").as_bytes()),
        b"0000".to_vec(),
    ]
    .concat()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// A server that says what has no end: first `begins`, then `goes_on` again and again, to a request of this method. To the
/// others it says `advertisement`. Until `well` it goes on, or until nobody listens.
fn serve_without_end(
    method: &'static str,
    abilities: &'static str,
    begins: Vec<u8>,
    goes_on: Vec<u8>,
    well: &Arc<AtomicBool>,
) -> u16 {
    let well = Arc::clone(well);
    serve(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read_request(&mut reader) {
            let kind = if request.method == "GET" {
                "advertisement"
            } else {
                "result"
            };
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-{kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            if request.method != method {
                let _ = stream.write_all(&[chunk(&advertisement(abilities)), chunk(b"")].concat());
                continue;
            }
            let mut sent = stream.write_all(&chunk(&begins));
            while sent.is_ok() && !well.load(Ordering::SeqCst) {
                // A fast network is no part of what is claimed.
                thread::sleep(Duration::from_millis(2));
                sent = stream.write_all(&chunk(&goes_on));
            }
            return;
        }
    })
}

/// The beginning of a pack with one file of a tebibyte, and a piece of that file, which is packed in no way.
fn endless_pack() -> (Vec<u8>, Vec<u8>) {
    let mut begins = packet(b"NAK\n");
    begins.extend(b"PACK\0\0\0\x02\0\0\0\x01");
    // A file; its size in groups of seven bits, after the first of four.
    begins.push(0b1011_0000);
    let mut size = (1_u64 << 40) >> 4;
    while size >= 0x80 {
        begins.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
        size >>= 7;
    }
    begins.push(u8::try_from(size).unwrap());
    begins.extend([0x78, 0x01]);
    let mut piece = vec![0x00, 0xff, 0xff, 0x00, 0x00];
    piece.extend(noise(0xffff).into_iter().take(0xffff));
    (begins, piece)
}

#[test]
fn a_pack_without_end_and_words_beside_it_without_end_are_cut_off_at_the_limit() {
    let (pack, piece) = endless_pack();
    let chatter = packet(&[b"\x02".to_vec(), vec![b'.'; 60_000]].concat());
    for (abilities, begins, goes_on) in [("", pack, piece), ("side-band-64k", packet(b"NAK\n"), chatter)] {
        let root = tempfile::tempdir().unwrap();
        let well = Arc::default();
        let port = serve_without_end("POST", abilities, begins, goes_on, &well);
        let small = FetchLimits {
            bytes: 1 << 20,
            ..limits(120)
        };
        let error = open_http(&root, port, "r.git")
            .fetch(&branch(), &nobody(), small)
            .unwrap_err();
        assert_eq!(
            (error.reason(), error.intent()),
            ("TooLarge", Intent::Stall),
            "{abilities}: {error}"
        );
        assert!(error.to_string().len() < 300, "{error}");
    }
}

#[test]
fn a_list_of_branches_without_end_costs_the_deadline_and_keeps_no_later_fetch() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    let head = upstream.commit(&[("a.yaml", "1")]);
    let well = Arc::new(AtomicBool::new(false));
    let begins = [packet(b"# service=git-upload-pack\n"), b"0000".to_vec()].concat();
    let more: Vec<u8> = (0..100)
        .flat_map(|n| packet(format!("{SOME_COMMIT} refs/heads/b{n:05}\n").as_bytes()))
        .collect();
    let endless = serve_without_end("GET", "", begins, more, &well);
    let mirror = open_http(&root, endless, "r.git");
    let error = mirror.fetch(&branch(), &nobody(), limits(2)).unwrap_err();
    assert_eq!(
        (error.reason(), error.intent()),
        ("TimedOut", Intent::Retry),
        "{error}"
    );
    let other = open_http(&root, serve_git(&upstream, None), &name(&upstream));
    let fetched = other.fetch(&branch(), &nobody(), limits(120)).unwrap();
    assert_eq!(fetched.commit, head, "another source goes on meanwhile");
    well.store(true, Ordering::SeqCst);
    // The one that was left behind ends with its server, and then this one comes to its turn.
    let error = mirror.fetch(&branch(), &nobody(), limits(120)).unwrap_err();
    assert_ne!(error.reason(), "TimedOut", "{error}");
}

#[test]
fn a_name_that_leads_nowhere_is_unreachable() {
    super::super::init::init_for_tests();
    let root = tempfile::tempdir().unwrap();
    // Of RFC 6761: no server of names knows it.
    let url = GitUrl::parse("http://git.nowhere.invalid/r.git", true).unwrap();
    let error = Mirror::open(root.path(), &url)
        .unwrap()
        .fetch(&branch(), &nobody(), limits(120))
        .unwrap_err();
    assert_eq!(
        (error.reason(), error.intent()),
        ("Unreachable", Intent::Retry),
        "{error}"
    );
    assert!(error.to_string().contains("git.nowhere.invalid"), "{error}");
}

/// A server that answers GET and POST with these bytes.
fn serve_bytes(get: Vec<u8>, post: Vec<u8>) -> u16 {
    serve(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read_request(&mut reader) {
            let (kind, body) = if request.method == "GET" {
                ("advertisement", &get)
            } else {
                ("result", &post)
            };
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-{kind}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(body);
        }
    })
}

#[test]
fn a_server_that_lies_about_what_it_has_and_can_is_an_error_that_may_pass_and_is_shown_as_plain_text() {
    let listed = |name: &[u8]| {
        let line = [SOME_COMMIT.as_bytes(), b" ", name, b"\0side-band-64k\n"].concat();
        [
            packet(b"# service=git-upload-pack\n"),
            b"0000".to_vec(),
            packet(&line),
            b"0000".to_vec(),
        ]
        .concat()
    };
    let all = "multi_ack_detailed side-band-64k thin-pack ofs-delta shallow allow-tip-sha1-in-want";
    let pack = |version: u8, objects: [u8; 4]| {
        [
            packet(b"NAK\n"),
            b"PACK\0\0\0".to_vec(),
            vec![version],
            objects.to_vec(),
            vec![0; 20],
        ]
        .concat()
    };
    for (what, get, post) in [
        ("words in place of packets", b"hello".to_vec(), vec![]),
        (
            "a page for people",
            b"<html>\x1b[2Jsign in</html>".to_vec(),
            vec![],
        ),
        ("a length without its bytes", b"ffff".to_vec(), vec![]),
        ("a length that cannot be", b"0003".to_vec(), vec![]),
        ("nothing", vec![], vec![]),
        ("another service", packet(b"# service=git-receive-pack\n"), vec![]),
        ("another branch", listed(b"refs/heads/\x1b[31mmain"), vec![]),
        ("a branch outside", listed(b"refs/heads/../../config"), vec![]),
        ("no answer", advertisement(all), vec![]),
        ("words in place of a pack", advertisement(all), b"hello".to_vec()),
        ("a pack of nothing", advertisement(""), pack(2, [0, 0, 0, 0])),
        (
            "a pack of another version",
            advertisement(""),
            pack(9, [0, 0, 0, 1]),
        ),
        (
            "a pack of four billion",
            advertisement(""),
            pack(2, [255, 255, 255, 255]),
        ),
        (
            "a pack in a band that is none",
            advertisement(all),
            [packet(b"NAK\n"), packet(b"\x09PACK")].concat(),
        ),
        (
            "an error with signs",
            advertisement(all),
            packet(b"ERR \x1b[2J\xe2\x80\xaego\n"),
        ),
    ] {
        let root = tempfile::tempdir().unwrap();
        let mirror = open_http(&root, serve_bytes(get, post), "r.git");
        let error = mirror.fetch(&branch(), &nobody(), limits(60)).unwrap_err();
        let passes = ["Unreachable", "Corrupt", "StorageFailed"].contains(&error.reason());
        // Of a branch that is not listed it is said that there is none.
        let none = error.reason() == "RefNotFound" && what.contains("branch");
        // What is named is believed as far as it is refused.
        let large = error.reason() == "TooLarge" && what == "a pack of four billion";
        assert!(passes || none || large, "{what}: {} {error}", error.reason());
        let text = error.to_string();
        assert!(
            !text.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{what}: {text:?}"
        );
        println!("{what}: {}: {text}", error.reason());
    }
}
