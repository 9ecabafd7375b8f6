//! The HTTP side: `/healthz`, `/readyz` and `/metrics`.
//!
//! Read-only and without secrets, but still a door: every request ends within a deadline and brings no large body.

pub mod health;

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::{limit::RequestBodyLimitLayer, timeout::TimeoutLayer};

pub use health::{Gate, Health, Heartbeat};

use crate::telemetry::Metrics;

/// Every answer comes from memory.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// GET needs no body at all.
const MAX_BODY: usize = 1024;
/// How long open requests may go on after a shutdown began.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Shared {
    health: Health,
    metrics: Arc<Metrics>,
}

/// The routes. Others may be merged into it; the limits here are not theirs.
pub fn router(health: Health, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(numbers))
        .layer(RequestBodyLimitLayer::new(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_DEADLINE,
        ))
        .with_state(Shared { health, metrics })
}

/// Answers until `token` is cancelled, then lets open requests end for a few seconds.
pub async fn serve(listener: TcpListener, router: Router, token: CancellationToken) -> io::Result<()> {
    let stop = token.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    tokio::select! {
        result = server.into_future() => result,
        () = async {
            token.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        } => Ok(()),
    }
}

async fn healthz(State(shared): State<Shared>) -> Response {
    verdict(&shared.health.stuck())
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let closed: Vec<String> = shared
        .health
        .closed()
        .into_iter()
        .map(|gate| format!("{gate}: not yet"))
        .collect();
    verdict(&closed)
}

fn verdict(problems: &[String]) -> Response {
    if problems.is_empty() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n").into_response()
    }
}

async fn numbers(State(shared): State<Shared>) -> Response {
    match shared.metrics.encode() {
        Ok(page) => (
            [(
                CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            page,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(router: &Router, path: &str) -> (u16, String, String) {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn health_and_readiness_say_what_is_missing() {
        let health = Health::new();
        let router = router(health.clone(), Arc::new(Metrics::new()));
        let gate = health.gate("crds");
        assert_eq!(ask(&router, "/healthz").await.0, 200);
        let (status, _, body) = ask(&router, "/readyz").await;
        assert_eq!((status, body.as_str()), (503, "crds: not yet\n"));
        gate.open();
        assert_eq!(ask(&router, "/readyz").await.0, 200);
        let heart = health.heartbeat("releases", Duration::ZERO);
        let _work = heart.working();
        std::thread::sleep(Duration::from_millis(5));
        let (status, _, body) = ask(&router, "/healthz").await;
        assert_eq!((status, body.as_str()), (503, "releases: no progress for 0 s\n"));
    }

    #[tokio::test]
    async fn metrics_are_open_metrics() {
        let (status, kind, body) = ask(&router(Health::new(), Arc::new(Metrics::new())), "/metrics").await;
        assert_eq!(status, 200);
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        assert!(body.ends_with("# EOF\n"), "{body}");
    }

    #[tokio::test]
    async fn the_server_ends_with_its_token() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let token = CancellationToken::new();
        let router = router(Health::new(), Arc::new(Metrics::new()));
        let server = tokio::spawn(serve(listener, router, token.clone()));
        token.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(3), server).await;
        assert!(ended.unwrap().unwrap().is_ok());
    }
}
