//! A request that has been checked against its model: everything that is the same for all pictures of a job.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use undiffuse::Model;
use undiffuse::burn::tensor::Tensor;
use undiffuse::condition::NEGATIVE;
use undiffuse::data::{self, Image, encode_png};
use undiffuse::denoise::{Cond, is_guided};
use undiffuse::math::prelude::Plan;
use undiffuse::math::spacing::GridError;
use undiffuse::model::{Origin, SampleDefaults};
use undiffuse::request::{self, SampleSettings, facts, mask_options};

use super::cost;
use super::models::{Loaded, Models};
use crate::job::Generate;
use crate::loras::Loras;
use crate::options::RequestLimits;
use crate::parameters::texts;
use crate::problem::Problem;

/// Most pictures of a job with frames.
const FRAMED: usize = 16;
/// Most pixel values in all frames of a job.
const FRAME_VALUES: usize = 1 << 23;
/// How much of the way is walked again from a picture, unless asked otherwise.
const STRENGTH: f64 = 0.6;

/// Most notes of a job.
const NOTES: usize = 8;

/// Longest word of a request: a solver with its options, an ask of a model whose own are short.
const LONGEST: usize = 200;
/// Most pixels of a picture that somebody hands in: a large camera's.
const HANDED: u64 = 1 << 24;

/// The pictures of a request, at the size and with the channels that the model makes of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestPictures {
    /// What to start from.
    pub init: Option<Image>,
    /// Where to paint.
    pub mask: Option<Image>,
}

impl RequestPictures {
    /// Takes the pictures out of a request, for pictures `[C, H, W]`.
    ///
    /// # Errors
    /// 422: no base64, no picture, too large, a mask that fits nothing.
    pub fn take(request: &mut Generate, [c, h, w]: [usize; 3], limits: &RequestLimits) -> Result<Self, Problem> {
        let plain = data::Options::default();
        let init = request.init_image.take().map(|text| from_base64("init_image", &text, plain, limits)).transpose()?;
        let mask = request.mask.take().map(|text| from_base64("mask", &text, mask_options(), limits)).transpose()?;
        match (&init, &mask) {
            (None, Some(_)) => {
                return Err(Problem::invalid("mask", "a mask needs `init_image`: the picture to keep outside of it"));
            }
            (Some(init), Some(mask)) if (init.width, init.height) != (mask.width, mask.height) => {
                let detail = format!(
                    "the mask is {}x{} pixels and the picture {}x{}: they must be of one size",
                    mask.width, mask.height, init.width, init.height
                );
                return Err(Problem::invalid("mask", detail));
            }
            _ => {}
        }
        let fit = |image: Image, channels| request::fit(&image.to_channels(channels), w, h);
        Ok(Self { init: init.map(|image| fit(image, c)), mask: mask.map(|image| fit(image, 1)) })
    }

    /// As PNG files of our own making, for the store.
    pub fn to_png(&self) -> [Option<Vec<u8>>; 2] {
        [&self.init, &self.mask].map(|image| image.as_ref().and_then(|image| encode_png(image, &[]).ok()))
    }

    /// What [`to_png`](Self::to_png) wrote.
    ///
    /// # Errors
    /// Bytes that are no picture.
    pub fn from_png([init, mask]: [Option<Vec<u8>>; 2]) -> Result<Self, String> {
        let decode = |bytes: Option<Vec<u8>>| {
            let decoded = bytes.map(|bytes| data::decode::decode(&bytes, &data::Options::default())).transpose();
            decoded.map(|decoded| decoded.map(|d| d.image)).map_err(|e| e.to_string())
        };
        Ok(Self { init: decode(init)?, mask: decode(mask)? })
    }
}

/// A picture in base64, in lines or in one, decoded within the limits.
///
/// # Errors
/// 422: no base64, no picture, too large.
pub(crate) fn from_base64(
    field: &'static str,
    text: &str,
    options: data::Options,
    limits: &RequestLimits,
) -> Result<Image, Problem> {
    let text = match text.trim_start().strip_prefix("data:") {
        Some(rest) => rest.split_once(";base64,").map(|(_, data)| data).unwrap_or_default(),
        None => text,
    };
    // Programs that write mail break lines [RFC 2045, section 6.8].
    let letters: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(letters).map_err(|e| {
        let how = "send the picture file as base64, with or without `data:image/png;base64,` before it";
        Problem::invalid(field, format!("not base64 ({e}); {how}"))
    })?;
    // Eight bytes a pixel are the most that a format has.
    let limits = data::Limits { pixels: HANDED, memory: 8 * HANDED, file: limits.body as u64 };
    let options = data::Options { limits, ..options };
    let decoded = data::decode::decode(&bytes, &options);
    decoded.map(|decoded| decoded.image).map_err(|e| Problem::invalid(field, e.to_string()))
}

/// A checked request.
pub struct Order {
    /// Whose batches the walks join.
    pub loaded: Arc<Loaded>,
    /// The model with the settings and the size of the request.
    pub model: Model,
    /// How it is sampled.
    pub settings: SampleDefaults,
    /// The steps.
    pub plan: Plan,
    /// One seed for each picture.
    pub seeds: Vec<u64>,
    /// What each picture should show.
    pub cond: Cond,
    /// What to start from, `[1, C, H, W]` in the model's pixel range.
    pub init: Option<Tensor<4>>,
    /// Where to paint, `[1, 1, H, W]`.
    pub mask: Option<Tensor<4>>,
    /// How much of the way is walked from `init`.
    strength: f64,
    /// Width and height, where they were asked for.
    size: Option<(usize, usize)>,
    /// Whether every step is kept.
    pub frames: bool,
    /// Pictures in one evaluation.
    pub batch: usize,
}

impl Order {
    /// Checks a request, whose pictures were taken out, against limits and model.
    ///
    /// # Errors
    /// 422 what the model or the limits do not allow; 503 a picture for which there is no memory.
    pub fn new(
        request: &Generate,
        pictures: &RequestPictures,
        loaded: Arc<Loaded>,
        models: &Models,
        limits: &RequestLimits,
    ) -> Result<Self, Problem> {
        let own = &loaded.model;
        short(request, own, limits)?;
        let seeds = seeds(request, limits)?;
        let settings = SampleSettings {
            solver: parse("solver", request.solver.as_deref())?,
            spacing: parse("spacing", request.spacing.as_deref())?,
            steps: request.steps,
            eta: finite("eta", request.eta)?,
            guidance: finite("guidance", request.guidance)?,
            guidance_rescale: request.guidance_rescale,
            guidance_interval: request.guidance_interval,
            clip_skip: request.clip_skip,
            emphasis: parse("emphasis", request.emphasis.as_deref())?,
        };
        let settings = settings.over(own)?;
        within("steps", settings.steps, limits.steps)?;
        if settings.solver.rises() {
            let detail =
                format!("`{}` ends in noise, not in a picture; use `undiffuse sample` for it", settings.solver);
            return Err(Problem::invalid("solver", detail));
        }
        let mut model = own.clone().with(settings.clone());
        short_walk(&model, limits)?;
        let size = size(request, &mut model, limits)?;
        let [_, height, width] = model.latent_shape();
        let cost = loaded.cost([height, width]);
        let strength = finite("strength", request.strength)?;
        match strength {
            Some(_) if pictures.init.is_none() => {
                return Err(Problem::invalid("strength", "it needs `init_image`: the picture to start from"));
            }
            Some(strength) if !(0.0..=1.0).contains(&strength) => {
                return Err(Problem::invalid("strength", format!("{strength} is not between 0 and 1")));
            }
            _ => {}
        }
        if model.paints() && pictures.mask.is_none() {
            let detail = "this model paints into pictures: give one in `init_image`, and where to paint in `mask`";
            return Err(Problem::invalid(if pictures.init.is_none() { "init_image" } else { "mask" }, detail));
        }
        let strength = strength.unwrap_or(STRENGTH);
        let plan = plan(&model, pictures.init.is_some().then_some(strength))?;
        if request.frames {
            within("n", seeds.len(), FRAMED)
                .map_err(|p| Problem { detail: format!("with `frames`: {}", p.detail), ..p })?;
            let values = preview_values(&model).saturating_mul(seeds.len() * (plan.rows.len() + 1));
            if values > FRAME_VALUES {
                let detail = "every step of these pictures is more than is kept; ask for fewer pictures or steps";
                return Err(Problem::invalid("frames", detail));
            }
        }
        let (asked, _) = Loras::take(&request.asked)?;
        let cond = asked.cond(&model.conditioner, seeds.len())?;
        let batch = models.pictures(&model, cost)?;
        Ok(Self {
            init: pictures.init.as_ref().map(|image| request::picture(&model, image)),
            mask: pictures.mask.as_ref().map(|image| request::mask(&model, image)),
            frames: request.frames,
            loaded,
            model,
            settings,
            plan,
            seeds,
            cond,
            strength,
            size,
            batch,
        })
    }

    /// Bytes that all its steps take, for a job with frames: two pictures a step in base64.
    pub fn frame_bytes(&self) -> u64 {
        let values = preview_values(&self.model) * self.seeds.len() * (self.plan.rows.len() + 1);
        if self.frames { values as u64 * 2 * 4 / 3 } else { 0 }
    }

    /// Places in a batch that a picture takes: more when it is large, twice as many when it is guided.
    pub fn weight(&self, limits: &RequestLimits) -> usize {
        let guided = self.model.conditioner.guides() && is_guided(self.settings.guidance, &self.cond);
        limits.batch.div_ceil(self.batch.max(1)) * if guided { 2 } else { 1 }
    }

    /// What picture `k` shows, as a request asks for it, a word under the name of the field, and what guidance leads away from.
    pub fn shows(&self, k: usize) -> BTreeMap<String, String> {
        let conditioner = &self.model.conditioner;
        let shown = conditioner.field().zip(self.cond.asks.get(k));
        let shown = shown.map(|(field, ask)| (field.name, self.loaded.loras.behind(&conditioner.print(ask))));
        let negative = request::negative(&self.model, &self.cond, k).map(|word| (NEGATIVE, word));
        shown.into_iter().chain(negative).map(|(name, word)| (name.to_owned(), word)).collect()
    }

    /// What is lost of what was asked for, in sentences.
    pub fn notes(&self) -> Vec<String> {
        let lost: BTreeSet<String> = self.cond.every().filter_map(|ask| self.model.conditioner.lost(ask)).collect();
        lost.into_iter().take(NOTES).collect()
    }

    /// What walks make of the picture that was handed in.
    pub fn origin(&self) -> Origin {
        let origin = self.init.clone().map(|init| self.model.origin(init, self.mask.clone(), self.strength));
        origin.unwrap_or_default()
    }

    /// The PNG of picture `k`, with what made it in its texts.
    ///
    /// # Errors
    /// A picture that cannot be encoded.
    pub fn png(&self, k: usize, image: &Image) -> Result<Vec<u8>, String> {
        let mut facts = facts(&self.model, &self.loaded.id, &self.settings, self.seeds[k], &self.cond, k);
        let more = json!({
            "lora": Some(&self.loaded.told).filter(|told| !told.is_empty()),
            "size": self.size.map(|(w, h)| format!("{w}x{h}")),
            "init_image": self.init.as_ref().map(|_| true),
            "strength": self.init.as_ref().map(|_| self.strength),
            "mask": self.mask.as_ref().map(|_| true),
        });
        facts.extend(more.as_object().cloned().unwrap_or_default());
        encode_png(image, &texts(&facts, (image.width, image.height))).map_err(|e| e.to_string())
    }
}

/// Numbers of a picture as it is shown on the way.
fn preview_values(model: &Model) -> usize {
    model.preview_shape().iter().product()
}

fn seeds(request: &Generate, limits: &RequestLimits) -> Result<Vec<u64>, Problem> {
    let n = request.n.or(request.seeds.as_ref().map(Vec::len)).unwrap_or(1);
    within(if request.n.is_some() { "n" } else { "seeds" }, n, limits.n)?;
    match &request.seeds {
        Some(_) if request.seed.is_some() => Err(Problem::invalid("seed", "give `seed` or `seeds`, not both")),
        Some(seeds) if seeds.len() != n => {
            let detail = format!("{} seeds for {n} pictures; leave `n` out or make them as many", seeds.len());
            Err(Problem::invalid("seeds", detail))
        }
        Some(seeds) => Ok(seeds.clone()),
        None => Ok((0..n as u64).map(|k| request.seed.unwrap_or(0).wrapping_add(k)).collect()),
    }
}

/// Refuses words so long that handling them would be work.
fn short(request: &Generate, model: &Model, limits: &RequestLimits) -> Result<(), Problem> {
    let words = [("solver", &request.solver), ("spacing", &request.spacing), ("emphasis", &request.emphasis)];
    let words = words.into_iter().filter_map(|(field, word)| Some((field, word.as_ref()?, LONGEST)));
    let longest = LONGEST.max(model.conditioner.longest().min(limits.prompt));
    let asked = request.asked.0.iter().flat_map(|(field, words)| words.iter().map(move |word| (*field, word, longest)));
    let letters = |word: &str| if word.len() > longest { word.chars().count() } else { word.len() };
    if let Some((field, word, most)) = words.chain(asked).find(|(_, word, most)| letters(word) > *most) {
        return Err(Problem::invalid(field, format!("{} letters, and {most} are allowed here", letters(word))));
    }
    let void = |(_, words): &(_, &Vec<String>)| words.iter().any(|word| word.contains('\0'));
    if let Some((field, _)) = request.asked.0.iter().find(void) {
        return Err(Problem::invalid(field, "it holds a letter U+0000, which no text has"));
    }
    if let Some((field, _)) = request.asked.0.iter().find(|(_, words)| words.len() > limits.n) {
        return Err(Problem::invalid(field, format!("more than the {} that are allowed here", limits.n)));
    }
    Ok(())
}

/// `[C, H, W]` of the pictures that are asked for.
///
/// # Errors
/// 422: more pixels than are allowed, sides that the network cannot make.
pub fn shape(request: &Generate, model: &Model, limits: &RequestLimits) -> Result<[usize; 3], Problem> {
    let mut model = model.clone();
    size(request, &mut model, limits)?;
    Ok(model.picture_shape())
}

fn size(request: &Generate, model: &mut Model, limits: &RequestLimits) -> Result<Option<(usize, usize)>, Problem> {
    let [channels, own_height, own_width] = model.picture_shape();
    let (width, height) = (request.width.unwrap_or(own_width), request.height.unwrap_or(own_height));
    let field = if request.width.is_some() { "width" } else { "height" };
    if width.saturating_mul(height) > limits.pixels {
        let detail = format!("{width}x{height} is more than the {} pixels that are allowed here", limits.pixels);
        return Err(Problem::invalid(field, detail));
    }
    if (width, height) != (own_width, own_height) {
        let (config, own) = (model.network.config(), model.latent_shape());
        let asked = model.codec.latent_shape([channels, height, width]);
        let [_, rows, columns] = asked.map_err(|e| Problem::invalid(field, e.to_string()))?;
        let cost = cost::relative(&config, [own[1], own[2]], [rows, columns]);
        if cost > limits.cost as f64 {
            let side = cost::largest_square(&config, &*model.codec, own, limits.cost, limits.pixels);
            let detail = format!(
                "a picture of {width}x{height} takes as long as {} of this model's own {own_width}x{own_height}, and {} are \
                 allowed here; the largest square is {side}x{side}",
                cost.ceil(),
                limits.cost
            );
            return Err(Problem::invalid(field, detail));
        }
        model.resize(height, width).map_err(|e| Problem::invalid(field, e.to_string()))?;
    }
    Ok((request.width.is_some() || request.height.is_some()).then_some((width, height)))
}

/// Refuses walks of more evaluations than 16 for each step that is allowed, before anything is made of them.
fn short_walk(model: &Model, limits: &RequestLimits) -> Result<(), Problem> {
    let SampleDefaults { solver, steps, .. } = model.sample_defaults();
    let nfe = model.recipe.nfe(steps).map_err(|e| match e {
        GridError::Options { what, problem } => Problem::invalid(what, problem),
        e => Problem::invalid("steps", e.to_string()),
    })?;
    let most = 16 * limits.steps;
    if nfe > most {
        let detail = format!(
            "`{solver}` evaluates the network {nfe} times in {steps} steps, and {most} times are allowed here; take fewer steps or less of its options"
        );
        return Err(Problem::invalid("solver", detail));
    }
    Ok(())
}

/// The steps of the walk: all of them, or the last part from a picture.
fn plan(model: &Model, strength: Option<f64>) -> Result<Plan, Problem> {
    let plan = match strength {
        Some(strength) => model.plan_from(strength),
        None => model.plan(),
    };
    plan.map_err(|e| Problem::invalid("solver", e.to_string()))
}

fn parse<T: FromStr<Err: std::fmt::Display>>(field: &str, text: Option<&str>) -> Result<Option<T>, Problem> {
    text.map(|text| text.parse().map_err(|e: T::Err| Problem::invalid(field, e.to_string()))).transpose()
}

fn finite(field: &str, value: Option<f64>) -> Result<Option<f64>, Problem> {
    match value {
        Some(value) if !value.is_finite() => Err(Problem::invalid(field, "must be a number")),
        value => Ok(value),
    }
}

fn within(field: &str, value: usize, most: usize) -> Result<(), Problem> {
    match value {
        0 => Err(Problem::invalid(field, format!("must be from 1 to the {most} that are allowed here"))),
        value if value > most => {
            Err(Problem::invalid(field, format!("{value} is more than the {most} that are allowed here")))
        }
        _ => Ok(()),
    }
}
