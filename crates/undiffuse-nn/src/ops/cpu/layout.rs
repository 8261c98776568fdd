//! The nodes that change the layout. Each one's gradient is the other.

use std::fmt::Debug;

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
    record::<C, _>(x, |x| to_tokens(x, channels), [h, w], from_tokens)
}

pub fn record_from_tokens<C: CheckpointStrategy>(x: Tracked<C>, sides: [usize; 2]) -> Tracked<C> {
    let channels = x.shape().dims::<3>()[2];
    record::<C, _>(x, |x| from_tokens(x, sides), channels, to_tokens)
}

pub fn record_to_panels<C: CheckpointStrategy>(x: Tracked<C>) -> Tracked<C> {
    let channels = x.shape().dims::<4>()[1];
    record::<C, _>(x, to_panels, channels, to_planes)
}

pub fn record_to_planes<C: CheckpointStrategy>(x: Tracked<C>, channels: usize) -> Tracked<C> {
    record::<C, _>(x, |x| to_planes(x, channels), (), |dy, ()| to_panels(dy))
}

/// Changes the layout; `inverse` with `told` changes that of the gradient back.
fn record<C: CheckpointStrategy, T: Clone + Debug + Send + 'static>(
    x: Tracked<C>,
    forward: impl FnOnce(FlexTensor) -> FlexTensor,
    told: T,
    inverse: fn(FlexTensor, T) -> FlexTensor,
) -> Tracked<C> {
    node::record::<C, _, _, _, _>(Layout { inverse }, [x], [], |[x]| (forward(x), told))
}

/// A change of the layout.
#[derive(Debug)]
struct Layout<T> {
    inverse: fn(FlexTensor, T) -> FlexTensor,
}

impl<T: Clone + Debug + Send + 'static> Backward<Flex, 1> for Layout<T> {
    type State = ([NodeId; 0], T);
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let [node] = ops.parents.map(|p| p.map(|node| node.id));
        register(grads, node, || (self.inverse)(dy, ops.state.1));
    }
}
