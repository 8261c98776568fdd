//! diffusers' `UNet2DConditionModel`: the U-Net that attends to what it is told, of Stable Diffusion \[Rombach22\].

mod blocks;
mod check;
mod config;
mod spec;

pub use config::{
    ConditionClassEmbed, ConditionDownBlockType, ConditionMidBlockType, ConditionUpBlockType, Each, TransformerLayers,
    UNet2DConditionConfig,
};

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::blocks::attention::AnyAttention;
use super::blocks::middle::MidBlock;
use super::blocks::signal::Signal;
use super::blocks::told::{Attended, Told};
use super::blocks::transformer::TokenAttention;
use super::blocks::unet::{DownBlock, UpBlock, walk};
use super::dropout::Dropout;
use super::embedding::{TimestepEmbedding, rows, sinusoids};
use super::{Condition, Forward};
use crate::layers::{Conv2d, Embedding, GroupNorm, Linear};
use crate::ops::{Added, Map, Mask};

/// What diffusers adds to the scores of a token that does not count.
const UNSEEN: f64 = -10_000.0;

/// The network. Field names are diffusers' tensor names.
#[derive(Module, Debug)]
pub struct UNet2DConditionModel {
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    encoder_hid_proj: Option<Linear>,
    class_embedding: Option<ClassEmbedding>,
    down_blocks: Vec<DownBlock>,
    mid_block: Option<MidBlock>,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    pub(super) config: UNet2DConditionConfig,
}

/// How a label becomes a vector, where it is none yet.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // there is one of it in a network
enum ClassEmbedding {
    /// A learned row per class.
    Table(Embedding),
    /// Two affine maps of a vector, or of features like those of a timestep.
    Projection(TimestepEmbedding),
    /// One affine map of a vector.
    Linear(Linear),
}

impl UNet2DConditionModel {
    /// The network that a checked `config` describes, its parameters blank.
    pub(super) fn new(config: &UNet2DConditionConfig, device: &Device) -> Self {
        let (features, stages) = (config.block_out_channels[0], 0..config.stages());
        let convolution =
            |c_in, c_out, kernel: usize| Conv2d::new(c_in, c_out, kernel, device).strided(1, [(kernel - 1) / 2; 4]);
        let tokens = config.cross_attention_dim.of(0);
        Self {
            conv_in: convolution(config.in_channels, features, config.conv_in_kernel),
            time_embedding: time_embedding(config, device),
            encoder_hid_proj: config.encoder_hid_dim.map(|width| Linear::new(width, tokens, device)),
            class_embedding: ClassEmbedding::new(config, device),
            down_blocks: stages.clone().map(|stage| blocks::down(stage, config, device)).collect(),
            mid_block: config.mid_block_type.map(|kind| blocks::middle(kind, config, device)),
            up_blocks: stages.map(|step| blocks::up(step, config, device)).collect(),
            conv_norm_out: GroupNorm::new(config.norm_num_groups, features, config.norm_eps, device),
            conv_out: convolution(features, config.out_channels, config.conv_out_kernel).zeroed(),
            config: config.clone(),
        }
    }

    /// The tokens as cross-attention looks at them.
    fn tokens(&self, condition: &Condition) -> Option<Tensor<3>> {
        let tokens = condition.tokens.clone()?;
        Some(match &self.encoder_hid_proj {
            Some(projection) => projection.forward(tokens),
            None => tokens,
        })
    }

    /// All cross-attentions, in the order in which a pass meets them.
    fn cross_attentions(&self) -> impl Iterator<Item = &TokenAttention> {
        let down = self.down_blocks.iter().flat_map(|block| &block.attentions);
        let middle = self.mid_block.iter().flat_map(|block| &block.attentions);
        let up = self.up_blocks.iter().flat_map(|block| &block.attentions);
        down.chain(middle).chain(up).flat_map(AnyAttention::cross_attentions)
    }

    /// Features of a time, or of a label like one.
    fn features(&self, t: &[f32], device: &Device) -> Tensor<2> {
        let UNet2DConditionConfig { block_out_channels, freq_shift, flip_sin_to_cos, .. } = &self.config;
        sinusoids(t, block_out_channels[0], *freq_shift, *flip_sin_to_cos, device)
    }

    /// The vector of a picture's class, `[B, time_embed_dim]`.
    fn class(&self, condition: &Condition, device: &Device) -> Option<Tensor<2>> {
        let Condition { labels, vector, .. } = condition;
        Some(match (&self.class_embedding, labels, vector) {
            (Some(ClassEmbedding::Table(table)), Some(labels), _) => table.forward(&rows(labels)),
            (Some(ClassEmbedding::Projection(maps)), Some(labels), _) => maps.forward(self.features(labels, device)),
            (Some(ClassEmbedding::Projection(maps)), _, Some(vector)) => maps.forward(vector.clone()),
            (Some(ClassEmbedding::Linear(map)), _, Some(vector)) => map.forward(vector.clone()),
            (None, _, Some(vector)) => vector.clone(),
            _ => return None,
        })
    }
}

fn time_embedding(config: &UNet2DConditionConfig, device: &Device) -> TimestepEmbedding {
    let features = config.block_out_channels[0];
    let embedding = TimestepEmbedding::new(features, config.time_embed_dim(), device)
        .activated(config.act_fn, config.timestep_post_act);
    match config.time_cond_proj_dim {
        Some(width) => embedding.conditioned(width, features, device),
        None => embedding,
    }
}

impl ClassEmbedding {
    fn new(config: &UNet2DConditionConfig, device: &Device) -> Option<Self> {
        let width = config.time_embed_dim();
        let vector = config.projection_class_embeddings_input_dim.unwrap_or(0);
        Some(match (config.class_embed_type, config.num_class_embeds) {
            (None, Some(classes)) => Self::Table(Embedding::new(classes, width, device)),
            (Some(ConditionClassEmbed::Timestep), _) => {
                let maps = TimestepEmbedding::new(config.block_out_channels[0], width, device);
                Self::Projection(maps.activated(config.act_fn, None))
            }
            (Some(ConditionClassEmbed::Projection), _) => {
                Self::Projection(TimestepEmbedding::new(vector, width, device))
            }
            (Some(ConditionClassEmbed::SimpleProjection), _) => Self::Linear(Linear::new(vector, width, device)),
            (Some(ConditionClassEmbed::Identity), _) | (None, None) => return None,
        })
    }
}

impl Forward for UNet2DConditionModel {
    fn attend(&self, condition: &Condition) -> Option<Attended> {
        self.tokens(condition).map(|tokens| Attended::of(self.cross_attentions(), &tokens))
    }

    fn forward(&self, x: Tensor<4>, timestep: &[f32], condition: &Condition, dropout: Option<u64>) -> Tensor<4> {
        let device = x.device();
        let x = if self.config.center_input_sample { x * 2.0 - 1.0 } else { x };
        let time = self.features(timestep, &device);
        let time = self.time_embedding.forward_with(time, condition.timestep_cond.clone());
        let embedding = match self.class(condition, &device) {
            Some(class) if self.config.class_embeddings_concat => Tensor::cat(vec![time, class], 1),
            Some(class) => time + class,
            None => time,
        };
        let embedding = match self.config.time_embedding_act_fn {
            Some(activation) => activation.apply(embedding),
            None => embedding,
        };
        let signal = Signal {
            activated: Some(self.config.act_fn.apply(embedding)),
            told: self.tokens(condition).map(|tokens| Told::new(tokens, condition.attended.clone())),
            mask: Mask { causal: false, bias: condition.mask.clone().map(|mask| (1.0 - mask) * UNSEEN) },
            dropout: Dropout::new(dropout),
        };
        let x = self.conv_in.forward(Map::from(x));
        let x = walk(x, &self.down_blocks, self.mid_block.as_ref(), &self.up_blocks, &signal);
        let norm = self.conv_norm_out.then(Some(self.config.act_fn), None);
        self.conv_out.fused(x, Some(norm), Added::default()).into_tensor()
    }
}
