//! EDM's spacing.

use super::{Ends, Point, Round, Spacing, along_sigma, ramp};
use crate::{registry::require, schedule::Schedule};
use serde::{Deserialize, Serialize};

/// `sigma_i = (sigma_max^(1/rho) + i / (n - 1) · (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho` in `sigma / alpha`
/// [Karras22, Eq. 5].
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Karras {
    /// More than 1 spends more steps at low noise; 7 in the paper.
    pub rho: f64,
    /// Cleanest `sigma / alpha`, the schedule's own unless given.
    pub sigma_min: Option<f64>,
    /// Noisiest `sigma / alpha`, the schedule's own unless given.
    pub sigma_max: Option<f64>,
    /// How the timesteps of networks on tables are rounded.
    pub round: Round,
}

impl Default for Karras {
    fn default() -> Self {
        Self { rho: 7.0, sigma_min: None, sigma_max: None, round: Round::None }
    }
}

impl Karras {
    fn ends(&self) -> Ends {
        Ends { sigma_min: self.sigma_min, sigma_max: self.sigma_max, round: self.round }
    }
}

impl Spacing for Karras {
    fn points(&self, schedule: &dyn Schedule, steps: usize) -> Vec<Point> {
        let root = 1.0 / self.rho;
        along_sigma(schedule, self.ends(), ramp(steps, true), |share, max, min| {
            let (max, min) = (max.powf(root), min.powf(root));
            (max + share * (min - max)).powf(self.rho)
        })
    }

    fn check(&self) -> Result<(), String> {
        require(self.rho > 0.0 && self.rho.is_finite(), || format!("rho must be positive, is {}", self.rho))?;
        self.ends().check()
    }
}
