//! Attention over the pixels of a map.

use burn::module::Module;
use burn::tensor::Device;

use super::signal::Signal;
use super::transformer::{TokenAttention, Transformer2DModel};
use crate::layers::{GroupNorm, Linear};
use crate::ops::{self, Added, Map};

/// What may follow a residual block. The variant is no part of a tensor's name.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // there are few of it
pub enum AnyAttention {
    /// Self-attention.
    Pixels(Attention),
    /// Self-attention, and cross-attention to tokens.
    Tokens(Transformer2DModel),
}

impl AnyAttention {
    /// Its cross-attentions, in the order in which they look.
    pub fn cross_attentions(&self) -> impl Iterator<Item = &TokenAttention> {
        let transformer = match self {
            Self::Pixels(_) => None,
            Self::Tokens(transformer) => Some(transformer),
        };
        transformer.into_iter().flat_map(Transformer2DModel::cross_attentions)
    }

    /// `[B, C, H, W]` → the same shape.
    pub fn forward(&self, x: Map, signal: &Signal) -> Map {
        match self {
            Self::Pixels(attention) => attention.forward(x),
            Self::Tokens(transformer) => transformer.forward(x, signal),
        }
    }
}

/// diffusers' `Attention` as `UNet2DModel` uses it: normalise, attend, project, add.
#[derive(Module, Debug)]
pub struct Attention {
    group_norm: Option<GroupNorm>,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    /// diffusers keeps a list here (projection, dropout); only the projection has weights.
    to_out: Vec<Linear>,
    #[module(skip)]
    head_dim: usize,
    #[module(skip)]
    rescale_output_factor: f64,
}

impl Attention {
    /// Over `channels`, normalised in `groups` groups (not at all for `None`), with heads so wide (one for `None`).
    pub fn new(channels: usize, groups: Option<usize>, eps: f64, head_dim: Option<usize>, device: &Device) -> Self {
        let head_dim = head_dim.unwrap_or(channels);
        // diffusers makes `channels / head_dim` heads; a head wider than the image's channels
        // would give none, which it refuses to run, so one head is the only reading.
        let inner = (channels / head_dim).max(1) * head_dim;
        let linear = || Linear::new(channels, inner, device);
        Self {
            group_norm: groups.map(|g| GroupNorm::new(g, channels, eps, device)),
            to_q: linear(),
            to_k: linear(),
            to_v: linear(),
            to_out: vec![Linear::new(inner, channels, device).zeroed()],
            head_dim,
            rescale_output_factor: 1.0,
        }
    }

    /// The same attention with its output divided by `factor`.
    pub fn scaled(mut self, factor: f64) -> Self {
        self.rescale_output_factor = factor;
        self
    }

    /// `[B, C, H, W]` → the same shape.
    fn forward(&self, x: Map) -> Map {
        // Once: a gain that three products used would add their gradients only after each was summed over pictures.
        let normal = match &self.group_norm {
            Some(norm) => ops::normalize(x.clone(), norm.then(None, None)),
            None => x.clone(),
        };
        let [q, k, v] =
            [&self.to_q, &self.to_k, &self.to_v].map(|linear| linear.pointwise(normal.clone(), None, Added::default()));
        let y = ops::attention(q, k, v, self.head_dim);
        let y = self.to_out[0].pointwise(y, None, Added { shift: None, residual: Some(x) });
        y.divided(self.rescale_output_factor)
    }
}
