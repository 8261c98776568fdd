//! The end of a stage: a change of resolution.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::resnet::{Residual, Resize, ResnetBlock2D};
use super::signal::Signal;
use crate::layers::Conv2d;
use crate::ops::{Map, reference};

/// What ends a stage. The variant is no part of a tensor's name.
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
    /// A convolution that halves the resolution; without `padding`, diffusers adds one row below and one column to the
    /// right.
    pub fn down(channels: usize, padding: usize, device: &Device) -> Self {
        let padding = match padding {
            0 => [0, 0, 1, 1],
            n => [n; 4],
        };
        Self::Conv(ConvSampler { conv: Conv2d::new(channels, channels, 3, device).strided(2, padding) })
    }

    /// A convolution of doubled pixels.
    pub fn up(channels: usize, device: &Device) -> Self {
        Self::Conv(ConvSampler { conv: Conv2d::new(channels, channels, 3, device).upsampling() })
    }

    /// A residual block that resizes.
    pub fn resnet(channels: usize, resize: Resize, common: &Residual, device: &Device) -> Self {
        Self::Resnet(ResnetBlock2D::new(channels, channels, common, device).resizing(resize))
    }

    /// As [`forward`](Self::forward), to pictures of these sides: doubled, or doubled and cut by a row or a column.
    pub fn forward_to(&self, x: Map, [h, w]: [usize; 2], signal: &Signal) -> Map {
        match self {
            Self::Conv(sampler) if h % 2 + w % 2 > 0 => {
                let cut = |x: Tensor<4>| reference::upsample_nearest(x).narrow(2, 0, h).narrow(3, 0, w);
                sampler.conv.of_enlarged(x.with(cut))
            }
            _ => self.forward(x, signal),
        }
    }

    /// `[B, C, H, W]` → the same with sides halved or doubled.
    pub fn forward(&self, x: Map, signal: &Signal) -> Map {
        match self {
            Self::Resnet(block) => block.forward(x, signal),
            Self::Conv(sampler) => sampler.conv.forward(x),
        }
    }
}
