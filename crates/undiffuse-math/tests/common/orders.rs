//! Measured orders of convergence: `dy/ds = (y - D) / s` in `y = x / alpha` for data whose denoiser is exact.

use super::{Mixture, run};
use undiffuse_math::prelude::*;

/// Where the walks begin and end, in log-SNR; every schedule contains both. The second-order errors that the first and
/// last steps of many methods leave are visible there beside those of the steps between.
const ENDS: (f64, f64) = (-3.0, 3.0);

/// Enough for the leading error to show, and whole steps of up to three stages.
pub const STEPS: usize = 768;

/// A problem and its solution: data, and `y` at both ends.
pub struct Problem {
    data: Mixture,
    noisy: f64,
    clean: f64,
}

impl Problem {
    /// Two modes, and classical Runge-Kutta in `ln s` with steps a hundred times finer.
    pub fn mixture() -> Self {
        let data = Mixture(vec![(0.3, -1.0, 0.2), (0.7, 0.8, 0.3)]);
        let noisy = 0.95;
        let count = 20_000;
        let ln_s = |log_snr: f64| -log_snr / 2.0;
        let h = (ln_s(ENDS.1) - ln_s(ENDS.0)) / f64::from(count);
        let slope = |ln_s: f64, y: f64| y - data.denoise(y, NoiseLevel { alpha: 1.0, sigma: ln_s.exp() });
        let clean = (0..count).fold(noisy, |y, i| {
            let at = ln_s(ENDS.0) + h * f64::from(i);
            let k1 = slope(at, y);
            let k2 = slope(at + h / 2.0, y + h / 2.0 * k1);
            let k3 = slope(at + h / 2.0, y + h / 2.0 * k2);
            let k4 = slope(at + h, y + h * k3);
            y + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        });
        Self { data, noisy, clean }
    }

    /// Normal data, for which the ODE keeps `(y - mean) / sqrt(std² + s²)`.
    pub fn gaussian() -> Self {
        let (mean, std) = (0.4, 0.3);
        let y = |log_snr: f64| mean + 1.3 * f64::hypot(std, (-log_snr / 2.0).exp());
        Self { data: Mixture(vec![(1.0, mean, std)]), noisy: y(ENDS.0), clean: y(ENDS.1) }
    }

    /// How far off a walk of `n` equal steps in log-SNR ends.
    pub fn error(&self, schedule: &dyn Schedule, solver: &dyn Solver, n: usize) -> f64 {
        let at = |i: usize| schedule.level_at(ENDS.0 + (ENDS.1 - ENDS.0) * i as f64 / n as f64);
        let levels: Vec<_> = (0..=n).map(at).collect();
        let (noisy, clean) = ((self.noisy, levels[0]), (self.clean, levels[n]));
        let (begin, end) = if solver.rises() { (clean, noisy) } else { (noisy, clean) };
        let made = run(&solver.plan(&levels).unwrap(), begin.0 * begin.1.alpha, |x, at| self.data.denoise(x, at));
        (made / end.1.alpha - end.0).abs()
    }

    /// The order that twice as many steps show.
    pub fn order(&self, schedule: &dyn Schedule, solver: &dyn Solver, steps: usize) -> f64 {
        (self.error(schedule, solver, steps) / self.error(schedule, solver, 2 * steps)).log2()
    }
}
