//! The linear node.

use burn::backend::{
    Autodiff, Flex, TensorMetadata,
    autodiff::{
        NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    flex::FlexTensor,
    tensor::FloatTensor,
};
use undiffuse_kernels::linear::{self, Linear};

use super::memory::{new, new_like, owned, values};
use super::{kept, register};

fn shape(x: &FlexTensor, w: &FlexTensor) -> Linear {
    let ([rows, c_in], [c_out, _]) = (x.shape().dims(), w.shape().dims());
    Linear { rows, c_in, c_out }
}

pub fn forward(operands: [FlexTensor; 3]) -> FlexTensor {
    let [x, w, b] = operands.map(|t| t.to_contiguous());
    let s = shape(&x, &w);
    new([s.rows, s.c_out], |y| linear::forward(&s, values(&x), values(&w), Some(values(&b)), y))
}

pub fn record<C: CheckpointStrategy>(operands: [FloatTensor<Autodiff<Flex, C>>; 3]) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = operands.each_ref().map(|t| t.node());
    match LinearBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let ids = [&operands[0], &operands[1]].map(|t| prep.checkpoint(t));
            prep.finish(ids, forward(operands.map(|t| t.into_primitive())))
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(operands.map(|t| t.into_primitive()))),
    }
}

#[derive(Debug)]
struct LinearBackward;

impl Backward<Flex, 3> for LinearBackward {
    type State = [NodeId; 2];

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [x_node, w_node, b_node] = ops.parents.map(|p| p.map(|node| node.id));
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [x, w] = kept(checkpointer, ops.state);
        let s = shape(&x, &w);
        register(grads, x_node, || new_like(&x, |dx| linear::backward_data(&s, values(&dy), values(&w), dx)));
        if w_node.is_some() || b_node.is_some() {
            let mut db = vec![0f32; s.c_out];
            let dw = new_like(&w, |dw| linear::backward_weight(&s, values(&x), values(&dy), dw, Some(&mut db)));
            register(grads, w_node, || dw);
            register(grads, b_node, || owned([s.c_out], db));
        }
    }
}
