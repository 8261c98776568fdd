//! Linear multistep.

use super::{
    Coordinate, Solver,
    basis::{Moments, history},
    check_order,
    terms::{Tape, Terms},
};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// Adams-Bashforth of variable step in `sigma / alpha` [k-diffusion, `sample_lms`; diffusers, `LMSDiscreteScheduler`]
/// or in flow time.
///
/// With `s` the coordinate of [`Coordinate`], `y` the image over its scale and `d` the slope there, `y' = y + Σ_j c_j d_j`,
/// `c_j = ∫_s^s' l_j(u) du`, `l_j` the polynomials of Lagrange through the last `order` levels, integrated exactly.
///
/// It begins with steps of lower order, and the very first one leaves an error of second order whatever follows.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lms {
    /// How many evaluations are combined, 1 to 4.
    pub order: usize,
    /// The coordinate in which they are.
    pub along: Coordinate,
}

impl Default for Lms {
    fn default() -> Self {
        Self { order: 4, along: Coordinate::Sigma }
    }
}

impl Solver for Lms {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let mut tape = Tape::default();
        for (i, pair) in levels.windows(2).enumerate() {
            let here = tape.evaluate(pair[0]);
            tape.step(pair[1], tape.euler(here, pair[1]) + self.continued(&tape, levels, i));
        }
        tape.plan()
    }

    fn order(&self) -> Option<f64> {
        Some(self.order.min(2) as f64)
    }

    fn check(&self) -> Result<(), String> {
        check_order(self.order, 4)
    }
}

impl Lms {
    /// What the polynomial adds to the Euler step from `levels[i]`.
    fn continued(&self, tape: &Tape, levels: &[NoiseLevel], i: usize) -> Terms {
        let coordinate = |level| self.along.at(level);
        let known = history(levels, i, self.order, coordinate);
        let step = coordinate(levels[i + 1]) - coordinate(levels[i]);
        if known.len() < 2 || step == 0.0 {
            return Terms::default();
        }
        let nodes: Vec<_> = known.iter().map(|&j| coordinate(levels[j]) - coordinate(levels[i])).collect();
        let weights = Moments::uniform(step).weights(&nodes);
        known.iter().zip(weights).fold(Terms::default(), |sum, (&j, weight)| {
            // The Euler step has given the newest all of it.
            let weight = if j == i { weight - 1.0 } else { weight };
            sum + self.along.slope(tape, j) * (self.along.scale(levels[i + 1]) * step * weight)
        })
    }
}
