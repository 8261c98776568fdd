//! All of a model but its weights' values, and the checks that come before them.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use undiffuse_math::draw::c_noise;
use undiffuse_math::recipe::{Clip, Recipe};
use undiffuse_math::solver::Ddim;
use undiffuse_math::spacing::Trailing;
use undiffuse_nn::adapters::Layers;
use undiffuse_nn::networks::{
    Component, ComponentConfig, ConfigError, Network, NetworkConfig, TextEncoder, TextEncoderConfig,
};

use super::adapter::{Adapter, Adapters};
use super::clip;
use super::pipeline::{TEXT_ENCODER, Told, VAE};
use super::weights::Weights;
use super::{Card, ModelError, ModelFolder, Process, SampleDefaults};
use crate::codec::{AnyCodec, Latents};
use crate::condition::{self, Conditioner, Readers};
use crate::part::Part;
use crate::words::{Tokenizer, Words};

/// Most numbers of a picture: 46,000 pixels by as many.
const LARGEST: u128 = 1 << 31;

/// All of a model but its weights: what can be said of it without loading it.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The model folder.
    pub folder: ModelFolder,
    /// Where its weights are.
    pub weights: Weights,
    adapters: Adapters,
    /// The network.
    pub config: NetworkConfig,
    /// Between pictures and what the network diffuses.
    pub codec: AnyCodec,
    /// What reads what is asked, where there is such.
    pub readers: Readers,
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
            let outline = Self::of(folder, variant, &[], &Device::flex())?;
            let blank = blank(&outline.config, &outline.folder, &Device::flex())?;
            outline.weights.open()?.check(&blank)?;
            Ok(outline)
        })
    }

    /// Reads a model folder. The network's weights are found but not opened; those of other parts are checked, and nothing is
    /// read of them.
    pub(super) fn of(
        folder: &ModelFolder,
        variant: Option<&str>,
        adapters: &[Adapter],
        device: &Device,
    ) -> Result<Self, ModelError> {
        let Told { pipeline, notes } = folder.pipeline()?;
        let mut card = folder.card()?;
        let mut recipe = match (&card.process, folder.recipe()) {
            (None, recipe) => recipe?,
            (Some(Process { schedule, parameterization, clip }), recipe) => {
                let fallback =
                    |_| Recipe::new(schedule.clone(), parameterization.clone(), Trailing::default(), Ddim::default());
                let (schedule, parameterization) = (schedule.clone(), parameterization.clone());
                let recipe = recipe.unwrap_or_else(fallback);
                let clip = if *clip == Clip::None { recipe.clip } else { *clip };
                Recipe { schedule, parameterization, clip, ..recipe }
            }
        };
        recipe.notes.extend(notes);
        let config = folder.config()?;
        let told_words = pipeline.is_some() || condition::is_text(&card);
        let encoder = told_words.then(|| text_encoder(folder, variant)).transpose()?;
        let adapters = fit(adapters, &config, encoder.as_ref().map(|(config, _)| config), folder)?;
        let (mut codec, mut readers) = (AnyCodec::from(card.codec.clone()), Readers::default());
        if let Some(encoder) = encoder {
            let read = read_words(folder, encoder, adapters.clone(), device)?;
            readers.words = Some(match condition::masked_length(&card) {
                Some(length) => Arc::new(read.masked(length).map_err(|problem| folder.bad_card(problem))?),
                None => read,
            });
        }
        if let Some(pipeline) = pipeline {
            codec = latents(folder, variant, device)?.into();
            let (steps, guidance) = (pipeline.steps, pipeline.guidance);
            card.sample.get_or_insert(SampleDefaults { steps, guidance, ..own_settings(&recipe) });
        }
        if condition::is_picture(&card) {
            readers.clip = Some(Arc::new(clip::read(folder, device)?));
        }
        let source = condition::Source { card: &card, io: &config.io(), readers: &readers };
        let conditioner = Conditioner::read(&source).map_err(|problem| match readers.words {
            Some(_) => folder.unfit(problem),
            None => folder.bad_card(problem),
        })?;
        let latent = latent_shape(&config, &codec, &conditioner);
        check(&config, latent, &conditioner, &recipe).map_err(|problem| folder.contradiction(problem))?;
        let picture_shape = codec.picture_shape(latent).map_err(|e| folder.contradiction(e))?;
        let weights = folder.weights(variant)?;
        let folder = folder.clone();
        Ok(Self { folder, weights, adapters, config, codec, readers, conditioner, recipe, card, picture_shape })
    }

    /// Loads the network.
    pub(super) fn network(&self, device: &Device) -> Result<Network, ModelError> {
        let network = fill(&self.config, &self.folder, &self.weights, device)?;
        Ok(self.adapters.add(self.config.folder(), network)?)
    }

    /// Bytes of the weights of all parts in memory; `u64::MAX` stands for more.
    ///
    /// # Errors
    /// A configuration that describes no network.
    pub fn bytes(&self) -> Result<u64, ConfigError> {
        let words = self.readers.words.as_ref().map_or(0, |words| words.bytes());
        let clip = self.readers.clip.as_ref().map_or(0, |clip| clip.bytes());
        let codec = match &self.codec {
            AnyCodec::Latents(latents) => latents.weights(),
            AnyCodec::Kind(_) => 0,
        };
        Ok(self.config.parameters()?.saturating_mul(4).saturating_add(words).saturating_add(clip).saturating_add(codec))
    }

    /// `[C, H, W]` of what the model diffuses.
    pub fn latent_shape(&self) -> [usize; 3] {
        latent_shape(&self.config, &self.codec, &self.conditioner)
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

/// The autoencoder of a pipeline, of which nothing is read yet.
fn latents(folder: &ModelFolder, variant: Option<&str>, device: &Device) -> Result<Latents, ModelError> {
    let (config, weights) = folder.part(VAE, variant)?;
    let ComponentConfig::Autoencoder(config) = config else {
        return Err(folder.unfit(format!("its `{VAE}` is of class {}, which is no autoencoder", config.class())));
    };
    let blank = |wanted: fn(&str) -> bool| -> Result<Arc<Part<_>>, ModelError> {
        let (of, device) = (config.clone(), device.clone());
        let blank = move || of.network(&device).expect("the config was checked");
        Ok(Arc::new(Part::new(weights.open()?, wanted, blank)?))
    };
    let (encoder, decoder) = (blank(Latents::encodes)?, blank(|name| !Latents::encodes(name))?);
    Ok(Latents::of_halves(config, encoder, decoder))
}

/// The text encoder of a pipeline, and where its weights are.
pub(super) fn text_encoder(
    folder: &ModelFolder,
    variant: Option<&str>,
) -> Result<(TextEncoderConfig, Weights), ModelError> {
    match folder.part(TEXT_ENCODER, variant)? {
        (ComponentConfig::TextEncoder(config), weights) => Ok((config, weights)),
        (config, _) => {
            Err(folder.unfit(format!("its `{TEXT_ENCODER}` is of class {}, which reads no words", config.class())))
        }
    }
}

/// Finds what adapters adapt among the layers of a pipeline's networks.
fn fit(
    adapters: &[Adapter],
    config: &NetworkConfig,
    encoder: Option<&TextEncoderConfig>,
    folder: &ModelFolder,
) -> Result<Adapters, ModelError> {
    if adapters.is_empty() {
        return Ok(Adapters::default());
    }
    let device = Device::flex();
    let mut layers = vec![Layers::of(config.folder(), &blank(config, folder, &device)?)];
    if let Some(encoder) = encoder {
        let encoder = encoder.network(&device).map_err(|source| folder.misconfigured(source))?;
        layers.push(Layers::of(TEXT_ENCODER, &encoder));
    }
    Ok(Adapters::fit(adapters, &layers)?)
}

/// A text encoder, of which nothing is read yet.
pub(super) fn unread(
    config: &TextEncoderConfig,
    weights: &Weights,
    device: &Device,
) -> Result<Part<TextEncoder>, ModelError> {
    let (of, device) = (config.clone(), device.clone());
    let blank = move || of.network(&device).expect("the config was checked");
    Ok(Part::new(weights.open()?, |_| true, blank)?)
}

/// The tokenizer of a pipeline with its text encoder, of which nothing is read yet.
pub(super) fn read_words(
    folder: &ModelFolder,
    (config, weights): (TextEncoderConfig, Weights),
    adapters: Adapters,
    device: &Device,
) -> Result<Arc<Words>, ModelError> {
    let encoder = unread(&config, &weights, device)?.then(move |network| adapters.add(TEXT_ENCODER, network));
    let tokenizer = Tokenizer::read(&folder.tokenizer())?;
    Ok(Arc::new(Words::new(tokenizer, encoder, &config).map_err(|problem| folder.unfit(problem))?))
}

pub(super) fn latent_shape(config: &NetworkConfig, codec: &AnyCodec, conditioner: &Conditioner) -> [usize; 3] {
    let io = config.io();
    let [height, width] = io.sample_size.unwrap_or([32, 32]);
    [codec.channels().unwrap_or(io.channels_in - conditioner.beside()), height, width]
}

pub(super) fn sample_defaults(card: &Card, recipe: &Recipe) -> SampleDefaults {
    card.sample.clone().unwrap_or_else(|| own_settings(recipe))
}

/// How a model is sampled of which only the recipe says something.
fn own_settings(recipe: &Recipe) -> SampleDefaults {
    // The steps that diffusers' pipelines of consistency models take.
    let steps = if recipe.solver.wants_consistency() { 4 } else { 50 };
    SampleDefaults::new(recipe.solver.clone(), recipe.spacing.clone(), steps)
}

/// What a network must be to make latents of this shape by this recipe.
fn check(
    config: &NetworkConfig,
    [channels, height, width]: [usize; 3],
    conditioner: &Conditioner,
    recipe: &Recipe,
) -> Result<(), String> {
    let (taken, answered) = (config.io().channels_in, config.io().channels_out);
    let told = conditioner.attends().is_some();
    // A mask and the latents of a picture may come beside.
    if taken != channels + conditioner.beside() && taken != 2 * channels + 1 {
        return Err(format!("it takes {taken} channels, and the autoencoder's latents have {channels}"));
    }
    if answered != channels && answered != 2 * channels {
        return Err(format!(
            "it answers {answered} channels for pictures of {channels}: it is no denoiser of pictures"
        ));
    }
    if config.io().tokens.is_some() && !told {
        return Err(
            "it attends to tokens, which nothing in this folder makes: `undiffuse predict` runs it on given ones"
                .into(),
        );
    }
    if config.io().tokens.is_none() && told {
        return Err("it attends to no tokens, so the folder's text encoder can't tell it anything".into());
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
