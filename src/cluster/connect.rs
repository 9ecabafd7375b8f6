//! Clients for the Kubernetes API, with an end to every wait.

use std::time::Duration;

use axum::http::{HeaderValue, header::USER_AGENT};
use kube::{Client, Config, config::InferConfigError};

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
            Client::try_from(config).map_err(ConnectError::Client)
        };
        Ok(Self {
            call: client(CALL_READ_TIMEOUT)?,
            watch: client(WATCH_READ_TIMEOUT)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
