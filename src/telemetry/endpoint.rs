//! `/metrics` and `/healthz`, on the address that `metrics.listen` names.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::metrics::Metrics;

/// What Prometheus asks for since its version 2; older ones read it too.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    status: watch::Receiver<Arc<Value>>,
}

/// Opens `address`.
///
/// # Errors
/// What the network says: in use, or not ours.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until the agent ends.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, status: watch::Receiver<Arc<Value>>) {
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(health_page))
        .with_state(Shared { metrics, status });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::warn!(%error, "metrics endpoint ended");
    }
}

async fn metrics_page(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], shared.metrics.encode())
}

/// 200 while the agent can decide about every backend, else 503; the body says which and why not.
async fn health_page(State(shared): State<Shared>) -> impl IntoResponse {
    let status = shared.status.borrow().clone();
    let trouble: Vec<String> =
        status["backends"].as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(trouble).collect();
    if trouble.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, trouble.join(""))
    }
}

fn trouble(backend: &Value) -> Option<String> {
    let health = backend["health"].as_str()?;
    let reason = backend["reason"].as_str().unwrap_or("no evaluation yet");
    (health != "good")
        .then(|| format!("{}: {health}: {reason}\n", backend["backend"].as_str().unwrap_or("?")))
}
