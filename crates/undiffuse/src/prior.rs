//! A prior: from words to the vector that a CLIP would make of their picture \[Ramesh22, section 2.2\].
//!
//! `undiffuse train --preset prior` makes one: a network that diffuses such vectors, told a caption's tokens and its own vector by the
//! CLIP's text encoder. What it makes is the condition of a decoder, which makes the picture.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use undiffuse_math::noise;
use undiffuse_math::solver::PlanError;
use undiffuse_nn::weights::{Hold, WeightsError};

use crate::Model;
use crate::clip::{ClipModel, Vectors};
use crate::codec::{AnyCodec, Clip, CodecKind};
use crate::condition::{Ask, Cond};
use crate::model::{ModelError, SampleDefaults};
use crate::sample::{Noise, Strayed};

/// Vectors that are made at once: none depends on it.
const AT_ONCE: usize = 64;
/// The stream of the seeds of draws beside the first.
const DRAWS: u64 = 0x7a;

/// A prior that can't be used, or made no vectors.
#[derive(Debug, thiserror::Error)]
pub enum PriorError {
    /// The folder.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Weights that can't be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Settings that lead nowhere.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A walk whose vectors are no numbers.
    #[error(transparent)]
    Strayed(#[from] Strayed),
    /// A model of something else.
    #[error("`{0}` is no prior: `undiffuse train --preset prior` makes one")]
    None(PathBuf),
    /// Vectors that mean nothing to somebody else.
    #[error("`{0}` is a prior for another CLIP: the vectors that it makes mean nothing to this one")]
    OtherClip(PathBuf),
}

/// A prior, of a model's folder or a run.
#[derive(Clone, Debug)]
pub struct Prior {
    model: Model,
    codec: Clip,
    path: PathBuf,
}

impl Prior {
    /// Loads the prior of a folder.
    ///
    /// # Errors
    /// Whatever [`ModelError`] names, and a folder of another model.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, PriorError> {
        let path = path.as_ref().to_owned();
        let model = Model::load_any(&path, None, &[], Hold::default(), device)?;
        match &model.codec {
            AnyCodec::Kind(CodecKind::Clip(codec)) => Ok(Self { codec: codec.clone(), model, path }),
            _ => Err(PriorError::None(path)),
        }
    }

    /// The network with all that goes with it.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The same, sampled by these settings.
    pub fn with(self, settings: SampleDefaults) -> Self {
        Self { model: self.model.with(settings), ..self }
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        self.codec.width
    }

    /// The mean of the vectors that it was trained on.
    pub fn mean(&self) -> Vec<f32> {
        let [d, h, w] = self.model.latent_shape();
        let zero = Tensor::zeros([1, d, h, w], &self.model.network.device());
        let mean = self.model.network.post_process(zero.clone()).unwrap_or(zero);
        mean.into_data().try_into_vec_as::<f32>().expect("vectors are numbers")
    }

    /// SHA-256 (hexadecimal) of the image encoder whose vectors it makes: see [`ClipModel::fingerprint`].
    pub fn fingerprint(&self) -> &str {
        &self.codec.fingerprint
    }

    /// Whether its vectors are those of this CLIP.
    ///
    /// # Errors
    /// They are another's; weights that can't be read.
    pub fn check(&self, clip: &ClipModel) -> Result<(), PriorError> {
        match clip.fingerprint()? == self.fingerprint() {
            true => Ok(()),
            false => Err(PriorError::OtherClip(self.path.clone())),
        }
    }

    /// The vectors of the texts that are asked for, as the text encoder makes them.
    ///
    /// # Errors
    /// Weights that can't be read.
    pub fn texts(&self, asks: &[Ask]) -> Result<Vectors, PriorError> {
        let conditioner = &self.model.conditioner;
        conditioner.prepare(&mut asks.iter())?;
        let told = conditioner.encode(asks, &Device::flex()).vector.expect("a prior is told the vectors of texts");
        let width = told.dims()[1];
        Ok(Vectors::of(width, told.into_data().try_into_vec_as::<f32>().expect("vectors are numbers")))
    }

    /// The vector of a picture for each of the asks, each by its own seed: of `draws` the one whose product with the text's is largest,
    /// the paper's choice being of two.
    ///
    /// # Errors
    /// Settings that make no plan, weights that can't be read, a network that makes no numbers.
    ///
    /// # Panics
    /// If there are not as many seeds as asks, no draws, or asks that the model does not [accept](Model::accepts).
    pub fn vectors(&self, asks: &[Ask], seeds: &[u64], draws: usize) -> Result<Vectors, PriorError> {
        assert!(asks.len() == seeds.len() && draws > 0, "{} asks, {} seeds, {draws} draws", asks.len(), seeds.len());
        let texts = self.texts(asks)?;
        let mut best = self.drawn(asks, seeds)?;
        for draw in 1..draws as u64 {
            let seeds: Vec<u64> = seeds.iter().map(|&seed| noise::bits(seed, DRAWS, draw)).collect();
            let other = self.drawn(asks, &seeds)?;
            let nearer = |k: usize| match other.product(k, texts.row(k)) > best.product(k, texts.row(k)) {
                true => other.row(k),
                false => best.row(k),
            };
            best = Vectors::of(self.width(), (0..asks.len()).flat_map(nearer).copied().collect());
        }
        Ok(best)
    }

    /// A vector for each of the asks.
    fn drawn(&self, asks: &[Ask], seeds: &[u64]) -> Result<Vectors, PriorError> {
        let (model, plan) = (&self.model, self.model.plan()?);
        let denoiser = model.denoiser(&model.sample_defaults());
        let mut values = Vec::new();
        for (asks, seeds) in asks.chunks(AT_ONCE).zip(seeds.chunks(AT_ONCE)) {
            let cond: Cond = asks.iter().cloned().collect();
            model.prepare(&cond, false)?;
            let z = model.sample(&*denoiser, &plan, Noise::Seeds(seeds.to_vec()), &cond).finish()?;
            let z = model.network.post_process(z.clone()).unwrap_or(z);
            values.extend(z.into_data().try_into_vec_as::<f32>().expect("vectors are numbers"));
        }
        Ok(Vectors::of(self.width(), values))
    }
}
