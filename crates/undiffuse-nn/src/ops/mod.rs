//! The operations that networks are written in, each with two bodies.
//!
//! [`mod@reference`] composes Burn's standard operations: it runs, and differentiates, on every device.
//! On the CPU the same names run the kernels of `undiffuse-kernels` instead, with hand-written
//! gradients; their sums have an order fixed by the shape of one image alone, which is what makes
//! a picture depend on its seed and nothing else. Gradients that sum over pictures do so along a fixed [`tree`], which
//! is what makes a step depend on its pictures and nothing else. A caller never sees which body ran.
//!
//! The environment variable `UNDIFFUSE_OPS=reference`, read once, runs the standard operations on the CPU as well.

mod cpu;
mod map;
pub mod optim;
pub mod reference;
mod threads;

use burn::tensor::{Tensor, activation};
use map::Values;
use serde::{Deserialize, Serialize};

pub use map::{Joined, Map};
pub use threads::on_threads;
pub use undiffuse_kernels::tree::{self, Tree};

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
    /// [`Gelu`](Self::Gelu) with Φ by a hyperbolic tangent, `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`
    /// \[Hendrycks16\]: diffusers' feed-forward `gelu-approximate`, which no `act_fn` names.
    #[serde(skip)]
    GeluTanh,
    /// `x · sigmoid(1.702 x)` \[Hendrycks16, section 2\]: CLIP's `quick_gelu`, which no `act_fn` names.
    #[serde(skip)]
    QuickGelu,
}

impl Activation {
    /// Applies the function to every element.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Activation::Silu => activation::silu(x),
            Activation::Gelu => activation::gelu(x),
            Activation::Relu => activation::relu(x),
            Activation::Mish => activation::mish(x),
            Activation::GeluTanh => reference::gelu_tanh(x),
            Activation::QuickGelu => x.clone() * activation::sigmoid(x * 1.702),
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
    /// `[O]`; zeros for `None`.
    pub bias: Option<Tensor<1>>,
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
        Values::Panels(_) => {
            let c_in = [x.first.dims()[1], x.second.as_ref().map_or(0, |map| map.dims()[1])];
            let [first, second, residual] =
                [Some(x.first), x.second, added.residual].map(|map| map.map(Map::into_panels));
            let channels = conv.weight.dims()[0];
            Map::of_panels(cpu::conv2d([first, second], c_in, norm, conv, added.shift, residual), channels)
        }
        Values::Planes(_) => reference::conv2d(x.into_map().into_tensor(), norm, conv, added).into(),
    }
}

/// Normalisation alone, `[B, C, H, W]` → the same shape.
pub fn normalize(x: Map, norm: Norm) -> Map {
    match x.values {
        Values::Panels(_) => {
            let channels = x.dims()[1];
            Map::of_panels(cpu::normalize(x.into_panels(), channels, norm), channels)
        }
        Values::Planes(x) => reference::normalize(x, norm).into(),
    }
}

/// Scaled dot-product attention `softmax(q kᵀ / √d) v` between the pixels of an image.
///
/// `q, k, v [B, heads · d, H, W]`, the `d` channels of a head side by side, → the same shape.
pub fn attention(q: Map, k: Map, v: Map, head_dim: usize) -> Map {
    match q.values {
        Values::Panels(_) => {
            let channels = q.dims()[1];
            let o = cpu::attention([q, k, v].map(Map::into_panels), channels / head_dim, head_dim);
            Map::of_panels(o, channels)
        }
        Values::Planes(_) => reference::attention(q.into_tensor(), k.into_tensor(), v.into_tensor(), head_dim).into(),
    }
}

/// Layer normalisation \[Ba16\], and a modulation by picture: `(x̂ · gain + offset) · (1 + scale) + shift`.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Gain and offset, each `[C]`; ones and zeros for `None`.
    pub affine: Option<[Tensor<1>; 2]>,
    /// Added to the variance.
    pub eps: f64,
    /// Scale and shift of every picture, each `[B, C]` \[Peebles22, adaLN\].
    pub modulation: Option<[Tensor<2>; 2]>,
}

/// Layer normalisation of every token, `[B, N, C]` → the same shape.
pub fn layer_norm(x: Tensor<3>, norm: LayerNorm) -> Tensor<3> {
    if cpu::runs(&x) { cpu::layer_norm(x, norm) } else { reference::layer_norm(x, norm) }
}

/// `x + gate · y`: `x, y [B, N, C]` and a gate `[B, C]` for every picture and channel \[Peebles22, adaLN-Zero\].
pub fn gate(x: Tensor<3>, gate: Tensor<2>, y: Tensor<3>) -> Tensor<3> {
    if cpu::runs(&x) { cpu::gate(x, gate, y) } else { reference::gate(x, gate, y) }
}

/// The first half of every token times the activated second \[Shazeer20\]: `[B, N, 2 C]` → `[B, N, C]`.
pub fn gated(x: Tensor<3>, activation: Activation) -> Tensor<3> {
    if cpu::runs(&x) { cpu::gated(x, activation) } else { reference::gated(x, activation) }
}

/// What tokens do not attend to. The default is nothing: every query sees every key.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    /// Whether query `i` sees the keys `0..=i` alone.
    pub causal: bool,
    /// Added to the scores of a key, `[B, M]`: a large negative number for one that does not count. Below -1e30 counts as
    /// that. It gets no gradient.
    pub bias: Option<Tensor<2>>,
}

/// Scaled dot-product attention `softmax(q kᵀ / √d + mask) v` of tokens.
///
/// `q [B, N, heads · d]`, `k` and `v [B, M, heads · d]`, the `d` channels of a head side by side → the shape of `q`.
pub fn token_attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, mask: Mask) -> Tensor<3> {
    match cpu::runs(&q) {
        true => cpu::token_attention([q, k, v], heads, mask),
        false => reference::token_attention(q, k, v, heads, mask),
    }
}

/// Affine map of the last dimension, `y = activation(x) · weightᵀ + bias`; without an activation, of `x` itself.
///
/// `x [B, …, in]`, `weight [out, in]` (PyTorch's layout), `bias [out]` → `[B, …, out]`.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    before: Option<Activation>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut dims = x.dims();
    let of_picture = dims[1..D - 1].iter().product::<usize>();
    let x = x.reshape([dims[0] * of_picture, dims[D - 1]]);
    dims[D - 1] = weight.dims()[0];
    let y = if cpu::runs(&x) {
        cpu::linear(x, of_picture, before, weight, bias)
    } else {
        reference::linear(x, before, weight, bias)
    };
    y.reshape(dims)
}

/// Rows of a table, `each` for every picture: `table [entries, width]` → `[B · each, width]`.
///
/// # Panics
/// If a row is not in the table.
pub fn embedding(table: Tensor<2>, rows: &[usize], each: usize) -> Tensor<2> {
    if cpu::runs(&table) { cpu::embedding(table, rows, each) } else { reference::embedding(table, rows) }
}

/// The same for every picture, `[1, N, C]` → `[B, N, C]`: its gradient is a sum over pictures along their tree.
pub fn repeated(x: Tensor<3>, pictures: usize) -> Tensor<3> {
    let [_, n, c] = x.dims();
    embedding(x.reshape([1, n * c]), &vec![0; pictures], 1).reshape([pictures, n, c])
}
