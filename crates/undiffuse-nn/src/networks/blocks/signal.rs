//! What every block of a network listens to beside its input.

use burn::tensor::Tensor;

use super::told::Told;
use crate::networks::dropout::Dropout;
use crate::ops::Mask;

/// The time (and class) embedding, what is attended to, and the randomness of dropout while training.
pub struct Signal {
    /// The embedding after its non-linearity, `[B, time_embed_dim]`: the form that every block begins with.
    pub activated: Option<Tensor<2>>,
    /// What cross-attention looks at.
    pub told: Option<Told>,
    /// Which of that does not count.
    pub mask: Mask,
    /// What drops out.
    pub dropout: Dropout,
}

impl Signal {
    /// Nothing at all.
    pub fn silence() -> Self {
        Self { activated: None, told: None, mask: Mask::default(), dropout: Dropout::new(None) }
    }
}
