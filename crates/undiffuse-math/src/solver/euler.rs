//! Euler's method.

use super::{Solver, one_step, plan_by_step};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// One Euler step of `dy/ds = (y - D) / s` in `y = x / alpha`, `s = sigma / alpha` [Karras22, Algorithm 1 without
/// correction]: `x' = (sigma' / sigma) x + (alpha' - alpha sigma' / sigma) D`, the same as deterministic DDIM, and on
/// rectified flow the same as an Euler step along the velocity.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Euler {}

impl Solver for Euler {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        plan_by_step(levels, |from, to| one_step(from, to, 0.0))
    }

    fn order(&self) -> Option<f64> {
        Some(1.0)
    }
}
