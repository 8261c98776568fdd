//! The linear node.

use undiffuse_kernels::{
    activation::Activation,
    linear::{self, Input, Linear},
};

use super::memory::{new, new_like, owned, values};
use super::node::{
    self, Backward, CheckpointStrategy, Checkpointer, Flex, FlexTensor, Gradients, NodeId, Ops, TensorMetadata,
    Tracked, kept, register,
};
use super::present;

fn shape(x: &FlexTensor, w: &FlexTensor) -> Linear {
    let ([rows, c_in], [c_out, _]) = (x.shape().dims(), w.shape().dims());
    Linear { rows, c_in, c_out }
}

/// What a linear map is told beside its tensors.
#[derive(Clone, Copy, Debug)]
pub struct LinearSpec {
    /// Rows that belong to a picture.
    pub of_picture: usize,
    /// Applied to the rows first.
    pub before: Activation,
}

pub fn forward(operands: [FlexTensor; 3], spec: LinearSpec) -> FlexTensor {
    let [x, w, b] = operands.map(|t| t.to_contiguous());
    let s = shape(&x, &w);
    let input = Input { x: values(&x), activation: spec.before };
    new([s.rows, s.c_out], |y| linear::forward(&s, input, values(&w), present(&b), y))
}

pub fn record<C: CheckpointStrategy>(operands: [Tracked<C>; 3], spec: LinearSpec) -> Tracked<C> {
    node::record::<C, _, _, _, _>(LinearBackward, operands, [0, 1], |operands| (forward(operands, spec), spec))
}

#[derive(Debug)]
struct LinearBackward;

impl Backward<Flex, 3> for LinearBackward {
    type State = ([NodeId; 2], LinearSpec);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [x_node, w_node, b_node] = ops.parents.map(|p| p.map(|node| node.id));
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (ids, spec) = ops.state;
        let [x, w] = kept(checkpointer, ids);
        let s = shape(&x, &w);
        let input = Input { x: values(&x), activation: spec.before };
        register(grads, x_node, || new_like(&x, |dx| linear::backward_data(&s, input, values(&dy), values(&w), dx)));
        if w_node.is_some() || b_node.is_some() {
            let mut db = vec![0f32; s.c_out];
            let dw = new_like(&w, |dw| {
                linear::backward_weight(&s, spec.of_picture, input, values(&dy), dw, Some(&mut db));
            });
            register(grads, w_node, || dw);
            register(grads, b_node, || owned([s.c_out], db));
        }
    }
}
