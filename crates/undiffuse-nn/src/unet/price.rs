//! How large a network is, and what a picture in it takes, before either is there.

use burn::tensor::Device;

use super::UNet2DModel;
use super::config::{ConfigError, UNet2DConfig};
use crate::params;

impl UNet2DConfig {
    /// How many numbers the network's parameters are; `u64::MAX` stands for more. No memory is taken for them.
    ///
    /// # Errors
    /// A configuration that describes no network.
    pub fn parameters(&self) -> Result<u64, ConfigError> {
        Ok(params::count(&UNet2DModel::new(self, &Device::flex())?) as u64)
    }

    /// Bytes of features that one picture `[C, H, W]` takes while it passes through the network: what the skips keep, and
    /// the largest maps in work. An estimate, on the safe side; `u64::MAX` stands for more.
    pub fn features(&self, [_, height, width]: [usize; 3]) -> u64 {
        let stage = |(level, &channels): (usize, &usize)| {
            let halved = |side: usize| side.checked_shr(level as u32).unwrap_or(0).max(1) as u64;
            (channels as u64).saturating_mul(halved(height)).saturating_mul(halved(width))
        };
        let maps = || self.block_out_channels.iter().enumerate().map(stage);
        let layers = (self.layers_per_block as u64).saturating_add(2);
        let skips = maps().fold(0, u64::saturating_add).saturating_mul(layers);
        let largest = maps().max().unwrap_or(0);
        skips.saturating_add(largest.saturating_mul(6)).saturating_mul(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two stages of 8 and 16 channels at 4x4 and 2x2: maps of 128 and 64 values.
    #[test]
    fn features_count_the_skips_and_the_largest_map() {
        let config = UNet2DConfig { block_out_channels: vec![8, 16], layers_per_block: 1, ..UNet2DConfig::default() };
        assert_eq!(config.features([3, 4, 4]), 4 * (192 * 3 + 6 * 128));
        assert_eq!(config.features([3, usize::MAX, usize::MAX]), u64::MAX);
    }

    /// diffusers' defaults with 2^20 channels would be 10^14 numbers: counted, and none of them made.
    #[test]
    fn networks_of_any_size_are_counted() {
        let wide = UNet2DConfig { block_out_channels: vec![1 << 20; 4], ..UNet2DConfig::default() };
        assert!(wide.parameters().unwrap() > 1 << 46);
        // The default is the network of latent diffusion on faces, "274 M" [Rombach22, Table 12].
        assert_eq!(UNet2DConfig::default().parameters().unwrap() / 1_000_000, 274);
    }
}
