//! The variational bound, its parts, and how they fall along the way.

use undiffuse_math::likelihood as terms;
use undiffuse_math::noise;
use undiffuse_math::prelude::{NoiseLevel, Plan};
use undiffuse_math::variance::{interpolated, log_range_of};

use super::{Dequantize, HALF_BIN, TestPictures, Use, to_host};
use crate::denoise::{At, Denoise};

/// How the bound is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundSettings {
    /// Steps evaluated for each picture, at most: the way is cut into as many strata, and one step is drawn from each.
    /// All steps when there are no more.
    pub evaluations: usize,
    /// Evaluations computed as one batch.
    pub batch: usize,
    /// What stands for pixel values; uniform noise belongs to the ODE alone.
    pub dequantize: Dequantize,
    /// Standard deviations of the steps.
    pub variance: StepVariance,
}

/// The standard deviation of each step of the chain.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum StepVariance {
    /// The posterior's \[Ho20, section 3.2, the lower choice\].
    #[default]
    Posterior,
    /// The noise that the forward process adds in the step \[Ho20, section 3.2, the upper choice\].
    Forward,
    /// The one that makes the bound smallest \[Bao22, Eq. 7\], from the error `E‖x0 - D‖² / dims` at each row's level.
    Optimal(Vec<f64>),
    /// Whatever the network answers beside its guess \[Nichol21, Eq. 15\].
    Learned,
}

/// The bound of every picture, in nats, and its course.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// `KL(q(x_T | x0) ‖ prior)` of each picture.
    pub prior: Vec<f64>,
    /// The sum of the steps' KL of each picture.
    pub steps: Vec<f64>,
    /// `-ln P(x0 | x1)` of each picture; 0 for continuous data.
    pub reconstruction: Vec<f64>,
    /// One entry for each row of the plan, from the noisiest.
    pub curve: Vec<BoundStep>,
}

/// What was seen of one row over all pictures.
#[derive(Copy, Clone, Debug, PartialEq, Default, serde::Serialize)]
pub struct BoundStep {
    /// The level it starts from.
    pub level: NoiseLevel,
    /// The schedule's time of it, where the plan knows.
    pub time: Option<f64>,
    /// How many pictures it was evaluated for.
    pub count: usize,
    /// Mean KL in nats; the reconstruction for the last row.
    pub kl: f64,
    /// Mean of `‖x0 - D‖² / dims`.
    pub error: f64,
}

impl Bound {
    /// The bound on `-ln P(x0)` of each picture.
    pub fn total(&self) -> Vec<f64> {
        (0..self.prior.len()).map(|k| self.prior[k] + self.steps[k] + self.reconstruction[k]).collect()
    }

    /// The mean error at each row; rows that no picture visited take their nearest neighbour's on the noisy side.
    pub fn errors(&self) -> Vec<f64> {
        let first = self.curve.iter().find(|s| s.count > 0).map_or(0.0, |s| s.error);
        let each = self.curve.iter().scan(first, |last, step| {
            if step.count > 0 {
                *last = step.error;
            }
            Some(*last)
        });
        each.collect()
    }
}

/// One evaluation: picture, row, and how many rows it stands for.
struct Sample {
    picture: usize,
    row: usize,
    weight: f64,
}

/// The bound of `pictures` for the chain that `plan` walks; `progress` is told how many evaluations of how many are done,
/// and stops the work by answering false.
///
/// The reconstruction rounds `D` at the cleanest level with a Gaussian \[Ho20, Eq. 13\] of standard deviation `sigma / alpha`,
/// the root of the error for [`StepVariance::Optimal`], or what the network says; it and the prior are computed for every
/// picture.
pub fn bound(
    denoiser: &dyn Denoise,
    plan: &Plan,
    pictures: &TestPictures,
    settings: &BoundSettings,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Option<Bound> {
    let (dims, n) = (pictures.dims(), pictures.len());
    let last = plan.rows.len() - 1;
    let samples: Vec<Sample> = (0..n).flat_map(|k| draw(pictures, k, plan, settings.evaluations)).collect();
    let first = plan.rows[0].level;
    let square = |k: usize| pictures.picture(k).iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    let mut bound = Bound {
        prior: (0..n).map(|k| terms::prior_kl(square(k), dims, first, plan.init_noise_sigma)).collect(),
        steps: vec![0.0; n],
        reconstruction: vec![0.0; n],
        curve: plan
            .rows
            .iter()
            .map(|row| BoundStep { level: row.level, time: row.time, ..BoundStep::default() })
            .collect(),
    };
    let device = denoiser.device();
    let mut done = 0;
    for batch in samples.chunks(settings.batch.max(1)) {
        let noise = |row: usize| if row == last { Use::Cleanest } else { Use::Row(row) };
        let xs: Vec<Vec<f32>> =
            batch.iter().map(|s| pictures.noised(s.picture, plan.rows[s.row].level, noise(s.row))).collect();
        let at: Vec<At> = batch.iter().map(|s| At::from(&plan.rows[s.row])).collect();
        let cond = pictures.cond.select(batch.iter().map(|s| s.picture));
        let guess = denoiser.denoise(pictures.tensor(&xs, &device), &at, &cond);
        let (guess, variance) = (to_host(guess.x0), guess.variance.map(to_host));
        for (i, s) in batch.iter().enumerate() {
            let part = i * dims..(i + 1) * dims;
            let (x0, d) = (pictures.picture(s.picture), &guess[part.clone()]);
            let v = variance.as_ref().map(|v| &v[part]);
            let error: f64 = x0.iter().zip(d).map(|(x, d)| (f64::from(*x) - f64::from(*d)).powi(2)).sum();
            let value = if s.row == last {
                let value = reconstruction(plan, pictures, (x0, d), v, settings);
                bound.reconstruction[s.picture] = value;
                value
            } else {
                let value = step(plan, s.row, (x0, d), error, v, &settings.variance);
                bound.steps[s.picture] += s.weight * value;
                value
            };
            let seen = &mut bound.curve[s.row];
            seen.count += 1;
            seen.kl += (value - seen.kl) / seen.count as f64;
            seen.error += (error / dims as f64 - seen.error) / seen.count as f64;
        }
        done += batch.len();
        if !progress(done, samples.len()) {
            return None;
        }
    }
    Some(bound)
}

/// The evaluations of one picture: a row from each stratum, and the last row.
///
/// Strata are of equal log-SNR, in which the terms are about evenly spread: `KL = ∫ SNR ‖D - x0‖² / 2 dlog-SNR`
/// [Kingma21, Eq. 15]. Rows drawn more often count less.
fn draw(pictures: &TestPictures, k: usize, plan: &Plan, evaluations: usize) -> Vec<Sample> {
    let last = plan.rows.len() - 1;
    let recon = Sample { picture: k, row: last, weight: 1.0 };
    if evaluations >= last {
        return (0..last).map(|row| Sample { picture: k, row, weight: 1.0 }).chain([recon]).collect();
    }
    let gains: Vec<f64> =
        plan.rows[..last].iter().map(|r| r.next.bounded_log_snr() - r.level.bounded_log_snr()).collect();
    // Equal levels, where log-SNRs are bounded, still have their share.
    let floor = 1e-3 * gains.iter().sum::<f64>() / last as f64;
    let shares: Vec<f64> = gains.iter().map(|g| g.max(floor)).collect();
    let total: f64 = shares.iter().sum();
    let strata = evaluations.max(1) as f64;
    let mut samples = Vec::new();
    let (mut row, mut below) = (0, 0.0);
    for i in 0..evaluations.max(1) {
        let u = noise::uniform(pictures.seeds[k], Use::Stratum.stream(), i as u64);
        let target = (i as f64 + u) / strata * total;
        while row + 1 < last && below + shares[row] < target {
            below += shares[row];
            row += 1;
        }
        samples.push(Sample { picture: k, row, weight: total / (strata * shares[row]) });
    }
    samples.push(recon);
    samples
}

/// The KL of one step.
fn step(
    plan: &Plan,
    row: usize,
    (x0, d): (&[f32], &[f32]),
    error: f64,
    v: Option<&[f32]>,
    variance: &StepVariance,
) -> f64 {
    let (from, to) = (plan.rows[row].level, plan.rows[row].next);
    let (weight, posterior) = terms::posterior(from, to);
    let std = match (variance, v) {
        (StepVariance::Learned, Some(v)) => {
            let range = log_range_of(plan, row);
            let pixel = |((x, d), v): ((&f32, &f32), &f32)| {
                let gap = weight * weight * (f64::from(*x) - f64::from(*d)).powi(2);
                terms::gaussian_kl(gap, 1, posterior, interpolated(range, f64::from(*v)).sqrt())
            };
            return x0.iter().zip(d).zip(v).map(pixel).sum();
        }
        (StepVariance::Posterior | StepVariance::Learned, _) => posterior,
        (StepVariance::Forward, _) => terms::forward_std(from, to),
        (StepVariance::Optimal(errors), _) => terms::optimal_std(from, to, errors[row]),
    };
    terms::step_kl(from, to, error, x0.len(), std)
}

/// `-ln P(x0 | x1)`.
fn reconstruction(
    plan: &Plan,
    pictures: &TestPictures,
    (x0, d): (&[f32], &[f32]),
    v: Option<&[f32]>,
    settings: &BoundSettings,
) -> f64 {
    if settings.dequantize == Dequantize::None {
        return 0.0;
    }
    let last = plan.rows.len() - 1;
    let std: Box<dyn Fn(usize) -> f64> = match (&settings.variance, v) {
        (StepVariance::Learned, Some(v)) => {
            let range = log_range_of(plan, last);
            let variances = v.iter().map(|v| interpolated(range, f64::from(*v))).collect();
            let variances = pictures.codec.pixel_variances(variances, pictures.shape);
            Box::new(move |i| variances[i].sqrt())
        }
        (StepVariance::Optimal(errors), _) => {
            let std = errors[last].sqrt();
            Box::new(move |_| std)
        }
        _ => {
            let std = plan.rows[last].level.sigma_edm();
            Box::new(move |_| std)
        }
    };
    let (black, unit) = (pictures.range.0, pictures.unit());
    let in_unit = |x: f32| (f64::from(x) - black) / unit - 1.0;
    let pixel = |(i, (x, d)): (usize, (&f32, &f32))| {
        terms::discretized_gaussian(in_unit(*x), in_unit(*d), std(i) / unit, HALF_BIN)
    };
    // Isotropic noise on latents is isotropic noise on pixels.
    let (x0, d) = (pictures.decode(x0), pictures.decode(d));
    -x0.iter().zip(&d).enumerate().map(pixel).sum::<f64>()
}
