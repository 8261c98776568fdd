//! Likelihoods: how many bits a model needs for pictures it has not seen.
//!
//! A diffusion model gives two numbers for a picture. [`bound`](mod@bound) is the variational bound: the code length of a
//! scheme that sends the picture step by step \[Ho20, section 4.3\]; it is never too small. [`flow`](mod@flow) is the
//! likelihood of the model's probability-flow ODE, exact up to the integrator and an unbiased estimate of a trace [Song21,
//! section 4.3]. Both are made of the same parts here: the picture is noised to the cleanest level of a plan, `x1`; the code
//! of `x1` is bounded by the one and integrated by the other; the last rounding from `x1` to pixel values is shared.
//! So the two can be compared picture by picture, and the difference is what the bound gives away.
//!
//! Pixels are 256 values in [−1, 1], `1 / 127.5` apart. Which continuous quantity stands for them is [`Dequantize`].

pub mod bound;
pub(crate) mod ends;
pub mod flow;
pub mod measure;

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_math::noise;
use undiffuse_math::prelude::{Grid, NoiseLevel, Parameterization, Plan};
use undiffuse_math::solver::{Ddpm, PlanError};

pub(crate) use ends::Ends;

use crate::codec::AnyCodec;
use crate::denoise::Cond;
use crate::sample;

/// Half the distance between two pixel values in [−1, 1].
const HALF_BIN: f64 = 0.5 / 127.5;

/// Pictures whose likelihood is asked for, and what is random about it.
#[derive(Clone, Debug)]
pub struct TestPictures {
    /// `[C, H, W]` of what the model diffuses.
    pub shape: [usize; 3],
    /// What the model diffuses of the pictures, one after the other.
    pub x0: Vec<f32>,
    /// Between pictures, in the model's pixel range, and what it diffuses.
    pub codec: AnyCodec,
    /// What black and white are in that range.
    pub range: (f64, f64),
    /// A seed for each: a picture's estimate depends on no other picture.
    pub seeds: Vec<u64>,
    /// What each shows, for models with conditions.
    pub cond: Cond,
}

/// What the noise of a seed is for. Streams of their own, beside those of [`sample`](crate::sample).
#[derive(Clone, Copy)]
enum Use {
    /// The noise of `x1`, the cleanest level.
    Cleanest,
    /// Where in its stratum a step lies.
    Stratum,
    /// The noise of row `n`.
    Row(usize),
    /// Uniform dequantisation.
    Uniform,
    /// Probe number `n` of the trace.
    Probe(usize),
}

impl Use {
    fn stream(self) -> u64 {
        let kind = |k: u64, n: usize| (0x4c << 56) | (k << 48) | n as u64;
        match self {
            Use::Cleanest => kind(0, 0),
            Use::Stratum => kind(1, 0),
            Use::Row(n) => kind(2, n),
            Use::Uniform => kind(3, 0),
            Use::Probe(n) => kind(4, n),
        }
    }
}

impl TestPictures {
    /// How many pictures.
    pub fn len(&self) -> usize {
        self.seeds.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.seeds.is_empty()
    }

    /// Numbers in a picture.
    pub fn dims(&self) -> usize {
        self.shape.iter().product()
    }

    /// A length in the model's pixel range for one in [−1, 1].
    fn unit(&self) -> f64 {
        (self.range.1 - self.range.0) / 2.0
    }

    fn picture(&self, k: usize) -> &[f32] {
        &self.x0[k * self.dims()..(k + 1) * self.dims()]
    }

    /// Standard normal noise of picture `k`.
    fn normal(&self, k: usize, what: Use) -> Vec<f32> {
        let mut eps = vec![0.0; self.dims()];
        noise::normal(self.seeds[k], what.stream(), 0, &mut eps);
        eps
    }

    /// Picture `k` at a level: `alpha x0 + sigma eps`.
    fn noised(&self, k: usize, level: NoiseLevel, what: Use) -> Vec<f32> {
        let of = |(x, e): (&f32, f32)| (level.alpha * f64::from(*x) + level.sigma * f64::from(e)) as f32;
        self.picture(k).iter().zip(self.normal(k, what)).map(of).collect()
    }

    /// The latent of a picture.
    fn encode(&self, x: &[f32]) -> Vec<f32> {
        let shape = self.codec.picture_shape(self.shape).expect("pictures were encoded to this shape");
        let x = TensorData::new(x.to_vec(), [&[1], &shape[..]].concat());
        to_host(self.codec.encode(Tensor::from_data(x, &Device::flex())))
    }

    /// The pixels of a latent.
    fn decode(&self, z: &[f32]) -> Vec<f32> {
        to_host(self.codec.decode(self.tensor(&[z.to_vec()], &Device::flex())))
    }

    /// Rows of numbers as what the model diffuses, `[B, C, H, W]`.
    fn tensor(&self, rows: &[Vec<f32>], device: &Device) -> Tensor<4> {
        let [c, h, w] = self.shape;
        Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), c, h, w]), device)
    }
}

pub(crate) fn to_host(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_into_vec_as::<f32>().expect("pictures are float tensors")
}

/// What stands for a pixel value, which a continuous density knows nothing of.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dequantize {
    /// The picture at the plan's cleanest level, `x1 ~ q(x1 | x0)`, and the denoiser's rounding of it to pixel values: a
    /// bound on the probability of the pixel values \[Ho20, Eq. 13 for the rounding\]. Its bias is the entropy that the
    /// rounding loses, nothing where the noise of `x1` is far less than a pixel value apart.
    #[default]
    Gaussian,
    /// The picture plus noise that is uniform in the interval of each value \[Uria13; Song21, section 4.3\], put where the
    /// cleanest level is: the number most papers give. Also a bound: the model would have to spread each value evenly over
    /// its interval, and networks that have only seen the values do not. Pixels that are always the same cost most: with
    /// `sigma / alpha = 0.01` at the cleanest level a pixel that never changes costs 1.7 bits instead of 0.
    Uniform,
    /// The data are continuous: a density, at the cleanest level, in bits that may be negative.
    None,
}

/// A mean over pictures with its standard error.
#[derive(Copy, Clone, PartialEq, Debug, serde::Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Standard deviation of the mean: from pictures and from chance together.
    pub standard_error: f64,
}

impl Estimate {
    /// The mean of independent values.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        Self { mean, standard_error: (variance / n).sqrt() }
    }
}

/// Why a model's likelihood means nothing.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Meaningless {
    #[error(
        "at the noisiest level nothing is left of the picture (alpha = 0, zero terminal SNR), and the network answers the noise or the score, from which no guess of the picture follows there: train v, x0 or flow on this schedule, or a schedule that ends at a small alpha"
    )]
    PureNoise,
    #[error(
        "the plan's cleanest level has no noise at all: the last step would have no variance and every other picture no probability; start the schedule at a small sigma"
    )]
    NoNoise,
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("a bound needs at least 2 steps, the plan has {0}")]
    TooShort(usize),
    #[error(
        "it diffuses the latents of its {0}, and how probable a latent is does not say how probable the picture is: only models of pixels, or of an orthonormal codec such as haar, have a likelihood"
    )]
    Codec(String),
    #[error("the network has no learned variance (it answers {channels} channels, not {}): choose --variance posterior, forward or optimal", 2 * channels)]
    NoVariance { channels: usize },
    #[error(
        "the sampler starts from noise of standard deviation {start:.4}, but the noisiest pictures still hold {kept:.0} % of the picture: the prior term would be huge and the samples off; train to a noisier level"
    )]
    Prior { start: f64, kept: f64 },
}

/// Whether a network's answer says anything of the picture at the noisiest level.
///
/// # Errors
/// [`Meaningless::PureNoise`].
pub fn check_noisy_end(level: NoiseLevel, parameterization: &dyn Parameterization) -> Result<(), Meaningless> {
    let told = parameterization.scaling(level).out.abs() < 1e4;
    if level.alpha > 1e-5 || told { Ok(()) } else { Err(Meaningless::PureNoise) }
}

/// The plan whose bound is computed: ancestral sampling over a grid.
///
/// # Errors
/// Grids on which the bound means nothing.
pub fn plan(grid: &Grid, parameterization: &dyn Parameterization) -> Result<Plan, Meaningless> {
    let plan = grid.plan(&Ddpm::default())?;
    let (Some(first), Some(last)) = (plan.rows.first(), plan.rows.last()) else {
        return Err(Meaningless::TooShort(0));
    };
    if plan.rows.len() < 2 {
        return Err(Meaningless::TooShort(plan.rows.len()));
    }
    if last.level.sigma == 0.0 {
        return Err(Meaningless::NoNoise);
    }
    check_noisy_end(first.level, parameterization)?;
    let kept = first.level.alpha / first.level.sigma;
    if kept > 0.5 {
        let kept = 100.0 * crate::forward::signal_share(first.level).sqrt();
        return Err(Meaningless::Prior { start: plan.init_noise_sigma, kept });
    }
    Ok(plan)
}

// Streams must not meet those of sampling with the same seed.
const _: () = assert!(sample::HIGHEST_STREAM < 0x4c << 56);
