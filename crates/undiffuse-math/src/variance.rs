//! Variances that a network answers beside the mean.

use crate::{level::NoiseLevel, plan::Plan, recipe::Learned};

impl Learned {
    /// The variance of the noise that the step from one level to the next adds, given the network's answer. There is
    /// none to add at the clean end, whatever the answer.
    pub fn variance(self, from: NoiseLevel, to: NoiseLevel, answer: f64) -> f64 {
        match self {
            _ if to.sigma == 0.0 => 0.0,
            Learned::Direct => answer.max(0.0),
            Learned::Range => interpolated(log_range(from, to), answer),
        }
    }
}

/// Logarithms of the variances of the posterior, `sigma'² (1 - r²)`, and of the forward step, `sigma² (1 - r²)` with
/// `r = (alpha sigma') / (alpha' sigma)`: the true one lies between them [Ho20, section 3.2]. Neither is taken below
/// `1e-20`, so both are finite at the clean end too.
pub fn log_range(from: NoiseLevel, to: NoiseLevel) -> (f64, f64) {
    let ratio = (from.alpha * to.sigma) / (to.alpha * from.sigma);
    let gap = 1.0 - if ratio.is_finite() { ratio * ratio } else { 1.0 };
    let log = |variance: f64| variance.max(1e-20).ln();
    (log(to.sigma * to.sigma * gap), log(from.sigma * from.sigma * gap))
}

/// The same for a step after another, `before`: at the clean end, where the posterior has no variance, that of the step
/// before stands in for it, as the code of [Nichol21, section 3.1] has it. The likelihood of pixel values needs it; samplers add nothing there.
pub fn log_range_after(before: Option<(NoiseLevel, NoiseLevel)>, from: NoiseLevel, to: NoiseLevel) -> (f64, f64) {
    let (small, large) = log_range(from, to);
    match before {
        Some((earlier, later)) if to.sigma == 0.0 => (log_range(earlier, later).0, large),
        _ => (small, large),
    }
}

/// The same for a row of a plan of ancestral sampling.
pub fn log_range_of(plan: &Plan, row: usize) -> (f64, f64) {
    let at = |row: usize| (plan.rows[row].level, plan.rows[row].next);
    log_range_after(row.checked_sub(1).map(at), at(row).0, at(row).1)
}

/// The variance that an answer in `[-1, 1]` means within a [`log_range`] [Nichol21, Eq. 15].
pub fn interpolated((small, large): (f64, f64), answer: f64) -> f64 {
    (small + 0.5 * (answer + 1.0) * (large - small)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_runs_between_the_two_fixed_variances() {
        // alpha_bar 0.36 -> 0.64: beta = 1 - 0.36 / 0.64, the posterior's beta · (1 - 0.64) / (1 - 0.36).
        let (from, to) = (NoiseLevel { alpha: 0.6, sigma: 0.8 }, NoiseLevel { alpha: 0.8, sigma: 0.6 });
        let beta = 1.0 - 0.36 / 0.64;
        for (answer, variance) in
            [(1.0, beta), (-1.0, beta * 0.36 / 0.64), (0.0, beta * 0.75), (3.0, beta * (0.64 / 0.36))]
        {
            assert!((Learned::Range.variance(from, to, answer) / variance - 1.0).abs() < 1e-12, "{answer}");
        }
        assert_eq!(Learned::Direct.variance(from, to, 0.25), 0.25);
        assert_eq!(Learned::Direct.variance(from, to, -0.25), 0.0);
        for learned in [Learned::Direct, Learned::Range] {
            assert_eq!(learned.variance(from, NoiseLevel::CLEAN, 0.7), 0.0);
        }
        let pure = NoiseLevel { alpha: 0.0, sigma: 1.0 };
        assert_eq!(log_range(pure, to), ((0.36f64).ln(), 0.0));
    }
}
