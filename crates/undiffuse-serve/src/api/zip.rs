//! All finished pictures of a job in one file.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

use super::App;
use super::answers::streamed;
use super::extract::{Caller, Path};
use crate::job::{Job, Made};
use crate::problem::Problem;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(job_zip))
}

/// What a file of no more than its end is at most, and what a picture takes beside itself.
const BESIDE: usize = 64 << 10;

/// All finished pictures of a job in one ZIP file.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/images.zip", tag = "jobs", responses(
    (status = 200, description = "The pictures, named by number, seed and class.", body = Vec<u8>, content_type = "application/zip"),
), params(
    ("id" = String, Path, description = "The job's id."),
))]
async fn job_zip(State(app): State<App>, Caller(client): Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let job = app.engine.job(&id).await?;
    let name = format!("attachment; filename=\"{}.zip\"", job.id);
    let name = HeaderValue::try_from(name).map_err(|e| Problem::internal(e.to_string()))?;
    let permit = app.engine.budget().take(&client, price(&app, &job).await?)?;
    let zip = streamed("application/zip", permit, pack(app, job));
    Ok(([(header::CONTENT_DISPOSITION, name)], zip).into_response())
}

/// What the file takes in memory on its way: one picture, and its copy in the file. Pictures of a job are of one size.
async fn price(app: &App, job: &Job) -> Result<u64, Problem> {
    let _turn = app.turn().await?;
    let first = match job.images.first() {
        Some(made) => app.engine.image(&job.id, made.index).await?.len(),
        None => 0,
    };
    Ok((2 * first + BESIDE) as u64)
}

/// The file, a picture at a time, each read when the client has taken the one before: no thread waits for a client. Where a
/// picture cannot be had the file breaks off, as a short one that looks whole would be taken for all there is.
fn pack(app: App, job: Job) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let sink = Sink::default();
    let begun = (0, Some(ZipWriter::new_stream(sink.clone())));
    stream::try_unfold(begun, move |(k, zip)| {
        let (app, job, sink) = (app.clone(), job.clone(), sink.clone());
        async move {
            let Some(mut zip) = zip else { return Ok(None) };
            let Some(made) = job.images.get(k) else {
                zip.finish()?.flush()?;
                return Ok(Some((sink.take(), (k, None))));
            };
            let png =
                app.engine.image(&job.id, made.index).await.map_err(|problem| io::Error::other(problem.detail))?;
            add(&mut zip, made, &png)?;
            Ok(Some((sink.take(), (k + 1, Some(zip)))))
        }
    })
}

fn add(zip: &mut ZipWriter<StreamWriter<Sink>>, made: &Made, png: &[u8]) -> io::Result<()> {
    let class = made.asked().into_iter().flat_map(|class| class.chars()).filter(|c| c.is_alphanumeric());
    let class: String = class.take(40).collect();
    let class = if class.is_empty() { class } else { format!("-{class}") };
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file(format!("{:04}-seed{}{class}.png", made.index, made.seed), options)?;
    zip.write_all(png)
}

/// What was written and not taken yet.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
