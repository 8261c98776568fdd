//! The stages of the U, as a config says.

use burn::tensor::Device;

use super::config::{ConditionDownBlockType, ConditionMidBlockType, ConditionUpBlockType, UNet2DConditionConfig};
use crate::networks::blocks::attention::AnyAttention;
use crate::networks::blocks::middle::MidBlock;
use crate::networks::blocks::resnet::ResnetBlock2D;
use crate::networks::blocks::sampler::Sampler;
use crate::networks::blocks::transformer::{Transformer2DModel, TransformerSpec};
use crate::networks::blocks::unet::{DownBlock, UpBlock};

/// Stage `stage` down, outermost first.
pub fn down(stage: usize, config: &UNet2DConditionConfig, device: &Device) -> DownBlock {
    let (channels, layers) = (&config.block_out_channels, config.layers_per_block.of(stage));
    let (c_in, c_out) = (channels[stage.saturating_sub(1)], channels[stage]);
    let attends = config.down_block_types[stage] == ConditionDownBlockType::CrossAttnDownBlock2D;
    let spec = |layer| config.transformer(stage, config.down_layers(stage, layer));
    let halved = stage + 1 < config.stages();
    DownBlock {
        resnets: ResnetBlock2D::chain(layers, [c_in, c_out], &config.residual(), device),
        attentions: (0..layers).filter(|_| attends).map(|layer| transformer(c_out, &spec(layer), device)).collect(),
        downsamplers: halved.then(|| Sampler::down(c_out, config.downsample_padding, device)).into_iter().collect(),
    }
}

/// The middle stage, on the channels of the innermost one.
pub fn middle(kind: ConditionMidBlockType, config: &UNet2DConditionConfig, device: &Device) -> MidBlock {
    let last = config.stages() - 1;
    let channels = config.block_out_channels[last];
    let attends = usize::from(kind == ConditionMidBlockType::UNetMidBlock2DCrossAttn);
    let spec = TransformerSpec { only_cross: false, ..config.transformer(last, config.down_layers(last, 0)) };
    let resnets = ResnetBlock2D::chain(attends + 1, [channels; 2], &config.residual(), device);
    MidBlock {
        attentions: (0..attends).map(|_| transformer(channels, &spec, device)).collect(),
        resnets: resnets.into_iter().map(|resnet| resnet.scaled(config.mid_block_scale_factor)).collect(),
    }
}

/// Stage `step` up, innermost first.
pub fn up(step: usize, config: &UNet2DConditionConfig, device: &Device) -> UpBlock {
    let stage = config.stages() - 1 - step;
    let (c_out, layers) = (config.block_out_channels[stage], config.layers_per_block.of(stage) + 1);
    let attends = config.up_block_types[step] == ConditionUpBlockType::CrossAttnUpBlock2D;
    let spec = |layer| config.transformer(stage, config.up_layers(step, layer));
    UpBlock {
        resnets: UpBlock::resnets(&config.block_out_channels, stage, layers, &config.residual(), device),
        attentions: (0..layers).filter(|_| attends).map(|layer| transformer(c_out, &spec(layer), device)).collect(),
        upsamplers: (stage > 0).then(|| Sampler::up(c_out, device)).into_iter().collect(),
    }
}

fn transformer(channels: usize, spec: &TransformerSpec, device: &Device) -> AnyAttention {
    AnyAttention::Tokens(Transformer2DModel::new(channels, spec, device))
}
