//! Pictures in one call.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::stream;
use serde::Serialize;
use tokio::runtime::Handle;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answers::{around, streamed};
use super::extract::{Caller, Json};
use crate::budget::{Client, Permit};
use crate::engine::Engine;
use crate::job::{Generate, Job, JobState, Made, Update};
use crate::problem::Problem;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(generate))
}

/// Bytes of PNGs that one answer may hold.
const ANSWER: u64 = 64 << 20;

/// Pictures and how they came about.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Generated {
    /// The job's id; it is in the list of jobs like any other.
    pub id: String,
    /// The model's id.
    pub model: String,
    /// Seconds from the request to the last picture.
    pub seconds: f64,
    /// What is to be said of the request, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The pictures in order.
    pub images: Vec<Picture>,
}

/// A picture within an answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Picture {
    /// Its number in the job, from 0.
    pub index: usize,
    /// Its seed.
    pub seed: u64,
    /// What it shows, as a request asks for it, a word under the name of the field, and what guidance led away from.
    #[serde(flatten)]
    #[schema(ignore)]
    pub shows: BTreeMap<String, String>,
    /// The PNG in base64.
    pub png: String,
}

/// Ask for pictures and wait for them. Going away cancels the job; it stays in the list of jobs.
#[utoipa::path(post, path = "/api/v1/generate", tag = "jobs", request_body = Generate, responses(
    (status = 200, description = "The pictures", body = Generated),
    (status = 404, description = "There is no such model.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The job was cancelled by someone else.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "The queue is full; `retry_after` says when to try again.", body = Problem,
     content_type = "application/problem+json"),
))]
async fn generate(
    State(app): State<App>,
    Caller(client): Caller,
    Json(request): Json<Generate>,
) -> Result<Response, Problem> {
    let job = finish(&app.engine, request, client.clone()).await?;
    let pngs = pngs(&app, &client, &job).await?;
    let seconds = job.finished.map_or(0.0, |finished| finished - job.created);
    let (id, model, notes) = (job.id.clone(), job.model.clone(), job.notes.clone());
    let around = around(&Generated { id, model, seconds, notes, images: Vec::new() }, "images")?;
    Ok(pngs.into_json(around, move |k, png| {
        let Made { index, seed, shows, .. } = job.images[k].clone();
        serde_json::to_string(&Picture { index, seed, shows, png })
    }))
}

/// Submits a job and waits until it is done. Dropping this, as happens when the client goes away, cancels the job.
///
/// # Errors
/// What [`Engine::submit`] refuses, why the job failed, 409 when it was cancelled, and 503 when the service ends before it does.
pub async fn finish(engine: &Engine, request: Generate, client: Client) -> Result<Job, Problem> {
    let job = engine.submit(request, client, None).await?;
    let job = follow(engine, &job.id, |_| {}).await?;
    match (job.state, job.error.clone()) {
        (JobState::Done, _) => Ok(job),
        (JobState::Cancelled, _) => Err(cancelled()),
        (_, Some(error)) => Err(error),
        (_, None) => Err(Problem::internal("the job failed and left no word why")),
    }
}

fn cancelled() -> Problem {
    Problem::new(StatusCode::CONFLICT, "cancelled", "the job was cancelled while this call waited")
}

/// Waits until a job has ended, well or not; `see` is told what happens to it. Dropping this cancels the job.
///
/// # Errors
/// 409 when the job has been deleted, and 503 when the service ends before it does.
pub async fn follow(engine: &Engine, id: &str, mut see: impl FnMut(&Update)) -> Result<Job, Problem> {
    let guard = CancelOnDrop { engine, id };
    let mut updates =
        engine.watch(id).await.map_err(|problem| if problem.status == 404 { cancelled() } else { problem })?;
    let mut last = None;
    while let Some(update) = updates.recv().await {
        see(&update);
        if let Update::State(job) = update {
            last = Some(job);
        }
    }
    std::mem::forget(guard);
    match last {
        Some(job) if job.state.is_final() => Ok(*job),
        // Handed back to the store: it will be done after the restart.
        _ => {
            let detail = format!("the service ends; job `{id}` is kept and goes on when it is back");
            Err(Problem::unavailable("closing", detail, 10))
        }
    }
}

/// The PNGs of a finished job, in the order of [`Job::images`], counted in the budget.
pub(crate) struct Pngs {
    pngs: Vec<Vec<u8>>,
    permit: Permit,
}

impl Pngs {
    /// None of them.
    ///
    /// # Errors
    /// As for a budget.
    pub(crate) fn none(app: &App, client: &str) -> Result<Self, Problem> {
        Ok(Self { pngs: Vec::new(), permit: app.engine.budget().take(client, 0)? })
    }

    /// An answer in JSON whose list lies between [`around`]'s two parts: `item` writes a picture, given its number and its
    /// PNG in base64, when the client takes it.
    pub(crate) fn into_json(
        self,
        [before, after]: [String; 2],
        item: impl Fn(usize, String) -> serde_json::Result<String> + Send + 'static,
    ) -> Response {
        let items = self.pngs.into_iter().enumerate().map(move |(k, png)| {
            let comma = if k > 0 { "," } else { "" };
            item(k, BASE64_STANDARD.encode(png)).map(|item| Bytes::from(format!("{comma}{item}")))
        });
        let all = std::iter::once(Ok(Bytes::from(before))).chain(items).chain([Ok(Bytes::from(after))]);
        streamed("application/json", self.permit, stream::iter(all))
    }
}

/// Reads the PNGs of a finished job.
///
/// # Errors
/// 422 when they are too large for one answer, 409 when the job has been deleted, 503 when the service holds too much.
pub(crate) async fn pngs(app: &App, client: &str, job: &Job) -> Result<Pngs, Problem> {
    let kept = |problem: Problem| Problem {
        detail: format!("{}; the pictures are made and lie under /api/v1/jobs/{}", problem.detail, job.id),
        ..problem
    };
    let mut all = Pngs::none(app, client)?;
    for made in &job.images {
        let turn = app.turn().await.map_err(kept)?;
        let png = app.engine.image(&job.id, made.index).await.map_err(|problem| match problem.status {
            404 => Problem::new(StatusCode::CONFLICT, "deleted", "the job was deleted while its pictures were fetched"),
            _ => kept(problem),
        })?;
        if all.permit.bytes() + png.len() as u64 > ANSWER {
            let detail = format!("the pictures are more than {} MiB", ANSWER >> 20);
            return Err(kept(Problem::invalid("n", detail)));
        }
        all.permit.grow(png.len() as u64).map_err(kept)?;
        drop(turn);
        all.pngs.push(png);
    }
    Ok(all)
}

struct CancelOnDrop<'a> {
    engine: &'a Engine,
    id: &'a str,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let (engine, id) = (self.engine.clone(), self.id.to_owned());
        // When the service ends, it is not the client who goes away: the job is kept for the next start.
        if !engine.is_open() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { engine.cancel(&id).await });
        }
    }
}
