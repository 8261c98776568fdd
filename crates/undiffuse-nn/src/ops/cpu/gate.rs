//! The gate node.

use undiffuse_kernels::gate::{self, Gate};

use super::memory::{new_like, owned, values};
use super::node::{
    self, Backward, CheckpointStrategy, Checkpointer, Flex, FlexTensor, Gradients, NodeId, Ops, TensorMetadata,
    Tracked, kept, register,
};

fn shape(y: &FlexTensor) -> Gate {
    let [batch, tokens, width] = y.shape().dims();
    Gate { batch, tokens, width }
}

pub fn forward(operands: [FlexTensor; 3]) -> FlexTensor {
    let [x, g, y] = operands.map(|t| t.to_contiguous());
    new_like(&x, |z| gate::forward(&shape(&y), values(&x), values(&g), values(&y), z))
}

pub fn record<C: CheckpointStrategy>(operands: [Tracked<C>; 3]) -> Tracked<C> {
    node::record::<C, _, _, _, _>(GateBackward, operands, [1, 2], |operands| (forward(operands), ()))
}

#[derive(Debug)]
struct GateBackward;

impl Backward<Flex, 3> for GateBackward {
    type State = ([NodeId; 2], ());

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [x_node, gate_node, y_node] = ops.parents.map(|p| p.map(|node| node.id));
        let dz = grads.consume::<Flex>(&ops.node).to_contiguous();
        register(grads, x_node, || dz.clone());
        let [g, y] = kept(checkpointer, ops.state.0);
        let mut dgate = vec![0f32; g.shape().num_elements()];
        let dy = new_like(&y, |dy| gate::backward(&shape(&y), values(&g), values(&y), values(&dz), dy, &mut dgate));
        register(grads, y_node, || dy);
        register(grads, gate_node, || owned(g.shape(), dgate));
    }
}
