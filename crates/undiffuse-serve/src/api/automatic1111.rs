//! The common part of AUTOMATIC1111's API.

use utoipa_axum::router::OpenApiRouter;

use super::App;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}
