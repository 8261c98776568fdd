//! The CPU body of each operation: `undiffuse-kernels` plugged into Burn's Flex backend.
//!
//! [`Kernels`] is the backend extension: Flex runs the slices, `Autodiff<Flex>` records one node
//! per operation whose backward pass calls the matching gradient kernels.

mod attention;
mod conv;
mod embedding;
mod gate;
mod gated;
mod layer_norm;
mod layout;
mod linear;
mod memory;
mod node;
mod norm;

use std::sync::{Arc, OnceLock};

use burn::backend::{
    Autodiff, Backend, Dispatch, DispatchDevice, DispatchTensor, Flex, TensorMetadata,
    autodiff::checkpoint::strategy::CheckpointStrategy, backend_extension, flex::FlexTensor, tensor::FloatTensor,
};
use burn::tensor::{Device, Tensor};
use undiffuse_kernels::{activation::Activation as KernelActivation, attention::Layout};

use super::{Activation, Conv, LayerNorm, Mask, Norm};
use attention::AttentionSpec;
use conv::ConvSpec;
use linear::LinearSpec;
use norm::NormSpec;

pub use memory::values;

/// Channels of a vector.
pub const LANES: usize = 16;

/// Whether `x` lives on the CPU backend that [`Kernels`] is written for.
pub fn runs<const D: usize>(x: &Tensor<D>) -> bool {
    static REFERENCE: OnceLock<bool> = OnceLock::new();
    let reference = *REFERENCE.get_or_init(|| std::env::var("UNDIFFUSE_OPS").is_ok_and(|v| v == "reference"));
    !reference && matches!(x.device().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// Forward and gradient kernels of one backend, on its own tensor primitives. Maps are `[B, C / 16, H, W, 16]`; a tensor
/// without elements stands for one that is not there.
#[backend_extension(Autodiff, Flex)]
#[allow(clippy::too_many_arguments)]
pub trait Kernels: Backend {
    /// Convolution of one map or two side by side, with all that may go before and come after.
    fn k_conv2d(
        x: FloatTensor<Self>,
        beside: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        modulation: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        spec: ConvSpec,
    ) -> FloatTensor<Self>;
    /// Normalisation of a map.
    fn k_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        modulation: FloatTensor<Self>,
        spec: NormSpec,
    ) -> FloatTensor<Self>;
    /// Attention between the pixels of maps, or between tokens.
    fn k_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: AttentionSpec,
    ) -> FloatTensor<Self>;
    /// `y = activation(x) wᵀ + b`.
    fn k_linear(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        spec: LinearSpec,
    ) -> FloatTensor<Self>;
    /// Layer normalisation of tokens.
    fn k_layer_norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        offset: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
    /// `x + gate · y`.
    fn k_gate(x: FloatTensor<Self>, gate: FloatTensor<Self>, y: FloatTensor<Self>) -> FloatTensor<Self>;
    /// The first half of a token times the activated second.
    fn k_gated(x: FloatTensor<Self>, activation: KernelActivation) -> FloatTensor<Self>;
    /// Rows of a table, `each` for every picture.
    fn k_embedding(table: FloatTensor<Self>, rows: Arc<[usize]>, each: usize) -> FloatTensor<Self>;
    /// `[B, C, H, W]` as a map.
    fn k_to_panels(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// A map as `[B, C, H, W]`.
    fn k_to_planes(x: FloatTensor<Self>, channels: usize) -> FloatTensor<Self>;
    /// A map as `[B, H · W, C]`.
    fn k_to_tokens(x: FloatTensor<Self>, channels: usize) -> FloatTensor<Self>;
    /// `[B, H · W, C]` as a map of these sides.
    fn k_from_tokens(x: FloatTensor<Self>, sides: [usize; 2]) -> FloatTensor<Self>;
}

fn dispatch<const D: usize>(x: Tensor<D>) -> DispatchTensor {
    x.into_dispatch()
}

/// A tensor that may be missing.
fn optional<const D: usize>(x: Option<Tensor<D>>, device: &Device) -> DispatchTensor {
    dispatch(x.unwrap_or_else(|| Tensor::empty([0; D], device)))
}

pub fn to_panels(x: Tensor<4>) -> Tensor<5> {
    Tensor::from_dispatch(Dispatch::k_to_panels(dispatch(x)))
}

pub fn to_planes(x: Tensor<5>, channels: usize) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::k_to_planes(dispatch(x), channels))
}

pub fn to_tokens(x: Tensor<5>, channels: usize) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::k_to_tokens(dispatch(x), channels))
}

pub fn from_tokens(x: Tensor<3>, sides: [usize; 2]) -> Tensor<5> {
    Tensor::from_dispatch(Dispatch::k_from_tokens(dispatch(x), sides))
}

/// Of one map or two side by side, of so many channels each; `shift` and `residual` are added.
pub fn conv2d(
    [x, beside]: [Option<Tensor<5>>; 2],
    c_in: [usize; 2],
    norm: Option<Norm>,
    conv: Conv,
    shift: Option<Tensor<2>>,
    residual: Option<Tensor<5>>,
) -> Tensor<5> {
    let device = conv.weight.device();
    let [c_out, _, kh, kw] = conv.weight.dims();
    let spec = ConvSpec {
        c_in,
        c_out,
        kernel: (kh, kw),
        stride: conv.stride,
        pad: conv.padding,
        upsample: conv.upsample,
        norm: norm.as_ref().map(|n| NormSpec::new(n, c_in[0] + c_in[1])),
    };
    let (gamma, beta, modulation) = match norm {
        Some(n) => (Some(n.gamma), Some(n.beta), n.modulation),
        None => (None, None, None),
    };
    Tensor::from_dispatch(Dispatch::k_conv2d(
        optional(x, &device),
        optional(beside, &device),
        optional(gamma, &device),
        optional(beta, &device),
        optional(modulation, &device),
        dispatch(conv.weight),
        optional(conv.bias, &device),
        optional(shift, &device),
        optional(residual, &device),
        spec,
    ))
}

pub fn normalize(x: Tensor<5>, channels: usize, norm: Norm) -> Tensor<5> {
    let spec = NormSpec::new(&norm, channels);
    let modulation = optional(norm.modulation, &x.device());
    let (gamma, beta) = (dispatch(norm.gamma), dispatch(norm.beta));
    Tensor::from_dispatch(Dispatch::k_norm(dispatch(x), gamma, beta, modulation, spec))
}

pub fn attention(qkv: [Tensor<5>; 3], heads: usize, head_dim: usize) -> Tensor<5> {
    let bias = optional::<1>(None, &qkv[0].device());
    let [q, k, v] = qkv.map(dispatch);
    let spec = AttentionSpec { heads, head_dim, layout: Layout::Maps, causal: false };
    Tensor::from_dispatch(Dispatch::k_attention(q, k, v, bias, spec))
}

pub fn token_attention(qkv: [Tensor<3>; 3], heads: usize, mask: Mask) -> Tensor<3> {
    let head_dim = qkv[0].dims()[2] / heads;
    let bias = optional(mask.bias, &qkv[0].device());
    let [q, k, v] = qkv.map(dispatch);
    let spec = AttentionSpec { heads, head_dim, layout: Layout::Tokens, causal: mask.causal };
    Tensor::from_dispatch(Dispatch::k_attention(q, k, v, bias, spec))
}

pub fn linear(
    x: Tensor<2>,
    of_picture: usize,
    before: Option<Activation>,
    w: Tensor<2>,
    b: Option<Tensor<1>>,
) -> Tensor<2> {
    let spec = LinearSpec { of_picture, before: kernel_activation(before) };
    let b = optional(b, &w.device());
    Tensor::from_dispatch(Dispatch::k_linear(dispatch(x), dispatch(w), b, spec))
}

pub fn layer_norm(x: Tensor<3>, norm: LayerNorm) -> Tensor<3> {
    let device = x.device();
    let pair =
        |pair: Option<[DispatchTensor; 2]>| pair.unwrap_or_else(|| [(); 2].map(|()| optional::<1>(None, &device)));
    let [gain, offset] = pair(norm.affine.map(|t| t.map(dispatch)));
    let [scale, shift] = pair(norm.modulation.map(|t| t.map(dispatch)));
    Tensor::from_dispatch(Dispatch::k_layer_norm(dispatch(x), gain, offset, scale, shift, norm.eps))
}

pub fn gate(x: Tensor<3>, gate: Tensor<2>, y: Tensor<3>) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::k_gate(dispatch(x), dispatch(gate), dispatch(y)))
}

pub fn gated(x: Tensor<3>, activation: Activation) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::k_gated(dispatch(x), kernel_activation(Some(activation))))
}

pub fn embedding(table: Tensor<2>, rows: &[usize], each: usize) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::k_embedding(dispatch(table), rows.into(), each))
}

fn kernel_activation(activation: Option<Activation>) -> KernelActivation {
    match activation {
        None => KernelActivation::Identity,
        Some(Activation::Silu) => KernelActivation::Silu,
        Some(Activation::Gelu) => KernelActivation::Gelu,
        Some(Activation::Relu) => KernelActivation::Relu,
        Some(Activation::Mish) => KernelActivation::Mish,
        Some(Activation::GeluTanh) => KernelActivation::GeluTanh,
        Some(Activation::QuickGelu) => KernelActivation::QuickGelu,
    }
}

impl Kernels for Flex {
    fn k_conv2d(
        x: FlexTensor,
        beside: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        modulation: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        shift: FlexTensor,
        residual: FlexTensor,
        spec: ConvSpec,
    ) -> FlexTensor {
        conv::forward([x, beside, gamma, beta, modulation, weight, bias, shift, residual], spec).0
    }

    fn k_norm(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        modulation: FlexTensor,
        spec: NormSpec,
    ) -> FlexTensor {
        norm::forward([x, gamma, beta, modulation], spec).0
    }

    fn k_attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, bias: FlexTensor, spec: AttentionSpec) -> FlexTensor {
        attention::forward([q, k, v, bias], spec)
    }

    fn k_linear(x: FlexTensor, w: FlexTensor, b: FlexTensor, spec: LinearSpec) -> FlexTensor {
        linear::forward([x, w, b], spec)
    }

    fn k_layer_norm(
        x: FlexTensor,
        gain: FlexTensor,
        offset: FlexTensor,
        scale: FlexTensor,
        shift: FlexTensor,
        eps: f64,
    ) -> FlexTensor {
        layer_norm::forward([x, gain, offset, scale, shift], eps)
    }

    fn k_gate(x: FlexTensor, gate: FlexTensor, y: FlexTensor) -> FlexTensor {
        gate::forward([x, gate, y])
    }

    fn k_gated(x: FlexTensor, activation: KernelActivation) -> FlexTensor {
        gated::forward(x, activation)
    }

    fn k_embedding(table: FlexTensor, rows: Arc<[usize]>, _: usize) -> FlexTensor {
        embedding::forward(table, &rows)
    }

    fn k_to_panels(x: FlexTensor) -> FlexTensor {
        layout::to_panels(x)
    }

    fn k_to_planes(x: FlexTensor, channels: usize) -> FlexTensor {
        layout::to_planes(x, channels)
    }

    fn k_to_tokens(x: FlexTensor, channels: usize) -> FlexTensor {
        layout::to_tokens(x, channels)
    }

    fn k_from_tokens(x: FlexTensor, sides: [usize; 2]) -> FlexTensor {
        layout::from_tokens(x, sides)
    }
}

impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
    fn k_conv2d(
        x: FloatTensor<Self>,
        beside: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        modulation: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        spec: ConvSpec,
    ) -> FloatTensor<Self> {
        conv::record::<C>([x, beside, gamma, beta, modulation, weight, bias, shift, residual], spec)
    }

    fn k_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        modulation: FloatTensor<Self>,
        spec: NormSpec,
    ) -> FloatTensor<Self> {
        norm::record::<C>([x, gamma, beta, modulation], spec)
    }

    fn k_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: AttentionSpec,
    ) -> FloatTensor<Self> {
        attention::record::<C>([q, k, v, bias], spec)
    }

    fn k_linear(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        spec: LinearSpec,
    ) -> FloatTensor<Self> {
        linear::record::<C>([x, w, b], spec)
    }

    fn k_layer_norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        offset: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        layer_norm::record::<C>([x, gain, offset, scale, shift], eps)
    }

    fn k_gate(x: FloatTensor<Self>, gate: FloatTensor<Self>, y: FloatTensor<Self>) -> FloatTensor<Self> {
        gate::record::<C>([x, gate, y])
    }

    fn k_gated(x: FloatTensor<Self>, activation: KernelActivation) -> FloatTensor<Self> {
        gated::record::<C>(x, activation)
    }

    fn k_embedding(table: FloatTensor<Self>, rows: Arc<[usize]>, each: usize) -> FloatTensor<Self> {
        embedding::record::<C>(table, rows, each)
    }

    fn k_to_panels(x: FloatTensor<Self>) -> FloatTensor<Self> {
        layout::record_to_panels::<C>(x)
    }

    fn k_to_planes(x: FloatTensor<Self>, channels: usize) -> FloatTensor<Self> {
        layout::record_to_planes::<C>(x, channels)
    }

    fn k_to_tokens(x: FloatTensor<Self>, channels: usize) -> FloatTensor<Self> {
        layout::record_to_tokens::<C>(x, channels)
    }

    fn k_from_tokens(x: FloatTensor<Self>, sides: [usize; 2]) -> FloatTensor<Self> {
        layout::record_from_tokens::<C>(x, sides)
    }
}

/// What an operand holds, if it is there.
fn present(x: &FlexTensor) -> Option<&[f32]> {
    (x.shape().num_elements() > 0).then(|| values(x))
}

/// Batch, height and width of a map.
fn map_dims(x: &FlexTensor) -> [usize; 3] {
    let [b, _, h, w, _] = x.shape().dims();
    [b, h, w]
}
