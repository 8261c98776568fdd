//! Training runs: list, curves, samples, start, stop, resume.

use utoipa_axum::router::OpenApiRouter;

use super::App;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}
