//! The weighted square error of what the network answers.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use undiffuse_math::draw::Draw;

use super::{Context, Loss, PixelMoments, Trivial, of_pictures};
use crate::train::noise::NoiseConfig;

/// Quantiles of the training times that an expectation is a mean over.
const QUANTILES: usize = 1000;

/// `w ‖F - target‖²`, where `target = c x0 + d eps` is what the parameterization has the network answer: with `w out⁻²` the
/// weighting, it is the weighted `‖D - x0‖²` [Ho20, Eq. 14; Karras22, Eq. 8].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Denoising {}

/// The square errors, unweighted: `[B, C, H, W]`.
pub(super) fn square_errors(context: &Context, answer: Tensor<4>) -> Tensor<4> {
    let error = answer - context.mixed(|draw| [draw.scaling.target_x0, draw.scaling.target_eps]);
    error.clone() * error
}

impl Loss for Denoising {
    fn losses(&self, context: &Context) -> Tensor<1> {
        of_pictures(square_errors(context, context.output()) * context.each(Draw::target_weight))
    }

    /// A network that answers zero scores `E[w (c² E[x0²] + d²)]`; the best guess of each number from itself alone
    /// `E[weight · mean v σ² / (α² v + σ²)]`, the error of a Wiener filter.
    fn trivial(&self, noise: &NoiseConfig, moments: &PixelMoments) -> Trivial {
        let NoiseConfig { schedule, parameterization, weighting, timing, .. } = noise;
        let (mut zero, mut pixelwise) = (0.0, 0.0);
        for k in 0..QUANTILES {
            let u = (k as f64 + 0.5) / QUANTILES as f64;
            let draw = Draw::new(&**schedule, &**parameterization, &**weighting, &**timing, u);
            let (alpha2, sigma2) = (draw.level.alpha.powi(2), draw.level.sigma.powi(2));
            let target = draw.scaling.target_x0.powi(2) * moments.square + draw.scaling.target_eps.powi(2);
            zero += draw.target_weight() * target;
            let errors =
                moments.variances.iter().map(|(v, share)| share * v * sigma2 / (alpha2 * v + sigma2).max(1e-300));
            pixelwise += draw.weight * draw.correction * errors.sum::<f64>();
        }
        Trivial { zero: zero / QUANTILES as f64, pixelwise: pixelwise / QUANTILES as f64 }
    }
}
