//! What drops out while training.

use std::cell::Cell;

use burn::tensor::{Tensor, TensorData};
use undiffuse_math::noise;

/// The randomness of one pass: the seed of its first picture, from which those of the others count up, and how many masks were
/// drawn; `None` when sampling.
pub struct Dropout(Option<(u64, Cell<u64>)>);

impl Dropout {
    /// With a seed, values drop out: of each picture those that its own seed says, whichever others are in the batch.
    pub fn new(seed: Option<u64>) -> Self {
        Self(seed.map(|seed| (seed, Cell::new(0))))
    }

    /// Whether [`Self::drop`] does anything for this probability.
    pub fn drops(&self, p: f64) -> bool {
        p > 0.0 && self.0.is_some()
    }

    /// Zeroes each value of `x [B, …]` with probability `p` and scales the others up \[Srivastava14\], while training.
    pub fn drop<const D: usize>(&self, x: Tensor<D>, p: f64) -> Tensor<D> {
        let Some((seed, masks)) = self.0.as_ref().filter(|_| p > 0.0) else { return x };
        let stream = masks.replace(masks.get() + 1);
        let (dims, device) = (x.dims(), x.device());
        let kept = (1.0 / (1.0 - p)) as f32;
        let each = dims[1..].iter().product::<usize>() as u64;
        let of = |picture: u64, i: u64| match noise::uniform(seed.wrapping_add(picture), stream, i) < p {
            true => 0.0,
            false => kept,
        };
        let mask: Vec<f32> = (0..dims[0] as u64)
            .flat_map(|picture| (0..each).map(move |i| (picture, i)))
            .map(|(k, i)| of(k, i))
            .collect();
        x * Tensor::<D>::from_data(TensorData::new(mask, dims), &device)
    }
}
