//! The node that reads rows of a table.

use std::sync::Arc;

use undiffuse_kernels::tree;

use super::memory::{new, values};
use super::node::{
    self, Backward, CheckpointStrategy, Checkpointer, Flex, FlexTensor, Gradients, NodeId, Ops, TensorMetadata,
    Tracked, register,
};

pub fn forward(table: FlexTensor, rows: &[usize]) -> FlexTensor {
    let table = table.to_contiguous();
    let [_, width] = table.shape().dims();
    new([rows.len(), width], |y| {
        for (y, row) in y.chunks_exact_mut(width.max(1)).zip(rows) {
            y.copy_from_slice(&values(&table)[row * width..][..width]);
        }
    })
}

pub fn record<C: CheckpointStrategy>(table: Tracked<C>, rows: Arc<[usize]>, each: usize) -> Tracked<C> {
    let shape = table.shape().dims();
    node::record::<C, _, _, _, _>(EmbeddingBackward, [table], [], |[table]| {
        (forward(table, &rows), (rows, each, shape))
    })
}

#[derive(Debug)]
struct EmbeddingBackward;

impl Backward<Flex, 1> for EmbeddingBackward {
    type State = ([NodeId; 0], (Arc<[usize]>, usize, [usize; 2]));

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (_, (rows, each, shape @ [_, width])) = ops.state;
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [node] = ops.parents.map(|p| p.map(|node| node.id));
        register(grads, node, || {
            new(shape, |d_table| {
                tree::sum_pictures(rows.len() / each, d_table, |picture, sum| {
                    for at in picture * each..(picture + 1) * each {
                        let dy = &values(&dy)[at * width..][..width];
                        sum[rows[at] * width..][..width].iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
                    }
                });
            })
        });
    }
}
