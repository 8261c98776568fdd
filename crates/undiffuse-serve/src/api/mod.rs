//! The API: one file a part, each with its `routes()`; this table is all that the server knows of them.

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

use crate::engine::Engine;
use crate::options::Options;
use crate::problem::Problem;

/// What every handler is given. A clone is another handle.
#[derive(Clone)]
pub struct App {
    /// Jobs.
    pub engine: Engine,
    /// What the service was told when it started.
    pub options: Arc<Options>,
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
    /// Models.
    models
    /// Jobs: submit, watch, fetch, cancel, list, delete.
    jobs
    /// Pictures in one call.
    generate
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

/// Work that takes the processor or the disk for a while, on a thread of its own.
pub(crate) async fn working<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Problem::internal(format!("the work on this request broke down: {e}")))
}
