//! The node of gated activations.

use undiffuse_kernels::activation::Activation;
use undiffuse_kernels::gated::{self, Gated};

use super::memory::{new, new_like, values};
use super::node::{
    self, Backward, CheckpointStrategy, Checkpointer, Flex, FlexTensor, Gradients, NodeId, Ops, TensorMetadata,
    Tracked, kept, register,
};

fn shape(x: &FlexTensor, activation: Activation) -> Gated {
    let [batch, tokens, both] = x.shape().dims();
    Gated { rows: batch * tokens, width: both / 2, activation }
}

pub fn forward(x: FlexTensor, activation: Activation) -> FlexTensor {
    let x = x.to_contiguous();
    let [batch, tokens, both] = x.shape().dims();
    new([batch, tokens, both / 2], |y| gated::forward(&shape(&x, activation), values(&x), y))
}

pub fn record<C: CheckpointStrategy>(x: Tracked<C>, activation: Activation) -> Tracked<C> {
    node::record::<C, _, _, _, _>(GatedBackward, [x], [0], |[x]| (forward(x, activation), activation))
}

#[derive(Debug)]
struct GatedBackward;

impl Backward<Flex, 1> for GatedBackward {
    type State = ([NodeId; 1], Activation);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (ids, activation) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [node] = ops.parents.map(|p| p.map(|node| node.id));
        let [x] = kept(checkpointer, ids);
        register(grads, node, || {
            new_like(&x, |dx| gated::backward(&shape(&x, activation), values(&x), values(&dy), dx))
        });
    }
}
