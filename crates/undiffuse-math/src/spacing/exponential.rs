//! Geometric noise levels.

use super::{Ends, Point, Round, Spacing, along_sigma, ramp};
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// `ln(sigma / alpha)` evenly spaced, both ends included: [`Karras`](super::Karras) with `rho → ∞`. On
/// [`Ve`](crate::schedule::Ve) these are the levels of score SDEs [Song21, Appendix C].
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exponential {
    /// Cleanest `sigma / alpha`, the schedule's own unless given.
    pub sigma_min: Option<f64>,
    /// Noisiest `sigma / alpha`, the schedule's own unless given.
    pub sigma_max: Option<f64>,
    /// How the timesteps of networks on tables are rounded.
    pub round: Round,
}

impl Exponential {
    fn ends(&self) -> Ends {
        Ends { sigma_min: self.sigma_min, sigma_max: self.sigma_max, round: self.round }
    }
}

impl Spacing for Exponential {
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point> {
        along_sigma(schedule, self.ends(), ramp(steps, true), geometric)
    }

    fn check(&self) -> Result<(), String> {
        self.ends().check()
    }
}

/// The geometric mean of the ends, weighted by the share of the way.
pub(super) fn geometric(share: f64, max: f64, min: f64) -> f64 {
    (max.ln() + share * (min.ln() - max.ln())).exp()
}
