//! The CPU body of each operation: `undiffuse-kernels` plugged into Burn's Flex backend.
//!
//! [`Kernels`] is the backend extension: Flex runs the slices, `Autodiff<Flex>` records one node
//! per operation whose backward pass calls the matching gradient kernels.

mod attention;
mod conv;
mod layout;
mod linear;
mod memory;
mod norm;

use std::sync::OnceLock;

use burn::backend::{
    Autodiff, Backend, Dispatch, DispatchDevice, DispatchTensor, Flex, TensorMetadata,
    autodiff::{NodeId, checkpoint::base::Checkpointer, checkpoint::strategy::CheckpointStrategy, grads::Gradients},
    backend_extension,
    flex::FlexTensor,
    tensor::FloatTensor,
};
use burn::tensor::{Device, Tensor};
use undiffuse_kernels::activation::Activation as KernelActivation;

use super::map::{Joined, Map, Values};
use super::{Activation, Added, Conv, Norm};
use conv::ConvSpec;
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
    /// Attention between the pixels of maps.
    fn k_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        channels: usize,
        head_dim: usize,
    ) -> FloatTensor<Self>;
    /// `y = x wᵀ + b`.
    fn k_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
    /// `[B, C, H, W]` as a map.
    fn k_to_panels(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// A map as `[B, C, H, W]`.
    fn k_to_planes(x: FloatTensor<Self>, channels: usize) -> FloatTensor<Self>;
}

fn dispatch<const D: usize>(x: Tensor<D>) -> DispatchTensor {
    x.into_dispatch()
}

/// A tensor that may be missing.
fn optional<const D: usize>(x: Option<Tensor<D>>, device: &Device) -> DispatchTensor {
    dispatch(x.unwrap_or_else(|| Tensor::empty([0; D], device)))
}

fn panels(map: Map) -> Tensor<5> {
    match map.values {
        Values::Panels(x) => x,
        Values::Planes(_) => unreachable!("on the CPU maps are made of panels"),
    }
}

pub fn to_panels(x: Tensor<4>) -> Tensor<5> {
    Tensor::from_dispatch(Dispatch::k_to_panels(dispatch(x)))
}

pub fn to_planes(x: Tensor<5>, channels: usize) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::k_to_planes(dispatch(x), channels))
}

pub fn conv2d(x: Joined, norm: Option<Norm>, conv: Conv, added: Added) -> Map {
    let device = x.first.device();
    let [c_out, _, kh, kw] = conv.weight.dims();
    let norm_spec = norm.as_ref().map(|n| NormSpec::new(n, x.dims()[1]));
    let spec = ConvSpec {
        c_in: [x.first.dims()[1], x.second.as_ref().map_or(0, |m| m.dims()[1])],
        c_out,
        kernel: (kh, kw),
        stride: conv.stride,
        pad: conv.padding,
        upsample: conv.upsample,
        norm: norm_spec,
    };
    let (gamma, beta, modulation) = match norm {
        Some(n) => (Some(n.gamma), Some(n.beta), n.modulation),
        None => (None, None, None),
    };
    let y = Dispatch::k_conv2d(
        dispatch(panels(x.first)),
        optional(x.second.map(panels), &device),
        optional(gamma, &device),
        optional(beta, &device),
        optional(modulation, &device),
        dispatch(conv.weight),
        dispatch(conv.bias),
        optional(added.shift, &device),
        optional(added.residual.map(panels), &device),
        spec,
    );
    Map::of_panels(Tensor::from_dispatch(y), c_out)
}

pub fn normalize(x: Map, norm: Norm) -> Map {
    let (device, channels) = (x.device(), x.dims()[1]);
    let spec = NormSpec::new(&norm, channels);
    let (gamma, beta) = (dispatch(norm.gamma), dispatch(norm.beta));
    let y = Dispatch::k_norm(dispatch(panels(x)), gamma, beta, optional(norm.modulation, &device), spec);
    Map::of_panels(Tensor::from_dispatch(y), channels)
}

pub fn attention(q: Map, k: Map, v: Map, head_dim: usize) -> Map {
    let channels = q.dims()[1];
    let [q, k, v] = [q, k, v].map(|m| dispatch(panels(m)));
    Map::of_panels(Tensor::from_dispatch(Dispatch::k_attention(q, k, v, channels, head_dim)), channels)
}

pub fn linear(x: Tensor<2>, w: Tensor<2>, b: Tensor<1>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::k_linear(dispatch(x), dispatch(w), dispatch(b)))
}

fn kernel_activation(activation: Option<Activation>) -> KernelActivation {
    match activation {
        None => KernelActivation::Identity,
        Some(Activation::Silu) => KernelActivation::Silu,
        Some(Activation::Gelu) => KernelActivation::Gelu,
        Some(Activation::Relu) => KernelActivation::Relu,
        Some(Activation::Mish) => KernelActivation::Mish,
        Some(Activation::GeluTanh) => KernelActivation::GeluTanh,
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

    fn k_attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, channels: usize, head_dim: usize) -> FlexTensor {
        attention::forward([q, k, v], channels, head_dim)
    }

    fn k_linear(x: FlexTensor, w: FlexTensor, b: FlexTensor) -> FlexTensor {
        linear::forward([x, w, b])
    }

    fn k_to_panels(x: FlexTensor) -> FlexTensor {
        layout::to_panels(x)
    }

    fn k_to_planes(x: FlexTensor, channels: usize) -> FlexTensor {
        layout::to_planes(x, channels)
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
        channels: usize,
        head_dim: usize,
    ) -> FloatTensor<Self> {
        attention::record::<C>([q, k, v], channels, head_dim)
    }

    fn k_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        linear::record::<C>([x, w, b])
    }

    fn k_to_panels(x: FloatTensor<Self>) -> FloatTensor<Self> {
        layout::record_to_panels::<C>(x)
    }

    fn k_to_planes(x: FloatTensor<Self>, channels: usize) -> FloatTensor<Self> {
        layout::record_to_planes::<C>(x, channels)
    }
}

/// Reads back what the forward pass kept.
fn kept<const N: usize>(checkpointer: &mut Checkpointer, ids: [NodeId; N]) -> [FlexTensor; N] {
    ids.map(|id| checkpointer.retrieve_node_output::<FlexTensor>(id).to_contiguous())
}

/// Gives a parent its gradient, if it wants one.
fn register(grads: &mut Gradients, node: Option<NodeId>, gradient: impl FnOnce() -> FlexTensor) {
    if let Some(node) = node {
        grads.register::<Flex>(node, gradient());
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
