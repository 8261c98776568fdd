//! The stages of the U: down, middle and up.

use burn::module::Module;
use burn::tensor::Device;

use super::config::{ConditionDownBlockType, ConditionMidBlockType, ConditionUpBlockType, UNet2DConditionConfig};
use crate::networks::blocks::resnet::ResnetBlock2D;
use crate::networks::blocks::sampler::Sampler;
use crate::networks::blocks::signal::Signal;
use crate::networks::blocks::transformer::{Transformer2DModel, TransformerSpec};
use crate::ops::{Joined, Map};

/// A downward stage of any [`ConditionDownBlockType`]; without attention the list is empty.
#[derive(Module, Debug)]
pub struct DownBlock {
    attentions: Vec<Transformer2DModel>,
    resnets: Vec<ResnetBlock2D>,
    downsamplers: Vec<Sampler>,
}

impl DownBlock {
    /// Stage `stage`, outermost first, of a checked config.
    pub fn new(stage: usize, config: &UNet2DConditionConfig, device: &Device) -> Self {
        let (channels, common) = (&config.block_out_channels, config.residual());
        let (c_in, c_out) = (channels[stage.saturating_sub(1)], channels[stage]);
        let inputs = |i| if i == 0 { c_in } else { c_out };
        let layers = 0..config.layers_per_block.of(stage);
        let attends = config.down_block_types[stage] == ConditionDownBlockType::CrossAttnDownBlock2D;
        let transformer = |i| {
            let spec = config.transformer(stage, config.down_layers(stage, i));
            Transformer2DModel::new(c_out, &spec, device)
        };
        let halved = stage + 1 < config.stages();
        Self {
            attentions: layers.clone().filter(|_| attends).map(transformer).collect(),
            resnets: layers.map(|i| ResnetBlock2D::new(inputs(i), c_out, &common, device)).collect(),
            downsamplers: halved.then(|| Sampler::down(c_out, config.downsample_padding, device)).into_iter().collect(),
        }
    }

    /// Appends to `skips` what the way up will need.
    pub fn forward(&self, mut x: Map, signal: &Signal, skips: &mut Vec<Map>) -> Map {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(x, signal);
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, signal);
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

/// The middle stage: a residual block, and after each transformer another.
#[derive(Module, Debug)]
pub struct MidBlock {
    attentions: Vec<Transformer2DModel>,
    resnets: Vec<ResnetBlock2D>,
}

impl MidBlock {
    /// On the channels of the innermost stage of a checked config.
    pub fn new(kind: ConditionMidBlockType, config: &UNet2DConditionConfig, device: &Device) -> Self {
        let (last, common) = (config.stages() - 1, config.residual());
        let channels = config.block_out_channels[last];
        let attends = usize::from(kind == ConditionMidBlockType::UNetMidBlock2DCrossAttn);
        let spec = TransformerSpec { only_cross: false, ..config.transformer(last, config.down_layers(last, 0)) };
        let resnet = |_| ResnetBlock2D::new(channels, channels, &common, device).scaled(config.mid_block_scale_factor);
        Self {
            attentions: (0..attends).map(|_| Transformer2DModel::new(channels, &spec, device)).collect(),
            resnets: (0..=attends).map(resnet).collect(),
        }
    }

    /// `[B, C, H, W]` → the same shape.
    pub fn forward(&self, x: Map, signal: &Signal) -> Map {
        let x = self.resnets[0].forward(x, signal);
        let pairs = self.attentions.iter().zip(&self.resnets[1..]);
        pairs.fold(x, |x, (attention, resnet)| resnet.forward(attention.forward(x, signal), signal))
    }
}

/// An upward stage of any [`ConditionUpBlockType`].
#[derive(Module, Debug)]
pub struct UpBlock {
    attentions: Vec<Transformer2DModel>,
    resnets: Vec<ResnetBlock2D>,
    upsamplers: Vec<Sampler>,
}

impl UpBlock {
    /// Stage `step`, innermost first, of a checked config.
    pub fn new(step: usize, config: &UNet2DConditionConfig, device: &Device) -> Self {
        let (channels, common) = (&config.block_out_channels, config.residual());
        let stage = config.stages() - 1 - step;
        let c_out = channels[stage];
        let (below, aside) = (channels[(stage + 1).min(channels.len() - 1)], channels[stage.saturating_sub(1)]);
        let layers = config.layers_per_block.of(stage) + 1;
        let inputs = |i| {
            let from_below = if i == 0 { below } else { c_out };
            let from_aside = if i == layers - 1 { aside } else { c_out };
            from_below + from_aside
        };
        let attends = config.up_block_types[step] == ConditionUpBlockType::CrossAttnUpBlock2D;
        let transformer = |i| {
            let spec = config.transformer(stage, config.up_layers(step, i));
            Transformer2DModel::new(c_out, &spec, device)
        };
        Self {
            attentions: (0..layers).filter(|_| attends).map(transformer).collect(),
            resnets: (0..layers).map(|i| ResnetBlock2D::new(inputs(i), c_out, &common, device)).collect(),
            upsamplers: (stage > 0).then(|| Sampler::up(c_out, device)).into_iter().collect(),
        }
    }

    /// Takes from the end of `skips` what the way down left there.
    pub fn forward(&self, mut x: Map, signal: &Signal, skips: &mut Vec<Map>) -> Map {
        for (i, resnet) in self.resnets.iter().enumerate() {
            let skip = skips.pop().expect("the way down leaves one map for each block on the way up");
            x = resnet.forward(Joined::new(x, skip), signal);
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, signal);
            }
        }
        // A side that was odd was halved to the next whole number.
        let sides = skips.last().map(|skip| [skip.dims()[2], skip.dims()[3]]);
        self.upsamplers.iter().zip(sides).fold(x, |x, (sampler, sides)| sampler.forward_to(x, sides, signal))
    }
}
