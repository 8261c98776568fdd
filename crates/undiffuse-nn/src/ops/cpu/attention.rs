//! The attention node.

use burn::backend::{
    Autodiff, Flex,
    autodiff::{
        NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    flex::FlexTensor,
    tensor::FloatTensor,
};
use undiffuse_kernels::attention::{self, Attention};

use super::memory::{new_like, values};
use super::{kept, map_dims, register};

fn shape(q: &FlexTensor, channels: usize, head_dim: usize) -> Attention {
    let [batch, h, w] = map_dims(q);
    let scale = (1.0 / (head_dim as f64).sqrt()) as f32;
    Attention { batch, heads: channels / head_dim, length: h * w, dim: head_dim, scale }
}

pub fn forward(qkv: [FlexTensor; 3], channels: usize, head_dim: usize) -> FlexTensor {
    let qkv = qkv.map(|t| t.to_contiguous());
    let s = shape(&qkv[0], channels, head_dim);
    new_like(&qkv[0], |o| attention::forward(&s, qkv.each_ref().map(values), o))
}

pub fn record<C: CheckpointStrategy>(
    qkv: [FloatTensor<Autodiff<Flex, C>>; 3],
    channels: usize,
    head_dim: usize,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = qkv.each_ref().map(|t| t.node());
    match AttentionBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let ids = qkv.each_ref().map(|t| prep.checkpoint(t));
            let o = forward(qkv.map(|t| t.into_primitive()), channels, head_dim);
            prep.finish((ids, channels, head_dim), o)
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(qkv.map(|t| t.into_primitive()), channels, head_dim)),
    }
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 3> for AttentionBackward {
    type State = ([NodeId; 3], usize, usize);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (ids, channels, head_dim) = ops.state;
        let nodes = ops.parents.map(|p| p.map(|node| node.id));
        let d_o = grads.consume::<Flex>(&ops.node).to_contiguous();
        let qkv = kept(checkpointer, ids);
        let s = shape(&qkv[0], channels, head_dim);
        let (mut dk, mut dv) = (None, None);
        let dq = new_like(&qkv[0], |dq| {
            dk = Some(new_like(&qkv[1], |dk| {
                dv = Some(new_like(&qkv[2], |dv| {
                    attention::backward(&s, qkv.each_ref().map(values), values(&d_o), [dq, dk, dv]);
                }));
            }));
        });
        for (node, gradient) in nodes.into_iter().zip([Some(dq), dk, dv]) {
            if let Some(gradient) = gradient {
                register(grads, node, || gradient);
            }
        }
    }
}
