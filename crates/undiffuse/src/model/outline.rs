//! All of a model but its weights' values, and the checks that come before them.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::Value;
use undiffuse_math::draw::c_noise;
use undiffuse_math::recipe::Recipe;
use undiffuse_math::solver::Ddim;
use undiffuse_math::spacing::Trailing;
use undiffuse_nn::networks::{ConfigError, Network, NetworkConfig};

use super::weights::Weights;
use super::{Card, ModelError, Process, SampleDefaults, folder, pipeline};
use crate::codec::CodecKind;
use crate::condition::Conditioner;
use crate::files;

/// Most bytes of a configuration, a scheduler's file or a card: they are a few thousand long, and what they hold takes many
/// times as much once it is read.
const LIMIT: u64 = 4 << 20;

/// Most numbers of a picture: 46,000 pixels by as many.
const LARGEST: u128 = 1 << 31;

/// All of a model but its weights: what can be said of it without loading it.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The model folder.
    pub folder: PathBuf,
    /// Where its weights are.
    pub weights: Weights,
    /// The network.
    pub config: NetworkConfig,
    /// What it can be asked for.
    pub conditioner: Conditioner,
    /// Schedule, parameterisation, and how to sample.
    pub recipe: Recipe,
    /// The rest.
    pub card: Card,
    /// `[C, H, W]` of the model's pictures.
    pub picture_shape: [usize; 3],
}

impl Outline {
    /// Reads a diffusers pipeline folder, or the model inside a run folder, and the names of what is in its weights.
    ///
    /// # Errors
    /// Whatever [`ModelError`] names.
    pub fn read(path: impl AsRef<Path>, variant: Option<&str>) -> Result<Self, ModelError> {
        folder::steady(path.as_ref(), |folder| {
            let outline = Self::of(folder, variant)?;
            let blank = blank(&outline.config, &outline.folder, &Device::flex())?;
            outline.weights.open()?.check(&blank)?;
            Ok(outline)
        })
    }

    /// Reads a model folder; the weights are found but not opened.
    pub(super) fn of(folder: &Path, variant: Option<&str>) -> Result<Self, ModelError> {
        pipeline::check(folder)?;
        let card = read_card(folder)?;
        let recipe = match (&card.process, read_recipe(folder)) {
            (None, recipe) => recipe?,
            (Some(Process { schedule, parameterization }), recipe) => {
                let fallback =
                    |_| Recipe::new(schedule.clone(), parameterization.clone(), Trailing::default(), Ddim::default());
                let (schedule, parameterization) = (schedule.clone(), parameterization.clone());
                Recipe { schedule, parameterization, ..recipe.unwrap_or_else(fallback) }
            }
        };
        let config = read_config(folder)?;
        check(&config, &recipe).map_err(|problem| wrong(folder, problem))?;
        let picture_shape = card.codec.picture_shape(latent_shape(&config)).map_err(|e| wrong(folder, e))?;
        let conditioner = Conditioner::read(&card, config.io().reads)
            .map_err(|problem| ModelError::Card { path: folder.join(CARD), problem })?;
        let weights = Weights::find(&folder::network(folder), variant)?;
        Ok(Self { weights, folder: folder.to_owned(), config, conditioner, recipe, card, picture_shape })
    }

    /// Loads the network.
    pub(super) fn network(&self, device: &Device) -> Result<Network, ModelError> {
        fill(&self.config, &self.folder, &self.weights, device)
    }

    /// `[C, H, W]` of what the model diffuses.
    pub fn latent_shape(&self) -> [usize; 3] {
        latent_shape(&self.config)
    }

    /// As [`Model::sample_defaults`](super::Model::sample_defaults).
    pub fn sample_defaults(&self) -> SampleDefaults {
        sample_defaults(&self.card, &self.recipe)
    }
}

/// The bare network of a pipeline folder, or of a folder that holds nothing but a network.
///
/// # Errors
/// Whatever [`ModelError`] names.
pub fn load_network(path: &Path, variant: Option<&str>, device: &Device) -> Result<Network, ModelError> {
    folder::steady(path, |folder| {
        let weights = Weights::find(&folder::network(folder), variant)?;
        fill(&read_config(folder)?, folder, &weights, device)
    })
}

fn blank(config: &NetworkConfig, folder: &Path, device: &Device) -> Result<Network, ModelError> {
    config.network(device).map_err(|source| ModelError::Config { path: config_path(folder), source })
}

fn fill(config: &NetworkConfig, folder: &Path, weights: &Weights, device: &Device) -> Result<Network, ModelError> {
    Ok(weights.open()?.fill(blank(config, folder, device)?)?)
}

pub(super) fn latent_shape(config: &NetworkConfig) -> [usize; 3] {
    let io = config.io();
    let [height, width] = io.sample_size.unwrap_or([32, 32]);
    [io.channels_in, height, width]
}

pub(super) fn sample_defaults(card: &Card, recipe: &Recipe) -> SampleDefaults {
    card.sample.clone().unwrap_or_else(|| SampleDefaults {
        solver: recipe.solver.clone(),
        spacing: recipe.spacing.clone(),
        steps: 50,
        guidance: 1.0,
    })
}

/// What a network must be to make pictures by this recipe.
fn check(config: &NetworkConfig, recipe: &Recipe) -> Result<(), String> {
    let [channels, height, width] = latent_shape(config);
    let answered = config.io().channels_out;
    if answered != channels && answered != 2 * channels {
        return Err(format!(
            "it answers {answered} channels for pictures of {channels}: it is no denoiser of pictures"
        ));
    }
    // Channels times height times width fits 72 bits: no count is above 2^24.
    let numbers = channels as u128 * height as u128 * width as u128;
    if numbers > LARGEST {
        return Err(format!(
            "sample_size: pictures of {width}×{height} with {channels} channels are larger than any that is read"
        ));
    }
    config.check_size(height, width).map_err(|e| format!("sample_size: {e}"))?;
    if let Some(rows) = config.timesteps() {
        let (clean, noisy) = recipe.schedule.range();
        for time in [clean, noisy] {
            let level = recipe.schedule.level(time);
            let timestep = c_noise(&*recipe.schedule, &recipe.parameterization.scaling(level), level, Some(time));
            if !(0.0..rows as f64).contains(&timestep) {
                return Err(format!(
                    "its table has num_train_timesteps = {rows} rows, and the scheduler asks for row {timestep}"
                ));
            }
        }
    }
    Ok(())
}

const CARD: &str = "undiffuse.json";

fn config_path(folder: &Path) -> PathBuf {
    folder::network(folder).join("config.json")
}

pub(super) fn wrong(folder: &Path, problem: impl ToString) -> ModelError {
    ModelError::Config { path: config_path(folder), source: ConfigError::Contradiction(problem.to_string()) }
}

fn read_text(path: &Path) -> Result<String, ModelError> {
    let text = String::from_utf8(files::read(path, LIMIT)?);
    let wrong = |_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8 text");
    Ok(text.map_err(wrong).map_err(files::at("read", path))?)
}

fn read_config(folder: &Path) -> Result<NetworkConfig, ModelError> {
    let path = config_path(folder);
    NetworkConfig::from_json(&read_text(&path)?).map_err(|source| ModelError::Config { path, source })
}

fn read_card(folder: &Path) -> Result<Card, ModelError> {
    let path = folder.join(CARD);
    if !path.is_file() {
        return Ok(Card::default());
    }
    let damaged = |e: serde_json::Error| ModelError::Card { path: path.clone(), problem: e.to_string() };
    let mut card: Value = serde_json::from_str(&read_text(&path)?).map_err(damaged)?;
    // A codec apart: without the card its latents would pass for pixels.
    let codec = card.as_object_mut().and_then(|card| card.remove("codec")).filter(|codec| !codec.is_null());
    let codec = codec.map(CodecKind::from_value).transpose();
    let codec = codec.map_err(|source| ModelError::Codec { path: path.clone(), source })?.unwrap_or_default();
    let card = serde_json::from_value(card).map_err(damaged)?;
    Ok(Card { codec, ..card })
}

fn read_recipe(folder: &Path) -> Result<Recipe, ModelError> {
    let path = folder.join("scheduler/scheduler_config.json");
    Recipe::from_json(&read_text(&path)?).map_err(|e| ModelError::Scheduler { path, problem: e.to_string() })
}
