//! The architecture of a `UNet2DModel`, field for field as diffusers writes `unet/config.json`.

use serde::{Deserialize, Serialize};

use crate::ops::Activation;

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

/// How the time embedding enters a residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeScaleShift {
    /// Added before the second normalisation.
    Default,
    /// Scale and shift after the second normalisation (FiLM).
    ScaleShift,
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

/// What diffusers' `EMAModel` notes in the config of the weights that it averaged: how, and how far it had come. No part of
/// the network.
const AVERAGING: [&str; 7] =
    ["decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"];

/// The configuration of [`UNet2DModel`](super::UNet2DModel): the fields, names and defaults of
/// diffusers' class of that name. Unknown names are refused, but for what says nothing of the network ([`notes`](Self::notes)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UNet2DConfig {
    /// Always `UNet2DModel`.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// The diffusers release whose format this is.
    #[serde(rename = "_diffusers_version", skip_serializing_if = "Option::is_none")]
    pub diffusers_version: Option<String>,
    /// Where the weights were once loaded from; carried, not used.
    #[serde(rename = "_name_or_path", skip_serializing_if = "Option::is_none")]
    pub name_or_path: Option<String>,
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
    /// Fields of the file that say nothing of the network, with their values: what diffusers' `EMAModel` notes of its
    /// averaging, and names that begin with `_`.
    #[serde(skip)]
    pub notes: Vec<String>,
}

impl Default for UNet2DConfig {
    fn default() -> Self {
        use DownBlockType::*;
        use UpBlockType::*;
        Self {
            class_name: "UNet2DModel".into(),
            diffusers_version: None,
            name_or_path: None,
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

/// Why a configuration describes no network.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is no JSON.
    #[error("the network's config is no JSON ({0}); download or save it again")]
    Text(serde_json::Error),
    /// The JSON does not fit the fields: an unknown field, block or option, by name.
    #[error("the network's config is not one this program can build: {field}{problem}")]
    Field {
        /// The field and a colon; nothing where the problem names it.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// Another architecture.
    #[error("`{0}` is not an architecture this program can build (supported: UNet2DModel)")]
    Architecture(String),
    /// Fields that contradict each other.
    #[error("the network's config contradicts itself: {0}")]
    Contradiction(String),
}

impl UNet2DConfig {
    /// Parses and checks a `config.json`.
    ///
    /// # Errors
    /// Text that describes no network, by the field that is wrong.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let mut value: serde_json::Value = serde_json::from_str(text).map_err(ConfigError::Text)?;
        if let Some(class) = value.get("_class_name").and_then(|v| v.as_str())
            && class != "UNet2DModel"
        {
            return Err(ConfigError::Architecture(class.into()));
        }
        let notes = value.as_object_mut().map(take_notes).unwrap_or_default();
        let config: Self = serde_path_to_error::deserialize(value).map_err(|e| {
            let field = e.path().to_string();
            let field = if field == "." { String::new() } else { format!("`{field}`: ") };
            ConfigError::Field { field, problem: e.into_inner().to_string() }
        })?;
        config.check()?;
        Ok(Self { notes, ..config })
    }

    /// The `config.json` text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a config of numbers and names serialises") + "\n"
    }

    /// Width of the time embedding.
    pub fn time_embed_dim(&self) -> usize {
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
    }

    /// Image sides are divided by this on the way down, so they must be multiples of it.
    pub fn stride(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }
}

/// Takes the fields out that say nothing of the network.
fn take_notes(fields: &mut serde_json::Map<String, serde_json::Value>) -> Vec<String> {
    const READ: [&str; 3] = ["_class_name", "_diffusers_version", "_name_or_path"];
    let foreign = |name: &str| AVERAGING.contains(&name) || name.starts_with('_') && !READ.contains(&name);
    let names: Vec<String> = fields.keys().filter(|name| foreign(name)).cloned().collect();
    names.into_iter().filter_map(|name| fields.remove(&name).map(|value| format!("{name} = {value}"))).collect()
}
