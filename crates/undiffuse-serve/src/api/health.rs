//! Health and figures for monitoring.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use crate::problem::Problem;

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

/// Whether the service takes jobs.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "It does.", body = String, content_type = "text/plain"),
))]
async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    app.engine.ready().map(|()| "ready")
}

/// Figures in the OpenMetrics format, for Prometheus and its like.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "The figures.", body = String, content_type = "application/openmetrics-text"),
))]
async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.text())
}
