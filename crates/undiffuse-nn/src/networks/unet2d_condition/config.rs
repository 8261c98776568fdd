//! The architecture of a `UNet2DConditionModel`, field for field as diffusers writes `unet/config.json`.

use serde::{Deserialize, Serialize};

use crate::networks::blocks::resnet::{Residual, TimeScaleShift};
use crate::networks::blocks::transformer::TransformerSpec;
use crate::networks::unet2d::SampleSize;
use crate::ops::Activation;

/// One value for all stages (or layers of a stage), or one each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "one value, or a list with one for each stage, is expected")]
pub enum Each<T> {
    /// The same everywhere.
    All(T),
    /// One each, outermost first.
    List(Vec<T>),
}

impl<T: Clone> Each<T> {
    /// That of stage `i` of a checked config.
    pub fn of(&self, i: usize) -> T {
        match self {
            Self::All(value) => value.clone(),
            Self::List(values) => values[i].clone(),
        }
    }

    /// Every value that is written.
    pub fn written(&self) -> &[T] {
        match self {
            Self::All(value) => std::slice::from_ref(value),
            Self::List(values) => values,
        }
    }
}

/// `transformer_layers_per_block`: one number, one a stage, or a list for the layers of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number, or a list with a number or a list for each stage, is expected")]
pub enum TransformerLayers {
    /// The same everywhere.
    All(usize),
    /// A number for each stage, or one for each of its layers, outermost first.
    Stages(Vec<Each<usize>>),
}

/// How class labels enter the network, when not as a table of [`UNet2DConditionConfig::num_class_embeds`] rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionClassEmbed {
    /// The label is embedded like a timestep.
    Timestep,
    /// The label is already a vector of the width of the time embedding.
    Identity,
    /// The label is a vector, which two affine maps bring there.
    Projection,
    /// The label is a vector, which one affine map brings there.
    SimpleProjection,
}

/// A downward stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionDownBlockType {
    /// Residual blocks, then a strided convolution.
    #[serde(alias = "UNetResDownBlock2D")]
    DownBlock2D,
    /// Residual blocks each followed by a transformer.
    #[serde(alias = "UNetResCrossAttnDownBlock2D")]
    CrossAttnDownBlock2D,
}

/// An upward stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionUpBlockType {
    /// Residual blocks, then nearest-neighbour enlargement and a convolution.
    #[serde(alias = "UNetResUpBlock2D")]
    UpBlock2D,
    /// Residual blocks each followed by a transformer.
    #[serde(alias = "UNetResCrossAttnUpBlock2D")]
    CrossAttnUpBlock2D,
}

/// The middle stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionMidBlockType {
    /// Residual block, transformer, residual block.
    UNetMidBlock2DCrossAttn,
    /// A residual block.
    UNetMidBlock2D,
}

/// The configuration of [`UNet2DConditionModel`](super::UNet2DConditionModel): the fields, names and defaults of
/// diffusers' class of that name. Unknown names are refused, and so are, by name, the options that have no part here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UNet2DConditionConfig {
    /// Image side(s) that the model was trained for.
    pub sample_size: Option<SampleSize>,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Map the input from [0, 1] to [−1, 1] first.
    pub center_input_sample: bool,
    /// Cosines before sines.
    pub flip_sin_to_cos: bool,
    /// Shift of the lowest frequency of the time's features.
    pub freq_shift: f64,
    /// Downward stages, outermost first.
    pub down_block_types: Vec<ConditionDownBlockType>,
    /// Middle stage, or none.
    pub mid_block_type: Option<ConditionMidBlockType>,
    /// Upward stages, innermost first.
    pub up_block_types: Vec<ConditionUpBlockType>,
    /// Whether both attentions of a transformer look at the tokens; the middle stage's do not.
    pub only_cross_attention: Each<bool>,
    /// Channels of each stage.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in a stage (one more on the way up).
    pub layers_per_block: Each<usize>,
    /// Padding of the strided convolutions: 1 symmetric, 0 means one row and column at the end.
    pub downsample_padding: usize,
    /// Divides the output of the middle stage's residual blocks.
    pub mid_block_scale_factor: f64,
    /// Dropout probability inside residual blocks while training.
    pub dropout: f64,
    /// Non-linearity.
    pub act_fn: Activation,
    /// Groups of the group normalisation.
    pub norm_num_groups: usize,
    /// ε of the group normalisation.
    pub norm_eps: f64,
    /// Width of the tokens that transformers attend to.
    pub cross_attention_dim: Each<usize>,
    /// Blocks of a transformer.
    pub transformer_layers_per_block: TransformerLayers,
    /// The same on the way up, innermost first; that of the way down, reversed, when absent.
    pub reverse_transformer_layers_per_block: Option<Vec<Each<usize>>>,
    /// Width of the tokens that the network is given, where they are projected first.
    pub encoder_hid_dim: Option<usize>,
    /// How they are projected: `text_proj`, by an affine map.
    pub encoder_hid_dim_type: Option<String>,
    /// *Heads* of the attention: diffusers gave the field its name by mistake.
    pub attention_head_dim: Each<usize>,
    /// Not to be used, in diffusers either.
    pub num_attention_heads: Option<Each<usize>>,
    /// Two transformers side by side; here there is one.
    pub dual_cross_attention: bool,
    /// Whether pixels become tokens by a linear map, not by a convolution.
    pub use_linear_projection: bool,
    /// Class embedding other than a table.
    pub class_embed_type: Option<ConditionClassEmbed>,
    /// SDXL's and others' further conditions; here there are none.
    pub addition_embed_type: Option<String>,
    /// Of such a condition.
    pub addition_time_embed_dim: Option<usize>,
    /// Rows of the class table.
    pub num_class_embeds: Option<usize>,
    /// Of no effect in single precision.
    pub upcast_attention: bool,
    /// How the time embedding enters residual blocks.
    pub resnet_time_scale_shift: TimeScaleShift,
    /// Of no effect with the stages that are read.
    pub resnet_skip_time_act: bool,
    /// Of no effect with the stages that are read.
    pub resnet_out_scale_factor: f64,
    /// Features of the time: `positional`.
    pub time_embedding_type: String,
    /// Width of the time embedding; four times the first stage when absent.
    pub time_embedding_dim: Option<usize>,
    /// Applied to the embedding of time and class.
    pub time_embedding_act_fn: Option<Activation>,
    /// Applied to the embedding of time.
    pub timestep_post_act: Option<Activation>,
    /// Width of a vector that may be added to the features of the time.
    pub time_cond_proj_dim: Option<usize>,
    /// Side of the first filter.
    pub conv_in_kernel: usize,
    /// Side of the last filter.
    pub conv_out_kernel: usize,
    /// Width of class labels that are projected.
    pub projection_class_embeddings_input_dim: Option<usize>,
    /// `default`; here there are no other attentions.
    pub attention_type: String,
    /// Whether the class embedding stands beside that of the time instead of being added.
    pub class_embeddings_concat: bool,
    /// Of no effect with the middle stages that are read.
    pub mid_block_only_cross_attention: Option<bool>,
    /// Of no effect with the stages that are read.
    pub cross_attention_norm: Option<String>,
    /// Of a further condition.
    pub addition_embed_type_num_heads: usize,
    /// See [`ClassConfig::notes`](crate::networks::ClassConfig::notes).
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// As in diffusers: the U-Net of Stable Diffusion 1 but for the width of its tokens.
impl Default for UNet2DConditionConfig {
    fn default() -> Self {
        use ConditionDownBlockType::*;
        use ConditionUpBlockType::*;
        Self {
            sample_size: None,
            in_channels: 4,
            out_channels: 4,
            center_input_sample: false,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            down_block_types: vec![CrossAttnDownBlock2D, CrossAttnDownBlock2D, CrossAttnDownBlock2D, DownBlock2D],
            mid_block_type: Some(ConditionMidBlockType::UNetMidBlock2DCrossAttn),
            up_block_types: vec![UpBlock2D, CrossAttnUpBlock2D, CrossAttnUpBlock2D, CrossAttnUpBlock2D],
            only_cross_attention: Each::All(false),
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: Each::All(2),
            downsample_padding: 1,
            mid_block_scale_factor: 1.0,
            dropout: 0.0,
            act_fn: Activation::Silu,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: Each::All(1280),
            transformer_layers_per_block: TransformerLayers::All(1),
            reverse_transformer_layers_per_block: None,
            encoder_hid_dim: None,
            encoder_hid_dim_type: None,
            attention_head_dim: Each::All(8),
            num_attention_heads: None,
            dual_cross_attention: false,
            use_linear_projection: false,
            class_embed_type: None,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            num_class_embeds: None,
            upcast_attention: false,
            resnet_time_scale_shift: TimeScaleShift::Default,
            resnet_skip_time_act: false,
            resnet_out_scale_factor: 1.0,
            time_embedding_type: "positional".into(),
            time_embedding_dim: None,
            time_embedding_act_fn: None,
            timestep_post_act: None,
            time_cond_proj_dim: None,
            conv_in_kernel: 3,
            conv_out_kernel: 3,
            projection_class_embeddings_input_dim: None,
            attention_type: "default".into(),
            class_embeddings_concat: false,
            mid_block_only_cross_attention: None,
            cross_attention_norm: None,
            addition_embed_type_num_heads: 64,
            notes: Vec::new(),
        }
    }
}

impl UNet2DConditionConfig {
    /// Stages.
    pub(super) fn stages(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Width of the time embedding.
    pub fn time_embed_dim(&self) -> usize {
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
    }

    /// What its residual blocks have in common.
    pub(super) fn residual(&self) -> Residual {
        let time = self.time_embed_dim() * if self.class_embeddings_concat { 2 } else { 1 };
        Residual {
            groups: self.norm_num_groups,
            eps: self.norm_eps,
            activation: self.act_fn,
            time: Some(time),
            time_scale_shift: self.resnet_time_scale_shift,
            dropout: self.dropout,
        }
    }

    /// Blocks of the transformer after layer `layer` of the way down's stage `stage`, outermost first.
    pub(super) fn down_layers(&self, stage: usize, layer: usize) -> usize {
        match &self.transformer_layers_per_block {
            TransformerLayers::All(layers) => *layers,
            TransformerLayers::Stages(stages) => stages[stage].of(layer),
        }
    }

    /// The same for the way up's stage `step`, innermost first.
    pub(super) fn up_layers(&self, step: usize, layer: usize) -> usize {
        match &self.reverse_transformer_layers_per_block {
            Some(steps) => steps[step].of(layer),
            None => self.down_layers(self.stages() - 1 - step, layer),
        }
    }

    /// A transformer of stage `stage`, with so many blocks.
    pub(super) fn transformer(&self, stage: usize, layers: usize) -> TransformerSpec {
        TransformerSpec {
            heads: self.attention_head_dim.of(stage),
            layers,
            memory: self.cross_attention_dim.of(stage),
            groups: self.norm_num_groups,
            linear: self.use_linear_projection,
            only_cross: self.only_cross_attention.of(stage),
        }
    }

    /// Whether any stage attends.
    pub(super) fn attends(&self) -> bool {
        self.down_block_types.contains(&ConditionDownBlockType::CrossAttnDownBlock2D)
            || self.up_block_types.contains(&ConditionUpBlockType::CrossAttnUpBlock2D)
            || self.mid_block_type == Some(ConditionMidBlockType::UNetMidBlock2DCrossAttn)
    }
}
