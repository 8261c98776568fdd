//! Transformers \[Vaswani17\]: attention between tokens, feed-forward layers, and both on the pixels of a map.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::signal::Signal;
use super::told::Told;
use crate::layers::{Conv2d, GroupNorm, LayerNorm, Linear};
use crate::networks::dropout::Dropout;
use crate::ops::{self, Activation, Added, Map, Mask, Norm};

/// diffusers' `Attention` between tokens.
#[derive(Module, Debug)]
pub struct TokenAttention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    /// diffusers keeps a list here (projection, dropout); only the projection has weights.
    to_out: Vec<Linear>,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    dropout: f64,
}

impl TokenAttention {
    /// Of tokens `width` wide to tokens `memory` wide, with `heads` heads.
    pub fn new(width: usize, memory: usize, heads: usize, device: &Device) -> Self {
        Self {
            to_q: Linear::new(width, width, device),
            to_k: Linear::new(memory, width, device),
            to_v: Linear::new(memory, width, device),
            to_out: vec![Linear::new(width, width, device)],
            heads,
            dropout: 0.0,
        }
    }

    /// The same without offsets of queries, keys and values.
    pub fn unbiased(self) -> Self {
        let [to_q, to_k, to_v] = [self.to_q, self.to_k, self.to_v].map(Linear::unbiased);
        Self { to_q, to_k, to_v, ..self }
    }

    /// The same with dropout of its output.
    pub fn dropping(self, dropout: f64) -> Self {
        Self { dropout, ..self }
    }

    /// `x [B, N, C]` looks at `memory [B, M, C']` → the shape of `x`.
    pub fn forward(&self, x: Tensor<3>, memory: Tensor<3>, mask: Mask, dropout: &Dropout) -> Tensor<3> {
        self.look(x, self.keys_and_values(memory), mask, dropout)
    }

    /// The keys and values of `memory [B, M, C']`, each `[B, M, C]`.
    pub fn keys_and_values(&self, memory: Tensor<3>) -> [Tensor<3>; 2] {
        [&self.to_k, &self.to_v].map(|linear| linear.forward(memory.clone()))
    }

    /// [`forward`](Self::forward) by keys and values.
    pub fn look(&self, x: Tensor<3>, [k, v]: [Tensor<3>; 2], mask: Mask, dropout: &Dropout) -> Tensor<3> {
        let y = ops::token_attention(self.to_q.forward(x), k, v, self.heads, mask);
        dropout.drop(self.to_out[0].forward(y), self.dropout)
    }
}

/// Non-linearity of the feed-forward layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedForwardActivation {
    /// [`Activation::GeluTanh`].
    GeluApproximate,
    /// [`Activation::Gelu`].
    Gelu,
    /// One half of the channels times [`Activation::Gelu`] of the other \[Shazeer20\].
    Geglu,
}

/// diffusers' `FeedForward`, four times as wide inside.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// diffusers keeps a list here, in whose middle is the dropout.
    net: (Projection, Option<Linear>, Linear),
    #[module(skip)]
    activation: FeedForwardActivation,
    #[module(skip)]
    dropout: f64,
}

#[derive(Module, Debug)]
struct Projection {
    proj: Linear,
}

impl FeedForward {
    /// Of tokens `width` wide.
    pub fn new(width: usize, activation: FeedForwardActivation, dropout: f64, device: &Device) -> Self {
        let inner = 4 * width;
        let first = match activation {
            FeedForwardActivation::Geglu => 2 * inner,
            _ => inner,
        };
        let net = (Projection { proj: Linear::new(width, first, device) }, None, Linear::new(inner, width, device));
        Self { net, activation, dropout }
    }

    /// `[B, N, C]` → the same shape.
    pub fn forward(&self, x: Tensor<3>, dropout: &Dropout) -> Tensor<3> {
        let (first, _, second) = &self.net;
        let hidden = first.proj.forward(x);
        let activation = match self.activation {
            FeedForwardActivation::GeluApproximate => Activation::GeluTanh,
            FeedForwardActivation::Gelu => Activation::Gelu,
            FeedForwardActivation::Geglu => {
                return second.forward(dropout.drop(ops::gated(hidden, Activation::Gelu), self.dropout));
            }
        };
        if dropout.drops(self.dropout) {
            return second.forward(dropout.drop(activation.apply(hidden), self.dropout));
        }
        second.activated(activation, hidden)
    }
}

/// diffusers' `BasicTransformerBlock` as U-Nets use it: self-attention, attention to what the network is told,
/// feed-forward, each normalised before and added.
#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    attn1: TokenAttention,
    norm2: LayerNorm,
    attn2: TokenAttention,
    norm3: LayerNorm,
    ff: FeedForward,
    #[module(skip)]
    only_cross: bool,
}

impl Block {
    fn new(width: usize, spec: &TransformerSpec, device: &Device) -> Self {
        let norm = || LayerNorm::new(width, 1e-5, device);
        let attention = |memory| TokenAttention::new(width, memory, spec.heads, device).unbiased();
        Self {
            norm1: norm(),
            attn1: attention(if spec.only_cross { spec.memory } else { width }),
            norm2: norm(),
            attn2: attention(spec.memory),
            norm3: norm(),
            ff: FeedForward::new(width, FeedForwardActivation::Geglu, 0.0, device),
            only_cross: spec.only_cross,
        }
    }

    /// Those that look at what the network is told, in their order.
    fn cross_attentions(&self) -> impl Iterator<Item = &TokenAttention> {
        self.only_cross.then_some(&self.attn1).into_iter().chain([&self.attn2])
    }

    fn forward(&self, x: Tensor<3>, told: &Told, signal: &Signal) -> Tensor<3> {
        let normal = self.norm1.forward(x.clone());
        let seen = match self.only_cross {
            true => told.keys_and_values(&self.attn1),
            false => self.attn1.keys_and_values(normal.clone()),
        };
        // diffusers gives the mask to the second attention alone.
        let x = x + self.attn1.look(normal, seen, Mask::default(), &signal.dropout);
        let asked = self.norm2.forward(x.clone());
        let x = x + self.attn2.look(asked, told.keys_and_values(&self.attn2), signal.mask.clone(), &signal.dropout);
        x.clone() + self.ff.forward(self.norm3.forward(x), &signal.dropout)
    }
}

/// What a [`Transformer2DModel`] is made of.
#[derive(Clone, Copy, Debug)]
pub struct TransformerSpec {
    /// Heads of its attention.
    pub heads: usize,
    /// Blocks.
    pub layers: usize,
    /// Width of the tokens it attends to.
    pub memory: usize,
    /// Groups of the normalisation.
    pub groups: usize,
    /// Whether pixels become tokens by a linear map, not by a convolution: the same with weights of another shape.
    pub linear: bool,
    /// Whether both attentions are cross-attention.
    pub only_cross: bool,
}

/// Between pixels and tokens. The variant is no part of a tensor's name.
#[derive(Module, Debug)]
enum Pointwise {
    Conv(Conv2d),
    Linear(Linear),
}

impl Pointwise {
    fn new(linear: bool, c_in: usize, c_out: usize, device: &Device) -> Self {
        match linear {
            true => Self::Linear(Linear::new(c_in, c_out, device)),
            false => Self::Conv(Conv2d::new(c_in, c_out, 1, device)),
        }
    }

    /// The same map, which begins at zero.
    fn zeroed(self) -> Self {
        match self {
            Self::Conv(conv) => Self::Conv(conv.zeroed()),
            Self::Linear(linear) => Self::Linear(linear.zeroed()),
        }
    }

    fn forward(&self, x: Map, norm: Option<Norm>, added: Added) -> Map {
        match self {
            Self::Conv(conv) => conv.fused(x, norm, added),
            Self::Linear(linear) => linear.pointwise(x, norm, added),
        }
    }
}

/// diffusers' `Transformer2DModel` on maps: a token a pixel \[Rombach22, Appendix E.2.1\].
#[derive(Module, Debug)]
pub struct Transformer2DModel {
    norm: GroupNorm,
    proj_in: Pointwise,
    transformer_blocks: Vec<Block>,
    proj_out: Pointwise,
}

impl Transformer2DModel {
    /// On maps of `channels` channels.
    pub fn new(channels: usize, spec: &TransformerSpec, device: &Device) -> Self {
        let width = channels / spec.heads * spec.heads;
        Self {
            norm: GroupNorm::new(spec.groups, channels, 1e-6, device),
            proj_in: Pointwise::new(spec.linear, channels, width, device),
            transformer_blocks: (0..spec.layers).map(|_| Block::new(width, spec, device)).collect(),
            // As in [Rombach22]'s code: the block begins as what comes in.
            proj_out: Pointwise::new(spec.linear, width, channels, device).zeroed(),
        }
    }

    /// Its cross-attentions, in the order in which they look.
    pub fn cross_attentions(&self) -> impl Iterator<Item = &TokenAttention> {
        self.transformer_blocks.iter().flat_map(Block::cross_attentions)
    }

    /// `[B, C, H, W]` → the same shape.
    ///
    /// # Panics
    /// If the network was told no tokens.
    pub fn forward(&self, x: Map, signal: &Signal) -> Map {
        let told = signal.told.as_ref().expect("a network with cross-attention is told tokens");
        let [_, _, h, w] = x.dims();
        let tokens = self.proj_in.forward(x.clone(), Some(self.norm.then(None, None)), Added::default()).into_tokens();
        let tokens = self.transformer_blocks.iter().fold(tokens, |tokens, block| block.forward(tokens, told, signal));
        let added = Added { shift: None, residual: Some(x) };
        self.proj_out.forward(Map::from_tokens(tokens, [h, w]), None, added)
    }
}
