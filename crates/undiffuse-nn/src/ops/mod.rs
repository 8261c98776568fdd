//! The operations that networks are written in, each with two bodies.
//!
//! [`mod@reference`] composes Burn's standard operations: it runs, and differentiates, on every device.
//! On the CPU the same names run the kernels of `undiffuse-kernels` instead, with hand-written
//! gradients; their sums have an order fixed by the shape of one image alone, which is what makes
//! a picture depend on its seed and nothing else. A caller never sees which body ran.

pub mod adamw;
mod cpu;
pub mod reference;

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

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

/// Two-dimensional convolution with symmetric zero padding.
///
/// `x [B, C, H, W]`, `weight [O, C, kh, kw]`, `bias [O]` → `[B, O, H', W']`.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, stride: usize, padding: usize) -> Tensor<4> {
    if cpu::runs(&x) {
        cpu::conv2d(x, weight, bias, stride, padding)
    } else {
        reference::conv2d(x, weight, bias, stride, padding)
    }
}

/// Affine map of the last dimension: `y = x · weightᵀ + bias`.
///
/// `x [rows, in]`, `weight [out, in]` (PyTorch's layout), `bias [out]` → `[rows, out]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    if cpu::runs(&x) { cpu::linear(x, weight, bias) } else { reference::linear(x, weight, bias) }
}

/// Group normalisation, optionally followed by SiLU in the same pass.
///
/// `x [B, C, H, W]`, `gamma [C]`, `beta [C]` → `[B, C, H, W]`; `C` divides into `groups`.
pub fn group_norm(x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>, groups: usize, eps: f64, silu: bool) -> Tensor<4> {
    if cpu::runs(&x) {
        cpu::group_norm(x, gamma, beta, groups, eps, silu)
    } else {
        reference::group_norm(x, gamma, beta, groups, eps, silu)
    }
}

/// Scaled dot-product attention `softmax(q kᵀ / √d) v`.
///
/// `q, k, v [B, heads, S, d]` → `[B, heads, S, d]`.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    if cpu::runs(&q) { cpu::attention(q, k, v) } else { reference::attention(q, k, v) }
}

/// Nearest-neighbour enlargement by two: every pixel becomes a 2×2 block.
///
/// `x [B, C, H, W]` → `[B, C, 2H, 2W]`.
pub fn upsample_nearest(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    x.reshape([b, c, h, 1, w, 1]).expand([b, c, h, 2, w, 2]).reshape([b, c, 2 * h, 2 * w])
}
