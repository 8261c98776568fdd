//! Linear multistep.

use super::{
    Solver,
    basis::{Moments, history},
    check_order,
    terms::Tape,
};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// Adams-Bashforth of variable step in `sigma / alpha` [k-diffusion, `sample_lms`; diffusers, `LMSDiscreteScheduler`]:
/// with `s = sigma / alpha`, `y' = y + Σ_j c_j eps_j`, `c_j = ∫_s^s' l_j(u) du`, `l_j` the polynomials of Lagrange
/// through the last `order` levels, integrated exactly.
///
/// It begins with steps of lower order, and the very first one leaves an error of second order whatever follows.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lms {
    /// How many evaluations are combined, 1 to 4.
    pub order: usize,
}

impl Default for Lms {
    fn default() -> Self {
        Self { order: 4 }
    }
}

impl Solver for Lms {
    fn plan(&self, levels: &[NoiseLevel]) -> Plan {
        let mut tape = Tape::default();
        for (i, pair) in levels.windows(2).enumerate() {
            let (from, to) = (pair[0], pair[1]);
            let here = tape.evaluate(from);
            let mut sum = tape.euler(here, to);
            let known = history(levels, i, self.order);
            // alpha' times the step in sigma / alpha.
            let step = to.sigma - to.alpha * from.sigma_edm();
            if known.len() > 1 && step != 0.0 {
                let nodes: Vec<_> = known.iter().map(|&j| levels[j].sigma_edm() - from.sigma_edm()).collect();
                let weights = Moments::uniform(step / to.alpha).weights(&nodes);
                for (&j, weight) in known.iter().zip(weights) {
                    // The Euler step has given the newest all of it.
                    let weight = if j == i { weight - 1.0 } else { weight };
                    sum = sum + tape.eps(j) * (step * weight);
                }
            }
            tape.step(to, sum);
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
