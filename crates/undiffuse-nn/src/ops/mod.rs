//! The operations that networks are written in, each with two bodies.
//!
//! [`mod@reference`] composes Burn's standard operations: it runs, and differentiates, on every device.
//! On the CPU the same names run the kernels of `undiffuse-kernels` instead, with hand-written
//! gradients; their sums have an order fixed by the shape of one image alone, which is what makes
//! a picture depend on its seed and nothing else. A caller never sees which body ran.
//!
//! The environment variable `UNDIFFUSE_OPS=reference`, read once, runs the standard operations on the CPU, too.

pub mod adamw;
mod cpu;
mod map;
pub mod reference;
mod threads;

use burn::tensor::{Tensor, activation};
use map::Values;
use serde::{Deserialize, Serialize};

pub use map::{Joined, Map};
pub use threads::on_threads;

/// An elementwise non-linearity, by its diffusers name (`act_fn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// `x · sigmoid(x)`.
    #[serde(alias = "swish")]
    Silu,
    /// `x · Φ(x)` with the exact normal distribution function.
    Gelu,
    /// `max(x, 0)`.
    Relu,
    /// `x · tanh(ln(1 + eˣ))`.
    Mish,
}

impl Activation {
    /// Applies the function to every element.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Activation::Silu => activation::silu(x),
            Activation::Gelu => activation::gelu(x),
            Activation::Relu => activation::relu(x),
            Activation::Mish => activation::mish(x),
        }
    }
}

/// Group normalisation, a modulation and a non-linearity: `activation((x̂ · gamma + beta) · (1 + scale) + shift)`.
#[derive(Clone, Debug)]
pub struct Norm {
    /// `[C]`.
    pub gamma: Tensor<1>,
    /// `[C]`.
    pub beta: Tensor<1>,
    /// `C` divides into so many groups.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Scale and shift, `[B, 2 C]`.
    pub modulation: Option<Tensor<2>>,
    /// What follows.
    pub activation: Option<Activation>,
}

/// A convolution.
#[derive(Clone, Debug)]
pub struct Conv {
    /// `[O, C, kh, kw]`.
    pub weight: Tensor<4>,
    /// `[O]`.
    pub bias: Tensor<1>,
    /// Step of the filter.
    pub stride: usize,
    /// Zeros around the image: top, left, bottom, right.
    pub padding: [usize; 4],
    /// Whether the image is doubled first: every pixel becomes a 2×2 block.
    pub upsample: bool,
}

/// What is added to the outcome of a convolution.
#[derive(Clone, Debug, Default)]
pub struct Added {
    /// To a channel of an image: `[B, O]`.
    pub shift: Option<Tensor<2>>,
    /// To everything: `[B, O, H', W']`.
    pub residual: Option<Map>,
}

/// Convolution of `x [B, C, H, W]`, normalised and activated first if asked, `→ [B, O, H', W']`.
pub fn conv2d(x: Joined, norm: Option<Norm>, conv: Conv, added: Added) -> Map {
    match x.first.values {
        Values::Panels(_) => cpu::conv2d(x, norm, conv, added),
        Values::Planes(_) => reference::conv2d(x.into_map().into_tensor(), norm, conv, added).into(),
    }
}

/// Normalisation alone, `[B, C, H, W]` → the same shape.
pub fn normalize(x: Map, norm: Norm) -> Map {
    match x.values {
        Values::Panels(_) => cpu::normalize(x, norm),
        Values::Planes(x) => reference::normalize(x, norm).into(),
    }
}

/// Scaled dot-product attention `softmax(q kᵀ / √d) v` between the pixels of an image.
///
/// `q, k, v [B, heads · d, H, W]`, the `d` channels of a head side by side, → the same shape.
pub fn attention(q: Map, k: Map, v: Map, head_dim: usize) -> Map {
    match q.values {
        Values::Panels(_) => cpu::attention(q, k, v, head_dim),
        Values::Planes(_) => reference::attention(q.into_tensor(), k.into_tensor(), v.into_tensor(), head_dim).into(),
    }
}

/// Affine map of the last dimension: `y = x · weightᵀ + bias`.
///
/// `x [rows, in]`, `weight [out, in]` (PyTorch's layout), `bias [out]` → `[rows, out]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    if cpu::runs(&x) { cpu::linear(x, weight, bias) } else { reference::linear(x, weight, bias) }
}
