//! DPM-Solver++(3M) with noise.

use super::{Solver, ddim, plan_of, ratio};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
};
use serde::{Deserialize, Serialize};

/// Multistep solver of the reverse SDE from the last three denoised images [k-diffusion, `sample_dpmpp_3m_sde`]. With
/// `h = -ln r`, `h_e = (1 + eta) h` and divided differences `d1`, `d2` of `D` in log-SNR:
/// `x' = (sigma' / sigma) r^eta x + alpha' ((1 - e^-h_e) D + phi2 d1 - phi3 d2) + sigma' sqrt(1 - r^(2 eta)) z`,
/// `phi2 = 1 - (1 - e^-h_e) / h_e`, `phi3 = phi2 / h_e - 1/2`. The first steps use what there is; steps from pure
/// noise and to the clean end are of first order.
///
/// Like its original it takes the second difference at half the weight that Taylor's theorem gives it, so without
/// noise it is of second order, with a small constant.
#[doc = include_str!("rows/dpmpp-3m-sde.txt")]
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpmpp3mSde {
    /// Share of the SDE's noise.
    pub eta: f64,
}

impl Default for Dpmpp3mSde {
    fn default() -> Self {
        Self { eta: 1.0 }
    }
}

impl Solver for Dpmpp3mSde {
    fn plan(&self, levels: &[NoiseLevel]) -> Plan {
        // The steps before, newest first; an infinite one ends what can be looked back on.
        let mut before: Vec<f64> = Vec::new();
        let rows = levels.windows(2).map(|pair| {
            let (from, to) = (pair[0], pair[1]);
            let r = ratio(from, to);
            let h = -r.ln();
            let usable = |h: f64| h > 0.0 && h.is_finite();
            let past = if usable(h) { before.iter().take(2).take_while(|h| usable(**h)).count() } else { 0 };
            let denoised = weights(h, self.eta, &before[..past]).into_iter().map(|w| to.alpha * w).collect();
            before.insert(0, h);
            before.truncate(2);
            let x = if from.sigma > 0.0 { to.sigma / from.sigma * r.powf(self.eta) } else { to.alpha / from.alpha };
            let noise = to.sigma * (1.0 - r.powf(2.0 * self.eta)).max(0.0).sqrt();
            Row { level: from, time: None, to, x: vec![x], denoised, noise }
        });
        plan_of(levels, rows.collect())
    }

    fn order(&self) -> Option<f64> {
        (self.eta == 0.0).then_some(2.0)
    }

    fn weak_order(&self) -> Option<f64> {
        (self.eta > 0.0).then_some(2.0)
    }

    fn check(&self) -> Result<(), String> {
        ddim::check_eta(self.eta)
    }
}

/// Weights of the denoised images by lag, without `alpha'`.
fn weights(h: f64, eta: f64, before: &[f64]) -> Vec<f64> {
    let h_e = (1.0 + eta) * h;
    let phi1 = -(-h_e).exp_m1();
    let phi2 = 1.0 - phi1 / h_e;
    match *before {
        [] => vec![phi1],
        [h1] => {
            let slope = phi2 * h / h1;
            vec![phi1 + slope, -slope]
        }
        [h1, h2, ..] => {
            let phi3 = phi2 / h_e - 0.5;
            let (share, curve) = (h1 / (h1 + h2), phi3 * h / (h1 + h2));
            let newer = (phi2 * (1.0 + share) - curve) * h / h1;
            let older = (curve - phi2 * share) * h / h2;
            vec![phi1 + newer, older - newer, -older]
        }
    }
}
