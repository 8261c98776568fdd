//! The forward process: curves of schedules, noise.

use utoipa_axum::router::OpenApiRouter;

use super::App;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}
