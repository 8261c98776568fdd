//! From `[network]` to the network that fits the pictures.

use burn::tensor::Device;
use serde::Deserializer;
use undiffuse_data::Dataset;
use undiffuse_nn::NetworkConfig;
use undiffuse_nn::networks::ArchitectureKind;

use super::config::{Config, of_kind};
use super::networks::Networks;
use crate::condition::{Conditioner, Lesson};
use crate::words::Frozen;

/// What `[network]` is where it names no `kind`: configurations did not, once.
const KIND: &str = "unet";

/// Reads `[network]`.
pub fn deserialize<'de, D: Deserializer<'de>>(reader: D) -> Result<ArchitectureKind, D::Error> {
    of_kind(reader, KIND)
}

impl Config {
    /// What the network is told of the pictures of a dataset, `train` of which are trained on.
    ///
    /// # Errors
    /// What is wrong with what the data say of them, or with the text encoder that the configuration names.
    pub fn conditioner_for(&self, data: &Dataset, train: &[usize]) -> Result<Conditioner, String> {
        let encoder = &self.condition.words.encoder;
        // It is asked once for each caption, and the same then, whatever the network learns on.
        let read = || Frozen::read(encoder.as_ref(), &Device::flex());
        let frozen =
            (!encoder.is_empty()).then(read).transpose().map_err(|e| format!("condition.words.encoder: {e}"))?;
        let lesson = Lesson { config: &self.condition, data, train, frozen: frozen.as_ref() };
        Conditioner::learn(lesson).map_err(|problem| format!("condition: {problem}"))
    }

    /// The network for what is diffused, `[C, H, W]`, and what it is told besides.
    ///
    /// # Errors
    /// What does not fit, with its key.
    pub fn network_for(&self, shape: [usize; 3], told: &Conditioner) -> Result<NetworkConfig, String> {
        let [channels, height, width] = shape;
        let shape = [channels + told.beside(), height, width];
        self.network.config(shape, self.loss.outputs(channels), told.reads(), told.attends())
    }

    /// The networks that learn, their parameters blank: that one, and the text encoder that tells it words.
    ///
    /// # Errors
    /// As [`network_for`](Self::network_for).
    pub fn networks_for(&self, shape: [usize; 3], told: &Conditioner, device: &Device) -> Result<Networks, String> {
        let denoiser = self.network_for(shape, told)?.network(device).map_err(|e| e.to_string())?;
        let learns = told.words().filter(|words| words.learns());
        let encoder = learns.map(|words| words.config().network(device)).transpose().map_err(|e| e.to_string())?;
        Ok(Networks { denoiser, encoder })
    }
}
