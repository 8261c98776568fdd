//! The nodes that change the layout. Each one's gradient is the other.

use burn::backend::{
    Autodiff, Flex, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    flex::FlexTensor,
    tensor::FloatTensor,
};
use undiffuse_kernels::map;

use super::memory::{new, values};
use super::{LANES, register};

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

pub fn record_to_panels<C: CheckpointStrategy>(x: FloatTensor<Autodiff<Flex, C>>) -> FloatTensor<Autodiff<Flex, C>> {
    let channels = x.shape().dims::<4>()[1];
    match ToPanels.prepare::<C>([x.node()]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(channels, to_panels(x.into_primitive())),
        OpsKind::UnTracked(prep) => prep.finish(to_panels(x.into_primitive())),
    }
}

pub fn record_to_planes<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    channels: usize,
) -> FloatTensor<Autodiff<Flex, C>> {
    match ToPlanes.prepare::<C>([x.node()]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((), to_planes(x.into_primitive(), channels)),
        OpsKind::UnTracked(prep) => prep.finish(to_planes(x.into_primitive(), channels)),
    }
}

#[derive(Debug)]
struct ToPanels;

impl Backward<Flex, 1> for ToPanels {
    type State = usize;
    fn backward(self, ops: Ops<usize, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let [node] = ops.parents.map(|p| p.map(|node| node.id));
        register(grads, node, || to_planes(dy, ops.state));
    }
}

#[derive(Debug)]
struct ToPlanes;

impl Backward<Flex, 1> for ToPlanes {
    type State = ();
    fn backward(self, ops: Ops<(), 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let [node] = ops.parents.map(|p| p.map(|node| node.id));
        register(grads, node, || to_panels(dy));
    }
}
