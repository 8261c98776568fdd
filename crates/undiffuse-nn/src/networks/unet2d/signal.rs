//! What every block of the network listens to beside its input.

use burn::tensor::Tensor;

use crate::networks::dropout::Dropout;

/// The time (and class) embedding, and the randomness of dropout while training.
pub struct Signal {
    /// The embedding after its non-linearity, `[B, time_embed_dim]`: the form that every block begins with.
    pub activated: Tensor<2>,
    /// What drops out.
    pub dropout: Dropout,
}
