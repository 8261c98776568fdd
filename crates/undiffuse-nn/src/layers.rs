//! The few layers that diffusion networks are made of, with PyTorch's field names and layouts, so
//! that a module's path is its tensor's name in a diffusers file.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};

use crate::ops;

/// A parameter whose values are read or drawn later, by [`crate::weights`] or [`crate::init`].
fn blank<const D: usize>(shape: [usize; D], fill: f32, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::full(shape, fill, device))
}

/// 2-D convolution `weight [O, I, k, k]`, `bias [O]`.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[O, I, k, k]`.
    pub weight: Param<Tensor<4>>,
    /// `[O]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: usize,
}

impl Conv2d {
    /// A `kernel`×`kernel` convolution that keeps the image size (padding `kernel / 2`).
    pub fn new(c_in: usize, c_out: usize, kernel: usize, device: &Device) -> Self {
        Self {
            weight: blank([c_out, c_in, kernel, kernel], 0.0, device),
            bias: blank([c_out], 0.0, device),
            stride: 1,
            padding: kernel / 2,
        }
    }

    /// The same convolution with another stride and symmetric padding.
    pub fn strided(mut self, stride: usize, padding: usize) -> Self {
        (self.stride, self.padding) = (stride, padding);
        self
    }

    /// `[B, I, H, W]` → `[B, O, H', W']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        ops::conv2d(x, self.weight.val(), self.bias.val(), self.stride, self.padding)
    }
}

/// Affine map `weight [out, in]`, `bias [out]`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// From `c_in` to `c_out` features.
    pub fn new(c_in: usize, c_out: usize, device: &Device) -> Self {
        Self { weight: blank([c_out, c_in], 0.0, device), bias: blank([c_out], 0.0, device) }
    }

    /// `[rows, in]` → `[rows, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        ops::linear(x, self.weight.val(), self.bias.val())
    }
}

/// Group normalisation with a gain and an offset per channel.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// Gain `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Offset `[C]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    eps: f64,
}

impl GroupNorm {
    /// `channels` in `groups` groups.
    pub fn new(groups: usize, channels: usize, eps: f64, device: &Device) -> Self {
        Self { weight: blank([channels], 1.0, device), bias: blank([channels], 0.0, device), groups, eps }
    }

    /// `[B, C, H, W]` → the same shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, false)
    }

    /// Normalises and applies `activation`; SiLU happens in the same pass over memory.
    pub fn forward_activated(&self, x: Tensor<4>, activation: ops::Activation) -> Tensor<4> {
        match activation {
            ops::Activation::Silu => self.run(x, true),
            other => other.apply(self.run(x, false)),
        }
    }

    fn run(&self, x: Tensor<4>, silu: bool) -> Tensor<4> {
        ops::group_norm(x, self.weight.val(), self.bias.val(), self.groups, self.eps, silu)
    }
}

/// A table of vectors, one row an index.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[entries, width]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// `entries` vectors of `width` numbers.
    pub fn new(entries: usize, width: usize, device: &Device) -> Self {
        Self { weight: blank([entries, width], 0.0, device) }
    }

    /// `[B]` indices → `[B, width]`.
    pub fn forward(&self, index: Tensor<1, Int>) -> Tensor<2> {
        self.weight.val().select(0, index)
    }
}
