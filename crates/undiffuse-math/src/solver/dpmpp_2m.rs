//! DPM-Solver++(2M).

use super::{Solver, plan_of, ratio};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
};
use serde::{Deserialize, Serialize};

/// Second-order multistep solver of the probability-flow ODE in log-SNR, linear part exact [Lu22b, Algorithm 2].
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpmpp2m {
    /// How the slope of `D` is used.
    pub correction: Correction,
    /// Whether plans of fewer than 15 steps end with a first-order step.
    pub lower_order_final: bool,
    /// Whether every plan ends with a first-order step. Steps to the clean end are of first order in any case.
    pub euler_at_final: bool,
}

impl Default for Dpmpp2m {
    fn default() -> Self {
        Self { correction: Correction::Midpoint, lower_order_final: true, euler_at_final: false }
    }
}

/// How a second-order step uses the slope `D1` of the denoised image in log-SNR.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Correction {
    /// `D1` at half the weight of `D`.
    #[default]
    Midpoint,
    /// `D1` integrated exactly.
    Heun,
}

impl Solver for Dpmpp2m {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        multistep(levels, *self, 0.0)
    }

    fn order(&self) -> Option<f64> {
        Some(2.0)
    }
}

/// DPM-Solver++(2M) with a share `eta` of the reverse SDE's noise; 0 is the ODE. With `h = -ln r`:
/// `x' = (sigma' / sigma) r^eta x + alpha' (1 - r^(1 + eta)) (D + D1 / 2) + sigma' sqrt(1 - r^(2 eta)) z`,
/// `D1 = (h / h_before) (D - D_before)`.
pub(super) fn multistep(levels: &[NoiseLevel], options: Dpmpp2m, eta: f64) -> Plan {
    let steps = levels.len().saturating_sub(1);
    let first_order_end = options.euler_at_final || (options.lower_order_final && steps < 15);
    let mut before = f64::INFINITY;
    let rows = levels.windows(2).enumerate().map(|(i, pair)| {
        let (from, to) = (pair[0], pair[1]);
        let r = ratio(from, to);
        let h = -r.ln();
        let weight = to.alpha * (1.0 - r.powf(1.0 + eta));
        let slope_weight = match options.correction {
            Correction::Midpoint => weight / 2.0,
            Correction::Heun => to.alpha * (1.0 + (r.powf(1.0 + eta) - 1.0) / ((1.0 + eta) * h)),
        };
        let second_order = h > 0.0 && h.is_finite() && before > 0.0 && !(first_order_end && i + 1 == steps);
        let slope = if second_order { slope_weight * h / before } else { 0.0 };
        before = h;
        let x = if from.sigma > 0.0 { to.sigma / from.sigma * r.powf(eta) } else { to.alpha / from.alpha };
        let denoised = if slope == 0.0 { vec![weight] } else { vec![weight + slope, -slope] };
        let noise = to.sigma * (1.0 - r.powf(2.0 * eta)).max(0.0).sqrt();
        Row { level: from, time: None, next: to, x: vec![x], denoised, noise }
    });
    plan_of(levels, rows.collect())
}
