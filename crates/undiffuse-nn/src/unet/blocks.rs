//! The stages of the U: down, middle and up.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::attention::Attention;
use super::config::{DownBlockType, Resample, TimeScaleShift, UNet2DConfig, UpBlockType};
use super::resnet::{Resize, ResnetBlock2D};
use super::signal::Signal;
use crate::layers::Conv2d;
use crate::ops;

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
    #[module(skip)]
    resize: Resize,
    #[module(skip)]
    pad_end: bool,
}

impl Sampler {
    fn down(channels: usize, kind: Resample, config: &UNet2DConfig, device: &Device) -> Self {
        match kind {
            Resample::Conv => Self::Conv(ConvSampler {
                conv: Conv2d::new(channels, channels, 3, device).strided(2, config.downsample_padding),
                resize: Resize::Down,
                pad_end: config.downsample_padding == 0,
            }),
            Resample::Resnet => {
                Self::Resnet(ResnetBlock2D::new(channels, channels, config, device).resizing(Resize::Down))
            }
        }
    }

    fn up(channels: usize, kind: Resample, config: &UNet2DConfig, device: &Device) -> Self {
        match kind {
            Resample::Conv => Self::Conv(ConvSampler {
                conv: Conv2d::new(channels, channels, 3, device),
                resize: Resize::Up,
                pad_end: false,
            }),
            Resample::Resnet => {
                Self::Resnet(ResnetBlock2D::new(channels, channels, config, device).resizing(Resize::Up))
            }
        }
    }

    fn forward(&self, x: Tensor<4>, signal: &Signal) -> Tensor<4> {
        match self {
            Self::Resnet(block) => block.forward(x, signal),
            Self::Conv(ConvSampler { conv, resize: Resize::Up, .. }) => conv.forward(ops::upsample_nearest(x)),
            Self::Conv(ConvSampler { conv, pad_end: true, .. }) => conv.forward(pad_end(x)),
            Self::Conv(ConvSampler { conv, .. }) => conv.forward(x),
        }
    }
}

/// One row of zeros below and one column to the right.
fn pad_end(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let device = x.device();
    let x = Tensor::cat(vec![x, Tensor::zeros([b, c, h, 1], &device)], 3);
    Tensor::cat(vec![x, Tensor::zeros([b, c, 1, w + 1], &device)], 2)
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
    pub fn forward(&self, mut x: Tensor<4>, signal: &Signal, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
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
    pub fn forward(&self, x: Tensor<4>, signal: &Signal) -> Tensor<4> {
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
    pub fn forward(&self, mut x: Tensor<4>, signal: &Signal, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            let skip = skips.pop().expect("the way down leaves one tensor for each block on the way up");
            x = resnet.forward(Tensor::cat(vec![x, skip], 1), signal);
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x);
            }
        }
        self.upsamplers.iter().fold(x, |x, sampler| sampler.forward(x, signal))
    }
}
