//! The nodes that change the layout. Each one's gradient is the other.

use undiffuse_kernels::map;

use super::LANES;
use super::memory::{new, values};
use super::node::{
    self, Backward, CheckpointStrategy, Checkpointer, Flex, FlexTensor, Gradients, NodeId, Ops, TensorMetadata,
    Tracked, register,
};

pub fn to_panels(x: FlexTensor) -> FlexTensor {
    let x = x.to_contiguous();
    let [b, c, h, w] = x.shape().dims();
    new([b, c.div_ceil(LANES), h, w, LANES], |y| map::from_planes(values(&x), c, h * w, y))
}

pub fn to_planes(x: FlexTensor, channels: usize) -> FlexTensor {
    let x = x.to_contiguous();
    let [b, _, h, w, _] = x.shape().dims();
    new([b, channels, h, w], |y| map::to_planes(values(&x), channels, h * w, y))
}

/// A token a pixel.
pub fn to_tokens(x: FlexTensor, channels: usize) -> FlexTensor {
    let x = x.to_contiguous();
    let [b, _, h, w, _] = x.shape().dims();
    new([b, h * w, channels], |y| map::to_tokens(values(&x), channels, h * w, y))
}

/// The inverse, for maps of these sides.
pub fn from_tokens(x: FlexTensor, [h, w]: [usize; 2]) -> FlexTensor {
    let x = x.to_contiguous();
    let [b, _, c] = x.shape().dims();
    new([b, c.div_ceil(LANES), h, w, LANES], |y| map::from_tokens(values(&x), c, h * w, y))
}

pub fn record_to_tokens<C: CheckpointStrategy>(x: Tracked<C>, channels: usize) -> Tracked<C> {
    let [_, _, h, w, _] = x.shape().dims();
    node::record::<C, _, _, _, _>(ToTokens, [x], [], |[x]| (to_tokens(x, channels), [h, w]))
}

pub fn record_from_tokens<C: CheckpointStrategy>(x: Tracked<C>, sides: [usize; 2]) -> Tracked<C> {
    let channels = x.shape().dims::<3>()[2];
    node::record::<C, _, _, _, _>(FromTokens, [x], [], |[x]| (from_tokens(x, sides), channels))
}

pub fn record_to_panels<C: CheckpointStrategy>(x: Tracked<C>) -> Tracked<C> {
    let channels = x.shape().dims::<4>()[1];
    node::record::<C, _, _, _, _>(ToPanels, [x], [], |[x]| (to_panels(x), channels))
}

pub fn record_to_planes<C: CheckpointStrategy>(x: Tracked<C>, channels: usize) -> Tracked<C> {
    node::record::<C, _, _, _, _>(ToPlanes, [x], [], |[x]| (to_planes(x, channels), ()))
}

#[derive(Debug)]
struct ToPanels;

impl Backward<Flex, 1> for ToPanels {
    type State = ([NodeId; 0], usize);
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let [node] = ops.parents.map(|p| p.map(|node| node.id));
        register(grads, node, || to_planes(dy, ops.state.1));
    }
}

#[derive(Debug)]
struct ToPlanes;

impl Backward<Flex, 1> for ToPlanes {
    type State = ([NodeId; 0], ());
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let [node] = ops.parents.map(|p| p.map(|node| node.id));
        register(grads, node, || to_panels(dy));
    }
}

#[derive(Debug)]
struct ToTokens;

impl Backward<Flex, 1> for ToTokens {
    type State = ([NodeId; 0], [usize; 2]);
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let [node] = ops.parents.map(|p| p.map(|node| node.id));
        register(grads, node, || from_tokens(dy, ops.state.1));
    }
}

#[derive(Debug)]
struct FromTokens;

impl Backward<Flex, 1> for FromTokens {
    type State = ([NodeId; 0], usize);
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let [node] = ops.parents.map(|p| p.map(|node| node.id));
        register(grads, node, || to_tokens(dy, ops.state.1));
    }
}
