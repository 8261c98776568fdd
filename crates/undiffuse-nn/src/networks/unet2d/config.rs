//! The architecture of a `UNet2DModel`, field for field as diffusers writes `unet/config.json`.

use serde::{Deserialize, Serialize};

use crate::networks::blocks::resnet::Residual;
use crate::ops::Activation;

pub use crate::networks::blocks::resnet::TimeScaleShift;

/// `sample_size`: one side or `(height, width)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SampleSize {
    /// A square image.
    Square(usize),
    /// Height and width.
    Rectangle(usize, usize),
}

impl SampleSize {
    /// `(height, width)`.
    pub fn height_width(self) -> (usize, usize) {
        match self {
            SampleSize::Square(side) => (side, side),
            SampleSize::Rectangle(h, w) => (h, w),
        }
    }
}

/// What kind of time embedding feeds the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeEmbedding {
    /// Sines and cosines of the timestep \[Ho20\].
    Positional,
    /// Sines and cosines of `2π w ln σ` with fixed random `w` \[Song21\].
    Fourier,
    /// A table with one learned row per timestep.
    Learned,
}

/// How a block with attention changes the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resample {
    /// A convolution.
    Conv,
    /// A residual block.
    Resnet,
}

/// How class labels enter the network, when not as a table of [`UNet2DConfig::num_class_embeds`] rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassEmbed {
    /// The label is embedded like a timestep.
    Timestep,
    /// The label is already a vector of the width of the time embedding.
    Identity,
}

/// A downward stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownBlockType {
    /// Residual blocks, then a strided convolution.
    #[serde(alias = "UNetResDownBlock2D")]
    DownBlock2D,
    /// Residual blocks each followed by self-attention.
    #[serde(alias = "UNetResAttnDownBlock2D")]
    AttnDownBlock2D,
    /// Residual blocks, then a residual block that halves the resolution.
    #[serde(alias = "UNetResResnetDownsampleBlock2D")]
    ResnetDownsampleBlock2D,
}

/// An upward stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpBlockType {
    /// Residual blocks, then nearest-neighbour enlargement and a convolution.
    #[serde(alias = "UNetResUpBlock2D")]
    UpBlock2D,
    /// Residual blocks each followed by self-attention.
    #[serde(alias = "UNetResAttnUpBlock2D")]
    AttnUpBlock2D,
    /// Residual blocks, then a residual block that doubles the resolution.
    #[serde(alias = "UNetResResnetUpsampleBlock2D")]
    ResnetUpsampleBlock2D,
}

/// The middle stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MidBlockType {
    /// Residual block, self-attention, residual block.
    UNetMidBlock2D,
}

/// The configuration of [`UNet2DModel`](super::UNet2DModel): the fields, names and defaults of
/// diffusers' class of that name. Unknown names are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UNet2DConfig {
    /// Image side(s) that the model was trained for.
    pub sample_size: Option<SampleSize>,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Map the input from [0, 1] to [−1, 1] first.
    pub center_input_sample: bool,
    /// Kind of time embedding.
    pub time_embedding_type: TimeEmbedding,
    /// Width of the time embedding; four times the first stage when absent.
    pub time_embedding_dim: Option<usize>,
    /// Shift of the lowest frequency of the positional embedding.
    pub freq_shift: f64,
    /// Cosines before sines.
    pub flip_sin_to_cos: bool,
    /// Downward stages, outermost first.
    pub down_block_types: Vec<DownBlockType>,
    /// Middle stage, or none.
    pub mid_block_type: Option<MidBlockType>,
    /// Upward stages, innermost first.
    pub up_block_types: Vec<UpBlockType>,
    /// Channels of each stage.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in a stage (one more on the way up).
    pub layers_per_block: usize,
    /// Divides the output of the middle stage's blocks.
    pub mid_block_scale_factor: f64,
    /// Padding of the strided convolutions: 1 symmetric, 0 means one row and column at the end.
    pub downsample_padding: usize,
    /// Downsampling of stages with attention.
    pub downsample_type: Option<Resample>,
    /// Upsampling of stages with attention.
    pub upsample_type: Option<Resample>,
    /// Dropout probability inside residual blocks while training.
    pub dropout: f64,
    /// Non-linearity.
    pub act_fn: Activation,
    /// Width of one attention head; one head when absent.
    pub attention_head_dim: Option<usize>,
    /// Groups of the group normalisation.
    pub norm_num_groups: usize,
    /// Groups of the middle attention's normalisation; see diffusers for the rule when absent.
    pub attn_norm_num_groups: Option<usize>,
    /// ε of the group normalisation.
    pub norm_eps: f64,
    /// How the time embedding enters residual blocks.
    pub resnet_time_scale_shift: TimeScaleShift,
    /// Attention in the middle stage.
    pub add_attention: bool,
    /// Class embedding other than a table.
    pub class_embed_type: Option<ClassEmbed>,
    /// Rows of the class table.
    pub num_class_embeds: Option<usize>,
    /// Rows of the learned time embedding.
    pub num_train_timesteps: Option<usize>,
    /// See [`ClassConfig::notes`](crate::networks::ClassConfig::notes).
    #[serde(skip)]
    pub notes: Vec<String>,
}

impl Default for UNet2DConfig {
    fn default() -> Self {
        use DownBlockType::*;
        use UpBlockType::*;
        Self {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: TimeEmbedding::Positional,
            time_embedding_dim: None,
            freq_shift: 0.0,
            flip_sin_to_cos: true,
            down_block_types: vec![DownBlock2D, AttnDownBlock2D, AttnDownBlock2D, AttnDownBlock2D],
            mid_block_type: Some(MidBlockType::UNetMidBlock2D),
            up_block_types: vec![AttnUpBlock2D, AttnUpBlock2D, AttnUpBlock2D, UpBlock2D],
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: Some(Resample::Conv),
            upsample_type: Some(Resample::Conv),
            dropout: 0.0,
            act_fn: Activation::Silu,
            attention_head_dim: Some(8),
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: TimeScaleShift::Default,
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            num_train_timesteps: None,
            notes: Vec::new(),
        }
    }
}

impl UNet2DConfig {
    /// Width of the time embedding.
    pub fn time_embed_dim(&self) -> usize {
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
    }

    /// What its residual blocks have in common.
    pub(super) fn residual(&self) -> Residual {
        Residual {
            groups: self.norm_num_groups,
            eps: self.norm_eps,
            activation: self.act_fn,
            time: Some(self.time_embed_dim()),
            time_scale_shift: self.resnet_time_scale_shift,
            dropout: self.dropout,
        }
    }
}
