//! The normalisation node, and what a convolution does with a normalisation before it.

use undiffuse_kernels::{
    activation::Activation,
    norm::{self, Norm},
};

use super::memory::{new_like, owned, values};
use super::node::{
    self, Backward, CheckpointStrategy, Checkpointer, Flex, FlexTensor, Gradients, NodeId, Ops, TensorMetadata,
    Tracked, kept, register,
};
use super::{kernel_activation, map_dims, present};

/// What a normalisation is told beside its tensors.
#[derive(Clone, Copy, Debug)]
pub struct NormSpec {
    pub channels: usize,
    pub groups: usize,
    pub eps: f64,
    pub activation: Activation,
}

impl NormSpec {
    pub fn new(norm: &super::Norm, channels: usize) -> Self {
        let activation = kernel_activation(norm.activation);
        Self { channels, groups: norm.groups, eps: norm.eps, activation }
    }

    pub fn shape(&self, batch: usize, channels: [usize; 2], pixels: usize) -> Norm {
        Norm { batch, channels, pixels, groups: self.groups, eps: self.eps as f32, activation: self.activation }
    }
}

/// A normalisation as the kernels apply it: statistics, then coefficients.
#[derive(Clone, Debug)]
pub struct Prepared {
    statistics: Vec<f32>,
    coefficients: Vec<f32>,
}

impl Prepared {
    pub fn coefficients(&self) -> &[f32] {
        &self.coefficients
    }
}

pub fn prepare(shape: &Norm, maps: [&[f32]; 2], affine: [&[f32]; 2], modulation: Option<&[f32]>) -> Prepared {
    let mut statistics = vec![0f32; shape.statistics_len()];
    let mut coefficients = vec![0f32; shape.coefficients_len()];
    norm::statistics(shape, maps, &mut statistics);
    norm::coefficients(shape, &statistics, affine, modulation, &mut coefficients);
    Prepared { statistics, coefficients }
}

/// Turns `d`, the gradients of what was normalised and activated, into those of the maps; returns those of gamma, beta
/// and modulation.
pub fn backward(
    shape: &Norm,
    maps: [&[f32]; 2],
    prepared: &Prepared,
    affine: [&[f32]; 2],
    modulation: Option<&[f32]>,
    d: [&mut [f32]; 2],
) -> [FlexTensor; 3] {
    let channels = shape.all_channels();
    let [mut d_gamma, mut d_beta] = [0, 1].map(|_| vec![0f32; channels]);
    let mut d_modulation = vec![0f32; modulation.map_or(0, <[f32]>::len)];
    let gradients = norm::Gradients {
        affine: [&mut d_gamma, &mut d_beta],
        scale_shift: modulation.is_some().then_some(&mut d_modulation[..]),
    };
    let Prepared { statistics, coefficients } = prepared;
    norm::backward(shape, maps, [statistics, coefficients], affine, modulation, d, [None; 2], gradients);
    let rows = if modulation.is_some() { shape.batch } else { 0 };
    [owned([channels], d_gamma), owned([channels], d_beta), owned([rows, 2 * channels], d_modulation)]
}

/// `x, gamma, beta, modulation`.
const OPERANDS: usize = 4;

fn shape(x: &FlexTensor, spec: &NormSpec) -> Norm {
    let [batch, h, w] = map_dims(x);
    spec.shape(batch, [spec.channels, 0], h * w)
}

/// `y`, and what made it.
pub fn forward(operands: [FlexTensor; OPERANDS], spec: NormSpec) -> (FlexTensor, Prepared) {
    let [x, gamma, beta, modulation] = operands.map(|t| t.to_contiguous());
    let s = shape(&x, &spec);
    let maps = [values(&x), &[]];
    let prepared = prepare(&s, maps, [values(&gamma), values(&beta)], present(&modulation));
    let y = new_like(&x, |y| norm::forward(&s, maps, prepared.coefficients(), [y, &mut []]));
    (y, prepared)
}

pub fn record<C: CheckpointStrategy>(operands: [Tracked<C>; OPERANDS], spec: NormSpec) -> Tracked<C> {
    node::record::<C, _, _, _, _>(NormBackward, operands, [0, 1, 2, 3], |operands| {
        let (y, prepared) = forward(operands, spec);
        (y, (spec, prepared))
    })
}

#[derive(Debug)]
struct NormBackward;

impl Backward<Flex, OPERANDS> for NormBackward {
    type State = ([NodeId; OPERANDS], (NormSpec, Prepared));

    fn backward(self, ops: Ops<Self::State, OPERANDS>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (ids, (spec, prepared)) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [x_node, gamma_node, beta_node, modulation_node] = ops.parents.map(|p| p.map(|node| node.id));
        let [x, gamma, beta, modulation] = kept(checkpointer, ids);
        let s = shape(&x, &spec);
        let mut gradients = None;
        let dx = new_like(&x, |dx| {
            dx.copy_from_slice(values(&dy));
            let affine = [values(&gamma), values(&beta)];
            let d = [dx, &mut []];
            gradients = Some(backward(&s, [values(&x), &[]], &prepared, affine, present(&modulation), d));
        });
        register(grads, x_node, || dx);
        if let Some([d_gamma, d_beta, d_modulation]) = gradients {
            register(grads, gamma_node, || d_gamma);
            register(grads, beta_node, || d_beta);
            if modulation.shape().num_elements() > 0 {
                register(grads, modulation_node, || d_modulation);
            }
        }
    }
}
