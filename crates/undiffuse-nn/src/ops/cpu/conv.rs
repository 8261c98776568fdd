//! The convolution node.

use undiffuse_kernels::{
    conv2d::{self, Add, Conv2d, Input},
    tree,
};

use super::memory::{new, new_like, owned, values};
use super::node::{
    self, Backward, CheckpointStrategy, Checkpointer, Flex, FlexTensor, Gradients, NodeId, Ops, TensorMetadata,
    Tracked, kept, register,
};
use super::norm::{self, NormSpec, Prepared};
use super::{LANES, map_dims, present};

/// What a convolution is told beside its tensors.
#[derive(Clone, Copy, Debug)]
pub struct ConvSpec {
    pub c_in: [usize; 2],
    pub c_out: usize,
    pub kernel: (usize, usize),
    pub stride: usize,
    pub pad: [usize; 4],
    pub upsample: bool,
    /// What goes before.
    pub norm: Option<NormSpec>,
}

/// `x, beside, gamma, beta, modulation, weight, bias, shift, residual`.
const OPERANDS: usize = 9;

fn shape(x: &FlexTensor, spec: &ConvSpec) -> Conv2d {
    let [batch, h, w] = map_dims(x);
    let ConvSpec { c_in, c_out, kernel, stride, pad, upsample, .. } = *spec;
    Conv2d { batch, c_in, h, w, c_out, kernel, stride, pad, upsample }
}

/// What is convolved: the maps, normalised as was prepared.
fn input<'a>(maps: [&'a [f32]; 2], spec: &ConvSpec, prepared: Option<&'a Prepared>) -> Input<'a> {
    let activation = spec.norm.map_or_else(Default::default, |n| n.activation);
    Input { maps, coefficients: prepared.map(Prepared::coefficients), activation }
}

/// `y`, and the normalisation that preceded it.
pub fn forward(operands: [FlexTensor; OPERANDS], spec: ConvSpec) -> (FlexTensor, Option<Prepared>) {
    let [x, beside, gamma, beta, modulation, weight, bias, shift, residual] = operands.map(|t| t.to_contiguous());
    let s = shape(&x, &spec);
    let maps = [values(&x), values(&beside)];
    let prepared = spec.norm.map(|norm| {
        let shape = norm.shape(s.batch, s.c_in, s.h * s.w);
        norm::prepare(&shape, maps, [values(&gamma), values(&beta)], present(&modulation))
    });
    let input = input(maps, &spec, prepared.as_ref());
    let add = Add { bias: present(&bias), shift: present(&shift), residual: present(&residual) };
    let y = new([s.batch, s.c_out.div_ceil(LANES), s.out_h(), s.out_w(), LANES], |y| {
        conv2d::forward(&s, &input, values(&weight), &add, y)
    });
    (y, prepared)
}

pub fn record<C: CheckpointStrategy>(operands: [Tracked<C>; OPERANDS], spec: ConvSpec) -> Tracked<C> {
    node::record::<C, _, _, _, _>(ConvBackward, operands, [0, 1, 2, 3, 4, 5], |operands| {
        let (y, prepared) = forward(operands, spec);
        (y, (spec, prepared))
    })
}

#[derive(Debug)]
struct ConvBackward;

impl Backward<Flex, OPERANDS> for ConvBackward {
    type State = ([NodeId; 6], (ConvSpec, Option<Prepared>));

    fn backward(self, ops: Ops<Self::State, OPERANDS>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (ids, (spec, prepared)) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [x_node, beside_node, gamma_node, beta_node, modulation_node, weight_node, bias_node, shift_node, residual] =
            ops.parents.map(|p| p.map(|node| node.id));
        register(grads, residual, || dy.clone());
        let [x, beside, gamma, beta, modulation, weight] = kept(checkpointer, ids);
        let s = shape(&x, &spec);
        let maps = [values(&x), values(&beside)];
        let input = input(maps, &spec, prepared.as_ref());
        if weight_node.is_some() || bias_node.is_some() || shift_node.is_some() {
            let mut sums = vec![0f32; s.batch * s.c_out];
            let dw = new_like(&weight, |dw| conv2d::backward_weight(&s, &input, values(&dy), dw, Some(&mut sums)));
            register(grads, weight_node, || dw);
            register(grads, bias_node, || {
                let mut db = vec![0f32; s.c_out];
                tree::sum_pictures(s.batch, &mut db, |image, db| {
                    db.iter_mut().zip(&sums[image * s.c_out..]).for_each(|(db, sum)| *db += sum);
                });
                owned([s.c_out], db)
            });
            register(grads, shift_node, || owned([s.batch, s.c_out], sums));
        }
        if x_node.is_none() && beside_node.is_none() && gamma_node.is_none() && beta_node.is_none() {
            return;
        }
        let mut d_beside = None;
        let mut norm_gradients = None;
        let dx = new_like(&x, |dx| {
            d_beside = Some(new_like(&beside, |d_beside| {
                conv2d::backward_data(&s, values(&dy), values(&weight), [&mut *dx, &mut *d_beside]);
                if let (Some(norm), Some(prepared)) = (spec.norm, &prepared) {
                    let shape = norm.shape(s.batch, s.c_in, s.h * s.w);
                    let affine = [values(&gamma), values(&beta)];
                    norm_gradients =
                        Some(norm::backward(&shape, maps, prepared, affine, present(&modulation), [dx, d_beside]));
                }
            }));
        });
        register(grads, x_node, || dx);
        if let Some(d_beside) = d_beside {
            register(grads, beside_node, || d_beside);
        }
        if let Some([d_gamma, d_beta, d_modulation]) = norm_gradients {
            register(grads, gamma_node, || d_gamma);
            register(grads, beta_node, || d_beta);
            if modulation.shape().num_elements() > 0 {
                register(grads, modulation_node, || d_modulation);
            }
        }
    }
}
