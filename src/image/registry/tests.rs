//! The registry client against servers that are well, slow, refusing and lying.

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
    json!({"schemaVersion": 2, "mediaType": IMAGE, "layers": [], "config": {
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
    let asked = server.received_requests().await.unwrap();
    assert_eq!(asked.len(), 1, "registries count what is asked of them");
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
    let image = registry(&[&server])
        .resolve(&request(&server), Some(&secret))
        .await;
    assert!(image.is_ok(), "{image:?}");
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
