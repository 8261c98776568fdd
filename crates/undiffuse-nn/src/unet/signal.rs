//! What every block of the network listens to beside its input.

use std::cell::Cell;

use burn::tensor::{Tensor, TensorData};
use undiffuse_math::noise;

/// The time (and class) embedding, and the randomness of dropout while training.
pub struct Signal {
    /// The embedding after its non-linearity, `[B, time_embed_dim]`: the form that every block begins with.
    pub activated: Tensor<2>,
    /// Seed of this step's dropout, and how many masks were drawn from it; `None` when sampling.
    dropout: Option<(u64, Cell<u64>)>,
}

impl Signal {
    /// A signal; with a seed, blocks drop out.
    pub fn new(activated: Tensor<2>, dropout_seed: Option<u64>) -> Self {
        Self { activated, dropout: dropout_seed.map(|seed| (seed, Cell::new(0))) }
    }

    /// Whether [`Self::drop`] does anything for this probability.
    pub fn drops(&self, p: f64) -> bool {
        p > 0.0 && self.dropout.is_some()
    }

    /// Zeroes each value with probability `p` and scales the others up \[Srivastava14\], while training.
    pub fn drop(&self, x: Tensor<4>, p: f64) -> Tensor<4> {
        let Some((seed, masks)) = self.dropout.as_ref().filter(|_| p > 0.0) else { return x };
        let stream = masks.replace(masks.get() + 1);
        let (dims, device) = (x.dims(), x.device());
        let kept = (1.0 / (1.0 - p)) as f32;
        let mask: Vec<f32> = (0..dims.iter().product::<usize>() as u64)
            .map(|i| if noise::uniform(*seed, stream, i) < p { 0.0 } else { kept })
            .collect();
        x * Tensor::<4>::from_data(TensorData::new(mask, dims), &device)
    }
}
