//! Pushes to registries that are well, slow, refusing and lying.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use serde_json::json;
use wiremock::{
    Mock, MockServer, Request, Respond, ResponseTemplate,
    matchers::{header, header_exists, method, path, path_regex, query_param},
};

use super::*;
use crate::{
    image::layout::test_support::{Disk, IMAGE, digest_of},
    source::Intent,
};

const UPLOADS: &str = "/v2/acme/billing/blobs/uploads/";
const TAG: &str = "/v2/acme/billing/manifests/1.8.2";

/// A registry that takes everything, as the distribution spec says.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Respond for Shelf {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut held = self.0.lock().unwrap();
        let path = request.url.path().trim_start_matches("/v2/acme/billing/");
        let query: BTreeMap<_, _> = request.url.query_pairs().into_owned().collect();
        let created =
            |digest: &str| ResponseTemplate::new(201).insert_header("docker-content-digest", digest);
        match (request.method.as_str(), path) {
            ("POST", "blobs/uploads/") => {
                ResponseTemplate::new(202).insert_header("location", "uploads/7?_state=a%2Fb%3D%3D")
            }
            ("PUT", "blobs/uploads/uploads/7" | "elsewhere") => {
                let digest = &query["digest"];
                assert_eq!(*digest, digest_of(&request.body));
                held.insert(format!("blobs/{digest}"), request.body.clone());
                created(digest)
            }
            ("PUT", name) if name.starts_with("manifests/") => {
                let digest = digest_of(&request.body);
                held.insert(name.to_owned(), request.body.clone());
                held.insert(format!("manifests/{digest}"), request.body.clone());
                created(&digest)
            }
            ("HEAD", name) => match held.get(name) {
                Some(bytes) => ResponseTemplate::new(200)
                    .insert_header("docker-content-digest", digest_of(bytes).as_str()),
                None => ResponseTemplate::new(404),
            },
            _ => ResponseTemplate::new(405),
        }
    }
}

/// A server in front of a shelf.
async fn serve() -> (MockServer, Shelf) {
    let (server, shelf) = (MockServer::start().await, Shelf::default());
    Mock::given(path_regex("^/v2/"))
        .respond_with(shelf.clone())
        .with_priority(9)
        .mount(&server)
        .await;
    (server, shelf)
}

fn host(server: &MockServer) -> String {
    server.address().to_string()
}

/// One that waits for nothing.
fn pusher(hosts: &[String]) -> Pusher {
    let moment = Duration::from_millis(1);
    Pusher {
        patience: Patience {
            deadline: Duration::from_secs(5),
            idle: Duration::from_secs(5),
            answer: Duration::from_secs(5),
            pauses: [moment; 4],
            longest: Duration::from_secs(2),
        },
        ..Pusher::new(None, hosts.to_vec()).unwrap()
    }
}

fn to(host: &str) -> ImageRequest {
    ImageRequest {
        repository: format!("{host}/acme/billing"),
        pick: ImagePick::Tag("1.8.2".into()),
    }
}

fn push_secret(host: &str) -> DockerConfig {
    let json = json!({"auths": {host: {"username": "robot", "password": "hunter2"}}}).to_string();
    DockerConfig::parse(json.as_bytes()).unwrap()
}

/// A push may be a task of its own.
fn sendable<T: Send>(pushing: T) -> T {
    pushing
}

async fn push(server: &MockServer, disk: &Disk) -> Result<Pushed, PushError> {
    let (pusher, to) = (pusher(&[host(server)]), to(&host(server)));
    sendable(pusher.push(&to, None, disk.path())).await
}

/// What was asked for, without the digests: `PUT manifests/1.8.2`.
async fn asked(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.unwrap();
    let line = |request: &Request| {
        let path = request.url.path().trim_start_matches("/v2/acme/billing/");
        let path = path.split("sha256:").next().unwrap_or_default();
        format!("{} {path}", request.method)
    };
    requests.iter().map(line).collect()
}

/// How often a line was asked.
async fn count(server: &MockServer, line: &str) -> usize {
    asked(server).await.iter().filter(|asked| *asked == line).count()
}

async fn answer(server: &MockServer, verb: &str, at: &str, times: u64, response: ResponseTemplate) {
    Mock::given(method(verb))
        .and(path_regex(at))
        .respond_with(response)
        .up_to_n_times(times)
        .with_priority(1)
        .mount(server)
        .await;
}

fn refusal(code: u16, error: &str, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(code).set_body_json(json!({"errors": [{"code": error, "message": message}]}))
}

// === what is sent ===

fn word(error: &PushError) -> &'static str {
    match error {
        PushError::Layout { .. } => "ImageLayoutInvalid",
        PushError::Refused { .. } => "PushRefused",
        PushError::Unwell { .. } => "PushFailed",
        PushError::Rejected { .. } => "PushRejected",
        PushError::Taken { .. } => "PushTaken",
    }
}

#[tokio::test]
async fn an_image_is_pushed_from_its_blobs_to_its_tag_and_a_second_time_not_at_all() {
    let (server, shelf) = serve().await;
    let layer = vec![7; 600 << 10];
    let disk = Disk::with_image(&[&layer, b""]);
    let pushed = push(&server, &disk).await.unwrap();
    assert_eq!(
        asked(&server).await,
        [
            "HEAD blobs/",
            "POST blobs/uploads/",
            "PUT blobs/uploads/uploads/7",
            "HEAD blobs/",
            "POST blobs/uploads/",
            "PUT blobs/uploads/uploads/7",
            "HEAD blobs/",
            "POST blobs/uploads/",
            "PUT blobs/uploads/uploads/7",
            "HEAD manifests/1.8.2",
            "PUT manifests/1.8.2",
            "HEAD manifests/1.8.2",
        ]
    );
    let held = shelf.0.lock().unwrap().clone();
    assert_eq!(held[&format!("blobs/{}", digest_of(&layer))], layer);
    assert_eq!(digest_of(&held["manifests/1.8.2"]), pushed.digest.as_str());
    assert_eq!((pushed.blobs_sent, pushed.blobs_there), (3, 0));
    let config = held.values().find(|bytes| bytes.starts_with(b"{\"arch")).unwrap();
    assert_eq!(pushed.bytes_sent, (layer.len() + config.len()) as u64);

    let requests = server.received_requests().await.unwrap();
    let lengths = requests.iter().filter_map(|request| {
        let length = request.headers.get("content-length")?.to_str().unwrap();
        assert_eq!(length, request.body.len().to_string());
        assert!(!request.headers.contains_key("transfer-encoding"));
        Some((request.method.as_str(), request.body.len()))
    });
    assert!(lengths.collect::<Vec<_>>().contains(&("PUT", layer.len())));
    let upload = requests.iter().find(|request| request.method == "PUT").unwrap();
    assert!(
        upload
            .url
            .query()
            .unwrap()
            .starts_with("_state=a%2Fb%3D%3D&digest=")
    );
    let put = requests.iter().rfind(|request| request.method == "PUT").unwrap();
    assert_eq!(put.headers["content-type"], IMAGE);

    server.reset().await;
    Mock::given(path_regex("^/v2/"))
        .respond_with(shelf)
        .mount(&server)
        .await;
    let again = push(&server, &disk).await.unwrap();
    assert_eq!(again.digest, pushed.digest);
    assert_eq!((again.bytes_sent, again.blobs_sent, again.blobs_there), (0, 0, 3));
    assert!(asked(&server).await.iter().all(|asked| asked.starts_with("HEAD")));
}

#[tokio::test]
async fn the_images_of_an_index_are_put_by_their_digests_before_it() {
    let (server, shelf) = serve().await;
    let disk = Disk::new();
    let images = [disk.image("linux", &[b"a", b"b"]), disk.image("windows", &[b"a"])];
    disk.lists(&[disk.index(&images)]);
    push(&server, &disk).await.unwrap();
    let asked = asked(&server).await;
    let puts: Vec<&str> = asked
        .iter()
        .filter_map(|line| line.strip_prefix("PUT manifests/"))
        .collect();
    assert_eq!(puts, ["", "", "1.8.2"]);
    assert!(
        asked
            .iter()
            .rposition(|line| line.starts_with("PUT blobs"))
            .unwrap()
            < asked
                .iter()
                .position(|line| line.starts_with("PUT manifests"))
                .unwrap()
    );
    let held = shelf.0.lock().unwrap();
    assert!(
        images
            .iter()
            .all(|image| held.contains_key(&format!("manifests/{}", image["digest"].as_str().unwrap())))
    );
}

#[tokio::test]
async fn by_a_digest_that_image_is_pushed_and_no_other() {
    let (server, _) = serve().await;
    let disk = Disk::with_image(&[b"a"]);
    let digest = push(&server, &disk).await.unwrap().digest;
    let mut to = to(&host(&server));
    to.pick = ImagePick::Digest(digest.clone());
    let pusher = pusher(&[host(&server)]);
    assert_eq!(pusher.push(&to, None, disk.path()).await.unwrap().digest, digest);
    server.reset().await;
    let other = Disk::with_image(&[b"b"]);
    let error = pusher.push(&to, None, other.path()).await.unwrap_err();
    assert_eq!(
        (word(&error), error.intent()),
        ("ImageLayoutInvalid", Intent::Stall)
    );
    assert!(error.to_string().ends_with("which is another image"), "{error}");
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_tag_that_leads_there_already_is_not_set_again() {
    let (server, shelf) = serve().await;
    let disk = Disk::with_image(&[b"a"]);
    // As where an answer was lost, and tags stay as they are.
    push(&server, &disk).await.unwrap();
    shelf
        .0
        .lock()
        .unwrap()
        .retain(|name, _| name.starts_with("manifests"));
    answer(
        &server,
        "PUT",
        "/manifests/",
        9,
        refusal(400, "TAG_INVALID", "immutable"),
    )
    .await;
    assert_eq!(push(&server, &disk).await.unwrap().blobs_sent, 2);
    let other = Disk::with_image(&[b"b"]);
    let error = push(&server, &other).await.unwrap_err();
    assert_eq!((word(&error), error.intent()), ("PushRejected", Intent::Stall));
    let said = "under its tag: the registry answered 400: TAG_INVALID: immutable";
    assert!(error.to_string().ends_with(said), "{error}");
}

// === to whom ===

/// A registry that wants this password, and sends uploads to `storage`.
async fn behind_a_password(server: &MockServer, storage: &str) {
    Mock::given(header("authorization", "Basic cm9ib3Q6aHVudGVyMg=="))
        .and(method("POST"))
        .respond_with(ResponseTemplate::new(202).insert_header("location", storage))
        .with_priority(1)
        .mount(server)
        .await;
    let refuse = ResponseTemplate::new(401).insert_header("www-authenticate", "Basic realm=\"r\"");
    Mock::given(wiremock::matchers::any())
        .and(|request: &Request| !request.headers.contains_key("authorization"))
        .respond_with(refuse)
        .with_priority(2)
        .mount(server)
        .await;
}

#[tokio::test]
async fn an_upload_to_another_host_shows_no_credential_and_one_to_the_registry_does() {
    let (server, shelf) = serve().await;
    let storage = MockServer::start().await;
    Mock::given(header_exists("authorization"))
        .respond_with(ResponseTemplate::new(500))
        .with_priority(1)
        .expect(0)
        .mount(&storage)
        .await;
    Mock::given(method("PUT"))
        .and(path("/v2/acme/billing/elsewhere"))
        .and(query_param("sig", "x"))
        .respond_with(shelf.clone())
        .expect(2)
        .mount(&storage)
        .await;
    let place = format!("{}/v2/acme/billing/elsewhere?sig=x", storage.uri());
    behind_a_password(&server, &place).await;
    let secret = push_secret(&host(&server));
    let hosts = [host(&server), host(&storage)];
    let disk = Disk::with_image(&[b"a"]);
    let pushed = pusher(&hosts)
        .push(&to(&hosts[0]), Some(&secret), disk.path())
        .await;
    assert_eq!(pushed.unwrap().blobs_sent, 2);

    let (server, _) = serve().await;
    behind_a_password(&server, &format!("{}{UPLOADS}uploads/7", server.uri())).await;
    let secret = push_secret(&host(&server));
    let pushed = pusher(&[host(&server)])
        .push(&to(&host(&server)), Some(&secret), disk.path())
        .await;
    assert_eq!(pushed.unwrap().blobs_sent, 2);
}

#[tokio::test]
async fn no_blob_goes_where_no_registry_is_or_into_the_clear_that_nobody_listed() {
    let storage = MockServer::start().await;
    let disk = Disk::with_image(&[b"a"]);
    for (place, said) in [
        (format!("{}/x", storage.uri()), "without TLS"),
        ("ftp://storage.example/x".to_owned(), "without TLS"),
        ("https://169.254.169.254/latest".to_owned(), OWN),
        ("https://localhost/x".to_owned(), OWN),
        ("https://[::1]/x".to_owned(), OWN),
        ("http://[".to_owned(), "names no place"),
    ] {
        let (server, _) = serve().await;
        let begun = ResponseTemplate::new(202).insert_header("location", place.as_str());
        answer(&server, "POST", UPLOADS, 9, begun).await;
        let error = push(&server, &disk).await.unwrap_err();
        assert_eq!((word(&error), error.intent()), ("PushRejected", Intent::Stall));
        assert!(error.to_string().contains(said), "{place}: {error}");
        assert_eq!(asked(&server).await.len(), 2, "{place}");
    }
    let (server, _) = serve().await;
    answer(&server, "POST", UPLOADS, 9, ResponseTemplate::new(202)).await;
    let error = push(&server, &disk).await.unwrap_err();
    assert!(error.to_string().contains("names no place"), "{error}");
    assert!(storage.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_host_that_uploads_are_sent_to_names_no_token_server() {
    let (server, _) = serve().await;
    let storage = MockServer::start().await;
    let challenge = format!("Bearer realm=\"{}/token\"", storage.uri());
    let refuse = ResponseTemplate::new(401).insert_header("www-authenticate", challenge.as_str());
    answer(&storage, "PUT", "/x", 9, refuse).await;
    behind_a_password(&server, &format!("{}/x", storage.uri())).await;
    let secret = push_secret(&host(&server));
    let hosts = [host(&server), host(&storage)];
    let disk = Disk::with_image(&[b"a"]);
    let error = pusher(&hosts)
        .push(&to(&hosts[0]), Some(&secret), disk.path())
        .await
        .unwrap_err();
    assert_eq!((word(&error), error.intent()), ("PushFailed", Intent::Retry));
    let said = format!(
        "tried 5 times: {}, where the registry sends, answered 401",
        hosts[1]
    );
    assert!(error.to_string().ends_with(&said), "{error}");
    assert_eq!(asked(&storage).await, ["PUT /x"; 5]);
}

// === with which right ===

/// A token server that gives each token once, and a registry that takes the last one.
async fn with_tokens(server: &MockServer, tokens: &[&str]) {
    for token in tokens {
        Mock::given(path("/token"))
            .and(query_param("scope", "repository:acme/billing:pull,push"))
            .and(header("authorization", "Basic cm9ib3Q6aHVudGVyMg=="))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({"token": token})))
            .up_to_n_times(1)
            .with_priority(1)
            .mount(server)
            .await;
    }
}

fn challenge(server: &MockServer) -> ResponseTemplate {
    let challenge = format!("Bearer realm=\"{}/token\",service=\"reg\"", server.uri());
    ResponseTemplate::new(401).insert_header("www-authenticate", challenge.as_str())
}

async fn without_bearer(server: &MockServer, bearer: &str, times: u64) {
    let bearer = format!("Bearer {bearer}");
    Mock::given(path_regex("^/v2/"))
        .and(move |request: &Request| {
            request
                .headers
                .get("authorization")
                .is_none_or(|shown| *shown != bearer)
        })
        .respond_with(challenge(server))
        .up_to_n_times(times)
        .with_priority(2)
        .mount(server)
        .await;
}

#[tokio::test]
async fn a_token_to_push_is_fetched_once_and_again_when_it_ends() {
    let (server, _) = serve().await;
    with_tokens(&server, &["first", "second"]).await;
    without_bearer(&server, "first", 1).await;
    let disk = Disk::with_image(&[b"a"]);
    let secret = push_secret(&host(&server));
    let pusher = pusher(&[host(&server)]);
    let to = to(&host(&server));
    pusher.push(&to, Some(&secret), disk.path()).await.unwrap();
    assert_eq!(count(&server, "GET /token").await, 1);

    // The first one ends before the tag is set.
    let (server, _) = serve().await;
    with_tokens(&server, &["first", "second"]).await;
    without_bearer(&server, "first", 1).await;
    Mock::given(path(TAG))
        .and(header("authorization", "Bearer first"))
        .respond_with(challenge(&server))
        .with_priority(1)
        .expect(1)
        .mount(&server)
        .await;
    let secret = push_secret(&host(&server));
    let to = super::tests::to(&host(&server));
    let pusher = super::tests::pusher(&[host(&server)]);
    pusher.push(&to, Some(&secret), disk.path()).await.unwrap();
    assert_eq!(count(&server, "GET /token").await, 2);
}

#[tokio::test]
async fn a_token_that_ends_while_a_blob_is_sent_costs_that_blob_a_second_attempt_and_no_third() {
    let (server, _) = serve().await;
    let put = "/blobs/uploads/uploads/7";
    answer(&server, "PUT", put, 1, challenge(&server)).await;
    let disk = Disk::with_image(&[b"a"]);
    let pushed = push(&server, &disk).await.unwrap();
    assert_eq!(pushed.blobs_sent, 2);
    assert_eq!(count(&server, "POST blobs/uploads/").await, 3);

    let (server, _) = serve().await;
    answer(&server, "PUT", put, 9, challenge(&server)).await;
    let error = push(&server, &disk).await.unwrap_err();
    assert_eq!((word(&error), error.intent()), ("PushRefused", Intent::Stall));
    assert_eq!(count(&server, "POST blobs/uploads/").await, 2);
}

#[tokio::test]
async fn a_refusal_says_where_and_what_was_tried_and_repeats_no_secret() {
    let disk = Disk::with_image(&[b"a"]);
    let quoted = "robot with hunter2 may not (cm9ib3Q6aHVudGVyMg==)";
    for (code, message, said) in [
        (401, "who are you", "; it says DENIED: who are you"),
        (
            403,
            "no\u{7} push\r\nfor you",
            "; it says DENIED: no push for you",
        ),
        (403, quoted, "; it says DENIED"),
    ] {
        let (server, _) = serve().await;
        let basic =
            || refusal(code, "DENIED", message).insert_header("www-authenticate", "Basic realm=\"r\"");
        answer(&server, "POST", UPLOADS, 9, basic()).await;
        let secret = push_secret(&host(&server));
        let elsewhere = push_secret("elsewhere.example");
        for (credentials, tried) in [
            (None, "anonymously, since no push secret is declared"),
            (
                Some(&elsewhere),
                "anonymously, since the push secret has no entry for 127.0.0.1",
            ),
            (Some(&secret), "the entry \"127.0.0.1"),
        ] {
            let error = pusher(&[host(&server)])
                .push(&to(&host(&server)), credentials, disk.path())
                .await
                .unwrap_err();
            assert_eq!((word(&error), error.intent()), ("PushRefused", Intent::Stall));
            let printed = error.to_string();
            let start = format!(
                "push refused: {}/acme/billing does not let us upload the blob sha256:",
                host(&server)
            );
            assert!(
                printed.starts_with(&start) && printed.contains(tried),
                "{printed}"
            );
            let printed = format!("{printed} {error:?}");
            if tried.starts_with("the entry") {
                assert!(error.to_string().ends_with(said), "{error}");
                assert!(
                    !printed.contains("hunter2")
                        && !printed.contains("robot")
                        && !printed.contains("cm9ib3Q"),
                    "{printed}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_password_that_is_wrong_is_shown_once() {
    let (server, _) = serve().await;
    let refuse = ResponseTemplate::new(401).insert_header("www-authenticate", "Basic realm=\"r\"");
    Mock::given(wiremock::matchers::any())
        .respond_with(refuse)
        .with_priority(1)
        .mount(&server)
        .await;
    let secret = push_secret(&host(&server));
    let disk = Disk::with_image(&[b"a"]);
    let error = pusher(&[host(&server)])
        .push(&to(&host(&server)), Some(&secret), disk.path())
        .await;
    assert_eq!(word(&error.unwrap_err()), "PushRefused");
    assert_eq!(
        asked(&server).await,
        ["HEAD blobs/"; 2],
        "once without, once with it"
    );
}

// === again ===

#[tokio::test]
async fn what_may_pass_is_tried_again_from_the_beginning_of_its_step() {
    let disk = Disk::with_image(&[b"a"]);
    let forgotten = || refusal(404, "BLOB_UPLOAD_UNKNOWN", "what upload");
    for (verb, at, response, line, times) in [
        (
            "HEAD",
            "/blobs/",
            ResponseTemplate::new(500),
            "POST blobs/uploads/",
            2,
        ),
        (
            "POST",
            UPLOADS,
            ResponseTemplate::new(503),
            "POST blobs/uploads/",
            3,
        ),
        (
            "PUT",
            "/uploads/7",
            ResponseTemplate::new(500),
            "POST blobs/uploads/",
            3,
        ),
        ("PUT", "/uploads/7", forgotten(), "POST blobs/uploads/", 3),
        (
            "PUT",
            "/manifests/",
            ResponseTemplate::new(502),
            "PUT manifests/1.8.2",
            2,
        ),
        (
            "PUT",
            "/manifests/",
            ResponseTemplate::new(429),
            "PUT manifests/1.8.2",
            2,
        ),
        (
            "HEAD",
            "/manifests/",
            ResponseTemplate::new(504),
            "HEAD manifests/1.8.2",
            3,
        ),
    ] {
        let (server, shelf) = serve().await;
        answer(&server, verb, at, 1, response).await;
        let pushed = push(&server, &disk).await.unwrap();
        assert_eq!(pushed.blobs_sent, 2, "{verb} {at}");
        assert_eq!(count(&server, line).await, times, "{verb} {at}");
        assert_eq!(
            digest_of(&shelf.0.lock().unwrap()["manifests/1.8.2"]),
            pushed.digest.as_str()
        );
    }
}

#[tokio::test]
async fn after_five_attempts_it_is_for_later() {
    let (server, _) = serve().await;
    answer(
        &server,
        "POST",
        UPLOADS,
        99,
        refusal(500, "UNKNOWN", "disk is full"),
    )
    .await;
    let error = push(&server, &Disk::with_image(&[b"a"])).await.unwrap_err();
    assert_eq!((word(&error), error.intent()), ("PushFailed", Intent::Retry));
    let said = "tried 5 times: the registry answered 500: UNKNOWN: disk is full";
    assert!(error.to_string().ends_with(said), "{error}");
    assert_eq!(count(&server, "POST blobs/uploads/").await, 5);
}

#[tokio::test]
async fn a_registry_that_names_a_time_is_given_it_unless_it_is_too_long() {
    let (server, _) = serve().await;
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "1");
    answer(&server, "POST", UPLOADS, 1, busy).await;
    let disk = Disk::with_image(&[b"a"]);
    let began = Instant::now();
    push(&server, &disk).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));

    let (server, _) = serve().await;
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "3600");
    answer(&server, "POST", UPLOADS, 9, busy).await;
    let error = push(&server, &disk).await.unwrap_err();
    assert_eq!(error.intent(), Intent::Retry);
    assert_eq!(count(&server, "POST blobs/uploads/").await, 1);
}

/// A way to `server` that is cut after some bytes, the first few times.
fn cut(server: &MockServer, cuts: usize, after: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap().to_string();
    let target = *server.address();
    let left = Arc::new(AtomicUsize::new(cuts));
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut server = TcpStream::connect(target).unwrap();
            let left = Arc::clone(&left);
            let (mut from, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut back));
            thread::spawn(move || {
                let (mut buffer, mut passed) = ([0; 4096], 0);
                while let Ok(read @ 1..) = client.read(&mut buffer) {
                    passed += read;
                    let cut = passed > after
                        && left
                            .try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                            .is_ok();
                    if cut || server.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                let _ = client.shutdown(std::net::Shutdown::Both);
                let _ = server.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    here
}

#[tokio::test]
async fn a_connection_that_is_cut_midway_costs_an_attempt_and_not_the_push() {
    let (server, shelf) = serve().await;
    let layer = vec![7; 4 << 20];
    let disk = Disk::with_image(&[&layer]);
    let way = cut(&server, 2, 1 << 20);
    let pushed = pusher(std::slice::from_ref(&way))
        .push(&to(&way), None, disk.path())
        .await
        .unwrap();
    assert_eq!((pushed.blobs_sent, pushed.blobs_there), (2, 0));
    assert_eq!(
        shelf.0.lock().unwrap()[&format!("blobs/{}", digest_of(&layer))],
        layer
    );

    let gone = to("127.0.0.1:1");
    let error = pusher(&["127.0.0.1:1".into()])
        .push(&gone, None, disk.path())
        .await
        .unwrap_err();
    assert_eq!((word(&error), error.intent()), ("PushFailed", Intent::Retry));
    assert!(error.to_string().contains("refused"), "{error}");
}

// === and not again ===

#[tokio::test]
async fn what_a_registry_says_is_shown_short_and_plain() {
    let disk = Disk::with_image(&[b"a"]);
    let long = format!("too\u{1b}[31m large\n{}", "x".repeat(5000));
    for (response, said) in [
        (
            refusal(413, "SIZE_INVALID", &long),
            format!("413: SIZE_INVALID: too [31m large {}…", "x".repeat(185)),
        ),
        (
            refusal(404, "NAME_UNKNOWN", "no such repository"),
            "404: NAME_UNKNOWN: no such repository".into(),
        ),
        (
            ResponseTemplate::new(400).set_body_string("<html>\u{1b}"),
            "400".into(),
        ),
        (
            ResponseTemplate::new(400).set_body_string(" ".repeat(1 << 20)),
            "400".into(),
        ),
        (
            ResponseTemplate::new(400).set_body_json(json!({"errors": []})),
            "400".into(),
        ),
        (
            ResponseTemplate::new(400).set_body_json(json!({"errors": [{"code": 5}]})),
            "400".into(),
        ),
        (ResponseTemplate::new(200), "200".into()),
        (ResponseTemplate::new(304), "304".into()),
    ] {
        let (server, _) = serve().await;
        answer(&server, "POST", UPLOADS, 9, response).await;
        let error = push(&server, &disk).await.unwrap_err();
        assert_eq!((word(&error), error.intent()), ("PushRejected", Intent::Stall));
        let said = format!("the registry answered {said}");
        assert!(error.to_string().ends_with(&said), "{error}");
        assert_eq!(count(&server, "POST blobs/uploads/").await, 1);
    }
}

#[tokio::test]
async fn a_registry_that_names_other_content_is_not_believed() {
    let disk = Disk::with_image(&[b"a"]);
    let other = format!("sha256:{}", "0".repeat(64));
    let lie = |code| ResponseTemplate::new(code).insert_header("docker-content-digest", other.as_str());
    for at in ["/uploads/7", "/manifests/"] {
        let (server, _) = serve().await;
        answer(&server, "PUT", at, 9, lie(201)).await;
        let error = push(&server, &disk).await.unwrap_err();
        assert_eq!((word(&error), error.intent()), ("PushRejected", Intent::Stall));
        let said = format!("the registry took it for {other}");
        assert!(error.to_string().ends_with(&said), "{error}");
    }
    // That it has another blob is no reason to send none; that the tag leads to another image is one to fail.
    let (server, _) = serve().await;
    answer(&server, "HEAD", "/blobs/", 2, lie(200)).await;
    assert_eq!(push(&server, &disk).await.unwrap().blobs_sent, 2);
    let (server, _) = serve().await;
    answer(&server, "HEAD", TAG, 99, lie(200)).await;
    let error = push(&server, &disk).await.unwrap_err();
    assert_eq!((word(&error), error.intent()), ("PushFailed", Intent::Retry));
    assert!(
        error
            .to_string()
            .ends_with(&format!("tried 5 times: it leads to {other}")),
        "{error}"
    );
    assert_eq!(count(&server, "PUT manifests/1.8.2").await, 1);
}

#[tokio::test]
async fn a_registry_that_names_no_digest_is_asked_for_the_manifest_itself() {
    let (server, shelf) = serve().await;
    let disk = Disk::with_image(&[b"a"]);
    push(&server, &disk).await.unwrap();
    let manifest = shelf.0.lock().unwrap()["manifests/1.8.2"].clone();
    answer(&server, "HEAD", TAG, 9, ResponseTemplate::new(200)).await;
    let whole = ResponseTemplate::new(200).set_body_raw(manifest, IMAGE);
    answer(&server, "GET", TAG, 9, whole).await;
    assert!(push(&server, &disk).await.is_ok());
    let other = Disk::with_image(&[b"b"]);
    assert_eq!(word(&push(&server, &other).await.unwrap_err()), "PushFailed");
}

#[tokio::test]
async fn a_layer_of_other_bytes_is_never_sent_whole_and_its_tag_is_not_set() {
    let (server, shelf) = serve().await;
    let mut layer = vec![7; 600 << 10];
    let disk = Disk::with_image(&[&layer]);
    let file = disk.file(&digest_of(&layer));
    *layer.last_mut().unwrap() = 8;
    fs::write(file, layer).unwrap();
    let error = push(&server, &disk).await.unwrap_err();
    assert_eq!(
        (word(&error), error.intent()),
        ("ImageLayoutInvalid", Intent::Stall)
    );
    assert!(
        error.to_string().contains("holds other bytes than its name says"),
        "{error}"
    );
    assert_eq!(shelf.0.lock().unwrap().len(), 1, "the config");
}

#[tokio::test]
async fn names_that_would_change_the_url_are_refused_before_anyone_is_asked() {
    let (server, _) = serve().await;
    let disk = Disk::with_image(&[b"a"]);
    for (path, tag) in [
        ("../admin", "1"),
        ("a?x=1", "1"),
        ("a%2f", "1"),
        ("A", "1"),
        ("a", "../1"),
        ("a", ""),
    ] {
        let bad = ImageRequest {
            repository: format!("{}/{path}", host(&server)),
            pick: ImagePick::Tag(tag.into()),
        };
        let error = pusher(&[host(&server)])
            .push(&bad, None, disk.path())
            .await
            .unwrap_err();
        assert_eq!((word(&error), error.intent()), ("PushRejected", Intent::Stall));
    }
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn without_permission_nothing_is_pushed_in_the_clear() {
    let (server, _) = serve().await;
    let disk = Disk::with_image(&[b"a"]);
    let error = pusher(&[]).push(&to(&host(&server)), None, disk.path()).await;
    assert_eq!(word(&error.unwrap_err()), "PushFailed");
    assert!(server.received_requests().await.unwrap().is_empty());
}

// === servers that no library would be ===

/// The head of a request, and the method in it.
fn head(stream: &TcpStream) -> Option<String> {
    let mut lines = BufReader::with_capacity(1, stream).lines();
    let first = lines.next()?.ok()?;
    while lines.next()?.ok().is_some_and(|line| !line.is_empty()) {}
    first.split(' ').next().map(str::to_owned)
}

/// A registry that has nothing and lets every upload begin; what comes of it is up to `upload`.
fn raw(upload: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let upload = Arc::new(upload);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let upload = Arc::clone(&upload);
            thread::spawn(move || {
                while let Some(method) = head(&stream) {
                    let answer: &[u8] = match method.as_str() {
                        "HEAD" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                        "POST" => b"HTTP/1.1 202 Accepted\r\nLocation: /upload\r\nContent-Length: 0\r\n\r\n",
                        _ => return upload(stream),
                    };
                    stream.write_all(answer).unwrap();
                }
            });
        }
    });
    host
}

/// Larger than what a kernel holds for a connection.
fn large() -> Disk {
    let config = Disk::new();
    let manifest = json!({"schemaVersion": 2, "layers": [],
        "config": config.blob("application/vnd.oci.image.config.v1+json", &vec![7; 32 << 20])});
    config.lists(&[config.document(IMAGE, &manifest)]);
    config
}

async fn push_raw(host: &str, patience: impl Fn(&mut Patience)) -> PushError {
    let mut pusher = pusher(&[host.to_owned()]);
    patience(&mut pusher.patience);
    pusher.push(&to(host), None, large().path()).await.unwrap_err()
}

#[tokio::test]
async fn a_registry_that_takes_no_more_is_given_up_and_one_that_is_slow_is_not() {
    let stuck = raw(|stream| {
        thread::sleep(Duration::from_secs(60));
        drop(stream);
    });
    let error = push_raw(&stuck, |patience| patience.idle = Duration::from_millis(200)).await;
    assert_eq!((word(&error), error.intent()), ("PushFailed", Intent::Retry));
    assert!(
        error.to_string().ends_with("nothing of it was taken for 0.2 s"),
        "{error}"
    );

    // 32 MiB within two seconds, with half a second at most between two pieces.
    let slow = raw(|mut stream| {
        let mut piece = vec![0; 1 << 20];
        for _ in 0..31 {
            thread::sleep(Duration::from_millis(60));
            if stream.read_exact(&mut piece).is_err() {
                return;
            }
        }
        let _ = stream.write_all(b"HTTP/1.1 418 Slow\r\nContent-Length: 0\r\n\r\n");
    });
    let error = push_raw(&slow, |patience| patience.idle = Duration::from_secs(1)).await;
    assert!(error.to_string().ends_with("answered 418"), "{error}");
}

#[tokio::test]
async fn a_registry_that_takes_all_and_says_nothing_is_given_up() {
    let silent = raw(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let error = push_raw(&silent, |patience| {
        patience.answer = Duration::from_millis(100);
    })
    .await;
    assert_eq!((word(&error), error.intent()), ("PushFailed", Intent::Retry));
    assert!(error.to_string().contains("was sent whole"), "{error}");
}

#[tokio::test]
async fn an_answer_in_the_middle_of_an_upload_is_heard() {
    let early = raw(|mut stream| {
        let body = r#"{"errors":[{"code":"SIZE_INVALID","message":"at most 1 MiB"}]}"#;
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        // As a proxy does it: the reason a moment later, and what still comes is thrown away.
        thread::sleep(Duration::from_millis(100));
        let _ = stream.write_all(body.as_bytes());
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let error = push_raw(&early, |_| {}).await;
    assert_eq!((word(&error), error.intent()), ("PushRejected", Intent::Stall));
    let said = "answered 413: SIZE_INVALID: at most 1 MiB";
    assert!(error.to_string().ends_with(said), "{error}");
}

mod server;
