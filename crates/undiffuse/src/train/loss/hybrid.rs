//! The square error and a thousandth of the variational bound.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use undiffuse_math::draw::Draw;
use undiffuse_math::likelihood::{LearnedStep, learned_step};
use undiffuse_math::prelude::TimingKind;
use undiffuse_math::recipe::Learned;

use super::denoising::{Denoising, square_errors};
use super::{Context, Loss, PixelMoments, Trivial, of_pictures};
use crate::train::noise::NoiseConfig;

/// The standard deviation of a uniform number in a pixel value's interval.
const ROUNDING: f64 = 1.0 / 127.5 / 3.464_101_615_137_754_6;

/// [`Denoising`], and a thousandth of the whole bound in bits, by which the network learns the variance of ancestral sampling's
/// steps; it answers that in as many more channels [Nichol21, Eq. 15 and 16].
///
/// A step's term with the variance `p²` is `(ln p² - ln q² - 1 + (q² + gap e) / p²) / 2` nats a number, where `q²` is the
/// posterior's, `e` the network's square error and `gap` the way from that to the error of the step's mean.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hybrid {}

impl Loss for Hybrid {
    fn outputs(&self, channels: usize) -> usize {
        2 * channels
    }

    fn learned_variance(&self) -> Option<Learned> {
        Some(Learned::Range)
    }

    fn problem(&self, noise: &NoiseConfig) -> Option<String> {
        let even = matches!(noise.timing, TimingKind::Uniform(_) | TimingKind::Importance(_));
        let timing = &noise.timing;
        (!even).then(|| format!("loss = \"hybrid\" needs noise.timing uniform or importance, not {timing}"))
    }

    fn losses(&self, context: &Context) -> Tensor<1> {
        let channels = context.draws.shape[1];
        let output = context.output();
        let (answer, variance) = (output.clone().narrow(1, 0, channels), output.narrow(1, channels, channels));
        let square = square_errors(context, answer);
        let schedule = &*context.noise.schedule;
        let steps: Vec<(LearnedStep, &Draw)> =
            context.draws.each.iter().map(|draw| (learned_step(schedule, draw.time, ROUNDING), draw)).collect();
        let each = |of: fn(&(LearnedStep, &Draw)) -> f64| context.per_picture(steps.iter().map(of));
        let low = |(step, _): &(LearnedStep, &Draw)| rounded(step.log_variances.0);
        let half_width =
            |(step, _): &(LearnedStep, &Draw)| (rounded(step.log_variances.1) - rounded(step.log_variances.0)) / 2.0;
        let log_p = (variance + 1.0) * each(half_width) + each(low);
        // The mean is learned by its own loss alone: the bound's is too noisy [Nichol21, section 3.1].
        let gap = each(|(step, draw)| (step.weight * draw.scaling.out).powi(2));
        let spread = square.clone().detach() * gap + each(|(step, _)| step.posterior.powi(2));
        let log_q = each(|(step, _)| f64::from((step.posterior.powi(2) as f32).ln() + 1.0));
        let nats = (log_p.clone() - log_q + spread * (-log_p).exp()) * 0.5;
        let count = schedule.discrete_steps().unwrap_or(1000) as f64;
        let scale = context.each(|draw| count / 1000.0 / std::f64::consts::LN_2 * draw.correction);
        of_pictures(square * context.each(Draw::target_weight) + nats * scale)
    }

    fn trivial(&self, noise: &NoiseConfig, moments: &PixelMoments) -> Trivial {
        Denoising::default().trivial(noise, moments)
    }
}

/// The number as it is kept in a model's output range.
fn rounded(log_variance: f64) -> f64 {
    f64::from(log_variance as f32)
}
