//! Mixtures of round Gaussians in the plane, whose density, score and denoiser are known exactly.

use std::f64::consts::{PI, TAU};

use undiffuse_math::noise;

/// Marks the stream that components are picked from, beside the one of the same number that noise is drawn from.
const PICK: u64 = 1 << 63;

/// `Σ weight · N(mean, std² I)` in two dimensions.
#[derive(Clone, Debug)]
pub struct Mixture {
    /// Weights, which sum to 1.
    pub weights: Vec<f64>,
    /// Centres.
    pub means: Vec<[f64; 2]>,
    /// Standard deviation of every component, along each axis.
    pub std: f64,
}

impl Mixture {
    /// `1/5 N((−5, −5), I) + 4/5 N((5, 5), I)` \[Song19, section 3.2.1\].
    pub fn two_modes() -> Self {
        Self { weights: vec![0.2, 0.8], means: vec![[-5.0, -5.0], [5.0, 5.0]], std: 1.0 }
    }

    /// 25 equal Gaussians of deviation 0.05 on the grid {−4, −2, 0, 2, 4}² \[Srivastava17; Lin18\].
    pub fn grid() -> Self {
        let axis = [-4.0, -2.0, 0.0, 2.0, 4.0];
        let means = axis.iter().flat_map(|&x| axis.iter().map(move |&y| [x, y])).collect();
        Self { weights: vec![1.0 / 25.0; 25], means, std: 0.05 }
    }

    /// A roll: 120 equal Gaussians of deviation 0.03 at equal distances along the spiral `r = a / 13.5`, `a` from
    /// `3π/2` to `9π/2`.
    pub fn roll() -> Self {
        const TURNS: [f64; 2] = [1.5 * PI, 4.5 * PI];
        let n = 120;
        // Along r = a the length grows nearly as a² / 2: equal steps of a² are equal steps of length.
        let means = (0..n).map(|i| {
            let share = (i as f64 + 0.5) / n as f64;
            let a = (TURNS[0].powi(2) + share * (TURNS[1].powi(2) - TURNS[0].powi(2))).sqrt();
            [a * a.cos() / 13.5, a * a.sin() / 13.5]
        });
        Self { weights: vec![1.0 / n as f64; n], means: means.collect(), std: 0.03 }
    }

    /// Root mean square of a coordinate.
    pub fn deviation(&self) -> f64 {
        let square = |m: &[f64; 2]| 0.5 * (m[0] * m[0] + m[1] * m[1]);
        let means: f64 = self.weights.iter().zip(&self.means).map(|(w, m)| w * square(m)).sum();
        (means + self.std * self.std).sqrt()
    }

    /// Each component's share in the density of `x` after noise of deviation `sigma` was added, and the log of that
    /// density.
    fn shares(&self, x: [f64; 2], sigma: f64) -> (Vec<f64>, f64) {
        let variance = self.std * self.std + sigma * sigma;
        let logs: Vec<f64> =
            self.weights.iter().zip(&self.means).map(|(w, m)| w.ln() - 0.5 * square(x, *m) / variance).collect();
        let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut shares: Vec<f64> = logs.iter().map(|l| (l - top).exp()).collect();
        let total: f64 = shares.iter().sum();
        shares.iter_mut().for_each(|s| *s /= total);
        (shares, top + total.ln() - (TAU * variance).ln())
    }

    /// Log-density, in nats, after noise of deviation `sigma` was added.
    pub fn log_density(&self, x: [f64; 2], sigma: f64) -> f64 {
        self.shares(x, sigma).1
    }

    /// The score `∇ log p_sigma(x)`.
    pub fn score(&self, x: [f64; 2], sigma: f64) -> [f64; 2] {
        let variance = self.std * self.std + sigma * sigma;
        let (shares, _) = self.shares(x, sigma);
        [0, 1].map(|k| self.means.iter().zip(&shares).map(|(m, s)| s * (m[k] - x[k])).sum::<f64>() / variance)
    }

    /// `E[x₀ | x]` for `x = x₀ + sigma · ε`: `x + sigma² ∇ log p_sigma(x)` \[Efron11, Eq. 1.4\].
    pub fn denoised(&self, x: [f64; 2], sigma: f64) -> [f64; 2] {
        let score = self.score(x, sigma);
        [0, 1].map(|k| x[k] + sigma * sigma * score[k])
    }

    /// `n` points of stream `stream` with noise of deviation `sigma` added, `x` and `y` alternating.
    pub fn sample(&self, n: usize, sigma: f64, seed: u64, stream: u64) -> Vec<f32> {
        let mut points = vec![0f32; 2 * n];
        noise::normal(seed, stream, 0, &mut points);
        let std = self.std.hypot(sigma);
        for (i, point) in points.chunks_exact_mut(2).enumerate() {
            let mean = self.means[self.pick(noise::uniform(seed, PICK | stream, i as u64))];
            point.iter_mut().zip(mean).for_each(|(p, m)| *p = (m + std * f64::from(*p)) as f32);
        }
        points
    }

    fn pick(&self, u: f64) -> usize {
        let mut below = 0.0;
        let reached = |w: &f64| {
            below += w;
            u < below
        };
        self.weights.iter().position(reached).unwrap_or(self.weights.len() - 1)
    }

    /// The component whose centre is nearest to `x`, and the distance to it.
    pub fn nearest(&self, x: [f64; 2]) -> (usize, f64) {
        let distances = self.means.iter().map(|m| square(x, *m)).enumerate();
        let (i, d2) = distances.min_by(|a, b| a.1.total_cmp(&b.1)).expect("a mixture has components");
        (i, d2.sqrt())
    }
}

/// Points given as alternating `x` and `y`.
pub fn pairs(points: &[f32]) -> impl Iterator<Item = [f64; 2]> + '_ {
    points.chunks_exact(2).map(|p| [f64::from(p[0]), f64::from(p[1])])
}

fn square(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The score is the slope of the log-density, and one Gaussian's is known by heart.
    #[test]
    fn scores_are_slopes() {
        let one = Mixture { weights: vec![1.0], means: vec![[1.0, -2.0]], std: 0.6 };
        let s = one.score([0.0, 0.0], 0.8);
        assert!((s[0] - 1.0).abs() < 1e-12 && (s[1] + 2.0).abs() < 1e-12, "{s:?}");
        assert!((one.log_density([1.0, -2.0], 0.8) + (TAU).ln()).abs() < 1e-12);
        for mixture in [Mixture::two_modes(), Mixture::grid(), Mixture::roll()] {
            for (x, sigma) in [([0.3, -0.4], 0.0), ([-0.9, 0.2], 0.3), ([2.0, 1.0], 2.0)] {
                let h = 1e-5;
                let [dx, dy] = [[h, 0.0], [0.0, h]].map(|d| {
                    let at = |s: f64| mixture.log_density([x[0] + s * d[0], x[1] + s * d[1]], sigma);
                    (at(1.0) - at(-1.0)) / (2.0 * h)
                });
                let score = mixture.score(x, sigma);
                let error = (score[0] - dx).hypot(score[1] - dy) / (1.0 + dx.hypot(dy));
                assert!(error < 1e-5, "{error} at {x:?}, sigma {sigma}");
            }
        }
    }

    /// Mean and covariance of many samples are those of the mixture.
    #[test]
    fn samples_have_the_mixtures_moments() {
        let (mixture, sigma, n) = (Mixture::two_modes(), 2.0, 200_000);
        let points = mixture.sample(n, sigma, 3, 0);
        let mean = |f: &dyn Fn([f64; 2]) -> f64| pairs(&points).map(f).sum::<f64>() / n as f64;
        // Mean 0.8·5 − 0.2·5, second moment 25 + 1 + sigma², mixed moment 25.
        for (ours, truth) in [(mean(&|p| p[0]), 3.0), (mean(&|p| p[1] * p[1]), 30.0), (mean(&|p| p[0] * p[1]), 25.0)] {
            assert!((ours - truth).abs() < 0.15, "{ours} is not {truth}");
        }
    }
}
