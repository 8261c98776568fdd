//! All of a model but its weights' values, and the checks that come before them.

use std::path::Path;

use burn::tensor::Device;
use undiffuse_math::draw::c_noise;
use undiffuse_math::recipe::Recipe;
use undiffuse_math::solver::Ddim;
use undiffuse_math::spacing::Trailing;
use undiffuse_nn::networks::{Component, Network, NetworkConfig};

use super::weights::Weights;
use super::{Card, ModelError, ModelFolder, Process, SampleDefaults};
use crate::condition::Conditioner;

/// Most numbers of a picture: 46,000 pixels by as many.
const LARGEST: u128 = 1 << 31;

/// All of a model but its weights: what can be said of it without loading it.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The model folder.
    pub folder: ModelFolder,
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
        ModelFolder::read(path.as_ref(), |folder| {
            let outline = Self::of(folder, variant)?;
            let blank = blank(&outline.config, &outline.folder, &Device::flex())?;
            outline.weights.open()?.check(&blank)?;
            Ok(outline)
        })
    }

    /// Reads a model folder; the weights are found but not opened.
    pub(super) fn of(folder: &ModelFolder, variant: Option<&str>) -> Result<Self, ModelError> {
        folder.check_pipeline()?;
        let card = folder.card()?;
        let recipe = match (&card.process, folder.recipe()) {
            (None, recipe) => recipe?,
            (Some(Process { schedule, parameterization }), recipe) => {
                let fallback =
                    |_| Recipe::new(schedule.clone(), parameterization.clone(), Trailing::default(), Ddim::default());
                let (schedule, parameterization) = (schedule.clone(), parameterization.clone());
                Recipe { schedule, parameterization, ..recipe.unwrap_or_else(fallback) }
            }
        };
        let config = folder.config()?;
        check(&config, &recipe).map_err(|problem| folder.contradiction(problem))?;
        let picture_shape = card.codec.picture_shape(latent_shape(&config)).map_err(|e| folder.contradiction(e))?;
        let conditioner = Conditioner::read(&card, config.io().reads).map_err(|problem| folder.bad_card(problem))?;
        let weights = folder.weights(variant)?;
        Ok(Self { weights, folder: folder.clone(), config, conditioner, recipe, card, picture_shape })
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

/// The network of a folder that holds nothing but a network, of any kind; the denoiser of a pipeline folder.
///
/// # Errors
/// Whatever [`ModelError`] names.
pub fn load_component(path: &Path, variant: Option<&str>, device: &Device) -> Result<Component, ModelError> {
    ModelFolder::read(path, |folder| {
        let (config, weights) = folder.component(variant)?;
        let blank = config.network(device).map_err(|source| folder.misconfigured(source))?;
        Ok(weights.open()?.fill(blank)?)
    })
}

fn blank(config: &NetworkConfig, folder: &ModelFolder, device: &Device) -> Result<Network, ModelError> {
    config.network(device).map_err(|source| folder.misconfigured(source))
}

fn fill(
    config: &NetworkConfig,
    folder: &ModelFolder,
    weights: &Weights,
    device: &Device,
) -> Result<Network, ModelError> {
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
        // The steps that diffusers' pipelines of consistency models take.
        steps: if recipe.solver.wants_consistency() { 4 } else { 50 },
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
    if config.io().tokens.is_some() {
        return Err(
            "it attends to tokens, which nothing in this folder makes: `undiffuse predict` runs it on given ones"
                .into(),
        );
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
