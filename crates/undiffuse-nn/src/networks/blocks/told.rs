//! What cross-attention looks at.

use std::cell::Cell;
use std::sync::Arc;

use burn::tensor::Tensor;

use super::transformer::TokenAttention;

/// The keys and values that every cross-attention of a network makes of the same tokens, in the order in which they look at them.
#[derive(Clone, Debug)]
pub struct Attended(Arc<[[Tensor<3>; 2]]>);

impl Attended {
    /// Those of `attentions`.
    pub(in crate::networks) fn of<'a>(
        attentions: impl Iterator<Item = &'a TokenAttention>,
        tokens: &Tensor<3>,
    ) -> Self {
        Self(attentions.map(|attention| attention.keys_and_values(tokens.clone())).collect())
    }
}

/// Tokens that one pass through a network looks at.
pub struct Told {
    /// `[B, L, D]`.
    tokens: Tensor<3>,
    attended: Option<Attended>,
    /// Cross-attentions that have looked at them.
    met: Cell<usize>,
}

impl Told {
    /// Tokens `[B, L, D]`, and what was made of them before.
    pub fn new(tokens: Tensor<3>, attended: Option<Attended>) -> Self {
        Self { tokens, attended, met: Cell::new(0) }
    }

    /// Keys and values for the cross-attention whose turn it is.
    pub fn keys_and_values(&self, attention: &TokenAttention) -> [Tensor<3>; 2] {
        match &self.attended {
            Some(Attended(all)) => all[self.met.replace(self.met.get() + 1)].clone(),
            None => attention.keys_and_values(self.tokens.clone()),
        }
    }
}
