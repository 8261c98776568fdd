//! What a config says of its U-Net before there is one.

use super::config::{
    ConditionClassEmbed, ConditionDownBlockType, ConditionMidBlockType, ConditionUpBlockType, UNet2DConditionConfig,
};
use crate::networks::io::multiples;
use crate::networks::read::keeps_notes;
use crate::networks::stages::{self, listed};
use crate::networks::{Attends, ClassConfig, ConfigError, InputError, Io, Reads, Spec};

/// Numbers of a channel and pixel that a transformer holds at a time: its input, a feed-forward layer, queries and keys.
const IN_WORK: u64 = 20;

impl ClassConfig for UNet2DConditionConfig {
    fn check(&self) -> Result<(), ConfigError> {
        self.check_fields()
    }

    fn describe(&self) -> Vec<(&'static str, String)> {
        let middle = self.mid_block_type.map(|middle| format!("{middle:?}"));
        let mut stages = stages::drawn(&self.down_block_types, &self.up_block_types, &self.block_out_channels, middle);
        stages += &format!(
            "{} residual blocks a stage, group normalisation in {} groups, {} attention heads",
            listed(self.layers_per_block.written()),
            self.norm_num_groups,
            listed(self.attention_head_dim.written())
        );
        let mut facts = vec![("stages", stages)];
        facts.extend(self.io().tokens.map(|told| ("attends to", format!("tokens {} wide", told.width))));
        let guided = self.time_cond_proj_dim.map_or("", |_| ", with the strength of guidance");
        facts.push(("time", format!("sinusoids, embedding {} wide{guided}", self.time_embed_dim())));
        facts
    }

    keeps_notes!();
}

impl Spec for UNet2DConditionConfig {
    fn io(&self) -> Io {
        Io {
            channels_in: self.in_channels,
            channels_out: self.out_channels,
            sample_size: self.sample_size.map(|size| size.height_width().into()),
            reads: match (self.class_embed_type, self.num_class_embeds) {
                (None, None) => Reads::Nothing,
                (None, Some(classes)) => Reads::Labels(classes),
                (Some(ConditionClassEmbed::Timestep), _) => Reads::Labels(0),
                (Some(ConditionClassEmbed::Identity), _) => Reads::Vector(self.time_embed_dim()),
                (Some(ConditionClassEmbed::Projection | ConditionClassEmbed::SimpleProjection), _) => {
                    Reads::Vector(self.projection_class_embeddings_input_dim.unwrap_or(0))
                }
            },
            tokens: self.attends().then(|| Attends {
                width: self.encoder_hid_dim.unwrap_or_else(|| self.cross_attention_dim.of(0)),
                length: None,
            }),
            timestep_cond: self.time_cond_proj_dim,
        }
    }

    /// The sides are halved between stages.
    fn stride(&self) -> usize {
        1 << (self.stages() - 1)
    }

    /// Odd sides are halved to the next whole number, and lose what was doubled too much on the way back.
    fn check_size(&self, height: usize, width: usize) -> Result<(), InputError> {
        let stride = if self.downsample_padding == 1 { 1 } else { self.stride() };
        multiples([height, width], stride)
    }

    fn features(&self, [_, height, width]: [usize; 3]) -> u64 {
        let layers = |stage| self.layers_per_block.of(stage);
        stages::features(&self.block_out_channels, layers, IN_WORK, [height, width])
    }

    /// In convolutions, linear maps and attention to pixels; tokens are few.
    fn multiplications(&self, sides: [usize; 2]) -> f64 {
        let (last, layers) = (self.stages() - 1, |stage| self.layers_per_block.of(stage));
        // Two projections; a block has eight more beside a feed-forward layer of twelve, and attends to every pixel.
        let transformer = |stage: usize, blocks: usize| {
            let (c, n) = (self.block_out_channels[stage] as f64, stages::pixels(stage, sides));
            2.0 * c * c * n + blocks as f64 * (18.0 * c * c * n + 2.0 * c * n * n)
        };
        let down = |stage: usize| -> f64 {
            let attends = self.down_block_types[stage] == ConditionDownBlockType::CrossAttnDownBlock2D;
            let blocks = (0..layers(stage)).filter(|_| attends).map(|layer| self.down_layers(stage, layer));
            blocks.map(|blocks| transformer(stage, blocks)).sum()
        };
        let up = |stage: usize| -> f64 {
            let attends = self.up_block_types[last - stage] == ConditionUpBlockType::CrossAttnUpBlock2D;
            let blocks = (0..=layers(stage)).filter(|_| attends).map(|layer| self.up_layers(last - stage, layer));
            blocks.map(|blocks| transformer(stage, blocks)).sum()
        };
        let (residual, middle) = match self.mid_block_type {
            Some(ConditionMidBlockType::UNetMidBlock2DCrossAttn) => (2, transformer(last, self.down_layers(last, 0))),
            Some(ConditionMidBlockType::UNetMidBlock2D) => (1, 0.0),
            None => (0, 0.0),
        };
        stages::convolutions(&self.block_out_channels, layers, residual, sides)
            + (0..=last).map(|stage| down(stage) + up(stage)).sum::<f64>()
            + middle
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Each;
    use super::*;
    use crate::networks::NetworkConfig;

    /// The U-Nets of Stable Diffusion 1.5 and 2.1 have 859,520,964 and 865,910,724 parameters.
    #[test]
    fn those_of_stable_diffusion_are_counted() {
        let first = UNet2DConditionConfig { cross_attention_dim: Each::All(768), ..UNet2DConditionConfig::default() };
        assert_eq!(NetworkConfig::from(first).parameters().unwrap(), 859_520_964);
        let second = UNet2DConditionConfig {
            cross_attention_dim: Each::All(1024),
            attention_head_dim: Each::List(vec![5, 10, 20, 20]),
            use_linear_projection: true,
            ..UNet2DConditionConfig::default()
        };
        assert_eq!(NetworkConfig::from(second).parameters().unwrap(), 865_910_724);
    }

    /// At 512², about 350 billion multiplications without those to tokens.
    #[test]
    fn work_is_counted() {
        let config = UNet2DConditionConfig { cross_attention_dim: Each::All(768), ..UNet2DConditionConfig::default() };
        let work = config.multiplications([64, 64]);
        assert!((3.0e11..4.2e11).contains(&work), "{work:e}");
    }
}
