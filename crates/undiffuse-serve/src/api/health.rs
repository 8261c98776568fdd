//! Health and figures for monitoring.

use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use crate::problem::Problem;

/// The store answers within this where all is well.
const PROBE: Duration = Duration::from_secs(2);
/// An id that no job has.
const NOBODY: &str = "000000000000000000000000000000";

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// Whether the service lives.
#[utoipa::path(get, path = "/healthz", tag = "health", responses(
    (status = 200, description = "It does.", body = String, content_type = "text/plain"),
))]
async fn healthz() -> &'static str {
    "ok"
}

/// Whether the service takes jobs: it does not close, and its store answers in time.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "It does.", body = String, content_type = "text/plain"),
))]
async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    app.engine.ready()?;
    // The way of every job: a thread that may wait for the disk, and the store.
    match timeout(PROBE, app.engine.job(NOBODY)).await {
        Ok(Err(problem)) if problem.status >= 500 => Err(problem),
        Ok(_) => Ok("ready"),
        Err(_) => Err(Problem::unavailable("busy", "the service's store does not answer", 10)),
    }
}

/// Figures in the OpenMetrics format, for Prometheus and its like.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "The figures.", body = String, content_type = "application/openmetrics-text"),
))]
async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.text())
}
