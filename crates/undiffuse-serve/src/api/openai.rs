//! OpenAI's images API: what its official clients send and expect.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use undiffuse::condition::Conditioner;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answers::around;
use super::extract::{Caller, Json, Path};
use super::generate::{finish, pngs};
use super::models::models;
use crate::job::{Generate, Made, ModelInfo};
use crate::problem::{PROBLEM_JSON, Problem};
use crate::prompt::{self, Asked};

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(images_generations))
        .routes(routes!(openai_models))
        .routes(routes!(openai_model))
}

/// A request for pictures.
///
/// Below `user` are words of our own, which the official client sends as `extra_body`.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = OpenAiImagesRequest)]
struct Request {
    /// What the pictures should show, for models that take words; for others a class as `class` of `/api/v1/generate` names it, or
    /// a sentence that names one, and nothing for all of them in turn.
    prompt: Option<String>,
    /// The model; may be left out where there is one only.
    model: Option<String>,
    /// How many pictures.
    #[schema(minimum = 1)]
    n: Option<usize>,
    /// Width and height, such as `512x768`; `auto` is the model's own.
    size: Option<String>,
    /// `url`, which is what is given when nothing is asked for, or `b64_json`.
    response_format: Option<Format>,
    /// `png`, which is all there is.
    output_format: Option<String>,
    /// Not here.
    stream: Option<bool>,
    /// Taken and not used, as are the ones up to `user`.
    quality: Option<String>,
    /// Not used.
    style: Option<String>,
    /// Not used.
    background: Option<String>,
    /// Not used.
    moderation: Option<String>,
    /// Not used.
    output_compression: Option<u64>,
    /// Not used.
    partial_images: Option<u64>,
    /// Not used.
    safety_identifier: Option<String>,
    /// Not used.
    user: Option<String>,
    /// Seed of the first picture; another one each time when not given.
    seed: Option<u64>,
    /// Steps of the solver.
    steps: Option<usize>,
    /// The solver.
    solver: Option<String>,
    /// Which times it visits.
    spacing: Option<String>,
    /// Classifier-free guidance.
    guidance: Option<f64>,
    /// What guidance leads away from, for models that take words.
    negative_prompt: Option<String>,
}

/// How pictures are handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OpenAiResponseFormat)]
enum Format {
    /// As addresses on this server.
    #[default]
    Url,
    /// In the answer, in base64.
    B64Json,
}

/// Pictures.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = OpenAiImages)]
struct Images {
    /// When they were made, in seconds since 1970.
    created: u64,
    /// One entry a picture.
    data: Vec<Image>,
    /// `png`.
    output_format: &'static str,
    /// Width and height.
    size: String,
}

/// A picture.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = OpenAiImage)]
struct Image {
    /// The PNG in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<String>,
    /// Where the PNG is.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// What the prompt was taken for.
    revised_prompt: String,
}

/// A refusal in OpenAI's shape.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = OpenAiError)]
struct Refusal {
    /// The refusal.
    error: Reason,
    #[serde(skip)]
    #[schema(ignore)]
    problem: Option<Problem>,
}

/// Why something was refused.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = OpenAiReason)]
struct Reason {
    /// What is wrong and what would be right.
    message: String,
    /// `invalid_request_error`, `rate_limit_error` or `server_error`.
    r#type: &'static str,
    /// The part of the request that is meant.
    param: Option<String>,
    /// A short word for programs.
    code: Option<String>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let r#type = match problem.status {
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let code = match problem.code.as_str() {
            "not_found" => "model_not_found",
            other => other,
        };
        let reason =
            Reason { message: problem.detail.clone(), r#type, param: problem.field.clone(), code: Some(code.into()) };
        Self { error: reason, problem: Some(problem) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let problem = self.problem.clone().unwrap_or_else(|| Problem::internal(""));
        // OpenAI knows no 422, and clients try again what is answered with 409.
        let status = match problem.status() {
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT => StatusCode::BAD_REQUEST,
            status => status,
        };
        let retry = problem.retry_after.map(|seconds| (header::RETRY_AFTER, seconds.into()));
        (status, retry.into_iter().collect::<HeaderMap>(), Json(self)).into_response()
    }
}

/// Pictures, as OpenAI's API has it. Going away cancels them.
#[utoipa::path(post, path = "/v1/images/generations", tag = "openai", request_body = Request, responses(
    (status = 200, description = "The pictures", body = Images),
    (status = 400, description = "The request cannot be fulfilled", body = Refusal),
    (status = 404, description = "There is no such model", body = Refusal),
    (status = 408, description = "The body did not arrive in time", body = Refusal),
    (status = 413, description = "The body is too large", content((Refusal = "application/json"), (Problem = PROBLEM_JSON))),
    (status = 429, description = "The queue is full", content((Refusal = "application/json"), (Problem = PROBLEM_JSON))),
    (status = 500, description = "A fault of the service", content((Refusal = "application/json"), (Problem = PROBLEM_JSON))),
    (status = 503, description = "Not now", content((Refusal = "application/json"), (Problem = PROBLEM_JSON))),
))]
async fn images_generations(
    State(app): State<App>,
    Caller(client): Caller,
    headers: HeaderMap,
    request: Result<Json<Request>, Problem>,
) -> Result<Response, Refusal> {
    let Json(request) = request?;
    let model = find(models(&app).await?, request.model.as_deref())?;
    let format = request.response_format.unwrap_or_default();
    let (asked, generate) = order(request, &model)?;
    let [_, height, width] = model.shape;
    let (width, height) = (generate.width.unwrap_or(width), generate.height.unwrap_or(height));
    let job = finish(&app.engine, generate, client.clone()).await.map_err(blamed)?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    let images = |data| Images {
        created: job.finished.unwrap_or(job.created) as u64,
        data,
        output_format: "png",
        size: format!("{width}x{height}"),
    };
    let revised = |made: &Made| match &asked {
        Asked::Anything => "this model takes no prompt: it makes what it was trained on".into(),
        _ => made.asked().cloned().unwrap_or_default(),
    };
    if let Format::Url = format {
        let address = |made: &Made| Some(format!("http://{host}{}", made.url));
        let image = |made| Image { b64_json: None, url: address(made), revised_prompt: revised(made) };
        return Ok(Json(images(job.images.iter().map(image).collect())).into_response());
    }
    let pngs = pngs(&app, &client, &job).await?;
    let around = around(&images(Vec::new()), "data")?;
    let revised: Vec<String> = job.images.iter().map(revised).collect();
    Ok(pngs.into_json(around, move |k, png| {
        serde_json::to_string(&Image { b64_json: Some(png), url: None, revised_prompt: revised[k].clone() })
    }))
}

/// The model that is meant: the one asked for, or the only one.
fn find(models: Vec<ModelInfo>, asked: Option<&str>) -> Result<ModelInfo, Problem> {
    let ids: Vec<String> = models.iter().map(|model| model.id.clone()).collect();
    let listed = || if ids.is_empty() { "none yet: train one".to_owned() } else { ids.join(", ") };
    let not_found = |asked: &str| {
        let asked: String = asked.chars().take(80).collect();
        Problem {
            field: Some("model".into()),
            ..Problem::not_found(format!("there is no model `{asked}`; there are: {}", listed()))
        }
    };
    match asked {
        Some(id) => models.into_iter().find(|model| model.id == id).ok_or_else(|| not_found(id)),
        None if models.len() > 1 => Err(Problem::invalid("model", format!("name one of several models: {}", listed()))),
        None => models.into_iter().next().ok_or_else(|| Problem::not_found("there is no model yet: train one")),
    }
}

/// What is asked of the engine, and what the prompt was taken for.
fn order(request: Request, model: &ModelInfo) -> Result<(Asked, Generate), Problem> {
    if request.stream == Some(true) {
        return Err(Problem::invalid("stream", "answers are not streamed here; /api/v1/jobs has events"));
    }
    if request.output_format.is_some_and(|format| format != "png") {
        return Err(Problem::invalid("output_format", "pictures are `png` here"));
    }
    let (width, height) = size(request.size.as_deref(), model)?.unzip();
    let asked = prompt::read(request.prompt.as_deref().unwrap_or_default(), model);
    let asked = asked.map_err(|problem| Problem::invalid("prompt", problem))?;
    let negative = request.negative_prompt.filter(|_| model.takes_words()).unwrap_or_default();
    let generate = Generate {
        model: Some(model.id.clone()),
        n: request.n,
        seed: Some(request.seed.unwrap_or_else(any_seed)),
        steps: request.steps,
        solver: request.solver,
        spacing: request.spacing,
        guidance: request.guidance,
        width,
        height,
        asked: prompt::led_away(asked.asks(), &negative),
        ..Generate::default()
    };
    Ok((asked, generate))
}

/// Width and height; nothing for the model's own.
fn size(asked: Option<&str>, model: &ModelInfo) -> Result<Option<(usize, usize)>, Problem> {
    let [_, height, width] = model.shape;
    let Some(size) = asked.filter(|size| *size != "auto") else { return Ok(None) };
    let sides = size.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    match sides {
        Some(sides) => Ok(Some(sides).filter(|sides| *sides != (width, height))),
        None => {
            let size: String = size.chars().take(20).collect();
            Err(Problem::invalid("size", format!("`{size}` is no size: write `{width}x{height}`, or `auto`")))
        }
    }
}

/// A refusal of what was asked of the engine, in the words of this API.
fn blamed(problem: Problem) -> Problem {
    let theirs = problem.field.as_deref().and_then(|field| match field {
        "width" | "height" => Some("size"),
        "negative" => Some("negative_prompt"),
        field if Conditioner::FIELDS.iter().any(|known| known.name == field) => Some("prompt"),
        _ => None,
    });
    Problem { field: theirs.map(str::to_owned).or(problem.field), ..problem }
}

/// A seed of chance, small enough for every client's numbers.
pub(super) fn any_seed() -> u64 {
    getrandom::u32().unwrap_or_default().into()
}

/// A model.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = OpenAiModel)]
struct Model {
    /// Its id.
    id: String,
    /// `model`.
    object: &'static str,
    /// 0: it is not known.
    created: u64,
    /// `undiffuse`.
    owned_by: &'static str,
}

impl From<ModelInfo> for Model {
    fn from(model: ModelInfo) -> Self {
        Self { id: model.id, object: "model", created: 0, owned_by: "undiffuse" }
    }
}

/// Models.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = OpenAiModels)]
struct Models {
    /// `list`.
    object: &'static str,
    /// One entry a model.
    data: Vec<Model>,
}

/// The models, as OpenAI's API has it.
#[utoipa::path(get, path = "/v1/models", tag = "openai", responses((status = 200, description = "The models", body = Models)))]
async fn openai_models(State(app): State<App>) -> Result<Json<Models>, Refusal> {
    let data = models(&app).await?.into_iter().map(Model::from).collect();
    Ok(Json(Models { object: "list", data }))
}

/// A model, as OpenAI's API has it.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "openai", params(("id" = String, Path, description = "The model")), responses(
    (status = 200, description = "The model", body = Model),
    (status = 404, description = "There is no such model", body = Refusal),
))]
async fn openai_model(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Model>, Refusal> {
    Ok(Json(find(models(&app).await?, Some(&id))?.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::prompt::tests::{model, names, words};

    proptest! {
        #[test]
        fn every_class_can_be_asked_for(names in names()) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let model = model(&names, names.len());
            for (word, label) in words(&model) {
                let body = json!({ "prompt": word }).to_string();
                let (_, generate) = order(serde_json::from_str(&body).unwrap(), &model).unwrap();
                prop_assert_eq!(model.known().parse(&generate.asked.words("class")[0]), Ok(label), "{:?} of {:?}", word, names);
            }
        }
    }

    #[test]
    fn a_request_becomes_a_job() {
        let model = model(&["Bag", "Boot"], 2);
        let read = |text: &str| serde_json::from_str::<Request>(text).unwrap();
        let text =
            r#"{"prompt": "a boot", "n": 2, "size": "28x28", "quality": "hd", "user": "me", "seed": 7, "steps": 5}"#;
        let (asked, generate) = order(read(text), &model).unwrap();
        assert_eq!(asked, Asked::Class("Boot".into()));
        assert_eq!((generate.n, generate.seed, generate.steps), (Some(2), Some(7), Some(5)));
        assert_eq!((generate.model.as_deref(), generate.asked.words("class")), (Some("m"), &["Boot".to_owned()][..]));
        for (text, field) in [
            (r#"{"prompt": "a cat"}"#, "prompt"),
            (r#"{"size": "large"}"#, "size"),
            (r#"{"size": "8x-8"}"#, "size"),
            (r#"{"stream": true}"#, "stream"),
            (r#"{"output_format": "webp"}"#, "output_format"),
        ] {
            assert_eq!(order(read(text), &model).unwrap_err().field.as_deref(), Some(field));
        }
        let size = |size: &str| {
            let generate = order(read(&format!(r#"{{"size": "{size}"}}"#)), &model).unwrap().1;
            generate.width.zip(generate.height)
        };
        assert_eq!([size("auto"), size("28x28"), size("56x28")], [None, None, Some((56, 28))]);
        for (ours, theirs) in [("width", "size"), ("class", "prompt"), ("steps", "steps")] {
            assert_eq!(blamed(Problem::invalid(ours, "no")).field.as_deref(), Some(theirs));
        }
        // Two requests without a seed are two pictures.
        let seed = || order(read("{}"), &model).unwrap().1.seed;
        assert_ne!((seed(), seed()), (seed(), seed()));
        assert!(serde_json::from_str::<Request>(r#"{"n": "many"}"#).is_err());
    }

    #[test]
    fn refusals_have_openais_shape() {
        let refusal = Refusal::from(Problem::queue_full("full", 7));
        assert_eq!(refusal.error.r#type, "rate_limit_error");
        let response = refusal.into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (429, &axum::http::HeaderValue::from_static("7"))
        );
        assert_eq!(Refusal::from(Problem::invalid("size", "no")).into_response().status(), 400);
        assert_eq!(find(vec![], None).unwrap_err().status, 404);
        let two = || vec![model(&[], 0), model(&[], 0)];
        assert_eq!(find(two(), None).unwrap_err().field.as_deref(), Some("model"));
        assert_eq!(find(two(), Some("x")).unwrap_err().status, 404);
    }
}
