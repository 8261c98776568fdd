//! What every node of the graph of gradients does alike.

pub use burn::backend::{
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
use std::fmt::Debug;

/// A tensor that gradients are followed through.
pub type Tracked<C> = FloatTensor<Autodiff<Flex, C>>;

/// Runs an operation on its operands. Where gradients are followed, `node` is recorded with the operands at the places `keep` and
/// with what `forward` leaves for the way back.
pub fn record<C: CheckpointStrategy, B, S, const N: usize, const K: usize>(
    node: B,
    operands: [Tracked<C>; N],
    keep: [usize; K],
    forward: impl FnOnce([FlexTensor; N]) -> (FlexTensor, S),
) -> Tracked<C>
where
    B: Backward<Flex, N, State = ([NodeId; K], S)>,
    S: Clone + Debug + Send + 'static,
{
    let nodes = operands.each_ref().map(|t| t.node());
    match node.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let ids = keep.map(|place| prep.checkpoint(&operands[place]));
            let (y, left) = forward(operands.map(|t| t.into_primitive()));
            prep.finish((ids, left), y)
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(operands.map(|t| t.into_primitive())).0),
    }
}

/// The operands that a node kept.
pub fn kept<const N: usize>(checkpointer: &mut Checkpointer, ids: [NodeId; N]) -> [FlexTensor; N] {
    ids.map(|id| checkpointer.retrieve_node_output::<FlexTensor>(id).to_contiguous())
}

/// Hands on a gradient, where somebody wants it.
pub fn register(grads: &mut Gradients, node: Option<NodeId>, gradient: impl FnOnce() -> FlexTensor) {
    if let Some(node) = node {
        grads.register::<Flex>(node, gradient());
    }
}
