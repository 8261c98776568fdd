//! diffusers' `UNet2DModel`: the U-shaped network of \[Ho20\] and its descendants.

mod architecture;
mod blocks;
mod check;
mod config;
mod embedding;
mod spec;

pub use architecture::UNet;
pub use config::{
    ClassEmbed, DownBlockType, MidBlockType, Resample, SampleSize, TimeEmbedding, TimeScaleShift, UNet2DConfig,
    UpBlockType,
};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use self::embedding::{ClassEmbedding, TimeProj, time_features};
use super::blocks::middle::MidBlock;
use super::blocks::signal::Signal;
use super::blocks::unet::{DownBlock, UpBlock, walk};
use super::dropout::Dropout;
use super::embedding::{TimestepEmbedding, rows};
use super::{Condition, Forward};
use crate::layers::{Conv2d, Embedding, GroupNorm};
use crate::ops::{Activation, Added, Map};

/// The network. Field names are diffusers' tensor names.
#[derive(Module, Debug)]
pub struct UNet2DModel {
    conv_in: Conv2d,
    time_proj: Option<TimeProj>,
    time_embedding: TimestepEmbedding,
    class_embedding: Option<ClassEmbedding>,
    down_blocks: Vec<DownBlock>,
    mid_block: Option<MidBlock>,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    pub(super) config: UNet2DConfig,
}

impl UNet2DModel {
    /// The network that a checked `config` describes, its parameters blank.
    pub(super) fn new(config: &UNet2DConfig, device: &Device) -> Self {
        let channels = &config.block_out_channels;
        let time_width = config.time_embed_dim();
        let features = match config.time_embedding_type {
            TimeEmbedding::Fourier => 2 * channels[0],
            _ => channels[0],
        };
        let class_embedding = match (config.class_embed_type, config.num_class_embeds) {
            (None, Some(classes)) => Some(ClassEmbedding::Table(Embedding::new(classes, time_width, device))),
            (Some(ClassEmbed::Timestep), _) => {
                Some(ClassEmbedding::Timestep(TimestepEmbedding::new(features, time_width, device)))
            }
            _ => None,
        };
        Self {
            conv_in: Conv2d::new(config.in_channels, channels[0], 3, device),
            time_proj: TimeProj::new(config, device),
            time_embedding: TimestepEmbedding::new(features, time_width, device),
            class_embedding,
            down_blocks: (0..channels.len()).map(|stage| blocks::down(stage, config, device)).collect(),
            mid_block: config.mid_block_type.map(|MidBlockType::UNetMidBlock2D| blocks::middle(config, device)),
            up_blocks: (0..channels.len()).map(|step| blocks::up(step, config, device)).collect(),
            conv_norm_out: GroupNorm::new(config.norm_num_groups, channels[0], config.norm_eps, device),
            conv_out: Conv2d::new(channels[0], config.out_channels, 3, device).zeroed(),
            config: config.clone(),
        }
    }
}

impl Forward for UNet2DModel {
    fn forward(&self, x: Tensor<4>, timestep: &[f32], condition: &Condition, dropout: Option<u64>) -> Tensor<4> {
        let device = x.device();
        let x = if self.config.center_input_sample { x * 2.0 - 1.0 } else { x };
        let features = |t: &[f32]| time_features(self.time_proj.as_ref(), &self.config, t, &device);
        let mut temb = self.time_embedding.forward(features(timestep));
        match (&self.class_embedding, &condition.labels, &condition.vector) {
            (Some(ClassEmbedding::Table(table)), Some(labels), _) => temb = temb + table.forward(&rows(labels)),
            (Some(ClassEmbedding::Timestep(embedding)), Some(labels), _) => {
                temb = temb + embedding.forward(features(labels));
            }
            (None, _, Some(vector)) => temb = temb + vector.clone(),
            _ => {}
        }

        let activated = Some(self.config.act_fn.apply(temb));
        let signal = Signal { activated, dropout: Dropout::new(dropout), ..Signal::silence() };
        let x = self.conv_in.forward(Map::from(x));
        let x = walk(x, &self.down_blocks, self.mid_block.as_ref(), &self.up_blocks, &signal);
        // diffusers activates the output with SiLU whatever `act_fn` says.
        let norm = self.conv_norm_out.then(Some(Activation::Silu), None);
        let x = self.conv_out.fused(x, Some(norm), Added::default()).into_tensor();
        if self.config.time_embedding_type == TimeEmbedding::Fourier {
            let t = Tensor::<1>::from_data(TensorData::new(timestep.to_vec(), [timestep.len()]), &device);
            return x / t.reshape([timestep.len(), 1, 1, 1]);
        }
        x
    }
}
