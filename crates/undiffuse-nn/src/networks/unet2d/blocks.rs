//! The stages of the U: down, middle and up.

use burn::module::Module;
use burn::tensor::Device;

use super::attention::Attention;
use super::config::{DownBlockType, Resample, TimeScaleShift, UNet2DConfig, UpBlockType};
use super::resnet::{Resize, ResnetBlock2D};
use super::signal::Signal;
use crate::layers::Conv2d;
use crate::ops::{Joined, Map};

/// The end of a stage: a change of resolution. The variant is no part of a tensor's name.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Sampler {
    /// A strided convolution, or enlargement and a convolution.
    Conv(ConvSampler),
    /// A residual block that resizes.
    Resnet(ResnetBlock2D),
}

/// The convolutional [`Sampler`].
#[derive(Module, Debug)]
pub struct ConvSampler {
    conv: Conv2d,
}

impl Sampler {
    fn down(channels: usize, kind: Resample, config: &UNet2DConfig, device: &Device) -> Self {
        match kind {
            Resample::Conv => {
                // Without padding, diffusers adds one row below and one column to the right.
                let padding = match config.downsample_padding {
                    0 => [0, 0, 1, 1],
                    n => [n; 4],
                };
                Self::Conv(ConvSampler { conv: Conv2d::new(channels, channels, 3, device).strided(2, padding) })
            }
            Resample::Resnet => {
                Self::Resnet(ResnetBlock2D::new(channels, channels, config, device).resizing(Resize::Down))
            }
        }
    }

    fn up(channels: usize, kind: Resample, config: &UNet2DConfig, device: &Device) -> Self {
        match kind {
            Resample::Conv => Self::Conv(ConvSampler { conv: Conv2d::new(channels, channels, 3, device).upsampling() }),
            Resample::Resnet => {
                Self::Resnet(ResnetBlock2D::new(channels, channels, config, device).resizing(Resize::Up))
            }
        }
    }

    fn forward(&self, x: Map, signal: &Signal) -> Map {
        match self {
            Self::Resnet(block) => block.forward(x, signal),
            Self::Conv(sampler) => sampler.conv.forward(x),
        }
    }
}

/// A downward stage of any [`DownBlockType`]; without attention the list is empty.
#[derive(Module, Debug)]
pub struct DownBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<Attention>,
    downsamplers: Vec<Sampler>,
}

impl DownBlock {
    /// From `c_in` to `c_out` channels; `last` stages keep the resolution.
    pub fn new(
        kind: DownBlockType,
        c_in: usize,
        c_out: usize,
        last: bool,
        config: &UNet2DConfig,
        device: &Device,
    ) -> Self {
        let attends = kind == DownBlockType::AttnDownBlock2D;
        let resample = match kind {
            DownBlockType::DownBlock2D => Resample::Conv,
            DownBlockType::AttnDownBlock2D => config.downsample_type.unwrap_or(Resample::Conv),
            DownBlockType::ResnetDownsampleBlock2D => Resample::Resnet,
        };
        let inputs = |i| if i == 0 { c_in } else { c_out };
        let layers = 0..config.layers_per_block;
        Self {
            resnets: layers.clone().map(|i| ResnetBlock2D::new(inputs(i), c_out, config, device)).collect(),
            attentions: layers
                .filter(|_| attends)
                .map(|_| Attention::new(c_out, Some(config.norm_num_groups), config, device))
                .collect(),
            downsamplers: (!last).then(|| Sampler::down(c_out, resample, config, device)).into_iter().collect(),
        }
    }

    /// Appends to `skips` what the way up will need.
    pub fn forward(&self, mut x: Map, signal: &Signal, skips: &mut Vec<Map>) -> Map {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(x, signal);
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x);
            }
            skips.push(x.clone());
        }
        for sampler in &self.downsamplers {
            x = sampler.forward(x, signal);
            skips.push(x.clone());
        }
        x
    }
}

/// The middle stage.
#[derive(Module, Debug)]
pub struct MidBlock {
    attentions: Vec<Attention>,
    resnets: Vec<ResnetBlock2D>,
}

impl MidBlock {
    /// On the channels of the innermost stage.
    pub fn new(config: &UNet2DConfig, device: &Device) -> Self {
        let channels = config.block_out_channels[config.block_out_channels.len() - 1];
        let factor = config.mid_block_scale_factor;
        let groups = config.attn_norm_num_groups.or(match config.resnet_time_scale_shift {
            TimeScaleShift::Default => Some(config.norm_num_groups),
            TimeScaleShift::ScaleShift => None,
        });
        let resnet = || ResnetBlock2D::new(channels, channels, config, device).scaled(factor);
        Self {
            attentions: config
                .add_attention
                .then(|| Attention::new(channels, groups, config, device).scaled(factor))
                .into_iter()
                .collect(),
            resnets: vec![resnet(), resnet()],
        }
    }

    /// `[B, C, H, W]` → the same shape.
    pub fn forward(&self, x: Map, signal: &Signal) -> Map {
        let x = self.resnets[0].forward(x, signal);
        let x = self.attentions.iter().fold(x, |x, attention| attention.forward(x));
        self.resnets[1].forward(x, signal)
    }
}

/// An upward stage of any [`UpBlockType`].
#[derive(Module, Debug)]
pub struct UpBlock {
    attentions: Vec<Attention>,
    resnets: Vec<ResnetBlock2D>,
    upsamplers: Vec<Sampler>,
}

impl UpBlock {
    /// From `previous` to `c_out` channels; `skip` are the channels of the next stage outward.
    pub fn new(
        kind: UpBlockType,
        previous: usize,
        c_out: usize,
        skip: usize,
        last: bool,
        config: &UNet2DConfig,
        device: &Device,
    ) -> Self {
        let attends = kind == UpBlockType::AttnUpBlock2D;
        let resample = match kind {
            UpBlockType::UpBlock2D => Resample::Conv,
            UpBlockType::AttnUpBlock2D => config.upsample_type.unwrap_or(Resample::Conv),
            UpBlockType::ResnetUpsampleBlock2D => Resample::Resnet,
        };
        let layers = config.layers_per_block + 1;
        let inputs = |i| {
            let from_below = if i == 0 { previous } else { c_out };
            let from_aside = if i == layers - 1 { skip } else { c_out };
            from_below + from_aside
        };
        Self {
            resnets: (0..layers).map(|i| ResnetBlock2D::new(inputs(i), c_out, config, device)).collect(),
            attentions: (0..layers)
                .filter(|_| attends)
                .map(|_| Attention::new(c_out, Some(config.norm_num_groups), config, device))
                .collect(),
            upsamplers: (!last).then(|| Sampler::up(c_out, resample, config, device)).into_iter().collect(),
        }
    }

    /// Takes from the end of `skips` what the way down left there.
    pub fn forward(&self, mut x: Map, signal: &Signal, skips: &mut Vec<Map>) -> Map {
        for (i, resnet) in self.resnets.iter().enumerate() {
            let skip = skips.pop().expect("the way down leaves one tensor for each block on the way up");
            x = resnet.forward(Joined::new(x, skip), signal);
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x);
            }
        }
        self.upsamplers.iter().fold(x, |x, sampler| sampler.forward(x, signal))
    }
}
