//! The registry client against servers that are well, slow, refusing and lying.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use serde_json::json;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, header_exists, method, path, query_param},
};

use super::*;
use crate::spec::declared::{ImagePick, ImageRequest};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

fn host(server: &MockServer) -> String {
    server.address().to_string()
}

fn registry(servers: &[&MockServer]) -> Registry {
    Registry::new(None, servers.iter().map(|s| host(s)).collect())
        .unwrap()
        .with_deadline(Duration::from_secs(5))
}

fn request(server: &MockServer) -> ImageRequest {
    ImageRequest {
        repository: format!("{}/acme/billing", host(server)),
        pick: ImagePick::Tag("1.8.2".into()),
    }
}

fn digest_of(body: &[u8]) -> String {
    crate::image::session::sha256(body).ok().unwrap().to_string()
}

fn answer(body: &[u8], kind: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(body.to_vec(), kind)
}

async fn serve(server: &MockServer, at: &str, response: ResponseTemplate) {
    Mock::given(method("GET"))
        .and(path(format!("/v2/acme/billing/{at}")))
        .respond_with(response)
        .mount(server)
        .await;
}

/// A config and its manifest; returns the manifest.
async fn serve_config(server: &MockServer) -> Vec<u8> {
    let config = json!({"os": "linux", "architecture": "amd64"}).to_string();
    let digest = digest_of(config.as_bytes());
    serve(
        server,
        &format!("blobs/{digest}"),
        answer(config.as_bytes(), "application/octet-stream"),
    )
    .await;
    json!({"schemaVersion": 2, "mediaType": IMAGE, "layers": [{"size": 3000}, {"size": 70}, 7, {"size": -1}], "config": {
        "mediaType": "application/vnd.oci.image.config.v1+json", "size": config.len(), "digest": digest}})
    .to_string()
    .into_bytes()
}

fn pull_secret(key: &str) -> DockerConfig {
    let json = json!({"auths": {key: {"username": "robot", "password": "hunter2"}}}).to_string();
    DockerConfig::parse(json.as_bytes()).unwrap()
}

#[tokio::test]
async fn a_single_manifest_has_the_platform_of_its_config() {
    let server = MockServer::start().await;
    let manifest = serve_config(&server).await;
    serve(&server, "manifests/1.8.2", answer(&manifest, IMAGE)).await;
    let image = registry(&[&server])
        .resolve(&request(&server), None)
        .await
        .unwrap();
    assert_eq!(image.digest.as_str(), digest_of(&manifest));
    assert_eq!(image.platforms.len(), 1);
    assert_eq!(image.platforms[0].to_string(), "linux/amd64");
}

#[tokio::test]
async fn an_index_has_its_own_digest_and_no_attestation_among_its_platforms() {
    let server = MockServer::start().await;
    let digest = format!("sha256:{}", "b".repeat(64));
    let other = format!("sha256:{}", "c".repeat(64));
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"digest": other, "mediaType": IMAGE, "size": 1, "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": digest, "mediaType": IMAGE, "size": 1, "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": other, "mediaType": IMAGE, "size": 1, "platform": {"os": "unknown", "architecture": "unknown"},
         "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}]})
    .to_string()
    .into_bytes();
    serve(&server, "manifests/1.8.2", answer(&index, INDEX)).await;
    let image = registry(&[&server])
        .resolve(&request(&server), None)
        .await
        .unwrap();
    assert_eq!(image.digest.as_str(), digest_of(&index));
    let platforms: Vec<String> = image.platforms.iter().map(ToString::to_string).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
}

#[tokio::test]
async fn what_an_image_was_made_of_is_read_from_what_is_attached_to_it_and_nobody_waits_for_that() {
    let sha = "1".repeat(64);
    let statement = json!({"predicateType": "https://slsa.dev/provenance/v0.2", "predicate": {"materials": [
        {"uri": "pkg:docker/debian@bookworm", "digest": {"sha256": sha}}]}})
    .to_string();
    let blob = digest_of(statement.as_bytes());
    let attached = json!({"schemaVersion": 2, "mediaType": IMAGE, "config": {}, "layers": [
        {"mediaType": "application/vnd.in-toto+json", "size": statement.len(), "digest": blob,
         "annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}}]})
    .to_string()
    .into_bytes();
    let ok = || answer(statement.as_bytes(), "application/octet-stream");
    let known = vec![format!("debian:bookworm@sha256:{sha}")];
    for (served, expected) in [
        (Some(ok()), known),
        (None, Vec::new()),
        (Some(answer(b"{}", "application/octet-stream")), Vec::new()),
        (Some(ok().set_delay(Duration::from_secs(60))), Vec::new()),
    ] {
        let server = MockServer::start().await;
        let manifest = serve_config(&server).await;
        let (of_image, of_attached) = (digest_of(&manifest), digest_of(&attached));
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"digest": of_image, "mediaType": IMAGE, "size": 1, "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": of_attached, "mediaType": IMAGE, "size": 1, "platform": {"os": "unknown", "architecture": "unknown"},
             "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}]})
        .to_string()
        .into_bytes();
        serve(&server, "manifests/1.8.2", answer(&index, INDEX)).await;
        serve(
            &server,
            &format!("manifests/{of_image}"),
            answer(&manifest, IMAGE),
        )
        .await;
        serve(
            &server,
            &format!("manifests/{of_attached}"),
            answer(&attached, IMAGE),
        )
        .await;
        if let Some(served) = served {
            serve(&server, &format!("blobs/{blob}"), served).await;
        }
        let image = registry(&[&server])
            .resolve(&request(&server), None)
            .await
            .unwrap();
        assert_eq!(image.claims[0].made_of.bases, expected);
        assert_eq!(image.claims.len(), 1);
        assert_eq!(
            image.claims[0].made_of.size, 3070,
            "a layer without a size has none"
        );
    }
}

#[tokio::test]
async fn for_its_digest_alone_no_image_is_sent_unless_its_registry_knows_no_other_way() {
    let digest = format!("sha256:{}", "b".repeat(64));
    for (status, named, requests) in [(200, true, 1), (200, false, 2), (405, false, 2)] {
        let server = MockServer::start().await;
        let config = json!({"config": {"digest": digest}}).to_string().into_bytes();
        let mut head = ResponseTemplate::new(status);
        if named {
            head = head.insert_header("docker-content-digest", digest_of(&config));
        }
        let at = "/v2/acme/billing/manifests/1.8.2";
        Mock::given(method("HEAD"))
            .and(path(at))
            .respond_with(head)
            .mount(&server)
            .await;
        serve(&server, "manifests/1.8.2", answer(&config, IMAGE)).await;
        let found = registry(&[&server])
            .digest(&request(&server), None)
            .await
            .unwrap();
        assert_eq!(found.as_str(), digest_of(&config));
        assert_eq!(
            server.received_requests().await.unwrap().len(),
            requests,
            "{status}"
        );
    }
    let server = MockServer::start().await;
    let missing = registry(&[&server]).digest(&request(&server), None).await;
    assert_eq!(missing.unwrap_err().reason(), "ImageNotFound");
}

/// An image whose config has this variable; the digest of its manifest, under which it is served.
async fn serve_image(server: &MockServer, variable: &str) -> String {
    let config = json!({"os": "linux", "architecture": "amd64", "config": {"Env": [variable]}}).to_string();
    let digest = digest_of(config.as_bytes());
    let blob = answer(config.as_bytes(), "application/octet-stream");
    serve(server, &format!("blobs/{digest}"), blob).await;
    let manifest =
        json!({"schemaVersion": 2, "mediaType": IMAGE, "layers": [], "config": {"digest": digest}})
            .to_string();
    let digest = digest_of(manifest.as_bytes());
    serve(
        server,
        &format!("manifests/{digest}"),
        answer(manifest.as_bytes(), IMAGE),
    )
    .await;
    digest
}

/// The rules that the texts of an image break, of a release that has no secrets.
fn rules(image: &ResolvedImage) -> Vec<String> {
    let spec = serde_yaml::from_str("image: a\nversion: 1.0.0\nport: 80\n").unwrap();
    let own = crate::image::baked::Own {
        values: &[],
        declared: &crate::spec::declare(&"a".parse().unwrap(), &spec)
            .unwrap()
            .unwrap(),
    };
    let found = crate::image::baked::find(&image.texts, &own);
    found.into_iter().map(|found| found.words).collect()
}

#[tokio::test]
async fn each_image_of_an_index_is_asked_what_it_says_of_itself_and_none_need_be_there() {
    let server = MockServer::start().await;
    let mut entries = Vec::new();
    for variable in [
        "A=AKIAIOSFODNN7EXAMPLE",
        "B=ghp_0123456789abcdefghij0123456789abcdef",
    ] {
        let digest = serve_image(&server, variable).await;
        entries.push(json!({"digest": digest, "platform": {"os": "linux", "architecture": "amd64"}}));
    }
    // As where one platform alone was copied here.
    let gone = format!("sha256:{}", "c".repeat(64));
    entries.push(json!({"digest": gone, "platform": {"os": "linux", "architecture": "arm64"}}));
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string();
    serve(&server, "manifests/1.8.2", answer(index.as_bytes(), INDEX)).await;
    let registry = registry(&[&server]);
    let image = registry.resolve(&request(&server), None).await.unwrap();
    assert_eq!(
        rules(&image),
        [
            "the variable A holds an AWS access key",
            "the variable B holds a GitHub token"
        ]
    );
    let platforms: Vec<String> = image.platforms.iter().map(ToString::to_string).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    let asked = server.received_requests().await.unwrap().len();
    assert_eq!(asked, 6, "once each, and the one that is not there");
}

#[tokio::test]
async fn a_single_image_says_of_itself_what_its_config_holds() {
    let server = MockServer::start().await;
    let digest = serve_image(&server, "A=AKIAIOSFODNN7EXAMPLE").await;
    let pinned = ImageRequest {
        pick: ImagePick::Digest(digest.parse().unwrap()),
        ..request(&server)
    };
    let image = registry(&[&server]).resolve(&pinned, None).await.unwrap();
    assert_eq!(rules(&image), ["the variable A holds an AWS access key"]);
    assert!(!format!("{image:?}").contains("AKIA"));
}

#[tokio::test]
async fn a_missing_tag_is_not_found_and_waited_for() {
    let server = MockServer::start().await;
    let error = registry(&[&server])
        .resolve(&request(&server), None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "ImageNotFound");
    assert!(error.to_string().contains("/acme/billing:1.8.2"), "{error}");
}

#[tokio::test]
async fn a_refusal_names_what_was_tried_and_never_a_credential() {
    let server = MockServer::start().await;
    let refuse = || ResponseTemplate::new(401).insert_header("www-authenticate", "Basic realm=\"r\"");
    serve(&server, "manifests/1.8.2", refuse()).await;
    let secret = pull_secret(&host(&server));
    let elsewhere = pull_secret("elsewhere.example");
    for (credentials, tried) in [
        (None, "no pull secret is declared"),
        (Some(&elsewhere), "no entry for 127.0.0.1"),
        (Some(&secret), "the entry \"127.0.0.1"),
    ] {
        let error = registry(&[&server])
            .resolve(&request(&server), credentials)
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "RegistryAuth");
        let printed = format!("{error} {error:?}");
        assert!(printed.contains(tried), "{printed}");
        assert!(
            !printed.contains("hunter2") && !printed.contains("robot"),
            "{printed}"
        );
    }
}

#[tokio::test]
async fn user_and_password_answer_a_basic_challenge() {
    let server = MockServer::start().await;
    let manifest = serve_config(&server).await;
    Mock::given(path("/v2/acme/billing/manifests/1.8.2"))
        .and(header("authorization", "Basic cm9ib3Q6aHVudGVyMg=="))
        .respond_with(answer(&manifest, IMAGE))
        .with_priority(1)
        .mount(&server)
        .await;
    let refuse = ResponseTemplate::new(401).insert_header("www-authenticate", "Basic realm=\"r\"");
    serve(&server, "manifests/1.8.2", refuse).await;
    let secret = pull_secret(&host(&server));
    assert!(
        registry(&[&server])
            .resolve(&request(&server), Some(&secret))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_token_is_fetched_from_the_server_that_the_registry_names() {
    let (server, tokens) = (MockServer::start().await, MockServer::start().await);
    let manifest = serve_config(&server).await;
    Mock::given(path("/token"))
        .and(query_param("service", "reg"))
        .and(query_param("scope", "repository:acme/billing:pull"))
        .and(header("authorization", "Basic cm9ib3Q6aHVudGVyMg=="))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"access_token": "t0ken"})))
        .expect(1)
        .mount(&tokens)
        .await;
    Mock::given(path("/v2/acme/billing/manifests/1.8.2"))
        .and(header("authorization", "Bearer t0ken"))
        .respond_with(answer(&manifest, IMAGE))
        .with_priority(1)
        .mount(&server)
        .await;
    let challenge = format!("Bearer realm=\"{}/token\",service=\"reg\"", tokens.uri());
    let refuse = ResponseTemplate::new(401).insert_header("www-authenticate", challenge.as_str());
    serve(&server, "manifests/1.8.2", refuse).await;
    let secret = pull_secret(&host(&server));
    let image = registry(&[&server, &tokens])
        .resolve(&request(&server), Some(&secret))
        .await;
    assert!(image.is_ok(), "{image:?}");

    // A token server in the clear that nobody listed gets nothing.
    let error = registry(&[&server])
        .resolve(&request(&server), Some(&secret))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "ImageInvalid");
    assert!(error.to_string().contains("without TLS"), "{error}");
}

#[tokio::test]
async fn a_token_that_no_header_can_hold_is_an_error() {
    let server = MockServer::start().await;
    let refuse = ResponseTemplate::new(401).insert_header(
        "www-authenticate",
        format!("Bearer realm=\"{}/token\"", server.uri()).as_str(),
    );
    serve(&server, "manifests/1.8.2", refuse).await;
    Mock::given(path("/token"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"token": "a\nb"})))
        .mount(&server)
        .await;
    let error = registry(&[&server])
        .resolve(&request(&server), None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "ImageInvalid", "{error}");
}

#[tokio::test]
async fn a_redirect_to_another_host_is_followed_without_the_credential() {
    let (server, storage) = (MockServer::start().await, MockServer::start().await);
    let manifest = serve_config(&server).await;
    Mock::given(header_exists("authorization"))
        .respond_with(ResponseTemplate::new(500))
        .with_priority(1)
        .expect(0)
        .mount(&storage)
        .await;
    Mock::given(path("/signed"))
        .respond_with(answer(&manifest, IMAGE))
        .mount(&storage)
        .await;
    let to = format!("{}/signed?sig=x", storage.uri());
    Mock::given(header_exists("authorization"))
        .and(path("/v2/acme/billing/manifests/1.8.2"))
        .respond_with(ResponseTemplate::new(307).insert_header("location", to.as_str()))
        .with_priority(1)
        .mount(&server)
        .await;
    let refuse = ResponseTemplate::new(401).insert_header("www-authenticate", "Basic realm=\"r\"");
    serve(&server, "manifests/1.8.2", refuse).await;
    let secret = pull_secret(&host(&server));
    let image = registry(&[&server, &storage])
        .resolve(&request(&server), Some(&secret))
        .await;
    assert!(image.is_ok(), "{image:?}");
}

#[tokio::test]
async fn a_redirect_without_end_is_given_up() {
    let server = MockServer::start().await;
    let to = format!("{}/v2/acme/billing/manifests/1.8.2", server.uri());
    let again = ResponseTemplate::new(307).insert_header("location", to.as_str());
    serve(&server, "manifests/1.8.2", again).await;
    let error = registry(&[&server])
        .resolve(&request(&server), None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "ImageInvalid");
    assert!(error.to_string().contains("more than 3 times"), "{error}");
    assert_eq!(server.received_requests().await.unwrap().len(), 4);
}

#[tokio::test]
async fn nobody_is_asked_where_no_registry_is_be_it_by_a_redirect_or_as_a_token_server() {
    for address in [
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "0.0.0.0",
        "2852039166",
        "127.0.0.1:1",
        "localhost:1",
    ] {
        let server = MockServer::start().await;
        let secret = pull_secret(&host(&server));
        for scheme in ["http", "https"] {
            let to = format!("{scheme}://{address}/latest/meta-data");
            let away = ResponseTemplate::new(307).insert_header("location", to.as_str());
            serve(&server, "manifests/1.8.2", away).await;
            let error = registry(&[&server])
                .resolve(&request(&server), Some(&secret))
                .await
                .unwrap_err();
            assert_eq!(error.reason(), "ImageInvalid", "{to}: {error}");
            assert!(
                error.to_string().contains("an address that no registry has"),
                "{to}: {error}"
            );
            server.reset().await;
            let challenge = format!("Bearer realm=\"{to}\"");
            let refuse = ResponseTemplate::new(401).insert_header("www-authenticate", challenge.as_str());
            serve(&server, "manifests/1.8.2", refuse).await;
            let error = registry(&[&server])
                .resolve(&request(&server), Some(&secret))
                .await
                .unwrap_err();
            assert_eq!(error.reason(), "ImageInvalid", "{to}: {error}");
            assert!(
                error.to_string().contains("it gets no credential"),
                "{to}: {error}"
            );
            server.reset().await;
        }
    }
}

#[tokio::test]
async fn a_token_that_expires_midway_is_a_refusal_and_the_next_question_gets_a_new_one() {
    let server = MockServer::start().await;
    let challenge = format!("Bearer realm=\"{}/token\"", server.uri());
    let refuse = || ResponseTemplate::new(401).insert_header("www-authenticate", challenge.as_str());
    let manifest = serve_config(&server).await;
    for token in ["first", "second"] {
        Mock::given(path("/token"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({"token": token})))
            .up_to_n_times(1)
            .mount(&server)
            .await;
        Mock::given(header("authorization", format!("Bearer {token}").as_str()))
            .and(path("/v2/acme/billing/manifests/1.8.2"))
            .respond_with(answer(&manifest, IMAGE))
            .with_priority(1)
            .mount(&server)
            .await;
    }
    serve(&server, "manifests/1.8.2", refuse()).await;
    // The first one ends between the manifest and the config.
    Mock::given(header("authorization", "Bearer first"))
        .and(wiremock::matchers::path_regex("/blobs/"))
        .respond_with(refuse())
        .with_priority(1)
        .mount(&server)
        .await;
    let error = registry(&[&server])
        .resolve(&request(&server), None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "RegistryAuth", "{error}");
    let image = registry(&[&server]).resolve(&request(&server), None).await;
    assert!(image.is_ok(), "{image:?}");
}

#[tokio::test]
async fn every_status_has_its_word_and_no_second_request_follows_at_once() {
    for (status, reason, words) in [
        (403, "RegistryAuth", "refused to show"),
        (404, "ImageNotFound", "does not exist"),
        (408, "RegistryUnreachable", "408"),
        (429, "RegistryUnreachable", "fewer requests (429)"),
        (500, "RegistryUnreachable", "500"),
        (502, "RegistryUnreachable", "502"),
        (504, "RegistryUnreachable", "504"),
        (400, "ImageInvalid", "400"),
        (418, "ImageInvalid", "418"),
        (206, "ImageInvalid", "206"),
    ] {
        let server = MockServer::start().await;
        serve(&server, "manifests/1.8.2", ResponseTemplate::new(status)).await;
        let error = registry(&[&server])
            .resolve(&request(&server), None)
            .await
            .unwrap_err();
        assert_eq!(error.reason(), reason, "{status}: {error}");
        assert!(error.to_string().contains(words), "{status}: {error}");
        assert_eq!(server.received_requests().await.unwrap().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_config_that_is_lost_is_waited_for_and_one_that_was_changed_is_refused() {
    let server = MockServer::start().await;
    let manifest = serve_config(&server).await;
    serve(&server, "manifests/1.8.2", answer(&manifest, IMAGE)).await;
    let config = wiremock::matchers::path_regex("/blobs/");
    Mock::given(config)
        .respond_with(ResponseTemplate::new(404))
        .up_to_n_times(1)
        .with_priority(1)
        .mount(&server)
        .await;
    let ask = || async { registry(&[&server]).resolve(&request(&server), None).await };
    let error = ask().await.unwrap_err();
    assert_eq!(error.reason(), "RegistryUnreachable");
    assert!(
        error.to_string().contains("does not hold the image's config"),
        "{error}"
    );
    assert!(ask().await.is_ok(), "it is there again");
    let other = json!({"os": "linux", "architecture": "arm64"}).to_string();
    Mock::given(wiremock::matchers::path_regex("/blobs/"))
        .respond_with(answer(other.as_bytes(), "application/octet-stream"))
        .with_priority(1)
        .mount(&server)
        .await;
    let error = ask().await.unwrap_err();
    assert_eq!(error.reason(), "ImageInvalid");
    assert!(
        error.to_string().contains("other bytes than their digest says"),
        "{error}"
    );
}

/// A registry that answers as no library would, until the test ends.
fn raw(answer: impl Fn(TcpStream) + Send + 'static) -> ImageRequest {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
            while head
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            answer(stream);
        }
    });
    ImageRequest {
        repository: format!("{host}/acme/billing"),
        pick: ImagePick::Tag("1.8.2".into()),
    }
}

fn raw_registry(request: &ImageRequest) -> Registry {
    let host = request.repository.split('/').next().unwrap();
    Registry::new(None, vec![host.to_owned()]).unwrap()
}

#[tokio::test]
async fn a_manifest_that_does_not_say_how_long_it_is_is_cut_off_too_and_one_that_drips_costs_the_deadline() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {IMAGE}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let endless = {
        let head = head.clone();
        raw(move |mut stream| {
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            let mut sent = stream.write_all(head.as_bytes());
            while sent.is_ok() {
                sent = stream.write_all(chunk.as_bytes());
            }
        })
    };
    let error = raw_registry(&endless).resolve(&endless, None).await.unwrap_err();
    assert_eq!(error.reason(), "ImageInvalid", "{error}");
    assert!(error.to_string().contains("4096 KiB"), "{error}");

    let dripping = raw(move |mut stream| {
        let mut sent = stream.write_all(head.as_bytes());
        while sent.is_ok() {
            thread::sleep(Duration::from_millis(50));
            sent = stream.write_all(b"1\r\n \r\n");
        }
    });
    let registry = raw_registry(&dripping).with_deadline(Duration::from_secs(1));
    let error = registry.resolve(&dripping, None).await.unwrap_err();
    assert_eq!(error.reason(), "RegistryTimeout", "{error}");
}

#[tokio::test]
async fn what_is_packed_is_not_unpacked_and_what_is_no_http_is_no_answer() {
    let server = MockServer::start().await;
    // The beginning of a gzip stream, which may become as long as it likes.
    let packed =
        answer(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], IMAGE).insert_header("content-encoding", "gzip");
    serve(&server, "manifests/1.8.2", packed).await;
    let error = registry(&[&server])
        .resolve(&request(&server), None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "ImageInvalid");
    assert!(error.to_string().contains("not valid JSON"), "{error}");

    let other = raw(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-what\r\n\x1b[2J\r\n\r\n");
    });
    let error = raw_registry(&other).resolve(&other, None).await.unwrap_err();
    assert_eq!(error.reason(), "RegistryUnreachable", "{error}");
    assert!(!error.to_string().contains(char::is_control), "{error:?}");
}

#[tokio::test]
async fn a_registry_that_hangs_costs_the_deadline_and_no_more() {
    let server = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_delay(Duration::from_secs(600));
    serve(&server, "manifests/1.8.2", slow).await;
    let registry = registry(&[&server]).with_deadline(Duration::from_millis(200));
    let start = std::time::Instant::now();
    let error = registry.resolve(&request(&server), None).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(error.reason(), "RegistryTimeout");
}

#[tokio::test]
async fn a_registry_that_is_gone_or_ill_is_asked_again_and_its_cause_is_shown() {
    let server = MockServer::start().await;
    serve(&server, "manifests/1.8.2", ResponseTemplate::new(503)).await;
    let error = registry(&[&server])
        .resolve(&request(&server), None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "RegistryUnreachable");
    assert!(error.to_string().contains("503"), "{error}");

    let gone = ImageRequest {
        repository: "127.0.0.1:1/acme/billing".into(),
        ..request(&server)
    };
    let registry = Registry::new(None, vec!["127.0.0.1:1".into()]).unwrap();
    let error = registry.resolve(&gone, None).await.unwrap_err();
    assert_eq!(error.reason(), "RegistryUnreachable");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn bytes_that_are_not_what_their_digest_says_are_refused() {
    let server = MockServer::start().await;
    let manifest = serve_config(&server).await;
    let lie = format!("sha256:{}", "0".repeat(64));
    let lying = answer(&manifest, IMAGE).insert_header("docker-content-digest", lie.as_str());
    serve(&server, "manifests/1.8.2", lying).await;
    let error = registry(&[&server])
        .resolve(&request(&server), None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "ImageInvalid");

    serve(&server, &format!("manifests/{lie}"), answer(&manifest, IMAGE)).await;
    let pinned = ImageRequest {
        pick: ImagePick::Digest(lie.parse().unwrap()),
        ..request(&server)
    };
    let error = registry(&[&server]).resolve(&pinned, None).await.unwrap_err();
    assert_eq!(error.reason(), "ImageInvalid");
}

#[tokio::test]
async fn a_manifest_without_end_is_cut_off() {
    let server = MockServer::start().await;
    serve(
        &server,
        "manifests/1.8.2",
        answer(&vec![b' '; (4 << 20) + 1], IMAGE),
    )
    .await;
    let error = registry(&[&server])
        .resolve(&request(&server), None)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "ImageInvalid");
    assert!(error.to_string().contains("4096 KiB"), "{error}");
}

#[tokio::test]
async fn without_permission_no_registry_is_spoken_to_in_the_clear() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200))
        .expect(0)
        .mount(&server)
        .await;
    let registry = Registry::new(None, Vec::new()).unwrap();
    let error = registry.resolve(&request(&server), None).await.unwrap_err();
    assert_eq!(error.reason(), "RegistryUnreachable");
}

#[tokio::test]
async fn names_that_would_change_the_url_are_refused() {
    let server = MockServer::start().await;
    let registry = registry(&[&server]);
    for path in ["../admin", "a/../b", "a?x=1", "a%2f", "", "a//b", "A"] {
        let bad = ImageRequest {
            repository: format!("{}/{path}", host(&server)),
            ..request(&server)
        };
        let error = registry.resolve(&bad, None).await.unwrap_err();
        assert_eq!(error.reason(), "ImageInvalid", "{path}");
    }
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[test]
fn a_bundle_without_certificates_is_refused() {
    assert!(Registry::new(Some(b"hello"), Vec::new()).is_err());
}
