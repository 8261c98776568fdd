//! What a config says of its U-Net before there is one.

use super::config::{ClassEmbed, DownBlockType, TimeEmbedding, TimeScaleShift, UNet2DConfig, UpBlockType};
use crate::networks::read::keeps_notes;
use crate::networks::{ClassConfig, ConfigError, Io, Reads, Spec, stages};

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

    keeps_notes!();
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

    fn features(&self, [_, height, width]: [usize; 3]) -> u64 {
        stages::features(&self.block_out_channels, |_| self.layers_per_block, 6, [height, width])
    }

    /// In convolutions and attention.
    fn multiplications(&self, sides: [usize; 2]) -> f64 {
        let (last, layers) = (self.block_out_channels.len() - 1, self.layers_per_block);
        // Four projections; every pixel looks at every other.
        let attention = |stage: usize| {
            let (c, n) = (self.block_out_channels[stage] as f64, stages::pixels(stage, sides));
            4.0 * c * c * n + 2.0 * c * n * n
        };
        let of_stage = |stage: usize| {
            let down = self.down_block_types[stage] == DownBlockType::AttnDownBlock2D;
            let up = self.up_block_types[last - stage] == UpBlockType::AttnUpBlock2D;
            (usize::from(down) * layers + usize::from(up) * (layers + 1)) as f64 * attention(stage)
        };
        let middle = if self.add_attention && self.mid_block_type.is_some() { attention(last) } else { 0.0 };
        let in_middle = 2 * usize::from(self.mid_block_type.is_some());
        stages::convolutions(&self.block_out_channels, |_| layers, in_middle, sides)
            + (0..=last).map(of_stage).sum::<f64>()
            + middle
    }

    fn timesteps(&self) -> Option<usize> {
        self.num_train_timesteps.filter(|_| self.time_embedding_type == TimeEmbedding::Learned)
    }

    fn pipeline(&self) -> Option<&'static str> {
        Some("DDPMPipeline")
    }
}

impl UNet2DConfig {
    /// The U, and what its blocks are.
    fn stages(&self) -> String {
        let attention = if self.add_attention { "with" } else { "without" };
        let middle = self.mid_block_type.map(|middle| format!("{middle:?}, {attention} attention"));
        let text = stages::drawn(&self.down_block_types, &self.up_block_types, &self.block_out_channels, middle);
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
