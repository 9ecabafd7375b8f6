//! Clients for the Kubernetes API, with an end to every wait.

use std::time::Duration;

use axum::{
    BoxError,
    body::{Body, Bytes, HttpBody},
    http::{
        HeaderValue, Response, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
    },
};
use kube::{Client, Config, client::ClientBuilder, config::InferConfigError};
use serde_json::json;
use tower::util::MapResponseLayer;

/// A TCP connection inside a cluster takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two pieces of an answer. The API server itself gives a request 60 s at most, and answers the
/// small ones that are made here in milliseconds.
const CALL_READ_TIMEOUT: Duration = Duration::from_secs(15);
/// A quiet watch is silent for as long as the server lets it live: kube asks for 290 s.
const WATCH_READ_TIMEOUT: Duration = Duration::from_secs(310);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a pod's service account.
    #[error("found no cluster: neither a kubeconfig nor the service account of a pod")]
    NoCluster(#[source] InferConfigError),
    /// The configuration cannot be used.
    #[error("the configuration for the cluster cannot be used")]
    Client(#[source] kube::Error),
}

/// Two clients of one cluster. They differ in how long silence may last, since silence of a watch is
/// normal and silence of a call is a fault.
#[derive(Clone)]
pub struct Clients {
    /// For everything but watches. Each call still wants a deadline of its own.
    pub call: Client,
    /// For watches only.
    pub watch: Client,
}

impl Clients {
    /// Connects by `KUBECONFIG`, `~/.kube/config`, or the pod's service account. Sends no request yet.
    pub async fn connect() -> Result<Self, ConnectError> {
        let config = Config::infer().await.map_err(ConnectError::NoCluster)?;
        Self::from_config(&config)
    }

    /// Connects with a given configuration, whose timeouts are replaced.
    pub fn from_config(config: &Config) -> Result<Self, ConnectError> {
        let client = |read_timeout| {
            let mut config = config.clone();
            config.connect_timeout = Some(CONNECT_TIMEOUT);
            config.read_timeout = Some(read_timeout);
            // Else the time that a pooled connection lay idle would count.
            config.reset_reader_on_write = true;
            // It would wait up to 1000 s, 15 times, for writes too, without a word; each loop has a backoff
            // of its own that can be seen.
            config.default_retry = false;
            config.headers.push((
                USER_AGENT,
                HeaderValue::from_static(concat!("slipway/", env!("CARGO_PKG_VERSION"))),
            ));
            let builder = ClientBuilder::try_from(config).map_err(ConnectError::Client)?;
            Ok(builder.with_layer(&MapResponseLayer::new(heed)).build())
        };
        Ok(Self {
            call: client(CALL_READ_TIMEOUT)?,
            watch: client(WATCH_READ_TIMEOUT)?,
        })
    }
}

/// A server that is too busy says so in plain text, and in a header how long to wait, which no error of the client carries.
/// Here it becomes what a refusal with a body of its own has: `details.retryAfterSeconds`.
pub fn heed<B>(response: Response<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&response.status());
    let header = |name| response.headers().get(name)?.to_str().ok();
    let plain = header(CONTENT_TYPE).is_none_or(|kind| !kind.starts_with("application/json"));
    // A date is not among what an API server says.
    let seconds = header(RETRY_AFTER).and_then(|text| text.parse::<u32>().ok());
    let Some(seconds) = seconds.filter(|_| busy && plain) else {
        return response.map(Body::new);
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": response.status().as_u16(),
        "reason": "TooManyRequests", "message": format!("the API server is too busy and asks to wait {seconds} s"),
        "details": { "retryAfterSeconds": seconds },
    });
    response.map(|_| Body::from(status.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{error::ClusterError, objects::within};
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::header};

    fn config(server: &MockServer) -> Config {
        Config::new(server.uri().parse().unwrap())
    }

    #[tokio::test]
    async fn an_overloaded_server_is_not_asked_again_behind_our_back() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = MockServer::start().await;
        Mock::given(header(
            "user-agent",
            concat!("slipway/", env!("CARGO_PKG_VERSION")),
        ))
        .respond_with(ResponseTemplate::new(429).insert_header("retry-after", "1"))
        .expect(1)
        .mount(&server)
        .await;
        let clients = Clients::from_config(&config(&server)).unwrap();
        assert!(clients.call.apiserver_version().await.is_err());
    }

    /// What an answer asks for, once it is an error.
    async fn asked(answer: ResponseTemplate) -> Option<Duration> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = MockServer::start().await;
        Mock::given(wiremock::matchers::any())
            .respond_with(answer)
            .mount(&server)
            .await;
        let clients = Clients::from_config(&config(&server)).unwrap();
        let error: ClusterError = within(|| "ask".to_owned(), clients.call.apiserver_version())
            .await
            .unwrap_err();
        error.retry_after()
    }

    #[tokio::test]
    async fn how_long_a_busy_server_asks_to_wait_is_known_however_it_says_so() {
        let seconds = |n| Some(Duration::from_secs(n));
        let plain = |code: u16| {
            let answer = ResponseTemplate::new(code).insert_header("retry-after", "7");
            answer.set_body_string("Too many requests, please try again later.")
        };
        assert_eq!(asked(plain(429)).await, seconds(7));
        assert_eq!(asked(plain(503)).await, seconds(7));
        assert_eq!(asked(plain(500)).await, None);
        let body = json!({
            "kind": "Status", "status": "Failure", "code": 429, "reason": "TooManyRequests", "message": "busy",
            "details": { "retryAfterSeconds": 3 },
        });
        let whole = ResponseTemplate::new(429)
            .insert_header("retry-after", "7")
            .set_body_json(body);
        assert_eq!(asked(whole).await, seconds(3));
        assert_eq!(asked(ResponseTemplate::new(429)).await, None);
        let long = ResponseTemplate::new(429).insert_header("retry-after", "86400");
        assert_eq!(
            asked(long).await,
            seconds(300),
            "no server keeps Slipway waiting for a day"
        );
    }
}
