//! What this service is: version, limits, the parts that samplers are made of.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Map, Value};
use undiffuse::math::prelude::{ScheduleKind, SolverKind, SpacingKind};
use undiffuse::math::registry::Entry;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Json;
use super::{App, document};
use crate::options::RequestLimits;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(about)).routes(routes!(parts)).routes(routes!(openapi))
}

/// What this service is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct About {
    /// The program's version.
    pub version: &'static str,
    /// Where it computes.
    pub device: String,
    /// Whether clients need a token.
    pub token_required: bool,
    /// Whether runs may be started, stopped and resumed.
    pub allow_train: bool,
    /// What one request may ask.
    pub limits: RequestLimits,
    /// What may be trained on, by name; empty unless runs may be started.
    pub datasets: Vec<String>,
    /// Ready-made settings of training, by name.
    pub presets: Vec<String>,
}

/// What this service is.
#[utoipa::path(get, path = "/api/v1/about", tag = "service", responses((status = 200, body = About)))]
async fn about(State(app): State<App>) -> Json<About> {
    let options = &app.options;
    let datasets = match &options.training {
        Some(training) => names(&training.datasets).await,
        None => Vec::new(),
    };
    Json(About {
        version: env!("CARGO_PKG_VERSION"),
        device: options.device_name.clone(),
        token_required: app.gate.is_locked(),
        allow_train: options.training.is_some(),
        limits: options.limits,
        datasets,
        presets: undiffuse::train::presets::ALL.iter().map(|(name, _)| (*name).to_owned()).collect(),
    })
}

/// Names of the entries of a folder in order; hidden ones, and names that are no text, are left out.
async fn names(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(mut entries) = tokio::fs::read_dir(folder).await {
        while let Ok(Some(entry)) = entries.next_entry().await {
            names.extend(entry.file_name().into_string().ok().filter(|name| !name.starts_with('.')));
        }
    }
    names.sort();
    names
}

/// A part that samplers and schedules are made of.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Part {
    /// Its name, which may be followed by options: `ddim:eta=0.5`.
    pub tag: &'static str,
    /// What it is, with its source.
    pub doc: &'static str,
    /// Its options and their defaults.
    #[schema(value_type = Object)]
    pub options: Map<String, Value>,
}

/// The parts that there are.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Parts {
    /// Which noise level belongs to which time.
    pub schedules: Vec<Part>,
    /// How to step.
    pub solvers: Vec<Part>,
    /// Which times a solver visits.
    pub spacings: Vec<Part>,
}

/// The schedules, solvers and spacings that there are.
#[utoipa::path(get, path = "/api/v1/parts", tag = "service", responses((status = 200, body = Parts)))]
async fn parts() -> Json<Parts> {
    fn all<T>(entries: &[Entry<T>], options: fn(&T) -> Map<String, Value>) -> Vec<Part> {
        let part = |e: &Entry<T>| Part { tag: e.tag, doc: e.doc, options: options(&(e.default)()) };
        entries.iter().map(part).collect()
    }
    Json(Parts {
        schedules: all(ScheduleKind::ALL, ScheduleKind::options),
        solvers: all(SolverKind::ALL, SolverKind::options),
        spacings: all(SpacingKind::ALL, SpacingKind::options),
    })
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "service", responses((status = 200, body = Object)))]
async fn openapi(State(app): State<App>) -> impl IntoResponse {
    let write = || document::document(app.gate.cookie()).to_json().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], app.document.get_or_init(write).clone())
}
