//! Diffusion in two dimensions.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::extract::{Json, Small};
use crate::problem::{PROBLEM_JSON, Problem};
use crate::toy::{self, Toy, ToyRequest};

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(walk))
}

/// Diffusion in two dimensions: points, walkers, what the denoiser takes them for, the score.
///
/// The data are Gaussians at the points, so that the denoiser and the score are exact; the walk is the solver's own plan.
#[utoipa::path(post, path = "/api/v1/toy", operation_id = "toy", tag = "ink", request_body = ToyRequest, responses(
    (status = 200, description = "The walk", body = Toy),
    (status = 422, description = "Unknown words, sizes out of bounds", body = Problem, content_type = PROBLEM_JSON),
))]
async fn walk(State(app): State<App>, Small(request): Small<ToyRequest>) -> Result<Json<Toy>, Problem> {
    super::working(&app, move || toy::toy(&request)).await?.map(Json)
}
