//! Times that matter more often.

use super::{Timing, Uniform};
use crate::{registry::require, schedule::Schedule};
use serde::{Deserialize, Serialize};

/// Equal parts that the range of times is cut into.
const PARTS: usize = 64;
/// Losses seen in every part before they count.
const ENOUGH: u32 = 10;
/// Share of draws that stays uniform.
const UNIFORM: f64 = 0.001;

/// Times drawn in proportion to the root mean square of the loss seen there, each weighted by the inverse of its density:
/// the mean loss is that of [`Uniform`] times, its variance smaller [Nichol21, Eq. 18].
///
/// The losses are state of a training run; in a configuration they are left out, which means uniform times until enough
/// have been seen: ten in each of 64 equal parts of the range.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Importance {
    /// Mean square of the latest losses in each part.
    pub squares: Vec<f32>,
    /// Losses seen in each part.
    pub seen: Vec<u32>,
}

impl Importance {
    /// Takes note of losses, as they are under uniform times, at the quantiles at which they were drawn.
    pub fn observe(&mut self, losses: &[(f64, f64)]) {
        // What was drawn together was drawn by one table.
        let parts: Vec<usize> = losses.iter().map(|(u, _)| self.part(*u).0).collect();
        self.squares.resize(PARTS, 0.0);
        self.seen.resize(PARTS, 0);
        for (part, (_, loss)) in parts.into_iter().zip(losses) {
            // About the mean of the last ten.
            let rate = 1.0 / f64::from(self.seen[part].min(ENOUGH - 1) + 1);
            let square = f64::from(self.squares[part]);
            self.squares[part] = (square + rate * (loss * loss - square)) as f32;
            self.seen[part] = self.seen[part].saturating_add(1);
        }
    }

    /// The probability of each part.
    fn shares(&self) -> Option<Vec<f64>> {
        let known = self.seen.len() == PARTS && self.seen.iter().all(|&n| n >= ENOUGH);
        let roots: Vec<f64> = self.squares.iter().map(|s| f64::from(*s).sqrt()).collect();
        let total: f64 = roots.iter().sum();
        (known && total > 0.0 && total.is_finite())
            .then(|| roots.iter().map(|r| (1.0 - UNIFORM) * r / total + UNIFORM / PARTS as f64).collect())
    }

    /// The part that holds quantile `u`, how far into it `u` is, and its probability.
    fn part(&self, u: f64) -> (usize, f64, f64) {
        let Some(shares) = self.shares() else {
            let x = u * PARTS as f64;
            let part = (x as usize).min(PARTS - 1);
            return (part, x - part as f64, 1.0 / PARTS as f64);
        };
        let mut below = 0.0;
        for (part, share) in shares.iter().enumerate() {
            if u < below + share || part + 1 == PARTS {
                return (part, ((u - below) / share).clamp(0.0, 1.0), *share);
            }
            below += share;
        }
        (0, 0.0, 1.0)
    }

    /// The quantile of the uniform timing that `u` stands for.
    fn uniform(&self, u: f64) -> f64 {
        let (part, inside, _) = self.part(u);
        (part as f64 + inside) / PARTS as f64
    }
}

impl Timing for Importance {
    fn time(&self, schedule: &dyn Schedule, u: f64) -> f64 {
        Uniform {}.time(schedule, self.uniform(u))
    }

    fn rate(&self, schedule: &dyn Schedule, u: f64) -> f64 {
        Uniform {}.rate(schedule, self.uniform(u))
    }

    fn correction(&self, u: f64) -> f64 {
        1.0 / (PARTS as f64 * self.part(u).2)
    }

    fn check(&self) -> Result<(), String> {
        require(self.squares.len() == self.seen.len() && [0, PARTS].contains(&self.seen.len()), || {
            format!("squares and seen need {PARTS} entries each, or none")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Linear;

    /// The mean of any function of time is that under uniform times, and the variance of the losses that were observed is
    /// smaller.
    #[test]
    fn unbiased_with_less_variance() {
        let schedule = Linear::default();
        let loss = |t: f64| 5.0 * (-t / 100.0).exp() + 0.1;
        let mut timing = Importance::default();
        let mean_and_variance = |timing: &Importance| {
            let n = 40_000;
            let draws: Vec<f64> = (0..n)
                .map(|i| (f64::from(i) + 0.5) / f64::from(n))
                .map(|u| loss(timing.time(&schedule, u)) * timing.correction(u))
                .collect();
            let mean = draws.iter().sum::<f64>() / f64::from(n);
            (mean, draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / f64::from(n))
        };
        let before = mean_and_variance(&timing);
        for i in 0..2000 {
            let u = (f64::from(i) * 0.618_034).fract();
            let seen = loss(timing.time(&schedule, u));
            timing.observe(&[(u, seen)]);
        }
        let after = mean_and_variance(&timing);
        assert!((before.0 / after.0 - 1.0).abs() < 1e-2, "{before:?} {after:?}");
        assert!(after.1 < 0.02 * before.1, "{before:?} {after:?}");
    }
}
