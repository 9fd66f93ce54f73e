//! `/metrics` and `/healthz`, on the address that `metrics.listen` names.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::question::Asker;

/// What Prometheus asks for since its version 2; older ones read it too.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Opens `address`.
///
/// # Errors
/// What the network says: in use, or not ours.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until the agent ends.
pub async fn serve(listener: TcpListener, asker: Asker) {
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(health_page))
        .with_state(asker);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::warn!(%error, "metrics endpoint ended");
    }
}

async fn metrics_page(State(asker): State<Asker>) -> Response {
    match asker.metrics().await {
        Some(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        None => hung(),
    }
}

/// 200 while the agent can decide about every backend, else 503; the body says which and why not.
async fn health_page(State(asker): State<Asker>) -> Response {
    let Some(trouble) = asker.health().await else { return hung() };
    if trouble.is_empty() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, trouble.concat()).into_response()
    }
}

fn hung() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the agent does not answer\n").into_response()
}
