//! From `[network]` to the network that fits the pictures.

use burn::tensor::Device;
use serde::Deserializer;
use undiffuse_nn::NetworkConfig;
use undiffuse_nn::networks::ArchitectureKind;

use super::config::{Config, of_kind};
use super::networks::Networks;
use crate::condition::Conditioner;

/// What `[network]` is where it names no `kind`: configurations did not, once.
const KIND: &str = "unet";

/// Reads `[network]`.
pub fn deserialize<'de, D: Deserializer<'de>>(reader: D) -> Result<ArchitectureKind, D::Error> {
    of_kind(reader, KIND)
}

impl Config {
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
