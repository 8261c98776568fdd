//! LoRA files.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::extract::Json;
use crate::loras::{SUFFIX, found};
use crate::problem::Problem;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_loras))
}

/// LoRA files that prompts can name.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LoraList {
    /// One entry a file, by name.
    pub loras: Vec<LoraInfo>,
}

/// A LoRA file.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LoraInfo {
    /// What prompts call it: `<lora:NAME:0.8>` adds it 0.8 times.
    pub name: String,
    /// The name of its file.
    pub file: String,
}

/// LoRA files that prompts can name. For which models they are shows when they are added to one.
#[utoipa::path(get, path = "/api/v1/loras", tag = "models", responses((status = 200, body = LoraList)))]
async fn list_loras(State(app): State<App>) -> Result<Json<LoraList>, Problem> {
    Ok(Json(LoraList { loras: loras(&app).await? }))
}

/// The files, looked for on a thread that may wait for the disk.
pub(crate) async fn loras(app: &App) -> Result<Vec<LoraInfo>, Problem> {
    let options = Arc::clone(&app.options);
    let info = |name| LoraInfo { file: format!("{name}{SUFFIX}"), name };
    super::working(app, move || found(options.loras.as_deref()).into_keys().map(info).collect()).await
}
