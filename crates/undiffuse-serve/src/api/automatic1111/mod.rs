//! The common part of AUTOMATIC1111's API.

mod desk;
mod request;

use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use desk::Desk;
pub use request::Request;

/// What made the pictures.
const PROGRAM: &str = concat!("undiffuse ", env!("CARGO_PKG_VERSION"));

use super::answers::around;
use super::extract::{Caller, Json, Query, Small};
use super::generate::{Pngs, follow, pngs};
use super::loras::{LoraInfo, loras};
use super::models::models;
use super::{App, working};
use crate::budget::Client;
use crate::job::{Generate, Job, JobState, Made, ModelInfo, Update};
use crate::parameters::Parameters;
use crate::problem::{PROBLEM_JSON, Problem};
use crate::samplers;
use desk::Work;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(txt2img))
        .routes(routes!(img2img))
        .routes(routes!(progress))
        .routes(routes!(interrupt))
        .routes(routes!(samplers))
        .routes(routes!(schedulers))
        .routes(routes!(sd_models))
        .routes(routes!(sd_loras))
        .routes(routes!(get_options, set_options))
}

/// Pictures.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Automatic1111Images)]
struct Images {
    /// PNGs in base64.
    images: Vec<String>,
    /// The request without its pictures.
    parameters: Request,
    /// JSON as a text: seeds and settings.
    info: String,
}

/// Pictures from noise. Going away cancels them.
#[utoipa::path(post, path = "/sdapi/v1/txt2img", tag = "automatic1111", request_body = Request, responses(
    (status = 200, description = "The pictures; those that were finished, after an interruption", body = Images),
    (status = 404, description = "There is no such model", body = Problem, content_type = PROBLEM_JSON),
    (status = 409, description = "The job was deleted", body = Problem, content_type = PROBLEM_JSON),
    (status = 422, description = "It cannot be fulfilled", body = Problem, content_type = PROBLEM_JSON),
    (status = 429, description = "The queue is full", body = Problem, content_type = PROBLEM_JSON),
))]
async fn txt2img(
    State(app): State<App>,
    Caller(client): Caller,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    let without = Request { init_images: None, mask: None, ..request };
    make(&app, &client, without).await
}

/// Pictures from a picture. Going away cancels them.
#[utoipa::path(post, path = "/sdapi/v1/img2img", tag = "automatic1111", request_body = Request, responses(
    (status = 200, description = "The pictures; those that were finished, after an interruption", body = Images),
    (status = 404, description = "There is no picture to start from, or no such model", body = Problem, content_type = PROBLEM_JSON),
    (status = 409, description = "The job was deleted", body = Problem, content_type = PROBLEM_JSON),
    (status = 422, description = "It cannot be fulfilled", body = Problem, content_type = PROBLEM_JSON),
    (status = 429, description = "The queue is full", body = Problem, content_type = PROBLEM_JSON),
))]
async fn img2img(
    State(app): State<App>,
    Caller(client): Caller,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    if request.init_images.as_ref().is_none_or(Vec::is_empty) {
        // The status of the original.
        return Err(Problem {
            field: Some("init_images".into()),
            ..Problem::not_found("init image not found: give one in `init_images`")
        });
    }
    make(&app, &client, request).await
}

async fn make(app: &App, client: &Client, request: Request) -> Result<Response, Problem> {
    let began = Instant::now();
    let chosen = request.checkpoint().map(str::to_owned).or_else(|| app.desk.checkpoint(client));
    let model = find(models(app).await?, chosen.as_deref())?;
    let limits = app.options.limits;
    let engine = app.engine.clone();
    let (request, model, generate) = working(app, move || {
        // It may unpack a mask.
        let generate = engine.alone(|| request.order(&model, &limits, super::openai::any_seed))?;
        Ok::<_, Problem>((request, model, generate))
    })
    .await??;
    let steps = generate.steps.unwrap_or(model.defaults.steps);
    let job = app.engine.submit(generate.clone(), client.clone(), None).await.map_err(|e| request.blamed(e))?;
    let work = Work { job: job.id.clone(), began, n: job.n, steps, progress: None, interrupted: false };
    let busy = app.desk.begin(client, work);
    let see = |update: &Update| {
        if let Update::Progress(progress) = update {
            busy.at(progress);
        }
    };
    let job = follow(&app.engine, &job.id, see).await?;
    match (job.state, job.error.clone()) {
        (JobState::Failed, Some(error)) => return Err(request.blamed(error)),
        (JobState::Failed, None) => return Err(Problem::internal("the job failed and left no word why")),
        _ => {}
    }
    let pngs = match request.send_images {
        Some(false) => Pngs::none(app, client)?,
        _ => pngs(app, client, &job).await?,
    };
    let info = info(&request, &generate, &model, &job).to_string();
    let around = around(&Images { images: Vec::new(), parameters: request.echoed(), info }, "images")?;
    Ok(pngs.into_json(around, |_, png| serde_json::to_string(&png)))
}

/// The model that is meant; names may be followed by a hash in brackets.
fn find(models: Vec<ModelInfo>, asked: Option<&str>) -> Result<ModelInfo, Problem> {
    let ids: Vec<String> = models.iter().map(|model| model.id.clone()).collect();
    let listed = if ids.is_empty() { "none yet: train one".to_owned() } else { ids.join(", ") };
    let Some(asked) = asked else {
        // As the original, which always has one loaded: the first.
        let none = || Problem::not_found("there is no model yet: train one");
        return models.into_iter().next().ok_or_else(none);
    };
    let id = asked.split_once(" [").map_or(asked, |(id, _)| id);
    models.into_iter().find(|model| model.id == id).ok_or_else(|| {
        let id: String = id.chars().take(80).collect();
        let detail = format!("there is no model `{id}`; there are: {listed}");
        Problem { field: Some("sd_model_checkpoint".into()), ..Problem::not_found(detail) }
    })
}

/// Seeds and settings as the original tells them.
fn info(request: &Request, generate: &Generate, model: &ModelInfo, job: &Job) -> Value {
    let (prompt, negative) = (request.prompt.clone().unwrap_or_default(), request.negative_prompt.clone());
    let [_, own_height, own_width] = model.shape;
    let (width, height) = (generate.width.unwrap_or(own_width), generate.height.unwrap_or(own_height));
    let steps = generate.steps.unwrap_or(model.defaults.steps);
    let cfg = generate.guidance.unwrap_or(model.defaults.guidance);
    let solver = generate.solver.as_ref().unwrap_or(&model.defaults.solver);
    let spacing = generate.spacing.as_ref().unwrap_or(&model.defaults.spacing);
    let sampler = request.sampler().map_or_else(|| solver.clone(), str::to_owned);
    let facts = |made: &Made| -> Map<String, Value> {
        let facts = [
            ("prompt", json!(made.shows.get("prompt").unwrap_or(&prompt))),
            ("negative", json!(negative)),
            ("steps", json!(steps)),
            ("solver", json!(solver)),
            ("spacing", json!(spacing)),
            ("guidance", json!(cfg)),
            ("seed", json!(made.seed)),
            ("model", json!(model.id)),
            ("strength", json!(generate.strength)),
            ("program", json!(PROGRAM)),
        ];
        facts.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    };
    let text = |made: &Made| Parameters::of(&facts(made), (width, height)).map(|p| p.to_string());
    json!({
        "prompt": prompt,
        "all_prompts": vec![&prompt; job.images.len()],
        "negative_prompt": negative.clone().unwrap_or_default(),
        "all_negative_prompts": vec![negative.clone().unwrap_or_default(); job.images.len()],
        "seed": generate.seed,
        "all_seeds": job.images.iter().map(|made| made.seed).collect::<Vec<_>>(),
        "classes": job.images.iter().map(Made::asked).collect::<Vec<_>>(),
        "width": width,
        "height": height,
        "sampler_name": sampler,
        "scheduler": spacing,
        "cfg_scale": cfg,
        "steps": steps,
        "batch_size": request.batch_size.unwrap_or(1),
        "denoising_strength": generate.strength,
        "sd_model_name": model.id,
        "job_id": job.id,
        "comments": job.notes,
        "infotexts": job.images.iter().map(text).collect::<Vec<_>>(),
    })
}

/// How far this client's pictures are.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Automatic1111Progress)]
struct Progress {
    /// The share that is done, 0 when nothing is being made.
    progress: f64,
    /// Seconds that are likely left.
    eta_relative: f64,
    /// What is being done.
    state: ProgressState,
    /// The model's present guess, a PNG in base64.
    current_image: Option<String>,
    /// Nothing.
    textinfo: Option<String>,
}

/// What is being done.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
#[schema(as = Automatic1111State)]
struct ProgressState {
    /// Never.
    skipped: bool,
    /// Whether it was interrupted.
    interrupted: bool,
    /// The job's id, or nothing.
    job: String,
    /// How many pictures.
    job_count: usize,
    /// How many are finished.
    job_no: usize,
    /// Steps done for the pictures that are being made.
    sampling_step: usize,
    /// Steps for each picture.
    sampling_steps: usize,
}

/// What to leave out.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ProgressQuery {
    /// Whether to leave out the picture.
    skip_current_image: Option<bool>,
}

/// How far this client's pictures are; the oldest call's where several are under way.
#[utoipa::path(get, path = "/sdapi/v1/progress", tag = "automatic1111", params(ProgressQuery), responses(
    (status = 200, description = "How far", body = Progress),
))]
async fn progress(
    State(app): State<App>,
    Caller(client): Caller,
    Query(query): Query<ProgressQuery>,
) -> Json<Progress> {
    let Some(work) = app.desk.current(&client) else {
        let state = ProgressState::default();
        return Json(Progress { progress: 0.0, eta_relative: 0.0, state, current_image: None, textinfo: None });
    };
    let (share, seconds) = (work.share(), work.began.elapsed().as_secs_f64());
    let heard = work.progress.as_ref();
    let step = heard.map_or(0, |p| p.row * work.steps / p.rows.max(1));
    let preview = heard.and_then(|p| p.preview.as_deref()).filter(|_| query.skip_current_image != Some(true));
    Json(Progress {
        progress: share,
        eta_relative: if share > 0.0 { seconds * (1.0 - share) / share } else { 0.0 },
        state: ProgressState {
            skipped: false,
            interrupted: work.interrupted,
            job: work.job.clone(),
            job_count: work.n,
            job_no: heard.map_or(0, |p| p.done),
            sampling_step: step,
            sampling_steps: work.steps,
        },
        // The original sends bare base64.
        current_image: preview.map(|url| url.split_once(',').map_or(url, |(_, data)| data).to_owned()),
        textinfo: None,
    })
}

/// End what is being made for this client; the calls that wait answer with what is finished.
#[utoipa::path(post, path = "/sdapi/v1/interrupt", tag = "automatic1111", responses(
    (status = 200, description = "It ends", body = Object),
))]
async fn interrupt(State(app): State<App>, Caller(client): Caller) -> Json<Value> {
    for job in app.desk.interrupt(&client) {
        // One that has ended meanwhile needs no end.
        let _ = app.engine.cancel(&job).await;
    }
    Json(json!({}))
}

/// A sampler.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Automatic1111Sampler)]
struct Sampler {
    /// Its name.
    name: &'static str,
    /// Other names.
    aliases: Vec<&'static str>,
    /// `solver`: what it is here.
    #[schema(value_type = Object)]
    options: Value,
}

/// The samplers by the names that they have there.
#[utoipa::path(get, path = "/sdapi/v1/samplers", tag = "automatic1111", responses(
    (status = 200, description = "The samplers", body = Vec<Sampler>),
))]
async fn samplers() -> Json<Vec<Sampler>> {
    let sampler = |name: &samplers::Name| Sampler {
        name: name.label,
        aliases: name.aliases.iter().copied().chain([name.tag]).collect(),
        options: json!({ "solver": name.tag }),
    };
    Json(samplers::SAMPLERS.iter().map(sampler).collect())
}

/// A scheduler.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Automatic1111Scheduler)]
struct Scheduler {
    /// Its name for programs.
    name: String,
    /// Its name for people.
    label: &'static str,
    /// Other names.
    aliases: Vec<&'static str>,
}

/// The schedulers by the names that they have there.
#[utoipa::path(get, path = "/sdapi/v1/schedulers", tag = "automatic1111", responses(
    (status = 200, description = "The schedulers", body = Vec<Scheduler>),
))]
async fn schedulers() -> Json<Vec<Scheduler>> {
    let automatic = Scheduler { name: "automatic".into(), label: "Automatic", aliases: Vec::new() };
    let scheduler = |name: &samplers::Name| Scheduler {
        name: name.aliases.first().map_or_else(|| name.label.to_lowercase(), |&alias| alias.to_owned()),
        label: name.label,
        aliases: name.aliases.iter().copied().chain([name.tag]).collect(),
    };
    Json([automatic].into_iter().chain(samplers::SCHEDULERS.iter().map(scheduler)).collect())
}

/// A model.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Automatic1111Model)]
struct Model {
    /// What `sd_model_checkpoint` may say.
    title: String,
    /// Its id.
    model_name: String,
    /// Nothing.
    hash: Option<String>,
    /// Nothing.
    sha256: Option<String>,
    /// Its id: where it lies is nobody's business.
    filename: String,
    /// Nothing.
    config: Option<String>,
}

/// The models.
#[utoipa::path(get, path = "/sdapi/v1/sd-models", tag = "automatic1111", responses(
    (status = 200, description = "The models", body = Vec<Model>),
))]
async fn sd_models(State(app): State<App>) -> Result<Json<Vec<Model>>, Problem> {
    let model = |ModelInfo { id, .. }| Model {
        title: id.clone(),
        model_name: id.clone(),
        hash: None,
        sha256: None,
        filename: id,
        config: None,
    };
    Ok(Json(models(&app).await?.into_iter().map(model).collect()))
}

/// A LoRA file.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Automatic1111Lora)]
struct Lora {
    /// What prompts call it.
    name: String,
    /// The same.
    alias: String,
    /// The name of its file: where it lies is nobody's business.
    path: String,
    /// Nothing.
    #[schema(value_type = Object)]
    metadata: Value,
}

/// The LoRA files that prompts can name.
#[utoipa::path(get, path = "/sdapi/v1/loras", tag = "automatic1111", responses(
    (status = 200, description = "The LoRA files", body = Vec<Lora>),
))]
async fn sd_loras(State(app): State<App>) -> Result<Json<Vec<Lora>>, Problem> {
    let lora = |LoraInfo { name, file }: LoraInfo| Lora { alias: name.clone(), name, path: file, metadata: json!({}) };
    Ok(Json(loras(&app).await?.into_iter().map(lora).collect()))
}

/// Options, of which there is one.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
#[schema(as = Automatic1111Options)]
struct Options {
    /// The model that this client's pictures are made by.
    sd_model_checkpoint: Option<String>,
    /// `png`.
    samples_format: Option<String>,
}

/// This client's options.
#[utoipa::path(get, path = "/sdapi/v1/options", tag = "automatic1111", responses(
    (status = 200, description = "The options", body = Options),
))]
async fn get_options(State(app): State<App>, Caller(client): Caller) -> Result<Json<Options>, Problem> {
    let chosen = app.desk.checkpoint(&client);
    let model = find(models(&app).await?, chosen.as_deref()).ok().map(|model| model.id);
    Ok(Json(Options { sd_model_checkpoint: model, samples_format: Some("png".into()) }))
}

/// Choose the model for this client. Other options are taken and not used.
#[utoipa::path(post, path = "/sdapi/v1/options", tag = "automatic1111", request_body = Options, responses(
    (status = 200, description = "It is chosen", body = Object),
    (status = 404, description = "There is no such model", body = Problem, content_type = PROBLEM_JSON),
))]
async fn set_options(
    State(app): State<App>,
    Caller(client): Caller,
    Small(options): Small<Options>,
) -> Result<Json<Value>, Problem> {
    if let Some(asked) = options.sd_model_checkpoint {
        let model = find(models(&app).await?, Some(&asked))?;
        app.desk.choose(&client, model.id);
    }
    Ok(Json(json!({})))
}
