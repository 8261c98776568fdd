//! The forward process: curves of schedules, noise.

use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use undiffuse::forward;
use undiffuse::math::noise;
use undiffuse::math::prelude::ScheduleKind;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answers::streamed;
use super::extract::{Caller, Json, Query};
use super::models::models;
use crate::problem::{PROBLEM_JSON, Problem};
use crate::words;

/// The most points of a curve.
const POINTS: usize = 4096;
/// The most numbers of noise in one answer, and never more than four channels of the largest picture.
const COUNT: usize = 4_000_000;
/// Numbers that are made at a time.
const BLOCK: usize = 16_384;

/// The routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(curve)).routes(routes!(noise_values))
}

/// Which curve.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CurveQuery {
    /// A schedule with its options, such as `cosine` or `vp:beta_max=10`.
    schedule: Option<String>,
    /// The schedule of the model with this id, instead.
    model: Option<String>,
    /// How many times.
    #[param(minimum = 2, maximum = 4096, default = 200)]
    points: Option<usize>,
}

/// A schedule along its trained times, from clean to noisy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Curve {
    /// The schedule in words.
    pub schedule: String,
    /// Its number of timesteps, where it is a table of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discrete: Option<usize>,
    /// Whether the times are spaced geometrically: time is sigma then.
    pub geometric: bool,
    /// Times in the schedule's own unit.
    pub times: Vec<f64>,
    /// Share of the picture at each time.
    pub alpha: Vec<f64>,
    /// Share of the noise at each time.
    pub sigma: Vec<f64>,
    /// `ln(alpha² / sigma²)`; `null` where it is infinite.
    pub log_snr: Vec<Option<f64>>,
    /// The share of the variance that is signal, for data of unit variance.
    pub share: Vec<f64>,
    /// The factor that keeps `x_t` visible where a schedule lets it grow.
    pub exposure: Vec<f64>,
}

impl Curve {
    /// The curve at `points` times, two at least.
    pub fn of(schedule: &ScheduleKind, points: usize) -> Self {
        let times = forward::times(&**schedule, points);
        let levels: Vec<_> = times.iter().map(|&t| schedule.level(t)).collect();
        let (clean, noisy) = (levels[0], levels[levels.len() - 1]);
        Self {
            schedule: schedule.to_string(),
            discrete: schedule.discrete_steps(),
            geometric: clean.alpha == noisy.alpha,
            alpha: levels.iter().map(|l| l.alpha).collect(),
            sigma: levels.iter().map(|l| l.sigma).collect(),
            log_snr: levels.iter().map(|l| Some(l.log_snr()).filter(|l| l.is_finite())).collect(),
            share: levels.iter().map(|&l| forward::signal_share(l)).collect(),
            exposure: levels.iter().map(|&l| forward::exposure(l)).collect(),
            times,
        }
    }

    /// Whether all of it can be written as numbers.
    fn is_finite(&self) -> bool {
        [&self.times, &self.alpha, &self.sigma, &self.share, &self.exposure]
            .into_iter()
            .flatten()
            .all(|v| v.is_finite())
    }
}

/// The curves of a schedule.
#[utoipa::path(get, path = "/api/v1/schedules/curve", tag = "ink", params(CurveQuery), responses(
    (status = 200, description = "The curve", body = Curve),
    (status = 404, description = "No such model", body = Problem, content_type = PROBLEM_JSON),
    (status = 422, description = "No such schedule, or too many points", body = Problem, content_type = PROBLEM_JSON),
))]
async fn curve(State(app): State<App>, Query(query): Query<CurveQuery>) -> Result<Json<Curve>, Problem> {
    let points = query.points.unwrap_or(200);
    if !(2..=POINTS).contains(&points) {
        return Err(Problem::invalid("points", format!("{points} points: give 2 to {POINTS}")));
    }
    let schedule = match (query.schedule, query.model) {
        (Some(_), Some(_)) => return Err(Problem::invalid("model", "give a schedule or a model, not both")),
        (schedule, None) => words::schedule(schedule.as_deref().unwrap_or("cosine"))?,
        // The model's own file may hold more than a client may ask for.
        (None, Some(id)) => {
            let models = models(&app).await?;
            let model = models.iter().find(|model| model.id == id).ok_or_else(|| {
                Problem::not_found(format!("there is no model `{id}`; /api/v1/models lists those there are"))
            })?;
            model
                .schedule
                .parse()
                .map_err(|e: undiffuse::math::registry::KindError| Problem::internal(e.to_string()))?
        }
    };
    let curve = Curve::of(&schedule, points);
    match curve.is_finite() {
        true => Ok(Json(curve)),
        false => Err(Problem::invalid(
            "schedule",
            format!("`{schedule}` has levels that are no numbers: use smaller values"),
        )),
    }
}

/// Which noise.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NoiseQuery {
    /// The seed.
    #[param(default = 0)]
    seed: Option<u64>,
    /// How many numbers.
    #[param(minimum = 1, maximum = 4_000_000, default = 784)]
    count: Option<usize>,
}

/// Standard normal noise: what a picture of this seed starts from, and what the forward process adds.
///
/// Little-endian 32-bit floats in the order `[C, H, W]`.
#[utoipa::path(get, path = "/api/v1/noise", operation_id = "noise", tag = "ink", params(NoiseQuery), responses(
    (status = 200, description = "The numbers", body = [u8], content_type = "application/octet-stream"),
    (status = 422, description = "Too many numbers", body = Problem, content_type = PROBLEM_JSON),
))]
async fn noise_values(
    State(app): State<App>,
    Caller(client): Caller,
    Query(query): Query<NoiseQuery>,
) -> Result<impl IntoResponse, Problem> {
    let (count, most) = (query.count.unwrap_or(784), COUNT.min(4 * app.options.limits.pixels));
    if !(1..=most).contains(&count) {
        return Err(Problem::invalid("count", format!("{count} numbers: give 1 to {most}")));
    }
    let seed = query.seed.unwrap_or(0);
    // No more of it is in memory than the client has asked for.
    let permit = app.engine.budget().take(&client, 4 * count.min(BLOCK) as u64)?;
    let blocks = (0..count).step_by(BLOCK).map(move |at| bytes(seed, at, BLOCK.min(count - at)));
    let blocks = stream::iter(blocks.map(|bytes| Ok::<_, Infallible>(Bytes::from(bytes))));
    // The same for ever: it is a function of the seed.
    let kept = [(header::CACHE_CONTROL, "private, max-age=604800, immutable")];
    let length = [(header::CONTENT_LENGTH, (4 * count).to_string())];
    Ok((kept, length, streamed("application/octet-stream", permit, blocks)))
}

/// `count` little-endian floats of the seed's noise, from number `at`.
fn bytes(seed: u64, at: usize, count: usize) -> Vec<u8> {
    let mut values = vec![0f32; count];
    noise::normal(seed, 0, at as u64, &mut values);
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `alphas_cumprod` of diffusers' DDPMScheduler with its defaults: 0.9999 at 0, 4.0358e-5 at 999.
    #[test]
    fn a_curve_is_the_schedule() {
        let curve = Curve::of(&words::schedule("linear").unwrap(), 4);
        assert_eq!(curve.times, [0.0, 333.0, 666.0, 999.0]);
        assert!((curve.share[0] - 0.9999).abs() < 1e-12 && (curve.share[3] - 4.0358e-5).abs() < 1e-9);
        assert!((curve.alpha[1].powi(2) + curve.sigma[1].powi(2) - 1.0).abs() < 1e-12);
        assert_eq!((curve.discrete, curve.geometric), (Some(1000), false));
        assert!(Curve::of(&words::schedule("edm").unwrap(), 9).geometric);
        // Pure noise has no finite log-SNR, and JSON no infinity.
        assert_eq!(Curve::of(&words::schedule("flow").unwrap(), 3).log_snr[2], None);
        for entry in ScheduleKind::ALL {
            let curve = Curve::of(&(entry.default)(), 33);
            let text = serde_json::to_string(&curve).unwrap();
            assert_eq!(serde_json::from_str::<Curve>(&text).unwrap(), curve, "{}", entry.tag);
        }
    }

    #[test]
    fn noise_is_that_of_the_forward_process() {
        let mut eps = vec![0f32; 37];
        noise::normal(5, 0, 0, &mut eps);
        let bytes = [bytes(5, 0, 13), bytes(5, 13, 24)].concat();
        let read: Vec<f32> = bytes.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        assert_eq!(read, eps);
    }
}
