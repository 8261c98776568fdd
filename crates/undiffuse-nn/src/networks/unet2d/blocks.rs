//! The stages of the U, as a config says.

use burn::tensor::Device;

use super::config::{DownBlockType, Resample, TimeScaleShift, UNet2DConfig, UpBlockType};
use crate::networks::blocks::attention::{AnyAttention, Attention};
use crate::networks::blocks::middle::MidBlock;
use crate::networks::blocks::resnet::{Resize, ResnetBlock2D};
use crate::networks::blocks::sampler::Sampler;
use crate::networks::blocks::unet::{DownBlock, UpBlock};

/// Stage `stage` down, outermost first.
pub fn down(stage: usize, config: &UNet2DConfig, device: &Device) -> DownBlock {
    let (kind, channels, common) = (config.down_block_types[stage], &config.block_out_channels, config.residual());
    let (c_in, c_out) = (channels[stage.saturating_sub(1)], channels[stage]);
    let resample = match kind {
        DownBlockType::DownBlock2D => Resample::Conv,
        DownBlockType::AttnDownBlock2D => config.downsample_type.unwrap_or(Resample::Conv),
        DownBlockType::ResnetDownsampleBlock2D => Resample::Resnet,
    };
    let sampler = || match resample {
        Resample::Conv => Sampler::down(c_out, config.downsample_padding, device),
        Resample::Resnet => Sampler::resnet(c_out, Resize::Down, &common, device),
    };
    let attending = if kind == DownBlockType::AttnDownBlock2D { config.layers_per_block } else { 0 };
    DownBlock {
        resnets: ResnetBlock2D::chain(config.layers_per_block, [c_in, c_out], &common, device),
        attentions: attentions(attending, c_out, config, device),
        downsamplers: (stage + 1 < channels.len()).then(sampler).into_iter().collect(),
    }
}

/// The middle stage, on the channels of the innermost one.
pub fn middle(config: &UNet2DConfig, device: &Device) -> MidBlock {
    let (channels, factor) =
        (config.block_out_channels[config.block_out_channels.len() - 1], config.mid_block_scale_factor);
    let groups = config.attn_norm_num_groups.or(match config.resnet_time_scale_shift {
        TimeScaleShift::Default => Some(config.norm_num_groups),
        TimeScaleShift::ScaleShift => None,
    });
    let attention = || AnyAttention::Pixels(attention(channels, groups, config, device).scaled(factor));
    let resnets = ResnetBlock2D::chain(2, [channels; 2], &config.residual(), device);
    MidBlock {
        attentions: config.add_attention.then(attention).into_iter().collect(),
        resnets: resnets.into_iter().map(|resnet| resnet.scaled(factor)).collect(),
    }
}

/// Stage `step` up, innermost first.
pub fn up(step: usize, config: &UNet2DConfig, device: &Device) -> UpBlock {
    let (kind, channels, common) = (config.up_block_types[step], &config.block_out_channels, config.residual());
    let (stage, layers) = (channels.len() - 1 - step, config.layers_per_block + 1);
    let c_out = channels[stage];
    let resample = match kind {
        UpBlockType::UpBlock2D => Resample::Conv,
        UpBlockType::AttnUpBlock2D => config.upsample_type.unwrap_or(Resample::Conv),
        UpBlockType::ResnetUpsampleBlock2D => Resample::Resnet,
    };
    let sampler = || match resample {
        Resample::Conv => Sampler::up(c_out, device),
        Resample::Resnet => Sampler::resnet(c_out, Resize::Up, &common, device),
    };
    let attending = if kind == UpBlockType::AttnUpBlock2D { layers } else { 0 };
    UpBlock {
        resnets: UpBlock::resnets(channels, stage, layers, &common, device),
        attentions: attentions(attending, c_out, config, device),
        upsamplers: (stage > 0).then(sampler).into_iter().collect(),
    }
}

fn attentions(count: usize, channels: usize, config: &UNet2DConfig, device: &Device) -> Vec<AnyAttention> {
    let groups = Some(config.norm_num_groups);
    (0..count).map(|_| AnyAttention::Pixels(attention(channels, groups, config, device))).collect()
}

/// Over `channels`, normalised in `groups` groups (not at all for `None`).
fn attention(channels: usize, groups: Option<usize>, config: &UNet2DConfig, device: &Device) -> Attention {
    Attention::new(channels, groups, config.norm_eps, config.attention_head_dim, device)
}
