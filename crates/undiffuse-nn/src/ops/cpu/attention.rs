//! The attention node.

use undiffuse_kernels::attention::{self, Attention, Layout, Mask};

use super::memory::{new_like, values};
use super::node::{
    self, Backward, CheckpointStrategy, Checkpointer, Flex, FlexTensor, Gradients, NodeId, Ops, TensorMetadata,
    Tracked, kept, register,
};
use super::{map_dims, present};

/// What an attention is told beside its tensors.
#[derive(Clone, Copy, Debug)]
pub struct AttentionSpec {
    pub heads: usize,
    pub head_dim: usize,
    pub layout: Layout,
    pub causal: bool,
}

/// `q, k, v`, and what is added to the scores of keys.
const OPERANDS: usize = 4;

fn shape(qkv: [&FlexTensor; 3], spec: AttentionSpec) -> Attention {
    let AttentionSpec { heads, head_dim: dim, layout, .. } = spec;
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
    let ([batch, queries], [_, keys]) = (of(qkv[0]), of(qkv[1]));
    let scale = (1.0 / (dim as f64).sqrt()) as f32;
    Attention { batch, heads, queries, keys, dim, scale, layout }
}

pub fn forward(operands: [FlexTensor; OPERANDS], spec: AttentionSpec) -> FlexTensor {
    let [q, k, v, bias] = operands.map(|t| t.to_contiguous());
    let (s, mask) = (shape([&q, &k, &v], spec), Mask { causal: spec.causal, bias: present(&bias) });
    new_like(&q, |o| attention::forward(&s, [&q, &k, &v].map(values), mask, o))
}

pub fn record<C: CheckpointStrategy>(operands: [Tracked<C>; OPERANDS], spec: AttentionSpec) -> Tracked<C> {
    node::record::<C, _, _, _, _>(AttentionBackward, operands, [0, 1, 2, 3], |operands| (forward(operands, spec), spec))
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, OPERANDS> for AttentionBackward {
    type State = ([NodeId; OPERANDS], AttentionSpec);

    /// What is added to the scores is no parameter: it gets no gradient.
    fn backward(self, ops: Ops<Self::State, OPERANDS>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (ids, spec) = ops.state;
        let nodes = ops.parents.map(|p| p.map(|node| node.id));
        let d_o = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [q, k, v, bias] = kept(checkpointer, ids);
        let (s, mask) = (shape([&q, &k, &v], spec), Mask { causal: spec.causal, bias: present(&bias) });
        let (mut dk, mut dv) = (None, None);
        let dq = new_like(&q, |dq| {
            dk = Some(new_like(&k, |dk| {
                dv = Some(new_like(&v, |dv| {
                    attention::backward(&s, [&q, &k, &v].map(values), mask, values(&d_o), [dq, dk, dv]);
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
