//! DPM-Solver++(3M).

use super::{
    Correction, Solver,
    basis::{Moments, history, lambda},
    ratio,
    terms::{Tape, Terms},
};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// Multistep solver from the last three denoised images, linear part exact [diffusers, `DPMSolverMultistepScheduler` with
/// `solver_order = 3`; k-diffusion, `sample_dpmpp_3m_sde` without noise, which is `correction=heun,
/// lower_order_final=false`].
///
/// With `h` the step and `D1 = h D'`, `D2 = h² D'' / 2` by divided differences of the last three denoised images,
/// `x' = (sigma' / sigma) x + alpha' ((1 - e) D + p D1 - q D2)`, `e = exp(-h)`, `p = 1 - (1 - e) / h`, `q = p / h - 1/2`.
/// Taylor's theorem asks for `2 q` where both implementations have `q`, so the method stays one of second order, with
/// a smaller constant than 2M; the first step, of first order, would keep it there in any case.
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
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        multistep(levels, *self, 0.0)
    }

    fn order(&self) -> Option<f64> {
        Some(2.0)
    }
}

/// DPM-Solver++(3M) with a share `eta` of the reverse SDE's noise; 0 is the ODE. With `h = -ln r` and `h_e = (1 + eta)
/// h` in `e`, `p` and `q` of [`Dpmpp3m`]: `x' = (sigma' / sigma) r^eta x + alpha' ((1 - e) D + p D1 - q D2) + sigma'
/// sqrt(1 - r^(2 eta)) z`.
pub(super) fn multistep(levels: &[NoiseLevel], options: Dpmpp3m, eta: f64) -> Plan {
    let steps = levels.len().saturating_sub(1);
    let mut tape = Tape::default();
    for (i, pair) in levels.windows(2).enumerate() {
        let (from, to) = (pair[0], pair[1]);
        let most = match steps - i {
            1 if options.euler_at_final => 1,
            left @ (1 | 2) if options.lower_order_final && steps < 15 => left,
            _ => 3,
        };
        let here = tape.evaluate(from);
        let r = ratio(from, to);
        let kept = if from.sigma > 0.0 { to.sigma / from.sigma * r.powf(eta) } else { to.alpha / from.alpha };
        let slopes = options.slopes(levels, i, &history(levels, i, most, lambda), eta);
        let denoised = Terms::denoised(here) * (1.0 - r.powf(1.0 + eta)) + slopes;
        tape.step(to, Terms::x(here) * kept + denoised * to.alpha);
        tape.add_noise(to.sigma * (1.0 - r.powf(2.0 * eta)).max(0.0).sqrt());
    }
    tape.plan()
}

impl Dpmpp3m {
    /// What the denoised images of the rows `known` add to the first-order step from `levels[i]`, without `alpha'`.
    fn slopes(&self, levels: &[NoiseLevel], i: usize, known: &[usize], eta: f64) -> Terms {
        let h = lambda(levels[i + 1]) - lambda(levels[i]);
        if !(h.is_finite() && h != 0.0) {
            return Terms::default();
        }
        let [whole, linear, square, _] = Moments::data((1.0 + eta) * h).values;
        // h times the divided difference of two neighbours, and how far apart they are.
        let gap = |k: usize| (lambda(levels[known[k]]) - lambda(levels[known[k + 1]])) / h;
        let slope = |k: usize| (Terms::denoised(known[k]) - Terms::denoised(known[k + 1])) * (1.0 / gap(k));
        match known.len() {
            0 | 1 => Terms::default(),
            2 => match self.correction {
                Correction::Midpoint => slope(0) * (whole / 2.0),
                Correction::Heun => slope(0) * linear,
            },
            _ => {
                let bend = (slope(0) - slope(1)) * (1.0 / (gap(0) + gap(1)));
                let first = slope(0) + bend.clone() * gap(0);
                // Taylor's theorem asks for all of the square.
                first * linear + bend * (square / 2.0)
            }
        }
    }
}
