//! Training runs: list, curves, samples, start, stop, resume.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use undiffuse::memory;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Json, Path, Query, Small};
use super::models::models;
use super::{App, events, working};
use crate::engine::Engine;
use crate::job::ModelInfo;
use crate::problem::{PROBLEM_JSON, Problem};
use crate::runs::{Curves, Examined, Extend, RunInfo, Runs, Seen, Start};

/// How often a watched run is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The most points of a curve.
const POINTS: usize = 5000;
/// The most lines of a log.
const LINES: usize = 5000;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_runs, start_run))
        .routes(routes!(get_run))
        .routes(routes!(run_metrics))
        .routes(routes!(run_sample))
        .routes(routes!(run_log))
        .routes(routes!(run_events))
        .routes(routes!(run_doctor))
        .routes(routes!(stop_run))
        .routes(routes!(resume_run))
}

/// Training runs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RunList {
    /// The one that changed last first.
    pub runs: Vec<RunInfo>,
}

/// A training run with its configuration.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RunDetail {
    /// Where it stands.
    #[serde(flatten)]
    pub run: RunInfo,
    /// Its configuration, TOML.
    pub config: String,
    /// Numbers in its network, once there is a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Names of the classes of its model.
    pub classes: Vec<String>,
}

/// Something of the runs, on a thread that may wait for the disk.
async fn of<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Runs) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let runs = Arc::clone(&app.runs);
    working(app, move || work(&runs)).await?
}

/// A run's model is named only where pictures can be asked of it.
fn with_model(run: &mut RunInfo, models: &[ModelInfo]) {
    run.model = models.iter().find(|model| model.run.as_deref() == Some(&run.id)).map(|model| model.id.clone());
}

/// The training runs.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", responses((status = 200, description = "The runs", body = RunList)))]
async fn list_runs(State(app): State<App>) -> Result<Json<RunList>, Problem> {
    let mut runs = of(&app, |runs| Ok(runs.list())).await?;
    let models = models(&app).await?;
    runs.iter_mut().for_each(|run| with_model(run, &models));
    Ok(Json(RunList { runs }))
}

/// A training run.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = String, Path, description = "The run")), responses(
    (status = 200, description = "The run", body = RunDetail),
))]
async fn get_run(State(app): State<App>, Path(id): Path<String>) -> Result<Json<RunDetail>, Problem> {
    let (mut run, config) = of(&app, move |runs| Ok((runs.info(&id)?, runs.config(&id)?))).await?;
    let models = models(&app).await?;
    with_model(&mut run, &models);
    let model = models.into_iter().find(|model| Some(&model.id) == run.model.as_ref());
    let (parameters, classes) = model.map(|m| (m.parameters, m.classes)).unzip();
    Ok(Json(RunDetail { run, config, parameters, classes: classes.unwrap_or_default() }))
}

/// How finely.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CurvesQuery {
    /// The most points of a curve; 500 when not given.
    #[param(minimum = 1, maximum = 5000)]
    points: Option<usize>,
}

/// The curves of a run.
#[utoipa::path(get, path = "/api/v1/runs/{id}/metrics", tag = "runs",
    params(("id" = String, Path, description = "The run"), CurvesQuery), responses(
    (status = 200, description = "The curves", body = Curves),
))]
async fn run_metrics(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<CurvesQuery>,
) -> Result<Json<Curves>, Problem> {
    let points = bounded("points", query.points.unwrap_or(500), POINTS)?;
    of(&app, move |runs| runs.curves(&id, points)).await.map(Json)
}

fn bounded(field: &str, value: usize, most: usize) -> Result<usize, Problem> {
    match (1..=most).contains(&value) {
        true => Ok(value),
        false => Err(Problem::invalid(field, format!("{value} is out of bounds: give 1 to {most}"))),
    }
}

/// A grid of samples.
#[utoipa::path(get, path = "/api/v1/runs/{id}/samples/{nimg}", tag = "runs",
    params(("id" = String, Path, description = "The run"), ("nimg" = u64, Path, description = "Pictures seen")), responses(
    (status = 200, description = "The grid", body = [u8], content_type = "image/png"),
))]
async fn run_sample(State(app): State<App>, Path((id, nimg)): Path<(String, u64)>) -> Result<Response, Problem> {
    let png = of(&app, move |runs| runs.sample(&id, nimg)).await?;
    // A run of the same name may be made again, so not for ever.
    let headers = [(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "private, max-age=60")];
    Ok((headers, png).into_response())
}

/// How much.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LogQuery {
    /// The most lines; 200 when not given.
    #[param(minimum = 1, maximum = 5000)]
    lines: Option<usize>,
}

/// The end of what a training that was started from here has written.
#[utoipa::path(get, path = "/api/v1/runs/{id}/log", tag = "runs",
    params(("id" = String, Path, description = "The run"), LogQuery), responses(
    (status = 200, description = "The log; empty if the run was started elsewhere", body = String, content_type = "text/plain"),
))]
async fn run_log(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Problem> {
    let lines = bounded("lines", query.lines.unwrap_or(200), LINES)?;
    let text = of(&app, move |runs| runs.log(&id, lines)).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Server-sent events: `run` with the run as it is, whenever it has changed. The stream ends when the run is gone.
#[utoipa::path(get, path = "/api/v1/runs/{id}/events", tag = "runs", params(("id" = String, Path, description = "The run")), responses(
    (status = 200, description = "The events", body = super::events::Sent, content_type = "text/event-stream"),
))]
async fn run_events(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Problem> {
    let own = id.clone();
    let first = of(&app, move |runs| runs.info(&own)).await?;
    let watched = app.clone();
    let next = move |last: Option<RunInfo>| {
        let (app, id, first) = (watched.clone(), id.clone(), first.clone());
        async move {
            let Some(last) = last else { return Some((events::event("run", &first), Some(first))) };
            loop {
                tokio::time::sleep(LOOK).await;
                let now = look(&app).await.ok()?.get(&id)?.clone();
                if now != last {
                    return Some((events::event("run", &now), Some(now)));
                }
            }
        }
    };
    Ok(events::stream(&app, stream::unfold(None, next)))
}

/// All runs as they were a moment ago: one look is for all who watch.
async fn look(app: &App) -> Result<Arc<Seen>, Problem> {
    match app.runs.seen(LOOK) {
        Some(seen) => Ok(seen),
        None => of(app, |runs| Ok(runs.look(LOOK))).await,
    }
}

/// What ails a run. Looking takes a while; it is done for one run at a time, and again only when the run has changed.
#[utoipa::path(get, path = "/api/v1/runs/{id}/doctor", tag = "runs", params(("id" = String, Path, description = "The run")), responses(
    (status = 200, description = "What was found", body = Examined),
    (status = 422, description = "The run cannot be read", body = Problem, content_type = PROBLEM_JSON),
    (status = 503, description = "Another run is being looked at", body = Problem, content_type = PROBLEM_JSON),
))]
async fn run_doctor(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Examined>, Problem> {
    let (engine, memory, runs) = (app.engine.clone(), app.options.memory, Arc::clone(&app.runs));
    // It takes no turn: there is one doctor, who has no queue.
    let look = move || runs.examine(&id, |needed| room(&engine, memory, needed));
    let examined = tokio::task::spawn_blocking(look).await;
    examined.map_err(|e| Problem::internal(format!("the doctor broke down: {e}")))?.map(Json)
}

/// Whether there are so many bytes beside the models in memory.
fn room(engine: &Engine, memory: Option<u64>, needed: u64) -> Result<(), Problem> {
    let (all, taken) = (memory.or_else(memory::spare).unwrap_or(u64::MAX), engine.gauges().model_bytes);
    if needed.saturating_add(taken) <= all {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let detail = format!(
        "looking at this run needs {} MiB, {} of {} are taken by models; `undiffuse doctor` looks at it outside of the service",
        mib(needed),
        mib(taken),
        mib(all)
    );
    Err(Problem::unavailable("no_memory", detail, 30))
}

/// Start a training. It goes on when the client goes away.
#[utoipa::path(post, path = "/api/v1/runs", tag = "runs", request_body = Start, responses(
    (status = 201, description = "It has begun", body = RunInfo),
    (status = 403, description = "This service starts no trainings", body = Problem, content_type = PROBLEM_JSON),
    (status = 409, description = "A training is running, or the name is taken", body = Problem, content_type = PROBLEM_JSON),
    (status = 422, description = "The trainer refuses; its own words", body = Problem, content_type = PROBLEM_JSON),
))]
async fn start_run(
    State(app): State<App>,
    Small(request): Small<Start>,
) -> Result<(StatusCode, Json<RunInfo>), Problem> {
    let runs = Arc::clone(&app.runs);
    let run = kept(async move { runs.start(request).await }).await?;
    Ok((StatusCode::CREATED, Json(run)))
}

/// Work that is finished even when the client goes away in between.
async fn kept<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work).await.map_err(|e| Problem::internal(format!("the work on this request broke down: {e}")))?
}

/// Ask a training to save and end.
#[utoipa::path(post, path = "/api/v1/runs/{id}/stop", tag = "runs", params(("id" = String, Path, description = "The run")), responses(
    (status = 202, description = "It has been asked", body = RunInfo),
    (status = 403, description = "This service stops no trainings", body = Problem, content_type = PROBLEM_JSON),
    (status = 409, description = "It is not being trained, or not by this service", body = Problem, content_type = PROBLEM_JSON),
))]
async fn stop_run(State(app): State<App>, Path(id): Path<String>) -> Result<(StatusCode, Json<RunInfo>), Problem> {
    let run = of(&app, move |runs| runs.stop(&id)).await?;
    Ok((StatusCode::ACCEPTED, Json(run)))
}

/// Go on with a run, to its planned end or a later one.
#[utoipa::path(post, path = "/api/v1/runs/{id}/resume", tag = "runs", request_body = Option<Extend>,
    params(("id" = String, Path, description = "The run")), responses(
    (status = 202, description = "It goes on", body = RunInfo),
    (status = 403, description = "This service starts no trainings", body = Problem, content_type = PROBLEM_JSON),
    (status = 409, description = "A training is running, or the run has reached its length and no more is given", body = Problem, content_type = PROBLEM_JSON),
    (status = 422, description = "The trainer refuses; its own words", body = Problem, content_type = PROBLEM_JSON),
))]
async fn resume_run(
    State(app): State<App>,
    Path(id): Path<String>,
    extension: Option<Small<Extend>>,
) -> Result<(StatusCode, Json<RunInfo>), Problem> {
    let runs = Arc::clone(&app.runs);
    let extension = extension.map(|Small(extension)| extension).unwrap_or_default();
    let run = kept(async move { runs.resume(&id, extension).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(run)))
}
