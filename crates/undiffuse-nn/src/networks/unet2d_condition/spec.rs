//! What a config says of its U-Net before there is one.

use super::config::{
    ConditionClassEmbed, ConditionDownBlockType, ConditionMidBlockType, ConditionUpBlockType, UNet2DConditionConfig,
};
use crate::networks::{Attends, ClassConfig, ConfigError, InputError, Io, Reads, Spec};

/// Numbers of a channel and pixel that a transformer holds at a time: its input, a feed-forward layer, queries and keys.
const IN_WORK: u64 = 20;

impl ClassConfig for UNet2DConditionConfig {
    fn check(&self) -> Result<(), ConfigError> {
        self.check_fields()
    }

    fn describe(&self) -> Vec<(&'static str, String)> {
        let ups = self.up_block_types.iter().rev();
        let sides = self.down_block_types.iter().zip(ups).zip(&self.block_out_channels);
        let line = |((down, up), channels)| format!("{channels:>4}  {:<24} {up:?}\n", format!("{down:?}"));
        let mut stages: String = sides.map(line).collect();
        if let Some(middle) = self.mid_block_type {
            stages += &format!("      {middle:?}\n");
        }
        let list = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        stages += &format!(
            "{} residual blocks a stage, group normalisation in {} groups, {} attention heads",
            list(self.layers_per_block.written()),
            self.norm_num_groups,
            list(self.attention_head_dim.written())
        );
        let mut facts = vec![("stages", stages)];
        facts.extend(self.io().tokens.map(|told| ("attends to", format!("tokens {} wide", told.width))));
        let guided = self.time_cond_proj_dim.map_or("", |_| ", with the strength of guidance");
        facts.push(("time", format!("sinusoids, embedding {} wide{guided}", self.time_embed_dim())));
        facts
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }
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
        let fits = height > 0 && width > 0 && height.is_multiple_of(stride) && width.is_multiple_of(stride);
        if fits { Ok(()) } else { Err(InputError::Size { height, width, stride }) }
    }

    /// What the skips keep, and the largest maps in work.
    fn features(&self, [_, height, width]: [usize; 3]) -> u64 {
        let map = |stage: usize| {
            let halved = |side: usize| side.checked_shr(stage as u32).unwrap_or(0).max(1) as u64;
            (self.block_out_channels[stage] as u64).saturating_mul(halved(height)).saturating_mul(halved(width))
        };
        let kept = |stage: usize| map(stage).saturating_mul(self.layers_per_block.of(stage) as u64 + 2);
        let skips = (0..self.stages()).map(kept).fold(0, u64::saturating_add);
        let largest = (0..self.stages()).map(map).max().unwrap_or(0);
        skips.saturating_add(largest.saturating_mul(IN_WORK)).saturating_mul(4)
    }

    /// In convolutions, linear maps and attention to pixels; tokens are few.
    fn multiplications(&self, [height, width]: [usize; 2]) -> f64 {
        let pixels = |stage: usize| {
            let side = |side: usize| (side >> stage.min(63)).max(1) as f64;
            side(height) * side(width)
        };
        // Two convolutions of 3x3.
        let residual = |from: f64, to: f64, n: f64| 9.0 * (from * to + to * to) * n;
        // Two projections; a block has eight more beside a feed-forward layer of twelve, and attends to every pixel.
        let transformer =
            |c: f64, n: f64, blocks: usize| 2.0 * c * c * n + blocks as f64 * (18.0 * c * c * n + 2.0 * c * n * n);
        let last = self.stages() - 1;
        let mut sum = 0.0;
        for stage in 0..=last {
            let channels = |stage: usize| self.block_out_channels[stage] as f64;
            let (c, n, layers) = (channels(stage), pixels(stage), self.layers_per_block.of(stage));
            for layer in 0..=layers {
                if layer < layers {
                    sum += residual(if layer == 0 { channels(stage.saturating_sub(1)) } else { c }, c, n);
                    if self.down_block_types[stage] == ConditionDownBlockType::CrossAttnDownBlock2D {
                        sum += transformer(c, n, self.down_layers(stage, layer));
                    }
                }
                sum += residual(2.0 * c, c, n);
                if self.up_block_types[last - stage] == ConditionUpBlockType::CrossAttnUpBlock2D {
                    sum += transformer(c, n, self.up_layers(last - stage, layer));
                }
            }
        }
        let (c, n) = (self.block_out_channels[last] as f64, pixels(last));
        sum + match self.mid_block_type {
            Some(ConditionMidBlockType::UNetMidBlock2DCrossAttn) => {
                2.0 * residual(c, c, n) + transformer(c, n, self.down_layers(last, 0))
            }
            Some(ConditionMidBlockType::UNetMidBlock2D) => residual(c, c, n),
            None => 0.0,
        }
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
