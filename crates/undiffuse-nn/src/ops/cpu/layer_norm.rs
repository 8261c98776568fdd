//! The layer normalisation node.

use undiffuse_kernels::layer_norm::{self, LayerNorm, Line};

use super::memory::{new_like, owned, values};
use super::node::{
    self, Backward, CheckpointStrategy, Checkpointer, Flex, FlexTensor, Gradients, NodeId, Ops, TensorMetadata,
    Tracked, kept, register,
};
use super::present;

/// `x, gain, offset, scale, shift`.
const OPERANDS: usize = 5;

fn shape(x: &FlexTensor, eps: f64) -> LayerNorm {
    let [batch, tokens, width] = x.shape().dims();
    LayerNorm { batch, tokens, width, eps: eps as f32 }
}

fn line(operands: &[FlexTensor; OPERANDS]) -> Line<'_> {
    let [_, gain, offset, scale, shift] = operands.each_ref().map(present);
    Line { affine: gain.zip(offset).map(|(a, b)| [a, b]), modulation: scale.zip(shift).map(|(a, b)| [a, b]) }
}

pub fn forward(operands: [FlexTensor; OPERANDS], eps: f64) -> FlexTensor {
    let operands = operands.map(|t| t.to_contiguous());
    let x = &operands[0];
    new_like(x, |y| layer_norm::forward(&shape(x, eps), values(x), &line(&operands), y))
}

pub fn record<C: CheckpointStrategy>(operands: [Tracked<C>; OPERANDS], eps: f64) -> Tracked<C> {
    node::record::<C, _, _, _, _>(LayerNormBackward, operands, [0, 1, 2, 3, 4], |operands| {
        (forward(operands, eps), eps)
    })
}

#[derive(Debug)]
struct LayerNormBackward;

impl Backward<Flex, OPERANDS> for LayerNormBackward {
    type State = ([NodeId; OPERANDS], f64);

    fn backward(self, ops: Ops<Self::State, OPERANDS>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (ids, eps) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [x_node, others @ ..] = ops.parents.map(|p| p.map(|node| node.id));
        let operands = kept(checkpointer, ids);
        let (x, line) = (&operands[0], line(&operands));
        let mut d = [1, 2, 3, 4].map(|i| vec![0f32; operands[i].shape().num_elements()]);
        let dx = new_like(x, |dx| {
            let [gain, offset, scale, shift] = d.each_mut().map(|d| &mut d[..]);
            let affine = line.affine.map(|_| [gain, offset]);
            let modulation = line.modulation.map(|_| [scale, shift]);
            let gradients = layer_norm::Gradients { x: dx, affine, modulation };
            layer_norm::backward(&shape(x, eps), values(x), &line, values(&dy), gradients);
        });
        register(grads, x_node, || dx);
        for ((node, d), like) in others.into_iter().zip(d).zip(&operands[1..]) {
            if !d.is_empty() {
                register(grads, node, || owned(like.shape(), d));
            }
        }
    }
}
