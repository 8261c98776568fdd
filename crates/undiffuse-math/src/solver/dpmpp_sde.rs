//! DPM-Solver++ of the reverse SDE, single step.

use super::{
    Solver,
    ancestral::{ancestral, part_way},
    ddim, one_step, plan_of, ratio,
};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
};
use serde::{Deserialize, Serialize};

/// Two evaluations a step: an ancestral step half way in log-SNR, then the whole step with the `D_m` found there
/// [k-diffusion, `sample_dpmpp_sde`, `r = 1/2`]. With `down` the share of `x` that an ancestral step keeps, `s_down /
/// s`: `x' = alpha' (down x / alpha + (1 - down) D_m) + alpha' s_up z`. From pure noise and to the clean end the
/// ancestral step stands alone.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpmppSde {
    /// Share of the SDE's noise.
    pub eta: f64,
    /// Whether the noise of the whole step contains that of its first half, as on one path of the SDE; only then are
    /// mean and covariance right to second order. k-diffusion's Brownian tree does so too, with a path in `sigma`.
    pub one_path: bool,
}

impl Default for DpmppSde {
    fn default() -> Self {
        Self { eta: 1.0, one_path: true }
    }
}

impl Solver for DpmppSde {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let rows = levels.windows(2).flat_map(|pair| {
            let (from, to) = (pair[0], pair[1]);
            let whole = ancestral(from, to, self.eta);
            if !has_middle(from, to) {
                return vec![one_step(from, to, whole.noise)];
            }
            let middle = part_way(from, to, ratio(from, to).sqrt());
            let (first, second) = (ancestral(from, middle, self.eta), ancestral(middle, to, self.eta));
            let half = one_step(from, middle, first.noise);
            // What the second half would keep of the first half's noise.
            let carried = if self.one_path { to.alpha / middle.alpha * second.down } else { 0.0 };
            let fresh = (whole.noise.powi(2) - (carried * first.noise).powi(2)).max(0.0).sqrt();
            let kept = to.alpha / from.alpha * whole.down;
            // With all of the noise the second half starts from the first one's end, and nothing else.
            let older = kept - carried * half.x[0];
            let x = if older.abs() < 1e-14 * kept { vec![carried] } else { vec![carried, older] };
            let denoised = vec![to.alpha * (1.0 - whole.down), -carried * half.denoised[0]];
            vec![half, Row { level: middle, time: None, next: to, x, denoised, noise: fresh }]
        });
        plan_of(levels, rows.collect())
    }

    fn nfe(&self, levels: &[NoiseLevel]) -> usize {
        levels.windows(2).map(|pair| 1 + usize::from(has_middle(pair[0], pair[1]))).sum()
    }

    fn order(&self) -> Option<f64> {
        (self.eta == 0.0).then_some(2.0)
    }

    fn weak_order(&self) -> Option<f64> {
        (self.eta > 0.0).then_some(if self.one_path { 2.0 } else { 1.0 })
    }

    fn check(&self) -> Result<(), String> {
        ddim::check_eta(self.eta)
    }
}

fn has_middle(from: NoiseLevel, to: NoiseLevel) -> bool {
    let r = ratio(from, to);
    r > 0.0 && r < 1.0
}
