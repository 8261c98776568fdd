//! DPM-Solver-2 with noise put back.

use super::{
    Solver,
    ancestral::{Ancestral, ancestral, part_way},
    ddim, one_step, plan_of,
};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
};
use serde::{Deserialize, Serialize};

/// The midpoint rule in `s = sigma / alpha` down to `s_down`, evaluated half way in log-SNR as by DPM-Solver-2 \[Lu22\],
/// then noise up to `s'` as in [`EulerAncestral`](super::EulerAncestral) [k-diffusion, `sample_dpm_2_ancestral`].
///
/// With `q² = s_down / s` and `x_m` the Euler step to `q s`: `x' = alpha' (q x_m / alpha_m + (1/q - q) D_m - (1/q - 1)
/// D) + alpha' s_up z`, which needs no older `x`. Two evaluations a step; from pure noise and to the clean end the
/// Euler step stands alone.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpm2Ancestral {
    /// Share of the ancestral noise.
    pub eta: f64,
}

impl Default for Dpm2Ancestral {
    fn default() -> Self {
        Self { eta: 1.0 }
    }
}

impl Solver for Dpm2Ancestral {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        two_stage(levels, self.eta, |q| [1.0 / q - q, 1.0 - 1.0 / q])
    }

    fn nfe(&self, levels: &[NoiseLevel]) -> usize {
        nfe(levels, self.eta)
    }

    fn order(&self) -> Option<f64> {
        (self.eta == 0.0).then_some(2.0)
    }

    fn weak_order(&self) -> Option<f64> {
        (self.eta > 0.0).then_some(2.0)
    }

    fn check(&self) -> Result<(), String> {
        ddim::check_eta(self.eta)
    }
}

/// Steps of two rows: Euler to half way in log-SNR to `s_down`, then `x' = alpha' (q x_m / alpha_m + w · (D_m, D)) +
/// noise`, with the weights `w` a function of `q = sqrt(s_down / s)`.
pub(super) fn two_stage(levels: &[NoiseLevel], eta: f64, weights: impl Fn(f64) -> [f64; 2]) -> Plan {
    let rows = levels.windows(2).flat_map(|pair| {
        let (from, to) = (pair[0], pair[1]);
        let step = ancestral(from, to, eta);
        if !has_middle(from, &step) {
            return vec![one_step(from, to, step.noise)];
        }
        let q = step.down.sqrt();
        let middle = part_way(from, to, q);
        let denoised = weights(q).map(|w| to.alpha * w).to_vec();
        let x = vec![to.alpha / middle.alpha * q];
        vec![one_step(from, middle, 0.0), Row { level: middle, time: None, next: to, x, denoised, noise: step.noise }]
    });
    plan_of(levels, rows.collect())
}

/// How many rows [`two_stage`] makes.
pub(super) fn nfe(levels: &[NoiseLevel], eta: f64) -> usize {
    levels.windows(2).map(|pair| 1 + usize::from(has_middle(pair[0], &ancestral(pair[0], pair[1], eta)))).sum()
}

fn has_middle(from: NoiseLevel, step: &Ancestral) -> bool {
    step.down > 0.0 && step.down < 1.0 && from.alpha > 0.0
}
