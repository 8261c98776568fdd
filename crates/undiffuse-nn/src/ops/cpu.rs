//! The CPU body of each operation: `undiffuse-kernels` plugged into Burn's Flex backend.
//!
//! [`Kernels`] is the backend extension: Flex runs the slices, `Autodiff<Flex>` records one node
//! per operation whose backward pass calls the matching gradient kernel.

use burn::backend::autodiff::{
    NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{
    Autodiff, Backend, Dispatch, DispatchDevice, Flex, TensorMetadata, backend_extension,
    flex::{FlexTensor, Layout},
    tensor::FloatTensor,
};
use burn::tensor::{Bytes, DType, Shape, Tensor};
use undiffuse_kernels::{self as kernels, attention::Attention, conv2d::Conv2d, group_norm::GroupNorm, linear::Linear};

/// Whether `x` lives on the CPU backend that [`Kernels`] is written for.
pub fn runs<const D: usize>(x: &Tensor<D>) -> bool {
    matches!(x.device().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// Forward and gradient kernels of one backend, on its own tensor primitives.
///
/// The `_grad` functions return the gradients of the inputs in their order.
#[backend_extension(Autodiff, Flex)]
pub trait Kernels: Backend {
    /// Convolution; `stride`, symmetric `padding`.
    fn k_conv2d(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self>;
    /// `y = x wᵀ + b`.
    fn k_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Group normalisation with an optional SiLU.
    fn k_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        groups: usize,
        eps: f64,
        silu: bool,
    ) -> FloatTensor<Self>;
    /// Attention over `[B, heads, S, d]`.
    fn k_attention(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>) -> FloatTensor<Self>;
}

fn dispatch<const D: usize>(x: Tensor<D>) -> burn::backend::DispatchTensor {
    x.into_dispatch()
}

pub fn conv2d(x: Tensor<4>, w: Tensor<4>, b: Tensor<1>, stride: usize, padding: usize) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::k_conv2d(dispatch(x), dispatch(w), dispatch(b), stride, padding))
}

pub fn linear(x: Tensor<2>, w: Tensor<2>, b: Tensor<1>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::k_linear(dispatch(x), dispatch(w), dispatch(b)))
}

pub fn group_norm(x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>, groups: usize, eps: f64, silu: bool) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::k_group_norm(dispatch(x), dispatch(gamma), dispatch(beta), groups, eps, silu))
}

pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::k_attention(dispatch(q), dispatch(k), dispatch(v)))
}

/// The elements of a contiguous f32 tensor.
pub fn values(t: &FlexTensor) -> &[f32] {
    t.as_slice::<f32>().expect("kernel operands are made contiguous f32 before they are read")
}

/// A new tensor of `shape`, filled by `fill`.
fn new(shape: impl Into<Shape>, fill: impl FnOnce(&mut [f32])) -> FlexTensor {
    let shape = shape.into();
    let mut values = vec![0f32; shape.num_elements()];
    fill(&mut values);
    owned(shape, values)
}

/// A tensor that takes `values` over.
fn owned(shape: impl Into<Shape>, values: Vec<f32>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

fn conv_shape(x: &FlexTensor, w: &FlexTensor, stride: usize, padding: usize) -> Conv2d {
    let [batch, c_in, h, w_in] = x.shape().dims();
    let [c_out, _, kh, kw] = w.shape().dims();
    Conv2d { batch, c_in, h, w: w_in, c_out, kernel: (kh, kw), stride, pad: [padding; 4] }
}

fn linear_shape(x: &FlexTensor, w: &FlexTensor) -> Linear {
    let ([rows, c_in], [c_out, _]) = (x.shape().dims(), w.shape().dims());
    Linear { rows, c_in, c_out }
}

fn norm_shape(x: &FlexTensor, groups: usize, eps: f64, silu: bool) -> GroupNorm {
    let [batch, channels, h, w] = x.shape().dims();
    GroupNorm { batch, channels, pixels: h * w, groups, eps: eps as f32, silu }
}

fn attention_shape(q: &FlexTensor) -> Attention {
    let [batch, heads, length, dim] = q.shape().dims();
    Attention { heads: batch * heads, length, dim, scale: (1.0 / (dim as f64).sqrt()) as f32 }
}

impl Kernels for Flex {
    fn k_conv2d(x: FlexTensor, w: FlexTensor, b: FlexTensor, stride: usize, padding: usize) -> FlexTensor {
        let [x, w, b] = [x, w, b].map(|t| t.to_contiguous());
        let s = conv_shape(&x, &w, stride, padding);
        new([s.batch, s.c_out, s.out_h(), s.out_w()], |y| {
            kernels::conv2d::forward(&s, values(&x), values(&w), Some(values(&b)), y)
        })
    }

    fn k_linear(x: FlexTensor, w: FlexTensor, b: FlexTensor) -> FlexTensor {
        let [x, w, b] = [x, w, b].map(|t| t.to_contiguous());
        let s = linear_shape(&x, &w);
        new([s.rows, s.c_out], |y| kernels::linear::forward(&s, values(&x), values(&w), Some(values(&b)), y))
    }

    fn k_group_norm(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        groups: usize,
        eps: f64,
        silu: bool,
    ) -> FlexTensor {
        let [x, gamma, beta] = [x, gamma, beta].map(|t| t.to_contiguous());
        let s = norm_shape(&x, groups, eps, silu);
        new(x.shape(), |y| kernels::group_norm::forward(&s, values(&x), [values(&gamma), values(&beta)], y))
    }

    fn k_attention(q: FlexTensor, k: FlexTensor, v: FlexTensor) -> FlexTensor {
        let [q, k, v] = [q, k, v].map(|t| t.to_contiguous());
        let s = attention_shape(&q);
        new(q.shape(), |o| kernels::attention::forward(&s, [values(&q), values(&k), values(&v)], o))
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

#[derive(Debug)]
struct ConvBackward;
impl Backward<Flex, 3> for ConvBackward {
    type State = ([NodeId; 2], usize, usize);
    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (ids, stride, padding) = ops.state;
        let [nx, nw, nb] = ops.parents.map(|p| p.map(|node| node.id));
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [x, w] = kept(checkpointer, ids);
        let s = conv_shape(&x, &w, stride, padding);
        register(grads, nx, || new(x.shape(), |dx| kernels::conv2d::backward_data(&s, values(&dy), values(&w), dx)));
        if nw.is_some() || nb.is_some() {
            let mut db = vec![0f32; s.c_out];
            let dw =
                new(w.shape(), |dw| kernels::conv2d::backward_weight(&s, values(&x), values(&dy), dw, Some(&mut db)));
            register(grads, nw, || dw);
            register(grads, nb, || owned([s.c_out], db));
        }
    }
}

#[derive(Debug)]
struct LinearBackward;
impl Backward<Flex, 3> for LinearBackward {
    type State = [NodeId; 2];
    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [nx, nw, nb] = ops.parents.map(|p| p.map(|node| node.id));
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [x, w] = kept(checkpointer, ops.state);
        let s = linear_shape(&x, &w);
        register(grads, nx, || new(x.shape(), |dx| kernels::linear::backward_data(&s, values(&dy), values(&w), dx)));
        if nw.is_some() || nb.is_some() {
            let mut db = vec![0f32; s.c_out];
            let dw =
                new(w.shape(), |dw| kernels::linear::backward_weight(&s, values(&x), values(&dy), dw, Some(&mut db)));
            register(grads, nw, || dw);
            register(grads, nb, || owned([s.c_out], db));
        }
    }
}

#[derive(Debug)]
struct GroupNormBackward;
impl Backward<Flex, 3> for GroupNormBackward {
    type State = ([NodeId; 3], usize, f64, bool);
    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (ids, groups, eps, silu) = ops.state;
        let [nx, ng, nb] = ops.parents.map(|p| p.map(|node| node.id));
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [x, gamma, beta] = kept(checkpointer, ids);
        let s = norm_shape(&x, groups, eps, silu);
        let (mut dg, mut db) = (vec![0f32; s.channels], vec![0f32; s.channels]);
        let dx = new(x.shape(), |dx| {
            let affine = [values(&gamma), values(&beta)];
            kernels::group_norm::backward(&s, values(&x), affine, values(&dy), dx, [&mut dg, &mut db])
        });
        register(grads, nx, || dx);
        register(grads, ng, || owned([s.channels], dg));
        register(grads, nb, || owned([s.channels], db));
    }
}

#[derive(Debug)]
struct AttentionBackward;
impl Backward<Flex, 3> for AttentionBackward {
    type State = [NodeId; 3];
    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [nq, nk, nv] = ops.parents.map(|p| p.map(|node| node.id));
        let d_o = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [q, k, v] = kept(checkpointer, ops.state);
        let (s, shape) = (attention_shape(&q), q.shape());
        let mut dk = vec![0f32; shape.num_elements()];
        let mut dv = vec![0f32; shape.num_elements()];
        let dq = new(shape.clone(), |dq| {
            let qkv = [values(&q), values(&k), values(&v)];
            kernels::attention::backward(&s, qkv, values(&d_o), [dq, &mut dk, &mut dv])
        });
        register(grads, nq, || dq);
        register(grads, nk, || owned(shape.clone(), dk));
        register(grads, nv, || owned(shape, dv));
    }
}

/// Records one node: `keep`s inputs for the backward pass when a gradient will be asked for, and
/// runs the forward pass.
macro_rules! record {
    ($node:expr, [$a:ident, $b:ident, $c:ident], keep [$($kept:ident),+] as $ids:ident, $state:expr, $forward:expr) => {
        match $node.prepare::<C>([$a.node(), $b.node(), $c.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let $ids = [$(prep.checkpoint(&$kept)),+];
                prep.finish($state, $forward($a.into_primitive(), $b.into_primitive(), $c.into_primitive()))
            }
            OpsKind::UnTracked(prep) => {
                prep.finish($forward($a.into_primitive(), $b.into_primitive(), $c.into_primitive()))
            }
        }
    };
}

impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
    fn k_conv2d(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        let forward = |x, w, b| Flex::k_conv2d(x, w, b, stride, padding);
        record!(ConvBackward, [x, w, b], keep [x, w] as ids, (ids, stride, padding), forward)
    }

    fn k_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        record!(LinearBackward, [x, w, b], keep [x, w] as ids, ids, Flex::k_linear)
    }

    fn k_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        groups: usize,
        eps: f64,
        silu: bool,
    ) -> FloatTensor<Self> {
        let forward = |x, gamma, beta| Flex::k_group_norm(x, gamma, beta, groups, eps, silu);
        record!(GroupNormBackward, [x, gamma, beta], keep [x, gamma, beta] as ids, (ids, groups, eps, silu), forward)
    }

    fn k_attention(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>) -> FloatTensor<Self> {
        record!(AttentionBackward, [q, k, v], keep [q, k, v] as ids, ids, Flex::k_attention)
    }
}
