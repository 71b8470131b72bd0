//! What the outside may ask about this process on the health port: `/healthz` (the process
//! answers), `/readyz` (every named gate is open) and `/metrics`. Not machine health.
//!
//! Invariant: `/readyz` is 200 only while every registered [`Gate`] is open, so a gate must be
//! registered before the part it stands for starts.

mod metrics;
mod readiness;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

pub use metrics::Metrics;
pub use readiness::{Gate, Readiness};

#[derive(Debug, Clone)]
struct Health {
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

/// The routes of the health port. Nothing here needs a password and nothing here names a machine.
pub fn router(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(text_of_metrics))
        .with_state(Health { readiness, metrics })
}

async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    let status = if health.readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, health.readiness.to_string())
}

async fn text_of_metrics(State(health): State<Health>) -> Response {
    match health.metrics.encode() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "could not encode metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
