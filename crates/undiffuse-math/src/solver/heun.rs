//! Heun's method.

use super::{Solver, one_step, plan_of, ratio};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
};
use serde::{Deserialize, Serialize};

/// An Euler step in `sigma / alpha`, corrected by the trapezoidal rule [Karras22, Algorithm 1].
///
/// With `x_e` the Euler step's end and `D_e` the denoised image there, the corrected point is `x_e + alpha' (1 - r) /
/// (2 r) · (D_e - D)`: the correction needs no older `x`. Where `r = 0`, from pure noise and to the clean end, the
/// Euler step stands alone.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Heun {}

impl Solver for Heun {
    fn plan(&self, levels: &[NoiseLevel]) -> Plan {
        let rows = levels.windows(2).flat_map(|pair| {
            let (from, to) = (pair[0], pair[1]);
            let r = ratio(from, to);
            let correction = (r > 0.0).then(|| {
                let weight = to.alpha * (1.0 - r) / (2.0 * r);
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
