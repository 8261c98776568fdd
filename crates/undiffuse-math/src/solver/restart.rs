//! Restart sampling.

use super::{Heun, Solver, raise::raise};
use crate::{level::NoiseLevel, plan::Plan, registry::require};
use serde::{Deserialize, Serialize};

/// [`Heun`] down to `s_min`, then `repeats` times: noise back up to `s_max`, and Heun down again [Xu23, Algorithm 1].
///
/// The forward noise makes the errors of the way down matter less; done in one piece it does more of that for the same
/// number of evaluations than noise in every step. The ends of the interval are the walk's own levels nearest to
/// `s_min` and `s_max`, and each descent walks the levels between them; where the two are the same level nothing is
/// restarted. The noise belongs to the row before.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Restart {
    /// How often the interval is walked again.
    pub repeats: usize,
    /// `sigma / alpha` from which noise is put back.
    pub s_min: f64,
    /// `sigma / alpha` up to which noise is put back.
    pub s_max: f64,
}

impl Default for Restart {
    /// An interval of the paper's Table 3.
    fn default() -> Self {
        Self { repeats: 2, s_min: 0.06, s_max: 0.3 }
    }
}

impl Solver for Restart {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let heun = Heun::default();
        let Some((top, bottom)) = self.interval(levels) else { return heun.unchecked_plan(levels) };
        let mut plan = heun.unchecked_plan(&levels[..=bottom]);
        for _ in 0..self.repeats {
            plan.rows.last_mut().into_iter().for_each(|row| raise(row, levels[top], 1.0));
            plan.rows.extend(heun.unchecked_plan(&levels[top..=bottom]).rows);
        }
        plan.rows.extend(heun.unchecked_plan(&levels[bottom..]).rows);
        plan
    }

    fn nfe(&self, levels: &[NoiseLevel]) -> usize {
        let heun = Heun::default();
        let again = self.interval(levels).map_or(0, |(top, bottom)| heun.nfe(&levels[top..=bottom]));
        heun.nfe(levels).saturating_add(again.saturating_mul(self.repeats))
    }

    fn order(&self) -> Option<f64> {
        (self.repeats == 0).then_some(2.0)
    }

    fn weak_order(&self) -> Option<f64> {
        (self.repeats > 0).then_some(2.0)
    }

    fn check(&self) -> Result<(), String> {
        require(0.0 < self.s_min && self.s_min < self.s_max && self.s_max.is_finite(), || {
            format!("needs 0 < s_min < s_max, has s_min = {} and s_max = {}", self.s_min, self.s_max)
        })?;
        require(self.repeats <= 10_000, || format!("repeats must be at most 10000, is {}", self.repeats))
    }
}

impl Restart {
    /// The places of the levels between which the walk is repeated.
    fn interval(&self, levels: &[NoiseLevel]) -> Option<(usize, usize)> {
        let interval = (nearest(levels, self.s_max)?, nearest(levels, self.s_min)?);
        Some(interval).filter(|(top, bottom)| top < bottom)
    }
}

/// The level whose `ln(sigma / alpha)` is nearest to that of `s`, among those that have signal and noise.
fn nearest(levels: &[NoiseLevel], s: f64) -> Option<usize> {
    let distance = |i: &usize| (levels[*i].sigma_edm() / s).ln().abs();
    let inner = (0..levels.len()).filter(|i| levels[*i].alpha > 0.0 && levels[*i].sigma > 0.0);
    inner.min_by(|a, b| distance(a).total_cmp(&distance(b)))
}
