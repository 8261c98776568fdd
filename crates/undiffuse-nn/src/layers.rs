//! The few layers that diffusion networks are made of, with PyTorch's field names and layouts, so
//! that a module's path is its tensor's name in a diffusers file.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::init::Init;
use crate::ops::{self, Added, Conv, Joined, Map, Norm};

/// A parameter whose values are read or drawn later, by [`crate::weights`] or [`crate::init`], zeros until then where they are
/// drawn. It takes no memory until its values are asked for, so a network of any size can be built to see how large it is.
pub(crate) fn blank<const D: usize>(shape: [usize; D], begins: Init, device: &Device) -> Param<Tensor<D>> {
    let fill = if let Init::Constant(value) = begins { value } else { 0.0 };
    let init = move |device: &Device, trained: bool| {
        let values = Tensor::full(shape, fill, device);
        if trained { values.require_grad() } else { values }
    };
    Param::uninitialized(begins.id(), init, device.clone(), true, shape.into())
}

/// The same parameter, which begins at zero.
fn zeroed<const D: usize>(parameter: &Param<Tensor<D>>) -> Param<Tensor<D>> {
    blank(parameter.lazy_shape().dims(), Init::Constant(0.0), &parameter.lazy_device())
}

/// 2-D convolution `weight [O, I, k, k]`, `bias [O]`.
#[derive(Module, Debug)]
pub struct Conv2d {
    weight: Param<Tensor<4>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: [usize; 4],
    #[module(skip)]
    upsample: bool,
}

impl Conv2d {
    /// A `kernel`×`kernel` convolution that keeps the image size (padding `kernel / 2`).
    pub fn new(c_in: usize, c_out: usize, kernel: usize, device: &Device) -> Self {
        Self {
            weight: blank([c_out, c_in, kernel, kernel], Init::Uniform(1.0), device),
            bias: Some(blank([c_out], Init::Uniform(1.0), device)),
            stride: 1,
            padding: [kernel / 2; 4],
            upsample: false,
        }
    }

    /// The same convolution with another stride and padding (top, left, bottom, right).
    pub fn strided(mut self, stride: usize, padding: [usize; 4]) -> Self {
        (self.stride, self.padding) = (stride, padding);
        self
    }

    /// The same convolution, which begins at zero: the last of a residual branch, or of a network, that is to begin as the
    /// identity \[Ho20\].
    pub fn zeroed(mut self) -> Self {
        (self.weight, self.bias) = (zeroed(&self.weight), self.bias.as_ref().map(zeroed));
        self
    }

    /// The same without offsets.
    pub fn unbiased(mut self) -> Self {
        self.bias = None;
        self
    }

    /// The same convolution of an image whose pixels are doubled first.
    pub fn upsampling(mut self) -> Self {
        self.upsample = true;
        self
    }

    /// The same convolution as it is of an image that was enlarged already.
    pub fn of_enlarged(&self, x: impl Into<Joined>) -> Map {
        let conv = Conv { upsample: false, ..self.conv() };
        ops::conv2d(x.into(), None, conv, Added::default())
    }

    fn conv(&self) -> Conv {
        let (weight, bias) = (self.weight(), self.bias.as_ref().map(Param::val));
        Conv { weight, bias, stride: self.stride, padding: self.padding, upsample: self.upsample }
    }

    /// The filters as they are used, `[O, I, k, k]`: whatever adapts them does so here.
    pub fn weight(&self) -> Tensor<4> {
        self.weight.val()
    }

    /// `[B, I, H, W]` → `[B, O, H', W']`.
    pub fn forward(&self, x: impl Into<Joined>) -> Map {
        self.fused(x, None, Added::default())
    }

    /// Normalises before and adds after, in the same pass over memory.
    pub fn fused(&self, x: impl Into<Joined>, norm: Option<Norm>, added: Added) -> Map {
        ops::conv2d(x.into(), norm, self.conv(), added)
    }
}

/// Affine map `weight [out, in]`, `bias [out]`.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// From `c_in` to `c_out` features.
    pub fn new(c_in: usize, c_out: usize, device: &Device) -> Self {
        Self {
            weight: blank([c_out, c_in], Init::Uniform(1.0), device),
            bias: Some(blank([c_out], Init::Uniform(1.0), device)),
        }
    }

    /// The same map, which begins at zero, as [`Conv2d::zeroed`].
    pub fn zeroed(mut self) -> Self {
        (self.weight, self.bias) = (zeroed(&self.weight), self.bias.as_ref().map(zeroed));
        self
    }

    /// The same without offsets.
    pub fn unbiased(mut self) -> Self {
        self.bias = None;
        self
    }

    /// The matrix as it is used, `[out, in]`: whatever adapts it does so here.
    pub fn weight(&self) -> Tensor<2> {
        self.weight.val()
    }

    /// The offsets `[out]`.
    pub fn bias(&self) -> Option<Tensor<1>> {
        self.bias.as_ref().map(Param::val)
    }

    /// `[B, …, in]` → `[B, …, out]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        ops::linear(x, None, self.weight(), self.bias())
    }

    /// The same of an activated input.
    pub fn activated<const D: usize>(&self, activation: ops::Activation, x: Tensor<D>) -> Tensor<D> {
        ops::linear(x, Some(activation), self.weight(), self.bias())
    }

    /// The same map at every pixel: `[B, in, H, W]` → `[B, out, H, W]`, normalised before and added to after.
    pub fn pointwise(&self, x: Map, norm: Option<Norm>, added: Added) -> Map {
        let weight = self.weight();
        let [c_out, c_in] = weight.dims();
        let weight = weight.reshape([c_out, c_in, 1, 1]);
        let conv = Conv { weight, bias: self.bias(), stride: 1, padding: [0; 4], upsample: false };
        ops::conv2d(x.into(), norm, conv, added)
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
        let bias = blank([channels], Init::Constant(0.0), device);
        Self { weight: blank([channels], Init::Constant(1.0), device), bias, groups, eps }
    }

    /// The normalisation, followed by `activation`, as operations take it; `modulation` is `[B, 2 C]`.
    pub fn then(&self, activation: Option<ops::Activation>, modulation: Option<Tensor<2>>) -> Norm {
        let (gamma, beta) = (self.weight.val(), self.bias.val());
        Norm { gamma, beta, groups: self.groups, eps: self.eps, modulation, activation }
    }
}

/// Layer normalisation of tokens, with a gain and an offset per channel.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Gain `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Offset `[C]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    eps: f64,
}

impl LayerNorm {
    /// Of tokens `width` wide.
    pub fn new(width: usize, eps: f64, device: &Device) -> Self {
        let bias = blank([width], Init::Constant(0.0), device);
        Self { weight: blank([width], Init::Constant(1.0), device), bias, eps }
    }

    /// `[B, N, C]` → the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let affine = Some([self.weight.val(), self.bias.val()]);
        ops::layer_norm(x, ops::LayerNorm { affine, eps: self.eps, modulation: None })
    }
}

/// A table of vectors, one row an index.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[entries, width]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// `entries` vectors of `width` standard normal numbers.
    pub fn new(entries: usize, width: usize, device: &Device) -> Self {
        Self::begun(entries, width, Init::Normal(1.0), device)
    }

    /// The same, begun in another way.
    pub fn begun(entries: usize, width: usize, begins: Init, device: &Device) -> Self {
        Self { weight: blank([entries, width], begins, device) }
    }

    /// `[B]` rows → `[B, width]`.
    ///
    /// # Panics
    /// If a row is not in the table.
    pub fn forward(&self, rows: &[usize]) -> Tensor<2> {
        ops::embedding(self.weight.val(), rows, 1)
    }

    /// `[B, N]` rows, `n` of each picture or text → `[B, N, width]`.
    ///
    /// # Panics
    /// If a row is not in the table.
    pub fn tokens(&self, rows: &[usize], n: usize) -> Tensor<3> {
        let found = ops::embedding(self.weight.val(), rows, n);
        let width = found.dims()[1];
        found.reshape([rows.len() / n, n, width])
    }

    /// The first `n` rows for each of a batch, `[B, N, width]`.
    pub fn first(&self, n: usize, batch: usize) -> Tensor<3> {
        ops::repeated(self.weight.val().narrow(0, 0, n).unsqueeze(), batch)
    }
}
