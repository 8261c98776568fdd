//! Sampling by an integrator that chooses its own steps.
//!
//! The probability-flow ODE from noise to picture, each picture with the steps that its own error asks for \[Song21,
//! section 4.3\]. No [`Plan`](undiffuse_math::plan::Plan) can hold it; what comes out is what every deterministic solver approaches with many steps.

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_math::noise;
use undiffuse_math::ode::{DormandPrince, RateQuery};
use undiffuse_math::prelude::Schedule;

use crate::denoise::{At, Cond, Denoise};
use crate::likelihood::flow::FlowError;
use crate::likelihood::{Ends, ends, to_host};
use crate::sample::trace;

/// Pictures `[B, C, H, W]`, and the network evaluations that each took.
pub type Sampled = (Tensor<4>, Vec<usize>);

/// Samples with `seeds` from the noisiest to the cleanest level of `schedule`, then the denoiser's guess there.
///
/// A picture starts from the same noise as in [`sample`](crate::sample::sample) with its seed. `progress` is told the share of the
/// way of the slowest picture; false stops.
///
/// # Errors
/// Schedules without noise at the clean end; an ODE that cannot be solved; pictures that are no numbers.
pub fn sample(
    denoiser: &dyn Denoise,
    schedule: &dyn Schedule,
    seeds: &[u64],
    shape: [usize; 3],
    cond: &Cond,
    integrator: &DormandPrince,
    progress: &mut dyn FnMut(f64) -> bool,
) -> Result<Sampled, FlowError> {
    let ends = Ends::of_schedule(schedule)?;
    let level_at = |log_snr| schedule.level_at(log_snr);
    let (clean, noisy) = ends.span();
    let device = denoiser.device();
    let starts = seeds.iter().map(|&seed| {
        let mut z = vec![0f32; shape.iter().product()];
        noise::normal(seed, 0, 0, &mut z);
        z.iter().map(|z| f64::from(*z) * ends.start / ends.noisy.scale()).collect()
    });
    let mut stopped = false;
    let rate = |asks: &[RateQuery<'_>]| {
        let share = asks.iter().map(|a| (noisy - a.t) / (noisy - clean)).fold(1.0, f64::min);
        stopped = stopped || !progress(share);
        if stopped {
            return asks.iter().map(|a| vec![0.0; a.y.len()]).collect();
        }
        let at: Vec<At> = asks.iter().map(|a| At::from(ends::level(a.t, &level_at))).collect();
        let xs = asks.iter().zip(&at).map(|(a, at)| (a.y, at.level.scale()));
        let guess = to_host(
            denoiser.denoise(pictures(xs, shape, &device), &at, &cond.select(asks.iter().map(|a| a.problem))).x0,
        );
        let flow = |((a, at), d): ((&RateQuery<'_>, &At), &[f32])| {
            let cos = at.level.alpha / at.level.scale();
            a.y.iter().zip(d).map(|(z, d)| cos * z - f64::from(*d)).collect()
        };
        asks.iter().zip(&at).zip(guess.chunks(shape.iter().product())).map(flow).collect()
    };
    let solutions = integrator.solve(starts.collect(), (noisy, clean), 0, rate)?;
    if stopped {
        return Err(FlowError::Interrupted);
    }
    let at = vec![At::from(ends.clean); solutions.len()];
    let x = pictures(solutions.iter().map(|s| (s.y.as_slice(), ends.clean.scale())), shape, &device);
    let x = denoiser.denoise(x, &at, cond).x0;
    let evaluations: Vec<usize> = solutions.iter().map(|s| s.evaluations + 1).collect();
    match trace(&x).into_scalar::<f32>() == 0.0 {
        true => Ok((x, evaluations)),
        false => Err(FlowError::Strayed),
    }
}

/// `scale · z` as pictures.
fn pictures<'a>(zs: impl Iterator<Item = (&'a [f64], f64)>, [c, h, w]: [usize; 3], device: &Device) -> Tensor<4> {
    let values: Vec<f32> = zs.flat_map(|(z, scale)| z.iter().map(move |z| (scale * z) as f32)).collect();
    let n = values.len() / (c * h * w).max(1);
    Tensor::from_data(TensorData::new(values, [n, c, h, w]), device)
}
