//! Jobs: submit, watch, fetch, cancel, list, delete.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Caller, Json, Path, Query};
use super::{App, events};
use crate::engine::JobQuery;
use crate::job::{Frame, Generate, Job, JobState, Update};
use crate::problem::Problem;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(submit_job, list_jobs))
        .routes(routes!(get_job, delete_job))
        .routes(routes!(cancel_job))
        .routes(routes!(job_events))
        .routes(routes!(job_image))
        .routes(routes!(job_frames))
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Ask for pictures. The job is in the store when this answers: it survives whatever happens to the service.
#[utoipa::path(post, path = "/api/v1/jobs", tag = "jobs", request_body = Generate, responses(
    (status = 202, description = "The job waits.", body = Job, headers(("Location" = String, description = "Where the job is."))),
    (status = 404, description = "There is no such model.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The idempotency key was used for another request.", body = Problem,
     content_type = "application/problem+json"),
    (status = 429, description = "The queue is full; `retry_after` says when to try again.", body = Problem,
     content_type = "application/problem+json"),
), params(
    ("Idempotency-Key" = Option<String>, Header, max_length = 200,
     description = "Of your choice: the same key with the same request gets the same job, so that a request can be sent again."),
))]
async fn submit_job(
    State(app): State<App>,
    Caller(client): Caller,
    headers: HeaderMap,
    Json(request): Json<Generate>,
) -> Result<Response, Problem> {
    let key = headers.get(IDEMPOTENCY_KEY).map(key).transpose()?;
    let job = app.engine.submit(request, client, key).await?;
    let location = format!("/api/v1/jobs/{}", job.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(job)).into_response())
}

fn key(value: &HeaderValue) -> Result<String, Problem> {
    let key = value.to_str().ok().filter(|key| (1..=200).contains(&key.len()));
    key.map(str::to_owned)
        .ok_or_else(|| Problem::invalid("Idempotency-Key", "must be 1 to 200 visible ASCII characters"))
}

/// Which jobs to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only those in this state.
    state: Option<JobState>,
    /// Only those older than the job with this id: the last one of the page before.
    before: Option<String>,
    /// At most so many; 50 when not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
}

/// Some jobs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Jobs {
    /// The newest first.
    pub jobs: Vec<Job>,
}

/// Jobs, the newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", params(Which), responses((status = 200, body = Jobs)))]
async fn list_jobs(State(app): State<App>, Query(which): Query<Which>) -> Result<Json<Jobs>, Problem> {
    let limit = which.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(Problem::invalid("limit", "must be 1 to 200; `before` gets the next page"));
    }
    let query = JobQuery { state: which.state, before: which.before, limit };
    let _alone = app.every_turn().await?;
    Ok(Json(Jobs { jobs: app.engine.jobs(query).await? }))
}

/// A job.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", responses((status = 200, body = Job)), params(
    ("id" = String, Path, description = "The job's id."),
))]
async fn get_job(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Job>, Problem> {
    app.engine.job(&id).await.map(Json)
}

/// Cancel a job and forget it and its pictures.
#[utoipa::path(delete, path = "/api/v1/jobs/{id}", tag = "jobs", responses((status = 204, description = "It is gone.")), params(
    ("id" = String, Path, description = "The job's id."),
))]
async fn delete_job(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    app.engine.delete(&id).await.map(|()| StatusCode::NO_CONTENT)
}

/// End a job. Pictures that are finished stay; a job that has ended stays as it is.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs", responses((status = 200, body = Job)), params(
    ("id" = String, Path, description = "The job's id."),
))]
async fn cancel_job(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Job>, Problem> {
    app.engine.cancel(&id).await.map(Json)
}

/// Watch a job: events `state` (a Job), `progress` (a JobProgress), `frame` (a Frame) and `image` (a Made). What has happened before
/// comes first, so a stream that broke off is simply opened again. The stream ends after a final state.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/events", tag = "jobs", responses(
    (status = 200, description = "Server-sent events.", body = super::events::Sent, content_type = "text/event-stream"),
), params(
    ("id" = String, Path, description = "The job's id."),
))]
async fn job_events(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Problem> {
    let updates = app.engine.watch(&id).await?;
    let updates = stream::unfold(updates, |mut updates| async move {
        let event = match updates.recv().await? {
            Update::State(job) => events::event("state", &job),
            Update::Progress(progress) => events::event("progress", &progress),
            Update::Frame(frame) => events::event("frame", &*frame),
            Update::Image(made) => events::event("image", &made),
        };
        Some((event, updates))
    });
    Ok(events::stream(&app, updates))
}

/// A finished picture as PNG; its text chunk `undiffuse` has the seed and the settings.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/images/{index}", tag = "jobs", responses(
    (status = 200, description = "The picture; it never changes.", body = Vec<u8>, content_type = "image/png"),
    (status = 304, description = "The picture that you have is this one."),
), params(
    ("id" = String, Path, description = "The job's id."),
    ("index" = usize, Path, description = "The picture's number in the job, from 0."),
))]
async fn job_image(
    State(app): State<App>,
    Path((id, index)): Path<(String, usize)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let turn = app.turn().await?;
    let png = app.engine.image(&id, index).await?;
    drop(turn);
    // A job's id is never given again, so its address is a picture's identity.
    let tag = HeaderValue::try_from(format!("\"{id}-{index}\"")).map_err(|e| Problem::internal(e.to_string()))?;
    let kept = HeaderValue::from_static("private, max-age=31536000, immutable");
    let cache = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, kept)];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| crate::studio::is_match(known, &tag)) {
        return Ok((StatusCode::NOT_MODIFIED, cache).into_response());
    }
    Ok((cache, [(header::CONTENT_TYPE, "image/png")], png).into_response())
}

/// The steps of a job.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Frames {
    /// From noise to picture; empty unless the job was asked for `frames`.
    pub frames: Vec<Frame>,
}

/// The steps of a job that was asked for `frames`.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/frames", tag = "jobs", responses((status = 200, body = Frames)), params(
    ("id" = String, Path, description = "The job's id."),
))]
async fn job_frames(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Frames>, Problem> {
    let _alone = app.every_turn().await?;
    app.engine.frames(&id).await.map(|frames| Json(Frames { frames }))
}
