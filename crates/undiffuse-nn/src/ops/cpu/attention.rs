//! The attention node.

use undiffuse_kernels::attention::{self, Attention, Layout};

use super::map_dims;
use super::memory::{new_like, values};
use super::node::{
    self, Backward, CheckpointStrategy, Checkpointer, Flex, FlexTensor, Gradients, NodeId, Ops, TensorMetadata,
    Tracked, kept, register,
};

/// What an attention is told beside its tensors.
#[derive(Clone, Copy, Debug)]
pub struct AttentionSpec {
    pub heads: usize,
    pub head_dim: usize,
    pub layout: Layout,
}

fn shape(qkv: &[FlexTensor; 3], spec: AttentionSpec) -> Attention {
    let AttentionSpec { heads, head_dim: dim, layout } = spec;
    let of = |x: &FlexTensor| match layout {
        Layout::Maps => {
            let [batch, h, w] = map_dims(x);
            [batch, h * w]
        }
        Layout::Tokens => {
            let [batch, tokens, _] = x.shape().dims();
            [batch, tokens]
        }
    };
    let ([batch, queries], [_, keys]) = (of(&qkv[0]), of(&qkv[1]));
    let scale = (1.0 / (dim as f64).sqrt()) as f32;
    Attention { batch, heads, queries, keys, dim, scale, layout }
}

pub fn forward(qkv: [FlexTensor; 3], spec: AttentionSpec) -> FlexTensor {
    let qkv = qkv.map(|t| t.to_contiguous());
    let s = shape(&qkv, spec);
    new_like(&qkv[0], |o| attention::forward(&s, qkv.each_ref().map(values), o))
}

pub fn record<C: CheckpointStrategy>(qkv: [Tracked<C>; 3], spec: AttentionSpec) -> Tracked<C> {
    node::record::<C, _, _, _, _>(AttentionBackward, qkv, [0, 1, 2], |qkv| (forward(qkv, spec), spec))
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 3> for AttentionBackward {
    type State = ([NodeId; 3], AttentionSpec);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (ids, spec) = ops.state;
        let nodes = ops.parents.map(|p| p.map(|node| node.id));
        let d_o = grads.consume::<Flex>(&ops.node).to_contiguous();
        let qkv = kept(checkpointer, ids);
        let s = shape(&qkv, spec);
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
