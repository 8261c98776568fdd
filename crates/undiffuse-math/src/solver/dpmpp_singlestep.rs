//! DPM-Solver++, one step at a time.

use super::{
    Correction, Solver,
    basis::{Moments, lambda},
    check_order,
    terms::{Tape, Terms},
};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// DPM-Solver++(1S), (2S) and (3S) [Lu22b, Algorithm 1; Lu22, Algorithms 1 and 2; diffusers,
/// `DPMSolverSinglestepScheduler`]: a step of order `p` goes over `p` intervals of the levels, its stages being the
/// levels between, and forgets what came before. So every level costs one evaluation, whatever the order.
///
/// With `h` the step so far in half log-SNR and `D1 = h D'`, `D2 = h² D''` by differences of the denoised images since it
/// began, `x' = (sigma' / sigma) x + alpha' ((1 - e) D + p D1 - q D2)`, `e = exp(-h)`, `p = 1 - (1 - e) / h`, `q = p / h
/// - 1/2`.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpmppSinglestep {
    /// Order of the steps, 1 to 3.
    pub order: usize,
    /// How the differences are used. [`Correction::Midpoint`] takes levels to be even in log-SNR: a step of second
    /// order gives `D1` half the weight of `D`, one of third order does without `D2`. [`Correction::Heun`] keeps
    /// its order on any levels.
    pub correction: Correction,
    /// Whether the last steps are of lower order, which makes the whole of second order at most. Otherwise they are so
    /// only where the number of steps is not a multiple of the order. Steps to the clean end are of first order in any
    /// case.
    pub lower_order_final: bool,
}

impl Default for DpmppSinglestep {
    fn default() -> Self {
        Self { order: 3, correction: Correction::Midpoint, lower_order_final: true }
    }
}

impl Solver for DpmppSinglestep {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let mut tape = Tape::default();
        for (i, (pair, stage)) in levels.windows(2).zip(self.stages(levels.len().saturating_sub(1))).enumerate() {
            let here = tape.evaluate(pair[0]);
            // A stage that starts from pure noise or ends clean has an infinite h: the step begins later.
            let fits = |begin: &usize| {
                let distances = (*begin..=i + 1).map(|k| lambda(levels[k]) - lambda(levels[*begin]));
                distances.clone().all(f64::is_finite) && distances.skip(1).all(|distance| distance > 1e-9)
            };
            let begin = (i + 1 - stage..i).find(fits).unwrap_or(here);
            tape.step(pair[1], tape.euler(begin, pair[1]) + self.differences(levels, begin, i));
        }
        tape.plan()
    }

    fn order(&self) -> Option<f64> {
        // A last step of first order leaves an error of second.
        let most = if self.lower_order_final { 2 } else { 3 };
        Some(self.order.min(most) as f64)
    }

    fn check(&self) -> Result<(), String> {
        check_order(self.order, 3)
    }
}

impl DpmppSinglestep {
    /// Which stage of its step each level is; 1 begins a step.
    fn stages(&self, steps: usize) -> Vec<usize> {
        let order = self.order;
        let whole = |count| (0..count).flat_map(move |_| 1..=order).collect::<Vec<_>>();
        let mut stages = match (self.lower_order_final, steps % order) {
            (true, 0) if steps > 0 => {
                // The last step of all is one of first order.
                let mut stages = whole(steps / order - 1);
                stages.extend((1..order).chain([1]));
                stages
            }
            _ => whole(steps / order),
        };
        stages.extend(1..=steps - stages.len());
        stages
    }

    /// What the denoised images since row `begin` add to the first-order step from there to the level after `i`.
    fn differences(&self, levels: &[NoiseLevel], begin: usize, i: usize) -> Terms {
        let (from, to) = (levels[begin], levels[i + 1]);
        let h = lambda(to) - lambda(from);
        let share = |k: usize| (lambda(levels[k]) - lambda(from)) / h;
        let slope = |k: usize| (Terms::denoised(k) - Terms::denoised(begin)) * (1.0 / share(k));
        if begin == i {
            return Terms::default();
        }
        let [whole, linear, square, _] = Moments::data(h).values;
        let sum = match (i - begin, self.correction) {
            (1, Correction::Midpoint) => slope(i) * (whole / 2.0),
            (1, Correction::Heun) | (_, Correction::Midpoint) => slope(i) * linear,
            (_, Correction::Heun) => {
                let (near, far) = (share(i - 1), share(i));
                let first = (slope(i - 1) * far - slope(i) * near) * (1.0 / (far - near));
                let second = (slope(i) - slope(i - 1)) * (2.0 / (far - near));
                first * linear + second * (square / 2.0)
            }
        };
        sum * to.alpha
    }
}
