//! The likelihood of the probability-flow ODE, and samples of it.

use undiffuse_math::likelihood as terms;
use undiffuse_math::noise;
use undiffuse_math::ode::{DormandPrince, OdeError, RateQuery};
use undiffuse_math::prelude::{NoiseLevel, Plan};

use super::{Dequantize, Ends, HALF_BIN, Meaningless, TestPictures, Use, ends, to_host};
use crate::denoise::{At, Denoise};

/// How the divergence of the flow is found.
#[derive(Copy, Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trace {
    /// Every entry of the Jacobian's diagonal: as many gradients as a picture has numbers; for small ones.
    Exact,
    /// Hutchinson's estimate `v · J v` with signs `v = ±1`, a mean over so many probes \[Hutchinson89; Grathwohl19\].
    Rademacher(usize),
    /// The same with Gaussian `v`.
    Gaussian(usize),
}

/// How the ODE is solved.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowSettings {
    /// How the divergence is found.
    pub trace: Trace,
    /// The integrator.
    pub integrator: DormandPrince,
    /// Pictures at a time.
    pub batch: usize,
    /// What stands for pixel values.
    pub dequantize: Dequantize,
}

/// Why there is no likelihood.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum FlowError {
    #[error(transparent)]
    Meaningless(#[from] Meaningless),
    #[error(transparent)]
    Ode(#[from] OdeError),
    #[error("interrupted")]
    Interrupted,
    #[error("the pictures at the end of the ODE are infinite or not a number: the weights may be damaged")]
    Strayed,
}

/// What the ODE says of every picture, in nats.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Flow {
    /// `-ln P(x0)`, or a bound or density by [`Dequantize`], without the rounding of [`Dequantize::Gaussian`]: add
    /// [`Bound::reconstruction`](super::bound::Bound::reconstruction).
    pub nll: Vec<f64>,
    /// The noisy end of each picture's path over the prior's standard deviation: about normal when all is well.
    pub latents: Vec<Vec<f64>>,
    /// Network evaluations of each picture; one with a gradient for each probe.
    pub evaluations: Vec<usize>,
}

/// The likelihood of `pictures` under the ODE of a denoiser, between the cleanest and the noisiest level of `plan`.
///
/// `level_at` gives the schedule's level at a log-SNR. The denoiser must live on an autodiff device (`device.autodiff()`) and
/// should not clip.
/// `progress` is told how many pictures are done, and the share of the way of the slowest in work; false stops.
///
/// # Errors
/// Plans without noise at the clean end; an ODE that cannot be solved.
pub fn flow(
    denoiser: &dyn Denoise,
    plan: &Plan,
    level_at: &dyn Fn(f64) -> NoiseLevel,
    pictures: &TestPictures,
    settings: &FlowSettings,
    progress: &mut dyn FnMut(usize, f64) -> bool,
) -> Result<Flow, FlowError> {
    let ends = Ends::new(plan)?;
    let dims = pictures.dims();
    let to_z = ends.clean.alpha / ends.clean.scale();
    let mut flow = Flow::default();
    for from in (0..pictures.len()).step_by(settings.batch.max(1)) {
        let members: Vec<usize> = (from..pictures.len().min(from + settings.batch.max(1))).collect();
        let starts: Vec<(Vec<f64>, f64)> =
            members.iter().map(|&k| start(pictures, k, ends.clean, settings.dequantize)).collect();
        let probes: Vec<Vec<Vec<f32>>> = members.iter().map(|&k| probes(pictures, k, settings.trace)).collect();
        let zs = starts.iter().map(|(y, _)| y.iter().map(|y| to_z * y).chain([0.0]).collect()).collect();
        let (low, high) = ends.span();
        let mut stopped = false;
        let rate = |asks: &[RateQuery<'_>]| {
            if stopped {
                // Standing still ends the work soon.
                return asks.iter().map(|a| vec![0.0; a.y.len()]).collect();
            }
            let share = asks.iter().map(|a| (a.t - low) / (high - low)).fold(1.0, f64::min);
            stopped = !progress(from, share);
            rates(denoiser, level_at, pictures, &members, (&probes, settings.trace), asks)
        };
        let solutions = settings.integrator.solve(zs, (low, high), 1, rate).map_err(|e| e.after(from))?;
        if stopped {
            return Err(FlowError::Interrupted);
        }
        for (solution, (_, known)) in solutions.into_iter().zip(&starts) {
            let (z, change) = solution.y.split_at(dims);
            let to_latent = ends.noisy.scale() / ends.start;
            let latent: Vec<f64> = z.iter().map(|z| to_latent * z).collect();
            let square: f64 = latent.iter().map(|z| z * z).sum();
            // ln p(z_T), the change along the way, whose integral was kept in units of `dims`, and from z back to y.
            let end = terms::log_normal(square, dims, 1.0) + dims as f64 * to_latent.ln();
            flow.nll.push(known - (end + dims as f64 * (change[0] + to_z.ln())));
            flow.latents.push(latent);
            flow.evaluations.push(solution.evaluations);
        }
    }
    progress(pictures.len(), 1.0);
    Ok(flow)
}

/// Where picture `k` starts, `y = x / alpha`, and the nats that its nll has beside `-ln p(y)`.
fn start(pictures: &TestPictures, k: usize, clean: NoiseLevel, dequantize: Dequantize) -> (Vec<f64>, f64) {
    let dims = pictures.dims() as f64;
    let x0 = pictures.picture(k).iter().map(|x| f64::from(*x));
    match dequantize {
        Dequantize::None => (x0.collect(), 0.0),
        Dequantize::Uniform => {
            let half = HALF_BIN * pictures.unit();
            let spread = |i: usize| {
                let u = noise::uniform(pictures.seeds[k], Use::Uniform.stream(), i as u64);
                (half * (2.0 * u - 1.0)) as f32
            };
            // Orthonormal codecs are linear: of a sum they make the sum.
            let spread = pictures.encode(&(0..pictures.dims()).map(spread).collect::<Vec<f32>>());
            (x0.zip(spread).map(|(x, u)| x + f64::from(u)).collect(), -dims * (2.0 * half).ln())
        }
        Dequantize::Gaussian => {
            // The same noise as the bound's last row. The code of x1 gets back what the noise itself could carry: ln q(x1 | x0).
            let eps = pictures.normal(k, Use::Cleanest);
            let std = clean.sigma_edm();
            let square: f64 = eps.iter().map(|e| f64::from(*e).powi(2)).sum();
            let y = x0.zip(&eps).map(|(x, e)| x + std * f64::from(*e)).collect();
            (y, terms::log_normal(square * std * std, pictures.dims(), std))
        }
    }
}

/// The probes of picture `k`: fixed along its path, so that the integrand is smooth.
fn probes(pictures: &TestPictures, k: usize, trace: Trace) -> Vec<Vec<f32>> {
    let dims = pictures.dims();
    match trace {
        Trace::Exact => (0..dims).map(|i| (0..dims).map(|j| f32::from(u8::from(i == j))).collect()).collect(),
        Trace::Gaussian(n) => (0..n).map(|i| pictures.normal(k, Use::Probe(i))).collect(),
        Trace::Rademacher(n) => {
            let sign = |v: f32| if v < 0.0 { -1.0 } else { 1.0 };
            (0..n).map(|i| pictures.normal(k, Use::Probe(i)).into_iter().map(sign).collect()).collect()
        }
    }
}

/// `(cos phi z - D, (dims cos phi - div D) / dims)` for each question.
fn rates(
    denoiser: &dyn Denoise,
    level_at: &dyn Fn(f64) -> NoiseLevel,
    pictures: &TestPictures,
    members: &[usize],
    (probes, trace): (&[Vec<Vec<f32>>], Trace),
    asks: &[RateQuery<'_>],
) -> Vec<Vec<f64>> {
    let dims = pictures.dims();
    let device = denoiser.device();
    let at: Vec<At> = asks.iter().map(|a| At::from(ends::level(a.t, level_at))).collect();
    let cond = pictures.cond.select(asks.iter().map(|a| members[a.problem]));
    let xs: Vec<Vec<f32>> = asks
        .iter()
        .zip(&at)
        .map(|(a, at)| a.y[..dims].iter().map(|z| (at.level.scale() * z) as f32).collect())
        .collect();
    let (mut guess, mut divergence) = (Vec::new(), vec![0.0; asks.len()]);
    let count = probes.first().map_or(0, Vec::len);
    for (i, first) in (0..count).map(|i| (i, i == 0)) {
        let x = pictures.tensor(&xs, &device).require_grad();
        let rows: Vec<Vec<f32>> = asks.iter().map(|a| probes[a.problem][i].clone()).collect();
        let v = pictures.tensor(&rows, &device);
        let d = denoiser.denoise(x.clone(), &at, &cond).x0;
        let gradients = (d.clone() * v).sum().backward();
        let jv = x.grad(&gradients).map(to_host).unwrap_or_else(|| vec![0.0; xs.len() * dims]);
        for (k, row) in rows.iter().enumerate() {
            let dot: f64 = row.iter().zip(&jv[k * dims..]).map(|(v, j)| f64::from(*v) * f64::from(*j)).sum();
            // The gradient is by x, a scale times z. Exact traces sum over the unit vectors, estimates are means.
            divergence[k] += at[k].level.scale() * dot;
        }
        if first {
            guess = to_host(d.inner());
        }
    }
    let mean = |sum: f64| if trace == Trace::Exact { sum } else { sum / count as f64 };
    let one = |(k, a): (usize, &RateQuery<'_>)| {
        let d = &guess[k * dims..(k + 1) * dims];
        let cos = at[k].level.alpha / at[k].level.scale();
        let flow = a.y[..dims].iter().zip(d).map(|(z, d)| cos * z - f64::from(*d));
        flow.chain([cos - mean(divergence[k]) / dims as f64]).collect()
    };
    asks.iter().enumerate().map(one).collect()
}
