//! diffusers' `DiTTransformer2DModel`: the class-conditional diffusion transformer \[Peebles22\].

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::blocks::transformer::{FeedForward, TokenAttention};
use super::dropout::Dropout;
use super::embedding::{TimestepEmbedding, rows, sinusoids};
use super::read::{COUNT, check_dropout, fail, keeps_notes, within};
use super::{Architecture, Attends, ClassConfig, Condition, ConfigError, Forward, Io, NetworkConfig, Reads, Spec};
use crate::init::Init;
use crate::layers::{Conv2d, Embedding, Linear};
use crate::ops::{self, Activation, LayerNorm, Map, Mask};

pub use super::blocks::transformer::FeedForwardActivation;

/// Sinusoids of a timestep.
const TIME_FEATURES: usize = 256;
/// Added to the variance, where the config says nothing of it.
const EPS: f64 = 1e-6;
/// Most blocks.
const LAYERS: usize = 1000;
/// The largest side of a patch.
const PATCH: usize = 1024;

/// How the time and the class enter a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormType {
    /// As scale, shift and gate of both halves of a block.
    AdaNormZero,
}

/// The configuration of [`DiTTransformer2DModel`]: the fields, names and defaults of diffusers' class of that name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiTConfig {
    /// Heads of the attention.
    pub num_attention_heads: usize,
    /// Width of a head; the tokens are as wide as all heads.
    pub attention_head_dim: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output; those of the input when absent.
    pub out_channels: Option<usize>,
    /// Blocks.
    pub num_layers: usize,
    /// Dropout probability behind attention and inside feed-forward layers, while training.
    pub dropout: f64,
    /// Of no effect here, nor in diffusers.
    pub norm_num_groups: usize,
    /// Whether the projections to queries, keys and values have offsets; here they have.
    pub attention_bias: bool,
    /// Side of the images that the model was trained for; positions of others are stretched to it.
    pub sample_size: usize,
    /// Side of the square of pixels that becomes a token.
    pub patch_size: usize,
    /// Non-linearity of the feed-forward layers.
    pub activation_fn: FeedForwardActivation,
    /// Classes. The table has one more row, for "no class"; 0 is a network without classes, which has that row alone.
    pub num_embeds_ada_norm: usize,
    /// Of no effect in single precision.
    pub upcast_attention: bool,
    /// How the time and the class enter.
    pub norm_type: NormType,
    /// Whether normalisations have a gain and an offset of their own; here they have none.
    pub norm_elementwise_affine: bool,
    /// ε of the normalisation before a feed-forward layer.
    pub norm_eps: f64,
    /// See [`ClassConfig::notes`].
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// As in diffusers.
impl Default for DiTConfig {
    fn default() -> Self {
        Self {
            num_attention_heads: 16,
            attention_head_dim: 72,
            in_channels: 4,
            out_channels: None,
            num_layers: 28,
            dropout: 0.0,
            norm_num_groups: 32,
            attention_bias: true,
            sample_size: 32,
            patch_size: 2,
            activation_fn: FeedForwardActivation::GeluApproximate,
            num_embeds_ada_norm: 1000,
            upcast_attention: false,
            norm_type: NormType::AdaNormZero,
            norm_elementwise_affine: false,
            norm_eps: 1e-5,
            notes: Vec::new(),
        }
    }
}

impl DiTConfig {
    /// Width of a token.
    fn width(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }

    fn channels_out(&self) -> usize {
        self.out_channels.unwrap_or(self.in_channels)
    }
}

impl ClassConfig for DiTConfig {
    fn check(&self) -> Result<(), ConfigError> {
        within("num_attention_heads", self.num_attention_heads, COUNT)?;
        within("attention_head_dim", self.attention_head_dim, COUNT)?;
        within("num_attention_heads x attention_head_dim", self.width(), COUNT)?;
        within("in_channels", self.in_channels, COUNT)?;
        within("out_channels", self.channels_out(), COUNT)?;
        within("num_layers", self.num_layers, LAYERS)?;
        within("sample_size", self.sample_size, COUNT)?;
        within("patch_size", self.patch_size, PATCH)?;
        within("num_embeds_ada_norm", self.num_embeds_ada_norm.max(1), COUNT)?;
        if !self.width().is_multiple_of(4) {
            return fail(
                "num_attention_heads x attention_head_dim must be a multiple of 4, for sines and cosines of two axes",
            );
        }
        if !self.sample_size.is_multiple_of(self.patch_size) {
            return fail(format!("patch_size {} does not divide sample_size {}", self.patch_size, self.sample_size));
        }
        check_dropout(self.dropout)?;
        if !self.attention_bias || self.norm_elementwise_affine {
            return fail("only attention_bias = true with norm_elementwise_affine = false is read");
        }
        Ok(())
    }

    fn describe(&self) -> Vec<(&'static str, String)> {
        let Self { num_layers, num_attention_heads, attention_head_dim, patch_size, .. } = self;
        let blocks = format!(
            "{num_layers} of tokens {} wide, a token for {patch_size}×{patch_size} pixels, {num_attention_heads} attention \
             heads {attention_head_dim} wide",
            self.width()
        );
        let time = "sinusoids, which scale, shift and gate every block with the class".to_owned();
        vec![("blocks", blocks), ("time", time)]
    }

    keeps_notes!();
}

impl Spec for DiTConfig {
    fn io(&self) -> Io {
        Io {
            channels_in: self.in_channels,
            channels_out: self.channels_out(),
            sample_size: Some([self.sample_size; 2]),
            reads: match self.num_embeds_ada_norm {
                0 => Reads::Nothing,
                classes => Reads::Labels(classes + 1),
            },
            tokens: None,
            timestep_cond: None,
        }
    }

    fn stride(&self) -> usize {
        self.patch_size
    }

    /// What every block keeps of its tokens, and the widest of them in work.
    fn features(&self, [_, height, width]: [usize; 3]) -> u64 {
        let side = |side: usize| (side / self.patch_size).max(1) as u64;
        let tokens = side(height).saturating_mul(side(width)).saturating_mul(self.width() as u64);
        tokens.saturating_mul(7 * self.num_layers as u64 + 12).saturating_mul(4)
    }

    /// In the blocks' products and attention.
    fn multiplications(&self, [height, width]: [usize; 2]) -> f64 {
        let side = |side: usize| (side / self.patch_size).max(1) as f64;
        let (tokens, c, layers) = (side(height) * side(width), self.width() as f64, self.num_layers as f64);
        layers * (12.0 * c * c * tokens + 2.0 * c * tokens * tokens + 8.0 * c * c)
    }
}

/// `[network] kind = "dit"`: a transformer on patches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiT {
    /// Width of a token.
    pub width: usize,
    /// Width of one attention head.
    pub head_dim: usize,
    /// Blocks.
    pub layers: usize,
    /// Side of the square of pixels that becomes a token.
    pub patch: usize,
    /// Dropout behind attention and inside feed-forward layers.
    pub dropout: f64,
}

/// Those of the preset `dit`.
impl Default for DiT {
    fn default() -> Self {
        Self { width: 128, head_dim: 32, layers: 6, patch: 4, dropout: 0.0 }
    }
}

impl Architecture for DiT {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let counts = [("width", self.width, 1 << 16), ("layers", self.layers, LAYERS), ("patch", self.patch, PATCH)];
        for (key, value, most) in counts {
            if !(1..=most).contains(&value) {
                problems.push(format!("network.{key} = {value} must be between 1 and {most}"));
            }
        }
        if self.head_dim == 0 || !self.width.is_multiple_of(self.head_dim) {
            problems.push(format!("network.head_dim = {} must divide network.width = {}", self.head_dim, self.width));
        }
        if !self.width.is_multiple_of(4) {
            problems.push(format!("network.width = {} must be a multiple of 4", self.width));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            problems.push(format!("network.dropout = {} must be in [0, 1)", self.dropout));
        }
        problems
    }

    fn config(
        &self,
        [channels, height, width]: [usize; 3],
        channels_out: usize,
        reads: Reads,
        tokens: Option<Attends>,
    ) -> Result<NetworkConfig, String> {
        if height != width || !height.is_multiple_of(self.patch) {
            let patch = self.patch;
            return Err(format!(
                "network.patch = {patch} needs square images whose side it divides, not {width}×{height}"
            ));
        }
        if matches!(reads, Reads::Vector(_)) || tokens.is_some() {
            return Err("network.kind = \"dit\" reads classes, no vectors and no words; \"unet\" reads all".into());
        }
        let config = DiTConfig {
            num_attention_heads: self.width / self.head_dim,
            attention_head_dim: self.head_dim,
            in_channels: channels,
            out_channels: Some(channels_out),
            num_layers: self.layers,
            dropout: self.dropout,
            sample_size: height,
            patch_size: self.patch,
            num_embeds_ada_norm: reads.classes().saturating_sub(1),
            ..DiTConfig::default()
        };
        Ok(config.into())
    }
}

/// The network. Field names are diffusers' tensor names.
#[derive(Module, Debug)]
pub struct DiTTransformer2DModel {
    pos_embed: PatchEmbed,
    transformer_blocks: Vec<Block>,
    proj_out_1: Linear,
    proj_out_2: Linear,
    #[module(skip)]
    pub(super) config: DiTConfig,
}

#[derive(Module, Debug)]
struct PatchEmbed {
    proj: Conv2d,
}

/// diffusers' `BasicTransformerBlock` as this network uses it.
#[derive(Module, Debug)]
struct Block {
    norm1: AdaLayerNormZero,
    attn1: TokenAttention,
    ff: FeedForward,
    #[module(skip)]
    norm_eps: f64,
}

#[derive(Module, Debug)]
struct AdaLayerNormZero {
    emb: TimestepLabelEmbeddings,
    linear: Linear,
}

/// diffusers gives every block embedders of its own.
#[derive(Module, Debug)]
struct TimestepLabelEmbeddings {
    timestep_embedder: TimestepEmbedding,
    class_embedder: LabelEmbedding,
}

#[derive(Module, Debug)]
struct LabelEmbedding {
    embedding_table: Embedding,
}

/// What a batch's blocks listen to.
struct Signal {
    /// Sinusoids of the timesteps, `[B, 256]`.
    time: Tensor<2>,
    /// Rows of the class tables, `[B]`.
    labels: Vec<usize>,
    dropout: Dropout,
}

impl DiTTransformer2DModel {
    /// The network that a checked `config` describes, its parameters blank. Every block begins as the identity, and the
    /// network at zero \[Peebles22, adaLN-Zero\].
    pub(super) fn new(config: &DiTConfig, device: &Device) -> Self {
        let (width, patch) = (config.width(), config.patch_size);
        Self {
            pos_embed: PatchEmbed {
                proj: Conv2d::new(config.in_channels, width, patch, device).strided(patch, [0; 4]),
            },
            transformer_blocks: (0..config.num_layers).map(|_| Block::new(config, device)).collect(),
            proj_out_1: Linear::new(width, 2 * width, device).zeroed(),
            proj_out_2: Linear::new(width, patch * patch * config.channels_out(), device).zeroed(),
            config: config.clone(),
        }
    }
}

impl Forward for DiTTransformer2DModel {
    /// Without labels, every picture is of "no class".
    fn forward(&self, x: Tensor<4>, timestep: &[f32], condition: &Condition, dropout: Option<u64>) -> Tensor<4> {
        let (device, [b, _, h, w]) = (x.device(), x.dims());
        let (width, patch, c) = (self.config.width(), self.config.patch_size, self.config.channels_out());
        let (high, wide) = (h / patch, w / patch);
        let none = || vec![self.config.num_embeds_ada_norm as f32; b];
        let signal = Signal {
            time: sinusoids(timestep, TIME_FEATURES, 1.0, true, &device),
            labels: rows(&condition.labels.clone().unwrap_or_else(none)),
            dropout: Dropout::new(dropout),
        };
        let patches = self.pos_embed.proj.forward(Map::from(x)).into_tensor();
        let tokens = patches.reshape([b, width, high * wide]).swap_dims(1, 2);
        let x = tokens + positions(high, wide, width, self.config.sample_size / patch, &device);
        // The first block's conditions the end, too: once, since gradients of a parameter that two passes read would be
        // added only after each was summed over pictures.
        let embeddings: Vec<_> = self.transformer_blocks.iter().map(|block| block.norm1.emb.forward(&signal)).collect();
        let blocks = self.transformer_blocks.iter().zip(&embeddings);
        let x = blocks.fold(x, |x, (block, embedding)| block.forward(x, embedding.clone(), &signal));
        let [shift, scale] = chunks(self.proj_out_1.activated(Activation::Silu, embeddings[0].clone()));
        let x = ops::layer_norm(x, LayerNorm { affine: None, eps: EPS, modulation: Some([scale, shift]) });
        let patches = self.proj_out_2.forward(x).reshape([b, high, wide, patch, patch, c]);
        patches.permute([0, 5, 1, 3, 2, 4]).reshape([b, c, h, w])
    }
}

impl Block {
    fn new(config: &DiTConfig, device: &Device) -> Self {
        let width = config.width();
        let linear = |c_in, c_out| Linear::new(c_in, c_out, device);
        let table = Embedding::begun(config.num_embeds_ada_norm + 1, width, Init::Normal(0.02), device);
        let emb = TimestepLabelEmbeddings {
            timestep_embedder: TimestepEmbedding::new(TIME_FEATURES, width, device),
            class_embedder: LabelEmbedding { embedding_table: table },
        };
        Self {
            norm1: AdaLayerNormZero { emb, linear: linear(width, 6 * width).zeroed() },
            attn1: TokenAttention::new(width, width, config.num_attention_heads, device).dropping(config.dropout),
            ff: FeedForward::new(width, config.activation_fn, config.dropout, device),
            norm_eps: config.norm_eps,
        }
    }

    /// `x [B, N, C]`, the embedding of time and class `[B, C]` → the shape of `x`.
    fn forward(&self, x: Tensor<3>, embedding: Tensor<2>, signal: &Signal) -> Tensor<3> {
        let modulation = self.norm1.linear.activated(Activation::Silu, embedding);
        let [shift1, scale1, gate1, shift2, scale2, gate2] = chunks(modulation);
        let norm = |eps, scale, shift| LayerNorm { affine: None, eps, modulation: Some([scale, shift]) };
        let normal = ops::layer_norm(x.clone(), norm(EPS, scale1, shift1));
        let attended = self.attn1.forward(normal.clone(), normal, Mask::default(), &signal.dropout);
        let x = ops::gate(x, gate1, attended);
        let fed = self.ff.forward(ops::layer_norm(x.clone(), norm(self.norm_eps, scale2, shift2)), &signal.dropout);
        ops::gate(x, gate2, fed)
    }
}

impl TimestepLabelEmbeddings {
    /// `[B, C]`.
    fn forward(&self, signal: &Signal) -> Tensor<2> {
        let class = self.class_embedder.embedding_table.forward(&signal.labels);
        self.timestep_embedder.forward(signal.time.clone()) + class
    }
}

/// Equal parts of the columns.
fn chunks<const N: usize>(x: Tensor<2>) -> [Tensor<2>; N] {
    let width = x.dims()[1] / N;
    std::array::from_fn(|i| x.clone().narrow(1, i * width, width))
}

/// Sines and cosines of a token's column and row, `[1, N, width]`, as far apart as in a grid of `base` tokens a side.
fn positions(rows: usize, columns: usize, width: usize, base: usize, device: &Device) -> Tensor<3> {
    let quarter = width / 4;
    let axis = |n: usize| -> Vec<Vec<f32>> {
        let at = |i: usize| i as f32 / (n as f32 / base as f32);
        let angles = |i: usize| (0..quarter).map(move |k| f64::from(at(i)) / 1e4f64.powf(k as f64 / quarter as f64));
        let waves = |i| angles(i).map(f64::sin).chain(angles(i).map(f64::cos)).map(|x| x as f32).collect();
        (0..n).map(waves).collect()
    };
    let (down, across) = (axis(rows), axis(columns));
    let values = down.iter().flat_map(|row| across.iter().flat_map(move |column| column.iter().chain(row)));
    let values: Vec<f32> = values.copied().collect();
    Tensor::from_data(TensorData::new(values, [1, rows * columns, width]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published DiT-XL/2 has 675 million parameters \[Peebles22, Table 1\], each block with the embedders that the
    /// paper shares between blocks taken once.
    #[test]
    fn the_largest_published_is_counted() {
        let config = NetworkConfig::from(DiTConfig::default());
        let embedders = 256 * 1152 + 1152 + 1152 * 1152 + 1152 + 1001 * 1152;
        assert_eq!((config.parameters().unwrap() - 27 * embedders) / 1_000_000, 674);
    }

    /// The token in row 1 and column 2 of a grid of two rows and three columns.
    #[test]
    fn the_column_comes_before_the_row() {
        let values = positions(2, 3, 8, 2, &Device::flex()).into_data().try_into_vec::<f32>().unwrap();
        let (column, row) = (2.0 / 1.5f32, 1.0f32);
        let waves = |at: f32| [at.sin(), (at / 100.0).sin(), at.cos(), (at / 100.0).cos()];
        let expected = [waves(column), waves(row)].concat();
        assert!(values[5 * 8..].iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?}");
    }

    #[test]
    fn what_does_not_fit_is_said_by_its_key() {
        let dit = DiT { patch: 3, ..DiT::default() };
        assert!(dit.config([3, 32, 32], 3, Reads::Nothing, None).unwrap_err().contains("network.patch = 3"));
        assert!(DiT::default().config([3, 32, 32], 3, Reads::Vector(4), None).unwrap_err().contains("network.kind"));
        let wrong = DiT { width: 30, head_dim: 7, layers: 0, ..dit }.problems().join("\n");
        assert!(["width", "head_dim", "layers"].iter().all(|key| wrong.contains(&format!("network.{key}"))), "{wrong}");
    }
}
