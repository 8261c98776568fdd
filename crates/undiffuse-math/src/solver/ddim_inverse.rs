//! DDIM backwards.

use super::{
    Solver, ratio,
    terms::{Tape, Terms},
};
use crate::{level::NoiseLevel, plan::Plan, registry::require};
use serde::{Deserialize, Serialize};

/// Deterministic DDIM walked from the last level to the first: a picture becomes the noise from which
/// [`Ddim`](super::Ddim) makes that picture [Song21c, section 4.3; diffusers, `DDIMInverseScheduler`].
///
/// The step that is to be undone, from `x'` up at `(alpha', sigma')` down to `x` at `(alpha, sigma)`, used the `eps`
/// of `x'`: `x' = (alpha' / alpha) x + (1 - rho) sigma' eps(x')`, `rho = (sigma / alpha) / (sigma' / alpha')`. The
/// first guess of `x'` for the right-hand side is `x` itself, so its row asks the denoiser about `x` as if it were at
/// the upper level already; every further iteration takes the `x'` that it got, which converges to what DDIM would
/// really undo [Pan23, fixed-point iteration].
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DdimInverse {
    /// Evaluations a step.
    pub iterations: usize,
}

impl Default for DdimInverse {
    fn default() -> Self {
        Self { iterations: 1 }
    }
}

impl Solver for DdimInverse {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let mut tape = Tape::default();
        for pair in levels.windows(2).rev() {
            let (from, to) = (pair[1], pair[0]);
            let mut base = None;
            for _ in 0..self.iterations {
                let here = tape.evaluate(to);
                let base = *base.get_or_insert(here);
                let mut sum = Terms::x(base) * (to.alpha / from.alpha);
                if to != from {
                    sum = sum + tape.eps(here) * (to.sigma * (1.0 - ratio(to, from)));
                }
                tape.step(to, sum);
            }
        }
        // It starts from a picture.
        Plan { init_noise_sigma: 0.0, ..tape.plan() }
    }

    fn nfe(&self, levels: &[NoiseLevel]) -> usize {
        levels.len().saturating_sub(1).saturating_mul(self.iterations)
    }

    fn order(&self) -> Option<f64> {
        Some(1.0)
    }

    fn rises(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        require((1..=100).contains(&self.iterations), || {
            format!("iterations must lie between 1 and 100, is {}", self.iterations)
        })
    }
}
