//! Normal data, on which samplers are followed exactly: every image is an affine function of the noises, so its mean and
//! variance are known without drawing any.

use undiffuse_math::prelude::*;

/// Normal data on the line. Along the axes of a covariance each coordinate walks alone, so several of these are one
/// normal distribution that is narrow in one direction and wide in another.
#[derive(Copy, Clone)]
pub struct Normal {
    pub mean: f64,
    pub std: f64,
}

impl Normal {
    /// Mean and variance of `x` at a level.
    pub fn at(self, level: NoiseLevel) -> (f64, f64) {
        (level.alpha * self.mean, (level.alpha * self.std).powi(2) + level.sigma.powi(2))
    }

    /// The answer that a solver asks for, `a + b x`: `E[x0 | x]`, or the end of the probability-flow ODE.
    fn answer(self, solver: &dyn Solver, level: NoiseLevel) -> (f64, f64) {
        let (mean, variance) = self.at(level);
        let slope = match solver.wants_consistency() {
            true => self.std / variance.sqrt(),
            false => level.alpha * self.std * self.std / variance,
        };
        (self.mean - slope * mean, slope)
    }

    /// What a plan makes from noise that has the true distribution of the first level.
    pub fn sampled(self, solver: &dyn Solver, plan: &Plan) -> (f64, f64) {
        moments(plan, self.at(plan.rows[0].level), |level| self.answer(solver, level))
    }

    /// By what shares mean and variance are wrong after `n` steps in log-SNR over the middle of the range, where every
    /// method is in its asymptotic regime, ending at log-SNR 6.
    pub fn errors(self, schedule: &dyn Schedule, solver: &dyn Solver, n: usize) -> (f64, f64) {
        let levels: Vec<_> = (0..=n).map(|i| schedule.level_at(-5.0 + 11.0 * i as f64 / n as f64)).collect();
        let (mean, variance) = self.sampled(solver, &solver.plan(&levels).unwrap());
        let (true_mean, true_variance) = self.at(levels[n]);
        ((mean / true_mean - 1.0).abs(), (variance / true_variance - 1.0).abs())
    }

    /// The weak order that twice as many steps show: the lesser one of mean and variance, where a mean that is exact
    /// has none.
    pub fn weak_order(self, schedule: &dyn Schedule, solver: &dyn Solver, n: usize) -> f64 {
        let (coarse, fine) = (self.errors(schedule, solver, n), self.errors(schedule, solver, 2 * n));
        let of_mean = if fine.0 > 1e-9 { (coarse.0 / fine.0).log2() } else { f64::INFINITY };
        of_mean.min((coarse.1 / fine.1).log2())
    }
}

/// Mean and variance of what a plan makes of normal `x` with the given moments at its first level, when the answer to
/// `x` is `answer(level).0 + answer(level).1 · x`. No noise is drawn: means and covariances of the images that rows
/// still read are followed through the coefficients.
pub fn moments(plan: &Plan, start: (f64, f64), answer: impl Fn(NoiseLevel) -> (f64, f64)) -> (f64, f64) {
    let lags = plan.rows.iter().map(|row| row.x.len().max(row.denoised.len())).max().unwrap_or(1);
    let mut mean = vec![start.0];
    let mut covariance = vec![vec![start.1]];
    let mut answers = Vec::new();
    for row in &plan.rows {
        answers.insert(0, answer(row.level));
        let at = |list: &[f64], lag: usize| list.get(lag).copied().unwrap_or(0.0);
        let n = mean.len();
        let weights: Vec<f64> = (0..n).map(|l| at(&row.x, l) + at(&row.denoised, l) * answers[l].1).collect();
        let constant: f64 = (0..n).map(|l| at(&row.denoised, l) * answers[l].0).sum();
        let dot = |a: &[f64]| a.iter().zip(&weights).map(|(a, w)| a * w).sum::<f64>();
        let with_old: Vec<f64> = covariance.iter().map(|line| dot(line)).collect();
        let variance = dot(&with_old) + row.noise.powi(2);
        mean.insert(0, constant + dot(&mean));
        for (line, c) in covariance.iter_mut().zip(&with_old) {
            line.insert(0, *c);
        }
        covariance.insert(0, [&[variance], &with_old[..]].concat());
        mean.truncate(lags);
        answers.truncate(lags);
        covariance.truncate(lags);
        covariance.iter_mut().for_each(|line| line.truncate(lags));
    }
    (mean[0], covariance[0][0])
}
