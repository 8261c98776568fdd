//! What a config says of its U-Net before there is one.

use super::config::{
    ClassEmbed, DownBlockType, MidBlockType, TimeEmbedding, TimeScaleShift, UNet2DConfig, UpBlockType,
};
use crate::networks::{ClassConfig, ConfigError, Io, Reads, Spec};

impl ClassConfig for UNet2DConfig {
    fn check(&self) -> Result<(), ConfigError> {
        self.check_fields()
    }

    fn describe(&self) -> Vec<(&'static str, String)> {
        let kind = format!("{:?}", self.time_embedding_type).to_lowercase();
        let enters = match self.resnet_time_scale_shift {
            TimeScaleShift::Default => "added to the features",
            TimeScaleShift::ScaleShift => "scales and shifts the features",
        };
        let time = format!("{kind} embedding {} wide, {enters}", self.time_embed_dim());
        vec![("stages", self.stages()), ("time", time)]
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }
}

impl Spec for UNet2DConfig {
    fn io(&self) -> Io {
        Io {
            channels_in: self.in_channels,
            channels_out: self.out_channels,
            sample_size: self.sample_size.map(|size| size.height_width().into()),
            reads: match (self.class_embed_type, self.num_class_embeds) {
                (None, None) => Reads::Nothing,
                (Some(ClassEmbed::Identity), _) => Reads::Vector(self.time_embed_dim()),
                (_, classes) => Reads::Labels(classes.unwrap_or(0)),
            },
            tokens: None,
            timestep_cond: None,
        }
    }

    /// The sides are halved between stages.
    fn stride(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// What the skips keep, and the largest maps in work.
    fn features(&self, [_, height, width]: [usize; 3]) -> u64 {
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

    /// In convolutions and attention.
    fn multiplications(&self, [height, width]: [usize; 2]) -> f64 {
        let channels: Vec<f64> = self.block_out_channels.iter().map(|&c| c as f64).collect();
        let pixels = |level: usize| {
            let side = |side: usize| (side >> level.min(63)).max(1) as f64;
            side(height) * side(width)
        };
        // Two convolutions of 3x3.
        let residual = |from: f64, to: f64, n: f64| 9.0 * (from * to + to * to) * n;
        // Four projections; every pixel looks at every other.
        let attention = |c: f64, n: f64| 4.0 * c * c * n + 2.0 * c * n * n;
        let layers = self.layers_per_block as f64;
        let last = channels.len().saturating_sub(1);
        let mut sum = 0.0;
        for (level, &c) in channels.iter().enumerate() {
            let n = pixels(level);
            let outer = channels[level.saturating_sub(1)];
            sum += residual(outer, c, n) + (layers - 1.0).max(0.0) * residual(c, c, n);
            sum += (layers + 1.0) * residual(2.0 * c, c, n);
            if self.down_block_types.get(level) == Some(&DownBlockType::AttnDownBlock2D) {
                sum += layers * attention(c, n);
            }
            if self.up_block_types.get(last - level) == Some(&UpBlockType::AttnUpBlock2D) {
                sum += (layers + 1.0) * attention(c, n);
            }
        }
        if let (Some(MidBlockType::UNetMidBlock2D), Some(&c)) = (self.mid_block_type, channels.last()) {
            let n = pixels(last);
            sum += 2.0 * residual(c, c, n) + if self.add_attention { attention(c, n) } else { 0.0 };
        }
        sum
    }

    fn timesteps(&self) -> Option<usize> {
        self.num_train_timesteps.filter(|_| self.time_embedding_type == TimeEmbedding::Learned)
    }

    fn pipeline(&self) -> Option<&'static str> {
        Some("DDPMPipeline")
    }
}

impl UNet2DConfig {
    /// The U: a line for each stage, with its channels, down on the left and up on the right.
    fn stages(&self) -> String {
        let ups = self.up_block_types.iter().rev();
        let sides = self.down_block_types.iter().zip(ups).zip(&self.block_out_channels);
        let line = |((down, up), channels)| format!("{channels:>4}  {:<24} {up:?}\n", format!("{down:?}"));
        let mut text: String = sides.map(line).collect();
        if let Some(middle) = self.mid_block_type {
            let attention = if self.add_attention { "with" } else { "without" };
            text += &format!("      {middle:?}, {attention} attention\n");
        }
        let heads = match self.attention_head_dim {
            Some(width) => format!("attention heads {width} wide"),
            None => "one attention head".into(),
        };
        let (blocks, groups) = (self.layers_per_block, self.norm_num_groups);
        let plural = if blocks == 1 { "" } else { "s" };
        text + &format!("{blocks} residual block{plural} a stage, group normalisation in {groups} groups, {heads}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::NetworkConfig;

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
        assert!(NetworkConfig::from(wide).parameters().unwrap() > 1 << 46);
        // The default is the network of latent diffusion on faces, "274 M" [Rombach22, Table 12].
        assert_eq!(NetworkConfig::from(UNet2DConfig::default()).parameters().unwrap() / 1_000_000, 274);
    }

    /// One stage of 8 channels with one layer: 9(64+64) + 2·9(128+64) multiplications a pixel without attention.
    #[test]
    fn convolutions_grow_with_the_pixels_and_attention_with_their_square() {
        let plain = UNet2DConfig {
            block_out_channels: vec![8],
            layers_per_block: 1,
            down_block_types: vec![DownBlockType::DownBlock2D],
            up_block_types: vec![UpBlockType::UpBlock2D],
            mid_block_type: None,
            ..UNet2DConfig::default()
        };
        assert_eq!(plain.multiplications([4, 5]), 20.0 * (1152.0 + 3456.0));
        let attends = UNet2DConfig { down_block_types: vec![DownBlockType::AttnDownBlock2D], ..plain.clone() };
        let attention = |n: f64| 256.0 * n + 16.0 * n * n;
        assert_eq!(attends.multiplications([4, 5]) - plain.multiplications([4, 5]), attention(20.0));
        assert!(attends.multiplications([usize::MAX, usize::MAX]).is_finite());
    }
}
