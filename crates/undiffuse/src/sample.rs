//! Sampling: from noise to pictures along a plan.
//!
//! A [`Plan`] is data; [`Sampler`] is the one interpreter that runs it. It is an iterator: each
//! item is the state after one evaluation of the denoiser, so a progress bar, a preview or a stop
//! button is a `for` loop's body and nothing inside knows of them.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use undiffuse_math::noise;
use undiffuse_math::prelude::{NoiseLevel, Plan, Row, Walk};
use undiffuse_math::recipe::{Corrector, Learned};
use undiffuse_math::variance::log_range_of;
use undiffuse_nn::params;

use crate::codec::AnyCodec;
use crate::denoise::{At, Clipping, Cond, Denoise, Guess};

/// Where the randomness of a batch of pictures comes from.
#[derive(Clone, Debug)]
pub enum Noise {
    /// One seed per picture: picture `k` depends on `seeds[k]` alone, whatever shares its batch.
    Seeds(Vec<u64>),
    /// Unit-normal tensors `[B, C, H, W]` from elsewhere: the first starts, the others are taken in the order in
    /// which noise is needed.
    Given(Vec<Tensor<4>>),
    /// A start from elsewhere `[B, C, H, W]`, and one seed per picture for all noise after it.
    Begun(Box<Tensor<4>>, Vec<u64>),
}

impl Noise {
    /// Pictures that there is noise for.
    pub fn pictures(&self) -> usize {
        match self {
            Self::Seeds(seeds) | Self::Begun(_, seeds) => seeds.len(),
            Self::Given(tensors) => tensors.first().map_or(0, |noise| noise.dims()[0]),
        }
    }
}

/// What noise of a seed is for: its stream.
#[derive(Clone, Copy)]
enum Use {
    /// The start.
    Initial,
    /// Row number `n` of the plan.
    Row(usize),
    /// Correction number `n`.
    Correction(usize),
}

/// No stream of sampling lies above this.
pub(crate) const HIGHEST_STREAM: u64 = 1 << 33;

impl Use {
    fn stream(self) -> u64 {
        match self {
            Use::Initial => 0,
            Use::Row(n) => n as u64 + 1,
            Use::Correction(n) => 1 << 32 | n as u64,
        }
    }
}

/// A [`Noise`] and how much of it is used up.
struct Source {
    noise: Noise,
    taken: usize,
}

impl Source {
    /// Unit-normal noise `[B, C, H, W]`.
    fn draw(&mut self, what: Use, shape: [usize; 3], device: &Device) -> Tensor<4> {
        self.taken += 1;
        match &self.noise {
            Noise::Begun(start, _) if matches!(what, Use::Initial) => Tensor::clone(start),
            Noise::Seeds(seeds) | Noise::Begun(_, seeds) => normal(seeds, what.stream(), shape, device),
            Noise::Given(tensors) => match tensors.get(self.taken - 1) {
                Some(tensor) => tensor.clone(),
                None => panic!("the sampler needs {} noise tensors, {} were given", self.taken, tensors.len()),
            },
        }
    }
}

/// How many noise tensors a plan takes, the initial one included, with a corrector's before those of each row.
pub fn noises(plan: &Plan, corrector: Option<Corrector>) -> usize {
    let corrections = corrector.map_or(0, |c| c.steps * plan.rows.len());
    1 + corrections + plan.rows.iter().filter(|row| row.noise != 0.0).count()
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
pub struct SampleStep {
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

/// A walk that left the numbers: what it made is infinite or not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the walk left the numbers at step {step} of {steps}: what the network answered, or what the step made of it, is infinite \
     or not a number. The weights may be damaged, or the settings (guidance, solver, steps) too much for this model"
)]
pub struct Strayed {
    /// The step, from 1.
    pub step: usize,
    /// All of them.
    pub steps: usize,
}

/// Zero where every value of `x` is a number, not a number otherwise: `[1]`, on the device of `x`.
pub(crate) fn trace(x: &Tensor<4>) -> Tensor<1> {
    (x.clone() * 0.0).sum()
}

/// A walk along a plan.
pub struct Sampler<'a> {
    denoiser: &'a dyn Denoise,
    plan: &'a Plan,
    noise: Source,
    cond: &'a Cond,
    walk: Walk<'a, Tensor<4>>,
    keep_eps: Option<Clipping>,
    learned: Option<Learned>,
    /// What of a picture the end shows.
    kept: Option<(AnyCodec, [Tensor<4>; 2])>,
    /// The [`trace`] after each row; looked at once, at the end, so that a GPU need not wait at each.
    traces: Vec<Tensor<1>>,
}

/// Starts from noise: `shape` is `[C, H, W]`.
pub fn sample<'a>(
    denoiser: &'a dyn Denoise,
    plan: &'a Plan,
    noise: Noise,
    shape: [usize; 3],
    cond: &'a Cond,
) -> Sampler<'a> {
    let mut noise = Source { noise, taken: 0 };
    let x = noise.draw(Use::Initial, shape, &denoiser.device()) * plan.init_noise_sigma;
    Sampler::new(denoiser, plan, noise, cond, x)
}

/// Starts from clean pictures `x0 [B, C, H, W]`, noised to the level of the plan's first row, or as they are where the
/// plan starts from a picture ([`Solver::rises`](undiffuse_math::solver::Solver::rises)) or has no rows.
pub fn sample_from<'a>(
    denoiser: &'a dyn Denoise,
    plan: &'a Plan,
    noise: Noise,
    x0: Tensor<4>,
    cond: &'a Cond,
) -> Sampler<'a> {
    let mut noise = Source { noise, taken: 0 };
    let [_, c, h, w] = x0.dims();
    let level = plan.rows.first().map_or(NoiseLevel::CLEAN, |row| row.level);
    let x = if plan.init_noise_sigma == 0.0 {
        x0
    } else {
        let eps = noise.draw(Use::Initial, [c, h, w], &denoiser.device());
        x0 * level.alpha + eps * level.sigma
    };
    Sampler::new(denoiser, plan, noise, cond, x)
}

impl<'a> Sampler<'a> {
    /// A walk that begins at `x`.
    fn new(denoiser: &'a dyn Denoise, plan: &'a Plan, noise: Source, cond: &'a Cond, x: Tensor<4>) -> Self {
        let (walk, traces) = (Walk::new(plan, x), Vec::new());
        Self { denoiser, plan, noise, cond, walk, keep_eps: None, learned: None, kept: None, traces }
    }

    /// Clips every guess, and moves `x` so that the noise which the unclipped guess implied stays: what DDIM does in
    /// diffusers. The denoiser must not clip itself.
    pub fn keeping_eps(self, clipping: Clipping) -> Self {
        Self { keep_eps: Some(clipping), ..self }
    }

    /// Takes the strength of each row's noise from the network, which learnt it beside its guess. For plans of ancestral
    /// sampling; others do not mean what was learnt.
    pub fn with_learned_variance(self, learned: Learned) -> Self {
        Self { learned: Some(learned), ..self }
    }

    /// Shows at the end what is [known](crate::codec::Codec::known) of a picture.
    pub fn ending_on(self, codec: AnyCodec, known: [Tensor<4>; 2]) -> Self {
        Self { kept: Some((codec, known)), ..self }
    }

    /// The same walk with Langevin corrections before each row.
    pub fn corrected(self, corrector: Corrector) -> Corrected<'a> {
        Corrected { sampler: self, corrector, done: 0 }
    }

    /// The shape `[B, C, H, W]`.
    pub fn shape(&self) -> [usize; 4] {
        self.walk.x().dims()
    }

    /// The guess at a row's level.
    fn guess(&self, row: &Row) -> Guess {
        let x = self.walk.x().clone();
        let at = vec![At::from(row); x.dims()[0]];
        self.denoiser.denoise(x, &at, self.cond)
    }

    /// The noise of the current row over [`Row::noise`]: standard normal, unless its strength was learnt.
    fn fresh(&mut self, row: &Row, [c, h, w]: [usize; 3], variance: Option<Tensor<4>>) -> Option<Tensor<4>> {
        if row.noise == 0.0 {
            return None;
        }
        let done = self.walk.done();
        let z = self.noise.draw(Use::Row(done), [c, h, w], &self.denoiser.device());
        let std = match (self.learned, variance) {
            (Some(Learned::Range), Some(v)) => {
                let (low, high) = log_range_of(self.plan, done);
                (((v + 1.0) * ((high - low) / 2.0) + low) * 0.5).exp()
            }
            (Some(Learned::Direct), Some(v)) => v.sqrt(),
            _ => return Some(z),
        };
        Some(z * (std / row.noise))
    }
}

impl Sampler<'_> {
    /// Runs to the end and returns the pictures `[B, C, H, W]`.
    ///
    /// # Errors
    /// A walk whose pictures are no numbers.
    pub fn finish(mut self) -> Result<Tensor<4>, Strayed> {
        self.by_ref().for_each(drop);
        let steps = self.traces.len();
        let traces = if steps == 0 { Vec::new() } else { params::to_host(Tensor::cat(self.traces, 0)) };
        match traces.iter().position(|trace| *trace != 0.0) {
            Some(row) => Err(Strayed { step: row + 1, steps }),
            None => {
                let x = self.walk.into_x();
                Ok(self.kept.map_or_else(|| x.clone(), |(codec, known)| codec.keep(x.clone(), &known)))
            }
        }
    }
}

impl Iterator for Sampler<'_> {
    type Item = SampleStep;

    fn next(&mut self) -> Option<SampleStep> {
        let row = self.walk.row()?;
        let Guess { x0: mut denoised, variance } = self.guess(row);
        if let Some(clipping) = &self.keep_eps {
            let clipped = clipping.apply(denoised.clone());
            let moved = self.walk.x().clone() + (clipped.clone() - denoised) * row.level.alpha;
            self.walk.replace_x(moved);
            denoised = clipped;
        }
        let [_, c, h, w] = denoised.dims();
        let fresh = self.fresh(row, [c, h, w], variance);
        self.walk.step(denoised.clone(), fresh, weighted_sum);
        self.traces.push(trace(self.walk.x()));
        Some(SampleStep {
            row: self.walk.done(),
            rows: self.plan.rows.len(),
            level: row.next,
            x: self.walk.x().clone(),
            denoised,
        })
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

/// A [`Sampler`] that, before each row, takes Langevin steps at the row's level \[Song21, Algorithm 4\].
///
/// The size of a step depends on the pictures, so no plan can hold it: with `g` the score and `z` fresh noise,
/// `e = 2 (snr ‖z‖ / ‖g‖)²` and `x ← x + e g + √(2e) z`. Norms are of each picture alone, where the original takes
/// means over the batch: a picture must not depend on what shares its batch.
pub struct Corrected<'a> {
    sampler: Sampler<'a>,
    corrector: Corrector,
    done: usize,
}

impl Corrected<'_> {
    /// As [`Sampler::finish`].
    ///
    /// # Errors
    /// A walk whose pictures are no numbers.
    pub fn finish(mut self) -> Result<Tensor<4>, Strayed> {
        self.by_ref().for_each(drop);
        self.sampler.finish()
    }
}

impl Iterator for Corrected<'_> {
    type Item = SampleStep;

    fn next(&mut self) -> Option<SampleStep> {
        let row = self.sampler.walk.row()?;
        for _ in 0..self.corrector.steps {
            let x = self.sampler.walk.x().clone();
            let [b, c, h, w] = x.dims();
            let z = self.sampler.noise.draw(Use::Correction(self.done), [c, h, w], &x.device());
            self.done += 1;
            let level = row.level;
            let score = (self.sampler.guess(row).x0 * level.alpha - x.clone()) / (level.sigma * level.sigma);
            let norm = |t: &Tensor<4>| t.clone().powi_scalar(2).reshape([b, c * h * w]).sum_dim(1).sqrt();
            let e = (norm(&z) / norm(&score) * self.corrector.snr).powi_scalar(2) * 2.0;
            let e = e.reshape([b, 1, 1, 1]);
            self.sampler.walk.replace_x(x + score * e.clone() + z * (e * 2.0).sqrt());
        }
        self.sampler.next()
    }
}

/// A walk of either kind.
#[allow(clippy::large_enum_variant)]
pub enum Walker<'a> {
    /// Along the plan.
    Plain(Sampler<'a>),
    /// Along the plan, with corrections.
    Corrected(Corrected<'a>),
}

impl Walker<'_> {
    /// As [`Sampler::finish`].
    ///
    /// # Errors
    /// A walk whose pictures are no numbers.
    pub fn finish(self) -> Result<Tensor<4>, Strayed> {
        match self {
            Walker::Plain(walk) => walk.finish(),
            Walker::Corrected(walk) => walk.finish(),
        }
    }
}

impl Iterator for Walker<'_> {
    type Item = SampleStep;

    fn next(&mut self) -> Option<SampleStep> {
        match self {
            Walker::Plain(walk) => walk.next(),
            Walker::Corrected(walk) => walk.next(),
        }
    }
}
