//! A trained model: a diffusers pipeline folder with a `UNet2DModel`.
//!
//! ```text
//! my-model/
//!   model_index.json
//!   unet/config.json
//!   unet/diffusion_pytorch_model.safetensors
//!   scheduler/scheduler_config.json
//!   undiffuse.json                 what diffusers has no word for: see `Card`
//! ```

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::json;
use undiffuse_data::names::last_part;
use undiffuse_data::{Dataset, Image};
use undiffuse_math::diffusers::{self, Clip, Learned, Recipe};
use undiffuse_math::prelude::{ParameterizationKind, Plan, ScheduleKind, SolverKind, SpacingKind};
use undiffuse_math::solver::Ddim;
use undiffuse_math::spacing::{GridError, Trailing};
use undiffuse_nn::unet::{ConfigError, InputError};
use undiffuse_nn::{UNet2DConfig, UNet2DModel, weights};

use crate::classes::Classes;
use crate::denoise::{Clipped, Cond, Denoise, Guided, Network};
use crate::files::{self, FileError};
use crate::image::to_images;
use crate::sample::{Noise, Sampler, Walker, sample, sample_from};

/// The diffusers release whose formats are written.
const DIFFUSERS: &str = "0.42.1";

/// What a model folder knows beyond diffusers' words; the file `undiffuse.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Card {
    /// Version of this file's format.
    pub format: u32,
    /// Names of the classes, in the order of their labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The label that means "no class", for guidance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null_class: Option<u32>,
    /// How this model is best sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<SampleDefaults>,
    /// The exact process, only when diffusers' scheduler file says something else or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Where the model comes from: program, data, run, seed, images seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

/// What a network was trained on: the schedule, and what it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// (α, σ)(t).
    pub schedule: ScheduleKind,
    /// How the network is read.
    pub parameterization: ParameterizationKind,
}

/// Sampling settings that go with a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleDefaults {
    /// How to step.
    pub solver: SolverKind,
    /// Which times.
    pub spacing: SpacingKind,
    /// Number of steps.
    pub steps: usize,
    /// Classifier-free guidance scale; 1 is none.
    pub guidance: f64,
}

/// Where a model comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// Program and version.
    pub program: String,
    /// Name of the data: where they lay is nobody's business.
    #[serde(deserialize_with = "name_alone")]
    pub data: String,
    /// SHA-256 of the decoded training pixels and labels.
    pub data_fingerprint: String,
    /// Pictures that the model was trained on.
    pub data_images: usize,
    /// The preset that the training started from.
    pub preset: String,
    /// Seed of the run.
    pub seed: u64,
    /// Pictures seen in training.
    pub images_seen: u64,
    /// Relative width of the weights' average.
    pub ema: f64,
    /// Loss on held-out pictures at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
}

/// The last part of a path: cards once held the whole of it.
fn name_alone<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<String, D::Error> {
    String::deserialize(reader).map(|path| last_part(&path).to_owned())
}

/// A model folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Nothing there.
    #[error(
        "there is no model at `{0}`: give a diffusers folder (with `unet/` and `scheduler/`) or a run made by `undiffuse train`"
    )]
    NotFound(PathBuf),
    /// A training run that has not produced a model yet.
    #[error("the run at `{0}` has no model yet: continue it with `undiffuse train --resume {0}`")]
    Unfinished(PathBuf),
    /// A file is missing or unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    /// `config.json` describes no network of ours.
    #[error("`{path}`: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// The weights do not fit.
    #[error(transparent)]
    Weights(#[from] weights::WeightsError),
    /// Only pickled weights are there.
    #[error(
        "`{0}` holds pickled weights, which can run code when read: save the model with safe_serialization=True (safetensors)"
    )]
    Pickle(PathBuf),
    /// The scheduler's file describes nothing of ours.
    #[error("`{path}`: {problem}")]
    Scheduler {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// `undiffuse.json` is broken.
    #[error("`{path}` is damaged: {problem}; restore it, or delete it to go by the diffusers files alone")]
    Card {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// All of a model but its weights: what can be said of it without loading it.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The model folder.
    pub folder: PathBuf,
    /// The file of weights; it may be missing.
    pub weights: PathBuf,
    /// The network.
    pub config: UNet2DConfig,
    /// Schedule, parameterisation, and how to sample.
    pub recipe: Recipe,
    /// The rest.
    pub card: Card,
}

impl Outline {
    /// Reads a diffusers pipeline folder, or the model inside a run folder.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        files::steady(&place(path.as_ref())?, Self::read_folder)
    }

    fn read_folder(folder: &Path) -> Result<Self, ModelError> {
        let folder = folder.to_owned();
        let card = read_card(&folder)?;
        let recipe = match (&card.process, read_recipe(&folder)) {
            (None, recipe) => recipe?,
            (Some(Process { schedule, parameterization }), recipe) => {
                let fallback =
                    |_| Recipe::new(schedule.clone(), parameterization.clone(), Trailing::default(), Ddim::default());
                let (schedule, parameterization) = (schedule.clone(), parameterization.clone());
                Recipe { schedule, parameterization, ..recipe.unwrap_or_else(fallback) }
            }
        };
        let (network, config) = read_config(&folder)?;
        Ok(Self { weights: find_weights(&network)?, folder, config, recipe, card })
    }

    /// `[C, H, W]` of the model's pictures.
    pub fn shape(&self) -> [usize; 3] {
        shape(&self.config)
    }

    /// As [`Model::sample_defaults`].
    pub fn sample_defaults(&self) -> SampleDefaults {
        sample_defaults(&self.card, &self.recipe)
    }

    /// As [`Model::classes`].
    pub fn classes(&self) -> Classes<'_> {
        classes(&self.card, &self.config)
    }
}

fn classes<'a>(card: &'a Card, config: &UNet2DConfig) -> Classes<'a> {
    Classes::new(&card.classes, config.num_class_embeds.unwrap_or(0), card.null_class)
}

fn shape(config: &UNet2DConfig) -> [usize; 3] {
    let (h, w) = config.sample_size.map_or((32, 32), |s| s.height_width());
    [config.in_channels, h, w]
}

fn sample_defaults(card: &Card, recipe: &Recipe) -> SampleDefaults {
    card.sample.clone().unwrap_or_else(|| SampleDefaults {
        solver: recipe.solver.clone(),
        spacing: recipe.spacing.clone(),
        steps: 50,
        guidance: 1.0,
    })
}

/// A network and all that is needed to sample from it. A clone shares the weights.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network.
    pub network: UNet2DModel,
    /// Schedule, parameterisation, and how to sample.
    pub recipe: Recipe,
    /// The rest.
    pub card: Card,
    shape: [usize; 3],
}

impl Model {
    /// Loads a diffusers pipeline folder, or the model inside a run folder.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, ModelError> {
        files::steady(&place(path.as_ref())?, |folder| {
            let Outline { folder, recipe, card, .. } = Outline::read_folder(folder)?;
            Ok(Self::new(read_network(&folder, device)?, recipe, card))
        })
    }

    /// A model from its parts.
    pub fn new(network: UNet2DModel, recipe: Recipe, card: Card) -> Self {
        Self { shape: shape(network.config()), network, recipe, card }
    }

    /// Writes the folder; an interruption leaves the old one or the new one.
    ///
    /// # Errors
    /// Whatever the system says, and a folder there that holds anything besides a model: see [`replaceable`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        files::write_folder(path.as_ref(), &PARTS, |folder| self.write(folder))
    }

    fn write(&self, folder: &Path) -> Result<(), ModelError> {
        let mut config = self.network.config().clone();
        config.diffusers_version = Some(DIFFUSERS.into());
        let Recipe { schedule, parameterization, clip, .. } = &self.recipe;
        let mut scheduler = diffusers::write(schedule, parameterization, None, None, *clip).ok();
        if let (Some(Learned::Range), Some(scheduler)) = (self.recipe.learned_variance, &mut scheduler) {
            scheduler["variance_type"] = json!("learned_range");
        }
        let told = scheduler.as_ref().and_then(|value| Recipe::from_value(value).ok());
        let exact = told.as_ref().is_some_and(|r| r.schedule == *schedule && r.parameterization == *parameterization);
        let process =
            (!exact).then(|| Process { schedule: schedule.clone(), parameterization: parameterization.clone() });
        let steps = told.is_some_and(|r| r.solver == self.recipe.solver && r.spacing == self.recipe.spacing);
        let sample = self.card.sample.clone().or_else(|| (!steps).then(|| self.sample_defaults()));
        let card = Card { format: 1, process, sample, ..self.card.clone() };
        let pretty = |value: &serde_json::Value| format!("{value:#}\n");
        let make = |part: &str| {
            let folder = folder.join(part);
            files::create_folder(&folder).map(|()| folder)
        };
        if let Some(scheduler) = scheduler {
            let class = scheduler["_class_name"].as_str().unwrap_or_default();
            let index = json!({
                "_class_name": "DDPMPipeline",
                "_diffusers_version": DIFFUSERS,
                "scheduler": ["diffusers", class],
                "unet": ["diffusers", "UNet2DModel"],
            });
            files::write(&folder.join("model_index.json"), pretty(&index).as_bytes())?;
            files::write(&make("scheduler")?.join("scheduler_config.json"), pretty(&scheduler).as_bytes())?;
        }
        let unet = make("unet")?;
        let weights = weights::to_bytes(&weights::export(&self.network), &[("format", "pt")]);
        files::write(&unet.join("config.json"), config.to_json().as_bytes())?;
        files::write(&unet.join(WEIGHTS), &weights)?;
        let card = serde_json::to_value(&card).expect("a card of numbers and names serialises");
        files::write(&folder.join("undiffuse.json"), pretty(&card).as_bytes())?;
        Ok(())
    }

    /// The model as a denoiser: its network through its parameterisation, with classifier-free guidance of
    /// `guidance` when it has classes, clipped as its scheduler says.
    pub fn denoiser(&self, guidance: f64) -> Box<dyn Denoise + '_> {
        self.denoiser_around(self.reader(), guidance)
    }

    /// The network through its parameterisation and nothing else.
    pub fn reader(&self) -> Network<'_> {
        Network {
            network: &self.network,
            schedule: &self.recipe.schedule,
            parameterization: &self.recipe.parameterization,
        }
    }

    /// As [`denoiser`](Self::denoiser), around whatever does the work of [`reader`](Self::reader).
    pub fn denoiser_around<'a>(&self, inner: impl Denoise + 'a, guidance: f64) -> Box<dyn Denoise + 'a> {
        let clip = if self.recipe.keep_eps { Clip::None } else { self.recipe.clip };
        match self.card.null_class {
            Some(null) => Box::new(Clipped { inner: Guided { inner, null, scale: guidance }, clip }),
            None => Box::new(Clipped { inner, clip }),
        }
    }

    /// `[B, C, H, W]` in the model's own pixel range → pictures.
    pub fn images(&self, x: Tensor<4>) -> Vec<Image> {
        to_images(self.to_unit(x))
    }

    /// From the model's own pixel range to [−1, 1].
    pub fn to_unit(&self, x: Tensor<4>) -> Tensor<4> {
        match self.recipe.pixels {
            (-1.0, 1.0) => x,
            (black, white) => (x - black) * (2.0 / (white - black)) - 1.0,
        }
    }

    /// From [−1, 1] to the model's own pixel range.
    pub fn from_unit(&self, x: Tensor<4>) -> Tensor<4> {
        match self.recipe.pixels {
            (-1.0, 1.0) => x,
            (black, white) => (x + 1.0) * ((white - black) / 2.0) + black,
        }
    }

    /// The same model, to be sampled with these settings unless asked otherwise.
    pub fn with(mut self, settings: SampleDefaults) -> Self {
        self.recipe = self.recipe_for(&settings);
        self.card.sample = Some(settings);
        self
    }

    /// The plan of the model's sampling settings on its schedule.
    ///
    /// # Errors
    /// No steps, or more than the schedule has timesteps.
    pub fn plan(&self) -> Result<Plan, GridError> {
        let settings = self.sample_defaults();
        self.recipe_for(&settings).plan(settings.steps)
    }

    /// The last part of the plan, for walks that begin at a picture: `strength` is the share of the steps that are
    /// walked, at least one \[Meng22\].
    ///
    /// # Errors
    /// No steps, or more than the schedule has timesteps.
    pub fn plan_from(&self, strength: f64) -> Result<Plan, GridError> {
        let settings = self.sample_defaults();
        let recipe = self.recipe_for(&settings);
        let mut grid = recipe.grid(settings.steps)?;
        let walked = ((grid.points.len() as f64 * strength).round() as usize).clamp(1, grid.points.len());
        grid.points.drain(..grid.points.len() - walked);
        Ok(grid.plan(&*settings.solver))
    }

    /// Pictures of another size; convolutional networks allow it.
    ///
    /// # Errors
    /// Sides that the network cannot halve often enough.
    pub fn resize(&mut self, height: usize, width: usize) -> Result<(), InputError> {
        let channels = self.network.config().in_channels;
        self.network.check_size(height, width)?;
        self.shape = [channels, height, width];
        Ok(())
    }

    /// A walk from noise to pictures along `plan`, as the model's recipe has it.
    pub fn sample<'a>(&self, denoiser: &'a dyn Denoise, plan: &'a Plan, noise: Noise, cond: &'a Cond) -> Walker<'a> {
        self.walker(sample(denoiser, plan, noise, self.shape(), cond))
    }

    /// A walk that begins at clean pictures `x0 [B, C, H, W]` (in the model's pixel range), noised to the level
    /// where `plan` begins.
    pub fn sample_from<'a>(
        &self,
        denoiser: &'a dyn Denoise,
        plan: &'a Plan,
        noise: Noise,
        x0: Tensor<4>,
        cond: &'a Cond,
    ) -> Walker<'a> {
        self.walker(sample_from(denoiser, plan, noise, x0, cond))
    }

    fn walker<'a>(&self, sampler: Sampler<'a>) -> Walker<'a> {
        let solver = self.sample_defaults().solver;
        let sampler = if self.recipe.keep_eps { sampler.keeping_eps(self.recipe.clip) } else { sampler };
        let sampler = match self.recipe.learned_variance {
            Some(learned) if solver.tag() == "ddpm" => sampler.with_learned_variance(learned),
            _ => sampler,
        };
        match self.recipe.corrector {
            Some(corrector) => Walker::Corrected(sampler.corrected(corrector)),
            None => Walker::Plain(sampler),
        }
    }

    /// The model's recipe with the solver and spacing of `settings`; what belongs to the model's own
    /// solver alone stays only with that solver.
    fn recipe_for(&self, settings: &SampleDefaults) -> Recipe {
        let recipe = self.recipe.clone();
        let recipe = match settings.solver == recipe.solver {
            true => recipe,
            false => recipe.with_solver(settings.solver.clone()),
        };
        match settings.spacing == recipe.spacing {
            true => recipe,
            false => recipe.with_spacing(settings.spacing.clone()),
        }
    }

    /// `[C, H, W]` of the model's pictures.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The classes that can be asked for.
    pub fn classes(&self) -> Classes<'_> {
        classes(&self.card, self.network.config())
    }

    /// The model's label for picture `i` of a dataset: see [`Classes::of`].
    pub fn class_of(&self, data: &Dataset, i: usize) -> Option<u32> {
        self.classes().of(data.classes(), data.label(i)?)
    }

    /// How this model is sampled unless asked otherwise.
    pub fn sample_defaults(&self) -> SampleDefaults {
        sample_defaults(&self.card, &self.recipe)
    }
}

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// What [`Model::save`] writes, and what it replaces.
const PARTS: [&str; 4] = ["model_index.json", "scheduler", "undiffuse.json", "unet"];

/// Whether [`Model::save`] may write a model at `path`: there is nothing there, or a model and nothing else.
///
/// # Errors
/// Anything else there, which would be lost.
pub fn replaceable(path: &Path) -> Result<(), FileError> {
    files::replaceable(path, &PARTS)
}

/// The model folder that `path` means: itself, or `model/` inside a run.
pub fn locate(path: &Path) -> Result<PathBuf, ModelError> {
    place(path).map(|folder| files::current(&folder))
}

/// As [`locate`], by the name under which a model is replaced.
fn place(path: &Path) -> Result<PathBuf, ModelError> {
    let holds = |folder: &Path, file: &str| files::steady(folder, |folder| folder.join(file).is_file());
    if holds(path, "unet/config.json") || holds(path, "config.json") {
        return Ok(path.to_owned());
    }
    let inside = path.join("model");
    if holds(&inside, "unet/config.json") {
        return Ok(inside);
    }
    match path.join(crate::train::CONFIG_FILE).is_file() {
        true => Err(ModelError::Unfinished(path.to_owned())),
        false => Err(ModelError::NotFound(path.to_owned())),
    }
}

/// The bare network of a pipeline folder, or of a folder that holds nothing but a network.
pub fn load_network(folder: &Path, device: &Device) -> Result<UNet2DModel, ModelError> {
    files::steady(folder, |folder| read_network(folder, device))
}

fn read_network(folder: &Path, device: &Device) -> Result<UNet2DModel, ModelError> {
    let (folder, config) = read_config(folder)?;
    let fail = |source| ModelError::Config { path: folder.join("config.json"), source };
    let blank = UNet2DModel::new(&config, device).map_err(fail)?;
    Ok(weights::load(blank, &find_weights(&folder)?)?)
}

/// The folder of the network inside a pipeline's, and the network's architecture.
fn read_config(folder: &Path) -> Result<(PathBuf, UNet2DConfig), ModelError> {
    let unet = folder.join("unet");
    let folder = if unet.is_dir() { unet } else { folder.to_owned() };
    let path = folder.join("config.json");
    let config = UNet2DConfig::from_json(&files::read_text(&path)?);
    Ok((folder, config.map_err(|source| ModelError::Config { path, source })?))
}

fn find_weights(folder: &Path) -> Result<PathBuf, ModelError> {
    let usual = folder.join(WEIGHTS);
    if usual.is_file() {
        return Ok(usual);
    }
    let with_ending = |ending: &str| {
        let entries = std::fs::read_dir(folder).ok()?;
        entries.filter_map(|e| Some(e.ok()?.path())).find(|p| p.to_string_lossy().ends_with(ending))
    };
    match (with_ending(".safetensors"), with_ending(".bin")) {
        (Some(other), _) => Ok(other),
        (None, Some(pickle)) => Err(ModelError::Pickle(pickle)),
        // Reading the usual name gives the message that it is missing.
        (None, None) => Ok(usual),
    }
}

fn read_card(folder: &Path) -> Result<Card, ModelError> {
    let path = folder.join("undiffuse.json");
    if !path.is_file() {
        return Ok(Card::default());
    }
    serde_json::from_str(&files::read_text(&path)?)
        .map_err(|e| ModelError::Card { path: path.clone(), problem: e.to_string() })
}

fn read_recipe(folder: &Path) -> Result<Recipe, ModelError> {
    let path = folder.join("scheduler/scheduler_config.json");
    Recipe::from_json(&files::read_text(&path)?).map_err(|e| ModelError::Scheduler { path, problem: e.to_string() })
}
