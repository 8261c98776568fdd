//! Tasks: what a run teaches its networks. How it goes on, ends and is saved does not depend on which it is.

mod contrasting;
mod denoising;

use std::path::Path;

use burn::tensor::{Device, Tensor};
use undiffuse_data::{Dataset, Split};

pub(super) use contrasting::Contrasting;
pub(super) use denoising::Denoising;

use super::TrainError;
use super::checkpoint::Counters;
use super::collective::CollectiveKind;
use super::config::Config;
use super::draws::Shuffled;
use super::networks::Learned;
use crate::clip::ClipModel;
use crate::model::{Model, ModelError, Provenance};

/// What a run learns from, and how.
pub(super) struct Material {
    pub config: Config,
    pub data: Dataset,
    /// What is trained on, and what is held out.
    pub split: Split,
}

/// A part of a step's batch: pictures number `start` to `start + count` of the run, of a step that begins at `from`.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub start: u64,
    pub count: usize,
    pub from: u64,
}

/// What a run makes.
pub(super) enum Product {
    Model(Box<Model>),
    Clip(Box<ClipModel>),
}

impl Product {
    /// Writes its folder.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        match self {
            Self::Model(model) => model.save(path),
            Self::Clip(clip) => clip.save(path),
        }
    }

    /// What makes pictures, if it does.
    pub fn model(self) -> Option<Model> {
        match self {
            Self::Model(model) => Some(*model),
            Self::Clip(_) => None,
        }
    }
}

/// What a run teaches its networks.
pub(super) trait Task: Sized + Send + Sync {
    type Networks: Learned + Send + Sync;
    /// A part of a batch, and all that is random about it.
    type Drawn: Send + Sync;

    /// Settles what the configuration leaves to the data, and makes the networks, their parameters blank.
    fn begin(on: &mut Material, device: &Device) -> Result<(Self, Self::Networks), TrainError>;

    /// Networks that were just drawn, with what of them the data decide.
    fn begun(&self, networks: Self::Networks) -> Self::Networks {
        networks
    }

    /// Bytes that a picture leaves in the networks for the way back; `u64::MAX` stands for more.
    fn features(&self, on: &Material, networks: &Self::Networks) -> u64;

    /// What the owner of the data should know, one sentence each.
    fn warnings(&self, on: &Material) -> Vec<String>;

    /// Names of the classes that are told apart.
    fn classes(&self) -> &[String] {
        &[]
    }

    /// A part of a batch.
    fn draw(&self, on: &Material, order: &mut Shuffled, place: Place) -> Self::Drawn;

    /// The loss of each picture of a part `[B]`; `dropout` is the seed of what drops out of the first.
    fn losses(&self, on: &Material, networks: &Self::Networks, drawn: &Self::Drawn, dropout: Option<u64>) -> Tensor<1>;

    /// Learns from a step's losses, those of all ranks, for the draws to come.
    fn observe(&mut self, drawn: &[Self::Drawn], losses: &[f64], ranks: &CollectiveKind) {
        let _ = (drawn, losses, ranks);
    }

    /// The losses of networks on pictures of the data, always with the same noise.
    fn measure(&self, on: &Material, networks: &Self::Networks, indices: &[usize]) -> Vec<f64>;

    /// What a checkpoint has of it, beside the networks.
    fn note(&self, counters: &mut Counters) {
        let _ = counters;
    }

    /// Takes in what a checkpoint has of it.
    fn restore(&mut self, counters: &Counters) {
        let _ = counters;
    }

    /// What networks without gradients are a part of.
    fn product(&self, on: &Material, networks: Self::Networks, provenance: Provenance) -> Product;
}

/// The configuration with what its condition came to for the data.
///
/// # Errors
/// What is said of the pictures is not what a resumed run began with.
fn told(config: &mut Config, kind: &str, now: &str) -> Result<(), TrainError> {
    let condition = &mut config.condition;
    if !condition.fingerprint.is_empty() && condition.fingerprint != now {
        let (key, place, what) = match condition.words.encoder.as_str() {
            "" => ("from", &condition.from, "what is said of the pictures there"),
            _ => ("words.encoder", &condition.words.encoder, "the text encoder there"),
        };
        let problem = "is no longer what the run began with: give it back, or begin a new run";
        return Err(TrainError::wrong(format!("condition.{key} = {place:?}: {what} {problem}")));
    }
    (condition.kind, condition.fingerprint) = (kind.into(), now.into());
    Ok(())
}

impl Material {
    /// Pictures that are computed on at once.
    pub fn part(&self) -> usize {
        self.config.train.batch / self.config.train.accumulate
    }
}
