//! Models.

use axum::extract::State;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::extract::{Json, Path};
use crate::job::ModelInfo;
use crate::problem::Problem;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_models)).routes(routes!(get_model))
}

/// Models that pictures can be asked of.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ModelList {
    /// One entry a model.
    pub models: Vec<ModelInfo>,
}

/// Models that pictures can be asked of.
#[utoipa::path(get, path = "/api/v1/models", tag = "models", responses((status = 200, body = ModelList)))]
async fn list_models(State(app): State<App>) -> Result<Json<ModelList>, Problem> {
    Ok(Json(ModelList { models: models(&app).await? }))
}

/// One model.
#[utoipa::path(get, path = "/api/v1/models/{id}", tag = "models", responses((status = 200, body = ModelInfo)), params(
    ("id" = String, Path, description = "The model's id."),
))]
async fn get_model(State(app): State<App>, Path(id): Path<String>) -> Result<Json<ModelInfo>, Problem> {
    let model = models(&app).await?.into_iter().find(|model| model.id == id);
    model.map(Json).ok_or_else(|| Problem::not_found(format!("there is no model `{id}`; /api/v1/models lists them")))
}

/// The models, looked for on a thread that may wait for the disk.
pub(crate) async fn models(app: &App) -> Result<Vec<ModelInfo>, Problem> {
    let engine = app.engine.clone();
    super::working(app, move || engine.models()).await
}
