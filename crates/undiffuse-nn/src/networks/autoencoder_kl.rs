//! diffusers' `AutoencoderKL`: the latents of Stable Diffusion \[Rombach22\].

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::autoencoder::{Autoencode, AutoencoderIo, AutoencoderSpec, Code};
use super::blocks::attention::{AnyAttention, Attention};
use super::blocks::middle::MidBlock;
use super::blocks::resnet::{Residual, ResnetBlock2D, TimeScaleShift};
use super::blocks::sampler::Sampler;
use super::blocks::signal::Signal;
use super::read::{COUNT, check_scaling, keeps_notes, lacking, within};
use super::unet2d::SampleSize;
use super::{ClassConfig, ConfigError, stages};
use crate::layers::{Conv2d, GroupNorm};
use crate::ops::{Activation, Added, Map};

/// Added to variances.
const EPS: f64 = 1e-6;
/// Maps that the widest stage holds at a time.
const IN_WORK: u64 = 6;

/// A stage of the encoder: residual blocks, then a strided convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncoderBlockType {
    /// The only one.
    DownEncoderBlock2D,
}

/// A stage of the decoder: residual blocks, then enlargement and a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecoderBlockType {
    /// The only one.
    UpDecoderBlock2D,
}

/// The configuration of [`AutoencoderKL`]: the fields, names and defaults of diffusers' class of that name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoencoderKLConfig {
    /// Channels of pictures.
    pub in_channels: usize,
    /// Channels of decoded pictures.
    pub out_channels: usize,
    /// Stages of the encoder, outermost first.
    pub down_block_types: Vec<EncoderBlockType>,
    /// Stages of the decoder, innermost first.
    pub up_block_types: Vec<DecoderBlockType>,
    /// Channels of each stage.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in a stage of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Non-linearity of the residual blocks.
    pub act_fn: Activation,
    /// Channels of latents.
    pub latent_channels: usize,
    /// Groups of the group normalisation.
    pub norm_num_groups: usize,
    /// Side of the pictures that it was made for, and of diffusers' tiles.
    pub sample_size: SampleSize,
    /// What latents are multiplied by to be diffused.
    pub scaling_factor: f64,
    /// What is taken from them before that.
    pub shift_factor: Option<f64>,
    /// Means of the channels of latents, for pipelines that go by them.
    pub latents_mean: Option<Vec<f64>>,
    /// Deviations of the channels of latents, for pipelines that go by them.
    pub latents_std: Option<Vec<f64>>,
    /// Of no effect in single precision.
    pub force_upcast: bool,
    /// Whether moments pass a last map.
    pub use_quant_conv: bool,
    /// Whether latents pass a first map.
    pub use_post_quant_conv: bool,
    /// Attention in the middle.
    pub mid_block_add_attention: bool,
    /// See [`ClassConfig::notes`].
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// As in diffusers.
impl Default for AutoencoderKLConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![EncoderBlockType::DownEncoderBlock2D],
            up_block_types: vec![DecoderBlockType::UpDecoderBlock2D],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: Activation::Silu,
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: SampleSize::Square(32),
            scaling_factor: 0.18215,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            force_upcast: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            notes: Vec::new(),
        }
    }
}

impl AutoencoderKLConfig {
    fn residual(&self) -> Residual {
        Residual {
            groups: self.norm_num_groups,
            eps: EPS,
            activation: self.act_fn,
            time: None,
            time_scale_shift: TimeScaleShift::Default,
            dropout: 0.0,
        }
    }

    fn middle(&self, device: &Device) -> MidBlock {
        let channels = self.block_out_channels[self.block_out_channels.len() - 1];
        let attention = || Attention::new(channels, Some(self.norm_num_groups), EPS, None, device);
        MidBlock {
            attentions: self.mid_block_add_attention.then(attention).map(AnyAttention::Pixels).into_iter().collect(),
            resnets: ResnetBlock2D::chain(2, [channels; 2], &self.residual(), device),
        }
    }
}

impl ClassConfig for AutoencoderKLConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let down = self.down_block_types.len();
        stages::check(&self.block_out_channels, down, self.up_block_types.len())?;
        within("layers_per_block", self.layers_per_block, stages::LAYERS)?;
        let (height, width) = self.sample_size.height_width();
        for (field, count) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("latent_channels", self.latent_channels),
            ("norm_num_groups", self.norm_num_groups),
            ("sample_size", height),
            ("sample_size", width),
        ] {
            within(field, count, COUNT)?;
        }
        for &channels in &self.block_out_channels {
            within("block_out_channels", channels, COUNT)?;
            stages::check_groups(channels, "norm_num_groups", self.norm_num_groups)?;
        }
        check_scaling(self.scaling_factor)?;
        if self.latents_mean.is_some() || self.latents_std.is_some() {
            return lacking(
                "latents_mean and latents_std: latents are scaled by scaling_factor and shift_factor alone",
            );
        }
        Ok(())
    }

    fn describe(&self) -> Vec<(&'static str, String)> {
        let AutoencoderIo { scale, latent_channels, .. } = self.io();
        let attention = if self.mid_block_add_attention { "with" } else { "without" };
        let stages = format!(
            "{} channels, {} residual blocks each, {attention} attention in the middle",
            stages::listed(&self.block_out_channels),
            self.layers_per_block
        );
        let latents =
            format!("{latent_channels} channels, a pixel for {scale}×{scale}, diffused times {}", self.scaling_factor);
        vec![("stages", stages), ("latents", latents)]
    }

    keeps_notes!();
}

impl AutoencoderSpec for AutoencoderKLConfig {
    fn io(&self) -> AutoencoderIo {
        AutoencoderIo {
            channels_in: self.in_channels,
            channels_out: self.out_channels,
            latent_channels: self.latent_channels,
            scale: 1 << (self.block_out_channels.len() - 1),
            code: Code::Moments,
            sample_size: self.sample_size.height_width().0,
            scaling: [self.scaling_factor, self.shift_factor.unwrap_or(0.0)],
        }
    }

    /// The widest map in work: the decoder's last stage has the channels of the one within, at first.
    fn features(&self, [_, height, width]: [usize; 3]) -> u64 {
        let map = |stage: usize| {
            let side = |side: usize| (side >> stage).max(1) as u64;
            let channels = self.block_out_channels[(stage + 1).min(self.block_out_channels.len() - 1)] as u64;
            channels.saturating_mul(side(height)).saturating_mul(side(width))
        };
        let largest = (0..self.block_out_channels.len()).map(map).max().unwrap_or(0);
        largest.saturating_mul(4 * IN_WORK)
    }
}

/// The network. Field names are diffusers' tensor names.
#[derive(Module, Debug)]
pub struct AutoencoderKL {
    encoder: Encoder,
    decoder: Decoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    #[module(skip)]
    pub(super) config: AutoencoderKLConfig,
}

#[derive(Module, Debug)]
struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Module, Debug)]
struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Module, Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock2D>,
    downsamplers: Vec<Sampler>,
}

#[derive(Module, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock2D>,
    upsamplers: Vec<Sampler>,
}

/// What a stage makes of a map, the blocks and then the sampler.
fn stage(x: Map, resnets: &[ResnetBlock2D], samplers: &[Sampler], signal: &Signal) -> Map {
    let x = resnets.iter().fold(x, |x, resnet| resnet.forward(x, signal));
    samplers.iter().fold(x, |x, sampler| sampler.forward(x, signal))
}

impl Encoder {
    fn new(config: &AutoencoderKLConfig, device: &Device) -> Self {
        let (channels, common) = (&config.block_out_channels, config.residual());
        let last = channels.len() - 1;
        let down = |i: usize| {
            let widths = [channels[i.saturating_sub(1)], channels[i]];
            DownBlock {
                resnets: ResnetBlock2D::chain(config.layers_per_block, widths, &common, device),
                downsamplers: (i < last).then(|| Sampler::down(channels[i], 0, device)).into_iter().collect(),
            }
        };
        Self {
            conv_in: Conv2d::new(config.in_channels, channels[0], 3, device),
            down_blocks: (0..=last).map(down).collect(),
            mid_block: config.middle(device),
            conv_norm_out: GroupNorm::new(config.norm_num_groups, channels[last], EPS, device),
            conv_out: Conv2d::new(channels[last], 2 * config.latent_channels, 3, device),
        }
    }

    fn forward(&self, x: Map) -> Map {
        let signal = Signal::silence();
        let x = self.conv_in.forward(x);
        let x = self.down_blocks.iter().fold(x, |x, block| stage(x, &block.resnets, &block.downsamplers, &signal));
        let x = self.mid_block.forward(x, &signal);
        // diffusers activates with SiLU here whatever `act_fn` says, and so at the end of the decoder.
        self.conv_out.fused(x, Some(self.conv_norm_out.then(Some(Activation::Silu), None)), Added::default())
    }
}

impl Decoder {
    fn new(config: &AutoencoderKLConfig, device: &Device) -> Self {
        let (channels, common) = (&config.block_out_channels, config.residual());
        let last = channels.len() - 1;
        let up = |i: usize| {
            let widths = [channels[(i + 1).min(last)], channels[i]];
            UpBlock {
                resnets: ResnetBlock2D::chain(config.layers_per_block + 1, widths, &common, device),
                upsamplers: (i > 0).then(|| Sampler::up(channels[i], device)).into_iter().collect(),
            }
        };
        Self {
            conv_in: Conv2d::new(config.latent_channels, channels[last], 3, device),
            mid_block: config.middle(device),
            up_blocks: (0..=last).rev().map(up).collect(),
            conv_norm_out: GroupNorm::new(config.norm_num_groups, channels[0], EPS, device),
            conv_out: Conv2d::new(channels[0], config.out_channels, 3, device),
        }
    }

    fn forward(&self, z: Map) -> Map {
        let signal = Signal::silence();
        let x = self.mid_block.forward(self.conv_in.forward(z), &signal);
        let x = self.up_blocks.iter().fold(x, |x, block| stage(x, &block.resnets, &block.upsamplers, &signal));
        self.conv_out.fused(x, Some(self.conv_norm_out.then(Some(Activation::Silu), None)), Added::default())
    }
}

impl AutoencoderKL {
    /// The network that a checked `config` describes, its parameters blank.
    pub(super) fn new(config: &AutoencoderKLConfig, device: &Device) -> Self {
        let pointwise = |channels| Conv2d::new(channels, channels, 1, device);
        Self {
            encoder: Encoder::new(config, device),
            decoder: Decoder::new(config, device),
            quant_conv: config.use_quant_conv.then(|| pointwise(2 * config.latent_channels)),
            post_quant_conv: config.use_post_quant_conv.then(|| pointwise(config.latent_channels)),
            config: config.clone(),
        }
    }
}

impl Autoencode for AutoencoderKL {
    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        let moments = self.encoder.forward(Map::from(x));
        match &self.quant_conv {
            Some(conv) => conv.forward(moments),
            None => moments,
        }
        .into_tensor()
    }

    fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let z = Map::from(z);
        let z = match &self.post_quant_conv {
            Some(conv) => conv.forward(z),
            None => z,
        };
        self.decoder.forward(z).into_tensor()
    }
}

#[cfg(test)]
mod tests {
    use super::super::AutoencoderConfig;
    use super::*;

    /// That of Stable Diffusion 1 and 2 has 83,653,863 parameters.
    #[test]
    fn that_of_stable_diffusion_is_counted() {
        let config = AutoencoderKLConfig {
            down_block_types: vec![EncoderBlockType::DownEncoderBlock2D; 4],
            up_block_types: vec![DecoderBlockType::UpDecoderBlock2D; 4],
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            sample_size: SampleSize::Square(512),
            ..AutoencoderKLConfig::default()
        };
        assert_eq!(AutoencoderConfig::from(config.clone()).parameters().unwrap(), 83_653_863);
        assert_eq!(config.io().scale, 8);
    }
}
