//! The stages of the U: down and up.

use burn::module::Module;
use burn::tensor::Device;

use super::config::{DownBlockType, Resample, UNet2DConfig, UpBlockType};
use crate::networks::blocks::attention::Attention;
use crate::networks::blocks::resnet::{Resize, ResnetBlock2D};
use crate::networks::blocks::sampler::Sampler;
use crate::networks::blocks::signal::Signal;
use crate::ops::{Joined, Map};

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
        let (layers, common) = (0..config.layers_per_block, config.residual());
        let sampler = || match resample {
            Resample::Conv => Sampler::down(c_out, config.downsample_padding, device),
            Resample::Resnet => Sampler::resnet(c_out, Resize::Down, &common, device),
        };
        Self {
            resnets: layers.clone().map(|i| ResnetBlock2D::new(inputs(i), c_out, &common, device)).collect(),
            attentions: layers
                .filter(|_| attends)
                .map(|_| config.attention(c_out, Some(config.norm_num_groups), device))
                .collect(),
            downsamplers: (!last).then(sampler).into_iter().collect(),
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
        let (layers, common) = (config.layers_per_block + 1, config.residual());
        let sampler = || match resample {
            Resample::Conv => Sampler::up(c_out, device),
            Resample::Resnet => Sampler::resnet(c_out, Resize::Up, &common, device),
        };
        let inputs = |i| {
            let from_below = if i == 0 { previous } else { c_out };
            let from_aside = if i == layers - 1 { skip } else { c_out };
            from_below + from_aside
        };
        Self {
            resnets: (0..layers).map(|i| ResnetBlock2D::new(inputs(i), c_out, &common, device)).collect(),
            attentions: (0..layers)
                .filter(|_| attends)
                .map(|_| config.attention(c_out, Some(config.norm_num_groups), device))
                .collect(),
            upsamplers: (!last).then(sampler).into_iter().collect(),
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
