//! From `[network]` to the network that fits the pictures.

use serde::Deserializer;
use undiffuse_nn::NetworkConfig;
use undiffuse_nn::networks::{ArchitectureKind, Reads};

use super::config::{Config, of_kind};

/// What `[network]` is where it names no `kind`: configurations did not, once.
const KIND: &str = "unet";

/// Reads `[network]`.
pub fn deserialize<'de, D: Deserializer<'de>>(reader: D) -> Result<ArchitectureKind, D::Error> {
    of_kind(reader, KIND)
}

impl Config {
    /// The network for what is diffused, `[C, H, W]`, and what it reads besides.
    ///
    /// # Errors
    /// What does not fit, with its key.
    pub fn network_for(&self, shape: [usize; 3], reads: Reads) -> Result<NetworkConfig, String> {
        self.network.config(shape, self.loss.outputs(shape[0]), reads)
    }
}
