//! diffusers' `PriorTransformer`: from words to the embedding of a picture, DALL·E 2's first half \[Ramesh22\].

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::blocks::transformer::{FeedForward, FeedForwardActivation, TokenAttention};
use super::dropout::Dropout;
use super::embedding::{TimestepEmbedding, sinusoids};
use super::read::{COUNT, check_dropout, fail, keeps_notes, lacking, within};
use super::{
    Architecture, Attends, ClassConfig, Condition, ConfigError, Forward, InputError, Io, Network, NetworkConfig, Reads,
    Spec,
};
use crate::init::Init;
use crate::layers::{LayerNorm, Linear, blank};
use crate::ops::{self, Activation, Mask};

/// Added to variances.
const EPS: f64 = 1e-5;
/// Most blocks.
const LAYERS: usize = 1000;
/// What diffusers adds to the scores of a token that does not count.
const UNSEEN: f64 = -10_000.0;

/// A normalisation, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriorNormType {
    /// Of each token by itself.
    Layer,
}

/// What becomes of the words' tokens first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProjectionType {
    /// An affine map.
    Linear,
}

/// A token of the network's own at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddedType {
    /// One, whose state is the answer.
    Prd,
}

/// The configuration of [`PriorTransformer`]: the fields, names and defaults of diffusers' class of that name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriorTransformerConfig {
    /// Heads of the attention.
    pub num_attention_heads: usize,
    /// Width of a head; tokens are as wide as all heads.
    pub attention_head_dim: usize,
    /// Blocks.
    pub num_layers: usize,
    /// Width of a picture's embedding and of a word's token.
    pub embedding_dim: usize,
    /// Tokens of words.
    pub num_embeddings: usize,
    /// Tokens beside them: the text's vector, the time, the picture's embedding and one of the network's own.
    pub additional_embeddings: usize,
    /// Dropout probability behind attention and inside feed-forward layers, while training.
    pub dropout: f64,
    /// Non-linearity of the time embedding.
    pub time_embed_act_fn: Activation,
    /// Normalisation before the blocks.
    pub norm_in_type: Option<PriorNormType>,
    /// Normalisation of the text's vector.
    pub embedding_proj_norm_type: Option<PriorNormType>,
    /// What becomes of the words' tokens first; nothing when null.
    pub encoder_hid_proj_type: Option<ProjectionType>,
    /// A token of the network's own at the end.
    pub added_emb_type: Option<AddedType>,
    /// Width inside the time embedding; that of tokens when absent.
    pub time_embed_dim: Option<usize>,
    /// Width of a text's embedding; `embedding_dim` when absent.
    pub embedding_proj_dim: Option<usize>,
    /// Width of the output; `embedding_dim` when absent.
    pub clip_embed_dim: Option<usize>,
    /// See [`ClassConfig::notes`].
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// As in diffusers.
impl Default for PriorTransformerConfig {
    fn default() -> Self {
        Self {
            num_attention_heads: 32,
            attention_head_dim: 64,
            num_layers: 20,
            embedding_dim: 768,
            num_embeddings: 77,
            additional_embeddings: 4,
            dropout: 0.0,
            time_embed_act_fn: Activation::Silu,
            norm_in_type: None,
            embedding_proj_norm_type: None,
            encoder_hid_proj_type: Some(ProjectionType::Linear),
            added_emb_type: Some(AddedType::Prd),
            time_embed_dim: None,
            embedding_proj_dim: None,
            clip_embed_dim: None,
            notes: Vec::new(),
        }
    }
}

impl PriorTransformerConfig {
    /// Width of a token.
    fn width(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }

    /// Tokens, those of words included.
    fn tokens(&self) -> usize {
        self.num_embeddings + self.additional_embeddings
    }

    fn answers(&self) -> usize {
        self.clip_embed_dim.unwrap_or(self.embedding_dim)
    }

    fn told(&self) -> usize {
        self.embedding_proj_dim.unwrap_or(self.embedding_dim)
    }

    /// Tokens beside those of words.
    fn others(&self) -> usize {
        3 + usize::from(self.added_emb_type.is_some())
    }
}

impl ClassConfig for PriorTransformerConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let counts = [
            ("num_attention_heads", Some(self.num_attention_heads), COUNT),
            ("attention_head_dim", Some(self.attention_head_dim), COUNT),
            ("num_layers", Some(self.num_layers), LAYERS),
            ("embedding_dim", Some(self.embedding_dim), COUNT),
            ("num_embeddings", Some(self.num_embeddings), COUNT),
            ("additional_embeddings", Some(self.additional_embeddings), COUNT),
            ("time_embed_dim", self.time_embed_dim, COUNT),
            ("embedding_proj_dim", self.embedding_proj_dim, COUNT),
            ("clip_embed_dim", self.clip_embed_dim, COUNT),
        ];
        for (field, count, most) in counts {
            count.map_or(Ok(()), |count| within(field, count, most))?;
        }
        within("num_attention_heads x attention_head_dim", self.width(), COUNT)?;
        if self.additional_embeddings != self.others() {
            return lacking(format!(
                "additional_embeddings = {}: the tokens beside those of words are {}",
                self.additional_embeddings,
                self.others()
            ));
        }
        if self.encoder_hid_proj_type.is_none() && self.embedding_dim != self.width() {
            return fail(
                "without encoder_hid_proj_type, embedding_dim must be num_attention_heads x attention_head_dim",
            );
        }
        check_dropout(self.dropout)
    }

    fn describe(&self) -> Vec<(&'static str, String)> {
        let Self { num_layers, num_attention_heads, attention_head_dim, num_embeddings, .. } = self;
        let blocks = format!(
            "{num_layers} of tokens {} wide, {num_attention_heads} attention heads {attention_head_dim} wide",
            self.width()
        );
        let told = format!("{num_embeddings} tokens of words {} wide, a vector of {}", self.embedding_dim, self.told());
        vec![("blocks", blocks), ("is told", told)]
    }

    keeps_notes!();
}

impl Spec for PriorTransformerConfig {
    /// An embedding is a picture of one pixel, its numbers the channels.
    fn io(&self) -> Io {
        Io {
            channels_in: self.embedding_dim,
            channels_out: self.answers(),
            sample_size: Some([1, 1]),
            reads: Reads::Vector(self.told()),
            tokens: Some(Attends { width: self.embedding_dim, length: Some(self.num_embeddings) }),
            timestep_cond: None,
        }
    }

    fn stride(&self) -> usize {
        1
    }

    fn check_size(&self, height: usize, width: usize) -> Result<(), InputError> {
        match [height, width] {
            [1, 1] => Ok(()),
            got => Err(InputError::Sides { got, expected: [1, 1] }),
        }
    }

    fn features(&self, _: [usize; 3]) -> u64 {
        let tokens = (self.tokens() as u64).saturating_mul(self.width() as u64);
        tokens.saturating_mul(7 * self.num_layers as u64 + 12).saturating_mul(4)
    }

    fn multiplications(&self, _: [usize; 2]) -> f64 {
        let (tokens, c) = (self.tokens() as f64, self.width() as f64);
        self.num_layers as f64 * (12.0 * c * c * tokens + 2.0 * c * tokens * tokens)
    }
}

/// `[network] kind = "prior"`: a transformer over the tokens of a text, its vector, the time and the vector of a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prior {
    /// Width of a token.
    pub width: usize,
    /// Width of one attention head.
    pub head_dim: usize,
    /// Blocks.
    pub layers: usize,
    /// Dropout behind attention and inside feed-forward layers.
    pub dropout: f64,
}

/// Those of the preset `prior`.
impl Default for Prior {
    fn default() -> Self {
        Self { width: 256, head_dim: 32, layers: 6, dropout: 0.0 }
    }
}

impl Architecture for Prior {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (key, value, most) in [("width", self.width, COUNT), ("layers", self.layers, LAYERS)] {
            if !(1..=most).contains(&value) {
                problems.push(format!("network.{key} = {value} must be between 1 and {most}"));
            }
        }
        if self.head_dim == 0 || !self.width.is_multiple_of(self.head_dim) {
            problems.push(format!("network.head_dim = {} must divide network.width = {}", self.head_dim, self.width));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            problems.push(format!("network.dropout = {} must be in [0, 1)", self.dropout));
        }
        problems
    }

    fn config(
        &self,
        [embedding, height, width]: [usize; 3],
        channels_out: usize,
        reads: Reads,
        tokens: Option<Attends>,
    ) -> Result<NetworkConfig, String> {
        if [height, width] != [1, 1] || channels_out != embedding {
            return Err("network.kind = \"prior\" answers vectors, one number for each: train it with codec.kind = \"clip\" and \
                        loss.kind = \"denoising\""
                .into());
        }
        let (Reads::Vector(told), Some(Attends { width, length: Some(num_embeddings) })) = (reads, tokens) else {
            return Err("network.kind = \"prior\" is told words by a text encoder that stays as it is: name the folder of a CLIP, \
                        condition.words.encoder"
                .into());
        };
        if width != embedding {
            return Err(format!(
                "network.kind = \"prior\" reads the tokens of words and the vectors of pictures in one width, and those of this CLIP \
                 have {width} and {embedding} numbers: a CLIP whose hidden_size is its projection_dim is needed"
            ));
        }
        let config = PriorTransformerConfig {
            num_attention_heads: self.width / self.head_dim,
            attention_head_dim: self.head_dim,
            num_layers: self.layers,
            embedding_dim: embedding,
            num_embeddings,
            embedding_proj_dim: (told != embedding).then_some(told),
            dropout: self.dropout,
            ..PriorTransformerConfig::default()
        };
        Ok(config.into())
    }
}

/// The network. Field names are diffusers' tensor names.
#[derive(Module, Debug)]
pub struct PriorTransformer {
    time_embedding: TimestepEmbedding,
    proj_in: Linear,
    embedding_proj_norm: Option<LayerNorm>,
    embedding_proj: Linear,
    encoder_hidden_states_proj: Option<Linear>,
    positional_embedding: Param<Tensor<3>>,
    prd_embedding: Option<Param<Tensor<3>>>,
    transformer_blocks: Vec<Block>,
    norm_in: Option<LayerNorm>,
    norm_out: LayerNorm,
    proj_to_clip_embeddings: Linear,
    clip_mean: Param<Tensor<2>>,
    clip_std: Param<Tensor<2>>,
    #[module(skip)]
    pub(super) config: PriorTransformerConfig,
}

/// diffusers' `BasicTransformerBlock` without attention to anything else.
#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    attn1: TokenAttention,
    norm3: LayerNorm,
    ff: FeedForward,
}

impl Block {
    fn new(config: &PriorTransformerConfig, device: &Device) -> Self {
        let (width, dropout) = (config.width(), config.dropout);
        let norm = || LayerNorm::new(width, EPS, device);
        Self {
            norm1: norm(),
            attn1: TokenAttention::new(width, width, config.num_attention_heads, device).dropping(dropout),
            norm3: norm(),
            ff: FeedForward::new(width, FeedForwardActivation::Gelu, dropout, device),
        }
    }

    fn forward(&self, x: Tensor<3>, mask: &Mask, dropout: &Dropout) -> Tensor<3> {
        let normal = self.norm1.forward(x.clone());
        let x = x + self.attn1.forward(normal.clone(), normal, mask.clone(), dropout);
        x.clone() + self.ff.forward(self.norm3.forward(x), dropout)
    }
}

impl PriorTransformer {
    /// The network that a checked `config` describes, its parameters blank.
    pub(super) fn new(config: &PriorTransformerConfig, device: &Device) -> Self {
        let (width, embedding) = (config.width(), config.embedding_dim);
        let norm = |width| LayerNorm::new(width, EPS, device);
        let inner = config.time_embed_dim.unwrap_or(width);
        Self {
            time_embedding: TimestepEmbedding::between([width, inner, width], device)
                .activated(config.time_embed_act_fn, None),
            proj_in: Linear::new(embedding, width, device),
            embedding_proj_norm: config.embedding_proj_norm_type.map(|PriorNormType::Layer| norm(config.told())),
            embedding_proj: Linear::new(config.told(), width, device),
            encoder_hidden_states_proj: config
                .encoder_hid_proj_type
                .map(|ProjectionType::Linear| Linear::new(embedding, width, device)),
            positional_embedding: blank([1, config.tokens(), width], Init::Normal(0.02), device),
            prd_embedding: config.added_emb_type.map(|AddedType::Prd| blank([1, 1, width], Init::Normal(0.02), device)),
            transformer_blocks: (0..config.num_layers).map(|_| Block::new(config, device)).collect(),
            norm_in: config.norm_in_type.map(|PriorNormType::Layer| norm(width)),
            norm_out: norm(width),
            proj_to_clip_embeddings: Linear::new(width, config.answers(), device).zeroed(),
            clip_mean: blank([1, config.answers()], Init::Constant(0.0), device),
            clip_std: blank([1, config.answers()], Init::Constant(1.0), device),
            config: config.clone(),
        }
    }
}

impl Network {
    /// The same, which knows that what it diffuses was standardised: `(x - mean) / deviation`, number by number. Networks of other
    /// classes have no place for that.
    ///
    /// # Panics
    /// If there are not as many numbers as the network answers.
    pub fn standardised(self, mean: &[f32], deviation: &[f32]) -> Self {
        let set = |numbers: Param<Tensor<2>>, values: &[f32]| {
            numbers.map(|old| Tensor::from_data(TensorData::new(values.to_vec(), old.dims()), &old.device()))
        };
        match self {
            Self::PriorTransformer(network) => {
                let (clip_mean, clip_std) = (set(network.clip_mean, mean), set(network.clip_std, deviation));
                Self::PriorTransformer(PriorTransformer { clip_mean, clip_std, ..network })
            }
            other => other,
        }
    }
}

impl Forward for PriorTransformer {
    /// `x [B, D, 1, 1]` is an embedding; the condition's vector is that of a text, its tokens those of the words.
    fn forward(&self, x: Tensor<4>, timestep: &[f32], condition: &Condition, dropout: Option<u64>) -> Tensor<4> {
        let (device, [b, d, ..], width) = (x.device(), x.dims(), self.config.width());
        let dropout = Dropout::new(dropout);
        let alone = |x: Tensor<2>| x.reshape([b, 1, width]);
        let vector = condition.vector.clone().expect("a prior is told the vector of a text");
        let vector = match &self.embedding_proj_norm {
            Some(norm) => norm.forward(vector.reshape([b, 1, self.config.told()])).reshape([b, self.config.told()]),
            None => vector,
        };
        let words = condition.tokens.clone().expect("a prior is told the tokens of words");
        let words = match &self.encoder_hidden_states_proj {
            Some(linear) => linear.forward(words),
            None => words,
        };
        let time = self.time_embedding.forward(sinusoids(timestep, width, 0.0, true, &device));
        let picture = self.proj_in.forward(x.reshape([b, d]));
        let mut tokens = vec![words, alone(self.embedding_proj.forward(vector)), alone(time), alone(picture)];
        tokens.extend(self.prd_embedding.as_ref().map(|own| ops::repeated(own.val(), b)));
        let x = Tensor::cat(tokens, 1) + ops::repeated(self.positional_embedding.val(), b);
        let x = match &self.norm_in {
            Some(norm) => norm.forward(x),
            None => x,
        };
        // diffusers hides what comes later only where it hides anything.
        let mask = match condition.mask.clone() {
            Some(mask) => {
                let seen = Tensor::ones([b, self.config.others()], &device);
                Mask { causal: true, bias: Some((1.0 - Tensor::cat(vec![mask, seen], 1)) * UNSEEN) }
            }
            None => Mask::default(),
        };
        let x = self.transformer_blocks.iter().fold(x, |x, block| block.forward(x, &mask, &dropout));
        let last = self.config.tokens() - 1;
        let x = self.norm_out.forward(x.narrow(1, last, 1)).reshape([b, width]);
        self.proj_to_clip_embeddings.forward(x).reshape([b, self.config.answers(), 1, 1])
    }

    /// `x [B, D', 1, 1]` as the embedding of a picture: the network diffuses embeddings that are standardised.
    fn post_process(&self, x: Tensor<4>) -> Option<Tensor<4>> {
        let of = |numbers: &Param<Tensor<2>>| numbers.val().reshape([1, self.config.answers(), 1, 1]);
        Some(x * of(&self.clip_std) + of(&self.clip_mean))
    }
}
