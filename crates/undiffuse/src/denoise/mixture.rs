//! The exact denoiser of a mixture of Gaussians.

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::{At, Cond, Denoise, Guess};

/// The best denoiser there can be for data from `Σ weight · N(mean, std² I)`: `E[x0 | x]` by Bayes' rule.
///
/// An oracle to test samplers and likelihoods with, and with `std = 0` and one component for each picture of a training
/// set, the model that has learnt its data by heart. A component explains `x` with probability proportional to `weight ·
/// N(x; alpha mean, v I)`, `v = alpha² std² + sigma²`, and then guesses `mean + alpha std² / v · (x - alpha mean)`.
#[derive(Debug)]
pub struct Mixture {
    /// `[K, C·H·W]`.
    means: Tensor<2>,
    /// `ln weight` and `std` of each component.
    components: Vec<(f64, f64)>,
    device: Device,
}

impl Mixture {
    /// Components `(weight, mean, std)`, the means as `[C, H, W]` values.
    ///
    /// # Panics
    /// If there is no component, or means differ in length.
    pub fn new(components: &[(f64, Vec<f32>, f64)], device: &Device) -> Self {
        let dims = components.first().expect("a mixture has a component").1.len();
        let means: Vec<f32> = components.iter().flat_map(|c| c.1.iter().copied()).collect();
        let means = Tensor::from_data(TensorData::new(means, [components.len(), dims]), device);
        let total: f64 = components.iter().map(|c| c.0).sum();
        let components = components.iter().map(|c| ((c.0 / total).ln(), c.2)).collect();
        Self { means, components, device: device.clone() }
    }

    /// `ln N(x; alpha mean, v I)` of each picture and component, and each `v`.
    fn evidence(&self, x: &[f32], at: &At) -> Vec<f64> {
        let means: Vec<f32> = self.means.clone().into_data().try_into_vec_as().expect("means are numbers");
        let dims = x.len();
        let log_evidence = |(k, &(log_weight, std)): (usize, &(f64, f64))| {
            let v = (at.level.alpha * std).powi(2) + at.level.sigma.powi(2);
            let mean = &means[k * dims..(k + 1) * dims];
            let square: f64 =
                x.iter().zip(mean).map(|(x, m)| (f64::from(*x) - at.level.alpha * f64::from(*m)).powi(2)).sum();
            log_weight + undiffuse_math::likelihood::log_normal(square, dims, v.sqrt())
        };
        self.components.iter().enumerate().map(log_evidence).collect()
    }

    /// `ln p_t(x)` of one picture `[C, H, W]` at a noise level, in nats.
    pub fn log_density(&self, x: &[f32], at: impl Into<At>) -> f64 {
        let all = self.evidence(x, &at.into());
        let top = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        top + all.iter().map(|e| (e - top).exp()).sum::<f64>().ln()
    }
}

impl Denoise for Mixture {
    fn denoise(&self, x: Tensor<4>, at: &[At], _: &Cond) -> Guess {
        let [b, c, h, w] = x.dims();
        let (dims, k) = (c * h * w, self.components.len());
        let x = x.reshape([b, dims]);
        let table = |of: &dyn Fn(&At, &(f64, f64)) -> f64| {
            let values: Vec<f32> = at.iter().flat_map(|at| self.components.iter().map(|c| of(at, c) as f32)).collect();
            Tensor::<2>::from_data(TensorData::new(values, [b, k]), &self.device)
        };
        let variance = |at: &At, std: f64| (at.level.alpha * std).powi(2) + at.level.sigma.powi(2);
        let offset = table(&|at, &(log_weight, std)| log_weight - 0.5 * dims as f64 * variance(at, std).ln());
        let alpha = Tensor::<1>::from_data(
            TensorData::new(at.iter().map(|at| at.level.alpha as f32).collect(), [b]),
            &self.device,
        )
        .reshape([b, 1, 1]);
        // Differences first: the squares of large pictures lose the small ones that decide.
        let off = x.clone().reshape([b, 1, dims]) - self.means.clone().reshape([1, k, dims]) * alpha;
        let square = (off.clone() * off.clone()).sum_dim(2).reshape([b, k]);
        let share = activation::softmax(offset - square * table(&|at, &(_, std)| 0.5 / variance(at, std)), 1);
        let gain = table(&|at, &(_, std)| at.level.alpha * std * std / variance(at, std)).reshape([b, k, 1]);
        let guess = off * gain + self.means.clone().reshape([1, k, dims]);
        (guess * share.reshape([b, k, 1])).sum_dim(1).reshape([b, c, h, w]).into()
    }

    fn device(&self) -> Device {
        self.device.clone()
    }
}
