//! Settings in a foreign picture.

use axum::extract::State;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::extract::{Json, Small};
use super::models::models;
use crate::parameters::{Parameters, Restored};
use crate::problem::Problem;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(parameters))
}

/// A text from a picture.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ParametersRequest)]
struct Request {
    /// The text `parameters` of a PNG that AUTOMATIC1111's web interface or one of its kin made.
    text: String,
    /// The model that is meant where the text names none that is here.
    model: Option<String>,
}

/// What of another program's settings can be had here.
#[utoipa::path(post, path = "/api/v1/parameters", tag = "jobs", request_body = Request, responses(
    (status = 200, description = "A request for pictures, as far as it can be filled, and what could not be", body = Restored),
))]
async fn parameters(State(app): State<App>, Small(request): Small<Request>) -> Result<Json<Restored>, Problem> {
    let models = models(&app).await?;
    let chosen = request.model.and_then(|id| models.iter().find(|model| model.id == id));
    Ok(Json(Parameters::parse(&request.text).restored(&models, chosen)))
}
