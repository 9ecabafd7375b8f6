//! What fetching promises, against directories and against servers on this machine.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Mutex, atomic::AtomicUsize, atomic::Ordering},
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
            let body = &output[end + 4..];
            let status = head
                .lines()
                .find_map(|line| line.strip_prefix("Status: "))
                .unwrap_or("200 OK")
                .to_owned();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(body);
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

#[test]
fn a_pack_that_is_too_large_is_cut_off() {
    let (upstream, root) = (Upstream::new(), tempfile::tempdir().unwrap());
    // Hashes of hashes do not compress.
    let mut noise = Vec::new();
    let mut block = Sha256::digest("start");
    while noise.len() < 4 << 20 {
        noise.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
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
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
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
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
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
