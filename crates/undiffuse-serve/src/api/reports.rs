//! Evaluation reports, and two of them side by side.

use std::path::PathBuf;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Json, Path, Query};
use super::{App, working_alone};
use crate::problem::{PROBLEM_JSON, Problem};
use crate::reports::{self, CompareError, Comparison, NotComparableProblem, ReportList};

/// A report's page brings its style and its pictures along. It may run nothing, ask for nothing and is of no origin, so that
/// whatever somebody wrote into a report stays text.
const SANDBOX: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_reports))
        .routes(routes!(compare_reports))
        .routes(routes!(get_report))
        .routes(routes!(report_page))
}

/// Something of the reports, which may be large, on a thread that may wait for the disk.
async fn of<T: Send + 'static>(app: &App, work: impl FnOnce(PathBuf) -> T + Send + 'static) -> Result<T, Problem> {
    let root = app.options.reports.clone();
    working_alone(app, move || work(root)).await
}

/// The evaluation reports.
#[utoipa::path(get, path = "/api/v1/reports", tag = "reports", responses((status = 200, description = "The reports", body = ReportList)))]
async fn list_reports(State(app): State<App>) -> Result<Json<ReportList>, Problem> {
    of(&app, |root| reports::list(&root)).await.map(Json)
}

/// A whole report, as `undiffuse eval` wrote it.
#[utoipa::path(get, path = "/api/v1/reports/{id}", tag = "reports", params(("id" = String, Path, description = "The report")), responses(
    (status = 200, description = "The report", body = Object),
    (status = 422, description = "It cannot be read", body = Problem, content_type = PROBLEM_JSON),
))]
async fn get_report(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Problem> {
    let text = of(&app, move |root| reports::json(&root, &id)).await??;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// The page of a report.
#[utoipa::path(get, path = "/api/v1/reports/{id}/html", tag = "reports", params(("id" = String, Path, description = "The report")), responses(
    (status = 200, description = "The page", body = String, content_type = "text/html"),
))]
async fn report_page(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Problem> {
    let page = of(&app, move |root| reports::page(&root, &id)).await??;
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, SANDBOX)];
    Ok((headers, page).into_response())
}

/// Which two.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Two {
    /// The first report, by id.
    a: String,
    /// The second.
    b: String,
}

/// Two reports side by side, if they were made by the same protocol.
#[utoipa::path(get, path = "/api/v1/reports/compare", tag = "reports", params(Two), responses(
    (status = 200, description = "The figures that both have", body = Comparison),
    (status = 404, description = "There is no such report", body = Problem, content_type = PROBLEM_JSON),
    (status = 409, description = "Their protocols differ", body = NotComparableProblem, content_type = PROBLEM_JSON),
))]
async fn compare_reports(State(app): State<App>, Query(two): Query<Two>) -> Result<Response, Problem> {
    match of(&app, move |root| reports::compare(&root, &two.a, &two.b)).await? {
        Ok(comparison) => Ok(Json(comparison).into_response()),
        Err(CompareError::Problem(problem)) => Err(*problem),
        Err(CompareError::NotComparable(problem)) => {
            let headers = [(header::CONTENT_TYPE, PROBLEM_JSON)];
            Ok((StatusCode::CONFLICT, headers, Json(problem)).into_response())
        }
    }
}
