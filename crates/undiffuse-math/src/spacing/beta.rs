//! Levels at the quantiles of a beta distribution.

use super::{Ends, Point, Round, Spacing, along_sigma, ramp};
use crate::{registry::require, schedule::Schedule};
use serde::{Deserialize, Serialize};

/// `sigma_i = sigma_min + Q(1 - i / (n - 1)) · (sigma_max - sigma_min)` in `sigma / alpha`, `Q` the quantile function of
/// `Beta(alpha, beta)`. With both parameters below 1 the levels crowd at either end.
///
/// This is how diffusers reads \[Lee24\] (`use_beta_sigmas`): the paper chooses timesteps by the distribution, not
/// `sigma`.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Beta {
    /// Less than 1 spends more steps at low noise.
    pub alpha: f64,
    /// Less than 1 spends more steps at high noise.
    pub beta: f64,
    /// Cleanest `sigma / alpha`, the schedule's own unless given.
    pub sigma_min: Option<f64>,
    /// Noisiest `sigma / alpha`, the schedule's own unless given.
    pub sigma_max: Option<f64>,
    /// How the timesteps of networks on tables are rounded.
    pub round: Round,
}

impl Default for Beta {
    fn default() -> Self {
        Self { alpha: 0.6, beta: 0.6, sigma_min: None, sigma_max: None, round: Round::None }
    }
}

impl Beta {
    fn ends(&self) -> Ends {
        Ends { sigma_min: self.sigma_min, sigma_max: self.sigma_max, round: self.round }
    }
}

impl Spacing for Beta {
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point> {
        along_sigma(schedule, self.ends(), ramp(steps, true), |share, max, min| {
            min + quantile(1.0 - share, self.alpha, self.beta) * (max - min)
        })
    }

    fn check(&self) -> Result<(), String> {
        let possible = |p: f64| (0.01..=100.0).contains(&p);
        require(possible(self.alpha) && possible(self.beta), || {
            format!("alpha and beta must lie between 0.01 and 100, are {} and {}", self.alpha, self.beta)
        })?;
        self.ends().check()
    }
}

/// The `x` below which a share `u` of `Beta(a, b)` lies, by bisection.
fn quantile(u: f64, a: f64, b: f64) -> f64 {
    if u <= 0.0 || u >= 1.0 {
        return u.clamp(0.0, 1.0);
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if share_below(middle, a, b) < u { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The regularized incomplete beta function `I_x(a, b)` by its continued fraction [DLMF, Eq. 8.17.22].
fn share_below(x: f64, a: f64, b: f64) -> f64 {
    if x > (a + 1.0) / (a + b + 2.0) {
        // The fraction converges fast below the mean only.
        return 1.0 - share_below(1.0 - x, b, a);
    }
    let coefficient = |n: usize| {
        let m = (n / 2) as f64;
        if n.is_multiple_of(2) {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        }
    };
    let fraction = (1..=200).rev().fold(1.0, |tail, n| 1.0 + coefficient(n) / tail);
    let log_beta = libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    (a * x.ln() + b * (-x).ln_1p() - log_beta).exp() / (a * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Beta(1, 1)` is uniform, `Beta(2, 1)` has the density `2 x`, `Beta(1/2, 1/2)` is the arcsine law.
    #[test]
    fn quantiles_in_closed_form() {
        for u in [1e-6, 0.01, 0.3, 0.5, 0.77, 0.999] {
            let arcsine = (std::f64::consts::FRAC_PI_2 * u).sin().powi(2);
            for (a, b, x) in [(1.0, 1.0, u), (2.0, 1.0, u.sqrt()), (0.5, 0.5, arcsine)] {
                assert!((quantile(u, a, b) - x).abs() < 1e-13, "{a} {b} {u}");
            }
        }
        assert_eq!((quantile(0.0, 0.6, 0.6), quantile(1.0, 0.6, 0.6)), (0.0, 1.0));
    }
}
