//! DPM-Solver++(3M).

use super::{
    Correction, Solver,
    basis::{history, lambda},
    ratio,
    terms::{Tape, Terms},
};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// Third-order multistep solver in half log-SNR, linear part exact [diffusers, `DPMSolverMultistepScheduler` with
/// `solver_order = 3`; k-diffusion, `sample_dpmpp_3m_sde` without noise, which is `correction=heun,
/// lower_order_final=false`].
///
/// With `h` the step and `D1 = h D'`, `D2 = h² D'' / 2` by divided differences of the last three denoised images,
/// `x' = (sigma' / sigma) x + alpha' ((1 - e) D + p D1 - q D2)`, `e = exp(-h)`, `p = 1 - (1 - e) / h`, `q = p / h - 1/2`.
/// Taylor's theorem asks for `2 q` where both implementations have `q`, so the method stays one of second order, with
/// a smaller constant than 2M; the first step, of first order, would keep it there in any case.
#[doc = include_str!("rows/dpmpp-3m.txt")]
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpmpp3m {
    /// How steps of second order, at the beginning and the end, use the slope.
    pub correction: Correction,
    /// Whether plans of fewer than 15 steps end with steps of second and first order.
    pub lower_order_final: bool,
    /// Whether every plan ends with a first-order step. Steps to the clean end are of first order in any case.
    pub euler_at_final: bool,
}

impl Default for Dpmpp3m {
    fn default() -> Self {
        Self { correction: Correction::Midpoint, lower_order_final: true, euler_at_final: false }
    }
}

impl Solver for Dpmpp3m {
    fn plan(&self, levels: &[NoiseLevel]) -> Plan {
        let steps = levels.len().saturating_sub(1);
        let mut tape = Tape::default();
        for (i, pair) in levels.windows(2).enumerate() {
            let here = tape.evaluate(pair[0]);
            let left = steps - i;
            let most = match left {
                1 if self.euler_at_final => 1,
                1 | 2 if self.lower_order_final && steps < 15 => left,
                _ => 3,
            };
            let known = history(levels, i, most, lambda);
            tape.step(pair[1], tape.euler(here, pair[1]) + self.slopes(levels, i, &known));
        }
        tape.plan()
    }

    fn order(&self) -> Option<f64> {
        Some(2.0)
    }
}

impl Dpmpp3m {
    /// What the denoised images of the rows `known` add to the first-order step from `levels[i]`.
    fn slopes(&self, levels: &[NoiseLevel], i: usize, known: &[usize]) -> Terms {
        let (from, to) = (levels[i], levels[i + 1]);
        let h = lambda(to) - lambda(from);
        if !(h.is_finite() && h != 0.0) {
            return Terms::default();
        }
        let by_slope = 1.0 - (1.0 - ratio(from, to)) / h;
        // h times the divided difference of two neighbours, and how far apart they are.
        let gap = |k: usize| (lambda(levels[known[k]]) - lambda(levels[known[k + 1]])) / h;
        let slope = |k: usize| (Terms::denoised(known[k]) - Terms::denoised(known[k + 1])) * (1.0 / gap(k));
        match known.len() {
            0 | 1 => Terms::default(),
            2 => {
                let weight = match self.correction {
                    Correction::Midpoint => (1.0 - ratio(from, to)) / 2.0,
                    Correction::Heun => by_slope,
                };
                slope(0) * (to.alpha * weight)
            }
            _ => {
                let bend = (slope(0) - slope(1)) * (1.0 / (gap(0) + gap(1)));
                let first = slope(0) + bend.clone() * gap(0);
                (first * by_slope - bend * (by_slope / h - 0.5)) * to.alpha
            }
        }
    }
}
