//! The API: one file a part, each with its `routes()`; this table is all that the server knows of them.

mod answers;
pub mod document;
pub mod events;
pub mod extract;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use utoipa_axum::router::OpenApiRouter;

use crate::engine::Engine;
use crate::gate::Gate;
use crate::guard::{self, Guard};
use crate::metrics::{self, Metrics};
use crate::options::ServeOptions;
use crate::problem::Problem;
use crate::runs::Runs;

/// What every handler is given. A clone is another handle.
#[derive(Clone)]
pub struct App {
    /// Jobs.
    pub engine: Engine,
    /// What the service was told when it started.
    pub options: Arc<ServeOptions>,
    /// Who may come in.
    pub gate: Arc<Gate>,
    /// Figures for monitoring.
    pub metrics: Arc<Metrics>,
    /// Training runs.
    pub runs: Arc<Runs>,
    /// Clients of AUTOMATIC1111's API.
    pub desk: Arc<automatic1111::Desk>,
    /// The OpenAPI document, once somebody has asked for it.
    pub(crate) document: Arc<OnceLock<String>>,
    turns: Arc<Semaphore>,
    closed: watch::Receiver<bool>,
}

impl App {
    /// For this engine; `closed` becomes true when the service has ended its work.
    pub fn new(engine: Engine, options: ServeOptions, gate: Gate, closed: watch::Receiver<bool>) -> Self {
        let metrics = Arc::new(Metrics::new(engine.clone()));
        let runs = Arc::new(Runs::new(&options));
        Self {
            engine,
            options: Arc::new(options),
            gate: Arc::new(gate),
            metrics,
            runs,
            desk: Arc::default(),
            document: Arc::default(),
            turns: Arc::new(answers::turns()),
            closed,
        }
    }

    /// What stands before every handler.
    pub fn guard(&self) -> Guard {
        Guard::new(Arc::clone(&self.gate), Arc::clone(&self.options))
    }

    /// Ready when the service has ended its work, and streams are to end as well.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closed = self.closed.clone();
        async move {
            let _ = closed.wait_for(|closed| *closed).await;
        }
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

macro_rules! parts {
    ($($(#[doc = $doc:literal])+ $module:ident)+) => {
        $($(#[doc = $doc])+ pub mod $module;)+

        /// Every route with its documentation.
        pub fn routes() -> OpenApiRouter<App> {
            OpenApiRouter::new()$(.merge($module::routes()))+
        }
    };
}

parts! {
    /// What this service is: version, limits, the parts that samplers are made of.
    about
    /// A token once, a cookie from then on.
    session
    /// Models.
    models
    /// LoRA files.
    loras
    /// Jobs: submit, watch, fetch, cancel, list, delete.
    jobs
    /// All finished pictures of a job in one file.
    zip
    /// Pictures in one call.
    generate
    /// Settings in a foreign picture.
    parameters
    /// Training runs: list, curves, samples, start, stop, resume.
    runs
    /// Evaluation reports, and two of them side by side.
    reports
    /// The forward process: curves of schedules, noise.
    ink
    /// Diffusion in two dimensions.
    toy
    /// OpenAI's images API.
    openai
    /// The common part of AUTOMATIC1111's API.
    automatic1111
    /// Health and figures for monitoring.
    health
}

/// All that the service answers, the guard before it; `studio` is a folder in the place of the studio's own files.
pub fn router(app: App, studio: Option<PathBuf>) -> Router {
    // Pictures are compressed already; events, which the default leaves out as well, have to go at once.
    let worth_it = DefaultPredicate::new().and(NotForContentType::const_new("application/zip"));
    Router::from(routes())
        .merge(crate::studio::routes(studio))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), answers::count))
        .layer(CompressionLayer::new().compress_when(worth_it))
        .layer(from_fn_with_state(app.guard(), guard::guard))
        .layer(from_fn_with_state(Arc::clone(&app.metrics), metrics::measure))
        .with_state(app)
}

async fn unknown(uri: Uri) -> Problem {
    let path = uri.path();
    Problem::not_found(format!("there is nothing at `{path}`; /api/openapi.json says what there is"))
}

async fn wrong_method(method: axum::http::Method, uri: Uri) -> Problem {
    let detail = format!("{method} is not for `{}`; the header Allow says what is", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", detail)
}

/// Work that takes the processor or the disk for a while, on a thread of its own, when its turn comes. It must not wait for a
/// client: threads are few.
pub(crate) async fn working<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let turn = app.turn().await?;
    on_a_thread(turn, work).await
}

/// As [`working`], for work that takes so much memory that nothing else of the kind is done at the same time.
pub(crate) async fn working_alone<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let turns = app.every_turn().await?;
    on_a_thread(turns, work).await
}

async fn on_a_thread<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let work = move || {
        // Held to the end of the work, also where whoever asked for it has gone away.
        let _turn = turn;
        work()
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Problem::internal(format!("the work on this request broke down: {e}")))
}
