//! Sampling: from noise to pictures along a plan.
//!
//! A [`Plan`] is data; [`Sampler`] is the one interpreter that runs it. It is an iterator: each
//! item is the state after one evaluation of the denoiser, so a progress bar, a preview or a stop
//! button is a `for` loop's body and nothing inside knows of them.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use undiffuse_math::noise;
use undiffuse_math::prelude::{NoiseLevel, Plan, Walk};

use crate::denoise::{At, Cond, Denoise};

/// Where the randomness of a batch of pictures comes from.
#[derive(Clone, Debug)]
pub enum Noise {
    /// One seed per picture: picture `k` depends on `seeds[k]` alone, whatever shares its batch.
    Seeds(Vec<u64>),
    /// Unit-normal tensors from elsewhere: the first `[B, C, H, W]` starts, the others feed the
    /// plan's noisy rows in order.
    Given(Vec<Tensor<4>>),
}

/// The stream of a seed's initial noise; row `r` of a plan draws from stream `r + 1`.
const INITIAL: u64 = 0;

impl Noise {
    /// Unit-normal noise `[B, C, H, W]` for the start.
    pub fn initial(&self, shape: [usize; 3], device: &Device) -> Tensor<4> {
        match self {
            Noise::Seeds(seeds) => normal(seeds, INITIAL, shape, device),
            Noise::Given(tensors) => tensors[0].clone(),
        }
    }

    fn row(&self, row: usize, nth: usize, shape: [usize; 3], device: &Device) -> Tensor<4> {
        match self {
            Noise::Seeds(seeds) => normal(seeds, row as u64 + 1, shape, device),
            Noise::Given(tensors) => tensors[nth + 1].clone(),
        }
    }
}

/// Unit-normal noise, picture `k` from `(seeds[k], stream)`.
fn normal(seeds: &[u64], stream: u64, shape: [usize; 3], device: &Device) -> Tensor<4> {
    let [c, h, w] = shape;
    let mut values = vec![0f32; seeds.len() * c * h * w];
    values
        .par_chunks_mut((c * h * w).max(1))
        .zip(seeds.par_iter())
        .for_each(|(image, &seed)| noise::normal(seed, stream, 0, image));
    Tensor::from_data(TensorData::new(values, [seeds.len(), c, h, w]), device)
}

/// The state after one row of the plan.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Rows done.
    pub row: usize,
    /// Rows in the plan.
    pub rows: usize,
    /// The level that `x` is at now.
    pub level: NoiseLevel,
    /// The pictures on their way `[B, C, H, W]`.
    pub x: Tensor<4>,
    /// The guess of the clean pictures that this row made.
    pub denoised: Tensor<4>,
}

/// A walk along a plan.
pub struct Sampler<'a> {
    denoiser: &'a dyn Denoise,
    plan: &'a Plan,
    noise: Noise,
    cond: &'a Cond,
    walk: Walk<'a, Tensor<4>>,
    noisy_rows: usize,
}

/// Starts from noise: `shape` is `[C, H, W]`.
pub fn sample<'a>(
    denoiser: &'a dyn Denoise,
    plan: &'a Plan,
    noise: Noise,
    shape: [usize; 3],
    cond: &'a Cond,
) -> Sampler<'a> {
    let x = noise.initial(shape, &denoiser.device()) * plan.start;
    sample_from(denoiser, plan, noise, x, cond)
}

/// Starts from `x`, noisy pictures at the level of the plan's first row.
pub fn sample_from<'a>(
    denoiser: &'a dyn Denoise,
    plan: &'a Plan,
    noise: Noise,
    x: Tensor<4>,
    cond: &'a Cond,
) -> Sampler<'a> {
    Sampler { denoiser, plan, noise, cond, walk: Walk::new(plan, x), noisy_rows: 0 }
}

impl Sampler<'_> {
    /// Runs to the end and returns the pictures `[B, C, H, W]`.
    pub fn finish(mut self) -> Tensor<4> {
        self.by_ref().for_each(drop);
        self.walk.into_x()
    }
}

impl Iterator for Sampler<'_> {
    type Item = Progress;

    fn next(&mut self) -> Option<Progress> {
        let row = self.walk.row()?;
        let x = self.walk.x().clone();
        let [b, c, h, w] = x.dims();
        let denoised = self.denoiser.denoise(x, &vec![At::from(row); b], self.cond);
        let fresh = (row.noise != 0.0).then(|| {
            let noise = self.noise.row(self.walk.done(), self.noisy_rows, [c, h, w], &denoised.device());
            self.noisy_rows += 1;
            noise
        });
        self.walk.step(denoised.clone(), fresh, weighted_sum);
        Some(Progress { row: self.walk.done(), rows: self.plan.rows.len(), level: row.to, x: self.walk.x().clone(), denoised })
    }
}

/// `Σ weight · tensor`, in the order of the terms.
fn weighted_sum(terms: &[(f64, &Tensor<4>)]) -> Tensor<4> {
    terms
        .iter()
        .map(|&(weight, tensor)| tensor.clone() * weight)
        .reduce(|sum, term| sum + term)
        .expect("a row of a plan has at least one term")
}
