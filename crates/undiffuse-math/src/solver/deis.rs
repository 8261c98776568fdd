//! DEIS.

use super::{
    Solver,
    basis::{history, lambda},
    check_order,
    exponential::{Predict, exponential},
    terms::Tape,
};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// Diffusion exponential integrator sampler, Adams-Bashforth in the logarithm of `rho = sigma / alpha` [Zhang23;
/// diffusers, `DEISMultistepScheduler`]: the last `eps` are continued as a polynomial in `ln rho`, which is
/// integrated over `rho` exactly. `ln rho` is diffusers' choice, not the
/// paper's.
///
/// The first step is of first order and leaves an error of second order whatever follows.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deis {
    /// How many evaluations are combined, 1 to 3.
    pub order: usize,
    /// Whether plans of fewer than 15 steps end with steps of second and first order.
    pub lower_order_final: bool,
}

impl Default for Deis {
    fn default() -> Self {
        Self { order: 3, lower_order_final: true }
    }
}

impl Solver for Deis {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let steps = levels.len().saturating_sub(1);
        let mut tape = Tape::default();
        for (i, pair) in levels.windows(2).enumerate() {
            let here = tape.evaluate(pair[0]);
            let most = if self.lower_order_final && steps < 15 { steps - i } else { self.order };
            let known = history(levels, i, self.order.min(most), lambda);
            let mut sum = tape.euler(here, pair[1]);
            if known.len() > 1 {
                sum = sum + exponential(&tape, levels, i, &known, Predict::Eps);
            }
            tape.step(pair[1], sum);
        }
        tape.plan()
    }

    fn order(&self) -> Option<f64> {
        Some(self.order.min(2) as f64)
    }

    fn check(&self) -> Result<(), String> {
        check_order(self.order, 3)
    }
}
