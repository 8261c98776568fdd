//! Heun's method.

use super::{Along, Solver, one_step, plan_of};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
};
use serde::{Deserialize, Serialize};

/// An Euler step in `sigma / alpha` or flow time, corrected by the trapezoidal rule [Karras22, Algorithm 1].
///
/// With `x_e` the Euler step's end and `D_e` the denoised image there, the corrected point is `x_e + c' (1 - rho) /
/// (2 rho) · (D_e - D)`, `rho` being the ratio of the coordinates of [`Along`] and `c` its scale (`r` and `alpha` along
/// sigma): the correction needs no older `x`. Where `rho = 0`, to the clean end and along sigma from pure noise, the
/// Euler step stands alone.
#[doc = include_str!("rows/heun.txt")]
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Heun {
    /// The line along which the rule is applied.
    pub along: Along,
}

impl Solver for Heun {
    fn plan(&self, levels: &[NoiseLevel]) -> Plan {
        let rows = levels.windows(2).flat_map(|pair| {
            let (from, to) = (pair[0], pair[1]);
            let r = self.along.ratio(from, to);
            let correction = (r > 0.0).then(|| {
                let weight = self.along.scale(to) * (1.0 - r) / (2.0 * r);
                Row { level: to, time: None, to, x: vec![1.0], denoised: vec![weight, -weight], noise: 0.0 }
            });
            [one_step(from, to, 0.0)].into_iter().chain(correction)
        });
        plan_of(levels, rows.collect())
    }

    fn order(&self) -> Option<f64> {
        Some(2.0)
    }
}
