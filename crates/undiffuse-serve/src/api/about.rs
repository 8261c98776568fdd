//! What this service is: version, limits, the parts that samplers are made of.

use utoipa_axum::router::OpenApiRouter;

use super::App;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}
